//! From the configuration and the memory plan to the bounds of each shard.

mod service_graph;

use crate::core::held_logs::LogsPlan;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::sampling::Strategy;
use tailwater_config::{
    Batch, Config, DOCKETED_TRACE_BYTES, DurationHistogram, DurationUnit, EXPLAINED_ORIGINS_BYTES,
    EXPLAINED_VERDICT_BYTES, GaugeReading, LogPatterns, MetricAction, MetricRollup, MetricRule, OrphanLogs,
    RANKED_BYTES, RANKED_KEYS_BYTES, RELATIVE_LATENCY_BYTES, SKETCH_BYTES, SKETCH_NAMES_BYTES, Selection, SpanMetrics,
    Temporality, TraceLogs,
};
use tailwater_engine::buffer::arena::HEADER_BYTES;
use tailwater_engine::buffer::traces;
use tailwater_engine::cluster::docket::{Docketed, Source};
use tailwater_engine::explain::REASON_BYTES;
use tailwater_engine::explain::origin::ORIGINS_BYTES;
use tailwater_engine::export::BatchLimits;
use tailwater_engine::index::POSITION_MAX;
use tailwater_engine::rules::{limit, quantile};
use tailwater_engine::shard::ShardPlan;
use tailwater_engine::vocabulary::{Nanos, ShardIndex};
use tailwater_rollup::metrics::plan::{
    Action, Aggregate, Bounds, Gauge, MetricsPlan, Rule as MergeRule, Selection as MergeSelection,
    Temporality as MergeTemporality,
};
use tailwater_rollup::patterns::{Mask, PatternsPlan};
use tailwater_rollup::skeletons::{self, SkeletonsPlan};
use tailwater_rollup::span_metrics::{Dimension, Durations, Plan, ResourceAttributes, Standard, Unit};
use tailwater_rollup::summary::SummaryPlan;

/// Bytes of an arena chunk: large enough that the last, partly filled one weighs little, small enough that a few
/// long-lived traces hold little memory beside their own.
const CHUNK_BYTES: usize = 1 << 20;
/// Smaller chunks where the arena itself is small, so that it has at least this many.
const CHUNKS_MIN: usize = 16;
/// Bytes of an undecided trace in the tables: its entry, its slot in the index at two thirds' load, and its number while
/// limits are set by what is due.
const TRACE_BYTES: u64 = traces::TRACE_BYTES as u64 + 12 + 4;
/// Bytes of 64 policy leaves of a trace, past the first 64.
const LEAF_WORD_BYTES: u64 = 8;

/// The plan of shard `shard` of `shards`, whose rules have that many words of leaves. `pending_bytes` are for the pending
/// traces of all of them.
pub fn shard_plan(
    config: &Config,
    pending_bytes: u64,
    hash_seed: [u64; 4],
    (shard, shards): (u16, u16),
    leaf_words: usize,
) -> ShardPlan {
    let sampling = &config.sampling;
    let each = |total: u64| total.div_ceil(u64::from(shards));
    let traces_max = each(sampling.traces_max).clamp(1, u64::from(POSITION_MAX));
    // Where a cache is off the Collector remembers verdicts in the trace map itself, up to `num_traces`.
    let verdicts = |configured: u64| {
        let wanted = if configured == 0 { sampling.traces_max } else { configured };
        size(each(wanted).min(u64::from(POSITION_MAX)))
    };
    let arena = pending_bytes / u64::from(shards);
    // Tables are paid for as they fill; never more than a third of the share goes to them.
    let leaf_bytes = u64::try_from(leaf_words.saturating_sub(1)).unwrap_or(u64::MAX).saturating_mul(LEAF_WORD_BYTES);
    let trace_bytes = leaf_bytes.saturating_add(TRACE_BYTES);
    let tables = traces_max.saturating_mul(trace_bytes).min(arena / 3);
    let arena_bytes_max = size(arena - tables);
    let batch = smallest_batch(config);
    ShardPlan {
        shard: ShardIndex(shard),
        shards,
        hash_seed,
        traces_max: size(traces_max),
        arena_bytes_max,
        chunk_bytes: CHUNK_BYTES.min(arena_bytes_max / CHUNKS_MIN),
        span_bytes_max: span_bytes_max(config, arena_bytes_max),
        kept_verdicts_max: verdicts(sampling.sampled_cache_size),
        dropped_verdicts_max: verdicts(sampling.non_sampled_cache_size),
        decision_wait: nanos(sampling.decision_wait),
        inactivity_timeout: nanos(sampling.inactivity_timeout),
        trace_duration_max: nanos(sampling.max_trace_duration),
        cold_after: nanos(sampling.cold_after),
        decision_wait_after_root: nanos(sampling.decision_wait_after_root_received),
        trace_bytes_max: u32::try_from(sampling.trace_bytes_max).unwrap_or(u32::MAX),
        drop_pending_at_drain: sampling.drop_pending_traces_on_shutdown,
        record_policy: sampling.record_policy,
        strategy: sampling.strategy,
        forgets_undecided: sampling.strategy == Strategy::SpanIngest && sampling.non_sampled_cache_size == 0,
        randomness: sampling.randomness,
        writes_threshold_zero: sampling.writes_threshold_zero,
        batch: BatchLimits {
            spans_max: u32::try_from(batch.spans_max).unwrap_or(u32::MAX),
            bytes_max: size(batch.bytes_max),
        },
        flush_interval: nanos(batch.flush_interval),
    }
}

