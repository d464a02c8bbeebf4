//! The walk against prost: the same records, ids, times, severities, bodies and attributes; damaged input is an error.

use super::*;
use crate::otlp::Signal;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as ProstValue, ArrayValue, InstrumentationScope, KeyValue as ProstKeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::resource::v1::Resource;
use proptest::prelude::*;
use prost::Message;

/// One record as the walk reported it.
#[derive(Debug, Clone, PartialEq, Default)]
struct Seen {
    times: (u64, u64),
    severity: (i32, Vec<u8>),
    body: Option<(Option<Vec<u8>>, Vec<u8>)>,
    ids: (Option<[u8; 16]>, Option<[u8; 8]>),
    flags: u32,
    event_name: Vec<u8>,
    attributes: Vec<Vec<u8>>,
    resource_attributes: Vec<Vec<u8>>,
    bytes: Vec<u8>,
}

#[derive(Default)]
struct Recorder {
    attributes: Vec<Vec<u8>>,
    resource_attributes: Vec<Vec<u8>>,
    seen: Vec<Seen>,
    faults: Vec<RecordFault>,
    envelopes: Vec<Vec<u8>>,
}

impl LogVisitor for Recorder {
    fn resource_begin(&mut self) {
        self.resource_attributes.clear();
    }
    fn resource_attribute(&mut self, attribute: KeyValue<'_>) {
        self.resource_attributes.push(attribute.key.to_vec());
    }
    fn resource(&mut self, envelope: &[u8]) {
        self.envelopes.push(envelope.to_vec());
    }
    fn scope_end(&mut self, envelope: &[u8]) {
        self.envelopes.push(envelope.to_vec());
    }
    fn record_begin(&mut self) {
        self.attributes.clear();
    }
    fn record_attribute(&mut self, attribute: KeyValue<'_>) {
        self.attributes.push(attribute.key.to_vec());
    }
    fn record(&mut self, facts: &LogFacts<'_>) {
        self.seen.push(Seen {
            times: (facts.time_unix_nano, facts.observed_time_unix_nano),
            severity: (facts.severity_number, facts.severity_text.to_vec()),
            body: facts.body.map(|body| (body.value.text().map(<[u8]>::to_vec), body.bytes.to_vec())),
            ids: (facts.trace_id, facts.span_id),
            flags: facts.flags,
            event_name: facts.event_name.to_vec(),
            attributes: self.attributes.clone(),
            resource_attributes: self.resource_attributes.clone(),
            bytes: facts.bytes.to_vec(),
        });
    }
    fn record_refused(&mut self, fault: RecordFault) {
        self.faults.push(fault);
    }
}

fn walk(bytes: &[u8]) -> Result<Recorder, Fault> {
    let mut recorder = Recorder::default();
    logs(bytes, 1 << 20, &mut recorder).map(|()| recorder)
}

/// What the walk should report, from the reference decoder's view.
fn expected(request: &ExportLogsServiceRequest) -> Vec<Seen> {
    let keys = |attributes: &[ProstKeyValue]| attributes.iter().map(|pair| pair.key.clone().into_bytes()).collect();
    let mut seen = Vec::new();
    for resource_logs in &request.resource_logs {
        let resource_attributes: Vec<Vec<u8>> =
            resource_logs.resource.as_ref().map_or_else(Vec::new, |resource| keys(&resource.attributes));
        for record in resource_logs.scope_logs.iter().flat_map(|scope_logs| &scope_logs.log_records) {
            seen.push(Seen {
                times: (record.time_unix_nano, record.observed_time_unix_nano),
                severity: (record.severity_number, record.severity_text.clone().into_bytes()),
                body: record.body.as_ref().map(|body| (text(body), body.encode_to_vec())),
                ids: (id_of(&record.trace_id), id_of(&record.span_id)),
                flags: record.flags,
                event_name: record.event_name.clone().into_bytes(),
                attributes: keys(&record.attributes),
                resource_attributes: resource_attributes.clone(),
                bytes: record.encode_to_vec(),
            });
        }
    }
    seen
}

fn text(value: &ProstValue) -> Option<Vec<u8>> {
    match &value.value {
        Some(Value::StringValue(text)) => Some(text.clone().into_bytes()),
        _ => None,
    }
}

fn id_of<const N: usize>(bytes: &[u8]) -> Option<[u8; N]> {
    bytes.try_into().ok().filter(|id| *id != [0; N])
}

