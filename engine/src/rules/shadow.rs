//! Shadow policies: evaluated and counted beside the others, without an effect on any verdict.

use super::limit::Limits;
use super::tree::{Arrival, Evidence};
use super::{Ballot, Rules};
use crate::ledger::{DropReason, PolicyCounts};
use crate::vocabulary::{Nanos, Verdict};

impl Rules {
    /// Counts the votes of the shadow policies on a trace that came to `ballot`: as decided are counted the traces whose
    /// fate they would have changed. Their limits are their own.
    #[inline]
    pub fn judge_shadows(
        &self,
        evidence: &Evidence<'_>,
        (randomness, now): (u64, Nanos),
        limits: &mut Limits,
        ballot: &Ballot,
        counts: &mut [PolicyCounts],
    ) {
        for index in &self.shadows {
            let policy = &self.policies[usize::from(*index)];
            let holds = policy.condition.as_ref().map_or(Some(0), |condition| condition.threshold(evidence, None));
            let vote = if holds != Some(0) {
                holds.map(|_| false)
            } else if self.is_by_randomness {
                policy.node.threshold(evidence, Some(limits)).map(|threshold| threshold <= randomness)
            } else {
                policy.node.samples(evidence, &mut Arrival { limits, now, class: None })
            };
            let count = &mut counts[usize::from(*index)];
            let Some(matched) = vote else {
                count.failed += 1;
                continue;
            };
            count.vote(matched);
            let is_kept = matches!(ballot.verdict, Verdict::Keep(_));
            let changes =
                if policy.is_drop { is_kept } else { ballot.drop_reason == DropReason::NotSampled && !is_kept };
            if matched && changes {
                count.decide(evidence.seen.spans, evidence.seen.bytes, !policy.is_drop);
            }
        }
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
