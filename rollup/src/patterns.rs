//! Patterns of logs: lines that differ only in what varies are counted as one.
//!
//! ```text
//!   body --read--> shape --add--> row of a core --take--> Partial --merge--> sums --cluster, emit--> OTLP logs
//! ```
//! A line's variable parts are masked (`mask`); what is left is its shape (`token`). Lines of a shape are counted together.
//! Shapes that are the same message with other names in it are found when there are many (`cluster`), from the set of
//! shapes alone, so that it matters little which core saw which line. JSON and maps (`body`) and stack traces (`fold`) have
//! shapes of their own.
//!
//! At the bounds of memory a line counts in the pattern `<*>` of its service and severity: counts always add up.
//!
//! One window of sums comes out as log records in the scope `tailwater.log_patterns`, one `ResourceLogs` a service:
//!
//! | field | what it holds |
//! | --- | --- |
//! | resource `service.name` | the service whose lines these are |
//! | `body` | the pattern: `user <*> logged in`; `<NAME>` for what a mask of the configuration took out |
//! | `severity_number`, `severity_text` | the first of the range: 1, 5, 9, 13, 17, 21 |
//! | `time_unix_nano`, `observed_time_unix_nano` | time of the last line; time of emission |
//! | `tailwater.pattern.id` | 16 hexadecimal digits, the same for the same service, severity and pattern everywhere |
//! | `tailwater.pattern.count` | lines of the window |
//! | `tailwater.pattern.first_unix_nano`, `.last_unix_nano` | time of the first and the last line |
//! | `tailwater.pattern.samples` | some bodies as they came, cut |
//! | `tailwater.pattern.values.N` | of the Nth part that varies, from 1, `<*>` or `<NAME>`: its most frequent values with how often they came at least |

mod body;
mod cluster;
mod emit;
mod fold;
mod mask;
mod partial;
mod row;
mod severity;
mod sums;
mod table;
mod token;
mod values;

pub use emit::SCOPE_NAME;
pub use partial::Partial as PatternsPartial;
pub use severity::Severity;
pub use sums::PatternSums;

use body::Reader;
use mask::NamedMask;
use table::{Bounds, Seen, Table};
use tailwater_proto::otlp::check::AnyValue;
use tailwater_proto::otlp::logs::LogFacts;
use thiserror::Error;
use token::Shape;

/// Fewest bytes that patterns can be counted in.
pub const BYTES_MIN: usize = 64 << 10;

/// Most examples of a pattern.
/// At the bound: the plan is refused.
pub const SAMPLES_MAX: usize = 16;

/// Most values of a wildcard that are told.
/// At the bound: the plan is refused.
pub const VALUES_MAX: usize = 32;

/// Masks of the configuration. Each is searched in every line.
/// At the bound: the plan is refused.
pub const MASKS_MAX: usize = 32;

/// Bytes of a mask's program, as the regex crate counts them: what a long alternative of words takes.
/// At the bound: the plan is refused.
pub const MASK_PROGRAM_BYTES_MAX: usize = 1 << 20;

/// Bytes of a mask's name: it stands in patterns.
/// At the bound: the plan is refused.
pub const MASK_NAME_BYTES_MAX: usize = 32;

/// What is wrong with a plan, or with what was stored. Nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum PatternsError {
    /// Too little memory to be of use.
    #[error("patterns need at least {BYTES_MIN} bytes")]
    Bytes,
    /// Too many examples, or one that is too long or no text.
    #[error("a pattern has at most {SAMPLES_MAX} samples")]
    Samples,
    /// Too many values, or one that is too long.
    #[error("a wildcard has at most {VALUES_MAX} values")]
    Values,
    /// Too many masks.
    #[error("there are at most {MASKS_MAX} masks")]
    Masks,
    /// A mask's name is empty, too long or holds something else than letters, digits, `_`, `-` and `.`.
    #[error("the name of a mask is 1 to {MASK_NAME_BYTES_MAX} letters, digits, `_`, `-` or `.`: `{0}` is not")]
    MaskName(String),
    /// A mask is no regular expression, or too large a one.
    #[error("the mask `{name}` cannot be used: {cause}")]
    MaskRegex {
        /// The mask.
        name: String,
        /// What is wrong.
        cause: String,
    },
    /// A row of what was stored belongs to no service, or one that is no text.
    #[error("a stored pattern has no service")]
    Service,
    /// A shape of what was stored is none.
    #[error("a stored pattern is damaged")]
    Shape,
    /// What was stored cannot be read.
    #[error("stored patterns are damaged")]
    Stored,
}

/// What users say is variable: a regular expression with a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mask {
    /// What stands in the pattern.
    pub name: String,
    /// The expression, as the regex crate has it.
    pub regex: String,
}

