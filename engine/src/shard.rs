//! One shard: the only place that knows all the stages. A request is scanned by the core that received it; its
//! spans are taken by the shards that own their traces; each trace is judged once, when it is due; what is kept is
//! exported, what is not is counted.
//!
//! The shard is put together of parts that each know their own: what it holds (`holding`), where it judges (the bench),
//! what leaves it (`outgoing`), why traces came to what they did (`reason`). The methods here and in the files beside join
//! them: `scan` and `take` what comes, `tick` what is due, `settle` a ruling.

mod by_hand;
mod cluster;
mod cool;
mod framing;
mod generation;
mod hear;
mod holder;
mod holding;
mod ingest;
mod marks;
mod outgoing;
mod owner;
mod reason;
mod scan;
mod session;
mod settle;
mod skeleton;
mod take;
mod telling;
mod tick;
mod waits;
mod watch;

use crate::buffer::arena::Reference;
use crate::cluster::Cluster;
use crate::decide::KeptBy;
use crate::evidence::Size;
use crate::export::BatchLimits;
use crate::export::mark::MarkCounts;
use crate::index::Place;
use crate::intake::Intake;
use crate::judge::Bench;
use crate::ledger::{Ledger, PolicyCounts};
use crate::route::Route;
use crate::rules::{Left, Rules};
use crate::vocabulary::{Nanos, ShardIndex, TraceId};
use cool::Sweep;
use framing::Framing;
use generation::Generations;
use holding::Holding;
use outgoing::Outgoing;
use reason::Reasons;
use skeleton::Sketching;
use std::sync::Arc;
use tailwater_config::sampling::{RandomnessSource, Strategy};
use waits::Waits;
use watch::Watch;

pub use crate::vocabulary::TICK;
pub use by_hand::ByHand;
pub use generation::FORMER_MAX;
pub use reason::Fate;
pub use watch::ServiceCounts;

/// The bounds and waits of one shard, from the configuration and the memory plan.
#[derive(Debug, Clone)]
pub struct ShardPlan {
    /// Which shard this is.
    pub shard: ShardIndex,
    /// How many there are.
    pub shards: u16,
    /// Keys of the hashes, the same on every shard of a node.
    pub hash_seed: [u64; 4],
    /// Most undecided traces.
    pub traces_max: usize,
    /// Most bytes of span chunks and interned envelopes.
    pub arena_bytes_max: usize,
    /// Bytes of a chunk.
    pub chunk_bytes: usize,
    /// Largest span accepted, bytes.
    pub span_bytes_max: u32,
    /// Verdicts remembered of kept traces.
    pub kept_verdicts_max: usize,
    /// Verdicts remembered of dropped traces.
    pub dropped_verdicts_max: usize,
    /// From the first span to the verdict.
    pub decision_wait: Nanos,
    /// From the arrival of a root span to the verdict, if that is earlier; 0 switches it off.
    pub decision_wait_after_root: Nanos,
    /// Judge a trace when none of its spans has come for this long, instead of `decision_wait` after its first; 0
    /// switches it off.
    pub inactivity_timeout: Nanos,
    /// Longest from the first span to the verdict, whatever comes; 0 for no limit.
    pub trace_duration_max: Nanos,
    /// Age past which an undecided trace's bytes are given up in memory, to be read from the log if it is kept; 0 for
    /// only when the arena is full.
    pub cold_after: Nanos,
    /// Bytes past which an undecided trace is dropped; 0 switches it off.
    pub trace_bytes_max: u32,
    /// On drain: drop what is undecided instead of deciding it.
    pub drop_pending_at_drain: bool,
    /// Write the policy that kept a trace into its spans' scopes.
    pub record_policy: bool,
    /// When policies are asked.
    pub strategy: Strategy,
    /// With `Strategy::SpanIngest`: a trace that nothing decided is forgotten when its wait is over, so that spans that come
    /// later begin a new one.
    pub forgets_undecided: bool,
    /// Where the randomness of traces without `rv` comes from.
    pub randomness: RandomnessSource,
    /// Write a threshold of 0 into spans that came without one and were kept for certain.
    pub writes_threshold_zero: bool,
    /// When an export batch is full.
    pub batch: BatchLimits,
    /// How long a batch may wait for more spans.
    pub flush_interval: Nanos,
}

impl ShardPlan {
    /// Whether a trace of that size, or a part of one, is larger than a trace may be.
    #[inline]
    #[must_use]
    pub fn is_too_large(&self, size: Size) -> bool {
        self.trace_bytes_max > 0 && size.bytes > self.trace_bytes_max
    }
}

/// The share of the arena, in eighths, past which senders are to be held back.
const PRESSURE_EIGHTHS: usize = 7;

/// One shard.
#[derive(Debug)]
pub struct Shard {
    plan: ShardPlan,
    waits: Waits,
    ledger: Ledger,
    intake: Intake,
    bench: Bench,
    generations: Generations,
    holding: Holding,
    framing: Framing,
    sweep: Sweep,
    outgoing: Outgoing,
    reasons: Reasons,
    /// What pending traces look like, where skeletons of those that are dropped are counted.
    sketching: Option<Box<Sketching>>,
    /// Services that are watched, if any.
    watch: Option<Box<Watch>>,
    /// Its part in a cluster, if the node is in one.
    cluster: Option<Box<Cluster>>,
    /// Scratch: traces that are off the wheel, and the fragments of one.
    due: Vec<u32>,
    fragments: Vec<Reference>,
}

