//! Cold traces: the bytes of undecided traces that are in the log may be given up in memory. Where the arena is full that
//! makes room without judging early; past `cold_after` it keeps long traces from holding memory for their whole life.

use super::{Shard, TICK};
use crate::buffer::arena::Reference;
use crate::buffer::envelope::ScopeHandle;
use crate::vocabulary::{Nanos, Unit, elapsed_ticks, ticks};

/// Traces whose bytes are given up at once when the arena is full: enough that whole chunks become empty.
const COOL_STEP: usize = 1024;
/// Steps for one span before the span itself goes without its bytes.
const COOL_STEPS_MAX: usize = 4;
/// Entries looked at in one tick at least, so that a small table is gone through however long `cold_after` is.
const SWEEP_ENTRIES_MIN: usize = 64;

/// The search for traces whose bytes are given up.
#[derive(Debug, Default)]
pub(super) struct Sweep {
    /// When traces past `cold_after` were last looked for.
    last: Nanos,
    /// Entry at which that search goes on.
    hand: usize,
    /// Scratch: traces found, and the spans of one.
    found: Vec<u32>,
    pub(super) hot: Vec<(Reference, Unit)>,
}

impl Shard {
    /// Adds a span to a trace in memory. When the arena is full, room is made by giving up the bytes of traces that are in
    /// the log, and at last the span's own. False when all of that is used up.
    #[inline]
    pub(super) fn append(&mut self, entry: u32, scope: ScopeHandle, unit: Unit, bytes: &[u8]) -> bool {
        self.holding.buffer.append(entry, scope, unit, bytes).is_ok() || self.append_full(entry, scope, unit, bytes)
    }

    #[cold]
    fn append_full(&mut self, entry: u32, scope: ScopeHandle, unit: Unit, bytes: &[u8]) -> bool {
        if unit.is_none() {
            return false;
        }
        for _ in 0..COOL_STEPS_MAX {
            if !self.cool_soonest() {
                break;
            }
            if self.holding.buffer.append(entry, scope, unit, bytes).is_ok() {
                return true;
            }
        }
        self.append_unread(entry, unit)
    }

    /// Adds a span to a trace in memory without its bytes, which are in the log.
    #[cold]
    pub(super) fn append_unread(&mut self, entry: u32, unit: Unit) -> bool {
        self.refresh(entry);
        let appended = self.holding.buffer.append_cold(entry, unit);
        if appended {
            self.pin(entry);
        }
        self.ledger.traces.cold_spans += u64::from(appended);
        appended
    }

    /// Gives up the bytes of the next traces in the order of their deadlines. False when there was nothing to give up.
    fn cool_soonest(&mut self) -> bool {
        let mut found = std::mem::take(&mut self.sweep.found);
        self.holding.buffer.traces.soonest_hot(COOL_STEP, &mut found);
        let before = self.holding.buffer.cold.len();
        for entry in &found {
            self.cool(*entry);
        }
        let cooled = self.holding.buffer.cold.len() - before;
        self.ledger.traces.cold_spans += cooled as u64;
        self.sweep.found = found;
        cooled > 0
    }

    /// Gives up the bytes of traces older than `cold_after`, going through the table once in that time.
    pub(super) fn cool_old(&mut self, now: Nanos) {
        let age = ticks(self.plan.cold_after);
        let entries = self.holding.buffer.traces.entries();
        if age == 0 || entries == 0 || now < self.sweep.last.plus(TICK) {
            return;
        }
        self.sweep.last = now;
        let before = self.holding.buffer.cold.len();
        let count = (entries / age as usize + 1).max(SWEEP_ENTRIES_MIN).min(entries);
        let begun = elapsed_ticks(now);
        for _ in 0..count {
            self.sweep.hand = if self.sweep.hand + 1 >= entries { 0 } else { self.sweep.hand + 1 };
            let Ok(entry) = u32::try_from(self.sweep.hand) else { continue };
            let trace = self.holding.buffer.traces.get(entry);
            if !trace.newest.is_none() && !trace.newest.is_cold() && trace.opened.saturating_add(age) <= begun {
                self.cool(entry);
            }
        }
        let cooled = self.holding.buffer.cold.len().saturating_sub(before);
        self.ledger.traces.cold_spans += cooled as u64;
    }
}
