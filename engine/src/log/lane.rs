//! The log of one core: its stream of requests, the books of their segments, and its journal. A state machine without
//! I/O: the host drives the two streams' operations, tells the outcomes, and carries units to the cores that own them.

use super::flush::Flush;
use super::format::{BodyEncoding, BodyFormat, Request, SegmentKind, hold_request, request_bytes};
use super::journal::Journal;
use super::segments::Segments;
use super::stream::{AppendError, Stream, StreamPlan};
use crate::vocabulary::{Origin, Unit};
use bytes::Bytes;
use std::collections::VecDeque;
use tailwater_proto::otlp::Signal;

/// The bounds of one core's log.
#[derive(Debug, Clone)]
pub struct LanePlan {
    /// The core.
    pub core: u16,
    /// How many cores there are: their segments' numbers take turns.
    pub cores: u16,
    /// No number up to this one has been used in the directory.
    pub first_number: u64,
    /// Makes nonces; another one at each start.
    pub nonce_seed: u64,
    /// Bytes of a segment.
    pub segment_bytes: u64,
    /// Whether the first segments are short: no file waits to be recycled, and a node that is given nothing takes little of
    /// the disk.
    pub begins_small: bool,
    /// Most bytes of request segments in use.
    pub requests_bytes_max: u64,
    /// Bytes of a journal segment.
    pub journal_segment_bytes: u64,
    /// Most journal segments.
    pub journal_segments_max: usize,
    /// Most bytes that wait for the disk, requests, verdicts and the journal's records alike.
    pub buffer_bytes_max: usize,
    /// Verdicts remembered over a restart.
    pub verdicts_max: usize,
}

/// A request to be logged.
#[derive(Debug, Clone, Copy)]
pub struct NewRequest<'a> {
    /// What it carries.
    pub signal: Signal,
    /// How the body is compressed.
    pub encoding: BodyEncoding,
    /// How it is written.
    pub format: BodyFormat,
    /// The body as it came.
    pub body: &'a Bytes,
    /// Its units.
    pub units: u32,
    /// When it came, nanoseconds since the Unix epoch.
    pub arrived_unix_nano: u64,
}

/// A logged request whose fate is known.
#[derive(Debug)]
pub struct Committed<P> {
    /// What was given to `append` with it.
    pub payload: P,
    /// Its units.
    pub origin: Origin,
    /// Whether its level was reached. If not, the disk failed under it: its sender is to be told, and nothing of it
    /// enters the shard.
    pub is_accepted: bool,
}

/// A logged request that has not reached its level.
#[derive(Debug)]
struct Staged<P> {
    position: u64,
    origin: Origin,
    units: u32,
    /// Whether the sender waits for the sync or only for the write.
    sync: bool,
    payload: P,
}

/// A file that is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retired {
    /// What it held.
    pub kind: SegmentKind,
    /// Its number.
    pub number: u64,
}

/// The log of one core. `P` is what its host wants back with each request once its level is reached.
#[derive(Debug)]
pub struct Lane<P> {
    plan: LanePlan,
    requests: Stream,
    /// In the order of their positions; bounded by the senders that wait.
    staged: VecDeque<Staged<P>>,
    lost_up_to: u64,
    journal: Journal,
    /// The books of the request segments.
    pub segments: Segments,
    /// Request segments that were closed with nothing in them.
    blank: Vec<u64>,
}

impl<P> Lane<P> {
    /// An empty log.
    #[must_use]
    pub fn new(plan: LanePlan) -> Self {
        // Both streams of all cores draw from one sequence of numbers.
        let streams = 2 * u64::from(plan.cores.max(1));
        let stream = |kind, segment_bytes, place: u64, buffer_bytes_max| StreamPlan {
            kind,
            lane: plan.core,
            segment_bytes,
            begins_small: plan.begins_small,
            buffer_bytes_max,
            first_number: plan.first_number + 2 * u64::from(plan.core) + place,
            number_stride: streams,
            nonce_seed: plan.nonce_seed,
        };
        // Five parts are for requests, one for the journal's records, two for verdicts that are not yet such.
        let part = plan.buffer_bytes_max / 8;
        let requests = stream(SegmentKind::Requests, plan.segment_bytes, 0, part * 5);
        let journal = stream(SegmentKind::Journal, plan.journal_segment_bytes, 1, part);
        let mut segments = Segments::new(plan.core);
        // All of it is said again in each segment of the journal, beside what is resolved.
        segments.bound_done(usize::try_from(plan.journal_segment_bytes / 4).unwrap_or(usize::MAX));
        Self {
            requests: Stream::new(requests),
            journal: Journal::new(journal, plan.journal_segments_max, plan.verdicts_max, part * 2),
            segments,
            staged: VecDeque::new(),
            lost_up_to: 0,
            blank: Vec::new(),
            plan,
        }
    }

    /// Appends a request, whose level is the sync or the write. `payload` comes back from `take_committed` when that is
    /// reached, or has failed.
    ///
    /// # Errors
    /// `AppendError` with the payload; nothing was changed.
    pub fn append(&mut self, request: &NewRequest<'_>, sync: bool, payload: P) -> Result<(), (AppendError, P)> {
        match self.place(request, sync) {
            Ok((position, origin)) => {
                self.staged.push_back(Staged { position, origin, units: request.units, sync, payload });
                Ok(())
            }
            Err(error) => Err((error, payload)),
        }
    }

