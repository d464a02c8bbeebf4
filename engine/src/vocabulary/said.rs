//! What is said to other nodes of a cluster.

use tailwater_proto::cluster::NodeId;

/// A message to other nodes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Said {
    /// To whom; `None` for all.
    pub to: Option<NodeId>,
    /// It tells what follows from verdicts: not before those are durable.
    pub follows_verdicts: bool,
    /// The message.
    pub bytes: Vec<u8>,
}
