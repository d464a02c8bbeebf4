//! Texts by number: each is there once.

use hashbrown::HashTable;
use twox_hash::XxHash3_64;

/// The number of all texts for which there was no room.
pub const OTHERS: u32 = u32::MAX >> 1;
/// Bytes of a text that are kept.
/// At the bound: the text is cut.
pub const NAME_BYTES_MAX: usize = 200;

/// A bounded number of texts.
#[derive(Debug)]
pub struct Names {
    places: HashTable<u32>,
    texts: Vec<(u64, Box<[u8]>)>,
    texts_max: usize,
    seed: u64,
}

impl Names {
    /// None, and at most so many; hashed with a seed, for senders choose them.
    pub fn new(texts_max: usize, seed: u64) -> Self {
        Self { places: HashTable::new(), texts: Vec::new(), texts_max: texts_max.min(OTHERS as usize), seed }
    }

    /// The number of a text; `OTHERS` where it is not known and there is no room.
    pub fn number(&mut self, text: &[u8]) -> u32 {
        let hash = XxHash3_64::oneshot_with_seed(self.seed, text);
        let is_it = |place: &u32| self.texts.get(*place as usize).is_some_and(|(_, known)| **known == *text);
        if let Some(place) = self.places.find(hash, is_it) {
            return *place;
        }
        let Some(place) = u32::try_from(self.texts.len()).ok().filter(|_| self.texts.len() < self.texts_max) else {
            return OTHERS;
        };
        self.texts.push((hash, text.into()));
        let hash_of = |place: &u32| self.texts.get(*place as usize).map_or(0, |(hash, _)| *hash);
        self.places.insert_unique(hash, place, hash_of);
        place
    }

    /// The text of that number; none for `OTHERS`.
    pub fn text(&self, number: u32) -> Option<&[u8]> {
        self.texts.get(number as usize).map(|(_, text)| &**text)
    }

    /// Whether there is no room.
    pub fn is_full(&self) -> bool {
        self.texts.len() >= self.texts_max
    }

    /// Forgets all of them.
    pub fn clear(&mut self) {
        self.places.clear();
        self.texts.clear();
    }
}

/// The beginning of a text, whole characters of it, of at most `NAME_BYTES_MAX` bytes.
pub fn cut(text: &[u8]) -> &[u8] {
    let mut end = text.len().min(NAME_BYTES_MAX);
    // A byte that goes on with a character is not where one begins.
    while end < text.len() && end > 0 && text[end] & 0xc0 == 0x80 {
        end -= 1;
    }
    &text[..end]
}
