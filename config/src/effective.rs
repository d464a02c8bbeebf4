//! The configuration in effect as native YAML: every key with its value and where it was written. Secrets are redacted.
//! With the redacted headers put back, the text loads as the same configuration.

use std::fmt::Write;

use crate::catalogue::{self, Kind, Slot};
use crate::draft::Draft;
use crate::load::Loaded;
use crate::problem::Source;
use crate::sampling::{Policy, Rule};
use crate::yaml::{Resolved, Scalar, Style};

/// What stands for a secret.
const REDACTED: &str = "[redacted]";

/// The configuration in effect as YAML.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    let mut draft = Draft::of(&loaded.config);
    let names: Vec<String> = draft.exporters.iter().map(|exporter| exporter.name.clone()).collect();
    let mut writer = Writer { out: String::new(), open: Vec::new() };
    for row in catalogue::rows(&names) {
        let target = &row.target;
        let source = loaded.sources.get(&row.path);
        writer.key(&row.segments, target.kind(), &target.slot(&mut draft), source);
    }
    writer.out
}

struct Writer {
    out: String,
    /// Sections that the last line stands in.
    open: Vec<String>,
}

impl Writer {
    fn key(&mut self, segments: &[String], kind: Kind, slot: &Slot<'_>, source: Option<&Source>) {
        let Some((name, sections)) = segments.split_last() else { return };
        let Some(lines) = written(kind, slot, sections.len()) else { return };
        let common = self.open.iter().zip(sections).take_while(|(one, other)| one == other).count();
        for (level, section) in sections.iter().enumerate().skip(common) {
            self.line(level, &format!("{section}:"), None);
        }
        self.open = sections.to_vec();
        match lines {
            Written::Value(value) => self.line(sections.len(), &format!("{name}: {value}"), source),
            Written::Block(block) => {
                self.line(sections.len(), &format!("{name}:"), source);
                self.out.push_str(&block);
            }
        }
    }

    fn line(&mut self, level: usize, text: &str, source: Option<&Source>) {
        self.out.push_str(&"  ".repeat(level));
        self.out.push_str(text);
        if let Some(source) = source {
            // Names of files and variables come from outside: nothing of them may end the comment.
            let _ = write!(self.out, "  # {}", crate::problem::shown(&source.to_string()));
        }
        self.out.push('\n');
    }
}

/// A value as it is written after its key.
enum Written {
    Value(String),
    /// Lines of their own, complete with indent and line ends.
    Block(String),
}

/// `None` when nothing is there to write.
fn written(kind: Kind, slot: &Slot<'_>, level: usize) -> Option<Written> {
    let indent = "  ".repeat(level + 1);
    match slot {
        Slot::List(values) if !values.is_empty() => {
            let items: Vec<String> = values.iter().map(|value| text(value)).collect();
            Some(Written::Value(format!("[{}]", items.join(", "))))
        }
        Slot::Headers(headers) if !headers.is_empty() => {
            let lines = headers.iter().map(|(name, _)| format!("{indent}{}: \"{REDACTED}\"\n", text(name)));
            Some(Written::Block(lines.collect()))
        }
        Slot::Policies(values) if values.is_empty() => Some(Written::Value("[]".to_string())),
        Slot::Policies(values) => {
            let mut block = String::new();
            for policy in values.iter() {
                list_item(&mut block, &indent, policy);
            }
            Some(Written::Block(block))
        }
        Slot::Path(_) | Slot::OptionalPath(_) | Slot::OptionalText(_) | Slot::Address(_) | Slot::OptionalAddress(_) => {
            let value = catalogue::show(kind, slot);
            (!value.is_empty()).then(|| Written::Value(text(&value)))
        }
        _ => {
            let value = catalogue::show(kind, slot);
            (!value.is_empty()).then_some(Written::Value(value))
        }
    }
}

/// Text as a scalar that is read back as the same text.
fn text(value: &str) -> String {
    let plain = Scalar { text: value.to_string(), style: Style::Plain };
    let safe = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '/' | '-' | ':');
    let is_plain = value.starts_with(|c: char| c.is_ascii_alphanumeric() || c == '/')
        && value.chars().all(safe)
        && !value.ends_with(':')
        && plain.resolve() == Resolved::Text(value.to_string());
    if is_plain { value.to_string() } else { quoted(value) }
}

fn quoted(value: &str) -> String {
    let mut out = String::from("\"");
    for character in value.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            '\n' => out.push_str("\\n"),
            '\t' => out.push_str("\\t"),
            other if other.is_control() => {
                let _ = write!(out, "\\x{:02x}", u32::from(other));
            }
            other => out.push(other),
        }
    }
    out.push('"');
    out
}

fn list_item(out: &mut String, indent: &str, policy: &Policy) {
    let _ = writeln!(out, "{indent}- name: {}", text(&policy.name));
    body(out, &format!("{indent}  "), policy);
}

