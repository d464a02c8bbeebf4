//! `tailwater try` on captures in every form, and shadow policies, offline and in a running node.

#![allow(clippy::unwrap_used, clippy::panic, reason = "test code fails by panicking")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::Write;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use tailwater_net::compression::{Encoding, deflate};
use tailwater_tests::process::{Tailwater, binary, post};
use tempfile::TempDir;

/// The policies: errors, and those with two spans; a shadow for what is red.
const NEW: &str = "sampling:
  policies:
    - {name: errors, type: status_code, status_code: {status_codes: [ERROR]}}
    - {name: two, type: span_count, span_count: {min_spans: 2}}
    - {name: red, shadow: true, type: string_attribute, string_attribute: {key: colour, values: [red]}}
";
/// What is red, but no errors.
const OLD: &str = "sampling:
  policies:
    - {name: red, type: string_attribute, string_attribute: {key: colour, values: [red]}}
    - name: no errors
      type: drop
      drop:
        drop_sub_policy: [{name: e, type: status_code, status_code: {status_codes: [ERROR]}}]
";

/// Of twelve traces every second has an error, every third is red, every fourth has two spans.
fn requests() -> Vec<ExportTraceServiceRequest> {
    let trace = |number: u64| {
        let span = |place: u64| Span {
            trace_id: u128::from(number).to_be_bytes().to_vec(),
            span_id: (number << 8 | place).to_be_bytes().to_vec(),
            name: "x".into(),
            start_time_unix_nano: number * 1_000_000_000,
            end_time_unix_nano: number * 1_000_000_000 + 1,
            status: number.is_multiple_of(2).then(|| Status { code: 2, ..Default::default() }),
            attributes: vec![KeyValue {
                key: "colour".into(),
                value: Some(AnyValue {
                    value: Some(any_value::Value::StringValue(
                        if number.is_multiple_of(3) { "red" } else { "blue" }.into(),
                    )),
                }),
                ..Default::default()
            }],
            ..Default::default()
        };
        let spans = (1..=if number.is_multiple_of(4) { 2 } else { 1 }).map(span).collect();
        let scope_spans = vec![ScopeSpans { spans, ..Default::default() }];
        ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
    };
    (1..=12).map(trace).collect()
}

/// The requests as JSON lines, written by a node that keeps all.
fn lines(directory: &Path) -> std::path::PathBuf {
    let all = ["--sampling-policies", "[{name: all, type: always_sample}]", "--sampling-decision-wait", "1s"];
    let node = Tailwater::start(&all);
    for request in requests() {
        let headers = [("content-type", "application/x-protobuf")];
        assert_eq!(post(node.http, "/v1/traces", &headers, &request.encode_to_vec()).0, 200);
    }
    let (_, _, data) = node.stop();
    let file = directory.join("kept.jsonl");
    std::fs::copy(data.path().join("kept.jsonl"), &file).unwrap();
    file
}

fn tried(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary("tailwater")).arg("try").args(arguments).stdin(Stdio::null()).output().unwrap();
    let Output { status, stdout, stderr } = output;
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

fn configurations(directory: &Path) -> [String; 2] {
    [("new.yaml", NEW), ("old.yaml", OLD)].map(|(name, text)| {
        let path = directory.join(name);
        std::fs::write(&path, text).unwrap();
        path.to_str().unwrap().to_string()
    })
}

/// What `NEW` makes of the requests.
fn assert_new(said: &Value) {
    assert_eq!(said["seen"], json!({ "traces": 12, "spans": 15, "bytes": said["seen"]["bytes"] }), "{said}");
    assert_eq!((&said["kept"]["traces"], &said["kept"]["spans"]), (&json!(6), &json!(9)), "{said}");
    let row = |place: usize| {
        let policy = &said["policies"][place];
        let traces = |key: &str| policy[key]["traces"].as_u64().unwrap();
        (policy["policy"].as_str().unwrap(), policy["matched"].as_u64().unwrap(), traces("first"), traces("alone"))
    };
    // All with two spans have an error too.
    assert_eq!([row(0), row(1), row(2)], [("errors", 6, 6, 3), ("two", 3, 0, 0), ("red", 4, 2, 2)], "{said}");
}

