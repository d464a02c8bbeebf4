//! Verdicts of a running program are explained: by the admin endpoint and by `tailwater explain`.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use serde_json::{Value, json};
use std::net::{SocketAddr, TcpListener};
use std::process::{Command, Output, Stdio};
use std::sync::Arc;
use tailwater_config::sampling::Sampling;
use tailwater_engine::explain::Explanation;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Nanos, Occasion};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::to_protobuf;
use tailwater_tests::process::{Tailwater, binary, post};
use tailwater_tests::shard_host::Kept;
use tailwater_tests::shard_plan::roomy;

const POLICIES: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
    {name: many, type: span_count, span_count: {min_spans: 2}}]";

fn id(number: u64) -> String {
    format!("{number:032x}")
}

fn send(node: SocketAddr, number: u64, is_error: bool) {
    let span = json!({
        "traceId": id(number),
        "spanId": format!("{number:016x}"),
        "name": "x",
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "1500000000",
        "status": { "code": if is_error { 2 } else { 0 } },
    });
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string();
    assert_eq!(post(node, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0, 200);
}

fn ask(node: &Tailwater, number: u64) -> (u16, Value) {
    let (status, body) = node.get(&format!("/api/v1/traces/{}", id(number)));
    (status, serde_json::from_str(&body).unwrap())
}

fn explain(endpoint: SocketAddr, arguments: &[&str]) -> (Option<i32>, String) {
    let endpoint = endpoint.to_string();
    let arguments = [&["explain", "--admin-endpoint", &endpoint], arguments].concat();
    let Output { status, stdout, stderr } =
        Command::new(binary("tailwater")).args(arguments).stdin(Stdio::null()).output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn verdicts_are_explained_until_they_are_forgotten() {
    let arguments = ["--sampling-policies", POLICIES, "--sampling-decision-wait", "1s", "--shards", "1"];
    let node = Tailwater::start(&[&arguments[..], &["--explain-verdicts-max", "3"]].concat());
    send(node.http, 1, true);
    send(node.http, 2, false);
    node.until(|metrics| metrics["tailwater_traces_kept_total"] + metrics["tailwater_traces_dropped_total"] == 2.0);
    let (status, said) = ask(&node, 1);
    assert_eq!((status, &said["state"], &said["policy"]), (200, &json!("kept"), &json!("errors")), "{said}");
    assert_eq!((&said["generation"], &said["probability"]), (&json!(0), &json!(1.0)), "{said}");
    let evidence = &said["evidence"];
    assert_eq!((&evidence["spans"], &evidence["duration_seconds"]), (&json!(1), &json!(0.5)), "{said}");
    assert_eq!(evidence["status"], json!(["error"]), "{said}");
    let (status, said) = ask(&node, 2);
    assert_eq!((status, &said["state"], &said["why"]), (200, &json!("dropped"), &json!("no policy sampled it")));

    let (code, text) = explain(node.admin, &[&id(1)]);
    assert_eq!(code, Some(0), "{text}");
    for part in ["kept", "errors", "its wait was over", "1 spans with its root", "status error"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (code, text) = explain(node.admin, &[&id(2), "--json"]);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((code, &said["state"]), (Some(0), &json!("dropped")));

    for number in 3..6 {
        send(node.http, number, false);
    }
    node.until(|metrics| metrics["tailwater_traces_dropped_total"] == 4.0);
    let (status, said) = ask(&node, 1);
    assert_eq!((status, &said["state"], &said["policy"]), (200, &json!("kept"), &json!("errors")), "{said}");
    assert!(said["why"].as_str().unwrap().contains("too long ago") && said["evidence"].is_null(), "{said}");
}

#[test]
fn a_pending_trace_tells_what_each_policy_says() {
    let waits = ["--sampling-decision-wait", "10m", "--sampling-decision-wait-after-root-received", "0s"];
    let node = Tailwater::start(&[&["--sampling-policies", POLICIES], &waits[..]].concat());
    send(node.http, 1, true);
    let (status, said) = ask(&node, 1);
    assert_eq!((status, &said["state"], &said["would_be"]), (200, &json!("pending"), &json!("kept")), "{said}");
    assert!(said["judged_in_seconds"].as_f64().unwrap() > 500.0, "{said}");
    let votes = json!([{ "policy": "errors", "says": "yes" }, { "policy": "many", "says": "no" }]);
    assert_eq!(said["votes"], votes);
    let (_, text) = explain(node.admin, &[&id(1)]);
    assert!(text.contains("kept if it were judged now") && text.contains("no        many"), "{text}");
    let metrics = node.metrics();
    let asked = "tailwater_policy_votes_total{policy=\"errors\",matched=\"true\"}";
    assert_eq!(
        (metrics["tailwater_traces_pending"], metrics[asked]),
        (1.0, 0.0),
        "it is still pending, and not counted"
    );
}

#[test]
fn what_cannot_be_explained_comes_with_a_remedy() {
    let node = Tailwater::start(&["--explain-verdicts-max", "0"]);
    let (code, text) = explain(node.admin, &[&id(7)]);
    assert!(code == Some(1) && text.contains("explain.verdicts_max"), "{text}");
    let (code, text) = explain(node.admin, &["7"]);
    assert!(code == Some(64) && text.contains("32 hexadecimal digits"), "{text}");
    assert_eq!(node.get("/api/v1/traces/xyz").0, 400);
    let closed = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = explain(closed, &[&id(7)]);
    assert!(code == Some(69) && text.contains("--admin-endpoint"), "{text}");
}

/// A span of trace `number` in service `shop`: the root, called `GET /<number>`, or a child of nobody that came.
fn part(number: u64, is_root: bool, is_error: bool) -> String {
    let span = json!({
        "traceId": id(number),
        "spanId": format!("{:016x}", number * 2 + u64::from(is_root)),
        "parentSpanId": if is_root { "" } else { "00000000000000ff" },
        "name": if is_root { format!("GET /{number}") } else { "inner".to_string() },
        "startTimeUnixNano": "1000000000",
        "endTimeUnixNano": "1000850000",
        "status": { "code": if is_error { 2 } else { 0 } },
    });
    let service = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "shop" } }] });
    json!({ "resourceSpans": [{ "resource": service, "scopeSpans": [{ "spans": [span] }] }] }).to_string()
}

