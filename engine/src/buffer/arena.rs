//! Span bytes in chunks. A chunk is filled front to back, never written again, and given back whole when the
//! last span in it is released; traces are judged roughly in order of arrival, so chunks empty in that order.
//!
//! ```text
//! chunk     fragment*
//! fragment  older fragment of the same trace: chunk u32, offset u32 | scope u32 | length u32
//!           | segment u32, unit u32: its place in the log | Span message
//! ```
//! Integers are little-endian. A span larger than half a chunk gets a chunk of its own, just as large.

use super::envelope::{EnvelopeTable, ScopeHandle};
use crate::vocabulary::{SegmentHandle, Unit};
use thiserror::Error;

/// The arena holds all it may. Nothing was changed; decide a trace early and try again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("the arena is full")]
pub struct ArenaFull;

/// Where a fragment lies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Reference {
    chunk: u32,
    offset: u32,
}

impl Reference {
    /// No fragment: the end of a trace's list.
    pub const NONE: Self = Self { chunk: u32::MAX, offset: u32::MAX };

    /// True for `NONE`.
    #[inline]
    #[must_use]
    pub fn is_none(self) -> bool {
        self.chunk == u32::MAX
    }

    /// The fragment of that number in the cold table.
    #[must_use]
    pub const fn cold(number: u32) -> Self {
        Self { chunk: COLD, offset: number }
    }

    /// True when the fragment is in the cold table and not in the arena.
    #[inline]
    #[must_use]
    pub fn is_cold(self) -> bool {
        self.chunk == COLD
    }

    /// Its number in the cold table.
    #[inline]
    #[must_use]
    pub fn cold_number(self) -> u32 {
        self.offset
    }
}

/// In place of a chunk's number: the fragment is in the cold table.
const COLD: u32 = u32::MAX - 1;

/// A fragment as read back.
#[derive(Debug, Clone, Copy)]
pub struct Fragment<'a> {
    /// The scope, and with it the resource, of the span.
    pub scope: ScopeHandle,
    /// The span's place in the log.
    pub unit: Unit,
    /// The `Span` message.
    pub bytes: &'a [u8],
}

/// Bytes before the span's own.
pub const HEADER_BYTES: usize = 24;
/// Emptied chunks kept for the next spans: so many, or an eighth of those in use if that is more. The rest is given back
/// to the allocator. Memory that comes fresh from the kernel costs more than all that is done with a span.
const SPARE_CHUNKS_MIN: usize = 8;
const SPARE_SHARE: usize = 8;

#[derive(Debug, Default)]
struct Chunk {
    data: Vec<u8>,
    /// Fragments not yet released.
    live: u32,
    /// Scopes held on behalf of the fragments, each once.
    scopes: Vec<ScopeHandle>,
}

/// The chunks.
#[derive(Debug)]
pub struct Arena {
    chunks: Vec<Chunk>,
    /// Chunks without memory, to be used again.
    vacant: Vec<u32>,
    /// Memory of emptied chunks.
    spare: Vec<Vec<u8>>,
    /// The chunk being filled.
    current: Option<u32>,
    /// Changes whenever another chunk is opened: tells which scopes the current chunk holds already.
    epoch: u32,
    chunk_bytes: usize,
    bytes_max: usize,
    bytes: usize,
}

impl Arena {
    /// An arena of at most `bytes_max` bytes in chunks of `chunk_bytes`.
    #[must_use]
    pub fn new(bytes_max: usize, chunk_bytes: usize) -> Self {
        Self {
            chunks: Vec::new(),
            vacant: Vec::new(),
            spare: Vec::new(),
            current: None,
            epoch: 0,
            chunk_bytes,
            bytes_max,
            bytes: 0,
        }
    }

    /// Bytes of all chunks in use.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }

    /// Changes the bound on `bytes`. What is held past it stays; no chunk is added until it is gone.
    pub fn set_bytes_max(&mut self, bytes_max: usize) {
        self.bytes_max = bytes_max;
    }

    /// The bound on `bytes`.
    #[must_use]
    pub fn bytes_max(&self) -> usize {
        self.bytes_max
    }

