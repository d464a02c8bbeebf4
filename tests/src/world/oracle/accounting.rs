//! Every span that was accepted is somewhere: the books of all shards balance, what they say is between cores is what the
//! network holds, and what they say was delivered is what the next hop took.
//!
//! Notices when `Shard::take` does not count `taken_over`.

use super::super::node::Node;
use super::super::seen::Seen;
use super::Oracle;
use tailwater_engine::ledger::Account;

/// Counts of this run of the process.
#[derive(Default)]
pub struct Accounting {
    accepted: usize,
    delivered: u64,
    refused: u64,
}

impl Oracle for Accounting {
    fn see(&mut self, seen: &Seen, _: &Node) {
        match seen {
            Seen::Accepted(spans) => self.accepted += spans,
            Seen::Delivered { is_refused: true, .. } => self.refused += 1,
            Seen::Delivered { .. } => self.delivered += 1,
            Seen::Crashed { .. } | Seen::Lost => *self = Self::default(),
            _ => {}
        }
    }

    fn check(&mut self, _: &Node, account: &Account, between: usize) {
        assert!(account.balances(), "{account:?}");
        assert_eq!(account.received as usize, self.accepted);
        let not_taken = account.handed_over - account.taken_over;
        assert_eq!(not_taken as usize, between, "between cores is what the network holds");
        assert_eq!((account.exported, account.refused_by_next_hop()), (self.delivered, self.refused));
    }

    fn end(&mut self, node: &Node, _: &Account) {
        assert!(node.cores.iter().all(|core| core.shard.ledger().traces.pending == 0));
    }
}
