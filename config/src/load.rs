//! The layers in order: defaults, file, environment, flags. All that is wrong is said at once.

use std::collections::BTreeMap;

use crate::catalogue::{self, Target};
use crate::collector;
use crate::draft::Draft;
use crate::finish;
use crate::foreign;
use crate::layers::Layers;
use crate::otel_environment;
use crate::problem::{Fault, Note, Problem, Source};
use crate::provenance;
use crate::settings::Config;
use crate::substitution::{ReadFile, Surroundings};
use crate::yaml::{self, Node, Value};
use tailwater_ottl::suggest;

/// The section of the native file for several ways of traces.
const PIPELINES: &str = "pipelines";

/// All that a configuration is made of. The caller reads files and the environment; nothing here does.
#[derive(Debug, Clone, Copy)]
pub struct Inputs<'a> {
    /// Name and text of the configuration file.
    pub file: Option<(&'a str, &'a str)>,
    /// The environment. Variables that are not for this program are passed over.
    pub environment: &'a [(String, String)],
    /// Flags as (path of the catalogue, text), in the order given; the last of a path holds.
    pub flags: &'a [(String, String)],
    /// Memory of the machine or of its control group, whichever is less, in bytes.
    pub machine_memory_bytes: u64,
}

/// Which language the file was written in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// This program's own, or no file at all.
    Native,
    /// The OpenTelemetry Collector's.
    Collector,
}

/// A configuration that can be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// The typed values.
    pub config: Config,
    /// What the user should know: keys of a Collector's file without effect here, choices made for them.
    pub notes: Vec<Note>,
    /// Where each key that is not at its default was written, by path.
    pub sources: BTreeMap<String, Source>,
    /// The keys of a Collector's file by the paths that they set.
    pub written: BTreeMap<String, String>,
    /// Which language the file was written in.
    pub form: Form,
}

impl Loaded {
    /// The problem as whoever wrote the configuration knows it: with the place where its key was written, by the name
    /// that the key has there.
    #[must_use]
    pub fn located(&self, problem: &Problem) -> Problem {
        let source = provenance::source(&self.sources, &problem.key);
        let mut remedy = problem.remedy.clone();
        if let Some(knob) = catalogue::knobs().into_iter().find(|knob| knob.path == problem.key)
            && self.form == Form::Collector
            && source == Source::Default
        {
            // The Collector's file has no place for it.
            remedy.push_str(&format!("; the flag is --{}, the variable {}", knob.flag, knob.environment));
        }
        Problem { source, key: provenance::written(&self.written, &problem.key), remedy, ..problem.clone() }
    }
}

/// A configuration that cannot be started.
#[derive(Debug, Clone, PartialEq)]
pub struct Refusal {
    /// Every problem found, in the order of the layers.
    pub problems: Vec<Problem>,
    /// What the user should know besides: it may be the cause.
    pub notes: Vec<Note>,
}

/// Layers file, environment and flags over the defaults and checks the whole. Other files that a value names are not
/// read.
///
/// # Errors
/// Every problem found, in the order of the layers. Nothing is started from a configuration with a problem.
pub fn load(inputs: &Inputs<'_>) -> Result<Loaded, Vec<Problem>> {
    load_reading(inputs, |_| Err("files are not read here".to_string())).map_err(|refusal| refusal.problems)
}

/// As `load`, with the files that `${file:PATH}` names.
///
/// # Errors
/// Every problem found, and the notes. Nothing is started from a configuration with a problem.
pub fn load_reading(inputs: &Inputs<'_>, read_file: ReadFile) -> Result<Loaded, Refusal> {
    let mut layers = Layers::new();
    let mut form = Form::Native;
    if let Some((name, text)) = inputs.file {
        form = layers.file(text, Surroundings { file: name, environment: inputs.environment, read_file });
    }
    // Beneath our own variables and flags, so that those refine the exporter the others describe.
    if !layers.has_exporter(inputs) {
        otel_environment::apply(&mut layers, inputs.environment);
    }
    layers.environment(inputs.environment);
    layers.flags(inputs.flags);
    let Layers { draft, mut findings, sources, written, is_unreadable } = layers;
    if is_unreadable {
        // What follows from a file that says nothing is no news.
        return Err(Refusal { problems: findings.problems, notes: findings.notes });
    }
    let config = finish::finish(draft, &sources, &written, inputs.machine_memory_bytes, &mut findings);
    match config {
        Some(config) if findings.problems.is_empty() => {
            Ok(Loaded { config, notes: findings.notes, sources, written, form })
        }
        _ => Err(Refusal { problems: findings.problems, notes: findings.notes }),
    }
}

