//! One shard: the only place that knows all the stages. A request is scanned by the core that received it; its
//! spans are taken by the shards that own their traces; each trace is judged once, when it is due; what is kept is
//! exported, what is not is counted.

mod cool;
mod framing;
mod generation;
mod ingest;
mod judge;
mod outgoing;
mod reason;

use crate::buffer::Buffer;
use crate::buffer::arena::{Arena, Reference};
use crate::buffer::cold::ColdTable;
use crate::buffer::envelope::{EnvelopeTable, ScopeHandle};
use crate::buffer::traces::TraceTable;
use crate::decide::{KeptBy, VerdictMemory};
use crate::explain::Explanations;
use crate::explain::origin::{Origins, Service};
use crate::export::mark::{Mark, MarkCounts, Marker};
use crate::export::{BatchLimits, Export};
use crate::host::Host;
use crate::index::{Index, Place};
use crate::intake::{Intake, IntakeError, Scanned, weight};
use crate::ledger::{DropReason, Ledger, PolicyCounts};
use crate::randomness::{Randomness, TraceRandomness};
use crate::route::Route;
use crate::rules::Rules;
use crate::rules::limit::{Cost, Limits};
use crate::rules::quantile::Quantiles;
use crate::vocabulary::{
    Destinations, KeptUnit, Nanos, Occasion, RandomnessKind, ShardIndex, SpanBatch, SpanHead, SpanMark, SpanRecord,
    TraceId, Unit,
};
use bytes::Bytes;
use framing::Framing;
use generation::Generations;
use outgoing::OpenLabel;
use std::ops::Range;
use std::sync::Arc;
use tailwater_proto::otlp::Signal;

pub use generation::FORMER_MAX;
use tailwater_config::sampling::{RandomnessSource, Strategy};

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
    /// Judge a trace when none of its spans has come for this long, instead of `decision_wait` after its first; 0
    /// switches it off.
    pub inactivity_timeout: Nanos,
    /// Longest from the first span to the verdict, whatever comes; 0 for no limit.
    pub trace_duration_max: Nanos,
    /// Age past which an undecided trace's bytes are given up in memory, to be read from the log if it is kept; 0 for
    /// only when the arena is full.
    pub cold_after: Nanos,
    /// Bytes past which an undecided trace is dropped; 0 switches it off.
    pub trace_bytes_max: u32,
    /// On drain: drop what is undecided instead of deciding it.
    pub drop_pending_at_drain: bool,
    /// Write the policy that kept a trace into its spans' scopes.
    pub record_policy: bool,
    /// When policies are asked.
    pub strategy: Strategy,
    /// With `Strategy::SpanIngest`: a trace that nothing decided is forgotten when its wait is over, so that spans that come
    /// later begin a new one.
    pub forgets_undecided: bool,
    /// Where the randomness of traces without `rv` comes from.
    pub randomness: RandomnessSource,
    /// Write a threshold of 0 into spans that came without one and were kept for certain.
    pub writes_threshold_zero: bool,
    /// When an export batch is full.
    pub batch: BatchLimits,
    /// How long a batch may wait for more spans.
    pub flush_interval: Nanos,
}

