//! A scenario played through the real program over OTLP, with the same file as the Collector.

use super::{KeptSpan, Scenario, collector, spans_of};
use crate::next_hop::Server;
use crate::process::Tailwater;
use tempfile::TempDir;

/// What the program keeps.
///
/// # Panics
/// When it does not do its part.
#[must_use]
pub fn play(scenario: &Scenario) -> Vec<KeptSpan> {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("scenario.yaml");
    std::fs::write(&file, scenario.file()).unwrap();
    let sink = Server::collecting();
    let mut command = Tailwater::command(directory.path(), &["--config", file.to_str().unwrap()]);
    command.env("CONFORMANCE_SINK", format!("http://{}", sink.address));
    let node = Tailwater::launch(directory, command);
    let (first, late): (Vec<_>, Vec<_>) = scenario.requests.iter().partition(|request| !request.is_late);
    collector::send(node.http, first.iter().map(|request| request.body.as_ref()));
    let traces = scenario.traces(false).len() as f64;
    node.until(|metrics| {
        let count = |name: &str| metrics.get(name).copied().unwrap_or_default();
        count("tailwater_traces_kept_total") + count("tailwater_traces_dropped_total") >= traces
    });
    collector::send(node.http, late.iter().map(|request| request.body.as_ref()));
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    let mut kept: Vec<KeptSpan> = sink.take_bodies().iter().flat_map(|body| spans_of(body)).collect();
    kept.sort();
    kept
}
