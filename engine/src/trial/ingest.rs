//! The strategy `span-ingest` tried on captured traces, as a shard goes about it: policies are asked about each piece of a
//! trace as it comes, the first that one of them samples keeps the trace, and what no piece decided is dropped when its
//! wait is over. A request comes when the last of its spans has ended, or with those before it if they ended later.

use super::Judgement;
use crate::evidence::{Part, Size, Summary, TraceHead};
use crate::judge::{Bench, Case};
use crate::ledger::{DropReason, PolicyCounts};
use crate::rules::{Ballot, Evidence, Rules};
use crate::vocabulary::{Nanos, SpanBatch, SpanHead, SpanRecord, TraceId, Verdict};
use hashbrown::HashMap;
use std::sync::Arc;
use tailwater_config::sampling::Sampling;

/// How long traces are held.
#[derive(Debug, Clone, Copy)]
struct Waits {
    decision: u64,
    /// From a root span on; 0 switches it off.
    after_root: u64,
    /// In place of `decision`, from the latest span on; 0 switches it off.
    inactivity: u64,
    /// Longest with `inactivity`; 0 for no limit.
    duration_max: u64,
}

/// All traces of a capture.
#[derive(Debug)]
pub(super) struct Ingest {
    waits: Waits,
    /// A trace that nothing decided is forgotten when its wait is over.
    forgets_undecided: bool,
    by_id: HashMap<TraceId, usize, ahash::RandomState>,
    traces: Vec<Told>,
    bench: Bench,
    /// The time of the capture, nanoseconds since 1970.
    now: u64,
    /// The second that limits were set for last.
    window: u64,
    /// Scratch: votes on one piece.
    votes: Vec<PolicyCounts>,
}

/// A trace so far.
#[derive(Debug)]
struct Told {
    id: TraceId,
    /// All of its spans.
    size: Size,
    is_random: bool,
    head: TraceHead,
    says_anything: bool,
    opened: u64,
    deadline: u64,
    ballot: Option<Ballot>,
    /// How each policy voted on any of its pieces.
    votes: Box<[u8]>,
}

const MATCHED: u8 = 1;
const UNMATCHED: u8 = 2;
const FAILED: u8 = 4;
const DECIDED: u8 = 8;
const ALONE: u8 = 16;

/// The spans of one trace in one `ResourceSpans`.
struct Piece {
    number: usize,
    seen: Summary,
    spans: u32,
    more: Box<[u64]>,
}

impl Ingest {
    pub(super) fn new(rules: &Arc<Rules>, sampling: &Sampling) -> Self {
        let nanos = |wait: std::time::Duration| u64::try_from(wait.as_nanos()).unwrap_or(u64::MAX);
        Self {
            waits: Waits {
                decision: nanos(sampling.decision_wait),
                after_root: nanos(sampling.decision_wait_after_root_received),
                inactivity: nanos(sampling.inactivity_timeout),
                duration_max: nanos(sampling.max_trace_duration),
            },
            forgets_undecided: sampling.non_sampled_cache_size == 0,
            by_id: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            traces: Vec::new(),
            bench: Bench::new(rules.clone(), sampling.randomness, 1),
            now: 0,
            window: 0,
            votes: vec![PolicyCounts::default(); rules.policy_names().len()],
        }
    }

    pub(super) fn take(&mut self, rules: &Rules, batch: &SpanBatch) {
        let latest = batch.spans.iter().map(|record| record.end_unix_nano).max().unwrap_or(0);
        self.now = self.now.max(latest);
        self.cut_window(rules);
        let words = rules.leaf_words() - 1;
        let mut pieces: Vec<Piece> = Vec::new();
        let mut places: HashMap<usize, usize, ahash::RandomState> =
            HashMap::with_hasher(ahash::RandomState::with_seeds(5, 6, 7, 8));
        let mut resource = None;
        for (position, record) in batch.spans.iter().enumerate() {
            let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
            let of = batch.envelopes.scopes.get(record.scope as usize).map(|scope| scope.resource.clone());
            if of != resource {
                self.judge(rules, &mut pieces);
                places.clear();
                resource = of;
            }
            let head = batch.head_of(record);
            let number = self.take_span(rules, record, head);
            let place = *places.entry(number).or_insert(pieces.len());
            if place == pieces.len() {
                pieces.push(Piece { number, seen: Summary::default(), spans: 0, more: vec![0; words].into() });
            }
            let piece = &mut pieces[place];
            piece.spans += 1;
            piece.seen.absorb(rules, record, &mut piece.more, leaves_more);
        }
        self.judge(rules, &mut pieces);
    }

    /// In a new second, sets the limits by what passed in the one before.
    fn cut_window(&mut self, rules: &Rules) {
        let window = self.now / Nanos::PER_SECOND;
        if rules.has_windows() && window > self.window {
            self.window = window;
            self.bench.cut_pieces(Nanos(self.now));
        }
    }

