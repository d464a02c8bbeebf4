//! The knobs of what becomes of logs and of what is summed up: `logs.` and `summaries.` in the file.

use std::time::Duration;

use super::node::from_to;
use super::{Key, Kind, Slot};
use crate::draft::Draft;
use crate::settings::{DurationHistogram, DurationUnit, OrphanLogs, Temporality, TraceLogs};
use crate::value::{GIB, KIB};

/// An hour without news is no monitoring any more.
const WINDOW: Kind = Kind::Duration { min: Duration::from_secs(1), max: Duration::from_secs(3600) };
/// A day.
pub(super) const EXPIRY: Kind = Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(86_400) };
/// Below four buckets not every duration has one.
pub(super) const BUCKETS_MIN: u64 = 4;
/// Past a thousand buckets a series takes tens of kilobytes.
pub(super) const BUCKETS_MAX: u64 = 1024;
/// So many examples of a series take as much as the series.
const EXEMPLARS_MAX: u64 = 16;
/// Each series takes about a kilobyte on each core.
pub(super) const SERIES_MAX: u64 = 10_000_000;

/// Each shape takes about two kilobytes on each core.
const SHAPES_MAX: u64 = 1_000_000;

/// Less is of no use; more than this nobody has meant.
const BYTES: Kind = Kind::Bytes { min: 64 * KIB, max: 64 * GIB };

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<Draft>] = &[
    Key::<Draft>::new(
        "logs.of_traces",
        Kind::Choice(TraceLogs::CHOICES),
        |d| Slot::Choice(&mut d.config.logs.of_traces),
        "What becomes of log records with a trace id: they pass as they came, or wait for the verdict of the first pipeline on their trace and share it. Those of dropped traces are told by their patterns, where `summaries.log_patterns` is on.",
    ),
    Key::<Draft>::new(
        "logs.orphans",
        Kind::Choice(OrphanLogs::CHOICES),
        |d| Slot::Choice(&mut d.config.logs.orphans),
        "What becomes of log records without a trace id, or of a trace of which no span came: they pass as they came, or only their patterns are told.",
    ),
    Key::<Draft>::new(
        "logs.wait",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(86_400) },
        |d| Slot::Duration(&mut d.config.logs.wait),
        "From the arrival of log records to when a span of their trace should have come. Past it they are orphans; those of a trace that is still undecided wait for it however long that takes. `0` is 5s more than the longest `decision_wait`.",
    )
    .default("decision_wait and 5s"),
    Key::<Draft>::new(
        "logs.held_bytes_max",
        BYTES,
        |d| Slot::Count(&mut d.config.logs.held_bytes_max),
        "Most bytes of log records that wait for their traces, in equal parts on the shards. Past it the oldest pass with what is undecided.",
    ),
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
    Key::<Draft>::new(
        "summaries.span_metrics.exemplars",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.span_metrics.exemplars),
        "Tell spans of kept traces as exemplars of `calls` and `duration`. None is of a trace that was dropped, or is not judged yet.",
    ),
    Key::<Draft>::new(
        "summaries.span_metrics.exemplars_max",
        from_to(1, EXEMPLARS_MAX),
        |d| Slot::Count(&mut d.config.summaries.span_metrics.exemplars_max),
        "Exemplars of a data point at most.",
    ),
    Key::<Draft>::new(
        "summaries.metrics.rules",
        Kind::MetricRules,
        |d| Slot::MetricRules(&mut d.config.summaries.metrics.rules),
        "What is done with metrics, an ordered list of which the first that matches holds: `{metric: glob, service: glob, action: aggregate | keep | drop}`. `aggregate` merges points of a name into one a `window` (60s), with `keep_attributes` or `drop_attributes`, `keep_resource_attributes` or `drop_resource_attributes`, `temporality` (cumulative or delta) and for gauges `gauge` (last, min, max, mean, sum). What no rule matches passes as it came. See [summaries.md](summaries.md).",
    ),
    Key::<Draft>::new(
        "summaries.metrics.series_max",
        from_to(2, SERIES_MAX),
        |d| Slot::Count(&mut d.config.summaries.metrics.series_max),
        "Most series of merged metrics. Past it points count for `otel.metric.overflow` of their metric.",
    ),
    Key::<Draft>::new(
        "summaries.metrics.bytes_max",
        BYTES,
        |d| Slot::Count(&mut d.config.summaries.metrics.bytes_max),
        "Most bytes of series of merged metrics, on each core and for all of them.",
    ),
    Key::<Draft>::new(
        "summaries.metrics.expiry",
        EXPIRY,
        |d| Slot::Duration(&mut d.config.summaries.metrics.expiry),
        "Without a point for so long, a series is forgotten.",
    ),
    Key::<Draft>::new(
        "summaries.log_patterns.enabled",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.log_patterns.enabled),
        "Count all log records by their patterns, and send these as log records to the exporters that take logs: one a pattern, service and severity in each window.",
    )
    .flag("log-patterns"),
    Key::<Draft>::new(
        "summaries.log_patterns.bytes_max",
        BYTES,
        |d| Slot::Count(&mut d.config.summaries.log_patterns.bytes_max),
        "Most bytes of patterns, on each core and for all of them. Past it records count for the pattern `<*>` of their service and severity.",
    ),
    Key::<Draft>::new(
        "summaries.log_patterns.samples_max",
        from_to(0, 16),
        |d| Slot::Count(&mut d.config.summaries.log_patterns.samples_max),
        "Examples of each pattern.",
    ),
    Key::<Draft>::new(
        "summaries.log_patterns.values_max",
        from_to(0, 32),
        |d| Slot::Count(&mut d.config.summaries.log_patterns.values_max),
        "Most frequent values of each wildcard that are told.",
    ),
    Key::<Draft>::new(
        "summaries.log_patterns.masks",
        Kind::List,
        |d| Slot::List(&mut d.config.summaries.log_patterns.masks),
        "What varies besides numbers, ids, addresses, times and the like: `name=expression`. `<name>` stands for it in patterns.",
    ),
    Key::<Draft>::new(
        "summaries.skeletons.enabled",
        Kind::Bool,
        |d| Slot::Bool(&mut d.config.summaries.skeletons.enabled),
        "Tell of dropped traces what they looked like, as log records to the exporters that take logs: one a shape in each window, with how many they were, how long they took, and the id of the slowest. A shape is where traces begin and which services they went through, with or without errors.",
    )
    .flag("skeletons"),
    Key::<Draft>::new(
        "summaries.skeletons.shapes_max",
        from_to(1, SHAPES_MAX),
        |d| Slot::Count(&mut d.config.summaries.skeletons.shapes_max),
        "Most shapes of a window, on each core and for all. Past it dropped traces count for the shape `<*>`.",
    ),
];
