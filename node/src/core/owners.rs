//! What a core tells those that own the log in which a span lies: that it is done with, that it waits there, or which
//! exporters are done with it while others are not.

use super::peers::{ByCore, Peers};
use super::{Core, Message};
use crate::numbers::CoreNumber;
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Unit};

/// Units gathered for another core before they are sent between ticks.
const UNITS_PER_MESSAGE: usize = 4096;

/// Units of other cores' logs, by the core, until they are sent. Bounded by what is in memory.
#[derive(Default)]
pub(super) struct ForOwners {
    resolved: ByCore<Vec<Unit>>,
    parked: ByCore<Vec<(KeptUnit, Destinations)>>,
    done: ByCore<Vec<(Unit, Destinations)>>,
}

impl ForOwners {
    /// A unit that is done with. Returns whether there are so many for that core that they are to be sent.
    fn resolve(&mut self, owner: CoreNumber, unit: Unit) -> bool {
        let waiting = self.resolved.of(owner);
        waiting.push(unit);
        waiting.len() >= UNITS_PER_MESSAGE
    }

    fn park(&mut self, owner: CoreNumber, kept: KeptUnit, destinations: Destinations) {
        self.parked.of(owner).push((kept, destinations));
    }

    fn note_done(&mut self, owner: CoreNumber, unit: Unit, done: Destinations) {
        self.done.of(owner).push((unit, done));
    }

    /// Sends all. What finds a full queue stays for the next time.
    fn send(&mut self, peers: &Peers) {
        let is_sent = |owner, message| peers.try_send(owner, message).is_ok();
        for (owner, units) in self.resolved.each().filter(|(_, units)| !units.is_empty()) {
            if let Err(Message::Resolved(back)) = peers.try_send(owner, Message::Resolved(std::mem::take(units))) {
                *units = back;
            }
        }
        for (owner, waiting) in self.parked.each() {
            send_alike(waiting, |units, destinations| is_sent(owner, Message::Parked(units, destinations)));
        }
        for (owner, waiting) in self.done.each() {
            send_alike(waiting, |units, destinations| is_sent(owner, Message::Done(units, destinations)));
        }
    }

    fn is_empty(&self) -> bool {
        self.resolved.values().iter().all(Vec::is_empty)
            && self.parked.values().iter().all(Vec::is_empty)
            && self.done.values().iter().all(Vec::is_empty)
    }
}

impl Core {
    /// A unit waits in the log for `destinations`.
    pub(super) fn park(&self, kept: KeptUnit, destinations: Destinations) {
        let owner = CoreNumber::owner(kept.unit);
        if owner != self.number {
            self.for_owners.borrow_mut().park(owner, kept, destinations);
        } else if let Some(log) = &self.log {
            log.lane.borrow_mut().segments.park(self.settings.pipeline, kept, destinations);
        }
    }

    /// Units whose verdicts are durable: the cores that own them need not keep them.
    pub(super) fn tell_owners(&self, units: &[Unit]) {
        let Some(log) = &self.log else { return };
        let mut is_much = false;
        let (mut mine, mut others) = (log.lane.borrow_mut(), self.for_owners.borrow_mut());
        for unit in units {
            let owner = CoreNumber::owner(*unit);
            if owner == self.number {
                mine.resolve(self.settings.pipeline, *unit);
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
            log.lane.borrow_mut().segments.forget_done(self.settings.pipeline, forgotten);
        }
        for (done, units) in found {
            self.note_done(units, done);
        }
    }

    /// Exporters are done with units that others are not done with.
    pub(super) fn note_done(&self, units: Vec<Unit>, done: Destinations) {
        for unit in units {
            let owner = CoreNumber::owner(unit);
            if owner != self.number {
                self.for_owners.borrow_mut().note_done(owner, unit, done);
            } else if let Some(log) = &self.log {
                log.lane.borrow_mut().segments.note_done(self.settings.pipeline, unit, done);
            }
        }
    }

    /// Sends what was gathered for other cores, as far as their queues have room.
    pub(super) fn send_units(&self) {
        self.for_owners.borrow_mut().send(&self.peers);
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
