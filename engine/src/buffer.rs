//! Undecided traces: their spans' bytes in an arena, their evidence in a table of fixed size, their deadlines in a
//! wheel. Nothing here grows past the plan.

pub mod arena;
pub mod cold;
pub mod envelope;
pub mod traces;

use crate::vocabulary::{SpanRecord, Unit};
use arena::{Arena, ArenaFull, Reference};
use cold::ColdTable;
use envelope::{EnvelopeTable, ScopeHandle};
use traces::TraceTable;

/// The buffer of one shard.
#[derive(Debug)]
pub struct Buffer {
    /// Span bytes.
    pub arena: Arena,
    /// Spans whose bytes are only in the log.
    pub cold: ColdTable,
    /// Resources and scopes, each content once.
    pub envelopes: EnvelopeTable,
    /// Evidence and deadlines.
    pub traces: TraceTable,
    /// Scratch: the list heads of the traces being released.
    heads: Vec<Head>,
}

/// A trace being released: its next fragment, and whether its spans are dropped.
#[derive(Debug)]
struct Head {
    next: Reference,
    is_dropped: bool,
}

impl Buffer {
    /// A buffer within the given bounds.
    #[must_use]
    pub fn new(arena: Arena, cold: ColdTable, envelopes: EnvelopeTable, traces: TraceTable) -> Self {
        Self { arena, cold, envelopes, traces, heads: Vec::new() }
    }

    /// Copies a span's bytes into the arena as the newest fragment of `trace`.
    ///
    /// # Errors
    /// `ArenaFull`; nothing was changed.
    #[inline]
    pub fn append(&mut self, trace: u32, scope: ScopeHandle, unit: Unit, bytes: &[u8]) -> Result<(), ArenaFull> {
        let older = self.traces.get(trace).newest;
        self.arena.charge(self.cold.bytes());
        let reference = self.arena.append(scope, unit, older, bytes, &mut self.envelopes)?;
        let entry = self.traces.get_mut(trace);
        entry.newest = reference;
        entry.spans += 1;
        entry.bytes = entry.bytes.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Ok(())
    }

    /// Notes a span of `trace` whose bytes are only in the log. False when the cold table is full.
    pub fn append_cold(&mut self, trace: u32, unit: Unit, length: usize) -> bool {
        let older = self.traces.get(trace).newest;
        let Ok(reference) = self.cold.add(older, unit) else { return false };
        let entry = self.traces.get_mut(trace);
        entry.newest = reference;
        entry.spans += 1;
        entry.bytes = entry.bytes.saturating_add(u32::try_from(length).unwrap_or(u32::MAX));
        true
    }

    /// Merges what a span says into its trace's evidence.
    #[inline]
    pub fn merge(&mut self, trace: u32, record: &SpanRecord, leaves_more: &[u64]) {
        let entry = self.traces.get_mut(trace);
        entry.leaves |= record.leaves;
        entry.status |= record.status;
        if entry.start_unix_nano == 0 || record.start_unix_nano < entry.start_unix_nano {
            entry.start_unix_nano = record.start_unix_nano;
        }
        if entry.end_unix_nano == 0 || record.end_unix_nano > entry.end_unix_nano {
            entry.end_unix_nano = record.end_unix_nano;
        }
        if !leaves_more.is_empty() {
            self.traces.merge_leaves_more(trace, leaves_more);
        }
    }

    /// The fragments of a trace in order of arrival, into `out`.
    pub fn fragments(&self, trace: u32, out: &mut Vec<Reference>) {
        out.clear();
        let mut at = self.traces.get(trace).newest;
        while !at.is_none() {
            out.push(at);
            at = self.older(at);
        }
        out.reverse();
    }

    #[inline]
    fn older(&self, reference: Reference) -> Reference {
        if reference.is_cold() { self.cold.get(reference).1 } else { self.arena.older(reference) }
    }

    /// Gives up the bytes of a trace's spans in memory: only their places in the log are kept. False, and nothing is
    /// changed, when there is nothing to give up, a span is not in the log, or the cold table is full.
    pub fn cool(&mut self, trace: u32, hot: &mut Vec<(Reference, Unit)>) -> bool {
        hot.clear();
        let mut at = self.traces.get(trace).newest;
        while !at.is_none() && !at.is_cold() {
            let (unit, older) = self.arena.unit(at);
            if unit.is_none() {
                return false;
            }
            hot.push((at, unit));
            at = older;
        }
        if hot.is_empty() || !self.cold.has_room_for(hot.len()) {
            return false;
        }
        for (_, unit) in hot.iter().rev() {
            // There is room: it was asked for above.
            let Ok(reference) = self.cold.add(at, *unit) else { break };
            at = reference;
        }
        self.traces.get_mut(trace).newest = at;
        for (reference, _) in hot.drain(..) {
            self.arena.release(reference, &mut self.envelopes);
        }
        true
    }

    /// Gives back the bytes and entries of `traces`, which are in no wheel slot any more. The lists are walked in
    /// lockstep: each step's loads are independent of one another, so that the memory system overlaps them. `resolve`
    /// is told the places in the log of the spans of traces that are not kept.
    pub fn release(&mut self, traces: &[u32], mut resolve: impl FnMut(Unit)) {
        let mut heads = std::mem::take(&mut self.heads);
        heads.extend(traces.iter().map(|trace| {
            let trace = self.traces.get(*trace);
            Head { next: trace.newest, is_dropped: !trace.is_kept }
        }));
        while !heads.is_empty() {
            heads.retain_mut(|head| {
                let at = head.next;
                if at.is_none() {
                    return false;
                }
                let (unit, older) = if at.is_cold() { self.cold.get(at) } else { self.arena.unit(at) };
                if head.is_dropped && !unit.is_none() {
                    resolve(unit);
                }
                if at.is_cold() {
                    self.cold.release(at);
                } else {
                    self.arena.release(at, &mut self.envelopes);
                }
                head.next = older;
                true
            });
        }
        self.heads = heads;
        for trace in traces {
            self.traces.free(*trace);
        }
    }

    /// Bytes held now: the arena's chunks, the cold table and the interned envelopes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.cold.bytes() + self.envelopes.bytes()
    }
}
