//! The block of each policy type to its rule, with the Collector's constructor errors.

use super::fields::Fields;
use super::{Level, Reader, budgets, read_list, read_policy};
use crate::problem::{Fault, shown};
use crate::sampling::{ErrorMode, Policy, Rule};
use crate::yaml::{Node, Value};
use tailwater_ottl::pattern;
use tailwater_ottl::{self as ottl, Context, OttlError};

/// Above so many bytes of key and value together the Collector takes no notice of a value of tracestate.
const TRACE_STATE_MEMBER_BYTES_MAX: usize = 255;

/// Reads the block of a policy whose type is known and may stand where it stands.
pub(crate) fn read(reader: &mut Reader<'_>, key: &str, name: &str, kind: &str, node: &Node) -> Option<Rule> {
    let failed = format!("failed to create policy evaluator for \"{}\": ", shown(name));
    match kind {
        "latency" => latency(reader, key, node),
        "numeric_attribute" => numeric_attribute(reader, key, node, &failed),
        "probabilistic" => probabilistic(reader, key, node),
        "status_code" => status_code(reader, key, node, &failed),
        "string_attribute" => string_attribute(reader, key, node, &failed),
        "span_count" => span_count(reader, key, node),
        "boolean_attribute" => boolean_attribute(reader, key, node),
        "rate_limiting" => budgets::rate_limiting(reader, key, node),
        "bytes_limiting" => budgets::bytes_limiting(reader, key, node),
        "trace_state" => trace_state(reader, key, node),
        "trace_flags" => no_keys(reader, key, node, Rule::TraceFlags),
        "ottl_condition" => ottl_condition(reader, key, node, &failed),
        "and" => sub_policies(reader, key, node, "and_sub_policy").map(Rule::And),
        "drop" => sub_policies(reader, key, node, "drop_sub_policy").map(Rule::Drop),
        "not" => not(reader, key, node),
        "composite" => budgets::composite(reader, key, node),
        _ => no_keys(reader, key, node, Rule::AlwaysSample),
    }
}

/// A type without keys. What stands in a block of its name is for nobody, there as here.
fn no_keys(reader: &mut Reader<'_>, key: &str, node: &Node, rule: Rule) -> Option<Rule> {
    match &node.value {
        Value::Map(entries) if entries.is_empty() => {}
        Value::Map(_) => reader.note(node.line, key, "this type of policy has no keys, has no effect".to_string()),
        _ if node.is_null() => {}
        _ => {
            let fault = Fault::new(format!("{} where a mapping is needed", node.kind()), "remove it");
            reader.problem(node.line, key, fault);
            return None;
        }
    }
    Some(rule)
}

fn latency(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["threshold_ms", "upper_threshold_ms"], reader)?;
    let threshold_ms = fields.integer("threshold_ms")?;
    let upper_threshold_ms = fields.integer("upper_threshold_ms")?;
    if upper_threshold_ms != 0 && upper_threshold_ms <= threshold_ms {
        fields.note("upper_threshold_ms", "is not above threshold_ms, so this policy never samples");
    }
    Some(Rule::Latency { threshold_ms, upper_threshold_ms })
}

fn numeric_attribute(reader: &mut Reader<'_>, key: &str, node: &Node, failed: &str) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["key", "min_value", "max_value", "invert_match"], reader)?;
    let attribute = fields.text("key")?;
    let (min, max) = (fields.integer("min_value")?, fields.integer("max_value")?);
    let invert = fields.boolean("invert_match")?;
    if min == 0 && max == 0 {
        // The Collector logs this and panics at the first trace.
        let cause = format!("{failed}at least one of min_value and max_value must be set and not 0");
        fields.refuse("min_value", Fault::new(cause, "0 means no bound: set the other bound, or use 1 or -1"));
        return None;
    }
    // An explicit zero is the same as no bound.
    let min = if min == 0 { i64::MIN } else { min };
    let max = if max == 0 { i64::MAX } else { max };
    if min > max {
        fields.note("min_value", "is above max_value, so no value is within the bounds");
    }
    Some(Rule::NumericAttribute { key: attribute, min, max, invert })
}

fn probabilistic(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["hash_salt", "sampling_percentage"], reader)?;
    let hash_salt = fields.text("hash_salt")?;
    let sampling_percentage = fields.number("sampling_percentage")?;
    if !(0.0..=100.0).contains(&sampling_percentage) {
        fields.note("sampling_percentage", "is outside 0 to 100 and counts as the nearer of the two");
    }
    Some(Rule::Probabilistic { hash_salt, sampling_percentage })
}

fn status_code(reader: &mut Reader<'_>, key: &str, node: &Node, failed: &str) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["status_codes"], reader)?;
    let codes = fields.texts("status_codes")?;
    if codes.is_empty() {
        let cause = format!("{failed}expected at least one status code to filter on");
        fields.refuse("status_codes", Fault::new(cause, "write a list of OK, ERROR, UNSET"));
        return None;
    }
    let (mut ok, mut error, mut unset) = (false, false, false);
    for code in codes {
        match code.as_str() {
            "OK" => ok = true,
            "ERROR" => error = true,
            "UNSET" => unset = true,
            other => {
                let cause = format!("{failed}unknown status code \"{}\", supported: OK, ERROR, UNSET", shown(other));
                fields.refuse("status_codes", Fault::new(cause, "write it in capitals"));
                return None;
            }
        }
    }
    Some(Rule::StatusCode { ok, error, unset })
}

