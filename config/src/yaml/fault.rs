//! What is wrong with a document, and on which line.

use super::YamlError;

/// Deepest nesting. The deepest legal configuration has about ten levels.
/// At the bound: the configuration is refused.
pub(super) const DEPTH_MAX: usize = 64;

pub(super) fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}

pub(super) fn error(line: u32, cause: impl Into<String>, remedy: impl Into<String>) -> YamlError {
    YamlError { line, cause: cause.into(), remedy: remedy.into() }
}

pub(super) fn too_deep(line: u32) -> YamlError {
    error(line, format!("nested deeper than {DEPTH_MAX} levels"), "write it flatter")
}
