//! The next hop is away: what is kept waits in the log, over kills and stops too, and senders hear of it only when the
//! disk budget is used up.

use super::load::{Generator, Setting, Sink};
use super::spans::{large_span, offer};
use super::{
    BREAKER, EVERYTHING, EXPORTED, Metrics, RECEIVED, RUNTIMES, SMALL_LOG, address, all, is_settled, parked, stop, sum,
};
use std::net::SocketAddr;
use tailwater_tests::process::Tailwater;
use tempfile::TempDir;

/// An exporter that has room for little and gives up soon.
const NARROW: &[&str] = &[
    "--exporters-otlp-queue-bytes-max",
    "512KiB",
    "--exporters-otlp-batch-bytes-max",
    "64KiB",
    "--exporters-otlp-breaker-failures-max",
    "2",
    "--exporters-otlp-breaker-open-interval-max",
    "500ms",
    "--sampling-decision-wait",
    "200ms",
    "--drain-timeout",
    "1s",
];
const LOAD: &[&str] = &["--traces", "2500", "--rate", "20000", "--services", "1", "--keep-share", "1"];
/// Spans of `LOAD`.
const SPANS: f64 = 20_000.0;

struct Outage {
    setting: Setting,
    grpc: SocketAddr,
    next_hop: SocketAddr,
    files: TempDir,
}

impl Outage {
    fn new(runtime: &'static str) -> Self {
        let (grpc, next_hop) = (address(), address());
        Self { setting: Setting::new(grpc, next_hop, runtime), grpc, next_hop, files: TempDir::new().unwrap() }
    }

    fn node(&self, directory: TempDir, more: &[&str]) -> Tailwater {
        Tailwater::start_in(directory, &all(&[&self.setting.flags(), NARROW, more]))
    }

    fn load(&self, more: &[&str]) -> Generator {
        Generator::start(self.grpc, self.files.path(), &all(&[LOAD, more]))
    }
}

/// All is judged, and waits.
fn is_backlog(metrics: &Metrics) -> bool {
    metrics["tailwater_traces_pending"] == 0.0 && parked(metrics) > SPANS * 0.8
}

fn memory_is_bounded(metrics: &Metrics) {
    let queued = metrics["tailwater_exporter_queue_bytes{exporter=\"otlp\"}"];
    // A request of its own size for each core may stand above the bound.
    assert!(queued <= (512.0 + 4.0 * 64.0) * 1024.0, "{queued} bytes are queued");
    let buffered = sum(metrics, "tailwater_buffer_bytes", "");
    // Each core keeps some empty room for what comes next.
    assert!(buffered < 8e6, "{buffered} bytes are buffered though all is judged");
}

fn delivered(sink: Sink, twice_max: u64) {
    let judgement = sink.judge();
    let count = |key: &str| judgement[key].as_u64().unwrap();
    assert_eq!(count("whole"), 2500, "{judgement}");
    let twice = count("spans") - 20_000;
    eprintln!("{twice} spans came twice");
    assert!(twice <= twice_max, "{judgement}");
}

fn a_backlog_survives_kills(runtime: &'static str) {
    let outage = Outage::new(runtime);
    let mut node = outage.node(TempDir::new().unwrap(), &[]);
    let load = outage.load(&[]);
    let expected = load.expected.clone();
    load.end();
    for shards in ["3", "1", "2"] {
        node.until(is_backlog);
        node.until(|metrics| metrics[BREAKER] != 0.0);
        memory_is_bounded(&node.metrics());
        node = outage.node(node.crash(), &["--shards", shards]);
    }
    node.until(is_backlog);
    let sink = Sink::start(outage.next_hop, &[&expected]);
    node.until(|metrics| is_settled(metrics) && metrics[BREAKER] == 0.0);
    assert_eq!(node.metrics()[EXPORTED], SPANS);
    // Segments are freed; only the one that is written may stay.
    node.until(|metrics| sum(metrics, "tailwater_wal_unresolved_units", "") == 0.0);
    stop(node);
    delivered(sink, 0);
}

#[test]
fn a_backlog_survives_kills_on_uring() {
    a_backlog_survives_kills(RUNTIMES[0]);
}

#[test]
fn a_backlog_survives_kills_on_epoll() {
    a_backlog_survives_kills(RUNTIMES[1]);
}

