//! Series within bounds. What comes for a further one goes to the series `otel.metric.overflow=true` of its metric, so that
//! totals lose nothing; for these there is as much room again.

use super::amount::Amount;
use super::plan::Bounds;
use super::series::{Head, Key, Series, overflow_attribute, overflow_key};
use hashbrown::HashMap;
use hashbrown::hash_map::Entry;
use std::hash::{BuildHasherDefault, Hasher};

/// Keys are hashes already: their low half is as good as any.
#[derive(Debug, Default)]
pub struct KeyHasher(u64);

impl Hasher for KeyHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        // Keys alone are hashed, which come as a whole.
        self.0 = bytes.first_chunk::<8>().map_or(0, |low| u64::from_le_bytes(*low));
    }

    fn write_u128(&mut self, key: u128) {
        self.write(&key.to_le_bytes());
    }
}

/// A table by keys.
pub type ByKey<V> = HashMap<Key, V, BuildHasherDefault<KeyHasher>>;

/// A head and what is known of it here.
#[derive(Debug)]
pub struct HeadEntry {
    /// The head.
    pub head: Head,
    /// Series that have it.
    pub series: usize,
    /// When its series were told last.
    pub emitted: u64,
}

/// Where an amount went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Placed {
    /// To its series.
    Own,
    /// To the series for what there is no room for.
    Overflow,
    /// Nowhere: there is no room for that either.
    Lost,
}

/// Heads, with the time when their series were told last, and series.
type Drained = (Vec<(Key, Head, u64)>, Vec<(Key, Series)>);

/// All series.
#[derive(Debug)]
pub struct Table {
    pub heads: ByKey<HeadEntry>,
    pub series: ByKey<Series>,
    bounds: Bounds,
    bytes: usize,
}

impl Table {
    pub fn new(bounds: Bounds) -> Self {
        Self { heads: ByKey::default(), series: ByKey::default(), bounds, bytes: 0 }
    }

    /// Has other bounds from now on. What there is stays.
    pub fn rebound(&mut self, bounds: Bounds) {
        self.bounds = bounds;
    }

    /// Bytes that series and heads take.
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    fn has_room(&self, more: usize, factor: usize) -> bool {
        self.series.len() < self.bounds.series_max.saturating_mul(factor)
            && self.bytes + more <= self.bounds.bytes_max.saturating_mul(factor)
    }

    /// Finds a series, or makes it of what is given, or finds the one for what there is no room for. The key is of that which
    /// was found.
    pub fn place(
        &mut self,
        key: Key,
        head_key: Key,
        amount: Option<&Amount>,
        head: impl FnOnce() -> Head,
        series: impl FnOnce() -> Series,
    ) -> (Placed, Key) {
        if self.series.contains_key(&key) {
            return (Placed::Own, key);
        }
        let series = series();
        let new = self.heads.get(&head_key).is_none().then(head);
        let more = series.bytes() + new.as_ref().map_or(0, Head::bytes);
        if self.has_room(more, 1) {
            self.insert(key, head_key, new, series);
            return (Placed::Own, key);
        }
        let overflow = overflow_key(head_key, amount);
        if !self.series.contains_key(&overflow) {
            let kind = new.as_ref().or(self.heads.get(&head_key).map(|entry| &entry.head)).map(|head| head.kind);
            let attributes = overflow_attribute(kind.map_or(0, |kind| kind.attributes_field()));
            let series = Series { attributes, amount: None, ..series };
            if !self.has_room(series.bytes() + new.as_ref().map_or(0, Head::bytes), 2) {
                return (Placed::Lost, key);
            }
            self.insert(overflow, head_key, new, series);
        }
        (Placed::Overflow, overflow)
    }

    fn insert(&mut self, key: Key, head_key: Key, head: Option<Head>, series: Series) {
        self.bytes += series.bytes();
        if let (Entry::Vacant(place), Some(head)) = (self.heads.entry(head_key), head) {
            self.bytes += head.bytes();
            place.insert(HeadEntry { head, series: 0, emitted: 0 });
        }
        if let Some(entry) = self.heads.get_mut(&head_key) {
            entry.series += 1;
        }
        self.series.insert(key, series);
    }

    /// Adds to a series that there is. False where it does not fit.
    pub fn add(&mut self, key: Key, amount: &Amount, seen: u64) -> bool {
        let Some(series) = self.series.get_mut(&key) else { return false };
        if series.amount.is_none() && !self.heads.get(&series.head).is_some_and(|entry| entry.head.kind.holds(amount)) {
            return false;
        }
        series.seen = series.seen.max(seen);
        match &mut series.amount {
            Some(own) => {
                let before = own.heap_bytes();
                let fits = own.add(amount);
                self.bytes = self.bytes.saturating_sub(before) + own.heap_bytes();
                fits
            }
            none => {
                // What is cloned may take less.
                self.bytes += none.insert(amount.clone()).heap_bytes();
                true
            }
        }
    }

    /// Takes back from a series, also what has been told already.
    pub fn take_back(&mut self, key: Key, amount: &Amount) {
        let Some(series) = self.series.get_mut(&key) else { return };
        let Some(own) = &mut series.amount else {
            series.amount = amount.negated();
            return;
        };
        let before = own.heap_bytes();
        own.take_back(amount);
        self.bytes = self.bytes.saturating_sub(before) + own.heap_bytes();
    }

    /// Empties a series, which stays.
    pub fn empty(&mut self, key: Key) {
        if let Some(amount) = self.series.get_mut(&key).and_then(|series| series.amount.take()) {
            self.bytes = self.bytes.saturating_sub(amount.heap_bytes());
        }
    }

    /// Forgets a series, and its head with the last of them.
    pub fn remove(&mut self, key: Key) {
        let Some(series) = self.series.remove(&key) else { return };
        self.bytes = self.bytes.saturating_sub(series.bytes());
        if let Entry::Occupied(mut entry) = self.heads.entry(series.head) {
            entry.get_mut().series = entry.get().series.saturating_sub(1);
            if entry.get().series == 0 {
                self.bytes = self.bytes.saturating_sub(entry.remove().head.bytes());
            }
        }
    }

    /// A copy of all.
    pub fn copy(&self) -> Drained {
        let heads = self.heads.iter().map(|(key, entry)| (*key, entry.head.clone(), entry.emitted)).collect();
        (heads, self.series.iter().map(|(key, series)| (*key, series.clone())).collect())
    }

    /// Gives all away and is empty.
    pub fn drain(&mut self) -> Drained {
        self.bytes = 0;
        let heads = self.heads.drain().map(|(key, entry)| (key, entry.head, entry.emitted)).collect();
        (heads, self.series.drain().collect())
    }

    /// What its series and heads take, counted anew.
    #[cfg(test)]
    pub fn bytes_by_counting(&self) -> usize {
        self.series.values().map(Series::bytes).sum::<usize>()
            + self.heads.values().map(|entry| entry.head.bytes()).sum::<usize>()
    }
}
