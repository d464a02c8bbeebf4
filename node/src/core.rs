//! One core of one pipeline: its shard, its way to the other cores, its exporters, and the loops that drive them. Everything
//! here runs on one executor; borrows never cross an await.

pub mod log;
mod owners;
mod port;
mod recall;
mod receivers;
pub mod replay;

pub use port::CorePort;
pub use recall::protobuf as logged_body;
pub use receivers::OpenReceiver;

use self::owners::{ForOwners, slot};
use crate::control::{Change, Control, Explained, ExporterSnapshot, LogSnapshot, Snapshot};
use crate::outbox::Outbox;
use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use log::{CoreLog, Payload};
use port::CoreEnvironment;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::delivery::Settlement;
use tailwater_connectors::otlp::port::PortError;
use tailwater_engine::host::{ExportFate, Host};
use tailwater_engine::intake::Scanned;
use tailwater_engine::shard::{Shard, TICK};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Nanos, Origin, ShardIndex, SpanBatch, Unit};
use tailwater_net::server::ReceiveMemory;
use tailwater_proto::consistent::to_float;
use tailwater_runtime::allocator;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::{sleep, spawn, timeout, yield_now};
use tailwater_runtime::mesh::MeshPort;

/// How often a held-back sender looks again.
const PRESSURE_RECHECK: Duration = Duration::from_millis(5);
/// How long what is to be logged at a stop waits for a disk that gives no segment: several times as long as until the next
/// attempt to open one.
const SEGMENT_PATIENCE: Duration = Duration::from_secs(4);
/// How often the cores divide limits anew: by then a window's worth of demand is known.
const LIMITS_SHARED_INTERVAL: Duration = Duration::from_secs(1);
/// How often freed memory is given back to the system.
const GIVE_BACK_INTERVAL: Duration = Duration::from_secs(3);
/// The part of a limit that is divided equally.
const EQUAL_PART: f64 = 0.1;
/// Messages from other cores taken in one go before other tasks run.
const TAKE_IN_A_ROW_MAX: usize = 16;

/// Units gathered for another core before they are sent between ticks.
const UNITS_PER_MESSAGE: usize = 4096;
/// How much the engine's time is ahead of its origin at the start: what a former run has left lies in that past.
pub const HISTORY: Nanos = Nanos::from_millis(48 * 3600 * 1000);

/// What cores tell one another.
pub enum Message {
    /// Spans for the shard that owns their traces.
    Spans(SpanBatch),
    /// Units of the receiver's log that are done with.
    Resolved(Vec<Unit>),
    /// Units of the receiver's log that wait there for these exporters.
    Parked(Vec<KeptUnit>, Destinations),
    /// Units of the receiver's log that these exporters are done with, while others are not.
    Done(Vec<Unit>, Destinations),
    /// The sender's log is full: traces are to be judged early wherever they are, for their spans are in any core's log.
    LogFull,
    /// What wanted to pass each limit on the core of that number in the last second, by the numbers that limits have in a
    /// generation of the rules.
    LimitDemand(usize, u32, Vec<u64>),
}

/// One core's state.
pub struct Core {
    index: usize,
    shard: RefCell<Shard>,
    outbox: RefCell<Outbox>,
    receivers: RefCell<Vec<OpenReceiver>>,
    mesh: MeshPort<Message>,
    /// This core's log, if any receiver acknowledges more than the receipt.
    log: Option<Rc<CoreLog>>,
    for_owners: RefCell<ForOwners>,
    /// What wanted to pass each limit of late, by core.
    limit_demands: RefCell<Vec<Vec<u64>>>,
    /// Origin of the engine's time, monotonic nanoseconds; the same for all cores.
    origin: Cell<u64>,
    /// Memory for requests, shared with the receivers.
    memory: Rc<ReceiveMemory>,
    /// Set while a former run's log is read: nothing is judged before all of it is there.
    is_replaying: Cell<bool>,
    /// Since when senders were held back without a pause.
    pressed_since: Cell<Option<Nanos>>,
    /// Set once nothing more is accepted.
    is_closed: Cell<bool>,
    /// Set once senders can connect.
    is_open: Cell<bool>,
    /// Whether a full buffer holds back senders, instead of deciding early.
    blocks_on_overflow: Cell<bool>,
    settings: Settings,
}

