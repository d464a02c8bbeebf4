//! A node: real shards for each pipeline, with a log real lanes on a simulated disk, which the pipelines share, and doubles of what is around a core, each of which
//! keeps the promises of what it stands for. Everything that happens to it is an event.

mod counted;
pub mod gossip;
mod logged;
mod start;
mod told;

use self::counted::Counted;
use self::gossip::{ForCore, Gossip, HubMet};
use self::logged::{CoreLog, Log, Noted};
use super::events::{Events, What};
use super::network::{Address, Message, Network};
use super::next_hop;
use super::policies::PolicySet;
use super::scenario::{Policies, Scenario};
use super::seen::Seen;
use super::senders::{Senders, Sent, encode};
use super::verdict::Ruled;
use fastrand::Rng;
use std::collections::{BTreeSet, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::intake::Scanned;
use tailwater_engine::ledger::Account;
use tailwater_engine::route::Route;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, Origin, Said, SpanBatch, TraceId, Unit};

/// How long things take, microseconds: to the next request at a core, to the next look at the time, of an answer of the next
/// hop, to the next pause.
const SEND_US: Range<u64> = 2_000..160_000;
const IDLE_US: Range<u64> = 500_000..600_000;
const TICK_US: Range<u64> = 500..300_000;
const ANSWER_US: Range<u64> = 500..150_000;
const PAUSE_US: Range<u64> = 100_000..3_000_000;
/// How often the rules of a cluster change.
const CLUSTER_CHANGES_MAX: usize = 3;
/// One more than the most spans of a request.
const REQUEST_SPANS_MAX: usize = 20;

/// What is around a node.
pub struct Around<'a> {
    /// The time of the world.
    pub now: Nanos,
    /// What is going to happen.
    pub events: &'a mut Events,
    /// What is on its way.
    pub network: &'a mut Network,
}

/// The seam to the world of one core.
#[derive(Default)]
struct Outbox {
    requests: Vec<ExportRequest>,
    judged: Vec<Judged>,
    resolved: Vec<Unit>,
    recalled: Vec<KeptUnit>,
    told: Vec<Said>,
    /// How many more messages there is room for on the way to other nodes.
    room: usize,
}

impl Host for Outbox {
    fn export(&mut self, request: ExportRequest) {
        self.requests.push(request);
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

    fn tell(&mut self, said: Said) -> Result<(), Said> {
        if self.told.len() >= self.room {
            return Err(said);
        }
        self.told.push(said);
        Ok(())
    }
}

/// A core of a pipeline.
pub struct Core {
    /// Its shard.
    pub shard: Shard,
    outbox: Outbox,
    /// With the next hop.
    requests: VecDeque<ExportRequest>,
    /// Verdicts on their way to its journal.
    noted: Noted,
    /// What the hub has for it.
    inbox: VecDeque<ForCore>,
}

/// One node.
pub struct Node {
    /// What it may vary.
    pub scenario: Scenario,
    /// Its cores: those of the first pipeline, then those of the next.
    pub cores: Vec<Core>,
    /// The lane of each executor, where there is a log.
    lanes: Vec<CoreLog>,
    /// How often its process has ended.
    pub run: u32,
    /// It stands still until then, of the world.
    pub paused_until: Nanos,
    number: usize,
    seed: u64,
    random: Rng,
    /// What its clock shows.
    now: Nanos,
    senders: Senders,
    /// By pipeline.
    generations: Vec<Vec<(PolicySet, Arc<Rules>)>>,
    log: Option<Log>,
    /// What is counted for summaries.
    counted: Counted,
    crashes_left: u32,
    /// Which core has which trace.
    route: Route,
    /// Its end of the cluster.
    gossip: Option<Gossip>,
    /// What its shards and its hub counted in runs that are over.
    counts_before: ClusterCounts,
    hub_before: HubMet,
    /// It was killed, and starts again.
    is_down: bool,
    /// Whether it is about to leave the cluster.
    is_leaving: bool,
    /// Whether it is gone.
    is_gone: bool,
    /// Whether it has stood still for so long that others took it for dead.
    has_stood_still: bool,
    /// With the pipeline that it was seen of.
    seen: Vec<(usize, Seen)>,
}

impl Node {
    /// A node that is about to start.
    #[must_use]
    pub fn new(number: usize, seed: u64, scenario: Scenario) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        Self {
            cores: Vec::new(),
            lanes: Vec::new(),
            run: 0,
            paused_until: Nanos::default(),
            number,
            seed,
            now: Nanos::default(),
            senders: told::senders(number, &mut random, &scenario),
            route: Route::new([0; 4], 1),
            gossip: None,
            counts_before: ClusterCounts::default(),
            hub_before: HubMet::default(),
            is_down: false,
            is_leaving: false,
            is_gone: false,
            has_stood_still: false,
            generations: Vec::new(),
            log: scenario.log.as_ref().map(|logged| Log::new(logged.faults.clone(), random.bool())),
            counted: Counted::default(),
            crashes_left: scenario.crashes(),
            seen: Vec::new(),
            scenario,
            random,
        }
    }

