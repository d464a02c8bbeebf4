//! What a hub is made with: who it is, and its waits and bounds.

use crate::frame::{HEADER_BYTES, PUSHED_BYTES_MAX};
use std::net::SocketAddr;
use std::time::Duration;
use tailwater_proto::cluster::view::MEMBERS_MAX;
use tailwater_proto::cluster::{Incarnation, NodeId};

/// Bytes of the tags of a node.
/// At the bound: longer ones are refused, and those before stay.
pub const TAGS_BYTES_MAX: usize = 512;
/// Fewest bytes of frames in a datagram: what the longest control frame takes, a report.
const DATAGRAM_BYTES_MIN: usize = 1_100;
/// Bytes of frames in a datagram, whatever is planned: lengths of frames have two bytes.
/// At the bound: more are planned as so many.
const DATAGRAM_BYTES_MAX: usize = 60_000;

/// Who a hub is, and its waits and bounds.
#[derive(Debug, Clone)]
pub struct HubPlan {
    /// Which node.
    pub node: NodeId,
    /// In which run.
    pub incarnation: Incarnation,
    /// Whether it is about to leave: it owns nothing any more.
    pub is_leaving: bool,
    /// Where others reach it.
    pub address: SocketAddr,
    /// How many shards it has.
    pub shards: u16,
    /// Bytes of frames in one datagram: 1,298, so that a sealed one passes any path of today unbroken. At least 1,100.
    pub datagram_bytes_max: usize,
    /// What others may know of this node; at most 512 bytes, longer ones are left out.
    pub tags: Vec<u8>,
    /// How long what is told or said waits for more, 20 ms: a datagram costs the same, however full it is.
    pub gather_wait: Duration,
    /// How long an acknowledgement waits for a datagram to ride on, 20 ms. Less than the least wait to send again.
    pub acknowledge_wait: Duration,
    /// What is not acknowledged after this, or after three round trips, is sent again: 100 ms, doubled each time.
    pub resend_wait: Duration,
    /// Up to this: 1 s.
    pub resend_wait_max: Duration,
    /// A member hears from this node at least this often, 1 s, where there are few members.
    pub report_wait: Duration,
    /// How soon after something was said its number is told once more, 100 ms: the last of a stream may be lost too.
    pub said_wait: Duration,
    /// How often said payloads that did not come are asked for, 100 ms.
    pub pull_wait: Duration,
    /// How long said payloads are remembered for those that missed them, 60 s.
    pub remembered_for: Duration,
    /// Bytes of remembered payloads, 16 MiB. At the bound the oldest go, counted.
    pub remembered_bytes_max: usize,
    /// Bytes a second of said payloads that are given to those that ask, at least, 64 KiB; twice of what is heard where that
    /// is more.
    pub pushed_bytes_min: usize,
    /// How long what was told to a member is kept that is taken for dead, 30 s: it may come back.
    pub linger: Duration,
    /// How often a member is probed, 1 s.
    pub probe_period: Duration,
    /// How long the direct answer to a probe may take before others are asked to probe, 500 ms.
    pub probe_round_trip: Duration,
    /// How long a suspect has to say that it lives, 1.75 s: with the silence before it less than 5 s.
    pub suspicion: Duration,
    /// Live members that a cluster may have.
    pub members_max: usize,
}

impl HubPlan {
    /// A plan with the usual waits and bounds.
    #[must_use]
    pub fn new(node: NodeId, incarnation: Incarnation, address: SocketAddr, shards: u16) -> Self {
        Self {
            node,
            incarnation,
            is_leaving: false,
            address,
            shards,
            datagram_bytes_max: 1_298,
            tags: Vec::new(),
            gather_wait: Duration::from_millis(20),
            acknowledge_wait: Duration::from_millis(20),
            resend_wait: Duration::from_millis(100),
            resend_wait_max: Duration::from_secs(1),
            report_wait: Duration::from_secs(1),
            said_wait: Duration::from_millis(100),
            pull_wait: Duration::from_millis(100),
            remembered_for: Duration::from_secs(60),
            remembered_bytes_max: 16 << 20,
            pushed_bytes_min: 64 << 10,
            linger: Duration::from_secs(30),
            probe_period: Duration::from_secs(1),
            probe_round_trip: Duration::from_millis(500),
            suspicion: Duration::from_millis(1_750),
            members_max: MEMBERS_MAX,
        }
    }

    /// Longest payload that can be told or said.
    #[must_use]
    pub fn payload_bytes_max(&self) -> usize {
        self.datagram_bytes() - HEADER_BYTES - PUSHED_BYTES_MAX
    }

    /// Bytes of frames in a datagram.
    pub(crate) fn datagram_bytes(&self) -> usize {
        self.datagram_bytes_max.clamp(DATAGRAM_BYTES_MIN, DATAGRAM_BYTES_MAX)
    }

    pub(crate) const fn own(&self) -> (NodeId, Incarnation) {
        (self.node, self.incarnation)
    }
}
