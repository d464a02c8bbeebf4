//! Several samplers of a Collector's file in the real program: each gets every span, keeps what its policies say, sends it
//! where its pipelines say, and loses nothing of it in a crash.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code fails by panicking")]

use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::Command;
use tailwater_tests::conformance::spans_of;
use tailwater_tests::next_hop::{GOOD, Mood, Server};
use tailwater_tests::process::{Tailwater, binary, kept, post, wait};
use tempfile::TempDir;

/// Three ways: errors to one server, traces of many spans to another, all to a file.
fn file(errors: &str, many: &str, errors_at: &Server, many_at: &Server, directory: &Path) -> String {
    let exporter = |server: &Server| format!("{{endpoint: 'http://{}', compression: none}}", server.address);
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: , http: }}}}}}
processors:
  batch:
  tail_sampling/errors: {{decision_wait: 1s, policies: [{errors}]}}
  tail_sampling/many: {{decision_wait: 2s, policies: [{many}]}}
exporters:
  otlphttp/errors: {}
  otlphttp/many: {}
  file: {{path: {}}}
service:
  pipelines:
    traces/errors: {{receivers: [otlp], processors: [tail_sampling/errors, batch], exporters: [otlphttp/errors]}}
    traces/many: {{receivers: [otlp], processors: [batch, tail_sampling/many], exporters: [otlphttp/many]}}
    traces/all: {{receivers: [otlp], exporters: [file]}}
",
        exporter(errors_at),
        exporter(many_at),
        directory.join("all.jsonl").display(),
    )
}

/// More than the log of the last test holds.
const REQUESTS_MAX: u64 = 200;
const ERRORS: &str = "{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}";
const MANY: &str = "{name: many, type: span_count, span_count: {min_spans: 3}}";

struct Ways {
    node: Tailwater,
    errors: Server,
    many: Server,
    /// Of the file.
    directory: TempDir,
}

impl Ways {
    fn start(more: &[&str]) -> Self {
        let (errors, many, directory) = (Server::collecting(), Server::collecting(), TempDir::new().unwrap());
        let path = directory.path().join("ways.yaml");
        std::fs::write(&path, file(ERRORS, MANY, &errors, &many, directory.path())).unwrap();
        let node = Tailwater::start(&[&["--config", path.to_str().unwrap()], more].concat());
        Self { node, errors, many, directory }
    }

    fn rewrite(&self, errors: &str, many: &str) {
        let text = file(errors, many, &self.errors, &self.many, self.directory.path());
        std::fs::write(self.directory.path().join("ways.yaml"), text).unwrap();
    }
}

/// Sends a trace of so many spans.
fn send(node: SocketAddr, number: u64, spans: u64, is_error: bool) {
    let span = |span: u64| {
        json!({
            "traceId": format!("{number:032x}"),
            "spanId": format!("{:016x}", number * 100 + span),
            "name": "x",
            "status": { "code": if is_error { 2 } else { 0 } },
        })
    };
    let spans: Vec<Value> = (1..=spans).map(span).collect();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
    let (status, answer) = post(node, "/v1/traces", &[("content-type", "application/json")], body.as_bytes());
    assert_eq!((status, answer.as_slice()), (200, &b"{}"[..]));
}

/// Traces that came to a server, with how many spans of each.
fn traces(server: &Server) -> BTreeMap<String, usize> {
    let mut traces: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for span in server.take_bodies().iter().flat_map(|body| spans_of(body)) {
        assert!(traces.entry(span.trace_id).or_default().insert(span.span_id), "a span came twice");
    }
    traces.into_iter().map(|(trace, spans)| (trace, spans.len())).collect()
}

fn wanted(numbers: &[(u64, usize)]) -> BTreeMap<String, usize> {
    numbers.iter().map(|(number, spans)| (format!("{number:032x}"), *spans)).collect()
}

/// A pipeline's part of a family of spans.
fn of(metrics: &BTreeMap<String, f64>, family: &str, pipeline: &str) -> f64 {
    let start = format!("{family}{{pipeline=\"{pipeline}\",signal=\"spans\"");
    metrics.iter().filter(|(name, _)| name.starts_with(&start)).map(|(_, value)| value).sum()
}

