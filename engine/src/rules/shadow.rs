//! Shadow policies: evaluated and counted beside the others, without an effect on any verdict.

use super::limit::ViewMut;
use super::tree::{Arrival, Evidence};
use super::{Ballot, Rules};
use crate::ledger::{DropReason, PolicyCounts};
use crate::vocabulary::{Nanos, Verdict};
use tailwater_proto::consistent::NEVER;

impl Rules {
    /// Counts the votes of the shadow policies on a trace that came to `ballot`: as decided those that would have been kept
    /// in the shadow's name if it had an effect at its place, or dropped by it; as alone those of them that are dropped
    /// without it. Their limits are their own.
    #[inline]
    pub fn judge_shadows(
        &self,
        evidence: &Evidence<'_>,
        (randomness, now): (u64, Nanos),
        limits: &mut ViewMut<'_>,
        ballot: &Ballot,
        counts: &mut [PolicyCounts],
    ) {
        for (index, place) in self.shadows.iter().zip(&self.shadow_places) {
            let policy = &self.policies[usize::from(*index)];
            let holds = policy.condition.as_ref().map_or(Some(0), |condition| condition.threshold(evidence, None));
            let own = if holds != Some(0) {
                holds.map(|_| NEVER)
            } else if self.is_by_randomness {
                policy.node.threshold(evidence, Some(limits.view()))
            } else {
                let sampled =
                    policy.node.samples(evidence, &mut Arrival { limits: limits.reborrow(), now, class: None });
                sampled.map(|sampled| if sampled { 0 } else { NEVER })
            };
            let count = &mut counts[usize::from(*index)];
            let Some(own) = own else {
                count.failed += 1;
                continue;
            };
            let matched = own <= randomness;
            count.vote(matched);
            if !matched {
                continue;
            }
            let is_kept = matches!(ballot.verdict, Verdict::Keep(_));
            let would_decide = if policy.is_drop {
                is_kept
            } else if policy.condition.is_some() {
                // Of our own rules the first whose conditions hold decides, and be it that it keeps nothing.
                !self.order[..usize::from(*place)].iter().any(|before| self.holds(*before, evidence))
            } else {
                self.would_come_first(own, *place, ballot)
            };
            if would_decide {
                let is_alone = !policy.is_drop && !is_kept;
                count.decide(evidence.size.spans, evidence.size.bytes, is_alone);
            }
        }
    }

    /// Whether the conditions of one of our own rules hold.
    fn holds(&self, rule: u16, evidence: &Evidence<'_>) -> bool {
        let condition = self.policies[usize::from(rule)].condition.as_ref();
        condition.is_none_or(|condition| condition.threshold(evidence, None) == Some(0))
    }

    /// Whether a trace that a policy at `place` samples with the threshold `own` would be kept in its name.
    fn would_come_first(&self, own: u64, place: u16, ballot: &Ballot) -> bool {
        let Verdict::Keep(policy) = ballot.verdict else { return ballot.drop_reason == DropReason::NotSampled };
        let stands_before = self.order[usize::from(place)..].contains(&policy);
        own < ballot.threshold || (own == ballot.threshold && stands_before)
    }

    /// Whether the policy of that number is a shadow.
    #[must_use]
    pub fn is_shadow(&self, policy: u16) -> bool {
        self.policies.get(usize::from(policy)).is_some_and(|policy| policy.is_shadow)
    }

    /// Whether the policy of that number drops what it samples.
    #[must_use]
    pub fn is_drop(&self, policy: u16) -> bool {
        self.policies.get(usize::from(policy)).is_some_and(|policy| policy.is_drop)
    }
}
