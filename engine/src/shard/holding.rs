//! What a shard holds: undecided traces, and verdicts for spans that come late. Both are found by the keyed hash of a
//! trace's id.

use super::ShardPlan;
use crate::buffer::Buffer;
use crate::buffer::arena::Arena;
use crate::buffer::cold::ColdTable;
use crate::buffer::envelope::{EnvelopeTable, ScopeHandle};
use crate::buffer::traces::{Trace, TraceTable};
use crate::decide::VerdictMemory;
use crate::evidence::Summary;
use crate::index::{Index, Place};
use crate::judge::{Case, Cases};
use crate::rules::Rules;
use crate::vocabulary::{Nanos, SpanBatch, SpanRecord, TraceId};

/// The cold table's share of the arena's bound: at 16 bytes a span, many times the spans that the arena itself holds.
/// At the bound: traces are judged early; counted in `tailwater_traces_decided_early_total`.
const COLD_SHARE: usize = 2;

/// Spans that are looked up together before they are taken: as many misses as a core can have at once.
pub(super) const BROUGHT_IN: usize = 16;

/// Traces and verdicts of a shard.
#[derive(Debug)]
pub(super) struct Holding {
    pub(super) index: Index,
    pub(super) buffer: Buffer,
    pub(super) kept: VerdictMemory,
    pub(super) dropped: VerdictMemory,
    /// The handles of the batch being taken, by the batch's own numbers.
    scopes: Vec<Option<ScopeHandle>>,
}

impl Holding {
    /// Nothing, within the bounds of `plan`; each trace has `words_more` words of leaves past the first.
    pub(super) fn new(plan: &ShardPlan, words_more: usize) -> Self {
        Self {
            index: Index::new(plan.traces_max + plan.kept_verdicts_max + plan.dropped_verdicts_max),
            buffer: Buffer::new(
                Arena::new(plan.arena_bytes_max, plan.chunk_bytes),
                ColdTable::new(plan.arena_bytes_max / COLD_SHARE),
                EnvelopeTable::new(plan.hash_seed),
                TraceTable::new(plan.traces_max, words_more),
            ),
            kept: VerdictMemory::new(plan.kept_verdicts_max, true),
            dropped: VerdictMemory::new(plan.dropped_verdicts_max, false),
            scopes: Vec::new(),
        }
    }

    /// It is that late: verdicts are given now.
    #[inline]
    pub(super) fn set_time(&mut self, now: Nanos) {
        self.kept.set_time(now);
        self.dropped.set_time(now);
    }

    /// Where a trace is.
    #[inline]
    pub(super) fn find(&self, hash: u64, trace_id: &TraceId) -> Option<Place> {
        let found = self.index.find(hash, |place| match place {
            Place::Pending(entry) => self.buffer.traces.get(entry).id == *trace_id,
            Place::Kept(position) => self.kept.is(position, hash),
            Place::Dropped(position) => self.dropped.is(position, hash),
        });
        found.map(|(_, place)| place)
    }

    /// Looks up spans that are about to be taken, so that their traces are in the cache then: the misses of several spans
    /// wait for memory together, those of one after another wait one after another. Returns where their traces seem to be.
    #[inline]
    pub(super) fn bring_in(&self, spans: &[SpanRecord]) -> [Option<Place>; BROUGHT_IN] {
        let mut places = [None; BROUGHT_IN];
        for (place, span) in places.iter_mut().zip(spans) {
            *place = self.index.guess(span.hash);
        }
        for place in places {
            if let Some(Place::Pending(entry)) = place {
                self.buffer.traces.touch(entry);
            }
        }
        places
    }

    /// The undecided trace of a span; `guess` says where it seemed to be.
    #[inline]
    pub(super) fn pending_of(&self, guess: Option<Place>, record: &SpanRecord) -> Option<u32> {
        if let Some(Place::Pending(entry)) = guess {
            // An entry that was given back since has no fragment, whatever its id.
            let trace = self.buffer.traces.get(entry);
            if trace.id == record.trace_id && !trace.newest.is_none() {
                return Some(entry);
            }
        }
        self.find_pending(record.hash, &record.trace_id)
    }