/// How patterns are counted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PatternsPlan {
    /// Memory of what is counted, on one core or in sums.
    pub bytes_max: usize,
    /// Examples of each pattern.
    pub samples_max: usize,
    /// Values of each wildcard.
    pub values_max: usize,
    /// What varies besides what is masked always.
    pub masks: Vec<Mask>,
}

impl Default for PatternsPlan {
    fn default() -> Self {
        Self { bytes_max: 16 << 20, samples_max: 3, values_max: 10, masks: Vec::new() }
    }
}

impl Bounds {
    fn of(plan: &PatternsPlan) -> Result<Self, PatternsError> {
        if plan.bytes_max < BYTES_MIN {
            return Err(PatternsError::Bytes);
        }
        if plan.samples_max > SAMPLES_MAX {
            return Err(PatternsError::Samples);
        }
        if plan.values_max > VALUES_MAX {
            return Err(PatternsError::Values);
        }
        Ok(Self { bytes_max: plan.bytes_max, samples_max: plan.samples_max, values_max: plan.values_max })
    }
}

fn compile(plan: &PatternsPlan) -> Result<Vec<NamedMask>, PatternsError> {
    if plan.masks.len() > MASKS_MAX {
        return Err(PatternsError::Masks);
    }
    plan.masks.iter().map(compile_mask).collect()
}

fn compile_mask(mask: &Mask) -> Result<NamedMask, PatternsError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.');
    if mask.name.is_empty() || mask.name.len() > MASK_NAME_BYTES_MAX || !mask.name.bytes().all(is_plain) {
        return Err(PatternsError::MaskName(mask.name.clone()));
    }
    let regex = regex::bytes::RegexBuilder::new(&mask.regex)
        .size_limit(MASK_PROGRAM_BYTES_MAX)
        .dfa_size_limit(MASK_PROGRAM_BYTES_MAX)
        .build()
        .map_err(|error| PatternsError::MaskRegex { name: mask.name.clone(), cause: error.to_string() })?;
    Ok(NamedMask { name: mask.name.as_bytes().into(), regex })
}

/// What is read of a log record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct PatternInput<'a> {
    /// `SeverityNumber`; 0 where it is not known.
    pub severity_number: i32,
    /// The severity's name, looked at where its number is not known.
    pub severity_text: &'a [u8],
    /// What it says.
    pub body: Option<AnyValue<'a>>,
    /// When it happened; 0 where that is not known.
    pub time_unix_nano: u64,
}

impl<'a> From<&LogFacts<'a>> for PatternInput<'a> {
    fn from(facts: &LogFacts<'a>) -> Self {
        let times = [facts.time_unix_nano, facts.observed_time_unix_nano];
        Self {
            severity_number: facts.severity_number,
            severity_text: facts.severity_text,
            body: facts.body.map(|body| body.value),
            time_unix_nano: times.into_iter().find(|time| *time > 0).unwrap_or(0),
        }
    }
}

/// Counts the patterns of the lines that one core receives.
#[derive(Debug)]
pub struct Patterns {
    table: Table,
    masks: Vec<NamedMask>,
    shape: Shape,
    reader: Reader,
    is_strong: bool,
}

impl Patterns {
    /// A tally in which nothing was counted. The seed keeps senders from choosing shapes that collide.
    ///
    /// # Errors
    /// What is wrong with the plan.
    pub fn new(plan: &PatternsPlan, seed: u64) -> Result<Self, PatternsError> {
        let bounds = Bounds::of(plan)?;
        Ok(Self {
            table: Table::new(bounds, seed),
            masks: compile(plan)?,
            shape: Shape::default(),
            reader: Reader::default(),
            is_strong: false,
        })
    }

    /// Counts a line of a service. `arrived_unix_nano` is its time where it says none.
    pub fn count(&mut self, service: &[u8], input: &PatternInput<'_>, arrived_unix_nano: u64) {
        let mut sample = self.reader.read(&mut self.shape, input.body, &self.masks);
        if self.is_strong {
            self.shape.coarsen();
            sample = b"";
        }
        let group = self.table.group(service, Severity::of(input.severity_number, input.severity_text));
        let time = if input.time_unix_nano == 0 { arrived_unix_nano } else { input.time_unix_nano };
        let values = self.shape.values();
        let seen = Seen { count: 1, first_unix_nano: time, last_unix_nano: time, sample, values };
        self.table.add(group, self.shape.bytes(), &seen);
    }

    /// Whether lines are counted by how they begin, without samples and values.
    pub fn set_strong(&mut self, is_strong: bool) {
        self.is_strong = is_strong;
    }

    /// What was counted since it was last called.
    pub fn take(&mut self) -> PatternsPartial {
        self.table.take()
    }

    /// Lines since the last `take` whose pattern did not fit.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.table.overflowed
    }

    /// Memory of what is counted: never above the plan's.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.table.bytes()
    }
}

#[cfg(test)]
mod tests;
