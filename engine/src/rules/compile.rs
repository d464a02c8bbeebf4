//! From configured policies to leaves and trees.

mod native;

use super::attribute::{AttributeRules, Test};
use super::limit::{Cost, Limit};
use super::ottl::{OttlLeaves, OttlRules};
use super::quantile::RelativeLeaf;
use super::tree::{Class, FNV_BASIS, Group, LimitNumber, Node, fnv_1a};
use super::{CompiledPolicy, LatencyLeaf, Rules, TraceStateLeaf};
use tailwater_config::conditions_of_policy;
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling, Thresholds};
use tailwater_ottl::{CompileError, pattern};
use tailwater_proto::consistent::{NEVER, PRECISION_DEFAULT, threshold_of};
use thiserror::Error;

/// Why a set of policies can't be compiled. Nothing was changed; the configuration is to be corrected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum RulesError {
    /// A regular expression is none, or too large.
    #[error("line {line}: policy {policy:?}: invalid regular expression {pattern:?}: {reason}")]
    Pattern {
        /// Line of the file.
        line: u32,
        /// The policy's name.
        policy: String,
        /// The expression as configured.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// A condition is none.
    #[error("line {line}: policy {policy:?}: {cause}")]
    Condition {
        /// Line of the file.
        line: u32,
        /// The policy's name.
        policy: String,
        /// What is wrong with it.
        cause: CompileError,
    },
    /// More policies or leaves than their numbers can name.
    #[error("more than {0} policies or conditions; split the set over several nodes or simplify it")]
    TooMany(u16),
}

/// A key and its value must be shorter than this together (the Collector's bound).
const MEMBER_BYTES_MAX: usize = 256;

/// The Collector's salt when none is configured.
const HASH_SALT_DEFAULT: &str = "default-hash-seed";

impl Rules {
    /// Compiles the policies of a sampling section.
    ///
    /// # Errors
    /// `RulesError`, naming the policy and its line.
    pub fn compile(sampling: &Sampling) -> Result<Self, RulesError> {
        Self::compile_with(sampling, Vec::new())
    }

    /// As `compile`, with the annotations that have numbers already.
    pub(super) fn compile_with(sampling: &Sampling, annotations: Vec<Vec<u8>>) -> Result<Self, RulesError> {
        let mut compiler = Compiler { keys: native::keys_of(sampling), annotations, ..Compiler::default() };
        let mut policies = compiler.native_rules(sampling)?;
        for policy in &sampling.policies {
            let node = compiler.node(policy)?;
            policies.push(CompiledPolicy {
                name: policy.name.clone(),
                passed: passed_by(&node),
                node,
                condition: None,
                is_drop: matches!(policy.rule, Rule::Drop(_)),
                is_shadow: policy.is_shadow,
                conditions: conditions_of_policy(policy),
            });
        }
        let keys = compiler.noted_keys()?;
        let leaf_count = usize::from(compiler.leaves).max(if keys.is_empty() { 0 } else { LEAVES * (1 + keys.len()) });
        let count = u16::try_from(policies.len()).map_err(|_| RulesError::TooMany(u16::MAX))?;
        let (shadows, effective): (Vec<u16>, Vec<u16>) =
            (0..count).partition(|index| policies[usize::from(*index)].is_shadow);
        let (mut order, voting): (Vec<u16>, Vec<u16>) =
            effective.into_iter().partition(|index| policies[usize::from(*index)].is_drop);
        let drops = order.len();
        let before = |numbers: &[u16], shadow: u16| numbers.iter().filter(|number| **number < shadow).count();
        let place = |shadow: &u16| match policies[usize::from(*shadow)].is_drop {
            true => before(&order, *shadow),
            false => drops + before(&voting, *shadow),
        };
        // Numbers are 16 bits wide.
        let shadow_places = shadows.iter().map(|shadow| u16::try_from(place(shadow)).unwrap_or(u16::MAX)).collect();
        order.extend(voting);
        Ok(Self {
            generation: 0,
            fingerprint: 0,
            attributes: compiler.attributes,
            ottl: compiler.ottl,
            latencies: compiler.latencies,
            reads_context: compiler.sampled_flag.is_some() || !compiler.trace_states.is_empty(),
            trace_states: compiler.trace_states,
            sampled_flag: compiler.sampled_flag,
            limits: compiler.limits,
            budget: compiler.budget,
            limit_names: compiler.limit_names,
            sub_policy_names: compiler.sub_policy_names,
            keys,
            key_names: compiler.keys,
            relative: compiler.relative,
            annotations: compiler.annotations,
            by_hand_annotation: None,
            annotation_order: compiler.annotation_order,
            policies,
            named_only: Vec::new(),
            order,
            shadow_places,
            shadows,
            leaf_count,
            sample_on_first_match: sampling.sample_on_first_match,
            is_by_randomness: sampling.thresholds == Thresholds::Otep235,
        })
    }
}

