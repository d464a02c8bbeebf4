//! The first stage. A request of metrics or logs passes the shards by, of sound items only. A trace request's bytes become
//! span records, sorted by the shard that owns their trace. The
//! policy leaves on attributes are evaluated here, while the bytes are hot. A bad span costs only itself, a bad resource or
//! scope the spans under it; nothing is accepted of a request that is cut short.

mod passing;
pub mod weight;

pub use passing::Passing;

use crate::route::Route;
use crate::rules::attribute::Memory;
use crate::rules::{Rules, Site, status_bit};
use crate::vocabulary::{
    Envelopes, Nanos, Origin, ScopeEnvelope, ShardIndex, SpanBatch, SpanHead, SpanRecord, TraceId,
};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tailwater_ottl::{Scope, Target};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::{Fault, KeyValue};
use tailwater_proto::otlp::mend::mended;
use tailwater_proto::otlp::refusal::{Cause, Refusals};
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};
use tailwater_proto::tracestate::{self, SamplingState};
use thiserror::Error;

/// Why a request is refused whole. Nothing of it was accepted; sending it again won't help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// It is no OTLP.
    #[error("the request is not a valid OTLP message: {0}")]
    Malformed(#[from] Fault),
    /// It has more bytes than positions in it can count.
    #[error("the request is larger than 4 GiB")]
    TooLarge,
}

/// A request, scanned.
#[derive(Debug)]
pub struct Scanned {
    /// The spans by shard; shards without any are left out.
    pub batches: Vec<(ShardIndex, SpanBatch)>,
    /// Of metrics and logs: what passes the shards by.
    pub passing: Option<Passing>,
    /// Spans in `batches`, or items that pass.
    pub accepted: u32,
    /// Spans with a fault of their own. They have their places among the units.
    pub refused: u32,
    /// All items that were refused, those under a resource or scope with a fault included.
    pub refusals: Refusals,
    /// The first fault, for the answer to the sender, and where it is.
    pub fault: Option<(String, SpanFault)>,
    /// Texts that were not UTF-8 and were repaired.
    pub repaired: u32,
    /// Conditions that failed on a span and whose policy passes over errors and counts them.
    pub condition_failures: u32,
}

impl Scanned {
    /// Units that the request takes in the log: one for each span, refused ones included, so that the count does not
    /// depend on the limits in force; one for each sound metric point or log record, or one for all.
    #[must_use]
    pub fn units(&self) -> u32 {
        let passing = self.passing.as_ref().map(|passing| u32::try_from(passing.units.len()).unwrap_or(u32::MAX));
        passing.unwrap_or(self.accepted + self.refused)
    }

    /// Spans in `batches`.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.spans.len()).sum()
    }

    /// Positions in the request of the spans in `batches`.
    pub fn positions(&self) -> impl Iterator<Item = u32> {
        self.batches.iter().flat_map(|(_, batch)| &batch.spans).map(|record| record.position)
    }

    /// Positions in the request of the spans that are not in `batches`.
    #[must_use]
    pub fn missing_positions(&self) -> Vec<u32> {
        let mut is_there = vec![false; self.units() as usize];
        for position in self.positions() {
            is_there[position as usize] = true;
        }
        (0..self.units()).filter(|position| !is_there[*position as usize]).collect()
    }

    /// Keeps only the spans at whose position `is_wanted`.
    pub fn retain(&mut self, is_wanted: impl Fn(u32) -> bool) {
        for (_, SpanBatch { spans, leaves_more, .. }) in &mut self.batches {
            let words = if spans.is_empty() { 0 } else { leaves_more.len() / spans.len() };
            let mut kept = 0;
            for at in 0..spans.len() {
                if is_wanted(spans[at].position) {
                    spans[kept] = spans[at];
                    leaves_more.copy_within(at * words..(at + 1) * words, kept * words);
                    kept += 1;
                }
            }
            spans.truncate(kept);
            leaves_more.truncate(kept * words);
        }
        self.batches.retain(|(_, batch)| !batch.spans.is_empty());
    }

    /// Says where the request lies in the log and when it came.
    pub fn place(&mut self, origin: Origin, arrived: Nanos) {
        for (_, batch) in &mut self.batches {
            (batch.origin, batch.arrived) = (origin, arrived);
        }
    }
}

