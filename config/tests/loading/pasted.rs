//! Files as people paste them: keys without effect, zeros that switch off, names to listen on, and errors in the words of
//! the file.

use std::time::Duration;

use crate::support::{layered, loaded, problems};
use tailwater_config::{Config, Loaded, memory_plan, wal_plan};

/// A Collector's file with those receivers and exporters.
fn file(protocols: &str, exporter: &str) -> String {
    format!(
        "receivers:\n  otlp: {{protocols: {protocols}}}\nprocessors:\n  tail_sampling:\n    policies: [{{name: a, type: always_sample}}]\nexporters:\n  otlp: {exporter}\nservice: {{pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [otlp]}}}}}}\n"
    )
}

const EXPORTER: &str = "{endpoint: 'b:4317', tls: {insecure: true}}";

fn notes(loaded: &Loaded) -> Vec<String> {
    loaded.notes.iter().map(ToString::to_string).collect()
}

#[test]
fn keys_without_effect_are_noted() {
    for (protocols, exporter, told) in [
        (
            "{grpc: }",
            "{endpoint: b, tls: {insecure: true, insecure_skip_verify: true}}",
            "tls.insecure_skip_verify: has no effect beside insecure: true",
        ),
        (
            "{grpc: }",
            "{endpoint: b, tls: {insecure: true, ca_pem: x, cert_file: y}}",
            "tls.cert_file: has no effect beside insecure",
        ),
        ("{grpc: {tls: {}}}", EXPORTER, "grpc.tls: has no effect without cert_file"),
        ("{grpc: {tls: }}", EXPORTER, "grpc.tls: nothing is written here"),
        ("{grpc: {tls: {min_version: '1.2'}}}", EXPORTER, "grpc.tls.min_version: has no effect without cert_file"),
        ("{http: {cors: {}}}", EXPORTER, "http.cors: has no effect without allowed_origins"),
        ("{http: {cors: }}", EXPORTER, "http.cors: nothing is written here"),
        ("{http: {cors: {allowed_origins: [], max_age: 7}}}", EXPORTER, "cors.max_age: has no effect without"),
        ("{grpc: {keepalive: }}", EXPORTER, "grpc.keepalive: nothing is written here"),
        ("{grpc: {auth: {authenticator: ''}}}", EXPORTER, "grpc.auth: nothing is written here"),
        ("{http: {traces_url_path: ''}}", EXPORTER, "http.traces_url_path: nothing is written here"),
        ("{grpc: {transport: ''}}", EXPORTER, "grpc.transport: nothing is written here"),
        ("{grpc: }", "{endpoint: b, tls: }", "exporters.otlp.tls: nothing is written here"),
        ("{grpc: }", "{endpoint: b}", "has no scheme, so that TLS is used"),
    ] {
        let told_of = notes(&loaded(&file(protocols, exporter), &[], &[]));
        assert!(told_of.iter().any(|note| note.contains(told)), "{told}: {told_of:#?}");
    }
    // Where it has an effect it is refused as before.
    for (protocols, exporter) in [
        ("{grpc: }", "{endpoint: b, tls: {insecure_skip_verify: true}}"),
        ("{grpc: }", "{endpoint: 'https://b', tls: {insecure: true, insecure_skip_verify: true}}"),
        ("{grpc: {tls: {cert_file: a, key_file: b}}}", EXPORTER),
        ("{http: {cors: {allowed_origins: ['*']}}}", EXPORTER),
    ] {
        assert!(layered(&file(protocols, exporter), &[], &[]).is_err(), "{protocols} {exporter}");
    }
    let http = "receivers: {otlp: {protocols: {http: }}}\nexporters: {otlphttp: {endpoint: 'http://b:4318', tls: {insecure_skip_verify: true}}}\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [otlphttp]}}}\n";
    assert!(notes(&loaded(http, &[], &[])).iter().any(|note| note.contains("http:// is plain text")));
    let native = "exporters: {otlp: {endpoints: ['http://b'], tls: {cert_file: a}}}\nsampling: {policies: }\n";
    let told = notes(&loaded(native, &[], &[]));
    assert!(told.iter().any(|note| note.contains("sampling.policies: nothing is written here, so the default holds")));
}

