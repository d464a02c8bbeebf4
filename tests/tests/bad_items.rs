//! Requests with something wrong in them to the real program, in every signal, by every way in: what is wrong costs itself,
//! the sender is told of what, and the rest goes on; from the log, too.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceResponse;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceResponse;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceResponse;
use prost::Message;
use serde_json::Value;
use std::path::Path;
use tailwater_connectors::otlp::{SIGNALS, grpc_path, http_path};
use tailwater_proto::otlp::Signal;
use tailwater_tests::grpc;
use tailwater_tests::process::{Tailwater, post};

const EVERYTHING: [&str; 4] =
    ["--sampling-policies", "[{name: all, type: always_sample}]", "--sampling-decision-wait", "10m"];
const PROTOBUF: (&str, &str) = ("content-type", "application/x-protobuf");
const JSON: (&str, &str) = ("content-type", "application/json");

/// A length-delimited protobuf field.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut encoded = vec![number << 3 | 2];
    prost::encoding::encode_varint(content.len() as u64, &mut encoded);
    encoded.extend_from_slice(content);
    encoded
}

fn attribute(number: u8, value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, b"k"), field(2, &field(1, value))].concat())
}

/// An item of that name, with more in it: a span of a trace of its own, a gauge with a point, a log record.
fn item(signal: Signal, name: &str, more: &[u8]) -> Vec<u8> {
    let mut trace = [0; 16];
    trace[..name.len()].copy_from_slice(name.as_bytes());
    match signal {
        Signal::Traces => {
            field(2, &[field(1, &trace), field(2, &[7; 8]), field(5, name.as_bytes()), more.to_vec()].concat())
        }
        Signal::Metrics => field(2, &[field(1, name.as_bytes()), field(5, &field(1, more))].concat()),
        Signal::Logs => field(2, &[field(5, &field(1, name.as_bytes())), more.to_vec()].concat()),
    }
}

/// Items in a scope of that name under a resource with that in it.
fn under(resource: &[u8], scope: &[u8], items: &[Vec<u8>]) -> Vec<u8> {
    field(1, &[field(1, resource), field(2, &[field(1, scope), items.concat()].concat())].concat())
}

/// What makes an item bad: an id of a wrong length, in a link, an exemplar or the record itself.
fn bad_id(signal: Signal) -> Vec<u8> {
    match signal {
        Signal::Traces => field(13, &field(1, &[1; 3])),
        Signal::Metrics => field(5, &field(5, &[1; 3])),
        Signal::Logs => field(9, &[1; 3]),
    }
}

/// A request with four items lost: one by itself, one with its scope, two with their resource. Of one that is kept a text
/// is not UTF-8, and of the resource of another.
fn protobuf(signal: Signal) -> Vec<u8> {
    let good = |name: &str| item(signal, name, &[]);
    let attributes = match signal {
        Signal::Traces => 9,
        Signal::Metrics => 7,
        Signal::Logs => 6,
    };
    let broken = item(signal, "c", &attribute(attributes, b"text \xc3"));
    let bad = item(signal, "x", &bad_id(signal));
    [
        under(&attribute(1, b"r"), &field(1, b"s"), &[good("a"), bad, broken]),
        under(&attribute(1, b"r"), &[8, 1], &[good("x")]),
        under(&[8, 1], &field(1, b"s"), &[good("x"), good("x")]),
        under(&attribute(1, b"java \xc3"), &field(1, b"s"), &[good("d")]),
    ]
    .concat()
}

