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
    /// Which of all changes it is.
    number: u32,
}

/// What is known of an entry of the trace table.
#[derive(Debug, Clone, Copy, Default)]
struct State {
    /// The changes in the lists that are to be told; 0 for none. Others of this entry there are of traces that are gone, or were
    /// told before their time.
    delayed: u32,
    urgent: u32,
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
    /// Of the last change.
    number: u32,
}

impl Changes {
    /// None yet; they are told `delay` after the first of several.
    #[must_use]
    pub fn new(delay: Nanos) -> Self {
        let (delayed, urgent) = (VecDeque::new(), VecDeque::new());
        Self { states: Vec::new(), delayed, urgent, delay_ticks: ticks(delay), number: 0 }
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
        if !self.is_untold(entry) {
            let number = self.next_number();
            self.state(entry).delayed = number;
            self.delayed.push_back(Change { entry, hash, due, number });
        }
    }

    /// Something has changed that is to be told at once.
    pub fn hurried(&mut self, entry: u32, hash: u64) {
        if self.state(entry).urgent == 0 {
            let number = self.next_number();
            self.state(entry).urgent = number;
            self.urgent.push_back(Change { entry, hash, due: 0, number });
        }
    }

    /// Never 0.
    fn next_number(&mut self) -> u32 {
        self.number = self.number.wrapping_add(1).max(1);
        self.number
    }

    /// The next that is to be told at `tick`; it counts as told.
    pub fn next(&mut self, tick: u32) -> Option<Change> {
        loop {
            let change = match self.urgent.pop_front() {
                Some(change) => change,
                None if self.delayed.front()?.due <= tick => self.delayed.pop_front()?,
                None => return None,
            };
            let state = self.state(change.entry);
            if state.delayed == change.number || state.urgent == change.number {
                (state.delayed, state.urgent) = (0, 0);
                return Some(change);
            }
        }
    }

    /// Whether something has changed about a trace since it was told last.
    #[inline]
    #[must_use]
    pub fn is_untold(&self, entry: u32) -> bool {
        self.states.get(entry as usize).is_some_and(|state| state.delayed > 0 || state.urgent > 0)
    }

    /// A trace is told, before its time.
    pub fn told(&mut self, entry: u32) {
        let state = self.state(entry);
        (state.delayed, state.urgent) = (0, 0);
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

    /// Without numbers the change of a trace that is gone takes away that of the one that came into its entry.
    #[test]
    fn a_change_of_a_trace_that_is_gone_is_none_of_the_next() {
        let mut changes = Changes::new(Nanos::from_millis(250));
        changes.touched(3, 33, 100);
        changes.forget(3);
        changes.touched(3, 44, 110);
        assert_eq!(changes.next(130), None);
        assert_eq!(changes.next(135).map(|change| change.hash), Some(44));
        changes.touched(3, 44, 140);
        changes.told(3);
        changes.touched(3, 44, 150);
        assert_eq!(changes.next(170), None, "told before its time, and changed again");
        assert_eq!(changes.next(175).map(|change| change.hash), Some(44));
    }
}
