//! The Collector's policies as rules of our own, and the other way round: what `tailwater check --explain` prints. What the
//! other language cannot say is told.

use crate::effective;
use crate::sampling::native::{Amount, LimitTerms, NativeRule, Sampler};
use crate::sampling::{Policy, Rule, Sampling, Thresholds};

/// The sampling section in the other language, with remarks on what it can't say: a comment a line.
#[must_use]
pub fn explain(sampling: &Sampling) -> String {
    let mut remarks = Vec::new();
    let mut text = String::new();
    if sampling.rules.is_empty() {
        if sampling.thresholds == Thresholds::Collector {
            remarks.push(
                "rules keep traces by their own randomness (thresholds: otep235), not by the Collector's hash".into(),
            );
        }
        let rules = rules_of(&sampling.policies, &mut remarks);
        text.push_str("# These policies as rules: the first that matches decides.\nsampling:\n  rules:\n");
        text.push_str(&effective::rules(&rules, "    "));
    } else {
        let policies = policies_of(&sampling.rules, &mut remarks);
        if sampling.budget_spans_per_second > 0 || sampling.budget_bytes_per_second > 0 {
            remarks.push("sampling.budget: the Collector has no budget over several policies".into());
        }
        text.push_str("# These rules as the Collector's policies: any that samples keeps a trace.\n");
        text.push_str("processors:\n  tail_sampling:\n    policies:\n");
        text.push_str(&effective::policies(&policies, "      "));
    }
    for remark in remarks {
        text.push_str(&format!("# not the same: {remark}\n"));
    }
    text
}

fn rule(name: &str, when: Vec<Policy>, sampler: Sampler) -> NativeRule {
    NativeRule { name: name.to_string(), line: 0, when, sampler, budget_minimum_per_second: 0, is_shadow: false }
}

/// Drop policies come first; the others are samplers of which any keeps a trace.
fn rules_of(policies: &[Policy], remarks: &mut Vec<String>) -> Vec<NativeRule> {
    let mut rules = Vec::new();
    let (shadows, effective): (Vec<&Policy>, Vec<&Policy>) = policies.iter().partition(|policy| policy.is_shadow);
    for policy in &effective {
        if let Rule::Drop(parts) = &policy.rule {
            let (when, sampler) = all_of(&policy.name, parts, remarks);
            if sampler != Sampler::AlwaysOn {
                remarks.push(format!("{}: a rule drops all that it matches, not a share of it", policy.name));
            }
            rules.push(rule(&policy.name, when, Sampler::AlwaysOff));
        }
    }
    let others = effective.iter().filter(|policy| !matches!(policy.rule, Rule::Drop(_)));
    let samplers: Vec<Sampler> = others.map(|policy| sampler_of(policy, remarks)).collect();
    rules.push(rule("policies", Vec::new(), Sampler::AnyOf(samplers)));
    for policy in shadows {
        if matches!(policy.rule, Rule::Drop(_)) {
            remarks.push(format!(
                "{}: a rule that drops is no shadow, for it would change the rules after it",
                policy.name
            ));
            continue;
        }
        let (when, sampler) = all_of(&policy.name, std::slice::from_ref(policy), remarks);
        rules.push(NativeRule { is_shadow: true, ..rule(&policy.name, when, sampler) });
    }
    rules
}

/// A policy as a sampler; its name is kept where it has a condition.
fn sampler_of(policy: &Policy, remarks: &mut Vec<String>) -> Sampler {
    let (when, sampler) = all_of(&policy.name, std::slice::from_ref(policy), remarks);
    if when.is_empty() { sampler } else { Sampler::RuleBased(vec![rule(&policy.name, when, sampler)]) }
}

/// Policies of which all must sample: their conditions, and what the rest of them comes to.
fn all_of(name: &str, policies: &[Policy], remarks: &mut Vec<String>) -> (Vec<Policy>, Sampler) {
    let mut when = Vec::new();
    let mut sampler = Sampler::AlwaysOn;
    for policy in policies {
        match &policy.rule {
            Rule::AlwaysSample => {}
            Rule::Probabilistic { sampling_percentage, .. } => {
                sampler = within(sampler, Sampler::Probability(share(*sampling_percentage)), name, remarks);
            }
            Rule::RateLimiting { spans_per_second, .. } => {
                let amount = Amount::SpansPerSecond(u64::try_from(*spans_per_second).unwrap_or(0));
                sampler = limited(sampler, amount);
            }
            Rule::BytesLimiting { bytes_per_second, .. } => {
                let amount = Amount::BytesPerSecond(u64::try_from(*bytes_per_second).unwrap_or(0));
                sampler = limited(sampler, amount);
            }
            Rule::And(inner) => {
                let (conditions, inner) = all_of(name, inner, remarks);
                when.extend(conditions);
                sampler = within(sampler, inner, name, remarks);
            }
            Rule::Not(inner) => match &inner.rule {
                Rule::Probabilistic { sampling_percentage, .. } => {
                    let opposite = Sampler::Probability(1.0 - share(*sampling_percentage));
                    sampler = within(sampler, opposite, name, remarks);
                }
                Rule::RateLimiting { .. } | Rule::BytesLimiting { .. } => {
                    remarks.push(format!("{name}: a rule can't keep what a limit refuses"));
                }
                Rule::AlwaysSample => sampler = Sampler::AlwaysOff,
                _ => when.push(policy.clone()),
            },
            Rule::Composite { spans_per_second_max, policies } => {
                let class = |(policy, share): &(Policy, i64)| {
                    let (when, sampler) = all_of(&policy.name, std::slice::from_ref(policy), remarks);
                    let share = u64::try_from((*share).min(*spans_per_second_max)).unwrap_or(0);
                    rule(&policy.name, when, limited(sampler, Amount::SpansPerSecond(share)))
                };
                sampler = Sampler::RuleBased(policies.iter().map(class).collect());
            }
            _ => when.push(policy.clone()),
        }
    }
    (when, sampler)
}

