//! What a condition looks at: a span, the event of it if it is about one, its scope and resource, all as wire bytes.

use super::convert::hexadecimal;
use super::error::Failure;
use super::field::Field;
use super::note::{Note, Notes, Site};
use super::scalar::Scalar;
use super::tracestate::{Member, member};
use super::value::{Fields, Map, Messages, Value, any_value, fields, last};
use super::zone::Zone;
use std::cell::Cell;
use tailwater_proto::otlp::scan::SpanFacts;
use tailwater_proto::otlp::wire::Value as Wire;

/// The scope of a span: an `InstrumentationScope` message and the schema URL beside it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Scope<'a> {
    /// The message.
    pub message: &'a [u8],
    /// `ScopeSpans.schema_url`
    pub schema_url: &'a [u8],
}

impl<'a> Scope<'a> {
    /// The scope of a `ScopeSpans` (scope 1, spans 2, schema URL 3).
    #[must_use]
    pub fn of(scope_spans: &'a [u8]) -> Self {
        Self { message: bytes(scope_spans, 1), schema_url: bytes(scope_spans, 3) }
    }
}

/// The span under evaluation.
#[derive(Debug)]
pub struct Target<'a> {
    /// The request that the span lies in.
    pub request: &'a [u8],
    /// What the scan says of the span.
    pub facts: Option<&'a SpanFacts<'a>>,
    /// Every field of the `ResourceSpans` around it but the scope spans.
    pub resource: &'a [u8],
    /// The scope around it.
    pub scope: Scope<'a>,
    /// The span's attributes that conditions ask for.
    pub span_notes: Notes<'a>,
    /// The resource's.
    pub resource_notes: Notes<'a>,
    /// The event.
    pub event: &'a [u8],
    /// What of the span the scan does not tell, once a condition has asked for some of it.
    pub walked: Cell<Option<Walked>>,
    /// Work that is left, see `WORK_BYTES`.
    pub work: Cell<usize>,
}

/// Fields of a span that take a walk over all of it.
#[derive(Debug, Clone, Copy, Default)]
pub struct Walked {
    dropped_attributes: i64,
    events: usize,
    dropped_events: i64,
    links: usize,
    dropped_links: i64,
    /// Where the status's message lies in the span.
    status_message: (usize, usize),
}

impl Walked {
    fn of(span: &[u8]) -> Self {
        let mut walked = Self::default();
        for field in fields(span) {
            match (field.number, field.value) {
                (10, Wire::Varint(count)) => walked.dropped_attributes = unsigned(count),
                (11, Wire::Bytes(_)) => walked.events += 1,
                (12, Wire::Varint(count)) => walked.dropped_events = unsigned(count),
                (13, Wire::Bytes(_)) => walked.links += 1,
                (14, Wire::Varint(count)) => walked.dropped_links = unsigned(count),
                // A status in several pieces is merged: the last message counts.
                (15, Wire::Bytes(status)) => {
                    if let Some(Wire::Bytes(message)) = last(status, 2) {
                        let start = message.as_ptr().addr().wrapping_sub(span.as_ptr().addr());
                        walked.status_message = (start, message.len());
                    }
                }
                _ => {}
            }
        }
        walked
    }
}

/// Bytes that the conditions of one policy may read and build for one span beyond plain comparisons: so many for any
/// span, and so many more for each byte of it, so that a sender's cost and the evaluation's stay in proportion.
/// At the bound: the condition fails as by an error of its own.
pub const WORK_BYTES: usize = 1 << 20;
/// See `WORK_BYTES`.
pub const WORK_BYTES_PER_BYTE: usize = 64;

impl<'a> Target<'a> {
    /// Nothing: what constants are evaluated on.
    #[inline]
    #[must_use]
    pub fn none() -> Self {
        Self {
            request: &[],
            facts: None,
            resource: &[],
            scope: Scope::default(),
            span_notes: Notes::default(),
            resource_notes: Notes::default(),
            event: &[],
            walked: Cell::new(None),
            work: Cell::new(WORK_BYTES),
        }
    }

    /// The work of one policy.
    #[inline]
    #[must_use]
    pub fn grant(&self) -> usize {
        WORK_BYTES.saturating_add(self.span().len().saturating_mul(WORK_BYTES_PER_BYTE))
    }

    /// Takes `amount` from the work that is left.
    ///
    /// # Errors
    /// `Work` when that is more than there is.
    #[inline]
    pub fn spend(&self, amount: usize) -> Result<(), Failure> {
        let left = self.work.get().checked_sub(amount).ok_or(Failure::Work)?;
        self.work.set(left);
        Ok(())
    }

