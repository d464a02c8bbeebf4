//! The service graph against a model that sees all spans at once, its bounds, and what the Collector's connector says of some
//! spans.

use super::*;
use crate::windows::Body;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Link};
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailwater_proto::otlp::check;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};

const SEED: u64 = 7;
const SECOND: u64 = 1_000_000_000;
const CORES: u16 = 3;

fn owned(texts: &[&str]) -> Vec<String> {
    texts.iter().map(ToString::to_string).collect()
}

fn plan() -> Plan {
    Plan {
        durations: Durations::Explicit(Arc::new([0.1, 1.0, 10.0])),
        dimensions: Vec::new(),
        database_attributes: owned(&["db.name"]),
        virtual_node_attributes: owned(&["peer.service", "db.name", "db.system"]),
        has_virtual_node_label: false,
        wait_nanos: 10 * SECOND,
        waiting_max: 1000,
        series_max: 1000,
        instance_id: None,
        is_delta: false,
        expires_after_windows: 0,
    }
}

/// Walks as the intake does; a trace belongs to the core that its first byte names.
struct Walk<'a>(Gathering<'a>);

fn shard(trace_id: &[u8; 16]) -> u16 {
    u16::from(trace_id[0]) % CORES
}

impl TraceVisitor for Walk<'_> {
    fn resource_begin(&mut self) {
        self.0.resource_begin();
    }
    fn resource_attribute(&mut self, attribute: check::KeyValue<'_>) {
        self.0.resource_attribute(&attribute);
    }
    fn resource(&mut self, _: &[u8]) {}
    fn scope_begin(&mut self) {
        self.0.scope_begin();
    }
    fn scope_end(&mut self, _: &[u8]) {}
    fn span_begin(&mut self) {
        self.0.span_begin();
    }
    fn span_attribute(&mut self, attribute: check::KeyValue<'_>) {
        self.0.span_attribute(&attribute);
    }
    fn span_link(&mut self, link: &[u8]) {
        self.0.span_link(link, shard);
    }
    fn span(&mut self, facts: &SpanFacts<'_>) {
        let threshold = tailwater_proto::tracestate::read(facts.trace_state).ok().and_then(|state| state.threshold);
        self.0.span(facts, threshold, shard(&facts.trace_id));
    }
    fn span_refused(&mut self, _: SpanFault) {}
}

/// Cores, each with what it has counted.
struct Cores {
    plan: Arc<Plan>,
    all: Vec<(Gatherer, Graph, EdgeSums)>,
}

impl Cores {
    fn new(plan: Plan) -> Self {
        let plan = Arc::new(plan);
        let core =
            |shard| (Gatherer::new(plan.clone(), SEED), Graph::new(plan.clone(), shard, SEED), EdgeSums::default());
        Self { all: (0..CORES).map(core).collect(), plan }
    }

    /// A request comes to a core.
    fn take(&mut self, core: usize, spans: &[(&str, Span)], now: u64) {
        let bytes = request(spans).encode_to_vec();
        let mut walk = Walk(self.all[core].0.gather());
        traces(&bytes, 1 << 20, &mut walk).unwrap();
        let ends = walk.0.finish();
        for (other, ends) in ends.of_others(u16::try_from(core).unwrap()) {
            self.all[usize::from(other)].1.take(&ends, now);
        }
        self.all[core].1.take(&ends, now);
        self.all[core].0.recycle(ends);
    }

    fn counts(&self) -> GraphCounts {
        let mut all = GraphCounts::default();
        for counts in self.all.iter().map(|(_, graph, _)| graph.counts()) {
            all.requests += counts.requests;
            all.unpaired += counts.unpaired;
            all.dropped += counts.dropped;
            all.overflowed += counts.overflowed;
            all.waiting += counts.waiting;
        }
        all
    }

    /// A checkpoint of a core: what it has counted is stored and read again.
    fn checkpoint(&mut self, core: usize) {
        let (_, graph, sums) = &mut self.all[core];
        graph.take_into(sums);
        let mut bytes = Vec::new();
        sums.write(&mut bytes);
        assert!(EdgeSums::read(&bytes[..bytes.len() - 1]).is_err());
        *sums = EdgeSums::read(&bytes).unwrap();
    }

