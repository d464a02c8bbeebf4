//! A node that drops spans since another told it to was told so by the owner of the trace, or by who owned it a moment ago:
//! one of these has come to that verdict. Who is cut off may judge by what was known long ago. An owner itself follows those
//! that it asked.
//!
//! Notices when any node is obeyed (`Cluster::obeys`).

use super::super::super::cluster::number;
use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::{Ended, Joint};
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use tailwater_engine::cluster::SETTLE;
use tailwater_engine::vocabulary::{Nanos, Occasion, TraceId};
use tailwater_proto::cluster::view::View;

/// The members as a core of a node sees them, those that it saw before, and when that changed.
struct Views {
    now: Arc<View>,
    before: Arc<View>,
    changed: Nanos,
}

/// Clocks drift a little.
const DRIFT: Nanos = Nanos::from_millis(20);

/// Who has dropped what.
#[derive(Default)]
pub struct OfOwners {
    views: BTreeMap<(usize, usize), Views>,
    dropped: BTreeSet<(usize, TraceId)>,
    obeyed: u64,
}

impl Joint for OfOwners {
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        match seen {
            Seen::Turned(core) => {
                let Some(view) = node.view_of(*core).cloned() else { return };
                let views = self.views.entry((node.number(), *core));
                let views = views.or_insert_with(|| Views { now: view.clone(), before: view.clone(), changed: now });
                let before = std::mem::replace(&mut views.now, view);
                (views.before, views.changed) = (before, now);
            }
            Seen::Judged { judged, ruled, .. } if !ruled.is_kept => {
                if judged.occasion == Occasion::Owner {
                    self.is_by_owner(node, now, &judged.trace_id);
                }
                self.dropped.insert((node.number(), judged.trace_id));
            }
            Seen::Started(known) => {
                let dropped = known.iter().filter(|(_, ruled)| !ruled.is_kept);
                self.dropped.extend(dropped.map(|(trace_id, _)| (node.number(), *trace_id)));
            }
            Seen::Crashed { .. } => self.views.retain(|(of, _), _| *of != node.number()),
            _ => {}
        }
    }

    fn end(&mut self, ended: &Ended<'_>) {
        let heard = ended.met.cluster.rulings_heard;
        assert!(self.obeyed <= heard, "nobody obeys who has not heard: {} of {heard}", self.obeyed);
    }
}

impl OfOwners {
    fn is_by_owner(&mut self, node: &Node, now: Nanos, trace_id: &TraceId) {
        self.obeyed += 1;
        let (core, hash) = node.seat_of(trace_id);
        let Some(views) = self.views.get(&(node.number(), core)) else { return };
        if views.now.is_own(hash) {
            return;
        }
        let has_dropped = |view: &View| self.dropped.contains(&(number(view.owner_id(hash)), *trace_id));
        let is_recent = now <= views.changed.plus(SETTLE).plus(DRIFT);
        let is_right = has_dropped(&views.now) || (is_recent && has_dropped(&views.before));
        assert!(is_right, "node {} drops what no owner of it has: {:?}", node.number(), views.now);
    }
}
