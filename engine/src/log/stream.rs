//! One append-only stream of segments, as a state machine without I/O: records go into a buffer, `poll` says what the
//! disk is to do next, and the outcome is told back. Records that were appended while the disk was busy go out
//! together with the next write: that is the group commit.
//!
//! ```text
//! append -> open chunk -> (poll) Write -> wrote -> (poll) Sync -> synced
//!                          one write or sync at a time;   Open runs beside them, one segment ahead
//! ```
//! A write or sync that fails poisons its segment: nothing is written to it again, no sync of it is tried again, and every
//! record of it that was not yet reported is lost. The stream goes on in the next segment.

use super::flush::Flush;
use super::format::{BLOCK_BYTES, SegmentHeader, SegmentKind, file_name};
use std::collections::VecDeque;

/// The bounds of a stream.
#[derive(Debug, Clone)]
pub struct StreamPlan {
    /// What its segments hold.
    pub kind: SegmentKind,
    /// The core it belongs to.
    pub lane: u16,
    /// Bytes of a segment's file; a larger record gets a segment of its own size.
    pub segment_bytes: u64,
    /// Whether its first segment is short.
    pub begins_small: bool,
    /// Most bytes of records waiting for the disk.
    pub buffer_bytes_max: usize,
    /// The number of its first segment.
    pub first_number: u64,
    /// From one of its numbers to the next: streams of one directory take turns.
    pub number_stride: u64,
    /// Makes the segments' nonces, together with their numbers.
    pub nonce_seed: u64,
    /// The pipelines that share it; none where there is a single one.
    pub pipelines: Vec<String>,
}

/// What the disk is to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Operation {
    /// Make the segment's file of that many bytes, or recycle one; write the header at its start; sync both it and its
    /// directory entry.
    Open {
        /// The segment.
        number: u64,
        /// The file's length.
        bytes: u64,
        /// Its first block.
        header: Vec<u8>,
    },
    /// Write whole blocks.
    Write {
        /// The segment.
        number: u64,
        /// Where, a multiple of the block.
        offset: u64,
        /// What, a multiple of the block. Given back with the outcome, for reuse.
        bytes: Flush,
    },
    /// Make everything written to the segment durable.
    Sync {
        /// The segment.
        number: u64,
    },
}

/// Why a record can't be appended now. Nothing was changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AppendError {
    /// The buffer is full: the disk is slower than the senders. Wait for a write to end.
    #[error("the log's buffer is full")]
    BufferFull,
    /// No segment is open, or the next one is not ready yet. Wait for one to be opened, or for room on the disk.
    #[error("the log has no segment to write to")]
    NoSegment,
    /// The record is larger than any segment may be. It can't be logged.
    #[error("the request is too large for the log")]
    TooLarge,
}

/// Where a record was put.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Appended {
    /// Counts the stream's records: progress is told as such a position.
    pub position: u64,
    /// The segment.
    pub number: u64,
    /// Where the record's flush begins in it, at the latest: reading may start here to find it.
    pub flush_offset: u64,
}

/// A segment's file that records go to.
#[derive(Debug, Clone, Copy)]
struct Writable {
    number: u64,
    nonce: u64,
    bytes: u64,
    /// Where the next chunk begins.
    next_offset: u64,
    next_sequence: u64,
}

/// Records that are written together.
#[derive(Debug)]
struct Chunk {
    number: u64,
    offset: u64,
    bytes: Flush,
    last_position: u64,
    needs_sync: bool,
}

#[derive(Debug)]
enum InFlight {
    Write { number: u64, last_position: u64, needs_sync: bool, bytes: usize },
    Sync { number: u64, last_position: u64 },
}

/// Largest file of one segment: its offsets are told in 32 bits of blocks, far above any sensible bound.
const SEGMENT_BYTES_MAX: u64 = 4 << 30;
/// A write is not made larger than this and one record. Large, because each write is followed by a sync, which takes the core
/// and the disk as long whatever the size; small enough that the disk ends it within some milliseconds.
const CHUNK_BYTES_MAX: usize = 8 << 20;
/// Buffers kept for reuse; one is filled while the other is written.
const SPARE_BUFFERS_MAX: usize = 2;
/// Largest buffer kept for reuse: large bodies are not in them.
const SPARE_BUFFER_BYTES_MAX: usize = 1 << 20;
/// The next segment is made once this part of the current one is taken: early enough that it is there in time, and not at
/// the first record.
const PREPARED_FROM_SHARE: u64 = 16;
/// A short first segment is this part of the others.
const FIRST_SHARE: u64 = 16;
/// It has room for a good number of small requests.
const FIRST_BYTES_MIN: u64 = 64 << 10;

