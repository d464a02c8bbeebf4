//! Which counters of a run have been heard: each datagram opens once.
//!
//! The network reorders, so that counters somewhat below the highest may still come. What is further below is taken for
//! heard.

use std::collections::VecDeque;

use tailwater_proto::cluster::{Incarnation, NodeId};

/// Counters below the highest that are told apart: at 10,000 datagrams a second to one node, a tenth of a second of them.
const WINDOW_COUNTERS: u64 = 1024;
const WORDS: usize = 16;

/// Runs that are remembered after their node has left, 32 bytes each. Nobody else can make one without the key, so that as many
/// have to leave before the first could be played back.
/// At the bound: the one that left first is forgotten.
const GONE_RUNS_MAX: usize = 4096;

/// The counters of one run that have been heard.
#[derive(Debug, Clone)]
pub(super) struct Window {
    highest: u64,
    /// A bit for each of the last counters, at its place modulo their number.
    heard: [u64; WORDS],
}

fn place(counter: u64) -> (usize, u64) {
    let bit = counter % WINDOW_COUNTERS;
    // Less than WORDS, which always fits.
    (usize::try_from(bit / 64).unwrap_or(0), 1 << (bit % 64))
}

impl Window {
    /// A run of which that is the first to be heard; those a little before it may follow.
    pub(super) fn first(counter: u64) -> Self {
        let mut window = Self { highest: counter, heard: [0; WORDS] };
        window.mark(counter);
        window
    }

    /// A run that goes on: all up to that counter count as heard.
    pub(super) fn after(highest: u64) -> Self {
        Self { highest, heard: [u64::MAX; WORDS] }
    }

    /// The highest that has been heard.
    pub(super) fn highest(&self) -> u64 {
        self.highest
    }

    /// Whether the counter has not come yet, as far as can be told.
    pub(super) fn is_new(&self, counter: u64) -> bool {
        let (word, bit) = place(counter);
        counter > self.highest || (self.highest - counter < WINDOW_COUNTERS && self.heard[word] & bit == 0)
    }

    /// Takes note of a counter that is new.
    pub(super) fn hear(&mut self, counter: u64) {
        if counter > self.highest {
            if counter - self.highest >= WINDOW_COUNTERS {
                self.heard = [0; WORDS];
            } else {
                for passed in self.highest + 1..counter {
                    let (word, bit) = place(passed);
                    self.heard[word] &= !bit;
                }
            }
            self.highest = counter;
        }
        self.mark(counter);
    }

    fn mark(&mut self, counter: u64) {
        let (word, bit) = place(counter);
        self.heard[word] |= bit;
    }
}

/// Runs of nodes that have left, so that what they once sent opens no more.
#[derive(Debug, Default)]
pub(super) struct GoneRuns {
    runs: VecDeque<(NodeId, Incarnation, u64)>,
}

impl GoneRuns {
    /// Remembers how far a run had come.
    pub(super) fn remember(&mut self, node: NodeId, incarnation: Incarnation, highest: u64) {
        self.runs.retain(|(other, _, _)| *other != node);
        if self.runs.len() >= GONE_RUNS_MAX {
            self.runs.pop_front();
        }
        self.runs.push_back((node, incarnation, highest));
    }

    /// The last run of the node and its highest counter. Looked up only for what has opened.
    pub(super) fn of(&self, node: NodeId) -> Option<(Incarnation, u64)> {
        let found = self.runs.iter().find(|(other, _, _)| *other == node);
        found.map(|(_, incarnation, highest)| (*incarnation, *highest))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_counter_is_new_once_in_any_order_within_the_window() {
        // Without the clearing in `hear` counters a window later count as heard; without the marks all are always new.
        let mut window = Window::first(5000);
        let (mut state, mut heard) = (1_u64, std::collections::BTreeSet::from([5000]));
        for _ in 0..200_000 {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            let around = window.highest() + 40 - (state >> 33) % 1100;
            let in_window = around > window.highest() || window.highest() - around < WINDOW_COUNTERS;
            assert_eq!(window.is_new(around), in_window && !heard.contains(&around), "{around}");
            if window.is_new(around) {
                window.hear(around);
                heard.insert(around);
            }
        }
        assert!(heard.len() > 10_000);
    }

    #[test]
    fn a_leap_forgets_what_is_out_of_the_window() {
        let mut window = Window::first(1);
        for counter in [2 * WINDOW_COUNTERS, 3 * WINDOW_COUNTERS, u64::MAX] {
            window.hear(counter);
            assert!(!window.is_new(counter) && !window.is_new(1), "{counter}");
            assert!(window.is_new(counter - 1) && window.is_new(counter - (WINDOW_COUNTERS - 1)), "{counter}");
            assert!(!window.is_new(counter - WINDOW_COUNTERS));
        }
    }

    #[test]
    fn gone_runs_are_bounded_and_the_last_of_a_node_counts() {
        let mut gone = GoneRuns::default();
        gone.remember(NodeId(1), Incarnation(1), 10);
        gone.remember(NodeId(1), Incarnation(2), 3);
        assert_eq!(gone.of(NodeId(1)), Some((Incarnation(2), 3)));
        (2..).take(GONE_RUNS_MAX).for_each(|node| gone.remember(NodeId(node), Incarnation(1), 1));
        assert_eq!((gone.of(NodeId(1)), gone.runs.len()), (None, GONE_RUNS_MAX));
    }
}
