//! How much a trace weighs: its spans and what is around them, as limits in bytes and the largest trace count it. Where
//! nothing asks for it, only the spans are counted.

use super::ShardPlan;
use crate::buffer::Buffer;
use crate::buffer::arena::Reference;
use crate::buffer::traces::Trace;
use crate::rules::Rules;
use crate::vocabulary::{ScopeEnvelope, SpanBatch, SpanRecord};
use tailwater_proto::otlp::wire::field_length;

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;
/// A message's tag and the length that most have.
const MESSAGE_HEAD_BYTES: usize = 3;
/// What is written at least of a resource or a scope, also when there is none.
const EMPTY_MESSAGE_BYTES: usize = 2;

/// Whether what is around spans is counted, and since when.
#[derive(Debug)]
pub(super) struct Framing {
    /// It is, of all spans that came since that generation of the rules came into force.
    since: Option<u32>,
    /// The number of the batch's first scope among all that were taken.
    scope_base: u16,
}

/// Bytes of the message around an envelope, and the envelope.
fn framed(envelope_bytes: usize) -> usize {
    MESSAGE_HEAD_BYTES + envelope_bytes.max(EMPTY_MESSAGE_BYTES)
}

/// Bytes of the tag and length before a span.
#[inline]
pub(super) fn around(span_bytes: usize) -> usize {
    field_length(SPANS, span_bytes) - span_bytes
}

/// A scope's number among all that this shard has taken; it is as good as unique over the life of a trace.
#[inline]
fn running_number(base: u16, scope: u32) -> u16 {
    base.wrapping_add(u16::try_from(scope & u32::from(u16::MAX)).unwrap_or(0))
}

impl Framing {
    /// What `plan` and `rules` need.
    pub(super) fn under(plan: &ShardPlan, rules: &Rules) -> Self {
        let mut framing = Self { since: None, scope_base: 0 };
        framing.change(plan, rules, false);
        framing
    }

    /// What `plan` and `rules` need from now on. `former` says whether former rules that still have traces weigh them.
    pub(super) fn change(&mut self, plan: &ShardPlan, rules: &Rules, former: bool) {
        let is_needed = plan.trace_bytes_max > 0 || rules.weighs_traces() || former;
        self.since = is_needed.then(|| self.since.unwrap_or(rules.generation()));
    }

    /// Whether it was not counted of spans that were gathered under that generation of the rules, and is now.
    pub(super) fn lacks(&self, generation: u32) -> bool {
        self.since.is_some_and(|since| generation < since)
    }

    /// Counts what is around a span to the bytes of its trace: a trace weighs what a request with nothing else would. The
    /// resource counts once for each `ResourceSpans` that holds some of the trace, its scopes likewise (as the Collector
    /// has it, which keeps each such piece as it came).
    #[inline]
    pub(super) fn count(&self, trace: &mut Trace, batch: &SpanBatch, record: &SpanRecord) {
        if self.since.is_none() {
            return;
        }
        let number = running_number(self.scope_base, record.scope);
        let before = std::mem::replace(&mut trace.scope_number, number);
        let is_first = trace.size.spans == 1;
        let mut bytes = around(record.length as usize);
        if is_first || before != number {
            let scopes = &batch.envelopes.scopes;
            let ScopeEnvelope { resource, scope } = &scopes[record.scope as usize];
            let same = scopes.get(usize::from(before.wrapping_sub(self.scope_base)));
            bytes += framed(scope.len());
            if is_first || same.is_none_or(|same| same.resource != *resource) {
                bytes += framed(resource.len());
            }
        }
        trace.size.bytes = trace.size.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// The scopes of a batch have been taken: the next batch's numbers begin after them.
    pub(super) fn pass_scopes(&mut self, batch: &SpanBatch) {
        let count = u32::try_from(batch.envelopes.scopes.len()).unwrap_or(u32::MAX);
        self.scope_base = running_number(self.scope_base, count);
    }
}

/// What is around the spans of a trace, as far as it can be told from how they are kept: for traces whose spans came
/// before it was counted.
pub(super) fn framing_of(buffer: &Buffer, fragments: &[Reference]) -> u32 {
    let mut bytes = 0;
    let mut before = None;
    for reference in fragments {
        let fragment = buffer.arena.fragment(*reference);
        let (resource, resource_envelope, scope_envelope) = buffer.envelopes.parts(fragment.scope);
        bytes += around(fragment.bytes.len());
        if before != Some((resource, fragment.scope)) {
            bytes += framed(scope_envelope.len());
            if before.is_none_or(|(same, _)| same != resource) {
                bytes += framed(resource_envelope.len());
            }
            before = Some((resource, fragment.scope));
        }
    }
    u32::try_from(bytes).unwrap_or(u32::MAX)
}