#[test]
fn zero_switches_off_where_it_does_in_the_collector() {
    let protocols = "{grpc: {max_concurrent_streams: 0, max_recv_msg_size_mib: 0, keepalive: {server_parameters: {max_connection_idle: 0s, max_connection_age: 0, max_connection_age_grace: 0s, time: 0s, timeout: 0}}}, http: {read_timeout: 0s, read_header_timeout: 0, idle_timeout: 0s, write_timeout: 0, max_request_body_size: 0}}";
    let exporter = "{endpoint: 'b:4317', tls: {insecure: true}, timeout: 0, retry_on_failure: {initial_interval: 0s, max_interval: 0, multiplier: 0, max_elapsed_time: 0}, sending_queue: {num_consumers: 0, queue_size: 0}}";
    let config = loaded(&file(protocols, exporter), &[], &[]).config;
    let grpc = config.receivers.grpc.unwrap().limits;
    assert_eq!(grpc.streams_per_connection_max, 65_536);
    assert_eq!((grpc.idle_timeout, grpc.connection_age_max), (Duration::ZERO, Duration::ZERO));
    assert_eq!(grpc.connection_age_grace, Duration::from_secs(720 * 3600), "for ever, as there");
    assert_eq!((grpc.keepalive_interval, grpc.keepalive_timeout), (Duration::from_secs(7200), Duration::from_secs(20)));
    let http = config.receivers.http.unwrap().limits;
    assert_eq!((http.request_timeout, http.first_request_timeout, http.idle_timeout), Default::default());
    let exporter = &config.exporters.otlp[0];
    assert_eq!(exporter.timeout, Duration::ZERO);
    assert!(exporter.attempt_duration_max() > Duration::from_secs(365 * 24 * 3600));
    assert_eq!(
        (exporter.retry.initial_interval, exporter.retry.max_elapsed_time),
        (Duration::from_millis(1), Duration::ZERO)
    );
    let many = loaded(&file("{grpc: {max_concurrent_streams: 4294967295}}", EXPORTER), &[], &[]).config;
    assert_eq!(many.receivers.grpc.unwrap().limits.streams_per_connection_max, 65_536);
    let longer = "{endpoint: b, tls: {insecure: true}, retry_on_failure: {initial_interval: 10s, max_interval: 5s}}";
    assert!(
        notes(&loaded(&file("{grpc: }", longer), &[], &[]))
            .iter()
            .any(|note| note.contains("bounds every wait but the first"))
    );
}

#[test]
fn receivers_listen_on_names() {
    let endpoint = |text: &str| {
        let config: Config = loaded(&file(&format!("{{grpc: {{endpoint: '{text}'}}}}"), EXPORTER), &[], &[]).config;
        config.receivers.grpc.unwrap().endpoint
    };
    for (text, host, port) in [
        ("collector.example:4317", "collector.example", 4317),
        ("localhost:4317", "localhost", 4317),
        ("[::1]:4317", "::1", 4317),
        (":4317", "0.0.0.0", 4317),
        ("my_host-1:0", "my_host-1", 0),
    ] {
        let found = endpoint(text);
        assert_eq!((found.host(), found.port()), (host, port));
        assert_eq!(found.to_string(), if host == "0.0.0.0" { "0.0.0.0:4317" } else { text });
    }
    let pod = file("{grpc: {endpoint: '${env:POD_IP}:4317'}}", EXPORTER);
    let config = loaded(&pod, &[("POD_IP", "10.0.0.7")], &[]).config;
    assert_eq!(config.receivers.grpc.unwrap().endpoint.to_string(), "10.0.0.7:4317");
    for wrong in ["4317", "a b:1", "1.2.3:1", "[::1:1", "host:port", "host:99999", "::1:4317", "unix:///x"] {
        let told = problems(&file(&format!("{{grpc: {{endpoint: '{wrong}'}}}}"), EXPORTER), &[], &[]);
        assert!(told.len() == 1 && told[0].contains("not an address to listen on"), "{wrong}: {told:?}");
    }
    let clash = file("{grpc: {endpoint: 'localhost:1'}, http: {endpoint: '127.0.0.1:1'}}", EXPORTER);
    let told = problems(&clash, &[], &[]);
    let expected = "receivers.otlp.protocols.http.endpoint = 127.0.0.1:1: takes the same port as receivers.otlp.protocols.grpc.endpoint";
    assert!(told[0].contains(expected), "{told:?}");
}

#[test]
fn what_is_found_out_later_names_its_place() {
    let native = loaded("memory:\n  bytes_max: 100M\nwal:\n  bytes_max: 20MiB\n", &[], &[]);
    let told = native.located(&memory_plan(&native.config, 2).unwrap_err()).to_string();
    assert!(told.starts_with("t.yaml:2: memory.bytes_max = 100MiB: ") && told.contains("raise it to "), "{told}");
    let told = native.located(&wal_plan(&native.config, 2).unwrap_err()).to_string();
    assert!(told.starts_with("t.yaml:4: wal.bytes_max = 20MiB: ") && told.contains("raise it to "), "{told}");
    // What it says to raise it to does.
    let least = told.split("raise it to ").nth(1).unwrap().split([',', ' ']).next().unwrap();
    let raised = loaded(&format!("wal:\n  bytes_max: {least}\n"), &[], &[]);
    assert!(wal_plan(&raised.config, 2).is_ok());
    let least = native.located(&memory_plan(&native.config, 2).unwrap_err()).to_string();
    let least = least.split("raise it to ").nth(1).unwrap().split(' ').next().unwrap().to_string();
    let raised = loaded("memory:\n  bytes_max: 100M\n", &[], &[("memory.bytes_max", &least)]);
    let refused = memory_plan(&raised.config, 2).err().map(|problem| raised.located(&problem).to_string());
    assert!(refused.is_none_or(|told| told.starts_with("flag --memory-bytes-max: ")));

    let collector = file("{grpc: }", EXPORTER);
    let flag = loaded(&collector, &[], &[("memory.bytes_max", "100MiB")]);
    let told = flag.located(&memory_plan(&flag.config, 2).unwrap_err()).to_string();
    assert!(told.starts_with("flag --memory-bytes-max: memory.bytes_max = 100MiB"), "{told}");
    let variable = loaded(&collector, &[("TAILWATER_MEMORY_BYTES_MAX", "100MiB")], &[]);
    let told = variable.located(&memory_plan(&variable.config, 2).unwrap_err()).to_string();
    assert!(told.starts_with("environment TAILWATER_MEMORY_BYTES_MAX: "), "{told}");
    // What the file cannot say is told as a flag.
    let told = variable.located(&wal_plan(&variable.config, 1000).unwrap_err()).to_string();
    assert!(told.contains("the flag is --wal-bytes-max, the variable TAILWATER_WAL_BYTES_MAX"), "{told}");
}

