//! The hub: joins membership, links and streams, and drives them by what is heard and by time.
//!
//! Frames of somebody who is not a live member count for nothing but for becoming one, and nothing is answered that could not
//! be read: a greeting or a report gets one greeting, a bounded number a second; a message of foca gets at most one back.

use crate::counts::HubCounts;
use crate::frame::{HEADER_BYTES, Report, put_doubt, put_hello, put_swim};
use crate::frame::{PAYLOAD_HEADER_BYTES, POSITIONS_MAX, TOLD_BYTES_MAX, put_leave, put_pull, put_report, put_said};
use crate::hello::{Hello, VERSION_HIGHEST, VERSION_LOWEST};
use crate::link::Waits;
use crate::members::{Members, Message};
use crate::peer::{Out, Peer};
use crate::plan::{HubPlan, TAGS_BYTES_MAX};
use crate::streams::Streams;
use crate::wire::Wire;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::view::{MEMBERS_MAX, Member, View};

mod hear;
mod view;

/// Nodes that something is kept of: members, and those that were.
/// At the bound: who has been gone for longest is forgotten.
const PEERS_MAX: usize = 4 * MEMBERS_MAX;
/// Members that hear a report each second; where there are more they take turns.
const REPORTED_MAX: u32 = 256;
/// So many reports follow the last of what was said.
const REPORTS_AFTER_SAID: u32 = 2;
/// Greetings of strangers, and signs of life of those taken for dead, that are answered in a second.
/// At the bound: the others are not answered, counted; they come again.
const STRANGERS_MAX: u32 = 64;
/// Probes that are answered in a second: of some persons who look at once.
/// At the bound: the others are not answered, counted; they come again.
const PROBES_MAX: u32 = 128;
/// A report may go so much sooner: those that go at nearly one time cost one walk over the peers.
const REPORT_SLACK: Duration = Duration::from_millis(20);
/// A hub wants to be called at least this often.
const TICK_MAX: Duration = Duration::from_secs(1);
/// Who goes says so so many times.
const FAREWELLS: u32 = 3;
/// With this between them.
const FAREWELL_PAUSE: Duration = Duration::from_millis(100);
/// Bytes that bundles leave for what rides along: an acknowledgement.
const RIDING_BYTES: usize = 64;

/// A node's end of the cluster. See the crate for what it does.
pub struct Hub {
    plan: HubPlan,
    members: Members,
    streams: Streams,
    peers: BTreeMap<NodeId, Peer>,
    view: Arc<View>,
    counts: HubCounts,
    rng: SmallRng,
    tags_number: u32,
    /// The greeting as a frame: of who knows the other's tags, of who asks for them.
    hellos: [Vec<u8>; 2],
    /// The epoch of the last link.
    epoch: u32,
    /// No peer has something due before.
    peers_due: Duration,
    /// Peers whose datagram goes at the end of this call.
    ready: Vec<NodeId>,
    /// Strangers that may be answered in this second, and when it ends.
    strangers: (u32, Duration),
    /// Probes that may be answered in this second, and when it ends.
    probes: (u32, Duration),
    /// When others were first met.
    met_at: Option<Duration>,
    /// Members that have said that they are about to leave, not in the view yet.
    leaving: Vec<NodeId>,
    /// Whether there was no room for some member.
    is_full: bool,
    sweep_at: Duration,
    /// When it was called last.
    ticked_at: Duration,
    /// Since this node goes: how often it is still to be said, and when.
    farewells: Option<(u32, Duration)>,
    /// Since the cluster was full: when it is tried again.
    again_at: Option<Duration>,
}

