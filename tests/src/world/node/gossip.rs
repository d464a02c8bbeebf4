//! A node's end of the cluster: its hub, with the clock and the network of the world, as the gossip thread drives it. Between
//! the hub and the cores are queues: what the hub has for a core, it takes a while later and in that order.

use super::super::ahead;
use super::super::cluster::{Datagram, Run, address, id, number, number_at};
use super::super::events::What;
use super::super::scenario::Goes;
use super::super::seen::Seen;
use super::{Around, Node};
use fastrand::Rng;
use std::collections::VecDeque;
use std::net::SocketAddr;
use std::ops::Range;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::vocabulary::{Nanos, Said};
use tailwater_hub::{Hub, HubCounts, HubPlan, Wire};
use tailwater_proto::cluster::Incarnation;
use tailwater_proto::cluster::message::{Header, Malformed};
use tailwater_proto::cluster::view::View;

/// How long things take, microseconds: from when the hub wants to be called to the call; from the hub to a core; from one
/// telling of what there is to do, and look for others, to the next.
const GRAIN_US: Range<u64> = 500..12_000;
const TO_CORE_US: Range<u64> = 10..4_000;
pub(super) const SHARE_US: Range<u64> = 990_000..1_010_000;
const ANNOUNCE_US: Range<u64> = 800_000..1_200_000;
/// A node that knows others looks for more every so many times.
const ANNOUNCE_TOGETHER: u32 = 30;
/// How long a node that leaves says so, microseconds.
const FAREWELL_US: Range<u64> = 300_000..301_000;
/// What waits for a core; what comes beyond comes again.
const INBOX_MAX: usize = 1_024;

/// What the hub has for a core.
#[derive(Debug, Clone)]
pub(super) enum ForCore {
    /// Another node has told or said this.
    Heard(Run, Rc<[u8]>),
    /// Members have changed.
    Members(Arc<View>),
}

/// The hub of a node.
pub(super) struct Gossip {
    hub: Hub,
    run: Run,
    /// When the hub is called next, of the world.
    called_at: Nanos,
    /// What found no room on the way to its node.
    waiting: VecDeque<Said>,
    announced: u32,
    /// It says farewell.
    is_ending: bool,
}

/// What hubs count that says what a run was like.
#[derive(Debug, Clone, Copy, Default)]
pub struct HubMet {
    /// Datagrams that were sent.
    pub datagrams: u64,
    /// Bytes of them.
    pub bytes: u64,
    /// Members that went, by themselves or since they were not heard.
    pub gone: u64,
    /// Times that a node was taken for dead and was not.
    pub rejoined: u64,
    /// What was said to all and never came, for too long.
    pub missed: u64,
    /// What was asked for of others.
    pub pulled: u64,
    /// What was told to members that were given up.
    pub given_up: u64,
    /// Frames and payloads of kinds that are not known.
    pub unknown: u64,
}

impl HubMet {
    fn count(&mut self, counts: &HubCounts) {
        self.add(&Self {
            datagrams: counts.datagrams_sent,
            bytes: counts.bytes_sent,
            gone: counts.members_gone,
            rejoined: counts.rejoined,
            missed: counts.said_missed,
            pulled: counts.ranges_pulled,
            given_up: counts.told_given_up,
            unknown: counts.frames_unknown,
        });
    }

    /// Another's as well.
    pub fn add(&mut self, other: &Self) {
        self.datagrams += other.datagrams;
        self.bytes += other.bytes;
        self.gone += other.gone;
        self.rejoined += other.rejoined;
        self.missed += other.missed;
        self.pulled += other.pulled;
        self.given_up += other.given_up;
        self.unknown += other.unknown;
    }
}

/// What a hub does in one call.
struct Line<'a> {
    random: &'a mut Rng,
    full_percent: u32,
    shards: u16,
    sent: Vec<(SocketAddr, Option<Run>, Vec<u8>)>,
    for_cores: Vec<(usize, ForCore)>,
    inboxes: Vec<usize>,
    is_ahead: bool,
    unknown: u64,
}

