//! OTLP from senders: which service a request is for, the engine's answer as OTLP says it.

use super::admission::{Admission, Form, ReadBody};
use super::port::{Format, LeftOut, Port, Received, Refusal};
use super::response::PartialSuccess;
use bytes::Bytes;
use tailwater_config::Signals;
use tailwater_net::compression::Encoding;
use tailwater_net::server::RequestMemory;
use tailwater_proto::otlp::refusal::Cause;
use tailwater_proto::otlp::{Signal, json};

/// The answer to a request that was accepted, if not as a whole.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// The response message, in the format of the request.
    pub message: Bytes,
    /// What was refused, if anything was.
    pub partial: Option<PartialSuccess>,
}

/// The receiver of one core.
pub struct OtlpReceiver<P> {
    port: P,
    signals: Signals,
    admission: Admission,
}

impl<P: Port> OtlpReceiver<P> {
    /// A receiver in front of `port` of these signals, that accepts bodies of at most `request_bytes_max` bytes once
    /// inflated, and that takes at most `memory_bytes_max` for one.
    #[must_use]
    pub fn new(port: P, signals: Signals, request_bytes_max: usize, memory_bytes_max: usize) -> Self {
        Self { port, signals, admission: Admission::new(request_bytes_max, memory_bytes_max) }
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
        let read = self.admission.read(&self.port, Form { signal, format, encoding }, body, memory).await;
        let ReadBody { protobuf, json } = read.inspect_err(|_| self.port.refused())?;
        let json::Read { refused, fault, ignored_names, repaired_texts, .. } = json;
        let mut left_out = LeftOut { ignored_names, repaired_texts, ..LeftOut::default() };
        left_out.refusals.add(Cause::Value, refused);
        let mut told = fault.map(|fault| fault.to_string());
        let accepted = self.port.take(Received { signal, format, encoding, raw: body.clone(), body: protobuf }).await?;
        told = told.or_else(|| accepted.fault.map(|(place, fault)| format!("{place}: {fault}")));
        let rejected = {
            let mut all = left_out.refusals;
            all.merge(&accepted.refusals);
            all.total()
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
}
