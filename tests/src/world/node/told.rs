//! A node of a cluster: what its shards tell goes out, what others tell is heard, and members come and go.

use super::super::cluster::{Letter, id, number};
use super::super::events::What;
use super::super::scenario::{Goes, InCluster, Scenario};
use super::super::seen::Seen;
use super::super::senders::Senders;
use super::{Around, Node};
use fastrand::Rng;
use std::ops::Range;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::vocabulary::{Nanos, Said};
use tailwater_proto::cluster::Incarnation;
use tailwater_proto::cluster::view::Member;

/// How long it takes, microseconds, until a node sees that another has come or has left, and that one is gone without a word.
const SEEN_US: Range<u64> = 1_000..400_000;
const MISSED_US: Range<u64> = 1_000_000..5_000_000;

/// The senders of a node: its own, or its share of those of the cluster.
pub(super) fn senders(number: usize, random: &mut Rng, scenario: &Scenario) -> Senders {
    match scenario.cluster {
        None => Senders::new(random, &scenario.traffic),
        Some(InCluster { seed, nodes, is_sticky, .. }) => {
            Senders::new(&mut Rng::with_seed(seed), &scenario.traffic).share(number, nodes, is_sticky)
        }
    }
}

impl Node {
    /// The node becomes a member, if it is to be one.
    pub(super) fn join(&mut self, around: &mut Around<'_>) {
        let Some(scenario) = self.scenario.cluster else { return };
        let Some(cluster) = &mut around.network.cluster else { return };
        let shards = self.executors() as u16;
        let member = Member {
            node: id(self.number),
            incarnation: Incarnation(u64::from(self.run) + 1),
            shards,
            is_leaving: false,
        };
        let change = cluster.change(self.number, Some(member));
        self.saw = change;
        let view = cluster.view(change, self.number);
        let plan = ClusterPlan {
            pipeline: 7,
            evidence_delay: Nanos::from_millis(250),
            answer_wait: Nanos::from_millis(1_000),
            hold_max: Nanos::from_millis(10_000),
            rules_wait: Nanos::from_millis(30_000),
            docket_traces_max: scenario.docket_traces_max,
            message_bytes_max: 1_200,
            shed_level_max: 0,
        };
        for core in &mut self.cores {
            core.shard.join(self.now, plan.clone(), view.clone());
        }
        self.tell_of(change, SEEN_US, around);
    }

