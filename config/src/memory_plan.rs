//! Where the memory goes: one row for each bounded part, and pending traces in what is left. Printed at boot; a plan
//! that does not fit is refused.

use tailwater_ottl::pattern::{Expressions, SEARCH_BYTES_MAX};

use crate::problem::{Problem, Source};
use crate::sampling::{Sampling, Tables};
use crate::settings::{Config, TraceLogs};
use crate::value::{KIB, MIB, show_bytes};

/// A bounded part of the process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryRow {
    /// What it is.
    pub name: &'static str,
    /// Its bound.
    pub bytes: u64,
    /// How the bound comes about.
    pub reason: String,
}

/// The memory of the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemoryPlan {
    /// Every part; the last is what is left for pending traces.
    pub rows: Vec<MemoryRow>,
    /// Sum of the rows: `memory.bytes_max`.
    pub total: u64,
    /// Bytes for pending traces on the node, their tables included.
    pub pending_bytes: u64,
    /// The part of each pipeline, by how many traces it may hold; one for a node without pipelines.
    pub pending_bytes_by_pipeline: Vec<u64>,
    /// Traces that the node has room to judge for its cluster, in all pipelines; 0 for a node by itself.
    pub docket_traces_max: u64,
}

/// Bytes of an open connection besides its windows: TLS and HTTP/2 state, task, socket buffers in user space.
const CONNECTION_BYTES: u64 = 32 * KIB;
/// Bytes of the verdict on a dropped trace: its hash, and its slot in the index at a load of one third.
const DROPPED_VERDICT_BYTES: u64 = 32;
/// Bytes of the verdict on a kept trace: besides, its policy, threshold and annotations, and for one of eight the randomness
/// that came with its spans.
const KEPT_VERDICT_BYTES: u64 = 52;
/// Bytes of a trace on the docket: its entry, and what three nodes told of it.
pub const DOCKETED_TRACE_BYTES: u64 = 512;
/// The docket has at most this part of what is left for pending traces, whose spans take many times as much.
const DOCKET_SHARE: u64 = 8;
/// Bytes of messages on their way between nodes: those remembered for who has missed them, windows of links, queues.
const GOSSIP_BYTES: u64 = 64 * MIB;
/// Bytes of a series of span metrics: its name twice, its row, and 160 buckets.
const SERIES_BYTES: u64 = KIB;
/// Bytes of a span that is told as an example of its series.
const EXEMPLAR_BYTES: u64 = 48;
/// Bytes of a shape of dropped traces: its names, its row, and 80 buckets.
const SHAPE_BYTES: u64 = 2 * KIB;
/// Bytes of what is known of the shape of a pending trace.
pub const SKETCH_BYTES: u64 = 20;
/// Bytes of names of services and roots, and of sets of services, of a shard's pending traces.
pub const SKETCH_NAMES_BYTES: u64 = 16 * MIB;
/// Bytes of a verdict with its reason.
pub const EXPLAINED_VERDICT_BYTES: u64 = 216;
/// Bytes of the services and root spans of a shard's pending traces, where verdicts are explained.
pub const EXPLAINED_ORIGINS_BYTES: u64 = MIB;
/// Bytes for each pending trace that say which of them are its.
const EXPLAINED_TRACE_BYTES: u64 = 2;
/// Bytes of what is known of the durations of each kind of trace, for one relative latency on one shard.
pub const RELATIVE_LATENCY_BYTES: u64 = 5 * MIB;
/// Bytes of the traces that a shard ranks for its limits in a second, with former generations of the rules.
pub const RANKED_BYTES: u64 = 3 * MIB;
/// Bytes of the keys of those traces besides, where a limit has keys.
pub const RANKED_KEYS_BYTES: u64 = 12 * MIB;
/// Bytes of the expressions that take user agents apart, once for each rule set that does: what they were measured to take,
/// with what searching in them adds.
pub const USER_AGENT_BYTES: u64 = 48 * MIB;
/// Bytes of what a shard's log says of several exporters that are done with a span that waits for others: a bit for each
/// exporter and span.
pub const PARTLY_DONE_BYTES: u64 = 8 * MIB;
/// Where what is done with stays in the log, filters and indexes take this part of its bytes: a 512th and a 2,000th.
const REACH_BACK_SHARE: u64 = 400;
/// An answer to `recall`, as protobuf and as JSON.
pub const REACH_BACK_ANSWER_BYTES: u64 = 32 * MIB;
/// Bytes of what a shard finds out of one regular expression: states of its search, and its latest answers.
const SEARCH_BYTES: u64 = 136 * KIB;
const _: () = assert!(SEARCH_BYTES == SEARCH_BYTES_MAX as u64 + 8 * KIB);
/// What one request takes that is too large for a core's part of the memory for receiving: its body as it comes,
/// inflated, and what is made of it.
/// At the bound: the request is refused as too large; counted in `tailwater_receiver_requests_too_large_total`.
const LARGE_REQUEST_TIMES: u64 = 3;
/// At most this part of the memory is for it.
const LARGE_REQUEST_SHARE: u64 = 4;
/// Least part of the memory for receiving that a core can work with: a few small requests at a time.
const RECEIVE_BYTES_MIN: u64 = MIB;
/// Largest request that is made of several small ones which waited.
pub const MERGED_REQUEST_BYTES_MAX: u64 = MIB;
/// Calls that share one gRPC connection, so that the time to the server and back does not limit the rate.
pub const CALLS_PER_CONNECTION: u32 = 4;
/// Bytes of a span that waits for the other end of its request, with what finds it.
pub const WAITING_SPAN_BYTES: u64 = 160;
/// Bytes of a message between cores, without the request it refers to.
const MESSAGE_BYTES: u64 = 128;
/// Bytes of a shard besides what is listed: executor, rings, stack, registered buffers.
const SHARD_BYTES: u64 = 8 * MIB;
/// Bytes of the program, the side thread and the allocator's slack.
const PROCESS_BYTES: u64 = 32 * MIB;
/// Least that is worth starting with: a second of a few thousand spans.
const PENDING_BYTES_MIN: u64 = 16 * MIB;

