//! Why items of a request are refused while the rest is accepted: counted by cause, told by the first fault.

use super::check::Fault;
use super::scan::SpanFault;

/// The kind of a fault, by which refused items are counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Cause {
    /// A trace or span id is missing or has a wrong length.
    Id,
    /// It is larger than an item may be.
    TooLarge,
    /// A value in it is nested too deeply.
    Nesting,
    /// Its bytes are not what OTLP's definition says.
    Structure,
    /// In JSON, a value is not what its field needs.
    Value,
}

impl Cause {
    /// All causes, in the order of their counters.
    pub const ALL: [Self; 5] = [Self::Id, Self::TooLarge, Self::Nesting, Self::Structure, Self::Value];

    /// The label value in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::Id => "id",
            Self::TooLarge => "too_large",
            Self::Nesting => "nesting",
            Self::Structure => "structure",
            Self::Value => "value",
        }
    }
}

impl From<&Fault> for Cause {
    fn from(fault: &Fault) -> Self {
        match fault {
            Fault::Id(_) => Self::Id,
            Fault::Depth => Self::Nesting,
            Fault::Wire(_) | Fault::Utf8 => Self::Structure,
        }
    }
}

impl From<&SpanFault> for Cause {
    fn from(fault: &SpanFault) -> Self {
        match fault {
            SpanFault::TraceId | SpanFault::SpanId | SpanFault::ParentSpanId => Self::Id,
            SpanFault::TooLarge(_) | SpanFault::EnvelopeTooLarge(_) => Self::TooLarge,
            SpanFault::Part(fault) => Self::from(fault),
        }
    }
}

/// Refused items of one request, by cause.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Refusals([u32; Cause::ALL.len()]);

impl Refusals {
    /// Adds items that were refused for one cause.
    pub fn add(&mut self, cause: Cause, items: u32) {
        let count = &mut self.0[cause as usize];
        *count = count.saturating_add(items);
    }

    /// Adds those of another part of the request.
    pub fn merge(&mut self, other: &Self) {
        for cause in Cause::ALL {
            self.add(cause, other.of(cause));
        }
    }

    /// Those of one cause.
    #[must_use]
    pub const fn of(&self, cause: Cause) -> u32 {
        self.0[cause as usize]
    }

    /// All of them.
    #[must_use]
    pub fn total(&self) -> u32 {
        self.0.iter().fold(0, |sum, count| sum.saturating_add(*count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn causes_index_their_own_counter_and_sums_do_not_overflow() {
        let mut refusals = Refusals::default();
        for (index, cause) in Cause::ALL.into_iter().enumerate() {
            assert_eq!(cause as usize, index);
            refusals.add(cause, u32::MAX);
            refusals.add(cause, 1);
        }
        assert_eq!(refusals.total(), u32::MAX);
        assert_eq!(refusals, Refusals([u32::MAX; 5]));
    }
}
