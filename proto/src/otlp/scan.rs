//! The scan: walks an `ExportTraceServiceRequest` once, without decoding, and tells a visitor what the sampler
//! needs of each span and where its bytes lie. Source: OTLP 1.11, trace.proto.
//!
//! ```text
//! ExportTraceServiceRequest  1 ResourceSpans*
//! ResourceSpans              1 Resource   2 ScopeSpans*   3 schema_url
//! ScopeSpans                 1 InstrumentationScope   2 Span*   3 schema_url
//! Span                       1 trace_id  2 span_id  3 trace_state  4 parent_span_id  5 name  6 kind  7 start  8 end
//!                            9 attributes*  10 dropped  11 events*  12 dropped  13 links*  14 dropped  15 status  16 flags
//! ```
//!
//! A request whose outer structure is broken is an error. A single bad span (wrong id length, invalid UTF-8,
//! nesting too deep, broken inner message) is reported to the visitor and costs only itself.

mod usual;

use super::check::{self, Fault, KeyValue};
use super::wire::{Reader, WireError};
use thiserror::Error;
use usual::{Ascii, Start};

/// Why one span is refused while the rest of its request is accepted.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum SpanFault {
    /// The trace id is not 16 bytes, or all zero.
    #[error("the trace id must be 16 bytes and not all zero")]
    TraceId,
    /// The span id is not 8 bytes, or all zero.
    #[error("the span id must be 8 bytes and not all zero")]
    SpanId,
    /// The parent span id is neither empty nor 8 bytes.
    #[error("the parent span id must be empty or 8 bytes")]
    ParentSpanId,
    /// The span is larger than the bound given to the scan.
    #[error("the span is larger than {0} bytes")]
    TooLarge(u32),
    /// Its resource and scope are together larger than a span may be.
    #[error("the span's resource and scope are together larger than {0} bytes")]
    EnvelopeTooLarge(u32),
    /// A string, a value or an inner message is not acceptable.
    #[error(transparent)]
    Part(#[from] Fault),
}

impl From<WireError> for SpanFault {
    fn from(error: WireError) -> Self {
        Self::Part(Fault::Wire(error))
    }
}

/// What the sampler reads of a span.
#[derive(Debug, Clone, Copy)]
pub struct SpanFacts<'a> {
    /// The `Span` message, without tag and length.
    pub bytes: &'a [u8],
    /// Offset of `bytes` in the request.
    pub offset: usize,
    /// The whole trace id.
    pub trace_id: [u8; 16],
    /// Start, nanoseconds since the Unix epoch.
    pub start_unix_nano: u64,
    /// End, nanoseconds since the Unix epoch.
    pub end_unix_nano: u64,
    /// Its own id.
    pub span_id: [u8; 8],
    /// Its parent's id; all zero when it has none.
    pub parent_span_id: [u8; 8],
    /// True when the span has no parent.
    pub is_root: bool,
    /// Its name.
    pub name: &'a [u8],
    /// `Span.kind` as it came.
    pub kind: u64,
    /// True when it has events.
    pub has_events: bool,
    /// `Status.code`: 0 unset, 1 ok, 2 error; other numbers as they came.
    pub status_code: u64,
    /// W3C trace flags and the bits OTLP adds above them.
    pub flags: u32,
    /// The W3C tracestate header's text.
    pub trace_state: &'a [u8],
}

impl<'a> SpanFacts<'a> {
    /// Those of a span of which nothing has been read.
    #[inline(always)]
    fn of(bytes: &'a [u8], offset: usize) -> Self {
        Self {
            bytes,
            offset,
            trace_id: [0; 16],
            start_unix_nano: 0,
            end_unix_nano: 0,
            span_id: [0; 8],
            parent_span_id: [0; 8],
            is_root: true,
            name: &[],
            kind: 0,
            has_events: false,
            status_code: 0,
            flags: 0,
            trace_state: &[],
        }
    }
}