/// The stream.
#[derive(Debug)]
pub struct Stream {
    plan: StreamPlan,
    next_number: u64,
    current: Option<Writable>,
    prepared: Option<Writable>,
    /// The segment being opened.
    opening: Option<Writable>,
    /// A segment of at least that many bytes is needed for a record that waits.
    wanted_bytes: u64,
    may_open: bool,
    chunks: VecDeque<Chunk>,
    in_flight: Option<InFlight>,
    /// The write that ended and is still to be synced: segment and last position.
    unsynced: Option<(u64, u64)>,
    sync_wanted: bool,
    buffered: usize,
    position: u64,
    written: u64,
    synced: u64,
    lost: Option<u64>,
    closed: Vec<u64>,
    unused: Vec<u64>,
    spare: Vec<Flush>,
}

impl Stream {
    /// A stream without a segment: the first `poll` asks for one.
    #[must_use]
    pub fn new(plan: StreamPlan) -> Self {
        Self {
            next_number: plan.first_number,
            plan,
            current: None,
            prepared: None,
            opening: None,
            wanted_bytes: 0,
            may_open: true,
            chunks: VecDeque::new(),
            in_flight: None,
            unsynced: None,
            sync_wanted: false,
            buffered: 0,
            position: 0,
            written: 0,
            synced: 0,
            lost: None,
            closed: Vec::new(),
            unused: Vec::new(),
            spare: Vec::new(),
        }
    }

    /// The name of a segment's file.
    #[must_use]
    pub fn file_name(&self, number: u64) -> String {
        file_name(self.plan.kind, number)
    }

    /// Position of the last record appended.
    #[must_use]
    pub fn position(&self) -> u64 {
        self.position
    }

    /// Every record up to this position has reached the kernel, but for those that were lost.
    #[must_use]
    pub fn written(&self) -> u64 {
        self.written
    }

    /// Every record up to this position is durable, but for those that were lost.
    #[must_use]
    pub fn synced(&self) -> u64 {
        self.synced
    }

    /// Whether anything is on its way to the disk.
    #[must_use]
    pub fn is_moving(&self) -> bool {
        self.synced != self.position
    }

    /// Bytes waiting for the disk.
    #[must_use]
    pub fn buffered(&self) -> usize {
        self.buffered
    }

    /// The segment records go to, if there is one.
    #[must_use]
    pub fn current(&self) -> Option<u64> {
        self.current.map(|segment| segment.number)
    }

    /// Bytes of the current segment's file.
    #[must_use]
    pub fn segment_bytes(&self) -> u64 {
        self.current.map_or(0, |segment| segment.bytes)
    }

    /// Bytes of files that are opened and not used yet, or being opened.
    #[must_use]
    pub fn ahead_bytes(&self) -> u64 {
        self.prepared.iter().chain(&self.opening).map(|segment| segment.bytes).sum()
    }

