//! JSON to protobuf, case by case.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{DEPTH_MAX, JsonError, JsonReading, Read, protobuf_bytes_max, to_protobuf};

fn try_read(signal: Signal, json: &str) -> Result<Vec<u8>, JsonError> {
    let mut out = Vec::new();
    to_protobuf(signal, json.as_bytes(), &mut out).map(|_| out)
}

/// What was read, and the request.
fn read_traces(json: &str) -> (Read, ExportTraceServiceRequest) {
    let mut out = Vec::new();
    let read = to_protobuf(Signal::Traces, json.as_bytes(), &mut out).unwrap_or_else(|error| panic!("{error}: {json}"));
    (read, ExportTraceServiceRequest::decode(out.as_slice()).unwrap())
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
    let json = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{}},{{{fields}}},{{}}]}}]}}]}}"#);
    let (read, request) = read_traces(&json);
    assert_eq!((read.items, read.refused, request.resource_spans[0].scope_spans[0].spans.len()), (2, 1, 2), "{json}");
    read.fault.unwrap().to_string()
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
fn enumerations_are_numbers_or_names() {
    assert_eq!(span(r#""kind":3"#).kind, 3);
    assert_eq!(span(r#""kind":-1"#).kind, -1);
    assert_eq!(span(r#""kind":"SPAN_KIND_SERVER""#).kind, 2);
    assert_eq!(span(r#""kind":"2""#).kind, 2);
    assert_eq!(span(r#""status":{"code":"STATUS_CODE_ERROR"}"#).status.unwrap().code, 2);
    assert_eq!(span(r#""flags":"SPAN_FLAGS_CONTEXT_HAS_IS_REMOTE_MASK""#).flags, 256);
    for bad in [r#""SERVER""#, r#""span_kind_server""#, r#""""#, "1.5", "true", "[]", "{}"] {
        let told = span_error(&format!(r#""kind":{bad}"#));
        assert!(told.contains("spans[1].kind: must be the name or the number"), "{told}");
    }
    let record = r#"{"resourceLogs":[{"scopeLogs":[{"logRecords":[{"severityNumber":"SEVERITY_NUMBER_WARN3"}]}]}]}"#;
    let logs = ExportLogsServiceRequest::decode(try_read(Signal::Logs, record).unwrap().as_slice()).unwrap();
    assert_eq!(logs.resource_logs[0].scope_logs[0].log_records[0].severity_number, 15);
    let sum = r#"{"resourceMetrics":[{"scopeMetrics":[{"metrics":[{"sum":
        {"aggregationTemporality":"AGGREGATION_TEMPORALITY_CUMULATIVE","dataPoints":[{}]}}]}]}]}"#;
    let bytes = try_read(Signal::Metrics, sum).unwrap();
    let metrics = ExportMetricsServiceRequest::decode(bytes.as_slice()).unwrap();
    let Some(Data::Sum(sum)) = metrics.resource_metrics[0].scope_metrics[0].metrics[0].data.clone() else {
        panic!("a sum")
    };
    assert_eq!(sum.aggregation_temporality, 2);
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
        r#"{"doubleValue":"much"}"#,
        r#"{"doubleValue":1e999}"#,
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
fn snake_case_is_read_and_unknown_names_are_ignored_and_counted() {
    let (read, request) = read_traces(
        r#"{"resource_spans":[{"scope_spans":[{"spans":[{"trace_id":"5b8efff798038103d269b633813fc60c","traceid":1,
        "new":{"deep":[1,{"traceId":"q"}]},"start_time_unix_nano":"7","name":"n","attributes":[{"key":"a","other":[]},
        {"key":"b","value":{"array_value":{"values":[{"int_value":1}]}}}]}]}]}]}"#,
    );
    let span = &request.resource_spans[0].scope_spans[0].spans[0];
    assert_eq!((span.trace_id.len(), span.start_time_unix_nano, span.name.as_str()), (16, 7, "n"));
    assert!(matches!(span.attributes[1].value.as_ref().unwrap().value, Some(Value::ArrayValue(_))));
    assert_eq!(read.ignored_names, 3);
    for near in ["Name", "na_me", "_name", "name_", "start_timeUnixNano", "startTimeUnixNano_", "start__time_unix_nano"]
    {
        let (read, _) = read_traces(&one_span(&format!(r#""{near}":"1""#)));
        assert_eq!(read.ignored_names, 1, "{near}");
    }
}

fn one_span(fields: &str) -> String {
    format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{{{fields}}}]}}]}}]}}"#)
}

