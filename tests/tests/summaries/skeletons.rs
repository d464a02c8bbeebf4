//! What dropped traces looked like, told by their shapes, on two shards.

use super::told::Told;
use super::{but, of_signal, send, start, start_in, stop, summaries, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tailwater_tests::next_hop::Server;

const TRACES: u64 = 240;
/// Keeps what is marked, errors or not.
const MARKED: &str = "[{name: marked, type: string_attribute, string_attribute: {key: keep, values: ['yes']}}]";

/// A span of a trace. The higher the trace's number the longer it took.
fn span(trace: u64, (number, parent): (u64, u64), name: &str, attributes: &[Value]) -> Value {
    let status = if number == 3 && trace % 4 == 1 { 2 } else { 0 };
    let parent = if parent == 0 { String::new() } else { format!("{parent:016x}") };
    json!({
        "traceId": format!("{:032x}", trace + 1), "spanId": format!("{number:016x}"), "parentSpanId": parent,
        "name": name, "kind": 2, "status": { "code": status }, "attributes": attributes,
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": (1_005_000_000 + trace * 1000).to_string(),
    })
}

fn send_spans(to: SocketAddr, service: &str, spans: &[Value]) {
    let resource = json!({ "attributes": [text("service.name", service)] });
    let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
    send(to, "/v1/traces", &body.to_string());
}

/// Of four traces one begins with a route, one has an error in the database, one has no root, and one is marked to be kept.
/// The services of a trace send for themselves, the root last.
fn send_all(to: SocketAddr) {
    let traces = || 0..TRACES;
    let db: Vec<_> = traces().map(|trace| span(trace, (3, 2), "select", &[])).collect();
    send_spans(to, "db", &db);
    let cart: Vec<_> = traces().map(|trace| span(trace, (2, 1), "get", &[])).collect();
    send_spans(to, "cart", &cart);
    let root = |trace: u64| match trace % 4 {
        0 => span(trace, (1, 0), "GET", &[text("http.route", "/cart/{id}")]),
        3 => span(trace, (1, 0), "GET", &[text("keep", "yes")]),
        _ => span(trace, (1, 0), "GET /checkout", &[]),
    };
    let roots: Vec<_> = traces().filter(|trace| trace % 4 != 2).map(root).collect();
    send_spans(to, "shop", &roots);
}

/// By shape: traces, spans, the slowest.
fn expected() -> BTreeMap<String, (i64, i64, String)> {
    let count = i64::try_from(TRACES / 4).unwrap();
    let slowest = |of: u64| format!("{:032x}", TRACES - 4 + of + 1);
    [
        ("GET of shop, through cart, db, shop", 3 * count, slowest(0)),
        ("GET /checkout of shop, through cart, db, shop; errors in db", 3 * count, slowest(1)),
        ("no root span, through cart, db", 2 * count, slowest(2)),
    ]
    .map(|(shape, spans, example)| (shape.to_string(), (count, spans, example)))
    .into()
}

fn arguments(server: &Server, more: &[(&str, &str)]) -> Vec<String> {
    let own = [("--sampling-policies", MARKED)];
    let mut arguments = but(&summaries(server), &[&own[..], more].concat());
    arguments.push("--skeletons".to_string());
    arguments
}

/// Breaks without `note_skeleton` in `settle_dropped`, without `Sketching::note` of each span, or where a kept trace is told.
#[test]
fn dropped_traces_are_told_by_their_shapes() {
    let server = Server::collecting();
    let node = start(&arguments(&server, &[]));
    send_all(node.http);
    node.until(|metrics| of_signal(metrics, "tailwater_items_pending", "spans") == 0.0);
    stop(node);
    let mut told = Told::default();
    told.take(&server);
    assert_eq!(told.skeletons(), expected());
}

/// Breaks where the tally is without them (`KIND_SKELETONS` in `Summary::read`), or where a start counts again what it counted
/// before.
#[test]
fn they_are_told_once_over_kills() {
    let server = Server::collecting();
    let undecided = arguments(&server, &[("--sampling-decision-wait", "10m")]);
    let node = start(&undecided);
    send_all(node.http);
    // Nothing is judged yet: all of it is read again.
    let decided = arguments(&server, &[]);
    let node = start_in(node.crash(), &decided);
    let counted = |metrics: &BTreeMap<String, f64>| metrics["tailwater_skeleton_traces_total"];
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    node.until(|metrics| counted(metrics) == (TRACES / 4 * 3) as f64);
    // What a window that began after that has is in the log.
    let windows = |metrics: &BTreeMap<String, f64>| metrics["tailwater_summaries_windows_total"];
    let before = windows(&node.metrics());
    node.until(|metrics| windows(metrics) >= before + 2.0);
    let node = start_in(node.crash(), &decided);
    stop(node);
    let mut told = Told::default();
    told.take(&server);
    assert_eq!(told.skeletons(), expected());
}
