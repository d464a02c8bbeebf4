//! Where a core's exports go: every exporter that takes the signal, and the embedded file. Implements the engine's
//! seam to the world.

use crate::control::FileSnapshot;
use crate::numbers::ChannelNumber;
use async_channel::Sender;
use bytes::Bytes;
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;
use tailwater_config::{DebugVerbosity, Signals};
use tailwater_connectors::debug;
use tailwater_connectors::delivery::{Delivery, Settlement};
use tailwater_connectors::file::{FileCounters, FileGate};
use tailwater_connectors::otlp::SIGNALS;
use tailwater_connectors::otlp::exporter::{BreakerState, Exporter};
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_engine::log::journal::Journal;
use tailwater_engine::vocabulary::{Destinations, Judged, KeptUnit, Said, Unit};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::monotonic_nanos;

/// A request for the embedded file's thread.
pub struct FileJob {
    /// The control channel of the core that is to be told.
    pub channel: ChannelNumber,
    /// By which the core knows the request.
    pub ticket: u64,
    /// What is to be written.
    pub request: ExportRequest,
}

/// What the cores and the file's thread share: the way there, and what is on it.
#[derive(Clone)]
pub struct FileWay {
    /// To the thread.
    pub jobs: Sender<FileJob>,
    /// Bytes that wait there, of all cores.
    pub bytes: Arc<AtomicUsize>,
    /// Most of those.
    pub bytes_max: usize,
    /// What happened to the file.
    pub counters: Arc<FileCounters>,
}

/// The embedded file's end of this core: jobs go to its thread, outcomes come back through the core's control channel.
pub struct FileQueue {
    way: FileWay,
    channel: ChannelNumber,
    next_ticket: u64,
    /// Jobs with the thread; at most its queue's length and the one being written.
    waiting: HashMap<u64, Rc<Delivery>>,
    /// Whether the file takes anything.
    gate: FileGate,
    /// What it takes at all.
    signals: Signals,
    /// Whether there ever was anything that is lost when it is given up.
    has_unlogged: bool,
    /// Whether such is taken beyond the bound: the rest of a trace that was begun when there was room.
    is_lenient: Cell<bool>,
    /// Requests set aside, or lost, because there was no room.
    refused: u64,
}

impl FileQueue {
    /// The end of the core behind that control channel.
    pub fn new(way: FileWay, channel: ChannelNumber, signals: Signals) -> Self {
        Self {
            way,
            channel,
            next_ticket: 0,
            waiting: HashMap::new(),
            gate: FileGate::default(),
            signals,
            has_unlogged: false,
            is_lenient: Cell::new(false),
            refused: 0,
        }
    }

    fn takes(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.signals.traces,
            Signal::Metrics => self.signals.metrics,
            Signal::Logs => self.signals.logs,
        }
    }

    fn bytes(&self) -> usize {
        self.way.bytes.load(Ordering::Relaxed)
    }

    /// Whether a parked request may be offered again.
    fn can_take_back(&self) -> bool {
        self.gate.can_take_back(now(), self.bytes(), self.way.bytes_max)
    }

    /// Whether what a verdict keeps now is taken.
    fn has_room_for_verdicts(&self) -> bool {
        !self.has_unlogged || !self.is_pressed()
    }

    fn is_pressed(&self) -> bool {
        let jobs = &self.way.jobs;
        self.bytes() > self.way.bytes_max / 2 || jobs.len() * 2 > jobs.capacity().unwrap_or(usize::MAX)
    }

    /// Hands a request to the thread; when its queue is full it is parked or lost and the settlement, if this was the last
    /// exporter, comes back. The file is exporter number `number`.
    fn offer(&mut self, request: &ExportRequest, delivery: &Rc<Delivery>, number: usize) -> Option<Settlement> {
        let is_recoverable = delivery.is_recoverable();
        self.has_unlogged |= !is_recoverable && !request.is_summary;
        let (bytes, taken) = (request.body.len(), self.bytes());
        let is_lenient = self.is_lenient.get() && !is_recoverable;
        let fits = taken == 0 || is_lenient || taken.saturating_add(bytes) <= self.way.bytes_max;
        // A request for which there is no room must not take the place of a probe.
        let is_shut = !fits || self.way.jobs.is_full() || (!self.gate.admits(now()) && is_recoverable);
        let job = FileJob { channel: self.channel, ticket: self.next_ticket, request: request.clone() };
        // Counted first: the thread may be done with it at once.
        self.way.bytes.fetch_add(bytes, Ordering::Relaxed);
        if is_shut || self.way.jobs.try_send(job).is_err() {
            self.way.bytes.fetch_sub(bytes, Ordering::Relaxed);
            self.refused += 1;
            return delivery.give_up(number, ExportFate::QueueFull);
        }
        self.waiting.insert(self.next_ticket, delivery.clone());
        self.next_ticket += 1;
        None
    }
}

