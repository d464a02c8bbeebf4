//! A node with its log in one thread: real shards, real lanes, a simulated disk that fails and forgets as disks may,
//! senders that try again, an exporter that gives up at times. A seed decides what happens next, crashes included.
//!
//! What must hold: what was acknowledged is delivered, or its trace was judged and dropped; a durable verdict is never
//! judged again, and what it says is said by every run after it, whatever its rules; the books balance at every step; at the end every segment is free.

mod ruled;

use self::ruled::{Ruled, adopted, kept_by, rules_of};
use crate::disk::{Disk, Faults, FileKey};
use crate::shard_plan::roomy;
use crate::simulation::{encode, span};
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::sync::Arc;
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::intake::Scanned;
use tailwater_engine::ledger::{Account, DropReason};
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::format::{BodyEncoding, BodyFormat, Record, SegmentHeader, SegmentKind, VerdictEntry};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::lane::{Lane, LanePlan, NewRequest};
use tailwater_engine::log::read::{Found, Records};
use tailwater_engine::log::stream::Operation;
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Destinations, Judged, KeptUnit, Nanos, Origin, SpanBatch, Unit};
use tailwater_proto::otlp::Signal;

/// What one run may vary.
#[derive(Debug, Clone)]
pub struct LogScenario {
    /// Traces sent.
    pub traces: usize,
    /// Crashes while they are sent.
    pub crashes: u32,
    /// Whether a crash takes the power along, or only the process.
    pub cuts_power: bool,
    /// Share of requests whose senders wait for the write only, percent.
    pub written_percent: u32,
    /// Bytes of each arena: small ones make traces cold.
    pub arena_bytes_max: usize,
    /// Share of exports that fail for now, percent.
    pub parked_percent: u32,
    /// What the disk does.
    pub faults: Faults,
}

impl LogScenario {
    /// A scenario of the seed `seed`.
    #[must_use]
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        Self {
            traces: random.usize(10..60),
            crashes: random.u32(0..4),
            cuts_power: random.bool(),
            written_percent: [0, 30, 100][random.usize(0..3)],
            arena_bytes_max: [48 << 10, 4 << 20][random.usize(0..2)],
            parked_percent: [0, 20][random.usize(0..2)],
            faults: Faults {
                sync: (!seed.is_multiple_of(3)).then_some(1 + seed % 200),
                write: seed.is_multiple_of(5).then(|| random.u64(1..60)),
                bytes_max: [2 << 20, 64 << 20][random.usize(0..2)],
            },
        }
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

/// What travels between cores.
enum Message {
    Spans(SpanBatch),
    Resolved(Vec<Unit>),
    Parked(Vec<KeptUnit>),
}

/// The seam to the world of one core.
#[derive(Default)]
struct Outbox {
    requests: VecDeque<ExportRequest>,
    judged: Vec<Judged>,
    resolved: Vec<Unit>,
    recalled: Vec<KeptUnit>,
}

impl Host for Outbox {
    fn export(&mut self, request: ExportRequest) {
        self.requests.push_back(request);
    }

    fn judged(&mut self, judged: &Judged) {
        self.judged.push(*judged);
    }

    fn resolve(&mut self, unit: Unit) {
        self.resolved.push(unit);
    }

