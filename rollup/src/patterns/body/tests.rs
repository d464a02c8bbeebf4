//! Bodies of every form, and that the same map is the same pattern in all of them.

use super::*;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue as ProstValue, ArrayValue, KeyValue, KeyValueList, any_value::Value,
};
use proptest::prelude::*;
use prost::Message;

fn pattern(body: AnyValue<'_>) -> String {
    let (mut shape, mut reader) = (Shape::default(), Reader::default());
    reader.read(&mut shape, Some(body), &[]);
    let mut readable = Vec::new();
    super::super::token::put_readable(&mut readable, shape.bytes());
    String::from_utf8(readable).unwrap()
}

fn pattern_of(text: &str) -> String {
    pattern(AnyValue::Text(text.as_bytes()))
}

#[test]
fn an_object_is_its_message_and_its_keys() {
    for (text, expected) in [
        (r#"{"level":"info","msg":"user 7 logged in"}"#, "user <*> logged in {level}"),
        (r#" {"msg" : "user 7 logged in" , "level":"warn"} "#, "user <*> logged in {level}"),
        (r#"{"message":"said \"no\"","msg":"other"}"#, "said \"no\" {msg}"),
        (r#"{"error":"timeout after 3s"}"#, "timeout after <*>"),
        (r#"{"id":7,"state":{"b":[1,2],"a":null}}"#, "{id: <*>, state: {a: <*>, b: <*>}}"),
        (r#"{"a":1} trailing"#, "{\"a\":<*>} trailing"),
        (r#"{"a":1"#, "{\"a\":<*>"),
        (r#"{}"#, "{}"),
        (r#"{"message":"","a":"b"}"#, "{a: <*>, message: <*>}"),
    ] {
        assert_eq!(pattern_of(text), expected, "{text}");
    }
}

#[test]
fn a_map_is_as_its_json() {
    let text = |text: &str| ProstValue { value: Some(Value::StringValue(text.into())) };
    let pair = |key: &str, value| KeyValue { key: key.into(), value: Some(value), ..Default::default() };
    let list = ArrayValue { values: vec![text("x\n\"y\""), ProstValue { value: Some(Value::DoubleValue(0.5)) }] };
    let map = KeyValueList {
        values: vec![
            pair("msg", text("user 7 logged in")),
            pair("level", text("info")),
            pair("list", ProstValue { value: Some(Value::ArrayValue(list)) }),
        ],
    };
    let body = ProstValue { value: Some(Value::KvlistValue(map)) }.encode_to_vec();
    assert_eq!(pattern(AnyValue::Other(&body)), "user <*> logged in {level, list}");
    let (mut shape, mut reader) = (Shape::default(), Reader::default());
    let sample = reader.read(&mut shape, Some(AnyValue::Other(&body)), &[]).to_vec();
    let expected = r#"{"msg":"user 7 logged in","level":"info","list":["x\n\"y\"",0.5]}"#;
    assert_eq!(String::from_utf8(sample).unwrap(), expected);
}

#[test]
fn other_values_are_one_wildcard() {
    let (mut shape, mut reader) = (Shape::default(), Reader::default());
    for body in [None, Some(AnyValue::Integer(7)), Some(AnyValue::Boolean(true)), Some(AnyValue::Other(&[]))] {
        reader.read(&mut shape, body, &[]);
        assert_eq!(shape.bytes(), [3], "{body:?}");
    }
}

#[test]
fn a_trace_within_json_is_folded() {
    let text = r#"{"level":"error","message":"a.b.XException: no 7\n\tat a.b.C.d(C.java:7)"}"#;
    assert_eq!(pattern_of(text), "a.b.XException at a.b.C.d {level}");
}

proptest! {
    #[test]
    fn any_json_or_bytes_are_a_shape(text in "[{}\\[\\]\":,a-c0-9\\\\ n]{0,80}", bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        let (mut shape, mut reader) = (Shape::default(), Reader::default());
        reader.read(&mut shape, Some(AnyValue::Text(text.as_bytes())), &[]);
        prop_assert!(super::super::token::is_shape(shape.bytes()));
        reader.read(&mut shape, Some(AnyValue::Other(&bytes)), &[]);
        prop_assert!(!shape.bytes().is_empty());
    }
}
