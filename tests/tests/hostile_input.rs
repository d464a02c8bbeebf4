//! Broken and oversized requests to the real program, on both backends: each gets the answer OTLP asks for, and what is
//! sound beside it is accepted.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use flate2::Compression;
use flate2::write::GzEncoder;
use serde_json::Value;
use std::io::Write;
use tailwater_tests::process::{Tailwater, http_request, kept, post};

const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");
const GZIP: (&str, &str) = ("content-encoding", "gzip");
const EVERYTHING: &str = "[{name: all, type: always_sample}]";

fn on_both(test: impl Fn(&Tailwater)) {
    for backend in ["uring", "epoll"] {
        let arguments = ["--runtime", backend, "--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10m"];
        let node = Tailwater::start(&arguments);
        test(&node);
        // Whatever it was sent, it still serves others.
        assert_eq!(post(node.http, "/v1/traces", &[PROTOBUF], &[]).0, 200, "{backend}");
        let (status, log, _) = node.stop();
        assert!(status.success(), "{backend}: {}", log.join("\n"));
    }
}

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut encoded);
    encoded.extend_from_slice(content);
    encoded
}

fn span(trace: &[u8], more: &[u8]) -> Vec<u8> {
    field(2, &[field(1, trace), field(2, &[7; 8]), field(5, b"work"), more.to_vec()].concat())
}

/// A request for traces with these spans in one scope.
fn request(spans: &[Vec<u8>]) -> Vec<u8> {
    field(1, &field(2, &spans.concat()))
}

/// The content of a length-delimited field of a message whose other fields are varints or length-delimited.
fn find(mut message: &[u8], number: u64) -> Option<Vec<u8>> {
    while !message.is_empty() {
        let tag = prost::encoding::decode_varint(&mut message).ok()?;
        let value = prost::encoding::decode_varint(&mut message).ok()?;
        if tag & 7 == 2 {
            let (content, rest) = message.split_at_checked(usize::try_from(value).ok()?)?;
            if tag >> 3 == number {
                return Some(content.to_vec());
            }
            message = rest;
        }
    }
    None
}

fn gzip(content: &[u8]) -> Vec<u8> {
    let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
    encoder.write_all(content).unwrap();
    encoder.finish().unwrap()
}

/// Sends what must be refused with this code and a status that says why.
fn refused(node: &Tailwater, path: &str, headers: &[(&str, &str)], body: &[u8], code: u16) {
    let (status, answer) = post(node.http, path, headers, body);
    assert_eq!(status, code, "{path} {headers:?}");
    let words = if headers.contains(&JSON) {
        serde_json::from_slice::<Value>(&answer).unwrap()["message"].as_str().unwrap().to_string()
    } else {
        String::from_utf8(find(&answer, 2).unwrap()).unwrap()
    };
    assert!(!words.is_empty(), "{path} {headers:?}");
}

#[test]
fn truncated_requests_are_refused() {
    on_both(|node| {
        let whole = request(&[span(&[1; 16], &[])]);
        for path in ["/v1/traces", "/v1/metrics", "/v1/logs"] {
            refused(node, path, &[PROTOBUF], &whole[..whole.len() - 3], 400);
            refused(node, path, &[JSON], b"{\"resourceSpans\": [", 400);
        }
        let packed = gzip(&whole);
        refused(node, "/v1/traces", &[PROTOBUF, GZIP], &packed[..packed.len() / 2], 400);
    });
}

#[test]
fn bombs_are_refused() {
    on_both(|node| {
        refused(node, "/v1/traces", &[PROTOBUF, GZIP], &gzip(&vec![0; 80 << 20]), 413);
    });
}

#[test]
fn an_announced_giant_is_refused_unread() {
    on_both(|node| {
        let head = "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\n\
                    connection: close\r\ncontent-length: 104857600\r\n\r\n";
        assert_eq!(http_request(node.http, head, &[]).0, 413);
    });
}

#[test]
fn wrong_requests_are_refused_by_their_head() {
    on_both(|node| {
        assert_eq!(post(node.http, "/v1/nothing", &[PROTOBUF], &[]).0, 404);
        assert_eq!(post(node.http, "/v1/traces", &[("content-type", "text/plain")], b"x").0, 415);
        assert_eq!(post(node.http, "/v1/traces", &[PROTOBUF, ("content-encoding", "rot13")], b"x").0, 415);
        let get = "GET /v1/traces HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n";
        assert_eq!(http_request(node.http, get, &[]).0, 405);
    });
}

#[test]
fn empty_requests_succeed() {
    on_both(|node| {
        assert_eq!(post(node.http, "/v1/traces", &[PROTOBUF], &[]), (200, Vec::new()));
        assert_eq!(post(node.http, "/v1/traces", &[JSON], b"{}"), (200, b"{}".to_vec()));
    });
}

