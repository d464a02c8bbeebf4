//! Traces that a running program dropped are found in its log, by id, time and attribute, and sent on after all; over kills
//! too, and beside the log of a node that does not run.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tailwater_tests::conformance::hexadecimal;
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::{Tailwater, binary, http_request, post};

const TRACES: u64 = 50;
const SPANS: u64 = 3;
const SPANS_OF_TRACE: usize = 3;
const POLICIES: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";

fn id(number: u64) -> String {
    // Random enough for filters.
    format!("{:032x}", (u128::from(number) << 64) | u128::from(number.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
}

/// One request with a span of each trace; of every tenth the first span is an error.
fn body(position: u64) -> String {
    let spans = (1..=TRACES).map(|number| {
        json!({
            "traceId": id(number),
            "spanId": format!("{:016x}", number * 100 + position),
            "parentSpanId": if position == 0 { "" } else { "00000000000000ff" },
            "traceState": "a=b,ot=th:8",
            "name": if position == 0 { "GET /" } else { "inner" },
            "startTimeUnixNano": "1000000000",
            "endTimeUnixNano": "1500000000",
            "attributes": [
                { "key": "order", "value": { "intValue": number.to_string() } },
                { "key": "position", "value": { "stringValue": position.to_string() } },
            ],
            "status": { "code": if number % 10 == 0 && position == 0 { 2 } else { 0 } },
        })
    });
    let spans: Vec<Value> = spans.collect();
    let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] });
    json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] }).to_string()
}

fn send(node: &Tailwater) {
    for position in 0..SPANS {
        let body = body(position);
        assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0, 200);
    }
    node.until(|metrics| {
        metrics["tailwater_traces_kept_total"] + metrics["tailwater_traces_dropped_total"] == TRACES as f64
    });
}

/// How many spans of each trace an answer has, and how many traces it says.
fn found(answer: &str) -> (BTreeMap<String, usize>, u64) {
    let said: Value = serde_json::from_str(answer).unwrap();
    let mut found = BTreeMap::new();
    let list = |value: &Value, key: &str| value[key].as_array().unwrap().clone();
    for of_resource in list(&said, "resourceSpans") {
        assert_eq!(of_resource["resource"]["attributes"][0]["value"]["stringValue"], "shop", "{of_resource}");
        for span in list(&of_resource, "scopeSpans").iter().flat_map(|of_scope| list(of_scope, "spans")) {
            *found.entry(span["traceId"].as_str().unwrap().to_string()).or_default() += 1;
        }
    }
    (found, said["recall"]["traces"].as_u64().unwrap())
}

fn whole(numbers: &[u64]) -> (BTreeMap<String, usize>, u64) {
    (numbers.iter().map(|number| (id(*number), SPANS_OF_TRACE)).collect(), numbers.len() as u64)
}

fn ask(node: &Tailwater, query: &str) -> (BTreeMap<String, usize>, u64) {
    let (status, body) = node.get(&format!("/api/v1/recall?{query}"));
    assert_eq!(status, 200, "{body}");
    found(&body)
}

fn keep(node: &Tailwater, query: &str, more: &str) -> (u16, String) {
    let head = format!(
        "POST /api/v1/recall?{query} HTTP/1.1\r\nhost: {}\r\n{more}content-length: 0\r\nconnection: close\r\n\r\n",
        node.admin
    );
    let (status, body) = http_request(node.admin, &head, b"");
    (status, String::from_utf8_lossy(&body).into_owned())
}

fn recall(arguments: &[&str]) -> (Option<i32>, String, String) {
    let Output { status, stdout, stderr } =
        Command::new(binary("tailwater")).arg("recall").args(arguments).stdin(Stdio::null()).output().unwrap();
    let text = |bytes: Vec<u8>| String::from_utf8_lossy(&bytes).into_owned();
    (status.code(), text(stdout), text(stderr))
}

