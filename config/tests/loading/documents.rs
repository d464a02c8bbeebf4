//! What the program writes about its configuration: the reference page, the effective YAML, the memory plan.

use std::path::Path;

use crate::support::{again, loaded};
use tailwater_config::{GIB, Inputs, KIB, MIB, effective, knobs, load, memory_plan, memory_plan_with, reference_page};
use tailwater_ottl::pattern::Expressions;

/// Set to write the page in place of comparing it.
const WRITE: &str = "TAILWATER_WRITE_REFERENCE";

#[test]
#[allow(clippy::disallowed_methods, reason = "a test reads the page it compares with")]
fn the_reference_page_is_the_programs_own() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/configuration.md");
    if std::env::var(WRITE).is_ok() {
        std::fs::write(&path, reference_page()).unwrap();
    }
    let written = std::fs::read_to_string(&path).unwrap_or_default();
    assert!(written == reference_page(), "docs/configuration.md is not up to date: run this test with {WRITE}=1");
}

#[test]
fn every_knob_has_its_own_names() {
    let knobs = knobs();
    for (index, knob) in knobs.iter().enumerate() {
        for other in &knobs[..index] {
            assert!(knob.path != other.path && knob.flag != other.flag && knob.environment != other.environment);
        }
        assert!(knob.environment.chars().all(|c| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_'), "{knob:?}");
        assert!(knob.effect.ends_with('.'), "{knob:?}");
    }
    let flag_of = |path: &str| knobs.iter().find(|knob| knob.path == path).map(|knob| knob.flag.as_str());
    assert_eq!(flag_of("data_directory"), Some("data-dir"));
    assert_eq!(flag_of("otlp.grpc.endpoint"), Some("otlp-grpc-endpoint"));
}

#[test]
fn every_default_is_accepted_by_its_own_key() {
    for knob in knobs().iter().filter(|knob| !knob.default.is_empty() && !knob.default.contains(' ')) {
        if knob.path == "memory.receive_bytes_max" {
            continue;
        }
        let flags = [(knob.path.as_str(), knob.default.as_str()), ("exporters.otlp.endpoints", "http://a:4317")];
        loaded("", &[], &flags);
    }
}

const FULL: &str = r#"
data_directory: "/tmp/with space: and # sign"
cores: 2-9,12
shards: 3
admin: {endpoint: none}
otlp:
  http: {enabled: false}
  grpc: {endpoint: "[::1]:0", connection_age_max: 1m30s, ack: written}
wal: {retention: 0s, on_full: decide_early, keep_pending_at_shutdown: true, buffer_bytes_max: 5MiB}
sampling:
  inactivity_timeout: 1m
  cold_after: 5m
  maximum_trace_size_bytes: 5MiB
  policies:
    - {name: "a \"quoted\" \\ name", type: string_attribute, string_attribute: {key: "no", values: ["\n", "0x10", "true", ""], enabled_regex_matching: true, invert_match: true}}
    - {name: "yes: 5", type: and, and: {and_sub_policy: [{name: x, type: not, not: {not_sub_policy: {name: y, type: probabilistic, probabilistic: {sampling_percentage: 0.5, hash_salt: "12"}}}}, {name: z, type: numeric_attribute, numeric_attribute: {key: k, min_value: -3}}]}}
    - {name: d, type: drop, drop: {drop_sub_policy: [{name: x, type: boolean_attribute, boolean_attribute: {key: k, value: false}}]}}
    - {name: e, type: and}
    - {name: f, type: span_count, span_count: {min_spans: 1, max_spans: 9}}
    - {name: g, type: status_code, status_code: {status_codes: [OK, UNSET]}}
    - {name: h, type: latency, latency: {threshold_ms: 5, upper_threshold_ms: 50}}
    - {name: i, type: always_sample}
exporters:
  file: {path: out.jsonl}
  otlp:
    endpoints: ["http://a:4317", "b:4317"]
    headers: {authorization: "Bearer secret"}
  otlp/second:
    protocol: http/protobuf
    traces_endpoint: https://c/x
    retry: {multiplier: 1.25}
    breaker: {failures_max: 0, open_interval: 1s500ms}
"#;

#[test]
fn the_effective_text_loads_as_the_same_configuration() {
    for (file, headers) in [("", ""), (FULL, "authorization=Bearer secret")] {
        let loaded = loaded(file, &[], &[]);
        let text = effective(&loaded);
        let reloaded = again(&loaded.config, &text, &[]);
        let mut expected = loaded.config.clone();
        for exporter in &mut expected.exporters.otlp {
            for (_, value) in &mut exporter.headers {
                assert!(headers.contains(value.as_str()));
                *value = "[redacted]".to_string();
            }
        }
        assert_eq!(reloaded, expected, "{text}");
    }
}

#[test]
fn secrets_are_not_printed() {
    let file = "exporters: {otlp: {endpoints: ['http://a:4317'], headers: {x-key: hunter2}}}";
    let loaded = loaded(file, &[], &[("exporters.otlp.headers", "authorization=hunter3")]);
    let text = effective(&loaded);
    assert!(
        !text.contains("hunter") && text.contains("authorization: \"[redacted]\"  # flag")
            || text.contains("[redacted]"),
        "{text}"
    );
    assert!(!text.contains("hunter"), "{text}");
    for bad in ["x-key: \"hunter2\\n\"", "x-key: [hunter2]", "'x key': hunter2"] {
        let told = crate::support::problems(
            &format!("exporters: {{otlp: {{endpoints: ['http://a'], headers: {{{bad}}}}}}}"),
            &[],
            &[],
        );
        assert!(!told.join("\n").contains("hunter"), "{told:?}");
    }
    let told = crate::support::problems("", &[("TAILWATER_EXPORTERS_OTLP_HEADERS", "hunter2")], &[]);
    assert!(!told.join("\n").contains("hunter"), "{told:?}");
}

#[test]
fn the_effective_text_says_where_values_come_from() {
    let text = effective(&loaded("ack: written\n", &[("TAILWATER_SHARDS", "4")], &[("mesh.queue_length", "32")]));
    assert!(text.contains("ack: written  # t.yaml:1\n"), "{text}");
    assert!(text.contains("shards: 4  # environment TAILWATER_SHARDS\n"), "{text}");
    assert!(text.contains("  queue_length: 32  # flag --mesh-queue-length\n"), "{text}");
    assert!(text.contains("  decision_wait: 10s\n"), "{text}");
}

#[test]
fn the_memory_plan_adds_up() {
    let config = loaded("", &[], &[("exporters.otlp.endpoints", "http://a:4317")]).config;
    let plan = memory_plan(&config, 4).unwrap();
    assert_eq!(plan.rows.iter().map(|row| row.bytes).sum::<u64>(), plan.total);
    assert_eq!(plan.total, config.memory.bytes_max);
    assert_eq!(plan.rows.last().unwrap().bytes, plan.pending_bytes);
    let export = plan.rows.iter().find(|row| row.name == "export queues").unwrap();
    assert_eq!(export.bytes, 64 * MIB);
    let buffers = |ack| {
        let config = loaded("", &[], &[("ack", ack)]).config;
        let plan = memory_plan(&config, 4).unwrap();
        plan.rows.iter().find(|row| row.name == "log buffers").unwrap().bytes
    };
    assert_eq!((buffers("synced"), buffers("received")), (64 * MIB, 0));
    assert!(plan.to_string().lines().count() == plan.rows.len() + 1);
}

#[test]
fn an_impossible_memory_plan_is_refused_with_what_to_change() {
    let config = loaded("", &[], &[("memory.bytes_max", "150MiB")]).config;
    let problem = memory_plan(&config, 2).unwrap_err().to_string();
    assert!(problem.contains("memory.bytes_max = 150MiB") && problem.contains("request_bytes_max"), "{problem}");
    // A number of shards beyond all reason must not overflow.
    assert!(memory_plan(&config, usize::MAX).is_err());
}

#[test]
fn the_smallest_machine_with_the_defaults_is_512_mib() {
    let inputs = |bytes| Inputs { file: None, environment: &[], flags: &[], machine_memory_bytes: bytes };
    let plan = |bytes| memory_plan(&load(&inputs(bytes)).unwrap().config, 2);
    assert!(plan(512 * MIB).is_ok(), "{}", plan(512 * MIB).unwrap_err());
    assert!(plan(384 * MIB).is_err());
}

#[test]
fn expressions_are_in_the_memory_plan() {
    let config = loaded("memory: {bytes_max: 4GiB}\n", &[], &[]).config;
    let row = |count, program_bytes| {
        let plan = memory_plan_with(&config, 4, Expressions { count, program_bytes }).unwrap();
        plan.rows.iter().find(|row| row.name == "expressions").map_or(0, |row| row.bytes)
    };
    assert_eq!(row(0, 0), 0);
    assert_eq!(row(10, MIB), 5 * MIB + 10 * 4 * 136 * KIB);
    let many = Expressions { count: 100_000, program_bytes: GIB };
    assert!(memory_plan_with(&config, 4, many).unwrap_err().to_string().contains("100000 regular expressions"));
}

#[test]
fn what_rules_remember_is_in_the_memory_plan() {
    let row = |yaml: &str, name: &str| {
        let config = loaded(yaml, &[], &[]).config;
        let plan = memory_plan(&config, 4).unwrap();
        assert_eq!(plan.rows.iter().map(|row| row.bytes).sum::<u64>(), plan.total);
        plan.rows.iter().find(|row| row.name == name).map(|row| row.bytes)
    };
    let memory = "memory: {bytes_max: 2GiB}\n";
    let rules = |rule: &str| format!("{memory}sampling:\n  rules:\n    - {{name: a, {rule}}}\n");
    let relative = "{relative_latency: {quantile: 0.99, by: [service.name]}}";
    let slow = format!("when: [{relative}]");
    let nested = format!("when: [{{any: [{relative}, {{not: {relative}}}]}}]");
    assert_eq!(row(&rules("sampler: always_on"), "relative latencies"), None);
    assert_eq!(row(&rules(&slow), "relative latencies"), Some(4 * 5 * MIB));
    assert_eq!(row(&rules(&nested), "relative latencies"), Some(2 * 4 * 5 * MIB));
    assert_eq!(row(&rules("sampler: always_on"), "limits"), None);
    assert_eq!(row(&rules("limit: {spans_per_second: 9}"), "limits"), Some(4 * 3 * MIB));
    assert_eq!(row(&rules("limit: {spans_per_second: 9, by: [a]}"), "limits"), Some(4 * 15 * MIB));
    let policy = "sampling: {policies: [{name: a, type: rate_limiting, rate_limiting: {spans_per_second: 9}}]";
    assert_eq!(row(&format!("{memory}{policy}}}\n"), "limits"), Some(4 * 3 * MIB));
    let collector = format!("{memory}{policy}, thresholds: collector}}\n");
    let ottl = |condition: &str| {
        format!(
            "{memory}sampling: {{policies: [{{name: a, type: ottl_condition, ottl_condition: {{span: ['{condition}']}}}}]}}\n"
        )
    };
    assert_eq!(row(&ottl("name == \"x\""), "user agents"), None);
    assert_eq!(row(&ottl("UserAgent(name)[\"os.name\"] == \"x\""), "user agents"), Some(48 * MIB));
    let rule = rules("when: [{not: {ottl_condition: {span: ['UserAgent(name)[\"os.name\"] == \"x\"']}}}]");
    assert_eq!(row(&rule, "user agents"), Some(48 * MIB));
    assert_eq!(row(&collector, "limits"), None, "in order of arrival nothing is ranked");
    let config = loaded(&format!("{}memory: {{bytes_max: 512MiB}}\n", &rules(&slow)[memory.len()..]), &[], &[]).config;
    assert!(memory_plan(&config, 2).is_ok());
    let problem = memory_plan(&config, 64).unwrap_err().to_string();
    assert!(problem.contains("relative latencies 320MiB") && problem.contains("fewer shards"), "{problem}");
}