    /// All others see a change, each at another time.
    fn tell_of(&mut self, change: u64, within: Range<u64>, around: &mut Around<'_>) {
        let Some(cluster) = &around.network.cluster else { return };
        for other in cluster.numbers().into_iter().filter(|other| *other != self.number) {
            let at = around.now.plus(Nanos(self.random.u64(within.clone()) * 1000));
            let Some(Member { incarnation, .. }) = cluster.member(other) else { continue };
            around.events.plan(at, other, incarnation.0 as u32 - 1, What::See(change));
        }
    }

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
        for Said { to, bytes, .. } in told {
            let Some(cluster) = &mut around.network.cluster else { continue };
            let Some(own) = cluster.member(self.number) else { continue };
            let letter = Letter { from: (own.node, own.incarnation), bytes };
            let others: Vec<usize> = match to {
                Some(node) => vec![number(node)],
                None => cluster.numbers().into_iter().filter(|other| *other != self.number).collect(),
            };
            for other in others {
                let Some(Member { incarnation, .. }) = cluster.member(other) else { continue };
                for (message, at) in cluster.send(around.now, &letter, &mut self.random) {
                    around.events.plan(at, other, incarnation.0 as u32 - 1, What::Hear(message));
                }
            }
        }
    }

    pub(super) fn hear(&mut self, message: u64, around: &mut Around<'_>) {
        let Some(cluster) = &mut around.network.cluster else { return };
        let Some(letter) = cluster.take(message) else { return };
        // Who is not a member in this run any more is not listened to.
        let view = cluster.view(self.saw, self.number);
        if view.member(letter.from.0).is_none_or(|member| member.incarnation > letter.from.1) {
            return;
        }
        for core in 0..self.cores.len() {
            let room = self.room();
            let super::Core { shard, outbox, .. } = &mut self.cores[core];
            outbox.room = room;
            shard.hear(self.now, letter.from, &letter.bytes, outbox);
            let in_force = shard.rules().generation();
            self.gather(core, in_force, around);
            self.follow_core(core, around);
        }
    }

    pub(super) fn see_members(&mut self, change: u64, around: &mut Around<'_>) {
        let Some(cluster) = &around.network.cluster else { return };
        if change <= self.saw {
            return;
        }
        self.saw = change;
        let view = cluster.view(change, self.number);
        for core in 0..self.cores.len() {
            self.cores[core].shard.turn_to(self.now, &view);
            self.follow_core(core, around);
        }
    }

    /// When it is to go.
    pub(super) fn plan_going(&mut self, around: &mut Around<'_>) {
        if let Some((goes_ms, _)) = self.scenario.cluster.and_then(|cluster| cluster.goes) {
            around.events.plan(around.now.plus(Nanos::from_millis(goes_ms)), self.number, self.run, What::Go);
        }
    }

    /// Whether it is still to go.
    pub(super) fn is_to_go(&self) -> bool {
        let goes = self.scenario.cluster.is_some_and(|cluster| cluster.goes.is_some());
        goes && !self.is_leaving && !self.is_gone && !self.has_stood_still
    }

    /// The node goes. One that leaves says so, so that it owns nothing any more, and is no member once it has settled all.
    pub(super) fn go(&mut self, around: &mut Around<'_>) {
        let Some((_, goes)) = self.scenario.cluster.and_then(|cluster| cluster.goes) else { return };
        let Some(cluster) = &mut around.network.cluster else { return };
        if goes == Goes::Leaving {
            self.is_leaving = true;
            let member = cluster.member(self.number).map(|member| Member { is_leaving: true, ..member });
            let change = cluster.change(self.number, member);
            self.see_members(change, around);
            return self.tell_of(change, SEEN_US, around);
        }
        if let Goes::Still(still_ms) = goes {
            let change = cluster.change(self.number, None);
            self.paused_until = around.now.plus(Nanos::from_millis(still_ms));
            self.has_stood_still = true;
            around.events.plan(self.paused_until, self.number, self.run, What::Wake);
            return self.tell_of(change, MISSED_US, around);
        }
        let change = cluster.change(self.number, None);
        self.is_gone = true;
        self.run += 1;
        self.senders.stop();
        self.cores.clear();
        self.lanes.clear();
        around.network.disconnect(self.number);
        self.see_all(|| Seen::Lost);
        self.tell_of(change, MISSED_US, around);
    }

    /// A node that stood still hears that it was taken for dead, and is a member again.
    pub(super) fn wake(&mut self, around: &mut Around<'_>) {
        let shards = self.executors() as u16;
        let Some(cluster) = &mut around.network.cluster else { return };
        let incarnation = Incarnation(u64::from(self.run) + 1);
        let member = Member { node: id(self.number), incarnation, shards, is_leaving: false };
        let change = cluster.change(self.number, Some(member));
        let at = around.now.plus(Nanos(self.random.u64(SEEN_US) * 1000));
        around.events.plan(at, self.number, self.run, What::See(change));
        self.tell_of(change, SEEN_US, around);
    }

    /// A node that leaves is gone once nothing is pending on it.
    pub(super) fn end_if_settled(&mut self, around: &mut Around<'_>) {
        let is_settled = || self.account(0).pending() == 0 && around.network.is_silent(self.number);
        if self.is_leaving && !self.is_gone && is_settled() {
            let Some(cluster) = &mut around.network.cluster else { return };
            let change = cluster.change(self.number, None);
            self.is_gone = true;
            self.tell_of(change, SEEN_US, around);
        }
    }
}
