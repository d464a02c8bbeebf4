//! What a start says of itself, in a few lines: which program with which configuration, what is kept, where it goes, and
//! where the log is.

use crate::blueprint::Blueprint;
use crate::logging::ONCE;
use crate::source::ConfigurationSource;
use crate::terminal::VERSION;
use tailwater_config::{Config, Form, Loaded, NO_EXPORTER, Pipeline, sampling::Sampling, type_of};

/// Policies or rules of a pipeline that are named; the rest are counted.
const NAMED_MAX: usize = 20;

/// Logs the summary; the memory plan at debug, a line for each part.
pub fn tell(loaded: &Loaded, source: &ConfigurationSource, blueprint: &Blueprint) {
    let config = &loaded.config;
    let language = match (source.file(), loaded.form) {
        (None, _) => "none, defaults and what flags and variables say".to_string(),
        (Some(file), Form::Native) => file.display().to_string(),
        (Some(file), Form::Collector) => format!("{} (a Collector's)", file.display()),
    };
    let generation = blueprint.pipelines.first().map_or(0, |pipeline| pipeline.rules.generation());
    tracing::info!(target: ONCE, generation, "tailwater {VERSION}, configuration: {language}");
    for (name, sampling) in config.samplings() {
        let of = if name.is_empty() { String::new() } else { format!("pipeline {name}: ") };
        tracing::info!(target: ONCE, "{of}{}", policies(sampling));
        let pipeline = config.pipelines.iter().find(|pipeline| pipeline.name == name);
        tracing::info!(target: ONCE, "{of}kept traces go to {}", destinations(config, pipeline));
    }
    let data = config.node.data_directory.display();
    match &blueprint.wal {
        Some(_) => {
            let mib = config.wal.bytes_max >> 20;
            tracing::info!(target: ONCE, "data directory {data}, the log takes at most {mib} MiB of disk (wal.bytes_max)");
        }
        None => tracing::info!(target: ONCE, "data directory {data}, without a log: ack is received everywhere"),
    }
    tracing::info!(
        target: ONCE,
        "memory: at most {} MiB, {} MiB of it for pending traces",
        blueprint.memory.total >> 20,
        blueprint.memory.pending_bytes >> 20
    );
    for row in &blueprint.memory.rows {
        tracing::debug!(target: ONCE, "memory plan: {} {} KiB ({})", row.name, row.bytes >> 10, row.reason);
    }
}

/// What decides, by name and type.
fn policies(sampling: &Sampling) -> String {
    if !sampling.rules.is_empty() {
        let names: Vec<String> = sampling.rules.iter().map(|rule| rule.name.clone()).collect();
        return format!("rules: {}", listed(&names));
    }
    let typed = |policy: &tailwater_config::sampling::Policy| format!("{} ({})", policy.name, type_of(&policy.rule));
    let names: Vec<String> = sampling.policies.iter().map(typed).collect();
    match names.len() {
        0 => "policies: none, every trace is dropped".to_string(),
        _ => format!("policies: {}", listed(&names)),
    }
}

fn listed(names: &[String]) -> String {
    let named = names.iter().take(NAMED_MAX).cloned().collect::<Vec<_>>().join(", ");
    match names.len().checked_sub(NAMED_MAX) {
        None | Some(0) => named,
        Some(rest) => format!("{named} and {rest} more"),
    }
}

/// Where the kept traces of a pipeline go.
fn destinations(config: &Config, pipeline: Option<&Pipeline>) -> String {
    let is_named = |name: &str| {
        pipeline
            .is_none_or(|pipeline| pipeline.exporters.is_empty() || pipeline.exporters.iter().any(|own| own == name))
    };
    let servers = config.exporters.otlp.iter().filter(|exporter| exporter.signals.traces && is_named(&exporter.name));
    let mut found: Vec<String> =
        servers.map(|exporter| format!("{} ({})", exporter.name, exporter.traces_urls().join(", "))).collect();
    if let Some(file) = config.exporters.file.as_ref().filter(|file| file.signals.traces && is_named("file")) {
        found.push(format!("the file {}", file.path.display()));
    }
    let discards = pipeline.is_some_and(|pipeline| pipeline.exporters.iter().any(|name| name == NO_EXPORTER));
    match found.is_empty() {
        true if discards => "no exporter: they are discarded".to_string(),
        true => "no exporter".to_string(),
        false => found.join(", "),
    }
}
