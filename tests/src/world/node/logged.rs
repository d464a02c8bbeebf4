//! The log of a simulated node: the lanes of its executors, driven as the program drives them, and the disk under them.

use super::super::events::What;
use super::super::network::Message;
use super::super::seen::Seen;
use super::super::senders::Sent;
use super::super::verdict::Ruled;
use super::{Around, Core, Node, Payload};
use crate::disk::{Disk, Faults, FileKey};
use bytes::Bytes;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use tailwater_engine::intake::Scanned;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::books::Parked;
use tailwater_engine::log::format::{BodyEncoding, BodyFormat, Record, SegmentKind};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::lane::{End, Lane, LanePlan, LaneStream, NewRequest, Retired};
use tailwater_engine::log::read::{Found, Records};
use tailwater_engine::log::stream::Operation;
use tailwater_engine::log::takers::Takers;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::{Destinations, Judged, KeptUnit, Origin, SegmentHandle, SpanBatch, TraceId, Unit};
use tailwater_proto::otlp::Signal;

/// How long things take, microseconds: an operation of the disk, to the next flush, to the reading of what is parked.
const DISK_US: Range<u64> = 100..60_000;
pub(super) const FLUSH_US: Range<u64> = 5_000..200_000;
/// So many times, on the average, a log gets further until files of freed segments are gone where they linger.
const LINGER_FOLLOWS: u8 = 50;
const RECALL_US: Range<u64> = 5_000..300_000;

/// The log of a node.
#[derive(Default)]
pub(super) struct Log {
    pub(super) disk: Disk,
    pub(super) old_journals: Vec<FileKey>,
    /// Whose journals these are, by their numbers: what directories tell.
    pub(super) journals: BTreeMap<u64, usize>,
    /// By pipeline what journals of the last run say, and its segments that are still to be read.
    pub(super) recovered: Vec<Recovered>,
    pub(super) to_replay: Vec<FileKey>,
    /// The traces of units that are not resolved, and of some that were.
    units: BTreeMap<(u32, u32), TraceId>,
    /// Files of freed segments stay for a while.
    do_files_linger: bool,
}

impl Log {
    pub(super) fn new(faults: Faults, do_files_linger: bool) -> Self {
        Self { disk: Disk::new(faults), do_files_linger, ..Self::default() }
    }

    pub(super) fn syncs(&self) -> u64 {
        self.disk.syncs
    }

    /// Notes whose units these are.
    pub(super) fn note_units(&mut self, batch: &SpanBatch) {
        for record in &batch.spans {
            let Unit { segment, number } = batch.origin.unit(record.position);
            self.units.insert((segment.number(), number), record.trace_id);
        }
    }
}

/// What a core has noted in its journal.
#[derive(Default)]
pub(super) struct Noted {
    /// Verdicts noted since the last flush, and flushes whose position is not durable yet.
    pub(super) verdicts: Vec<(TraceId, Ruled)>,
    flushed: VecDeque<(u64, Vec<(TraceId, Ruled)>)>,
    is_recall_planned: bool,
}

impl Noted {
    pub(super) fn note(&mut self, judged: &Judged, ruled: Ruled) {
        self.verdicts.push((judged.trace_id, ruled));
    }
}

/// The segments of an executor's log.
pub struct Beside {
    /// What those in use and the next one leave of its bound.
    pub room: u64,
    /// The numbers of those in use.
    pub in_use: Vec<u64>,
    /// The numbers of those that are done with and stay, with their bytes.
    pub past: Vec<(u64, u64)>,
}

/// The log of an executor.
pub(super) struct CoreLog {
    pub(super) lane: Lane<Payload>,
    streams: Vec<LaneStream>,
    /// What the disk is at, by stream: data, and opening.
    data: Vec<Option<Operation>>,
    opening: Vec<Option<Operation>>,
    /// Freed segments whose files are still there.
    retiring: Vec<Retired>,
}

impl CoreLog {
    pub(super) fn new(plan: LanePlan, rules: &[Arc<Rules>]) -> Self {
        let streams: Vec<LaneStream> = LaneStream::all(plan.pipelines.len()).collect();
        let none = || streams.iter().map(|_| None).collect();
        let mut log = Self { lane: Lane::new(plan), data: none(), opening: none(), streams, retiring: Vec::new() };
        rules.iter().enumerate().for_each(|(pipeline, rules)| log.set_told(pipeline, rules));
        log
    }

