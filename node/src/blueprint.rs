//! What the cores are made of, checked as far as that goes without touching the machine.

use std::sync::Arc;
use tailwater_config::{Config, MemoryPlan, Problem, Source, WalPlan, effective_sampling, memory_plan_with, wal_plan};
use tailwater_connectors::otlp::exporter::Endpoints;
use tailwater_engine::log::format::{PIPELINE_NAMES_BYTES_MAX, pipeline_names_bytes};
use tailwater_engine::rules::{Expressions, Rules};
use tailwater_runtime::affinity::{self, Placement};

/// What the cores are made of, checked.
pub struct Blueprint {
    /// Where shards run.
    pub placement: Placement,
    /// Bounds.
    pub memory: MemoryPlan,
    /// The bounds of each log, where there is one.
    pub wal: Option<WalPlan>,
    /// Each way of traces, in the order of the configuration.
    pub pipelines: Vec<Pipeline>,
}

/// One way of traces.
#[derive(Clone)]
pub struct Pipeline {
    /// Its name; none when it is the only one.
    pub name: String,
    /// The configuration as it has it.
    pub config: Arc<Config>,
    /// Memory for its pending traces on the node, bytes.
    pub pending_bytes: u64,
    /// Compiled policies.
    pub rules: Arc<Rules>,
}

/// Checks all that can be checked without touching the machine: used by `run` and `check`.
pub fn blueprint(config: &Config) -> Result<Blueprint, Box<Problem>> {
    blueprint_after(config, |_| None)
}

/// As `blueprint`, with rules that follow those that the pipeline of a name had.
pub fn blueprint_after(
    config: &Config,
    former: impl Fn(&str) -> Option<Arc<Rules>>,
) -> Result<Blueprint, Box<Problem>> {
    let node = &config.node;
    let placement = affinity::plan(node.shards, node.cores.as_deref(), node.gossip_core)
        .map_err(|error| problem("cores", error.to_string(), ""))?;
    if u16::try_from(placement.cores.len()).is_err() {
        return Err(problem("shards", "more than 65535 shards", "one for each core is enough"));
    }
    let wal = if config.needs_wal() { Some(wal_plan(config, placement.cores.len())?) } else { None };
    let names_bytes = pipeline_names_bytes(config.pipelines.iter().map(|pipeline| pipeline.name.as_str()));
    if wal.is_some() && names_bytes > PIPELINE_NAMES_BYTES_MAX {
        let cause = format!("their names take {names_bytes} bytes in the log, which has {PIPELINE_NAMES_BYTES_MAX}");
        return Err(problem("pipelines", cause, "choose shorter names"));
    }
    for exporter in &config.exporters.otlp {
        Endpoints::new(exporter).map_err(|error| problem(&error.key(), error.cause(), ""))?;
    }
    let (mut pipelines, mut expressions) = (Vec::new(), Expressions::default());
    for (name, config) in config.by_pipeline() {
        let rules = match former(&name) {
            Some(former) => Rules::compile_after(&config.sampling, &former),
            None => Rules::compile(&config.sampling),
        };
        let within = if name.is_empty() { "sampling".to_string() } else { format!("pipelines.{name}") };
        let rules = rules.map_err(|error| problem(&within, error.to_string(), ""))?;
        let rules = Arc::new(rules.named_by(&effective_sampling(&config.sampling)));
        expressions.merge(rules.expressions());
        pipelines.push(Pipeline { name, config: Arc::new(config), pending_bytes: 0, rules });
    }
    let memory = memory_plan_with(config, placement.cores.len(), expressions)?;
    for (pipeline, pending_bytes) in pipelines.iter_mut().zip(&memory.pending_bytes_by_pipeline) {
        pipeline.pending_bytes = *pending_bytes;
    }
    Ok(Blueprint { placement, memory, wal, pipelines })
}

/// A problem of that key, wherever it is written.
pub fn problem(key: &str, cause: impl Into<String>, remedy: &str) -> Box<Problem> {
    let (key, cause, remedy) = (key.to_string(), cause.into(), remedy.to_string());
    Box::new(Problem { source: Source::Default, key, value: None, cause, remedy })
}
