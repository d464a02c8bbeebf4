//! What was counted of spans, by the names of their series: it adds up in any order, and is stored.
//!
//! ```text
//! rows 4 | each: name's length 4, name, row (postcard: calls, first, duration)
//! ```

use super::Durations;
use crate::compensated::Compensated;
use crate::explicit::Explicit;
use crate::exponential::Exponential;
use crate::moments::Moments;
use crate::rows::{self, Rows};
use crate::windows::StateError;
use serde::{Deserialize, Serialize};

/// How long spans took.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Duration {
    /// It is not told.
    None,
    /// By bounds.
    Explicit(Explicit),
    /// By powers of a base.
    Exponential(Exponential),
}

impl Duration {
    /// Nothing counted.
    pub(crate) fn new(durations: &Durations) -> Self {
        match durations {
            Durations::None => Self::None,
            // The plan was checked: its bounds rise.
            Durations::Explicit(bounds) => Explicit::new(bounds.clone()).map_or(Self::None, Self::Explicit),
            Durations::Exponential(buckets_max) => Self::Exponential(Exponential::new(*buckets_max)),
        }
    }

    /// Counts one for so many.
    pub(crate) fn record(&mut self, value: f64, weight: u64) {
        match self {
            Self::None => {}
            Self::Explicit(histogram) => _ = histogram.record(value, weight),
            Self::Exponential(histogram) => _ = histogram.record(value, weight),
        }
    }

    /// Gives away what is counted and is empty.
    pub(crate) fn take(&mut self) -> Self {
        match self {
            Self::None => Self::None,
            Self::Explicit(histogram) => Self::Explicit(histogram.take()),
            Self::Exponential(histogram) => Self::Exponential(histogram.take()),
        }
    }

    /// Adds others of the same series.
    pub(crate) fn merge(&mut self, other: &Self) {
        match (self, other) {
            (Self::Explicit(own), Self::Explicit(more)) => {
                // A series' name tells its bounds apart.
                let merged = own.merge(more);
                debug_assert!(merged.is_ok(), "bounds differ within a series");
            }
            (Self::Exponential(own), Self::Exponential(more)) => own.merge(more),
            _ => {}
        }
    }

    /// Appends what a data point says of them.
    pub(crate) fn put_data_point_fields(&self, out: &mut Vec<u8>) {
        match self {
            Self::Explicit(histogram) => histogram.put_data_point_fields(out),
            Self::Exponential(histogram) => histogram.put_data_point_fields(out),
            Self::None => {}
        }
    }
}

/// What is counted in one series.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Row {
    /// Spans.
    pub calls: u64,
    /// When the first of them came, nanoseconds since the Unix epoch.
    pub first_unix_nano: u64,
    /// How long they took.
    pub duration: Duration,
}

impl Row {
    /// Nothing counted.
    #[must_use]
    pub fn new(durations: &Durations) -> Self {
        let duration = Duration::new(durations);
        Self { calls: 0, first_unix_nano: u64::MAX, duration }
    }

    /// Counts a span for so many; `take` is told of its duration what is not its bucket.
    #[inline]
    pub(super) fn count(&mut self, weight: u64, duration: f64, arrived_unix_nano: u64) {
        self.calls = self.calls.saturating_add(weight);
        self.first_unix_nano = self.first_unix_nano.min(arrived_unix_nano);
        match &mut self.duration {
            Duration::Exponential(histogram) => histogram.place(duration, weight),
            Duration::Explicit(histogram) => histogram.place(duration, weight),
            Duration::None => {}
        }
    }

    /// Gives away what is counted and is empty. The durations had this sum and these extremes.
    pub(super) fn take(&mut self, sum: f64, extremes: (f64, f64)) -> Self {
        let moments = Moments {
            count: self.calls,
            sum: Some(Compensated::from(sum)),
            min: Some(extremes.0),
            max: Some(extremes.1),
        };
        match &mut self.duration {
            Duration::Exponential(histogram) => histogram.add_moments(&moments),
            Duration::Explicit(histogram) => histogram.add_moments(&moments),
            Duration::None => {}
        }
        let taken = Self { calls: self.calls, first_unix_nano: self.first_unix_nano, duration: self.duration.take() };
        (self.calls, self.first_unix_nano) = (0, u64::MAX);
        taken
    }

    /// Adds another of the same series.
    pub(super) fn merge(&mut self, other: &Self) {
        self.calls = self.calls.saturating_add(other.calls);
        self.first_unix_nano = self.first_unix_nano.min(other.first_unix_nano);
        self.duration.merge(&other.duration);
    }
}

/// All series.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Sums {
    rows: Rows<Row>,
}

impl Sums {
    /// Adds to a series.
    pub(super) fn add(&mut self, name: &[u8], row: Row) {
        rows::add(&mut self.rows, name, row);
    }

    /// Adds what another has counted.
    pub fn merge(&mut self, other: Self) {
        other.rows.into_iter().for_each(|(name, row)| self.add(&name, row));
    }

    /// Whether there is nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty()
    }

    /// Series.
    #[must_use]
    pub fn len(&self) -> usize {
        self.rows.len()
    }

    /// Spans counted.
    #[must_use]
    pub fn calls(&self) -> u64 {
        self.rows.values().map(|row| row.calls).sum()
    }

    pub(super) fn into_rows(self) -> Rows<Row> {
        self.rows
    }

    /// Appends all of it.
    pub fn write(&self, out: &mut Vec<u8>) {
        rows::write(&self.rows, out);
    }

    /// What `write` has written.
    ///
    /// # Errors
    /// `StateError::Damaged`: it was not.
    pub fn read(bytes: &[u8]) -> Result<Self, StateError> {
        rows::read(bytes).map(|rows| Self { rows })
    }
}
