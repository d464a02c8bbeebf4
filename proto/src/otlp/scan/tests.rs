//! The scan against prost: the same spans, ids, times, statuses and attributes; damaged input is an error.

use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue as ProstKeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span};
use proptest::prelude::*;
use prost::Message;

/// A key, and its value as text, integer or truth value.
type SeenAttribute = (Vec<u8>, Option<Vec<u8>>, Option<i64>, Option<bool>);

/// One span as the scan reported it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Seen {
    trace_id: Vec<u8>,
    times: (u64, u64),
    is_root: bool,
    ids: ([u8; 8], [u8; 8]),
    name: Vec<u8>,
    kind: u64,
    has_events: bool,
    status_code: u64,
    flags: u32,
    trace_state: Vec<u8>,
    attributes: Vec<SeenAttribute>,
    resource_attributes: usize,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Recorder {
    current: Seen,
    resource_attributes: usize,
    seen: Vec<Seen>,
    faults: Vec<SpanFault>,
    envelopes: Vec<Vec<u8>>,
}

impl TraceVisitor for Recorder {
    fn resource_begin(&mut self) {
        self.resource_attributes = 0;
    }
    fn resource(&mut self, envelope: &[u8]) {
        self.envelopes.push(envelope.to_vec());
    }
    fn resource_attribute(&mut self, _: KeyValue<'_>) {
        self.resource_attributes += 1;
    }
    fn scope_begin(&mut self) {}
    fn scope_end(&mut self, envelope: &[u8]) {
        self.envelopes.push(envelope.to_vec());
    }
    fn span_begin(&mut self) {
        self.current = Seen::default();
    }
    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        self.current.attributes.push((
            attribute.key.to_vec(),
            attribute.value.text().map(<[u8]>::to_vec),
            attribute.value.integer(),
            attribute.value.boolean(),
        ));
    }
    fn span(&mut self, facts: &SpanFacts<'_>) {
        let attributes = std::mem::take(&mut self.current.attributes);
        self.seen.push(Seen {
            trace_id: facts.trace_id.to_vec(),
            times: (facts.start_unix_nano, facts.end_unix_nano),
            is_root: facts.is_root,
            ids: (facts.span_id, facts.parent_span_id),
            name: facts.name.to_vec(),
            kind: facts.kind,
            has_events: facts.has_events,
            status_code: facts.status_code,
            flags: facts.flags,
            trace_state: facts.trace_state.to_vec(),
            attributes,
            resource_attributes: self.resource_attributes,
            bytes: facts.bytes.to_vec(),
        });
    }
    fn span_refused(&mut self, fault: SpanFault) {
        self.faults.push(fault);
    }
}

fn scan(bytes: &[u8]) -> Result<Recorder, Fault> {
    let mut recorder = Recorder::default();
    traces(bytes, 1 << 20, &mut recorder).map(|()| recorder)
}

/// What the scan should report, from the reference decoder's view.
fn expected(request: &ExportTraceServiceRequest) -> Vec<Seen> {
    let mut seen = Vec::new();
    for resource_spans in &request.resource_spans {
        let resource_attributes = resource_spans.resource.as_ref().map_or(0, |resource| resource.attributes.len());
        for span in resource_spans.scope_spans.iter().flat_map(|scope_spans| &scope_spans.spans) {
            seen.push(Seen {
                trace_id: span.trace_id.clone(),
                times: (span.start_time_unix_nano, span.end_time_unix_nano),
                is_root: span.parent_span_id.iter().all(|byte| *byte == 0),
                ids: (id(&span.span_id), id(&span.parent_span_id)),
                name: span.name.clone().into_bytes(),
                kind: i64::from(span.kind).cast_unsigned(),
                has_events: !span.events.is_empty(),
                status_code: span.status.as_ref().map_or(0, |status| i64::from(status.code).cast_unsigned()),
                flags: span.flags,
                trace_state: span.trace_state.clone().into_bytes(),
                attributes: span.attributes.iter().map(expected_attribute).collect(),
                resource_attributes,
                bytes: span.encode_to_vec(),
            });
        }
    }
    seen
}

/// An id, or none as zeros.
fn id(bytes: &[u8]) -> [u8; 8] {
    bytes.try_into().unwrap_or_default()
}

