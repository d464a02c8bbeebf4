//! A shard as a part of a cluster: which node judges a trace, what is to be told of the traces that lie here, and the docket
//! of those that this node judges.
//!
//! The spans of a trace stay where they came. A node that has some of them tells the owner of the trace what they say
//! (evidence); the owner judges by all that it was told and tells what came of it (a ruling). Both may come late, twice or not
//! at all. An entry is a snapshot of what a node has, and a later one takes its place; who hears nothing asks. So silence
//! means nothing, and no order is needed.

pub mod changes;
pub mod counts;
pub mod demand;
pub mod docket;
pub mod fates;
pub mod mail;
pub mod shed;
mod wheel;

use crate::vocabulary::{Nanos, tick_of};
use changes::Changes;
use counts::ClusterCounts;
use demand::Demands;
use docket::Docket;
use fates::Fates;
use mail::Mail;
use shed::Shed;
use std::collections::VecDeque;
use std::sync::Arc;
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::ruling::Ruling;
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};
use twox_hash::XxHash3_64;

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
    /// Past the deadline of a trace, until it is judged although some of it was told under other rules: by its numbers only.
    pub rules_wait: Nanos,
    /// Traces on the docket of a shard.
    /// At the bound: those that are due next are judged early.
    pub docket_traces_max: usize,
    /// Bytes of a message.
    pub message_bytes_max: usize,
    /// How often this node may want the traces that pass to be halved, while it is under pressure.
    pub shed_level_max: u8,
}

/// From the arrival of a root, past the wait after it, until a trace is judged: what other nodes have is on its way.
pub const GATHER: Nanos = Nanos::from_millis(300);
/// After a change of members, until traces are judged that came with it, and as long as a former owner is believed.
pub const SETTLE: Nanos = Nanos::from_millis(2_000);
/// So long after a change of members a new owner asks those before it what they remember of a trace.
pub const REMEMBERED: Nanos = Nanos::from_millis(60_000);
/// Views of the members that are remembered for it.
/// At the bound: the oldest is forgotten; a late span of a trace that was judged under it may be judged by itself.
const FORMER_MAX: usize = 8;
/// Between two questions after a trace.
pub const ASK_INTERVAL: Nanos = Nanos::from_millis(500);
/// A clock that has made such a step stood still long enough for others to have gone on without this node.
pub const STANDSTILL: Nanos = Nanos::from_millis(2_000);

/// The number of a pipeline on the wire: nodes know each other's by their names.
#[must_use]
pub fn pipeline_id(name: &str) -> u64 {
    XxHash3_64::oneshot_with_seed(PIPELINE_SEED, name.as_bytes())
}

/// Of the hashes of names. A part of the wire.
const PIPELINE_SEED: u64 = 1;

/// A shard's part in a cluster.
#[derive(Debug)]
pub struct Cluster {
    /// Waits and bounds.
    pub plan: ClusterPlan,
    /// The members as this node sees them.
    pub view: Arc<View>,
    /// The run of this node, as it is in the view.
    pub incarnation: Incarnation,
    /// How many shards the other members have, each number once. Who is alone speaks to those that it knew last: when they meet
    /// again they are to hear what was kept meanwhile.
    pub shards_of_others: Vec<u16>,
    /// Those before, newest first, each with the time at which it was over.
    former: VecDeque<(Arc<View>, Nanos)>,
    changed: Nanos,
    /// When this node came.
    joined: Nanos,
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
    /// The entry that is being written: its room is used again.
    pub told: Entry,
    /// Entries told in the last tick in which any were.
    pub told_in_tick: (u32, u32),
    /// Rulings on traces that lie here, which wait for room at the exporters: from whom, under which rules.
    pub heard: VecDeque<(NodeId, u64, Ruling)>,
    /// What became of traces that are elsewhere.
    pub fates: Fates,
    /// The shard's part of each limit of the node, 0 to 1; empty while nobody has said.
    pub limit_shares: Vec<f64>,
    /// What wanted to pass the limits, on each node.
    pub demands: Demands,
    /// What nodes give up because more comes than they can take.
    pub shed: Shed,
    /// What happened.
    pub counts: ClusterCounts,
    /// This node is about to leave: what lies here is to be judged now.
    pub is_leaving: bool,
}

impl Cluster {
    /// A node with an empty docket.
    #[must_use]
    pub fn new(plan: ClusterPlan, view: Arc<View>, now: Nanos) -> Self {
        let mut cluster = Self {
            changes: Changes::new(plan.evidence_delay),
            docket: Docket::new(plan.docket_traces_max),
            mail: Mail::new(plan.pipeline, plan.message_bytes_max),
            incarnation: view.member(view.own).map_or(Incarnation(0), |member| member.incarnation),
            told: Entry::default(),
            told_in_tick: (0, 0),
            plan,
            shards_of_others: Vec::new(),
            former: VecDeque::new(),
            view,
            changed: now,
            joined: now,
            looked: now,
            still_until: now.plus(SETTLE),
            heard: VecDeque::new(),
            fates: Fates::default(),
            limit_shares: Vec::new(),
            demands: Demands::default(),
            shed: Shed::default(),
            counts: ClusterCounts::default(),
            is_leaving: false,
        };
        cluster.shards_of_others = cluster.find_shards_of_others();
        cluster
    }