impl Hub {
    /// A node alone. The same seed gives the same run.
    #[must_use]
    pub fn new(mut plan: HubPlan, seed: u64) -> Self {
        if plan.tags.len() > TAGS_BYTES_MAX {
            plan.tags.clear();
        }
        let mut rng = SmallRng::seed_from_u64(seed);
        let view = View::new(1, plan.node, vec![own_member(&plan)]);
        Self {
            members: Members::new(&plan, rng.random()),
            streams: Streams::new(&plan),
            peers: BTreeMap::new(),
            view: Arc::new(view),
            counts: HubCounts::default(),
            rng,
            tags_number: 1,
            hellos: hellos(&plan, 1),
            epoch: 0,
            peers_due: Duration::ZERO,
            ready: Vec::new(),
            strangers: (STRANGERS_MAX, Duration::ZERO),
            probes: (PROBES_MAX, Duration::ZERO),
            met_at: None,
            leaving: Vec::new(),
            is_full: false,
            sweep_at: Duration::ZERO,
            ticked_at: Duration::ZERO,
            farewells: None,
            again_at: None,
            plan,
        }
    }

    /// Does all that is due at `now`, a time since an origin of this node. Returns when it wants to be called next, as
    /// [`Hub::due`] does.
    pub fn tick(&mut self, now: Duration, wire: &mut impl Wire) -> Duration {
        self.wake(now);
        if let Some((count, at)) = self.farewells {
            if count > 0 && at <= now {
                self.say_farewell(now, count, wire);
            }
            if self.again_at.is_some_and(|at| at <= now) {
                self.begin_again(now);
            }
            return self.due().max(now);
        }
        if self.members.due().is_some_and(|at| at <= now) {
            self.members.tick(now);
        }
        self.sweep(now);
        self.settle(now, wire);
        self.pull(now, wire);
        if self.peers_due <= now {
            self.tick_peers(now, wire);
            self.doubt(now);
            self.settle(now, wire);
        }
        self.flush(wire);
        self.due().max(now)
    }

    /// When [`Hub::tick`] is to be called next, at the latest a second after the last time. Any other call may bring it
    /// forward.
    #[must_use]
    pub fn due(&self) -> Duration {
        let last = self.ticked_at + TICK_MAX;
        match self.farewells {
            Some((0, _)) => last,
            Some((_, at)) => at,
            None => {
                let due = [self.members.due(), Some(self.streams.due()), Some(self.peers_due)];
                due.into_iter().flatten().min().unwrap_or(last).min(last)
            }
        }
    }

    /// Tells a live member a payload, reliably. False: it is not a member, the window is full or the payload too long; the
    /// caller keeps what it had to say.
    pub fn tell(&mut self, now: Duration, peer: NodeId, payload: &[u8], wire: &mut impl Wire) -> bool {
        if payload.len() > self.plan.payload_bytes_max() {
            self.counts.payloads_too_long += 1;
            return false;
        }
        // A long payload is a bundle by itself, without room for what rides along.
        let bundle_bytes_max = (self.plan.datagram_bytes() - HEADER_BYTES - TOLD_BYTES_MAX - RIDING_BYTES)
            .max(payload.len() + PAYLOAD_HEADER_BYTES);
        let peer = self.peers.get_mut(&peer).filter(|peer| peer.is_live() && self.farewells.is_none());
        let Some(peer) = peer.filter(|peer| peer.link.has_room(payload.len(), bundle_bytes_max)) else {
            self.counts.told_refused += 1;
            return false;
        };
        peer.link.tell(now, payload, bundle_bytes_max);
        self.counts.told += 1;
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        peer.tick(now, &mut out);
        self.peers_due = self.peers_due.min(peer.due());
        true
    }

