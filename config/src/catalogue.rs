//! The catalogue: every knob once, with its path, kind, bounds, effect and the place its value goes to. File,
//! environment, flags, the reference page and `effective` are all read off this table.

mod cluster;
mod control;
mod exporter;
mod node;
mod receiver;
mod sampling;
mod service_graph;
mod summaries;
mod wal;

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::time::Duration;

use crate::choices::Choice;
use crate::draft::{Draft, ReceiverDraft, Which};
use crate::sampling::native::NativeRule;
use crate::sampling::{Policy, Sampling};
use crate::settings::{JoinName, ListenAddress, MetricRule, OtlpExporter, Pipeline, Secret};
use crate::value::{show_bytes, show_duration};
use tailwater_dial::Trigger;

/// What a key takes, with its bounds (inclusive).
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Kind {
    /// true or false.
    Bool,
    /// A whole number.
    Count {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A size in bytes, with or without a unit.
    Bytes {
        /// Smallest.
        min: u64,
        /// Largest.
        max: u64,
    },
    /// A Go duration.
    Duration {
        /// Shortest.
        min: Duration,
        /// Longest.
        max: Duration,
    },
    /// A number.
    Number {
        /// Smallest.
        min: f64,
        /// Largest.
        max: f64,
    },
    /// Text.
    Text,
    /// Text that is never printed.
    Secret,
    /// A path of the file system.
    Path,
    /// `host:port` to listen on.
    Address,
    /// A list of `host:port` to send to; on the command line separated by commas.
    Addresses,
    /// One of a few words.
    Choice(&'static [&'static str]),
    /// A list of text; on the command line separated by commas.
    List,
    /// HTTP statuses; on the command line separated by commas.
    Statuses,
    /// Text by name; on the command line `name=value` separated by commas. Values are secrets.
    Headers,
    /// Sampling policies in the Collector's shape; on the command line as YAML in one line.
    Policies,
    /// Our own sampling rules; on the command line as YAML in one line.
    Rules,
    /// What is done with metrics; on the command line as YAML in one line.
    MetricRules,
    /// When the node does less; on the command line as YAML in one line.
    Triggers,
}

