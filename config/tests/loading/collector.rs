//! The Collector's file: what is taken, what is named, what is refused.

use std::time::Duration;

use crate::support::{loaded, problems, refused_with};
use tailwater_config::sampling::Rule;
use tailwater_config::{Compression, DebugVerbosity, ExportProtocol, Form, Loaded, LogFormat, LogLevel, MIB, Signals};

const FIXTURE: &str = include_str!("fixtures/collector.yaml");
const ENVIRONMENT: &[(&str, &str)] = &[("BACKEND", "backend.example"), ("API_KEY", "12345")];

fn fixture() -> Loaded {
    loaded(FIXTURE, ENVIRONMENT, &[])
}

/// A file around one tail_sampling section; its first line is line 9 of the file.
fn sampling_file(section: &str) -> String {
    let indented: String = section.lines().map(|line| format!("    {line}\n")).collect();
    format!(
        "receivers:\n  otlp:\n    protocols:\n      grpc:\nexporters:\n  otlp: {{endpoint: \"b:4317\", tls: {{insecure: true}}}}\nprocessors:\n  tail_sampling:\n{indented}service:\n  pipelines:\n    traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [otlp]}}\n"
    )
}

/// A file around one receiver, exporter and pipeline section.
fn file_of(receivers: &str, exporters: &str, pipelines: &str) -> String {
    format!(
        "receivers: {receivers}\nexporters: {exporters}\nprocessors: {{batch: }}\nservice: {{pipelines: {pipelines}}}\n"
    )
}

const OTLP: &str = "{otlp: {protocols: {grpc: }}}";
const BACKEND: &str = "{otlp: {endpoint: 'b:4317', tls: {insecure: true}}}";
const PIPELINE: &str = "{traces: {receivers: [otlp], exporters: [otlp]}}";

#[test]
fn sampling_is_taken_as_written() {
    let loaded = fixture();
    assert_eq!(loaded.form, Form::Collector);
    let sampling = &loaded.config.sampling;
    assert_eq!(sampling.decision_wait, Duration::from_secs(90));
    assert_eq!(sampling.decision_wait_after_root_received, Duration::from_millis(500));
    assert_eq!(sampling.traces_max, 100_000);
    assert_eq!((sampling.sampled_cache_size, sampling.non_sampled_cache_size), (100_000, 256));
    assert!(sampling.sample_on_first_match && sampling.drop_pending_traces_on_shutdown && !sampling.block_on_overflow);
    assert_eq!(sampling.trace_bytes_max, 10 * MIB);
    let texts = |list: &[&str]| list.iter().map(ToString::to_string).collect::<Vec<_>>();
    let attribute = |key: &str, values: &[&str], regex, invert| Rule::StringAttribute {
        key: key.to_string(),
        values: texts(values),
        regex,
        invert,
    };
    let expected = [
        ("all", Rule::AlwaysSample),
        ("slow", Rule::Latency { threshold_ms: 5000, upper_threshold_ms: 10000 }),
        ("numbers", Rule::NumericAttribute { key: "http.status_code".to_string(), min: 500, max: 599, invert: false }),
        ("share", Rule::Probabilistic { hash_salt: "pepper".to_string(), sampling_percentage: 12.5 }),
        ("status", Rule::StatusCode { ok: false, error: true, unset: true }),
        ("text", attribute("service.name", &["checkout", "payment"], false, false)),
        ("regex", attribute("http.target", &["\\/api\\/.*", "^/v\\d+"], true, false)),
        ("inverted", attribute("http.url", &["\\/health", "\\/metrics"], true, true)),
        ("count", Rule::SpanCount { min: 2, max: 20 }),
        ("flagged", Rule::BooleanAttribute { key: "sampled".to_string(), value: true, invert: false }),
    ];
    assert_eq!(sampling.policies.len(), expected.len());
    for (index, (policy, (name, rule))) in sampling.policies.iter().zip(expected).enumerate() {
        assert_eq!((policy.name.as_str(), &policy.rule), (name, &rule));
        assert_eq!(policy.line, 40 + u32::try_from(index).unwrap());
    }
}

