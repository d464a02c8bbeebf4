//! Tasks of the current executor: spawning with panics contained, and yielding.

use std::future::Future;
use std::panic::AssertUnwindSafe;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll};

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
/// inside this call. A panic ends the task alone: it is counted ([`task_panics`]) and logged.
///
/// # Panics
/// Outside an executor; that is a mistake of the program, not of its input.
pub fn spawn(future: impl Future<Output = ()> + 'static) {
    let contained = async move {
        let _outcome = contain(future).await;
    };
    match backend() {
        Backend::Uring => spawn_uring(contained),
        Backend::Epoll => {
            let _detached = tokio::task::spawn_local(contained);
        }
    }
}

/// glommio's plain `spawn_local` runs the task at once, inside the caller, which would let a task see state that the
/// caller is in the middle of changing. Spawning into the caller's own queue only schedules it.
fn spawn_uring(contained: impl Future<Output = ()> + 'static) {
    let queue = glommio::executor().current_task_queue();
    match glommio::spawn_local_into(contained, queue) {
        Ok(task) => {
            let _detached = task.detach();
        }
        // The queue that is running now exists; glommio has no other cause to refuse.
        Err(error) => tracing::error!(%error, "the executor refused a task"),
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
