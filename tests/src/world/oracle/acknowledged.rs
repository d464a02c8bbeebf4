//! What was acknowledged is delivered, or its trace was judged and dropped, or it was dropped for want of memory and
//! counted. Excused is what was only written when the power went or the disk failed.
//!
//! Notices when `Lane::take_committed` takes what is written for synced (`reached`).

use super::super::node::Node;
use super::super::seen::Seen;
use super::super::senders::{Sent, SpanId, span_id};
use super::Oracle;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tailwater_engine::ledger::{Account, DropReason};
use tailwater_engine::vocabulary::TraceId;

/// What the node answers for.
#[derive(Default)]
pub struct Acknowledged {
    spans: Vec<Rc<Sent>>,
    /// Acknowledged when written, in this run of the process.
    written_only: BTreeSet<SpanId>,
    excused: BTreeSet<SpanId>,
    delivered: BTreeSet<SpanId>,
    is_dropped: BTreeMap<TraceId, bool>,
}

impl Oracle for Acknowledged {
    fn see(&mut self, seen: &Seen, _: &Node) {
        match seen {
            Seen::Acknowledged { spans, is_synced } => {
                if !is_synced {
                    self.written_only.extend(spans.iter().map(|sent| sent.id));
                }
                self.spans.extend(spans.iter().cloned());
            }
            Seen::Judged { judged, ruled, .. } => _ = self.is_dropped.insert(judged.trace_id, !ruled.is_kept),
            Seen::Started(known) => {
                self.is_dropped.extend(known.iter().map(|(trace, ruled)| (*trace, !ruled.is_kept)));
            }
            Seen::Delivered { span, .. } => _ = self.delivered.insert(span_id(span)),
            Seen::Lost | Seen::DiskFailed | Seen::Crashed { cuts_power: true } => {
                self.excused.append(&mut self.written_only)
            }
            Seen::Unreadable => assert!(!self.excused.is_empty(), "everything parked is in the log"),
            _ => {}
        }
    }

    fn end(&mut self, node: &Node, account: &Account) {
        let mut missing = 0;
        for sent in &self.spans {
            let is_dropped = self.is_dropped.get(&sent.trace_id).copied().unwrap_or(false);
            let is_there = self.delivered.contains(&sent.id) || is_dropped || self.excused.contains(&sent.id);
            missing += u64::from(!is_there);
        }
        let full = if node.scenario.is_roomy() { 0 } else { account.dropped[DropReason::MemoryFull as usize] };
        // What a cluster sheds as it comes has no verdict.
        let counted = full + account.dropped[DropReason::Shed as usize];
        assert!(missing <= counted, "{missing} acknowledged spans are gone, {counted} counted");
    }
}
