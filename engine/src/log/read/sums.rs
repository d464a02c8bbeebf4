//! Checksums of any range of a file in the same time, however long the range: the checksum of a range follows from
//! those of the two prefixes that end where it starts and ends.

use crate::log::format::BLOCK_BYTES;

/// The checksum of the file up to each block's start: 1/1024 of the file's length.
#[derive(Debug, Default)]
pub struct PrefixSums {
    before_block: Vec<u32>,
    /// The checksum of what was gone through, and how many bytes that is.
    so_far: u32,
    bytes: usize,
}

impl PrefixSums {
    /// Goes through the next bytes of the file: whole blocks, unless they are the last.
    pub fn extend(&mut self, bytes: &[u8]) {
        for block in bytes.chunks(BLOCK_BYTES) {
            self.before_block.push(self.so_far);
            self.so_far = crc32c::crc32c_append(self.so_far, block);
            self.bytes += block.len();
        }
    }

    /// Bytes gone through.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// A place at most a block before `end`, and the checksum of the file up to it.
    pub fn before(&self, end: usize) -> (usize, u32) {
        // Behind a file of whole blocks no block starts.
        let block = (end / BLOCK_BYTES).min(self.before_block.len().saturating_sub(1));
        (block * BLOCK_BYTES, self.before_block.get(block).copied().unwrap_or(0))
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
pub fn shifted(mut checksum: u32, bytes: usize) -> u32 {
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
            let mut sums = PrefixSums::default();
            file.chunks(2 * BLOCK_BYTES).for_each(|piece| sums.extend(piece));
            assert_eq!(sums.bytes(), length);
            let prefix = |end: usize| {
                let (from, before) = sums.before(end);
                crc32c::crc32c_append(before, &file[from..end])
            };
            let edges = [0, 1, 4, 4095, 4096, 4097, 8192, 12_287, 12_288, 19_999, 20_000];
            for start in edges.into_iter().filter(|edge| *edge <= length) {
                for end in edges.into_iter().filter(|edge| (start..=length).contains(edge)) {
                    let expected = crc32c::crc32c_append(0xabcd, &file[start..end]);
                    let found = shifted(0xabcd ^ prefix(start), end - start) ^ prefix(end);
                    assert_eq!(found, expected, "{start}..{end} of {length}");
                }
            }
        }
    }
}
