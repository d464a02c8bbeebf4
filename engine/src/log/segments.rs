//! The segments of requests that one core owns, and what is left to do with their units, for each of the pipelines that
//! share them. A segment is freed when no more records come and every pipeline has resolved all units of the requests that
//! it takes: exported and accepted, or dropped.
//!
//! Pipelines are numbers here, those of the node.

use super::bitmap::{Bitmap, Block, UNITS_MAX};
use super::books::{Books, Parked};
use super::done::{DONE_BYTES_MAX, DoneSets, EXPORTER_NAME_BYTES_MAX, EXPORTERS_MAX};
use super::filter::Filter;
use super::steps::Steps;
use super::takers::Takers;
use crate::vocabulary::{Destinations, KeptUnit, Origin, SegmentHandle, Unit};

/// Slots of a core's table: what a `SegmentHandle` can name, less one so that no handle is `NONE`.
/// At the bound: as where `wal.bytes_max` is used up; the number in use is `tailwater_wal_segments`.
const SLOTS_MAX: usize = u16::MAX as usize;

/// One segment.
#[derive(Debug)]
pub struct Segment {
    /// Its number, which names its file.
    pub number: u64,
    /// Where its file is: 0, or the number that its host has for a log that a pipeline had of its own. Two such logs may have
    /// segments of the same number.
    pub home: usize,
    /// Bytes of its file.
    pub bytes: u64,
    /// Units logged in it.
    pub units: u32,
    /// The unit below which all are counted, below which the latest tally has them, and below which one that is durable has.
    counted: u32,
    counted_given: u32,
    counted_durable: u32,
    is_closed: bool,
    /// By pipeline.
    books: Vec<Books>,
    /// Where its records are.
    pub steps: Steps,
    /// The traces in it; `None` where they are not noted.
    pub filter: Option<Filter>,
}

impl Segment {
    /// The books of a pipeline.
    #[must_use]
    pub fn of(&self, pipeline: usize) -> &Books {
        &self.books[pipeline]
    }

    /// Units not resolved, once for each pipeline.
    #[must_use]
    pub fn unresolved(&self) -> u64 {
        self.books.iter().map(|books| u64::from(books.unresolved())).sum()
    }

    /// Whether units from this one on are still to be counted.
    #[must_use]
    pub fn is_uncounted(&self, unit: u32) -> bool {
        unit >= self.counted
    }

    fn is_free(&self) -> bool {
        let is_counted = self.counted_durable >= self.units;
        self.is_closed && is_counted && self.books.iter().all(|books| books.unresolved() == 0)
    }

    /// The next record has the units from `first` on, before `end`.
    fn take(&mut self, first: u32, end: u32, takers: Takers) {
        self.units = self.units.max(end);
        for (_, books) in self.books.iter_mut().enumerate().filter(|(pipeline, _)| takers.has(*pipeline)) {
            books.take(first, end);
        }
    }
}

/// What is known of a pipeline's exporters.
#[derive(Debug, Default)]
struct Exporters {
    /// Their names by their numbers; none of those of which nothing is noted.
    names: Vec<String>,
    /// Bytes of what says which of them are done with what.
    done_bytes: usize,
    /// Units that will be sent to all of them again after a restart: nothing can say which are done with it.
    done_forgotten: u64,
}

/// The table.
#[derive(Debug)]
pub struct Segments {
    core: u16,
    slots: Vec<Option<Segment>>,
    /// Slot of the segment that requests go to.
    current: Option<u16>,
    freed: Vec<Segment>,
    bytes: u64,
    /// By pipeline.
    exporters: Vec<Exporters>,
    done_bytes_max: usize,
    /// Whether what is logged is counted for summaries.
    counts: bool,
    /// Whether segments know the traces in them.
    filters: bool,
    /// Numbers of freed segments whose files may still be there: a start that finds one must not count it again.
    leaving: Vec<u64>,
}

