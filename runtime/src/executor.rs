//! Executors: one operating-system thread, one event loop, and the tasks on it.
//!
//! [`start`] makes the thread, pins it if asked and runs one main future to its end. Everything else on that core is
//! spawned from inside with [`spawn`], which contains panics: a panicking task is counted and logged and costs nobody
//! else anything. A panic of the main future, or of the event loop itself, ends the thread and is reported by
//! [`ExecutorHandle::join`].

mod heartbeat;
mod task;
mod time;

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::thread;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

use crate::Backend;

pub use task::{Contained, contain, spawn, task_panics, yield_now};
pub use time::{Alarm, Elapsed, sleep, timeout};

/// Memory that glommio registers with the kernel for storage I/O, per executor. Its own default is 10 MiB; the log's writes
/// take buffers of at most 512 KiB from it, and the heap serves the rest.
const URING_IO_MEMORY_BYTES: usize = 1 << 20;

/// How long tasks that never run dry may keep the loop from looking at timers; sockets interrupt them by themselves.
/// Much shorter, and losing the race that [`heartbeat`] is about would be common. In the very first round there is no
/// heartbeat yet and losing it means never to begin: at 100 ms that was seen on a machine with three times more to run
/// than it had cores.
///
/// In the first round this timer is all that glommio's latency ring can hold: it is set by `poll_io`, and a round is lost if
/// it goes off before `run_one_task_queue` has looked at `need_preempt`. Then `run_task_queues` says that nothing ran, and
/// `park` sleeps: it knows of no timer, and no task has been polled whose waker another thread could have. Neither a later
/// timer nor a wake-up from outside is to be had from glommio 0.9: the interval is fixed when the executor is made, save for
/// queues of `Latency::Matters`, which make each wake-up by another thread a write to the eventfd; and what is read of that
/// eventfd is submitted a round later than it is set up, so that a round that does not end is not interrupted by it.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(500);

thread_local! {
    /// The backend of this thread's executor. A thread that [`start`] did not make counts as tokio's.
    static BACKEND: Cell<Backend> = const { Cell::new(Backend::Epoll) };
}

/// How to start an executor.
#[derive(Clone, Debug)]
pub struct ExecutorOptions {
    /// The thread's name, at most 15 bytes are shown by the kernel.
    pub name: String,
    /// The core to pin the thread to; `None` leaves it to the scheduler.
    pub core: Option<usize>,
    /// The machinery underneath.
    pub backend: Backend,
}

/// Why an executor could not be started, or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum ExecutorError {
    /// The thread could not be made. Nothing was started; lower the number of threads or raise the limit.
    #[error("cannot start the thread {name}: {source}; raise the limit on processes (ulimit -u)")]
    Thread {
        /// The thread's name.
        name: String,
        /// The system's answer.
        source: std::io::Error,
    },
    /// The event loop could not be made. The main future never ran.
    #[error("cannot start the {backend} event loop of {name}: {message}")]
    EventLoop {
        /// The thread's name.
        name: String,
        /// The backend that failed.
        backend: Backend,
        /// The library's own words.
        message: String,
    },
    /// The main future or the event loop panicked; whatever the executor held in memory is gone. The caller should end
    /// the process.
    #[error("the executor {name} panicked: {message}")]
    Panicked {
        /// The thread's name.
        name: String,
        /// The panic's message.
        message: String,
    },
}

/// A started executor. Dropping it leaves the executor running, detached.
#[derive(Debug)]
pub struct ExecutorHandle<T> {
    name: String,
    thread: thread::JoinHandle<Result<T, ExecutorError>>,
    ended: async_channel::Receiver<()>,
}

impl<T> ExecutorHandle<T> {
    /// The thread's name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Whether the thread has ended; [`join`](Self::join) then returns at once.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.is_finished()
    }

    /// Waits on any executor until this one has ended, well or not. May be awaited by several tasks.
    pub fn ended(&self) -> impl Future<Output = ()> + Send + 'static {
        let ended = self.ended.clone();
        async move {
            // Nothing is ever sent: the channel closes when the thread drops its end.
            let _closed = ended.recv().await;
        }
    }

    /// Blocks the calling thread until the executor has ended and returns the main future's output.
    ///
    /// # Errors
    /// [`ExecutorError::EventLoop`] if the loop could not be made, [`ExecutorError::Panicked`] if it or the main
    /// future panicked.
    pub fn join(self) -> Result<T, ExecutorError> {
        let name = self.name;
        match self.thread.join() {
            Ok(outcome) => outcome,
            Err(payload) => Err(ExecutorError::Panicked { name, message: panic_message(payload.as_ref()) }),
        }
    }
}

