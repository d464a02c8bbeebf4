//! Requests between services, told by the real program on two shards: the ends of most come to another core than their trace's,
//! and most of their traces are dropped.

use super::told::Told;
use super::{but, send, start, start_in, stop, summaries, text};
use serde_json::{Value, json};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use tailwater_tests::next_hop::{GOOD, Mood, Server};
use tailwater_tests::process::Tailwater;

const TRACES: u64 = 300;
/// One in so many has an error and is kept.
const KEPT_ONE_IN: u64 = 10;
const KEPT: u64 = TRACES / KEPT_ONE_IN;
/// Traces of a request, so that several requests of each service come.
const TRACES_PER_REQUEST: u64 = 50;
/// Requests of which the server never sends its span.
const UNANSWERED: u64 = 7;

/// A span of a trace; its id and that of its parent are numbers within the trace, 0 for none.
fn span(trace: u64, id: u64, parent: u64, kind: u64, attributes: &[Value]) -> Value {
    let in_trace = |number: u64| format!("{:016x}", (trace + 1) * 100 + number);
    json!({
        "traceId": format!("{:032x}", (trace + 1) * 0x1_0000_0001), "spanId": in_trace(id),
        "parentSpanId": if parent == 0 { String::new() } else { in_trace(parent) },
        "name": "x", "kind": kind, "attributes": attributes,
        "startTimeUnixNano": "1000000000", "endTimeUnixNano": (1_000_000_000 + kind * 1_000_000).to_string(),
        "status": { "code": if kind == 3 && trace.is_multiple_of(KEPT_ONE_IN) { 2 } else { 0 } },
    })
}

fn send_spans(to: SocketAddr, service: &str, spans: &[Value]) {
    let resource = json!({ "attributes": [text("service.name", service)] });
    let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
    send(to, "/v1/traces", &body.to_string());
}

/// Whoever uses the shop; the shop asks the cart, which asks a database. Each sends its spans for itself.
fn send_all(to: SocketAddr) {
    let traces: Vec<u64> = (0..TRACES).collect();
    for traces in traces.chunks(usize::try_from(TRACES_PER_REQUEST).unwrap()) {
        let each = |make: &dyn Fn(u64) -> Vec<Value>| traces.iter().flat_map(|trace| make(*trace)).collect::<Vec<_>>();
        let database = [text("db.name", "carts"), text("db.system", "postgresql")];
        send_spans(to, "cart", &each(&|trace| vec![span(trace, 3, 2, 2, &[]), span(trace, 4, 3, 3, &database)]));
        send_spans(to, "shop", &each(&|trace| vec![span(trace, 1, 0, 2, &[]), span(trace, 2, 1, 3, &[])]));
    }
    let bank = [text("peer.service", "bank")];
    let spans: Vec<_> = (0..UNANSWERED).map(|number| span(TRACES + number, 5, 9, 3, &bank)).collect();
    send_spans(to, "shop", &spans);
}

/// What is told of all that `send_all` sends so many times, but for the requests to the bank, which are sent so many times.
fn expected(times: u64, times_of_bank: u64) -> BTreeMap<(String, String), u64> {
    let mut expected = BTreeMap::new();
    let mut edge = |client: &str, server: &str, connection: &str, failed: bool, count: u64| {
        let name = format!("client={client} server={server} connection_type={connection} failed={failed}");
        for metric in ["request_total", "request_server", "request_client"] {
            expected.insert((metric.to_string(), name.clone()), count);
        }
        if failed {
            expected.insert(("request_failed_total".to_string(), name), count);
        }
    };
    edge("user", "shop", "virtual_node", false, times * TRACES);
    for (client, server, connection) in [("shop", "cart", ""), ("cart", "carts", "database")] {
        edge(client, server, connection, false, times * (TRACES - KEPT));
        edge(client, server, connection, true, times * KEPT);
    }
    let failed = (0..UNANSWERED).filter(|number| (TRACES + number).is_multiple_of(KEPT_ONE_IN)).count() as u64;
    edge("shop", "bank", "virtual_node", false, times_of_bank * (UNANSWERED - failed));
    edge("shop", "bank", "virtual_node", true, times_of_bank * failed);
    expected
}

fn arguments(server: &Server) -> Vec<String> {
    let graph = [("--summaries-service-graph-wait", "1h"), ("--shards", "2")];
    let mut arguments = but(&summaries(server), &graph);
    arguments.push("--service-graph".to_string());
    arguments
}

/// Returns once all of `send_all` has met.
fn until_met(node: &Tailwater) {
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    let (requests, waiting) = ((3 * TRACES) as f64, UNANSWERED as f64);
    node.until(|metrics| {
        metrics["tailwater_service_graph_requests_total"] == requests
            && metrics["tailwater_service_graph_waiting_spans"] == waiting
    });
}

fn told(server: &Server) -> BTreeMap<(String, String), u64> {
    let mut told = Told::default();
    told.take(server);
    told.edges()
}

/// Without `Message::Ends` in `Core::hand_on` only pairs that came to the core of their trace would be edges; without
/// `give_up_waiting` those of the bank would not be told by the end.
#[test]
fn every_request_is_an_edge_whichever_cores_its_ends_came_to_and_kept_or_not() {
    let server = Server::collecting();
    let node = start(&arguments(&server));
    send_all(node.http);
    until_met(&node);
    stop(node);
    assert_eq!(told(&server), expected(1, 1));
}

/// Without `graph.take_into` in `Tallies::take_into` edges of the run that was killed are missing; without `is_uncounted` in
/// `node/src/core/replay.rs` they are told twice.
#[test]
fn edges_that_the_log_knows_are_told_once_over_a_kill_and_what_waits_is_lost() {
    const RETRIES: &str = "tailwater_summaries_retries_total";
    let server = Server::collecting();
    server.set(Mood::Answers(503, None));
    let arguments = arguments(&server);
    let node = start(&arguments);
    send_all(node.http);
    until_met(&node);
    // A retry comes a second after the one before, and what is counted is in the log after two.
    let before = node.metrics()[RETRIES];
    node.until(|metrics| metrics[RETRIES] >= before + 6.0);
    let directory = node.crash();
    server.set(GOOD);
    let node = start_in(directory, &arguments);
    send_all(node.http);
    until_met(&node);
    stop(node);
    assert_eq!(told(&server), expected(2, 1));
}