    /// All that is told once nothing waits any more.
    fn end(mut self) -> Vec<Body> {
        let mut merged = EdgeSums::default();
        for (_, graph, sums) in &mut self.all {
            graph.expire_all(9);
            graph.take_into(sums);
            merged.merge(std::mem::take(sums));
        }
        Output::new(self.plan).emit(merged, 20)
    }
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn request(spans: &[(&str, Span)]) -> ExportTraceServiceRequest {
    let of = |(service, span): &(&str, Span)| ResourceSpans {
        resource: Some(Resource { attributes: vec![text("service.name", service)], ..Resource::default() }),
        scope_spans: vec![ScopeSpans { spans: vec![span.clone()], ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    };
    ExportTraceServiceRequest { resource_spans: spans.iter().map(of).collect() }
}

const INTERNAL: i32 = 1;
const SERVER: i32 = 2;
const CLIENT: i32 = 3;
const PRODUCER: i32 = 4;
const CONSUMER: i32 = 5;

fn span(trace: u8, id: u8, parent: u8, kind: i32, took_ms: u64) -> Span {
    Span {
        trace_id: vec![trace; 16],
        span_id: vec![id; 8],
        parent_span_id: if parent == 0 { Vec::new() } else { vec![parent; 8] },
        name: "x".into(),
        kind,
        start_time_unix_nano: SECOND,
        end_time_unix_nano: SECOND + took_ms * 1_000_000,
        ..Span::default()
    }
}

fn failed(span: Span) -> Span {
    Span { status: Some(Status { code: 2, ..Status::default() }), ..span }
}

fn with(span: Span, attributes: &[KeyValue]) -> Span {
    Span { attributes: attributes.to_vec(), ..span }
}

/// By attributes: requests, those that failed, milliseconds of clients and of servers; unpaired and dropped ends.
type Seen = BTreeMap<String, [u64; 6]>;

fn shown(attributes: &[KeyValue]) -> String {
    let value = |attribute: &KeyValue| match attribute.value.clone().unwrap().value {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| format!("{}={} ", attribute.key, value(attribute))).collect()
}

#[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
fn seen(bodies: &[Body]) -> Seen {
    let mut seen = Seen::new();
    for body in bodies {
        let request = ExportMetricsServiceRequest::decode(&*body.bytes).unwrap();
        let mut items = 0;
        for scope in request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics) {
            assert_eq!(scope.scope.as_ref().unwrap().name, "traces_service_graph");
            for metric in &scope.metrics {
                let place = match &*metric.name {
                    "traces_service_graph_request_total" => 0,
                    "traces_service_graph_request_failed_total" => 1,
                    "traces_service_graph_request_client" => 2,
                    "traces_service_graph_request_server" => 3,
                    "traces_service_graph_unpaired_spans_total" => 4,
                    "traces_service_graph_dropped_spans_total" => 5,
                    other => panic!("{other}"),
                };
                assert_eq!(metric.unit, if matches!(place, 2 | 3) { "s" } else { "" });
                let mut put = |attributes: &[KeyValue], value| {
                    let told = seen.entry(shown(attributes)).or_default();
                    told[place] += value;
                    items += 1;
                };
                let in_ms = |sum: Option<f64>| (sum.unwrap() * 1e3).round() as u64;
                match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic);
                        for point in &sum.data_points {
                            let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!() };
                            assert!(point.start_time_unix_nano <= point.time_unix_nano);
                            put(&point.attributes, value as u64);
                        }
                    }
                    Data::Histogram(histogram) => {
                        for point in &histogram.data_points {
                            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                            put(&point.attributes, in_ms(point.sum));
                        }
                    }
                    Data::ExponentialHistogram(histogram) => {
                        histogram.data_points.iter().for_each(|point| put(&point.attributes, in_ms(point.sum)));
                    }
                    _ => panic!("no other kinds"),
                }
            }
        }
        assert_eq!(body.items, items);
    }
    seen
}

fn edge(client: &str, server: &str, connection: &str, failed: bool) -> String {
    format!("client={client} server={server} connection_type={connection} failed={failed} ")
}

fn told(expected: &[(String, [u64; 6])]) -> Seen {
    expected.iter().cloned().collect()
}