    fn recall(&mut self, unit: KeptUnit) {
        self.recalled.push(unit);
    }
}

/// A request with its sender.
struct Payload {
    scanned: Scanned,
    spans: Vec<Sent>,
    arrived: Nanos,
    is_synced: bool,
}

/// A trace and its verdict.
type Noted = (Vec<u8>, Ruled);

struct Core {
    shard: Shard,
    lane: Lane<Payload>,
    outbox: Outbox,
    /// Operations on their way: data of either stream, opening of either stream.
    data: [Option<Operation>; 2],
    opening: [Option<Operation>; 2],
    /// Verdicts noted since the last flush, and flushes whose position is not durable yet.
    noted: Vec<Noted>,
    flushed: VecDeque<(u64, Vec<Noted>)>,
}

/// The node, its disk, its senders and its next hop.
pub struct LogWorld {
    scenario: LogScenario,
    seed: u64,
    random: Rng,
    now: Nanos,
    disk: Disk,
    cores: Vec<Core>,
    mesh: BTreeMap<(usize, usize), VecDeque<Message>>,
    old_journals: Vec<FileKey>,
    /// What journals of the last run say, and its segments that are still to be read.
    recovered: Recovered,
    to_replay: Vec<FileKey>,
    unsent: Vec<Sent>,
    acknowledged: Vec<Sent>,
    /// Acknowledged when written, in this run of the process: a power cut may take these.
    written_only: BTreeSet<Vec<u8>>,
    forgivable: BTreeSet<Vec<u8>>,
    exported: BTreeMap<Vec<u8>, u32>,
    /// Delivered in this run of the process, and delivered with the log knowing it for good.
    delivered: BTreeSet<Vec<u8>>,
    settled: BTreeSet<Vec<u8>>,
    /// Spans that their senders sent more than once, as nobody had answered: the node may know them twice.
    sent_again: BTreeSet<Vec<u8>>,
    verdicts: BTreeMap<Vec<u8>, Ruled>,
    durable: BTreeMap<Vec<u8>, Ruled>,
    rules: Arc<Rules>,
    runs: u32,
    crashes_left: u32,
    is_calm: bool,
}

const KINDS: [SegmentKind; 2] = [SegmentKind::Requests, SegmentKind::Journal];
const DECISION_WAIT_MS: u64 = 500;
const SEGMENT_BYTES: u64 = 64 << 10;
/// Steps after which a run that does not end is called stuck.
const STEPS_MAX: u64 = 2_000_000;

fn shard_plan(scenario: &LogScenario, shard: u16, shards: u16, seed: u64) -> ShardPlan {
    ShardPlan {
        traces_max: 1000,
        arena_bytes_max: scenario.arena_bytes_max,
        chunk_bytes: 4096,
        span_bytes_max: 1 << 16,
        kept_verdicts_max: 1000,
        dropped_verdicts_max: 1000,
        decision_wait: Nanos::from_millis(DECISION_WAIT_MS),
        cold_after: Nanos::from_millis(seed % 2 * 100),
        batch: BatchLimits { spans_max: 50, bytes_max: 20_000 },
        flush_interval: Nanos::from_millis(100),
        ..roomy(shard, shards, seed)
    }
}

fn lane_plan(core: u16, cores: u16, first_number: u64, nonce_seed: u64) -> LanePlan {
    LanePlan {
        core,
        cores,
        first_number,
        nonce_seed,
        segment_bytes: SEGMENT_BYTES,
        begins_small: nonce_seed.is_multiple_of(2),
        requests_bytes_max: 64 * SEGMENT_BYTES,
        journal_segment_bytes: SEGMENT_BYTES,
        journal_segments_max: 8,
        buffer_bytes_max: 1 << 20,
        verdicts_max: 2000,
    }
}

impl LogWorld {
    /// A world in which the senders are about to send.
    #[must_use]
    pub fn new(seed: u64, scenario: LogScenario) -> Self {
        let mut random = Rng::with_seed(seed ^ 0xd15c);
        let mut unsent = Vec::new();
        for trace in 0..scenario.traces {
            let (begin, marked) = (random.u64(0..3000), random.u8(0..3) == 0);
            let count = random.usize(1..12);
            for number in 0..count {
                let late = if random.u8(0..10) == 0 { 3 * DECISION_WAIT_MS } else { 0 };
                let send_at = begin + random.u64(0..DECISION_WAIT_MS / 2) + late;
                let mut span = span(&mut random, trace, number, marked && number + 1 == count);
                if number == 0 && trace.is_multiple_of(3) {
                    span.trace_state = format!("ot=rv:{:014x}", random.u64(..) >> 8);
                }
                unsent.push(Sent { trace, span, service: random.usize(0..4), send_at });
            }
        }
        unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
        let mut world = Self {
            disk: Disk::new(scenario.faults.clone()),
            crashes_left: scenario.crashes,
            scenario,
            seed,
            random,
            now: Nanos::from_millis(1_000_000),
            cores: Vec::new(),
            mesh: BTreeMap::new(),
            old_journals: Vec::new(),
            recovered: Recovered::default(),
            to_replay: Vec::new(),
            unsent,
            acknowledged: Vec::new(),
            written_only: BTreeSet::new(),
            forgivable: BTreeSet::new(),
            exported: BTreeMap::new(),
            delivered: BTreeSet::new(),
            settled: BTreeSet::new(),
            sent_again: BTreeSet::new(),
            verdicts: BTreeMap::new(),
            durable: BTreeMap::new(),
            rules: Arc::new(rules_of(0)),
            runs: 0,
            is_calm: false,
        };
        world.start();
        world
    }

