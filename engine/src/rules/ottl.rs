//! Conditions in OTTL among the rules, evaluated while a span's bytes are hot: what their outcomes mean for a policy.
//! Attributes that conditions ask for are noted by the same pass that evaluates the other policies' leaves.
//!
//! A policy walks a trace's spans in order and stops at the first that matches, or at the first error if errors
//! propagate. So it has two leaves, matched and failed, of which the first to come holds for the trace.

use super::attribute::AttributeRules;
use tailwater_config::sampling::ErrorMode;
use tailwater_ottl::pattern::Expressions;
use tailwater_ottl::{Attributes, CompileError, Conditions, Need, Needs, Outcome, Shared, Site, Target};

impl Attributes for AttributeRules {
    fn noted(&mut self, key: &str) -> Option<usize> {
        self.noted(key)
    }

    fn need(&mut self, key: usize, site: Site, need: Need) -> Option<u64> {
        self.need(key, site, need)
    }
}

/// The leaves of one policy.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OttlLeaves {
    /// A condition held.
    pub matched: u16,
    /// A condition failed and its error propagates: the bit behind `matched`, in the same word. None where errors don't
    /// propagate.
    pub failed: Option<u16>,
}

#[derive(Debug)]
struct OttlPolicy {
    conditions: Conditions,
    leaves: OttlLeaves,
    error_mode: ErrorMode,
}

/// The conditions of all policies, compiled.
#[derive(Debug, Default)]
pub struct OttlRules {
    policies: Vec<OttlPolicy>,
    /// What each policy needs of the attributes, while which is not met no condition of it holds or fails.
    needs: Vec<Needs>,
    /// By word of leaves: the `matched` bits that have a `failed` bit behind them.
    exclusive: Vec<u64>,
    needs_scope: bool,
    shared: Shared,
}

impl OttlRules {
    /// How much memory the expressions in conditions take.
    pub(super) fn expressions(&self) -> Expressions {
        self.shared.expressions()
    }

    /// Adds a policy whose outcome sets `leaves`.
    pub(super) fn add(
        &mut self,
        attributes: &mut AttributeRules,
        conditions: (&[String], &[String]),
        error_mode: ErrorMode,
        leaves: OttlLeaves,
    ) -> Result<(), CompileError> {
        let conditions = Conditions::compile(conditions.0, conditions.1, attributes, &mut self.shared)?;
        self.needs_scope |= conditions.needs_scope();
        if leaves.failed.is_some() {
            let word = usize::from(leaves.matched / 64);
            self.exclusive.resize(self.exclusive.len().max(word + 1), 0);
            self.exclusive[word] |= 1 << (leaves.matched % 64);
        }
        self.needs.push(conditions.needs(attributes));
        self.policies.push(OttlPolicy { conditions, leaves, error_mode });
        Ok(())
    }

    /// Whether there is none.
    #[inline]
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.policies.is_empty()
    }

    /// Whether a condition looks at the scope.
    #[must_use]
    pub fn needs_scope(&self) -> bool {
        self.needs_scope
    }

    /// Adds a span's leaves to a trace's, for one word of them: of a pair of leaves that exclude each other the trace has
    /// the one that came first.
    #[inline]
    #[must_use]
    pub fn join(&self, word: usize, trace: u64, span: u64) -> u64 {
        let Some(matched) = self.exclusive.get(word) else { return trace | span };
        let decided = (trace | trace >> 1) & matched;
        trace | span & !(decided | decided << 1)
    }

    /// Merges the leaves of two sets of a trace's spans, for one word of them: of a pair that excludes each other a match
    /// outdoes a failure. Which of them came first nobody knows then, and this comes out the same in any order.
    #[inline]
    #[must_use]
    pub fn merge(&self, word: usize, one: u64, other: u64) -> u64 {
        let all = one | other;
        let matched = all & self.exclusive.get(word).copied().unwrap_or(0);
        all & !(matched << 1)
    }

    /// Evaluates all policies on a span and sets their bits in `leaves`; returns how many conditions failed whose errors
    /// are to be counted.
    #[inline(never)]
    pub fn evaluate(&self, target: &Target<'_>, has_events: bool, leaves: &mut [u64]) -> u32 {
        let mut failures = 0;
        let work = target.grant();
        let met = target.met();
        for (policy, needs) in self.policies.iter().zip(&self.needs) {
            if !needs.are_met(met) {
                continue;
            }
            target.work.set(work);
            let mut failed = 0;
            let outcome = policy.conditions.evaluate(target, has_events, policy.leaves.failed.is_some(), &mut failed);
            failures += if policy.error_mode == ErrorMode::Ignore { failed } else { 0 };
            let leaf = match outcome {
                Outcome::Matched => policy.leaves.matched,
                Outcome::Failed => policy.leaves.failed.unwrap_or(u16::MAX),
                Outcome::Unmatched => continue,
            };
            if let Some(word) = leaves.get_mut(usize::from(leaf / 64)) {
                *word |= 1 << (leaf % 64);
            }
        }
        failures
    }
}

#[cfg(test)]
mod tests;