/// What is to be logged of a segment: blocks of the set of resolved units, or of those that one exporter is done with.
#[derive(Debug)]
pub struct Change {
    /// The segment's place in the table.
    slot: usize,
    /// The segment's number.
    pub segment: u64,
    /// The exporter.
    pub exporter: Option<usize>,
    /// The blocks.
    pub blocks: Vec<Block>,
}

impl Segments {
    /// The table of a core that has so many pipelines.
    #[must_use]
    pub fn new(core: u16, pipelines: usize) -> Self {
        Self {
            core,
            slots: Vec::new(),
            current: None,
            freed: Vec::new(),
            bytes: 0,
            exporters: (0..pipelines).map(|_| Exporters::default()).collect(),
            done_bytes_max: DONE_BYTES_MAX,
            counts: false,
            filters: false,
            leaving: Vec::new(),
        }
    }

    /// From now on what is logged is counted: a segment stays until a tally that is durable has all of it.
    pub fn count_all(&mut self) {
        self.counts = true;
    }

    /// From now on segments know the traces in them.
    pub fn filter_all(&mut self) {
        self.filters = true;
    }

    /// Traces of those hashes have spans in a segment.
    pub fn note_traces(&mut self, handle: SegmentHandle, hashes: impl Iterator<Item = u64>) {
        let filter = self.get_mut(handle.slot()).and_then(|segment| segment.filter.as_mut());
        if let Some(filter) = filter {
            hashes.for_each(|hash| filter.add(hash));
        }
    }

    /// All units of a segment below this one are counted, in this run or a former one; refused ones are passed over. The next
    /// tally says so.
    pub fn count(&mut self, handle: SegmentHandle, below: u32) {
        if let Some(segment) = self.get_mut(handle.slot()) {
            segment.counted = segment.counted.max(below);
        }
    }

    /// How far segments are counted, for a tally.
    pub(super) fn take_counted(&mut self) -> Vec<(u64, u32)> {
        let segments = self.slots.iter_mut().flatten();
        let counted = segments.filter(|segment| segment.home == 0 && segment.counted > 0);
        let take = |segment: &mut Segment| {
            segment.counted_given = segment.counted;
            (segment.number, segment.counted)
        };
        let counted = counted.map(take);
        counted.chain(self.leaving.iter().map(|number| (*number, UNITS_MAX))).collect()
    }

    /// The file of a freed segment is gone.
    pub(super) fn left(&mut self, number: u64) {
        self.leaving.retain(|leaving| *leaving != number);
    }

    /// Whether the latest tally goes as far as segments are counted.
    pub(super) fn is_all_given(&self) -> bool {
        !self.counts || self.iter().all(|segment| segment.counted_given == segment.counted)
    }

    /// A tally is durable that goes as far.
    pub(super) fn counted_is_durable(&mut self, positions: &[(u64, u32)]) {
        for (number, below) in positions {
            let is_meant = |segment: &Segment| (segment.number, segment.home) == (*number, 0);
            let slot = self.slots.iter().position(|slot| slot.as_ref().is_some_and(is_meant));
            let Some((slot, segment)) = slot.and_then(|slot| Some((slot, self.slots[slot].as_mut()?))) else {
                continue;
            };
            segment.counted_durable = segment.counted_durable.max(*below);
            self.free_if_done(slot);
        }
    }

    /// What says which exporters of a pipeline are done with what takes at most so many bytes, and `DONE_BYTES_MAX`.
    pub fn bound_done(&mut self, bytes_max: usize) {
        self.done_bytes_max = bytes_max.min(DONE_BYTES_MAX);
    }

    /// The names of a pipeline's exporters, each at the place of its number. To be called before anything is restored.
    pub fn set_exporters(&mut self, pipeline: usize, names: Vec<String>) {
        let is_noted =
            |(number, name): &(usize, String)| *number < EXPORTERS_MAX && name.len() <= EXPORTER_NAME_BYTES_MAX;
        let names = names.into_iter().enumerate();
        let names = names.map(|pair| if is_noted(&pair) { pair.1 } else { String::new() });
        self.exporters[pipeline].names = names.collect();
    }

