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
use super::task::polls;

/// The longest that a ready task is slept over while the executor is busy, if the next round is not lost too.
const BUSY_INTERVAL: Duration = Duration::from_millis(10);

/// The same while it is idle, where ten short wake-ups a second are what it costs.
const IDLE_INTERVAL: Duration = Duration::from_millis(100);

/// Timers set ahead.
const BEATS: u32 = 32;

/// Starts the heartbeat of the current executor, which must be glommio's. It beats until the loop ends, also while the
/// other tasks are being stopped.
pub(super) fn start() {
    let _detached = glommio::spawn_local(beat()).detach();
}

async fn beat() {
    let mut interval = BUSY_INTERVAL;
    let mut beats = row(interval);
    let mut last = Instant::now() + interval * BEATS;
    let mut polls_seen = 0;
    poll_fn(move |context| {
        let now = Instant::now();
        if beats.iter().any(|alarm| alarm.deadline() <= now) {
            let busy = polls() > polls_seen;
            polls_seen = polls();
            let wanted = if busy { BUSY_INTERVAL } else { IDLE_INTERVAL };
            if wanted != interval {
                interval = wanted;
                beats = row(interval);
                last = now + interval * BEATS;
            }
        }
        // In the first round this sets all timers, later only those that are new.
        for alarm in &mut beats {
            if alarm.poll_expired(context).is_ready() {
                last = last.max(now) + interval;
                alarm.set_after(last - now);
                let _set = alarm.poll_expired(context);
            }
        }
        Poll::<()>::Pending
    })
    .await;
}

fn row(interval: Duration) -> Vec<Alarm> {
    (1..=BEATS).map(|number| Alarm::after(interval * number)).collect()
}
