//! A verdict is what the policies say of the spans that its owner knew of: of each node those that it had when it wrote the
//! entry that reached the owner last, as the network let it through, and of its own those that it was told of in time. It is
//! said by a model that looks at the spans themselves; the verdict says of how many it is. In a calm world these are all
//! that came a while before.
//!
//! Notices when an old snapshot takes the place of a later one or one counts twice (`Docketed::take_in`), when an owner judges
//! by what one node told only, and when two sets of rules are mixed (`waits_for_rules`).

use super::super::super::cluster::Run;
use super::super::super::node::Node;
use super::super::super::policies::PolicySet;
use super::super::super::seen::{Entered, Seen};
use super::super::super::senders::Sent;
use super::super::super::verdict::Ruled;
use super::{Ended, Joint, is_ruling, run_of};
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_engine::vocabulary::{Judged, Nanos, Occasion, TraceId};
use tailwater_proto::cluster::{Incarnation, NodeId};

/// What a node takes it tells itself within this: `evidence_delay`, and a tick or two.
const TOLD: Nanos = Nanos::from_millis(275);
/// What comes so long before a verdict is told to whoever judges, where nothing takes longer than usual.
const GATHERED: Nanos = Nanos::from_millis(700);

/// A span, and when it came.
type Came = (Nanos, Rc<Sent>);

/// What came where, and what owners were told.
#[derive(Default)]
pub struct ByWhatWasTold {
    /// By trace and run of a node, in the order in which they came.
    taken: BTreeMap<TraceId, BTreeMap<Run, Vec<Came>>>,
    /// What an owner was told last by each other node.
    told: BTreeMap<(usize, TraceId), BTreeMap<NodeId, (Incarnation, u32)>>,
    /// When a core of a node saw other members.
    turned: BTreeMap<(usize, usize), Nanos>,
    /// When traces were judged, and of how many spans; to be looked at in a calm world.
    ruled: BTreeMap<TraceId, Vec<(Nanos, usize)>>,
}

impl Joint for ByWhatWasTold {
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        let number = node.number();
        match seen {
            Seen::Taken { sent, .. } => {
                let runs = self.taken.entry(sent.trace_id).or_default();
                runs.entry(run_of(node)).or_default().push((now, sent.clone()));
            }
            Seen::Told(core, Entered { trace_id, source, spans }) => {
                let is_owner = node.view_of(*core).is_some_and(|view| view.is_own(node.seat_of(trace_id).1));
                if is_owner && node.seat_of(trace_id).0 == *core {
                    let told = self.told.entry((number, *trace_id)).or_default().entry(source.0).or_default();
                    *told = (*told).max((source.1, *spans));
                }
            }
            Seen::Turned(core) => {
                self.turned.insert((number, *core), now);
                let Some(view) = node.view_of(*core) else { return };
                self.told.retain(|(of, trace_id), _| {
                    let (seat, hash) = node_seat(node, *of, trace_id);
                    *of != number || seat != *core || view.is_own(hash)
                });
            }
            Seen::Judged { judged, ruled, policies, .. } => self.judged(node, now, (judged, ruled, *policies)),
            Seen::Crashed { .. } | Seen::Lost => self.told.retain(|(of, _), _| *of != number),
            _ => {}
        }
    }

    fn end(&mut self, ended: &Ended<'_>) {
        if !ended.expected.is_calm {
            return;
        }
        for (trace_id, runs) in &self.taken {
            let [(at, spans)] = self.ruled.get(trace_id).map_or(&[][..], |ruled| &ruled[..]) else {
                panic!("a trace is judged once in the cluster: {:?}", self.ruled.get(trace_id));
            };
            let came = runs.values().flatten().map(|(came, _)| *came);
            let sure = came.filter(|came| came.plus(GATHERED) <= *at).count();
            assert!(sure <= *spans, "judged by {spans} of {sure} spans");
        }
    }
}

impl ByWhatWasTold {
    fn judged(&mut self, node: &Node, now: Nanos, (judged, ruled, policies): (&Judged, &Ruled, PolicySet)) {
        let trace_id = judged.trace_id;
        let told = self.told.remove(&(node.number(), trace_id)).unwrap_or_default();
        if !is_ruling(judged) {
            return;
        }
        // Spans that are shed as they come are not told, nor do they count as what lies here.
        if node.scenario.cluster.is_some_and(|cluster| cluster.may_shed(&trace_id)) {
            return;
        }
        let is_alone = judged.occasion == Occasion::Alone;
        let runs = self.taken.get(&trace_id);
        let spans_of = |run: Run| runs.and_then(|runs| runs.get(&run)).map_or(&[][..], |spans| &spans[..]);
        let mut parts: Vec<Vec<Rc<Sent>>> = Vec::new();
        let all = spans_of(run_of(node));
        // What a former owner passes on of this node itself, of a former run perhaps, gives way to what it has now.
        let mut before = Vec::new();
        for (from, (incarnation, spans)) in told.into_iter().filter(|_| !is_alone) {
            let theirs = spans_of((from, incarnation));
            assert!(spans as usize <= theirs.len(), "{from:?} told of {spans} spans and has {}", theirs.len());
            let part = theirs[..spans as usize].iter().map(|(_, sent)| sent.clone()).collect();
            if from == run_of(node).0 { before = part } else { parts.push(part) }
        }
        if all.is_empty() {
            parts.push(std::mem::take(&mut before));
        }
        let others: usize = parts.iter().map(Vec::len).sum();
        let has_turned = self.turned.get(&(node.number(), node.seat_of(&trace_id).0));
        let is_settled = has_turned.is_none_or(|turned| turned.plus(TOLD) <= now);
        let sure = all.iter().filter(|(came, _)| is_settled && came.plus(TOLD) <= now).count();
        // Where some of it lies here the verdict says of how many spans.
        let spans = if all.is_empty() { others } else { all.len() };
        assert_eq!(judged.spans as usize, spans, "{others} spans elsewhere: {judged:?}");
        self.ruled.entry(trace_id).or_default().push((now, others + all.len()));
        let says_with = |own: usize| {
            let now = all[..own].iter().map(|(_, sent)| sent.clone()).collect();
            parts.push(if own == 0 { before.clone() } else { now });
            let says = policies.says_of(&parts);
            parts.pop();
            says
        };
        let says: Vec<_> = (sure..=all.len()).map(says_with).collect();
        let is_right = says.iter().any(|says| says.allows(ruled.policy.as_deref()));
        assert!(is_right, "{ruled:?}, {says:?}: {judged:?} {parts:?} {all:?}");
    }
}

/// Of another node nothing is asked.
fn node_seat(node: &Node, of: usize, trace_id: &TraceId) -> (usize, u64) {
    if node.number() == of { node.seat_of(trace_id) } else { (usize::MAX, 0) }
}
