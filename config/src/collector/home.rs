//! Where the knobs of a component are, and how a value gets there with its line and the key that it was written as.

use super::Importer;
use crate::assign::{self, Place};
use crate::catalogue::Target;
use crate::draft::Which;
use crate::finish::further_section;
use crate::yaml::Node;

/// Where a component's knobs are.
#[derive(Debug, Clone, Copy)]
pub(super) enum Home<'a> {
    Receiver(Which),
    /// Of the receiver of that number beside the first.
    Further(usize, Which),
    /// Of the pipeline of that name, or of the only way.
    Sampling(Option<&'a str>),
    Exporter(&'a str),
    Node,
}

impl Home<'_> {
    /// The native path of a knob below this home.
    pub(super) fn path(self, rest: &str) -> String {
        match self {
            Self::Receiver(Which::Grpc) => format!("otlp.grpc.{rest}"),
            Self::Receiver(Which::Http) => format!("otlp.http.{rest}"),
            Self::Further(number, Which::Grpc) => format!("{}.grpc.{rest}", further_section(number)),
            Self::Further(number, Which::Http) => format!("{}.http.{rest}", further_section(number)),
            Self::Sampling(None) => format!("sampling.{rest}"),
            Self::Sampling(Some(name)) => format!("pipelines.{name}.{rest}"),
            Self::Exporter(name) => format!("exporters.{name}.{rest}"),
            Self::Node => rest.to_string(),
        }
    }

    fn target(self, rest: &str) -> Option<Target> {
        match self {
            Self::Exporter(name) => Target::exporter(name, rest),
            Self::Further(number, which) => Target::further_receiver(number, which, rest),
            Self::Sampling(Some(name)) => Target::pipeline(name, rest),
            _ => Target::find(&self.path(rest)),
        }
    }
}

/// Puts a node of the file into a knob.
pub(super) fn set(importer: &mut Importer<'_>, home: Home<'_>, path: &str, key: &str, line: u32, node: &Node) {
    let Some(target) = home.target(path) else { return };
    let source = importer.source(line);
    importer.layers.sources.insert(home.path(path), source.clone());
    importer.layers.written.insert(home.path(path), key.to_string());
    let place = Place { key, file: importer.surroundings.file, source };
    let layers = &mut *importer.layers;
    assign::from_node(&place, target.kind(), target.slot(&mut layers.draft), node, &mut layers.findings);
}

/// Puts a text into a knob.
pub(super) fn set_text(importer: &mut Importer<'_>, home: Home<'_>, path: &str, key: &str, line: u32, text: &str) {
    let Some(target) = home.target(path) else { return };
    let source = importer.source(line);
    importer.layers.sources.insert(home.path(path), source.clone());
    importer.layers.written.insert(home.path(path), key.to_string());
    let place = Place { key, file: importer.surroundings.file, source };
    let layers = &mut *importer.layers;
    assign::from_text(&place, target.kind(), target.slot(&mut layers.draft), text, &mut layers.findings);
}
