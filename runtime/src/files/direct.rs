//! Writing past the page cache through glommio's ring.
//!
//! Four traits of glommio shape this file.
//!
//! A future of glommio's that is polled again and again while it waits keeps a waker for every poll, and a task has room
//! for 32,767. So each operation runs in a task of its own, which nothing but its completion wakes, and the caller waits
//! for the task's answer. That also makes it safe to drop the caller's future: the operation goes on.
//!
//! Tasks that are left when the executor ends are dropped, and then the kernel may still be reading the buffer of a
//! write. So an operation that is dropped unfinished leaks its buffer and its descriptor, as small a loss as a process
//! that ends can have.
//!
//! A file of glommio's is closed by its ring, which the end of the executor may forestall. So the descriptor is taken out
//! of glommio's hands and closed by the helper thread.
//!
//! Where a first read of a device succeeds on its ring for polled I/O, glommio sends all direct I/O of the device there, and
//! its loop does not sleep while any is under way: it goes round, setting and cancelling its timers, until a disk that tells
//! by interrupt is done. So the file is opened for writing only. That read fails then, and writes go to the ring that the
//! loop sleeps on.
//!
//! Buffers come from the memory that glommio has registered with the kernel (see `URING_IO_MEMORY_BYTES`), which saves
//! mapping their pages for each write; glommio takes them from the heap, aligned, when that is used up. Its size is left
//! as it is: it holds one operation of the largest size and several small ones, an executor has few under way at once, and
//! registered memory counts against the limit on locked memory. glommio's buffers can only be shortened, never lengthened
//! again, so none is kept here: the registered memory is the pool.

use std::collections::VecDeque;
use std::fs::File as StdFile;
use std::future::Future;
use std::io;
use std::mem;
use std::ops::Range;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

use async_channel::Receiver;
use futures_util::FutureExt;
use glommio::GlommioError;
use glommio::io::{DmaBuffer, DmaFile, OpenOptions, OwnedDmaFile};
use rustix::fs::{FsWord, fstatfs};
use rustix::io::Errno;

use super::BLOCK_BYTES;
use super::helper::Helper;
use crate::executor::spawn;

/// Bytes that one operation writes at most. A buffer of this size still comes out of the registered memory; larger ones
/// would be mapped anew each time, which takes longer than the write.
const WRITE_BYTES_MAX: usize = 512 << 10;

/// Parts of one write that are on their way beside each other. Two fill the registered memory.
const PARTS_MAX: usize = 2;

/// What `statfs` calls tmpfs.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// How often one operation is repeated that the kernel has put off (EAGAIN, EINTR) before it counts as failed.
const TRIES_MAX: usize = 16;

/// A part of a write that is on its way.
struct Part {
    range: Range<usize>,
    outcome: Receiver<io::Result<usize>>,
}

/// A file as the ring writes to it.
pub(super) struct DirectFile {
    /// Taken by the destructor only.
    file: Option<DmaFile>,
    is_direct: bool,
    helper: Helper,
}

impl DirectFile {
    /// Opens the file behind a descriptor once more. The error is a text for the log.
    pub(super) async fn open(plain: Arc<StdFile>, helper: Helper) -> Result<Self, String> {
        // On tmpfs, and only there, glommio writes through the page cache.
        let is_direct = fstatfs(&plain).is_ok_and(|system| system.f_type != TMPFS_MAGIC);
        // The file may have been renamed since, but its descriptor leads to it. The process is named by its number
        // because `self` means something else to the kernel's worker threads before Linux 5.12.
        let path = format!("/proc/{}/fd/{}", std::process::id(), plain.as_raw_fd());
        let opened = in_task(async move {
            // glommio looks into /sys and panics if it finds a device it does not expect.
            let mut options = OpenOptions::new();
            let opened = options.write(true).dma_open(&path);
            let opened = AssertUnwindSafe(opened).catch_unwind().await;
            drop(plain);
            match opened {
                Ok(opened) => opened.map_err(|error| system_error(error).to_string()),
                Err(_panic) => Err("glommio does not know the device".to_owned()),
            }
        });
        let file = opened.await.unwrap_or_else(|| Err("the executor ends".to_owned()))?;
        let alignment = file.alignment();
        let file = Self { file: Some(file), is_direct, helper };
        if alignment > BLOCK_BYTES as u64 {
            return Err(format!("the device writes in units of {alignment} bytes"));
        }
        Ok(file)
    }

    /// Whether writes go past the page cache.
    pub(super) fn is_direct(&self) -> bool {
        self.is_direct
    }

