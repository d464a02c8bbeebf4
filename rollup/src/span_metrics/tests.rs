//! Span metrics against decoded requests, and their laws.

mod coarse;

use super::*;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, exemplar, metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use proptest::prelude::*;
use prost::Message;
use std::collections::BTreeMap;
use tailwater_proto::otlp::check;
use tailwater_proto::otlp::scan::{SpanFacts, SpanFault, TraceVisitor, traces};

fn plan() -> Plan {
    Plan {
        namespace: "traces.span.metrics".into(),
        unit: Unit::Milliseconds,
        durations: Durations::Exponential(160),
        standard: Standard::ALL,
        dimensions: Vec::new(),
        resource: ResourceAttributes::All,
        instance_id: None,
        is_delta: false,
        series_max: 1000,
        exemplars_max: 0,
        expires_after_windows: 0,
    }
}

/// Walks as the intake does.
struct Walk<'a>(Gathering<'a>);

impl TraceVisitor for Walk<'_> {
    fn resource_begin(&mut self) {
        self.0.resource_begin();
    }
    fn resource_attribute(&mut self, attribute: check::KeyValue<'_>) {
        self.0.resource_attribute(&attribute);
    }
    fn resource(&mut self, _: &[u8]) {
        self.0.resource_end();
    }
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
    fn span(&mut self, facts: &SpanFacts<'_>) {
        let threshold = tailwater_proto::tracestate::read(facts.trace_state).ok().and_then(|state| state.threshold);
        self.0.span(facts, threshold);
    }
    fn span_refused(&mut self, _: SpanFault) {}
}

fn count(tally: &mut Tally, request: &ExportTraceServiceRequest, at: u64) {
    let bytes = request.encode_to_vec();
    let mut walk = Walk(tally.gather());
    traces(&bytes, 1 << 20, &mut walk).unwrap();
    let counted = walk.0.finish();
    assert!(tally.count(counted, at));
}

fn text(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn span(name: &str, kind: i32, code: i32, took_ms: u64) -> Span {
    Span {
        trace_id: vec![1; 16],
        span_id: vec![2; 8],
        name: name.into(),
        kind,
        start_time_unix_nano: 1_000_000_000,
        end_time_unix_nano: 1_000_000_000 + took_ms * 1_000_000,
        status: Some(Status { code, ..Status::default() }),
        ..Span::default()
    }
}

fn request(resource: Vec<KeyValue>, spans: Vec<Span>) -> ExportTraceServiceRequest {
    let resource = Some(Resource { attributes: resource, ..Resource::default() });
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    ExportTraceServiceRequest {
        resource_spans: vec![ResourceSpans { resource, scope_spans, ..ResourceSpans::default() }],
    }
}

/// By attributes of resource and point: calls, and what histograms count.
type Seen = BTreeMap<String, (u64, u64, f64)>;

fn shown(attributes: &[KeyValue]) -> String {
    let value = |attribute: &KeyValue| match attribute.value.clone().unwrap().value {
        Some(Value::StringValue(text)) => text,
        other => format!("{other:?}"),
    };
    attributes.iter().map(|attribute| format!("{}={} ", attribute.key, value(attribute))).collect()
}

fn seen(bodies: &[crate::windows::Body]) -> Seen {
    let mut seen = Seen::new();
    for body in bodies {
        let request = ExportMetricsServiceRequest::decode(&*body.bytes).unwrap();
        let mut items = 0;
        for resource in &request.resource_metrics {
            let of = shown(&resource.resource.as_ref().unwrap().attributes);
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                match metric.data.as_ref().unwrap() {
                    Data::Sum(sum) => {
                        assert!(sum.is_monotonic && metric.name == "traces.span.metrics.calls");
                        for point in &sum.data_points {
                            let Some(number_data_point::Value::AsInt(calls)) = point.value else { panic!() };
                            assert!(point.start_time_unix_nano <= point.time_unix_nano);
                            seen.entry(format!("{of}| {}", shown(&point.attributes))).or_default().0 = calls as u64;
                            items += 1;
                        }
                    }
                    Data::ExponentialHistogram(histogram) => {
                        assert_eq!((&*metric.name, &*metric.unit), ("traces.span.metrics.duration", "ms"));
                        for point in &histogram.data_points {
                            let entry = seen.entry(format!("{of}| {}", shown(&point.attributes))).or_default();
                            (entry.1, entry.2) = (point.count, point.sum.unwrap());
                            items += 1;
                        }
                    }
                    Data::Histogram(histogram) => {
                        for point in &histogram.data_points {
                            let entry = seen.entry(format!("{of}| {}", shown(&point.attributes))).or_default();
                            (entry.1, entry.2) = (point.count, point.sum.unwrap());
                            assert_eq!(point.bucket_counts.iter().sum::<u64>(), point.count);
                            items += 1;
                        }
                    }
                    _ => panic!("no other kinds"),
                }
            }
        }
        assert_eq!(body.items, items);
    }
    seen
}

