//! What of a changed configuration can take effect in a running node, and what cannot.

use crate::catalogue::{self, Row, Slot, Target};
use crate::draft::Draft;
use crate::sampling::Sampling;
use crate::settings::{Config, Node, Pipeline};
use crate::{native, policies};

/// Keys of sampling that size tables made at start, or say how traces are put into them.
const MADE_AT_START: [&str; 4] =
    ["strategy", "num_traces", "decision_cache.sampled_cache_size", "decision_cache.non_sampled_cache_size"];

/// Whether a change of that knob takes effect without a restart.
fn is_live(row: &Row) -> bool {
    match &row.target {
        Target::Sampling(key) | Target::PipelineSampling(_, key) => !MADE_AT_START.contains(&key.path),
        _ => row.path == "reload_interval" || row.path.starts_with("control."),
    }
}

/// The configuration of a node that runs `running` and is told `wanted`: what can change has changed.
#[must_use]
pub fn with_changes(running: &Config, wanted: &Config) -> Config {
    let pipelines = running.pipelines.iter().map(|pipeline| {
        let same = wanted.pipelines.iter().find(|other| other.name == pipeline.name);
        let changed = same.map(|same| sampling_with_changes(&pipeline.sampling, &same.sampling));
        Pipeline { sampling: changed.unwrap_or_else(|| pipeline.sampling.clone()), ..pipeline.clone() }
    });
    // A node with pipelines has no use for `sampling`, and one without them can't be told by pipelines.
    let is_single = running.pipelines.is_empty() && wanted.pipelines.is_empty();
    Config {
        node: Node { reload_interval: wanted.node.reload_interval, ..running.node.clone() },
        sampling: if is_single {
            sampling_with_changes(&running.sampling, &wanted.sampling)
        } else {
            running.sampling.clone()
        },
        pipelines: pipelines.collect(),
        control: wanted.control.clone(),
        ..running.clone()
    }
}

fn sampling_with_changes(running: &Sampling, wanted: &Sampling) -> Sampling {
    Sampling {
        strategy: running.strategy,
        traces_max: running.traces_max,
        sampled_cache_size: running.sampled_cache_size,
        non_sampled_cache_size: running.non_sampled_cache_size,
        ..wanted.clone()
    }
}

/// Whether two configurations mean the same: policies may stand on other lines.
#[must_use]
pub fn is_same(one: &Config, other: &Config) -> bool {
    let without_lines = |config: &Config| {
        let mut config = config.clone();
        let pipelines = config.pipelines.iter_mut().map(|pipeline| &mut pipeline.sampling);
        for sampling in std::iter::once(&mut config.sampling).chain(pipelines) {
            policies::forget_lines(&mut sampling.policies);
            native::forget_lines(&mut sampling.rules);
        }
        config
    };
    without_lines(one) == without_lines(other)
}

/// Names that stand in one list only, and those that stand in both.
fn compared(before: &[String], after: &[String]) -> (Vec<String>, Vec<String>) {
    let came_or_went = before.iter().filter(|name| !after.contains(name));
    let came_or_went = came_or_went.chain(after.iter().filter(|name| !before.contains(name)));
    (came_or_went.cloned().collect(), before.iter().filter(|name| after.contains(name)).cloned().collect())
}