    /// Runs until all that was sent is settled. Returns spans that the next hop got more than once.
    pub fn run(&mut self) -> u64 {
        for step in 0.. {
            assert!(step < STEPS_MAX, "stuck: {:?}, {} unsent", self.account(), self.unsent.len());
            if self.unsent.is_empty() && self.crashes_left == 0 {
                self.is_calm = true;
                if self.is_done() {
                    break;
                }
            }
            self.step();
            assert!(self.account().balances(), "{:?}", self.account());
        }
        self.check_outcome()
    }

    fn is_done(&self) -> bool {
        let is_idle = |core: &Core| core.lane.staged() == 0 && core.outbox.requests.is_empty();
        self.to_replay.is_empty()
            && self.cores.iter().all(is_idle)
            && self.mesh.values().all(VecDeque::is_empty)
            && self.account().pending() == 0
            && self.cores.iter().all(|core| core.lane.segments.iter().all(|segment| segment.unresolved() == 0))
    }

    fn step(&mut self) {
        let core = self.random.usize(0..self.cores.len());
        if !self.to_replay.is_empty() {
            return self.step_of_start(core);
        }
        match self.random.u8(0..14) {
            0..3 => self.now = self.now.plus(Nanos::from_millis(self.random.u64(1..30))),
            3..5 => self.send(core),
            5 => self.deliver(),
            6 => self.tick(core),
            7..10 => self.disk_step(core),
            10 => self.flush_journal(core),
            11 => self.settle(core),
            12 => self.recall(core),
            _ => {
                if self.crashes_left > 0 && self.random.u16(0..400) == 0 {
                    self.crash();
                }
            }
        }
    }

    /// While the last run's segments are read nothing is accepted or judged; the disk and the journal work already.
    fn step_of_start(&mut self, core: usize) {
        match self.random.u8(0..16) {
            0 => {
                if let Some(key) = self.to_replay.pop() {
                    self.replay(core, key);
                }
            }
            1..11 => self.disk_step(core),
            11..13 => self.flush_journal(core),
            13..15 => self.deliver(),
            _ => {
                if self.crashes_left > 0 && self.random.u16(0..100) == 0 {
                    self.crash();
                }
            }
        }
    }

    fn send(&mut self, core: usize) {
        let now_ms = self.now.0 / Nanos::PER_MILLISECOND - 1_000_000;
        let count = self.random.usize(1..20);
        let mut spans = Vec::new();
        while spans.len() < count && self.unsent.last().is_some_and(|sent| sent.send_at <= now_ms) {
            spans.extend(self.unsent.pop());
        }
        if spans.is_empty() {
            return;
        }
        let body = encode(spans.iter().map(|sent| (sent.service, &sent.span)));
        let is_synced = self.random.u32(0..100) >= self.scenario.written_percent;
        let scanned = self.cores[core].shard.scan(&body).unwrap();
        let request = NewRequest {
            signal: Signal::Traces,
            encoding: BodyEncoding::Identity,
            format: BodyFormat::Protobuf,
            body: &body,
            units: scanned.units(),
            arrived_unix_nano: self.now.0,
        };
        let payload = Payload { scanned, spans, arrived: self.now, is_synced };
        if let Err((_, payload)) = self.cores[core].lane.append(&request, is_synced, payload) {
            self.unsent.extend(payload.spans);
        }
    }