/// What the file is called in the log, beside exporters that are called `otlp` or `otlp/NAME`.
const FILE_NAME: &str = "file";

/// Monotonic time, as the exporters see it.
fn now() -> Duration {
    Duration::from_nanos(monotonic_nanos())
}

/// The exporters of one core.
pub struct Outbox {
    exporters: Vec<Rc<Exporter>>,
    file: Option<FileQueue>,
    /// Fates known at once, to be booked when the shard is free: it is in the middle of a call while it exports.
    settled: Vec<Settlement>,
    /// For the log: verdicts, units that are done with as of these, units to be read again.
    judged: Vec<Judged>,
    resolved: Vec<Unit>,
    recalled: Vec<KeptUnit>,
    /// What is said to other nodes, and how much more there is room for.
    said: Vec<Said>,
    telling_room: usize,
    /// Where there are several exporters and a log: what is on its way, and when it was last looked at. Oldest first.
    on_their_way: VecDeque<(Duration, Weak<Delivery>)>,
    /// Items in the log of which nobody will say which exporters are done with them.
    done_forgotten: u64,
    /// Whether there is a log.
    is_logged: bool,
    /// What is printed of what is kept.
    debug: DebugVerbosity,
    /// Requests of spans that went to the exporters since the last look, where anybody looks.
    kept: Option<Vec<Bytes>>,
}

impl Outbox {
    /// An outbox for these, in front of a log or not.
    pub fn new(exporters: Vec<Rc<Exporter>>, file: Option<FileQueue>, is_logged: bool, debug: DebugVerbosity) -> Self {
        Self {
            exporters,
            file,
            settled: Vec::new(),
            judged: Vec::new(),
            resolved: Vec::new(),
            recalled: Vec::new(),
            said: Vec::new(),
            telling_room: 0,
            on_their_way: VecDeque::new(),
            done_forgotten: 0,
            is_logged,
            debug,
            kept: None,
        }
    }

    /// Notes the spans that go to the exporters from now on.
    pub fn note_kept(&mut self) {
        self.kept = Some(Vec::new());
    }

