//! What the nodes of a cluster must agree on: who they are, who owns a trace, and what they tell one another of traces.
//!
//! ```text
//! message  = kind:1 pipeline:8 fingerprint:8 shards:2 shard:2 entry*       kind 1 evidence, 2 rulings, 5 memories, 6 load
//! memory   = hash:8                           asks for a trace that the receiver, or who is gone, may have judged
//! load     = shed_level:1 shed_lately:1 demand*    how much the sender wants to be shed, and the most that it heard of which
//!                                             traces under way may feel; varints: what wanted to pass each limit in the last
//!                                             second; shards and shard are 0
//! ```
//! Numbers of fixed width are little-endian, others are varints as protobuf has them. A message fits into one datagram. Its
//! entries are all of one shard of a node with so many shards: a node with as many gives them to that shard unread. Kinds 3 and
//! 4 are of whole nodes, see `question.rs`. A kind that a node does not know is passed over and counted.

pub mod evidence;
pub mod message;
pub mod question;
pub mod ruling;
pub mod view;

/// A node, the same as long as its data directory is. Drawn at random when that is made.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl std::fmt::Display for NodeId {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "{:016x}", self.0)
    }
}

/// One run of a node's process: a later run has a greater one.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Incarnation(pub u64);