/// One request each: direct, by messages, to a database, from a user and to nobody known, in either order of the ends. Without
/// the loop in `take_end` one of the consumers would be unpaired; without `is_alone` the database would wait.
#[test]
fn requests_are_told_by_who_asks_whom_and_how() {
    let peer = [text("peer.service", "bank")];
    let spans = [
        ("shop", span(1, 1, 0, CLIENT, 50)),
        ("cart", failed(span(1, 2, 1, SERVER, 30))),
        ("cart", span(2, 3, 0, PRODUCER, 1)),
        ("mail", span(2, 4, 3, CONSUMER, 700)),
        ("stock", span(2, 5, 3, CONSUMER, 900)),
        ("cart", with(span(3, 6, 0, CLIENT, 8), &[text("db.name", "carts"), text("peer.service", "10.0.0.1")])),
        ("front", span(4, 7, 0, SERVER, 60)),
        ("front", with(span(4, 8, 7, CLIENT, 20), &peer)),
        ("front", span(4, 9, 7, CLIENT, 10)),
        ("front", span(4, 10, 7, INTERNAL, 10)),
        ("late", span(4, 11, 99, SERVER, 10)),
        ("", span(5, 12, 0, CLIENT, 10)),
    ];
    let mut expected = told(&[
        (edge("shop", "cart", "", true), [1, 1, 50, 30, 0, 0]),
        (edge("cart", "mail", "messaging_system", false), [1, 0, 1, 700, 0, 0]),
        (edge("cart", "stock", "messaging_system", false), [1, 0, 1, 900, 0, 0]),
        (edge("cart", "carts", "database", false), [1, 0, 8, 8, 0, 0]),
        (edge("user", "front", "virtual_node", false), [1, 0, 0, 60, 0, 0]),
        (edge("front", "bank", "virtual_node", false), [1, 0, 20, 0, 0, 0]),
        (edge("front", "unknown", "virtual_node", false), [1, 0, 10, 0, 0, 0]),
        ("server=late connection_type= ".to_string(), [0, 0, 0, 0, 1, 0]),
    ]);
    for is_reversed in [false, true] {
        let mut cores = Cores::new(plan());
        let each = spans.iter().cloned().enumerate();
        let each: Vec<_> = if is_reversed { each.rev().collect() } else { each.collect() };
        each.into_iter().for_each(|(place, span)| cores.take(place % 3, &[span], 1));
        assert_eq!(seen(&cores.end()), expected);
    }
    // Without virtual nodes whoever has no other end is unpaired.
    let mut cores = Cores::new(Plan { virtual_node_attributes: Vec::new(), ..plan() });
    cores.take(0, &spans, 1);
    for (name, unpaired) in [("client=front connection_type= ", 2), ("server=front connection_type= ", 1)] {
        expected.insert(name.to_string(), [0, 0, 0, 0, unpaired, 0]);
    }
    expected.retain(|name, _| !name.contains("virtual_node"));
    assert_eq!(seen(&cores.end()), expected);
}

/// What the connector's own tests say of their spans (`testdata/extra-dimensions-queue-db-*` and `virtual-node-label-*` of
/// v0.161), but for the label that is empty where no node is virtual.
#[test]
fn edges_are_the_connectors() {
    let took = |span: Span| Span { end_time_unix_nano: span.start_time_unix_nano + 1000, ..span };
    let dimensions = owned(&["db.system", "messaging.system"]);
    let mut cores = Cores::new(Plan { dimensions, ..plan() });
    let client = with(span(0xa0, 1, 0, CLIENT, 0), &[text("messaging.system", "kafka")]);
    let server = with(span(0xa0, 2, 1, SERVER, 0), &[text("db.system", "postgresql")]);
    cores.take(0, &[("foo-server", took(client)), ("bar-requester", took(server))], 1);
    let bodies = cores.end();
    let names: Vec<_> = seen(&bodies).into_keys().collect();
    let name = "client=foo-server server=bar-requester connection_type= failed=false client_messaging.system=kafka server_db.system=postgresql ";
    assert_eq!(names, [name]);
    let request = ExportMetricsServiceRequest::decode(&*bodies[0].bytes).unwrap();
    for metric in &request.resource_metrics[0].scope_metrics[0].metrics[1..] {
        let Some(Data::Histogram(histogram)) = &metric.data else { panic!("{metric:?}") };
        let point = &histogram.data_points[0];
        assert_eq!((&*point.bucket_counts, point.sum), (&[1, 0, 0, 0][..], Some(1e-6)));
        assert_eq!(point.explicit_bounds, [0.1, 1.0, 10.0]);
    }
    let dimensions = owned(&["peer.service"]);
    let mut cores = Cores::new(Plan { dimensions, has_virtual_node_label: true, ..plan() });
    let server = with(span(0xa1, 2, 0, SERVER, 0), &[text("peer.service", "external-platform")]);
    cores.take(0, &[("foo-server", span(0xa0, 1, 0, CLIENT, 0)), ("bar-requester", server)], 1);
    let begin = "connection_type=virtual_node failed=false virtual_node=";
    let names: Vec<_> = seen(&cores.end()).into_keys().collect();
    assert_eq!(
        names,
        [
            format!("client=foo-server server=unknown {begin}server "),
            format!("client=user server=bar-requester {begin}client server_peer.service=external-platform "),
        ]
    );
}