    /// Those that went since the last call.
    pub fn take_kept(&mut self) -> Vec<Bytes> {
        self.kept.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// The OTLP exporters.
    pub fn exporters(&self) -> &[Rc<Exporter>] {
        &self.exporters
    }

    /// What the exporters are called, by their numbers: the file comes last.
    pub fn exporter_names(&self) -> Vec<String> {
        let names = self.exporters.iter().map(|exporter| exporter.name().to_string());
        names.chain(self.file.as_ref().map(|_| FILE_NAME.to_string())).collect()
    }

    /// True when senders are to be held back.
    pub fn is_pressed(&self) -> bool {
        self.file.as_ref().is_some_and(FileQueue::is_pressed)
            || self.exporters.iter().any(|exporter| exporter.is_pressed())
    }

    /// From now on nothing passes the bounds of the queues, until there is room for a verdict again.
    pub fn be_strict(&self) {
        self.set_lenient(false);
    }

    /// Until the next question for room what is kept can't wait: late spans of kept traces, traces that are kept by a piece of
    /// them, verdicts that make room in memory. It is taken beyond the bounds of the queues, by as much as was received
    /// before senders were held back: that is bounded, and was in memory already.
    pub fn be_lenient(&self) {
        self.set_lenient(true);
    }

    fn set_lenient(&self, is_lenient: bool) {
        self.exporters.iter().for_each(|exporter| exporter.set_lenient(is_lenient));
        self.file.iter().for_each(|file| file.is_lenient.set(is_lenient));
    }

    /// What the file counts, on this core and in all.
    pub fn file_counters(&self) -> Option<FileSnapshot> {
        let file = self.file.as_ref()?;
        let of = |counter: &std::sync::atomic::AtomicU64| counter.load(Ordering::Relaxed);
        let counters = &file.way.counters;
        Some(FileSnapshot {
            refused: file.refused,
            queue_bytes: file.bytes() as u64,
            rotations: of(&counters.rotations),
            backups_deleted: of(&counters.backups_deleted),
            deleted_bytes: of(&counters.deleted_bytes),
        })
    }

    /// The outcomes known since the last call.
    pub fn take_settled(&mut self) -> Vec<Settlement> {
        std::mem::take(&mut self.settled)
    }

    /// Notes an outcome, to be booked.
    pub fn settle(&mut self, settlement: Settlement) {
        self.settled.push(settlement);
    }

    /// Units that are done with.
    pub fn resolve_all(&mut self, units: impl IntoIterator<Item = Unit>) {
        self.resolved.extend(units.into_iter().filter(|unit| !unit.is_none()));
    }

    /// Gives what was gathered for the log to its journal.
    pub fn log_into(&mut self, journal: &mut Journal) {
        self.judged.drain(..).for_each(|judged| journal.judged(&judged));
        self.resolved.drain(..).for_each(|unit| journal.resolve(unit));
    }

    /// There is room for so many messages to other nodes.
    pub fn set_telling_room(&mut self, room: usize) {
        self.telling_room = room;
    }

    /// What is said to other nodes.
    pub fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.said)
    }

    /// Kept spans whose bytes are only in the log.
    pub fn take_recalled(&mut self) -> Vec<KeptUnit> {
        std::mem::take(&mut self.recalled)
    }

    /// Whether what waits in the log for `destinations` will be taken sooner or later: one of them is there, however busy.
    pub fn will_take_back(&self, destinations: Destinations) -> bool {
        let is_there = |state| state != BreakerState::Open;
        let mut asked = self.exporters.iter().enumerate().filter(|(number, _)| destinations.has(*number));
        let file = self.file.as_ref().filter(|_| destinations.has(self.exporters.len()));
        asked.any(|(_, exporter)| is_there(exporter.best_state()))
            || file.is_some_and(|file| is_there(file.gate.state()))
    }

    /// Whether what waits in the log for `destinations` can be sent again now: one of them has room and its server is there.
    /// What the others cannot take is parked again, for them alone. Without any exporter it can be settled at once.
    pub fn can_take_back(&self, destinations: Destinations) -> bool {
        let now = now();
        let mut meant = 0;
        let asked = self.exporters.iter().enumerate().filter(|(number, _)| destinations.has(*number));
        for (_, exporter) in asked {
            for signal in SIGNALS.into_iter().filter(|signal| exporter.takes(*signal)) {
                meant += 1;
                if exporter.can_take_back(signal, now) {
                    return true;
                }
            }
        }
        match self.file.as_ref().filter(|_| destinations.has(self.exporters.len())) {
            Some(file) => file.can_take_back(),
            None => meant == 0,
        }
    }
}

/// How long an exporter may take for a request before the log is told which of the others are done with it.
const SLOW_AFTER: Duration = Duration::from_millis(250);
/// Requests on their way to several exporters that are remembered: as many as the queues of some exporters hold. Past it
/// what a slow exporter has in its queue when the node is killed goes to all of them again.
const ON_THEIR_WAY_MAX: usize = 1 << 16;

impl Outbox {
    /// What some exporters are done with and others have had for long: those that are done, and the units. What was told
    /// is not told again before another is done. Also how many items were forgotten since the last call.
    pub fn take_partly_done(&mut self) -> (Vec<(Destinations, Vec<Unit>)>, u64) {
        let now = now();
        let mut found = Vec::new();
        for _ in 0..self.on_their_way.len() {
            let Some((since, delivery)) = self.on_their_way.pop_front() else { break };
            let Some(live) = delivery.upgrade().filter(|live| live.exporters_left() > 0) else { continue };
            if now.saturating_sub(since) < SLOW_AFTER {
                self.on_their_way.push_front((since, delivery));
                break;
            }
            let (done, units) = live.done_so_far();
            if !done.is_none() {
                found.push((done, units));
            }
            if done.is_none() || live.exporters_left() > 1 {
                self.on_their_way.push_back((now, delivery));
            }
        }
        (found, std::mem::take(&mut self.done_forgotten))
    }
}

