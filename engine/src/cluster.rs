//! A shard as a part of a cluster: which node judges a trace, what is to be told of the traces that lie here, and the docket
//! of those that this node judges.
//!
//! The spans of a trace stay where they came. A node that has some of them tells the owner of the trace what they say
//! (evidence); the owner judges by all that it was told and tells what came of it (a ruling). Both may come late, twice or not
//! at all. An entry is a snapshot of what a node has, and a later one takes its place; who hears nothing asks. So silence
//! means nothing, and no order is needed.

pub mod changes;
pub mod counts;
pub mod docket;
pub mod mail;
mod wheel;

use crate::vocabulary::{Nanos, tick_of};
use changes::Changes;
use counts::ClusterCounts;
use docket::Docket;
use mail::Mail;
use std::collections::VecDeque;
use std::sync::Arc;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::ruling::Ruling;
use tailwater_proto::cluster::view::View;

/// Waits and bounds of a shard's part in a cluster.
#[derive(Debug, Clone)]
pub struct ClusterPlan {
    /// Hash of the name of the pipeline.
    pub pipeline: u64,
    /// From a change of what is known of a trace to its being told: changes between are told together.
    pub evidence_delay: Nanos,
    /// Past the deadline of a trace, until its owner is asked.
    pub answer_wait: Nanos,
    /// Past the first question, until a trace is judged by what lies here.
    pub hold_max: Nanos,
    /// Traces on the docket of a shard.
    /// At the bound: those that are due next are judged early.
    pub docket_traces_max: usize,
    /// Bytes of a message.
    pub message_bytes_max: usize,
}

/// From the arrival of a root, past the wait after it, until a trace is judged: what other nodes have is on its way.
pub const GATHER: Nanos = Nanos::from_millis(300);
/// After a change of members, until traces are judged that came with it, and as long as a former owner is believed.
pub const SETTLE: Nanos = Nanos::from_millis(2_000);
/// Between two questions after a trace.
pub const ASK_INTERVAL: Nanos = Nanos::from_millis(500);
/// A clock that has made such a step stood still long enough for others to have gone on without this node.
pub const STANDSTILL: Nanos = Nanos::from_millis(2_000);

/// A shard's part in a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Waits and bounds.
    pub plan: ClusterPlan,
    /// The members as this node sees them.
    pub view: Arc<View>,
    /// Those before, and when they changed.
    former: Arc<View>,
    changed: Nanos,
    /// When the time was last looked at.
    looked: Nanos,
    /// Until then nothing is judged here.
    still_until: Nanos,
    /// What is to be told of traces that lie here.
    pub changes: Changes,
    /// The traces that this node judges.
    pub docket: Docket,
    /// What is being written to other nodes.
    pub mail: Mail,
    /// Rulings on traces that lie here, which wait for room at the exporters: from whom, under which rules.
    pub heard: VecDeque<(NodeId, u64, Ruling)>,
    /// What happened.
    pub counts: ClusterCounts,
    /// This node is about to leave.
    pub is_leaving: bool,
}

impl Cluster {
    /// A node with an empty docket.
    #[must_use]
    pub fn new(plan: ClusterPlan, view: Arc<View>, now: Nanos) -> Self {
        Self {
            changes: Changes::new(plan.evidence_delay),
            docket: Docket::new(plan.docket_traces_max),
            mail: Mail::new(plan.message_bytes_max),
            plan,
            former: view.clone(),
            view,
            changed: now,
            looked: now,
            still_until: now.plus(SETTLE),
            heard: VecDeque::new(),
            counts: ClusterCounts::default(),
            is_leaving: false,
        }
    }

    /// The members have changed.
    pub fn turn_to(&mut self, now: Nanos, view: Arc<View>) {
        self.former = std::mem::replace(&mut self.view, view);
        self.changed = now;
    }

    /// Who judged the traces of this hash before the members changed.
    #[must_use]
    pub fn former_owner(&self, hash: u64) -> NodeId {
        self.former.owner(hash)
    }

    /// Whether a node in its former run, or none, judged them.
    #[must_use]
    pub fn has_new_owner(&self, hash: u64) -> bool {
        let (before, after) = (self.former.owner(hash), self.view.owner(hash));
        before != after
            || self.former.member(before).map(|member| member.incarnation)
                != self.view.member(after).map(|member| member.incarnation)
    }

    /// Whether what `node` rules on a trace that it drops is to be obeyed: it is the owner, or was until a moment ago. One
    /// that was cut off may have judged by what was known long ago.
    #[must_use]
    pub fn obeys(&self, now: Nanos, node: NodeId, hash: u64) -> bool {
        self.view.owner(hash) == node || (!self.is_settled(now) && self.former.owner(hash) == node)
    }

    /// Whether the members have not changed for a while, so that all have told the new owners what they have.
    #[must_use]
    pub fn is_settled(&self, now: Nanos) -> bool {
        now >= self.changed.plus(SETTLE)
    }

    /// Whether this node stood still a moment ago, or has just come: others may know of owners that it does not know of.
    #[must_use]
    pub fn stands_still(&self, now: Nanos) -> bool {
        now < self.still_until
    }

    /// The tick until which a trace is not judged, because it has a new owner that others may not have told yet.
    #[must_use]
    pub fn waits_for_others(&self, now: Nanos, hash: u64) -> Option<u32> {
        let waits = !self.is_settled(now) && self.has_new_owner(hash);
        waits.then(|| tick_of(self.changed.plus(SETTLE)))
    }

    /// The time goes on. A node that stood still may have been taken for dead: it judges nothing until it has heard of that.
    pub fn look(&mut self, now: Nanos) {
        if now > self.looked.plus(STANDSTILL) {
            self.still_until = now.plus(SETTLE);
            self.counts.standstills += 1;
        }
        self.looked = self.looked.max(now);
    }
}
