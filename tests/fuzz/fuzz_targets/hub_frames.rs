//! Datagrams of a cluster: whatever a member or a stranger sends, the hub that hears it does not panic, sends no datagram
//! longer than it may, but for the echo of a longer probe, and answers a datagram with a bounded number.
//!
//! ```text
//! input = (who:1 milliseconds:2 length:2 frames:length)*       who = incarnation:4 tick:1 reserved:1 node:2
//! ```
#![no_main]

use libfuzzer_sys::fuzz_target;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;
use tailwater_hub::{Hub, HubPlan, Wire};
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};

type Run = (NodeId, Incarnation);

/// Keeps what is sent; has no room now and then.
#[derive(Default)]
struct Sink {
    sent: Vec<Vec<u8>>,
    delivered: usize,
    /// Bytes of the datagram that is heard.
    heard: usize,
}

impl Wire for Sink {
    fn send(&mut self, _: SocketAddr, _: Option<Run>, frames: &[u8]) {
        // The echo of a probe is as long as that.
        assert!(frames.len() <= self.heard.max(1_298), "a datagram of {} bytes", frames.len());
        self.sent.push(frames.to_vec());
    }

    fn deliver(&mut self, _: Run, _: &[u8]) -> bool {
        self.delivered += 1;
        !self.delivered.is_multiple_of(7)
    }

    fn unix_ms(&self) -> u64 {
        1
    }

    fn view(&mut self, _: &Arc<View>) {}
}

fn hub(node: u64) -> Hub {
    Hub::new(HubPlan::new(NodeId(node), Incarnation(1), address(node), 1), node)
}

fn address(node: u64) -> SocketAddr {
    ([10, 0, 0, node.to_le_bytes()[0]], 7).into()
}

/// A hub with a live member, node 2.
fn with_member(now: Duration) -> (Hub, Sink) {
    let (mut one, mut other) = (hub(1), hub(2));
    let (mut from_one, mut from_other) = (Sink::default(), Sink::default());
    one.announce(now, address(2), &mut from_one);
    for _ in 0..8 {
        for frames in std::mem::take(&mut from_one.sent) {
            other.hear(now, address(1), (NodeId(1), Incarnation(1)), &frames, &mut from_other);
        }
        for frames in std::mem::take(&mut from_other.sent) {
            one.hear(now, address(2), (NodeId(2), Incarnation(1)), &frames, &mut from_one);
        }
    }
    assert_eq!(one.view().members().len(), 2);
    (one, from_one)
}

/// The next datagram of the input: who sends it, milliseconds since the one before, its frames.
fn next<'a>(input: &mut &'a [u8]) -> Option<(u8, u16, &'a [u8])> {
    let ([who, a, b, c, d], rest) = input.split_first_chunk()?;
    let length = usize::from(u16::from_le_bytes([*c, *d])).min(rest.len());
    let (frames, rest) = rest.split_at(length);
    *input = rest;
    Some((*who, u16::from_le_bytes([*a, *b]), frames))
}

fuzz_target!(|input: &[u8]| {
    let mut input = input;
    let mut now = Duration::from_secs(1);
    let (mut hub, mut sink) = with_member(now);
    hub.say(now, b"said", &mut sink);
    hub.tell(now, NodeId(2), b"told", &mut sink);
    while let Some((who, millis, frames)) = next(&mut input) {
        now += Duration::from_millis(u64::from(millis % 4_096));
        let node = u64::from(who % 4);
        sink.sent.clear();
        sink.heard = frames.len();
        hub.hear(now, address(node), (NodeId(node), Incarnation(u64::from(who >> 4))), frames, &mut sink);
        // A frame of membership may have this node come back from the dead, and say so to some; a pull is given some.
        assert!(sink.sent.len() <= 16 * (frames.len() / 3 + 1) + (64 << 10) / 100, "{} answers", sink.sent.len());
        sink.heard = 0;
        if who & 8 != 0 {
            let due = hub.tick(now, &mut sink);
            assert!(due >= now && due <= now + Duration::from_secs(1));
        }
    }
});