/// The stage's scratch, kept from request to request.
#[derive(Debug)]
pub struct Intake {
    route: Route,
    span_bytes_max: u32,
    /// One list of spans a shard, emptied into the batches.
    staged: Vec<Staged>,
    resource_leaves: Vec<u64>,
    span_leaves: Vec<u64>,
    resource_memory: Memory,
    span_memory: Memory,
}

#[derive(Debug, Default)]
struct Staged {
    spans: Vec<SpanRecord>,
    heads: Vec<SpanHead>,
    leaves_more: Vec<u64>,
}

impl Staged {
    /// Notes what a tracestate says about sampling; returns its place plus one, or 0 when it says nothing.
    #[cold]
    fn note_head(&mut self, trace_state: &[u8]) -> u32 {
        let Ok(SamplingState { threshold, randomness, is_faulty }) = tracestate::read(trace_state) else { return 0 };
        if threshold.is_none() && randomness.is_none() && !is_faulty {
            return 0;
        }
        self.heads.push(SpanHead { threshold, randomness });
        position(self.heads.len())
    }
}

/// The flag of a trace id that is random, among a span's `flags` (W3C Level 2).
const RANDOM_FLAG: u32 = 2;

impl Intake {
    /// A stage for `rules` that routes by `route` and refuses spans of more than `span_bytes_max` bytes.
    #[must_use]
    pub fn new(route: Route, span_bytes_max: u32, rules: &Rules) -> Self {
        let staged = (0..route.shards()).map(|_| Staged::default()).collect();
        Self {
            route,
            span_bytes_max,
            staged,
            resource_leaves: vec![0; rules.leaf_words()],
            span_leaves: vec![0; rules.leaf_words()],
            resource_memory: rules.attributes().memory(),
            span_memory: rules.attributes().memory(),
        }
    }

    /// Where traces belong.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.route
    }

    /// The hash by which a trace is routed and found.
    #[must_use]
    pub fn hash(&self, trace_id: &TraceId) -> u64 {
        self.route.hash(trace_id)
    }

    /// Scans a request of any signal.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan_request(&mut self, signal: Signal, body: &Bytes, rules: &Rules) -> Result<Scanned, IntakeError> {
        match signal {
            Signal::Traces => self.scan(body, rules),
            Signal::Metrics | Signal::Logs => passing::scan(signal, body),
        }
    }

    /// Scans an `ExportTraceServiceRequest`. Where a resource or scope has a fault, or a text is not UTF-8, what is mended
    /// of the request is scanned. What comes out follows from the request and the limits alone, whenever it is scanned.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan(&mut self, body: &Bytes, rules: &Rules) -> Result<Scanned, IntakeError> {
        match self.scan_once(body, rules)? {
            Outcome::Scanned(scanned) => Ok(scanned),
            Outcome::NeedsMending => self.scan_mended(body, rules),
        }
    }

    #[cold]
    fn scan_mended(&mut self, body: &Bytes, rules: &Rules) -> Result<Scanned, IntakeError> {
        let mended = mended(Signal::Traces, body)?;
        let body = mended.body.map_or_else(|| body.clone(), Bytes::from);
        let Outcome::Scanned(mut scanned) = self.scan_once(&body, rules)? else {
            return Err(IntakeError::Malformed(mended.fault.unwrap_or(Fault::Utf8)));
        };
        scanned.refusals.merge(&mended.refused);
        scanned.fault = mended.fault.map(|fault| (mended.place, SpanFault::Part(fault))).or(scanned.fault);
        scanned.repaired = mended.repaired;
        Ok(scanned)
    }

    fn scan_once(&mut self, body: &Bytes, rules: &Rules) -> Result<Outcome, IntakeError> {
        if u32::try_from(body.len()).is_err() {
            return Err(IntakeError::TooLarge);
        }
        let span_bytes_max = self.span_bytes_max;
        let mut walk = Walk {
            intake: self,
            rules,
            body,
            envelopes: Envelopes::default(),
            resource: 0..0,
            resource_bytes: 0,
            scope: Scope::default(),
            condition_failures: 0,
            accepted: 0,
            refused: 0,
            refusals: Refusals::default(),
            fault: None,
            has_broken_text: false,
        };
        let outcome = traces(body, span_bytes_max, &mut walk);
        let Walk { envelopes, accepted, refused, refusals, fault, condition_failures, has_broken_text, .. } = walk;
        if outcome.is_err() || has_broken_text {
            for staged in &mut self.staged {
                staged.spans.clear();
                staged.heads.clear();
                staged.leaves_more.clear();
            }
            return Ok(Outcome::NeedsMending);
        }
        let envelopes = Arc::new(envelopes);
        let generation = rules.generation();
        let batches = (0u16..).zip(&mut self.staged).filter(|(_, staged)| !staged.spans.is_empty());
        let batches = batches.map(|(shard, staged)| {
            let Staged { spans, heads, leaves_more } = std::mem::take(staged);
            let (body, envelopes) = (body.clone(), envelopes.clone());
            let batch = SpanBatch {
                body,
                envelopes,
                spans,
                heads,
                leaves_more,
                generation,
                origin: Origin::NONE,
                arrived: Nanos::default(),
                stays_in_log: false,
            };
            (ShardIndex(shard), batch)
        });
        let batches = batches.collect();
        let scanned =
            Scanned { batches, passing: None, accepted, refused, refusals, fault, repaired: 0, condition_failures };
        Ok(Outcome::Scanned(scanned))
    }

    /// Takes back a batch's lists, so that the next request needs no allocation for that shard.
    pub fn recycle(&mut self, shard: ShardIndex, batch: SpanBatch) {
        if let Some(staged) = self.staged.get_mut(usize::from(shard.0)) {
            let SpanBatch { mut spans, mut heads, mut leaves_more, .. } = batch;
            spans.clear();
            heads.clear();
            leaves_more.clear();
            if spans.capacity() <= RECYCLED_SPANS_MAX {
                *staged = Staged { spans, heads, leaves_more };
            }
        }
    }
}

