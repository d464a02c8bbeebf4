//! What a core gathers of spans while they are walked over: for span metrics, for the service graph, or for both.

use crate::service_graph::{Ends, Gatherer};
use crate::span_metrics::{self, Tally};

/// What a walk gathers into.
#[derive(Debug, Default)]
pub struct SpanTally {
    /// For span metrics.
    pub metrics: Option<Tally>,
    /// For the service graph.
    pub graph: Option<Gatherer>,
}

impl SpanTally {
    /// Whether nothing is gathered.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_none() && self.graph.is_none()
    }
}

/// What was gathered of a request, to be counted when it is accepted.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Counted {
    /// For span metrics.
    pub metrics: span_metrics::Counted,
    /// For the service graph.
    pub ends: Ends,
}

impl Counted {
    /// Whether nothing is to be counted.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.metrics.is_empty() && self.ends.is_empty()
    }
}
