//! All that a node sums up, put together: what a core counts, what was counted in a window, and what leaves of it.
//!
//! ```text
//! summary as bytes:  each: kind 1, length 4, its bytes      kinds: 1 span metrics, 2 a partial of metrics, 3 of log patterns,
//!                                                                   4 edges of the service graph, 5 exemplars, 6 of skeletons
//! carried:           a partial of metrics
//! ```

mod coarse;

pub use coarse::Coarseness;

use crate::metrics::plan::MetricsPlan;
use crate::metrics::{MetricSums, Metrics, MetricsPartial, Taken};
use crate::patterns::{PatternInput, PatternSums, Patterns, PatternsError, PatternsPartial, PatternsPlan};
use crate::service_graph::{self, EdgeSums, Ends, Gatherer, Graph};
use crate::skeletons::{SkeletonSums, SkeletonsPartial, SkeletonsPlan};
use crate::span_metrics::{self, Exemplars};
use crate::spans::SpanTally;
use crate::windows::{Body, Counts, StateError};
use std::sync::Arc;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::KeyValue;
use tailwater_proto::otlp::logs::{LogFacts, LogVisitor, RecordFault, logs};

/// Bytes of a request of merged points or patterns, about: OTLP servers take 4 MiB.
const REQUEST_BYTES: usize = 1 << 20;

/// What is summed up.
#[derive(Debug, Clone, Default)]
pub struct SummaryPlan {
    /// Of spans.
    pub spans: Option<Arc<span_metrics::Plan>>,
    /// Of requests between services.
    pub graph: Option<Arc<service_graph::Plan>>,
    /// Of metric points.
    pub metrics: Option<MetricsPlan>,
    /// Of logs.
    pub logs: Option<PatternsPlan>,
    /// Of traces that are dropped.
    pub skeletons: Option<SkeletonsPlan>,
}

impl SummaryPlan {
    /// Whether nothing is.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.spans.is_none()
            && self.graph.is_none()
            && self.metrics.is_none()
            && self.logs.is_none()
            && self.skeletons.is_none()
    }
}

/// What one core counts.
#[derive(Debug)]
pub struct Tallies {
    /// Of spans, as far as it is gathered when they are walked over.
    pub spans: SpanTally,
    /// Of requests between services.
    pub graph: Option<Graph>,
    /// Of metric points.
    pub metrics: Option<Metrics>,
    logs: Option<LogTally>,
    /// Of the window.
    skeletons: Option<SkeletonSums>,
}

/// Patterns: those of the lines since the last look, and those of the window before that.
#[derive(Debug)]
struct LogTally {
    plan: PatternsPlan,
    seed: u64,
    tally: Patterns,
    window: PatternSums,
    lines: u64,
    overflowed: u64,
}

impl Tallies {
    /// Nothing counted, on the core of that shard. Keys of series are made with the seed: it is the same on all cores and in
    /// every run of a node.
    ///
    /// # Errors
    /// What is wrong with the plan of patterns.
    pub fn new(plan: &SummaryPlan, shard: u16, seed: u64) -> Result<Self, PatternsError> {
        let logs = plan.logs.as_ref().map(|plan| LogTally::new(plan, seed)).transpose()?;
        Ok(Self {
            spans: SpanTally {
                metrics: plan.spans.clone().map(|plan| span_metrics::Tally::new(plan, seed)),
                graph: plan.graph.clone().map(|plan| Gatherer::new(plan, seed)),
            },
            graph: plan.graph.clone().map(|plan| Graph::new(plan, shard, seed)),
            metrics: plan.metrics.clone().map(|plan| Metrics::new(plan, seed)),
            logs,
            skeletons: plan.skeletons.map(SkeletonSums::new),
        })
    }

    /// Counts the spans of a request that was accepted. False where their series are not known any more: nothing is counted,
    /// and the request is to be walked again.
    #[must_use]
    pub fn count_spans(&mut self, counted: span_metrics::Counted, now_unix_nano: u64) -> bool {
        self.spans.metrics.as_mut().is_none_or(|tally| tally.count(counted, now_unix_nano))
    }

    /// Takes the ends of a request that was accepted here. Returns those of other shards.
    pub fn take_ends(&mut self, ends: Ends, now_unix_nano: u64) -> Vec<(u16, Ends)> {
        let Some(graph) = self.graph.as_mut().filter(|_| !ends.is_empty()) else { return Vec::new() };
        let others = ends.of_others(graph.shard());
        graph.take(&ends, now_unix_nano);
        if let Some(gatherer) = &mut self.spans.graph {
            gatherer.recycle(ends);
        }
        others
    }

