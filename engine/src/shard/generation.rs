//! Rules that change under a running shard. What was evaluated under one generation of the rules is never mixed with
//! what was evaluated under another:
//!
//! - A trace in memory is scanned again from its own bytes, all of it, when it is next needed: when it is judged or its
//!   bytes are given up. Until then its spans are only added. A change itself costs no more with a million traces
//!   pending than with none.
//! - A trace of which bytes are only in the log stays with its generation. Those rules are kept as long as it is.
//! - A batch that another core has scanned under another generation is scanned again when it is taken.

use super::framing::framing_of;
use super::waits::Waits;
use super::{Shard, ShardPlan};
use crate::buffer::Buffer;
use crate::buffer::traces::Trace;
use crate::evidence::Size;
use crate::host::Host;
use crate::intake::Intake;
use crate::ledger::PolicyCounts;
use crate::rules::Rules;
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanRecord};
use bytes::Bytes;
use std::sync::Arc;
use tailwater_proto::otlp::wire::{field_length, put_header};

/// Former generations kept for traces whose bytes are only in the log: so many changes within the life of a trace.
/// At the bound: the oldest traces in the log that stay with one are judged early; counted in
/// `tailwater_traces_decided_early_total`.
pub const FORMER_MAX: usize = 3;
/// Entries looked at in one call for traces of a generation that has to go.
const SWEEP_ENTRIES_MAX: usize = 1 << 16;
/// Traces judged in one such call.
const SWEEP_JUDGED_MAX: usize = 256;
/// Bytes scanned again in one piece; a larger trace is scanned in several.
const PIECE_BYTES_MAX: usize = 16 << 20;

/// Rules that are not in force any more but for some traces.
#[derive(Debug)]
struct Former {
    rules: Arc<Rules>,
    /// Scratch of the right size for those rules.
    intake: Intake,
    /// Traces that stay with them.
    pinned: usize,
}

/// The generations besides the one in force.
#[derive(Debug, Default)]
pub(super) struct Generations {
    /// Oldest first; each has traces.
    former: Vec<Former>,
    /// Traces that stay with the generation in force whatever comes.
    pinned: usize,
    /// Entry at which the search for traces of the oldest generation goes on.
    hand: usize,
}

impl Generations {
    /// Whether some trace stays with that generation.
    fn has(&self, generation: u32) -> bool {
        self.former.iter().any(|former| former.rules.generation() == generation)
    }

    fn count(&mut self, in_force: u32, generation: u32) -> Option<&mut usize> {
        if generation == in_force {
            return Some(&mut self.pinned);
        }
        let former = self.former.iter_mut().find(|former| former.rules.generation() == generation);
        former.map(|former| &mut former.pinned)
    }
}

impl Shard {
    /// Changes the rules between two verdicts. Of `plan` the waits, `cold_after`, `trace_bytes_max`,
    /// `drop_pending_at_drain`, `randomness`, `writes_threshold_zero`, `record_policy` and `arena_bytes_max` take effect:
    /// the waits for traces that begin now, the others at once. A limit that is the same under the same name goes on where
    /// it is, and so does what is known of the durations of each kind of trace. The rest is as it was made. Later verdicts
    /// are those of `rules`, on all spans of a trace.
    ///
    /// False when too many former generations still have traces: some were judged early, nothing was changed, and the
    /// caller comes back after letting other work through.
    pub fn reload(&mut self, now: Nanos, rules: &Arc<Rules>, plan: &ShardPlan, host: &mut impl Host) -> bool {
        self.generations.former.retain(|former| former.pinned > 0);
        if self.generations.pinned > 0 && self.generations.former.len() >= FORMER_MAX && !self.retire_oldest(now, host)
        {
            return false;
        }
        self.adopt_plan(plan);
        let intake = Intake::new(self.intake.route().clone(), self.plan.span_bytes_max, rules);
        let before = self.bench.rules().clone();
        self.bench.adopt(now, rules, self.generations.pinned > 0);
        let former = Former {
            rules: before,
            intake: std::mem::replace(&mut self.intake, intake),
            pinned: std::mem::take(&mut self.generations.pinned),
        };
        if former.pinned > 0 {
            self.generations.former.push(former);
        }
        let former_weigh = self.generations.former.iter().any(|former| former.rules.weighs_traces());
        self.framing.change(&self.plan, rules, former_weigh);
        self.bench.retain(|generation| self.generations.has(generation));
        self.holding.buffer.traces.widen_leaves(rules.leaf_words() - 1);
        if self.cluster.is_some() {
            if let Some(cluster) = &mut self.cluster {
                cluster.limit_shares.clear();
            }
            self.divide_limits();
            self.tell_again(now);
        }
        let policies = rules.policy_names().len().max(self.ledger.policies.len());
        self.ledger.policies.resize(policies, PolicyCounts::default());
        true
    }

