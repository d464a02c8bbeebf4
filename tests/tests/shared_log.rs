//! Pipelines that share a log, in the real program: a request is written once, each pipeline gets after a crash what it took
//! and no more, and what a release has left that had a log for each is read.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code fails by panicking")]

use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command, Stdio};
use tailwater_engine::log::format::{
    BLOCK_BYTES, BodyEncoding, BodyFormat, Request, SegmentHeader, SegmentKind, file_name, pad_to_block, put_request,
};
use tailwater_engine::log::takers::Takers;
use tailwater_proto::otlp::Signal;
use tailwater_tests::conformance::spans_of;
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::{Tailwater, binary, post};
use tempfile::TempDir;

const WAITS: [&str; 2] = ["--sampling-decision-wait", "10m"];

/// Pipelines that keep everything, each with the receivers that feed it and the server that it sends to.
fn write(path: &Path, pipelines: &[(&str, &str, &Server)]) {
    let free = "{endpoint: '127.0.0.1:0'}";
    let receivers = format!(
        "  otlp/public: {{protocols: {{grpc: {free}, http: {free}}}}}\n  otlp/internal: {{protocols: {{http: {free}}}}}\n"
    );
    let mut samplers = String::new();
    let (mut exporters, mut ways) = (String::new(), String::new());
    for (name, receivers, server) in pipelines {
        samplers += &format!("  tail_sampling/{name}: {{policies: [{{name: all, type: always_sample}}]}}\n");
        exporters += &format!("  otlphttp/{name}: {{endpoint: 'http://{}', compression: none}}\n", server.address);
        ways += &format!(
            "    traces/{name}: {{receivers: [{receivers}], processors: [tail_sampling/{name}], exporters: [otlphttp/{name}]}}\n"
        );
    }
    let text =
        format!("receivers:\n{receivers}processors:\n{samplers}exporters:\n{exporters}service:\n  pipelines:\n{ways}");
    std::fs::write(path, text).unwrap();
}

/// A node with this file, whose receivers have ports of their own.
fn start(data: TempDir, path: &Path, more: &[&str]) -> Tailwater {
    let mut command = Command::new(binary("tailwater"));
    command.args(["run", "--log-format", "json", "--shards", "2", "--admin-endpoint", "127.0.0.1:0"]);
    command.arg("--config").arg(path).arg("--data-dir").arg(data.path()).args(more);
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
    Tailwater::launch(data, command)
}

fn body(number: u64) -> String {
    let span = json!({ "traceId": format!("{number:032x}"), "spanId": format!("{number:016x}"), "name": "x" });
    json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string()
}

fn send(to: SocketAddr, number: u64) {
    let (status, _) = post(to, "/v1/traces", &[("content-type", "application/json")], body(number).as_bytes());
    assert_eq!(status, 200);
}

/// The traces that came to a server, each once.
fn traces(server: &Server) -> BTreeSet<u64> {
    let mut traces = BTreeSet::new();
    for span in server.take_bodies().iter().flat_map(|body| spans_of(body)) {
        assert!(traces.insert(u64::from_str_radix(&span.trace_id[16..], 16).unwrap()), "a trace came twice");
    }
    traces
}

/// The records of requests in a data directory.
fn logged(data: &Path) -> Vec<Value> {
    let dumped = Command::new(binary("tailwater")).args(["log", "dump", "--json"]).arg(data).output().unwrap();
    let text = String::from_utf8(dumped.stdout).unwrap();
    let records = text.lines().map(|line| serde_json::from_str(line).unwrap());
    records.filter(|record: &Value| record["kind"] == "request").collect()
}

