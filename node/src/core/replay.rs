//! Takes over what a former run has left in the log: verdicts first, then every request that is not done with, as if it
//! had just come, with the time it came at. A request is read once, and each pipeline gets of it what it still wants. Nothing
//! is judged before all cores have read their share; then the engine's clock goes on where the former run's stopped, so that
//! undecided traces have the wait that they had left.

pub mod reading;

use self::reading::Reading;
use super::admit::all_sent;
use super::log::{CoreLog, count};
use super::summaries::Summaries;
use super::{Core, HISTORY};
use crate::numbers::CoreNumber;
use crate::survey::{Holder, LogSurvey, OldSegment, Survey};
use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_engine::decide::KeptBy;
use tailwater_engine::log::format::{BLOCK_BYTES, Record, Request, SegmentHeader, VerdictEntry};
use tailwater_engine::log::read::Found;
use tailwater_engine::log::read::cursor::{Cursor, PIECE_BYTES, Pieces};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::route::Route;
use tailwater_engine::vocabulary::{Nanos, Origin, SegmentHandle};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor::{sleep, spawn, yield_now};
use tailwater_runtime::files::ReadBuffers;

/// Requests replayed before other tasks run.
const REQUESTS_IN_A_ROW: usize = 64;
/// Pause before the journal is tried again on a disk that fails.
const RESTATE_RETRY: Duration = Duration::from_secs(1);
/// How often a full queue is tried again.
const RECHECK: Duration = Duration::from_millis(1);

/// What all cores share at the start.
#[derive(Debug)]
pub struct Common {
    /// The last verdicts of each pipeline, oldest first.
    pub verdicts: Vec<Vec<VerdictEntry>>,
    /// How far all of them are.
    pub reading: Reading,
    /// Wall time at engine time zero, nanoseconds since 1970.
    wall_origin: u64,
    /// The latest engine time at which anything came, zero before anything is known.
    latest: AtomicU64,
    /// How far the clock is set back once all is read.
    pause: OnceLock<u64>,
    /// Set when a segment was not read: what the old journals say of it is said nowhere else.
    needs_journals: AtomicBool,
}

impl Common {
    /// For a start at `unix_nano`, with what journals say.
    #[must_use]
    pub fn new(survey: &mut LogSurvey, unix_nano: u64) -> Arc<Self> {
        let wall_origin = unix_nano.saturating_sub(HISTORY.0);
        let latest = match survey.latest_unix_nano {
            0 => 0,
            told => told.saturating_sub(wall_origin).min(HISTORY.0),
        };
        Arc::new(Self {
            verdicts: std::mem::take(&mut survey.verdicts),
            reading: Reading::of(&survey.segments),
            wall_origin,
            latest: AtomicU64::new(latest),
            pause: OnceLock::new(),
            needs_journals: AtomicBool::new(false),
        })
    }

    /// The engine's time of a moment of a former run; never in the future.
    fn engine_time(&self, unix_nano: u64) -> Nanos {
        Nanos(unix_nano.saturating_sub(self.wall_origin).min(HISTORY.0))
    }
}

/// One core's side of a meeting point of all cores.
pub struct Barrier {
    /// Closed by dropping once this core is there.
    mine: Sender<()>,
    /// Closes when all are.
    all: Receiver<()>,
}

impl Barrier {
    /// One side for each of `cores` cores.
    pub fn for_cores(cores: usize) -> Vec<Self> {
        let (mine, all) = bounded(1);
        (0..cores).map(|_| Self { mine: mine.clone(), all: all.clone() }).collect()
    }

    async fn pass(self) {
        drop(self.mine);
        // Closing is the signal; nothing is ever sent.
        _ = self.all.recv().await;
    }
}

/// One executor's part, of all pipelines.
pub struct Share {
    /// What all cores share.
    pub common: Arc<Common>,
    /// The segments it takes over.
    pub segments: Vec<OldSegment>,
    /// Passed by all cores once each has read its share.
    pub read: Barrier,
    /// Passed by all cores once each has said again what old journals say of its part.
    pub restated: Barrier,
    /// The node's map from traces to shards.
    pub route: Route,
    /// Names of old journals, with the numbers of their directories, on the executor that removes them.
    pub journals: Vec<(usize, String)>,
}

impl Core {
    /// Makes ready for spans that other cores replay: they follow the verdicts of the last run, and nothing is judged. To be
    /// called before the core is started.
    pub fn begin_replay(&self, share: &Share) {
        let Some(log) = &self.log else { return };
        self.is_replaying.set(true);
        self.restore_verdicts(log, &share.common, &share.route);
    }