    /// True when half of the buffer is taken.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.buffered > self.plan.buffer_bytes_max / 2
    }

    /// Whether another segment may be opened: the budget is the owner's.
    pub fn set_may_open(&mut self, may_open: bool) {
        self.may_open = may_open;
    }

    /// Appends a record of `bytes` framed bytes, which `put` adds to the buffer given the segment's nonce and the record's
    /// sequence. With `sync` its write is followed by a sync.
    ///
    /// # Errors
    /// `AppendError`.
    pub fn append(
        &mut self,
        bytes: usize,
        sync: bool,
        put: impl FnOnce(&mut Vec<u8>, u64, u64),
    ) -> Result<Appended, AppendError> {
        self.append_held(bytes, sync, |flush, nonce, sequence| put(flush.framing(), nonce, sequence))
    }

    /// As [`append`](Self::append), of a record that may hold its body instead of copying it.
    ///
    /// # Errors
    /// `AppendError`.
    pub fn append_held(
        &mut self,
        bytes: usize,
        sync: bool,
        put: impl FnOnce(&mut Flush, u64, u64),
    ) -> Result<Appended, AppendError> {
        if self.buffered > 0 && self.buffered + bytes > self.plan.buffer_bytes_max {
            return Err(AppendError::BufferFull);
        }
        self.segment_to_take(bytes)?;
        let Some(segment) = self.current else { return Err(AppendError::NoSegment) };
        let sequence = segment.next_sequence;
        let open = self.chunks.back_mut().filter(|chunk| chunk.number == segment.number);
        let (open, offset) = match open {
            Some(full) if full.bytes.len() >= CHUNK_BYTES_MAX => {
                let records = full.bytes.len();
                full.bytes.pad_to_block();
                self.buffered += full.bytes.len() - records;
                (false, full.offset + full.bytes.len() as u64)
            }
            open => (open.is_some(), segment.next_offset),
        };
        if !open {
            self.chunks.push_back(Chunk {
                number: segment.number,
                offset,
                bytes: self.spare.pop().unwrap_or_default(),
                last_position: self.position,
                needs_sync: false,
            });
        }
        self.position += 1;
        let Some(chunk) = self.chunks.back_mut() else { return Err(AppendError::NoSegment) };
        let before = chunk.bytes.len();
        put(&mut chunk.bytes, segment.nonce, sequence);
        debug_assert_eq!(chunk.bytes.len() - before, bytes, "the caller knows the framed size");
        self.buffered += chunk.bytes.len() - before;
        chunk.last_position = self.position;
        chunk.needs_sync |= sync;
        let flush_offset = chunk.offset;
        if let Some(current) = &mut self.current {
            current.next_sequence += 1;
        }
        Ok(Appended { position: self.position, number: segment.number, flush_offset })
    }

    fn current_with_room(&self, bytes: usize) -> Option<u64> {
        let current = self.current?;
        let open = self.chunks.back().filter(|chunk| chunk.number == current.number);
        let end = open.map_or(current.next_offset, |chunk| chunk.offset + chunk.bytes.len() as u64);
        (end + bytes as u64 + BLOCK_BYTES as u64 <= current.bytes).then_some(current.number)
    }

    /// Whether a record of `bytes` framed bytes fits a segment that is there already.
    #[must_use]
    pub fn has_room(&self, bytes: usize) -> bool {
        let largest = bytes as u64 + 2 * BLOCK_BYTES as u64;
        self.current_with_room(bytes).is_some()
            || self.prepared.as_ref().is_some_and(|prepared| largest <= prepared.bytes)
    }

    /// The segment that a record of `bytes` framed bytes will go to: the current one, or the prepared one in its place.
    ///
    /// # Errors
    /// `AppendError`.
    pub fn segment_to_take(&mut self, bytes: usize) -> Result<u64, AppendError> {
        let largest = bytes as u64 + 2 * BLOCK_BYTES as u64;
        if largest > SEGMENT_BYTES_MAX {
            return Err(AppendError::TooLarge);
        }
        if let Some(number) = self.current_with_room(bytes) {
            return Ok(number);
        }
        match self.prepared.take() {
            Some(prepared) if largest <= prepared.bytes => {
                if let Some(full) = self.current.replace(prepared) {
                    self.closed.push(full.number);
                }
                Ok(prepared.number)
            }
            other => {
                // A prepared segment that is too small is given back unused, so that a larger one can be opened.
                self.unused.extend(other.map(|small| small.number));
                self.wanted_bytes = self.wanted_bytes.max(largest);
                Err(AppendError::NoSegment)
            }
        }
    }

    /// Asks for a sync of what has been written, though no record needs it.
    pub fn want_sync(&mut self) {
        self.sync_wanted = true;
    }

    /// The segment to be opened now, `unix_nano` nanoseconds since 1970, if one is: at most one at a time, and one ahead of
    /// the current once that holds something.
    pub fn poll_open(&mut self, unix_nano: u64) -> Option<Operation> {
        if self.opening.is_some() || self.prepared.is_some() || !self.may_open || self.is_idle() {
            return None;
        }
        let number = self.next_number;
        let is_short = self.plan.begins_small && number == self.plan.first_number;
        let short = (self.plan.segment_bytes / FIRST_SHARE).max(FIRST_BYTES_MIN.min(self.plan.segment_bytes));
        let usual = if is_short { short } else { self.plan.segment_bytes };
        let bytes = usual.max(self.wanted_bytes).next_multiple_of(BLOCK_BYTES as u64);
        let nonce = mix(self.plan.nonce_seed ^ mix(number));
        let next_sequence = number << 32;
        self.opening = Some(Writable { number, nonce, bytes, next_offset: BLOCK_BYTES as u64, next_sequence });
        let header = SegmentHeader {
            kind: self.plan.kind,
            lane: self.plan.lane,
            number,
            nonce,
            first_sequence: next_sequence,
            created_unix_nano: unix_nano,
            bytes,
        };
        Some(Operation::Open { number, bytes, header: header.encode_for(&self.plan.pipelines).to_vec() })
    }

    /// Whether there is a segment to write to.
    #[must_use]
    pub fn has_segment(&self) -> bool {
        self.current.is_some()
    }

    /// Whether the current segment is nearly empty and will do: a node that is given nothing takes no more of the disk, and
    /// the first requests after a start do not wait for their sync behind the making of a segment that nobody needs yet.
    fn is_idle(&self) -> bool {
        let is_begun = |current: Writable| current.next_offset >= current.bytes / PREPARED_FROM_SHARE;
        self.wanted_bytes == 0 && self.current.is_some_and(|current| !is_begun(current))
    }

    /// The segment being opened is ready, or could not be opened: then `poll_open` asks again.
    pub fn opened(&mut self, is_ready: bool) {
        let Some(segment) = self.opening.take() else { return };
        if !is_ready {
            return;
        }
        // A number is used once: a failed attempt may be made again under the same.
        self.next_number += self.plan.number_stride;
        self.wanted_bytes = 0;
        if self.current.is_none() {
            self.current = Some(segment);
        } else {
            self.prepared = Some(segment);
        }
    }

    /// The write or sync that is to be made now, if any: one at a time.
    pub fn poll(&mut self) -> Option<Operation> {
        if self.in_flight.is_some() {
            return None;
        }
        // A segment's tail is made durable before the next segment is begun, so that a sync covers all before it.
        if let Some((number, last_position)) = self.unsynced
            && (self.sync_wanted || self.chunks.front().is_some_and(|chunk| chunk.number != number))
        {
            self.sync_wanted = false;
            self.in_flight = Some(InFlight::Sync { number, last_position });
            return Some(Operation::Sync { number });
        }
        let mut chunk = self.chunks.pop_front()?;
        let records = chunk.bytes.len();
        chunk.bytes.pad_to_block();
        let Chunk { number, offset, bytes, last_position, needs_sync } = chunk;
        if let Some(current) = &mut self.current
            && current.number == number
        {
            current.next_offset = current.next_offset.max(offset + bytes.len() as u64);
        }
        self.in_flight = Some(InFlight::Write { number, last_position, needs_sync, bytes: records });
        Some(Operation::Write { number, offset, bytes })
    }

    /// The write ended. `buffer` is what was written, for reuse.
    pub fn wrote(&mut self, buffer: Flush, is_good: bool) {
        self.keep(buffer);
        let Some(InFlight::Write { number, last_position, needs_sync, bytes }) = self.in_flight.take() else { return };
        self.buffered -= bytes;
        if !is_good {
            return self.poison(number, last_position);
        }
        self.written = last_position;
        self.unsynced = Some((number, last_position));
        self.sync_wanted |= needs_sync;
    }

    /// The sync ended.
    pub fn synced_now(&mut self, is_good: bool) {
        let Some(InFlight::Sync { number, last_position }) = self.in_flight.take() else { return };
        if !is_good {
            return self.poison(number, last_position);
        }
        self.synced = last_position;
        if self.unsynced.is_some_and(|(_, position)| position <= last_position) {
            self.unsynced = None;
        }
    }

    /// Nothing more goes to the segment; what of it was not yet reported is lost.
    fn poison(&mut self, number: u64, last_position: u64) {
        let mut last = last_position;
        while self.chunks.front().is_some_and(|chunk| chunk.number == number) {
            let Some(chunk) = self.chunks.pop_front() else { break };
            self.buffered -= chunk.bytes.len();
            last = chunk.last_position;
            self.keep(chunk.bytes);
        }
        self.lost = Some(last);
        (self.written, self.synced, self.unsynced) = (last, last, None);
        if self.current.is_some_and(|current| current.number == number) {
            self.closed.push(number);
            self.current = self.prepared.take();
        }
    }

    /// The position up to which records that were not reported yet are lost, once: the segment was poisoned.
    pub fn take_lost(&mut self) -> Option<u64> {
        self.lost.take()
    }

    /// Segments that get no more records and are written and synced, each once.
    pub fn take_closed(&mut self) -> Vec<u64> {
        let mut done = std::mem::take(&mut self.closed);
        self.closed = done.extract_if(.., |number| self.is_busy(*number)).collect();
        done
    }

    /// Whether anything is still to be done to the segment's file.
    fn is_busy(&self, segment: u64) -> bool {
        let in_flight = match self.in_flight {
            Some(InFlight::Write { number, .. } | InFlight::Sync { number, .. }) => number == segment,
            None => false,
        };
        let is_unsynced = self.unsynced.is_some_and(|(number, _)| number == segment);
        in_flight || is_unsynced || self.chunks.iter().any(|chunk| chunk.number == segment)
    }

    /// Segments that were opened and will not be used: to be recycled.
    pub fn take_unused(&mut self) -> Vec<u64> {
        std::mem::take(&mut self.unused)
    }

    fn keep(&mut self, mut buffer: Flush) {
        if self.spare.len() < SPARE_BUFFERS_MAX && buffer.capacity() <= SPARE_BUFFER_BYTES_MAX {
            buffer.clear();
            self.spare.push(buffer);
        }
    }
}

