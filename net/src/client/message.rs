//! A request body that goes out without being copied: the five bytes of gRPC framing, then the message.

use bytes::{Buf, Bytes};
use std::io::IoSlice;

/// Length of gRPC's frame header: a compression flag and a 32-bit length.
pub(super) const PREFIX_BYTES: usize = 5;

/// An optional gRPC prefix followed by a body.
#[derive(Debug)]
pub(super) struct Message {
    prefix: [u8; PREFIX_BYTES],
    /// bytes of the prefix that are already sent
    sent: usize,
    body: Bytes,
}

impl Message {
    /// A gRPC message; `None` if it is longer than the format can say.
    pub(super) fn grpc(compressed: bool, body: Bytes) -> Option<Self> {
        let length = u32::try_from(body.len()).ok()?.to_be_bytes();
        let prefix = [u8::from(compressed), length[0], length[1], length[2], length[3]];
        Some(Self { prefix, sent: 0, body })
    }

    /// A plain body.
    pub(super) const fn plain(body: Bytes) -> Self {
        Self { prefix: [0; PREFIX_BYTES], sent: PREFIX_BYTES, body }
    }
}

impl Buf for Message {
    fn remaining(&self) -> usize {
        PREFIX_BYTES - self.sent + self.body.len()
    }

    fn chunk(&self) -> &[u8] {
        if self.sent < PREFIX_BYTES { &self.prefix[self.sent..] } else { &self.body }
    }

    fn advance(&mut self, count: usize) {
        let of_prefix = count.min(PREFIX_BYTES - self.sent);
        self.sent += of_prefix;
        self.body.advance(count - of_prefix);
    }

    fn chunks_vectored<'a>(&'a self, slices: &mut [IoSlice<'a>]) -> usize {
        let mut filled = 0;
        for part in [&self.prefix[self.sent..], &self.body[..]] {
            if let (false, Some(slice)) = (part.is_empty(), slices.get_mut(filled)) {
                *slice = IoSlice::new(part);
                filled += 1;
            }
        }
        filled
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_message_reads_the_same_however_it_is_consumed() {
        let make = || Message::grpc(true, Bytes::from_static(b"body")).unwrap();
        let expected = b"\x01\0\0\0\x04body";
        assert_eq!(make().copy_to_bytes(9), &expected[..]);
        for cut in 0..=9 {
            let mut message = make();
            message.advance(cut);
            assert_eq!(message.remaining(), 9 - cut);
            let mut slices = [IoSlice::new(&[]), IoSlice::new(&[])];
            let count = message.chunks_vectored(&mut slices);
            let joined: Vec<u8> = slices[..count].iter().flat_map(|slice| slice.to_vec()).collect();
            assert_eq!(joined, expected[cut..]);
        }
        assert_eq!(Message::plain(Bytes::from_static(b"x")).chunk(), b"x");
    }
}