#[derive(Default)]
pub(super) struct Compiler {
    attributes: AttributeRules,
    ottl: OttlRules,
    latencies: Vec<LatencyLeaf>,
    trace_states: Vec<TraceStateLeaf>,
    sampled_flag: Option<u16>,
    limits: Vec<Limit>,
    pub(super) budget: Option<u16>,
    /// Where each limit stands: the names of its policy and those around it.
    limit_names: Vec<String>,
    sub_policy_names: Vec<String>,
    pub(super) keys: Vec<Vec<String>>,
    pub(super) relative: Vec<RelativeLeaf>,
    pub(super) annotations: Vec<Vec<u8>>,
    pub(super) annotation_order: Vec<u16>,
    leaves: u16,
    /// What is compiled is to be dropped, or not to be sampled.
    is_opposite: bool,
}

/// Leaves in a word.
const LEAVES: usize = 64;

impl Compiler {
    pub(super) fn node(&mut self, policy: &Policy) -> Result<Node, RulesError> {
        Ok(match &policy.rule {
            Rule::AlwaysSample => Node::Always,
            Rule::Latency { threshold_ms, upper_threshold_ms } => self.latency(*threshold_ms, *upper_threshold_ms)?,
            Rule::StatusCode { ok, error, unset } => {
                Node::Status(u8::from(*unset) | u8::from(*ok) << 1 | u8::from(*error) << 2)
            }
            Rule::StringAttribute { key, values, regex, invert } => {
                let test = if *regex { self.patterns(policy, values)? } else { texts(values) };
                self.attribute(key, test, *invert)?
            }
            Rule::NumericAttribute { key, min, max, invert } => {
                self.attribute(key, Test::IntegerWithin(*min, *max), *invert)?
            }
            Rule::BooleanAttribute { key, value, invert } => self.attribute(key, Test::BooleanIs(*value), *invert)?,
            Rule::Probabilistic { hash_salt, sampling_percentage } => {
                let salt = if hash_salt.is_empty() { HASH_SALT_DEFAULT } else { hash_salt };
                Node::Probabilistic {
                    salted: fnv_1a(FNV_BASIS, salt.as_bytes()),
                    hash_max: hash_max(*sampling_percentage),
                    threshold: threshold_of(sampling_percentage.min(100.0) / 100.0, PRECISION_DEFAULT).unwrap_or(NEVER),
                    is_fixed: self.is_opposite,
                }
            }
            Rule::SpanCount { min, max } => Node::SpanCount { min: i64::from(*min), max: i64::from(*max) },
            Rule::OttlCondition { error_mode, span, spanevent } => {
                self.conditions(policy, *error_mode, (span, spanevent))?
            }
            Rule::RateLimiting { spans_per_second, burst_capacity } => {
                Node::Limit(self.limit(&policy.name, Limit::bucket(Cost::Spans, *spans_per_second, *burst_capacity))?)
            }
            Rule::BytesLimiting { bytes_per_second, burst_capacity } => {
                Node::Limit(self.limit(&policy.name, Limit::bucket(Cost::Bytes, *bytes_per_second, *burst_capacity))?)
            }
            Rule::TraceFlags => Node::Leaf(self.sampled_flag()?),
            Rule::Any(policies) => Node::Any(self.nodes(policies)?),
            Rule::RelativeLatency { .. } => self.relative_latency(&policy.rule)?,
            Rule::TraceState { key, values } => self.trace_state(key, values)?,
            Rule::Composite { spans_per_second_max, policies } => {
                let class = |(policy, spans): &(Policy, i64)| self.class(policy, (*spans).min(*spans_per_second_max));
                Node::Composite(policies.iter().map(class).collect::<Result<_, _>>()?)
            }
            Rule::And(policies) => Node::All(self.nodes(policies)?),
            Rule::Drop(policies) => Node::All(self.opposite(|own| own.nodes(policies))?),
            Rule::Not(policy) => Node::Not(Box::new(self.opposite(|own| own.node(policy))?)),
        })
    }

