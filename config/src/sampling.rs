//! What to keep: the sampling section of the configuration as typed values, in the shape of the Collector's
//! `tail_sampling` processor. The engine compiles these; nothing here evaluates them.

pub mod native;

use crate::choices::choices;
use std::time::Duration;

/// How traces are held and judged.
#[derive(Debug, Clone, PartialEq)]
pub struct Sampling {
    /// Time from a trace's first span to its verdict.
    pub decision_wait: Duration,
    /// Time from the arrival of a root span to the verdict, when that is earlier; zero switches it off.
    pub decision_wait_after_root_received: Duration,
    /// A trace is judged when no span of it has come for this long, in place of `decision_wait`; zero switches it off.
    pub inactivity_timeout: Duration,
    /// With `inactivity_timeout`: longest time from a trace's first span to its verdict; above zero when that is.
    pub max_trace_duration: Duration,
    /// Age past which an undecided trace's bytes are given up in memory, to be read from the log again if it is kept;
    /// zero does so only when the memory is used up.
    pub cold_after: Duration,
    /// Most traces held undecided on this node (Collector: `num_traces`).
    pub traces_max: u64,
    /// At the bound: stop reading from senders (true) or decide the oldest trace early (false).
    pub block_on_overflow: bool,
    /// Verdicts remembered for late spans of kept traces, entries on this node.
    pub sampled_cache_size: u64,
    /// Verdicts remembered for late spans of dropped traces, entries on this node.
    pub non_sampled_cache_size: u64,
    /// Stop at the first policy that samples, in configuration order.
    pub sample_on_first_match: bool,
    /// A trace whose spans exceed this many bytes before its verdict is dropped; zero switches it off.
    pub trace_bytes_max: u64,
    /// On shutdown: discard what is undecided (true) or decide it on what has arrived (false).
    pub drop_pending_traces_on_shutdown: bool,
    /// When policies are evaluated.
    pub strategy: Strategy,
    /// Whose idea of a probability the verdicts follow.
    pub thresholds: Thresholds,
    /// Where the randomness of a trace without `rv` comes from.
    pub randomness: RandomnessSource,
    /// Writes a threshold of 0 into spans that came without one and were kept for certain.
    pub writes_threshold_zero: bool,
    /// Writes the name of the policy that kept a trace into the attributes of its spans' scopes.
    pub record_policy: bool,
    /// The policies in configuration order.
    pub policies: Vec<Policy>,
    /// Our own rules, in place of policies: the first that matches decides.
    pub rules: Vec<native::NativeRule>,
    /// What the rules may keep together, spans a second; 0 for no bound.
    pub budget_spans_per_second: u64,
    /// What the rules may keep together, bytes a second; 0 for no bound.
    pub budget_bytes_per_second: u64,
}

choices! {
    /// When policies are evaluated (Collector: `sampling_strategy`).
    Strategy {
        /// Once a trace, when its wait is over.
        #[default]
        TraceComplete = "trace-complete",
        /// On every piece of a trace as it comes: the first that is sampled decides.
        SpanIngest = "span-ingest",
    }
}

choices! {
    /// Whose idea of a probability the verdicts follow.
    Thresholds {
        /// OTEP 235: traces are kept by their own randomness, and kept spans leave with the threshold of the rule that
        /// kept them, so that what is counted downstream adds up.
        #[default]
        Otep235 = "otep235",
        /// The Collector's: a hash of its own, limits in order of arrival, tracestate as it came.
        Collector = "collector",
    }
}

choices! {
    /// Where the randomness of a trace without `rv` comes from.
    RandomnessSource {
        /// From its id; from a hash of it where ids look as if a head sampler had left only those of low randomness.
        #[default]
        Auto = "auto",
        /// From its id.
        TraceId = "trace_id",
        /// From a hash of its id, unless its sender says that the id is random.
        Hashed = "hashed",
    }
}

choices! {
    /// What becomes of an error in the evaluation of a condition.
    ErrorMode {
        /// It is counted and the next condition is tried.
        Ignore = "ignore",
        /// The next condition is tried.
        Silent = "silent",
        /// The policy has no vote on this trace.
        #[default]
        Propagate = "propagate",
    }
}

