//! What a trial found: figures for each policy, the difference to another configuration, as text and as JSON.

use super::capture::Capture;
use serde_json::{Value, json};
use std::collections::{BTreeMap, HashMap};
use std::fmt::Write;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::trial::{Judgement, Trial};
use tailwater_engine::vocabulary::{TraceId, Verdict};

/// Ids shown of each kind of difference.
const EXAMPLES_MAX: usize = 5;

/// Traces with their spans and bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Sum {
    traces: u64,
    spans: u64,
    bytes: u64,
}

impl Sum {
    fn add(&mut self, judgement: &Judgement<'_>) {
        self.traces += 1;
        self.spans += u64::from(judgement.spans);
        self.bytes += u64::from(judgement.bytes);
    }

    fn json(self) -> Value {
        json!({ "traces": self.traces, "spans": self.spans, "bytes": self.bytes })
    }

    /// With its parts of what was seen, in percent.
    fn json_of(self, seen: Self) -> Value {
        let mut said = self.json();
        said["traces_percent"] = (f64::from(hundredths(self.traces, seen.traces)) / 100.0).into();
        said["spans_percent"] = (f64::from(hundredths(self.spans, seen.spans)) / 100.0).into();
        said["bytes_percent"] = (f64::from(hundredths(self.bytes, seen.bytes)) / 100.0).into();
        said
    }
}

/// A part in hundredths of a percent, rounded; 0 of nothing.
fn hundredths(part: u64, whole: u64) -> u32 {
    let (part, whole) = (u128::from(part), u128::from(whole));
    u32::try_from((part * 10_000 + whole / 2).checked_div(whole).unwrap_or(0)).unwrap_or(u32::MAX)
}

fn percent(part: u64, whole: u64) -> String {
    let hundredths = hundredths(part, whole);
    format!("{}.{:02} %", hundredths / 100, hundredths % 100)
}

/// What one policy did.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct PolicyReport {
    name: String,
    kind: PolicyKind,
    /// Traces it sampled, or would have dropped.
    matched: u64,
    /// Traces on which it could not be evaluated.
    failed: u64,
    /// Traces kept in its name; for a shadow, those that would be.
    first: Sum,
    /// Traces that no other policy would have kept; for a shadow, those that are dropped without it.
    alone: Sum,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum PolicyKind {
    #[default]
    Keeps,
    Drops,
    Shadow,
}

impl PolicyKind {
    fn word(self) -> &'static str {
        match self {
            Self::Keeps => "keeps",
            Self::Drops => "drops",
            Self::Shadow => "shadow",
        }
    }
}

/// What one configuration makes of a capture.
#[derive(Debug)]
pub struct Report {
    seen: Sum,
    kept: Sum,
    policies: Vec<PolicyReport>,
    /// What each trace came to: the policy that kept it, or why it was dropped.
    fates: HashMap<TraceId, Result<u16, DropReason>>,
}

impl Report {
    /// Judges everything.
    pub fn of(trial: Trial) -> Self {
        let kind = |number: u16| match (trial.rules().is_shadow(number), trial.rules().is_drop(number)) {
            (true, _) => PolicyKind::Shadow,
            (false, true) => PolicyKind::Drops,
            (false, false) => PolicyKind::Keeps,
        };
        let names = (0..).zip(trial.rules().policy_names());
        let policies = names
            .map(|(number, name)| PolicyReport { name: name.to_string(), kind: kind(number), ..Default::default() })
            .collect();
        let mut report = Self { seen: Sum::default(), kept: Sum::default(), policies, fates: HashMap::new() };
        trial.finish(|judgement| report.note(judgement));
        report
    }

