//! What a lane has counted of its requests, for summaries, and how far: said whole in one record of the journal, so that what
//! is counted and what it was counted from can't be told apart by a crash. The last record of a lane holds; a start counts on
//! from there.
//!
//! ```text
//! requests, in the order of their commits   | r1 | r2 | r3 | r4 | r5 |
//! tally in the journal                      |<-- state --->| counted again from here on
//! ```
//! A segment of requests is needed until all in it is resolved, and counted in a tally that is durable.

use super::format::{TallyId, TallyRecord};
use bytes::Bytes;
use std::collections::{BTreeMap, BTreeSet};

/// Tallies that a start reads: those of some runs of a node with very many cores.
/// At the bound: the rest is not counted, and the node says so.
const RECOVERED_TALLIES_MAX: usize = 4096;
/// Tallies that one takes over, as many as its record has place for.
/// At the bound: the rest would be counted twice if the node crashed before it has removed its old journals; the node says so.
pub const TAKEN_OVER_MAX: usize = u16::MAX as usize;

/// What a lane has counted and not yet given on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tally {
    /// Whose it is.
    pub id: TallyId,
    /// Those of former runs that are part of it.
    pub taken_over: Vec<TallyId>,
    /// What was counted, as the host writes it.
    pub state: Bytes,
}

/// A tally as it was given.
#[derive(Debug)]
struct Given {
    number: u64,
    tally: Tally,
    /// How far it goes.
    positions: Positions,
}

/// Numbers of segments, and of the unit below which all units of it are counted.
type Positions = Vec<(u64, u32)>;

/// The tally of a lane on its way to the disk.
#[derive(Debug, Default)]
pub(super) struct Saying {
    latest: Option<Given>,
    given: u64,
    /// Whether there is to be one.
    is_wanted: bool,
    /// The number of that which the current segment of the journal has, and the position that makes it durable.
    said: Option<(u64, u64)>,
    /// The number of the latest that is durable.
    durable: u64,
}

impl Saying {
    /// A tally is to be said in every segment.
    pub(super) fn want(&mut self) {
        self.is_wanted = true;
    }

    /// The latest, which goes as far as `positions` say. Returns its number.
    pub(super) fn give(&mut self, tally: Tally, positions: Positions) -> u64 {
        let is_known = |latest: &Given| (&latest.tally, &latest.positions) == (&tally, &positions);
        if self.latest.as_ref().is_some_and(is_known) {
            return self.given;
        }
        self.given += 1;
        self.latest = Some(Given { number: self.given, tally, positions });
        self.given
    }

    /// The journal has begun another segment, or lost what was on its way: all is to be said again.
    pub(super) fn say_again(&mut self) {
        self.said = None;
    }

    /// What the journal has still to say in its segment.
    pub(super) fn to_say(&self) -> Option<(&Tally, &[(u64, u32)])> {
        let Given { number, tally, positions } = self.latest.as_ref()?;
        (self.said.map(|(said, _)| said) != Some(*number)).then_some((tally, positions))
    }

    /// It was said, and is durable with this position.
    pub(super) fn said(&mut self, position: u64) {
        self.said = self.latest.as_ref().map(|latest| (latest.number, position));
    }

    /// All up to this position is durable. Returns how far the tally goes where that is news.
    pub(super) fn durable_up_to(&mut self, synced: u64) -> Option<&[(u64, u32)]> {
        let (said, position) = self.said?;
        let Given { number, positions, .. } = self.latest.as_ref()?;
        if position > synced || said <= self.durable || said != *number {
            return None;
        }
        self.durable = said;
        Some(positions)
    }

    /// The number of the latest that is durable; 0 for none.
    pub(super) fn durable(&self) -> u64 {
        self.durable
    }

    /// Whether the segment that is written has the latest, durable.
    pub(super) fn is_idle(&self) -> bool {
        self.to_say().is_none() && self.durable == self.given && (self.given > 0 || !self.is_wanted)
    }
}

/// The tallies that a start finds in journals.
#[derive(Debug, Default)]
pub struct Tallies {
    found: BTreeMap<TallyId, Found>,
    /// Those that were passed over.
    pub forgotten: u64,
}

/// One of them.
#[derive(Debug)]
struct Found {
    taken_over: Vec<TallyId>,
    positions: Positions,
    state: Vec<u8>,
}

/// What a start goes on from.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct FormerTallies {
    /// All that were found. The node that takes them over names them until their journals are gone.
    pub ids: Vec<TallyId>,
    /// The states of those that are not part of another.
    pub states: Vec<Vec<u8>>,
    /// By segment of requests the unit below which all are counted.
    pub positions: BTreeMap<u64, u32>,
}

impl Tallies {
    /// Takes in a record: the last of each lane holds.
    pub fn take(&mut self, record: &TallyRecord<'_>) {
        if self.found.len() >= RECOVERED_TALLIES_MAX && !self.found.contains_key(&record.id) {
            self.forgotten += 1;
            return;
        }
        let found = Found {
            taken_over: record.taken_over.clone().collect(),
            positions: record.positions.clone().collect(),
            state: record.state.to_vec(),
        };
        self.found.insert(record.id, found);
    }

    /// Adds those of another directory.
    pub fn merge(&mut self, other: Self) {
        self.found.extend(other.found);
        self.forgotten += other.forgotten;
    }

    /// What they come to.
    #[must_use]
    pub fn finish(self) -> FormerTallies {
        let parts: BTreeSet<TallyId> = self.found.values().flat_map(|found| found.taken_over.iter().copied()).collect();
        let mut former = FormerTallies::default();
        for (id, Found { taken_over, positions, state }) in self.found {
            former.ids.push(id);
            // A journal that names them may outlive theirs.
            former.ids.extend(taken_over);
            for (segment, counted) in positions {
                let known = former.positions.entry(segment).or_default();
                *known = counted.max(*known);
            }
            if !parts.contains(&id) {
                former.states.push(state);
            }
        }
        former.ids.sort_unstable();
        former.ids.dedup();
        former
    }
}

#[cfg(test)]
mod tests;
