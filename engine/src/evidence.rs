//! What is known of a set of spans when it is judged: a summary of fixed size that spans are merged into, and in `head` the
//! summaries by threshold of traces whose spans were sampled differently before they came.
//!
//! A summary has what comes out the same however often it is told. How many spans there are adds up, and is apart: the books
//! go by what lies here, a verdict by all there is of the trace.

mod gathered;
mod head;
pub mod told;

pub use gathered::Gathered;
pub use head::{Row, TraceHead};

use crate::rules::{Rules, duration_ms};
use crate::vocabulary::{SpanRecord, StatusMask};

/// How large a set of spans is.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Size {
    /// How many they are.
    pub spans: u32,
    /// Bytes of their messages; of a whole trace with the framing around them where rules weigh traces, as `Shard` counts
    /// it. Saturates.
    pub bytes: u32,
}

impl Size {
    /// Counts a span.
    #[inline]
    pub fn count(&mut self, record: &SpanRecord) {
        self.spans += 1;
        self.bytes = self.bytes.saturating_add(record.length);
    }

    /// Adds another set of spans.
    pub fn add(&mut self, other: Self) {
        self.spans = self.spans.saturating_add(other.spans);
        self.bytes = self.bytes.saturating_add(other.bytes);
    }
}

/// What the spans of a set say, all of one trace.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Summary {
    /// Earliest start, as the reference computes it: a 0 gives way to any other.
    pub start_unix_nano: u64,
    /// Latest end, likewise.
    pub end_unix_nano: u64,
    /// The first 64 policy leaves that held for any of the spans.
    pub leaves: u64,
    /// Status codes seen.
    pub status: StatusMask,
    /// True once a span without a parent has come.
    pub root_seen: bool,
    /// True once a sender said that the trace id is random.
    pub is_random: bool,
}

impl Summary {
    /// From the first start to the last end; 0 when they are the wrong way round.
    #[must_use]
    pub fn duration_nanos(&self) -> u64 {
        self.end_unix_nano.saturating_sub(self.start_unix_nano)
    }

    /// Merges what other spans of the trace say. It comes out the same in any order, and however often they are told, and as
    /// if all of them had come here, with these exceptions, where `absorb` looks at the order:
    ///
    /// - of a condition that held for one set and failed for another it counts that it held;
    /// - keys are those of the set with the root, of several such the least; without a root those of the set that starts
    ///   first, and not of the span that came first;
    /// - a latency below an upper bound holds if it held for one of the sets or holds for all (`set_latencies`), and not for
    ///   each number of spans that the trace had on its way;
    /// - a start of 0 is none.
    pub fn merge(&mut self, rules: &Rules, more: &mut [u64], other: &Self, other_more: &[u64]) {
        self.merge_keys(rules, more, other, other_more);
        let ottl = rules.ottl();
        self.leaves = ottl.merge(0, self.leaves, other.leaves);
        for (word, (mine, theirs)) in more.iter_mut().zip(other_more).enumerate().skip(rules.key_count()) {
            *mine = ottl.merge(word + 1, *mine, *theirs);
        }
        self.status |= other.status;
        self.root_seen |= other.root_seen;
        self.is_random |= other.is_random;
        self.start_unix_nano = match (self.start_unix_nano, other.start_unix_nano) {
            (0, start) | (start, 0) => start,
            (mine, theirs) => mine.min(theirs),
        };
        self.end_unix_nano = self.end_unix_nano.max(other.end_unix_nano);
    }

    /// Puts the keys of the set that has the say into the place of its own, `more`.
    fn merge_keys(&self, rules: &Rules, more: &mut [u64], other: &Self, other_more: &[u64]) {
        // Of several sets with a root none starts the trace more than another.
        let rank = |seen: &Self| if seen.root_seen { None } else { Some(seen.start_unix_nano.wrapping_sub(1)) };
        let (own, others) = (rank(self), rank(other));
        for (mine, theirs) in more.iter_mut().zip(other_more).take(rules.key_count()) {
            // No key of a span is 0.
            if *theirs != 0 && (*mine == 0 || (others, *theirs) < (own, *mine)) {
                *mine = *theirs;
            }
        }
    }

    /// Sets or clears a leaf that is not of any one span.
    pub fn set_leaf(&mut self, more: &mut [u64], leaf: u16, holds: bool) {
        let bit = 1u64 << (leaf % 64);
        let word = match usize::from(leaf / 64) {
            0 => &mut self.leaves,
            word => &mut more[word - 1],
        };
        *word = if holds { *word | bit } else { *word & !bit };
    }

    /// Merges a span with its leaves; `more` are the leaves past the first 64 of the summary, `record_more`
    /// those of the span.
    #[inline]
    pub fn absorb(&mut self, rules: &Rules, record: &SpanRecord, more: &mut [u64], record_more: &[u64]) {
        self.leaves = rules.ottl().join(0, self.leaves, record.leaves);
        let keys = rules.key_count();
        if keys > 0 && (more[0] == 0 || (record.is_root && !self.root_seen)) {
            // A trace goes by its root; until that comes by its first span. No key of a span is 0.
            more[..keys].copy_from_slice(&record_more[..keys]);
        }
        self.status |= record.status;
        self.root_seen |= record.is_root;
        self.is_random |= record.is_random;
        let mut is_longer = false;
        if self.start_unix_nano == 0 || record.start_unix_nano < self.start_unix_nano {
            self.start_unix_nano = record.start_unix_nano;
            is_longer = true;
        }
        if self.end_unix_nano == 0 || record.end_unix_nano > self.end_unix_nano {
            self.end_unix_nano = record.end_unix_nano;
            is_longer = true;
        }
        if !more.is_empty() {
            for (word, (mine, theirs)) in more.iter_mut().zip(record_more).enumerate().skip(keys) {
                *mine = rules.ottl().join(word + 1, *mine, *theirs);
            }
        }
        // A prefix of the same duration as the one before it satisfies no other leaf.
        if is_longer {
            self.set_latencies(rules, more);
        }
    }

    /// Sets the leaves on the duration that it has now; to be called when all is merged, so that the order does not show.
    #[inline]
    pub fn set_latencies(&mut self, rules: &Rules, more: &mut [u64]) {
        for leaf in rules.latencies() {
            if leaf.holds(duration_ms(self.start_unix_nano, self.end_unix_nano)) {
                let bit = 1u64 << (leaf.leaf % 64);
                match usize::from(leaf.leaf / 64) {
                    0 => self.leaves |= bit,
                    word => more[word - 1] |= bit,
                }
            }
        }
    }
}

/// A set of spans of one trace.
#[derive(Debug, Clone, Copy)]
pub struct Part<'a> {
    /// What they say.
    pub seen: &'a Summary,
    /// How many they are.
    pub size: Size,
    /// Their leaves past the first 64.
    pub more: &'a [u64],
}
