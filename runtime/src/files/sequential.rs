//! Reading a file from front to back: the next piece is on its way while one is gone through, and pieces are read into
//! buffers that are used again, because memory that is fresh for each costs more than the reading.
//!
//! ```text
//! buffer   | ... tail of the piece before | piece, read from the disk |
//!                ^ what the caller asks for starts in the tail
//! ```
//! Whoever reads records asks for the next piece from the start of the record that the last one cuts. What of it was read
//! already is copied in front of the next piece, so that nothing is read twice and the record is in one place.
//!
//! On an io_uring executor, which writes past the page cache, it is read past the page cache, too: what is not in there
//! need not be copied out of it.

use std::cell::RefCell;
use std::fmt;
use std::fs::File as StdFile;
use std::io;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::path::PathBuf;
use std::rc::Rc;
use std::sync::{Arc, OnceLock};

use async_channel::Receiver;
use rustix::fs::{Mode, OFlags, open};
use rustix::io::Errno;

use super::blocking::read_full_at;
use super::helper::Helper;
use super::{BLOCK_BYTES, FileError};
use crate::Backend;
use crate::executor::backend;

/// Buffers kept at most: of the piece that is gone through, of the next and of the one behind.
const BUFFERS_KEPT: usize = 3;

/// Memory for pieces, aligned as direct reading asks for.
struct Buffer {
    bytes: Vec<u8>,
    /// Where the first whole block starts.
    base: usize,
}

impl Buffer {
    fn of(length: usize) -> Self {
        let bytes = vec![0; length + BLOCK_BYTES];
        // Bytes can be aligned to anything.
        let base = bytes.as_ptr().align_offset(BLOCK_BYTES).min(BLOCK_BYTES);
        Self { bytes, base }
    }

    fn length(&self) -> usize {
        self.bytes.len() - BLOCK_BYTES
    }

    fn get(&self, range: Range<usize>) -> &[u8] {
        &self.bytes[self.base + range.start..self.base + range.end]
    }

    fn get_mut(&mut self, range: Range<usize>) -> &mut [u8] {
        &mut self.bytes[self.base + range.start..self.base + range.end]
    }
}

/// The buffers of one reader after another.
#[derive(Clone, Default)]
pub struct ReadBuffers(Rc<RefCell<Vec<Buffer>>>);

impl ReadBuffers {
    fn take(&self, length: usize) -> Buffer {
        let kept = self.0.borrow_mut().pop();
        kept.filter(|buffer| buffer.length() >= length).unwrap_or_else(|| Buffer::of(length))
    }

    fn keep(&self, buffer: Buffer) {
        let mut kept = self.0.borrow_mut();
        if kept.len() < BUFFERS_KEPT {
            kept.push(buffer);
        }
    }
}

impl fmt::Debug for ReadBuffers {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("ReadBuffers").field(&self.0.borrow().len()).finish()
    }
}

/// Bytes of a file. Clones are the same bytes; the memory is used again after the last of them.
#[derive(Clone)]
pub struct Piece(Rc<Held>);

struct Held {
    /// Taken by the destructor only.
    buffer: Option<Buffer>,
    range: Range<usize>,
    home: ReadBuffers,
}

impl AsRef<[u8]> for Piece {
    fn as_ref(&self) -> &[u8] {
        self.0.buffer.as_ref().map_or(&[], |buffer| buffer.get(self.0.range.clone()))
    }
}

impl fmt::Debug for Piece {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_tuple("Piece").field(&self.0.range).finish()
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(buffer) = self.buffer.take() {
            self.home.keep(buffer);
        }
    }
}

/// The file as the helper thread reads it.
struct Source {
    plain: Arc<StdFile>,
    is_direct_wanted: bool,
    /// Opened by the first to read; none where the file system has no direct I/O.
    direct: OnceLock<Option<StdFile>>,
}

impl Source {
    /// Reads until the buffer is full or the file ends. May block.
    fn read(&self, into: &mut [u8], offset: u64) -> io::Result<usize> {
        let direct =
            if self.is_direct_wanted { self.direct.get_or_init(|| reopen(&self.plain)).as_ref() } else { None };
        let Some(direct) = direct else { return read_full_at(&self.plain, into, offset) };
        match read_full_at(direct, into, offset) {
            // The end of a file that is no whole number of blocks, or a device whose blocks are larger.
            Err(error) if Errno::from_io_error(&error) == Some(Errno::INVAL) => read_full_at(&self.plain, into, offset),
            outcome => outcome,
        }
    }
}

/// Opens a file that is open once more, to be read past the page cache.
fn reopen(plain: &StdFile) -> Option<StdFile> {
    let path = format!("/proc/self/fd/{}", plain.as_raw_fd());
    open(path, OFlags::RDONLY | OFlags::DIRECT | OFlags::CLOEXEC, Mode::empty()).map(StdFile::from).ok()
}

/// A buffer, and how many bytes were read into it.
type Outcome = (Buffer, io::Result<usize>);

/// A piece that is being read.
struct Ahead {
    from: u64,
    length: usize,
    outcome: Receiver<Result<Outcome, FileError>>,
}

