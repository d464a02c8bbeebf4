//! What of a changed configuration can take effect in a running node, and what cannot.

use crate::catalogue::{self, Slot};
use crate::draft::Draft;
use crate::sampling::{Policy, Rule, Sampling};
use crate::settings::{Config, Node};

/// Keys below `sampling` that size tables made at start, or say what a pending trace waits for.
const FIXED: [&str; 4] = [
    "sampling.strategy",
    "sampling.num_traces",
    "sampling.decision_cache.sampled_cache_size",
    "sampling.decision_cache.non_sampled_cache_size",
];

/// Whether a change of that key takes effect without a restart.
fn is_live(path: &str) -> bool {
    path == "reload_interval" || (path.starts_with("sampling.") && !FIXED.contains(&path))
}

/// The configuration of a node that runs `running` and is told `wanted`: what can change has changed.
#[must_use]
pub fn with_changes(running: &Config, wanted: &Config) -> Config {
    Config {
        node: Node { reload_interval: wanted.node.reload_interval, ..running.node.clone() },
        sampling: Sampling {
            traces_max: running.sampling.traces_max,
            sampled_cache_size: running.sampling.sampled_cache_size,
            non_sampled_cache_size: running.sampling.non_sampled_cache_size,
            strategy: running.sampling.strategy,
            ..wanted.sampling.clone()
        },
        ..running.clone()
    }
}

/// Whether two configurations mean the same: policies may stand on other lines.
#[must_use]
pub fn is_same(one: &Config, other: &Config) -> bool {
    let without_lines = |config: &Config| {
        let mut config = config.clone();
        config.sampling.policies.iter_mut().for_each(forget_lines);
        config
    };
    without_lines(one) == without_lines(other)
}

/// Depth is bounded by the nesting rules.
fn forget_lines(policy: &mut Policy) {
    policy.line = 0;
    match &mut policy.rule {
        Rule::And(policies) | Rule::Drop(policies) => policies.iter_mut().for_each(forget_lines),
        Rule::Composite { policies, .. } => policies.iter_mut().for_each(|(policy, _)| forget_lines(policy)),
        Rule::Not(policy) => forget_lines(policy),
        _ => {}
    }
}

/// Paths of the keys that differ and take effect at the next start only, in the order of the reference page.
#[must_use]
pub fn needs_restart(running: &Config, wanted: &Config) -> Vec<String> {
    let (mut mine, mut theirs) = (Draft::of(running), Draft::of(wanted));
    let names = |draft: &Draft| draft.exporters.iter().map(|exporter| exporter.name.clone()).collect::<Vec<_>>();
    let (before, after) = (names(&mine), names(&theirs));
    let came_or_went = before.iter().filter(|name| !after.contains(name));
    let came_or_went = came_or_went.chain(after.iter().filter(|name| !before.contains(name)));
    let mut paths: Vec<String> = came_or_went.map(|name| format!("exporters.{name}")).collect();
    let both: Vec<String> = before.iter().filter(|name| after.contains(name)).cloned().collect();
    for row in catalogue::rows(&both).into_iter().filter(|row| !is_live(&row.path)) {
        let kind = row.target.kind();
        let is_same = match (row.target.slot(&mut mine), row.target.slot(&mut theirs)) {
            // Their values are secrets, which are never shown.
            (Slot::Headers(mine), Slot::Headers(theirs)) => mine == theirs,
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
    use crate::settings::OtlpExporter;
    use std::time::Duration;

    #[test]
    fn what_can_change_changes_and_the_rest_is_named() {
        let mut running = Config::default();
        running.exporters.otlp.push(OtlpExporter::named("otlp"));
        let mut wanted = running.clone();
        wanted.sampling.decision_wait = Duration::from_secs(3);
        wanted.sampling.policies.truncate(1);
        wanted.node.reload_interval = Duration::ZERO;
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
}
