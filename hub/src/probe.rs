//! Probes: somebody who is no member asks a node how large a datagram may be, what time it is there and which versions it speaks.
//! A probe is filled up to the size that is tried, and its answer is as long, so that nobody gets more than was sent.

use crate::frame::{Frame, Frames, PROBE_BYTES_MIN, put_probe};

pub use crate::frame::Echo;

/// The frames of a probe, of so many bytes, at least those that its answer takes.
#[must_use]
pub fn probe(number: u64, bytes: usize) -> Vec<u8> {
    let mut frames = Vec::new();
    put_probe(&mut frames, number, bytes.max(PROBE_BYTES_MIN));
    frames
}

/// The answer in a datagram, if there is one.
#[must_use]
pub fn echo(frames: &[u8]) -> Option<Echo> {
    Frames::new(frames).find_map(|frame| match frame {
        Ok(Frame::Echo(echo)) => Some(echo),
        _ => None,
    })
}
