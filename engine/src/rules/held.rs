//! Which conditions of a policy held for a trace, for explanations. What a policy has compiled to is gone through in the
//! order in which the configuration writes its conditions down (`tailwater_config::conditions_of_policy`).

use super::Rules;
use super::limit::View;
use super::tree::{Evidence, Node};

/// How a node is read.
#[derive(Clone, Copy)]
pub enum Reading<'a> {
    /// In order of arrival. What a limit has let through is not known afterwards: it counts as passed, as it was where the
    /// policy has sampled.
    Arrival,
    /// By the trace's randomness.
    Randomness(View<'a>, u64),
}

/// Conditions of a policy that are told apart: a bit of 64 each.
/// At the bound: the rest is not told.
const CONDITIONS_MAX: u32 = 64;

/// The walk over a policy.
struct Walk<'a> {
    evidence: &'a Evidence<'a>,
    reading: Reading<'a>,
    /// The sub-policy of a composite that decided.
    sub_policy: Option<u16>,
    next: u32,
    held: u64,
}

impl Rules {
    /// The conditions of the policy of that number, in the words of the configuration.
    #[must_use]
    pub fn conditions(&self, policy: u16) -> &[String] {
        self.policies.get(usize::from(policy)).map_or(&[], |policy| &policy.conditions)
    }

    /// Which of `conditions` of a policy hold, that of number n at bit n. Of a composite those of the sub-policy that
    /// decided, of a list of rules those of the first that holds.
    #[must_use]
    pub fn held(&self, policy: u16, evidence: &Evidence<'_>, reading: Reading<'_>, sub_policy: Option<u16>) -> u64 {
        let Some(policy) = self.policies.get(usize::from(policy)) else { return 0 };
        let mut walk = Walk { evidence, reading, sub_policy, next: 0, held: 0 };
        if let Some(condition) = &policy.condition {
            walk.visit(condition, true);
        }
        walk.visit(&policy.node, true);
        walk.held
    }
}