    fn deliver(&mut self) {
        let waiting: Vec<_> = self.mesh.iter().filter(|(_, queue)| !queue.is_empty()).map(|(pair, _)| *pair).collect();
        let Some((source, target)) = self.random.choice(waiting) else { return };
        match self.mesh.get_mut(&(source, target)).and_then(VecDeque::pop_front).unwrap() {
            Message::Spans(batch) => self.take(target, batch),
            Message::Resolved(units) => units.iter().for_each(|unit| self.cores[target].lane.resolve(*unit)),
            Message::Parked(units) => units.into_iter().for_each(|unit| self.park(target, unit)),
        }
        self.after(target);
    }

    fn take(&mut self, core: usize, batch: SpanBatch) {
        let Core { shard, outbox, .. } = &mut self.cores[core];
        shard.take(self.now, batch, outbox);
        self.gather(core);
    }

    fn tick(&mut self, core: usize) {
        let Core { shard, outbox, .. } = &mut self.cores[core];
        shard.tick(self.now, outbox);
        self.gather(core);
    }

    /// Passes on what the shard told its host.
    fn gather(&mut self, number: usize) {
        let core = &mut self.cores[number];
        for judged in core.outbox.judged.drain(..) {
            let (trace, ruled) = (judged.trace_id.to_vec(), Ruled::judged(&judged, &self.rules));
            assert_eq!(self.durable.get(&trace), None, "a durable verdict is not judged again");
            core.noted.push((trace.clone(), ruled.clone()));
            self.verdicts.insert(trace, ruled);
            core.lane.journal().judged(&judged);
        }
        core.outbox.resolved.drain(..).for_each(|unit| core.lane.journal().resolve(unit));
        let recalled = std::mem::take(&mut core.outbox.recalled);
        for unit in recalled {
            self.park(number, unit);
        }
    }

    fn park(&mut self, from: usize, kept: KeptUnit) {
        let owner = usize::from(kept.unit.segment.core());
        if owner == from {
            self.cores[owner].lane.segments.park(kept, Destinations::ALL);
        } else {
            self.mesh.entry((from, owner)).or_default().push_back(Message::Parked(vec![kept]));
        }
    }

    fn flush_journal(&mut self, number: usize) {
        let core = &mut self.cores[number];
        core.lane.journal().stream().want_sync();
        core.lane.flush_journal(self.now.0);
        let noted = std::mem::take(&mut core.noted);
        core.flushed.push_back((core.lane.journal().stream().position(), noted));
        core.lane.requests().want_sync();
        let is_read = self.to_replay.is_empty() && !self.old_journals.is_empty();
        if is_read && self.cores.iter().all(|core| core.lane.is_journal_idle()) {
            for key in std::mem::take(&mut self.old_journals) {
                self.disk.retire(key);
            }
        }
        self.after(number);
        // Nothing is on its way: what was delivered is known to the log and must never be delivered again.
        let is_at_rest = self.to_replay.is_empty() && self.mesh.values().all(VecDeque::is_empty);
        if is_at_rest && self.cores.iter().all(|core| core.lane.is_journal_idle()) {
            self.settled.append(&mut self.delivered);
        }
    }

