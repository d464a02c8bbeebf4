//! Reads from the log again what waits only there: kept spans whose bytes were given up in memory, and what an exporter
//! could not take. Goes from the oldest segment on, as fast as the exporters take it.

use super::log::{CoreLog, count};
use super::{Core, Settings};
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_connectors::otlp::port::{Format, Refusal};
use tailwater_engine::intake::Passing;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::log::books::Parked;
use tailwater_engine::log::format::{BLOCK_BYTES, BodyEncoding, BodyFormat, Record, Request, SegmentHeader};
use tailwater_engine::log::read::pieces::{Place, pass_damage, place};
use tailwater_engine::log::segments::Segment;
use tailwater_engine::vocabulary::{Destinations, Origin, SegmentHandle, SpanMark};
use tailwater_net::compression::{Encoding, inflated_bytes_max};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::steady_unix_nanos;
use tailwater_runtime::executor::{sleep, yield_now};
use tailwater_runtime::files::File;

/// How often it looks for something to do.
const PAUSE: Duration = Duration::from_millis(20);
/// Bytes read at once; a larger record is read again in whole.
const READ_BYTES: usize = 256 << 10;
/// Room for what is made of a logged request before it is read, as a multiple of its body as it is in the log and inflated: it
/// is rarely more. What is not needed is given back at once.
const MADE_TIMES: usize = 1;

/// What becomes of the parked units of a segment.
#[derive(Debug, Clone, Copy)]
enum Fate {
    Export,
    Drop(DropReason),
}

/// Runs until the node ends.
pub async fn recall(core: Rc<Core>, log: Rc<CoreLog>) {
    let mut reader = BodyReader::new(core.settings.request_bytes_max);
    let pipeline = core.settings.pipeline;
    while !core.ends_recall.get() {
        let dropped = past_retention(&core.settings, &log).or_else(|| in_the_way(&core, &log));
        let (next, fate) = match dropped {
            Some((parked, reason)) => (Some(parked), Fate::Drop(reason)),
            None => {
                let can_take = |destinations| core.outbox.borrow().can_take_back(destinations);
                (log.lane.borrow_mut().segments.take_parked(pipeline, can_take), Fate::Export)
            }
        };
        match next {
            Some((handle, parked)) => {
                core.is_recalling.set(true);
                again(&core, &log, &mut reader, handle, &parked, fate).await;
                core.is_recalling.set(false);
            }
            None => sleep(PAUSE).await,
        }
    }
}

/// What waits in a segment that is older than the retention.
fn past_retention(settings: &Settings, log: &CoreLog) -> Option<((SegmentHandle, Parked), DropReason)> {
    let retention = u64::try_from(settings.retention.as_nanos()).unwrap_or(u64::MAX);
    if retention == 0 {
        return None;
    }
    let oldest = steady_unix_nanos().saturating_sub(retention);
    let mut lane = log.lane.borrow_mut();
    let has_some = |segment: &Segment| segment.of(settings.pipeline).parked() > 0;
    let segment = lane.segments.oldest(|segment| has_some(segment) && segment.steps.first_unix_nano() < oldest)?;
    let taken = lane.segments.take_parked_of(settings.pipeline, segment, |_| true)?;
    Some((taken, DropReason::WalRetention))
}

/// With `decide_early`: what waits in the oldest segment for servers that are not there, while the log is full. Segments
/// with spans that are undecided, or in an exporter's queue, in any pipeline, are passed over: giving up a part of them frees
/// nothing.
fn in_the_way(core: &Core, log: &CoreLog) -> Option<((SegmentHandle, Parked), DropReason)> {
    let mut lane = log.lane.borrow_mut();
    if !core.settings.decides_early || !lane.is_full() {
        return None;
    }
    let segment = lane.segments.oldest_parked(core.settings.pipeline)?;
    let is_hopeless = |destinations| !core.outbox.borrow().will_take_back(destinations);
    let taken = lane.segments.take_parked_of(core.settings.pipeline, segment, is_hopeless)?;
    Some((taken, DropReason::WalFull))
}

/// One pass over the parked units of a segment.
async fn again(
    core: &Rc<Core>,
    log: &Rc<CoreLog>,
    reader: &mut BodyReader,
    handle: SegmentHandle,
    parked: &Parked,
    fate: Fate,
) {
    let Some(file) = log.file(handle) else { return };
    let mut pass = Pass { core, log, handle, parked, fate, done: 0 };
    if let Err(why) = pass.run(&file, reader).await {
        tracing::error!(file = %file.path().display(), why, "a part of the log cannot be read again");
        pass.give_up_from(pass.done);
    }
}

