//! A node in one thread: its shards are the real ones, the mesh, the senders, the next hop and time are simulated, and
//! a seed decides what happens next. Everything that must hold is checked after every step.
//!
//! Fault model: requests reach any core; batches between cores wait any time but keep their order; the next hop
//! delivers, refuses or gives up; ticks come late; spans come after their trace was judged; bounds are tight.

use crate::shard_plan::roomy;
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::ledger::{Account, DropReason};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan, TICK};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, Origin, SpanBatch, Unit};

/// What one run may vary.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Shards of the node.
    pub shards: u16,
    /// Traces sent.
    pub traces: usize,
    /// Undecided traces each shard may hold.
    pub traces_max: usize,
    /// Bytes each arena may hold.
    pub arena_bytes_max: usize,
    /// Verdicts each shard remembers, of each kind.
    pub verdicts_max: usize,
    /// Share of spans that come after their trace's deadline, percent.
    pub late_percent: u32,
    /// Share of export requests that fail for good, percent.
    pub refused_percent: u32,
    /// The wait after a root span; 0 for none.
    pub root_wait_ms: u64,
}

impl Scenario {
    /// Bounds that nothing in the run reaches.
    #[must_use]
    pub fn roomy(random: &mut Rng) -> Self {
        Self {
            shards: random.u16(1..5),
            traces: random.usize(1..60),
            traces_max: 1000,
            arena_bytes_max: 4 << 20,
            verdicts_max: 1000,
            late_percent: random.u32(0..20),
            refused_percent: 0,
            root_wait_ms: 0,
        }
    }

    /// Bounds that are reached all the time.
    #[must_use]
    pub fn tight(random: &mut Rng) -> Self {
        Self {
            shards: random.u16(1..4),
            traces: random.usize(20..120),
            traces_max: random.usize(1..12),
            arena_bytes_max: random.usize(2..8) * 4096,
            verdicts_max: 1000,
            late_percent: random.u32(0..30),
            refused_percent: random.u32(0..30),
            root_wait_ms: random.u64(0..2) * 300,
        }
    }
}

/// The next hop and the exporter in front of it.
#[derive(Default)]
struct Outbox {
    requests: VecDeque<ExportRequest>,
}

impl Host for Outbox {
    fn export(&mut self, request: ExportRequest) {
        self.requests.push_back(request);
    }

    fn judged(&mut self, _: &Judged) {}

    fn resolve(&mut self, _: Unit) {
        unreachable!("nothing is logged here");
    }

    fn recall(&mut self, _: KeptUnit) {
        unreachable!("nothing is logged here");
    }
}

/// A span the senders know of.
#[derive(Debug, Clone)]
struct Sent {
    trace: usize,
    span: Span,
    service: usize,
    send_at: u64,
}

/// The model of one trace: judged at the first tick of its shard after its wait, on what had come by then.
#[derive(Debug)]
struct Expected {
    shard: usize,
    first_taken: Nanos,
    says_keep: bool,
    kept: Option<bool>,
}

/// The node and everything around it.
pub struct World {
    scenario: Scenario,
    random: Rng,
    now: Nanos,
    shards: Vec<Shard>,
    outboxes: Vec<Outbox>,
    /// Queues between cores, by (source, target).
    mesh: BTreeMap<(u16, u16), VecDeque<SpanBatch>>,
    unsent: Vec<Sent>,
    sent: Vec<Sent>,
    /// What each trace should come to, by its id.
    expected: BTreeMap<Vec<u8>, Expected>,
    exported: BTreeMap<Vec<u8>, Vec<u8>>,
    refused_spans: BTreeSet<Vec<u8>>,
}

const DECISION_WAIT_MS: u64 = 1000;
const CHUNK_BYTES: usize = 4096;

fn plan(scenario: &Scenario, shard: u16, seed: u64) -> ShardPlan {
    ShardPlan {
        traces_max: scenario.traces_max,
        arena_bytes_max: scenario.arena_bytes_max,
        chunk_bytes: CHUNK_BYTES,
        span_bytes_max: 1 << 16,
        kept_verdicts_max: scenario.verdicts_max,
        dropped_verdicts_max: scenario.verdicts_max,
        decision_wait: Nanos::from_millis(DECISION_WAIT_MS),
        decision_wait_after_root: Nanos::from_millis(scenario.root_wait_ms),
        batch: BatchLimits { spans_max: 50, bytes_max: 20_000 },
        ..roomy(shard, scenario.shards, seed)
    }
}

