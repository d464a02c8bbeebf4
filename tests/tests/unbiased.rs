//! Adjusted counts add up, by service and route, whatever policy kept the traces, whatever their senders sampled before,
//! and however many shards divide them. `TAILWATER_UNBIASED_TRACES` sets the traces of each trial: with 1,000,000 the
//! bound is half a percent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "the length of the test comes from the environment")]

use std::time::Duration;
use tailwater_config::sampling::{Sampling, Thresholds};
use tailwater_config::{Inputs, load};
use tailwater_dial::{Dial, Lever, Machine, Plan, Reading, Signal, Trigger};
use tailwater_engine::rules::Left;
use tailwater_tests::unbiased::{Trial, run};

const ERRORS: &str = "{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}";
const SLOW: &str = "{name: slow, type: latency, latency: {threshold_ms: 150}}";
const FIFTH: &str = "{name: fifth, type: probabilistic, probabilistic: {sampling_percentage: 20}}";
const HALF: &str = "{name: half, type: probabilistic, probabilistic: {sampling_percentage: 50}}";
const RATE: &str = "{name: rate, type: rate_limiting, rate_limiting: {spans_per_second: 2500}}";
const BYTES: &str = "{name: bytes, type: bytes_limiting, bytes_limiting: {bytes_per_second: 200000}}";

fn of(policies: &[String]) -> Sampling {
    read(&format!("sampling:\n  policies: [{}]\n", policies.join(", ")))
}

fn read(text: &str) -> Sampling {
    let inputs =
        Inputs { file: Some(("test.yaml", text)), environment: &[], flags: &[], machine_memory_bytes: 1 << 30 };
    match load(&inputs) {
        Ok(loaded) => loaded.config.sampling,
        Err(problems) => panic!("{text}: {}", problems[0]),
    }
}

fn and(name: &str, parts: &[&str]) -> String {
    format!("{{name: {name}, type: and, and: {{and_sub_policy: [{}]}}}}", parts.join(", "))
}

fn not(part: &str) -> String {
    format!("{{name: not, type: not, not: {{not_sub_policy: {part}}}}}")
}

fn drop(parts: &[&str]) -> String {
    format!("{{name: drop, type: drop, drop: {{drop_sub_policy: [{}]}}}}", parts.join(", "))
}

fn composite(parts: &[&str], shares: &[(&str, u32)]) -> String {
    let shares: Vec<String> =
        shares.iter().map(|(name, percent)| format!("{{policy: {name}, percent: {percent}}}")).collect();
    format!(
        "{{name: mixed, type: composite, composite: {{max_total_spans_per_second: 5000, policy_order: [], \
         composite_sub_policy: [{}], rate_allocation: [{}]}}}}",
        parts.join(", "),
        shares.join(", ")
    )
}

fn traces() -> usize {
    std::env::var("TAILWATER_UNBIASED_TRACES").ok().and_then(|text| text.parse().ok()).unwrap_or(40_000)
}

/// What decides everything but the randomness: another shows whether a deviation is noise.
fn seed() -> u64 {
    std::env::var("TAILWATER_UNBIASED_SEED").ok().and_then(|text| text.parse().ok()).unwrap_or(7)
}

/// The greatest error allowed for so many traces: half a percent for a million, more as the noise grows.
fn bound(traces: usize) -> f64 {
    0.005 * (1e6 / traces as f64).sqrt().max(1.0)
}

fn check(name: &str, policies: &[String]) {
    check_sampling(name, &of(policies));
}

fn check_sampling(name: &str, sampling: &Sampling) {
    check_left(name, sampling, &[]);
}

fn check_left(name: &str, sampling: &Sampling, left: &[Left]) {
    let traces = traces();
    // The less is left, the more each kept trace stands for, and the greater the noise of a part; all together have less.
    let least = left.iter().map(|left| left.limits.min(left.percentages)).fold(1.0, f64::min);
    let bound = bound(traces);
    let mut failures = Vec::new();
    for shards in [1, 2, 8] {
        for is_head_sampled in [false, true] {
            let left = left.to_vec();
            let trial = Trial { sampling: sampling.clone(), shards, traces, is_head_sampled, seed: seed(), left };
            let totals = run(&trial);
            let worst = totals.worst();
            eprintln!(
                "{name}: {shards} shards, head-sampled {is_head_sampled}: {:.3} %, of all traces {:.3} %, {} kept",
                worst * 100.0,
                totals.all_traces().error() * 100.0,
                totals.kept()
            );
            if worst > bound / least || totals.all_traces().error() > bound {
                failures.push(format!("{shards} shards, head-sampled {is_head_sampled}: {}", totals.signed()));
            }
        }
    }
    assert!(failures.is_empty(), "{name}: {}", failures.join("\n"));
}

