//! The configuration while file, environment and flags are put on the defaults, and where each value was written.

use std::collections::BTreeMap;

use crate::assign::{self, Place};
use crate::catalogue::Target;
use crate::draft::Draft;
use crate::problem::{Findings, Source};
use crate::yaml::Node;

/// The configuration while layers are put on it.
pub(crate) struct Layers {
    pub(crate) draft: Draft,
    pub(crate) findings: Findings,
    pub(crate) sources: BTreeMap<String, Source>,
    /// The keys of a Collector's file by the paths that they set.
    pub(crate) written: BTreeMap<String, String>,
    /// The file could not be made sense of.
    pub(crate) is_unreadable: bool,
}

impl Layers {
    /// The native defaults and nothing on them.
    pub(crate) fn new() -> Self {
        Self {
            draft: Draft::native(),
            findings: Findings::default(),
            sources: BTreeMap::new(),
            written: BTreeMap::new(),
            is_unreadable: false,
        }
    }

    /// Assigns what is written in the file to a key.
    pub(crate) fn set_node(&mut self, target: &Target, path: &str, node: &Node, file: &str, source: Source) {
        self.sources.insert(path.to_string(), source.clone());
        let place = Place { key: path, file, source };
        assign::from_node(&place, target.kind(), target.slot(&mut self.draft), node, &mut self.findings);
    }

    /// Assigns text to the knob at `path`, which exists.
    pub(crate) fn set_text(&mut self, path: &str, text: &str, source: Source) {
        let (path, target) = self.only_exporter(path).unwrap_or_else(|| (path.to_string(), Target::find(path)));
        let Some(target) = target else { return };
        self.assign_text(&path, &target, text, source.clone());
        let Some(rest) = path.strip_prefix("sampling.").filter(|_| self.findings.problems.is_empty()) else { return };
        // Variables and flags are above the file, so that what they say of sampling holds in every pipeline.
        let names: Vec<String> = self.draft.config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect();
        for name in names {
            if let Some(target) = Target::pipeline(&name, rest) {
                self.assign_text(&format!("pipelines.{name}.{rest}"), &target, text, source.clone());
            }
        }
    }

    fn assign_text(&mut self, path: &str, target: &Target, text: &str, source: Source) {
        self.sources.insert(path.to_string(), source.clone());
        self.written.remove(path);
        let place = Place { key: path, file: "", source };
        assign::from_text(&place, target.kind(), target.slot(&mut self.draft), text, &mut self.findings);
    }

    /// A flag for `exporters.otlp` means the only exporter there is, whatever its name.
    fn only_exporter(&self, path: &str) -> Option<(String, Option<Target>)> {
        let rest = path.strip_prefix("exporters.otlp.")?;
        let [only] = self.draft.exporters.as_slice() else { return None };
        Some((format!("exporters.{}.{rest}", only.name), Target::exporter(&only.name, rest)))
    }
}
