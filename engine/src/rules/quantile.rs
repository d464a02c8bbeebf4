//! What is slow for its kind: for each key (such as a service and its route) how long traces have lasted of late, as a
//! sketch of fixed relative error that can be added to another.
//!
//! ```text
//! bucket   durations d nanoseconds with the same highest bit and the same three bits below it: at most 12.5 % apart
//! sketch   a count for each bucket of a range that grows as needed
//! ```
//! Each key has two sketches, of the present period and of the one before, so that what is older than two periods is
//! forgotten. While both together have seen too few traces there is no bound, and no trace is slow for its kind.

use crate::evidence::Summary;
use crate::vocabulary::Nanos;
use hashbrown::HashMap;

/// A leaf on a trace's duration relative to its kind's.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct RelativeLeaf {
    /// Its bit among the trace's leaves.
    pub leaf: u16,
    /// Which of the trace's keys it goes by.
    pub key: u16,
    /// Quantile, between 0 and 1.
    pub quantile: f64,
    /// Shorter traces never match, nanoseconds.
    pub at_least_nanos: u64,
    /// Traces of a key that must have been seen.
    pub traces_min: u64,
}

/// How long a period lasts: long enough for quantiles of quiet routes, short enough to follow a deployment.
const PERIOD: Nanos = Nanos(60 * Nanos::PER_SECOND);
/// Keys of one leaf on one shard.
/// At the bound: traces of further keys are never slow for their kind; counted in
/// `tailwater_quantile_keys_refused_traces_total`.
const KEYS_MAX: usize = 4096;
/// Bytes of all counts of one leaf on one shard: what as many keys need whose durations are within a factor of a
/// thousand.
/// At the bound: durations that need a new bucket are not counted, but their traces are; counted in
/// `tailwater_quantile_keys_refused_traces_total`.
const COUNTS_BYTES_MAX: usize = 3 << 20;
/// Bytes of a leaf's durations on one shard at most: its counts, and a table of keys that is half empty.
pub const LEAF_BYTES_MAX: usize = COUNTS_BYTES_MAX + 2 * KEYS_MAX * (size_of::<(u64, Kind)>() + 1);
/// Buckets by which a sketch grows at least: durations within a factor of two.
const GROWTH_BUCKETS: usize = 1 << FINE_BITS;
/// Bits of a duration below its highest that tell buckets apart.
const FINE_BITS: u32 = 3;
/// Traces of a key after which its bound is worked out anew.
const BOUND_EVERY: u32 = 32;

/// Counts by bucket, from bucket `first` on.
#[derive(Debug, Clone, Default)]
pub struct Sketch {
    first: usize,
    counts: Vec<u32>,
    total: u64,
}

impl Sketch {
    /// Counts a duration. False, and it is not counted, when this takes more than `room` bytes; else they are taken from
    /// it.
    pub fn add(&mut self, nanos: u64, room: &mut usize) -> bool {
        let bucket = bucket_of(nanos);
        if self.counts.is_empty() {
            self.first = bucket;
        }
        let (first, end) = (self.first.min(bucket), self.end().max(bucket + 1));
        let before = self.bytes();
        let missing = (end - first).saturating_sub(self.counts.capacity());
        if missing > 0 {
            let growth = (end - first).next_multiple_of(GROWTH_BUCKETS) - self.counts.len();
            if (self.counts.len() + growth) * size_of::<u32>() > before.saturating_add(*room) {
                return false;
            }
            self.counts.reserve_exact(growth);
            *room = room.saturating_sub(self.bytes() - before);
        }
        self.counts.splice(0..0, std::iter::repeat_n(0, self.first - first));
        self.first = first;
        self.counts.resize(end - first, 0);
        let count = &mut self.counts[bucket - first];
        *count = count.saturating_add(1);
        self.total += 1;
        true
    }

    /// Bytes of its counts.
    fn bytes(&self) -> usize {
        self.counts.capacity() * size_of::<u32>()
    }

    /// Durations counted.
    #[must_use]
    pub fn total(&self) -> u64 {
        self.total
    }

