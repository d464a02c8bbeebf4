//! What nodes of a cluster send one another, sealed: who sent it, that nobody changed it, and that it comes once.
//!
//! ```text
//! offset  bytes
//!      0      1  bits 0-6: version, 1; bit 7: bound, the sender meant one run of one node
//!      1      1  number of the join key, which follows from it; 0: plain text
//!      2      8  sender, a node
//!     10      8  its incarnation
//!     18      8  counter, from 1 on, never twice in a run
//!     26      n  frames, under AES-256-GCM
//!   26+n     16  tag; in plain text there is none
//! ```
//! Numbers are little-endian. Keys, nonce and what else the tag covers are in `docs/format-gossip-sealing.md`. What the
//! frames say is not known here.
//!
//! A [`seal::Sealer`] writes them, an [`open::Opener`] reads them, both from a [`keyring::Keyring`]. Nothing here answers
//! anything: what does not open is counted by its reason and forgotten.

pub mod keyring;
pub mod open;
mod replay;
pub mod seal;
#[cfg(test)]
mod tests;

use tailwater_proto::cluster::{Incarnation, NodeId};

pub use keyring::{Keyring, KeyringError};
pub use open::{Opened, Opener, Refusal};
pub use seal::{SealError, Sealer};

/// A node and which of its runs.
pub type Run = (NodeId, Incarnation);

/// Bytes before the frames.
pub const HEADER_BYTES: usize = 26;
/// Bytes behind them.
pub const TAG_BYTES: usize = 16;
/// What sealing adds to frames.
pub const OVERHEAD_BYTES: usize = HEADER_BYTES + TAG_BYTES;

/// What the tag covers besides the frames: the header, and the run that the datagram is for.
const COVERED_BYTES: usize = HEADER_BYTES + 16;
const VERSION: u8 = 1;
const BOUND: u8 = 0x80;
/// The number that stands for no key.
const PLAINTEXT: u8 = 0;

/// What stands before the frames.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Header {
    is_bound: bool,
    key_number: u8,
    sender: NodeId,
    incarnation: Incarnation,
    counter: u64,
}

impl Header {
    fn encode(&self) -> [u8; HEADER_BYTES] {
        let mut bytes = [0; HEADER_BYTES];
        bytes[0] = if self.is_bound { VERSION | BOUND } else { VERSION };
        bytes[1] = self.key_number;
        bytes[2..10].copy_from_slice(&self.sender.0.to_le_bytes());
        bytes[10..18].copy_from_slice(&self.incarnation.0.to_le_bytes());
        bytes[18..].copy_from_slice(&self.counter.to_le_bytes());
        bytes
    }

    fn decode(datagram: &[u8]) -> Result<Self, Refusal> {
        let (header, _) = datagram.split_first_chunk::<HEADER_BYTES>().ok_or(Refusal::TooShort)?;
        if header[0] & !BOUND != VERSION {
            return Err(Refusal::Version);
        }
        let number = |at: usize| {
            let mut bytes = [0; 8];
            bytes.copy_from_slice(&header[at..at + 8]);
            u64::from_le_bytes(bytes)
        };
        Ok(Self {
            is_bound: header[0] & BOUND != 0,
            key_number: header[1],
            sender: NodeId(number(2)),
            incarnation: Incarnation(number(10)),
            counter: number(18),
        })
    }

    /// The header as it stands in the datagram, and the run that it is bound to; zeros where it is bound to none.
    fn covered(&self, receiver: Run) -> [u8; COVERED_BYTES] {
        let (node, incarnation) = if self.is_bound { receiver } else { (NodeId(0), Incarnation(0)) };
        let mut bytes = [0; COVERED_BYTES];
        bytes[..HEADER_BYTES].copy_from_slice(&self.encode());
        bytes[HEADER_BYTES..HEADER_BYTES + 8].copy_from_slice(&node.0.to_le_bytes());
        bytes[HEADER_BYTES + 8..].copy_from_slice(&incarnation.0.to_le_bytes());
        bytes
    }

    /// The counter with zeros before it. A key is of one run, in which no counter comes twice.
    fn nonce(&self) -> ring::aead::Nonce {
        let mut bytes = [0; ring::aead::NONCE_LEN];
        bytes[4..].copy_from_slice(&self.counter.to_le_bytes());
        ring::aead::Nonce::assume_unique_for_key(bytes)
    }
}