    /// The members have changed.
    pub fn turn_to(&mut self, now: Nanos, view: Arc<View>) {
        let before = std::mem::replace(&mut self.view, view);
        self.former.truncate(FORMER_MAX - 1);
        self.former.push_front((before, now));
        self.changed = now;
        self.shards_of_others = self.find_shards_of_others();
        self.demands.retain(|node| self.view.member(node).is_some());
        self.shed.forget(now, |node| self.view.member(node).is_some());
        let own = self.view.member(self.view.own);
        self.is_leaving = own.is_some_and(|member| member.is_leaving);
        self.incarnation = own.map_or(self.incarnation, |member| member.incarnation);
    }

    /// Whether owners have been the same for so long that nobody needs to be asked what it remembers.
    #[inline]
    #[must_use]
    pub fn is_long_settled(&self, now: Nanos) -> bool {
        let is_over = |over: Nanos| now >= over.plus(REMEMBERED);
        is_over(self.joined) && self.former.front().is_none_or(|(_, over)| is_over(*over))
    }

    /// Who owned a trace of this hash a while ago, but for this node.
    fn recent_owners(&self, now: Nanos, hash: u64) -> Vec<NodeId> {
        if self.is_long_settled(now) {
            return Vec::new();
        }
        let has_joined_lately = now < self.joined.plus(REMEMBERED);
        let recent = self.former.iter().take_while(|(_, over)| now < over.plus(REMEMBERED));
        let views: Vec<&View> = recent.map(|(view, _)| &**view).chain([&*self.view]).collect();
        let mut owners: Vec<NodeId> = views.iter().map(|view| view.owner_id(hash)).collect();
        if has_joined_lately {
            // Others judged all there was before it came, whatever it saw of them then.
            owners.extend(views.iter().filter_map(|view| view.owner_but_own(hash)));
        }
        owners.sort_unstable();
        owners.dedup();
        owners.retain(|node| *node != self.view.own);
        owners
    }

    /// Who may remember what came of a trace of this hash that this node owns now: those who owned it before; all where one
    /// of these is gone, or where this node has just come, for it may take one for alive that is not.
    #[must_use]
    pub fn who_may_remember(&self, now: Nanos, hash: u64) -> Vec<NodeId> {
        let has_joined_lately = now < self.joined.plus(REMEMBERED);
        if !has_joined_lately {
            let owners = self.recent_owners(now, hash);
            if owners.iter().all(|node| self.view.member(*node).is_some()) {
                return owners;
            }
        }
        self.view.members().iter().map(|member| member.node).filter(|node| *node != self.view.own).collect()
    }

    /// Whether someone owned it a while ago who is gone, and may have been the only one to know; or this node has just come
    /// and has found nobody yet.
    #[must_use]
    pub fn may_be_forgotten(&self, now: Nanos, hash: u64) -> bool {
        if self.is_long_settled(now) {
            return false;
        }
        let has_found_nobody = self.view.members().len() < 2 && self.former.is_empty();
        (has_found_nobody && now < self.joined.plus(REMEMBERED))
            || self.recent_owners(now, hash).iter().any(|node| self.view.member(*node).is_none())
    }

    fn find_shards_of_others(&self) -> Vec<u16> {
        let views = std::iter::once(&self.view).chain(self.former.iter().map(|(view, _)| view));
        let others = views.map(|view| {
            let others = view.members().iter().filter(|member| member.node != view.own);
            others.map(|member| member.shards).collect::<Vec<u16>>()
        });
        let mut shards = others.into_iter().find(|shards| !shards.is_empty()).unwrap_or_default();
        shards.sort_unstable();
        shards.dedup();
        shards
    }

    fn former_owner(&self, hash: u64) -> NodeId {
        self.former.front().map_or(self.view.own, |(view, _)| view.owner_id(hash))
    }

    /// Whether another node, or this one in another run, judged them before the members changed.
    #[must_use]
    pub fn has_new_owner(&self, hash: u64) -> bool {
        let Some((former, _)) = self.former.front() else { return false };
        let run = |view: &View| view.owner(hash).map(|member| (member.node, member.incarnation));
        run(former) != run(&self.view)
    }

    /// Whether what `node` rules on a trace that it drops is to be obeyed: it is the `owner`, or was until a moment ago. One
    /// that was cut off may have judged by what was known long ago.
    #[must_use]
    pub fn obeys(&self, now: Nanos, node: NodeId, (owner, hash): (NodeId, u64)) -> bool {
        owner == node || (!self.is_settled(now) && self.former_owner(hash) == node)
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
