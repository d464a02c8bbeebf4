//! Reads `summaries.metrics.rules`: what is done with the metrics of a name, with the line of what is wrong.
//!
//! ```text
//! rule   metric: glob, service: glob, action: keep | drop | aggregate
//!        of aggregate: window, temporality, keep_attributes | drop_attributes,
//!                      keep_resource_attributes | drop_resource_attributes, gauge
//! ```

use std::time::Duration;

use crate::policies::fields::Fields;
use crate::policies::{Reader, items};
use crate::problem::{Fault, Findings, Source, shown};
use crate::settings::{GaugeReading, MetricAction, MetricRule, Selection, Temporality};
use crate::value;
use crate::yaml::Node;
use tailwater_ottl::suggest;

/// Rules are tried one after the other for each metric of a request.
/// At the bound: the configuration is refused.
const RULES_MAX: usize = 256;

const KEYS: &[&str] = &[
    "metric",
    "service",
    "action",
    "window",
    "temporality",
    "keep_attributes",
    "drop_attributes",
    "keep_resource_attributes",
    "drop_resource_attributes",
    "gauge",
];

/// Reads the list; what is wrong goes to `findings` and its rule is left out.
pub(crate) fn read(key: &str, node: &Node, at: &dyn Fn(u32) -> Source, findings: &mut Findings) -> Vec<MetricRule> {
    let mut reader = Reader { at, findings };
    let Some(items) = items(&mut reader, key, node, "rules") else { return Vec::new() };
    if items.len() > RULES_MAX {
        let fault = Fault::new(format!("{} rules", items.len()), format!("write at most {RULES_MAX}"));
        reader.problem(node.line, key, fault);
        return Vec::new();
    }
    let one = |(index, item)| rule(&mut reader, &format!("{key}[{index}]"), item);
    items.iter().enumerate().filter_map(one).collect()
}

fn rule(reader: &mut Reader<'_>, key: &str, node: &Node) -> Option<MetricRule> {
    let mut fields = Fields::of_block(key, node, KEYS, reader)?;
    let metric = fields.text("metric")?;
    let service = fields.text("service")?;
    let action: MetricAction = word(&mut fields, "action", MetricAction::CHOICES, MetricAction::from_text)?;
    let temporality = word(&mut fields, "temporality", Temporality::CHOICES, Temporality::from_text)?;
    let gauge = word(&mut fields, "gauge", GaugeReading::CHOICES, GaugeReading::from_text)?;
    let window = window(&mut fields)?;
    let attributes = selection(&mut fields, "keep_attributes", "drop_attributes")?;
    let resource_attributes = selection(&mut fields, "keep_resource_attributes", "drop_resource_attributes")?;
    if metric.is_empty() {
        let fault = Fault::new("a rule names no metric", "write `metric:` with a name, such as `http.*`");
        reader.problem(node.line, key, fault);
        return None;
    }
    let service = (!service.is_empty()).then_some(service);
    Some(MetricRule { metric, service, action, window, temporality, attributes, resource_attributes, gauge })
}

/// A word of a few, or the first of them where none is written.
fn word<T: Default>(
    fields: &mut Fields<'_, '_, '_>,
    name: &str,
    choices: &[&str],
    from_text: fn(&str) -> Option<T>,
) -> Option<T> {
    let text = fields.text(name)?;
    if text.is_empty() {
        return Some(T::default());
    }
    let found = from_text(&text);
    if found.is_none() {
        let near = suggest::nearest(&text, choices.iter().copied());
        let remedy = near.map_or_else(
            || format!("write one of {}", choices.join(", ")),
            |near| format!("did you mean `{near}`? write one of {}", choices.join(", ")),
        );
        fields.refuse(name, Fault::new(format!("`{}` is none of its words", shown(&text)), remedy));
    }
    found
}

fn window(fields: &mut Fields<'_, '_, '_>) -> Option<Duration> {
    let text = fields.text("window")?;
    if text.is_empty() {
        return Some(Duration::from_secs(60));
    }
    match value::duration(&text) {
        Ok(window) if window >= Duration::from_secs(1) => Some(window),
        Ok(_) => {
            fields.refuse("window", Fault::new("shorter than a second", "write 1s or more"));
            None
        }
        Err(fault) => {
            fields.refuse("window", fault);
            None
        }
    }
}

/// Attributes that stay or go; all stay where nothing is written.
fn selection(fields: &mut Fields<'_, '_, '_>, keep: &str, drop: &str) -> Option<Selection> {
    let (has_keep, has_drop) = (fields.entry(keep).is_some(), fields.entry(drop).is_some());
    if has_keep && has_drop {
        let remedy = format!("write {keep} or {drop}");
        fields.refuse(drop, Fault::new(format!("there is {keep}, too"), remedy));
        return None;
    }
    if has_keep { fields.texts(keep).map(Selection::Only) } else { fields.texts(drop).map(Selection::Without) }
}
