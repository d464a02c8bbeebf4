//! Rules tried on captured traces: every trace is judged on all of its captured spans, at the time its last one ended, so
//! that limits meet the pace of the capture; with the strategy `span-ingest` piece by piece, in the order of the capture.
//! Only summaries are held, so that a capture may be larger than memory.

mod ingest;

use crate::evidence::{Gathered, Size, Summary};
use crate::intake::{Intake, IntakeError};
use crate::judge::{Bench, Case, Cases};
use crate::ledger::PolicyCounts;
use crate::route::Route;
use crate::rules::{Ballot, Rules};
use crate::vocabulary::{Nanos, Occasion, SpanBatch, SpanHead, SpanRecord, TraceId};
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
    generation: u32,
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
            let head = batch.head_of(record);
            self.take_span(record, leaves_more, head);
        }
    }

    fn take_span(&mut self, record: &SpanRecord, leaves_more: &[u64], head: Option<&SpanHead>) {
        let next = self.traces.len();
        let number = *self.by_id.entry(record.trace_id).or_insert(next);
        if number == next {
            let (gathered, generation) = (Gathered::new(&self.rules), self.rules.generation());
            self.traces.push(Held { id: record.trace_id, gathered, generation });
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
        let mut bench = Bench::new(rules.clone(), source, 1);
        let mut votes = vec![PolicyCounts::default(); rules.policy_names().len()];
        let mut first = 0;
        while let Some(begin) = traces.get(first) {
            let window = second(begin);
            let end = Nanos((window + 1) * Nanos::PER_SECOND);
            let after = first + traces[first..].partition_point(|held| second(held) == window);
            let due: Vec<u32> = (first..after).filter_map(|entry| u32::try_from(entry).ok()).collect();
            bench.turn(end);
            if rules.has_windows() {
                bench.cut(end, &mut traces, &due);
            }
            for entry in due {
                votes.fill(PolicyCounts::default());
                let now = Nanos(traces[entry as usize].gathered.seen.end_unix_nano);
                let ruling = bench.rule(now, (&mut traces, entry), Occasion::Deadline, &mut votes);
                let Held { id, gathered, .. } = &traces[entry as usize];
                let Size { spans, bytes } = gathered.size;
                told(&Judgement { trace_id: id, spans, bytes, ballot: ruling.ballot, votes: &votes });
            }
            first = after;
        }
    }
}

impl Cases for Vec<Held> {
    fn case(&self, entry: u32) -> Case<'_> {
        let Held { id, gathered, generation } = &self[entry as usize];
        let evidence = gathered.evidence(id);
        Case { evidence, head: gathered.head.as_deref(), generation: *generation, deadline: 0 }
    }

    fn settle(&mut self, entry: u32, rules: &Rules, set: impl FnOnce(&mut Summary, &mut [u64])) {
        let Held { id, gathered, .. } = &mut self[entry as usize];
        gathered.settle(rules, id);
        set(&mut gathered.seen, &mut gathered.more);
    }
}

/// The second that a trace ended in.
fn second(held: &Held) -> u64 {
    held.gathered.seen.end_unix_nano / Nanos::PER_SECOND
}