    fn note(&mut self, judgement: &Judgement<'_>) {
        self.seen.add(judgement);
        let fate = match judgement.ballot.verdict {
            Verdict::Keep(policy) => Ok(policy),
            Verdict::Drop => Err(judgement.ballot.drop_reason),
        };
        // A trace that was forgotten while nothing decided it may be kept when it comes again.
        let known = self.fates.entry(*judgement.trace_id).or_insert(fate);
        if fate.is_ok() {
            *known = fate;
        }
        let keepers = self.policies.iter().zip(judgement.votes);
        let keepers = keepers.filter(|(policy, vote)| policy.kind == PolicyKind::Keeps && vote.matched > 0).count();
        for (policy, vote) in self.policies.iter_mut().zip(judgement.votes) {
            policy.matched += vote.matched;
            policy.failed += vote.failed;
            if vote.decided > 0 {
                policy.first.add(judgement);
            }
            if vote.alone > 0 && policy.kind == PolicyKind::Shadow {
                policy.alone.add(judgement);
            }
            if fate.is_ok() && keepers == 1 && vote.matched > 0 && policy.kind == PolicyKind::Keeps {
                policy.alone.add(judgement);
            }
        }
        if fate.is_ok() {
            self.kept.add(judgement);
        }
    }

    fn name(&self, policy: u16) -> &str {
        self.policies.get(usize::from(policy)).map_or("", |policy| policy.name.as_str())
    }

    fn json(&self) -> Value {
        let policies = self.policies.iter().map(|policy| {
            json!({
                "policy": policy.name,
                "kind": policy.kind.word(),
                "matched": policy.matched,
                "matched_percent": f64::from(hundredths(policy.matched, self.seen.traces)) / 100.0,
                "failed": policy.failed,
                "first": policy.first.json_of(self.seen),
                "alone": policy.alone.json_of(self.seen),
            })
        });
        json!({ "seen": self.seen.json(), "kept": self.kept.json_of(self.seen), "policies": policies.collect::<Vec<_>>() })
    }
}

/// Traces that one configuration keeps and the other does not, by the policy that keeps them.
#[derive(Debug, Default)]
pub struct Comparison {
    other: Option<Report>,
    /// Kept by the configuration tried.
    gained: BTreeMap<String, Difference>,
    /// Kept by the other one.
    lost: BTreeMap<String, Difference>,
}

#[derive(Debug, Default)]
struct Difference {
    traces: u64,
    examples: Vec<String>,
}

impl Difference {
    fn add(&mut self, trace_id: &TraceId) {
        self.traces += 1;
        if self.examples.len() < EXAMPLES_MAX {
            self.examples.push(trace_id.iter().fold(String::new(), |mut text, byte| {
                _ = write!(text, "{byte:02x}");
                text
            }));
        }
    }
}

impl Comparison {
    /// Of the configuration tried with another, which met the same capture.
    pub fn of(report: &Report, other: Report) -> Self {
        let mut comparison = Self::default();
        let mut ids: Vec<&TraceId> = report.fates.keys().collect();
        // Examples are the same each time.
        ids.sort_unstable();
        for id in ids {
            match (report.fates.get(id), other.fates.get(id)) {
                (Some(Ok(policy)), Some(Err(_))) => {
                    comparison.gained.entry(report.name(*policy).to_string()).or_default().add(id);
                }
                (Some(Err(reason)), Some(Ok(policy))) => {
                    let dropped = if *reason == DropReason::DropPolicy { ", now dropped by a drop policy" } else { "" };
                    let name = format!("{}{dropped}", other.name(*policy));
                    comparison.lost.entry(name).or_default().add(id);
                }
                _ => {}
            }
        }
        comparison.other = Some(other);
        comparison
    }
}

/// As one JSON object.
pub fn json(capture: &Capture, report: &Report, comparison: Option<&Comparison>) -> Value {
    let mut said = report.json();
    said["requests"] = capture.requests.into();
    said["refused"] = capture.refused.into();
    said["unreadable"] = capture.faults_count().into();
    if let Some(comparison) = comparison {
        let differences = |differences: &BTreeMap<String, Difference>| {
            let each = differences.iter().map(|(policy, difference)| {
                json!({ "policy": policy, "traces": difference.traces, "examples": difference.examples })
            });
            each.collect::<Vec<_>>()
        };
        said["against"] = comparison.other.as_ref().map(Report::json).unwrap_or_default();
        said["kept_now"] = differences(&comparison.gained).into();
        said["kept_before"] = differences(&comparison.lost).into();
    }
    said
}

/// The objects of all pipelines as one; that of the only way as it is.
pub fn of_pipelines(mut said: Vec<(String, Value)>) -> Value {
    match said.as_slice() {
        [(name, _)] if name.is_empty() => said.swap_remove(0).1,
        _ => {
            let each = said.into_iter().map(|(name, mut said)| {
                said["pipeline"] = name.into();
                said
            });
            json!({ "pipelines": each.collect::<Vec<_>>() })
        }
    }
}

