//! Places in the log, and whom a request is for.

/// A segment of the log that is in use: the core that owns it and its place in that core's table. Both are reused once
/// the segment is freed, so a handle is good only as long as one of its units is unresolved.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct SegmentHandle(u32);

impl SegmentHandle {
    /// Of what is not in the log.
    pub const NONE: Self = Self(u32::MAX);

    /// The handle of `slot` in the table of core `core`.
    #[must_use]
    pub const fn new(core: u16, slot: u16) -> Self {
        Self((core as u32) << 16 | slot as u32)
    }

    /// The core that owns the segment.
    #[must_use]
    pub const fn core(self) -> u16 {
        let [_, _, low, high] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// Its place in that core's table.
    #[must_use]
    pub const fn slot(self) -> u16 {
        let [low, high, _, _] = self.0.to_le_bytes();
        u16::from_le_bytes([low, high])
    }

    /// True for `NONE`.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == u32::MAX
    }

    /// The handle as a number.
    #[inline]
    #[must_use]
    pub const fn number(self) -> u32 {
        self.0
    }

    /// The handle of a number that `number` gave.
    #[inline]
    #[must_use]
    pub const fn from_number(number: u32) -> Self {
        Self(number)
    }
}

/// What the log counts: one span of a trace request, or one whole request of metrics or logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Unit {
    /// The segment that holds it.
    pub segment: SegmentHandle,
    /// Its number in the segment.
    pub number: u32,
}

impl Unit {
    /// Of what is not in the log.
    pub const NONE: Self = Self { segment: SegmentHandle::NONE, number: 0 };

    /// True for what is not in the log.
    #[inline]
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.segment.is_none()
    }
}

/// Where a request lies in the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Origin {
    /// The segment; `NONE` when the request is not in the log.
    pub segment: SegmentHandle,
    /// The unit of the request's first span, or of the whole request.
    pub first_unit: u32,
}

impl Origin {
    /// Of what is not in the log.
    pub const NONE: Self = Self { segment: SegmentHandle::NONE, first_unit: 0 };

    /// The unit of the span at `position` of the request.
    #[inline]
    #[must_use]
    pub const fn unit(self, position: u32) -> Unit {
        Unit { segment: self.segment, number: self.first_unit.wrapping_add(position) }
    }
}

/// The exporters that a request is for: bit n is the node's n-th.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Destinations(pub u64);

impl Destinations {
    /// Every exporter that takes the signal.
    pub const ALL: Self = Self(u64::MAX);
    /// No exporter.
    pub const NONE: Self = Self(0);

    /// Whether the `number`-th exporter is among them; exporters past the 64th share the last bit.
    #[must_use]
    pub const fn has(self, number: usize) -> bool {
        self.0 & Self::of(number).0 != 0
    }

    /// The `number`-th alone.
    #[must_use]
    pub const fn of(number: usize) -> Self {
        Self(1 << if number < 63 { number } else { 63 })
    }

    /// Those of both.
    #[must_use]
    pub const fn with(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Those that are not among the others.
    #[must_use]
    pub const fn without(self, others: Self) -> Self {
        Self(self.0 & !others.0)
    }

    /// True for `NONE`.
    #[must_use]
    pub const fn is_none(self) -> bool {
        self.0 == 0
    }
}
