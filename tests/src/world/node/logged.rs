//! The log of a simulated node: the lanes of its cores, driven as the program drives them, and the disk under them.

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
use tailwater_engine::intake::Scanned;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::log::bitmap::Bitmap;
use tailwater_engine::log::format::{BodyEncoding, BodyFormat, Record, SegmentKind};
use tailwater_engine::log::journal::Recovered;
use tailwater_engine::log::lane::{Lane, LanePlan, NewRequest};
use tailwater_engine::log::read::{Found, Records};
use tailwater_engine::log::segments::Parked;
use tailwater_engine::log::stream::Operation;
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::{Destinations, Judged, KeptUnit, Origin, SegmentHandle, SpanBatch, TraceId, Unit};
use tailwater_proto::otlp::Signal;

/// The streams of a core.
pub const KINDS: [SegmentKind; 2] = [SegmentKind::Requests, SegmentKind::Journal];

/// How long things take, microseconds: an operation of the disk, to the next flush, to the reading of what is parked.
const DISK_US: Range<u64> = 100..60_000;
pub(super) const FLUSH_US: Range<u64> = 5_000..200_000;
const RECALL_US: Range<u64> = 5_000..300_000;

/// The log of a node.
#[derive(Default)]
pub(super) struct Log {
    pub(super) disk: Disk,
    pub(super) old_journals: Vec<FileKey>,
    /// What journals of the last run say, and its segments that are still to be read.
    pub(super) recovered: Recovered,
    pub(super) to_replay: Vec<FileKey>,
    /// The traces of units that are not resolved, and of some that were.
    units: BTreeMap<(u32, u32), TraceId>,
}