    /// The attributes of a site that conditions ask for.
    #[inline]
    pub(super) fn notes(&self, site: Site) -> &Notes<'a> {
        match site {
            Site::Span => &self.span_notes,
            Site::Resource => &self.resource_notes,
        }
    }

    /// The bits of the needs that are met.
    #[inline]
    #[must_use]
    pub fn met(&self) -> u64 {
        self.span_notes.met | self.resource_notes.met
    }

    /// Whether an attribute is this text.
    #[inline]
    pub(super) fn is_text(&self, notes: &Notes<'_>, key: usize, text: &[u8]) -> bool {
        match notes.note(key) {
            // Lengths tell most texts apart.
            Some(Note::Text(address, length)) => *length == text.len() && *self.part(*address, *length) == *text,
            _ => false,
        }
    }

    /// An attribute by the number of its key.
    #[inline]
    pub(super) fn noted(&self, notes: &Notes<'_>, key: usize) -> Option<Value<'a>> {
        Some(match notes.note(key)? {
            Note::Text(address, length) => Value::text(self.part(*address, *length)),
            Note::Integer(value) => Value::Integer(*value),
            Note::Boolean(value) => Value::Boolean(*value),
            Note::Message(address, length) => any_value(self.part(*address, *length)),
        })
    }

    /// An attribute by the number of its key, if it is one of the simple types.
    #[inline]
    pub(super) fn noted_scalar(&self, notes: &Notes<'_>, key: usize) -> Scalar<'a> {
        match notes.note(key) {
            None => Scalar::Nil,
            Some(Note::Text(address, length)) => Scalar::Text(self.part(*address, *length)),
            Some(Note::Integer(value)) => Scalar::Integer(*value),
            Some(Note::Boolean(value)) => Scalar::Boolean(*value),
            Some(Note::Message(..)) => Scalar::Other,
        }
    }

    /// A path without keys that leads to what the scan has read anyway.
    #[inline]
    pub(super) fn field_scalar(&self, field: Field) -> Scalar<'a> {
        let Some(facts) = self.facts else { return Scalar::Other };
        match field {
            Field::Name => Scalar::Text(facts.name),
            Field::Kind => Scalar::Integer(enumerated(facts.kind)),
            Field::StatusCode => Scalar::Integer(enumerated(facts.status_code)),
            Field::StartTime => Scalar::Time(facts.start_unix_nano.cast_signed().into(), Zone::Utc),
            Field::StartTimeUnixNano => Scalar::Integer(facts.start_unix_nano.cast_signed()),
            Field::EndTime => Scalar::Time(facts.end_unix_nano.cast_signed().into(), Zone::Utc),
            Field::EndTimeUnixNano => Scalar::Integer(facts.end_unix_nano.cast_signed()),
            Field::TraceState => Scalar::Text(facts.trace_state),
            Field::Flags => Scalar::Integer(facts.flags.into()),
            _ => Scalar::Other,
        }
    }

    /// The bytes of the request at an address that was noted in this request.
    #[inline]
    fn part(&self, address: usize, length: usize) -> &'a [u8] {
        let start = address.wrapping_sub(self.request.as_ptr().addr());
        self.request.get(start..start.wrapping_add(length)).unwrap_or_default()
    }

    /// The map that a path leads to; an empty one for what is no map.
    ///
    /// # Errors
    /// `Work`: a map is read anew each time.
    pub fn map(&self, field: Field) -> Result<Map<'a>, Failure> {
        let (message, number) = match field {
            Field::Attributes => (self.span(), 9),
            Field::EventAttributes => (self.event, 3),
            Field::ResourceAttributes => (bytes(self.resource, 1), 1),
            Field::ScopeAttributes => (self.scope.message, 3),
            _ => return Ok(Map::Shared(&[])),
        };
        self.spend(message.len())?;
        Ok(Map::Wire(message, number))
    }

    fn walked(&self) -> Walked {
        self.walked.get().unwrap_or_else(|| {
            let walked = Walked::of(self.span());
            self.walked.set(Some(walked));
            walked
        })
    }

    /// The span's events.
    pub(super) fn events(&self) -> Fields<'a> {
        Fields::new(self.span(), 11)
    }

    #[inline]
    fn span(&self) -> &'a [u8] {
        self.facts.map_or(&[], |facts| facts.bytes)
    }

    /// The value of a path without keys.
    ///
    /// # Errors
    /// `Work` for maps; `Missing` for what is not known where traces are judged.
    pub fn field(&self, field: Field) -> Result<Value<'a>, Failure> {
        let facts = self.facts.ok_or(Failure::Missing)?;
        match self.field_scalar(field) {
            Scalar::Other => {}
            simple => return Ok(simple.value()),
        }
        Ok(match field {
            Field::TraceId => Value::TraceId(facts.trace_id),
            Field::TraceIdText => Value::built(hexadecimal(&facts.trace_id)),
            Field::SpanId => Value::SpanId(facts.span_id),
            Field::SpanIdText => Value::built(hexadecimal(&facts.span_id)),
            Field::ParentSpanId => Value::SpanId(facts.parent_span_id),
            Field::ParentSpanIdText => Value::built(hexadecimal(&facts.parent_span_id)),
            Field::KindText => Value::text(kind_name(facts.kind, KINDS)),
            Field::KindSymbol => Value::text(kind_name(facts.kind, KIND_SYMBOLS)),
            Field::DroppedAttributesCount => Value::Integer(self.walked().dropped_attributes),
            Field::Events => Value::Messages(Messages::Events, self.walked().events),
            Field::DroppedEventsCount => Value::Integer(self.walked().dropped_events),
            Field::Links => Value::Messages(Messages::Links, self.walked().links),
            Field::DroppedLinksCount => Value::Integer(self.walked().dropped_links),
            Field::Status => Value::Status,
            Field::StatusMessage => {
                let (start, length) = self.walked().status_message;
                Value::text(facts.bytes.get(start..start + length).unwrap_or_default())
            }
            Field::EventName => Value::text(bytes(self.event, 2)),
            Field::EventTime => Value::Time(time(self.event).into(), Zone::Utc),
            Field::EventTimeUnixNano => Value::Integer(time(self.event)),
            Field::EventDroppedAttributesCount => Value::Integer(count(self.event, 4)),
            Field::EventIndex => return Err(Failure::Missing),
            Field::ResourceDroppedAttributesCount => Value::Integer(count(bytes(self.resource, 1), 2)),
            Field::ResourceSchemaUrl => Value::text(bytes(self.resource, 3)),
            Field::ScopeName => Value::text(bytes(self.scope.message, 1)),
            Field::ScopeVersion => Value::text(bytes(self.scope.message, 2)),
            Field::ScopeDroppedAttributesCount => Value::Integer(count(self.scope.message, 4)),
            Field::ScopeSchemaUrl => Value::text(self.scope.schema_url),
            // The maps; what is simple has been returned.
            _ => Value::Map(self.map(field)?),
        })
    }

    /// One member of the span's tracestate.
    #[must_use]
    pub fn member(&self, key: &[u8]) -> Value<'a> {
        match member(self.facts.map_or(&[], |facts| facts.trace_state), key) {
            Member::Invalid => Value::Nil,
            Member::Absent => Value::text(&[]),
            Member::Value(value) => Value::text(value),
        }
    }
}