    /// Whether a request of so many bytes finds room, if the disk keeps up: in what is there or in a segment to come.
    #[must_use]
    pub fn has_room(&self, body_bytes: usize) -> bool {
        !self.is_full() || self.requests.has_room(request_bytes(body_bytes))
    }

    fn place(&mut self, request: &NewRequest<'_>, sync: bool) -> Result<(u64, Origin), AppendError> {
        let NewRequest { signal, encoding, format, body, units, arrived_unix_nano } = *request;
        let segments = &self.segments;
        let bytes = request_bytes(body.len());
        // The segment is only known once the stream has chosen it, and the first unit follows from the segment.
        let number = self.requests.segment_to_take(bytes)?;
        let first_unit = segments.next_unit(number, units).ok_or(AppendError::TooLarge)?;
        let record = Request { arrived_unix_nano, first_unit, units, signal, encoding, format, body };
        let put = |flush: &mut Flush, nonce, sequence| hold_request(flush, nonce, sequence, &record, body);
        let appended = self.requests.append_held(bytes, sync, put)?;
        let file_bytes = self.requests.segment_bytes();
        let placed = self.segments.appended(number, file_bytes, appended.flush_offset, units, arrived_unix_nano);
        // The table has a slot for every segment that the budget allows.
        let origin = placed.ok_or(AppendError::NoSegment)?;
        Ok((appended.position, origin))
    }

    /// The next request whose fate is known, in the order in which they were appended.
    pub fn take_committed(&mut self) -> Option<Committed<P>> {
        let front = self.staged.front()?;
        let is_lost = front.position <= self.lost_up_to;
        let reached = if front.sync { self.requests.synced() } else { self.requests.written() };
        if !is_lost && front.position > reached {
            return None;
        }
        let Staged { origin, units, payload, .. } = self.staged.pop_front()?;
        if is_lost {
            self.refuse(origin, 0..units);
        }
        Some(Committed { payload, origin, is_accepted: !is_lost })
    }

    /// Gives back what waits: the process ends, and nobody will be answered.
    pub fn take_staged(&mut self) -> Vec<P> {
        self.staged.drain(..).map(|staged| staged.payload).collect()
    }

    /// Whether a file of so many bytes is worth keeping for a next segment of `kind`.
    #[must_use]
    pub fn is_worth_keeping(&self, kind: SegmentKind, bytes: u64) -> bool {
        let usual = match kind {
            SegmentKind::Requests => self.plan.segment_bytes,
            SegmentKind::Journal => self.plan.journal_segment_bytes,
        };
        bytes >= usual
    }

    /// Requests whose level is not reached.
    #[must_use]
    pub fn staged(&self) -> usize {
        self.staged.len()
    }

    /// Most bytes of request segments in use.
    #[must_use]
    pub fn requests_bytes_max(&self) -> u64 {
        self.plan.requests_bytes_max
    }

    /// Verdicts remembered over a restart.
    #[must_use]
    pub fn verdicts_max(&self) -> usize {
        self.plan.verdicts_max
    }

    /// The stream of requests, to be driven.
    pub fn requests(&mut self) -> &mut Stream {
        &mut self.requests
    }

    /// The journal.
    pub fn journal(&mut self) -> &mut Journal {
        &mut self.journal
    }

    /// The stream of `kind`.
    pub fn stream(&mut self, kind: SegmentKind) -> &mut Stream {
        match kind {
            SegmentKind::Requests => &mut self.requests,
            SegmentKind::Journal => self.journal.stream(),
        }
    }

    /// True when the budget allows no further segment.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.segments.bytes() + self.requests.ahead_bytes() + self.plan.segment_bytes > self.plan.requests_bytes_max
    }

    /// A unit of this core's segments is done with.
    #[inline]
    pub fn resolve(&mut self, unit: Unit) {
        self.segments.resolve(unit.segment, unit.number);
    }

    /// A logged request will not be accepted: the disk failed under it, or some of its units were refused.
    pub fn refuse(&mut self, origin: Origin, units: impl Iterator<Item = u32>) {
        for position in units {
            self.resolve(origin.unit(position));
        }
    }

    /// Does what follows from the progress of the streams, and decides whether more segments may be opened.
    pub fn progress(&mut self) {
        if let Some(lost) = self.requests.take_lost() {
            self.lost_up_to = lost;
        }
        for number in self.requests.take_closed() {
            if !self.segments.close(number) {
                self.blank.push(number);
            }
        }
        let may_open = !self.is_full();
        self.requests.set_may_open(may_open);
        self.journal.progress();
    }

    /// Appends verdicts and resolutions to the journal.
    pub fn flush_journal(&mut self, unix_nano: u64) {
        self.journal.flush(unix_nano, &mut self.segments);
    }

    /// Whether everything noted and resolved is durable in the journal.
    #[must_use]
    pub fn is_journal_idle(&self) -> bool {
        self.journal.is_idle() && !self.segments.has_changed()
    }

    /// Files that are not needed any more.
    pub fn take_retired(&mut self) -> Vec<Retired> {
        let requests = |number| Retired { kind: SegmentKind::Requests, number };
        let freed = self.segments.take_freed().into_iter().map(|segment| requests(segment.number));
        let mut retired: Vec<_> = freed.collect();
        retired.extend(self.blank.drain(..).map(requests));
        retired.extend(self.requests.take_unused().into_iter().map(requests));
        let journals = self.journal.take_retired().into_iter();
        retired.extend(journals.map(|number| Retired { kind: SegmentKind::Journal, number }));
        retired
    }
}