impl Layers {
    /// Whether the file, our environment or a flag says where kept data goes.
    fn has_exporter(&self, inputs: &Inputs<'_>) -> bool {
        let says_where =
            |path: &str| path == "exporters.file.path" || path.ends_with("endpoints") || path.ends_with("_endpoint");
        let knobs = catalogue::knobs();
        let destinations = || knobs.iter().filter(|knob| knob.path.starts_with("exporters.") && says_where(&knob.path));
        !self.draft.exporters.is_empty()
            || self.draft.file_path.is_some()
            || inputs.flags.iter().any(|(path, _)| destinations().any(|knob| knob.path == *path))
            || inputs.environment.iter().any(|(name, _)| destinations().any(|knob| knob.environment == *name))
    }

    fn file(&mut self, text: &str, surroundings: Surroundings<'_>) -> Form {
        let name = surroundings.file;
        let at = |line| Source::File { name: name.to_string(), line };
        let document = match yaml::read(text) {
            Ok(document) => document,
            Err(error) => {
                self.findings.problem(at(error.line), "", None, Fault::new(error.cause, error.remedy));
                self.is_unreadable = true;
                return Form::Native;
            }
        };
        if let Some((line, fault)) = foreign::recognize(&document) {
            self.findings.problem(at(line), "", None, fault);
            self.is_unreadable = true;
            return Form::Native;
        }
        let mut root = document.root;
        if collector::is_collector(&root) {
            self.draft = Draft::collector();
            collector::import(self, surroundings, &root);
            return Form::Collector;
        }
        surroundings.expand("", &mut root, &mut self.findings);
        if !root.is_null() && !matches!(root.value, Value::Map(_)) {
            let fault = Fault::new(format!("{} where the sections are needed", root.kind()), "write a mapping");
            self.findings.problem(at(root.line), "", None, fault);
            return Form::Native;
        }
        // What `sampling` says holds in every pipeline that does not say otherwise, wherever it stands in the file.
        let (pipelines, others) = apart(&root);
        self.section("", &others, name);
        self.section("", &pipelines, name);
        Form::Native
    }

    /// One level of the native file. Depth is bounded by the YAML reader.
    fn section(&mut self, prefix: &str, node: &Node, file: &str) {
        let Value::Map(entries) = &node.value else { return };
        for entry in entries.iter().filter(|entry| !prefix.is_empty() || !collector::is_holder(&entry.key)) {
            let path = if prefix.is_empty() { entry.key.clone() } else { format!("{prefix}.{}", entry.key) };
            let source = Source::File { name: file.to_string(), line: entry.line };
            if prefix == PIPELINES && !catalogue::is_pipeline_name(&entry.key) {
                let remedy = "give it a name of at most 80 characters, without a dot";
                self.findings.problem(source, &path, None, Fault::new("not the name of a pipeline", remedy));
            } else if let Some(target) = Target::find(&path) {
                if entry.node.is_null() && entry.node.original.is_none() {
                    self.findings.note(source, &path, "nothing is written here, so the default holds");
                } else if !entry.node.is_null() {
                    self.set_node(&target, &path, &entry.node, file, source);
                }
            } else if !is_section(&path) {
                self.findings.problem(source, &path, None, Fault::new("unknown key", unknown_remedy(&path)));
            } else if matches!(entry.node.value, Value::Map(_)) || (entry.node.is_null() && is_pipeline_section(&path))
            {
                // A pipeline with nothing behind its name is as `sampling` says.
                if is_exporter_section(&path) {
                    self.draft.exporter_mut(&entry.key);
                    self.sources.insert(path.clone(), source);
                } else if is_pipeline_section(&path) {
                    self.draft.pipeline_mut(&entry.key);
                    self.sources.insert(path.clone(), source);
                }
                self.section(&path, &entry.node, file);
            } else if !entry.node.is_null() {
                let fault = Fault::new(format!("{} where a section is needed", entry.node.kind()), "write a mapping");
                self.findings.problem(source, &path, None, fault);
            }
        }
    }

    fn environment(&mut self, environment: &[(String, String)]) {
        let knobs = catalogue::knobs();
        for (name, text) in environment.iter().filter(|(name, _)| name.starts_with("TAILWATER_")) {
            let source = Source::Environment(name.clone());
            if let Some(knob) = knobs.iter().find(|knob| knob.environment == *name) {
                self.set_text(&knob.path, text, source);
            } else if !is_service_link(name) && name != CONFIGURATION_FILE {
                // Not refused: an orchestrator may inject variables that begin like ours.
                let near = suggest::nearest(name, knobs.iter().map(|knob| knob.environment.as_str()));
                let hint = near.map_or_else(String::new, |near| format!("; did you mean {near}?"));
                self.findings.note(source, name, format!("unknown variable, has no effect{hint}"));
            }
        }
    }

