//! Traces that outgrow memory: their bytes are read from the log when they are kept.

use super::{ERRORS, EXPORTED, send, span};
use std::collections::BTreeSet;
use tailwater_tests::process::{Tailwater, kept};

const TRACES: u64 = 20;
const SPANS: u64 = 2000;

/// Leans on `Shard::cool_old` and on `recall`: spans whose bytes were given up come back byte for byte.
fn long_traces_are_whole(more: &[&str]) -> f64 {
    let mut arguments = vec![
        "--sampling-policies",
        ERRORS,
        "--sampling-decision-wait",
        "10m",
        "--sampling-decision-wait-after-root-received",
        "0s",
    ];
    arguments.extend(more);
    let node = Tailwater::start(&arguments);
    for part in 0..20 {
        for trace in 1..=TRACES {
            // The last span of every other trace says that it is kept.
            let numbers = part * SPANS / 20..(part + 1) * SPANS / 20;
            let spans = numbers.map(|number| span(trace, number, trace % 2 == 0 && number + 1 == SPANS));
            send(node.http, spans.collect());
        }
    }
    let cold = "tailwater_cold_spans_total";
    node.until(|metrics| metrics[cold] >= (TRACES * SPANS) as f64 / 2.0);
    let cooled = node.metrics()[cold];
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let traces = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(traces.len() as u64, TRACES / 2, "{}", log.join("\n"));
    for spans in traces.values() {
        assert_eq!(spans.iter().collect::<BTreeSet<_>>().len() as u64, SPANS);
    }
    cooled
}

#[test]
fn cold_by_age() {
    assert!(long_traces_are_whole(&["--cold-after", "100ms"]) > 0.0);
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