impl Sampling {
    /// What the Collector's processor does when its section is empty.
    #[must_use]
    pub fn collector_default() -> Self {
        Self {
            decision_wait: Duration::from_secs(30),
            decision_wait_after_root_received: Duration::ZERO,
            inactivity_timeout: Duration::ZERO,
            max_trace_duration: Duration::ZERO,
            cold_after: Duration::ZERO,
            traces_max: 50_000,
            block_on_overflow: false,
            sampled_cache_size: 0,
            non_sampled_cache_size: 0,
            sample_on_first_match: false,
            trace_bytes_max: 0,
            drop_pending_traces_on_shutdown: false,
            strategy: Strategy::TraceComplete,
            thresholds: Thresholds::Collector,
            randomness: RandomnessSource::Auto,
            writes_threshold_zero: false,
            record_policy: false,
            policies: Vec::new(),
            rules: Vec::new(),
            budget_spans_per_second: 0,
            budget_bytes_per_second: 0,
        }
    }
}

impl Default for Sampling {
    /// The native default: useful with no configuration at all. Errors and slow traces are kept, and one of twenty of
    /// the rest so that there is something to compare them with.
    fn default() -> Self {
        Self {
            // Most traces end within a second or two of their root: the second wait decides those, the first wait is
            // for traces whose root never comes.
            decision_wait: Duration::from_secs(10),
            decision_wait_after_root_received: Duration::from_secs(2),
            traces_max: 1_000_000,
            // Some minutes of verdicts at a few thousand traces a second, for less than 40 MiB.
            sampled_cache_size: 100_000,
            non_sampled_cache_size: 500_000,
            thresholds: Thresholds::Otep235,
            policies: vec![
                Policy::new("errors", Rule::StatusCode { ok: false, error: true, unset: false }),
                Policy::new("slow", Rule::Latency { threshold_ms: 1000, upper_threshold_ms: 0 }),
                Policy::new("sample", Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 5.0 }),
            ],
            ..Self::collector_default()
        }
    }
}

/// What a sampling section has that takes memory whatever comes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tables {
    /// Durations relative to their kind's, each with a table of kinds.
    pub relative_latencies: u64,
    /// Whether traces are ranked for a limit.
    pub has_windows: bool,
    /// Whether a limit has keys.
    pub has_keys: bool,
    /// Whether a condition takes user agents apart.
    pub has_user_agents: bool,
}

impl Sampling {
    /// The tables that the policies and rules need.
    #[must_use]
    pub fn tables(&self) -> Tables {
        let mut tables = Tables::default();
        self.policies.iter().for_each(|policy| policy.rule.count(&mut tables));
        self.rules.iter().for_each(|rule| rule.count(&mut tables));
        tables.has_windows |= self.budget_spans_per_second > 0 || self.budget_bytes_per_second > 0;
        // In order of arrival nothing waits for a window's end.
        tables.has_windows &= self.thresholds == Thresholds::Otep235;
        tables.has_keys &= tables.has_windows;
        tables
    }
}

/// One policy: a name and the rule it votes by.
#[derive(Debug, Clone, PartialEq)]
pub struct Policy {
    /// Shown in metrics and explanations; unique at the top level.
    pub name: String,
    /// Line of the configuration file, 1-based; 0 when it came from elsewhere.
    pub line: u32,
    /// How it votes.
    pub rule: Rule,
    /// It is evaluated and counted, and has no effect. At the top level only.
    pub is_shadow: bool,
}

impl Policy {
    /// A policy that does not come from a file.
    #[must_use]
    pub fn new(name: &str, rule: Rule) -> Self {
        Self { name: name.to_string(), line: 0, rule, is_shadow: false }
    }
}

