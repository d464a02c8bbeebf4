//! The log of one executor on its disk, which its cores share, one a pipeline: drives the engine's state machine with real
//! files, answers senders once their level is reached, and hands accepted requests on. Nothing enters a shard before its
//! record has reached the level that its sender waits for; a request that the disk failed is refused and leaves no trace.

use super::Core;
use super::admit::answer;
use crate::control::{LaneSnapshot, LogSnapshot, PastSnapshot};
use crate::survey::Spare;
use async_channel::{Receiver, Sender, bounded};
use std::cell::{Cell, OnceCell, RefCell};
use std::collections::{HashMap, VecDeque};
use std::rc::{Rc, Weak};
use std::time::Duration;
use tailwater_connectors::otlp::port::{Format, PortError, Received};
use tailwater_engine::intake::Scanned;
use tailwater_engine::log::books::Books;
use tailwater_engine::log::format::{
    BodyEncoding, BodyFormat, SegmentKind, file_name, past_file_name, spare_file_name,
};
use tailwater_engine::log::lane::{Committed, End, Lane, LaneStream, NewRequest, Retired};
use tailwater_engine::log::stream::{AppendError, Operation};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::vocabulary::{Nanos, Origin, SegmentHandle, Unit};
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
    taken: Vec<Taken>,
    done: Sender<Result<(), PortError>>,
}

/// What a pipeline takes of a request.
pub struct Taken {
    /// The pipeline's number.
    pub pipeline: usize,
    /// The request, as it is to that pipeline.
    pub scanned: Scanned,
    /// When it came, by that pipeline's clock.
    pub arrived: Nanos,
}

/// Where the files of a log are: the requests in one directory, the journal of each pipeline in one of its own, or all in the
/// same where there is a single pipeline. They have numbers by which segments of a former run say where they are.
pub struct Directories {
    all: Vec<Directory>,
    has_journals_apart: bool,
}

impl Directories {
    /// Of a single pipeline.
    pub fn single(directory: Directory) -> Self {
        Self { all: vec![directory], has_journals_apart: false }
    }

    /// Of pipelines that share a log, with the directory of each.
    pub fn shared(requests: Directory, journals: impl IntoIterator<Item = Directory>) -> Self {
        Self { all: std::iter::once(requests).chain(journals).collect(), has_journals_apart: true }
    }

    /// The number of that of a stream.
    pub fn number(&self, stream: LaneStream) -> usize {
        if self.has_journals_apart { stream.place() } else { 0 }
    }

    fn get(&self, number: usize) -> &Directory {
        &self.all[number.min(self.all.len() - 1)]
    }

    /// Files that are kept to be recycled in one: one for the next segment of each stream.
    /// At the bound: further files are removed.
    fn spares_max(&self) -> usize {
        if self.has_journals_apart { 1 } else { 2 }
    }
}

/// A segment's kind, its home as in `Segment::home`, and its number.
pub type FileKey = (SegmentKind, usize, u64);

/// An open file, and the number of its directory.
struct Held {
    file: File,
    directory: usize,
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
    /// Segments read for a person, those of them in vain, and answers that were cut.
    pub past_read: Cell<u64>,
    /// See above.
    pub past_read_in_vain: Cell<u64>,
    /// See above.
    pub past_cut: Cell<u64>,
    /// Bytes of the last run's segments that this core has still to read.
    pub replay_left_bytes: Cell<u64>,
}