/// Receives what the scan finds, in wire order.
pub trait TraceVisitor {
    /// A `ResourceSpans` begins; its resource's attributes follow.
    fn resource_begin(&mut self);
    /// An attribute of the resource just begun.
    fn resource_attribute(&mut self, attribute: KeyValue<'_>);
    /// The resource is known; its scopes follow. `envelope` holds every field of the `ResourceSpans` except the scope
    /// spans, as raw wire bytes.
    fn resource(&mut self, envelope: &[u8]);
    /// A `ScopeSpans` begins; its spans follow.
    fn scope_begin(&mut self);
    /// Where the `ScopeSpans` just begun lies in the request, for a visitor that must know of the scope before its spans.
    fn scope_message(&mut self, _start: usize, _length: usize) {}
    /// The `ScopeSpans` just begun ends. `envelope` holds every field of it except the spans, as raw wire bytes.
    fn scope_end(&mut self, envelope: &[u8]);
    /// A span begins; its attributes follow, then `span` or `span_refused`.
    fn span_begin(&mut self);
    /// An attribute of the span just begun.
    fn span_attribute(&mut self, attribute: KeyValue<'_>);
    /// A link of the span just begun, as a message: for a visitor that follows links.
    fn span_link(&mut self, _link: &[u8]) {}
    /// The span just begun is sound.
    fn span(&mut self, facts: &SpanFacts<'_>);
    /// The span just begun is refused; its neighbours are not.
    fn span_refused(&mut self, fault: SpanFault);
}

/// The name of a span that begins as usual, without walking the rest of it; `None` says nothing.
#[must_use]
pub fn usual_name(span: &[u8]) -> Option<&[u8]> {
    let mut facts = SpanFacts::of(span, 0);
    Start::take(span, &mut facts)?;
    (!facts.name.is_empty()).then_some(facts.name)
}

/// Walks `request` and reports to `visitor`. `span_bytes_max` bounds one span.
///
/// # Errors
/// A `Fault` when the outer structure, a resource or a scope is broken; what was reported before it is to be
/// discarded by the caller.
pub fn traces(request: &[u8], span_bytes_max: u32, visitor: &mut impl TraceVisitor) -> Result<(), Fault> {
    let mut scan = Scan { request, span_bytes_max, envelope: Vec::new() };
    let mut reader = Reader::new(request);
    while let Some(field) = reader.next_field()? {
        if field.number == 1 {
            scan.resource_spans(field.bytes()?, visitor)?;
        }
    }
    Ok(())
}

/// The tag of a span in its scope.
const SPAN: u8 = 2 << 3 | 2;

struct Scan<'a> {
    request: &'a [u8],
    span_bytes_max: u32,
    /// Scratch for the envelopes, so that their pieces are handed over as one slice.
    envelope: Vec<u8>,
}

impl<'a> Scan<'a> {
    /// The resource may lie behind the scope spans, so the message is walked twice: first for everything that
    /// is not a span, which skips over the spans by their length, then for the scope spans.
    fn resource_spans(&mut self, message: &'a [u8], visitor: &mut impl TraceVisitor) -> Result<(), Fault> {
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
                self.scope_spans(field.bytes()?, visitor)?;
            }
        }
        Ok(())
    }

    /// The spans are walked once; what else there is may lie before or behind them.
    fn scope_spans(&mut self, message: &'a [u8], visitor: &mut impl TraceVisitor) -> Result<(), Fault> {
        self.envelope.clear();
        visitor.scope_begin();
        visitor.scope_message(offset_in(self.request, message), message.len());
        let mut reader = Reader::new(message);
        loop {
            let span = match reader.next_part(SPAN) {
                Some(span) => span,
                None => match reader.next_field()? {
                    None => break,
                    Some(field) if field.number == 2 => field.bytes()?,
                    Some(field) => {
                        match field.number {
                            1 => check::scope(field.bytes()?)?,
                            3 => check::text(field.bytes()?)?,
                            _ => {}
                        }
                        self.envelope.extend_from_slice(&message[field.start..reader.position()]);
                        continue;
                    }
                },
            };
            visitor.span_begin();
            if let Err(fault) = self.span(span, visitor) {
                visitor.span_refused(fault);
            }
        }
        visitor.scope_end(&self.envelope);
        Ok(())
    }

    #[inline]
    fn span(&self, bytes: &'a [u8], visitor: &mut impl TraceVisitor) -> Result<(), SpanFault> {
        if bytes.len() > self.span_bytes_max as usize {
            return Err(SpanFault::TooLarge(self.span_bytes_max));
        }
        let mut facts = SpanFacts::of(bytes, offset_in(self.request, bytes));
        let mut reader = Reader::new(bytes);
        let Some(start) = Start::take(bytes, &mut facts) else {
            return unusual_rest(reader, Ids::default(), facts, visitor);
        };
        let rest = usual::attributes(start.rest, &mut Ascii::unknown(), visitor);
        let rest = usual::end(rest, &mut facts);
        if !rest.is_empty() {
            reader.go_on_at(rest);
            return unusual_rest(reader, start.ids(), facts, visitor);
        }
        start.check(&mut facts)?;
        visitor.span(&facts);
        Ok(())
    }
}

