//! The knobs of an OTLP exporter. The native file may hold several: `exporters.otlp`, `exporters.otlp/backup`.

use std::time::Duration;

use super::node::BUFFER_BYTES_MAX;
use super::{Key, Kind, Slot};
use crate::settings::{Compression, ExportProtocol, OtlpExporter};
use crate::value::{GIB, KIB};

const HOUR: Duration = Duration::from_secs(3600);
const MILLISECOND: Duration = Duration::from_millis(1);

/// A wait that must not be zero: a zero wait between retries is a flood.
const WAIT: Kind = Kind::Duration { min: MILLISECOND, max: HOUR };

/// The knobs in the order of the reference page.
pub(super) const KEYS: &[Key<OtlpExporter>] = &[
    Key::new(
        "endpoints",
        Kind::List,
        |e| Slot::List(&mut e.endpoints),
        "URLs of the servers, such as `http://localhost:4317`; several take turns, and so do all addresses of a name (`dns:///NAME:PORT` is read as well). For HTTP the path (`/v1/traces`) is appended. Without a scheme `tls.insecure` says whether TLS is used.",
    ),
    Key::new(
        "protocol",
        Kind::Choice(ExportProtocol::CHOICES),
        |e| Slot::Choice(&mut e.protocol),
        "OTLP over gRPC or over HTTP with protobuf bodies.",
    ),
    Key::new("signals.traces", Kind::Bool, |e| Slot::Bool(&mut e.signals.traces), "Send kept traces there."),
    Key::new("signals.metrics", Kind::Bool, |e| Slot::Bool(&mut e.signals.metrics), "Send metrics there."),
    Key::new("signals.logs", Kind::Bool, |e| Slot::Bool(&mut e.signals.logs), "Send logs there."),
    Key::new(
        "traces_endpoint",
        Kind::Text,
        |e| Slot::OptionalText(&mut e.traces_endpoint),
        "HTTP: URL for traces, used as it is in place of `endpoints`.",
    ),
    Key::new(
        "metrics_endpoint",
        Kind::Text,
        |e| Slot::OptionalText(&mut e.metrics_endpoint),
        "HTTP: URL for metrics, used as it is in place of `endpoints`.",
    ),
    Key::new(
        "logs_endpoint",
        Kind::Text,
        |e| Slot::OptionalText(&mut e.logs_endpoint),
        "HTTP: URL for logs, used as it is in place of `endpoints`.",
    ),
    Key::new(
        "headers",
        Kind::Headers,
        |e| Slot::Headers(&mut e.headers),
        "Headers (gRPC metadata) of every request, such as an API key. Values are never printed.",
    ),
    Key::new(
        "compression",
        Kind::Choice(Compression::CHOICES),
        |e| Slot::Choice(&mut e.compression),
        "Compression of requests. Every OTLP server takes `gzip`; `zstd` costs less where it is taken.",
    ),
    Key::new(
        "timeout",
        Kind::Duration { min: Duration::ZERO, max: HOUR },
        |e| Slot::Duration(&mut e.timeout),
        "Longest time for one request. `0s` for no limit.",
    ),
    Key::new(
        "lookup_interval",
        Kind::Duration { min: Duration::from_secs(1), max: HOUR },
        |e| Slot::Duration(&mut e.lookup_interval),
        "How often the names of endpoints are looked up again, besides after failures. Each address of a name is a server of its own.",
    ),
    Key::new(
        "tls.insecure",
        Kind::Bool,
        |e| Slot::Bool(&mut e.tls.insecure),
        "An endpoint without a scheme is plain text.",
    ),
    Key::new(
        "tls.ca_file",
        Kind::Path,
        |e| Slot::OptionalPath(&mut e.tls.ca_file),
        "PEM file of certificates to trust in place of the machine's.",
    ),
    Key::new(
        "tls.cert_file",
        Kind::Path,
        |e| Slot::OptionalPath(&mut e.tls.cert_file),
        "PEM file of the client's certificate; needs `tls.key_file`.",
    ),
    Key::new(
        "tls.key_file",
        Kind::Path,
        |e| Slot::OptionalPath(&mut e.tls.key_file),
        "PEM file of the client's key; needs `tls.cert_file`.",
    ),
    Key::new(
        "tls.server_name",
        Kind::Text,
        |e| Slot::OptionalText(&mut e.tls.server_name),
        "Name the server's certificate must bear, when it is not the host of the endpoint.",
    ),
    Key::new("retry.enabled", Kind::Bool, |e| Slot::Bool(&mut e.retry.enabled), "Try again after a retryable failure."),
    Key::new(
        "retry.initial_interval",
        WAIT,
        |e| Slot::Duration(&mut e.retry.initial_interval),
        "First wait; jitter is added. A wait named by the server comes first.",
    ),
    Key::new(
        "retry.max_interval",
        WAIT,
        |e| Slot::Duration(&mut e.retry.max_interval),
        "Longest wait. With a breaker no wait is longer than `breaker.open_interval_max` unless the server asks for it: one that is back is found soon.",
    ),
    Key::new(
        "retry.multiplier",
        Kind::Number { min: 1.0, max: 100.0 },
        |e| Slot::Number(&mut e.retry.multiplier),
        "Factor from one wait to the next.",
    ),
    Key::new(
        "retry.max_elapsed_time",
        Kind::Duration { min: Duration::ZERO, max: Duration::from_secs(30 * 24 * 3600) },
        |e| Slot::Duration(&mut e.retry.max_elapsed_time),
        "A request is given up after this long. If all of it is in the log it is set aside and sent again later, else it is dropped; counted in `tailwater_exporter_requests_exhausted_total`. `0s` for never.",
    ),
    Key::new(
        "retry.park_on",
        Kind::Statuses,
        |e| Slot::Statuses(&mut e.retry.park_on),
        "HTTP statuses after which a request is set aside and sent again later, if all of it is in the log, although the server refuses it: `[401, 403]` waits for credentials to be put right. For gRPC `401` is UNAUTHENTICATED and `403` PERMISSION_DENIED. What is not in the log is dropped and counted.",
    ),
    Key::new(
        "breaker.failures_max",
        Kind::Count { min: 0, max: 1_000_000 },
        |e| Slot::Count(&mut e.breaker.failures_max),
        "Failed attempts in a row after which a server is left alone: nothing is sent to it but, after a pause, one request at a time as a probe. Refusals of a single request do not count. `0` switches this off.",
    ),
    Key::new(
        "breaker.open_interval",
        WAIT,
        |e| Slot::Duration(&mut e.breaker.open_interval),
        "First pause before a probe; each failed probe doubles it. A longer pause asked for by the server comes first.",
    ),
    Key::new(
        "breaker.open_interval_max",
        WAIT,
        |e| Slot::Duration(&mut e.breaker.open_interval_max),
        "Longest pause before a probe.",
    ),
    Key::new(
        "batch.spans_max",
        Kind::Count { min: 1, max: 10_000_000 },
        |e| Slot::Count(&mut e.batch.spans_max),
        "Spans of a request; a larger trace is sent in several. Small requests that wait are sent as one of at most so many.",
    ),
    Key::new(
        "batch.bytes_max",
        Kind::Bytes { min: KIB, max: BUFFER_BYTES_MAX },
        |e| Slot::Count(&mut e.batch.bytes_max),
        "Bytes of a request before compression, resources and scopes included. Servers refuse more than 4 MiB by default; what one refuses as too large is sent to it in parts.",
    ),
    Key::new(
        "batch.flush_interval",
        Kind::Duration { min: Duration::ZERO, max: HOUR },
        |e| Slot::Duration(&mut e.batch.flush_interval),
        "A request is sent when its oldest span has waited this long.",
    ),
    Key::new(
        "queue_bytes_max",
        Kind::Bytes { min: KIB, max: 1024 * GIB },
        |e| Slot::Count(&mut e.queue_bytes_max),
        "Most bytes waiting for this exporter on the node; verdicts wait while half of it is taken by what is not in the log, and a trace that was begun before is queued whole, as are late spans and verdicts that make room in memory. At the bound what does not fit is set aside and sent again later if all of it is in the log, else it is dropped; counted in `tailwater_exporter_requests_queue_full_total` and `tailwater_items_dropped_total{reason=\"export_queue_full\"}`.",
    ),
    Key::new(
        "connections_per_shard",
        Kind::Count { min: 1, max: 64 },
        |e| Slot::Count(&mut e.connections_per_shard),
        "Connections that each shard opens to each endpoint.",
    ),
];
