//! Ends that wait for another, in the order in which they came: found by what both ends have in common, and given out when
//! they have waited long enough.
//!
//! ```text
//! oldest <-> ... <-> newest      a list through the slots, so that what is paired leaves it from anywhere
//! ```

use super::gather::Key;
use super::side::{Side, Traits};
use hashbrown::HashTable;
use std::sync::Arc;
use twox_hash::XxHash3_64;

const NONE: u32 = u32::MAX;

/// An end that waits.
#[derive(Debug, Clone)]
pub(super) struct WaitingEnd {
    pub key: Key,
    pub side: Arc<Side>,
    pub nanos: u64,
    pub weight: u64,
    pub traits: Traits,
    pub due_nanos: u64,
}

#[derive(Debug)]
struct Slot {
    end: Option<WaitingEnd>,
    hash: u64,
    before: u32,
    after: u32,
}

/// Bytes of an end that waits, with its places in the lists, which grow by doubling.
pub const WAITING_BYTES: usize = size_of::<Slot>() + 4 * size_of::<u32>();

/// All of them.
#[derive(Debug)]
pub(super) struct Waiting {
    seed: u64,
    slots: Vec<Slot>,
    free: Vec<u32>,
    places: HashTable<u32>,
    oldest: u32,
    newest: u32,
}

impl Waiting {
    pub fn new(seed: u64) -> Self {
        Self { seed, slots: Vec::new(), free: Vec::new(), places: HashTable::new(), oldest: NONE, newest: NONE }
    }

    pub fn len(&self) -> usize {
        self.places.len()
    }

    fn hash(&self, key: &Key) -> u64 {
        let mut bytes = [0; 24];
        bytes[..16].copy_from_slice(&key.trace_id);
        bytes[16..].copy_from_slice(&key.span_id);
        XxHash3_64::oneshot_with_seed(self.seed, &bytes)
    }

    /// The oldest end of this key that is a client, or is none.
    pub fn find(&self, key: &Key, is_client: bool) -> Option<u32> {
        let hash = self.hash(key);
        let end = |place: u32| self.slots[place as usize].end.as_ref();
        let fits = |end: &WaitingEnd| end.key == *key && end.traits.has(Traits::CLIENT) == is_client;
        let found = self.places.iter_hash(hash).copied();
        let found = found.filter(|place| end(*place).is_some_and(fits));
        found.min_by_key(|place| end(*place).map_or(u64::MAX, |end| end.due_nanos))
    }

    pub fn get_mut(&mut self, place: u32) -> Option<&mut WaitingEnd> {
        self.slots.get_mut(place as usize)?.end.as_mut()
    }

    /// Puts an end behind all others.
    pub fn push(&mut self, end: WaitingEnd) {
        let hash = self.hash(&end.key);
        let slot = Slot { end: Some(end), hash, before: self.newest, after: NONE };
        let place = match self.free.pop() {
            Some(place) => {
                self.slots[place as usize] = slot;
                place
            }
            None => {
                self.slots.push(slot);
                u32::try_from(self.slots.len() - 1).unwrap_or(NONE)
            }
        };
        match self.newest {
            NONE => self.oldest = place,
            newest => self.slots[newest as usize].after = place,
        }
        self.newest = place;
        let slots = &self.slots;
        self.places.insert_unique(hash, place, |place| slots[*place as usize].hash);
    }

    /// Takes an end out.
    pub fn remove(&mut self, place: u32) -> Option<WaitingEnd> {
        let slot = self.slots.get_mut(place as usize)?;
        let end = slot.end.take()?;
        let (hash, before, after) = (slot.hash, slot.before, slot.after);
        match before {
            NONE => self.oldest = after,
            before => self.slots[before as usize].after = after,
        }
        match after {
            NONE => self.newest = before,
            after => self.slots[after as usize].before = before,
        }
        if let Ok(entry) = self.places.find_entry(hash, |other| *other == place) {
            entry.remove();
        }
        self.free.push(place);
        Some(end)
    }

    /// Takes the oldest out, if it has waited until now.
    pub fn pop_due(&mut self, now_nanos: u64) -> Option<WaitingEnd> {
        let oldest = self.slots.get(self.oldest as usize)?.end.as_ref()?;
        if oldest.due_nanos > now_nanos { None } else { self.remove(self.oldest) }
    }
}
