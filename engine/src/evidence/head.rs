//! What tracestates say of a trace: its randomness, and its spans by the threshold that they came with.
//!
//! A policy such as "a span has an error" can only be satisfied by spans that arrived. Where the spans of a trace came
//! with different thresholds, the trace would have looked different at another randomness: at randomness R only the
//! spans with a threshold up to R would be there. So such a trace has one *row* for each threshold among its spans. A row
//! has the spans that came with that very threshold; a verdict wants those with at most that, the sums of the rows up to
//! it, of which the highest is the whole trace.

use super::{Part, Size, Summary};
use crate::rules::Rules;
use crate::vocabulary::{SpanHead, SpanRecord, TraceId};
use tailwater_proto::consistent::randomness_of;

/// Spans of a trace, by threshold.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Row {
    /// The threshold, the highest of several that count as one.
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

    fn of(level: u64, part: Part<'_>) -> Self {
        Self { level, seen: *part.seen, size: part.size, more: part.more.into() }
    }

    fn merge(&mut self, rules: &Rules, other: &Self) {
        self.size.add(other.size);
        self.seen.merge(rules, &mut self.more, &other.seen, &other.more);
    }

    fn give_keys(&self, rules: &Rules, more: &mut [u64]) {
        for (theirs, own) in more.iter_mut().zip(&self.more).take(rules.key_count()) {
            *theirs = *own;
        }
    }
}

/// What the tracestates of a trace's spans say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct TraceHead {
    /// The least `rv` that came.
    pub randomness: Option<u64>,
    /// The one threshold of all spans so far; 0 where there are rows.
    pub(super) level: u64,
    /// True once a span came with a threshold that its row does not tell.
    pub(super) has_threshold: bool,
    /// Thresholds that are equal without that many of their low bits count as one, but for the lowest.
    pub(super) coarse: u32,
    /// Lowest level first; empty while all spans have the same.
    pub(super) rows: Vec<Row>,
}

/// Rows of a trace. Senders have a handful of rates.
/// At the bound: the thresholds nearest to one another count as one, whatever the order in which they come; counted in
/// `tailwater_threshold_levels_folded_spans_total`.
const ROWS_MAX: usize = 8;

impl TraceHead {
    /// Bytes of its rows.
    #[must_use]
    pub fn row_bytes(&self) -> usize {
        let more = self.rows.first().map_or(0, |row| size_of_val(&*row.more));
        self.rows.capacity() * size_of::<Row>() + self.rows.len() * more
    }

    /// What the thresholds of its spans are compared with.
    fn randomness_of(&self, trace_id: &TraceId) -> u64 {
        self.randomness.unwrap_or_else(|| randomness_of(trace_id))
    }

    /// The thresholds among its spans, lowest first, as far as rows tell them apart. A span that could not have come with its
    /// threshold has none: that is seen when the trace is judged, for its randomness may come with any span.
    fn levels(&self, trace_id: &TraceId) -> impl Iterator<Item = Option<u64>> {
        let own = self.randomness_of(trace_id);
        let one = self.rows.is_empty().then_some(self.level);
        let all = one.into_iter().chain(self.rows.iter().map(|row| row.level));
        all.map(move |level| (level <= own).then_some(level))
    }

    /// The lowest threshold among its spans, 0 for those that came with none; `None` when none of them has any.
    #[must_use]
    pub fn lowest(&self, trace_id: &TraceId) -> Option<u64> {
        let has_threshold = self.has_threshold || self.levels(trace_id).flatten().any(|level| level > 0);
        has_threshold.then(|| self.levels(trace_id).map(Option::unwrap_or_default).min().unwrap_or(0))
    }

    /// Whether each row is of spans that are there at any randomness.
    fn are_lowest(&self, trace_id: &TraceId) -> impl Iterator<Item = bool> {
        let lowest = self.levels(trace_id).map(Option::unwrap_or_default).min();
        self.levels(trace_id).map(move |level| Some(level.unwrap_or_default()) == lowest)
    }

