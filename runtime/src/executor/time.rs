//! Timers of the current executor.

use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::Poll;
use std::time::Duration;

use super::backend;
use crate::Backend;

/// The time ran out before the future was ready. The future has been dropped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the time ran out")]
pub struct Elapsed;

/// Waits for at least this long. Resolution is about a millisecond on either backend.
pub async fn sleep(duration: Duration) {
    match backend() {
        Backend::Uring => {
            let _fired_at = glommio::timer::Timer::new(duration).await;
        }
        Backend::Epoll => tokio::time::sleep(duration).await,
    }
}

/// Awaits a future for at most this long. A future that is ready at its first poll costs no timer.
///
/// # Errors
/// [`Elapsed`] if the time ran out first; the future is dropped.
pub async fn timeout<F: Future>(duration: Duration, future: F) -> Result<F::Output, Elapsed> {
    let mut future = pin!(future);
    let mut timer = pin!(None);
    poll_fn(move |context| {
        if let Poll::Ready(output) = future.as_mut().poll(context) {
            return Poll::Ready(Ok(output));
        }
        let mut timer: Pin<&mut _> = timer.as_mut();
        if timer.is_none() {
            timer.set(Some(sleep(duration)));
        }
        match timer.as_mut().as_pin_mut().map(|timer| timer.poll(context)) {
            Some(Poll::Ready(())) => Poll::Ready(Err(Elapsed)),
            Some(Poll::Pending) | None => Poll::Pending,
        }
    })
    .await
}
