//! An OTLP exporter: where it sends, what its requests are made of, and what follows a failure.

use std::path::PathBuf;
use std::time::Duration;

use super::{Compression, ExportProtocol, Signals};
use crate::value::{KIB, MIB};

/// What stands for no limit where a timer needs a number: longer than any process runs, and far from overflow.
pub const NO_LIMIT: Duration = Duration::from_secs(10 * 365 * 24 * 3600);

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
    /// Longest time for one request; zero for no limit.
    pub timeout: Duration,
    /// How often the names of endpoints are looked up again.
    pub lookup_interval: Duration,
    /// TLS.
    pub tls: ClientTls,
    /// What follows a retryable failure.
    pub retry: Retry,
    /// When a server that fails is left alone for a while.
    pub breaker: Breaker,
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
            lookup_interval: Duration::from_secs(30),
            tls: ClientTls::default(),
            retry: Retry::default(),
            breaker: Breaker::default(),
            batch: Batch::default(),
            queue_bytes_max: 64 * MIB,
            connections_per_shard: 1,
        }
    }

    /// How long one request may take: `timeout`, where zero is no limit.
    #[must_use]
    pub fn attempt_duration_max(&self) -> Duration {
        if self.timeout.is_zero() { NO_LIMIT } else { self.timeout }
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
    /// HTTP statuses whose refusals are waited out where the request is in the log.
    pub park_on: Vec<u16>,
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
            park_on: Vec::new(),
        }
    }
}

/// When a server that fails is left alone: after so many failures in a row nothing is sent to it but, after a pause, one
/// request at a time as a probe.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Breaker {
    /// Failed attempts in a row that open it; zero switches it off.
    pub failures_max: u64,
    /// First pause before a probe. Each probe that fails doubles it.
    pub open_interval: Duration,
    /// Longest pause before a probe, unless the server itself asks for more.
    pub open_interval_max: Duration,
}

impl Default for Breaker {
    fn default() -> Self {
        Self {
            // One failure is a dropped connection and four are the workers of one connection that all had a request on
            // it; a fifth is a server that is down.
            failures_max: 5,
            // A server that is back is found within two seconds, for one small request in as many.
            open_interval: Duration::from_secs(1),
            open_interval_max: Duration::from_secs(2),
        }
    }
}

/// How requests of an exporter are filled; the first bound that is reached sends.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Batch {
    /// Spans, data points or log records of a request.
    pub spans_max: u64,
    /// Bytes of a request before compression; a single item may exceed it.
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
