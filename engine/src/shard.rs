//! One shard: the only place that knows all the stages. A request is scanned by the core that received it; its
//! spans are taken by the shards that own their traces; each trace is judged once, when it is due; what is kept is
//! exported, what is not is counted.

use crate::buffer::Buffer;
use crate::buffer::arena::{Arena, Reference};
use crate::buffer::envelope::{EnvelopeTable, ScopeHandle};
use crate::buffer::traces::TraceTable;
use crate::decide::VerdictMemory;
use crate::export::{BatchLimits, Export};
use crate::host::{ExportFate, ExportRequest, Host};
use crate::index::{Index, Place};
use crate::intake::{Intake, IntakeError, Scanned};
use crate::ledger::{DropReason, Ledger, PolicyCounts};
use crate::route::Route;
use crate::rules::{Evidence, Rules, duration_ms};
use crate::vocabulary::{Destinations, Nanos, Occasion, ShardIndex, SpanBatch, SpanRecord, Verdict};
use bytes::Bytes;
use std::sync::Arc;
use tailwater_proto::otlp::Signal;

/// The bounds and waits of one shard, from the configuration and the memory plan.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    /// Which shard this is.
    pub shard: ShardIndex,
    /// How many there are.
    pub shards: u16,
    /// Keys of the hashes, the same on every shard of a node.
    pub hash_seed: [u64; 4],
    /// Most undecided traces.
    pub traces_max: usize,
    /// Most bytes of span chunks and interned envelopes.
    pub arena_bytes_max: usize,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Largest span accepted, bytes.
    pub span_bytes_max: u32,
    /// Verdicts remembered of kept traces.
    pub kept_verdicts_max: usize,
    /// Verdicts remembered of dropped traces.
    pub dropped_verdicts_max: usize,
    /// From the first span to the verdict.
    pub decision_wait: Nanos,
    /// From the arrival of a root span to the verdict, if that is earlier; 0 switches it off.
    pub decision_wait_after_root: Nanos,
    /// Bytes past which an undecided trace is dropped; 0 switches it off.
    pub trace_bytes_max: u32,
    /// On drain: drop what is undecided instead of deciding it.
    pub drop_pending_at_drain: bool,
    /// When an export batch is full.
    pub batch: BatchLimits,
    /// How long a batch may wait for more spans.
    pub flush_interval: Nanos,
}

/// The wheel's resolution.
pub const TICK: Nanos = Nanos::from_millis(10);
/// Traces judged in one step, so that their memory is walked together.
const JUDGE_STEP: usize = 256;
/// Traces judged in one call of `tick`; the caller comes back for more after letting requests through.
const JUDGE_PER_TICK_MAX: usize = 4 * JUDGE_STEP;
/// Traces judged early to make room for one span, before the span is dropped instead.
const EARLY_PER_SPAN_MAX: usize = 64;
/// The share of the arena, in eighths, past which senders are to be held back.
const PRESSURE_EIGHTHS: usize = 7;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    plan: ShardPlan,
    rules: Arc<Rules>,
    intake: Intake,
    index: Index,
    buffer: Buffer,
    kept: VerdictMemory,
    dropped: VerdictMemory,
    export: Export,
    /// When the oldest span of the open batch was added.
    batch_opened: Nanos,
    ledger: Ledger,
    due: Vec<u32>,
    fragments: Vec<Reference>,
    /// The handles of the batch being taken, by the batch's own numbers.
    scopes: Vec<Option<ScopeHandle>>,
}

