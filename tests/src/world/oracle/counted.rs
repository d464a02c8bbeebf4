//! Each acknowledged span is counted for the summaries, once for each time that it was acknowledged: not once more, and not
//! once less, whatever crashes and whatever the disk does. A request whose sender heard nothing may be counted or not.
//!
//! Notices when `Segment::is_free` does not wait for the tally, when `Segments::take_counted` leaves out positions, or those of
//! segments that are leaving, when `Lane::is_journal_idle` does not wait for them, when nothing is named as taken over, when a
//! window is given or sent before the log knows it, and when `Former::of` takes what was emitted for more to emit. What takes
//! more journal than these runs write is in `engine/src/log/lane/tests.rs`.

use super::super::node::Node;
use super::super::seen::Seen;
use super::super::senders::SpanId;
use super::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use tailwater_engine::ledger::Account;

/// What the node should have counted.
#[derive(Default)]
pub struct Counted {
    acknowledged: BTreeMap<SpanId, u32>,
    /// How often a sender heard nothing.
    unanswered: BTreeMap<SpanId, u32>,
    written_only: BTreeSet<SpanId>,
    excused: BTreeSet<SpanId>,
}

impl Oracle for Counted {
    fn see(&mut self, seen: &Seen, _: &Node) {
        match seen {
            Seen::Answered { spans, is_synced } => {
                if !is_synced {
                    self.written_only.extend(spans.iter().map(|sent| sent.id));
                }
                spans.iter().for_each(|sent| *self.acknowledged.entry(sent.id).or_default() += 1);
            }
            Seen::SentAgain(spans) => {
                spans.iter().for_each(|sent| *self.unanswered.entry(sent.id).or_default() += 1);
            }
            Seen::Lost | Seen::DiskFailed | Seen::Crashed { cuts_power: true } => {
                self.excused.append(&mut self.written_only);
            }
            _ => {}
        }
    }

    fn end(&mut self, node: &Node, _: &Account) {
        let counted = node.counted_spans();
        for (id, acknowledged) in &self.acknowledged {
            let count = counted.get(id).copied().unwrap_or(0);
            let least = if self.excused.contains(id) { 0 } else { *acknowledged };
            let most = acknowledged + self.unanswered.get(id).copied().unwrap_or(0);
            assert!((least..=most).contains(&count), "a span is counted {count} times, and not {least} to {most}");
        }
        let strangers =
            counted.keys().filter(|id| !self.acknowledged.contains_key(id) && !self.unanswered.contains_key(id));
        assert_eq!(strangers.count(), 0, "nothing is counted that was never sent");
    }
}
