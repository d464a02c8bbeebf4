//! Rules tried on captured traces: every trace is judged on all of its captured spans, at the time its last one ended, so
//! that limits meet the pace of the capture; with the strategy `span-ingest` piece by piece, in the order of the capture.
//! Only summaries are held, so that a capture may be larger than memory.

mod ingest;

use crate::evidence::{Gathered, Row, Size};
use crate::intake::{Intake, IntakeError};
use crate::ledger::PolicyCounts;
use crate::randomness::Randomness;
use crate::route::Route;
use crate::rules::limit::Limits;
use crate::rules::quantile::Quantiles;
use crate::rules::{Ballot, Evidence, Rules};
use crate::vocabulary::{Nanos, SpanBatch, SpanHead, SpanRecord, TraceId};
use bytes::Bytes;
use hashbrown::HashMap;
use ingest::Ingest;
use std::sync::Arc;
use tailwater_config::sampling::{RandomnessSource, Sampling, Strategy};

/// Keys of the hashes: nothing hostile is tried, and results are to be the same each time.
const SEED: [u64; 4] = [1, 2, 3, 4];

/// A trial of one set of rules.
#[derive(Debug)]
pub struct Trial {
    rules: Arc<Rules>,
    intake: Intake,
    by_id: HashMap<TraceId, usize, ahash::RandomState>,
    traces: Vec<Held>,
    source: RandomnessSource,
    /// With `span-ingest`, in place of `traces`.
    ingest: Option<Ingest>,
}

#[derive(Debug)]
struct Held {
    id: TraceId,
    gathered: Gathered,
}

/// Spans of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Taken {
    /// Taken.
    pub spans: u64,
    /// Refused for a fault of their own.
    pub refused: u64,
}

/// What a trace came to.
#[derive(Debug)]
pub struct Judgement<'a> {
    /// The trace.
    pub trace_id: &'a TraceId,
    /// Its spans.
    pub spans: u32,
    /// Bytes of their messages.
    pub bytes: u32,
    /// The verdict.
    pub ballot: Ballot,
    /// How each policy voted, by number: one of the counts is 1, or none when it was not asked.
    pub votes: &'a [PolicyCounts],
}

impl Trial {
    /// A trial with nothing taken yet, of the rules that `sampling` was compiled to.
    #[must_use]
    pub fn new(rules: Arc<Rules>, sampling: &Sampling) -> Self {
        let [first, second, third, fourth] = SEED;
        Self {
            intake: Intake::new(Route::new(SEED, 1), u32::MAX, &rules),
            source: sampling.randomness,
            ingest: (sampling.strategy == Strategy::SpanIngest).then(|| Ingest::new(&rules, sampling)),
            rules,
            by_id: HashMap::with_hasher(ahash::RandomState::with_seeds(first, second, third, fourth)),
            traces: Vec::new(),
        }
    }