#[test]
fn receivers_and_exporters_are_taken_as_written() {
    let config = fixture().config;
    let grpc = config.receivers.grpc.unwrap();
    assert_eq!(grpc.endpoint.to_string(), "0.0.0.0:4317");
    assert_eq!(grpc.limits.request_bytes_max, 16 * MIB);
    assert_eq!(grpc.limits.streams_per_connection_max, 64);
    assert_eq!(grpc.limits.connection_age_max, Duration::from_secs(90));
    assert_eq!(config.receivers.http.unwrap().endpoint.to_string(), "127.0.0.1:4318");
    assert_eq!(config.receivers.signals, Signals { logs: false, ..Signals::ALL });
    let [backend, http] = config.exporters.otlp.as_slice() else { panic!("two exporters") };
    assert_eq!(backend.name, "otlp/backend");
    assert_eq!(backend.endpoints, ["http://backend.example:4317"]);
    assert_eq!(backend.headers, [("x-api-key".to_string(), "12345".to_string())]);
    assert_eq!(backend.signals, Signals { traces: true, ..Signals::NONE });
    assert_eq!((backend.timeout, backend.compression), (Duration::from_secs(5), Compression::Gzip));
    assert_eq!(backend.retry.initial_interval, Duration::from_secs(5));
    assert_eq!(http.protocol, ExportProtocol::HttpProtobuf);
    assert_eq!(http.metrics_urls(), ["https://fallback.example/otlp/v1/metrics"]);
    assert_eq!(http.compression, Compression::None);
    assert_eq!((http.timeout, http.retry.max_elapsed_time), (Duration::from_secs(7), Duration::ZERO));
    assert_eq!(config.exporters.file, None);
    assert_eq!((config.node.log.level, config.node.log.format), (LogLevel::Debug, LogFormat::Json));
}

#[test]
fn what_has_no_effect_is_named_with_its_line() {
    let told: Vec<String> = fixture().notes.iter().map(|note| format!("{}: {}", note.source, note.key)).collect();
    let expected = [
        "t.yaml:9: receivers.otlp.protocols.grpc.read_buffer_size",
        "t.yaml:15: receivers.otlp.protocols.grpc.keepalive.enforcement_policy.min_time",
        "t.yaml:17: receivers.jaeger",
        "t.yaml:22: processors.memory_limiter.check_interval",
        "t.yaml:23: processors.memory_limiter.limit_mib",
        "t.yaml:24: processors.batch",
        "t.yaml:25: sampling.thresholds",
        "t.yaml:29: processors.tail_sampling.expected_new_traces_per_sec",
        "t.yaml:51: processors.tail_sampling/unused",
        "t.yaml:64: exporters.otlp/backend.sending_queue.num_consumers",
        "t.yaml:73: extensions.health_check.endpoint",
        "t.yaml:76: service.extensions",
        "t.yaml:79: service.telemetry.metrics.level",
    ];
    let mut sorted = told.clone();
    sorted.sort_by_key(|note| note.split(':').nth(1).and_then(|line| line.parse::<u32>().ok()));
    assert_eq!(sorted, expected);
}

#[test]
fn flags_and_variables_stand_above_the_file() {
    let flags = [("sampling.decision_wait", "3s"), ("otlp.grpc.endpoint", "127.0.0.1:0"), ("shards", "2")];
    let loaded = loaded(FIXTURE, &[ENVIRONMENT, &[("TAILWATER_SAMPLING_NUM_TRACES", "9")]].concat(), &flags);
    assert_eq!(loaded.config.sampling.decision_wait, Duration::from_secs(3));
    assert_eq!(loaded.config.sampling.traces_max, 9);
    assert_eq!(loaded.config.receivers.grpc.unwrap().endpoint.port(), 0);
    assert_eq!(loaded.config.node.shards, Some(2));
}

#[test]
fn chosen_thresholds_are_worth_no_note() {
    let about = |loaded: Loaded| loaded.notes.iter().filter(|note| note.key == "sampling.thresholds").count();
    assert_eq!(about(fixture()), 1);
    for chosen in ["collector", "otep235"] {
        assert_eq!(about(loaded(FIXTURE, ENVIRONMENT, &[("sampling.thresholds", chosen)])), 0);
    }
}

#[test]
fn an_empty_section_has_the_collectors_defaults() {
    let config = loaded(&sampling_file("policies: [{name: a, type: always_sample}]"), &[], &[]).config;
    assert_eq!(config.sampling.decision_wait, Duration::from_secs(30));
    assert_eq!(config.sampling.traces_max, 50_000);
    assert_eq!(config.sampling.sampled_cache_size, 0);
    assert_eq!(config.receivers.grpc.unwrap().endpoint.to_string(), "127.0.0.1:4317");
    assert_eq!(config.receivers.http, None);
}

