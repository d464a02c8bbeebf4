//! A pipeline's journal in a lane: its verdicts, and which units it has resolved. Nothing that follows from a verdict reaches the segments'
//! books before the verdict is durable, so that a restart never finds a segment gone whose verdicts it does not know.
//!
//! When the journal begins a new segment it says again which units of living segments are resolved; from then on older
//! journal segments matter for their verdicts only, and go when newer ones hold as many as are remembered.

use super::bitmap::Bitmap;
use super::done::{DONE_BYTES_MAX, EXPORTERS_MAX};
use super::format::{
    Done, Record, VerdictEntry, done_bytes, names_bytes, put_annotations, put_done, put_names, put_resolved, put_tally,
    put_verdicts, resolved_bytes, tally_bytes, verdicts_bytes,
};
use super::segments::{Change, Segments};
use super::stream::{AppendError, Stream, StreamPlan};
use super::tally::{Saying, Tallies, Tally};
use super::told::{Telling, Told};
use crate::vocabulary::{Judged, RandomnessKind, Said, Unit, Verdict};
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;

/// Verdicts in one record.
const VERDICTS_PER_RECORD: usize = 8192;
/// Blocks of a bitmap in one record.
const BLOCKS_PER_RECORD: usize = 2048;
/// While anything is unresolved the time is told this often, nanoseconds: after a crash undecided traces have the wait that
/// they had left, however little happened before it.
const TIME_TOLD_EVERY: u64 = 1_000_000_000;

/// Bytes of what a start takes up of which exporters were done with what: all that many cores of a former run may have said.
/// Past it new sets are passed over, and what they tell of is sent to all exporters.
const RECOVERED_DONE_BYTES_MAX: usize = 32 * DONE_BYTES_MAX;

/// What happened at the journal's bounds.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct JournalCounts {
    /// Verdicts that were logged.
    pub verdicts: u64,
    /// Verdicts that are not in the log: the disk failed, or had no room for too long. Late spans of their traces begin
    /// them anew after a restart.
    pub verdicts_lost: u64,
    /// Verdicts that were logged without some of their annotations: more than a segment tells. Late spans of their traces
    /// leave without those after a restart.
    pub verdicts_bared: u64,
}

/// What is on its way to the disk, up to a position.
#[derive(Debug)]
struct Waiting {
    position: u64,
    /// Kept until they are durable: if the segment fails they are logged again in the next.
    verdicts: Vec<VerdictEntry>,
    /// Units that follow from them.
    units: Vec<Unit>,
    /// What is said of them.
    said: Vec<Said>,
}

#[derive(Debug)]
struct JournalSegment {
    number: u64,
    verdicts: usize,
}

/// The journal of one pipeline on one core.
#[derive(Debug)]
pub struct Journal {
    /// Whose books it tells.
    pipeline: usize,
    stream: Stream,
    /// Most verdicts that are remembered over a restart.
    verdicts_max: usize,
    /// Verdicts that may wait for the disk besides those restated after a start.
    waiting_max: usize,
    segments_max: usize,
    verdicts: Vec<VerdictEntry>,
    /// How many were noted ever, and how many of the first of those are durable, or lost.
    noted: u64,
    durable: u64,
    /// What the numbers in verdicts mean.
    telling: Telling,
    /// Units that follow from verdicts not yet appended.
    gated: Vec<Unit>,
    /// What is said of them.
    gated_said: Vec<Said>,
    /// Verdicts of the flush being put together that are appended already.
    appended: Vec<VerdictEntry>,
    waiting: VecDeque<Waiting>,
    released: Vec<Unit>,
    released_said: Vec<Said>,
    segments: VecDeque<JournalSegment>,
    /// The last segment at whose beginning all that is resolved was said.
    last_number: Option<u64>,
    /// Where the last snapshot that is durable begins.
    snapshot: Option<u64>,
    /// A snapshot on its way: where it begins, and the position that makes it durable.
    snapshot_pending: Option<(u64, u64)>,
    retired: Vec<u64>,
    /// What the lane has counted, where this journal says it.
    tally: Saying,
    /// When a record was last appended, nanoseconds since the Unix epoch.
    told_unix_nano: u64,
    /// What happened here.
    pub counts: JournalCounts,
}

