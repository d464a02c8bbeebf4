//! Where the records of a segment are, found over any part of the file that is in memory: the whole of it, or a piece
//! that is replaced by another when the cursor asks for one. What is found does not depend on the pieces.

use super::super::format::{BLOCK_BYTES, Head, RECORD_HEADER_BYTES, Record, SegmentHeader};
use super::sums::{PrefixSums, shifted};
use super::{Found, offset, seed};
use std::ops::Range;

/// Ranges of up to two blocks are checked byte by byte; for longer ones two ends of a block each and the prefix sums
/// are less work.
pub(super) const DIRECT_BYTES_MAX: usize = 2 * BLOCK_BYTES;

/// Bytes of a segment that are in memory at once while it is read, besides a record that is longer: large enough that a
/// disk reads them at its full rate, small beside what one core takes otherwise.
/// At the bound: the rest is read piece by piece.
pub const PIECE_BYTES: usize = 1 << 20;

/// The parts of a file that are in memory.
#[derive(Debug, Clone, Copy)]
pub struct Window<'a> {
    /// Where each part starts in the file, and its bytes.
    parts: [(usize, &'a [u8]); 2],
}

impl<'a> Window<'a> {
    /// All of a file.
    pub(super) fn whole(file: &'a [u8]) -> Self {
        Self { parts: [(0, file), (0, &[])] }
    }

    fn get(&self, range: Range<usize>) -> Option<&'a [u8]> {
        let within = |(from, bytes): &(usize, &'a [u8])| {
            bytes.get(range.start.checked_sub(*from)?..range.end.checked_sub(*from)?)
        };
        self.parts.iter().find_map(within)
    }

    /// The bytes from `at` on, as far as they are there; at least one.
    fn from(&self, at: usize) -> Option<&'a [u8]> {
        let from = |(from, bytes): &(usize, &'a [u8])| bytes.get(at.checked_sub(*from)?..);
        self.parts.iter().filter_map(from).find(|bytes| !bytes.is_empty())
    }
}

/// A part of the file that has to be in memory before the cursor can go on.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Wanted {
    /// Its place in the file: from the start of a block to the end of one, or of the file.
    pub range: Range<u64>,
    /// Whether the piece that is there is still needed.
    is_aside: bool,
}

impl Wanted {
    /// Its bytes.
    #[must_use]
    pub fn length(&self) -> usize {
        usize::try_from(self.range.end - self.range.start).unwrap_or(usize::MAX)
    }
}

/// What was read of a file for its cursor: a piece, and a block or two aside, in the memory that the host reads into.
#[derive(Debug)]
pub struct Pieces<B> {
    piece: Option<(usize, B)>,
    aside: Option<(usize, B)>,
}

impl<B> Default for Pieces<B> {
    fn default() -> Self {
        Self { piece: None, aside: None }
    }
}

impl<B: AsRef<[u8]>> Pieces<B> {
    /// What is there.
    #[must_use]
    pub fn window(&self) -> Window<'_> {
        let parts = [&self.piece, &self.aside];
        Window { parts: parts.map(|part| part.as_ref().map_or((0, &[][..]), |(from, bytes)| (*from, bytes.as_ref()))) }
    }

    /// Takes what was wanted, and perhaps what stands behind it, in place of what was there. False if it is not as long as
    /// it should be: then the file has become shorter, and there is no sense in going on.
    #[must_use]
    pub fn put(&mut self, wanted: &Wanted, bytes: B) -> bool {
        let is_whole = bytes.as_ref().len() >= wanted.length();
        let part = if wanted.is_aside { &mut self.aside } else { &mut self.piece };
        *part = Some((usize::try_from(wanted.range.start).unwrap_or(usize::MAX), bytes));
        is_whole
    }
}

/// A place where a sound record is.
struct Place<'a> {
    at: usize,
    head: Head,
    record: Record<'a>,
}

