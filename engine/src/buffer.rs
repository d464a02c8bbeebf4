//! Undecided traces: their spans' bytes in an arena, their evidence in a table of fixed size, their deadlines in a
//! wheel. Nothing here grows past the plan.

pub mod arena;
pub mod cold;
pub mod envelope;
mod heads;
pub mod leaves;
pub mod traces;

use crate::evidence::{Part, Size, Summary, TraceHead};
use crate::rules::{Evidence, Rules};
use crate::vocabulary::{SpanHead, SpanRecord, Unit};
use arena::{Arena, ArenaFull, Reference};
use cold::ColdTable;
use envelope::{EnvelopeTable, ScopeHandle};
use heads::HeadTable;
use traces::{NONE, Trace, TraceTable};

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
    /// What tracestates say of those traces of which they say anything.
    heads: HeadTable,
    /// Scratch: the traces being released.
    released: Vec<Released>,
}

/// A trace being released: its next fragment, and whether its spans are dropped.
#[derive(Debug)]
struct Released {
    next: Reference,
    is_dropped: bool,
}

impl Buffer {
    /// A buffer within the given bounds.
    #[must_use]
    pub fn new(arena: Arena, cold: ColdTable, envelopes: EnvelopeTable, traces: TraceTable) -> Self {
        Self { arena, cold, envelopes, traces, heads: HeadTable::default(), released: Vec::new() }
    }

    /// Copies a span's bytes into the arena as the newest fragment of `trace`.
    ///
    /// # Errors
    /// `ArenaFull`; nothing was changed.
    #[inline]
    pub fn append(&mut self, trace: u32, scope: ScopeHandle, unit: Unit, bytes: &[u8]) -> Result<(), ArenaFull> {
        let Self { arena, cold, envelopes, traces, heads, .. } = self;
        let entry = traces.get_mut(trace);
        let charged = || cold.bytes() + heads.bytes();
        entry.newest = arena.append(scope, unit, entry.newest, bytes, envelopes, charged)?;
        Ok(())
    }

    /// Notes a span of `trace` whose bytes are only in the log. False when the cold table is full.
    pub fn append_cold(&mut self, trace: u32, unit: Unit) -> bool {
        let older = self.traces.get(trace).newest;
        let Ok(reference) = self.cold.add(older, unit) else { return false };
        let entry = self.traces.get_mut(trace);
        entry.newest = reference;
        true
    }

    /// Merges what a span says into its trace's evidence. `head` is what its tracestate says. False when its threshold had
    /// to be counted as another.
    #[inline]
    pub fn merge(
        &mut self,
        trace: u32,
        rules: &Rules,
        record: &SpanRecord,
        leaves_more: &[u64],
        head: Option<&SpanHead>,
    ) -> bool {
        if self.traces.get(trace).head == NONE && head.is_none() {
            self.traces.get_mut(trace).size.count(record);
            let (seen, more) = self.traces.evidence_mut(trace);
            seen.absorb(rules, record, more, leaves_more);
            return true;
        }
        self.merge_with_head(trace, rules, (record, leaves_more, head))
    }

    /// Merges a span of which, or of whose trace, a tracestate says something.
    #[cold]
    fn merge_with_head(&mut self, trace: u32, rules: &Rules, span: (&SpanRecord, &[u64], Option<&SpanHead>)) -> bool {
        let is_exact = self.merge_head(trace, rules, span);
        let (record, leaves_more, _) = span;
        self.traces.get_mut(trace).size.count(record);
        let (seen, more) = self.traces.evidence_mut(trace);
        seen.absorb(rules, record, more, leaves_more);
        is_exact
    }

    fn merge_head(&mut self, trace: u32, rules: &Rules, span: (&SpanRecord, &[u64], Option<&SpanHead>)) -> bool {
        let Trace { seen, size, head: listed, .. } = self.traces.get(trace).clone();
        let listed = if listed == NONE {
            let number = self.heads.add(TraceHead::default());
            self.traces.get_mut(trace).head = number;
            number
        } else {
            listed
        };
        // At its full width: rows are as wide as what they are made of.
        let (_, more) = self.traces.evidence_mut(trace);
        self.heads.change(listed, self.arena.bytes_max(), |head, has_room| {
            head.absorb(rules, span, Part { seen: &seen, size, more }, has_room)
        })
    }

    /// What is known of a trace.
    #[must_use]
    pub fn evidence(&self, trace: u32) -> Evidence<'_> {
        let Trace { id, seen, size, .. } = self.traces.get(trace);
        let level = self.head(trace).and_then(|head| head.lowest(id));
        Evidence { trace_id: id, seen, size: *size, more: self.traces.leaves_more(trace), level }
    }

    /// Puts the keys that a trace goes by in the place of those of all its spans, where these are not the same.
    #[inline]
    pub fn give_keys(&mut self, trace: u32, rules: &Rules) {
        let Trace { head, id, .. } = self.traces.get(trace);
        if *head != NONE && rules.key_count() > 0 {
            let id = *id;
            self.heads.get(*head).give_keys(rules, &id, self.traces.evidence_mut(trace).1);
        }
    }

    /// What the tracestates of a trace's spans say, if they say anything.
    #[must_use]
    pub fn head(&self, trace: u32) -> Option<&TraceHead> {
        let number = self.traces.get(trace).head;
        (number != NONE).then(|| self.heads.get(number))
    }

    /// Forgets what the spans of a trace have said, so that they can be merged again under the rules of `generation`.
    pub fn forget_evidence(&mut self, trace: u32, generation: u32) {
        let (seen, more) = self.traces.evidence_mut(trace);
        *seen = Summary::default();
        more.fill(0);
        let entry = self.traces.get_mut(trace);
        entry.size = Size::default();
        entry.generation = generation;
        let listed = std::mem::replace(&mut entry.head, NONE);
        if listed != NONE {
            self.heads.free(listed);
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
        let mut released = std::mem::take(&mut self.released);
        released.extend(traces.iter().map(|trace| {
            let trace = self.traces.get(*trace);
            Released { next: trace.newest, is_dropped: !trace.is_kept }
        }));
        while !released.is_empty() {
            released.retain_mut(|trace| {
                let at = trace.next;
                if at.is_none() {
                    return false;
                }
                let (unit, older) = if at.is_cold() { self.cold.get(at) } else { self.arena.unit(at) };
                if trace.is_dropped && !unit.is_none() {
                    resolve(unit);
                }
                if at.is_cold() {
                    self.cold.release(at);
                } else {
                    self.arena.release(at, &mut self.envelopes);
                }
                trace.next = older;
                true
            });
        }
        self.released = released;
        for trace in traces {
            let head = self.traces.get(*trace).head;
            if head != NONE {
                self.heads.free(head);
            }
            self.traces.free(*trace);
        }
    }

    /// Bytes held now: the arena's chunks, the cold table, what tracestates say, and the interned envelopes.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.arena.bytes() + self.cold.bytes() + self.heads.bytes() + self.envelopes.bytes()
    }
}