/// Takes what is left of a span whose next field is not as usual.
#[inline(never)]
fn unusual_rest<'a>(
    mut reader: Reader<'a>,
    mut ids: Ids<'a>,
    mut facts: SpanFacts<'a>,
    visitor: &mut impl TraceVisitor,
) -> Result<(), SpanFault> {
    let mut ascii = Ascii::unknown();
    while !reader.rest().is_empty() {
        any_field(&mut reader, &mut ids, &mut facts, visitor)?;
        reader.go_on_at(usual::attributes(reader.rest(), &mut ascii, visitor));
    }
    end_span(&ids, facts, visitor)
}

/// The whole span was walked.
fn end_span(ids: &Ids<'_>, mut facts: SpanFacts<'_>, visitor: &mut impl TraceVisitor) -> Result<(), SpanFault> {
    ids.check(&mut facts)?;
    visitor.span(&facts);
    Ok(())
}

/// Takes the next field, whatever it is.
fn any_field<'a>(
    reader: &mut Reader<'a>,
    ids: &mut Ids<'a>,
    facts: &mut SpanFacts<'a>,
    visitor: &mut impl TraceVisitor,
) -> Result<(), SpanFault> {
    let Some(field) = reader.next_field()? else { return Ok(()) };
    match field.number {
        1 => ids.trace = field.bytes()?,
        2 => ids.span = field.bytes()?,
        3 => {
            facts.trace_state = field.bytes()?;
            check::text(facts.trace_state)?;
        }
        4 => ids.parent = field.bytes()?,
        5 => {
            facts.name = field.bytes()?;
            check::text(facts.name)?;
        }
        6 => facts.kind = field.varint()?,
        7 => facts.start_unix_nano = field.fixed64()?,
        8 => facts.end_unix_nano = field.fixed64()?,
        9 => visitor.span_attribute(check::key_value_at(field.bytes()?, 0)?),
        11 => {
            check::event(field.bytes()?)?;
            facts.has_events = true;
        }
        13 => {
            let link = field.bytes()?;
            check::link(link)?;
            visitor.span_link(link);
        }
        15 => facts.status_code = status_code(field.bytes()?, facts.status_code)?,
        16 => facts.flags = field.fixed32()?,
        10 | 12 | 14 => _ = field.varint()?,
        _ => {}
    }
    Ok(())
}

/// The three ids of a span as they came.
#[derive(Default)]
struct Ids<'a> {
    trace: &'a [u8],
    span: &'a [u8],
    parent: &'a [u8],
}

impl Ids<'_> {
    /// Checks them and adds them to `facts`.
    #[inline]
    fn check(&self, facts: &mut SpanFacts<'_>) -> Result<(), SpanFault> {
        let trace_id: [u8; 16] = self.trace.try_into().map_err(|_| SpanFault::TraceId)?;
        if trace_id == [0; 16] {
            return Err(SpanFault::TraceId);
        }
        let span_id: [u8; 8] = self.span.try_into().map_err(|_| SpanFault::SpanId)?;
        if span_id == [0; 8] {
            return Err(SpanFault::SpanId);
        }
        if !self.parent.is_empty() {
            facts.parent_span_id = self.parent.try_into().map_err(|_| SpanFault::ParentSpanId)?;
        }
        facts.is_root = facts.parent_span_id == [0; 8];
        (facts.trace_id, facts.span_id) = (trace_id, span_id);
        Ok(())
    }
}

/// `Status`: message 2, code 3. A status that comes in several pieces is merged, as protobuf says.
fn status_code(message: &[u8], before: u64) -> Result<u64, Fault> {
    let mut code = before;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            2 => check::text(field.bytes()?)?,
            3 => code = field.varint()?,
            _ => {}
        }
    }
    Ok(code)
}

/// Offset of `part` in `whole`, of which it is a sub-slice.
#[inline]
fn offset_in(whole: &[u8], part: &[u8]) -> usize {
    part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr())
}

#[cfg(test)]
mod tests;
