//! No verdict is taken back: one that is durable is in the log of every later run, as it was made, its trace is not judged
//! again, and whatever is delivered is of a kept trace and says what its verdict says, under whatever rules.
//!
//! Notices when `Shard::restore` does nothing, and when units do not wait for their verdicts to be durable (`position` of
//! `Waiting` in `Journal::flush`).

use super::super::node::Node;
use super::super::seen::Seen;
use super::super::senders::trace_id;
use super::super::verdict::Ruled;
use super::Oracle;
use std::collections::BTreeMap;
use tailwater_engine::vocabulary::TraceId;

/// Verdicts, and those that are durable.
#[derive(Default)]
pub struct VerdictStays {
    verdicts: BTreeMap<TraceId, Ruled>,
    durable: BTreeMap<TraceId, Ruled>,
}

impl Oracle for VerdictStays {
    fn see(&mut self, seen: &Seen, _: &Node) {
        match seen {
            Seen::Judged { judged, ruled, .. } => {
                assert_eq!(self.durable.get(&judged.trace_id), None, "a durable verdict is not judged again");
                self.verdicts.insert(judged.trace_id, ruled.clone());
            }
            Seen::Durable(trace, ruled) => _ = self.durable.insert(*trace, ruled.clone()),
            Seen::Started(known) => {
                for (trace, ruled) in &self.durable {
                    assert_eq!(known.get(trace), Some(ruled), "a durable verdict is in the log");
                }
                for (trace, ruled) in known {
                    self.durable.insert(*trace, ruled.clone());
                    self.verdicts.insert(*trace, ruled.clone());
                }
            }
            Seen::Delivered { span, .. } => {
                // Late ones too, under a verdict of this run or a former one.
                let ruled = &self.verdicts[&trace_id(span)];
                assert!(ruled.is_kept && span.attributes.ends_with(&ruled.attributes), "{ruled:?} {span:?}");
            }
            _ => {}
        }
    }
}