    /// Looks up traces that are about to be settled, as `bring_in` does spans: their slots of the index, and those of the
    /// verdicts that give way. Most traces are dropped.
    pub(super) fn bring_in_judged(&self, entries: &[u32]) {
        for entry in entries {
            self.index.touch(self.buffer.traces.get(*entry).hash);
        }
        self.dropped.next_to_go(entries.len()).for_each(|hash| self.index.touch(hash));
    }

    /// The verdict that is remembered of a trace.
    pub(super) fn find_verdict(&self, hash: u64) -> Option<Place> {
        let found = self.index.find(hash, |place| match place {
            Place::Pending(_) => false,
            Place::Kept(position) => self.kept.is(position, hash),
            Place::Dropped(position) => self.dropped.is(position, hash),
        });
        found.map(|(_, place)| place)
    }

    /// The undecided trace of that id.
    pub(super) fn find_pending(&self, hash: u64, trace_id: &TraceId) -> Option<u32> {
        let found = self.index.find(hash, |place| match place {
            Place::Pending(entry) => self.buffer.traces.get(entry).id == *trace_id,
            _ => false,
        });
        match found? {
            (_, Place::Pending(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Moves a judged trace in the index from its entry to its verdict, and out of it the verdict that gave way; true when
    /// one did.
    pub(super) fn remember(
        &mut self,
        entry: u32,
        hash: u64,
        remembered: Option<(u32, Option<u64>)>,
        kind: fn(u32) -> Place,
    ) -> bool {
        let has_evicted = self.forget_evicted(remembered, kind);
        if let Some(slot) = self.index.slot_of(hash, Place::Pending(entry)) {
            match remembered {
                Some((position, _)) => self.index.replace(slot, kind(position)),
                None => self.index.remove(slot),
            }
        }
        has_evicted
    }

    /// Takes the verdict that gave way out of the index; true when one did.
    pub(super) fn forget_evicted(&mut self, remembered: Option<(u32, Option<u64>)>, kind: fn(u32) -> Place) -> bool {
        let Some((position, Some(evicted))) = remembered else { return false };
        let slot = self.index.slot_of(evicted, kind(position));
        if let Some(slot) = slot {
            self.index.remove(slot);
        }
        slot.is_some()
    }

    /// The scopes of a batch are asked for from now on.
    pub(super) fn open_batch(&mut self, batch: &SpanBatch) {
        self.scopes.clear();
        self.scopes.resize(batch.envelopes.scopes.len(), None);
    }

    /// The handle of a scope of the batch, interned at its first span.
    #[inline]
    pub(super) fn scope(&mut self, batch: &SpanBatch, number: u32) -> ScopeHandle {
        if let Some(handle) = self.scopes[number as usize] {
            return handle;
        }
        let envelope = &batch.envelopes.scopes[number as usize];
        let (resource, scope) = (batch.envelopes.slice(&envelope.resource), batch.envelopes.slice(&envelope.scope));
        let handle = self.buffer.envelopes.intern(resource, scope);
        self.scopes[number as usize] = Some(handle);
        handle
    }

    /// Lets go of the scopes of the batch.
    pub(super) fn close_batch(&mut self) {
        for scope in self.scopes.drain(..).flatten() {
            self.buffer.envelopes.release(scope);
        }
    }
}

impl Cases for Holding {
    fn case(&self, entry: u32) -> Case<'_> {
        let Trace { generation, deadline, .. } = *self.buffer.traces.get(entry);
        Case { evidence: self.buffer.evidence(entry), head: self.buffer.head(entry), generation, deadline }
    }

    fn settle(&mut self, entry: u32, rules: &Rules, set: impl FnOnce(&mut Summary, &mut [u64])) {
        self.buffer.give_keys(entry, rules);
        let (seen, more) = self.buffer.traces.evidence_mut(entry);
        set(seen, more);
    }
}
