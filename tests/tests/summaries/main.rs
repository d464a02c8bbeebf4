//! Summaries of the real program, as its next hop gets them: whatever was acknowledged is in them once, over kills, outages
//! and stops, and log records share the fate of their traces.
//!
//! `scripts/crash` runs the kills in their long form.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]
#![allow(clippy::print_stderr, clippy::panic, reason = "seeds are to be seen")]

mod control;
mod exemplars;
mod graph;
mod kills;
mod logs;
mod skeletons;
mod told;
mod windows;

use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::{PATIENCE, Tailwater, post};

/// Keeps what has an error.
pub const ERRORS: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";
/// Merges counts over processes, drops noise; the rest passes.
pub const RULES: &str = "[{metric: 'req.*', action: aggregate, window: 1s, drop_attributes: [pid], temporality: delta}, \
    {metric: noise, action: drop}]";
/// Spans, points that are merged, and log records of one request.
pub const SPANS: i64 = 20;
/// What the points of a request add up to.
pub const SUM: i64 = 7;
/// Log records of a request.
pub const LINES: i64 = 10;

/// All three kinds of summaries, told to `server` each second.
pub fn summaries(server: &Server) -> Vec<String> {
    let endpoint = format!("http://{}", server.address);
    let pairs = [
        ("--exporters-otlp-endpoints", &*endpoint),
        ("--exporters-otlp-protocol", "http/protobuf"),
        ("--exporters-otlp-compression", "none"),
        ("--exporters-otlp-retry-initial-interval", "20ms"),
        ("--exporters-otlp-retry-max-elapsed-time", "200ms"),
        ("--exporters-otlp-breaker-open-interval", "50ms"),
        ("--exporters-otlp-breaker-open-interval-max", "100ms"),
        ("--sampling-policies", ERRORS),
        ("--sampling-decision-wait", "500ms"),
        ("--summaries-window", "1s"),
        ("--summaries-span-metrics-series-max", "200000"),
        ("--summaries-metrics-series-max", "200000"),
        ("--summaries-metrics-rules", RULES),
    ];
    let flags = ["--span-metrics", "--log-patterns"].map(String::from);
    flags.into_iter().chain(pairs.iter().flat_map(|(flag, value)| [flag.to_string(), value.to_string()])).collect()
}

/// The same arguments, with others for some flags.
pub fn but(arguments: &[String], changes: &[(&str, &str)]) -> Vec<String> {
    let mut changed = arguments.to_vec();
    for (flag, value) in changes {
        if let Some(at) = changed.iter().position(|argument| argument == flag) {
            changed.drain(at..at + 2);
        }
        changed.extend([flag.to_string(), value.to_string()]);
    }
    changed
}

/// Starts a node on what another has left.
pub fn start_in(directory: tempfile::TempDir, arguments: &[String]) -> Tailwater {
    Tailwater::start_in(directory, &arguments.iter().map(String::as_str).collect::<Vec<_>>())
}

/// Starts a node.
pub fn start(arguments: &[String]) -> Tailwater {
    start_in(tempfile::TempDir::new().unwrap(), arguments)
}

/// Asks a node to stop; fails unless all went well.
pub fn stop(node: Tailwater) -> tempfile::TempDir {
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{status}: {}", log.join("\n"));
    directory
}

/// The sum of a family's samples of a signal.
pub fn of_signal(metrics: &BTreeMap<String, f64>, family: &str, signal: &str) -> f64 {
    let label = format!("signal=\"{signal}\"");
    let is_meant =
        |name: &str| name.strip_prefix(family).is_some_and(|rest| rest.starts_with('{') && rest.contains(&label));
    metrics.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value).sum()
}

/// An attribute.
pub fn text(key: &str, value: &str) -> Value {
    json!({ "key": key, "value": { "stringValue": value } })
}

/// A signal and a request of it that no other is like: its number is in the name of the series or pattern it counts for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// Spans.
    Spans,
    /// Metric points.
    Points,
    /// Log records.
    Lines,
}

impl Kind {
    /// All.
    pub const ALL: [Self; 3] = [Self::Spans, Self::Points, Self::Lines];

    /// What a request of it counts for.
    pub const fn amount(self) -> i64 {
        match self {
            Self::Spans => SPANS,
            Self::Points => SUM,
            Self::Lines => LINES,
        }
    }

    /// Where it is sent.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Spans => "/v1/traces",
            Self::Points => "/v1/metrics",
            Self::Lines => "/v1/logs",
        }
    }

    /// The request of a number.
    pub fn body(self, number: u64) -> String {
        let resource = json!({ "attributes": [text("service.name", &format!("s{number}"))] });
        let body = match self {
            Self::Spans => {
                let span = |span: i64| {
                    let trace = fastrand::u128(1..);
                    json!({
                        "traceId": format!("{trace:032x}"), "spanId": format!("{:016x}", span + 1), "kind": 2,
                        "name": "call", "startTimeUnixNano": "1000000000", "endTimeUnixNano": "1005000000",
                    })
                };
                let spans: Vec<_> = (0..SPANS).map(span).collect();
                json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] })
            }
            Self::Points => {
                let point = |value: i64| {
                    let attributes = [text("pid", &fastrand::u8(..).to_string())];
                    json!({
                        "asInt": value.to_string(), "attributes": attributes,
                        "startTimeUnixNano": "1000", "timeUnixNano": "2000",
                    })
                };
                let sum =
                    json!({ "isMonotonic": true, "aggregationTemporality": 1, "dataPoints": [point(3), point(4)] });
                let noise = json!({ "dataPoints": [point(1)] });
                let metrics = json!([{ "name": "req.count", "sum": sum }, { "name": "noise", "gauge": noise }]);
                json!({ "resourceMetrics": [{ "resource": resource, "scopeMetrics": [{ "metrics": metrics }] }] })
            }
            Self::Lines => {
                let record = |line: i64| {
                    let body = format!("request took {} ms from 10.0.0.{line}", fastrand::u8(..));
                    json!({ "timeUnixNano": "1000", "severityNumber": 9, "body": { "stringValue": body } })
                };
                let records: Vec<_> = (0..LINES).map(record).collect();
                json!({ "resourceLogs": [{ "resource": resource, "scopeLogs": [{ "logRecords": records }] }] })
            }
        };
        body.to_string()
    }
}

/// Sends a request that has to be taken.
pub fn send(to: SocketAddr, path: &str, body: &str) {
    let (status, answer) = post(to, path, &[("content-type", "application/json")], body.as_bytes());
    assert_eq!(status, 200, "{}", String::from_utf8_lossy(&answer));
}

/// What a sender knows of a request.
#[derive(Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It is in the log.
    Acknowledged,
    /// The node has no room.
    Refused,
    /// The node went away: it may have it or not.
    Unknown,
    /// It was not sent.
    Unsent,
}

/// Sends a request to a node that may be killed at any moment.
pub fn offer(to: SocketAddr, path: &str, body: &str) -> Outcome {
    let Ok(mut stream) = TcpStream::connect(to) else { return Outcome::Unsent };
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let length = body.len();
    let head = format!(
        "POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n\
         content-length: {length}\r\n\r\n"
    );
    _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(body.as_bytes()));
    let mut answer = [0; 12];
    if stream.read_exact(&mut answer).is_err() {
        return Outcome::Unknown;
    }
    match &answer[9..] {
        b"200" => Outcome::Acknowledged,
        b"429" | b"503" => Outcome::Refused,
        _ => Outcome::Unknown,
    }
}
