//! The keys of the connector `spanmetrics` whose values have another form here.

use std::time::Duration;

use super::Importer;
use super::home::{Home, set, set_text};
use super::tables::SpanMetric;
use crate::value;
use crate::yaml::{Entry, Node, Scalar, Style, Value};

/// Where the connector's knobs are.
pub(super) const HOME: &str = "summaries.span_metrics";

/// A key of the connector whose value has another form here.
pub(super) fn convert(importer: &mut Importer<'_>, what: SpanMetric, key: &str, entry: &Entry) {
    let put = |importer: &mut Importer<'_>, knob: &str, text: &str| {
        set_text(importer, Home::Node, knob, key, entry.line, text);
    };
    match what {
        // Has been looked at before.
        SpanMetric::HistogramKind => {}
        SpanMetric::Dimensions => dimensions(importer, key, entry),
        SpanMetric::KeyAttributes => {
            if matches!(&entry.node.value, Value::List(items) if items.is_empty()) {
                importer.note(entry.line, key, "nothing is written here, all attributes tell resources apart");
                return;
            }
            let path = format!("{HOME}.resource_attributes");
            set(importer, Home::Node, &path, key, entry.line, &entry.node);
            importer.note(entry.line, key, "other attributes of the resource are not told with the metrics here");
        }
        SpanMetric::Unit | SpanMetric::Temporality | SpanMetric::SeriesMax | SpanMetric::Expiry => {
            let Some(text) = entry.node.written().map(ToString::to_string) else {
                let cause = format!("{} does not fit here", entry.node.kind());
                importer.refuse(entry.line, key, cause, "write one value");
                return;
            };
            match what {
                SpanMetric::Unit => put(importer, &format!("{HOME}.unit"), &text.to_ascii_lowercase()),
                SpanMetric::Temporality if text == "AGGREGATION_TEMPORALITY_DELTA" => {
                    put(importer, &format!("{HOME}.temporality"), "delta");
                }
                SpanMetric::Temporality => {
                    put(importer, &format!("{HOME}.temporality"), "cumulative");
                    if text != "AGGREGATION_TEMPORALITY_CUMULATIVE" {
                        let text = "is not AGGREGATION_TEMPORALITY_DELTA and counts as cumulative, as in the Collector";
                        importer.note(entry.line, key, text);
                    }
                }
                SpanMetric::SeriesMax if text == "0" => {
                    let series_max = importer.layers.draft.config.summaries.span_metrics.series_max;
                    importer.note(entry.line, key, format!("there are at most {series_max} series here"));
                }
                SpanMetric::SeriesMax => {
                    set(importer, Home::Node, &format!("{HOME}.series_max"), key, entry.line, &entry.node);
                }
                _ => expiry(importer, key, entry, &text),
            }
        }
    }
}

/// Of two waits that the Collector has, for a resource and for a series, the shorter one holds.
fn expiry(importer: &mut Importer<'_>, key: &str, entry: &Entry, text: &str) {
    let before = importer.layers.draft.config.summaries.span_metrics.expiry;
    match value::duration(text) {
        Ok(Duration::ZERO) => {}
        Ok(duration) if !before.is_zero() && before <= duration => {
            importer.note(entry.line, key, format!("series expire after {} already", value::show_duration(before)));
        }
        _ => set(importer, Home::Node, &format!("{HOME}.expiry"), key, entry.line, &entry.node),
    }
}

/// A list of `{name, default}` as texts with `=`.
fn dimensions(importer: &mut Importer<'_>, key: &str, entry: &Entry) {
    let Value::List(items) = &entry.node.value else {
        let cause = format!("{} where a list is needed", entry.node.kind());
        importer.refuse(entry.line, key, cause, "write a list of {name: N, default: V}");
        return;
    };
    let mut texts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match dimension(item) {
            Ok(text) => texts.push(Node::new(item.line, Value::Scalar(Scalar { text, style: Style::Quoted }))),
            Err((cause, remedy)) => importer.refuse(item.line, &key, cause, remedy),
        }
    }
    let node = Node::new(entry.line, Value::List(texts));
    set(importer, Home::Node, &format!("{HOME}.dimensions"), key, entry.line, &node);
}

fn dimension(item: &Node) -> Result<String, (&'static str, &'static str)> {
    let Value::Map(entries) = &item.value else { return Err(("not a dimension", "write {name: N, default: V}")) };
    if entries.iter().any(|entry| entry.key == "glob" && !entry.node.is_null()) {
        return Err(("a dimension by `glob` is not supported", "write its attributes by name"));
    }
    if entries.iter().any(|entry| !["name", "default", "glob"].contains(&entry.key.as_str())) {
        return Err(("unknown key", "the keys here are name, default"));
    }
    let name = item.get("name").and_then(|entry| entry.node.written()).filter(|name| !name.is_empty());
    let Some(name) = name else { return Err(("a dimension without a name", "write {name: N, default: V}")) };
    if name.contains('=') {
        return Err(("a name with `=` is not supported", "remove it"));
    }
    let default = item.get("default").filter(|entry| !entry.node.is_null());
    match default.map(|entry| entry.node.written()) {
        None => Ok(name.to_string()),
        Some(Some(default)) => Ok(format!("{name}={default}")),
        Some(None) => Err(("a default that is no text", "write text")),
    }
}