impl Wire for Line<'_> {
    fn send(&mut self, address: SocketAddr, to: Option<Run>, frames: &[u8]) {
        let frames = if self.is_ahead { ahead::frames(frames, self.random) } else { frames.to_vec() };
        self.sent.push((address, to, frames));
    }

    fn deliver(&mut self, from: Run, payload: &[u8]) -> bool {
        let header = match Header::read(payload) {
            Ok((header, _)) => header,
            Err(Malformed::Kind(_)) => {
                self.unknown += 1;
                return true;
            }
            Err(error) => panic!("nodes send messages: {error}"),
        };
        let payload: Rc<[u8]> = payload.into();
        let mut is_taken = true;
        for core in 0..usize::from(self.shards) {
            if header.shards == self.shards && usize::from(header.shard) != core {
                continue;
            }
            if self.inboxes[core] >= INBOX_MAX || self.random.u32(0..100) < self.full_percent {
                // Cores that have it already get it twice.
                is_taken = false;
                continue;
            }
            self.inboxes[core] += 1;
            self.for_cores.push((core, ForCore::Heard(from, payload.clone())));
        }
        is_taken
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn view(&mut self, view: &Arc<View>) {
        for core in 0..usize::from(self.shards) {
            self.for_cores.push((core, ForCore::Members(view.clone())));
        }
    }
}

impl Node {
    /// The node starts its hub and knows nobody; its shards join.
    pub(super) fn join(&mut self, around: &mut Around<'_>) {
        let Some(scenario) = self.scenario.cluster else { return };
        let shards = self.executors() as u16;
        let run = (id(self.number), Incarnation(u64::from(self.run) + 1));
        let hub = Hub::new(HubPlan::new(run.0, run.1, address(self.number), shards), self.random.u64(..));
        let plan = ClusterPlan {
            pipeline: 7,
            evidence_delay: Nanos::from_millis(250),
            answer_wait: Nanos::from_millis(1_000),
            hold_max: Nanos::from_millis(10_000),
            rules_wait: Nanos::from_millis(30_000),
            docket_traces_max: scenario.docket_traces_max,
            message_bytes_max: 1_200,
            shed_level_max: scenario.shed_level_max,
        };
        for core in 0..self.cores.len() {
            self.cores[core].shard.join(self.now, plan.clone(), hub.view().clone());
            self.see(core, Seen::Turned(core));
        }
        let waiting = VecDeque::new();
        self.gossip = Some(Gossip { hub, run, called_at: around.now, waiting, announced: 0, is_ending: false });
        around.events.plan(around.now, self.number, self.run, What::Gossip);
        self.plan(1..ANNOUNCE_US.start, What::Announce, around);
        self.plan(SHARE_US, What::Share, around);
    }

