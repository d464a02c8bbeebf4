//! OTLP from senders: which service a request is for, inflating, JSON, the engine's answer as OTLP says it.

use super::response::PartialSuccess;
use bytes::Bytes;
use std::cell::RefCell;
use std::time::Duration;
use tailwater_config::Signals;
use tailwater_engine::intake::IntakeError;
use tailwater_net::compression::{Encoding, InflateError, Inflater};
use tailwater_proto::otlp::json::{DEPTH_MAX, JsonReader};
use tailwater_proto::otlp::{Signal, check, scan::SpanFault};

/// The engine, as the receiver sees it.
pub trait Port: 'static {
    /// Accepts a trace request: when this returns, the acknowledgement level has been reached.
    fn traces(&self, body: Bytes) -> impl Future<Output = Result<Accepted, IntakeError>>;
    /// Passes on a metrics or logs request with that many points or records.
    fn forward(&self, signal: Signal, body: Bytes, items: u32);
    /// Counts a request that was refused before the engine saw it.
    fn refused(&self);
    /// Returns when there is room for another request.
    fn ready(&self) -> impl Future<Output = ()>;
    /// How long senders are to stay away, when nothing is accepted any more.
    fn closed(&self) -> Option<Duration>;
}

/// What the engine made of a sound request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Accepted {
    /// Spans refused for a fault of their own.
    pub refused: u32,
    /// The first of those faults.
    pub fault: Option<SpanFault>,
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
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// It is no OTLP, or not what its encoding says: INVALID_ARGUMENT, 400.
    Invalid(String),
    /// It is too large once inflated: RESOURCE_EXHAUSTED without RetryInfo, 413.
    TooLarge(String),
    /// Nothing is accepted now: UNAVAILABLE with RetryInfo, 503 with Retry-After.
    Unavailable(Duration),
}

/// An inflated JSON body is copied to be parsed in place; a scratch grown past this is given back.
const JSON_SCRATCH_BYTES_MAX: usize = 8 << 20;

/// The receiver of one core.
pub struct OtlpReceiver<P> {
    port: P,
    signals: Signals,
    request_bytes_max: usize,
    inflater: RefCell<Inflater>,
    json: RefCell<JsonScratch>,
}

/// What reading JSON needs: the parser's own memory and a copy of the text, which is parsed in place.
struct JsonScratch {
    reader: JsonReader,
    text: Vec<u8>,
}

impl<P: Port> OtlpReceiver<P> {
    /// A receiver in front of `port` of these signals, that accepts bodies of at most `request_bytes_max` bytes once
    /// inflated.
    #[must_use]
    pub fn new(port: P, signals: Signals, request_bytes_max: usize) -> Self {
        let json = JsonScratch { reader: JsonReader::new(DEPTH_MAX), text: Vec::new() };
        Self { port, signals, request_bytes_max, inflater: RefCell::default(), json: RefCell::new(json) }
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

    /// Handles one request and returns the response message in `format`.
    ///
    /// # Errors
    /// `Refusal`; nothing of the request was accepted.
    pub async fn handle(
        &self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: &Bytes,
    ) -> Result<Bytes, Refusal> {
        if let Some(retry_after) = self.port.closed() {
            return Err(Refusal::Unavailable(retry_after));
        }
        let body = self.protobuf(signal, format, encoding, body).inspect_err(|_| self.port.refused())?;
        let partial = if signal == Signal::Traces {
            let outcome = self.port.traces(body).await;
            let accepted = outcome.map_err(|error| Refusal::Invalid(error.to_string()))?;
            accepted.fault.map(|fault| PartialSuccess { rejected: accepted.refused, message: fault.to_string() })
        } else {
            let items = check::items(signal, &body).map_err(|fault| {
                self.port.refused();
                Refusal::Invalid(format!("the request is not a valid OTLP message: {fault}"))
            })?;
            if items > 0 {
                self.port.forward(signal, body, items);
            }
            None
        };
        Ok(match (partial, format) {
            (None, Format::Protobuf) => Bytes::new(),
            (None, Format::Json) => Bytes::from_static(b"{}"),
            (Some(partial), Format::Protobuf) => partial.to_protobuf().into(),
            (Some(partial), Format::Json) => partial.to_json(signal).into(),
        })
    }

    /// The request as uncompressed protobuf.
    fn protobuf(&self, signal: Signal, format: Format, encoding: Encoding, body: &Bytes) -> Result<Bytes, Refusal> {
        let inflated = self.inflater.borrow_mut().inflate(encoding, body, self.request_bytes_max);
        let inflated = inflated.map_err(|error| match error {
            InflateError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
            InflateError::Malformed => Refusal::Invalid(error.to_string()),
        })?;
        if format == Format::Protobuf {
            return Ok(inflated);
        }
        let JsonScratch { reader, text } = &mut *self.json.borrow_mut();
        text.clear();
        text.extend_from_slice(&inflated);
        let mut out = Vec::with_capacity(text.len() / 2);
        let outcome = reader.to_protobuf(signal, text, &mut out);
        if text.capacity() > JSON_SCRATCH_BYTES_MAX {
            *text = Vec::new();
        }
        match outcome {
            Ok(()) => Ok(out.into()),
            Err(error) => Err(Refusal::Invalid(format!("the request is not valid OTLP/JSON: {error}"))),
        }
    }
}