    /// Says a payload to all members. One that is too long is counted and goes nowhere.
    pub fn say(&mut self, now: Duration, payload: &[u8], wire: &mut impl Wire) {
        if payload.len() > self.plan.payload_bytes_max() {
            self.counts.payloads_too_long += 1;
            return;
        }
        if self.farewells.is_some() {
            return;
        }
        self.counts.said += 1;
        let number = self.streams.say(now, payload);
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        let wait = report_wait(&self.plan, &self.view);
        let mut frame = Vec::new();
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            frame.clear();
            put_said(&mut frame, number, peer.since, payload);
            peer.post(&frame, now + self.plan.gather_wait, &mut out);
            peer.report_at = (peer.reported_at + wait).min(now + self.plan.said_wait);
            peer.reports_after_said = REPORTS_AFTER_SAID;
            self.peers_due = self.peers_due.min(peer.due());
        }
        self.counts.remembered_evicted = self.streams.evicted();
    }

    /// Discovery has found an address: greets whoever is there, unless it is known.
    pub fn announce(&mut self, now: Duration, address: SocketAddr, wire: &mut impl Wire) {
        if self.is_member_at(address) || self.farewells.is_some() {
            return;
        }
        _ = now;
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        out.send(address, None, &self.hellos[1]);
    }

    /// Goes, and says so to all. What is said or told after this goes nowhere, and nothing is heard.
    pub fn leave(&mut self, now: Duration, wire: &mut impl Wire) {
        self.again_at = None;
        if self.farewells.is_some() {
            return;
        }
        self.members.leave(now);
        self.post_messages(now, wire);
        self.flush(wire);
        self.say_farewell(now, FAREWELLS, wire);
    }

    fn say_farewell(&mut self, now: Duration, count: u32, wire: &mut impl Wire) {
        let mut frame = Vec::new();
        put_leave(&mut frame);
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            peer.post_bundles(now, &mut out);
            peer.post(&frame, now, &mut out);
            peer.flush(&mut out);
        }
        self.farewells = Some((count - 1, now + FAREWELL_PAUSE));
    }

    /// This node is about to leave: it is still heard, and owns nothing any more. All members are told; `leave` follows when
    /// nothing is left to be told.
    pub fn set_leaving(&mut self, now: Duration, wire: &mut impl Wire) {
        self.plan.is_leaving = true;
        self.leaving.push(self.plan.node);
        self.greet_all(now);
        self.settle(now, wire);
    }

    /// Whether a live member is reached at an address.
    #[must_use]
    pub fn is_member_at(&self, address: SocketAddr) -> bool {
        address == self.plan.address || self.peers.values().any(|peer| peer.is_live() && peer.address == address)
    }

    /// Where a live member is reached.
    #[must_use]
    pub fn address(&self, node: NodeId) -> Option<SocketAddr> {
        if node == self.plan.node {
            return Some(self.plan.address);
        }
        self.peers.get(&node).filter(|peer| peer.is_live()).map(|peer| peer.address)
    }

    /// Changes what others may know of this node. False: it is longer than it may be.
    pub fn set_tags(&mut self, now: Duration, tags: &[u8]) -> bool {
        if tags.len() > TAGS_BYTES_MAX {
            return false;
        }
        self.plan.tags = tags.to_vec();
        self.greet_all(now);
        true
    }

    /// What is told in greetings has changed.
    fn greet_all(&mut self, now: Duration) {
        self.tags_number += 1;
        self.hellos = hellos(&self.plan, self.tags_number);
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            peer.greeted_at = None;
            peer.report_at = now;
        }
        self.peers_due = now;
    }

    /// The tags of a live member, where they are known.
    #[must_use]
    pub fn tags(&self, node: NodeId) -> Option<&[u8]> {
        if node == self.plan.node {
            return Some(&self.plan.tags);
        }
        self.peers.get(&node).filter(|peer| peer.is_live() && peer.tags.0 > 0).map(|peer| &peer.tags.1[..])
    }

    /// The live members as this node sees them.
    #[must_use]
    pub const fn view(&self) -> &Arc<View> {
        &self.view
    }

    /// Whether it found the cluster full: it is alone, and tries again from time to time.
    #[must_use]
    pub const fn is_turned_away(&self) -> bool {
        self.again_at.is_some()
    }

    /// Counts since the start.
    #[must_use]
    pub const fn counts(&self) -> &HubCounts {
        &self.counts
    }

    /// The usual time to a live member and back, where it is known.
    #[must_use]
    pub fn round_trip(&self, peer: NodeId) -> Option<Duration> {
        self.peers.get(&peer).filter(|peer| peer.is_live())?.link.round_trip()
    }

    const fn waits(&self) -> Waits {
        Waits {
            resend: self.plan.resend_wait,
            resend_max: self.plan.resend_wait_max,
            acknowledge: self.plan.acknowledge_wait,
            gather: self.plan.gather_wait,
        }
    }

    /// What follows from membership: messages go out, the view changes.
    fn settle(&mut self, now: Duration, wire: &mut impl Wire) {
        self.refresh_view(now, wire);
        self.post_messages(now, wire);
        self.counts.rejoined = self.members.rejoined();
    }

    /// Messages of foca ride with what else goes to their members.
    fn post_messages<W: Wire>(&mut self, now: Duration, wire: &mut W) {
        let mut frame = Vec::new();
        while let Some((identity, message)) = self.members.take_message() {
            // foca takes a former renewal of this node for one that it can ask.
            if identity.id().0 == self.plan.node {
                continue;
            }
            frame.clear();
            match message {
                Message::Swim(message) => put_swim(&mut frame, message.as_ref()),
                Message::Doubt(incarnation) => put_doubt(&mut frame, incarnation),
            }
            self.counts.swim_bytes_sent += u64::try_from(frame.len()).unwrap_or(u64::MAX);
            let mut out = Out { wire: &mut *wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
            match self.peers.get_mut(&identity.id().0).filter(|peer| peer.is_live() && peer.run == identity.id()) {
                Some(peer) => {
                    peer.post(&frame, now, &mut out);
                    self.ready.push(peer.run.0);
                }
                None => out.send(identity.address(), Some(identity.id()), &frame),
            }
        }
    }

    /// Sends the datagrams of this call.
    fn flush(&mut self, wire: &mut impl Wire) {
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        for node in self.ready.drain(..) {
            if let Some(peer) = self.peers.get_mut(&node) {
                peer.flush(&mut out);
            }
        }
    }

    fn sweep(&mut self, now: Duration) {
        self.counts.said_missed += self.streams.sweep(now).missed;
        if now < self.sweep_at {
            return;
        }
        self.sweep_at = now + TICK_MAX;
        for peer in self.peers.values_mut() {
            if !peer.is_given_up && peer.gone_at.is_some_and(|at| at + self.plan.linger <= now) {
                self.epoch += 1;
                self.counts.told_given_up += peer.link.restart(self.epoch);
                peer.is_given_up = true;
            }
        }
    }

    /// Asks for what was said and not heard.
    fn pull(&mut self, now: Duration, wire: &mut impl Wire) {
        if self.streams.due() > now {
            return;
        }
        let live: Vec<NodeId> = self.peers.iter().filter(|(_, peer)| peer.is_live()).map(|(node, _)| *node).collect();
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        for (node, ranges) in self.streams.pulls(now, &live, &mut self.rng) {
            let Some(peer) = self.peers.get_mut(&node) else { continue };
            out.counts.ranges_pulled += u64::try_from(ranges.len()).unwrap_or(u64::MAX);
            let mut frame = Vec::new();
            put_pull(&mut frame, &ranges);
            peer.post(&frame, now, &mut out);
            self.ready.push(node);
        }
    }

    fn tick_peers(&mut self, now: Duration, wire: &mut impl Wire) {
        let wait = report_wait(&self.plan, &self.view);
        let mut out = Out { wire, counts: &mut self.counts, bytes_max: self.plan.datagram_bytes() };
        self.peers_due = now + TICK_MAX;
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            if peer.report_at <= now + REPORT_SLACK {
                if peer.greeted_at.is_none() {
                    peer.greeted_at = Some(now);
                    let [hello, asking] = &self.hellos;
                    peer.post(if peer.tags.0 == 0 { asking } else { hello }, now, &mut out);
                }
                let report = report(&mut self.streams, peer, self.tags_number, wait, now);
                let mut frame = Vec::new();
                put_report(&mut frame, &report);
                peer.post(&frame, now, &mut out);
                let is_repeated = peer.reports_after_said > 0;
                peer.reports_after_said = peer.reports_after_said.saturating_sub(1);
                (peer.reported_at, peer.report_at) = (now, now + if is_repeated { self.plan.said_wait } else { wait });
            }
            peer.tick(now, &mut out);
            self.peers_due = self.peers_due.min(peer.due());
        }
    }
}

