//! What a person looks for among logged requests, and what of a request that is. A trace is meant when one of its spans
//! fulfils all conditions; then all of its spans are. Bytes stay as they came: spans are picked out of their request with
//! their resource and scope, nothing is decoded into objects.

use crate::log::takers::Takers;
use crate::vocabulary::TraceId;
use std::collections::BTreeSet;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::{AnyValue, key_value};
use tailwater_proto::otlp::split::picked;
use tailwater_proto::otlp::wire::{Reader, Value, WireError};

/// Conditions on attributes in one question.
/// At the bound: the question is refused.
pub const ATTRIBUTES_MAX: usize = 16;

const RESOURCE_SPANS: u32 = 1;
const RESOURCE: u32 = 1;
const SCOPE_SPANS: u32 = 2;
const SPANS: u32 = 2;
const TRACE_ID: u32 = 1;
const NAME: u32 = 5;
const ATTRIBUTES_OF_SPAN: u32 = 9;
const ATTRIBUTES_OF_RESOURCE: u32 = 1;
/// `AnyValue.double_value`.
const DOUBLE: u32 = 4;
const SERVICE_NAME: &str = "service.name";

/// What one span of a trace is to be like. Without any condition every span is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Conditions {
    /// The service of its resource.
    pub service: Option<String>,
    /// Its name.
    pub name: Option<String>,
    /// Attributes of it or its resource, with their values as text.
    pub attributes: Vec<(String, String)>,
}

impl Conditions {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }

    fn hold(&self, resource: &[&[u8]], span: &[u8]) -> bool {
        let has = |key: &str, value: &str| {
            resource.iter().any(|resource| has_attribute(resource, ATTRIBUTES_OF_RESOURCE, key, value))
        };
        self.service.as_ref().is_none_or(|service| has(SERVICE_NAME, service))
            && self.name.as_ref().is_none_or(|name| field(span, NAME).unwrap_or_default() == name.as_bytes())
            && self
                .attributes
                .iter()
                .all(|(key, value)| has_attribute(span, ATTRIBUTES_OF_SPAN, key, value) || has(key, value))
    }
}

/// A span of a request.
#[derive(Debug, Clone, Copy)]
pub struct Seen<'a> {
    /// Its trace.
    pub trace_id: TraceId,
    /// Its resources' messages: of several protobuf makes one.
    resource: &'a [&'a [u8]],
    span: &'a [u8],
}

impl Seen<'_> {
    /// Whether all conditions hold.
    #[must_use]
    pub fn fulfils(&self, conditions: &Conditions) -> bool {
        conditions.hold(self.resource, self.span)
    }
}

/// Shows all spans of a request that have a trace id to `see`, with their places among all spans.
///
/// # Errors
/// `WireError`: what was shown is what stands before it.
pub fn each_span(request: &[u8], mut see: impl FnMut(u32, Seen<'_>)) -> Result<(), WireError> {
    let mut position = 0;
    for resource_spans in messages(request, RESOURCE_SPANS) {
        let resource_spans = resource_spans?;
        let resource: Vec<&[u8]> = messages(resource_spans, RESOURCE).collect::<Result<_, _>>()?;
        for scope_spans in messages(resource_spans, SCOPE_SPANS) {
            for span in messages(scope_spans?, SPANS) {
                let span = span?;
                if let Some(trace_id) = field(span, TRACE_ID).and_then(|id| TraceId::try_from(id).ok()) {
                    see(position, Seen { trace_id, resource: &resource, span });
                }
                position += 1;
            }
        }
    }
    Ok(())
}

/// What a request has of a trace: a request of its own, and how many spans are in it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TracePart {
    /// The trace.
    pub trace_id: TraceId,
    /// The request.
    pub body: Vec<u8>,
    /// Spans in it.
    pub spans: u32,
}

/// What a request has of the traces that are wanted, one part a trace.
#[must_use]
pub fn parts(request: &[u8], mut is_wanted: impl FnMut(&TraceId) -> bool) -> Vec<TracePart> {
    let mut places: Vec<(TraceId, u32)> = Vec::new();
    let walked = each_span(request, |position, seen| {
        if is_wanted(&seen.trace_id) {
            places.push((seen.trace_id, position));
        }
    });
    if walked.is_err() {
        return Vec::new();
    }
    places.sort_unstable();
    let of_trace = places.chunk_by(|left, right| left.0 == right.0);
    let part = |places: &[(TraceId, u32)]| {
        let (trace_id, _) = places.first()?;
        let is_meant = |position: u32| places.binary_search_by_key(&position, |(_, place)| *place).is_ok();
        let part = picked(Signal::Traces, request, is_meant)?;
        Some(TracePart { trace_id: *trace_id, body: part.body, spans: part.items })
    };
    of_trace.filter_map(part).collect()
}