/// The place a key's value goes to.
pub(crate) enum Slot<'a> {
    Bool(&'a mut bool),
    /// Also for sizes: the kind tells them apart.
    Count(&'a mut u64),
    OptionalCount(&'a mut Option<usize>),
    Number(&'a mut f64),
    Duration(&'a mut Duration),
    /// Never empty.
    Text(&'a mut String),
    OptionalText(&'a mut Option<String>),
    Secret(&'a mut Option<Secret>),
    Path(&'a mut PathBuf),
    OptionalPath(&'a mut Option<PathBuf>),
    Address(&'a mut ListenAddress),
    OptionalAddress(&'a mut Option<ListenAddress>),
    Addresses(&'a mut Vec<JoinName>),
    Choice(&'a mut dyn Choice),
    List(&'a mut Vec<String>),
    Statuses(&'a mut Vec<u16>),
    Headers(&'a mut Vec<(String, String)>),
    Policies(&'a mut Vec<Policy>),
    Rules(&'a mut Vec<NativeRule>),
    MetricRules(&'a mut Vec<MetricRule>),
    Triggers(&'a mut Vec<Trigger>),
}

/// One knob of a `T`.
pub(crate) struct Key<T: 'static> {
    /// Path below the section of `T`.
    pub(crate) path: &'static str,
    /// What it takes.
    pub(crate) kind: Kind,
    /// What it does, in a sentence or two of Markdown.
    pub(crate) effect: &'static str,
    /// Flag name when it is not the path with dashes.
    pub(crate) flag: Option<&'static str>,
    /// Text of the default where it is worked out at start.
    pub(crate) default: Option<&'static str>,
    /// Where the value goes.
    pub(crate) slot: fn(&mut T) -> Slot<'_>,
}

impl<T> Key<T> {
    const fn new(path: &'static str, kind: Kind, slot: fn(&mut T) -> Slot<'_>, effect: &'static str) -> Self {
        Self { path, kind, effect, flag: None, default: None, slot }
    }

    const fn flag(mut self, flag: &'static str) -> Self {
        self.flag = Some(flag);
        self
    }

    const fn default(mut self, text: &'static str) -> Self {
        self.default = Some(text);
        self
    }
}

/// One knob as documentation and the command line see it.
#[derive(Debug, Clone, PartialEq)]
pub struct Knob {
    /// Dotted path in the native file, such as `otlp.grpc.endpoint`.
    pub path: String,
    /// Flag without dashes, such as `otlp-grpc-endpoint`.
    pub flag: String,
    /// Environment variable, such as `TAILWATER_OTLP_GRPC_ENDPOINT`.
    pub environment: String,
    /// What it takes.
    pub kind: Kind,
    /// Written form of the native default.
    pub default: String,
    /// What it does, in a sentence or two of Markdown.
    pub effect: &'static str,
}

/// A knob and what it is a knob of.
#[derive(Clone)]
pub(crate) enum Target {
    Node(&'static Key<Draft>),
    Receiver(Which, &'static Key<ReceiverDraft>),
    /// With the receiver's number among those beside the first.
    FurtherReceiver(usize, Which, &'static Key<ReceiverDraft>),
    Sampling(&'static Key<Sampling>),
    /// With the pipeline's name.
    PipelineSampling(String, &'static Key<Sampling>),
    /// With the pipeline's name.
    Pipeline(String, &'static Key<Pipeline>),
    /// With the exporter's name.
    Exporter(String, &'static Key<OtlpExporter>),
}

impl Target {
    /// The knob at a dotted path. An exporter may have a name: `exporters.otlp/backup.timeout`.
    pub(crate) fn find(path: &str) -> Option<Self> {
        if let Some(rest) = path.strip_prefix("otlp.grpc.") {
            return receiver::KEYS.iter().find(|key| key.path == rest).map(|key| Self::Receiver(Which::Grpc, key));
        }
        if let Some(rest) = path.strip_prefix("otlp.http.") {
            return receiver::KEYS.iter().find(|key| key.path == rest).map(|key| Self::Receiver(Which::Http, key));
        }
        if let Some((name, rest)) = path.strip_prefix("exporters.").and_then(|path| path.split_once('.'))
            && is_exporter_name(name)
        {
            return Self::exporter(name, rest);
        }
        if let Some((name, rest)) = path.strip_prefix("pipelines.").and_then(|path| path.split_once('.'))
            && is_pipeline_name(name)
        {
            return Self::pipeline(name, rest);
        }
        if let Some(rest) = path.strip_prefix("sampling.") {
            return sampling::KEYS.iter().find(|key| key.path == rest).map(Self::Sampling);
        }
        node::KEYS
            .iter()
            .chain(wal::KEYS)
            .chain(summaries::KEYS)
            .chain(service_graph::KEYS)
            .chain(control::KEYS)
            .chain(cluster::KEYS)
            .find(|key| key.path == path)
            .map(Self::Node)
    }

    /// The knob at a path below a listener of the receiver of that number beside the first.
    pub(crate) fn further_receiver(number: usize, which: Which, rest: &str) -> Option<Self> {
        let key = receiver::KEYS.iter().find(|key| key.path == rest)?;
        Some(Self::FurtherReceiver(number, which, key))
    }

    /// The knob at a path below the exporter of that name, whatever the name is.
    pub(crate) fn exporter(name: &str, rest: &str) -> Option<Self> {
        let key = exporter::KEYS.iter().find(|key| key.path == rest)?;
        Some(Self::Exporter(name.to_string(), key))
    }

    /// The knob at a path below the pipeline of that name, whatever the name is.
    pub(crate) fn pipeline(name: &str, rest: &str) -> Option<Self> {
        if rest == sampling::EXPORTERS.path {
            return Some(Self::Pipeline(name.to_string(), &sampling::EXPORTERS));
        }
        let key = sampling::KEYS.iter().find(|key| key.path == rest)?;
        Some(Self::PipelineSampling(name.to_string(), key))
    }

    /// What the knob takes.
    pub(crate) fn kind(&self) -> Kind {
        match self {
            Self::Sampling(key) | Self::PipelineSampling(_, key) => key.kind,
            Self::Pipeline(_, key) => key.kind,
            Self::Node(key) => key.kind,
            Self::Receiver(_, key) | Self::FurtherReceiver(_, _, key) => key.kind,
            Self::Exporter(_, key) => key.kind,
        }
    }

    /// Where the value goes; an exporter or pipeline that is not there yet is added.
    pub(crate) fn slot<'a>(&self, draft: &'a mut Draft) -> Slot<'a> {
        match self {
            Self::Sampling(key) => (key.slot)(&mut draft.config.sampling),
            Self::PipelineSampling(name, key) => (key.slot)(&mut draft.pipeline_mut(name).sampling),
            Self::Pipeline(name, key) => (key.slot)(draft.pipeline_mut(name)),
            Self::Node(key) => (key.slot)(draft),
            Self::Receiver(which, key) => (key.slot)(draft.receiver_mut(*which)),
            Self::FurtherReceiver(number, Which::Grpc, key) => (key.slot)(&mut draft.further_mut(*number).grpc),
            Self::FurtherReceiver(number, Which::Http, key) => (key.slot)(&mut draft.further_mut(*number).http),
            Self::Exporter(name, key) => (key.slot)(draft.exporter_mut(name)),
        }
    }
}

/// Whether a key of the native file's `exporters` section names an OTLP exporter.
pub(crate) fn is_exporter_name(name: &str) -> bool {
    name == "otlp" || name.strip_prefix("otlp/").is_some_and(|rest| !rest.is_empty() && !rest.contains('.'))
}

/// Whether a key of the native file's `pipelines` section can name a pipeline.
pub(crate) fn is_pipeline_name(name: &str) -> bool {
    !name.is_empty() && name.len() <= PIPELINE_NAME_BYTES_MAX && !name.contains(['.', '\n'])
}

/// Longest name of a pipeline: each byte may take three in the name of its log's directory, and file systems take 255.
const PIPELINE_NAME_BYTES_MAX: usize = 80;

/// The native names of the exporters of a Collector's file, which has other names for OTLP exporters. No two are the same.
pub(crate) fn native_exporter_names(names: &[String]) -> Vec<String> {
    let native = |name: &String| {
        if is_exporter_name(name) { name.clone() } else { format!("otlp/{}", name.replace(['/', '.'], "-")) }
    };
    apart(names, native)
}

/// The native names of the pipelines of a Collector's file, where a name may hold a dot. No two are the same.
pub(crate) fn native_pipeline_names(names: &[String]) -> Vec<String> {
    apart(names, |name| name.replace('.', "-"))
}

/// The names in another form, with a number behind one that another has already. Those that stay as they are come first.
fn apart(names: &[String], form: impl Fn(&String) -> String) -> Vec<String> {
    let mut taken: BTreeSet<String> = names.iter().filter(|name| form(name) == **name).cloned().collect();
    let one = |name: &String| {
        let wanted = form(name);
        if wanted == *name {
            return wanted;
        }
        let numbered = (2..).map(|number| format!("{wanted}-{number}"));
        let free = std::iter::once(wanted.clone()).chain(numbered).find(|name| taken.insert(name.clone()));
        free.unwrap_or(wanted)
    };
    names.iter().map(one).collect()
}

/// Every knob, in the order of the reference page. Pipelines have those of `sampling` again, in the file alone.
#[must_use]
pub fn knobs() -> Vec<Knob> {
    let mut draft = Draft::native();
    let mut knobs = Vec::new();
    let (before, after) = node::KEYS.split_at(node::KEYS_BEFORE_RECEIVERS);
    for key in before {
        knobs.push(knob("", key, &mut draft));
    }
    for (prefix, which) in [("otlp.grpc.", Which::Grpc), ("otlp.http.", Which::Http)] {
        for key in receiver::KEYS {
            knobs.push(knob(prefix, key, draft.receiver_mut(which)));
        }
    }
    for key in wal::KEYS.iter().chain(cluster::KEYS) {
        knobs.push(knob("", key, &mut draft));
    }
    for key in sampling::KEYS {
        knobs.push(knob("sampling.", key, &mut draft.config.sampling));
    }
    for key in summaries::KEYS.iter().chain(service_graph::KEYS).chain(control::KEYS) {
        knobs.push(knob("", key, &mut draft));
    }
    for key in after {
        knobs.push(knob("", key, &mut draft));
    }
    for key in exporter::KEYS {
        knobs.push(knob("exporters.otlp.", key, draft.exporter_mut("otlp")));
    }
    knobs
}

/// A knob of an actual configuration.
pub(crate) struct Row {
    /// Path as it stands in `Loaded::sources`.
    pub(crate) path: String,
    /// Path in the native file, in pieces, for an exporter's name may hold a dot.
    pub(crate) segments: Vec<String>,
    /// The knob.
    pub(crate) target: Target,
}

fn pieces(path: &str) -> Vec<String> {
    path.split('.').map(ToString::to_string).collect()
}

/// Every knob of one pipeline.
fn pipeline_rows(name: &str, native: &str) -> Vec<Row> {
    let row = |rest: &str, target| {
        let mut segments = vec!["pipelines".to_string(), native.to_string()];
        segments.extend(pieces(rest));
        Row { path: format!("pipelines.{name}.{rest}"), segments, target }
    };
    let exporters = &sampling::EXPORTERS;
    let own = std::iter::once(row(exporters.path, Target::Pipeline(name.to_string(), exporters)));
    own.chain(sampling::KEYS.iter().map(|key| row(key.path, Target::PipelineSampling(name.to_string(), key)))).collect()
}

/// Every knob of a configuration with exporters and pipelines of those names. Where there are pipelines, `sampling` has
/// been said by each.
pub(crate) fn rows(exporters: &[String], pipelines: &[String]) -> Vec<Row> {
    let mut rows = Vec::new();
    for knob in knobs().into_iter().filter(|knob| !knob.path.starts_with("exporters.otlp.")) {
        let is_first = !rows.iter().any(|row: &Row| matches!(row.target, Target::PipelineSampling(..)));
        match Target::find(&knob.path) {
            Some(Target::Sampling(_)) if !pipelines.is_empty() && is_first => {
                let natives = native_pipeline_names(pipelines);
                rows.extend(pipelines.iter().zip(&natives).flat_map(|(name, native)| pipeline_rows(name, native)));
            }
            Some(Target::Sampling(_)) if !pipelines.is_empty() => {}
            Some(target) => rows.push(Row { segments: pieces(&knob.path), path: knob.path, target }),
            None => {}
        }
    }
    for (name, native) in exporters.iter().zip(native_exporter_names(exporters)) {
        for key in exporter::KEYS {
            let mut segments = vec!["exporters".to_string(), native.clone()];
            segments.extend(pieces(key.path));
            let path = format!("exporters.{name}.{}", key.path);
            rows.push(Row { path, segments, target: Target::Exporter(name.clone(), key) });
        }
    }
    rows
}

fn knob<T>(prefix: &str, key: &'static Key<T>, target: &mut T) -> Knob {
    let path = format!("{prefix}{}", key.path);
    let flag = key.flag.map_or_else(|| path.replace(['.', '_'], "-"), ToString::to_string);
    let environment = format!("TAILWATER_{}", flag.replace('-', "_").to_uppercase());
    let default = key.default.map_or_else(|| show(key.kind, &(key.slot)(target)), ToString::to_string);
    Knob { path, flag, environment, kind: key.kind, default, effect: key.effect }
}

/// What stands for a secret.
pub(crate) const REDACTED: &str = "[redacted]";

/// The written form of what a slot holds; empty when it holds nothing. Policies are shown by `effective` alone.
pub(crate) fn show(kind: Kind, slot: &Slot<'_>) -> String {
    match slot {
        Slot::Bool(value) => value.to_string(),
        Slot::Count(value) if matches!(kind, Kind::Bytes { .. }) => show_bytes(**value),
        Slot::Count(value) => value.to_string(),
        Slot::OptionalCount(value) => value.map(|value| value.to_string()).unwrap_or_default(),
        Slot::Number(value) => value.to_string(),
        Slot::Duration(value) => show_duration(**value),
        Slot::Text(value) => value.to_string(),
        Slot::Secret(value) => if value.is_some() { REDACTED } else { "" }.to_string(),
        Slot::OptionalText(value) => value.as_deref().unwrap_or_default().to_string(),
        Slot::Path(value) => value.display().to_string(),
        Slot::OptionalPath(value) => value.as_ref().map(|path| path.display().to_string()).unwrap_or_default(),
        Slot::Address(value) => value.to_string(),
        Slot::OptionalAddress(value) => value.as_ref().map_or_else(|| "none".to_string(), ToString::to_string),
        Slot::Addresses(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Slot::Choice(value) => value.chosen().to_string(),
        Slot::List(values) => values.join(","),
        Slot::Statuses(values) => values.iter().map(u16::to_string).collect::<Vec<_>>().join(","),
        Slot::Headers(values) => values.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>().join(","),
        Slot::Policies(values) => values.iter().map(|policy| policy.name.as_str()).collect::<Vec<_>>().join(","),
        Slot::Rules(values) => values.iter().map(|rule| rule.name.as_str()).collect::<Vec<_>>().join(","),
        Slot::MetricRules(values) => values.iter().map(ToString::to_string).collect::<Vec<_>>().join(","),
        Slot::Triggers(values) => values.iter().map(crate::triggers::show).collect::<Vec<_>>().join(","),
    }
}
