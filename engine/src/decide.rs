//! Verdicts, remembered for spans that come late: one bounded memory for kept traces, one for dropped ones. A verdict
//! is found by the keyed hash of the whole trace id. When a memory is full the oldest verdict gives way, except
//! that one which a late span has asked for since the hand last passed gets another turn.

use crate::vocabulary::{Annotations, Nanos, RandomnessKind};
use hashbrown::HashMap;

/// How a trace was kept: what its late spans leave with.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct KeptBy {
    /// The policy.
    pub policy: u16,
    /// Its rejection threshold, below 2^56.
    pub threshold: u64,
    /// Where the trace's randomness comes from.
    pub randomness: RandomnessKind,
    /// The randomness, where it came with a span and is known.
    pub given: Option<u64>,
    /// What its spans get besides.
    pub annotations: Annotations,
}

/// Verdicts of one kind. How they were kept is stored for kept traces; dropped ones store nothing more.
#[derive(Debug)]
pub struct VerdictMemory {
    /// The hash with its highest bit used as "asked for since the hand passed".
    hashes: Vec<u64>,
    policies: Vec<u16>,
    /// Thresholds, with the kind of randomness.
    thresholds: Vec<u64>,
    annotations: Vec<Annotations>,
    /// By position: randomness that came with a span, of as many traces as `GIVEN_SHARE` allows.
    given: HashMap<u32, u64, ahash::RandomState>,
    given_forgotten: u64,
    keeps_policies: bool,
    verdicts_max: usize,
    hand: usize,
    /// The time, as it was last told.
    now: Nanos,
    /// The part that the latest verdict is in, and when the first verdict of each part was last written.
    part: usize,
    begun: [Nanos; PARTS],
    /// Every verdict that was given later is remembered.
    forgotten_up_to: Nanos,
}

/// Parts of a memory, by which is known how old the verdicts are that have given way: within a 64th of what it spans.
const PARTS: usize = 64;