/// A consumer in a trace of its own is joined with its producer by its link: without `span_link` both would be alone.
#[test]
fn links_join_consumers_with_producers_of_other_traces() {
    for is_reversed in [false, true] {
        let link = |trace: u8, id: u8| Link { trace_id: vec![trace; 16], span_id: vec![id; 8], ..Link::default() };
        let consumer = Span { links: vec![link(1, 1), link(2, 2)], ..span(3, 3, 0, CONSUMER, 5) };
        let mut spans = vec![("a", span(1, 1, 0, PRODUCER, 1)), ("b", span(2, 2, 0, PRODUCER, 2)), ("c", consumer)];
        if is_reversed {
            spans.reverse();
        }
        let mut cores = Cores::new(plan());
        spans.into_iter().for_each(|span| cores.take(1, &[span], 1));
        let expected = told(&[
            (edge("a", "c", "messaging_system", false), [1, 0, 1, 5, 0, 0]),
            (edge("b", "c", "messaging_system", false), [1, 0, 2, 5, 0, 0]),
        ]);
        assert_eq!(seen(&cores.end()), expected);
    }
}

/// Without `expire` in `Graph::wait` ends that nobody waits for would take the place of others.
#[test]
fn an_end_waits_so_long_and_so_many_wait() {
    let mut cores = Cores::new(Plan { waiting_max: 2, virtual_node_attributes: Vec::new(), ..plan() });
    // All of the same trace, and so on the same core.
    let client = |id| [("a", span(1, id, 0, CLIENT, 1))];
    let server = |parent| [("b", span(1, 100 + parent, parent, SERVER, 1))];
    cores.take(0, &client(1), SECOND);
    cores.take(0, &client(2), 2 * SECOND);
    cores.take(0, &client(3), 3 * SECOND);
    assert_eq!(cores.counts(), GraphCounts { dropped: 1, waiting: 2, ..GraphCounts::default() });
    // The first has waited for ten seconds.
    cores.take(0, &client(4), 11 * SECOND);
    assert_eq!(cores.counts(), GraphCounts { dropped: 1, unpaired: 1, waiting: 2, ..GraphCounts::default() });
    cores.take(0, &server(4), 11 * SECOND);
    cores.take(0, &server(2), 11 * SECOND);
    cores.take(0, &server(1), 11 * SECOND);
    assert_eq!(
        cores.counts(),
        GraphCounts { dropped: 1, unpaired: 1, requests: 2, waiting: 1, ..GraphCounts::default() }
    );
    cores.all[1].1.expire(20 * SECOND);
    assert_eq!(cores.counts().waiting, 1, "it has waited for nine");
    cores.all[1].1.expire(21 * SECOND);
    let expected = told(&[
        (edge("a", "b", "", false), [2, 0, 2, 2, 0, 0]),
        ("client=a connection_type= ".to_string(), [0, 0, 0, 0, 1, 1]),
        ("server=b connection_type= ".to_string(), [0, 0, 0, 0, 1, 0]),
    ]);
    assert_eq!(seen(&cores.end()), expected);
}

/// Without the bound in `new_entry` memory would grow with every new service.
#[test]
fn edges_past_the_bound_count_for_one() {
    let mut cores = Cores::new(Plan { series_max: 14, ..plan() });
    for number in 0..100 {
        let service = format!("service {number}");
        cores.take(0, &[(&service, span(1, number + 1, 0, SERVER, 1))], 1);
    }
    assert_eq!(cores.counts(), GraphCounts { requests: 100, overflowed: 90, ..GraphCounts::default() });
    let (_, graph, sums) = &mut cores.all[1];
    graph.take_into(sums);
    cores.take(0, &[("another", span(1, 1, 0, SERVER, 1))], 1);
    assert_eq!(
        cores.counts().overflowed,
        91,
        "a window has no more rows than the bound, however often it is looked at"
    );
    let seen = seen(&cores.end());
    assert_eq!((seen.len(), seen["otel.metric.overflow=true "]), (11, [91, 0, 0, 91, 0, 0]));
}

