//! The trees: each policy's vote on a trace's evidence, and how the votes become a verdict.

use super::{Rules, StatusMask};
use crate::ledger::{DropReason, PolicyCounts};
use crate::vocabulary::{TraceId, Verdict};

/// What is known of a trace when it is judged.
#[derive(Debug, Clone, Copy)]
pub struct Evidence<'a> {
    /// Its id.
    pub trace_id: &'a TraceId,
    /// The leaves that held for any span: the first 64.
    pub leaves: u64,
    /// The leaves past them.
    pub leaves_more: &'a [u64],
    /// The status codes seen.
    pub status: StatusMask,
    /// How many spans it has.
    pub span_count: u32,
}

impl Evidence<'_> {
    #[inline]
    fn leaf(&self, leaf: u16) -> bool {
        let word = match usize::from(leaf / 64) {
            0 => self.leaves,
            more => self.leaves_more.get(more - 1).copied().unwrap_or(0),
        };
        word >> (leaf % 64) & 1 == 1
    }
}

/// One policy or part of one.
#[derive(Debug)]
pub(super) enum Node {
    Always,
    Leaf(u16),
    Status(StatusMask),
    Probabilistic { salted: u64, threshold: u64 },
    SpanCount { min: i64, max: i64 },
    All(Vec<Node>),
    Not(Box<Node>),
}

impl Node {
    fn samples(&self, evidence: &Evidence<'_>) -> bool {
        match self {
            Self::Always => true,
            Self::Leaf(leaf) => evidence.leaf(*leaf),
            Self::Status(mask) => evidence.status & mask != 0,
            Self::Probabilistic { salted, threshold } => fnv_1a(*salted, evidence.trace_id) <= *threshold,
            Self::SpanCount { min, max } => {
                let count = i64::from(evidence.span_count);
                count >= *min && (*max == 0 || count <= *max)
            }
            Self::All(nodes) => nodes.iter().all(|node| node.samples(evidence)),
            Self::Not(node) => !node.samples(evidence),
        }
    }

    /// Rejection threshold of 2^56 when it samples by chance, else 0. A trace is kept when its hash is at most
    /// `threshold`, so it is rejected with the rest of the hash's range.
    fn threshold(&self) -> u64 {
        match self {
            Self::Probabilistic { threshold, .. } => (u64::MAX - threshold) >> 8,
            Self::All(nodes) => nodes.iter().map(Self::threshold).max().unwrap_or(0),
            _ => 0,
        }
    }
}

/// FNV-1a, 64 bits, continued from `hash`.
pub(super) fn fnv_1a(hash: u64, bytes: &[u8]) -> u64 {
    bytes.iter().fold(hash, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x100_0000_01b3))
}

/// FNV-1a's offset basis.
pub(super) const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;

/// A verdict and the reason that goes with a drop.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Ballot {
    /// What the trace came to.
    pub verdict: Verdict,
    /// Why its spans are dropped, when they are.
    pub drop_reason: DropReason,
    /// Rejection threshold of the policy that kept it, of 2^56; 0 when that policy does not sample by chance.
    pub threshold: u64,
}

impl Ballot {
    /// A drop for `drop_reason`.
    #[must_use]
    pub fn dropped(drop_reason: DropReason) -> Self {
        Self { verdict: Verdict::Drop, drop_reason, threshold: 0 }
    }
}

impl Rules {
    /// Judges a trace: drop policies first; then any policy that samples keeps it. Counts each vote in `counts`,
    /// one entry a policy.
    pub fn judge(&self, evidence: &Evidence<'_>, counts: &mut [PolicyCounts]) -> Ballot {
        let mut first = None;
        for index in &self.order {
            let policy = &self.policies[usize::from(*index)];
            let matched = policy.node.samples(evidence);
            let count = &mut counts[usize::from(*index)];
            count.matched += u64::from(matched);
            count.unmatched += u64::from(!matched);
            if !matched {
                continue;
            }
            if policy.is_drop {
                return Ballot::dropped(DropReason::DropPolicy);
            }
            first = first.or(Some(*index));
            if self.sample_on_first_match {
                break;
            }
        }
        let Some(index) = first else {
            return Ballot::dropped(DropReason::NotSampled);
        };
        let count = &mut counts[usize::from(index)];
        count.decided += 1;
        count.decided_spans += u64::from(evidence.span_count);
        let threshold = self.policies[usize::from(index)].node.threshold();
        Ballot { verdict: Verdict::Keep(index), drop_reason: DropReason::NotSampled, threshold }
    }
}
