//! Those who send spans to a node, and send again what was not answered well.

use bytes::Bytes;
use fastrand::Rng;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message as _;
use prost::encoding::{WireType, encode_key, encode_varint};
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_engine::vocabulary::{Nanos, TraceId};

/// A span's id.
pub type SpanId = u64;

/// A span the senders know of.
#[derive(Debug, Clone, PartialEq)]
pub struct Sent {
    /// Its id.
    pub id: SpanId,
    /// Its trace's id.
    pub trace_id: TraceId,
    /// The span.
    pub span: Span,
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// The number of its service.
    pub service: usize,
    /// When it is due, of the world.
    pub send_at: Nanos,
}

/// A span's id.
#[must_use]
pub fn span_id(span: &Span) -> SpanId {
    u64::from_be_bytes(span.span_id.as_slice().try_into().unwrap())
}

/// The id of a span's trace.
#[must_use]
pub fn trace_id(span: &Span) -> TraceId {
    span.trace_id.as_slice().try_into().unwrap()
}

/// What tracestates say of how traces were sampled before they came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tracestates {
    /// Of some traces that they were, all spans alike, so that whatever rules do to a kept trace leaves them as they are.
    Alike,
    /// Nothing.
    None,
    /// The first span of some traces has randomness, which its kept trace goes by.
    Given,
}

/// What is sent.
#[derive(Debug, Clone)]
pub struct Traffic {
    /// Traces.
    pub traces: usize,
    /// The time within which they begin, milliseconds.
    pub within_ms: u64,
    /// Whether their ids have randomness in them, as they should, or count them.
    pub has_random_ids: bool,
    /// One more than the most spans of a trace.
    pub spans_max: usize,
    /// The time within which the spans of a trace come that come in time, milliseconds.
    pub spread_ms: u64,
    /// Share of spans that come long after, percent.
    pub late_percent: u32,
    /// How long after.
    pub late_ms: u64,
    /// One trace in so many has a last span to be kept for.
    pub one_marked_in: u8,
    /// What tracestates say.
    pub tracestates: Tracestates,
}

/// Where a span's id is in its bytes: behind that of its trace.
const SPAN_ID_AT: usize = 2 + 16 + 2;
/// The time within which the traces of a short run begin, milliseconds.
pub const WITHIN_MS: u64 = 3000;

/// An odd number whose products have the spans of a trace anywhere.
const SCATTER: u64 = 0x9e37_79b9_7f4a_7c15;

/// The senders of one node.
#[derive(Debug)]
pub struct Senders {
    /// Due last first.
    unsent: Vec<Rc<Sent>>,
    by_id: BTreeMap<SpanId, Rc<Sent>>,
}

impl Senders {
    /// Senders that are about to send.
    #[must_use]
    pub fn new(random: &mut Rng, traffic: &Traffic) -> Self {
        let mut unsent = Vec::new();
        for trace in 0..traffic.traces {
            let begin = random.u64(0..traffic.within_ms);
            let count = random.usize(1..traffic.spans_max);
            let is_marked = random.u8(0..traffic.one_marked_in) == 0;
            let low = traffic.has_random_ids.then(|| random.u64(..));
            let alike = ["", "", "ot=th:8;rv:ffffffffffffff"][random.usize(0..3)];
            for number in 0..count {
                let mut span = span(random, trace, number, is_marked && number + 1 == count);
                if let Some(low) = low {
                    span.trace_id[8..].copy_from_slice(&low.to_be_bytes());
                }
                span.start_time_unix_nano = random.u64(1..500) * Nanos::PER_MILLISECOND;
                span.end_time_unix_nano = span.start_time_unix_nano + random.u64(0..200) * Nanos::PER_MILLISECOND;
                match traffic.tracestates {
                    Tracestates::Alike => span.trace_state = alike.into(),
                    Tracestates::Given if number == 0 && trace.is_multiple_of(3) => {
                        span.trace_state = format!("ot=rv:{:014x}", random.u64(..) >> 8);
                    }
                    Tracestates::Given | Tracestates::None => {}
                }
                let late = if random.u32(0..100) < traffic.late_percent { traffic.late_ms } else { 0 };
                let send_at = Nanos::from_millis(begin + random.u64(0..traffic.spread_ms) + late);
                let bytes = span.encode_to_vec();
                unsent.push(Rc::new(Sent {
                    id: span_id(&span),
                    trace_id: trace_id(&span),
                    span,
                    bytes,
                    service: random.usize(0..4),
                    send_at,
                }));
            }
        }
        Self::of(unsent)
    }

    /// Of what all senders of a cluster send, what comes to this node: each span to any, or those of a service to one.
    #[must_use]
    pub fn share(self, node: usize, nodes: usize, is_sticky: bool) -> Self {
        let place = |sent: &Sent| if is_sticky { sent.service } else { (sent.id.wrapping_mul(SCATTER) >> 40) as usize };
        Self::of(self.unsent.into_iter().filter(|sent| place(sent) % nodes == node).collect())
    }

