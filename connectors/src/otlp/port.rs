//! What the receiver and the engine have of one another: a request as it is handed over, and why one is not taken.

use bytes::Bytes;
use std::time::Duration;
use tailwater_engine::intake::IntakeError;
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::refusal::Refusals;
use tailwater_proto::otlp::{Signal, scan::SpanFault};

/// The engine, as the receiver sees it.
pub trait Port: 'static {
    /// Accepts a request: when this returns, the acknowledgement level has been reached. One that is refused is counted.
    fn take(&self, received: Received) -> impl Future<Output = Result<Accepted, PortError>>;
    /// Counts a request that was refused before the engine saw it.
    fn refused(&self);
    /// Counts what was left out of a request before the engine saw it.
    fn left_out(&self, signal: Signal, left_out: &LeftOut);
    /// Bytes that the engine takes for scanning this message, besides it.
    fn weight(&self, signal: Signal, protobuf: &[u8]) -> usize;
    /// Lets other tasks of the core run.
    fn pause(&self) -> impl Future<Output = ()>;
    /// Returns when there is room for another request.
    fn ready(&self) -> impl Future<Output = ()>;
    /// Why nothing is accepted now, if nothing is, and how long senders are to stay away.
    fn closed(&self) -> Option<(&'static str, Duration)>;
}

/// A request, as it came and as protobuf.
#[derive(Debug, Clone)]
pub struct Received {
    /// Which service it is for.
    pub signal: Signal,
    /// How it came: what the log keeps.
    pub format: Format,
    /// How it was compressed.
    pub encoding: Encoding,
    /// The body as it came.
    pub raw: Bytes,
    /// The protobuf message, uncompressed.
    pub body: Bytes,
}

/// Why the engine does not accept a request. Nothing of it was accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PortError {
    /// It is no OTLP. Sending it again won't help.
    #[error(transparent)]
    Intake(#[from] IntakeError),
    /// There is no room for it now, or no disk. The sender is to keep it and come back.
    #[error("{reason}")]
    Unavailable {
        /// What the sender is told.
        reason: &'static str,
        /// When to come back.
        retry_after: Duration,
    },
    /// It can never be accepted, whenever it is sent.
    #[error("the request is too large for the log: send smaller batches, or raise wal.segment_bytes_max")]
    TooLarge,
}

/// What the engine made of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Items refused for a fault of their own, or of what they stand under.
    pub refusals: Refusals,
    /// The first of those faults, and where it is.
    pub fault: Option<(String, SpanFault)>,
}

/// What was left out of a request while the rest was accepted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeftOut {
    /// Items with a fault.
    pub refusals: Refusals,
    /// Names in JSON that are not known.
    pub ignored_names: u32,
    /// Texts that were not UTF-8 and were repaired.
    pub repaired_texts: u32,
}

/// How a body is written.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// Protobuf.
    Protobuf,
    /// OTLP/JSON.
    Json,
}

/// Why a request is refused whole.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// It is no OTLP, or not what its encoding says: INVALID_ARGUMENT, 400.
    #[error("{0}")]
    Invalid(String),
    /// It is too large once inflated: RESOURCE_EXHAUSTED without RetryInfo, 413.
    #[error("{0}")]
    TooLarge(String),
    /// Nothing is accepted now: UNAVAILABLE with RetryInfo, 503 with Retry-After.
    #[error("{0}")]
    Unavailable(&'static str, Duration),
}

impl From<PortError> for Refusal {
    fn from(error: PortError) -> Self {
        match error {
            PortError::Intake(error) => Self::Invalid(error.to_string()),
            PortError::Unavailable { reason, retry_after } => Self::Unavailable(reason, retry_after),
            PortError::TooLarge => Self::TooLarge(error.to_string()),
        }
    }
}
