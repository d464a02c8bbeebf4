//! What a node has told others of a verdict, it knows when it starts again: nothing is said before the verdict is durable.
//!
//! Notices when rulings leave before the journal has their verdicts (`hold_for_verdicts`, `Journal::say`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::{Joint, is_ruling};
use std::collections::{BTreeMap, BTreeSet};
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// Who has ruled, and what others have made of it.
#[derive(Default)]
pub struct DurableFirst {
    ruled: BTreeMap<TraceId, BTreeSet<(usize, bool)>>,
    followed: BTreeMap<TraceId, BTreeSet<(usize, bool)>>,
}

impl Joint for DurableFirst {
    fn see(&mut self, seen: &Seen, node: &Node, _: Nanos) {
        match seen {
            Seen::Judged { judged, ruled, .. } => {
                let book = if is_ruling(judged) { &mut self.ruled } else { &mut self.followed };
                book.entry(judged.trace_id).or_default().insert((node.number(), ruled.is_kept));
            }
            Seen::Started(known) => {
                for (trace_id, rulers) in &self.ruled {
                    // Where several have ruled, others may follow any of them.
                    let [(number, is_kept)] = rulers.iter().copied().collect::<Vec<_>>()[..] else { continue };
                    let is_followed = self.followed.get(trace_id).is_some_and(|followed| {
                        followed.iter().any(|(other, kept)| *other != number && *kept == is_kept)
                    });
                    if number == node.number() && is_followed {
                        let knows = known.get(trace_id).map(|ruled| ruled.is_kept);
                        assert_eq!(knows, Some(is_kept), "others follow what is not durable: {trace_id:x?}");
                    }
                }
            }
            _ => {}
        }
    }
}
