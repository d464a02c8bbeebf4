//! Defaults, native file, environment and flags: who wins, and what is said.

use std::time::Duration;

use crate::support::{layered, loaded, problems, refused_with};
use tailwater_config::sampling::Rule;
use tailwater_config::{Ack, Compression, Config, ExportProtocol, GIB, Inputs, Signals, Source, load};

fn config(file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]) -> Config {
    loaded(file, environment, flags).config
}

#[test]
fn nothing_written_is_useful() {
    let config = config("", &[], &[]);
    assert_eq!(config.receivers.grpc.unwrap().endpoint.to_string(), "127.0.0.1:4317");
    assert_eq!(config.receivers.http.unwrap().endpoint.to_string(), "127.0.0.1:4318");
    assert_eq!(config.sampling.decision_wait, Duration::from_secs(10));
    assert_eq!(config.sampling.decision_wait_after_root_received, Duration::from_secs(2));
    let names: Vec<&str> = config.sampling.policies.iter().map(|policy| policy.name.as_str()).collect();
    assert_eq!(names, ["errors", "slow", "sample"]);
    assert_eq!(config.exporters.file.unwrap().path.to_str(), Some("tailwater-data/kept.jsonl"));
    assert_eq!(config.memory.bytes_max, 10 * GIB / 100 * 60);
    assert_eq!(config.ack, Ack::Synced);
    assert_eq!(config.receivers.signals, Signals::ALL);
}

#[test]
fn flags_win_over_environment_over_file() {
    let file = "sampling:\n  decision_wait: 1m30s\n  num_traces: 100_000\nack: written\nexporters:\n  otlp:\n    endpoints: [http://a:4317]\n";
    let environment = [("TAILWATER_SAMPLING_NUM_TRACES", "7"), ("TAILWATER_ACK", "received")];
    let loaded = loaded(file, &environment, &[("ack", "synced"), ("data_directory", "/d")]);
    assert_eq!(loaded.config.sampling.decision_wait, Duration::from_secs(90));
    assert_eq!(loaded.config.sampling.traces_max, 7);
    assert_eq!(loaded.config.ack, Ack::Synced);
    assert_eq!(loaded.sources["ack"], Source::Flag("ack".to_string()));
    assert_eq!(loaded.sources["data_directory"], Source::Flag("data-dir".to_string()));
    assert_eq!(loaded.sources["sampling.decision_wait"], Source::File { name: "t.yaml".to_string(), line: 2 });
    assert_eq!(loaded.config.exporters.otlp[0].endpoints, ["http://a:4317"]);
    assert_eq!(loaded.config.exporters.file, None);
    // The last of two flags holds.
    assert_eq!(config("", &[], &[("ack", "synced"), ("ack", "received")]).ack, Ack::Received);
}

#[test]
fn every_problem_is_told_at_once_with_its_line() {
    let file =
        "samplin:\n  decision_wait: 10s\nsampling:\n  decison_wait: 10s\n  num_traces: \"10\"\nack: maybe\nlog: loud\n";
    assert_eq!(
        problems(file, &[("TAILWATER_SHARDS", "none")], &[("cores.x", "1")]),
        [
            "t.yaml:1: samplin: unknown key; did you mean `sampling`?",
            "t.yaml:4: sampling.decison_wait: unknown key; did you mean `sampling.decision_wait`?",
            "t.yaml:5: sampling.num_traces = 10: text does not fit here; write a whole number, such as 100_000 without quotes",
            "t.yaml:6: ack = maybe: not one of the words this key takes; write one of received, written, synced",
            "t.yaml:7: log: text where a section is needed; write a mapping",
            "environment TAILWATER_SHARDS: shards = none: not a whole number of zero or more; write digits, such as 1000 or 100_000",
            "flag --cores.x: cores.x: unknown key; did you mean `cores`?",
        ]
    );
}

