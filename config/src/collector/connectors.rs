//! The connectors `spanmetrics` and `servicegraph`: counted are all spans that come, so that they are parts of the node here and
//! not of a pipeline. They leave the exporters of traces pipelines; a pipeline that had no other keeps nothing and is no way
//! through the node.

use std::collections::BTreeSet;

use super::home::{Home, set_text};
use super::pipelines::{Part, Pipeline, Signal};
use super::{Importer, SAMPLER, service_graph, span_metrics, tables, walk};
use crate::yaml::{Entry, Node};

/// A connector that counts spans.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    SpanMetrics,
    ServiceGraph,
}

impl Kind {
    const ALL: [Self; 2] = [Self::SpanMetrics, Self::ServiceGraph];

    /// What the Collector calls the type: as it is, and as it was called before.
    const fn types(self) -> [&'static str; 2] {
        match self {
            Self::SpanMetrics => ["span_metrics", "spanmetrics"],
            Self::ServiceGraph => ["service_graph", "servicegraph"],
        }
    }
}

fn is_of_kind(root: &Node, part: &Part, kind: Kind) -> bool {
    let is_defined = || root.get("connectors").is_some_and(|section| section.node.get(&part.id).is_some());
    kind.types().contains(&part.kind()) && is_defined()
}

/// Whether a pipeline names one of the connectors there.
pub(super) fn counts_spans(root: &Node, part: &Part) -> bool {
    Kind::ALL.iter().any(|kind| is_of_kind(root, part, *kind))
}

/// Takes the connectors out of the pipelines. Those that are left are ways through the node.
pub(super) fn import(importer: &mut Importer<'_>, root: &Node, read: &[Pipeline]) -> Vec<Pipeline> {
    for kind in Kind::ALL {
        let parts = read.iter().flat_map(|pipeline| pipeline.receivers.iter().chain(&pipeline.exporters));
        let mut seen = BTreeSet::new();
        let parts = parts.filter(|part| is_of_kind(root, part, kind) && seen.insert(part.id.clone()));
        for (number, part) in parts.enumerate() {
            if number == 0 {
                ends(importer, read, part);
                component(importer, root, part, kind);
            } else {
                let [_, name] = kind.types();
                let cause = format!("a second {name} connector, `{}`", part.id);
                importer.refuse(part.line, &part.key, cause, "use one: spans are counted once; or run a node for each");
            }
        }
    }
    let mut left = read.to_vec();
    for pipeline in left.iter_mut().filter(|pipeline| pipeline.signal == Signal::Traces) {
        pipeline.exporters.retain(|part| !counts_spans(root, part));
    }
    left.retain(|pipeline| {
        let had = read.iter().any(|before| before.key == pipeline.key && !before.exporters.is_empty());
        !pipeline.exporters.is_empty() || !had
    });
    only_counted(importer, read, &left);
    left
}

/// Whether spans come to the connector, all of them, and metrics go from it.
fn ends(importer: &mut Importer<'_>, read: &[Pipeline], part: &Part) {
    let id = &part.id;
    let has = |parts: &[Part]| parts.iter().any(|other| other.id == *id);
    for pipeline in read {
        let other = |parts: &[Part]| parts.iter().find(|other| other.id == *id).cloned();
        if let Some(part) = other(&pipeline.exporters).filter(|_| pipeline.signal != Signal::Traces) {
            let remedy = "name it among the exporters of traces pipelines";
            importer.refuse(part.line, &part.key, format!("the connector `{id}` takes traces only"), remedy);
        }
        if let Some(part) = other(&pipeline.receivers).filter(|_| pipeline.signal != Signal::Metrics) {
            let remedy = "name it among the receivers of metrics pipelines";
            importer.refuse(part.line, &part.key, format!("the connector `{id}` gives metrics only"), remedy);
        }
    }
    let traces: Vec<&Pipeline> = read.iter().filter(|pipeline| pipeline.signal == Signal::Traces).collect();
    let counted: Vec<&Pipeline> = traces.iter().filter(|pipeline| has(&pipeline.exporters)).copied().collect();
    if counted.is_empty() {
        let cause = format!("the connector `{id}` is exporter of no traces pipeline");
        importer.refuse(
            part.line,
            &part.key,
            cause,
            "name it among the exporters of the traces pipelines, or remove it",
        );
        return;
    }
    if !read.iter().any(|pipeline| pipeline.signal == Signal::Metrics && has(&pipeline.receivers)) {
        let cause = format!("the connector `{id}` is receiver of no metrics pipeline");
        importer.refuse(part.line, &part.key, cause, "name it among the receivers of a metrics pipeline, or remove it");
    }
    let by = |pipelines: &[&Pipeline]| -> BTreeSet<String> {
        pipelines.iter().flat_map(|pipeline| &pipeline.receivers).map(|part| part.id.clone()).collect()
    };
    if let Some(receiver) = by(&traces).difference(&by(&counted)).next() {
        let cause =
            format!("the traces of `{receiver}` do not go to the connector `{id}`, and all spans are counted here");
        let remedy = "name it in a pipeline of every receiver of traces, or run a node for each";
        importer.refuse(part.line, &part.key, cause, remedy);
    }
    let mut ways_in = BTreeSet::new();
    for pipeline in counted {
        let Some(part) = pipeline.exporters.iter().find(|part| part.id == *id) else { continue };
        if pipeline.processors.iter().any(|part| part.kind() == SAMPLER) {
            importer.note(part.line, &part.key, "all spans are counted here, not only those that the sampler keeps");
        }
        let receivers: Vec<&str> = pipeline.receivers.iter().map(|part| part.id.as_str()).collect();
        if receivers.iter().any(|receiver| ways_in.contains(receiver)) {
            importer.note(
                part.line,
                &part.key,
                "a span is counted once here, though several pipelines lead to the connector",
            );
        }
        ways_in.extend(receivers);
    }
}