    /// The rules.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        &self.rules
    }

    /// Takes an `ExportTraceServiceRequest`.
    ///
    /// # Errors
    /// `IntakeError`; nothing is taken of the request then.
    pub fn take(&mut self, body: &Bytes) -> Result<Taken, IntakeError> {
        let scanned = self.intake.scan(body, &self.rules)?;
        let taken = Taken { spans: u64::from(scanned.accepted), refused: u64::from(scanned.refusals.total()) };
        for (shard, batch) in scanned.batches {
            match &mut self.ingest {
                Some(ingest) => ingest.take(&self.rules, &batch),
                None => self.take_batch(&batch),
            }
            self.intake.recycle(shard, batch);
        }
        Ok(taken)
    }

    fn take_batch(&mut self, batch: &SpanBatch) {
        let words = self.rules.leaf_words() - 1;
        for (position, record) in batch.spans.iter().enumerate() {
            let leaves_more = batch.leaves_more.get(position * words..(position + 1) * words).unwrap_or_default();
            let head = (record.head as usize).checked_sub(1).and_then(|place| batch.heads.get(place));
            self.take_span(record, leaves_more, head);
        }
    }

    fn take_span(&mut self, record: &SpanRecord, leaves_more: &[u64], head: Option<&SpanHead>) {
        let next = self.traces.len();
        let number = *self.by_id.entry(record.trace_id).or_insert(next);
        if number == next {
            self.traces.push(Held { id: record.trace_id, gathered: Gathered::new(&self.rules) });
        }
        self.traces[number].gathered.absorb(&self.rules, record, leaves_more, head);
    }

    /// Judges all traces in the order of their ends, and tells `told` of each; with `span-ingest` they were judged when they
    /// came, and one that was forgotten meanwhile is told twice.
    pub fn finish(self, mut told: impl FnMut(&Judgement<'_>)) {
        let Self { rules, mut traces, source, ingest, .. } = self;
        if let Some(ingest) = ingest {
            return ingest.finish(told);
        }
        // A stable sort: traces that end together stay in the order they came in.
        traces.sort_by_key(|held| held.gathered.seen.end_unix_nano);
        let begin = traces.first().map_or(0, |held| held.gathered.seen.end_unix_nano);
        let mut limits = Limits::new(rules.limits(), rules.generation(), 1, Nanos(begin));
        let mut randomness = Randomness::new(source);
        let mut votes = vec![PolicyCounts::default(); rules.policy_names().len()];
        let mut quantiles = Quantiles::new(rules.relative().len());
        for window in traces.chunk_by_mut(|one, other| second(one) == second(other)) {
            let end = Nanos((second(&window[0]) + 1) * Nanos::PER_SECOND);
            quantiles.turn(end);
            window.iter_mut().for_each(|held| held.compare_with_its_kind(&rules, &quantiles));
            let randomness: Vec<u64> = window
                .iter()
                .map(|held| {
                    randomness.count(&held.id, held.gathered.head.as_deref(), held.gathered.seen.is_random);
                    held.randomness(&randomness)
                })
                .collect();
            if rules.has_windows() {
                for to_budget in [false, true] {
                    let others = to_budget.then(|| limits.clone());
                    for (held, own) in window.iter().zip(&randomness) {
                        let offer = &mut |limit, group, cost| limits.offer(limit, group, *own, cost);
                        rules.offers(&held.evidence(), *own, others.as_ref(), offer);
                    }
                    if to_budget {
                        limits.cut_budget(end);
                    } else {
                        limits.cut(end);
                    }
                }
            }
            for (held, own) in window.iter().zip(randomness) {
                votes.fill(PolicyCounts::default());
                let (evidence, now) = (held.evidence(), Nanos(held.gathered.seen.end_unix_nano));
                let ballot = if rules.is_by_randomness() {
                    rules.judge_randomness(&evidence, &held.rows(&rules, &quantiles), own, &limits, &mut votes)
                } else {
                    rules.judge_arrival(&evidence, &mut limits, now, &mut votes)
                };
                rules.judge_shadows(&evidence, (own, now), &mut limits, &ballot, &mut votes);
                held.count_for_its_kind(&rules, &mut quantiles);
                let Size { spans, bytes } = held.gathered.size;
                told(&Judgement { trace_id: &held.id, spans, bytes, ballot, votes: &votes });
            }
        }
    }
}

impl Held {
    fn evidence(&self) -> Evidence<'_> {
        self.gathered.evidence(&self.id)
    }

    fn randomness(&self, source: &Randomness) -> u64 {
        source.of(&self.id, self.gathered.head.as_deref(), self.gathered.seen.is_random).value
    }

    /// Sets its keys, and the leaves on its duration relative to that of its kind.
    fn compare_with_its_kind(&mut self, rules: &Rules, quantiles: &Quantiles) {
        self.gathered.settle(rules, &self.id);
        quantiles.compare(rules.relative(), &mut self.gathered.seen, &mut self.gathered.more);
    }

    fn rows(&self, rules: &Rules, quantiles: &Quantiles) -> Vec<Row> {
        let mut rows = self.gathered.rows(rules, &self.id);
        rows.iter_mut().for_each(|row| quantiles.compare(rules.relative(), &mut row.seen, &mut row.more));
        rows
    }

    fn count_for_its_kind(&self, rules: &Rules, quantiles: &mut Quantiles) {
        for (number, leaf) in rules.relative().iter().enumerate() {
            let key = self.gathered.more.get(usize::from(leaf.key)).copied().unwrap_or(0);
            quantiles.add(number, leaf, key, self.gathered.seen.duration_nanos());
        }
    }
}

/// The second that a trace ended in.
fn second(held: &Held) -> u64 {
    held.gathered.seen.end_unix_nano / Nanos::PER_SECOND
}