/// Plans the memory for that many shards, whose rules have no expressions.
///
/// # Errors
/// When the bounds leave no room for pending traces: which they are and what to lower or raise.
pub fn memory_plan(config: &Config, shards: usize) -> Result<MemoryPlan, Box<Problem>> {
    memory_plan_with(config, shards, Expressions::default())
}

/// As `memory_plan`, where the rules of all pipelines have these expressions.
///
/// # Errors
/// As `memory_plan`.
pub fn memory_plan_with(config: &Config, shards: usize, expressions: Expressions) -> Result<MemoryPlan, Box<Problem>> {
    let shards = u64::try_from(shards).unwrap_or(u64::MAX).max(1);
    let receive_bytes_min = RECEIVE_BYTES_MIN.saturating_mul(shards);
    if config.memory.receive_bytes_max < receive_bytes_min {
        return Err(Box::new(Problem {
            source: Source::Default,
            key: "memory.receive_bytes_max".to_string(),
            value: Some(show_bytes(config.memory.receive_bytes_max)),
            cause: format!("{shards} shards (shards) need {} to receive anything", show_bytes(receive_bytes_min)),
            remedy: format!("raise it to {} at least, or use fewer shards", show_bytes(receive_bytes_min)),
        }));
    }
    let mut rows = fixed_rows(config, shards);
    rows.extend(expressions_row(expressions, shards));
    let fixed = rows.iter().fold(0_u64, |sum, row| sum.saturating_add(row.bytes));
    let total = config.memory.bytes_max;
    let mut pending_bytes = total.saturating_sub(fixed);
    let docket_bytes = docket_bytes(config, pending_bytes);
    pending_bytes -= docket_bytes;
    let ways = u64::try_from(config.ways()).unwrap_or(u64::MAX);
    let needed = PENDING_BYTES_MIN.saturating_mul(ways);
    if pending_bytes < needed {
        return Err(Box::new(refused(&rows, total, fixed, needed)));
    }
    if docket_bytes > 0 {
        rows.push(MemoryRow {
            name: "cluster docket",
            bytes: docket_bytes,
            reason: format!(
                "{} traces to be judged for the cluster of {DOCKETED_TRACE_BYTES} B (cluster.docket_traces_max), at most an \
                 eighth of what is left",
                docket_bytes / DOCKETED_TRACE_BYTES
            ),
        });
    }
    rows.push(MemoryRow {
        name: "pending traces",
        bytes: pending_bytes,
        reason: format!(
            "what is left of memory.bytes_max; at most {} traces (sampling.num_traces), of their spans' room at most a \
             quarter for evidence by threshold",
            config.samplings().fold(0_u64, |sum, (_, sampling)| sum.saturating_add(sampling.traces_max))
        ),
    });
    let pending_bytes_by_pipeline = divided(config, pending_bytes, PENDING_BYTES_MIN);
    let docket_traces_max = docket_bytes / DOCKETED_TRACE_BYTES;
    Ok(MemoryPlan { rows, total, pending_bytes, pending_bytes_by_pipeline, docket_traces_max })
}

