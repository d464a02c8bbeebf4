//! OTLP over gRPC and HTTP: the receiver that feeds the engine and the exporter that empties it.

mod admission;
pub mod body;
pub mod exporter;
pub mod port;
pub mod receiver;
pub mod response;
mod service;

use tailwater_proto::otlp::Signal;

/// The gRPC method of a signal's service.
#[must_use]
pub const fn grpc_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/opentelemetry.proto.collector.trace.v1.TraceService/Export",
        Signal::Metrics => "/opentelemetry.proto.collector.metrics.v1.MetricsService/Export",
        Signal::Logs => "/opentelemetry.proto.collector.logs.v1.LogsService/Export",
    }
}

/// The HTTP path of a signal on a server that has no other.
#[must_use]
pub const fn http_path(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "/v1/traces",
        Signal::Metrics => "/v1/metrics",
        Signal::Logs => "/v1/logs",
    }
}

/// All signals.
pub const SIGNALS: [Signal; 3] = [Signal::Traces, Signal::Metrics, Signal::Logs];
