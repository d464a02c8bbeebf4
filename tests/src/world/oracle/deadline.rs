//! Where nothing is full and nothing but the wait ends a trace, it is judged at the first look at the time after its wait,
//! which counts from when the request of its first span came: neither before nor later.
//!
//! Notices when `Shard::open` makes the deadline a tick earlier.

use super::super::node::Node;
use super::super::policies::PolicySet;
use super::super::scenario::{Policies, Scenario};
use super::super::seen::Seen;
use super::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use tailwater_engine::vocabulary::{Nanos, TraceId, elapsed_ticks, tick_of};

/// Deadlines of undecided traces, with their cores.
#[derive(Default)]
pub struct Deadline {
    due: BTreeMap<TraceId, (usize, u32)>,
    judged: BTreeSet<TraceId>,
    /// The tick at which each core last looked at the time: what comes when its wait is over is due at the next.
    ticked: BTreeMap<usize, u32>,
}

impl Deadline {
    /// Whether a node of this scenario has no other reason to judge.
    pub fn holds(scenario: &Scenario) -> bool {
        let is_fixed = matches!(scenario.policies, Policies::Fixed(set) if set != PolicySet::Limited);
        is_fixed
            && scenario.log.is_none()
            && scenario.root_wait_ms == 0
            && scenario.traces_max > scenario.traffic.traces
    }
}

impl Oracle for Deadline {
    fn see(&mut self, seen: &Seen, node: &Node) {
        match seen {
            Seen::Taken { core, arrived, sent } if !self.judged.contains(&sent.trace_id) => {
                let wait = Nanos::from_millis(node.scenario.decision_wait_ms);
                let next = self.ticked.get(core).map_or(0, |tick| tick + 1);
                self.due.entry(sent.trace_id).or_insert((*core, tick_of(arrived.plus(wait)).max(next)));
            }
            Seen::Judged { judged, at, .. } => {
                let (_, due) = self.due.remove(&judged.trace_id).expect("what is judged has come");
                assert!(due <= elapsed_ticks(*at), "judged before its time: {judged:?}");
                self.judged.insert(judged.trace_id);
            }
            Seen::Ticked { core, at } => {
                let late = self.due.values().find(|(of, due)| of == core && *due <= elapsed_ticks(*at));
                assert_eq!(late, None, "all that is due is judged");
                self.ticked.insert(*core, elapsed_ticks(*at));
            }
            _ => {}
        }
    }
}
