//! Nodes of a cluster as processes: the spans of a trace come to any of them, and it leaves whole or not at all, whoever is
//! killed meanwhile.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, UdpSocket};
use std::path::Path;
use std::process::{Command, Stdio};
use tailwater_tests::dns::NameServer;
use tailwater_tests::process::{Tailwater, binary, kept_at_least_once, post, signal};
use tempfile::TempDir;

const TRACES: u64 = 60;
const CONFIGURATION: &str = "
sampling:
  decision_wait: 4s
  policies:
    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
";

/// Starts a node in `directory` that joins those at `join`, with the key of that file.
fn start(directory: TempDir, key_file: &Path, join: &str, more: &[&str]) -> Tailwater {
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, CONFIGURATION).unwrap();
    let (file, key_file) = (file.to_str().unwrap().to_owned(), key_file.to_str().unwrap());
    let cluster =
        ["--cluster-listen", "127.0.0.1:0", "--cluster-join", join, "--cluster-key-file", key_file, "--shards", "2"];
    Tailwater::start_in(directory, &[&["--config", &file], &cluster[..], more].concat())
}

fn key(directory: &TempDir) -> std::path::PathBuf {
    let file = directory.path().join("key");
    std::fs::write(&file, "a key that nobody guesses, of more than thirty-two bytes\n").unwrap();
    file
}

fn cluster(node: &Tailwater) -> Value {
    serde_json::from_str(&node.get("/api/v1/cluster").1).unwrap()
}

fn address(node: &Tailwater) -> String {
    until_together(&[node]);
    cluster(node)["listens"].as_str().unwrap().to_owned()
}

/// Waits until every one of the nodes knows all of them.
fn until_together(nodes: &[&Tailwater]) {
    for node in nodes {
        node.until(|metrics| metrics.get("tailwater_cluster_members") == Some(&(nodes.len() as f64)));
    }
}

