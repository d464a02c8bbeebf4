//! What other nodes said of traces of which nothing lies here: log records ask what became of theirs.

use crate::vocabulary::Nanos;
use hashbrown::HashTable;
use std::collections::VecDeque;

/// Traces whose fate was asked for.
/// At the bound: the oldest are forgotten, and records that ask anew begin with a question.
const FATES_MAX: usize = 1 << 16;

#[derive(Debug, Clone, Copy)]
struct Asked {
    /// Of the trace: keyed, and so a hash of the table, too.
    hash: u64,
    when: Nanos,
    is_dropped: bool,
}

/// What became of traces that were asked about.
#[derive(Debug, Default)]
pub struct Fates {
    asked: HashTable<Asked>,
    order: VecDeque<u64>,
}

impl Fates {
    /// A trace is asked about. False where it was already, since `again` or later, or its fate is known.
    pub fn ask(&mut self, hash: u64, now: Nanos, again: Nanos) -> bool {
        if let Some(asked) = self.asked.find_mut(hash, |asked| asked.hash == hash) {
            let is_due = !asked.is_dropped && asked.when < again;
            if is_due {
                asked.when = now;
            }
            return is_due;
        }
        if self.order.len() >= FATES_MAX
            && let Some(oldest) = self.order.pop_front()
            && let Ok(known) = self.asked.find_entry(oldest, |asked| asked.hash == oldest)
        {
            known.remove();
        }
        self.order.push_back(hash);
        self.asked.insert_unique(hash, Asked { hash, when: now, is_dropped: false }, |asked| asked.hash);
        true
    }

    /// The owner of a trace has dropped it.
    pub fn dropped(&mut self, hash: u64) {
        if let Some(asked) = self.asked.find_mut(hash, |asked| asked.hash == hash) {
            asked.is_dropped = true;
        }
    }

    /// Whether a trace that was asked about is dropped.
    #[must_use]
    pub fn is_dropped(&self, hash: u64) -> bool {
        self.asked.find(hash, |asked| asked.hash == hash).is_some_and(|asked| asked.is_dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_trace_is_asked_about_once_in_a_while_until_it_is_known() {
        let mut fates = Fates::default();
        let at = Nanos::from_millis;
        assert!(fates.ask(7, at(10), at(0)));
        assert!(!fates.ask(7, at(11), at(5)), "it was asked about since");
        assert!(fates.ask(7, at(20), at(15)));
        assert!(!fates.is_dropped(7));
        fates.dropped(8);
        assert!(!fates.is_dropped(8), "nobody asked");
        fates.dropped(7);
        assert!(fates.is_dropped(7) && !fates.ask(7, at(99), at(98)));
    }

    #[test]
    fn the_oldest_are_forgotten_at_the_bound() {
        let mut fates = Fates::default();
        for hash in 0..=FATES_MAX as u64 {
            assert!(fates.ask(hash, Nanos(1), Nanos(0)));
            fates.dropped(hash);
        }
        assert_eq!(fates.asked.len(), FATES_MAX);
        assert!(!fates.is_dropped(0) && fates.is_dropped(1));
    }
}