struct Pass<'a> {
    core: &'a Rc<Core>,
    log: &'a Rc<CoreLog>,
    handle: SegmentHandle,
    parked: &'a Parked,
    fate: Fate,
    /// Units below this are done.
    done: u32,
}

impl Pass<'_> {
    async fn run(&mut self, file: &File, reader: &mut BodyReader) -> Result<(), String> {
        let header = file.read_at(0, BLOCK_BYTES).await.map_err(|error| error.to_string())?;
        let header = SegmentHeader::decode(&header).map_err(|error| error.to_string())?;
        let mut at = 0;
        let mut wanted_bytes = READ_BYTES;
        while let Some(unit) = self.parked.next(self.done) {
            let known = self.log.lane.borrow().segments.get(self.handle.slot()).map(|s| s.steps.offset_before(unit));
            at = at.max(known.unwrap_or(0));
            let bytes = file.read_at(at, wanted_bytes).await.map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                return Err(format!("no record of unit {unit}"));
            }
            wanted_bytes = READ_BYTES;
            let passed = self.records(&bytes, at, header.nonce, reader).await;
            at += passed as u64;
            if passed == 0 {
                match place(&bytes, at, header.nonce) {
                    Place::Cut(whole) if at + whole as u64 <= file.bytes() => wanted_bytes = whole,
                    _ => at += pass_damage(&bytes, at, header.nonce) as u64,
                }
            }
            yield_now().await;
        }
        Ok(())
    }

    /// Goes through the whole records in `bytes`, which stand at `from`; returns how many bytes were gone through.
    async fn records(&mut self, bytes: &[u8], from: u64, nonce: u64, reader: &mut BodyReader) -> usize {
        let mut at = 0;
        while self.parked.next(self.done).is_some() {
            match place(bytes.get(at..).unwrap_or_default(), from + at as u64, nonce) {
                Place::Record(framed) => {
                    at += framed.bytes;
                    if let Record::Request(request) = framed.record {
                        self.request(&request, reader).await;
                    }
                }
                Place::Padding(zeros) => at += zeros,
                Place::Cut(_) | Place::Nothing => break,
            }
        }
        at
    }

    async fn request(&mut self, request: &Request<'_>, reader: &mut BodyReader) {
        let end = request.first_unit.saturating_add(request.units);
        let from = self.done.max(request.first_unit);
        let is_wanted = self.parked.next(from).is_some_and(|unit| unit < end);
        if from > request.first_unit {
            return;
        }
        // Units before this record that were not found are not in the log any more.
        self.give_up_until(request.first_unit);
        self.done = end;
        if !is_wanted {
            return;
        }
        if matches!(self.fate, Fate::Export) {
            self.wait_for_room().await;
        }
        let origin = Origin { segment: self.handle, first_unit: request.first_unit };
        let wanted = |position: u32| self.parked.mark(request.first_unit.saturating_add(position));
        let count = (0..request.units).filter(|position| wanted(*position).is_some()).count();
        let Some(body) = self.core.logged_body(reader, request, 1).await else {
            return self.drop_units(request, origin, DropReason::WalUnreadable, None);
        };
        match self.fate {
            Fate::Drop(reason) => self.drop_units(request, origin, reason, Some(&body)),
            Fate::Export => {
                super::log::count(&self.log.counters.recalled, count as u64);
                export(self.core, request, &body, origin, wanted, self.parked.destinations);
            }
        }
    }

    /// Waits until an exporter takes more, or the node ends: then what is read is given to it all the same, and parked
    /// again by it.
    async fn wait_for_room(&self) {
        let destinations = self.parked.destinations;
        let is_waiting = || {
            let outbox = self.core.outbox.borrow();
            let has_hope = !self.core.receivers.is_closed() || outbox.will_take_back(destinations);
            has_hope && !outbox.can_take_back(destinations)
        };
        while is_waiting() {
            sleep(PAUSE).await;
        }
    }

    fn drop_units(&self, request: &Request<'_>, origin: Origin, reason: DropReason, body: Option<&Bytes>) {
        let wanted = |position: &u32| self.parked.mark(origin.first_unit.saturating_add(*position)).is_some();
        let units: Vec<_> = (0..request.units).filter(wanted).map(|position| origin.unit(position)).collect();
        self.core.with_shard(|shard, _, outbox| {
            let passing = body.filter(|_| request.signal != Signal::Traces).and_then(|body| {
                let scanned = shard.scan_request_again(request.signal, body, None).ok()?;
                scanned.again(request.units, |position| wanted(&position))?.passing
            });
            let passing = passing.map(|passing| self.core.without_summarised(passing));
            let items = passing.map_or(units.len() as u64, |passing| u64::from(passing.items));
            shard.drop_parked(request.signal, items, reason);
            outbox.resolve_all(units);
        });
    }

    fn give_up_from(&mut self, from: u32) {
        self.done = from;
        self.give_up_until(u32::MAX);
    }

    /// Units that are not where they should be: damage, told and counted.
    fn give_up_until(&mut self, end: u32) {
        let mut lost = Vec::new();
        while let Some(unit) = self.parked.next(self.done).filter(|unit| *unit < end) {
            lost.push(Origin { segment: self.handle, first_unit: unit }.unit(0));
            self.done = unit + 1;
        }
        if lost.is_empty() {
            return;
        }
        tracing::error!(units = lost.len(), "data that waited in the log is damaged there and lost");
        count(&self.log.counters.failures, 1);
        self.core.with_shard(|shard, _, outbox| {
            // Spans, nearly always: what kind they were is lost with them.
            shard.drop_parked(Signal::Traces, lost.len() as u64, DropReason::WalUnreadable);
            outbox.resolve_all(lost);
        });
    }
}

