//! The configuration as typed values: what the rest of the program reads. No field here is parsed again later.
//! Defaults are those of the native form; the Collector's file brings its own (see `collector`).

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use crate::catalogue::Choice;
use crate::sampling::Sampling;

/// Bytes in a kibibyte.
pub const KIB: u64 = 1024;
/// Bytes in a mebibyte.
pub const MIB: u64 = 1024 * KIB;
/// Bytes in a gibibyte.
pub const GIB: u64 = 1024 * MIB;

/// Everything the program is told, checked and complete.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Config {
    /// The process: cores, data directory, logs, shutdown.
    pub node: Node,
    /// Where OTLP comes in.
    pub receivers: Receivers,
    /// Metrics, health and status over HTTP.
    pub admin: Admin,
    /// How traces are held and judged.
    pub sampling: Sampling,
    /// Memory bounds of the whole process.
    pub memory: Memory,
    /// Queues between cores.
    pub mesh: Mesh,
    /// Where kept data goes.
    pub exporters: Exporters,
    /// What has happened before a sender is answered.
    pub ack: Ack,
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

/// Defines an enumeration whose values have one written form each, listed once.
macro_rules! choices {
    ($(#[$meta:meta])* $name:ident { $($(#[$variant_meta:meta])* $variant:ident = $text:literal,)+ }) => {
        $(#[$meta])*
        #[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
        pub enum $name { $($(#[$variant_meta])* $variant,)+ }

        impl $name {
            /// The written forms, in the order of the documentation.
            pub const CHOICES: &'static [&'static str] = &[$($text,)+];

            /// The written form.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self { $(Self::$variant => $text,)+ }
            }

            /// The value written as `text`, if there is one.
            #[must_use]
            pub fn from_text(text: &str) -> Option<Self> {
                match text { $($text => Some(Self::$variant),)+ _ => None }
            }
        }

        impl Choice for $name {
            fn choose(&mut self, text: &str) -> bool {
                Self::from_text(text).map(|value| *self = value).is_some()
            }

            fn chosen(&self) -> &'static str {
                self.as_str()
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
                formatter.write_str(self.as_str())
            }
        }
    };
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
        #[default]
        Received = "received",
        /// The log write has reached the kernel: survives a crash of the process.
        Written = "written",
        /// The log is on the disk: survives power loss.
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

/// Where OTLP comes in; a receiver that is `None` does not listen.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receivers {
    /// OTLP/gRPC.
    pub grpc: Option<Receiver>,
    /// OTLP/HTTP.
    pub http: Option<Receiver>,
    /// Signals that are taken; a sender of another is told UNIMPLEMENTED or 404.
    pub signals: Signals,
}

impl Default for Receivers {
    fn default() -> Self {
        Self { grpc: Some(Receiver::at_port(4317)), http: Some(Receiver::at_port(4318)), signals: Signals::ALL }
    }
}

/// One listening address and what a peer may do there.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Receiver {
    /// Listening address.
    pub endpoint: SocketAddr,
    /// What a peer may do.
    pub limits: Limits,
}

impl Receiver {
    /// A receiver on the loopback address with the default limits.
    #[must_use]
    pub fn at_port(port: u16) -> Self {
        Self { endpoint: loopback(port), limits: Limits::default() }
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
    /// Longest time from accepting a connection to the end of its (TLS and HTTP/2) handshake.
    pub handshake_timeout: Duration,
    /// Longest time from the handshake to the head of the first request.
    pub first_request_timeout: Duration,
    /// Longest time without a request; zero for no limit.
    pub idle_timeout: Duration,
    /// Longest time from a request's head to the end of its body.
    pub request_timeout: Duration,
    /// Age at which a connection is asked to go, so that peers spread again; zero for never.
    pub connection_age_max: Duration,
    /// Time for open requests after that, before the connection is closed.
    pub connection_age_grace: Duration,
    /// HTTP/2: most control frames a second (PING, SETTINGS, RST_STREAM, PRIORITY, empty DATA, CONTINUATION).
    pub control_frames_per_second_max: u64,
    /// HTTP/2: idle time after which the server pings; zero for never.
    pub keepalive_interval: Duration,
    /// HTTP/2: longest wait for the answer to that ping.
    pub keepalive_timeout: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            // OTLP 1.11 recommends this very number.
            request_bytes_max: 64 * MIB,
            connections_max: 1024,
            streams_per_connection_max: 128,
            connection_window_bytes: 16 * MIB,
            stream_window_bytes: 4 * MIB,
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
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Admin {
    /// Listening address; `None` when switched off.
    pub endpoint: Option<SocketAddr>,
}

impl Default for Admin {
    fn default() -> Self {
        // The Collector's own metrics are on 8888 and its health on 13133: a neighbour of neither.
        Self { endpoint: Some(loopback(8898)) }
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
}

impl Default for Memory {
    fn default() -> Self {
        Self { bytes_max: GIB, receive_bytes_max: 128 * MIB }
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
}

/// JSON lines in a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FileExporter {
    /// Path of the file. `load` makes it `kept.jsonl` in the data directory when it is the embedded default.
    pub path: PathBuf,
    /// The file is replaced when it would grow past this; zero for no limit.
    pub bytes_max: u64,
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

/// An OTLP server (or several that take turns) and how to send there.
#[derive(Debug, Clone, PartialEq)]
pub struct OtlpExporter {
    /// Name in metrics and logs: `otlp`, or as in the Collector's file (`otlp/backup`).
    pub name: String,
    /// What is sent there.
    pub signals: Signals,
    /// gRPC or HTTP.
    pub protocol: ExportProtocol,
    /// Base URLs, each with its scheme, such as `http://localhost:4317`. For HTTP `/v1/traces` and so on are appended.
    pub endpoints: Vec<String>,
    /// HTTP: URL for traces, used as it is in place of the base URLs.
    pub traces_endpoint: Option<String>,
    /// HTTP: URL for metrics, used as it is in place of the base URLs.
    pub metrics_endpoint: Option<String>,
    /// HTTP: URL for logs, used as it is in place of the base URLs.
    pub logs_endpoint: Option<String>,
    /// Headers (gRPC metadata) of every request. Secrets: `effective` redacts them.
    pub headers: Vec<(String, String)>,
    /// Compression of requests.
    pub compression: Compression,
    /// Longest time for one request.
    pub timeout: Duration,
    /// TLS.
    pub tls: ClientTls,
    /// What follows a retryable failure.
    pub retry: Retry,
    /// How requests are filled.
    pub batch: Batch,
    /// Most bytes waiting for this exporter on the node.
    pub queue_bytes_max: u64,
    /// Connections that each shard opens to each endpoint.
    pub connections_per_shard: u64,
}

impl OtlpExporter {
    /// An exporter of that name with no endpoint yet and the native defaults.
    #[must_use]
    pub fn named(name: &str) -> Self {
        Self {
            name: name.to_string(),
            signals: Signals::ALL,
            protocol: ExportProtocol::Grpc,
            endpoints: Vec::new(),
            traces_endpoint: None,
            metrics_endpoint: None,
            logs_endpoint: None,
            headers: Vec::new(),
            compression: Compression::Gzip,
            timeout: Duration::from_secs(10),
            tls: ClientTls::default(),
            retry: Retry::default(),
            batch: Batch::default(),
            queue_bytes_max: 64 * MIB,
            connections_per_shard: 1,
        }
    }

    /// The URLs requests for traces go to: for gRPC the servers, for HTTP with the path.
    #[must_use]
    pub fn traces_urls(&self) -> Vec<String> {
        self.urls(self.traces_endpoint.as_deref(), "v1/traces")
    }

    /// The URLs requests for metrics go to: for gRPC the servers, for HTTP with the path.
    #[must_use]
    pub fn metrics_urls(&self) -> Vec<String> {
        self.urls(self.metrics_endpoint.as_deref(), "v1/metrics")
    }

    /// The URLs requests for logs go to: for gRPC the servers, for HTTP with the path.
    #[must_use]
    pub fn logs_urls(&self) -> Vec<String> {
        self.urls(self.logs_endpoint.as_deref(), "v1/logs")
    }

    fn urls(&self, verbatim: Option<&str>, path: &str) -> Vec<String> {
        match (self.protocol, verbatim) {
            (ExportProtocol::Grpc, _) => self.endpoints.clone(),
            (ExportProtocol::HttpProtobuf, Some(url)) => vec![url.to_string()],
            (ExportProtocol::HttpProtobuf, None) => {
                self.endpoints.iter().map(|base| format!("{}/{path}", base.trim_end_matches('/'))).collect()
            }
        }
    }
}

/// TLS of a client connection. Whether TLS is used at all is said by the URL's scheme.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct ClientTls {
    /// An endpoint written without a scheme is plain text (true) or TLS (false).
    pub insecure: bool,
    /// PEM file of the certificates to trust in place of the machine's.
    pub ca_file: Option<PathBuf>,
    /// PEM file of the client's certificate.
    pub cert_file: Option<PathBuf>,
    /// PEM file of the client's key.
    pub key_file: Option<PathBuf>,
    /// Name the server's certificate must bear, when it is not the endpoint's host.
    pub server_name: Option<String>,
}

/// What follows a retryable failure: exponential backoff with jitter.
#[derive(Debug, Clone, PartialEq)]
pub struct Retry {
    /// Try again at all.
    pub enabled: bool,
    /// First wait.
    pub initial_interval: Duration,
    /// Longest wait.
    pub max_interval: Duration,
    /// Factor from one wait to the next.
    pub multiplier: f64,
    /// A request is given up after this long; zero for never.
    pub max_elapsed_time: Duration,
}

impl Default for Retry {
    fn default() -> Self {
        Self {
            enabled: true,
            // The Collector waits 5 s, which is longer than most restarts of a server take; a first retry after one
            // second keeps the queue short, and the jittered doubling below spares a server that is down for longer.
            initial_interval: Duration::from_secs(1),
            max_interval: Duration::from_secs(30),
            multiplier: 2.0,
            max_elapsed_time: Duration::from_secs(300),
        }
    }
}

/// How requests of an exporter are filled; the first bound that is reached sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Spans, data points or log records of a request; a single trace may exceed it.
    pub spans_max: u64,
    /// Bytes of a request before compression; a single trace may exceed it.
    pub bytes_max: u64,
    /// Age of the oldest item.
    pub flush_interval: Duration,
}

impl Default for Batch {
    fn default() -> Self {
        // 4 MiB is the largest message a gRPC server accepts by default, the Collector's among them.
        Self { spans_max: 8192, bytes_max: 4 * MIB - 64 * KIB, flush_interval: Duration::from_millis(200) }
    }
}

fn loopback(port: u16) -> SocketAddr {
    SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), port)
}
