//! What the Collector kept of recorded scenarios, and what the engine keeps of them.

use super::differences;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use tailwater_tests::conformance::recorded::{self, Recorded};
use tailwater_tests::conformance::{Mode, difference, engine};

/// All types of policy; those with a budget have one that is never used up, or none.
const KINDS: [&str; 17] = [
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
    "composite",
    "rate_limiting",
    "bytes_limiting",
];

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
    for kind in KINDS {
        let text = format!("\"type\":\"{kind}\"");
        let count = all.iter().filter(|one| one.scenario.processor.to_string().contains(&text)).count();
        assert!(count >= 5, "{kind} is in {count} scenarios");
    }
}

/// Takes every policy of a type for one that never samples.
fn without(kind: &str, value: &mut Value) {
    if value["type"] == kind {
        let name = value["name"].clone();
        *value = json!({"name": name, "type": "span_count", "span_count": {"min_spans": i32::MAX}});
    }
    match value {
        Value::Object(map) => map.values_mut().for_each(|value| without(kind, value)),
        Value::Array(list) => list.iter_mut().for_each(|value| without(kind, value)),
        _ => {}
    }
}

#[test]
fn what_comes_out_depends_on_policies_of_every_type() {
    let all = recorded::read(&recorded::directory().join("random.jsonl.gz"));
    for kind in KINDS {
        let matters = |one: &&Recorded| {
            let mut scenario = one.scenario.clone();
            without(kind, &mut scenario.processor);
            engine::play(&scenario, 1).unwrap() != one.kept
        };
        assert!(all.iter().filter(matters).take(3).count() == 3, "nothing depends on {kind}");
    }
}

#[test]
fn scopes_are_labelled_as_the_collector_labels_them() {
    let all = recorded::read(&recorded::directory().join("labels.jsonl.gz"));
    assert!(all.len() >= 50, "{}", all.len());
    for Recorded { scenario, kept } in &all {
        let ours = engine::play_in(scenario, 2, Mode::Recording).unwrap();
        let lines = difference(kept, &ours);
        assert!(lines.is_empty(), "{}: {lines:#?}", scenario.name);
    }
}

#[test]
fn cases_by_hand_come_out_as_the_collector_has_them() {
    replay("cases.jsonl.gz");
}
