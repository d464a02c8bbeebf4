//! The requests that the table's conditions are evaluated on: a span with everything, and one with nothing.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value as V;
use opentelemetry_proto::tonic::common::v1::{AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

pub fn text(value: &str) -> V {
    V::StringValue(value.into())
}

pub fn list(values: Vec<Option<V>>) -> V {
    V::ArrayValue(ArrayValue { values: values.into_iter().map(|value| AnyValue { value }).collect() })
}

pub fn map(entries: Vec<(&str, V)>) -> V {
    V::KvlistValue(KeyValueList { values: entries.into_iter().map(|(key, value)| attribute(key, value)).collect() })
}

pub fn attribute(key: &str, value: V) -> KeyValue {
    KeyValue { key: key.into(), value: Some(AnyValue { value: Some(value) }), ..Default::default() }
}

fn attributes() -> Vec<KeyValue> {
    let mut attributes = vec![
        attribute("http.method", text("GET")),
        attribute("http.status_code", V::IntValue(503)),
        attribute("ratio", V::DoubleValue(0.5)),
        attribute("cached", V::BoolValue(true)),
        attribute("off", V::BoolValue(false)),
        attribute("payload", V::BytesValue(vec![0xde, 0xad])),
        attribute("empty.bytes", V::BytesValue(vec![])),
        attribute("empty.text", text("")),
        attribute("empty.list", list(vec![])),
        attribute("empty.map", map(vec![])),
        attribute(
            "list",
            list(vec![
                Some(V::IntValue(1)),
                Some(text("two")),
                Some(V::DoubleValue(3.5)),
                Some(V::BoolValue(true)),
                None,
            ]),
        ),
        attribute("ints", list(vec![Some(V::IntValue(3)), Some(V::IntValue(1)), Some(V::IntValue(2))])),
        attribute("texts", list(vec![Some(text("b")), Some(text("a"))])),
        attribute("maps", list(vec![Some(map(vec![("id", text("x")), ("v", V::IntValue(1))]))])),
        attribute(
            "map",
            map(vec![
                ("a", V::IntValue(1)),
                ("b", map(vec![("c", list(vec![Some(V::IntValue(10)), Some(V::IntValue(20))]))])),
            ]),
        ),
        attribute("number.text", text("42")),
        attribute("float.text", text("1.5")),
        attribute("bool.text", text("true")),
        attribute("negative", V::IntValue(-7)),
        attribute("big", V::IntValue(i64::MAX)),
        attribute("huge", V::DoubleValue(1e30)),
        attribute("tiny", V::DoubleValue(1.5e-7)),
        attribute("whole", V::DoubleValue(7.0)),
        attribute("zero", V::IntValue(0)),
        attribute("path", text("/a/b/c")),
        attribute("unicode", text("h\u{e9}llo")),
        attribute("json", text(r#"{"a":1,"b":[true,null],"c":{"d":"e"}}"#)),
        attribute("json.list", text("[1,2]")),
        attribute("kv", text("a=1 b='x y' c=3")),
        attribute("ip", text("10.1.2.3")),
        attribute("card", text("4539 1488 0343 6467")),
        attribute("mixed.case", text("someHTTPName")),
        attribute("key", text("http.method")),
        attribute("index", V::IntValue(1)),
        attribute("html", text("<a&b>")),
        attribute("spaces", text("  both  ")),
        attribute("base64", text("aGVsbG8=")),
        attribute("dup", text("first")),
        attribute("dup", text("second")),
    ];
    attributes.push(KeyValue { key: "nothing".into(), value: None, ..Default::default() });
    attributes
}

fn events() -> Vec<Event> {
    vec![
        Event {
            time_unix_nano: 1_700_000_001_000_000_000,
            name: "exception".into(),
            attributes: vec![
                attribute("exception.type", text("Timeout")),
                attribute("code", V::IntValue(7)),
                attribute("http.method", text("POST")),
            ],
            dropped_attributes_count: 9,
        },
        Event { name: "log".into(), attributes: vec![attribute("message", text("hello"))], ..Event::default() },
    ]
}

fn request(resource: Option<Resource>, scope: Option<InstrumentationScope>, url: &str, span: Span) -> Vec<u8> {
    let schema_url = if url.is_empty() { String::new() } else { format!("{url}scope") };
    let scope_spans = vec![ScopeSpans { scope, spans: vec![span], schema_url }];
    let schema_url = if url.is_empty() { String::new() } else { format!("{url}resource") };
    ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { resource, scope_spans, schema_url }] }
        .encode_to_vec()
}

/// A span alone.
pub fn with(span: Span) -> Vec<u8> {
    request(None, None, "", span)
}

/// A span with everything.
pub fn full() -> Vec<u8> {
    let resource = Resource {
        attributes: vec![
            attribute("service.name", text("checkout")),
            attribute("http.method", text("of the resource")),
            attribute("tags", list(vec![Some(text("a"))])),
        ],
        dropped_attributes_count: 3,
        ..Resource::default()
    };
    let scope = InstrumentationScope {
        name: "lib".into(),
        version: "1.2".into(),
        attributes: vec![attribute("s", text("scoped")), attribute("n", V::IntValue(7))],
        dropped_attributes_count: 2,
    };
    let span = Span {
        trace_id: (1..=16).collect(),
        span_id: (1..=8).collect(),
        parent_span_id: (17..=24).collect(),
        trace_state: "k=v,other=2".into(),
        name: "GET /api/users".into(),
        kind: 2,
        start_time_unix_nano: 1_700_000_000_123_456_789,
        end_time_unix_nano: 1_700_000_001_623_456_789,
        attributes: attributes(),
        dropped_attributes_count: 4,
        events: events(),
        dropped_events_count: 5,
        links: vec![Link { trace_id: vec![1; 16], span_id: vec![1; 8], ..Link::default() }],
        dropped_links_count: 6,
        status: Some(Status { code: 2, message: "boom".into() }),
        flags: 0x101,
    };
    request(Some(resource), Some(scope), "https://schema/", span)
}

/// A span with its ids and nothing else but an event without a name.
pub fn bare() -> Vec<u8> {
    let span = Span {
        trace_id: vec![9; 16],
        span_id: vec![9; 8],
        trace_state: "Not Valid".into(),
        events: vec![Event::default()],
        kind: 77,
        ..Span::default()
    };
    request(None, None, "", span)
}
