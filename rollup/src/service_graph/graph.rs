//! The graph as one core sees it: ends that wait for another, and what edges count since that was last taken.

use super::Plan;
use super::gather::{End, Ends};
use super::side::{Class, Connection, Edge, Side, Traits, overflow};
use super::sums::{EdgeRow, EdgeSums};
use super::waiting::{Waiting, WaitingEnd};
use hashbrown::HashTable;
use std::sync::Arc;

/// What became of ends.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct GraphCounts {
    /// Requests that edges count, those with virtual nodes among them.
    pub requests: u64,
    /// Ends that no other came for within the wait, and that are in no edge.
    pub unpaired: u64,
    /// Ends that there was no room for.
    pub dropped: u64,
    /// Requests and ends that count for no row of their own.
    pub overflowed: u64,
    /// Ends that wait.
    pub waiting: u64,
}

/// A row, and what it is of.
#[derive(Debug)]
struct Entry {
    hash: u64,
    class: Class,
    connection: Connection,
    client: Option<Arc<Side>>,
    server: Option<Arc<Side>>,
    name: Box<[u8]>,
    row: EdgeRow,
    is_touched: bool,
}

/// An end, as it is counted.
#[derive(Debug, Clone, Copy)]
struct Half<'a> {
    side: &'a Arc<Side>,
    nanos: u64,
}

/// The graph of one core.
#[derive(Debug)]
pub struct Graph {
    plan: Arc<Plan>,
    shard: u16,
    waiting: Waiting,
    table: HashTable<u32>,
    entries: Vec<Entry>,
    touched: Vec<u32>,
    counts: GraphCounts,
}

impl Graph {
    /// Nothing counted, and nothing waits, on the core of that shard.
    #[must_use]
    pub fn new(plan: Arc<Plan>, shard: u16, seed: u64) -> Self {
        Self {
            plan,
            shard,
            waiting: Waiting::new(seed),
            table: HashTable::new(),
            entries: Vec::new(),
            touched: Vec::new(),
            counts: GraphCounts::default(),
        }
    }

    /// Its shard.
    #[must_use]
    pub fn shard(&self) -> u16 {
        self.shard
    }

    /// What became of ends.
    #[must_use]
    pub fn counts(&self) -> GraphCounts {
        GraphCounts { waiting: self.waiting.len() as u64, ..self.counts }
    }

    /// Takes the ends of a request that are this core's; the others are for other cores.
    pub fn take(&mut self, ends: &Ends, now_unix_nano: u64) {
        let shard = self.shard;
        for end in ends.ends.iter().filter(|end| end.is_of(shard)) {
            if let Some(side) = ends.sides.get(end.side as usize) {
                self.take_end(end, side, now_unix_nano);
            }
        }
    }

    fn take_end(&mut self, end: &End, side: &Arc<Side>, now: u64) {
        let End { key, nanos, weight, traits, .. } = *end;
        if traits.is_alone() {
            return self.alone(side, nanos, weight, traits, now);
        }
        let is_client = traits.has(Traits::CLIENT);
        let half = Half { side, nanos };
        let mut is_answered = false;
        while let Some(place) = self.waiting.find(&key, !is_client) {
            is_answered = true;
            let is_producer = |traits: Traits| traits.has(Traits::CLIENT) && traits.has(Traits::MESSAGING);
            let other = match self.waiting.get_mut(place) {
                // A message may have several consumers.
                Some(other) if is_producer(other.traits) => {
                    other.traits = other.traits.with(Traits::ANSWERED, true);
                    Some(other.clone())
                }
                _ => self.waiting.remove(place),
            };
            let Some(other) = other else { break };
            let other_half = Half { side: &other.side, nanos: other.nanos };
            let (client, server) = if is_client { (half, other_half) } else { (other_half, half) };
            let is = |wanted: Traits| traits.has(wanted) || other.traits.has(wanted);
            let connection = if is(Traits::MESSAGING) { Connection::Messaging } else { Connection::Direct };
            let class = if is(Traits::FAILED) { Class::Failed } else { Class::Fine };
            // Where the two were sampled alike they count alike; else the one that stands for more was the rarer.
            self.edge(class, connection, Some(client), Some(server), weight.max(other.weight), now);
            if !is_producer(traits) {
                return;
            }
        }
        self.wait(end, side, is_answered, now);
    }