    /// Takes ends that another core was given.
    pub fn hear_ends(&mut self, ends: &Ends, now_unix_nano: u64) {
        if let Some(graph) = &mut self.graph {
            graph.take(ends, now_unix_nano);
        }
    }

    /// Notes the spans of a request that goes on: they are examples of what was counted.
    pub fn note_kept(&mut self, request: &[u8]) {
        if let Some(tally) = &mut self.spans.metrics {
            tally.note_kept(request);
        }
    }

    /// What was noted since the last call. A crash may lose it: it is for no log.
    pub fn take_exemplars(&mut self) -> Summary {
        let exemplars = self.spans.metrics.as_mut().map(span_metrics::Tally::take_exemplars).unwrap_or_default();
        Summary { exemplars, ..Summary::default() }
    }

    /// Says what of a sound request of metrics goes on. Counts the rest with `counts`, where no former run has.
    pub fn take_metrics(&mut self, request: &[u8], arrived_unix_nano: u64, counts: bool) -> Option<Taken> {
        Some(self.metrics.as_mut()?.take(request, arrived_unix_nano, counts))
    }

    /// Counts the records of a sound request of logs.
    pub fn count_logs(&mut self, request: &[u8], arrived_unix_nano: u64) {
        if let Some(tally) = &mut self.logs {
            let mut visitor = LogCount { tally, service: Vec::new(), arrived_unix_nano };
            // What is not sound was refused before.
            _ = logs(request, u32::MAX, &mut visitor);
        }
    }

    /// Counts traces that a shard has dropped.
    pub fn add_skeletons(&mut self, partial: SkeletonsPartial) {
        if let Some(skeletons) = &mut self.skeletons {
            skeletons.merge(partial);
        }
    }

    /// Shapes of dropped traces in the window, and traces that count for none of their own.
    #[must_use]
    pub fn shapes(&self) -> (u64, u64) {
        self.skeletons.as_ref().map_or((0, 0), |skeletons| (skeletons.len() as u64, skeletons.overflowed()))
    }

    /// Lines counted, and those that count for no pattern of their own.
    #[must_use]
    pub fn lines(&self) -> (u64, u64) {
        self.logs.as_ref().map_or((0, 0), |logs| (logs.lines, logs.overflowed + logs.tally.overflowed()))
    }

    /// Puts into `summary`, that of the open window, all that was counted in it until now.
    pub fn take_into(&mut self, summary: &mut Summary, now_unix_nano: u64) {
        if let Some(spans) = &mut self.spans.metrics {
            spans.take_into(&mut summary.spans);
        }
        if let Some(graph) = &mut self.graph {
            graph.expire(now_unix_nano);
            graph.take_into(&mut summary.edges);
        }
        summary.open.clear();
        if let Some(metrics) = self.metrics.as_ref().filter(|metrics| metrics.bytes() > 0) {
            summary.open.push((KIND_METRICS, metrics.partial().to_bytes()));
        }
        if let Some(logs) = &mut self.logs {
            summary.open.extend(logs.partial().map(|bytes| (KIND_LOGS, bytes)));
        }
        if let Some(skeletons) = self.skeletons.as_ref().filter(|skeletons| !skeletons.is_empty()) {
            summary.open.push((KIND_SKELETONS, skeletons.to_partial().to_bytes()));
        }
    }

    /// The same where the window is closed: what is counted next is for another.
    pub fn close_into(&mut self, summary: &mut Summary, now_unix_nano: u64) {
        self.take_into(summary, now_unix_nano);
        summary.parts.append(&mut summary.open);
        if let Some(spans) = &mut self.spans.metrics {
            spans.begin_window();
        }
        if let Some(graph) = &mut self.graph {
            graph.begin_window();
        }
        if let Some(metrics) = &mut self.metrics {
            metrics.take_partial();
        }
        if let Some(logs) = &mut self.logs {
            logs.begin_window();
        }
        if let Some(skeletons) = &mut self.skeletons {
            skeletons.clear();
        }
    }
}

impl LogTally {
    fn new(plan: &PatternsPlan, seed: u64) -> Result<Self, PatternsError> {
        let (tally, window) = (Patterns::new(plan, seed)?, PatternSums::new(plan, seed)?);
        Ok(Self { plan: plan.clone(), seed, tally, window, lines: 0, overflowed: 0 })
    }

    /// All of the window, unless that is nothing.
    fn partial(&mut self) -> Option<Vec<u8>> {
        self.overflowed += self.tally.overflowed();
        self.window.merge(&self.tally.take());
        let partial = self.window.to_partial();
        // Nothing in it can fail to be written.
        (!partial.is_empty()).then(|| partial.encode().unwrap_or_default())
    }

