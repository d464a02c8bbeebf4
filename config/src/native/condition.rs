//! The conditions of a rule: what of a trace must hold. They involve neither chance nor limits, so that a rule's
//! threshold is its sampler's alone.

use super::is_shallow;
use crate::policies::fields::Fields;
use crate::policies::{Reader, items, rules};
use crate::problem::{Fault, shown};
use crate::sampling::{Policy, Rule};
use crate::yaml::{Entry, Node, Value};
use tailwater_ottl::suggest;

/// Types of policy that are conditions.
const POLICY_TYPES: &[&str] = &[
    "latency",
    "status_code",
    "string_attribute",
    "numeric_attribute",
    "boolean_attribute",
    "span_count",
    "trace_state",
    "trace_flags",
    "ottl_condition",
];
/// Our own.
const OWN_TYPES: &[&str] = &["service", "any", "not", "relative_latency"];

/// The attribute that names a service.
const SERVICE_NAME: &str = "service.name";
/// Traces of a key after which its quantile means something, when nothing is written.
const TRACES_MIN_DEFAULT: u64 = 100;

/// Reads one condition: a mapping with one key.
pub(super) fn read(reader: &mut Reader<'_>, key: &str, node: &Node, depth: usize) -> Option<Policy> {
    is_shallow(reader, key, node.line, depth).then_some(())?;
    let entry = single(reader, key, node, "a condition")?;
    let path = format!("{key}.{}", entry.key);
    let rule = match entry.key.as_str() {
        "service" => service(reader, key, node)?,
        "not" => Rule::Not(Box::new(read(reader, &path, &entry.node, depth + 1)?)),
        "any" => {
            let items = items(reader, &path, &entry.node, "conditions")?;
            let before = reader.findings.problems.len();
            let one = |(index, item)| read(reader, &format!("{path}[{index}]"), item, depth + 1);
            let conditions: Vec<Policy> = items.iter().enumerate().filter_map(one).collect();
            (reader.findings.problems.len() == before).then_some(Rule::Any(conditions))?
        }
        "relative_latency" => relative_latency(reader, &path, &entry.node)?,
        kind if POLICY_TYPES.contains(&kind) => rules::read(reader, &path, kind, kind, &entry.node)?,
        other => {
            let known = || POLICY_TYPES.iter().chain(OWN_TYPES).copied();
            let mut remedy = format!("use one of {}", known().collect::<Vec<_>>().join(", "));
            if let Some(near) = suggest::nearest(other, known()) {
                remedy = format!("did you mean `{near}`? {remedy}");
            }
            let cause = format!("unknown condition \"{}\"", shown(other));
            reader.problem(entry.line, &path, Fault::new(cause, remedy));
            return None;
        }
    };
    Some(Policy { line: entry.line, ..Policy::new(&entry.key, rule) })
}

/// The one entry of a mapping.
pub(super) fn single<'a>(reader: &mut Reader<'_>, key: &str, node: &'a Node, what: &str) -> Option<&'a Entry> {
    match &node.value {
        Value::Map(entries) if entries.len() == 1 => entries.first(),
        _ => {
            let cause = format!("{} is a mapping with one key", what);
            reader.problem(
                node.line,
                key,
                Fault::new(cause, "write each in a mapping of its own, such as {key: value}"),
            );
            None
        }
    }
}

fn service(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["service"], reader)?;
    let values = fields.texts("service")?;
    if values.is_empty() {
        fields.note("service", "names no service, so no trace matches");
    }
    Some(Rule::StringAttribute { key: SERVICE_NAME.to_string(), values, regex: false, invert: false })
}

fn relative_latency(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["quantile", "by", "at_least_ms", "traces_min"], reader)?;
    let quantile = fields.number("quantile")?;
    let by = fields.texts("by")?;
    let at_least_ms = fields.count("at_least_ms")?;
    let traces_min =
        if fields.entry("traces_min").is_some() { fields.count("traces_min")? } else { TRACES_MIN_DEFAULT };
    if !(quantile > 0.0 && quantile < 1.0) {
        let fault = Fault::new("the quantile must lie between 0 and 1", "write one such as 0.99");
        fields.refuse("quantile", fault);
        return None;
    }
    if by.is_empty() {
        let fault = Fault::new("there is nothing to compare by", "write attributes such as [service.name, http.route]");
        fields.refuse("by", fault);
        return None;
    }
    Some(Rule::RelativeLatency { quantile, by, at_least_ms, traces_min })
}