/// One of so many kept traces may have a randomness that came with a span, with it remembered. Senders write it only
/// where ids are not random.
/// At the bound: late spans that bring none are believed their threshold; counted in
/// `tailwater_randomness_forgotten_traces_total`.
const GIVEN_SHARE: usize = 8;
/// Bytes of such a randomness in its table at half its load.
const GIVEN_BYTES: usize = 2 * size_of::<(u32, u64)>();

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
            given: HashMap::with_hasher(ahash::RandomState::with_seeds(13, 14, 15, 16)),
            given_forgotten: 0,
            keeps_policies,
            verdicts_max,
            hand: 0,
            now: Nanos(0),
            part: 0,
            begun: [Nanos(0); PARTS],
            forgotten_up_to: Nanos(0),
        }
    }

    /// It is that late: verdicts are given now.
    #[inline]
    pub fn set_time(&mut self, now: Nanos) {
        self.now = now;
    }

    /// Every verdict that was given after this time is remembered, of those that were given and not restored.
    #[must_use]
    pub fn forgotten_up_to(&self) -> Nanos {
        if self.verdicts_max == 0 { Nanos(u64::MAX) } else { self.forgotten_up_to }
    }

    /// A verdict is written at a position, over another where `gives_way`.
    fn note_time(&mut self, position: usize, gives_way: bool) {
        if self.verdicts_max < PARTS {
            // What gives way was given at most now.
            self.forgotten_up_to = if gives_way { self.now } else { self.forgotten_up_to };
            return;
        }
        let part = (position * PARTS / self.verdicts_max).min(PARTS - 1);
        // The hand may have passed over whole parts.
        while self.part != part {
            self.part = (self.part + 1) % PARTS;
            self.begun[self.part] = self.now;
        }
        if gives_way {
            // It was written before the hand came to the next part, the last time.
            self.forgotten_up_to = self.forgotten_up_to.max(self.begun[(part + 1) % PARTS]);
        }
    }

    /// Kept traces whose randomness came with a span and could not be remembered.
    #[must_use]
    pub fn given_forgotten(&self) -> u64 {
        self.given_forgotten
    }

    /// Bytes of a full memory.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        let given = self.verdicts_max / GIVEN_SHARE * GIVEN_BYTES;
        let kept = size_of::<u16>() + size_of::<u64>() + size_of::<Annotations>();
        let each = size_of::<u64>() + if self.keeps_policies { kept } else { 0 };
        self.verdicts_max * each + if self.keeps_policies { given } else { 0 }
    }

    /// Remembers a verdict; `kept` is `None` where only dropped traces are remembered. Returns its position and the hash (without its highest bit) of the verdict that gave way, or
    /// `None` when the memory has no room at all.
    pub fn remember(&mut self, hash: u64, kept: Option<KeptBy>) -> Option<(u32, Option<u64>)> {
        if self.verdicts_max == 0 {
            return None;
        }
        if self.hashes.len() < self.verdicts_max {
            self.hashes.push(hash & !ASKED);
            self.note_time(self.hashes.len() - 1, false);
            let position = u32::try_from(self.hashes.len() - 1).ok()?;
            if let Some(kept) = kept {
                self.policies.push(kept.policy);
                self.annotations.push(kept.annotations);
                self.thresholds.push(kept.randomness.packed(kept.threshold));
                self.note_given(position, kept.given);
            }
            return Some((position, None));
        }
        for _ in 0..PASSES_MAX {
            if self.hashes[self.hand] & ASKED == 0 {
                break;
            }
            self.hashes[self.hand] &= !ASKED;
            self.hand = (self.hand + 1) % self.verdicts_max;
        }
        let position = u32::try_from(self.hand).ok()?;
        let before = std::mem::replace(&mut self.hashes[self.hand], hash & !ASKED);
        self.note_time(self.hand, true);
        if let Some(kept) = kept {
            if RandomnessKind::unpacked(self.thresholds[self.hand]).1 == RandomnessKind::Given {
                self.given.remove(&position);
            }
            self.policies[self.hand] = kept.policy;
            self.annotations[self.hand] = kept.annotations;
            self.thresholds[self.hand] = kept.randomness.packed(kept.threshold);
            self.note_given(position, kept.given);
        }
        self.hand = (self.hand + 1) % self.verdicts_max;
        Some((position, Some(before & !ASKED)))
    }

    /// The hashes of the verdicts that are about to give way to that many others, without their highest bit.
    pub fn next_to_go(&self, count: usize) -> impl Iterator<Item = u64> {
        let full = if self.hashes.len() < self.verdicts_max { 0 } else { count };
        let (passed, ahead) = self.hashes.split_at(self.hand.min(self.hashes.len()));
        ahead.iter().chain(passed).take(full).map(|hash| hash & !ASKED)
    }

    fn note_given(&mut self, position: u32, given: Option<u64>) {
        let Some(value) = given else { return };
        if self.given.len() < self.verdicts_max.div_ceil(GIVEN_SHARE) {
            self.given.insert(position, value);
        } else {
            self.given_forgotten += 1;
        }
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
        let (threshold, randomness) = RandomnessKind::unpacked(stored);
        let is_given = randomness == RandomnessKind::Given;
        let given = if is_given { self.given.get(&position).copied() } else { None };
        Some(KeptBy { policy, threshold, randomness, given, annotations })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_oldest_gives_way_unless_it_was_asked_for() {
        let mut memory = VerdictMemory::new(3, true);
        let kept = Some(KeptBy {
            policy: 7,
            threshold: 1 << 55,
            randomness: RandomnessKind::Hashed,
            given: None,
            annotations: Annotations::of(&[2, 0]),
        });
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
    fn a_randomness_that_came_with_a_span_is_remembered_with_its_trace_and_bounded() {
        let mut memory = VerdictMemory::new(16, true);
        let plain = KeptBy {
            policy: 1,
            threshold: 5,
            randomness: RandomnessKind::Id,
            given: None,
            annotations: Annotations::NONE,
        };
        let given = |value| KeptBy { randomness: RandomnessKind::Given, given: Some(value), ..plain };
        for hash in 0..3 {
            memory.remember(hash, Some(given(hash + 70)));
        }
        let of = |memory: &VerdictMemory, position| memory.kept_by(position).and_then(|kept| kept.given);
        assert_eq!([0, 1, 2].map(|position| of(&memory, position)), [Some(70), Some(71), None]);
        assert_eq!(memory.given_forgotten(), 1, "two of sixteen");
        assert_eq!(
            memory.kept_by(2).map(|kept| kept.randomness),
            Some(RandomnessKind::Given),
            "it is known that it was"
        );
        (3..16).for_each(|hash| _ = memory.remember(hash, Some(plain)));
        // Two give way, the second to another that has one.
        memory.remember(16, Some(plain));
        memory.remember(17, Some(given(90)));
        assert_eq!([0, 1].map(|position| of(&memory, position)), [None, Some(90)]);
        memory.remember(18, Some(given(91)));
        assert_eq!((of(&memory, 2), memory.given_forgotten()), (Some(91), 1), "their places are free again");
    }

    /// Without `begun` of the next part in `note_time` verdicts that were given after the time it tells would be forgotten.
    #[test]
    fn what_was_given_since_the_time_told_is_remembered() {
        let kept = Some(KeptBy {
            policy: 0,
            threshold: 0,
            randomness: RandomnessKind::Id,
            given: None,
            annotations: Annotations::NONE,
        });
        for (verdicts_max, lag_max) in [(1, 1), (5, 5), (64, 10), (1000, 40)] {
            let mut memory = VerdictMemory::new(verdicts_max, true);
            let mut given = Vec::new();
            for number in 1..=4000_u64 {
                memory.set_time(Nanos(number));
                let (position, _) = memory.remember(number, kept).unwrap();
                given.push(position);
                // Late spans ask for some.
                if number % 3 == 0 {
                    memory.touch(given[usize::try_from(number).unwrap() / 2]);
                }
                let since = memory.forgotten_up_to().0;
                for later in since + 1..=number {
                    let position = given[usize::try_from(later - 1).unwrap()];
                    assert!(memory.is(position, later), "{later} of {number} is not there, told {since}");
                }
                let span = verdicts_max as u64;
                assert!(number <= span || since <= number, "{since} of {number}");
                assert!(number < span || since + span / 2 <= number + lag_max, "{since} is too late at {number}");
            }
        }
        assert_eq!(VerdictMemory::new(0, true).forgotten_up_to(), Nanos(u64::MAX));
    }

    #[test]
    fn without_room_nothing_is_remembered() {
        assert_eq!(VerdictMemory::new(0, false).remember(1, None), None);
    }
}