#[test]
fn one_fault_is_one_error_and_says_what_fits() {
    for (text, expected) in [
        (
            "memory: {bytes_max: 8 apples}\n",
            "t.yaml:1: memory.bytes_max = 8 apples: not a size; write bytes, or a number with one of the units KiB",
        ),
        (
            "otlp: {grpc: {tls: {cert_file: a}}}\n",
            "t.yaml:1: otlp.grpc.tls: unknown key; TLS on receivers is not there yet",
        ),
        (
            "exporters:\n  otlp:\n    endpoints: ${env:NONE}\n",
            "t.yaml:3: exporters.otlp.endpoints: the environment variable NONE is not set",
        ),
        (
            "exporters:\n  otlp:\n    endpoints: 5\n",
            "t.yaml:3: exporters.otlp.endpoints = 5: an integer does not fit here",
        ),
        ("exporters:\n  otlp:\n    endpoint: x\n", "t.yaml:3: exporters.otlp.endpoint: unknown key; did you mean"),
        ("otlp:\n\tgrpc: 1\n", "t.yaml:2: not YAML at column 2: a tab where YAML allows spaces only; use spaces"),
    ] {
        let told = problems(text, &[], &[]);
        assert!(told.len() == 1 && told[0].starts_with(expected), "{told:#?}");
    }
    assert_eq!(loaded("memory: {bytes_max: 8G}\n", &[], &[]).config.memory.bytes_max, 8 << 30);
    assert!(loaded("", &[("TAILWATER_CONFIG", "x.yaml")], &[]).notes.is_empty());
}

#[test]
fn a_file_whose_exporters_print_only_says_where_traces_go() {
    let text = "receivers: {otlp: {protocols: {grpc: }}}\nexporters: {debug: }\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [debug]}}}\n";
    let told = notes(&loaded(text, &[], &[]));
    assert!(told.iter().any(|note| note.starts_with("t.yaml:3: ") && note.contains("kept.jsonl")), "{told:#?}");
}

#[test]
fn a_missing_block_is_noted() {
    for kind in ["latency", "string_attribute", "probabilistic", "span_count", "boolean_attribute", "trace_state"] {
        for block in ["", ", KIND: ", ", other: {}"] {
            let block = block.replace("KIND", kind);
            let text = format!("sampling:\n  policies:\n    - {{name: a, type: {kind}{block}}}\n");
            let told = notes(&loaded(&text, &[], &[]));
            let expected = format!("t.yaml:3: sampling.policies[0].{kind}: is missing");
            assert!(told.iter().any(|note| note.starts_with(&expected)), "{told:?}");
        }
    }
}

#[test]
fn holders_of_anchors_at_the_top_are_taken() {
    for holder in ["x-common", ".common"] {
        let common = format!("{holder}: &common\n  timeout: 7s\n  tls: {{insecure: true}}\n");
        let text = format!("{common}{}", file("{grpc: }", "{<<: *common, endpoint: 'b:4317'}"));
        let exporters = loaded(&text, &[], &[]).config.exporters.otlp;
        assert_eq!(
            (exporters[0].timeout, exporters[0].endpoints[0].as_str()),
            (Duration::from_secs(7), "http://b:4317")
        );
        let native =
            format!("{holder}: &e {{compression: zstd}}\nexporters: {{otlp: {{<<: *e, endpoints: ['http://b']}}}}\n");
        assert_eq!(loaded(&native, &[], &[]).config.exporters.otlp[0].compression, tailwater_config::Compression::Zstd);
    }
}

#[test]
fn what_follows_from_a_fault_is_not_told() {
    for text in [
        "receivers: {otlp: }\nservice:\n",
        "receivers: [otlp]\nservice: {pipelines: {traces: {receivers: [otlp], exporters: [x]}}}\n",
    ] {
        let told = problems(text, &[], &[]);
        assert!(told.iter().all(|problem| problem.starts_with("t.yaml:")), "{told:#?}");
    }
}