#[test]
fn every_sampler_judges_every_trace_and_sends_where_its_pipelines_say() {
    let ways = Ways::start(&[]);
    send(ways.node.http, 1, 1, true);
    send(ways.node.http, 2, 3, false);
    send(ways.node.http, 3, 4, true);
    send(ways.node.http, 4, 1, false);
    let pending = |metrics: &BTreeMap<String, f64>, pipeline: &str| {
        metrics[&format!("tailwater_traces_pending{{pipeline=\"{pipeline}\"}}")]
    };
    let pipelines = ["traces/errors", "traces/many", "traces/all"];
    ways.node.until(|metrics| {
        // The books balance at every moment, in each pipeline.
        for pipeline in pipelines {
            let sum = |family: &str| of(metrics, family, pipeline);
            let known = sum("tailwater_items_exported_total")
                + sum("tailwater_items_dropped_total")
                + sum("tailwater_items_pending");
            assert_eq!(sum("tailwater_items_received_total"), known, "{pipeline}: {metrics:?}");
        }
        pending(metrics, "traces/errors") == 0.0 && pending(metrics, "traces/many") == 0.0
    });
    let metrics = ways.node.metrics();
    assert_eq!(metrics["tailwater_policy_traces_kept_total{pipeline=\"traces/errors\",policy=\"errors\"}"], 2.0);
    assert_eq!(metrics["tailwater_policy_traces_kept_total{pipeline=\"traces/many\",policy=\"many\"}"], 2.0);

    let (code, body) = ways.node.get(&format!("/api/v1/traces/{:032x}", 1));
    let said: Value = serde_json::from_str(&body).unwrap();
    let states = |said: &Value| -> Vec<(String, String)> {
        let text = |said: &Value, key: &str| said[key].as_str().unwrap_or_default().to_string();
        let each = said["pipelines"].as_array().unwrap().iter();
        each.map(|said| (text(said, "pipeline"), text(said, "state"))).collect()
    };
    let told: Vec<(String, String)> = states(&said);
    let told: Vec<(&str, &str)> = told.iter().map(|(name, state)| (name.as_str(), state.as_str())).collect();
    assert_eq!(code, 200);
    assert_eq!(told[..2], [("traces/errors", "kept"), ("traces/many", "dropped")], "{said}");
    let endpoint = ways.node.admin.to_string();
    let asked = Command::new(binary("tailwater"))
        .args(["explain", "--admin-endpoint", &endpoint, &format!("{:032x}", 1)])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&asked.stdout).into_owned();
    assert!(
        text.contains("kept by pipeline traces/errors") && text.contains("dropped by pipeline traces/many"),
        "{text}"
    );

    let (status, log, data) = ways.node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(traces(&ways.errors), wanted(&[(1, 1), (3, 4)]));
    assert_eq!(traces(&ways.many), wanted(&[(2, 3), (3, 4)]));
    assert_eq!(kept(&ways.directory.path().join("all.jsonl")).len(), 4);
    for name in ["requests", "log-traces%2ferrors", "log-traces%2fmany", "log-traces%2fall"] {
        assert!(data.path().join(name).is_dir(), "{name}");
    }
    let verified = Command::new(binary("tailwater")).args(["log", "verify"]).arg(data.path()).output().unwrap();
    let text = String::from_utf8_lossy(&verified.stdout).into_owned();
    assert!(verified.status.success() && text.contains("log-traces%2fmany/"), "{text}");
}

#[test]
fn a_crash_loses_nothing_in_any_pipeline() {
    let waits = ["--sampling-decision-wait", "10m"];
    let ways = Ways::start(&waits);
    for number in 1..=40 {
        send(ways.node.http, number, 1 + number % 4, number % 2 == 0);
    }
    let data = ways.node.crash();
    assert!(ways.errors.take_bodies().is_empty() && ways.many.take_bodies().is_empty());
    let path = ways.directory.path().join("ways.yaml");
    let arguments = [&["--config", path.to_str().unwrap()], &waits[..]].concat();
    let node = Tailwater::start_in(data, &arguments);
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let spans = |number: u64| usize::try_from(1 + number % 4).unwrap();
    let errors: Vec<_> = (1..=40).filter(|number| number % 2 == 0).map(|number| (number, spans(number))).collect();
    let many: Vec<_> = (1..=40).filter(|number| spans(*number) >= 3).map(|number| (number, spans(number))).collect();
    assert_eq!(traces(&ways.errors), wanted(&errors));
    assert_eq!(traces(&ways.many), wanted(&many));
    assert_eq!(kept(&ways.directory.path().join("all.jsonl")).len(), 40);
}

