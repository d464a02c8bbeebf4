//! What one node of a run may vary.

use super::clock::Clock;
use super::policies::PolicySet;
use super::senders::Traffic;
use crate::disk::Faults;
use crate::shard_plan::roomy;
use tailwater_engine::cluster::shed::threshold;
use tailwater_engine::export::BatchLimits;
use tailwater_engine::log::lane::{LanePlan, PipelinePlan};
use tailwater_engine::log::past::PastPlan;
use tailwater_engine::shard::ShardPlan;
use tailwater_engine::vocabulary::{Nanos, TraceId};
use tailwater_proto::consistent::NEVER;

/// A node, its senders, its next hop.
#[derive(Debug, Clone)]
pub struct Scenario {
    /// Cores of the first run; a node with a log starts again on any number of them.
    pub cores: u16,
    /// Pipelines: without a log there is one.
    pub pipelines: usize,
    /// What is sent.
    pub traffic: Traffic,
    /// Undecided traces each shard may hold.
    pub traces_max: usize,
    /// Bytes each arena may hold.
    pub arena_bytes_max: usize,
    /// From a trace's first span to its verdict.
    pub decision_wait_ms: u64,
    /// The wait after a root span; 0 for none.
    pub root_wait_ms: u64,
    /// Age past which bytes leave memory; 0 for never.
    pub cold_after_ms: u64,
    /// The rules.
    pub policies: Policies,
    /// Share of export requests that fail for good, percent.
    pub refused_percent: u32,
    /// Share of export requests that fail for now, percent.
    pub parked_percent: u32,
    /// The log, if there is one.
    pub log: Option<Logged>,
    /// What the node takes the time to be.
    pub clock: Clock,
    /// Longest time that the node stands still; 0 for never.
    pub pause_ms_max: u64,
    /// The cluster that it is a node of, if it is.
    pub cluster: Option<InCluster>,
}

/// What a node of a cluster has in common with the others.
#[derive(Debug, Clone, Copy)]
pub struct InCluster {
    /// Seed of the hashes, of the traffic and of the rules.
    pub seed: u64,
    /// How many nodes there are.
    pub nodes: usize,
    /// Whether the spans of a service all come to one node, or each span to any.
    pub is_sticky: bool,
    /// Traces on the docket of a shard.
    pub docket_traces_max: usize,
    /// Share of messages to other nodes, and of those that come from them, for which there is no room at first, percent.
    pub full_percent: u32,
    /// When senders begin, of the world, milliseconds: nodes that are there from the beginning know one another by then.
    pub begins_ms: u64,
    /// When it comes, of the world, milliseconds.
    pub comes_ms: u64,
    /// When and how it goes, if it does.
    pub goes: Option<(u64, Goes)>,
    /// Whether it speaks a later version of the wire.
    pub is_ahead: bool,
    /// How often a node may want the traces that pass to be halved.
    pub shed_level_max: u8,
    /// When it holds its senders back, of the world, milliseconds: from, until.
    pub pressed_ms: (u64, u64),
}

impl InCluster {
    /// Whether the cluster may give up a trace of this id, where nothing else says its randomness.
    #[must_use]
    pub fn may_shed(&self, trace_id: &TraceId) -> bool {
        randomness(trace_id) < threshold(self.shed_level_max)
    }
}

/// The randomness of a trace by its id: the last seven bytes.
#[must_use]
pub fn randomness(trace_id: &TraceId) -> u64 {
    let [.., last] = trace_id.as_chunks::<8>().0 else { return 0 };
    u64::from_be_bytes(*last) & (NEVER - 1)
}

/// How a node goes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Goes {
    /// It says so and settles what it has.
    Leaving,
    /// Without a word, and all it has is gone.
    Lost,
    /// It stands still for so long, milliseconds, that others take it for dead, and goes on.
    Still(u64),
}

/// Which rules are in force.
#[derive(Debug, Clone, Copy)]
pub enum Policies {
    /// Always these.
    Fixed(PolicySet),
    /// Those that keep what is marked, then others after about so many milliseconds each.
    Changing(u64),
    /// Others in each run of the process.
    OfRuns,
}

/// A log and what happens to it.
#[derive(Debug, Clone, Default)]
pub struct Logged {
    /// Crashes.
    pub crashes: u32,
    /// Whether a crash takes the power along, or only the process.
    pub cuts_power: bool,
    /// Share of requests whose senders wait for the write only, percent.
    pub written_percent: u32,
    /// What the disk does.
    pub faults: Faults,
}

/// Bytes of a segment.
const SEGMENT_BYTES: u64 = 64 << 10;
/// How long segments stay that are done with, where they do.
const PAST_NANOS: u64 = 700_000_000;

impl Scenario {
    /// Bounds and waits of a shard.
    #[must_use]
    pub fn shard_plan(&self, shard: u16, shards: u16, seed: u64) -> ShardPlan {
        ShardPlan {
            traces_max: self.traces_max,
            arena_bytes_max: self.arena_bytes_max,
            chunk_bytes: 4096,
            span_bytes_max: 1 << 16,
            kept_verdicts_max: 1000,
            dropped_verdicts_max: 1000,
            decision_wait: Nanos::from_millis(self.decision_wait_ms),
            decision_wait_after_root: Nanos::from_millis(self.root_wait_ms),
            cold_after: Nanos::from_millis(self.cold_after_ms),
            batch: BatchLimits { spans_max: 50, bytes_max: 20_000 },
            flush_interval: Nanos::from_millis(100),
            ..roomy(shard, shards, self.cluster.map_or(seed, |cluster| cluster.seed))
        }
    }

    /// Bounds of a core's log.
    #[must_use]
    pub fn lane_plan(&self, core: u16, cores: u16, first_number: u64, nonce_seed: u64) -> LanePlan {
        LanePlan {
            core,
            cores,
            first_number,
            nonce_seed,
            segment_bytes: SEGMENT_BYTES,
            begins_small: nonce_seed.is_multiple_of(2),
            requests_bytes_max: 64 * SEGMENT_BYTES,
            journal_segment_bytes: SEGMENT_BYTES,
            journal_segments_max: 8,
            buffer_bytes_max: 1 << 20,
            pipelines: (0..self.pipelines)
                .map(|number| PipelinePlan { name: format!("p{number}"), verdicts_max: 2000 })
                .collect(),
            // In every other run of a node segments stay for a while that are done with.
            past: PastPlan {
                keep_nanos: nonce_seed / 2 % 2 * PAST_NANOS,
                bytes_max: (1 + nonce_seed / 4 % 64) * SEGMENT_BYTES,
            },
        }
    }

    /// Crashes of the node.
    #[must_use]
    pub fn crashes(&self) -> u32 {
        self.log.as_ref().map_or(0, |logged| logged.crashes)
    }

    /// Whether there is room for everything.
    #[must_use]
    pub fn is_roomy(&self) -> bool {
        self.traces_max > self.traffic.traces
    }

    /// Whether the senders get all they were promised, and the next hop nothing twice.
    #[must_use]
    pub fn is_undisturbed(&self) -> bool {
        let is_good = |log: &Logged| log.crashes == 0 && log.faults.sync.is_none() && log.faults.write.is_none();
        self.log.as_ref().is_none_or(is_good)
    }
}