fn expected_attribute(attribute: &ProstKeyValue) -> SeenAttribute {
    let key = attribute.key.clone().into_bytes();
    match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(Value::StringValue(text)) => (key, Some(text.clone().into_bytes()), None, None),
        Some(Value::IntValue(value)) => (key, None, Some(*value), None),
        Some(Value::BoolValue(value)) => (key, None, None, Some(*value)),
        _ => (key, None, None, None),
    }
}

fn any_value() -> impl Strategy<Value = AnyValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::StringValue),
        "[a-z]{100,200}".prop_map(Value::StringValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<f64>().prop_map(Value::DoubleValue),
        any::<Vec<u8>>().prop_map(Value::BytesValue),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        let wrapped = inner.prop_map(|value| AnyValue { value: Some(value) });
        prop_oneof![
            prop::collection::vec(wrapped.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            prop::collection::vec((any::<String>(), wrapped), 0..3).prop_map(|pairs| Value::KvlistValue(
                KeyValueList { values: pairs.into_iter().map(|(key, value)| key_value(key, Some(value))).collect() }
            )),
        ]
    });
    prop::option::weighted(0.95, value).prop_map(|value| AnyValue { value })
}

fn key_value(key: String, value: Option<AnyValue>) -> ProstKeyValue {
    ProstKeyValue { key, value, ..Default::default() }
}

fn attributes() -> impl Strategy<Value = Vec<ProstKeyValue>> {
    prop::collection::vec(("[a-z.]{1,20}", prop::option::weighted(0.95, any_value())), 0..5)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| key_value(key, value)).collect())
}

fn span() -> impl Strategy<Value = Span> {
    let ids = (
        any::<[u8; 16]>(),
        any::<[u8; 8]>(),
        prop_oneof![Just(vec![]), Just(vec![0; 8]), any::<[u8; 8]>().prop_map(Vec::from)],
    );
    let rest = (any::<u64>(), any::<u64>(), any::<u32>(), ".{0,10}", ".{0,30}", attributes(), attributes());
    let status = prop::option::of((0..3i32, ".{0,5}"));
    (ids, rest, status, 0..2usize).prop_map(|((mut trace_id, mut span_id, parent), rest, status, events)| {
        trace_id[0] |= 1;
        span_id[0] |= 1;
        let (start_time_unix_nano, end_time_unix_nano, flags, trace_state, name, attributes, more) = rest;
        Span {
            trace_id: trace_id.to_vec(),
            span_id: span_id.to_vec(),
            parent_span_id: parent,
            trace_state,
            name,
            start_time_unix_nano,
            end_time_unix_nano,
            flags,
            attributes,
            kind: 3,
            events: vec![span::Event { name: "e".into(), attributes: more.clone(), ..Default::default() }; events],
            links: vec![span::Link { attributes: more, ..Default::default() }],
            status: status.map(|(code, message)| Status { code, message }),
            ..Default::default()
        }
    })
}

fn request() -> impl Strategy<Value = ExportTraceServiceRequest> {
    let scope_spans = (prop::collection::vec(span(), 0..4), ".{0,8}").prop_map(|(spans, name)| ScopeSpans {
        scope: Some(InstrumentationScope { name: name.clone(), ..Default::default() }),
        spans,
        schema_url: name,
    });
    let resource_spans = (attributes(), prop::collection::vec(scope_spans, 0..3), ".{0,8}").prop_map(
        |(attributes, scope_spans, schema_url)| ResourceSpans {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_spans,
            schema_url,
        },
    );
    prop::collection::vec(resource_spans, 0..3).prop_map(|resource_spans| ExportTraceServiceRequest { resource_spans })
}