/// Without the bound in `Telling::begin` the node would tell what each core and each window has found anew; without `retain`
/// before it nothing would ever have room again.
#[test]
fn edges_past_the_bound_are_told_as_one_until_others_expire() {
    let plan = Arc::new(Plan { series_max: 14, expires_after_windows: 1, ..plan() });
    let mut output = Output::new(plan.clone());
    // Each window is another core's.
    let mut window = |services: std::ops::Range<u32>, now: u64| {
        let spans: Vec<_> = services.map(|number| (format!("s{number}"), span(3, 1, 0, SERVER, 1))).collect();
        let (mut cores, mut sums) = (Cores::new((*plan).clone()), EdgeSums::default());
        for (service, span) in spans {
            cores.take(0, &[(&*service, span)], now);
        }
        cores.all[0].1.take_into(&mut sums);
        let seen = seen(&output.emit(sums, now + 1));
        (seen.len(), seen.get("otel.metric.overflow=true ").map(|told| told[0]), output.overflowed())
    };
    assert_eq!(window(0..8, 10), (8, None, 0));
    assert_eq!(window(0..1, 20), (8, None, 0));
    // The first is told still, all others have expired.
    assert_eq!(window(20..30, 30), (11, None, 0));
    assert_eq!(window(30..38, 40), (15, Some(4), 4));
    assert_eq!(window(40..42, 50), (7, Some(4), 4), "others have expired");
}

/// Both ends count for as many as they stand for, and by the same draw: without the client's id in `Gathering::end` half of the
/// pairs would count one more on one side.
#[test]
fn a_sampled_request_counts_for_those_that_it_stands_for() {
    let mut cores = Cores::new(plan());
    // Two of three are kept: each stands for 1.5.
    let sampled = |span: Span| Span { trace_state: format!("ot=th:{:014x}", (1_u64 << 56) / 3), ..span };
    for number in 1..=250 {
        for trace in 1..=8 {
            cores.take(
                0,
                &[
                    ("a", sampled(span(trace, number, 0, CLIENT, 1))),
                    ("b", sampled(span(trace, 255, number, SERVER, 1))),
                ],
                1,
            );
        }
    }
    let [requests, _, client, server, ..] = seen(&cores.end())[&edge("a", "b", "", false)];
    // The ids repeat in each trace, and so do their draws.
    assert!(
        (2800..3200).contains(&requests) && client == requests && server == requests,
        "{requests} {client} {server}"
    );
}

#[test]
fn an_edge_is_told_on_until_it_expires_and_delta_tells_what_is_new() {
    for (is_delta, expected) in [(false, [Some(1), Some(2), Some(2), None]), (true, [Some(1), Some(1), None, None])] {
        let plan = Arc::new(Plan { is_delta, expires_after_windows: 1, ..plan() });
        let mut output = Output::new(plan.clone());
        let mut cores = Cores::new((*plan).clone());
        for (window, expected) in expected.into_iter().enumerate() {
            let now = window as u64 * 10;
            if window < 2 {
                cores.take(0, &[("a", span(3, 1, 0, SERVER, 1))], now + 5);
            }
            let (_, graph, _) = &mut cores.all[0];
            let mut sums = EdgeSums::default();
            graph.take_into(&mut sums);
            graph.begin_window();
            let seen = seen(&output.emit(sums, now + 10));
            let requests = seen.get(&edge("user", "a", "virtual_node", false)).map(|told| told[0]);
            assert_eq!(requests, expected, "window {window}");
        }
    }
}

/// One span as the properties make them: trace, kind, parent among the clients of the trace, service, whether it failed, a
/// database, the core that gets it.
type Made = (u8, i32, u8, u8, bool, bool, usize);

/// The spans, with ids that are theirs alone in their trace. A client has one server at most, as a request has: which of
/// several would be its own depends on the order.
fn spans_of(made: &[Made]) -> Vec<(String, Span, usize)> {
    let mut answered = Vec::new();
    let mut spans = Vec::new();
    for (number, (trace, kind, parent, service, has_failed, has_database, core)) in made.iter().enumerate() {
        let id = u8::try_from(number + 1).unwrap();
        let mut parent = *parent;
        if matches!(*kind, SERVER | CONSUMER) && parent != 0 {
            let of_parent = made.get(usize::from(parent) - 1).filter(|of| of.0 == *trace && of.1 == CLIENT);
            if of_parent.is_some() && answered.contains(&(*trace, parent)) {
                parent = 255;
            }
            answered.push((*trace, parent));
        }
        let mut span = span(*trace, id, parent, *kind, u64::from(id));
        if *has_failed {
            span = failed(span);
        }
        if *has_database && *kind == CLIENT {
            span.attributes.push(text("db.name", "base"));
        }
        spans.push((format!("s{service}"), span, *core));
    }
    spans
}

