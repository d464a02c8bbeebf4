//! The policies, compiled: leaves that are evaluated on each span while its bytes are hot, and a tree per policy
//! that is evaluated on a trace's evidence. Equal leaves of different policies are one leaf, and every attribute
//! of a span is looked up once for all of them, so that ten policies cost little more than one.
//!
//! Semantics: the Collector's `tail_sampling` processor, v0.161.

pub mod attribute;
mod compile;
mod fingerprint;
mod generation;
mod held;
mod judge;
mod left;
pub mod limit;
pub mod ottl;
mod places;
pub mod quantile;
mod shadow;
mod tree;

pub use attribute::{AttributeRules, Site};
pub use compile::RulesError;
pub use held::Reading;
pub use judge::Ballot;
pub use left::Left;
pub use tree::Evidence;

use crate::vocabulary::StatusMask;
use limit::Limit;
use ottl::OttlRules;
use quantile::RelativeLeaf;
pub use tailwater_ottl::pattern::Expressions;
use tailwater_proto::tracestate::collector_member;
use tree::{LimitNumber, Node};

/// A compiled set of policies. Immutable; shared by all shards.
#[derive(Debug)]
pub struct Rules {
    /// Grows by one with each change of the rules under a running node.
    generation: u32,
    /// What they mean, in one number; 0 while nobody has said.
    fingerprint: u64,
    attributes: AttributeRules,
    ottl: OttlRules,
    latencies: Vec<LatencyLeaf>,
    trace_states: Vec<TraceStateLeaf>,
    /// The leaf on the sampled flag, if a policy asks for it.
    sampled_flag: Option<u16>,
    reads_context: bool,
    limits: Vec<Limit>,
    /// The number of the limit over all rules.
    budget: Option<u16>,
    /// What each limit is called: the name of its policy.
    limit_names: Vec<String>,
    sub_policy_names: Vec<String>,
    /// Attributes by which limits and durations go: by key of a trace the numbers of the values that are noted.
    keys: Vec<Vec<usize>>,
    /// The attributes that each key is made of.
    key_names: Vec<Vec<String>>,
    relative: Vec<RelativeLeaf>,
    /// Encoded attributes that kept spans get.
    annotations: Vec<Vec<u8>>,
    /// The number of the one that spans of traces get that a person keeps.
    by_hand_annotation: Option<u16>,
    /// The numbers of those in force, in the order of the configuration.
    annotation_order: Vec<u16>,
    policies: Vec<CompiledPolicy>,
    /// Numbers of policies that have never been in force since the start.
    named_only: Vec<u16>,
    /// Indexes into `policies` in the order of evaluation: drop policies first.
    order: Vec<u16>,
    /// Those that are evaluated without an effect.
    shadows: Vec<u16>,
    /// For each shadow its place in `order`, if it had an effect.
    shadow_places: Vec<u16>,
    leaf_count: usize,
    sample_on_first_match: bool,
    /// Whether traces are kept by their randomness, and not as the Collector does.
    is_by_randomness: bool,
}

/// One policy, ready to be evaluated.
#[derive(Debug)]
struct CompiledPolicy {
    name: String,
    /// What keeps a trace.
    node: Node,
    /// Of our own rules: whether it is this one that decides.
    condition: Option<Node>,
    /// The limits that each trace it keeps by randomness has passed.
    passed: Vec<LimitNumber>,
    is_drop: bool,
    is_shadow: bool,
    /// Its conditions in the words of the configuration, in the order in which `Rules::held` meets them.
    conditions: Vec<String>,
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

/// A trace state policy's leaf.
#[derive(Debug)]
struct TraceStateLeaf {
    leaf: u16,
    key: Box<[u8]>,
    values: Vec<Box<[u8]>>,
}

/// The sampled flag among a span's `flags` (W3C).
const SAMPLED_FLAG: u32 = 1;

impl LatencyLeaf {
    /// Whether a prefix of this duration satisfies the leaf.
    #[inline]
    #[must_use]
    pub fn holds(&self, duration_ms: i64) -> bool {
        duration_ms > self.threshold_ms && (self.upper_threshold_ms == 0 || duration_ms <= self.upper_threshold_ms)
    }
}

impl Rules {
    /// How much memory the expressions of all policies take.
    #[must_use]
    pub fn expressions(&self) -> Expressions {
        let mut all = self.attributes.expressions();
        all.merge(self.ottl.expressions());
        all
    }

    /// Keys that a span and a trace have: words behind the first of the leaves.
    #[inline]
    #[must_use]
    pub fn key_count(&self) -> usize {
        self.keys.len()
    }

    /// The values of each key of a trace, as they are noted: numbers for `Memory::note`.
    #[must_use]
    pub fn keys(&self) -> &[Vec<usize>] {
        &self.keys
    }

