//! What the log tells of a failing exporter: the first failure of each kind at once, with its cause and what follows; like
//! ones are counted and told every so often; and when it works again, how long it did not and what that cost.

use std::sync::Mutex;
use std::time::Duration;

/// Failures of a kind are told this often.
const TELL_INTERVAL: Duration = Duration::from_secs(30);

/// Kinds of failures: each is told by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    /// No connection.
    Connect,
    /// A connection broke.
    Broken,
    /// No answer in time.
    Deadline,
    /// The server asks to try again.
    Busy,
    /// The answer is no answer of an OTLP server.
    Garbage,
    /// The credentials are refused.
    Credentials,
    /// A request is refused.
    Refused,
    /// A part of a request is refused.
    RefusedInPart,
    /// A request is too large.
    TooLarge,
    /// All was taken, with a word of warning.
    Warning,
}

/// As many as there are kinds.
const KINDS: usize = Kind::Warning as usize + 1;

#[derive(Debug, Clone, Copy, Default)]
struct Told {
    /// When it was told last; of none yet nothing is known.
    last: Option<Duration>,
    /// Like ones since.
    untold: u64,
}

#[derive(Debug, Default)]
struct State {
    told: [Told; KINDS],
    /// Since when nothing was delivered, and how many attempts failed since.
    failing: Option<(Duration, u64)>,
}

/// The reports of one exporter, on all cores. The lock is taken for failures, and for the first success after one.
#[derive(Debug, Default)]
pub struct Reports {
    state: Mutex<State>,
    is_failing: std::sync::atomic::AtomicBool,
}

impl Reports {
    /// A call failed, at `now`. `next` is when it is tried again, if it is.
    pub(super) fn failed(&self, exporter: &str, kind: Kind, now: Duration, error: &str, next: Option<Duration>) {
        let Some(untold) = self.note(kind, now) else { return };
        let next = match (kind, next) {
            (_, Some(wait)) => format!("tried again in {:.1} s", wait.as_secs_f64()),
            (Kind::Refused | Kind::Credentials | Kind::RefusedInPart | Kind::TooLarge, None) => {
                "not tried again".into()
            }
            (_, None) => "set aside".into(),
        };
        tracing::warn!(exporter, error, next, like_ones_before = untold, "the next hop does not take what is sent");
    }

    /// The server took all of a request, and says something of it.
    pub(super) fn warned(&self, exporter: &str, now: Duration, said: &str) {
        if let Some(untold) = self.note(Kind::Warning, now) {
            tracing::warn!(exporter, said, like_ones_before = untold, "the next hop took a request with a warning");
        }
    }

    /// How many like failures are told with this one, if it is told.
    fn note(&self, kind: Kind, now: Duration) -> Option<u64> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        if !matches!(kind, Kind::Refused | Kind::RefusedInPart | Kind::TooLarge | Kind::Warning) {
            state.failing.get_or_insert((now, 0)).1 += 1;
            self.is_failing.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let told = state.told.get_mut(kind as usize)?;
        if told.last.is_some_and(|last| now < last.saturating_add(TELL_INTERVAL)) {
            told.untold += 1;
            return None;
        }
        told.last = Some(now);
        Some(std::mem::take(&mut told.untold))
    }

    /// A call succeeded, at `now`.
    pub(super) fn succeeded(&self, exporter: &str, now: Duration) {
        if !self.is_failing.load(std::sync::atomic::Ordering::Relaxed) {
            return;
        }
        if let Some((since, failures)) = self.recover() {
            let seconds = now.saturating_sub(since).as_secs_f64();
            let after = format!("{seconds:.1} s");
            tracing::info!(exporter, after, failed_attempts = failures, "the next hop takes what is sent again");
        }
    }

    fn recover(&self) -> Option<(Duration, u64)> {
        let mut state = self.state.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        self.is_failing.store(false, std::sync::atomic::Ordering::Relaxed);
        // The next failure is the first of its kind again, but a server that comes and goes does not fill the log.
        state.failing.take()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_of_a_kind_is_told_at_once_and_like_ones_are_counted() {
        let reports = Reports::default();
        let seconds = Duration::from_secs;
        assert_eq!(reports.note(Kind::Connect, seconds(100)), Some(0));
        assert_eq!(reports.note(Kind::Connect, seconds(101)), None);
        assert_eq!(reports.note(Kind::Refused, seconds(101)), Some(0), "another kind");
        assert_eq!(reports.note(Kind::Connect, seconds(129)), None);
        assert_eq!(reports.note(Kind::Connect, seconds(130)), Some(2));
        assert_eq!(reports.recover(), Some((seconds(100), 4)), "refusals of a request are no outage");
        assert_eq!(reports.recover(), None);
    }
}
