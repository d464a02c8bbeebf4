//! What each trace and span of a round is, before any encoding: times, parents, attributes, who must be kept and why.

use super::CorpusOptions;
use super::identity::mix;
use super::patch::NO_PARENT;
use super::protobuf;
use super::vocabulary::{
    EXCEPTIONS, HOSTS, KEEP_KEY, METHODS, ROUTES, SERVICES, STATEMENTS, TIER_KEPT, TIER_KEY, TIERS, TRACE_SPANS_KEY,
    USER_AGENTS,
};

/// An attribute's value (`opentelemetry.proto.common.v1.AnyValue`).
#[derive(Clone, Debug, PartialEq)]
pub enum Value {
    /// `string_value`
    Text(String),
    /// `bool_value`
    Bool(bool),
    /// `int_value`
    Integer(i64),
    /// `double_value`
    Double(f64),
    /// `array_value`
    List(Vec<Value>),
    /// `kvlist_value`
    Map(Vec<Attribute>),
    /// `bytes_value`
    Bytes(Vec<u8>),
}

/// A key and its value.
pub type Attribute = (&'static str, Value);

/// Why a sampler with the baseline's policies must keep a trace.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeepReason {
    /// the last span's status is an error
    Error,
    /// the trace lasts longer than a second
    Slow,
    /// one span carries the attribute that a policy names
    Attribute,
}

impl KeepReason {
    /// The word written into spans and files.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Slow => "slow",
            Self::Attribute => "attribute",
        }
    }
}

/// One span.
#[derive(Clone, Debug, PartialEq)]
pub struct SpanPlan {
    /// index of the trace in its round
    pub trace: u32,
    /// index of the span in its trace
    pub index: u16,
    /// index of the parent span, or [`NO_PARENT`]
    pub parent: u16,
    /// name
    pub name: &'static str,
    /// `SpanKind`, 1 to 5
    pub kind: u8,
    /// start, nanoseconds before the round's time
    pub start_before: u64,
    /// end, nanoseconds before the round's time
    pub end_before: u64,
    /// attributes in order
    pub attributes: Vec<Attribute>,
    /// the exception event of a failed span: type and message; its status is then an error
    pub exception: Option<(&'static str, &'static str)>,
}

/// One request: spans of one service, or the late spans of the round.
#[derive(Clone, Debug, PartialEq)]
pub struct RequestPlan {
    /// number of the service whose resource it carries
    pub service: u16,
    /// attributes of that resource
    pub resource: Vec<Attribute>,
    /// true if it is sent late
    pub late: bool,
    /// its spans, in order
    pub spans: Vec<SpanPlan>,
}

/// One round.
#[derive(Clone, Debug, PartialEq)]
pub struct RoundPlan {
    /// the requests that have spans
    pub requests: Vec<RequestPlan>,
    /// the traces that must be kept
    pub keep: Vec<(u32, KeepReason)>,
}

const MILLISECOND: u64 = 1_000_000;
/// Durations of ordinary traces: well under the baseline's latency threshold of a second.
const ORDINARY_NANOS: std::ops::Range<u64> = 5 * MILLISECOND..250 * MILLISECOND;
/// Durations of slow traces: well above it.
const SLOW_NANOS: std::ops::Range<u64> = 1_200 * MILLISECOND..3_000 * MILLISECOND;

