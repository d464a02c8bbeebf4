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

pub mod cursor;
pub mod pieces;

mod sums;

use super::format::{BLOCK_BYTES, Head, HeaderError, RECORD_HEADER_BYTES, Record, SegmentHeader};
use cursor::{Cursor, Window};

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
    cursor: Cursor,
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
        Self { file, cursor: Cursor::new(header, file.len(), file.len()) }
    }

    /// Where the records end. Asked before the iterator has ended, where those returned so far do.
    #[must_use]
    pub fn tail(&self) -> Tail {
        let Cursor { at, sequence, last_flush, .. } = self.cursor;
        let rest = self.file.get(at..).unwrap_or_default();
        let stands_there = || rest.get(8..16).is_some_and(|found| *found == sequence.to_le_bytes());
        let behind = if rest.iter().all(|byte| *byte == 0) {
            Behind::Nothing
        } else if !at.is_multiple_of(BLOCK_BYTES) || stands_there() {
            // Within a block only this use of the file has written.
            Behind::Torn
        } else {
            Behind::Former
        };
        Tail { offset: offset(at), sequence, behind, last_flush: offset(last_flush) }
    }
}

impl<'a> Iterator for Records<'a> {
    type Item = Found<'a>;

    fn next(&mut self) -> Option<Found<'a>> {
        // Of a whole file nothing is wanted that is not there.
        self.cursor.next(Window::whole(self.file)).ok().flatten()
    }
}

/// A place in memory as a place in the file.
fn offset(at: usize) -> u64 {
    u64::try_from(at).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