    pub(super) fn set_told(&mut self, pipeline: usize, rules: &Rules) {
        self.lane.journal(pipeline).set_told(rules.policy_names().map(String::from), rules.all_annotations());
    }

    /// Operations that a crash finds on their way.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (SegmentKind, Operation)> {
        let data = self.streams.iter().zip(&self.data);
        data.filter_map(|(stream, operation)| operation.clone().map(|operation| (stream.kind(), operation)))
    }
}

impl Node {
    /// Whether the last run's segments are still being read: nothing is accepted or judged meanwhile.
    pub(super) fn is_starting(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.to_replay.is_empty())
    }

    pub(super) fn is_log_done(&self) -> bool {
        let is_idle =
            |log: &CoreLog| log.lane.staged() == 0 && log.lane.segments.iter().all(|segment| segment.unresolved() == 0);
        !self.is_starting() && self.lanes.iter().all(is_idle)
    }

    /// The files of past segments, with their bytes.
    pub fn past_files(&self) -> Vec<(u64, u64)> {
        self.log.as_ref().map_or_else(Vec::new, |log| log.disk.past())
    }

    /// What each executor's log has in use, and what it has besides.
    pub fn beside(&self) -> impl Iterator<Item = Beside> {
        let segment_bytes = self.scenario.lane_plan(0, 1, 1, 0).segment_bytes;
        self.lanes.iter().map(move |log| Beside {
            room: log.lane.requests_bytes_max().saturating_sub(log.lane.segments.bytes() + segment_bytes),
            in_use: log.lane.segments.iter().map(|segment| segment.number).collect(),
            past: log.lane.past.iter().map(|segment| (segment.number, segment.bytes)).collect(),
        })
    }

    pub(super) fn trace_of(&self, unit: Unit) -> TraceId {
        self.log.as_ref().expect("what is recalled is in a log").units[&(unit.segment.number(), unit.number)]
    }

    fn lane(&mut self, executor: usize) -> &mut Lane<Payload> {
        &mut self.lanes[executor].lane
    }

    pub(super) fn append(
        &mut self,
        number: usize,
        body: &Bytes,
        taken: Vec<(usize, Scanned)>,
        spans: Vec<Rc<Sent>>,
        around: &mut Around<'_>,
    ) {
        let written_percent = self.scenario.log.as_ref().map_or(0, |logged| logged.written_percent);
        let is_synced = self.random.u32(0..100) >= written_percent;
        let request = NewRequest {
            signal: Signal::Traces,
            encoding: BodyEncoding::Identity,
            format: BodyFormat::Protobuf,
            body,
            units: taken[0].1.units(),
            takers: taken.iter().fold(Takers::NONE, |takers, (pipeline, _)| takers.with(Takers::of(*pipeline))),
            arrived_unix_nano: self.now.0,
        };
        let payload = Payload { taken, spans, arrived: self.now, is_synced };
        if let Err((_, payload)) = self.lane(number).append(&request, is_synced, payload) {
            self.senders.come_back(payload.spans);
        }
        self.follow(number, around);
    }

    pub(super) fn resolve_all(&mut self, number: usize, units: &[Unit]) {
        let (pipeline, executor) = self.seat(number);
        units.iter().for_each(|unit| self.lane(executor).resolve(pipeline, *unit));
    }

    pub(super) fn park(&mut self, from: usize, kept: KeptUnit, around: &mut Around<'_>) {
        let (pipeline, executor) = self.seat(from);
        let owner = self.place(pipeline, usize::from(kept.unit.segment.core()));
        if owner != from {
            return self.link_to(from, owner, Message::Parked(vec![kept]), around);
        }
        self.lane(executor).segments.park(pipeline, kept, Destinations::ALL);
        if !std::mem::replace(&mut self.cores[owner].noted.is_recall_planned, true) {
            self.plan(RECALL_US, What::Recall(owner), around);
        }
    }

    pub(super) fn flush_journal(&mut self, number: usize, around: &mut Around<'_>) {
        self.plan(FLUSH_US, What::Flush(number), around);
        self.before_flush(number, around);
        let now = self.now.0;
        let (pipeline, executor) = self.seat(number);
        let lane = self.lane(executor);
        lane.journal(pipeline).stream().want_sync();
        lane.flush_journal(pipeline, now);
        let position = lane.journal(pipeline).stream().position();
        lane.requests().want_sync();
        let noted = &mut self.cores[number].noted;
        noted.flushed.push_back((position, std::mem::take(&mut noted.verdicts)));
        self.follow(executor, around);
        let pipelines = self.scenario.pipelines;
        let is_idle = |log: &CoreLog| {
            log.retiring.is_empty() && (0..pipelines).all(|pipeline| log.lane.is_journal_idle(pipeline))
        };
        if self.is_starting() || !self.lanes.iter().all(is_idle) {
            return;
        }
        if let Some(log) = &mut self.log {
            for key in std::mem::take(&mut log.old_journals) {
                log.disk.retire(key);
            }
        }
        // Nothing is on its way: what was delivered is known to the log and must never be delivered again.
        if around.network.is_silent(self.number) {
            self.see_all(|| Seen::AtRest);
        }
    }

    /// What the disk was asked for is done, well or not.
    pub(super) fn disk_is_done(&mut self, number: usize, place: usize, is_opening: bool, around: &mut Around<'_>) {
        let is_calm = self.is_calm();
        let (Some(node), Some(core)) = (&mut self.log, self.lanes.get_mut(number)) else { return };
        let stream = core.streams[place];
        let kind = stream.kind();
        let slots = if is_opening { &mut core.opening } else { &mut core.data };
        let operation = slots[place].take().expect("it was asked for");
        let is_good = node.disk.apply(kind, &operation, &mut self.random);
        if let (LaneStream::Journal(pipeline), Operation::Open { number, .. }) = (stream, &operation) {
            node.journals.insert(*number, pipeline);
        }
        let stream = core.lane.stream(stream);
        match operation {
            Operation::Open { .. } => stream.opened(is_good),
            Operation::Write { bytes, .. } => stream.wrote(bytes, is_good),
            Operation::Sync { .. } => stream.synced_now(is_good),
        }
        // What is done with goes before the disk is called full, as the program does it.
        let gave_up = !is_good && is_opening && core.lane.past.clear();
        if !is_good && !is_opening {
            self.see_all(|| Seen::DiskFailed);
        }
        if let Some(node) = self.log.as_mut().filter(|_| !is_good && is_opening && is_calm && !gave_up) {
            // Space returns in the end.
            node.disk.faults.bytes_max = u64::MAX;
        }
        self.follow(number, around);
    }

    /// Files of freed segments go, at once or after some time.
    fn retire_files(&mut self, executor: usize) {
        let may_linger = !self.is_calm() && self.random.u8(0..LINGER_FOLLOWS) > 0;
        let (Some(node), Some(log)) = (&mut self.log, self.lanes.get_mut(executor)) else { return };
        log.retiring.append(&mut log.lane.take_retired());
        if may_linger && node.do_files_linger {
            return;
        }
        for retired in log.retiring.drain(..) {
            let key = (retired.kind, retired.number);
            match retired.end {
                End::Free => node.disk.retire(key),
                End::Past => node.disk.make_past(retired.number),
                End::FreePast => node.disk.retire_past(retired.number),
            }
            log.lane.retired(&retired, true);
        }
    }

    /// Does what follows from the progress of an executor's log.
    pub(super) fn follow(&mut self, executor: usize, around: &mut Around<'_>) {
        let Some(CoreLog { lane, .. }) = self.lanes.get_mut(executor) else { return };
        lane.progress();
        for pipeline in 0..self.scenario.pipelines {
            self.follow_journal(self.place(pipeline, executor), around);
        }
        // What was the last of a segment is said nowhere but by the segment's end.
        self.retire_files(executor);
        while let Some(committed) = self.lane(executor).take_committed() {
            let Payload { taken, spans, arrived, is_synced } = committed.payload;
            self.lane(executor).count(committed.origin, committed.units);
            if !committed.is_accepted {
                self.see_all(|| Seen::SentAgain(spans.clone()));
                self.senders.come_back(spans);
                continue;
            }
            self.see_all(|| Seen::Answered { spans: spans.clone(), is_synced });
            self.count_spans(executor, spans.iter().map(|sent| sent.id));
            for (pipeline, scanned) in taken {
                let place = self.place(pipeline, executor);
                self.see(place, Seen::Acknowledged { spans: spans.clone(), is_synced });
                self.admit(place, scanned, committed.origin, arrived, around);
            }
        }
        self.follow_tally(executor, around);
        self.drive(executor, around);
    }

    fn follow_journal(&mut self, number: usize, around: &mut Around<'_>) {
        let (pipeline, executor) = self.seat(number);
        let journal = self.lanes[executor].lane.journal(pipeline);
        let synced = journal.stream().synced();
        // What a failed segment took is logged again behind it, so that a flush is durable once nothing waits any more.
        let is_all = journal.is_idle();
        let (released, said) = (journal.take_released(), journal.take_said());
        let flushed = &mut self.cores[number].noted.flushed;
        while flushed.front().is_some_and(|(position, _)| is_all && *position <= synced) {
            let durable = flushed.pop_front().unwrap().1;
            self.seen.extend(durable.into_iter().map(|(trace, ruled)| (pipeline, Seen::Durable(trace, ruled))));
        }
        self.send_told(said, around);
        for unit in released {
            let owner = self.place(pipeline, usize::from(unit.segment.core()));
            if owner == number {
                self.lane(executor).resolve(pipeline, unit);
            } else {
                self.link_to(number, owner, Message::Resolved(vec![unit]), around);
            }
        }
    }

    /// Gives the disk what the streams want of it.
    fn drive(&mut self, executor: usize, around: &mut Around<'_>) {
        for place in 0..self.lanes[executor].streams.len() {
            let now = self.now.0;
            let CoreLog { lane, streams, data, opening, .. } = &mut self.lanes[executor];
            let mut begun = Vec::new();
            if opening[place].is_none() {
                opening[place] = lane.stream(streams[place]).poll_open(now);
                begun.extend(opening[place].is_some().then_some(true));
            }
            if data[place].is_none() {
                data[place] = lane.stream(streams[place]).poll();
                begun.extend(data[place].is_some().then_some(false));
            }
            for is_opening in begun {
                self.plan(DISK_US, What::Disk { core: executor, place, is_opening }, around);
            }
        }
    }

    /// Reads what waits in a core's log again.
    pub(super) fn recall(&mut self, number: usize, around: &mut Around<'_>) {
        if self.is_starting() {
            return self.plan(RECALL_US, What::Recall(number), around);
        }
        let (pipeline, executor) = self.seat(number);
        self.cores[number].noted.is_recall_planned = false;
        let Some((handle, parked)) = self.lane(executor).segments.take_parked(pipeline, |_| true) else { return };
        if self.lane(executor).segments.has_parked(pipeline, |_| true) {
            self.cores[number].noted.is_recall_planned = true;
            self.plan(RECALL_US, What::Recall(number), around);
        }
        self.read_again(number, handle, &parked);
        let in_force = self.cores[number].shard.rules().generation();
        self.gather(number, in_force, around);
        self.follow(executor, around);
    }

    fn read_again(&mut self, number: usize, handle: SegmentHandle, parked: &Parked) {
        let (pipeline, executor) = self.seat(number);
        let (Core { shard, outbox, .. }, lane) = (&mut self.cores[number], &mut self.lanes[executor].lane);
        let segment = lane.segments.get(handle.slot()).unwrap();
        let from = segment.steps.offset_before(parked.next(0).unwrap_or(0));
        let disk = &self.log.as_ref().expect("the node has a log").disk;
        let file = disk.read((SegmentKind::Requests, segment.number)).expect("its file is there");
        let (mut found, mut seen) = (0, Bitmap::default());
        for record in Records::open(&file).expect("its header is good").1 {
            let Found::Record { offset, record: Record::Request(request), .. } = record else { continue };
            let mark_of = |position: u32| parked.mark(request.first_unit + position);
            (0..request.units).for_each(|position| _ = seen.set(request.first_unit + position));
            if (0..request.units).any(|position| mark_of(position).is_some()) {
                assert!(offset >= from, "the index points before the first wanted record");
                assert!(request.takers.has(pipeline), "a pipeline has what it takes");
                let mut scanned = shard.scan_again(&Bytes::copy_from_slice(request.body)).unwrap();
                scanned.place(Origin { segment: handle, first_unit: request.first_unit }, self.now);
                for (_, batch) in &scanned.batches {
                    found += shard.export_again(self.now, batch, mark_of, Destinations::ALL, outbox);
                }
            }
        }
        let missing = u64::from(parked.count()) - found;
        if missing > 0 {
            self.seen.push((pipeline, Seen::Unreadable));
            shard.drop_parked(Signal::Traces, missing, DropReason::WalUnreadable);
            let mut from = 0;
            while let Some(unit) = parked.next(from) {
                from = unit + 1;
                if !seen.has(unit) {
                    lane.journal(pipeline).resolve(Unit { segment: handle, number: unit });
                }
            }
        }
    }
}