impl Journal {
    /// An empty journal of a pipeline, of at most `segments_max` segments, at least two. Verdicts that wait for the disk take at most
    /// `waiting_bytes_max`.
    #[must_use]
    pub fn new(
        pipeline: usize,
        plan: StreamPlan,
        segments_max: usize,
        verdicts_max: usize,
        waiting_bytes_max: usize,
    ) -> Self {
        Self {
            pipeline,
            telling: Telling::new(plan.segment_bytes),
            stream: Stream::new(plan),
            verdicts_max,
            waiting_max: waiting_bytes_max / size_of::<VerdictEntry>(),
            segments_max: segments_max.max(2),
            verdicts: Vec::new(),
            noted: 0,
            durable: 0,
            gated: Vec::new(),
            gated_said: Vec::new(),
            appended: Vec::new(),
            waiting: VecDeque::new(),
            released: Vec::new(),
            released_said: Vec::new(),
            segments: VecDeque::new(),
            last_number: None,
            snapshot: None,
            snapshot_pending: None,
            retired: Vec::new(),
            tally: Saying::default(),
            told_unix_nano: 0,
            counts: JournalCounts::default(),
        }
    }

    /// Its stream, to be driven.
    pub fn stream(&mut self) -> &mut Stream {
        &mut self.stream
    }

    /// From now on policies are called by these names, each at the place of its number, and verdicts name these annotations,
    /// attributes as fields of a span. Annotations that were there before have the numbers that they had.
    pub fn set_told(&mut self, names: impl Iterator<Item = String>, annotations: &[Vec<u8>]) {
        self.telling.set_names(names);
        self.telling.set_annotations(annotations);
    }

    /// Notes a verdict.
    pub fn judged(&mut self, judged: &Judged) {
        let (is_kept, policy) = match judged.verdict {
            Verdict::Keep(policy) => (true, policy),
            Verdict::Drop => (false, 0),
        };
        self.note(VerdictEntry {
            trace_id: judged.trace_id,
            threshold: judged.threshold,
            policy,
            is_kept,
            is_hashed: judged.randomness == RandomnessKind::Hashed,
            given: judged.given,
            annotations: judged.annotations,
            reason: judged.drop_reason,
            occasion: judged.occasion as u8,
            spans: judged.spans,
        });
    }

    /// Notes a verdict as it is logged.
    pub fn note(&mut self, entry: VerdictEntry) {
        if self.verdicts.len() >= self.verdicts_max + self.waiting_max {
            // The disk has had no room for long. The verdicts stand; only a restart would not know them.
            self.counts.verdicts_lost += self.verdicts.len() as u64;
            self.durable += self.verdicts.len() as u64;
            self.verdicts.clear();
            self.released.append(&mut self.gated);
            self.released_said.append(&mut self.gated_said);
        }
        self.verdicts.push(entry);
        self.noted += 1;
    }

    /// How many verdicts were noted so far.
    #[must_use]
    pub fn noted(&self) -> u64 {
        self.noted
    }

    /// How many of the first of those are durable, or lost.
    #[must_use]
    pub fn durable(&self) -> u64 {
        self.durable
    }

    /// A unit is done with, as of the verdicts noted so far.
    #[inline]
    pub fn resolve(&mut self, unit: Unit) {
        self.gated.push(unit);
    }

    /// Something is to be said to other nodes, as of the verdicts noted so far: not before they are durable, so that no node
    /// has said what it does not know after a crash.
    pub fn say(&mut self, said: Said) {
        self.gated_said.push(said);
    }

