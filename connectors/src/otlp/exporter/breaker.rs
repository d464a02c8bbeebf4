//! The breaker of one server: after some failures in a row nothing is sent there but, after a pause, one request as a
//! probe. A server that is down is spared the load of every waiting request, and what waits for it is not worn out by
//! attempts that cannot succeed. A state machine without a clock: the time is an argument.
//!
//! ```text
//! closed     --failures in a row-->  open
//! open       --pause is over------>  half-open: one request goes as the probe
//! half-open  --probe succeeds----->  closed
//! half-open  --probe fails-------->  open, for twice the pause
//! ```

use std::time::Duration;
use tailwater_config::Breaker as Settings;

use super::backoff::ASKED_WAIT_MAX;

/// Where a breaker stands. The order is from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum BreakerState {
    /// Everything is sent.
    Closed,
    /// One request is on its way as the probe.
    HalfOpen,
    /// Nothing is sent.
    Open,
}

impl BreakerState {
    /// Its number in metrics: 0 closed, 1 half-open, 2 open.
    #[must_use]
    pub const fn number(self) -> u64 {
        match self {
            Self::Closed => 0,
            Self::HalfOpen => 1,
            Self::Open => 2,
        }
    }
}

/// Whether a request may be sent now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Admission {
    /// As one of many.
    Attempt,
    /// As the one that shows whether the server is back. Its outcome must be reported as such.
    Probe,
    /// Not before that time; sooner when the breaker changes.
    Wait(Duration),
}

/// What an outcome changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// Nothing.
    None,
    /// It opened.
    Opened,
    /// It was half-open and is open again.
    Reopened,
    /// It was half-open and is closed.
    Closed,
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed {
        failures: u64,
    },
    Open {
        until: Duration,
    },
    /// A probe whose outcome is not reported by then counts as lost: another may go.
    HalfOpen {
        until: Duration,
    },
}

/// The breaker of one server.
#[derive(Debug)]
pub struct Breaker {
    settings: Settings,
    /// Longest time from a probe's start to its outcome.
    probe_duration_max: Duration,
    /// The next pause.
    interval: Duration,
    state: State,
}

impl Breaker {
    /// A closed breaker. An outcome comes within `probe_duration_max`.
    #[must_use]
    pub fn new(settings: &Settings, probe_duration_max: Duration) -> Self {
        let interval = settings.open_interval;
        Self { settings: settings.clone(), probe_duration_max, interval, state: State::Closed { failures: 0 } }
    }

    /// Where it stands.
    #[must_use]
    pub fn state(&self) -> BreakerState {
        match self.state {
            State::Closed { .. } => BreakerState::Closed,
            State::HalfOpen { .. } => BreakerState::HalfOpen,
            // Whether it is back is about to be known.
            State::Open { until: Duration::ZERO } => BreakerState::HalfOpen,
            State::Open { .. } => BreakerState::Open,
        }
    }

    /// Whether its pause was ended and no request has gone since.
    #[must_use]
    pub fn is_to_be_asked(&self) -> bool {
        matches!(self.state, State::Open { until: Duration::ZERO })
    }

    /// What `admit` would say, without taking the probe's place.
    #[must_use]
    pub fn outlook(&self, now: Duration) -> Admission {
        match self.state {
            State::Closed { .. } => Admission::Attempt,
            State::Open { until } | State::HalfOpen { until } if now < until => Admission::Wait(until),
            State::Open { .. } | State::HalfOpen { .. } => Admission::Probe,
        }
    }

    /// Whether a request may be sent now. The caller sends it, and reports its outcome.
    pub fn admit(&mut self, now: Duration) -> Admission {
        let admission = self.outlook(now);
        if admission == Admission::Probe {
            self.state = State::HalfOpen { until: now.saturating_add(self.probe_duration_max) };
        }
        admission
    }

    /// The server answered, be it with a refusal of that one request.
    pub fn answered(&mut self, is_probe: bool) -> Change {
        match self.state {
            State::Closed { .. } => self.state = State::Closed { failures: 0 },
            State::HalfOpen { .. } if is_probe => {
                self.interval = self.settings.open_interval;
                self.state = State::Closed { failures: 0 };
                return Change::Closed;
            }
            // An answer to what was sent before it opened: only a probe closes it.
            State::HalfOpen { .. } | State::Open { .. } => {}
        }
        Change::None
    }

    /// The server or the way to it failed at `now`. `asked` is how long it wants to be left alone.
    pub fn failed(&mut self, now: Duration, asked: Option<Duration>, is_probe: bool) -> Change {
        let asked = asked.unwrap_or_default().min(ASKED_WAIT_MAX);
        match &mut self.state {
            State::Closed { failures } => {
                *failures += 1;
                if self.settings.failures_max == 0 || *failures < self.settings.failures_max {
                    return Change::None;
                }
                self.open(now, asked);
                Change::Opened
            }
            State::HalfOpen { .. } if is_probe => {
                self.open(now, asked);
                Change::Reopened
            }
            State::Open { until } => {
                *until = (*until).max(now.saturating_add(asked));
                Change::None
            }
            State::HalfOpen { .. } => Change::None,
        }
    }

    /// A pause is over now, whatever is left of it.
    pub fn end_pause(&mut self) {
        if let State::Open { until } = &mut self.state {
            *until = Duration::ZERO;
        }
    }