/// What a core needs to know of the configuration.
#[derive(Debug, Clone)]
pub struct Settings {
    /// Number of the pipeline.
    pub pipeline: usize,
    /// Whether a full buffer holds back senders, instead of deciding early, at first.
    pub blocks_on_overflow: bool,
    /// Whether a full log has traces judged early, instead of holding back senders.
    pub decides_early: bool,
    /// How often the journal is written.
    pub journal_interval: Duration,
    /// Age past which kept data that no exporter takes is dropped; zero for never.
    pub retention: Duration,
    /// Largest request once inflated.
    pub request_bytes_max: usize,
}

impl Core {
    /// The core that runs `shard`.
    pub fn new(
        index: usize,
        shard: Shard,
        outbox: Outbox,
        mesh: MeshPort<Message>,
        log: Option<Rc<CoreLog>>,
        (origin, memory): (u64, Rc<ReceiveMemory>),
        settings: Settings,
    ) -> Rc<Self> {
        Rc::new(Self {
            index,
            shard: RefCell::new(shard),
            outbox: RefCell::new(outbox),
            receivers: RefCell::default(),
            mesh,
            log,
            for_owners: RefCell::default(),
            limit_demands: RefCell::default(),
            origin: Cell::new(origin),
            memory,
            is_replaying: Cell::new(false),
            pressed_since: Cell::new(None),
            is_closed: Cell::new(false),
            is_open: Cell::new(false),
            blocks_on_overflow: Cell::new(settings.blocks_on_overflow),
            settings,
        })
    }