    /// It is to say what the lane has counted, in each of its segments.
    pub(super) fn want_tally(&mut self) {
        self.tally.want();
    }

    /// What the lane has counted, and how far: to be said in the next flush. Returns its number.
    pub(super) fn give_tally(&mut self, tally: Tally, positions: Vec<(u64, u32)>) -> u64 {
        self.tally.give(tally, positions)
    }

    /// How far the tally goes that has become durable since the last call.
    pub(super) fn durable_tally(&mut self) -> Option<&[(u64, u32)]> {
        self.tally.durable_up_to(self.stream.synced())
    }

    /// The number of the latest tally that is durable; 0 for none.
    #[must_use]
    pub fn tally_durable(&self) -> u64 {
        self.tally.durable()
    }

    /// What may be said.
    pub fn take_said(&mut self) -> Vec<Said> {
        std::mem::take(&mut self.released_said)
    }

    /// Units whose verdicts are durable, to be told to the cores that own their segments.
    pub fn take_released(&mut self) -> Vec<Unit> {
        std::mem::take(&mut self.released)
    }

    /// Whether everything noted is durable, and all that is resolved has been said in the segment that is written.
    #[must_use]
    pub fn is_idle(&self) -> bool {
        let is_said = self.last_number.is_some() && self.last_number == self.stream.current();
        let is_durable = self.stream.synced() == self.stream.position();
        let is_empty = self.verdicts.is_empty() && self.gated.is_empty() && self.waiting.is_empty();
        is_said && is_durable && is_empty && self.released.is_empty() && self.tally.is_idle()
    }

    /// Appends what is new. What finds no room stays for the next call.
    pub fn flush(&mut self, unix_nano: u64, segments: &mut Segments) {
        self.stream.set_may_open(self.segments.len() < self.segments_max);
        let snapshot = self.stream.current().filter(|current| Some(*current) != self.last_number);
        if snapshot.is_some() {
            segments.restate(self.pipeline);
            self.tally.say_again();
        }
        let before = self.stream.position();
        let all = self.append_verdicts(unix_nano).and_then(|()| self.append_resolved(unix_nano, segments));
        let all = all.and_then(|()| self.append_tally(unix_nano));
        if self.stream.position() == before {
            self.tell_time(unix_nano, segments);
        }
        if self.stream.position() != before {
            self.told_unix_nano = unix_nano;
        }
        let has_more = !(self.gated.is_empty() && self.gated_said.is_empty() && self.appended.is_empty());
        if self.verdicts.is_empty() && has_more {
            let (verdicts, units) = (std::mem::take(&mut self.appended), std::mem::take(&mut self.gated));
            let said = std::mem::take(&mut self.gated_said);
            self.waiting.push_back(Waiting { position: self.stream.position(), verdicts, units, said });
        }
        // A segment that was begun in the middle of this flush is without a snapshot yet: the next flush makes it.
        if let (Ok(()), Some(number)) = (all, snapshot) {
            self.snapshot_pending = Some((number, self.stream.position()));
            self.last_number = Some(number);
        }
        self.progress();
    }

    /// Appends a record without verdicts, where something waits and nothing was said for long. If there is no room for it
    /// nothing is lost but precision.
    fn tell_time(&mut self, unix_nano: u64, segments: &Segments) {
        let is_due = unix_nano.saturating_sub(self.told_unix_nano) >= TIME_TOLD_EVERY;
        if !is_due || segments.iter().all(|segment| segment.of(self.pipeline).unresolved() == 0) {
            return;
        }
        let put = |out: &mut Vec<u8>, nonce, sequence| put_verdicts(out, nonce, sequence, unix_nano, &[]);
        if let Ok(appended) = self.stream.append(verdicts_bytes(&[]), true, put) {
            self.count(appended.number, 0);
        }
    }