/// The same in JSON.
fn json(signal: Signal) -> String {
    let good = |name: &str| match signal {
        Signal::Traces => format!(
            r#"{{"traceId":"{:02x}{}","spanId":"0102030405060708","name":"{name}","kind":"SPAN_KIND_SERVER"}}"#,
            name.as_bytes()[0],
            "0".repeat(30)
        ),
        Signal::Metrics => format!(r#"{{"name":"{name}","gauge":{{"data_points":[{{"as_int":1}}]}}}}"#),
        Signal::Logs => format!(r#"{{"body":{{"string_value":"{name}"}},"severityNumber":"SEVERITY_NUMBER_WARN"}}"#),
    };
    let (resources, scopes, items, bad) = match signal {
        Signal::Traces => ("resourceSpans", "scopeSpans", "spans", r#"{"kind":"SPAN_KIND_WRONG"}"#),
        Signal::Metrics => ("resourceMetrics", "scopeMetrics", "metrics", r#"{"gauge":{"dataPoints":[{"asInt":[]}]}}"#),
        Signal::Logs => ("resourceLogs", "scopeLogs", "logRecords", r#"{"attributes":[{"key":5}]}"#),
    };
    let under = |resource: &str, scope: &str, of: &[String]| {
        format!(r#"{{"resource":{resource},"{scopes}":[{{"scope":{scope},"{items}":[{}]}}]}}"#, of.join(","))
    };
    let all = [
        under("{}", "{}", &[good("a"), bad.into(), good("c")]),
        under("{}", "7", &[good("x")]),
        under(r#"{"attributes":{}}"#, "{}", &[good("x"), good("x")]),
        under(r#"{"attributes":[{"key":"k","value":{"stringValue":"java \ud83d"}}]}"#, "{}", &[good("d")]),
    ];
    format!(r#"{{"{resources}":[{}]}}"#, all.join(","))
}

/// How many items were refused, and why, by a response message.
fn told(signal: Signal, response: &[u8]) -> (i64, String) {
    match signal {
        Signal::Traces => {
            let partial = ExportTraceServiceResponse::decode(response).unwrap().partial_success.unwrap();
            (partial.rejected_spans, partial.error_message)
        }
        Signal::Metrics => {
            let partial = ExportMetricsServiceResponse::decode(response).unwrap().partial_success.unwrap();
            (partial.rejected_data_points, partial.error_message)
        }
        Signal::Logs => {
            let partial = ExportLogsServiceResponse::decode(response).unwrap().partial_success.unwrap();
            (partial.rejected_log_records, partial.error_message)
        }
    }
}

/// Names of the items in a file of OTLP JSON lines, sorted, by signal; and the file's text.
fn kept(file: &Path) -> ([String; 3], String) {
    let text = std::fs::read_to_string(file).unwrap_or_default();
    let mut names = [String::new(), String::new(), String::new()];
    let mut open: Vec<(usize, Value)> = text.lines().map(|line| (3, serde_json::from_str(line).unwrap())).collect();
    while let Some((signal, value)) = open.pop() {
        for (key, inner) in value.as_object().into_iter().flatten() {
            let signal = match key.as_str() {
                "resourceSpans" => 0,
                "resourceMetrics" => 1,
                "resourceLogs" => 2,
                _ => signal,
            };
            match (key.as_str(), signal) {
                ("spans", _) | ("metrics", _) => {
                    names[signal].extend(inner.as_array().unwrap().iter().map(|item| item["name"].as_str().unwrap()));
                }
                ("logRecords", _) => names[signal]
                    .extend(inner.as_array().unwrap().iter().map(|item| item["body"]["stringValue"].as_str().unwrap())),
                _ => open.extend(inner.as_array().into_iter().flatten().map(|inner| (signal, inner.clone()))),
            }
        }
    }
    let sorted = names.map(|names| {
        let mut letters: Vec<char> = names.chars().collect();
        letters.sort_unstable();
        letters.into_iter().collect()
    });
    (sorted, text)
}

fn send_all(node: &Tailwater) {
    for signal in SIGNALS {
        let answer = grpc::call(node.grpc, grpc_path(signal), &protobuf(signal));
        assert_eq!(answer.status, "0", "{answer:?}");
        assert!(!answer.response.is_empty(), "{signal:?} over gRPC has no partial success");
        let (rejected, message) = told(signal, &answer.response);
        assert!(rejected == 4 && !message.is_empty(), "{signal:?} over gRPC: {rejected} {message}");
        let (status, answer) = post(node.http, http_path(signal), &[PROTOBUF], &protobuf(signal));
        assert_eq!((status, told(signal, &answer)), (200, (rejected, message)));
        let (status, answer) = post(node.http, http_path(signal), &[JSON], json(signal).as_bytes());
        let answer: Value = serde_json::from_slice(&answer).unwrap();
        let partial = &answer["partialSuccess"];
        let count = ["rejectedSpans", "rejectedDataPoints", "rejectedLogRecords"][signal as usize];
        assert_eq!((status, partial[count].as_str()), (200, Some("4")), "{signal:?}: {answer}");
        let message = partial["errorMessage"].as_str().unwrap();
        assert!(!message.contains("Fault") && !message.contains('{'), "{message}");
        assert!(message.starts_with("resource") && message.contains("[1]"), "{signal:?}: {message}");
    }
}

fn check_books(node: &Tailwater) {
    let metrics = node.metrics();
    let of = |name: &str| metrics[name];
    for signal in ["spans", "metric_points", "log_records"] {
        let labelled = |name: &str| of(&format!("tailwater_{name}{{signal=\"{signal}\"}}"));
        assert_eq!(labelled("items_received_total"), 9.0, "{signal}");
        assert_eq!(of(&format!("tailwater_refused_total{{what=\"{signal}\"}}")), 12.0);
        let cause =
            |cause: &str| of(&format!("tailwater_items_refused_total{{signal=\"{signal}\",cause=\"{cause}\"}}"));
        assert_eq!((cause("id"), cause("structure"), cause("value")), (2.0, 6.0, 4.0), "{signal}");
    }
    assert_eq!(of("tailwater_refused_total{what=\"requests\"}"), 0.0);
    // Two texts of each protobuf request, one of each in JSON.
    assert_eq!(of("tailwater_texts_repaired_total"), 15.0);
}

#[test]
fn a_bad_item_costs_itself_in_every_signal_by_every_way_in() {
    for backend in ["uring", "epoll"] {
        let node = Tailwater::start(&[&["--runtime", backend], &EVERYTHING[..]].concat());
        send_all(&node);
        check_books(&node);
        let (status, log, directory) = node.stop();
        assert!(status.success(), "{}", log.join("\n"));
        let (names, text) = kept(&directory.path().join("kept.jsonl"));
        assert_eq!(names, ["aaacccddd", "aaacccddd", "aaacccddd"], "{backend}");
        // Of spans with equal resources in one batch the resource is there once.
        assert!(text.matches("java \u{fffd}").count() >= 7, "a text that is not UTF-8, or half a pair: {text}");
        assert_eq!(text.matches("text \u{fffd}").count(), 6);
    }
}

#[test]
fn what_is_read_from_the_log_again_is_what_was_accepted() {
    let arguments = [&EVERYTHING[..], &["--ack", "written"]].concat();
    // An exporter that nobody listens to: all of it waits in the log.
    let nowhere = ["--exporters-otlp-endpoints", "http://127.0.0.1:9"];
    let node = Tailwater::start(&[&arguments[..], &nowhere].concat());
    send_all(&node);
    let directory = node.crash();
    let node = Tailwater::start_in(directory, &arguments);
    node.until(|metrics| metrics["tailwater_items_received_total{signal=\"spans\"}"] >= 9.0);
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let (names, text) = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(names, ["aaacccddd", "aaacccddd", "aaacccddd"], "{}", log.join("\n"));
    assert!(text.matches("java \u{fffd}").count() >= 7, "{text}");
}

#[test]
fn a_request_of_which_nothing_is_known_is_refused_and_ignored_names_are_counted() {
    let node = Tailwater::start(&[]);
    for (signal, body) in [
        (Signal::Traces, r#"{"resource_span":[{}]}"#),
        (Signal::Metrics, r#"{"metrics":[{}]}"#),
        (Signal::Logs, r#"{"resourceSpans":[{}]}"#),
    ] {
        let (status, answer) = post(node.http, http_path(signal), &[JSON], body.as_bytes());
        let answer = String::from_utf8(answer).unwrap();
        assert!(status == 400 && answer.contains("nothing in it is known"), "{status} {answer}");
    }
    let (status, answer) = post(
        node.http,
        http_path(Signal::Logs),
        &[JSON],
        json(Signal::Logs).replace("severityNumber", "severity").as_bytes(),
    );
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
    // One in each of six records.
    assert_eq!(node.metrics()["tailwater_json_names_ignored_total"], 6.0);
}

#[test]
fn a_span_as_large_as_a_request_may_be_is_taken() {
    let sent = |arguments: &[&str]| {
        let node = Tailwater::start(&[&EVERYTHING[..], arguments].concat());
        let large = item(Signal::Traces, "a", &attribute(9, &vec![b'x'; 9 << 20]));
        let (status, answer) = post(node.http, "/v1/traces", &[PROTOBUF], &under(&[], &[], &[large]));
        assert_eq!(status, 200);
        let (status, log, directory) = node.stop();
        assert!(status.success(), "{}", log.join("\n"));
        (answer, kept(&directory.path().join("kept.jsonl")).0)
    };
    assert_eq!(sent(&[]), (Vec::new(), ["a".into(), String::new(), String::new()]));
    let (answer, names) = sent(&["--memory-span-bytes-max", "4MiB"]);
    let (rejected, message) = told(Signal::Traces, &answer);
    assert!(rejected == 1 && message.contains("larger than 4194304 bytes"), "{message}");
    assert_eq!(names, [String::new(), String::new(), String::new()]);
}

/// The lines that a node wrote about what senders did wrong: sender, kind, reason, and how many were held back before.
fn complaints(log: &[String]) -> Vec<(String, String, String)> {
    let lines = log.iter().map(|line| serde_json::from_str::<Value>(line).unwrap());
    let warnings = lines.filter(|line| line["level"] == "WARN" && line["sender"].is_string());
    let of = |line: &Value, key: &str| line[key].as_str().unwrap().to_string();
    warnings.map(|line| (of(&line, "sender"), of(&line, "kind"), of(&line, "reason"))).collect()
}

#[test]
fn what_senders_do_wrong_is_told_once_a_kind_and_sender() {
    let node = Tailwater::start(&EVERYTHING);
    let large = vec![b' '; 65 << 20];
    let grpc_traces = |body: &[u8]| grpc::call(node.grpc, grpc_path(Signal::Traces), body).status;
    for _ in 0..3 {
        assert_eq!(post(node.http, "/v1/traces", &[JSON], b"{\"resourceSpans\":[\n {\"scopeSpans\":[x]}]}").0, 400);
        assert_eq!(post(node.http, "/v1/logs", &[PROTOBUF], &[0x0a, 9, 1]).0, 400);
        assert_eq!(post(node.http, "/v1/traces", &[("content-type", "text/plain\u{9}x")], b"x").0, 415);
        assert_eq!(post(node.http, "/v1/traces", &[JSON, ("content-encoding", "rot13")], b"x").0, 415);
        assert_eq!(post(node.http, "/v1/metrics", &[PROTOBUF], &large).0, 413);
        assert_eq!(post(node.http, "/v1/metrics", &[PROTOBUF], &protobuf(Signal::Metrics)).0, 200);
        assert_eq!(grpc_traces(&[0x0a, 9, 1]), "3");
    }
    let held_back = node.metrics()["tailwater_log_lines_held_back_total"];
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let told = complaints(&log);
    let mut kinds: Vec<_> = told.iter().map(|(sender, kind, _)| (sender.as_str(), kind.as_str())).collect();
    kinds.sort_unstable();
    let expected = ["bad_items", "invalid_json", "invalid_protobuf", "too_large", "wrong_encoding", "wrong_head"];
    assert_eq!(kinds, expected.map(|kind| ("127.0.0.1", kind)), "{told:?}");
    assert_eq!(held_back, 15.0, "3 times 7 requests, of which 6 are told");
    let reason = |kind: &str| &told.iter().find(|(_, told, _)| told == kind).unwrap().2;
    let json = "line 2, column 17 (byte 35), in resourceSpans[0].scopeSpans[0]: a value must stand here";
    assert!(reason("invalid_json").ends_with(json), "{told:?}");
    assert!(reason("bad_items").starts_with("resourceMetrics[0].scopeMetrics[0].metrics[1]"), "{told:?}");
}

/// Connections of senders that speak something else, over both ports.
#[test]
fn strangers_are_told_once_a_kind_and_sender() {
    let node = Tailwater::start(&EVERYTHING);
    let hello = [0x16, 0x03, 0x01, 0x02, 0x00, 0x01];
    let request = b"POST /v1/traces HTTP/1.1\r\nhost: t\r\n\r\n";
    for _ in 0..3 {
        for address in [node.http, node.grpc] {
            assert_eq!(exchange(address, &hello), [0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28], "an alert");
            assert!(exchange(address, b"SSH-2.0-x\r\n").is_empty());
        }
        assert!(exchange(node.grpc, request).starts_with(b"HTTP/1.1 400 "));
    }
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let mut told = complaints(&log);
    told.sort_unstable();
    let kinds: Vec<_> = told.iter().map(|(_, kind, _)| kind.as_str()).collect();
    assert_eq!(kinds, ["http1", "no_http", "tls"], "{told:?}");
    assert!(told[0].2.starts_with("gRPC only here; OTLP/HTTP is at "), "{told:?}");
    assert_eq!(told[2].2, "TLS on a plain port: the sender is to use http:// or insecure: true");
}

/// What is answered to some bytes until the connection is closed.
fn exchange(address: std::net::SocketAddr, bytes: &[u8]) -> Vec<u8> {
    use std::io::{Read as _, Write as _};
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    stream.write_all(bytes).unwrap();
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).unwrap();
    answer
}

/// Whoever reads the lines by machine can rely on a field: it is a number in all lines, or a text in all.
#[test]
fn a_field_of_the_log_has_one_type() {
    let node = Tailwater::start(&[&EVERYTHING[..], &["--log-level", "debug"]].concat());
    send_all(&node);
    let (_, log, _) = node.stop();
    let mut types = std::collections::BTreeMap::new();
    for line in &log {
        let Value::Object(fields) = serde_json::from_str(line).unwrap() else { panic!("{line}") };
        for (name, value) in fields {
            let is_number = value.is_number();
            assert_eq!(*types.entry(name.clone()).or_insert(is_number), is_number, "{name} in {line}");
        }
    }
    assert!(types.len() > 10, "{types:?}");
}