/// For people.
pub fn text(capture: &Capture, report: &Report, comparison: Option<&Comparison>) -> String {
    let mut out = String::new();
    let Sum { traces, spans, bytes } = report.seen;
    let requests = capture.requests;
    _ = writeln!(out, "in    {traces} traces, {spans} spans, {} in {requests} requests", size(bytes));
    if capture.refused > 0 || capture.faults_count() > 0 {
        _ = writeln!(out, "      {} refused, {} unreadable", capture.refused, capture.faults_count());
    }
    _ = writeln!(out, "out   {}", share(report.kept, report.seen));
    if let Some(other) = comparison.and_then(|comparison| comparison.other.as_ref()) {
        _ = writeln!(out, "      {} with the other configuration", share(other.kept, other.seen));
    }
    let width = report.policies.iter().map(|policy| policy.name.chars().count()).max().unwrap_or(0).max("policy".len());
    _ = writeln!(
        out,
        "\n{:<width$}  {:<6}  {:>20}  {:>20}  {:>20}  {:>22}  {:>12}",
        "policy", "", "matched", "first", "alone", "spans out", "bytes out"
    );
    for PolicyReport { name, kind, matched, failed, first, alone } in &report.policies {
        let failed = if *failed > 0 { format!("  failed on {failed}") } else { String::new() };
        let of_traces = |traces: u64| format!("{traces:>10} {:>9}", percent(traces, report.seen.traces));
        _ = writeln!(
            out,
            "{name:<width$}  {:<6}  {}  {}  {}  {:>12} {:>9}  {:>12}{failed}",
            kind.word(),
            of_traces(*matched),
            of_traces(first.traces),
            of_traces(alone.traces),
            first.spans,
            percent(first.spans, report.seen.spans),
            first.bytes
        );
    }
    out.push_str(
        "\nmatched: traces it samples. first: traces kept in its name. alone: traces that no other policy keeps.\nPercentages are of all traces, or of all spans, in the capture.\n",
    );
    if report.policies.iter().any(|policy| policy.kind == PolicyKind::Shadow) {
        out.push_str("A shadow has no effect; its first are the traces that would be kept in its name, its alone those of them that are dropped without it.\n");
    }
    if let Some(comparison) = comparison {
        differences(&mut out, "kept now, not by the other configuration", &comparison.gained);
        differences(&mut out, "kept by the other configuration, not now", &comparison.lost);
    }
    out
}

fn differences(out: &mut String, title: &str, differences: &BTreeMap<String, Difference>) {
    let traces: u64 = differences.values().map(|difference| difference.traces).sum();
    _ = writeln!(out, "\n{title}: {traces} traces");
    for (policy, Difference { traces, examples }) in differences {
        _ = writeln!(out, "  {traces:>10}  by {policy}, such as {}", examples.join(" "));
    }
}

fn share(kept: Sum, seen: Sum) -> String {
    let Sum { traces, spans, bytes } = kept;
    format!(
        "{traces} traces ({}), {spans} spans ({}), {} ({} of the bytes)",
        percent(traces, seen.traces),
        percent(spans, seen.spans),
        size(bytes),
        percent(bytes, seen.bytes)
    )
}

/// A size as people read it, in tenths of its unit.
fn size(bytes: u64) -> String {
    let (unit, shift) = if bytes < 1 << 20 { ("KiB", 10) } else { ("MiB", 20) };
    format!("{}.{} {unit}", bytes >> shift, (bytes >> (shift - 10)) % 1024 * 10 / 1024)
}

#[cfg(test)]
mod tests {
    use super::{percent, size};

    #[test]
    fn parts_are_rounded_to_hundredths_of_a_percent() {
        assert_eq!(
            [percent(1, 3), percent(2, 3), percent(7, 7), percent(0, 0)],
            ["33.33 %", "66.67 %", "100.00 %", "0.00 %"]
        );
    }

    #[test]
    fn sizes_are_shown_in_tenths() {
        assert_eq!((size(1536).as_str(), size(5 << 19).as_str()), ("1.5 KiB", "2.5 MiB"));
    }
}
