//! Messages to other nodes as they are written: entries for one shard of one node, or rulings for all, until the message is
//! full or has waited.

use crate::vocabulary::Said;
use hashbrown::HashTable;
use std::collections::{BTreeMap, VecDeque};
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::message::{HEADER_BYTES, Header, Kind};

/// Full messages to a node that wait for room on the way.
/// At the bound: traces stay untold until there is room, counted in `tailwater_cluster_evidence_held_back_total`; rulings are
/// not told, and who misses one asks, counted in `tailwater_cluster_rulings_held_back_total`.
const HELD_MAX: usize = 256;

/// Bytes that a message has room for when it is begun: many have few entries.
const BYTES_AT_FIRST: usize = 256;

/// Open messages that are looked through one after the other; more are found by their hashes.
const SCANNED_MAX: usize = 8;

/// Where a message goes: one shard of a node, or of all nodes with so many shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Recipient {
    /// What it is told.
    pub kind: Kind,
    /// Which of its shards.
    pub shard: u16,
    /// How many it has.
    pub shards: u16,
    /// The node; `None` for all.
    pub node: Option<NodeId>,
    /// Of the rules that the entries were made under.
    pub fingerprint: u64,
}

#[derive(Debug)]
struct Open {
    recipient: Recipient,
    bytes: Vec<u8>,
    base: u64,
    entries: u32,
}

/// The open messages, and full ones that wait.
#[derive(Debug)]
pub struct Mail {
    pipeline: u64,
    /// In the order in which they were begun, each found by its recipient.
    open: Vec<Open>,
    by_recipient: HashTable<u32>,
    held: BTreeMap<Option<NodeId>, VecDeque<Said>>,
    /// Nodes to which `HELD_MAX` messages or more wait.
    full: usize,
    bytes_max: usize,
}

impl Mail {
    /// Messages of at most `bytes_max`, on the traces of this pipeline.
    #[must_use]
    pub fn new(pipeline: u64, bytes_max: usize) -> Self {
        let (open, by_recipient) = (Vec::new(), HashTable::new());
        Self { pipeline, open, by_recipient, held: BTreeMap::new(), full: 0, bytes_max }
    }

    /// Whether more may be written to a node.
    #[inline]
    #[must_use]
    pub fn has_room(&self, to: Option<NodeId>) -> bool {
        self.full == 0 || self.held.get(&to).is_none_or(|held| held.len() < HELD_MAX)
    }

    /// Writes an entry by `put`, which is given the base of the message; that of a new one is `base`. A message that is too
    /// long with it leaves without it first.
    #[inline]
    pub fn write(&mut self, recipient: Recipient, base: u64, put: impl Fn(u64, &mut Vec<u8>)) {
        let at = self.find_or_open(recipient, base);
        let message = &mut self.open[at];
        let length = message.bytes.len();
        put(message.base, &mut message.bytes);
        message.entries += 1;
        if message.bytes.len() <= self.bytes_max || message.entries == 1 {
            return;
        }
        message.bytes.truncate(length);
        let full = std::mem::replace(message, Open::new(self.pipeline, recipient, base));
        put(message.base, &mut message.bytes);
        message.entries = 1;
        self.hold(full);
    }

    #[inline]
    fn find_or_open(&mut self, recipient: Recipient, base: u64) -> usize {
        let open = &self.open;
        let found = if open.len() <= SCANNED_MAX {
            open.iter().position(|message| message.recipient == recipient)
        } else {
            let is_it = |at: &u32| open[*at as usize].recipient == recipient;
            self.by_recipient.find(recipient.hash(), is_it).map(|at| *at as usize)
        };
        found.unwrap_or_else(|| self.begin(recipient, base))
    }

    #[cold]
    fn begin(&mut self, recipient: Recipient, base: u64) -> usize {
        let at = self.open.len();
        self.open.push(Open::new(self.pipeline, recipient, base));
        let open = &self.open;
        let hash = |at: &u32| open[*at as usize].recipient.hash();
        self.by_recipient.insert_unique(recipient.hash(), u32::try_from(at).unwrap_or(u32::MAX), hash);
        at
    }

    fn hold(&mut self, message: Open) {
        let held = self.held.entry(message.recipient.node).or_default();
        held.push_back(message.said());
        self.full += usize::from(held.len() == HELD_MAX);
    }

    /// All open messages are to leave.
    pub fn close(&mut self) {
        self.by_recipient.clear();
        for message in std::mem::take(&mut self.open) {
            self.hold(message);
        }
    }

    /// Gives `send` what is to leave; where it refuses, the rest for that node waits.
    pub fn leave(&mut self, mut send: impl FnMut(Said) -> Result<(), Said>) {
        self.held.retain(|_, messages| {
            while let Some(said) = messages.pop_front() {
                if let Err(back) = send(said) {
                    messages.push_front(back);
                    return true;
                }
            }
            false
        });
        self.count_full();
    }