#[test]
fn a_request_of_which_nothing_is_known_is_an_error() {
    for (json, told) in [
        (r#"{"spans":[{}]}"#, "no \"spans\" where it stands; a request for /v1/traces begins with \"resourceSpans\""),
        (r#"{"resourceMetrics":[{}]}"#, "metrics go to /v1/metrics"),
        (r#"{"resourceSpans":[{"instrumentationLibrarySpans":[{"spans":[{}]}]}]}"#, "instrumentationLibrarySpans"),
    ] {
        let error = try_read(Signal::Traces, json).unwrap_err();
        assert!(matches!(error, JsonError::NothingKnown { .. }), "{json}: {error:?}");
        assert!(error.to_string().contains(told), "{error}");
    }
    assert!(try_read(Signal::Traces, r#"{"resourceSpans":[{"resource":{},"vendor":1}]}"#).is_ok());
}

#[test]
fn a_bad_value_costs_what_it_stands_in() {
    let good = r#"{"name":"good"}"#;
    let scope = |more: &str, spans: &str| format!(r#"{{"spans":[{spans}]{more}}}"#);
    let resource = |more: &str, scopes: &str| format!(r#"{{"scopeSpans":[{scopes}]{more}}}"#);
    let whole = |resources: &str| format!(r#"{{"resourceSpans":[{resources}]}}"#);
    let sound = resource("", &scope("", good));
    let twice = format!("{good},{good}");
    for (resources, items, refused, path) in [
        (resource("", &scope("", &format!("{good},5,{good}"))), 3, 1, "spans[1]: must be an object"),
        (resource("", &format!("{},{}", scope(r#","scope":5"#, &twice), scope("", good))), 2, 2, "scopeSpans[0].scope"),
        (resource(r#","resource":{"attributes":[{"key":1}]}"#, &scope("", &twice)), 1, 2, "attributes[0].key"),
        (resource(r#","schemaUrl":[[["x"]]]"#, &scope("", r#"{"kind":"x"},{}"#)), 1, 2, "kind: must be"),
        (r#""text""#.to_string(), 1, 0, "resourceSpans[0]: must be an object"),
    ] {
        let (read, request) = read_traces(&whole(&format!("{resources},{sound}")));
        assert_eq!((read.items, read.refused), (items, refused), "{resources}");
        assert!(read.fault.as_ref().unwrap().to_string().contains(path), "{:?} is not {path}", read.fault);
        let scopes = request.resource_spans.iter().flat_map(|resource| &resource.scope_spans);
        assert_eq!(scopes.map(|scope| scope.spans.len()).sum::<usize>(), items as usize);
    }
}

#[test]
fn the_last_of_two_holds() {
    assert_eq!(span(r#""name":"a","kind":1,"name":"b""#).name, "b");
    assert_eq!(value(r#"{"stringValue":"a","intValue":5}"#), Some(Value::IntValue(5)));
    assert_eq!(span(r#""kind":1,"kind":0"#).kind, 0);
    assert_eq!(span(r#""name":"a","name":"""#).name, "");
    assert_eq!(span(r#""events":[{"name":"a"}],"events":[{}]"#).events.len(), 2, "lists are put together");
    assert_eq!(value(r#"{"stringValue":null}"#), Some(Value::StringValue(String::new())));
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
    for (json, text) in [
        (r"\ud83d", "\u{fffd}"),
        (r"\ude00", "\u{fffd}"),
        (r"a\ud83db", "a\u{fffd}b"),
        (r"\ud83d\ud83d\ude00", "\u{fffd}\u{1f600}"),
        (r"\ud83d\n", "\u{fffd}\n"),
        (r"\ud83d\u0041", "\u{fffd}A"),
        (r"\u0000", "\0"),
    ] {
        assert_eq!(span(&format!(r#""name":"{json}""#)).name, text, "{json}");
        assert_eq!(span(&format!(r#""n\u0061me":"{json}""#)).name, text, "in a name with an escape");
    }
    for (bytes, text) in [(&b"a\xc3"[..], "a\u{fffd}"), (b"\xff\\n", "\u{fffd}\n"), ("\u{e9}".as_bytes(), "\u{e9}")] {
        let json = [br#"{"resourceSpans":[{"scopeSpans":[{"spans":[{"name":""#, bytes, br#""}]}]}]}"#].concat();
        let mut out = Vec::new();
        to_protobuf(Signal::Traces, &json, &mut out).unwrap();
        let request = ExportTraceServiceRequest::decode(out.as_slice()).unwrap();
        assert_eq!(request.resource_spans[0].scope_spans[0].spans[0].name, text);
    }
    let (read, _) = read_traces(&one_span(r#""name":"\ud83d\ud83d","traceState":"\ufffd\ud83d\ude00""#));
    assert_eq!(read.repaired_texts, 1);
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
        "\"\\ud80\"",
        "\"\\x\"",
        "{\"a\":1.}",
        "{\"a\":-}",
        "{\"a\":[1,]}",
        "{\"a\":[}]}",
        "{\"a\" 1}",
        "{\"a\":1 \"b\":2}",
        "{} {}",
        "{\"a\":01}",
        "{\"a\":\"\n\"}",
    ] {
        let error = try_read(Signal::Traces, bad).unwrap_err();
        assert!(matches!(error, JsonError::Syntax { .. }), "{bad}: {error:?}");
    }
    assert_eq!(
        try_read(Signal::Traces, "{\"resourceSpans\":[{},\n {\"scopeSpans\":[x]}]}").unwrap_err().to_string(),
        "not JSON at line 2, column 17 (byte 38), in resourceSpans[1].scopeSpans[0]: a value must stand here"
    );
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
    for levels in [fits + 1, 10_000] {
        let mut out = Vec::new();
        let read = to_protobuf(Signal::Logs, deep(levels).as_bytes(), &mut out).unwrap();
        assert_eq!((read.items, read.refused), (0, 1));
        assert!(read.fault.unwrap().to_string().ends_with("must not be nested deeper than 128 levels"));
    }
    assert!(matches!(try_read(Signal::Logs, &"[".repeat(100_000)), Err(JsonError::Depth(_))));
    assert!(matches!(try_read(Signal::Logs, &"{\"a\":".repeat(100_000)), Err(JsonError::Depth(_))));
}

/// However dense a text is, what it becomes is no more than was said before.
#[test]
fn the_protobuf_of_a_dense_text_is_bounded() {
    let in_points = |point: &str| {
        format!(
            r#"{{"resourceMetrics":[{{"scopeMetrics":[{{"metrics":[{{"histogram":{{"dataPoints":[{point}]}}}}]}}]}}]}}"#
        )
    };
    let texts = [
        in_points(&format!(r#"{{"bucketCounts":[{}0]}}"#, "0,".repeat(100_000))),
        in_points(&format!(r#"{{"explicitBounds":[{}0]}}"#, "0,".repeat(100_000))),
        in_points(&format!("{}{{}}", "{},".repeat(100_000))),
        in_points(&format!("{}{{}}", r#"{"sum":0},"#.repeat(100_000))),
        in_points(&format!(r#"{{{}"sum":0}}"#, r#""sum":0,"#.repeat(100_000))),
        in_points(&format!("{}{{}}", r#"{"explicitBounds":[0]},"#.repeat(100_000))),
        in_points(&format!("{}null", "null,".repeat(100_000))),
    ];
    for text in texts {
        let bound = protobuf_bytes_max(text.as_bytes());
        let mut out = Vec::with_capacity(bound);
        let capacity = out.capacity();
        to_protobuf(Signal::Metrics, text.as_bytes(), &mut out).unwrap();
        assert!(out.len() <= bound && out.capacity() == capacity, "{} of {bound}: {}", out.len(), &text[..150]);
        assert!(bound <= text.len() * 5 + 16);
    }
    assert!(protobuf_bytes_max("[".repeat(1000).as_bytes()) <= 5016);
}

#[test]
fn a_reading_that_is_left_and_taken_up_reads_the_same() {
    let text = include_str!("trace.json").as_bytes();
    let mut whole = Vec::new();
    let read = to_protobuf(Signal::Traces, text, &mut whole).unwrap();
    for slice in [0, 1, 7, 100] {
        let mut out = Vec::new();
        let mut reading = JsonReading::new(Signal::Traces, 0);
        let mut turns = 0;
        let sliced = loop {
            turns += 1;
            if let Some(read) = reading.advance(text, slice, &mut out).unwrap() {
                break read;
            }
        };
        assert_eq!((&sliced, &out), (&read, &whole));
        assert!(turns > text.len() / (slice + 100), "{turns} turns of {slice}");
    }
}

#[test]
fn metrics_of_every_kind_are_read() {
    let json = include_str!("metrics.json");
    let request = ExportMetricsServiceRequest::decode(try_read(Signal::Metrics, json).unwrap().as_slice()).unwrap();
    let reference: ExportMetricsServiceRequest = serde_json::from_str(json).unwrap();
    assert_eq!(request, reference);
    assert_eq!(request.resource_metrics[0].scope_metrics[0].metrics.len(), 5);
}