impl RoundPlan {
    /// Draws a round; the same options and variant always give the same one.
    #[must_use]
    pub fn draw(options: &CorpusOptions, variant: u64) -> Self {
        let mut random = fastrand::Rng::with_seed(mix(options.seed ^ mix(variant.wrapping_add(1))));
        let services = options.services.max(1);
        let each = usize::from(options.requests_per_service.max(1));
        let mut requests: Vec<RequestPlan> =
            (0..services).flat_map(|service| std::iter::repeat_n(request(service, false, &mut random), each)).collect();
        let mut late_request = request(0, true, &mut random);
        let mut keep = Vec::new();
        for trace in 0..options.traces_per_round() {
            let reason = draw_reason(options.keep_share, &mut random);
            keep.extend(reason.map(|reason| (trace, reason)));
            let late = options.spans_per_trace >= 3 && random.f64() < options.late_share;
            for span in draw_trace(options, trace, reason, &mut random) {
                // The span before the last one is the late one: whatever a trace is kept for is on another span.
                if late && span.index + 2 == options.spans_per_trace {
                    late_request.spans.push(span);
                } else {
                    let service = (trace + u32::from(span.index)) % u32::from(services);
                    let part = if each > 1 { random.usize(0..each) } else { 0 };
                    requests[service as usize * each + part].spans.push(span);
                }
            }
        }
        if each > 1 {
            requests.iter_mut().for_each(|request| random.shuffle(&mut request.spans));
        }
        requests.push(late_request);
        requests.retain(|request| !request.spans.is_empty());
        Self { requests, keep }
    }
}

fn draw_reason(share: f64, random: &mut fastrand::Rng) -> Option<KeepReason> {
    (random.f64() < share).then(|| match random.u8(0..3) {
        0 => KeepReason::Error,
        1 => KeepReason::Slow,
        _ => KeepReason::Attribute,
    })
}

fn draw_trace(
    options: &CorpusOptions,
    trace: u32,
    reason: Option<KeepReason>,
    random: &mut fastrand::Rng,
) -> Vec<SpanPlan> {
    let duration = random.u64(if reason == Some(KeepReason::Slow) { SLOW_NANOS } else { ORDINARY_NANOS });
    let last = options.spans_per_trace.max(1) - 1;
    let mut spans: Vec<SpanPlan> = Vec::with_capacity(usize::from(last) + 1);
    for index in 0..=last {
        let (parent, start_before, end_before) = if index == 0 {
            (NO_PARENT, duration, 0)
        } else {
            let parent = random.u16(0..index);
            let outer = &spans[usize::from(parent)];
            let length = outer.start_before - outer.end_before;
            (parent, outer.start_before - length / 16, outer.end_before + length / 16)
        };
        let failed = index == last && reason == Some(KeepReason::Error);
        let route = random.usize(0..ROUTES.len());
        let mut span = SpanPlan {
            trace,
            index,
            parent,
            name: ROUTES[route],
            kind: if index == 0 { 2 } else { random.u8(1..=5) },
            start_before,
            end_before,
            attributes: vec![(TRACE_SPANS_KEY, Value::Integer(i64::from(options.spans_per_trace)))],
            exception: failed.then(|| EXCEPTIONS[random.usize(0..EXCEPTIONS.len())]),
        };
        if let Some(reason) = reason {
            span.attributes.push((KEEP_KEY, Value::Text(reason.word().to_owned())));
        }
        let tier = if index == 0 && reason == Some(KeepReason::Attribute) {
            TIER_KEPT
        } else {
            TIERS[random.usize(0..TIERS.len())]
        };
        span.attributes.push((TIER_KEY, Value::Text(tier.to_owned())));
        fit(&mut span, options.span_bytes, random);
        spans.push(span);
    }
    spans
}

/// Adds attributes while they fit, then a statement of just the length that makes the Span message `target` bytes long.
fn fit(span: &mut SpanPlan, target: usize, random: &mut fastrand::Rng) {
    let mut size = protobuf::span_size(span);
    let mut candidates = http_attributes(span, random);
    let mut typed = typed_attributes(random);
    // Small spans hold only some of the attributes: shuffled, so that all types occur in all sizes.
    random.shuffle(&mut typed);
    candidates.extend(typed);
    for attribute in candidates {
        let more = protobuf::attribute_size(&attribute);
        if size + more + STATEMENT_OVERHEAD <= target {
            size += more;
            span.attributes.push(attribute);
        }
    }
    let statement = STATEMENTS[random.usize(0..STATEMENTS.len())];
    let mut length = target.saturating_sub(size);
    while length > 0 {
        let text: String = statement.chars().cycle().take(length).collect();
        let attribute = ("db.query.text", Value::Text(text));
        let excess = (size + protobuf::attribute_size(&attribute)).saturating_sub(target);
        if excess == 0 {
            span.attributes.push(attribute);
            return;
        }
        length = length.saturating_sub(excess);
    }
}