/// What of a piece is needed in front of the next.
struct Tail {
    piece: Option<Piece>,
    range: Range<usize>,
}

/// Reads one file from front to back.
pub struct Sequential {
    path: PathBuf,
    file_bytes: u64,
    piece_bytes: usize,
    /// Taken by the destructor only.
    source: Option<Arc<Source>>,
    helper: Helper,
    buffers: ReadBuffers,
    /// Where the last piece starts in the file, and the piece.
    last: Option<(u64, Piece)>,
    ahead: Option<Ahead>,
}

impl Sequential {
    pub(super) fn new(
        path: PathBuf,
        file_bytes: u64,
        plain: Arc<StdFile>,
        helper: Helper,
        buffers: &ReadBuffers,
        piece_bytes: usize,
    ) -> Self {
        let is_direct_wanted = backend() == Backend::Uring;
        let source = Some(Arc::new(Source { plain, is_direct_wanted, direct: OnceLock::new() }));
        let piece_bytes = piece_bytes.next_multiple_of(BLOCK_BYTES);
        Self { path, file_bytes, piece_bytes, source, helper, buffers: buffers.clone(), last: None, ahead: None }
    }

    /// Reads `range`, which begins where a block does, and what comes with it: fewer bytes only where the file ends,
    /// perhaps more.
    ///
    /// # Errors
    /// [`FileError`]; nothing was changed.
    pub async fn read(&mut self, range: Range<u64>) -> Result<Piece, FileError> {
        let tail = self.tail_before_ahead(&range);
        if tail.is_none() {
            let length = usize::try_from(range.end - range.start).unwrap_or(usize::MAX);
            self.ahead = Some(self.begin(range.start, length.max(self.piece_bytes)).await?);
        }
        let Some(Ahead { from, length, outcome }) = self.ahead.take() else { return Err(self.broken_off()) };
        if length == self.piece_bytes {
            // Behind it in the helper's queue, so that the disk goes on while this piece is gone through.
            self.ahead = Some(self.begin(from + length as u64, length).await?);
        }
        let (mut buffer, read) = outcome.recv().await.map_err(|_| self.broken_off())??;
        let read = read.map_err(|error| FileError::new(&self.path, "read", error))?;
        let mut start = self.piece_bytes;
        if let Some(Tail { piece: Some(piece), range }) = tail {
            start -= range.len();
            buffer.get_mut(start..self.piece_bytes).copy_from_slice(&piece.as_ref()[range]);
        }
        let held = Held { buffer: Some(buffer), range: start..self.piece_bytes + read, home: self.buffers.clone() };
        let piece = Piece(Rc::new(held));
        self.last = Some((range.start, piece.clone()));
        Ok(piece)
    }

    /// What of `range` is in the last piece, if all the rest is in the one that is being read.
    fn tail_before_ahead(&self, range: &Range<u64>) -> Option<Tail> {
        let ahead = self.ahead.as_ref()?;
        let end = (ahead.from + ahead.length as u64).min(self.file_bytes);
        if range.end.min(self.file_bytes) > end || range.start > ahead.from {
            return None;
        }
        if range.start == ahead.from {
            return Some(Tail { piece: None, range: 0..0 });
        }
        let (last_from, piece) = self.last.as_ref()?;
        let from = usize::try_from(range.start.checked_sub(*last_from)?).ok()?;
        let to = piece.as_ref().len();
        // A piece that was cut short ends before the next one begins.
        let is_whole = last_from + to as u64 == ahead.from && to.checked_sub(from)? <= self.piece_bytes;
        is_whole.then(|| Tail { piece: Some(piece.clone()), range: from..to })
    }

    /// Has the helper thread read a piece into the second part of a buffer.
    async fn begin(&self, from: u64, length: usize) -> Result<Ahead, FileError> {
        let Some(source) = self.source.clone() else { return Err(self.broken_off()) };
        let rest = usize::try_from(self.file_bytes.saturating_sub(from)).unwrap_or(usize::MAX);
        // Whatever is asked for, no more memory is taken than for a piece or the rest of the file.
        let (at, length) = (self.piece_bytes, length.min(rest.max(self.piece_bytes)).next_multiple_of(BLOCK_BYTES));
        let end = at + length.min(rest).next_multiple_of(BLOCK_BYTES);
        let mut buffer = self.buffers.take(at + length);
        let work = move || {
            let read = source.read(buffer.get_mut(at..end), from);
            Ok((buffer, read))
        };
        let outcome = self.helper.begin(&self.path, "read", work).await?;
        Ok(Ahead { from, length, outcome })
    }

    fn broken_off(&self) -> FileError {
        FileError::BrokenOff { path: self.path.clone(), operation: "read" }
    }
}

impl fmt::Debug for Sequential {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("Sequential").field("path", &self.path).finish_non_exhaustive()
    }
}

impl Drop for Sequential {
    fn drop(&mut self) {
        if let Some(source) = self.source.take() {
            self.helper.dispose(source);
        }
    }
}
