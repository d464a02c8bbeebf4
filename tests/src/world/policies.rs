//! The policies of a node, and what they say of a trace by a model that knows nothing of leaves: it looks at the spans.

use super::senders::Sent;
use fastrand::Rng;
use std::rc::Rc;
use std::sync::Arc;
use tailwater_config::sampling::native::{NativeRule, Sampler};
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling, Thresholds};
use tailwater_engine::rules::Rules;
use tailwater_engine::vocabulary::Nanos;

/// Policies that never sample, so that leaves take more than one word.
const PADDING: usize = 70;
/// Different rules follow one another from run to run: each is in force again after so many.
const RULES_OF_RUNS: u32 = 3;
/// What is slow, milliseconds.
const SLOW_MS: std::ops::RangeInclusive<u64> = 101..=400;

/// A set of policies.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PolicySet {
    /// Errors, or what is marked.
    ErrorsThenMarked,
    /// What is marked.
    Marked,
    /// What is marked, or errors, behind others that need leaves.
    PaddedErrors,
    /// What lasts, or errors.
    SlowThenErrors,
    /// What lasts, however long.
    Lasting,
    /// What one service had a part in.
    Service,
    /// What has no errors.
    Calm,
    /// What has four spans.
    Many,
    /// All, within a limit that is never reached: traces are judged window by window.
    Limited,
    /// What is marked, by a condition.
    Condition,
    /// All, by randomness: what is left of them says what it stands for.
    Everything,
    /// Errors, and half of what is marked, with attributes that tell which in which run of the process.
    OfRun(u32),
}

/// Those that rules change to while a node runs.
const CHANGES: [PolicySet; 9] = [
    PolicySet::ErrorsThenMarked,
    PolicySet::Marked,
    PolicySet::PaddedErrors,
    PolicySet::SlowThenErrors,
    PolicySet::Service,
    PolicySet::Calm,
    PolicySet::Many,
    PolicySet::Limited,
    PolicySet::Condition,
];

/// What a set says of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Says {
    /// Kept by the policy of this name.
    Keep(&'static str),
    /// Kept by this policy, or else as what follows from the others: the draw is the node's.
    Perhaps(&'static str, Option<&'static str>),
    /// Dropped.
    Drop,
}

impl Says {
    /// Whether a trace may have been kept by `policy`, or dropped.
    #[must_use]
    pub fn allows(self, policy: Option<&str>) -> bool {
        match self {
            Self::Keep(name) => policy == Some(name),
            Self::Perhaps(name, other) => policy == Some(name) || policy == other,
            Self::Drop => policy.is_none(),
        }
    }
}

fn text(name: &str, key: &str, value: &str) -> Policy {
    let values = vec![value.to_string()];
    Policy::new(name, Rule::StringAttribute { key: key.into(), values, regex: false, invert: false })
}

fn errors() -> Policy {
    Policy::new("errors", Rule::StatusCode { ok: false, error: true, unset: false })
}

fn marked() -> Policy {
    text("marked", "mark", "keep")
}

impl PolicySet {
    /// Any of those that rules change to.
    #[must_use]
    pub fn any(random: &mut Rng) -> Self {
        CHANGES[random.usize(0..CHANGES.len())]
    }

    /// The rules, behind `latest` if there are some in force. Whether traces are kept by randomness or as the Collector
    /// does comes to the same for these policies.
    #[must_use]
    pub fn rules(self, latest: Option<&Rules>, random: &mut Rng) -> Rules {
        let is_by_randomness = random.bool() || self == Self::Everything;
        let thresholds = if is_by_randomness { Thresholds::Otep235 } else { Thresholds::Collector };
        let sampling = match self {
            Self::OfRun(run) => Sampling { policies: Vec::new(), rules: rules_of(run), ..Sampling::default() },
            _ => Sampling { policies: self.policies(), thresholds, ..Sampling::default() },
        };
        latest.map_or_else(|| Rules::compile(&sampling), |latest| Rules::compile_after(&sampling, latest)).unwrap()
    }

