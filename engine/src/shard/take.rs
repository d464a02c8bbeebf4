//! Taking: spans come to the shard that owns their traces. Each is added to its undecided trace, or follows the verdict of
//! a judged one.

use super::Shard;
use super::framing::around;
use super::holding::BROUGHT_IN;
use super::marks::{late_mark, span_mark};
use super::outgoing::{Leaving, OpenLabel};
use crate::buffer::envelope::ScopeHandle;
use crate::buffer::traces::NONE;
use crate::host::Host;
use crate::index::Place;
use crate::ledger::DropReason;
use crate::rules::status_bit;
use crate::vocabulary::{
    Destinations, KeptUnit, Nanos, Occasion, SpanBatch, SpanMark, SpanRecord, StatusMask, Unit, elapsed_ticks,
};
use tailwater_config::sampling::Strategy;

/// Traces judged early to make room for one span.
/// At the bound: the span is dropped; counted in `tailwater_items_dropped_total{reason="memory_full"}`.
const EARLY_PER_SPAN_MAX: usize = 64;

/// The status of an error.
pub(super) const ERROR: StatusMask = status_bit(2);

impl Shard {
    /// Takes the spans of a batch, which all belong to this shard, and returns the batch for reuse.
    pub fn take(&mut self, now: Nanos, mut batch: SpanBatch, host: &mut impl Host) {
        self.holding.set_time(now);
        if batch.generation != self.bench.rules().generation() {
            self.scan_batch_again(&mut batch);
        }
        self.ledger.spans.taken_over += batch.spans.len() as u64;
        self.ledger.traces.error_spans += batch.spans.iter().filter(|span| span.status == ERROR).count() as u64;
        if let Some(watch) = &mut self.watch {
            watch.count(&batch);
        }
        self.reasons.open_batch();
        if let Some(sketching) = &mut self.sketching {
            sketching.open_batch();
        }
        self.holding.open_batch(&batch);
        if self.plan.strategy == Strategy::SpanIngest {
            self.take_pieces(now, &batch, host);
        } else {
            let words = self.bench.rules().leaf_words() - 1;
            for (number, spans) in batch.spans.chunks(BROUGHT_IN).enumerate() {
                let guesses = self.holding.bring_in(spans);
                for ((position, record), guess) in (number * BROUGHT_IN..).zip(spans).zip(guesses) {
                    let leaves = position * words..(position + 1) * words;
                    let leaves_more = batch.leaves_more.get(leaves).unwrap_or_default();
                    self.take_span(now, &batch, (record, guess), leaves_more, host);
                }
            }
        }
        self.holding.close_batch();
        self.framing.pass_scopes(&batch);
        self.intake.recycle(self.plan.shard, batch);
    }

    #[inline]
    pub(super) fn take_span(
        &mut self,
        now: Nanos,
        batch: &SpanBatch,
        (record, guess): (&SpanRecord, Option<Place>),
        leaves_more: &[u64],
        host: &mut impl Host,
    ) {
        let start = record.offset as usize;
        let bytes = &batch.body[start..start + record.length as usize];
        let scope = self.holding.scope(batch, record.scope);
        let unit = batch.origin.unit(record.position);
        if let Some(entry) = self.holding.pending_of(guess, record)
            && !batch.stays_in_log
            && self.holding.buffer.append(entry, scope, unit, bytes).is_ok()
        {
            return self.merge(batch, entry, record, leaves_more, host);
        }
        self.take_other(now, (batch, record, leaves_more), (scope, unit, bytes), host);
    }

    /// Takes a span that begins a trace, comes late, or finds no room.
    #[inline(never)]
    fn take_other(
        &mut self,
        now: Nanos,
        (batch, record, leaves_more): (&SpanBatch, &SpanRecord, &[u64]),
        (scope, unit, bytes): (ScopeHandle, Unit, &[u8]),
        host: &mut impl Host,
    ) {
        for attempt in 0..=EARLY_PER_SPAN_MAX {
            let entry = match self.holding.find(record.hash, &record.trace_id) {
                Some(Place::Pending(entry)) => entry,
                Some(Place::Kept(position)) => {
                    return self.take_late_kept(now, position, (batch, record), (scope, unit, bytes), host);
                }
                Some(Place::Dropped(position)) => return self.take_late_dropped(position, unit, host),
                None if self.sheds(batch, record) => {
                    self.ledger.spans.drop_items(DropReason::Shed, 1);
                    return resolve(host, unit);
                }
                None if self.holding.buffer.traces.is_full() => {
                    self.judge_soonest(now, Occasion::TracesMax, host);
                    continue;
                }
                None => self.open(batch.arrived, record),
            };
            let is_appended = batch.stays_in_log && self.append_unread(entry, unit);
            if is_appended || self.append(entry, scope, unit, bytes) {
                return self.merge(batch, entry, record, leaves_more, host);
            }
            // The arena is full. Room comes from the traces that are due next, this one perhaps among them.
            if attempt < EARLY_PER_SPAN_MAX && self.holding.buffer.traces.len() > 1 {
                self.judge_soonest(now, Occasion::Early, host);
            } else {
                break;
            }
        }
        self.ledger.spans.drop_items(DropReason::MemoryFull, 1);
        resolve(host, unit);
    }