#[test]
fn samplers_and_certain_rules() {
    check("probabilistic", &[FIFTH.into()]);
    check("errors or a fifth", &[ERRORS.into(), FIFTH.into()]);
    check("half of the errors, a fifth of all", &[and("some_errors", &[ERRORS, HALF]), FIFTH.into()]);
    check("slow or errors or a fifth", &[SLOW.into(), ERRORS.into(), FIFTH.into()]);
}

#[test]
fn opposites_of_chance() {
    check("not a fifth", &[not(FIFTH)]);
    check("half of the slow dropped", &[drop(&[SLOW, HALF]), "{name: all, type: always_sample}".into()]);
}

#[test]
fn limits() {
    check("rate", &[RATE.into()]);
    check("bytes", &[BYTES.into()]);
    check("errors or rate", &[ERRORS.into(), RATE.into()]);
}

#[test]
fn limits_within_other_policies() {
    check("half within the rate", &[and("both", &[HALF, RATE])]);
    check("rate and bytes", &[and("both", &[RATE, BYTES])]);
    check("slow within the rate, a fifth of all", &[and("both", &[SLOW, RATE]), FIFTH.into()]);
    check("a fifth or within the rate", &[FIFTH.into(), RATE.into()]);
}

#[test]
fn composites() {
    let all = "{name: all, type: always_sample}";
    check("errors, slow, all", &[composite(&[ERRORS, SLOW, all], &[("errors", 10), ("slow", 20), ("all", 50)])]);
    check("half, then all", &[composite(&[HALF, all], &[("half", 30), ("all", 50)])]);
}

#[test]
fn rules_of_our_own() {
    for (name, rules) in [
        (
            "the first that matches",
            "rules: [{name: errors, when: [{status_code: {status_codes: [ERROR]}}], sampler: {probability: 0.5}}, \
             {name: slow, when: [{latency: {threshold_ms: 150}}]}, {name: rest, sampler: {probability: 0.2}}]",
        ),
        (
            "any of, annotated",
            "rules: [{name: all, sampler: {any_of: [{annotating: {attributes: {a: b}, sampler: {probability: 0.1}}}, \
             {rule_based: [{when: [{latency: {threshold_ms: 150}}], sampler: {probability: 0.5}}]}]}}]",
        ),
        ("what senders have sampled", "rules: [{name: all, sampler: {parent_threshold: {probability: 0.3}}}]"),
        ("one of three", "rules: [{name: all, limit: {keep_one_in: 3}}]"),
        (
            "a budget with a promise",
            "budget: {spans_per_second: 2500}\n  rules: [{name: errors, budget_minimum_per_second: 500, \
             when: [{status_code: {status_codes: [ERROR]}}]}, {name: rest}]",
        ),
    ] {
        check_sampling(name, &read(&format!("sampling:\n  {rules}\n")));
    }
}

/// Breaks if what is left of a limit is taken from the traces it was to keep, in place of from its tokens (`Bucket::part`).
#[test]
fn what_is_left_of_limits_for_a_time_goes_into_thresholds() {
    let limits = |limits| Left { limits, ..Left::default() };
    let left = [1.0, 0.5, 0.5, 0.3].map(limits);
    let all = "{name: all, type: always_sample}";
    let rules = |rules: &str| read(&format!("sampling:\n  {rules}\n"));
    for (name, sampling) in [
        ("rate", of(&[RATE.into()])),
        ("composite", of(&[composite(&[ERRORS, all], &[("errors", 10), ("all", 50)])])),
        ("one of three", rules("rules: [{name: all, limit: {keep_one_in: 3}}]")),
        (
            "a budget with a promise",
            rules(
                "budget: {spans_per_second: 2500}\n  rules: [{name: errors, budget_minimum_per_second: 500, \
                 when: [{status_code: {status_codes: [ERROR]}}]}, {name: rest}]",
            ),
        ),
    ] {
        check_left(name, &sampling, &left);
        let share = kept(&sampling, &[limits(0.5)]) / kept(&sampling, &[]);
        assert!((0.4..0.6).contains(&share), "{name}: {share}");
    }
}

fn kept(sampling: &Sampling, left: &[Left]) -> f64 {
    let (sampling, left) = (sampling.clone(), left.to_vec());
    run(&Trial { sampling, shards: 2, traces: 20_000, is_head_sampled: false, seed: 7, left }).kept() as f64
}