    fn disk_step(&mut self, number: usize) {
        let place = self.random.usize(0..2);
        let kind = KINDS[place];
        let core = &mut self.cores[number];
        if self.random.bool() {
            match core.opening[place].take() {
                None => core.opening[place] = core.lane.stream(kind).poll_open(self.now.0),
                Some(operation) => {
                    let is_good = self.disk.apply(kind, &operation, &mut self.random);
                    core.lane.stream(kind).opened(is_good);
                    if !is_good && self.is_calm {
                        // Space returns in the end.
                        self.disk.faults.bytes_max = u64::MAX;
                    }
                }
            }
        } else {
            match core.data[place].take() {
                None => core.data[place] = core.lane.stream(kind).poll(),
                Some(operation) => {
                    let is_good = self.disk.apply(kind, &operation, &mut self.random);
                    match operation {
                        Operation::Write { bytes, .. } => core.lane.stream(kind).wrote(bytes, is_good),
                        _ => core.lane.stream(kind).synced_now(is_good),
                    }
                    if !is_good {
                        self.forgivable.append(&mut self.written_only);
                    }
                }
            }
        }
        self.after(number);
    }

    /// Does what follows from the progress of a core's log.
    fn after(&mut self, number: usize) {
        let core = &mut self.cores[number];
        core.lane.progress();
        let synced = core.lane.journal().stream().synced();
        // What a failed segment took is logged again behind it, so that a flush is durable once nothing waits any more.
        let is_all = core.lane.journal().is_idle();
        while core.flushed.front().is_some_and(|(position, _)| is_all && *position <= synced) {
            self.durable.extend(core.flushed.pop_front().unwrap().1);
        }
        for retired in core.lane.take_retired() {
            self.disk.retire((retired.kind, retired.number));
        }
        for unit in core.lane.journal().take_released() {
            let owner = usize::from(unit.segment.core());
            if owner == number {
                core.lane.resolve(unit);
            } else {
                self.mesh.entry((number, owner)).or_default().push_back(Message::Resolved(vec![unit]));
            }
        }
        while let Some(committed) = self.cores[number].lane.take_committed() {
            let Payload { scanned, spans, arrived, is_synced } = committed.payload;
            if !committed.is_accepted {
                self.sent_again.extend(spans.iter().map(|sent| sent.span.span_id.clone()));
                self.unsent.extend(spans);
                continue;
            }
            if !is_synced {
                self.written_only.extend(spans.iter().map(|sent| sent.span.span_id.clone()));
            }
            self.acknowledged.extend(spans);
            self.admit(number, scanned, committed.origin, arrived);
        }
    }

    fn admit(&mut self, core: usize, mut scanned: Scanned, origin: Origin, arrived: Nanos) {
        scanned.place(origin, arrived);
        self.cores[core].shard.accept(scanned.spans());
        for (target, batch) in scanned.batches {
            self.mesh.entry((core, usize::from(target.0))).or_default().push_back(Message::Spans(batch));
        }
    }

    fn settle(&mut self, number: usize) {
        let Some(request) = self.cores[number].outbox.requests.pop_front() else { return };
        let is_recoverable = request.units.len() == request.items as usize;
        assert!(is_recoverable, "all spans are in the log");
        let core = &mut self.cores[number];
        if !self.is_calm && self.random.u32(0..100) < self.scenario.parked_percent {
            core.shard.park(request.signal, request.items);
            request.units.into_iter().for_each(|unit| self.park(number, unit));
            return;
        }
        core.shard.settle(request.signal, request.items, ExportFate::Delivered);
        request.units.into_iter().for_each(|kept| core.lane.journal().resolve(kept.unit));
        let decoded = ExportTraceServiceRequest::decode(request.body).unwrap();
        let scopes = decoded.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let is_again = self.settled.contains(&span.span_id) && !self.sent_again.contains(&span.span_id);
            assert!(!is_again, "what the log knows as delivered is not delivered again");
            // Late ones too, under a verdict of this run or a former one.
            let ruled = &self.verdicts[&span.trace_id];
            assert!(ruled.is_kept && span.attributes.ends_with(&ruled.attributes), "{ruled:?} {:?}", span.attributes);
            self.delivered.insert(span.span_id.clone());
            *self.exported.entry(span.span_id).or_default() += 1;
        }
    }