/// Paths of the keys that differ and take effect at the next start only, in the order of the reference page.
#[must_use]
pub fn needs_restart(running: &Config, wanted: &Config) -> Vec<String> {
    let (mut mine, mut theirs) = (Draft::of(running), Draft::of(wanted));
    let exporters = |draft: &Draft| draft.exporters.iter().map(|exporter| exporter.name.clone()).collect::<Vec<_>>();
    let pipelines = |config: &Config| config.pipelines.iter().map(|pipeline| pipeline.name.clone()).collect::<Vec<_>>();
    let (came_or_went, exporters) = compared(&exporters(&mine), &exporters(&theirs));
    let mut paths: Vec<String> = came_or_went.into_iter().map(|name| format!("exporters.{name}")).collect();
    let (before, after) = (pipelines(running), pipelines(wanted));
    let (came_or_went, both) = compared(&before, &after);
    paths.extend(came_or_went.into_iter().map(|name| format!("pipelines.{name}")));
    if both.len() == before.len() && both.len() == after.len() && before != after {
        // Metrics and logs take the first, so that their order has a meaning.
        paths.push("pipelines".to_string());
    }
    let head = |config: &Config| (config.receivers.name.clone(), config.receivers.pipelines.clone());
    if running.further_receivers != wanted.further_receivers || head(running) != head(wanted) {
        paths.push("receivers".to_string());
    }
    for row in catalogue::rows(&exporters, &both).into_iter().filter(|row| !is_live(row)) {
        if both.is_empty() && (before != after) && matches!(row.target, Target::Sampling(_)) {
            continue;
        }
        let kind = row.target.kind();
        let is_same = match (row.target.slot(&mut mine), row.target.slot(&mut theirs)) {
            // Their values are secrets, which are never shown.
            (Slot::Headers(mine), Slot::Headers(theirs)) => mine == theirs,
            (Slot::Secret(mine), Slot::Secret(theirs)) => mine == theirs,
            (mine, theirs) => catalogue::show(kind, &mine) == catalogue::show(kind, &theirs),
        };
        if !is_same {
            paths.push(row.path);
        }
    }
    paths
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::settings::{ControlPreset, OtlpExporter};
    use std::time::Duration;

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let mut running = Config::default();
        running.exporters.otlp.push(OtlpExporter::named("otlp"));
        let mut wanted = running.clone();
        wanted.sampling.decision_wait = Duration::from_secs(3);
        wanted.sampling.policies.truncate(1);
        wanted.node.reload_interval = Duration::ZERO;
        wanted.control.preset = ControlPreset::HighLoad;
        assert_eq!(needs_restart(&running, &wanted), [""; 0]);
        assert_eq!(with_changes(&running, &wanted), wanted);

        let live = wanted.clone();
        wanted.sampling.policies[0].line = 9;
        assert!(is_same(&wanted, &live) && !is_same(&wanted, &running));
        wanted.sampling.policies[0].line = 0;
        wanted.sampling.traces_max = 7;
        wanted.node.drain_timeout = Duration::from_secs(1);
        wanted.exporters.otlp[0].headers.push(("authorization".into(), "secret".into()));
        wanted.exporters.otlp.push(OtlpExporter::named("otlp/more"));
        let paths = ["exporters.otlp/more", "drain_timeout", "sampling.num_traces", "exporters.otlp.headers"];
        assert_eq!(needs_restart(&running, &wanted), paths);
        assert_eq!(with_changes(&running, &wanted), live);
    }

    #[test]
    fn pipelines_change_by_their_names() {
        let pipeline = |name: &str, wait| {
            let sampling = Sampling { decision_wait: Duration::from_secs(wait), ..Sampling::default() };
            Pipeline { name: name.to_string(), exporters: Vec::new(), sampling }
        };
        let running = Config { pipelines: vec![pipeline("a", 1), pipeline("b", 2)], ..Config::default() };
        let mut wanted = running.clone();
        wanted.pipelines[1].sampling.decision_wait = Duration::from_secs(9);
        assert_eq!(needs_restart(&running, &wanted), [""; 0]);
        assert_eq!(with_changes(&running, &wanted), wanted);
        assert!(!is_same(&running, &wanted));

        wanted.pipelines[1].sampling.traces_max = 7;
        wanted.pipelines[0].exporters.push("none".to_string());
        assert_eq!(needs_restart(&running, &wanted), ["pipelines.a.exporters", "pipelines.b.num_traces"]);
        wanted.pipelines.swap(0, 1);
        assert!(needs_restart(&running, &wanted).contains(&"pipelines".to_string()));

        let other = Config { pipelines: vec![pipeline("c", 1)], ..Config::default() };
        assert_eq!(needs_restart(&running, &other), ["pipelines.a", "pipelines.b", "pipelines.c"]);
        assert_eq!(with_changes(&running, &other), running);
        let single = Config::default();
        assert_eq!(needs_restart(&running, &single), ["pipelines.a", "pipelines.b"]);
        assert_eq!(with_changes(&running, &single), running);
        assert_eq!(with_changes(&single, &running), single);
    }
}
