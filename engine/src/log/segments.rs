//! The segments of requests that one core owns, and what is left to do with their units. A segment is freed when no more
//! records come and every unit is resolved: exported and accepted, or dropped.

use super::bitmap::{Bitmap, Block, LoggedBitmap, UNITS_MAX};
use super::done::{DONE_BYTES_MAX, DoneSets, EXPORTER_NAME_BYTES_MAX, EXPORTERS_MAX};
use crate::vocabulary::{Destinations, KeptUnit, Origin, SegmentHandle, SpanMark, Unit};

/// Bytes of log from one entry of a segment's index to the next: reading one unit again costs about as much.
const INDEX_STEP_BYTES: u64 = 64 << 10;
/// Slots of a core's table: what a `SegmentHandle` can name, less one so that no handle is `NONE`.
/// At the bound: as where `wal.bytes_max` is used up; the number in use is `tailwater_wal_segments`.
const SLOTS_MAX: usize = u16::MAX as usize;

/// Items that wait in a segment for the same exporters.
#[derive(Debug, Clone)]
pub struct Parked {
    /// The exporters.
    pub destinations: Destinations,
    /// The units, by what they leave with.
    marked: Vec<(SpanMark, Bitmap)>,
}

/// Different marks of what waits in one segment for the same exporters. A segment holds some seconds of spans, in which
/// a rule has one threshold, and a limit one a second.
/// At the bound: spans leave without theirs; labels and annotations from three quarters on; counted in
/// `tailwater_marks_forgotten_spans_total`.
const MARKS_MAX: usize = 64;

impl Parked {
    /// How many units there are.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.marked.iter().map(|(_, units)| units.count()).sum()
    }

    /// The first unit at or after `from`.
    #[must_use]
    pub fn next(&self, from: u32) -> Option<u32> {
        self.marked.iter().filter_map(|(_, units)| units.next(from)).min()
    }

    /// What a unit leaves with; `None` when it does not wait.
    #[must_use]
    pub fn mark(&self, unit: u32) -> Option<SpanMark> {
        self.marked.iter().find(|(_, units)| units.has(unit)).map(|(mark, _)| *mark)
    }

    fn add(&mut self, unit: u32, mark: SpanMark) -> bool {
        let place = |marked: &[(SpanMark, Bitmap)], mark| marked.iter().position(|(known, _)| *known == mark);
        // Thresholds matter more than what is written besides: their places are not taken by it.
        let is_nearly_full = self.marked.len() >= MARKS_MAX / 4 * 3;
        let mark = if is_nearly_full && place(&self.marked, mark).is_none() { mark.bared() } else { mark };
        let is_full = self.marked.len() >= MARKS_MAX;
        let mark = if is_full && place(&self.marked, mark).is_none() { SpanMark::UNKNOWN } else { mark };
        let known = place(&self.marked, mark).unwrap_or_else(|| {
            self.marked.push((mark, Bitmap::default()));
            self.marked.len() - 1
        });
        self.marked[known].1.set(unit)
    }
}

/// One segment.
#[derive(Debug)]
pub struct Segment {
    /// Its number, which names its file.
    pub number: u64,
    /// Bytes of its file.
    pub bytes: u64,
    /// When its first request came, nanoseconds since the Unix epoch; 0 before.
    pub first_unix_nano: u64,
    /// Units logged in it.
    pub units: u32,
    is_closed: bool,
    resolved: LoggedBitmap,
    /// Units that some exporters are done with, while others are not.
    done: DoneSets,
    parked: Vec<Parked>,
    /// First unit and offset of some records, in their order.
    index: Vec<(u32, u64)>,
}

impl Segment {
    /// Whether the unit is resolved.
    #[must_use]
    pub fn is_resolved(&self, unit: u32) -> bool {
        self.resolved.units.has(unit)
    }

    /// Units not resolved.
    #[must_use]
    pub fn unresolved(&self) -> u32 {
        self.units.saturating_sub(self.resolved.units.count())
    }