    /// Copies `bytes` behind the fragment `older` of the same trace. `charged` says how much of the bound others take; it is
    /// asked only where the bound may be met.
    ///
    /// # Errors
    /// `ArenaFull` when the bound forbids another chunk.
    #[inline]
    pub fn append(
        &mut self,
        scope: ScopeHandle,
        unit: Unit,
        older: Reference,
        bytes: &[u8],
        envelopes: &mut EnvelopeTable,
        charged: impl Fn() -> usize,
    ) -> Result<Reference, ArenaFull> {
        let needed = HEADER_BYTES + bytes.len();
        let number = match self.current {
            Some(current) if self.has_room(current, needed) => current,
            _ => self.open(needed, envelopes.bytes() + charged())?,
        };
        let marked = self.current == Some(number) && envelopes.held_in(scope, self.epoch);
        if !marked {
            let others = envelopes.bytes() + charged();
            self.trim(others);
            if self.bytes + others > self.bytes_max {
                // The chunk has room and the bound has none: resources and scopes grow beside the chunks.
                return Err(ArenaFull);
            }
        }
        let chunk = &mut self.chunks[number as usize];
        // Offsets fit: a chunk is at most as large as the largest span and header.
        let offset = u32::try_from(chunk.data.len()).map_err(|_| ArenaFull)?;
        let length = u32::try_from(bytes.len()).map_err(|_| ArenaFull)?;
        let mut header = [0u8; HEADER_BYTES];
        header[0..4].copy_from_slice(&older.chunk.to_le_bytes());
        header[4..8].copy_from_slice(&older.offset.to_le_bytes());
        header[8..12].copy_from_slice(&scope.0.to_le_bytes());
        header[12..16].copy_from_slice(&length.to_le_bytes());
        header[16..20].copy_from_slice(&unit.segment.number().to_le_bytes());
        header[20..24].copy_from_slice(&unit.number.to_le_bytes());
        chunk.data.extend_from_slice(&header);
        chunk.data.extend_from_slice(bytes);
        chunk.live += 1;
        if !marked {
            chunk.scopes.push(scope);
            envelopes.hold(scope);
            envelopes.mark(scope, self.epoch);
        }
        Ok(Reference { chunk: number, offset })
    }

    #[inline]
    fn has_room(&self, number: u32, needed: usize) -> bool {
        let data = &self.chunks[number as usize].data;
        data.capacity() - data.len() >= needed
    }

    /// Opens a chunk for `needed` bytes: a usual one that becomes the current one, or one of its own for a large
    /// span, which leaves the current one open.
    fn open(&mut self, needed: usize, others: usize) -> Result<u32, ArenaFull> {
        let large = needed > self.chunk_bytes / 2;
        let size = if large { needed } else { self.chunk_bytes };
        if large {
            self.trim(size + others);
        }
        if self.bytes + size + others > self.bytes_max {
            return Err(ArenaFull);
        }
        let data = if large { None } else { self.spare.pop() };
        let data = data.unwrap_or_else(|| Vec::with_capacity(size));
        self.bytes += data.capacity();
        let number = match self.vacant.pop() {
            Some(number) => number,
            None => {
                self.chunks.push(Chunk::default());
                u32::try_from(self.chunks.len() - 1).map_err(|_| ArenaFull)?
            }
        };
        self.chunks[number as usize].data = data;
        if !large {
            self.current = Some(number);
            self.epoch = self.epoch.wrapping_add(1).max(1);
        }
        Ok(number)
    }

    /// Gives up chunks kept for later where they, with `more`, would pass the bound.
    fn trim(&mut self, more: usize) {
        while !self.spare.is_empty() && self.bytes + more + self.spare.len() * self.chunk_bytes > self.bytes_max {
            self.spare.pop();
        }
    }

    /// The fragment before `reference` in its trace's list, newest first.
    #[inline]
    #[must_use]
    pub fn older(&self, reference: Reference) -> Reference {
        let header = self.header(reference);
        Reference { chunk: word(header, 0), offset: word(header, 4) }
    }

    /// The fragment at `reference`.
    #[must_use]
    pub fn fragment(&self, reference: Reference) -> Fragment<'_> {
        let header = self.header(reference);
        let start = reference.offset as usize + HEADER_BYTES;
        let length = word(header, 12) as usize;
        let bytes = &self.chunks[reference.chunk as usize].data[start..start + length];
        Fragment { scope: ScopeHandle(word(header, 8)), unit: unit_of(header), bytes }
    }

    /// The place in the log of the fragment at `reference`, and the fragment before it.
    #[inline]
    #[must_use]
    pub fn unit(&self, reference: Reference) -> (Unit, Reference) {
        let header = self.header(reference);
        (unit_of(header), Reference { chunk: word(header, 0), offset: word(header, 4) })
    }

    #[inline]
    fn header(&self, reference: Reference) -> &[u8; HEADER_BYTES] {
        let data = &self.chunks[reference.chunk as usize].data;
        const NOTHING: &[u8; HEADER_BYTES] = &[0xff; HEADER_BYTES];
        data.get(reference.offset as usize..).and_then(|rest| rest.first_chunk()).unwrap_or(NOTHING)
    }

    /// Gives back the fragment at `reference`; its chunk goes with the last of them.
    #[inline]
    pub fn release(&mut self, reference: Reference, envelopes: &mut EnvelopeTable) {
        let chunk = &mut self.chunks[reference.chunk as usize];
        assert!(chunk.live > 0, "a fragment is released once");
        chunk.live -= 1;
        if chunk.live == 0 {
            self.empty(reference.chunk, envelopes);
        }
    }

    fn empty(&mut self, number: u32, envelopes: &mut EnvelopeTable) {
        let chunk = &mut self.chunks[number as usize];
        for scope in chunk.scopes.drain(..) {
            envelopes.release(scope);
        }
        if self.current == Some(number) {
            // Still being filled: start over in the same memory, under a new epoch, as its scopes were given back.
            chunk.data.clear();
            self.epoch = self.epoch.wrapping_add(1).max(1);
            return;
        }
        let mut data = std::mem::take(&mut chunk.data);
        self.bytes -= data.capacity();
        self.vacant.push(number);
        let in_use = self.chunks.len() - self.vacant.len();
        let spare_max = SPARE_CHUNKS_MIN.max(in_use / SPARE_SHARE);
        if data.capacity() == self.chunk_bytes && self.spare.len() < spare_max {
            data.clear();
            self.spare.push(data);
        }
    }
}