    fn append_verdicts(&mut self, unix_nano: u64) -> Result<(), AppendError> {
        let mut done = 0;
        let mut outcome = Ok(());
        while done < self.verdicts.len() {
            let end = self.verdicts.len().min(done + VERDICTS_PER_RECORD);
            if let Err(error) = self.append_told(unix_nano, done..end) {
                outcome = Err(error);
                break;
            }
            let entries = &self.verdicts[done..end];
            let put = |out: &mut Vec<u8>, nonce, sequence| put_verdicts(out, nonce, sequence, unix_nano, entries);
            match self.stream.append(verdicts_bytes(entries), true, put) {
                Ok(appended) => {
                    let count = entries.len();
                    let bared = entries.iter().filter(|entry| !self.telling.is_told(entry)).count();
                    self.counts.verdicts_bared += bared as u64;
                    self.counts.verdicts += count as u64;
                    done += count;
                    self.count(appended.number, count);
                }
                Err(error) => {
                    outcome = Err(error);
                    break;
                }
            }
        }
        self.appended.extend(self.verdicts.drain(..done));
        outcome
    }

    /// Tells what the numbers of these verdicts mean in the segment that they will go to, as far as it does not tell yet.
    fn append_told(&mut self, unix_nano: u64, verdicts: Range<usize>) -> Result<(), AppendError> {
        self.telling.take_segment(&mut self.stream, &self.verdicts[verdicts])?;
        let names = self.telling.names_to_tell();
        if !names.is_empty() {
            let put = |out: &mut Vec<u8>, nonce, sequence| put_names(out, nonce, sequence, unix_nano, names);
            let appended = self.stream.append(names_bytes(names), true, put)?;
            self.telling.names_told();
            self.count(appended.number, 0);
        }
        let annotations = self.telling.annotations_to_tell();
        if !annotations.is_empty() {
            let bytes = self.telling.annotations_to_tell_bytes();
            let put = |out: &mut Vec<u8>, nonce, sequence| {
                put_annotations(out, nonce, sequence, unix_nano, &annotations);
            };
            let appended = self.stream.append(bytes, true, put)?;
            self.telling.annotations_told();
            self.count(appended.number, 0);
        }
        Ok(())
    }

    fn append_tally(&mut self, unix_nano: u64) -> Result<(), AppendError> {
        let Some((tally, positions)) = self.tally.to_say() else { return Ok(()) };
        let put = |out: &mut Vec<u8>, nonce, sequence| put_tally(out, nonce, sequence, unix_nano, tally, positions);
        let appended = self.stream.append(tally_bytes(tally, positions.len()), true, put)?;
        self.tally.said(appended.position);
        self.count(appended.number, 0);
        Ok(())
    }

    fn count(&mut self, number: u64, verdicts: usize) {
        match self.segments.back_mut() {
            Some(last) if last.number == number => last.verdicts += verdicts,
            _ => self.segments.push_back(JournalSegment { number, verdicts }),
        }
    }

    fn append_resolved(&mut self, unix_nano: u64, segments: &mut Segments) -> Result<(), AppendError> {
        while let Some(change) = segments.take_changed(self.pipeline, BLOCKS_PER_RECORD) {
            let Change { segment, exporter, blocks, .. } = &change;
            let appended = match exporter {
                None => self.stream.append(resolved_bytes(blocks.len()), true, |out, nonce, sequence| {
                    put_resolved(out, nonce, sequence, unix_nano, *segment, blocks);
                }),
                Some(exporter) => {
                    let name = segments.exporter_name(self.pipeline, *exporter);
                    self.stream.append(done_bytes(name, blocks.len()), true, |out, nonce, sequence| {
                        put_done(out, nonce, sequence, unix_nano, (*segment, name), blocks);
                    })
                }
            };
            match appended {
                Ok(appended) => self.count(appended.number, 0),
                Err(error) => {
                    segments.mark_changed(self.pipeline, &change);
                    return Err(error);
                }
            }
        }
        Ok(())
    }

