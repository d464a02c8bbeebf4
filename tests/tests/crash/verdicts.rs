//! What a start takes over from a killed node: the wait of undecided traces, verdicts, and what is resolved.

use super::spans::{send, span};
use super::{ERRORS, EXPORTED, Metrics, RECEIVED, RUNTIMES, all, is_settled, stop, sum};
use std::time::{Duration, Instant};
use tailwater_tests::process::{PATIENCE, Tailwater, kept, kept_at_least_once};

const TRACES: u64 = 40;

fn arguments<'a>(runtime: &'a str, wait: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let own = ["--runtime", runtime, "--sampling-policies", ERRORS, "--sampling-decision-wait", wait];
    let root = ["--sampling-decision-wait-after-root-received", "0s"];
    all(&[&own, &root, more])
}

fn late(metrics: &Metrics, verdict: &str) -> f64 {
    metrics[&format!("tailwater_late_spans_total{{verdict=\"{verdict}\"}}")]
}

/// Spins on the node's metrics until so much time has passed since `begin`: time is what this is about.
fn pass(node: &Tailwater, begin: Instant, time: Duration) {
    while begin.elapsed() < time {
        _ = node.metrics();
    }
}

/// Each node runs for a part of the wait, without anything coming in but at the first.
fn the_wait_goes_on_from_node_to_node(runtime: &'static str) {
    let arguments = arguments(runtime, "15s", &[]);
    let mut node = Tailwater::start(&arguments);
    send(node.http, (1..=TRACES).map(|trace| span(trace, 0, trace % 2 == 0)).collect());
    for shards in ["1", "3"] {
        pass(&node, Instant::now(), Duration::from_secs(4));
        node = Tailwater::start_in(node.crash(), &all(&[&arguments, &["--shards", shards]]));
        let metrics = node.metrics();
        assert_eq!((metrics["tailwater_traces_pending"], metrics[RECEIVED]), (40.0, 40.0), "they are undecided");
    }
    let begin = Instant::now();
    node.until(is_settled);
    let waited = begin.elapsed();
    assert!(waited < Duration::from_secs(12), "{waited:?} after eight seconds of fifteen");
    assert_eq!(node.metrics()[EXPORTED], TRACES as f64 / 2.0);
    let directory = stop(node);
    assert_eq!(kept(&directory.path().join("kept.jsonl")).len() as u64, TRACES / 2);
}

#[test]
fn the_wait_goes_on_on_uring() {
    the_wait_goes_on_from_node_to_node(RUNTIMES[0]);
}

#[test]
fn the_wait_goes_on_on_epoll() {
    the_wait_goes_on_from_node_to_node(RUNTIMES[1]);
}

/// Kills on end: the verdicts must come through the starts in between, which nothing is sent to and which may not even
/// get ready.
#[test]
fn verdicts_hold_over_many_kills() {
    let arguments = arguments("auto", "100ms", &["--wal-journal-interval", "20ms"]);
    let mut node = Tailwater::start(&arguments);
    for trace in 1..=TRACES {
        send(node.http, vec![span(trace, 0, trace % 2 == 0)]);
    }
    node.until(|metrics| is_settled(metrics) && sum(metrics, "tailwater_wal_unresolved_units", "") == 0.0);
    // Many of the journal's intervals.
    pass(&node, Instant::now(), Duration::from_secs(1));
    for shards in ["3", "1", "2", "2", "4"] {
        node = Tailwater::start_in(node.crash(), &all(&[&arguments, &["--shards", shards]]));
    }
    assert_eq!(node.metrics()[RECEIVED], 0.0, "all of it was delivered or dropped before the first kill");
    for trace in 1..=TRACES {
        send(node.http, vec![span(trace, 1, false)]);
    }
    node.until(|metrics| is_settled(metrics) && metrics[RECEIVED] == TRACES as f64);
    let metrics = node.metrics();
    assert_eq!((late(&metrics, "kept"), late(&metrics, "dropped")), (20.0, 20.0));
    assert_eq!(metrics[EXPORTED], 20.0);
    let directory = stop(node);
    let (traces, again) = kept_at_least_once(&directory.path().join("kept.jsonl"));
    assert!(again.is_empty() && traces.len() == 20 && traces.values().all(|spans| spans.len() == 2), "{traces:?}");
}

/// A stop takes the books along: the next start exports nothing again, however much the log still holds.
#[test]
fn nothing_comes_twice_after_a_stop() {
    let arguments = arguments("auto", "50ms", &["--wal-journal-interval", "1m"]);
    let mut directory = tempfile::TempDir::new().unwrap();
    for round in 0..3 {
        let node = Tailwater::start_in(directory, &arguments);
        assert_eq!(node.metrics()[RECEIVED], 0.0, "round {round}");
        for trace in 1..=TRACES {
            send(node.http, vec![span(round * TRACES + trace, 0, true)]);
        }
        directory = stop(node);
    }
    let traces = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(traces.len() as u64, 3 * TRACES);
}

/// What is undecided at SIGTERM stays undecided, over another number of shards too.
#[test]
fn undecided_traces_stay_in_the_log_over_a_stop() {
    let mut keeps = arguments("auto", "10m", &[]);
    keeps.push("--wal-keep-pending-at-shutdown");
    let node = Tailwater::start(&keeps);
    send(node.http, (1..=TRACES).map(|trace| span(trace, 0, trace % 2 == 0)).collect());
    let begin = Instant::now();
    let directory = stop(node);
    assert!(begin.elapsed() < PATIENCE / 4);
    assert!(kept(&directory.path().join("kept.jsonl")).is_empty(), "nothing was judged");
    let node = Tailwater::start_in(directory, &arguments("auto", "10m", &["--shards", "3"]));
    let metrics = node.metrics();
    assert_eq!(metrics["tailwater_traces_pending"], TRACES as f64);
    // Breaks without `add_request`, `add_segment` or `end` of `Reading`, and without the last `set` in `Core::replay`.
    let said = node.said_at_start();
    let line = said.lines().find(|line| line.contains("the log of the last run is taken over"));
    let line = line.unwrap_or_else(|| panic!("it is told: {said}"));
    let line: serde_json::Value = serde_json::from_str(line).unwrap();
    assert_eq!((&line["requests"], &line["units"]), (&1.into(), &TRACES.into()), "{line}");
    assert!(line["segments"] == line["of_segments"] && line["segments"] != 0, "{line}");
    assert_eq!(sum(&metrics, "tailwater_wal_replay_left_bytes", ""), 0.0);
    // The other half of each trace comes after the restart.
    send(node.http, (1..=TRACES).map(|trace| span(trace, 1, false)).collect());
    let directory = stop(node);
    let traces = kept(&directory.path().join("kept.jsonl"));
    assert!(traces.len() == 20 && traces.values().all(|spans| spans.len() == 2), "{traces:?}");
}
