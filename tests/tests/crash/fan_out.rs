//! Several exporters, one of which is away: after a restart what waits for it goes to it alone.

use super::spans::{large_span, send};
use super::{EVERYTHING, EXPORTED, RECEIVED, RUNTIMES, address, parked, sum};
use std::net::SocketAddr;
use tailwater_tests::process::{Tailwater, post};
use tempfile::TempDir;

const TRACES: u64 = 40;
const SPANS: f64 = 4000.0;
const LOGS: &str = "tailwater_items_received_total{signal=\"log_records\"}";

/// A next hop that keeps everything at once.
fn next_hop(grpc: SocketAddr) -> Tailwater {
    let grpc = grpc.to_string();
    let everything = ["--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10ms", "--ack", "received"];
    Tailwater::start(&[&["--otlp-grpc-endpoint", &grpc], &everything[..]].concat())
}

/// A node with exporters of these names and addresses.
fn node(directory: TempDir, runtime: &str, exporters: &[(&str, SocketAddr)], more: &[&str]) -> Tailwater {
    let each = exporters.iter().map(|(name, address)| {
        format!(
            "  otlp/{name}: {{endpoints: [\"http://{address}\"], retry: {{initial_interval: 50ms}}, queue_bytes_max: QUEUE,\
             \n    breaker: {{failures_max: 2, open_interval: 100ms}}, batch: {{bytes_max: 64KiB}}}}\n"
        )
    });
    let queue = more.iter().find_map(|flag| flag.strip_prefix("queue=")).unwrap_or("64MiB");
    let file = format!("exporters:\n{}", each.collect::<String>()).replace("QUEUE", queue);
    let path = directory.path().join("node.yaml");
    std::fs::write(&path, file).unwrap();
    let config = path.to_string_lossy().into_owned();
    let flags = ["--config", &config, "--runtime", runtime, "--sampling-policies", EVERYTHING];
    let waits = ["--sampling-decision-wait", "10ms", "--drain-timeout", "2s"];
    let more: Vec<&str> = more.iter().copied().filter(|flag| !flag.starts_with("queue=")).collect();
    Tailwater::start_in(directory, &[&flags[..], &waits, &more].concat())
}

fn directory() -> TempDir {
    tempfile::tempdir().unwrap()
}

/// A node of which one exporter has everything and the other nothing, and its log says so.
fn with_one_away(runtime: &str, here: SocketAddr, away: SocketAddr, queue: &str) -> (Tailwater, Tailwater) {
    let hop = next_hop(here);
    let node = node(directory(), runtime, &[("here", here), ("away", away)], &["--shards", "2", queue]);
    for trace in 1..=TRACES {
        send(node.http, (0..100).map(|number| large_span(trace, number, false, 1000)).collect());
    }
    let logs = br#"{"resourceLogs": [{"scopeLogs": [{"logRecords": [{"body": {"stringValue": "a"}}]}]}]}"#;
    assert_eq!(post(node.http, "/v1/logs", &[("content-type", "application/json")], logs).0, 200);
    hop.until(|metrics| metrics[RECEIVED] == SPANS && metrics[LOGS] == 1.0);
    node.until(|metrics| sum(metrics, "tailwater_wal_partly_done_units", "") == SPANS + 1.0);
    let syncs = |node: &Tailwater| node.metrics()["tailwater_wal_syncs_total{stage=\"log\"}"];
    let before = syncs(&node);
    // Both cores have written their journals again, and again: while something waits they tell the time.
    node.until(|metrics| metrics["tailwater_wal_syncs_total{stage=\"log\"}"] >= before + 8.0);
    (node, hop)
}

fn goes_to_that_one_alone(runtime: &str, queue: &str, ends: impl FnOnce(Tailwater) -> TempDir, shards: &str) {
    let (here, away) = (address(), address());
    let (first, hop) = with_one_away(runtime, here, away, queue);
    let directory = ends(first);
    // In another order: numbers mean other exporters than before.
    let node = node(directory, runtime, &[("away", away), ("here", here)], &["--shards", shards]);
    let back = next_hop(away);
    back.until(|metrics| metrics[RECEIVED] == SPANS && metrics[LOGS] == 1.0);
    node.until(|metrics| metrics[EXPORTED] == SPANS && parked(metrics) == 0.0);
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let came = hop.metrics();
    assert_eq!((came[RECEIVED], came[LOGS]), (SPANS, 1.0), "nothing comes twice to the one that had it");
    assert_eq!(back.metrics()[RECEIVED], SPANS);
}

/// Leans on `Outbox::take_partly_done`: all of it is in the queue of the exporter that is away.
#[test]
fn what_waits_in_a_queue_for_one_exporter_goes_to_that_one_after_a_crash() {
    for runtime in RUNTIMES {
        goes_to_that_one_alone(runtime, "queue=64MiB", Tailwater::crash, "2");
    }
}

/// Leans on `Segments::park`: most of it is in the log alone.
#[test]
fn what_waits_in_the_log_for_one_exporter_goes_to_that_one_after_a_crash() {
    goes_to_that_one_alone("auto", "queue=1MiB", Tailwater::crash, "3");
}

#[test]
fn what_waits_for_one_exporter_goes_to_that_one_after_a_stop() {
    goes_to_that_one_alone("auto", "queue=1MiB", super::stop, "1");
}

/// Nobody is left that wants it: that is told by a count, and the log is freed.
#[test]
fn what_waits_for_an_exporter_that_has_gone_is_dropped_and_counted() {
    let (here, away) = (address(), address());
    let (first, hop) = with_one_away("auto", here, away, "queue=1MiB");
    let node = node(first.crash(), "auto", &[("here", here)], &["--shards", "2"]);
    let dropped = "tailwater_items_dropped_total{signal=\"spans\",reason=\"no_exporter\"}";
    node.until(|metrics| metrics.get(dropped) == Some(&SPANS) && parked(metrics) == 0.0);
    assert_eq!(hop.metrics()[RECEIVED], SPANS);
}