    fn adopt_plan(&mut self, plan: &ShardPlan) {
        let ShardPlan { decision_wait, decision_wait_after_root, inactivity_timeout, trace_duration_max, .. } = *plan;
        self.plan.decision_wait = decision_wait;
        self.plan.decision_wait_after_root = decision_wait_after_root;
        self.plan.inactivity_timeout = inactivity_timeout;
        self.plan.trace_duration_max = trace_duration_max;
        self.waits = Waits::of(&self.plan);
        if let Some(cluster) = &self.cluster {
            self.waits = self.waits.in_cluster(&cluster.plan, &self.bench.windows);
        }
        self.plan.cold_after = plan.cold_after;
        self.plan.trace_bytes_max = plan.trace_bytes_max;
        self.plan.drop_pending_at_drain = plan.drop_pending_at_drain;
        self.plan.writes_threshold_zero = plan.writes_threshold_zero;
        self.plan.record_policy = plan.record_policy;
        if self.plan.randomness != plan.randomness {
            self.plan.randomness = plan.randomness;
            self.bench.draw_from(plan.randomness);
        }
        self.plan.arena_bytes_max = plan.arena_bytes_max;
        self.holding.buffer.arena.set_bytes_max(plan.arena_bytes_max);
    }

    /// Judges some traces of the oldest generation, early and under its own rules, as far as the host has room for what is
    /// kept. True when none is left.
    fn retire_oldest(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let Some(oldest) = self.generations.former.first().map(|former| former.rules.generation()) else { return true };
        let entries = self.holding.buffer.traces.entries();
        let mut due = std::mem::take(&mut self.due);
        due.clear();
        for _ in 0..entries.min(SWEEP_ENTRIES_MAX) {
            if due.len() == SWEEP_JUDGED_MAX {
                break;
            }
            self.generations.hand = if self.generations.hand + 1 >= entries { 0 } else { self.generations.hand + 1 };
            let Ok(entry) = u32::try_from(self.generations.hand) else { break };
            let trace = self.holding.buffer.traces.get(entry);
            if !trace.newest.is_none() && trace.has_cold && trace.generation == oldest {
                self.holding.buffer.traces.unlink(entry);
                due.push(entry);
            }
        }
        self.judge_while_room(now, &due, Occasion::Reload, host);
        self.due = due;
        self.generations.former.first().is_none_or(|former| former.rules.generation() != oldest)
    }

    /// Scans a batch again whose leaves were evaluated under another generation than the one in force.
    #[cold]
    pub(super) fn scan_batch_again(&mut self, batch: &mut SpanBatch) {
        let (mut leaves_more, mut heads) = (Vec::new(), Vec::new());
        let mut records = Vec::with_capacity(batch.spans.len());
        let mut pieces = Pieces::default();
        let mut take = |body: Vec<u8>| {
            if let Some(again) = scan_piece(&mut self.intake, self.bench.rules(), body) {
                // Heads are numbered from one in each piece.
                let offset = u32::try_from(heads.len()).unwrap_or(u32::MAX);
                let place = |head: u32| if head == 0 { 0 } else { head + offset };
                records.extend(again.spans.iter().map(|span| SpanRecord { head: place(span.head), ..*span }));
                heads.extend_from_slice(&again.heads);
                leaves_more.extend_from_slice(&again.leaves_more);
                self.intake.recycle(self.plan.shard, again);
            }
        };
        for record in &batch.spans {
            let Some(envelope) = batch.envelopes.scopes.get(record.scope as usize) else { continue };
            let parts = Parts {
                scope: record.scope,
                resource_envelope: batch.envelopes.slice(&envelope.resource),
                scope_envelope: batch.envelopes.slice(&envelope.scope),
                span: span_bytes(batch, record),
            };
            pieces.add(&parts, &mut take);
        }
        pieces.finish(&mut take);
        assert_eq!(records.len(), batch.spans.len(), "what was accepted once is accepted again");
        for (again, record) in records.iter().zip(&mut batch.spans) {
            let SpanRecord { offset, length, scope, position, .. } = *record;
            *record = SpanRecord { offset, length, scope, position, ..*again };
        }
        (batch.leaves_more, batch.heads) = (leaves_more, heads);
        batch.generation = self.bench.rules().generation();
    }

    /// Merges what a span says that was just added to a trace: the trace is up to date, or will be scanned as a whole, or
    /// stays with another generation.
    #[inline(never)]
    pub(super) fn merge_evidence(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord, leaves_more: &[u64]) {
        let trace = self.holding.buffer.traces.get(entry);
        if trace.generation == self.bench.rules().generation() {
            let is_exact =
                self.holding.buffer.merge(entry, self.bench.rules(), record, leaves_more, batch.head_of(record));
            self.ledger.traces.threshold_levels_folded += u64::from(!is_exact);
        } else if trace.has_cold {
            self.merge_former(entry, batch, record);
        } else {
            let trace = self.holding.buffer.traces.get_mut(entry);
            trace.seen.root_seen |= record.is_root;
            trace.size.count(record);
        }
    }

