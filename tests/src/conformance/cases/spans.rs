//! The policies on what spans are: how long, how many, with which status, tracestate and flags, and conditions.

use super::{Case, Trace, case, span_with, text};
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::trace::v1::span::Event;
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::{Value, json};

pub(super) fn cases() -> Vec<Case> {
    [latencies(), counts(), codes(), states(), flags(), conditions()].concat()
}

fn policy(kind: &str, block: &Value) -> Value {
    json!({"name": "policy", "type": kind, kind: block})
}

/// Bounds, spans by start and length, sampled; all in milliseconds.
type LatencyRow = (i64, i64, &'static [(u64, u64)], bool);

const LATENCIES: &[LatencyRow] = &[
    (5000, 0, &[(0, 4500)], false),
    (5000, 0, &[(0, 5000)], false),
    (5000, 0, &[(0, 5001)], true),
    (5000, 0, &[(0, 3000), (2500, 3000)], true),
    (5000, 10000, &[(0, 4500)], false),
    (5000, 10000, &[(0, 5000)], false),
    (5000, 10000, &[(0, 5001)], true),
    (5000, 10000, &[(0, 10001)], false),
    (5000, 10000, &[(0, 10000)], true),
    (5000, 10000, &[(0, 3000), (2500, 3000)], true),
    // The first spans that lie within decide, whatever comes after them; in another order they never do.
    (10, 50, &[(0, 30), (0, 200)], true),
    (10, 50, &[(0, 200), (0, 30)], false),
    (0, 0, &[(0, 0)], false),
];

fn latencies() -> Vec<Case> {
    let of = |(lower, upper, spans, is_kept): &LatencyRow| {
        let block = json!({"threshold_ms": lower, "upper_threshold_ms": upper});
        let span = |(start, length): &(u64, u64)| Span {
            start_time_unix_nano: (1_790_000_000_000 + start) * 1_000_000,
            end_time_unix_nano: (1_790_000_000_000 + start + length) * 1_000_000,
            ..Default::default()
        };
        let trace = Trace::of(spans.iter().map(span).collect(), *is_kept);
        case(&format!("latency: {lower} to {upper}, {spans:?}"), &[policy("latency", &block)], vec![trace])
    };
    LATENCIES.iter().map(of).collect()
}

/// Fewest spans, most spans, spans of each resource, sampled.
const COUNTS: &[(i32, i32, &[usize], bool)] = &[
    (3, 0, &[1], false),
    (3, 0, &[3], true),
    (3, 0, &[4], true),
    (3, 0, &[1, 1], false),
    (3, 0, &[1, 2, 1], true),
    (3, 0, &[1, 2, 3], true),
    (0, 20, &[21], false),
    (0, 20, &[20], true),
    (0, 20, &[19], true),
    (0, 20, &[1, 2, 3, 4, 5, 6], false),
    (0, 20, &[1, 2, 3, 4, 5, 5], true),
    (0, 20, &[1, 2, 3, 4, 5], true),
    (3, 20, &[1], false),
    (3, 20, &[21], false),
    (3, 20, &[4], true),
    (3, 20, &[1, 1], false),
    (3, 20, &[1, 2, 3, 4, 5, 6], false),
    (3, 20, &[1, 2, 1], true),
    (3, 20, &[3], true),
    (3, 20, &[20], true),
    (3, 20, &[1, 2], true),
    (3, 20, &[1, 2, 3, 4, 5, 5], true),
];

fn counts() -> Vec<Case> {
    let of = |(min, max, pieces, is_kept): &(i32, i32, &[usize], bool)| {
        let block = json!({"min_spans": min, "max_spans": max});
        let pieces_of = pieces.iter().map(|count| (Vec::new(), vec![Span::default(); *count])).collect();
        let trace = Trace { pieces: pieces_of, late: Vec::new(), is_kept: *is_kept };
        case(&format!("span_count: {min} to {max}, {pieces:?}"), &[policy("span_count", &block)], vec![trace])
    };
    COUNTS.iter().map(of).collect()
}

/// The codes looked for, those of the spans (unset 0, ok 1, error 2), sampled.
const CODES: &[(&[&str], &[i32], bool)] = &[
    (&["ERROR"], &[1, 0, 1], false),
    (&["OK", "ERROR"], &[0, 0], false),
    (&["UNSET"], &[0], true),
    (&["OK", "UNSET"], &[2, 1], true),
    // A code that is none is none of them.
    (&["OK", "UNSET", "ERROR"], &[3], false),
];

fn codes() -> Vec<Case> {
    let of = |(wanted, codes, is_kept): &(&[&str], &[i32], bool)| {
        let span =
            |code: &i32| Span { status: Some(Status { code: *code, ..Default::default() }), ..Default::default() };
        let trace = Trace::of(codes.iter().map(span).collect(), *is_kept);
        let block = json!({"status_codes": wanted});
        case(&format!("status_code: {wanted:?} in {codes:?}"), &[policy("status_code", &block)], vec![trace])
    };
    let mut cases: Vec<Case> = CODES.iter().map(of).collect();
    let block = json!({"status_codes": ["UNSET"]});
    let trace = Trace::of(vec![Span::default()], true);
    cases.push(case("status_code: no status is unset", &[policy("status_code", &block)], vec![trace]));
    cases
}

/// A tracestate, the values looked for under `example`, sampled.
const STATES: &[(&str, &[&str], bool)] = &[
    ("non_matching=value", &["value"], false),
    ("example=non_matching", &["value"], false),
    ("example=value", &["value"], true),
    ("example=value", &[], false),
    ("example=non_matching,non_matching=value", &["value"], false),
    ("example=value,non_matching=value", &["value"], true),
    ("example=non_matching", &["value1", "value2"], false),
    ("example=value1", &["value1", "value2"], true),
    ("example=value,example=value", &["value"], false),
    ("example=value,Upper=1", &["value"], false),
    (" \texample=value \t", &["value"], true),
    ("example=value,,x=1", &["value"], true),
    ("example=value, ,x=1", &["value"], false),
    ("example= value", &[" value"], true),
];

fn states() -> Vec<Case> {
    let of = |(state, values, is_kept): &(&str, &[&str], bool)| {
        let trace = Trace::of(vec![Span { trace_state: (*state).to_string(), ..Default::default() }], *is_kept);
        let block = json!({"key": "example", "values": values});
        case(&format!("trace_state: {values:?} in {state:?}"), &[policy("trace_state", &block)], vec![trace])
    };
    STATES.iter().map(of).collect()
}

fn flags() -> Vec<Case> {
    let of = |(flags, is_kept)| {
        let trace = Trace::of(vec![Span { flags, ..Default::default() }], is_kept);
        case(&format!("trace_flags: {flags:x}"), &[json!({"name": "policy", "type": "trace_flags"})], vec![trace])
    };
    [(1, true), (0, false), (0x100, false), (0x101, true), (2, false), (3, true)].map(of).to_vec()
}

/// Conditions on spans, on events, attributes of the span, of its one event, sampled.
type ConditionRow = (
    &'static [&'static str],
    &'static [&'static str],
    &'static [(&'static str, &'static str)],
    &'static [(&'static str, &'static str)],
    bool,
);

