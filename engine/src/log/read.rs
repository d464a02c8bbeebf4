//! Reading a segment file as a crash, a fault of the disk or somebody's hand has left it. What is returned has a right
//! checksum, belongs to this use of the file and comes in the order in which it was written; what is missing between is
//! named. Bodies are borrowed from the file's bytes.
//!
//! **After damage** the next record is looked for at the start of every block, where flushes start, and where the
//! lengths in damaged records lead, in rising order. A record counts only if its checksum, seeded by the segment's
//! nonce, is right and its sequence not below the one expected. What is in a file from its former use fails at both;
//! bytes chosen by a sender fail at the nonce, which is random and never told.
//!
//! **Time** is linear in the file's length whatever it holds. Places to look at are a block apart or follow one another
//! without overlap, so checking records of at most [`DIRECT_BYTES_MAX`] costs a few times the file. Longer ones could
//! overlap at every block; after the first of them that fails, the checksum of any range is put together from
//! checksums of the file's prefixes (`sums`), in the same time for every range.

pub mod pieces;

mod sums;

use super::format::{BLOCK_BYTES, Head, HeaderError, RECORD_HEADER_BYTES, Record, SegmentHeader};
use sums::PrefixSums;

/// Ranges of up to two blocks are checked byte by byte; for longer ones two ends of a block each and the prefix sums
/// are less work.
const DIRECT_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// What comes next in a segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Found<'a> {
    /// A sound record.
    Record {
        /// Where it starts, from the start of the file.
        offset: u64,
        /// Its place in the lane's stream.
        sequence: u64,
        /// What it says.
        record: Record<'a>,
    },
    /// Bytes that should be records and are not; the next thing found is a record behind them. Whether this is damage,
    /// or a last flush that was interrupted, [`Tail::is_in_last_flush`] tells when all is read.
    Skipped {
        /// Where they start, from the start of the file.
        offset: u64,
        /// How many bytes were passed over.
        bytes: u64,
        /// How many records are missing. Zero when only padding was damaged.
        sequences: u64,
    },
}

/// What stands behind the last record.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Behind {
    /// Zeros or the end of the file: all that was begun was finished.
    Nothing,
    /// A record that was begun and not finished, or that was damaged since: the two look the same.
    Torn,
    /// Bytes that are no record of this use of the file: what it held before, or a flush of which the first block did
    /// not arrive.
    Former,
}

/// Where the records of a segment end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Tail {
    /// Where the next record would start, from the start of the file.
    pub offset: u64,
    /// The sequence it would have.
    pub sequence: u64,
    /// What stands there.
    pub behind: Behind,
    /// Where the last flush starts of which the first record is sound.
    pub last_flush: u64,
}

impl Tail {
    /// Whether a gap at `offset` lies behind the start of the last sound flush. Then it may be an interrupted write of
    /// which nobody was told that it succeeded; before that, it is damage to what was durable.
    #[must_use]
    pub const fn is_in_last_flush(&self, offset: u64) -> bool {
        offset >= self.last_flush
    }
}

/// One record by itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Framed<'a> {
    /// Its place in the lane's stream.
    pub sequence: u64,
    /// What it says.
    pub record: Record<'a>,
    /// Bytes from its start to the next record's.
    pub bytes: usize,
}

/// The record at the start of `bytes`, for reading one again of which the place is known. None if it is not there in
/// whole or its checksum does not fit `nonce`.
#[must_use]
pub fn record_at(bytes: &[u8], nonce: u64) -> Option<Framed<'_>> {
    let head = Head::read(bytes)?;
    let checked = bytes.get(4..RECORD_HEADER_BYTES + head.payload_bytes)?;
    if crc32c::crc32c_append(seed(nonce), checked) != head.checksum {
        return None;
    }
    Some(Framed { sequence: head.sequence, record: head.record(bytes)?, bytes: head.framed_bytes() })
}

fn seed(nonce: u64) -> u32 {
    crc32c::crc32c(&nonce.to_le_bytes())
}

/// The records of a segment, in order. Ends behind the last one; then [`Records::tail`] says what stands there.
#[derive(Debug)]
pub struct Records<'a> {
    file: &'a [u8],
    /// The checksum of the nonce, from which those of the records go on.
    seed: u32,
    /// Behind the last record and its flush's padding: where the next is expected.
    at: usize,
    /// The sequence that is expected there.
    sequence: u64,
    /// Where the last flush starts.
    last_flush: usize,
    /// The record behind a gap that has just been told.
    waiting: Option<Found<'a>>,
    /// Made when the first long record fails.
    sums: Option<PrefixSums>,
    has_ended: bool,
    /// Bytes that went into checksums.
    #[cfg(test)]
    checked_bytes: usize,
}

/// A place where a sound record is.
struct Place<'a> {
    at: usize,
    head: Head,
    record: Record<'a>,
}

impl<'a> Records<'a> {
    /// Reads a whole segment file, header and all.
    ///
    /// # Errors
    /// [`HeaderError`] if the file does not begin with a header of this version.
    pub fn open(file: &'a [u8]) -> Result<(SegmentHeader, Self), HeaderError> {
        let header = SegmentHeader::decode(file)?;
        Ok((header, Self::new(file, &header)))
    }

