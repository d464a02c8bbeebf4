//! The seam to the world: what a hub asks of whoever runs it.

use std::net::SocketAddr;
use std::sync::Arc;
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};

/// Passed to each call that needs it, never stored.
pub trait Wire {
    /// Sends frames to an address. `to` is who is known to be there, `None` where nobody is. Best effort.
    fn send(&mut self, address: SocketAddr, to: Option<(NodeId, Incarnation)>, frames: &[u8]);

    /// Gives a payload that `from` told to this node or said to all. False: there is no room for it now; it is then not
    /// acknowledged and comes again: one that was told until its sender is gone, one that was said while it is remembered. A
    /// payload that was taken does not come again from the same run of its sender. In no
    /// order.
    fn deliver(&mut self, from: (NodeId, Incarnation), payload: &[u8]) -> bool;

    /// The wall clock, milliseconds since 1970: for who asks. Nothing here goes by it.
    fn unix_ms(&self) -> u64;

    /// Membership has changed.
    fn view(&mut self, view: &Arc<View>);
}
