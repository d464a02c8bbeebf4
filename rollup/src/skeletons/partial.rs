//! Shapes by their names, and what was counted of each, as it is handed to the sums and stored: postcard's form of these
//! fields.

use super::BUCKETS_MAX;
use crate::exponential::Exponential;
use serde::{Deserialize, Serialize};
use thiserror::Error;

/// What was stored is no partial.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
#[error("stored skeletons are damaged")]
pub struct StoredError;

/// A trace that was dropped.
#[derive(Debug, Clone, Copy)]
pub struct DroppedTrace {
    /// Its id.
    pub trace_id: [u8; 16],
    /// Its spans.
    pub spans: u32,
    /// Its first start.
    pub start_unix_nano: u64,
    /// Its last end.
    pub end_unix_nano: u64,
}

/// Where a trace begins.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Root {
    /// `service.name`.
    pub service: String,
    /// The name of the root span.
    pub name: String,
    /// Its `http.route`; empty where it has none.
    pub route: String,
}

/// What traces have in common.
#[derive(Debug, Clone, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub struct Shape {
    /// Where they begin; `None` where no root span came.
    pub root: Option<Root>,
    /// The services of their spans, in order.
    pub services: Vec<String>,
    /// Those of which a span has an error.
    pub error_services: Vec<String>,
}

/// What was counted of a shape.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Counted {
    /// Traces.
    pub traces: u64,
    /// Their spans.
    pub spans: u64,
    /// How long they took, in milliseconds.
    pub durations: Exponential,
    /// The first start.
    pub first_unix_nano: u64,
    /// The last end.
    pub last_unix_nano: u64,
    /// How long the slowest took in nanoseconds, and its id.
    pub example: (u64, [u8; 16]),
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            traces: 0,
            spans: 0,
            durations: Exponential::new(BUCKETS_MAX),
            first_unix_nano: u64::MAX,
            last_unix_nano: 0,
            example: (0, [0; 16]),
        }
    }
}

impl Counted {
    /// Counts a trace.
    #[expect(clippy::cast_precision_loss, reason = "a duration past 104 days is exact to a microsecond")]
    pub fn count(&mut self, trace: &DroppedTrace) {
        let nanos = trace.end_unix_nano.saturating_sub(trace.start_unix_nano);
        self.traces += 1;
        self.spans += u64::from(trace.spans);
        self.durations.record(nanos as f64 / 1e6, 1);
        self.first_unix_nano = self.first_unix_nano.min(trace.start_unix_nano);
        self.last_unix_nano = self.last_unix_nano.max(trace.end_unix_nano);
        self.example = self.example.max((nanos, trace.trace_id));
    }

    /// Adds what was counted of the same shape.
    pub fn merge(&mut self, other: &Self) {
        self.traces = self.traces.saturating_add(other.traces);
        self.spans = self.spans.saturating_add(other.spans);
        self.durations.merge(&other.durations);
        self.first_unix_nano = self.first_unix_nano.min(other.first_unix_nano);
        self.last_unix_nano = self.last_unix_nano.max(other.last_unix_nano);
        self.example = self.example.max(other.example);
    }
}

/// What was counted since the last time.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct Partial {
    pub(super) rows: Vec<(Shape, Counted)>,
    /// Of what is past the bounds.
    pub(super) overflow: Option<Counted>,
}

impl Partial {
    /// As it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        // Writing to memory can't fail, nor do these types refuse to be written.
        postcard::to_allocvec(self).unwrap_or_default()
    }

    /// Reads what was stored.
    ///
    /// # Errors
    /// It is none.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StoredError> {
        postcard::from_bytes(bytes).map_err(|_| StoredError)
    }

    /// Whether nothing was counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.rows.is_empty() && self.overflow.is_none()
    }

    /// Traces counted.
    #[must_use]
    pub fn traces(&self) -> u64 {
        self.rows.iter().map(|(_, row)| row).chain(&self.overflow).map(|row| row.traces).sum()
    }
}
