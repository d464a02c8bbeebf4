//! Pieces of a trace, merged, come to what all of its spans in one place come to, under every kind of policy.

use super::*;
use crate::intake::Intake;
use crate::ledger::PolicyCounts;
use crate::route::Route;
use crate::rules::Ballot;
use crate::rules::limit::Limits;
use crate::vocabulary::{Nanos, SpanBatch};
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, KeyValue};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use tailwater_config::sampling::native::{Amount, LimitTerms, NativeRule, Sampler};
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling, Thresholds};

/// Numbers that follow from a seed.
struct Dice(u64);

impl Dice {
    fn below(&mut self, below: u64) -> u64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 33) % below
    }

    fn one_of<T: Clone>(&mut self, all: &[T]) -> T {
        all[usize::try_from(self.below(all.len() as u64)).unwrap()].clone()
    }

    fn shuffle<T>(&mut self, all: &mut [T]) {
        for place in (1..all.len()).rev() {
            all.swap(place, usize::try_from(self.below(place as u64 + 1)).unwrap());
        }
    }
}

fn named(rules: Vec<Rule>) -> Vec<Policy> {
    rules.into_iter().enumerate().map(|(number, rule)| Policy::new(&format!("p{number}"), rule)).collect()
}

fn condition(error_mode: ErrorMode, text: &str) -> Rule {
    Rule::OttlCondition { error_mode, span: vec![text.to_string()], spanevent: Vec::new() }
}

/// Fails on spans with a list, and holds for those of that name.
const FAILS: &str = r#"attributes["list"][9] == 1"#;