    /// The rows of a trace whose spans have several thresholds, lowest first, each with all spans up to its threshold;
    /// empty when they have one.
    #[must_use]
    pub fn rows(&self, rules: &Rules, trace_id: &TraceId) -> Vec<Row> {
        let mut all: Vec<Row> = Vec::with_capacity(self.rows.len());
        let mut others = Vec::with_capacity(self.rows.len());
        for (row, is_lowest) in self.rows.iter().zip(self.are_lowest(trace_id)) {
            match all.first_mut() {
                _ if !is_lowest => others.push(row),
                Some(lowest) => lowest.merge(rules, row),
                None => all.push(Row { level: self.lowest(trace_id).unwrap_or(0), ..row.clone() }),
            }
        }
        if let Some(lowest) = all.first_mut() {
            lowest.seen.set_latencies(rules, &mut lowest.more);
        }
        for row in others {
            let Some(below) = all.last() else { break };
            let mut row = row.clone();
            row.merge(rules, below);
            row.seen.set_latencies(rules, &mut row.more);
            below.give_keys(rules, &mut row.more);
            all.push(row);
        }
        if all.len() < 2 { Vec::new() } else { all }
    }

    /// Whether there were more thresholds than it has rows.
    #[cfg(test)]
    pub(super) fn is_folded(&self) -> bool {
        self.coarse > 0
    }

    /// How many of its spans are there at any randomness; `None` when all of them have one threshold.
    #[must_use]
    pub fn least_size(&self, trace_id: &TraceId) -> Option<Size> {
        let (mut size, mut is_all) = (Size::default(), true);
        for (row, is_lowest) in self.rows.iter().zip(self.are_lowest(trace_id)) {
            is_all &= is_lowest;
            size.add(if is_lowest { row.size } else { Size::default() });
        }
        (!is_all).then_some(size)
    }

    /// Puts the keys that a trace of several thresholds goes by in the place of those of all its spans, `more`. They must not
    /// depend on the randomness, or sums by key would not add up: they are those of the spans which are there at any.
    pub fn give_keys(&self, rules: &Rules, trace_id: &TraceId, more: &mut [u64]) {
        let mut lowest: Option<Row> = None;
        for (row, _) in self.rows.iter().zip(self.are_lowest(trace_id)).filter(|(_, is_lowest)| *is_lowest) {
            match &mut lowest {
                Some(lowest) => lowest.merge(rules, row),
                None => lowest = Some(row.clone()),
            }
        }
        if let Some(lowest) = lowest {
            lowest.give_keys(rules, more);
        }
    }

    /// Merges a span before the trace's own summary takes it in. `before` is the trace without it. Without `has_room` no row
    /// is added. False when its threshold had to be counted as another.
    pub fn absorb(
        &mut self,
        rules: &Rules,
        span: (&SpanRecord, &[u64], Option<&SpanHead>),
        before: Part<'_>,
        has_room: bool,
    ) -> bool {
        let (record, record_more, head) = span;
        self.randomness = least(self.randomness, head.and_then(|head| head.randomness));
        let threshold = head.and_then(|head| head.threshold);
        let level = threshold.unwrap_or(0);
        if self.rows.is_empty() {
            let is_exact = before.size.spans == 0 || level == self.level;
            if is_exact {
                self.level = level;
            }
            if is_exact || !has_room {
                self.note_zero(threshold, is_exact);
                return is_exact;
            }
            self.rows.push(Row::of(self.level, before));
            self.level = 0;
        }
        let coarse = self.coarse;
        let at = if has_room { self.place(rules, level, before.more.len()) } else { self.neighbour(level) };
        let is_exact = coarse == self.coarse;
        let Some(row) = self.rows.get_mut(at) else { return false };
        row.size.count(record);
        row.seen.absorb(rules, record, &mut row.more, record_more);
        let is_exact = is_exact && row.level == level;
        self.note_zero(threshold, has_room || is_exact);
        is_exact
    }

