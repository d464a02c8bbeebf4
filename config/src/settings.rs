//! The configuration as typed values: what the rest of the program reads. No field here is parsed again later.
//! Defaults are those of the native form; the Collector's file brings its own (see `collector`).

mod address;
mod cluster;
mod control;
mod exporter;
mod pipeline;
mod service_graph;
mod summaries;
mod wal;

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::choices::choices;
use crate::sampling::Sampling;
use crate::value::{GIB, KIB, MIB};

pub use address::{JoinName, ListenAddress};
pub use cluster::{Cluster, Secret};
pub use control::{Control, ControlPreset};
pub use exporter::{Batch, Breaker, ClientTls, NO_LIMIT, OtlpExporter, Retry};
pub use pipeline::{FILE_EXPORTER, NO_EXPORTER, Pipeline};
pub use service_graph::ServiceGraph;
pub use summaries::{
    DurationHistogram, DurationUnit, GaugeReading, LogPatterns, Logs, MetricAction, MetricRollup, MetricRule,
    OrphanLogs, Selection, SpanMetrics, Summaries, Temporality, TraceLogs,
};
pub use wal::{Wal, WalFull};

/// Everything the program is told, checked and complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The process: cores, data directory, logs, shutdown.
    pub node: Node,
    /// Where OTLP comes in.
    pub receivers: Receivers,
    /// Where it comes in besides, each with listeners and pipelines of its own.
    pub further_receivers: Vec<Receivers>,
    /// Metrics, health and status over HTTP.
    pub admin: Admin,
    /// How traces are held and judged, unless there are `pipelines`.
    pub sampling: Sampling,
    /// Where there are several ways for traces, each; in the order written.
    pub pipelines: Vec<Pipeline>,
    /// Memory bounds of the whole process.
    pub memory: Memory,
    /// Queues between cores.
    pub mesh: Mesh,
    /// Where kept data goes.
    pub exporters: Exporters,
    /// What has happened before a sender is answered, where its receiver does not say otherwise.
    pub ack: Ack,
    /// The log of what has been taken over.
    pub wal: Wal,
    /// This node among others.
    pub cluster: Cluster,
    /// What becomes of log records.
    pub logs: Logs,
    /// What is summed up.
    pub summaries: Summaries,
    /// When it does less.
    pub control: Control,
}

impl Config {
    /// Whether any receiver promises more than `received`: only then is there a log. What a `received` receiver takes is
    /// never logged.
    #[must_use]
    pub fn needs_wal(&self) -> bool {
        self.open_receivers().any(|receiver| receiver.ack != Ack::Received)
    }

    /// Whether all that is accepted is logged first.
    #[must_use]
    pub fn logs_all(&self) -> bool {
        self.open_receivers().all(|receiver| receiver.ack != Ack::Received)
    }

    /// The OTLP receivers with their listeners: the first, and those beside it that a Collector's file may have.
    pub fn all_receivers(&self) -> impl Iterator<Item = &Receivers> {
        std::iter::once(&self.receivers).chain(&self.further_receivers)
    }

    /// All that listens for OTLP.
    pub fn open_receivers(&self) -> impl Iterator<Item = &Receiver> {
        self.all_receivers().flat_map(Receivers::open)
    }
}

/// The process as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Node {
    /// Directory of the log, the lock file and the embedded exporter's file. Created when missing.
    pub data_directory: PathBuf,
    /// Shards, one executor each; `None` takes one for each allowed core.
    pub shards: Option<usize>,
    /// Cores to pin shards to, such as `2-9,12`; `None` takes the allowed cores in order.
    pub cores: Option<String>,
    /// Core kept for gossip; `None` leaves it to the scheduler.
    pub gossip_core: Option<usize>,
    /// Which kernel interface the shards run on.
    pub runtime: RuntimeChoice,
    /// The program's own logs.
    pub log: Log,
    /// Longest time from SIGTERM to the end of the process.
    pub drain_timeout: Duration,
    /// How often the configuration file is looked at for changes; zero for never.
    pub reload_interval: Duration,
}

impl Default for Node {
    fn default() -> Self {
        Self {
            data_directory: PathBuf::from("tailwater-data"),
            shards: None,
            cores: None,
            gossip_core: None,
            runtime: RuntimeChoice::Auto,
            log: Log::default(),
            // Kubernetes kills after 30 s by default; 5 s of that stay for the hooks before SIGTERM.
            drain_timeout: Duration::from_secs(25),
            // Two looks must agree, so that a change is in force within ten seconds.
            reload_interval: Duration::from_secs(5),
        }
    }
}

/// The program's own logs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Log {
    /// Least severe level written.
    pub level: LogLevel,
    /// Shape of a line.
    pub format: LogFormat,
}