/// What all spans together say.
fn model(spans: &[(String, Span, usize)]) -> Seen {
    let mut seen = Seen::new();
    let has_failed = |span: &Span| span.status.as_ref().is_some_and(|status| status.code == 2);
    let took = |span: &Span| (span.end_time_unix_nano - span.start_time_unix_nano) / 1_000_000;
    let mut count = |name: String, amounts: [u64; 6]| {
        let told = seen.entry(name).or_default();
        told.iter_mut().zip(amounts).for_each(|(told, amount)| *told += amount);
    };
    let is_client = |span: &Span| matches!(span.kind, CLIENT | PRODUCER);
    let is_server = |span: &Span| matches!(span.kind, SERVER | CONSUMER);
    let has_database = |span: &Span| !span.attributes.is_empty();
    let connection = |span: &Span| if matches!(span.kind, PRODUCER | CONSUMER) { "messaging_system" } else { "" };
    for (service, span, _) in spans.iter().filter(|(_, span, _)| is_client(span)) {
        let (failed, took_here) = (has_failed(span), took(span));
        if has_database(span) {
            count(edge(service, "base", "database", failed), [1, u64::from(failed), took_here, took_here, 0, 0]);
            continue;
        }
        let is_answer = |other: &&(String, Span, usize)| {
            is_server(&other.1) && other.1.trace_id == span.trace_id && other.1.parent_span_id == span.span_id
        };
        let mut answers = 0;
        for (server, answer, _) in spans.iter().filter(is_answer) {
            answers += 1;
            let failed = failed || has_failed(answer);
            let connection = if connection(span).is_empty() { connection(answer) } else { connection(span) };
            count(edge(service, server, connection, failed), [1, u64::from(failed), took_here, took(answer), 0, 0]);
        }
        if answers == 0 {
            count(edge(service, "unknown", "virtual_node", failed), [1, u64::from(failed), took_here, 0, 0, 0]);
        }
    }
    for (service, span, _) in spans.iter().filter(|(_, span, _)| is_server(span)) {
        let failed = has_failed(span);
        let asks = |other: &&(String, Span, usize)| {
            let (_, other, _) = other;
            is_client(other)
                && !has_database(other)
                && other.trace_id == span.trace_id
                && other.span_id == span.parent_span_id
        };
        if span.parent_span_id.is_empty() {
            count(edge("user", service, "virtual_node", failed), [1, u64::from(failed), 0, took(span), 0, 0]);
        } else if spans.iter().filter(asks).count() == 0 {
            count(format!("server={service} connection_type={} ", connection(span)), [0, 0, 0, 0, 1, 0]);
        }
    }
    seen
}

proptest! {
    /// Without `of_others`, with a table that loses or repeats an end, or with sums that do not add up, some split, order or
    /// grouping would tell something else than all spans at once.
    #[test]
    fn any_split_over_cores_requests_and_order_tells_the_same(
        made in proptest::collection::vec(
            (1..4_u8, 0..6_i32, 0..40_u8, 0..3_u8, any::<bool>(), proptest::bool::weighted(0.1), 0..3_usize), 1..60),
        order in any::<u64>(),
        per_request in 1..8_usize,
        is_exponential in any::<bool>(),
    ) {
        let mut spans = spans_of(&made);
        let expected = model(&spans);
        let mut state = order | 1;
        for place in (1..spans.len()).rev() {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            spans.swap(place, usize::try_from(state >> 33).unwrap() % (place + 1));
        }
        let durations = if is_exponential { Durations::Exponential(20) } else { plan().durations };
        let mut cores = Cores::new(Plan { durations, ..plan() });
        for (number, chunk) in spans.chunks(per_request).enumerate() {
            let core = chunk[0].2;
            let request: Vec<_> = chunk.iter().map(|(service, span, _)| (service.as_str(), span.clone())).collect();
            cores.take(core, &request, 1);
            if number % 3 == 0 {
                cores.checkpoint(core);
            }
        }
        prop_assert_eq!(seen(&cores.end()), expected);
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = EdgeSums::read(&bytes);
    }
}