/// Sends a bad span beside a good one: the good one is kept, the bad one is named.
fn bad_beside_good(bad: &[u8]) -> String {
    let node = Tailwater::start(&["--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10m"]);
    let (status, answer) = post(node.http, "/v1/traces", &[PROTOBUF], &request(&[bad.to_vec(), span(&[9; 16], &[])]));
    assert_eq!(status, 200);
    let partial = find(&answer, 1).unwrap();
    assert_eq!(partial[..2], [8, 1], "one span is rejected");
    let words = String::from_utf8(find(&partial, 2).unwrap()).unwrap();
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let kept = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(kept.keys().collect::<Vec<_>>(), ["09".repeat(16).as_str()]);
    words
}

#[test]
fn bad_trace_ids_are_rejected_beside_good_ones() {
    for id in [&[1; 15][..], &[0; 16]] {
        assert!(!bad_beside_good(&span(id, &[])).is_empty());
    }
}

#[test]
fn a_million_attributes_are_a_span_like_others_unless_a_key_says_otherwise() {
    let attribute = field(9, &[field(1, b"k"), field(2, &field(1, b"v"))].concat());
    let large = span(&[1; 16], &attribute.repeat(1_000_000));
    for (bound, kept_spans) in [("0", 2), ("4MiB", 1)] {
        let node = Tailwater::start(&["--sampling-policies", EVERYTHING, "--memory-span-bytes-max", bound]);
        let (status, answer) =
            post(node.http, "/v1/traces", &[PROTOBUF], &request(&[large.clone(), span(&[9; 16], &[])]));
        assert_eq!((status, answer.is_empty()), (200, kept_spans == 2));
        let (status, log, directory) = node.stop();
        assert!(status.success(), "{}", log.join("\n"));
        assert_eq!(kept(&directory.path().join("kept.jsonl")).len(), kept_spans, "{bound}");
    }
}

#[test]
fn a_value_nested_without_end_is_rejected_beside_a_good_span() {
    // Each level is an array in a value: the innermost first, some thousands of them.
    let mut value = field(1, b"v");
    while value.len() < 20_000 {
        value = field(5, &field(1, &value));
    }
    let attribute = field(9, &[field(1, b"k"), field(2, &value)].concat());
    let message = bad_beside_good(&span(&[1; 16], &attribute));
    assert!(message.contains("nested"), "{message}");
}

#[test]
fn a_bad_id_in_json_costs_only_its_span() {
    let node = Tailwater::start(&[]);
    let body = br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"traceId":"11","spanId":"1111111111111111","name":"x"},{"traceId":"0102030405060708090a0b0c0d0e0f10","spanId":"0102030405060708","name":"y"}]}]}]}"#;
    let (status, answer) = post(node.http, "/v1/traces", &[("content-type", "application/json")], body);
    let answer = String::from_utf8(answer).unwrap();
    assert_eq!(status, 200, "{answer}");
    assert!(answer.contains(r#""rejectedSpans":"1""#) && answer.contains("16 bytes"), "{answer}");
    assert_eq!(node.metrics()["tailwater_items_received_total{signal=\"spans\"}"], 1.0);
}

/// Most resident memory that a process had, in bytes.
fn peak_bytes(process: u32) -> usize {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    line.trim().trim_end_matches(" kB").parse::<usize>().unwrap() << 10
}

#[test]
fn json_that_is_dense_takes_no_more_memory_than_its_text_and_its_protobuf() {
    const TEXT: usize = 16 << 20;
    const SENDERS: usize = 4;
    let many = |open: &str, unit: &str, close: &str| format!("{open}{}{close}", unit.repeat(TEXT / unit.len()));
    let points = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"histogram":{"dataPoints":["#;
    // Values that nobody reads, which become nothing; and the densest that there are, which become four times as much until
    // it shows that their point is bad.
    for (text, code, becomes) in [
        (many(r#"{"x":["#, "[],", "0]}"), 400, 0),
        (many(&format!("{points}{{\"bucketCounts\":["), "0,", "0],\"sum\":[]}]}}]}]}]}"), 200, SENDERS * 4 * TEXT),
    ] {
        on_both(|node| {
            let body = gzip(text.as_bytes());
            assert!(body.len() < TEXT / 100, "{}", body.len());
            let before = peak_bytes(node.id());
            let address = node.http;
            std::thread::scope(|scope| {
                for _ in 0..SENDERS {
                    scope.spawn(|| assert_eq!(post(address, "/v1/metrics", &[JSON, GZIP], &body).0, code));
                }
            });
            let taken = peak_bytes(node.id()) - before;
            assert!(taken < SENDERS * TEXT + becomes + (128 << 20), "{taken}");
        });
    }
}