/// Room for what a node is to judge for its cluster, in every pipeline.
fn docket_bytes(config: &Config, left: u64) -> u64 {
    let is_in_cluster = config.cluster.listen.is_some();
    let wanted = config.cluster.docket_traces_max.saturating_mul(DOCKETED_TRACE_BYTES);
    if is_in_cluster { wanted.min(left / DOCKET_SHARE) } else { 0 }
}

/// Divides `bytes` among the pipelines: each gets `least`, and of the rest as much as it may hold traces.
fn divided(config: &Config, bytes: u64, least: u64) -> Vec<u64> {
    let traces: Vec<u128> = config.samplings().map(|(_, sampling)| u128::from(sampling.traces_max.max(1))).collect();
    let all: u128 = traces.iter().sum();
    let ways = u64::try_from(traces.len()).unwrap_or(u64::MAX);
    let rest = bytes.saturating_sub(least.saturating_mul(ways));
    let part = |traces: u128| u64::try_from(u128::from(rest) * traces / all.max(1)).unwrap_or(rest);
    traces.into_iter().map(|traces| least.min(bytes / ways.max(1)) + part(traces)).collect()
}

fn fixed_rows(config: &Config, shards: u64) -> Vec<MemoryRow> {
    let connections =
        config.open_receivers().fold(0_u64, |sum, receiver| sum.saturating_add(receiver.limits.connections_max));
    let ways = u64::try_from(config.ways()).unwrap_or(u64::MAX);
    let mesh = shards.saturating_mul(shards - 1).saturating_mul(config.mesh.queue_length).saturating_mul(ways);
    let row = |name, bytes, reason: String| MemoryRow { name, bytes, reason };
    let mut rows = vec![
        row("process", PROCESS_BYTES, "program, side thread, allocator".to_string()),
        row("shards", shards.saturating_mul(SHARD_BYTES), format!("{shards} executors of {}", show_bytes(SHARD_BYTES))),
        row(
            "requests in flight",
            config.memory.receive_bytes_max,
            "memory.receive_bytes_max: bodies as received and decompressed, what is made of them, windows".to_string(),
        ),
        row(
            "one large request",
            large_request_bytes(config),
            format!(
                "received, decompressed, read: {LARGE_REQUEST_TIMES} times the largest request_bytes_max, at most a \
                 quarter of memory.bytes_max"
            ),
        ),
        row(
            "log buffers",
            if config.needs_wal() { config.wal.buffer_bytes_max } else { 0 },
            "wal.buffer_bytes_max: records and verdicts that wait for the disk".to_string(),
        ),
        partly_done_row(config, shards),
        row(
            "connections",
            connections.saturating_mul(CONNECTION_BYTES),
            format!("{connections} connections (connections_max) of {}", show_bytes(CONNECTION_BYTES)),
        ),
        row(
            "mesh",
            mesh.saturating_mul(MESSAGE_BYTES),
            format!(
                "{} messages (mesh.queue_length) between each two of {shards} cores{}",
                config.mesh.queue_length,
                if ways > 1 { ", for each pipeline" } else { "" }
            ),
        ),
        verdicts_row(config),
        explained_row(config, shards),
    ];
    if config.cluster.listen.is_some() {
        let reason = "messages to and from other nodes: remembered, unacknowledged, queued".to_string();
        rows.push(row("cluster messages", GOSSIP_BYTES, reason));
    }
    rows.extend(reach_back_row(config));
    rows.extend(summaries_rows(config, shards));
    rows.extend(export_rows(config, shards));
    rows.extend(rules_rows(config, shards));
    rows
}

