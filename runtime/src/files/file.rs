//! One open file of a log.

use std::cell::RefCell;
use std::fmt;
use std::fs::File as StdFile;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::sync::Arc;

use rustix::io::Errno;

use super::blocking::{Opened, read_full_at};
use super::direct::DirectFile;
use super::helper::Helper;
use super::sequential::{ReadBuffers, Sequential};
use super::{FileError, is_aligned};
use crate::Backend;
use crate::executor::backend;

/// An open file of fixed length. Clones are the same open file; it is closed, in the background, with the last of them.
///
/// Several calls may be under way at once, but no two writes may overlap.
#[derive(Clone)]
pub struct File {
    inner: Rc<Inner>,
}

struct Inner {
    path: PathBuf,
    bytes: u64,
    is_writable: bool,
    /// What the helper thread reads by, and writes by where there is no direct I/O.
    plain: Arc<StdFile>,
    direct: RefCell<Direct>,
    helper: Helper,
}

/// The file once more, as the ring writes to it.
#[derive(Clone)]
enum Direct {
    Untried,
    Refused,
    Open(Rc<DirectFile>),
}

impl File {
    pub(super) fn new(path: PathBuf, opened: Opened, helper: Helper) -> Self {
        let Opened { file, bytes, is_writable } = opened;
        let plain = Arc::new(file);
        Self {
            inner: Rc::new(Inner { path, bytes, is_writable, plain, direct: RefCell::new(Direct::Untried), helper }),
        }
    }

