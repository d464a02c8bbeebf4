//! Policies of policies, and how votes come to a verdict that late spans follow.

use super::{Case, Trace, case, span_with, text};
use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use serde_json::{Value, json};

pub(super) fn cases() -> Vec<Case> {
    [nested(), shares(), votes(), verdicts(), vec![too_large()]].concat()
}

fn attribute_is(value: &str, invert: bool) -> Value {
    let block = json!({"key": "attribute_name", "values": [value], "invert_match": invert});
    json!({"name": "attribute", "type": "string_attribute", "string_attribute": block})
}

fn errors() -> Value {
    json!({"name": "errors", "type": "status_code", "status_code": {"status_codes": ["ERROR"]}})
}

fn always() -> Value {
    json!({"name": "always", "type": "always_sample"})
}

fn of_list(kind: &str, list: &[Value]) -> Value {
    json!({"name": kind, "type": kind, kind: {format!("{kind}_sub_policy"): list}})
}

fn not(policy: &Value) -> Value {
    json!({"name": "not", "type": "not", "not": {"not_sub_policy": policy}})
}

/// A span in error with the attribute.
fn marked() -> Span {
    let status = Some(Status { code: 2, ..Default::default() });
    Span { status, ..span_with(vec![text("attribute_name", "attribute_value")]) }
}

fn single(span: Span, is_kept: bool) -> Vec<Trace> {
    vec![Trace::of(vec![span], is_kept)]
}

fn nested() -> Vec<Case> {
    let both = |value: &str, invert| vec![attribute_is(value, invert), errors()];
    let error = Span { attributes: Vec::new(), ..marked() };
    vec![
        case("and: one of two", &[of_list("and", &both("other", false))], single(error.clone(), false)),
        case("and: both", &[of_list("and", &both("attribute_value", false))], single(marked(), true)),
        case("and: inverted", &[of_list("and", &both("no_match", true))], single(marked(), true)),
        case("and: inverted match", &[of_list("and", &both("attribute_value", true))], single(marked(), false)),
        case("and: none", &[of_list("and", &[])], single(error.clone(), true)),
        case("drop: one of two", &[of_list("drop", &both("other", false)), always()], single(error.clone(), true)),
        case("drop: both", &[of_list("drop", &both("attribute_value", false)), always()], single(marked(), false)),
        case("drop: inverted", &[of_list("drop", &both("no_match", true)), always()], single(marked(), false)),
        case(
            "drop: inverted match",
            &[of_list("drop", &both("attribute_value", true)), always()],
            single(marked(), true),
        ),
        case("drop: none", &[of_list("drop", &[]), always()], single(error, false)),
        case("not: sampled", &[not(&errors())], single(marked(), false)),
        case("not: not sampled", &[not(&errors())], single(Span::default(), true)),
        case("and: not", &[of_list("and", &[not(&errors()), always()])], single(Span::default(), true)),
    ]
}

/// A composite that gives all to each of its sub-policies.
fn composite(policies: &[Value]) -> Value {
    let block = json!({"max_total_spans_per_second": 1000, "composite_sub_policy": policies});
    json!({"name": "composite", "type": "composite", "composite": block})
}

fn shares() -> Vec<Case> {
    let numeric = json!({"key": "tag", "max_value": 100});
    let tagged = json!({"name": "tagged", "type": "numeric_attribute", "numeric_attribute": numeric});
    let inverted = [attribute_is("foo", false), attribute_is("foo", true)];
    vec![
        case("composite: none", &[composite(&[tagged.clone(), tagged.clone()])], single(Span::default(), false)),
        case("composite: the second", &[composite(&[tagged, always()])], single(Span::default(), true)),
        case("composite: the inverted", &[composite(&inverted)], single(Span::default(), true)),
        case("composite: and", &[composite(&[of_list("and", &[errors(), always()])])], single(marked(), true)),
    ]
}

fn votes() -> Vec<Case> {
    vec![
        case("votes: two sample", &[errors(), always()], single(marked(), true)),
        case("votes: one samples", &[errors(), attribute_is("attribute_value", true)], single(marked(), true)),
        case("votes: none samples", &[errors(), attribute_is("no", false)], single(Span::default(), false)),
        case(
            "votes: an inverted match is no veto",
            &[always(), attribute_is("attribute_value", true)],
            single(marked(), true),
        ),
        case(
            "votes: drop stands last and counts first",
            &[always(), of_list("drop", &[errors()])],
            single(marked(), false),
        ),
        case("votes: no policy", &[], single(marked(), false)),
        share(0.0, false),
        share(100.0, true),
    ]
}

/// At 0 percent only a hash of 0 is kept, at 100 every one.
fn share(percentage: f64, is_kept: bool) -> Case {
    let block = json!({"sampling_percentage": percentage});
    let policy = json!({"name": "share", "type": "probabilistic", "probabilistic": block});
    case(&format!("probabilistic: {percentage}"), &[policy], single(Span::default(), is_kept))
}

fn verdicts() -> Vec<Case> {
    let late = |is_kept: bool| {
        let span = if is_kept { marked() } else { Span::default() };
        Trace::of(vec![span], is_kept)
    };
    let noise = [of_list("drop", &[attribute_is("attribute_value", false)]), always()];
    vec![
        case("late: a span of a kept trace is kept", &[errors()], vec![late(true).with_late(Span::default())]),
        case("late: a span of a dropped trace is dropped", &[errors()], vec![late(false).with_late(marked())]),
        case(
            "late: a span of a trace dropped by policy",
            &noise,
            vec![
                Trace::of(vec![marked()], false).with_late(Span::default()),
                Trace::of(vec![Span::default()], true).with_late(marked()),
            ],
        ),
        case(
            "pieces: what one brings counts for all",
            &[of_list("and", &[errors(), attribute_is("a", false)])],
            vec![
                Trace {
                    pieces: vec![
                        (Vec::new(), vec![marked()]),
                        (vec![text("attribute_name", "a")], vec![Span::default()]),
                    ],
                    late: Vec::new(),
                    is_kept: true,
                },
                Trace::of(vec![marked()], false),
            ],
        ),
    ]
}

/// The resource of each piece counts to the size of a trace.
fn too_large() -> Case {
    let piece = || (vec![text("filler", &"x".repeat(300))], vec![Span::default()]);
    let of = |pieces: usize, is_kept: bool| Trace {
        pieces: (0..pieces).map(|_| piece()).collect(),
        late: Vec::new(),
        is_kept,
    };
    let mut case = case("size: 1000 bytes", &[always()], vec![of(2, true), of(3, false), of(2, true)]);
    case.scenario.processor["maximum_trace_size_bytes"] = json!(1000);
    case
}