fn judged(node: &Tailwater, traces: f64) {
    node.until(|metrics| metrics["tailwater_traces_kept_total"] + metrics["tailwater_traces_dropped_total"] >= traces);
}

fn send_part(node: &Tailwater, body: &str) {
    assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0, 200);
}

#[test]
fn the_condition_that_held_and_where_the_trace_began_are_told() {
    let policies = "[{name: no-health, type: drop, drop: {drop_sub_policy: [{name: d, type: ottl_condition, \
        ottl_condition: {span: ['name == \"GET /2\"']}}]}}, \
        {name: both, type: and, and: {and_sub_policy: [{name: e, type: status_code, status_code: {status_codes: [ERROR]}}, \
        {name: s, type: string_attribute, string_attribute: {key: service.name, values: [shop]}}]}}]";
    for thresholds in ["collector", "otep235"] {
        let arguments = ["--sampling-policies", policies, "--sampling-thresholds", thresholds];
        let node = Tailwater::start(&[&arguments[..], &["--sampling-decision-wait", "1s", "--shards", "1"]].concat());
        for (number, is_root) in [(1, false), (1, true), (2, true), (3, false)] {
            send_part(&node, &part(number, is_root, true));
        }
        judged(&node, 3.0);
        let (_, said) = ask(&node, 1);
        let conditions = json!([
            "status_code: {status_codes: [ERROR]}",
            "string_attribute: {key: service.name, values: [\"shop\"]}"
        ]);
        assert_eq!((&said["policy"], &said["conditions"]), (&json!("both"), &conditions), "{said}");
        assert_eq!((&said["service"], &said["root_span"]), (&json!("shop"), &json!("GET /1")), "{said}");
        assert_eq!(said["evidence"]["duration"], json!("850 us"), "{said}");
        let (_, said) = ask(&node, 2);
        assert_eq!((&said["state"], &said["policy"]), (&json!("dropped"), &json!("no-health")), "{said}");
        assert!(said["conditions"][0].as_str().unwrap().contains("name == "), "{said}");
        let (_, said) = ask(&node, 3);
        assert_eq!((&said["service"], &said["root_span"]), (&json!("shop"), &Value::Null), "{said}");
        let (_, text) = explain(node.admin, &[&id(1)]);
        for part in ["GET /1 of service shop", "held         status_code", "850 us"] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
    }
}

#[test]
fn rules_of_our_own_tell_what_held_also_when_they_do_not_keep() {
    let rules = "[{name: shop, when: [{service: [shop]}, {status_code: {status_codes: [ERROR]}}], sampler: always_off}, \
        {name: rest}]";
    let waits = ["--sampling-decision-wait", "1s", "--shards", "1"];
    let node = Tailwater::start(&[&["--sampling-rules", rules], &waits[..]].concat());
    send_part(&node, &part(1, true, true));
    send_part(&node, &part(2, true, false));
    judged(&node, 2.0);
    let (_, said) = ask(&node, 1);
    let held = json!(["service: [\"shop\"]", "status_code: {status_codes: [ERROR]}"]);
    assert_eq!((&said["state"], &said["policy"]), (&json!("dropped"), &json!("shop")), "{said}");
    assert_eq!(said["conditions"], held, "{said}");
    let (_, said) = ask(&node, 2);
    assert_eq!((&said["policy"], &said["conditions"]), (&json!("rest"), &json!(["always_on"])), "{said}");
}

