//! Whether tailwater keeps what the Collector keeps: scenarios with their policies and requests, what came of each, and
//! how the two are compared.
//!
//! A scenario is pure data, made from a seed or written by hand. [`engine`] plays it through a real shard at simulated
//! time, [`cluster`] through those of several nodes, [`collector`] through a running Collector, many at once; [`recorded`]
//! keeps what the Collector did, so that it need not be there. Spans are compared as messages: the span, its resource and its scope, whatever the framing around
//! them; schema URLs are left out, because the Collector loses them.

pub mod cases;
pub mod cluster;
pub mod collector;
pub mod conditions;
pub mod engine;
pub mod limits;
pub mod pipelines;
pub mod policies;
pub mod program;
pub mod recorded;
pub mod refusals;
pub mod traces;

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use serde_json::{Value, json};
use std::collections::BTreeSet;
use std::fmt::Write as _;

/// The Collector's `decision_wait` in scenarios, seconds: whatever is sent at once is together when it is over.
pub const DECISION_WAIT_SECONDS: u64 = 2;

/// Policies, and what is sent to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Scenario {
    /// The seed it was made of, or the case it is.
    pub name: String,
    /// The section of the processor.
    pub processor: Value,
    /// Requests in the order they are sent.
    pub requests: Vec<Request>,
}

/// How scenarios are played.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Mode {
    /// Spans leave as they came.
    Plain,
    /// The policy that has kept a trace is written into its spans' scopes.
    Recording,
}

/// One OTLP request.
#[derive(Debug, Clone, PartialEq)]
pub struct Request {
    /// Sent when everything before it has been judged.
    pub is_late: bool,
    /// An `ExportTraceServiceRequest`.
    pub body: Bytes,
}

/// A span that came out.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct KeptSpan {
    /// Its trace, hexadecimal.
    pub trace_id: String,
    /// Its id, hexadecimal.
    pub span_id: String,
    /// Hash of the span with its resource and scope, as one who decodes them sees them.
    pub hash: u64,
}

/// The scenario of that seed.
#[must_use]
pub fn scenario(seed: u64) -> Scenario {
    let mut random = fastrand::Rng::with_seed(seed);
    let processor = policies::processor(&mut random);
    Scenario { name: format!("seed {seed}"), processor, requests: traces::requests(&mut random) }
}

impl Scenario {
    /// Whether both write the same of the policy that has kept a trace. Of a trace that is sampled by one of its pieces the
    /// Collector labels that piece alone; it labels no late span where verdicts have no cache; and it names the sub-policy of every composite that samples, also where another
    /// policy is named beside it.
    #[must_use]
    pub fn labels_alike(&self) -> bool {
        let policies = self.processor["policies"].as_array().map(Vec::as_slice).unwrap_or_default();
        let composites = policies.iter().filter(|policy| policy["type"] == "composite").count();
        let is_whole = self.processor.get("sampling_strategy").is_none();
        is_whole && self.has_caches() && (composites == 0 || policies.len() == 1)
    }

    /// The ids of all traces that requests of this kind bring, hexadecimal.
    #[must_use]
    pub fn traces(&self, is_late: bool) -> BTreeSet<String> {
        let requests = self.requests.iter().filter(|request| request.is_late == is_late);
        requests.flat_map(|request| spans_of(&request.body)).map(|span| span.trace_id).collect()
    }

    /// Spans in late requests.
    #[must_use]
    pub fn late_spans(&self) -> usize {
        let requests = self.requests.iter().filter(|request| request.is_late);
        requests.map(|request| spans_of(&request.body).len()).sum()
    }

    /// Pieces of traces in late requests: what one of their `ResourceSpans` holds of one trace.
    ///
    /// # Panics
    /// When a request is none.
    #[must_use]
    pub fn late_pieces(&self) -> usize {
        let requests = self.requests.iter().filter(|request| request.is_late);
        let resources = requests
            .flat_map(|request| ExportTraceServiceRequest::decode(request.body.clone()).unwrap().resource_spans);
        let traces = resources.map(|resource| {
            let spans = resource.scope_spans.into_iter().flat_map(|scope| scope.spans);
            spans.map(|span| span.trace_id).collect::<BTreeSet<_>>().len()
        });
        traces.sum()
    }

    /// Whether verdicts have caches of their own.
    #[must_use]
    pub fn has_caches(&self) -> bool {
        self.processor["decision_cache"].get("sampled_cache_size").is_some()
    }

    /// A Collector file around the processor, which both programs read. What differs is in the environment:
    /// `CONFORMANCE_HTTP` and
    /// `CONFORMANCE_GRPC` are the receiver's addresses, `CONFORMANCE_SINK` is the URL of the next hop.
    #[must_use]
    pub fn file(&self) -> String {
        format!(
            "receivers: {{otlp: {{protocols: {{grpc: {{endpoint: \"${{env:CONFORMANCE_GRPC:-127.0.0.1:0}}\"}}, \
             http: {{endpoint: \"${{env:CONFORMANCE_HTTP:-127.0.0.1:0}}\"}}}}}}}}\n\
             processors: {{tail_sampling: {}}}\n\
             exporters: {{otlp_http: {{endpoint: \"${{env:CONFORMANCE_SINK:-http://127.0.0.1:9}}\", compression: none}}}}\n\
             service: {{pipelines: {{traces: {{receivers: [otlp], processors: [tail_sampling], exporters: [otlp_http]}}}}}}\n",
            self.processor
        )
    }
}

