//! The evidence of undecided traces and the wheel of their deadlines. Entries lie in one list whose room is reserved
//! when the shard is made; a wheel slot is a doubly linked list through the entries, so that scheduling,
//! rescheduling and removal cost a few writes and no allocation.

use super::arena::Reference;
use super::leaves::LeafTable;
use crate::evidence::{Size, Summary};
use crate::vocabulary::TraceId;

/// One undecided trace: 104 bytes.
#[derive(Debug, Clone)]
pub struct Trace {
    /// Its id.
    pub id: TraceId,
    /// The keyed hash of the id.
    pub hash: u64,
    /// What its spans say.
    pub seen: Summary,
    /// How many of them lie here: what the books and the bounds go by.
    pub size: Size,
    /// Its newest fragment; older ones hang behind it.
    pub newest: Reference,
    /// Tick of its first span's arrival.
    pub opened: u32,
    /// Tick of its latest span's arrival.
    pub active: u32,
    /// Tick at which it is to be judged.
    pub deadline: u32,
    previous: u32,
    next: u32,
    /// Its place in the table of what tracestates say; `NONE` while none of its spans has said anything.
    pub head: u32,
    /// The generation of the rules that its evidence was gathered under. When that is not the one in force the evidence is
    /// void but for the numbers of spans and bytes, unless `has_cold`.
    pub generation: u32,
    /// The scope of its latest span, by the shard's running number of scopes.
    pub scope_number: u16,
    /// True once it was judged and kept.
    pub is_kept: bool,
    /// True once the bytes of some of its spans are only in the log: it stays with its generation.
    pub has_cold: bool,
}

/// What the memory plan counts for a trace.
pub const TRACE_BYTES: usize = size_of::<Trace>();
const _: () = assert!(TRACE_BYTES <= 104, "a trace is to stay small");

/// End of a list, or no place in a table.
pub const NONE: u32 = u32::MAX;

/// Slots of the wheel. With ticks of 10 ms one turn is 41 s; later deadlines stay in their slot for another turn.
const WHEEL_SLOTS: u32 = 4096;

/// The entries and the wheel.
#[derive(Debug)]
pub struct TraceTable {
    entries: Vec<Trace>,
    vacant: Vec<u32>,
    traces_max: usize,
    /// Leaves past the first 64.
    leaves_more: LeafTable,
    slots: Vec<u32>,
    /// The next tick to expire.
    cursor: u32,
    /// Where `soonest_hot` goes on.
    cool_hand: u32,
    pending: usize,
}

impl TraceTable {
    /// A table for at most `traces_max` traces, each with `words_more` words of leaves past the first.
    #[must_use]
    pub fn new(traces_max: usize, words_more: usize) -> Self {
        Self {
            entries: Vec::with_capacity(traces_max),
            vacant: Vec::new(),
            traces_max,
            leaves_more: LeafTable::new(words_more),
            slots: vec![NONE; WHEEL_SLOTS as usize],
            cursor: 0,
            cool_hand: 0,
            pending: 0,
        }
    }

    /// Undecided traces.
    #[must_use]
    pub fn len(&self) -> usize {
        self.pending
    }