    fn restore_verdicts(&self, log: &CoreLog, common: &Common, route: &Route) {
        let (own, pipeline) = (self.number.shard(), self.settings.pipeline);
        let mine = |entry: &&VerdictEntry| route.shard(route.hash(&entry.trace_id)) == own;
        let mut shard = self.shard.borrow_mut();
        let mut lane = log.lane.borrow_mut();
        // Newest first: where a trace was judged more than once the last verdict holds.
        let verdicts = common.verdicts.get(pipeline).map(Vec::as_slice).unwrap_or_default();
        let newest = verdicts.iter().rev().filter(mine).take(lane.verdicts_max(pipeline));
        let mut newest: Vec<_> = newest.collect();
        for entry in &newest {
            shard.restore(
                &entry.trace_id,
                entry.is_kept.then_some(KeptBy {
                    policy: entry.policy,
                    threshold: entry.threshold,
                    randomness: entry.randomness(),
                    given: entry.given,
                    annotations: entry.annotations,
                }),
            );
        }
        newest.reverse();
        for entry in newest {
            lane.journal(pipeline).note(*entry);
        }
    }

    /// The log is read: the engine's clock goes on where the former run's stopped.
    fn end_replay(&self, pause: u64, is_stopping: bool) {
        self.origin.set(self.origin.get().wrapping_add(pause));
        // A node that stops judges nothing: it may have read a part of each trace only.
        self.is_replaying.set(is_stopping || self.receivers.is_closed());
    }

    /// What old journals say is said again by the new ones of all cores before the old ones go. Of a segment in which all
    /// is resolved nothing is said again, so that it must be gone by then.
    async fn restate(self: Rc<Self>, log: Rc<CoreLog>, restated: Sender<()>) {
        while !self.log_all(&log).await {
            sleep(RESTATE_RETRY).await;
        }
        while !log.has_retired_all() {
            sleep(RECHECK).await;
        }
        drop(restated);
    }

    /// Takes what this core wants of a request that a former run has logged. Returns what to wait for.
    fn take_again(self: &Rc<Self>, log: &CoreLog, again: &Again<'_>, open: &[bool]) -> Vec<Receiver<()>> {
        let Again { body, origin, arrived, units, signal } = *again;
        let pipeline = self.settings.pipeline;
        let is_open = |position: u32| open.get(position as usize).copied().unwrap_or(false);
        let scanned = body.and_then(|body| {
            let scanned = self.shard.borrow_mut().scan_request_again(signal, body, None).ok()?;
            scanned.again(units, is_open)
        });
        let Some(mut scanned) = scanned else {
            // It was accepted once and can't be read now: nothing waits for it, and the log says so.
            log.refuse_units(pipeline, origin, 0..units);
            return Vec::new();
        };
        let is_partly_done = {
            let lane = log.lane.borrow();
            let segment = lane.segments.get(origin.segment.slot());
            segment.is_some_and(|known| known.of(pipeline).is_partly_done(origin.first_unit, units))
        };
        if is_partly_done && let Some(mut passing) = scanned.passing.take() {
            self.take_out(&mut passing, origin, false);
            self.with_shard(|shard, _, outbox| shard.park_passing(&passing, origin, outbox));
            return Vec::new();
        }
        if scanned.passing.is_none() {
            // Spans that the limits in force refuse now, and those that were refused when they came.
            log.refuse_units(pipeline, origin, scanned.missing_positions().into_iter().filter(|at| *at < units));
        }
        scanned.refused = 0;
        scanned.batches.iter_mut().for_each(|(_, batch)| batch.stays_in_log = is_partly_done);
        self.hand_on_counted(scanned, origin, arrived, false)
    }
}

/// A request of a former run, as all pipelines that want something of it get it.
struct Again<'a> {
    body: Option<&'a Bytes>,
    origin: Origin,
    arrived: Nanos,
    units: u32,
    signal: Signal,
}

