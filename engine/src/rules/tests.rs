//! Each policy's cases, from the behaviour of the Collector's processor: names follow the sections of its reference.

use super::compile::hash_max;
use super::limit::Limits;
use super::tree::{FNV_BASIS, fnv_1a};
use super::*;
use crate::evidence::{Size, Summary};
use crate::ledger::PolicyCounts;
use crate::vocabulary::{Nanos, Verdict};
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_proto::otlp::check::key_value;

fn policy(rule: Rule) -> Policy {
    Policy { line: 1, ..Policy::new("p", rule) }
}

fn sampling(policies: Vec<Policy>) -> Sampling {
    Sampling { policies, ..Sampling::collector_default() }
}

/// An attribute value in a test.
#[derive(Clone, Copy)]
enum V {
    S(&'static str),
    I(i64),
    B(bool),
    D(f64),
}

fn attribute(key: &str, value: V) -> Vec<u8> {
    let value = match value {
        V::S(text) => [&[0x0a, u8::try_from(text.len()).unwrap()], text.as_bytes()].concat(),
        V::I(number) => {
            let mut out = vec![0x18];
            tailwater_proto::otlp::wire::put_varint(&mut out, number.cast_unsigned());
            out
        }
        V::B(value) => vec![0x10, u8::from(value)],
        V::D(number) => [&[0x21][..], &number.to_le_bytes()].concat(),
    };
    let mut out = [&[0x0a, u8::try_from(key.len()).unwrap()], key.as_bytes()].concat();
    out.extend([0x12, u8::try_from(value.len()).unwrap()]);
    out.extend(value);
    out
}

/// A trace in a test: resource attributes, then spans of attributes.
struct Case {
    resource: Vec<(&'static str, V)>,
    spans: Vec<Vec<(&'static str, V)>>,
    status: StatusMask,
    id: TraceId,
}

use crate::vocabulary::TraceId;

fn case(resource: &[(&'static str, V)], spans: &[&[(&'static str, V)]]) -> Case {
    Case { resource: resource.to_vec(), spans: spans.iter().map(|s| s.to_vec()).collect(), status: 1, id: [1; 16] }
}

fn verdict(policies: Vec<Policy>, case: &Case) -> Verdict {
    judge(&Rules::compile(&sampling(policies)).unwrap(), case)
}

fn judge(rules: &Rules, case: &Case) -> Verdict {
    let mut all = vec![0; rules.leaf_words()];
    let mut resource = vec![0; rules.leaf_words()];
    let mut memory = rules.attributes().memory();
    for (key, value) in &case.resource {
        let bytes = attribute(key, *value);
        rules.attributes().visit(&key_value(&bytes).unwrap(), Site::Resource, &mut memory, &mut resource);
    }
    for span in &case.spans {
        let mut leaves = resource.clone();
        memory.clear();
        for (key, value) in span {
            let bytes = attribute(key, *value);
            rules.attributes().visit(&key_value(&bytes).unwrap(), Site::Span, &mut memory, &mut leaves);
        }
        all.iter_mut().zip(&leaves).for_each(|(all, leaf)| *all |= leaf);
    }
    let seen = Summary { leaves: all[0], status: case.status, ..Summary::default() };
    let size = Size { spans: u32::try_from(case.spans.len()).unwrap(), bytes: 0 };
    ballot(rules, &Evidence { trace_id: &case.id, seen: &seen, size, more: &all[1..], level: None }).verdict
}

fn ballot(rules: &Rules, evidence: &Evidence<'_>) -> Ballot {
    let mut limits = Limits::new(rules.limits(), 0, 1, Nanos::default());
    let mut counts = vec![PolicyCounts::default(); rules.policy_names().len()];
    rules.judge_arrival(evidence, &mut limits.view_mut(0, false), Nanos::default(), &mut counts)
}

fn samples(rule: Rule, case: &Case) -> bool {
    verdict(vec![policy(rule)], case) == Verdict::Keep(0)
}

fn string(values: &[&str], regex: bool, invert: bool) -> Rule {
    Rule::StringAttribute { key: "k".into(), values: values.iter().map(|v| (*v).into()).collect(), regex, invert }
}

#[test]
fn string_attribute_3_4() {
    let resource = case(&[("k", V::S("value"))], &[&[]]);
    let span = case(&[], &[&[("other", V::S("x"))], &[("k", V::S("value"))]]);
    let other = case(&[("k", V::S("no"))], &[&[("k", V::S("nor this"))]]);
    let absent = case(&[], &[&[("other", V::S("value"))]]);
    for (values, regex, matching) in [
        (&["value"][..], false, true),
        (&["first", "value"], false, true),
        (&["VALUE"], false, false),
        (&["val"], false, false),
        (&[""], false, false),
        (&[], false, false),
        (&["v[A-Za-z]*e"], true, true),
        (&["first", "^v.+$"], true, true),
        (&["alu"], true, true),
        (&["^alu"], true, false),
        (&[], true, false),
    ] {
        for trace in [&resource, &span] {
            assert_eq!(samples(string(values, regex, false), trace), matching, "{values:?}");
            assert_eq!(samples(string(values, regex, true), trace), !matching, "{values:?} inverted");
        }
        assert!(!samples(string(values, regex, false), &absent));
        assert!(samples(string(values, regex, true), &absent), "absent passes the inverted form");
    }
    assert!(!samples(string(&["value"], false, false), &other));
    assert!(samples(string(&["value"], false, true), &other));
}

#[test]
fn string_attribute_empty_values_differ_on_resource_and_span_3_4() {
    let empty_pattern = || string(&["^$"], true, false);
    assert!(!samples(empty_pattern(), &case(&[], &[&[("k", V::S(""))]])));
    assert!(!samples(empty_pattern(), &case(&[], &[&[("k", V::I(3))]])));
    assert!(samples(empty_pattern(), &case(&[("k", V::S(""))], &[&[]])));
    assert!(samples(empty_pattern(), &case(&[("k", V::I(3))], &[&[]])), "an integer reads as the empty text");
    assert!(!samples(string(&["3"], false, false), &case(&[], &[&[("k", V::I(3))]])));
}

#[test]
fn the_first_of_duplicate_keys_counts_3() {
    let trace = case(&[], &[&[("k", V::S("first")), ("k", V::S("second"))]]);
    assert!(samples(string(&["first"], false, false), &trace));
    assert!(!samples(string(&["second"], false, false), &trace));
}

#[test]
fn numeric_attribute_3_5() {
    let rule = |min, max, invert| Rule::NumericAttribute { key: "k".into(), min, max, invert };
    let at = |value| case(&[], &[&[("k", value)]]);
    for (value, matching) in [(V::I(49), false), (V::I(50), true), (V::I(60), true), (V::I(61), false)] {
        assert_eq!(samples(rule(50, 60, false), &at(value)), matching);
        assert_eq!(samples(rule(50, 60, true), &at(value)), !matching);
    }
    assert!(samples(rule(i64::MIN, 60, false), &at(V::I(-5))));
    assert!(samples(rule(50, i64::MAX, false), &at(V::I(i64::MAX))));
    assert!(samples(rule(-1, 1, false), &at(V::S("seven"))), "other types read as 0");
    assert!(samples(rule(-1, 1, false), &at(V::D(55.0))));
    assert!(!samples(rule(50, 60, false), &case(&[], &[&[]])));
    assert!(samples(rule(50, 60, true), &case(&[], &[&[]])));
    assert!(samples(rule(50, 60, false), &case(&[("k", V::I(55))], &[&[]])));
    assert!(!samples(rule(50, 60, true), &case(&[("k", V::I(55))], &[&[("k", V::I(1))]])));
}

#[test]
fn boolean_attribute_3_6() {
    let rule = |value, invert| Rule::BooleanAttribute { key: "k".into(), value, invert };
    let at = |value| case(&[], &[&[("k", value)]]);
    for (value, wanted, matching) in [(true, true, true), (true, false, false), (false, false, true)] {
        assert_eq!(samples(rule(wanted, false), &at(V::B(value))), matching);
        assert_eq!(samples(rule(wanted, true), &at(V::B(value))), !matching);
    }
    assert!(samples(rule(false, false), &at(V::S("true"))), "other types read as false");
    assert!(!samples(rule(true, false), &at(V::S("true"))));
    assert!(!samples(rule(false, false), &case(&[], &[&[]])));
    assert!(samples(rule(false, true), &case(&[], &[&[]])));
}

#[test]
fn status_code_3_3() {
    let rule = |ok, error, unset| Rule::StatusCode { ok, error, unset };
    let with = |codes: &[u64]| Case { status: codes.iter().fold(0, |m, c| m | status_bit(*c)), ..case(&[], &[&[]]) };
    assert!(samples(rule(false, true, false), &with(&[0, 2])));
    assert!(!samples(rule(false, true, false), &with(&[0, 1])));
    assert!(samples(rule(false, false, true), &with(&[0])));
    assert!(samples(rule(true, true, false), &with(&[1])));
    assert!(!samples(rule(true, true, true), &with(&[7])), "an unknown code is none of them");
}

#[test]
fn latency_3_2_bounds() {
    let leaf = |threshold_ms, upper_threshold_ms| LatencyLeaf { leaf: 0, threshold_ms, upper_threshold_ms };
    let ms = |nanos: u64| duration_ms(1_000_000_000, 1_000_000_000 + nanos);
    assert!(!leaf(5000, 0).holds(ms(5_000_999_999)), "the lower bound is exclusive, in whole milliseconds");
    assert!(leaf(5000, 0).holds(ms(5_001_000_000)));
    assert!(!leaf(0, 0).holds(ms(999_999)));
    assert!(leaf(100, 200).holds(200) && !leaf(100, 200).holds(201) && !leaf(100, 200).holds(100));
    assert!(!leaf(1, -1).holds(5), "a negative upper bound never holds");
    assert_eq!(duration_ms(1_400_000, 1_000_000), 0, "-0.4 ms truncates toward zero");
    assert_eq!(duration_ms(u64::MAX, 0), 0, "times are signed: -1 ns to 0");
    assert_eq!(duration_ms(1 << 63, (1 << 63) - 1), i64::MAX / 1_000_000, "the difference saturates");
}

#[test]
fn probabilistic_3_7_thresholds() {
    for (percentage, threshold) in [
        (-50.0, 0),
        (0.0, 0),
        (0.001, 0x0000_a7c5_ac47_1b47),
        (0.1, 0x0041_8937_4bc6_a7ef),
        (1.0, 0x028f_5c28_f5c2_8f5f),
        (5.0, 0x0ccc_cccc_cccc_ccff),
        (10.0, 0x1999_9999_9999_99ff),
        (25.0, 0x3fff_ffff_ffff_ffff),
        (33.0, 0x547a_e147_ae14_7bff),
        (50.0, 0x7fff_ffff_ffff_ffff),
        (75.0, 0xbfff_ffff_ffff_ffff),
        (99.9, 0xffbe_76c8_b439_5fff),
        (100.0, u64::MAX),
        (150.0, u64::MAX),
        (f64::NAN, 0),
        (1e-300, 0),
    ] {
        assert_eq!(hash_max(percentage), threshold, "{percentage} %");
    }
}

#[test]
fn probabilistic_3_7_hashes() {
    assert_eq!(fnv_1a(FNV_BASIS, b"foobar"), 0x8594_4171_f739_67e8);
    let cases: [(u128, u64, u64); 5] = [
        (0, 0xe195_36ee_d1bb_ac3d, 0x8149_711e_6987_5cc0),
        (0x0102_0304_0506_0708_090a_0b0c_0d0e_0f10, 0xdbcf_64d5_420f_4cad, 0x08ee_52de_da92_3930),
        (0x4bf9_2f35_77b3_4da6_a3ce_929d_0e0e_4736, 0xa545_33ba_2e49_70b5, 0xabb7_bd9f_983c_d93c),
        (0x5296_9a89_5557_1a3f, 0x7728_3e41_55b1_a1f3, 0x7cfa_57d5_f574_3896),
        (u128::MAX, 0x17be_c373_9634_fe2d, 0x49f7_0bce_2849_74b0),
    ];
    for (id, plain, salted) in cases {
        assert_eq!(fnv_1a(fnv_1a(FNV_BASIS, b"default-hash-seed"), &id.to_be_bytes()), plain);
        assert_eq!(fnv_1a(fnv_1a(FNV_BASIS, b"test-salt"), &id.to_be_bytes()), salted);
    }
    let rule =
        |hash_salt: &str, sampling_percentage| Rule::Probabilistic { hash_salt: hash_salt.into(), sampling_percentage };
    let ones = Case { id: [0xff; 16], ..case(&[], &[&[]]) };
    assert!(samples(rule("", 9.29), &ones) && !samples(rule("", 9.27), &ones));
    assert!(samples(rule("test-salt", 28.9), &ones) && !samples(rule("test-salt", 28.8), &ones));
}

#[test]
fn span_count_3_9() {
    let spans = |count| case(&[], &vec![&[][..]; count]);
    let rule = |min, max| Rule::SpanCount { min, max };
    assert!(!samples(rule(3, 0), &spans(2)) && samples(rule(3, 0), &spans(3)));
    assert!(samples(rule(2, 3), &spans(3)) && !samples(rule(2, 3), &spans(4)) && !samples(rule(2, 3), &spans(1)));
    assert!(samples(rule(0, 2), &spans(1)));
}

#[test]
fn and_drop_not_3_12_and_precedence_2_4() {
    let trace = case(&[], &[&[("k", V::S("value"))]]);
    let yes = || policy(Rule::AlwaysSample);
    let no = || policy(string(&["other"], false, false));
    let (and, drop) = (|parts| policy(Rule::And(parts)), |parts| policy(Rule::Drop(parts)));
    let not = |part| policy(Rule::Not(Box::new(part)));
    assert_eq!(verdict(vec![and(vec![yes(), yes()])], &trace), Verdict::Keep(0));
    assert_eq!(verdict(vec![and(vec![yes(), no()])], &trace), Verdict::Drop);
    assert_eq!(verdict(vec![and(vec![])], &trace), Verdict::Keep(0), "an empty list samples");
    assert_eq!(verdict(vec![not(no())], &trace), Verdict::Keep(0));
    assert_eq!(verdict(vec![not(yes())], &trace), Verdict::Drop);
    assert_eq!(verdict(vec![yes(), drop(vec![yes()])], &trace), Verdict::Drop, "drop wins, wherever it stands");
    assert_eq!(verdict(vec![yes(), drop(vec![no()])], &trace), Verdict::Keep(0));
    assert_eq!(verdict(vec![yes(), drop(vec![])], &trace), Verdict::Drop, "an empty drop list drops everything");
    assert_eq!(verdict(vec![no(), no(), yes(), yes()], &trace), Verdict::Keep(2), "the first that samples is named");
    assert_eq!(verdict(vec![], &trace), Verdict::Drop, "no policy keeps nothing");
}

#[test]
fn first_match_stops_the_count() {
    let mut section = sampling(vec![policy(Rule::AlwaysSample), policy(Rule::AlwaysSample)]);
    for (first_match, second_votes) in [(false, 1), (true, 0)] {
        section.sample_on_first_match = first_match;
        let rules = Rules::compile(&section).unwrap();
        let mut counts = vec![PolicyCounts::default(); 2];
        let seen = Summary { status: 1, ..Summary::default() };
        let mut limits = Limits::new(rules.limits(), 0, 1, Nanos::default());
        let evidence =
            Evidence { trace_id: &[1; 16], seen: &seen, size: Size { spans: 1, bytes: 0 }, more: &[], level: None };
        rules.judge_arrival(&evidence, &mut limits.view_mut(0, false), Nanos::default(), &mut counts);
        assert_eq!((counts[0].decided, counts[1].matched), (1, second_votes));
    }
}

#[test]
fn equal_conditions_are_one_leaf_and_many_leaves_fit() {
    let rules = Rules::compile(&sampling(vec![policy(string(&["a"], false, false)); 100])).unwrap();
    assert_eq!(rules.leaf_words(), 1);
    let keyed = |number: usize| {
        policy(Rule::StringAttribute {
            key: format!("k{number}"),
            values: vec!["v".into()],
            regex: false,
            invert: false,
        })
    };
    let rules = Rules::compile(&sampling((0..200).map(keyed).collect())).unwrap();
    assert_eq!(rules.leaf_words(), 4);
    assert_eq!(judge(&rules, &case(&[], &[&[("k7", V::S("v"))]])), Verdict::Keep(7));
    assert_eq!(judge(&rules, &case(&[], &[&[("k199", V::S("v"))]])), Verdict::Keep(199));
    assert_eq!(judge(&rules, &case(&[], &[&[("k200", V::S("v"))]])), Verdict::Drop);
}

#[test]
fn a_bad_pattern_names_policy_and_line() {
    let error = Rules::compile(&sampling(vec![policy(string(&["ok", "["], true, false))])).unwrap_err();
    assert!(error.to_string().starts_with("line 1: policy \"p\": invalid regular expression \"[\""), "{error}");
}
