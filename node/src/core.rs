//! One core of one pipeline: its shard, its way to the other cores, its log and its exporters. Everything here runs on one
//! executor; borrows never cross an await.
//!
//! ```text
//! port ---> log ---> admit ---> shard, here or on another core ---> outbox
//!            ^                                                        |
//!            +--- owners: what is done with, what waits --------------+
//!            +--- recall, replay: what is read from it again
//! ```
//!
//! `loops` are the tasks that go on, `obey` what the side thread asks, `pressure` and `load` what bounds the senders and
//! the kept traces.

mod admit;
pub mod held_logs;
mod load;
pub mod log;
mod loops;
mod obey;
mod owners;
pub mod peers;
mod port;
mod pressure;
mod recall;
mod receivers;
pub mod replay;
pub mod summaries;
mod told;

pub use port::CorePort;
pub use recall::protobuf as logged_body;
pub use receivers::OpenReceiver;

use self::held_logs::{HeldLogs, LogsPlan};
use self::load::{Load, Loads};
use self::log::{CoreLog, Waiting};
use self::owners::ForOwners;
use self::peers::Peers;
use self::pressure::Pressure;
use self::receivers::Receivers;
use self::summaries::Summaries;
use self::told::Telling;
use crate::numbers::CoreNumber;
use crate::outbox::Outbox;
use crate::traffic::Traffic;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_connectors::delivery::Settlement;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::host::ExportFate;
use tailwater_engine::log::lane::Lane;
use tailwater_engine::shard::{Fate, Shard};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Nanos, Said, SpanBatch, TraceId, Unit};
use tailwater_net::server::ReceiveMemory;
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_rollup::windows::Part;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::sleep;

/// How often a held-back sender looks again.
const PRESSURE_RECHECK: Duration = Duration::from_millis(5);
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
    /// What a shard says to other nodes, for the gossip thread.
    Told(Said),
    /// What another node said to this one.
    Heard((NodeId, Incarnation), Arc<[u8]>),
    /// The members of the cluster, as the gossip thread sees them.
    Members(Arc<View>),
    /// What the core of that number had to do in the last second, by the numbers that limits have in a generation of the
    /// rules.
    Load(CoreNumber, u32, Load),
    /// How often the node wants the traces that pass in the cluster to be halved.
    ShedLevel(u8),
    /// A window of summaries is over.
    CloseWindow(u64),
    /// What the core of that number has counted in a window.
    WindowGiven(CoreNumber, u64, Vec<Part>),
    /// A window is emitted.
    WindowEmitted(u64),
    /// The core of that number asks what became of traces, by its own number of the question and of each.
    AskFates { from: CoreNumber, ticket: u64, traces: Vec<(u32, TraceId)>, asks_nodes: bool },
    /// The answer.
    Fates(u64, Vec<(u32, Fate)>),
}

/// One core's state.
pub struct Core {
    number: CoreNumber,
    shard: RefCell<Shard>,
    outbox: RefCell<Outbox>,
    receivers: Receivers,
    pressure: Pressure,
    loads: Loads,
    peers: Peers,
    telling: Telling,
    /// The cluster that the shard is to join when it starts.
    joins: Cell<Option<(ClusterPlan, Arc<View>)>>,
    /// The log of this executor, which the cores of all its pipelines share, if any receiver acknowledges more than the receipt.
    log: Option<Rc<CoreLog>>,
    for_owners: RefCell<ForOwners>,
    /// What this executor counts, whichever pipeline takes it.
    summaries: Option<Rc<Summaries>>,
    /// Log records that wait for their traces.
    held_logs: Option<HeldLogs>,
    /// Bytes that come and go.
    traffic: Traffic,
    /// What became of a summary that was sent.
    summary_settled: Cell<Option<Settlement>>,
    /// Origin of the engine's time, monotonic nanoseconds; the same for all cores.
    origin: Cell<u64>,
    /// Memory for requests, shared with the receivers.
    memory: Rc<ReceiveMemory>,
    /// Set while a former run's log is read: nothing is judged before all of it is there.
    is_replaying: Cell<bool>,
    /// Set while parked units are read again.
    is_recalling: Cell<bool>,
    /// Set when the node ends and what is parked from now on is for the next start.
    ends_recall: Cell<bool>,
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
    /// What becomes of logs.
    pub logs: LogsPlan,
}