/// Takes over an executor's share for its cores, one a pipeline, after `begin_replay` of each. Returns when all executors
/// have.
pub async fn replay(cores: &[Rc<Core>], log: &Rc<CoreLog>, share: Share) {
    let Some(first) = cores.first() else { return };
    let Share { common, segments, read, restated, journals, .. } = share;
    log.counters.replay_left_bytes.set(segments.iter().map(|segment| segment.bytes).sum());
    let mut replay = Replay {
        cores,
        log,
        common: &common,
        reader: BodyReader::new(first.settings.request_bytes_max),
        buffers: ReadBuffers::default(),
    };
    let mut is_stopping = false;
    for segment in segments {
        if cores.iter().any(|core| core.receivers.is_closed()) {
            // Told to stop: what is not read stays for the next start.
            common.needs_journals.store(true, Ordering::Relaxed);
            is_stopping = true;
            break;
        }
        if let Err(why) = replay.segment(segment).await {
            tracing::error!(why, "a segment of the log was not replayed");
            common.needs_journals.store(true, Ordering::Relaxed);
        }
    }
    log.counters.replay_left_bytes.set(0);
    read.pass().await;
    // All that was read is in a shard or in the queue to its core: nothing is judged before that is taken, too.
    for core in cores {
        while let Some(message) = core.peers.try_receive() {
            core.receive(message);
        }
    }
    let latest = common.latest.load(Ordering::Relaxed);
    let pause = if latest > 0 { *common.pause.get_or_init(|| first.now().0.saturating_sub(latest)) } else { 0 };
    cores.iter().for_each(|core| core.end_replay(pause, is_stopping));
    if common.reading.bytes > 0 && first.number == CoreNumber::FIRST {
        common.reading.end(common.verdicts.iter().map(Vec::len).sum());
    }
    let (mine, all) = bounded(1);
    for core in cores {
        spawn(core.clone().restate(log.clone(), mine.clone()));
    }
    drop(mine);
    spawn(remove_journals(log.clone(), common, all, restated, journals));
}

/// Removes the old journals once the new ones of all executors say the same: `all` closes when those of this one do.
async fn remove_journals(
    log: Rc<CoreLog>,
    common: Arc<Common>,
    all: Receiver<()>,
    restated: Barrier,
    journals: Vec<(usize, String)>,
) {
    // Closing is the signal; nothing is ever sent.
    _ = all.recv().await;
    restated.pass().await;
    if common.needs_journals.load(Ordering::Relaxed) {
        return;
    }
    for (directory, name) in journals {
        if let Err(error) = log.directory(directory).remove(&name).await {
            tracing::warn!(%error, "an old journal stays where it is");
        }
    }
}

/// An executor that reads its share.
struct Replay<'a> {
    cores: &'a [Rc<Core>],
    log: &'a Rc<CoreLog>,
    common: &'a Common,
    reader: BodyReader,
    buffers: ReadBuffers,
}