/// Where it looks for the next sound record.
#[derive(Debug)]
struct Search {
    /// Where the lengths of damaged records lead. One such chain at a time: its steps do not overlap.
    chain: Option<usize>,
    block: usize,
}

/// The checksum of a range that is longer than a piece, on its way.
#[derive(Debug)]
struct Stream {
    at: usize,
    done: usize,
    so_far: u32,
}

/// How far the records of a segment have been gone through.
#[derive(Debug)]
pub struct Cursor {
    file_bytes: usize,
    piece_bytes: usize,
    /// The checksum of the nonce, from which those of the records go on.
    seed: u32,
    /// Behind the last record and its flush's padding: where the next is expected.
    pub(super) at: usize,
    /// The sequence that is expected there.
    pub(super) sequence: u64,
    /// Where the last flush starts.
    pub(super) last_flush: usize,
    /// The record behind a gap that has just been told.
    waiting: Option<(usize, Head)>,
    /// Begun when the first long record fails.
    sums: Option<PrefixSums>,
    search: Option<Search>,
    /// The header at a place, if there is one, while its record is checked.
    looked_at: Option<(usize, Option<Head>)>,
    stream: Option<Stream>,
    /// The sum before a range of which the sum behind it is still wanted.
    before: Option<(usize, u32)>,
    has_ended: bool,
    /// Bytes that went into checksums.
    #[cfg(test)]
    pub(super) checked_bytes: usize,
}

impl Cursor {
    /// At the first record of a file of that length with that header. The file may be shorter or longer than the header
    /// says; it is read in pieces of `piece_bytes`, a multiple of a block.
    #[must_use]
    pub fn new(header: &SegmentHeader, file_bytes: usize, piece_bytes: usize) -> Self {
        Self {
            file_bytes,
            piece_bytes: piece_bytes.next_multiple_of(BLOCK_BYTES).max(DIRECT_BYTES_MAX),
            seed: seed(header.nonce),
            at: BLOCK_BYTES.min(file_bytes),
            sequence: header.first_sequence,
            last_flush: BLOCK_BYTES,
            waiting: None,
            sums: None,
            search: None,
            looked_at: None,
            stream: None,
            before: None,
            has_ended: false,
            #[cfg(test)]
            checked_bytes: 0,
        }
    }

    /// Where the next record is expected: behind the last one, once all is found.
    #[must_use]
    pub fn end(&self) -> u64 {
        offset(self.at)
    }

