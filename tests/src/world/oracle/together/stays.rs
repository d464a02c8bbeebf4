//! A node judges a trace once in a run, and what it has kept for good it never drops later: only a keep may follow a drop.
//!
//! Notices when `Shard::restore` does nothing, and when a settled trace is settled again by a ruling (`Shard::settle_here`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::Joint;
use std::collections::BTreeSet;
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// Verdicts by node: of this run, and kept for good.
#[derive(Default)]
pub struct Stays {
    judged: BTreeSet<(usize, TraceId)>,
    kept: BTreeSet<(usize, TraceId)>,
}

impl Joint for Stays {
    fn see(&mut self, seen: &Seen, node: &Node, _: Nanos) {
        let number = node.number();
        match seen {
            Seen::Judged { judged, ruled, .. } => {
                let key = (number, judged.trace_id);
                assert!(self.judged.insert(key), "node {number} judges a trace twice: {judged:?}");
                assert!(ruled.is_kept || !self.kept.contains(&key), "node {number} drops what it kept: {judged:?}");
            }
            Seen::Durable(trace_id, ruled) if ruled.is_kept => _ = self.kept.insert((number, *trace_id)),
            Seen::Crashed { .. } => self.judged.retain(|(of, _)| *of != number),
            _ => {}
        }
    }
}