/// The wheel's resolution.
pub const TICK: Nanos = Nanos::from_millis(10);
/// Ticks in a window of limits that keep traces by randomness: a second. Longer windows would make better use of a
/// budget and judge later.
const WINDOW_TICKS: u32 = 100;
/// Traces judged early to make room for one span, before the span is dropped instead.
const EARLY_PER_SPAN_MAX: usize = 64;
/// The share of the arena, in eighths, past which senders are to be held back.
const PRESSURE_EIGHTHS: usize = 7;
/// The cold table's share of the arena's bound: at 16 bytes a span, many times the spans that the arena itself holds.
const COLD_SHARE: usize = 2;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    plan: ShardPlan,
    rules: Arc<Rules>,
    limits: Limits,
    generations: Generations,
    explanations: Explanations,
    origins: Origins,
    /// Of the batch being taken: a resource, by its place in the envelopes, and the service that it names.
    service: Option<(Range<u32>, Service)>,
    /// The window that was cut last: its number counted from the origin.
    window: u32,
    randomness: Randomness,
    quantiles: Quantiles,
    /// Scratch: limits that a trace wants to pass, with its group and cost.
    wants: Vec<(u16, u64, u64)>,
    intake: Intake,
    index: Index,
    buffer: Buffer,
    kept: VerdictMemory,
    dropped: VerdictMemory,
    export: Export,
    marker: Marker,
    /// When the oldest span of the open batch was added.
    batch_opened: Nanos,
    /// Requests given to the host so far.
    batches_sent: u64,
    ledger: Ledger,
    due: Vec<u32>,
    fragments: Vec<Reference>,
    hot: Vec<(Reference, Unit)>,
    cooled: Vec<u32>,
    /// When traces past `cold_after` were last looked for.
    swept: Nanos,
    /// Entry at which the search for traces past `cold_after` goes on.
    sweep: usize,
    /// The handles of the batch being taken, by the batch's own numbers.
    scopes: Vec<Option<ScopeHandle>>,
    /// The number of the batch's first scope among all that were taken; see `framing`.
    scope_base: u16,
    framing: Framing,
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
            buffer: Buffer::new(
                arena,
                ColdTable::new(plan.arena_bytes_max / COLD_SHARE),
                EnvelopeTable::new(plan.hash_seed),
                traces,
            ),
            kept: VerdictMemory::new(plan.kept_verdicts_max, true),
            dropped: VerdictMemory::new(plan.dropped_verdicts_max, false),
            export: Export::new(plan.batch, plan.hash_seed),
            batch_opened: Nanos::default(),
            batches_sent: 0,
            ledger: Ledger { policies, ..Ledger::default() },
            limits: Limits::new(rules.limits(), rules.generation(), plan.shards, Nanos::default()),
            window: 0,
            randomness: Randomness::new(plan.randomness),
            quantiles: Quantiles::new(rules.relative().len()),
            wants: Vec::new(),
            marker: Marker::default(),
            due: Vec::new(),
            fragments: Vec::new(),
            hot: Vec::new(),
            cooled: Vec::new(),
            swept: Nanos::default(),
            sweep: 0,
            scopes: Vec::new(),
            scope_base: 0,
            generations: Generations::default(),
            explanations: Explanations::new(0),
            origins: Origins::new(plan.hash_seed),
            service: None,
            framing: Framing::Ignored.under(&plan, &rules, false),
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

    /// True when even the places of spans in the log take nearly all the memory they may: for spans that are logged this is
    /// what a nearly full arena is for others.
    #[must_use]
    pub fn is_cold_pressed(&self) -> bool {
        let traces = self.buffer.traces.len();
        !self.buffer.cold.has_room_for(self.buffer.cold.capacity() / 8)
            || traces > self.plan.traces_max - self.plan.traces_max / 8
    }

    /// Scans a request of a former run, or one that is read again: faults are no one's to be told.
    ///
    /// # Errors
    /// `IntakeError`.
    pub fn scan_again(&mut self, body: &Bytes) -> Result<Scanned, IntakeError> {
        self.intake.scan(body, &self.rules)
    }

    /// Most bytes that scanning this request takes.
    #[must_use]
    pub fn scanned_bytes(&self, body: &[u8]) -> usize {
        weight::scanned_bytes(body, self.rules.leaf_words())
    }

    /// Scans a trace request received by this core. Nothing of it is accepted before `accept`.
    ///
    /// # Errors
    /// `IntakeError`; the request is counted as refused and nothing of it is kept.
    pub fn scan(&mut self, body: &Bytes) -> Result<Scanned, IntakeError> {
        let scanned = self.intake.scan(body, &self.rules).inspect_err(|_| self.ledger.refused.requests += 1)?;
        self.ledger.refused.refuse(Signal::Traces, &scanned.refusals);
        self.ledger.refused.repaired_texts += u64::from(scanned.repaired);
        self.ledger.traces.condition_errors += u64::from(scanned.condition_failures);
        Ok(scanned)
    }

    /// Counts that many spans of a scanned request as accepted. Those of this shard are to be given to `take` by the
    /// caller at once, others to be sent to the shard named.
    pub fn accept(&mut self, spans: usize) {
        self.ledger.spans.received += spans as u64;
        self.ledger.spans.handed_over += spans as u64;
    }

    /// What became of the tracestates of kept spans.
    #[must_use]
    pub fn mark_counts(&self) -> MarkCounts {
        self.marker.counts()
    }

    /// Kept traces whose randomness came with a span and is not known for those that come late.
    #[must_use]
    pub fn randomness_forgotten(&self) -> u64 {
        self.kept.given_forgotten()
    }

    /// Traces that were too large to pass a limit ever.
    #[must_use]
    pub fn unreachable_traces(&self) -> u64 {
        self.limits.unreachable()
    }

    /// Traces that were not counted for their kind, because too many kinds are told apart already.
    #[must_use]
    pub fn quantile_keys_refused(&self) -> u64 {
        self.quantiles.keys_refused()
    }

    /// Traces of a second that were too many to be ranked for a limit: they counted as rejected.
    #[must_use]
    pub fn unranked_traces(&self) -> u64 {
        self.limits.unranked()
    }

    /// What wanted to pass each limit since the last call; the shards of a node divide the limits by it.
    pub fn take_limit_demand(&mut self) -> Vec<u64> {
        self.limits.take_demand()
    }

    /// Sets this shard's part of each limit, 0 to 1; those of all shards sum to 1.
    pub fn set_limit_shares(&mut self, shares: &[f64]) {
        self.limits.set_shares(shares);
    }

    /// Remembers a verdict of a former run of the node. The trace must be this shard's.
    pub fn restore(&mut self, trace_id: &TraceId, kept_by: Option<KeptBy>) {
        let hash = self.intake.hash(trace_id);
        let known = |place| match place {
            Place::Pending(_) => false,
            Place::Kept(position) => self.kept.is(position, hash),
            Place::Dropped(position) => self.dropped.is(position, hash),
        };
        if self.index.find(hash, known).is_some() {
            return;
        }
        let (remembered, kind): (_, fn(u32) -> Place) = match kept_by {
            Some(kept) => (self.kept.remember(hash, Some(kept)), Place::Kept),
            None => (self.dropped.remember(hash, None), Place::Dropped),
        };
        self.forget_evicted(remembered, kind);
        if let Some((position, _)) = remembered {
            self.index.insert(hash, kind(position));
        }
    }

    /// Takes the spans of a batch, which all belong to this shard, and returns the batch for reuse.
    pub fn take(&mut self, now: Nanos, mut batch: SpanBatch, host: &mut impl Host) {
        if batch.generation != self.rules.generation() {
            self.scan_batch_again(&mut batch);
        }
        self.ledger.spans.taken_over += batch.spans.len() as u64;
        self.service = None;
        self.scopes.clear();
        self.scopes.resize(batch.envelopes.scopes.len(), None);
        if self.plan.strategy == Strategy::SpanIngest {
            self.take_pieces(now, &batch, host);
        } else {
            let words = self.rules.leaf_words() - 1;
            for (position, record) in batch.spans.iter().enumerate() {
                let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
                self.take_span(now, &batch, record, leaves_more, host);
            }
        }
        for scope in self.scopes.drain(..).flatten() {
            self.buffer.envelopes.release(scope);
        }
        self.pass_scopes(&batch);
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
        let unit = batch.origin.unit(record.position);
        for attempt in 0..=EARLY_PER_SPAN_MAX {
            let place = self.index.find(record.hash, |place| match place {
                Place::Pending(entry) => self.buffer.traces.get(entry).id == record.trace_id,
                Place::Kept(position) => self.kept.is(position, record.hash),
                Place::Dropped(position) => self.dropped.is(position, record.hash),
            });
            let entry = match place {
                Some((_, Place::Pending(entry))) => entry,
                Some((_, Place::Kept(position))) => {
                    return self.take_late_kept(now, position, (batch, record), (scope, unit, bytes), host);
                }
                Some((_, Place::Dropped(position))) => return self.take_late_dropped(position, unit, host),
                None if self.buffer.traces.is_full() => {
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
            if attempt < EARLY_PER_SPAN_MAX && self.buffer.traces.len() > 1 {
                self.judge_soonest(now, Occasion::Early, host);
            } else {
                break;
            }
        }
        self.ledger.spans.drop_items(DropReason::MemoryFull, 1);
        resolve(host, unit);
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

    fn open(&mut self, arrived: Nanos, record: &SpanRecord) -> u32 {
        let opened = elapsed_ticks(arrived);
        let deadline = self.deadline(arrived);
        let entry = self.buffer.traces.open(record.trace_id, record.hash, opened, deadline);
        self.buffer.traces.get_mut(entry).generation = self.rules.generation();
        self.index.insert(record.hash, Place::Pending(entry));
        self.ledger.traces.started += 1;
        self.ledger.traces.pending += 1;
        entry
    }

    /// The span is in the buffer: merges its evidence and moves the deadline when it is a root.
    #[inline]
    fn merge(&mut self, batch: &SpanBatch, entry: u32, record: &SpanRecord, leaves_more: &[u64], host: &mut impl Host) {
        let arrived = batch.arrived;
        self.ledger.spans.buffered += 1;
        self.merge_evidence(entry, batch, record, leaves_more);
        self.note_origin(entry, batch, record);
        if self.framing != Framing::Ignored {
            self.count_framing(entry, batch, record);
        }
        if record.is_root {
            self.root_came(arrived, entry);
        }
        let trace = self.buffer.traces.get_mut(entry);
        trace.active = trace.active.max(elapsed_ticks(arrived));
        if self.plan.trace_bytes_max > 0 && trace.size.bytes > self.plan.trace_bytes_max {
            self.outgrew(entry, host);
        }
    }

    fn root_came(&mut self, arrived: Nanos, entry: u32) {
        if self.plan.decision_wait_after_root > Nanos::default() {
            let deadline = self.open_window_end(tick_of(arrived.plus(self.plan.decision_wait_after_root)));
            if deadline < self.buffer.traces.get(entry).deadline {
                self.buffer.traces.reschedule(entry, deadline);
            }
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
        let kept = self.kept.touch(position);
        let span_mark = kept.map_or(SpanMark::NONE, |kept| self.span_mark(kept, true));
        let unit = KeptUnit { unit, mark: span_mark };
        let mark = kept.filter(|_| self.rules.is_by_randomness()).map(|kept| self.late_mark(record, kept));
        let mark = mark.filter(|mark| record.head != 0 || !mark.is_plain());
        if let Some(kept) = kept
            && self.rules.has_windows()
        {
            self.charge_late(kept.policy, bytes.len());
        }
        self.ledger.traces.late_kept_spans += 1;
        if batch.stays_in_log {
            self.ledger.spans.park(1);
            return host.recall(unit);
        }
        self.ledger.spans.exporting += 1;
        let annotations = self.rules.encoded_annotations(span_mark.annotations().numbers());
        let Some((policy, is_late)) = span_mark.label() else {
            let extras = (mark, &annotations[..]);
            return self.export_span(now, (scope, unit, bytes), extras, Destinations::ALL, host);
        };
        let mut label = OpenLabel::new(policy, None, is_late);
        let with_label = label.scope(scope, &self.rules, &mut self.buffer.envelopes);
        self.export_span(now, (with_label, unit, bytes), (mark, &annotations), Destinations::ALL, host);
        label.close(&mut self.buffer.envelopes);
    }

    /// What has to be known of a kept span to send it, late or not.
    fn span_mark(&self, kept: KeptBy, is_late: bool) -> SpanMark {
        let mark = SpanMark::new(kept.threshold, kept.randomness).annotated(kept.annotations);
        if self.plan.record_policy { mark.labelled(kept.policy, is_late) } else { mark }
    }

    /// A span came after its trace was kept: it takes from the limits that the trace has passed.
    fn charge_late(&mut self, policy: u16, span_bytes: usize) {
        let Self { plan, rules, limits, .. } = self;
        limits.turn_to(rules.generation());
        for (number, cost) in rules.limits_passed(policy) {
            let cost = match cost {
                Cost::Spans => 1,
                Cost::Bytes => span_bytes + framing::around(span_bytes),
            };
            match plan.strategy {
                Strategy::SpanIngest => limits.charge_later(number, cost as u64),
                Strategy::TraceComplete => limits.charge_late(number, cost as u64),
            }
        }
    }

    /// What a span leaves with that came after its trace was kept.
    fn late_mark(&self, record: &SpanRecord, kept: KeptBy) -> Mark {
        self.mark(kept.threshold, Randomness::again(&record.trace_id, kept.randomness, kept.given))
    }

    fn mark(&self, threshold: u64, TraceRandomness { value, kind }: TraceRandomness) -> Mark {
        // Who reads no threshold needs no randomness either.
        let writes_randomness = kind == RandomnessKind::Hashed && threshold > 0;
        Mark { threshold, randomness: value, writes_randomness, writes_zero: self.plan.writes_threshold_zero }
    }

    fn take_late_dropped(&mut self, position: u32, unit: Unit, host: &mut impl Host) {
        self.dropped.touch(position);
        self.ledger.traces.late_dropped_spans += 1;
        self.ledger.spans.drop_items(DropReason::LateNotSampled, 1);
        resolve(host, unit);
    }
}

/// What the span's tracestate says, if anything.
#[inline]
fn head_of<'a>(batch: &'a SpanBatch, record: &SpanRecord) -> Option<&'a SpanHead> {
    batch.heads.get((record.head as usize).checked_sub(1)?)
}

/// Tells the log of a dropped span, if it is in the log.
#[inline]
fn resolve(host: &mut impl Host, unit: Unit) {
    if !unit.is_none() {
        host.resolve(unit);
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

/// Whole ticks in a wait; a wait that is not zero has at least one.
fn ticks(wait: Nanos) -> u32 {
    tick_of(wait)
}