/// Errors are kept, and what is marked; nothing else is.
///
/// # Panics
/// Never: they compile.
#[must_use]
pub fn rules() -> Arc<Rules> {
    let keep_errors = Policy::new("errors", Rule::StatusCode { ok: false, error: true, unset: false });
    let values = vec!["keep".into()];
    let slow = Policy::new("marked", Rule::StringAttribute { key: "mark".into(), values, regex: false, invert: false });
    let sampling = Sampling { policies: vec![keep_errors, slow], ..Sampling::default() };
    Arc::new(Rules::compile(&sampling).unwrap())
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

impl World {
    /// A world in which the senders are about to send.
    #[must_use]
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        let rules = rules();
        let shards = (0..scenario.shards).map(|shard| Shard::new(plan(&scenario, shard, seed), rules.clone()));
        let mut unsent = Vec::new();
        for trace in 0..scenario.traces {
            let begin = random.u64(0..3000);
            let count = random.usize(1..12);
            let marked = random.u8(0..4) == 0;
            for number in 0..count {
                let late = random.u32(0..100) < scenario.late_percent;
                let send_at = begin + random.u64(0..DECISION_WAIT_MS / 2) + if late { 3 * DECISION_WAIT_MS } else { 0 };
                let is_last = number + 1 == count;
                unsent.push(Sent {
                    trace,
                    span: span(&mut random, trace, number, marked && is_last),
                    service: random.usize(0..4),
                    send_at,
                });
            }
        }
        unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
        Self {
            shards: shards.collect(),
            outboxes: (0..scenario.shards).map(|_| Outbox::default()).collect(),
            mesh: BTreeMap::new(),
            unsent,
            sent: Vec::new(),
            expected: BTreeMap::new(),
            exported: BTreeMap::new(),
            refused_spans: BTreeSet::new(),
            now: Nanos::default(),
            scenario,
            random,
        }
    }

    /// Runs until everything sent is settled, checking the invariants after every step.
    pub fn run(&mut self) {
        while !self.unsent.is_empty() || self.account().pending() > 0 {
            self.step();
            self.check();
        }
        self.check_outcome();
    }

    fn step(&mut self) {
        match self.random.u8(0..10) {
            0..4 => self.now = self.now.plus(Nanos::from_millis(self.random.u64(1..40))),
            4..6 => self.send(),
            6..8 => self.deliver(),
            8 => self.tick(),
            _ => self.settle(),
        }
    }

    /// One request with whatever is due to be sent, to any core.
    fn send(&mut self) {
        let now_ms = self.now.0 / Nanos::PER_MILLISECOND;
        let count = self.random.usize(1..20);
        let mut batch = Vec::new();
        while batch.len() < count && self.unsent.last().is_some_and(|sent| sent.send_at <= now_ms) {
            batch.extend(self.unsent.pop());
        }
        if batch.is_empty() {
            return;
        }
        let core = self.random.u16(0..self.scenario.shards);
        let body = encode(batch.iter().map(|sent| (sent.service, &sent.span)));
        let shard = &mut self.shards[usize::from(core)];
        let mut scanned = shard.scan(&body).unwrap();
        assert_eq!((scanned.accepted as usize, scanned.refused), (batch.len(), 0));
        shard.accept(scanned.spans());
        // The model counts a trace's wait from when its owner takes its first span: so late the request came.
        scanned.place(Origin::NONE, Nanos::default());
        for (target, spans) in scanned.batches {
            self.mesh.entry((core, target.0)).or_default().push_back(spans);
        }
        self.sent.extend(batch);
    }

    fn deliver(&mut self) {
        let waiting: Vec<_> = self.mesh.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
        let Some((source, target)) = self.random.choice(waiting) else { return };
        let batch = self.mesh.get_mut(&(source, target)).and_then(VecDeque::pop_front).unwrap();
        let target = usize::from(target);
        let batch = SpanBatch { arrived: self.now, ..batch };
        self.model_take(target, &batch);
        self.shards[target].take(self.now, batch, &mut self.outboxes[target]);
    }

    fn model_take(&mut self, shard: usize, batch: &SpanBatch) {
        for record in &batch.spans {
            let start = record.offset as usize;
            let span = Span::decode(&batch.body[start..start + record.length as usize]).unwrap();
            let fresh = Expected { shard, first_taken: self.now, says_keep: false, kept: None };
            let expected = self.expected.entry(record.trace_id.to_vec()).or_insert(fresh);
            if expected.kept.is_none() {
                expected.says_keep |= span.status.is_some() || !span.attributes.is_empty();
            }
        }
    }

    fn tick(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        for expected in self.expected.values_mut().filter(|expected| expected.shard == shard) {
            let deadline = expected.first_taken.plus(Nanos::from_millis(DECISION_WAIT_MS)).0.div_ceil(TICK.0);
            if expected.kept.is_none() && deadline <= self.now.0 / TICK.0 {
                expected.kept = Some(expected.says_keep);
            }
        }
        self.shards[shard].tick(self.now, &mut self.outboxes[shard]);
    }

    fn settle(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        let Some(request) = self.outboxes[shard].requests.pop_front() else { return };
        let refused = self.random.u32(0..100) < self.scenario.refused_percent;
        let decoded = ExportTraceServiceRequest::decode(request.body).unwrap();
        let mut items = 0;
        let mut resources = BTreeSet::new();
        for resource_spans in decoded.resource_spans {
            let resource = resource_spans.resource.unwrap_or_default().encode_to_vec();
            assert!(resources.insert(resource), "one ResourceSpans a resource");
            for scope_spans in resource_spans.scope_spans {
                assert_eq!(scope_spans.schema_url, "schema");
                for span in scope_spans.spans {
                    items += 1;
                    if refused {
                        assert!(self.refused_spans.insert(span.span_id.clone()));
                    }
                    let before = self.exported.insert(span.span_id.clone(), span.encode_to_vec());
                    assert!(before.is_none(), "a span is exported once");
                }
            }
        }
        assert_eq!(items, request.items);
        let fate = if refused { ExportFate::Refused } else { ExportFate::Delivered };
        self.shards[shard].settle(request.signal, request.items, fate);
    }

    fn account(&self) -> Account {
        let mut sum = Account::default();
        for shard in &self.shards {
            sum.add(&shard.ledger().spans);
        }
        sum
    }

    fn check(&self) {
        let account = self.account();
        assert!(account.balances(), "{account:?}");
        assert_eq!(account.received as usize, self.sent.len());
        let in_mesh: usize = self.mesh.values().flatten().map(|batch| batch.spans.len()).sum();
        assert_eq!((account.handed_over - account.taken_over) as usize, in_mesh, "transit is what the mesh holds");
        for shard in &self.shards {
            assert!(shard.buffer_bytes() <= self.scenario.arena_bytes_max + ENVELOPE_SLACK_BYTES);
            assert!(shard.ledger().traces.pending as usize <= self.scenario.traces_max);
        }
    }

    /// At the end: every trace is whole or absent, verdicts are right, bytes are unchanged.
    fn check_outcome(&self) {
        let account = self.account();
        let lost_to_memory = account.dropped[DropReason::MemoryFull as usize];
        let mut missing = 0;
        let mut by_trace: BTreeMap<usize, Vec<&Sent>> = BTreeMap::new();
        for sent in &self.sent {
            by_trace.entry(sent.trace).or_default().push(sent);
        }
        for spans in by_trace.values() {
            let out: Vec<_> = spans.iter().filter_map(|sent| self.exported.get(&sent.span.span_id)).collect();
            if !out.is_empty() {
                missing += spans.len() - out.len();
            }
            for sent in spans {
                if let Some(bytes) = self.exported.get(&sent.span.span_id) {
                    assert_eq!(*bytes, sent.span.encode_to_vec(), "byte for byte");
                }
            }
            if self.scenario.traces_max > self.scenario.traces {
                self.check_verdict(spans, !out.is_empty());
            }
        }
        assert!(missing as u64 <= lost_to_memory, "{missing} spans of kept traces missing, {lost_to_memory} counted");
        assert_eq!(account.exported as usize, self.exported.len() - self.refused_spans.len());
        assert!(self.shards.iter().all(|shard| shard.ledger().traces.pending == 0));
    }

    /// With room for everything a trace is kept exactly when a span that came before the verdict says so.
    fn check_verdict(&self, spans: &[&Sent], kept: bool) {
        let expected = &self.expected[&spans[0].span.trace_id];
        assert_eq!(expected.kept, Some(kept), "{expected:?} {spans:?}");
    }
}

