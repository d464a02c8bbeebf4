//! Sampling policies from the Collector's shape: its types, its nesting rules and its errors, each with the line.
//!
//! A block has the name of its policy's type. Unknown keys inside a block are refused, as the Collector does. An unknown
//! mapping beside the block is accepted there (it might be meant for an extension), so here it is a note.

mod budgets;
pub(crate) mod fields;
pub(crate) mod rules;

use std::collections::BTreeMap;

pub(crate) use budgets::percent_of;

use crate::problem::{Fault, Findings, Source, shown};
use crate::sampling::{Policy, Rule};
use crate::yaml::{Node, Value};
use tailwater_ottl::suggest;

/// The types of policy.
const TYPES: &[&str] = &[
    "always_sample",
    "latency",
    "numeric_attribute",
    "probabilistic",
    "status_code",
    "string_attribute",
    "rate_limiting",
    "bytes_limiting",
    "span_count",
    "trace_state",
    "trace_flags",
    "boolean_attribute",
    "ottl_condition",
    "and",
    "not",
    "drop",
    "composite",
];

/// Most policies of a list; a verdict is a vote of all of them.
/// At the bound: the configuration is refused, as it is where all rules together have more than 65,535 leaves.
const POLICIES_MAX: usize = 1000;

/// The list of our own file, whose policies may be shadows.
const NATIVE_LIST: &str = "sampling.policies";

/// Where a policy stands, which bounds the types it may have.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Level {
    Top,
    /// In `and` or `drop`.
    List,
    /// In `composite`.
    Composite,
    /// In `not`.
    Not,
}

impl Level {
    fn allows(self, kind: &str) -> bool {
        match self {
            Self::Top => true,
            Self::List => !matches!(kind, "and" | "drop" | "composite"),
            Self::Composite => !matches!(kind, "not" | "drop" | "composite"),
            Self::Not => !matches!(kind, "and" | "drop" | "composite" | "not"),
        }
    }
}

/// Types that can do without the block of their name, with what is hardly meant.
const READS_BLANKS: &[&str] = &[
    "latency",
    "probabilistic",
    "string_attribute",
    "boolean_attribute",
    "span_count",
    "rate_limiting",
    "bytes_limiting",
    "trace_state",
    "and",
    "drop",
    "composite",
];

/// What a reading needs everywhere: where lines are and who is told.
pub(crate) struct Reader<'a> {
    pub(crate) at: &'a dyn Fn(u32) -> Source,
    pub(crate) findings: &'a mut Findings,
}

impl Reader<'_> {
    pub(crate) fn problem(&mut self, line: u32, key: &str, fault: Fault) {
        self.findings.problem((self.at)(line), key, None, fault);
    }

    pub(crate) fn note(&mut self, line: u32, key: &str, text: String) {
        self.findings.note((self.at)(line), key, text);
    }
}

/// Reads a list of policies; what is wrong goes to `findings` and its policy is left out.
pub(crate) fn read(key: &str, node: &Node, at: &dyn Fn(u32) -> Source, findings: &mut Findings) -> Vec<Policy> {
    let mut reader = Reader { at, findings };
    let policies = read_list(&mut reader, key, node, Level::Top);
    let mut lines: BTreeMap<&str, u32> = BTreeMap::new();
    for policy in &policies {
        if let Some(first) = lines.insert(&policy.name, policy.line) {
            let cause = format!("duplicate policy name \"{}\", first on line {first}", shown(&policy.name));
            reader.problem(policy.line, key, Fault::new(cause, "give each policy a name of its own"));
        }
    }
    policies
}

/// Sets the lines of policies that do not come from a file to zero.
pub(crate) fn forget_lines(policies: &mut [Policy]) {
    for policy in policies {
        policy.line = 0;
        match &mut policy.rule {
            Rule::And(inner) | Rule::Drop(inner) | Rule::Any(inner) => forget_lines(inner),
            Rule::Composite { policies: inner, .. } => {
                inner.iter_mut().for_each(|(policy, _)| forget_lines(std::slice::from_mut(policy)));
            }
            Rule::Not(inner) => forget_lines(std::slice::from_mut(inner)),
            _ => {}
        }
    }
}

/// The items of a list; `None`, and told, when it is none or too long.
pub(crate) fn items<'a>(reader: &mut Reader<'_>, key: &str, node: &'a Node, what: &str) -> Option<&'a [Node]> {
    let items = match &node.value {
        Value::List(items) => items.as_slice(),
        _ if node.is_null() => &[],
        _ => {
            let fault = Fault::new(format!("{} where a list of {what} is needed", node.kind()), "write a list");
            reader.problem(node.line, key, fault);
            return None;
        }
    };
    if items.len() > POLICIES_MAX {
        let fault = Fault::new(format!("{} {what}", items.len()), format!("write at most {POLICIES_MAX}"));
        reader.problem(node.line, key, fault);
        return None;
    }
    Some(items)
}