    /// Something happens.
    pub fn handle(&mut self, what: What, around: &mut Around<'_>) {
        self.now = self.scenario.clock.read(around.now);
        match what {
            What::Send(core) => self.send(core, around),
            What::Arrive(from, core) => self.arrive(from, core, around),
            What::Tick(core) => self.tick(core, around),
            What::Answer(core) => self.answer(core, around),
            What::Disk { core, place, is_opening } => self.disk_is_done(core, place, is_opening, around),
            What::Flush(core) => self.flush_journal(core, around),
            What::Recall(core) => self.recall(core, around),
            What::Replay => self.replay_next(around),
            What::Reload => self.reload(around),
            What::Pause => self.pause(around),
            What::Crash => self.crash(around),
            What::Hear(datagram) => self.hear(datagram, around),
            What::Gossip => self.gossip(around),
            What::Announce => self.announce(around),
            What::Obey(core) => self.obey(core, around),
            What::Share => self.share(around),
            What::Come => self.start(around),
            What::Go => self.go(around),
            What::End => self.end(),
        }
    }

    /// What was seen since it was last asked, with the pipeline that it was seen of.
    pub fn take_seen(&mut self) -> Vec<(usize, Seen)> {
        std::mem::take(&mut self.seen)
    }

    /// The books of all shards of a pipeline.
    #[must_use]
    pub fn account(&self, pipeline: usize) -> Account {
        let mut sum = Account::default();
        for core in self.cores.chunks(self.executors().max(1)).nth(pipeline).unwrap_or_default() {
            sum.add(&core.shard.ledger().spans);
        }
        sum
    }

    /// Cores of each pipeline.
    fn executors(&self) -> usize {
        self.cores.len() / self.scenario.pipelines
    }

    /// The pipeline of a core, and its executor.
    fn seat(&self, place: usize) -> (usize, usize) {
        (place / self.executors(), place % self.executors())
    }

    /// The core of a pipeline on an executor.
    fn place(&self, pipeline: usize, executor: usize) -> usize {
        pipeline * self.executors() + executor
    }

    /// Something was seen of the pipeline of this core.
    fn see(&mut self, place: usize, seen: Seen) {
        let pipeline = self.seat(place).0;
        self.seen.push((pipeline, seen));
    }

    /// Something was seen of all pipelines.
    fn see_all(&mut self, seen: impl Fn() -> Seen) {
        self.seen.extend((0..self.scenario.pipelines).map(|pipeline| (pipeline, seen())));
    }

    /// Its number on the network.
    #[must_use]
    pub fn number(&self) -> usize {
        self.number
    }

