//! The options of `generate` and what follows from them.

use super::GenerateError;
use crate::arguments::{self, BackendChoice, CompressionChoice, ProtocolChoice};
use crate::corpus::{BodyEncoding, CorpusOptions};
use std::path::PathBuf;
use std::time::Duration;
use tailwater_net::client::Target;
use tailwater_net::compression::Encoding;

/// Requests in flight where `--rate` is given and nothing else: enough never to hold back a server that keeps up.
const IN_FLIGHT_OPEN_LOOP: usize = 512;
/// Requests in flight in the closed loop: two for each of eight services.
const IN_FLIGHT_CLOSED_LOOP: usize = 16;
/// Requests of each service in a round whose spans are spread, at most: a request then has every eighth trace of thousands.
const SPREAD_REQUESTS_PER_SERVICE_MAX: u16 = 8;
/// Longest spread: beyond it the rounds under way are more than the schedule holds.
const SPREAD_MAX: Duration = Duration::from_secs(60);

/// Options of `tailwater-load generate`.
#[derive(Clone, Debug, clap::Args)]
pub struct GenerateOptions {
    /// Server to send to, such as http://localhost:4317; may be given several times
    #[arg(long = "target", required = true, value_name = "URL")]
    pub targets: Vec<String>,
    /// Transport
    #[arg(long, value_enum, default_value = "grpc")]
    pub protocol: ProtocolChoice,
    /// Encoding of the bodies; JSON only over HTTP
    #[arg(long, value_enum, default_value = "protobuf")]
    pub encoding: BodyEncoding,
    /// Compression of the bodies. Compressed bodies are made before the clock starts and repeat when the pool is used up
    #[arg(long, value_enum, default_value = "none")]
    pub compression: CompressionChoice,
    /// Level of the compression
    #[arg(long, default_value_t = 6)]
    pub compression_level: i32,
    /// Memory for compressed bodies, per run
    #[arg(long, default_value = "1GiB", value_parser = arguments::bytes, value_name = "SIZE")]
    pub pool_bytes: u64,
    /// Spans per second in all (open loop); without it, as fast as acknowledged
    #[arg(long, value_name = "SPANS_PER_SECOND")]
    pub rate: Option<f64>,
    /// Most requests unanswered at a time [default: 16, with --rate 512]
    #[arg(long)]
    pub in_flight: Option<usize>,
    /// How long to send
    #[arg(long, default_value = "10s", value_parser = arguments::duration, value_name = "TIME")]
    pub duration: Duration,
    /// Leave the requests of this first time out of the latencies; they are counted all the same
    #[arg(long, default_value = "0", value_parser = arguments::duration, value_name = "TIME")]
    pub warm_up: Duration,
    /// Stop after about this many traces (rounded up to whole rounds), however long it takes
    #[arg(long)]
    pub traces: Option<u64>,
    /// Services, each with its own resource and its own requests
    #[arg(long, default_value_t = 8)]
    pub services: u16,
    /// Spans per trace
    #[arg(long, default_value_t = 8)]
    pub spans_per_trace: u16,
    /// Spans per request
    #[arg(long, default_value_t = 1000)]
    pub spans_per_request: u32,
    /// Size of a Span message in bytes
    #[arg(long, default_value_t = 384)]
    pub span_bytes: usize,
    /// What is sent: traces, logs, metrics, or all. Logs and metrics go along with the spans, or with --rate where there are none
    #[arg(long, default_value = "traces", value_delimiter = ',', value_name = "LIST")]
    pub signals: Vec<SignalChoice>,
    /// Log records for each span
    #[arg(long, default_value_t = 0.25)]
    pub logs_per_span: f64,
    /// Metric points for each span
    #[arg(long, default_value_t = 0.1)]
    pub points_per_span: f64,
    /// Share of the traces that must be kept: an error in the last span, slow, or an attribute
    #[arg(long, default_value = "0.05", value_parser = arguments::share)]
    pub keep_share: f64,
    /// Time over which the spans of a trace arrive, with those of thousands of others between; 0 sends them one request
    /// after the other. What is open at the end is still sent
    #[arg(long, default_value = "0", value_parser = arguments::duration, value_name = "TIME")]
    pub spread: Duration,
    /// Share of the traces of which one span is sent late
    #[arg(long, default_value = "0", value_parser = arguments::share)]
    pub late_share: f64,
    /// How late
    #[arg(long, default_value = "15s", value_parser = arguments::duration, value_name = "TIME")]
    pub late_after: Duration,
    /// Connections in all
    #[arg(long, default_value_t = 8)]
    pub connections: usize,
    /// Threads, each with its own connections and traces
    #[arg(long, default_value_t = 1)]
    pub threads: usize,
    /// Cores to pin the threads to, such as 1 or 2-5
    #[arg(long, value_name = "LIST")]
    pub core: Option<String>,
    /// Event loop
    #[arg(long, value_enum, default_value = "auto")]
    pub runtime: BackendChoice,
    /// Seed of ids and contents; by default every run has its own
    #[arg(long)]
    pub seed: Option<u64>,
    /// Deadline of a request, and how long refused requests are tried again after the end
    #[arg(long, default_value = "10s", value_parser = arguments::duration, value_name = "TIME")]
    pub timeout: Duration,
    /// Write the ids of the traces that must be kept and what must stay visible to this file, for `sink --expect` and `verify`
    #[arg(long, value_name = "FILE")]
    pub expect_out: Option<PathBuf>,
    /// Print progress and summary as JSON lines
    #[arg(long)]
    pub json: bool,
    /// No progress lines
    #[arg(long)]
    pub quiet: bool,
}

