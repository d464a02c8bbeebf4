//! Verdicts, remembered for spans that come late: one bounded memory for kept traces, one for dropped ones. A verdict
//! is found by the keyed hash of the whole trace id. When a memory is full the oldest verdict gives way, except
//! that one which a late span has asked for since the hand last passed gets another turn.

/// Verdicts of one kind. `policy` values are stored for kept traces; dropped ones store none.
#[derive(Debug)]
pub struct VerdictMemory {
    /// The hash with its highest bit used as "asked for since the hand passed".
    hashes: Vec<u64>,
    policies: Vec<u16>,
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
            keeps_policies,
            verdicts_max,
            hand: 0,
        }
    }

    /// Bytes of a full memory.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.verdicts_max * (size_of::<u64>() + if self.keeps_policies { size_of::<u16>() } else { 0 })
    }

    /// Remembers a verdict. Returns its position and the hash (without its highest bit) of the verdict that gave way, or
    /// `None` when the memory has no room at all.
    pub fn remember(&mut self, hash: u64, policy: u16) -> Option<(u32, Option<u64>)> {
        if self.verdicts_max == 0 {
            return None;
        }
        if self.hashes.len() < self.verdicts_max {
            self.hashes.push(hash & !ASKED);
            if self.keeps_policies {
                self.policies.push(policy);
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
        if self.keeps_policies {
            self.policies[position] = policy;
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

    /// Notes that a late span asked for the verdict at `position`; returns the policy that kept the trace.
    pub fn touch(&mut self, position: u32) -> Option<u16> {
        *self.hashes.get_mut(position as usize)? |= ASKED;
        self.policies.get(position as usize).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_unless_it_was_asked_for() {
        let mut memory = VerdictMemory::new(3, true);
        for hash in [10u64, 20, 30] {
            assert_eq!(memory.remember(hash, 7).unwrap().1, None);
        }
        assert_eq!(memory.touch(0), Some(7));
        assert_eq!(memory.remember(40, 7), Some((1, Some(20))), "10 was asked for and stays");
        assert!(memory.is(0, 10) && memory.is(1, 40) && !memory.is(1, 20));
        assert_eq!(memory.remember(50, 7), Some((2, Some(30))));
        assert_eq!(memory.remember(60, 7), Some((0, Some(10))), "its extra turn is over");
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        assert_eq!(VerdictMemory::new(0, false).remember(1, 0), None);
    }
}
