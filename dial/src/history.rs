//! What was read of late, and what signals come to over a window of it.

use crate::signal::Signal;
use std::collections::VecDeque;
use std::time::Duration;

/// Readings that are kept: one a second for the longest window, and some more.
/// At the bound: the oldest is forgotten, and the longest windows are not known.
pub const SAMPLES_MAX: usize = 1024;

/// What a node is like at one moment. Of parts and ages what they are now; of the rest all since the start.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Reading {
    /// Processor time since the reading before, as a part of what the cores have.
    pub cpu: Option<f64>,
    /// Bytes held of those that may be.
    pub memory: Option<f64>,
    /// Of the log's bytes those that are taken. `None`: there is no log.
    pub log_bytes: Option<f64>,
    /// Seconds that the oldest of what is to be exported has waited.
    pub queue_age: Option<f64>,
    /// Requests that were not delivered.
    pub export_failures: u64,
    /// Spans, points and records.
    pub items: u64,
    /// Spans.
    pub spans: u64,
    /// Of these, those with an error.
    pub errors: u64,
}

#[derive(Debug, Clone, Copy)]
struct Sample {
    at: Duration,
    reading: Reading,
}

/// The readings of late, oldest first.
#[derive(Debug, Clone, Default)]
pub(crate) struct History {
    samples: VecDeque<Sample>,
}

impl History {
    /// Adds what was read. What is not later than the reading before tells nothing.
    pub(crate) fn add(&mut self, at: Duration, reading: Reading) {
        if self.samples.back().is_some_and(|last| last.at >= at) {
            return;
        }
        if self.samples.len() >= SAMPLES_MAX {
            self.samples.pop_front();
        }
        self.samples.push_back(Sample { at, reading });
    }

    /// What a signal comes to over the window that ends with the last reading. `None` while less than a window was read, or
    /// where there is no such signal.
    pub(crate) fn value(&self, signal: Signal, window: Duration) -> Option<f64> {
        let last = self.samples.back()?;
        let begins = last.at.checked_sub(window)?;
        let first = self.samples.iter().rposition(|sample| sample.at <= begins)?;
        let base = self.samples.get(first)?;
        let counted = |of: fn(&Reading) -> u64| of(&last.reading).saturating_sub(of(&base.reading));
        let seconds = (last.at - base.at).as_secs_f64();
        let rate = |of| if seconds > 0.0 { Some(float(counted(of)) / seconds) } else { None };
        match signal {
            Signal::Cpu => self.mean(first, |reading| reading.cpu),
            Signal::Memory => self.mean(first, |reading| reading.memory),
            Signal::LogBytes => self.mean(first, |reading| reading.log_bytes),
            Signal::QueueAge => self.mean(first, |reading| reading.queue_age),
            Signal::ExportFailures => rate(|reading| reading.export_failures),
            Signal::ArrivalRate => rate(|reading| reading.items),
            Signal::ErrorRate => rate(|reading| reading.errors),
            Signal::ErrorRatio => match counted(|reading| reading.spans) {
                0 => Some(0.0),
                spans => Some(float(counted(|reading| reading.errors)) / float(spans)),
            },
        }
    }

    /// The same over what was read so far, where that is less than a window.
    pub(crate) fn lately(&self, signal: Signal, window: Duration) -> Option<f64> {
        let (first, last) = (self.samples.front()?, self.samples.back()?);
        self.value(signal, window.min(last.at - first.at))
    }

    /// The mean of what came after the sample `first`; each holds for the time since the one before.
    fn mean(&self, first: usize, of: impl Fn(&Reading) -> Option<f64>) -> Option<f64> {
        let (mut sum, mut seconds) = (0.0, 0.0);
        for (before, sample) in self.samples.iter().skip(first).zip(self.samples.iter().skip(first + 1)) {
            if let Some(value) = of(&sample.reading).filter(|value| value.is_finite()) {
                let lasted = (sample.at - before.at).as_secs_f64();
                (sum, seconds) = (sum + value * lasted, seconds + lasted);
            }
        }
        if seconds > 0.0 { Some(sum / seconds) } else { None }
    }
}

#[expect(
    clippy::cast_precision_loss,
    reason = "what a double does not hold of a count is far below a level's last digit"
)]
fn float(number: u64) -> f64 {
    number as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    fn seconds(number: u64) -> Duration {
        Duration::from_secs(number)
    }

    #[test]
    fn a_mean_is_over_time_and_a_rate_over_the_window() {
        let mut history = History::default();
        let reading = |cpu, items| Reading { cpu: Some(cpu), items, ..Reading::default() };
        history.add(seconds(10), reading(9.0, 1000));
        assert_eq!(history.value(Signal::Cpu, seconds(1)), None, "less than a window");
        history.add(seconds(11), reading(1.0, 1010));
        // The side thread was late: what it read holds for three seconds.
        history.add(seconds(14), reading(0.25, 1100));
        assert_eq!(history.value(Signal::Cpu, seconds(4)), Some((1.0 + 3.0 * 0.25) / 4.0));
        assert_eq!(history.value(Signal::Cpu, seconds(2)), Some(0.25));
        assert_eq!(history.value(Signal::ArrivalRate, seconds(4)), Some(25.0));
        assert_eq!(history.value(Signal::ArrivalRate, seconds(5)), None);
        assert_eq!(history.lately(Signal::ArrivalRate, seconds(5)), Some(25.0));
        // Not later: as if it were not read.
        history.add(seconds(14), reading(0.9, 9000));
        assert_eq!(history.value(Signal::ArrivalRate, seconds(4)), Some(25.0));
    }

    #[test]
    fn a_ratio_of_nothing_is_zero_and_what_is_not_there_has_no_value() {
        let mut history = History::default();
        history.add(seconds(1), Reading::default());
        history.add(seconds(2), Reading::default());
        assert_eq!(history.value(Signal::ErrorRatio, seconds(1)), Some(0.0));
        assert_eq!(history.value(Signal::LogBytes, seconds(1)), None);
        history.add(seconds(3), Reading { spans: 8, errors: 2, log_bytes: Some(f64::NAN), ..Reading::default() });
        assert_eq!(history.value(Signal::ErrorRatio, seconds(2)), Some(0.25));
        assert_eq!(history.value(Signal::LogBytes, seconds(1)), None);
    }

    #[test]
    fn no_more_is_kept_than_the_bound() {
        let mut history = History::default();
        for second in 0..5000 {
            history.add(seconds(second), Reading { items: second, ..Reading::default() });
        }
        assert_eq!(history.samples.len(), SAMPLES_MAX);
        assert_eq!(history.value(Signal::ArrivalRate, seconds(600)), Some(1.0));
    }
}
