//! Verdicts, remembered for spans that come late: one bounded memory for kept traces, one for dropped ones. A verdict
//! is found by the keyed hash of the whole trace id. When a memory is full the oldest verdict gives way, except
//! that one which a late span has asked for since the hand last passed gets another turn.

use crate::vocabulary::Annotations;

/// How a trace was kept: what its late spans leave with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBy {
    /// The policy.
    pub policy: u16,
    /// Its rejection threshold, below 2^56.
    pub threshold: u64,
    /// The trace's randomness is a hash of its id.
    pub is_hashed: bool,
    /// What its spans get besides.
    pub annotations: Annotations,
}

/// Set in a stored threshold when the trace's randomness is a hash of its id.
const HASHED: u64 = 1 << 63;

/// Verdicts of one kind. How they were kept is stored for kept traces; dropped ones store nothing more.
#[derive(Debug)]
pub struct VerdictMemory {
    /// The hash with its highest bit used as "asked for since the hand passed".
    hashes: Vec<u64>,
    policies: Vec<u16>,
    thresholds: Vec<u64>,
    annotations: Vec<Annotations>,
    keeps_policies: bool,
    verdicts_max: usize,
    hand: usize,
}

/// How often the hand passes over a verdict that was asked for, before it takes the next one regardless.
const PASSES_MAX: usize = 8;

/// Marks a verdict that was asked for. The bit is not among those that the index finds a trace by.
const ASKED: u64 = 1 << 63;

impl VerdictMemory {
    /// A memory for at most `verdicts_max` verdicts, with the deciding policy of each or without.
    #[must_use]
    pub fn new(verdicts_max: usize, keeps_policies: bool) -> Self {
        Self {
            hashes: Vec::with_capacity(verdicts_max),
            policies: Vec::with_capacity(if keeps_policies { verdicts_max } else { 0 }),
            thresholds: Vec::with_capacity(if keeps_policies { verdicts_max } else { 0 }),
            annotations: Vec::with_capacity(if keeps_policies { verdicts_max } else { 0 }),
            keeps_policies,
            verdicts_max,
            hand: 0,
        }
    }

    /// Bytes of a full memory.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.verdicts_max
            * (size_of::<u64>()
                + if self.keeps_policies { size_of::<u16>() + size_of::<u64>() + size_of::<Annotations>() } else { 0 })
    }

    /// Remembers a verdict; `kept` is `None` where only dropped traces are remembered. Returns its position and the hash (without its highest bit) of the verdict that gave way, or
    /// `None` when the memory has no room at all.
    pub fn remember(&mut self, hash: u64, kept: Option<KeptBy>) -> Option<(u32, Option<u64>)> {
        if self.verdicts_max == 0 {
            return None;
        }
        if self.hashes.len() < self.verdicts_max {
            self.hashes.push(hash & !ASKED);
            if let Some(KeptBy { policy, threshold, is_hashed, annotations }) = kept {
                self.policies.push(policy);
                self.annotations.push(annotations);
                self.thresholds.push(if is_hashed { threshold | HASHED } else { threshold });
            }
            return Some((u32::try_from(self.hashes.len() - 1).ok()?, None));
        }
        for _ in 0..PASSES_MAX {
            if self.hashes[self.hand] & ASKED == 0 {
                break;
            }
            self.hashes[self.hand] &= !ASKED;
            self.hand = (self.hand + 1) % self.verdicts_max;
        }
        let position = self.hand;
        let before = std::mem::replace(&mut self.hashes[position], hash & !ASKED);
        if let Some(KeptBy { policy, threshold, is_hashed, annotations }) = kept {
            self.policies[position] = policy;
            self.annotations[position] = annotations;
            self.thresholds[position] = if is_hashed { threshold | HASHED } else { threshold };
        }
        self.hand = (self.hand + 1) % self.verdicts_max;
        Some((u32::try_from(position).ok()?, Some(before & !ASKED)))
    }

    /// Whether the verdict at `position` is of the trace with this hash.
    #[inline]
    #[must_use]
    pub fn is(&self, position: u32, hash: u64) -> bool {
        self.hashes.get(position as usize).is_some_and(|known| known & !ASKED == hash & !ASKED)
    }

    /// Notes that a late span asked for the verdict at `position`; returns how the trace was kept.
    pub fn touch(&mut self, position: u32) -> Option<KeptBy> {
        *self.hashes.get_mut(position as usize)? |= ASKED;
        self.kept_by(position)
    }

    /// How the trace of the verdict at `position` was kept.
    #[must_use]
    pub fn kept_by(&self, position: u32) -> Option<KeptBy> {
        let policy = *self.policies.get(position as usize)?;
        let stored = *self.thresholds.get(position as usize)?;
        let annotations = *self.annotations.get(position as usize)?;
        Some(KeptBy { policy, threshold: stored & !HASHED, is_hashed: stored & HASHED != 0, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_unless_it_was_asked_for() {
        let mut memory = VerdictMemory::new(3, true);
        let kept =
            Some(KeptBy { policy: 7, threshold: 1 << 55, is_hashed: true, annotations: Annotations::of(&[2, 0]) });
        for hash in [10u64, 20, 30] {
            assert_eq!(memory.remember(hash, kept).unwrap().1, None);
        }
        assert_eq!(memory.touch(0), kept);
        assert_eq!(memory.remember(40, kept), Some((1, Some(20))), "10 was asked for and stays");
        assert!(memory.is(0, 10) && memory.is(1, 40) && !memory.is(1, 20));
        assert_eq!(memory.remember(50, kept), Some((2, Some(30))));
        assert_eq!(memory.remember(60, kept), Some((0, Some(10))), "its extra turn is over");
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        assert_eq!(VerdictMemory::new(0, false).remember(1, None), None);
    }
}
