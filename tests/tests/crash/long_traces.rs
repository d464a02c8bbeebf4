//! Traces that outgrow memory: their bytes are read from the log when they are kept.

use super::spans::{large_span, send, span};
use super::{ERRORS, EXPORTED};
use std::collections::BTreeSet;
use tailwater_tests::process::{Tailwater, kept};

/// Traces and spans of each in the short form; `TAILWATER_LONG_TRACES=1` runs the long one.
const SHORT: (u64, u64) = (20, 2000);
const LONG: (u64, u64) = (100, 20_000);
/// Spans of a trace in one request.
const PART: u64 = 500;

fn is_long() -> bool {
    std::env::var_os("TAILWATER_LONG_TRACES").is_some()
}

/// Leans on `Shard::cool_old`, `Shard::append_full` and `recall`: spans whose bytes were given up come back byte for
/// byte.
fn long_traces_are_whole(name_bytes: usize, more: &[&str]) {
    let (traces, spans) = if is_long() { LONG } else { SHORT };
    let mut arguments = vec!["--sampling-policies", ERRORS, "--sampling-decision-wait", "10m"];
    arguments.extend(["--sampling-decision-wait-after-root-received", "0s"]);
    arguments.extend(more);
    let node = Tailwater::start(&arguments);
    for part in 0..spans / PART {
        for trace in 1..=traces {
            // The last span of every other trace says that it is kept.
            let numbers = part * PART..(part + 1) * PART;
            let says_keep = |number| trace % 2 == 0 && number + 1 == spans;
            let batch = numbers.map(|number| large_span(trace, number, says_keep(number), name_bytes));
            send(node.http, batch.collect());
        }
    }
    node.until(|metrics| metrics["tailwater_cold_spans_total"] >= (traces * spans) as f64 / 4.0);
    let metrics = node.metrics();
    let resident = metrics["process_resident_memory_bytes"] / 1048576.0;
    eprintln!(
        "{traces} traces of {spans} spans: {} cold, {resident:.0} MiB resident",
        metrics["tailwater_cold_spans_total"]
    );
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let whole = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(whole.len() as u64, traces / 2, "{}", log.join("\n"));
    for found in whole.values() {
        assert_eq!(found.iter().collect::<BTreeSet<_>>().len() as u64, spans);
    }
}

#[test]
fn cold_by_age() {
    long_traces_are_whole(200, &["--cold-after", "100ms"]);
}

/// A plan that leaves little for pending traces: some tens of MiB, of which the places of two million spans take 32.
#[test]
fn cold_as_memory_is_full() {
    let memory = if is_long() { "192MiB" } else { "160MiB" };
    let mut small = vec!["--memory-bytes-max", memory, "--memory-receive-bytes-max", "32MiB"];
    small.extend([
        "--sampling-num-traces",
        "10000",
        "--otlp-grpc-connections-max",
        "16",
        "--otlp-http-connections-max",
        "16",
    ]);
    small.extend(["--otlp-http-request-bytes-max", "4MiB", "--otlp-grpc-request-bytes-max", "4MiB", "--shards", "1"]);
    // In the short form spans are larger, so that memory is full all the same.
    long_traces_are_whole(if is_long() { 200 } else { 2000 }, &small);
}

/// The next hop sees the whole of a trace whose verdict came by inactivity.
#[test]
fn a_trace_ends_when_nothing_comes_any_more() {
    let node = Tailwater::start(&[
        "--sampling-policies",
        ERRORS,
        "--sampling-inactivity-timeout",
        "300ms",
        "--sampling-max-trace-duration",
        "1h",
    ]);
    send(node.http, vec![span(1, 0, true)]);
    node.until(|metrics| metrics[EXPORTED] == 1.0);
}