/// After so many tenths of the wait of reports a member that was not heard is doubted: two were lost, or it is dead.
const SILENCE_TENTHS: u32 = 25;

/// Who is silent and not dead, for others hear it, is doubted again after so many times as long.
const DOUBT_PAUSES: u32 = 4;

impl Hub {
    /// Who was not called for long has heard nobody, and knows nothing of whether they live.
    fn wake(&mut self, now: Duration) {
        if now > self.ticked_at + TICK_MAX * 2 {
            self.peers.values_mut().for_each(|peer| peer.heard_at = now);
        }
        self.ticked_at = now;
    }

    /// Doubts members that have been silent for too long.
    fn doubt(&mut self, now: Duration) {
        let patience = report_wait(&self.plan, &self.view) * SILENCE_TENTHS / 10;
        for peer in self.peers.values_mut().filter(|peer| peer.is_live()) {
            let mut doubt_at = peer.doubted_at.map_or(peer.heard_at + patience, |at| at + patience * DOUBT_PAUSES);
            if doubt_at <= now {
                peer.doubted_at = Some(now);
                self.counts.members_doubted += 1;
                self.members.doubt(now, peer.run);
                doubt_at = now + patience * DOUBT_PAUSES;
            }
            self.peers_due = self.peers_due.min(doubt_at);
        }
    }
}

