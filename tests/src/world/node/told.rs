//! What the shards of a node of a cluster tell, and what they take of what its hub has heard.

use super::super::cluster::Run;
use super::super::events::What;
use super::super::scenario::{InCluster, Scenario};
use super::super::seen::{Entered, Seen};
use super::super::senders::Senders;
use super::gossip::ForCore;
use super::start::REPLAY_US;
use super::{Around, Core, Node};
use fastrand::Rng;
use std::sync::Arc;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::vocabulary::{Said, TraceId};
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::message::{Header, Kind};
use tailwater_proto::cluster::view::View;

/// The senders of a node: its own, or its share of those of the cluster.
pub(super) fn senders(number: usize, random: &mut Rng, scenario: &Scenario) -> Senders {
    match scenario.cluster {
        None => Senders::new(random, &scenario.traffic),
        Some(InCluster { seed, nodes, is_sticky, begins_ms, .. }) => {
            let all = Senders::new(&mut Rng::with_seed(seed), &scenario.traffic);
            all.share(number, nodes, is_sticky).later(begins_ms)
        }
    }
}

/// The entries of a message that say what a node has of a trace, in which run.
fn entries(from: Run, message: &[u8]) -> Vec<Entered> {
    let mut entered = Vec::new();
    let Ok((Header { kind: Kind::Evidence, .. }, mut cursor)) = Header::read(message) else { return entered };
    let base = cursor.fixed64().expect("nodes send whole messages");
    let mut entry = Entry::default();
    while !cursor.is_empty() {
        entry.read(base, &mut cursor).expect("nodes send whole entries");
        let (trace_id, spans) = (entry.trace_id, entry.facts.spans);
        entered.push(Entered { trace_id, source: entry.source.unwrap_or(from), spans });
    }
    entered
}

impl Node {
    /// Room on the way to others.
    pub(super) fn room(&mut self) -> usize {
        let Some(InCluster { full_percent, .. }) = self.scenario.cluster else { return usize::MAX };
        if self.random.u32(0..100) < full_percent { self.random.usize(0..3) } else { usize::MAX }
    }

    /// What follows from verdicts waits until they are durable; returns the rest.
    pub(super) fn hold_for_verdicts(&mut self, core: usize, told: Vec<Said>) -> Vec<Said> {
        let (pipeline, executor) = self.seat(core);
        let Some(log) = self.lanes.get_mut(executor) else { return told };
        let (held, free) = told.into_iter().partition(|said| said.follows_verdicts);
        let journal = log.lane.journal(pipeline);
        Vec::into_iter(held).for_each(|said| journal.say(said));
        free
    }

    pub(super) fn send_told(&mut self, told: Vec<Said>, around: &mut Around<'_>) {
        let Some(run) = self.cluster_run().filter(|_| !told.is_empty()) else { return };
        for said in &told {
            if let Some(to) = said.to {
                self.seen.extend(entries(run, &said.bytes).into_iter().map(|entered| (0, Seen::Tells(to, entered))));
            }
        }
        self.tell(told, around);
    }

    /// A core takes what the hub has for it.
    pub(super) fn obey(&mut self, core: usize, around: &mut Around<'_>) {
        if self.is_starting() {
            // What comes waits until the log is read.
            return self.plan(REPLAY_US, What::Obey(core), around);
        }
        let room = self.room();
        let Core { shard, outbox, inbox, .. } = &mut self.cores[core];
        match inbox.pop_front().expect("each is planned once") {
            ForCore::Members(view) => {
                shard.turn_to(self.now, &view);
                self.see(core, Seen::Turned(core));
            }
            ForCore::Heard(from, message) => {
                let heard = entries(from, &message);
                self.seen.extend(heard.into_iter().map(|entered| (0, Seen::Told(core, entered))));
                outbox.room = room;
                shard.hear(self.now, from, &message, outbox);
                let in_force = shard.rules().generation();
                self.gather(core, in_force, around);
            }
        }
        self.follow_core(core, around);
    }

    /// The core of the first pipeline that has a trace, and the trace's hash.
    #[must_use]
    pub fn seat_of(&self, trace_id: &TraceId) -> (usize, u64) {
        let hash = self.route.hash(trace_id);
        (usize::from(self.route.shard(hash).0), hash)
    }

    /// The members as a core sees them.
    #[must_use]
    pub fn view_of(&self, core: usize) -> Option<&Arc<View>> {
        self.cores.get(core)?.shard.cluster().map(|cluster| &cluster.view)
    }

    /// Whether a core has a trace to judge.
    #[must_use]
    pub fn is_on_docket(&self, core: usize, trace_id: &TraceId) -> bool {
        let hash = self.seat_of(trace_id).1;
        let cluster = self.cores.get(core).and_then(|core| core.shard.cluster());
        cluster.is_some_and(|cluster| cluster.docket.find(hash).is_some())
    }

    /// What all shards have done in the cluster, in this run and those before.
    #[must_use]
    pub fn cluster_counts(&self) -> ClusterCounts {
        let mut counts = self.counts_before;
        self.cores.iter().filter_map(|core| core.shard.cluster()).for_each(|cluster| counts.add(&cluster.counts));
        counts
    }

    /// Whether it is still to go.
    pub(super) fn is_to_go(&self) -> bool {
        let goes = self.scenario.cluster.is_some_and(|cluster| cluster.goes.is_some());
        goes && !self.is_leaving && !self.is_gone && !self.has_stood_still
    }
}
