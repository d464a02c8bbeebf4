//! What is between the nodes of a cluster: datagrams. They are late, lost, doubled and reordered, none is longer than the
//! network takes, and for a while nothing may get from one node to another at all. Who is a member nobody is told here: the
//! hub of each node finds that out.

use fastrand::Rng;
use std::collections::{BTreeMap, BTreeSet};
use std::net::SocketAddr;
use std::ops::Range;
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::{Incarnation, NodeId};

/// A run of a node.
pub type Run = (NodeId, Incarnation);

/// What the network does to datagrams.
#[derive(Debug, Clone, Copy, Default)]
pub struct Weather {
    /// Longest delay, microseconds.
    pub delay_us_max: u64,
    /// Share of datagrams that are lost, percent.
    pub lost_percent: u32,
    /// Share of datagrams that come twice, percent.
    pub doubled_percent: u32,
}

/// For a while nothing gets from some nodes to others.
#[derive(Debug, Clone)]
pub struct Cut {
    /// When, milliseconds of the world.
    pub spell_ms: Range<u64>,
    /// From whom to whom.
    links: BTreeSet<(usize, usize)>,
}

impl Cut {
    /// Nothing gets from the ones to the others.
    #[must_use]
    pub fn one_way(spell_ms: Range<u64>, from: &[usize], to: &[usize]) -> Self {
        let links = from.iter().flat_map(|from| to.iter().map(move |to| (*from, *to)));
        Self { spell_ms, links: links.filter(|(from, to)| from != to).collect() }
    }

    /// Nothing gets from the ones to the others, nor back.
    #[must_use]
    pub fn both_ways(spell_ms: Range<u64>, one: &[usize], other: &[usize]) -> Self {
        let mut cut = Self::one_way(spell_ms, one, other);
        cut.links.extend(cut.links.clone().into_iter().map(|(from, to)| (to, from)));
        cut
    }

    fn has(&self, now: Nanos, link: (usize, usize)) -> bool {
        self.spell_ms.contains(&(now.0 / Nanos::PER_MILLISECOND)) && self.links.contains(&link)
    }
}

/// A datagram on its way.
#[derive(Debug, Clone)]
pub struct Datagram {
    /// Who sent it.
    pub sender: Run,
    /// For whom it is sealed; `None` for whoever is at the address.
    pub to: Option<Run>,
    /// What is in it.
    pub frames: Vec<u8>,
}

/// The space between nodes.
#[derive(Debug)]
pub struct Cluster {
    weather: Weather,
    cuts: Vec<Cut>,
    datagrams: BTreeMap<u64, Datagram>,
    sent: u64,
}

/// Longest datagram that the network takes, what seals it apart.
pub const DATAGRAM_BYTES_MAX: usize = 1_298;

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

/// Where a node is.
#[must_use]
pub fn address(number: usize) -> SocketAddr {
    SocketAddr::from(([10, 0, 0, number as u8 + 1], 7))
}

/// The node that is there.
#[must_use]
pub fn number_at(address: SocketAddr) -> usize {
    match address {
        SocketAddr::V4(address) => usize::from(address.ip().octets()[3]) - 1,
        SocketAddr::V6(_) => unreachable!("no node has such an address"),
    }
}

impl Cluster {
    /// A network that is like that.
    #[must_use]
    pub fn new(weather: Weather, cuts: Vec<Cut>) -> Self {
        Self { weather, cuts, datagrams: BTreeMap::new(), sent: 0 }
    }

    /// When the last cut is over, if there is any.
    #[must_use]
    pub fn healed(&self) -> Option<Nanos> {
        self.cuts.iter().map(|cut| Nanos::from_millis(cut.spell_ms.end)).max()
    }

    /// When the first cut begins, if there is any.
    #[must_use]
    pub fn parted(&self) -> Option<Nanos> {
        self.cuts.iter().map(|cut| Nanos::from_millis(cut.spell_ms.start)).min()
    }

    /// Sends a datagram. Returns its numbers and the times at which it arrives.
    ///
    /// # Panics
    /// When it is too long.
    pub fn send(
        &mut self,
        now: Nanos,
        link: (usize, usize),
        datagram: &Datagram,
        random: &mut Rng,
    ) -> impl Iterator<Item = (u64, Nanos)> + use<> {
        assert!(datagram.frames.len() <= DATAGRAM_BYTES_MAX, "{} bytes", datagram.frames.len());
        let Weather { delay_us_max, lost_percent, doubled_percent } = self.weather;
        let mut arrivals = [None; 2];
        if !self.cuts.iter().any(|cut| cut.has(now, link)) {
            let copies = 1 + usize::from(random.u32(0..100) < doubled_percent);
            for arrival in arrivals.iter_mut().take(copies) {
                if random.u32(0..100) < lost_percent {
                    continue;
                }
                self.sent += 1;
                self.datagrams.insert(self.sent, datagram.clone());
                *arrival = Some((self.sent, now.plus(Nanos(random.u64(1..delay_us_max.max(2)) * 1000))));
            }
        }
        arrivals.into_iter().flatten()
    }

    /// A datagram arrives.
    pub fn take(&mut self, number: u64) -> Option<Datagram> {
        self.datagrams.remove(&number)
    }
}
