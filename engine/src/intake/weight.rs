//! What a trace request takes in memory once it is scanned, besides its body. Known before it is scanned, so that there is
//! room for it.

use crate::vocabulary::{ScopeEnvelope, SpanHead, SpanRecord};
use tailwater_proto::otlp::weigh;

/// Lists grow by doubling.
const GROWTH: usize = 2;

/// Most bytes that scanning `body` takes for so many words of leaves, of each set of rules.
#[must_use]
pub fn scanned_bytes(body: &[u8], leaf_words: impl Iterator<Item = usize>) -> usize {
    let weigh::Weight { spans, scopes, envelope_bytes } = weigh::traces(body);
    let around = scopes.saturating_mul(size_of::<ScopeEnvelope>()).saturating_add(envelope_bytes);
    let each = leaf_words.map(|words| {
        let leaves = words.saturating_sub(1).saturating_mul(size_of::<u64>());
        let span = size_of::<SpanRecord>() + size_of::<SpanHead>() + leaves;
        // One walk has the envelopes once for all; who scans by itself has them too.
        spans.saturating_mul(span).saturating_add(around).saturating_mul(GROWTH)
    });
    each.fold(0, usize::saturating_add)
}
