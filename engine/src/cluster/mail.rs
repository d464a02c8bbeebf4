//! Messages to other nodes as they are written: entries for one shard of one node, or rulings for all, until the message is
//! full or has waited.

use std::collections::BTreeMap;
use std::collections::VecDeque;
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

/// A message on its way out.
#[derive(Debug, Clone, Copy)]
pub struct Outgoing<'a> {
    /// To whom; `None` for all.
    pub to: Option<NodeId>,
    /// It tells what follows from verdicts: not before those are durable.
    pub follows_verdicts: bool,
    /// The message.
    pub bytes: &'a [u8],
}

/// The open messages, and full ones that wait.
#[derive(Debug)]
pub struct Mail {
    open: BTreeMap<Recipient, Open>,
    held: BTreeMap<Option<NodeId>, VecDeque<(bool, Vec<u8>)>>,
    bytes_max: usize,
    spare: Vec<Vec<u8>>,
}

impl Mail {
    /// Messages of at most `bytes_max`.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { open: BTreeMap::new(), held: BTreeMap::new(), bytes_max, spare: Vec::new() }
    }

    /// Whether more may be written to a node.
    #[must_use]
    pub fn has_room(&self, to: Option<NodeId>) -> bool {
        self.held.get(&to).is_none_or(|held| held.len() < HELD_MAX)
    }

    /// Writes an entry by `put`, which is given the base of the message; that of a new one is `base`. A message that is too
    /// long with it leaves without it first.
    pub fn write(&mut self, recipient: Recipient, header: Header, base: u64, put: impl Fn(u64, &mut Vec<u8>)) {
        let Self { open, spare, .. } = self;
        let message = open.entry(recipient).or_insert_with(|| Open::new(spare, header, base));
        let length = message.bytes.len();
        put(message.base, &mut message.bytes);
        message.entries += 1;
        if message.bytes.len() <= self.bytes_max || message.entries == 1 {
            return;
        }
        message.bytes.truncate(length);
        let full = std::mem::replace(message, Open::new(spare, header, base));
        put(message.base, &mut message.bytes);
        message.entries = 1;
        self.held.entry(recipient.node).or_default().push_back((recipient.is_ruling, full.bytes));
    }

    /// All open messages are to leave.
    pub fn close(&mut self) {
        while let Some((recipient, open)) = self.open.pop_first() {
            self.held.entry(recipient.node).or_default().push_back((recipient.is_ruling, open.bytes));
        }
    }

    /// Gives `send` what is to leave; where it refuses, the rest for that node waits.
    pub fn leave(&mut self, mut send: impl FnMut(Outgoing<'_>) -> bool) {
        let Self { held, spare, .. } = self;
        held.retain(|to, messages| {
            while let Some((follows_verdicts, bytes)) = messages.front() {
                if !send(Outgoing { to: *to, follows_verdicts: *follows_verdicts, bytes }) {
                    return true;
                }
                if let Some((_, mut bytes)) = messages.pop_front()
                    && spare.len() < HELD_MAX
                {
                    bytes.clear();
                    spare.push(bytes);
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

    /// Whether nothing is to leave.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.open.is_empty() && self.held.is_empty()
    }
}

impl Open {
    fn new(spare: &mut Vec<Vec<u8>>, header: Header, base: u64) -> Self {
        let mut bytes = spare.pop().unwrap_or_default();
        header.put(&mut bytes);
        debug_assert_eq!(bytes.len(), HEADER_BYTES);
        if header.kind == Kind::Evidence {
            bytes.extend_from_slice(&base.to_le_bytes());
        }
        Self { bytes, base, entries: 0 }
    }
}