#[test]
fn rules_change_in_one_pipeline_and_others_go_on() {
    let ways = Ways::start(&["--sampling-decision-wait", "10m"]);
    send(ways.node.http, 1, 1, true);
    send(ways.node.http, 2, 2, false);
    ways.rewrite(ERRORS, &MANY.replace("min_spans: 3", "min_spans: 2"));
    let (code, said) = post(ways.node.admin, "/api/v1/reload", &[], b"");
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((code, &said["outcome"], &said["generation"]), (200, &json!("applied"), &json!(1)), "{said}");
    let status: Value = serde_json::from_str(&ways.node.get("/api/v1/status").1).unwrap();
    assert_eq!(status["pipelines"][1], json!({ "pipeline": "traces/many", "policies": ["many"] }), "{status}");
    // A pipeline more or less needs a restart, and is told.
    let path = ways.directory.path().join("ways.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    let fewer: String =
        text.lines().filter(|line| !line.contains("traces/all")).map(|line| format!("{line}\n")).collect();
    std::fs::write(&path, fewer).unwrap();
    let (code, said) = post(ways.node.admin, "/api/v1/reload", &[], b"");
    let said: Value = serde_json::from_slice(&said).unwrap();
    assert_eq!((code, &said["outcome"]), (200, &json!("unchanged")), "{said}");
    assert!(said["notes"].to_string().contains("pipelines.traces/all is different"), "{said}");
    let (ended, log, _) = ways.node.stop();
    assert!(ended.success(), "{}", log.join("\n"));
    assert_eq!(traces(&ways.errors), wanted(&[(1, 1)]));
    assert_eq!(traces(&ways.many), wanted(&[(2, 2)]));
}

#[test]
fn a_pipeline_that_is_gone_does_not_take_its_data_along() {
    let ways = Ways::start(&["--sampling-decision-wait", "10m"]);
    send(ways.node.http, 1, 1, true);
    let data = ways.node.crash();
    let mut command = Tailwater::command(data.path(), &[]);
    let mut child = command.spawn().unwrap();
    let mut said = String::new();
    std::io::Read::read_to_string(&mut child.stderr.take().unwrap(), &mut said).unwrap();
    assert!(!wait(&mut child).success());
    assert!(said.contains("log-traces%2f") && said.contains("--repair"), "{said}");
    // With the former configuration it is delivered.
    let path = ways.directory.path().join("ways.yaml");
    let node = Tailwater::start_in(data, &["--config", path.to_str().unwrap()]);
    let (status, log, data) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(traces(&ways.errors), wanted(&[(1, 1)]));
    // And then nothing keeps another configuration from starting.
    let (status, log, _) = Tailwater::start_in(data, &[]).stop();
    assert!(status.success(), "{}", log.join("\n"));
}

#[test]
fn what_one_pipeline_has_no_room_for_none_takes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ways.yaml");
    // Nobody listens there: what is kept stays in the log, until it is full.
    let nowhere = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let text = format!(
        "pipelines:
  kept: {{exporters: [otlp], policies: [{{name: all, type: always_sample}}]}}
  dropped: {{exporters: [none], decision_wait: 1ms, policies: [{MANY}]}}
sampling: {{decision_wait: 1s, decision_wait_after_root_received: 0s}}
exporters: {{otlp: {{endpoints: ['http://{nowhere}'], queue_bytes_max: 2MiB, batch: {{bytes_max: 1MiB}}}}}}
otlp: {{http: {{request_bytes_max: 1MiB}}, grpc: {{request_bytes_max: 1MiB}}}}
wal: {{bytes_max: 40MiB}}
"
    );
    std::fs::write(&path, text).unwrap();
    let node = Tailwater::start(&["--config", path.to_str().unwrap(), "--shards", "1"]);
    let send = |number: u64| {
        let filler = "x".repeat(700_000);
        let span = json!({ "traceId": format!("{number:032x}"), "spanId": format!("{number:016x}"), "name": filler });
        let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": [span] }] }] }).to_string();
        post(node.http, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0
    };
    let unresolved = "tailwater_wal_unresolved_units{pipeline=\"dropped\",shard=\"0\"}";
    let mut refused_in_a_row = 0;
    for number in 1..=REQUESTS_MAX {
        if send(number) != 503 {
            refused_in_a_row = 0;
            continue;
        }
        refused_in_a_row += 1;
        if refused_in_a_row == 10 {
            break;
        }
        // The other pipeline has judged all it has, and room for more: from now on it is not its log that is full.
        node.until(|metrics| metrics[unresolved] == 0.0);
    }
    assert_eq!(refused_in_a_row, 10, "the log is smaller than what was sent");
    let metrics = node.metrics();
    let received = |pipeline: &str| of(&metrics, "tailwater_items_received_total", pipeline);
    assert!(received("kept") > 10.0);
    assert_eq!(received("kept"), received("dropped"), "what was refused, and sent again, came to none");
    drop(node);
}

#[test]
fn a_start_judges_no_part_of_a_trace_however_many_pipelines_are_read() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ways.yaml");
    let pipelines = ["a", "b", "c", "d", "e", "f"];
    let mut text = "otlp: {http: {request_bytes_max: 1MiB}, grpc: {request_bytes_max: 1MiB}}\npipelines:\n".to_string();
    for name in pipelines {
        text +=
            &format!("  {name}: {{exporters: [none], policies: [{}]}}\n", MANY.replace("min_spans: 3", "min_spans: 2"));
    }
    std::fs::write(&path, text).unwrap();
    // Cores that are at work at different times hand each other spans of what they read.
    let arguments = ["--config", path.to_str().unwrap(), "--shards", "4", "--sampling-decision-wait"];
    let node = Tailwater::start(&[&arguments[..], &["10m"]].concat());
    let traces = 300;
    for half in 1..=2 {
        let span = |number: u64| json!({ "traceId": format!("{number:032x}"), "spanId": format!("{:016x}", number * 2 + half), "name": "x" });
        for first in (1..=traces).step_by(50) {
            let spans: Vec<Value> = (first..first + 50).map(span).collect();
            let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] }).to_string();
            assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/json")], body.as_bytes()).0, 200);
        }
    }
    // By this wait all were due when they were read.
    let node = Tailwater::start_in(node.crash(), &[&arguments[..], &["1ms"]].concat());
    node.until(|metrics| {
        pipelines.iter().all(|name| metrics[&format!("tailwater_traces_pending{{pipeline=\"{name}\"}}")] == 0.0)
    });
    let metrics = node.metrics();
    for name in pipelines {
        let kept = &format!("tailwater_policy_traces_kept_total{{pipeline=\"{name}\",policy=\"many\"}}");
        assert_eq!(metrics[kept], f64::from(u32::try_from(traces).unwrap()), "{name}");
    }
}

