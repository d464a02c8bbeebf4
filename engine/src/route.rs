//! Which shard owns a trace: ranges over a keyed 64-bit hash of the WHOLE trace id. Never over the id's low seven
//! bytes: those are the randomness of OTEP 235, and a shard must see all of its values.

use crate::vocabulary::{ShardIndex, TraceId};
use tailwater_ottl::Noted;
use twox_hash::XxHash3_64;

/// The map from traces to shards. Every core of a node has the same.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    hasher: KeyedHasher,
    shards: u16,
}

impl Route {
    /// A map onto `shards` shards, keyed by `seed` so that senders can't aim at one of them.
    #[must_use]
    pub fn new(seed: [u64; 4], shards: u16) -> Self {
        Self { hasher: KeyedHasher::new(seed), shards: shards.max(1) }
    }

    /// The hash by which a trace is routed here and found in tables later.
    #[inline]
    #[must_use]
    pub fn hash(&self, trace_id: &TraceId) -> u64 {
        self.hasher.of_16(u128::from_le_bytes(*trace_id))
    }

    /// A key of a trace: keyed hash of values, in their order. Never 0.
    #[must_use]
    pub fn key<'a>(&self, values: impl Iterator<Item = Option<Noted<'a>>>) -> u64 {
        values.fold(0, |key, value| self.hasher.of_pair(key, self.hasher.of_value(value))) | 1
    }

    /// The shard that owns the traces of this hash.
    #[inline]
    #[must_use]
    pub fn shard(&self, hash: u64) -> ShardIndex {
        shard_among(hash, self.shards)
    }

    /// How many shards there are.
    #[must_use]
    pub fn shards(&self) -> u16 {
        self.shards
    }
}

/// The shard of a hash where there are `shards`: on this node, or on another.
#[inline]
#[must_use]
pub fn shard_among(hash: u64, shards: u16) -> ShardIndex {
    let [_, _, _, _, _, _, _, _, low, high, ..] = (u128::from(hash) * u128::from(shards.max(1))).to_le_bytes();
    ShardIndex(u16::from_le_bytes([low, high]))
}

/// XXH3-64 under a secret. Who has the same seed gets the same hashes, on any processor and with any version of the program.
#[derive(Debug, Clone, PartialEq, Eq)]
struct KeyedHasher {
    /// What inputs of 16 bytes are mixed with, made of the secret once.
    flips: [u64; 2],
    secret: [u8; SECRET_BYTES],
}

/// What XXH3 itself takes when it is not given one; it asks for 136 at least.
const SECRET_BYTES: usize = 192;

impl KeyedHasher {
    fn new(seed: [u64; 4]) -> Self {
        let mut bytes = [0; 32];
        bytes.chunks_exact_mut(8).zip(seed).for_each(|(place, word)| place.copy_from_slice(&word.to_le_bytes()));
        let mut secret = [0; SECRET_BYTES];
        // Each word depends on the whole seed.
        for (place, number) in secret.chunks_exact_mut(8).zip(1..) {
            place.copy_from_slice(&XxHash3_64::oneshot_with_seed(number, &bytes).to_le_bytes());
        }
        let word = |number: usize| {
            let place = secret.get(8 * number..).and_then(|rest| rest.first_chunk());
            u64::from_le_bytes(place.copied().unwrap_or_default())
        };
        Self { flips: [word(3) ^ word(4), word(5) ^ word(6)], secret }
    }

    /// Of 16 bytes, little-endian: XXH3's way for this length, written out because every span goes through it.
    #[inline(always)]
    fn of_16(&self, input: u128) -> u64 {
        let low = halves(input)[0] ^ self.flips[0];
        let high = halves(input)[1] ^ self.flips[1];
        let [product_low, product_high] = halves(u128::from(low) * u128::from(high));
        let sum = low.swap_bytes().wrapping_add(high).wrapping_add(product_low ^ product_high).wrapping_add(16);
        let mixed = (sum ^ sum >> 37).wrapping_mul(0x1656_6791_9e37_79f9);
        mixed ^ mixed >> 32
    }