    fn at(&self, bucket: usize) -> u64 {
        bucket.checked_sub(self.first).and_then(|place| self.counts.get(place)).copied().map_or(0, u64::from)
    }

    /// Past the last bucket.
    fn end(&self) -> usize {
        self.first + self.counts.len()
    }
}

fn bucket_of(nanos: u64) -> usize {
    let highest = nanos.max(1).ilog2();
    let fine = if highest >= FINE_BITS { nanos >> (highest - FINE_BITS) } else { nanos << (FINE_BITS - highest) };
    (highest as usize) << FINE_BITS | usize::from(fine.to_le_bytes()[0] & ((1 << FINE_BITS) - 1))
}

/// The least duration of the bucket after `bucket`.
fn upper_bound(bucket: usize) -> u64 {
    let (highest, fine) = (bucket >> FINE_BITS, (bucket & ((1 << FINE_BITS) - 1)) as u64);
    let next = (1u128 << FINE_BITS) + u128::from(fine) + 1;
    u64::try_from((next << highest).div_ceil(1 << FINE_BITS)).unwrap_or(u64::MAX)
}

/// The upper bound of the bucket that holds the quantile of both sketches together.
#[must_use]
pub fn quantile_of(one: &Sketch, other: &Sketch, quantile: f64) -> Option<u64> {
    let total = one.total + other.total;
    if total == 0 {
        return None;
    }
    let above = 1.0 - quantile;
    // From the top: few buckets hold the slowest.
    let mut left = above * tailwater_proto::consistent::to_float(total);
    for bucket in (one.first.min(other.first)..one.end().max(other.end())).rev() {
        let count = one.at(bucket) + other.at(bucket);
        left -= tailwater_proto::consistent::to_float(count);
        if left < 0.0 {
            return Some(upper_bound(bucket));
        }
    }
    None
}

/// One key's durations.
#[derive(Debug, Default)]
struct Kind {
    present: Sketch,
    before: Sketch,
    bound: Option<u64>,
    /// Traces since the bound was worked out.
    since: u32,
}

/// The durations by key of every relative leaf of a rule set, on one shard.
#[derive(Debug, Default)]
pub struct Quantiles {
    leaves: Vec<Kinds>,
    period_ends: Nanos,
    /// Traces whose key, or duration, had no place.
    keys_refused: u64,
}

/// One leaf's durations.
#[derive(Debug)]
struct Kinds {
    by_key: HashMap<u64, Kind, ahash::RandomState>,
    /// Bytes that its counts may still take.
    room: usize,
}

impl Kinds {
    fn new() -> Self {
        Self { by_key: HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8)), room: COUNTS_BYTES_MAX }
    }
}

impl Quantiles {
    /// Nothing seen yet, for so many leaves.
    #[must_use]
    pub fn new(leaves: usize) -> Self {
        Self { leaves: (0..leaves).map(|_| Kinds::new()).collect(), period_ends: Nanos::default(), keys_refused: 0 }
    }

    /// Takes over what `before` has seen, for leaves that go by the same attributes: `pairs` of (number here, number there).
    /// Where the quantile is another, a key has no bound until its next trace.
    pub fn inherit(
        &mut self,
        (before, old): (&mut Self, &[RelativeLeaf]),
        leaves: &[RelativeLeaf],
        pairs: &[(usize, usize)],
    ) {
        (self.period_ends, self.keys_refused) = (before.period_ends, before.keys_refused);
        for (number, place) in pairs {
            let (Some(mine), Some(theirs)) = (self.leaves.get_mut(*number), before.leaves.get_mut(*place)) else {
                continue;
            };
            std::mem::swap(mine, theirs);
            let quantile = |leaves: &[RelativeLeaf], number: usize| leaves.get(number).map(|leaf| leaf.quantile);
            if quantile(leaves, *number) != quantile(old, *place) {
                mine.by_key.values_mut().for_each(|kind| kind.bound = None);
            }
        }
    }

