//! Segments that are done with and stay take nothing from anybody: they fit into what the log in use leaves, room for its
//! next segment included, before anything is refused; and none of them is read at a start.
//!
//! Notices when `Lane::progress` does not make room, and when a segment is past while it is in use.

use super::super::node::Node;
use super::super::seen::Seen;
use super::Oracle;
use std::collections::BTreeSet;
use tailwater_engine::ledger::Account;

/// Keeps nothing: it holds by itself.
#[derive(Default)]
pub struct Past;

impl Oracle for Past {
    fn see(&mut self, _: &Seen, _: &Node) {}

    fn check(&mut self, node: &Node, _: &Account, _: usize) {
        let past: BTreeSet<u64> = node.past_files().into_iter().map(|(number, _)| number).collect();
        for log in node.beside() {
            let (staying, room) = (log.past.iter().map(|(_, bytes)| bytes).sum::<u64>(), log.room);
            assert!(staying <= room, "{staying} bytes that are done with, room for {room}");
            let both = log.in_use.iter().find(|number| past.contains(number));
            assert_eq!(both, None, "a segment is in use and past");
            let lost = log.past.iter().find(|(number, _)| !past.contains(number));
            assert_eq!(lost, None, "a past segment has no file");
        }
    }
}