choices! {
    /// Which kernel interface the shards run on.
    RuntimeChoice {
        /// io_uring where the host allows it, else epoll; the boot log says which and why.
        #[default]
        Auto = "auto",
        /// io_uring or refuse to start.
        Uring = "uring",
        /// epoll, for hosts that forbid io_uring.
        Epoll = "epoll",
    }
}

choices! {
    /// What has happened before a sender is answered.
    Ack {
        /// The request is scanned and queued: nothing is promised.
        Received = "received",
        /// The log write has reached the kernel: survives a crash of the process.
        Written = "written",
        /// The log is on the disk: survives power loss.
        #[default]
        Synced = "synced",
    }
}

choices! {
    /// Severity of a log line.
    LogLevel {
        /// Something failed.
        Error = "error",
        /// Something may fail soon.
        Warn = "warn",
        /// Milestones.
        #[default]
        Info = "info",
        /// Detail for a developer.
        Debug = "debug",
        /// Everything.
        Trace = "trace",
    }
}

choices! {
    /// Shape of a log line.
    LogFormat {
        /// For people.
        #[default]
        Text = "text",
        /// One JSON object a line.
        Json = "json",
    }
}

choices! {
    /// Protocol of an OTLP exporter.
    ExportProtocol {
        /// OTLP/gRPC.
        #[default]
        Grpc = "grpc",
        /// OTLP/HTTP with protobuf bodies.
        HttpProtobuf = "http/protobuf",
    }
}

choices! {
    /// Compression of exported requests.
    Compression {
        /// As they are.
        None = "none",
        /// gzip, understood by every OTLP server.
        #[default]
        Gzip = "gzip",
        /// zstd, cheaper and smaller where the server takes it.
        Zstd = "zstd",
    }
}

choices! {
    /// What is printed of what is kept, besides being sent.
    DebugVerbosity {
        /// Nothing.
        #[default]
        None = "none",
        /// A line a request.
        Basic = "basic",
        /// A line an item.
        Normal = "normal",
        /// A line an item, with its attributes.
        Detailed = "detailed",
    }
}

/// Where OTLP comes in; a receiver that is `None` does not listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receivers {
    /// Name in a Collector's file; empty otherwise.
    pub name: String,
    /// The pipelines that get the traces that come in here, by name; empty for all.
    pub pipelines: Vec<String>,
    /// OTLP/gRPC.
    pub grpc: Option<Receiver>,
    /// OTLP/HTTP.
    pub http: Option<Receiver>,
    /// Signals that are taken; a sender of another is told UNIMPLEMENTED or 404.
    pub signals: Signals,
}

impl Default for Receivers {
    fn default() -> Self {
        let (grpc, http) = (Some(Receiver::at_port(4317)), Some(Receiver::at_port(4318)));
        Self { name: String::new(), pipelines: Vec::new(), grpc, http, signals: Signals::ALL }
    }
}

impl Receivers {
    /// Whether the pipeline of that name gets the traces that come in here.
    #[must_use]
    pub fn feeds(&self, pipeline: &str) -> bool {
        self.signals.traces && (self.pipelines.is_empty() || self.pipelines.iter().any(|name| name == pipeline))
    }

    /// Those that listen.
    pub fn open(&self) -> impl Iterator<Item = &Receiver> {
        [self.grpc.as_ref(), self.http.as_ref()].into_iter().flatten()
    }
}

/// One listening address and what a peer may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Listening address.
    pub endpoint: ListenAddress,
    /// What has happened before a sender is answered here: the node's `ack` unless this receiver has its own.
    pub ack: Ack,
    /// What a peer may do.
    pub limits: Limits,
}

impl Receiver {
    /// A receiver on the loopback address with the default limits.
    #[must_use]
    pub fn at_port(port: u16) -> Self {
        Self { endpoint: loopback(port), ack: Ack::default(), limits: Limits::default() }
    }
}

