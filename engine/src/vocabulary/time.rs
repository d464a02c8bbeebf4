//! Time as the engine has it: an argument, never a clock.

/// A point in time or a span of it, nanoseconds. Points count from an origin that the host chose once.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub struct Nanos(pub u64);

impl Nanos {
    /// Nanoseconds in a millisecond.
    pub const PER_MILLISECOND: u64 = 1_000_000;
    /// Nanoseconds in a second.
    pub const PER_SECOND: u64 = 1_000_000_000;

    /// `milliseconds` as nanoseconds; saturates.
    #[must_use]
    pub const fn from_millis(milliseconds: u64) -> Self {
        Self(milliseconds.saturating_mul(Self::PER_MILLISECOND))
    }

    /// This point, `later` after it; saturates.
    #[must_use]
    pub const fn plus(self, later: Self) -> Self {
        Self(self.0.saturating_add(later.0))
    }
}