#[test]
fn a_flag_for_the_exporter_means_the_only_one() {
    let file = file_of(
        OTLP,
        "{otlphttp/a: {endpoint: 'http://a:4318'}}",
        "{traces: {receivers: [otlp], exporters: [otlphttp/a]}}",
    );
    let config = loaded(&file, &[], &[("exporters.otlp.timeout", "3s")]).config;
    assert_eq!(config.exporters.otlp.len(), 1);
    assert_eq!(config.exporters.otlp[0].timeout, Duration::from_secs(3));
    assert_eq!(config.sampling.policies[0].rule, Rule::AlwaysSample);
}

#[test]
fn substitution_follows_the_collector() {
    let section = "decision_wait: ${env:WAIT}\nnum_traces: ${env:COUNT:-77}\nsample_on_first_match: \"${FLAG}\"\npolicies:\n  - name: a$$b\n    type: string_attribute\n    string_attribute: {key: k, values: ['${env:NUMBER}', 'pre-${env:NUMBER}', \"${env:${env:INDIRECT}}\"]}\n  - ${env:POLICY}\n";
    let environment = [
        ("WAIT", "15s"),
        ("FLAG", "true"),
        ("NUMBER", "0123"),
        ("INDIRECT", "WAIT"),
        ("POLICY", "{name: p, type: span_count, span_count: {min_spans: 2}}"),
    ];
    let sampling = loaded(&sampling_file(section), &environment, &[]).config.sampling;
    assert_eq!(sampling.decision_wait, Duration::from_secs(15));
    assert_eq!(sampling.traces_max, 77);
    assert!(sampling.sample_on_first_match);
    assert_eq!(sampling.policies[0].name, "a$b");
    let Rule::StringAttribute { values, .. } = &sampling.policies[0].rule else { panic!("a string attribute") };
    assert_eq!(values, &["0123", "pre-0123", "15s"]);
    assert_eq!(sampling.policies[1].rule, Rule::SpanCount { min: 2, max: 0 });
    assert_eq!(sampling.policies[1].line, 16);
}

#[test]
fn a_value_of_the_environment_is_text_where_text_is_wanted() {
    let section = "policies:\n  - {name: a, type: string_attribute, string_attribute: {key: k, values: ['${env:V}', '${V}-x']}}\n  - {name: b, type: ottl_condition, ottl_condition: {span: ['${env:O}']}}";
    for text in [
        "/a/{id}", "{id}", "[x]", "0x10", "true", "null", "a: b", "x # y", "\"q\"", "'", "- a", "*", "1\n2", "${env:O}",
    ] {
        let condition = "attributes[\"a\"] == \"{}: #\"";
        let sampling = loaded(&sampling_file(section), &[("V", text), ("O", condition)], &[]).config.sampling;
        let Rule::StringAttribute { values, .. } = &sampling.policies[0].rule else { panic!("a string attribute") };
        let text = if text == "${env:O}" { condition } else { text };
        assert_eq!(values, &[text.to_string(), format!("{text}-x")]);
        let Rule::OttlCondition { span, .. } = &sampling.policies[1].rule else { panic!("a condition") };
        assert_eq!(span, &[condition]);
    }
    let exporter = "{otlp: {endpoint: '${env:H}:4317', tls: {insecure: true}, headers: {authorization: '${env:T}', n: '${env:N}'}}}";
    let environment = [("H", "b"), ("T", "Basic {a}: #$$b=="), ("N", "0123")];
    let config = loaded(&file_of(OTLP, exporter, PIPELINE), &environment, &[]).config;
    let headers = &config.exporters.otlp[0].headers;
    assert_eq!((headers[0].1.as_str(), headers[1].1.as_str()), ("Basic {a}: #$b==", "0123"));
    assert_eq!(config.exporters.otlp[0].endpoints, ["http://b:4317"]);
    // Unset, a credential or an address is not just empty; and the rest is told, too.
    for (unset, key) in [("H", "exporters.otlp.endpoint"), ("T", "exporters.otlp.headers.authorization")] {
        let environment: Vec<_> = environment.into_iter().filter(|(name, _)| *name != unset).collect();
        let told = problems(&file_of(OTLP, exporter, PIPELINE), &environment, &[]);
        let expected = format!("t.yaml:2: {key}: the environment variable {unset} is not set; set it");
        assert!(told.len() == 1 && told[0].starts_with(&expected), "{told:?}");
    }
    let sections = "receivers: ${env:R}\nexporters: ${env:E}\nservice: ${env:S}\n";
    let pipelines = format!("{{pipelines: {PIPELINE}}}");
    let config = loaded(sections, &[("R", OTLP), ("E", BACKEND), ("S", &pipelines)], &[]).config;
    assert_eq!(config.exporters.otlp[0].endpoints, ["http://b:4317"]);
}

