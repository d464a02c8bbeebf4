//! The greeting: which versions of the wire a node speaks, where it is, and its tags.

use serde::{Deserialize, Serialize};
use std::net::SocketAddr;

/// Oldest version of the wire that is understood.
pub const VERSION_LOWEST: u16 = 1;
/// The version of the wire that is spoken. A later one may add kinds of frames, and fields at the end of those written by
/// postcard: both are passed over by who does not know them.
pub const VERSION_HIGHEST: u16 = 1;

/// A greeting, without who greets, which the seal of the datagram says.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Hello<'a> {
    /// Oldest version that the sender understands.
    pub lowest: u16,
    /// Newest version that it speaks.
    pub highest: u16,
    /// Whether it wants to be greeted too.
    pub asks: bool,
    /// Whether it is about to leave, and owns nothing any more.
    pub is_leaving: bool,
    /// How many shards it has.
    pub shards: u16,
    /// Where it is reached.
    pub address: SocketAddr,
    /// Counts its changes of tags.
    pub number: u32,
    /// What others may know of it.
    pub tags: &'a [u8],
}

impl Hello<'_> {
    /// Whether there is a version that both speak.
    pub const fn is_understood(&self) -> bool {
        self.lowest <= VERSION_HIGHEST && VERSION_LOWEST <= self.highest
    }
}