    fn nodes(&mut self, policies: &[Policy]) -> Result<Vec<Node>, RulesError> {
        policies.iter().map(|policy| self.node(policy)).collect()
    }

    /// Compiles what keeps more the less there is of it.
    fn opposite<T>(&mut self, compile: impl FnOnce(&mut Self) -> T) -> T {
        let before = std::mem::replace(&mut self.is_opposite, true);
        let compiled = compile(self);
        self.is_opposite = before;
        compiled
    }

    /// A policy of conditions. One whose errors propagate has two leaves side by side in one word, of which a trace has
    /// the one that came first.
    fn conditions(
        &mut self,
        policy: &Policy,
        error_mode: ErrorMode,
        conditions: (&[String], &[String]),
    ) -> Result<Node, RulesError> {
        let mut matched = self.next_leaf()?;
        let mut failed = None;
        if error_mode == ErrorMode::Propagate {
            if matched % 64 == 63 {
                matched = self.next_leaf()?;
            }
            failed = Some(self.next_leaf()?);
        }
        let leaves = OttlLeaves { matched, failed };
        self.ottl.add(&mut self.attributes, conditions, error_mode, leaves).map_err(|cause| RulesError::Condition {
            line: policy.line,
            policy: policy.name.clone(),
            cause,
        })?;
        Ok(match failed {
            Some(failed) => Node::Fallible { matched, failed },
            None => Node::Leaf(matched),
        })
    }

    pub(super) fn sampled_flag(&mut self) -> Result<u16, RulesError> {
        if let Some(leaf) = self.sampled_flag {
            return Ok(leaf);
        }
        let leaf = self.next_leaf()?;
        self.sampled_flag = Some(leaf);
        Ok(leaf)
    }

    /// Has the attributes noted that keys are made of.
    fn noted_keys(&mut self) -> Result<Vec<Vec<usize>>, RulesError> {
        let Self { keys, attributes, .. } = self;
        let numbers = |by: &Vec<String>| by.iter().map(|name| attributes.noted(name)).collect::<Option<Vec<_>>>();
        keys.iter().map(numbers).collect::<Option<Vec<_>>>().ok_or(RulesError::TooMany(u16::MAX))
    }

    pub(super) fn limit(&mut self, name: &str, limit: Limit) -> Result<LimitNumber, RulesError> {
        let number = u16::try_from(self.limits.len()).map_err(|_| RulesError::TooMany(u16::MAX))?;
        let cost = limit.cost;
        self.limits.push(Limit { is_fixed: self.is_opposite, ..limit });
        self.limit_names.push(name.to_string());
        Ok(LimitNumber { number, cost, group: Group::All })
    }

    fn class(&mut self, policy: &Policy, spans_per_second: i64) -> Result<Class, RulesError> {
        let node = self.node(policy)?;
        let limit = self.limit(&policy.name, Limit::by_second(spans_per_second))?;
        let name = u16::try_from(self.sub_policy_names.len()).map_err(|_| RulesError::TooMany(u16::MAX))?;
        self.sub_policy_names.push(policy.name.clone());
        Ok(Class { node, limit, name })
    }

    /// A leaf on a member of the tracestate. Values that no member can have are left out, as the Collector does.
    fn trace_state(&mut self, key: &str, values: &[String]) -> Result<Node, RulesError> {
        let fits = |value: &&String| !value.is_empty() && key.len() + value.len() < MEMBER_BYTES_MAX;
        let values: Vec<Box<[u8]>> = values.iter().filter(fits).map(|value| value.as_bytes().into()).collect();
        let same = |known: &&TraceStateLeaf| *known.key == *key.as_bytes() && known.values == values;
        if let Some(known) = self.trace_states.iter().find(same) {
            return Ok(Node::Leaf(known.leaf));
        }
        let leaf = self.next_leaf()?;
        self.trace_states.push(TraceStateLeaf { leaf, key: key.as_bytes().into(), values });
        Ok(Node::Leaf(leaf))
    }

