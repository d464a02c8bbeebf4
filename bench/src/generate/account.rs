//! Counting: live counters that the main thread reads, and what one worker has measured.

use crate::output::Line;
use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

/// Longest latency told apart from longer ones: ten minutes, in nanoseconds.
const LATENCY_NANOS_MAX: u64 = 600_000_000_000;

/// Live counters, written by the workers and read once a second; spans where nothing else is said.
#[derive(Debug, Default)]
pub struct Counters {
    /// handed to a connection for the first time
    pub sent: AtomicU64,
    /// acknowledged
    pub acked: AtomicU64,
    /// given up: refused for good, or still refused at the end
    pub refused: AtomicU64,
    /// acknowledged requests' spans that the server said it rejected (partial success)
    pub rejected: AtomicU64,
    /// sent again, each time counted
    pub retried: AtomicU64,
    /// requests without an answer yet
    pub in_flight: AtomicU64,
    /// longest latency since it was last read, nanoseconds
    pub latency_max: AtomicU64,
    /// set when the run is to end early
    pub stop: Arc<AtomicBool>,
}

impl Counters {
    /// The progress line; `acked_second` are the spans acknowledged since the last one.
    pub fn line(&self, elapsed: Duration, acked_second: u64) -> Line {
        let load = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        let (acked, refused, retried) = (load(&self.acked), load(&self.refused), load(&self.retried));
        let in_flight = load(&self.in_flight);
        let latency_ms = millis(self.latency_max.swap(0, Ordering::Relaxed));
        Line {
            text: format!(
                "{:6.1} s  {acked_second:>9} spans/s acked  {in_flight:>4} requests in flight  {refused} refused  \
                 {retried} retried  ack max {latency_ms:.1} ms",
                elapsed.as_secs_f64()
            ),
            json: json!({
                "seconds": elapsed.as_secs_f64(), "acked": acked, "acked_second": acked_second, "refused": refused,
                "retried": retried, "requests_in_flight": in_flight, "ack_max_ms": latency_ms,
            }),
        }
    }
}

/// Nanoseconds as milliseconds with a fraction.
#[expect(clippy::cast_precision_loss, reason = "a latency needs no 53 bits")]
pub fn millis(nanos: u64) -> f64 {
    nanos as f64 / 1e6
}

/// An empty histogram of latencies in nanoseconds, three digits exact.
///
/// # Errors
/// If the library refuses the bounds, which it does not.
pub fn latencies() -> Result<Histogram<u64>, String> {
    Histogram::new_with_bounds(1, LATENCY_NANOS_MAX, 3).map_err(|error| error.to_string())
}

/// What came of the records or points of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Account {
    /// handed to the connection, each once
    pub sent: u64,
    /// acknowledged
    pub acked: u64,
    /// given up
    pub refused: u64,
    /// of acknowledged requests, reported as rejected
    pub rejected: u64,
    /// bytes of acknowledged bodies
    pub bytes: u64,
    /// acknowledged log records that belong to a trace
    pub of_traces: u64,
    /// by how much acknowledged delta sums have risen
    pub delta: u64,
}

impl Account {
    /// Adds another.
    pub fn add(&mut self, other: Self) {
        self.sent += other.sent;
        self.acked += other.acked;
        self.refused += other.refused;
        self.rejected += other.rejected;
        self.bytes += other.bytes;
        self.of_traces += other.of_traces;
        self.delta += other.delta;
    }
}

/// Accounts by signal and service.
pub type Accounts = BTreeMap<(&'static str, String), Account>;

#[cfg(test)]
mod tests {
    #[test]
    fn latencies_of_ten_minutes_are_told_to_a_thousandth() {
        let mut histogram = super::latencies().unwrap();
        histogram.saturating_record(599_000_000_000);
        assert!(histogram.max().abs_diff(599_000_000_000) < 599_000_000);
    }
}
