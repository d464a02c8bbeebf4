//! The configuration in effect as native YAML: every key with its value and where it was written. Secrets are redacted.
//! With the redacted headers put back, the text loads as the same configuration.

mod conditions;
mod native;

pub use conditions::{conditions_of_policy, conditions_of_rule};

use std::collections::BTreeMap;
use std::fmt::Write;

use crate::catalogue::{self, Kind, REDACTED, Slot};
use crate::draft::Draft;
use crate::load::Loaded;
use crate::policies::percent_of;
use crate::problem::Source;
use crate::sampling::native::NativeRule;
use crate::sampling::{Policy, Rule, Sampling};
use crate::settings::Config;
use crate::triggers;
use crate::yaml::{Resolved, Scalar, Style};

/// The configuration in effect as YAML.
#[must_use]
pub fn effective(loaded: &Loaded) -> String {
    let mut draft = Draft::of(&loaded.config);
    let names: Vec<String> = draft.exporters.iter().map(|exporter| exporter.name.clone()).collect();
    let pipelines: Vec<String> = draft.config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
    let natives = catalogue::native_exporter_names(&names);
    for pipeline in &mut draft.config.pipelines {
        for name in &mut pipeline.exporters {
            if let Some(position) = names.iter().position(|known| known == name) {
                name.clone_from(&natives[position]);
            }
        }
    }
    let mut writer = Writer { out: String::new(), open: Vec::new() };
    for row in catalogue::rows(&names, &pipelines) {
        let target = &row.target;
        let source = loaded.sources.get(&row.path);
        writer.key(&row.segments, target.kind(), &target.slot(&mut draft), source);
    }
    further_receivers(&loaded.config, &mut writer.out);
    writer.out
}

/// A sampling section in effect, without where each key was written: equal sections have equal texts.
#[must_use]
pub fn effective_sampling(sampling: &Sampling) -> String {
    let mut draft = Draft::of(&Config { sampling: sampling.clone(), ..Config::default() });
    let mut writer = Writer { out: String::new(), open: Vec::new() };
    for row in catalogue::rows(&[], &[]).iter().filter(|row| matches!(row.target, catalogue::Target::Sampling(_))) {
        writer.key(&row.segments, row.target.kind(), &row.target.slot(&mut draft), None);
    }
    writer.out
}

/// Receivers beside the first, which the native file cannot have.
fn further_receivers(config: &Config, out: &mut String) {
    if config.further_receivers.is_empty() {
        return;
    }
    out.push_str("\n# Receivers and the pipelines that get their traces; a file of this form has one receiver\n");
    for receivers in config.all_receivers() {
        let listens: Vec<String> = receivers.open().map(|receiver| receiver.endpoint.to_string()).collect();
        let feeds: Vec<&str> = config.samplings().map(|(name, _)| name).filter(|name| receivers.feeds(name)).collect();
        let feeds = match (receivers.signals.traces, feeds.as_slice()) {
            (false, _) => "none".to_string(),
            (true, [""]) => "all".to_string(),
            (true, names) => names.join(", "),
        };
        let _ = writeln!(out, "# {} on {}: {feeds}", receivers.name, listens.join(", "));
    }
}

/// Rules as the entries of a list at `indent`.
pub(crate) fn rules(rules: &[NativeRule], indent: &str) -> String {
    let mut out = String::new();
    rules.iter().for_each(|rule| native::rule(&mut out, indent, rule));
    out
}