/// Sends the wanted units of a request to `destinations` again.
fn export(
    core: &Core,
    request: &Request<'_>,
    body: &Bytes,
    origin: Origin,
    mark_of: impl Fn(u32) -> Option<SpanMark>,
    destinations: Destinations,
) {
    core.with_shard(|shard, now, outbox| {
        // It was scanned when it was accepted; limits that were lowered since count as damage would.
        let Ok(scanned) = shard.scan_request_again(request.signal, body, None) else { return };
        let Some(mut scanned) = scanned.again(request.units, |position| mark_of(position).is_some()) else { return };
        scanned.place(origin, now);
        for (_, batch) in &scanned.batches {
            shard.export_again(now, batch, &mark_of, destinations, outbox);
        }
        if let Some(passing) = scanned.passing {
            shard.pass_again(core.without_summarised(passing), origin, destinations, outbox);
        }
    });
}

impl Core {
    /// What waits of a request in the log: where it is one unit as a whole, not what summaries tell of it.
    fn without_summarised(&self, mut passing: Passing) -> Passing {
        if let Some(summaries) = &self.summaries {
            summaries.take_out(&mut passing, false);
        }
        passing
    }

    /// The logged request as protobuf, once there is room for it and for what is made of it, so many times. Others run
    /// meanwhile.
    pub(super) async fn logged_body(
        &self,
        reader: &mut BodyReader,
        request: &Request<'_>,
        times: usize,
    ) -> Option<Bytes> {
        let limit = self.settings.request_bytes_max;
        let (format, encoding, body) = as_it_came(request);
        // One that is malformed is read, and refused, in no room.
        let most = inflated_bytes_max(encoding, &body, limit).unwrap_or(0);
        let most = most.saturating_add(body.len());
        let mut room = self.memory.borrow(most.saturating_mul(1 + MADE_TIMES.saturating_mul(times))).await;
        let read = reader.protobuf_in_slices(request.signal, format, encoding, &body, async || yield_now().await).await;
        let body = told(read)?;
        let scanned = match request.signal {
            Signal::Traces => self.shard.borrow().scanned_bytes(&body),
            Signal::Metrics | Signal::Logs => body.len(),
        };
        room.shrink(most.saturating_add(scanned.saturating_mul(times)));
        Some(room.hold(body))
    }
}

/// The logged request as protobuf, as it was when it was accepted.
pub fn protobuf(reader: &mut BodyReader, request: &Request<'_>) -> Option<Bytes> {
    let (format, encoding, body) = as_it_came(request);
    told(reader.protobuf(request.signal, format, encoding, &body))
}

fn told(outcome: Result<Bytes, Refusal>) -> Option<Bytes> {
    outcome.inspect_err(|error| tracing::error!(%error, "a logged request cannot be read")).ok()
}

fn as_it_came(request: &Request<'_>) -> (Format, Encoding, Bytes) {
    let encoding = match request.encoding {
        BodyEncoding::Identity => Encoding::Identity,
        BodyEncoding::Gzip => Encoding::Gzip,
        BodyEncoding::Zstd => Encoding::Zstd,
    };
    let format = match request.format {
        BodyFormat::Protobuf => Format::Protobuf,
        BodyFormat::Json => Format::Json,
    };
    (format, encoding, Bytes::copy_from_slice(request.body))
}