    /// What comes next; none behind the last record.
    ///
    /// # Errors
    /// The part of the file that is needed for this. Nothing was passed over; asked again with it, the cursor goes on.
    pub fn next<'a>(&mut self, window: Window<'a>) -> Result<Option<Found<'a>>, Wanted> {
        if let Some((at, head)) = self.waiting {
            let bytes = self.bytes(window, at..at + RECORD_HEADER_BYTES + head.payload_bytes)?;
            self.waiting = None;
            let record = head.record(bytes);
            return Ok(record.map(|record| Found::Record { offset: offset(at), sequence: head.sequence, record }));
        }
        if self.has_ended {
            return Ok(None);
        }
        let (expected_at, expected) = (self.at, self.sequence);
        let here = if self.search.is_none() { self.sound_at(window, expected_at)? } else { None };
        let place = match here {
            Some(place) => Some(place),
            None => self.search(window, expected_at)?,
        };
        let Some(place) = place else {
            self.has_ended = true;
            return Ok(None);
        };
        self.search = None;
        let is_next = place.at == expected_at && place.head.sequence == expected;
        let (bytes, sequences) = (offset(place.at - expected_at), place.head.sequence - expected);
        let (at, head) = (place.at, place.head);
        let found = self.take(window, place);
        if is_next {
            return Ok(Some(found));
        }
        self.waiting = Some((at, head));
        Ok(Some(Found::Skipped { offset: offset(expected_at), bytes, sequences }))
    }

    /// The first sound record behind `from`, where there is none.
    fn search<'a>(&mut self, window: Window<'a>, from: usize) -> Result<Option<Place<'a>>, Wanted> {
        if self.search.is_none() {
            let chain = self.next_by_length(window, from)?;
            self.search = Some(Search { chain, block: (from + 1).next_multiple_of(BLOCK_BYTES) });
        }
        while let Some(Search { chain, block }) = self.search {
            let at = chain.map_or(block, |chain| chain.min(block));
            if at >= self.file_bytes {
                break;
            }
            if let Some(place) = self.sound_at(window, at)? {
                return Ok(Some(place));
            }
            let chain = if chain.is_none_or(|chain| chain == at) { self.next_by_length(window, at)? } else { chain };
            let block = if block == at { block + BLOCK_BYTES } else { block };
            self.search = Some(Search { chain, block });
        }
        Ok(None)
    }

    /// Where the record at `at` says that the next one starts, if its header can be one.
    fn next_by_length(&mut self, window: Window<'_>, at: usize) -> Result<Option<usize>, Wanted> {
        Ok(self.head_at(window, at)?.map(|head| at + head.framed_bytes()))
    }

    /// The header at `at`, if it can be one and its payload lies within the file.
    fn head_at(&mut self, window: Window<'_>, at: usize) -> Result<Option<Head>, Wanted> {
        // Looked at once: while a long record is checked the piece that it starts in may have gone.
        if let Some((_, head)) = self.looked_at.filter(|(place, _)| *place == at) {
            return Ok(head);
        }
        let end = at.saturating_add(RECORD_HEADER_BYTES);
        let head = if end > self.file_bytes {
            None
        } else {
            let head = Head::read_start(self.bytes(window, at..end)?);
            head.filter(|head| head.payload_bytes <= self.file_bytes - end)
        };
        self.looked_at = Some((at, head));
        Ok(head)
    }

    /// The record at `at`, if it is sound and not older than the one expected.
    fn sound_at<'a>(&mut self, window: Window<'a>, at: usize) -> Result<Option<Place<'a>>, Wanted> {
        let Some(head) = self.head_at(window, at)? else { return Ok(None) };
        // The last sequence is never used, so that there is always a next one.
        if head.sequence < self.sequence || head.sequence == u64::MAX {
            return Ok(None);
        }
        if !self.has_right_checksum(window, at, &head)? {
            return Ok(None);
        }
        let bytes = self.bytes(window, at..at + RECORD_HEADER_BYTES + head.payload_bytes)?;
        Ok(head.record(bytes).map(|record| Place { at, head, record }))
    }

    fn has_right_checksum(&mut self, window: Window<'_>, at: usize, head: &Head) -> Result<bool, Wanted> {
        let range = at + 4..at + RECORD_HEADER_BYTES + head.payload_bytes;
        let is_long = range.len() > DIRECT_BYTES_MAX;
        if is_long && self.sums.is_some() {
            return Ok(self.checksum_by_sums(window, at, range)? == head.checksum);
        }
        let checksum = match window.get(range.clone()) {
            Some(bytes) => crc32c::crc32c_append(self.seed, bytes),
            None if range.len() <= self.piece_bytes => return Err(self.piece(at..range.end)),
            None => self.checksum_by_pieces(window, at, range.clone())?,
        };
        #[cfg(test)]
        {
            self.checked_bytes += range.len();
        }
        let is_right = checksum == head.checksum;
        if is_long && !is_right {
            self.sums = Some(PrefixSums::default());
        }
        Ok(is_right)
    }

    /// The checksum of a range that starts in the record at `at` and need not be in memory in whole.
    fn checksum_by_pieces(&mut self, window: Window<'_>, at: usize, range: Range<usize>) -> Result<u32, Wanted> {
        let begun = self.stream.take().filter(|stream| stream.at == at);
        let mut stream = begun.unwrap_or(Stream { at, done: range.start, so_far: self.seed });
        while stream.done < range.end {
            let Some(bytes) = window.from(stream.done) else {
                let wanted = self.piece(stream.done..stream.done + 1);
                self.stream = Some(stream);
                return Err(wanted);
            };
            let bytes = bytes.get(..range.end - stream.done).unwrap_or(bytes);
            stream.so_far = crc32c::crc32c_append(stream.so_far, bytes);
            stream.done += bytes.len();
        }
        Ok(stream.so_far)
    }

    /// The checksum of a range that starts in the record at `at`, from sums of the file's prefixes.
    fn checksum_by_sums(&mut self, window: Window<'_>, at: usize, range: Range<usize>) -> Result<u32, Wanted> {
        let Some(sums) = &mut self.sums else { return Ok(0) };
        while sums.bytes() < self.file_bytes {
            let Some(bytes) = window.from(sums.bytes()) else {
                let from = sums.bytes();
                return Err(self.piece(from..from + 1));
            };
            sums.extend(bytes);
        }
        let before = match self.before.filter(|(place, _)| *place == at) {
            Some((_, before)) => before,
            None => {
                let before = self.prefix(window, range.start, false)?;
                #[cfg(test)]
                {
                    self.checked_bytes += DIRECT_BYTES_MAX;
                }
                self.before = Some((at, before));
                before
            }
        };
        let behind = self.prefix(window, range.end, true)?;
        // The checksum is linear: prefix(end) = shifted(prefix(start)) ^ checksum(range), and what is asked for is
        // shifted(seed) ^ checksum(range), where both are shifted by the range's length.
        Ok(shifted(self.seed ^ before, range.len()) ^ behind)
    }

    /// The checksum of the file's first `end` bytes.
    fn prefix(&self, window: Window<'_>, end: usize, is_aside: bool) -> Result<u32, Wanted> {
        let Some((from, before)) = self.sums.as_ref().map(|sums| sums.before(end)) else { return Ok(0) };
        match window.get(from..end) {
            Some(bytes) => Ok(crc32c::crc32c_append(before, bytes)),
            None if is_aside => Err(Wanted { range: self.blocks(from..end), is_aside }),
            None => Err(self.piece(from..end)),
        }
    }

    /// Goes on behind a record, and returns it.
    fn take<'a>(&mut self, window: Window<'a>, place: Place<'a>) -> Found<'a> {
        let Place { at, head, record } = place;
        if head.is_flush_start {
            self.last_flush = at;
        }
        self.sequence = head.sequence + 1;
        let end = (at + head.framed_bytes()).min(self.file_bytes);
        // The start of the next block if only padding stands before it. Pieces end where blocks do, so it is there.
        let block_end = end.next_multiple_of(BLOCK_BYTES).min(self.file_bytes);
        let padding = window.get(end..block_end);
        let is_padding = padding.is_some_and(|padding| padding.iter().all(|byte| *byte == 0));
        self.at = if is_padding { block_end } else { end };
        Found::Record { offset: offset(at), sequence: head.sequence, record }
    }

    fn bytes<'a>(&self, window: Window<'a>, range: Range<usize>) -> Result<&'a [u8], Wanted> {
        window.get(range.clone()).ok_or_else(|| self.piece(range))
    }

    /// A piece with all of `range`, which lies in the file, and what fits behind it.
    fn piece(&self, range: Range<usize>) -> Wanted {
        let end = range.end.max((range.start - range.start % BLOCK_BYTES) + self.piece_bytes).min(self.file_bytes);
        Wanted { range: self.blocks(range.start..end), is_aside: false }
    }

    fn blocks(&self, range: Range<usize>) -> Range<u64> {
        let end = range.end.next_multiple_of(BLOCK_BYTES).min(self.file_bytes);
        offset(range.start - range.start % BLOCK_BYTES)..offset(end)
    }
}
