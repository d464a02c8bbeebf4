//! From a trace's hash to where it is: pending in the buffer, or remembered as kept or dropped. One open-addressed
//! table of eight-byte slots with linear probing; removal shifts the run back, so there are no tombstones and
//! the table is never rebuilt. Its size is fixed when the shard is made.
//!
//! ```text
//! slot   tag: 32 low bits of the hash | kind: 2 bits | position: 30 bits      0 = empty (kind 0)
//! ```
//! The slot's home follows from the tag, so removal needs nothing but the table.

/// Where a trace is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Undecided: entry of the buffer.
    Pending(u32),
    /// Kept: entry of the kept verdicts.
    Kept(u32),
    /// Dropped: entry of the dropped verdicts.
    Dropped(u32),
}

/// Largest position a slot can hold.
pub const POSITION_MAX: u32 = (1 << 30) - 1;

impl Place {
    #[inline]
    fn pack(self) -> u32 {
        let (kind, position) = match self {
            Self::Pending(position) => (1, position),
            Self::Kept(position) => (2, position),
            Self::Dropped(position) => (3, position),
        };
        debug_assert!(position <= POSITION_MAX, "positions are bounded by the plan");
        kind << 30 | position
    }

    #[inline]
    fn unpack(packed: u32) -> Option<Self> {
        let position = packed & POSITION_MAX;
        match packed >> 30 {
            1 => Some(Self::Pending(position)),
            2 => Some(Self::Kept(position)),
            3 => Some(Self::Dropped(position)),
            _ => None,
        }
    }
}

/// Tags have 32 bits, and a home must come from them.
/// At the bound: cannot be reached: the table is sized for all pending traces and all verdicts that are remembered.
const SLOTS_MAX: usize = 1 << 31;

/// The table.
#[derive(Debug)]
pub struct Index {
    slots: Vec<u64>,
    /// Right shift that turns a tag into its home.
    shift: u32,
    length: usize,
}

impl Index {
    /// A table for at most `entries_max` traces, loaded to two thirds at most. The memory is touched as it fills.
    #[must_use]
    pub fn new(entries_max: usize) -> Self {
        let slots = (entries_max.saturating_mul(3) / 2).next_power_of_two().clamp(8, SLOTS_MAX);
        Self { slots: vec![0; slots], shift: 32 - slots.trailing_zeros(), length: 0 }
    }

    /// Bytes the table takes when full.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slots.len() * size_of::<u64>()
    }

    /// Traces in the table.
    #[must_use]
    pub fn len(&self) -> usize {
        self.length
    }

    /// True when no trace is in the table.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.length == 0
    }

    #[inline]
    fn home(&self, tag: u32) -> usize {
        (tag >> self.shift) as usize
    }

    #[inline]
    fn next(&self, slot: usize) -> usize {
        (slot + 1) & (self.slots.len() - 1)
    }

    /// The first place with this tag, unchecked: brings the slot's cache line in for the `find` that follows.
    #[inline]
    #[must_use]
    pub fn guess(&self, hash: u64) -> Option<Place> {
        let slot = self.slots[self.home(tag(hash))];
        if tag_of(slot) == tag(hash) { Place::unpack(place_of(slot)) } else { None }
    }

    /// Brings the slot of a hash into the cache.
    #[inline]
    pub fn touch(&self, hash: u64) {
        std::hint::black_box(self.slots[self.home(tag(hash))]);
    }

    /// The slot whose place `is_it` accepts, among those with this hash's tag.
    #[inline]
    #[must_use]
    pub fn find(&self, hash: u64, is_it: impl Fn(Place) -> bool) -> Option<(Slot, Place)> {
        let tag = tag(hash);
        let mut at = self.home(tag);
        loop {
            let slot = self.slots[at];
            let place = Place::unpack(place_of(slot))?;
            if tag_of(slot) == tag && is_it(place) {
                return Some((Slot(at), place));
            }
            at = self.next(at);
        }
    }

    /// Adds a trace that is not in the table.
    ///
    /// # Panics
    /// When the table is full: the plan bounds the number of entries below its size.
    pub fn insert(&mut self, hash: u64, place: Place) {
        assert!(self.length < self.slots.len() - 1, "the plan sizes the index for all it may hold");
        let tag = tag(hash);
        let mut at = self.home(tag);
        while self.slots[at] != 0 {
            at = self.next(at);
        }
        self.slots[at] = u64::from(tag) << 32 | u64::from(place.pack());
        self.length += 1;
    }

    /// Moves the trace in `slot` to another place.
    #[inline]
    pub fn replace(&mut self, slot: Slot, place: Place) {
        let tag = tag_of(self.slots[slot.0]);
        self.slots[slot.0] = u64::from(tag) << 32 | u64::from(place.pack());
    }

    /// The slot of the trace with this hash at exactly this place.
    #[must_use]
    pub fn slot_of(&self, hash: u64, place: Place) -> Option<Slot> {
        self.find(hash, |candidate| candidate == place).map(|(slot, _)| slot)
    }

    /// Forgets the trace in `slot`; later traces of its run move up.
    pub fn remove(&mut self, slot: Slot) {
        let mask = self.slots.len() - 1;
        let mut hole = slot.0;
        let mut at = self.next(hole);
        while self.slots[at] != 0 {
            let home = self.home(tag_of(self.slots[at]));
            // The entry may fill the hole unless its home lies cyclically in (hole, at].
            if at.wrapping_sub(home) & mask >= at.wrapping_sub(hole) & mask {
                self.slots[hole] = self.slots[at];
                hole = at;
            }
            at = self.next(at);
        }
        self.slots[hole] = 0;
        self.length -= 1;
    }
}

/// A slot of the table, valid until the next `insert` or `remove`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot(usize);

#[inline]
fn tag(hash: u64) -> u32 {
    low_half(hash)
}

#[inline]
fn tag_of(slot: u64) -> u32 {
    low_half(slot >> 32)
}

#[inline]
fn place_of(slot: u64) -> u32 {
    low_half(slot)
}

/// The low 32 bits.
#[inline]
#[expect(clippy::cast_possible_truncation, reason = "cutting to the low half is what it is for")]
fn low_half(value: u64) -> u32 {
    value as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    /// Random inserts, moves and removals against a map; few distinct homes, so that runs collide and wrap.
    #[test]
    fn behaves_as_a_map() {
        for seed in 0..200u64 {
            let mut state = seed * 2 + 1;
            let mut random = || {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                state >> 33
            };
            let mut index = Index::new(40);
            let mut model = BTreeMap::new();
            for step in 0..400u32 {
                let key = random() % 60;
                // Tags differ in their top bits only a little: long runs.
                let hash = key << 27 | 0x5_0000_0000;
                let found = index.find(
                    hash,
                    |place| matches!(place, Place::Pending(p) | Place::Dropped(p) if u64::from(p) >> 10 == key),
                );
                assert_eq!(found.map(|(_, place)| place), model.get(&key).copied(), "seed {seed} step {step}");
                match (found, random() % 3) {
                    (None, _) if model.len() < 40 => {
                        let place = Place::Pending((key << 10) as u32 | (step & 1023));
                        index.insert(hash, place);
                        model.insert(key, place);
                    }
                    (Some((slot, _)), 0) => {
                        index.remove(slot);
                        model.remove(&key);
                    }
                    (Some((slot, _)), 1) => {
                        let place = Place::Dropped((key << 10) as u32);
                        index.replace(slot, place);
                        model.insert(key, place);
                    }
                    _ => {}
                }
                assert_eq!(index.len(), model.len());
            }
        }
    }
}
