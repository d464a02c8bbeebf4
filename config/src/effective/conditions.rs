//! The conditions of a policy or rule, each in the words of the configuration: for explanations, which tell those of them
//! that held. They come in the order in which the engine goes through what it has compiled of them: a list is gone
//! through, anything else is one condition.

use super::native::{condition, sampler, terms};
use super::{fields, type_of};
use crate::sampling::native::{NativeRule, Sampler};
use crate::sampling::{Policy, Rule};

/// Bytes of a condition that is told. One with hundreds of values is known by the first of them.
/// At the bound: the rest is not told.
const CONDITION_TOLD_BYTES_MAX: usize = 400;

/// The conditions of a policy.
#[must_use]
pub fn conditions_of_policy(policy: &Policy) -> Vec<String> {
    let mut out = Vec::new();
    of_policy(policy, &mut out);
    out
}

/// The conditions of a rule, what its sampler goes by, and the budget where it has a part of one.
#[must_use]
pub fn conditions_of_rule(rule: &NativeRule, has_budget: bool) -> Vec<String> {
    let mut out = Vec::new();
    rule.when.iter().for_each(|policy| of_condition(policy, &mut out));
    of_sampler(&rule.sampler, &mut out);
    if has_budget && !rule.is_shadow {
        out.push("sampling.budget".to_string());
    }
    out
}

fn of_policy(policy: &Policy, out: &mut Vec<String>) {
    match &policy.rule {
        Rule::And(policies) | Rule::Drop(policies) | Rule::Any(policies) => {
            policies.iter().for_each(|policy| of_policy(policy, out));
        }
        Rule::Composite { policies, .. } => policies.iter().for_each(|(policy, _)| of_policy(policy, out)),
        _ => out.push(told(flow(policy))),
    }
}

fn of_condition(policy: &Policy, out: &mut Vec<String>) {
    match &policy.rule {
        Rule::And(policies) | Rule::Drop(policies) | Rule::Any(policies) => {
            policies.iter().for_each(|policy| of_condition(policy, out));
        }
        _ => out.push(told(bare(condition(policy)))),
    }
}

fn of_sampler(one: &Sampler, out: &mut Vec<String>) {
    match one {
        Sampler::RuleBased(rules) => {
            for rule in rules {
                rule.when.iter().for_each(|policy| of_condition(policy, out));
                of_sampler(&rule.sampler, out);
            }
        }
        Sampler::AnyOf(samplers) => samplers.iter().for_each(|sampler| of_sampler(sampler, out)),
        Sampler::Annotating { sampler, .. } => of_sampler(sampler, out),
        Sampler::Limited { sampler, limit } => {
            of_sampler(sampler, out);
            out.push(told(format!("rate_limiting: {{{}}}", terms(limit))));
        }
        Sampler::AlwaysOn | Sampler::AlwaysOff | Sampler::Probability(_) | Sampler::ParentThreshold(_) => {
            out.push(told(bare(sampler(one))));
        }
    }
}

/// A policy's type and block in one line.
fn flow(policy: &Policy) -> String {
    let kind = type_of(&policy.rule);
    let list = |policies: &[Policy]| policies.iter().map(flow).collect::<Vec<_>>().join(", ");
    match &policy.rule {
        Rule::And(policies) | Rule::Drop(policies) | Rule::Any(policies) => format!("{kind}: [{}]", list(policies)),
        Rule::Composite { policies, .. } => {
            let policies: Vec<String> = policies.iter().map(|(policy, _)| flow(policy)).collect();
            format!("{kind}: [{}]", policies.join(", "))
        }
        Rule::Not(inner) => format!("{kind}: {{{}}}", flow(inner)),
        rule => match fields(rule) {
            fields if fields.is_empty() => kind.to_string(),
            fields => format!("{kind}: {{{}}}", fields.join(", ")),
        },
    }
}

/// A block in flow style without the braces around it.
fn bare(text: String) -> String {
    text.strip_prefix('{').and_then(|text| text.strip_suffix('}')).map(str::to_string).unwrap_or(text)
}

fn told(mut text: String) -> String {
    if text.len() > CONDITION_TOLD_BYTES_MAX {
        text.truncate(text.floor_char_boundary(CONDITION_TOLD_BYTES_MAX));
        text.push_str("...");
    }
    text
}