    /// Units that will be sent to all exporters of a pipeline again after a restart.
    #[must_use]
    pub fn done_forgotten(&self, pipeline: usize) -> u64 {
        self.exporters[pipeline].done_forgotten
    }

    /// So many more.
    pub fn forget_done(&mut self, pipeline: usize, units: u64) {
        self.exporters[pipeline].done_forgotten += units;
    }

    /// What an exporter of a pipeline is called.
    #[must_use]
    pub fn exporter_name(&self, pipeline: usize, number: usize) -> &str {
        self.exporters[pipeline].names.get(number).map_or("", String::as_str)
    }

    /// Segments in use.
    pub fn iter(&self) -> impl Iterator<Item = &Segment> {
        self.slots.iter().flatten()
    }

    /// Bytes of their files.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.bytes
    }

    /// Segments in use.
    #[must_use]
    pub fn len(&self) -> usize {
        self.iter().count()
    }

    /// True when no segment is in use.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The segment a handle names.
    #[must_use]
    pub fn get(&self, slot: u16) -> Option<&Segment> {
        self.slots.get(usize::from(slot))?.as_ref()
    }

    fn get_mut(&mut self, slot: u16) -> Option<&mut Segment> {
        self.slots.get_mut(usize::from(slot))?.as_mut()
    }

    /// Adds a segment; `None` when the table is full.
    pub fn add(&mut self, number: u64, home: usize, bytes: u64) -> Option<SegmentHandle> {
        let segment = Segment {
            number,
            home,
            bytes,
            units: 0,
            // What a pipeline had of requests before it shared a log is from before anything was counted.
            counted: 0,
            counted_given: 0,
            counted_durable: if self.counts && home == 0 { 0 } else { u32::MAX },
            is_closed: false,
            books: self.exporters.iter().map(|_| Books::default()).collect(),
            steps: Steps::default(),
            filter: None,
        };
        let vacant = self.slots.iter().position(Option::is_none);
        let slot = vacant.unwrap_or(self.slots.len());
        if slot >= SLOTS_MAX {
            return None;
        }
        if slot == self.slots.len() {
            self.slots.push(None);
        }
        self.slots[slot] = Some(segment);
        self.bytes += bytes;
        Some(SegmentHandle::new(self.core, u16::try_from(slot).ok()?))
    }

    /// Notes that a request of that many units, which `takers` take, was appended to segment `number`, in a flush that begins
    /// at `offset`. Returns where its units are; `None` when the segment can't be entered in the table.
    pub fn appended(
        &mut self,
        (number, bytes): (u64, u64),
        offset: u64,
        units: u32,
        takers: Takers,
        unix_nano: u64,
    ) -> Option<Origin> {
        let is_current = self.current.and_then(|slot| self.get(slot)).is_some_and(|segment| segment.number == number);
        if !is_current {
            let slot = self.add(number, 0, bytes)?.slot();
            self.current = Some(slot);
            // Of a former run's segments nobody notes the traces.
            let filter = self.filters.then(|| Filter::for_segment(bytes));
            if let Some(segment) = self.get_mut(slot) {
                segment.filter = filter;
            }
        }
        let slot = self.current?;
        let core = self.core;
        let segment = self.get_mut(slot)?;
        let first_unit = segment.units;
        segment.take(first_unit, first_unit.saturating_add(units), takers);
        segment.steps.note(first_unit, offset, unix_nano);
        Some(Origin { segment: SegmentHandle::new(core, slot), first_unit })
    }

    /// The unit that the next request in segment `number` begins with; `None` when no more fit.
    #[must_use]
    pub fn next_unit(&self, number: u64, units: u32) -> Option<u32> {
        let current = self.current.and_then(|slot| self.get(slot)).filter(|segment| segment.number == number);
        let next = current.map_or(0, |segment| segment.units);
        (next.checked_add(units)? < UNITS_MAX).then_some(next)
    }

    /// Enters a record of a segment of a former run, which `takers` take now. Units whose records were damaged can't come
    /// back: nobody takes them, and nothing waits for them.
    pub fn recovered(
        &mut self,
        handle: SegmentHandle,
        (first_unit, units): (u32, u32),
        takers: Takers,
        offset: u64,
        unix_nano: u64,
    ) {
        let Some(segment) = self.get_mut(handle.slot()) else { return };
        let end = first_unit.saturating_add(units).min(UNITS_MAX);
        segment.take(first_unit.max(segment.units), end, takers);
        segment.steps.note(first_unit, offset, unix_nano);
    }

    /// Sets what a former run of a pipeline had resolved, and what exporters were done with, by their names: one that has
    /// gone has nothing to be spared. The journal of this run is to say it again, whenever that is: the old one goes.
    pub fn restore(&mut self, handle: SegmentHandle, pipeline: usize, resolved: Bitmap, done: Vec<(String, Bitmap)>) {
        let mut sets = DoneSets::default();
        let exporters = &mut self.exporters[pipeline];
        for (name, units) in done {
            let number = exporters.names.iter().position(|known| *known == name && !name.is_empty());
            let Some(number) = number else { continue };
            if exporters.done_bytes.saturating_add(units.bytes()) > self.done_bytes_max {
                exporters.done_forgotten += u64::from(units.count());
                continue;
            }
            exporters.done_bytes += units.bytes();
            sets.put(number, units);
        }
        if let Some(segment) = self.get_mut(handle.slot()) {
            let books = &mut segment.books[pipeline];
            books.resolved = resolved.into();
            books.done = sets;
            books.restate();
        }
    }

    /// The segment gets no more records. False when it is not in the table: nothing was ever logged in it.
    pub fn close(&mut self, number: u64) -> bool {
        let is_meant = |segment: &Segment| (segment.number, segment.home) == (number, 0);
        let Some(slot) = self.slots.iter().position(|slot| slot.as_ref().is_some_and(is_meant)) else { return false };
        if self.current.map(usize::from) == Some(slot) {
            self.current = None;
        }
        self.close_slot(slot);
        true
    }

    /// All records of a segment of a former run were entered.
    pub fn close_recovered(&mut self, handle: SegmentHandle) {
        self.close_slot(usize::from(handle.slot()));
    }

    fn close_slot(&mut self, slot: usize) {
        if let Some(segment) = self.slots.get_mut(slot).and_then(Option::as_mut) {
            segment.is_closed = true;
        }
        self.free_if_done(slot);
    }

    fn free_if_done(&mut self, slot: usize) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        if place.as_ref().is_some_and(Segment::is_free)
            && let Some(segment) = place.take()
        {
            self.bytes -= segment.bytes;
            for (exporters, books) in self.exporters.iter_mut().zip(&segment.books) {
                exporters.done_bytes -= books.done.bytes();
            }
            if self.counts && segment.home == 0 {
                self.leaving.push(segment.number);
            }
            self.freed.push(segment);
        }
    }

    /// A pipeline is done with a unit. True when it was not before.
    #[inline]
    pub fn resolve(&mut self, pipeline: usize, unit: Unit) -> bool {
        let slot = unit.segment.slot();
        let Some(segment) = self.get_mut(slot) else { return false };
        let books = &mut segment.books[pipeline];
        let is_new = books.resolve(unit.number);
        if books.unresolved() == 0 && segment.is_free() {
            self.free_if_done(usize::from(slot));
        }
        is_new
    }

    /// A unit waits in the log for `destinations` of a pipeline, but for those that are done with it. False when it is
    /// resolved.
    pub fn park(&mut self, pipeline: usize, kept: KeptUnit, destinations: Destinations) -> bool {
        let KeptUnit { unit: Unit { segment: handle, number: unit }, mark } = kept;
        let place = self.slots.get_mut(usize::from(handle.slot()));
        let Some(segment) = place.and_then(Option::as_mut) else { return false };
        let (books, exporters) = (&mut segment.books[pipeline], &mut self.exporters[pipeline]);
        if books.is_resolved(unit) {
            return false;
        }
        let destinations = destinations.without(books.done.of(unit));
        if exporters.names.len() > 1 {
            let done = Destinations::ALL.without(destinations);
            exporters.note_done(books, unit, done, self.done_bytes_max);
        }
        let known = books.parked.iter().position(|parked| parked.destinations == destinations);
        let known = known.unwrap_or_else(|| {
            books.parked.push(Parked::new(destinations));
            books.parked.len() - 1
        });
        books.parked[known].add(unit, mark)
    }

    /// Exporters of a pipeline are done with a unit for which others have not reported.
    pub fn note_done(&mut self, pipeline: usize, unit: Unit, done: Destinations) {
        let place = self.slots.get_mut(usize::from(unit.segment.slot()));
        let books = place.and_then(Option::as_mut).map(|segment| &mut segment.books[pipeline]);
        let Some(books) = books.filter(|books| !books.is_resolved(unit.number)) else { return };
        self.exporters[pipeline].note_done(books, unit.number, done, self.done_bytes_max);
    }

    /// Whether anything of a pipeline waits for exporters that `can_take`.
    #[must_use]
    pub fn has_parked(&self, pipeline: usize, can_take: impl Fn(Destinations) -> bool) -> bool {
        self.iter().flat_map(|segment| &segment.of(pipeline).parked).any(|parked| can_take(parked.destinations))
    }

    /// Takes what of a pipeline waits in the oldest segment that has something for exporters that `can_take`.
    pub fn take_parked(
        &mut self,
        pipeline: usize,
        can_take: impl Fn(Destinations) -> bool,
    ) -> Option<(SegmentHandle, Parked)> {
        let has_some =
            |segment: &Segment| segment.of(pipeline).parked.iter().any(|parked| can_take(parked.destinations));
        let oldest = self.oldest(has_some)?;
        self.take_parked_of(pipeline, oldest, can_take)
    }

    /// Takes what of a pipeline waits in a segment for exporters that `can_take`.
    pub fn take_parked_of(
        &mut self,
        pipeline: usize,
        handle: SegmentHandle,
        can_take: impl Fn(Destinations) -> bool,
    ) -> Option<(SegmentHandle, Parked)> {
        let books = &mut self.get_mut(handle.slot())?.books[pipeline];
        let position = books.parked.iter().position(|parked| can_take(parked.destinations))?;
        Some((handle, books.parked.swap_remove(position)))
    }

    /// The oldest segment in use that `is_meant`.
    pub fn oldest(&self, is_meant: impl Fn(&Segment) -> bool) -> Option<SegmentHandle> {
        let meant = (0..).zip(&self.slots).filter_map(|(slot, segment)| Some((slot, segment.as_ref()?)));
        let oldest = meant.filter(|(_, segment)| is_meant(segment)).min_by_key(|(_, segment)| segment.number);
        oldest.map(|(slot, _)| SegmentHandle::new(self.core, slot))
    }

    /// The oldest closed segment in which something of a pipeline waits, and which is in use for nothing but what waits in it,
    /// whatever the pipeline: giving that up frees it.
    #[must_use]
    pub fn oldest_parked(&self, pipeline: usize) -> Option<SegmentHandle> {
        self.oldest(|segment| {
            let all_is_parked = || segment.books.iter().all(|books| books.parked() == books.unresolved());
            segment.is_closed && segment.of(pipeline).parked() > 0 && all_is_parked()
        })
    }

    /// Whether a pipeline has something left to do in the oldest segment that is in use: one that has not holds up nobody.
    #[must_use]
    pub fn holds_oldest(&self, pipeline: usize) -> bool {
        let oldest = self.oldest(|segment| segment.unresolved() > 0).and_then(|oldest| self.get(oldest.slot()));
        oldest.is_some_and(|segment| segment.of(pipeline).unresolved() > 0)
    }

    /// Segments freed since the last call: their files may be recycled.
    pub fn take_freed(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.freed)
    }

    /// Marks everything that a pipeline has resolved as changed: its journal begins a new segment and says it all again.
    pub fn restate(&mut self, pipeline: usize) {
        self.slots.iter_mut().flatten().for_each(|segment| segment.books[pipeline].restate());
    }

    /// Blocks of a pipeline that changed since they were last logged, at most `blocks_max` of one set.
    pub fn take_changed(&mut self, pipeline: usize, blocks_max: usize) -> Option<Change> {
        for (slot, segment) in self.slots.iter_mut().enumerate() {
            let Some(segment) = segment else { continue };
            let number = segment.number;
            let books = &mut segment.books[pipeline];
            if books.resolved.has_changed() {
                let blocks = books.resolved.take_changed(blocks_max);
                return Some(Change { slot, segment: number, exporter: None, blocks });
            }
            if let Some((exporter, blocks)) = books.done.take_changed(blocks_max, &books.resolved.units) {
                return Some(Change { slot, segment: number, exporter: Some(exporter), blocks });
            }
        }
        None
    }

    /// What was taken as changed of a pipeline could not be logged.
    pub fn mark_changed(&mut self, pipeline: usize, change: &Change) {
        let Some(segment) = self.slots.get_mut(change.slot).and_then(Option::as_mut) else { return };
        let books = &mut segment.books[pipeline];
        let set = match change.exporter {
            None => Some(&mut books.resolved),
            Some(exporter) => books.done.get_mut(exporter),
        };
        if let Some(set) = set {
            change.blocks.iter().for_each(|(block, _)| set.mark_changed(*block));
        }
    }

    /// Whether anything of a pipeline changed since it was last logged.
    #[must_use]
    pub fn has_changed(&self, pipeline: usize) -> bool {
        self.iter().any(|segment| segment.of(pipeline).has_changed())
    }
}