    /// Syncs of its disk so far.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.log.as_ref().map_or(0, Log::syncs)
    }

    /// Whether nothing is to happen any more when no span is pending.
    #[must_use]
    pub fn is_at_rest(&self, network: &Network) -> bool {
        self.is_calm() && self.is_log_done() && network.is_silent(self.number)
    }

    /// In the end nothing fails any more.
    fn is_calm(&self) -> bool {
        let is_sent = self.senders.is_done() || self.is_leaving;
        is_sent && self.crashes_left == 0 && !self.is_to_go() && !self.is_down
    }

    fn plan(&mut self, after_us: Range<u64>, what: What, around: &mut Around<'_>) {
        let at = around.now.plus(Nanos(self.random.u64(after_us) * 1000));
        around.events.plan(at, self.number, self.run, what);
    }

    fn link_to(&mut self, from: usize, core: usize, message: Message, around: &mut Around<'_>) {
        let link = [from, core].map(|core| self.address(core));
        let at = around.network.send(around.now, link.into(), message, &mut self.random);
        around.events.plan(at, self.number, self.run, What::Arrive(from, core));
    }

    fn follow_core(&mut self, place: usize, around: &mut Around<'_>) {
        let executor = self.seat(place).1;
        self.follow(executor, around);
    }

    fn address(&self, place: usize) -> Address {
        let (pipeline, core) = self.seat(place);
        Address { node: self.number, pipeline, core }
    }

    fn send(&mut self, executor: usize, around: &mut Around<'_>) {
        let is_idle = self.scenario.cluster.is_some() && self.senders.is_done();
        self.plan(if is_idle { IDLE_US } else { SEND_US }, What::Send(executor), around);
        let count = self.random.usize(1..REQUEST_SPANS_MAX);
        if self.is_starting() || self.is_leaving {
            return;
        }
        let spans = self.senders.due(around.now, count);
        if spans.is_empty() {
            return;
        }
        let body = encode(spans.iter().map(|sent| (sent.service, &sent.bytes)));
        let takers = self.takers();
        let mut taken = Vec::new();
        for pipeline in takers {
            let place = self.place(pipeline, executor);
            let scanned = self.cores[place].shard.scan(&body).unwrap();
            assert_eq!((scanned.accepted as usize, scanned.refused), (spans.len(), 0));
            taken.push((pipeline, scanned));
        }
        if self.log.is_some() {
            return self.append(executor, &body, taken, spans, around);
        }
        for (pipeline, scanned) in taken {
            let place = self.place(pipeline, executor);
            self.see(place, Seen::Acknowledged { spans: spans.clone(), is_synced: false });
            self.admit(place, scanned, Origin::NONE, self.now, around);
        }
    }

    /// The pipelines that take a request: those that its receiver feeds.
    fn takers(&mut self) -> Vec<usize> {
        let all = self.scenario.pipelines;
        let one = self.random.usize(0..3 * all);
        if all > 1 && one < all { vec![one] } else { (0..all).collect() }
    }

    /// Spans enter a pipeline.
    fn admit(&mut self, number: usize, mut scanned: Scanned, origin: Origin, arrived: Nanos, around: &mut Around<'_>) {
        scanned.place(origin, arrived);
        self.cores[number].shard.accept(scanned.spans());
        self.see(number, Seen::Accepted(scanned.spans()));
        let pipeline = self.seat(number).0;
        for (target, batch) in scanned.batches {
            if let Some(log) = &mut self.log {
                log.note_units(&batch);
            }
            let target = self.place(pipeline, usize::from(target.0));
            self.link_to(number, target, Message::Spans(batch), around);
        }
    }

    fn arrive(&mut self, from: usize, number: usize, around: &mut Around<'_>) {
        let [from, to] = [from, number].map(|core| self.address(core));
        match around.network.receive(from, to).expect("what was sent arrives") {
            Message::Spans(batch) => self.take(number, batch, around),
            Message::Resolved(units) => self.resolve_all(number, &units),
            Message::Parked(units) => units.into_iter().for_each(|unit| self.park(number, unit, around)),
            Message::CloseWindow(window) => self.window_closed(number, window),
            Message::WindowGiven(executor, window, parts) => self.window_given(executor, window, &parts),
            Message::WindowEmitted(window) => self.window_emitted(number, window),
        }
        self.follow_core(number, around);
    }

    fn take(&mut self, number: usize, batch: SpanBatch, around: &mut Around<'_>) {
        for record in &batch.spans {
            let start = record.offset as usize;
            let sent = self.senders.sent(&batch.body[start..start + record.length as usize]).clone();
            assert_eq!(record.trace_id, sent.trace_id, "a shard takes what was sent");
            self.see(number, Seen::Taken { core: number, arrived: batch.arrived, sent });
        }
        let Core { shard, outbox, .. } = &mut self.cores[number];
        shard.take(self.now, batch, outbox);
        let in_force = shard.rules().generation();
        self.gather(number, in_force, around);
    }

    fn tick(&mut self, number: usize, around: &mut Around<'_>) {
        self.plan(TICK_US, What::Tick(number), around);
        if self.is_starting() {
            return;
        }
        let room = self.room();
        let Core { shard, outbox, .. } = &mut self.cores[number];
        outbox.room = room;
        shard.tick(self.now, outbox);
        let in_force = shard.rules().generation();
        self.gather(number, in_force, around);
        self.see(number, Seen::Ticked { core: number, at: self.now });
        self.follow_core(number, around);
        self.end_if_settled(around);
    }

    /// Passes on what a shard told its host.
    fn gather(&mut self, number: usize, in_force: u32, around: &mut Around<'_>) {
        let Outbox { requests, judged, resolved, recalled, told, .. } = std::mem::take(&mut self.cores[number].outbox);
        let (pipeline, executor) = self.seat(number);
        let cold: BTreeSet<TraceId> = recalled.iter().map(|kept| self.trace_of(kept.unit)).collect();
        for judged in judged {
            let (policies, rules) = &self.generations[pipeline][judged.generation as usize];
            let (policies, ruled) = (*policies, Ruled::judged(&judged, rules));
            if let Some(log) = self.lanes.get_mut(executor) {
                self.cores[number].noted.note(&judged, ruled.clone());
                log.lane.journal(pipeline).judged(&judged);
            }
            let is_cold = cold.contains(&judged.trace_id);
            self.see(number, Seen::Judged { judged, ruled, policies, in_force, at: self.now, is_cold });
        }
        let told = self.hold_for_verdicts(number, told);
        self.send_told(told, around);
        for unit in resolved {
            self.lanes[executor].lane.journal(pipeline).resolve(unit);
        }
        for unit in recalled {
            self.park(number, unit, around);
        }
        for request in requests {
            self.cores[number].requests.push_back(request);
            self.plan(ANSWER_US, What::Answer(number), around);
        }
    }

    fn answer(&mut self, number: usize, around: &mut Around<'_>) {
        if self.is_starting() {
            return self.plan(ANSWER_US, What::Answer(number), around);
        }
        let request = self.cores[number].requests.pop_front().expect("each is answered once");
        if self.log.is_some() {
            assert_eq!(request.units.len(), request.items as usize, "all spans are in the log");
            if !self.is_calm() && self.random.u32(0..100) < self.scenario.parked_percent {
                self.cores[number].shard.park(request.signal, request.items);
                request.units.into_iter().for_each(|unit| self.park(number, unit, around));
                return self.follow_core(number, around);
            }
        }
        let is_refused = self.random.u32(0..100) < self.scenario.refused_percent;
        let spans = next_hop::read(&request).into_iter();
        let (pipeline, executor) = self.seat(number);
        self.seen.extend(spans.map(|span| (pipeline, Seen::Delivered { span: Rc::new(span), is_refused })));
        let fate = if is_refused { ExportFate::Refused } else { ExportFate::Delivered };
        self.cores[number].shard.settle(request.signal, request.items, fate);
        if let Some(log) = self.lanes.get_mut(executor) {
            request.units.iter().for_each(|kept| log.lane.journal(pipeline).resolve(kept.unit));
        }
        self.follow_core(number, around);
    }

    /// A new generation, or one more core takes the next one over.
    fn reload(&mut self, around: &mut Around<'_>) {
        let Policies::Changing(every_ms) = self.scenario.policies else { return };
        self.plan(1000..every_ms * 2000, What::Reload, around);
        // What changes has a single pipeline.
        let generations = &mut self.generations[0];
        let latest = generations.len() - 1;
        let is_behind = |core: &Core| (core.shard.rules().generation() as usize) < latest;
        if !self.cores.iter().any(is_behind) {
            let before = &generations[latest].1;
            let (set, rules) = match self.scenario.cluster {
                // All nodes get the same rules, each at its time, and all have the last of them in the end.
                Some(_) if latest >= CLUSTER_CHANGES_MAX => return,
                Some(cluster) => {
                    let mut random = Rng::with_seed(cluster.seed + latest as u64);
                    let set = PolicySet::any(&mut random);
                    (set, set.rules(Some(before), &mut random).named_by(&format!("{set:?}{latest}")))
                }
                None => {
                    let set = PolicySet::any(&mut self.random);
                    (set, set.rules(Some(before), &mut self.random))
                }
            };
            return generations.push((set, Arc::new(rules)));
        }
        let number = self.random.usize(0..self.cores.len());
        let plan = self.scenario.shard_plan(number as u16, self.cores.len() as u16, self.seed);
        let core = &mut self.cores[number];
        if !is_behind(core) {
            return;
        }
        let in_force = core.shard.rules().generation();
        let rules = &self.generations[0][in_force as usize + 1].1;
        while !core.shard.reload(self.now, rules, &plan, &mut core.outbox) {}
        if let Some(log) = self.lanes.get_mut(number) {
            log.set_told(0, rules);
        }
        self.gather(number, in_force, around);
        self.follow_core(number, around);
    }

    fn pause(&mut self, around: &mut Around<'_>) {
        self.plan(PAUSE_US, What::Pause, around);
        self.paused_until = around.now.plus(Nanos::from_millis(self.random.u64(0..self.scenario.pause_ms_max)));
    }
}

/// A request in the log, with its sender.
struct Payload {
    /// By the pipelines that take it.
    taken: Vec<(usize, Scanned)>,
    spans: Vec<Rc<Sent>>,
    arrived: Nanos,
    is_synced: bool,
}