#[test]
fn each_span_counts_in_the_series_of_its_service_name_kind_and_status() {
    let plan = Arc::new(plan());
    let mut tally = Tally::new(plan.clone(), 7);
    let resource = || vec![text("service.name", "shop"), text("host", "a")];
    count(&mut tally, &request(resource(), vec![span("GET", 2, 0, 5), span("GET", 2, 0, 7), span("GET", 2, 2, 1)]), 10);
    count(&mut tally, &request(vec![text("host", "b")], vec![span("job", 5, 1, 100)]), 20);
    let mut sums = Sums::default();
    tally.take_into(&mut sums);
    let bodies = Output::new(plan).emit(sums, Exemplars::default(), 30);
    let expected: Seen = [
        ("host=a service.name=shop | service.name=shop span.name=GET span.kind=SPAN_KIND_SERVER status.code=STATUS_CODE_UNSET ", (2, 2, 12.0)),
        ("host=a service.name=shop | service.name=shop span.name=GET span.kind=SPAN_KIND_SERVER status.code=STATUS_CODE_ERROR ", (1, 1, 1.0)),
        ("host=b | service.name=unknown_service span.name=job span.kind=SPAN_KIND_CONSUMER status.code=STATUS_CODE_OK ", (1, 1, 100.0)),
    ]
    .into_iter()
    .map(|(name, values)| (name.to_string(), values))
    .collect();
    assert_eq!(seen(&bodies), expected);
}

#[test]
fn dimensions_are_of_the_span_or_of_its_resource_or_have_a_default() {
    let dimension =
        |name: &str, default: Option<&str>| Dimension { name: name.into(), default: default.map(Into::into) };
    let mut plan = plan();
    plan.resource = ResourceAttributes::These(vec!["service.name".into()]);
    plan.standard = Standard { kind: false, status: false, ..Standard::ALL };
    plan.dimensions = vec![dimension("zone", None), dimension("method", Some("GET"))];
    let plan = Arc::new(plan);
    let mut tally = Tally::new(plan.clone(), 7);
    let mut with_both = span("x", 1, 0, 1);
    // Of two of a name the first counts: without `noted.is_empty()` in `note` the second would.
    with_both.attributes = vec![text("zone", "span"), text("method", "PUT"), text("other", "1"), text("zone", "again")];
    let resource = vec![text("service.name", "s"), text("zone", "resource"), text("pid", "9")];
    count(&mut tally, &request(resource, vec![with_both, span("x", 1, 0, 1)]), 1);
    count(&mut tally, &request(vec![text("service.name", "s")], vec![span("x", 1, 0, 1)]), 1);
    let mut sums = Sums::default();
    tally.take_into(&mut sums);
    let names: Vec<_> = seen(&Output::new(plan).emit(sums, Exemplars::default(), 2)).into_keys().collect();
    let begin = "service.name=s | service.name=s span.name=x ";
    assert_eq!(
        names,
        [
            format!("{begin}method=GET "),
            format!("{begin}zone=resource method=GET "),
            format!("{begin}zone=span method=PUT "),
        ]
    );
}

