//! JSON to protobuf, case by case.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{DEPTH_MAX, JsonError, to_protobuf};

fn try_read(signal: Signal, json: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    to_protobuf(signal, &mut json.as_bytes().to_vec(), DEPTH_MAX, &mut out).map(|()| out)
}

fn traces(json: &str) -> ExportTraceServiceRequest {
    let bytes = try_read(Signal::Traces, json).unwrap_or_else(|error| panic!("{error}: {json}"));
    ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap()
}

fn span(fields: &str) -> Span {
    traces(&format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)).resource_spans[0]
        .scope_spans[0]
        .spans
        .remove(0)
}

fn span_error(fields: &str) -> String {
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}},{{{fields}}}]}}]}}]}}"#);
    try_read(Signal::Traces, &json).unwrap_err().to_string()
}

fn value(json: &str) -> Option<Value> {
    span(&format!(r#""attributes":[{{"key":"k","value":{json}}}]"#))
        .attributes
        .remove(0)
        .value
        .and_then(|value| value.value)
}

#[test]
fn the_example_of_the_specification_is_read() {
    let request = traces(include_str!("trace.json"));
    let resource = &request.resource_spans[0];
    assert_eq!(resource.resource.as_ref().unwrap().attributes[0].key, "service.name");
    let scope = &resource.scope_spans[0];
    assert_eq!(scope.scope.as_ref().unwrap().name, "my.library");
    let span = &scope.spans[0];
    assert_eq!(
        span.trace_id,
        [0x5B, 0x8E, 0xFF, 0xF7, 0x98, 0x03, 0x81, 0x03, 0xD2, 0x69, 0xB6, 0x33, 0x81, 0x3F, 0xC6, 0x0C]
    );
    assert_eq!(span.start_time_unix_nano, 1_544_712_660_000_000_000);
    assert_eq!(span.kind, 2);
    let reference: ExportTraceServiceRequest = serde_json::from_str(include_str!("trace.json")).unwrap();
    assert_eq!(request, reference);
}

#[test]
fn ids_are_hexadecimal_of_either_case_and_of_their_length() {
    assert_eq!(span(r#""traceId":"5b8EFFf798038103d269b633813fC60c""#).trace_id[..3], [0x5b, 0x8e, 0xff]);
    assert!(span(r#""traceId":"","spanId":null"#).trace_id.is_empty());
    let place = "resourceSpans[0].scopeSpans[0].spans[1].";
    for bad in [
        "5b8efff798038103",
        "5b8efff798038103d269b633813fc60",
        "5b8efff798038103d269b633813fc60g",
        "W47/95gDgQPSabYzgT/GDA==",
        "5b8efff798038103d269b633813fc60c00",
    ] {
        // No id, and told from every id by its length: the scan refuses this span alone.
        assert_eq!(span(&format!(r#""traceId":"{bad}""#)).trace_id, [0xff]);
        assert_eq!(span(&format!(r#""spanId":"{bad}0""#)).span_id, [0xff]);
    }
    assert_eq!(span_error(r#""traceId":5"#), format!("{place}traceId: must be a string"));
}

#[test]
fn integers_are_text_or_number() {
    for (json, expected) in [
        ("5", 5),
        ("\"5\"", 5),
        ("18446744073709551615", u64::MAX),
        ("\"18446744073709551615\"", u64::MAX),
        ("5.0", 5),
        ("1e3", 1000),
        ("1.544712660e18", 1_544_712_660_000_000_000),
    ] {
        assert_eq!(span(&format!(r#""endTimeUnixNano":{json}"#)).end_time_unix_nano, expected, "{json}");
    }
    for bad in ["-1", "\"-1\"", "5.5", "\"five\"", "\"\"", "18446744073709551616", "true", "[]", "\" 5\""] {
        let told = span_error(&format!(r#""endTimeUnixNano":{bad}"#));
        assert!(told.contains("endTimeUnixNano: must be an integer of 64 bits and not negative"), "{told}");
    }
    assert_eq!(value(r#"{"intValue":"-9223372036854775808"}"#), Some(Value::IntValue(i64::MIN)));
    assert_eq!(value(r#"{"intValue":-9223372036854775808}"#), Some(Value::IntValue(i64::MIN)));
    assert!(
        span_error(r#""attributes":[{"value":{"intValue":9223372036854775808}}]"#)
            .contains("must be an integer of 64 bits")
    );
    assert!(span_error(r#""droppedEventsCount":4294967296"#).contains("must be an integer of 32 bits"));
    assert_eq!(span(r#""droppedEventsCount":"7""#).dropped_events_count, 7);
}

#[test]
fn enumerations_are_numbers_only() {
    assert_eq!(span(r#""kind":3"#).kind, 3);
    assert_eq!(span(r#""kind":-1"#).kind, -1);
    assert!(span_error(r#""kind":"SPAN_KIND_SERVER""#).contains("kind: must be a number, not the name"));
    assert!(span_error(r#""status":{"code":"2"}"#).contains("status.code: must be a number, not the name"));
}

#[test]
fn values_of_every_type_are_read() {
    assert_eq!(value(r#"{"stringValue":""}"#), Some(Value::StringValue(String::new())));
    assert_eq!(value(r#"{"boolValue":false}"#), Some(Value::BoolValue(false)));
    assert_eq!(value(r#"{"intValue":0}"#), Some(Value::IntValue(0)));
    assert_eq!(value(r#"{"doubleValue":0}"#), Some(Value::DoubleValue(0.0)));
    assert_eq!(value(r#"{"doubleValue":"-Infinity"}"#), Some(Value::DoubleValue(f64::NEG_INFINITY)));
    assert_eq!(value(r#"{"doubleValue":"1.5e3"}"#), Some(Value::DoubleValue(1500.0)));
    assert_eq!(value(r#"{"doubleValue":100000000000000000000}"#), Some(Value::DoubleValue(1e20)));
    assert!(matches!(value(r#"{"doubleValue":"NaN"}"#), Some(Value::DoubleValue(nan)) if nan.is_nan()));
    for base64 in ["+/8=", "+/8", "-_8=", "-_8"] {
        assert_eq!(
            value(&format!(r#"{{"bytesValue":"{base64}"}}"#)),
            Some(Value::BytesValue(vec![0xfb, 0xff])),
            "{base64}"
        );
    }
    assert_eq!(value("{}"), None);
    assert_eq!(value("null"), None);
    for bad in [
        r#"{"boolValue":1}"#,
        r#"{"doubleValue":"inf"}"#,
        r#"{"doubleValue":true}"#,
        r#"{"bytesValue":"*"}"#,
        r#"{"stringValue":5}"#,
        "5",
        "[]",
    ] {
        assert!(
            span_error(&format!(r#""attributes":[{{"key":"k","value":{bad}}}]"#)).contains("attributes[0].value"),
            "{bad}"
        );
    }
}

#[test]
fn lists_and_maps_nest() {
    let nested = value(
        r#"{"arrayValue":{"values":[{"kvlistValue":{"values":[{"key":"a","value":{"intValue":1}}]}},{},null,{"stringValue":"x"}]}}"#,
    );
    let Some(Value::ArrayValue(array)) = nested else { panic!("an array") };
    assert_eq!(array.values.len(), 4);
    assert!(matches!(&array.values[0].value, Some(Value::KvlistValue(list)) if list.values[0].key == "a"));
    assert_eq!((array.values[1].value.clone(), array.values[2].value.clone()), (None, None));
    assert_eq!(array.values[3].value, Some(Value::StringValue("x".to_string())));
}

#[test]
fn unknown_names_are_ignored_and_snake_case_is_unknown() {
    let span = span(
        r#""trace_id":"zz","traceid":1,"new":{"deep":[1,{"traceId":"q"}]},"name":"n","attributes":[{"key":"a","other":[]}]"#,
    );
    assert_eq!((span.trace_id.len(), span.name.as_str(), span.attributes[0].key.as_str()), (0, "n", "a"));
}

#[test]
fn the_last_of_two_holds() {
    assert_eq!(span(r#""name":"a","kind":1,"name":"b""#).name, "b");
    assert_eq!(value(r#"{"stringValue":"a","intValue":5}"#), Some(Value::IntValue(5)));
    assert_eq!(
        value(r#"{"intValue":5,"stringValue":"a","boolValue":null}"#),
        Some(Value::StringValue("a".to_string()))
    );
}

#[test]
fn long_messages_get_their_lengths() {
    for length in [0, 1, 100, 126, 127, 128, 129, 16_000, 16_383, 16_384, 3_000_000] {
        let name = "n".repeat(length);
        assert_eq!(
            span(&format!(r#""name":"{name}","events":[{{"name":"{name}"}}],"kind":1"#)).events[0].name,
            name,
            "{length}"
        );
    }
}

#[test]
fn escapes_are_undone() {
    assert_eq!(span(r#""name":"\u00e9\ud83d\ude00\n\"\\\/""#).name, "\u{e9}\u{1f600}\n\"\\/");
}

#[test]
fn what_is_not_json_is_refused() {
    for bad in [
        "",
        " ",
        "{",
        "}",
        "{\"a\":}",
        "{'a':1}",
        "{\"a\":1,}",
        "[1",
        "nul",
        "\"\\ud800\"",
        "{} {}",
        "{\"a\":01}",
        "{\"a\":\"\n\"}",
    ] {
        let error = try_read(Signal::Traces, bad).unwrap_err();
        assert!(matches!(error, JsonError::Syntax { .. }), "{bad}: {error:?}");
    }
    assert!(matches!(
        to_protobuf(Signal::Traces, &mut [b'{', b'"', 0xff, b'"', b'}'], DEPTH_MAX, &mut Vec::new()),
        Err(JsonError::Syntax { .. })
    ));
    for other in ["[]", "5", "null", "\"a\"", "true"] {
        assert_eq!(try_read(Signal::Traces, other).unwrap_err().to_string(), "the request: must be an object");
    }
    for (json, told) in [
        (r#"{"resourceSpans":{}}"#, "resourceSpans: must be an array"),
        (r#"{"resourceSpans":[[]]}"#, "resourceSpans[0]: must be an object"),
        (r#"{"resourceSpans":[{"resource":[]}]}"#, "resourceSpans[0].resource: must be an object"),
        (
            r#"{"resourceSpans":[{"resource":{"entityRefs":[{"idKeys":["a",5]}]}}]}"#,
            "resourceSpans[0].resource.entityRefs[0].idKeys[1]: must be a string",
        ),
    ] {
        assert_eq!(try_read(Signal::Traces, json).unwrap_err().to_string(), told);
    }
}

#[test]
fn nothing_is_a_request() {
    for empty in ["{}", "{\"resourceSpans\":[]}", "{\"resourceSpans\":null}", " {\n} "] {
        assert_eq!(try_read(Signal::Traces, empty), Ok(vec![]));
    }
}

#[test]
fn nesting_is_bounded() {
    let deep = |levels: usize| {
        let open = r#"{"arrayValue":{"values":["#.repeat(levels);
        let close = "]}}".repeat(levels);
        format!(r#"{{"resourceLogs":[{{"scopeLogs":[{{"logRecords":[{{"body":{open}{close}}}]}}]}}]}}"#)
    };
    // 7 levels around the body and 3 for each list.
    let fits = (DEPTH_MAX - 7) / 3;
    ExportLogsServiceRequest::decode(try_read(Signal::Logs, &deep(fits)).unwrap().as_slice()).unwrap();
    assert_eq!(try_read(Signal::Logs, &deep(fits + 1)), Err(JsonError::Depth(DEPTH_MAX)));
    assert_eq!(try_read(Signal::Logs, &deep(100_000)), Err(JsonError::Depth(DEPTH_MAX)));
    assert_eq!(try_read(Signal::Logs, &"[".repeat(100_000)), Err(JsonError::Depth(DEPTH_MAX)));
    assert_eq!(try_read(Signal::Logs, &"{\"a\":".repeat(100_000)), Err(JsonError::Depth(DEPTH_MAX)));
    // A caller that asks for more than the stack bears gets less.
    let outcome = to_protobuf(Signal::Logs, &mut deep(100_000).into_bytes(), usize::MAX, &mut Vec::new());
    assert_eq!(outcome, Err(JsonError::Depth(512)));
}

#[test]
fn a_text_that_would_need_many_times_its_size_is_refused() {
    let dense = format!("{{\"x\":[{}0]}}", "0,".repeat(1_000_000));
    assert!(matches!(try_read(Signal::Traces, &dense), Err(JsonError::Dense { .. })));
    // A million attributes are many, but not dense.
    let attribute = r#"{"key":"k","value":{"intValue":1}},"#;
    let many =
        format!(r#"{{"resourceSpans":[{{"resource":{{"attributes":[{}{{}}]}}}}]}}"#, attribute.repeat(1_000_000));
    assert_eq!(traces(&many).resource_spans[0].resource.as_ref().unwrap().attributes.len(), 1_000_001);
}

#[test]
fn metrics_of_every_kind_are_read() {
    let json = include_str!("metrics.json");
    let request = ExportMetricsServiceRequest::decode(try_read(Signal::Metrics, json).unwrap().as_slice()).unwrap();
    let reference: ExportMetricsServiceRequest = serde_json::from_str(json).unwrap();
    assert_eq!(request, reference);
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics.len(), 5);
}

#[test]
fn fields_come_out_in_the_order_of_their_numbers() {
    let mixed = r#""status":{"code":2},"kind":1,"name":"n","flags":3,"traceId":"5b8efff798038103d269b633813fc60c""#;
    let json = format!(
        r#"{{"resourceSpans":[{{"schemaUrl":"s","scopeSpans":[{{"spans":[{{{mixed}}}]}}],"resource":{{}}}}]}}"#
    );
    let bytes = try_read(Signal::Traces, &json).unwrap();
    assert_eq!(ExportTraceServiceRequest::decode(bytes.as_slice()).unwrap().encode_to_vec(), bytes);
}
