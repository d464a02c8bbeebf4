//! The real program before a next hop that is slow, small or away: what is kept is delivered whole, and not at the cost of
//! memory.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::collections::BTreeSet;
use std::time::Duration;
use tailwater_tests::next_hop::{Mood, Server};
use tailwater_tests::process::{Tailwater, post};

const TRACES: u64 = 1500;
const SPANS: u64 = 4;
/// Traces of one request.
const TRACES_PER_REQUEST: u64 = 50;

fn text(key: &str, value: String) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value)) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

/// A trace of four spans of about a kilobyte each, every one in a resource of that many bytes of its own.
fn trace(number: u64, resource_bytes: usize) -> Vec<ResourceSpans> {
    let span = |span: u64| Span {
        trace_id: u128::from(number + 1).to_be_bytes().to_vec(),
        span_id: (number * SPANS + span + 1).to_be_bytes().to_vec(),
        name: "x".into(),
        attributes: vec![text("filler", format!("{number:01000}"))],
        ..Span::default()
    };
    let in_resource = |number: u64| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![text("pod", format!("{number}-{}", "p".repeat(resource_bytes)))],
            ..Resource::default()
        }),
        scope_spans: vec![ScopeSpans { spans: vec![span(number)], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    (0..SPANS).map(in_resource).collect()
}

/// Sends all traces.
fn send(node: &Tailwater, resource_bytes: usize) {
    for first in (0..TRACES).step_by(usize::try_from(TRACES_PER_REQUEST).unwrap()) {
        let traces = first..first + TRACES_PER_REQUEST;
        let resource_spans = traces.flat_map(|number| trace(number, resource_bytes)).collect();
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        let (status, said) = post(node.http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body);
        assert_eq!(status, 200, "{}", String::from_utf8_lossy(&said));
    }
}

/// The ids of all spans that a server took, each once.
fn spans_taken(server: &Server) -> BTreeSet<Vec<u8>> {
    let mut ids = BTreeSet::new();
    for body in server.take_bodies() {
        for resource in ExportTraceServiceRequest::decode(&*body).unwrap().resource_spans {
            assert!(resource.resource.is_some_and(|resource| !resource.attributes.is_empty()));
            for span in resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                assert!(ids.insert(span.span_id), "a span came twice");
            }
        }
    }
    ids
}

fn start(server: &Server, decision_wait: &str, queue: &str) -> Tailwater {
    start_with(server, decision_wait, queue, &[], "received")
}

fn start_with(server: &Server, decision_wait: &str, queue: &str, more: &[&str], ack: &str) -> Tailwater {
    let endpoint = format!("http://{}", server.address);
    let own = [
        "--ack",
        ack,
        "--sampling-decision-wait",
        decision_wait,
        "--exporters-otlp-endpoints",
        &endpoint,
        "--exporters-otlp-protocol",
        "http/protobuf",
        "--exporters-otlp-compression",
        "none",
        "--exporters-otlp-queue-bytes-max",
        queue,
        "--sampling-policies",
        "[{name: all, type: always_sample}]",
        "--exporters-otlp-batch-bytes-max",
        "32KiB",
    ];
    Tailwater::start(&[&own[..], more].concat())
}

/// The stop's own account.
fn stopped(log: &[String]) -> serde_json::Value {
    let line = log.iter().rev().find(|line| line.contains("\"stopped\"")).unwrap();
    serde_json::from_str(line).unwrap()
}

#[test]
fn a_stop_judges_no_faster_than_the_next_hop_takes() {
    let server = Server::collecting();
    server.set(Mood::Slow(Duration::from_millis(4)));
    let node = start(&server, "10m", "512KiB");
    send(&node, 100);
    assert!(server.came().is_empty(), "all wait for their verdicts");
    let (status, log, _directory) = node.stop();
    let account = stopped(&log);
    assert_eq!(spans_taken(&server).len() as u64, TRACES * SPANS, "{account}");
    assert_eq!((&account["lost"], &account["pending"]), (&0.into(), &0.into()));
    assert!(status.success());
}

#[test]
fn many_traces_due_at_once_are_judged_as_the_next_hop_takes_them() {
    let server = Server::collecting();
    server.set(Mood::Slow(Duration::from_millis(4)));
    let node = start(&server, "1s", "512KiB");
    send(&node, 100);
    let all = f64::from(u32::try_from(TRACES * SPANS).unwrap());
    let exported = |metrics: &std::collections::BTreeMap<String, f64>| -> f64 {
        let of_spans = metrics
            .iter()
            .filter(|(name, _)| name.starts_with("tailwater_items_exported_total") && name.contains("spans"));
        of_spans.map(|(_, count)| count).sum()
    };
    node.until(|metrics| exported(metrics) >= all);
    let metrics = node.metrics();
    let postponed: f64 = metrics
        .iter()
        .filter(|(name, _)| name.starts_with("tailwater_verdicts_postponed"))
        .map(|(_, count)| count)
        .sum();
    assert!(postponed > 0.0, "the test is about nothing else");
    assert_eq!(spans_taken(&server).len() as u64, TRACES * SPANS);
}

