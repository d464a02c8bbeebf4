//! OTLP 1.11: the protobuf walk, the scan of trace requests and the walk of log requests, the checks of their parts, their
//! JSON form.

pub mod check;
pub mod json;
pub mod logs;
pub mod mend;
pub mod refusal;
pub mod scan;
mod schema;
pub mod splice;
pub mod split;
pub mod weigh;
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

impl Signal {
    /// Its name, as people write it.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Traces => "traces",
            Self::Metrics => "metrics",
            Self::Logs => "logs",
        }
    }
}