/// What a peer of a receiver may do. A zero duration or rate switches its limit off where the field says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Limits {
    /// Largest request, before and after decompression.
    pub request_bytes_max: u64,
    /// Most open connections of this receiver on the whole node.
    pub connections_max: u64,
    /// HTTP/2: most concurrent streams of a connection.
    pub streams_per_connection_max: u64,
    /// HTTP/2: flow-control window of a connection.
    pub connection_window_bytes: u64,
    /// HTTP/2: flow-control window of a stream.
    pub stream_window_bytes: u64,
    /// HTTP/2: largest frame accepted.
    pub frame_bytes_max: u64,
    /// Largest list of headers.
    pub header_list_bytes_max: u64,
    /// Longest time from accepting a connection to the end of its (TLS and HTTP/2) handshake; zero for no limit.
    pub handshake_timeout: Duration,
    /// Longest time from the handshake to the head of the first request; zero for no limit.
    pub first_request_timeout: Duration,
    /// Longest time without a request; zero for no limit.
    pub idle_timeout: Duration,
    /// Longest time from a request's head to the end of its body; zero for no limit.
    pub request_timeout: Duration,
    /// Age at which a connection is asked to go, so that peers spread again; zero for never.
    pub connection_age_max: Duration,
    /// Time for open requests after that, before the connection is closed.
    pub connection_age_grace: Duration,
    /// HTTP/2: most control frames a second (PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA, CONTINUATION).
    pub control_frames_per_second_max: u64,
    /// HTTP/2: idle time after which the server pings; zero for never.
    pub keepalive_interval: Duration,
    /// HTTP/2: longest wait for the answer to that ping; zero for no limit.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // OTLP 1.11 recommends this very number.
            request_bytes_max: 64 * MIB,
            connections_max: 1024,
            streams_per_connection_max: 128,
            connection_window_bytes: MIB,
            stream_window_bytes: 256 * KIB,
            frame_bytes_max: MIB,
            header_list_bytes_max: 16 * KIB,
            handshake_timeout: Duration::from_secs(10),
            first_request_timeout: Duration::from_secs(60),
            idle_timeout: Duration::from_secs(600),
            request_timeout: Duration::from_secs(30),
            connection_age_max: Duration::ZERO,
            connection_age_grace: Duration::from_secs(30),
            control_frames_per_second_max: 500,
            keepalive_interval: Duration::from_secs(120),
            keepalive_timeout: Duration::from_secs(20),
        }
    }
}

/// Metrics, health and status over HTTP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Admin {
    /// Listening address; `None` when switched off.
    pub endpoint: Option<ListenAddress>,
    /// Recent verdicts on this node whose reasons are kept; zero for none.
    pub explained_verdicts_max: u64,
}

impl Default for Admin {
    fn default() -> Self {
        // The Collector's own metrics are on 8888 and its health on 13133: a neighbour of neither.
        // Minutes at some hundred traces a second, for 5 MiB.
        Self { endpoint: Some(loopback(8898)), explained_verdicts_max: 65_536 }
    }
}

/// Memory bounds of the whole process.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Memory {
    /// Most memory of the process. Set by `load` to a share of the machine's memory when not configured.
    pub bytes_max: u64,
    /// Most bytes of request bodies in flight, received and decompressed together, on the node. Set by `load` to a
    /// share of `bytes_max` when not configured.
    pub receive_bytes_max: u64,
    /// Largest span that is taken. Set by `load` to the largest request when not configured.
    pub span_bytes_max: u64,
}

impl Default for Memory {
    fn default() -> Self {
        Self { bytes_max: GIB, receive_bytes_max: 128 * MIB, span_bytes_max: 64 * MIB }
    }
}

/// Queues between cores.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mesh {
    /// Messages that fit from one core to one other; a full queue stops the reading of sockets.
    pub queue_length: u64,
}

impl Default for Mesh {
    fn default() -> Self {
        Self { queue_length: 1024 }
    }
}

/// Where kept data goes.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Exporters {
    /// OTLP servers.
    pub otlp: Vec<OtlpExporter>,
    /// JSON lines in a file: the embedded default when no OTLP server is configured.
    pub file: Option<FileExporter>,
    /// What is printed besides.
    pub debug: DebugVerbosity,
}

/// JSON lines in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileExporter {
    /// Path of the file. `load` makes it `kept.jsonl` in the data directory when it is the embedded default.
    pub path: PathBuf,
    /// The file becomes a backup and is begun anew when it would grow past this; zero for no limit.
    pub bytes_max: u64,
    /// Backups that are kept; zero for all.
    pub backups_max: u64,
    /// Backups older than this are deleted; zero for never.
    pub backup_age_max: Duration,
    /// Most bytes of requests that wait to be written, on the node. Set by `load` to a share of the memory when not
    /// configured.
    pub queue_bytes_max: u64,
    /// Signals that are written there.
    pub signals: Signals,
}

impl FileExporter {
    /// The exporter to that file with the native defaults.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self {
            path,
            bytes_max: GIB,
            // As the Collector's file exporter where it rotates.
            backups_max: 100,
            backup_age_max: Duration::ZERO,
            queue_bytes_max: 16 * MIB,
            signals: Signals::ALL,
        }
    }
}

/// Which signals an exporter takes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Signals {
    /// Traces.
    pub traces: bool,
    /// Metrics.
    pub metrics: bool,
    /// Logs.
    pub logs: bool,
}

impl Signals {
    /// All of them.
    pub const ALL: Self = Self { traces: true, metrics: true, logs: true };
    /// None of them.
    pub const NONE: Self = Self { traces: false, metrics: false, logs: false };

    /// Whether no signal is taken.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::NONE
    }
}

fn loopback(port: u16) -> ListenAddress {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port).into()
}