proptest! {
    #[test]
    fn the_scan_sees_what_the_reference_decoder_sees(request in request()) {
        let recorder = scan(&request.encode_to_vec()).unwrap();
        prop_assert_eq!(&recorder.faults, &vec![]);
        prop_assert_eq!(recorder.seen, expected(&request));
    }

    /// Whatever the reference accepts the scan accepts with the same spans, after any damage to the bytes.
    #[test]
    fn damage_is_an_error_or_harmless(request in request(), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = request.encode_to_vec();
        if bytes.is_empty() { return Ok(()); }
        let position = at.index(bytes.len());
        bytes[position] = byte;
        if byte % 4 == 0 { bytes.truncate(cut.index(bytes.len())); }
        let scanned = scan(&bytes);
        if let Ok(decoded) = ExportTraceServiceRequest::decode(&bytes[..]) {
            // An array of 30 levels can't arise here, so only ids may be refused.
            let recorder = scanned.unwrap();
            let expected = expected(&decoded);
            prop_assert_eq!(recorder.seen.len() + recorder.faults.len(), expected.len());
            if recorder.faults.is_empty() {
                for (seen, expected) in recorder.seen.iter().zip(&expected) {
                    prop_assert_eq!(&seen.trace_id, &expected.trace_id);
                    prop_assert_eq!(seen.times, expected.times);
                    prop_assert_eq!(seen.status_code, expected.status_code);
                }
            }
        }
    }
}

fn one_span(span: Span) -> Vec<u8> {
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..Default::default() }];
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] }
        .encode_to_vec()
}

fn sound_span() -> Span {
    Span { trace_id: vec![1; 16], span_id: vec![2; 8], ..Default::default() }
}

#[test]
fn bad_ids_cost_only_their_span() {
    let cases = [
        (Span { trace_id: vec![1; 15], ..sound_span() }, SpanFault::TraceId),
        (Span { trace_id: vec![], ..sound_span() }, SpanFault::TraceId),
        (Span { trace_id: vec![0; 16], ..sound_span() }, SpanFault::TraceId),
        (Span { span_id: vec![1; 9], ..sound_span() }, SpanFault::SpanId),
        (Span { span_id: vec![0; 8], ..sound_span() }, SpanFault::SpanId),
        (Span { parent_span_id: vec![1; 7], ..sound_span() }, SpanFault::ParentSpanId),
    ];
    for (span, fault) in cases {
        let mut bytes = one_span(span);
        bytes.extend(one_span(sound_span()));
        let recorder = scan(&bytes).unwrap();
        assert_eq!((recorder.faults, recorder.seen.len()), (vec![fault], 1));
    }
}

#[test]
fn a_resource_behind_its_spans_is_read_before_them() {
    let sound = one_span(sound_span());
    let resource = Resource { attributes: vec![key_value("k".into(), None)], ..Default::default() };
    let tail = ResourceSpans { resource: Some(resource), schema_url: "u".into(), ..Default::default() }.encode_to_vec();
    let inner = &sound[2..];
    let mut request = vec![0x0a, u8::try_from(inner.len() + tail.len()).unwrap()];
    request.extend_from_slice(inner);
    request.extend_from_slice(&tail);
    let recorder = scan(&request).unwrap();
    assert_eq!(recorder.seen[0].resource_attributes, 1);
    assert_eq!(recorder.envelopes[0], tail, "resource and schema url survive as they came");
}

#[test]
fn a_million_attributes_in_a_span_are_one_fault() {
    let attributes = (0..1_000_000).map(|_| key_value("key".into(), None)).collect();
    let recorder = scan(&one_span(Span { attributes, ..sound_span() })).unwrap();
    assert_eq!(recorder.faults, vec![SpanFault::TooLarge(1 << 20)]);
}

#[test]
fn offsets_point_at_the_span() {
    let bytes = one_span(sound_span());
    struct At<'a>(&'a [u8], usize);
    impl TraceVisitor for At<'_> {
        fn resource_begin(&mut self) {}
        fn resource(&mut self, _: &[u8]) {}
        fn resource_attribute(&mut self, _: KeyValue<'_>) {}
        fn scope_begin(&mut self) {}
        fn scope_end(&mut self, _: &[u8]) {}
        fn span_begin(&mut self) {}
        fn span_attribute(&mut self, _: KeyValue<'_>) {}
        fn span(&mut self, facts: &SpanFacts<'_>) {
            assert_eq!(&self.0[facts.offset..facts.offset + facts.bytes.len()], facts.bytes);
            self.1 += 1;
        }
        fn span_refused(&mut self, _: SpanFault) {}
    }
    let mut at = At(&bytes, 0);
    traces(&bytes, 1 << 20, &mut at).unwrap();
    assert_eq!(at.1, 1);
}
