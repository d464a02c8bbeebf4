//! Limits over a minute: how much a limiter lets through, second by second, beside what the Collector let through of the
//! same traffic. Which of the traces of one tick come through is left to chance there, so that totals are compared: of
//! all that was sent until the end of each second, as much has passed here as there, within what its tick allows.

use super::collector::Collector;
use super::{KeptSpan, Request, Scenario, engine, from_hexadecimal, recorded};
use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use serde_json::{Value, json};
use std::path::Path;
use std::time::{Duration, Instant};

/// Length of the traffic, seconds.
pub const SECONDS: usize = 60;
/// Requests a second.
const REQUESTS_PER_SECOND: usize = 10;
/// The file among the recordings.
pub const FILE: &str = "limits.json";

/// A processor whose output is limited.
#[derive(Debug, Clone)]
pub struct Limiter {
    /// What it is.
    pub name: &'static str,
    policies: Vec<Value>,
    counts_bytes: bool,
    /// What may have passed more or less. The Collector looks once a second: what a bucket gains in the second in which it
    /// stops being full is lost there. That happens twice, at the beginning and after the pause, and a trace just fits or
    /// does not.
    pub tolerance: u64,
}

/// Bytes of a trace as the Collector counts them, at most.
const TRACE_BYTES_MAX: u64 = 2000;
/// Spans of a trace, at most.
const TRACE_SPANS_MAX: u64 = 6;

/// All limiters.
#[must_use]
pub fn limiters() -> Vec<Limiter> {
    let spans = |rate: u64, burst: u64| {
        json!({"name": "spans", "type": "rate_limiting",
        "rate_limiting": {"spans_per_second": rate, "burst_capacity": burst}})
    };
    let bytes = |rate: u64, burst: u64| {
        json!({"name": "bytes", "type": "bytes_limiting",
        "bytes_limiting": {"bytes_per_second": rate, "burst_capacity": burst}})
    };
    let class = |class: &str| {
        json!({"name": class, "type": "string_attribute",
        "string_attribute": {"key": "class", "values": [class]}})
    };
    let always = json!({"name": "rest", "type": "always_sample"});
    let composite = |total: u64, shares: Value| {
        json!({"name": "shares", "type": "composite", "composite": {
        "max_total_spans_per_second": total, "rate_allocation": shares,
        "composite_sub_policy": [class("a"), class("b"), always.clone()]}})
    };
    let and = json!({"name": "and", "type": "and", "and": {"and_sub_policy": [class("a"), spans(20, 0)]}});
    let drop = json!({"name": "drop", "type": "drop", "drop": {"drop_sub_policy": [class("a")]}});
    let not = json!({"name": "not", "type": "not", "not": {"not_sub_policy": spans(60, 0)}});
    let limiter = |name, policies, counts_bytes, rate: u64| {
        let trace = if counts_bytes { TRACE_BYTES_MAX } else { TRACE_SPANS_MAX };
        Limiter { name, policies, counts_bytes, tolerance: 2 * rate + trace }
    };
    vec![
        limiter("rate_limiting", vec![spans(50, 0)], false, 50),
        limiter("rate_limiting, large burst", vec![spans(30, 600)], false, 30),
        limiter("rate_limiting, burst of a second", vec![spans(40, 40)], false, 40),
        limiter("rate_limiting beside drop", vec![spans(30, 0), drop], false, 30),
        limiter("rate_limiting in and", vec![and], false, 20),
        limiter("rate_limiting in not", vec![not], false, 60),
        limiter("bytes_limiting", vec![bytes(10_000, 0)], true, 10_000),
        limiter("bytes_limiting, large burst", vec![bytes(5_000, 100_000)], true, 5_000),
        limiter(
            "composite",
            vec![composite(90, json!([{"policy": "a", "percent": 50}, {"policy": "b", "percent": 20}]))],
            false,
            90,
        ),
        limiter("composite, equal shares", vec![composite(60, json!([]))], false, 60),
    ]
}

impl Limiter {
    /// The section of its processor.
    #[must_use]
    pub fn processor(&self) -> Value {
        json!({"decision_wait": "1s", "policies": self.policies})
    }
}

/// Traffic of one limiter: when each request comes, and its body. The same for all but for the first byte of trace ids,
/// which is the limiter's number; the second is the second in which it comes.
#[must_use]
pub fn traffic(number: u8) -> Vec<(Duration, Bytes)> {
    let mut random = Rng::with_seed(60);
    let mut requests = Vec::new();
    for slot in 0..SECONDS * REQUESTS_PER_SECOND {
        let second = slot / REQUESTS_PER_SECOND;
        let traces = match second {
            // Nothing for a while, so that buckets fill, and then more than any of them holds.
            20..25 => 0,
            25 | 40 => random.usize(15..25),
            _ => random.usize(2..7),
        };
        let resource_spans = (0..traces).map(|_| trace(&mut random, number, second as u8)).collect();
        let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec();
        requests.push((Duration::from_millis((slot * 1000 / REQUESTS_PER_SECOND) as u64), body.into()));
    }
    requests
}

