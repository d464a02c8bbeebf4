//! What is known of a set of spans when it is judged: a summary of fixed size that spans are merged into, and the
//! summaries by threshold of traces whose spans were sampled differently before they came.
//!
//! A summary has what comes out the same however often it is told. How many spans there are adds up, and is apart: the books
//! go by what lies here, a verdict by all there is of the trace.
//!
//! A policy such as "a span has an error" can only be satisfied by spans that arrived. Where the spans of a trace came
//! with different thresholds, the trace would have looked different at another randomness: at randomness R only the
//! spans with a threshold up to R would be there. So such a trace has one *row* for each threshold among its spans, the
//! summary of the spans with at most that threshold; the highest row is the whole trace.

use crate::rules::{Rules, duration_ms};
use crate::vocabulary::{SpanHead, SpanRecord, StatusMask};

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

    /// Sets or clears a leaf that is not of any one span: `holds` says for a summary, with its words past the first,
    /// whether it does.
    pub fn set_leaf(&mut self, more: &mut [u64], leaf: u16, holds: impl Fn(&Self, &[u64]) -> bool) {
        let bit = 1u64 << (leaf % 64);
        let holds = holds(self, more);
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

    #[inline]
    fn set_latencies(&mut self, rules: &Rules, more: &mut [u64]) {
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

/// The spans of a trace with at most one threshold.
#[derive(Debug, Clone)]
pub struct Row {
    /// The threshold.
    pub level: u64,
    /// What they say.
    pub seen: Summary,
    /// How many they are.
    pub size: Size,
    /// Their leaves past the first 64.
    pub more: Box<[u64]>,
}

impl Row {
    fn empty(level: u64, words_more: usize) -> Self {
        Self { level, seen: Summary::default(), size: Size::default(), more: vec![0; words_more].into() }
    }

    fn give_keys(&self, rules: &Rules, more: &mut [u64]) {
        for (theirs, own) in more.iter_mut().zip(&self.more).take(rules.key_count()) {
            *theirs = *own;
        }
    }
}

/// What the tracestates of a trace's spans say.
#[derive(Debug, Clone, Default)]
pub struct TraceHead {
    /// The first `rv` that came.
    pub randomness: Option<u64>,
    /// The one threshold of all spans so far; meaningless where there are rows.
    level: u64,
    /// True once a span came with a threshold.
    has_threshold: bool,
    /// Lowest level first; empty while all spans have the same.
    rows: Vec<Row>,
}

/// Rows of a trace. Senders have a handful of rates; a trace that meets more has the rest counted to their neighbours.
const ROWS_MAX: usize = 8;

impl TraceHead {
    /// Bytes of its rows.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        let more = self.rows.first().map_or(0, |row| size_of_val(&*row.more));
        self.rows.capacity() * size_of::<Row>() + self.rows.len() * more
    }

    /// The rows of a trace whose spans have several thresholds, lowest first; empty when they have one.
    #[must_use]
    pub fn rows(&self) -> &[Row] {
        &self.rows
    }

    /// The lowest threshold among its spans, 0 for those that came with none; `None` when none of them has any.
    #[must_use]
    pub fn lowest(&self) -> Option<u64> {
        self.has_threshold.then(|| self.rows.first().map_or(self.level, |row| row.level))
    }

    /// Its rows, to be changed.
    pub fn rows_mut(&mut self) -> &mut [Row] {
        &mut self.rows
    }

    /// The head of a trace with spans that said nothing, if any.
    #[must_use]
    pub fn new(first: Option<&SpanHead>) -> Self {
        Self { randomness: None, level: first.map_or(0, |head| head.threshold.unwrap_or(0)), ..Self::default() }
    }

    /// Merges a span before the trace's own summary takes it in. `before` is the trace without it, `randomness` the one of
    /// its id. Without `has_room` no row is added. False when its threshold had to be counted as
    /// another.
    pub fn absorb(
        &mut self,
        rules: &Rules,
        span: (&SpanRecord, &[u64], Option<&SpanHead>),
        before: Part<'_>,
        (randomness, has_room): (u64, bool),
    ) -> bool {
        let (record, record_more, head) = span;
        self.randomness = self.randomness.or(head.and_then(|head| head.randomness));
        // A span that could not have come with its threshold has none.
        let own = self.randomness.unwrap_or(randomness);
        let level = head.and_then(|head| head.threshold).filter(|threshold| *threshold <= own);
        self.has_threshold |= level.is_some();
        let level = level.unwrap_or(0);
        if self.rows.is_empty() {
            if before.size.spans == 0 || level == self.level {
                self.level = level;
                return true;
            }
            if !has_room {
                return false;
            }
            self.rows.push(Row { level: self.level, seen: *before.seen, size: before.size, more: before.more.into() });
        }
        let at = self.rows.partition_point(|row| row.level < level);
        let is_known = self.rows.get(at).is_some_and(|row| row.level == level);
        let is_counted_elsewhere = !is_known && (!has_room || self.rows.len() >= ROWS_MAX);
        let mut first = at;
        if is_counted_elsewhere {
            first = at.min(self.rows.len() - 1);
        } else if !is_known {
            let below = at.checked_sub(1).and_then(|below| self.rows.get(below));
            let row =
                below.map_or_else(|| Row::empty(level, before.more.len()), |below| Row { level, ..below.clone() });
            self.rows.insert(at, row);
        }
        for row in &mut self.rows[first..] {
            row.size.count(record);
            row.seen.absorb(rules, record, &mut row.more, record_more);
        }
        if let Some((lowest, others)) = self.rows.split_first_mut() {
            others.iter_mut().for_each(|row| lowest.give_keys(rules, &mut row.more));
        }
        !is_counted_elsewhere
    }

    /// Puts the keys that a trace of several thresholds goes by in the place of those of all its spans, `more`. They must not
    /// depend on the randomness, or sums by key would not add up: they are those of the spans which are there at any.
    pub fn give_keys(&self, rules: &Rules, more: &mut [u64]) {
        if let Some(lowest) = self.rows.first() {
            lowest.give_keys(rules, more);
        }
    }
}
