//! What someone sees who starts the program for the first time with a file of their own: what it says of itself, names to
//! listen on, ports that are taken, several receivers.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code fails by panicking")]

use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use tailwater_tests::process::{Tailwater, binary, post};
use tempfile::TempDir;

fn run(command: &mut Command) -> (Output, String) {
    let output = command.stdin(Stdio::null()).output().unwrap();
    let said = format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    (output, said)
}

/// Writes a file into a directory and gives its path.
fn write(directory: &TempDir, name: &str, text: &str) -> String {
    let path = directory.path().join(name);
    std::fs::write(&path, text).unwrap();
    path.to_str().unwrap().to_string()
}

/// Sends one span of a trace of its own; the answer's status.
fn send(receiver: SocketAddr, trace: &str) -> u16 {
    let body = format!(
        r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{"traceId":"{trace}","spanId":"0102030405060708","name":"x"}}]}}]}}]}}"#
    );
    post(receiver, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0
}

#[test]
fn a_name_is_listened_on_at_all_its_addresses() {
    let node = Tailwater::start(&["--otlp-http-endpoint", "localhost:0", "--admin-endpoint", "localhost:0"]);
    let port = node.http.port();
    let has_ipv6 = TcpListener::bind("[::1]:0").is_ok()
        && std::net::ToSocketAddrs::to_socket_addrs(&("localhost", 1)).unwrap().any(|address| address.is_ipv6());
    let hosts = if has_ipv6 { vec!["127.0.0.1", "[::1]"] } else { vec!["127.0.0.1"] };
    for host in hosts {
        let address: SocketAddr = format!("{host}:{port}").parse().unwrap();
        assert_eq!(send(address, "0102030405060708090a0b0c0d0e0f10"), 200, "{address}");
    }
}

#[test]
fn a_name_without_an_address_and_a_taken_port_name_their_line() {
    let directory = TempDir::new().unwrap();
    let data = directory.path().join("data");
    let file = |endpoint: &str| {
        let text = format!(
            "receivers:\n  otlp:\n    protocols:\n      grpc:\n        endpoint: {endpoint}\nexporters: {{debug: }}\nservice: {{pipelines: {{traces: {{receivers: [otlp], exporters: [debug]}}}}}}\n"
        );
        write(&directory, "collector.yaml", &text)
    };
    let start = |file: &str| {
        let mut command = Command::new(binary("tailwater"));
        run(command.args(["run", "--admin-endpoint", "none", "--config", file, "--data-dir"]).arg(&data))
    };
    let named = file("no-such-host.invalid:4317");
    let (output, said) = start(&named);
    let expected = format!("{named}:5: receivers.otlp.protocols.grpc.endpoint = no-such-host.invalid:4317: the name");
    assert!(output.status.code() == Some(71) && said.contains(&expected), "{said}");

    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = taken.local_addr().unwrap();
    let named = file(&address.to_string());
    let (output, said) = start(&named);
    let expected = format!("{named}:5: receivers.otlp.protocols.grpc.endpoint = {address}: {address} is taken by ");
    let holder = format!("(process {})", std::process::id());
    assert!(output.status.code() == Some(71) && said.contains(&expected) && said.contains(&holder), "{said}");
    // What prints only is no place for kept traces, and the start says where they go.
    assert!(said.contains("kept traces go to the file") && said.contains("kept.jsonl"), "{said}");
}

#[test]
fn a_start_says_what_runs_and_where_it_goes() {
    let directory = TempDir::new().unwrap();
    let file = write(
        &directory,
        "tailwater.yaml",
        "exporters:\n  otlp:\n    endpoints: ['http://127.0.0.1:9']\n    headers: {authorization: '${env:FIELD_TOKEN}'}\nsampling:\n  policies: [{name: slow, type: latency, latency: {threshold_ms: 5}}, {name: rest, type: always_sample}]\n",
    );
    let data = TempDir::new().unwrap();
    let mut command = Tailwater::command(data.path(), &["--drain-timeout", "100ms", "--log-level", "debug"]);
    command.env("TAILWATER_CONFIG", &file).env("FIELD_TOKEN", "secret-of-this-test");
    let node = Tailwater::launch(data, command);
    let said = node.said_at_start();
    for expected in [
        "(commit ",
        &format!("configuration: {file}"),
        "policies: slow (latency), rest (always_sample)",
        "kept traces go to otlp (http://127.0.0.1:9)",
        "data directory ",
        "the log takes at most 8192 MiB of disk",
        "memory plan: pending traces ",
    ] {
        assert!(said.contains(expected), "{expected}: {said}");
    }
    assert!(!said.contains("secret-of-this-test"), "{said}");
}

