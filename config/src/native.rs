//! Reads `sampling.rules`: our own rules, with the line of what is wrong.
//!
//! ```text
//! rule       name, when: [condition*], sampler, limit; of the list itself also budget_minimum_per_second, shadow
//! condition  {service: [name*]}  {any: [condition*]}  {not: condition}  {relative_latency: {...}}
//!            {<type of policy without chance or limit>: <its block>}
//! sampler    always_on  always_off  {probability: 0 to 1}  {parent_threshold: sampler}  {rule_based: [rule*]}
//!            {any_of: [sampler*]}  {annotating: {attributes, sampler}}  {rate_limiting: {sampler, <limit>}}
//! limit      spans_per_second | bytes_per_second | keep_one_in, by: [attribute*]
//! ```

mod condition;
mod sampler;

use std::collections::BTreeMap;

use crate::policies::fields::Fields;
use crate::policies::{Reader, items};
use crate::problem::{Fault, Findings, Source, shown};
use crate::sampling::native::{NativeRule, Sampler};
use crate::yaml::{Node, Value};

/// How deep rules, samplers and conditions may lie within one another.
/// At the bound: the configuration is refused.
const DEPTH_MAX: usize = 16;

/// Reads the list; what is wrong goes to `findings` and its rule is left out.
pub(crate) fn read(key: &str, node: &Node, at: &dyn Fn(u32) -> Source, findings: &mut Findings) -> Vec<NativeRule> {
    let mut reader = Reader { at, findings };
    let rules = read_rules(&mut reader, key, node, 0);
    let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
    for rule in &rules {
        if let Some(first) = lines.insert(&rule.name, rule.line) {
            let cause = format!("duplicate rule name \"{}\", first on line {first}", shown(&rule.name));
            reader.problem(rule.line, key, Fault::new(cause, "give each rule a name of its own"));
        }
    }
    if let Some((last, others)) = rules.split_last() {
        for rule in others.iter().filter(|rule| rule.when.is_empty() && !rule.is_shadow) {
            let text = format!(
                "matches every trace, so the rules after it, such as \"{}\", have no effect",
                shown(&last.name)
            );
            reader.note(rule.line, key, text);
        }
    }
    rules
}

/// Sets the lines of rules that do not come from a file to zero.
pub(crate) fn forget_lines(rules: &mut [NativeRule]) {
    for rule in rules {
        rule.line = 0;
        crate::policies::forget_lines(&mut rule.when);
        forget_sampler_lines(&mut rule.sampler);
    }
}

fn forget_sampler_lines(sampler: &mut Sampler) {
    match sampler {
        Sampler::RuleBased(rules) => forget_lines(rules),
        Sampler::AnyOf(samplers) => samplers.iter_mut().for_each(forget_sampler_lines),
        Sampler::ParentThreshold(inner)
        | Sampler::Annotating { sampler: inner, .. }
        | Sampler::Limited { sampler: inner, .. } => forget_sampler_lines(inner),
        Sampler::AlwaysOn | Sampler::AlwaysOff | Sampler::Probability(_) => {}
    }
}

/// Whether `depth` is allowed; says so when it is not.
fn is_shallow(reader: &mut Reader<'_>, key: &str, line: u32, depth: usize) -> bool {
    if depth > DEPTH_MAX {
        let cause = format!("lies more than {DEPTH_MAX} levels deep");
        reader.problem(line, key, Fault::new(cause, "write it flatter"));
    }
    depth <= DEPTH_MAX
}

fn read_rules(reader: &mut Reader<'_>, key: &str, node: &Node, depth: usize) -> Vec<NativeRule> {
    let Some(items) = items(reader, key, node, "rules") else { return Vec::new() };
    let one = |(index, item)| read_rule(reader, &format!("{key}[{index}]"), item, index, depth);
    items.iter().enumerate().filter_map(one).collect()
}

const RULE_KEYS: &[&str] = &["name", "when", "sampler", "limit", "budget_minimum_per_second", "shadow"];

fn read_rule(reader: &mut Reader<'_>, key: &str, node: &Node, index: usize, depth: usize) -> Option<NativeRule> {
    is_shallow(reader, key, node.line, depth).then_some(())?;
    if !matches!(node.value, Value::Map(_)) {
        let fault =
            Fault::new(format!("{} where a rule is needed", node.kind()), "write a mapping with name and sampler");
        reader.problem(node.line, key, fault);
        return None;
    }
    // Within a sampler a rule has an effect only together with its neighbours, and the budget knows the outer ones.
    let known = if depth == 0 { RULE_KEYS } else { &RULE_KEYS[..RULE_KEYS.len() - 2] };
    let mut fields = Fields::of_block(key, node, known, reader)?;
    let name = fields.text("name")?;
    let is_shadow = fields.boolean("shadow")?;
    let budget_minimum_per_second = fields.count("budget_minimum_per_second")?;
    let (when, sampler, limit) = (fields.entry("when"), fields.entry("sampler"), fields.entry("limit"));
    let line = node.get("name").map_or(node.line, |entry| entry.line);
    if name.is_empty() && depth == 0 {
        reader.problem(node.line, key, Fault::new("a rule has no name", "add `name:`"));
        return None;
    }
    let name = if name.is_empty() { format!("rule {}", index + 1) } else { name };
    let before = reader.findings.problems.len();
    let mut conditions = Vec::new();
    if let Some(when) = when {
        let key = format!("{key}.when");
        for (index, item) in items(reader, &key, &when.node, "conditions")?.iter().enumerate() {
            conditions.extend(condition::read(reader, &format!("{key}[{index}]"), item, depth + 1));
        }
    }
    let sampler = match sampler {
        Some(entry) => sampler::read(reader, &format!("{key}.sampler"), &entry.node, depth + 1)?,
        None => Sampler::AlwaysOn,
    };
    let sampler = match limit {
        Some(entry) => sampler::limited(reader, &format!("{key}.limit"), &entry.node, sampler)?,
        None => sampler,
    };
    // A rule that lost a part would keep other traces; the problem is already told.
    let sound = reader.findings.problems.len() == before;
    sound.then_some(NativeRule { name, line, when: conditions, sampler, budget_minimum_per_second, is_shadow })
}
