//! What is wrong with a condition, and where; why it has no outcome for a span.

use thiserror::Error;

/// Why a condition is refused. Nothing was changed; the condition is to be corrected.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{message} (at byte {offset}){}", .hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default())]
pub struct OttlError {
    /// Where in the condition, bytes from its beginning.
    pub offset: usize,
    /// What is wrong, in one line.
    pub message: String,
    /// What to do about it, when that is known.
    pub hint: Option<String>,
}

/// Characters of a long condition that are shown on either side of the place.
const SHOWN_CHARACTERS: usize = 60;

impl OttlError {
    pub(super) fn new(offset: usize, message: impl Into<String>) -> Self {
        Self { offset, message: message.into(), hint: None }
    }

    pub(super) fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// With the known name that was probably meant, when there is one.
    pub(super) fn nearest<'a>(self, name: &str, known: impl Iterator<Item = &'a str>) -> Self {
        match crate::suggest::nearest(name, known) {
            Some(nearest) => self.hint(format!("did you mean {nearest}?")),
            None => self,
        }
    }

    /// Three lines: the condition `text`, a caret under the place, and what is wrong.
    #[must_use]
    pub fn render(&self, text: &str) -> String {
        let offset = (0..=self.offset.min(text.len())).rev().find(|at| text.is_char_boundary(*at)).unwrap_or(0);
        let line_start = text[..offset].rfind('\n').map_or(0, |at| at + 1);
        let line_end = text[offset..].find('\n').map_or(text.len(), |at| offset + at);
        let before: Vec<char> = text[line_start..offset].chars().collect();
        let skipped = before.len().saturating_sub(SHOWN_CHARACTERS);
        let start = if skipped > 0 { "..." } else { "" };
        let shown: String = before[skipped..].iter().copied().map(printable).collect();
        let mut rest = text[offset..line_end].chars();
        let after: String = rest.by_ref().take(SHOWN_CHARACTERS).map(printable).collect();
        let end = if rest.next().is_some() { "..." } else { "" };
        let indent = " ".repeat(start.len() + before.len() - skipped);
        let hint = self.hint.as_ref().map(|hint| format!("; {hint}")).unwrap_or_default();
        format!("{start}{shown}{after}{end}\n{indent}^\n{}{hint}", self.message)
    }
}

/// Control characters would move what comes behind them.
fn printable(character: char) -> char {
    if character.is_control() { ' ' } else { character }
}

/// Why the conditions of a policy can't be compiled.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum CompileError {
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
