//! The keys of the connector `servicegraph` whose values have another form here.

use super::Importer;
use super::home::{Home, set, set_text};
use super::tables::GraphKey;
use crate::value;
use crate::yaml::Entry;

/// Where the connector's knobs are.
pub(super) const HOME: &str = "summaries.service_graph";

/// Defaults of the connector that are others here. How long and how many spans wait is as here where nothing is written: more
/// of them meet.
pub(super) const DEFAULTS: [(&str, &str); 2] =
    [("database_attributes", "db.name"), ("virtual_node_attributes", "peer.service,db.name,db.system")];

/// A key of the connector whose value has another form here.
pub(super) fn convert(importer: &mut Importer<'_>, what: GraphKey, key: &str, entry: &Entry) {
    let Some(text) = entry.node.written().map(ToString::to_string) else {
        let cause = format!("{} does not fit here", entry.node.kind());
        return importer.refuse(entry.line, key, cause, "write one value");
    };
    match what {
        GraphKey::Buckets if text == "0" => {}
        GraphKey::Buckets => {
            set_text(importer, Home::Node, &format!("{HOME}.histogram"), key, entry.line, "exponential");
            set(importer, Home::Node, &format!("{HOME}.buckets_max"), key, entry.line, &entry.node);
        }
        GraphKey::Database => {
            set_text(importer, Home::Node, &format!("{HOME}.database_attributes"), key, entry.line, &text);
        }
        GraphKey::Offset => {
            if value::duration(&text).is_ok_and(|offset| offset.is_zero()) {
                importer.note(entry.line, key, "is none here either, has no effect");
            } else {
                importer.refuse(
                    entry.line,
                    key,
                    "not supported",
                    "remove it: metrics have the time at which they leave",
                );
            }
        }
        GraphKey::Window => window(importer, key, entry, &text),
    }
}

/// There is one window: where two connectors write one each the shorter holds.
fn window(importer: &mut Importer<'_>, key: &str, entry: &Entry, text: &str) {
    const PATH: &str = "summaries.window";
    let before = importer.layers.draft.config.summaries.window;
    let is_written = importer.layers.written.contains_key(PATH);
    if is_written && value::duration(text).is_ok_and(|window| window >= before && !window.is_zero()) {
        if value::duration(text).is_ok_and(|window| window > before) {
            let text = format!("all summaries are sent every {} here", value::show_duration(before));
            importer.note(entry.line, key, text);
        }
        return;
    }
    set(importer, Home::Node, PATH, key, entry.line, &entry.node);
}

/// What the connector refuses as a whole.
pub(super) fn check(importer: &mut Importer<'_>, key: &str, entry: &Entry) {
    let is_written = |name: &str| entry.node.get(name).filter(|entry| !entry.node.is_null());
    let size = is_written("exponential_histogram_max_size").filter(|size| size.node.written() != Some("0"));
    if let (Some(size), Some(_)) = (size, is_written("latency_histogram_buckets")) {
        let key = format!("{key}.exponential_histogram_max_size");
        let cause = "use either `latency_histogram_buckets` or `exponential_histogram_max_size`";
        importer.refuse(size.line, &key, cause, "remove one");
    }
}