    fn wait(&mut self, end: &End, side: &Arc<Side>, is_answered: bool, now: u64) {
        let End { key, nanos, weight, traits, .. } = *end;
        if self.waiting.len() >= self.plan.waiting_max {
            self.expire(now);
        }
        if self.waiting.len() >= self.plan.waiting_max {
            if !is_answered {
                self.counts.dropped += 1;
                self.without_other(Class::Dropped, side, traits, weight, now);
            }
            return;
        }
        let traits = traits.with(Traits::ANSWERED, is_answered);
        let due_nanos = now.saturating_add(self.plan.wait_nanos);
        self.waiting.push(WaitingEnd { key, side: side.clone(), nanos, weight, traits, due_nanos });
    }

    /// An end that waits for nobody.
    fn alone(&mut self, side: &Arc<Side>, nanos: u64, weight: u64, traits: Traits, now: u64) {
        let half = Half { side, nanos };
        let class = if traits.has(Traits::FAILED) { Class::Failed } else { Class::Fine };
        if traits.has(Traits::DATABASE) {
            self.edge(class, Connection::Database, Some(half), None, weight, now);
        } else if self.plan.has_virtual_nodes() {
            self.edge(class, Connection::Virtual, None, Some(half), weight, now);
        } else {
            self.counts.unpaired += 1;
            self.without_other(Class::Unpaired, side, traits, weight, now);
        }
    }

    /// Gives up waiting for whoever has not come in time.
    pub fn expire(&mut self, now_unix_nano: u64) {
        while let Some(end) = self.waiting.pop_due(now_unix_nano) {
            self.give_up(&end, now_unix_nano);
        }
    }

    /// Gives up all waiting: the node stops.
    pub fn expire_all(&mut self, now_unix_nano: u64) {
        while let Some(end) = self.waiting.pop_due(u64::MAX) {
            self.give_up(&end, now_unix_nano);
        }
    }

    fn give_up(&mut self, end: &WaitingEnd, now: u64) {
        let WaitingEnd { side, nanos, weight, traits, .. } = end;
        if traits.has(Traits::ANSWERED) {
            return;
        }
        if traits.has(Traits::CLIENT) && self.plan.has_virtual_nodes() {
            let class = if traits.has(Traits::FAILED) { Class::Failed } else { Class::Fine };
            let half = Half { side, nanos: *nanos };
            return self.edge(class, Connection::Virtual, Some(half), None, *weight, now);
        }
        self.counts.unpaired += 1;
        self.without_other(Class::Unpaired, side, *traits, *weight, now);
    }

    /// Counts an end that no edge tells.
    fn without_other(&mut self, class: Class, side: &Arc<Side>, traits: Traits, weight: u64, now: u64) {
        let connection = if traits.has(Traits::MESSAGING) { Connection::Messaging } else { Connection::Direct };
        let (client, server) = if traits.has(Traits::CLIENT) { (Some(side), None) } else { (None, Some(side)) };
        let entry = self.entry(class, connection, client, server);
        entry.row.count(weight, now);
    }

    fn edge(
        &mut self,
        class: Class,
        connection: Connection,
        client: Option<Half<'_>>,
        server: Option<Half<'_>>,
        weight: u64,
        now: u64,
    ) {
        self.counts.requests += 1;
        // A database takes as long as its client says; a virtual node has no time of its own, and the connector tells zero.
        let of = |half: Option<Half<'_>>| half.map_or(0, |half| half.nanos);
        let server_nanos = if connection == Connection::Database { of(client) } else { of(server) };
        let entry = self.entry(class, connection, client.map(|half| half.side), server.map(|half| half.side));
        entry.row.count(weight, now);
        entry.row.client.record(seconds(of(client)), weight);
        entry.row.server.record(seconds(server_nanos), weight);
    }

    /// The row, which is counted in now.
    fn entry(
        &mut self,
        class: Class,
        connection: Connection,
        client: Option<&Arc<Side>>,
        server: Option<&Arc<Side>>,
    ) -> &mut Entry {
        let hash = edge_hash(class, connection, client, server);
        let is_same = |number: &u32| {
            let entry = &self.entries[*number as usize];
            entry.hash == hash
                && (entry.class, entry.connection) == (class, connection)
                && is_same_side(entry.client.as_ref(), client)
                && is_same_side(entry.server.as_ref(), server)
        };
        let number = match self.table.find(hash, is_same) {
            Some(number) => *number,
            None => self.new_entry(hash, class, connection, client, server),
        };
        let entry = &mut self.entries[number as usize];
        if !entry.is_touched {
            entry.is_touched = true;
            self.touched.push(number);
        }
        entry
    }

