//! Conditions in OTTL, the OpenTelemetry Transformation Language: read, resolved and checked, so that what is wrong
//! with one is said before the first span. The engine compiles what comes out; nothing here evaluates it.
//!
//! Semantics: the Collector's `pkg/ottl` v0.161 with the paths of its span and span event contexts and its standard
//! converters. Editors, which change data, have no place in a condition.
//!
//! ```text
//! text -> token -> syntax (no meaning yet) -> check (paths, converters, types) -> tree
//! ```

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::float_cmp)
)]

mod check;
mod compare;
mod conditions;
mod convert;
mod error;
mod evaluate;
mod field;
mod function;
mod functions;
mod grok;
mod locale;
mod need;
mod note;
pub mod pattern;
mod prepare;
mod program;
mod scalar;
pub mod suggest;
mod syntax;
mod target;
mod time_format;
mod token;
mod tracestate;
mod tree;
mod value;
mod xpath;

pub use conditions::{Conditions, Outcome};
pub use error::{CompileError, Failure, OttlError};
pub use need::Needs;
pub use note::{Attributes, Need, Note, Noted, Notes, Site};
pub use prepare::Shared;
pub use target::{Scope, Target, WORK_BYTES, WORK_BYTES_PER_BYTE};
pub use tree::Condition;

use check::grok as grok_of;
use field::Field;
use function::Function;
use tree::{Argument, Comparison, Expression, Key, Operator, Predicate};

/// Longest condition, bytes. Far above any written by hand; it bounds the tree and all work on it.
pub const CONDITION_BYTES_MAX: usize = 16 * 1024;

/// Deepest nesting of parentheses, calls, lists and maps: what recursion over a tree costs in stack.
pub const NESTING_MAX: usize = 48;

/// Most elements of a list or map, and most arguments of a call.
pub const ELEMENTS_MAX: usize = 1024;

/// What a condition is evaluated on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Context {
    /// A span, with its scope and resource.
    Span,
    /// An event of a span, with that span, its scope and resource.
    SpanEvent,
}

impl Context {
    /// The name that its paths may begin with, and that paths without a context get.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Span => "span",
            Self::SpanEvent => "spanevent",
        }
    }
}

/// Reads a condition and checks everything about it that can be known without a span.
///
/// # Errors
/// `OttlError`, with the place and, for a misspelt name, the name that was probably meant.
pub fn parse(text: &str, context: Context) -> Result<Condition, OttlError> {
    if text.len() > CONDITION_BYTES_MAX {
        return Err(OttlError::new(0, format!("the condition is longer than {CONDITION_BYTES_MAX} bytes")));
    }
    let tokens = token::tokens(text)?;
    let syntax = syntax::condition(text, &tokens)?;
    check::condition(text, context, &syntax)
}

#[cfg(test)]
mod tests;