impl Exporters {
    /// Those that are among `done` are done with a unit. What is beyond a bound is counted.
    fn note_done(&mut self, books: &mut Books, unit: u32, done: Destinations, bytes_max: usize) {
        let before = books.done.bytes();
        let room = bytes_max.saturating_sub(self.done_bytes - before);
        let is_noted = books.done.note(unit, &self.names, done, room);
        self.done_bytes = self.done_bytes - before + books.done.bytes();
        self.done_forgotten += u64::from(!is_noted);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Without `Segment::is_free` a segment would go with the first pipeline that is done with it.
    #[test]
    fn a_segment_goes_when_every_pipeline_is_done_with_what_it_takes() {
        let mut segments = Segments::new(0, 3);
        let all = segments.appended((1, 4096), 0, 2, Takers::ALL, 1).unwrap();
        let second = segments.appended((1, 4096), 0, 1, Takers::of(1), 1).unwrap();
        segments.close(1);
        for pipeline in [0, 2] {
            (0..2).for_each(|unit| _ = segments.resolve(pipeline, all.unit(unit)));
        }
        assert!(!segments.holds_oldest(0) && segments.holds_oldest(1) && segments.take_freed().is_empty());
        (0..2).for_each(|unit| _ = segments.resolve(1, all.unit(unit)));
        assert_eq!(segments.get(0).unwrap().unresolved(), 1);
        assert!(segments.resolve(1, second.unit(0)));
        assert_eq!((segments.take_freed().len(), segments.len(), segments.bytes()), (1, 0, 0));
    }

    #[test]
    fn what_one_pipeline_gives_up_frees_nothing_while_another_judges() {
        let mut segments = Segments::new(0, 2);
        let origin = segments.appended((1, 4096), 0, 1, Takers::ALL, 1).unwrap();
        segments.close(1);
        let kept = KeptUnit { unit: origin.unit(0), mark: crate::vocabulary::SpanMark::UNKNOWN };
        assert!(segments.park(0, kept, Destinations::ALL));
        assert!(segments.oldest_parked(0).is_none());
        assert!(segments.park(1, kept, Destinations::ALL));
        assert!(segments.oldest_parked(0).is_some() && segments.oldest_parked(1).is_some());
    }
}
