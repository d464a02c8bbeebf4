//! What is emitted, as the reference decoder sees it.

use super::super::{PatternInput, PatternSums, Patterns, PatternsPlan};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::logs::v1::LogRecord;
use prost::Message;
use tailwater_proto::otlp::check::AnyValue;

fn emitted(lines: &[(&str, i32, &str, u64)], request_bytes_max: usize) -> Vec<ExportLogsServiceRequest> {
    let plan = PatternsPlan::default();
    let mut patterns = Patterns::new(&plan, 3).unwrap();
    for (service, severity_number, text, time_unix_nano) in lines {
        let body = Some(AnyValue::Text(text.as_bytes()));
        let input = PatternInput {
            severity_number: *severity_number,
            severity_text: b"",
            body,
            time_unix_nano: *time_unix_nano,
        };
        patterns.count(service.as_bytes(), &input, 77);
    }
    let mut sums = PatternSums::new(&plan, 4).unwrap();
    sums.merge(&patterns.take());
    let requests = sums.take_requests(99, request_bytes_max);
    requests.iter().map(|request| ExportLogsServiceRequest::decode(request.as_slice()).unwrap()).collect()
}

fn attribute<'a>(record: &'a LogRecord, key: &str) -> &'a Value {
    let found = record.attributes.iter().find(|pair| pair.key == key);
    found.and_then(|pair| pair.value.as_ref()).and_then(|value| value.value.as_ref()).unwrap()
}

#[test]
fn a_pattern_is_a_log_record() {
    let lines = [("a", 9, "user 7 in", 30), ("a", 10, "user 8 in", 10), ("a", 9, "user 7 in", 0), ("b", 17, "down", 5)];
    let requests = emitted(&lines, 1 << 20);
    assert_eq!(requests.len(), 1);
    let services: Vec<&Value> = requests[0]
        .resource_logs
        .iter()
        .map(|logs| logs.resource.as_ref().unwrap().attributes[0].value.as_ref().unwrap().value.as_ref().unwrap())
        .collect();
    assert_eq!(services, [&Value::StringValue("a".into()), &Value::StringValue("b".into())]);
    let scope_logs = &requests[0].resource_logs[0].scope_logs[0];
    assert_eq!(scope_logs.scope.as_ref().unwrap().name, super::SCOPE_NAME);
    let [record] = &scope_logs.log_records[..] else { panic!("one pattern") };
    let body = record.body.as_ref().and_then(|body| body.value.clone());
    assert_eq!(body, Some(Value::StringValue("user <*> in".into())));
    assert_eq!((record.severity_number, record.severity_text.as_str()), (9, "INFO"));
    assert_eq!((record.time_unix_nano, record.observed_time_unix_nano), (77, 99), "the line without a time came at 77");
    assert_eq!(*attribute(record, "tailwater.pattern.count"), Value::IntValue(3));
    assert_eq!(*attribute(record, "tailwater.pattern.first_unix_nano"), Value::IntValue(10));
    assert_eq!(*attribute(record, "tailwater.pattern.last_unix_nano"), Value::IntValue(77));
    let Value::ArrayValue(samples) = attribute(record, "tailwater.pattern.samples") else { panic!("a list") };
    assert_eq!(samples.values.len(), 2, "the same line is shown once");
    let Value::KvlistValue(values) = attribute(record, "tailwater.pattern.values.1") else { panic!("a map") };
    let counts: Vec<(&str, Option<Value>)> = values
        .values
        .iter()
        .map(|pair| (pair.key.as_str(), pair.value.clone().and_then(|value| value.value)))
        .collect();
    assert_eq!(counts, [("7", Some(Value::IntValue(2))), ("8", Some(Value::IntValue(1)))]);
}

/// Ids must not change: people refer to them.
#[test]
fn the_id_is_the_same_everywhere() {
    let requests = emitted(&[("a", 9, "user 7 in", 30)], 1 << 20);
    let id = attribute(&requests[0].resource_logs[0].scope_logs[0].log_records[0], "tailwater.pattern.id").clone();
    assert_eq!(id, Value::StringValue("835f900f5a97f151".into()));
}

#[test]
fn requests_are_of_bounded_size() {
    let lines: Vec<String> = (0..60).map(|at| "again ".repeat(at + 1)).collect();
    let lines: Vec<(&str, i32, &str, u64)> =
        lines.iter().enumerate().map(|(at, line)| (["a", "b"][at % 2], 9, line.as_str(), 5)).collect();
    let requests = emitted(&lines, 1000);
    assert!(requests.len() > 5, "{}", requests.len());
    let records = requests.iter().flat_map(|request| &request.resource_logs).flat_map(|logs| &logs.scope_logs);
    let counts: i64 = records
        .flat_map(|logs| &logs.log_records)
        .map(|record| match attribute(record, "tailwater.pattern.count") {
            Value::IntValue(count) => *count,
            _ => 0,
        })
        .sum();
    assert_eq!(counts, 60);
}