    /// Units that wait to be read again.
    #[must_use]
    pub fn parked(&self) -> u32 {
        self.parked.iter().map(Parked::count).sum()
    }

    /// Where reading may start to find the record of `unit`.
    #[must_use]
    pub fn offset_before(&self, unit: u32) -> u64 {
        let after = self.index.partition_point(|(first, _)| *first <= unit);
        self.index.get(after.wrapping_sub(1)).map_or(super::format::BLOCK_BYTES as u64, |(_, offset)| *offset)
    }

    fn note_record(&mut self, first_unit: u32, offset: u64) {
        let is_far = self.index.last().is_none_or(|(_, last)| offset >= last + INDEX_STEP_BYTES);
        if is_far {
            self.index.push((first_unit, offset));
        }
    }

    /// Marks everything resolved as changed.
    fn restate(&mut self) {
        self.resolved.restate();
        self.done.restate();
    }

    /// A journal may tell of units whose records a failing disk took. They count as there and done with, so that resolved
    /// units are never more than units.
    fn forget_missing(&mut self) {
        while let Some(beyond) = self.resolved.units.next(self.units) {
            for missing in self.units..beyond {
                self.resolve(missing);
            }
            self.units = beyond + 1;
        }
    }

    fn resolve(&mut self, unit: u32) -> bool {
        self.resolved.set(unit)
    }

    /// Units that some exporters were done with while others were not, once for each of them.
    #[must_use]
    pub fn partly_done(&self) -> u32 {
        self.done.count()
    }

    /// Whether an exporter is done with one of these units.
    #[must_use]
    pub fn is_partly_done(&self, first_unit: u32, units: u32) -> bool {
        self.done.has_any(first_unit, first_unit.saturating_add(units))
    }
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
    /// Names of the exporters by their numbers; none of those of which nothing is noted.
    exporters: Vec<String>,
    /// Bytes of what says which exporters are done with what.
    done_bytes: usize,
    done_bytes_max: usize,
    /// Units that will be sent to all exporters again after a restart: nothing can say which of them are done with it.
    pub done_forgotten: u64,
}

/// What is to be logged of a segment: blocks of the set of resolved units, or of those that one exporter is done with.
#[derive(Debug)]
pub struct Change {
    /// The segment's number.
    pub segment: u64,
    /// The exporter.
    pub exporter: Option<usize>,
    /// The blocks.
    pub blocks: Vec<Block>,
}

impl Segments {
    /// The table of a core.
    #[must_use]
    pub fn new(core: u16) -> Self {
        Self {
            core,
            slots: Vec::new(),
            current: None,
            freed: Vec::new(),
            bytes: 0,
            exporters: Vec::new(),
            done_bytes: 0,
            done_bytes_max: DONE_BYTES_MAX,
            done_forgotten: 0,
        }
    }

    /// What says which exporters are done with what takes at most so many bytes, and `DONE_BYTES_MAX`.
    pub fn bound_done(&mut self, bytes_max: usize) {
        self.done_bytes_max = bytes_max.min(DONE_BYTES_MAX);
    }

    /// The names of the exporters, each at the place of its number. To be called before anything is restored.
    pub fn set_exporters(&mut self, names: Vec<String>) {
        let is_noted =
            |(number, name): &(usize, String)| *number < EXPORTERS_MAX && name.len() <= EXPORTER_NAME_BYTES_MAX;
        let names = names.into_iter().enumerate();
        self.exporters = names.map(|pair| if is_noted(&pair) { pair.1 } else { String::new() }).collect();
    }

