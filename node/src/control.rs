//! What the side thread asks of a core, and how the answer comes back.

use crate::numbers::ChannelNumber;
use crate::traffic::{SIGNALS, SignalBytes};
use async_channel::{Receiver, Sender, bounded};
use bytes::Bytes;
use std::sync::Arc;
use std::time::Duration;
use tailwater_dial::Dial;
use tailwater_engine::cluster::counts::ClusterCounts;
use tailwater_engine::explain::Explanation;
use tailwater_engine::export::mark::MarkCounts;
use tailwater_engine::host::ExportFate;
use tailwater_engine::ledger::Ledger;
use tailwater_engine::reach_back::{Gathered, Sought};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{ByHand, ServiceCounts, ShardPlan};
use tailwater_engine::vocabulary::{Nanos, TraceId};
use tailwater_proto::cluster::NodeId;
use tailwater_rollup::service_graph::GraphCounts;
use tailwater_rollup::summary::Visible;

/// A request to one core. Answers go through channels of length one, so that a core never waits to give one.
pub enum Control {
    /// A copy of the core's books.
    Snapshot(Sender<Snapshot>),
    /// Answered once the core has read its part of the last run's log and its listeners are open.
    Opened(Sender<()>),
    /// Take no more from senders and let go of connections; answered when none is left
    /// or after that time.
    StopIntake(Duration, Sender<()>),
    /// Change the rules between two verdicts; answered when they are in force.
    Reload(Arc<Change>, Sender<()>),
    /// Follow this dial; answered when it is in force.
    Dial(Arc<Dial>, Sender<()>),
    /// Count what comes of these services, and of no others.
    Watch(Arc<[Arc<str>]>, Sender<()>),
    /// What is known of a trace.
    Explain(TraceId, Sender<Explained>),
    /// Look through the log for a person; with the first pipeline of each executor.
    ReachBack(Arc<Sought>, Sender<Gathered>),
    /// Keep those of these traces that are the core's; answered with what became of each.
    KeepByHand(Arc<ToKeep>, Sender<KeptByHand>),
    /// Spans of traces that are kept by hand come again, in this request; answered with how many are on their way.
    ComeAgain(Bytes, Sender<u64>),
    /// Judge all that is pending; answered when all is judged.
    Decide(Sender<()>),
    /// Send all summaries that are not sent; answered when exporters have taken them. Before that decide what waits for its
    /// trace, if traces were judged.
    EndSummaries(bool, Sender<()>),
    /// Send what is queued; answered when the queue is empty.
    Flush(Sender<()>),
    /// Read no more from the log what waits there; answered once what is being read has been given to the exporters.
    EndRecall(Sender<()>),
    /// Log everything that is settled; answered once it is durable.
    CloseLog(Sender<()>),
    /// End; what is still queued is booked as dropped.
    End(Sender<Snapshot>),
    /// The embedded file's thread is done with the job of that ticket.
    Written(u64, ExportFate),
}

/// What one core knows of a trace.
pub struct Explained {
    /// The engine's time.
    pub now: Nanos,
    /// `None` when it knows nothing.
    pub explanation: Option<Explanation>,
    /// Which node of the cluster judges the trace, where there is one.
    pub owner: Option<NodeId>,
}

/// What of the configuration changes while a core runs.
pub struct Change {
    /// The rules.
    pub rules: Arc<Rules>,
    /// Bounds and waits; of these a shard takes over what may change.
    pub plan: ShardPlan,
    /// Whether a full buffer holds back senders, instead of deciding early.
    pub blocks_on_overflow: bool,
}

/// What happened at the file of kept items.
#[derive(Debug, Clone, Copy, Default)]
pub struct FileSnapshot {
    /// Requests of this core for which its queue had no room.
    pub refused: u64,
    /// Bytes that wait to be written, of all cores.
    pub queue_bytes: u64,
    /// Times that the file became a backup.
    pub rotations: u64,
    /// Backups deleted for their number or age.
    pub backups_deleted: u64,
    /// Bytes in those.
    pub deleted_bytes: u64,
}