/// What is summed up: on each core what it has counted since it last gave it away and in the window, and on the first what
/// is told of all.
fn summaries_rows(config: &Config, shards: u64) -> impl Iterator<Item = MemoryRow> {
    let (metrics, merged) = (&config.summaries.span_metrics, &config.summaries.metrics);
    let patterns = &config.summaries.log_patterns;
    let exemplars = if metrics.exemplars { metrics.exemplars_max.saturating_mul(EXEMPLAR_BYTES) } else { 0 };
    let series_bytes = SERIES_BYTES + exemplars;
    let series = metrics.series_max.saturating_mul(series_bytes);
    let merged = (!merged.rules.is_empty()).then(|| MemoryRow {
        name: "merged metrics",
        bytes: merged.bytes_max.saturating_mul(2 * shards + 2),
        reason: format!(
            "{} (summaries.metrics.bytes_max) twice on each of {shards} shards and for all",
            show_bytes(merged.bytes_max)
        ),
    });
    let patterns = patterns.enabled.then(|| MemoryRow {
        name: "log patterns",
        bytes: patterns.bytes_max.saturating_mul(3 * shards + 1),
        reason: format!(
            "{} (summaries.log_patterns.bytes_max) three times on each of {shards} shards and once for all",
            show_bytes(patterns.bytes_max)
        ),
    });
    let spans = metrics.enabled.then(|| MemoryRow {
        name: "span metrics",
        bytes: series.saturating_mul(2 * shards + 1),
        reason: format!(
            "{} series (summaries.span_metrics.series_max) of {}, twice on each of {shards} shards and once for all",
            metrics.series_max,
            show_bytes(series_bytes)
        ),
    });
    let skeletons = &config.summaries.skeletons;
    let shapes = skeletons.shapes_max.saturating_mul(SHAPE_BYTES);
    let traces = config.samplings().map(|(_, sampling)| sampling.traces_max).next().unwrap_or_default();
    let sketches = traces.saturating_mul(SKETCH_BYTES);
    let skeletons = skeletons.enabled.then(|| MemoryRow {
        name: "skeletons",
        bytes: shapes.saturating_mul(2 * shards + 1).saturating_add(sketches + shards * SKETCH_NAMES_BYTES),
        reason: format!(
            "{} shapes (summaries.skeletons.shapes_max) of {}, twice on each of {shards} shards and once for all, and of \
            pending traces {SKETCH_BYTES} B and {} of names a shard",
            skeletons.shapes_max,
            show_bytes(SHAPE_BYTES),
            show_bytes(SKETCH_NAMES_BYTES)
        ),
    });
    let held = (config.logs.of_traces == TraceLogs::Follow).then(|| MemoryRow {
        name: "held logs",
        bytes: config.logs.held_bytes_max,
        reason: "logs.held_bytes_max: records that wait for their traces".to_string(),
    });
    spans.into_iter().chain(graph_row(config, shards)).chain(merged).chain(patterns).chain(skeletons).chain(held)
}

/// Spans that wait for the other end of their request, and edges as series of span metrics are.
fn graph_row(config: &Config, shards: u64) -> Option<MemoryRow> {
    let graph = &config.summaries.service_graph;
    let edges = graph.series_max.saturating_mul(2 * SERIES_BYTES).saturating_mul(2 * shards + 1);
    graph.enabled.then(|| MemoryRow {
        name: "service graph",
        bytes: graph.waiting_max.saturating_mul(WAITING_SPAN_BYTES).saturating_add(edges),
        reason: format!(
            "{} spans that wait (summaries.service_graph.waiting_max) of {}, and {} edges (summaries.service_graph.series_max) \
             of {}, twice on each of {shards} shards and once for all",
            graph.waiting_max,
            show_bytes(WAITING_SPAN_BYTES),
            graph.series_max,
            show_bytes(2 * SERIES_BYTES)
        ),
    })
}

/// Which exporters are done with what, where there are several and a log.
fn partly_done_row(config: &Config, shards: u64) -> MemoryRow {
    let exporters = config.exporters.otlp.len() + usize::from(config.exporters.file.is_some());
    let has_any = config.needs_wal() && exporters > 1;
    let journals = shards.saturating_mul(u64::try_from(config.ways()).unwrap_or(u64::MAX));
    MemoryRow {
        name: "partly delivered",
        bytes: if has_any { journals.saturating_mul(PARTLY_DONE_BYTES) } else { 0 },
        reason: format!(
            "which of several exporters are done with what waits in the log: {} a journal",
            show_bytes(PARTLY_DONE_BYTES)
        ),
    }
}

/// What knows where things are in the log, also in what is done with and stays, and an answer to who asks.
fn reach_back_row(config: &Config) -> Option<MemoryRow> {
    let is_on = config.needs_wal() && !config.wal.reach_back.is_zero();
    is_on.then(|| MemoryRow {
        name: "reach back",
        bytes: (config.wal.bytes_max / REACH_BACK_SHARE).saturating_add(REACH_BACK_ANSWER_BYTES),
        reason: format!(
            "filters and indexes of the log's segments (wal.reach_back), a {REACH_BACK_SHARE}th of wal.bytes_max; one \
             answer of {}",
            show_bytes(REACH_BACK_ANSWER_BYTES)
        ),
    })
}