    /// Merges what the tracestates of other spans say, before the trace's own summary takes them in: `own` is the trace
    /// without them, `others` those spans.
    pub fn merge(&mut self, rules: &Rules, own: Part<'_>, other: &Self, others: Part<'_>) {
        self.randomness = least(self.randomness, other.randomness);
        self.has_threshold |= other.has_threshold;
        if others.size.spans == 0 {
            return;
        }
        let (is_first, is_one) = (own.size.spans == 0, self.rows.is_empty() && other.rows.is_empty());
        if is_one && (is_first || self.level == other.level) {
            self.level = other.level;
            return;
        }
        if self.rows.is_empty() && !is_first {
            self.rows.push(Row::of(self.level, own));
        }
        self.level = 0;
        self.coarse = self.coarse.max(other.coarse);
        let one = other.rows.is_empty().then(|| Row::of(other.level, others));
        for row in other.rows.iter().chain(&one) {
            let at = self.place(rules, row.level, row.more.len());
            if let Some(mine) = self.rows.get_mut(at) {
                mine.merge(rules, row);
            }
        }
        self.fold(rules, 1);
    }

    /// Notes a threshold that its row does not tell: 0 looks as none, and so does one that had no room.
    fn note_zero(&mut self, threshold: Option<u64>, is_told: bool) {
        self.has_threshold |= threshold.is_some_and(|threshold| threshold == 0 || !is_told);
    }

    /// The row of a threshold, or the next above it, or the last: where spans go while no row may be added.
    fn neighbour(&self, level: u64) -> usize {
        self.rows.partition_point(|row| row.level < level).min(self.rows.len().saturating_sub(1))
    }

    /// The row that spans of a threshold go to, which is added where it is missing.
    fn place(&mut self, rules: &Rules, level: u64, words_more: usize) -> usize {
        let at = self.neighbour(level);
        if self.rows.get(at).is_some_and(|row| row.level == level) {
            return at;
        }
        // The lowest is told apart, for keys and parents go by it.
        let first = usize::from(self.rows.first().is_some_and(|lowest| lowest.level < level));
        loop {
            self.fold(rules, first);
            let is_near = |row: &Row| row.level >> self.coarse == level >> self.coarse;
            if let Some(near) = self.rows.iter().skip(1).position(is_near).filter(|_| first > 0) {
                let row = &mut self.rows[near + 1];
                row.level = row.level.max(level);
                return near + 1;
            }
            if self.rows.len() < ROWS_MAX {
                let at = self.rows.partition_point(|row| row.level < level);
                self.rows.insert(at, Row::empty(level, words_more));
                return at;
            }
            self.coarse += 1;
        }
    }

    /// Makes one row of those from the `first` on that count as one.
    fn fold(&mut self, rules: &Rules, first: usize) {
        let mut at = first;
        while self.coarse > 0 && at + 1 < self.rows.len() {
            if self.rows[at].level >> self.coarse == self.rows[at + 1].level >> self.coarse {
                let lower = self.rows.remove(at);
                self.rows[at].merge(rules, &lower);
            } else {
                at += 1;
            }
        }
    }
}