    /// For leaves on relative durations that go by the same attributes as one of `before`: (number here, number there).
    #[must_use]
    pub fn same_kinds(&self, before: &Self) -> Vec<(usize, usize)> {
        let names = |rules: &Self, leaf: &RelativeLeaf| rules.key_names.get(usize::from(leaf.key)).cloned();
        let mut theirs: Vec<_> = before.relative.iter().map(|leaf| names(before, leaf)).collect();
        let mut pairs = Vec::new();
        for (number, leaf) in self.relative.iter().enumerate() {
            let mine = names(self, leaf);
            if let Some(place) = theirs.iter().position(|other| other.is_some() && *other == mine) {
                // What one has learned goes to one.
                theirs[place] = None;
                pairs.push((number, place));
            }
        }
        pairs
    }

    /// The leaves on a trace's duration relative to those of its kind.
    #[must_use]
    pub fn relative(&self) -> &[RelativeLeaf] {
        &self.relative
    }

    /// Words of 64 leaves that a span and a trace need, and of keys.
    #[must_use]
    pub fn leaf_words(&self) -> usize {
        self.leaf_count.div_ceil(64).max(1)
    }

    /// The leaves on attributes.
    #[must_use]
    pub fn attributes(&self) -> &AttributeRules {
        &self.attributes
    }

    /// The leaves on conditions.
    #[inline]
    #[must_use]
    pub fn ottl(&self) -> &OttlRules {
        &self.ottl
    }

    /// The leaves on the time from first start to last end.
    #[must_use]
    pub fn latencies(&self) -> &[LatencyLeaf] {
        &self.latencies
    }

    /// Whether there are leaves on a span's flags or tracestate.
    #[inline]
    #[must_use]
    pub fn reads_context(&self) -> bool {
        self.reads_context
    }

    /// Whether a limit counts bytes.
    #[must_use]
    pub fn weighs_traces(&self) -> bool {
        self.limits.iter().any(|limit| limit.cost == limit::Cost::Bytes)
    }

    /// Evaluates the leaves on a span's flags and tracestate and sets their bits in `leaves`.
    #[inline]
    pub fn visit_context(&self, flags: u32, trace_state: &[u8], leaves: &mut [u64]) {
        let mut set = |leaf: u16| leaves[usize::from(leaf / 64)] |= 1 << (leaf % 64);
        if let Some(leaf) = self.sampled_flag
            && flags & SAMPLED_FLAG != 0
        {
            set(leaf);
        }
        if trace_state.is_empty() {
            return;
        }
        for TraceStateLeaf { leaf, key, values } in &self.trace_states {
            if collector_member(trace_state, key).is_some_and(|value| values.iter().any(|known| **known == *value)) {
                set(*leaf);
            }
        }
    }

    /// The limits, by number.
    #[must_use]
    pub fn limits(&self) -> &[Limit] {
        &self.limits
    }

    /// For limits of these rules that `before` had under the same name and terms: (number here, number there).
    #[must_use]
    pub fn same_limits(&self, before: &Self) -> Vec<(usize, usize)> {
        let all = |rules: &Self| {
            rules.limit_names.iter().cloned().zip(rules.limits.iter().cloned()).map(Some).collect::<Vec<_>>()
        };
        let mut theirs = all(before);
        let mut pairs = Vec::new();
        for (number, mine) in all(self).into_iter().enumerate() {
            if let Some(place) = theirs.iter().position(|other| *other == mine) {
                // A policy may have several of the same terms.
                theirs[place] = None;
                pairs.push((number, place));
            }
        }
        pairs
    }

    /// The limits that a trace was bound to pass to be kept by the policy of that number, and what each counts. Those are
    /// left out of which it depends on the trace whether it had to: of one of several samplers, of one of several
    /// sub-policies.
    pub fn limits_passed(&self, policy: u16) -> impl Iterator<Item = (u16, limit::Cost)> {
        let passed = self.policies.get(usize::from(policy)).map_or(&[][..], |policy| &policy.passed);
        passed.iter().map(|limit| (limit.number, limit.cost))
    }

    /// Whether traces are kept by their own randomness (OTEP 235), and not as the Collector does.
    #[must_use]
    pub fn is_by_randomness(&self) -> bool {
        self.is_by_randomness
    }

    /// The names of the sub-policies of composites, by number.
    #[must_use]
    pub fn sub_policy_names(&self) -> &[String] {
        &self.sub_policy_names
    }

    /// The policies' names by their numbers: in configuration order, then those that came with later generations. A policy
    /// that has gone keeps its number.
    pub fn policy_names(&self) -> impl ExactSizeIterator<Item = &str> {
        self.policies.iter().map(|policy| policy.name.as_str())
    }
}

/// The bit of a span status code, see `StatusMask`.
#[inline]
#[must_use]
pub const fn status_bit(status_code: u64) -> StatusMask {
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
