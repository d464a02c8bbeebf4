//! Several ways of traces through one node: each with policies, memory and a journal of its own, all fed by the same
//! receivers. Metrics and logs take the first.

use super::{Config, Exporters, OtlpExporter};
use crate::sampling::Sampling;

/// The word in a pipeline's list of exporters that stands for the embedded file.
pub const FILE_EXPORTER: &str = "file";
/// The word there that says that nothing leaves.
pub const NO_EXPORTER: &str = "none";

/// One of several ways.
#[derive(Debug, Clone, PartialEq)]
pub struct Pipeline {
    /// Shown in metrics, status and explanations; part of the name of its log's directory.
    pub name: String,
    /// Names of the exporters of what is kept, `file` and `none` among them; empty for all that take traces.
    pub exporters: Vec<String>,
    /// How its traces are held and judged.
    pub sampling: Sampling,
}

impl Pipeline {
    fn has(&self, exporter: &str) -> bool {
        self.exporters.is_empty() || self.exporters.iter().any(|name| name == exporter)
    }
}

impl Config {
    /// How many ways there are for traces: one unless `pipelines` says otherwise.
    #[must_use]
    pub fn ways(&self) -> usize {
        self.pipelines.len().max(1)
    }

    /// Every way's sampling with the name of its pipeline; the only one of a node without pipelines has none.
    pub fn samplings(&self) -> impl Iterator<Item = (&str, &Sampling)> {
        let only = self.pipelines.is_empty().then_some(("", &self.sampling));
        only.into_iter().chain(self.pipelines.iter().map(|pipeline| (pipeline.name.as_str(), &pipeline.sampling)))
    }

    /// A configuration for each way, by the name of its pipeline: its own sampling and exporters, and its part of what is
    /// bounded for the node as a whole, save for memory and the log, whose plans are made for the node.
    #[must_use]
    pub fn by_pipeline(&self) -> Vec<(String, Self)> {
        self.by_pipeline_forwarding(|number| number == 0)
    }

    /// As `by_pipeline`; of the pipelines of those numbers metrics and logs are sent, too.
    #[must_use]
    pub fn by_pipeline_forwarding(&self, forwards: impl Fn(usize) -> bool) -> Vec<(String, Self)> {
        if self.pipelines.is_empty() {
            return vec![(String::new(), self.clone())];
        }
        let ways = u64::try_from(self.pipelines.len()).unwrap_or(u64::MAX);
        let numbered = self.pipelines.iter().enumerate();
        let each = numbered.map(|(number, pipeline)| {
            let mut config = self.clone();
            config.pipelines.clear();
            config.sampling = pipeline.sampling.clone();
            config.exporters = self.exporters_of(pipeline, number, &forwards);
            config.admin.explained_verdicts_max = self.admin.explained_verdicts_max.div_ceil(ways);
            (pipeline.name.clone(), config)
        });
        each.collect()
    }

    /// The exporters as one pipeline sees them: those that get its traces, and where it forwards, those that get metrics and
    /// logs.
    fn exporters_of(&self, pipeline: &Pipeline, number: usize, forwards: &impl Fn(usize) -> bool) -> Exporters {
        let is_forwarding = forwards(number);
        let mut otlp: Vec<OtlpExporter> = self.exporters.otlp.clone();
        for exporter in &mut otlp {
            exporter.queue_bytes_max /= self.queues_of(exporter, forwards);
            exporter.signals.traces &= pipeline.has(&exporter.name);
            exporter.signals.metrics &= is_forwarding;
            exporter.signals.logs &= is_forwarding;
        }
        otlp.retain(|exporter| !exporter.signals.is_empty());
        let mut file = self.exporters.file.clone();
        if let Some(file) = &mut file {
            file.signals.traces &= pipeline.has(FILE_EXPORTER);
            file.signals.metrics &= is_forwarding;
            file.signals.logs &= is_forwarding;
        }
        let debug = self.exporters.debug;
        Exporters { otlp, file: file.filter(|file| !file.signals.is_empty()), debug }
    }

    /// How many pipelines send through an exporter: each has a queue of its own there, and the bound is for the node.
    fn queues_of(&self, exporter: &OtlpExporter, forwards: &impl Fn(usize) -> bool) -> u64 {
        let sends = |number: usize, pipeline: &Pipeline| {
            (exporter.signals.traces && pipeline.has(&exporter.name))
                || (forwards(number) && (exporter.signals.metrics || exporter.signals.logs))
        };
        let senders = self.pipelines.iter().enumerate().filter(|(number, pipeline)| sends(*number, pipeline));
        u64::try_from(senders.count().max(1)).unwrap_or(u64::MAX)
    }
}
