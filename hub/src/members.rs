//! Who lives: SWIM by foca, with what it leaves to others: timers, and what follows from its notifications.
//!
//! A member is its node id, in whatever run and at whatever address: of two identities of one node that of the later run
//! counts. A node that was taken for dead can't say that it lives, for death is final in SWIM. It comes back by itself as its
//! next *renewal*, in the same run: no other room takes notice but by the view, in which it is missing for that time.

use foca::{AccumulatingRuntime, Codec, Config, Foca, Header, NoCustomBroadcast, OwnedNotification, PeriodicParams};
use foca::{PostcardCodec, State, Timer, TimerToken};
use rand::SeedableRng;
use rand::rngs::SmallRng;
use serde::{Deserialize, Serialize};
use std::collections::{BTreeMap, BTreeSet, VecDeque};
use std::net::SocketAddr;
use std::num::{NonZeroU32, NonZeroUsize};
use std::time::Duration;
use tailwater_proto::cluster::view::{MEMBERS_MAX, Member};
use tailwater_proto::cluster::{Incarnation, NodeId};

use crate::frame::HEADER_BYTES;
use crate::plan::HubPlan;

/// Nodes that are known, the dead among them, which are remembered for [`DEAD_REMEMBERED`].
/// At the bound: messages that name further ones are passed over.
const MEMBERS_KNOWN_MAX: usize = 4 * MEMBERS_MAX;
/// Things that wait for their time.
/// At the bound: dead members are remembered for as long as this node runs.
const TIMERS_MAX: usize = 1 << 16;
/// How long a dead member is remembered: until then late gossip cannot bring it back, and it is asked whether it lives.
const DEAD_REMEMBERED: Duration = Duration::from_secs(3_600);
/// Of dead members, so many are asked each [`ASK_DEAD`] whether they live: this is what joins two halves again.
const DEAD_ASKED: usize = 3;
/// How often dead members are asked.
const ASK_DEAD: Duration = Duration::from_secs(1);
/// How often a live member is asked whom it knows: gossip may have missed somebody.
const ASK_LIVE: Duration = Duration::from_secs(5);
/// Who came back from the dead says so at once to so many that it knows for live, and as many that it knows for dead.
const REJOIN_TOLD: usize = 5;
/// How often a suspect is asked whether it lives, until it is buried.
const DOUBTS: u32 = 4;
/// The smallest cluster that gossip is planned for.
const SIZE_MIN: u32 = 64;

/// A member as foca knows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Identity {
    node: u64,
    incarnation: u64,
    renewal: u32,
    address: SocketAddr,
    shards: u16,
}

impl Identity {
    /// Of a node in its run that is met for the first time.
    pub const fn new((node, incarnation): (NodeId, Incarnation), address: SocketAddr, shards: u16) -> Self {
        Self { node: node.0, incarnation: incarnation.0, renewal: 0, address, shards }
    }

    /// Which node in which run.
    pub const fn id(&self) -> (NodeId, Incarnation) {
        (NodeId(self.node), Incarnation(self.incarnation))
    }

    /// Where it is.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    const fn member(&self) -> Member {
        // Who is about to leave says so in its greetings.
        let (node, incarnation) = (NodeId(self.node), Incarnation(self.incarnation));
        Member { node, incarnation, shards: self.shards, is_leaving: false }
    }
}

impl foca::Identity for Identity {
    type Addr = u64;

    fn renew(&self) -> Option<Self> {
        Some(Self { renewal: self.renewal.checked_add(1)?, ..self.clone() })
    }

    fn addr(&self) -> u64 {
        self.node
    }

    /// The known one stays where both are of one run and renewal, or two processes with one id would take turns.
    fn win_addr_conflict(&self, adversary: &Self) -> bool {
        (self.incarnation, self.renewal) >= (adversary.incarnation, adversary.renewal)
    }
}

/// Membership as one node sees it.
pub struct Members {
    swim: Foca<Identity, PostcardCodec, SmallRng, NoCustomBroadcast>,
    runtime: AccumulatingRuntime<Identity>,
    /// By when they are due, and the order in which they were made.
    timers: BTreeMap<(Duration, u64), Due>,
    timers_made: u64,
    /// Whom to tell that it is suspected.
    doubts: VecDeque<(Identity, u16)>,
    /// What foca knows timers of its present connection by.
    token: TimerToken,
    live: BTreeMap<NodeId, Identity>,
    dead: BTreeMap<NodeId, Identity>,
    config: (HubConfig, u32),
    /// Of whom there is news.
    changed: BTreeSet<NodeId>,
    rejoined: u64,
    rng: SmallRng,
}

