//! What a core tells those that own the log in which a span lies: that it is done with, that it waits there, or which
//! exporters are done with it while others are not.

use super::{Core, Message, UNITS_PER_MESSAGE};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Unit};

/// Units of other cores' logs, until they are sent.
#[derive(Default)]
pub(super) struct ForOwners {
    resolved: Vec<Vec<Unit>>,
    parked: Vec<Vec<(KeptUnit, Destinations)>>,
    done: Vec<Vec<(Unit, Destinations)>>,
}

impl Core {
    /// A unit waits in the log for `destinations`.
    pub(super) fn park(&self, kept: KeptUnit, destinations: Destinations) {
        let owner = usize::from(kept.unit.segment.core());
        if owner == self.index {
            if let Some(log) = &self.log {
                log.lane.borrow_mut().segments.park(kept, destinations);
            }
            return;
        }
        let mut for_owners = self.for_owners.borrow_mut();
        slot(&mut for_owners.parked, owner).push((kept, destinations));
    }

    /// Units whose verdicts are durable: the cores that own them need not keep them.
    pub(super) fn tell_owners(&self, units: &[Unit]) {
        let Some(log) = &self.log else { return };
        let mut for_owners = self.for_owners.borrow_mut();
        let mut full = None;
        let mut mine = log.lane.borrow_mut();
        for unit in units {
            let owner = usize::from(unit.segment.core());
            if owner == self.index {
                mine.resolve(*unit);
                continue;
            }
            let waiting = slot(&mut for_owners.resolved, owner);
            waiting.push(*unit);
            if waiting.len() >= UNITS_PER_MESSAGE {
                full = Some(owner);
            }
        }
        drop((for_owners, mine));
        if full.is_some() {
            self.send_units();
        }
    }

    /// Sends what was gathered for other cores. What finds a full queue stays for the next time; it is bounded by what is
    /// in memory.
    pub(super) fn send_units(&self) {
        let mut for_owners = self.for_owners.borrow_mut();
        let ForOwners { resolved, parked, done } = &mut *for_owners;
        for (owner, units) in resolved.iter_mut().enumerate().filter(|(_, units)| !units.is_empty()) {
            if let Err(Message::Resolved(back)) = self.mesh.try_send(owner, Message::Resolved(std::mem::take(units))) {
                *units = back;
            }
        }
        for (owner, waiting) in parked.iter_mut().enumerate() {
            send_alike(waiting, |units, destinations| {
                self.mesh.try_send(owner, Message::Parked(units, destinations)).is_ok()
            });
        }
        for (owner, waiting) in done.iter_mut().enumerate() {
            send_alike(waiting, |units, destinations| {
                self.mesh.try_send(owner, Message::Done(units, destinations)).is_ok()
            });
        }
    }

    /// Has the logs told which exporters are done with what others have had for long: after a crash it goes to these alone.
    pub(super) fn tell_partly_done(&self) {
        let (found, forgotten) = self.outbox.borrow_mut().take_partly_done();
        if let Some(log) = &self.log {
            log.lane.borrow_mut().segments.done_forgotten += forgotten;
        }
        for (done, units) in found {
            self.note_done(units, done);
        }
    }

    /// Exporters are done with units that others are not done with.
    pub(super) fn note_done(&self, units: Vec<Unit>, done: Destinations) {
        for unit in units {
            let owner = usize::from(unit.segment.core());
            if owner != self.index {
                slot(&mut self.for_owners.borrow_mut().done, owner).push((unit, done));
            } else if let Some(log) = &self.log {
                log.lane.borrow_mut().segments.note_done(unit, done);
            }
        }
    }

    /// Whether something was gathered for other cores.
    pub(super) fn has_units_to_send(&self) -> bool {
        let for_owners = self.for_owners.borrow();
        for_owners.resolved.iter().any(|units| !units.is_empty())
            || for_owners.parked.iter().any(|units| !units.is_empty())
            || for_owners.done.iter().any(|units| !units.is_empty())
    }
}

/// Sends units that have the same exporters together, the latest first. What finds a full queue stays.
fn send_alike<U: Copy>(waiting: &mut Vec<(U, Destinations)>, mut send: impl FnMut(Vec<U>, Destinations) -> bool) {
    while let Some((_, destinations)) = waiting.last().copied() {
        let same = waiting.iter().rposition(|(_, other)| *other != destinations).map_or(0, |last| last + 1);
        let units: Vec<_> = waiting.iter().skip(same).map(|(unit, _)| *unit).collect();
        if !send(units, destinations) {
            break;
        }
        waiting.truncate(same);
    }
}

pub(super) fn slot<T>(lists: &mut Vec<Vec<T>>, number: usize) -> &mut Vec<T> {
    if lists.len() <= number {
        lists.resize_with(number + 1, Vec::new);
    }
    &mut lists[number]
}
