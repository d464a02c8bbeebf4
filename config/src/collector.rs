//! The OpenTelemetry Collector's file, taken as it is: the parts that its traces, logs and metrics pipelines use.
//!
//! What is not supported is named key by key with its line: as a note where ignoring it is harmless, as a problem where
//! ignoring it would change what is received, kept or sent.

mod connectors;
mod home;
mod pipelines;
mod service_graph;
mod span_metrics;
mod tables;
mod walk;

use std::collections::BTreeSet;

use crate::catalogue;
use crate::layers::Layers;
use crate::problem::{Fault, Source};
use crate::sampling::{Policy, Rule};
use crate::settings::{ExportProtocol, FILE_EXPORTER, NO_EXPORTER, OtlpExporter, Retry, Signals};
use crate::substitution::Surroundings;
use crate::yaml::{Entry, Node, Value};
use tailwater_ottl::suggest;

use pipelines::{Part, Pipeline, Signal};

/// Sections of the Collector's file.
const SECTIONS: &[&str] = &["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// Whether the file is written in the Collector's language.
pub(crate) fn is_collector(root: &Node) -> bool {
    ["receivers", "processors", "service"].iter().any(|section| root.get(section).is_some())
}

/// Whether a key at the top only holds what anchors stand in, as in Compose files and Helm charts.
pub(crate) fn is_holder(key: &str) -> bool {
    key.starts_with("x-") || key.starts_with('.')
}

/// The type of the processor that samples.
const SAMPLER: &str = "tail_sampling";

/// Pipelines of traces with the same receivers and the same sampler, or without any: what they keep is the same.
struct Way<'p> {
    sampler: Option<&'p Part>,
    pipelines: Vec<&'p Pipeline>,
}

impl Way<'_> {
    /// The name of the first pipeline, as under `service.pipelines`.
    fn name(&self) -> &str {
        let key = &self.pipelines[0].key;
        key.strip_prefix("service.pipelines.").unwrap_or(key)
    }

    fn has_receivers_of(&self, pipeline: &Pipeline) -> bool {
        let ids = |pipeline: &Pipeline| pipeline.receivers.iter().map(|part| part.id.clone()).collect::<BTreeSet<_>>();
        ids(self.pipelines[0]) == ids(pipeline)
    }

    /// Where what is kept goes, as in the list of a native pipeline.
    fn exporters(&self) -> Vec<String> {
        let mut names = BTreeSet::new();
        for part in self.pipelines.iter().flat_map(|pipeline| &pipeline.exporters) {
            match part.kind() {
                "file" => _ = names.insert(FILE_EXPORTER.to_string()),
                // These print or discard.
                "debug" | "logging" | "nop" => {}
                _ => _ = names.insert(part.id.clone()),
            }
        }
        if names.is_empty() { vec![NO_EXPORTER.to_string()] } else { names.into_iter().collect() }
    }
}

/// The ways of traces, in the order of their first pipelines.
fn ways(pipelines: &[Pipeline]) -> Vec<Way<'_>> {
    let mut ways: Vec<Way<'_>> = Vec::new();
    for pipeline in pipelines.iter().filter(|pipeline| pipeline.signal == Signal::Traces) {
        let sampler = pipeline.processors.iter().find(|part| part.kind() == SAMPLER);
        let id = |part: Option<&Part>| part.map(|part| part.id.clone());
        let is_alike = |way: &&mut Way<'_>| id(way.sampler) == id(sampler) && way.has_receivers_of(pipeline);
        match ways.iter_mut().find(is_alike) {
            Some(way) => way.pipelines.push(pipeline),
            None => ways.push(Way { sampler, pipelines: vec![pipeline] }),
        }
    }
    ways
}

/// The signals that a receiver takes, and the ways of its traces by name: none where there is one way, or all are fed.
fn fed_by(receiver: &str, pipelines: &[Pipeline]) -> (Signals, Vec<String>) {
    let names = |pipeline: &&Pipeline| pipeline.receivers.iter().any(|part| part.id == receiver);
    let mut signals = Signals::NONE;
    for pipeline in pipelines.iter().filter(names) {
        *pipeline.signal.of(&mut signals) = true;
    }
    let ways = ways(pipelines);
    let fed: Vec<String> =
        ways.iter().filter(|way| names(&way.pipelines[0])).map(|way| way.name().to_string()).collect();
    (signals, if fed.len() == ways.len() { Vec::new() } else { fed })
}