/// What is looked for.
#[derive(Debug, Clone)]
pub struct Sought {
    /// When it was received, from and to, nanoseconds since 1970.
    pub times: (u64, u64),
    /// By what.
    pub what: What,
}

/// By what traces are looked for.
#[derive(Debug, Clone)]
pub enum What {
    /// Traces of which a span fulfils these; so many at most.
    Matching(Conditions, usize),
    /// These traces; so many bytes at most.
    Traces(BTreeSet<TraceId>, usize),
}

/// Why less was found than there may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Cut {
    /// There are more traces than were asked for.
    Limit,
    /// They have more bytes than an answer.
    Bytes,
    /// Reading took too long.
    Time,
}

/// A part of a trace as it was received.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Received {
    /// When, nanoseconds since 1970.
    pub unix_nano: u64,
    /// The pipelines of this run that took it.
    pub takers: Takers,
    /// What.
    pub part: TracePart,
}

/// What an executor's log has.
#[derive(Debug, Default)]
pub struct Gathered {
    /// Traces that match.
    pub matching: BTreeSet<TraceId>,
    /// What is there of those that were asked for, in the order in which it came.
    pub parts: Vec<Received>,
    /// Bytes of those.
    pub parts_bytes: usize,
    /// Why there may be more.
    pub cut: Option<Cut>,
    /// Whether another question is being answered: nothing was read.
    pub is_busy: bool,
    /// Segments read, and those of them that had nothing of what was sought.
    pub segments: u64,
    /// See above.
    pub segments_in_vain: u64,
    /// Bytes read.
    pub bytes: u64,
}

impl Gathered {
    /// Takes what a request, received then by these, has of what is sought.
    pub fn take(&mut self, what: &What, (unix_nano, takers): (u64, Takers), body: &[u8]) {
        match what {
            What::Matching(conditions, limit) => {
                // What cannot be walked was refused when it came.
                _ = each_span(body, |_, seen| {
                    let is_new = !self.matching.contains(&seen.trace_id) && seen.fulfils(conditions);
                    if is_new && self.matching.len() >= *limit {
                        self.cut = Some(Cut::Limit);
                    } else if is_new {
                        self.matching.insert(seen.trace_id);
                    }
                });
            }
            What::Traces(ids, bytes_max) => {
                for part in parts(body, |id| ids.contains(id)) {
                    if self.parts_bytes + part.body.len() > *bytes_max {
                        self.cut = Some(Cut::Bytes);
                        return;
                    }
                    self.parts_bytes += part.body.len();
                    self.parts.push(Received { unix_nano, takers, part });
                }
            }
        }
    }
}

/// The length-delimited fields of that number.
fn messages(message: &[u8], number: u32) -> impl Iterator<Item = Result<&[u8], WireError>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || {
        loop {
            match reader.next_field() {
                Ok(Some(field)) if field.number == number => return Some(field.bytes()),
                Ok(Some(_)) => {}
                Ok(None) => return None,
                Err(error) => return Some(Err(error)),
            }
        }
    })
    .scan(false, |has_failed, item| {
        // Nothing can be read behind an error.
        let is_over = std::mem::replace(has_failed, item.is_err());
        (!is_over).then_some(item)
    })
}

/// The last length-delimited field of that number.
fn field(message: &[u8], number: u32) -> Option<&[u8]> {
    messages(message, number).filter_map(Result::ok).last()
}

fn has_attribute(message: &[u8], number: u32, key: &str, value: &str) -> bool {
    let attributes = messages(message, number).filter_map(Result::ok);
    let mut attributes = attributes.filter_map(|attribute| key_value(attribute).ok());
    attributes.any(|attribute| attribute.key == key.as_bytes() && is_text(&attribute.value, value))
}

