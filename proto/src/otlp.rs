//! OTLP 1.11: the protobuf walk, the scan of trace requests, the checks of their parts, their JSON form.

pub mod check;
pub mod json;
pub mod scan;
mod schema;
pub mod splice;
pub mod split;
pub mod wire;

/// The three kinds of telemetry a request can carry.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Signal {
    /// `ExportTraceServiceRequest`
    Traces,
    /// `ExportMetricsServiceRequest`
    Metrics,
    /// `ExportLogsServiceRequest`
    Logs,
}
