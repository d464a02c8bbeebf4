//! The walk of logs: goes over an `ExportLogsServiceRequest` once, without decoding, and tells a visitor what is counted
//! of each record and where its bytes lie. Source: OTLP 1.11, logs.proto.
//!
//! ```text
//! ExportLogsServiceRequest  1 ResourceLogs*
//! ResourceLogs              1 Resource   2 ScopeLogs*   3 schema_url
//! ScopeLogs                 1 InstrumentationScope   2 LogRecord*   3 schema_url
//! LogRecord                 1 time  2 severity_number  3 severity_text  5 body  6 attributes*  7 dropped  8 flags
//!                           9 trace_id  10 span_id  11 observed_time  12 event_name
//! ```
//!
//! A request whose outer structure is broken is an error. A single bad record (wrong id length, invalid UTF-8, nesting too
//! deep, broken inner message) is reported to the visitor and costs only itself.

use super::check::{self, AnyValue, Fault, KeyValue};
use super::wire::{Field, Reader, WireError};
use thiserror::Error;

/// Why one record is refused while the rest of its request is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum RecordFault {
    /// The trace id is neither empty nor 16 bytes.
    #[error("the trace id must be empty or 16 bytes")]
    TraceId,
    /// The span id is neither empty nor 8 bytes.
    #[error("the span id must be empty or 8 bytes")]
    SpanId,
    /// The record is larger than the bound given to the walk.
    #[error("the log record is larger than {0} bytes")]
    TooLarge(u32),
    /// A string, a value or an inner message is not acceptable.
    #[error(transparent)]
    Part(#[from] Fault),
}

impl From<WireError> for RecordFault {
    fn from(error: WireError) -> Self {
        Self::Part(Fault::Wire(error))
    }
}

/// What a log record says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Body<'a> {
    /// Its checked value.
    pub value: AnyValue<'a>,
    /// The `AnyValue` message, without tag and length; the last piece of it where it came in several.
    pub bytes: &'a [u8],
}

/// What is read of a log record.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LogFacts<'a> {
    /// The `LogRecord` message, without tag and length.
    pub bytes: &'a [u8],
    /// Offset of `bytes` in the request.
    pub offset: usize,
    /// When it happened, nanoseconds since the Unix epoch; 0 where that is not known.
    pub time_unix_nano: u64,
    /// When it was first seen by a collector, nanoseconds since the Unix epoch; 0 where that is not known.
    pub observed_time_unix_nano: u64,
    /// `SeverityNumber` as it came: 1 to 24, 0 unspecified.
    pub severity_number: i32,
    /// The severity as its source calls it.
    pub severity_text: &'a [u8],
    /// What it says; `None` where the field is not there.
    pub body: Option<Body<'a>>,
    /// The trace it belongs to; `None` where it is left out or all zero.
    pub trace_id: Option<[u8; 16]>,
    /// The span it belongs to; `None` where it is left out or all zero.
    pub span_id: Option<[u8; 8]>,
    /// W3C trace flags in the low eight bits.
    pub flags: u32,
    /// The name of the event that the record is.
    pub event_name: &'a [u8],
}

impl<'a> LogFacts<'a> {
    /// Those of a record of which nothing has been read.
    #[inline(always)]
    fn of(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            bytes,
            offset,
            time_unix_nano: 0,
            observed_time_unix_nano: 0,
            severity_number: 0,
            severity_text: &[],
            body: None,
            trace_id: None,
            span_id: None,
            flags: 0,
            event_name: &[],
        }
    }
}

/// Receives what the walk finds, in wire order, but for a resource, which comes before its scopes wherever it lies.
pub trait LogVisitor {
    /// A `ResourceLogs` begins; its resource's attributes follow.
    fn resource_begin(&mut self) {}
    /// An attribute of the resource just begun.
    fn resource_attribute(&mut self, _attribute: KeyValue<'_>) {}
    /// The resource is known; its scopes follow. what is given holds every field of the `ResourceLogs` except the scope
    /// logs, as raw wire bytes.
    fn resource(&mut self, _envelope: &[u8]) {}
    /// A `ScopeLogs` begins; its records follow.
    fn scope_begin(&mut self) {}
    /// The `ScopeLogs` just begun ends. what is given holds every field of it except the records, as raw wire bytes.
    fn scope_end(&mut self, _envelope: &[u8]) {}
    /// A record begins; its attributes follow, then `record` or `record_refused`.
    fn record_begin(&mut self) {}
    /// An attribute of the record just begun.
    fn record_attribute(&mut self, _attribute: KeyValue<'_>) {}
    /// The record just begun is sound.
    fn record(&mut self, facts: &LogFacts<'_>);
    /// The record just begun is refused; its neighbours are not.
    fn record_refused(&mut self, fault: RecordFault);
}

/// Walks `request` and reports to `visitor`. `record_bytes_max` bounds one record.
///
/// # Errors
/// A `Fault` when the outer structure, a resource or a scope is broken; what was reported before it is to be
/// discarded by the caller.
pub fn logs(request: &[u8], record_bytes_max: u32, visitor: &mut impl LogVisitor) -> Result<(), Fault> {
    let mut walk = Walk { request, record_bytes_max, envelope: Vec::new() };
    let mut reader = Reader::new(request);
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            walk.resource_logs(field.bytes()?, visitor)?;
        }
    }
    Ok(())
}

struct Walk<'a> {
    request: &'a [u8],
    record_bytes_max: u32,
    /// Scratch for the envelopes, so that their pieces are handed over as one slice.
    envelope: Vec<u8>,
}

