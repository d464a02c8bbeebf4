//! A kill or a stop, and the next start on the same directory.

use super::{ERRORS, EVERYTHING, EXPORTED, RECEIVED, send, span};
use std::time::{Duration, Instant};
use tailwater_tests::process::{Tailwater, kept, kept_at_least_once};

fn arguments<'a>(runtime: &'a str, wait: &'a str, more: &[&'a str]) -> Vec<&'a str> {
    let mut all = vec!["--runtime", runtime, "--sampling-policies", ERRORS, "--sampling-decision-wait", wait];
    all.extend(["--sampling-decision-wait-after-root-received", "0s"]);
    all.extend(more);
    all
}

/// Leans on `Core::replay` and `Common::pause`: without the first nothing comes back, without the second the trace is
/// judged at once, as its wait was over long ago by the clock on the wall.
fn an_undecided_trace_goes_on_with_the_wait_it_had_left(runtime: &str) {
    let arguments = arguments(runtime, "2s", &[]);
    let node = Tailwater::start(&arguments);
    send(node.http, vec![span(1, 0, true), span(1, 1, false)]);
    let directory = node.crash();
    // Longer than the wait: time that the node was down does not count.
    let down = Instant::now();
    while down.elapsed() < Duration::from_millis(2500) {
        std::hint::spin_loop();
    }
    let node = Tailwater::start_in(directory, &arguments);
    let metrics = node.metrics();
    assert_eq!((metrics["tailwater_traces_pending"], metrics[RECEIVED]), (1.0, 2.0), "it is undecided, not judged");
    // No span comes; the trace is judged all the same.
    node.until(|metrics| metrics[EXPORTED] == 2.0);
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(kept(&directory.path().join("kept.jsonl")).len(), 1);
}

#[test]
fn an_undecided_trace_goes_on_on_uring() {
    an_undecided_trace_goes_on_with_the_wait_it_had_left("auto");
}

#[test]
fn an_undecided_trace_goes_on_on_epoll() {
    an_undecided_trace_goes_on_with_the_wait_it_had_left("epoll");
}

/// Leans on `Core::restore_verdicts`, and on `Shard::restore` for another number of shards.
#[test]
fn verdicts_hold_over_a_crash_and_another_number_of_shards() {
    let node = Tailwater::start(&arguments("auto", "100ms", &[]));
    for trace in 1..=20 {
        send(node.http, vec![span(trace, 0, trace % 2 == 0)]);
    }
    node.until(|metrics| metrics["tailwater_wal_verdicts_total{stage=\"log\"}"] == 20.0);
    // Verdicts are durable once the units that follow from them are free.
    node.until(|metrics| {
        let open = |(name, _): &(&String, &f64)| name.starts_with("tailwater_wal_unresolved_units");
        metrics.iter().filter(open).all(|(_, units)| *units == 0.0)
    });
    let node = Tailwater::start_in(node.crash(), &arguments("auto", "100ms", &["--shards", "3"]));
    for trace in 1..=20 {
        send(node.http, vec![span(trace, 1, false)]);
    }
    // What was delivered last before the crash may come again: that is late, too.
    node.until(|metrics| metrics["tailwater_late_spans_total{verdict=\"kept\"}"] >= 10.0);
    node.until(|metrics| metrics["tailwater_late_spans_total{verdict=\"dropped\"}"] >= 10.0);
    assert_eq!(node.metrics()["tailwater_traces_started_total"], 0.0, "no trace is begun anew");
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let (traces, _) = kept_at_least_once(&directory.path().join("kept.jsonl"));
    assert!(traces.len() == 10 && traces.values().all(|spans| spans.len() == 2), "{traces:?}");
}

/// Leans on `supervise::keeps_pending`.
#[test]
fn a_stop_may_leave_undecided_traces_to_the_next_start() {
    let keep = ["--wal-keep-pending-at-shutdown"];
    let node = Tailwater::start(&arguments("auto", "10m", &keep));
    send(node.http, vec![span(1, 0, false)]);
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert!(kept(&directory.path().join("kept.jsonl")).is_empty());
    let node = Tailwater::start_in(directory, &arguments("auto", "10m", &[]));
    send(node.http, vec![span(1, 1, true)]);
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    assert_eq!(kept(&directory.path().join("kept.jsonl")).values().next().map(Vec::len), Some(2), "whole");
}

/// What was delivered and settled is not sent again by a start. Leans on `Journal::append_resolved`.
#[test]
fn nothing_is_sent_twice_after_a_stop() {
    let all = ["--sampling-policies", EVERYTHING, "--sampling-decision-wait", "10ms"];
    let node = Tailwater::start(&all);
    for trace in 1..=50 {
        send(node.http, vec![span(trace, 0, false)]);
    }
    let (status, _, directory) = node.stop();
    assert!(status.success());
    let node = Tailwater::start_in(directory, &all);
    assert_eq!(node.metrics()[RECEIVED], 0.0, "the log owes nothing");
    let (_, _, directory) = node.stop();
    assert_eq!(kept(&directory.path().join("kept.jsonl")).len(), 50);
}
