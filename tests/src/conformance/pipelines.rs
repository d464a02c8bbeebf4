//! Two scenarios in one file: two samplers in two pipelines of the same receiver, each with a next hop of its own, and the
//! requests of both scenarios for both. Played through the Collector and through the program.

use super::collector::{Collector, exporter, send, telemetry};
use super::{KeptSpan, Scenario, spans_of};
use crate::next_hop::Server;
use crate::process::Tailwater;
use std::net::SocketAddr;
use std::path::Path;
use tempfile::TempDir;

/// What each pipeline keeps.
pub type Kept = [Vec<KeptSpan>; 2];

/// The file that both programs read; the program's flags say where it listens.
fn file(pair: &[Scenario; 2], receiver: SocketAddr, metrics: SocketAddr, sinks: &[Server; 2]) -> String {
    let [first, second] = pair;
    let telemetry = telemetry(metrics);
    format!(
        "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"127.0.0.1:0\"}}, http: {{endpoint: \"{receiver}\"}}}}}}}}
processors:
  tail_sampling/first: {}
  tail_sampling/second: {}
exporters:
  otlp_http/first: {}
  otlp_http/second: {}
service:
  telemetry: {telemetry}
  pipelines:
    traces/first: {{receivers: [otlp], processors: [tail_sampling/first], exporters: [otlp_http/first]}}
    traces/second: {{receivers: [otlp], processors: [tail_sampling/second], exporters: [otlp_http/second]}}
",
        first.processor,
        second.processor,
        exporter(sinks[0].address),
        exporter(sinks[1].address),
    )
}

/// What is sent: everything that is not late, of both.
fn bodies(pair: &[Scenario; 2]) -> impl Iterator<Item = &[u8]> {
    let requests = pair.iter().flat_map(|scenario| &scenario.requests);
    requests.filter(|request| !request.is_late).map(|request| request.body.as_ref())
}

/// Verdicts to wait for: both pipelines judge the traces of both.
fn verdicts(pair: &[Scenario; 2]) -> usize {
    2 * pair.iter().map(|scenario| scenario.traces(false).len()).sum::<usize>()
}

fn kept(sinks: &[Server; 2]) -> Kept {
    [0, 1].map(|number| {
        let mut kept: Vec<KeptSpan> = sinks[number].take_bodies().iter().flat_map(|body| spans_of(body)).collect();
        kept.sort();
        kept
    })
}

/// What the Collector keeps.
///
/// # Panics
/// When it does not do its part.
#[must_use]
pub fn play_collector(binary: &Path, pair: &[Scenario; 2]) -> Kept {
    let sinks = [Server::collecting(), Server::collecting()];
    let mut collector = Collector::start_on(binary, |receiver, metrics| file(pair, receiver, metrics, &sinks));
    collector.send(0, bodies(pair));
    collector.until_decided(verdicts(pair) as u64);
    kept(&sinks)
}

/// What the program keeps.
///
/// # Panics
/// When it does not do its part.
#[must_use]
pub fn play(pair: &[Scenario; 2]) -> Kept {
    let sinks = [Server::collecting(), Server::collecting()];
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("scenario.yaml");
    let nowhere = SocketAddr::from(([127, 0, 0, 1], 0));
    std::fs::write(&path, file(pair, nowhere, nowhere, &sinks)).unwrap();
    // The file has the log level of the Collector, and a start is seen by its line.
    let node = Tailwater::start(&["--config", path.to_str().unwrap(), "--log-level", "info"]);
    send(node.http, bodies(pair));
    let verdicts = verdicts(pair) as f64;
    node.until(|metrics| {
        let count = |name: &str| -> f64 {
            metrics.iter().filter(|(sample, _)| sample.starts_with(name)).map(|(_, count)| count).sum()
        };
        count("tailwater_traces_kept_total") + count("tailwater_traces_dropped_total") >= verdicts
    });
    let (status, log, _) = node.stop();
    assert!(status.success(), "{}", log.join("\n"));
    kept(&sinks)
}
