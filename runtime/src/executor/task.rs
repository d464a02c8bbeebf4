//! Tasks of the current executor: spawning with panics contained, and yielding.

use std::cell::RefCell;
use std::future::{Future, poll_fn};
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};

use futures_util::FutureExt;

use super::{backend, panic_message};
use crate::Backend;

/// Panics contained since the process started, over all executors.
static TASK_PANICS: AtomicU64 = AtomicU64::new(0);

/// How many panics of tasks have been contained since the process started.
#[must_use]
pub fn task_panics() -> u64 {
    TASK_PANICS.load(Ordering::Relaxed)
}

/// Runs a future as a detached task of the current executor. The task first runs after the caller has yielded, never
/// inside this call. A panic ends the task alone: it is counted ([`task_panics`]) and logged. Tasks left when the main
/// future ends are dropped.
///
/// # Panics
/// Outside an executor; that is a mistake of the program, not of its input.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    match backend() {
        Backend::Uring => spawn_uring(future),
        Backend::Epoll => {
            let _detached = tokio::task::spawn_local(async move {
                let _outcome = contain(future).await;
            });
        }
    }
}

/// glommio's plain `spawn_local` runs the task at once, inside the caller, which would let a task see state that the
/// caller is in the middle of changing. Spawning into the caller's own queue only schedules it.
///
/// glommio also leaks the tasks that are left when its loop ends, with the sockets in them, so each task keeps a place
/// in [`LEFT_OVER`] by which [`stop_tasks`] can end it.
fn spawn_uring(future: impl Future<Output = ()> + 'static) {
    let stoppable = async move {
        let place = Place::take();
        let mut contained = pin!(contain(future));
        poll_fn(move |context| {
            if place.keep(context.waker()) {
                return Poll::Ready(());
            }
            contained.as_mut().poll(context).map(|_outcome| ())
        })
        .await;
    };
    let queue = glommio::executor().current_task_queue();
    match glommio::spawn_local_into(stoppable, queue) {
        Ok(task) => {
            let _detached = task.detach();
        }
        // The queue that is running now exists; glommio has no other cause to refuse.
        Err(error) => tracing::error!(%error, "the executor refused a task"),
    }
}

/// The tasks of a glommio executor that have been polled and have not ended.
#[derive(Default)]
struct LeftOver {
    wakers: Vec<Option<Waker>>,
    free: Vec<usize>,
    stopping: bool,
    /// Polls of all tasks so far.
    polls: u64,
}

thread_local! {
    static LEFT_OVER: RefCell<LeftOver> = RefCell::default();
}

/// A task's place in [`LEFT_OVER`].
struct Place {
    index: usize,
}

impl Place {
    fn take() -> Self {
        let index = LEFT_OVER.with_borrow_mut(|tasks| {
            tasks.free.pop().unwrap_or_else(|| {
                tasks.wakers.push(None);
                tasks.wakers.len() - 1
            })
        });
        Self { index }
    }

    /// Remembers the task's waker (glommio's is the same at every poll) and says whether the task has to end.
    fn keep(&self, waker: &Waker) -> bool {
        LEFT_OVER.with_borrow_mut(|tasks| {
            tasks.polls = tasks.polls.wrapping_add(1);
            let slot = &mut tasks.wakers[self.index];
            if slot.is_none() {
                *slot = Some(waker.clone());
            }
            tasks.stopping
        })
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        // The waker is dropped outside the borrow: it may be the last reference to the task.
        let _waker = LEFT_OVER.try_with(|tasks| {
            let mut tasks = tasks.borrow_mut();
            tasks.free.push(self.index);
            tasks.wakers[self.index].take()
        });
    }
}

/// How often tasks of the current glommio executor have been polled.
pub(super) fn polls() -> u64 {
    LEFT_OVER.with_borrow(|tasks| tasks.polls)
}

/// Ends the tasks of the current glommio executor, each at its next poll, and waits for them.
pub(super) async fn stop_tasks() {
    /// A destructor that spawns again and again is left behind after so many rounds.
    const ROUNDS_MAX: usize = 100;
    for _ in 0..ROUNDS_MAX {
        let wakers: Vec<Waker> = LEFT_OVER.with_borrow_mut(|tasks| {
            tasks.stopping = true;
            tasks.wakers.iter().flatten().cloned().collect()
        });
        // The first round also lets tasks that were never polled come to their first poll.
        wakers.into_iter().for_each(Waker::wake);
        yield_now().await;
        if LEFT_OVER.with_borrow(|tasks| tasks.free.len() == tasks.wakers.len()) {
            return;
        }
    }
}

/// A future panicked; the panic was counted and logged, and what the future held has been dropped.
#[derive(Debug, thiserror::Error)]
#[error("the task panicked: {message}")]
pub struct Contained {
    /// The panic's message.
    pub message: String,
}

/// Awaits a future in place and turns a panic inside it into an error, counted and logged like that of a spawned task.
///
/// # Errors
/// [`Contained`] if the future panicked.
pub async fn contain<T>(future: impl Future<Output = T>) -> Result<T, Contained> {
    match AssertUnwindSafe(future).catch_unwind().await {
        Ok(output) => Ok(output),
        Err(payload) => {
            TASK_PANICS.fetch_add(1, Ordering::Relaxed);
            let message = panic_message(payload.as_ref());
            tracing::error!(panic = %message, "a task panicked and was dropped; the executor goes on");
            Err(Contained { message })
        }
    }
}

/// Lets the other ready tasks of this executor run once before the caller goes on.
pub fn yield_now() -> impl Future<Output = ()> {
    Yield { yielded: false }
}

struct Yield {
    yielded: bool,
}

impl Future for Yield {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.yielded {
            return Poll::Ready(());
        }
        self.yielded = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