/// A kill while the backlog is sent: what went out within the journal's interval goes out again, the rest does not.
#[test]
fn a_kill_while_the_backlog_goes_out() {
    let outage = Outage::new(RUNTIMES[0]);
    let node = outage.node(TempDir::new().unwrap(), &[]);
    let load = outage.load(&[]);
    let expected = load.expected.clone();
    load.end();
    node.until(is_backlog);
    let sink = Sink::start(outage.next_hop, &[&expected]);
    node.until(|metrics| metrics[EXPORTED] > SPANS / 4.0);
    let node = outage.node(node.crash(), &[]);
    node.until(is_settled);
    stop(node);
    delivered(sink, 20_000);
}

/// SIGTERM during the outage is no loss: the exit status says so, and the next start delivers.
#[test]
fn a_stop_during_the_outage_loses_nothing() {
    let outage = Outage::new(RUNTIMES[0]);
    let node = outage.node(TempDir::new().unwrap(), &["--sampling-decision-wait", "10m"]);
    let load = outage.load(&[]);
    let expected = load.expected.clone();
    load.end();
    let directory = stop(node);
    let node = outage.node(directory, &[]);
    let sink = Sink::start(outage.next_hop, &[&expected]);
    node.until(|metrics| is_settled(metrics) && metrics[EXPORTED] == SPANS);
    stop(node);
    delivered(sink, 0);
}

/// With the budget used up senders are told to come back, and do.
fn a_full_log_holds_senders_back(runtime: &'static str) {
    let outage = Outage::new(runtime);
    let full = ["--wal-bytes-max", "24MiB"];
    let node = outage.node(TempDir::new().unwrap(), &all(&[SMALL_LOG, &full]));
    // Three times what fits.
    let load = outage.load(&["--traces", "20000", "--spans-per-request", "200"]);
    let expected = load.expected.clone();
    let refused = "tailwater_wal_requests_refused_full_total{stage=\"log\"}";
    node.until(|metrics| metrics[refused] > 10.0);
    // Each core has its own part of the budget; a connection may come to one that has room yet.
    let offers = (0..100).map(|number| offer(node.http, vec![large_span(1 << 40, number, true, 500_000)]));
    let answers: Vec<_> = offers.take_while(|answer| answer.status == 200).collect();
    let taken = answers.len();
    let answer = offer(node.http, vec![large_span(1 << 40, 100, true, 500_000)]);
    assert!(answer.status == 503 && answer.retry_after.is_some_and(|seconds| seconds > 0), "{answer:?} {taken}");
    let metrics = node.metrics();
    let (used, limit) = ("tailwater_wal_segment_bytes", "tailwater_wal_segment_limit_bytes");
    assert!(sum(&metrics, used, "") <= sum(&metrics, limit, ""), "{metrics:?}");
    let sink = Sink::start(outage.next_hop, &[&expected]);
    let report = load.end();
    assert!(report["retried"].as_u64().unwrap() > 0 && report["unsent"] == 0, "{report}");
    let error = report["first_error"].as_str().unwrap().to_lowercase();
    assert!(error.contains("unavailable") && error.contains("full"), "{error}");
    node.until(is_settled);
    stop(node);
    let judgement = sink.judge();
    // The offered trace is none of the generator's: taken as it is.
    let traces = 20_000 + u64::from(taken > 0);
    let spans = 160_000 + taken as u64;
    assert_eq!((&judgement["whole"], &judgement["spans"]), (&traces.into(), &spans.into()), "{judgement}");
}

#[test]
fn a_full_log_holds_senders_back_on_uring() {
    a_full_log_holds_senders_back(RUNTIMES[0]);
}

#[test]
fn a_full_log_holds_senders_back_on_epoll() {
    a_full_log_holds_senders_back(RUNTIMES[1]);
}

/// Undecided traces fill the log long before their wait is over: the oldest are judged on what has come.
#[test]
fn a_full_log_may_judge_early() {
    let mut outage = Outage::new(RUNTIMES[0]);
    outage.setting.policies = EVERYTHING;
    let flags = ["--wal-bytes-max", "24MiB", "--wal-on-full", "decide_early", "--sampling-decision-wait", "10m"];
    let node = outage.node(TempDir::new().unwrap(), &all(&[SMALL_LOG, &flags]));
    let load = outage.load(&["--traces", "20000", "--spans-per-request", "200"]);
    let sink = Sink::start(outage.next_hop, &[&load.expected]);
    load.end();
    let metrics = node.metrics();
    assert!(metrics["tailwater_traces_decided_early_total"] > 1000.0, "{metrics:?}");
    assert_eq!(metrics[RECEIVED], 160_000.0);
    stop(node);
    let judgement = sink.judge();
    assert_eq!((&judgement["whole"], &judgement["spans"]), (&20_000.into(), &160_000.into()), "{judgement}");
}
