//! Why recent traces were kept or dropped: one entry of fixed size for each verdict, the oldest overwritten first. Found
//! by looking through the ids, newest first: people ask rarely, and verdicts are made all the time.

pub mod origin;

use crate::ledger::DropReason;
use crate::vocabulary::{Nanos, Occasion, StatusMask, TraceId, Verdict};
use origin::Origin;

/// A verdict and what it was based on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reason {
    /// When, in the engine's time.
    pub judged: Nanos,
    /// Why then.
    pub occasion: Occasion,
    /// What the trace came to.
    pub verdict: Verdict,
    /// The policy that decided, as in `Ballot`.
    pub policy: Option<u16>,
    /// Which of its conditions held, as `Rules::held` tells it.
    pub held: u64,
    /// Why its spans were dropped, when they were.
    pub drop_reason: DropReason,
    /// The sub-policy of a composite that kept it, by its number among the names of its generation.
    pub sub_policy: Option<u16>,
    /// Rejection threshold of 2^56: 0 when it was kept for certain, or dropped.
    pub threshold: u64,
    /// What the threshold was compared with, 56 bits; 0 where verdicts do not go by it.
    pub randomness: u64,
    /// The generation of the rules.
    pub generation: u32,
    /// Spans that had come, to whatever node.
    pub spans: u32,
    /// Those of them that came to this node.
    pub spans_here: u32,
    /// Bytes of their messages, where rules weigh traces with what was around them; saturates.
    pub bytes: u32,
    /// From the first start to the last end, nanoseconds; 0 when they are the wrong way round.
    pub duration_nanos: u64,
    /// Status codes seen.
    pub status: StatusMask,
    /// True once a span without a parent had come.
    pub root_seen: bool,
    /// Where it began; empty names where that is not known.
    pub origin: Origin,
}

/// Bytes of an entry: what the memory plan counts.
pub const REASON_BYTES: usize = size_of::<Reason>() + size_of::<TraceId>();

/// The verdicts of one shard.
#[derive(Debug)]
pub struct Explanations {
    /// Apart, so that a search reads little.
    ids: Vec<TraceId>,
    reasons: Vec<Reason>,
    reasons_max: usize,
    /// The next place.
    hand: usize,
}

impl Explanations {
    /// Room for `reasons_max` verdicts; with none nothing is noted.
    #[must_use]
    pub fn new(reasons_max: usize) -> Self {
        Self { ids: Vec::with_capacity(reasons_max), reasons: Vec::with_capacity(reasons_max), reasons_max, hand: 0 }
    }

    /// Most verdicts.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.reasons_max
    }

    /// Notes a verdict.
    #[inline]
    pub fn note(&mut self, trace_id: &TraceId, reason: Reason) {
        if self.ids.len() < self.reasons_max {
            self.ids.push(*trace_id);
            self.reasons.push(reason);
            return;
        }
        if let (Some(id), Some(place)) = (self.ids.get_mut(self.hand), self.reasons.get_mut(self.hand)) {
            (*id, *place) = (*trace_id, reason);
            self.hand = if self.hand + 1 == self.reasons_max { 0 } else { self.hand + 1 };
        }
    }

    /// The latest verdict on a trace, if it is not too long ago.
    #[must_use]
    pub fn find(&self, trace_id: &TraceId) -> Option<&Reason> {
        let (newer, older) = self.ids.split_at(self.hand);
        let newer = newer.iter().rposition(|id| id == trace_id);
        let place = newer.or_else(|| Some(older.iter().rposition(|id| id == trace_id)? + self.hand));
        self.reasons.get(place?)
    }
}

/// What is known of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Explanation {
    /// It was judged, and this is why.
    Judged(Reason),
    /// It was judged; why is forgotten. The policy that kept it, or `None` for dropped.
    Remembered(Option<u16>),
    /// It is still held.
    Pending(Pending),
}

/// A trace that is not judged yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pending {
    /// What it would come to now.
    pub reason: Reason,
    /// When its first span came.
    pub opened: Nanos,
    /// When it is to be judged, if nothing else comes.
    pub deadline: Nanos,
    /// True when bytes of it are only in the log.
    pub has_cold: bool,
    /// What each policy says now, in the order of evaluation.
    pub votes: Vec<Vote>,
}

/// What one policy says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Vote {
    /// The policy, by number.
    pub policy: u16,
    /// Its word.
    pub says: Says,
}

/// A policy's word.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// It samples; a drop policy drops.
    Yes,
    /// It does not.
    No,
    /// It could not be evaluated.
    Failed,
    /// A policy before it has decided.
    NotAsked,
}

#[cfg(test)]
mod tests {
    use super::*;

    fn reason(spans: u32) -> Reason {
        Reason {
            judged: Nanos::default(),
            occasion: Occasion::Deadline,
            verdict: Verdict::Drop,
            policy: None,
            held: 0,
            drop_reason: DropReason::NotSampled,
            sub_policy: None,
            threshold: 0,
            randomness: 0,
            generation: 0,
            spans,
            spans_here: spans,
            bytes: 0,
            duration_nanos: 0,
            status: 0,
            root_seen: false,
            origin: Origin::default(),
        }
    }

    #[test]
    fn the_latest_verdict_is_found_until_it_is_overwritten() {
        let mut explanations = Explanations::new(3);
        for (number, id) in [1u8, 2, 1, 3].into_iter().enumerate() {
            explanations.note(&[id; 16], reason(number as u32));
        }
        let spans = |id: u8| explanations.find(&[id; 16]).map(|reason| reason.spans);
        assert_eq!([spans(1), spans(2), spans(3), spans(4)], [Some(2), Some(1), Some(3), None]);
        explanations.note(&[4; 16], reason(4));
        let spans = |id: u8| explanations.find(&[id; 16]).map(|reason| reason.spans);
        assert_eq!([spans(1), spans(2), spans(4)], [Some(2), None, Some(4)], "the oldest gave way");
        let mut off = Explanations::new(0);
        off.note(&[1; 16], reason(1));
        assert_eq!(off.find(&[1; 16]), None);
    }
}
