//! Our own rules: an ordered list of which the first that matches a trace decides with which threshold it is kept. The
//! samplers are those of OTEP 250, which compose thresholds, applied to whole traces.

use super::{Policy, Tables};

/// One rule.
#[derive(Debug, Clone, PartialEq)]
pub struct NativeRule {
    /// Shown in metrics and explanations; unique among the rules.
    pub name: String,
    /// Line of the configuration file, 1-based; 0 when it came from elsewhere.
    pub line: u32,
    /// Conditions that must all hold; they involve neither chance nor limits. None matches every trace.
    pub when: Vec<Policy>,
    /// What keeps a trace that matches.
    pub sampler: Sampler,
    /// Of the budget of the whole: so much a second is this rule's before others get any.
    pub budget_minimum_per_second: u64,
    /// It is evaluated and counted, and has no effect. At the top level only.
    pub is_shadow: bool,
}

/// What keeps a trace: a rejection threshold.
#[derive(Debug, Clone, PartialEq)]
pub enum Sampler {
    /// All.
    AlwaysOn,
    /// None.
    AlwaysOff,
    /// A share, 0 to 1.
    Probability(f64),
    /// What its senders have sampled already: the lowest threshold among its spans; without any the sampled flag when there
    /// is no root, and else the sampler for roots.
    ParentThreshold(Box<Self>),
    /// The sampler of the first rule whose conditions hold; none when none does.
    RuleBased(Vec<NativeRule>),
    /// What any of them keeps.
    AnyOf(Vec<Self>),
    /// Adds attributes to the spans that the delegate keeps.
    Annotating {
        /// Keys and values.
        attributes: Vec<(String, String)>,
        /// What keeps a trace.
        sampler: Box<Self>,
    },
    /// What the delegate keeps, up to a limit.
    Limited {
        /// What keeps a trace.
        sampler: Box<Self>,
        /// How much.
        limit: LimitTerms,
    },
}

/// A limit that keeps the traces of highest randomness.
#[derive(Debug, Clone, PartialEq)]
pub struct LimitTerms {
    /// How much may pass.
    pub amount: Amount,
    /// Attributes whose values together are a key: each key gets as much as the others, and what one does not use goes to
    /// the rest, so that rare ones are kept whole. None for one limit over all.
    pub by: Vec<String>,
}

/// How much may pass a limit.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Amount {
    /// Spans a second.
    SpansPerSecond(u64),
    /// Bytes a second.
    BytesPerSecond(u64),
    /// One of so many traces.
    OneIn(f64),
}

impl NativeRule {
    pub(super) fn count(&self, tables: &mut Tables) {
        self.when.iter().for_each(|policy| policy.rule.count(tables));
        self.sampler.count(tables);
    }
}

impl Sampler {
    fn count(&self, tables: &mut Tables) {
        match self {
            Self::AlwaysOn | Self::AlwaysOff | Self::Probability(_) => {}
            Self::ParentThreshold(sampler) | Self::Annotating { sampler, .. } => sampler.count(tables),
            Self::RuleBased(rules) => rules.iter().for_each(|rule| rule.count(tables)),
            Self::AnyOf(samplers) => samplers.iter().for_each(|sampler| sampler.count(tables)),
            Self::Limited { sampler, limit } => {
                tables.has_windows = true;
                tables.has_keys |= !limit.by.is_empty();
                sampler.count(tables);
            }
        }
    }
}
