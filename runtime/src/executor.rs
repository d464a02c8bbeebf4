//! Executors: one operating-system thread, one event loop, and the tasks on it.
//!
//! [`start`] makes the thread, pins it if asked and runs one main future to its end. Everything else on that core is
//! spawned from inside with [`spawn`], which contains panics: a panicking task is counted and logged and costs nobody
//! else anything. A panic of the main future, or of the event loop itself, ends the thread and is reported by
//! [`ExecutorHandle::join`].

mod first_round;
mod heartbeat;
mod task;
mod time;

use std::any::Any;
use std::cell::Cell;
use std::future::Future;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use glommio::{LocalExecutorBuilder, Placement};

use crate::Backend;

use first_round::Beginning;

pub use task::{Contained, contain, spawn, task_panics, yield_now};
pub use time::{Alarm, Elapsed, sleep, timeout};

/// Memory that glommio registers with the kernel for storage I/O, per executor. Its own default is 10 MiB; the log's writes
/// take buffers of at most 512 KiB from it, and the heap serves the rest.
const URING_IO_MEMORY_BYTES: usize = 1 << 20;

/// How long tasks that never run dry may keep the loop from looking at timers; sockets interrupt them by themselves.
/// Much shorter, and losing the races that [`heartbeat`] and [`first_round`] are about would be common.
const PREEMPT_INTERVAL: Duration = Duration::from_millis(500);

thread_local! {
    /// The backend of this thread's executor. A thread that [`start`] did not make counts as tokio's.
    static BACKEND: Cell<Backend> = const { Cell::new(Backend::Epoll) };
}

/// How long an executor's first poll may take to come before another thread tries. Longer than [`PREEMPT_INTERVAL`], which a
/// thread that has lost its first round has slept through.
const BEGINNING_PATIENCE: Duration = Duration::from_secs(1);

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
    thread: thread::JoinHandle<Result<Option<T>, ExecutorError>>,
    backend: Backend,
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
            Ok(Ok(Some(output))) => Ok(output),
            Ok(Ok(None)) => Err(never_began(name, self.backend)),
            Ok(Err(error)) => Err(error),
            Err(payload) => Err(ExecutorError::Panicked { name, message: panic_message(payload.as_ref()) }),
        }
    }
}

/// What an executor is to run, until its first poll takes it.
struct Work<G> {
    make: G,
    /// Dropped at the end of the thread.
    alive: async_channel::Sender<()>,
}

type Slot<G> = Arc<Mutex<Option<Work<G>>>>;

/// Starts a thread with an event loop and runs the future that `make` returns, on that thread, to its end. Tasks that
/// are still running then are dropped. Blocks until the future is about to be polled, or cannot be: see [`first_round`].
///
/// A core that cannot be pinned (it left the affinity mask) is logged and the thread runs unpinned.
///
/// # Errors
/// [`ExecutorError::Thread`] if the system refuses the thread, [`ExecutorError::EventLoop`] if no loop ever begins. Failures
/// on the new thread are returned by [`ExecutorHandle::join`].
pub fn start<G, F, T>(options: ExecutorOptions, make: G) -> Result<ExecutorHandle<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: Send + 'static,
{
    let (name, backend) = (options.name.clone(), options.backend);
    let (alive, ended) = async_channel::bounded::<()>(1);
    let slot: Slot<G> = Arc::new(Mutex::new(Some(Work { make, alive })));
    let begun = first_round::begin(BEGINNING_PATIENCE, |beginning| {
        let (options, slot) = (options.clone(), Arc::clone(&slot));
        thread::Builder::new().name(options.name.clone()).spawn(move || attempt(&options, &slot, beginning))
    });
    match begun {
        Ok(Some(thread)) => Ok(ExecutorHandle { name, thread, backend, ended }),
        Ok(None) => Err(never_began(name, backend)),
        Err(source) => Err(ExecutorError::Thread { name, source }),
    }
}

/// What one thread does: it makes a loop and, in its first poll, takes the work out of the slot. `None` if another thread has.
fn attempt<G, F, T>(options: &ExecutorOptions, slot: &Slot<G>, beginning: Beginning) -> Result<Option<T>, ExecutorError>
where
    G: FnOnce() -> F + Send + 'static,
    F: Future<Output = T> + 'static,
    T: 'static,
{
    pin_current_thread(options);
    BACKEND.set(options.backend);
    // The last thing of the thread that is dropped: `ended` may be heard only when the tasks are gone.
    let alive = Rc::new(Cell::new(None));
    let main = {
        let (alive, slot) = (Rc::clone(&alive), Arc::clone(slot));
        async move {
            let work = slot.lock().unwrap_or_else(PoisonError::into_inner).take()?;
            beginning.tell();
            alive.set(Some(work.alive));
            Some((work.make)().await)
        }
    };
    let outcome = match options.backend {
        Backend::Uring => run_uring(options, main),
        Backend::Epoll => run_epoll(options, main),
    };
    drop(alive);
    outcome
}

fn never_began(name: String, backend: Backend) -> ExecutorError {
    ExecutorError::EventLoop { name, backend, message: "its thread never came to run anything".to_owned() }
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

fn run_uring<T: 'static>(
    options: &ExecutorOptions,
    main: impl Future<Output = T> + 'static,
) -> Result<T, ExecutorError> {
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
            let output = main.await;
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

fn run_epoll<T: 'static>(
    options: &ExecutorOptions,
    main: impl Future<Output = T> + 'static,
) -> Result<T, ExecutorError> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().map_err(|error| {
        ExecutorError::EventLoop { name: options.name.clone(), backend: Backend::Epoll, message: error.to_string() }
    })?;
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        let tasks = tokio::task::LocalSet::new();
        tasks.block_on(&runtime, main)
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
