//! What of a scan belongs to one set of rules: the leaves of the resource and the span under way, and the spans staged with
//! theirs. A walk over a request asks one evaluator for each pipeline.

use super::Scanned;
use crate::route::Route;
use crate::rules::attribute::Memory;
use crate::rules::{Rules, Site};
use crate::vocabulary::{Envelopes, Nanos, Origin, ShardIndex, SpanBatch, SpanHead, SpanRecord};
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;
use tailwater_ottl::{Scope, Target};
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::refusal::Refusals;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault};
use tailwater_rollup::spans::Counted;

/// A list grown past this by one huge request is given back to the allocator.
const RECYCLED_SPANS_MAX: usize = 65_536;

/// An evaluator's memory, kept from request to request.
#[derive(Debug)]
pub(super) struct Scratch {
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
    fn clear(&mut self) {
        self.spans.clear();
        self.heads.clear();
        self.leaves_more.clear();
    }

    /// Adds what a tracestate says about sampling; returns its place plus one.
    #[cold]
    fn add_head(&mut self, head: &SpanHead) -> u32 {
        self.heads.push(*head);
        position(self.heads.len())
    }
}

impl Scratch {
    pub(super) fn new(route: &Route, rules: &Rules) -> Self {
        Self {
            staged: (0..route.shards()).map(|_| Staged::default()).collect(),
            resource_leaves: vec![0; rules.leaf_words()],
            span_leaves: vec![0; rules.leaf_words()],
            resource_memory: rules.attributes().memory(),
            span_memory: rules.attributes().memory(),
        }
    }

    pub(super) fn recycle(&mut self, shard: ShardIndex, batch: SpanBatch) {
        let Some(staged) = self.staged.get_mut(usize::from(shard.0)) else { return };
        let SpanBatch { spans, heads, leaves_more, .. } = batch;
        if spans.capacity() <= RECYCLED_SPANS_MAX {
            *staged = Staged { spans, heads, leaves_more };
            staged.clear();
        }
    }
}

/// What is around the span under way, for conditions that look at it.
#[derive(Debug)]
pub(super) struct Around<'a> {
    pub(super) request: &'a Bytes,
    pub(super) envelopes: Envelopes,
    /// Where the resource lies among them.
    pub(super) resource: Range<u32>,
    /// The scope, where a condition looks at it.
    pub(super) scope: Scope<'a>,
}

/// What a walk comes to, whatever the rules; the spans are staged with the evaluators.
#[derive(Debug, Clone)]
pub(super) struct Walked {
    /// The request, or what was mended of it.
    pub(super) body: Bytes,
    pub(super) envelopes: Arc<Envelopes>,
    pub(super) accepted: u32,
    pub(super) refused: u32,
    pub(super) refusals: Refusals,
    pub(super) fault: Option<(String, SpanFault)>,
    pub(super) repaired: u32,
    /// What is to be counted.
    pub(super) counted: Counted,
}

/// A position in a request; requests over 4 GiB are refused before the walk.
#[inline]
pub(super) fn position(offset: usize) -> u32 {
    u32::try_from(offset).unwrap_or(u32::MAX)
}

/// One set of rules during a walk.
#[derive(Debug)]
pub(super) struct Evaluator<'a> {
    pub(super) rules: &'a Rules,
    scratch: &'a mut Scratch,
    condition_failures: u32,
}

impl<'a> Evaluator<'a> {
    pub(super) fn new(rules: &'a Rules, scratch: &'a mut Scratch) -> Self {
        Self { rules, scratch, condition_failures: 0 }
    }

    pub(super) fn resource_begin(&mut self) {
        self.scratch.resource_leaves.fill(0);
        self.scratch.resource_memory.clear();
    }

    pub(super) fn resource_attribute(&mut self, attribute: &KeyValue<'_>) {
        let scratch = &mut *self.scratch;
        let (memory, leaves) = (&mut scratch.resource_memory, &mut scratch.resource_leaves);
        self.rules.attributes().visit(attribute, Site::Resource, memory, leaves);
    }

    #[inline(always)]
    pub(super) fn span_begin(&mut self) {
        // Nearly always one word; a loop would cost more than the copy.
        match (&mut self.scratch.span_leaves[..], &self.scratch.resource_leaves[..]) {
            ([span], [resource]) => *span = *resource,
            (span, resource) => span.copy_from_slice(resource),
        }
        self.scratch.span_memory.clear();
    }