fn hellos(plan: &HubPlan, number: u32) -> [Vec<u8>; 2] {
    [false, true].map(|asks| {
        let hello = Hello {
            lowest: VERSION_LOWEST,
            highest: VERSION_HIGHEST,
            asks,
            is_leaving: plan.is_leaving,
            shards: plan.shards,
            address: plan.address,
            number,
            tags: &plan.tags,
        };
        let mut frame = Vec::new();
        put_hello(&mut frame, &hello);
        frame
    })
}

fn own_member(plan: &HubPlan) -> Member {
    let HubPlan { node, incarnation, shards, is_leaving, .. } = *plan;
    Member { node, incarnation, shards, is_leaving }
}

/// How often a member hears a report.
fn report_wait(plan: &HubPlan, view: &View) -> Duration {
    let members = u32::try_from(view.members().len()).unwrap_or(u32::MAX);
    plan.report_wait.max(plan.report_wait * members / REPORTED_MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

/// What a peer is told of streams, and the stamps by which round trips are measured.
fn report(streams: &mut Streams, peer: &mut Peer, tags: u32, wait: Duration, now: Duration) -> Report {
    // Those that follow what was said are about that alone.
    let has_positions = peer.positions_at.is_none_or(|at| at + wait <= now);
    let positions = if has_positions { streams.positions() } else { Vec::new() };
    debug_assert!(positions.len() <= POSITIONS_MAX, "more would not fit");
    if has_positions {
        peer.positions_at = Some(now);
    }
    Report {
        stamp: micros(now),
        echo: peer.stamp.map(|(stamp, at)| (stamp, micros(now.saturating_sub(at)))),
        tags,
        tags_heard: peer.tags.0,
        since: peer.since,
        low: streams.own_low(),
        next: streams.next(),
        positions,
    }
}
