//! Writing past the page cache through glommio's ring.
//!
//! Three traits of glommio shape this file.
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
//! Buffers come from the memory that glommio has registered with the kernel (see `URING_IO_MEMORY_BYTES`), which saves
//! mapping their pages for each write; glommio takes them from the heap, aligned, when that is used up. Its size is left
//! as it is: it holds one operation of the largest size and several small ones, an executor has few under way at once, and
//! registered memory counts against the limit on locked memory. glommio's buffers can only be shortened, never lengthened
//! again, so none is kept here: the registered memory is the pool.

use std::fs::File as StdFile;
use std::future::Future;
use std::io;
use std::mem;
use std::os::fd::AsRawFd;
use std::panic::AssertUnwindSafe;
use std::rc::Rc;
use std::sync::Arc;

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

/// What `statfs` calls tmpfs.
const TMPFS_MAGIC: FsWord = 0x0102_1994;

/// How often one operation is repeated that the kernel has put off (EAGAIN, EINTR) before it counts as failed.
const TRIES_MAX: usize = 16;

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
            let opened = options.read(true).write(true).dma_open(&path);
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

    /// Writes all of the bytes; offset and length are aligned. `None` if the executor ended before the outcome.
    pub(super) async fn write_at(self: &Rc<Self>, offset: u64, bytes: &[u8]) -> Option<io::Result<()>> {
        let (mut done, mut tries) = (0, 0);
        while done < bytes.len() {
            let end = bytes.len().min(done + WRITE_BYTES_MAX);
            let buffer = match self.copy(&bytes[done..end]) {
                Ok(buffer) => buffer,
                Err(error) => return Some(Err(error)),
            };
            let outcome = in_task(Rc::clone(self).write_once(offset + done as u64, buffer)).await?;
            // A short write goes on at the last whole block.
            let written = match outcome {
                Ok(written) => written.min(end - done) / BLOCK_BYTES * BLOCK_BYTES,
                Err(error) if matches!(Errno::from_io_error(&error), Some(Errno::AGAIN | Errno::INTR)) => 0,
                Err(error) => return Some(Err(error)),
            };
            done += written;
            tries = if written == 0 { tries + 1 } else { 0 };
            if tries == TRIES_MAX {
                return Some(Err(io::Error::from(io::ErrorKind::WriteZero)));
            }
        }
        Some(Ok(()))
    }

    /// `fdatasync`. `None` if the executor ended before the outcome.
    pub(super) async fn sync(self: &Rc<Self>) -> Option<io::Result<()>> {
        in_task(Rc::clone(self).sync_once()).await
    }

    fn copy(&self, bytes: &[u8]) -> io::Result<DmaBuffer> {
        let mut buffer = self.file()?.alloc_dma_buffer(bytes.len());
        buffer.as_bytes_mut().copy_from_slice(bytes);
        Ok(buffer)
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
    let (reply, outcome) = async_channel::bounded(1);
    spawn(async move {
        // The caller may have given up waiting.
        let _sent = reply.try_send(operation.await);
    });
    outcome.recv().await.ok()
}

/// The system's answer inside glommio's error, which its own conversion reduces to a text.
fn system_error(error: GlommioError<()>) -> io::Error {
    match error {
        GlommioError::IoError(source) | GlommioError::EnhancedIoError { source, .. } => source,
        other => io::Error::other(other.to_string()),
    }
}
