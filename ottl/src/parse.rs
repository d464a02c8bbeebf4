//! Reads a condition: its text, then its syntax, then what it means.

use super::error::OttlError;
use super::field::Context;
use super::tree::Condition;
use super::{check, syntax, token};

/// Longest condition, bytes. Far above any written by hand; it bounds the tree and all work on it.
/// At the bound: the configuration is refused.
pub const CONDITION_BYTES_MAX: usize = 16 * 1024;

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