#[test]
fn values_out_of_bounds_are_refused() {
    for (key, value, cause) in [
        ("shards", "0", "out of bounds; write 1 to 1024"),
        ("otlp.grpc.connection_window_bytes", "4GiB", "out of bounds; write 65535 to 2147483647"),
        ("otlp.http.request_bytes_max", "0", "out of bounds"),
        ("otlp.http.request_timeout", "2h", "out of bounds; write 0s to 1h"),
        ("otlp.http.endpoint", "1.2.3:1", "not an address to listen on"),
        ("exporters.otlp.retry.multiplier", "0.5", "out of bounds; write 1 to 100"),
        ("exporters.otlp.retry.multiplier", "nan", "out of bounds"),
        ("sampling.decision_wait", "25h", "out of bounds"),
        ("data_directory", "", "not a path"),
        ("runtime", "urng", "did you mean `uring`?"),
        ("otlp.grpc.enabled", "1", "not a boolean"),
        ("memory.bytes_max", "1PB", "not a size"),
        ("exporters.otlp.headers", "a", "a header without a value"),
    ] {
        let told = problems("", &[], &[(key, value), ("exporters.otlp.endpoints", "http://a:4317")]);
        assert!(told.len() == 1 && told[0].contains(cause), "{key}: {told:?}");
    }
}

#[test]
fn checks_across_keys_are_made() {
    let endpoint = ("exporters.otlp.endpoints", "http://a:4317");
    for (flags, cause) in [
        (vec![("otlp.grpc.enabled", "false"), ("otlp.http.enabled", "false")], "no receiver is enabled"),
        (vec![("admin.endpoint", "127.0.0.1:4317")], "takes the same port as otlp.grpc.endpoint"),
        (vec![endpoint, ("exporters.otlp.batch.bytes_max", "1GiB")], "one full request would not fit the queue"),
        (vec![("exporters.otlp.timeout", "1s")], "an exporter without an endpoint"),
        (vec![("exporters.otlp.endpoints", "ftp://a")], "not a URL with http:// or https://"),
        (vec![("exporters.otlp.endpoints", "http://u:p@a")], "a URL with a user name"),
        (vec![("exporters.otlp.endpoints", "http://a:0")], "a URL with a port that is none"),
        (vec![("exporters.otlp.endpoints", "http://:1")], "a URL without a host"),
    ] {
        let told = problems("", &[], &flags);
        assert!(told.iter().any(|text| text.contains(cause)), "{cause}: {told:?}");
    }
    // Ports chosen by the kernel clash with nothing.
    config(
        "",
        &[],
        &[
            ("otlp.grpc.endpoint", "127.0.0.1:0"),
            ("otlp.http.endpoint", "127.0.0.1:0"),
            ("admin.endpoint", "127.0.0.1:0"),
        ],
    );
}

#[test]
fn endpoints_get_a_scheme() {
    let endpoints = |text: &str, insecure| {
        config("", &[], &[("exporters.otlp.endpoints", text), ("exporters.otlp.tls.insecure", insecure)]).exporters.otlp
            [0]
        .endpoints
        .clone()
    };
    assert_eq!(endpoints("a:1, http://b", "false"), ["https://a:1", "http://b"]);
    assert_eq!(endpoints("a:1,[::1]:2,https://c", "true"), ["http://a:1", "http://[::1]:2", "https://c"]);
}

#[test]
fn policies_are_read_from_the_file_and_from_a_flag() {
    let file = "sampling:\n  policies:\n    - name: all\n      type: always_sample\n";
    let from_file = config(file, &[], &[]);
    assert_eq!(from_file.sampling.policies.len(), 1);
    assert_eq!(from_file.sampling.policies[0].line, 3);
    let flag = config(file, &[], &[("sampling.policies", "[{name: s, type: span_count, span_count: {min_spans: 3}}]")]);
    assert_eq!(flag.sampling.policies[0].rule, Rule::SpanCount { min: 3, max: 0 });
    assert_eq!(flag.sampling.policies[0].line, 0);
    let told = problems("", &[], &[("sampling.policies", "[{name: s, type: spam_count}]")]);
    assert!(told[0].starts_with("flag --sampling-policies: sampling.policies[0].type: "), "{told:?}");
}

#[test]
fn unknown_variables_are_told_and_those_of_an_orchestrator_are_not() {
    let environment = [
        ("TAILWATER_SHARD", "2"),
        ("TAILWATER_SERVICE_HOST", "10.0.0.1"),
        ("TAILWATER_PORT_4317_TCP", "tcp://10.0.0.1:4317"),
        ("TAILWATER_PORT", "tcp://10.0.0.1:4317"),
        ("HOME", "/root"),
    ];
    let loaded = loaded("", &environment, &[]);
    let told: Vec<String> = loaded.notes.iter().map(ToString::to_string).collect();
    assert_eq!(
        told,
        [
            "environment TAILWATER_SHARD: TAILWATER_SHARD: unknown variable, has no effect; did you mean TAILWATER_SHARDS?"
        ]
    );
    assert_eq!(loaded.config.node.shards, None);
}