impl Walk<'_> {
    fn holds(&self, node: &Node) -> bool {
        match self.reading {
            Reading::Arrival => node.sampled(self.evidence).unwrap_or(false),
            Reading::Randomness(limits, own) => {
                node.threshold(self.evidence, Some(limits)).is_some_and(|threshold| threshold <= own)
            }
        }
    }

    /// Goes through a node; the conditions of one that does not matter are only counted.
    fn visit(&mut self, node: &Node, matters: bool) {
        match node {
            Node::All(nodes) | Node::Any(nodes) => nodes.iter().for_each(|node| self.visit(node, matters)),
            Node::Composite(classes) => {
                for class in classes {
                    self.visit(&class.node, matters && self.sub_policy.is_none_or(|number| number == class.name));
                }
            }
            Node::First(pairs) => {
                let mut is_open = matters;
                for (condition, node) in pairs {
                    let is_it = is_open && self.holds(condition);
                    self.visit(condition, is_it);
                    self.visit(node, is_it);
                    is_open &= !is_it;
                }
            }
            Node::Annotated(node, _) => self.visit(node, matters),
            node => {
                if matters && self.next < CONDITIONS_MAX && self.holds(node) {
                    self.held |= 1 << self.next;
                }
                self.next += 1;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::evidence::{Size, Summary};
    use tailwater_config::sampling::native::{Amount, LimitTerms, NativeRule, Sampler};
    use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling, Thresholds};

    const TWO: Size = Size { spans: 2, bytes: 0 };

    fn walk(rules: &Rules, policy: u16, seen: &Summary, sub_policy: Option<u16>) -> (u32, Vec<String>) {
        let words = vec![0; rules.leaf_words() - 1];
        let evidence = Evidence { trace_id: &[1; 16], seen, size: TWO, more: &words, level: None };
        let mut walk = Walk { evidence: &evidence, reading: Reading::Arrival, sub_policy, next: 0, held: 0 };
        if let Some(condition) = &rules.policies[usize::from(policy)].condition {
            walk.visit(condition, true);
        }
        walk.visit(&rules.policies[usize::from(policy)].node, true);
        let held = rules.held(policy, &evidence, Reading::Arrival, sub_policy);
        assert_eq!(held, walk.held);
        let told = rules.conditions(policy).iter().enumerate().filter(|(number, _)| held >> number & 1 == 1);
        (walk.next, told.map(|(_, told)| told.clone()).collect())
    }

    fn named(rules: Vec<Rule>) -> Vec<Policy> {
        rules.into_iter().map(|rule| Policy::new("p", rule)).collect()
    }

    fn every_kind() -> Vec<Rule> {
        let key = || "k".to_string();
        let text = |invert| Rule::StringAttribute { key: key(), values: vec!["v".into()], regex: false, invert };
        let errors = || Rule::StatusCode { ok: false, error: true, unset: false };
        let spans = |min| Rule::SpanCount { min, max: 0 };
        vec![
            Rule::AlwaysSample,
            Rule::Latency { threshold_ms: 5, upper_threshold_ms: 9 },
            errors(),
            text(false),
            text(true),
            Rule::NumericAttribute { key: key(), min: 1, max: 2, invert: true },
            Rule::BooleanAttribute { key: key(), value: true, invert: true },
            Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 10.0 },
            spans(2),
            Rule::RateLimiting { spans_per_second: 5, burst_capacity: 0 },
            Rule::BytesLimiting { bytes_per_second: 5, burst_capacity: 0 },
            Rule::TraceState { key: key(), values: vec!["v".into()] },
            Rule::TraceFlags,
            Rule::OttlCondition { error_mode: ErrorMode::Propagate, span: vec!["true".into()], spanevent: Vec::new() },
            Rule::And(named(vec![errors(), spans(2), text(true)])),
            Rule::Not(Box::new(Policy::new("p", Rule::And(named(vec![errors(), spans(2)]))))),
            Rule::Drop(named(vec![errors(), Rule::Not(Box::new(Policy::new("p", spans(3))))])),
            Rule::Composite {
                spans_per_second_max: 9,
                policies: named(vec![spans(2), errors()]).into_iter().map(|policy| (policy, 3)).collect(),
            },
        ]
    }

    #[test]
    fn every_policy_has_as_many_conditions_as_it_has_words_for() {
        let policies = named(every_kind());
        let rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
        let kinds = u16::try_from(every_kind().len()).unwrap();
        for number in 0..kinds {
            let (met, _) = walk(&rules, number, &Summary::default(), None);
            assert_eq!(met as usize, rules.conditions(number).len(), "{:?}", rules.conditions(number));
        }
    }

    #[test]
    fn those_that_held_are_told_in_the_words_of_the_configuration() {
        let policies = named(every_kind());
        let rules = Rules::compile(&Sampling { policies, ..Sampling::collector_default() }).unwrap();
        let seen = Summary { status: 4, ..Summary::default() };
        let held = |number: u16, sub_policy| walk(&rules, number, &seen, sub_policy).1;
        let (errors, two) = ("status_code: {status_codes: [ERROR]}", "span_count: {min_spans: 2}");
        assert_eq!(held(2, None), [errors]);
        let no_text = "string_attribute: {key: k, values: [\"v\"], invert_match: true}";
        assert_eq!(held(14, None), [errors, two, no_text]);
        assert_eq!(held(15, None), [""; 0], "both hold, and so their opposite does not");
        assert_eq!(held(16, None), [errors, "not: {span_count: {min_spans: 3}}"]);
        assert_eq!(held(17, Some(1)), [errors], "the other sub-policy did not decide");
        assert_eq!(held(9, None), ["rate_limiting: {spans_per_second: 5}"]);
    }

    #[test]
    fn rules_of_our_own_tell_their_conditions_and_samplers() {
        let rule = |when: Vec<Rule>, sampler| NativeRule {
            name: "r".into(),
            line: 0,
            when: named(when),
            sampler,
            budget_minimum_per_second: 0,
            is_shadow: false,
        };
        let errors = || Rule::StatusCode { ok: false, error: true, unset: false };
        let limit = LimitTerms { amount: Amount::SpansPerSecond(5), by: Vec::new() };
        let inner = vec![rule(vec![errors()], Sampler::AlwaysOn), rule(Vec::new(), Sampler::AlwaysOff)];
        let limited = Sampler::Limited { sampler: Box::new(Sampler::RuleBased(inner)), limit };
        let annotating = Sampler::Annotating { attributes: Vec::new(), sampler: Box::new(limited) };
        let either = Sampler::AnyOf(vec![annotating, Sampler::ParentThreshold(Box::new(Sampler::AlwaysOn))]);
        let any = Rule::Any(named(vec![Rule::SpanCount { min: 9, max: 0 }, errors()]));
        let rules = vec![rule(vec![any], either)];
        let sampling = Sampling { rules, budget_spans_per_second: 5, ..Sampling::collector_default() };
        let rules = Rules::compile(&Sampling { thresholds: Thresholds::Otep235, ..sampling }).unwrap();
        let (met, _) = walk(&rules, 0, &Summary::default(), None);
        let all = rules.conditions(0);
        assert_eq!(met as usize, all.len(), "{all:?}");
        let errors = "status_code: {status_codes: [ERROR]}";
        assert_eq!(all[..4], ["span_count: {min_spans: 9}", errors, errors, "always_on"].map(String::from));
        let limits = crate::rules::limit::Limits::new(rules.limits(), 0, 1, crate::vocabulary::Nanos::default());
        let seen = Summary { status: 4, ..Summary::default() };
        let words = vec![0; rules.leaf_words() - 1];
        let evidence = Evidence { trace_id: &[1; 16], seen: &seen, size: TWO, more: &words, level: None };
        let held = rules.held(0, &evidence, Reading::Randomness(limits.view(0, false), 1 << 55), None);
        assert_eq!(held & 0b1111, 0b1110, "of the list of rules the first that holds: {all:?}");
    }
}