/// What one walk over a request comes to.
enum Outcome {
    Scanned(Scanned),
    /// Something above its spans has a fault, or a text is not UTF-8: nothing was taken.
    NeedsMending,
}

/// A list grown past this by one huge request is given back to the allocator.
const RECYCLED_SPANS_MAX: usize = 65_536;

/// One request's walk.
struct Walk<'a> {
    intake: &'a mut Intake,
    rules: &'a Rules,
    body: &'a Bytes,
    envelopes: Envelopes,
    resource: Range<u32>,
    resource_bytes: usize,
    /// The scope under way, where a condition looks at it.
    scope: Scope<'a>,
    condition_failures: u32,
    accepted: u32,
    refused: u32,
    refusals: Refusals,
    fault: Option<(String, SpanFault)>,
    has_broken_text: bool,
}

impl Walk<'_> {
    fn keep_bytes(&mut self, bytes: &[u8]) -> Range<u32> {
        let start = position(self.envelopes.bytes.len());
        self.envelopes.bytes.extend_from_slice(bytes);
        start..position(self.envelopes.bytes.len())
    }

    /// Whether the resource under way and a scope in it of so many bytes are more than a span may be: each span leaves
    /// with both, and a request must have room for the three.
    fn is_too_large(&self, scope: usize) -> bool {
        self.resource_bytes + scope > self.intake.span_bytes_max as usize
    }

    /// Takes the spans of the scope that ends out again, and counts them as refused.
    #[cold]
    fn refuse_scope(&mut self) {
        let scope = position(self.envelopes.scopes.len()).saturating_sub(1);
        let words = self.intake.span_leaves.len() - 1;
        let refused_before = self.refused;
        for staged in &mut self.intake.staged {
            let others = staged.spans.iter().rposition(|span| span.scope != scope).map_or(0, |last| last + 1);
            let refused = position(staged.spans.len() - others);
            staged.spans.truncate(others);
            staged.leaves_more.truncate(others * words);
            self.accepted -= refused;
            self.refused += refused;
        }
        let refused = self.refused - refused_before;
        if refused > 0 {
            let fault = SpanFault::EnvelopeTooLarge(self.intake.span_bytes_max);
            self.refusals.add(Cause::from(&fault), refused);
            self.fault.get_or_insert_with(|| (format!("the scope numbered {scope} of the request"), fault));
        }
    }

    /// Puts the span's keys into their words: a hash of the values of their attributes, the span's own before its
    /// resource's.
    #[cold]
    fn note_keys(&mut self) {
        let intake = &mut *self.intake;
        for (word, numbers) in intake.span_leaves[1..].iter_mut().zip(self.rules.keys()) {
            let notes = numbers.iter().map(|number| {
                let note = intake.span_memory.note(*number).or_else(|| intake.resource_memory.note(*number));
                note.map(|note| note.noted(self.body))
            });
            *word = intake.route.key(notes);
        }
    }

    /// Evaluates the conditions on a sound span.
    fn evaluate_conditions(&mut self, facts: &SpanFacts<'_>) {
        let intake = &mut *self.intake;
        let target = Target {
            request: self.body,
            facts: Some(facts),
            resource: self.envelopes.slice(&self.resource),
            scope: self.scope,
            span_notes: intake.span_memory.notes(),
            resource_notes: intake.resource_memory.notes(),
            ..Target::none()
        };
        self.condition_failures += self.rules.ottl().evaluate(&target, facts.has_events, &mut intake.span_leaves);
    }
}

