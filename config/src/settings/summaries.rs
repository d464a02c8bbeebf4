//! What is summed up, and how it is told.

use std::time::Duration;

use crate::choices::choices;
use crate::value;

choices! {
    /// The unit of durations.
    DurationUnit {
        /// Milliseconds, as the Collector's `spanmetrics` has it.
        #[default]
        Milliseconds = "ms",
        /// Seconds, as the semantic conventions have it.
        Seconds = "s",
    }
}

choices! {
    /// How durations are told.
    DurationHistogram {
        /// By an exponential histogram.
        #[default]
        Exponential = "exponential",
        /// By bounds.
        Explicit = "explicit",
        /// Not at all.
        None = "none",
    }
}

choices! {
    /// What a data point tells.
    Temporality {
        /// All since the start: a repeat tells nothing new.
        #[default]
        Cumulative = "cumulative",
        /// What came since the one before.
        Delta = "delta",
    }
}

/// What is summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summaries {
    /// From one emission to the next.
    pub window: Duration,
    /// Calls, errors and durations of spans.
    pub span_metrics: SpanMetrics,
}

/// Calls, errors and durations from all spans.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SpanMetrics {
    /// Whether there are any.
    pub enabled: bool,
    /// What stands before the names of metrics; `None` for nothing.
    pub namespace: Option<String>,
    /// The unit of durations.
    pub unit: DurationUnit,
    /// How durations are told.
    pub histogram: DurationHistogram,
    /// Bounds of an explicit histogram, as durations.
    pub buckets: Vec<String>,
    /// Buckets of an exponential histogram at most.
    pub buckets_max: u64,
    /// Further attributes that tell series apart: a name, or a name and `=` with a default.
    pub dimensions: Vec<String>,
    /// Usual dimensions that do not.
    pub exclude_dimensions: Vec<String>,
    /// Attributes of the resource that tell series apart; `*` for all.
    pub resource_attributes: Vec<String>,
    /// Told as `collector.instance.id`.
    pub instance_id: Option<String>,
    /// What a data point tells.
    pub temporality: Temporality,
    /// Most series.
    pub series_max: u64,
    /// Without a span for so long, a series is not told any more; zero for never.
    pub expiry: Duration,
}

impl SpanMetrics {
    /// Dimensions of each series, which may be left out.
    pub const STANDARD: [&'static str; 4] = ["service.name", "span.name", "span.kind", "status.code"];

    /// The bounds of an explicit histogram, as far as they are durations.
    #[must_use]
    pub fn bounds(&self) -> Vec<Duration> {
        self.buckets.iter().filter_map(|text| value::duration(text).ok()).collect()
    }
}

impl Default for Summaries {
    fn default() -> Self {
        Self { window: Duration::from_secs(60), span_metrics: SpanMetrics::default() }
    }
}

impl Default for SpanMetrics {
    fn default() -> Self {
        let owned = |texts: &[&str]| texts.iter().map(ToString::to_string).collect();
        Self {
            enabled: false,
            namespace: Some("traces.span.metrics".to_string()),
            unit: DurationUnit::default(),
            histogram: DurationHistogram::default(),
            // Those of the Collector's connector.
            buckets: owned(&[
                "2ms", "4ms", "6ms", "8ms", "10ms", "50ms", "100ms", "200ms", "400ms", "800ms", "1s", "1.4s", "2s",
                "5s", "10s", "15s",
            ]),
            buckets_max: 160,
            dimensions: Vec::new(),
            exclude_dimensions: Vec::new(),
            resource_attributes: owned(&["service.name", "service.namespace", "deployment.environment.name"]),
            instance_id: None,
            temporality: Temporality::default(),
            series_max: 10_000,
            expiry: Duration::from_secs(15 * 60),
        }
    }
}
