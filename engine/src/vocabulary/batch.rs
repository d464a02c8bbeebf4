//! The spans of a request on their way from the core that scanned it to the shards that own their traces.

use super::ids::{StatusMask, TraceId};
use super::log::Origin;
use super::time::Nanos;
use bytes::Bytes;
use std::ops::Range;
use std::sync::Arc;

/// One span on its way from the core that received it to the shard that owns its trace. Its bytes stay in the
/// request's body.
#[derive(Debug, Clone, Copy)]
pub struct SpanRecord {
    /// The trace it belongs to.
    pub trace_id: TraceId,
    /// Keyed hash of the whole trace id, computed once.
    pub hash: u64,
    /// Start, nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// The first 64 policy leaves that hold for this span or its resource.
    pub leaves: u64,
    /// Where the `Span` message starts in the body.
    pub offset: u32,
    /// Bytes of the `Span` message.
    pub length: u32,
    /// Its scope in the batch's `Envelopes`.
    pub scope: u32,
    /// Its place among all spans of the request, refused ones included: what its unit in the log follows from.
    pub position: u32,
    /// What its tracestate says, in the batch's `heads`: its place there plus one; 0 when it says nothing.
    pub head: u32,
    /// Its status as one bit.
    pub status: StatusMask,
    /// True when it has no parent.
    pub is_root: bool,
    /// True when its sender says that the trace id is random (W3C Level 2).
    pub is_random: bool,
}

/// What a span's tracestate says about how it was sampled before it came (OTEP 235).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SpanHead {
    /// Its `th`.
    pub threshold: Option<u64>,
    /// Its `rv`.
    pub randomness: Option<u64>,
}

/// The resources and scopes of one request, as raw wire bytes.
#[derive(Debug, Default, Clone)]
pub struct Envelopes {
    /// The pieces, one after another.
    pub bytes: Vec<u8>,
    /// One entry a scope.
    pub scopes: Vec<ScopeEnvelope>,
}

impl Envelopes {
    /// The bytes in `range`; empty when the range is not of these envelopes.
    #[must_use]
    pub fn slice(&self, range: &Range<u32>) -> &[u8] {
        self.bytes.get(range.start as usize..range.end as usize).unwrap_or_default()
    }
}

/// One scope of a request and the resource around it: ranges of `Envelopes::bytes`.
#[derive(Debug, Clone)]
pub struct ScopeEnvelope {
    /// Every field of the `ResourceSpans` but its scope spans.
    pub resource: Range<u32>,
    /// Every field of the `ScopeSpans` but its spans.
    pub scope: Range<u32>,
}

/// The spans of one request that belong to one shard. Sent between cores as it is: the body is shared by
/// reference count and copied once, by the owner, into its arena.
#[derive(Debug, Clone)]
pub struct SpanBatch {
    /// The request, inflated.
    pub body: Bytes,
    /// Its resources and scopes.
    pub envelopes: Arc<Envelopes>,
    /// The spans, in the request's order.
    pub spans: Vec<SpanRecord>,
    /// What the tracestates of those spans say that have an `ot` member.
    pub heads: Vec<SpanHead>,
    /// Leaves past the first 64: `rules.leaf_words() - 1` words a span.
    pub leaves_more: Vec<u64>,
    /// The generation of the rules that the leaves were evaluated under.
    pub generation: u32,
    /// Where the request lies in the log.
    pub origin: Origin,
    /// When the request came: a trace's wait counts from the arrival of its first span, however late its owner gets it.
    pub arrived: Nanos,
    /// Whether what is kept of it is to be read from the log again, for the exporters that are not done with it: only the
    /// core that owns the log knows them.
    pub stays_in_log: bool,
}

impl SpanBatch {
    /// What the tracestate of one of its spans says, if anything.
    #[inline]
    #[must_use]
    pub fn head_of(&self, record: &SpanRecord) -> Option<&SpanHead> {
        self.heads.get((record.head as usize).checked_sub(1)?)
    }
}
