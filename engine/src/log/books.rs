//! What one pipeline has left to do in a segment: which of the units that it takes are resolved, which its exporters are
//! partly done with, and which wait in the log.

use super::bitmap::{Bitmap, LoggedBitmap, UNITS_MAX};
use super::done::DoneSets;
use crate::vocabulary::{Destinations, SpanMark};

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
    /// Nothing that waits for `destinations`.
    #[must_use]
    pub fn new(destinations: Destinations) -> Self {
        Self { destinations, marked: Vec::new() }
    }

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

    /// A unit waits, and leaves with `mark`. True when it did not before.
    pub fn add(&mut self, unit: u32, mark: SpanMark) -> bool {
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

/// The books of one pipeline over one segment. Empty where it takes nothing of it.
#[derive(Debug, Default)]
pub struct Books {
    /// Units of the requests that it takes which are not resolved.
    unresolved: u32,
    pub(super) resolved: LoggedBitmap,
    /// Units that some exporters are done with, while others are not.
    pub(super) done: DoneSets,
    pub(super) parked: Vec<Parked>,
}

impl Books {
    /// Whether the unit is resolved.
    #[must_use]
    pub fn is_resolved(&self, unit: u32) -> bool {
        self.resolved.units.has(unit)
    }

    /// Units not resolved, of the requests that the pipeline takes.
    #[must_use]
    pub fn unresolved(&self) -> u32 {
        self.unresolved
    }

    /// Units that wait to be read again.
    #[must_use]
    pub fn parked(&self) -> u32 {
        self.parked.iter().map(Parked::count).sum()
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

    /// The pipeline takes the units from `first` on, before `end`. A former run may have resolved some.
    pub(super) fn take(&mut self, first: u32, end: u32) {
        let end = end.min(UNITS_MAX);
        let is_new = self.resolved.units.next(first).is_none_or(|resolved| resolved >= end);
        let open = if is_new {
            end.saturating_sub(first)
        } else {
            u32::try_from((first..end).filter(|unit| !self.is_resolved(*unit)).count()).unwrap_or(u32::MAX)
        };
        self.unresolved = self.unresolved.saturating_add(open);
    }

    /// A unit that the pipeline takes is done with. True when it was not before.
    #[inline]
    pub(super) fn resolve(&mut self, unit: u32) -> bool {
        let is_new = self.resolved.set(unit);
        self.unresolved = self.unresolved.saturating_sub(u32::from(is_new));
        is_new
    }

    /// Marks everything as changed.
    pub(super) fn restate(&mut self) {
        self.resolved.restate();
        self.done.restate();
    }

    pub(super) fn has_changed(&self) -> bool {
        self.resolved.has_changed() || self.done.has_changed()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vocabulary::{Annotations, RandomnessKind};

    #[test]
    fn labels_give_way_before_thresholds_do() {
        let mut parked = Parked::new(Destinations::ALL);
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

    /// Without the look at what is resolved in `take`, a segment of a former run would never be free.
    #[test]
    fn what_a_former_run_resolved_is_not_left_to_do() {
        let mut former = Bitmap::default();
        [0, 3, 9].into_iter().for_each(|unit| _ = former.set(unit));
        let mut books = Books { resolved: former.into(), ..Books::default() };
        books.take(0, 4);
        books.take(10, 12);
        assert_eq!(books.unresolved(), 2 + 2, "units 4 to 9 are of others");
        assert!(books.resolve(1) && !books.resolve(1) && books.resolve(2) && books.resolve(10) && books.resolve(11));
        assert_eq!(books.unresolved(), 0);
    }
}