/// Whether a value is written like this: text as it is, numbers and truth as JSON has them.
fn is_text(value: &AnyValue<'_>, text: &str) -> bool {
    match value {
        AnyValue::Text(bytes) => *bytes == text.as_bytes(),
        AnyValue::Boolean(truth) => text == if *truth { "true" } else { "false" },
        AnyValue::Integer(number) => text.parse() == Ok(*number),
        AnyValue::Other(bytes) => {
            let last = Reader::new(bytes).next_field().ok().flatten();
            match last.map(|field| (field.number, field.value)) {
                Some((DOUBLE, Value::Fixed64(bits))) => {
                    text.parse::<f64>().is_ok_and(|number| number.to_bits() == bits)
                }
                _ => false,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
    use opentelemetry_proto::tonic::common::v1::{AnyValue as Any, KeyValue, any_value};
    use opentelemetry_proto::tonic::resource::v1::Resource;
    use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
    use prost::Message;

    fn attribute(key: &str, value: any_value::Value) -> KeyValue {
        KeyValue { key: key.into(), value: Some(Any { value: Some(value) }), ..Default::default() }
    }

    fn span(trace: u8, name: &str, attributes: Vec<KeyValue>) -> Span {
        Span { trace_id: vec![trace; 16], span_id: vec![1; 8], name: name.into(), attributes, ..Default::default() }
    }

    fn request() -> Vec<u8> {
        let text = |text: &str| any_value::Value::StringValue(text.into());
        let resource = |service: &str, spans: Vec<Span>| ResourceSpans {
            resource: Some(Resource {
                attributes: vec![attribute("service.name", text(service)), attribute("zone", text("b"))],
                ..Default::default()
            }),
            scope_spans: spans.into_iter().map(|span| ScopeSpans { spans: vec![span], ..Default::default() }).collect(),
            ..Default::default()
        };
        let without_id = Span { trace_id: vec![7; 3], ..span(9, "bad", Vec::new()) };
        let numbers = vec![
            attribute("n", any_value::Value::IntValue(-7)),
            attribute("d", any_value::Value::DoubleValue(1.5)),
            attribute("b", any_value::Value::BoolValue(true)),
        ];
        ExportTraceServiceRequest {
            resource_spans: vec![
                resource("shop", vec![span(1, "GET /", Vec::new()), without_id, span(2, "pay", numbers)]),
                resource("bank", vec![span(1, "book", vec![attribute("user", text("ann"))])]),
            ],
        }
        .encode_to_vec()
    }

    fn found(conditions: &Conditions) -> Vec<u8> {
        let mut found = Vec::new();
        each_span(&request(), |_, seen| found.extend(seen.fulfils(conditions).then_some(seen.trace_id[0]))).unwrap();
        found
    }

    /// Without `has` of the resource attributes of a service would find nothing; without `is_text` numbers would not.
    #[test]
    fn a_span_is_meant_by_service_name_and_attributes_of_either() {
        let of = |service: Option<&str>, name: Option<&str>, attributes: &[(&str, &str)]| {
            found(&Conditions {
                service: service.map(String::from),
                name: name.map(String::from),
                attributes: attributes.iter().map(|(key, value)| ((*key).into(), (*value).into())).collect(),
            })
        };
        assert_eq!(of(None, None, &[]), [1, 2, 1]);
        assert_eq!(of(Some("shop"), None, &[]), [1, 2]);
        assert_eq!(of(Some("shop"), Some("pay"), &[]), [2]);
        assert_eq!(of(None, None, &[("zone", "b"), ("user", "ann")]), [1]);
        assert_eq!(of(None, None, &[("n", "-7"), ("d", "1.5"), ("b", "true")]), [2]);
        assert!(of(None, None, &[("n", "7")]).is_empty() && of(None, None, &[("service.name", "x")]).is_empty());
    }

    /// Without counting the span that has no id in `each_span` the wrong spans would be picked.
    #[test]
    fn a_trace_is_picked_whole_and_by_itself() {
        let parts = parts(&request(), |id| id[0] == 1);
        let [part] = &parts[..] else { panic!("{parts:?}") };
        assert_eq!((part.trace_id, part.spans), ([1; 16], 2));
        let read = ExportTraceServiceRequest::decode(&part.body[..]).unwrap();
        let names: Vec<(usize, &str)> = read
            .resource_spans
            .iter()
            .flat_map(|of| of.scope_spans.iter().map(move |scope| (of, scope)))
            .flat_map(|(of, scope)| scope.spans.iter().map(move |span| (of.resource.iter().count(), &*span.name)))
            .collect();
        assert_eq!(names, [(1, "GET /"), (1, "book")]);
        assert!(super::parts(&[0x0a, 0xff], |_| true).is_empty());
    }
}
