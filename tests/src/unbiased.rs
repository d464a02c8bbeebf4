//! Whether counts weighted by thresholds add up: traces of known number go through simulated shards, some spans already
//! sampled by their sender (OTEP 235), and the kept spans' adjusted counts are compared with the truth, by service and
//! route.
//!
//! Randomness is drawn from a sequence that fills its range evenly, so that a bias shows above the noise.

use crate::shard_host::Kept;
use crate::shard_plan::roomy;
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailwater_config::sampling::Sampling;
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::ExportRequest;
use tailwater_engine::rules::{Left, Rules};
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Nanos, Origin};
use tailwater_proto::consistent::{NEVER, adjusted_count, put_threshold, randomness_of};
use tailwater_proto::tracestate;

/// Services, and the threshold with which each samples its own spans.
const LEVELS: [u64; 4] = [0, 0, NEVER / 2, NEVER / 4 * 3];
/// Routes of each service.
const ROUTES: usize = 2;
/// Traces in one step of time.
const STEP_TRACES: usize = 200;
/// A step of time: with the former, 2,000 traces a second.
const STEP: Nanos = Nanos::from_millis(100);
const STEPS_PER_SECOND: usize = 10;

/// One run.
#[derive(Debug, Clone)]
pub struct Trial {
    /// What to keep.
    pub sampling: Sampling,
    /// Shards of the node.
    pub shards: u16,
    /// Traces sent.
    pub traces: usize,
    /// Whether services sample before they send.
    pub is_head_sampled: bool,
    /// Decides everything but the randomness.
    pub seed: u64,
    /// What is left of limits and percentages, second by second, over and over; all where there is nothing.
    pub left: Vec<Left>,
}

/// A total by service and route: all there were, and as estimated from what was kept.
#[derive(Debug, Clone, Copy, Default)]
pub struct Total {
    /// All there were.
    pub truth: f64,
    /// Sum of the adjusted counts of those that were kept.
    pub estimate: f64,
    /// How many were kept.
    pub kept: u64,
}

impl Total {
    /// How far the estimate is off, as a share of the truth.
    #[must_use]
    pub fn error(&self) -> f64 {
        (self.estimate / self.truth - 1.0).abs()
    }
}

/// Totals of spans and of traces, by service and route.
#[derive(Debug, Default)]
pub struct Totals {
    /// Spans.
    pub spans: BTreeMap<(usize, usize), Total>,
    /// Traces, by their root span.
    pub traces: BTreeMap<(usize, usize), Total>,
}

impl Totals {
    /// The largest error of any total.
    #[must_use]
    pub fn worst(&self) -> f64 {
        self.spans.values().chain(self.traces.values()).map(Total::error).fold(0.0, f64::max)
    }

    /// All traces together: where many are few, their noise hides less here.
    #[must_use]
    pub fn all_traces(&self) -> Total {
        self.traces.values().fold(Total::default(), |all, one| Total {
            truth: all.truth + one.truth,
            estimate: all.estimate + one.estimate,
            kept: all.kept + one.kept,
        })
    }

    /// The relative errors with their signs, spans before traces.
    #[must_use]
    pub fn signed(&self) -> String {
        let all = self.spans.iter().chain(&self.traces);
        let one = |(key, total): (&(usize, usize), &Total)| {
            format!("{key:?} {:+.2} % of {}", (total.estimate / total.truth - 1.0) * 100.0, total.truth)
        };
        all.map(one).collect::<Vec<_>>().join(", ")
    }

    /// Spans kept.
    #[must_use]
    pub fn kept(&self) -> u64 {
        self.spans.values().map(|total| total.kept).sum()
    }
}

fn shard_plan(shard: u16, trial: &Trial) -> ShardPlan {
    ShardPlan {
        traces_max: 100_000,
        arena_bytes_max: 256 << 20,
        chunk_bytes: 1 << 20,
        kept_verdicts_max: 1000,
        dropped_verdicts_max: 1000,
        batch: BatchLimits { spans_max: 1000, bytes_max: 1 << 20 },
        ..roomy(shard, trial.shards, trial.seed)
    }
}

/// Service and route of the root, the span with an error, whether the trace is slow, its spans.
type Class = (usize, usize, Option<usize>, bool, usize);

struct World<'a> {
    trial: &'a Trial,
    random: Rng,
    totals: Totals,
    /// Of each class of traces: where its randomness begins, and traces so far.
    drawn: BTreeMap<Class, (u64, u64)>,
}

/// 2^56 divided by the golden ratio: multiples of it fill the range evenly.
const GOLDEN: u64 = 0x009e_3779_b97f_4a7d;

