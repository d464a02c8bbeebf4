//! Our own rules to nodes: each rule is a policy with a condition, of which the first that holds decides.

use super::{Compiler, passed_by};
use crate::rules::limit::{Cost, Limit};
use crate::rules::quantile::RelativeLeaf;
use crate::rules::tree::{Group, LimitNumber, Node};
use crate::rules::{CompiledPolicy, RulesError};
use tailwater_config::conditions_of_rule;
use tailwater_config::sampling::native::{Amount, LimitTerms, NativeRule, Sampler};
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_proto::consistent::{NEVER, PRECISION_DEFAULT, threshold_of, to_float};
use tailwater_proto::otlp::wire::put_header;

/// The attribute lists that rules go by, each once: a trace has one key for each.
pub(super) fn keys_of(sampling: &Sampling) -> Vec<Vec<String>> {
    let mut keys = Vec::new();
    sampling.rules.iter().for_each(|rule| keys_of_rule(rule, &mut keys));
    keys
}

fn keys_of_rule(rule: &NativeRule, keys: &mut Vec<Vec<String>>) {
    rule.when.iter().for_each(|policy| keys_of_condition(policy, keys));
    keys_of_sampler(&rule.sampler, keys);
}

fn keys_of_condition(policy: &Policy, keys: &mut Vec<Vec<String>>) {
    match &policy.rule {
        Rule::RelativeLatency { by, .. } => note(by, keys),
        Rule::Any(inner) | Rule::And(inner) => inner.iter().for_each(|policy| keys_of_condition(policy, keys)),
        Rule::Not(inner) => keys_of_condition(inner, keys),
        _ => {}
    }
}

fn keys_of_sampler(sampler: &Sampler, keys: &mut Vec<Vec<String>>) {
    match sampler {
        Sampler::RuleBased(rules) => rules.iter().for_each(|rule| keys_of_rule(rule, keys)),
        Sampler::AnyOf(samplers) => samplers.iter().for_each(|sampler| keys_of_sampler(sampler, keys)),
        Sampler::ParentThreshold(inner) | Sampler::Annotating { sampler: inner, .. } => keys_of_sampler(inner, keys),
        Sampler::Limited { sampler: inner, limit } => {
            keys_of_sampler(inner, keys);
            note(&limit.by, keys);
        }
        Sampler::AlwaysOn | Sampler::AlwaysOff | Sampler::Probability(_) => {}
    }
}

fn note(by: &[String], keys: &mut Vec<Vec<String>>) {
    if !by.is_empty() && !keys.iter().any(|known| known == by) {
        keys.push(by.to_vec());
    }
}

impl Compiler {
    /// The rules of a sampling section, in order.
    pub(super) fn native_rules(&mut self, sampling: &Sampling) -> Result<Vec<CompiledPolicy>, RulesError> {
        let budget = self.budget(sampling)?;
        let mut policies = Vec::with_capacity(sampling.rules.len());
        for (number, rule) in (1u16..).zip(&sampling.rules) {
            let mut node = self.sampler(&rule.name, &rule.sampler)?;
            // A shadow takes nothing of the budget.
            if let Some(budget) = budget.filter(|_| !rule.is_shadow) {
                let share = Node::Limit(LimitNumber { group: Group::Rule(number), ..budget });
                node = Node::All(vec![node, share]);
            }
            let condition = Some(self.conditions_of(rule)?);
            policies.push(CompiledPolicy {
                name: rule.name.clone(),
                passed: passed_by(&node),
                node,
                condition,
                is_drop: false,
                is_shadow: rule.is_shadow,
                conditions: conditions_of_rule(rule, budget.is_some()),
            });
        }
        Ok(policies)
    }

    /// The limit over all rules, each of which is a group of its own.
    fn budget(&mut self, sampling: &Sampling) -> Result<Option<LimitNumber>, RulesError> {
        let (cost, per_second) = match (sampling.budget_spans_per_second, sampling.budget_bytes_per_second) {
            (0, 0) => return Ok(None),
            (0, bytes) => (Cost::Bytes, bytes),
            (spans, _) => (Cost::Spans, spans),
        };
        let promises = sampling.rules.iter().map(|rule| to_float(rule.budget_minimum_per_second)).collect();
        let budget =
            self.limit("sampling.budget", Limit { is_budget: true, ..Limit::grouped(cost, per_second, promises) })?;
        self.budget = Some(budget.number);
        Ok(Some(budget))
    }

