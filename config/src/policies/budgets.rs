//! The policies that have a budget: rate_limiting, bytes_limiting, and composite with the share of each sub-policy.

use std::collections::BTreeMap;

use super::fields::Fields;
use super::{Level, Reader, read_list};
use crate::problem::{Fault, shown};
use crate::sampling::{Policy, Rule};
use crate::yaml::{Node, Value};

pub(super) fn rate_limiting(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let (spans_per_second, burst_capacity) = bucket(reader, key, node, "spans_per_second")?;
    Some(Rule::RateLimiting { spans_per_second, burst_capacity })
}

pub(super) fn bytes_limiting(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let (bytes_per_second, burst_capacity) = bucket(reader, key, node, "bytes_per_second")?;
    Some(Rule::BytesLimiting { bytes_per_second, burst_capacity })
}

/// The refill of a bucket and its size, which is 0 when it is to be worked out.
fn bucket(reader: &mut Reader<'_>, key: &str, node: &Node, refill: &'static str) -> Option<(i64, i64)> {
    let mut fields = Fields::of_block(key, node, &[refill, "burst_capacity"], reader)?;
    let rate = fields.integer(refill)?;
    let burst = fields.integer("burst_capacity")?.max(0);
    if rate <= 0 && burst == 0 {
        fields.note(refill, "is not above 0, so this policy never samples");
    } else if rate <= 0 {
        fields.note(
            refill,
            "is not above 0, so this policy samples until its burst_capacity is used up, and never again",
        );
    }
    Some((rate, burst))
}

pub(super) fn composite(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    const KEYS: [&str; 4] = ["max_total_spans_per_second", "policy_order", "composite_sub_policy", "rate_allocation"];
    let mut fields = Fields::of_block(key, node, &KEYS, reader)?;
    let total = fields.integer("max_total_spans_per_second")?;
    if total <= 0 {
        fields.note("max_total_spans_per_second", "is not above 0, so this policy never samples");
    }
    if !fields.texts("policy_order")?.is_empty() {
        fields.note(
            "policy_order",
            "has no effect, as in the Collector: composite_sub_policy is the order of evaluation",
        );
    }
    let shares = fields.entry("rate_allocation").map(|entry| (entry.line, &entry.node));
    let list = fields.entry("composite_sub_policy");
    let policies = match list {
        Some(entry) => {
            let before = reader.findings.problems.len();
            let list = format!("{key}.composite_sub_policy");
            let policies = read_list(reader, &list, &entry.node, Level::Composite);
            // A rule that lost a part would keep other traces; the problem is already told.
            (reader.findings.problems.len() == before).then_some(policies)?
        }
        None => {
            fields.note("composite_sub_policy", "is empty, so this policy never samples");
            Vec::new()
        }
    };
    let percents = match shares {
        Some((line, node)) => allocation(reader, &format!("{key}.rate_allocation"), line, node, &policies)?,
        None => BTreeMap::new(),
    };
    let count = policies.len();
    let share = |policy: &Policy| spans_per_second(total, count, percents.get(&policy.name).copied());
    let policies = policies
        .into_iter()
        .map(|policy| {
            let share = share(&policy);
            (policy, share)
        })
        .collect();
    Some(Rule::Composite { spans_per_second_max: total, policies })
}

/// The percentage of each policy that is listed; the last one counts.
fn allocation(
    reader: &mut Reader<'_>,
    key: &str,
    line: u32,
    node: &Node,
    policies: &[Policy],
) -> Option<BTreeMap<String, i64>> {
    let Value::List(items) = &node.value else {
        let cause = format!("{} where a list is needed", node.kind());
        reader.problem(line, key, Fault::new(cause, "write a list of {policy, percent}"));
        return None;
    };
    let mut percents = BTreeMap::new();
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        let mut fields = Fields::of_block(&key, item, &["policy", "percent"], reader)?;
        let (name, percent) = (fields.text("policy")?, fields.integer("percent")?);
        if !policies.iter().any(|policy| policy.name == name) {
            fields.note("policy", &format!("`{}` is no sub-policy here, has no effect", shown(&name)));
        } else if percent <= 0 {
            fields.note("percent", "is not above 0 and counts as the share of a sub-policy that is not listed");
        }
        percents.insert(name, percent);
    }
    Some(percents)
}

/// The spans a second of a sub-policy: its percentage of the total, or an equal part when it has none.
#[allow(
    clippy::cast_precision_loss,
    clippy::cast_possible_truncation,
    reason = "the Collector works this out in double precision and cuts off the fraction"
)]
pub(crate) fn spans_per_second(total: i64, policies: usize, percent: Option<i64>) -> i64 {
    let total = total as f64;
    let share = match percent {
        Some(percent) if percent > 0 => percent as f64 / 100.0 * total,
        _ => total / policies as f64,
    };
    share as i64
}

/// A percentage that comes to `share` of the total; `None` when that is the share of one that is not listed, or when no
/// percentage does.
pub(crate) fn percent_of(total: i64, policies: usize, share: i64) -> Option<i64> {
    let of = |percent| spans_per_second(total, policies, Some(percent));
    if share == spans_per_second(total, policies, None) {
        return None;
    }
    // Shares grow with the percentage, or fall when the total is below zero.
    let (mut low, mut high) = (1, i64::MAX);
    while low < high {
        let middle = low + (high - low) / 2;
        let reached = if total < 0 { of(middle) <= share } else { of(middle) >= share };
        if reached { high = middle } else { low = middle + 1 }
    }
    (of(low) == share).then_some(low)
}