const CONDITIONS: &[ConditionRow] = &[
    (&["attributes[\"k1\"] == \"v1\""], &[], &[("k1", "v1")], &[], true),
    (&["attributes[\"k1\"] != \"v1\""], &[], &[("k1", "v1")], &[], false),
    (&["attributes[\"k1\"] != \"v1\""], &[], &[("k1", "v2")], &[], true),
    (&[], &["attributes[\"e1\"] == \"v1\""], &[], &[("e1", "v1")], true),
    (&[], &["name != \"incorrect event name\""], &[], &[], true),
    (&["attributes[\"k1\"] == \"v1\""], &["attributes[\"e1\"] == \"v1\""], &[], &[], false),
    (&["span.attributes[\"k1\"] == \"v1\""], &[], &[("k1", "v1")], &[], true),
    (&["span.attributes[\"k1\"] != \"v1\""], &[], &[("k1", "v2")], &[], true),
    (&[], &["spanevent.attributes[\"e1\"] == \"v1\""], &[], &[("e1", "v1")], true),
    (&[], &["spanevent.name != \"incorrect event name\""], &[], &[], true),
    (&["attributes[\"k1\"] == \"v1\"", "span.attributes[\"k2\"] == \"v2\""], &[], &[("k2", "v2")], &[], true),
    (&["resource.attributes[\"service.name\"] == \"checkout\""], &[], &[], &[], true),
    (&[], &["resource.attributes[\"service.name\"] == \"checkout\""], &[], &[], true),
    (&["scope.name == \"\""], &[], &[], &[], true),
    (&["instrumentation_scope.name == \"my-scope\""], &[], &[], &[], false),
    // An error is not the end of it: without a mode it is silent.
    (&["Substring(attributes[\"k1\"], 5, 9) == \"x\"", "name == \"\""], &[], &[("k1", "v")], &[], true),
];

fn conditions() -> Vec<Case> {
    let of = |(number, (span, event, attributes, of_event, is_kept)): (usize, &ConditionRow)| {
        let pairs =
            |pairs: &[(&str, &str)]| pairs.iter().map(|(key, value)| text(key, value)).collect::<Vec<KeyValue>>();
        let event_of = Event { name: "test event".to_string(), attributes: pairs(of_event), ..Default::default() };
        let spans = vec![Span { events: vec![event_of], ..span_with(pairs(attributes)) }];
        let pieces = vec![(vec![text("service.name", "checkout")], spans)];
        let trace = Trace { pieces, late: Vec::new(), is_kept: *is_kept };
        let mut block = json!({});
        for (list, conditions) in [("span", span), ("spanevent", event)] {
            if !conditions.is_empty() {
                block[list] = json!(conditions);
            }
        }
        case(&format!("ottl_condition: {number}"), &[policy("ottl_condition", &block)], vec![trace])
    };
    let mut cases: Vec<Case> = CONDITIONS.iter().enumerate().map(of).collect();
    // An error that is told takes the policy's vote away, and `not` passes it on.
    let failing = json!({"error_mode": "propagate", "span": ["Substring(attributes[\"k1\"], 5, 9) == \"x\"", "true"]});
    for (number, policies) in [
        vec![policy("ottl_condition", &failing)],
        vec![policy("not", &json!({"not_sub_policy": policy("ottl_condition", &failing)}))],
        vec![policy("and", &json!({"and_sub_policy": [policy("ottl_condition", &failing)]}))],
        vec![
            policy("drop", &json!({"drop_sub_policy": [policy("ottl_condition", &failing)]})),
            json!({"name": "rest", "type": "always_sample"}),
        ],
    ]
    .iter()
    .enumerate()
    {
        let trace = Trace::of(vec![span_with(vec![text("k1", "v")])], number == 3);
        cases.push(case(&format!("ottl_condition: an error is propagated {number}"), policies, vec![trace]));
    }
    cases
}