impl Core {
    /// The core that runs `shard`. Its number is that of its end of the mesh.
    pub fn new(
        shard: Shard,
        outbox: Outbox,
        peers: Peers,
        (log, summaries): (Option<Rc<CoreLog>>, Option<Rc<Summaries>>),
        (origin, memory): (u64, Rc<ReceiveMemory>),
        joins: Option<(ClusterPlan, Arc<View>)>,
        settings: Settings,
    ) -> Rc<Self> {
        Rc::new(Self {
            number: peers.own(),
            shard: RefCell::new(shard),
            outbox: RefCell::new(outbox),
            receivers: Receivers::default(),
            pressure: Pressure::new(settings.blocks_on_overflow),
            loads: Loads::default(),
            peers,
            telling: Telling::default(),
            joins: Cell::new(joins),
            log,
            for_owners: RefCell::default(),
            summaries,
            held_logs: HeldLogs::new(settings.logs).filter(|_| settings.pipeline == 0),
            traffic: Traffic::default(),
            summary_settled: Cell::new(None),
            origin: Cell::new(origin),
            memory,
            is_replaying: Cell::new(false),
            is_recalling: Cell::new(false),
            ends_recall: Cell::new(false),
            settings,
        })
    }

    /// Waits until the log has a segment to write to, or the disk gives it none: senders then hear so at once, and do not
    /// wait for a disk that is busy at a start.
    pub async fn wait_for_log(&self) {
        let Some(log) = &self.log else { return };
        while !log.is_open() && !log.is_failing() && !self.receivers.is_closed() {
            sleep(PRESSURE_RECHECK).await;
        }
    }

    /// The receivers that feed this core, to be drained with it.
    pub fn set_receivers(&self, receivers: Vec<OpenReceiver>) {
        self.receivers.open(receivers);
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
        outbox.set_telling_room(self.telling_room());
        let result = call(&mut shard, self.now(), &mut outbox);
        for settlement in outbox.take_settled() {
            self.book(&mut shard, &mut outbox, settlement);
        }
        if let Some(log) = &self.log {
            outbox.log_into(log.lane.borrow_mut().journal(self.settings.pipeline));
        }
        let (recalled, said) = (outbox.take_recalled(), outbox.take_said());
        drop((shard, outbox));
        self.tell(said);
        for unit in recalled {
            self.park(unit, Destinations::ALL);
        }
        result
    }

    /// Books what became of a request. What an exporter could not take now waits in the log.
    fn book(&self, shard: &mut Shard, outbox: &mut Outbox, settlement: Settlement) {
        if settlement.delivered > 0 && settlement.lost == 0 {
            self.traffic.delivered(settlement.signal, settlement.bytes, settlement.is_summary);
        }
        if settlement.is_summary {
            return self.summary_settled.set(Some(settlement));
        }
        let Settlement { signal, items, delivered, lost, fate, units, parked, .. } = settlement;
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

    fn with_summaries(&self, call: impl FnOnce(&Summaries, Option<&RefCell<Lane<Waiting>>>)) {
        if let Some(summaries) = &self.summaries {
            self.give_skeletons(summaries);
            call(summaries, self.log.as_ref().map(|log| &log.lane));
        }
    }

    fn receive(self: &Rc<Self>, message: Message) {
        match message {
            Message::Spans(batch) => self.take(batch),
            Message::Resolved(units) => {
                if let Some(log) = &self.log {
                    log.resolve(self.settings.pipeline, &units);
                }
            }
            Message::Parked(units, destinations) => {
                for unit in units {
                    self.park(unit, destinations);
                }
            }
            Message::Done(units, done) => self.note_done(units, done),
            // That is for the gossip thread.
            Message::Told(_) => {}
            Message::Heard(from, message) => {
                self.with_shard(|shard, now, outbox| shard.hear(now, from, &message, outbox));
            }
            Message::Members(view) => self.with_shard(|shard, now, _| shard.turn_to(now, &view)),
            Message::Load(core, generation, load) => {
                if generation == self.shard.borrow().rules().generation() {
                    self.loads.note(core, load);
                }
            }
            Message::ShedLevel(level) => self.loads.shed_level.set(level),
            Message::CloseWindow(window) => self.with_summaries(|summaries, log| summaries.close(window, log)),
            Message::WindowGiven(core, window, parts) => {
                self.with_summaries(|summaries, log| summaries.collect(core, window, &parts, log));
            }
            Message::WindowEmitted(window) => self.with_summaries(|summaries, _| summaries.emitted(window)),
            Message::AskFates { from, ticket, traces, asks_nodes } => {
                self.tell_fates((from, ticket), &traces, asks_nodes);
            }
            Message::Fates(ticket, fates) => self.hear_fates(ticket, &fates),
            Message::LogFull => {
                if !self.is_replaying.get() {
                    self.with_shard(|shard, now, outbox| shard.decide_early(now, outbox));
                }
            }
        }
    }
}
