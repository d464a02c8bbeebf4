//! Looks through an executor's log for a person: segments in use as well as those that are done with and stayed. Reads in
//! small pieces and lets others run after each; one person's question at a time.
//!
//! ```text
//! matching   conditions, times ----> ids of traces of which a span fulfils them
//! traces     ids, times -----------> what is there of them, request by request
//! ```
//! `recall` reads again, too, but what exporters are owed; nothing here changes what is owed.

use super::Core;
use super::admit::all_sent;
use super::log::{CoreLog, count};
use crate::control::{KeptByHand, ToKeep};
use crate::numbers::CoreNumber;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::otlp::body::BodyReader;
use tailwater_engine::log::filter::Filter;
use tailwater_engine::log::format::{BLOCK_BYTES, Record, Request, SegmentHeader, SegmentKind, past_file_name};
use tailwater_engine::log::read::pieces::{Place, pass_damage, place};
use tailwater_engine::log::steps::Steps;
use tailwater_engine::reach_back::{Cut, Gathered, Sought, What, each_span};
use tailwater_engine::shard::ByHand;
use tailwater_engine::vocabulary::{Nanos, Origin, TraceId};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::{monotonic_nanos, steady_unix_nanos};
use tailwater_runtime::executor::{sleep, yield_now};
use tailwater_runtime::files::File;

/// Bytes read at once; a larger record is read again in whole.
const READ_BYTES: usize = 256 << 10;
/// So many bytes without a record are the end of a segment: what stands behind is of a former use of the file.
const BARREN_BYTES_MAX: u64 = 2 * READ_BYTES as u64;
/// How long one question may read on a core: a disk gives gigabytes in that time, and who asks is waiting.
/// At the bound: the answer is cut, and says so.
const READING_MAX: Duration = Duration::from_secs(20);
/// How often is looked whether the disk has done something.
const RECHECK: Duration = Duration::from_millis(5);
/// How often at most: a second is a slow disk.
/// At the bound: segments that are on their way are not looked through.
const RENAMING_CHECKS_MAX: usize = 200;
/// How often is looked whether verdicts are durable: ten seconds are a disk that fails.
/// At the bound: their spans are not sent, and the answer says so.
const DURABLE_CHECKS_MAX: usize = 2000;

/// A segment to be looked through.
struct Target {
    number: u64,
    home: usize,
    is_past: bool,
    /// Where reading starts.
    offset: u64,
    /// Whether nobody has looked through it yet.
    is_unknown: bool,
    bytes: u64,
}

impl Core {
    /// What this executor's log has of what is sought.
    pub(super) async fn reach_back(self: Rc<Self>, sought: &Sought) -> Gathered {
        let Some(log) = self.log.clone() else { return Gathered::default() };
        if self.is_reaching_back.replace(true) {
            return Gathered { is_busy: true, ..Gathered::default() };
        }
        let begun = Duration::from_nanos(monotonic_nanos());
        let shared = (0, Vec::new());
        let mut look = Look { core: &self, log: &log, sought, begun, shared, gathered: Gathered::default() };
        look.run().await;
        let gathered = look.gathered;
        count(&log.counters.past_read, gathered.segments);
        count(&log.counters.past_read_in_vain, gathered.segments_in_vain);
        count(&log.counters.past_cut, u64::from(gathered.cut.is_some()));
        self.is_reaching_back.set(false);
        gathered
    }
}

impl Core {
    /// Keeps those of these traces that are this shard's, after all. A verdict is durable before its spans come again: after a
    /// kill they do not come a second time.
    pub(super) async fn keep_by_hand(&self, to_keep: &ToKeep) -> KeptByHand {
        let traces = self.keep_all(to_keep);
        let Some(log) = self.log.as_ref().filter(|_| traces.iter().any(|(_, outcome)| *outcome == ByHand::Kept)) else {
            return KeptByHand { traces, is_durable: true };
        };
        let pipeline = self.settings.pipeline;
        let counts = || {
            let mut lane = log.lane.borrow_mut();
            let journal = lane.journal(pipeline);
            (journal.noted(), journal.durable(), journal.counts.verdicts_lost)
        };
        let (noted, _, lost) = counts();
        log.flush_journal(pipeline);
        let is_durable = || counts().1 >= noted;
        for _ in 0..DURABLE_CHECKS_MAX {
            if is_durable() {
                break;
            }
            sleep(RECHECK).await;
        }
        let is_durable = is_durable() && counts().2 == lost;
        KeptByHand { traces, is_durable }
    }

