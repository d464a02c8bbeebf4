//! Conditions among the rules: what their outcomes on built spans make of a policy.

mod needs;

use super::*;
use crate::fixture;
use crate::intake::Intake;
use crate::route::Route;
use crate::rules::Rules;
use bytes::Bytes;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_ottl::{Context, parse};

/// Conditions with their outcomes in the reference, and the same for converters that read or write a format of their own.
const TABLE: &str = concat!(
    include_str!("../../../../ottl/src/tests/conditions.txt"),
    include_str!("../../../../ottl/src/tests/converters.txt")
);

fn rules(span: &[&str], spanevent: &[&str], error_mode: ErrorMode) -> Result<Rules, crate::rules::RulesError> {
    let texts = |texts: &[&str]| texts.iter().map(|text| (*text).to_string()).collect();
    let rule = Rule::OttlCondition { error_mode, span: texts(span), spanevent: texts(spanevent) };
    Rules::compile(&Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::collector_default() })
}

/// `T`, `F` or `E` of one policy on the one span of a request.
fn outcome(rules: &Rules, request: &[u8]) -> char {
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, rules);
    let scanned = intake.scan(&Bytes::copy_from_slice(request), rules).unwrap();
    assert_eq!((scanned.accepted, scanned.refused), (1, 0));
    match scanned.batches[0].1.spans[0].leaves {
        0 => 'F',
        1 => 'T',
        2 => 'E',
        more => panic!("{more:b}"),
    }
}

