//! How the program starts, refuses to start, and stops: what it says and the code it ends with.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;
use tailwater_tests::process::{PATIENCE, Tailwater, binary, kept, post, signal};
use tempfile::TempDir;

const EVERYTHING: &str = "[{name: all, type: always_sample}]";

fn run(arguments: &[&str]) -> Output {
    Command::new(binary("tailwater")).args(arguments).stdin(Stdio::null()).output().unwrap()
}

/// What the program said, on both of its outputs.
fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// One span of one trace as OTLP/JSON.
fn one_span(node: SocketAddr) {
    let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"x"}]}]}]}"#;
    let (status, answer) = post(node, "/v1/traces", &[("content-type", "application/json")], body);
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
}

/// received = exported + dropped + pending, of spans.
fn assert_balanced(metrics: &BTreeMap<String, f64>) {
    let sum = |prefix: &str| -> f64 {
        let wanted = format!("{prefix}{{signal=\"spans\"");
        metrics.iter().filter(|(name, _)| name.starts_with(&wanted)).map(|(_, value)| value).sum()
    };
    let settled = sum("tailwater_items_exported_total") + sum("tailwater_items_dropped_total");
    assert_eq!(sum("tailwater_items_received_total"), settled + sum("tailwater_items_pending"));
}

#[test]
fn a_second_process_is_refused() {
    let node = Tailwater::start(&[]);
    let directory = node.directory().to_str().unwrap();
    let output = run(&["run", "--data-dir", directory, "--otlp-grpc-endpoint", "127.0.0.1:0"]);
    assert_eq!(output.status.code(), Some(71));
    assert!(said(&output).contains(directory), "{}", said(&output));

    let other = TempDir::new().unwrap();
    let taken = node.grpc.to_string();
    let output = run(&["run", "--data-dir", other.path().to_str().unwrap(), "--otlp-grpc-endpoint", &taken]);
    assert_eq!(output.status.code(), Some(71));
    assert!(said(&output).contains(&taken) && said(&output).contains("--otlp-grpc-endpoint"), "{}", said(&output));
}

#[test]
fn check_names_file_line_and_key() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("wrong.yaml");
    std::fs::write(&file, "sampling:\n  decision_wait: 10s\n  decison_wait: 5s\n").unwrap();
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert_eq!(output.status.code(), Some(78));
    let text = said(&output);
    assert!(text.contains("wrong.yaml:3") && text.contains("decision_wait"), "{text}");
}

#[test]
fn check_takes_a_collector_s_file_with_every_supported_policy() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("../perf/baseline.yaml");
    let output = run(&["check", "--config", file.to_str().unwrap()]);
    assert!(output.status.success(), "{}", said(&output));
    let text = said(&output);
    for part in ["Memory plan", "pending traces", "failed-payments", "127.0.0.1:14319"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
}

#[test]
fn a_log_too_small_for_the_largest_request_is_refused() {
    let directory = TempDir::new().unwrap();
    let directory = directory.path().to_str().unwrap();
    let output = run(&["run", "--shards", "2", "--wal-bytes-max", "100MiB", "--data-dir", directory]);
    assert_eq!(output.status.code(), Some(78));
    let said = said(&output);
    assert!(said.contains("wal.bytes_max") && said.contains("raise it to"), "{said}");
}

#[test]
fn doctor_tells_of_this_machine_in_json() {
    let directory = TempDir::new().unwrap();
    let arguments = ["--otlp-grpc-endpoint", "127.0.0.1:0", "--otlp-http-endpoint", "127.0.0.1:0", "--admin-endpoint"];
    let data = ["127.0.0.1:0", "--data-dir", directory.path().to_str().unwrap()];
    let output = run(&[&["doctor", "--json"], &arguments[..], &data[..]].concat());
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let checks: Vec<_> =
        report["checks"].as_array().unwrap().iter().map(|check| check["check"].as_str().unwrap()).collect();
    for name in ["kernel", "io_uring", "memlock", "cores", "memory", "disk sync", "grpc port"] {
        assert!(checks.contains(&name), "{name} is not among {checks:?}");
    }
}

