//! Which traces a segment may have: a split-block Bloom filter of the hashes of their ids. It may say that it has a trace
//! that it has not, never the other way round, so that who looks for a trace reads few segments besides those that have it.
//!
//! ```text
//! a block is 8 words of 32 bits; a hash chooses one block and one bit in each of its words
//! ```
//! One look is one line of the cache.

/// Words of a block.
const WORDS: usize = 8;
/// Bytes of a block.
const BLOCK_BYTES: usize = WORDS * 4;
/// Odd multipliers, one a word, that take five bits each from a hash: those of Parquet's filters.
const SALTS: [u32; WORDS] =
    [0x47b6_137b, 0x4497_4d91, 0x8824_ad5b, 0xa2b7_289d, 0x7054_95c7, 0x2df1_424b, 0x9efc_4947, 0x5c6b_fb31];
/// A filter has this part of its segment's bytes: with traces of a kilobyte in the log it has sixteen bits for each, and says
/// yes to one foreign trace of a thousand.
const SEGMENT_SHARE: u64 = 512;
/// Largest filter: half a MiB is the memory of a hundred thousand traces.
const FILTER_BYTES_MAX: u64 = 512 << 10;

/// The filter of one segment.
#[derive(Debug, Clone)]
pub struct Filter {
    blocks: Vec<[u32; WORDS]>,
}

impl Filter {
    /// An empty filter for a segment of so many bytes.
    #[must_use]
    pub fn for_segment(segment_bytes: u64) -> Self {
        let bytes = usize::try_from((segment_bytes / SEGMENT_SHARE).min(FILTER_BYTES_MAX)).unwrap_or(usize::MAX);
        Self { blocks: vec![[0; WORDS]; (bytes / BLOCK_BYTES).max(1)] }
    }

    /// The bytes of a filter for a segment of so many.
    #[must_use]
    pub fn bytes_for(segment_bytes: u64) -> u64 {
        (segment_bytes / SEGMENT_SHARE).clamp(BLOCK_BYTES as u64, FILTER_BYTES_MAX)
    }

    /// Bytes that it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.blocks.len() * BLOCK_BYTES
    }

    #[inline]
    fn place(&self, hash: u64) -> usize {
        // The upper half chooses the block, the lower the bits.
        let upper = hash >> 32;
        usize::try_from((upper * self.blocks.len() as u64) >> 32).unwrap_or(0)
    }

    /// The segment has a trace of that hash.
    #[inline]
    pub fn add(&mut self, hash: u64) {
        let (place, low) = (self.place(hash), low(hash));
        for (word, salt) in self.blocks[place].iter_mut().zip(SALTS) {
            *word |= 1 << (low.wrapping_mul(salt) >> 27);
        }
    }

    /// Whether the segment may have a trace of that hash.
    #[inline]
    #[must_use]
    pub fn may_have(&self, hash: u64) -> bool {
        let low = low(hash);
        let mut words = self.blocks[self.place(hash)].iter().zip(SALTS);
        words.all(|(word, salt)| word >> (low.wrapping_mul(salt) >> 27) & 1 == 1)
    }
}

#[inline]
fn low(hash: u64) -> u32 {
    u32::try_from(hash & u64::from(u32::MAX)).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn hash(number: u64) -> u64 {
        let mixed = (number + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed ^ (mixed >> 27)
    }

    /// Fails where a word's bit is taken from another part of the hash in `add` than in `may_have`, and where blocks are few.
    #[test]
    fn what_is_in_it_is_always_found_and_little_else() {
        let mut filter = Filter::for_segment(8 << 20);
        assert_eq!((filter.bytes() as u64, filter.bytes()), (Filter::bytes_for(8 << 20), 16 << 10));
        (0..8192).for_each(|number| filter.add(hash(number)));
        assert!((0..8192).all(|number| filter.may_have(hash(number))));
        let wrong = (8192..108_192).filter(|number| filter.may_have(hash(*number))).count();
        assert!(wrong < 300, "{wrong} of 100000 at 16 bits a trace");
        assert!(!Filter::for_segment(100).may_have(7));
    }
}