/// Policies as the entries of a list at `indent`.
pub(crate) fn policies(policies: &[Policy], indent: &str) -> String {
    let mut out = String::new();
    policies.iter().for_each(|policy| list_item(&mut out, indent, policy));
    out
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
            self.line(level, &format!("{}:", text(section)), None);
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
        Slot::Statuses(values) if !values.is_empty() => {
            let items: Vec<String> = values.iter().map(u16::to_string).collect();
            Some(Written::Value(format!("[{}]", items.join(", "))))
        }
        Slot::Addresses(values) if !values.is_empty() => {
            let items: Vec<String> = values.iter().map(|value| text(&value.to_string())).collect();
            Some(Written::Value(format!("[{}]", items.join(", "))))
        }
        Slot::Headers(headers) if !headers.is_empty() => {
            let lines = headers.iter().map(|(name, _)| format!("{indent}{}: \"{REDACTED}\"\n", text(name)));
            Some(Written::Block(lines.collect()))
        }
        Slot::Policies(values) if values.is_empty() => Some(Written::Value("[]".to_string())),
        Slot::Policies(values) => Some(Written::Block(policies(values, &indent))),
        Slot::MetricRules(values) if values.is_empty() => None,
        Slot::Triggers(values) if values.is_empty() => None,
        Slot::Triggers(values) => {
            Some(Written::Block(values.iter().map(|one| format!("{indent}- {}\n", triggers::show(one))).collect()))
        }
        Slot::MetricRules(values) => {
            Some(Written::Block(values.iter().map(|rule| format!("{indent}- {rule}\n")).collect()))
        }
        Slot::Rules(values) if values.is_empty() => None,
        Slot::Rules(values) => Some(Written::Block(rules(values, &indent))),
        Slot::Path(_)
        | Slot::OptionalPath(_)
        | Slot::Text(_)
        | Slot::OptionalText(_)
        | Slot::Secret(_)
        | Slot::Address(_)
        | Slot::OptionalAddress(_) => {
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
    // What is read back is expanded.
    let is_expanded = value.contains("${") || value.contains("$$");
    for character in value.chars() {
        match character {
            '$' if is_expanded => out.push_str("$$"),
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
    if policy.is_shadow {
        let _ = writeln!(out, "{indent}  shadow: true");
    }
    body(out, &format!("{indent}  "), policy);
}

/// The type and block of a policy. Depth is bounded by the nesting rules: composite, and, not, shared type.
fn body(out: &mut String, indent: &str, policy: &Policy) {
    let (kind, fields) = (type_of(&policy.rule), fields(&policy.rule));
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
            let list = if policies.is_empty() { " []" } else { "" };
            let _ = writeln!(out, "{indent}  composite_sub_policy:{list}");
            policies.iter().for_each(|(policy, _)| list_item(out, &inner, policy));
            allocation(out, indent, *spans_per_second_max, policies);
        }
        Rule::Not(policy) => {
            let _ = writeln!(out, "{indent}{kind}:\n{indent}  {kind}_sub_policy:");
            let _ = writeln!(out, "{inner}name: {}", text(&policy.name));
            body(out, &inner, policy);
        }
        _ => {}
    }
}

/// The percentages that come to the shares of a composite's sub-policies. Those of one name have one share.
fn allocation(out: &mut String, indent: &str, total: i64, policies: &[(Policy, i64)]) {
    let percents: BTreeMap<&str, i64> = policies
        .iter()
        .filter_map(|(policy, share)| Some((policy.name.as_str(), percent_of(total, policies.len(), *share)?)))
        .collect();
    if !percents.is_empty() {
        let _ = writeln!(out, "{indent}  rate_allocation:");
    }
    for (name, percent) in percents {
        let _ = writeln!(out, "{indent}    - {{policy: {}, percent: {percent}}}", text(name));
    }
}

fn texts(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| quoted(value)).collect();
    format!("[{}]", values.join(", "))
}

/// The keys of a block that are written.
#[derive(Default)]
struct Fields(Vec<String>);

impl Fields {
    fn put(&mut self, present: bool, name: &str, value: String) {
        if present {
            self.0.push(format!("{name}: {value}"));
        }
    }
}

/// The name of a rule's type.
pub fn type_of(rule: &Rule) -> &'static str {
    match rule {
        Rule::AlwaysSample => "always_sample",
        Rule::Any(_) => "any",
        Rule::RelativeLatency { .. } => "relative_latency",
        Rule::Latency { .. } => "latency",
        Rule::StatusCode { .. } => "status_code",
        Rule::StringAttribute { .. } => "string_attribute",
        Rule::NumericAttribute { .. } => "numeric_attribute",
        Rule::BooleanAttribute { .. } => "boolean_attribute",
        Rule::Probabilistic { .. } => "probabilistic",
        Rule::SpanCount { .. } => "span_count",
        Rule::RateLimiting { .. } => "rate_limiting",
        Rule::BytesLimiting { .. } => "bytes_limiting",
        Rule::TraceState { .. } => "trace_state",
        Rule::TraceFlags => "trace_flags",
        Rule::OttlCondition { .. } => "ottl_condition",
        Rule::Composite { .. } => "composite",
        Rule::And(_) => "and",
        Rule::Not(_) => "not",
        Rule::Drop(_) => "drop",
    }
}