/// Verdicts whose reasons each of so many shards keeps.
pub fn reasons_max(config: &Config, shards: u16) -> usize {
    size(config.admin.explained_verdicts_max.div_ceil(u64::from(shards.max(1))))
}

const _: () = assert!(skeletons::SKETCH_BYTES as u64 <= SKETCH_BYTES, "the memory plan counts no less");
const _: () = assert!(skeletons::NAMES_BYTES_MAX as u64 <= SKETCH_NAMES_BYTES, "the memory plan counts no less");
const _: () = assert!(quantile::LEAF_BYTES_MAX as u64 <= RELATIVE_LATENCY_BYTES, "the memory plan counts no less");
const _: () = assert!(limit::candidate_bytes_max() as u64 <= RANKED_BYTES, "the memory plan counts no less");
const _: () = assert!(limit::group_bytes_max() as u64 <= RANKED_KEYS_BYTES, "the memory plan counts no less");
const _: () = assert!(ORIGINS_BYTES as u64 <= EXPLAINED_ORIGINS_BYTES, "the memory plan counts no less");
const _: () = assert!(
    (size_of::<Docketed>() + 3 * size_of::<Source>()) as u64 + 12 <= DOCKETED_TRACE_BYTES,
    "the memory plan counts no less"
);
const _: () = assert!(REASON_BYTES as u64 <= EXPLAINED_VERDICT_BYTES, "the memory plan counts no less");

/// One batch goes to all exporters, so it keeps the bounds of each.
fn smallest_batch(config: &Config) -> Batch {
    let batches = config.exporters.otlp.iter().map(|exporter| exporter.batch.clone());
    let smallest = batches.reduce(|left, right| Batch {
        spans_max: left.spans_max.min(right.spans_max),
        bytes_max: left.bytes_max.min(right.bytes_max),
        flush_interval: left.flush_interval.min(right.flush_interval),
    });
    smallest.unwrap_or_default()
}

/// The largest span that is accepted: one that could never be held is refused, so that its sender knows.
fn span_bytes_max(config: &Config, arena_bytes_max: usize) -> u32 {
    let held = u64::try_from(arena_bytes_max.saturating_sub(HEADER_BYTES)).unwrap_or(u64::MAX);
    u32::try_from(config.memory.span_bytes_max.min(held)).unwrap_or(u32::MAX)
}

fn nanos(duration: std::time::Duration) -> Nanos {
    Nanos(u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX))
}

fn size(bytes: u64) -> usize {
    usize::try_from(bytes).unwrap_or(usize::MAX)
}

/// What is summed up on each of so many shards.
pub fn summary_plan(config: &Config, shards: usize) -> SummaryPlan {
    let summaries = &config.summaries;
    let (metrics, merged, patterns) = (&summaries.span_metrics, &summaries.metrics, &summaries.log_patterns);
    SummaryPlan {
        spans: metrics.enabled.then(|| Arc::new(span_metrics_plan(metrics, summaries.window))),
        graph: summaries
            .service_graph
            .enabled
            .then(|| Arc::new(service_graph::plan(&summaries.service_graph, summaries.window, shards))),
        metrics: (!merged.rules.is_empty()).then(|| metrics_plan(merged)),
        logs: patterns.enabled.then(|| patterns_plan(patterns)),
        skeletons: summaries
            .skeletons
            .enabled
            .then(|| SkeletonsPlan { shapes_max: size(summaries.skeletons.shapes_max) }),
    }
}

/// The same, told with the name of a node where none is configured.
pub fn told_by(mut plan: SummaryPlan, node: Option<String>) -> SummaryPlan {
    let spans = plan.spans.as_mut().map(|spans| &mut Arc::make_mut(spans).instance_id);
    let graph = plan.graph.as_mut().map(|graph| &mut Arc::make_mut(graph).instance_id);
    for id in [spans, graph].into_iter().flatten() {
        match id {
            Some(text) if text.is_empty() => *id = None,
            Some(_) => {}
            None => id.clone_from(&node),
        }
    }
    plan
}

fn patterns_plan(patterns: &LogPatterns) -> PatternsPlan {
    let size = |number: u64| usize::try_from(number).unwrap_or(usize::MAX);
    let mask = |(name, regex): (&str, &str)| Mask { name: name.to_string(), regex: regex.to_string() };
    PatternsPlan {
        bytes_max: size(patterns.bytes_max),
        samples_max: size(patterns.samples_max),
        values_max: size(patterns.values_max),
        masks: patterns.named_masks().map(mask).collect(),
    }
}

