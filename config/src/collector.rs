//! The OpenTelemetry Collector's file, taken as it is: the parts that its traces, logs and metrics pipelines use.
//!
//! What is not supported is named key by key with its line: as a note where ignoring it is harmless, as a problem where
//! ignoring it would change what is received, kept or sent.

mod pipelines;
mod substitution;
mod tables;
mod walk;

use std::collections::BTreeSet;

use crate::catalogue;
use crate::load::Layers;
use crate::problem::{Fault, Source};
use crate::sampling::{Policy, Rule};
use crate::settings::{ExportProtocol, FILE_EXPORTER, NO_EXPORTER, OtlpExporter, Retry, Signals};
use crate::suggest;
use crate::yaml::{Entry, Node, Value};

use pipelines::{Part, Pipeline, Signal};

/// Sections of the Collector's file.
const SECTIONS: &[&str] = &["receivers", "processors", "exporters", "connectors", "extensions", "service"];

/// Whether the file is written in the Collector's language.
pub(crate) fn is_collector(root: &Node) -> bool {
    ["receivers", "processors", "service"].iter().any(|section| root.get(section).is_some())
}

/// The type of the processor that samples.
const SAMPLER: &str = "tail_sampling";

/// Pipelines of traces with the same sampler, or without any: what they keep is the same.
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
        match ways.iter_mut().find(|way| id(way.sampler) == id(sampler)) {
            Some(way) => way.pipelines.push(pipeline),
            None => ways.push(Way { sampler, pipelines: vec![pipeline] }),
        }
    }
    ways
}

/// What an import needs everywhere.
struct Importer<'a> {
    layers: &'a mut Layers,
    file: &'a str,
    environment: &'a [(String, String)],
}

impl Importer<'_> {
    fn source(&self, line: u32) -> Source {
        Source::File { name: self.file.to_string(), line }
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
pub(crate) fn import(layers: &mut Layers, file: &str, root: &Node, environment: &[(String, String)]) {
    let mut importer = Importer { layers, file, environment };
    importer.sections(root);
    let service = root.get("service");
    let Some(service) = service else {
        importer.refuse(1, "service", "the section is missing", "write service.pipelines.traces");
        return;
    };
    let pipelines = pipelines::read(&mut importer, service);
    importer.receivers(root, &pipelines);
    importer.processors(root, &pipelines);
    importer.exporters(root, &pipelines);
    importer.unused(root, &pipelines);
}

impl Importer<'_> {
    fn sections(&mut self, root: &Node) {
        let Value::Map(entries) = &root.value else { return };
        for entry in entries {
            match entry.key.as_str() {
                "extensions" => {
                    let text = "extensions are not used here; health, metrics and status are at admin.endpoint";
                    self.note_all(entry.line, "extensions", &entry.node, text);
                }
                known if SECTIONS.contains(&known) => {}
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
            substitution::expand(self, &format!("{section}.{}", part.id), &mut entry.node);
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
        let signals = &mut self.layers.draft.config.receivers.signals;
        *signals = Signals::NONE;
        for pipeline in pipelines {
            *pipeline.signal.of(signals) = true;
        }
        let mut first: Option<&Part> = None;
        for part in distinct(pipelines, |pipeline| &pipeline.receivers) {
            let Some(entry) = self.component(root, "receivers", part) else { continue };
            if part.kind() != "otlp" {
                let remedy = "remove it from the pipeline; send OTLP to the otlp receiver instead";
                self.refuse(part.line, &part.key, format!("the receiver `{}` is not supported", part.id), remedy);
            } else if let Some(first) = first {
                let cause = format!("a second otlp receiver beside `{}`", first.id);
                self.refuse(part.line, &part.key, cause, "use one; any number of senders may share it");
            } else {
                first = Some(part);
                walk::receiver(self, &format!("receivers.{}", part.id), &entry);
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
            let Some(entry) = self.component(root, "exporters", part) else { continue };
            let mut signals = Signals::NONE;
            for pipeline in
                pipelines.iter().filter(|pipeline| pipeline.exporters.iter().any(|other| other.id == part.id))
            {
                *pipeline.signal.of(&mut signals) = true;
            }
            let key = format!("exporters.{}", part.id);
            let source = self.source(entry.line);
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
        for pipeline in pipelines.iter().filter(|pipeline| pipeline.exporters.is_empty()) {
            self.refuse(pipeline.line, &pipeline.key, "must have at least one exporter", "add `exporters: [...]`");
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
        ("service.telemetry", "", tables::TELEMETRY),
    ];
    let mut rows = Vec::new();
    for (key, home, table) in tables {
        walk::reference_rows(key, home, table, &mut rows);
    }
    rows
}