    /// Reads a whole segment file whose header is known. The file may be shorter or longer than the header says.
    #[must_use]
    pub fn new(file: &'a [u8], header: &SegmentHeader) -> Self {
        Self {
            file,
            seed: seed(header.nonce),
            at: BLOCK_BYTES.min(file.len()),
            sequence: header.first_sequence,
            last_flush: BLOCK_BYTES,
            waiting: None,
            sums: None,
            has_ended: false,
            #[cfg(test)]
            checked_bytes: 0,
        }
    }

    /// Where the records end. Asked before the iterator has ended, where those returned so far do.
    #[must_use]
    pub fn tail(&self) -> Tail {
        let rest = self.file.get(self.at..).unwrap_or_default();
        let stands_there = || rest.get(8..16).is_some_and(|sequence| *sequence == self.sequence.to_le_bytes());
        let behind = if rest.iter().all(|byte| *byte == 0) {
            Behind::Nothing
        } else if !self.at.is_multiple_of(BLOCK_BYTES) || stands_there() {
            // Within a block only this use of the file has written.
            Behind::Torn
        } else {
            Behind::Former
        };
        Tail { offset: offset(self.at), sequence: self.sequence, behind, last_flush: offset(self.last_flush) }
    }

    /// The start of the next block if only padding stands before it, else `at` itself.
    fn behind_padding(&self, at: usize) -> usize {
        let block_end = at.next_multiple_of(BLOCK_BYTES).min(self.file.len());
        match self.file.get(at..block_end) {
            Some(padding) if padding.iter().all(|byte| *byte == 0) => block_end,
            _ => at,
        }
    }

    /// The record at `at`, if it is sound and not older than the one expected.
    fn sound_at(&mut self, at: usize) -> Option<Place<'a>> {
        let bytes = self.file.get(at..)?;
        let head = Head::read(bytes)?;
        // The last sequence is never used, so that there is always a next one.
        if head.sequence < self.sequence || head.sequence == u64::MAX {
            return None;
        }
        if !self.has_right_checksum(at, &head) {
            return None;
        }
        Some(Place { at, head, record: head.record(bytes)? })
    }

    fn has_right_checksum(&mut self, at: usize, head: &Head) -> bool {
        let range = at + 4..at + RECORD_HEADER_BYTES + head.payload_bytes;
        let is_long = range.len() > DIRECT_BYTES_MAX;
        #[cfg(test)]
        {
            let is_direct = !is_long || self.sums.is_none();
            self.checked_bytes += if is_direct { range.len() } else { DIRECT_BYTES_MAX };
        }
        if let (true, Some(sums)) = (is_long, &self.sums) {
            return sums.checksum(self.file, self.seed, range) == head.checksum;
        }
        let is_right = crc32c::crc32c_append(self.seed, &self.file[range]) == head.checksum;
        if is_long && !is_right {
            self.sums = Some(PrefixSums::new(self.file));
        }
        is_right
    }

    /// The first sound record behind `from`, where there is none.
    fn search(&mut self, from: usize) -> Option<Place<'a>> {
        // Where the lengths of damaged records lead. One such chain at a time: its steps do not overlap.
        let mut chain = self.next_by_length(from);
        let mut block = (from + 1).next_multiple_of(BLOCK_BYTES);
        loop {
            let at = chain.map_or(block, |chain| chain.min(block));
            if at >= self.file.len() {
                return None;
            }
            if let Some(place) = self.sound_at(at) {
                return Some(place);
            }
            if chain.is_none_or(|chain| chain == at) {
                chain = self.next_by_length(at);
            }
            if block == at {
                block += BLOCK_BYTES;
            }
        }
    }

    /// Where the record at `at` says that the next one starts, if its header can be one.
    fn next_by_length(&self, at: usize) -> Option<usize> {
        self.file.get(at..).and_then(Head::read).map(|head| at + head.framed_bytes())
    }

    /// Goes on behind a record, and returns it.
    fn take(&mut self, place: Place<'a>) -> Found<'a> {
        let Place { at, head, record } = place;
        if head.is_flush_start {
            self.last_flush = at;
        }
        self.sequence = head.sequence + 1;
        self.at = self.behind_padding((at + head.framed_bytes()).min(self.file.len()));
        Found::Record { offset: offset(at), sequence: head.sequence, record }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        if self.waiting.is_some() {
            return self.waiting.take();
        }
        if self.has_ended {
            return None;
        }
        let (expected_at, expected) = (self.at, self.sequence);
        let place = self.sound_at(expected_at).or_else(|| self.search(expected_at));
        let Some(place) = place else {
            self.has_ended = true;
            return None;
        };
        let is_next = place.at == expected_at && place.head.sequence == expected;
        let (bytes, sequences) = (offset(place.at - expected_at), place.head.sequence - expected);
        let found = self.take(place);
        if is_next {
            return Some(found);
        }
        self.waiting = Some(found);
        Some(Found::Skipped { offset: offset(expected_at), bytes, sequences })
    }
}

/// A place in memory as a place in the file.
fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
