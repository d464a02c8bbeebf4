//! The world around the simulated cores: senders that try again, the thread of the file of kept items, the one who starts,
//! stops and kills.
//!
//! What must hold: what was acknowledged of traces that the rules keep is delivered, of others nothing; what was delivered
//! before a stop never is again; the books balance; in the end nothing keeps a segment.

use crate::control::{Control, Cores, Snapshot};
use crate::core::held_logs::LogsPlan;
use crate::core::log::{CoreLog, Directories};
use crate::core::peers::Peers;
use crate::core::replay::{Barrier, Common, Share, replay};
use crate::core::{Core, CorePort, HISTORY, Settings};
use crate::drain::{Drained, drain};
use crate::executor::{self, now, pause, random, sleep, spawn};
use crate::files::{self, Directory, Faults, disk};
use crate::numbers::ChannelNumber;
use crate::outbox::{FileJob, FileQueue, FileWay, Outbox};
use crate::person::{Outcomes, Recalled, recall};
use crate::survey::{self, LogSurvey, OldPast, OldSegment, PipelineSurvey};
use async_channel::{Receiver, bounded};
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::cell::{Cell, RefCell};
use std::collections::{BTreeMap, BTreeSet};
use std::future::Future;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;
use tailwater_config::{Ack, DebugVerbosity, Signals};
use tailwater_connectors::otlp::port::{Format, Port, Received};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::host::ExportFate;
use tailwater_engine::ledger::Account;
use tailwater_engine::log::format::{FileName, SegmentKind, parse_file_name};
use tailwater_engine::log::lane::{Lane, LanePlan, PipelinePlan};
use tailwater_engine::log::past::{PastPlan, PastSegment};
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::Nanos;
use tailwater_net::compression::Encoding;
use tailwater_net::server::{LargeLane, MemoryBounds, ReceiveMemory};
use tailwater_proto::otlp::Signal;
use tailwater_tests::shard_plan::roomy;
use tailwater_tests::world::policies::errors_then_marked;
use tailwater_tests::world::senders::{encode, span};
use tempfile::TempDir;

const DECISION_WAIT_MS: u64 = 500;
const SEGMENT_BYTES: u64 = 128 << 10;
/// Simulated time after which a run that does not end is called stuck.
const STUCK_AFTER: Duration = Duration::from_secs(600);
/// What a stop may take.
const STOP_MAX: Duration = Duration::from_secs(60);

/// What one run may vary.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Traces sent.
    pub traces: usize,
    /// Log records sent.
    pub records: usize,
    /// Crashes and stops while they are sent.
    pub ends: u32,
    /// Whether a crash takes the power along, or only the process.
    pub cuts_power: bool,
    /// Whether senders wait for the sync, or for the write only.
    pub ack: Ack,
    /// Bytes of each arena: small ones make traces cold.
    pub arena_bytes_max: usize,
    /// Share of writes to the next hop that fail for now, percent.
    pub parked_percent: u32,
    /// Pipelines, which share a log where there are several.
    pub pipelines: usize,
    /// How long segments stay that are done with.
    pub reach_back_ms: u64,
    /// Segments of requests that a core may have.
    pub segments_max: u64,
    /// What the disk does.
    pub faults: Faults,
}

impl Scenario {
    /// A scenario of the seed `seed`.
    pub fn of(seed: u64) -> Self {
        let mut random = Rng::with_seed(seed);
        Self {
            traces: random.usize(10..60),
            ends: random.u32(0..5),
            cuts_power: random.bool(),
            ack: [Ack::Synced, Ack::Synced, Ack::Written][random.usize(0..3)],
            arena_bytes_max: [48 << 10, 4 << 20][random.usize(0..2)],
            parked_percent: [0, 20][random.usize(0..2)],
            pipelines: 1 + usize::from(seed % 4 == 3 || seed % 8 == 6),
            segments_max: [8, 64][random.usize(0..2)],
            reach_back_ms: [0, 1000, 60_000][usize::try_from(seed % 3).unwrap_or(0)],
            records: random.usize(0..60),
            faults: Faults {
                sync: seed.is_multiple_of(3).then(|| random.u64(1..200)),
                write: seed.is_multiple_of(5).then(|| random.u64(1..60)),
                directory: (seed % 4 == 1).then(|| random.u64(1..20)),
                bytes_max: [4 << 20, 64 << 20][random.usize(0..2)],
            },
        }
    }
}

