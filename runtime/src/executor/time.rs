//! Timers of the current executor.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use super::backend;
use crate::Backend;

/// The longest wait that is told apart from waiting for ever: sums with the clock must not overflow.
const WAIT_MAX: Duration = Duration::from_hours(24 * 365 * 10);

/// The time ran out before the future was ready. The future has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time ran out")]
pub struct Elapsed;

/// Waits for at least this long. Resolution is about a millisecond on either backend.
pub async fn sleep(duration: Duration) {
    let mut alarm = Alarm::after(duration);
    poll_fn(move |context| alarm.poll_expired(context)).await;
}

/// Awaits a future for at most this long. A future that is ready at its first poll costs no timer.
///
/// # Errors
/// [`Elapsed`] if the time ran out first; the future is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut alarm = None;
    poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        alarm.get_or_insert_with(|| Alarm::after(duration)).poll_expired(context).map(|()| Err(Elapsed))
    })
    .await
}

/// A deadline that can be moved, for loops that wait for several things.
///
/// It is cheap to poll again and again: a poll by the task that is registered already only looks at the clock, where the
/// timers underneath would register anew each time.
#[derive(Debug)]
pub struct Alarm {
    deadline: Instant,
    timer: Timer,
    registered: Option<Waker>,
}

#[derive(Debug)]
enum Timer {
    Uring(glommio::timer::Timer),
    Epoll(Pin<Box<tokio::time::Sleep>>),
}

impl Alarm {
    /// An alarm that goes off after this long.
    ///
    /// # Panics
    /// Outside an executor; that is a mistake of the program, not of its input.
    #[must_use]
    pub fn after(duration: Duration) -> Self {
        let duration = duration.min(WAIT_MAX);
        let deadline = Instant::now() + duration;
        let timer = match backend() {
            Backend::Uring => Timer::Uring(glommio::timer::Timer::new(duration)),
            Backend::Epoll => Timer::Epoll(Box::pin(tokio::time::sleep(duration))),
        };
        Self { deadline, timer, registered: None }
    }

    /// Moves the deadline to this long from now.
    pub fn set_after(&mut self, duration: Duration) {
        *self = Self::after(duration);
    }

    /// When it goes off.
    #[must_use]
    pub fn deadline(&self) -> Instant {
        self.deadline
    }

    /// Ready at and after the deadline; until then the task is woken when it comes.
    pub fn poll_expired(&mut self, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        if self.registered.as_ref().is_some_and(|waker| waker.will_wake(context.waker())) {
            return Poll::Pending;
        }
        self.registered = Some(context.waker().clone());
        match &mut self.timer {
            Timer::Uring(timer) => Pin::new(timer).poll(context).map(|_fired_at| ()),
            Timer::Epoll(timer) => timer.as_mut().poll(context),
        }
    }
}
