//! tailwater keeps what the Collector keeps, without a Collector: recorded scenarios are replayed through the engine, and
//! the cases by hand are what its own unit tests expect. `scripts/conformance` compares with the Collector itself.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]
#![allow(clippy::panic, reason = "a test fails by panicking, also in its helpers")]

mod cluster;
mod configuration;
mod limits;
mod recorded;
mod refusals;
mod span_metrics;

use tailwater_tests::conformance::{Scenario, cases, difference, engine, from_hexadecimal, hexadecimal, scenario};

/// Node sizes that scenarios are played with.
const SHARDS: [u16; 2] = [1, 3];

/// Plays a scenario on nodes of several sizes and says what is different from `kept`.
fn differences(scenario: &Scenario, kept: &[tailwater_tests::conformance::KeptSpan]) -> Vec<String> {
    let mut lines = Vec::new();
    for shards in SHARDS {
        let ours = engine::play(scenario, shards).unwrap_or_else(|error| panic!("{}: {error}", scenario.name));
        lines.extend(
            difference(kept, &ours).into_iter().map(|line| format!("{}, {shards} shards: {line}", scenario.name)),
        );
    }
    lines
}

#[test]
fn cases_by_hand_come_out_as_expected() {
    let cases = cases::cases();
    let lines: Vec<String> = cases.iter().flat_map(|case| differences(&case.scenario, &case.kept)).collect();
    assert!(lines.is_empty(), "{} lines:\n{}", lines.len(), lines.join("\n"));
    assert!(cases.len() >= 180, "{}", cases.len());
}

#[test]
fn a_difference_is_found() {
    let sent = (1..).map(scenario).find(|scenario| engine::play(scenario, 1).is_ok_and(|kept| kept.len() > 3)).unwrap();
    let kept = engine::play(&sent, 1).unwrap();
    assert!(difference(&kept, &kept).is_empty());
    let mut changed = kept.clone();
    changed[0].hash ^= 1;
    changed.pop();
    let lines = difference(&kept, &changed);
    assert_eq!(lines.len(), 3, "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("the Collector alone keeps")), "{lines:?}");
    assert!(lines.iter().any(|line| line.starts_with("tailwater sends another span")), "{lines:?}");
}

#[test]
fn a_seed_is_a_scenario() {
    assert_eq!(scenario(7), scenario(7));
    assert_ne!(scenario(7), scenario(8));
    let text = hexadecimal(&[0, 1, 0xfe]);
    assert_eq!((text.as_str(), from_hexadecimal(&text)), ("0001fe", Some(vec![0, 1, 0xfe])));
}