/// Breaks if a percentage is lowered where its threshold does not say so (`View::share`), or where less of it keeps more
/// (`Compiler::opposite`).
#[test]
fn what_is_left_of_percentages_for_a_time_goes_into_thresholds() {
    let percentages = |percentages| Left { percentages, ..Left::default() };
    let left = [1.0, 0.5, 0.25, 0.5].map(percentages);
    let all = "{name: all, type: always_sample}";
    let rules = |rules: &str| read(&format!("sampling:\n  {rules}\n"));
    for (name, sampling, expected) in [
        ("probabilistic", of(&[HALF.into()]), 0.45..0.55),
        ("within a rate", of(&[and("both", &[HALF, RATE])]), 0.5..1.05),
        ("composite", of(&[composite(&[HALF, ERRORS], &[("half", 30), ("errors", 50)])]), 0.5..1.05),
        ("a share", rules("rules: [{name: all, sampler: {probability: 0.5}}]"), 0.45..0.55),
        (
            "what senders have not sampled",
            rules("rules: [{name: all, sampler: {parent_threshold: {probability: 0.5}}}]"),
            0.45..0.55,
        ),
        ("certain", of(&[all.into()]), 0.99..1.01),
        ("not a fifth", of(&[not(FIFTH)]), 0.99..1.01),
        ("half of the slow dropped", of(&[drop(&[SLOW, HALF]), all.into()]), 0.99..1.01),
    ] {
        check_left(name, &sampling, &left);
        let share = kept(&sampling, &[percentages(0.5)]) / kept(&sampling, &[]);
        assert!(expected.contains(&share), "{name}: {share}");
    }
}

/// A load that rises and falls, second by second, as a control sees it that lowers percentages and limits by degrees.
fn left_by_control() -> Vec<Left> {
    let degree = |name: &str, on: f64, part: &str| {
        let mut actions = Dial::default();
        actions.put(Lever::Percentage, part).unwrap();
        actions.put(Lever::Budget, part).unwrap();
        let (signal, window) = (Signal::ArrivalRate, Duration::from_secs(1));
        let (least_on, least_off) = (Duration::ZERO, Duration::from_secs(1));
        Trigger { name: name.into(), signal, service: None, window, on, off: on * 0.8, least_on, least_off, actions }
    };
    let triggers = vec![degree("some", 1500.0, "0.5"), degree("more", 3000.0, "0.2")];
    let mut machine = Machine::new(Plan { step_every: Duration::from_secs(1), triggers, ..Plan::default() });
    let mut items = 0;
    let ramp = (0..10).chain((0..10).rev());
    ramp.zip(1..)
        .map(|(load, second)| {
            items += load * 400;
            machine.follow(Duration::from_secs(second), Reading { items, ..Reading::default() });
            let Dial { budget, percentage, .. } = machine.in_force();
            Left { limits: *budget, percentages: *percentage }
        })
        .collect()
}

/// Breaks if control changes what is kept of a trace and its threshold does not say so.
#[test]
fn counts_add_up_while_control_moves() {
    let left = left_by_control();
    let mut places: Vec<f64> = left.iter().map(|left| left.percentages).collect();
    places.dedup();
    assert_eq!(places, [1.0, 0.5, 0.25, 0.2, 0.4, 0.5, 1.0]);
    check_left("half within the rate", &of(&[and("both", &[HALF, RATE])]), &left);
    check_left("errors or a fifth", &of(&[ERRORS.into(), FIFTH.into()]), &left);
}

/// Breaks without `Bench::follow_left`: less would be kept, and nothing would say so.
#[test]
fn what_says_no_threshold_is_kept_as_ever() {
    for policy in [FIFTH, RATE] {
        let sampling = Sampling { thresholds: Thresholds::Collector, ..of(&[policy.into()]) };
        let left = Left { limits: 0.5, percentages: 0.5 };
        assert_eq!(kept(&sampling, &[left]), kept(&sampling, &[]), "{policy}");
    }
}

#[test]
fn parts_by_key() {
    let rules = "rules: [{name: all, limit: {spans_per_second: 2500, by: [route]}}]";
    check_sampling("equal parts by route", &read(&format!("sampling:\n  {rules}\n")));
}

#[test]
fn what_a_rule_may_not_keep_of_its_part_of_the_budget_goes_to_the_others() {
    let rules = "budget: {spans_per_second: 1500}\n  rules: [{name: slow, when: [{latency: {threshold_ms: 150}}]}, \
                 {name: rest, limit: {spans_per_second: 100}}]";
    let sampling = read(&format!("sampling:\n  {rules}\n"));
    let (traces, seconds) = (20_000, 10);
    let totals = run(&Trial { sampling, shards: 1, traces, is_head_sampled: false, seed: 7, left: Vec::new() });
    let kept = totals.kept();
    assert!((1350 * seconds..=1650 * seconds).contains(&kept), "{kept} spans in {seconds} s of 1500 each");
    // The rest is kept at less than 2 %, some thirty traces of each kind.
    assert!(totals.worst() < 0.2, "{}", totals.signed());
}
