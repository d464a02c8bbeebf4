//! One core's log on its disk: drives the engine's state machine with real files, answers senders once their level is
//! reached, and hands accepted requests on. Nothing enters the shard before its record has reached the level that its
//! sender waits for; a request that the disk failed is refused and leaves no trace.

use super::Core;
use crate::control::LogSnapshot;
use crate::survey::Spare;
use async_channel::{Receiver, Sender, bounded};
use std::cell::{Cell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::otlp::port::{Format, PortError, Received};
use tailwater_engine::intake::Scanned;
use tailwater_engine::log::format::{BodyEncoding, BodyFormat, SegmentKind, file_name, spare_file_name};
use tailwater_engine::log::lane::{Committed, Lane, NewRequest, Retired};
use tailwater_engine::log::stream::{AppendError, Operation};
use tailwater_engine::vocabulary::{Nanos, Origin, Unit};
use tailwater_net::compression::Encoding;
use tailwater_runtime::clock::steady_unix_nanos;
use tailwater_runtime::executor::{sleep, spawn};
use tailwater_runtime::files::{Directory, File, FileError};

/// How long a request may wait for the next segment before its sender is told to come back.
const APPEND_PATIENCE: Duration = Duration::from_secs(4);
/// How often it looks.
const APPEND_RECHECK: Duration = Duration::from_millis(2);
/// Pause after a segment could not be opened: space returns by itself or by hand, rarely within less.
const OPEN_RETRY: Duration = Duration::from_millis(500);
/// How long senders are asked to stay away while the disk has no room: as long as traces take to be judged, at most.
const FULL_RETRY_AFTER: Duration = Duration::from_secs(5);
/// How long after the disk failed under a request: the next segment is open by then.
const FAILED_RETRY_AFTER: Duration = Duration::from_secs(1);

/// A request that waits, and how its sender is answered.
pub struct Waiting {
    scanned: Scanned,
    arrived: Nanos,
    done: Sender<Result<(), PortError>>,
}

/// What happened to the log of a core.
#[derive(Debug, Default)]
pub struct LogCounters {
    /// Requests logged.
    pub requests: Cell<u64>,
    /// Bytes of their bodies, as received.
    pub body_bytes: Cell<u64>,
    /// Writes made.
    pub writes: Cell<u64>,
    /// Syncs made.
    pub syncs: Cell<u64>,
    /// Writes and syncs that failed; each cost its segment.
    pub failures: Cell<u64>,
    /// Segments that could not be opened.
    pub open_failures: Cell<u64>,
    /// Requests refused: the disk budget is used up.
    pub refused_full: Cell<u64>,
    /// Requests refused: the disk failed or has no space.
    pub refused_disk: Cell<u64>,
    /// Units whose data waited in the log and was sent to exporters again.
    pub recalled: Cell<u64>,
    /// Units taken from the log at the start.
    pub recovered: Cell<u64>,
    /// Bytes of the last run's segments that this core has still to read.
    pub replay_left_bytes: Cell<u64>,
}

/// Adds to a counter of this core.
pub fn count(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

/// A wake-up for one task: sent any number of times, received once.
struct Bell(Sender<()>, Receiver<()>);

impl Bell {
    fn new() -> Self {
        let (sender, receiver) = bounded(1);
        Self(sender, receiver)
    }

    fn ring(&self) {
        // A bell that rings already need not ring again.
        _ = self.0.try_send(());
    }

    async fn wait(&self) {
        // The sender lives as long as the bell.
        _ = self.1.recv().await;
    }
}

/// The log of one core.
pub struct CoreLog {
    /// The state machine.
    pub lane: RefCell<Lane<Waiting>>,
    directory: Directory,
    files: RefCell<HashMap<(SegmentKind, u64), File>>,
    spares: RefCell<Vec<Spare>>,
    spares_max: usize,
    retired: RefCell<VecDeque<Retired>>,
    /// Set while a freed segment is on its way out of the directory.
    is_retiring: Cell<bool>,
    write: [Bell; 2],
    open: [Bell; 2],
    retire: Bell,
    /// Set while the disk does not give us a segment.
    is_failing: Cell<bool>,
    /// Set while parked units are read again.
    pub is_recalling: Cell<bool>,
    /// Set when the node ends and what is parked from now on is for the next start.
    pub ends_recall: Cell<bool>,
    /// What happened here.
    pub counters: LogCounters,
}

fn place(kind: SegmentKind) -> usize {
    match kind {
        SegmentKind::Requests => 0,
        SegmentKind::Journal => 1,
    }
}

impl CoreLog {
    /// The log of a core in `directory`, with files that may be recycled, of which at most `spares_max` are kept.
    pub fn new(lane: Lane<Waiting>, directory: Directory, spares: Vec<Spare>, spares_max: usize) -> Rc<Self> {
        Rc::new(Self {
            lane: RefCell::new(lane),
            directory,
            files: RefCell::default(),
            spares: RefCell::new(spares),
            spares_max,
            retired: RefCell::default(),
            is_retiring: Cell::new(false),
            write: [Bell::new(), Bell::new()],
            open: [Bell::new(), Bell::new()],
            retire: Bell::new(),
            is_failing: Cell::new(false),
            is_recalling: Cell::new(false),
            ends_recall: Cell::new(false),
            counters: LogCounters::default(),
        })
    }

    /// The directory.
    pub fn directory(&self) -> &Directory {
        &self.directory
    }

    /// The open file of a segment of requests.
    pub fn file(&self, number: u64) -> Option<File> {
        self.files.borrow().get(&(SegmentKind::Requests, number)).cloned()
    }

    /// Takes over the file of a segment of a former run.
    pub fn adopt(&self, number: u64, file: File) {
        self.files.borrow_mut().insert((SegmentKind::Requests, number), file);
    }

    /// Starts the tasks that drive the disk.
    pub fn start(self: &Rc<Self>, core: &Rc<Core>) {
        for kind in [SegmentKind::Requests, SegmentKind::Journal] {
            spawn(self.clone().write_segments(core.clone(), kind));
            spawn(self.clone().open_segments(core.clone(), kind));
        }
        spawn(self.clone().retire_segments());
    }

    /// True when senders are to be held back: the disk is slower than they are.
    pub fn is_pressed(&self) -> bool {
        self.lane.borrow_mut().requests().is_pressed()
    }

    /// Whether it has a segment to write to.
    pub fn is_open(&self) -> bool {
        self.lane.borrow_mut().requests().has_segment()
    }

    /// True when no segment can be had.
    pub fn is_failing(&self) -> bool {
        self.is_failing.get()
    }

    /// Why a request of so many bytes would be refused now: counted as one that was.
    pub fn refusal(&self, body_bytes: usize) -> Option<PortError> {
        let is_refused = self.is_failing.get() || !self.lane.borrow().has_room(body_bytes);
        is_refused.then(|| self.refuse(AppendError::NoSegment))
    }

    /// Logs a request and returns once its level is reached and it was handed on.
    pub async fn accept(
        &self,
        received: &Received,
        scanned: Scanned,
        arrived: Nanos,
        sync: bool,
    ) -> Result<(), PortError> {
        let units = scanned.units();
        let mut waited = Duration::ZERO;
        let (done, outcome) = bounded(1);
        let mut waiting = Waiting { scanned, arrived, done };
        loop {
            let request = NewRequest {
                signal: received.signal,
                encoding: encoding(received.encoding),
                format: format(received.format),
                body: &received.raw,
                units,
                arrived_unix_nano: steady_unix_nanos(),
            };
            let appended = self.lane.borrow_mut().append(&request, sync, waiting);
            let Err((error, back)) = appended else { break };
            let is_full = error == AppendError::NoSegment && self.lane.borrow().is_full();
            match error {
                AppendError::TooLarge => return Err(PortError::TooLarge),
                error if is_full || waited >= APPEND_PATIENCE || self.is_failing.get() => {
                    return Err(self.refuse(error));
                }
                _ => waiting = back,
            }
            self.open[place(SegmentKind::Requests)].ring();
            sleep(APPEND_RECHECK).await;
            waited += APPEND_RECHECK;
        }
        count(&self.counters.requests, 1);
        count(&self.counters.body_bytes, received.raw.len() as u64);
        self.write[place(SegmentKind::Requests)].ring();
        outcome.recv().await.unwrap_or(Err(STOPPED))
    }

    fn refuse(&self, error: AppendError) -> PortError {
        if self.is_failing.get() {
            count(&self.counters.refused_disk, 1);
            let reason = "the log on disk cannot be written; the node's own log says why";
            return PortError::Unavailable { reason, retry_after: FULL_RETRY_AFTER };
        }
        count(&self.counters.refused_full, 1);
        let reason = match error {
            AppendError::BufferFull => "the disk is slower than the senders",
            _ if !self.lane.borrow().is_full() => "the log waits for its disk to make room for its next segment",
            _ => "the log is full: nothing is freed until kept data is delivered or traces are judged",
        };
        PortError::Unavailable { reason, retry_after: FULL_RETRY_AFTER }
    }

    /// Appends verdicts and resolutions to the journal and has them written.
    pub fn flush_journal(&self, core: &Rc<Core>) {
        self.lane.borrow_mut().flush_journal(steady_unix_nanos());
        self.progress(core);
        self.write[place(SegmentKind::Journal)].ring();
    }

    /// Has everything written made durable.
    pub fn want_sync(&self) {
        let mut lane = self.lane.borrow_mut();
        lane.requests().want_sync();
        self.write[place(SegmentKind::Requests)].ring();
    }

    async fn write_segments(self: Rc<Self>, core: Rc<Core>, kind: SegmentKind) {
        loop {
            let operation = self.lane.borrow_mut().stream(kind).poll();
            match operation {
                Some(Operation::Write { number, offset, bytes }) => {
                    count(&self.counters.writes, 1);
                    let outcome = match self.open_file(kind, number) {
                        Some(file) => {
                            let copy = |from: usize, into: &mut [u8]| bytes.copy_to(from, into);
                            file.write_with(offset, bytes.len(), copy).await.map_err(|error| error.to_string())
                        }
                        None => Err("its file is not open".into()),
                    };
                    self.report(kind, number, "write", outcome.as_ref().err());
                    self.lane.borrow_mut().stream(kind).wrote(bytes, outcome.is_ok());
                }
                Some(Operation::Sync { number }) => {
                    count(&self.counters.syncs, 1);
                    let outcome = match self.open_file(kind, number) {
                        Some(file) => file.sync().await.map_err(|error| error.to_string()),
                        None => Err("its file is not open".into()),
                    };
                    self.report(kind, number, "sync", outcome.as_ref().err());
                    self.lane.borrow_mut().stream(kind).synced_now(outcome.is_ok());
                }
                Some(Operation::Open { .. }) | None => {
                    self.write[place(kind)].wait().await;
                    continue;
                }
            }
            self.progress(&core);
        }
    }

    fn open_file(&self, kind: SegmentKind, number: u64) -> Option<File> {
        self.files.borrow().get(&(kind, number)).cloned()
    }

    fn report(&self, kind: SegmentKind, number: u64, operation: &str, error: Option<&String>) {
        let Some(error) = error else { return };
        count(&self.counters.failures, 1);
        let file = file_name(kind, number);
        tracing::error!(
            file,
            operation,
            error,
            "the log's disk failed; the segment gets no more records and what was \
            not acknowledged of it is refused"
        );
    }

    /// Does what follows from the streams' progress.
    fn progress(&self, core: &Rc<Core>) {
        let (released, said) = {
            let mut lane = self.lane.borrow_mut();
            lane.progress();
            self.retired.borrow_mut().extend(lane.take_retired());
            (lane.journal().take_released(), lane.journal().take_said())
        };
        core.tell_durable(said);
        core.tell_owners(&released);
        self.commit(core);
        if !self.retired.borrow().is_empty() {
            self.retire.ring();
        }
        self.open.iter().for_each(Bell::ring);
    }

    /// Hands on what has reached its level and answers for it.
    fn commit(&self, core: &Rc<Core>) {
        loop {
            let next = self.lane.borrow_mut().take_committed();
            let Some(Committed { payload: Waiting { scanned, arrived, done }, origin, is_accepted }) = next else {
                return;
            };
            if is_accepted {
                core.admit(scanned, origin, arrived, Some(done));
            } else {
                count(&self.counters.refused_disk, 1);
                // A sender that has gone does not hear it.
                _ = done.try_send(Err(FAILED));
            }
        }
    }

    async fn open_segments(self: Rc<Self>, core: Rc<Core>, kind: SegmentKind) {
        loop {
            let operation = self.lane.borrow_mut().stream(kind).poll_open(steady_unix_nanos());
            let Some(Operation::Open { number, bytes, header }) = operation else {
                self.open[place(kind)].wait().await;
                continue;
            };
            match self.open_segment(kind, number, bytes, &header).await {
                Ok(file) => {
                    self.files.borrow_mut().insert((kind, number), file);
                    self.lane.borrow_mut().stream(kind).opened(true);
                    if self.is_failing.replace(false) {
                        tracing::info!("the log has a segment to write to again");
                    }
                    self.progress(&core);
                    self.write[place(kind)].ring();
                }
                Err(error) => {
                    count(&self.counters.open_failures, 1);
                    self.lane.borrow_mut().stream(kind).opened(false);
                    if !self.is_failing.replace(true) {
                        tracing::error!(%error, "the log gets no segment to write to: senders are told to come back");
                    }
                    sleep(OPEN_RETRY).await;
                }
            }
        }
    }

    async fn open_segment(&self, kind: SegmentKind, number: u64, bytes: u64, header: &[u8]) -> Result<File, FileError> {
        let name = file_name(kind, number);
        let spare = {
            let mut spares = self.spares.borrow_mut();
            let fitting = spares.iter().position(|spare| spare.bytes >= bytes);
            fitting.map(|position| spares.swap_remove(position))
        };
        let begun = async {
            let file = match spare {
                Some(spare) => self.directory.recycle(&spare.name, &name, bytes).await?,
                None => self.directory.create(&name, bytes).await?,
            };
            file.write_at(0, header).await?;
            file.sync().await?;
            Ok(file)
        };
        let begun = begun.await;
        if begun.is_err() {
            // Whatever it holds, no file of that name may be in the way of the next attempt: a renaming that failed may have
            // been made nevertheless.
            _ = self.directory.remove(&name).await;
        }
        begun
    }

    /// Keeps the files of freed segments for the next ones, or removes them.
    async fn retire_segments(self: Rc<Self>) {
        loop {
            let next = self.retired.borrow_mut().pop_front();
            self.is_retiring.set(next.is_some());
            let Some(Retired { kind, number }) = next else {
                self.retire.wait().await;
                continue;
            };
            let Some(file) = self.files.borrow_mut().remove(&(kind, number)) else { continue };
            let (name, bytes) = (file_name(kind, number), file.bytes());
            drop(file);
            let keeps =
                self.spares.borrow().len() < self.spares_max && self.lane.borrow().is_worth_keeping(kind, bytes);
            let spare = spare_file_name(number);
            let outcome =
                if keeps { self.directory.rename(&name, &spare).await } else { self.directory.remove(&name).await };
            match outcome {
                Ok(()) if keeps => self.spares.borrow_mut().push(Spare { name: spare, bytes }),
                Ok(()) => {}
                Err(error) => tracing::warn!(%error, "a freed segment of the log stays where it is"),
            }
            self.open.iter().for_each(Bell::ring);
        }
    }

    /// Whether no file of a freed segment is left under its name.
    pub fn has_retired_all(&self) -> bool {
        self.retired.borrow().is_empty() && !self.is_retiring.get()
    }

    /// How it stands.
    pub fn snapshot(&self) -> LogSnapshot {
        let mut lane = self.lane.borrow_mut();
        let oldest = lane.segments.iter().filter(|segment| segment.parked() > 0).map(|segment| segment.first_unix_nano);
        let oldest = oldest.min().unwrap_or(0);
        let counts = lane.journal().counts;
        let buffered_bytes = lane.requests().buffered() as u64;
        LogSnapshot {
            segments: lane.segments.len() as u64,
            segment_bytes: lane.segments.bytes(),
            segment_bytes_max: lane.requests_bytes_max(),
            buffered_bytes,
            staged: lane.staged() as u64,
            unresolved: lane.segments.iter().map(|segment| u64::from(segment.unresolved())).sum(),
            partly_done: lane.segments.iter().map(|segment| u64::from(segment.partly_done())).sum(),
            parked: lane.segments.iter().map(|segment| u64::from(segment.parked())).sum(),
            parked_since_unix_nano: oldest,
            is_failing: self.is_failing.get(),
            is_recalling: false,
            replay_left_bytes: self.counters.replay_left_bytes.get(),
            counters: vec![
                ("requests", self.counters.requests.get()),
                ("body_bytes", self.counters.body_bytes.get()),
                ("writes", self.counters.writes.get()),
                ("syncs", self.counters.syncs.get()),
                ("failures", self.counters.failures.get()),
                ("open_failures", self.counters.open_failures.get()),
                ("requests_refused_full", self.counters.refused_full.get()),
                ("requests_refused_disk", self.counters.refused_disk.get()),
                ("recalled_units", self.counters.recalled.get()),
                ("recovered_units", self.counters.recovered.get()),
                ("verdicts", counts.verdicts),
                ("verdicts_lost", counts.verdicts_lost),
                ("verdicts_bared", counts.verdicts_bared),
                ("done_units_forgotten", lane.segments.done_forgotten),
            ],
        }
    }

    /// Units refused within a request that was accepted otherwise.
    pub fn refuse_units(&self, origin: Origin, units: impl Iterator<Item = u32>) {
        self.lane.borrow_mut().refuse(origin, units);
    }

    /// Units of this core's segments that other cores, or this one, are done with.
    pub fn resolve(&self, units: &[Unit]) {
        let mut lane = self.lane.borrow_mut();
        for unit in units {
            lane.resolve(*unit);
        }
    }
}

const STOPPED: PortError = PortError::Unavailable { reason: "the node is stopping", retry_after: FAILED_RETRY_AFTER };
const FAILED: PortError =
    PortError::Unavailable { reason: "the disk failed under the request", retry_after: FAILED_RETRY_AFTER };

fn encoding(encoding: Encoding) -> BodyEncoding {
    match encoding {
        Encoding::Identity => BodyEncoding::Identity,
        Encoding::Gzip => BodyEncoding::Gzip,
        Encoding::Zstd => BodyEncoding::Zstd,
    }
}

fn format(format: Format) -> BodyFormat {
    match format {
        Format::Protobuf => BodyFormat::Protobuf,
        Format::Json => BodyFormat::Json,
    }
}