    fn open(&mut self, now: Duration, asked: Duration) {
        self.state = State::Open { until: now.saturating_add(self.interval.max(asked)) };
        self.interval = self.interval.saturating_mul(2).min(self.settings.open_interval_max);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const fn seconds(seconds: u64) -> Duration {
        Duration::from_secs(seconds)
    }

    fn breaker() -> Breaker {
        let settings = Settings { failures_max: 3, open_interval: seconds(5), open_interval_max: seconds(15) };
        Breaker::new(&settings, seconds(20))
    }

    /// Opened at 100 s.
    fn open() -> Breaker {
        let mut breaker = breaker();
        for expected in [Change::None, Change::None, Change::Opened] {
            assert_eq!(breaker.admit(seconds(100)), Admission::Attempt);
            assert_eq!(breaker.failed(seconds(100), None, false), expected);
        }
        breaker
    }

    #[test]
    fn only_failures_in_a_row_open_it() {
        let mut breaker = breaker();
        for round in 0..10 {
            assert_eq!(breaker.failed(seconds(round), None, false), Change::None);
            assert_eq!(breaker.failed(seconds(round), None, false), Change::None);
            assert_eq!(breaker.answered(false), Change::None);
        }
        assert_eq!((breaker.state(), breaker.admit(seconds(9))), (BreakerState::Closed, Admission::Attempt));
        assert_eq!(open().state(), BreakerState::Open);
    }

    #[test]
    fn one_probe_at_a_time_after_the_pause() {
        let mut breaker = open();
        assert_eq!(breaker.admit(seconds(104)), Admission::Wait(seconds(105)));
        assert_eq!(breaker.outlook(seconds(105)), Admission::Probe);
        assert_eq!(breaker.state(), BreakerState::Open, "an outlook takes nothing");
        assert_eq!(breaker.admit(seconds(105)), Admission::Probe);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
        assert_eq!(breaker.admit(seconds(105)), Admission::Wait(seconds(125)));
        assert_eq!(breaker.answered(true), Change::Closed);
        assert_eq!(breaker.admit(seconds(106)), Admission::Attempt);
    }

    #[test]
    fn a_failed_probe_doubles_the_pause_to_the_bound_and_a_good_one_resets_it() {
        let mut breaker = open();
        let mut now = 105;
        for pause in [10, 15, 15] {
            assert_eq!(breaker.admit(seconds(now)), Admission::Probe);
            assert_eq!(breaker.failed(seconds(now), None, true), Change::Reopened);
            now += pause;
            assert_eq!(breaker.admit(seconds(now - 1)), Admission::Wait(seconds(now)));
        }
        assert_eq!(breaker.admit(seconds(now)), Admission::Probe);
        assert_eq!(breaker.answered(true), Change::Closed);
        for _ in 0..3 {
            breaker.failed(seconds(now), None, false);
        }
        assert_eq!(breaker.admit(seconds(now)), Admission::Wait(seconds(now + 5)));
    }

    #[test]
    fn the_server_s_wish_extends_the_pause_within_reason() {
        let mut breaker = open();
        assert_eq!(breaker.failed(seconds(101), Some(seconds(30)), false), Change::None);
        assert_eq!(breaker.admit(seconds(130)), Admission::Wait(seconds(131)));
        assert_eq!(breaker.failed(seconds(102), Some(seconds(1)), false), Change::None);
        assert_eq!(breaker.admit(seconds(130)), Admission::Wait(seconds(131)), "never shortened");
        assert_eq!(breaker.admit(seconds(131)), Admission::Probe);
        breaker.failed(seconds(131), Some(seconds(1_000_000)), true);
        assert_eq!(breaker.admit(seconds(131)), Admission::Wait(seconds(131) + ASKED_WAIT_MAX));
    }

    #[test]
    fn what_was_sent_before_decides_nothing() {
        let mut breaker = open();
        assert_eq!(breaker.answered(false), Change::None);
        assert_eq!(breaker.state(), BreakerState::Open);
        assert_eq!(breaker.admit(seconds(105)), Admission::Probe);
        assert_eq!(breaker.answered(false), Change::None);
        assert_eq!(breaker.failed(seconds(106), None, false), Change::None);
        assert_eq!(breaker.state(), BreakerState::HalfOpen);
    }

    #[test]
    fn a_lost_probe_is_followed_by_another() {
        let mut breaker = open();
        assert_eq!(breaker.admit(seconds(105)), Admission::Probe);
        assert_eq!(breaker.admit(seconds(124)), Admission::Wait(seconds(125)));
        assert_eq!(breaker.admit(seconds(125)), Admission::Probe);
        assert_eq!(breaker.admit(seconds(125)), Admission::Wait(seconds(145)));
    }

    #[test]
    fn a_pause_can_be_ended() {
        let mut breaker = open();
        breaker.end_pause();
        assert!(breaker.is_to_be_asked() && breaker.state() == BreakerState::HalfOpen);
        assert_eq!(breaker.admit(seconds(101)), Admission::Probe);
        assert_eq!(breaker.admit(seconds(101)), Admission::Wait(seconds(121)), "one is enough");
    }

    #[test]
    fn zero_switches_it_off() {
        let settings = Settings { failures_max: 0, ..Settings::default() };
        let mut breaker = Breaker::new(&settings, seconds(20));
        for round in 0..1000 {
            assert_eq!(breaker.admit(seconds(round)), Admission::Attempt);
            assert_eq!(breaker.failed(seconds(round), Some(seconds(60)), false), Change::None);
        }
    }
}
