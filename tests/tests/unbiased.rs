//! Adjusted counts add up, by service and route, whatever policy kept the traces, whatever their senders sampled before,
//! and however many shards divide them. `TAILWATER_UNBIASED_TRACES` sets the traces of each trial: with 1,000,000 the
//! bound is half a percent.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, clippy::print_stderr, reason = "a test")]
#![allow(clippy::disallowed_methods, reason = "the length of the test comes from the environment")]

use tailwater_config::sampling::Sampling;
use tailwater_config::{Inputs, load};
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

fn check_left(name: &str, sampling: &Sampling, left: &[f64]) {
    let traces = traces();
    let mut failures = Vec::new();
    for shards in [1, 2, 8] {
        for is_head_sampled in [false, true] {
            let left = left.to_vec();
            let trial = Trial { sampling: sampling.clone(), shards, traces, is_head_sampled, seed: seed(), left };
            let totals = run(&trial);
            let worst = totals.worst();
            eprintln!(
                "{name}: {shards} shards, head-sampled {is_head_sampled}: {:.3} %, {} kept",
                worst * 100.0,
                totals.kept()
            );
            if worst > bound(traces) {
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
    let left = [1.0, 0.5, 0.5, 0.3];
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
        let kept = |left: &[f64]| {
            let (sampling, left) = (sampling.clone(), left.to_vec());
            run(&Trial { sampling, shards: 2, traces: 20_000, is_head_sampled: false, seed: 7, left }).kept() as f64
        };
        let share = kept(&[0.5]) / kept(&[]);
        assert!((0.4..0.6).contains(&share), "{name}: {share}");
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
