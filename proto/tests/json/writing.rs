//! Protobuf to JSON, case by case.

use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use prost::Message;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{ProtobufError, from_protobuf, to_protobuf};
use tailwater_proto::otlp::wire::WireError;

fn try_write(signal: Signal, bytes: &[u8]) -> Result<String, ProtobufError> {
    let mut out = Vec::new();
    from_protobuf(signal, bytes, &mut out).map(|()| String::from_utf8(out).unwrap())
}

/// A length-delimited field.
fn field(number: u8, payload: &[u8]) -> Vec<u8> {
    let mut out = vec![number << 3 | 2];
    let mut length = payload.len();
    while length >= 0x80 {
        out.push((length & 0x7f) as u8 | 0x80);
        length >>= 7;
    }
    out.push(length as u8);
    out.extend_from_slice(payload);
    out
}

/// A span with that payload in a request of its own.
fn span_line(payload: &[u8]) -> Result<String, ProtobufError> {
    let line = try_write(Signal::Traces, &field(1, &field(2, &field(2, payload))))?;
    let inner = line.strip_prefix(r#"{"resourceSpans":[{"scopeSpans":[{"spans":["#).unwrap();
    Ok(inner.strip_suffix("]}]}]}").unwrap().to_string())
}

#[test]
fn the_line_is_as_documented() {
    let json = include_bytes!("trace.json").to_vec();
    let mut bytes = Vec::new();
    to_protobuf(Signal::Traces, &json, &mut bytes).unwrap();
    assert_eq!(
        try_write(Signal::Traces, &bytes).unwrap(),
        concat!(
            r#"{"resourceSpans":[{"resource":{"attributes":[{"key":"service.name","value":{"stringValue":"my.service"}}]},"#,
            r#""scopeSpans":[{"scope":{"name":"my.library","version":"1.0.0","attributes":[{"key":"my.scope.attribute","#,
            r#""value":{"stringValue":"some scope attribute"}}]},"spans":[{"traceId":"5b8efff798038103d269b633813fc60c","#,
            r#""spanId":"eee19b7ec3c1b174","parentSpanId":"eee19b7ec3c1b173","name":"I'm a server span","kind":2,"#,
            r#""startTimeUnixNano":"1544712660000000000","endTimeUnixNano":"1544712661000000000","#,
            r#""attributes":[{"key":"my.span.attr","value":{"stringValue":"some value"}}]}]}]}]}"#
        )
    );
}

#[test]
fn order_on_the_wire_does_not_matter() {
    let (name, id, state) = (field(5, b"n"), field(2, b"12345678"), field(3, b"s"));
    let line = span_line(&[name, state, id].concat()).unwrap();
    assert_eq!(line, r#"{"spanId":"3132333435363738","traceState":"s","name":"n"}"#);
}

#[test]
fn lists_are_gathered_and_the_last_of_a_scalar_holds() {
    let attribute = |key: &str| field(9, &field(1, key.as_bytes()));
    let bytes = [attribute("a"), field(5, b"x"), attribute("b"), field(5, b"y"), attribute("c")].concat();
    let line = span_line(&bytes).unwrap();
    assert_eq!(line, r#"{"name":"y","attributes":[{"key":"a"},{"key":"b"},{"key":"c"}]}"#);
}

#[test]
fn a_message_in_parts_is_merged() {
    // Status in two parts: message, then code.
    let bytes = [field(15, &field(2, b"m")), field(15, &[3 << 3, 2])].concat();
    assert_eq!(span_line(&bytes).unwrap(), r#"{"status":{"message":"m","code":2}}"#);
    let request = field(1, &field(2, &field(2, &bytes)));
    let reference = ExportTraceServiceRequest::decode(request.as_slice()).unwrap();
    assert_eq!(reference.resource_spans[0].scope_spans[0].spans[0].status.as_ref().unwrap().message, "m");
}

#[test]
fn of_values_that_exclude_one_another_the_last_holds() {
    let value = |bytes: &[u8]| span_line(&field(9, &field(2, bytes))).unwrap();
    let (text, int) = (field(1, b"t"), vec![3 << 3, 5]);
    assert_eq!(value(&[text.clone(), int.clone()].concat()), r#"{"attributes":[{"value":{"intValue":"5"}}]}"#);
    assert_eq!(value(&[int.clone(), text.clone()].concat()), r#"{"attributes":[{"value":{"stringValue":"t"}}]}"#);
    // Parts of a list merge, but not across another value.
    let list = |text: &[u8]| field(5, &field(1, &field(1, text)));
    let merged = r#"{"attributes":[{"value":{"arrayValue":{"values":[{"stringValue":"a"},{"stringValue":"b"}]}}}]}"#;
    assert_eq!(value(&[list(b"a"), list(b"b")].concat()), merged);
    let replaced = r#"{"attributes":[{"value":{"arrayValue":{"values":[{"stringValue":"b"}]}}}]}"#;
    assert_eq!(value(&[list(b"a"), int, list(b"b")].concat()), replaced);
}

#[test]
fn zero_values_are_written_only_where_they_mean_something() {
    assert_eq!(span_line(&[6 << 3, 0]).unwrap(), "{}");
    let value = |bytes: &[u8]| span_line(&field(9, &field(2, bytes))).unwrap();
    assert_eq!(value(&[2 << 3, 0]), r#"{"attributes":[{"value":{"boolValue":false}}]}"#);
    assert_eq!(value(&field(1, b"")), r#"{"attributes":[{"value":{"stringValue":""}}]}"#);
    assert_eq!(value(&field(6, b"")), r#"{"attributes":[{"value":{"kvlistValue":{}}}]}"#);
    assert_eq!(value(b""), r#"{"attributes":[{"value":{}}]}"#);
    assert_eq!(try_write(Signal::Logs, b"").unwrap(), "{}");
}

#[test]
fn numbers_of_every_kind_are_written() {
    let histogram = |point: &[u8]| {
        let line = try_write(Signal::Metrics, &field(1, &field(2, &field(2, &field(9, &field(1, point)))))).unwrap();
        let inner = line.split_once("\"dataPoints\":[").unwrap().1.to_string();
        inner.strip_suffix("]}}]}]}]}").unwrap().to_string()
    };
    let double = |number: u8, value: f64| [vec![number << 3 | 1], value.to_bits().to_le_bytes().to_vec()].concat();
    assert_eq!(histogram(&double(5, 0.0)), r#"{"sum":0.0}"#);
    assert_eq!(histogram(&double(5, -0.1)), r#"{"sum":-0.1}"#);
    assert_eq!(histogram(&double(5, 1e300)), r#"{"sum":1e300}"#);
    assert_eq!(histogram(&double(5, f64::NAN)), r#"{"sum":"NaN"}"#);
    assert_eq!(histogram(&double(11, f64::NEG_INFINITY)), r#"{"min":"-Infinity"}"#);
    // A list of numbers packed, not packed, and in several runs.
    let packed = field(6, &[7_u64.to_le_bytes(), u64::MAX.to_le_bytes()].concat());
    let single = [vec![6 << 3 | 1], 9_u64.to_le_bytes().to_vec()].concat();
    assert_eq!(
        histogram(&[packed.clone(), single, field(6, &[]), packed].concat()),
        r#"{"bucketCounts":["7","18446744073709551615","9","7","18446744073709551615"]}"#
    );
    assert_eq!(histogram(&field(6, &[])), r#"{"bucketCounts":[]}"#);
}

#[test]
fn text_that_is_not_utf_8_is_repaired() {
    assert_eq!(span_line(&field(5, b"a\xffb\xe2\x82")).unwrap(), "{\"name\":\"a\u{fffd}b\u{fffd}\"}");
    assert_eq!(span_line(&field(5, b"\"\\\x00\x1f\n\t\r/")).unwrap(), r#"{"name":"\"\\\u0000\u001f\n\t\r/"}"#);
}

#[test]
fn unknown_fields_are_left_out() {
    assert_eq!(
        span_line(&[field(5, b"n"), field(14, b"")].concat()),
        Err(ProtobufError::Wire(WireError::FieldType { number: 14, position: 3 }))
    );
    let unknown = [vec![0x98, 0x06, 0x01], field(5, b"n")].concat();
    assert_eq!(span_line(&unknown).unwrap(), r#"{"name":"n"}"#);
}

#[test]
fn bytes_that_are_no_request_are_refused() {
    for (bytes, error) in [
        (&[0x0a, 0x05][..], WireError::Truncated(2)),
        (&[0x0b][..], WireError::WireType(0)),
        (&[0x08, 0x01][..], WireError::FieldType { number: 1, position: 0 }),
        (&[0x00][..], WireError::FieldNumber(0)),
    ] {
        assert_eq!(try_write(Signal::Traces, bytes), Err(ProtobufError::Wire(error)));
    }
    let point = field(1, &field(2, &field(2, &field(9, &field(1, &field(6, &[1, 2, 3]))))));
    assert!(try_write(Signal::Metrics, &point).is_err());
    assert!(ExportMetricsServiceRequest::decode(point.as_slice()).is_err());
}

#[test]
fn nesting_is_bounded_as_prost_bounds_it() {
    let deep = |levels: usize| {
        let mut value = Vec::new();
        for _ in 0..levels {
            value = field(5, &field(1, &value));
        }
        field(1, &field(2, &field(2, &field(5, &value))))
    };
    for levels in 1..60 {
        let ours = try_write(Signal::Logs, &deep(levels)).is_ok();
        let reference =
            opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest::decode(deep(levels).as_slice())
                .is_ok();
        assert_eq!(ours, reference, "{levels}");
    }
    assert_eq!(try_write(Signal::Logs, &deep(20_000)), Err(ProtobufError::Depth(100)));
}