    /// Merges a span into a trace that stays with a former generation.
    #[cold]
    fn merge_former(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        let generation = self.holding.buffer.traces.get(entry).generation;
        let former = self.generations.former.iter_mut().find(|former| former.rules.generation() == generation);
        let Some(former) = former else { return };
        let Some(envelope) = batch.envelopes.scopes.get(record.scope as usize) else { return };
        let mut pieces = Pieces::default();
        let parts = Parts {
            scope: record.scope,
            resource_envelope: batch.envelopes.slice(&envelope.resource),
            scope_envelope: batch.envelopes.slice(&envelope.scope),
            span: span_bytes(batch, record),
        };
        let buffer = &mut self.holding.buffer;
        let mut take = |body: Vec<u8>| {
            let Some(again) = scan_piece(&mut former.intake, &former.rules, body) else { return };
            merge_batch(buffer, &former.rules, entry, &again);
            former.intake.recycle(self.plan.shard, again);
        };
        pieces.add(&parts, &mut take);
        pieces.finish(&mut take);
    }

    /// Brings the evidence of traces up to date that are about to be judged.
    #[inline]
    pub(super) fn refresh_all(&mut self, entries: &[u32]) {
        for entry in entries {
            self.refresh(*entry);
        }
    }

    /// Brings the evidence of a trace up to date, if it is of a former generation and may be.
    #[inline]
    pub(super) fn refresh(&mut self, entry: u32) {
        let trace = self.holding.buffer.traces.get(entry);
        if trace.generation != self.bench.rules().generation() && !trace.has_cold {
            self.scan_trace_again(entry);
        }
    }

    #[cold]
    fn scan_trace_again(&mut self, entry: u32) {
        let mut fragments = std::mem::take(&mut self.fragments);
        self.holding.buffer.fragments(entry, &mut fragments);
        let Trace { size: Size { bytes, .. }, generation, .. } = *self.holding.buffer.traces.get(entry);
        self.holding.buffer.forget_evidence(entry, self.bench.rules().generation());
        let mut pieces = Pieces::default();
        let mut scanned = 0;
        // The bytes are read from the arena while the evidence changes, so the pieces are framed one at a time.
        let mut next = fragments.iter();
        loop {
            let mut piece = None;
            for reference in next.by_ref() {
                let fragment = self.holding.buffer.arena.fragment(*reference);
                let (_, resource_envelope, scope_envelope) = self.holding.buffer.envelopes.parts(fragment.scope);
                let parts =
                    Parts { scope: fragment.scope.number(), resource_envelope, scope_envelope, span: fragment.bytes };
                pieces.add(&parts, &mut |body| piece = Some(body));
                if piece.is_some() {
                    break;
                }
            }
            let is_last = piece.is_none();
            if is_last {
                pieces.finish(&mut |body| piece = Some(body));
            }
            if let Some(again) = piece.and_then(|body| scan_piece(&mut self.intake, self.bench.rules(), body)) {
                scanned += again.spans.len();
                merge_batch(&mut self.holding.buffer, self.bench.rules(), entry, &again);
                self.intake.recycle(self.plan.shard, again);
            }
            if is_last {
                break;
            }
        }
        assert_eq!(scanned, fragments.len(), "what was accepted once is accepted again");
        let size = self.holding.buffer.traces.get(entry).size;
        let bytes = if self.framing.lacks(generation) {
            // Its spans came when nothing asked for it.
            size.bytes.saturating_add(framing_of(&self.holding.buffer, &fragments))
        } else {
            // What was around the spans when they came is not around them any more.
            bytes
        };
        self.holding.buffer.traces.get_mut(entry).size.bytes = bytes;
        self.fragments = fragments;
        self.ledger.traces.scanned_again += 1;
    }

    /// Gives up the bytes of a trace in memory, whose evidence is brought up to date first.
    pub(super) fn cool(&mut self, entry: u32) {
        self.refresh(entry);
        if self.holding.buffer.cool(entry, &mut self.sweep.hot) {
            self.pin(entry);
        }
    }

    /// A trace has bytes in the log only: from now on it stays with its generation.
    pub(super) fn pin(&mut self, entry: u32) {
        let trace = self.holding.buffer.traces.get_mut(entry);
        let was_pinned = std::mem::replace(&mut trace.has_cold, true);
        if !was_pinned && let Some(count) = self.generations.count(self.bench.rules().generation(), trace.generation) {
            *count += 1;
        }
    }