fn trace(random: &mut Rng, number: u8, second: u8) -> ResourceSpans {
    let text = |key: &str, text: &str| KeyValue {
        key: key.to_string(),
        value: Some(AnyValue { value: Some(Any::StringValue(text.to_string())) }),
        ..Default::default()
    };
    let mut trace_id = vec![number, second];
    trace_id.extend((0..14).map(|_| random.u8(..)));
    let class = ["a", "a", "b", "c"][random.usize(0..4)];
    let spans = (0..random.u64(1..=TRACE_SPANS_MAX)).map(|number| Span {
        trace_id: trace_id.clone(),
        parent_span_id: if number == 0 { Vec::new() } else { vec![1; 8] },
        span_id: (0..8).map(|_| random.u8(1..)).collect(),
        name: "n".repeat(random.usize(1..200)),
        attributes: vec![text("class", class)],
        // Written, because the Collector counts the bytes that it would write.
        status: Some(Status { code: 1, ..Default::default() }),
        ..Default::default()
    });
    let scope = InstrumentationScope { name: "lib".to_string(), ..Default::default() };
    ResourceSpans {
        scope_spans: vec![ScopeSpans { scope: Some(scope), spans: spans.collect(), ..Default::default() }],
        resource: Some(Resource { attributes: vec![text("service.name", "checkout")], ..Default::default() }),
        ..Default::default()
    }
}

/// What passed, by the second in which it was sent: spans, or bytes as the Collector counts them.
fn by_second(limiter: &Limiter, traffic: &[(Duration, Bytes)], kept: &[KeptSpan]) -> Vec<u64> {
    let mut totals = vec![0; SECONDS];
    let second = |trace_id: &str| usize::from(from_hexadecimal(&trace_id[2..4]).unwrap()[0]);
    if !limiter.counts_bytes {
        kept.iter().for_each(|span| totals[second(&span.trace_id)] += 1);
        return totals;
    }
    let kept: std::collections::BTreeSet<Vec<u8>> =
        kept.iter().filter_map(|span| from_hexadecimal(&span.trace_id)).collect();
    for resource_spans in
        traffic.iter().flat_map(|(_, body)| ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans)
    {
        let trace_id = resource_spans.scope_spans[0].spans[0].trace_id.clone();
        if kept.contains(&trace_id) {
            let bytes = ExportTraceServiceRequest { resource_spans: vec![resource_spans] }.encoded_len();
            totals[usize::from(trace_id[1])] += bytes as u64;
        }
    }
    totals
}

/// What tailwater lets through of each second.
///
/// # Errors
/// Why its policies cannot be evaluated.
pub fn play(number: usize, limiter: &Limiter) -> Result<Vec<u64>, String> {
    let traffic = traffic(number as u8);
    let requests = traffic.iter().map(|(_, body)| Request { is_late: false, body: body.clone() }).collect();
    let scenario = Scenario { name: limiter.name.to_string(), processor: limiter.processor(), requests };
    let times: Vec<Duration> = traffic.iter().map(|(at, _)| *at).collect();
    Ok(by_second(limiter, &traffic, &engine::play_at(&scenario, &times)?))
}

/// What is different over the whole time, one line a second.
#[must_use]
pub fn difference(limiter: &Limiter, collector: &[u64], tailwater: &[u64]) -> Vec<String> {
    let (mut theirs, mut ours) = (0u64, 0u64);
    let mut lines = Vec::new();
    for (second, (one, other)) in collector.iter().zip(tailwater).enumerate() {
        (theirs, ours) = (theirs + one, ours + other);
        if theirs.abs_diff(ours) > limiter.tolerance {
            lines.push(format!("{} until second {second}: the Collector {theirs}, tailwater {ours}", limiter.name));
        }
    }
    lines
}

/// What a recording says of each limiter.
///
/// # Panics
/// When it is none.
#[must_use]
pub fn read(path: &Path) -> Vec<Vec<u64>> {
    let value: Value = serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap();
    assert_eq!(value["collector"], recorded::COLLECTOR_VERSION);
    let numbers = |value: &Value| value.as_array().unwrap().iter().map(|one| one.as_u64().unwrap()).collect();
    limiters().iter().map(|limiter| numbers(&value["limiters"][limiter.name])).collect()
}

/// Lets the traffic through a running Collector, all limiters at once, in as much time as it lasts.
///
/// # Panics
/// When the Collector does not do its part.
#[must_use]
pub fn play_collector(binary: &Path) -> Vec<Vec<u64>> {
    let limiters = limiters();
    let processors: Vec<Value> = limiters.iter().map(Limiter::processor).collect();
    let traffic: Vec<_> = (0..limiters.len()).map(|number| traffic(number as u8)).collect();
    let mut collector = Collector::start(binary, &processors.iter().collect::<Vec<_>>());
    let begin = Instant::now();
    let mut traces = 0;
    for slot in 0..SECONDS * REQUESTS_PER_SECOND {
        std::thread::sleep(traffic[0][slot].0.saturating_sub(begin.elapsed()));
        for (number, traffic) in traffic.iter().enumerate() {
            let body = &traffic[slot].1;
            traces += ExportTraceServiceRequest::decode(body.clone()).unwrap().resource_spans.len();
            collector.send(number, std::iter::once(body.as_ref()));
        }
    }
    collector.until_decided(traces as u64);
    let kept = collector.take_kept();
    let of = |number: usize, limiter: &Limiter| {
        let prefix = format!("{number:02x}");
        let own: Vec<KeptSpan> = kept.iter().filter(|span| span.trace_id.starts_with(&prefix)).cloned().collect();
        by_second(limiter, &traffic[number], &own)
    };
    limiters.iter().enumerate().map(|(number, limiter)| of(number, limiter)).collect()
}

/// Writes what the Collector let through.
///
/// # Panics
/// When it can't be written.
pub fn write(path: &Path, all: &[Vec<u64>]) {
    let limiters: serde_json::Map<String, Value> =
        limiters().iter().zip(all).map(|(limiter, totals)| (limiter.name.to_string(), json!(totals))).collect();
    let value = json!({"collector": recorded::COLLECTOR_VERSION, "limiters": limiters});
    std::fs::write(path, format!("{value}\n")).unwrap();
}