/// Without `has_room` memory would grow with every new name.
#[test]
fn what_is_past_the_bound_counts_for_one_series_and_is_not_lost() {
    let plan = Arc::new(Plan { series_max: 10, ..plan() });
    let mut tally = Tally::new(plan.clone(), 7);
    let mut sums = Sums::default();
    for number in 0..100 {
        let name = format!("name {number}");
        count(&mut tally, &request(vec![text("service.name", "s")], vec![span(&name, 1, 0, 1)]), 1);
    }
    assert!(tally.series() <= 10 && tally.overflowed() == 91, "{} {}", tally.series(), tally.overflowed());
    tally.take_into(&mut sums);
    assert_eq!((sums.len(), sums.calls()), (10, 100));
    let seen = seen(&Output::new(plan).emit(sums, Exemplars::default(), 2));
    let overflow = seen.iter().find(|(name, _)| name.contains("otel.metric.overflow")).unwrap();
    assert_eq!(overflow.1.0, 91);
    // As long as the window lasts there is no room: without that a window would have as many series more at each checkpoint.
    let other = || request(vec![text("service.name", "s")], vec![span("other", 1, 0, 1)]);
    count(&mut tally, &other(), 1);
    assert_eq!((tally.series(), tally.overflowed()), (10, 92));
    // The next has room again.
    tally.begin_window();
    count(&mut tally, &request(vec![text("service.name", "s")], vec![span("new", 1, 0, 1)]), 1);
    assert_eq!(tally.series(), 1);
}

/// Without the fraction that decides with the span's id, sums of a threshold like this would be a third off.
#[test]
fn a_sampled_span_counts_for_those_that_it_stands_for() {
    let plan = Arc::new(plan());
    let mut tally = Tally::new(plan, 7);
    let mut sums = Sums::default();
    // Two of three are kept: each stands for 1.5.
    let threshold = (1_u64 << 56) / 3;
    let spans = (0..10_000_u64).map(|number| Span {
        span_id: (number + 1).to_be_bytes().to_vec(),
        trace_state: format!("ot=th:{threshold:014x}"),
        ..span("x", 1, 0, 1)
    });
    count(&mut tally, &request(vec![text("service.name", "s")], spans.collect()), 1);
    tally.take_into(&mut sums);
    assert!((14_800..15_200).contains(&sums.calls()), "{}", sums.calls());
}

#[test]
fn a_series_is_told_on_until_it_expires_and_delta_tells_what_is_new() {
    let one = |tally: &mut Tally, name: &str, at| {
        count(tally, &request(vec![text("service.name", "s")], vec![span(name, 1, 0, 1)]), at);
        let mut sums = Sums::default();
        tally.take_into(&mut sums);
        sums
    };
    let calls = |bodies: &[crate::windows::Body]| seen(bodies).values().map(|(calls, ..)| *calls).collect::<Vec<_>>();
    let plan_of = |is_delta| Arc::new(Plan { is_delta, expires_after_windows: 2, ..plan() });
    let (cumulative, delta) = (plan_of(false), plan_of(true));
    let (mut tally, mut output) = (Tally::new(cumulative.clone(), 1), Output::new(cumulative));
    assert_eq!(calls(&output.emit(one(&mut tally, "a", 5), Exemplars::default(), 10)), [1]);
    assert_eq!(calls(&output.emit(one(&mut tally, "b", 15), Exemplars::default(), 20)), [1, 1]);
    assert_eq!(calls(&output.emit(one(&mut tally, "b", 25), Exemplars::default(), 30)), [1, 2]);
    assert_eq!(calls(&output.emit(one(&mut tally, "b", 35), Exemplars::default(), 40)), [3], "a has expired");
    assert_eq!(output.expired(), 1);
    let (mut tally, mut output) = (Tally::new(delta.clone(), 1), Output::new(delta));
    assert_eq!(calls(&output.emit(one(&mut tally, "a", 5), Exemplars::default(), 10)), [1]);
    assert_eq!(calls(&output.emit(one(&mut tally, "a", 15), Exemplars::default(), 20)), [1]);
    assert_eq!(calls(&output.emit(Sums::default(), Exemplars::default(), 30)), [0_u64; 0]);
}

/// Examples by the names of series: trace, span and milliseconds.
type Shown = BTreeMap<String, Vec<(u8, u8, f64)>>;

