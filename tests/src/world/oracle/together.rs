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
use std::collections::{BTreeMap, BTreeSet};
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
    taken: BTreeMap<TraceId, Vec<(Nanos, usize, Rc<Sent>)>>,
    delivered: BTreeMap<SpanId, Rc<Span>>,
    /// What each node came to, and why: to be shown.
    settled: BTreeMap<TraceId, Vec<(Nanos, usize, Occasion, bool)>>,
    /// Nodes that are gone with all they had.
    lost: BTreeSet<usize>,
    /// When owners ruled, and what.
    ruled: BTreeMap<TraceId, (Nanos, Option<String>)>,
}

impl Together {
    /// Nothing has come.
    #[must_use]
    pub fn new(policies: PolicySet, is_calm: bool) -> Self {
        Self {
            policies,
            is_calm,
            taken: BTreeMap::new(),
            delivered: BTreeMap::new(),
            lost: BTreeSet::new(),
            settled: BTreeMap::new(),
            ruled: BTreeMap::new(),
        }
    }

    /// Something was seen at a node.
    pub fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        if let Seen::Judged { judged, ruled, .. } = seen {
            let settled = (now, node.number(), judged.occasion, ruled.is_kept);
            self.settled.entry(judged.trace_id).or_default().push(settled);
        }
        match seen {
            Seen::Taken { sent, .. } => {
                self.taken.entry(sent.trace_id).or_default().push((now, node.number(), sent.clone()));
            }
            Seen::Lost => _ = self.lost.insert(node.number()),
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
    pub fn end(mut self, counts: &ClusterCounts) {
        let mut torn = Vec::new();
        let Self { taken, lost, .. } = &mut self;
        taken.values_mut().for_each(|spans| spans.retain(|(_, node, _)| !lost.contains(node)));
        for (trace_id, spans) in &self.taken {
            let left = spans
                .iter()
                .filter(|(_, _, sent)| {
                    self.delivered.get(&sent.id).inspect(|span| assert_eq!(***span, sent.span, "as it came")).is_some()
                })
                .count();
            if left > 0 && left < spans.len() {
                torn.push(self.story(trace_id, spans));
            }
            if self.is_calm {
                self.is_right(trace_id, spans);
            }
        }
        let told = counts.torn + counts.judged_alone + counts.judged_unremembered;
        assert!(torn.len() as u64 <= told, "{} traces left in part, {told} counted: {torn:#?} {counts:?}", torn.len());
        assert!(!self.is_calm || told == 0, "nothing is torn where all is calm: {counts:?}");
    }

    /// When its spans came where, and whether they left; what was ruled when.
    fn story(&self, trace_id: &TraceId, spans: &[(Nanos, usize, Rc<Sent>)]) -> String {
        let came: Vec<_> = spans
            .iter()
            .map(|(at, node, sent)| (at.0 / 1_000_000, *node, self.delivered.contains_key(&sent.id)))
            .collect();
        let settled = self.settled.get(trace_id).cloned().unwrap_or_default();
        let ruled: Vec<_> =
            settled.iter().map(|(at, node, why, kept)| (at.0 / 1_000_000, *node, *why, *kept)).collect();
        format!("{:?} came {came:?} ruled {ruled:?} lost {:?}", self.policies, self.lost)
    }

    fn is_right(&self, trace_id: &TraceId, spans: &[(Nanos, usize, Rc<Sent>)]) {
        let (at, policy) = self.ruled.get(trace_id).expect("a trace is judged");
        // What came just before the verdict may or may not be known.
        let is_told = |came: &Nanos| came.plus(GATHERED) <= *at;
        let sure = spans.iter().filter(|(came, ..)| is_told(came)).count();
        let known = spans.iter().filter(|(came, ..)| came <= at).count();
        let says: Vec<_> = (sure..=known)
            .map(|count| {
                self.policies.says(&spans[..count].iter().map(|(_, _, sent)| sent.clone()).collect::<Vec<_>>())
            })
            .collect();
        assert!(says.iter().any(|says| says.allows(policy.as_deref())), "{policy:?}, {says:?}: {spans:?}");
    }
}