fn read_list(reader: &mut Reader<'_>, key: &str, node: &Node, level: Level) -> Vec<Policy> {
    let Some(items) = items(reader, key, node, "policies") else { return Vec::new() };
    let one = |(index, item)| read_policy(reader, &format!("{key}[{index}]"), item, level);
    items.iter().enumerate().filter_map(one).collect()
}

fn read_policy(reader: &mut Reader<'_>, key: &str, node: &Node, level: Level) -> Option<Policy> {
    let Value::Map(entries) = &node.value else {
        let fault =
            Fault::new(format!("{} where a policy is needed", node.kind()), "write a mapping with name and type");
        reader.problem(node.line, key, fault);
        return None;
    };
    let mut head = fields::Fields::of_policy(key, node, reader);
    let name = head.text("name")?;
    let kind = head.text("type")?;
    let may_be_shadow = level == Level::Top && key.starts_with(NATIVE_LIST);
    let is_shadow = may_be_shadow && head.boolean("shadow")?;
    if name.is_empty() && level == Level::Top {
        reader.problem(node.line, key, Fault::new("policy name cannot be empty", "add `name:`"));
        return None;
    }
    let line = node.get("name").map_or(node.line, |entry| entry.line);
    let type_line = node.get("type").map_or(node.line, |entry| entry.line);
    check_type(reader, key, &name, &kind, type_line, level)?;
    let is_own =
        |entry: &str| matches!(entry, "name" | "type") || entry == kind || (may_be_shadow && entry == "shadow");
    for entry in entries.iter().filter(|entry| !is_own(&entry.key)) {
        foreign_entry(reader, key, &kind, entry);
    }
    let is_written = node.get(&kind).is_some_and(|entry| !entry.node.is_null());
    if !is_written && READS_BLANKS.contains(&kind.as_str()) {
        let text = "is missing, so that all in it counts as 0, false or empty, as in the Collector".to_string();
        reader.note(type_line, &format!("{key}.{kind}"), text);
    }
    let null = Node::null(node.line);
    let block = node.get(&kind).map_or(&null, |entry| &entry.node);
    let rule = rules::read(reader, &format!("{key}.{kind}"), &name, &kind, block)?;
    Some(Policy { name, line, rule, is_shadow })
}

fn check_type(reader: &mut Reader<'_>, key: &str, name: &str, kind: &str, line: u32, level: Level) -> Option<()> {
    let key = format!("{key}.type");
    let failed = format!("failed to create policy evaluator for \"{}\": ", shown(name));
    let known = TYPES.contains(&kind);
    if !known || !level.allows(kind) {
        let mut remedy = format!("use one of {}", allowed(level).collect::<Vec<_>>().join(", "));
        if let Some(near) = suggest::nearest(kind, allowed(level)) {
            remedy = format!("did you mean `{near}`? {remedy}");
        }
        let place = if known { " at this level" } else { "" };
        let cause = format!("{failed}unknown sampling policy type \"{}\"{place}", shown(kind));
        reader.problem(line, &key, Fault::new(cause, remedy));
        return None;
    }
    Some(())
}

fn allowed(level: Level) -> impl Iterator<Item = &'static str> {
    TYPES.iter().copied().filter(move |kind| level.allows(kind))
}

/// A key beside `name`, `type` and the type's own block.
fn foreign_entry(reader: &mut Reader<'_>, key: &str, kind: &str, entry: &crate::yaml::Entry) {
    let path = format!("{key}.{}", entry.key);
    let known = TYPES.contains(&entry.key.as_str());
    let is_block = matches!(entry.node.value, Value::Map(_)) || entry.node.is_null();
    if known && is_block {
        reader.note(entry.line, &path, format!("has no effect, because the policy's type is `{kind}`"));
    } else if is_block {
        let near = suggest::nearest(&entry.key, std::iter::once(kind));
        let hint = near.map_or_else(String::new, |near| format!("; did you mean `{near}`?"));
        reader.note(entry.line, &path, format!("unknown, has no effect{hint}"));
    } else {
        let near = suggest::nearest(&entry.key, ["name", "type", kind].into_iter());
        let remedy = near
            .map_or_else(|| format!("remove it, or put it under `{kind}:`"), |near| format!("did you mean `{near}`?"));
        reader.problem(entry.line, &path, Fault::new("unknown key", remedy));
    }
}
