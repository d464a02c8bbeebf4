//! Undecided traces: their spans' bytes in an arena, their evidence in a table of fixed size, their deadlines in a
//! wheel. Nothing here grows past the plan.

pub mod arena;
pub mod envelope;
pub mod traces;

use crate::vocabulary::SpanRecord;
use arena::{Arena, ArenaFull, Reference};
use envelope::{EnvelopeTable, ScopeHandle};
use traces::TraceTable;

/// The buffer of one shard.
#[derive(Debug)]
pub struct Buffer {
    /// Span bytes.
    pub arena: Arena,
    /// Resources and scopes, each content once.
    pub envelopes: EnvelopeTable,
    /// Evidence and deadlines.
    pub traces: TraceTable,
    /// Scratch: the list heads of the traces being released.
    heads: Vec<Reference>,
}

impl Buffer {
    /// A buffer within the given bounds.
    #[must_use]
    pub fn new(arena: Arena, envelopes: EnvelopeTable, traces: TraceTable) -> Self {
        Self { arena, envelopes, traces, heads: Vec::new() }
    }

    /// Copies a span's bytes into the arena as the newest fragment of `trace`.
    ///
    /// # Errors
    /// `ArenaFull`; nothing was changed.
    #[inline]
    pub fn append(&mut self, trace: u32, scope: ScopeHandle, bytes: &[u8]) -> Result<(), ArenaFull> {
        let older = self.traces.get(trace).newest;
        let reference = self.arena.append(scope, older, bytes, &mut self.envelopes)?;
        let entry = self.traces.get_mut(trace);
        entry.newest = reference;
        entry.spans += 1;
        entry.bytes = entry.bytes.saturating_add(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        Ok(())
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
            at = self.arena.older(at);
        }
        out.reverse();
    }

    /// Gives back the bytes and entries of `traces`, which are in no wheel slot any more. The lists are walked in
    /// lockstep: each step's loads are independent of one another, so that the memory system overlaps them.
    pub fn release(&mut self, traces: &[u32]) {
        self.heads.clear();
        self.heads.extend(traces.iter().map(|trace| self.traces.get(*trace).newest));
        let mut heads = std::mem::take(&mut self.heads);
        while !heads.is_empty() {
            heads.retain_mut(|head| {
                if head.is_none() {
                    return false;
                }
                let older = self.arena.older(*head);
                self.arena.release(*head, &mut self.envelopes);
                *head = older;
                true
            });
        }
        self.heads = heads;
        for trace in traces {
            self.traces.free(*trace);
        }
    }

    /// Bytes held now: the arena's chunks and the interned envelopes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.envelopes.bytes()
    }
}