    /// Whether a trace of that key and duration is slow for its kind, by leaf `number`.
    #[must_use]
    pub fn is_slow(&self, number: usize, leaf: &RelativeLeaf, key: u64, duration_nanos: u64) -> bool {
        let Some(kind) = self.leaves.get(number).and_then(|kinds| kinds.by_key.get(&key)) else { return false };
        let seen = kind.present.total() + kind.before.total();
        seen >= leaf.traces_min
            && duration_nanos >= leaf.at_least_nanos
            && kind.bound.is_some_and(|bound| duration_nanos >= bound)
    }

    /// Sets or clears the leaves on the duration of a set of spans relative to that of their kind, which are not of any one
    /// span.
    pub fn compare(&self, leaves: &[RelativeLeaf], seen: &mut Summary, more: &mut [u64]) {
        for (number, leaf) in leaves.iter().enumerate() {
            let key = more.get(usize::from(leaf.key)).copied().unwrap_or(0);
            let is_slow = self.is_slow(number, leaf, key, seen.duration_nanos());
            seen.set_leaf(more, leaf.leaf, is_slow);
        }
    }

    /// Counts a judged trace.
    pub fn add(&mut self, number: usize, leaf: &RelativeLeaf, key: u64, duration_nanos: u64) {
        let Some(kinds) = self.leaves.get_mut(number) else { return };
        if kinds.by_key.len() >= KEYS_MAX && !kinds.by_key.contains_key(&key) {
            self.keys_refused += 1;
            return;
        }
        let kind = kinds.by_key.entry(key).or_default();
        if !kind.present.add(duration_nanos, &mut kinds.room) {
            self.keys_refused += 1;
            return;
        }
        kind.since += 1;
        if kind.bound.is_none() || kind.since >= BOUND_EVERY {
            kind.since = 0;
            kind.bound = quantile_of(&kind.present, &kind.before, leaf.quantile);
        }
    }

    /// Goes on to the next period when this one is over. Keys without a trace in the last two are forgotten.
    pub fn turn(&mut self, now: Nanos) {
        if now < self.period_ends {
            return;
        }
        self.period_ends = now.plus(PERIOD);
        for kinds in &mut self.leaves {
            let mut bytes = 0;
            kinds.by_key.retain(|_, kind| {
                kind.before = std::mem::take(&mut kind.present);
                bytes += kind.before.bytes();
                kind.before.total() > 0
            });
            kinds.room = COUNTS_BYTES_MAX.saturating_sub(bytes);
        }
    }