    /// What waits for nodes that are gone.
    pub fn forget(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.close();
        self.held.retain(|to, _| to.is_none_or(&is_member));
        self.count_full();
    }

    fn count_full(&mut self) {
        self.full = self.held.values().filter(|held| held.len() >= HELD_MAX).count();
    }
}

impl Recipient {
    fn hash(&self) -> u64 {
        let Self { node, shards, shard, fingerprint, kind } = *self;
        let place = u64::from(shards) << 32 | u64::from(shard) << 16 | u64::from(kind == Kind::Rulings);
        let mixed = node.map_or(0, |node| node.0) ^ fingerprint.rotate_left(32);
        (mixed ^ place).wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(26)
    }
}

impl Open {
    fn new(pipeline: u64, recipient: Recipient, base: u64) -> Self {
        let Recipient { shards, shard, fingerprint, kind, .. } = recipient;
        let mut bytes = Vec::with_capacity(BYTES_AT_FIRST);
        Header { kind, pipeline, fingerprint, shards, shard }.put(&mut bytes);
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        if kind == Kind::Evidence {
            bytes.extend_from_slice(&base.to_le_bytes());
        }
        Self { recipient, bytes, base, entries: 0 }
    }

    fn said(self) -> Said {
        let Recipient { node, kind, .. } = self.recipient;
        Said { to: node, follows_verdicts: kind == Kind::Rulings, bytes: self.bytes }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn recipient(node: u64, shard: u16, kind: Kind) -> Recipient {
        Recipient { node: Some(NodeId(node)), shards: 4, shard, fingerprint: 9, kind }
    }

    fn left(mail: &mut Mail) -> Vec<(u64, Vec<u8>)> {
        mail.close();
        let mut left = Vec::new();
        mail.leave(|said| {
            let entries = said.bytes[HEADER_BYTES + if said.follows_verdicts { 0 } else { 8 }..].to_vec();
            left.push((said.to.map_or(0, |node| node.0), entries));
            Ok(())
        });
        left
    }

    /// Without a message of its own for each shard and kind, a shard would be given what is another's.
    #[test]
    fn entries_of_one_recipient_travel_together_and_in_their_order() {
        let mut mail = Mail::new(1, 64);
        for (number, to) in [(1, recipient(2, 0, Kind::Evidence)), (2, recipient(3, 0, Kind::Evidence))] {
            mail.write(to, 7, |_, out| out.push(number));
            mail.write(recipient(2, 1, Kind::Evidence), 7, |_, out| out.push(10 + number));
            mail.write(recipient(2, 0, Kind::Rulings), 7, |_, out| out.push(20 + number));
        }
        assert_eq!(left(&mut mail), [(2, vec![1]), (2, vec![11, 12]), (2, vec![21, 22]), (3, vec![2])]);
    }

    #[test]
    fn a_message_that_would_be_too_long_leaves_without_the_entry() {
        let mut mail = Mail::new(1, HEADER_BYTES + 8 + 10);
        (0..3).for_each(|number| mail.write(recipient(2, 0, Kind::Evidence), 7, |_, out| out.extend([number; 5])));
        assert_eq!(left(&mut mail).iter().map(|(_, bytes)| bytes.len()).collect::<Vec<_>>(), [10, 5]);
    }

    /// Those that are looked through, and those that are found by their hashes, are the same messages.
    #[test]
    fn many_recipients_have_a_message_each() {
        let mut mail = Mail::new(1, 64);
        let shards = 3 * u16::try_from(SCANNED_MAX).unwrap();
        for round in 0..2 {
            (0..shards).for_each(|shard| mail.write(recipient(2, shard, Kind::Evidence), 7, |_, out| out.push(round)));
        }
        let left = left(&mut mail);
        assert_eq!(left.len(), usize::from(shards));
        assert!(left.iter().all(|(_, entries)| entries == &[0, 1]));
    }

    /// `full` says whether anyone is to be looked up at all: a wrong count would let a node's messages grow without bound.
    #[test]
    fn a_node_that_takes_nothing_has_no_room_until_it_does() {
        let mut mail = Mail::new(1, 64);
        for _ in 0..HELD_MAX {
            mail.write(recipient(2, 0, Kind::Evidence), 7, |_, out| out.push(1));
            mail.close();
        }
        assert!(!mail.has_room(Some(NodeId(2))) && mail.has_room(Some(NodeId(3))));
        let mut taken = 0;
        mail.leave(|said| {
            taken += 1;
            if taken == 2 { Err(said) } else { Ok(()) }
        });
        assert!(mail.has_room(Some(NodeId(2))));
        mail.forget(|_| false);
        assert!(left(&mut mail).is_empty());
    }
}
