//! What a kept span leaves with: threshold, randomness, label and annotations.

use super::log::Unit;

/// The number of a policy of which no name is known: of a verdict of a former run.
pub const UNKNOWN_POLICY: u16 = u16::MAX;

/// Annotations that a trace is remembered with. Rules that nest more annotating samplers than that are rare.
/// At the bound: late spans leave without the rest.
const ANNOTATIONS_MAX: usize = 3;

/// The annotations of a kept trace, by their numbers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Annotations {
    /// One more than each number; 0 for none.
    places: [u16; ANNOTATIONS_MAX],
}

impl Annotations {
    /// None.
    pub const NONE: Self = Self { places: [0; ANNOTATIONS_MAX] };

    /// The first of these.
    #[must_use]
    pub fn of(numbers: &[u16]) -> Self {
        let mut places = [0; ANNOTATIONS_MAX];
        for (place, number) in places.iter_mut().zip(numbers) {
            *place = number.saturating_add(1);
        }
        Self { places }
    }

    /// The same by other numbers, without those that have none.
    #[must_use]
    pub fn renumbered(self, number_of: impl Fn(u16) -> Option<u16>) -> Self {
        let mut numbers = [0; ANNOTATIONS_MAX];
        let mut count = 0;
        for number in self.numbers().filter_map(number_of) {
            numbers[count] = number;
            count += 1;
        }
        Self::of(&numbers[..count])
    }

    /// Their numbers.
    pub fn numbers(self) -> impl Iterator<Item = u16> {
        self.places.into_iter().filter_map(|place| place.checked_sub(1))
    }
}

/// What a kept span leaves with, as much of it as must be known when it is read from the log again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct SpanMark {
    /// A threshold below 2^56, and flags above it.
    kept: u64,
    /// With `LABELLED`: the policy.
    policy: u16,
    annotations: Annotations,
}

impl SpanMark {
    /// Of a span that was kept for certain, and of what is no span.
    pub const NONE: Self = Self::new(0, RandomnessKind::Id);
    /// Too many different ones were waiting: with what threshold the span was kept is not known any more.
    pub const UNKNOWN: Self = Self { kept: u64::MAX, policy: 0, annotations: Annotations::NONE };
    /// The name of the policy is written into the span's scope.
    const LABELLED: u64 = 1 << 62;
    /// And that the span came after the verdict.
    const LATE: u64 = 1 << 61;
    /// There was more to be written, and it is not known any more.
    const BARED: u64 = 1 << 60;

    /// Kept with a rejection threshold below 2^56, by a randomness of that kind.
    #[must_use]
    pub const fn new(threshold: u64, kind: RandomnessKind) -> Self {
        Self { kept: kind.packed(threshold), policy: 0, annotations: Annotations::NONE }
    }

    /// With the name of that policy in its scope.
    #[must_use]
    pub const fn labelled(self, policy: u16, is_late: bool) -> Self {
        let late = if is_late { Self::LATE } else { 0 };
        Self { kept: self.kept | Self::LABELLED | late, policy, ..self }
    }

    /// With these annotations.
    #[must_use]
    pub const fn annotated(self, annotations: Annotations) -> Self {
        Self { annotations, ..self }
    }

    /// Without label and annotations, where it has any: what is left when too many different ones are waiting.
    #[must_use]
    pub fn bared(self) -> Self {
        if self.kept & Self::LABELLED == 0 && self.annotations == Annotations::NONE {
            return self;
        }
        let kept = self.kept & !Self::LABELLED & !Self::LATE | Self::BARED;
        Self { kept, policy: 0, annotations: Annotations::NONE }
    }

    /// Whether label or annotations are not known any more.
    #[must_use]
    pub const fn is_bared(self) -> bool {
        self.kept != u64::MAX && self.kept & Self::BARED != 0
    }

    /// The threshold and the kind of randomness; `None` for `UNKNOWN`.
    #[must_use]
    pub const fn get(self) -> Option<(u64, RandomnessKind)> {
        if self.kept == u64::MAX { None } else { Some(RandomnessKind::unpacked(self.kept)) }
    }

    /// The policy whose name is written, and whether the span came after the verdict.
    #[must_use]
    pub const fn label(self) -> Option<(u16, bool)> {
        let is_labelled = self.kept != u64::MAX && self.kept & Self::LABELLED != 0;
        if is_labelled { Some((self.policy, self.kept & Self::LATE != 0)) } else { None }
    }

    /// The annotations.
    #[must_use]
    pub const fn annotations(self) -> Annotations {
        self.annotations
    }
}

/// Where the randomness of a trace comes from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum RandomnessKind {
    /// From its id, as it is.
    #[default]
    Id,
    /// A hash of its id.
    Hashed,
    /// It came as `rv` with a span.
    Given,
}

impl RandomnessKind {
    const HASHED: u64 = 1 << 63;
    const GIVEN: u64 = 1 << 59;
    const THRESHOLD: u64 = (1 << 56) - 1;

    /// Of the id, or of a hash of it.
    #[must_use]
    pub const fn of_id(is_hashed: bool) -> Self {
        if is_hashed { Self::Hashed } else { Self::Id }
    }

    /// In one word with a threshold below 2^56.
    #[must_use]
    pub const fn packed(self, threshold: u64) -> u64 {
        threshold
            | match self {
                Self::Id => 0,
                Self::Hashed => Self::HASHED,
                Self::Given => Self::GIVEN,
            }
    }

    /// The threshold and the kind of `packed`, whatever other flags there are between them.
    #[must_use]
    pub const fn unpacked(word: u64) -> (u64, Self) {
        let kind = match (word & Self::HASHED != 0, word & Self::GIVEN != 0) {
            (true, _) => Self::Hashed,
            (false, true) => Self::Given,
            (false, false) => Self::Id,
        };
        (word & Self::THRESHOLD, kind)
    }
}

/// A kept unit on its way to the exporters.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptUnit {
    /// Where it lies in the log.
    pub unit: Unit,
    /// What it leaves with.
    pub mark: SpanMark,
}

impl KeptUnit {
    /// A unit that leaves as it came.
    #[must_use]
    pub const fn plain(unit: Unit) -> Self {
        Self { unit, mark: SpanMark::NONE }
    }
}