    /// The stream got further: releases units and retires old segments.
    pub fn progress(&mut self) {
        if let Some(lost) = self.stream.take_lost() {
            self.log_again(lost);
        }
        let synced = self.stream.synced();
        while self.waiting.front().is_some_and(|waiting| waiting.position <= synced) {
            let Some(mut waiting) = self.waiting.pop_front() else { break };
            self.durable += waiting.verdicts.len() as u64;
            self.released.append(&mut waiting.units);
            self.released_said.append(&mut waiting.said);
        }
        if let Some((number, position)) = self.snapshot_pending
            && position <= synced
        {
            (self.snapshot, self.snapshot_pending) = (Some(number), None);
        }
        self.retired.extend(self.stream.take_unused());
        // Closed segments leave by the rule below, not because they are closed.
        _ = self.stream.take_closed();
        let Some(snapshot) = self.snapshot else { return };
        let mut newer: usize = self.segments.iter().map(|segment| segment.verdicts).sum();
        while let Some(oldest) = self.segments.front() {
            newer -= oldest.verdicts;
            let is_needed = newer < self.verdicts_max && self.segments.len() < self.segments_max;
            if oldest.number >= snapshot || is_needed {
                break;
            }
            self.retired.push(oldest.number);
            self.segments.pop_front();
        }
    }

    /// What was on its way up to position `lost` is not durable and will not be: it goes to the next segment, which also
    /// says again what is resolved.
    fn log_again(&mut self, lost: u64) {
        self.last_number = None;
        self.snapshot_pending = None;
        self.tally.say_again();
        let mut verdicts = Vec::new();
        let (mut units, mut said) = (Vec::new(), Vec::new());
        while self.waiting.front().is_some_and(|waiting| waiting.position <= lost) {
            let Some(mut waiting) = self.waiting.pop_front() else { break };
            verdicts.append(&mut waiting.verdicts);
            units.append(&mut waiting.units);
            said.append(&mut waiting.said);
        }
        verdicts.append(&mut self.appended);
        verdicts.append(&mut self.verdicts);
        units.append(&mut self.gated);
        said.append(&mut self.gated_said);
        (self.verdicts, self.gated, self.gated_said) = (verdicts, units, said);
    }

    /// Journal segments whose files may be recycled.
    pub fn take_retired(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.retired)
    }
}

/// What journals say, read at a start: the last verdict on each trace in order, and the resolved units by segment.
#[derive(Debug, Default)]
pub struct Recovered {
    /// Verdicts in the order in which they were read. Their policies and annotations are places in `told`.
    pub verdicts: Vec<VerdictEntry>,
    /// Names of policies and annotations.
    pub told: Told,
    /// Bytes of what is in `done`.
    done_bytes: usize,
    /// Resolved units by the number of their segment.
    pub resolved: BTreeMap<u64, Bitmap>,
    /// Units that some exporters were done with, by the number of their segment and the exporter's name.
    pub done: BTreeMap<u64, Vec<(String, Bitmap)>>,
    /// Records of such that were passed over: there is a bound.
    pub done_forgotten: u64,
    /// What lanes had counted.
    pub tallies: Tallies,
    /// The latest time told, nanoseconds since the Unix epoch.
    pub latest_unix_nano: u64,
}

impl Recovered {
    /// The records that are taken in next are those of another segment: what the numbers in verdicts mean is not known
    /// before it says so.
    pub fn begin_segment(&mut self) {
        self.told.begin_segment();
    }

