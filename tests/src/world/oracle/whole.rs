//! Where nothing crashes or fails, a trace leaves whole or not at all, and as it came, but for what rules
//! write into it. A kept trace lacks only what was dropped for want of memory and counted.
//!
//! Notices when a span that comes after its trace was kept is dropped (`take_late_kept`), and when spans are given a threshold
//! of zero that they came without (`writes_zero`).

use super::super::node::Node;
use super::super::scenario::Policies;
use super::super::seen::Seen;
use super::super::senders::{Sent, SpanId, span_id};
use super::Oracle;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_engine::ledger::{Account, DropReason};
use tailwater_engine::vocabulary::TraceId;

/// What was sent and what came out.
#[derive(Default)]
pub struct Whole {
    taken: Vec<Rc<Sent>>,
    is_kept: BTreeMap<TraceId, bool>,
    delivered: BTreeMap<SpanId, Rc<Span>>,
}

impl Oracle for Whole {
    fn see(&mut self, seen: &Seen, _: &Node) {
        match seen {
            Seen::Taken { sent, .. } => self.taken.push(sent.clone()),
            Seen::Judged { judged, ruled, .. } => _ = self.is_kept.insert(judged.trace_id, ruled.is_kept),
            Seen::Delivered { span, .. } => _ = self.delivered.insert(span_id(span), span.clone()),
            _ => {}
        }
    }

    fn end(&mut self, node: &Node, account: &Account) {
        if !node.scenario.is_undisturbed() {
            return;
        }
        let mut missing = 0;
        for sent in &self.taken {
            let verdict = self.is_kept.get(&sent.trace_id).copied();
            assert!(verdict.is_some() || !node.scenario.is_roomy(), "a trace without a verdict: {sent:?}");
            let is_kept = verdict.unwrap_or(false);
            let Some(span) = self.delivered.get(&sent.id) else {
                missing += u64::from(is_kept);
                continue;
            };
            assert!(is_kept, "of a dropped trace nothing leaves: {sent:?}");
            if !matches!(node.scenario.policies, Policies::OfRuns) {
                assert_eq!(**span, sent.span, "as it came");
            }
        }
        let counted = account.dropped[DropReason::MemoryFull as usize];
        assert!(missing <= counted, "{missing} spans of kept traces missing, {counted} counted");
        assert!(!node.scenario.is_roomy() || counted == 0, "there is room for all");
    }
}
