//! What a node of a later version of the wire sends, as [format-gossip.md](../../../docs/format-gossip.md) allows it: a greeting
//! that says that it speaks more, fields behind those that are known, frames and payloads of kinds that nobody knows yet.

use super::cluster::DATAGRAM_BYTES_MAX;
use fastrand::Rng;

/// Kinds that no node of today knows.
const FRAME_KIND: u8 = 200;
const PAYLOAD_KIND: u8 = 201;
/// Kinds of frames that may have more fields.
const GREETING: u8 = 1;
const WITH_MORE: [u8; 4] = [GREETING, 3, 4, 7];
/// Where a greeting says the highest version that its sender speaks, behind the lowest.
const HIGHEST_AT: usize = 1;
/// Bytes of a frame before its content: kind and length.
const HEADER_BYTES: usize = 3;

/// The frames of a datagram as a later version would send them, as far as there is room.
pub fn frames(frames: &[u8], random: &mut Rng) -> Vec<u8> {
    let mut out = Vec::new();
    let mut rest = frames;
    while let [kind, low, high, behind @ ..] = rest {
        let (content, next) = behind.split_at(usize::from(u16::from_le_bytes([*low, *high])));
        rest = next;
        let mut content = content.to_vec();
        if *kind == GREETING {
            content[HIGHEST_AT] += 1;
        }
        let more = random.usize(0..9);
        let room = DATAGRAM_BYTES_MAX - (out.len() + HEADER_BYTES + content.len() + rest.len());
        if WITH_MORE.contains(kind) && more <= room {
            content.extend((0..more).map(|_| random.u8(..)));
        }
        put(&mut out, *kind, &content);
        if random.bool() && out.len() + rest.len() + 2 * HEADER_BYTES <= DATAGRAM_BYTES_MAX {
            put(&mut out, FRAME_KIND, &[random.u8(..); HEADER_BYTES]);
        }
    }
    out
}

/// A payload that a later version would say to all.
pub fn payload(random: &mut Rng) -> Vec<u8> {
    let mut payload = vec![PAYLOAD_KIND];
    payload.extend((0..random.usize(0..100)).map(|_| random.u8(..)));
    payload
}

fn put(out: &mut Vec<u8>, kind: u8, content: &[u8]) {
    out.push(kind);
    out.extend_from_slice(&u16::try_from(content.len()).unwrap().to_le_bytes());
    out.extend_from_slice(content);
}