/// What is told as examples of calls, which has to be what is told of durations.
fn examples(bodies: &[crate::windows::Body]) -> Shown {
    let (mut calls, mut durations) = (Shown::new(), Shown::new());
    let of = |exemplars: &[Exemplar]| -> Vec<(u8, u8, f64)> {
        let shown = |exemplar: &Exemplar| {
            assert_eq!((exemplar.trace_id.len(), exemplar.span_id.len()), (16, 8));
            let Some(exemplar::Value::AsDouble(value)) = exemplar.value else { panic!("{exemplar:?}") };
            assert!(exemplar.time_unix_nano > 1_000_000_000);
            (exemplar.trace_id[0], exemplar.span_id[0], value)
        };
        exemplars.iter().map(shown).collect()
    };
    for body in bodies {
        let request = ExportMetricsServiceRequest::decode(&*body.bytes).unwrap();
        let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
        for metric in scopes.flat_map(|scope| &scope.metrics) {
            match metric.data.as_ref().unwrap() {
                Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                    calls.insert(shown(&point.attributes), of(&point.exemplars));
                }),
                Data::ExponentialHistogram(histogram) => histogram.data_points.iter().for_each(|point| {
                    durations.insert(shown(&point.attributes), of(&point.exemplars));
                }),
                Data::Histogram(histogram) => histogram.data_points.iter().for_each(|point| {
                    durations.insert(shown(&point.attributes), of(&point.exemplars));
                }),
                _ => panic!("no other kinds"),
            }
        }
    }
    assert_eq!(calls, durations);
    calls.retain(|_, exemplars| !exemplars.is_empty());
    calls
}

fn of_trace(trace: u8, span: Span) -> Span {
    Span { trace_id: vec![trace; 16], span_id: vec![trace; 8], ..span }
}

fn kept(resource: Vec<KeyValue>, spans: Vec<Span>) -> Vec<u8> {
    request(resource, spans).encode_to_vec()
}

/// Without `note_kept` there are none; without `take` in `take_exemplars` they would be told in each window.
#[test]
fn kept_spans_are_examples_of_their_series_once() {
    for durations in [Durations::Exponential(160), Durations::Explicit(Arc::new([1.0, 10.0]))] {
        let plan = Arc::new(Plan { exemplars_max: 5, durations, ..plan() });
        let (mut tally, mut output) = (Tally::new(plan.clone(), 7), Output::new(plan));
        let resource = || vec![text("service.name", "shop")];
        let spans =
            |traces: &[u8]| traces.iter().map(|trace| of_trace(*trace, span("GET", 2, 0, 5))).collect::<Vec<_>>();
        count(&mut tally, &request(resource(), spans(&[1, 2, 3])), 10);
        let mut sums = Sums::default();
        tally.take_into(&mut sums);
        assert!(examples(&output.emit(sums, tally.take_exemplars(), 20)).is_empty(), "nothing is kept yet");
        let (before, overflowed) = (tally.series(), tally.overflowed());
        tally.note_kept(&kept(resource(), spans(&[2, 2])));
        let mut sums = Sums::default();
        tally.take_into(&mut sums);
        assert!(
            sums.is_empty() && (tally.series(), tally.overflowed()) == (before, overflowed),
            "counted is none again"
        );
        let name = "service.name=shop span.name=GET span.kind=SPAN_KIND_SERVER status.code=STATUS_CODE_UNSET ";
        let told = examples(&output.emit(sums, tally.take_exemplars(), 30));
        assert_eq!(told, Shown::from([(name.to_string(), vec![(2, 2, 5.0)])]));
        assert!(examples(&output.emit(Sums::default(), tally.take_exemplars(), 40)).is_empty(), "it is told already");
    }
}

/// Without `early` in `Output::emit` an example whose span was counted a window before is lost where deltas are told.
#[test]
fn an_example_waits_a_window_for_its_series_to_be_told() {
    let plan = Arc::new(Plan { exemplars_max: 5, is_delta: true, ..plan() });
    let (mut tally, mut output) = (Tally::new(plan.clone(), 7), Output::new(plan));
    let one = || vec![of_trace(1, span("GET", 2, 0, 5))];
    for (is_counted, is_kept, expected) in
        [(true, true, 1), (false, true, 0), (true, false, 1), (false, true, 0), (false, false, 0), (true, false, 0)]
    {
        if is_counted {
            count(&mut tally, &request(Vec::new(), one()), 10);
        }
        if is_kept {
            tally.note_kept(&kept(Vec::new(), one()));
        }
        let mut sums = Sums::default();
        tally.take_into(&mut sums);
        assert_eq!(examples(&output.emit(sums, tally.take_exemplars(), 20)).len(), expected);
    }
}

/// What is kept has the names of what is counted, of which a window has so many. Without `overflowed` in `recycle` it would
/// be told as counted.
#[test]
fn no_more_series_have_examples_than_are_counted() {
    let plan = Arc::new(Plan { exemplars_max: 5, series_max: 3, ..plan() });
    let mut tally = Tally::new(plan, 7);
    for number in 0..9 {
        let span = of_trace(1, span(&format!("name {number}"), 1, 0, 1));
        tally.note_kept(&kept(Vec::new(), vec![span]));
        tally.take_into(&mut Sums::default());
    }
    assert_eq!(tally.overflowed(), 0, "what is kept was counted before");
    assert_eq!(tally.take_exemplars().len(), 3, "those of the first two, and of what is past the bound");
}

