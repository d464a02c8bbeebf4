//! Log records that share the fate of their traces, on two shards: most are on another core than their trace.

use super::told::Told;
use super::{but, of_signal, send, start, start_in, stop, summaries, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tailwater_tests::next_hop::Server;
use tailwater_tests::process::Tailwater;

const TRACES: u64 = 200;
/// One in so many has an error and is kept.
const KEPT_ONE_IN: u64 = 10;
const KEPT: u64 = TRACES / KEPT_ONE_IN;
const DROPPED: u64 = TRACES - KEPT;
/// Records without a trace, and of traces that have no span.
const UNTRACED: u64 = 5;
const STRAYS: u64 = 7;

fn id(trace: u64) -> String {
    format!("{:032x}", trace + 1)
}

fn is_kept(trace: u64) -> bool {
    trace.is_multiple_of(KEPT_ONE_IN)
}

fn send_spans(to: SocketAddr) {
    let span = |trace: u64| {
        let status = if is_kept(trace) { 2 } else { 1 };
        json!({ "traceId": id(trace), "spanId": format!("{:016x}", trace + 1), "name": "x", "status": { "code": status } })
    };
    let spans: Vec<_> = (0..TRACES).map(span).collect();
    let body = json!({ "resourceSpans": [{ "scopeSpans": [{ "spans": spans }] }] });
    send(to, "/v1/traces", &body.to_string());
}

/// Records of a service.
fn resource(service: &str, records: &[Value]) -> Value {
    let resource = json!({ "attributes": [text("service.name", service)] });
    json!({ "resource": resource, "scopeLogs": [{ "scope": { "name": "app" }, "logRecords": records }] })
}

fn record(body: &str, trace: Option<String>) -> Value {
    let mut record = json!({ "timeUnixNano": "1000", "severityNumber": 9, "body": { "stringValue": body } });
    if let Some(trace) = trace {
        record["traceId"] = trace.into();
        record["spanId"] = "00000000000000ff".into();
    }
    record
}

/// A record of each trace, those of kept ones by the service `kept`.
fn send_logs(to: SocketAddr, when: &str) {
    let of = |kept: bool| {
        let traces = (0..TRACES).filter(|trace| is_kept(*trace) == kept);
        traces.map(|trace| record(&format!("{when} {trace}"), Some(id(trace)))).collect::<Vec<_>>()
    };
    let body = json!({ "resourceLogs": [resource("kept", &of(true)), resource("dropped", &of(false))] });
    send(to, "/v1/logs", &body.to_string());
}

fn send_orphans(to: SocketAddr) {
    let untraced = (0..UNTRACED).map(|number| record(&format!("nobody's {number}"), None));
    let strays = (0..STRAYS).map(|number| record(&format!("stray {number}"), Some(id(TRACES + number))));
    let records: Vec<_> = untraced.chain(strays).collect();
    send(to, "/v1/logs", &json!({ "resourceLogs": [resource("orphans", &records)] }).to_string());
}

/// Waits until so many log records were decided with their traces and so many are orphans.
fn until(node: &Tailwater, times: u64, orphans: u64) {
    let expected = [
        ("tailwater_logs_kept_with_trace_total", KEPT * times),
        ("tailwater_logs_dropped_with_trace_total", DROPPED * times),
        ("tailwater_logs_orphans_total", orphans),
        ("tailwater_logs_passed_early_total", 0),
    ];
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    node.until(|metrics| expected.iter().all(|(name, value)| metrics[*name] == *value as f64));
}

/// The records of kept traces, each once.
fn of_kept_traces(whens: &[&str]) -> BTreeMap<(String, String), usize> {
    let kept = || (0..TRACES).filter(|trace| is_kept(*trace));
    let bodies = whens.iter().flat_map(|when| kept().map(move |trace| format!("{when} {trace}")));
    bodies.map(|body| (("kept".to_string(), body), 1)).collect()
}

/// Whether all log records have gone on or not.
fn is_settled(metrics: &BTreeMap<String, f64>) -> bool {
    of_signal(metrics, "tailwater_items_pending", "log_records") == 0.0
}

fn following(server: &Server, more: &[(&str, &str)]) -> Vec<String> {
    let follow = [("--logs-of-traces", "follow"), ("--logs-wait", "2s"), ("--sampling-decision-wait", "1s")];
    but(&summaries(server), &[&follow[..], more].concat())
}

/// Breaks without `ask_fates` asking other shards, without `Fate::Dropped` of a trace that is remembered in `Shard::fate`, and
/// without the pattern tally of what `drop_held` takes.
#[test]
fn records_share_the_verdict_on_their_trace_early_and_late_ones() {
    let server = Server::collecting();
    let node = start(&following(&server, &[]));
    send_logs(node.http, "before");
    send_spans(node.http);
    send_logs(node.http, "early");
    send_orphans(node.http);
    until(&node, 2, UNTRACED + STRAYS);
    send_logs(node.http, "late");
    until(&node, 3, UNTRACED + STRAYS);
    stop(node);
    let mut told = Told::default();
    told.take(&server);
    let mut expected = of_kept_traces(&["before", "early", "late"]);
    let untraced = (0..UNTRACED).map(|number| format!("nobody's {number}"));
    let orphans = untraced.chain((0..STRAYS).map(|number| format!("stray {number}")));
    expected.extend(orphans.map(|body| (("orphans".to_string(), body), 1)));
    assert_eq!(told.records(), expected, "orphans pass unless they are to be summed up");
    let patterns = [("kept", 3 * KEPT), ("dropped", 3 * DROPPED), ("orphans", UNTRACED + STRAYS)];
    let patterns = patterns.map(|(service, count)| (service.to_string(), i64::try_from(count).unwrap()));
    assert_eq!(told.patterns(), patterns.into(), "patterns tell of all");
}

/// Breaks where the log does not keep what waits (`Shard::hold` without units), where a start does not take it up again, and
/// where verdicts that it reads are none to `Shard::fate`.
#[test]
fn records_share_it_after_kills_and_orphans_are_summed_up_by_choice() {
    let server = Server::collecting();
    let summarises = ("--logs-orphans", "summarise");
    let undecided = following(&server, &[summarises, ("--sampling-decision-wait", "10m"), ("--logs-wait", "10m")]);
    let node = start(&undecided);
    send_spans(node.http);
    send_logs(node.http, "early");
    send_orphans(node.http);
    until(&node, 0, UNTRACED);
    let node = start_in(node.crash(), &following(&server, &[summarises]));
    node.until(|metrics| metrics["tailwater_logs_orphans_total"] >= f64::from(u8::try_from(STRAYS).unwrap()));
    node.until(is_settled);
    send_logs(node.http, "late");
    let node = start_in(node.crash(), &following(&server, &[summarises]));
    send_logs(node.http, "later");
    node.until(is_settled);
    stop(node);
    let mut told = Told::default();
    told.take(&server);
    let records = told.records();
    let expected = of_kept_traces(&["early", "late", "later"]);
    assert!(records.keys().eq(expected.keys()), "{records:?}");
    let patterns = [("kept", 3 * KEPT), ("dropped", 3 * DROPPED), ("orphans", UNTRACED + STRAYS)];
    let patterns = patterns.map(|(service, count)| (service.to_string(), i64::try_from(count).unwrap()));
    assert_eq!(told.patterns(), patterns.into());
}
