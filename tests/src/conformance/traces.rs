//! Random traces: whatever a sender may write that both programs take, in pieces and out of order.

use super::Request;
use super::policies::{KEYS, MEMBERS, NUMBERS, TEXTS};
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::span::{Event, Link};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;

/// Names of spans and events.
pub const NAMES: &[&str] = &["GET /pay", "exception", "retry", "work", ""];
/// Where the clocks of all scenarios stand, nanoseconds.
const EPOCH: u64 = 1_790_000_000_000_000_000;
/// Deepest value.
const DEPTH_MAX: u8 = 2;

/// The requests of a scenario.
#[must_use]
pub fn requests(random: &mut Rng) -> Vec<Request> {
    let (mut spans, mut late) = (Vec::new(), Vec::new());
    for _ in 0..random.usize(5..12) {
        let trace_id: Vec<u8> = (0..16).map(|_| random.u8(..)).collect();
        let length = if random.u8(0..10) == 0 { random.usize(6..14) } else { random.usize(1..5) };
        spans.extend((0..length).map(|number| span(random, &trace_id, number)));
        if random.u8(0..4) == 0 {
            late.extend((0..random.usize(1..3)).map(|_| span(random, &trace_id, 1)));
        }
    }
    // A trace is in many pieces, and pieces of many traces are in one request.
    random.shuffle(&mut spans);
    let envelopes = Envelopes::random(random);
    let mut requests = in_pieces(random, &envelopes, spans, false);
    requests.extend(in_pieces(random, &envelopes, late, true));
    requests
}

/// The resources and scopes of a scenario.
struct Envelopes {
    resources: Vec<Option<Resource>>,
    scopes: Vec<Option<InstrumentationScope>>,
}

impl Envelopes {
    fn random(random: &mut Rng) -> Self {
        let resource = |random: &mut Rng| Resource {
            attributes: attributes(random),
            dropped_attributes_count: sometimes(random),
            ..Default::default()
        };
        let scope = |random: &mut Rng| InstrumentationScope {
            name: one(random, &["lib", "other.lib", ""]).to_string(),
            version: one(random, &["1.2.3", ""]).to_string(),
            attributes: if random.bool() { attributes(random) } else { Vec::new() },
            dropped_attributes_count: sometimes(random),
        };
        let is_there = |random: &mut Rng| random.u8(0..6) > 0;
        Self {
            resources: (0..3).map(|_| is_there(random).then(|| resource(random))).collect(),
            scopes: (0..3).map(|_| is_there(random).then(|| scope(random))).collect(),
        }
    }
}

/// Spans in their order, cut into requests, those into resources, and those into scopes.
fn in_pieces(random: &mut Rng, envelopes: &Envelopes, spans: Vec<Span>, is_late: bool) -> Vec<Request> {
    let mut requests = Vec::new();
    let mut rest = spans.into_iter().peekable();
    while rest.peek().is_some() {
        let resource_spans = (0..random.usize(1..5)).map(|_| ResourceSpans {
            resource: envelopes.resources[random.usize(0..3)].clone(),
            scope_spans: (0..random.usize(1..3))
                .map(|_| ScopeSpans {
                    scope: envelopes.scopes[random.usize(0..3)].clone(),
                    spans: rest.by_ref().take(random.usize(0..6)).collect(),
                    schema_url: one(random, &["", "https://schema.example/1"]).to_string(),
                })
                .collect(),
            schema_url: one(random, &["", "https://schema.example/2"]).to_string(),
        });
        let request = ExportTraceServiceRequest { resource_spans: resource_spans.collect() };
        requests.push(Request { is_late, body: request.encode_to_vec().into() });
    }
    requests
}

fn one<T: Copy>(random: &mut Rng, of: &[T]) -> T {
    of[random.usize(0..of.len())]
}

fn sometimes(random: &mut Rng) -> u32 {
    if random.u8(0..8) == 0 { random.u32(1..300) } else { 0 }
}

fn span(random: &mut Rng, trace_id: &[u8], number: usize) -> Span {
    let (start, end) = times(random);
    let parent_span_id = match random.u8(0..8) {
        0 => Vec::new(),
        1 => vec![0; 8],
        _ if number == 0 => Vec::new(),
        _ => (0..8).map(|_| random.u8(1..)).collect(),
    };
    Span {
        trace_id: trace_id.to_vec(),
        span_id: (0..8).map(|_| random.u8(1..)).collect(),
        trace_state: trace_state(random),
        parent_span_id,
        flags: one(random, &[0, 0, 0, 0, 1, 2, 3, 0x100, 0x101, 0x300, u32::MAX]),
        name: one(random, NAMES).to_string(),
        kind: one(random, &[0, 1, 2, 2, 3, 4, 5, 6, -1]),
        start_time_unix_nano: start,
        end_time_unix_nano: end,
        attributes: attributes(random),
        dropped_attributes_count: sometimes(random),
        events: (0..random.usize(0..3)).map(|_| event(random)).collect(),
        dropped_events_count: sometimes(random),
        links: if random.u8(0..6) == 0 { vec![link(random)] } else { Vec::new() },
        dropped_links_count: sometimes(random),
        status: status(random),
    }
}