proptest! {
    /// Without `Row::merge` of histograms, or with a name that leaves out a part, a split would tell something else.
    #[test]
    fn any_split_over_cores_and_windows_comes_to_the_same(
        spans in proptest::collection::vec((0..4_u8, 0..3_i32, 0..3_i32, 0..5000_u64, 0..3_usize, 0..2_u8), 1..120),
        is_explicit in any::<bool>(),
    ) {
        let durations = if is_explicit { Durations::Explicit(Arc::new([1.0, 10.0, 100.0])) } else { Durations::Exponential(20) };
        let plan = Arc::new(Plan { durations, ..plan() });
        let mut whole = Tally::new(plan.clone(), 7);
        let mut cores: Vec<_> = (0..3).map(|core| Tally::new(plan.clone(), core)).collect();
        let (mut all, mut parts) = (Sums::default(), vec![Sums::default(); 3]);
        for (name, kind, code, took, core, host) in spans {
            let resource = vec![text("service.name", "s"), text("host", &host.to_string())];
            let request = request(resource, vec![span(&name.to_string(), kind, code, took)]);
            count(&mut whole, &request, 5);
            count(&mut cores[core], &request, 5);
            if took % 7 == 0 {
                cores[core].take_into(&mut parts[core]);
            }
        }
        whole.take_into(&mut all);
        cores.iter_mut().zip(&mut parts).for_each(|(core, sums)| core.take_into(sums));
        let mut merged = Sums::default();
        for part in parts.into_iter().rev() {
            let mut bytes = Vec::new();
            part.write(&mut bytes);
            merged.merge(Sums::read(&bytes).unwrap());
            prop_assert!(Sums::read(&bytes[..bytes.len() - 1]).is_err());
        }
        prop_assert_eq!(seen(&Output::new(plan.clone()).emit(merged, Exemplars::default(), 9)), seen(&Output::new(plan).emit(all, Exemplars::default(), 9)));
    }

    /// Without the draw that decides which examples are told a split would tell others, and a crowd of one core none of another.
    #[test]
    fn any_split_over_cores_has_the_same_examples(
        spans in proptest::collection::vec((1..200_u8, 0..3_u8, 0..3_usize), 1..60),
    ) {
        let plan = Arc::new(Plan { exemplars_max: 3, ..plan() });
        let mut whole = Tally::new(plan.clone(), 7);
        let mut cores: Vec<_> = (0..3).map(|_| Tally::new(plan.clone(), 7)).collect();
        let mut sums = Sums::default();
        for (trace, name, core) in &spans {
            let spans = vec![of_trace(*trace, span(&name.to_string(), 1, 0, 1))];
            count(&mut whole, &request(Vec::new(), spans.clone()), 1);
            whole.note_kept(&kept(Vec::new(), spans.clone()));
            cores[*core].note_kept(&kept(Vec::new(), spans));
        }
        whole.take_into(&mut sums);
        let mut merged = Exemplars::default();
        for core in cores.iter_mut().rev() {
            let mut bytes = Vec::new();
            core.take_exemplars().write(&mut bytes);
            merged.merge(Exemplars::read(&bytes).unwrap());
            prop_assert!(Exemplars::read(&bytes[..bytes.len() - 1]).is_err());
        }
        let told = examples(&Output::new(plan.clone()).emit(sums.clone(), merged, 9));
        prop_assert_eq!(&told, &examples(&Output::new(plan).emit(sums, whole.take_exemplars(), 9)));
        for name in 0..3_u8 {
            let mut traces: Vec<u8> = spans.iter().filter(|span| span.1 == name).map(|span| span.0).collect();
            traces.sort_unstable();
            traces.dedup();
            let key = told.iter().find(|(shown, _)| shown.contains(&format!("span.name={name} ")));
            prop_assert_eq!(key.map_or(0, |(_, examples)| examples.len()), traces.len().min(3));
        }
    }

    #[test]
    fn no_bytes_make_the_reader_panic(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        _ = Sums::read(&bytes);
        _ = Exemplars::read(&bytes);
    }
}