/// Leans on `CorePort::accept`, and on the takers that `Lane::append` writes: without them all pipelines get all.
#[test]
fn each_pipeline_gets_what_it_took_of_what_is_logged_once() {
    let (directory, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = directory.path().join("ways.yaml");
    let (some, all, new) = (Server::collecting(), Server::collecting(), Server::collecting());
    write(&path, &[("some", "otlp/public", &some), ("all", "otlp/public, otlp/internal", &all)]);
    let node = start(data, &path, &WAITS);
    let internal = node.further_http[0];
    (1..=20).for_each(|number| send(node.http, number));
    (21..=30).for_each(|number| send(internal, number));
    let data = node.crash();
    let records = logged(data.path());
    assert_eq!(records.len(), 30, "one for each request");
    assert!(records.iter().all(|record| record["file"].as_str().unwrap().starts_with("requests/")), "{records:?}");
    assert_eq!(records.iter().filter(|record| record["pipelines"] == json!([1])).count(), 10);
    assert_eq!(records.iter().filter(|record| record["pipelines"].is_null()).count(), 20);
    // Another order, and one that is new.
    write(
        &path,
        &[("all", "otlp/public, otlp/internal", &all), ("new", "otlp/public", &new), ("some", "otlp/public", &some)],
    );
    let (status, log, data) = start(data, &path, &WAITS).stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!((traces(&some), traces(&all)), ((1..=20).collect(), (1..=30).collect()));
    assert!(traces(&new).is_empty(), "it took none of it");
    // All is done with, so that nobody misses one that goes.
    write(&path, &[("all", "otlp/public, otlp/internal", &all), ("new", "otlp/public", &new)]);
    let (status, log, _) = start(data, &path, &WAITS).stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert!(traces(&all).is_empty() && traces(&new).is_empty() && traces(&some).is_empty());
}

/// Leans on `Segments::holds_oldest` and `Segment::is_free`: what one pipeline has judged is not in the way of the other, and
/// stays as long as that needs it.
#[test]
fn a_segment_stays_for_the_pipeline_that_still_needs_it() {
    let (directory, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = directory.path().join("ways.yaml");
    let (fast, slow) = (Server::collecting(), Server::collecting());
    write(&path, &[("fast", "otlp/public", &fast), ("slow", "otlp/public", &slow)]);
    let text = std::fs::read_to_string(&path).unwrap();
    let with_wait = |name: &str, wait: &str| {
        (format!("tail_sampling/{name}: {{"), format!("tail_sampling/{name}: {{decision_wait: {wait}, "))
    };
    let ((fast_from, fast_to), (slow_from, slow_to)) = (with_wait("fast", "10ms"), with_wait("slow", "10m"));
    std::fs::write(&path, text.replace(&fast_from, &fast_to).replace(&slow_from, &slow_to)).unwrap();
    let node = start(data, &path, &[]);
    (1..=10).for_each(|number| send(node.http, number));
    let unresolved = |metrics: &std::collections::BTreeMap<String, f64>, pipeline: &str| -> f64 {
        let start = format!("tailwater_wal_unresolved_units{{pipeline=\"traces/{pipeline}\"");
        metrics.iter().filter(|(name, _)| name.starts_with(&start)).map(|(_, value)| value).sum()
    };
    node.until(|metrics| unresolved(metrics, "fast") == 0.0);
    assert_eq!(unresolved(&node.metrics(), "slow"), 10.0);
    assert_eq!(traces(&fast), (1..=10).collect());
    // What the first is done with is durable two intervals later: the journal is flushed once more for the second half.
    let syncs = |node: &Tailwater| node.metrics()["tailwater_wal_syncs_total{stage=\"log\"}"];
    (11..=12).for_each(|number| send(node.http, number));
    node.until(|metrics| unresolved(metrics, "fast") == 0.0);
    let before = syncs(&node);
    node.until(|_| syncs(&node) >= before + 4.0);
    let (status, log, _) = start(node.crash(), &path, &[]).stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(traces(&slow), (1..=12).collect());
    let again: BTreeSet<u64> = traces(&fast).into_iter().filter(|number| *number <= 10).collect();
    assert!(again.is_empty(), "its journal says that they are done with: {again:?}");
}

/// A log of one pipeline with a request in it.
fn log_apart(directory: &Path, body: &str) {
    let header = SegmentHeader {
        kind: SegmentKind::Requests,
        lane: 0,
        number: 1,
        nonce: 7,
        first_sequence: 1 << 32,
        created_unix_nano: 1,
        bytes: 4 * BLOCK_BYTES as u64,
    };
    let mut file = header.encode().into_vec();
    let request = Request {
        arrived_unix_nano: 1,
        first_unit: 0,
        units: 1,
        signal: Signal::Traces,
        encoding: BodyEncoding::Identity,
        format: BodyFormat::Json,
        takers: Takers::ALL,
        body: body.as_bytes(),
    };
    let mut flush = Vec::new();
    put_request(&mut flush, 7, 1 << 32, &request);
    pad_to_block(&mut flush);
    file.append(&mut flush);
    file.resize(4 * BLOCK_BYTES, 0);
    std::fs::create_dir_all(directory).unwrap();
    std::fs::write(directory.join(file_name(SegmentKind::Requests, 1)), file).unwrap();
}

/// Fails where segments are told apart by their numbers alone: those logs had each its own.
#[test]
fn logs_of_a_release_that_had_one_for_each_pipeline_are_read_and_go() {
    let (directory, data) = (TempDir::new().unwrap(), TempDir::new().unwrap());
    let path = directory.path().join("ways.yaml");
    let (first, second) = (Server::collecting(), Server::collecting());
    write(&path, &[("first", "otlp/public", &first), ("second", "otlp/public", &second)]);
    let logs = ["log-traces%2ffirst", "log-traces%2fsecond"].map(|name| data.path().join(name));
    log_apart(&logs[0], &body(1));
    log_apart(&logs[1], &body(2));
    let node = start(data, &path, &WAITS);
    send(node.http, 3);
    let (status, log, data) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!((traces(&first), traces(&second)), ([1, 3].into(), [2, 3].into()));
    for log in logs {
        let left = std::fs::read_dir(&log).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
        assert!(left.into_iter().all(|name| !name.starts_with("requests-")), "{}", log.display());
    }
    assert!(data.path().join("requests").is_dir());
}
