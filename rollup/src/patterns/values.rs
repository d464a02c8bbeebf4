//! The most frequent values of a wildcard, with counts that are never too high (Misra and Gries, 1982): a value that is not
//! there takes one off all others, so that values which occur once leave nothing behind. Two such lists add up.

use super::token::Value;

/// A value and how often it occurred at least.
#[derive(Debug, Clone, Copy)]
pub(super) struct Slot {
    pub(super) count: u64,
    pub(super) value: Value,
}

/// The values of one wildcard.
#[derive(Debug, Default, Clone)]
pub(super) struct Values {
    slots: Vec<Slot>,
}

/// Memory of a slot.
pub(super) const SLOT_BYTES: usize = size_of::<Slot>();

impl Values {
    pub(super) fn slots(&self) -> &[Slot] {
        &self.slots
    }

    pub(super) fn capacity(&self) -> usize {
        self.slots.capacity()
    }

    /// Counts a value. `slots_max` bounds the list; `room` is how many more slots there is memory for. Returns the slots
    /// that were added to what is allocated.
    #[inline]
    pub(super) fn add(&mut self, value: &Value, count: u64, slots_max: usize, room: usize) -> usize {
        if let Some(slot) = self.slots.iter_mut().find(|slot| slot.value == *value) {
            slot.count = slot.count.saturating_add(count);
            return 0;
        }
        let before = self.slots.capacity();
        if self.slots.len() < slots_max && (self.slots.len() < before || room > 0) {
            if self.slots.len() == before {
                self.slots.reserve_exact(before.max(1).min(room).min(slots_max - before));
            }
            self.slots.push(Slot { count, value: *value });
            return self.slots.capacity() - before;
        }
        self.take_off(value, count);
        0
    }

    /// There is no slot left: the count of the smallest, or all of it, is taken off everyone.
    fn take_off(&mut self, value: &Value, count: u64) {
        let Some(smallest) = self.slots.iter().map(|slot| slot.count).min() else { return };
        let off = smallest.min(count);
        for slot in &mut self.slots {
            slot.count -= off;
        }
        if count > off {
            self.slots.retain(|slot| slot.count > 0);
            self.slots.push(Slot { count: count - off, value: *value });
        } else {
            self.slots.retain(|slot| slot.count > 0);
        }
    }

    /// Adds another list. The outcome is the same whichever is added to which.
    pub(super) fn merge(&mut self, other: &[Slot], slots_max: usize, room: usize) -> usize {
        let before = self.slots.capacity();
        let mut all = std::mem::take(&mut self.slots);
        for slot in other {
            match all.iter_mut().find(|known| known.value == slot.value) {
                Some(known) => known.count = known.count.saturating_add(slot.count),
                None => all.push(*slot),
            }
        }
        all.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.bytes().cmp(b.value.bytes())));
        let slots_max = slots_max.min(before + room);
        if let Some(off) = all.get(slots_max).map(|slot| slot.count) {
            for slot in &mut all {
                slot.count = slot.count.saturating_sub(off);
            }
            all.retain(|slot| slot.count > 0);
        }
        self.slots = Vec::with_capacity(all.len().max(before));
        self.slots.extend_from_slice(&all);
        self.slots.capacity() - before
    }

    /// Most frequent first.
    pub(super) fn sorted(&self) -> Vec<Slot> {
        let mut slots = self.slots.clone();
        slots.sort_unstable_by(|a, b| b.count.cmp(&a.count).then_with(|| a.value.bytes().cmp(b.value.bytes())));
        slots
    }
}