/// What is done at a time.
enum Due {
    /// What foca has asked for.
    Foca(Timer<Identity>),
    /// A member learns that it is suspected at this incarnation of foca's.
    Doubt(Identity, u16),
}

/// What goes to another node.
pub enum Message<B> {
    /// A message of foca.
    Swim(B),
    /// It is suspected at this incarnation of foca's.
    Doubt(u16),
}

/// What of the plan makes the configuration of foca.
#[derive(Debug, Clone, Copy)]
struct HubConfig {
    probe_period: Duration,
    probe_round_trip: Duration,
    suspicion: Duration,
    message_bytes_max: usize,
}

impl HubConfig {
    /// For a cluster of about this size.
    fn of(self, size: u32) -> Config {
        let size = NonZeroU32::new(size).unwrap_or(NonZeroU32::MIN);
        let often = |frequency, members| {
            Some(PeriodicParams { frequency, num_members: NonZeroUsize::new(members).unwrap_or(NonZeroUsize::MIN) })
        };
        Config {
            probe_period: self.probe_period,
            probe_rtt: self.probe_round_trip,
            suspect_to_down_after: self.suspicion,
            remove_down_after: Some(DEAD_REMEMBERED),
            max_packet_size: NonZeroUsize::new(self.message_bytes_max).unwrap_or(NonZeroUsize::MIN),
            notify_down_members: true,
            periodic_announce: often(ASK_LIVE, 1),
            periodic_announce_to_down_members: often(ASK_DEAD, DEAD_ASKED),
            ..Config::new_lan(size)
        }
    }
}

impl Members {
    /// A node alone.
    pub fn new(plan: &HubPlan, seed: u64) -> Self {
        let config = HubConfig {
            probe_period: plan.probe_period,
            probe_round_trip: plan.probe_round_trip,
            suspicion: plan.suspicion,
            message_bytes_max: plan.datagram_bytes() - HEADER_BYTES,
        };
        Self::of(Identity::new(plan.own(), plan.address, plan.shards), config, seed)
    }

    /// One that has left begins again as one who has met nobody: in its next renewal, for this one is dead.
    pub fn begin_again(&mut self, seed: u64) {
        let own = self.swim.identity();
        let own = foca::Identity::renew(own).unwrap_or_else(|| own.clone());
        let rejoined = self.rejoined;
        *self = Self { rejoined, ..Self::of(own, self.config.0, seed) };
    }

    fn of(own: Identity, config: HubConfig, seed: u64) -> Self {
        let mut rng = SmallRng::seed_from_u64(seed);
        Self {
            swim: Foca::new(own, config.of(SIZE_MIN), SmallRng::from_rng(&mut rng), PostcardCodec),
            runtime: AccumulatingRuntime::new(),
            timers: BTreeMap::new(),
            timers_made: 0,
            doubts: VecDeque::new(),
            token: 0,
            live: BTreeMap::new(),
            dead: BTreeMap::new(),
            config: (config, SIZE_MIN),
            changed: BTreeSet::new(),
            rejoined: 0,
            rng,
        }
    }

    /// A message of foca from this sender. False: it is none, or there is no room for those that it names.
    pub fn hear(&mut self, now: Duration, sender: (NodeId, Incarnation), message: &[u8]) -> bool {
        let mut rest = message;
        let Ok(header) = PostcardCodec.decode_header(&mut rest) else { return false };
        let header: Header<Identity> = header;
        if header.src.id() != sender || self.is_full_for(&header.src, rest) {
            return false;
        }
        let heard = self.swim.handle_data(message, &mut self.runtime);
        self.react(now);
        heard.is_ok()
    }

    /// Whether a message names nodes that there is no room for.
    fn is_full_for(&self, source: &Identity, updates: &[u8]) -> bool {
        /// Most members that a datagram can name: one takes twelve bytes at least.
        const NAMED_MAX: usize = 60_000 / 12;
        let known = self.swim.iter_membership_state();
        if known.len() + NAMED_MAX.min(updates.len() / 12 + 1) <= MEMBERS_KNOWN_MAX {
            return false;
        }
        let known: BTreeSet<u64> = known.map(|member| member.id().node).collect();
        let mut unknown = usize::from(!known.contains(&source.node));
        let mut rest = updates.get(2..).unwrap_or_default();
        while let Ok(member) = PostcardCodec.decode_member(&mut rest) {
            let member: foca::Member<Identity> = member;
            unknown += usize::from(!known.contains(&member.id().node));
        }
        known.len() + unknown > MEMBERS_KNOWN_MAX
    }

