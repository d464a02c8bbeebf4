//! What cores send each other: each link, from one core of a pipeline to another, has its delay and keeps its order, both
//! decided in `Network::send`. Nodes that act alone have links between their own cores only.

use super::cluster::Cluster;
use super::events::What;
use fastrand::Rng;
use std::collections::{BTreeMap, VecDeque};
use tailwater_engine::vocabulary::{KeptUnit, Nanos, SpanBatch, Unit};
use tailwater_rollup::windows::Part;

/// A core of a node.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Address {
    /// The node.
    pub node: usize,
    /// The pipeline.
    pub pipeline: usize,
    /// The core.
    pub core: usize,
}

/// What travels.
#[derive(Debug)]
pub enum Message {
    /// Spans to the shard that owns their traces.
    Spans(SpanBatch),
    /// Units that are done with, to the core that owns their log.
    Resolved(Vec<Unit>),
    /// Units to be read again, to the core that owns their log.
    Parked(Vec<KeptUnit>),
    /// A window of summaries is over.
    CloseWindow(u64),
    /// What an executor has counted in it.
    WindowGiven(usize, u64, Vec<Part>),
    /// What it came to is known to the log of the first.
    WindowEmitted(u64),
}

impl Message {
    fn spans(&self) -> usize {
        if let Self::Spans(batch) = self { batch.spans.len() } else { 0 }
    }
}

#[derive(Debug, Default)]
struct Link {
    messages: VecDeque<Message>,
    /// When the last of them arrives.
    busy_until: Nanos,
}

/// Longest usual delay of a message, microseconds, and the longest of one in `RARELY`.
const DELAY_US_MAX: [u64; 2] = [40_000, 600_000];
const RARELY: u8 = 12;

/// All links.
#[derive(Debug, Default)]
pub struct Network {
    links: BTreeMap<(Address, Address), Link>,
    /// Messages and spans on their way, by the node and pipeline that they are for.
    on_the_way: BTreeMap<(usize, usize), (usize, usize)>,
    /// What is between the nodes, if they are a cluster.
    pub cluster: Option<Cluster>,
}

impl Network {
    /// Sends a message. Returns when it arrives: not before those that were sent earlier.
    pub fn send(&mut self, now: Nanos, (from, to): (Address, Address), message: Message, random: &mut Rng) -> Nanos {
        let link = self.links.entry((from, to)).or_default();
        let longest = DELAY_US_MAX[usize::from(random.u8(0..RARELY) == 0)];
        let arrives = now.plus(Nanos(random.u64(1..longest) * 1000)).max(link.busy_until);
        link.busy_until = arrives;
        let (messages, spans) = self.on_the_way.entry((to.node, to.pipeline)).or_default();
        (*messages, *spans) = (*messages + 1, *spans + message.spans());
        link.messages.push_back(message);
        arrives
    }

    /// The oldest message of a link.
    pub fn receive(&mut self, from: Address, to: Address) -> Option<Message> {
        let message = self.links.get_mut(&(from, to))?.messages.pop_front()?;
        let (messages, spans) = self.on_the_way.entry((to.node, to.pipeline)).or_default();
        (*messages, *spans) = (*messages - 1, *spans - message.spans());
        Some(message)
    }

    /// A node has ended: what was on its way between its cores is lost.
    pub fn disconnect(&mut self, node: usize) {
        self.links.retain(|(_, to), _| to.node != node);
        self.on_the_way.retain(|(to, _), _| *to != node);
    }

    /// Spans on their way to the cores of a pipeline of a node.
    #[must_use]
    pub fn spans_to(&self, node: usize, pipeline: usize) -> usize {
        self.on_the_way.get(&(node, pipeline)).map_or(0, |(_, spans)| *spans)
    }

    /// Something does not happen: a datagram to a node that is gone is lost.
    pub fn forget(&mut self, what: What) {
        if let (What::Hear(datagram), Some(cluster)) = (what, &mut self.cluster) {
            cluster.take(datagram);
        }
    }

    /// Whether nothing is on its way to a node's cores.
    #[must_use]
    pub fn is_silent(&self, node: usize) -> bool {
        self.on_the_way.iter().all(|((to, _), (messages, _))| *to != node || *messages == 0)
    }
}