/// One core's books and gauges at one moment.
#[derive(Debug, Clone, Default)]
pub struct Snapshot {
    /// Number of the pipeline.
    pub pipeline: usize,
    /// Number of the shard.
    pub shard: usize,
    /// The shard's books.
    pub ledger: Ledger,
    /// What has come of services that are watched.
    pub services: Vec<(Arc<str>, ServiceCounts)>,
    /// What became of the tracestates of kept spans.
    pub marks: MarkCounts,
    /// Traces too large to pass a limit ever.
    pub unreachable_traces: u64,
    /// Traces of a second that were too many to be ranked for a limit.
    pub unranked_traces: u64,
    /// Kept traces whose `rv` is not known for their late spans.
    pub randomness_forgotten: u64,
    /// Traces whose key of a relative latency had no place.
    pub quantile_keys_refused: u64,
    /// Bytes of spans and envelopes held.
    pub buffer_bytes: u64,
    /// Bound of the former.
    pub buffer_bytes_max: u64,
    /// The file of kept items, where there is one.
    pub file: Option<FileSnapshot>,
    /// Bytes that came and went, by signal.
    pub traffic: [SignalBytes; SIGNALS.len()],
    /// Export queues, in the order of the exporters.
    pub exporters: Vec<ExporterSnapshot>,
    /// Connections and requests, gRPC then HTTP.
    pub receivers: Vec<ReceiverSnapshot>,
    /// The log, where there is one.
    pub log: Option<LogSnapshot>,
    /// The shard's part in a cluster, if it is in one.
    pub cluster: Option<ClusterSnapshot>,
    /// Summaries, with the first pipeline of each executor.
    pub summary: Option<SummarySnapshot>,
    /// Log records that wait for their traces, or for nothing.
    pub held_logs: Option<HeldLogsSnapshot>,
}

/// What happened to the log records of a core.
#[derive(Debug, Clone, Copy, Default)]
pub struct HeldLogsSnapshot {
    /// Bytes that wait.
    pub bytes: u64,
    /// Records that passed with their trace.
    pub kept: u64,
    /// Records that were dropped with their trace.
    pub dropped: u64,
    /// Records of which no trace came in time, or that have none.
    pub orphans: u64,
    /// Records that passed before their trace was judged, for want of room.
    pub early: u64,
}

/// What happened to the summaries of an executor; of what leaves, on the first.
#[derive(Debug, Clone, Copy, Default)]
pub struct SummarySnapshot {
    /// Windows that were emitted.
    pub windows: u64,
    /// Points and records that exporters took over.
    pub delivered: u64,
    /// Those that they refused for good, or that no exporter takes.
    pub refused: u64,
    /// Offers that nobody took; each is made again.
    pub retries: u64,
    /// Requests of a former run that could not be counted.
    pub uncounted: u64,
    /// States of a former run that could not be read.
    pub damaged: u64,
    /// Checkpoints that were too large for the journal.
    pub oversized: u64,
    /// Series of merged metrics.
    pub metric_series: u64,
    /// Points that there was no room for at all.
    pub metric_points_lost: u64,
    /// Points that count for no series of their own.
    pub metric_points_overflowed: u64,
    /// Points that a rule would have merged and that cannot be.
    pub metric_points_unmergeable: u64,
    /// Cumulative series that began again.
    pub metric_resets: u64,
    /// Log records that were counted by their patterns.
    pub log_lines: u64,
    /// Those that count for no pattern of their own.
    pub log_lines_overflowed: u64,
    /// Series of span metrics that are told.
    pub span_series: u64,
    /// Those that are not told any more for want of spans.
    pub span_series_expired: u64,
    /// Shapes of traces that were dropped in the window.
    pub shapes: u64,
    /// Dropped traces that were counted by their shapes.
    pub traces: u64,
    /// Those that count for no shape of their own.
    pub traces_overflowed: u64,
    /// What the last window told apart, on the first executor.
    pub visible: Visible,
    /// Spans that count for no series of their own.
    pub spans_overflowed: u64,
    /// The service graph, where there is one.
    pub graph: Option<GraphSnapshot>,
}

/// How the service graph stands on an executor; of what leaves, on the first.
#[derive(Debug, Clone, Copy, Default)]
pub struct GraphSnapshot {
    /// What became of ends of requests.
    pub counts: GraphCounts,
    /// Rows that are told.
    pub series: u64,
}

/// What a shard does in a cluster.
#[derive(Debug, Clone, Copy)]
pub struct ClusterSnapshot {
    /// What happened.
    pub counts: ClusterCounts,
    /// Traces on its docket.
    pub docket_traces: u64,
    /// Messages that were lost on the way to the gossip thread.
    pub told_lost: u64,
}

