//! Rules that change under a node in one thread: its shards are the real ones, senders, mesh, log and next hop are
//! simulated, and a seed decides what happens next. Shards take a change over at different moments; batches are on
//! their way meanwhile; bytes leave memory. Each verdict is held against a model that knows nothing of leaves: the
//! policies of one generation over all spans that had come.

use crate::simulation::{encode, span};
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tailwater_config::sampling::{ErrorMode, Policy, RandomnessSource, Rule, Sampling, Strategy, Thresholds};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::ledger::Account;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{
    Destinations, Judged, KeptUnit, Nanos, Origin, SegmentHandle, ShardIndex, SpanBatch, TraceId, Unit, Verdict,
};

const DECISION_WAIT_MS: u64 = 1000;
/// Units of a request of the simulated log.
const UNITS_PER_REQUEST: u32 = 64;
/// Policies that never sample, so that leaves take more than one word.
const PADDING: usize = 70;

/// What one run may vary.
#[derive(Debug, Clone)]
pub struct ReloadScenario {
    /// Shards of the node.
    pub shards: u16,
    /// Traces sent.
    pub traces: usize,
    /// Steps in a hundred in which the rules change.
    pub reload_percent: u32,
    /// Whether requests are in a log, so that bytes may leave memory.
    pub is_logged: bool,
    /// Age past which they do; 0 for never.
    pub cold_after_ms: u64,
}

impl ReloadScenario {
    /// Any.
    #[must_use]
    pub fn any(random: &mut Rng) -> Self {
        let is_logged = random.bool();
        Self {
            shards: random.u16(1..4),
            traces: random.usize(1..40),
            reload_percent: random.u32(1..25),
            is_logged,
            cold_after_ms: if is_logged { random.u64(0..4) * 200 } else { 0 },
        }
    }
}

/// What a run has met.
#[derive(Debug, Clone, Copy, Default)]
pub struct Met {
    /// Verdicts.
    pub judged: u64,
    /// Verdicts under another generation than the one in force: of traces that were partly in the log only.
    pub judged_under_former: u64,
    /// Traces scanned again.
    pub scanned_again: u64,
    /// Traces judged before their time.
    pub judged_early: u64,
}

/// A set of policies, as the model sees it.
#[derive(Debug, Clone, Copy)]
enum Set {
    ErrorsThenMarked,
    Marked,
    PaddedErrors,
    SlowThenErrors,
    Service,
    Calm,
    Many,
    Limited,
    Condition,
}

const SETS: [Set; 9] = [
    Set::ErrorsThenMarked,
    Set::Marked,
    Set::PaddedErrors,
    Set::SlowThenErrors,
    Set::Service,
    Set::Calm,
    Set::Many,
    Set::Limited,
    Set::Condition,
];

fn text(name: &str, key: &str, value: &str) -> Policy {
    let values = vec![value.to_string()];
    Policy::new(name, Rule::StringAttribute { key: key.into(), values, regex: false, invert: false })
}

impl Set {
    fn policies(self) -> Vec<Policy> {
        let failed = Rule::StatusCode { ok: false, error: true, unset: false };
        let errors = Policy::new("errors", failed.clone());
        let marked = text("marked", "mark", "keep");
        match self {
            Self::ErrorsThenMarked => vec![errors, marked],
            Self::Marked => vec![marked],
            Self::PaddedErrors => {
                let padding = (0..PADDING).map(|number| text(&format!("never {number}"), &format!("k{number}"), "v"));
                padding.chain([marked, errors]).collect()
            }
            Self::SlowThenErrors => {
                vec![Policy::new("slow", Rule::Latency { threshold_ms: 100, upper_threshold_ms: 400 }), errors]
            }
            Self::Service => vec![text("service", "service.name", "service-1")],
            Self::Calm => vec![Policy::new("calm", Rule::Not(Box::new(errors)))],
            // A limit that lets all through: traces are judged window by window.
            Self::Limited => {
                let limit = Rule::RateLimiting { spans_per_second: 1_000_000, burst_capacity: 0 };
                vec![Policy::new("limited", limit)]
            }
            Self::Condition => {
                let span =
                    vec![r#"attributes["mark"] == "keep" and resource.attributes["service.name"] != nil"#.into()];
                let rule = Rule::OttlCondition { error_mode: ErrorMode::Ignore, span, spanevent: Vec::new() };
                vec![Policy::new("condition", rule)]
            }
            Self::Many => vec![Policy::new("many", Rule::SpanCount { min: 4, max: 0 })],
        }
    }

    /// The first policy that samples these spans, given in their order of arrival.
    fn keeps(self, spans: &[Taken]) -> Option<&'static str> {
        let errors = spans.iter().any(|taken| taken.span.status.is_some()).then_some("errors");
        let marked = spans.iter().any(|taken| !taken.span.attributes.is_empty()).then_some("marked");
        match self {
            Self::ErrorsThenMarked => errors.or(marked),
            Self::Marked => marked,
            Self::PaddedErrors => marked.or(errors),
            Self::SlowThenErrors => is_slow(spans).then_some("slow").or(errors),
            Self::Service => spans.iter().any(|taken| taken.service == 1).then_some("service"),
            Self::Calm => {
                if errors.is_none() {
                    Some("calm")
                } else {
                    None
                }
            }
            Self::Many => (spans.len() >= 4).then_some("many"),
            Self::Limited => Some("limited"),
            Self::Condition => marked.map(|_| "condition"),
        }
    }
}

