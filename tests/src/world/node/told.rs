//! What the shards of a node of a cluster tell, and what they take of what its hub has heard.

use super::super::ahead;
use super::super::cluster::Run;
use super::super::events::What;
use super::super::scenario::{InCluster, Scenario};
use super::super::seen::{Entered, Seen};
use super::super::senders::Senders;
use super::gossip::ForCore;
use super::gossip::SHARE_US;
use super::start::REPLAY_US;
use super::{Around, Core, Node};
use fastrand::Rng;
use std::sync::Arc;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::vocabulary::{Nanos, Said, TraceId};
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::message::{Header, Kind};
use tailwater_proto::cluster::ruling::{Outcome, Ruling};
use tailwater_proto::cluster::view::View;

/// The senders of a node: its own, or its share of those of the cluster.
pub(super) fn senders(number: usize, random: &mut Rng, scenario: &Scenario) -> Senders {
    match scenario.cluster {
        None => Senders::new(random, &scenario.traffic),
        Some(InCluster { seed, nodes, is_sticky, begins_ms, comes_ms, shed_level_max, .. }) => {
            let all = Senders::new(&mut Rng::with_seed(seed), &scenario.traffic);
            let own = all.share(number, nodes, is_sticky).later(begins_ms);
            // What waits for its node to come is later than what is shed may be.
            if shed_level_max > 0 { own.from(Nanos::from_millis(comes_ms)) } else { own }
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

/// The rulings of a message: of which traces, and whether each is kept.
fn rulings(message: &[u8]) -> Vec<(u64, bool)> {
    let mut ruled = Vec::new();
    let Ok((Header { kind: Kind::Rulings, .. }, mut cursor)) = Header::read(message) else { return ruled };
    while !cursor.is_empty() {
        let Ruling { hash, outcome } = Ruling::read(&mut cursor).expect("nodes send whole rulings");
        match outcome {
            Outcome::Kept(_) => ruled.push((hash, true)),
            Outcome::Dropped(_) => ruled.push((hash, false)),
            Outcome::Pending(_) | Outcome::Unknown => {}
        }
    }
    ruled
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
                let here =
                    rulings(&message).into_iter().filter(|(hash, _)| usize::from(self.route.shard(*hash).0) == core);
                self.seen.extend(here.map(|(hash, is_kept)| (0, Seen::Ruled { hash, is_kept })));
                outbox.room = room;
                shard.hear(self.now, from, &message, outbox);
                let in_force = shard.rules().generation();
                self.gather(core, in_force, around);
            }
        }
        self.follow_core(core, around);
    }

    /// What wanted to pass limits on all cores, and whether the node is under pressure: as `node/src/core/load.rs` shares it.
    pub(super) fn share(&mut self, around: &mut Around<'_>) {
        let Some(InCluster { pressed_ms: (from, until), .. }) = self.scenario.cluster else { return };
        self.plan(SHARE_US, What::Share, around);
        if self.is_starting() {
            return;
        }
        let is_pressed = (from..until).contains(&(around.now.0 / Nanos::PER_MILLISECOND));
        let level = self.cores.first_mut().map_or(0, |core| core.shard.want_to_shed(self.now, is_pressed));
        let of_cores: Vec<Vec<u64>> = self.cores.iter_mut().map(|core| core.shard.take_limit_demand()).collect();
        let limits = of_cores.iter().map(Vec::len).max().unwrap_or(0);
        let of = |limit: usize| of_cores.iter().filter_map(|demand| demand.get(limit)).sum();
        let demand: Vec<u64> = (0..limits).map(of).collect();
        for (number, core) in self.cores.iter_mut().enumerate() {
            core.shard.share_load(self.now, &demand, level, number == 0);
        }
        if self.scenario.cluster.is_some_and(|cluster| cluster.is_ahead) {
            let bytes = ahead::payload(&mut self.random);
            self.tell([Said { to: None, bytes, follows_verdicts: false }], around);
        }
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