/// Requests several times as large as the exporter's queue, from several senders at once.
fn send_large(node: &Tailwater, traces: u64) {
    let http = node.http;
    let post_all = move |from: u64| {
        let resource_spans = (from..from + traces / 8).flat_map(|number| trace(number, 100));
        let late = resource_spans.map(|mut resource| {
            for span in resource.scope_spans.iter_mut().flat_map(|scope| &mut scope.spans) {
                // Other spans of the same traces.
                span.span_id[0] |= 0x80;
            }
            resource
        });
        let body = ExportTraceServiceRequest { resource_spans: late.collect() }.encode_to_vec();
        assert!(body.len() > 512 << 10);
        assert_eq!(post(http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body).0, 200);
    };
    std::thread::scope(|scope| {
        for sender in 0..8 {
            scope.spawn(move || post_all(sender * (traces / 8)));
        }
    });
}

/// Leans on `Outbox::be_lenient`: what can't wait for room is taken, for senders are held back behind it.
#[test]
fn late_spans_of_kept_traces_are_not_lost_before_a_slow_hop() {
    let server = Server::collecting();
    let node = start(&server, "10ms", "256KiB");
    send(&node, 100);
    let exported =
        |metrics: &std::collections::BTreeMap<String, f64>| metrics["tailwater_items_exported_total{signal=\"spans\"}"];
    let all = f64::from(u32::try_from(TRACES * SPANS).unwrap());
    node.until(|metrics| exported(metrics) >= all);
    server.set(Mood::Slow(Duration::from_millis(4)));
    send_large(&node, 1200);
    node.until(|metrics| exported(metrics) >= all + 4800.0);
    let (_, log, _directory) = node.stop();
    assert_eq!((&stopped(&log)["lost"], spans_taken(&server).len()), (&0.into(), 6000 + 4800));
}

/// As above, of traces that the first piece of them keeps.
#[test]
fn traces_that_a_piece_keeps_are_not_lost_before_a_slow_hop() {
    let server = Server::collecting();
    server.set(Mood::Slow(Duration::from_millis(4)));
    let node = start_with(&server, "10s", "256KiB", &["--sampling-strategy", "span-ingest"], "received");
    send_large(&node, 1200);
    node.until(|metrics| metrics["tailwater_items_exported_total{signal=\"spans\"}"] >= 4800.0);
    let (_, log, _directory) = node.stop();
    assert_eq!((&stopped(&log)["lost"], spans_taken(&server).len()), (&0.into(), 4800));
}

#[test]
fn resources_count_and_what_is_too_large_is_sent_in_parts() {
    let server = Server::collecting();
    // Less than a batch may have, so that each is refused at first.
    server.set(Mood::UpTo(20_000));
    let node = start(&server, "1s", "8MiB");
    send(&node, 1000);
    let (status, log, _directory) = node.stop();
    assert_eq!(spans_taken(&server).len() as u64, TRACES * SPANS, "{}", stopped(&log));
    assert!(status.success());
}

#[test]
fn an_item_that_is_too_large_alone_costs_only_itself() {
    let server = Server::collecting();
    server.set(Mood::UpTo(6_000));
    let node = start(&server, "100ms", "512KiB");
    let mut resource_spans = trace(0, 100);
    resource_spans.extend(trace(1, 6_000).into_iter().take(1));
    resource_spans.extend(trace(2, 100));
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body).0, 200);
    let (_, log, _directory) = node.stop();
    assert_eq!(spans_taken(&server).len() as u64, 2 * SPANS);
    assert_eq!(stopped(&log)["refused"], 1);
    assert!(log.iter().any(|line| line.contains("WARN") && line.contains("larger alone")), "{log:?}");
}

#[test]
fn spans_in_a_resource_that_is_too_large_are_refused_alone() {
    let server = Server::collecting();
    let bound = ["--memory-span-bytes-max", "4MiB"];
    let node = start_with(&server, "100ms", "512KiB", &bound, "received");
    let mut resource_spans = trace(0, 100);
    resource_spans.extend(trace(1, 5 << 20).into_iter().take(2));
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    let (status, said) = post(node.http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body);
    let said = String::from_utf8_lossy(&said).into_owned();
    assert!(status == 200 && said.contains("resource and scope"), "{said}");
    let refused =
        |metrics: &std::collections::BTreeMap<String, f64>| metrics["tailwater_refused_total{what=\"spans\"}"];
    node.until(|metrics| refused(metrics) >= 2.0);
    _ = node.stop();
    assert_eq!(spans_taken(&server).len() as u64, SPANS);
}

