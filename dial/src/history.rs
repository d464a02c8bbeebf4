//! What was read of late, and what signals come to over a window of it.

use crate::signal::Signal;
use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

/// Readings that are kept: one a second for the longest window, and some more.
/// At the bound: the oldest is forgotten, and the longest windows are not known.
pub const SAMPLES_MAX: usize = 1024;

/// What a node is like at one moment. Of parts and ages what they are now; of the rest all since the start.
#[derive(Debug, Clone, PartialEq, Default)]
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
    /// Bytes of their messages.
    pub bytes: u64,
    /// Traces that have begun.
    pub traces: u64,
    /// Series that are told now. `None`: there are no summaries.
    pub series: Option<f64>,
    /// Spans.
    pub spans: u64,
    /// Of these, those with an error.
    pub errors: u64,
    /// Of the services that are watched what has come of each, by their names.
    pub services: Vec<(Arc<str>, Flow)>,
}

/// What has come of one service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Flow {
    /// Spans.
    pub spans: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Of the spans those with an error.
    pub errors: u64,
}

impl Reading {
    fn flow(&self, service: &str) -> Option<Flow> {
        self.services.iter().find(|(name, _)| **name == *service).map(|(_, flow)| *flow)
    }
}

#[derive(Debug, Clone)]
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
            Signal::BytesRate => rate(|reading| reading.bytes),
            Signal::TraceRate => rate(|reading| reading.traces),
            Signal::Series => self.mean(first, |reading| reading.series),
            Signal::ErrorRate => rate(|reading| reading.errors),
            Signal::ErrorRatio => match counted(|reading| reading.spans) {
                0 => Some(0.0),
                spans => Some(float(counted(|reading| reading.errors)) / float(spans)),
            },
        }
    }

    /// What a signal of one service comes to over the window. `None` besides where the service was not watched for as long.
    pub(crate) fn value_of(&self, service: &str, signal: Signal, window: Duration) -> Option<f64> {
        let last = self.samples.back()?;
        let begins = last.at.checked_sub(window)?;
        let base = self.samples.iter().rev().find(|sample| sample.at <= begins)?;
        let (now, before) = (last.reading.flow(service)?, base.reading.flow(service)?);
        let seconds = (last.at - base.at).as_secs_f64();
        let counted = |of: fn(&Flow) -> u64| float(of(&now).saturating_sub(of(&before)));
        let rate = |of| if seconds > 0.0 { Some(counted(of) / seconds) } else { None };
        match signal {
            Signal::ArrivalRate => rate(|flow| flow.spans),
            Signal::BytesRate => rate(|flow| flow.bytes),
            Signal::ErrorRate => rate(|flow| flow.errors),
            Signal::ErrorRatio => Some(counted(|flow| flow.errors) / counted(|flow| flow.spans).max(1.0)),
            _ => None,
        }
    }

    /// As `value`, over what was read so far where that is less than a window.
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
    fn a_service_has_values_of_its_own_once_it_is_watched() {
        let mut history = History::default();
        let reading = |shop: Option<(u64, u64)>| {
            let flow = |(spans, errors)| (Arc::from("shop"), Flow { spans, bytes: 10 * spans, errors });
            Reading { items: 1000, services: shop.map(flow).into_iter().collect(), ..Reading::default() }
        };
        let of = |history: &History, signal| history.value_of("shop", signal, seconds(2));
        history.add(seconds(1), reading(None));
        history.add(seconds(2), reading(Some((4, 0))));
        history.add(seconds(3), reading(Some((8, 2))));
        assert_eq!(of(&history, Signal::ArrivalRate), None, "not watched so long");
        history.add(seconds(4), reading(Some((12, 4))));
        assert_eq!(of(&history, Signal::ArrivalRate), Some(4.0));
        assert_eq!(of(&history, Signal::BytesRate), Some(40.0));
        assert_eq!((of(&history, Signal::ErrorRate), of(&history, Signal::ErrorRatio)), (Some(2.0), Some(0.5)));
        assert_eq!((of(&history, Signal::Cpu), history.value_of("other", Signal::ErrorRate, seconds(2))), (None, None));
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