/// A span that came to a server.
struct Arrived {
    trace_state: String,
    /// What its scope says.
    label: String,
    /// Whether it says that it was recalled.
    is_recalled: bool,
}

/// The spans that came to a server, by trace.
fn arrived(server: &Server) -> BTreeMap<String, Vec<Arrived>> {
    let mut arrived: BTreeMap<String, Vec<Arrived>> = BTreeMap::new();
    for body in server.take_bodies() {
        let request = ExportTraceServiceRequest::decode(&body[..]).unwrap();
        for of_scope in request.resource_spans.into_iter().flat_map(|of_resource| of_resource.scope_spans) {
            let label = format!("{:?}", of_scope.scope);
            for span in of_scope.spans {
                let spans = arrived.entry(hexadecimal(&span.trace_id)).or_default();
                let mark = span.attributes.iter().filter(|attribute| attribute.key == "tailwater.recalled");
                let mark: Vec<_> = mark.map(|mark| mark.value.clone().unwrap().value.unwrap()).collect();
                assert!(mark.is_empty() || mark == [any_value::Value::BoolValue(true)], "{mark:?}");
                let (trace_state, label, is_recalled) = (span.trace_state, label.clone(), !mark.is_empty());
                spans.push(Arrived { trace_state, label, is_recalled });
            }
        }
    }
    arrived
}

/// Spans exported so far, once nothing is pending or left to be read of a former run.
fn exported_at_rest(node: &Tailwater) -> f64 {
    node.until(|metrics| {
        let is_pending =
            |name: &str| name.starts_with("tailwater_items_pending") || name.starts_with("tailwater_wal_unresolved");
        metrics.iter().filter(|(name, _)| is_pending(name)).all(|(_, value)| *value == 0.0)
    });
    node.metrics()["tailwater_items_exported_total{signal=\"spans\"}"]
}

fn exported(node: &Tailwater, spans: f64) {
    node.until(|metrics| metrics["tailwater_items_exported_total{signal=\"spans\"}"] == spans);
    let metrics = node.metrics();
    let sum = |prefix: &str| -> f64 {
        metrics
            .iter()
            .filter(|(name, _)| name.starts_with(prefix) && name.contains("spans"))
            .map(|(_, value)| value)
            .sum()
    };
    let (received, dropped) = (sum("tailwater_items_received_total"), sum("tailwater_items_dropped_total"));
    assert_eq!(received, spans + dropped, "the books balance");
}

fn files(directory: &Path, prefix: &str) -> usize {
    let entries = std::fs::read_dir(directory.join("log")).unwrap();
    entries.filter(|entry| entry.as_ref().unwrap().file_name().to_string_lossy().starts_with(prefix)).count()
}

/// What is in the segments in use, by all that can be asked for.
fn are_found(node: &Tailwater) {
    assert_eq!(ask(node, &format!("trace_id={}", id(7))), whole(&[7]));
    assert_eq!(ask(node, "match=order%3D8&match=position=2"), whole(&[8]));
    assert_eq!(ask(node, "service=shop&name=GET%20%2F&since=10m&limit=1000").1, TRACES);
    assert_eq!(ask(node, "service=shop&limit=5").1, 5);
    assert_eq!(ask(node, "service=bank&since=10m"), whole(&[]));
    assert_eq!(ask(node, "service=shop&until=10m"), whole(&[]));
    assert_eq!(node.get(&format!("/api/v1/recall?trace_id={}", id(999))).0, 404);
    assert_eq!(node.get("/api/v1/recall?trace_id=12").0, 400);
}

/// A trace that was recalled is not sent a second time.
fn is_not_sent_again(node: &Tailwater, server: &Server, number: u64) {
    exported_at_rest(node);
    let before = node.metrics()["tailwater_items_received_total{signal=\"spans\"}"];
    let (status, said) = keep(node, &format!("trace_id={}", id(number)), "");
    assert!(status == 200 && said.contains("\"recalled before\"") && said.contains("--again"), "{said}");
    assert!(said.contains("\"sent_spans\":0"), "{said}");
    // What comes again is counted before the answer.
    assert_eq!(node.metrics()["tailwater_items_received_total{signal=\"spans\"}"], before);
    assert!(!arrived(server).contains_key(&id(number)));
}

