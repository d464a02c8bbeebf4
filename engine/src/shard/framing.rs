//! How much a trace weighs: its spans and what is around them, as limits in bytes and the largest trace count it.

use super::Shard;
use crate::vocabulary::{ScopeEnvelope, SpanBatch, SpanRecord};
use std::ops::Range;
use tailwater_proto::otlp::wire::field_length;

/// `ScopeSpans.spans`.
const SPANS: u32 = 2;
/// A message's tag and the length that most have.
const MESSAGE_HEAD_BYTES: usize = 3;
/// What is written at least of a resource or a scope, also when there is none.
const EMPTY_MESSAGE_BYTES: usize = 2;

/// Bytes of the message around an envelope, and the envelope.
fn framed(envelope: &Range<u32>) -> usize {
    MESSAGE_HEAD_BYTES + (envelope.len()).max(EMPTY_MESSAGE_BYTES)
}

/// A scope's number among all that this shard has taken; it is as good as unique over the life of a trace.
#[inline]
fn running_number(base: u16, scope: u32) -> u16 {
    base.wrapping_add(u16::try_from(scope & u32::from(u16::MAX)).unwrap_or(0))
}

impl Shard {
    /// Counts what is around a span to the bytes of its trace: a trace weighs what a request with nothing else would. The
    /// resource counts once for each `ResourceSpans` that holds some of the trace, its scopes likewise (as the Collector
    /// has it, which keeps each such piece as it came).
    #[inline]
    pub(super) fn count_framing(&mut self, entry: u32, batch: &SpanBatch, record: &SpanRecord) {
        let number = running_number(self.scope_base, record.scope);
        let trace = self.buffer.traces.get_mut(entry);
        let before = std::mem::replace(&mut trace.scope_number, number);
        let is_first = trace.seen.spans == 1;
        let mut bytes = field_length(SPANS, record.length as usize) - record.length as usize;
        if is_first || before != number {
            let scopes = &batch.envelopes.scopes;
            let ScopeEnvelope { resource, scope } = &scopes[record.scope as usize];
            let same = scopes.get(usize::from(before.wrapping_sub(self.scope_base)));
            bytes += framed(scope);
            if is_first || same.is_none_or(|same| same.resource != *resource) {
                bytes += framed(resource);
            }
        }
        trace.seen.bytes = trace.seen.bytes.saturating_add(u32::try_from(bytes).unwrap_or(u32::MAX));
    }

    /// The scopes of a batch have been taken: the next batch's numbers begin after them.
    pub(super) fn pass_scopes(&mut self, batch: &SpanBatch) {
        let count = u32::try_from(batch.envelopes.scopes.len()).unwrap_or(u32::MAX);
        self.scope_base = running_number(self.scope_base, count);
    }
}