    /// Waits until the log has a segment to write to, or the disk gives it none: senders then hear so at once, and do not
    /// wait for a disk that is busy at a start.
    pub async fn wait_for_log(&self) {
        let Some(log) = &self.log else { return };
        while !log.is_open() && !log.is_failing() && !self.is_closed.get() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    /// The receivers that feed this core, to be drained with it.
    pub fn set_receivers(&self, receivers: Vec<OpenReceiver>) {
        if self.is_closed.get() {
            // The node was told to stop while it read the log of the last run.
            receivers.iter().for_each(OpenReceiver::drain);
        }
        self.is_open.set(true);
        self.receivers.replace(receivers);
    }

    /// The engine's time.
    fn now(&self) -> Nanos {
        Nanos(monotonic_nanos().wrapping_sub(self.origin.get()))
    }

    /// Calls into the shard, then books the fates that were known at once.
    fn with_shard<T>(&self, call: impl FnOnce(&mut Shard, Nanos, &mut Outbox) -> T) -> T {
        let mut shard = self.shard.borrow_mut();
        let mut outbox = self.outbox.borrow_mut();
        outbox.be_strict();
        let result = call(&mut shard, self.now(), &mut outbox);
        for settlement in outbox.take_settled() {
            self.book(&mut shard, &mut outbox, settlement);
        }
        if let Some(log) = &self.log {
            outbox.log_into(log.lane.borrow_mut().journal());
        }
        let recalled = outbox.take_recalled();
        drop((shard, outbox));
        for unit in recalled {
            self.park(unit, Destinations::ALL);
        }
        result
    }

    /// Books what became of a request. What an exporter could not take now waits in the log.
    fn book(&self, shard: &mut Shard, outbox: &mut Outbox, settlement: Settlement) {
        let Settlement { signal, items, delivered, lost, fate, units, parked } = settlement;
        if !parked.is_none() {
            shard.park(signal, items);
            for unit in units {
                self.park(unit, parked);
            }
            return;
        }
        if delivered > 0 {
            shard.settle(signal, delivered, ExportFate::Delivered);
        }
        if lost > 0 {
            shard.settle(signal, lost, fate);
        }
        outbox.resolve_all(units.into_iter().map(|kept| kept.unit));
    }

    fn receive(&self, message: Message) {
        match message {
            Message::Spans(batch) => self.take(batch),
            Message::Resolved(units) => {
                if let Some(log) = &self.log {
                    log.resolve(&units);
                }
            }
            Message::Parked(units, destinations) => {
                for unit in units {
                    self.park(unit, destinations);
                }
            }
            Message::Done(units, done) => self.note_done(units, done),
            Message::LimitDemand(core, generation, demand) => {
                if generation == self.shard.borrow().rules().generation() {
                    self.note_demand(core, demand);
                }
            }
            Message::LogFull => {
                if !self.is_replaying.get() {
                    self.with_shard(|shard, now, outbox| shard.decide_early(now, outbox));
                }
            }
        }
    }

    /// Takes a batch, then judges what is due: verdicts keep pace with arrivals however busy the core is. The timer alone
    /// would get its turn once for many requests.
    fn take(&self, batch: SpanBatch) {
        self.with_shard(|shard, now, outbox| {
            outbox.be_lenient();
            shard.take(now, batch, outbox);
            outbox.be_strict();
            if !self.is_replaying.get() {
                shard.tick(now, outbox);
            }
        });
    }

    /// Whether senders are to be held back. What is logged may leave memory, so that neither a full buffer nor a dead
    /// exporter is a reason then; the disk is.
    fn is_pressed(&self, is_logged: bool) -> bool {
        let shard = self.shard.borrow();
        match self.log.as_ref().filter(|_| is_logged) {
            Some(log) => log.is_pressed() || (self.blocks_on_overflow.get() && shard.is_cold_pressed()),
            None => (self.blocks_on_overflow.get() && shard.is_pressed()) || self.outbox.borrow().is_pressed(),
        }
    }

    /// Accepts a request: its level is reached. Spans go to the shards that own their traces; the sender is answered
    /// through `done` once all of them are on their way.
    fn admit(
        self: &Rc<Self>,
        payload: Payload,
        origin: Origin,
        arrived: Nanos,
        done: Option<Sender<Result<(), PortError>>>,
    ) {
        let waiting = match payload {
            Payload::Traces(scanned) => self.admit_spans(scanned, origin, arrived),
            Payload::Forward(signal, body, items) => {
                let unit = origin.unit(0);
                // A copy: what waits for an exporter counts to that exporter's queue, and must not hold the memory that
                // other requests are to be received in.
                let body = Bytes::copy_from_slice(&body);
                self.with_shard(|shard, _, outbox| shard.forward(signal, body, items, unit, outbox));
                Vec::new()
            }
        };
        let Some(done) = done else { return };
        if waiting.is_empty() {
            // A sender that has gone does not hear it.
            _ = done.try_send(Ok(()));
            return;
        }
        spawn(async move {
            for sent in waiting {
                // Closing is the signal; nothing is ever sent.
                _ = sent.recv().await;
            }
            _ = done.try_send(Ok(()));
        });
    }

    /// Hands a scanned request over; returns what to wait for.
    fn admit_spans(self: &Rc<Self>, mut scanned: Scanned, origin: Origin, arrived: Nanos) -> Vec<Receiver<()>> {
        if scanned.refused > 0
            && let Some(log) = self.log.as_ref().filter(|_| !origin.segment.is_none())
        {
            log.refuse_units(origin, scanned.missing_positions().into_iter());
        }
        scanned.place(origin, arrived);
        self.shard.borrow_mut().accept(scanned.spans());
        // No await before the last batch is on its way: see `hand_over`.
        let batches = scanned.batches.into_iter();
        batches.filter_map(|(target, batch)| self.hand_over(target, batch)).collect()
    }

    /// Gives a batch to the shard that owns it. When that shard's queue is full, returns what to wait for: the spans are
    /// accepted, so a sender that hangs up must not take them along, and a task of its own waits for room.
    fn hand_over(self: &Rc<Self>, target: ShardIndex, batch: SpanBatch) -> Option<Receiver<()>> {
        let target = usize::from(target.0);
        if target == self.index {
            self.take(batch);
            return None;
        }
        let batch = self.mesh.try_send(target, Message::Spans(batch)).err()?;
        let (done, waiting) = bounded(1);
        let core = self.clone();
        spawn(async move {
            core.mesh.send(target, batch).await;
            drop(done);
        });
        Some(waiting)
    }

    /// Starts the loops of this core.
    pub fn start(self: &Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        spawn(self.clone().obey(control, ended));
    }

    /// Starts what works beside the receivers: exporters, the mesh, the clock, the log. Before a replay.
    pub fn start_inside(self: &Rc<Self>) {
        let exporters = self.outbox.borrow().exporters().to_vec();
        for exporter in exporters {
            spawn(exporter.clone().look_up(Rc::new(CoreEnvironment(self.clone()))));
            for worker in 0..exporter.workers() {
                spawn(
                    exporter
                        .clone()
                        .work(self.index * exporter.workers() + worker, Rc::new(CoreEnvironment(self.clone()))),
                );
            }
        }
        spawn(self.clone().receive_from_cores());
        spawn(self.clone().tick());
        if self.settings.pipeline == 0 {
            spawn(self.clone().give_memory_back());
        }
        if self.mesh.ports() > 1 {
            spawn(self.clone().share_limits());
        }
        if let Some(log) = &self.log {
            log.start(self);
            spawn(self.clone().keep_journal(log.clone()));
            spawn(recall::recall(self.clone(), log.clone()));
        }
    }

    /// Has verdicts and resolutions logged, and what was written made durable, in equal intervals.
    async fn keep_journal(self: Rc<Self>, log: Rc<CoreLog>) {
        loop {
            sleep(self.settings.journal_interval).await;
            self.tell_partly_done();
            log.flush_journal(&self);
            log.want_sync();
        }
    }

    async fn receive_from_cores(self: Rc<Self>) {
        loop {
            let message = self.mesh.receive().await;
            self.receive(message);
            for _ in 1..TAKE_IN_A_ROW_MAX {
                match self.mesh.try_receive() {
                    Some(message) => self.receive(message),
                    None => break,
                }
            }
            yield_now().await;
        }
    }

    /// Gives memory back that a burst has left behind, once a while.
    async fn give_memory_back(self: Rc<Self>) {
        loop {
            sleep(GIVE_BACK_INTERVAL).await;
            allocator::give_back();
        }
    }

    async fn tick(self: Rc<Self>) {
        loop {
            sleep(Duration::from_nanos(TICK.0)).await;
            self.send_units();
            if self.is_replaying.get() {
                continue;
            }
            self.note_pressure();
            if self.settings.decides_early && self.log.as_ref().is_some_and(|log| log.lane.borrow().is_full()) {
                self.with_shard(|shard, now, outbox| shard.decide_early(now, outbox));
                for other in (0..self.mesh.ports()).filter(|other| *other != self.index) {
                    // A core whose queue is full is told at the next tick.
                    _ = self.mesh.try_send(other, Message::LogFull);
                }
            }
            while self.with_shard(|shard, now, outbox| shard.tick(now, outbox)) {
                yield_now().await;
            }
        }
    }

    /// Tells the other cores what wanted to pass this core's limits, and divides the limits by what all have told.
    async fn share_limits(self: Rc<Self>) {
        loop {
            sleep(LIMITS_SHARED_INTERVAL).await;
            let (demand, generation) = {
                let mut shard = self.shard.borrow_mut();
                (shard.take_limit_demand(), shard.rules().generation())
            };
            if demand.is_empty() {
                continue;
            }
            for other in (0..self.mesh.ports()).filter(|other| *other != self.index) {
                // A core whose queue is full divides by what it heard last.
                _ = self.mesh.try_send(other, Message::LimitDemand(self.index, generation, demand.clone()));
            }
            let cores = self.mesh.ports();
            self.note_demand(self.index, demand);
            let shares = limit_shares(&self.limit_demands.borrow(), self.index, cores);
            self.shard.borrow_mut().set_limit_shares(&shares);
        }
    }

    fn note_demand(&self, core: usize, demand: Vec<u64>) {
        *slot(&mut self.limit_demands.borrow_mut(), core) = demand;
    }

    async fn obey(self: Rc<Self>, control: Receiver<Control>, ended: Sender<()>) {
        while let Ok(request) = control.recv().await {
            match request {
                // An answer that nobody waits for any more is no failure.
                Control::Snapshot(answer) => _ = answer.try_send(self.snapshot()),
                Control::Opened(answer) => spawn(self.clone().tell_opened(answer)),
                Control::Written(ticket, fate) => self.with_shard(|_, _, outbox| outbox.written(ticket, fate)),
                Control::StopIntake(patience, answer) => spawn(self.clone().stop_intake(patience, answer)),
                Control::Explain(trace_id, answer) => {
                    let explained =
                        self.with_shard(|shard, now, _| Explained { now, explanation: shard.explain(now, &trace_id) });
                    _ = answer.try_send(explained);
                }
                Control::Reload(change, answer) => {
                    self.reload(&change).await;
                    _ = answer.try_send(());
                }
                Control::Decide(answer) => {
                    spawn(self.clone().decide_all(answer));
                }
                Control::Flush(answer) => {
                    spawn(self.clone().send_all(answer));
                }
                Control::EndRecall(answer) => {
                    spawn(self.clone().end_recall(answer));
                }
                Control::CloseLog(answer) => {
                    spawn(self.clone().close_log(answer));
                }
                Control::End(answer) => {
                    let exporters = self.outbox.borrow().exporters().to_vec();
                    for exporter in exporters {
                        exporter.abandon(&CoreEnvironment(self.clone()));
                    }
                    _ = answer.try_send(self.snapshot());
                    break;
                }
            }
        }
        drop(ended);
    }

    /// Takes a change over, in steps that let other tasks run where traces have to be judged first.
    async fn reload(&self, change: &Change) {
        while !self.with_shard(|shard, now, outbox| shard.reload(now, &change.rules, &change.plan, outbox)) {
            yield_now().await;
        }
        if let Some(log) = &self.log {
            let names = change.rules.policy_names().map(String::from);
            log.lane.borrow_mut().journal().set_told(names, change.rules.all_annotations());
        }
        self.limit_demands.borrow_mut().clear();
        self.blocks_on_overflow.set(change.blocks_on_overflow);
    }

    /// Waits until nothing is with the exporters or can be given to them.
    async fn send_all(self: Rc<Self>, answer: Sender<()>) {
        let exporters = self.outbox.borrow().exporters().to_vec();
        match self.log {
            // What fails now stays in the log: the next start sends it.
            Some(_) => exporters.iter().for_each(|exporter| exporter.end()),
            None => exporters.iter().for_each(|exporter| exporter.ask_again()),
        }
        while !answer.is_closed() && (self.shard.borrow().ledger().has_exporting() || self.is_recalling()) {
            // Nothing is judged any more that would fill a batch, and before the log is read nothing ticks.
            self.with_shard(|shard, _, outbox| shard.send_gathered(outbox));
            sleep(PRESSURE_RECHECK).await;
        }
        _ = answer.try_send(());
    }

    /// Whether anything of this core's log is being sent again, or will be: somebody takes it.
    fn is_recalling(&self) -> bool {
        let Some(log) = &self.log else { return false };
        let will_take = |destinations| self.outbox.borrow().will_take_back(destinations);
        log.is_recalling.get() || !log.ends_recall.get() && log.lane.borrow().segments.has_parked(will_take)
    }

    /// What waits in the log stays there for the next start: what other cores park of this core's segments while the log is
    /// closed would else be delivered, and nobody would log that it was.
    async fn end_recall(self: Rc<Self>, answer: Sender<()>) {
        if let Some(log) = &self.log {
            log.ends_recall.set(true);
            while log.is_recalling.get() {
                sleep(PRESSURE_RECHECK).await;
            }
        }
        _ = answer.try_send(());
    }

    async fn tell_opened(self: Rc<Self>, answer: Sender<()>) {
        while !self.is_open.get() {
            sleep(PRESSURE_RECHECK).await;
        }
        _ = answer.try_send(());
    }

    /// Lets senders finish what they have begun, then closes the door.
    async fn stop_intake(self: Rc<Self>, patience: Duration, answer: Sender<()>) {
        let receivers = self.receivers.take();
        for receiver in &receivers {
            receiver.drain();
        }
        let all = async {
            for receiver in &receivers {
                receiver.drained().await;
            }
        };
        if timeout(patience, all).await.is_err() {
            tracing::warn!(core = self.index, "some senders keep their connections; going on without them");
        }
        self.is_closed.set(true);
        self.receivers.replace(receivers);
        _ = answer.try_send(());
    }

    /// Judges everything, as fast as the exporters take what is kept, in steps that let other tasks run. Ends before that
    /// when nobody waits for it any more: the time for it is over.
    async fn decide_all(self: Rc<Self>, answer: Sender<()>) {
        while let Some(message) = self.mesh.try_receive() {
            self.receive(message);
        }
        while !answer.is_closed() && self.with_shard(|shard, now, outbox| shard.drain(now, outbox)) {
            if self.outbox.borrow_mut().has_room() {
                yield_now().await;
            } else {
                sleep(PRESSURE_RECHECK).await;
            }
        }
        _ = answer.try_send(());
    }

    /// Has everything that follows from what is settled logged.
    async fn close_log(self: Rc<Self>, answer: Sender<()>) {
        if let Some(log) = &self.log {
            log.ends_recall.set(true);
            while let Some(message) = self.mesh.try_receive() {
                self.receive(message);
            }
            // What finds a full queue is sent when its owner has taken some.
            while self.log_all(log).await && self.has_units_to_send() {
                sleep(PRESSURE_RECHECK).await;
            }
            // The journal says nothing of a segment in which all is done with: the next start would read it if it stayed.
            while !log.has_retired_all() {
                sleep(PRESSURE_RECHECK).await;
            }
        }
        _ = answer.try_send(());
    }

    /// Has all verdicts and resolutions logged, and returns once they are durable, or with false if the disk has given no
    /// segment for them for long. One that is wanted for requests alone is not missed here.
    async fn log_all(self: &Rc<Self>, log: &Rc<CoreLog>) -> bool {
        let mut waited = Duration::ZERO;
        loop {
            log.flush_journal(self);
            log.want_sync();
            self.send_units();
            if log.lane.borrow_mut().is_journal_idle() {
                return true;
            }
            let is_moving = log.lane.borrow_mut().journal().stream().is_moving();
            waited = if is_moving || !log.is_failing() { Duration::ZERO } else { waited + PRESSURE_RECHECK };
            if waited >= SEGMENT_PATIENCE {
                return false;
            }
            sleep(PRESSURE_RECHECK).await;
        }
    }

    fn note_pressure(&self) {
        let pressed = self.is_pressed(self.log.is_some());
        let since = if pressed { self.pressed_since.get().or(Some(self.now())) } else { None };
        self.pressed_since.set(since);
    }

    fn snapshot(&self) -> Snapshot {
        let shard = self.shard.borrow();
        let outbox = self.outbox.borrow();
        let exporters = outbox.exporters().iter().map(|exporter| ExporterSnapshot {
            name: exporter.name().to_string(),
            queue_bytes: exporter.queue_bytes() as u64,
            breaker: exporter.breaker_state().number(),
            counters: exporter.counters.list(),
        });
        Snapshot {
            pipeline: self.settings.pipeline,
            shard: self.index,
            ledger: shard.ledger().clone(),
            marks: shard.mark_counts(),
            unreachable_traces: shard.unreachable_traces(),
            unranked_traces: shard.unranked_traces(),
            randomness_forgotten: shard.randomness_forgotten(),
            quantile_keys_refused: shard.quantile_keys_refused(),
            buffer_bytes: shard.buffer_bytes() as u64,
            buffer_bytes_max: shard.buffer_bytes_max() as u64,
            exporters: exporters.collect(),
            file: outbox.file_counters(),
            receivers: self.receivers.borrow().iter().map(OpenReceiver::snapshot).collect(),
            log: self.log.as_ref().map(|log| LogSnapshot { is_recalling: self.is_recalling(), ..log.snapshot() }),
        }
    }
}

/// The parts that core `index` of `cores` has of each limit: a tenth is divided equally, so that a core on which something
/// new arrives has a part at once; the rest as what wanted to pass.
fn limit_shares(demands: &[Vec<u64>], index: usize, cores: usize) -> Vec<f64> {
    let equal = 1.0 / count(cores);
    let of = |demand: &Vec<u64>, limit: usize| demand.get(limit).copied().unwrap_or(0);
    let limits = demands.get(index).map_or(0, Vec::len);
    let share = |limit: usize| {
        let total: u64 = demands.iter().map(|demand| of(demand, limit)).sum();
        let own = demands.get(index).map_or(0, |demand| of(demand, limit));
        let by_demand = if total == 0 { equal } else { to_float(own) / to_float(total) };
        EQUAL_PART * equal + (1.0 - EQUAL_PART) * by_demand
    };
    (0..limits).map(share).collect()
}

fn count(cores: usize) -> f64 {
    u32::try_from(cores.max(1)).map_or(1.0, f64::from)
}

#[cfg(test)]
mod tests {
    use super::limit_shares;

    #[test]
    fn limits_are_divided_by_demand_and_never_more_than_whole() {
        let demands = [vec![300, 0], vec![100, 0], Vec::new()];
        let shares: Vec<Vec<f64>> = (0..3).map(|index| limit_shares(&demands, index, 3)).collect();
        assert!((shares[0][0] - (0.1 / 3.0 + 0.9 * 0.75)).abs() < 1e-9 && (shares[0][1] - 1.0 / 3.0).abs() < 1e-9);
        let demands = [vec![300, 0], vec![100, 0], vec![0, 0]];
        for limit in 0..2 {
            let sum: f64 = (0..3).map(|index| limit_shares(&demands, index, 3)[limit]).sum();
            assert!((sum - 1.0).abs() < 1e-9);
        }
    }
}