/// A position in a request; requests over 4 GiB are refused before the walk.
#[inline]
fn position(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

impl TraceVisitor for Walk<'_> {
    fn resource_begin(&mut self) {
        self.intake.resource_leaves.fill(0);
        self.intake.resource_memory.clear();
    }

    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        let intake = &mut *self.intake;
        let (memory, leaves) = (&mut intake.resource_memory, &mut intake.resource_leaves);
        self.rules.attributes().visit(&attribute, Site::Resource, memory, leaves);
    }

    fn resource(&mut self, envelope: &[u8]) {
        self.resource_bytes = envelope.len();
        self.resource = if self.is_too_large(0) { 0..0 } else { self.keep_bytes(envelope) };
    }

    fn scope_begin(&mut self) {
        // Its own range is known at its end.
        self.envelopes.scopes.push(ScopeEnvelope { resource: self.resource.clone(), scope: 0..0 });
    }

    fn scope_message(&mut self, start: usize, length: usize) {
        if self.rules.ottl().needs_scope() {
            self.scope = Scope::of(self.body.get(start..start + length).unwrap_or_default());
        }
    }

    fn scope_end(&mut self, envelope: &[u8]) {
        if self.is_too_large(envelope.len()) {
            return self.refuse_scope();
        }
        let range = self.keep_bytes(envelope);
        if let Some(scope) = self.envelopes.scopes.last_mut() {
            scope.scope = range;
        }
    }

    #[inline(always)]
    fn span_begin(&mut self) {
        // Nearly always one word; a loop would cost more than the copy.
        match (&mut self.intake.span_leaves[..], &self.intake.resource_leaves[..]) {
            ([span], [resource]) => *span = *resource,
            (span, resource) => span.copy_from_slice(resource),
        }
        self.intake.span_memory.clear();
    }

    #[inline(always)]
    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        let intake = &mut *self.intake;
        self.rules.attributes().visit(&attribute, Site::Span, &mut intake.span_memory, &mut intake.span_leaves);
    }

    #[inline(always)]
    fn span(&mut self, facts: &SpanFacts<'_>) {
        if !self.rules.ottl().is_empty() {
            // A copy, so that the facts of others need not be in memory at all.
            let facts = *facts;
            self.evaluate_conditions(&facts);
        }
        if self.rules.key_count() > 0 {
            self.note_keys();
        }
        let intake = &mut *self.intake;
        let hash = intake.route.hash(&facts.trace_id);
        let shard = intake.route.shard(hash);
        let staged = &mut intake.staged[usize::from(shard.0)];
        if self.rules.reads_context() {
            self.rules.visit_context(facts.flags, facts.trace_state, &mut intake.span_leaves);
        }
        let head = if facts.trace_state.is_empty() { 0 } else { staged.note_head(facts.trace_state) };
        staged.spans.push(SpanRecord {
            trace_id: facts.trace_id,
            hash,
            start_unix_nano: facts.start_unix_nano,
            end_unix_nano: facts.end_unix_nano,
            leaves: intake.span_leaves[0],
            offset: position(facts.offset),
            length: position(facts.bytes.len()),
            scope: position(self.envelopes.scopes.len()).saturating_sub(1),
            position: self.accepted + self.refused,
            head,
            status: status_bit(facts.status_code),
            is_root: facts.is_root,
            is_random: facts.flags & RANDOM_FLAG != 0,
        });
        if intake.span_leaves.len() > 1 {
            staged.leaves_more.extend_from_slice(&intake.span_leaves[1..]);
        }
        self.accepted += 1;
    }

    #[cold]
    fn span_refused(&mut self, fault: SpanFault) {
        let position = self.accepted + self.refused;
        self.refused += 1;
        self.refusals.add(Cause::from(&fault), 1);
        self.has_broken_text |= fault == SpanFault::Part(Fault::Utf8);
        self.fault.get_or_insert_with(|| (format!("span {position} of the request, from 0"), fault));
    }
}

#[cfg(test)]
mod tests;
