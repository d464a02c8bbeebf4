//! A node: real shards, with a log real lanes on a simulated disk, and doubles of what is around a core, each of which
//! keeps the promises of what it stands for. Everything that happens to it is an event.

mod logged;
mod start;
mod told;

pub use self::logged::KINDS;
use self::logged::{CoreLog, Log};
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
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::intake::Scanned;
use tailwater_engine::ledger::Account;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, Origin, Said, SpanBatch, TraceId, Unit};

/// How long things take, microseconds: to the next request at a core, to the next look at the time, of an answer of the next
/// hop, to the next pause.
const SEND_US: Range<u64> = 2_000..160_000;
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

/// A core.
pub struct Core {
    /// Its shard.
    pub shard: Shard,
    outbox: Outbox,
    /// With the next hop.
    requests: VecDeque<ExportRequest>,
    log: Option<CoreLog>,
}

/// One node.
pub struct Node {
    /// What it may vary.
    pub scenario: Scenario,
    /// Its cores.
    pub cores: Vec<Core>,
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
    generations: Vec<(PolicySet, Arc<Rules>)>,
    log: Option<Log>,
    crashes_left: u32,
    /// The change of members that it has seen.
    saw: u64,
    /// Whether it is about to leave the cluster.
    is_leaving: bool,
    /// Whether it is gone.
    is_gone: bool,
    seen: Vec<Seen>,
}

impl Node {
    /// A node that is about to start.
    #[must_use]
    pub fn new(number: usize, seed: u64, scenario: Scenario) -> Self {
        let mut random = Rng::with_seed(seed ^ 0x5eed);
        Self {
            cores: Vec::new(),
            run: 0,
            paused_until: Nanos::default(),
            number,
            seed,
            now: Nanos::default(),
            senders: told::senders(number, &mut random, &scenario),
            saw: 0,
            is_leaving: false,
            is_gone: false,
            generations: Vec::new(),
            log: scenario.log.as_ref().map(|logged| Log::new(logged.faults.clone())),
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
            What::Hear(message) => self.hear(message, around),
            What::See(change) => self.see(change, around),
            What::Come => self.start(around),
            What::Go => self.go(around),
        }
    }

    /// What was seen since it was last asked.
    pub fn take_seen(&mut self) -> Vec<Seen> {
        std::mem::take(&mut self.seen)
    }

    /// The books of all shards.
    #[must_use]
    pub fn account(&self) -> Account {
        let mut sum = Account::default();
        for core in &self.cores {
            sum.add(&core.shard.ledger().spans);
        }
        sum
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
        (self.senders.is_done() || self.is_leaving) && self.crashes_left == 0 && !self.is_to_go()
    }

    fn plan(&mut self, after_us: Range<u64>, what: What, around: &mut Around<'_>) {
        let at = around.now.plus(Nanos(self.random.u64(after_us) * 1000));
        around.events.plan(at, self.number, self.run, what);
    }

    fn link_to(&mut self, from: usize, core: usize, message: Message, around: &mut Around<'_>) {
        let link = [from, core].map(|core| Address { node: self.number, core });
        let at = around.network.send(around.now, link.into(), message, &mut self.random);
        around.events.plan(at, self.number, self.run, What::Arrive(from, core));
    }

    fn send(&mut self, number: usize, around: &mut Around<'_>) {
        self.plan(SEND_US, What::Send(number), around);
        let count = self.random.usize(1..REQUEST_SPANS_MAX);
        if self.is_starting() || self.is_leaving {
            return;
        }
        let spans = self.senders.due(around.now, count);
        if spans.is_empty() {
            return;
        }
        let body = encode(spans.iter().map(|sent| (sent.service, &sent.bytes)));
        let scanned = self.cores[number].shard.scan(&body).unwrap();
        assert_eq!((scanned.accepted as usize, scanned.refused), (spans.len(), 0));
        if self.log.is_some() {
            return self.append(number, &body, scanned, spans, around);
        }
        self.seen.push(Seen::Acknowledged { spans, is_synced: false });
        self.admit(number, scanned, Origin::NONE, self.now, around);
    }

    /// Spans enter the node.
    fn admit(&mut self, number: usize, mut scanned: Scanned, origin: Origin, arrived: Nanos, around: &mut Around<'_>) {
        scanned.place(origin, arrived);
        self.cores[number].shard.accept(scanned.spans());
        self.seen.push(Seen::Accepted(scanned.spans()));
        for (target, batch) in scanned.batches {
            if let Some(log) = &mut self.log {
                log.note_units(&batch);
            }
            self.link_to(number, usize::from(target.0), Message::Spans(batch), around);
        }
    }