#[test]
fn captures_in_every_form_come_to_the_same() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let json_lines = lines(directory.path());
    let requests = requests();
    let one = ExportTraceServiceRequest {
        resource_spans: requests.iter().flat_map(|request| request.resource_spans.clone()).collect(),
    };
    let request = directory.path().join("request.pb");
    std::fs::write(&request, one.encode_to_vec()).unwrap();
    let stream = directory.path().join("stream.pb");
    let framed = requests.iter().map(Message::encode_to_vec);
    let framed = framed.flat_map(|body| [&u32::try_from(body.len()).unwrap().to_be_bytes(), body.as_slice()].concat());
    std::fs::write(&stream, framed.collect::<Vec<u8>>()).unwrap();
    for file in [json_lines, request, stream] {
        let (code, text) = tried(&["--config", &new, "--json", file.to_str().unwrap()]);
        assert_eq!(code, Some(0), "{text}");
        assert_new(&serde_json::from_str(&text).unwrap());
    }
}

/// The program with something on its standard input.
fn tried_with_input(arguments: &[&str], input: &[u8]) -> (Option<i32>, String) {
    let mut command = Command::new(binary("tailwater"));
    command.arg("try").args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let mut child = command.spawn().unwrap();
    let mut pipe = child.stdin.take().unwrap();
    pipe.write_all(input).unwrap();
    drop(pipe);
    let Output { status, stdout, stderr } = child.wait_with_output().unwrap();
    (status.code(), format!("{}{}", String::from_utf8_lossy(&stdout), String::from_utf8_lossy(&stderr)))
}

#[test]
fn captures_are_read_compressed_and_in_every_layout_of_json() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let lines = std::fs::read(lines(directory.path())).unwrap();
    let values: Vec<Value> =
        lines.split(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok()).collect();
    let pretty: String = values.iter().map(|value| serde_json::to_string_pretty(value).unwrap() + "\n").collect();
    let array = serde_json::to_vec(&values).unwrap();
    let pretty_array = serde_json::to_vec_pretty(&values).unwrap();
    let one = ExportTraceServiceRequest {
        resource_spans: requests().iter().flat_map(|request| request.resource_spans.clone()).collect(),
    };
    // The Collector's file exporter compresses each message by itself.
    let each = requests().into_iter().map(|request| request.encode_to_vec());
    let each = each.map(|body| deflate(Encoding::Zstd, &body, 3).unwrap());
    let messages: Vec<u8> =
        each.flat_map(|body| [&u32::try_from(body.len()).unwrap().to_be_bytes(), &*body].concat()).collect();
    let forms = [lines, pretty.into_bytes(), array, pretty_array, one.encode_to_vec(), messages];
    for (number, content) in forms.into_iter().enumerate() {
        for encoding in [Encoding::Identity, Encoding::Gzip, Encoding::Zstd] {
            let content = deflate(encoding, &content, 3).unwrap();
            // Known by what it holds, whatever it is called.
            let file = directory.path().join(format!("capture.{number}"));
            std::fs::write(&file, &content).unwrap();
            let (code, text) = tried(&["--config", &new, "--json", file.to_str().unwrap()]);
            assert_eq!(code, Some(0), "form {number}, {encoding:?}: {text}");
            assert_new(&serde_json::from_str(&text).unwrap());
            let (code, text) = tried_with_input(&["--config", &new, "--json", "-"], &content);
            assert_eq!(code, Some(0), "form {number}, {encoding:?}: {text}");
            assert_new(&serde_json::from_str(&text).unwrap());
        }
    }
    let (code, text) = tried_with_input(&["--config", &new, "-"], b"\x1f\x8bbroken");
    assert!(code == Some(66) && text.contains("standard input: ") && text.contains("gzip or zstd"), "{text}");
}

#[test]
fn parts_are_told_in_percent() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let file = directory.path().join("request.pb");
    std::fs::write(&file, requests().iter().map(Message::encode_to_vec).collect::<Vec<_>>().concat()).unwrap();
    let (_, text) = tried(&["--config", &new, file.to_str().unwrap()]);
    for part in ["6 traces (50.00 %), 9 spans (60.00 %)", "4   33.33 %"] {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
    let (_, text) = tried(&["--config", &new, "--json", file.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&said["kept"]["traces_percent"], &said["kept"]["spans_percent"]), (&json!(50.0), &json!(60.0)));
    assert_eq!(said["policies"][2]["matched_percent"], json!(33.33), "{said}");
}