/// Prints what is kept.
#[cold]
fn print(request: &ExportRequest, verbosity: DebugVerbosity) {
    let (lines, more) = debug::lines(request, verbosity);
    for line in lines {
        tracing::info!(exporter = "debug", "{line}");
    }
    if more > 0 {
        tracing::info!(exporter = "debug", "and {more} more of this request");
    }
}

impl Host for Outbox {
    fn export(&mut self, mut request: ExportRequest) {
        if self.debug != DebugVerbosity::None && request.destinations == Destinations::ALL {
            print(&request, self.debug);
        }
        // Exporters are numbered in the order of the configuration; the file comes last.
        let takes =
            |number: usize, exporter: &Exporter| request.destinations.has(number) && exporter.takes(request.signal);
        let numbered = self.exporters.iter().cloned().enumerate();
        let takers: Vec<_> = numbered.filter(|(number, exporter)| takes(*number, exporter)).collect();
        let file_number = self.exporters.len();
        let takes = |file: &FileQueue| request.destinations.has(file_number) && file.takes(request.signal);
        let file = self.file.as_mut().filter(|file| takes(file));
        let count = takers.len() + usize::from(file.is_some());
        if count == 0 {
            // Nothing is configured to take this signal: it ends here, and the books say so.
            self.settled.push(Settlement {
                signal: request.signal,
                items: request.items,
                delivered: 0,
                lost: request.items,
                fate: ExportFate::NoExporter,
                units: request.units,
                parked: Destinations::NONE,
                is_summary: request.is_summary,
                bytes: request.body.len() as u64,
            });
            return;
        }
        if let Some(kept) = self.kept.as_mut().filter(|_| request.signal == Signal::Traces) {
            kept.push(request.body.clone());
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let delivery = Rc::new(Delivery::new(&mut request, count));
        if self.is_logged && count > 1 && delivery.is_recoverable() {
            if self.on_their_way.len() < ON_THEIR_WAY_MAX {
                self.on_their_way.push_back((now(), Rc::downgrade(&delivery)));
            } else {
                self.done_forgotten += u64::from(delivery.items());
            }
        }
        let mut settlement = file.and_then(|file| file.offer(&request, &delivery, file_number));
        for (number, exporter) in takers {
            // At most one of the offers is the last report.
            settlement = exporter.offer(&request, &delivery, number).or(settlement);
        }
        if let Some(settlement) = settlement {
            self.settle(settlement);
        }
    }

    fn judged(&mut self, judged: &Judged) {
        if self.is_logged {
            self.judged.push(*judged);
        }
    }

    fn tell(&mut self, said: Said) -> Result<(), Said> {
        if self.said.len() >= self.telling_room {
            return Err(said);
        }
        self.said.push(said);
        Ok(())
    }

    #[inline]
    fn resolve(&mut self, unit: Unit) {
        self.resolved.push(unit);
    }

    fn recall(&mut self, unit: KeptUnit) {
        self.recalled.push(unit);
    }

    fn has_room(&mut self) -> bool {
        let mut takers = self.exporters.iter().filter(|exporter| exporter.takes(Signal::Traces));
        let has_room = takers.all(|exporter| exporter.has_room_for_verdicts())
            && self.file.as_ref().is_none_or(|file| !file.takes(Signal::Traces) || file.has_room_for_verdicts());
        self.set_lenient(has_room);
        has_room
    }
}

impl Outbox {
    /// The file's thread is done with a job.
    pub fn written(&mut self, ticket: u64, fate: ExportFate) {
        let Some(file) = &mut self.file else { return };
        file.gate.book(now(), fate);
        let Some(delivery) = file.waiting.remove(&ticket) else { return };
        let settlement = match fate {
            ExportFate::Delivered => delivery.report(self.exporters.len(), delivery.items(), fate),
            ExportFate::Refused => delivery.report(self.exporters.len(), 0, fate),
            _ => delivery.give_up(self.exporters.len(), fate),
        };
        if let Some(settlement) = settlement {
            self.settle(settlement);
        }
    }
}
