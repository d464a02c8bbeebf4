//! OTTL conditions on spans and their events, evaluated while a span's bytes are hot. Attributes that conditions ask for
//! are noted by the same pass that evaluates the other policies' leaves; the rest is read from the span's bytes when a
//! condition gets there.
//!
//! A policy walks a trace's spans in order and stops at the first that matches, or at the first error if errors
//! propagate. So it has two leaves, matched and failed, of which the first to come holds for the trace.

mod compare;
mod convert;
mod evaluate;
mod functions;
mod need;
mod prepare;
mod program;
mod scalar;
mod target;
mod tracestate;
mod value;

pub use target::{Scope, Target, WORK_BYTES, WORK_BYTES_PER_BYTE};
pub use value::Value;

use super::attribute::{AttributeRules, Memory};
use need::Needs;
use prepare::Shared;
use program::{Builder, Check, ProgramError};
use tailwater_config::sampling::ErrorMode;
use tailwater_ottl::{Context, OttlError, parse};
use thiserror::Error;
use value::Fields;

/// Why a condition has no outcome for a span. Nothing was changed; the policy's error mode says what becomes of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Failure {
    /// A value of a type that the operation does not take.
    #[error("a value has a type that does not fit")]
    Type,
    /// A value that the operation does not take.
    #[error("a value does not fit")]
    Value,
    /// An index or key that the value does not have.
    #[error("an index or key does not fit the value")]
    Index,
    /// A division by zero, a logarithm of nothing.
    #[error("a calculation has no result")]
    Math,
    /// Something that is not known where traces are judged.
    #[error("a field is not known here")]
    Missing,
    /// More than `WORK_BYTES` and `WORK_BYTES_PER_BYTE` allow.
    #[error("the evaluation reads and builds too much for one span")]
    Work,
}

/// Why a policy can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum OttlRulesError {
    /// A condition is none.
    #[error("invalid condition {text:?}: {error}")]
    Condition {
        /// The condition as configured.
        text: String,
        /// What is wrong with it.
        error: OttlError,
    },
    /// An expression in a condition is too large.
    #[error("invalid regular expression {pattern:?}: {reason}")]
    Pattern {
        /// The expression as configured.
        pattern: String,
        /// What is wrong with it.
        reason: String,
    },
    /// The conditions ask for more attributes than can be told apart.
    #[error("the conditions of all policies look up too many attributes")]
    TooManyKeys,
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
    span: Vec<Check>,
    event: Vec<Check>,
    leaves: OttlLeaves,
    error_mode: ErrorMode,
    /// What looking at an event costs besides its bytes: the conditions' own length, which bounds what they compare with.
    event_cost: usize,
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

/// What a policy says of one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Outcome {
    Matched,
    Unmatched,
    Failed,
}

impl OttlRules {
    /// Adds a policy whose outcome sets `leaves`.
    pub(super) fn add(
        &mut self,
        attributes: &mut AttributeRules,
        conditions: (&[String], &[String]),
        error_mode: ErrorMode,
        leaves: OttlLeaves,
    ) -> Result<(), OttlRulesError> {
        let mut builder = Builder { attributes, needs_scope: false, shared: &mut self.shared };
        let mut compile = |texts: &[String], context: Context| -> Result<Vec<Check>, OttlRulesError> {
            texts.iter().map(|text| compiled(&mut builder, text, context)).collect()
        };
        let span = compile(conditions.0, Context::Span)?;
        let event = compile(conditions.1, Context::SpanEvent)?;
        self.needs_scope |= builder.needs_scope;
        if leaves.failed.is_some() {
            let word = usize::from(leaves.matched / 64);
            self.exclusive.resize(self.exclusive.len().max(word + 1), 0);
            self.exclusive[word] |= 1 << (leaves.matched % 64);
        }
        // Attributes of an event are not among those that are scanned.
        let needs = if event.is_empty() { Needs::of_any(&span, attributes) } else { Needs::NONE };
        self.needs.push(needs);
        let event_cost = conditions.1.iter().map(String::len).sum();
        self.policies.push(OttlPolicy { span, event, leaves, error_mode, event_cost });
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

    /// Evaluates all policies on a span and sets their bits in `leaves`; returns how many conditions failed whose errors
    /// are to be counted.
    #[inline(never)]
    pub fn evaluate(&self, target: &Target<'_>, has_events: bool, leaves: &mut [u64]) -> u32 {
        let mut failures = 0;
        let work = target.grant();
        let met = |notes: Option<&Memory>| notes.map_or(0, Memory::met);
        let met = met(target.span_notes) | met(target.resource_notes);
        for (policy, needs) in self.policies.iter().zip(&self.needs) {
            if !needs.are_met(met) {
                continue;
            }
            target.work.set(work);
            let leaf = match policy.evaluate(target, has_events, &mut failures) {
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

fn compiled(builder: &mut Builder<'_>, text: &str, context: Context) -> Result<Check, OttlRulesError> {
    let parsed = parse(text, context).map_err(|error| OttlRulesError::Condition { text: text.to_string(), error })?;
    match builder.check(&parsed.predicate) {
        Ok((check, _)) => Ok(check),
        Err(ProgramError::Pattern(pattern, reason)) => Err(OttlRulesError::Pattern { pattern, reason }),
        Err(ProgramError::TooManyKeys) => Err(OttlRulesError::TooManyKeys),
    }
}

impl OttlPolicy {
    fn evaluate(&self, target: &Target<'_>, has_events: bool, failures: &mut u32) -> Outcome {
        if let ([check], []) = (&*self.span, &*self.event) {
            if evaluate::is_plainly_false(check, target) {
                return Outcome::Unmatched;
            }
            return self.one(check, target, failures);
        }
        match self.any(&self.span, target, failures) {
            Outcome::Unmatched => {}
            outcome => return outcome,
        }
        if self.event.is_empty() || !has_events {
            return Outcome::Unmatched;
        }
        let span = target.facts.map_or(&[][..], |facts| facts.bytes);
        for event in Fields::new(span, 11) {
            if let Err(failure) = target.spend(event.len() + self.event_cost) {
                return self.outcome(Err(failure), failures);
            }
            let about = Target { event, work: target.work.clone(), walked: target.walked.clone(), ..*target };
            let outcome = self.any(&self.event, &about, failures);
            target.work.set(about.work.get());
            target.walked.set(about.walked.get());
            if outcome != Outcome::Unmatched {
                return outcome;
            }
        }
        Outcome::Unmatched
    }

    fn any(&self, checks: &[Check], target: &Target<'_>, failures: &mut u32) -> Outcome {
        for check in checks {
            match self.one(check, target, failures) {
                Outcome::Unmatched => {}
                outcome => return outcome,
            }
        }
        Outcome::Unmatched
    }

    #[inline]
    fn one(&self, check: &Check, target: &Target<'_>, failures: &mut u32) -> Outcome {
        self.outcome(evaluate::check(check, target), failures)
    }

    #[inline]
    fn outcome(&self, result: Result<bool, Failure>, failures: &mut u32) -> Outcome {
        match result {
            Ok(true) => Outcome::Matched,
            Ok(false) => Outcome::Unmatched,
            Err(_) if self.leaves.failed.is_some() => Outcome::Failed,
            Err(_) => {
                *failures += u32::from(self.error_mode == ErrorMode::Ignore);
                Outcome::Unmatched
            }
        }
    }
}

#[cfg(test)]
mod tests;