    /// The same, later by so many milliseconds.
    #[must_use]
    pub fn later(self, milliseconds: u64) -> Self {
        let later = |sent: Rc<Sent>| {
            let send_at = sent.send_at.plus(Nanos::from_millis(milliseconds));
            Rc::new(Sent { send_at, ..(*sent).clone() })
        };
        Self::of(self.unsent.into_iter().map(later).collect())
    }

    /// What is due from then on.
    #[must_use]
    pub fn from(self, begin: Nanos) -> Self {
        Self::of(self.unsent.into_iter().filter(|sent| sent.send_at >= begin).collect())
    }

    fn of(mut unsent: Vec<Rc<Sent>>) -> Self {
        let by_id = unsent.iter().map(|sent| (sent.id, sent.clone())).collect();
        unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
        Self { unsent, by_id }
    }

    /// At most `count` spans that are due, for one request: sorted by service, as it has them.
    pub fn due(&mut self, now: Nanos, count: usize) -> Vec<Rc<Sent>> {
        let mut due = Vec::new();
        while due.len() < count && self.unsent.last().is_some_and(|sent| sent.send_at <= now) {
            due.extend(self.unsent.pop());
        }
        due.sort_by_key(|sent| sent.service);
        due
    }

    /// Spans that nobody took responsibility for are sent again.
    pub fn come_back(&mut self, spans: impl IntoIterator<Item = Rc<Sent>>) {
        self.unsent.extend(spans);
        self.unsent.sort_by_key(|sent| std::cmp::Reverse(sent.send_at));
    }

    /// The node is gone: they send nothing more.
    pub fn stop(&mut self) {
        self.unsent.clear();
    }

    /// Whether all has been sent.
    #[must_use]
    pub fn is_done(&self) -> bool {
        self.unsent.is_empty()
    }

    /// The span that was sent as these bytes.
    ///
    /// # Panics
    /// When none was.
    #[must_use]
    pub fn sent(&self, bytes: &[u8]) -> &Rc<Sent> {
        let sent = &self.by_id[&u64::from_be_bytes(bytes[SPAN_ID_AT..SPAN_ID_AT + 8].try_into().unwrap())];
        assert!(sent.bytes == bytes, "a span's bytes stay as they were sent");
        sent
    }
}

fn attribute(key: &str, value: &str) -> KeyValue {
    let value = AnyValue { value: Some(Value::StringValue(value.into())) };
    KeyValue { key: key.into(), value: Some(value), ..Default::default() }
}

/// Span `number` of a trace, marked as to be kept or not.
#[must_use]
pub fn span(random: &mut Rng, trace: usize, number: usize, marked: bool) -> Span {
    let error = marked && random.bool();
    let attributes = if marked && !error { vec![attribute("mark", "keep")] } else { Vec::new() };
    let mut trace_id = [0u8; 16];
    trace_id[..8].copy_from_slice(&(trace as u64 + 1).to_be_bytes());
    Span {
        trace_id: trace_id.to_vec(),
        span_id: ((trace as u64 + 1) << 16 | number as u64).to_be_bytes().to_vec(),
        parent_span_id: if number == 0 { Vec::new() } else { vec![1; 8] },
        name: "n".repeat(random.usize(0..300)),
        status: error.then(|| Status { code: 2, ..Default::default() }),
        attributes,
        ..Default::default()
    }
}

/// A request of these spans, encoded, each with its service's number; they are sorted by it.
#[must_use]
pub fn encode(spans: impl Iterator<Item = (usize, impl AsRef<[u8]>)>) -> Bytes {
    let mut services: BTreeMap<usize, Vec<u8>> = BTreeMap::new();
    for (service, span) in spans {
        put_field(services.entry(service).or_default(), SPANS_FIELD, span.as_ref());
    }
    let mut request = Vec::new();
    for (service, mut scope_spans) in services {
        ScopeSpans { schema_url: "schema".into(), ..Default::default() }.encode(&mut scope_spans).unwrap();
        let attributes = vec![attribute("service.name", &format!("service-{service}"))];
        let resource = Some(Resource { attributes, ..Default::default() });
        let mut resource_spans = ResourceSpans { resource, ..Default::default() }.encode_to_vec();
        put_field(&mut resource_spans, SPANS_FIELD, &scope_spans);
        ResourceSpans { schema_url: "resource schema".into(), ..Default::default() }
            .encode(&mut resource_spans)
            .unwrap();
        put_field(&mut request, RESOURCE_SPANS_FIELD, &resource_spans);
    }
    request.into()
}

/// Numbers of fields: of spans in a scope, and of scopes in a resource; of resources in a request.
const SPANS_FIELD: u32 = 2;
const RESOURCE_SPANS_FIELD: u32 = 1;

fn put_field(out: &mut Vec<u8>, field: u32, bytes: &[u8]) {
    encode_key(field, WireType::LengthDelimited, out);
    encode_varint(bytes.len() as u64, out);
    out.extend_from_slice(bytes);
}
