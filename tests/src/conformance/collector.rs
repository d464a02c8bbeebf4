//! Scenarios played through a running Collector, many at once: each has a processor, a receiver and a pipeline of its own
//! in one process; what is kept goes to one sink and is told apart by its trace ids.

use super::{KeptSpan, Mode, Scenario, spans_of};
use crate::next_hop::Server;
use crate::process::{PATIENCE, http_request};
use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// Writes into scopes which policy has kept a trace.
const RECORDING: &str = "--feature-gates=+processor.tailsamplingprocessor.recordpolicy";

/// Between two looks at something that takes a second or so.
const LOOK: Duration = Duration::from_millis(50);
/// All of a scenario must have come before the first of it can be judged.
const SENDING_MAX: Duration = Duration::from_millis(super::DECISION_WAIT_SECONDS * 1000 - 500);

const DECIDED: &str = "otelcol_processor_tail_sampling_global_count_traces_sampled";
/// These are judged as well, and counted here only.
const TOO_LARGE: &str = "otelcol_processor_tail_sampling_traces_dropped_too_large";
/// Late spans, where verdicts have a cache.
const RELEASED: &str = "otelcol_processor_tail_sampling_early_releases_from_cache_decision";
/// Late pieces, where they have none.
const FOLLOWED: &str = "otelcol_processor_tail_sampling_sampling_late_span_age_count";

/// A running Collector.
pub struct Collector {
    child: Child,
    receivers: Vec<SocketAddr>,
    metrics: SocketAddr,
    sink: Server,
    directory: TempDir,
}

/// An address on which nothing listens, of a host that nobody else uses.
pub(super) fn address() -> SocketAddr {
    let part = || fastrand::u8(1..255);
    TcpListener::bind((Ipv4Addr::new(127, part(), part(), part()), 0)).unwrap().local_addr().unwrap()
}

impl Collector {
    /// Starts a Collector with these processors and waits until it listens.
    ///
    /// # Panics
    /// When it does not start; says what it said.
    #[must_use]
    pub fn start(binary: &Path, processors: &[&serde_json::Value]) -> Self {
        Self::start_with(binary, processors, &[])
    }

    fn start_with(binary: &Path, processors: &[&serde_json::Value], arguments: &[&str]) -> Self {
        let mut collector = Self::spawn(binary, processors, arguments);
        collector.until_listening();
        collector
    }

    /// Starts a Collector with the file that is written for a receiver and an address for metrics, and waits until it
    /// listens. What it keeps goes where the file says.
    pub(super) fn start_on(binary: &Path, file: impl Fn(SocketAddr, SocketAddr) -> String) -> Self {
        let (receiver, metrics) = (address(), address());
        let text = file(receiver, metrics);
        let mut collector = Self::spawn_on(binary, &text, vec![receiver], metrics, Server::collecting(), &[]);
        collector.until_listening();
        collector
    }

    fn until_listening(&mut self) {
        let addresses: Vec<SocketAddr> = self.receivers.iter().copied().chain([self.metrics]).collect();
        for address in addresses {
            self.until(|_| TcpStream::connect(address).is_ok());
        }
    }

    fn spawn(binary: &Path, processors: &[&serde_json::Value], arguments: &[&str]) -> Self {
        let receivers: Vec<SocketAddr> = processors.iter().map(|_| address()).collect();
        let (metrics, sink) = (address(), Server::collecting());
        let text = file(processors, &receivers, metrics, sink.address);
        Self::spawn_on(binary, &text, receivers, metrics, sink, arguments)
    }

    fn spawn_on(
        binary: &Path,
        text: &str,
        receivers: Vec<SocketAddr>,
        metrics: SocketAddr,
        sink: Server,
        arguments: &[&str],
    ) -> Self {
        let directory = TempDir::new().unwrap();
        std::fs::write(directory.path().join("file.yaml"), text).unwrap();
        let log = std::fs::File::create(directory.path().join("log")).unwrap();
        let mut command = Command::new(binary);
        command.arg("--config").arg(directory.path().join("file.yaml")).args(arguments);
        let child = command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(log).spawn().unwrap();
        Self { child, receivers, metrics, sink, directory }
    }