/// Envelopes of one request may be interned past the bound before a chunk is refused.
const ENVELOPE_SLACK_BYTES: usize = 4096;

/// Span `number` of a trace, marked as to be kept or not.
#[must_use]
pub fn span(random: &mut Rng, trace: usize, number: usize, marked: bool) -> Span {
    let error = marked && random.bool();
    let attributes = if marked && !error { vec![attribute("mark", "keep")] } else { Vec::new() };
    let mut trace_id = [0u8; 16];
    trace_id[..8].copy_from_slice(&(trace as u64 + 1).to_be_bytes());
    Span {
        trace_id: trace_id.to_vec(),
        span_id: ((trace as u64 + 1) << 16 | number as u64).to_be_bytes().to_vec(),
        parent_span_id: if number == 0 { Vec::new() } else { vec![1; 8] },
        name: "n".repeat(random.usize(0..300)),
        status: error.then(|| Status { code: 2, ..Default::default() }),
        attributes,
        ..Default::default()
    }
}

/// A request of these spans, each with its service's number.
#[must_use]
pub fn encode<'a>(spans: impl Iterator<Item = (usize, &'a Span)>) -> Bytes {
    let mut services: BTreeMap<usize, Vec<Span>> = BTreeMap::new();
    for (service, span) in spans {
        services.entry(service).or_default().push(span.clone());
    }
    let resource_spans = services.into_iter().map(|(service, spans)| ResourceSpans {
        resource: Some(Resource {
            attributes: vec![attribute("service.name", &format!("service-{service}"))],
            ..Default::default()
        }),
        scope_spans: vec![ScopeSpans { spans, schema_url: "schema".into(), ..Default::default() }],
        schema_url: "resource schema".into(),
    });
    ExportTraceServiceRequest { resource_spans: resource_spans.collect() }.encode_to_vec().into()
}
