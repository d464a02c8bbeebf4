//! The plan of a shard with bounds that a small test does not reach; tests change what they are about.

use tailwater_config::sampling::{RandomnessSource, Strategy};
use tailwater_engine::export::BatchLimits;
use tailwater_engine::shard::ShardPlan;
use tailwater_engine::vocabulary::{Nanos, ShardIndex};

/// Shard `shard` of `shards`, whose hashes follow from `seed`. Traces wait for a second.
#[must_use]
pub fn roomy(shard: u16, shards: u16, seed: u64) -> ShardPlan {
    ShardPlan {
        shard: ShardIndex(shard),
        shards,
        hash_seed: [seed, 2, 3, 4],
        traces_max: 10_000,
        arena_bytes_max: 64 << 20,
        chunk_bytes: 1 << 16,
        span_bytes_max: 1 << 20,
        kept_verdicts_max: 10_000,
        dropped_verdicts_max: 10_000,
        decision_wait: Nanos::from_millis(1000),
        decision_wait_after_root: Nanos::default(),
        inactivity_timeout: Nanos::default(),
        trace_duration_max: Nanos::default(),
        cold_after: Nanos::default(),
        trace_bytes_max: 0,
        drop_pending_at_drain: false,
        record_policy: false,
        strategy: Strategy::TraceComplete,
        forgets_undecided: false,
        randomness: RandomnessSource::Auto,
        writes_threshold_zero: false,
        batch: BatchLimits { spans_max: 50, bytes_max: 1 << 20 },
        flush_interval: Nanos::from_millis(200),
    }
}