/// A signal, or all of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub enum SignalChoice {
    /// spans
    Traces,
    /// log records
    Logs,
    /// metric points
    Metrics,
    /// every one
    All,
}

/// What is sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Signals {
    /// spans
    pub traces: bool,
    /// log records
    pub logs: bool,
    /// metric points
    pub metrics: bool,
}

/// The options made consistent, shared by the workers.
#[derive(Clone, Debug)]
pub struct Settings {
    /// where to send
    pub targets: Vec<Target>,
    /// transport
    pub protocol: ProtocolChoice,
    /// content coding of the bodies
    pub compression: Encoding,
    /// its level
    pub compression_level: i32,
    /// memory for compressed bodies of one worker, bytes
    pub pool_bytes: u64,
    /// spans per second of one worker; `None` in the closed loop
    pub rate: Option<f64>,
    /// most unanswered requests of one worker
    pub in_flight: usize,
    /// how long to send
    pub duration: Duration,
    /// time from the start whose latencies are left out
    pub warm_up: Duration,
    /// rounds of one worker after which it stops; `u64::MAX` if only time ends the run
    pub rounds_max: u64,
    /// what is sent
    pub corpus: CorpusOptions,
    /// which signals
    pub signals: Signals,
    /// whether what was sent has to be told apart
    pub tells_visible: bool,
    /// log records for each span
    pub logs_per_span: f64,
    /// metric points for each span
    pub points_per_span: f64,
    /// time over which the spans of a trace arrive
    pub spread: Duration,
    /// how late late spans are
    pub late_after: Duration,
    /// connections of one worker
    pub connections: usize,
    /// number of workers
    pub threads: usize,
    /// deadline of a request
    pub timeout: Duration,
}

impl GenerateOptions {
    /// Requests of each service in a round: with a spread several, but not more than go out in half of that time, or the
    /// traces would last longer than was asked for.
    fn requests_per_service(&self) -> u16 {
        if self.spread.is_zero() {
            return 1;
        }
        let Some(rate) = self.rate else { return SPREAD_REQUESTS_PER_SERVICE_MAX };
        #[expect(clippy::cast_precision_loss, reason = "thread counts are small")]
        let spans = rate / self.threads as f64 * self.spread.as_secs_f64() / 2.0;
        let fitting = spans / f64::from(self.spans_per_request) / f64::from(self.services);
        #[expect(clippy::cast_possible_truncation, clippy::cast_sign_loss, reason = "clamped")]
        let requests = fitting.clamp(1.0, f64::from(SPREAD_REQUESTS_PER_SERVICE_MAX)) as u16;
        requests
    }

