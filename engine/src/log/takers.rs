//! Which pipelines take a request, where several share a log.

/// A set of pipelines: bit n is the one whose name is the n-th in the header of the segment, or the node's n-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Takers(pub u64);

impl Takers {
    /// All that share the log.
    pub const ALL: Self = Self(u64::MAX);
    /// None.
    pub const NONE: Self = Self(0);
    /// Pipelines that a set can tell apart: as many as a configuration may have.
    pub const COUNT: usize = 64;

    /// The `number`-th alone; none past the last that can be told.
    #[must_use]
    pub const fn of(number: usize) -> Self {
        if number < Self::COUNT { Self(1 << number) } else { Self::NONE }
    }

    /// Whether the `number`-th is among them.
    #[must_use]
    pub const fn has(self, number: usize) -> bool {
        self.0 & Self::of(number).0 != 0
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether these are all of the first `count`.
    #[must_use]
    pub fn are_all_of(self, count: usize) -> bool {
        (0..count).all(|number| self.has(number))
    }
}