#[test]
fn a_drain_with_an_open_connection_judges_and_exports() {
    let node = Tailwater::start(&["--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10m"]);
    assert_eq!(node.get("/health/ready").0, 200);
    assert_eq!(node.get("/health/live").0, 200);
    one_span(node.http);
    let open = std::net::TcpStream::connect(node.grpc).unwrap();
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(kept(&directory.path().join("kept.jsonl")).len(), 1);
    drop(open);
}

/// A port that nothing listens on.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

fn node_with_endpoint(endpoint: SocketAddr) -> Tailwater {
    let endpoint = format!("http://{endpoint}");
    Tailwater::start(&[
        "--sampling-policies",
        EVERYTHING,
        "--sampling-decision-wait",
        "1s",
        "--exporters-otlp-endpoints",
        &endpoint,
        "--exporters-otlp-retry-initial-interval",
        "100ms",
        "--drain-timeout",
        "10m",
    ])
}

/// Looks at the metrics until `is_so`; each look is an exchange with the node.
fn until(node: &Tailwater, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) {
    let begin = Instant::now();
    loop {
        let metrics = node.metrics();
        assert_balanced(&metrics);
        if is_so(&metrics) {
            return;
        }
        assert!(begin.elapsed() < PATIENCE, "{metrics:?}");
    }
}

#[test]
fn what_is_kept_waits_for_an_endpoint_that_is_down() {
    let endpoint = closed_port();
    let node = node_with_endpoint(endpoint);
    one_span(node.http);
    let retries = |metrics: &BTreeMap<String, f64>| metrics["tailwater_exporter_retries_total{exporter=\"otlp\"}"];
    until(&node, |metrics| retries(metrics) > 2.0);
    assert_eq!(node.metrics()["tailwater_items_pending{signal=\"spans\",stage=\"exporting\"}"], 1.0);
    let address = endpoint.to_string();
    let sink = Tailwater::start(&["--otlp-grpc-endpoint", &address, "--sampling-policies", EVERYTHING]);
    until(&node, |metrics| metrics["tailwater_items_exported_total{signal=\"spans\"}"] == 1.0);
    assert_eq!(sink.metrics()["tailwater_items_received_total{signal=\"spans\"}"], 1.0);
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
}

#[test]
fn a_second_signal_ends_a_drain_that_cannot_end() {
    let endpoint = format!("http://{}", closed_port());
    let arguments =
        ["--sampling-policies", EVERYTHING, "--exporters-otlp-endpoints", &endpoint, "--drain-timeout", "10m"];
    let node = Tailwater::start(&arguments);
    one_span(node.http);
    signal(node.id(), "TERM");
    // After the grace for doubled signals every further one counts.
    let begin = Instant::now();
    let status = node.end_by(|process| {
        assert!(begin.elapsed() < PATIENCE, "the node does not end");
        signal(process, "TERM");
    });
    assert_eq!(status.code(), Some(3));
}

#[test]
fn what_is_documented_of_the_metrics_is_exposed_and_the_other_way_round() {
    let nowhere = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let node = Tailwater::start(&["--exporters-otlp-endpoints", &format!("http://{nowhere}")]);
    let (_, text) = node.get("/metrics");
    let families = text.lines().filter_map(|line| line.strip_prefix("# TYPE tailwater_")?.split(' ').next());
    let exposed: std::collections::BTreeSet<&str> = families.collect();
    let page = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md")).unwrap();
    let is_name = |character: char| character.is_ascii_lowercase() || character == '_';
    let words = page.split("tailwater_").skip(1);
    let documented: std::collections::BTreeSet<&str> =
        words.map(|rest| rest.split(|character| !is_name(character)).next().unwrap()).collect();
    let missing: Vec<_> = documented.iter().filter(|name| !exposed.contains(*name)).collect();
    assert!(missing.is_empty(), "documented and not exposed: {missing:?}");
    let untold: Vec<_> = exposed.iter().filter(|name| !documented.contains(*name)).collect();
    assert!(untold.is_empty(), "exposed and not documented: {untold:?}");
}
