//! What the numbers in verdicts mean: the names of policies, and annotations, which are attributes that the spans of kept
//! traces get. Each segment of a journal tells what its verdicts need, once: `Telling` knows what is still to be told,
//! `Told` what a start has been told.

use super::format::{VerdictEntry, annotation_bytes, annotations_bytes, names_bytes, verdicts_bytes};
use super::stream::{AppendError, Stream};
use crate::vocabulary::{Annotations, UNKNOWN_POLICY};
use hashbrown::HashMap;
use std::hash::Hash;

/// Bytes of the names of policies, which each segment begins with; at most an eighth of it.
/// At the bound: verdicts of the rest are of an unknown policy after a restart.
const NAMES_BYTES_MAX: usize = 64 << 10;
/// Bytes of the annotations that a segment tells; at most an eighth of it.
/// At the bound: late spans leave without the rest after a restart; counted in `tailwater_wal_verdicts_bared_total`.
const ANNOTATIONS_BYTES_MAX: usize = 64 << 10;
/// Bytes of annotations that a start takes up: as many as 32 segments may tell.
/// At the bound: late spans leave without the rest after a restart; counted in `tailwater_wal_verdicts_bared_total`.
const RECOVERED_ANNOTATIONS_BYTES_MAX: usize = 32 * ANNOTATIONS_BYTES_MAX;

/// What of an annotation the segment has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
enum State {
    #[default]
    Untold,
    /// It is among those that the next verdicts need.
    Next,
    Told,
    LeftOut,
}

/// What a journal has still to tell in the segment that it writes.
#[derive(Debug)]
pub struct Telling {
    /// What policies are called, by their numbers.
    names: Vec<String>,
    names_bytes_max: usize,
    /// Annotations by their numbers: attributes as fields of a span.
    annotations: Vec<Vec<u8>>,
    annotations_bytes_max: usize,
    /// The segment in which the rest was told.
    segment: Option<u64>,
    is_named: bool,
    /// By the numbers of annotations.
    states: Vec<State>,
    /// Of those that are told in the segment.
    annotations_bytes: usize,
    /// Those that the next verdicts need.
    next: Vec<u16>,
}

impl Telling {
    /// For segments of so many bytes.
    #[must_use]
    pub fn new(segment_bytes: u64) -> Self {
        let part = usize::try_from(segment_bytes / 8).unwrap_or(usize::MAX);
        Self {
            names: Vec::new(),
            names_bytes_max: NAMES_BYTES_MAX.min(part),
            annotations: Vec::new(),
            annotations_bytes_max: ANNOTATIONS_BYTES_MAX.min(part),
            segment: None,
            is_named: false,
            states: Vec::new(),
            annotations_bytes: 0,
            next: Vec::new(),
        }
    }

    /// From now on policies are called by these names, each at the place of its number.
    pub fn set_names(&mut self, names: impl Iterator<Item = String>) {
        let mut room = self.names_bytes_max;
        let fitting = names.map_while(|name| {
            room = room.checked_sub(names_bytes(std::slice::from_ref(&name)))?;
            Some(name)
        });
        self.names = fitting.collect();
        self.is_named = false;
    }

    /// The annotations by their numbers. Those that were there before are the same.
    pub fn set_annotations(&mut self, annotations: &[Vec<u8>]) {
        self.annotations = annotations.to_vec();
        self.states.resize(self.annotations.len(), State::Untold);
    }

    /// Takes a segment that has room for these verdicts and for what is to be told before them.
    ///
    /// # Errors
    /// As `Stream::segment_to_take`.
    pub fn take_segment(&mut self, stream: &mut Stream, entries: &[VerdictEntry]) -> Result<(), AppendError> {
        let bytes = verdicts_bytes(entries);
        // Another segment needs all to be told, for which it may have no room: then it is the one after it.
        for _ in 0..3 {
            self.gather(entries);
            let number = stream.segment_to_take(bytes + self.bytes())?;
            if self.segment == Some(number) {
                break;
            }
            self.segment = Some(number);
            self.is_named = false;
            self.states.fill(State::Untold);
            self.annotations_bytes = 0;
        }
        Ok(())
    }

    /// Finds the annotations that these verdicts need and the segment does not tell.
    fn gather(&mut self, entries: &[VerdictEntry]) {
        for number in self.next.drain(..) {
            if let Some(state) = self.states.get_mut(usize::from(number)).filter(|state| **state == State::Next) {
                *state = State::Untold;
            }
        }
        let mut room = self.annotations_bytes_max - self.annotations_bytes;
        let annotated = entries.iter().filter(|entry| entry.annotations != Annotations::NONE);
        for number in annotated.flat_map(|entry| entry.annotations.numbers()) {
            let place = usize::from(number);
            let (Some(state), Some(attributes)) = (self.states.get_mut(place), self.annotations.get(place)) else {
                continue;
            };
            if *state != State::Untold {
                continue;
            }
            let is_short = attributes.len() <= usize::from(u16::MAX);
            match room.checked_sub(annotation_bytes(attributes.len())).filter(|_| is_short) {
                Some(left) => {
                    room = left;
                    *state = State::Next;
                    self.next.push(number);
                }
                None => *state = State::LeftOut,
            }
        }
    }

    fn bytes(&self) -> usize {
        let names = if self.names_to_tell().is_empty() { 0 } else { names_bytes(&self.names) };
        names + self.annotations_to_tell_bytes()
    }