/// Refuses what is counted and goes nowhere: a receiver takes traces only for a pipeline.
fn only_counted(importer: &mut Importer<'_>, read: &[Pipeline], left: &[Pipeline]) {
    let of = |pipelines: &[Pipeline]| -> BTreeSet<String> {
        let traces = pipelines.iter().filter(|pipeline| pipeline.signal == Signal::Traces);
        traces.flat_map(|pipeline| &pipeline.receivers).map(|part| part.id.clone()).collect()
    };
    let left = of(left);
    for pipeline in read.iter().filter(|pipeline| pipeline.signal == Signal::Traces) {
        if let Some(part) = pipeline.receivers.iter().find(|part| !left.contains(&part.id)) {
            let cause = format!("the traces of `{}` are counted and go nowhere", part.id);
            let remedy = "name a further exporter in this pipeline, such as `nop`";
            importer.refuse(pipeline.line, &pipeline.key, cause, remedy);
            return;
        }
    }
}

/// The connector's own keys, with its defaults.
fn component(importer: &mut Importer<'_>, root: &Node, part: &Part, kind: Kind) {
    let Some(entry) = root.get("connectors").and_then(|section| section.node.get(&part.id)) else { return };
    let mut entry = entry.clone();
    let key = format!("connectors.{}", part.id);
    importer.expand(&key, &mut entry.node);
    let source = importer.source(entry.line);
    let (home, table) = match kind {
        Kind::SpanMetrics => (span_metrics::HOME, tables::SPAN_METRICS),
        Kind::ServiceGraph => (service_graph::HOME, tables::SERVICE_GRAPH),
    };
    importer.layers.sources.insert(home.to_string(), source);
    importer.layers.written.insert(home.to_string(), key.clone());
    let defaults = match kind {
        Kind::SpanMetrics => {
            let histogram = histogram(importer, &key, &entry);
            vec![("resource_attributes", "*"), ("expiry", "0s"), ("histogram", histogram)]
        }
        Kind::ServiceGraph => service_graph::DEFAULTS.to_vec(),
    };
    for (knob, text) in std::iter::once(("enabled", "true")).chain(defaults) {
        set_text(importer, Home::Node, &format!("{home}.{knob}"), &key, entry.line, text);
    }
    walk::section(importer, Home::Node, &key, &entry.node, table);
    if kind == Kind::ServiceGraph {
        service_graph::check(importer, &key, &entry);
    }
}

/// The kind of histogram: a section of which nothing is written is not there, as in the Collector.
fn histogram(importer: &mut Importer<'_>, key: &str, entry: &Entry) -> &'static str {
    let Some(section) = entry.node.get("histogram") else { return "explicit" };
    let is_word = |entry: &Entry, word: &str| entry.node.written() == Some(word);
    if section.node.get("disable").is_some_and(|disable| is_word(disable, "true")) {
        return "none";
    }
    let is_there = |entry: &&Entry| {
        !entry.node.is_null() && !entry.node.get("enabled").is_some_and(|enabled| is_word(enabled, "false"))
    };
    let explicit = section.node.get("explicit").filter(is_there);
    let Some(exponential) = section.node.get("exponential").filter(is_there) else {
        if let Some(explicit) = explicit.filter(|explicit| explicit.node.get("buckets").is_none()) {
            let key = format!("{key}.histogram.explicit");
            let remedy = "write `buckets: [10ms, 100ms, 1s]`, or leave it out for the default";
            importer.refuse(explicit.line, &key, "an explicit histogram without bounds", remedy);
        }
        return "explicit";
    };
    if explicit.is_some() {
        let key = format!("{key}.histogram.exponential");
        importer.refuse(
            exponential.line,
            &key,
            "use either `explicit` or `exponential` buckets histogram",
            "remove one",
        );
    }
    "exponential"
}
