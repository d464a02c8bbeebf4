//! The checks of what is summed up.

use super::Checks;
use crate::draft::Draft;
use crate::problem::shown;
use crate::settings::{DurationHistogram, LogPatterns, OrphanLogs, SpanMetrics};
use crate::value;
use std::time::Duration;
use tailwater_ottl::pattern::compile;
use tailwater_ottl::suggest;

/// Bounds of an explicit histogram, and further dimensions.
/// At the bound: the configuration is refused.
pub(super) const LIST_MAX: usize = 128;

/// How much later than the longest wait a span of a trace may come for its logs to follow it: SDKs send spans when they end,
/// some seconds after logs.
const SPANS_AFTER: Duration = Duration::from_secs(5);

/// Checks the keys of `summaries` and `logs`.
pub(super) fn summaries(draft: &mut Draft, checks: &mut Checks<'_>) {
    logs(draft, checks);
    let metrics = &draft.config.summaries.span_metrics;
    for (key, list) in [("buckets", &metrics.buckets), ("dimensions", &metrics.dimensions)] {
        if list.len() > LIST_MAX {
            let value = Some(list.len().to_string());
            let remedy = format!("write at most {LIST_MAX}");
            checks.refuse(&format!("summaries.span_metrics.{key}"), value, "too many", remedy);
        }
    }
    masks(&draft.config.summaries.log_patterns, checks);
    buckets("summaries.span_metrics.buckets", &metrics.buckets, metrics.histogram, checks);
    dimensions(metrics, checks);
    if draft.config.summaries.skeletons.enabled && !takes_logs(draft) {
        checks.note("summaries.skeletons.enabled", "no exporter takes logs: what is counted goes nowhere");
    }
    if metrics.enabled && !takes_metrics(draft) {
        checks.note("summaries.span_metrics.enabled", GOES_NOWHERE);
    }
}

/// What is said where metrics are made that no exporter takes.
pub(super) const GOES_NOWHERE: &str = "no exporter takes metrics: what is counted goes nowhere";

/// Whether any exporter takes metrics.
pub(super) fn takes_metrics(draft: &Draft) -> bool {
    draft.file_path.is_some() && draft.file.signals.metrics
        || draft.exporters.is_empty()
        || draft.exporters.iter().any(|exporter| exporter.signals.metrics)
}

/// Whether any exporter takes logs.
fn takes_logs(draft: &Draft) -> bool {
    draft.file_path.is_some() && draft.file.signals.logs
        || draft.exporters.is_empty()
        || draft.exporters.iter().any(|exporter| exporter.signals.logs)
}

/// Whether each mask is a name and an expression.
fn masks(patterns: &LogPatterns, checks: &mut Checks<'_>) {
    const KEY: &str = "summaries.log_patterns.masks";
    for text in &patterns.masks {
        let named = text.split_once('=').filter(|(name, expression)| !name.is_empty() && !expression.is_empty());
        match named.map(|(_, expression)| compile(expression)) {
            Some(Ok(_)) => {}
            Some(Err(error)) => {
                checks.refuse(KEY, Some(shown(text)), error, "correct the expression");
            }
            None => checks.refuse(KEY, Some(shown(text)), "a mask has a name", "write name=expression"),
        }
    }
}

/// What becomes of logs; fills in what was left open.
fn logs(draft: &mut Draft, checks: &mut Checks<'_>) {
    if draft.config.logs.wait.is_zero() {
        let longest = draft.config.samplings().map(|(_, sampling)| sampling.decision_wait).max().unwrap_or_default();
        draft.config.logs.wait = longest.saturating_add(SPANS_AFTER);
    }
    if !draft.config.summaries.log_patterns.enabled && draft.config.logs.orphans == OrphanLogs::Summarise {
        let remedy = "write summaries.log_patterns.enabled: true, or pass them";
        let cause = "log patterns are off: what belongs to no trace would be gone without a word";
        checks.refuse("logs.orphans", Some("summarise".to_string()), cause, remedy);
    }
}

/// Whether the bounds of a histogram are some.
pub(super) fn buckets(key: &str, buckets: &[String], histogram: DurationHistogram, checks: &mut Checks<'_>) {
    let mut bounds = Vec::with_capacity(buckets.len());
    for text in buckets {
        match value::duration(text) {
            Ok(bound) => bounds.push(bound),
            Err(fault) => return checks.refuse(key, Some(shown(text)), fault.cause, fault.remedy),
        }
    }
    if histogram == DurationHistogram::Explicit && bounds.is_empty() {
        checks.refuse(key, None, "an explicit histogram needs bounds", "write some, such as [10ms, 100ms, 1s]");
    }
    if !bounds.is_sorted_by(|one, next| one < next) {
        checks.refuse(key, None, "the bounds do not rise", "write them from the shortest to the longest, each once");
    }
}

fn dimensions(metrics: &SpanMetrics, checks: &mut Checks<'_>) {
    const KEY: &str = "summaries.span_metrics.dimensions";
    let name_of = |text: &str| text.split_once('=').map_or(text.to_string(), |(name, _)| name.to_string());
    let names: Vec<String> = metrics.dimensions.iter().map(|text| name_of(text)).collect();
    for (place, name) in names.iter().enumerate() {
        if name.is_empty() {
            checks.refuse(KEY, None, "a dimension without a name", "write a name, or name=value");
        }
        if SpanMetrics::STANDARD.contains(&name.as_str()) || names[..place].contains(name) {
            checks.refuse(KEY, Some(shown(name)), "is a dimension already", "remove it");
        }
    }
    for name in &metrics.exclude_dimensions {
        // The connector may be told to leave out what it adds by itself.
        if name == "collector.instance.id" || SpanMetrics::STANDARD.contains(&name.as_str()) {
            continue;
        }
        let near = suggest::nearest(name, SpanMetrics::STANDARD.iter().copied());
        let remedy = near.map_or_else(
            || format!("write some of {}", SpanMetrics::STANDARD.join(", ")),
            |near| format!("did you mean `{near}`?"),
        );
        checks.refuse("summaries.span_metrics.exclude_dimensions", Some(shown(name)), "is no usual dimension", remedy);
    }
}