#[test]
fn the_logs_of_all_pipelines_are_one_capture() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let config = directory.path().join("pipelines.yaml");
    let way =
        "{policies: [{name: all, type: always_sample}], decision_wait: 10m, decision_wait_after_root_received: 0s}";
    std::fs::write(&config, format!("pipelines:\n  a: {way}\n  b: {way}\n")).unwrap();
    let node = Tailwater::start(&["--config", config.to_str().unwrap(), "--shards", "1"]);
    let send = |node: &Tailwater, request: &ExportTraceServiceRequest| {
        let headers = [("content-type", "application/x-protobuf")];
        assert_eq!(post(node.http, "/v1/traces", &headers, &request.encode_to_vec()).0, 200);
    };
    let requests = requests();
    requests[..8].iter().for_each(|request| send(&node, request));
    let data = node.crash();
    // The first pipeline was done with what it had; what comes now is in both.
    for entry in std::fs::read_dir(data.path().join("log-a")).unwrap() {
        std::fs::remove_file(entry.unwrap().path()).unwrap();
    }
    let node = Tailwater::start_in(data, &["--config", config.to_str().unwrap(), "--shards", "1"]);
    requests[8..].iter().for_each(|request| send(&node, request));
    let (code, text) = tried(&["--config", &new, "--json", node.directory().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    assert_new(&serde_json::from_str(&text).unwrap());
}

#[test]
fn the_log_of_a_data_directory_is_a_capture() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let waits = ["--sampling-decision-wait", "10m", "--sampling-decision-wait-after-root-received", "0s"];
    let node = Tailwater::start(&waits);
    for request in requests() {
        let headers = [("content-type", "application/x-protobuf")];
        assert_eq!(post(node.http, "/v1/traces", &headers, &request.encode_to_vec()).0, 200);
    }
    let (code, text) = tried(&["--config", &new, "--json", node.directory().to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    assert_new(&serde_json::from_str(&text).unwrap());
}

#[test]
fn the_difference_to_another_file_is_told() {
    let directory = TempDir::new().unwrap();
    let [new, old] = configurations(directory.path());
    let file = directory.path().join("request.pb");
    let framed = requests().iter().map(Message::encode_to_vec).collect::<Vec<_>>().concat();
    std::fs::write(&file, framed).unwrap();
    let file = file.to_str().unwrap();
    let (code, text) = tried(&["--config", &new, "--against", &old, "--json", file]);
    assert_eq!(code, Some(0), "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    // Red without an error: 3 and 9.
    assert_eq!(said["against"]["kept"]["traces"], json!(2), "{said}");
    let examples = [format!("{:032x}", 3), format!("{:032x}", 9)];
    assert_eq!(said["kept_before"], json!([{ "policy": "red", "traces": 2, "examples": examples }]));
    assert_eq!((&said["kept_now"][0]["policy"], &said["kept_now"][0]["traces"]), (&json!("errors"), &json!(6)));
    let (_, text) = tried(&["--config", &new, "--against", &old, file]);
    for part in
        ["12 traces, 15 spans", "kept now, not by the other configuration: 6 traces", "by red, such as", "shadow"]
    {
        assert!(text.contains(part), "{part} is not in\n{text}");
    }
}

/// A shadow before the only rule in force.
const RULES: &str = "sampling:
  budget: {spans_per_second: 100}
  rules:
    - {name: red, shadow: true, when: [{string_attribute: {key: colour, values: [red]}}]}
    - {name: errors, when: [{status_code: {status_codes: [ERROR]}}]}
";

#[test]
fn a_rule_may_be_a_shadow_too() {
    let directory = TempDir::new().unwrap();
    let rules = directory.path().join("rules.yaml");
    std::fs::write(&rules, RULES).unwrap();
    let file = directory.path().join("request.pb");
    std::fs::write(&file, requests().iter().map(Message::encode_to_vec).collect::<Vec<_>>().concat()).unwrap();
    let (code, text) = tried(&["--config", rules.to_str().unwrap(), "--json", file.to_str().unwrap()]);
    assert_eq!(code, Some(0), "{text}");
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(said["kept"]["traces"], json!(6), "{said}");
    let red = &said["policies"][0];
    assert_eq!(
        (&red["kind"], &red["matched"], &red["first"]["traces"], &red["alone"]["traces"]),
        (&json!("shadow"), &json!(4), &json!(4), &json!(2)),
        "it stands before the errors: {said}"
    );
    // Behind them it has what they leave.
    let mut lines: Vec<&str> = RULES.lines().collect();
    lines.swap(3, 4);
    std::fs::write(&rules, lines.join("\n") + "\n").unwrap();
    let (_, text) = tried(&["--config", rules.to_str().unwrap(), "--json", file.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&text).unwrap();
    let red = said["policies"].as_array().unwrap().iter().find(|policy| policy["policy"] == "red").unwrap();
    assert_eq!(
        (&red["matched"], &red["first"]["traces"], &red["alone"]["traces"]),
        (&json!(4), &json!(2), &json!(2)),
        "{said}"
    );
}

#[test]
fn what_cannot_be_tried_is_told() {
    let directory = TempDir::new().unwrap();
    let [new, _] = configurations(directory.path());
    let empty = directory.path().join("empty.jsonl");
    std::fs::write(&empty, "{\"resourceMetrics\":[]}\n{broken\n").unwrap();
    let (code, text) = tried(&["--config", &new, empty.to_str().unwrap()]);
    assert!(code == Some(66) && text.contains("empty.jsonl:2") && text.contains("no span"), "{text}");
    let (code, text) = tried(&["--config", &new, "/nowhere/at/all"]);
    assert!(code == Some(66) && text.contains("/nowhere/at/all"), "{text}");
    let (code, text) = tried(&["--config", empty.to_str().unwrap(), &new]);
    assert!(code == Some(78), "{text}");
}

/// The metrics of a node with this file that has judged all requests.
fn judged_live(file: &Path) -> BTreeMap<String, f64> {
    let node = Tailwater::start(&["--config", file.to_str().unwrap()]);
    for request in requests() {
        let headers = [("content-type", "application/x-protobuf")];
        assert_eq!(post(node.http, "/v1/traces", &headers, &request.encode_to_vec()).0, 200);
    }
    node.until(|metrics| metrics["tailwater_traces_kept_total"] + metrics["tailwater_traces_dropped_total"] == 12.0);
    node.metrics()
}

#[test]
fn a_shadow_is_counted_and_has_no_effect() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, format!("{NEW}  decision_wait: 1s\n")).unwrap();
    let metrics = judged_live(&file);
    assert_eq!(metrics["tailwater_traces_kept_total"], 6.0);
    let of = |family: &str, more: &str| {
        metrics[&format!("tailwater_policy_{family}{{policy=\"red\",shadow=\"true\"{more}}}")]
    };
    assert_eq!(of("votes_total", ",matched=\"true\""), 4.0);
    assert_eq!((of("traces_kept_total", ""), of("spans_kept_total", "")), (2.0, 2.0), "what it would have kept more");
    assert_eq!(of("traces_kept_alone_total", ""), 2.0);

    // The same figures as a trial of the same rules on the same traces.
    let capture = directory.path().join("request.pb");
    let all = requests().into_iter().flat_map(|request| request.resource_spans).collect();
    std::fs::write(&capture, ExportTraceServiceRequest { resource_spans: all }.encode_to_vec()).unwrap();
    let (code, text) = tried(&["--config", file.to_str().unwrap(), "--json", capture.to_str().unwrap()]);
    let said: Value = serde_json::from_str(&text).unwrap();
    assert_eq!(code, Some(0), "{text}");
    for policy in said["policies"].as_array().unwrap() {
        let name = policy["policy"].as_str().unwrap();
        let shadow = if policy["kind"] == "shadow" { ",shadow=\"true\"" } else { "" };
        let live = |family: &str, more: &str| {
            metrics[&format!("tailwater_policy_{family}{{policy=\"{name}\"{shadow}{more}}}")]
        };
        let tried = |pointer: &str| policy.pointer(pointer).and_then(Value::as_f64).unwrap();
        assert_eq!(live("votes_total", ",matched=\"true\""), tried("/matched"), "{name}");
        assert_eq!(live("traces_kept_total", ""), tried("/first/traces"), "{name}");
        assert_eq!(live("spans_kept_total", ""), tried("/first/spans"), "{name}");
        assert_eq!(live("bytes_kept_total", ""), tried("/first/bytes"), "{name}");
        assert_eq!(live("traces_kept_alone_total", ""), tried("/alone/traces"), "{name}");
    }
}

#[test]
fn a_shadow_rule_counts_what_it_would_keep_at_its_place() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("config.yaml");
    std::fs::write(&file, format!("{RULES}  decision_wait: 1s\n")).unwrap();
    let metrics = judged_live(&file);
    assert_eq!(metrics["tailwater_traces_kept_total"], 6.0);
    let of = |family: &str| metrics[&format!("tailwater_policy_{family}_total{{policy=\"red\",shadow=\"true\"}}")];
    // Four are red; two of them are errors, which the rule behind it keeps.
    assert_eq!((of("traces_kept"), of("traces_kept_alone")), (4.0, 2.0));
}

/// Leans on `Trial::new`, which asks about pieces where the node would.
#[test]
fn span_ingest_is_tried_piece_by_piece() {
    let directory = TempDir::new().unwrap();
    // One trace in two requests, of which neither has both an error and a second span.
    let pieces = [(1, true), (2, false)].map(|(place, is_error): (u64, bool)| {
        let status = if is_error { json!({ "code": 2 }) } else { json!({}) };
        let (trace, span) = (format!("{:032x}", 7), format!("{place:016x}"));
        let span = json!({ "traceId": trace, "spanId": span, "name": "x", "status": status, "endTimeUnixNano": "9" });
        let resource = json!({ "attributes": [{ "key": "service.name", "value": { "stringValue": "s" } }] });
        json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": [span] }] }] }).to_string() + "\n"
    });
    let capture = directory.path().join("capture.jsonl");
    std::fs::write(&capture, pieces.concat()).unwrap();
    let both = "[{name: both, type: and, and: {and_sub_policy: [{name: e, type: status_code, status_code: {status_codes: \
                [ERROR]}}, {name: two, type: span_count, span_count: {min_spans: 2}}]}}]";
    for (strategy, kept) in [("trace-complete", 1), ("span-ingest", 0)] {
        let config = directory.path().join(strategy);
        std::fs::write(&config, format!("sampling:\n  strategy: {strategy}\n  policies: {both}\n")).unwrap();
        let (status, said) = tried(&["--json", "--config", config.to_str().unwrap(), capture.to_str().unwrap()]);
        assert_eq!(status, Some(0), "{said}");
        let said: Value = serde_json::from_str(&said).unwrap();
        assert_eq!(said["seen"]["spans"], 2, "{said}");
        assert_eq!(said["kept"]["traces"], kept, "{said}");
    }
}

#[test]
fn every_pipeline_is_tried_and_compared_with_its_namesake() {
    let directory = TempDir::new().unwrap();
    let request = directory.path().join("request.pb");
    let all = requests().into_iter().flat_map(|request| request.resource_spans).collect();
    std::fs::write(&request, ExportTraceServiceRequest { resource_spans: all }.encode_to_vec()).unwrap();
    let write = |name: &str, first: &str, second: &str| {
        let path = directory.path().join(name);
        std::fs::write(
            &path,
            format!(
                "pipelines:
  {first}: {{policies: [{{name: errors, type: status_code, status_code: {{status_codes: [ERROR]}}}}]}}
  {second}: {{policies: [{{name: two, type: span_count, span_count: {{min_spans: 2}}}}]}}
"
            ),
        )
        .unwrap();
        path.to_str().unwrap().to_string()
    };
    let (new, old) = (write("new.yaml", "a", "b"), write("old.yaml", "c", "a"));
    let arguments = ["--config", &new, "--against", &old, request.to_str().unwrap()];
    let (code, text) = tried(&[&arguments[..], &["--json"]].concat());
    let (json, told) = text.split_once('\n').unwrap();
    let said: Value = serde_json::from_str(json).unwrap();
    let [first, second] = said["pipelines"].as_array().unwrap().as_slice() else { panic!("{text}") };
    assert_eq!((code, &first["pipeline"], &first["kept"]["traces"]), (Some(0), &json!("a"), &json!(6)), "{text}");
    assert_eq!((&second["pipeline"], &second["kept"]["traces"]), (&json!("b"), &json!(3)), "{text}");
    assert_eq!(first["against"]["kept"]["traces"], json!(3), "its namesake counts spans: {text}");
    assert!(second["against"].is_null() && told.contains("pipeline c is in the other"), "{text}");
    let (_, text) = tried(&arguments);
    assert!(text.contains("pipeline a\n") && text.contains("pipeline b\n"), "{text}");
}
