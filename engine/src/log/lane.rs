//! The log of one core: its stream of requests, the books of their segments, and a journal for each pipeline. However many
//! pipelines take a request, it is one record, and its units are resolved by each of them. A state machine without I/O: the
//! host drives the streams' operations, tells the outcomes, and carries units to the cores that own them.
//!
//! ```text
//! append ---> requests ---> take_committed        one stream, whose records say which pipelines take them
//!                |
//!             segments                            the books, by pipeline: a segment goes when all are done with it
//!                |
//!             journals                            one stream a pipeline: its verdicts, and what it has resolved
//! ```

use super::flush::Flush;
use super::format::{BodyEncoding, BodyFormat, Request, SegmentKind, hold_request, request_bytes};
use super::journal::Journal;
use super::past::{Past, PastPlan, PastSegment};
use super::segments::{Segment, Segments};
use super::stream::{AppendError, Stream, StreamPlan};
use super::takers::Takers;
use super::tally::Tally;
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
    /// The pipelines that share it, by their numbers.
    pub pipelines: Vec<PipelinePlan>,
    /// What stays of request segments that are done with.
    pub past: PastPlan,
}

/// A pipeline that logs.
#[derive(Debug, Clone)]
pub struct PipelinePlan {
    /// Its name; none where it is the only one.
    pub name: String,
    /// Verdicts remembered over a restart.
    pub verdicts_max: usize,
}

/// A stream of a lane.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum LaneStream {
    /// Requests.
    Requests,
    /// The journal of a pipeline.
    Journal(usize),
}

impl LaneStream {
    /// The streams of a lane with so many pipelines.
    pub fn all(pipelines: usize) -> impl Iterator<Item = Self> {
        std::iter::once(Self::Requests).chain((0..pipelines).map(Self::Journal))
    }

    /// What its segments hold.
    #[must_use]
    pub const fn kind(self) -> SegmentKind {
        match self {
            Self::Requests => SegmentKind::Requests,
            Self::Journal(_) => SegmentKind::Journal,
        }
    }

    /// Its place among all.
    #[must_use]
    pub const fn place(self) -> usize {
        match self {
            Self::Requests => 0,
            Self::Journal(pipeline) => 1 + pipeline,
        }
    }
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
    /// The pipelines that take it.
    pub takers: Takers,
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
    /// How many there are.
    pub units: u32,
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
    takers: Takers,
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
    /// Where it is, as in `Segment::home`.
    pub home: usize,
    /// What becomes of it.
    pub end: End,
}

/// What becomes of a file that is not needed any more.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum End {
    /// It is removed, or used again.
    Free,
    /// It gets the name of a past segment.
    Past,
    /// It had such a name, and is removed or used again.
    FreePast,
}

/// The log of one core. `P` is what its host wants back with each request once its level is reached.
#[derive(Debug)]
pub struct Lane<P> {
    plan: LanePlan,
    requests: Stream,
    /// In the order of their positions; bounded by the senders that wait.
    staged: VecDeque<Staged<P>>,
    lost_up_to: u64,
    /// By pipeline.
    journals: Vec<Journal>,
    /// The books of the request segments.
    pub segments: Segments,
    /// Those that are done with and stay for a while.
    pub past: Past,
    /// Request segments that were closed with nothing in them.
    blank: Vec<u64>,
}

