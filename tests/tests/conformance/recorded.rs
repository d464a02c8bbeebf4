//! What the Collector kept of recorded scenarios, and what the engine keeps of them.

use super::differences;
use std::collections::BTreeSet;
use tailwater_tests::conformance::recorded::{self, Recorded};

/// Scenarios of random policies and traces that are recorded, at least.
const RANDOM_MIN: usize = 200;

fn replay(name: &str) -> Vec<Recorded> {
    let all = recorded::read(&recorded::directory().join(name));
    let lines: Vec<String> = all.iter().flat_map(|one| differences(&one.scenario, &one.kept)).collect();
    assert!(lines.is_empty(), "{} lines:\n{}", lines.len(), lines.join("\n"));
    all
}

#[test]
fn random_scenarios_come_out_as_the_collector_has_them() {
    let all = replay("random.jsonl.gz");
    assert!(all.len() >= RANDOM_MIN, "{}", all.len());
    // Of little worth where everything is kept, or nothing.
    let some = all.iter().filter(|one| {
        let kept: BTreeSet<&String> = one.kept.iter().map(|span| &span.trace_id).collect();
        !kept.is_empty() && kept.len() < one.scenario.traces(false).len()
    });
    assert!(some.count() * 3 > all.len());
    assert!(all.iter().filter(|one| one.scenario.late_spans() > 0).count() * 2 > all.len());
    for kind in [
        "always_sample",
        "latency",
        "numeric_attribute",
        "probabilistic",
        "status_code",
        "string_attribute",
        "span_count",
        "trace_state",
        "trace_flags",
        "boolean_attribute",
        "ottl_condition",
        "and",
        "not",
        "drop",
    ] {
        let text = format!("\"type\":\"{kind}\"");
        let count = all.iter().filter(|one| one.scenario.processor.to_string().contains(&text)).count();
        assert!(count >= 5, "{kind} is in {count} scenarios");
    }
}

#[test]
fn cases_by_hand_come_out_as_the_collector_has_them() {
    replay("cases.jsonl.gz");
}
