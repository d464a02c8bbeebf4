//! A simulated network of hubs: seeded delay, loss, duplication, reordering, cuts, pauses, crashes and restarts. Datagrams
//! are plain; as with sealed ones, who restarted does not get what was sent to its former run.

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tailwater_hub::{Hub, HubPlan, Wire};
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};

pub type Run = (NodeId, Incarnation);

pub const fn millis(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

pub const fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

/// What the network does to datagrams.
pub struct Faults {
    pub loss: f64,
    pub duplication: f64,
    pub delay: (Duration, Duration),
    /// Nothing gets from the one to the other.
    pub cuts: BTreeSet<(usize, usize)>,
}

/// One node. Its clock starts with it.
pub struct Node {
    pub hub: Hub,
    pub run: Run,
    pub address: SocketAddr,
    pub is_up: bool,
    pub paused: bool,
    pub heard: Vec<(Run, u64)>,
    /// Share of payloads that it has no room for.
    pub refuses: f64,
    /// The numbers of the views that it was told.
    pub views: Vec<u64>,
    origin: Duration,
    tick_at: Duration,
    /// What came while it was paused.
    inbox: Vec<Datagram>,
}

#[derive(Clone)]
struct Datagram {
    from: SocketAddr,
    address: SocketAddr,
    sender: Run,
    to: Option<Run>,
    frames: Vec<u8>,
}

/// What a hub does within one call.
struct Recorder<'a> {
    rng: &'a mut SmallRng,
    sent: &'a mut Vec<(SocketAddr, Option<Run>, Vec<u8>)>,
    heard: &'a mut Vec<(Run, u64)>,
    refuses: f64,
    views: &'a mut Vec<u64>,
}

impl Wire for Recorder<'_> {
    fn send(&mut self, address: SocketAddr, to: Option<Run>, frames: &[u8]) {
        self.sent.push((address, to, frames.to_vec()));
    }

    fn deliver(&mut self, from: Run, payload: &[u8]) -> bool {
        if self.refuses > 0.0 && self.rng.random::<f64>() < self.refuses {
            return false;
        }
        // A damaged datagram may have a payload of any length.
        let payload = payload.first_chunk().map_or(u64::MAX, |payload| u64::from_le_bytes(*payload));
        self.heard.push((from, payload));
        true
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn view(&mut self, view: &Arc<View>) {
        self.views.push(view.number);
    }
}

pub struct World {
    pub now: Duration,
    pub rng: SmallRng,
    pub nodes: Vec<Node>,
    pub faults: Faults,
    pub datagrams: u64,
    pub bytes: u64,
    /// Of all that was sent, to whom and when: tells runs apart.
    pub trace: u64,
    /// Share of datagrams that come damaged, which no sealed one does.
    pub damage: f64,
    pub ticks: u64,
    /// The last that was made up.
    pub payload: u64,
    queue: BTreeMap<(Duration, u64), Datagram>,
    /// When each node that runs wants to be called.
    due: BTreeSet<(Duration, usize)>,
    sequence: u64,
    by_address: BTreeMap<SocketAddr, usize>,
    seed: u64,
    plan: fn(&mut HubPlan),
}

impl World {
    /// Nodes that do not know one another yet.
    pub fn new(seed: u64, nodes: usize, plan: fn(&mut HubPlan)) -> Self {
        let faults = Faults { loss: 0.0, duplication: 0.0, delay: (millis(1), millis(3)), cuts: BTreeSet::new() };
        let mut world = Self {
            now: secs(1),
            rng: SmallRng::seed_from_u64(seed),
            nodes: Vec::new(),
            faults,
            datagrams: 0,
            bytes: 0,
            trace: 0,
            damage: 0.0,
            ticks: 0,
            payload: 0,
            queue: BTreeMap::new(),
            due: BTreeSet::new(),
            sequence: 0,
            by_address: BTreeMap::new(),
            seed,
            plan,
        };
        for index in 0..nodes {
            world.add(index);
        }
        world
    }

    /// Nodes that know one another.
    pub fn joined(seed: u64, nodes: usize, plan: fn(&mut HubPlan)) -> Self {
        let mut world = Self::new(seed, nodes, plan);
        let all: Vec<usize> = (0..nodes).collect();
        for _ in 0..60 {
            // As discovery does for a node that is alone.
            for node in 1..nodes {
                if world.nodes[node].hub.view().members().len() == 1 {
                    world.announce(node, node / 16);
                }
            }
            if world.until(secs(1), |world| world.agree(&all)).is_some() {
                return world;
            }
        }
        panic!("seed {seed}: {nodes} nodes do not find each other");
    }