    /// Adds a span to its trace; returns the trace's number.
    fn take_span(&mut self, rules: &Rules, record: &SpanRecord, head: Option<&SpanHead>) -> usize {
        let known = self.by_id.get(&record.trace_id).copied();
        let number = known.filter(|number| !self.is_forgotten(*number)).unwrap_or_else(|| self.open(rules, record));
        let Waits { after_root, inactivity, duration_max, .. } = self.waits;
        let now = self.now;
        let trace = &mut self.traces[number];
        if trace.ballot.is_none() && now < trace.deadline {
            if inactivity > 0 {
                let last = if duration_max > 0 { trace.opened.saturating_add(duration_max) } else { u64::MAX };
                trace.deadline = now.saturating_add(inactivity).min(last);
            }
            if record.is_root && after_root > 0 {
                trace.deadline = trace.deadline.min(now.saturating_add(after_root));
            }
        }
        if head.is_some() || trace.says_anything {
            trace.says_anything = true;
            // Rows are for thresholds of whole traces; pieces have none.
            let before = Part { seen: &Summary::default(), size: trace.size, more: &[] };
            trace.head.absorb(rules, (record, &[], head), before, false);
        }
        trace.is_random |= record.is_random;
        trace.size.count(record);
        if rules.has_windows()
            && let Some(Ballot { verdict: Verdict::Keep(policy), .. }) = trace.ballot
        {
            self.bench.charge_late(policy, u64::from(record.length), true);
        }
        number
    }

    /// Whether a span of this trace begins a new one.
    fn is_forgotten(&self, number: usize) -> bool {
        let trace = &self.traces[number];
        self.forgets_undecided && trace.ballot.is_none() && self.now >= trace.deadline
    }

    fn open(&mut self, rules: &Rules, record: &SpanRecord) -> usize {
        let wait = if self.waits.inactivity > 0 { self.waits.inactivity } else { self.waits.decision };
        let number = self.traces.len();
        self.traces.push(Told {
            id: record.trace_id,
            size: Size::default(),
            is_random: false,
            head: TraceHead::default(),
            says_anything: false,
            opened: self.now,
            deadline: self.now.saturating_add(wait),
            ballot: None,
            votes: vec![0; rules.policy_names().len()].into(),
        });
        self.by_id.insert(record.trace_id, number);
        number
    }

    fn judge(&mut self, rules: &Rules, pieces: &mut Vec<Piece>) {
        let Self { traces, bench, votes, now, .. } = self;
        for Piece { number, seen, spans, more } in pieces.drain(..) {
            let trace = &mut traces[number];
            if trace.ballot.is_some() || *now >= trace.deadline {
                continue;
            }
            // A piece has the size of the whole trace so far.
            let evidence = Evidence { trace_id: &trace.id, seen: &seen, size: trace.size, more: &more, level: None };
            let head = trace.says_anything.then_some(&trace.head);
            let said = Summary { is_random: trace.is_random, ..Summary::default() };
            let whole = Evidence { seen: &said, ..evidence };
            let whole = Case { evidence: whole, head, generation: rules.generation(), deadline: 0 };
            votes.fill(PolicyCounts::default());
            let is_first = spans == trace.size.spans;
            let ruling = bench.rule_piece(Nanos(*now), (&whole, &evidence, is_first), votes);
            for (flags, vote) in trace.votes.iter_mut().zip(&*votes) {
                let flag = |count: u64, flag: u8| if count > 0 { flag } else { 0 };
                *flags |= flag(vote.matched, MATCHED) | flag(vote.unmatched, UNMATCHED);
                *flags |= flag(vote.failed, FAILED) | flag(vote.decided, DECIDED) | flag(vote.alone, ALONE);
            }
            trace.ballot = ruling.map(|ruling| ruling.ballot);
        }
    }

    /// Tells what each trace came to, in the order of their first spans.
    pub(super) fn finish(mut self, mut told: impl FnMut(&Judgement<'_>)) {
        for trace in &self.traces {
            for (vote, flags) in self.votes.iter_mut().zip(&trace.votes) {
                *vote = counts(*flags, trace.size);
            }
            let ballot = trace.ballot.unwrap_or(Ballot::dropped(DropReason::NotSampled));
            let Told { id, size, .. } = trace;
            told(&Judgement { trace_id: id, spans: size.spans, bytes: size.bytes, ballot, votes: &self.votes });
        }
    }
}

/// The votes on all pieces as one vote on the trace.
fn counts(flags: u8, size: Size) -> PolicyCounts {
    let mut counts = PolicyCounts::default();
    if flags & (MATCHED | UNMATCHED) != 0 {
        counts.vote(flags & MATCHED != 0);
    } else {
        counts.failed = u64::from(flags & FAILED != 0);
    }
    if flags & DECIDED != 0 {
        counts.decide(size.spans, size.bytes, flags & ALONE != 0);
    }
    counts
}

#[cfg(test)]
mod tests;