    /// Whether the cluster gives up the trace of a span of which nothing is known here.
    fn sheds(&self, batch: &SpanBatch, record: &SpanRecord) -> bool {
        let below = self.cluster.as_ref().map_or(0, |cluster| cluster.shed.spans_below());
        let given = || batch.head_of(record).and_then(|head| head.randomness);
        below > 0 && self.bench.sheds_on_arrival(below, &record.trace_id, given())
    }

    fn open(&mut self, arrived: Nanos, record: &SpanRecord) -> u32 {
        let opened = elapsed_ticks(arrived);
        let deadline = self.waits.deadline(arrived, &self.bench.windows);
        let entry = self.holding.buffer.traces.open(record.trace_id, record.hash, opened, deadline);
        self.holding.buffer.traces.get_mut(entry).generation = self.bench.rules().generation();
        self.holding.index.insert(record.hash, Place::Pending(entry));
        if let Some(sketching) = &mut self.sketching {
            sketching.open(entry);
        }
        self.ledger.traces.started += 1;
        self.ledger.traces.pending += 1;
        entry
    }

    /// The span is in the buffer: merges its evidence and moves the deadline when it is a root.
    #[inline(always)]
    fn merge(&mut self, batch: &SpanBatch, entry: u32, record: &SpanRecord, leaves_more: &[u64], host: &mut impl Host) {
        self.ledger.spans.buffered += 1;
        let (trace, more) = self.holding.buffer.traces.with_leaves(entry);
        trace.active = trace.active.max(elapsed_ticks(batch.arrived));
        // Taken batches are of the generation in force.
        if trace.generation == batch.generation && trace.head == NONE && record.head == 0 {
            trace.size.count(record);
            trace.seen.absorb(self.bench.rules(), record, more, leaves_more);
        } else {
            self.merge_evidence(entry, batch, record, leaves_more);
        }
        self.reasons.note_origin(entry, batch, record);
        if let Some(sketching) = &mut self.sketching {
            sketching.note(entry, batch, record);
        }
        let trace = self.holding.buffer.traces.get_mut(entry);
        self.framing.count(trace, batch, record);
        let is_too_large = self.plan.is_too_large(trace.size);
        if record.is_root {
            self.root_came(batch.arrived, entry);
        }
        if self.cluster.is_some() {
            self.note_change(entry, record, batch.arrived);
        }
        if is_too_large {
            self.outgrew(entry, host);
        }
    }

    fn root_came(&mut self, arrived: Nanos, entry: u32) {
        let traces = &mut self.holding.buffer.traces;
        if let Some(deadline) = self.waits.deadline_of_root(arrived, &self.bench.windows)
            && deadline < traces.get(entry).deadline
        {
            traces.reschedule(entry, deadline);
        }
    }

    fn take_late_kept(
        &mut self,
        now: Nanos,
        position: u32,
        (batch, record): (&SpanBatch, &SpanRecord),
        (scope, unit, bytes): (ScopeHandle, Unit, &[u8]),
        host: &mut impl Host,
    ) {
        let kept = self.holding.kept.touch(position);
        let span_mark = kept.map_or(SpanMark::NONE, |kept| span_mark(&self.plan, kept, true));
        let unit = KeptUnit { unit, mark: span_mark };
        let is_by_randomness = self.bench.rules().is_by_randomness();
        let mark = kept.filter(|_| is_by_randomness);
        let mark = mark.map(|kept| late_mark(&self.plan, self.bench.rules(), record, kept));
        let mark = mark.filter(|mark| record.head != 0 || !mark.is_plain());
        if let Some(kept) = kept
            && self.bench.windows.is_on()
        {
            let weight = bytes.len() + around(bytes.len());
            self.bench.charge_late(kept.policy, weight as u64, self.plan.strategy == Strategy::SpanIngest);
        }
        self.ledger.traces.late_kept_spans += 1;
        if batch.stays_in_log {
            self.ledger.spans.park(1);
            return host.recall(unit);
        }
        self.ledger.spans.exporting += 1;
        let Self { bench, holding, outgoing, .. } = self;
        let is_by_hand = kept.is_some_and(|kept| bench.rules().is_by_hand(kept.annotations));
        outgoing.keep_apart(is_by_hand && unit.unit.is_none(), &mut holding.buffer.envelopes, host);
        let annotations = bench.rules().encoded_annotations(span_mark.annotations().numbers());
        let mut span = Leaving { scope, unit, bytes, mark, annotations: &annotations };
        let mut label = span_mark.label().map(|(policy, is_late)| OpenLabel::new(policy, None, is_late));
        if let Some(label) = &mut label {
            span.scope = label.scope(scope, bench.rules(), &mut holding.buffer.envelopes);
        }
        outgoing.add(now, &span, Destinations::ALL, &mut holding.buffer.envelopes, host);
        if let Some(label) = label {
            label.close(&mut holding.buffer.envelopes);
        }
    }

    fn take_late_dropped(&mut self, position: u32, unit: Unit, host: &mut impl Host) {
        self.holding.dropped.touch(position);
        self.ledger.traces.late_dropped_spans += 1;
        self.ledger.spans.drop_items(DropReason::LateNotSampled, 1);
        resolve(host, unit);
    }
}

/// Tells the log of a dropped span, if it is in the log.
#[inline]
fn resolve(host: &mut impl Host, unit: Unit) {
    if !unit.is_none() {
        host.resolve(unit);
    }
}