fn string_attribute(reader: &mut Reader<'_>, key: &str, node: &Node, failed: &str) -> Option<Rule> {
    let known = ["key", "values", "enabled_regex_matching", "cache_max_size", "invert_match"];
    let mut fields = Fields::of_block(key, node, &known, reader)?;
    let attribute = fields.text("key")?;
    let mut values = fields.texts("values")?;
    let regex = fields.boolean("enabled_regex_matching")?;
    // The cache changes no result there and there is none here.
    fields.integer("cache_max_size")?;
    let invert = fields.boolean("invert_match")?;
    if !regex {
        // As the Collector does: an empty value matches nothing.
        values.retain(|value| !value.is_empty());
    }
    for value in values.iter().filter(|_| regex) {
        if let Err(error) = pattern::compile(value) {
            let cause = format!("{failed}invalid regex `{}`: {error}", shown(value));
            fields.refuse("values", Fault::new(cause, "correct the expression (RE2 syntax)"));
            return None;
        }
    }
    Some(Rule::StringAttribute { key: attribute, values, regex, invert })
}

fn span_count(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["min_spans", "max_spans"], reader)?;
    Some(Rule::SpanCount { min: fields.integer32("min_spans")?, max: fields.integer32("max_spans")? })
}

fn boolean_attribute(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["key", "value", "invert_match"], reader)?;
    Some(Rule::BooleanAttribute {
        key: fields.text("key")?,
        value: fields.boolean("value")?,
        invert: fields.boolean("invert_match")?,
    })
}

fn trace_state(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["key", "values"], reader)?;
    let member = fields.text("key")?;
    let mut values = fields.texts("values")?;
    let written = values.len();
    values.retain(|value| !value.is_empty() && member.len() + value.len() <= TRACE_STATE_MEMBER_BYTES_MAX);
    if values.is_empty() {
        fields.note("values", "has no value that a tracestate could have, so this policy never samples");
    } else if values.len() < written {
        fields.note("values", "holds values that are empty, or with the key longer than 255 bytes, which never match");
    }
    Some(Rule::TraceState { key: member, values })
}

fn ottl_condition(reader: &mut Reader<'_>, key: &str, node: &Node, failed: &str) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["error_mode", "span", "spanevent"], reader)?;
    let (span, spanevent) = (fields.texts("span")?, fields.texts("spanevent")?);
    let error_mode = error_mode(&mut fields)?;
    if span.is_empty() && spanevent.is_empty() {
        let cause = format!("{failed}expected at least one OTTL condition to filter on");
        fields.refuse("span", Fault::new(cause, "write a list of conditions under `span` or `spanevent`"));
        return None;
    }
    let mut sound = true;
    for (list, conditions, context) in [("span", &span, Context::Span), ("spanevent", &spanevent, Context::SpanEvent)] {
        for (index, condition) in conditions.iter().enumerate() {
            if let Err(fault) = check_condition(condition, context) {
                let Fault { cause, remedy } = fault;
                fields.refuse_item(list, index, Fault::new(format!("{failed}{cause}"), remedy));
                sound = false;
            }
        }
    }
    sound.then_some(Rule::OttlCondition { error_mode, span, spanevent })
}

/// What is wrong with a condition, if anything is, with a caret under the place.
fn check_condition(condition: &str, context: Context) -> Result<(), Fault> {
    if condition.trim().is_empty() {
        return Err(Fault::new("an empty condition", "write a condition such as `name == \"GET\"`, or remove it"));
    }
    let told = |error: OttlError| Fault::new(format!("not a condition:\n{}", error.render(condition)), "");
    ottl::parse(condition, context).map(drop).map_err(told)
}

/// Left out, it is neither of the two that the Collector acts on, whatever its documentation says: errors are silent.
fn error_mode(fields: &mut Fields<'_, '_, '_>) -> Option<ErrorMode> {
    if fields.entry("error_mode").is_none() {
        return Some(ErrorMode::Silent);
    }
    let written = fields.text("error_mode")?;
    let mode = ErrorMode::from_text(&written.to_ascii_lowercase());
    if mode.is_none() {
        let cause = format!("unknown error mode {}", shown(&written));
        fields.refuse("error_mode", Fault::new(cause, "use one of ignore, silent, propagate"));
    }
    mode
}

fn sub_policies(reader: &mut Reader<'_>, key: &str, node: &Node, list: &'static str) -> Option<Vec<Policy>> {
    let fields = Fields::of_block(key, node, &[list], reader)?;
    let Some(entry) = fields.entry(list) else {
        let text = "is empty, so this policy always applies".to_string();
        reader.note(node.line, &format!("{key}.{list}"), text);
        return Some(Vec::new());
    };
    let before = reader.findings.problems.len();
    let policies = read_list(reader, &format!("{key}.{list}"), &entry.node, Level::List);
    // A rule that lost a part would keep other traces; the problem is already told.
    (reader.findings.problems.len() == before).then_some(policies)
}

fn not(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<Rule> {
    let mut fields = Fields::of_block(key, node, &["not_sub_policy"], reader)?;
    let Some(entry) = fields.entry("not_sub_policy") else {
        fields.refuse("not_sub_policy", Fault::new("there is no policy to negate", "write one policy, not a list"));
        return None;
    };
    let inner = read_policy(reader, &format!("{key}.not_sub_policy"), &entry.node, Level::Not)?;
    Some(Rule::Not(Box::new(inner)))
}