#[test]
fn the_machines_memory_bounds_the_default() {
    let of = |bytes| {
        load(&Inputs { file: None, environment: &[], flags: &[], machine_memory_bytes: bytes }).unwrap().config.memory
    };
    assert_eq!(of(100 * GIB).bytes_max, 60 * GIB);
    assert_eq!(of(100 * GIB).receive_bytes_max, 60 * GIB / 8);
    assert_eq!(of(GIB).receive_bytes_max, GIB / 100 * 60 / 8);
    assert_eq!(of(0).bytes_max, GIB / 100 * 60);
    let loaded = loaded("", &[], &[("memory.bytes_max", "20GiB")]);
    assert!(loaded.notes[0].text.contains("is more than the machine"));
}

#[test]
fn several_exporters_have_names() {
    let file = "exporters:\n  otlp: {endpoints: ['http://a:1']}\n  otlp/b:\n    endpoints: ['http://b:1']\n    protocol: http/protobuf\n    signals: {logs: false}\n";
    let exporters = config(file, &[], &[]).exporters.otlp;
    assert_eq!(exporters.iter().map(|exporter| exporter.name.as_str()).collect::<Vec<_>>(), ["otlp", "otlp/b"]);
    assert_eq!(exporters[1].traces_urls(), ["http://b:1/v1/traces"]);
    assert!(!exporters[1].signals.logs && exporters[1].signals.traces);
    refused_with("exporters:\n  oltp: {}\n", 2, "unknown key");
    refused_with("exporters:\n  otlp/x: {endpoint: a}\n", 2, "unknown key; did you mean");
    refused_with("exporters:\n  otlp/x: {}\n", 2, "an exporter without an endpoint");
}

#[test]
fn sdk_variables_describe_an_exporter() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://collector:4318/base/"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "api-key=a%2Cb,tenant=x%20y"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "2500"),
        ("OTEL_EXPORTER_OTLP_CERTIFICATE", "/ca.pem"),
        ("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://traces:4318/as/it/is"),
        ("OTEL_EXPORTER_OTLP_LOGS_ENDPOINT", ""),
    ];
    let exporters = config("", &environment, &[]).exporters.otlp;
    assert_eq!(exporters.len(), 2);
    let (traces, rest) = (&exporters[0], &exporters[1]);
    assert_eq!((traces.name.as_str(), rest.name.as_str()), ("otlp/traces", "otlp/metrics"));
    assert_eq!(traces.traces_urls(), ["http://traces:4318/as/it/is"]);
    assert_eq!(traces.signals, Signals { traces: true, ..Signals::NONE });
    assert_eq!(rest.metrics_urls(), ["http://collector:4318/base/v1/metrics"]);
    assert_eq!(rest.signals, Signals { traces: false, ..Signals::ALL });
    assert_eq!(rest.headers, [("api-key".to_string(), "a,b".to_string()), ("tenant".to_string(), "x y".to_string())]);
    assert_eq!((rest.timeout, rest.compression), (Duration::from_millis(2500), Compression::Gzip));
    assert_eq!(rest.protocol, ExportProtocol::HttpProtobuf);
    assert_eq!(rest.tls.ca_file.as_ref().unwrap().to_str(), Some("/ca.pem"));
}

#[test]
fn sdk_variables_of_one_kind_make_one_exporter() {
    let environment = [
        ("OTEL_EXPORTER_OTLP_ENDPOINT", "collector:4317"),
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"),
        ("OTEL_EXPORTER_OTLP_INSECURE", "true"),
    ];
    let exporters = config("", &environment, &[("exporters.otlp.compression", "zstd")]).exporters.otlp;
    assert_eq!(exporters.len(), 1);
    assert_eq!(exporters[0].name, "otlp");
    assert_eq!(exporters[0].endpoints, ["http://collector:4317"]);
    assert_eq!((exporters[0].protocol, exporters[0].compression), (ExportProtocol::Grpc, Compression::Zstd));
    assert_eq!(exporters[0].signals, Signals::ALL);
    let only_traces =
        [("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://t:4317/"), ("OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc")];
    let exporters = config("", &only_traces, &[]).exporters.otlp;
    assert_eq!(exporters[0].endpoints, ["http://t:4317"]);
    assert_eq!(exporters[0].signals, Signals { traces: true, ..Signals::NONE });
}