impl<P> Lane<P> {
    /// An empty log.
    #[must_use]
    pub fn new(plan: LanePlan) -> Self {
        let pipelines = &plan.pipelines;
        // All streams of all cores draw from one sequence of numbers.
        let of_core = 1 + pipelines.len() as u64;
        let stream = |place: LaneStream, segment_bytes, buffer_bytes_max, pipelines| StreamPlan {
            kind: place.kind(),
            lane: plan.core,
            segment_bytes,
            begins_small: plan.begins_small,
            buffer_bytes_max,
            first_number: plan.first_number + of_core * u64::from(plan.core) + place.place() as u64,
            number_stride: of_core * u64::from(plan.cores.max(1)),
            nonce_seed: plan.nonce_seed,
            pipelines,
        };
        // Five parts are for requests, one for the journals' records, two for verdicts that are not yet such.
        let part = plan.buffer_bytes_max / 8;
        let names = pipelines.iter().map(|pipeline| pipeline.name.clone()).filter(|name| !name.is_empty());
        let requests = stream(LaneStream::Requests, plan.segment_bytes, part * 5, names.collect());
        let part = part / pipelines.len().max(1);
        let journals = pipelines.iter().enumerate().map(|(number, pipeline)| {
            let stream = stream(LaneStream::Journal(number), plan.journal_segment_bytes, part, Vec::new());
            Journal::new(number, stream, plan.journal_segments_max, pipeline.verdicts_max, part * 2)
        });
        let mut segments = Segments::new(plan.core, pipelines.len());
        // All of it is said again in each segment of the journal, beside what is resolved.
        segments.bound_done(usize::try_from(plan.journal_segment_bytes / 4).unwrap_or(usize::MAX));
        let past = Past::new(plan.past);
        if past.is_on() {
            segments.filter_all();
        }
        Self {
            requests: Stream::new(requests),
            journals: journals.collect(),
            segments,
            past,
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
                let NewRequest { units, takers, .. } = *request;
                self.staged.push_back(Staged { position, origin, units, takers, sync, payload });
                Ok(())
            }
            Err(error) => Err((error, payload)),
        }
    }

    /// Whether a request of so many bytes finds room, if the disk keeps up: in what is there or in a segment to come.
    #[must_use]
    pub fn has_room(&self, body_bytes: usize) -> bool {
        !self.is_full() || self.requests.has_room(request_bytes(body_bytes, Takers::NONE))
    }

    fn place(&mut self, request: &NewRequest<'_>, sync: bool) -> Result<(u64, Origin), AppendError> {
        let NewRequest { signal, encoding, format, body, units, takers, arrived_unix_nano } = *request;
        // Short for all that the header of the segment names.
        let written = if takers.are_all_of(self.plan.pipelines.len()) { Takers::ALL } else { takers };
        let segments = &self.segments;
        let bytes = request_bytes(body.len(), written);
        // The segment is only known once the stream has chosen it, and the first unit follows from the segment.
        let number = self.requests.segment_to_take(bytes)?;
        let first_unit = segments.next_unit(number, units).ok_or(AppendError::TooLarge)?;
        let record = Request { arrived_unix_nano, first_unit, units, signal, encoding, format, takers: written, body };
        let put = |flush: &mut Flush, nonce, sequence| hold_request(flush, nonce, sequence, &record, body);
        let appended = self.requests.append_held(bytes, sync, put)?;
        let file = (number, self.requests.segment_bytes());
        let placed = self.segments.appended(file, appended.flush_offset, units, takers, arrived_unix_nano);
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
        let Staged { origin, units, takers, payload, .. } = self.staged.pop_front()?;
        let pipelines = (0..self.plan.pipelines.len()).filter(|pipeline| is_lost && takers.has(*pipeline));
        for pipeline in pipelines {
            self.refuse(pipeline, origin, 0..units);
        }
        Some(Committed { payload, origin, units, is_accepted: !is_lost })
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

    /// The pipelines of this run that took a request which was logged for `logged`, in a segment of that home whose header
    /// names these; it has no names in the log of a single one.
    #[must_use]
    pub fn takers(&self, home: usize, names: &[String], logged: Takers) -> Takers {
        let own = |pipeline: usize| home == 0 || home == pipeline + 1;
        let took = |(pipeline, plan): &(usize, &PipelinePlan)| {
            let is_alone = names.is_empty() && (home > 0 || self.plan.pipelines.len() == 1);
            let place = names.iter().position(|name| *name == plan.name);
            own(*pipeline) && (is_alone || place.is_some_and(|place| logged.has(place)))
        };
        let takers = self.plan.pipelines.iter().enumerate().filter(took);
        takers.map(|(pipeline, _)| Takers::of(pipeline)).fold(Takers::NONE, Takers::with)
    }

    /// Most bytes of request segments in use.
    #[must_use]
    pub fn requests_bytes_max(&self) -> u64 {
        self.plan.requests_bytes_max
    }

    /// Verdicts of a pipeline that are remembered over a restart.
    #[must_use]
    pub fn verdicts_max(&self, pipeline: usize) -> usize {
        self.plan.pipelines[pipeline].verdicts_max
    }

    /// How many pipelines share it.
    #[must_use]
    pub fn pipelines(&self) -> usize {
        self.plan.pipelines.len()
    }

    /// The stream of requests, to be driven.
    pub fn requests(&mut self) -> &mut Stream {
        &mut self.requests
    }

    /// The journal of a pipeline.
    pub fn journal(&mut self, pipeline: usize) -> &mut Journal {
        &mut self.journals[pipeline]
    }

    /// One of its streams.
    pub fn stream(&mut self, stream: LaneStream) -> &mut Stream {
        match stream {
            LaneStream::Requests => &mut self.requests,
            LaneStream::Journal(pipeline) => self.journals[pipeline].stream(),
        }
    }

    /// True when the budget allows no further segment.
    #[must_use]
    pub fn is_full(&self) -> bool {
        self.segments.bytes() + self.requests.ahead_bytes() + self.plan.segment_bytes > self.plan.requests_bytes_max
    }

    /// A pipeline is done with a unit of this core's segments.
    #[inline]
    pub fn resolve(&mut self, pipeline: usize, unit: Unit) {
        self.segments.resolve(pipeline, unit);
    }

    /// A logged request will not be accepted by a pipeline that takes it: the disk failed under it, or some of its units were
    /// refused.
    pub fn refuse(&mut self, pipeline: usize, origin: Origin, units: impl Iterator<Item = u32>) {
        for position in units {
            self.resolve(pipeline, origin.unit(position));
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
        // The room for the next segment is there before it is asked for.
        let taken = self.segments.bytes() + self.requests.ahead_bytes() + self.plan.segment_bytes;
        self.past.make_room(self.plan.requests_bytes_max.saturating_sub(taken));
        self.journals.iter_mut().for_each(Journal::progress);
        if let Some(positions) = self.journals.first_mut().and_then(Journal::durable_tally) {
            self.segments.counted_is_durable(positions);
        }
    }

    /// From now on what is logged is counted: its host gives a tally, at once and whenever that has changed.
    pub fn count_all(&mut self) {
        self.segments.count_all();
        if let Some(journal) = self.journals.first_mut() {
            journal.want_tally();
        }
    }

    /// All of a request is counted that was taken from `take_committed`, or it was refused. Requests are to be counted in the
    /// order in which they come from there.
    pub fn count(&mut self, origin: Origin, units: u32) {
        self.segments.count(origin.segment, origin.first_unit.saturating_add(units));
    }

    /// What is counted so far and not yet given on: the journal of the first pipeline says it with its next flush. Returns its
    /// number, which `tally_durable` comes to.
    pub fn give_tally(&mut self, tally: Tally) -> u64 {
        let positions = self.segments.take_counted();
        self.journals.first_mut().map_or(0, |journal| journal.give_tally(tally, positions))
    }

    /// The number of the latest tally that is durable; 0 for none.
    #[must_use]
    pub fn tally_durable(&self) -> u64 {
        self.journals.first().map_or(0, Journal::tally_durable)
    }

    /// Largest state of a tally: its record must fit a segment of the journal, beside what the segment begins with.
    #[must_use]
    pub fn tally_bytes_max(&self) -> usize {
        usize::try_from(self.plan.journal_segment_bytes / 2).unwrap_or(usize::MAX)
    }

    /// Appends the verdicts and resolutions of a pipeline to its journal.
    pub fn flush_journal(&mut self, pipeline: usize, unix_nano: u64) {
        self.past.expire(unix_nano);
        self.journals[pipeline].flush(unix_nano, &mut self.segments);
    }

    /// Whether everything that a pipeline has noted and resolved is durable in its journal.
    #[must_use]
    pub fn is_journal_idle(&self, pipeline: usize) -> bool {
        let is_counted = pipeline > 0 || self.segments.is_all_given();
        self.journals[pipeline].is_idle() && !self.segments.has_changed(pipeline) && is_counted
    }

    /// A file that was not needed any more is gone, or has another name; where it was to be past, `is_there` says which.
    pub fn retired(&mut self, retired: &Retired, is_there: bool) {
        let Retired { kind, number, home, end } = *retired;
        if kind == SegmentKind::Requests && home == 0 && end != End::FreePast {
            self.segments.left(number);
        }
        if end == End::Past {
            self.past.entered(number, home, is_there);
        }
    }

    /// Files that are not needed any more. The host says when each is gone.
    pub fn take_retired(&mut self) -> Vec<Retired> {
        let requests = |number, home, end| Retired { kind: SegmentKind::Requests, number, home, end };
        let mut retired = Vec::new();
        for segment in self.segments.take_freed() {
            let Segment { number, home, bytes, steps, filter, .. } = segment;
            // What a pipeline had of requests before it shared a log is in a directory that nobody looks back into.
            let stays = self.past.is_on() && home == 0 && segment.units > 0;
            retired.push(requests(number, home, if stays { End::Past } else { End::Free }));
            if stays {
                self.past.enter(PastSegment::of(number, home, bytes, steps, filter));
            }
        }
        let blank = self.blank.drain(..).chain(self.requests.take_unused());
        retired.extend(blank.map(|number| requests(number, 0, End::Free)));
        let given_up = self.past.take_given_up().into_iter();
        retired.extend(given_up.map(|(number, home)| requests(number, home, End::FreePast)));
        let journals = self.journals.iter_mut().flat_map(Journal::take_retired);
        let journals = journals.map(|number| Retired { kind: SegmentKind::Journal, number, home: 0, end: End::Free });
        retired.extend(journals);
        retired
    }
}

#[cfg(test)]
mod tests;