#[test]
fn metrics_that_inflate_do_not_fill_the_memory_while_the_file_is_written() {
    // A megabyte of text that is a few kilobytes on the wire.
    let field = |number: u8, content: &[u8]| {
        let mut out = vec![number << 3 | 2];
        prost::encoding::encode_varint(content.len() as u64, &mut out);
        [out, content.to_vec()].concat()
    };
    let point = field(5, &field(1, &[0x21, 1, 0, 0, 0, 0, 0, 0, 0]));
    let metric = [field(1, &vec![b'm'; 8 << 20]), point].concat();
    let body = field(1, &field(2, &field(2, &metric)));
    let node = Tailwater::start(&[
        "--exporters-file-queue-bytes-max",
        "16MiB",
        "--ack",
        "synced",
        "--memory-bytes-max",
        "1GiB",
    ]);
    let mut encoder = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    std::io::Write::write_all(&mut encoder, &body).unwrap();
    let body = encoder.finish().unwrap();
    let headers = [("content-type", "application/x-protobuf"), ("content-encoding", "gzip")];
    let mut taken = 0;
    for _ in 0..40 {
        taken += u32::from(post(node.http, "/v1/metrics", &headers, &body).0 == 200);
        assert!(node.metrics()["tailwater_file_queue_bytes"] <= f64::from(16 << 20));
    }
    assert!(taken > 0);
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", stopped(&log));
    let written = std::fs::read_to_string(directory.path().join("kept.jsonl")).unwrap();
    assert!(written.lines().count() > 0);
}

#[test]
fn a_failing_next_hop_is_told_at_once_and_so_is_its_return() {
    let server = Server::collecting();
    server.set(Mood::Answers(503, None));
    let node = start(&server, "10ms", "512KiB");
    let body = |number| ExportTraceServiceRequest { resource_spans: trace(number, 10) }.encode_to_vec();
    let send = |number| post(node.http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body(number)).0;
    assert_eq!(send(0), 200);
    node.until(|metrics| metrics["tailwater_exporter_retries_total{exporter=\"otlp\"}"] > 1.0);
    server.set(Mood::UpTo(usize::MAX));
    node.until(|metrics| metrics["tailwater_items_exported_total{signal=\"spans\"}"] >= 4.0);
    let (status, log, _directory) = node.stop();
    assert!(status.success());
    let of = |message: &str| {
        let lines: Vec<&String> = log.iter().filter(|line| line.contains(message)).collect();
        assert_eq!(lines.len(), 1, "{message}: {log:?}");
        serde_json::from_str::<serde_json::Value>(lines[0]).unwrap()
    };
    let failed = of("does not take what is sent");
    assert!(failed["level"] == "WARN" && failed["error"].as_str().unwrap().contains("HTTP 503"), "{failed}");
    assert!(failed["next"].as_str().unwrap().starts_with("tried again in"), "{failed}");
    let back = of("takes what is sent again");
    assert!(back["level"] == "INFO" && back["failed_attempts"].as_u64().unwrap() > 1, "{back}");
}

#[test]
fn a_server_that_is_back_at_a_stop_gets_what_waited_for_it() {
    // Without a log all waits in the queue; with one most of it is set aside.
    for (ack, queue) in [("received", "64MiB"), ("synced", "512KiB")] {
        let server = Server::collecting();
        server.set(Mood::Down);
        let more = [
            "--exporters-otlp-breaker-open-interval-max",
            "1h",
            "--exporters-otlp-retry-initial-interval",
            "50ms",
            "--exporters-otlp-retry-max-interval",
            "100ms",
        ];
        let node = start_with(&server, "10ms", queue, &more, ack);
        send(&node, 10);
        let is_open = |metrics: &std::collections::BTreeMap<String, f64>| {
            metrics["tailwater_exporter_breaker_state{exporter=\"otlp\"}"] >= 2.0
        };
        node.until(is_open);
        server.set(Mood::UpTo(usize::MAX));
        let (_, log, _directory) = node.stop();
        let account = stopped(&log);
        assert_eq!((&account["pending"], &account["lost"]), (&0.into(), &0.into()), "{ack}: {account}");
        assert_eq!(spans_taken(&server).len() as u64, TRACES * SPANS, "{ack}: {account}");
    }
}

#[test]
fn a_trace_that_is_larger_than_the_queue_is_sent_whole() {
    let server = Server::collecting();
    server.set(Mood::Slow(Duration::from_millis(2)));
    let node = start(&server, "1s", "128KiB");
    let mut resource_spans: Vec<ResourceSpans> = (0..300).flat_map(|number| trace(number, 100)).collect();
    for span in
        resource_spans.iter_mut().flat_map(|resource| &mut resource.scope_spans).flat_map(|scope| &mut scope.spans)
    {
        span.trace_id = vec![7; 16];
    }
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
    assert!(body.len() > 10 * (128 << 10));
    assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/x-protobuf")], &body).0, 200);
    node.until(|metrics| metrics["tailwater_items_exported_total{signal=\"spans\"}"] >= 1200.0);
    assert_eq!(spans_taken(&server).len(), 1200);
}
