//! What must hold of all nodes of a cluster together. A trace leaves whole or not at all, whichever nodes its spans came to,
//! but for what is counted as torn or judged alone; and its verdict is what the policies say of all its spans that came in
//! time, wherever they did, by a model that looks at the spans themselves.
//!
//! Notices when a holder takes silence for a drop, when drops are not told and holders judge what lies there, and when an
//! owner judges by what one node told only.

use super::super::node::Node;
use super::super::policies::PolicySet;
use super::super::seen::Seen;
use super::super::senders::{Sent, SpanId, span_id};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::vocabulary::{Nanos, Occasion, TraceId};

/// Spans that come so long before a verdict are among those that it is by, where nothing takes longer than usual.
const GATHERED: Nanos = Nanos::from_millis(600);

/// What came to all nodes, and what left them.
pub struct Together {
    policies: PolicySet,
    /// Whether messages take their usual time and nobody stands still, so that verdicts are by what came in time.
    is_calm: bool,
    taken: BTreeMap<TraceId, Vec<(Nanos, Rc<Sent>)>>,
    delivered: BTreeMap<SpanId, Rc<Span>>,
    /// When owners ruled, and what.
    ruled: BTreeMap<TraceId, (Nanos, Option<String>)>,
}

impl Together {
    /// Nothing has come.
    #[must_use]
    pub fn new(policies: PolicySet, is_calm: bool) -> Self {
        Self { policies, is_calm, taken: BTreeMap::new(), delivered: BTreeMap::new(), ruled: BTreeMap::new() }
    }

    /// Something was seen at a node.
    pub fn see(&mut self, seen: &Seen, _: &Node, now: Nanos) {
        match seen {
            Seen::Taken { sent, .. } => self.taken.entry(sent.trace_id).or_default().push((now, sent.clone())),
            Seen::Delivered { span, .. } => _ = self.delivered.insert(span_id(span), span.clone()),
            Seen::Judged { judged, ruled, .. } if !matches!(judged.occasion, Occasion::Owner | Occasion::Alone) => {
                let before = self.ruled.insert(judged.trace_id, (now, ruled.policy.clone()));
                assert!(!self.is_calm || before.is_none(), "a trace is judged once in the cluster");
            }
            _ => {}
        }
    }

    /// All is settled.
    ///
    /// # Panics
    /// When a trace left in part and nothing was counted, or a verdict is wrong.
    pub fn end(self, counts: &ClusterCounts) {
        let mut torn = 0;
        for (trace_id, spans) in &self.taken {
            let left = spans.iter().filter(|(_, sent)| self.delivered.get(&sent.id).inspect(|span| assert_eq!(***span, sent.span, "as it came")).is_some()).count();
            torn += u64::from(left > 0 && left < spans.len());
            if self.is_calm {
                self.is_right(trace_id, spans);
            }
        }
        let told = counts.torn + counts.judged_alone;
        assert!(torn <= told, "{torn} traces left in part, {told} counted: {counts:?}");
        assert!(!self.is_calm || told == 0, "nothing is torn where all is calm: {counts:?}");
    }

    fn is_right(&self, trace_id: &TraceId, spans: &[(Nanos, Rc<Sent>)]) {
        let (at, policy) = self.ruled.get(trace_id).expect("a trace is judged");
        // What came just before the verdict may or may not be known.
        let is_told = |came: &Nanos| came.plus(GATHERED) <= *at;
        let sure = spans.iter().filter(|(came, _)| is_told(came)).count();
        let known = spans.iter().filter(|(came, _)| came <= at).count();
        let says: Vec<_> = (sure..=known)
            .map(|count| self.policies.says(&spans[..count].iter().map(|(_, sent)| sent.clone()).collect::<Vec<_>>()))
            .collect();
        assert!(says.iter().any(|says| says.allows(policy.as_deref())), "{policy:?}, {says:?}: {spans:?}");
    }
}