    fn keep_all(&self, to_keep: &ToKeep) -> Vec<(TraceId, ByHand)> {
        let unix_nano = steady_unix_nanos();
        self.with_shard(|shard, now, outbox| {
            let own = to_keep.traces.iter().filter(|(id, _)| CoreNumber::from(shard.shard_of(id)) == self.number);
            let own: Vec<&(TraceId, u64)> = own.collect();
            let keep = |(id, received): &(TraceId, u64)| {
                // What a former run received has its verdict in memory, or nowhere.
                let age = (*received > self.begun_unix_nano).then(|| unix_nano.saturating_sub(*received));
                let received = age.map(|age| Nanos(now.0.saturating_sub(age)));
                Some((*id, shard.keep_by_hand(now, id, (received, to_keep.again), outbox)?))
            };
            own.into_iter().filter_map(keep).collect()
        })
    }

    /// Has spans that were read from the log come again, to whichever shard owns them: they follow the verdict there.
    /// Returns how many there are.
    pub(super) async fn come_again(self: Rc<Self>, body: Bytes) -> u64 {
        let scanned = self.shard.borrow_mut().scan_request_again(Signal::Traces, &body, None);
        // What cannot be scanned now was refused when it came, or would be by the limits in force.
        let Ok(scanned) = scanned else { return 0 };
        let spans = u64::from(scanned.accepted);
        self.shard.borrow_mut().note_sent_again(spans);
        // They are in no segment that waits for them.
        all_sent(self.hand_on_spans(scanned, Origin::NONE, self.now())).await;
        spans
    }
}

/// One question to one log.
struct Look<'a> {
    core: &'a Rc<Core>,
    log: &'a Rc<CoreLog>,
    sought: &'a Sought,
    begun: Duration,
    /// The home of the segment that is read, and the pipelines that share it.
    shared: (usize, Vec<String>),
    gathered: Gathered,
}

/// What is learnt of a segment that nobody has looked through.
struct Learning {
    steps: Steps,
    filter: Filter,
}

