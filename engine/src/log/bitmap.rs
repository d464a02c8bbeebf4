//! A set of units of one segment, in blocks of 64 bytes: the piece in which resolutions are logged.

use super::format::BITMAP_BLOCK_BYTES;

/// Words in a block.
const BLOCK_WORDS: usize = BITMAP_BLOCK_BYTES / 8;
/// Units in a block.
pub const BLOCK_UNITS: u32 = 512;
/// Most units of one segment: a span has 30 bytes at least, so that a segment of the usual size has far fewer. Bounds
/// what a damaged journal could make of a bitmap.
/// At the bound: the request is refused as too large.
pub const UNITS_MAX: u32 = 1 << 28;

/// A block of a bitmap: its index and its bytes.
pub type Block = (u32, [u8; BITMAP_BLOCK_BYTES]);

/// The set.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Bitmap {
    words: Vec<u64>,
    count: u32,
}

impl Bitmap {
    /// Units in the set.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.count
    }

    /// Bytes it takes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.words.capacity() * size_of::<u64>()
    }

    /// Whether `unit` is in the set.
    #[inline]
    #[must_use]
    pub fn has(&self, unit: u32) -> bool {
        self.words.get(unit as usize / 64).is_some_and(|word| word >> (unit % 64) & 1 == 1)
    }

    /// Adds `unit`; true when it is new.
    #[inline]
    pub fn set(&mut self, unit: u32) -> bool {
        if unit >= UNITS_MAX {
            return false;
        }
        let word = unit as usize / 64;
        if word >= self.words.len() {
            self.words.resize((word / BLOCK_WORDS + 1) * BLOCK_WORDS, 0);
        }
        let bit = 1u64 << (unit % 64);
        let is_new = self.words[word] & bit == 0;
        self.words[word] |= bit;
        self.count += u32::from(is_new);
        is_new
    }

    /// Removes `unit`; true when it was there.
    pub fn unset(&mut self, unit: u32) -> bool {
        let was_there = self.has(unit);
        if was_there {
            self.words[unit as usize / 64] &= !(1u64 << (unit % 64));
            self.count -= 1;
        }
        was_there
    }

    /// The smallest unit of the set at or after `from`.
    #[must_use]
    pub fn next(&self, from: u32) -> Option<u32> {
        let mut at = from as usize / 64;
        let mut word = self.words.get(at)? & (u64::MAX << (from % 64));
        loop {
            if word != 0 {
                return u32::try_from(at * 64).ok().map(|base| base + word.trailing_zeros());
            }
            at += 1;
            word = *self.words.get(at)?;
        }
    }

    /// The block's bytes, as they are logged.
    #[must_use]
    pub fn block(&self, index: u32) -> [u8; BITMAP_BLOCK_BYTES] {
        let mut block = [0; BITMAP_BLOCK_BYTES];
        let words = self.words.get(index as usize * BLOCK_WORDS..).unwrap_or_default();
        for (bytes, word) in block.chunks_exact_mut(8).zip(words) {
            bytes.copy_from_slice(&word.to_le_bytes());
        }
        block
    }

    /// Blocks that may have a unit.
    #[must_use]
    pub fn blocks(&self) -> u32 {
        u32::try_from(self.words.len() / BLOCK_WORDS).unwrap_or(u32::MAX)
    }

    /// Adds all units of a logged block. An index past any segment is ignored.
    pub fn merge_block(&mut self, index: u32, block: &[u8; BITMAP_BLOCK_BYTES]) {
        let Some(last) = index.checked_mul(BLOCK_UNITS).and_then(|first| first.checked_add(BLOCK_UNITS - 1)) else {
            return;
        };
        if last > UNITS_MAX {
            return;
        }
        let first = index as usize * BLOCK_WORDS;
        if self.words.len() < first + BLOCK_WORDS {
            self.words.resize(first + BLOCK_WORDS, 0);
        }
        for (word, bytes) in self.words[first..].iter_mut().zip(block.chunks_exact(8)) {
            let added = u64::from_le_bytes(bytes.try_into().unwrap_or_default());
            self.count += (added & !*word).count_ones();
            *word |= added;
        }
    }
}

/// A set whose changes are logged, a block at a time.
#[derive(Debug, Default)]
pub struct LoggedBitmap {
    /// The units.
    pub units: Bitmap,
    /// Blocks that changed since they were last logged.
    changed: Vec<u32>,
    is_changed: Bitmap,
}

impl From<Bitmap> for LoggedBitmap {
    fn from(units: Bitmap) -> Self {
        Self { units, ..Self::default() }
    }
}

impl LoggedBitmap {
    /// Adds `unit`; true when it is new.
    #[inline]
    pub fn set(&mut self, unit: u32) -> bool {
        let is_new = self.units.set(unit);
        if is_new {
            self.mark_changed(unit / BLOCK_UNITS);
        }
        is_new
    }

    /// The block is to be logged.
    pub fn mark_changed(&mut self, block: u32) {
        if self.is_changed.set(block) {
            self.changed.push(block);
        }
    }

    /// Whether anything changed since it was last logged.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        !self.changed.is_empty()
    }

    /// Marks every block as changed that has a unit.
    pub fn restate(&mut self) {
        for block in 0..self.units.blocks() {
            if self.units.block(block) != [0; BITMAP_BLOCK_BYTES] {
                self.mark_changed(block);
            }
        }
    }

    /// Blocks that changed since they were last logged, at most `blocks_max`.
    pub fn take_changed(&mut self, blocks_max: usize) -> Vec<(u32, [u8; BITMAP_BLOCK_BYTES])> {
        let rest = self.changed.len().saturating_sub(blocks_max);
        let changed = self.changed.split_off(rest);
        let blocks = changed.into_iter().map(|block| {
            self.is_changed.unset(block);
            (block, self.units.block(block))
        });
        blocks.collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeSet;

    #[test]
    fn behaves_as_a_set_and_survives_the_log() {
        let mut random = 7u64;
        let mut next = || {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            (random >> 40) as u32 % 5000
        };
        let (mut set, mut model) = (Bitmap::default(), BTreeSet::new());
        for step in 0..4000 {
            let unit = next();
            if step % 5 == 0 {
                assert_eq!(set.unset(unit), model.remove(&unit));
            } else {
                assert_eq!(set.set(unit), model.insert(unit));
            }
            assert_eq!(set.count() as usize, model.len());
        }
        let mut from = 0;
        let mut found = BTreeSet::new();
        while let Some(unit) = set.next(from) {
            found.insert(unit);
            from = unit + 1;
        }
        assert_eq!(found, model);
        let mut copy = Bitmap::default();
        for _ in 0..2 {
            for index in 0..set.blocks() {
                copy.merge_block(index, &set.block(index));
            }
        }
        assert_eq!(copy.count(), set.count(), "a block merged twice counts once");
        assert!(model.iter().all(|unit| copy.has(*unit)));
    }

    #[test]
    fn hostile_indexes_cost_nothing() {
        let mut set = Bitmap::default();
        set.merge_block(u32::MAX, &[0xff; 64]);
        assert_eq!((set.count(), set.bytes(), set.set(u32::MAX)), (0, 0, false));
    }
}