    /// What is due.
    pub fn tick(&mut self, now: Duration) {
        // A timer makes others that are due later; the bound is for a clock that jumped.
        let due: Vec<_> = self.timers.range(..=(now, u64::MAX)).map(|(at, _)| *at).collect();
        let mut timers = Vec::new();
        for at in due {
            let Some(due) = self.timers.remove(&at) else { continue };
            match due {
                Due::Foca(timer) => timers.push(timer),
                Due::Doubt(identity, incarnation) if self.suspects(&identity, incarnation) => {
                    self.doubts.push_back((identity, incarnation));
                }
                Due::Doubt(..) => {}
            }
        }
        // Late timers go in the order that foca wants.
        timers.sort();
        for timer in timers {
            match &timer {
                Timer::RemoveDown(identity) if self.dead.get(&identity.id().0) == Some(identity) => {
                    self.dead.remove(&identity.id().0);
                }
                // foca 2.0.0 buries nobody who has refuted the suspicion, but tells it all the same that it is dead, and it
                // would come back as its next renewal without having been gone.
                Timer::ChangeSuspectToDown { member_id, incarnation, .. }
                    if !self.suspects(member_id, *incarnation) =>
                {
                    continue;
                }
                _ => {}
            }
            // An error here says that a probe was late, and foca has begun the next.
            _ = self.swim.handle_timer(timer, &mut self.runtime);
        }
        self.react(now);
    }

    /// Whether this member is suspected, and has not refuted it.
    fn suspects(&self, identity: &Identity, incarnation: u16) -> bool {
        let known = self.swim.iter_members().find(|member| member.id() == identity);
        known.is_some_and(|member| member.state() == State::Suspect && member.incarnation() == incarnation)
    }

    /// A member suspects this node, which says to it and others that it lives.
    pub fn doubted(&mut self, now: Duration, by: (NodeId, Incarnation), incarnation: u16) {
        let Some(by) = self.live.get(&by.0).filter(|known| known.id() == by).cloned() else { return };
        let own = foca::Member::new(self.swim.identity().clone(), incarnation, State::Suspect);
        _ = self.swim.apply_many(std::iter::once(own), true, &mut self.runtime);
        _ = self.swim.announce(by, &mut self.runtime);
        self.react(now);
    }

    /// A live member has not been heard for long: it is suspected, and buried unless it says soon that it lives. foca's own
    /// probes come upon a dead member by chance, which takes seconds.
    /// Gossip may have brought the suspicion and miss what follows: it is buried here, too.
    pub fn doubt(&mut self, now: Duration, run: (NodeId, Incarnation)) {
        let Some(identity) = self.live.get(&run.0).filter(|known| known.id() == run) else { return };
        let Some(known) = self.swim.iter_members().find(|member| member.id() == identity).cloned() else { return };
        let (member_id, incarnation, token) = (known.id().clone(), known.incarnation(), self.token);
        if known.state() == State::Alive {
            let suspect = foca::Member::new(member_id.clone(), incarnation, State::Suspect);
            _ = self.swim.apply_many(std::iter::once(suspect), true, &mut self.runtime);
            self.react(now);
        }
        let timer = Timer::ChangeSuspectToDown { member_id, incarnation, token };
        self.schedule(now, self.config.0.suspicion, timer);
    }

    fn schedule(&mut self, now: Duration, after: Duration, timer: Timer<Identity>) {
        match &timer {
            Timer::ProbeRandomMember(token) => self.token = *token,
            Timer::RemoveDown(_) if self.timers.len() >= TIMERS_MAX => return,
            // Gossip may come to the suspect too late, and its answer to those who would bury it. So they ask it themselves.
            Timer::ChangeSuspectToDown { member_id, incarnation, .. } => {
                for part in 0..DOUBTS {
                    let doubt = Due::Doubt(member_id.clone(), *incarnation);
                    self.put_off(now + after * part / DOUBTS, doubt);
                }
            }
            _ => {}
        }
        self.put_off(now + after, Due::Foca(timer));
    }

    fn put_off(&mut self, at: Duration, due: Due) {
        self.timers_made += 1;
        self.timers.insert((at, self.timers_made), due);
    }

    /// When the next timer is due.
    pub fn due(&self) -> Option<Duration> {
        self.timers.keys().next().map(|(at, _)| *at)
    }

