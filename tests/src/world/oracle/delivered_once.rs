//! The next hop is given a span once, where nothing crashes or fails; else at least never again when the log knows that it
//! has it, unless its sender sent it again.
//!
//! Notices when `Journal::append_resolved` appends nothing.

use super::super::node::Node;
use super::super::seen::Seen;
use super::super::senders::{SpanId, span_id};
use super::Oracle;
use std::collections::BTreeSet;

/// What the next hop has.
#[derive(Default)]
pub struct DeliveredOnce {
    /// Delivered in this run of the process, and delivered with the log knowing it for good.
    delivered: BTreeSet<SpanId>,
    settled: BTreeSet<SpanId>,
    sent_again: BTreeSet<SpanId>,
}

impl Oracle for DeliveredOnce {
    fn see(&mut self, seen: &Seen, node: &Node) {
        match seen {
            Seen::Delivered { span, .. } => {
                let id = span_id(span);
                let is_again = self.settled.contains(&id) && !self.sent_again.contains(&id);
                assert!(!is_again, "what the log knows as delivered is not delivered again");
                let is_first = self.delivered.insert(id);
                assert!(is_first || !node.scenario.is_undisturbed(), "a span is exported once");
            }
            Seen::SentAgain(spans) => self.sent_again.extend(spans.iter().map(|sent| sent.id)),
            Seen::AtRest => self.settled.extend(&self.delivered),
            Seen::Crashed { .. } => self.delivered.clear(),
            _ => {}
        }
    }
}
