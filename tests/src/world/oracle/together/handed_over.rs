//! Who owned a trace and does not any more tells who does what it was told of it: the nodes that told it may be gone.
//!
//! Notices when `Shard::turn_to` takes traces off the docket and says nothing (`hand_over`).

use super::super::super::cluster::Run;
use super::super::super::node::Node;
use super::super::super::seen::{Entered, Seen};
use super::{Ended, Joint};
use std::collections::BTreeMap;
use tailwater_engine::vocabulary::{Nanos, TraceId};
use tailwater_proto::cluster::NodeId;

/// A message leaves with the tick in which it was written, or the next.
const TICKS: u32 = 2;

/// What is to be told to a new owner.
#[derive(Debug)]
struct Due {
    from: (usize, usize),
    to: NodeId,
    trace_id: TraceId,
    source: Run,
    spans: u32,
    ticks_left: u32,
}

/// What owners were told by others.
#[derive(Default)]
pub struct HandedOver {
    told: BTreeMap<(usize, usize, TraceId), BTreeMap<NodeId, Entered>>,
    due: Vec<Due>,
}

impl Joint for HandedOver {
    fn see(&mut self, seen: &Seen, node: &Node, _: Nanos) {
        let number = node.number();
        // Where there is no room what is to be said may wait for long.
        if node.scenario.cluster.is_none_or(|cluster| cluster.full_percent > 0) {
            return;
        }
        match seen {
            Seen::Told(core, entered) => {
                let is_on_docket = node.is_on_docket(*core, &entered.trace_id);
                if is_on_docket {
                    let told = self.told.entry((number, *core, entered.trace_id)).or_default();
                    let last = told.entry(entered.source.0).or_insert(*entered);
                    if (last.source.1, last.spans) <= (entered.source.1, entered.spans) {
                        *last = *entered;
                    }
                }
            }
            Seen::Judged { judged, .. } => {
                self.told.retain(|(of, _, trace_id), _| *of != number || *trace_id != judged.trace_id);
            }
            Seen::Turned(core) => self.turned(node, *core),
            Seen::Tells(to, entered) => self.due.retain(|due| {
                let is_it = (due.to, due.trace_id, due.source) == (*to, entered.trace_id, entered.source);
                !(is_it && due.from.0 == number && entered.spans >= due.spans)
            }),
            Seen::Ticked { core, .. } => {
                for due in self.due.iter_mut().filter(|due| due.from == (number, *core)) {
                    due.ticks_left = due.ticks_left.checked_sub(1).unwrap_or_else(|| panic!("not told: {due:?}"));
                }
            }
            Seen::Crashed { .. } | Seen::Lost => {
                self.told.retain(|(of, ..), _| *of != number);
                self.due.retain(|due| due.from.0 != number);
            }
            _ => {}
        }
    }

    fn end(&mut self, _: &Ended<'_>) {
        // Members may change just before the world ends.
        let overdue: Vec<_> = self.due.iter().filter(|due| due.ticks_left == 0).collect();
        assert!(overdue.is_empty(), "not told: {overdue:?}");
    }
}

impl HandedOver {
    fn turned(&mut self, node: &Node, core: usize) {
        let Some(view) = node.view_of(core) else { return };
        let number = node.number();
        self.due.retain(|due| due.from != (number, core) || view.member(due.to).is_some());
        let due = &mut self.due;
        self.told.retain(|(of, at, trace_id), told| {
            let is_here = (*of, *at) == (number, core);
            if !is_here || view.is_own(node.seat_of(trace_id).1) {
                return true;
            }
            let to = view.owner_id(node.seat_of(trace_id).1);
            let others = told.values().filter(|entered| entered.source.0 != view.own);
            due.extend(others.map(|Entered { source, spans, .. }| Due {
                from: (number, core),
                to,
                trace_id: *trace_id,
                source: *source,
                spans: *spans,
                ticks_left: TICKS,
            }));
            false
        });
    }
}