    /// Traces whose key, or duration, had no place.
    #[must_use]
    pub fn keys_refused(&self) -> u64 {
        self.keys_refused
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantiles_are_within_the_width_of_a_bucket() {
        let (mut one, mut other) = (Sketch::default(), Sketch::default());
        for duration in 1..=10_000u64 {
            let sketch = if duration % 3 == 0 { &mut one } else { &mut other };
            assert!(sketch.add(duration * 1000, &mut usize::MAX.clone()));
        }
        for (quantile, exact) in [(0.5, 5_000_000.0), (0.9, 9_000_000.0), (0.99, 9_900_000.0)] {
            let found = quantile_of(&one, &other, quantile).unwrap() as f64;
            assert!(found >= exact && found <= exact * 1.13, "{quantile}: {found}");
        }
        assert_eq!(quantile_of(&Sketch::default(), &Sketch::default(), 0.5), None);
        for nanos in [0, 1, 5, 7, 8, 9, 1_000_000, u64::MAX / 3] {
            assert!(upper_bound(bucket_of(nanos)) > nanos);
            assert!(nanos == 0 || bucket_of(upper_bound(bucket_of(nanos))) > bucket_of(nanos));
        }
    }

    const LEAF: RelativeLeaf = RelativeLeaf { leaf: 0, key: 0, quantile: 0.9, at_least_nanos: 100, traces_min: 50 };

    #[test]
    fn each_key_has_its_own_bound_after_a_cold_start_and_forgets() {
        let mut quantiles = Quantiles::new(1);
        quantiles.turn(Nanos(1));
        for number in 0..200u64 {
            assert!(number >= 50 || !quantiles.is_slow(0, &LEAF, 1, 1_000_000), "too few have been seen");
            quantiles.add(0, &LEAF, 1, 1000 + number);
            quantiles.add(0, &LEAF, 2, 1_000_000 + number);
        }
        assert!(quantiles.is_slow(0, &LEAF, 1, 2000) && !quantiles.is_slow(0, &LEAF, 1, 900));
        assert!(!quantiles.is_slow(0, &LEAF, 2, 2000) && quantiles.is_slow(0, &LEAF, 2, 2_000_000));
        assert!(!quantiles.is_slow(0, &LEAF, 3, 2_000_000), "an unknown key");
        for period in 1..4 {
            quantiles.turn(Nanos(1).plus(Nanos(period * PERIOD.0)));
        }
        assert!(!quantiles.is_slow(0, &LEAF, 1, 2000), "forgotten after two periods");
    }

    #[test]
    fn keys_are_bounded() {
        let mut quantiles = Quantiles::new(1);
        for key in 0..KEYS_MAX as u64 + 10 {
            quantiles.add(0, &LEAF, key, 1);
        }
        assert_eq!(quantiles.keys_refused(), 10);
    }

    #[test]
    fn counts_take_no_more_than_the_memory_plan_says() {
        let mut quantiles = Quantiles::new(1);
        quantiles.turn(Nanos(1));
        let bytes = |quantiles: &Quantiles| -> usize {
            quantiles.leaves[0].by_key.values().map(|kind| kind.present.bytes() + kind.before.bytes()).sum()
        };
        // Every key has every duration there is.
        for period in 1..4 {
            for key in 0..KEYS_MAX as u64 {
                (0..64).for_each(|bit| quantiles.add(0, &LEAF, key, 1 << bit));
            }
            assert!(bytes(&quantiles) <= COUNTS_BYTES_MAX && bytes(&quantiles) > COUNTS_BYTES_MAX / 4 * 3);
            assert!(quantiles.leaves[0].by_key.allocation_size() + COUNTS_BYTES_MAX <= LEAF_BYTES_MAX + 64);
            assert!(quantiles.keys_refused() > 0);
            quantiles.turn(Nanos(1).plus(Nanos(period * PERIOD.0)));
        }
        // What is usual has room.
        let mut usual = Quantiles::new(1);
        usual.turn(Nanos(1));
        for period in 1..4 {
            for key in 0..KEYS_MAX as u64 {
                (0..70).for_each(|step| usual.add(0, &LEAF, key, 1_000_000 + 10_000_000 * step));
            }
            usual.turn(Nanos(1).plus(Nanos(period * PERIOD.0)));
        }
        assert_eq!(usual.keys_refused(), 0);
    }

    #[test]
    fn what_was_learned_outlives_a_change_of_the_rules() {
        let leaf = |quantile| RelativeLeaf { leaf: 0, key: 0, quantile, at_least_nanos: 0, traces_min: 100 };
        let mut before = Quantiles::new(2);
        for duration in 1..=1000u64 {
            before.add(1, &leaf(0.5), 7, duration * 1000);
        }
        let mut after = Quantiles::new(1);
        after.inherit((&mut before, &[leaf(0.1), leaf(0.5)]), &[leaf(0.9)], &[(0, 1)]);
        assert!(!after.is_slow(0, &leaf(0.9), 7, 1_100_000), "no bound yet for this quantile");
        after.add(0, &leaf(0.9), 7, 500_000);
        assert!(after.is_slow(0, &leaf(0.9), 7, 1_100_000), "what was seen before counts");
        assert!(!after.is_slow(0, &leaf(0.9), 7, 600_000), "by the new quantile");
        assert!(!after.is_slow(0, &leaf(0.9), 8, 1_100_000), "another key has seen nothing");
        before.keys_refused = 3;
        let mut later = Quantiles::new(0);
        later.inherit((&mut before, &[]), &[], &[]);
        assert_eq!(later.keys_refused(), 3, "a counter never falls");
    }
}