impl World<'_> {
    /// The spans of a new trace that arrive, each with its service.
    fn trace(&mut self) -> Vec<(usize, Span)> {
        let (service, route) = (self.random.usize(0..LEVELS.len()), self.random.usize(0..ROUTES));
        let count = self.random.usize(1..8);
        let faulty = (self.random.u8(0..10) == 0).then(|| self.random.usize(0..count));
        let is_slow = self.random.u8(0..4) == 0;
        let class = (service, route, faulty, is_slow, count);
        let classes = self.drawn.len() as u64;
        let (start, drawn) = self.drawn.entry(class).or_insert_with(|| (classes.wrapping_mul(GOLDEN * 31), 0));
        *drawn += 1;
        let randomness = start.wrapping_add(drawn.wrapping_mul(GOLDEN)) & (NEVER - 1);
        let id: u128 = u128::from(self.random.u64(..)) << 64 | u128::from(self.random.u8(..)) << 56;
        let trace_id = (id | u128::from(randomness)).to_be_bytes();
        assert_eq!(randomness_of(&trace_id), randomness);
        let duration = if is_slow { 180 } else { 20 } * Nanos::PER_MILLISECOND;
        self.totals.traces.entry((service, route)).or_default().truth += 1.0;
        let mut spans = Vec::new();
        for number in 0..count {
            // Each service calls the next.
            let (service, route) = ((service + number) % LEVELS.len(), (route + number) % ROUTES);
            self.totals.spans.entry((service, route)).or_default().truth += 1.0;
            let level = if self.trial.is_head_sampled { LEVELS[service] } else { 0 };
            if randomness < level {
                continue;
            }
            let is_faulty = faulty == Some(number);
            spans.push((
                service,
                Span {
                    trace_id: trace_id.to_vec(),
                    span_id: self.random.u64(1..).to_be_bytes().to_vec(),
                    parent_span_id: if number == 0 { Vec::new() } else { vec![1; 8] },
                    trace_state: if self.trial.is_head_sampled { header(level) } else { String::new() },
                    name: format!("{service} {route}"),
                    start_time_unix_nano: 1_000_000_000,
                    end_time_unix_nano: 1_000_000_000 + if number == 0 { duration } else { duration / 2 },
                    attributes: vec![attribute("route", &route.to_string())],
                    status: is_faulty.then(|| Status { code: 2, ..Status::default() }),
                    ..Span::default()
                },
            ));
        }
        spans
    }

    fn count(&mut self, request: &ExportRequest) {
        let decoded = ExportTraceServiceRequest::decode(request.body.clone()).unwrap();
        let scopes = decoded.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let mut words = span.name.split(' ').map(|word| word.parse().unwrap());
            let key = (words.next().unwrap(), words.next().unwrap());
            let state = tracestate::read(span.trace_state.as_bytes()).unwrap();
            let randomness = state
                .randomness
                .unwrap_or_else(|| randomness_of(&<[u8; 16]>::try_from(span.trace_id.as_slice()).unwrap()));
            assert!(state.threshold.is_none_or(|threshold| threshold <= randomness), "the threshold holds");
            let weight = state.threshold.map_or(1.0, adjusted_count);
            let total = self.totals.spans.get_mut(&key).unwrap();
            (total.estimate, total.kept) = (total.estimate + weight, total.kept + 1);
            if span.parent_span_id.is_empty() {
                let total = self.totals.traces.get_mut(&key).unwrap();
                (total.estimate, total.kept) = (total.estimate + weight, total.kept + 1);
            }
        }
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..KeyValue::default() }
}

fn header(level: u64) -> String {
    let mut text = b"a=b,ot=th:".to_vec();
    put_threshold(level, &mut text);
    String::from_utf8(text).unwrap()
}

/// Sends the trial's traces through its shards and adds up what comes out.
#[must_use]
pub fn run(trial: &Trial) -> Totals {
    let rules = Arc::new(Rules::compile(&trial.sampling).unwrap());
    let mut shards: Vec<Shard> =
        (0..trial.shards).map(|shard| Shard::new(shard_plan(shard, trial), rules.clone())).collect();
    let mut world =
        World { trial, random: Rng::with_seed(trial.seed), totals: Totals::default(), drawn: BTreeMap::new() };
    let mut now = Nanos(Nanos::PER_SECOND);
    let mut kept = Kept::default();
    for step in 0..trial.traces / STEP_TRACES {
        now = now.plus(STEP);
        let second = step / STEPS_PER_SECOND;
        if let Some(left) = trial.left.get(second % trial.left.len().max(1)) {
            shards.iter_mut().for_each(|shard| shard.leave(*left));
        }
        let receiver = step % shards.len();
        let spans: Vec<_> = (0..STEP_TRACES).flat_map(|_| world.trace()).collect();
        let mut scanned = shards[receiver].scan(&encode(spans)).unwrap();
        shards[receiver].accept(scanned.spans());
        scanned.place(Origin::NONE, now);
        for (target, batch) in scanned.batches {
            shards[usize::from(target.0)].take(now, batch, &mut kept);
        }
        for shard in &mut shards {
            while shard.tick(now, &mut kept) {}
        }
        kept.requests.drain(..).for_each(|request| world.count(&request));
    }
    for shard in &mut shards {
        while shard.drain(now, &mut kept) {}
    }
    kept.requests.drain(..).for_each(|request| world.count(&request));
    world.totals
}

fn encode(spans: Vec<(usize, Span)>) -> Bytes {
    let mut services: BTreeMap<usize, Vec<Span>> = BTreeMap::new();
    spans.into_iter().for_each(|(service, span)| services.entry(service).or_default().push(span));
    let resource_spans = services.into_values().map(|spans| ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec().into()
}
