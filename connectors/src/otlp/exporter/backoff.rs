//! Waits between attempts: exponential, with jitter, never shorter than what the server asked for, and bounded in all.

use std::time::Duration;
use tailwater_config::Retry;

/// The waits of one request.
#[derive(Debug)]
pub(super) struct Backoff {
    enabled: bool,
    interval: Duration,
    interval_max: Duration,
    multiplier: f64,
    /// When the request is given up; `None` for never.
    deadline: Option<Duration>,
}

/// A server may ask for any wait; a longer one than this is cut, so that a bad clock there costs minutes, not days.
pub(super) const ASKED_WAIT_MAX: Duration = Duration::from_secs(300);

impl Backoff {
    /// The waits of a request whose first attempt is at `now`.
    pub(super) fn new(retry: &Retry, now: Duration) -> Self {
        let elapsed_max = retry.max_elapsed_time;
        Self {
            enabled: retry.enabled,
            interval: retry.initial_interval,
            interval_max: retry.max_interval,
            multiplier: retry.multiplier.max(1.0),
            deadline: (elapsed_max > Duration::ZERO).then(|| now.saturating_add(elapsed_max)),
        }
    }

    /// When the request is given up, however it waits; `None` for never.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.deadline
    }

    /// How long to wait after a failure at `now`; `None` to give up. `asked` is what the server wants.
    pub(super) fn next(
        &mut self,
        now: Duration,
        asked: Option<Duration>,
        random: &mut fastrand::Rng,
    ) -> Option<Duration> {
        if !self.enabled {
            return None;
        }
        let jittered = self.interval.mul_f64(0.5 + random.f64());
        let wait = jittered.max(asked.unwrap_or_default().min(ASKED_WAIT_MAX));
        if self.deadline.is_some_and(|deadline| now.saturating_add(wait) > deadline) {
            return None;
        }
        self.interval = self.interval.mul_f64(self.multiplier).min(self.interval_max);
        Some(wait)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn retry() -> Retry {
        Retry {
            enabled: true,
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(4),
            multiplier: 2.0,
            max_elapsed_time: Duration::from_secs(60),
            ..Retry::default()
        }
    }

    #[test]
    fn waits_grow_to_the_bound_within_the_jitter() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(&retry(), Duration::ZERO);
        for expected in [1.0, 2.0, 4.0, 4.0] {
            let wait = backoff.next(Duration::ZERO, None, &mut random).unwrap().as_secs_f64();
            assert!((0.5 * expected..1.5 * expected).contains(&wait), "{wait} for {expected}");
        }
    }

    #[test]
    fn the_server_s_wish_counts_and_time_runs_out() {
        let mut random = fastrand::Rng::with_seed(1);
        let mut backoff = Backoff::new(&retry(), Duration::from_secs(100));
        let asked = Some(Duration::from_secs(30));
        assert_eq!(backoff.next(Duration::from_secs(101), asked, &mut random), asked);
        assert_eq!(backoff.next(Duration::from_secs(131), asked, &mut random), None, "past the minute");
        let mut never = Backoff::new(&Retry { enabled: false, ..retry() }, Duration::ZERO);
        assert_eq!(never.next(Duration::ZERO, None, &mut random), None);
    }
}
