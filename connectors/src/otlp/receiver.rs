//! OTLP from senders: which service a request is for, the engine's answer as OTLP says it.

use super::admission::{Form, ReadBody};
use super::response::PartialSuccess;
use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;
use tailwater_config::Signals;
use tailwater_engine::intake::IntakeError;
use tailwater_net::compression::{Encoding, Inflater};
use tailwater_net::server::RequestMemory;
use tailwater_proto::otlp::check::Fault;
use tailwater_proto::otlp::mend::mended;
use tailwater_proto::otlp::refusal::{Cause, Refusals};
use tailwater_proto::otlp::{Signal, json, scan::SpanFault};

/// The engine, as the receiver sees it.
pub trait Port: 'static {
    /// Accepts a trace request: when this returns, the acknowledgement level has been reached.
    fn traces(&self, received: Received) -> impl Future<Output = Result<Accepted, PortError>>;
    /// Passes on a metrics or logs request with that many points or records: when this returns, the acknowledgement
    /// level has been reached.
    fn forward(&self, received: Received, items: u32) -> impl Future<Output = Result<(), PortError>>;
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
    /// Spans refused for a fault of their own, or of what they stand under.
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

/// The answer to a request that was accepted, if not as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response message, in the format of the request.
    pub message: Bytes,
    /// What was refused, if anything was.
    pub partial: Option<PartialSuccess>,
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

/// The receiver of one core.
pub struct OtlpReceiver<P> {
    port: P,
    signals: Signals,
    request_bytes_max: usize,
    memory_bytes_max: usize,
    inflater: RefCell<Inflater>,
}

impl<P: Port> OtlpReceiver<P> {
    /// A receiver in front of `port` of these signals, that accepts bodies of at most `request_bytes_max` bytes once
    /// inflated, and that takes at most `memory_bytes_max` for one.
    #[must_use]
    pub fn new(port: P, signals: Signals, request_bytes_max: usize, memory_bytes_max: usize) -> Self {
        Self { port, signals, request_bytes_max, memory_bytes_max, inflater: RefCell::default() }
    }

    /// The engine.
    #[must_use]
    pub fn port(&self) -> &P {
        &self.port
    }

    /// Whether this node receives the signal.
    #[must_use]
    pub fn takes(&self, signal: Signal) -> bool {
        match signal {
            Signal::Traces => self.signals.traces,
            Signal::Metrics => self.signals.metrics,
            Signal::Logs => self.signals.logs,
        }
    }

    /// Handles one request and returns the answer, with its message in `format`.
    ///
    /// # Errors
    /// `Refusal`; nothing of the request was accepted.
    pub async fn handle(
        &self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: &Bytes,
        memory: &RequestMemory,
    ) -> Result<Answer, Refusal> {
        if let Some((reason, retry_after)) = self.port.closed() {
            return Err(Refusal::Unavailable(reason, retry_after));
        }
        let read = self.read(Form { signal, format, encoding }, body, memory).await;
        let ReadBody { protobuf, json } = read.inspect_err(|_| self.port.refused())?;
        let json::Read { refused, fault, ignored_names, repaired_texts, .. } = json;
        let mut left_out = LeftOut { ignored_names, repaired_texts, ..LeftOut::default() };
        left_out.refusals.add(Cause::Value, refused);
        let mut told = fault.map(|fault| fault.to_string());
        let mut received = Received { signal, format, encoding, raw: body.clone(), body: protobuf };
        let rejected = if signal == Signal::Traces {
            let accepted = self.port.traces(received).await?;
            told = told.or_else(|| accepted.fault.map(|(place, fault)| format!("{place}: {fault}")));
            let mut all = left_out.refusals;
            all.merge(&accepted.refusals);
            all.total()
        } else {
            let mended = mended(signal, &received.body).map_err(|fault| self.malformed(fault))?;
            received.body = mended.body.map_or(received.body, Bytes::from);
            if mended.items > 0 {
                self.port.forward(received, mended.items).await?;
            }
            told = told.or_else(|| mended.fault.map(|fault| format!("{}: {fault}", mended.place)));
            left_out.refusals.merge(&mended.refused);
            left_out.repaired_texts += mended.repaired;
            left_out.refusals.total()
        };
        if left_out != LeftOut::default() {
            self.port.left_out(signal, &left_out);
        }
        let partial = told.map(|message| PartialSuccess { rejected, message });
        let message = match (&partial, format) {
            (None, Format::Protobuf) => Bytes::new(),
            (None, Format::Json) => Bytes::from_static(b"{}"),
            (Some(partial), Format::Protobuf) => partial.to_protobuf().into(),
            (Some(partial), Format::Json) => partial.to_json(signal).into(),
        };
        Ok(Answer { message, partial })
    }

    fn malformed(&self, fault: Fault) -> Refusal {
        self.port.refused();
        Refusal::from(PortError::Intake(IntakeError::Malformed(fault)))
    }

    pub(super) fn request_bytes_max(&self) -> usize {
        self.request_bytes_max
    }

    pub(super) fn memory_bytes_max(&self) -> usize {
        self.memory_bytes_max
    }

    pub(super) fn reader(&self) -> &RefCell<Inflater> {
        &self.inflater
    }
}