#[test]
fn logs_that_wait_are_sent_though_another_pipeline_takes_them_now() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("ways.yaml");
    let server = Server::start(Mood::Answers(503, None));
    let write = |pipelines: [&str; 2]| {
        let [first, second] = pipelines.map(|name| format!("{name}: {{exporters: [none]}}"));
        let exporter = format!("{{endpoints: ['http://{}'], protocol: http/protobuf}}", server.address);
        std::fs::write(&path, format!("pipelines: {{{first}, {second}}}\nexporters: {{otlp: {exporter}}}\n")).unwrap();
    };
    let arguments = ["--config", path.to_str().unwrap()];
    write(["a", "b"]);
    let node = Tailwater::start(&arguments);
    let records = json!([{ "body": { "stringValue": "x" } }, { "body": { "stringValue": "y" } }]);
    let body = json!({ "resourceLogs": [{ "scopeLogs": [{ "logRecords": records }] }] }).to_string();
    assert_eq!(post(node.http, "/v1/logs", &[("content-type", "application/json")], body.as_bytes()).0, 200);
    let data = node.crash();
    server.set(GOOD);
    write(["b", "a"]);
    let node = Tailwater::start_in(data, &arguments);
    let exported = "tailwater_items_exported_total{pipeline=\"a\",signal=\"log_records\"}";
    node.until(|metrics| metrics[exported] == 2.0);
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
}
