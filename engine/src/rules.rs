//! The policies, compiled: leaves that are evaluated on each span while its bytes are hot, and a tree per policy
//! that is evaluated on a trace's evidence. Equal leaves of different policies are one leaf, and every attribute
//! of a span is looked up once for all of them, so that ten policies cost little more than one.
//!
//! Semantics: the Collector's `tail_sampling` processor, v0.161.

pub mod attribute;
mod compile;
mod tree;

pub use attribute::{AttributeRules, Site};
pub use compile::RulesError;
pub use tree::{Ballot, Evidence};

use crate::vocabulary::StatusMask;
use tree::Node;

/// A compiled set of policies. Immutable; shared by all shards.
#[derive(Debug)]
pub struct Rules {
    attributes: AttributeRules,
    latencies: Vec<LatencyLeaf>,
    policies: Vec<CompiledPolicy>,
    /// Indexes into `policies` in the order of evaluation: drop policies first.
    order: Vec<u16>,
    leaf_count: usize,
    sample_on_first_match: bool,
}

/// One policy, ready to be evaluated.
#[derive(Debug)]
struct CompiledPolicy {
    name: String,
    node: Node,
    is_drop: bool,
}

/// A latency policy's leaf. It is a running state on the owner, fed in arrival order: the reference looks at
/// every prefix of the trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LatencyLeaf {
    /// Its bit among the trace's leaves.
    pub leaf: u16,
    /// Exclusive lower bound, milliseconds.
    pub threshold_ms: i64,
    /// Inclusive upper bound, milliseconds; 0 for none.
    pub upper_threshold_ms: i64,
}

impl LatencyLeaf {
    /// Whether a prefix of this duration satisfies the leaf.
    #[inline]
    #[must_use]
    pub fn holds(&self, duration_ms: i64) -> bool {
        duration_ms > self.threshold_ms && (self.upper_threshold_ms == 0 || duration_ms <= self.upper_threshold_ms)
    }
}

impl Rules {
    /// Words of 64 leaves that a span and a trace need.
    #[must_use]
    pub fn leaf_words(&self) -> usize {
        self.leaf_count.div_ceil(64).max(1)
    }

    /// The leaves on attributes.
    #[must_use]
    pub fn attributes(&self) -> &AttributeRules {
        &self.attributes
    }

    /// The leaves on the time from first start to last end.
    #[must_use]
    pub fn latencies(&self) -> &[LatencyLeaf] {
        &self.latencies
    }

    /// The policies' names, in configuration order.
    pub fn policy_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }
}

/// The bit of a span status code, see `StatusMask`.
#[inline]
#[must_use]
pub fn status_bit(status_code: u64) -> StatusMask {
    match status_code {
        0 => 1,
        1 => 2,
        2 => 4,
        _ => 0,
    }
}

/// Milliseconds from `start` to `end` as the reference computes them: nanoseconds as signed integers, the
/// difference saturated, then divided truncating toward zero.
#[inline]
#[must_use]
pub fn duration_ms(start_unix_nano: u64, end_unix_nano: u64) -> i64 {
    end_unix_nano.cast_signed().saturating_sub(start_unix_nano.cast_signed()) / 1_000_000
}

#[cfg(test)]
mod tests;
