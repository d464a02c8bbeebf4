//! What is to be told: the traces of this shard about which something has changed since their owners were told last. Changes
//! within the delay are told together; a root is told at once.

use crate::vocabulary::{Nanos, ticks};
use std::collections::VecDeque;

/// A trace that is to be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Change {
    /// Its entry.
    pub entry: u32,
    /// Its hash: the entry may be another trace's by then.
    pub hash: u64,
    due: u32,
}

/// What is known of an entry of the trace table.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    is_changed: bool,
    is_urgent: bool,
    /// Tick of the first question that nobody has answered; 0 for none.
    asked: u32,
}

/// The changes of a shard.
/// Its lists have at most two places for each undecided trace, and those of traces that are gone, until they come up.
#[derive(Debug)]
pub struct Changes {
    states: Vec<State>,
    delayed: VecDeque<Change>,
    urgent: VecDeque<Change>,
    delay_ticks: u32,
}

impl Changes {
    /// None yet; they are told `delay` after the first of several.
    #[must_use]
    pub fn new(delay: Nanos) -> Self {
        Self { states: Vec::new(), delayed: VecDeque::new(), urgent: VecDeque::new(), delay_ticks: ticks(delay) }
    }

    fn state(&mut self, entry: u32) -> &mut State {
        let at = entry as usize;
        if at >= self.states.len() {
            self.states.resize(at + 1, State::default());
        }
        &mut self.states[at]
    }

    /// Something has changed about a trace.
    #[inline]
    pub fn touched(&mut self, entry: u32, hash: u64, tick: u32) {
        let due = tick.saturating_add(self.delay_ticks);
        let state = self.state(entry);
        if !state.is_changed {
            state.is_changed = true;
            self.delayed.push_back(Change { entry, hash, due });
        }
    }

    /// Something has changed that is to be told at once.
    pub fn hurried(&mut self, entry: u32, hash: u64) {
        let state = self.state(entry);
        state.is_changed = true;
        if !state.is_urgent {
            state.is_urgent = true;
            self.urgent.push_back(Change { entry, hash, due: 0 });
        }
    }

    /// The next that is to be told at `tick`, whose entry may have become another trace's; it counts as told.
    pub fn next(&mut self, tick: u32) -> Option<Change> {
        loop {
            let change = match self.urgent.pop_front() {
                Some(change) => change,
                None if self.delayed.front()?.due <= tick => self.delayed.pop_front()?,
                None => return None,
            };
            let state = self.state(change.entry);
            if state.is_changed {
                (state.is_changed, state.is_urgent) = (false, false);
                return Some(change);
            }
        }
    }

    /// Whether something has changed about a trace since it was told last.
    #[inline]
    #[must_use]
    pub fn is_untold(&self, entry: u32) -> bool {
        self.states.get(entry as usize).is_some_and(|state| state.is_changed)
    }

    /// A trace is told, before its time.
    pub fn told(&mut self, entry: u32) {
        let state = self.state(entry);
        (state.is_changed, state.is_urgent) = (false, false);
    }

    /// A trace is gone.
    #[inline]
    pub fn forget(&mut self, entry: u32) {
        if let Some(state) = self.states.get_mut(entry as usize) {
            *state = State::default();
        }
    }

    /// Its owner is asked at `tick`; since when nobody has answered.
    pub fn ask(&mut self, entry: u32, tick: u32) -> u32 {
        let state = self.state(entry);
        if state.asked == 0 {
            state.asked = tick.max(1);
        }
        state.asked
    }

    /// Its owner has answered that it is not judged yet.
    pub fn answered(&mut self, entry: u32) {
        self.state(entry).asked = 0;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_within_the_delay_are_told_together_and_roots_at_once() {
        let mut changes = Changes::new(Nanos::from_millis(250));
        changes.touched(3, 33, 100);
        changes.touched(3, 33, 110);
        changes.touched(4, 44, 120);
        assert_eq!(changes.next(124), None);
        assert_eq!(changes.next(125).map(|change| change.hash), Some(33));
        assert_eq!(changes.next(125), None, "told once");
        changes.hurried(4, 44);
        assert_eq!(changes.next(126).map(|change| change.hash), Some(44));
        assert_eq!(changes.next(9_999), None, "and not when its delay is over");
    }
}
