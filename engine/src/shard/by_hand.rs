//! Traces that a person keeps after all. The verdict changes, once and for good: it is noted in the log and remembered, so
//! that spans which come late follow it, and those that are read from the log again come as such. This is the only way in
//! which a verdict is taken back.
//!
//! A trace that is kept by hand stands for no other: those that the rules kept stand for it already, whatever it was
//! dropped for. So its spans leave without a threshold (OTEP 235: no `th`, the probability is not known), theirs included.

use super::Shard;
use crate::decide::KeptBy;
use crate::explain::Reason;
use crate::host::Host;
use crate::index::Place;
use crate::vocabulary::{Annotations, Judged, Nanos, Occasion, RandomnessKind, TraceId, Verdict};

/// What becomes of a trace that a person wants to keep.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByHand {
    /// It is kept by hand now: its spans are to come again.
    Kept,
    /// It was kept by hand before.
    RecalledBefore,
    /// A policy has kept it.
    KeptBefore,
    /// It is undecided: it will be judged by all of its spans.
    Pending,
    /// Its verdict is not remembered, and may have been to keep it.
    Forgotten,
}

/// The time that verdicts are remembered since is known about as well as that.
const SLACK: Nanos = Nanos(Nanos::PER_SECOND);
/// What has been received is with its shard within this time, however slow the disk.
const ON_ITS_WAY_MAX: Nanos = Nanos(10 * Nanos::PER_SECOND);

impl Shard {
    /// The keyed hash of a trace's id.
    #[must_use]
    pub fn hash(&self, trace_id: &TraceId) -> u64 {
        self.intake.hash(trace_id)
    }

    /// Keeps a trace of this shard that was dropped. Its first span was received then, if in this run. `again` has those
    /// sent once more that were kept by hand before. `None` where the rules have no name for that: a policy has it.
    pub fn keep_by_hand(
        &mut self,
        now: Nanos,
        trace_id: &TraceId,
        (received, again): (Option<Nanos>, bool),
        host: &mut impl Host,
    ) -> Option<ByHand> {
        let (policy, annotation) = self.bench.rules().by_hand()?;
        self.holding.set_time(now);
        let hash = self.intake.hash(trace_id);
        let forgotten_up_to = self.holding.kept.forgotten_up_to();
        match self.holding.find(hash, trace_id) {
            Some(Place::Pending(_)) => return Some(ByHand::Pending),
            Some(Place::Kept(position)) => {
                let kept = self.holding.kept.kept_by(position);
                return Some(match kept.is_some_and(|kept| self.bench.rules().is_by_hand(kept.annotations)) {
                    true if again => ByHand::Kept,
                    true => ByHand::RecalledBefore,
                    false => ByHand::KeptBefore,
                });
            }
            // What cannot be remembered would be judged anew by its spans.
            _ if forgotten_up_to == Nanos(u64::MAX) => return Some(ByHand::Forgotten),
            Some(Place::Dropped(position)) => {
                // The memory of the drop gives way in its time and finds nothing here then.
                if let Some(slot) = self.holding.index.slot_of(hash, Place::Dropped(position)) {
                    self.holding.index.remove(slot);
                }
            }
            None => match received {
                // A drop would be remembered: it is on its way to this shard.
                Some(received) if self.is_on_its_way(now, received) => return Some(ByHand::Pending),
                // A verdict comes after the first span: to keep it would be remembered, so it was to drop it.
                Some(received) if received > forgotten_up_to.plus(SLACK) => {}
                _ => return Some(ByHand::Forgotten),
            },
        }
        let kept = KeptBy {
            policy,
            threshold: 0,
            randomness: RandomnessKind::Id,
            given: None,
            annotations: Annotations::of(&[annotation]),
        };
        self.remember(hash, Some(kept));
        self.ledger.traces.kept_by_hand += 1;
        let former = self.reasons.of(trace_id).copied();
        let generation = self.bench.rules().generation();
        host.judged(&Judged {
            trace_id: *trace_id,
            verdict: Verdict::Keep(policy),
            drop_reason: 0,
            occasion: Occasion::ByHand,
            threshold: 0,
            randomness: RandomnessKind::Id,
            given: None,
            annotations: kept.annotations,
            spans: former.map_or(0, |former| former.spans),
            generation,
        });
        if let Some(former) = former {
            let (verdict, occasion) = (Verdict::Keep(policy), Occasion::ByHand);
            let (policy, held, sub_policy, threshold) = (Some(policy), 0, None, 0);
            let reason =
                Reason { judged: now, occasion, verdict, policy, held, sub_policy, threshold, generation, ..former };
            self.reasons.note(trace_id, reason);
        }
        Some(ByHand::Kept)
    }

    /// Whether a trace of which nothing is remembered, and whose first span was received then, may not have come yet.
    fn is_on_its_way(&self, now: Nanos, received: Nanos) -> bool {
        received > self.holding.dropped.forgotten_up_to().plus(SLACK) || now < received.plus(ON_ITS_WAY_MAX)
    }

    /// So many spans of traces that were kept by hand are read from the log and come again.
    pub fn note_sent_again(&mut self, spans: u64) {
        self.ledger.traces.spans_sent_again += spans;
    }
}