#[test]
fn sdk_variables_stand_behind_every_other_exporter() {
    let sdk = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://sdk:4318");
    let endpoint = |file: &str, environment: &[(&str, &str)], flags: &[(&str, &str)]| {
        let exporters = config(file, environment, flags).exporters;
        exporters.otlp.iter().flat_map(|exporter| exporter.endpoints.clone()).collect::<Vec<_>>()
    };
    assert_eq!(endpoint("exporters: {otlp: {endpoints: ['http://f']}}", &[sdk], &[]), ["http://f"]);
    assert_eq!(endpoint("", &[sdk, ("TAILWATER_EXPORTERS_OTLP_ENDPOINTS", "http://e")], &[]), ["http://e"]);
    assert_eq!(endpoint("", &[sdk], &[("exporters.otlp.endpoints", "http://g")]), ["http://g"]);
    assert!(endpoint("", &[sdk], &[("exporters.file.path", "x")]).is_empty());
    // Without an endpoint the other variables describe nothing.
    assert!(endpoint("", &[("OTEL_EXPORTER_OTLP_HEADERS", "a=b")], &[]).is_empty());
}

#[test]
fn sdk_variables_are_checked() {
    let sdk = ("OTEL_EXPORTER_OTLP_ENDPOINT", "http://sdk:4318");
    for (name, value, cause) in [
        ("OTEL_EXPORTER_OTLP_PROTOCOL", "thrift", "not a protocol: `thrift`"),
        ("OTEL_EXPORTER_OTLP_COMPRESSION", "lz4", "not a compression"),
        ("OTEL_EXPORTER_OTLP_TIMEOUT", "10s", "not a time"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=%zz", "percent signs that decode to no text"),
        ("OTEL_EXPORTER_OTLP_TRACES_HEADERS", "a", "a header without a value"),
        ("OTEL_EXPORTER_OTLP_HEADERS", "a=b%0ac", "holds control characters"),
    ] {
        let told = problems("", &[sdk, (name, value)], &[]);
        assert!(told[0].starts_with(&format!("environment {name}: ")) && told[0].contains(cause), "{told:?}");
    }
    let told = problems("", &[("OTEL_EXPORTER_OTLP_ENDPOINT", "collector 4318")], &[]);
    assert!(told[0].contains("a URL with white space"), "{told:?}");
    let json = loaded("", &[sdk, ("OTEL_EXPORTER_OTLP_PROTOCOL", "http/json")], &[]);
    assert!(json.notes[0].text.contains("protobuf is sent"));
}

#[test]
fn broken_files_are_refused_with_a_line() {
    refused_with("a: b: c\n", 1, "`key: value` where none can stand");
    refused_with("ack: synced\nack: written\n", 2, "the key `ack` is there twice, first on line 1");
    refused_with("- ack\n", 1, "a list where the sections are needed");
    refused_with("ack: synced\n---\nack: written\n", 2, "more than one document");
    refused_with("ack: !!binary aGk=\n", 1, "the tag `!!binary` is not supported");
    refused_with("sampling: [\n", 1, "has no end");
    assert!(layered("# nothing\n", &[], &[]).is_ok());
}

#[test]
fn a_deep_file_and_an_alias_bomb_are_refused() {
    for depth in [65, 1000, 100_000] {
        let told = problems(&format!("{}{}", "[".repeat(depth), "]".repeat(depth)), &[], &[]);
        assert!(told[0].contains("nested deeper than 64 levels"), "{told:?}");
    }
    let block: String = (0..1000).map(|level| format!("{}a:\n", " ".repeat(level))).collect();
    assert!(problems(&block, &[], &[])[0].contains("nested deeper"));
    let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
    for level in 1..20 {
        let items = vec![format!("*a{}", level - 1); 10].join(", ");
        bomb.push_str(&format!("a{level}: &a{level} [{items}]\n"));
    }
    let told = problems(&bomb, &[], &[]);
    assert!(told[0].contains("aliases expand to more than"), "{told:?}");
}

#[test]
fn aliases_and_merges_are_followed() {
    let file = "sampling:\n  policies:\n    - &first {name: a, type: latency, latency: &block {threshold_ms: 5}}\n    - {<<: *first, name: b}\n    - {name: c, type: latency, latency: {<<: *block, upper_threshold_ms: 9}}\n";
    let policies = config(file, &[], &[]).sampling.policies;
    assert_eq!(policies[1].rule, Rule::Latency { threshold_ms: 5, upper_threshold_ms: 0 });
    assert_eq!(policies[2].rule, Rule::Latency { threshold_ms: 5, upper_threshold_ms: 9 });
}