/// What waits to leave, and what is on its way.
fn export_rows(config: &Config, shards: u64) -> [MemoryRow; 2] {
    let queues = config.exporters.otlp.iter().fold(0_u64, |sum, exporter| sum.saturating_add(exporter.queue_bytes_max));
    // A request that is larger than the queue is written alone: it is in the requests in flight as long.
    let file_queue = config.exporters.file.as_ref().map_or(0, |file| file.queue_bytes_max);
    // Each shard fills one batch for each exporter and holds one more, compressed, on its way.
    let pipelines = config.by_pipeline();
    let exporters = pipelines.iter().flat_map(|(_, config)| &config.exporters.otlp);
    let batch = exporters.fold(0_u64, |sum, exporter| sum.saturating_add(exporter.batch.bytes_max));
    let calls = pipelines.iter().flat_map(|(_, config)| &config.exporters.otlp).fold(0_u64, |sum, exporter| {
        sum.saturating_add(exporter.connections_per_shard.saturating_mul(u64::from(CALLS_PER_CONNECTION)))
    });
    let merged = calls.saturating_mul(MERGED_REQUEST_BYTES_MAX);
    let queued = MemoryRow {
        name: "export queues",
        bytes: queues.saturating_add(file_queue),
        reason: "queue_bytes_max of each exporter".to_string(),
    };
    let batches = MemoryRow {
        name: "export batches",
        bytes: batch.saturating_mul(2).saturating_add(merged).saturating_mul(shards),
        reason: format!(
            "two of batch.bytes_max for each exporter and shard, and {} for each call",
            show_bytes(MERGED_REQUEST_BYTES_MAX)
        ),
    };
    [queued, batches]
}

/// Most bytes that one request may take which is too large for a core's part of the memory for receiving.
#[must_use]
pub fn large_request_bytes(config: &Config) -> u64 {
    let largest = config.open_receivers().map(|receiver| receiver.limits.request_bytes_max).max().unwrap_or(0);
    largest.saturating_mul(LARGE_REQUEST_TIMES).min(config.memory.bytes_max / LARGE_REQUEST_SHARE)
}

/// Verdicts with their reasons, and where the traces begin that may get one.
fn explained_row(config: &Config, shards: u64) -> MemoryRow {
    let verdicts = config.admin.explained_verdicts_max;
    let ways = u64::try_from(config.ways()).unwrap_or(u64::MAX);
    let origins = if verdicts == 0 { 0 } else { EXPLAINED_ORIGINS_BYTES };
    let traces = config.samplings().fold(0_u64, |sum, (_, sampling)| sum.saturating_add(sampling.traces_max));
    let traces = if verdicts == 0 { 0 } else { traces.saturating_mul(EXPLAINED_TRACE_BYTES) };
    // Pipelines share the verdicts.
    let reasons = verdicts.saturating_mul(EXPLAINED_VERDICT_BYTES);
    MemoryRow {
        name: "explained verdicts",
        bytes: reasons.saturating_add(origins.saturating_mul(shards).saturating_mul(ways)).saturating_add(traces),
        reason: format!(
            "{verdicts} verdicts (explain.verdicts_max) of {EXPLAINED_VERDICT_BYTES} B; {} of services and root spans on \
             each of {shards} shards{}; {EXPLAINED_TRACE_BYTES} B a pending trace",
            show_bytes(origins),
            if ways > 1 { ", for each pipeline" } else { "" }
        ),
    }
}

/// Remembered verdicts.
fn verdicts_row(config: &Config) -> MemoryRow {
    let verdicts = |cache_size: fn(&Sampling) -> u64| {
        config.samplings().fold(0_u64, |sum, (_, sampling)| {
            // Where a cache is off as many verdicts are remembered as traces are held.
            let own = cache_size(sampling);
            sum.saturating_add(if own == 0 { sampling.traces_max } else { own })
        })
    };
    let (kept, dropped) =
        (verdicts(|sampling| sampling.sampled_cache_size), verdicts(|sampling| sampling.non_sampled_cache_size));
    let of_dropped = dropped.saturating_mul(DROPPED_VERDICT_BYTES);
    MemoryRow {
        name: "verdict caches",
        bytes: kept.saturating_mul(KEPT_VERDICT_BYTES).saturating_add(of_dropped),
        reason: format!(
            "{kept} verdicts of kept traces of {KEPT_VERDICT_BYTES} B, {dropped} of dropped ones of \
             {DROPPED_VERDICT_BYTES} B (sampling.decision_cache)"
        ),
    }
}

