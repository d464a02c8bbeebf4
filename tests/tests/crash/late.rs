//! Late spans of a kept trace leave as they would have left without the restart: threshold, policy, label and annotations,
//! whatever rules are in force then.

use super::spans::{send, span};
use super::{Metrics, is_settled, stop, sum};
use opentelemetry_proto::tonic::trace::v1::Span;
use serde_json::Value;
use std::collections::BTreeMap;
use std::path::Path;
use tailwater_tests::process::Tailwater;

const RULES: &str = "[{name: errors, when: [{status_code: {status_codes: [ERROR]}}], sampler: \
    {annotating: {attributes: {team: a, tier: gold}, sampler: \
    {annotating: {attributes: {why: error}, sampler: {probability: 0.5}}}}}}]";
/// The first is another's name and says something else; what was ruled stands.
const OTHERS: &str = "[{name: slow, when: [{latency: {threshold_ms: 900}}], sampler: \
    {annotating: {attributes: {team: b}, sampler: always_on}}}, {name: errors, sampler: {probability: 0.1}}]";
/// Policies, which annotate nothing.
const POLICIES: &str = "[{name: all, type: always_sample}]";

const TRACES: u64 = 20;

fn arguments(rules: &'static str) -> Vec<&'static str> {
    let flag = if rules == POLICIES { "--sampling-policies" } else { "--sampling-rules" };
    let own = ["--sampling-decision-wait", "100ms", "--wal-journal-interval", "20ms", "--sampling-record-policy"];
    [&[flag, rules], &own[..]].concat()
}

/// By its id each trace is below the half that is kept; the first span of every other one brings another randomness.
fn first(trace: u64) -> Span {
    let trace_state = if trace.is_multiple_of(2) { "ot=rv:d0000000000000" } else { "" };
    Span { trace_state: trace_state.into(), ..span_of(trace, 0, true) }
}

/// It comes late, and with a threshold that only that randomness allows.
fn late(trace: u64, number: u64) -> Span {
    Span { trace_state: "ot=th:c".into(), ..span_of(trace, number, false) }
}

fn span_of(trace: u64, number: u64, is_error: bool) -> Span {
    let mut span = span(trace, number, is_error);
    let part = if trace.is_multiple_of(2) { 0x01 } else { 0xe1 };
    // Ids of which all have the same byte 8 would be hashed.
    span.trace_id[8] = span.trace_id[7].wrapping_mul(37);
    span.trace_id[9] = part;
    span
}

/// What the late spans with that number left with, by the byte of their trace's id that tells them apart.
fn left_with(kept: &Path, number: u64) -> BTreeMap<String, [Value; 3]> {
    let mut found = BTreeMap::new();
    let text = std::fs::read_to_string(kept).unwrap();
    for line in text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap()) {
        let resources = line["resourceSpans"].as_array().unwrap().iter();
        for scope_spans in resources.flat_map(|resource| resource["scopeSpans"].as_array().unwrap()) {
            let scope = &scope_spans["scope"]["attributes"];
            for span in scope_spans["spans"].as_array().unwrap() {
                let id = u64::from_str_radix(span["spanId"].as_str().unwrap(), 16).unwrap();
                if id >> 1 & 0xff == number {
                    let parts = [&span["traceState"], &span["attributes"], scope].map(Clone::clone);
                    found.insert(span["traceId"].as_str().unwrap().to_string(), parts);
                }
            }
        }
    }
    found
}

/// Breaks without `given` or `annotations` in `Journal::judged`, in `Core::restore_verdicts` or in `put_verdicts`, and without
/// `Survey::adopt`.
#[test]
fn late_spans_leave_as_they_would_have_left_without_a_restart() {
    let mut node = Tailwater::start(&arguments(RULES));
    send(node.http, (1..=TRACES).map(first).collect());
    node.until(|metrics| metrics["tailwater_traces_kept_total"] == TRACES as f64);
    // What a kill has left as undelivered comes once more.
    let all_are_out = |metrics: &Metrics| {
        let late = metrics["tailwater_late_spans_total{verdict=\"kept\"}"];
        let is_all = late == TRACES as f64 + sum(metrics, "tailwater_wal_recovered_units_total", "");
        is_all && is_settled(metrics) && sum(metrics, "tailwater_wal_unresolved_units", "") == 0.0
    };
    // Without a restart; after a kill under the same rules; what that run has said again, with other rules twice; after a
    // stop, with policies, and with the first rules again.
    let runs = [(RULES, true), (OTHERS, true), (OTHERS, false), (POLICIES, true), (RULES, false)];
    for (number, (rules, is_killed)) in (1..).zip(runs) {
        send(node.http, (1..=TRACES).map(|trace| late(trace, number)).collect());
        node.until(all_are_out);
        let directory = if is_killed { node.crash() } else { stop(node) };
        node = Tailwater::start_in(directory, &arguments(rules));
    }
    let last = runs.len() as u64 + 1;
    send(node.http, (1..=TRACES).map(|trace| late(trace, last)).collect());
    node.until(all_are_out);
    let directory = stop(node);
    let path = directory.path().join("kept.jsonl");
    let expected = left_with(&path, 1);
    assert_eq!(expected.len() as u64, TRACES);
    for [state, attributes, scope] in expected.values() {
        assert_eq!(state, "ot=th:c", "the trace's randomness allows it");
        let keys: Vec<_> = attributes.as_array().unwrap().iter().map(|each| each["key"].as_str().unwrap()).collect();
        assert_eq!(keys, ["why", "team", "tier"]);
        let scope = scope.to_string();
        assert!(scope.contains("errors") && scope.contains("tailsampling.cached_decision"), "{scope}");
    }
    for number in 2..=last {
        assert_eq!(left_with(&path, number), expected, "late span {number}");
    }
}