/// Sends span `span` of each trace; every fourth trace has an error in one of its spans, each at another place.
fn send(node: SocketAddr, span: u64) {
    let spans: Vec<Value> = (1..=TRACES)
        .map(|trace| {
            let is_error = trace % 4 == 0 && trace / 4 % 3 == span;
            json!({
                "traceId": format!("{trace:032x}"),
                "spanId": format!("{:016x}", trace * 16 + span),
                "name": "x",
                "status": { "code": if is_error { 2 } else { 0 } },
            })
        })
        .collect();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    let (status, answer) = post(node, "/v1/traces", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
}

/// Whether all that came to a node is settled.
fn is_settled(metrics: &BTreeMap<String, f64>) -> bool {
    let pending = metrics.iter().filter(|(name, _)| name.starts_with("tailwater_items_pending{signal=\"spans\""));
    pending.map(|(_, value)| value).sum::<f64>() == 0.0
}

/// Ends the nodes. Returns the spans of each trace that any of them has let through.
fn kept_by(nodes: Vec<Tailwater>) -> BTreeMap<String, BTreeSet<String>> {
    let mut all: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for node in nodes {
        let (_, _, directory) = node.stop();
        let file = directory.path().join("kept.jsonl");
        for (trace, spans) in kept_at_least_once(&file).0 {
            all.entry(trace).or_default().extend(spans);
        }
    }
    all
}

fn assert_whole(all: &BTreeMap<String, BTreeSet<String>>) {
    let expected: BTreeMap<String, BTreeSet<String>> = (4..=TRACES)
        .step_by(4)
        .map(|trace| (format!("{trace:032x}"), (0..3).map(|span| format!("{:016x}", trace * 16 + span)).collect()))
        .collect();
    assert_eq!(*all, expected);
}

/// What an operator looks for is there, by these names, in the metrics and as JSON.
fn assert_counted(node: &Tailwater) {
    let (metrics, said) = (node.metrics(), cluster(node));
    let names = [
        "false_deaths",
        "rejoined",
        "members_doubted",
        "turned_away",
        "evidence_sent",
        "evidence_held_back",
        "evidence_asked",
        "evidence_timed",
        "bytes_sent",
        "rulings_sent",
        "rulings_heard",
        "torn",
        "judged_alone",
        "ranges_pulled",
        "said_repaired",
        "pushed",
        "bundles_sent_again",
        "questions_unanswered",
    ];
    for name in names {
        assert!(metrics.contains_key(&format!("tailwater_cluster_{name}_total")), "{name}");
        assert!(said["counts"][name].is_u64(), "{name} is not in {said}");
    }
    for name in ["evidence_sent", "evidence_timed", "bytes_sent", "rulings_heard"] {
        assert!(metrics[&format!("tailwater_cluster_{name}_total")] > 0.0, "{name}");
    }
    // Spans are told a quarter of a second after they came; roots, as these are, at once.
    let lag =
        metrics["tailwater_cluster_evidence_lag_seconds_total"] / metrics["tailwater_cluster_evidence_timed_total"];
    assert!((0.0..2.0).contains(&lag), "{lag}");
    let status: Value = serde_json::from_str(&node.get("/api/v1/status").1).unwrap();
    assert_eq!(status["cluster"]["members"].as_array().map(Vec::len), Some(3), "{status}");
}

/// Without `Shard::tell` each node judges its own spans, and two thirds of each kept trace are missing.
#[test]
fn a_trace_on_three_nodes_leaves_whole_or_not_at_all() {
    let directory = TempDir::new().unwrap();
    let key = key(&directory);
    let first = start(TempDir::new().unwrap(), &key, "", &[]);
    let join = address(&first);
    let others = [0, 1].map(|_| start(TempDir::new().unwrap(), &key, &join, &[]));
    let nodes: Vec<&Tailwater> = std::iter::once(&first).chain(&others).collect();
    until_together(&nodes);
    (0..).zip(&nodes).for_each(|(span, node)| send(node.http, span));
    nodes.iter().for_each(|node| node.until(is_settled));
    let counts: f64 = nodes.iter().map(|node| node.metrics()["tailwater_cluster_judged_total"]).sum();
    assert!((counts - TRACES as f64).abs() < 0.5, "each trace is judged once: {counts}");
    nodes.iter().for_each(|node| assert_counted(node));
    let [second, third] = others;
    assert_whole(&kept_by(vec![first, second, third]));
}

/// Without `has_new_owner` nobody tells the new owner what the killed one was told.
#[test]
fn a_node_that_is_killed_and_comes_back_costs_no_trace() {
    let directory = TempDir::new().unwrap();
    let key = key(&directory);
    let first = start(TempDir::new().unwrap(), &key, "", &[]);
    let join = address(&first);
    let [second, third] = [0, 1].map(|_| start(TempDir::new().unwrap(), &key, &join, &["--ack", "synced"]));
    until_together(&[&first, &second, &third]);
    for (span, node) in (0..).zip([&first, &second, &third]) {
        send(node.http, span);
    }
    // It owned a third of them, and had a third of their spans.
    let third = start(third.crash(), &key, &join, &["--ack", "synced"]);
    until_together(&[&first, &second, &third]);
    [&first, &second, &third].iter().for_each(|node| node.until(is_settled));
    assert_whole(&kept_by(vec![first, second, third]));
}

#[test]
fn a_stranger_is_neither_heard_nor_answered() {
    let directory = TempDir::new().unwrap();
    let key_file = key(&directory);
    let first = start(TempDir::new().unwrap(), &key_file, "", &[]);
    std::fs::write(&key_file, "another key that nobody guesses, of thirty-two bytes\n").unwrap();
    let stranger = start(TempDir::new().unwrap(), &key_file, &address(&first), &[]);
    first.until(|metrics| {
        let refused = metrics.iter().filter(|(name, _)| name.starts_with("tailwater_cluster_datagrams_refused_total"));
        refused.map(|(_, value)| value).sum::<f64>() > 1.0
    });
    for node in [&first, &stranger] {
        assert_eq!(cluster(node)["members"].as_array().map(Vec::len), Some(1));
    }
    assert_eq!(stranger.metrics()["tailwater_cluster_datagrams_heard_total"], 0.0);
}

/// What a node says of a trace.
fn ask(node: &Tailwater, trace: u64) -> (u16, Value) {
    let (status, body) = node.get(&format!("/api/v1/traces/{trace:032x}"));
    (status, serde_json::from_str(&body).unwrap())
}

/// Without `Asker::answer_others` a node knows nothing of what others have; without `note_reason_for_all` the owner tells of
/// its own spans alone.
#[test]
fn any_node_tells_what_became_of_a_trace_and_where_it_lies() {
    let directory = TempDir::new().unwrap();
    let key = key(&directory);
    let first = start(TempDir::new().unwrap(), &key, "", &[]);
    let join = address(&first);
    let [second, third] = [0, 1].map(|_| start(TempDir::new().unwrap(), &key, &join, &[]));
    let nodes = [&first, &second, &third];
    until_together(&nodes);
    send(first.http, 0);
    send(second.http, 1);
    for node in nodes {
        assert_eq!(ask(node, 4).1["state"], json!("pending"));
    }
    nodes.iter().for_each(|node| node.until(is_settled));
    let id = |node: &Tailwater| cluster(node)["node"].as_str().unwrap().to_owned();
    // The error of the first is in the span of `second`, that of the other came nowhere.
    for (trace, state) in [(4, "kept"), (8, "dropped")] {
        let expected: BTreeSet<String> = [id(&first), id(&second)].into();
        for node in nodes {
            let (status, said) = ask(node, trace);
            assert_eq!((status, &said["state"], &said["evidence"]["spans"]), (200, &json!(state), &json!(2)), "{said}");
            assert!(said["judged_by"].is_string() && said["judged_by"] == said["owner"], "{said}");
            let parts = said["parts"].as_array().unwrap();
            let lies: Vec<&Value> = parts.iter().filter(|part| part["spans"] != json!(0)).collect();
            assert!(lies.iter().all(|part| part["spans"] == json!(1) && part["state"] == json!(state)), "{said}");
            let on = lies.iter().map(|part| part["node"].as_str().unwrap().to_owned()).collect();
            assert_eq!((&expected, &said["silent"]), (&on, &json!([])), "{said}");
        }
    }
    let (status, said) = ask(&third, 999);
    assert_eq!((status, &said["silent"]), (404, &json!([])), "{said}");
    signal(second.id(), "STOP");
    let (_, said) = ask(&third, 4);
    signal(second.id(), "CONT");
    assert_eq!((&said["state"], &said["silent"]), (&json!("kept"), &json!([id(&second)])), "{said}");
}

/// What `tailwater doctor --peers` says of the node at `join`, and how it ends.
fn doctor(key_file: &Path, join: &str) -> (Option<i32>, String) {
    let key_file = key_file.to_str().unwrap();
    doctor_with(&["--cluster-listen", "127.0.0.1:0", "--cluster-join", join, "--cluster-key-file", key_file])
}

fn doctor_with(arguments: &[&str]) -> (Option<i32>, String) {
    let command = [&["doctor", "--peers"], arguments].concat();
    let output = Command::new(binary("tailwater")).args(command).stdin(Stdio::null()).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&output.stdout).into_owned())
}