fn status(random: &mut Rng) -> Option<Status> {
    let status = |code, message: &str| Some(Status { code, message: message.to_string() });
    match random.u8(0..12) {
        0..6 => None,
        6 => status(0, ""),
        7 => status(0, "said"),
        8..10 => status(1, ""),
        10 => status(2, "broke"),
        _ => status(one(random, &[2, 2, 3, -1]), ""),
    }
}

/// Start and end: near the thresholds that policies have, and anywhere.
fn times(random: &mut Rng) -> (u64, u64) {
    const MILLISECOND: u64 = 1_000_000;
    let start = EPOCH + random.u64(0..20) * MILLISECOND + one(random, &[0, 0, 1, 999_999]);
    let length = one(random, &[0, 1, 5, 9, 10, 49, 50, 51, 99, 100, 1000, 1001, 5000]) * MILLISECOND;
    match random.u8(0..16) {
        0 => (0, start),
        1 => (start, 0),
        2 => (0, 0),
        3 => (start + length, start),
        4 if random.u8(0..4) == 0 => one(random, &[(0, u64::MAX), (u64::MAX, 1), (1, 1 << 63), (u64::MAX, u64::MAX)]),
        _ => (start, start + length + one(random, &[0, 0, 1, 999_999])),
    }
}

fn trace_state(random: &mut Rng) -> String {
    if random.u8(0..2) == 0 {
        return String::new();
    }
    let (key, value) = one(random, MEMBERS);
    match random.u8(0..22) {
        0..5 => format!("{key}={value}"),
        5..7 => format!("first=1,{key}={value}"),
        7 => format!("{key}={value},first=1"),
        8 => format!("first=1 , \t{key}={value}\t"),
        9 => format!("{key}={value} ,,first=1,"),
        10 => format!("{key}={value},{key}=other"),
        11 => format!("{key} ={value}"),
        12 => format!("{key}= {value}"),
        13 => format!("{key}={value},Upper=1"),
        14 => format!("{key}={value},novalue="),
        15 => format!("{key}={value},=nokey"),
        16 => format!("{key}={value}, ,x=1"),
        17 => format!("{key}={value}=more"),
        18 => format!("{key}={},x=1", "v".repeat(random.usize(250..258))),
        19 => (0..random.u32(30..34)).map(|number| format!("k{number}=1,")).collect::<String>() + key + "=" + value,
        20 => format!("{}={value}", "k".repeat(random.usize(254..258))),
        _ => one(random, &["=", ",", "novalue", "1digit=1", "1t@v=1", "t@toolongsystemname=1", "\t", "k=\u{e9}"])
            .to_string(),
    }
}

fn event(random: &mut Rng) -> Event {
    Event {
        time_unix_nano: one(random, &[0, EPOCH, EPOCH + 1]),
        name: one(random, NAMES).to_string(),
        attributes: if random.bool() { attributes(random) } else { Vec::new() },
        dropped_attributes_count: sometimes(random),
    }
}

fn link(random: &mut Rng) -> Link {
    Link {
        trace_id: (0..16).map(|_| random.u8(..)).collect(),
        span_id: (0..8).map(|_| random.u8(1..)).collect(),
        trace_state: trace_state(random),
        attributes: attributes(random),
        dropped_attributes_count: sometimes(random),
        flags: one(random, &[0, 1]),
    }
}

/// Up to five; keys may come twice.
fn attributes(random: &mut Rng) -> Vec<KeyValue> {
    let attribute = |random: &mut Rng| KeyValue {
        key: one(random, KEYS).to_string(),
        value: if random.u8(0..20) == 0 { None } else { Some(value(random, 0)) },
        ..Default::default()
    };
    (0..random.usize(0..5)).map(|_| attribute(random)).collect()
}

fn value(random: &mut Rng, depth: u8) -> AnyValue {
    let value = match random.u8(0..if depth < DEPTH_MAX { 20 } else { 16 }) {
        0..7 => Value::StringValue(one(random, TEXTS).to_string()),
        7..10 => Value::IntValue(one(random, NUMBERS)),
        10..12 => Value::BoolValue(random.bool()),
        12..14 => Value::DoubleValue(one(random, &[0.0, 1.0, -2.5, 500.0, 1e300, f64::INFINITY, f64::NAN, -0.0])),
        14 => Value::BytesValue((0..random.usize(0..4)).map(|_| random.u8(..)).collect()),
        15 => return AnyValue { value: None },
        16..18 => {
            let values = (0..random.usize(0..3)).map(|_| value(random, depth + 1)).collect();
            Value::ArrayValue(ArrayValue { values })
        }
        _ => {
            let entry = |random: &mut Rng| KeyValue {
                key: one(random, KEYS).to_string(),
                value: Some(value(random, depth + 1)),
                ..Default::default()
            };
            Value::KvlistValue(KeyValueList { values: (0..random.usize(0..3)).map(|_| entry(random)).collect() })
        }
    };
    AnyValue { value: Some(value) }
}
