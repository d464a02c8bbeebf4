//! Writes a planned request as an `ExportTraceServiceRequest`, fields in ascending order as SDKs write them, and notes
//! where the ids and times are.

use super::patch::{Layout, NO_PARENT, PatchTable, SpanPatch, TimePatch};
use super::plan::{Attribute, RequestPlan, SpanPlan, Value};

/// An encoded message and the patched places in it.
#[derive(Clone, Debug)]
pub struct Encoded {
    /// the message's bytes
    pub bytes: Vec<u8>,
    /// where ids and times are
    pub patches: PatchTable,
    /// sum of the sizes of the Span messages, bytes
    pub span_bytes: u64,
}

/// Instrumentation scopes; three quarters of a request's spans come from the first one.
pub const SCOPES: [(&str, &str); 2] = [("opentelemetry.instrumentation.http", "0.58.0"), ("shop.database", "2.4.1")];

/// `schema_url` of resources and scopes.
pub const SCHEMA_URL: &str = "https://opentelemetry.io/schemas/1.37.0";

/// The scopes of a request with their spans.
pub fn scopes(request: &RequestPlan) -> impl Iterator<Item = (usize, &[SpanPlan])> {
    let split = request.spans.len() - request.spans.len() / 4;
    let (first, second) = request.spans.split_at(split);
    [first, second].into_iter().enumerate().filter(|(_, spans)| !spans.is_empty())
}

/// Encodes the request.
#[must_use]
pub fn encode(request: &RequestPlan) -> Encoded {
    let mut resource = Vec::new();
    for attribute in &request.resource {
        field_bytes(&mut resource, 1, &attribute_message(attribute));
    }
    let mut patches = PatchTable::new(Layout::Protobuf);
    let mut span_bytes = 0;
    let mut resource_spans = Vec::new();
    field_bytes(&mut resource_spans, 1, &resource);
    for (number, spans) in scopes(request) {
        let (scope_spans, part) = scope_message(number, spans, &mut span_bytes);
        let at = field_bytes(&mut resource_spans, 2, &scope_spans);
        patches.absorb(&part, at);
    }
    field_bytes(&mut resource_spans, 3, SCHEMA_URL.as_bytes());
    let mut bytes = Vec::with_capacity(resource_spans.len() + 8);
    let at = field_bytes(&mut bytes, 1, &resource_spans);
    let mut whole = PatchTable::new(Layout::Protobuf);
    whole.absorb(&patches, at);
    Encoded { bytes, patches: whole, span_bytes }
}

fn scope_message(number: usize, spans: &[SpanPlan], span_bytes: &mut u64) -> (Vec<u8>, PatchTable) {
    let (name, version) = SCOPES[number % SCOPES.len()];
    let mut scope = Vec::new();
    field_bytes(&mut scope, 1, name.as_bytes());
    field_bytes(&mut scope, 2, version.as_bytes());
    let mut message = Vec::new();
    let mut patches = PatchTable::new(Layout::Protobuf);
    field_bytes(&mut message, 1, &scope);
    for span in spans {
        let (bytes, part) = span_message(span);
        *span_bytes += bytes.len() as u64;
        let at = field_bytes(&mut message, 2, &bytes);
        patches.absorb(&part, at);
    }
    field_bytes(&mut message, 3, SCHEMA_URL.as_bytes());
    (message, patches)
}