    fn conditions_of(&mut self, rule: &NativeRule) -> Result<Node, RulesError> {
        Ok(Node::All(rule.when.iter().map(|policy| self.node(policy)).collect::<Result<_, _>>()?))
    }

    fn sampler(&mut self, name: &str, sampler: &Sampler) -> Result<Node, RulesError> {
        Ok(match sampler {
            Sampler::AlwaysOn => Node::Always,
            Sampler::AlwaysOff => Node::Not(Box::new(Node::Always)),
            Sampler::Probability(share) => {
                Node::Share { threshold: threshold_of(*share, PRECISION_DEFAULT).unwrap_or(NEVER) }
            }
            Sampler::ParentThreshold(root) => {
                let root = Box::new(self.sampler(name, root)?);
                Node::Parent { root, sampled_flag: self.sampled_flag()? }
            }
            Sampler::RuleBased(rules) => {
                let pair = |rule: &NativeRule| Ok((self.conditions_of(rule)?, self.sampler(name, &rule.sampler)?));
                Node::First(rules.iter().map(pair).collect::<Result<_, RulesError>>()?)
            }
            Sampler::AnyOf(samplers) => {
                Node::Any(samplers.iter().map(|sampler| self.sampler(name, sampler)).collect::<Result<_, _>>()?)
            }
            Sampler::Annotating { attributes, sampler } => {
                let node = self.sampler(name, sampler)?;
                let encoded = encoded(attributes);
                let known = self.annotations.iter().position(|known| *known == encoded);
                let place = known.unwrap_or(self.annotations.len());
                let number = u16::try_from(place).ok().filter(|number| *number < u16::MAX);
                if known.is_none() {
                    self.annotations.push(encoded);
                }
                let number = number.ok_or(RulesError::TooMany(u16::MAX))?;
                if !self.annotation_order.contains(&number) {
                    self.annotation_order.push(number);
                }
                Node::Annotated(Box::new(node), number)
            }
            Sampler::Limited { sampler, limit } => {
                let node = self.sampler(name, sampler)?;
                Node::All(vec![node, Node::Limit(self.terms(name, limit)?)])
            }
        })
    }

    fn terms(&mut self, name: &str, terms: &LimitTerms) -> Result<LimitNumber, RulesError> {
        let limit = match terms.amount {
            Amount::SpansPerSecond(amount) => Limit::grouped(Cost::Spans, amount, Vec::new()),
            Amount::BytesPerSecond(amount) => Limit::grouped(Cost::Bytes, amount, Vec::new()),
            Amount::OneIn(number) => Limit::one_in(number),
        };
        let limit = Limit { is_grouped: !terms.by.is_empty(), ..limit };
        let group = if terms.by.is_empty() { Group::All } else { Group::Key(self.key_number(&terms.by)?) };
        Ok(LimitNumber { group, ..self.limit(name, limit)? })
    }

    /// The leaf on a trace's duration relative to those of its key.
    pub(super) fn relative_latency(&mut self, rule: &Rule) -> Result<Node, RulesError> {
        let Rule::RelativeLatency { quantile, by, at_least_ms, traces_min } = rule else { return Ok(Node::Always) };
        let leaf = self.next_leaf()?;
        self.relative.push(RelativeLeaf {
            leaf,
            key: self.key_number(by)?,
            quantile: *quantile,
            at_least_nanos: at_least_ms.saturating_mul(1_000_000),
            traces_min: *traces_min,
        });
        Ok(Node::Leaf(leaf))
    }

    fn key_number(&self, by: &[String]) -> Result<u16, RulesError> {
        let position = self.keys.iter().position(|known| known == by).unwrap_or(usize::MAX);
        u16::try_from(position).map_err(|_| RulesError::TooMany(u16::MAX))
    }
}

/// Attributes as fields of a span: `Span.attributes` is field 9, of a key and a text.
fn encoded(attributes: &[(String, String)]) -> Vec<u8> {
    let mut out = Vec::new();
    for (key, value) in attributes {
        let mut text = Vec::new();
        put_header(&mut text, 1, value.len());
        text.extend_from_slice(value.as_bytes());
        let mut attribute = Vec::new();
        put_header(&mut attribute, 1, key.len());
        attribute.extend_from_slice(key.as_bytes());
        // Field numbers up to 15 take one byte; `put_header` writes length-delimited fields.
        put_header(&mut attribute, 2, text.len());
        attribute.extend_from_slice(&text);
        put_header(&mut out, 9, attribute.len());
        out.extend_from_slice(&attribute);
    }
    out
}
