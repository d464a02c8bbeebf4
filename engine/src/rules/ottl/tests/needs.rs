//! Policies that are passed over because a span has not what they need come to what they would have come to.

use super::{Intake, Route, Rules, fixture};
use bytes::Bytes;
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling};
use tailwater_ottl::{Context, Needs, parse};

/// The conditions on spans of the table that are read, and some that the table has no need of.
fn conditions() -> Vec<String> {
    let lines = include_str!("../../../../../ottl/src/tests/conditions.txt")
        .lines()
        .filter(|line| !line.starts_with('#') && !line.is_empty());
    let more = [
        r#"attributes["absent"] == "x""#,
        r#"attributes["absent"] > 7"#,
        r#"resource.attributes["absent"] == 1 and attributes["list"][9] == 1"#,
        r#"attributes["list"][9] == 1 and attributes["absent"] == "x""#,
        r#"attributes["http.status_code"] > 600"#,
        r#"attributes["http.status_code"] < 503 or attributes["http.method"] == "POST""#,
        r#"IsMatch(attributes["absent"], ".*")"#,
        r#"attributes["absent"] == attributes["other.absent"]"#,
        r#"attributes["ratio"] > 0 and kind == SPAN_KIND_SERVER"#,
        r#"HasPrefix(name, "GET")"#,
        r#"HasSuffix(name, "no such end") and attributes["list"][9] == 1"#,
    ];
    lines
        .map(|line| line.splitn(4, ' ').collect::<Vec<_>>())
        .filter(|parts| parts[2] == "span" && parse(parts[3], Context::Span).is_ok())
        .map(|parts| parts[3].to_string())
        .chain(more.map(str::to_string))
        .collect()
}

/// A number below `below`, from a sequence that `state` stands in.
fn drawn(state: &mut u64, below: usize) -> usize {
    *state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
    usize::try_from(*state >> 33).unwrap() % below
}

fn policies(state: &mut u64, conditions: &[String]) -> Vec<Policy> {
    let one = |state: &mut u64| &conditions[drawn(state, conditions.len())];
    let modes = [ErrorMode::Propagate, ErrorMode::Ignore, ErrorMode::Silent];
    let mut policy = |number: usize| {
        let (a, b, c) = (one(state), one(state), one(state));
        let span = match drawn(state, 7) {
            0 => vec![a.clone()],
            1 => vec![a.clone(), b.clone()],
            2 => vec![format!("({a}) and ({b})")],
            3 => vec![format!("({a}) or ({b})")],
            4 => vec![format!("({a}) and (({b}) or ({c}))")],
            5 => vec![format!("not ({a}) and ({b})"), c.clone()],
            _ => vec![format!("(({a}) and ({b})) or (({b}) and ({c}))")],
        };
        let rule = Rule::OttlCondition { error_mode: modes[drawn(state, 3)], span, spanevent: vec![] };
        Policy::new(&format!("p{number}"), rule)
    };
    (0..10).map(&mut policy).collect()
}

#[test]
fn what_is_passed_over_would_not_have_held_or_failed() {
    let conditions = conditions();
    let requests = [Bytes::from(fixture::full()), Bytes::from(fixture::bare())];
    let mut state = 7;
    let (mut passed_over, mut evaluated) = (0, 0);
    for _ in 0..1_500 {
        let policies = policies(&mut state, &conditions);
        let mut rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
        let seen = |rules: &Rules| {
            let mut intake = Intake::new(Route::new([0; 4], 1), 1 << 20, rules);
            requests.each_ref().map(|request| {
                let scanned = intake.scan(request, rules).unwrap();
                (scanned.batches[0].1.spans[0].leaves, scanned.condition_failures)
            })
        };
        let with = seen(&rules);
        for needs in &mut rules.ottl.needs {
            let needs = std::mem::replace(needs, Needs::NONE);
            // The bare span has no attributes, so that nothing is met.
            if needs.are_met(0) { evaluated += 1 } else { passed_over += 1 }
        }
        assert_eq!(with, seen(&rules), "{:?}", rules.ottl);
    }
    assert!(passed_over > 1_500 && evaluated > 5_000, "{passed_over} {evaluated}");
}

#[test]
fn what_a_condition_needs_is_found() {
    let is_passed_over = |condition: &str| {
        let rule = Rule::OttlCondition {
            error_mode: ErrorMode::Propagate,
            span: vec![condition.to_string()],
            spanevent: vec![],
        };
        let policies = vec![Policy::new("p", rule)];
        let rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
        !rules.ottl.needs[0].are_met(0)
    };
    for condition in [
        r#"attributes["a"] == "x""#,
        r#"resource.attributes["a"] >= 5"#,
        r#"attributes["a"] == true or attributes["b"] != nil"#,
        r#"kind == SPAN_KIND_SERVER and attributes["a"] >= 5"#,
        r#"IsMatch(attributes["a"], "x")"#,
        r#"attributes["a"] > 5.5"#,
        r#"name == "n" and (attributes["a"] == 1 or attributes["b"] == "x")"#,
        r#"not (attributes["a"] != "x")"#,
    ] {
        assert!(is_passed_over(condition), "{condition}");
    }
    for condition in [
        r#"attributes["a"] != "x""#,
        r#"attributes["a"] != 5"#,
        r#"attributes["a"] == nil"#,
        r#"not (attributes["a"] == "x")"#,
        r#"attributes["a"] == attributes["b"]"#,
        // An error where there is nothing.
        r#"Len(attributes["a"]) > 5"#,
        r#"attributes["a"] == "x" or kind == SPAN_KIND_SERVER"#,
        // Whether the first part fails depends on the span.
        r#"Substring(name, 0, 3) == "GET" and attributes["a"] == "x""#,
        r#"attributes[name] == "x""#,
        r#"span.name == "x""#,
    ] {
        assert!(!is_passed_over(condition), "{condition}");
    }
}