fn span_message(span: &SpanPlan) -> (Vec<u8>, PatchTable) {
    let mut bytes = Vec::with_capacity(512);
    let mut patches = PatchTable::new(Layout::Protobuf);
    let ids_at = field_bytes(&mut bytes, 1, &[0; 16]);
    field_bytes(&mut bytes, 2, &[0; 8]);
    if span.parent != NO_PARENT {
        field_bytes(&mut bytes, 4, &[0; 8]);
    }
    field_bytes(&mut bytes, 5, span.name.as_bytes());
    field_varint(&mut bytes, 6, u64::from(span.kind));
    let times_at = field_fixed64(&mut bytes, 7);
    field_fixed64(&mut bytes, 8);
    for attribute in &span.attributes {
        field_bytes(&mut bytes, 9, &attribute_message(attribute));
    }
    if let Some((kind, message)) = span.exception {
        let mut event = Vec::new();
        let time_at = field_fixed64(&mut event, 1);
        field_bytes(&mut event, 2, b"exception");
        for attribute in [("exception.type", kind), ("exception.message", message)] {
            field_bytes(&mut event, 3, &attribute_message(&(attribute.0, Value::Text(attribute.1.to_owned()))));
        }
        let at = field_bytes(&mut bytes, 11, &event);
        patches.times.push(TimePatch { at: at + time_at, before: span.end_before });
        let mut status = Vec::new();
        field_bytes(&mut status, 2, message.as_bytes());
        field_varint(&mut status, 3, 2);
        field_bytes(&mut bytes, 15, &status);
    }
    tag(&mut bytes, 16, 5);
    bytes.extend_from_slice(&0x101_u32.to_le_bytes());
    patches.spans.push(SpanPatch {
        trace: span.trace,
        index: span.index,
        parent: span.parent,
        ids_at,
        times_at,
        start_before: span.start_before,
        end_before: span.end_before,
    });
    (bytes, patches)
}

/// Size of the Span message, bytes.
#[must_use]
pub fn span_size(span: &SpanPlan) -> usize {
    span_message(span).0.len()
}

/// Bytes that the attribute adds to a span.
#[must_use]
pub fn attribute_size(attribute: &Attribute) -> usize {
    let mut bytes = Vec::new();
    field_bytes(&mut bytes, 9, &attribute_message(attribute));
    bytes.len()
}

fn attribute_message(attribute: &Attribute) -> Vec<u8> {
    let mut bytes = Vec::new();
    field_bytes(&mut bytes, 1, attribute.0.as_bytes());
    field_bytes(&mut bytes, 2, &value_message(&attribute.1));
    bytes
}

fn value_message(value: &Value) -> Vec<u8> {
    let mut bytes = Vec::new();
    match value {
        Value::Text(text) => {
            field_bytes(&mut bytes, 1, text.as_bytes());
        }
        Value::Bool(value) => field_varint(&mut bytes, 2, u64::from(*value)),
        Value::Integer(value) => field_varint(&mut bytes, 3, value.cast_unsigned()),
        Value::Double(value) => {
            tag(&mut bytes, 4, 1);
            bytes.extend_from_slice(&value.to_le_bytes());
        }
        Value::List(values) => {
            let mut list = Vec::new();
            for value in values {
                field_bytes(&mut list, 1, &value_message(value));
            }
            field_bytes(&mut bytes, 5, &list);
        }
        Value::Map(entries) => {
            let mut list = Vec::new();
            for entry in entries {
                field_bytes(&mut list, 1, &attribute_message(entry));
            }
            field_bytes(&mut bytes, 6, &list);
        }
        Value::Bytes(value) => {
            field_bytes(&mut bytes, 7, value);
        }
    }
    bytes
}

fn varint(bytes: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        bytes.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    bytes.push(value.to_le_bytes()[0]);
}

fn tag(bytes: &mut Vec<u8>, field: u64, wire_type: u64) {
    varint(bytes, field << 3 | wire_type);
}

fn field_varint(bytes: &mut Vec<u8>, field: u64, value: u64) {
    tag(bytes, field, 0);
    varint(bytes, value);
}

/// Writes a length-delimited field; the offset of its first content byte is returned.
fn field_bytes(bytes: &mut Vec<u8>, field: u64, content: &[u8]) -> usize {
    tag(bytes, field, 2);
    varint(bytes, content.len() as u64);
    let at = bytes.len();
    bytes.extend_from_slice(content);
    at
}

/// Writes a zero fixed64 field to be patched; the offset of its first byte is returned.
fn field_fixed64(bytes: &mut Vec<u8>, field: u64) -> usize {
    tag(bytes, field, 1);
    let at = bytes.len();
    bytes.extend_from_slice(&[0; 8]);
    at
}