    fn latency(&mut self, threshold_ms: i64, upper_threshold_ms: i64) -> Result<Node, RulesError> {
        let wanted =
            |known: &&LatencyLeaf| known.threshold_ms == threshold_ms && known.upper_threshold_ms == upper_threshold_ms;
        if let Some(known) = self.latencies.iter().find(wanted) {
            return Ok(Node::Leaf(known.leaf));
        }
        let leaf = self.next_leaf()?;
        self.latencies.push(LatencyLeaf { leaf, threshold_ms, upper_threshold_ms });
        Ok(Node::Leaf(leaf))
    }

    /// A leaf on an attribute. Inverted, it samples when neither resource nor span matches: the negation of the
    /// same leaf over the whole trace.
    fn attribute(&mut self, key: &str, test: Test, invert: bool) -> Result<Node, RulesError> {
        let next = self.next_leaf()?;
        let leaf = self.attributes.leaf(key, test, next);
        if leaf != next {
            self.leaves -= 1;
        }
        let node = Node::Leaf(leaf);
        Ok(if invert { Node::Not(Box::new(node)) } else { node })
    }

    /// Several expressions are one alternation, so that a value is searched once. No values match nothing.
    fn patterns(&mut self, policy: &Policy, values: &[String]) -> Result<Test, RulesError> {
        let error = |pattern: &str, reason| RulesError::Pattern {
            line: policy.line,
            policy: policy.name.clone(),
            pattern: pattern.to_string(),
            reason,
        };
        if values.is_empty() {
            return Ok(Test::TextAmong(Vec::new()));
        }
        for value in values {
            pattern::compile(value).map_err(|reason| error(value, reason))?;
        }
        let joined = values.iter().map(|value| format!("(?:{value})")).collect::<Vec<_>>().join("|");
        let expression = if values.len() == 1 { &values[0] } else { &joined };
        let compiled = pattern::compile(expression).map_err(|reason| error(expression, reason))?;
        Ok(self.attributes.pattern(compiled))
    }

    pub(super) fn next_leaf(&mut self) -> Result<u16, RulesError> {
        if usize::from(self.leaves) == LEAVES {
            // The words behind the first are the keys.
            let after = u16::try_from(LEAVES * self.keys.len()).map_err(|_| RulesError::TooMany(u16::MAX))?;
            self.leaves = self.leaves.checked_add(after).ok_or(RulesError::TooMany(u16::MAX))?;
        }
        let leaf = self.leaves;
        self.leaves = leaf.checked_add(1).ok_or(RulesError::TooMany(u16::MAX))?;
        Ok(leaf)
    }
}

/// The limits that a trace has to pass that the node keeps.
pub(super) fn passed_by(node: &Node) -> Vec<LimitNumber> {
    let mut passed = Vec::new();
    node.limits_passed(&mut passed);
    passed
}

/// Exact values; empty ones never match and are left out.
fn texts(values: &[String]) -> Test {
    Test::TextAmong(values.iter().filter(|value| !value.is_empty()).map(|value| value.as_bytes().into()).collect())
}

/// The largest hash that is sampled: (2^64 - 1) times the share, the product rounded to 64 bits of mantissa (ties
/// to even), truncated and saturated. The share is `percentage / 100` in double precision.
#[must_use]
pub(super) fn hash_max(percentage: f64) -> u64 {
    let share = percentage / 100.0;
    if share.is_nan() || share <= 0.0 {
        return 0;
    }
    if share >= 1.0 {
        return u64::MAX;
    }
    let bits = share.to_bits();
    let exponent = bits >> 52;
    if exponent == 0 {
        return 0; // Subnormal: the product is far below one.
    }
    // share = mantissa * 2^(exponent - 1075), the product has at most 117 bits.
    let mantissa = bits & ((1 << 52) - 1) | 1 << 52;
    let product = u128::from(mantissa) * u128::from(u64::MAX);
    let excess = (128 - product.leading_zeros()).saturating_sub(64);
    let rounded = round_to_even(product, excess);
    let shift = 1075 - exponent;
    if shift >= 128 { 0 } else { u64::try_from(rounded >> shift).unwrap_or(u64::MAX) }
}

/// `value` with its lowest `bits` bits rounded away, ties to even.
fn round_to_even(value: u128, bits: u32) -> u128 {
    if bits == 0 {
        return value;
    }
    let unit = 1u128 << bits;
    let (floor, rest) = (value & !(unit - 1), value & (unit - 1));
    let up = rest > unit / 2 || (rest == unit / 2 && floor & unit != 0);
    if up { floor + unit } else { floor }
}