fn metrics_plan(merged: &MetricRollup) -> MetricsPlan {
    let bounds = Bounds {
        series_max: usize::try_from(merged.series_max).unwrap_or(usize::MAX),
        bytes_max: usize::try_from(merged.bytes_max).unwrap_or(usize::MAX),
        idle_nanos: u64::try_from(merged.expiry.as_nanos()).unwrap_or(u64::MAX),
        ..Bounds::default()
    };
    MetricsPlan { rules: merged.rules.iter().map(metric_rule).collect(), bounds }
}

fn metric_rule(rule: &MetricRule) -> MergeRule {
    let selection = |selection: &Selection| match selection {
        Selection::Only(names) => MergeSelection::Only(names.clone()),
        Selection::Without(names) => MergeSelection::Without(names.clone()),
    };
    let action = match rule.action {
        MetricAction::Keep => Action::Keep,
        MetricAction::Drop => Action::Drop,
        MetricAction::Aggregate => Action::Aggregate(Aggregate {
            window_nanos: u64::try_from(rule.window.as_nanos()).unwrap_or(u64::MAX),
            temporality: match rule.temporality {
                Temporality::Cumulative => MergeTemporality::Cumulative,
                Temporality::Delta => MergeTemporality::Delta,
            },
            attributes: selection(&rule.attributes),
            resource: selection(&rule.resource_attributes),
            gauge: match rule.gauge {
                GaugeReading::Last => Gauge::Last,
                GaugeReading::Min => Gauge::Min,
                GaugeReading::Max => Gauge::Max,
                GaugeReading::Mean => Gauge::Mean,
                GaugeReading::Sum => Gauge::Sum,
            },
        }),
    };
    let merge = MergeRule::new(&rule.metric, action);
    match &rule.service {
        Some(service) => merge.of_service(service),
        None => merge,
    }
}

fn span_metrics_plan(metrics: &SpanMetrics, window: Duration) -> Plan {
    let unit = match metrics.unit {
        DurationUnit::Milliseconds => Unit::Milliseconds,
        DurationUnit::Seconds => Unit::Seconds,
    };
    let bound = |bound: &Duration| match unit {
        Unit::Milliseconds => bound.as_secs_f64() * 1e3,
        Unit::Seconds => bound.as_secs_f64(),
    };
    let durations = match metrics.histogram {
        DurationHistogram::None => Durations::None,
        DurationHistogram::Explicit => Durations::Explicit(metrics.bounds().iter().map(bound).collect()),
        DurationHistogram::Exponential => {
            Durations::Exponential(u16::try_from(metrics.buckets_max).unwrap_or(u16::MAX))
        }
    };
    let has = |name: &str| !metrics.exclude_dimensions.iter().any(|excluded| excluded == name);
    let dimension = |text: &String| match text.split_once('=') {
        Some((name, default)) => Dimension { name: name.to_string(), default: Some(default.to_string()) },
        None => Dimension { name: text.clone(), default: None },
    };
    let is_all = metrics.resource_attributes.iter().any(|name| name == "*");
    let expires_after = metrics.expiry.as_nanos().div_ceil(window.as_nanos().max(1));
    Plan {
        namespace: metrics.namespace.clone().unwrap_or_default(),
        unit,
        durations,
        standard: Standard {
            service: has("service.name"),
            name: has("span.name"),
            kind: has("span.kind"),
            status: has("status.code"),
        },
        dimensions: metrics.dimensions.iter().map(dimension).collect(),
        resource: if is_all {
            ResourceAttributes::All
        } else {
            ResourceAttributes::These(metrics.resource_attributes.clone())
        },
        instance_id: if has("collector.instance.id") { metrics.instance_id.clone() } else { Some(String::new()) },
        is_delta: metrics.temporality == Temporality::Delta,
        series_max: usize::try_from(metrics.series_max).unwrap_or(usize::MAX),
        exemplars_max: if metrics.exemplars { usize::try_from(metrics.exemplars_max).unwrap_or(usize::MAX) } else { 0 },
        expires_after_windows: u32::try_from(expires_after).unwrap_or(u32::MAX),
    }
}

/// What becomes of logs on each of so many shards.
pub fn logs_plan(config: &Config, shards: usize) -> LogsPlan {
    let logs = &config.logs;
    let nanos = |duration: Duration| u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX);
    let bytes = usize::try_from(logs.held_bytes_max).unwrap_or(usize::MAX);
    LogsPlan {
        follows: logs.of_traces == TraceLogs::Follow,
        summarises_orphans: logs.orphans == OrphanLogs::Summarise,
        has_patterns: config.summaries.log_patterns.enabled,
        wait: Nanos(nanos(logs.wait)),
        bytes_max: bytes / shards.max(1),
    }
}