impl Shard {
    /// A shard with nothing in it.
    #[must_use]
    pub fn new(plan: ShardPlan, rules: Arc<Rules>) -> Self {
        let route = Route::new(plan.hash_seed, plan.shards);
        let traces = TraceTable::new(plan.traces_max, rules.leaf_words() - 1);
        let arena = Arena::new(plan.arena_bytes_max, plan.chunk_bytes);
        let policies = vec![PolicyCounts::default(); rules.policy_names().len()];
        Self {
            intake: Intake::new(route, plan.span_bytes_max, &rules),
            index: Index::new(plan.traces_max + plan.kept_verdicts_max + plan.dropped_verdicts_max),
            buffer: Buffer::new(arena, EnvelopeTable::new(plan.hash_seed), traces),
            kept: VerdictMemory::new(plan.kept_verdicts_max, true),
            dropped: VerdictMemory::new(plan.dropped_verdicts_max, false),
            export: Export::new(plan.batch, plan.hash_seed),
            batch_opened: Nanos::default(),
            ledger: Ledger { policies, ..Ledger::default() },
            due: Vec::new(),
            fragments: Vec::new(),
            scopes: Vec::new(),
            plan,
            rules,
        }
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Bytes of spans and envelopes held.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.buffer.bytes()
    }

    /// The bound on `buffer_bytes`.
    #[must_use]
    pub fn buffer_bytes_max(&self) -> usize {
        self.plan.arena_bytes_max
    }