/// The last length-delimited field `number`; empty when there is none.
fn bytes(message: &[u8], number: u32) -> &[u8] {
    match last(message, number) {
        Some(Wire::Bytes(bytes)) => bytes,
        _ => &[],
    }
}

fn count(message: &[u8], number: u32) -> i64 {
    match last(message, number) {
        Some(Wire::Varint(value)) => unsigned(value),
        _ => 0,
    }
}

fn time(event: &[u8]) -> i64 {
    match last(event, 1) {
        Some(Wire::Fixed64(nanos)) => nanos.cast_signed(),
        _ => 0,
    }
}

/// A `uint32`.
fn unsigned(value: u64) -> i64 {
    (value & u64::from(u32::MAX)).cast_signed()
}

/// The number of an enum: 32 bits with a sign.
#[inline]
pub(super) fn enumerated(value: u64) -> i64 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    i32::from_le_bytes([a, b, c, d]).into()
}

const KINDS: [&str; 6] = ["Unspecified", "Internal", "Server", "Client", "Producer", "Consumer"];
const KIND_SYMBOLS: [&str; 6] = [
    "SPAN_KIND_UNSPECIFIED",
    "SPAN_KIND_INTERNAL",
    "SPAN_KIND_SERVER",
    "SPAN_KIND_CLIENT",
    "SPAN_KIND_PRODUCER",
    "SPAN_KIND_CONSUMER",
];

fn kind_name(kind: u64, names: [&'static str; 6]) -> &'static [u8] {
    let index = usize::try_from(enumerated(kind)).unwrap_or(usize::MAX);
    names.get(index).copied().unwrap_or_default().as_bytes()
}