/// Room left for the statement: its key, tags and lengths, and some characters.
const STATEMENT_OVERHEAD: usize = 32;

fn http_attributes(span: &SpanPlan, random: &mut fastrand::Rng) -> Vec<Attribute> {
    let status = if span.exception.is_some() { 503 } else { [200, 200, 201, 204, 304, 404][random.usize(0..6)] };
    let path = span.name.replace(['{', '}'], "");
    vec![
        ("http.request.method", Value::Text(METHODS[random.usize(0..METHODS.len())].to_owned())),
        ("http.response.status_code", Value::Integer(status)),
        ("url.path", Value::Text(format!("{path}/{}", random.u32(1_000..100_000)))),
        ("server.address", Value::Text(HOSTS[random.usize(0..HOSTS.len())].to_owned())),
    ]
}

fn typed_attributes(random: &mut fastrand::Rng) -> Vec<Attribute> {
    let text = |value: &str| Value::Text(value.to_owned());
    vec![
        ("cache.hit", Value::Bool(random.bool())),
        ("cart.total", Value::Double(f64::from(random.u32(100..100_000)) / 100.0)),
        ("cart.items", Value::Integer(random.i64(0..40))),
        ("feature.flags", Value::List(vec![text("new-search"), text("fast-pay"), Value::Integer(random.i64(0..9))])),
        (
            "retry.policy",
            Value::Map(vec![("attempts", Value::Integer(random.i64(1..4))), ("jitter", Value::Bool(true))]),
        ),
        ("request.digest", Value::Bytes((0..16).map(|_| random.u8(..)).collect())),
        ("user.id", Value::Text(format!("u-{:08x}", random.u32(..)))),
        ("network.peer.address", Value::Text(format!("10.{}.{}.{}", random.u8(..), random.u8(..), random.u8(..)))),
        ("user_agent.original", text(USER_AGENTS[random.usize(0..USER_AGENTS.len())])),
        ("http.request.header.x-request-id", Value::Text(format!("{:032x}", random.u128(..)))),
        ("thread.name", Value::Text(format!("worker-{}", random.u8(0..32)))),
    ]
}

/// The name of the service of this number.
#[must_use]
pub fn service_name(service: u16) -> String {
    let number = usize::from(service);
    let name = SERVICES[number % SERVICES.len()];
    if number < SERVICES.len() { name.to_owned() } else { format!("{name}-{}", number / SERVICES.len() + 1) }
}

fn request(service: u16, late: bool, random: &mut fastrand::Rng) -> RequestPlan {
    let name = service_name(service);
    let pod = format!("{name}-{:08x}-{:05x}", random.u32(..), random.u32(0..0x000f_ffff));
    let text = |value: &str| Value::Text(value.to_owned());
    let resource = vec![
        ("service.name", Value::Text(name)),
        ("service.namespace", text("shop")),
        ("service.version", Value::Text(format!("2.{}.{}", random.u8(0..40), random.u8(0..20)))),
        ("service.instance.id", Value::Text(format!("{:032x}", random.u128(..)))),
        ("deployment.environment.name", text("production")),
        ("host.name", Value::Text(format!("ip-10-0-{}-{}.eu-central-1", random.u8(..), random.u8(..)))),
        ("k8s.namespace.name", text("shop")),
        ("k8s.pod.name", Value::Text(pod)),
        ("process.pid", Value::Integer(random.i64(100..60_000))),
        ("telemetry.sdk.language", text("rust")),
        ("telemetry.sdk.name", text("opentelemetry")),
        ("telemetry.sdk.version", text("0.33.1")),
    ];
    RequestPlan { service, resource, late, spans: Vec::new() }
}