/// Starts a thread with an event loop and runs the future that `make` returns, on that thread, to its end. Tasks that
/// are still running then are dropped.
///
/// A core that cannot be pinned (it left the affinity mask) is logged and the thread runs unpinned.
///
/// # Errors
/// [`ExecutorError::Thread`] if the system refuses the thread. Failures on the new thread are returned by
/// [`ExecutorHandle::join`].
pub fn start<G, F, T>(options: ExecutorOptions, make: G) -> Result<ExecutorHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let name = options.name.clone();
    let (alive, ended) = async_channel::bounded::<()>(1);
    let thread = thread::Builder::new()
        .name(options.name.clone())
        .spawn(move || {
            let _alive = alive;
            pin_current_thread(&options);
            BACKEND.set(options.backend);
            match options.backend {
                Backend::Uring => run_uring(&options, make),
                Backend::Epoll => run_epoll(&options, make),
            }
        })
        .map_err(|source| ExecutorError::Thread { name: name.clone(), source })?;
    Ok(ExecutorHandle { name, thread, ended })
}

/// The backend of the executor that the calling code runs on.
#[must_use]
pub fn backend() -> Backend {
    BACKEND.get()
}

fn pin_current_thread(options: &ExecutorOptions) {
    let Some(core) = options.core else { return };
    if let Err(error) = crate::affinity::pin_current_thread(core) {
        tracing::warn!(thread = %options.name, core, %error, "cannot pin the thread, it runs unpinned");
    }
}

fn run_uring<G, F, T>(options: &ExecutorOptions, make: G) -> Result<T, ExecutorError>
where
    G: FnOnce() -> F,
    F: Future<Output = T> + 'static,
    T: 'static,
{
    // glommio panics rather than fails in several places, so that making the loop is contained too.
    let made = catch_unwind(AssertUnwindSafe(|| {
        LocalExecutorBuilder::new(Placement::Unbound)
            .name(&options.name)
            .io_memory(URING_IO_MEMORY_BYTES)
            .preempt_timer(PREEMPT_INTERVAL)
            .make()
    }));
    let failed = |message| ExecutorError::EventLoop { name: options.name.clone(), backend: Backend::Uring, message };
    let executor = match made {
        Ok(Ok(executor)) => executor,
        Ok(Err(error)) => return Err(failed(error.to_string())),
        Err(payload) => return Err(failed(panic_message(payload.as_ref()))),
    };
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        executor.run(async move {
            heartbeat::start();
            let output = make().await;
            task::stop_tasks().await;
            output
        })
    }));
    // Dropping the loop drops the tasks left on it; a destructor that panics there must not hide the outcome.
    if let Err(payload) = catch_unwind(AssertUnwindSafe(move || drop(executor))) {
        tracing::error!(thread = %options.name, panic = %panic_message(payload.as_ref()), "panic while dropping tasks");
    }
    outcome.map_err(|payload| panicked(options, payload.as_ref()))
}

fn run_epoll<G, F, T>(options: &ExecutorOptions, make: G) -> Result<T, ExecutorError>
where
    G: FnOnce() -> F,
    F: Future<Output = T> + 'static,
    T: 'static,
{
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        ExecutorError::EventLoop { name: options.name.clone(), backend: Backend::Epoll, message: error.to_string() }
    })?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, async move { make().await })
    }));
    // A thread still resolving a name or reading a file must not hold up the end of the process.
    runtime.shutdown_background();
    outcome.map_err(|payload| panicked(options, payload.as_ref()))
}

fn panicked(options: &ExecutorOptions, payload: &(dyn Any + Send)) -> ExecutorError {
    ExecutorError::Panicked { name: options.name.clone(), message: panic_message(payload) }
}

/// The text of a panic, as far as it has one.
fn panic_message(payload: &(dyn Any + Send)) -> String {
    if let Some(text) = payload.downcast_ref::<&'static str>() {
        (*text).to_owned()
    } else if let Some(text) = payload.downcast_ref::<String>() {
        text.clone()
    } else {
        "a value that is not text".to_owned()
    }
}