/// Passes datagrams of at most so many bytes on to a node and back, until it is dropped. Returns where it listens.
fn narrow_way(to: SocketAddr, bytes_max: usize) -> SocketAddr {
    let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
    let listens = socket.local_addr().unwrap();
    std::thread::spawn(move || {
        let mut asker = to;
        let mut buffer = vec![0; 65_536];
        while let Ok((bytes, from)) = socket.recv_from(&mut buffer) {
            let onward = if from == to { asker } else { to };
            if from != to {
                asker = from;
            }
            if bytes <= bytes_max {
                _ = socket.send_to(&buffer[..bytes], onward);
            }
        }
    });
    listens
}

/// Without `Hub::probed` there is no answer; without `Silence::Refused` a port where nobody listens is not told from a key that
/// is refused.
#[test]
fn the_doctor_tells_what_is_wrong_between_two_nodes() {
    let directory = TempDir::new().unwrap();
    let key_file = key(&directory);
    let node = start(TempDir::new().unwrap(), &key_file, "", &[]);
    let join = address(&node);
    let id = cluster(&node)["node"].as_str().unwrap().to_owned();
    let (code, text) = doctor(&key_file, &join);
    assert_eq!(code, Some(0), "{text}");
    for part in [&format!("is node {id}"), "8972 bytes come back", "ms apart"] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    let (code, text) = doctor(&key_file, &narrow_way(join.parse().unwrap(), 1_300).to_string());
    assert_eq!(code, Some(2), "{text}");
    assert!(text.contains("datagrams of 1340 bytes do not come back") && text.contains("up to 1232 do"), "{text}");
    // A port on which nothing listened a moment ago.
    let closed = UdpSocket::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let (code, text) = doctor(&key_file, &closed.to_string());
    assert_eq!((code, text.contains("no node listens there")), (Some(1), true), "{text}");
    let refused = |metrics: &BTreeMap<String, f64>| {
        let refused = metrics.iter().filter(|(name, _)| name.starts_with("tailwater_cluster_datagrams_refused_total"));
        refused.map(|(_, value)| value).sum::<f64>()
    };
    assert!(refused(&node.metrics()) < 1.0);
    std::fs::write(&key_file, "another key that nobody guesses, of thirty-two bytes\n").unwrap();
    let (code, text) = doctor(&key_file, &join);
    assert_eq!((code, text.contains("refuses the key")), (Some(1), true), "{text}");
    node.until(|metrics| refused(metrics) > 1.0);
    assert_eq!(cluster(&node)["members"].as_array().map(Vec::len), Some(1), "the doctor has not joined");
}

