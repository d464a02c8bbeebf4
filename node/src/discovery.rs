//! Finding the other nodes: which names of `cluster.join` are to be looked up, and which of their addresses to announce this
//! node to. While it knows nobody it asks around; once it does, it goes on now and then, so that parts of a cluster that lost
//! each other meet again.
//!
//! Without sockets, names or a clock: `tailwater_runtime::net` looks up what [`Discovery::lookups`] names.

use std::net::SocketAddr;
use tailwater_config::JoinName;
use tailwater_engine::vocabulary::Nanos;

/// How often a name is looked up: a headless service names a pod some seconds after its start.
const LOOKUP_INTERVAL: Nanos = Nanos::from_millis(10_000);
/// How often a node that knows nobody announces itself.
const ALONE_INTERVAL: Nanos = Nanos::from_millis(1_000);
/// How often a node that knows others announces itself to those that it does not know.
const TOGETHER_INTERVAL: Nanos = Nanos::from_millis(30_000);

/// Addresses that a node announces itself to at a time; one that is up tells of all others.
/// At the bound: the others have their turn next time.
const ANNOUNCED_MAX: usize = 16;

/// Addresses that are kept of one name: as many as there may be nodes.
/// At the bound: further ones are passed over; counted in [`Discovery::passed_over`].
const ADDRESSES_MAX: usize = 1024;

/// A name, and where it leads.
#[derive(Debug)]
struct Name {
    name: JoinName,
    /// What the last lookup that had an answer has found.
    found: Vec<SocketAddr>,
    /// `None` while it is being looked up.
    lookup_at: Option<Nanos>,
}

/// What is known of where other nodes may be.
#[derive(Debug)]
pub struct Discovery {
    names: Vec<Name>,
    announced_at: Option<Nanos>,
    /// The address whose turn is next, among all.
    turn: usize,
    passed_over: u64,
}

impl Discovery {
    /// Nothing has been looked up, all is due.
    pub fn new(names: &[JoinName], now: Nanos) -> Self {
        let name = |name: &JoinName| Name { name: name.clone(), found: Vec::new(), lookup_at: Some(now) };
        Self { names: names.iter().map(name).collect(), announced_at: None, turn: 0, passed_over: 0 }
    }

    /// The names to look up now, by their numbers. Of each [`found`](Self::found) is to be told what came of it.
    pub fn lookups(&mut self, now: Nanos) -> Vec<(usize, JoinName)> {
        let names = self.names.iter_mut().enumerate();
        let due = names.filter(|(_, name)| name.lookup_at.is_some_and(|at| at <= now));
        due.map(|(number, name)| {
            name.lookup_at = None;
            (number, name.name.clone())
        })
        .collect()
    }

    /// The name of that number has been looked up. One that has no answer now is taken to lead where it did.
    pub fn found(&mut self, now: Nanos, number: usize, mut addresses: Vec<SocketAddr>) {
        let Some(name) = self.names.get_mut(number) else { return };
        name.lookup_at = Some(now.plus(LOOKUP_INTERVAL));
        if addresses.is_empty() {
            return;
        }
        let beyond = addresses.len().saturating_sub(ADDRESSES_MAX);
        self.passed_over = self.passed_over.saturating_add(u64::try_from(beyond).unwrap_or(u64::MAX));
        addresses.truncate(ADDRESSES_MAX);
        if name.found.is_empty() {
            // Who has waited for a first address need not wait any longer.
            self.announced_at = None;
        }
        name.found = addresses;
    }

    /// Where to announce this node now, which knows so many others. `is_member` says of an address whether the node there is
    /// known, this one among them.
    pub fn announce_to(
        &mut self,
        now: Nanos,
        others: usize,
        is_member: impl Fn(SocketAddr) -> bool,
    ) -> Vec<SocketAddr> {
        if self.announce_at(others).is_some_and(|at| now < at) {
            return Vec::new();
        }
        self.announced_at = Some(now);
        let mut all: Vec<SocketAddr> = self.names.iter().flat_map(|name| name.found.iter().copied()).collect();
        all.sort_unstable();
        all.dedup();
        all.retain(|address| !is_member(*address));
        if all.is_empty() {
            return all;
        }
        let start = self.turn % all.len();
        all.rotate_left(start);
        all.truncate(ANNOUNCED_MAX);
        self.turn = start + all.len();
        all
    }

    /// When there is something to do next, for a node that knows so many others; `None` while all waits for lookups.
    pub fn next_at(&self, others: usize) -> Option<Nanos> {
        let has_some = self.names.iter().any(|name| !name.found.is_empty());
        let announce = has_some.then(|| self.announce_at(others).unwrap_or(Nanos(0)));
        self.names.iter().filter_map(|name| name.lookup_at).chain(announce).min()
    }

