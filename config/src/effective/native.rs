//! Our own rules, written so that they read to the same value: one rule an entry, its parts in flow style.

use super::{fields, text, texts, type_of};
use crate::sampling::native::{Amount, LimitTerms, NativeRule, Sampler};
use crate::sampling::{Policy, Rule};
use std::fmt::Write;

/// Writes a rule as an entry of a list at `indent`.
pub(super) fn rule(out: &mut String, indent: &str, rule: &NativeRule) {
    let _ = writeln!(out, "{indent}- name: {}", text(&rule.name));
    if rule.is_shadow {
        let _ = writeln!(out, "{indent}  shadow: true");
    }
    let when: Vec<String> = rule.when.iter().map(condition).collect();
    if !when.is_empty() {
        let _ = writeln!(out, "{indent}  when: [{}]", when.join(", "));
    }
    let _ = writeln!(out, "{indent}  sampler: {}", sampler(&rule.sampler));
    if rule.budget_minimum_per_second > 0 {
        let _ = writeln!(out, "{indent}  budget_minimum_per_second: {}", rule.budget_minimum_per_second);
    }
}

/// A condition in flow style.
pub(super) fn condition(policy: &Policy) -> String {
    match &policy.rule {
        Rule::StringAttribute { key, values, regex: false, invert: false } if key == "service.name" => {
            format!("{{service: {}}}", texts(values))
        }
        Rule::Not(inner) => format!("{{not: {}}}", condition(inner)),
        Rule::Any(inner) => {
            format!("{{any: [{}]}}", inner.iter().map(condition).collect::<Vec<_>>().join(", "))
        }
        rule => format!("{{{}: {{{}}}}}", type_of(rule), fields(rule).join(", ")),
    }
}

/// A sampler in flow style.
pub(super) fn sampler(one: &Sampler) -> String {
    match one {
        Sampler::AlwaysOn => "always_on".to_string(),
        Sampler::AlwaysOff => "always_off".to_string(),
        Sampler::Probability(share) => format!("{{probability: {share}}}"),
        Sampler::ParentThreshold(root) => format!("{{parent_threshold: {}}}", sampler(root)),
        Sampler::RuleBased(rules) => {
            let rules: Vec<String> = rules.iter().map(inner_rule).collect();
            format!("{{rule_based: [{}]}}", rules.join(", "))
        }
        Sampler::AnyOf(samplers) => {
            format!("{{any_of: [{}]}}", samplers.iter().map(sampler).collect::<Vec<_>>().join(", "))
        }
        Sampler::Annotating { attributes, sampler: inner } => {
            let pairs = attributes.iter().map(|(key, value)| format!("{}: {}", text(key), text(value)));
            let pairs: Vec<String> = pairs.collect();
            format!("{{annotating: {{attributes: {{{}}}, sampler: {}}}}}", pairs.join(", "), sampler(inner))
        }
        Sampler::Limited { sampler: inner, limit } => {
            format!("{{rate_limiting: {{sampler: {}, {}}}}}", sampler(inner), terms(limit))
        }
    }
}

fn inner_rule(rule: &NativeRule) -> String {
    let when: Vec<String> = rule.when.iter().map(condition).collect();
    format!("{{name: {}, when: [{}], sampler: {}}}", text(&rule.name), when.join(", "), sampler(&rule.sampler))
}

pub(super) fn terms(limit: &LimitTerms) -> String {
    let amount = match limit.amount {
        Amount::SpansPerSecond(amount) => format!("spans_per_second: {amount}"),
        Amount::BytesPerSecond(amount) => format!("bytes_per_second: {amount}"),
        Amount::OneIn(amount) => format!("keep_one_in: {amount}"),
    };
    if limit.by.is_empty() { amount } else { format!("{amount}, by: {}", texts(&limit.by)) }
}
