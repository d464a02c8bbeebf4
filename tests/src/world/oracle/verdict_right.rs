//! A trace is judged once in a run of the process, and its verdict is what the policies of its generation say of all its
//! spans that its shard had taken, by a model that looks at the spans themselves.
//!
//! Notices when `Summary::absorb` takes a span's leaves instead of joining them.

use super::super::node::Node;
use super::super::seen::Seen;
use super::super::senders::Sent;
use super::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tailwater_engine::vocabulary::TraceId;

/// Spans of undecided traces, in the order in which their shard took them, and the traces that have verdicts.
#[derive(Default)]
pub struct VerdictRight {
    taken: BTreeMap<TraceId, Vec<Rc<Sent>>>,
    judged: BTreeSet<TraceId>,
}

impl Oracle for VerdictRight {
    fn see(&mut self, seen: &Seen, node: &Node) {
        match seen {
            Seen::Taken { sent, .. } => self.taken.entry(sent.trace_id).or_default().push(sent.clone()),
            Seen::Judged { judged, ruled, policies, .. } => {
                assert!(self.judged.insert(judged.trace_id), "a trace is judged once");
                let spans = &self.taken[&judged.trace_id];
                // Where memory is full a span may be dropped unseen.
                let is_all = spans.len() == judged.spans as usize || node.scenario.is_roomy();
                let says = policies.says(spans);
                assert!(!is_all || says.allows(ruled.policy.as_deref()), "{ruled:?}, {says:?} {judged:?} {spans:?}");
            }
            Seen::Crashed { .. } => *self = Self::default(),
            _ => {}
        }
    }
}