/// The least of those there are.
fn least(one: Option<u64>, other: Option<u64>) -> Option<u64> {
    [one, other].into_iter().flatten().min()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_config::sampling::Sampling;

    const ID: TraceId = [0xff; 16];

    /// The head of a trace whose spans came with these thresholds, one each; how many of them had to be counted as another.
    fn head(rules: &Rules, thresholds: &[u64]) -> (TraceHead, usize) {
        let said = |threshold: &u64| SpanHead { threshold: Some(*threshold), randomness: None };
        head_of(rules, &thresholds.iter().map(said).collect::<Vec<_>>())
    }

    fn head_of(rules: &Rules, spans: &[SpanHead]) -> (TraceHead, usize) {
        let mut head = TraceHead::default();
        let (mut seen, mut size, mut folded) = (Summary::default(), Size::default(), 0);
        for said in spans {
            let threshold = said.threshold.unwrap_or(0);
            let record = SpanRecord {
                trace_id: ID,
                hash: 0,
                // What a span says follows from its threshold, so that the rows tell which spans they have.
                start_unix_nano: (threshold >> 20) + 1,
                end_unix_nano: (threshold >> 20) + 2,
                leaves: 0,
                offset: 0,
                length: 100,
                scope: 0,
                position: 0,
                head: 1,
                status: 1,
                is_root: false,
                is_random: false,
            };
            let before = Part { seen: &seen, size, more: &[] };
            let is_exact = head.absorb(rules, (&record, &[], Some(said)), before, true);
            folded += usize::from(!is_exact);
            seen.absorb(rules, &record, &mut [], &[]);
            size.count(&record);
        }
        (head, folded)
    }

    #[test]
    fn rows_are_of_their_very_threshold_and_are_judged_as_sums() {
        let rules = Rules::compile(&Sampling::default()).unwrap();
        let (head, folded) = head(&rules, &[5 << 30, 1 << 30, 5 << 30, 0]);
        assert_eq!(folded, 0);
        let counts = |rows: &[Row]| rows.iter().map(|row| (row.level >> 30, row.size.spans)).collect::<Vec<_>>();
        assert_eq!(counts(&head.rows), [(0, 1), (1, 1), (5, 2)]);
        let sums = head.rows(&rules, &ID);
        assert_eq!(counts(&sums), [(0, 1), (1, 2), (5, 4)]);
        assert_eq!(sums.iter().map(|row| row.seen.start_unix_nano).collect::<Vec<_>>(), [1; 3]);
    }

    /// Without the `coarse` of a head, folding the two nearest of those that are there, it depends on the order.
    #[test]
    fn of_too_many_thresholds_the_nearest_count_as_one_whatever_the_order() {
        let rules = Rules::compile(&Sampling::default()).unwrap();
        let mut state = 1u64;
        let mut next = |below: u64| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) % below
        };
        let mut folds = 0;
        for _ in 0..300 {
            let count = 2 + next(14);
            let mut thresholds: Vec<u64> = (0..count).map(|_| (next(1 << 31) << 24) >> next(40)).collect();
            let (first, folded) = head(&rules, &thresholds);
            folds += folded;
            let spans: u32 = first.rows.iter().map(|row| row.size.spans).sum();
            assert!(first.rows.is_empty() || u64::from(spans) == count, "each span is in one row");
            assert!(first.rows.len() <= ROWS_MAX);
            for _ in 0..10 {
                for place in (1..thresholds.len()).rev() {
                    thresholds.swap(place, usize::try_from(next(place as u64 + 1)).unwrap());
                }
                let (other, _) = head(&rules, &thresholds);
                assert_eq!((&other.rows, other.coarse), (&first.rows, first.coarse), "{thresholds:x?}");
            }
            let lowest = thresholds.iter().min().copied();
            assert_eq!(first.lowest(&ID), lowest, "the lowest is never folded");
        }
        assert!(folds > 100, "{folds}");
    }

    /// With the first `rv` in place of the least, or with thresholds compared as they come, the orders differ.
    #[test]
    fn the_least_rv_counts_and_thresholds_are_compared_with_it_whatever_the_order() {
        let rules = Rules::compile(&Sampling::default()).unwrap();
        let said = |threshold, randomness| SpanHead { threshold, randomness };
        let mut spans = [said(Some(3), None), said(Some(8), None), said(Some(5), Some(9)), said(Some(4), Some(6))];
        for turn in 0..spans.len() {
            spans.rotate_left(turn);
            let (head, _) = head_of(&rules, &spans);
            assert_eq!((head.randomness, head.lowest(&ID)), (Some(6), Some(0)));
            let counts: Vec<_> = head.rows(&rules, &ID).iter().map(|row| (row.level, row.size.spans)).collect();
            assert_eq!(counts, [(0, 1), (3, 2), (4, 3), (5, 4)], "at 6 nothing can have come with a threshold of 8");
            assert_eq!(head.least_size(&ID).map(|size| size.spans), Some(1));
        }
        let (contradicting, _) = head_of(&rules, &[said(Some(8), None), said(Some(9), Some(6))]);
        assert_eq!((contradicting.lowest(&ID), contradicting.least_size(&ID)), (None, None));
        assert!(contradicting.rows(&rules, &ID).is_empty(), "none of them has a threshold");
    }
}
