//! What one write of a segment takes to the disk: records, of which the large bodies are not copied but held as they came
//! from their senders. They are copied once, into the memory that the disk reads from.
//!
//! ```text
//! framing  | header, fields | header, fields, small body, padding | header, fields | padding |
//! bodies                    ^ large body                                           ^ large body
//! ```

use super::format::BLOCK_BYTES;
use bytes::Bytes;

/// Shorter bodies are copied into the framing: holding one takes longer than that.
pub const HELD_BODY_BYTES_MIN: usize = 1 << 10;

/// A body that stands between two parts of the framing.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Held {
    /// Where in the framing it stands.
    at: usize,
    /// Where it ends in the flush.
    end: usize,
    body: Bytes,
}

/// The bytes of a flush.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Flush {
    framing: Vec<u8>,
    bodies: Vec<Held>,
    bodies_bytes: usize,
}

impl Flush {
    /// Bytes that it takes to the disk.
    #[must_use]
    pub fn len(&self) -> usize {
        self.framing.len() + self.bodies_bytes
    }

    /// Whether nothing is in it.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.framing.is_empty()
    }

    /// Where records are put together: whatever is added stands behind all that is there. It is empty for the first record
    /// of the flush.
    pub fn framing(&mut self) -> &mut Vec<u8> {
        &mut self.framing
    }

    /// Adds a body behind what is there.
    pub fn hold(&mut self, body: Bytes) {
        self.bodies_bytes += body.len();
        self.bodies.push(Held { at: self.framing.len(), end: self.len(), body });
    }

    /// Fills up the last block with zeros.
    pub fn pad_to_block(&mut self) {
        let zeros = self.len().next_multiple_of(BLOCK_BYTES) - self.len();
        self.framing.resize(self.framing.len() + zeros, 0);
    }

    /// Fills `into` with what stands `from` bytes from the start. What is past the end is left as it is.
    pub fn copy_to(&self, mut from: usize, mut into: &mut [u8]) {
        let mut next = self.bodies.partition_point(|held| held.end <= from);
        while !into.is_empty() {
            let part = self.part(next, from);
            if part.is_empty() && next == self.bodies.len() {
                return;
            }
            let (now, later) = into.split_at_mut(part.len().min(into.len()));
            now.copy_from_slice(&part[..now.len()]);
            from += now.len();
            into = later;
            next += usize::from(self.bodies.get(next).is_some_and(|held| held.end <= from));
        }
    }

    /// What stands in one place in memory, `from` bytes from the start; the first body that ends behind that is `next`.
    fn part(&self, next: usize, from: usize) -> &[u8] {
        let held = self.bodies.get(next);
        if let Some(Held { end, body, .. }) = held
            && let Some(within) = (from + body.len()).checked_sub(*end)
        {
            return &body[within..];
        }
        let before = next.checked_sub(1).and_then(|last| self.bodies.get(last));
        let start = before.map_or(from, |last| last.at + from - last.end);
        let end = held.map_or(self.framing.len(), |held| held.at);
        &self.framing[start.min(end)..end]
    }

    /// All of it in one place, for who simulates a disk.
    #[must_use]
    pub fn to_vec(&self) -> Vec<u8> {
        let mut bytes = vec![0; self.len()];
        self.copy_to(0, &mut bytes);
        bytes
    }

    /// Forgets all, but for memory that is worth keeping.
    pub fn clear(&mut self) {
        self.framing.clear();
        self.bodies.clear();
        self.bodies_bytes = 0;
    }

    /// Bytes of memory that it keeps when it is empty.
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.framing.capacity() + self.bodies.capacity() * size_of::<Held>()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// With a place of a body that is off by one, or a part that is taken twice, the bytes are others.
    #[test]
    fn every_part_is_copied_from_every_place() {
        let (mut flush, mut expected) = (Flush::default(), Vec::new());
        let bytes =
            |seed: usize, length: usize| -> Vec<u8> { (0..length).map(|at| (seed * 37 + at * 11) as u8).collect() };
        for (seed, (framing, body)) in [(5, 0), (3, 9), (0, 4), (0, 1), (7, 0), (1, 30)].into_iter().enumerate() {
            flush.framing().extend(bytes(seed, framing));
            expected.extend(bytes(seed, framing));
            if body > 0 {
                flush.hold(Bytes::from(bytes(seed + 100, body)));
                expected.extend(bytes(seed + 100, body));
            }
        }
        assert_eq!((flush.len(), flush.to_vec()), (expected.len(), expected.clone()));
        for from in 0..expected.len() {
            for length in 0..=expected.len() - from {
                let mut into = vec![0xee; length];
                flush.copy_to(from, &mut into);
                assert_eq!(into, expected[from..from + length], "{length} bytes from {from}");
            }
        }
        flush.pad_to_block();
        expected.resize(BLOCK_BYTES, 0);
        assert_eq!(flush.to_vec(), expected);
        flush.clear();
        assert!(flush.is_empty() && flush.to_vec().is_empty());
    }
}