    /// True when senders are to be held back: the arena or the trace table is nearly full.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        let traces = self.buffer.traces.len();
        self.buffer.bytes() > self.plan.arena_bytes_max / 8 * PRESSURE_EIGHTHS
            || traces > self.plan.traces_max - self.plan.traces_max / 8
    }

    /// Scans a trace request received by this core. Spans of this shard are to be given to `take` by the caller,
    /// others to be sent to the shard named; from here on they are accepted.
    ///
    /// # Errors
    /// `IntakeError`; the request is counted as refused and nothing of it is kept.
    pub fn scan(&mut self, body: &Bytes) -> Result<Scanned, IntakeError> {
        let scanned = self.intake.scan(body, &self.rules).inspect_err(|_| self.ledger.refused.requests += 1)?;
        self.ledger.refused.spans += u64::from(scanned.refused);
        self.ledger.spans.received += u64::from(scanned.accepted);
        self.ledger.spans.handed_over += u64::from(scanned.accepted);
        Ok(scanned)
    }

    /// Takes the spans of a batch, which all belong to this shard, and returns the batch for reuse.
    pub fn take(&mut self, now: Nanos, batch: SpanBatch, host: &mut impl Host) {
        self.ledger.spans.taken_over += batch.spans.len() as u64;
        self.scopes.clear();
        self.scopes.resize(batch.envelopes.scopes.len(), None);
        let words = self.rules.leaf_words() - 1;
        for (position, record) in batch.spans.iter().enumerate() {
            let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
            self.take_span(now, &batch, record, leaves_more, host);
        }
        for scope in self.scopes.drain(..).flatten() {
            self.buffer.envelopes.release(scope);
        }
        self.intake.recycle(self.plan.shard, batch);
    }

    #[inline]
    fn take_span(
        &mut self,
        now: Nanos,
        batch: &SpanBatch,
        record: &SpanRecord,
        leaves_more: &[u64],
        host: &mut impl Host,
    ) {
        let start = record.offset as usize;
        let bytes = &batch.body[start..start + record.length as usize];
        let scope = self.scope(batch, record.scope);
        for attempt in 0..=EARLY_PER_SPAN_MAX {
            let place = self.index.find(record.hash, |place| match place {
                Place::Pending(entry) => self.buffer.traces.get(entry).id == record.trace_id,
                Place::Kept(position) => self.kept.is(position, record.hash),
                Place::Dropped(position) => self.dropped.is(position, record.hash),
            });
            let entry = match place {
                Some((_, Place::Pending(entry))) => entry,
                Some((_, Place::Kept(position))) => return self.take_late_kept(now, position, scope, bytes, host),
                Some((_, Place::Dropped(position))) => return self.take_late_dropped(position),
                None if self.buffer.traces.is_full() => {
                    self.judge_soonest(now, host);
                    continue;
                }
                None => self.open(now, record),
            };
            if self.buffer.append(entry, scope, bytes).is_ok() {
                return self.merge(now, entry, record, leaves_more);
            }
            // The arena is full. Room comes from the traces that are due next, this one perhaps among them.
            if attempt < EARLY_PER_SPAN_MAX && self.buffer.traces.len() > 1 {
                self.judge_soonest(now, host);
            } else {
                break;
            }
        }
        self.ledger.spans.drop_items(DropReason::MemoryFull, 1);
    }

    /// The handle of a scope of the batch, interned at its first span.
    #[inline]
    fn scope(&mut self, batch: &SpanBatch, number: u32) -> ScopeHandle {
        if let Some(handle) = self.scopes[number as usize] {
            return handle;
        }
        let envelope = &batch.envelopes.scopes[number as usize];
        let (resource, scope) = (batch.envelopes.slice(&envelope.resource), batch.envelopes.slice(&envelope.scope));
        let handle = self.buffer.envelopes.intern(resource, scope);
        self.scopes[number as usize] = Some(handle);
        handle
    }

    fn open(&mut self, now: Nanos, record: &SpanRecord) -> u32 {
        let deadline = tick_of(now.plus(self.plan.decision_wait));
        let entry = self.buffer.traces.open(record.trace_id, record.hash, deadline);
        self.index.insert(record.hash, Place::Pending(entry));
        self.ledger.traces.started += 1;
        self.ledger.traces.pending += 1;
        entry
    }

    /// The span is in the arena: merges its evidence and moves the deadline when it is a root.
    #[inline]
    fn merge(&mut self, now: Nanos, entry: u32, record: &SpanRecord, leaves_more: &[u64]) {
        self.ledger.spans.buffered += 1;
        self.buffer.merge(entry, record, leaves_more);
        for leaf in self.rules.latencies() {
            let trace = self.buffer.traces.get_mut(entry);
            if leaf.holds(duration_ms(trace.start_unix_nano, trace.end_unix_nano)) {
                let (word, bit) = (usize::from(leaf.leaf / 64), 1u64 << (leaf.leaf % 64));
                if word == 0 {
                    trace.leaves |= bit;
                } else {
                    self.buffer.traces.set_leaf_more(entry, word - 1, bit);
                }
            }
        }
        if record.is_root {
            self.root_came(now, entry);
        }
        let trace = self.buffer.traces.get(entry);
        if self.plan.trace_bytes_max > 0 && trace.bytes > self.plan.trace_bytes_max {
            self.buffer.traces.unlink(entry);
            self.settle_dropped(entry, DropReason::TraceTooLarge);
            self.buffer.release(&[entry]);
        }
    }

    fn root_came(&mut self, now: Nanos, entry: u32) {
        let trace = self.buffer.traces.get_mut(entry);
        trace.root_seen = true;
        if self.plan.decision_wait_after_root > Nanos::default() {
            let deadline = tick_of(now.plus(self.plan.decision_wait_after_root));
            if deadline < trace.deadline {
                self.buffer.traces.reschedule(entry, deadline);
            }
        }
    }

    fn take_late_kept(&mut self, now: Nanos, position: u32, scope: ScopeHandle, bytes: &[u8], host: &mut impl Host) {
        self.kept.touch(position);
        self.ledger.traces.late_kept_spans += 1;
        self.export_span(now, scope, bytes, host);
    }

    fn take_late_dropped(&mut self, position: u32) {
        self.dropped.touch(position);
        self.ledger.traces.late_dropped_spans += 1;
        self.ledger.spans.drop_items(DropReason::LateNotSampled, 1);
    }

    fn export_span(&mut self, now: Nanos, scope: ScopeHandle, bytes: &[u8], host: &mut impl Host) {
        if self.export.is_full_for(bytes.len()) {
            self.flush(host);
        }
        add_to_batch(&mut self.export, &mut self.batch_opened, now, scope, bytes, &mut self.buffer.envelopes);
        self.ledger.spans.exporting += 1;
    }

    /// Judges what is due and sends a batch that has waited long enough. True when more is due: call again soon, after
    /// letting other work through.
    pub fn tick(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut more = true;
        let mut judged = 0;
        while more && judged < JUDGE_PER_TICK_MAX {
            let mut due = std::mem::take(&mut self.due);
            // A deadline is rounded up to its tick, so the tick must have begun.
            more = self.buffer.traces.expire(elapsed_ticks(now), JUDGE_STEP, &mut due);
            judged += due.len();
            self.judge(now, &due, Occasion::Deadline, host);
            self.due = due;
        }
        if self.export.spans() > 0 && now >= self.batch_opened.plus(self.plan.flush_interval) {
            self.flush(host);
        }
        more
    }

    /// Makes room: judges the trace that is due soonest.
    #[cold]
    fn judge_soonest(&mut self, now: Nanos, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.expire_soonest(1, &mut due);
        self.judge(now, &due, Occasion::Early, host);
        self.due = due;
    }

    /// Judges up to `JUDGE_STEP` undecided traces whatever their deadline, for a shutdown. True when more are left.
    pub fn drain(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.expire_soonest(JUDGE_STEP, &mut due);
        if self.plan.drop_pending_at_drain {
            for entry in &due {
                self.settle_dropped(*entry, DropReason::ShutdownPending);
            }
            self.ledger.traces.decided_at_drain += due.len() as u64;
            self.buffer.release(&due);
        } else {
            self.judge(now, &due, Occasion::Drain, host);
        }
        self.due = due;
        if self.buffer.traces.is_empty() {
            self.flush(host);
        }
        !self.buffer.traces.is_empty()
    }

    /// Judges traces that are off the wheel, and gives back their memory.
    fn judge(&mut self, now: Nanos, due: &[u32], occasion: Occasion, host: &mut impl Host) {
        match occasion {
            Occasion::Deadline => {}
            Occasion::Early => self.ledger.traces.decided_early += due.len() as u64,
            Occasion::Drain => self.ledger.traces.decided_at_drain += due.len() as u64,
        }
        for entry in due {
            let trace = self.buffer.traces.get(*entry);
            let evidence = Evidence {
                trace_id: &trace.id,
                leaves: trace.leaves,
                leaves_more: self.buffer.traces.leaves_more(*entry),
                status: trace.status,
                span_count: trace.spans,
            };
            let ballot = self.rules.judge(&evidence, &mut self.ledger.policies);
            match ballot.verdict {
                Verdict::Keep(policy) => self.settle_kept(now, *entry, policy, host),
                Verdict::Drop => self.settle_dropped(*entry, ballot.drop_reason),
            }
        }
        self.buffer.release(due);
    }

    fn settle_kept(&mut self, now: Nanos, entry: u32, policy: u16, host: &mut impl Host) {
        let mut fragments = std::mem::take(&mut self.fragments);
        self.buffer.fragments(entry, &mut fragments);
        for reference in &fragments {
            let length = self.buffer.arena.fragment(*reference).bytes.len();
            if self.export.is_full_for(length) {
                self.flush(host);
            }
            let fragment = self.buffer.arena.fragment(*reference);
            let envelopes = &mut self.buffer.envelopes;
            add_to_batch(&mut self.export, &mut self.batch_opened, now, fragment.scope, fragment.bytes, envelopes);
        }
        self.fragments = fragments;
        let trace = self.buffer.traces.get(entry);
        let (hash, spans) = (trace.hash, u64::from(trace.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.exporting += spans;
        self.ledger.traces.pending -= 1;
        self.ledger.traces.kept += 1;
        let remembered = self.kept.remember(hash, policy);
        self.remember(entry, hash, remembered, Place::Kept);
    }

    fn settle_dropped(&mut self, entry: u32, reason: DropReason) {
        let trace = self.buffer.traces.get(entry);
        let (hash, spans) = (trace.hash, u64::from(trace.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.drop_items(reason, spans);
        self.ledger.traces.pending -= 1;
        self.ledger.traces.dropped += 1;
        let remembered = self.dropped.remember(hash, 0);
        self.remember(entry, hash, remembered, Place::Dropped);
    }

    /// Moves a judged trace in the index from its entry to its verdict, and out of it the verdict that gave way.
    fn remember(&mut self, entry: u32, hash: u64, remembered: Option<(u32, Option<u64>)>, kind: fn(u32) -> Place) {
        if let Some((position, Some(evicted))) = remembered
            && let Some(slot) = self.index.slot_of(evicted, kind(position))
        {
            self.index.remove(slot);
            self.ledger.traces.verdicts_forgotten += 1;
        }
        let Some(slot) = self.index.slot_of(hash, Place::Pending(entry)) else { return };
        match remembered {
            Some((position, _)) => self.index.replace(slot, kind(position)),
            None => self.index.remove(slot),
        }
    }

    /// Sends the open batch.
    fn flush(&mut self, host: &mut impl Host) {
        let envelopes = &self.buffer.envelopes;
        let Some(flushed) = self.export.flush(|scope| envelopes.parts(ScopeHandle::from_number(scope))) else {
            return;
        };
        for scope in flushed.scopes {
            self.buffer.envelopes.release(ScopeHandle::from_number(scope));
        }
        host.export(ExportRequest {
            signal: Signal::Traces,
            body: flushed.body.into(),
            items: flushed.spans,
            units: Vec::new(),
            destinations: Destinations::ALL,
        });
    }

    /// Passes a metrics or logs request on unchanged. `items` is what its check counted in it.
    pub fn forward(&mut self, signal: Signal, body: Bytes, items: u32, host: &mut impl Host) {
        let account = self.ledger.account(signal);
        account.received += u64::from(items);
        account.exporting += u64::from(items);
        host.export(ExportRequest { signal, body, items, units: Vec::new(), destinations: Destinations::ALL });
    }

    /// Counts a request that was refused before it could be scanned.
    pub fn refuse_request(&mut self) {
        self.ledger.refused.requests += 1;
    }

    /// Books the fate of items given to `Host::export`.
    pub fn settle(&mut self, signal: Signal, items: u32, fate: ExportFate) {
        let account = self.ledger.account(signal);
        let items = u64::from(items);
        assert!(account.exporting >= items, "an item's fate is reported once");
        account.exporting -= items;
        match fate {
            ExportFate::Delivered => account.exported += items,
            ExportFate::Refused => account.drop_items(DropReason::ExportRefused, items),
            ExportFate::Exhausted => account.drop_items(DropReason::ExportExhausted, items),
            ExportFate::QueueFull => account.drop_items(DropReason::ExportQueueFull, items),
            ExportFate::NoExporter => account.drop_items(DropReason::NoExporter, items),
            ExportFate::Shutdown => account.drop_items(DropReason::ExportShutdown, items),
        }
    }
}

/// Adds a span to the open batch; the batch holds the scope until it is flushed.
fn add_to_batch(
    export: &mut Export,
    opened: &mut Nanos,
    now: Nanos,
    scope: ScopeHandle,
    bytes: &[u8],
    envelopes: &mut EnvelopeTable,
) {
    if export.spans() == 0 {
        *opened = now;
    }
    if export.add(scope.number(), bytes) {
        envelopes.hold(scope);
    }
}

/// The tick at or after `point`: a trace is never judged before its wait is over.
fn tick_of(point: Nanos) -> u32 {
    u32::try_from(point.0.div_ceil(TICK.0)).unwrap_or(u32::MAX)
}

/// The tick that has begun at `now`.
fn elapsed_ticks(now: Nanos) -> u32 {
    u32::try_from(now.0 / TICK.0).unwrap_or(u32::MAX)
}