/// The spans of a request, comparable.
///
/// # Panics
/// When it is no request.
#[must_use]
pub fn spans_of(body: &[u8]) -> Vec<KeptSpan> {
    let mut spans = Vec::new();
    for resource_spans in ExportTraceServiceRequest::decode(body).unwrap().resource_spans {
        let resource = canonical_resource(resource_spans.resource.unwrap_or_default());
        for scope_spans in resource_spans.scope_spans {
            let scope = canonical_scope(scope_spans.scope.unwrap_or_default());
            for span in scope_spans.spans {
                let span = canonical_span(span);
                let parts = [resource.encode_to_vec(), scope.encode_to_vec(), span.encode_to_vec()];
                spans.push(KeptSpan {
                    trace_id: hexadecimal(&span.trace_id),
                    span_id: hexadecimal(&span.span_id),
                    hash: hash(&parts),
                });
            }
        }
    }
    spans
}

/// What is different, one line a span; empty when nothing is.
#[must_use]
pub fn difference(collector: &[KeptSpan], tailwater: &[KeptSpan]) -> Vec<String> {
    let (mut left, mut right) = (collector.to_vec(), tailwater.to_vec());
    left.sort();
    right.sort();
    let mut lines = Vec::new();
    for (kept, other, who) in [(&left, &right, "the Collector"), (&right, &left, "tailwater")] {
        let mut rest = other.clone();
        for span in kept {
            if let Some(at) = rest.iter().position(|one| one == span) {
                rest.swap_remove(at);
                continue;
            }
            let is_there = other.iter().any(|one| (&one.trace_id, &one.span_id) == (&span.trace_id, &span.span_id));
            let what = if is_there { "sends another span" } else { "alone keeps the span" };
            lines.push(format!("{who} {what}: trace {} span {}", span.trace_id, span.span_id));
        }
    }
    lines
}

/// FNV-1a over the parts, each with its length.
fn hash(parts: &[Vec<u8>]) -> u64 {
    let mut hash = 0xcbf2_9ce4_8422_2325u64;
    for part in parts {
        let length = (part.len() as u64).to_le_bytes();
        for byte in length.iter().chain(part) {
            hash = (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
    hash
}

/// Bytes as text.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> String {
    bytes.iter().fold(String::with_capacity(bytes.len() * 2), |mut text, byte| {
        _ = write!(text, "{byte:02x}");
        text
    })
}

/// Text as bytes; `None` when it is none.
#[must_use]
pub fn from_hexadecimal(text: &str) -> Option<Vec<u8>> {
    let pairs = text.as_bytes().chunks(2).map(|pair| std::str::from_utf8(pair).ok());
    pairs.map(|pair| u8::from_str_radix(pair?, 16).ok()).collect()
}

fn canonical_resource(mut resource: Resource) -> Resource {
    canonical_attributes(&mut resource.attributes);
    resource
}

fn canonical_scope(mut scope: InstrumentationScope) -> InstrumentationScope {
    canonical_attributes(&mut scope.attributes);
    // What a sampler has written comes in an order of its own.
    scope.attributes.sort_by_key(|attribute| attribute.key.starts_with(RECORDED_PREFIX).then(|| attribute.key.clone()));
    scope
}

/// Begins the attributes that say which policy has kept a trace.
const RECORDED_PREFIX: &str = "tailsampling.";

/// Protobuf has two ways to say of a message that it is empty; a reader sees no difference, nor does the hash.
fn canonical_span(mut span: Span) -> Span {
    canonical_attributes(&mut span.attributes);
    span.events.iter_mut().for_each(|event| canonical_attributes(&mut event.attributes));
    span.links.iter_mut().for_each(|link| canonical_attributes(&mut link.attributes));
    span.status.get_or_insert_default();
    if span.parent_span_id.iter().all(|byte| *byte == 0) {
        span.parent_span_id.clear();
    }
    span
}

fn canonical_attributes(attributes: &mut [KeyValue]) {
    for attribute in attributes {
        canonical_value(attribute.value.get_or_insert_default());
    }
}

fn canonical_value(value: &mut AnyValue) {
    match &mut value.value {
        Some(Any::ArrayValue(array)) => array.values.iter_mut().for_each(canonical_value),
        Some(Any::KvlistValue(list)) => canonical_attributes(&mut list.values),
        _ => {}
    }
}

/// A section with these policies and everything else as scenarios have it.
#[must_use]
pub fn processor_of(policies: &[Value]) -> Value {
    json!({
        "decision_wait": format!("{DECISION_WAIT_SECONDS}s"),
        "decision_cache": {"sampled_cache_size": 1000, "non_sampled_cache_size": 1000},
        "policies": policies,
    })
}