/// The kinds of policy, named as the Collector names them.
#[derive(Debug, Clone, PartialEq)]
pub enum Rule {
    /// Samples every trace.
    AlwaysSample,
    /// Samples by the time from the first start to the last end.
    Latency {
        /// Exclusive lower bound, milliseconds.
        threshold_ms: i64,
        /// Inclusive upper bound, milliseconds; 0 for none.
        upper_threshold_ms: i64,
    },
    /// Samples when a span has one of the status codes.
    StatusCode {
        /// `OK` is in the list.
        ok: bool,
        /// `ERROR` is in the list.
        error: bool,
        /// `UNSET` is in the list.
        unset: bool,
    },
    /// Samples when a resource or span has a string attribute with one of the values.
    StringAttribute {
        /// The attribute's key.
        key: String,
        /// Exact values, or regular expressions when `regex` is set.
        values: Vec<String>,
        /// The values are regular expressions (unanchored).
        regex: bool,
        /// Samples when nothing matches instead.
        invert: bool,
    },
    /// Samples when an integer attribute is within bounds (inclusive).
    NumericAttribute {
        /// The attribute's key.
        key: String,
        /// Lower bound; `i64::MIN` for none.
        min: i64,
        /// Upper bound; `i64::MAX` for none.
        max: i64,
        /// Samples when nothing matches instead.
        invert: bool,
    },
    /// Samples when a boolean attribute has the value.
    BooleanAttribute {
        /// The attribute's key.
        key: String,
        /// The value to match.
        value: bool,
        /// Samples when nothing matches instead.
        invert: bool,
    },
    /// Samples a share of the traces by a hash of the trace id.
    Probabilistic {
        /// Salt of the hash; empty means the Collector's `default-hash-seed`.
        hash_salt: String,
        /// Share to keep, percent.
        sampling_percentage: f64,
    },
    /// Samples by the number of spans (inclusive bounds).
    SpanCount {
        /// Fewest spans.
        min: i32,
        /// Most spans; 0 for none.
        max: i32,
    },
    /// Samples up to so many spans a second.
    RateLimiting {
        /// Refill of the bucket, spans a second.
        spans_per_second: i64,
        /// Its size, spans; not above 0 for twice the refill.
        burst_capacity: i64,
    },
    /// Samples up to so many bytes a second.
    BytesLimiting {
        /// Refill of the bucket, bytes a second.
        bytes_per_second: i64,
        /// Its size, bytes; not above 0 for twice the refill.
        burst_capacity: i64,
    },
    /// Samples when a span's tracestate has a member with one of the values.
    TraceState {
        /// The member's key.
        key: String,
        /// Exact values.
        values: Vec<String>,
    },
    /// Samples when a span's sampled flag is set.
    TraceFlags,
    /// Samples when a condition holds for a span, or for an event of a span.
    OttlCondition {
        /// What becomes of an error in the evaluation.
        error_mode: ErrorMode,
        /// Conditions on a span, as written; any of them will do.
        span: Vec<String>,
        /// Conditions on an event, likewise.
        spanevent: Vec<String>,
    },
    /// The first sub-policy that samples decides, within its share of the spans of each second.
    Composite {
        /// Spans a second that each sub-policy may have at most.
        spans_per_second_max: i64,
        /// In order of evaluation, with the spans a second that each may have.
        policies: Vec<(Policy, i64)>,
    },
    /// Holds when one of the sub-policies does; a condition of our own rules.
    Any(Vec<Policy>),
    /// Holds when the trace lasts longer than most of late with the same values of some attributes; a condition of our own
    /// rules.
    RelativeLatency {
        /// The quantile of their durations, between 0 and 1.
        quantile: f64,
        /// The attributes: those of the root span and its resource, or of the first span where no root has come.
        by: Vec<String>,
        /// Shorter traces never match, milliseconds.
        at_least_ms: u64,
        /// While fewer traces of a key have been seen than this, none of them matches.
        traces_min: u64,
    },
    /// Samples when all of the sub-policies sample.
    And(Vec<Policy>),
    /// Samples when the sub-policy does not.
    Not(Box<Policy>),
    /// Drops the trace, whatever other policies say, when all of the sub-policies sample.
    Drop(Vec<Policy>),
}

impl Rule {
    /// Whether its vote on a piece of a trace may be another than on the whole, or depends on other traces: what the
    /// Collector calls stateful. A composite is only what its sub-policies are, there as here.
    #[must_use]
    pub fn is_stateful(&self) -> bool {
        match self {
            Self::RateLimiting { .. } | Self::BytesLimiting { .. } => true,
            Self::Latency { upper_threshold_ms, .. } => *upper_threshold_ms > 0,
            Self::SpanCount { max, .. } => *max > 0,
            Self::And(policies) | Self::Drop(policies) | Self::Any(policies) => {
                policies.iter().any(|policy| policy.rule.is_stateful())
            }
            Self::RelativeLatency { .. } => true,
            Self::Not(policy) => policy.rule.is_stateful(),
            Self::Composite { policies, .. } => policies.iter().any(|(policy, _)| policy.rule.is_stateful()),
            _ => false,
        }
    }

    fn count(&self, tables: &mut Tables) {
        match self {
            Self::RelativeLatency { .. } => tables.relative_latencies += 1,
            Self::RateLimiting { .. } | Self::BytesLimiting { .. } => tables.has_windows = true,
            Self::Composite { policies, .. } => {
                tables.has_windows = true;
                policies.iter().for_each(|(policy, _)| policy.rule.count(tables));
            }
            Self::And(policies) | Self::Any(policies) | Self::Drop(policies) => {
                policies.iter().for_each(|policy| policy.rule.count(tables));
            }
            Self::Not(policy) => policy.rule.count(tables),
            Self::OttlCondition { span, spanevent, .. } => {
                // A text that only has the word in it counts as well.
                tables.has_user_agents |= span.iter().chain(spanevent).any(|text| text.contains("UserAgent"));
            }
            _ => {}
        }
    }
}
