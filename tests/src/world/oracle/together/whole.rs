//! A trace leaves whole or not at all, whichever nodes its spans came to. While all nodes are members for one another there
//! is no exception. Else traces that leave in part are counted: each was judged alone, or by a node that may have missed what
//! came of it before, or some node that dropped a part of it has counted that when it heard that it is kept (`torn`); and it is
//! one that was on its way while links were cut. Nodes that have not met since they started are clusters of their own.
//!
//! Notices when a holder takes silence for a drop, when owners ask nobody who may remember, and when what is said to all is
//! not repaired (`Hub::pull`).

use super::super::super::cluster::{Run, number};
use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::super::super::senders::{Sent, SpanId, span_id};
use super::{Ended, Joint, is_ruling, run_of, runs_seen};
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::{BTreeMap, BTreeSet};
use std::rc::Rc;
use tailwater_engine::vocabulary::{Nanos, Occasion, TraceId};

/// What comes so long before links are cut is settled by then, and what comes so long after they have healed is not touched
/// by it.
const BEFORE: Nanos = Nanos::from_millis(8_000);
const AFTER: Nanos = Nanos::from_millis(15_000);
/// As long as an owner waits for what others remember (`hold_max`), by clocks that drift a little.
const HELD: Nanos = Nanos::from_millis(10_000 - 20);

/// A span, when it came and to which node.
type Came = (Nanos, usize, Rc<Sent>);

/// What came to all nodes, and what left them.
#[derive(Default)]
pub struct Whole {
    taken: BTreeMap<TraceId, BTreeMap<SpanId, Came>>,
    delivered: BTreeMap<SpanId, Rc<Span>>,
    /// What each node came to, and why: to be shown.
    settled: BTreeMap<TraceId, Vec<(Nanos, usize, Occasion, bool)>>,
    /// Judged alone, or by a node that may have missed what came of it before.
    excused: BTreeSet<TraceId>,
    /// By node: when it was looked at, and what it had counted as unremembered before and then.
    unremembered: BTreeMap<usize, (Nanos, u64, u64)>,
    /// Rulings of owners that may have waited for an answer that found no room for as long as they do.
    patient: u64,
    /// By node and hash: whether it kept or dropped a trace, as it knows now; and of which traces nodes dropped a part before
    /// they heard that it was kept.
    knows: BTreeMap<(usize, u64), bool>,
    counted: Vec<u64>,
    /// Of the ids of judged traces.
    hashes: BTreeMap<TraceId, u64>,
    /// Whom each node has met in this run, and who has ruled on a trace.
    met: BTreeMap<usize, BTreeSet<Run>>,
    rulers: BTreeMap<TraceId, BTreeSet<Run>>,
    /// Whether a node came late, and whether nodes may shed.
    has_come: bool,
    sheds: bool,
}

impl Joint for Whole {
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        match seen {
            Seen::Taken { sent, .. } => {
                let spans = self.taken.entry(sent.trace_id).or_default();
                spans.entry(sent.id).or_insert_with(|| (now, node.number(), sent.clone()));
            }
            Seen::Delivered { span, .. } => _ = self.delivered.insert(span_id(span), span.clone()),
            Seen::Judged { judged, ruled, .. } => {
                let settled = (now, node.number(), judged.occasion, ruled.is_kept);
                self.settled.entry(judged.trace_id).or_default().push(settled);
                self.knows.insert((node.number(), node.seat_of(&judged.trace_id).1), ruled.is_kept);
                self.hashes.insert(judged.trace_id, node.seat_of(&judged.trace_id).1);
                if !is_ruling(judged) {
                    return;
                }
                let is_among_strangers = self.is_among_strangers(node, &judged.trace_id);
                self.patient += u64::from(self.has_waited(node, now, &judged.trace_id));
                if judged.occasion.is_early() || is_among_strangers || self.is_unremembered(node, now) {
                    self.excused.insert(judged.trace_id);
                }
            }
            Seen::Turned(core) => {
                self.sheds |= node.scenario.cluster.is_some_and(|cluster| cluster.shed_level_max > 0);
                self.has_come |= node.scenario.cluster.is_some_and(|cluster| cluster.comes_ms > 0);
                self.met.entry(node.number()).or_default().extend(runs_seen(node, *core));
            }
            Seen::Ruled { hash, is_kept: true } => {
                let before = self.knows.insert((node.number(), *hash), true);
                if before == Some(false) {
                    self.counted.push(*hash);
                }
            }
            Seen::Crashed { .. } => {
                self.met.remove(&node.number());
                self.knows.retain(|(of, _), _| *of != node.number());
            }
            Seen::Started(known) => {
                let known =
                    known.iter().map(|(trace_id, ruled)| ((node.number(), node.seat_of(trace_id).1), ruled.is_kept));
                self.knows.extend(known);
            }
            _ => {}
        }
    }

    fn end(&mut self, ended: &Ended<'_>) {
        let mut torn = Vec::new();
        self.taken.values_mut().for_each(|spans| spans.retain(|_, (_, node, _)| !ended.lost.contains(node)));
        for (trace_id, spans) in &self.taken {
            let is_as_it_came = |sent: &Sent, span: &Span| {
                // What is left where a cluster sheds says what it stands for.
                let state = if self.sheds { &span.trace_state } else { &sent.span.trace_state };
                assert_eq!(*span, Span { trace_state: state.clone(), ..sent.span.clone() }, "as it came");
            };
            let left = spans.values().filter(|(_, _, sent)| {
                self.delivered.get(&sent.id).inspect(|span| is_as_it_came(sent, span)).is_some()
            });
            let left = left.count();
            if left > 0 && left < spans.len() {
                assert!(self.was_on_its_way(trace_id, ended), "{}", self.story(trace_id, ended));
                torn.push(*trace_id);
            }
        }
        let counts = &ended.met.cluster;
        let missed = ended.met.hub.missed;
        let stories: Vec<_> = torn.iter().map(|trace_id| self.story(trace_id, ended)).collect();
        assert_eq!(counts.torn, self.counted.len() as u64, "whoever dropped what it hears is kept counts that once");
        let is_counted = |trace_id: &TraceId| self.counted.contains(&self.hashes[trace_id]);
        let silent = torn.iter().filter(|trace_id| !self.excused.contains(*trace_id) && !is_counted(trace_id)).count();
        assert!(
            silent as u64 <= missed,
            "{silent} traces left in part, and nobody counted them: {stories:#?} {counts:?}"
        );
        let is_connected = ended.is_connected() && !self.has_come;
        // Where nothing finds room for ten seconds a node may judge alone; and an owner in its first minute whom one answer did
        // not reach for as long goes on without it. Of the latter nothing is torn: it knew all that there was to know.
        let is_told = counts.torn + missed == 0 && counts.judged_unremembered <= self.patient;
        let is_whole = counts.judged_alone > 0 || (torn.is_empty() && is_told);
        assert!(!is_connected || is_whole, "among members: {stories:#?} {counts:?}");
        assert!(!ended.expected.is_calm || (is_connected && counts.judged_alone == 0), "{counts:?}");
    }
}

