//! The conditions of a policy, compiled: what a span, and each of its events in turn, comes to under them.

use super::compile::Builder;
use super::error::{CompileError, Failure};
use super::evaluate;
use super::field::Context;
use super::function::Shared;
use super::need::Needs;
use super::note::Attributes;
use super::parse::parse;
use super::program::Check;
use super::target::Target;

/// The conditions of a policy. They are asked in order up to the first that matches: those on the span, then those on its
/// events for each event.
#[derive(Debug)]
pub struct Conditions {
    span: Vec<Check>,
    event: Vec<Check>,
    /// What looking at an event costs besides its bytes: the conditions' own length, which bounds what they compare with.
    event_cost: usize,
    needs_scope: bool,
}

/// What conditions say of one span.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Outcome {
    /// A condition held.
    Matched,
    /// None held.
    Unmatched,
    /// A condition failed, and its error is not passed over.
    Failed,
}

impl Conditions {
    /// Compiles conditions on spans and conditions on events.
    ///
    /// # Errors
    /// `CompileError`; some attributes may be noted for nothing then.
    pub fn compile(
        span: &[String],
        event: &[String],
        attributes: &mut dyn Attributes,
        shared: &mut Shared,
    ) -> Result<Self, CompileError> {
        let mut builder = Builder { attributes, needs_scope: false, shared };
        let mut compile = |texts: &[String], context: Context| -> Result<Vec<Check>, CompileError> {
            texts.iter().map(|text| compiled(&mut builder, text, context)).collect()
        };
        let (span, checks) = (compile(span, Context::Span)?, compile(event, Context::SpanEvent)?);
        let event_cost = event.iter().map(String::len).sum();
        Ok(Self { span, event: checks, event_cost, needs_scope: builder.needs_scope })
    }

    /// What a span needs of attributes, while which is not met no condition holds or fails.
    pub fn needs(&self, attributes: &mut dyn Attributes) -> Needs {
        // Attributes of an event are not among those that are scanned.
        if self.event.is_empty() { Needs::of_any(&self.span, attributes) } else { Needs::NONE }
    }

    /// Whether a condition looks at the scope.
    #[must_use]
    pub fn needs_scope(&self) -> bool {
        self.needs_scope
    }

    /// Evaluates them. A failure ends it if errors propagate; else it is counted in `failures` and passed over.
    #[inline]
    pub fn evaluate(&self, target: &Target<'_>, has_events: bool, propagates: bool, failures: &mut u32) -> Outcome {
        let mut outcome = |result: Result<bool, Failure>| match result {
            Ok(true) => Outcome::Matched,
            Ok(false) => Outcome::Unmatched,
            Err(_) if propagates => Outcome::Failed,
            Err(_) => {
                *failures += 1;
                Outcome::Unmatched
            }
        };
        if let ([check], []) = (&*self.span, &*self.event) {
            if evaluate::is_plainly_false(check, target) {
                return Outcome::Unmatched;
            }
            return outcome(evaluate::check(check, target));
        }
        for check in &self.span {
            match outcome(evaluate::check(check, target)) {
                Outcome::Unmatched => {}
                found => return found,
            }
        }
        if self.event.is_empty() || !has_events {
            return Outcome::Unmatched;
        }
        self.evaluate_events(target, &mut outcome)
    }

    fn evaluate_events(
        &self,
        target: &Target<'_>,
        outcome: &mut dyn FnMut(Result<bool, Failure>) -> Outcome,
    ) -> Outcome {
        for event in target.events() {
            if let Err(failure) = target.spend(event.len() + self.event_cost) {
                return outcome(Err(failure));
            }
            let about = Target { event, work: target.work.clone(), walked: target.walked.clone(), ..*target };
            let mut outcomes = self.event.iter().map(|check| outcome(evaluate::check(check, &about)));
            let found = outcomes.find(|outcome| *outcome != Outcome::Unmatched);
            target.work.set(about.work.get());
            target.walked.set(about.walked.get());
            if let Some(found) = found {
                return found;
            }
        }
        Outcome::Unmatched
    }
}

fn compiled(builder: &mut Builder<'_>, text: &str, context: Context) -> Result<Check, CompileError> {
    let parsed = parse(text, context).map_err(|error| CompileError::Condition { text: text.to_string(), error })?;
    builder.check(&parsed.predicate).map(|(check, _)| check)
}
