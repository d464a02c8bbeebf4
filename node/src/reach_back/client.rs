//! `tailwater recall`: asks a running node for traces from its log, or reads the log of one that does not run, and prints
//! them; or has the node keep them and send them on.

use super::directory::find;
use super::{Question, encoded};
use crate::explain::client::{Exchange, ask};
use crate::explain::lasting;
use crate::log_tool::{EXIT_NO_INPUT, unreadable};
use crate::terminal::{print, say};
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

/// The node can't be asked: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// The question is none: `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// Nothing was found, or the node refuses.
const EXIT_NOTHING: u8 = 1;
/// A node reads for some minutes at most.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(300);
/// Several times what an answer has as protobuf.
const ANSWER_BYTES_MAX: u64 = 256 << 20;

/// What is asked on the command line.
pub struct Request {
    /// Names and values, as in an address.
    pub parameters: Vec<(String, String)>,
    /// Whether they are to be kept and sent on.
    pub sends: bool,
    /// The node's admin endpoint.
    pub endpoint: String,
    /// The data directory to be read where no node answers.
    pub directory: Option<PathBuf>,
    /// Whether JSON is printed.
    pub json: bool,
}

/// Asks, and prints what comes of it.
pub fn run(request: &Request) -> ExitCode {
    // A question that the node would refuse is told without it.
    let question = match Question::of(&request.parameters, tailwater_runtime::clock::unix_nanos()) {
        Ok(question) => question,
        Err(wrong) => {
            say(&wrong);
            return ExitCode::from(EXIT_USAGE);
        }
    };
    let parameters = request.parameters.iter().map(|(key, value)| format!("{key}={}", encoded(value)));
    let query: Vec<String> = parameters.collect();
    let exchange = Exchange {
        method: if request.sends { "POST" } else { "GET" },
        path: &format!("/api/v1/recall?{}", query.join("&")),
        timeout: ANSWER_TIMEOUT,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let body = match (ask(&request.endpoint, &exchange), &request.directory) {
        (Ok((_, body)), _) => body,
        (Err(error), None) => {
            say(&format!(
                "no node answers at {}: {error}; give the address of its admin endpoint with --admin-endpoint, or read its log \
                 with --data-dir",
                request.endpoint
            ));
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
        (Err(error), Some(_)) if request.sends => {
            say(&format!("no node answers at {}: {error}; only one that runs can send", request.endpoint));
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
        (Err(_), Some(directory)) => match find(directory, &question) {
            Ok(found) => String::from_utf8_lossy(&found.otlp_json(&question)).into_owned(),
            Err(error) => {
                unreadable(directory, &error);
                return ExitCode::from(EXIT_NO_INPUT);
            }
        },
    };
    tell(request, &body)
}

fn tell(request: &Request, body: &str) -> ExitCode {
    let Ok(said) = serde_json::from_str::<Value>(body) else {
        say(&format!("{} is no admin endpoint of tailwater; see admin.endpoint of the node", request.endpoint));
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    if let Some(error) = said["error"].as_str() {
        say(&format!("{error}; {}", said["remedy"].as_str().unwrap_or_default()));
        return ExitCode::from(EXIT_NOTHING);
    }
    if let Some(cut) = said["recall"]["cut"].as_str() {
        say(&format!("not all: {cut}"));
    }
    match (request.json, request.sends) {
        (true, _) => print(body),
        (false, true) => {
            print(&of_sent(&said));
            let traces = said["traces"].as_array().into_iter().flatten();
            let told = traces.filter_map(|trace| Some((trace["outcome"].as_str()?, trace["remedy"].as_str()?)));
            // Many come to the same.
            let told: BTreeSet<(&str, &str)> = told.collect();
            told.iter().for_each(|(outcome, remedy)| say(&format!("{outcome}: {remedy}")));
        }
        (false, false) => print(&of_traces(&said)),
    }
    let is_nothing = said["recall"]["traces"] == 0;
    if is_nothing {
        say("no trace of that kind is in the log");
    }
    if is_nothing { ExitCode::from(EXIT_NOTHING) } else { ExitCode::SUCCESS }
}

fn of_sent(said: &Value) -> String {
    let mut out = String::new();
    for trace in said["traces"].as_array().into_iter().flatten() {
        let text = |key: &str| trace[key].as_str().unwrap_or_default();
        let within = trace["pipeline"].as_str().map(|name| format!(" (pipeline {name})")).unwrap_or_default();
        let spans = trace["spans"].as_u64().unwrap_or(0);
        _ = writeln!(out, "{}  {spans:>5} spans  {}{within}", text("trace_id"), text("outcome"));
    }
    _ = writeln!(out, "{} spans sent on", said["recall"]["sent_spans"]);
    out
}

/// What a line tells of a trace.
#[derive(Default)]
struct Row {
    spans: u64,
    begin: u64,
    end: u64,
    services: BTreeSet<String>,
    root: Option<String>,
}

fn of_traces(said: &Value) -> String {
    let mut rows: BTreeMap<String, Row> = BTreeMap::new();
    let list = |value: &Value, key: &str| value[key].as_array().cloned().unwrap_or_default();
    for of_resource in list(said, "resourceSpans") {
        let attributes = list(&of_resource["resource"], "attributes");
        let service = attributes.iter().find(|attribute| attribute["key"] == "service.name");
        let service = service.and_then(|service| service["value"]["stringValue"].as_str());
        let spans = list(&of_resource, "scopeSpans").into_iter().flat_map(|of_scope| list(&of_scope, "spans"));
        for span in spans {
            let text = |key: &str| span[key].as_str().unwrap_or_default().to_string();
            let time = |key: &str| text(key).parse::<u64>().unwrap_or(0);
            let row = rows.entry(text("traceId")).or_insert_with(|| Row { begin: u64::MAX, ..Row::default() });
            row.spans += 1;
            row.begin = row.begin.min(time("startTimeUnixNano"));
            row.end = row.end.max(time("endTimeUnixNano"));
            row.services.extend(service.map(String::from));
            if text("parentSpanId").is_empty() {
                row.root = Some(text("name"));
            }
        }
    }
    let mut out = String::new();
    for (id, row) in &rows {
        let services: Vec<&str> = row.services.iter().map(String::as_str).collect();
        let root = row.root.as_deref().unwrap_or("no root");
        let duration = lasting(row.end.saturating_sub(row.begin));
        _ = writeln!(out, "{id}  {:>5} spans  {duration:>10}  {root}  ({})", row.spans, services.join(", "));
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// Without the minimum in `of_traces` a trace would begin with its last span.
    #[test]
    fn a_person_reads_a_line_a_trace() {
        let span = |id: &str, name: &str, parent: &str, times: (u64, u64)| {
            json!({ "traceId": id, "name": name, "parentSpanId": parent,
                "startTimeUnixNano": times.0.to_string(), "endTimeUnixNano": times.1.to_string() })
        };
        let of = |service: &str, spans: Vec<Value>| {
            json!({ "resource": { "attributes": [{ "key": "service.name", "value": { "stringValue": service } }] },
                "scopeSpans": [{ "spans": spans }] })
        };
        let said = json!({ "resourceSpans": [
            of("shop", vec![span("aa", "GET /", "", (1_000_000, 91_000_000)), span("bb", "x", "01", (5, 6))]),
            of("bank", vec![span("aa", "pay", "02", (2_000_000, 3_000_000))]),
        ] });
        let text = of_traces(&said);
        assert!(text.contains("aa      2 spans       90 ms  GET /  (bank, shop)"), "{text}");
        assert!(text.contains("bb      1 spans        1 ns  no root  (shop)"), "{text}");
        let sent = json!({ "traces": [{ "trace_id": "aa", "spans": 2, "outcome": "sent", "pipeline": "p" }],
            "recall": { "sent_spans": 2 } });
        assert_eq!(of_sent(&sent), "aa      2 spans  sent (pipeline p)\n2 spans sent on\n");
    }
}
