//! The first stage. A request of metrics or logs passes the shards by, of sound items only. A trace request's bytes become
//! span records, sorted by the shard that owns their trace. The
//! policy leaves on attributes are evaluated here, while the bytes are hot. A bad span costs only itself, a bad resource or
//! scope the spans under it; nothing is accepted of a request that is cut short.
//!
//! Several pipelines share one walk: what is read of a request does not depend on the rules, only what is evaluated does.

mod evaluator;
mod gather;
mod passing;
mod walk;
pub mod weight;

pub use passing::Passing;

use crate::route::Route;
use crate::rules::Rules;
use crate::vocabulary::{Nanos, Origin, ShardIndex, SpanBatch, TraceId};
use bytes::Bytes;
use evaluator::{Evaluator, Scratch, Walked};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::Fault;
use tailwater_proto::otlp::refusal::Refusals;
use tailwater_proto::otlp::scan::SpanFault;
use tailwater_rollup::spans::{Counted, SpanTally};
use thiserror::Error;
use walk::walk;

/// Why a request is refused whole. Nothing of it was accepted; sending it again won't help.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum IntakeError {
    /// It is no OTLP.
    #[error("the request is not a valid OTLP message: {0}")]
    Malformed(#[from] Fault),
    /// It has more bytes than positions in it can count.
    #[error("the request is larger than 4 GiB")]
    TooLarge,
}

/// A request, scanned.
#[derive(Debug)]
pub struct Scanned {
    /// The spans by shard; shards without any are left out.
    pub batches: Vec<(ShardIndex, SpanBatch)>,
    /// Of metrics and logs: what passes the shards by.
    pub passing: Option<Passing>,
    /// Spans in `batches`, or items that pass.
    pub accepted: u32,
    /// Spans with a fault of their own. They have their places among the units.
    pub refused: u32,
    /// All items that were refused, those under a resource or scope with a fault included.
    pub refusals: Refusals,
    /// The first fault, for the answer to the sender, and where it is.
    pub fault: Option<(String, SpanFault)>,
    /// Texts that were not UTF-8 and were repaired.
    pub repaired: u32,
    /// Conditions that failed on a span and whose policy passes over errors and counts them.
    pub condition_failures: u32,
    /// What is to be counted when it is accepted: with the first of several pipelines.
    pub counted: Counted,
}

impl Scanned {
    /// Units that the request takes in the log: one for each span, refused ones included, so that the count does not
    /// depend on the limits in force; one for each sound metric point or log record, or one for all.
    #[must_use]
    pub fn units(&self) -> u32 {
        let passing = self.passing.as_ref().map(|passing| u32::try_from(passing.units.len()).unwrap_or(u32::MAX));
        passing.unwrap_or(self.accepted + self.refused)
    }

    /// Spans in `batches`.
    #[must_use]
    pub fn spans(&self) -> usize {
        self.batches.iter().map(|(_, batch)| batch.spans.len()).sum()
    }

    /// Positions in the request of the spans in `batches`.
    pub fn positions(&self) -> impl Iterator<Item = u32> {
        self.batches.iter().flat_map(|(_, batch)| &batch.spans).map(|record| record.position)
    }

    /// Positions in the request of the spans that are not in `batches`.
    #[must_use]
    pub fn missing_positions(&self) -> Vec<u32> {
        let mut is_there = vec![false; self.units() as usize];
        for position in self.positions() {
            is_there[position as usize] = true;
        }
        (0..self.units()).filter(|position| !is_there[*position as usize]).collect()
    }

    /// Keeps only the spans at whose position `is_wanted`.
    pub fn retain(&mut self, is_wanted: impl Fn(u32) -> bool) {
        for (_, SpanBatch { spans, leaves_more, .. }) in &mut self.batches {
            let words = if spans.is_empty() { 0 } else { leaves_more.len() / spans.len() };
            let mut kept = 0;
            for at in 0..spans.len() {
                if is_wanted(spans[at].position) {
                    spans[kept] = spans[at];
                    leaves_more.copy_within(at * words..(at + 1) * words, kept * words);
                    kept += 1;
                }
            }
            spans.truncate(kept);
            leaves_more.truncate(kept * words);
        }
        self.batches.retain(|(_, batch)| !batch.spans.is_empty());
    }