/// Every kind of policy whose outcome does not depend on the order of a trace's spans.
fn every_kind() -> Vec<Rule> {
    let key = || "k".to_string();
    let text = |values: &[&str], regex, invert| {
        let values = values.iter().map(|value| (*value).to_string()).collect();
        Rule::StringAttribute { key: key(), values, regex, invert }
    };
    let errors = || Rule::StatusCode { ok: false, error: true, unset: false };
    let spans = |min, max| Rule::SpanCount { min, max };
    let latency = |threshold_ms| Rule::Latency { threshold_ms, upper_threshold_ms: 0 };
    let mut kinds = vec![
        latency(5),
        latency(40),
        errors(),
        text(&["v"], false, false),
        text(&["v", "w"], false, true),
        text(&["^w.*$"], true, false),
        Rule::NumericAttribute { key: key(), min: 1, max: 2, invert: false },
        Rule::BooleanAttribute { key: key(), value: true, invert: true },
        Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 10.0 },
        spans(2, 0),
        spans(1, 5),
        Rule::RateLimiting { spans_per_second: 5, burst_capacity: 0 },
        Rule::BytesLimiting { bytes_per_second: 300, burst_capacity: 0 },
        Rule::TraceState { key: "vendor".into(), values: vec!["v".into()] },
        Rule::TraceFlags,
        condition(ErrorMode::Ignore, r#"name == "GET""#),
        condition(ErrorMode::Silent, FAILS),
        condition(ErrorMode::Propagate, r#"name == "PUT""#),
        condition(ErrorMode::Propagate, FAILS),
        Rule::And(named(vec![errors(), spans(2, 0), text(&["v"], false, true)])),
        Rule::Not(Box::new(Policy::new("p", Rule::And(named(vec![errors(), spans(2, 0)]))))),
        Rule::Any(named(vec![errors(), spans(4, 0)])),
        Rule::Composite {
            spans_per_second_max: 9,
            policies: named(vec![spans(2, 0), errors()]).into_iter().map(|policy| (policy, 3)).collect(),
        },
        Rule::Drop(named(vec![errors(), spans(12, 0)])),
        Rule::AlwaysSample,
    ];
    // Leaves past the first word, and a pair in it.
    kinds.extend((0..60).map(|number| Rule::NumericAttribute { key: key(), min: number, max: number, invert: false }));
    kinds.push(condition(ErrorMode::Propagate, FAILS));
    kinds.push(condition(ErrorMode::Propagate, r#"name == "GET""#));
    kinds
}

fn relative() -> Rule {
    Rule::RelativeLatency { quantile: 0.9, by: vec!["service".into()], at_least_ms: 1, traces_min: 1 }
}

fn collectors() -> Rules {
    let policies = named(every_kind());
    Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap()
}

fn rule(name: &str, when: Vec<Rule>, sampler: Sampler) -> NativeRule {
    let (name, when) = (name.to_string(), named(when));
    NativeRule { name, line: 0, when, sampler, budget_minimum_per_second: 0, is_shadow: false }
}

fn compiled(rules: Vec<NativeRule>) -> Rules {
    let sampling = Sampling { rules, budget_spans_per_second: 50, ..Sampling::collector_default() };
    Rules::compile(&Sampling { thresholds: Thresholds::Otep235, ..sampling }).unwrap()
}

/// Our own rules, with keys, limits and what senders have sampled.
fn own() -> Rules {
    let by = |name: &str| LimitTerms { amount: Amount::SpansPerSecond(5), by: vec![name.to_string()] };
    let limited = |sampler, name| Sampler::Limited { sampler: Box::new(sampler), limit: by(name) };
    let errors = Rule::StatusCode { ok: false, error: true, unset: false };
    let parent = Sampler::ParentThreshold(Box::new(limited(Sampler::Probability(0.5), "service")));
    let inner = vec![rule("inner", vec![errors], Sampler::AlwaysOn), rule("rest", Vec::new(), limited(parent, "k"))];
    let any = Sampler::AnyOf(vec![Sampler::RuleBased(inner), Sampler::Probability(0.25)]);
    let annotating = Sampler::Annotating { attributes: vec![("a".into(), "b".into())], sampler: Box::new(any) };
    let mut rules: Vec<NativeRule> = every_kind()
        .into_iter()
        .enumerate()
        .filter(|(_, rule)| !matches!(rule, Rule::RateLimiting { .. } | Rule::BytesLimiting { .. } | Rule::Drop(_)))
        .filter(|(_, rule)| !matches!(rule, Rule::Composite { .. } | Rule::Probabilistic { .. } | Rule::AlwaysSample))
        .map(|(number, condition)| {
            let when = vec![condition, Rule::SpanCount { min: i32::try_from(number % 7).unwrap(), max: 0 }];
            rule(&format!("r{number}"), when, limited(Sampler::Probability(0.5), "service"))
        })
        .collect();
    rules.insert(2, rule("slow", vec![relative()], Sampler::AlwaysOn));
    rules.insert(3, rule("annotating", vec![Rule::SpanCount { min: 3, max: 0 }], annotating));
    compiled(rules)
}

fn attribute(key: &str, value: Value) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..KeyValue::default() }
}

fn text(value: &str) -> Value {
    Value::StringValue(value.into())
}

/// A span and the resource around it. The root says no threshold: keys are those of the lowest, in which it is then.
fn any_span(dice: &mut Dice, trace_id: TraceId, is_root: bool) -> (Vec<KeyValue>, Span) {
    let list = Value::ArrayValue(ArrayValue::default());
    let number = i64::try_from(dice.below(70)).unwrap();
    let values = [text("v"), text("w"), text("x"), Value::IntValue(number), Value::BoolValue(true)];
    let mut attributes = Vec::new();
    if dice.below(2) == 0 {
        attributes.push(attribute("k", dice.one_of(&values)));
    }
    if dice.below(6) == 0 {
        attributes.push(attribute("list", list));
    }
    let digits = dice.one_of(&["0", "1", "2", "3", "4", "5", "6", "7", "8", "8", "a", "c", "c", "e", "f", "fc"]);
    let ot = match dice.below(if is_root { 1 } else { 5 }) {
        0 => String::new(),
        1 => format!("ot=rv:{:014x},", dice.below(1 << 31) << 25),
        _ => format!("ot=th:{digits},"),
    };
    let start_unix_nano = 1_000_000_000 + dice.below(50) * 1_000_000;
    let span = Span {
        trace_id: trace_id.to_vec(),
        span_id: vec![1; 8],
        parent_span_id: if is_root { Vec::new() } else { vec![2; 8] },
        name: dice.one_of(&["GET", "PUT", "POST", "HEAD", "LIST"]).into(),
        trace_state: format!("{ot}vendor={}", dice.one_of(&["v", "w", "x"])),
        flags: u32::try_from(dice.below(4)).unwrap(),
        attributes,
        start_time_unix_nano: start_unix_nano,
        end_time_unix_nano: start_unix_nano + dice.below(30) * 1_000_000,
        status: Some(Status { code: i32::try_from(dice.below(12) / 5).unwrap(), ..Status::default() }),
        ..Span::default()
    };
    (vec![attribute("service", text(dice.one_of(&["cart", "shop", "pay"])))], span)
}

/// Spans as intake hands them on: each with its leaves and what its tracestate says.
fn scanned(rules: &Rules, spans: Vec<(Vec<KeyValue>, Span)>) -> SpanBatch {
    let around = |(attributes, span)| ResourceSpans {
        resource: Some(Resource { attributes, ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    let request = ExportTraceServiceRequest { resource_spans: spans.into_iter().map(around).collect() };
    let mut intake = Intake::new(Route::new([1, 2, 3, 4], 1), 1 << 20, rules);
    let mut batches = intake.scan(&Bytes::from(request.encode_to_vec()), rules).unwrap().batches;
    batches.pop().unwrap().1
}

/// What is gathered of the spans with these numbers, in this order.
fn gathered(rules: &Rules, batch: &SpanBatch, numbers: &[usize]) -> Gathered {
    let words = rules.leaf_words() - 1;
    let mut gathered = Gathered::new(rules);
    for number in numbers {
        let record = &batch.spans[*number];
        let said = (record.head as usize).checked_sub(1).map(|place| &batch.heads[place]);
        gathered.absorb(rules, record, &batch.leaves_more[number * words..(number + 1) * words], said);
    }
    gathered
}

fn merged<'a>(rules: &Rules, pieces: impl IntoIterator<Item = &'a Gathered>) -> Gathered {
    let mut all = Gathered::new(rules);
    pieces.into_iter().for_each(|piece| all.merge(rules, piece));
    all
}

/// All that a verdict can see, and what it is.
#[derive(Debug, PartialEq)]
struct Seen {
    seen: Summary,
    size: Size,
    more: Box<[u64]>,
    rows: Vec<Row>,
    /// Randomness, lowest threshold, spans at any randomness.
    said: [Option<u64>; 3],
    ballot: Ballot,
}

fn seen(rules: &Rules, id: &TraceId, mut all: Gathered) -> Seen {
    all.settle(rules, id);
    let rows = all.rows(rules, id);
    let head = all.head.clone().unwrap_or_default();
    let said = [head.randomness, head.lowest(id), head.least_size(id).map(|size| u64::from(size.spans))];
    let (evidence, now) = (all.evidence(id), Nanos::default());
    let mut limits = Limits::new(rules.limits(), 0, 1, now);
    let mut counts = vec![PolicyCounts::default(); rules.policy_names().len()];
    let ballot = if rules.is_by_randomness() {
        let own = head.randomness.unwrap_or(1 << 55);
        rules.judge_randomness(&evidence, &rows, own, limits.view(rules.generation(), false), &mut counts)
    } else {
        rules.judge_arrival(&evidence, &mut limits.view_mut(rules.generation(), false), now, &mut counts)
    };
    Seen { seen: all.seen, size: all.size, more: all.more, rows, said, ballot }
}

/// Fails without the last `fold`, the `coarse` or the `has_threshold` of `TraceHead::merge`.
#[test]
fn pieces_merged_in_any_order_are_the_whole() {
    let (mut with_rows, mut kept, mut folded) = (0, 0, 0);
    for (seed, rules) in [(1, collectors()), (2, own())] {
        let mut dice = Dice(seed);
        for _ in 0..TRACES {
            let id: TraceId = std::array::from_fn(|_| u8::try_from(dice.below(256)).unwrap());
            let count = 1 + dice.one_of(&[1, 3, 8, 24]);
            let batch = scanned(&rules, (0..count).map(|number| any_span(&mut dice, id, number == 0)).collect());
            let mut order: Vec<usize> = (0..count).collect();
            dice.shuffle(&mut order);
            let whole = gathered(&rules, &batch, &order);
            let mut numbers = vec![Vec::new(); 4];
            order.iter().for_each(|number| numbers[usize::try_from(dice.below(4)).unwrap()].push(*number));
            let mut pieces: Vec<Gathered> = numbers.iter().map(|numbers| gathered(&rules, &batch, numbers)).collect();
            let first = merged(&rules, &pieces);
            let whole_seen = seen(&rules, &id, whole);
            assert_eq!(seen(&rules, &id, first.clone()), whole_seen, "{numbers:?}");
            with_rows += usize::from(!whole_seen.rows.is_empty());
            folded += usize::from(first.head.as_ref().is_some_and(|head| head.is_folded()));
            kept += usize::from(whole_seen.ballot.policy.is_some());
            for _ in 0..4 {
                dice.shuffle(&mut pieces);
                assert_eq!(merged(&rules, &pieces), first, "in another order");
                let (left, right) = pieces.split_at(2);
                let halves = [merged(&rules, left), merged(&rules, right)];
                assert_eq!(merged(&rules, &halves), first, "of those merged before");
            }
            let mut twice = first.clone();
            pieces.iter().for_each(|piece| twice.merge(&rules, piece));
            assert_eq!((twice.seen, &twice.more), (first.seen, &first.more), "what is told twice counts once");
            assert_eq!(twice.size.spans, 2 * first.size.spans, "but for sizes, which add up");
        }
    }
    assert!(with_rows > TRACES / 4 && folded > 20 && kept > TRACES / 4, "{with_rows} {folded} {kept}");
}

const TRACES: usize = 1500;

/// Where this number changes and the spans of this file do not, a leaf has another number or holds for other spans:
/// `LEAF_LAYOUT` of `rules/fingerprint.rs` is to be raised then, and the number written anew.
#[test]
fn leaves_are_numbered_as_the_layout_says() {
    let mut words = Vec::new();
    for rules in [collectors(), own()] {
        let mut dice = Dice(3);
        for _ in 0..50 {
            let batch = scanned(&rules, (0..8).map(|number| any_span(&mut dice, [7; 16], number == 0)).collect());
            let all = gathered(&rules, &batch, &[0, 1, 2, 3, 4, 5, 6, 7]);
            words.push(all.seen.leaves);
            words.extend(&all.more);
        }
    }
    let bytes: Vec<u8> = words.iter().flat_map(|word| word.to_le_bytes()).collect();
    assert_eq!(twox_hash::XxHash3_64::oneshot(&bytes), 4_033_390_379_588_064_275);
}

/// A span with a duration in milliseconds and no more.
fn timed(start_ms: u64, end_ms: u64, service: &str) -> (Vec<KeyValue>, Span) {
    let span = Span {
        trace_id: vec![1; 16],
        span_id: vec![1; 8],
        parent_span_id: vec![2; 8],
        start_time_unix_nano: start_ms * 1_000_000,
        end_time_unix_nano: end_ms * 1_000_000,
        ..Span::default()
    };
    (vec![attribute("service", text(service))], span)
}

fn rules_of(rule: Rule) -> Rules {
    Rules::compile(&Sampling { policies: named(vec![rule]), ..Sampling::collector_default() }).unwrap()
}

fn settled(rules: &Rules, mut all: Gathered) -> Gathered {
    all.settle(rules, &[1; 16]);
    all
}

#[test]
fn a_start_of_0_is_none_where_pieces_are_merged() {
    let rules = rules_of(Rule::AlwaysSample);
    let batch = scanned(&rules, vec![timed(5, 9, "a"), timed(0, 9, "a"), timed(7, 9, "a")]);
    let start = |all: &Gathered| all.seen.start_unix_nano / 1_000_000;
    let alone: Vec<Gathered> = (0..3).map(|number| gathered(&rules, &batch, &[number])).collect();
    assert_eq!(start(&merged(&rules, &alone)), 5);
    assert_eq!(start(&gathered(&rules, &batch, &[0, 1, 2])), 7, "in one place it gives way to what comes next");
    assert_eq!(start(&gathered(&rules, &batch, &[0, 2, 1])), 0);
    assert_eq!(start(&merged(&rules, &alone[1..2])), 0, "where there is no other");
}

#[test]
fn a_latency_below_a_bound_is_that_of_pieces_and_of_the_whole() {
    let rules = rules_of(Rule::Latency { threshold_ms: 5, upper_threshold_ms: 9 });
    let batch = scanned(&rules, vec![timed(10, 13, "a"), timed(14, 17, "a"), timed(14, 40, "a")]);
    let holds = |all: Gathered| settled(&rules, all).seen.leaves == 1;
    let alone: Vec<Gathered> = (0..3).map(|number| gathered(&rules, &batch, &[number])).collect();
    assert!(holds(gathered(&rules, &batch, &[0, 1, 2])), "the first two make 7 ms");
    assert!(!holds(gathered(&rules, &batch, &[2, 1, 0])));
    for order in [[0, 1, 2], [2, 1, 0]] {
        assert!(!holds(merged(&rules, order.map(|number| &alone[number]))), "no piece and not the whole");
    }
    assert!(holds(merged(&rules, &alone[..2])), "of two pieces it is the whole");
    assert!(holds(merged(&rules, [&gathered(&rules, &batch, &[0, 1]), &alone[2]])), "it was so in a piece");
}

#[test]
fn a_match_outdoes_a_failure_where_nobody_knows_which_came_first() {
    let rules = rules_of(condition(ErrorMode::Propagate, r#"name == "GET" or attributes["list"][9] == 1"#));
    let (resource, span) = timed(1, 2, "a");
    let holding = Span { name: "GET".into(), ..span.clone() };
    let list = Value::ArrayValue(ArrayValue::default());
    let failing = Span { attributes: vec![attribute("list", list)], ..span };
    let batch = scanned(&rules, vec![(resource.clone(), holding), (resource, failing)]);
    let [matched, failed] = [0, 1].map(|number| gathered(&rules, &batch, &[number]));
    assert_eq!((matched.seen.leaves, failed.seen.leaves), (1, 2));
    assert_eq!(gathered(&rules, &batch, &[0, 1]).seen.leaves, 1);
    assert_eq!(gathered(&rules, &batch, &[1, 0]).seen.leaves, 2, "in one place the first counts");
    assert_eq!(merged(&rules, [&matched, &failed]).seen.leaves, 1);
    assert_eq!(merged(&rules, [&failed, &matched]).seen.leaves, 1);
    assert_eq!(merged(&rules, [&failed, &failed]).seen.leaves, 2);
}

#[test]
fn keys_are_of_the_root_else_of_the_piece_that_starts_first() {
    let rules = compiled(vec![rule("slow", vec![relative()], Sampler::AlwaysOn)]);
    let root = |(resource, span): (Vec<KeyValue>, Span)| (resource, Span { parent_span_id: Vec::new(), ..span });
    let spans = vec![timed(7, 9, "late"), timed(5, 9, "early"), root(timed(8, 9, "root")), root(timed(1, 9, "second"))];
    let batch = scanned(&rules, spans);
    let key = |all: &Gathered| all.more[0];
    let alone: Vec<Gathered> = (0..4).map(|number| gathered(&rules, &batch, &[number])).collect();
    let of = |numbers: &[usize]| key(&merged(&rules, numbers.iter().map(|number| &alone[*number])));
    assert_eq!((of(&[0, 1]), of(&[1, 0])), (key(&alone[1]), key(&alone[1])));
    assert_eq!(
        key(&gathered(&rules, &batch, &[0, 1])),
        key(&alone[0]),
        "in one place those of the span that came first"
    );
    assert_eq!((of(&[1, 2, 0]), of(&[2, 1, 0])), (key(&alone[2]), key(&alone[2])));
    let least = key(&alone[2]).min(key(&alone[3]));
    assert_eq!((of(&[2, 3, 1]), of(&[3, 1, 2])), (least, least), "of two roots the least");
    assert_eq!(key(&gathered(&rules, &batch, &[2, 3])), key(&alone[2]), "in one place the first of them");
}
