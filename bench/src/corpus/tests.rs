//! The corpus against the reference decoder, and against what its options promise.

use super::*;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message as _;
use std::collections::HashMap;

fn options(span_bytes: usize, encoding: BodyEncoding) -> CorpusOptions {
    CorpusOptions {
        seed: 11,
        services: 8,
        spans_per_trace: 8,
        spans_per_request: 100,
        requests_per_service: 1,
        span_bytes,
        keep_share: 0.2,
        late_share: 0.1,
        encoding,
    }
}

const POSITION: RoundPosition = RoundPosition { first_trace: 500, unix_nanos: 1_800_000_000_123_456_789 };

fn decode(template: &RoundTemplate, options: &CorpusOptions) -> Vec<ExportTraceServiceRequest> {
    let identity = Identity::new(options.seed);
    template
        .requests
        .iter()
        .map(|request| {
            let mut body = request.bytes.clone();
            request.patch(&mut body, identity, POSITION);
            match options.encoding {
                BodyEncoding::Protobuf => ExportTraceServiceRequest::decode(body.as_slice()).unwrap(),
                BodyEncoding::Json => serde_json::from_slice(&body).unwrap(),
            }
        })
        .collect()
}

fn spans(requests: &[ExportTraceServiceRequest]) -> Vec<&Span> {
    requests
        .iter()
        .flat_map(|request| &request.resource_spans)
        .flat_map(|resource| &resource.scope_spans)
        .flat_map(|scope| &scope.spans)
        .collect()
}

#[test]
fn spans_have_the_size_asked_for() {
    for target in [384, 794] {
        let options = options(target, BodyEncoding::Protobuf);
        let template = RoundTemplate::build(&options, 0);
        let requests = decode(&template, &options);
        let spans = spans(&requests);
        assert_eq!(spans.len() as u64, template.spans());
        let off: Vec<_> =
            spans.iter().map(|span| span.encoded_len()).filter(|size| size.abs_diff(target) > 4).collect();
        assert!(off.is_empty(), "sizes away from {target}: {off:?}");
        assert!(requests[0].resource_spans[0].resource.as_ref().unwrap().attributes.len() >= 10);
    }
}

#[test]
fn both_encodings_say_the_same() {
    let protobuf = options(794, BodyEncoding::Protobuf);
    let json = options(794, BodyEncoding::Json);
    let first = decode(&RoundTemplate::build(&protobuf, 3), &protobuf);
    let second = decode(&RoundTemplate::build(&json, 3), &json);
    assert_eq!(first, second);
}

#[test]
fn a_trace_is_scattered_over_requests_and_kept_for_the_reason_given() {
    let options = options(384, BodyEncoding::Protobuf);
    let template = RoundTemplate::build(&options, 1);
    let requests = decode(&template, &options);
    let mut traces: HashMap<Vec<u8>, Vec<(usize, &Span)>> = HashMap::new();
    for (number, request) in requests.iter().enumerate() {
        for span in spans(std::slice::from_ref(request)) {
            traces.entry(span.trace_id.clone()).or_default().push((number, span));
        }
    }
    assert_eq!(traces.len(), options.traces_per_round() as usize);
    let identity = Identity::new(options.seed);
    for (trace, members) in &traces {
        assert_eq!(members.len(), 8);
        let places: std::collections::HashSet<_> = members.iter().map(|(number, _)| number).collect();
        assert_eq!(places.len(), 8, "two spans of a trace share a request");
        let ids: std::collections::HashSet<_> = members.iter().map(|(_, span)| &span.span_id).collect();
        assert_eq!(ids.len(), 8);
        for (_, span) in members {
            let root = span.parent_span_id.is_empty();
            assert!(root || ids.contains(&span.parent_span_id));
        }
        let failed = members.iter().any(|(_, span)| span.status.as_ref().is_some_and(|status| status.code == 2));
        let start = members.iter().map(|(_, span)| span.start_time_unix_nano).min().unwrap();
        let end = members.iter().map(|(_, span)| span.end_time_unix_nano).max().unwrap();
        let slow = end - start > 1_000_000_000;
        let number = (0..options.traces_per_round())
            .find(|number| identity.trace(POSITION.first_trace + u64::from(*number)).to_bytes() == trace[..])
            .unwrap();
        let reason = template.keep.iter().find(|(kept, _)| *kept == number).map(|(_, reason)| *reason);
        assert_eq!(failed, reason == Some(plan::KeepReason::Error));
        assert_eq!(slow, reason == Some(plan::KeepReason::Slow));
    }
    let share = template.keep.len() as f64 / traces.len() as f64;
    assert!((0.05..0.4).contains(&share), "{share}");
    let late: Vec<_> = template.requests.iter().filter(|request| request.late).collect();
    assert_eq!(late.len(), 1);
    assert!(late[0].spans >= 1 && late[0].spans < 40);
}

#[test]
fn several_requests_of_a_service_share_its_traces_by_chance() {
    let options = CorpusOptions { requests_per_service: 4, late_share: 0.0, ..options(384, BodyEncoding::Protobuf) };
    let template = RoundTemplate::build(&options, 1);
    assert_eq!((template.requests.len(), template.spans()), (32, 3_200));
    let requests = decode(&template, &options);
    let mut traces: HashMap<&[u8], std::collections::HashSet<&[u8]>> = HashMap::new();
    for span in spans(&requests) {
        assert!(traces.entry(&span.trace_id).or_default().insert(&span.span_id));
    }
    assert_eq!(traces.len(), options.traces_per_round() as usize);
    assert!(traces.values().all(|spans| spans.len() == 8));
    let [first, second] = [0, 4]
        .map(|number| spans(&requests[number..=number]).iter().map(|span| &span.trace_id[..]).collect::<Vec<_>>());
    let common = first.iter().filter(|trace| second.contains(trace)).count();
    assert!(common * 2 < first.len(), "{common} of {}", first.len());
    let names: std::collections::HashSet<_> =
        requests[..4].iter().map(|request| format!("{:?}", request.resource_spans[0].resource)).collect();
    assert_eq!(names.len(), 1, "the requests of a service have one resource");
}

#[test]
fn every_type_of_value_occurs() {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let options = options(384, BodyEncoding::Protobuf);
    let requests = decode(&RoundTemplate::build(&options, 2), &options);
    let mut seen = std::collections::BTreeSet::new();
    for attribute in spans(&requests).iter().flat_map(|span| &span.attributes) {
        seen.insert(match attribute.value.as_ref().unwrap().value.as_ref().unwrap() {
            Value::StringValue(_) => "string",
            Value::BoolValue(_) => "bool",
            Value::IntValue(_) => "int",
            Value::DoubleValue(_) => "double",
            Value::ArrayValue(_) => "array",
            Value::KvlistValue(_) => "kvlist",
            Value::BytesValue(_) => "bytes",
            _ => "other",
        });
    }
    assert_eq!(seen.len(), 7, "{seen:?}");
}