    /// Says where the request lies in the log and when it came.
    pub fn place(&mut self, origin: Origin, arrived: Nanos) {
        for (_, batch) in &mut self.batches {
            (batch.origin, batch.arrived) = (origin, arrived);
        }
    }
}

/// The stage's scratch for one set of rules, kept from request to request.
#[derive(Debug)]
pub struct Intake {
    terms: Terms,
    scratch: Scratch,
}

/// What becomes of a request whatever the rules: scans on equal terms are one walk.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Terms {
    route: Route,
    span_bytes_max: u32,
}

impl Intake {
    /// A stage for `rules` that routes by `route` and refuses spans of more than `span_bytes_max` bytes.
    #[must_use]
    pub fn new(route: Route, span_bytes_max: u32, rules: &Rules) -> Self {
        Self { scratch: Scratch::new(&route, rules), terms: Terms { route, span_bytes_max } }
    }

    /// Where traces belong.
    #[must_use]
    pub fn route(&self) -> &Route {
        &self.terms.route
    }

    /// The hash by which a trace is routed and found.
    #[must_use]
    pub fn hash(&self, trace_id: &TraceId) -> u64 {
        self.terms.route.hash(trace_id)
    }

    /// Scans a request of any signal.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan_request(
        &mut self,
        signal: Signal,
        body: &Bytes,
        rules: &Rules,
        tally: Option<&mut SpanTally>,
    ) -> Result<Scanned, IntakeError> {
        match signal {
            Signal::Traces => self.scan_counted(body, rules, tally),
            Signal::Metrics | Signal::Logs => passing::scan(signal, body),
        }
    }

    /// Scans an `ExportTraceServiceRequest` of which nothing is counted.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan(&mut self, body: &Bytes, rules: &Rules) -> Result<Scanned, IntakeError> {
        self.scan_counted(body, rules, None)
    }

    /// Scans an `ExportTraceServiceRequest`. Where a resource or scope has a fault, or a text is not UTF-8, what is mended
    /// of the request is scanned. What comes out follows from the request and the limits alone, whenever it is scanned.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan_counted(
        &mut self,
        body: &Bytes,
        rules: &Rules,
        tally: Option<&mut SpanTally>,
    ) -> Result<Scanned, IntakeError> {
        let evaluator = Evaluator::new(rules, &mut self.scratch);
        let ([evaluator], walked) = walk(&self.terms, body, [evaluator], tally)?;
        Ok(evaluator.finish(walked))
    }

    /// Whether a request comes to the same spans here and there, so that one walk does for both.
    #[must_use]
    pub fn scans_like(&self, other: &Self) -> bool {
        self.terms == other.terms
    }

    /// Scans a request of traces once for several sets of rules, whose stages must scan alike. What comes out for each is
    /// what `scan` would come to.
    ///
    /// # Errors
    /// `IntakeError`; nothing is kept of the request then.
    pub fn scan_for_all<'a>(
        stages: impl IntoIterator<Item = (&'a mut Self, &'a Rules)>,
        body: &Bytes,
        tally: Option<&mut SpanTally>,
    ) -> Result<Vec<Scanned>, IntakeError> {
        let mut terms = None;
        let evaluator = |(stage, rules): (&'a mut Self, &'a Rules)| {
            let Self { terms: own, scratch } = stage;
            let first = *terms.get_or_insert(&*own);
            debug_assert!(first == own, "the caller asks `scans_like`");
            Evaluator::new(rules, scratch)
        };
        let evaluators: Vec<_> = stages.into_iter().map(evaluator).collect();
        let Some(terms) = terms else { return Ok(Vec::new()) };
        let (evaluators, mut walked) = walk(terms, body, evaluators, tally)?;
        let mut counted = std::mem::take(&mut walked.counted);
        let finish = |evaluator: Evaluator<'_>| {
            evaluator.finish(Walked { counted: std::mem::take(&mut counted), ..walked.clone() })
        };
        Ok(evaluators.into_iter().map(finish).collect())
    }

    /// Takes back a batch's lists, so that the next request needs no allocation for that shard.
    pub fn recycle(&mut self, shard: ShardIndex, batch: SpanBatch) {
        self.scratch.recycle(shard, batch);
    }
}

#[cfg(test)]
mod tests;