    /// Takes in a record of a journal; requests are none of its business.
    pub fn take(&mut self, record: &Record<'_>) {
        match record {
            Record::Verdicts(verdicts) => {
                self.latest_unix_nano = self.latest_unix_nano.max(verdicts.decided_unix_nano);
                self.verdicts.extend(verdicts.entries.clone().map(|entry| self.told.placed(entry)));
            }
            Record::Resolved(resolved) => {
                self.latest_unix_nano = self.latest_unix_nano.max(resolved.recorded_unix_nano);
                let bitmap = self.resolved.entry(resolved.segment).or_default();
                for (index, block) in resolved.blocks.clone() {
                    bitmap.merge_block(index, block);
                }
            }
            Record::Names(names) => {
                self.latest_unix_nano = self.latest_unix_nano.max(names.recorded_unix_nano);
                self.told.take_names(names.entries.clone());
            }
            Record::Done(done) => {
                self.latest_unix_nano = self.latest_unix_nano.max(done.recorded_unix_nano);
                self.take_done(done);
            }
            Record::Annotations(told) => {
                self.latest_unix_nano = self.latest_unix_nano.max(told.recorded_unix_nano);
                self.told.take_annotations(told.entries.clone());
            }
            Record::Tally(tally) => {
                self.latest_unix_nano = self.latest_unix_nano.max(tally.recorded_unix_nano);
                self.tallies.take(tally);
            }
            Record::Request(_) => {}
        }
    }

    fn take_done(&mut self, done: &Done<'_>) {
        let name = String::from_utf8_lossy(done.exporter);
        let sets = self.done.entry(done.segment).or_default();
        let known = sets.iter().position(|(known, _)| *known == name);
        let is_full = self.done_bytes > RECOVERED_DONE_BYTES_MAX || sets.len() >= EXPORTERS_MAX;
        let Some(place) = known.or_else(|| (!is_full).then_some(sets.len())) else {
            self.done_forgotten += 1;
            return;
        };
        if place == sets.len() {
            sets.push((name.into_owned(), Bitmap::default()));
        }
        let units = &mut sets[place].1;
        let before = units.bytes();
        for (index, block) in done.blocks.clone() {
            units.merge_block(index, block);
        }
        self.done_bytes += units.bytes() - before;
    }
}

#[cfg(test)]
mod tests {
    use super::super::format::{BLOCK_BYTES, SegmentKind};
    use super::super::stream::Operation;
    use super::*;
    use crate::vocabulary::Annotations;

    /// Does what the disk is asked for, at once.
    fn write_all(journal: &mut Journal) {
        loop {
            if journal.stream().poll_open(1).is_some() {
                journal.stream().opened(true);
            }
            match journal.stream().poll() {
                Some(Operation::Write { bytes, .. }) => journal.stream().wrote(bytes, true),
                Some(Operation::Sync { .. }) => journal.stream().synced_now(true),
                _ => return journal.progress(),
            }
        }
    }

    /// Without a snapshot in each segment none before the first would ever go.
    #[test]
    fn segments_go_when_newer_ones_say_all_that_is_needed() {
        let plan = StreamPlan {
            kind: SegmentKind::Journal,
            lane: 0,
            segment_bytes: 16 * BLOCK_BYTES as u64,
            begins_small: false,
            buffer_bytes_max: 1 << 20,
            first_number: 1,
            number_stride: 2,
            nonce_seed: 7,
            pipelines: Vec::new(),
        };
        let segments_max = 6;
        let mut journal = Journal::new(0, plan, segments_max, 100, 1 << 20);
        let mut segments = Segments::new(0, 1);
        let (mut retired, mut noted) = (0, 0);
        for _ in 0..1000 {
            for _ in 0..100 {
                noted += 1;
                journal.note(VerdictEntry {
                    trace_id: [1; 16],
                    threshold: 0,
                    policy: 0,
                    is_kept: true,
                    is_hashed: false,
                    given: None,
                    annotations: Annotations::NONE,
                    reason: 0,
                    occasion: 0,
                    spans: 1,
                });
            }
            write_all(&mut journal);
            journal.flush(1, &mut segments);
            write_all(&mut journal);
            retired += journal.take_retired().len();
            assert!(journal.segments.len() <= segments_max);
        }
        assert_eq!((journal.counts.verdicts, journal.counts.verdicts_lost), (noted, 0));
        assert!(retired > 50 && journal.segments.len() < 4, "{retired} went, {} stay", journal.segments.len());
    }
}