    fn arrive(&mut self, from: usize, number: usize, around: &mut Around<'_>) {
        let [from, to] = [from, number].map(|core| Address { node: self.number, core });
        match around.network.receive(from, to).expect("what was sent arrives") {
            Message::Spans(batch) => self.take(number, batch, around),
            Message::Resolved(units) => self.resolve_all(number, &units),
            Message::Parked(units) => units.into_iter().for_each(|unit| self.park(number, unit, around)),
        }
        self.follow(number, around);
    }

    fn take(&mut self, number: usize, batch: SpanBatch, around: &mut Around<'_>) {
        for record in &batch.spans {
            let start = record.offset as usize;
            let sent = self.senders.sent(&batch.body[start..start + record.length as usize]).clone();
            assert_eq!(record.trace_id, sent.trace_id, "a shard takes what was sent");
            self.seen.push(Seen::Taken { core: number, arrived: batch.arrived, sent });
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
        self.seen.push(Seen::Ticked { core: number, at: self.now });
        self.follow(number, around);
        self.end_if_settled(around);
    }

    /// Passes on what a shard told its host.
    fn gather(&mut self, number: usize, in_force: u32, around: &mut Around<'_>) {
        let Outbox { requests, judged, resolved, recalled, told, .. } = std::mem::take(&mut self.cores[number].outbox);
        let cold: BTreeSet<TraceId> = recalled.iter().map(|kept| self.trace_of(kept.unit)).collect();
        for judged in judged {
            let (policies, rules) = &self.generations[judged.generation as usize];
            let (policies, ruled) = (*policies, Ruled::judged(&judged, rules));
            if let Some(log) = &mut self.cores[number].log {
                log.note(&judged, ruled.clone());
            }
            let is_cold = cold.contains(&judged.trace_id);
            self.seen.push(Seen::Judged { judged, ruled, policies, in_force, at: self.now, is_cold });
        }
        let told = self.hold_for_verdicts(number, told);
        self.send_told(told, around);
        for unit in resolved {
            self.cores[number].log.as_mut().expect("what is resolved is in a log").resolve(unit);
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
                return self.follow(number, around);
            }
        }
        let is_refused = self.random.u32(0..100) < self.scenario.refused_percent;
        let spans = next_hop::read(&request).into_iter();
        self.seen.extend(spans.map(|span| Seen::Delivered { span: Rc::new(span), is_refused }));
        let fate = if is_refused { ExportFate::Refused } else { ExportFate::Delivered };
        let Core { shard, log, .. } = &mut self.cores[number];
        shard.settle(request.signal, request.items, fate);
        if let Some(log) = log {
            request.units.iter().for_each(|kept| log.resolve(kept.unit));
        }
        self.follow(number, around);
    }

    /// A new generation, or one more core takes the next one over.
    fn reload(&mut self, around: &mut Around<'_>) {
        let Policies::Changing(every_ms) = self.scenario.policies else { return };
        self.plan(1000..every_ms * 2000, What::Reload, around);
        let latest = self.generations.len() - 1;
        let is_behind = |core: &Core| (core.shard.rules().generation() as usize) < latest;
        if !self.cores.iter().any(is_behind) {
            let before = &self.generations[latest].1;
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
            return self.generations.push((set, Arc::new(rules)));
        }
        let number = self.random.usize(0..self.cores.len());
        let plan = self.scenario.shard_plan(number as u16, self.cores.len() as u16, self.seed);
        let core = &mut self.cores[number];
        if !is_behind(core) {
            return;
        }
        let in_force = core.shard.rules().generation();
        let rules = &self.generations[in_force as usize + 1].1;
        while !core.shard.reload(self.now, rules, &plan, &mut core.outbox) {}
        if let Some(log) = &mut core.log {
            log.set_told(rules);
        }
        self.gather(number, in_force, around);
        self.follow(number, around);
    }

    fn pause(&mut self, around: &mut Around<'_>) {
        self.plan(PAUSE_US, What::Pause, around);
        self.paused_until = around.now.plus(Nanos::from_millis(self.random.u64(0..self.scenario.pause_ms_max)));
    }
}

/// A request in the log, with its sender.
struct Payload {
    scanned: Scanned,
    spans: Vec<Rc<Sent>>,
    arrived: Nanos,
    is_synced: bool,
}