#[test]
fn yes_and_no_are_booleans_where_one_is_wanted() {
    for (word, wanted) in [("yes", true), ("on", true), ("True", true), ("no", false), ("off", false)] {
        let section = format!(
            "sample_on_first_match: {word}\npolicies:\n  - {{name: {word}, type: boolean_attribute, boolean_attribute: {{key: {word}, value: {word}}}}}"
        );
        if word == "True" {
            // Text without quotes is a boolean there, and in Go's reader.
            assert!(problems(&sampling_file(&section), &[], &[])[0].contains("does not fit here"));
            continue;
        }
        let sampling = loaded(&sampling_file(&section), &[], &[]).config.sampling;
        assert_eq!(sampling.sample_on_first_match, wanted);
        let rule = Rule::BooleanAttribute { key: word.to_string(), value: wanted, invert: false };
        assert_eq!((sampling.policies[0].name.as_str(), &sampling.policies[0].rule), (word, &rule));
    }
}

#[test]
fn substitution_errors_name_the_key() {
    let unset =
        loaded(&sampling_file("num_traces: ${env:NOT_SET}\npolicies: [{name: a, type: always_sample}]"), &[], &[]);
    assert_eq!(unset.config.sampling.traces_max, 50_000);
    assert!(unset.notes.iter().any(|note| note.text.contains("NOT_SET")), "{:?}", unset.notes);
    for (value, cause) in [
        ("${http://x}", "the source `http` is not supported"),
        ("${file:/etc/x}", "files are not read here"),
        ("${env:A B}", "not the name of an environment variable"),
    ] {
        let told = problems(&sampling_file(&format!("decision_wait: '{value}'")), &[], &[]);
        assert!(told[0].starts_with("t.yaml:9: processors.tail_sampling.decision_wait: "), "{told:?}");
        assert!(told[0].contains(cause), "{told:?}");
        assert_eq!(told.len(), 1, "what follows from it is no news: {told:?}");
    }
    let open = problems(&sampling_file("decision_wait: 'a${env:A'"), &[], &[]);
    assert!(open[0].contains("a${env:A: not a duration"), "{open:?}");
    // An embedded expression makes text, and text is no number.
    refused_with(&sampling_file("num_traces: 1${env:A:-0}"), 9, "text does not fit here");
}

#[test]
fn whole_numbers_may_have_an_exponent() {
    let section = "num_traces: 1e5\nmaximum_trace_size_bytes: 1.5e6\npolicies: []";
    let sampling = loaded(&sampling_file(section), &[], &[]).config.sampling;
    assert_eq!((sampling.traces_max, sampling.trace_bytes_max), (100_000, 1_500_000));
    for (value, cause) in [("1e-1", "does not fit here"), ("-1e5", "does not fit here"), ("1e30", "out of bounds")] {
        let told = problems(&sampling_file(&format!("num_traces: {value}")), &[], &[]);
        assert!(told[0].contains(cause) || told[0].contains("not a whole number"), "{value}: {told:?}");
    }
}

#[test]
fn sampling_values_are_strict() {
    for (section, cause) in [
        ("decision_wait: 10", "an integer does not fit here"),
        ("decision_wait: 10 s", "not a duration"),
        ("decision_wait: -1s", "negative duration"),
        ("num_traces: \"10\"", "text does not fit here; write a whole number, such as 100_000 without quotes"),
        ("num_traces: -1", "not a whole number of zero or more"),
        ("num_traces: 0", "out of bounds"),
        ("sample_on_first_match: maybe", "text does not fit here"),
        ("decision_wait_: 10s", "unknown key; did you mean `decision_wait`?"),
        ("decision_cache: {sampled_cash_size: 1}", "unknown key; did you mean `sampled_cache_size`?"),
        ("decision_cache: 5", "an integer where a mapping is needed"),
        ("sampling_strategy: other", "invalid sampling_strategy \"other\", expected one of"),
        ("tail_storage: file_storage", "not supported; storage extensions"),
        ("policies: {}", "a mapping where a list of policies is needed"),
    ] {
        refused_with(&sampling_file(section), 9, cause);
    }
}

