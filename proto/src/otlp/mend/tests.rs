//! What is left of requests with something wrong in them, in every signal.

use super::*;
use crate::otlp::wire::WireError;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message as _;

/// A length-delimited field.
fn field(number: u32, content: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    put_header(&mut out, number, content.len());
    out.extend_from_slice(content);
    out
}

fn attribute(number: u32, value: &[u8]) -> Vec<u8> {
    field(number, &[field(1, b"k"), field(2, &field(1, value))].concat())
}

fn record(body: &[u8], more: &[u8]) -> Vec<u8> {
    field(2, &[field(5, &field(1, body)), more.to_vec()].concat())
}

/// Log records, or metrics, in one scope of one resource, with more in each of these.
fn request(items: &[Vec<u8>], of_scope: &[u8], of_resource: &[u8]) -> Vec<u8> {
    field(1, &[field(1, of_resource), field(2, &[field(1, of_scope), items.concat()].concat())].concat())
}

fn gauge(name: &[u8], points: &[&[u8]], more: &[u8]) -> Vec<u8> {
    let points: Vec<_> = points.iter().map(|point| field(1, point)).collect();
    field(2, &[field(1, name), field(5, &points.concat()), more.to_vec()].concat())
}

fn bodies(mended: &Mended) -> Vec<String> {
    use opentelemetry_proto::tonic::common::v1::any_value::Value;
    let request = ExportLogsServiceRequest::decode(mended.body.as_deref().unwrap()).unwrap();
    let scopes = request.resource_logs.into_iter().flat_map(|resource| resource.scope_logs);
    let records = scopes.flat_map(|scope| scope.log_records);
    records
        .map(|record| match record.body.unwrap().value.unwrap() {
            Value::StringValue(text) => text,
            other => panic!("{other:?}"),
        })
        .collect()
}

#[test]
fn what_is_sound_is_not_copied() {
    let sound = request(&[record(b"a", &[]), record(b"b", &[])], &[], &[]);
    assert_eq!(
        mended(Signal::Logs, &sound),
        Ok(Mended {
            body: None,
            items: 2,
            refused: Refusals::default(),
            fault: None,
            place: String::new(),
            repaired: 0
        })
    );
}

#[test]
fn a_bad_record_costs_itself_wherever_its_fault_is() {
    let faults: [(&[u8], Fault); 5] = [
        (&field(9, &[1; 15]), Fault::Id(16)),
        (&field(10, &[1; 9]), Fault::Id(8)),
        // A flag as a varint, an attribute that is cut short, a field number of zero.
        (&[8 << 3, 1], Fault::Wire(WireError::FieldType { number: 8, position: 5 })),
        (&field(6, &[0x0a, 5, b'k']), Fault::Wire(WireError::Truncated(2))),
        (&[0, 0], Fault::Wire(WireError::FieldNumber(5))),
    ];
    for (bad, fault) in faults {
        let whole = request(&[record(b"a", &[]), record(b"x", bad), record(b"c", &[])], &[], &[]);
        let mended = mended(Signal::Logs, &whole).unwrap();
        assert_eq!((mended.items, mended.refused.total(), mended.fault), (2, 1, Some(fault)), "{bad:?}");
        assert!(mended.place.starts_with("resourceLogs[0].scopeLogs[0].logRecords[1]"), "{}", mended.place);
        assert_eq!(bodies(&mended), ["a", "c"]);
    }
}

#[test]
fn a_bad_scope_or_resource_costs_what_is_under_it() {
    let cut: &[u8] = &[0x0a, 9, b'k'];
    let good = request(&[record(b"a", &[])], &attribute(3, b"v"), &attribute(1, b"v"));
    for (of_scope, of_resource) in [(cut, &[][..]), (&[], cut)] {
        let bad =
            request(&[record(b"x", &[]), record(b"y", &field(9, &[1])), record(b"z", &[])], of_scope, of_resource);
        let mended = mended(Signal::Logs, &[good.clone(), bad, good.clone()].concat()).unwrap();
        assert_eq!((mended.items, mended.refused.total()), (2, 3));
        assert_eq!(bodies(&mended), ["a", "a"]);
        assert_eq!(mended.body.unwrap().len(), good.len() * 2, "what is left empty goes, too");
    }
}