    /// The names, where they are to be told now.
    #[must_use]
    pub fn names_to_tell(&self) -> &[String] {
        if self.is_named { &[] } else { &self.names }
    }

    /// The names are told.
    pub fn names_told(&mut self) {
        self.is_named = true;
    }

    /// The annotations that are to be told before the next verdicts.
    #[must_use]
    pub fn annotations_to_tell(&self) -> Vec<(u16, &[u8])> {
        let attributes = |number: u16| self.annotations.get(usize::from(number)).map_or(&[][..], Vec::as_slice);
        self.next.iter().map(|number| (*number, attributes(*number))).collect()
    }

    /// Bytes of a record of those; 0 without any.
    #[must_use]
    pub fn annotations_to_tell_bytes(&self) -> usize {
        let told = self.annotations_to_tell();
        if told.is_empty() { 0 } else { annotations_bytes(told.iter().map(|(_, attributes)| attributes.len())) }
    }

    /// Those are told.
    pub fn annotations_told(&mut self) {
        for number in std::mem::take(&mut self.next) {
            let place = usize::from(number);
            self.annotations_bytes += self.annotations.get(place).map_or(0, |bytes| annotation_bytes(bytes.len()));
            if let Some(state) = self.states.get_mut(place) {
                *state = State::Told;
            }
        }
    }

    /// Whether all annotations of a verdict are told in the segment.
    #[must_use]
    pub fn is_told(&self, entry: &VerdictEntry) -> bool {
        let is_told = |number: u16| self.states.get(usize::from(number)) == Some(&State::Told);
        entry.annotations.numbers().all(is_told)
    }
}

/// What journals of a former run told, each thing once.
#[derive(Debug)]
pub struct Told {
    /// Names of policies.
    pub names: Vec<String>,
    /// Annotations: attributes as fields of a span.
    pub annotations: Vec<Vec<u8>>,
    /// Annotations that were left out: there is a bound.
    pub annotations_forgotten: u64,
    annotations_bytes: usize,
    name_places: Places<String>,
    annotation_places: Places<Vec<u8>>,
    /// By the numbers of the segment that is read: places in `names`.
    told_names: Vec<u16>,
    /// By the numbers of the segment that is read: places in `annotations`.
    told_annotations: HashMap<u16, u16, ahash::RandomState>,
}

type Places<Key> = HashMap<Key, u16, ahash::RandomState>;

fn places<Key: Hash + Eq>() -> Places<Key> {
    HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4))
}

impl Default for Told {
    fn default() -> Self {
        Self {
            names: Vec::new(),
            annotations: Vec::new(),
            annotations_forgotten: 0,
            annotations_bytes: 0,
            name_places: places(),
            annotation_places: places(),
            told_names: Vec::new(),
            told_annotations: places(),
        }
    }
}

impl Told {
    /// What the numbers mean is not known before another segment says so.
    pub fn begin_segment(&mut self) {
        self.told_names.clear();
        self.told_annotations.clear();
    }

    /// The names by their numbers; empty where one was left out.
    pub fn take_names<'a>(&mut self, names: impl Iterator<Item = &'a [u8]>) {
        self.told_names = names.map(|name| self.place_of_name(name)).collect();
    }

    /// Annotations with their numbers.
    pub fn take_annotations<'a>(&mut self, annotations: impl Iterator<Item = (u16, &'a [u8])>) {
        for (number, attributes) in annotations {
            match self.place_of_annotation(attributes) {
                Some(place) => _ = self.told_annotations.insert(number, place),
                None => self.annotations_forgotten += 1,
            }
        }
    }

    /// The verdict with places in `names` and `annotations` for its numbers; `UNKNOWN_POLICY` and no annotation for one that
    /// nothing was told of.
    #[must_use]
    pub fn placed(&self, entry: VerdictEntry) -> VerdictEntry {
        let policy = self.told_names.get(usize::from(entry.policy)).copied().unwrap_or(UNKNOWN_POLICY);
        VerdictEntry { policy, annotations: entry.annotations.renumbered(|number| self.place_of(number)), ..entry }
    }

    fn place_of(&self, number: u16) -> Option<u16> {
        self.told_annotations.get(&number).copied()
    }

    /// The place of a name; `UNKNOWN_POLICY` where it was left out, or where there are more than have numbers.
    fn place_of_name(&mut self, name: &[u8]) -> u16 {
        let name = String::from_utf8_lossy(name);
        if name.is_empty() {
            return UNKNOWN_POLICY;
        }
        if let Some(place) = self.name_places.get(&*name) {
            return *place;
        }
        let place = u16::try_from(self.names.len()).unwrap_or(UNKNOWN_POLICY);
        if place != UNKNOWN_POLICY {
            self.names.push(name.to_string());
            self.name_places.insert(name.into_owned(), place);
        }
        place
    }

    fn place_of_annotation(&mut self, attributes: &[u8]) -> Option<u16> {
        if let Some(place) = self.annotation_places.get(attributes) {
            return Some(*place);
        }
        let bytes = self.annotations_bytes + attributes.len();
        let place = u16::try_from(self.annotations.len()).ok().filter(|_| bytes <= RECOVERED_ANNOTATIONS_BYTES_MAX)?;
        self.annotations.push(attributes.to_vec());
        self.annotation_places.insert(attributes.to_vec(), place);
        self.annotations_bytes = bytes;
        Some(place)
    }
}

#[cfg(test)]
mod tests;