fn any_value() -> impl Strategy<Value = ProstValue> {
    let leaf = prop_oneof![
        any::<String>().prop_map(Value::StringValue),
        "[a-z ]{100,200}".prop_map(Value::StringValue),
        any::<i64>().prop_map(Value::IntValue),
        any::<bool>().prop_map(Value::BoolValue),
        any::<f64>().prop_map(Value::DoubleValue),
        any::<Vec<u8>>().prop_map(Value::BytesValue),
    ];
    let value = leaf.prop_recursive(3, 12, 3, |inner| {
        let wrapped = inner.prop_map(|value| ProstValue { value: Some(value) });
        prop_oneof![
            prop::collection::vec(wrapped.clone(), 0..3).prop_map(|values| Value::ArrayValue(ArrayValue { values })),
            prop::collection::vec(("[a-z.]{1,9}", wrapped), 0..3).prop_map(|pairs| {
                let values = pairs.into_iter().map(|(key, value)| key_value(key, value)).collect();
                Value::KvlistValue(KeyValueList { values })
            }),
        ]
    });
    prop::option::weighted(0.95, value).prop_map(|value| ProstValue { value })
}

fn key_value(key: String, value: ProstValue) -> ProstKeyValue {
    ProstKeyValue { key, value: Some(value), ..Default::default() }
}

fn attributes() -> impl Strategy<Value = Vec<ProstKeyValue>> {
    prop::collection::vec(("[a-z.]{1,20}", any_value()), 0..4)
        .prop_map(|pairs| pairs.into_iter().map(|(key, value)| key_value(key, value)).collect())
}

fn record() -> impl Strategy<Value = LogRecord> {
    let trace_id = prop_oneof![Just(vec![]), Just(vec![0; 16]), any::<[u8; 16]>().prop_map(Vec::from)];
    let span_id = prop_oneof![Just(vec![]), Just(vec![0; 8]), any::<[u8; 8]>().prop_map(Vec::from)];
    let numbers = (any::<u64>(), any::<u64>(), any::<i32>(), any::<u32>());
    let body = prop::option::weighted(0.9, any_value());
    (trace_id, span_id, numbers, ".{0,9}", ".{0,9}", body, attributes()).prop_map(
        |(trace_id, span_id, numbers, severity_text, event_name, body, attributes)| LogRecord {
            time_unix_nano: numbers.0,
            observed_time_unix_nano: numbers.1,
            severity_number: numbers.2,
            flags: numbers.3,
            severity_text,
            event_name,
            body,
            attributes,
            trace_id,
            span_id,
            dropped_attributes_count: 3,
        },
    )
}

fn request() -> impl Strategy<Value = ExportLogsServiceRequest> {
    let scope_logs = (prop::collection::vec(record(), 0..4), ".{0,8}").prop_map(|(log_records, name)| ScopeLogs {
        scope: Some(InstrumentationScope { name: name.clone(), ..Default::default() }),
        log_records,
        schema_url: name,
    });
    let resource_logs = (attributes(), prop::collection::vec(scope_logs, 0..3), ".{0,8}").prop_map(
        |(attributes, scope_logs, schema_url)| ResourceLogs {
            resource: Some(Resource { attributes, ..Default::default() }),
            scope_logs,
            schema_url,
        },
    );
    prop::collection::vec(resource_logs, 0..3).prop_map(|resource_logs| ExportLogsServiceRequest { resource_logs })
}

proptest! {
    #[test]
    fn the_walk_sees_what_the_reference_decoder_sees(request in request()) {
        let bytes = request.encode_to_vec();
        let recorder = walk(&bytes).unwrap();
        prop_assert_eq!(&recorder.faults, &vec![]);
        prop_assert_eq!(check::items(Signal::Logs, &bytes), Ok(recorder.seen.len() as u32));
        prop_assert_eq!(recorder.seen, expected(&request));
    }

    /// Whatever the reference accepts the walk accepts with the same records, after any damage to the bytes; and what the
    /// check of whole requests accepts has as many records as it counts.
    #[test]
    fn damage_is_an_error_or_harmless(request in request(), at in any::<prop::sample::Index>(), byte: u8, cut in any::<prop::sample::Index>()) {
        let mut bytes = request.encode_to_vec();
        if bytes.is_empty() { return Ok(()); }
        let position = at.index(bytes.len());
        bytes[position] = byte;
        if byte % 4 == 0 { bytes.truncate(cut.index(bytes.len())); }
        let walked = walk(&bytes);
        if let Ok(items) = check::items(Signal::Logs, &bytes) {
            let recorder = walked.as_ref().unwrap();
            prop_assert_eq!(&recorder.faults, &vec![]);
            prop_assert_eq!(recorder.seen.len() as u32, items);
        }
        if let Ok(decoded) = ExportLogsServiceRequest::decode(&bytes[..]) {
            let recorder = walked.unwrap();
            let expected = expected(&decoded);
            prop_assert_eq!(recorder.seen.len() + recorder.faults.len(), expected.len());
            if recorder.faults.is_empty() {
                for (seen, expected) in recorder.seen.iter().zip(&expected) {
                    prop_assert_eq!((seen.times, &seen.severity, seen.ids), (expected.times, &expected.severity, expected.ids));
                    prop_assert_eq!(&seen.attributes, &expected.attributes);
                }
            }
        }
    }

    #[test]
    fn any_bytes_are_walked_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        let sound = walk(&bytes).is_ok_and(|recorder| recorder.faults.is_empty());
        if check::items(Signal::Logs, &bytes).is_ok() {
            prop_assert!(sound);
        }
    }
}

