//! The deadlines of one connection, whatever its protocol: first request, idleness, age, keepalive, and the grace after
//! it was asked to go away.

use std::cell::Cell;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use tailwater_runtime::executor::Alarm;

use super::limits::Limits;
use super::meter::Activity;

/// Requests under way on a connection, and since when there are none.
#[derive(Debug)]
pub(super) struct Requests {
    open: Cell<usize>,
    seen: Cell<u64>,
    quiet_since: Cell<Instant>,
}

impl Requests {
    pub(super) fn new() -> Rc<Self> {
        Rc::new(Self { open: Cell::new(0), seen: Cell::new(0), quiet_since: Cell::new(Instant::now()) })
    }

    /// A request's head is complete; it is under way until the value returned is dropped.
    pub(super) fn begin(self: &Rc<Self>) -> UnderWay {
        self.open.set(self.open.get() + 1);
        self.seen.set(self.seen.get() + 1);
        UnderWay(Rc::clone(self))
    }

    /// Requests under way now.
    pub(super) fn open(&self) -> usize {
        self.open.get()
    }
}

/// A request under way.
#[derive(Debug)]
pub(super) struct UnderWay(Rc<Requests>);

impl Drop for UnderWay {
    fn drop(&mut self) {
        self.0.open.set(self.0.open.get().saturating_sub(1));
        if self.0.open.get() == 0 {
            self.0.quiet_since.set(Instant::now());
        }
    }
}

/// What has to be done about a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Due {
    /// Ask it to go away: no first request came.
    FirstRequest,
    /// Ask it to go away: no further request came.
    Idle,
    /// Ask it to go away: it is old.
    Age,
    /// Ask the peer for a sign of life.
    Keepalive,
    /// Close it: the peer gave none.
    Dead,
    /// Close it: it was asked to go away and did not in time.
    CutOff,
}

/// The deadlines of one connection. Timers are set late and checked when they go off, so that a request costs none.
#[derive(Debug)]
pub(super) struct Watchdog {
    limits: Timeouts,
    requests: Rc<Requests>,
    activity: Rc<Activity>,
    age_deadline: Option<Instant>,
    leaving_since: Option<Instant>,
    bytes_read: u64,
    bytes_changed_at: Instant,
    asked_at: Option<Instant>,
    /// Whether bytes between requests are the beginning of a head, as in HTTP/1.1.
    bytes_are_heads: bool,
    /// The bytes that had been read when the last request ended, and since when there are more.
    head: Head,
    alarm: Alarm,
}

/// A head that comes byte by byte has no longer than the first one had.
#[derive(Debug, Default)]
struct Head {
    seen: u64,
    bytes_before: u64,
    begun_at: Option<Instant>,
}

/// The parts of [`Limits`] that concern the watchdog.
#[derive(Clone, Copy, Debug)]
struct Timeouts {
    first_request: Duration,
    idle: Duration,
    grace: Duration,
    keepalive_interval: Option<Duration>,
    keepalive: Duration,
}

impl Watchdog {
    /// Begins when the handshake is done. `jitter` is anything that differs between connections.
    pub(super) fn new(limits: &Limits, requests: &Rc<Requests>, activity: Rc<Activity>, jitter: u64) -> Self {
        let now = Instant::now();
        let limits_of_connection = Timeouts {
            first_request: limits.first_request_timeout,
            idle: limits.idle_timeout,
            grace: limits.connection_age_grace,
            keepalive_interval: limits.keepalive_interval,
            keepalive: limits.keepalive_timeout,
        };
        let mut watchdog = Self {
            limits: limits_of_connection,
            requests: Rc::clone(requests),
            bytes_read: activity.bytes_read(),
            activity,
            age_deadline: limits.connection_age_max.map(|age| now + with_jitter(age, jitter)),
            leaving_since: None,
            bytes_changed_at: now,
            asked_at: None,
            bytes_are_heads: false,
            head: Head::default(),
            alarm: Alarm::after(Duration::ZERO),
        };
        requests.quiet_since.set(now);
        watchdog.rearm(now);
        watchdog
    }

    /// Never asks for a sign of life: the protocol has no way to.
    pub(super) fn without_keepalive(mut self) -> Self {
        self.limits.keepalive_interval = None;
        self.bytes_are_heads = true;
        self
    }

    /// The connection has been asked to go away.
    pub(super) fn leaving(&mut self) {
        let now = Instant::now();
        self.leaving_since.get_or_insert(now);
        self.rearm(now);
    }

    /// The peer has answered the sign of life asked for.
    pub(super) fn alive(&mut self) {
        self.asked_at = None;
        self.bytes_changed_at = Instant::now();
    }

