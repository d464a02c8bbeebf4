//! Nodes on one network in one thread: engine and log are real, what is around them keeps the promises of what it stands
//! for, and a seed decides how long everything takes. Events happen by time; after each, every oracle of its node is
//! asked. A script is a scenario for each node, a seed, and a look at what was met.
//!
//! Fault model: requests reach any core; messages between cores take any time but keep their order; the time is looked at
//! late, nodes stand still for a while, their clocks begin anywhere and drift; spans come after their trace was judged;
//! bounds are tight; rules change, on each core at another moment; the next hop delivers, refuses or gives up; disks lose,
//! tear, reorder and fail; processes are killed, power is cut, and the next run has another number of cores. Several
//! pipelines have shards of their own and share the log of a core. Nodes of a cluster have real hubs; their datagrams are
//! late, lost, doubled and reordered, links are cut and heal, nodes come, leave, are killed and stand still, and one may be of a later
//! version.

mod ahead;
pub mod clock;
pub mod cluster;
pub mod events;
pub mod network;
pub mod next_hop;
pub mod node;
pub mod oracle;
pub mod policies;
pub mod scenario;
pub mod seen;
pub mod senders;
pub mod verdict;

use self::cluster::{Cluster, Cut, Weather};
use self::events::{Events, What};
use self::network::Network;
use self::node::gossip::HubMet;
use self::node::{Around, Node};
use self::oracle::Oracle;
use self::oracle::together::{Expected, Together};
use self::scenario::Scenario;
use self::seen::Seen;
use self::senders::{SpanId, span_id};
use std::collections::BTreeSet;
use std::hash::{DefaultHasher, Hash as _, Hasher as _};
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::vocabulary::Nanos;

/// Events of a node after which a run that does not end is called stuck.
const EVENTS_MAX: u64 = 500_000;
/// So long a cluster goes on when all is settled: what was said last gets everywhere.
const LINGER: Nanos = Nanos::from_millis(6_000);

/// What a node of a run has met.
#[derive(Debug, Clone, Default)]
pub struct Met {
    /// Events.
    pub events: u64,
    /// A hash of all events and of all that was seen to be judged and delivered, with their times.
    pub trace: u64,
    /// Verdicts.
    pub judged: u64,
    /// Verdicts under another generation than the one in force: of traces that were partly in the log only.
    pub judged_under_former: u64,
    /// Traces scanned again, in the last run of the process.
    pub scanned_again: u64,
    /// Traces judged before their time, in the last run of the process.
    pub judged_early: u64,
    /// Spans given to the next hop once more.
    pub delivered_again: u64,
    /// Crashes.
    pub crashes: u32,
    /// Syncs of the disk.
    pub syncs: u64,
    /// Writes and syncs that failed.
    pub disk_failures: u64,
    /// Spans that it shed.
    pub shed: u64,
    /// Traces that came to a cluster, and what those stand for that left.
    pub traces: u64,
    /// See `traces`.
    pub stands_for: f64,
    /// What its shards did in the cluster.
    pub cluster: ClusterCounts,
    /// What its hub did.
    pub hub: HubMet,
}

impl Met {
    /// Both together; a trace is of one run.
    pub fn add(&mut self, other: &Self) {
        self.events += other.events;
        self.judged += other.judged;
        self.judged_under_former += other.judged_under_former;
        self.scanned_again += other.scanned_again;
        self.judged_early += other.judged_early;
        self.delivered_again += other.delivered_again;
        self.crashes += other.crashes;
        self.syncs += other.syncs;
        self.disk_failures += other.disk_failures;
        self.shed += other.shed;
        self.traces += other.traces;
        self.stands_for += other.stands_for;
        self.cluster.add(&other.cluster);
        self.hub.add(&other.hub);
    }
}

/// A node with those who watch it.
struct Watched {
    node: Node,
    /// By pipeline.
    oracles: Vec<Vec<Box<dyn Oracle>>>,
    met: Met,
    trace: DefaultHasher,
    delivered: BTreeSet<(usize, SpanId)>,
    is_done: bool,
}

impl Watched {
    fn note(&mut self, pipeline: usize, seen: &Seen) {
        match seen {
            Seen::Judged { judged, in_force, .. } => {
                self.met.judged += 1;
                self.met.judged_under_former += u64::from(judged.generation != *in_force);
                (judged.trace_id, judged.generation, judged.threshold).hash(&mut self.trace);
            }
            Seen::Delivered { span, .. } => {
                self.met.delivered_again += u64::from(!self.delivered.insert((pipeline, span_id(span))));
                span.span_id.hash(&mut self.trace);
            }
            // All pipelines see it.
            Seen::Crashed { .. } => self.met.crashes += u32::from(pipeline == 0),
            Seen::DiskFailed => self.met.disk_failures += u64::from(pipeline == 0),
            _ => {}
        }
    }