fn one_record(record: LogRecord) -> Vec<u8> {
    let scope_logs = vec![ScopeLogs { log_records: vec![record], ..Default::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..Default::default() }] }.encode_to_vec()
}

fn saying(text: &str) -> LogRecord {
    LogRecord { body: Some(ProstValue { value: Some(Value::StringValue(text.into())) }), ..Default::default() }
}

/// A value nested that many arrays deep.
fn nested(levels: u32) -> ProstValue {
    (0..levels).fold(ProstValue { value: Some(Value::BoolValue(true)) }, |inner, _| ProstValue {
        value: Some(Value::ArrayValue(ArrayValue { values: vec![inner] })),
    })
}

#[test]
fn a_bad_record_costs_only_itself() {
    let not_text = {
        let mut bytes = one_record(saying("abc"));
        let last = bytes.len() - 1;
        bytes[last] = 0xff;
        bytes
    };
    let deep = LogRecord { body: Some(nested(check::ANY_VALUE_DEPTH_MAX)), ..Default::default() };
    let sound_depth = LogRecord { body: Some(nested(check::ANY_VALUE_DEPTH_MAX - 1)), ..Default::default() };
    assert_eq!(walk(&one_record(sound_depth)).unwrap().seen.len(), 1);
    let cases = [
        (one_record(LogRecord { trace_id: vec![1; 15], ..saying("x") }), RecordFault::TraceId),
        (one_record(LogRecord { span_id: vec![1; 16], ..saying("x") }), RecordFault::SpanId),
        (one_record(saying(&"x".repeat(1 << 20))), RecordFault::TooLarge(1 << 20)),
        (one_record(deep), RecordFault::Part(Fault::Depth)),
        (not_text, RecordFault::Part(Fault::Utf8)),
    ];
    for (mut bytes, fault) in cases {
        bytes.extend(one_record(saying("sound")));
        let recorder = walk(&bytes).unwrap();
        assert_eq!((recorder.faults, recorder.seen.len()), (vec![fault], 1));
    }
}

#[test]
fn a_resource_behind_its_records_is_read_before_them() {
    let sound = one_record(saying("x"));
    let attributes = vec![key_value("k".into(), ProstValue::default())];
    let resource = Resource { attributes, ..Default::default() };
    let tail = ResourceLogs { resource: Some(resource), schema_url: "u".into(), ..Default::default() }.encode_to_vec();
    let inner = &sound[2..];
    let mut request = vec![0x0a, u8::try_from(inner.len() + tail.len()).unwrap()];
    request.extend_from_slice(inner);
    request.extend_from_slice(&tail);
    let recorder = walk(&request).unwrap();
    assert_eq!(recorder.seen[0].resource_attributes, vec![b"k".to_vec()]);
    assert_eq!(recorder.envelopes[0], tail, "resource and schema url survive as they came");
}

/// Every record is where the facts say it is: a wrong subtraction in `Walk::record` breaks this.
#[test]
fn offsets_point_at_the_record() {
    struct At<'a>(&'a [u8], usize);
    impl LogVisitor for At<'_> {
        fn record(&mut self, facts: &LogFacts<'_>) {
            assert_eq!(&self.0[facts.offset..facts.offset + facts.bytes.len()], facts.bytes);
            self.1 += 1;
        }
        fn record_refused(&mut self, _: RecordFault) {}
    }
    let bytes = [one_record(saying("a")), one_record(saying("b"))].concat();
    let mut at = At(&bytes, 0);
    logs(&bytes, 1 << 20, &mut at).unwrap();
    assert_eq!(at.1, 2);
}

/// A body in two pieces: the last member that is there holds.
#[test]
fn a_body_in_pieces_is_merged() {
    let scope = [0x12, 9, 0x2a, 3, 0x0a, 1, b'x', 0x2a, 2, 0x18, 7];
    let request = [&[0x0a, 13, 0x12, 11][..], &scope].concat();
    let mut bodies = Vec::new();
    struct Bodies<'a>(&'a mut Vec<Option<i64>>);
    impl LogVisitor for Bodies<'_> {
        fn record(&mut self, facts: &LogFacts<'_>) {
            self.0.push(facts.body.and_then(|body| body.value.integer()));
        }
        fn record_refused(&mut self, _: RecordFault) {}
    }
    logs(&request, 1 << 20, &mut Bodies(&mut bodies)).unwrap();
    assert_eq!(bodies, vec![Some(7)]);
}