/// All that was dropped is recalled at once, and is at the server once, whatever was recalled before.
fn all_is_sent_once(node: &Tailwater, server: &Server, recalled_before: &[u64]) {
    let before = exported_at_rest(node);
    _ = arrived(server);
    let all = ["--service", "shop", "--since", "10m", "--limit", "1000", "--send"];
    let admin = node.admin.to_string();
    let dropped = TRACES - TRACES / 10;
    let new: Vec<u64> = (1..=TRACES).filter(|number| number % 10 > 0 && !recalled_before.contains(number)).collect();
    let sent = new.len() as u64 * SPANS;
    let (code, text, error) = recall(&[&all[..], &["--admin-endpoint", &admin]].concat());
    assert!(code == Some(0) && text.contains(&format!("\n{sent} spans sent on")), "{text}{error}");
    exported(node, before + sent as f64);
    let (code, text, error) = recall(&[&all[..], &["--admin-endpoint", &admin]].concat());
    assert!(code == Some(0) && text.contains("\n0 spans sent on"), "{text}{error}");
    assert_eq!(text.matches("recalled before").count() as u64, dropped, "{text}");
    assert_eq!(text.matches("kept by a policy before").count() as u64, TRACES / 10, "{text}");
    let arrived: BTreeMap<String, usize> =
        arrived(server).into_iter().map(|(trace, spans)| (trace, spans.len())).collect();
    assert_eq!(arrived, whole(&new).0);
}

/// A trace that was dropped is sent on, whole and marked, and explained.
fn is_sent_on(node: &Tailwater, server: &Server) {
    exported(node, 5.0 * SPANS as f64);
    let kept_before = arrived(server);
    assert!(kept_before.len() == 5 && kept_before.values().flatten().all(|span| !span.is_recalled));
    let (status, said) = keep(node, &format!("trace_id={}", id(7)), "origin: http://evil.example\r\n");
    assert_eq!(status, 403, "{said}");
    let (status, said) = keep(node, &format!("trace_id={}&trace_id={}", id(7), id(10)), "");
    assert_eq!(status, 200, "{said}");
    assert!(said.contains("\"sent\"") && said.contains("kept by a policy before"), "{said}");
    exported(node, 6.0 * SPANS as f64);
    let spans = arrived(server).remove(&id(7)).unwrap();
    assert_eq!(spans.len(), SPANS_OF_TRACE, "it came whole");
    for Arrived { trace_state, label, is_recalled } in &spans {
        assert!(label.contains("tailsampling.policy") && label.contains("recall"), "it says who kept it: {label}");
        assert_eq!(trace_state, "a=b", "it stands for no other");
        assert!(is_recalled, "it is marked");
    }
    is_not_sent_again(node, server, 7);
    let (_, said) = node.get(&format!("/api/v1/traces/{}", id(7)));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!(
        (&said["state"], &said["policy"], &said["ended_by"]),
        (&json!("kept"), &json!("recall"), &json!("recall"))
    );
    assert_eq!(node.metrics()["tailwater_recall_spans_sent_total"], SPANS as f64);
}

