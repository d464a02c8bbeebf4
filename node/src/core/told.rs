//! A core in a cluster: what its shard says to other nodes goes to the gossip thread, what these say comes from there. Rulings
//! wait until their verdicts are durable, where there is a log.

use super::{Core, Message};
use std::cell::{Cell, RefCell};
use std::collections::VecDeque;
use tailwater_engine::vocabulary::Said;

/// Messages of a core that wait for the gossip thread.
/// At the bound: the shard keeps what it has to say; counted in `tailwater_cluster_evidence_held_back_total` and
/// `tailwater_cluster_rulings_held_back_total`.
pub(super) const SAID_MAX: usize = 1_024;

/// What is on its way to the gossip thread.
#[derive(Debug, Default)]
pub(super) struct Telling {
    waiting: RefCell<VecDeque<Said>>,
    /// Messages that were lost because too many waited when their verdicts became durable.
    lost: Cell<u64>,
}

impl Core {
    /// Passes on what the shard has said in a call.
    pub(super) fn tell(&self, said: Vec<Said>) {
        if said.is_empty() && self.telling.waiting.borrow().is_empty() {
            return;
        }
        for said in said {
            match &self.log {
                Some(log) if said.follows_verdicts => log.lane.borrow_mut().journal(self.settings.pipeline).say(said),
                _ => self.telling.waiting.borrow_mut().push_back(said),
            }
        }
        self.tell_waiting();
    }

    /// Verdicts are durable: what is said of them may leave.
    pub(super) fn tell_durable(&self, said: Vec<Said>) {
        let mut waiting = self.telling.waiting.borrow_mut();
        for said in said {
            if waiting.len() < SAID_MAX {
                waiting.push_back(said);
            } else {
                // Who misses a ruling asks.
                self.telling.lost.set(self.telling.lost.get() + 1);
            }
        }
        drop(waiting);
        self.tell_waiting();
    }

    /// How many more messages there is room for.
    pub(super) fn telling_room(&self) -> usize {
        SAID_MAX.saturating_sub(self.telling.waiting.borrow().len())
    }

    /// Messages that were lost on the way to the gossip thread.
    pub(super) fn told_lost(&self) -> u64 {
        self.telling.lost.get()
    }

    fn tell_waiting(&self) {
        let mut waiting = self.telling.waiting.borrow_mut();
        while let Some(said) = waiting.pop_front() {
            if let Err(Message::Told(back)) = self.peers.try_tell(Message::Told(said)) {
                waiting.push_front(back);
                return;
            }
        }
    }
}