impl<'a> Walk<'a> {
    /// The resource may lie behind the scope logs, so the message is walked twice: first for everything that is no
    /// record, which skips over the records by their length, then for the scope logs.
    fn resource_logs(&mut self, message: &'a [u8], visitor: &mut impl LogVisitor) -> Result<(), Fault> {
        self.envelope.clear();
        visitor.resource_begin();
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => check::resource(field.bytes()?, |attribute| visitor.resource_attribute(attribute))?,
                2 => continue,
                3 => check::text(field.bytes()?)?,
                _ => {}
            }
            self.envelope.extend_from_slice(&message[field.start..reader.position()]);
        }
        visitor.resource(&self.envelope);
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            if field.number == 2 {
                self.scope_logs(field.bytes()?, visitor)?;
            }
        }
        Ok(())
    }

    /// The records are walked once; what else there is may lie before or behind them.
    fn scope_logs(&mut self, message: &'a [u8], visitor: &mut impl LogVisitor) -> Result<(), Fault> {
        self.envelope.clear();
        visitor.scope_begin();
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            match field.number {
                1 => check::scope(field.bytes()?)?,
                2 => {
                    visitor.record_begin();
                    if let Err(fault) = self.record(field.bytes()?, visitor) {
                        visitor.record_refused(fault);
                    }
                    continue;
                }
                3 => check::text(field.bytes()?)?,
                _ => {}
            }
            self.envelope.extend_from_slice(&message[field.start..reader.position()]);
        }
        visitor.scope_end(&self.envelope);
        Ok(())
    }

    #[inline]
    fn record(&self, bytes: &'a [u8], visitor: &mut impl LogVisitor) -> Result<(), RecordFault> {
        if bytes.len() > self.record_bytes_max as usize {
            return Err(RecordFault::TooLarge(self.record_bytes_max));
        }
        let offset = bytes.as_ptr().addr().wrapping_sub(self.request.as_ptr().addr());
        let mut facts = LogFacts::of(bytes, offset);
        let mut reader = Reader::new(bytes);
        while let Some(field) = reader.next_field()? {
            record_field(&field, &mut facts, visitor)?;
        }
        visitor.record(&facts);
        Ok(())
    }
}

/// Takes a field of a record, whatever it is.
#[inline]
fn record_field<'a>(
    field: &Field<'a>,
    facts: &mut LogFacts<'a>,
    visitor: &mut impl LogVisitor,
) -> Result<(), RecordFault> {
    match field.number {
        1 => facts.time_unix_nano = field.fixed64()?,
        2 => facts.severity_number = enumeration(field.varint()?),
        3 => {
            facts.severity_text = field.bytes()?;
            check::text(facts.severity_text)?;
        }
        5 => {
            let bytes = field.bytes()?;
            let before = facts.body.map_or(AnyValue::Other(&[]), |body| body.value);
            facts.body = Some(Body { value: check::any_value(bytes, before)?, bytes });
        }
        6 => visitor.record_attribute(check::key_value(field.bytes()?)?),
        7 => _ = field.varint()?,
        8 => facts.flags = field.fixed32()?,
        9 => facts.trace_id = id(field.bytes()?).map_err(|()| RecordFault::TraceId)?,
        10 => facts.span_id = id(field.bytes()?).map_err(|()| RecordFault::SpanId)?,
        11 => facts.observed_time_unix_nano = field.fixed64()?,
        12 => {
            facts.event_name = field.bytes()?;
            check::text(facts.event_name)?;
        }
        _ => {}
    }
    Ok(())
}

/// An id that may be left out, or be all zero, which says the same.
fn id<const N: usize>(bytes: &[u8]) -> Result<Option<[u8; N]>, ()> {
    if bytes.is_empty() {
        return Ok(None);
    }
    let id: [u8; N] = bytes.try_into().map_err(|_| ())?;
    Ok((id != [0; N]).then_some(id))
}

/// The number of an enumeration: the low 32 bits, as decoders take them.
fn enumeration(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

#[cfg(test)]
mod tests;
