//! Keeps a glommio executor from sleeping over a task that is ready.
//!
//! glommio decides to sleep when a round ran no task. A round also runs none if its preemption timer, or any other event
//! that wakes nobody, arrives after the loop has looked for events and before it has run the first task; the queue is
//! full then, and the loop sleeps until the next event, however far away. That takes a thread that is descheduled at
//! the wrong moment, which on a shared machine happens every few hundred thousand rounds. A connection whose request is
//! in that queue hangs.
//!
//! So there is always a next event near: a row of timers, far enough ahead that losing the same race at each of them in
//! turn would take more bad luck than there is. One timer would not do, for the task that sets it again is among those
//! slept over.

use std::future::poll_fn;
use std::task::Poll;
use std::time::{Duration, Instant};

use super::Alarm;

/// The longest that a ready task is slept over, if the next round is not lost too. Idle, it costs a hundred short
/// wake-ups a second.
const BEAT_INTERVAL: Duration = Duration::from_millis(10);

/// Timers set ahead.
const BEATS: u32 = 32;

/// Never ends.
pub(super) async fn beat() {
    let mut beats: Vec<Alarm> = (1..=BEATS).map(|number| Alarm::after(BEAT_INTERVAL * number)).collect();
    let mut last = Instant::now() + BEAT_INTERVAL * BEATS;
    poll_fn(move |context| {
        // In the first round this sets all timers, later only those that are new.
        for alarm in &mut beats {
            if alarm.poll_expired(context).is_ready() {
                let now = Instant::now();
                last = last.max(now) + BEAT_INTERVAL;
                alarm.set_after(last - now);
                let _set = alarm.poll_expired(context);
            }
        }
        Poll::<()>::Pending
    })
    .await;
}
