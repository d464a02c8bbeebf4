//! `service.pipelines`: which receivers, processors and exporters are used for which signal.

use super::{Importer, walk};
use crate::settings::Signals;
use crate::yaml::{Entry, Scalar, Value};

/// A kind of telemetry.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Signal {
    Traces,
    Metrics,
    Logs,
}

impl Signal {
    /// The flag of this signal.
    pub(super) fn of(self, signals: &mut Signals) -> &mut bool {
        match self {
            Self::Traces => &mut signals.traces,
            Self::Metrics => &mut signals.metrics,
            Self::Logs => &mut signals.logs,
        }
    }
}

/// A component named in a pipeline.
#[derive(Debug, Clone)]
pub(super) struct Part {
    /// Id of the component: `type` or `type/name`.
    pub(super) id: String,
    /// Where it is named.
    pub(super) line: u32,
    /// Path of that place.
    pub(super) key: String,
}

impl Part {
    /// The type of the component.
    pub(super) fn kind(&self) -> &str {
        self.id.split_once('/').map_or(self.id.as_str(), |(kind, _)| kind)
    }

    /// Whether an exporter of that type sends or keeps anything.
    pub(super) fn sends(&self) -> bool {
        !matches!(self.kind(), "debug" | "logging" | "nop")
    }
}

/// One pipeline.
#[derive(Debug, Clone)]
pub(super) struct Pipeline {
    pub(super) signal: Signal,
    pub(super) line: u32,
    /// Path of the pipeline.
    pub(super) key: String,
    pub(super) receivers: Vec<Part>,
    pub(super) processors: Vec<Part>,
    pub(super) exporters: Vec<Part>,
}

impl Pipeline {
    /// All components it names.
    pub(super) fn parts(&self) -> impl Iterator<Item = &Part> {
        self.receivers.iter().chain(&self.processors).chain(&self.exporters)
    }
}

/// Reads the `service` section.
pub(super) fn read(importer: &mut Importer<'_>, service: &Entry) -> Vec<Pipeline> {
    let mut node = service.node.clone();
    importer.expand("service", &mut node);
    let Value::Map(entries) = &node.value else {
        importer.refuse(service.line, "service", "the section is empty", "write service.pipelines.traces");
        return Vec::new();
    };
    let mut pipelines = Vec::new();
    for entry in entries {
        let key = format!("service.{}", entry.key);
        match entry.key.as_str() {
            "pipelines" => pipelines = read_pipelines(importer, entry),
            "extensions" => importer.note(entry.line, &key, "extensions are not used here"),
            "telemetry" => walk::telemetry(importer, &key, entry),
            _ => importer.refuse(entry.line, &key, "unknown key", "the keys here are pipelines, extensions, telemetry"),
        }
    }
    let problems = &importer.layers.findings.problems;
    if !pipelines.iter().any(|pipeline| pipeline.signal == Signal::Traces) && problems.is_empty() {
        importer.refuse(service.line, "service.pipelines", "there is no traces pipeline", "add `traces:`");
    }
    pipelines
}

fn read_pipelines(importer: &mut Importer<'_>, section: &Entry) -> Vec<Pipeline> {
    let Value::Map(entries) = &section.node.value else {
        importer.refuse(section.line, "service.pipelines", "the section is empty", "add `traces:`");
        return Vec::new();
    };
    let mut pipelines = Vec::new();
    for entry in entries {
        let key = format!("service.pipelines.{}", entry.key);
        let signal = match entry.key.split_once('/').map_or(entry.key.as_str(), |(kind, _)| kind) {
            "traces" => Signal::Traces,
            "metrics" => Signal::Metrics,
            "logs" => Signal::Logs,
            _ => {
                let cause = "not a signal that is supported";
                importer.refuse(entry.line, &key, cause, "the pipelines here are traces, metrics, logs");
                continue;
            }
        };
        pipelines.push(read_pipeline(importer, entry, key, signal));
    }
    pipelines
}

fn read_pipeline(importer: &mut Importer<'_>, entry: &Entry, key: String, signal: Signal) -> Pipeline {
    let line = entry.line;
    let mut pipeline =
        Pipeline { signal, line, key, receivers: Vec::new(), processors: Vec::new(), exporters: Vec::new() };
    let Value::Map(lists) = &entry.node.value else {
        importer.refuse(line, &pipeline.key, "the pipeline is empty", "add receivers, processors, exporters");
        return pipeline;
    };
    for list in lists {
        let key = format!("{}.{}", pipeline.key, list.key);
        let parts = match list.key.as_str() {
            "receivers" => &mut pipeline.receivers,
            "processors" => &mut pipeline.processors,
            "exporters" => &mut pipeline.exporters,
            _ => {
                importer.refuse(list.line, &key, "unknown key", "the keys here are receivers, processors, exporters");
                continue;
            }
        };
        *parts = read_parts(importer, list, &key);
    }
    if pipeline.receivers.is_empty() {
        importer.refuse(line, &pipeline.key, "must have at least one receiver", "add `receivers: [otlp]`");
    }
    pipeline
}

fn read_parts(importer: &mut Importer<'_>, list: &Entry, key: &str) -> Vec<Part> {
    let items = match &list.node.value {
        Value::List(items) => items.as_slice(),
        _ if list.node.is_null() => &[],
        _ => {
            importer.refuse(list.line, key, format!("{} where a list is needed", list.node.kind()), "write [a, b]");
            return Vec::new();
        }
    };
    let mut parts = Vec::with_capacity(items.len());
    for (index, item) in items.iter().enumerate() {
        let key = format!("{key}[{index}]");
        match &item.value {
            Value::Scalar(Scalar { text, .. }) if !item.is_null() => {
                parts.push(Part { id: text.clone(), line: item.line, key });
            }
            _ => importer.refuse(item.line, &key, format!("{} where a name is needed", item.kind()), "write a name"),
        }
    }
    parts
}