    /// Whether there may be another row: one of each class is left for what is past the bound.
    fn has_room(&self) -> bool {
        const CLASSES: usize = 4;
        self.entries.len() + CLASSES < self.plan.series_max.max(CLASSES + 1)
    }

    #[cold]
    fn new_entry(
        &mut self,
        hash: u64,
        class: Class,
        connection: Connection,
        client: Option<&Arc<Side>>,
        server: Option<&Arc<Side>>,
    ) -> u32 {
        let name = |this: &Self| {
            let edge =
                Edge { class, connection, client: client.map(|side| &**side), server: server.map(|side| &**side) };
            edge.name(&this.plan)
        };
        if self.has_room() {
            let name = name(self);
            return self.push(hash, class, connection, (client.cloned(), server.cloned()), name);
        }
        self.counts.overflowed += 1;
        let (hash, connection) = (edge_hash(class, Connection::Direct, None, None), Connection::Direct);
        let is_same = |number: &u32| {
            let entry = &self.entries[*number as usize];
            entry.class == class && entry.client.is_none() && entry.server.is_none()
        };
        match self.table.find(hash, is_same) {
            Some(number) => *number,
            None => {
                let name = overflow(class, &self.plan);
                self.push(hash, class, connection, (None, None), name)
            }
        }
    }

    fn push(
        &mut self,
        hash: u64,
        class: Class,
        connection: Connection,
        (client, server): (Option<Arc<Side>>, Option<Arc<Side>>),
        name: Box<[u8]>,
    ) -> u32 {
        let number = u32::try_from(self.entries.len()).unwrap_or(u32::MAX);
        let is_edge = matches!(class, Class::Fine | Class::Failed);
        let row = EdgeRow::new(is_edge.then_some(&self.plan.durations));
        self.entries.push(Entry { hash, class, connection, client, server, name, row, is_touched: false });
        let entries = &self.entries;
        self.table.insert_unique(hash, number, |number| entries[*number as usize].hash);
        number
    }

    /// Adds what was counted since the last call to `sums`.
    pub fn take_into(&mut self, sums: &mut EdgeSums) {
        for number in self.touched.drain(..) {
            let entry = &mut self.entries[number as usize];
            entry.is_touched = false;
            sums.add(&entry.name, entry.row.take());
        }
    }

    /// A window is over, and all was taken: histograms begin with their finest scale again.
    pub fn begin_window(&mut self) {
        if !self.has_room() {
            // Rows that nobody uses any more make room for others. Not before: a window would have more rows than the bound.
            self.table.clear();
            self.entries.clear();
        }
        for entry in &mut self.entries {
            let is_edge = matches!(entry.class, Class::Fine | Class::Failed);
            entry.row = EdgeRow::new(is_edge.then_some(&self.plan.durations));
        }
    }
}

fn is_same_side(one: Option<&Arc<Side>>, other: Option<&Arc<Side>>) -> bool {
    match (one, other) {
        (Some(one), Some(other)) => Arc::ptr_eq(one, other) || one == other,
        (None, None) => true,
        _ => false,
    }
}

/// Sides have hashes: what is left is to tell apart which is which.
fn edge_hash(class: Class, connection: Connection, client: Option<&Arc<Side>>, server: Option<&Arc<Side>>) -> u64 {
    // The constant is that of Fibonacci hashing: 2^64 over the golden ratio.
    const MIX: u64 = 0x9e37_79b9_7f4a_7c15;
    let of = |side: Option<&Arc<Side>>| side.map_or(0, |side| side.hash);
    let kind = u64::from(class.byte()) << 8 | connection as u64;
    (of(client).rotate_left(21) ^ of(server)).wrapping_mul(MIX).rotate_left(32) ^ kind.wrapping_mul(MIX)
}

#[expect(clippy::cast_precision_loss, reason = "a duration past 104 days is exact to a microsecond")]
fn seconds(nanos: u64) -> f64 {
    nanos as f64 / 1e9
}