/// The type and block of a policy. Depth is bounded by the nesting rules: and, not, shared type.
fn body(out: &mut String, indent: &str, policy: &Policy) {
    let (kind, fields) = fields(&policy.rule);
    let _ = writeln!(out, "{indent}type: {kind}");
    if !fields.is_empty() {
        let _ = writeln!(out, "{indent}{kind}: {{{}}}", fields.join(", "));
    }
    let inner = format!("{indent}    ");
    match &policy.rule {
        Rule::And(policies) | Rule::Drop(policies) if !policies.is_empty() => {
            let _ = writeln!(out, "{indent}{kind}:\n{indent}  {kind}_sub_policy:");
            policies.iter().for_each(|policy| list_item(out, &inner, policy));
        }
        Rule::Composite { spans_per_second_max, policies } => {
            let _ = writeln!(out, "{indent}{kind}:\n{indent}  max_total_spans_per_second: {spans_per_second_max}");
            let _ = writeln!(out, "{indent}  composite_sub_policy:");
            policies.iter().for_each(|(policy, _)| list_item(out, &inner, policy));
        }
        Rule::Not(policy) => {
            let _ = writeln!(out, "{indent}{kind}:\n{indent}  {kind}_sub_policy:");
            let _ = writeln!(out, "{inner}name: {}", text(&policy.name));
            body(out, &inner, policy);
        }
        _ => {}
    }
}

fn texts(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(", "))
}

/// The name of a rule's type and the keys of its block that are not at their zero value.
fn fields(rule: &Rule) -> (&'static str, Vec<String>) {
    let mut fields = Vec::new();
    let mut field = |present: bool, name: &str, value: String| {
        if present {
            fields.push(format!("{name}: {value}"));
        }
    };
    let kind = match rule {
        Rule::AlwaysSample => "always_sample",
        Rule::Latency { threshold_ms, upper_threshold_ms } => {
            field(true, "threshold_ms", threshold_ms.to_string());
            field(*upper_threshold_ms != 0, "upper_threshold_ms", upper_threshold_ms.to_string());
            "latency"
        }
        Rule::StatusCode { ok, error, unset } => {
            let codes = [(*ok, "OK"), (*error, "ERROR"), (*unset, "UNSET")];
            let codes: Vec<&str> = codes.iter().filter(|(set, _)| *set).map(|(_, code)| *code).collect();
            field(true, "status_codes", format!("[{}]", codes.join(", ")));
            "status_code"
        }
        Rule::StringAttribute { key, values, regex, invert } => {
            field(true, "key", text(key));
            field(true, "values", texts(values));
            field(*regex, "enabled_regex_matching", "true".to_string());
            field(*invert, "invert_match", "true".to_string());
            "string_attribute"
        }
        Rule::NumericAttribute { key, min, max, invert } => {
            field(true, "key", text(key));
            field(*min != i64::MIN, "min_value", min.to_string());
            field(*max != i64::MAX, "max_value", max.to_string());
            field(*invert, "invert_match", "true".to_string());
            "numeric_attribute"
        }
        Rule::BooleanAttribute { key, value, invert } => {
            field(true, "key", text(key));
            field(true, "value", value.to_string());
            field(*invert, "invert_match", "true".to_string());
            "boolean_attribute"
        }
        Rule::Probabilistic { hash_salt, sampling_percentage } => {
            field(!hash_salt.is_empty(), "hash_salt", text(hash_salt));
            field(true, "sampling_percentage", sampling_percentage.to_string());
            "probabilistic"
        }
        Rule::SpanCount { min, max } => {
            field(true, "min_spans", min.to_string());
            field(*max != 0, "max_spans", max.to_string());
            "span_count"
        }
        Rule::RateLimiting { spans_per_second, burst_capacity } => {
            field(true, "spans_per_second", spans_per_second.to_string());
            field(*burst_capacity > 0, "burst_capacity", burst_capacity.to_string());
            "rate_limiting"
        }
        Rule::BytesLimiting { bytes_per_second, burst_capacity } => {
            field(true, "bytes_per_second", bytes_per_second.to_string());
            field(*burst_capacity > 0, "burst_capacity", burst_capacity.to_string());
            "bytes_limiting"
        }
        Rule::TraceState { key, values } => {
            field(true, "key", text(key));
            field(true, "values", texts(values));
            "trace_state"
        }
        Rule::TraceFlags => "trace_flags",
        Rule::OttlCondition { error_mode, span, spanevent } => {
            field(true, "error_mode", error_mode.to_string());
            field(!span.is_empty(), "span", texts(span));
            field(!spanevent.is_empty(), "spanevent", texts(spanevent));
            "ottl_condition"
        }
        Rule::Composite { .. } => "composite",
        Rule::And(_) => "and",
        Rule::Not(_) => "not",
        Rule::Drop(_) => "drop",
    };
    (kind, fields)
}
