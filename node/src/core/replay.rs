//! Takes over what a former run has left in the log: verdicts first, then every request that is not done with, as if it
//! had just come, with the time it came at. Nothing is judged before all cores have read their share; then the engine's
//! clock goes on where the former run's stopped, so that undecided traces have the wait that they had left.

pub mod reading;

use self::reading::Reading;
use super::log::{CoreLog, count};
use super::{Core, HISTORY};
use crate::numbers::CoreNumber;
use crate::survey::{OldSegment, Survey};
use async_channel::{Receiver, Sender, bounded};
use std::rc::Rc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_engine::decide::KeptBy;
use tailwater_engine::log::format::{BLOCK_BYTES, Record, Request, SegmentHeader, VerdictEntry};
use tailwater_engine::log::read::Found;
use tailwater_engine::log::read::cursor::{Cursor, PIECE_BYTES, Pieces};
use tailwater_engine::route::Route;
use tailwater_engine::vocabulary::{Nanos, Origin, SegmentHandle};
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
    /// The last verdicts, oldest first.
    pub verdicts: Vec<VerdictEntry>,
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
    pub fn new(survey: &mut Survey, unix_nano: u64) -> Arc<Self> {
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

/// One core's part.
pub struct Share {
    /// What all cores share.
    pub common: Arc<Common>,
    /// The segments this core takes over.
    pub segments: Vec<OldSegment>,
    /// Passed by all cores once each has read its share.
    pub read: Barrier,
    /// Passed by all cores once each has said again what old journals say of its part.
    pub restated: Barrier,
    /// The node's map from traces to shards.
    pub route: Route,
    /// Names of old journals, on the core that removes them.
    pub journals: Vec<String>,
}

impl Core {
    /// Makes ready for spans that other cores replay: they follow the verdicts of the last run, and nothing is judged. To be
    /// called before the core is started.
    pub fn begin_replay(&self, share: &Share) {
        let Some(log) = &self.log else { return };
        self.is_replaying.set(true);
        self.restore_verdicts(log, &share.common, &share.route);
    }

    /// Takes over this core's share, after `begin_replay`. Returns when all cores have.
    pub async fn replay(self: &Rc<Self>, share: Share) {
        let Some(log) = self.log.clone() else { return };
        let Share { common, segments, read, restated, journals, .. } = share;
        let mut reader = BodyReader::new(self.settings.request_bytes_max);
        let buffers = ReadBuffers::default();
        log.counters.replay_left_bytes.set(segments.iter().map(|segment| segment.bytes).sum());
        for segment in segments {
            if self.receivers.is_closed() {
                // Told to stop: what is not read stays for the next start.
                common.needs_journals.store(true, Ordering::Relaxed);
                break;
            }
            if let Err(why) = self.replay_segment(&log, &common, &mut reader, &buffers, segment).await {
                tracing::error!(why, "a segment of the log was not replayed");
                common.needs_journals.store(true, Ordering::Relaxed);
            }
        }
        log.counters.replay_left_bytes.set(0);
        read.pass().await;
        // All that was read is in a shard or in the queue to its core: nothing is judged before that is taken, too.
        while let Some(message) = self.peers.try_receive() {
            self.receive(message);
        }
        let latest = common.latest.load(Ordering::Relaxed);
        if latest > 0 {
            let pause = *common.pause.get_or_init(|| self.now().0.saturating_sub(latest));
            self.origin.set(self.origin.get().wrapping_add(pause));
        }
        // A node that stops judges nothing: it may have read a part of each trace only.
        self.is_replaying.set(self.receivers.is_closed());
        if common.reading.bytes > 0 && self.number == CoreNumber::FIRST {
            common.reading.end(common.verdicts.len());
        }
        spawn(self.clone().restate(log, common, restated, journals));
    }

    /// What old journals say is said again by the new ones of all cores before the old ones go. Of a segment in which all
    /// is resolved nothing is said again, so that it must be gone by then.
    async fn restate(self: Rc<Self>, log: Rc<CoreLog>, common: Arc<Common>, restated: Barrier, journals: Vec<String>) {
        while !self.log_all(&log).await {
            sleep(RESTATE_RETRY).await;
        }
        while !log.has_retired_all() {
            sleep(RECHECK).await;
        }
        restated.pass().await;
        if common.needs_journals.load(Ordering::Relaxed) {
            return;
        }
        for name in journals {
            if let Err(error) = log.directory().remove(&name).await {
                tracing::warn!(%error, "an old journal stays where it is");
            }
        }
    }

    fn restore_verdicts(&self, log: &CoreLog, common: &Common, route: &Route) {
        let own = self.number.shard();
        let mine = |entry: &&VerdictEntry| route.shard(route.hash(&entry.trace_id)) == own;
        let mut shard = self.shard.borrow_mut();
        let mut lane = log.lane.borrow_mut();
        // Newest first: where a trace was judged more than once the last verdict holds.
        let newest = common.verdicts.iter().rev().filter(mine).take(lane.verdicts_max());
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
            lane.journal().note(*entry);
        }
    }

    async fn replay_segment(
        self: &Rc<Self>,
        log: &Rc<CoreLog>,
        common: &Common,
        reader: &mut BodyReader,
        buffers: &ReadBuffers,
        old: OldSegment,
    ) -> Result<(), String> {
        let name = Survey::name(&old);
        let file = log.directory().open_file(&name).await.map_err(|error| error.to_string())?;
        let length = usize::try_from(file.bytes()).map_err(|_| format!("{name} is too large"))?;
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(|error| error.to_string())?;
        let handle = log.lane.borrow_mut().segments.add(old.number, file.bytes());
        let handle = handle.ok_or("there are more segments than can be entered")?;
        log.adopt(old.number, file.clone());
        log.lane.borrow_mut().segments.restore(handle, old.resolved, old.done);
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
        let mut reading = file.sequential(PIECE_BYTES, buffers);
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
                    self.replay_request(log, common, reader, handle, offset, &request).await;
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
        log.lane.borrow_mut().segments.close(old.number);
        Ok(())
    }

    async fn replay_request(
        self: &Rc<Self>,
        log: &Rc<CoreLog>,
        common: &Common,
        reader: &mut BodyReader,
        handle: SegmentHandle,
        offset: u64,
        request: &Request<'_>,
    ) {
        let Request { first_unit, units, signal, arrived_unix_nano, .. } = *request;
        let arrived = common.engine_time(arrived_unix_nano);
        common.latest.fetch_max(arrived.0, Ordering::Relaxed);
        let origin = Origin { segment: handle, first_unit };
        log.lane.borrow_mut().segments.recovered(handle, first_unit, units, offset, arrived_unix_nano);
        let open: Vec<bool> = {
            let lane = log.lane.borrow();
            let segment = lane.segments.get(handle.slot());
            (0..units).map(|at| segment.is_some_and(|known| !known.is_resolved(first_unit + at))).collect()
        };
        let wanted = open.iter().filter(|wanted| **wanted).count();
        if wanted == 0 {
            return;
        }
        count(&log.counters.recovered, wanted as u64);
        common.reading.add_request(wanted as u64);
        // Waits for what was read before to be taken by the shards: a log read as fast as a disk can would else be in memory
        // inflated, in their queues.
        let body = self.logged_body(reader, request).await;
        let is_partly_done = {
            let lane = log.lane.borrow();
            lane.segments.get(handle.slot()).is_some_and(|known| known.is_partly_done(first_unit, units))
        };
        let is_open = |position: u32| open.get(position as usize).copied().unwrap_or(false);
        let scanned = body.and_then(|body| {
            let scanned = self.shard.borrow_mut().scan_request_again(signal, &body).ok()?;
            scanned.again(units, is_open)
        });
        let Some(mut scanned) = scanned else {
            // It was accepted once and can't be read now: nothing waits for it, and the log says so.
            log.refuse_units(origin, 0..units);
            return;
        };
        if let Some(passing) = scanned.passing.as_ref().filter(|_| is_partly_done) {
            self.with_shard(|shard, _, outbox| shard.park_passing(passing, origin, outbox));
        } else {
            if scanned.passing.is_none() {
                // Spans that the limits in force refuse now, and those that were refused when they came.
                log.refuse_units(origin, scanned.missing_positions().into_iter().filter(|at| *at < units));
            }
            scanned.refused = 0;
            scanned.batches.iter_mut().for_each(|(_, batch)| batch.stays_in_log = is_partly_done);
            for sent in self.hand_on(scanned, origin, arrived) {
                // Closing is the signal; nothing is ever sent.
                _ = sent.recv().await;
            }
        }
        while self.outbox.borrow().is_pressed() && log.is_failing() {
            sleep(RECHECK).await;
        }
    }
}