#[test]
fn the_wait_that_ended_is_told() {
    let kept = "[{name: all, type: always_sample}]";
    let (root, quiet) = ("--sampling-decision-wait-after-root-received", "--sampling-inactivity-timeout");
    let (wait, most) = ("--sampling-decision-wait", "--sampling-max-trace-duration");
    let cases: [(&[&str], bool, &str); 6] = [
        (&[wait, "1s", root, "0s"], true, "decision_wait"),
        (&[wait, "10m", root, "1s"], true, "decision_wait_after_root_received"),
        (&[wait, "1s", root, "10m"], true, "decision_wait"),
        (&[wait, "10m", root, "0s", quiet, "1s"], false, "inactivity_timeout"),
        (&[wait, "10m", root, "0s", quiet, "1s", most, "1s"], false, "max_trace_duration"),
        (&[wait, "10m", root, "0s", most, "1s"], false, "max_trace_duration"),
    ];
    for (arguments, is_root, ended_by) in cases {
        let node = Tailwater::start(&[&["--sampling-policies", kept, "--shards", "1"], arguments].concat());
        send_part(&node, &part(1, is_root, false));
        let (_, said) = ask(&node, 1);
        assert_eq!((&said["state"], &said["waits_for"]), (&json!("pending"), &json!(ended_by)), "{said}");
        judged(&node, 1.0);
        let (_, said) = ask(&node, 1);
        assert_eq!(said["ended_by"], json!(ended_by), "{said}");
        assert!(said["occasion"].as_str().unwrap().contains(ended_by), "{said}");
    }
    let full = ["--sampling-policies", kept, "--shards", "1", wait, "10m", root, "0s", "--sampling-num-traces", "1"];
    let node = Tailwater::start(&full);
    for number in 1..4 {
        send_part(&node, &part(number, false, false));
    }
    judged(&node, 1.0);
    let (_, said) = ask(&node, 1);
    assert_eq!(said["ended_by"], json!("num_traces"), "{said}");
}

#[test]
fn what_ended_a_wait_early_is_told() {
    let judged_by = |ends: fn(&mut Shard, &mut Kept)| {
        let rules = Arc::new(Rules::compile(&Sampling::default()).unwrap());
        let mut shard = Shard::new(roomy(0, 1, 7), rules);
        shard.keep_reasons(4);
        let mut host = Kept::default();
        let mut body = Vec::new();
        to_protobuf(Signal::Traces, part(1, true, true).as_bytes(), &mut body).unwrap();
        let scanned = shard.scan(&body.into()).unwrap();
        shard.accept(scanned.spans());
        for (_, batch) in scanned.batches {
            shard.take(Nanos(1), batch, &mut host);
        }
        ends(&mut shard, &mut host);
        match shard.explain(Nanos(2), &1_u128.to_be_bytes()) {
            Some(Explanation::Judged(reason)) => reason.occasion,
            _ => Occasion::Ingest,
        }
    };
    assert_eq!(judged_by(|shard, host| shard.decide_early(Nanos(2), host)), Occasion::LogFull);
    assert_eq!(judged_by(|shard, host| _ = shard.drain(Nanos(2), host)), Occasion::Drain);
}

/// Leans on `Journal::append_told` and `Survey::adopt`: a number in the log means what its segment says.
#[test]
fn a_policy_keeps_its_name_after_a_restart_with_others() {
    let with = |policies: &'static str| {
        let waits = ["--sampling-decision-wait", "1s", "--sampling-record-policy"];
        [&["--shards", "1", "--sampling-policies", policies], &waits[..]].concat()
    };
    let others = "[{name: many, type: span_count, span_count: {min_spans: 2}}]";
    let node = Tailwater::start(&with(POLICIES));
    send(node.http, 1, true);
    node.until(|metrics| metrics["tailwater_traces_kept_total"] == 1.0);
    let (status, _, mut directory) = node.stop();
    assert!(status.success());
    // Taken over twice: what one run has said again the next one reads.
    for _ in 0..2 {
        let node = Tailwater::start_in(directory, &with(others));
        let (status, said) = ask(&node, 1);
        assert_eq!((status, &said["state"], &said["policy"]), (200, &json!("kept"), &json!("errors")), "{said}");
        let metrics = node.metrics();
        assert!(metrics.keys().any(|name| name.contains("policy=\"many\"")));
        assert!(!metrics.keys().any(|name| name.contains("policy=\"errors\"")), "it is not in force");
        send(node.http, 1, false);
        node.until(|metrics| metrics["tailwater_late_spans_total{verdict=\"kept\"}"] == 1.0);
        directory = node.stop().2;
    }
    let kept = std::fs::read_to_string(directory.path().join("kept.jsonl")).unwrap();
    let is_late = |line: &&str| line.contains("tailsampling.cached_decision");
    let late: Vec<&str> = kept.lines().filter(is_late).collect();
    assert_eq!(late.len(), 2, "{kept}");
    assert!(late.iter().all(|line| line.contains("errors")), "{kept}");
}