    /// Reads what waits in a core's log again.
    fn recall(&mut self, number: usize) {
        let core = &mut self.cores[number];
        let Some((handle, parked)) = core.lane.segments.take_parked(|_| true) else { return };
        let segment = core.lane.segments.get(handle.slot()).unwrap();
        let from = segment.offset_before(parked.next(0).unwrap_or(0));
        let file = self.disk.read((SegmentKind::Requests, segment.number)).expect("its file is there");
        let (mut found, mut seen) = (0, Bitmap::default());
        for record in Records::open(&file).expect("its header is good").1 {
            let Found::Record { offset, record: Record::Request(request), .. } = record else { continue };
            let mark_of = |position: u32| parked.mark(request.first_unit + position);
            (0..request.units).for_each(|position| _ = seen.set(request.first_unit + position));
            if (0..request.units).any(|position| mark_of(position).is_some()) {
                assert!(offset >= from, "the index points before the first wanted record");
                let mut scanned = core.shard.scan_again(&Bytes::copy_from_slice(request.body)).unwrap();
                scanned.place(Origin { segment: handle, first_unit: request.first_unit }, self.now);
                for (_, batch) in &scanned.batches {
                    let Core { shard, outbox, .. } = core;
                    found += shard.export_again(self.now, batch, mark_of, Destinations::ALL, outbox);
                }
            }
        }
        let missing = u64::from(parked.count()) - found;
        if missing > 0 {
            // A sync that fails may take what was only written.
            assert!(!self.forgivable.is_empty(), "everything parked is in the log");
            core.shard.drop_parked(Signal::Traces, missing, DropReason::WalUnreadable);
            let mut from = 0;
            while let Some(number) = parked.next(from) {
                from = number + 1;
                if !seen.has(number) {
                    core.lane.journal().resolve(Unit { segment: handle, number });
                }
            }
        }
    }

    fn crash(&mut self) {
        self.crashes_left -= 1;
        self.delivered.clear();
        let mut in_flight = Vec::new();
        for core in &self.cores {
            for (kind, operation) in KINDS.into_iter().zip(&core.data) {
                in_flight.extend(operation.clone().map(|operation| (kind, operation)));
            }
        }
        if self.scenario.cuts_power {
            self.disk.cut_power(&in_flight, &mut self.random);
            self.forgivable.append(&mut self.written_only);
        } else {
            self.disk.kill(&in_flight, &mut self.random);
        }
        self.stop_senders();
        self.mesh.clear();
        self.start();
    }

    /// Senders that were not answered send again.
    fn stop_senders(&mut self) {
        let acknowledged: BTreeSet<_> = self.acknowledged.iter().map(|sent| sent.span.span_id.clone()).collect();
        let unsent: BTreeSet<_> = self.unsent.iter().map(|sent| sent.span.span_id.clone()).collect();
        let mut again = Vec::new();
        for core in &mut self.cores {
            again.extend(core.lane.take_staged().into_iter().flat_map(|payload| payload.spans));
        }
        again.retain(|sent| !acknowledged.contains(&sent.span.span_id) && !unsent.contains(&sent.span.span_id));
        self.sent_again.extend(again.iter().map(|sent| sent.span.span_id.clone()));
        self.unsent.extend(again);
        self.unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
    }

    /// Starts the node on what the disk holds, perhaps on another number of cores.
    fn start(&mut self) {
        let count = self.random.u16(1..4);
        let keys = self.disk.keys();
        let first_number = keys.iter().map(|(_, number)| number + 1).max().unwrap_or(1);
        let nonce_seed = self.random.u64(..);
        self.recovered = Recovered::default();
        self.old_journals = keys.iter().copied().filter(|(kind, _)| *kind == SegmentKind::Journal).collect();
        for key in &self.old_journals {
            let file = self.disk.read(*key).unwrap();
            self.recovered.begin_segment();
            for found in Records::open(&file).unwrap().1 {
                if let Found::Record { record, .. } = found {
                    self.recovered.take(&record);
                }
            }
        }
        let mut rules = rules_of(self.runs);
        self.runs += 1;
        let adopted = adopted(&self.recovered, &mut rules);
        self.rules = Arc::new(rules);
        self.cores = (0..count)
            .map(|core| Core {
                shard: Shard::new(shard_plan(&self.scenario, core, count, self.seed), self.rules.clone()),
                lane: Lane::new(lane_plan(core, count, first_number, nonce_seed)),
                outbox: Outbox::default(),
                data: [None, None],
                opening: [None, None],
                noted: Vec::new(),
                flushed: VecDeque::new(),
            })
            .collect();
        for core in &mut self.cores {
            core.lane.journal().set_told(self.rules.policy_names().map(String::from), self.rules.all_annotations());
        }
        self.restore(&adopted);
        self.to_replay = keys.into_iter().filter(|(kind, _)| *kind == SegmentKind::Requests).collect();
    }

