//! The randomness of a trace: what its thresholds are compared with.
//!
//! It is the `rv` of its tracestate, else the last 7 bytes of its id (OTEP 235). Head samplers from before OTEP 235 keep
//! traces by the first 8 bytes of the id's second half being small, and leave no trace of it: of such traffic only ids
//! with low randomness arrive, and a threshold would drop all of it. Byte 8 of the id gives it away: it is nearly
//! constant there and has any value elsewhere. Where ids with one value of byte 8 come far more often than the rest, and
//! their senders neither write an `ot` member nor set the random flag, the trace gets a randomness from a hash of its
//! whole id, which is written as `rv` so that who reads the threshold later finds it true.

use crate::evidence::TraceHead;
use crate::vocabulary::{RandomnessKind, TraceId};
use tailwater_config::sampling::RandomnessSource;
use tailwater_proto::consistent::{NEVER, randomness_of};

/// Where this shard's traces get their randomness, with what it has seen of byte 8 of their ids.
#[derive(Debug)]
pub struct Randomness {
    source: RandomnessSource,
    /// Traces by byte 8 of their id, of those that might be head-sampled without saying so.
    seen: Box<[u32; 256]>,
    total: u32,
}

/// Traces after which the counts are halved, so that they follow the traffic.
const SEEN_MAX: u32 = 16_384;
/// Fewer traces with one value of byte 8 than this say nothing.
const SUSPECT_MIN: u32 = 64;
/// How many times as often as the upper half's values a value comes that is suspect. Ids that were not sampled, or were
/// sampled at a half or more, stay far below.
const SUSPECT_TIMES: u32 = 8;

/// A trace's randomness.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct TraceRandomness {
    /// 56 bits.
    pub value: u64,
    /// Where it comes from. Kept spans carry a hash as `rv`.
    pub kind: RandomnessKind,
}

impl Randomness {
    /// Nothing seen yet.
    #[must_use]
    pub fn new(source: RandomnessSource) -> Self {
        Self { source, seen: Box::new([0; 256]), total: 0 }
    }

    /// The randomness of a trace that is judged now. `is_random`: its sender says that the id is random.
    pub fn of(&self, trace_id: &TraceId, head: Option<&TraceHead>, is_random: bool) -> TraceRandomness {
        if let Some(value) = head.and_then(|head| head.randomness) {
            return TraceRandomness { value, kind: RandomnessKind::Given };
        }
        let says_nothing = head.is_none() && !is_random;
        let is_hashed = match self.source {
            RandomnessSource::TraceId => false,
            RandomnessSource::Hashed => says_nothing,
            RandomnessSource::Auto => says_nothing && self.is_suspect(trace_id[8]),
        };
        Self::again(trace_id, RandomnessKind::of_id(is_hashed), None)
    }

    /// The randomness of a trace of which a span comes: the same on every node, whatever it has seen. `given` is the span's.
    #[must_use]
    pub fn on_arrival(&self, trace_id: &TraceId, given: Option<u64>) -> u64 {
        let of_id =
            || Self::again(trace_id, RandomnessKind::of_id(self.source == RandomnessSource::Hashed), None).value;
        given.unwrap_or_else(of_id)
    }

    /// The randomness of a trace of which it is known where it comes from. One that came with a span and is not known any
    /// more (`given`) contradicts nothing: it is taken for the highest.
    #[must_use]
    pub fn again(trace_id: &TraceId, kind: RandomnessKind, given: Option<u64>) -> TraceRandomness {
        let value = match kind {
            RandomnessKind::Id => randomness_of(trace_id),
            RandomnessKind::Hashed => hashed(trace_id),
            RandomnessKind::Given => given.unwrap_or(NEVER - 1),
        };
        TraceRandomness { value, kind }
    }

    /// Counts a trace, once, for those after it.
    pub fn count(&mut self, trace_id: &TraceId, head: Option<&TraceHead>, is_random: bool) {
        if self.source != RandomnessSource::Auto || head.is_some() || is_random {
            return;
        }
        self.seen[usize::from(trace_id[8])] += 1;
        self.total += 1;
        if self.total >= SEEN_MAX {
            self.seen.iter_mut().for_each(|count| *count /= 2);
            self.total /= 2;
        }
    }

    /// Whether that value of byte 8 comes too often.
    fn is_suspect(&self, value: u8) -> bool {
        let count = self.seen[usize::from(value)];
        if count < SUSPECT_MIN || value >= 128 {
            return false;
        }
        let upper: u32 = self.seen[128..].iter().sum();
        count > SUSPECT_TIMES * (upper / 128 + 1)
    }
}

/// 56 well-mixed bits of a trace id, the same on every node: the finaliser of splitmix64 over both halves.
fn hashed(trace_id: &TraceId) -> u64 {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = *trace_id;
    let (first, second) = (u64::from_be_bytes([a, b, c, d, e, f, g, h]), u64::from_be_bytes([i, j, k, l, m, n, o, p]));
    mixed(first ^ mixed(second)) & (NEVER - 1)
}

fn mixed(mut bits: u64) -> u64 {
    bits = bits.wrapping_add(0x9e37_79b9_7f4a_7c15);
    bits = (bits ^ bits >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ bits >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^ bits >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn id(number: u64, byte_8: u8) -> TraceId {
        let low = u64::from(byte_8) << 56 | mixed(number) >> 8;
        (u128::from(mixed(number + 1_000_000)) << 64 | u128::from(low)).to_be_bytes()
    }

    #[test]
    fn head_sampled_ids_are_hashed_and_others_are_not() {
        let mut randomness = Randomness::new(RandomnessSource::Auto);
        let (mut sampled, mut plain) = (0, 0);
        for number in 0..20_000u64 {
            let byte_8 = mixed(number).to_le_bytes()[7];
            plain += u32::from(randomness.of(&id(number, byte_8), None, false).kind == RandomnessKind::Hashed);
            randomness.count(&id(number, byte_8), None, false);
            // A third of the traffic was sampled at 0.1 %: byte 8 is 0.
            if number % 2 == 0 {
                let found = randomness.of(&id(number, 0), None, false);
                sampled += u32::from(found.kind == RandomnessKind::Hashed);
                randomness.count(&id(number, 0), None, false);
                assert_ne!(
                    randomness.of(&id(number, 0), None, true).kind,
                    RandomnessKind::Hashed,
                    "the sender knows better"
                );
            }
        }
        assert!(sampled > 9_900, "{sampled} of 10000");
        assert!(plain < 200, "{plain} of 20000; those with a 0 there by chance can't be told apart");
    }

    #[test]
    fn unsampled_and_half_sampled_traffic_is_left_alone() {
        let mut randomness = Randomness::new(RandomnessSource::Auto);
        for number in 0..50_000u64 {
            let id = id(number, mixed(number).to_le_bytes()[7]);
            assert_ne!(randomness.of(&id, None, false).kind, RandomnessKind::Hashed);
            randomness.count(&id, None, false);
        }
    }

    #[test]
    fn hashed_randomness_is_uniform() {
        let above = (0..10_000u64).filter(|number| hashed(&id(*number, 0)) >= NEVER / 4 * 3).count();
        assert!((2_300..2_700).contains(&above), "{above}");
    }
}
