//! The knobs of what is summed up: `summaries.` in the file.

use std::time::Duration;

use super::node::from_to;
use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::{DurationHistogram, DurationUnit, Temporality};

/// An hour without news is no monitoring any more.
const WINDOW: Kind = Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(3600) };
/// A day.
const EXPIRY: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(86_400) };
/// Below four buckets not every duration has one; past a thousand a series takes tens of kilobytes.
const BUCKETS_MIN: u64 = 4;
const BUCKETS_MAX: u64 = 1024;
/// Each series takes about a kilobyte on each core.
const SERIES_MAX: u64 = 10_000_000;

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "summaries.window",
        WINDOW,
        |d| Slot::Duration(&mut d.config.summaries.window),
        "From one emission of summaries to the next. While the next hop takes none the window goes on, and nothing is lost.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.enabled",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.span_metrics.enabled),
        "Count calls, errors and durations of all spans, kept or not, and send them as metrics to the exporters that take metrics: `calls` and `duration`, as the Collector's `spanmetrics` connector names them. A span that was sampled before counts as many times as its threshold says.",
    )
    .flag("span-metrics"),
    Key::<Draft>::new(
        "summaries.span_metrics.namespace",
        Kind::Text,
        |d| Slot::OptionalText(&mut d.config.summaries.span_metrics.namespace),
        "What stands before the names of the metrics, with a dot behind it.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.unit",
        Kind::Choice(DurationUnit::CHOICES),
        |d| Slot::Choice(&mut d.config.summaries.span_metrics.unit),
        "Unit of `duration`.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.histogram",
        Kind::Choice(DurationHistogram::CHOICES),
        |d| Slot::Choice(&mut d.config.summaries.span_metrics.histogram),
        "How `duration` is told.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.buckets",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.span_metrics.buckets),
        "Bounds of an explicit histogram: durations that rise.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.buckets_max",
        from_to(BUCKETS_MIN, BUCKETS_MAX),
        |d| Slot::Count(&mut d.config.summaries.span_metrics.buckets_max),
        "Buckets of an exponential histogram at most.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.dimensions",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.span_metrics.dimensions),
        "Further attributes that tell series apart, of the span or else of its resource. `name=value` says what it is where neither has it; without, the series is without it.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.exclude_dimensions",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.span_metrics.exclude_dimensions),
        "Which of `service.name`, `span.name`, `span.kind`, `status.code` do not tell series apart.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.resource_attributes",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.span_metrics.resource_attributes),
        "Attributes of the resource that tell series apart and are told with them. `*` is all of them: then each process has series of its own.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.instance_id",
        Kind::Text,
        |d| Slot::OptionalText(&mut d.config.summaries.span_metrics.instance_id),
        "Told with every series as `collector.instance.id`, so that several nodes that count the same series can be told apart.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.temporality",
        Kind::Choice(Temporality::CHOICES),
        |d| Slot::Choice(&mut d.config.summaries.span_metrics.temporality),
        "What a data point tells: all since the start, so that a repeat does no harm, or what came since the one before.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.series_max",
        from_to(2, SERIES_MAX),
        |d| Slot::Count(&mut d.config.summaries.span_metrics.series_max),
        "Most series. Past it spans count for one series, `otel.metric.overflow`, until series have expired.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.expiry",
        EXPIRY,
        |d| Slot::Duration(&mut d.config.summaries.span_metrics.expiry),
        "Without a span for so long, a series is not told any more. `0` is never.",
    ),
];