    fn restore(&mut self, adopted: &[VerdictEntry]) {
        let recovered = &self.recovered;
        let route = Route::new([self.seed, 2, 3, 4], u16::try_from(self.cores.len()).unwrap());
        let ruled = |entry: &VerdictEntry| (entry.trace_id.to_vec(), Ruled::recovered(entry, recovered));
        let known: BTreeMap<_, _> = recovered.verdicts.iter().map(ruled).collect();
        for (trace, ruled) in &self.durable {
            assert_eq!(known.get(trace), Some(ruled), "a durable verdict is in the log");
        }
        for (trace, ruled) in &known {
            self.durable.insert(trace.clone(), ruled.clone());
            self.verdicts.insert(trace.clone(), ruled.clone());
        }
        for entry in adopted {
            let core = &mut self.cores[usize::from(route.shard(route.hash(&entry.trace_id)).0)];
            core.shard.restore(&entry.trace_id, kept_by(entry));
            core.lane.journal().note(*entry);
            core.noted.push((entry.trace_id.to_vec(), known[&entry.trace_id.to_vec()].clone()));
        }
    }

    fn replay(&mut self, core: usize, key: FileKey) {
        let file = self.disk.read(key).unwrap();
        let header = SegmentHeader::decode(&file).unwrap();
        assert_eq!((header.kind, header.number), key);
        let lane = &mut self.cores[core].lane;
        let handle = lane.segments.add(key.1, file.len() as u64).unwrap();
        lane.segments.restore(handle, self.recovered.resolved.remove(&key.1).unwrap_or_default(), Vec::new());
        for found in Records::new(&file, &header) {
            let Found::Record { offset, record: Record::Request(request), .. } = found else { continue };
            let Core { shard, lane, .. } = &mut self.cores[core];
            let (first, units) = (request.first_unit, request.units);
            lane.segments.recovered(handle, first, units, offset, request.arrived_unix_nano);
            let mut scanned = shard.scan_again(&Bytes::copy_from_slice(request.body)).unwrap();
            let segment = lane.segments.get(handle.slot()).unwrap();
            scanned.retain(|position| !segment.is_resolved(first + position));
            let origin = Origin { segment: handle, first_unit: first };
            self.admit(core, scanned, origin, Nanos(request.arrived_unix_nano));
        }
        self.cores[core].lane.segments.close(key.1);
        self.after(core);
    }

    fn account(&self) -> Account {
        let mut sum = Account::default();
        for core in &self.cores {
            sum.add(&core.shard.ledger().spans);
        }
        sum
    }

    fn check_outcome(&self) -> u64 {
        for sent in &self.acknowledged {
            let (id, trace) = (&sent.span.span_id, &sent.span.trace_id);
            let is_dropped = self.verdicts.get(trace).is_some_and(|ruled| !ruled.is_kept);
            let is_there = self.exported.contains_key(id) || is_dropped || self.forgivable.contains(id);
            assert!(is_there, "span {id:?} of trace {} was acknowledged and is gone", sent.trace);
        }
        let again: u32 = self.exported.values().map(|times| times - 1).sum();
        if self.scenario.crashes == 0 && self.scenario.faults.write.is_none() && self.scenario.faults.sync.is_none() {
            assert_eq!(again, 0, "nothing is sent twice without a crash");
        }
        u64::from(again)
    }
}