/// Without `resolve_service` nobody is found; without a lookup again a service that was empty at the start stays so.
#[test]
fn nodes_find_each_other_by_a_service_of_dns() {
    let directory = TempDir::new().unwrap();
    let key = key(&directory);
    let server = NameServer::start();
    let dns = server.address.to_string();
    let join = "dnssrv+_tailwater._udp.nodes.test";
    let arguments = ["--cluster-dns-server", dns.as_str()];
    let first = start(TempDir::new().unwrap(), &key, join, &arguments);
    let second = start(TempDir::new().unwrap(), &key, join, &arguments);
    let port = |node: &Tailwater| address(node).parse::<SocketAddr>().unwrap().port();
    // Each has looked in vain.
    server.offer(&[port(&first), port(&second)]);
    until_together(&[&first, &second]);
    let arguments = ["--cluster-listen", "127.0.0.1:0", "--cluster-join", join, "--cluster-dns-server", &dns];
    let (code, text) = doctor_with(&[&arguments[..], &["--cluster-key-file", key.to_str().unwrap()]].concat());
    assert_eq!((code, text.matches("is node").count()), (Some(0), 2), "{text}");
}

/// Log records of every trace, and of as many of which no node has a span.
fn send_logs(node: SocketAddr) {
    let record = |trace: u64| json!({ "traceId": format!("{trace:032x}"), "spanId": "00000000000000ff", "body": { "stringValue": "x" } });
    let records: Vec<Value> = (1..=2 * TRACES).map(record).collect();
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string();
    let (status, answer) = post(node, "/v1/logs", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
}

/// Breaks without `Shard::ask_fate`, or where `hear_ruling` does not note what was asked for.
#[test]
fn log_records_share_the_verdict_on_a_trace_whose_spans_are_on_other_nodes() {
    let keys = TempDir::new().unwrap();
    let key = key(&keys);
    let follow = ["--logs-of-traces", "follow", "--logs-wait", "5s"];
    let first = start(TempDir::new().unwrap(), &key, "127.0.0.1:1", &follow);
    let address = address(&first);
    let second = start(TempDir::new().unwrap(), &key, &address, &follow);
    until_together(&[&first, &second]);
    (0..3).for_each(|span| send(first.http, span));
    send_logs(second.http);
    let kept = (TRACES / 4) as f64;
    let expected = [
        ("tailwater_logs_kept_with_trace_total", kept),
        ("tailwater_logs_dropped_with_trace_total", TRACES as f64 - kept),
        ("tailwater_logs_orphans_total", TRACES as f64),
    ];
    second.until(|metrics| expected.iter().map(|(name, _)| metrics[*name]).sum::<f64>() == 2.0 * TRACES as f64);
    let metrics = second.metrics();
    assert_eq!(expected.map(|(name, _)| (name, metrics[name])), expected);
    for node in [first, second] {
        let (status, log, _) = node.stop();
        assert!(status.success(), "{}", log.join("\n"));
    }
}