    fn begin_window(&mut self) {
        // The plan was good before.
        if let Ok(window) = PatternSums::new(&self.plan, self.seed) {
            self.window = window;
        }
    }
}

/// Counts the records of a request.
struct LogCount<'a> {
    tally: &'a mut LogTally,
    service: Vec<u8>,
    arrived_unix_nano: u64,
}

impl LogVisitor for LogCount<'_> {
    fn resource_begin(&mut self) {
        self.service.clear();
    }

    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        if attribute.key == b"service.name"
            && let Some(service) = attribute.value.text()
        {
            self.service = service.to_vec();
        }
    }

    fn record(&mut self, facts: &LogFacts<'_>) {
        self.tally.lines += 1;
        self.tally.tally.count(&self.service, &PatternInput::from(facts), self.arrived_unix_nano);
    }

    fn record_refused(&mut self, _: RecordFault) {}
}

/// What was counted in a window.
#[derive(Debug, Clone, Default)]
pub struct Summary {
    /// Of spans.
    pub spans: span_metrics::Sums,
    /// Examples of what is counted of spans: none where they are to be in a log.
    pub exemplars: Exemplars,
    /// Of requests between services.
    pub edges: EdgeSums,
    /// Partials by their kinds: those that are complete, and those of a window that is open, which are told anew each time.
    parts: Vec<(u8, Vec<u8>)>,
    open: Vec<(u8, Vec<u8>)>,
}

const KIND_SPANS: u8 = 1;
const KIND_METRICS: u8 = 2;
const KIND_LOGS: u8 = 3;
const KIND_EDGES: u8 = 4;
const KIND_EXEMPLARS: u8 = 5;
const KIND_SKELETONS: u8 = 6;

impl Counts for Summary {
    fn merge(&mut self, other: Self) {
        self.spans.merge(other.spans);
        self.exemplars.merge(other.exemplars);
        self.edges.merge(other.edges);
        self.parts.extend(other.parts);
        self.parts.extend(other.open);
    }

    fn is_empty(&self) -> bool {
        self.spans.is_empty()
            && self.exemplars.is_empty()
            && self.edges.is_empty()
            && self.parts.is_empty()
            && self.open.is_empty()
    }

    fn write(&self, out: &mut Vec<u8>) {
        if !self.spans.is_empty() {
            put_part(out, KIND_SPANS, |out| self.spans.write(out));
        }
        if !self.exemplars.is_empty() {
            put_part(out, KIND_EXEMPLARS, |out| self.exemplars.write(out));
        }
        if !self.edges.is_empty() {
            put_part(out, KIND_EDGES, |out| self.edges.write(out));
        }
        for (kind, bytes) in self.parts.iter().chain(&self.open) {
            put_part(out, *kind, |out| out.extend_from_slice(bytes));
        }
    }

    fn read(bytes: &[u8]) -> Result<Self, StateError> {
        let (mut summary, mut rest) = (Self::default(), bytes);
        while let Some((kind, after)) = rest.split_first() {
            let (length, after) = after.split_first_chunk().ok_or(StateError::Damaged)?;
            let length = usize::try_from(u32::from_le_bytes(*length)).map_err(|_| StateError::Damaged)?;
            let (part, after) = after.split_at_checked(length).ok_or(StateError::Damaged)?;
            match *kind {
                KIND_SPANS => summary.spans.merge(span_metrics::Sums::read(part)?),
                KIND_EXEMPLARS => summary.exemplars.merge(Exemplars::read(part)?),
                KIND_EDGES => summary.edges.merge(EdgeSums::read(part)?),
                KIND_METRICS | KIND_LOGS | KIND_SKELETONS => summary.parts.push((*kind, part.to_vec())),
                _ => return Err(StateError::Damaged),
            }
            rest = after;
        }
        Ok(summary)
    }
}

fn put_part(out: &mut Vec<u8>, kind: u8, put: impl FnOnce(&mut Vec<u8>)) {
    out.push(kind);
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put(out);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

/// What can be told apart in what was told: of spans in all series, of the others in the last window that told any.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Visible {
    /// In span metrics.
    pub spans: span_metrics::Visible,
    /// Log patterns.
    pub log_patterns: u64,
    /// Shapes of dropped traces.
    pub shapes: u64,
}

/// What leaves the node, with what was told before.
#[derive(Debug)]
pub struct Outputs {
    /// Of spans.
    pub spans: Option<span_metrics::Output>,
    /// Of requests between services.
    pub graph: Option<service_graph::Output>,
    /// Of metric points.
    pub metrics: Option<MetricSums>,
    /// Of logs.
    pub logs: Option<PatternSums>,
    /// Of traces that were dropped.
    pub skeletons: Option<SkeletonSums>,
    carried: Vec<u8>,
    visible: Visible,
    /// Partials that could not be read: what they had counted is lost.
    pub damaged: u64,
}