    /// The path that the file was opened by.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.inner.path
    }

    /// The file's length in bytes when it was opened; writes do not change it.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.inner.bytes
    }

    /// Whether writes go past the page cache. False on epoll, where the file system refuses, and before the first write
    /// to a file that was only opened.
    #[must_use]
    pub fn is_direct(&self) -> bool {
        matches!(&*self.inner.direct.borrow(), Direct::Open(file) if file.is_direct())
    }

    /// Writes all of the bytes, which are copied first. They are durable only after [`sync`](Self::sync).
    ///
    /// # Errors
    /// As [`write_with`](Self::write_with).
    pub async fn write_at(&self, offset: u64, bytes: &[u8]) -> Result<(), FileError> {
        self.write_with(offset, bytes.len(), |from, into| into.copy_from_slice(&bytes[from..from + into.len()])).await
    }

    /// Writes `length` bytes, which `fill` puts into the memory that they are written from: given how far from the start and
    /// the memory for what stands there. It may be called again for the same part. The bytes are durable only after
    /// [`sync`](Self::sync).
    ///
    /// If the future is dropped before it is done, the bytes may yet be written, whole or in part, at any time until the
    /// file is closed.
    ///
    /// # Errors
    /// [`FileError`]; some of the bytes may have been written, unless offset or length are wrong.
    pub async fn write_with(
        &self,
        offset: u64,
        bytes: usize,
        fill: impl Fn(usize, &mut [u8]),
    ) -> Result<(), FileError> {
        let (inner, length) = (&self.inner, bytes as u64);
        if !is_aligned(offset) || !is_aligned(length) {
            return Err(FileError::Misaligned { path: inner.path.clone(), offset, length });
        }
        if offset.checked_add(length).is_none_or(|end| end > inner.bytes) {
            return Err(FileError::PastEnd { path: inner.path.clone(), offset, length, bytes: inner.bytes });
        }
        if !inner.is_writable {
            return Err(FileError::ReadOnly { path: inner.path.clone(), operation: "write to" });
        }
        if bytes == 0 {
            return Ok(());
        }
        self.open_direct().await;
        let direct = inner.direct.borrow().clone();
        if let Direct::Open(direct) = direct {
            match direct.write_with(offset, bytes, &fill).await {
                // The file system has a rule for direct I/O that blocks of this size do not meet.
                Some(Err(error)) if Errno::from_io_error(&error) == Some(Errno::INVAL) => {
                    tracing::warn!(path = %inner.path.display(), "direct writes are refused, a thread writes instead");
                    inner.direct.replace(Direct::Refused);
                }
                Some(outcome) => return outcome.map_err(|error| FileError::new(&inner.path, "write to", error)),
                None => return Err(FileError::BrokenOff { path: inner.path.clone(), operation: "write to" }),
            }
        }
        self.write_plain(offset, bytes, &fill).await
    }

    async fn write_plain(&self, offset: u64, bytes: usize, fill: &impl Fn(usize, &mut [u8])) -> Result<(), FileError> {
        let inner = &self.inner;
        let (plain, mut buffer) = (Arc::clone(&inner.plain), inner.helper.buffer(bytes));
        fill(0, &mut buffer);
        let work = move || {
            let outcome = plain.write_all_at(&buffer, offset);
            Ok((buffer, outcome))
        };
        let (buffer, outcome) = inner.helper.run(&inner.path, "write to", work).await?;
        inner.helper.keep(buffer);
        outcome.map_err(|error| FileError::new(&inner.path, "write to", error))
    }

    /// Makes durable what was written by calls that had returned before this one began (`fdatasync`).
    ///
    /// # Errors
    /// [`FileError`]; what was written since the last good sync must be taken as lost. A second sync may well succeed
    /// and still not bring it back, so none is ever tried here, and none must be tried by the caller.
    pub async fn sync(&self) -> Result<(), FileError> {
        let inner = &self.inner;
        let direct = inner.direct.borrow().clone();
        if let Direct::Open(direct) = direct {
            return match direct.sync().await {
                Some(outcome) => outcome.map_err(|error| FileError::new(&inner.path, "sync", error)),
                None => Err(FileError::BrokenOff { path: inner.path.clone(), operation: "sync" }),
            };
        }
        let plain = Arc::clone(&inner.plain);
        let synced = inner.helper.run(&inner.path, "sync", move || Ok(plain.sync_data())).await?;
        synced.map_err(|error| FileError::new(&inner.path, "sync", error))
    }

    /// Reads up to `length` bytes, fewer only where the file ends. Neither number need be aligned. The memory taken is
    /// bounded by the file's length.
    ///
    /// Reads go through the page cache on the helper thread: they are rare. A log is read from one end to the other by
    /// [`sequential`](Self::sequential).
    ///
    /// # Errors
    /// [`FileError`]; nothing was changed.
    pub async fn read_at(&self, offset: u64, length: usize) -> Result<Vec<u8>, FileError> {
        let inner = &self.inner;
        let rest = usize::try_from(inner.bytes.saturating_sub(offset)).unwrap_or(usize::MAX);
        let (plain, length) = (Arc::clone(&inner.plain), length.min(rest));
        let work = move || {
            let mut buffer = vec![0; length];
            let read = read_full_at(&plain, &mut buffer, offset);
            Ok(read.map(|read| {
                buffer.truncate(read);
                buffer
            }))
        };
        let read = inner.helper.run(&inner.path, "read", work).await?;
        read.map_err(|error| FileError::new(&inner.path, "read", error))
    }

    /// A reader of the file from front to back, in pieces of `piece_bytes`, with the buffers of earlier ones.
    #[must_use]
    pub fn sequential(&self, piece_bytes: usize, buffers: &ReadBuffers) -> Sequential {
        let Inner { path, bytes, plain, helper, .. } = &*self.inner;
        Sequential::new(path.clone(), *bytes, Arc::clone(plain), helper.clone(), buffers, piece_bytes)
    }

    /// Opens the file for the ring, once, if the executor has one. A file system that refuses costs speed only.
    pub(super) async fn open_direct(&self) {
        let inner = &self.inner;
        if backend() != Backend::Uring || !matches!(*inner.direct.borrow(), Direct::Untried) {
            return;
        }
        let opened = DirectFile::open(Arc::clone(&inner.plain), inner.helper.clone()).await;
        let opened = match opened {
            Ok(file) => Direct::Open(Rc::new(file)),
            Err(cause) => {
                tracing::info!(path = %inner.path.display(), cause, "no direct I/O here, a thread writes instead");
                Direct::Refused
            }
        };
        // Two first writes at once may both have opened it; the first to finish decides.
        if matches!(*inner.direct.borrow(), Direct::Untried) {
            inner.direct.replace(opened);
        }
    }
}

impl fmt::Debug for File {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.debug_struct("File").field("path", &self.inner.path).field("bytes", &self.inner.bytes).finish()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        // Closing may block on a network file system. This reference to the file goes on to the helper thread, and the
        // one in the field is dropped right after, long before that thread has woken up.
        self.helper.dispose(Arc::clone(&self.plain));
    }
}