/// A span the senders know of, or a log record that is one by its ids.
#[derive(Debug, Clone)]
struct Sent {
    span: Span,
    signal: Signal,
    is_marked: bool,
    service: usize,
    send_at: u64,
}

impl Sent {
    fn id(&self) -> Vec<u8> {
        self.span.span_id.clone()
    }
}

/// What those outside of the node know.
#[derive(Default)]
pub struct Outside {
    /// Due last first.
    unsent: Vec<Sent>,
    in_flight: BTreeMap<u64, Vec<Sent>>,
    requests: u64,
    /// With the pipelines that took it.
    acknowledged: Vec<(Sent, Vec<usize>)>,
    /// Acknowledged when written, in this run of the process: a power cut may take these.
    written_only: BTreeSet<Vec<u8>>,
    forgivable: BTreeSet<Vec<u8>>,
    /// Sent more than once, as nobody had answered well: the node may know them twice.
    sent_again: BTreeSet<Vec<u8>>,
    kept: BTreeSet<Vec<u8>>,
    /// By the pipelines whose receivers it was given to.
    offered: BTreeSet<(usize, Vec<u8>)>,
    /// By the pipeline that delivered it.
    delivered: BTreeMap<(usize, Vec<u8>), u32>,
    /// Delivered in this run of the process.
    delivered_now: BTreeSet<(usize, Vec<u8>)>,
    /// Delivered in a run that a stop ended well.
    settled: BTreeSet<(usize, Vec<u8>)>,
    /// Failures of the disk of which the senders' world knows.
    failures: u64,
    is_calm: bool,
    /// Nobody sends: what is on its way is answered before the node stops, as by the servers of the program.
    is_quiet: bool,
    /// What a person has recalled.
    pub recalled: Recalled,
}

impl Outside {
    /// Whether nothing is sent any more.
    pub fn is_calm(&self) -> bool {
        self.is_calm
    }

    /// Whether the rules keep a trace.
    pub fn keeps(&self, id: &[u8]) -> bool {
        self.kept.contains(id)
    }

    fn come_back(&mut self, spans: Vec<Sent>, after: Duration) {
        self.sent_again.extend(spans.iter().map(Sent::id));
        let send_at = now() + u64::try_from(after.as_nanos()).unwrap();
        self.unsent.extend(spans.into_iter().map(|sent| Sent { send_at, ..sent }));
        self.unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
    }

    /// Takes what a pipeline delivers by the ids of traces and their own.
    fn deliver(&mut self, pipeline: usize, items: impl Iterator<Item = (Vec<u8>, Vec<u8>)>) {
        for (trace, id) in items {
            let may_leave = self.kept.contains(&trace) || self.recalled.asked.contains(&(pipeline, trace.clone()));
            assert!(may_leave, "a trace that the rules drop is delivered");
            let item = (pipeline, id);
            assert!(self.offered.contains(&item), "a pipeline delivers what it was not given: {item:?}");
            let is_again = self.settled.contains(&item) && !self.sent_again.contains(&item.1);
            assert!(!is_again, "what was delivered before a stop is delivered again: {item:?} of trace {trace:?}");
            self.delivered_now.insert(item.clone());
            *self.delivered.entry(item).or_default() += 1;
        }
    }

    /// What was acknowledged as written may be gone.
    fn forgive_if_failed(&mut self) {
        let failures = disk(|disk| disk.failures);
        if failures > self.failures {
            self.failures = failures;
            self.forgivable.append(&mut self.written_only);
        }
    }
}

/// The plan of an executor's log, its share of the last run's, and files to be recycled.
type LogSeat = (LanePlan, Share, Vec<(usize, survey::Spare)>, Vec<OldPast>);

/// One run.
pub struct World {
    scenario: Scenario,
    seed: u64,
    outside: Rc<RefCell<Outside>>,
    directory: TempDir,
    cores: Cores,
    /// Cores of this run that have read their share of the last run's log.
    opened: Rc<Cell<usize>>,
}

