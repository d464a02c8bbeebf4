//! Nothing leaves of a trace that nobody has kept.
//!
//! Notices when a trace of which nothing was heard is let through (`Shard::ask_overdue`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::super::super::senders::trace_id;
use super::Joint;
use std::collections::BTreeSet;
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// Traces that some node has kept.
#[derive(Default)]
pub struct OnlyKept(BTreeSet<TraceId>);

impl Joint for OnlyKept {
    fn see(&mut self, seen: &Seen, _: &Node, _: Nanos) {
        match seen {
            Seen::Judged { judged, ruled, .. } if ruled.is_kept => _ = self.0.insert(judged.trace_id),
            Seen::Delivered { span, .. } => assert!(self.0.contains(&trace_id(span)), "nobody has kept it: {span:?}"),
            _ => {}
        }
    }
}