/// What an import needs everywhere.
struct Importer<'a> {
    layers: &'a mut Layers,
    surroundings: Surroundings<'a>,
}

impl Importer<'_> {
    fn source(&self, line: u32) -> Source {
        Source::File { name: self.surroundings.file.to_string(), line }
    }

    fn refuse(&mut self, line: u32, key: &str, cause: impl Into<String>, remedy: impl Into<String>) {
        let source = self.source(line);
        self.layers.findings.problem(source, key, None, Fault::new(cause, remedy));
    }

    fn note(&mut self, line: u32, key: &str, text: impl Into<String>) {
        let source = self.source(line);
        self.layers.findings.note(source, key, text);
    }

    /// Notes every value below `node`, so that none is passed over in silence.
    fn note_all(&mut self, line: u32, key: &str, node: &Node, text: &str) {
        match &node.value {
            Value::Map(entries) if !entries.is_empty() => {
                for entry in entries {
                    self.note_all(entry.line, &format!("{key}.{}", entry.key), &entry.node, text);
                }
            }
            _ => self.note(line, key, text),
        }
    }
}

/// Imports the file into a draft with the Collector's defaults.
pub(crate) fn import(layers: &mut Layers, surroundings: Surroundings<'_>, root: &Node) {
    let mut importer = Importer { layers, surroundings };
    let root = &importer.with_sections(root);
    importer.sections(root);
    let service = root.get("service");
    let Some(service) = service else {
        importer.refuse(1, "service", "the section is missing", "write service.pipelines.traces");
        return;
    };
    let read = pipelines::read(&mut importer, service);
    let pipelines = connectors::import(&mut importer, root, &read);
    importer.receivers(root, &pipelines);
    importer.processors(root, &read);
    importer.samplers(root, &pipelines);
    importer.exporters(root, &pipelines);
    importer.unused(root, &read);
}

