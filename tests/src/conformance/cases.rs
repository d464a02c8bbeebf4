//! Cases by hand: what the Collector's own unit tests hold of each policy, as scenarios of one processor each, with the
//! outcome that they expect. Rows are facts about v0.161.

mod attributes;
mod combined;
mod spans;

use super::{KeptSpan, Request, Scenario, processor_of, spans_of};
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use serde_json::Value;

/// A scenario whose outcome is known.
#[derive(Debug, Clone)]
pub struct Case {
    /// What is sent.
    pub scenario: Scenario,
    /// What comes out of it, sorted.
    pub kept: Vec<KeptSpan>,
}

/// All cases.
#[must_use]
pub fn cases() -> Vec<Case> {
    [attributes::cases(), spans::cases(), combined::cases()].concat()
}

/// The scenarios of all cases.
#[must_use]
pub fn all() -> Vec<Scenario> {
    cases().into_iter().map(|case| case.scenario).collect()
}

/// One trace of a case: the spans of each of its resources, and what becomes of it.
struct Trace {
    pieces: Vec<(Vec<KeyValue>, Vec<Span>)>,
    late: Vec<Span>,
    is_kept: bool,
}

impl Trace {
    /// In one piece, without a resource attribute.
    fn of(spans: Vec<Span>, is_kept: bool) -> Self {
        Self { pieces: vec![(Vec::new(), spans)], late: Vec::new(), is_kept }
    }

    /// With another span after the verdict.
    fn with_late(self, span: Span) -> Self {
        Self { late: vec![span], ..self }
    }
}

/// A case of these policies. The traces get ids that no other case has.
fn case(name: &str, policies: &[Value], traces: Vec<Trace>) -> Case {
    let mut kept = Vec::new();
    let mut requests = Vec::new();
    for (number, trace) in traces.into_iter().enumerate() {
        let id = trace_id(name, number);
        let mut count = 0u64;
        let mut spans = |spans: Vec<Span>| -> Vec<Span> {
            let named = spans.into_iter().map(|span| {
                count += 1;
                Span { trace_id: id.clone(), span_id: count.to_be_bytes().to_vec(), ..span }
            });
            named.collect()
        };
        let pieces = trace.pieces.into_iter().map(|(attributes, piece)| resource_spans(attributes, spans(piece)));
        let mut bodies = vec![(false, pieces.collect::<Vec<_>>())];
        if !trace.late.is_empty() {
            bodies.push((true, vec![resource_spans(Vec::new(), spans(trace.late))]));
        }
        for (is_late, resource_spans) in bodies {
            let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
            if trace.is_kept {
                kept.extend(spans_of(&body));
            }
            requests.push(Request { is_late, body: body.into() });
        }
    }
    kept.sort();
    Case { scenario: Scenario { name: name.to_string(), processor: processor_of(policies), requests }, kept }
}

fn resource_spans(attributes: Vec<KeyValue>, spans: Vec<Span>) -> ResourceSpans {
    ResourceSpans {
        resource: Some(Resource { attributes, ..Default::default() }),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    }
}

fn trace_id(name: &str, number: usize) -> Vec<u8> {
    let hash = super::hash(&[name.as_bytes().to_vec()]);
    [hash.to_be_bytes(), (number as u64 + 1).to_be_bytes()].concat()
}

fn attribute(key: &str, value: Any) -> KeyValue {
    KeyValue { key: key.to_string(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn text(key: &str, value: &str) -> KeyValue {
    attribute(key, Any::StringValue(value.to_string()))
}

fn span_with(attributes: Vec<KeyValue>) -> Span {
    Span { attributes, ..Default::default() }
}
