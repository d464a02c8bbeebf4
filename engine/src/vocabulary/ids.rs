//! What names a trace, a shard and a status.

/// The 16 bytes that name a trace.
pub type TraceId = [u8; 16];

/// A shard of this node, counted from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardIndex(pub u16);

/// Bit set of the status codes seen in a trace: bit 0 unset, bit 1 ok, bit 2 error. Other codes set none.
pub type StatusMask = u8;