    /// True when no trace is undecided.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.pending == 0
    }

    /// True when another trace needs another's place.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.pending >= self.traces_max
    }

    /// Opens an entry at tick `opened`, to be judged at tick `deadline`.
    pub fn open(&mut self, id: TraceId, hash: u64, opened: u32, deadline: u32) -> u32 {
        debug_assert!(!self.is_full(), "the caller makes room first");
        let trace = Trace {
            id,
            hash,
            seen: Summary::default(),
            size: Size::default(),
            newest: Reference::NONE,
            opened,
            active: opened,
            deadline,
            previous: NONE,
            next: NONE,
            head: NONE,
            generation: 0,
            scope_number: 0,
            is_kept: false,
            has_cold: false,
        };
        let number = match self.vacant.pop() {
            Some(number) => {
                self.entries[number as usize] = trace;
                self.leaves_more.get_mut(number).fill(0);
                number
            }
            None => {
                self.entries.push(trace);
                let number = u32::try_from(self.entries.len() - 1).unwrap_or(NONE);
                self.leaves_more.reach(number);
                number
            }
        };
        self.pending += 1;
        self.link(number);
        number
    }

    /// The entry `number`.
    #[inline]
    #[must_use]
    pub fn get(&self, number: u32) -> &Trace {
        &self.entries[number as usize]
    }

    /// The entry `number`, to be changed; its deadline only by `reschedule`.
    #[inline]
    pub fn get_mut(&mut self, number: u32) -> &mut Trace {
        &mut self.entries[number as usize]
    }

    /// Brings an entry into the cache, which has two lines of it.
    #[inline]
    pub fn touch(&self, number: u32) {
        if let Some(entry) = self.entries.get(number as usize) {
            std::hint::black_box(entry.hash ^ u64::from(entry.generation));
        }
    }

    /// The leaves past the first 64.
    #[must_use]
    pub fn leaves_more(&self, number: u32) -> &[u64] {
        self.leaves_more.get(number)
    }

    /// The entry `number`, and its leaves past the first 64, to be changed.
    #[inline]
    pub fn with_leaves(&mut self, number: u32) -> (&mut Trace, &mut [u64]) {
        (&mut self.entries[number as usize], self.leaves_more.get_mut(number))
    }

    /// The summary of entry `number`, and its leaves past the first 64, to be changed.
    #[inline]
    pub fn evidence_mut(&mut self, number: u32) -> (&mut Summary, &mut [u64]) {
        (&mut self.entries[number as usize].seen, self.leaves_more.get_mut(number))
    }

    /// From now on each trace has `words` words of leaves past the first, or more.
    pub fn widen_leaves(&mut self, words: usize) {
        self.leaves_more.widen(words);
    }

    /// Moves a deadline.
    pub fn reschedule(&mut self, number: u32, deadline: u32) {
        self.unlink(number);
        self.entries[number as usize].deadline = deadline;
        self.link(number);
    }

    /// Puts a trace that was taken off the wheel back on it.
    pub fn schedule(&mut self, number: u32, deadline: u32) {
        self.entries[number as usize].deadline = deadline;
        self.link(number);
    }

    /// Puts a trace back on the wheel that was due and is not judged yet: it is due again at once.
    pub fn put_back(&mut self, number: u32) {
        self.cursor = self.cursor.min(self.entries[number as usize].deadline);
        self.link(number);
    }

    /// Frees the entry; it must be unlinked.
    pub fn free(&mut self, number: u32) {
        self.entries[number as usize].newest = Reference::NONE;
        self.vacant.push(number);
        self.pending -= 1;
    }

    /// Entries ever used: the numbers below this may be looked at with `get`; those not in use have no fragment.
    #[must_use]
    pub fn entries(&self) -> usize {
        self.entries.len()
    }

    /// Up to `count` traces with bytes in the arena into `out`, in the order in which they are due; they stay on the
    /// wheel. Goes on where the last call stopped, so that those already cold are not looked at again and again; a call
    /// that finds too few has come to the wheel's end, and the next one begins anew.
    pub fn soonest_hot(&mut self, count: usize, out: &mut Vec<u32>) {
        out.clear();
        self.cool_hand = self.cool_hand.max(self.cursor);
        while self.cool_hand < self.cursor.saturating_add(WHEEL_SLOTS) {
            let mut at = self.slots[(self.cool_hand % WHEEL_SLOTS) as usize];
            while at != NONE {
                let entry = &self.entries[at as usize];
                if !entry.newest.is_none() && !entry.newest.is_cold() {
                    out.push(at);
                    if out.len() == count {
                        return;
                    }
                }
                at = entry.next;
            }
            self.cool_hand += 1;
        }
        self.cool_hand = self.cursor;
    }

    /// The traces whose deadline is at or before `tick`, which stay on the wheel, into `out`.
    pub fn due(&self, tick: u32, out: &mut Vec<u32>) {
        out.clear();
        let last = tick.min(self.cursor.saturating_add(WHEEL_SLOTS - 1));
        // Nothing is due before the cursor; after a long pause one turn of the wheel has every slot.
        for slot in self.cursor..=last {
            let mut at = self.slots[(slot % WHEEL_SLOTS) as usize];
            while at != NONE {
                let entry = &self.entries[at as usize];
                if entry.deadline <= tick {
                    out.push(at);
                }
                at = entry.next;
            }
        }
    }

    /// Takes up to `count_max` traces whose deadline is at or before `tick` off the wheel, into `out`. True when more may
    /// be due.
    pub fn expire(&mut self, tick: u32, count_max: usize, out: &mut Vec<u32>) -> bool {
        out.clear();
        // After a long pause one turn of the wheel has seen every slot.
        if tick.saturating_sub(self.cursor) > WHEEL_SLOTS {
            self.cursor = tick - WHEEL_SLOTS;
        }
        while self.cursor <= tick {
            let mut at = self.slots[(self.cursor % WHEEL_SLOTS) as usize];
            while at != NONE {
                let next = self.entries[at as usize].next;
                if self.entries[at as usize].deadline <= tick {
                    if out.len() == count_max {
                        return true;
                    }
                    self.unlink(at);
                    out.push(at);
                }
                at = next;
            }
            self.cursor += 1;
        }
        false
    }

    /// Takes up to `count` traces that are due soonest off the wheel, whatever the time, into `out`.
    pub fn expire_soonest(&mut self, count: usize, out: &mut Vec<u32>) {
        out.clear();
        for ahead in 0..WHEEL_SLOTS {
            let slot = (self.cursor.wrapping_add(ahead) % WHEEL_SLOTS) as usize;
            while self.slots[slot] != NONE {
                if out.len() == count {
                    return;
                }
                let at = self.slots[slot];
                self.unlink(at);
                out.push(at);
            }
        }
    }

    /// Takes one trace off the wheel, to be judged at once.
    pub fn unlink(&mut self, number: u32) {
        let Trace { previous, next, deadline, .. } = self.entries[number as usize];
        if next != NONE {
            self.entries[next as usize].previous = previous;
        }
        if previous == NONE {
            self.slots[(deadline % WHEEL_SLOTS) as usize] = next;
        } else {
            self.entries[previous as usize].next = next;
        }
        let entry = &mut self.entries[number as usize];
        (entry.previous, entry.next) = (NONE, NONE);
    }

    fn link(&mut self, number: u32) {
        // A deadline in the past is due at once.
        let deadline = self.entries[number as usize].deadline.max(self.cursor);
        let slot = (deadline % WHEEL_SLOTS) as usize;
        let next = self.slots[slot];
        if next != NONE {
            self.entries[next as usize].previous = number;
        }
        let entry = &mut self.entries[number as usize];
        (entry.deadline, entry.previous, entry.next) = (deadline, NONE, next);
        self.slots[slot] = number;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_that_was_put_back_is_due_again_with_its_deadline() {
        let mut traces = TraceTable::new(8, 0);
        let entries: Vec<u32> = (0..3).map(|hash| traces.open([hash as u8 + 1; 16], hash, 0, 5)).collect();
        let mut due = Vec::new();
        assert!(!traces.expire(9, 8, &mut due));
        assert_eq!(due.len(), 3);
        traces.put_back(entries[1]);
        assert_eq!(traces.get(entries[1]).deadline, 5);
        assert!(!traces.expire(9, 8, &mut due));
        assert_eq!(due, [entries[1]]);
    }

    #[test]
    fn traces_expire_at_their_tick_and_not_before() {
        let mut table = TraceTable::new(100, 0);
        let mut out = Vec::new();
        let late = table.open([1; 16], 1, 0, 2 * WHEEL_SLOTS + 5);
        let soon = table.open([2; 16], 2, 0, 5);
        let moved = table.open([3; 16], 3, 0, 700);
        table.reschedule(moved, 6);
        assert!(!table.expire(4, 10, &mut out) && out.is_empty());
        assert!(!table.expire(5, 10, &mut out));
        assert_eq!(out, [soon], "the late one shares the slot and stays");
        table.expire(6, 10, &mut out);
        assert_eq!(out, [moved]);
        table.expire(2 * WHEEL_SLOTS + 4, 10, &mut out);
        assert!(out.is_empty());
        table.expire(9 * WHEEL_SLOTS, 10, &mut out);
        assert_eq!(out, [late], "a long pause loses nothing");
    }

    #[test]
    fn a_bounded_expiry_goes_on_where_it_stopped() {
        let mut table = TraceTable::new(10, 1);
        let all: Vec<u32> = (0..5).map(|number| table.open([number; 16], 0, 0, 3)).collect();
        table.evidence_mut(all[0]).1[0] = 9;
        let mut out = Vec::new();
        assert!(table.expire(3, 2, &mut out));
        let mut seen = out.clone();
        assert!(table.expire(3, 2, &mut out));
        seen.extend(&out);
        assert!(!table.expire(3, 2, &mut out));
        seen.extend(&out);
        seen.sort_unstable();
        assert_eq!(seen, all);
        for number in all {
            table.free(number);
        }
        let again = table.open([9; 16], 0, 0, 1);
        assert_eq!(table.leaves_more(again), [0], "a reused entry starts clean");
        table.expire_soonest(1, &mut out);
        assert_eq!(out, [again]);
    }
}