/// Spreads a number over all 64 bits (the finaliser of splitmix64).
fn mix(number: u64) -> u64 {
    let mut mixed = number.wrapping_add(0x9e37_79b9_7f4a_7c15);
    mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A stream whose disk does at once what it is asked to.
    fn open_stream() -> Stream {
        let mut stream = Stream::new(StreamPlan {
            kind: SegmentKind::Requests,
            lane: 0,
            segment_bytes: 64 << 20,
            begins_small: false,
            buffer_bytes_max: 16 << 20,
            first_number: 1,
            number_stride: 2,
            nonce_seed: 7,
            pipelines: Vec::new(),
        });
        assert!(stream.poll_open(0).is_some());
        stream.opened(true);
        stream
    }

    /// Without `is_short` a node that is given nothing would take a whole segment of each kind.
    #[test]
    fn only_the_first_segment_is_short() {
        let plan = |begins_small| StreamPlan { begins_small, ..open_stream().plan };
        let bytes = |stream: &mut Stream| match stream.poll_open(0) {
            Some(Operation::Open { bytes, .. }) => {
                stream.opened(true);
                bytes
            }
            other => panic!("{other:?}"),
        };
        let mut stream = Stream::new(plan(true));
        assert_eq!(bytes(&mut stream), 4 << 20);
        assert!(stream.poll_open(0).is_none(), "the first is hardly begun");
        stream.append(1 << 20, true, |out, _, _| out.resize(out.len() + (1 << 20), 1)).unwrap();
        assert!(matches!(stream.poll(), Some(Operation::Write { .. })));
        assert_eq!(bytes(&mut stream), 64 << 20);
        assert_eq!(bytes(&mut Stream::new(plan(false))), 64 << 20);
    }

    #[test]
    fn what_waits_is_counted_to_the_byte_over_several_chunks() {
        let mut stream = open_stream();
        // More than one chunk, and no multiple of a block.
        let bytes = CHUNK_BYTES_MAX / 24 + 24;
        for _ in 0..3 {
            for _ in 0..30 {
                stream.append(bytes, true, |out, _, _| out.resize(out.len() + bytes, 1)).unwrap();
            }
            while let Some(operation) = stream.poll() {
                match operation {
                    Operation::Write { bytes, .. } => stream.wrote(bytes, true),
                    Operation::Sync { .. } => stream.synced_now(true),
                    Operation::Open { .. } => {}
                }
            }
            assert_eq!(stream.buffered(), 0);
            assert_eq!((stream.written(), stream.synced()), (stream.position(), stream.position()));
        }
    }
}