impl World {
    /// A world in which the senders are about to send.
    pub fn new(seed: u64, scenario: Scenario) -> Self {
        executor::reset(seed ^ 0xc0de);
        files::reset(scenario.faults.clone());
        let mut draw = Rng::with_seed(seed ^ 0xd15c);
        let mut outside = Outside::default();
        for trace in 0..scenario.traces {
            let (begin, is_marked) = (draw.u64(0..3000), draw.bool());
            for number in 0..draw.usize(1..12) {
                let late = if draw.u8(0..10) == 0 { 3 * DECISION_WAIT_MS } else { 0 };
                let send_at = Nanos::from_millis(begin + draw.u64(0..DECISION_WAIT_MS / 2) + late).0;
                // Every span says how its trace is judged, so that any part of it tells.
                let span = span(&mut draw, trace, number, is_marked);
                if is_marked {
                    outside.kept.insert(span.trace_id.clone());
                }
                let signal = Signal::Traces;
                outside.unsent.push(Sent { span, signal, is_marked, service: draw.usize(0..4), send_at });
            }
        }
        // Records pass whatever the rules say.
        for record in 0..scenario.records {
            let span = span(&mut draw, scenario.traces + record, 0, false);
            outside.kept.insert(span.trace_id.clone());
            let send_at = Nanos::from_millis(draw.u64(0..3000)).0;
            outside.unsent.push(Sent { span, signal: Signal::Logs, is_marked: true, service: 0, send_at });
        }
        outside.unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
        let outside = Rc::new(RefCell::new(outside));
        let cores = Cores { channels: Vec::new(), shards: 0 };
        Self { scenario, seed, outside, directory: TempDir::new().unwrap(), cores, opened: Rc::default() }
    }

    /// Runs until all that was sent is settled. Returns spans that the next hop got more than once, and the answers that a
    /// person got.
    pub fn run(mut self) -> (u64, Outcomes) {
        self.start();
        for _ in 0..self.scenario.ends {
            // Some come while the log is still being read.
            let longest = random(|random| [20, 1500][random.usize(0..2)]);
            self.pass(Duration::from_millis(random(|random| random.u64(0..longest))));
            if random(|random| random.u8(0..3)) == 0 {
                self.stop();
            } else {
                self.crash();
            }
            self.start();
        }
        self.settle_all();
        let stopped = self.block_on(stop(self.cores.clone(), true));
        assert!(stopped, "a node at rest stops in time");
        executor::stop_all();
        self.check_disk();
        let again = self.check_outcome();
        (again, std::mem::take(&mut self.outside.borrow_mut().recalled.outcomes))
    }

    /// Lets the world go on for a while.
    fn pass(&self, time: Duration) {
        self.block_on(sleep(time));
    }