    #[inline(always)]
    pub(super) fn span_attribute(&mut self, attribute: &KeyValue<'_>) {
        let scratch = &mut *self.scratch;
        let (memory, leaves) = (&mut scratch.span_memory, &mut scratch.span_leaves);
        self.rules.attributes().visit(attribute, Site::Span, memory, leaves);
    }

    /// Evaluates on a sound span what is asked of it as a whole.
    #[inline(always)]
    pub(super) fn evaluate(&mut self, route: &Route, facts: &SpanFacts<'_>, around: &Around<'_>) {
        if !self.rules.ottl().is_empty() {
            // A copy, so that the facts of others need not be in memory at all.
            let facts = *facts;
            self.evaluate_conditions(&facts, around);
        }
        if self.rules.key_count() > 0 {
            self.note_keys(route, around.request);
        }
        if self.rules.reads_context() {
            self.rules.visit_context(facts.flags, facts.trace_state, &mut self.scratch.span_leaves);
        }
    }

    fn evaluate_conditions(&mut self, facts: &SpanFacts<'_>, around: &Around<'_>) {
        let scratch = &mut *self.scratch;
        let target = Target {
            request: around.request,
            facts: Some(facts),
            resource: around.envelopes.slice(&around.resource),
            scope: around.scope,
            span_notes: scratch.span_memory.notes(),
            resource_notes: scratch.resource_memory.notes(),
            ..Target::none()
        };
        self.condition_failures += self.rules.ottl().evaluate(&target, facts.has_events, &mut scratch.span_leaves);
    }

    /// Puts the span's keys into their words: a hash of the values of their attributes, the span's own before its
    /// resource's.
    #[cold]
    fn note_keys(&mut self, route: &Route, request: &[u8]) {
        let scratch = &mut *self.scratch;
        for (word, numbers) in scratch.span_leaves[1..].iter_mut().zip(self.rules.keys()) {
            let notes = numbers.iter().map(|number| {
                let note = scratch.span_memory.note(*number).or_else(|| scratch.resource_memory.note(*number));
                note.map(|note| note.noted(request))
            });
            *word = route.key(notes);
        }
    }

    /// Stages the span for its shard, with its leaves and what its tracestate says about sampling.
    #[inline(always)]
    pub(super) fn stage(
        &mut self,
        shard: ShardIndex,
        head: Option<&SpanHead>,
        record: impl FnOnce(u64, u32) -> SpanRecord,
    ) {
        let scratch = &mut *self.scratch;
        let staged = &mut scratch.staged[usize::from(shard.0)];
        let head = head.map_or(0, |head| staged.add_head(head));
        staged.spans.push(record(scratch.span_leaves[0], head));
        if scratch.span_leaves.len() > 1 {
            staged.leaves_more.extend_from_slice(&scratch.span_leaves[1..]);
        }
    }

    /// Takes the staged spans of the last scope, which has that number, out again; returns how many.
    #[cold]
    pub(super) fn unstage(&mut self, scope: u32) -> usize {
        let words = self.scratch.span_leaves.len() - 1;
        let mut unstaged = 0;
        for staged in &mut self.scratch.staged {
            let others = staged.spans.iter().rposition(|span| span.scope != scope).map_or(0, |last| last + 1);
            unstaged += staged.spans.len() - others;
            staged.spans.truncate(others);
            staged.leaves_more.truncate(others * words);
        }
        unstaged
    }

    /// Takes all staged spans out again.
    pub(super) fn discard(&mut self) {
        self.scratch.staged.iter_mut().for_each(Staged::clear);
        self.condition_failures = 0;
    }

    /// What the walk has come to under these rules.
    pub(super) fn finish(self, walked: Walked) -> Scanned {
        let Walked { body, envelopes, accepted, refused, refusals, fault, repaired, counted } = walked;
        let generation = self.rules.generation();
        let staged = (0u16..).zip(&mut self.scratch.staged).filter(|(_, staged)| !staged.spans.is_empty());
        let batches = staged.map(|(shard, staged)| {
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
        let (batches, condition_failures) = (batches.collect(), self.condition_failures);
        Scanned { batches, passing: None, accepted, refused, refusals, fault, repaired, condition_failures, counted }
    }
}