    fn policies(self) -> Vec<Policy> {
        match self {
            Self::OfRun(_) => Vec::new(),
            Self::ErrorsThenMarked => vec![errors(), marked()],
            Self::Marked => vec![marked()],
            Self::PaddedErrors => {
                let padding = (0..PADDING).map(|number| text(&format!("never {number}"), &format!("k{number}"), "v"));
                padding.chain([marked(), errors()]).collect()
            }
            Self::SlowThenErrors => {
                vec![Policy::new("slow", Rule::Latency { threshold_ms: 100, upper_threshold_ms: 400 }), errors()]
            }
            Self::Lasting => {
                vec![Policy::new("lasting", Rule::Latency { threshold_ms: 100, upper_threshold_ms: 0 })]
            }
            Self::Service => vec![text("service", "service.name", "service-1")],
            Self::Calm => vec![Policy::new("calm", Rule::Not(Box::new(errors())))],
            Self::Limited => {
                let limit = Rule::RateLimiting { spans_per_second: 1_000_000, burst_capacity: 0 };
                vec![Policy::new("limited", limit)]
            }
            Self::Condition => {
                let span =
                    vec![r#"attributes["mark"] == "keep" and resource.attributes["service.name"] != nil"#.into()];
                let rule = Rule::OttlCondition { error_mode: ErrorMode::Ignore, span, spanevent: Vec::new() };
                vec![Policy::new("condition", rule)]
            }
            Self::Everything => vec![Policy::new("everything", Rule::AlwaysSample)],
            Self::Many => vec![Policy::new("many", Rule::SpanCount { min: 4, max: 0 })],
        }
    }

    /// What it says of spans that came to several nodes, to each in this order. A duration within bounds holds where it held
    /// on one of them as its spans came, or for all.
    #[must_use]
    pub fn says_of(self, parts: &[Vec<Rc<Sent>>]) -> Says {
        let all = parts.concat();
        if self == Self::SlowThenErrors {
            let is_slow_whole = SLOW_MS.contains(&duration_ms(&all));
            if !is_slow_whole && !parts.iter().any(|part| is_slow(part)) {
                let errors = all.iter().any(|sent| sent.span.status.is_some());
                return if errors { Says::Keep("errors") } else { Says::Drop };
            }
            return Says::Keep("slow");
        }
        self.says(&all)
    }

    /// What it says of these spans, given in the order in which their shard took them.
    #[must_use]
    pub fn says(self, spans: &[Rc<Sent>]) -> Says {
        let errors = spans.iter().any(|sent| sent.span.status.is_some()).then_some("errors");
        let marked = spans.iter().any(|sent| !sent.span.attributes.is_empty()).then_some("marked");
        let kept_by = match self {
            Self::ErrorsThenMarked => errors.or(marked),
            Self::Marked => marked,
            Self::PaddedErrors => marked.or(errors),
            Self::SlowThenErrors => is_slow(spans).then_some("slow").or(errors),
            Self::Lasting => (duration_ms(spans) > 100).then_some("lasting"),
            Self::Service => spans.iter().any(|sent| sent.service == 1).then_some("service"),
            Self::Calm => errors.is_none().then_some("calm"),
            Self::Many => (spans.len() >= 4).then_some("many"),
            Self::Limited => Some("limited"),
            Self::Everything => Some("everything"),
            Self::Condition => marked.map(|_| "condition"),
            Self::OfRun(_) if marked.is_some() => return Says::Perhaps("marked", errors),
            Self::OfRun(_) => errors,
        };
        kept_by.map_or(Says::Drop, Says::Keep)
    }
}

/// From the first start to the last end, milliseconds.
fn duration_ms(spans: &[Rc<Sent>]) -> u64 {
    let start = spans.iter().map(|sent| sent.span.start_time_unix_nano).min().unwrap_or(0);
    let end = spans.iter().map(|sent| sent.span.end_time_unix_nano).max().unwrap_or(0);
    end.saturating_sub(start) / Nanos::PER_MILLISECOND
}

/// Whether any prefix lasts for more than 100 and at most 400 milliseconds.
fn is_slow(spans: &[Rc<Sent>]) -> bool {
    let (mut start, mut end) = (0, 0);
    spans.iter().any(|sent| {
        let span = &sent.span;
        start = if start == 0 { span.start_time_unix_nano } else { span.start_time_unix_nano.min(start) };
        end = span.end_time_unix_nano.max(end);
        let milliseconds = end.cast_signed().saturating_sub(start.cast_signed()) / 1_000_000;
        SLOW_MS.contains(&milliseconds.max(0).cast_unsigned())
    })
}

fn rules_of(run: u32) -> Vec<NativeRule> {
    let half = annotated("by", "marked".into(), Sampler::Probability(0.5));
    let all =
        annotated("by", "errors".into(), annotated("rules", (run % RULES_OF_RUNS).to_string(), Sampler::AlwaysOn));
    if run.is_multiple_of(2) {
        vec![rule("errors", errors(), all), rule("marked", marked(), half)]
    } else {
        vec![rule("marked", marked(), half), rule("errors", errors(), all)]
    }
}

fn rule(name: &str, when: Policy, sampler: Sampler) -> NativeRule {
    NativeRule { name: name.into(), line: 0, when: vec![when], sampler, budget_minimum_per_second: 0, is_shadow: false }
}

fn annotated(key: &str, text: String, sampler: Sampler) -> Sampler {
    Sampler::Annotating { attributes: vec![(key.into(), text)], sampler: Box::new(sampler) }
}

/// The rules that keep errors and what is marked.
#[must_use]
pub fn errors_then_marked() -> Arc<Rules> {
    let sampling = Sampling { policies: PolicySet::ErrorsThenMarked.policies(), ..Sampling::default() };
    Arc::new(Rules::compile(&sampling).unwrap())
}
