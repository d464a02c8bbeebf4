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

/// The resolution of deadlines. A tick is a count of them since the origin.
pub const TICK: Nanos = Nanos::from_millis(10);

/// The tick at or after `point`: a trace is never judged before its wait is over.
#[inline]
#[must_use]
pub fn tick_of(point: Nanos) -> u32 {
    u32::try_from(point.0.div_ceil(TICK.0)).unwrap_or(u32::MAX)
}

/// The tick that has begun at `now`.
#[inline]
#[must_use]
pub fn elapsed_ticks(now: Nanos) -> u32 {
    u32::try_from(now.0 / TICK.0).unwrap_or(u32::MAX)
}

/// Whole ticks in a wait; a wait that is not zero has at least one.
#[inline]
#[must_use]
pub fn ticks(wait: Nanos) -> u32 {
    tick_of(wait)
}

/// When a tick begins.
#[inline]
#[must_use]
pub fn tick_start(tick: u32) -> Nanos {
    Nanos(u64::from(tick).saturating_mul(TICK.0))
}