/// Without `Lane::retired` of past segments nothing is found after the first kill, without `Past::add` at a start nothing after
/// the second; without `keep_by_hand` the spans that come again are dropped as late ones.
#[test]
fn a_dropped_trace_is_found_and_sent_on_over_kills() {
    let server = Server::collecting();
    let endpoint = format!("http://{}", server.address);
    let arguments = [
        &["--sampling-policies", POLICIES, "--sampling-decision-wait", "300ms", "--sampling-record-policy"][..],
        &[
            "--exporters-otlp-endpoints",
            &endpoint,
            "--exporters-otlp-protocol",
            "http/protobuf",
            "--exporters-otlp-compression",
            "none",
        ],
        &["--wal-reach-back", "1h"],
    ]
    .concat();
    let node = Tailwater::start(&arguments);
    send(&node);
    are_found(&node);
    is_sent_on(&node, &server);

    // What was in use is past after a start, and what was past is after another.
    let node = Tailwater::start_in(node.crash(), &arguments);
    node.until(|metrics| {
        metrics.iter().any(|(name, value)| name.starts_with("tailwater_wal_past_segments{") && *value > 0.0)
    });
    assert_eq!(ask(&node, &format!("trace_id={}", id(8))), whole(&[8]));
    let (_, said) = node.get(&format!("/api/v1/traces/{}", id(7)));
    let said: Value = serde_json::from_str(&said).unwrap();
    assert_eq!((&said["state"], &said["policy"]), (&json!("kept"), &json!("recall")), "{said}");
    is_not_sent_again(&node, &server, 7);
    let directory = node.crash();
    assert!(files(directory.path(), "past-") > 0);
    let (code, text, error) =
        recall(&[&id(9), "--admin-endpoint", "127.0.0.1:1", "--data-dir", directory.path().to_str().unwrap()]);
    assert!(code == Some(0) && text.contains(&id(9)) && text.contains("3 spans"), "{text}{error}");
    let node = Tailwater::start_in(directory, &arguments);
    let admin = node.admin.to_string();
    let (code, text, error) =
        recall(&["--match", "order=9", "--since", "10m", "--format", "json", "--admin-endpoint", &admin]);
    assert_eq!((code, found(&text)), (Some(0), whole(&[9])), "{error}");
    let before = exported_at_rest(&node);
    let (code, text, error) = recall(&["--match", "order=9", "--send", "--admin-endpoint", &admin]);
    assert!(code == Some(0) && text.contains("sent"), "{text}{error}");
    exported(&node, before + SPANS as f64);
    assert_eq!(arrived(&server).remove(&id(9)).map(|spans| spans.len()), Some(SPANS_OF_TRACE));
    // Filters know by now what is not there.
    let vain = |node: &Tailwater| node.metrics()["tailwater_recall_segments_read_in_vain_total"];
    let before = vain(&node);
    assert_eq!(node.get(&format!("/api/v1/recall?trace_id={}", id(999))).0, 404);
    assert_eq!(vain(&node), before, "a filter says that it has nothing of it");
    let (code, _, error) = recall(&[&id(999), "--admin-endpoint", &admin]);
    assert!(code == Some(1) && error.contains("wal.reach_back"), "{error}");
    all_is_sent_once(&node, &server, &[7, 9]);
    let (code, text, error) = recall(&[&id(9), "--send", "--again", "--admin-endpoint", &admin]);
    assert!(code == Some(0) && text.contains("\n3 spans sent on"), "{text}{error}");
}

/// Without `Past::expire` what a run kept would stay with one that keeps nothing.
#[test]
fn what_is_done_with_goes_where_nothing_is_kept() {
    let arguments = ["--sampling-policies", POLICIES, "--sampling-decision-wait", "100ms"];
    let keeping = [&arguments[..], &["--wal-reach-back", "1h"]].concat();
    let node = Tailwater::start(&keeping);
    send(&node);
    let node = Tailwater::start_in(node.crash(), &keeping);
    node.until(|metrics| {
        metrics.iter().any(|(name, value)| name.starts_with("tailwater_wal_past_segments{") && *value > 0.0)
    });
    let node = Tailwater::start_in(node.crash(), &arguments);
    node.until(|metrics| metrics["tailwater_wal_past_segments_given_up_total{reason=\"age\"}"] > 0.0);
    node.until(|_| node.get(&format!("/api/v1/recall?trace_id={}", id(7))).0 == 404);
    let (code, _, error) = recall(&["--admin-endpoint", &node.admin.to_string()]);
    assert!(code == Some(64) && error.contains("say which"), "{error}");
}