#[test]
fn an_error_is_passed_over_or_ends_the_walk_by_mode() {
    let failing = r#"attributes["list"][9] == 1"#;
    let holds = r#"name == "GET /api/users""#;
    let full = fixture::full();
    let of = |conditions: &[&str], mode| outcome(&rules(conditions, &[], mode).unwrap(), &full);
    assert_eq!(of(&[failing, holds], ErrorMode::Propagate), 'E');
    assert_eq!(of(&[holds, failing], ErrorMode::Propagate), 'T');
    for mode in [ErrorMode::Ignore, ErrorMode::Silent] {
        assert_eq!(of(&[failing, holds], mode), 'T');
        assert_eq!(of(&[failing], mode), 'F');
    }
    // Conditions on events come after those on the span, each event in turn.
    let of = |span: &[&str], event: &[&str], mode| outcome(&rules(span, event, mode).unwrap(), &full);
    assert_eq!(of(&["false"], &[r#"name == "log""#], ErrorMode::Propagate), 'T');
    assert_eq!(of(&["false"], &[r#"attributes["code"][0] == 1"#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&["false"], &[r#"name == "log" or attributes["code"][0] == 1"#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&["false"], &[r#"name == "exception" or attributes["code"][0] == 1"#], ErrorMode::Propagate), 'T');
    assert_eq!(of(&[failing], &[r#"name == "log""#], ErrorMode::Propagate), 'E');
    assert_eq!(of(&[holds], &["event_index == 0"], ErrorMode::Propagate), 'T');
}

#[test]
fn only_failures_that_are_to_be_counted_are_counted() {
    let failing = r#"attributes["list"][9] == 1"#;
    let body = Bytes::from(fixture::full());
    let counted = |mode| {
        let rules = rules(&[failing, failing], &["event_index == 0"], mode).unwrap();
        Intake::new(Route::new([0; 4], 1), 1 << 20, &rules).scan(&body, &rules).unwrap().condition_failures
    };
    // Twice for the span, once for each of its two events.
    assert_eq!(counted(ErrorMode::Ignore), 4);
    assert_eq!(counted(ErrorMode::Silent), 0);
    assert_eq!(counted(ErrorMode::Propagate), 0);
}

#[test]
fn of_matched_and_failed_the_first_to_come_holds() {
    let propagating = rules(&["true"], &[], ErrorMode::Propagate).unwrap();
    let (matched, failed) = (1, 2);
    for (trace, span, joined) in [
        (0, matched, matched),
        (0, failed, failed),
        (matched, failed, matched),
        (failed, matched, failed),
        (matched, matched, matched),
        (matched, failed | 4, matched | 4),
        (8, 4, 12),
    ] {
        assert_eq!(propagating.ottl().join(0, trace, span), joined, "{trace:b} {span:b}");
        assert_eq!(propagating.ottl().join(1, trace, span), trace | span);
    }
    let silent = rules(&["true"], &[], ErrorMode::Silent).unwrap();
    assert_eq!(silent.ottl().join(0, matched, failed), matched | failed);
}

#[test]
fn a_pair_of_leaves_never_lies_in_two_words() {
    let always = |name: &str, key: &str| {
        let rule = Rule::BooleanAttribute { key: key.into(), value: true, invert: false };
        Policy::new(name, rule)
    };
    let mut policies: Vec<Policy> = (0..63).map(|n| always("p", &format!("k{n}"))).collect();
    let failing = vec![r#"attributes["list"][9] == 1"#.to_string()];
    let rule = Rule::OttlCondition { error_mode: ErrorMode::Propagate, span: failing, spanevent: vec![] };
    policies.push(Policy::new("condition", rule));
    let rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
    assert_eq!(rules.leaf_words(), 2);
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let scanned = intake.scan(&Bytes::from(fixture::full()), &rules).unwrap();
    assert_eq!(scanned.batches[0].1.spans[0].leaves, 0);
    assert_eq!(scanned.batches[0].1.leaves_more, [2]);
    assert_eq!((rules.ottl().join(1, 2, 1), rules.ottl().join(1, 1, 2)), (2, 1));
}

#[test]
fn a_scope_behind_its_spans_is_seen_and_scopes_are_not_mixed_up() {
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use prost::Message;
    let mut request = ExportTraceServiceRequest::decode(&fixture::full()[..]).unwrap();
    let scope_spans = &mut request.resource_spans[0].scope_spans;
    let mut other = scope_spans[0].clone();
    other.scope.as_mut().unwrap().name = "other".into();
    scope_spans.push(other);
    let rules = rules(&[r#"scope.name == "other""#], &[], ErrorMode::Propagate).unwrap();
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let scanned = intake.scan(&Bytes::from(request.encode_to_vec()), &rules).unwrap();
    let leaves: Vec<u64> = scanned.batches[0].1.spans.iter().map(|span| span.leaves).collect();
    assert_eq!(leaves, [0, 1]);
    // The same with the fields of the scope behind the span: span 2, scope 1.
    let span = request.resource_spans[0].scope_spans[1].spans[0].encode_to_vec();
    let scope = request.resource_spans[0].scope_spans[1].scope.as_ref().unwrap().encode_to_vec();
    let field = |number: u8, bytes: &[u8]| {
        let mut out = vec![number << 3 | 2];
        tailwater_proto::otlp::wire::put_varint(&mut out, bytes.len() as u64);
        out.extend_from_slice(bytes);
        out
    };
    let reversed = [field(2, &span), field(1, &scope)].concat();
    assert_eq!(outcome(&rules, &field(1, &field(2, &reversed))), 'T');
}

#[test]
fn many_events_cost_no_more_than_the_bound() {
    use opentelemetry_proto::tonic::trace::v1::Span;
    use opentelemetry_proto::tonic::trace::v1::span::Event;
    let span = |events: usize| {
        let attributes = vec![fixture::attribute("a", fixture::text(&"x".repeat(100_000)))];
        let events = vec![Event::default(); events];
        fixture::with(Span { trace_id: vec![1; 16], span_id: vec![1; 8], attributes, events, ..Span::default() })
    };
    let whole = r#"Len(span.attributes) == 9"#;
    assert_eq!(outcome(&rules(&[], &[whole], ErrorMode::Propagate).unwrap(), &span(50)), 'F');
    assert_eq!(outcome(&rules(&[], &[whole], ErrorMode::Propagate).unwrap(), &span(5000)), 'E');
    // What a span has once is read once for all its events.
    let once = r#"Len(span.events) == 9 or span.status.message == "x" or span.attributes["a"] == "x""#;
    assert_eq!(outcome(&rules(&[], &[once], ErrorMode::Propagate).unwrap(), &span(5000)), 'F');
}

#[test]
fn user_agents_are_compiled_once_for_all_conditions() {
    let conditions = vec![r#"UserAgent(name)["os.name"] == "x""#; 200];
    let rules = rules(&conditions, &conditions, ErrorMode::Propagate).unwrap();
    assert_eq!(outcome(&rules, &fixture::full()), 'F');
}

#[test]
fn what_can_not_be_compiled_names_its_policy_and_place() {
    let error = rules(&["nam == 1"], &[], ErrorMode::Propagate).unwrap_err().to_string();
    for part in ["policy \"p\"", "\"nam == 1\"", "at byte 0", "did you mean span.name?"] {
        assert!(error.contains(part), "{error}");
    }
}

/// All conditions of the table that are read, as policies of their own, in batches that one set of rules can hold.
fn all_conditions() -> Vec<Rules> {
    let lines = TABLE.lines().filter(|line| !line.starts_with('#') && !line.is_empty());
    let conditions: Vec<(&str, &str)> = lines
        .map(|line| line.splitn(4, ' ').collect::<Vec<_>>())
        .map(|parts| (parts[2], parts[3]))
        .filter(|(context, condition)| {
            let context = if *context == "span" { Context::Span } else { Context::SpanEvent };
            parse(condition, context).is_ok()
        })
        .collect();
    let rules = |batch: &[(&str, &str)]| {
        let policies = batch.iter().map(|(context, condition)| {
            let (text, none) = (vec![(*condition).to_string()], Vec::new());
            let (span, spanevent) = if *context == "span" { (text, none) } else { (none, text) };
            Policy::new(condition, Rule::OttlCondition { error_mode: ErrorMode::Propagate, span, spanevent })
        });
        Rules::compile(&Sampling { policies: policies.collect(), ..Sampling::collector_default() }).unwrap()
    };
    conditions.chunks(200).map(rules).collect()
}

#[test]
fn damaged_spans_are_refused_or_evaluated() {
    let all = all_conditions();
    let whole = fixture::full();
    let mut state = 1u64;
    let mut evaluated = 0;
    for _ in 0..400 {
        let mut body = whole.clone();
        for _ in 0..2 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let at = (state >> 33) as usize % body.len();
            body[at] = (state >> 24) as u8 & 0x7f;
        }
        let body = Bytes::from(body);
        for rules in &all {
            let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, rules);
            evaluated += intake.scan(&body, rules).map_or(0, |scanned| scanned.accepted);
        }
    }
    assert!(evaluated > 100, "most damage leaves a span: {evaluated}");
}

#[test]
fn conditions_side_by_side_come_out_as_alone() {
    let alone = |line: &str| line.split(' ').next().unwrap().to_string();
    for rules in all_conditions() {
        let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
        // Twice: nothing is left over from the request before.
        let bodies = [fixture::bare(), fixture::full()].map(Bytes::from);
        let seen: Vec<(u64, Vec<u64>)> = [0, 1, 0, 1]
            .into_iter()
            .map(|which| {
                let scanned = intake.scan(&bodies[which], &rules).unwrap();
                (scanned.batches[0].1.spans[0].leaves, scanned.batches[0].1.leaves_more.clone())
            })
            .collect();
        assert_eq!((&seen[0], &seen[1]), (&seen[2], &seen[3]));
        let (first, more) = &seen[1];
        for (index, name) in rules.policy_names().enumerate() {
            let mut lines = TABLE.lines();
            let line = lines.find(|line| line.splitn(4, ' ').nth(3) == Some(name)).unwrap();
            // A crash of the reference is no outcome to follow.
            if !line.contains(" full ") || line.starts_with('P') {
                continue;
            }
            let bit = index * 2;
            let word = if bit < 64 { *first } else { more[bit / 64 - 1] };
            let found = ["F", "T", "E"][usize::try_from(word >> (bit % 64) & 3).unwrap()];
            assert_eq!(found, alone(line), "{name}");
        }
    }
}

#[test]
fn a_trace_has_the_outcome_of_its_first_span_that_has_one() {
    use crate::evidence::Summary;
    use opentelemetry_proto::tonic::trace::v1::Span;
    let rules = rules(&[r#"attributes["list"][9] == 1 or name == "match""#], &[], ErrorMode::Propagate).unwrap();
    let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, &rules);
    let mut record = |name: &str, attributes| {
        let span =
            Span { trace_id: vec![1; 16], span_id: vec![1; 8], name: name.into(), attributes, ..Span::default() };
        let scanned = intake.scan(&Bytes::from(fixture::with(span)), &rules).unwrap();
        scanned.batches[0].1.spans[0]
    };
    let failing = record("", vec![fixture::attribute("list", fixture::list(vec![]))]);
    let (matching, neither) = (record("match", vec![]), record("", vec![]));
    assert_eq!((failing.leaves, matching.leaves, neither.leaves), (2, 1, 0));
    for (spans, leaves) in [
        ([neither, failing, matching], 2),
        ([matching, neither, failing], 1),
        ([neither, neither, matching], 1),
        ([failing, failing, matching], 2),
    ] {
        let mut seen = Summary::default();
        spans.iter().for_each(|span| seen.absorb(&rules, span, &mut [], &[]));
        assert_eq!(seen.leaves, leaves);
    }
}