    /// Ready when something has to be done.
    pub(super) fn poll_due(&mut self, context: &mut Context<'_>) -> Poll<Due> {
        self.note_head();
        while self.alarm.poll_expired(context).is_ready() {
            let now = Instant::now();
            let due = self.due(now);
            self.rearm(now);
            if let Some(due) = due {
                return Poll::Ready(due);
            }
        }
        Poll::Pending
    }

    /// Looks whether a further head has begun to come. Called whenever the connection has been polled, so that it costs a
    /// request two comparisons.
    fn note_head(&mut self) {
        if !self.bytes_are_heads || self.requests.seen.get() == 0 {
            return;
        }
        let read = self.activity.bytes_read();
        if self.requests.open() > 0 || self.head.seen != self.requests.seen.get() {
            self.head = Head { seen: self.requests.seen.get(), bytes_before: read, begun_at: None };
        } else if self.head.begun_at.is_none() && read > self.head.bytes_before {
            let now = Instant::now();
            self.head.begun_at = Some(now);
            self.rearm(now);
        }
    }

    fn due(&mut self, now: Instant) -> Option<Due> {
        if self.activity.bytes_read() != self.bytes_read {
            self.bytes_read = self.activity.bytes_read();
            self.bytes_changed_at = now;
            self.asked_at = None;
        }
        let over = |since: Instant, limit: Duration| now.saturating_duration_since(since) >= limit;
        if self.asked_at.is_some_and(|asked| over(asked, self.limits.keepalive)) {
            return Some(Due::Dead);
        }
        if let Some(since) = self.leaving_since {
            return over(since, self.limits.grace).then_some(Due::CutOff);
        }
        if self.age_deadline.is_some_and(|deadline| now >= deadline) {
            return Some(Due::Age);
        }
        if let Some((deadline, due)) = self.quiet_deadline()
            && now >= deadline
        {
            return Some(due);
        }
        if self.asked_at.is_none()
            && self.limits.keepalive_interval.is_some_and(|wait| over(self.bytes_changed_at, wait))
        {
            self.asked_at = Some(now);
            return Some(Due::Keepalive);
        }
        None
    }

    /// When the lack of requests has lasted too long, as far as is known now.
    fn quiet_deadline(&self) -> Option<(Instant, Due)> {
        if self.requests.open() > 0 {
            return None;
        }
        if let Some(begun) = self.head.begun_at {
            return Some((begun + self.limits.first_request, Due::FirstRequest));
        }
        let (limit, due) = if self.requests.seen.get() == 0 {
            (self.limits.first_request, Due::FirstRequest)
        } else {
            (self.limits.idle, Due::Idle)
        };
        Some((self.requests.quiet_since.get() + limit, due))
    }

    /// Sets the alarm to the earliest deadline. Deadlines only move away while it runs, so that it never comes too late;
    /// the one that a request's end begins is at least `idle` away, which is therefore the longest wait.
    fn rearm(&mut self, now: Instant) {
        let mut next = now + self.limits.idle;
        let mut earlier = |deadline: Instant| next = next.min(deadline);
        if let Some(asked) = self.asked_at {
            earlier(asked + self.limits.keepalive);
        }
        if let Some(since) = self.leaving_since {
            earlier(since + self.limits.grace);
        } else {
            if let Some(deadline) = self.age_deadline {
                earlier(deadline);
            }
            if let Some((deadline, _)) = self.quiet_deadline() {
                earlier(deadline);
            }
            if let (Some(interval), None) = (self.limits.keepalive_interval, self.asked_at) {
                earlier(self.bytes_changed_at + interval);
            }
        }
        // Never at once again: a deadline that has been reported and cannot be acted on must not spin.
        const STEP_MIN: Duration = Duration::from_millis(1);
        self.alarm.set_after(next.saturating_duration_since(now).max(STEP_MIN));
    }
}

/// A span of time, give or take 10 %.
fn with_jitter(age: Duration, jitter: u64) -> Duration {
    // Multiplied by a large odd number so that neighbouring values land far apart.
    let spread = u32::from(jitter.wrapping_mul(0x9e37_79b9_7f4a_7c15).to_be_bytes()[0]);
    age.mul_f64(0.9 + 0.2 * f64::from(spread) / 255.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn jitter_stays_within_a_tenth_and_differs() {
        let age = Duration::from_secs(100);
        let ages: Vec<u64> = (0..50).map(|jitter| with_jitter(age, jitter).as_secs()).collect();
        assert!(ages.iter().all(|age| (90..=110).contains(age)), "{ages:?}");
        assert!(ages.iter().any(|age| *age < 95) && ages.iter().any(|age| *age > 105), "{ages:?}");
    }
}