    /// Looks again and again until it is so.
    fn until(&mut self, is_so: impl Fn(&Self) -> bool) {
        let end = Instant::now() + PATIENCE;
        while !is_so(self) {
            let ended = self.child.try_wait().unwrap();
            if ended.is_some() || Instant::now() >= end {
                let counts = if ended.is_none() { [self.decided(), self.metric(RELEASED)] } else { [0, 0] };
                panic!("the Collector ({ended:?}, decided and released {counts:?}) said:\n{}", self.said());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// What it wrote to its log.
    #[must_use]
    pub fn said(&self) -> String {
        std::fs::read_to_string(self.directory.path().join("log")).unwrap_or_default()
    }

    /// The sum of a metric's samples.
    ///
    /// # Panics
    /// When the Collector does not answer.
    #[must_use]
    pub fn metric(&self, name: &str) -> u64 {
        // Of HTTP/1.0, so that the page is not cut into chunks.
        let (status, body) = http_request(self.metrics, "GET /metrics HTTP/1.0\r\n\r\n", &[]);
        assert_eq!(status, 200);
        let text = String::from_utf8_lossy(&body).into_owned();
        let samples = text.lines().filter_map(|line| line.rsplit_once(' '));
        let of_name = samples.filter(|(sample, _)| sample.split('{').next() == Some(name));
        of_name.filter_map(|(_, value)| value.parse::<f64>().ok()).sum::<f64>() as u64
    }

    /// Traces judged so far.
    #[must_use]
    pub fn decided(&self) -> u64 {
        self.metric(DECIDED) + self.metric(TOO_LARGE)
    }

    /// Waits until so many traces have been judged.
    pub fn until_decided(&mut self, traces: u64) {
        self.until(|collector| collector.decided() >= traces);
    }

    /// Sends requests over one connection to the receiver of that number. Returns how long it took.
    ///
    /// # Panics
    /// When one is refused.
    pub fn send<'a>(&self, number: usize, bodies: impl Iterator<Item = &'a [u8]>) -> Duration {
        send(self.receivers[number], bodies)
    }

    /// The spans that came out since the last call.
    #[must_use]
    pub fn take_kept(&self) -> Vec<KeptSpan> {
        self.sink.take_bodies().iter().flat_map(|body| spans_of(body)).collect()
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        // Nothing is expected of it any more.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Whether a Collector with this processor gets as far as to listen.
///
/// # Panics
/// When it neither listens nor ends.
#[must_use]
pub fn is_accepted(binary: &Path, processor: &serde_json::Value) -> bool {
    let mut collector = Collector::spawn(binary, &[processor], &[]);
    let end = Instant::now() + PATIENCE;
    loop {
        if TcpStream::connect(collector.receivers[0]).is_ok() {
            return true;
        }
        if collector.child.try_wait().unwrap().is_some() {
            return false;
        }
        assert!(Instant::now() < end, "the Collector neither listens nor ends");
        std::thread::sleep(LOOK / 10);
    }
}

/// Posts the bodies to the traces path, one after the other. Returns how long that took.
///
/// # Panics
/// When one is refused.
pub fn send<'a>(address: SocketAddr, bodies: impl Iterator<Item = &'a [u8]>) -> Duration {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_nodelay(true).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let mut reader = BufReader::new(stream.try_clone().unwrap());
    let begin = Instant::now();
    for body in bodies {
        let mut request = format!(
            "POST /v1/traces HTTP/1.1\r\nhost: t\r\ncontent-type: application/x-protobuf\r\ncontent-length: {}\r\n\r\n",
            body.len()
        )
        .into_bytes();
        request.extend_from_slice(body);
        stream.write_all(&request).unwrap();
        let (mut status, mut length) = (String::new(), 0);
        reader.read_line(&mut status).unwrap();
        let mut line = String::new();
        while reader.read_line(&mut line).unwrap() > 2 {
            if let Some((name, value)) = line.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().unwrap();
            }
            line.clear();
        }
        let mut answer = vec![0; length];
        reader.read_exact(&mut answer).unwrap();
        assert!(status.contains(" 200 "), "{status}{}", String::from_utf8_lossy(&answer));
    }
    begin.elapsed()
}

/// A Collector file with a pipeline for each processor.
fn file(processors: &[&serde_json::Value], receivers: &[SocketAddr], metrics: SocketAddr, sink: SocketAddr) -> String {
    let (mut sources, mut samplers, mut pipelines) = (String::new(), String::new(), String::new());
    for (number, (processor, receiver)) in processors.iter().zip(receivers).enumerate() {
        _ = writeln!(sources, "  otlp/{number}: {{protocols: {{http: {{endpoint: \"{receiver}\"}}}}}}");
        _ = writeln!(samplers, "  tail_sampling/{number}: {processor}");
        _ = writeln!(
            pipelines,
            "    traces/{number}: {{receivers: [otlp/{number}], processors: [tail_sampling/{number}], exporters: [otlp_http]}}"
        );
    }
    let (exporter, telemetry) = (exporter(sink), telemetry(metrics));
    format!(
        "receivers:\n{sources}processors:\n{samplers}exporters:\n  otlp_http: {exporter}\n\
         service:\n  telemetry: {telemetry}\n  pipelines:\n{pipelines}"
    )
}

/// Nothing waits in the exporter: what was judged has been sent when the counter says so.
pub(super) fn exporter(sink: SocketAddr) -> String {
    format!(
        "{{endpoint: \"http://{sink}\", compression: none, sending_queue: {{enabled: false}}, \
         retry_on_failure: {{enabled: false}}}}"
    )
}

/// The Collector's own telemetry: its metrics at that address.
pub(super) fn telemetry(metrics: SocketAddr) -> String {
    let (host, port) = (metrics.ip(), metrics.port());
    format!(
        "{{logs: {{level: error}}, metrics: {{level: normal, readers: [{{pull: {{exporter: {{prometheus: \
         {{host: {host}, port: {port}}}}}}}}}]}}}}"
    )
}

/// What the Collector keeps of each scenario; `None` where the machine was too slow to send it in one piece.
///
/// # Panics
/// When the Collector does not do its part.
#[must_use]
pub fn play(binary: &Path, scenarios: &[Scenario], mode: Mode) -> Vec<Option<Vec<KeptSpan>>> {
    if scenarios.is_empty() {
        return Vec::new();
    }
    let processors: Vec<_> = scenarios.iter().map(|scenario| &scenario.processor).collect();
    let arguments: &[&str] = if mode == Mode::Recording { &[RECORDING] } else { &[] };
    let mut collector = Collector::start_with(binary, &processors, arguments);
    let mut outcomes: Vec<Option<Vec<KeptSpan>>> = scenarios.iter().map(|_| Some(Vec::new())).collect();
    for (number, scenario) in scenarios.iter().enumerate() {
        let first = scenario.requests.iter().filter(|request| !request.is_late);
        if collector.send(number, first.map(|request| request.body.as_ref())) > SENDING_MAX {
            outcomes[number] = None;
        }
    }
    let traces: usize = scenarios.iter().map(|scenario| scenario.traces(false).len()).sum();
    collector.until_decided(traces as u64);
    let (released, followed) = (collector.metric(RELEASED), collector.metric(FOLLOWED));
    for (number, scenario) in scenarios.iter().enumerate() {
        let late = scenario.requests.iter().filter(|request| request.is_late);
        collector.send(number, late.map(|request| request.body.as_ref()));
    }
    let (cached, uncached): (Vec<&Scenario>, Vec<&Scenario>) = scenarios.iter().partition(|one| one.has_caches());
    let released = released + cached.iter().map(|scenario| scenario.late_spans() as u64).sum::<u64>();
    let followed = followed + uncached.iter().map(|scenario| scenario.late_pieces() as u64).sum::<u64>();
    collector.until(|collector| collector.metric(RELEASED) >= released && collector.metric(FOLLOWED) >= followed);
    let mut scenario_of = BTreeMap::new();
    for (number, scenario) in scenarios.iter().enumerate() {
        scenario_of.extend(scenario.traces(false).into_iter().map(|trace| (trace, number)));
    }
    for span in collector.take_kept() {
        if let Some(kept) = &mut outcomes[scenario_of[&span.trace_id]] {
            kept.push(span);
        }
    }
    outcomes.iter_mut().flatten().for_each(|kept| kept.sort());
    outcomes
}
