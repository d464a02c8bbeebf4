//! All that spans of one trace say, in a piece of its own: gathered span by span where they lie, and merged with what was
//! gathered of the same trace elsewhere. Which spans those are is the caller's affair: sizes add up, so that a piece is merged
//! once.

use super::{Part, Row, Size, Summary, TraceHead};
use crate::rules::{Evidence, Rules};
use crate::vocabulary::{SpanHead, SpanRecord, TraceId};

/// What is known of some spans of a trace.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Gathered {
    /// What they say.
    pub seen: Summary,
    /// How many they are.
    pub size: Size,
    /// Their leaves past the first 64.
    pub more: Box<[u64]>,
    /// What their tracestates say, if anything.
    pub head: Option<Box<TraceHead>>,
}

impl Gathered {
    /// Of no spans.
    #[must_use]
    pub fn new(rules: &Rules) -> Self {
        let more = vec![0; rules.leaf_words() - 1].into();
        Self { seen: Summary::default(), size: Size::default(), more, head: None }
    }

    /// Merges a span with its leaves past the first 64 and what its tracestate says.
    pub fn absorb(&mut self, rules: &Rules, record: &SpanRecord, record_more: &[u64], said: Option<&SpanHead>) {
        let Self { seen, size, more, head } = self;
        if head.is_some() || said.is_some() {
            let before = Part { seen, size: *size, more };
            head.get_or_insert_default().absorb(rules, (record, record_more, said), before, true);
        }
        size.count(record);
        seen.absorb(rules, record, more, record_more);
    }

    /// Merges what was gathered of other spans of the trace under the same rules. In whatever order pieces are merged, and
    /// however spans are spread over them, it comes to what all spans in one place come to, but for what `Summary::merge`
    /// says. `settle` follows when all are merged.
    pub fn merge(&mut self, rules: &Rules, other: &Self) {
        let Self { seen, size, more, head } = self;
        if head.is_some() || other.head.is_some() {
            let silent = TraceHead::default();
            let (own, theirs) = (Part { seen, size: *size, more }, other.head.as_deref().unwrap_or(&silent));
            head.get_or_insert_default().merge(rules, own, theirs, other.part());
        }
        seen.merge(rules, more, &other.seen, &other.more);
        size.add(other.size);
    }

    /// Sets what is not of any one span, before the trace is judged: its keys, and the leaves on its duration.
    pub fn settle(&mut self, rules: &Rules, trace_id: &TraceId) {
        if let Some(head) = &self.head {
            head.give_keys(rules, trace_id, &mut self.more);
        }
        self.seen.set_latencies(rules, &mut self.more);
    }

    /// What a verdict looks at.
    #[must_use]
    pub fn evidence<'a>(&'a self, trace_id: &'a TraceId) -> Evidence<'a> {
        let level = self.head.as_deref().and_then(|head| head.lowest(trace_id));
        Evidence { trace_id, seen: &self.seen, size: self.size, more: &self.more, level }
    }

    /// The rows of a trace whose spans came with several thresholds, see `TraceHead::rows`.
    #[must_use]
    pub fn rows(&self, rules: &Rules, trace_id: &TraceId) -> Vec<Row> {
        self.head.as_deref().map(|head| head.rows(rules, trace_id)).unwrap_or_default()
    }

    fn part(&self) -> Part<'_> {
        Part { seen: &self.seen, size: self.size, more: &self.more }
    }
}

#[cfg(test)]
mod tests;