    fn add(&mut self, index: usize) {
        let address = SocketAddr::from(([10, 0, u8::try_from(index >> 8).unwrap(), index.to_le_bytes()[0]], 7));
        let run = (NodeId((index as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15)), Incarnation(1_000));
        let node = self.made(run, address);
        self.by_address.insert(address, index);
        self.due.insert((node.tick_at, index));
        self.nodes.push(node);
    }

    fn made(&mut self, run: Run, address: SocketAddr) -> Node {
        let mut plan = HubPlan::new(run.0, run.1, address, 2);
        plan.tags = run.1.0.to_le_bytes().to_vec();
        (self.plan)(&mut plan);
        Node {
            hub: Hub::new(plan, self.seed ^ run.0.0 ^ run.1.0),
            run,
            address,
            is_up: true,
            paused: false,
            heard: Vec::new(),
            refuses: 0.0,
            views: Vec::new(),
            origin: self.now - millis(self.rng.random_range(0..1_000)),
            tick_at: self.now,
            inbox: Vec::new(),
        }
    }

    /// A node that nobody knows yet.
    pub fn join_one_more(&mut self) {
        self.add(self.nodes.len());
    }

    fn damaged(&mut self, mut frames: Vec<u8>) -> Vec<u8> {
        for _ in 0..self.rng.random_range(1..4) {
            let at = self.rng.random_range(0..frames.len().max(1));
            match self.rng.random_range(0..4) {
                0 => frames.truncate(at),
                1 => frames.insert(at.min(frames.len()), self.rng.random()),
                _ if at < frames.len() => frames[at] ^= 1 << self.rng.random_range(0..8),
                _ => {}
            }
        }
        frames
    }

    /// The process is gone at once.
    pub fn kill(&mut self, node: usize) {
        self.nodes[node].is_up = false;
        self.due.remove(&(self.nodes[node].tick_at, node));
    }

    fn call_at(&mut self, index: usize, at: Duration) {
        let node = &mut self.nodes[index];
        self.due.remove(&(node.tick_at, index));
        node.tick_at = at;
        if node.is_up && !node.paused {
            self.due.insert((at, index));
        }
    }

    /// It runs again, maybe elsewhere; what it had heard is kept.
    pub fn restart(&mut self, node: usize, elsewhere: bool) {
        let (run, mut address) = (self.nodes[node].run, self.nodes[node].address);
        self.by_address.remove(&address);
        if elsewhere {
            address.set_port(address.port() + 1);
        }
        self.by_address.insert(address, node);
        let heard = std::mem::take(&mut self.nodes[node].heard);
        self.nodes[node] = Node { heard, ..self.made((run.0, Incarnation(run.1.0 + 1_000)), address) };
        self.call_at(node, self.now);
    }

    pub fn pause(&mut self, node: usize) {
        self.nodes[node].paused = true;
        self.due.remove(&(self.nodes[node].tick_at, node));
    }

    pub fn resume(&mut self, node: usize) {
        self.nodes[node].paused = false;
        for datagram in std::mem::take(&mut self.nodes[node].inbox) {
            self.arrive(node, &datagram);
        }
        self.call_at(node, self.now);
    }

    /// What came meanwhile was lost, as it is where the kernel's buffer is full.
    pub fn resume_without_what_came(&mut self, node: usize) {
        self.nodes[node].inbox.clear();
        self.resume(node);
    }

    /// Nothing passes between those on the one side and those on the other.
    pub fn part(&mut self, one: &[usize], other: &[usize]) {
        for (a, b) in one.iter().flat_map(|a| other.iter().map(move |b| (*a, *b))) {
            self.faults.cuts.extend([(a, b), (b, a)]);
        }
    }

    pub fn announce(&mut self, node: usize, to: usize) {
        let address = self.nodes[to].address;
        self.call(node, |hub, now, wire| hub.announce(now, address, wire));
    }

    pub fn say(&mut self, node: usize, payload: u64, length: usize) {
        self.call(node, |hub, now, wire| hub.say(now, &bytes(payload, length), wire));
    }

    pub fn tell(&mut self, node: usize, to: usize, payload: u64, length: usize) -> bool {
        let to = self.nodes[to].run.0;
        self.call(node, |hub, now, wire| hub.tell(now, to, &bytes(payload, length), wire))
    }

    pub fn leave(&mut self, node: usize) {
        self.call(node, |hub, now, wire| hub.leave(now, wire));
    }

