//! Summaries in the exposition: what leaves of them, and what was past a bound.

use super::{Books, Page, Type, number};
use crate::control::{HeldLogsSnapshot, SummarySnapshot};

/// A family, its type and help, and how to read it.
pub(super) type Family<T> = (&'static str, Type, &'static str, fn(&T) -> u64);

const FAMILIES: [Family<SummarySnapshot>; 20] = [
    ("tailwater_summaries_windows_total", Type::Counter, "Windows of summaries that were closed and emitted.", |s| {
        s.windows
    }),
    (
        "tailwater_summaries_delivered_items_total",
        Type::Counter,
        "Data points and log records of summaries that every exporter took over.",
        |s| s.delivered,
    ),
    (
        "tailwater_summaries_refused_items_total",
        Type::Counter,
        "Data points and log records of summaries that an exporter refused for good, or that no exporter takes.",
        |s| s.refused,
    ),
    (
        "tailwater_summaries_retries_total",
        Type::Counter,
        "Requests of summaries that an exporter could not take and that were offered again.",
        |s| s.retries,
    ),
    (
        "tailwater_summaries_uncounted_requests_total",
        Type::Counter,
        "Requests in the log of a former run that could not be read and are in no summary.",
        |s| s.uncounted,
    ),
    (
        "tailwater_summaries_damaged_total",
        Type::Counter,
        "Parts of a former run's summaries that could not be read: what they had counted is lost.",
        |s| s.damaged,
    ),
    (
        "tailwater_summaries_oversized_checkpoints_total",
        Type::Counter,
        "Checkpoints that were too large for the log's journal: a crash would lose what they count.",
        |s| s.oversized,
    ),
    ("tailwater_summaries_metric_series", Type::Gauge, "Series of merged metrics.", |s| s.metric_series),
    (
        "tailwater_summaries_lost_points_total",
        Type::Counter,
        "Metric points for which there was no room, not even in the series of what is past the bound.",
        |s| s.metric_points_lost,
    ),
    (
        "tailwater_summaries_overflowed_points_total",
        Type::Counter,
        "Metric points that count for otel.metric.overflow of their metric: there are more series than there may be.",
        |s| s.metric_points_overflowed,
    ),
    (
        "tailwater_summaries_unmergeable_points_total",
        Type::Counter,
        "Metric points that a rule would merge and that pass as they came, such as summaries.",
        |s| s.metric_points_unmergeable,
    ),
    (
        "tailwater_summaries_metric_resets_total",
        Type::Counter,
        "Cumulative input series that began again, told by their start or by a value that fell.",
        |s| s.metric_resets,
    ),
    ("tailwater_log_pattern_lines_total", Type::Counter, "Log records that were counted by their patterns.", |s| {
        s.log_lines
    }),
    (
        "tailwater_summaries_overflowed_lines_total",
        Type::Counter,
        "Log records that count for the pattern <*> of their service and severity: there is no room for theirs.",
        |s| s.log_lines_overflowed,
    ),
    ("tailwater_span_metrics_series", Type::Gauge, "Series of span metrics that are told.", |s| s.span_series),
    (
        "tailwater_span_metrics_series_expired_total",
        Type::Counter,
        "Series of span metrics that are not told any more for want of spans.",
        |s| s.span_series_expired,
    ),
    ("tailwater_skeleton_traces_total", Type::Counter, "Dropped traces that were counted by their shapes.", |s| {
        s.traces
    }),
    (
        "tailwater_skeleton_shapes",
        Type::Gauge,
        "Shapes of dropped traces in the open window, summed over the cores.",
        |s| s.shapes,
    ),
    (
        "tailwater_summaries_overflowed_traces_total",
        Type::Counter,
        "Dropped traces that count for the shape <*>: there are more shapes than summaries.skeletons.shapes_max, or names.",
        |s| s.traces_overflowed,
    ),
    (
        "tailwater_summaries_overflowed_spans_total",
        Type::Counter,
        "Spans that count for otel.metric.overflow: there are more series than summaries.span_metrics.series_max.",
        |s| s.spans_overflowed,
    ),
];

const HELD_LOGS: [Family<HeldLogsSnapshot>; 5] = [
    ("tailwater_held_logs_bytes", Type::Gauge, "Bytes of log records that wait for their traces.", |s| s.bytes),
    (
        "tailwater_logs_kept_with_trace_total",
        Type::Counter,
        "Log records that went on because their trace is kept.",
        |s| s.kept,
    ),
    (
        "tailwater_logs_dropped_with_trace_total",
        Type::Counter,
        "Log records that did not go on because their trace is dropped.",
        |s| s.dropped,
    ),
    (
        "tailwater_logs_orphans_total",
        Type::Counter,
        "Log records without a trace id, or of a trace of which no span came within logs.wait.",
        |s| s.orphans,
    ),
    (
        "tailwater_logs_passed_early_total",
        Type::Counter,
        "Log records that went on before their trace was judged: logs.held_bytes_max was used up, or the node stopped.",
        |s| s.early,
    ),
];

/// The families of summaries, where there are any.
pub(super) fn summaries(page: &mut Page, books: &[Books<'_>]) {
    let snapshots = || books.iter().flat_map(|books| &books.snapshots);
    let held: Vec<&HeldLogsSnapshot> = snapshots().filter_map(|snapshot| snapshot.held_logs.as_ref()).collect();
    if !held.is_empty() {
        for (name, kind, help, read) in HELD_LOGS {
            page.single(name, kind, help, number(held.iter().map(|part| read(part)).sum::<u64>()));
        }
    }
    let parts: Vec<&SummarySnapshot> =
        books.iter().flat_map(|books| &books.snapshots).filter_map(|snapshot| snapshot.summary.as_ref()).collect();
    if parts.is_empty() {
        return;
    }
    for (name, kind, help, read) in FAMILIES {
        page.single(name, kind, help, number(parts.iter().map(|part| read(part)).sum::<u64>()));
    }
}