impl Shard {
    /// A shard with nothing in it.
    #[must_use]
    pub fn new(plan: ShardPlan, rules: Arc<Rules>) -> Self {
        let route = Route::new(plan.hash_seed, plan.shards);
        let policies = vec![PolicyCounts::default(); rules.policy_names().len()];
        Self {
            waits: Waits::of(&plan),
            intake: Intake::new(route, plan.span_bytes_max, &rules),
            holding: Holding::new(&plan, rules.leaf_words() - 1),
            outgoing: Outgoing::new(&plan),
            ledger: Ledger { policies, ..Ledger::default() },
            due: Vec::new(),
            fragments: Vec::new(),
            sweep: Sweep::default(),
            generations: Generations::default(),
            reasons: Reasons::new(plan.hash_seed),
            sketching: None,
            watch: None,
            cluster: None,
            framing: Framing::under(&plan, &rules),
            bench: Bench::new(rules, plan.randomness, plan.shards),
            plan,
        }
    }

    /// The books.
    #[must_use]
    pub fn ledger(&self) -> &Ledger {
        &self.ledger
    }

    /// The rules in force.
    #[must_use]
    pub fn rules(&self) -> &Rules {
        self.bench.rules()
    }

    /// Bytes of spans and envelopes held.
    #[must_use]
    pub fn buffer_bytes(&self) -> usize {
        self.holding.buffer.bytes()
    }

    /// The bound on `buffer_bytes`.
    #[must_use]
    pub fn buffer_bytes_max(&self) -> usize {
        self.plan.arena_bytes_max
    }

    /// True when senders are to be held back: the arena or the trace table is nearly full.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        let traces = self.holding.buffer.traces.len();
        self.holding.buffer.bytes() > self.plan.arena_bytes_max / 8 * PRESSURE_EIGHTHS
            || traces > self.plan.traces_max - self.plan.traces_max / 8
    }

    /// True when even the places of spans in the log take nearly all the memory they may: for spans that are logged this is
    /// what a nearly full arena is for others.
    #[must_use]
    pub fn is_cold_pressed(&self) -> bool {
        let traces = self.holding.buffer.traces.len();
        !self.holding.buffer.cold.has_room_for(self.holding.buffer.cold.capacity() / 8)
            || traces > self.plan.traces_max - self.plan.traces_max / 8
    }

    /// Counts that many spans of a scanned request as accepted. Those of this shard are to be given to `take` by the
    /// caller at once, others to be sent to the shard named.
    pub fn accept(&mut self, spans: usize) {
        self.ledger.spans.received += spans as u64;
        self.ledger.spans.handed_over += spans as u64;
    }

    /// What became of the tracestates of kept spans.
    #[must_use]
    pub fn mark_counts(&self) -> MarkCounts {
        self.outgoing.mark_counts()
    }

    /// Kept traces whose randomness came with a span and is not known for those that come late.
    #[must_use]
    pub fn randomness_forgotten(&self) -> u64 {
        self.holding.kept.given_forgotten()
    }

    /// Traces that were too large to pass a limit ever.
    #[must_use]
    pub fn unreachable_traces(&self) -> u64 {
        self.bench.unreachable_traces()
    }

    /// Traces that were not counted for their kind, because too many kinds are told apart already.
    #[must_use]
    pub fn quantile_keys_refused(&self) -> u64 {
        self.bench.quantile_keys_refused()
    }

    /// Traces of a second that were too many to be ranked for a limit: they counted as rejected.
    #[must_use]
    pub fn unranked_traces(&self) -> u64 {
        self.bench.unranked_traces()
    }

    /// What wanted to pass each limit since the last call; the shards of a node divide the limits by it.
    pub fn take_limit_demand(&mut self) -> Vec<u64> {
        self.bench.take_limit_demand()
    }

    /// Sets this shard's part of each limit of the node, 0 to 1; those of all shards sum to 1.
    pub fn set_limit_shares(&mut self, shares: &[f64]) {
        match &mut self.cluster {
            Some(cluster) => {
                cluster.limit_shares = shares.to_vec();
                self.divide_limits();
            }
            None => self.bench.set_limit_shares(shares),
        }
    }

    /// Leaves these parts of limits and percentages until it is called again. Thresholds say what is kept then; where none
    /// are said, nothing changes.
    pub fn leave(&mut self, left: Left) {
        self.bench.leave(left);
    }

    /// Remembers a verdict of a former run of the node. The trace must be this shard's.
    pub fn restore(&mut self, trace_id: &TraceId, kept_by: Option<KeptBy>) {
        let hash = self.intake.hash(trace_id);
        if self.holding.find_verdict(hash).is_none() {
            self.remember(hash, kept_by);
        }
    }

    /// Remembers a verdict on a trace that is neither pending here nor remembered.
    fn remember(&mut self, hash: u64, kept_by: Option<KeptBy>) {
        let (remembered, kind): (_, fn(u32) -> Place) = match kept_by {
            Some(kept) => (self.holding.kept.remember(hash, Some(kept)), Place::Kept),
            None => (self.holding.dropped.remember(hash, None), Place::Dropped),
        };
        self.ledger.traces.verdicts_forgotten += u64::from(self.holding.forget_evicted(remembered, kind));
        if let Some((position, _)) = remembered {
            self.holding.index.insert(hash, kind(position));
        }
    }
}