/// The keys of a rule's block that are not at their zero value.
fn fields(rule: &Rule) -> Vec<String> {
    let mut fields = Fields::default();
    keyed(rule, &mut fields);
    unkeyed(rule, &mut fields);
    fields.0
}

/// The rules that look for a key in a span.
fn keyed(rule: &Rule, fields: &mut Fields) {
    match rule {
        Rule::StringAttribute { key, values, regex, invert } => {
            fields.put(true, "key", text(key));
            fields.put(true, "values", texts(values));
            fields.put(*regex, "enabled_regex_matching", "true".to_string());
            fields.put(*invert, "invert_match", "true".to_string());
        }
        Rule::NumericAttribute { key, min, max, invert } => {
            fields.put(true, "key", text(key));
            // One bound is to be written, also when both take everything in.
            fields.put(*min != i64::MIN || *max == i64::MAX, "min_value", min.to_string());
            fields.put(*max != i64::MAX, "max_value", max.to_string());
            fields.put(*invert, "invert_match", "true".to_string());
        }
        Rule::BooleanAttribute { key, value, invert } => {
            fields.put(true, "key", text(key));
            fields.put(true, "value", value.to_string());
            fields.put(*invert, "invert_match", "true".to_string());
        }
        Rule::TraceState { key, values } => {
            fields.put(true, "key", text(key));
            fields.put(true, "values", texts(values));
        }
        Rule::RelativeLatency { quantile, by, at_least_ms, traces_min } => {
            fields.put(true, "quantile", quantile.to_string());
            fields.put(true, "by", texts(by));
            fields.put(*at_least_ms > 0, "at_least_ms", at_least_ms.to_string());
            fields.put(true, "traces_min", traces_min.to_string());
        }
        _ => {}
    }
}

/// All others.
fn unkeyed(rule: &Rule, fields: &mut Fields) {
    match rule {
        Rule::Latency { threshold_ms, upper_threshold_ms } => {
            fields.put(true, "threshold_ms", threshold_ms.to_string());
            fields.put(*upper_threshold_ms != 0, "upper_threshold_ms", upper_threshold_ms.to_string());
        }
        Rule::StatusCode { ok, error, unset } => {
            let codes = [(*ok, "OK"), (*error, "ERROR"), (*unset, "UNSET")];
            let codes: Vec<&str> = codes.iter().filter(|(set, _)| *set).map(|(_, code)| *code).collect();
            fields.put(true, "status_codes", format!("[{}]", codes.join(", ")));
        }
        Rule::Probabilistic { hash_salt, sampling_percentage } => {
            fields.put(!hash_salt.is_empty(), "hash_salt", text(hash_salt));
            fields.put(true, "sampling_percentage", format!("{sampling_percentage:?}"));
        }
        Rule::SpanCount { min, max } => {
            fields.put(true, "min_spans", min.to_string());
            fields.put(*max != 0, "max_spans", max.to_string());
        }
        Rule::RateLimiting { spans_per_second, burst_capacity } => {
            fields.put(true, "spans_per_second", spans_per_second.to_string());
            fields.put(*burst_capacity > 0, "burst_capacity", burst_capacity.to_string());
        }
        Rule::BytesLimiting { bytes_per_second, burst_capacity } => {
            fields.put(true, "bytes_per_second", bytes_per_second.to_string());
            fields.put(*burst_capacity > 0, "burst_capacity", burst_capacity.to_string());
        }
        Rule::OttlCondition { error_mode, span, spanevent } => {
            fields.put(true, "error_mode", error_mode.to_string());
            fields.put(!span.is_empty(), "span", texts(span));
            fields.put(!spanevent.is_empty(), "spanevent", texts(spanevent));
        }
        _ => {}
    }
}