impl Replay<'_> {
    async fn segment(&mut self, mut old: OldSegment) -> Result<(), String> {
        let (log, common) = (self.log, self.common);
        let name = Survey::name(&old);
        let file = log.directory(old.directory).open_file(&name).await.map_err(|error| error.to_string())?;
        let length = usize::try_from(file.bytes()).map_err(|_| format!("{name} is too large"))?;
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(|error| error.to_string())?;
        let handle = log.lane.borrow_mut().segments.add(old.number, old.directory, file.bytes());
        let handle = handle.ok_or("there are more segments than can be entered")?;
        log.adopt(old.number, file.clone(), old.directory);
        if let Some(summaries) = self.cores.first().and_then(|core| core.summaries.as_ref()) {
            log.lane.borrow_mut().segments.count(handle, summaries.counted_before(old.number));
        }
        for Holder { pipeline, resolved, .. } in &mut old.holders {
            let resolved = std::mem::take(resolved);
            log.lane.borrow_mut().segments.restore(handle, *pipeline, resolved.units, resolved.done);
        }
        let header = SegmentHeader::decode(&block).map_err(|error| format!("{name}: {error}"))?;
        let bytes = file.bytes();
        if bytes < header.bytes {
            // It had its whole length before its header was written.
            tracing::error!(
                file = name,
                bytes,
                of_bytes = header.bytes,
                "a segment of the log is shorter than it was made; what stood behind its end is lost"
            );
        }
        // A segment is as large as it is configured to be; what is in memory of it is not.
        let (mut cursor, mut pieces) = (Cursor::new(&header, length, PIECE_BYTES), Pieces::default());
        let mut reading = file.sequential(PIECE_BYTES, &self.buffers);
        let (mut in_a_row, mut reached) = (0, 0);
        let mut reach = |place: u64| {
            let more = place.saturating_sub(reached);
            reached += more;
            common.reading.add_bytes(more);
            let left = &log.counters.replay_left_bytes;
            left.set(left.get().saturating_sub(more));
            common.reading.tell();
        };
        loop {
            match cursor.next(pieces.window()) {
                Err(wanted) => {
                    let read = reading.read(wanted.range.clone()).await.map_err(|error| error.to_string())?;
                    if !pieces.put(&wanted, read) {
                        return Err(format!("{name} has become shorter while it was read"));
                    }
                }
                Ok(Some(Found::Record { offset, record: Record::Request(request), .. })) => {
                    reach(offset);
                    self.request(&old, handle, offset, &request).await;
                }
                Ok(Some(Found::Record { .. })) => {}
                Ok(Some(Found::Skipped { offset, bytes, sequences })) => {
                    tracing::warn!(file = name, offset, bytes, records = sequences, "unreadable bytes were skipped");
                }
                Ok(None) => break,
            }
            in_a_row += 1;
            if in_a_row % REQUESTS_IN_A_ROW == 0 {
                yield_now().await;
            }
        }
        tracing::debug!(file = name, end = cursor.end(), "replayed");
        reach(bytes);
        common.reading.add_segment();
        log.lane.borrow_mut().segments.close_recovered(handle);
        Ok(())
    }

    async fn request(&mut self, old: &OldSegment, handle: SegmentHandle, offset: u64, request: &Request<'_>) {
        let Request { first_unit, units, signal, arrived_unix_nano, .. } = *request;
        let (log, common) = (self.log, self.common);
        let arrived = common.engine_time(arrived_unix_nano);
        common.latest.fetch_max(arrived.0, Ordering::Relaxed);
        let takers = old.takers(request.takers);
        log.lane.borrow_mut().segments.recovered(handle, (first_unit, units), takers, offset, arrived_unix_nano);
        let wanted = self.wanted(takers, handle, request);
        let counts = self.counts(handle, request);
        let reads = wanted.first().map(|(core, _)| core).or(counts.as_ref().and(self.cores.first()));
        let Some(reads) = reads else { return };
        let count_of = |open: &Vec<bool>| open.iter().filter(|is_open| **is_open).count() as u64;
        let recovered = wanted.iter().map(|(_, open)| count_of(open)).sum();
        count(&log.counters.recovered, recovered);
        common.reading.add_request(recovered);
        // Waits for what was read before to be taken by the shards: a log read as fast as a disk can would else be in memory
        // inflated, in their queues.
        let body = reads.logged_body(&mut self.reader, request, wanted.len().max(1)).await;
        let origin = Origin { segment: handle, first_unit };
        let mut on_their_way = Vec::new();
        if let Some((summaries, first)) = counts.zip(self.cores.first()) {
            on_their_way = first.count_again(&summaries, signal, body.as_ref());
            log.lane.borrow_mut().count(origin, units);
        }
        let again = Again { body: body.as_ref(), origin, arrived, units, signal };
        for (core, open) in &wanted {
            on_their_way.extend(core.take_again(log, &again, open));
        }
        drop(body);
        all_sent(on_their_way).await;
        while log.is_failing() && wanted.iter().any(|(core, _)| core.outbox.borrow().is_pressed()) {
            sleep(RECHECK).await;
        }
    }

    /// Where a request is to be counted that no former run has counted.
    fn counts(&self, handle: SegmentHandle, request: &Request<'_>) -> Option<Rc<Summaries>> {
        let summaries = self.cores.first()?.summaries.clone()?;
        let lane = self.log.lane.borrow();
        let segment = lane.segments.get(handle.slot())?;
        (segment.home == 0 && segment.is_uncounted(request.first_unit)).then_some(summaries)
    }

    /// The cores that want something of a request, and which of its units.
    fn wanted(&self, takers: Takers, handle: SegmentHandle, request: &Request<'_>) -> Vec<(Rc<Core>, Vec<bool>)> {
        let lane = self.log.lane.borrow();
        let Some(segment) = lane.segments.get(handle.slot()) else { return Vec::new() };
        let taking = self.cores.iter().filter(|core| takers.has(core.settings.pipeline));
        let open = taking.map(|core| {
            let books = segment.of(core.settings.pipeline);
            let is_open = |at| !books.is_resolved(request.first_unit + at);
            (core.clone(), (0..request.units).map(is_open).collect::<Vec<_>>())
        });
        open.filter(|(_, open)| open.contains(&true)).collect()
    }
}