    /// When the next announcement is due; `None` for now.
    fn announce_at(&self, others: usize) -> Option<Nanos> {
        let interval = if others == 0 { ALONE_INTERVAL } else { TOGETHER_INTERVAL };
        self.announced_at.map(|at| at.plus(interval))
    }

    /// Addresses beyond what is kept of a name.
    pub fn passed_over(&self) -> u64 {
        self.passed_over
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(texts: &[&str]) -> Vec<JoinName> {
        texts.iter().map(|text| JoinName::parse(text).unwrap()).collect()
    }

    fn seconds(seconds: u64) -> Nanos {
        Nanos::from_millis(1000 * seconds)
    }

    /// The address of that number.
    fn address(number: u16) -> SocketAddr {
        SocketAddr::from(([10, 0, 0, 1], number))
    }

    const NOBODY: fn(SocketAddr) -> bool = |_| false;

    #[test]
    fn names_are_looked_up_again_and_one_without_an_answer_leads_where_it_did() {
        let mut discovery = Discovery::new(&names(&["a:1", "b:2"]), seconds(5));
        assert!(discovery.lookups(seconds(4)).is_empty());
        let due = discovery.lookups(seconds(5));
        assert_eq!(
            due.iter().map(|(number, name)| (*number, name.to_string())).collect::<Vec<_>>(),
            [(0, "a:1".to_string()), (1, "b:2".to_string())]
        );
        // Nothing is asked twice at once, however long the answer takes.
        assert!(discovery.lookups(seconds(100)).is_empty());
        assert_eq!(discovery.next_at(0), None);
        discovery.found(seconds(101), 0, vec![address(1)]);
        discovery.found(seconds(101), 1, Vec::new());
        assert_eq!(discovery.announce_to(seconds(101), 0, NOBODY), [address(1)]);
        assert_eq!(discovery.lookups(seconds(110)).len(), 0);
        assert_eq!(discovery.lookups(seconds(111)).len(), 2);
        discovery.found(seconds(112), 0, Vec::new());
        assert_eq!(discovery.announce_to(seconds(112), 0, NOBODY), [address(1)]);
        discovery.found(seconds(112), 7, vec![address(9)]);
    }

    #[test]
    fn a_node_asks_each_second_while_alone_and_now_and_then_after_that() {
        let mut discovery = Discovery::new(&names(&["a:1"]), seconds(1));
        assert!(discovery.announce_to(seconds(1), 0, NOBODY).is_empty());
        discovery.lookups(seconds(1));
        discovery.found(seconds(1), 0, vec![address(1), address(2), address(1)]);
        // The first addresses are not kept waiting by the announcement to nobody.
        assert_eq!(discovery.announce_to(seconds(1), 0, NOBODY), [address(1), address(2)]);
        let half = Nanos::from_millis(1500);
        assert!(discovery.announce_to(half, 0, NOBODY).is_empty());
        assert_eq!((discovery.next_at(0), discovery.next_at(1)), (Some(seconds(2)), Some(seconds(11))));
        assert_eq!(discovery.announce_to(seconds(2), 0, NOBODY).len(), 2);
        // One is known: the other is asked after half a minute, or at once when all are lost.
        let knows_one = |other| other == address(1);
        assert!(discovery.announce_to(seconds(31), 1, knows_one).is_empty());
        assert_eq!(discovery.announce_to(seconds(32), 1, knows_one), [address(2)]);
        assert!(discovery.announce_to(seconds(33), 1, NOBODY).is_empty());
        assert_eq!(discovery.announce_to(seconds(33), 0, NOBODY).len(), 2);
        assert!(discovery.announce_to(seconds(90), 2, |_| true).is_empty());
        assert!(discovery.announce_to(seconds(119), 2, NOBODY).is_empty(), "nobody to ask was a turn, too");
    }

    #[test]
    fn many_addresses_have_their_turns() {
        let mut discovery = Discovery::new(&names(&["a:1", "b:1"]), seconds(0));
        discovery.lookups(seconds(0));
        discovery.found(seconds(0), 0, (1..=30).map(address).collect());
        discovery.found(seconds(0), 1, (20..=40).map(address).collect());
        let mut asked = std::collections::BTreeSet::new();
        for second in 0..3 {
            let now = discovery.announce_to(seconds(second), 0, NOBODY);
            assert_eq!(now.len(), ANNOUNCED_MAX);
            asked.extend(now);
        }
        // Without `turn` the first sixteen would be asked again and again.
        assert_eq!(asked.len(), 40);
        discovery.found(seconds(3), 0, (1..=2000).map(address).collect());
        assert_eq!(discovery.passed_over(), 2000 - 1024);
    }
}
