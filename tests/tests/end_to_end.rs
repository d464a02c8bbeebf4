//! The real program with real SDKs, on both backends: traces whose error is in the last span are kept whole, the others
//! are not there, nothing is there twice.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]

use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use tailwater_tests::process::{Tailwater, clients, kept};

const ERRORS_ONLY: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";
const EVERYTHING: &str = "[{name: all, type: always_sample}]";
/// The wait is longer than any test: the drain judges.
const LONG_WAIT: [&str; 4] = ["--sampling-decision-wait", "10m", "--sampling-decision-wait-after-root-received", "0s"];
const TRACES: usize = 30;

fn node(backend: &str, policies: &str, more: &[&str]) -> Tailwater {
    let mut arguments = vec!["--runtime", backend, "--sampling-policies", policies];
    arguments.extend(LONG_WAIT);
    arguments.extend(more);
    Tailwater::start(&arguments)
}

/// Runs a client and returns what must be kept: span ids by trace id.
fn send(client: &str, node: &Tailwater) -> BTreeMap<String, Vec<String>> {
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients");
    let count = TRACES.to_string();
    let mut command = match client {
        "python grpc" => {
            let mut command = Command::new(clients().join("python/bin/python"));
            command.arg(sources.join("send.py")).args(["grpc", &format!("http://{}", node.grpc), &count]);
            command
        }
        "python http" => {
            let mut command = Command::new(clients().join("python/bin/python"));
            command.arg(sources.join("send.py")).args(["http", &format!("http://{}", node.http), &count]);
            command
        }
        _ => {
            // Modules are looked up beside the script, so it is run from where they are.
            let script = clients().join("javascript/send.mjs");
            std::fs::copy(sources.join("send.mjs"), &script).unwrap();
            let mut command = Command::new("node");
            command.arg(script).args([&format!("http://{}", node.http), &count]);
            command
        }
    };
    let output = command.output().unwrap();
    assert!(output.status.success(), "{client}: {}", String::from_utf8_lossy(&output.stderr));
    let sent: Value = serde_json::from_slice(&output.stdout).unwrap();
    let ids = |spans: &Value| spans.as_array().unwrap().iter().map(|id| id.as_str().unwrap().to_string()).collect();
    sent["kept"].as_object().unwrap().iter().map(|(trace, spans)| (trace.clone(), ids(spans))).collect()
}

fn whole_traces_are_kept(backend: &str, client: &str) {
    let node = node(backend, ERRORS_ONLY, &[]);
    let expected = send(client, &node);
    let metrics = node.metrics();
    assert_eq!(metrics["tailwater_items_received_total{signal=\"spans\"}"], (TRACES * 4) as f64);
    assert_eq!(metrics["tailwater_traces_pending"], TRACES as f64);
    assert_eq!(
        metrics[&format!("tailwater_build_info{{version=\"{}\",runtime=\"{backend}\"}}", env!("CARGO_PKG_VERSION"))],
        1.0
    );
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(kept(&directory.path().join("kept.jsonl")), expected);
}

#[test]
fn python_over_grpc_on_uring() {
    whole_traces_are_kept("uring", "python grpc");
}

#[test]
fn python_over_grpc_on_epoll() {
    whole_traces_are_kept("epoll", "python grpc");
}

#[test]
fn python_over_http_on_uring() {
    whole_traces_are_kept("uring", "python http");
}

#[test]
fn python_over_http_on_epoll() {
    whole_traces_are_kept("epoll", "python http");
}

#[test]
fn javascript_over_http_json_on_uring() {
    whole_traces_are_kept("uring", "javascript");
}

#[test]
fn javascript_over_http_json_on_epoll() {
    whole_traces_are_kept("epoll", "javascript");
}

/// One node exports to another: every protocol and compression of the exporter, against our own receiver.
fn chain(protocol: &str, compression: &str) {
    let sink = node("epoll", EVERYTHING, &[]);
    let endpoint = if protocol == "grpc" { format!("http://{}", sink.grpc) } else { format!("http://{}", sink.http) };
    let exporter = [
        ["--exporters-otlp-endpoints", &endpoint],
        ["--exporters-otlp-protocol", protocol],
        ["--exporters-otlp-compression", compression],
    ];
    let sampler = node("auto", ERRORS_ONLY, &exporter.concat());
    let expected = send("python grpc", &sampler);
    let (status, log, _) = sampler.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let received = sink.metrics()["tailwater_items_received_total{signal=\"spans\"}"];
    assert_eq!(received, expected.values().map(Vec::len).sum::<usize>() as f64);
    let (status, log, directory) = sink.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(kept(&directory.path().join("kept.jsonl")), expected);
}

#[test]
fn exports_over_grpc_with_gzip() {
    chain("grpc", "gzip");
}

#[test]
fn exports_over_grpc_with_zstd() {
    chain("grpc", "zstd");
}

#[test]
fn exports_over_http_with_gzip() {
    chain("http/protobuf", "gzip");
}

#[test]
fn exports_over_http_uncompressed() {
    chain("http/protobuf", "none");
}

/// Judged at the deadline and exported by the interval, without a drain.
#[test]
fn traces_are_judged_when_their_wait_is_over() {
    let arguments = ["--runtime", "auto", "--sampling-policies", ERRORS_ONLY, "--sampling-decision-wait", "1s"];
    let node = Tailwater::start(&arguments);
    let expected = send("python grpc", &node);
    let settled = |metrics: &BTreeMap<String, f64>| {
        metrics["tailwater_items_exported_total{signal=\"spans\"}"]
            + metrics["tailwater_items_dropped_total{signal=\"spans\",reason=\"not_sampled\"}"]
    };
    // Each look is an exchange with the node; the loop ends with the last verdict or with the test's patience.
    let begin = std::time::Instant::now();
    while settled(&node.metrics()) < (TRACES * 4) as f64 {
        assert!(begin.elapsed() < tailwater_tests::process::PATIENCE, "{:?}", node.metrics());
    }
    assert_eq!(kept(&node.directory().join("kept.jsonl")), expected);
}