/// The log of one core.
#[derive(Debug, Clone, Default)]
pub struct LogSnapshot {
    /// Units that keep segments from being freed.
    pub unresolved: u64,
    /// Units that wait in the log for an exporter.
    pub parked: u64,
    /// Units that some exporters are done with and others are not, or were not when they were slow.
    pub partly_done: u64,
    /// When the oldest segment with any of these was begun, nanoseconds since 1970; 0 when there is none.
    pub parked_since_unix_nano: u64,
    /// Whether anything of the backlog is being sent again, or can be.
    pub is_recalling: bool,
    /// What all pipelines have in common; with the first of them.
    pub lane: Option<LaneSnapshot>,
    /// Its counters by name.
    pub counters: Vec<(&'static str, u64)>,
}

/// What all pipelines of an executor have in common of the log.
#[derive(Debug, Clone, Default)]
pub struct LaneSnapshot {
    /// Segments of requests in use.
    pub segments: u64,
    /// Bytes of their files.
    pub segment_bytes: u64,
    /// Bound of the former.
    pub segment_bytes_max: u64,
    /// Bytes of requests waiting for the disk.
    pub buffered_bytes: u64,
    /// Requests whose senders wait for the disk.
    pub staged: u64,
    /// Whether the disk gives no segment to write to.
    pub is_failing: bool,
    /// Bytes of the last run's segments that are still to be read.
    pub replay_left_bytes: u64,
    /// Segments that are done with and stay.
    pub past: PastSnapshot,
}

/// What became of traces that a person wants to keep.
#[derive(Debug, Default)]
pub struct KeptByHand {
    /// Of each that is the core's.
    pub traces: Vec<(TraceId, ByHand)>,
    /// Whether the log has the verdicts: only then their spans may come again.
    pub is_durable: bool,
}

/// Traces that a person wants to keep.
#[derive(Debug, Default)]
pub struct ToKeep {
    /// Each with the time when the first of what is there of it was received, nanoseconds since 1970.
    pub traces: Vec<(TraceId, u64)>,
    /// Whether those that were kept by hand before are sent once more.
    pub again: bool,
}

/// Segments of a log that are done with and stay.
#[derive(Debug, Clone, Default)]
pub struct PastSnapshot {
    /// How many.
    pub segments: u64,
    /// Bytes of their files.
    pub bytes: u64,
    /// When the first request in them came, nanoseconds since 1970; 0 for none.
    pub oldest_unix_nano: u64,
    /// Those given up, by reason.
    pub given_up: Vec<(&'static str, u64)>,
    /// Segments read for questions, and those of them that had nothing of what was sought.
    pub read: u64,
    /// See above.
    pub read_in_vain: u64,
    /// Answers that were cut.
    pub cut: u64,
}

/// One exporter on one core.
#[derive(Debug, Clone, Default)]
pub struct ExporterSnapshot {
    /// Its name.
    pub name: String,
    /// Bytes queued or in flight.
    pub queue_bytes: u64,
    /// Worst state of its servers' breakers: 0 closed, 1 half-open, 2 open.
    pub breaker: u64,
    /// Its counters by name.
    pub counters: Vec<(&'static str, u64)>,
}

/// One receiver on one core.
#[derive(Debug, Clone, Default)]
pub struct ReceiverSnapshot {
    /// `grpc` or `http`.
    pub protocol: &'static str,
    /// Open connections.
    pub connections: u64,
    /// Its counters by name.
    pub counters: Vec<(&'static str, u64)>,
}

/// The side thread's ends of the cores' control channels.
#[derive(Clone)]
pub struct Cores {
    /// By their `ChannelNumber`.
    pub channels: Vec<Sender<Control>>,
    /// Cores of each pipeline.
    pub shards: usize,
}

/// Requests that may wait for one core. The side thread waits for answers, and settlements come one for each file
/// write, so a handful is common.
/// At the bound: the asking thread waits.
pub const CONTROL_QUEUE_LENGTH: usize = 1024;

impl Cores {
    /// Asks every core of every pipeline and collects the answers in the order of the channels; a core that has ended gives
    /// none.
    pub async fn ask<T>(&self, request: impl Fn(Sender<T>) -> Control) -> Vec<Option<T>> {
        Self::ask_these(&self.channels, request).await
    }

    /// As `ask`, of the cores of one pipeline.
    pub async fn ask_pipeline<T>(&self, pipeline: usize, request: impl Fn(Sender<T>) -> Control) -> Vec<Option<T>> {
        let first = pipeline * self.shards;
        let channels = self.channels.get(first..first + self.shards).unwrap_or_default();
        Self::ask_these(channels, request).await
    }

    /// As `ask`, of the core at that place among the channels.
    pub async fn ask_one<T>(&self, place: usize, request: impl Fn(Sender<T>) -> Control) -> Option<T> {
        let channel = self.channels.get(place..place + 1).unwrap_or_default();
        Self::ask_these(channel, request).await.pop().flatten()
    }

    /// One of the channels.
    pub fn channel(&self, number: ChannelNumber) -> Option<&Sender<Control>> {
        self.channels.get(number.position())
    }

    async fn ask_these<T>(channels: &[Sender<Control>], request: impl Fn(Sender<T>) -> Control) -> Vec<Option<T>> {
        let mut waiting: Vec<Option<Receiver<T>>> = Vec::with_capacity(channels.len());
        for channel in channels {
            let (answer, receiver) = bounded(1);
            let sent = channel.send(request(answer)).await;
            waiting.push(sent.ok().map(|()| receiver));
        }
        let mut answers = Vec::with_capacity(waiting.len());
        for receiver in waiting {
            answers.push(match receiver {
                Some(receiver) => receiver.recv().await.ok(),
                None => None,
            });
        }
        answers
    }

    /// The books of all cores.
    pub async fn snapshots(&self) -> Vec<Snapshot> {
        self.ask(Control::Snapshot).await.into_iter().flatten().collect()
    }
}
