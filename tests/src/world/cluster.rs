//! What is between the nodes of a cluster, with what the layers below a shard promise: what one node tells another arrives at
//! least once while both live, in any order and after any time; what one says arrives at all that live, sooner or later.
//! Who is a member each node sees by itself, some time after it has changed.

use fastrand::Rng;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};

/// What the network does to messages.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Longest usual delay, microseconds.
    pub delay_us_max: u64,
    /// Share of datagrams that are lost, percent: their messages come once more later.
    pub lost_percent: u32,
    /// Share of messages that come twice, percent.
    pub doubled_percent: u32,
}

/// A message on its way.
#[derive(Debug, Clone)]
pub struct Letter {
    /// From whom.
    pub from: (NodeId, Incarnation),
    /// The message.
    pub bytes: Vec<u8>,
}

/// The space between nodes.
#[derive(Debug)]
pub struct Cluster {
    weather: Weather,
    /// Each that came to be a member, by its node; `None` once it is known to be gone.
    members: BTreeMap<usize, Option<Member>>,
    /// Members after each change.
    history: Vec<Vec<Member>>,
    letters: BTreeMap<u64, Letter>,
    written: u64,
    /// Bytes told and said so far.
    pub bytes: u64,
    /// Messages that have not arrived.
    pub under_way: u64,
}

/// From a loss until the message comes again, microseconds.
const AGAIN_US: std::ops::Range<u64> = 100_000..600_000;
/// Losses in a row that are asked about.
const LOSSES_MAX: u32 = 8;

/// The id of a node by its number.
#[must_use]
pub fn id(number: usize) -> NodeId {
    NodeId(number as u64 + 1)
}

/// The number of a node by its id.
#[must_use]
pub fn number(node: NodeId) -> usize {
    node.0 as usize - 1
}

impl Cluster {
    /// Nobody is there.
    #[must_use]
    pub fn new(weather: Weather) -> Self {
        Self {
            weather,
            members: BTreeMap::new(),
            history: Vec::new(),
            letters: BTreeMap::new(),
            written: 0,
            bytes: 0,
            under_way: 0,
        }
    }

    /// A node comes, or comes again, or is found to be gone. Returns the number of the change.
    pub fn change(&mut self, number: usize, member: Option<Member>) -> u64 {
        self.members.insert(number, member);
        self.history.push(self.members.values().flatten().copied().collect());
        self.history.len() as u64
    }

    /// The last change.
    #[must_use]
    pub fn changes(&self) -> u64 {
        self.history.len() as u64
    }

    /// The members after a change, as `own` sees them.
    #[must_use]
    pub fn view(&self, change: u64, own: usize) -> Arc<View> {
        let members = self.history.get(change as usize - 1).cloned().unwrap_or_default();
        Arc::new(View::new(change, id(own), members))
    }

    /// The member that a node is now.
    #[must_use]
    pub fn member(&self, number: usize) -> Option<Member> {
        self.members.get(&number).copied().flatten()
    }

    /// Those who are members now, by their numbers.
    #[must_use]
    pub fn numbers(&self) -> Vec<usize> {
        self.members.iter().filter(|(_, member)| member.is_some()).map(|(number, _)| *number).collect()
    }

    /// Sends a message. Returns its number and the times at which it arrives.
    pub fn send(&mut self, now: Nanos, letter: &Letter, random: &mut Rng) -> Vec<(u64, Nanos)> {
        let copies = 1 + u32::from(random.u32(0..100) < self.weather.doubled_percent);
        let mut arrivals = Vec::new();
        for _ in 0..copies {
            let mut delay = random.u64(1..self.weather.delay_us_max.max(2));
            for _ in 0..LOSSES_MAX {
                if random.u32(0..100) >= self.weather.lost_percent {
                    break;
                }
                delay += random.u64(AGAIN_US);
            }
            self.written += 1;
            self.bytes += letter.bytes.len() as u64;
            self.under_way += 1;
            self.letters.insert(self.written, letter.clone());
            arrivals.push((self.written, now.plus(Nanos(delay * 1000))));
        }
        arrivals
    }

    /// A message arrives.
    pub fn take(&mut self, message: u64) -> Option<Letter> {
        let letter = self.letters.remove(&message)?;
        self.under_way -= 1;
        Some(letter)
    }

    /// A node is gone: what was on its way to it never arrives.
    pub fn forget(&mut self, message: u64) {
        if self.letters.remove(&message).is_some() {
            self.under_way -= 1;
        }
    }
}