impl Outputs {
    /// Nothing told yet, but for what a former run carried. Counting begins at `now_unix_nano`.
    ///
    /// # Errors
    /// What is wrong with the plan of patterns.
    pub fn new(plan: &SummaryPlan, carried: &[u8], seed: u64, now_unix_nano: u64) -> Result<Self, PatternsError> {
        let mut outputs = Self {
            spans: plan.spans.clone().map(span_metrics::Output::new),
            graph: plan.graph.clone().map(service_graph::Output::new),
            metrics: plan.metrics.as_ref().map(|plan| MetricSums::new(plan.bounds, now_unix_nano)),
            logs: plan.logs.as_ref().map(|plan| PatternSums::new(plan, seed)).transpose()?,
            skeletons: plan.skeletons.map(SkeletonSums::new),
            carried: carried.to_vec(),
            visible: Visible::default(),
            damaged: 0,
        };
        if let Some(metrics) = outputs.metrics.as_mut().filter(|_| !carried.is_empty()) {
            match MetricsPartial::from_bytes(carried) {
                Ok(partial) => metrics.merge(&partial),
                Err(_) => outputs.damaged += 1,
            }
        }
        Ok(outputs)
    }

    /// What is to be known after a crash besides what was counted, as of the last emission.
    #[must_use]
    pub fn carried(&self) -> &[u8] {
        &self.carried
    }

    /// What can be told apart.
    #[must_use]
    pub fn visible(&self) -> &Visible {
        &self.visible
    }

    /// A window is over that came to `summary`. What leaves of it; with `all` also of metrics whose own window goes on.
    pub fn emit(&mut self, summary: Summary, now_unix_nano: u64, all: bool) -> Vec<Body> {
        let mut bodies = Vec::new();
        for (kind, bytes) in &summary.parts {
            self.damaged += u64::from(!self.take_part(*kind, bytes));
        }
        if let Some(spans) = &mut self.spans {
            bodies.extend(spans.emit(summary.spans, summary.exemplars, now_unix_nano));
            self.visible.spans = spans.visible();
        }
        if let Some(graph) = &mut self.graph {
            bodies.extend(graph.emit(summary.edges, now_unix_nano));
        }
        if let Some(metrics) = &mut self.metrics {
            let emitted = metrics.emit(now_unix_nano, REQUEST_BYTES, all);
            let body = |emitted: crate::metrics::Emitted| Body {
                signal: Signal::Metrics,
                items: emitted.points,
                bytes: emitted.body,
            };
            bodies.extend(emitted.into_iter().map(body));
            metrics.expire(now_unix_nano);
            self.carried = metrics.to_partial().to_bytes();
        }
        let items = |bytes: &[u8]| tailwater_proto::otlp::check::items(Signal::Logs, bytes).unwrap_or(0);
        let mut records = Vec::new();
        if let Some(logs) = &mut self.logs {
            records.extend(logs.take_requests(now_unix_nano, REQUEST_BYTES));
        }
        let patterns = records.iter().map(|bytes| u64::from(items(bytes))).sum();
        if patterns > 0 {
            self.visible.log_patterns = patterns;
        }
        if let Some(skeletons) = &mut self.skeletons {
            if !skeletons.is_empty() {
                self.visible.shapes = skeletons.len() as u64;
            }
            records.extend(skeletons.take_requests(now_unix_nano, REQUEST_BYTES));
        }
        bodies.extend(records.into_iter().map(|bytes| Body { signal: Signal::Logs, items: items(&bytes), bytes }));
        bodies
    }

    /// Adds a partial; what is not summed up any more since a restart is passed over. False where it is damaged.
    fn take_part(&mut self, kind: u8, bytes: &[u8]) -> bool {
        match kind {
            KIND_METRICS => self
                .metrics
                .as_mut()
                .is_none_or(|metrics| MetricsPartial::from_bytes(bytes).map(|partial| metrics.merge(&partial)).is_ok()),
            KIND_LOGS => self
                .logs
                .as_mut()
                .is_none_or(|logs| PatternsPartial::decode(bytes).map(|partial| logs.merge(&partial)).is_ok()),
            KIND_SKELETONS => self.skeletons.as_mut().is_none_or(|skeletons| {
                SkeletonsPartial::from_bytes(bytes).map(|partial| skeletons.merge(partial)).is_ok()
            }),
            _ => true,
        }
    }
}

#[cfg(test)]
mod tests;
