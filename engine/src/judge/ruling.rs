//! A ruling: all that follows from judging a trace, so that whoever settles it asks the rules nothing more.

use crate::ledger::DropReason;
use crate::randomness::TraceRandomness;
use crate::rules::Ballot;
use crate::vocabulary::RandomnessKind;

/// What a trace came to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ruling {
    /// Verdict, deciding policy and sub-policy, reason of a drop, threshold.
    pub ballot: Ballot,
    /// What the threshold was compared with; of 0 where traces are kept in order of arrival.
    pub randomness: TraceRandomness,
    /// The annotations that its spans get, by their numbers.
    pub annotations: Vec<u16>,
    /// Whether traces are kept by randomness under the rules that it was judged by, so that its spans get thresholds.
    pub is_by_randomness: bool,
    /// Whether limits were asked as of a trace that is judged early.
    pub is_early: bool,
}

impl Ruling {
    /// Of a trace that no threshold was compared for.
    #[must_use]
    pub fn without_randomness(ballot: Ballot) -> Self {
        let randomness = TraceRandomness { value: 0, kind: RandomnessKind::Id };
        Self { ballot, randomness, annotations: Vec::new(), is_by_randomness: false, is_early: false }
    }

    /// A drop without asking any policy.
    #[must_use]
    pub fn dropped(drop_reason: DropReason) -> Self {
        Self::without_randomness(Ballot::dropped(drop_reason))
    }
}