    /// What an exporter is called.
    #[must_use]
    pub fn exporter_name(&self, number: usize) -> &str {
        self.exporters.get(number).map_or("", String::as_str)
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
    pub fn add(&mut self, number: u64, bytes: u64) -> Option<SegmentHandle> {
        let segment = Segment {
            number,
            bytes,
            first_unix_nano: 0,
            units: 0,
            is_closed: false,
            resolved: LoggedBitmap::default(),
            done: DoneSets::default(),
            parked: Vec::new(),
            index: Vec::new(),
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

    /// Notes that a request of that many units was appended to segment `number`, in a flush that begins at `offset`.
    /// Returns where its units are; `None` when the segment can't be entered in the table.
    pub fn appended(&mut self, number: u64, bytes: u64, offset: u64, units: u32, unix_nano: u64) -> Option<Origin> {
        let is_current = self.current.and_then(|slot| self.get(slot)).is_some_and(|segment| segment.number == number);
        if !is_current {
            self.current = Some(self.add(number, bytes)?.slot());
        }
        let slot = self.current?;
        let core = self.core;
        let segment = self.get_mut(slot)?;
        if segment.first_unix_nano == 0 {
            segment.first_unix_nano = unix_nano;
        }
        let first_unit = segment.units;
        segment.units = segment.units.saturating_add(units);
        segment.note_record(first_unit, offset);
        Some(Origin { segment: SegmentHandle::new(core, slot), first_unit })
    }

    /// The unit that the next request in segment `number` begins with; `None` when no more fit.
    #[must_use]
    pub fn next_unit(&self, number: u64, units: u32) -> Option<u32> {
        let current = self.current.and_then(|slot| self.get(slot)).filter(|segment| segment.number == number);
        let next = current.map_or(0, |segment| segment.units);
        (next.checked_add(units)? < UNITS_MAX).then_some(next)
    }

    /// Enters a record of a segment of a former run.
    pub fn recovered(&mut self, handle: SegmentHandle, first_unit: u32, units: u32, offset: u64, unix_nano: u64) {
        let Some(segment) = self.get_mut(handle.slot()) else { return };
        if segment.first_unix_nano == 0 {
            segment.first_unix_nano = unix_nano;
        }
        // Units whose records were damaged can't come back: nothing waits for them.
        for missing in segment.units..first_unit.min(UNITS_MAX) {
            segment.resolve(missing);
        }
        segment.units = segment.units.max(first_unit.saturating_add(units).min(UNITS_MAX));
        segment.note_record(first_unit, offset);
    }

    /// Sets what a former run had resolved, and what exporters were done with, by their names: one that has gone has
    /// nothing to be spared. The journal of this run is to say it again, whenever that is: the old one goes.
    pub fn restore(&mut self, handle: SegmentHandle, resolved: Bitmap, done: Vec<(String, Bitmap)>) {
        let mut sets = DoneSets::default();
        for (name, units) in done {
            let number = self.exporters.iter().position(|known| *known == name && !name.is_empty());
            let Some(number) = number else { continue };
            if self.done_bytes.saturating_add(units.bytes()) > self.done_bytes_max {
                self.done_forgotten += u64::from(units.count());
                continue;
            }
            self.done_bytes += units.bytes();
            sets.put(number, units);
        }
        if let Some(segment) = self.get_mut(handle.slot()) {
            segment.resolved = resolved.into();
            segment.done = sets;
            segment.restate();
        }
    }

    /// The segment gets no more records. False when it is not in the table: nothing was ever logged in it.
    pub fn close(&mut self, number: u64) -> bool {
        let slot = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|segment| segment.number == number));
        let Some(slot) = slot else { return false };
        if self.current.map(usize::from) == Some(slot) {
            self.current = None;
        }
        if let Some(segment) = &mut self.slots[slot] {
            segment.is_closed = true;
            segment.forget_missing();
        }
        self.free_if_done(slot);
        true
    }

    fn free_if_done(&mut self, slot: usize) {
        let Some(place) = self.slots.get_mut(slot) else { return };
        if place.as_ref().is_some_and(|segment| segment.is_closed && segment.unresolved() == 0)
            && let Some(segment) = place.take()
        {
            self.bytes -= segment.bytes;
            self.done_bytes -= segment.done.bytes();
            self.freed.push(segment);
        }
    }

    /// A unit is done with. True when it was not before.
    #[inline]
    pub fn resolve(&mut self, handle: SegmentHandle, unit: u32) -> bool {
        let slot = handle.slot();
        let Some(segment) = self.get_mut(slot) else { return false };
        let is_new = segment.resolve(unit);
        if segment.is_closed && segment.unresolved() == 0 {
            self.free_if_done(usize::from(slot));
        }
        is_new
    }

    /// A unit waits in the log for `destinations`, but for those that are done with it. False when it is resolved.
    pub fn park(&mut self, kept: KeptUnit, destinations: Destinations) -> bool {
        let KeptUnit { unit: Unit { segment: handle, number: unit }, mark } = kept;
        let place = self.slots.get_mut(usize::from(handle.slot()));
        let Some(segment) = place.and_then(Option::as_mut) else { return false };
        if segment.resolved.units.has(unit) {
            return false;
        }
        let destinations = destinations.without(segment.done.of(unit));
        if self.exporters.len() > 1 {
            let done = Destinations::ALL.without(destinations);
            let bounds = (&mut self.done_bytes, self.done_bytes_max);
            let is_noted = note_done(segment, unit, done, &self.exporters, bounds);
            self.done_forgotten += u64::from(!is_noted);
        }
        let known = segment.parked.iter().position(|parked| parked.destinations == destinations);
        let known = known.unwrap_or_else(|| {
            segment.parked.push(Parked { destinations, marked: Vec::new() });
            segment.parked.len() - 1
        });
        segment.parked[known].add(unit, mark)
    }

    /// Exporters are done with a unit for which others have not reported.
    pub fn note_done(&mut self, unit: Unit, done: Destinations) {
        let place = self.slots.get_mut(usize::from(unit.segment.slot()));
        let segment = place.and_then(Option::as_mut).filter(|segment| !segment.is_resolved(unit.number));
        let Some(segment) = segment else { return };
        let bounds = (&mut self.done_bytes, self.done_bytes_max);
        let is_noted = note_done(segment, unit.number, done, &self.exporters, bounds);
        self.done_forgotten += u64::from(!is_noted);
    }

    /// Whether anything waits for exporters that `can_take`.
    #[must_use]
    pub fn has_parked(&self, can_take: impl Fn(Destinations) -> bool) -> bool {
        self.iter().flat_map(|segment| &segment.parked).any(|parked| can_take(parked.destinations))
    }

    /// Takes what waits in the oldest segment that has something for exporters that `can_take`.
    pub fn take_parked(&mut self, can_take: impl Fn(Destinations) -> bool) -> Option<(SegmentHandle, Parked)> {
        let has_some = |segment: &&Segment| segment.parked.iter().any(|parked| can_take(parked.destinations));
        let oldest = self.iter().filter(has_some).min_by_key(|segment| segment.number)?.number;
        self.take_parked_of(oldest, can_take)
    }

    /// Takes what waits in segment `number` for exporters that `can_take`.
    pub fn take_parked_of(
        &mut self,
        number: u64,
        can_take: impl Fn(Destinations) -> bool,
    ) -> Option<(SegmentHandle, Parked)> {
        let core = self.core;
        let slot = self.slots.iter().position(|slot| slot.as_ref().is_some_and(|segment| segment.number == number))?;
        let segment = self.slots[slot].as_mut()?;
        let position = segment.parked.iter().position(|parked| can_take(parked.destinations))?;
        Some((SegmentHandle::new(core, u16::try_from(slot).ok()?), segment.parked.swap_remove(position)))
    }

    /// The oldest closed segment in use for nothing but what waits in it: giving that up frees it.
    #[must_use]
    pub fn oldest_parked(&self) -> Option<&Segment> {
        let is_parked = |segment: &&Segment| segment.parked() > 0 && segment.parked() == segment.unresolved();
        self.iter().filter(|segment| segment.is_closed).filter(is_parked).min_by_key(|segment| segment.number)
    }

    /// Segments freed since the last call: their files may be recycled.
    pub fn take_freed(&mut self) -> Vec<Segment> {
        std::mem::take(&mut self.freed)
    }

    /// Marks everything resolved as changed: the journal begins a new segment and says it all again.
    pub fn restate(&mut self) {
        self.slots.iter_mut().flatten().for_each(Segment::restate);
    }

    /// Blocks that changed since they were last logged, at most `blocks_max` of one set.
    pub fn take_changed(&mut self, blocks_max: usize) -> Option<Change> {
        for segment in self.slots.iter_mut().flatten() {
            let number = segment.number;
            if segment.resolved.has_changed() {
                let blocks = segment.resolved.take_changed(blocks_max);
                return Some(Change { segment: number, exporter: None, blocks });
            }
            if let Some((exporter, blocks)) = segment.done.take_changed(blocks_max, &segment.resolved.units) {
                return Some(Change { segment: number, exporter: Some(exporter), blocks });
            }
        }
        None
    }

    /// What was taken as changed could not be logged.
    pub fn mark_changed(&mut self, change: &Change) {
        let number = change.segment;
        let Some(segment) = self.slots.iter_mut().flatten().find(|segment| segment.number == number) else { return };
        let set = match change.exporter {
            None => Some(&mut segment.resolved),
            Some(exporter) => segment.done.get_mut(exporter),
        };
        if let Some(set) = set {
            change.blocks.iter().for_each(|(block, _)| set.mark_changed(*block));
        }
    }

    /// Whether anything changed since it was last logged.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.iter().any(|segment| segment.resolved.has_changed() || segment.done.has_changed())
    }
}