impl Look<'_> {
    async fn run(&mut self) {
        let mut reader = BodyReader::new(self.core.settings.request_bytes_max);
        // A segment that is on its way is in neither table: what is freed is to have its new name first.
        self.log.progress();
        for _ in 0..RENAMING_CHECKS_MAX {
            if self.log.has_retired_all() {
                break;
            }
            sleep(RECHECK).await;
        }
        for target in self.targets() {
            if self.is_over() {
                break;
            }
            let found = self.found();
            if let Err(why) = self.segment(&target, &mut reader).await {
                // It may have been given up meanwhile.
                tracing::debug!(segment = target.number, why, "a segment of the log was not looked through");
                continue;
            }
            self.gathered.segments += 1;
            self.gathered.segments_in_vain += u64::from(self.found() == found);
        }
    }

    fn found(&self) -> usize {
        self.gathered.matching.len() + self.gathered.parts.len()
    }

    fn is_over(&mut self) -> bool {
        let elapsed = Duration::from_nanos(monotonic_nanos()).saturating_sub(self.begun);
        if self.gathered.cut.is_none() && elapsed > READING_MAX {
            self.gathered.cut = Some(Cut::Time);
        }
        self.gathered.cut.is_some()
    }

    /// The segments that may have something of it, the past ones first.
    fn targets(&self) -> Vec<Target> {
        let (from, to) = self.sought.times;
        let lane = self.log.lane.borrow();
        let hashes: Option<Vec<u64>> = match &self.sought.what {
            What::Matching(..) => None,
            What::Traces(ids, _) => Some(ids.iter().map(|id| self.core.shard.borrow().hash(id)).collect()),
        };
        let may_have = |filter: Option<&Filter>| {
            let known = hashes.as_ref().zip(filter);
            known.is_none_or(|(hashes, filter)| hashes.iter().any(|hash| filter.may_have(*hash)))
        };
        let past = lane.past.within(from, to).filter(|segment| may_have(segment.filter.as_ref()));
        let past = past.map(|segment| {
            let known = segment.steps.as_ref().filter(|_| segment.filter.is_some());
            Target {
                number: segment.number,
                home: segment.home,
                is_past: true,
                offset: known.map_or(BLOCK_BYTES as u64, |steps| steps.offset_since(from)),
                is_unknown: known.is_none(),
                bytes: segment.bytes,
            }
        });
        let mut targets: Vec<Target> = past.collect();
        let is_within = |steps: &Steps| steps.last_unix_nano() >= from && steps.first_unix_nano() <= to;
        let in_use = lane.segments.iter().filter(|segment| is_within(&segment.steps));
        let in_use = in_use.filter(|segment| may_have(segment.filter.as_ref()));
        let in_use = in_use.map(|segment| Target {
            number: segment.number,
            home: segment.home,
            is_past: false,
            offset: segment.steps.offset_since(from),
            is_unknown: false,
            bytes: segment.bytes,
        });
        let begin_of_in_use = targets.len();
        targets.extend(in_use);
        targets[begin_of_in_use..].sort_by_key(|target| target.number);
        targets
    }

    async fn open(&self, target: &Target) -> Result<File, String> {
        if !target.is_past {
            let file = self.log.open_file((SegmentKind::Requests, target.home, target.number));
            return file.ok_or_else(|| "its file is not open".to_string());
        }
        let directory = self.log.directory(target.home);
        directory.open_file(&past_file_name(target.number)).await.map_err(|error| error.to_string())
    }

    async fn segment(&mut self, target: &Target, reader: &mut BodyReader) -> Result<(), String> {
        let file = self.open(target).await?;
        let block = file.read_at(0, BLOCK_BYTES).await.map_err(|error| error.to_string())?;
        let header = SegmentHeader::decode(&block).map_err(|error| error.to_string())?;
        if (header.number, header.kind) != (target.number, SegmentKind::Requests) {
            return Err("it is used for something else".to_string());
        }
        self.shared = (target.home, SegmentHeader::pipelines(&block));
        let learning = || Learning { steps: Steps::default(), filter: Filter::for_segment(target.bytes) };
        let mut learning = target.is_unknown.then(learning);
        let (mut at, mut wanted_bytes, mut sound_up_to) = (target.offset, READ_BYTES, target.offset);
        let mut is_done = false;
        while !is_done && at < file.bytes() && at - sound_up_to <= BARREN_BYTES_MAX {
            let bytes = file.read_at(at, wanted_bytes).await.map_err(|error| error.to_string())?;
            if bytes.is_empty() {
                break;
            }
            self.gathered.bytes += bytes.len() as u64;
            wanted_bytes = READ_BYTES;
            let (passed, sound, is_late) = self.records(&bytes, at, header.nonce, reader, learning.as_mut()).await;
            sound_up_to = sound.map_or(sound_up_to, |sound| at + sound as u64);
            // What nobody knows is read to its end.
            is_done = (is_late && learning.is_none()) || self.is_over();
            if passed == 0 {
                match place(&bytes, at, header.nonce) {
                    Place::Cut(whole) if at + whole as u64 <= file.bytes() => wanted_bytes = whole,
                    _ => at += pass_damage(&bytes, at, header.nonce).max(1) as u64,
                }
            }
            at += passed as u64;
            yield_now().await;
        }
        if let Some(Learning { steps, filter }) = learning.filter(|_| !is_done) {
            self.log.lane.borrow_mut().past.learn(target.number, target.home, steps, Some(filter));
        }
        Ok(())
    }

    /// Goes through the whole records in `bytes`, which stand at `from`. Returns how many bytes were gone through, where the
    /// last sound record ends, and whether the times that are sought are over.
    async fn records(
        &mut self,
        bytes: &[u8],
        from: u64,
        nonce: u64,
        reader: &mut BodyReader,
        mut learning: Option<&mut Learning>,
    ) -> (usize, Option<usize>, bool) {
        let (mut at, mut sound) = (0, None);
        while at < bytes.len() {
            match place(bytes.get(at..).unwrap_or_default(), from + at as u64, nonce) {
                Place::Record(framed) => {
                    if let Record::Request(request) = &framed.record {
                        let learning = learning.as_deref_mut();
                        if request.arrived_unix_nano > self.sought.times.1 && learning.is_none() {
                            return (at, sound, true);
                        }
                        self.request(request, from + at as u64, reader, learning).await;
                    }
                    at += framed.bytes;
                    sound = Some(at);
                    if self.gathered.cut.is_some() {
                        break;
                    }
                }
                Place::Padding(zeros) => at += zeros,
                Place::Cut(_) | Place::Nothing => break,
            }
        }
        (at, sound, false)
    }

    async fn request(
        &mut self,
        request: &Request<'_>,
        offset: u64,
        reader: &mut BodyReader,
        learning: Option<&mut Learning>,
    ) {
        let (from, to) = self.sought.times;
        let is_within = (from..=to).contains(&request.arrived_unix_nano);
        if request.signal != Signal::Traces || (!is_within && learning.is_none()) {
            return;
        }
        let body = self.core.logged_body(reader, request, 1).await;
        if let Some(Learning { steps, filter }) = learning {
            // Its flush begins in front of it, or the record does: reading may start at either.
            steps.note(request.first_unit, offset, request.arrived_unix_nano);
            if let Some(body) = &body {
                let shard = self.core.shard.borrow();
                _ = each_span(body, |_, seen| filter.add(shard.hash(&seen.trace_id)));
            }
        }
        if let Some(body) = body.filter(|_| is_within) {
            let takers = self.log.lane.borrow().takers(self.shared.0, &self.shared.1, request.takers);
            self.gathered.take(&self.sought.what, (request.arrived_unix_nano, takers), &body);
        }
    }
}
