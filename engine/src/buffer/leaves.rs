//! The policy leaves of undecided traces past the first 64, in blocks of entries. A block gets wider when a trace of it
//! needs that, so that rules with more leaves can come into force without all traces being moved at once.

/// Entries of a block.
const BLOCK_ENTRIES: usize = 1024;

/// Some words of leaves for each entry.
#[derive(Debug)]
pub struct LeafTable {
    /// Each has `BLOCK_ENTRIES` times its own width.
    blocks: Vec<Vec<u64>>,
    /// Width of blocks that are written to.
    words: usize,
}

impl LeafTable {
    /// A table of `words` words an entry.
    #[must_use]
    pub fn new(words: usize) -> Self {
        Self { blocks: Vec::new(), words }
    }

    /// Makes room for entry `number`.
    pub fn reach(&mut self, number: u32) {
        while self.words > 0 && self.blocks.len() <= number as usize / BLOCK_ENTRIES {
            self.blocks.push(vec![0; BLOCK_ENTRIES * self.words]);
        }
    }

    /// From now on entries have at least `words` words.
    pub fn widen(&mut self, words: usize) {
        self.words = self.words.max(words);
    }

    /// The words of an entry; those it does not have are zero.
    #[must_use]
    pub fn get(&self, number: u32) -> &[u64] {
        let Some(block) = self.blocks.get(number as usize / BLOCK_ENTRIES) else { return &[] };
        let words = block.len() / BLOCK_ENTRIES;
        let start = number as usize % BLOCK_ENTRIES * words;
        &block[start..start + words]
    }

    /// The words of an entry, to be changed; as many as there are now, or more.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut [u64] {
        if self.words == 0 {
            return &mut [];
        }
        self.reach(number);
        let number = number as usize;
        let Some(block) = self.blocks.get_mut(number / BLOCK_ENTRIES) else { return &mut [] };
        if block.len() < BLOCK_ENTRIES * self.words {
            widen(block, self.words);
        }
        let words = block.len() / BLOCK_ENTRIES;
        let start = number % BLOCK_ENTRIES * words;
        &mut block[start..start + words]
    }
}

#[cold]
fn widen(block: &mut Vec<u64>, words: usize) {
    let before = block.len() / BLOCK_ENTRIES;
    let mut wider = vec![0; BLOCK_ENTRIES * words];
    if before > 0 {
        for (new, old) in wider.chunks_exact_mut(words).zip(block.chunks_exact(before)) {
            new[..before].copy_from_slice(old);
        }
    }
    *block = wider;
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries_keep_their_leaves_when_the_table_gets_wider() {
        let mut table = LeafTable::new(0);
        table.reach(5000);
        assert!(table.get_mut(5000).is_empty(), "no words, no memory");
        table.widen(1);
        for number in 0..3000 {
            table.get_mut(number)[0] = u64::from(number);
        }
        table.widen(3);
        table.get_mut(7)[2] = 9;
        assert_eq!(table.get(7), [7, 0, 9]);
        assert_eq!((table.get(8), table.get(2999)), (&[8, 0, 0][..], &[2999][..]), "a block is widened when written");
        table.widen(2);
        table.get_mut(7).fill(0);
        assert_eq!((table.get(7), table.get(8)), (&[0, 0, 0][..], &[8, 0, 0][..]));
    }
}
