//! Checksums of any range of a file in the same time, however long the range: the checksum of a range follows from
//! those of the two prefixes that end where it starts and ends.

use crate::log::format::BLOCK_BYTES;
use std::ops::Range;

/// The checksum of the file up to each block's start: 1/1024 of the file's length.
#[derive(Debug)]
pub struct PrefixSums {
    before_block: Vec<u32>,
}

impl PrefixSums {
    /// Goes through the file once.
    pub fn new(file: &[u8]) -> Self {
        let mut so_far = 0;
        let before_block = file.chunks(BLOCK_BYTES).map(|block| {
            let before = so_far;
            so_far = crc32c::crc32c_append(so_far, block);
            before
        });
        Self { before_block: before_block.collect() }
    }

    /// The checksum of the part `range` of the file these sums were made of, going on from `seed`.
    pub fn checksum(&self, file: &[u8], seed: u32, range: Range<usize>) -> u32 {
        let (start, end) = (self.prefix(file, range.start), self.prefix(file, range.end));
        // The checksum is linear: prefix(end) = shifted(prefix(start)) ^ checksum(range), and what is asked for is
        // shifted(seed) ^ checksum(range), where both are shifted by the range's length.
        shifted(seed ^ start, range.len()) ^ end
    }

    /// The checksum of the file's first `end` bytes.
    fn prefix(&self, file: &[u8], end: usize) -> u32 {
        match self.before_block.get(end / BLOCK_BYTES) {
            Some(before) => crc32c::crc32c_append(*before, &file[end - end % BLOCK_BYTES..end]),
            // The end of a file of whole blocks.
            None => {
                let last = self.before_block.len().saturating_sub(1);
                let before = self.before_block.last().copied().unwrap_or(0);
                crc32c::crc32c_append(before, &file[last * BLOCK_BYTES..end])
            }
        }
    }
}

/// Castagnoli's polynomial, the highest power in the lowest bit, without x^32.
const POLYNOMIAL: u32 = 0x82f6_3b78;

/// x^(8 * 2^k): the shift by 2^k bytes.
const SHIFTS: [u32; usize::BITS as usize] = {
    // x^8.
    let mut shifts = [1 << 23; usize::BITS as usize];
    let mut power = 1;
    while power < shifts.len() {
        shifts[power] = product(shifts[power - 1], shifts[power - 1]);
        power += 1;
    }
    shifts
};

/// The product of two polynomials, modulo the one above.
const fn product(one: u32, mut other: u32) -> u32 {
    let (mut sum, mut bit) = (0, 1 << 31);
    while bit != 0 {
        if one & bit != 0 {
            sum ^= other;
        }
        other = (other >> 1) ^ if other & 1 != 0 { POLYNOMIAL } else { 0 };
        bit >>= 1;
    }
    sum
}

/// What a checksum becomes by `bytes` more bytes, apart from what those add. A sixtieth of the time that
/// `crc32c_combine` takes, which squares matrices; after damage there may be one of these for every block.
fn shifted(mut checksum: u32, bytes: usize) -> u32 {
    for (power, shift) in SHIFTS.into_iter().enumerate() {
        if bytes >> power == 0 {
            break;
        }
        if bytes >> power & 1 != 0 {
            checksum = product(checksum, shift);
        }
    }
    checksum
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_range_has_the_checksum_of_its_bytes() {
        for length in [0, 1, 4095, 4096, 4097, 12_288, 20_000] {
            let file: Vec<u8> = (0..length).map(|at| (at * 7 + at / 251) as u8).collect();
            let sums = PrefixSums::new(&file);
            let edges = [0, 1, 4, 4095, 4096, 4097, 8192, 12_287, 12_288, 19_999, 20_000];
            for start in edges.into_iter().filter(|edge| *edge <= length) {
                for end in edges.into_iter().filter(|edge| (start..=length).contains(edge)) {
                    let expected = crc32c::crc32c_append(0xabcd, &file[start..end]);
                    assert_eq!(sums.checksum(&file, 0xabcd, start..end), expected, "{start}..{end} of {length}");
                }
            }
        }
    }
}