    fn block_on<T: 'static>(&self, future: impl Future<Output = T> + 'static) -> T {
        let output = Rc::new(RefCell::new(None));
        let (to, begin) = (output.clone(), now());
        spawn(async move { *to.borrow_mut() = Some(future.await) });
        loop {
            if let Some(output) = output.borrow_mut().take() {
                return output;
            }
            assert!(executor::turn(), "nothing happens any more");
            self.outside.borrow_mut().forgive_if_failed();
            assert!(now() - begin < 2 * u64::try_from(STUCK_AFTER.as_nanos()).unwrap(), "stuck");
        }
    }

    fn crash(&mut self) {
        executor::stop_all();
        disk(|disk| disk.crash(self.scenario.cuts_power));
        self.lose_connections(self.scenario.cuts_power);
    }

    /// A stop, which may be cut short by a crash.
    fn stop(&mut self) {
        let (cores, failures) = (self.cores.clone(), self.outside.borrow().failures);
        let was_open = self.opened.get() == cores.shards;
        if random(|random| random.u8(0..4)) == 0 {
            spawn(async move { _ = stop(cores, was_open).await });
            self.pass(Duration::from_millis(random(|random| random.u64(0..100))));
            return self.crash();
        }
        // Some go on sending, and what they send may be delivered when the log is closed.
        let is_quiet = random(|random| random.bool());
        self.outside.borrow_mut().is_quiet = is_quiet;
        let outside = self.outside.clone();
        self.block_on(async move {
            while is_quiet && !outside.borrow().in_flight.is_empty() {
                sleep(Duration::from_millis(5)).await;
            }
        });
        let is_clean = self.block_on(stop(cores, was_open)) && was_open && is_quiet;
        executor::stop_all();
        let mut outside = self.outside.borrow_mut();
        if is_clean && outside.failures == failures && self.scenario.faults.directory.is_none() {
            let mut delivered = std::mem::take(&mut outside.delivered_now);
            outside.settled.append(&mut delivered);
        }
        drop(outside);
        disk(|disk| disk.crash(false));
        self.lose_connections(false);
    }

    fn lose_connections(&self, cuts_power: bool) {
        let mut outside = self.outside.borrow_mut();
        outside.delivered_now.clear();
        outside.is_quiet = false;
        for spans in std::mem::take(&mut outside.in_flight).into_values() {
            outside.come_back(spans, Duration::ZERO);
        }
        let mut written = std::mem::take(&mut outside.written_only);
        if cuts_power {
            outside.forgivable.append(&mut written);
        }
    }

    /// Waits until the senders are done and the node has nothing left to do.
    fn settle_all(&self) {
        let begin = now();
        loop {
            let all_sent = {
                let outside = self.outside.borrow();
                outside.unsent.is_empty() && outside.in_flight.is_empty()
            };
            if all_sent {
                self.outside.borrow_mut().is_calm = true;
            }
            if now() - begin > Nanos::from_millis(20_000).0 {
                // Space returns in the end.
                disk(|disk| disk.faults.bytes_max = u64::MAX);
            }
            self.pass(Duration::from_millis(100));
            let cores = self.cores.clone();
            let snapshots = self.block_on(async move { cores.snapshots().await });
            let account = account(&snapshots);
            let logs = || snapshots.iter().filter_map(|snapshot| snapshot.log.as_ref());
            let is_free = logs().all(|log| {
                let staged = log.lane.as_ref().map_or(0, |lane| lane.staged);
                log.unresolved == 0 && log.parked == 0 && staged == 0
            });
            if all_sent && account.pending() == 0 && is_free {
                assert!(account.balances(), "{account:?}");
                return;
            }
            let waited = Duration::from_nanos(now() - begin);
            let left = self.outside.borrow().unsent.len();
            let logs: Vec<_> = logs().collect();
            assert!(waited < STUCK_AFTER, "stuck: {left} unsent, {account:?}, {logs:?}");
        }
    }

    /// Starts the node on what the disk holds, perhaps on another number of cores: what `boot` and `launch` do.
    fn start(&mut self) {
        let mut rules: Vec<Arc<Rules>> = (0..self.scenario.pipelines).map(|_| errors_then_marked()).collect();
        let survey = self.survey(&mut rules);
        let count = random(|random| random.u16(1..4));
        let shards = usize::from(count);
        let pipelines = self.scenario.pipelines;
        let (channels, controls): (Vec<_>, Vec<_>) = (0..shards * pipelines).map(|_| bounded(64)).unzip();
        let (jobs, waiting) = bounded(64);
        self.cores = Cores { channels, shards };
        let way = FileWay { jobs, bytes: Arc::default(), bytes_max: 64 << 10, counters: Arc::default() };
        spawn(keep(waiting, way.clone(), self.cores.clone(), self.outside.clone(), self.scenario.parked_percent));
        let origin = executor::monotonic_nanos().wrapping_sub(HISTORY.0);
        // Some have a port at which nobody listens, as of one who takes part and is no core.
        let others = u16::from(self.seed.is_multiple_of(2));
        let join = |_| Peers::join(count, others, random(|random| [2, 64][random.usize(0..2)])).0.into_iter();
        let mut peers: Vec<_> = (0..pipelines).map(join).collect();
        let shares = self.shares(survey, count);
        self.opened = Rc::default();
        for (executor, (plan, share, spares, past)) in shares.into_iter().enumerate() {
            let mut lane = Lane::new(plan);
            for OldPast { number, bytes, directory, times } in past {
                lane.past.add(PastSegment::former(number, directory, bytes, times));
            }
            let log = CoreLog::new(lane, self.directories(), spares);
            let cores: Vec<Rc<Core>> = (0..pipelines)
                .map(|pipeline| {
                    let peers = peers[pipeline].next().unwrap();
                    self.core(pipeline, count, &rules[pipeline], log.clone(), peers, &way, origin)
                })
                .collect();
            let controls: Vec<_> =
                (0..pipelines).map(|pipeline| controls[pipeline * shards + executor].clone()).collect();
            let (outside, ack) = (self.outside.clone(), self.scenario.ack);
            let ((ended, _), opened) = (bounded(1), self.opened.clone());
            let (asked, traces) = (self.cores.clone(), self.scenario.traces);
            spawn(async move {
                pause(5000).await;
                for (core, control) in cores.iter().zip(controls) {
                    core.begin_replay(&share);
                    core.start_inside();
                    core.start(control, ended.clone());
                }
                log.start(&cores);
                replay(&cores, &log, share).await;
                cores.iter().for_each(|core| core.set_receivers(Vec::new()));
                opened.set(opened.get() + 1);
                if opened.get() == asked.shards {
                    // The node is ready.
                    spawn(recall(asked, outside.clone(), traces));
                }
                send(cores, outside, ack).await;
            });
        }
    }

    /// What `boot` finds on the disk.
    fn survey(&self, rules: &mut [Arc<Rules>]) -> LogSurvey {
        let data = self.directory.path();
        disk(|disk| disk.copy_to(data));
        let names = self.names();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        survey::claim(data, &names, false).unwrap();
        let next_number = survey::next_number(data).unwrap();
        let look = |directory: &str| {
            let found = survey::survey(&data.join(directory), false).unwrap();
            assert!(found.unreadable.is_empty(), "{:?}", found.unreadable);
            found
        };
        let mut pipelines = Vec::new();
        for (name, rules) in names.iter().zip(rules) {
            let mut found = look(&survey::log_directory(name));
            let rules = Arc::get_mut(rules).unwrap();
            found.adopt(rules);
            rules.allow_by_hand();
            pipelines.push(PipelineSurvey { name: (*name).to_string(), found, given_up_below: 0 });
        }
        match &mut *pipelines {
            [single] => LogSurvey::single(std::mem::take(&mut single.found), next_number),
            _ => LogSurvey::shared(look(survey::REQUESTS_DIRECTORY), pipelines, next_number),
        }
    }

    /// The names of the pipelines; none of a single one.
    fn names(&self) -> Vec<String> {
        match self.scenario.pipelines {
            1 => vec![String::new()],
            several => (0..several).map(|number| format!("p/{number}")).collect(),
        }
    }

    fn directories(&self) -> Directories {
        let names = self.names();
        let mut own = names.iter().map(|name| Directory(survey::log_directory(name)));
        if names.len() == 1 {
            return Directories::single(own.next().unwrap());
        }
        Directories::shared(Directory(survey::REQUESTS_DIRECTORY.to_string()), own)
    }

    /// What each executor takes over: the plan of its log and its share of the last run's.
    fn shares(&self, mut survey: LogSurvey, count: u16) -> Vec<LogSeat> {
        let cores = usize::from(count);
        let common = Common::new(&mut survey, executor::steady_unix_nanos());
        let shares: Vec<Vec<OldSegment>> = survey.spread(cores);
        let past = survey.spread_past(cores);
        let (read, restated) = (Barrier::for_cores(cores), Barrier::for_cores(cores));
        let route = Route::new([self.seed, 2, 3, 4], count);
        let nonce_seed = random(|random| random.u64(..));
        let (mut journals, mut spares) = (survey.journals, survey.spares);
        let barriers = read.into_iter().zip(restated);
        let shares = shares.into_iter().zip(past).zip(barriers);
        let made = (0..count).zip(shares).map(|(core, ((segments, past), (read, restated)))| {
            let plan = LanePlan {
                core,
                cores: count,
                first_number: survey.next_number,
                nonce_seed,
                segment_bytes: SEGMENT_BYTES,
                begins_small: spares.is_empty(),
                requests_bytes_max: self.scenario.segments_max * SEGMENT_BYTES,
                journal_segment_bytes: SEGMENT_BYTES,
                journal_segments_max: 8,
                buffer_bytes_max: 1 << 20,
                pipelines: self.names().into_iter().map(|name| PipelinePlan { name, verdicts_max: 2000 }).collect(),
                past: PastPlan {
                    keep_nanos: Nanos::from_millis(self.scenario.reach_back_ms).0,
                    bytes_max: self.scenario.segments_max / 2 * SEGMENT_BYTES,
                },
            };
            let share = Share {
                common: common.clone(),
                segments,
                read,
                restated,
                route: route.clone(),
                journals: std::mem::take(&mut journals),
            };
            (plan, share, std::mem::take(&mut spares), past)
        });
        made.collect()
    }

    #[allow(clippy::too_many_arguments, reason = "what a seat of the program has")]
    fn core(
        &self,
        pipeline: usize,
        count: u16,
        rules: &Arc<Rules>,
        log: Rc<CoreLog>,
        peers: Peers,
        way: &FileWay,
        origin: u64,
    ) -> Rc<Core> {
        let shard = Shard::new(shard_plan(&self.scenario, peers.own().shard().0, count, self.seed), rules.clone());
        let names = rules.policy_names().map(String::from);
        log.lane.borrow_mut().journal(pipeline).set_told(names, rules.all_annotations());
        let signals = Signals { traces: true, metrics: pipeline == 0, logs: pipeline == 0 };
        let file = FileQueue::new(way.clone(), ChannelNumber::of(pipeline, peers.own(), usize::from(count)), signals);
        let outbox = Outbox::new(Vec::new(), Some(file), true, DebugVerbosity::None);
        let memory = ReceiveMemory::new(MemoryBounds::divide(4 << 20), LargeLane::new());
        let settings = Settings {
            pipeline,
            blocks_on_overflow: self.seed.is_multiple_of(2),
            // Early verdicts free segments; with a next hop that fails what waits there would be given up for them.
            decides_early: self.scenario.parked_percent == 0,
            journal_interval: Duration::from_millis(50),
            retention: Duration::ZERO,
            request_bytes_max: 1 << 20,
            logs: LogsPlan {
                follows: false,
                summarises_orphans: false,
                has_patterns: false,
                wait: Nanos::default(),
                bytes_max: 1 << 20,
            },
        };
        Core::new(shard, outbox, peers, (Some(log), None), (origin, memory), None, settings)
    }

    /// After a stop at rest no request is left that a start would read.
    fn check_disk(&self) {
        disk(|disk| disk.copy_to(self.directory.path()));
        // As a start sees it: a file that was made before a power cut and never begun is a spare, whatever it is called.
        let directory = if self.scenario.pipelines == 1 { survey::LOG_DIRECTORY } else { survey::REQUESTS_DIRECTORY };
        let segments = survey::survey(&self.directory.path().join(directory), false).unwrap().segments.len();
        // The current one and the next of each core.
        let is_free = segments <= 2 * self.cores.shards || self.scenario.faults.directory.is_some();
        assert!(is_free, "{:?}", disk(|disk| disk.names()));
    }

    fn check_outcome(&self) -> u64 {
        let outside = self.outside.borrow();
        for (sent, takers) in outside.acknowledged.iter().filter(|(sent, _)| sent.is_marked) {
            for pipeline in takers {
                let is_delivered = outside.delivered.contains_key(&(*pipeline, sent.id()));
                let is_there = is_delivered || outside.forgivable.contains(&sent.id());
                assert!(is_there, "{sent:?} was acknowledged and is gone in pipeline {pipeline}");
            }
        }
        let again: u32 = outside.delivered.values().map(|times| times - 1).sum();
        let Faults { sync, write, directory, .. } = self.scenario.faults;
        if self.scenario.ends == 0 && sync.is_none() && write.is_none() && directory.is_none() {
            assert_eq!(again, 0, "nothing is sent twice without a crash");
        }
        u64::from(again)
    }
}