    /// Says to somebody that this node is here, to be answered with those that it knows.
    pub fn announce(&mut self, now: Duration, to: Identity) {
        _ = self.swim.announce(to, &mut self.runtime);
        self.react(now);
    }

    /// A member has said that it goes.
    pub fn bury(&mut self, now: Duration, id: (NodeId, Incarnation)) {
        let Some(identity) = self.live.get(&id.0).filter(|known| known.id() == id) else { return };
        let gone = foca::Member::new(identity.clone(), 0, State::Down);
        _ = self.swim.apply_many(std::iter::once(gone), true, &mut self.runtime);
        self.react(now);
    }

    /// Goes; foca tells some of those that live.
    pub fn leave(&mut self, now: Duration) {
        _ = self.swim.leave_cluster(&mut self.runtime);
        self.react(now);
        self.timers.clear();
    }

    /// A message to be sent.
    pub fn take_message(&mut self) -> Option<(Identity, Message<impl AsRef<[u8]> + use<>>)> {
        if let Some((identity, incarnation)) = self.doubts.pop_front() {
            return Some((identity, Message::Doubt(incarnation)));
        }
        self.runtime.to_send().map(|(identity, message)| (identity, Message::Swim(message)))
    }

    /// Who came, went or is in another run or elsewhere since the last call.
    pub fn take_changed(&mut self) -> BTreeSet<NodeId> {
        std::mem::take(&mut self.changed)
    }

    /// How often this node was taken for dead.
    pub const fn rejoined(&self) -> u64 {
        self.rejoined
    }

    /// The live members but this node.
    pub fn live(&self) -> impl ExactSizeIterator<Item = NodeId> {
        self.live.keys().copied()
    }

    /// A live member, and where it is.
    pub fn member(&self, node: NodeId) -> Option<(Member, SocketAddr)> {
        self.live.get(&node).map(|identity| (identity.member(), identity.address))
    }

    /// Somebody who is taken for dead in this run.
    pub fn dead(&self, id: (NodeId, Incarnation)) -> Option<&Identity> {
        self.dead.get(&id.0).filter(|identity| identity.id() == id)
    }

    /// Does what foca has asked for, but for sending.
    fn react(&mut self, now: Duration) {
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.schedule(now, after, timer);
        }
        let mut has_rejoined = false;
        while let Some(notification) = self.runtime.to_notify() {
            match notification {
                OwnedNotification::MemberUp(identity) => {
                    self.dead.remove(&identity.id().0);
                    self.changed.insert(identity.id().0);
                    self.live.insert(identity.id().0, identity);
                }
                OwnedNotification::MemberDown(identity) => {
                    self.live.remove(&identity.id().0);
                    self.changed.insert(identity.id().0);
                    self.dead.insert(identity.id().0, identity);
                }
                OwnedNotification::Rename(_, identity) => {
                    let node = identity.id().0;
                    for known in [self.live.get_mut(&node), self.dead.get_mut(&node)].into_iter().flatten() {
                        self.changed.insert(node);
                        *known = identity.clone();
                    }
                }
                OwnedNotification::Rejoin(_) => has_rejoined = true,
                OwnedNotification::Active | OwnedNotification::Idle | OwnedNotification::Defunct => {}
            }
        }
        if has_rejoined {
            self.rejoined += 1;
            self.say_that_it_lives(now);
        }
        self.plan_for_size();
    }

    /// Who comes back is known to nobody until it has spoken.
    fn say_that_it_lives(&mut self, now: Duration) {
        for known in [&self.live, &self.dead] {
            let mut chosen: Vec<&Identity> = known.values().collect();
            let count = REJOIN_TOLD.min(chosen.len());
            let (chosen, _) = rand::seq::SliceRandom::partial_shuffle(&mut chosen[..], &mut self.rng, count);
            for identity in chosen {
                _ = self.swim.announce((*identity).clone(), &mut self.runtime);
            }
        }
        while let Some((after, timer)) = self.runtime.to_schedule() {
            self.schedule(now, after, timer);
        }
    }

    /// Gossip goes on for longer where there are more members.
    fn plan_for_size(&mut self) {
        let (config, planned) = self.config;
        let size = u32::try_from(self.live.len()).unwrap_or(u32::MAX).max(SIZE_MIN).next_power_of_two();
        if size != planned && self.swim.set_config(config.of(size)).is_ok() {
            self.config.1 = size;
        }
    }
}