/// Regular expressions in policies and conditions: programs, which the shards share, and what each shard finds out of them.
fn expressions_row(expressions: Expressions, shards: u64) -> Option<MemoryRow> {
    let Expressions { count, program_bytes } = expressions;
    // A search that walks the program itself notes as much as the program is long.
    let searches = count.saturating_mul(SEARCH_BYTES).saturating_add(program_bytes).saturating_mul(shards);
    (count > 0).then(|| MemoryRow {
        name: "expressions",
        bytes: program_bytes.saturating_add(searches),
        reason: format!(
            "{count} regular expressions in policies and conditions: programs of {}, and as much and {} for each on each of \
             {shards} shards",
            show_mebibytes(program_bytes),
            show_bytes(SEARCH_BYTES)
        ),
    })
}

/// What the rules remember from trace to trace; nothing for those that remember nothing.
fn rules_rows(config: &Config, shards: u64) -> Vec<MemoryRow> {
    let tables: Vec<Tables> = config.samplings().map(|(_, sampling)| sampling.tables()).collect();
    let relative = tables.iter().fold(0_u64, |sum, tables| sum.saturating_add(tables.relative_latencies));
    let ranked = tables
        .iter()
        .filter(|tables| tables.has_windows)
        .map(|tables| if tables.has_keys { RANKED_BYTES + RANKED_KEYS_BYTES } else { RANKED_BYTES });
    let ranked = ranked.fold(0_u64, u64::saturating_add);
    let mut rows = Vec::new();
    if relative > 0 {
        rows.push(MemoryRow {
            name: "relative latencies",
            bytes: relative.saturating_mul(shards).saturating_mul(RELATIVE_LATENCY_BYTES),
            reason: format!(
                "{relative} of {} on each of {shards} shards (shards); use fewer of them, or fewer shards",
                show_bytes(RELATIVE_LATENCY_BYTES)
            ),
        });
    }
    let user_agents = tables.iter().map(|tables| u64::from(tables.has_user_agents)).fold(0, u64::saturating_add);
    if user_agents > 0 {
        rows.push(MemoryRow {
            name: "user agents",
            bytes: user_agents.saturating_mul(USER_AGENT_BYTES),
            reason: format!(
                "UserAgent in a condition: its expressions, {}, once a pipeline",
                show_bytes(USER_AGENT_BYTES)
            ),
        });
    }
    if ranked > 0 {
        rows.push(MemoryRow {
            name: "limits",
            bytes: shards.saturating_mul(ranked),
            reason: format!(
                "traces ranked in a second, and their keys, {} on each of {shards} shards (shards); former rules included",
                show_bytes(ranked)
            ),
        });
    }
    rows
}

fn refused(rows: &[MemoryRow], total: u64, fixed: u64, needed: u64) -> Problem {
    let mut largest: Vec<&MemoryRow> = rows.iter().collect();
    largest.sort_by_key(|row| std::cmp::Reverse(row.bytes));
    let listed: Vec<String> = largest
        .iter()
        .take(3)
        .map(|row| format!("{} {} ({})", row.name, show_mebibytes(row.bytes), row.reason))
        .collect();
    Problem {
        source: Source::Default,
        key: "memory.bytes_max".to_string(),
        value: Some(show_mebibytes(total)),
        cause: format!(
            "the other parts take {} and leave less than {} for pending traces",
            show_mebibytes(fixed),
            show_bytes(needed)
        ),
        remedy: format!(
            "raise it to {} or more, or lower the largest parts: {}",
            show_mebibytes(fixed.saturating_add(needed).saturating_add(MIB - 1)),
            listed.join(", ")
        ),
    }
}

fn show_mebibytes(bytes: u64) -> String {
    format!("{}MiB", bytes / MIB)
}

impl std::fmt::Display for MemoryPlan {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for row in &self.rows {
            writeln!(formatter, "{:>10}  {:<20} {}", show_mebibytes(row.bytes), row.name, row.reason)?;
        }
        write!(formatter, "{:>10}  {:<20} memory.bytes_max", show_mebibytes(self.total), "total")
    }
}
