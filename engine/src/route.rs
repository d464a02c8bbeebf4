//! Which shard owns a trace: ranges over a keyed 64-bit hash of the WHOLE trace id. Never over the id's low seven
//! bytes: those are the randomness of OTEP 235, and a shard must see all of its values.

use crate::vocabulary::{ShardIndex, TraceId};
use ahash::RandomState;
use std::hash::{BuildHasher, Hash, Hasher};

/// The node's map from traces to shards. Every core of a node has the same.
#[derive(Debug, Clone)]
pub struct Route {
    hasher: RandomState,
    shards: u16,
}

impl Route {
    /// A map onto `shards` shards, keyed by `seed` so that senders can't aim at one of them.
    #[must_use]
    pub fn new(seed: [u64; 4], shards: u16) -> Self {
        Self { hasher: RandomState::with_seeds(seed[0], seed[1], seed[2], seed[3]), shards: shards.max(1) }
    }

    /// The hash by which a trace is routed here and found in tables later.
    #[inline]
    #[must_use]
    pub fn hash(&self, trace_id: &TraceId) -> u64 {
        self.hasher.hash_one(u128::from_le_bytes(*trace_id))
    }

    /// A key of a trace: keyed hash of values. Never 0.
    #[must_use]
    pub fn key(&self, values: impl Iterator<Item = impl Hash>) -> u64 {
        let mut hasher = self.hasher.build_hasher();
        values.for_each(|value| value.hash(&mut hasher));
        hasher.finish() | 1
    }

    /// The shard that owns the traces of this hash.
    #[inline]
    #[must_use]
    pub fn shard(&self, hash: u64) -> ShardIndex {
        let [_, _, _, _, _, _, _, _, low, high, ..] = (u128::from(hash) * u128::from(self.shards)).to_le_bytes();
        ShardIndex(u16::from_le_bytes([low, high]))
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn shards_get_equal_shares_whatever_part_of_the_id_varies() {
        for shift in [0, 64, 112] {
            for shards in [1u16, 2, 3, 8] {
                let route = Route::new([1, 2, 3, 4], shards);
                let mut counts = vec![0u32; usize::from(shards)];
                for id in 1..=8000u128 {
                    let hash = route.hash(&(id << shift).to_be_bytes());
                    counts[usize::from(route.shard(hash).0)] += 1;
                }
                let fair = 8000 / u32::from(shards);
                assert!(counts.iter().all(|count| count.abs_diff(fair) < fair / 5), "{counts:?}");
            }
        }
    }
}