    /// Calls the hub; what it sends leaves, what it has for cores is on its way there.
    fn with_hub<T>(
        &mut self,
        around: &mut Around<'_>,
        call: impl FnOnce(&mut Hub, Duration, &mut Line<'_>) -> T,
    ) -> Option<T> {
        let inboxes = self.cores.iter().map(|core| core.inbox.len()).collect();
        let Gossip { hub, run, called_at, .. } = self.gossip.as_mut()?;
        let mut line = Line {
            random: &mut self.random,
            full_percent: self.scenario.cluster.map_or(0, |cluster| cluster.full_percent),
            shards: self.cores.len() as u16,
            sent: Vec::new(),
            for_cores: Vec::new(),
            inboxes,
            is_ahead: self.scenario.cluster.is_some_and(|cluster| cluster.is_ahead),
            unknown: 0,
        };
        let result = call(hub, Duration::from_nanos(self.now.0), &mut line);
        let Line { sent, for_cores, unknown, .. } = line;
        self.hub_before.unknown += unknown;
        let wait = u64::try_from(hub.due().as_nanos()).unwrap().saturating_sub(self.now.0);
        let call_at = around.now.plus(Nanos(wait + self.random.u64(GRAIN_US) * 1000));
        if *called_at <= around.now || call_at < *called_at {
            *called_at = call_at;
            around.events.plan(call_at, self.number, self.run, What::Gossip);
        }
        let sender = *run;
        for (core, what) in for_cores {
            let Self { random, cores, .. } = self;
            cores[core].inbox.push_back(what);
            let at = around.now.plus(Nanos(random.u64(TO_CORE_US) * 1000));
            around.events.plan(at, self.number, self.run, What::Obey(core));
        }
        let Some(cluster) = &mut around.network.cluster else { return Some(result) };
        for (address, to, frames) in sent {
            let other = number_at(address);
            let datagram = Datagram { sender, to, frames };
            for (number, at) in cluster.send(around.now, (self.number, other), &datagram, &mut self.random) {
                around.events.plan(at, other, 0, What::Hear(number));
            }
        }
        Some(result)
    }

    /// The hub is due, unless it was called meanwhile.
    pub(super) fn gossip(&mut self, around: &mut Around<'_>) {
        let Some(gossip) = self.gossip.as_mut().filter(|gossip| gossip.called_at <= around.now) else { return };
        let waiting = std::mem::take(&mut gossip.waiting);
        self.with_hub(around, |hub, now, line| hub.tick(now, line));
        self.tell(waiting, around);
    }

    /// What shards say goes to the hub; what finds no room waits.
    pub(super) fn tell(&mut self, told: impl IntoIterator<Item = Said>, around: &mut Around<'_>) {
        for said in told {
            let is_passed_on = self.with_hub(around, |hub, now, line| match said.to {
                Some(node) if hub.view().member(node).is_none() => true,
                Some(node) => hub.tell(now, node, &said.bytes, line),
                None => {
                    hub.say(now, &said.bytes, line);
                    true
                }
            });
            if let Some(gossip) = self.gossip.as_mut().filter(|_| is_passed_on == Some(false)) {
                gossip.waiting.push_back(said);
            }
        }
    }

    /// A datagram has come. What is sealed for a former run does not open.
    pub(super) fn hear(&mut self, datagram: u64, around: &mut Around<'_>) {
        let Some(cluster) = &mut around.network.cluster else { return };
        let Some(Datagram { sender, to, frames }) = cluster.take(datagram) else { return };
        let Some(gossip) = &self.gossip else { return };
        if to.is_some_and(|to| to != gossip.run) {
            return;
        }
        let from = address(number(sender.0));
        self.with_hub(around, |hub, now, line| match to {
            Some(_) => hub.hear(now, from, sender, &frames, line),
            None => hub.hear_unbound(now, from, sender, &frames, line),
        });
    }

    /// Looks for others, as discovery does: who knows nobody does so each second.
    pub(super) fn announce(&mut self, around: &mut Around<'_>) {
        let Some(scenario) = self.scenario.cluster else { return };
        self.plan(ANNOUNCE_US, What::Announce, around);
        let Some(gossip) = self.gossip.as_mut().filter(|gossip| !gossip.is_ending) else { return };
        gossip.announced += 1;
        let is_alone = gossip.hub.view().members().len() < 2;
        if is_alone || gossip.announced.is_multiple_of(ANNOUNCE_TOGETHER) {
            let own = self.number;
            for other in (0..scenario.nodes).filter(|other| *other != own) {
                self.with_hub(around, |hub, now, line| hub.announce(now, address(other), line));
            }
        }
    }

    /// The run of the node, where it is up in a cluster.
    pub(super) fn cluster_run(&self) -> Option<Run> {
        self.gossip.as_ref().map(|gossip| gossip.run)
    }

    /// What its hub counts in this run, and counted in those before.
    #[must_use]
    pub fn hub_met(&self) -> HubMet {
        let mut met = self.hub_before;
        if let Some(gossip) = &self.gossip {
            met.count(gossip.hub.counts());
        }
        met
    }

    /// The node goes. One that leaves says so, so that it owns nothing any more, and ends once it has settled all.
    pub(super) fn go(&mut self, around: &mut Around<'_>) {
        match self.scenario.cluster.and_then(|cluster| cluster.goes) {
            Some((_, Goes::Leaving)) => {
                self.is_leaving = true;
                self.with_hub(around, |hub, now, line| hub.set_leaving(now, line));
            }
            Some((_, Goes::Still(still_ms))) => {
                self.paused_until = around.now.plus(Nanos::from_millis(still_ms));
                self.has_stood_still = true;
            }
            Some((_, Goes::Lost)) => {
                self.forget_run();
                self.is_gone = true;
                self.senders.stop();
                around.network.disconnect(self.number);
                self.see_all(|| Seen::Lost);
            }
            None => {}
        }
    }

    /// A node that leaves says farewell once nothing is pending on it.
    pub(super) fn end_if_settled(&mut self, around: &mut Around<'_>) {
        let is_settled = || self.account(0).pending() == 0 && around.network.is_silent(self.number);
        let Some(gossip) = self.gossip.as_ref().filter(|gossip| !gossip.is_ending) else { return };
        if self.is_leaving && gossip.waiting.is_empty() && is_settled() {
            self.with_hub(around, |hub, now, line| hub.leave(now, line));
            self.gossip.iter_mut().for_each(|gossip| gossip.is_ending = true);
            self.is_gone = true;
            self.plan(FAREWELL_US, What::End, around);
        }
    }

    /// The process of a node that has left is over; what it counted is still known.
    pub(super) fn end(&mut self) {
        self.hub_before = self.hub_met();
        self.gossip = None;
    }
}
