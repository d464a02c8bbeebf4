//! What a trace request takes in memory once it is scanned, besides its body. Known before it is scanned, so that there is
//! room for it.

use crate::vocabulary::{ScopeEnvelope, SpanHead, SpanRecord};
use tailwater_proto::otlp::weigh;

/// Lists grow by doubling.
const GROWTH: usize = 2;

/// Most bytes that scanning `body` for rules of so many leaf words takes.
#[must_use]
pub fn scanned_bytes(body: &[u8], leaf_words: usize) -> usize {
    let weigh::Weight { spans, scopes, envelope_bytes } = weigh::traces(body);
    let leaves = leaf_words.saturating_sub(1).saturating_mul(size_of::<u64>());
    let span = size_of::<SpanRecord>() + size_of::<SpanHead>() + leaves;
    let around = scopes.saturating_mul(size_of::<ScopeEnvelope>()).saturating_add(envelope_bytes);
    spans.saturating_mul(span).saturating_add(around).saturating_mul(GROWTH)
}
