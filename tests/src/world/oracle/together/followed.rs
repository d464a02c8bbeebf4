//! Where all has been well for a while, a span that comes after its trace was kept leaves, whichever node it comes to and
//! whatever that node has seen of the trace: also when the links were cut as it was kept. Who kept it had met that node then:
//! before they meet nodes are clusters of their own.
//!
//! Notices when keeps are told to those alone that have spans (`Shard::tell_ruling`), and when what is said to all is not
//! repaired (`Hub::pull`).

use super::super::super::cluster::Run;
use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::super::super::senders::{Sent, SpanId, span_id};
use super::{Ended, Joint, run_of, runs_seen};
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// What was said is everywhere so long after members have changed or links have healed, or after it was said.
const WELL: Nanos = Nanos::from_millis(10_000);
const SAID: Nanos = Nanos::from_millis(5_000);

/// Which spans came when all was well.
pub struct Followed {
    healed: Nanos,
    /// When members changed last for anybody.
    turned: Nanos,
    /// Whom each node has met in this run.
    met: BTreeMap<usize, BTreeSet<Run>>,
    /// When a trace was first kept, by whom, and whom that had met.
    kept: BTreeMap<TraceId, (Nanos, usize, BTreeSet<Run>)>,
    late: Vec<(Nanos, usize, Rc<Sent>)>,
    delivered: BTreeSet<SpanId>,
}

impl Followed {
    /// Links that are cut are well again then.
    pub fn new(healed: Option<Nanos>) -> Self {
        let healed = healed.unwrap_or_default();
        let (met, kept, late) = (BTreeMap::new(), BTreeMap::new(), Vec::new());
        Self { healed, turned: Nanos::default(), met, kept, late, delivered: BTreeSet::new() }
    }
}

impl Joint for Followed {
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        match seen {
            Seen::Turned(core) => {
                self.turned = now;
                self.met.entry(node.number()).or_default().extend(runs_seen(node, *core));
                // It may not have been as well as it looked.
                self.late.retain(|(came, ..)| came.plus(WELL) <= now);
            }
            Seen::Judged { judged, ruled, .. } if ruled.is_kept => {
                let met = self.met.get(&node.number()).cloned().unwrap_or_default();
                self.kept.entry(judged.trace_id).or_insert((now, node.number(), met));
            }
            Seen::Crashed { .. } => _ = self.met.remove(&node.number()),
            Seen::Taken { sent, .. } => {
                let is_well = self.turned.max(self.healed).plus(WELL) <= now;
                let is_late = self
                    .kept
                    .get(&sent.trace_id)
                    .is_some_and(|(kept, _, met)| kept.plus(SAID) <= now && met.contains(&run_of(node)));
                if is_well && is_late {
                    self.late.push((now, node.number(), sent.clone()));
                }
            }
            Seen::Delivered { span, .. } => _ = self.delivered.insert(span_id(span)),
            Seen::Lost => self.late.retain(|(_, of, _)| *of != node.number()),
            _ => {}
        }
    }

    fn end(&mut self, _: &Ended<'_>) {
        for (came, number, sent) in &self.late {
            let left = self.delivered.contains(&sent.id);
            let (kept, by, _) = &self.kept[&sent.trace_id];
            let [came, kept, healed] = [*came, *kept, self.healed].map(|at| at.0 / 1_000_000);
            assert!(
                left,
                "kept by node {by} at {kept} ms, come to node {number} at {came}, healed at {healed}: {:x}",
                sent.id
            );
        }
    }
}