impl Importer<'_> {
    fn expand(&mut self, key: &str, node: &mut Node) {
        self.surroundings.expand(key, node, &mut self.layers.findings);
    }

    /// The file with those sections expanded that come from elsewhere as a whole. The others are expanded component by
    /// component, so that one which is not used may name what is not there.
    fn with_sections(&mut self, root: &Node) -> Node {
        let mut root = root.clone();
        if let Value::Map(entries) = &mut root.value {
            for entry in entries.iter_mut().filter(|entry| matches!(entry.node.value, Value::Scalar(_))) {
                self.expand(&entry.key, &mut entry.node);
            }
        }
        root
    }

    fn sections(&mut self, root: &Node) {
        let Value::Map(entries) = &root.value else { return };
        for entry in entries {
            match entry.key.as_str() {
                "extensions" => {
                    let text = "extensions are not used here; health, metrics and status are at admin.endpoint";
                    self.note_all(entry.line, "extensions", &entry.node, text);
                }
                known if SECTIONS.contains(&known) || is_holder(known) => {}
                unknown => {
                    let near = suggest::nearest(unknown, SECTIONS.iter().copied());
                    let remedy = near.map_or_else(
                        || "remove it; tailwater's own keys are given as flags or TAILWATER_ variables".to_string(),
                        |near| format!("did you mean `{near}`?"),
                    );
                    self.refuse(entry.line, unknown, "unknown section", remedy);
                }
            }
        }
    }

    /// The component `part` names, with substitutions made. Says so when there is none.
    fn component(&mut self, root: &Node, section: &str, part: &Part) -> Option<Entry> {
        if let Some(entry) = root.get(section).and_then(|section| section.node.get(&part.id)) {
            let mut entry = entry.clone();
            self.expand(&format!("{section}.{}", part.id), &mut entry.node);
            return Some(entry);
        }
        let connector = root.get("connectors").is_some_and(|connectors| connectors.node.get(&part.id).is_some());
        if connector {
            let remedy = "remove it from the pipeline, or keep a Collector for it";
            self.refuse(part.line, &part.key, format!("the connector `{}` is not supported", part.id), remedy);
        } else {
            let known = root.get(section).map(|section| keys_of(&section.node)).unwrap_or_default();
            let near = suggest::nearest(&part.id, known.iter().copied());
            let remedy = near.map_or_else(
                || format!("define it under {section}, or remove it"),
                |near| format!("did you mean `{near}`?"),
            );
            self.refuse(part.line, &part.key, format!("`{}` is not defined under {section}", part.id), remedy);
        }
        None
    }

    fn receivers(&mut self, root: &Node, pipelines: &[Pipeline]) {
        self.layers.draft.config.receivers.signals = Signals::NONE;
        let mut number = 0;
        for part in distinct(pipelines, |pipeline| &pipeline.receivers) {
            if connectors::counts_spans(root, part) {
                continue;
            }
            let Some(entry) = self.component(root, "receivers", part) else { continue };
            if part.kind() == "otlp" {
                walk::receiver(self, &format!("receivers.{}", part.id), number, &entry);
                let draft = &mut self.layers.draft;
                let head = match number.checked_sub(1) {
                    None => &mut draft.config.receivers,
                    Some(further) => &mut draft.further_mut(further).head,
                };
                head.name.clone_from(&part.id);
                (head.signals, head.pipelines) = fed_by(&part.id, pipelines);
                number += 1;
            } else {
                let remedy = "remove it from the pipeline; send OTLP to the otlp receiver instead";
                self.refuse(part.line, &part.key, format!("the receiver `{}` is not supported", part.id), remedy);
            }
        }
        if number == 1 {
            // An only one needs no name to be told apart.
            self.layers.draft.config.receivers.name.clear();
        }
        self.forwarded_apart(pipelines);
    }

    /// Metrics and logs go to every exporter that takes them, from wherever they come. A file in which the way depends on
    /// the receiver is refused.
    fn forwarded_apart(&mut self, pipelines: &[Pipeline]) {
        for (signal, word) in [(Signal::Metrics, "metrics"), (Signal::Logs, "logs")] {
            let own: Vec<&Pipeline> = pipelines.iter().filter(|pipeline| pipeline.signal == signal).collect();
            let ids = |parts: &[Part]| parts.iter().map(|part| part.id.clone()).collect::<BTreeSet<String>>();
            let all: BTreeSet<String> = own.iter().flat_map(|pipeline| ids(&pipeline.receivers)).collect();
            for part in own.iter().flat_map(|pipeline| &pipeline.exporters) {
                let to_it = own.iter().filter(|pipeline| pipeline.exporters.iter().any(|other| other.id == part.id));
                let from: BTreeSet<String> = to_it.flat_map(|pipeline| ids(&pipeline.receivers)).collect();
                if from != all {
                    let cause = format!("{word} that go to other exporters by their receiver are not supported");
                    let remedy = "give the pipelines of a signal the same receivers, or run a node for each";
                    self.refuse(part.line, &part.key, cause, remedy);
                    break;
                }
            }
        }
    }

    fn processors(&mut self, root: &Node, pipelines: &[Pipeline]) {
        for part in distinct(pipelines, |pipeline| &pipeline.processors) {
            if part.kind() == SAMPLER {
                continue;
            }
            let Some(entry) = self.component(root, "processors", part) else { continue };
            let key = format!("processors.{}", part.id);
            if let Some(text) = tables::harmless_processor(part.kind()) {
                self.note_all(entry.line, &key, &entry.node, text);
            } else {
                let cause =
                    format!("the processor `{}` is not supported, and without it other data would be sent", part.id);
                self.refuse(
                    part.line,
                    &part.key,
                    cause,
                    "remove it from the pipeline, or run it in a Collector before or after",
                );
            }
        }
        self.misplaced_samplers(pipelines);
    }

    fn samplers(&mut self, root: &Node, pipelines: &[Pipeline]) {
        let ways = ways(pipelines);
        for way in &ways {
            // Only where there are several need they be told apart.
            let name = (ways.len() > 1).then(|| way.name());
            self.sampler(root, way, name);
        }
    }

    /// Samplers where they can't be: one after the other, or where there are no traces.
    fn misplaced_samplers(&mut self, pipelines: &[Pipeline]) {
        for pipeline in pipelines {
            let samplers = pipeline.processors.iter().filter(|part| part.kind() == SAMPLER);
            if pipeline.signal != Signal::Traces {
                for part in samplers {
                    self.refuse(
                        part.line,
                        &part.key,
                        "tail_sampling takes traces only",
                        "remove it from this pipeline",
                    );
                }
                continue;
            }
            for part in samplers.skip(1) {
                let cause = "a second tail_sampling processor in the same pipeline";
                let remedy = "join their policies with `and`, or give it a pipeline of its own";
                self.refuse(part.line, &part.key, cause, remedy);
            }
        }
    }

    /// The policies of one way, and where what they keep goes.
    fn sampler(&mut self, root: &Node, way: &Way<'_>, name: Option<&str>) {
        let first = way.pipelines[0];
        if let Some(name) = name {
            if !catalogue::is_pipeline_name(&name.replace('.', "-")) {
                let remedy = "give it a name of at most 80 bytes in one line";
                self.refuse(
                    first.line,
                    &first.key,
                    "the name of the pipeline is too long, or has a line break",
                    remedy,
                );
                return;
            }
            let source = self.source(first.line);
            self.layers.sources.insert(format!("pipelines.{name}"), source);
            let exporters = way.exporters();
            self.layers.draft.pipeline_mut(name).exporters = exporters;
        }
        match way.sampler.and_then(|part| Some((part, self.component(root, "processors", part)?))) {
            Some((part, entry)) => walk::tail_sampling(self, &format!("processors.{}", part.id), name, &entry),
            None => {
                let draft = &mut self.layers.draft;
                let sampling = match name {
                    Some(name) => &mut draft.pipeline_mut(name).sampling,
                    None => &mut draft.config.sampling,
                };
                sampling.policies = vec![Policy::new("keep_all", Rule::AlwaysSample)];
                // A sampler that is named and not defined has been refused.
                if way.sampler.is_none() {
                    self.note(first.line, &first.key, "has no tail_sampling processor, so every trace is kept");
                }
            }
        }
    }

    fn exporters(&mut self, root: &Node, pipelines: &[Pipeline]) {
        for part in distinct(pipelines, |pipeline| &pipeline.exporters) {
            if connectors::counts_spans(root, part) {
                continue;
            }
            let Some(entry) = self.component(root, "exporters", part) else { continue };
            let mut signals = Signals::NONE;
            for pipeline in
                pipelines.iter().filter(|pipeline| pipeline.exporters.iter().any(|other| other.id == part.id))
            {
                *pipeline.signal.of(&mut signals) = true;
            }
            let key = format!("exporters.{}", part.id);
            let source = self.source(entry.line);
            self.layers.written.insert(format!("{key}.endpoints"), format!("{key}.endpoint"));
            match part.kind() {
                "otlp" | "otlp_grpc" => {
                    self.layers.sources.insert(key.clone(), source);
                    self.layers.draft.exporters.push(collector_exporter(&part.id, signals, ExportProtocol::Grpc));
                    walk::exporter(self, &key, &part.id, &entry, tables::EXPORTER_GRPC);
                    walk::check_grpc_scheme(self, &key, &part.id, entry.line);
                }
                "otlphttp" | "otlp_http" => {
                    self.layers.sources.insert(key.clone(), source);
                    self.layers.draft.exporters.push(collector_exporter(
                        &part.id,
                        signals,
                        ExportProtocol::HttpProtobuf,
                    ));
                    walk::exporter(self, &key, &part.id, &entry, tables::EXPORTER_HTTP);
                }
                "file" => {
                    self.layers.draft.file.signals = signals;
                    walk::file_exporter(self, &key, &entry);
                }
                "debug" => {
                    let is_alone =
                        pipelines.iter().flat_map(|pipeline| &pipeline.exporters).all(|other| !other.sends());
                    walk::debug_exporter(self, &key, &entry);
                    if is_alone {
                        let text = "prints only: with no other exporter kept data is written to kept.jsonl in the data directory";
                        self.note(entry.line, &key, text);
                    }
                }
                "logging" | "nop" => {
                    self.note_all(entry.line, &key, &entry.node, "prints or discards only, is not used here");
                }
                _ => {
                    let cause = format!("the exporter `{}` is not supported", part.id);
                    self.refuse(part.line, &part.key, cause, "remove it from the pipeline; export OTLP instead");
                }
            }
        }
        self.silent_exporters(pipelines);
        for pipeline in pipelines.iter().filter(|pipeline| pipeline.exporters.is_empty()) {
            self.refuse(pipeline.line, &pipeline.key, "must have at least one exporter", "add `exporters: [...]`");
        }
    }

    /// Says where kept traces go when every exporter of the file prints or discards.
    fn silent_exporters(&mut self, pipelines: &[Pipeline]) {
        let is_silent = |part: &Part| matches!(part.kind(), "debug" | "logging" | "nop");
        let first = pipelines.iter().find(|pipeline| pipeline.signal == Signal::Traces);
        let parts: Vec<&Part> = pipelines.iter().flat_map(|pipeline| &pipeline.exporters).collect();
        if let Some(first) = first.filter(|_| !parts.is_empty() && parts.iter().all(|part| is_silent(part))) {
            let text = "no exporter here sends anything: kept traces are written to kept.jsonl in data_directory, unless \
                        a flag or variable names an exporter";
            self.note(first.line, &format!("{}.exporters", first.key), text);
        }
    }

    /// Components that no pipeline names.
    fn unused(&mut self, root: &Node, pipelines: &[Pipeline]) {
        let used: BTreeSet<&str> = pipelines.iter().flat_map(Pipeline::parts).map(|part| part.id.as_str()).collect();
        for section in ["receivers", "processors", "exporters", "connectors"] {
            let Some(entry) = root.get(section) else { continue };
            let Value::Map(components) = &entry.node.value else {
                if !entry.node.is_null() {
                    self.refuse(entry.line, section, format!("{} where a mapping is needed", entry.node.kind()), "");
                }
                continue;
            };
            for component in components.iter().filter(|component| !used.contains(component.key.as_str())) {
                self.note(component.line, &format!("{section}.{}", component.key), "is in no pipeline, is not used");
            }
        }
    }
}

