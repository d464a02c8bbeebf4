//! One thread for each executor that does what may block: directory entries, allocation, reading, and on epoll writing.
//!
//! Neither library's own pool is used: tokio's would run calls of one file side by side on many threads, and glommio's
//! loses its caller's wake-ups.

use std::cell::RefCell;
use std::future::Future;
use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::Path;
use std::rc::Rc;
use std::thread;

use async_channel::Receiver;
use rustix::process::getpid;
use rustix::thread::{sched_getaffinity, sched_setaffinity};

use super::FileError;

/// Calls that wait for the thread at most; the next caller waits for a place among them. A log has a few calls under way
/// at once, so it is never reached unless the disk stands still.
const JOBS_MAX: usize = 64;

/// Buffers of finished writes that are kept for the next: one for each stream of a log.
const BUFFERS_KEPT: usize = 2;

/// A buffer that has grown beyond this many bytes is given back instead. A log writes some 8 MiB and one request at once.
const BUFFER_BYTES_KEPT: usize = 12 << 20;

type Job = Box<dyn FnOnce() + Send>;

thread_local! {
    /// The helper of this thread's executor, made when it is first needed. The thread ends with its last user.
    static HELPER: RefCell<Option<Helper>> = const { RefCell::new(None) };
}

/// The way to the helper thread. It is cheap to clone.
#[derive(Clone, Debug)]
pub(super) struct Helper {
    jobs: async_channel::Sender<Job>,
    buffers: Rc<RefCell<Vec<Vec<u8>>>>,
}

impl Helper {
    /// The helper of the current executor. The path is for the error.
    pub(super) fn current(path: &Path) -> Result<Self, FileError> {
        HELPER.with_borrow_mut(|current| match current {
            Some(helper) => Ok(helper.clone()),
            None => {
                let helper = Self::start().map_err(|source| FileError::new(path, "start a thread for", source))?;
                Ok(current.insert(helper).clone())
            }
        })
    }

    fn start() -> io::Result<Self> {
        let (jobs, queue) = async_channel::bounded::<Job>(JOBS_MAX);
        let serve = move || {
            leave_the_core();
            while let Ok(job) = queue.recv_blocking() {
                if catch_unwind(AssertUnwindSafe(job)).is_err() {
                    tracing::error!("a call to the file system panicked; its caller is told");
                }
            }
        };
        // Detached: a file system that hangs must not hold up the end of the process.
        let _detached = thread::Builder::new().name("files".to_owned()).spawn(serve)?;
        Ok(Self { jobs, buffers: Rc::default() })
    }

    /// Runs blocking work on the thread, after the work given to it before. Once the thread has been given the work, it
    /// is done even if the future is dropped.
    pub(super) fn run<T: Send + 'static>(
        &self,
        path: &Path,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> impl Future<Output = Result<T, FileError>> {
        let begun = self.begin(path, operation, work);
        async move {
            let broken_off = |_| FileError::BrokenOff { path: path.to_owned(), operation };
            begun.await?.recv().await.map_err(broken_off)?
        }
    }

    /// As [`run`](Self::run), for a caller that does not wait for the outcome yet: what is received is that, or an error if
    /// the work was broken off.
    pub(super) fn begin<T: Send + 'static>(
        &self,
        path: &Path,
        operation: &'static str,
        work: impl FnOnce() -> Result<T, FileError> + Send + 'static,
    ) -> impl Future<Output = Result<Receiver<Result<T, FileError>>, FileError>> {
        let (reply, outcome) = async_channel::bounded(1);
        let job: Job = Box::new(move || {
            // The caller may have given up waiting.
            let _sent = reply.try_send(work());
        });
        async move {
            let broken_off = |_| FileError::BrokenOff { path: path.to_owned(), operation };
            self.jobs.send(job).await.map_err(broken_off)?;
            Ok(outcome)
        }
    }

    /// Drops something on the thread whose destructor may block, such as an open file on a network file system.
    pub(super) fn dispose(&self, value: impl Send + 'static) {
        // With all places taken it is dropped here: blocking is better than a leak.
        let _sent = self.jobs.try_send(Box::new(move || drop(value)));
    }

    /// A buffer of so many bytes, of an earlier write if there is one: with whatever was in it.
    pub(super) fn buffer(&self, bytes: usize) -> Vec<u8> {
        let mut buffer = self.buffers.borrow_mut().pop().unwrap_or_default();
        buffer.resize(bytes, 0);
        buffer
    }

    /// Keeps a buffer for [`buffer`](Self::buffer).
    pub(super) fn keep(&self, buffer: Vec<u8>) {
        let mut buffers = self.buffers.borrow_mut();
        if buffers.len() < BUFFERS_KEPT && buffer.capacity() <= BUFFER_BYTES_KEPT {
            buffers.push(buffer);
        }
    }
}

/// A new thread inherits the core that its executor is pinned to, where each would wait for the other. The main thread's
/// cores are those of the process.
fn leave_the_core() {
    if let Ok(cores) = sched_getaffinity(Some(getpid())) {
        let _unchanged_if_refused = sched_setaffinity(None, &cores);
    }
}
