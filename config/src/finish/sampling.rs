//! The checks of how traces are held and judged, for the node's only way or for each of its pipelines.

use std::time::Duration;

use super::Checks;
use crate::draft::Draft;
use crate::problem::{Fault, Source, shown};
use crate::sampling::{Rule, Sampling, Strategy, Thresholds};
use crate::value::show_duration;

/// Longest time from the first span to the verdict when traces end by inactivity and nothing is written.
const TRACE_DURATION_DEFAULT: Duration = Duration::from_secs(3600);

/// The section of a pipeline; of the only way, whose pipeline has no name, `sampling`.
pub(super) fn prefix(pipeline: &str) -> String {
    if pipeline.is_empty() { "sampling".to_string() } else { format!("pipelines.{pipeline}") }
}

/// Checks every way, and fills in what was left open.
pub(super) fn samplings(draft: &mut Draft, checks: &mut Checks<'_>) {
    if draft.config.pipelines.is_empty() {
        return one(&mut draft.config.sampling, checks, &prefix(""));
    }
    for pipeline in &mut draft.config.pipelines {
        one(&mut pipeline.sampling, checks, &prefix(&pipeline.name));
    }
}

fn one(sampling: &mut Sampling, checks: &mut Checks<'_>, prefix: &str) {
    waits(sampling, checks, prefix);
    strategy(sampling, checks, prefix);
    thresholds(sampling, checks, prefix);
    rules(sampling, checks, prefix);
}

/// How a trace ends when it ends by inactivity.
fn waits(sampling: &mut Sampling, checks: &mut Checks<'_>, prefix: &str) {
    let key = format!("{prefix}.max_trace_duration");
    let key = key.as_str();
    if sampling.inactivity_timeout.is_zero() {
        if !sampling.max_trace_duration.is_zero() {
            let text =
                "has no effect without sampling.inactivity_timeout: sampling.decision_wait bounds a trace's life";
            checks.note(key, text);
        }
        return;
    }
    if sampling.max_trace_duration.is_zero() {
        if checks.sources.contains_key(key) {
            let cause = "a trace that goes on for ever would never be judged";
            checks.refuse(key, Some("0s".to_string()), cause, "write how long a trace may last, such as 1h");
            return;
        }
        sampling.max_trace_duration = TRACE_DURATION_DEFAULT.max(sampling.inactivity_timeout);
    }
    if sampling.inactivity_timeout > sampling.max_trace_duration {
        let value = Some(show_duration(sampling.inactivity_timeout));
        let remedy = "lower it, or raise sampling.max_trace_duration";
        let key = format!("{prefix}.inactivity_timeout");
        checks.refuse(&key, value, "is longer than sampling.max_trace_duration", remedy);
    }
}

/// What cannot be evaluated on a piece of a trace.
fn strategy(sampling: &Sampling, checks: &mut Checks<'_>, prefix: &str) {
    if sampling.strategy != Strategy::SpanIngest {
        return;
    }
    let key = format!("{prefix}.policies");
    let key = key.as_str();
    for policy in sampling.policies.iter().filter(|policy| policy.rule.is_stateful()) {
        let source = match checks.source(key) {
            Source::File { name, .. } if policy.line > 0 => Source::File { name, line: policy.line },
            other => other,
        };
        let cause = format!(
            "sampling_strategy \"span-ingest\" requires all policies to be stateless, but policy \"{}\" is stateful",
            shown(&policy.name)
        );
        let remedy = "remove the policy or its upper bound, or write trace-complete";
        checks.findings.problem(source, key, None, Fault::new(cause, remedy));
    }
    if sampling.policies.iter().any(|policy| matches!(policy.rule, Rule::Drop(_))) {
        let text = "with span-ingest and a drop policy no trace is ever sampled, as in the Collector: a later span might \
                    still have it dropped";
        checks.note(key, text);
    }
}

/// A Collector's file has the Collector's verdicts, which is worth a word as long as nobody has chosen them.
fn rules(sampling: &mut Sampling, checks: &mut Checks<'_>, prefix: &str) {
    let key = format!("{prefix}.rules");
    let key = key.as_str();
    let (spans, bytes) = (sampling.budget_spans_per_second, sampling.budget_bytes_per_second);
    if sampling.rules.is_empty() {
        if spans > 0 || bytes > 0 {
            let unit = if spans > 0 { "spans" } else { "bytes" };
            let key = format!("{prefix}.budget.{unit}_per_second");
            checks.note(&key, "has no effect without sampling.rules");
        }
        if sampling.policies.is_empty() && checks.findings.problems.is_empty() {
            let key = format!("{prefix}.policies");
            checks.note(&key, "no policies: every trace is dropped");
        }
        return;
    }
    let has_policies = checks.sources.contains_key(&format!("{prefix}.policies")) && !sampling.policies.is_empty();
    if has_policies && prefix != self::prefix("") && !checks.sources.contains_key(key) {
        // The pipeline says policies, and the rules are those of `sampling`, which hold where it says nothing.
        sampling.rules.clear();
        return;
    }
    if has_policies {
        checks.refuse(key, None, "there are both sampling.policies and sampling.rules", "keep one of the two");
    }
    sampling.policies.clear();
    if sampling.thresholds == Thresholds::Collector {
        let remedy = "write sampling.thresholds: otep235, or policies in place of the rules";
        checks.refuse(key, None, "rules need thresholds, and sampling.thresholds is collector", remedy);
    }
    if sampling.strategy == Strategy::SpanIngest {
        let remedy = "write sampling.strategy: trace-complete";
        checks.refuse(key, None, "rules judge whole traces, and sampling.strategy is span-ingest", remedy);
    }
    if spans > 0 && bytes > 0 {
        checks.refuse(key, None, "there are budgets in spans and in bytes", "keep one of the two");
    }
    let promised = sampling.rules.iter().map(|rule| rule.budget_minimum_per_second);
    let promised = promised.fold(0u64, u64::saturating_add);
    if promised > spans.max(bytes) {
        let cause = format!("the rules' budget_minimum_per_second sum to {promised}, more than the budget");
        checks.refuse(key, None, cause, "raise sampling.budget, or lower them");
    }
}

fn thresholds(sampling: &Sampling, checks: &mut Checks<'_>, prefix: &str) {
    let key = format!("{prefix}.thresholds");
    let chosen = checks.sources.contains_key(&key);
    if chosen || sampling.thresholds != Thresholds::Collector || !checks.sources.contains_key(prefix) {
        return;
    }
    let text = "verdicts are the Collector's, and tracestate is left as it came; for thresholds that downstream can count \
                with (OTEP 235) use --sampling-thresholds=otep235 or TAILWATER_SAMPLING_THRESHOLDS=otep235";
    checks.findings.note(checks.source(prefix), &key, text);
}