impl Log {
    pub(super) fn new(faults: Faults) -> Self {
        Self { disk: Disk::new(faults), ..Self::default() }
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

/// The log of a core.
pub(super) struct CoreLog {
    pub(super) lane: Lane<Payload>,
    /// What the disk is at: data of either stream, opening of either stream.
    data: [Option<Operation>; 2],
    opening: [Option<Operation>; 2],
    /// Verdicts noted since the last flush, and flushes whose position is not durable yet.
    pub(super) noted: Vec<(TraceId, Ruled)>,
    flushed: VecDeque<(u64, Vec<(TraceId, Ruled)>)>,
    is_recall_planned: bool,
}

impl CoreLog {
    pub(super) fn new(plan: LanePlan, rules: &Rules) -> Self {
        let mut log = Self {
            lane: Lane::new(plan),
            data: [None, None],
            opening: [None, None],
            noted: Vec::new(),
            flushed: VecDeque::new(),
            is_recall_planned: false,
        };
        log.set_told(rules);
        log
    }

    pub(super) fn set_told(&mut self, rules: &Rules) {
        self.lane.journal().set_told(rules.policy_names().map(String::from), rules.all_annotations());
    }

    pub(super) fn note(&mut self, judged: &Judged, ruled: Ruled) {
        self.noted.push((judged.trace_id, ruled));
        self.lane.journal().judged(judged);
    }

    pub(super) fn resolve(&mut self, unit: Unit) {
        self.lane.journal().resolve(unit);
    }

    /// Operations that a crash finds on their way.
    pub(super) fn in_flight(&self) -> impl Iterator<Item = (SegmentKind, Operation)> {
        let data = KINDS.into_iter().zip(&self.data);
        data.filter_map(|(kind, operation)| operation.clone().map(|operation| (kind, operation)))
    }
}

impl Node {
    /// Whether the last run's segments are still being read: nothing is accepted or judged meanwhile.
    pub(super) fn is_starting(&self) -> bool {
        self.log.as_ref().is_some_and(|log| !log.to_replay.is_empty())
    }

    pub(super) fn is_log_done(&self) -> bool {
        let is_idle = |core: &Core| {
            let log = core.log.as_ref();
            log.is_none_or(|log| {
                log.lane.staged() == 0 && log.lane.segments.iter().all(|segment| segment.unresolved() == 0)
            })
        };
        !self.is_starting() && self.cores.iter().all(is_idle)
    }

    pub(super) fn trace_of(&self, unit: Unit) -> TraceId {
        self.log.as_ref().expect("what is recalled is in a log").units[&(unit.segment.number(), unit.number)]
    }

    fn lane(&mut self, number: usize) -> &mut CoreLog {
        self.cores[number].log.as_mut().expect("the node has a log")
    }

    pub(super) fn append(
        &mut self,
        number: usize,
        body: &Bytes,
        scanned: Scanned,
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
            units: scanned.units(),
            arrived_unix_nano: self.now.0,
        };
        let payload = Payload { scanned, spans, arrived: self.now, is_synced };
        if let Err((_, payload)) = self.lane(number).lane.append(&request, is_synced, payload) {
            self.senders.come_back(payload.spans);
        }
        self.follow(number, around);
    }

    pub(super) fn resolve_all(&mut self, number: usize, units: &[Unit]) {
        units.iter().for_each(|unit| self.lane(number).lane.resolve(*unit));
    }

    pub(super) fn park(&mut self, from: usize, kept: KeptUnit, around: &mut Around<'_>) {
        let owner = usize::from(kept.unit.segment.core());
        if owner != from {
            return self.link_to(from, owner, Message::Parked(vec![kept]), around);
        }
        let log = self.lane(owner);
        log.lane.segments.park(kept, Destinations::ALL);
        if !std::mem::replace(&mut log.is_recall_planned, true) {
            self.plan(RECALL_US, What::Recall(owner), around);
        }
    }

    pub(super) fn flush_journal(&mut self, number: usize, around: &mut Around<'_>) {
        self.plan(FLUSH_US, What::Flush(number), around);
        let now = self.now.0;
        let log = self.lane(number);
        log.lane.journal().stream().want_sync();
        log.lane.flush_journal(now);
        let noted = std::mem::take(&mut log.noted);
        log.flushed.push_back((log.lane.journal().stream().position(), noted));
        log.lane.requests().want_sync();
        self.follow(number, around);
        let is_idle = |core: &mut Core| core.log.as_ref().is_some_and(|log| log.lane.is_journal_idle());
        if self.is_starting() || !self.cores.iter_mut().all(is_idle) {
            return;
        }
        if let Some(log) = &mut self.log {
            for key in std::mem::take(&mut log.old_journals) {
                log.disk.retire(key);
            }
        }
        // Nothing is on its way: what was delivered is known to the log and must never be delivered again.
        if around.network.is_silent(self.number) {
            self.seen.push(Seen::AtRest);
        }
    }

    /// What the disk was asked for is done, well or not.
    pub(super) fn disk_is_done(&mut self, number: usize, place: usize, is_opening: bool, around: &mut Around<'_>) {
        let (kind, is_calm) = (KINDS[place], self.is_calm());
        let (Some(node), Some(core)) = (&mut self.log, &mut self.cores[number].log) else { return };
        let slots = if is_opening { &mut core.opening } else { &mut core.data };
        let operation = slots[place].take().expect("it was asked for");
        let is_good = node.disk.apply(kind, &operation, &mut self.random);
        let stream = core.lane.stream(kind);
        match operation {
            Operation::Open { .. } => stream.opened(is_good),
            Operation::Write { bytes, .. } => stream.wrote(bytes, is_good),
            Operation::Sync { .. } => stream.synced_now(is_good),
        }
        if !is_good && !is_opening {
            self.seen.push(Seen::DiskFailed);
        }
        if !is_good && is_opening && is_calm {
            // Space returns in the end.
            node.disk.faults.bytes_max = u64::MAX;
        }
        self.follow(number, around);
    }

    /// Does what follows from the progress of a core's log.
    pub(super) fn follow(&mut self, number: usize, around: &mut Around<'_>) {
        let (Some(node), Some(core)) = (&mut self.log, &mut self.cores[number].log) else { return };
        core.lane.progress();
        let synced = core.lane.journal().stream().synced();
        // What a failed segment took is logged again behind it, so that a flush is durable once nothing waits any more.
        let is_all = core.lane.journal().is_idle();
        while core.flushed.front().is_some_and(|(position, _)| is_all && *position <= synced) {
            let durable = core.flushed.pop_front().unwrap().1;
            self.seen.extend(durable.into_iter().map(|(trace, ruled)| Seen::Durable(trace, ruled)));
        }
        for retired in core.lane.take_retired() {
            node.disk.retire((retired.kind, retired.number));
        }
        let said = core.lane.journal().take_said();
        let released = core.lane.journal().take_released();
        self.send_told(said, around);
        for unit in released {
            let owner = usize::from(unit.segment.core());
            if owner == number {
                self.lane(number).lane.resolve(unit);
            } else {
                self.link_to(number, owner, Message::Resolved(vec![unit]), around);
            }
        }
        while let Some(committed) = self.lane(number).lane.take_committed() {
            let Payload { scanned, spans, arrived, is_synced } = committed.payload;
            if !committed.is_accepted {
                self.seen.push(Seen::SentAgain(spans.clone()));
                self.senders.come_back(spans);
                continue;
            }
            self.seen.push(Seen::Acknowledged { spans, is_synced });
            self.admit(number, scanned, committed.origin, arrived, around);
        }
        self.drive(number, around);
    }

    /// Gives the disk what the streams want of it.
    fn drive(&mut self, number: usize, around: &mut Around<'_>) {
        for (place, kind) in KINDS.into_iter().enumerate() {
            let now = self.now.0;
            let CoreLog { lane, data, opening, .. } = self.lane(number);
            let mut begun = Vec::new();
            if opening[place].is_none() {
                opening[place] = lane.stream(kind).poll_open(now);
                begun.extend(opening[place].is_some().then_some(true));
            }
            if data[place].is_none() {
                data[place] = lane.stream(kind).poll();
                begun.extend(data[place].is_some().then_some(false));
            }
            for is_opening in begun {
                self.plan(DISK_US, What::Disk { core: number, place, is_opening }, around);
            }
        }
    }

    /// Reads what waits in a core's log again.
    pub(super) fn recall(&mut self, number: usize, around: &mut Around<'_>) {
        if self.is_starting() {
            return self.plan(RECALL_US, What::Recall(number), around);
        }
        let log = self.lane(number);
        log.is_recall_planned = false;
        let Some((handle, parked)) = log.lane.segments.take_parked(|_| true) else { return };
        if log.lane.segments.has_parked(|_| true) {
            log.is_recall_planned = true;
            self.plan(RECALL_US, What::Recall(number), around);
        }
        self.read_again(number, handle, &parked);
        let in_force = self.cores[number].shard.rules().generation();
        self.gather(number, in_force, around);
        self.follow(number, around);
    }

    fn read_again(&mut self, number: usize, handle: SegmentHandle, parked: &Parked) {
        let Core { shard, outbox, log: Some(log), .. } = &mut self.cores[number] else { return };
        let segment = log.lane.segments.get(handle.slot()).unwrap();
        let from = segment.offset_before(parked.next(0).unwrap_or(0));
        let disk = &self.log.as_ref().expect("the node has a log").disk;
        let file = disk.read((SegmentKind::Requests, segment.number)).expect("its file is there");
        let (mut found, mut seen) = (0, Bitmap::default());
        for record in Records::open(&file).expect("its header is good").1 {
            let Found::Record { offset, record: Record::Request(request), .. } = record else { continue };
            let mark_of = |position: u32| parked.mark(request.first_unit + position);
            (0..request.units).for_each(|position| _ = seen.set(request.first_unit + position));
            if (0..request.units).any(|position| mark_of(position).is_some()) {
                assert!(offset >= from, "the index points before the first wanted record");
                let mut scanned = shard.scan_again(&Bytes::copy_from_slice(request.body)).unwrap();
                scanned.place(Origin { segment: handle, first_unit: request.first_unit }, self.now);
                for (_, batch) in &scanned.batches {
                    found += shard.export_again(self.now, batch, mark_of, Destinations::ALL, outbox);
                }
            }
        }
        let missing = u64::from(parked.count()) - found;
        if missing > 0 {
            self.seen.push(Seen::Unreadable);
            shard.drop_parked(Signal::Traces, missing, DropReason::WalUnreadable);
            let mut from = 0;
            while let Some(unit) = parked.next(from) {
                from = unit + 1;
                if !seen.has(unit) {
                    log.resolve(Unit { segment: handle, number: unit });
                }
            }
        }
    }
}