#[test]
fn notes_stand_beside_errors() {
    let directory = TempDir::new().unwrap();
    let file = write(&directory, "t.yaml", "log: {level: \"${env:NOT_THERE_A}\"}\nwal: {retention: soon}\n");
    let (output, said) = run(Command::new(binary("tailwater")).args(["check", "--config", &file]));
    assert_eq!(output.status.code(), Some(78));
    assert!(
        said.contains(&format!("note: {file}:1: log.level: the environment variable NOT_THERE_A is not set")),
        "{said}"
    );
    assert!(said.contains(&format!("{file}:2: wal.retention = soon: not a duration")), "{said}");
    assert!(said.contains("1 problem in the configuration"), "{said}");
    let tls = write(
        &directory,
        "tls.yaml",
        "exporters:\n  otlp:\n    endpoints: ['https://127.0.0.1:9']\n    tls:\n      ca_file: /not/there.pem\n",
    );
    let (output, said) = run(Command::new(binary("tailwater")).args(["check", "--config", &tls]));
    assert_eq!(output.status.code(), Some(78));
    assert!(said.contains(&format!("{tls}:5: exporters.otlp.tls.ca_file: cannot read /not/there.pem")), "{said}");
}

#[test]
fn what_comes_in_at_a_receiver_goes_to_its_pipelines() {
    let directory = TempDir::new().unwrap();
    let text = "receivers:\n  otlp: {protocols: {grpc: {endpoint: '127.0.0.1:0'}, http: {endpoint: '127.0.0.1:0'}}}\n  otlp/internal: {protocols: {http: {endpoint: '127.0.0.1:0'}}}\nprocessors:\n  tail_sampling: {policies: [{name: a, type: always_sample}]}\nexporters: {nop: }\nservice:\n  pipelines:\n    traces/public: {receivers: [otlp], processors: [tail_sampling], exporters: [nop]}\n    traces/internal: {receivers: [otlp/internal], processors: [tail_sampling], exporters: [nop]}\n";
    let file = write(&directory, "two.yaml", text);
    let data = TempDir::new().unwrap();
    let mut command = Command::new(binary("tailwater"));
    command.args([
        "run",
        "--log-format",
        "json",
        "--shards",
        "2",
        "--admin-endpoint",
        "127.0.0.1:0",
        "--ack",
        "received",
    ]);
    command.args(["--config", &file, "--data-dir"]).arg(data.path());
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    let node = Tailwater::launch(data, command);
    let internal = node.further_http.first().copied().unwrap();
    for trace in ["11", "12", "13"] {
        assert_eq!(send(node.http, &format!("{trace}02030405060708090a0b0c0d0e0f10")), 200);
    }
    assert_eq!(send(internal, "2102030405060708090a0b0c0d0e0f10"), 200);
    let of = |metrics: &std::collections::BTreeMap<String, f64>, pipeline: &str| -> f64 {
        let own = metrics.iter().filter(|(name, _)| {
            name.starts_with("tailwater_items_received_total") && name.contains("spans") && name.contains(pipeline)
        });
        own.map(|(_, value)| value).sum()
    };
    node.until(|metrics| {
        let (public, inside) = (of(metrics, "traces/public"), of(metrics, "traces/internal"));
        assert!(public <= 3.0 && inside <= 1.0, "{metrics:?}");
        public > 2.5 && inside > 0.5
    });
}

/// Without `begins_small` it would be a whole segment of each kind on each core.
#[test]
fn an_idle_start_takes_a_short_segment_of_each_kind_a_core() {
    let node = Tailwater::start(&["--wal-segment-bytes-max", "2MiB", "--shards", "2"]);
    let log = node.directory().join("log");
    let bytes =
        || -> u64 { std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().metadata().unwrap().len()).sum() };
    // Each look at the metrics is an exchange with every core: what was to be done at the start has been.
    for _ in 0..10 {
        assert!(!node.metrics().is_empty());
    }
    let short = (2 << 20) / 16;
    assert!((1..=2 * 2 * short).contains(&bytes()), "{} bytes", bytes());
    // A second segment is made ready once a part of the first is taken, which is small here.
    assert_eq!(send(node.http, "0102030405060708090a0b0c0d0e0f10"), 200);
    node.until(|_| bytes() > 2 << 20);
}
