//! What is summed up, and how it is told.

use std::fmt;
use std::time::Duration;

use super::ServiceGraph;
use crate::choices::choices;
use crate::value::{self, MIB};

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

choices! {
    /// What is done with the metrics of a name.
    MetricAction {
        /// They are merged.
        #[default]
        Aggregate = "aggregate",
        /// They pass as they came.
        Keep = "keep",
        /// They are counted and gone.
        Drop = "drop",
    }
}

choices! {
    /// What of several readings of a gauge is told.
    GaugeReading {
        /// The last.
        #[default]
        Last = "last",
        /// The least.
        Min = "min",
        /// The greatest.
        Max = "max",
        /// The mean.
        Mean = "mean",
        /// The sum of the last of each series.
        Sum = "sum",
    }
}

choices! {
    /// What becomes of log records that belong to no trace.
    OrphanLogs {
        /// They go on as they came.
        #[default]
        Pass = "pass",
        /// Their patterns are told in their place.
        Summarise = "summarise",
    }
}

choices! {
    /// What becomes of log records of a trace.
    TraceLogs {
        /// They go on as they came.
        #[default]
        Pass = "pass",
        /// They wait for the verdict on their trace, and share it.
        Follow = "follow",
    }
}

/// What becomes of log records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Logs {
    /// Of a trace.
    pub of_traces: TraceLogs,
    /// Of no trace, or of one of which no span came.
    pub orphans: OrphanLogs,
    /// From their arrival to when a span of their trace should have come. Set by `load` when not configured.
    pub wait: Duration,
    /// Most bytes of records that wait, on all cores.
    pub held_bytes_max: u64,
}

impl Default for Logs {
    fn default() -> Self {
        Self {
            of_traces: TraceLogs::default(),
            orphans: OrphanLogs::default(),
            wait: Duration::from_secs(35),
            held_bytes_max: 64 * MIB,
        }
    }
}

/// Some of all attributes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Selection {
    /// These alone.
    Only(Vec<String>),
    /// All but these.
    Without(Vec<String>),
}

/// What is done with the metrics of a name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricRule {
    /// The names: `*` is any text, `?` any character.
    pub metric: String,
    /// The services; `None` for all.
    pub service: Option<String>,
    /// What is done.
    pub action: MetricAction,
    /// So often a merged point goes out.
    pub window: Duration,
    /// What it tells.
    pub temporality: Temporality,
    /// Attributes of points that tell series apart.
    pub attributes: Selection,
    /// The same of resources.
    pub resource_attributes: Selection,
    /// What of several readings of a gauge is told.
    pub gauge: GaugeReading,
}

/// What is summed up.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summaries {
    /// From one emission to the next.
    pub window: Duration,
    /// Calls, errors and durations of spans.
    pub span_metrics: SpanMetrics,
    /// Requests between services.
    pub service_graph: ServiceGraph,
    /// Metric points that are merged.
    pub metrics: MetricRollup,
    /// Patterns of logs.
    pub log_patterns: LogPatterns,
    /// What dropped traces looked like.
    pub skeletons: Skeletons,
}

/// What dropped traces looked like.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Skeletons {
    /// Whether it is told.
    pub enabled: bool,
    /// Most shapes of a window, on each core and for all.
    pub shapes_max: u64,
}

/// Metric points that are merged.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MetricRollup {
    /// Of which the first that matches holds. What none matches passes.
    pub rules: Vec<MetricRule>,
    /// Most series.
    pub series_max: u64,
    /// Most bytes of series, on each core and for all.
    pub bytes_max: u64,
    /// Without a point for so long, a series is forgotten.
    pub expiry: Duration,
}

/// Patterns of logs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogPatterns {
    /// Whether there are any.
    pub enabled: bool,
    /// Most bytes of patterns, on each core and for all.
    pub bytes_max: u64,
    /// Examples of each pattern.
    pub samples_max: u64,
    /// Values of each wildcard.
    pub values_max: u64,
    /// What varies besides what is known to: `name=expression`.
    pub masks: Vec<String>,
}

/// As it is read, in flow style.
impl fmt::Display for MetricRule {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { metric, service, action, window, temporality, attributes, resource_attributes, gauge } = self;
        write!(formatter, "{{metric: {metric:?}")?;
        if let Some(service) = service {
            write!(formatter, ", service: {service:?}")?;
        }
        write!(formatter, ", action: {action}")?;
        if *action == MetricAction::Aggregate {
            write!(formatter, ", window: {}, temporality: {temporality}", value::show_duration(*window))?;
            for (selection, of) in [(attributes, "attributes"), (resource_attributes, "resource_attributes")] {
                match selection {
                    Selection::Only(names) => write!(formatter, ", keep_{of}: {names:?}")?,
                    Selection::Without(names) if names.is_empty() => {}
                    Selection::Without(names) => write!(formatter, ", drop_{of}: {names:?}")?,
                }
            }
            write!(formatter, ", gauge: {gauge}")?;
        }
        formatter.write_str("}")
    }
}

impl LogPatterns {
    /// The masks, as far as they have a name.
    pub fn named_masks(&self) -> impl Iterator<Item = (&str, &str)> {
        self.masks.iter().filter_map(|text| text.split_once('='))
    }
}

impl Default for MetricRollup {
    fn default() -> Self {
        Self { rules: Vec::new(), series_max: 10_000, bytes_max: 32 * MIB, expiry: Duration::from_secs(3600) }
    }
}

impl Default for LogPatterns {
    fn default() -> Self {
        Self { enabled: false, bytes_max: 16 * MIB, samples_max: 3, values_max: 10, masks: Vec::new() }
    }
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
    /// Whether spans of kept traces are told as examples.
    pub exemplars: bool,
    /// Examples of a data point at most.
    pub exemplars_max: u64,
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
        Self {
            window: Duration::from_secs(60),
            span_metrics: SpanMetrics::default(),
            service_graph: ServiceGraph::default(),
            metrics: MetricRollup::default(),
            log_patterns: LogPatterns::default(),
            skeletons: Skeletons { enabled: false, shapes_max: 1000 },
        }
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
            exemplars: false,
            exemplars_max: 5,
        }
    }
}