#[test]
fn a_bad_point_costs_itself_and_a_bad_metric_its_points() {
    let point: &[u8] = &[0x19, 1, 0, 0, 0, 0, 0, 0, 0];
    let bad_exemplar = field(5, &field(5, &[1; 3]));
    let metrics = [
        gauge(b"half", &[point, &bad_exemplar, point], &[]),
        // A gauge whose time stands where its unit should.
        gauge(b"none", &[point, point], &[3 << 3, 1]),
        gauge(b"gone", &[&bad_exemplar], &[]),
        gauge(b"all", &[point], &[]),
    ];
    let mended = mended(Signal::Metrics, &request(&metrics, &[], &[])).unwrap();
    assert_eq!((mended.items, mended.refused.total()), (3, 4));
    let left = ExportMetricsServiceRequest::decode(mended.body.unwrap().as_slice()).unwrap();
    let names: Vec<_> = left.resource_metrics[0].scope_metrics[0].metrics.iter().map(|metric| &metric.name).collect();
    assert_eq!(names, ["half", "all"]);
}

#[test]
fn text_that_is_not_utf8_is_repaired_in_every_signal() {
    let broken = b"java \xc3";
    let logs = request(&[record(broken, &attribute(6, broken))], &field(1, broken), &attribute(1, broken));
    let repaired = mended(Signal::Logs, &logs).unwrap();
    assert_eq!((repaired.items, repaired.refused.total(), repaired.repaired), (1, 0, 4));
    assert_eq!(bodies(&repaired), ["java \u{fffd}"]);
    assert_eq!(mended(Signal::Logs, repaired.body.as_ref().unwrap()).unwrap().body, None, "once is enough");
    let metrics = request(&[gauge(broken, &[&[]], &[])], &[], &[]);
    let repaired = mended(Signal::Metrics, &metrics).unwrap();
    assert_eq!((repaired.items, repaired.refused.total(), repaired.repaired), (1, 0, 1));
    ExportMetricsServiceRequest::decode(repaired.body.unwrap().as_slice()).unwrap();
    let span = field(2, &[field(1, &[1; 16]), field(2, &[2; 8]), field(5, broken)].concat());
    let traces = request(&[span], &[], &attribute(1, broken));
    let repaired = mended(Signal::Traces, &traces).unwrap();
    assert_eq!((repaired.items, repaired.refused.total(), repaired.repaired), (1, 0, 2));
    ExportTraceServiceRequest::decode(repaired.body.unwrap().as_slice()).unwrap();
}

#[test]
fn a_bad_span_is_left_to_the_scan() {
    let span = |id: &[u8]| field(2, &field(1, id));
    let bad = span(&[1; 15]);
    let mended = mended(Signal::Traces, &request(&[span(&[1; 16]), bad.clone()], &[], &attribute(1, b"\xff"))).unwrap();
    assert_eq!((mended.items, mended.refused.total()), (2, 0));
    assert!(mended.body.unwrap().windows(bad.len()).any(|part| part == bad));
}

#[test]
fn a_request_that_is_cut_short_is_refused_whole() {
    let whole = request(&[record(b"a", &[])], &[], &[]);
    assert!(mended(Signal::Logs, &whole[..whole.len() - 1]).is_err());
    // Nor is anything left where the one resource can't be read and nobody knows what was in it.
    assert!(mended(Signal::Logs, &field(1, &[0x0a, 200, 1])).is_err());
}

#[test]
fn values_nested_too_deep_cost_their_item() {
    let mut value = field(1, b"v");
    for _ in 0..200 {
        value = field(5, &field(1, &value));
    }
    let deep = field(6, &[field(1, b"k"), field(2, &value)].concat());
    let mended = mended(Signal::Logs, &request(&[record(b"a", &[]), record(b"x", &deep)], &[], &[])).unwrap();
    assert_eq!((mended.items, mended.refused.total(), mended.fault), (1, 1, Some(Fault::Depth)));
}