/// False where it is beyond a bound.
fn note_done(
    segment: &mut Segment,
    unit: u32,
    done: Destinations,
    exporters: &[String],
    (done_bytes, done_bytes_max): (&mut usize, usize),
) -> bool {
    let before = segment.done.bytes();
    let room = done_bytes_max.saturating_sub(*done_bytes - before);
    let is_noted = segment.done.note(unit, exporters, done, room);
    *done_bytes = *done_bytes - before + segment.done.bytes();
    is_noted
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::Annotations;
    use crate::vocabulary::RandomnessKind;

    #[test]
    fn labels_give_way_before_thresholds_do() {
        let mut parked = Parked { marked: Vec::new(), destinations: Destinations::ALL };
        let labels = u16::try_from(MARKS_MAX).unwrap();
        for policy in 0..labels {
            let mark =
                SpanMark::new(7, RandomnessKind::Hashed).labelled(policy, true).annotated(Annotations::of(&[policy]));
            assert!(parked.add(u32::from(policy), mark));
        }
        assert_eq!(parked.mark(0).unwrap().label(), Some((0, true)));
        assert!(parked.mark(0).unwrap().annotations().numbers().eq([0]));
        let last = parked.mark(u32::from(labels) - 1).unwrap();
        assert_eq!((last.get(), last.label(), last.is_bared()), (Some((7, RandomnessKind::Hashed)), None, true));
        assert_eq!(parked.marked.len(), MARKS_MAX / 4 * 3 + 1, "those without are one");
        for threshold in 100..200 {
            parked.add(1000 + threshold, SpanMark::new(u64::from(threshold), RandomnessKind::Id));
        }
        assert_eq!(parked.marked.len(), MARKS_MAX + 1);
        assert_eq!(parked.mark(1100).unwrap().get(), Some((100, RandomnessKind::Id)));
        assert_eq!(parked.mark(1199), Some(SpanMark::UNKNOWN));
        assert_eq!(
            SpanMark::new(7, RandomnessKind::Hashed).bared(),
            SpanMark::new(7, RandomnessKind::Hashed),
            "there is nothing to be forgotten"
        );
    }
}