/// Whether any prefix lasts for more than 100 and at most 400 milliseconds.
fn is_slow(spans: &[Taken]) -> bool {
    let (mut start, mut end) = (0, 0);
    spans.iter().any(|Taken { span, .. }| {
        start = if start == 0 { span.start_time_unix_nano } else { span.start_time_unix_nano.min(start) };
        end = span.end_time_unix_nano.max(end);
        let milliseconds = end.cast_signed().saturating_sub(start.cast_signed()) / 1_000_000;
        milliseconds > 100 && milliseconds <= 400
    })
}

/// A span as its shard took it.
#[derive(Debug, Clone)]
struct Taken {
    span: Span,
    service: usize,
}

/// What a shard asks of the world.
#[derive(Default)]
struct Recorder {
    requests: VecDeque<ExportRequest>,
    judged: Vec<Judged>,
    recalled: Vec<KeptUnit>,
}

impl Host for Recorder {
    fn export(&mut self, request: ExportRequest) {
        self.requests.push_back(request);
    }

    fn judged(&mut self, judged: &Judged) {
        self.judged.push(*judged);
    }

    fn resolve(&mut self, _: Unit) {}

    fn recall(&mut self, kept: KeptUnit) {
        self.recalled.push(kept);
    }
}

/// The node and everything around it.
pub struct ReloadWorld {
    scenario: ReloadScenario,
    seed: u64,
    random: Rng,
    now: Nanos,
    shards: Vec<Shard>,
    hosts: Vec<Recorder>,
    mesh: BTreeMap<(u16, u16), VecDeque<SpanBatch>>,
    unsent: Vec<(u64, Taken)>,
    /// All requests, as a log would have them.
    log: Vec<(Bytes, Vec<Taken>)>,
    generations: Vec<(Set, Arc<Rules>)>,
    /// By trace: the spans taken before its verdict, and the verdict.
    traces: BTreeMap<TraceId, (Vec<Taken>, Option<bool>)>,
    exported: BTreeMap<Vec<u8>, Vec<u8>>,
    met: Met,
}

fn plan(scenario: &ReloadScenario, shard: u16, seed: u64) -> ShardPlan {
    ShardPlan {
        shard: ShardIndex(shard),
        shards: scenario.shards,
        hash_seed: [seed, 2, 3, 4],
        traces_max: 1000,
        arena_bytes_max: 1 << 20,
        chunk_bytes: 4096,
        span_bytes_max: 1 << 16,
        record_policy: false,
        strategy: Strategy::TraceComplete,
        forgets_undecided: false,
        randomness: RandomnessSource::Auto,
        writes_threshold_zero: false,
        kept_verdicts_max: 1000,
        dropped_verdicts_max: 1000,
        decision_wait: Nanos::from_millis(DECISION_WAIT_MS),
        decision_wait_after_root: Nanos::default(),
        inactivity_timeout: Nanos::default(),
        trace_duration_max: Nanos::default(),
        cold_after: Nanos::from_millis(scenario.cold_after_ms),
        trace_bytes_max: 0,
        drop_pending_at_drain: false,
        batch: BatchLimits { spans_max: 50, bytes_max: 20_000 },
        flush_interval: Nanos::from_millis(200),
    }
}

/// Whether traces are kept by randomness or as the Collector does comes to the same for these policies.
fn sampling(set: Set, random: &mut Rng) -> Sampling {
    let thresholds = if random.bool() { Thresholds::Otep235 } else { Thresholds::Collector };
    Sampling { policies: set.policies(), thresholds, ..Sampling::default() }
}

fn trace_id(span: &Span) -> TraceId {
    span.trace_id.as_slice().try_into().unwrap()
}

