//! The next hop is away for long: what is kept waits on disk, senders are told when the disk is full.

use super::spans::{large_span, offer, send};
use super::{BREAKER, EVERYTHING, EXPORTED, RECEIVED, address, parked};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::net::SocketAddr;
use tailwater_tests::process::Tailwater;

fn arguments(endpoint: &str) -> Vec<&str> {
    vec![
        "--sampling-policies",
        EVERYTHING,
        "--sampling-decision-wait",
        "10ms",
        "--exporters-otlp-endpoints",
        endpoint,
        "--exporters-otlp-retry-initial-interval",
        "50ms",
        "--exporters-otlp-queue-bytes-max",
        "1MiB",
        "--exporters-otlp-batch-bytes-max",
        "64KiB",
        "--exporters-otlp-breaker-failures-max",
        "2",
        "--exporters-otlp-breaker-open-interval",
        "100ms",
        "--drain-timeout",
        "2s",
    ]
}

/// A log that some hundred requests fill.
const SMALL_LOG: [&str; 10] = [
    "--shards",
    "1",
    "--wal-bytes-max",
    "24MiB",
    "--wal-segment-bytes-max",
    "1MiB",
    "--otlp-grpc-request-bytes-max",
    "2MiB",
    "--otlp-http-request-bytes-max",
    "2MiB",
];

/// Spans with a name of a kilobyte, so that a queue of a megabyte fills.
fn large(trace: u64) -> Vec<Span> {
    (0..100).map(|number| large_span(trace, number, false, 1000)).collect()
}

/// A next hop that keeps everything at once.
fn next_hop(grpc: SocketAddr) -> Tailwater {
    let grpc = grpc.to_string();
    let everything = ["--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10ms", "--ack", "received"];
    Tailwater::start(&[&["--otlp-grpc-endpoint", &grpc], &everything[..]].concat())
}

fn outage(endpoint: SocketAddr) -> Tailwater {
    let url = format!("http://{endpoint}");
    let node = Tailwater::start(&arguments(&url));
    for trace in 1..=40 {
        send(node.http, large(trace));
    }
    node.until(|metrics| metrics[RECEIVED] == 4000.0 && parked(metrics) > 0.0);
    node
}

/// Leans on `Delivery::give_up` and `recall`: without the first spans are dropped, without the second they stay.
#[test]
fn what_no_exporter_takes_waits_in_the_log_and_goes_when_the_server_is_back() {
    let endpoint = address();
    let node = outage(endpoint);
    node.until(|metrics| metrics[BREAKER] == 2.0);
    assert!(node.metrics()["tailwater_wal_parked_age_seconds"] > 0.0);
    let sink = next_hop(endpoint);
    node.until(|metrics| metrics[EXPORTED] == 4000.0);
    assert_eq!(parked(&node.metrics()), 0.0);
    node.until(|metrics| metrics[BREAKER] == 0.0);
    assert_eq!(sink.metrics()[RECEIVED], 4000.0, "each once");
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
}

#[test]
fn a_crash_in_an_outage_loses_nothing() {
    let endpoint = address();
    let directory = outage(endpoint).crash();
    let url = format!("http://{endpoint}");
    let node = Tailwater::start_in(directory, &arguments(&url));
    let sink = next_hop(endpoint);
    node.until(|metrics| metrics[EXPORTED] == 4000.0);
    assert_eq!(sink.metrics()[RECEIVED], 4000.0, "none was delivered before, so none comes twice");
}

/// Leans on the order of `drain`: what is queued when the node stops is parked, not lost.
#[test]
fn a_stop_in_an_outage_is_clean_and_the_next_start_delivers() {
    let endpoint = address();
    let (status, log, directory) = outage(endpoint).stop();
    assert_eq!(status.code(), Some(0), "{}", log.join("\n"));
    let url = format!("http://{endpoint}");
    let node = Tailwater::start_in(directory, &arguments(&url));
    let sink = next_hop(endpoint);
    node.until(|metrics| metrics[EXPORTED] == 4000.0);
    assert_eq!(sink.metrics()[RECEIVED], 4000.0);
}

/// Leans on `past_retention`.
#[test]
fn what_waits_too_long_is_given_up_and_counted() {
    let url = format!("http://{}", address());
    let mut short = arguments(&url);
    short.extend(["--wal-retention", "1s"]);
    let node = Tailwater::start(&short);
    for trace in 1..=40 {
        send(node.http, large(trace));
    }
    let dropped = "tailwater_items_dropped_total{signal=\"spans\",reason=\"wal_retention\"}";
    node.until(|metrics| metrics[dropped] > 0.0);
    node.until(|metrics| parked(metrics) == 0.0);
}

/// Leans on `Shard::decide_early` and `in_the_way`: without the first nothing is judged, without the second nothing goes.
#[test]
fn a_full_log_may_give_up_its_oldest_data_instead() {
    let url = format!("http://{}", address());
    let mut small = arguments(&url);
    small.extend(SMALL_LOG);
    small.extend(["--wal-on-full", "decide_early", "--sampling-decision-wait-after-root-received", "0s"]);
    let wait = small.iter().position(|argument| *argument == "10ms").unwrap();
    small[wait] = "10m";
    let node = Tailwater::start(&small);
    // Three times what the log holds.
    for trace in 1..=600 {
        node.until(|_| offer(node.http, large(trace)).status == 200);
    }
    let metrics = node.metrics();
    assert!(metrics["tailwater_traces_decided_early_total"] > 0.0);
    assert!(metrics["tailwater_items_dropped_total{signal=\"spans\",reason=\"wal_full\"}"] > 0.0);
}

/// Leans on `Lane::is_full`.
#[test]
fn a_full_log_sends_senders_away_until_there_is_room() {
    let endpoint = address();
    let url = format!("http://{endpoint}");
    let mut small = arguments(&url);
    small.extend(SMALL_LOG);
    let node = Tailwater::start(&small);
    let mut accepted = 0;
    let refused = loop {
        let answer = offer(node.http, large(accepted + 1));
        if answer.status != 200 {
            break answer;
        }
        accepted += 1;
        assert!(accepted < 1000, "the log has a bound");
    };
    assert!(refused.status == 503 && refused.retry_after.is_some(), "{refused:?}");
    assert!(node.metrics()["tailwater_wal_requests_refused_full_total{stage=\"log\"}"] >= 1.0);
    let sink = next_hop(endpoint);
    let spans = accepted as f64 * 100.0;
    node.until(|metrics| metrics[EXPORTED] == spans);
    node.until(|_| offer(node.http, large(5000)).status == 200);
    node.until(|metrics| metrics[EXPORTED] >= spans + 100.0);
    assert!(sink.metrics()[RECEIVED] >= spans + 100.0);
}
