//! Conditions in OTTL, the OpenTelemetry Transformation Language: read, resolved and checked, so that what is wrong
//! with one is said before the first span; then compiled, and evaluated on spans as they lie on the wire.
//!
//! Semantics: the Collector's `pkg/ottl` v0.161 with the paths of its span and span event contexts and its standard
//! converters. Editors, which change data, have no place in a condition.
//!
//! ```text
//! text -> token -> syntax (no meaning yet) -> check (paths, functions, types) -> tree
//! tree -> compile -> program -> evaluate (on a target, to values)
//! ```
//!
//! A function of the language has all of it in one module below `functions`: how it is written, what is checked of it, what is
//! made of it once, and its value.

#![cfg_attr(
    test,
    allow(clippy::cast_possible_truncation, clippy::cast_possible_wrap, clippy::cast_sign_loss, clippy::float_cmp)
)]

mod check;
mod compare;
mod compile;
mod conditions;
mod convert;
mod error;
mod evaluate;
mod field;
mod function;
mod functions;
mod layout;
mod need;
mod note;
mod operator;
mod parse;
mod path;
pub mod pattern;
mod program;
mod scalar;
pub mod suggest;
mod syntax;
mod target;
mod token;
mod tracestate;
mod tree;
mod value;
mod zone;

pub use conditions::{Conditions, Outcome};
pub use error::{CompileError, Failure, OttlError};
pub use field::Context;
pub use function::Shared;
pub use need::Needs;
pub use note::{Attributes, Need, Note, Noted, Notes, Site};
pub use parse::{CONDITION_BYTES_MAX, parse};
pub use target::{Scope, Target, WORK_BYTES, WORK_BYTES_PER_BYTE};
pub use tree::Condition;

#[cfg(test)]
mod tests;