#[inline]
fn word(header: &[u8; HEADER_BYTES], at: usize) -> u32 {
    u32::from_le_bytes([header[at], header[at + 1], header[at + 2], header[at + 3]])
}

#[inline]
fn unit_of(header: &[u8; HEADER_BYTES]) -> Unit {
    Unit { segment: SegmentHandle::from_number(word(header, 16)), number: word(header, 20) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn table() -> EnvelopeTable {
        EnvelopeTable::new([1, 2, 3, 4])
    }

    #[test]
    fn fragments_come_back_in_both_orders_and_memory_is_given_back() {
        let mut envelopes = table();
        let mut arena = Arena::new(1 << 20, 256);
        let scope = envelopes.intern(b"resource", b"scope");
        let mut newest = Reference::NONE;
        let mut all = Vec::new();
        for size in [1usize, 100, 3, 5000, 90, 0, 120] {
            newest = arena.append(scope, Unit::NONE, newest, &vec![size as u8; size], &mut envelopes, || 0).unwrap();
            all.push((newest, size));
        }
        envelopes.release(scope);
        let mut at = newest;
        for (reference, size) in all.iter().rev() {
            assert_eq!(at, *reference);
            assert_eq!(arena.fragment(at).bytes, vec![*size as u8; *size]);
            at = arena.older(at);
        }
        assert!(at.is_none());
        assert!(envelopes.bytes() > 0, "chunks hold the scope");
        for (reference, _) in all {
            arena.release(reference, &mut envelopes);
        }
        assert_eq!(arena.bytes(), 256, "only the chunk being filled is left");
        assert_eq!(envelopes.bytes(), 0, "the last fragment gave back the scope");
    }

    /// What the table charges for an empty resource and scope.
    fn envelopes_of_the_test() -> usize {
        let mut envelopes = table();
        envelopes.intern(b"", b"");
        envelopes.bytes()
    }

    #[test]
    fn ever_new_resources_find_the_bound_though_the_chunk_has_room() {
        let mut envelopes = table();
        let mut arena = Arena::new(4096, 1024);
        let mut kept = 0;
        // Without the check of the bound in `append` all of them fit into the first chunk.
        for number in 0_u8..30 {
            let scope = envelopes.intern(&[number; 500], b"");
            kept +=
                usize::from(arena.append(scope, Unit::NONE, Reference::NONE, &[7; 2], &mut envelopes, || 0).is_ok());
            envelopes.release(scope);
            assert!(arena.bytes() + envelopes.bytes() <= 4096);
        }
        assert!((4..7).contains(&kept), "{kept}");
        let scope = envelopes.intern(b"", b"");
        assert!(arena.append(scope, Unit::NONE, Reference::NONE, &[7; 1000], &mut envelopes, || 0).is_err());
        assert!(arena.bytes() <= 1024, "nothing was changed");
    }

    #[test]
    fn the_bound_holds_and_refusal_changes_nothing() {
        let mut envelopes = table();
        let mut arena = Arena::new(1024 + envelopes_of_the_test(), 256);
        let scope = envelopes.intern(b"", b"");
        let mut kept = Vec::new();
        while let Ok(reference) = arena.append(scope, Unit::NONE, Reference::NONE, &[7; 100], &mut envelopes, || 0) {
            kept.push(reference);
            assert!(arena.bytes() <= 1024, "the envelopes count too");
        }
        assert_eq!(kept.len(), 8, "four chunks of two");
        for reference in kept.drain(..2) {
            arena.release(reference, &mut envelopes);
        }
        assert!(
            arena.append(scope, Unit::NONE, Reference::NONE, &[7; 100], &mut envelopes, || 0).is_ok(),
            "room again"
        );
    }
}