impl LogCounters {
    /// Those that only grow, by name.
    fn list(&self) -> [(&'static str, u64); 10] {
        [
            ("requests", self.requests.get()),
            ("body_bytes", self.body_bytes.get()),
            ("writes", self.writes.get()),
            ("syncs", self.syncs.get()),
            ("failures", self.failures.get()),
            ("open_failures", self.open_failures.get()),
            ("requests_refused_full", self.refused_full.get()),
            ("requests_refused_disk", self.refused_disk.get()),
            ("recalled_units", self.recalled.get()),
            ("recovered_units", self.recovered.get()),
        ]
    }
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

/// The log of one executor.
pub struct CoreLog {
    /// The state machine.
    pub lane: RefCell<Lane<Waiting>>,
    directories: Directories,
    files: RefCell<HashMap<FileKey, Held>>,
    /// With the numbers of their directories.
    spares: RefCell<Vec<(usize, Spare)>>,
    retired: RefCell<VecDeque<Retired>>,
    /// Set while a freed segment is on its way out of the directory.
    is_retiring: Cell<bool>,
    /// By the places of the streams.
    write: Vec<Bell>,
    open: Vec<Bell>,
    retire: Bell,
    /// Set while the disk does not give us a segment.
    is_failing: Cell<bool>,
    /// The cores that share it, by their pipelines' numbers. They have it, too.
    cores: OnceCell<Vec<Weak<Core>>>,
    /// What happened here.
    pub counters: LogCounters,
}

impl CoreLog {
    /// The log in these directories, with files that may be recycled, each with the number of its directory.
    pub fn new(lane: Lane<Waiting>, directories: Directories, spares: Vec<(usize, Spare)>) -> Rc<Self> {
        let bells = || LaneStream::all(lane.pipelines()).map(|_| Bell::new()).collect();
        Rc::new(Self {
            directories,
            files: RefCell::default(),
            spares: RefCell::new(spares),
            retired: RefCell::default(),
            is_retiring: Cell::new(false),
            write: bells(),
            open: bells(),
            retire: Bell::new(),
            is_failing: Cell::new(false),
            cores: OnceCell::new(),
            counters: LogCounters::default(),
            lane: RefCell::new(lane),
        })
    }

    /// The directory of a number.
    pub fn directory(&self, number: usize) -> &Directory {
        self.directories.get(number)
    }

    /// The open file of a segment of requests.
    pub fn file(&self, segment: SegmentHandle) -> Option<File> {
        let lane = self.lane.borrow();
        let segment = lane.segments.get(segment.slot())?;
        self.open_file((SegmentKind::Requests, segment.home, segment.number))
    }

    /// Takes over the file of a segment of a former run, which is in the directory of that number: its home.
    pub fn adopt(&self, number: u64, file: File, directory: usize) {
        self.files.borrow_mut().insert((SegmentKind::Requests, directory, number), Held { file, directory });
    }

    /// Starts the tasks that drive the disk, for these cores: one a pipeline, in their order.
    pub fn start(self: &Rc<Self>, cores: &[Rc<Core>]) {
        if self.cores.set(cores.iter().map(Rc::downgrade).collect()).is_err() {
            return;
        }
        for stream in LaneStream::all(self.lane.borrow().pipelines()) {
            spawn(self.clone().write_segments(stream));
            spawn(self.clone().open_segments(stream));
        }
        spawn(self.clone().retire_segments());
    }

    /// The core of a pipeline; none once it has ended.
    fn core(&self, pipeline: usize) -> Option<Rc<Core>> {
        self.cores.get()?.get(pipeline)?.upgrade()
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

    /// Logs a request, once for all that take it, and returns once its level is reached and it was handed on.
    pub async fn accept(&self, received: &Received, taken: Vec<Taken>, sync: bool) -> Result<(), PortError> {
        // They are the same to all: what is refused of a request does not depend on who takes it.
        let units = taken.first().map_or(0, |first| first.scanned.units());
        let takers = taken.iter().fold(Takers::NONE, |takers, taken| takers.with(Takers::of(taken.pipeline)));
        let mut waited = Duration::ZERO;
        let (done, outcome) = bounded(1);
        let mut waiting = Waiting { taken, done };
        loop {
            let request = NewRequest {
                signal: received.signal,
                encoding: encoding(received.encoding),
                format: format(received.format),
                body: &received.raw,
                units,
                takers,
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
            self.open[LaneStream::Requests.place()].ring();
            sleep(APPEND_RECHECK).await;
            waited += APPEND_RECHECK;
        }
        count(&self.counters.requests, 1);
        count(&self.counters.body_bytes, received.raw.len() as u64);
        self.write[LaneStream::Requests.place()].ring();
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

    /// Appends the verdicts and resolutions of a pipeline to its journal and has them written.
    pub fn flush_journal(&self, pipeline: usize) {
        self.lane.borrow_mut().flush_journal(pipeline, steady_unix_nanos());
        self.progress();
        self.write[LaneStream::Journal(pipeline).place()].ring();
    }

    /// Has everything written made durable.
    pub fn want_sync(&self) {
        let mut lane = self.lane.borrow_mut();
        lane.requests().want_sync();
        self.write[LaneStream::Requests.place()].ring();
    }

    async fn write_segments(self: Rc<Self>, stream: LaneStream) {
        // What is written is at home.
        let (kind, home) = (stream.kind(), 0);
        loop {
            let operation = self.lane.borrow_mut().stream(stream).poll();
            match operation {
                Some(Operation::Write { number, offset, bytes }) => {
                    count(&self.counters.writes, 1);
                    let outcome = match self.open_file((kind, home, number)) {
                        Some(file) => {
                            let copy = |from: usize, into: &mut [u8]| bytes.copy_to(from, into);
                            file.write_with(offset, bytes.len(), copy).await.map_err(|error| error.to_string())
                        }
                        None => Err("its file is not open".into()),
                    };
                    self.report(kind, number, "write", outcome.as_ref().err());
                    self.lane.borrow_mut().stream(stream).wrote(bytes, outcome.is_ok());
                }
                Some(Operation::Sync { number }) => {
                    count(&self.counters.syncs, 1);
                    let outcome = match self.open_file((kind, home, number)) {
                        Some(file) => file.sync().await.map_err(|error| error.to_string()),
                        None => Err("its file is not open".into()),
                    };
                    self.report(kind, number, "sync", outcome.as_ref().err());
                    self.lane.borrow_mut().stream(stream).synced_now(outcome.is_ok());
                }
                Some(Operation::Open { .. }) | None => {
                    self.write[stream.place()].wait().await;
                    continue;
                }
            }
            self.progress();
        }
    }

    /// The open file of a segment by its kind, home and number.
    pub fn open_file(&self, key: FileKey) -> Option<File> {
        self.files.borrow().get(&key).map(|held| held.file.clone())
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
    pub fn progress(&self) {
        let pipelines = {
            let mut lane = self.lane.borrow_mut();
            lane.progress();
            self.retired.borrow_mut().extend(lane.take_retired());
            lane.pipelines()
        };
        for pipeline in 0..pipelines {
            let Some(core) = self.core(pipeline) else { continue };
            let (released, said) = {
                let mut lane = self.lane.borrow_mut();
                let journal = lane.journal(pipeline);
                (journal.take_released(), journal.take_said())
            };
            core.tell_durable(said);
            core.tell_owners(&released);
        }
        self.commit();
        if !self.retired.borrow().is_empty() {
            self.retire.ring();
        }
        self.open.iter().for_each(Bell::ring);
    }

    /// Hands on what has reached its level, to all that take it, and answers for it.
    fn commit(&self) {
        loop {
            let next = self.lane.borrow_mut().take_committed();
            let Some(Committed { payload: Waiting { taken, done }, origin, units, is_accepted }) = next else { return };
            // Whether it is accepted or not, a start is not to count it again.
            self.lane.borrow_mut().count(origin, units);
            // Which traces came does not depend on who takes them.
            if let Some(first) = taken.first() {
                let spans = first.scanned.batches.iter().flat_map(|(_, batch)| &batch.spans);
                self.lane.borrow_mut().segments.note_traces(origin.segment, spans.map(|span| span.hash));
            }
            if !is_accepted {
                count(&self.counters.refused_disk, 1);
                // A sender that has gone does not hear it.
                _ = done.try_send(Err(FAILED));
                continue;
            }
            let mut on_their_way = Vec::new();
            for Taken { pipeline, scanned, arrived } in taken {
                let Some(core) = self.core(pipeline) else { return };
                on_their_way.extend(core.hand_on(scanned, origin, arrived));
            }
            answer(on_their_way, done);
        }
    }

    async fn open_segments(self: Rc<Self>, stream: LaneStream) {
        loop {
            let operation = self.lane.borrow_mut().stream(stream).poll_open(steady_unix_nanos());
            let Some(Operation::Open { number, bytes, header }) = operation else {
                self.open[stream.place()].wait().await;
                continue;
            };
            match self.open_segment(stream, number, bytes, &header).await {
                Ok(held) => {
                    self.files.borrow_mut().insert((stream.kind(), 0, number), held);
                    self.lane.borrow_mut().stream(stream).opened(true);
                    if self.is_failing.replace(false) {
                        tracing::info!("the log has a segment to write to again");
                    }
                    self.progress();
                    self.write[stream.place()].ring();
                }
                Err(_) if self.give_up_past() => {
                    // What is done with goes before anybody is told to come back.
                    self.lane.borrow_mut().stream(stream).opened(false);
                    while !self.has_retired_all() {
                        sleep(APPEND_RECHECK).await;
                    }
                }
                Err(error) => {
                    count(&self.counters.open_failures, 1);
                    self.lane.borrow_mut().stream(stream).opened(false);
                    if !self.is_failing.replace(true) {
                        tracing::error!(%error, "the log gets no segment to write to: senders are told to come back");
                    }
                    sleep(OPEN_RETRY).await;
                }
            }
        }
    }

    /// Gives up all past segments: the disk has no room. True when there were some.
    fn give_up_past(&self) -> bool {
        let had_some = self.lane.borrow_mut().past.clear();
        if had_some {
            tracing::warn!("the disk gives no room for the log: all that was kept of what is done with is given up");
            self.progress();
        }
        had_some
    }

    async fn open_segment(
        &self,
        stream: LaneStream,
        number: u64,
        bytes: u64,
        header: &[u8],
    ) -> Result<Held, FileError> {
        let name = file_name(stream.kind(), number);
        let place = self.directories.number(stream);
        let directory = self.directories.get(place);
        let spare = {
            let mut spares = self.spares.borrow_mut();
            let fitting = spares.iter().position(|(within, spare)| *within == place && spare.bytes >= bytes);
            fitting.map(|position| spares.swap_remove(position).1)
        };
        let begun = async {
            let file = match spare {
                Some(spare) => directory.recycle(&spare.name, &name, bytes).await?,
                None => directory.create(&name, bytes).await?,
            };
            file.write_at(0, header).await?;
            file.sync().await?;
            Ok(Held { file, directory: place })
        };
        let begun = begun.await;
        if begun.is_err() {
            // Whatever it holds, no file of that name may be in the way of the next attempt: a renaming that failed may have
            // been made nevertheless.
            _ = directory.remove(&name).await;
        }
        begun
    }

    /// Keeps the files of freed segments for the next ones, or as past ones, or removes them.
    async fn retire_segments(self: Rc<Self>) {
        loop {
            let next = self.retired.borrow_mut().pop_front();
            self.is_retiring.set(next.is_some());
            let Some(retired) = next else {
                self.retire.wait().await;
                continue;
            };
            match retired.end {
                End::Free => self.free(&retired).await,
                End::Past => self.make_past(&retired).await,
                End::FreePast => self.free_past(&retired).await,
            }
            self.open.iter().for_each(Bell::ring);
        }
    }

    async fn free(&self, retired: &Retired) {
        let Retired { kind, number, home, .. } = *retired;
        let held = self.files.borrow_mut().remove(&(kind, home, number));
        let Some(Held { file, directory: place }) = held else { return };
        let (name, bytes) = (file_name(kind, number), file.bytes());
        drop(file);
        if self.free_file(place, &name, (kind, number, bytes)).await {
            self.lane.borrow_mut().retired(retired, false);
        }
    }

    /// Gives the file of a segment that is done with the name of a past one. From then on no start reads it.
    async fn make_past(&self, retired: &Retired) {
        let Retired { kind, number, home, .. } = *retired;
        let held = self.files.borrow_mut().remove(&(kind, home, number));
        let Some(Held { file, directory: place }) = held else {
            return self.lane.borrow_mut().retired(retired, false);
        };
        let (name, bytes) = (file_name(kind, number), file.bytes());
        drop(file);
        match self.directories.get(place).rename(&name, &past_file_name(number)).await {
            Ok(()) => self.lane.borrow_mut().retired(retired, true),
            Err(error) => {
                tracing::warn!(%error, "a segment of the log that is done with does not stay");
                if self.free_file(place, &name, (kind, number, bytes)).await {
                    self.lane.borrow_mut().retired(retired, false);
                }
            }
        }
    }

    async fn free_past(&self, retired: &Retired) {
        let Retired { kind, number, home, .. } = *retired;
        // Nobody has it open but who reads it now, and that one notices.
        let file = self.directories.get(home).open_file(&past_file_name(number)).await;
        let bytes = file.map_or(0, |file| file.bytes());
        self.free_file(home, &past_file_name(number), (kind, number, bytes)).await;
        self.lane.borrow_mut().retired(retired, false);
    }

    /// Keeps a file that is not needed any more for a next segment, or removes it. False when it stays where it is.
    async fn free_file(&self, place: usize, name: &str, (kind, number, bytes): (SegmentKind, u64, u64)) -> bool {
        let keeps = self.keeps(kind, bytes, place);
        let (directory, spare) = (self.directories.get(place), spare_file_name(number));
        let outcome = if keeps { directory.rename(name, &spare).await } else { directory.remove(name).await };
        match outcome {
            Ok(()) if keeps => self.spares.borrow_mut().push((place, Spare { name: spare, bytes })),
            Ok(()) => {}
            Err(error) => {
                tracing::warn!(%error, "a freed segment of the log stays where it is");
                return false;
            }
        }
        true
    }

    /// Whether a file in the directory of that number is worth keeping for a next segment of `kind`.
    fn keeps(&self, kind: SegmentKind, bytes: u64, place: usize) -> bool {
        // What a pipeline had of requests before it shared a log is longer than any journal needs.
        let is_in_place = kind == SegmentKind::Journal || place == self.directories.number(LaneStream::Requests);
        let kept = self.spares.borrow().iter().filter(|(within, _)| *within == place).count();
        is_in_place && kept < self.directories.spares_max() && self.lane.borrow().is_worth_keeping(kind, bytes)
    }

    /// Whether no file of a freed segment is left under its name.
    pub fn has_retired_all(&self) -> bool {
        self.retired.borrow().is_empty() && !self.is_retiring.get()
    }

    /// How it stands for a pipeline. What all have in common is told with the first.
    pub fn snapshot(&self, pipeline: usize) -> LogSnapshot {
        let mut lane = self.lane.borrow_mut();
        let books = || lane.segments.iter().map(|segment| segment.of(pipeline));
        let waiting = lane.segments.iter().filter(|segment| segment.of(pipeline).parked() > 0);
        let oldest = waiting.map(|segment| segment.steps.first_unix_nano()).min().unwrap_or(0);
        let sum = |read: fn(&Books) -> u32| books().map(|books| u64::from(read(books))).sum();
        let snapshot = LogSnapshot {
            unresolved: sum(Books::unresolved),
            partly_done: sum(Books::partly_done),
            parked: sum(Books::parked),
            parked_since_unix_nano: oldest,
            ..LogSnapshot::default()
        };
        let mut counters = vec![("done_units_forgotten", lane.segments.done_forgotten(pipeline))];
        let counts = lane.journal(pipeline).counts;
        counters.extend([
            ("verdicts", counts.verdicts),
            ("verdicts_lost", counts.verdicts_lost),
            ("verdicts_bared", counts.verdicts_bared),
        ]);
        let shared = (pipeline == 0).then(|| self.lane_snapshot(&mut lane));
        counters.extend(shared.iter().flat_map(|_| self.counters.list()));
        LogSnapshot { lane: shared, counters, ..snapshot }
    }

    fn lane_snapshot(&self, lane: &mut Lane<Waiting>) -> LaneSnapshot {
        LaneSnapshot {
            segments: lane.segments.len() as u64,
            segment_bytes: lane.segments.bytes(),
            segment_bytes_max: lane.requests_bytes_max(),
            buffered_bytes: lane.requests().buffered() as u64,
            staged: lane.staged() as u64,
            is_failing: self.is_failing.get(),
            replay_left_bytes: self.counters.replay_left_bytes.get(),
            past: PastSnapshot {
                segments: lane.past.len() as u64,
                bytes: lane.past.bytes(),
                oldest_unix_nano: lane.past.oldest_unix_nano(),
                given_up: lane.past.counts().map(|(why, count)| (why.label(), count)).collect(),
                read: self.counters.past_read.get(),
                read_in_vain: self.counters.past_read_in_vain.get(),
                cut: self.counters.past_cut.get(),
            },
        }
    }

    /// Units refused by a pipeline within a request that was accepted otherwise.
    pub fn refuse_units(&self, pipeline: usize, origin: Origin, units: impl Iterator<Item = u32>) {
        self.lane.borrow_mut().refuse(pipeline, origin, units);
    }

    /// Units of this core's segments that a pipeline's cores are done with.
    pub fn resolve(&self, pipeline: usize, units: &[Unit]) {
        let mut lane = self.lane.borrow_mut();
        for unit in units {
            lane.resolve(pipeline, *unit);
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