    /// Calls a hub and sends what it sends.
    fn call<R>(&mut self, index: usize, call: impl FnOnce(&mut Hub, Duration, &mut Recorder<'_>) -> R) -> R {
        let mut sent = Vec::new();
        let node = &mut self.nodes[index];
        let mut recorder = Recorder {
            rng: &mut self.rng,
            sent: &mut sent,
            heard: &mut node.heard,
            refuses: node.refuses,
            views: &mut node.views,
        };
        let result = call(&mut node.hub, self.now - node.origin, &mut recorder);
        let (sender, from) = (node.run, node.address);
        // A caller has some grain of time.
        let due = (node.origin + node.hub.due()).max(self.now + millis(1));
        self.call_at(index, due);
        for (address, to, frames) in sent {
            assert!(frames.len() <= 1_298, "{} bytes", frames.len());
            self.datagrams += 1;
            self.bytes += frames.len() as u64;
            self.post(index, Datagram { from, address, sender, to, frames });
        }
        result
    }

    fn post(&mut self, from: usize, datagram: Datagram) {
        self.trace = self.trace.rotate_left(5)
            ^ datagram.frames.iter().fold(self.now.as_nanos() as u64, |hash, byte| {
                (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
            });
        let Some(to) = self.by_address.get(&datagram.address).copied() else { return };
        if self.faults.cuts.contains(&(from, to)) {
            return;
        }
        let copies = 1 + usize::from(self.rng.random::<f64>() < self.faults.duplication);
        for _ in 0..copies {
            if self.rng.random::<f64>() < self.faults.loss {
                continue;
            }
            let delay = self.rng.random_range(self.faults.delay.0..=self.faults.delay.1);
            self.sequence += 1;
            let mut datagram = datagram.clone();
            if self.damage > 0.0 && self.rng.random::<f64>() < self.damage {
                datagram.frames = self.damaged(datagram.frames);
            }
            self.queue.insert((self.now + delay, self.sequence), datagram);
        }
    }

    fn arrive(&mut self, index: usize, datagram: &Datagram) {
        let node = &mut self.nodes[index];
        if !node.is_up || node.address != datagram.address || datagram.to.is_some_and(|to| to != node.run) {
            return;
        }
        if node.paused {
            node.inbox.push(datagram.clone());
            return;
        }
        let Datagram { from, sender, frames, to, .. } = datagram;
        self.call(index, |hub, now, wire| match to {
            Some(_) => hub.hear(now, *from, *sender, frames, wire),
            None => hub.hear_unbound(now, *from, *sender, frames, wire),
        });
    }

    /// The next thing that happens, at `end` at the latest. False: nothing happens before.
    fn step(&mut self, end: Duration) -> bool {
        let tick = self.due.first().copied();
        let arrival = self.queue.keys().next().copied();
        let at = [tick.map(|(at, _)| at), arrival.map(|(at, _)| at)].into_iter().flatten().min();
        let Some(at) = at.filter(|at| *at <= end) else {
            self.now = end;
            return false;
        };
        self.now = self.now.max(at);
        if let Some(key) = arrival.filter(|(arrives, _)| *arrives == at) {
            let datagram = self.queue.remove(&key).unwrap();
            if let Some(index) = self.by_address.get(&datagram.address).copied() {
                self.arrive(index, &datagram);
            }
        } else if let Some((_, index)) = tick {
            self.ticks += 1;
            self.call(index, |hub, now, wire| assert_eq!(hub.tick(now, wire), hub.due().max(now)));
        }
        true
    }

    pub fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.step(end) {}
    }

    /// Runs until it is so, looked at each 20 ms. Returns how long it took.
    pub fn until(&mut self, patience: Duration, mut is_so: impl FnMut(&Self) -> bool) -> Option<Duration> {
        let start = self.now;
        while self.now < start + patience {
            if is_so(self) {
                return Some(self.now - start);
            }
            self.run(millis(20));
        }
        is_so(self).then_some(patience)
    }

    /// Whether each of these sees just these, in their runs.
    pub fn agree(&self, nodes: &[usize]) -> bool {
        let mut runs: Vec<Run> = nodes.iter().map(|node| self.nodes[*node].run).collect();
        runs.sort_unstable();
        nodes.iter().all(|node| {
            let members = self.nodes[*node].hub.view().members();
            members.len() == runs.len()
                && members.iter().zip(&runs).all(|(member, run)| (member.node, member.incarnation) == *run)
        })
    }

    /// Whether a node has another among its members.
    pub fn sees(&self, node: usize, other: usize) -> bool {
        self.nodes[node].hub.view().member(self.nodes[other].run.0).is_some()
    }

    /// How often a node was given a payload.
    pub fn times_heard(&self, node: usize, payload: u64) -> usize {
        self.nodes[node].heard.iter().filter(|(_, heard)| *heard == payload).count()
    }
}

fn bytes(payload: u64, length: usize) -> Vec<u8> {
    let mut bytes = payload.to_le_bytes().to_vec();
    bytes.resize(length.max(8), 0x5a);
    bytes
}