impl Whole {
    /// Whether another node has ruled on a trace that this one has never met, nor that one this: each is a cluster of its own.
    fn is_among_strangers(&mut self, node: &Node, trace_id: &TraceId) -> bool {
        let own = run_of(node);
        let has_met = |one: Run, other: Run| self.met.get(&number(one.0)).is_some_and(|met| met.contains(&other));
        let rulers = self.rulers.entry(*trace_id).or_default();
        let is_among = rulers.iter().any(|other| *other != own && !has_met(own, *other) && !has_met(*other, own));
        rulers.insert(own);
        is_among
    }

    /// Whether a node that has just judged has counted that it may have missed what came of a trace before.
    fn is_unremembered(&mut self, node: &Node, now: Nanos) -> bool {
        let count = node.cluster_counts().judged_unremembered;
        let (at, before, then) = self.unremembered.entry(node.number()).or_default();
        if *at != now {
            (*at, *before) = (now, *then);
        }
        *then = count;
        count > *before
    }

    /// Whether messages find no room here at times, and a trace is judged so late that its owner may have waited for others.
    fn has_waited(&self, node: &Node, now: Nanos, trace_id: &TraceId) -> bool {
        let is_full = node.scenario.cluster.is_some_and(|cluster| cluster.full_percent > 0);
        let wait = Nanos::from_millis(node.scenario.decision_wait_ms).plus(HELD);
        let came = self.taken.get(trace_id).and_then(|spans| spans.values().map(|(at, ..)| *at).min());
        is_full && came.is_some_and(|came| came.plus(wait) <= now)
    }

    /// Whether something of a trace came or was settled while links were cut, or a while before or after.
    fn was_on_its_way(&self, trace_id: &TraceId, ended: &Ended<'_>) -> bool {
        let (Some(parted), Some(healed)) = (ended.parted, ended.healed) else { return true };
        let came = self.taken[trace_id].values().map(|(at, ..)| *at);
        let settled = self.settled.get(trace_id).into_iter().flatten().map(|(at, ..)| *at);
        let mut times = came.chain(settled);
        times.any(|at| at.plus(BEFORE) >= parted && at <= healed.plus(AFTER))
    }

    /// When its spans came where, and whether they left; what was ruled when.
    fn story(&self, trace_id: &TraceId, ended: &Ended<'_>) -> String {
        let came = self.taken[trace_id].values();
        let came: Vec<_> =
            came.map(|(at, node, sent)| (at.0 / 1_000_000, *node, self.delivered.contains_key(&sent.id))).collect();
        let settled = self.settled.get(trace_id).into_iter().flatten();
        let ruled: Vec<_> = settled.map(|(at, node, why, kept)| (at.0 / 1_000_000, *node, *why, *kept)).collect();
        let cut = [ended.parted, ended.healed].map(|at| at.map(|at| at.0 / 1_000_000));
        format!("{:x?} came {came:?} ruled {ruled:?} lost {:?} cut {cut:?}", &trace_id[..8], ended.lost)
    }
}