fn share(percentage: f64) -> f64 {
    (percentage / 100.0).clamp(0.0, 1.0)
}

fn limited(sampler: Sampler, amount: Amount) -> Sampler {
    Sampler::Limited { sampler: Box::new(sampler), limit: LimitTerms { amount, by: Vec::new() } }
}

/// Both: by thresholds the stricter one.
fn within(outer: Sampler, inner: Sampler, name: &str, remarks: &mut Vec<String>) -> Sampler {
    match (outer, inner) {
        (Sampler::AlwaysOn, other) | (other, Sampler::AlwaysOn) => other,
        (Sampler::Probability(one), Sampler::Probability(other)) => Sampler::Probability(one.min(other)),
        (Sampler::Limited { sampler, limit }, inner) => {
            Sampler::Limited { sampler: Box::new(within(*sampler, inner, name, remarks)), limit }
        }
        (outer, Sampler::Limited { sampler, limit }) => {
            Sampler::Limited { sampler: Box::new(within(outer, *sampler, name, remarks)), limit }
        }
        (outer, _) => {
            remarks.push(format!("{name}: a rule has one sampler, of several only the first is written"));
            outer
        }
    }
}

/// Each rule is an `and` of its conditions, of the opposites of those before it, and of its sampler.
fn policies_of(rules: &[NativeRule], remarks: &mut Vec<String>) -> Vec<Policy> {
    let mut before: Vec<Policy> = Vec::new();
    let mut policies = Vec::new();
    for rule in rules {
        if rule.is_shadow {
            remarks.push(format!("{}: the Collector has no policies without an effect", rule.name));
            continue;
        }
        let said = remarks.len();
        let mut parts: Vec<Policy> =
            rule.when.iter().filter(|one| is_collectors(one, &rule.name, remarks)).cloned().collect();
        let drops = rule.sampler == Sampler::AlwaysOff;
        if !drops {
            parts.extend(before.iter().cloned());
            parts.extend(parts_of(&rule.name, &rule.sampler, remarks));
        }
        if remarks.len() == said {
            let whole = if drops { Rule::Drop(parts) } else { Rule::And(parts) };
            policies.push(Policy::new(&rule.name, whole));
        } else {
            remarks.push(format!("{}: left out, since a policy without that would do more than the rule", rule.name));
        }
        if drops {
            continue;
        }
        match rule.when.as_slice() {
            [] => break,
            // One that could not be said is told already; later policies see its traces too.
            [only] if is_own(only) => {}
            [only] => before.push(opposite(only)),
            _ => remarks.push(format!(
                "{}: the Collector has no opposite of several conditions, so later policies see these traces too",
                rule.name
            )),
        }
    }
    policies
}

fn opposite(condition: &Policy) -> Policy {
    match &condition.rule {
        Rule::Not(inner) => Policy::clone(inner),
        _ => Policy::new(&format!("not {}", condition.name), Rule::Not(Box::new(condition.clone()))),
    }
}

fn is_collectors(condition: &Policy, name: &str, remarks: &mut Vec<String>) -> bool {
    let is_own = is_own(condition);
    if is_own {
        remarks.push(format!("{name}: the Collector has no condition like `{}`", condition.name));
    }
    !is_own
}

fn is_own(condition: &Policy) -> bool {
    match &condition.rule {
        Rule::Any(_) | Rule::RelativeLatency { .. } => true,
        Rule::Not(inner) => matches!(inner.rule, Rule::Any(_) | Rule::RelativeLatency { .. } | Rule::Not(_)),
        _ => false,
    }
}

fn parts_of(name: &str, sampler: &Sampler, remarks: &mut Vec<String>) -> Vec<Policy> {
    match sampler {
        Sampler::AlwaysOn => vec![Policy::new("all", Rule::AlwaysSample)],
        Sampler::Probability(share) => {
            let rule = Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: share * 100.0 };
            vec![Policy::new("share", rule)]
        }
        Sampler::Limited { sampler, limit: LimitTerms { amount, by } } if by.is_empty() => {
            let mut parts = parts_of(name, sampler, remarks);
            let number = |amount: u64| i64::try_from(amount).unwrap_or(i64::MAX);
            match amount {
                Amount::SpansPerSecond(spans) => parts.push(Policy::new(
                    "limit",
                    Rule::RateLimiting { spans_per_second: number(*spans), burst_capacity: 0 },
                )),
                Amount::BytesPerSecond(bytes) => parts.push(Policy::new(
                    "limit",
                    Rule::BytesLimiting { bytes_per_second: number(*bytes), burst_capacity: 0 },
                )),
                Amount::OneIn(_) => remarks.push(format!("{name}: the Collector has nothing like keep_one_in")),
            }
            parts
        }
        Sampler::Annotating { sampler, .. } => {
            remarks.push(format!("{name}: the Collector's policies add no attributes"));
            parts_of(name, sampler, remarks)
        }
        _ => {
            remarks.push(format!("{name}: the Collector has no sampler like this one"));
            Vec::new()
        }
    }
}