fn shard_plan(scenario: &Scenario, shard: u16, shards: u16, seed: u64) -> ShardPlan {
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

fn account(snapshots: &[Snapshot]) -> Account {
    let mut sum = Account::default();
    for Snapshot { ledger, .. } in snapshots {
        assert!(ledger.logs.balances(), "{:?}", ledger.logs);
        sum.add(&ledger.spans);
        sum.add(&ledger.logs);
    }
    sum
}

/// The program's stop; nothing is judged before all is read. False when it took too long.
async fn stop(cores: Cores, was_open: bool) -> bool {
    let Drained { in_time, is_log_closed, .. } = drain(&cores, STOP_MAX, was_open).await;
    in_time && is_log_closed
}

/// The thread of the file of kept items.
async fn keep(jobs: Receiver<FileJob>, way: FileWay, cores: Cores, outside: Rc<RefCell<Outside>>, parked_percent: u32) {
    while let Ok(FileJob { channel, ticket, request }) = jobs.recv().await {
        pause(2000).await;
        let fails = !outside.borrow().is_calm && random(|random| random.u32(0..100)) < parked_percent;
        way.bytes.fetch_sub(request.body.len(), Ordering::Relaxed);
        if !fails {
            let pipeline = channel.position() / cores.shards;
            outside.borrow_mut().deliver(pipeline, items(request.signal, request.body).into_iter());
        }
        pause(2000).await;
        let fate = if fails { ExportFate::Exhausted } else { ExportFate::Delivered };
        _ = cores.channel(channel).unwrap().send(Control::Written(ticket, fate)).await;
    }
}

/// The ids of the traces of a request's items, and their own.
fn items(signal: Signal, body: Bytes) -> Vec<(Vec<u8>, Vec<u8>)> {
    if signal == Signal::Logs {
        let decoded = ExportLogsServiceRequest::decode(body).unwrap();
        let scopes = decoded.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
        return scopes.flat_map(|scope| scope.log_records).map(|record| (record.trace_id, record.span_id)).collect();
    }
    let decoded = ExportTraceServiceRequest::decode(body).unwrap();
    let scopes = decoded.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
    scopes.flat_map(|scope| scope.spans).map(|span| (span.trace_id, span.span_id)).collect()
}

/// A request of these, which are all of one signal.
fn body(signal: Signal, items: &[Sent]) -> Bytes {
    if signal == Signal::Traces {
        return encode(items.iter().map(|sent| (sent.service, sent.span.encode_to_vec())));
    }
    let record = |sent: &Sent| LogRecord {
        trace_id: sent.span.trace_id.clone(),
        span_id: sent.span.span_id.clone(),
        ..LogRecord::default()
    };
    let scope = ScopeLogs { log_records: items.iter().map(record).collect(), ..ScopeLogs::default() };
    let resource_logs = vec![ResourceLogs { scope_logs: vec![scope], ..ResourceLogs::default() }];
    ExportLogsServiceRequest { resource_logs }.encode_to_vec().into()
}

/// The senders of one executor, for as long as it runs. What they send goes to all of its pipelines, or to some.
async fn send(cores: Vec<Rc<Core>>, outside: Rc<RefCell<Outside>>, ack: Ack) {
    loop {
        pause(20_000).await;
        let count = random(|random| random.usize(1..20));
        if outside.borrow().is_quiet {
            continue;
        }
        let (number, spans) = {
            let mut outside = outside.borrow_mut();
            let mut spans = Vec::new();
            let signal = outside.unsent.last().map(|sent| sent.signal);
            let is_due = |sent: &Sent| sent.send_at <= now() && Some(sent.signal) == signal;
            while spans.len() < count && outside.unsent.last().is_some_and(is_due) {
                spans.extend(outside.unsent.pop());
            }
            outside.requests += 1;
            let number = outside.requests;
            if !spans.is_empty() {
                outside.in_flight.insert(number, spans.clone());
            }
            (number, spans)
        };
        if !spans.is_empty() {
            let is_for =
                |pipeline: &usize| (usize::try_from(number).unwrap() % (1 << cores.len())) >> pipeline & 1 == 1;
            let mut takers: Vec<usize> = (0..cores.len()).filter(is_for).collect();
            if takers.is_empty() {
                takers.extend(0..cores.len());
            }
            let fed = takers.iter().map(|pipeline| cores[*pipeline].clone()).collect();
            let port = CorePort { cores: fed, first: cores.first().cloned(), ack };
            spawn(request(port, takers, outside.clone(), number, spans));
        }
    }
}

/// One request and its sender.
async fn request(port: CorePort, takers: Vec<usize>, outside: Rc<RefCell<Outside>>, number: u64, spans: Vec<Sent>) {
    let signal = spans.first().map_or(Signal::Traces, |sent| sent.signal);
    // The first pipeline has the records.
    let takers = if signal == Signal::Traces { takers } else { vec![0] };
    let offered = takers.iter().flat_map(|pipeline| spans.iter().map(|sent| (*pipeline, sent.id())));
    outside.borrow_mut().offered.extend(offered);
    let body = body(signal, &spans);
    let failures = outside.borrow().failures;
    port.ready().await;
    let answer = match port.closed() {
        Some((reason, _)) => Err(reason.to_string()),
        None => {
            let received =
                Received { signal, format: Format::Protobuf, encoding: Encoding::Identity, raw: body.clone(), body };
            port.take(received).await.map_err(|error| error.to_string())
        }
    };
    let mut outside = outside.borrow_mut();
    outside.in_flight.remove(&number);
    if answer.is_err() {
        return outside.come_back(spans, Duration::from_millis(random(|random| random.u64(10..1000))));
    }
    if port.ack == Ack::Written {
        let ids = spans.iter().map(Sent::id);
        // A failure of the disk that came before the answer may have taken them.
        if outside.failures > failures { outside.forgivable.extend(ids) } else { outside.written_only.extend(ids) }
    }
    outside.acknowledged.extend(spans.into_iter().map(|sent| (sent, takers.clone())));
}