impl ReloadWorld {
    /// A world in which the senders are about to send.
    #[must_use]
    pub fn new(seed: u64, scenario: ReloadScenario) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5e1f);
        let first = Arc::new(Rules::compile(&sampling(Set::Marked, &mut random)).unwrap());
        let shards = (0..scenario.shards).map(|shard| Shard::new(plan(&scenario, shard, seed), first.clone()));
        let mut unsent = Vec::new();
        for trace in 0..scenario.traces {
            let begin = random.u64(0..3000);
            let marked = random.u8(0..3) == 0;
            let count = random.usize(1..10);
            // Traces that were sampled before, all spans alike: their bytes stay as they are.
            let sampled_before = ["", "", "ot=th:8;rv:ffffffffffffff"][random.usize(0..3)];
            for number in 0..count {
                let mut span = span(&mut random, trace, number, marked && number + 1 == count);
                span.trace_state = sampled_before.into();
                span.start_time_unix_nano = random.u64(1..500) * 1_000_000;
                span.end_time_unix_nano = span.start_time_unix_nano + random.u64(0..200) * 1_000_000;
                let is_late = random.u8(0..8) == 0;
                let send_at = begin + random.u64(0..DECISION_WAIT_MS) + if is_late { 3 * DECISION_WAIT_MS } else { 0 };
                unsent.push((send_at, Taken { span, service: random.usize(0..4) }));
            }
        }
        unsent.sort_by_key(|(send_at, _)| std::cmp::Reverse(*send_at));
        Self {
            shards: shards.collect(),
            hosts: (0..scenario.shards).map(|_| Recorder::default()).collect(),
            mesh: BTreeMap::new(),
            unsent,
            log: Vec::new(),
            generations: vec![(Set::Marked, first)],
            traces: BTreeMap::new(),
            exported: BTreeMap::new(),
            met: Met::default(),
            now: Nanos::default(),
            seed,
            scenario,
            random,
        }
    }

    /// Runs until everything sent is settled; returns what was met.
    pub fn run(mut self) -> Met {
        while !self.unsent.is_empty() || self.account().pending() > 0 {
            self.step();
            let account = self.account();
            assert!(account.balances(), "{account:?}");
        }
        self.check_outcome();
        for shard in &self.shards {
            self.met.scanned_again += shard.ledger().traces.scanned_again;
            self.met.judged_early += shard.ledger().traces.decided_early;
        }
        self.met
    }

    fn step(&mut self) {
        if self.random.u32(0..100) < self.scenario.reload_percent {
            return self.reload();
        }
        match self.random.u8(0..10) {
            0..4 => self.now = self.now.plus(Nanos::from_millis(self.random.u64(1..40))),
            4..6 => self.send(),
            6..8 => self.deliver(),
            8 => self.tick(),
            _ => self.settle(),
        }
    }

    /// A new generation, or one more shard that takes the next one over.
    fn reload(&mut self) {
        let is_behind = |shard: &Shard| (shard.rules().generation() as usize) < self.generations.len() - 1;
        if self.shards.iter().any(is_behind) {
            let number = self.random.usize(0..self.shards.len());
            if !is_behind(&self.shards[number]) {
                return;
            }
            let next = self.shards[number].rules().generation() as usize + 1;
            let plan = plan(&self.scenario, 0, self.seed);
            while !self.shards[number].reload(self.now, &self.generations[next].1, &plan, &mut self.hosts[number]) {}
            return self.check_verdicts(number, next as u32 - 1);
        }
        let set = SETS[self.random.usize(0..SETS.len())];
        let latest = &self.generations[self.generations.len() - 1].1;
        let rules = Rules::compile_after(&sampling(set, &mut self.random), latest).unwrap();
        self.generations.push((set, Arc::new(rules)));
    }

    fn send(&mut self) {
        let now_ms = self.now.0 / Nanos::PER_MILLISECOND;
        let count = self.random.usize(1..20);
        let mut sent = Vec::new();
        while sent.len() < count && self.unsent.last().is_some_and(|(send_at, _)| *send_at <= now_ms) {
            sent.extend(self.unsent.pop().map(|(_, taken)| taken));
        }
        if sent.is_empty() {
            return;
        }
        // The request has its spans sorted by service.
        sent.sort_by_key(|taken| taken.service);
        let body = encode(sent.iter().map(|taken| (taken.service, &taken.span)));
        let core = self.random.u16(0..self.scenario.shards);
        let shard = &mut self.shards[usize::from(core)];
        let mut scanned = shard.scan(&body).unwrap();
        shard.accept(scanned.spans());
        if self.scenario.is_logged {
            let first_unit = self.log.len() as u32 * UNITS_PER_REQUEST;
            scanned.place(Origin { segment: SegmentHandle::new(0, 0), first_unit }, Nanos::default());
        }
        for (target, batch) in scanned.batches {
            self.mesh.entry((core, target.0)).or_default().push_back(batch);
        }
        self.log.push((body, sent));
    }

    fn deliver(&mut self) {
        let waiting: Vec<_> = self.mesh.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
        let Some((source, target)) = self.random.choice(waiting) else { return };
        let batch = self.mesh.get_mut(&(source, target)).and_then(VecDeque::pop_front).unwrap();
        for record in &batch.spans {
            let (_, sent) = self.log.iter().find(|(body, _)| *body == batch.body).unwrap();
            let taken = sent[record.position as usize].clone();
            assert_eq!(record.trace_id, trace_id(&taken.span));
            let (spans, verdict) = self.traces.entry(record.trace_id).or_default();
            if verdict.is_none() {
                spans.push(taken);
            }
        }
        let target = usize::from(target);
        self.shards[target].take(self.now, SpanBatch { arrived: self.now, ..batch }, &mut self.hosts[target]);
        self.check_verdicts(target, self.shards[target].rules().generation());
    }

    fn tick(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        self.shards[shard].tick(self.now, &mut self.hosts[shard]);
        self.check_verdicts(shard, self.shards[shard].rules().generation());
    }

    /// Every verdict is that of one generation's policies on all spans that had come; the one in force, unless bytes of the
    /// trace had left memory.
    fn check_verdicts(&mut self, shard: usize, in_force: u32) {
        let recalled = std::mem::take(&mut self.hosts[shard].recalled);
        let place = |unit: &Unit| ((unit.number / UNITS_PER_REQUEST) as usize, unit.number % UNITS_PER_REQUEST);
        let cold: BTreeSet<TraceId> = recalled
            .iter()
            .map(|kept| place(&kept.unit))
            .map(|(request, position)| trace_id(&self.log[request].1[position as usize].span))
            .collect();
        for judged in std::mem::take(&mut self.hosts[shard].judged) {
            let (spans, verdict) = self.traces.get_mut(&judged.trace_id).unwrap();
            let (set, rules) = &self.generations[judged.generation as usize];
            let said = match judged.verdict {
                Verdict::Keep(policy) => rules.policy_names().nth(usize::from(policy)),
                Verdict::Drop => None,
            };
            assert_eq!(said, set.keeps(spans), "{judged:?} {set:?} {spans:?}");
            assert!(verdict.replace(said.is_some()).is_none(), "a trace is judged once");
            self.met.judged += 1;
            if judged.generation != in_force {
                assert!(self.scenario.is_logged && judged.generation < in_force);
                assert!(said.is_none() || cold.contains(&judged.trace_id), "only what left memory stays behind");
                self.met.judged_under_former += 1;
            }
        }
        for KeptUnit { unit, mark } in recalled {
            let (request, position) = place(&unit);
            let (body, _) = &self.log[request];
            let mut again = self.shards[shard].scan_again(body).unwrap();
            let first_unit = request as u32 * UNITS_PER_REQUEST;
            again.place(Origin { segment: unit.segment, first_unit }, self.now);
            for (_, batch) in &again.batches {
                let wanted = |at| (at == position).then_some(mark);
                let host = &mut self.hosts[shard];
                self.shards[shard].export_again(self.now, batch, wanted, Destinations::ALL, host);
            }
        }
    }

    fn settle(&mut self) {
        let shard = self.random.usize(0..self.shards.len());
        let Some(request) = self.hosts[shard].requests.pop_front() else { return };
        let decoded = ExportTraceServiceRequest::decode(request.body).unwrap();
        let scopes = decoded.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let before = self.exported.insert(span.span_id.clone(), span.encode_to_vec());
            assert!(before.is_none(), "a span is exported once");
        }
        self.shards[shard].settle(request.signal, request.items, ExportFate::Delivered);
    }

    fn account(&self) -> Account {
        let mut sum = Account::default();
        for shard in &self.shards {
            sum.add(&shard.ledger().spans);
        }
        sum
    }

    fn check_outcome(&self) {
        for (_, sent) in &self.log {
            for Taken { span, .. } in sent {
                let is_kept = self.traces[&trace_id(span)].1.unwrap();
                let expected = is_kept.then(|| span.encode_to_vec());
                assert_eq!(
                    self.exported.get(&span.span_id),
                    expected.as_ref(),
                    "all of a trace, byte for byte, or none"
                );
            }
        }
    }
}