#[test]
fn pipelines_are_checked() {
    for (pipelines, cause) in [
        ("{traces: {receivers: [otlp/x], exporters: [otlp]}}", "`otlp/x` is not defined under receivers"),
        (
            "{traces: {receivers: [otlp], exporters: [oltp]}}",
            "`oltp` is not defined under exporters; did you mean `otlp`?",
        ),
        ("{traces: {receivers: [otlp], exporters: []}}", "must have at least one exporter"),
        ("{traces: {exporters: [otlp]}}", "must have at least one receiver"),
        ("{metrics: {receivers: [otlp], exporters: [otlp]}}", "there is no traces pipeline"),
        ("{profiles: {receivers: [otlp], exporters: [otlp]}}", "not a signal that is supported"),
        ("{traces: {receivers: otlp, exporters: [otlp]}}", "text where a list is needed"),
        ("{traces: {receiver: [otlp], exporters: [otlp]}}", "unknown key; the keys here are receivers"),
        ("{traces: }", "the pipeline is empty"),
    ] {
        refused_with(&file_of(OTLP, BACKEND, pipelines), 4, cause);
    }
    refused_with("receivers: {}\nservice:\n", 2, "the section is empty");
    refused_with("receivers: {}\n", 1, "the section is missing");
    refused_with(&format!("{}sampling: {{}}\n", file_of(OTLP, BACKEND, PIPELINE)), 5, "unknown section");
}

#[test]
fn other_components_are_refused_where_they_matter() {
    let other = "receivers: {otlp: {protocols: {grpc: }}, jaeger: }\nprocessors: {attributes: {actions: []}}\nexporters: {kafka: , otlp: {endpoint: 'https://b'}}\nconnectors: {count: }\nservice:\n  pipelines:\n    traces:\n      receivers: [otlp, jaeger]\n      processors: [attributes]\n      exporters: [otlp, kafka, count]\n";
    let told = problems(other, &[], &[]);
    for (line, cause) in [
        (8, "the receiver `jaeger` is not supported"),
        (9, "the processor `attributes` is not supported"),
        (10, "the exporter `kafka` is not supported"),
        (10, "the connector `count` is not supported"),
    ] {
        let found = told.iter().any(|text| text.starts_with(&format!("t.yaml:{line}: ")) && text.contains(cause));
        assert!(found, "{cause}: {told:?}");
    }
    assert_eq!(told.len(), 4, "{told:?}");
}

#[test]
fn receivers_are_checked() {
    for (receivers, cause) in [
        ("{otlp: }", "must specify at least one protocol"),
        ("{otlp: {protocols: {thrift: }}}", "unknown protocol"),
        ("{otlp: {protocols: {grpc: {endpoint: 'collector'}}}}", "not an address to listen on"),
        ("{otlp: {protocols: {grpc: {tls: {cert_file: a}}}}}", "TLS on receivers is not there yet"),
        ("{otlp: {protocols: {grpc: {transport: unix}}}}", "`unix` is not supported"),
        ("{otlp: {protocols: {grpc: {auth: {authenticator: x}}}}}", "authenticating senders is not supported"),
        ("{otlp: {protocols: {http: {cors: {allowed_origins: ['*']}}}}}", "cross-origin requests"),
        ("{otlp: {protocols: {http: {traces_url_path: /x}}}}", "`/x` is not supported; write /v1/traces"),
        ("{otlp: {protocols: {grpc: {max_recv_msg_size_mib: 1.5}}}}", "not a whole number"),
        ("{otlp: {protocols: {grpc: {endpont: 'localhost:1'}}}}", "unknown key; did you mean `endpoint`?"),
    ] {
        refused_with(&file_of(receivers, BACKEND, PIPELINE), 1, cause);
    }
    let clash = "{otlp: {protocols: {grpc: {endpoint: '0.0.0.0:4317'}, http: {endpoint: 'localhost:4317'}}}}";
    refused_with(
        &file_of(clash, BACKEND, PIPELINE),
        1,
        "takes the same port as receivers.otlp.protocols.grpc.endpoint",
    );
}

