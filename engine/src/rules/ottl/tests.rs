//! Conditions on built spans, as the Collector evaluates them.

mod fixture;

use super::*;
use crate::intake::Intake;
use crate::route::Route;
use crate::rules::Rules;
use bytes::Bytes;
use tailwater_config::sampling::{Policy, Rule, Sampling};

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

/// Where tailwater is stricter than the reference on purpose: such a condition would fail on every span, or name what
/// has no value here.
const REFUSED_HERE: &[&str] = &["IsRootSpan(1)", "Base64Encode(name, \"nope\") == \"\"", "trace_state[name] == \"\""];

#[test]
fn conditions_come_out_as_in_the_reference() {
    let (full, bare) = (fixture::full(), fixture::bare());
    let (mut rows, mut wrong) = (0, Vec::new());
    for line in include_str!("tests/conditions.txt").lines() {
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let [expected, request, context, condition] = line.splitn(4, ' ').collect::<Vec<_>>()[..] else { panic!() };
        rows += 1;
        let (span, event): (&[&str], &[&str]) =
            if context == "span" { (&[condition], &[]) } else { (&[], &[condition]) };
        let request = if request == "full" { &full } else { &bare };
        let found = match rules(span, event, ErrorMode::Propagate) {
            Ok(rules) => outcome(&rules, request),
            Err(_) => 'X',
        };
        let is_expected = match expected {
            // A crash is no outcome to follow.
            "P" => found == 'F' || found == 'E',
            _ if REFUSED_HERE.contains(&condition) => found == 'X',
            _ => expected == found.to_string(),
        };
        if !is_expected {
            wrong.push(format!("{condition}: {found}, expected {expected}"));
        }
    }
    assert!(wrong.is_empty(), "{} of {rows}:\n{}", wrong.len(), wrong.join("\n"));
    assert!(rows > 150);
}