    /// A trace is judged by a piece of it, which is of the generation in force.
    pub(super) fn adopt_generation(&mut self, entry: u32) {
        let in_force = self.bench.rules().generation();
        let trace = self.holding.buffer.traces.get_mut(entry);
        let before = std::mem::replace(&mut trace.generation, in_force);
        if trace.has_cold && before != in_force {
            if let Some(count) = self.generations.count(in_force, before) {
                *count -= 1;
            }
            self.generations.pinned += 1;
        }
    }

    /// Gives back the memory of judged traces, and rules that were kept for the last of them.
    pub(super) fn release(&mut self, entries: &[u32], host: &mut impl Host) {
        let mut is_last = false;
        for entry in entries {
            let trace = self.holding.buffer.traces.get(*entry);
            if trace.has_cold
                && let Some(count) = self.generations.count(self.bench.rules().generation(), trace.generation)
            {
                *count -= 1;
                is_last |= *count == 0;
            }
        }
        if is_last {
            self.generations.former.retain(|former| former.pinned > 0);
            self.bench.retain(|generation| self.generations.has(generation));
        }
        entries.iter().for_each(|entry| self.reasons.forget(*entry));
        if let Some(cluster) = &mut self.cluster {
            entries.iter().for_each(|entry| cluster.changes.forget(*entry));
        }
        self.holding.buffer.release(entries, |unit| host.resolve(unit));
    }
}

fn span_bytes<'a>(batch: &'a SpanBatch, record: &SpanRecord) -> &'a [u8] {
    let start = record.offset as usize;
    batch.body.get(start..start + record.length as usize).unwrap_or_default()
}

/// Scans framed spans of one shard. They were accepted before, so that none is refused now.
fn scan_piece(intake: &mut Intake, rules: &Rules, body: Vec<u8>) -> Option<SpanBatch> {
    let scanned = intake.scan(&Bytes::from(body), rules).ok()?;
    scanned.batches.into_iter().next().map(|(_, batch)| batch)
}

/// Merges scanned spans of one trace in their order.
fn merge_batch(buffer: &mut Buffer, rules: &Rules, entry: u32, batch: &SpanBatch) {
    let words = rules.leaf_words() - 1;
    for (position, record) in batch.spans.iter().enumerate() {
        let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
        buffer.merge(entry, rules, record, leaves_more, batch.head_of(record));
    }
}

/// A span and what is around it.
struct Parts<'a> {
    /// A number of the scope; equal for neighbours that share it.
    scope: u32,
    resource_envelope: &'a [u8],
    scope_envelope: &'a [u8],
    span: &'a [u8],
}

/// Frames spans as requests again, in their order, so that the same walk reads them as when they came.
#[derive(Default)]
struct Pieces {
    body: Vec<u8>,
    scope: Option<u32>,
    /// The envelopes of the open scope.
    resource_envelope: Vec<u8>,
    scope_envelope: Vec<u8>,
    /// Its spans.
    spans: Vec<u8>,
}

/// `spans`, `scope_spans` and `resource_spans` in their enclosing messages.
const SPANS: u32 = 2;
const SCOPE_SPANS: u32 = 2;
const RESOURCE_SPANS: u32 = 1;

impl Pieces {
    /// Adds a span; gives `take` the request when it is long enough.
    fn add(&mut self, parts: &Parts<'_>, take: &mut impl FnMut(Vec<u8>)) {
        if self.scope != Some(parts.scope) {
            self.close_scope();
            self.scope = Some(parts.scope);
            self.resource_envelope.extend_from_slice(parts.resource_envelope);
            self.scope_envelope.extend_from_slice(parts.scope_envelope);
        }
        put_header(&mut self.spans, SPANS, parts.span.len());
        self.spans.extend_from_slice(parts.span);
        if self.body.len() + self.spans.len() >= PIECE_BYTES_MAX {
            self.finish(take);
        }
    }

    fn close_scope(&mut self) {
        if self.scope.take().is_some() {
            let scope_spans = self.scope_envelope.len() + self.spans.len();
            let resource_spans = self.resource_envelope.len() + field_length(SCOPE_SPANS, scope_spans);
            put_header(&mut self.body, RESOURCE_SPANS, resource_spans);
            self.body.extend_from_slice(&self.resource_envelope);
            put_header(&mut self.body, SCOPE_SPANS, scope_spans);
            self.body.extend_from_slice(&self.scope_envelope);
            self.body.extend_from_slice(&self.spans);
        }
        self.resource_envelope.clear();
        self.scope_envelope.clear();
        self.spans.clear();
    }

    /// Gives `take` what is left.
    fn finish(&mut self, take: &mut impl FnMut(Vec<u8>)) {
        self.close_scope();
        if !self.body.is_empty() {
            take(std::mem::take(&mut self.body));
        }
    }
}