#[test]
fn exporters_are_checked() {
    for (exporter, cause) in [
        ("{otlp: }", "an exporter without an endpoint"),
        ("{otlp: {endpoint: 'http://b:4317'}}", "the scheme is http but tls.insecure is not set"),
        ("{otlp: {endpoint: 'b:4317', tls: {insecure_skip_verify: true}}}", "an unverified server is not supported"),
        ("{otlp: {endpoint: 'b:4317', auth: {authenticator: x}}}", "authentication extensions are not supported"),
        ("{otlp: {endpoint: 'b:99999'}}", "a URL with a port that is none"),
        ("{otlp: {endpoint: 'b:4317', compression: brotli}}", "not one of the words this key takes"),
        ("{otlp: {endpoint: 'b:4317', headers: {'a b': c}}}", "is not a header name"),
        ("{otlp: {endpoint: 'b:4317', headers: {a: 5}}}", "an integer where text is needed; put the value in quotes"),
        ("{otlp: {endpoint: 'b:4317', time_out: 5s}}", "unknown key; did you mean `timeout`?"),
        ("{otlp: {endpoint: 'b:4317', tls: {cert_file: a}}}", "a certificate needs its key"),
    ] {
        refused_with(&file_of(OTLP, exporter, PIPELINE), 2, cause);
    }
    let listed = "{otlp: {endpoint: 'b:4317', headers: [{name: a, value: b}], compression: snappy}}";
    let loaded = loaded(&file_of(OTLP, listed, PIPELINE), &[], &[]);
    assert_eq!(loaded.config.exporters.otlp[0].headers, [("a".to_string(), "b".to_string())]);
    assert_eq!(loaded.config.exporters.otlp[0].endpoints, ["https://b:4317"]);
    assert!(loaded.notes.iter().any(|note| note.text.contains("gzip is used")));
}

#[test]
fn the_file_exporter_is_the_embedded_one() {
    let of = |settings: &str| {
        let exporter = format!("{{file: {{path: /var/lib/kept.json{settings}}}}}");
        let file = file_of(OTLP, &exporter, "{traces: {receivers: [otlp], exporters: [file]}}");
        loaded(&file, &[], &[])
    };
    let rotated = |settings: &str| {
        let file = of(settings).config.exporters.file.unwrap();
        assert_eq!(file.path.to_str(), Some("/var/lib/kept.json"));
        (file.bytes_max >> 20, file.backups_max, file.backup_age_max.as_secs() / 86_400)
    };
    assert_eq!(rotated(""), (0, 100, 0), "no limit where none is written");
    assert_eq!(rotated(", rotation: "), (0, 100, 0));
    assert_eq!(rotated(", rotation: {}"), (100, 100, 0), "the Collector's own defaults");
    assert_eq!(rotated(", rotation: {max_megabytes: 10, max_days: 3, max_backups: 7}"), (10, 7, 3));
    assert_eq!(rotated(", rotation: {max_megabytes: 0, max_backups: 0}"), (100, 0, 0));
    assert_eq!(rotated(", rotation: {enabled: false, localtime: false}"), (0, 100, 0));
    let noted = of(", rotation: {localtime: true}").notes;
    assert!(noted.iter().any(|note| note.key == "exporters.file.rotation.localtime"));
}

#[test]
fn a_debug_exporter_prints_and_says_where_kept_data_goes_when_it_is_alone() {
    let of = |exporter: &str, pipeline: &str| loaded(&file_of(OTLP, exporter, pipeline), &[], &[]);
    let alone = of("{debug: {verbosity: detailed}}", "{traces: {receivers: [otlp], exporters: [debug]}}");
    assert_eq!(alone.config.exporters.debug, DebugVerbosity::Detailed);
    assert!(alone.config.exporters.file.is_some());
    assert!(alone.notes.iter().any(|note| note.text.contains("kept.jsonl")));
    let beside = of(
        "{debug: , otlp: {endpoint: 'dns:///b:4317', balancer_name: round_robin, timeout: 0s}}",
        "{traces: {receivers: [otlp], exporters: [debug, otlp]}}",
    );
    assert_eq!(beside.config.exporters.debug, DebugVerbosity::Basic);
    assert!(
        beside.config.exporters.file.is_none() && beside.notes.iter().all(|note| !note.text.contains("kept.jsonl"))
    );
    let exporter = &beside.config.exporters.otlp[0];
    assert_eq!((exporter.endpoints[0].as_str(), exporter.timeout), ("https://b:4317", Duration::ZERO));
    let native = loaded(
        "exporters: {otlp: {endpoints: ['dns:///b:4317'], tls: {insecure: true}, retry: {park_on: [401, 403]}}}",
        &[],
        &[],
    )
    .config;
    assert_eq!(native.exporters.otlp[0].endpoints, ["http://b:4317"]);
    assert_eq!(native.exporters.otlp[0].retry.park_on, [401, 403]);
    let told = problems("exporters: {otlp: {endpoints: ['http://b:4317'], retry: {park_on: [200]}}}", &[], &[]);
    assert!(told[0].contains("write numbers of 400 to 599"), "{told:?}");
}