    /// Tells what happened, asks whether all still holds.
    fn watch(&mut self, network: &Network, together: Option<&mut Together>, now: Nanos) {
        let mut together = together;
        for (pipeline, seen) in self.node.take_seen() {
            self.note(pipeline, &seen);
            self.oracles[pipeline].iter_mut().for_each(|oracle| oracle.see(&seen, &self.node));
            if let Some(together) = &mut together {
                together.see(&seen, &self.node, now);
            }
        }
        let mut pending = 0;
        for (pipeline, oracles) in self.oracles.iter_mut().enumerate() {
            let account = self.node.account(pipeline);
            let between = network.spans_to(self.node.number(), pipeline);
            oracles.iter_mut().for_each(|oracle| oracle.check(&self.node, &account, between));
            pending += account.pending();
        }
        self.is_done = pending == 0 && self.node.is_at_rest(network);
    }

    fn end(mut self) -> Met {
        for (pipeline, oracles) in self.oracles.iter_mut().enumerate() {
            let account = self.node.account(pipeline);
            oracles.iter_mut().for_each(|oracle| oracle.end(&self.node, &account));
        }
        for core in &self.node.cores {
            self.met.scanned_again += core.shard.ledger().traces.scanned_again;
            self.met.judged_early += core.shard.ledger().traces.decided_early;
            self.met.shed += core.shard.ledger().spans.dropped[DropReason::Shed as usize];
        }
        self.met.cluster = self.node.cluster_counts();
        self.met.hub = self.node.hub_met();
        self.met.syncs = self.node.syncs();
        self.met.trace = self.trace.finish();
        self.met
    }
}

/// Nodes, the network between their cores, and time.
#[derive(Default)]
pub struct World {
    events: Events,
    network: Network,
    nodes: Vec<Watched>,
    together: Option<Together>,
    now: Nanos,
    /// Since when all nodes are done.
    done_at: Option<Nanos>,
}

impl World {
    /// A world with nobody in it.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A world whose nodes are a cluster.
    #[must_use]
    pub fn of_cluster(weather: Weather, cuts: Vec<Cut>, expected: Expected) -> Self {
        let cluster = Cluster::new(weather, cuts);
        let together = Together::new(expected, &cluster);
        let mut world = Self { together: Some(together), ..Self::default() };
        world.network.cluster = Some(cluster);
        world
    }

    /// One more node, which starts.
    #[must_use]
    pub fn with(mut self, seed: u64, scenario: Scenario) -> Self {
        let oracles = (0..scenario.pipelines).map(|_| oracle::all(&scenario)).collect();
        let node = Node::new(self.nodes.len(), seed, scenario);
        let (met, trace) = (Met::default(), DefaultHasher::new());
        let mut watched = Watched { node, oracles, met, trace, delivered: BTreeSet::new(), is_done: false };
        let Self { events, network, together, .. } = &mut self;
        let comes_ms = watched.node.scenario.cluster.map_or(0, |cluster| cluster.comes_ms);
        if comes_ms == 0 {
            watched.node.start(&mut Around { now: Nanos::default(), events, network });
        } else {
            events.plan(Nanos::from_millis(comes_ms), watched.node.number(), 0, What::Come);
        }
        watched.watch(network, together.as_mut(), Nanos::default());
        self.nodes.push(watched);
        self
    }

    /// Runs until all that was sent to each node is settled. Returns what each has met.
    ///
    /// # Panics
    /// When an invariant does not hold.
    pub fn run(mut self) -> Vec<Met> {
        while !self.is_over() {
            let event = self.events.take().expect("a node that is not done has something to do");
            self.now = event.at;
            let Self { events, network, nodes, together, .. } = &mut self;
            let watched = &mut nodes[event.node];
            let node = &mut watched.node;
            let is_done = watched.is_done && network.cluster.is_none();
            // A datagram is for whoever is there when it comes.
            if is_done || (event.run != node.run && !matches!(event.what, What::Hear(_))) {
                network.forget(event.what);
                continue;
            }
            if event.at < node.paused_until {
                events.plan(node.paused_until, event.node, event.run, event.what);
                continue;
            }
            watched.met.events += 1;
            assert!(watched.met.events < EVENTS_MAX, "stuck: {:?}", node.account(0));
            (event.at.0, event.what).hash(&mut watched.trace);
            node.handle(event.what, &mut Around { now: event.at, events, network });
            watched.watch(network, together.as_mut(), event.at);
        }
        let mut met: Vec<Met> = self.nodes.into_iter().map(Watched::end).collect();
        if let Some(together) = self.together {
            let mut sum = Met::default();
            met.iter().for_each(|met| sum.add(met));
            // Of all nodes together.
            let represented = together.end(&sum);
            if let Some(first) = met.first_mut() {
                (first.traces, first.stands_for) = represented;
            }
        }
        met
    }

    /// Whether nothing is to happen any more. What nodes of a cluster tell one another goes on for ever: there it is over a
    /// while after all is settled and no link is cut any more.
    fn is_over(&mut self) -> bool {
        if self.nodes.iter().any(|watched| !watched.is_done) {
            self.done_at = None;
            return false;
        }
        let Some(cluster) = &self.network.cluster else { return true };
        let done_at = *self.done_at.get_or_insert(self.now);
        self.now >= done_at.max(cluster.healed().unwrap_or_default()).plus(LINGER)
    }
}