/// An exporter with the Collector's defaults.
fn collector_exporter(name: &str, signals: Signals, protocol: ExportProtocol) -> OtlpExporter {
    let seconds = if protocol == ExportProtocol::Grpc { 5 } else { 30 };
    OtlpExporter {
        signals,
        protocol,
        timeout: std::time::Duration::from_secs(seconds),
        retry: Retry { initial_interval: std::time::Duration::from_secs(5), multiplier: 1.5, ..Retry::default() },
        ..OtlpExporter::named(name)
    }
}

fn keys_of(node: &Node) -> Vec<&str> {
    match &node.value {
        Value::Map(entries) => entries.iter().map(|entry| entry.key.as_str()).collect(),
        _ => Vec::new(),
    }
}

/// The parts of all pipelines, each id once, where it first stands.
fn distinct<'p>(pipelines: &'p [Pipeline], parts: impl Fn(&'p Pipeline) -> &'p [Part]) -> Vec<&'p Part> {
    let mut seen = BTreeSet::new();
    pipelines.iter().flat_map(parts).filter(|part| seen.insert(part.id.as_str())).collect()
}

/// The Collector's keys with what becomes of each, for the reference page.
pub(crate) fn reference_rows() -> Vec<(String, String)> {
    let tables = [
        ("receivers.otlp.protocols.grpc", "otlp.grpc.", tables::RECEIVER_GRPC),
        ("receivers.otlp.protocols.http", "otlp.http.", tables::RECEIVER_HTTP),
        ("processors.tail_sampling", "sampling.", tables::TAIL_SAMPLING),
        ("exporters.otlp", "exporters.otlp.", tables::EXPORTER_GRPC),
        ("exporters.otlphttp", "exporters.otlp.", tables::EXPORTER_HTTP),
        ("exporters.file", "", tables::EXPORTER_FILE),
        ("connectors.spanmetrics", "", tables::SPAN_METRICS),
        ("connectors.servicegraph", "", tables::SERVICE_GRAPH),
        ("service.telemetry", "", tables::TELEMETRY),
    ];
    let mut rows = Vec::new();
    for (key, home, table) in tables {
        walk::reference_rows(key, home, table, &mut rows);
    }
    rows
}