    fn flags(&mut self, flags: &[(String, String)]) {
        for (path, text) in flags {
            let flag = catalogue::knobs().into_iter().find(|knob| knob.path == *path).map(|knob| knob.flag);
            let source = Source::Flag(flag.clone().unwrap_or_else(|| path.clone()));
            if flag.is_some() {
                self.set_text(path, text, source);
            } else {
                self.findings.problem(source, path, None, Fault::new("unknown key", unknown_remedy(path)));
            }
        }
    }
}

/// The variable that names the file: it is for whoever reads that.
const CONFIGURATION_FILE: &str = "TAILWATER_CONFIG";

/// Variables that Kubernetes and Docker links inject for a service named `tailwater`.
fn is_service_link(name: &str) -> bool {
    name.ends_with("_SERVICE_HOST")
        || name.contains("_SERVICE_PORT")
        || name.contains("_PORT_")
        || name.ends_with("_PORT")
}

/// The section of pipelines, and all the others.
fn apart(root: &Node) -> (Node, Node) {
    let Value::Map(entries) = &root.value else { return (root.clone(), root.clone()) };
    let (pipelines, others) = entries.iter().cloned().partition(|entry| entry.key == PIPELINES);
    let with = |entries| Node::new(root.line, Value::Map(entries));
    (with(pipelines), with(others))
}

/// Whether `path` is a section of the native file.
fn is_section(path: &str) -> bool {
    if let Some(rest) = path.strip_prefix("pipelines.") {
        let (name, inner) = rest.split_once('.').unwrap_or((rest, ""));
        return catalogue::is_pipeline_name(name) && (inner.is_empty() || is_section(&format!("sampling.{inner}")));
    }
    if path == PIPELINES {
        return true;
    }
    let as_unnamed = match path.strip_prefix("exporters.").map(|rest| rest.split_once('.').unwrap_or((rest, ""))) {
        Some((name, rest)) if catalogue::is_exporter_name(name) => format!("exporters.otlp.{rest}"),
        _ => format!("{path}."),
    };
    let prefix = if as_unnamed.ends_with('.') { as_unnamed } else { format!("{as_unnamed}.") };
    catalogue::knobs().iter().any(|knob| knob.path.starts_with(&prefix))
}

fn is_pipeline_section(path: &str) -> bool {
    path.strip_prefix("pipelines.").is_some_and(catalogue::is_pipeline_name)
}

fn is_exporter_section(path: &str) -> bool {
    path.strip_prefix("exporters.").is_some_and(catalogue::is_exporter_name)
}

fn unknown_remedy(path: &str) -> String {
    let in_pipeline = path.strip_prefix("pipelines.").map(|rest| rest.split_once('.').unwrap_or((rest, "")));
    if let Some((_, rest)) = in_pipeline {
        let keys = ["exporters".to_string()].into_iter().chain(sampling_keys());
        let keys: Vec<String> = keys.collect();
        return match suggest::nearest(rest, keys.iter().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => "remove it; the keys of a pipeline are those of sampling, and exporters".to_string(),
        };
    }
    if ["otlp.grpc.tls", "otlp.http.tls"].iter().any(|tls| path == *tls || path.starts_with(&format!("{tls}."))) {
        return "TLS on receivers is not there yet: remove it and put a TLS proxy in front, or keep to a private network"
            .to_string();
    }
    let knobs = catalogue::knobs();
    let mut known: Vec<&str> = knobs.iter().map(|knob| knob.path.as_str()).collect();
    // Sections may be misspelt, too.
    let sections: Vec<String> = knobs
        .iter()
        .flat_map(|knob| knob.path.match_indices('.').map(|(end, _)| knob.path[..end].to_string()))
        .collect();
    known.extend(sections.iter().map(String::as_str));
    match suggest::nearest(path, known.into_iter()) {
        Some(near) => format!("did you mean `{near}`?"),
        None => "remove it; docs/configuration.md lists every key".to_string(),
    }
}

/// The keys below `sampling`.
fn sampling_keys() -> impl Iterator<Item = String> {
    catalogue::knobs().into_iter().filter_map(|knob| knob.path.strip_prefix("sampling.").map(ToString::to_string))
}