    /// Checks the options and shares the work out over the threads.
    ///
    /// # Errors
    /// [`GenerateError::Option`] names the option and the remedy.
    pub fn settings(&self) -> Result<Settings, GenerateError> {
        let refused = |text: &str| Err(GenerateError::Option(text.to_owned()));
        if self.encoding == BodyEncoding::Json && self.protocol == ProtocolChoice::Grpc {
            return refused("--encoding json needs --protocol http or h2c: gRPC carries protobuf only");
        }
        if self.services == 0 || self.spans_per_trace == 0 || self.spans_per_request == 0 || self.threads == 0 {
            return refused("--services, --spans-per-trace, --spans-per-request and --threads must be 1 or more");
        }
        if self.rate.is_some_and(|rate| !(rate.is_finite() && rate >= 1.0)) {
            return refused("--rate must be 1 span per second or more");
        }
        let has = |signal| self.signals.contains(&signal) || self.signals.contains(&SignalChoice::All);
        let signals = Signals {
            traces: has(SignalChoice::Traces),
            logs: has(SignalChoice::Logs),
            metrics: has(SignalChoice::Metrics),
        };
        if !signals.traces && (self.rate.is_none() || self.traces.is_some()) {
            return refused(
                "--signals without traces needs --rate, and takes no --traces: nothing else says how many to send",
            );
        }
        if [self.logs_per_span, self.points_per_span].iter().any(|share| !(0.0..=1000.0).contains(share)) {
            return refused("--logs-per-span and --points-per-span must be 0 to 1000");
        }
        if self.spread > SPREAD_MAX {
            return refused("--spread must be a minute or less");
        }
        let targets: Result<Vec<_>, _> = self.targets.iter().map(|text| Target::parse(text)).collect();
        let targets = targets.map_err(|error| GenerateError::Option(format!("--target: {error}")))?;
        let threads = self.threads as u64;
        let mut corpus = CorpusOptions {
            seed: self.seed.unwrap_or_else(tailwater_runtime::clock::unix_nanos),
            services: self.services,
            spans_per_trace: self.spans_per_trace,
            spans_per_request: self.spans_per_request,
            requests_per_service: self.requests_per_service(),
            span_bytes: self.span_bytes,
            keep_share: self.keep_share,
            late_share: self.late_share,
            encoding: self.encoding,
        };
        // A run of fewer traces than a round holds gets smaller rounds.
        let traces_each = self.traces.map(|traces| traces.div_ceil(threads).max(1));
        if let Some(traces) = traces_each.and_then(|traces| u32::try_from(traces).ok()) {
            let spans = traces.saturating_mul(u32::from(self.spans_per_trace));
            let requests = u32::from(self.services).saturating_mul(u32::from(corpus.requests_per_service));
            corpus.spans_per_request = corpus.spans_per_request.min(spans.div_ceil(requests));
        }
        let rounds_max = traces_each.map_or(u64::MAX, |traces| traces.div_ceil(u64::from(corpus.traces_per_round())));
        let in_flight =
            self.in_flight.unwrap_or(if self.rate.is_some() { IN_FLIGHT_OPEN_LOOP } else { IN_FLIGHT_CLOSED_LOOP });
        Ok(Settings {
            targets,
            protocol: self.protocol,
            compression: match self.compression {
                CompressionChoice::None => Encoding::Identity,
                CompressionChoice::Gzip => Encoding::Gzip,
                CompressionChoice::Zstd => Encoding::Zstd,
            },
            compression_level: self.compression_level,
            pool_bytes: self.pool_bytes / threads,
            #[expect(clippy::cast_precision_loss, reason = "thread counts are small")]
            rate: self.rate.map(|rate| rate / threads as f64),
            in_flight: in_flight.div_ceil(self.threads).max(1),
            duration: if self.traces.is_some() { Duration::MAX } else { self.duration },
            warm_up: self.warm_up,
            rounds_max,
            corpus,
            signals,
            tells_visible: self.expect_out.is_some(),
            logs_per_span: self.logs_per_span,
            points_per_span: self.points_per_span,
            spread: self.spread,
            late_after: self.late_after,
            connections: self.connections.div_ceil(self.threads).max(1),
            threads: self.threads,
            timeout: self.timeout,
        })
    }
}
