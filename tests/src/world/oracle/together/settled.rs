//! No span waits for long: its node judges its trace, or follows who does, soon after the trace's wait is over, or after all
//! that went wrong meanwhile: links that were cut, members that changed, nodes that stood still.
//!
//! Notices when holders do not ask (`Shard::ask_overdue`).

use super::super::super::node::Node;
use super::super::super::scenario::Policies;
use super::super::super::seen::Seen;
use super::{Ended, Joint};
use std::collections::BTreeMap;
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// As long as a node waits for an owner that does not answer (`hold_max`), and as long again: an owner that has not judged
/// answers too, and what is answered may be lost, find no room and be told again.
const SETTLED: Nanos = Nanos::from_millis(25_000);
/// The same in a calm world, where nobody asks.
const SETTLED_CALM: Nanos = Nanos::from_millis(3_000);

/// When spans came, and when all was well last.
pub struct Settled {
    healed: Nanos,
    /// When members changed last for anybody, or a node went on after it had stood still.
    turned: Nanos,
    came: BTreeMap<(usize, TraceId), Nanos>,
    longest: Nanos,
}

impl Settled {
    /// Links that are cut are well again then.
    pub fn new(healed: Option<Nanos>) -> Self {
        let (turned, longest) = (Nanos::default(), Nanos::default());
        Self { healed: healed.unwrap_or_default(), turned, came: BTreeMap::new(), longest }
    }
}

impl Joint for Settled {
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        match seen {
            Seen::Turned(_) => self.turned = now,
            Seen::Taken { sent, .. } => _ = self.came.entry((node.number(), sent.trace_id)).or_insert(now),
            Seen::Crashed { .. } => self.came.retain(|(of, _), _| *of != node.number()),
            // Rules that change have a patience of their own.
            Seen::Judged { judged, .. } if !matches!(node.scenario.policies, Policies::Changing(_)) => {
                let Some(came) = self.came.get(&(node.number(), judged.trace_id)) else { return };
                let due = came.plus(Nanos::from_millis(node.scenario.decision_wait_ms));
                let well = due.max(self.turned).max(self.healed.min(now)).max(node.paused_until.min(now));
                self.longest = self.longest.max(Nanos(now.0.saturating_sub(well.0)));
            }
            _ => {}
        }
    }

    fn end(&mut self, ended: &Ended<'_>) {
        let most = if ended.expected.is_calm { SETTLED_CALM } else { SETTLED };
        assert!(self.longest <= most, "{} ms, at most {}", self.longest.0 / 1_000_000, most.0 / 1_000_000);
    }
}
