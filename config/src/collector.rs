//! The OpenTelemetry Collector's file, taken as it is.

use crate::load::Layers;
use crate::yaml::Node;

/// Whether the file is written in the Collector's language.
pub(crate) fn is_collector(root: &Node) -> bool {
    ["receivers", "processors", "service"].iter().any(|section| root.get(section).is_some())
}

/// Imports the file.
pub(crate) fn import(_layers: &mut Layers, _name: &str, _root: Node, _environment: &[(String, String)]) {}