    fn of_pair(&self, first: u64, second: u64) -> u64 {
        self.of_16(u128::from(second) << 64 | u128::from(first))
    }

    /// Values of different types differ, and none is a value too.
    fn of_value(&self, value: Option<Noted<'_>>) -> u64 {
        match value {
            None => self.of_pair(0, 0),
            // The secret is long enough.
            Some(Noted::Bytes(bytes)) => {
                let hash = XxHash3_64::oneshot_with_secret(&self.secret, bytes).unwrap_or_default();
                self.of_pair(1, hash)
            }
            Some(Noted::Integer(value)) => self.of_pair(2, value.cast_unsigned()),
            Some(Noted::Boolean(value)) => self.of_pair(3, u64::from(value)),
        }
    }
}

/// The seed that follows from a text, for hashes that are to be the same wherever the text is.
#[must_use]
pub fn seed_of(text: &str) -> [u64; 4] {
    [1, 2, 3, 4].map(|number| XxHash3_64::oneshot_with_seed(number, text.as_bytes()))
}

/// The low half, and the high one.
#[inline(always)]
fn halves(value: u128) -> [u64; 2] {
    let [a, b, c, d, e, f, g, h, i, j, k, l, m, n, o, p] = value.to_le_bytes();
    [u64::from_le_bytes([a, b, c, d, e, f, g, h]), u64::from_le_bytes([i, j, k, l, m, n, o, p])]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_hash_is_xxh3_under_a_secret_of_the_seed() {
        let hasher = KeyedHasher::new([1, 2, 3, 4]);
        let mut id = 1u128;
        for _ in 0..1000 {
            let crates = XxHash3_64::oneshot_with_secret(&hasher.secret, &id.to_le_bytes()).unwrap();
            assert_eq!(hasher.of_16(id), crates, "{id:x}");
            id = id.wrapping_mul(0x2360_ed05_1fc6_5da4_4385_df64_9fcc_f645).wrapping_add(1);
        }
    }

    /// What nodes tell one another must not depend on who computed it. A number here changes only with the wire.
    #[test]
    fn equal_seeds_give_equal_hashes_everywhere() {
        let route = Route::new([1, 2, 3, 4], 1);
        assert_eq!(route.hash(&[7; 16]), HASH_OF_SEVENS);
        let values = [Some(Noted::Bytes(b"checkout")), None, Some(Noted::Integer(-1)), Some(Noted::Boolean(true))];
        assert_eq!(route.key(values.into_iter()), KEY_OF_VALUES);
        for position in 0..4 {
            let mut seed = [1, 2, 3, 4];
            seed[position] += 1;
            let other = Route::new(seed, 1);
            assert_ne!(other.hash(&[7; 16]), HASH_OF_SEVENS, "all of the seed counts");
            assert_ne!(other.key(values.into_iter()), KEY_OF_VALUES);
        }
    }

    const HASH_OF_SEVENS: u64 = 12_784_430_609_216_656_109;
    const KEY_OF_VALUES: u64 = 11_347_654_848_517_534_039;

    #[test]
    fn keys_tell_types_places_and_absence_apart() {
        let route = Route::new([1, 2, 3, 4], 1);
        let (one, none) = (Some(Noted::Integer(1)), None);
        let lists: [&[Option<Noted<'_>>]; 9] = [
            &[one],
            &[Some(Noted::Boolean(true))],
            &[Some(Noted::Bytes(&[1, 0, 0, 0, 0, 0, 0, 0]))],
            &[Some(Noted::Bytes(b""))],
            &[none],
            &[none, one],
            &[one, none],
            &[one, one],
            &[],
        ];
        let keys: Vec<u64> = lists.iter().map(|list| route.key(list.iter().copied())).collect();
        assert!(keys.iter().all(|key| *key != 0), "0 is no key");
        let mut different = keys.clone();
        different.sort_unstable();
        different.dedup();
        assert_eq!(different.len(), keys.len(), "{keys:?}");
    }

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
