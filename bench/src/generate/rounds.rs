//! Which rounds came through whole: only their traces can be demanded of the sink.

use super::options::Settings;
use crate::corpus::RoundPosition;
use std::collections::HashMap;

/// Where this round of this worker stands in the sequence of all traces: workers take turns.
#[must_use]
pub fn positions(settings: &Settings, worker: u64, round: u64, unix_nanos: u64) -> RoundPosition {
    let number = round.wrapping_mul(settings.threads as u64).wrapping_add(worker);
    RoundPosition { first_trace: number.wrapping_mul(u64::from(settings.corpus.traces_per_round())), unix_nanos }
}

/// Outcomes of the rounds under way.
#[derive(Debug, Default)]
pub struct RoundLedger {
    /// requests unanswered, and whether one has failed; at most as many entries as there are rounds under way
    open: HashMap<u64, (usize, bool)>,
    /// rounds of which every request was acknowledged
    pub whole: Vec<u64>,
    /// rounds of which some were not
    pub torn: Vec<u64>,
}

impl RoundLedger {
    /// A round of so many requests begins.
    pub fn begin(&mut self, round: u64, requests: usize) {
        self.open.insert(round, (requests, false));
    }

    /// A request of the round is answered or given up.
    pub fn settle(&mut self, round: u64, acknowledged: bool) {
        let Some((left, failed)) = self.open.get_mut(&round) else { return };
        *left -= 1;
        *failed |= !acknowledged;
        if *left == 0 {
            let torn = *failed;
            self.open.remove(&round);
            if torn { self.torn.push(round) } else { self.whole.push(round) }
        }
    }

    /// Counts what is still open as torn.
    pub fn close(&mut self) {
        self.torn.extend(self.open.drain().map(|(round, _)| round));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_round_is_whole_only_if_every_request_was_acknowledged() {
        let mut ledger = RoundLedger::default();
        for round in 0..3 {
            ledger.begin(round, 2);
            ledger.settle(round, true);
        }
        ledger.settle(0, true);
        ledger.settle(1, false);
        ledger.close();
        assert_eq!((ledger.whole, ledger.torn), (vec![0], vec![1, 2]));
    }
}
