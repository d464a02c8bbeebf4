//! What a core tells those that own the log in which a span lies: that it is done with, that it waits there, or which
//! exporters are done with it while others are not.

use super::{Core, Message};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Unit};
use tailwater_runtime::mesh::MeshPort;

/// Units gathered for another core before they are sent between ticks.
const UNITS_PER_MESSAGE: usize = 4096;

/// Units of other cores' logs, by the core, until they are sent. Bounded by what is in memory.
#[derive(Default)]
pub(super) struct ForOwners {
    resolved: Vec<Vec<Unit>>,
    parked: Vec<Vec<(KeptUnit, Destinations)>>,
    done: Vec<Vec<(Unit, Destinations)>>,
}

impl ForOwners {
    /// A unit that is done with. Returns whether there are so many for that core that they are to be sent.
    fn resolve(&mut self, owner: usize, unit: Unit) -> bool {
        let waiting = slot(&mut self.resolved, owner);
        waiting.push(unit);
        waiting.len() >= UNITS_PER_MESSAGE
    }

    fn park(&mut self, owner: usize, kept: KeptUnit, destinations: Destinations) {
        slot(&mut self.parked, owner).push((kept, destinations));
    }

    fn note_done(&mut self, owner: usize, unit: Unit, done: Destinations) {
        slot(&mut self.done, owner).push((unit, done));
    }

    /// Sends all. What finds a full queue stays for the next time.
    fn send(&mut self, mesh: &MeshPort<Message>) {
        let is_sent = |owner, message| mesh.try_send(owner, message).is_ok();
        for (owner, units) in self.resolved.iter_mut().enumerate().filter(|(_, units)| !units.is_empty()) {
            if let Err(Message::Resolved(back)) = mesh.try_send(owner, Message::Resolved(std::mem::take(units))) {
                *units = back;
            }
        }
        for (owner, waiting) in self.parked.iter_mut().enumerate() {
            send_alike(waiting, |units, destinations| is_sent(owner, Message::Parked(units, destinations)));
        }
        for (owner, waiting) in self.done.iter_mut().enumerate() {
            send_alike(waiting, |units, destinations| is_sent(owner, Message::Done(units, destinations)));
        }
    }

    fn is_empty(&self) -> bool {
        self.resolved.iter().all(Vec::is_empty)
            && self.parked.iter().all(Vec::is_empty)
            && self.done.iter().all(Vec::is_empty)
    }
}

impl Core {
    /// A unit waits in the log for `destinations`.
    pub(super) fn park(&self, kept: KeptUnit, destinations: Destinations) {
        let owner = usize::from(kept.unit.segment.core());
        if owner != self.index {
            self.for_owners.borrow_mut().park(owner, kept, destinations);
        } else if let Some(log) = &self.log {
            log.lane.borrow_mut().segments.park(kept, destinations);
        }
    }

    /// Units whose verdicts are durable: the cores that own them need not keep them.
    pub(super) fn tell_owners(&self, units: &[Unit]) {
        let Some(log) = &self.log else { return };
        let mut is_much = false;
        let (mut mine, mut others) = (log.lane.borrow_mut(), self.for_owners.borrow_mut());
        for unit in units {
            let owner = usize::from(unit.segment.core());
            if owner == self.index {
                mine.resolve(*unit);
            } else {
                is_much |= others.resolve(owner, *unit);
            }
        }
        drop((mine, others));
        if is_much {
            self.send_units();
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
                self.for_owners.borrow_mut().note_done(owner, unit, done);
            } else if let Some(log) = &self.log {
                log.lane.borrow_mut().segments.note_done(unit, done);
            }
        }
    }

    /// Sends what was gathered for other cores, as far as their queues have room.
    pub(super) fn send_units(&self) {
        self.for_owners.borrow_mut().send(&self.mesh);
    }

    /// Whether something was gathered for other cores.
    pub(super) fn has_units_to_send(&self) -> bool {
        !self.for_owners.borrow().is_empty()
    }
}

/// Sends units that have the same exporters together, the latest first. What finds a full queue stays.
fn send_alike<U: Copy>(waiting: &mut Vec<(U, Destinations)>, send: impl Fn(Vec<U>, Destinations) -> bool) {
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
