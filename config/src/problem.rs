//! What is said about a configuration: problems that refuse it, and notes that do not.

use std::fmt;

/// Where a setting was written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Source {
    /// The built-in default.
    Default,
    /// The configuration file.
    File {
        /// Name of the file as it was given.
        name: String,
        /// Line, 1-based; 0 for the file as a whole.
        line: u32,
    },
    /// An environment variable, by name.
    Environment(String),
    /// A command line flag, by name.
    Flag(String),
}

impl fmt::Display for Source {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Default => formatter.write_str("default"),
            Self::File { name, line: 0 } => formatter.write_str(name),
            Self::File { name, line } => write!(formatter, "{name}:{line}"),
            Self::Environment(name) => write!(formatter, "environment {name}"),
            Self::Flag(name) => write!(formatter, "flag --{name}"),
        }
    }
}

/// A reason to refuse a configuration. Nothing has been started; the user changes what the remedy says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Problem {
    /// Where it was written.
    pub source: Source,
    /// Dotted path of the key, empty for the configuration as a whole.
    pub key: String,
    /// The value as it was written, when that helps and is no secret.
    pub value: Option<String>,
    /// What is wrong.
    pub cause: String,
    /// What to do about it.
    pub remedy: String,
}

impl std::error::Error for Problem {}

impl fmt::Display for Problem {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: ", self.source)?;
        if !self.key.is_empty() {
            formatter.write_str(&self.key)?;
            if let Some(value) = &self.value {
                write!(formatter, " = {value}")?;
            }
            formatter.write_str(": ")?;
        }
        formatter.write_str(&self.cause)?;
        if !self.remedy.is_empty() {
            write!(formatter, "; {}", self.remedy)?;
        }
        Ok(())
    }
}

/// Something the user should know that does not refuse the configuration: a key of the Collector's file without
/// effect here, a choice made for them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// Where it was written.
    pub source: Source,
    /// Dotted path of the key.
    pub key: String,
    /// What follows from it.
    pub text: String,
}

impl fmt::Display for Note {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}: {}", self.source, self.key, self.text)
    }
}

/// Why one value is not acceptable: the part of a [`Problem`] known where the value is parsed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Fault {
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Fault {
    /// A fault with a cause and a remedy.
    pub(crate) fn new(cause: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { cause: cause.into(), remedy: remedy.into() }
    }
}

/// Longest piece of a user's value repeated in a message.
const SHOWN_CHARACTERS_MAX: usize = 120;

/// A user's value as a message shows it: bounded, and on one line.
pub(crate) fn shown(value: &str) -> String {
    let mut out: String = value.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect();
    if value.chars().nth(SHOWN_CHARACTERS_MAX).is_some() {
        out.push_str("...");
    }
    out
}

/// Collects what is said while a configuration is read, so that all of it is said at once.
#[derive(Debug, Default)]
pub(crate) struct Findings {
    /// Reasons to refuse.
    pub(crate) problems: Vec<Problem>,
    /// Remarks.
    pub(crate) notes: Vec<Note>,
}

impl Findings {
    /// Records a reason to refuse. Of one place that is wrong in several ways the first is told: the others follow from
    /// it more often than not.
    pub(crate) fn problem(&mut self, source: Source, key: &str, value: Option<String>, fault: Fault) {
        let is_told = |told: &Problem| told.source == source && told.key == key && told.source != Source::Default;
        if self.problems.iter().any(is_told) {
            return;
        }
        let Fault { cause, remedy } = fault;
        self.problems.push(Problem { source, key: key.to_string(), value, cause, remedy });
    }

    /// Whether the place has been told to be wrong.
    pub(crate) fn is_refused(&self, source: &Source) -> bool {
        self.problems.iter().any(|told| told.source == *source && told.source != Source::Default)
    }

    /// Whether a key that begins so has been told to be wrong.
    pub(crate) fn is_refused_within(&self, prefix: &str) -> bool {
        self.problems.iter().any(|told| told.key.starts_with(prefix))
    }

    /// Records a remark.
    pub(crate) fn note(&mut self, source: Source, key: &str, text: impl Into<String>) {
        self.notes.push(Note { source, key: key.to_string(), text: text.into() });
    }
}
