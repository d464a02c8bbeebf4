//! Messages to other nodes as they are written: entries for one shard of one node, or rulings for all, until the message is
//! full or has waited.

use crate::vocabulary::Said;
use std::collections::{BTreeMap, VecDeque};
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::message::{HEADER_BYTES, Header, Kind};

/// Full messages to a node that wait for room on the way.
/// At the bound: traces stay untold until there is room, counted in `tailwater_cluster_evidence_held_back_total`; rulings are
/// not told, and who misses one asks, counted in `tailwater_cluster_rulings_held_back_total`.
const HELD_MAX: usize = 256;

/// Where a message goes: one shard of a node, or of all nodes with so many shards.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Recipient {
    /// The node; `None` for all.
    pub node: Option<NodeId>,
    /// How many shards it has.
    pub shards: u16,
    /// Which of them.
    pub shard: u16,
    /// Of the rules that the entries were made under.
    pub fingerprint: u64,
    /// Whether it is told what came of traces, or what is known of them.
    pub is_ruling: bool,
}

#[derive(Debug)]
struct Open {
    bytes: Vec<u8>,
    base: u64,
    entries: u32,
}

/// The open messages, and full ones that wait.
#[derive(Debug)]
pub struct Mail {
    open: BTreeMap<Recipient, Open>,
    held: BTreeMap<Option<NodeId>, VecDeque<Said>>,
    bytes_max: usize,
}

impl Mail {
    /// Messages of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { open: BTreeMap::new(), held: BTreeMap::new(), bytes_max }
    }

    /// Whether more may be written to a node.
    #[must_use]
    pub fn has_room(&self, to: Option<NodeId>) -> bool {
        self.held.get(&to).is_none_or(|held| held.len() < HELD_MAX)
    }

    /// Writes an entry by `put`, which is given the base of the message; that of a new one is `base`. A message that is too
    /// long with it leaves without it first.
    pub fn write(&mut self, recipient: Recipient, header: Header, base: u64, put: impl Fn(u64, &mut Vec<u8>)) {
        let message = self.open.entry(recipient).or_insert_with(|| Open::new(header, base));
        let length = message.bytes.len();
        put(message.base, &mut message.bytes);
        message.entries += 1;
        if message.bytes.len() <= self.bytes_max || message.entries == 1 {
            return;
        }
        message.bytes.truncate(length);
        let full = std::mem::replace(message, Open::new(header, base));
        put(message.base, &mut message.bytes);
        message.entries = 1;
        self.held.entry(recipient.node).or_default().push_back(recipient.said(full));
    }

    /// All open messages are to leave.
    pub fn close(&mut self) {
        while let Some((recipient, open)) = self.open.pop_first() {
            self.held.entry(recipient.node).or_default().push_back(recipient.said(open));
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
    }

    /// What waits for nodes that are gone.
    pub fn forget(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.held.retain(|to, _| to.is_none_or(&is_member));
        self.open.retain(|recipient, _| recipient.node.is_none_or(&is_member));
    }
}

impl Recipient {
    fn said(self, open: Open) -> Said {
        Said { to: self.node, follows_verdicts: self.is_ruling, bytes: open.bytes }
    }
}

impl Open {
    fn new(header: Header, base: u64) -> Self {
        let mut bytes = Vec::new();
        header.put(&mut bytes);
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        if header.kind == Kind::Evidence {
            bytes.extend_from_slice(&base.to_le_bytes());
        }
        Self { bytes, base, entries: 0 }
    }
}
