//! Which exporters are done with what still waits for others: one set of units for each exporter, where there are several.
//! A unit that every exporter is done with is resolved and needs none of this. Units are only ever added, and what is not
//! said here is sent again: to know less costs duplicates, never loss.

use super::bitmap::{BLOCK_UNITS, Bitmap, Block, LoggedBitmap};
use crate::vocabulary::Destinations;

/// Exporters of which it is noted: those that are configured first. Few nodes have more than three.
pub const EXPORTERS_MAX: usize = 16;
/// Bytes of the sets of a pipeline's core in memory: a bit for each of 64 million spans that wait. Past it what is parked is
/// noted as done by nobody.
pub const DONE_BYTES_MAX: usize = 8 << 20;
// The memory plan has a row for it.
const _: () = assert!(DONE_BYTES_MAX as u64 == tailwater_config::PARTLY_DONE_BYTES);
/// Bytes of an exporter's name in the log; one with a longer name is noted as done with nothing.
pub const EXPORTER_NAME_BYTES_MAX: usize = 1024;

/// The sets of one segment, by the exporters' numbers.
#[derive(Debug, Default)]
pub struct DoneSets {
    sets: Vec<(usize, LoggedBitmap)>,
}

impl DoneSets {
    /// Bytes that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.sets.iter().map(|(_, set)| set.units.bytes()).sum()
    }

    /// Units in them; one that is in several counts as often.
    #[must_use]
    pub fn count(&self) -> u32 {
        self.sets.iter().map(|(_, set)| set.units.count()).sum()
    }

    /// The exporters that are done with `unit`.
    #[must_use]
    pub fn of(&self, unit: u32) -> Destinations {
        let done = self.sets.iter().filter(|(_, set)| set.units.has(unit));
        done.fold(Destinations::NONE, |all, (number, _)| all.with(Destinations::of(*number)))
    }

    /// Whether an exporter is done with a unit from `first` on, before `end`.
    #[must_use]
    pub fn has_any(&self, first: u32, end: u32) -> bool {
        self.sets.iter().any(|(_, set)| set.units.next(first).is_some_and(|unit| unit < end))
    }

    /// Sets what exporter `number` is done with.
    pub fn put(&mut self, number: usize, units: Bitmap) {
        self.sets.push((number, units.into()));
    }

    /// Notes that those of the named `exporters` that are among `done` are done with `unit`. False where that is beyond a
    /// bound.
    pub fn note(&mut self, unit: u32, exporters: &[String], done: Destinations, bytes_max: usize) -> bool {
        let mut is_noted = true;
        for (number, name) in exporters.iter().enumerate().filter(|(number, _)| done.has(*number)) {
            if name.is_empty() {
                is_noted = false;
                continue;
            }
            if self.get_mut(number).is_some_and(|set| set.units.has(unit)) {
                continue;
            }
            if self.bytes().saturating_add(self.growth(number, unit)) > bytes_max {
                is_noted = false;
                continue;
            }
            if self.get_mut(number).is_none() {
                self.sets.push((number, LoggedBitmap::default()));
            }
            self.get_mut(number).map(|set| set.set(unit));
        }
        is_noted
    }

    /// Bytes by which the set of an exporter grows when `unit` is added, at most: it doubles.
    fn growth(&self, number: usize, unit: u32) -> usize {
        let has = self.sets.iter().find(|(known, _)| *known == number).map_or(0, |(_, set)| set.units.bytes());
        let needs = (unit / BLOCK_UNITS + 1) as usize * (BLOCK_UNITS as usize / 8);
        if needs <= has { 0 } else { needs.max(2 * has) - has }
    }

    /// The set of an exporter.
    pub fn get_mut(&mut self, number: usize) -> Option<&mut LoggedBitmap> {
        self.sets.iter_mut().find(|(known, _)| *known == number).map(|(_, set)| set)
    }

    /// Marks everything as changed.
    pub fn restate(&mut self) {
        self.sets.iter_mut().for_each(|(_, set)| set.restate());
    }

    /// Whether anything changed since it was last logged.
    #[must_use]
    pub fn has_changed(&self) -> bool {
        self.sets.iter().any(|(_, set)| set.has_changed())
    }

    /// Blocks of one exporter's set that changed, at most `blocks_max`; without those all of whose units are `resolved`.
    pub fn take_changed(&mut self, blocks_max: usize, resolved: &Bitmap) -> Option<(usize, Vec<Block>)> {
        for (number, set) in &mut self.sets {
            while set.has_changed() {
                let mut blocks = set.take_changed(blocks_max);
                let is_open = |(done, resolved): (&u8, u8)| done & !resolved != 0;
                blocks.retain(|(index, block)| block.iter().zip(resolved.block(*index)).any(is_open));
                if !blocks.is_empty() {
                    return Some((*number, blocks));
                }
            }
        }
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EXPORTERS: [&str; 3] = ["a", "", "c"];

    #[test]
    fn what_is_beyond_a_bound_is_noted_by_nobody_and_said() {
        let names = EXPORTERS.map(String::from);
        let mut sets = DoneSets::default();
        let done = Destinations::of(0).with(Destinations::of(1));
        assert!(!sets.note(7, &names, done, DONE_BYTES_MAX), "one without a name");
        assert_eq!(sets.of(7), Destinations::of(0));
        assert!(sets.note(8, &names, Destinations::of(2), DONE_BYTES_MAX));
        let bytes = sets.bytes();
        assert!(!sets.note(1 << 20, &names, Destinations::of(2), bytes + 1000));
        assert_eq!((sets.bytes(), sets.of(1 << 20), sets.count()), (bytes, Destinations::NONE, 2));
        assert!(sets.has_any(8, 9) && !sets.has_any(9, 1 << 21));
    }

    #[test]
    fn what_is_resolved_is_not_said_again() {
        let names = ["a".to_string()];
        let (mut sets, mut resolved) = (DoneSets::default(), Bitmap::default());
        for unit in [1, 600] {
            sets.note(unit, &names, Destinations::of(0), DONE_BYTES_MAX);
        }
        resolved.set(1);
        let (number, blocks) = sets.take_changed(10, &resolved).unwrap();
        assert_eq!((number, blocks.len(), blocks[0].0), (0, 1, 1));
        assert!(!sets.has_changed());
        sets.restate();
        resolved.set(600);
        assert!(sets.take_changed(10, &resolved).is_none());
    }
}