    /// Writes `length` bytes that `fill` puts together part by part; offset and length are aligned. Parts are on their way
    /// beside each other: the loop wakes less often, and the disk need not wait for it. `None` if the executor ended before
    /// the outcome.
    pub(super) async fn write_with(
        self: &Rc<Self>,
        offset: u64,
        length: usize,
        fill: &impl Fn(usize, &mut [u8]),
    ) -> Option<io::Result<()>> {
        let mut parts = VecDeque::with_capacity(PARTS_MAX);
        let (mut begun, mut failed, mut tries) = (0, None, 0);
        loop {
            while begun < length && parts.len() < PARTS_MAX && failed.is_none() {
                let range = begun..length.min(begun + WRITE_BYTES_MAX);
                begun = range.end;
                match self.begin(offset, range, fill) {
                    Ok(part) => parts.push_back(part),
                    Err(error) => failed = Some(error),
                }
            }
            // After a failure, too, all that has begun is waited for: nothing of it may be written any later.
            let Some(Part { range, outcome }) = parts.pop_front() else { break };
            // A short write goes on at the last whole block.
            let written = match outcome.recv().await.ok()? {
                Ok(written) => written.min(range.len()) / BLOCK_BYTES * BLOCK_BYTES,
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::INTR)) => 0,
                Err(error) => {
                    failed = failed.or(Some(error));
                    continue;
                }
            };
            let rest = range.start + written..range.end;
            tries = if written == 0 { tries + 1 } else { 0 };
            if rest.is_empty() || failed.is_some() {
                continue;
            }
            if tries == TRIES_MAX {
                failed = Some(io::Error::from(io::ErrorKind::WriteZero));
                continue;
            }
            match self.begin(offset, rest, fill) {
                Ok(part) => parts.push_front(part),
                Err(error) => failed = Some(error),
            }
        }
        Some(failed.map_or(Ok(()), Err))
    }

    /// Begins to write a part.
    fn begin(self: &Rc<Self>, offset: u64, range: Range<usize>, fill: &impl Fn(usize, &mut [u8])) -> io::Result<Part> {
        let mut buffer = self.file()?.alloc_dma_buffer(range.len());
        fill(range.start, buffer.as_bytes_mut());
        let outcome = begin_task(Rc::clone(self).write_once(offset + range.start as u64, buffer));
        Ok(Part { range, outcome })
    }

    /// `fdatasync`. `None` if the executor ended before the outcome.
    pub(super) async fn sync(self: &Rc<Self>) -> Option<io::Result<()>> {
        in_task(Rc::clone(self).sync_once()).await
    }

    async fn write_once(self: Rc<Self>, offset: u64, buffer: DmaBuffer) -> io::Result<usize> {
        let buffer = Rc::new(buffer);
        let unfinished = Unfinished::new(&self, Some(&buffer));
        let outcome = self.file()?.write_rc_at(buffer, offset).await;
        unfinished.finish();
        outcome.map_err(system_error)
    }

    async fn sync_once(self: Rc<Self>) -> io::Result<()> {
        let unfinished = Unfinished::new(&self, None);
        let outcome = self.file()?.fdatasync().await;
        unfinished.finish();
        outcome.map_err(system_error)
    }

    fn file(&self) -> io::Result<&DmaFile> {
        // It is there until the destructor takes it.
        self.file.as_ref().ok_or_else(|| io::Error::from(Errno::BADF))
    }
}

impl Drop for DirectFile {
    fn drop(&mut self) {
        if let Some(file) = self.file.take() {
            self.helper.dispose(OwnedDmaFile::from(file));
        }
    }
}

/// What the kernel uses while an operation is under way. Dropped without [`finish`](Self::finish), it leaks them: the
/// kernel may not be done.
struct Unfinished {
    file: Option<Rc<DirectFile>>,
    buffer: Option<Rc<DmaBuffer>>,
}

impl Unfinished {
    fn new(file: &Rc<DirectFile>, buffer: Option<&Rc<DmaBuffer>>) -> Self {
        Self { file: Some(Rc::clone(file)), buffer: buffer.map(Rc::clone) }
    }

    fn finish(mut self) {
        self.file = None;
        self.buffer = None;
    }
}

impl Drop for Unfinished {
    fn drop(&mut self) {
        mem::forget(self.file.take());
        mem::forget(self.buffer.take());
    }
}

/// Runs an operation in a task of its own and waits for its outcome, which is `None` if the executor drops the task.
async fn in_task<T: 'static>(operation: impl Future<Output = T> + 'static) -> Option<T> {
    begin_task(operation).recv().await.ok()
}

/// Runs an operation in a task of its own. Nothing is received if the executor drops the task.
fn begin_task<T: 'static>(operation: impl Future<Output = T> + 'static) -> Receiver<T> {
    let (reply, outcome) = async_channel::bounded(1);
    spawn(async move {
        // The caller may have given up waiting.
        let _sent = reply.try_send(operation.await);
    });
    outcome
}

/// The system's answer inside glommio's error, which its own conversion reduces to a text.
fn system_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}
