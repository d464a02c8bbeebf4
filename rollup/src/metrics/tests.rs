//! Requests in, requests out: what is merged is compared with what the reference types say was sent.

mod cumulative;
mod hostile;
mod laws;
mod rules;

use super::plan::{Action, Aggregate, Bounds, MetricsPlan, Rule, Selection};
use super::{MetricSums, Metrics, MetricsPartial, Passing, Taken};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, InstrumentationScope, KeyValue, any_value};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint,
    ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message;
use std::collections::BTreeMap;

const SECOND: u64 = 1_000_000_000;
const SEED: u64 = 7;
/// When the sums of a test begin.
const SINCE: u64 = 1_000 * SECOND;
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;

fn key_value(key: &str, value: &str) -> KeyValue {
    let value = Some(AnyValue { value: Some(any_value::Value::StringValue(value.into())) });
    KeyValue { key: key.into(), value, ..KeyValue::default() }
}

fn attributes(list: &[(&str, &str)]) -> Vec<KeyValue> {
    list.iter().map(|(key, value)| key_value(key, value)).collect()
}

fn int(start: u64, time: u64, value: i64, list: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        value: Some(number_data_point::Value::AsInt(value)),
        attributes: attributes(list),
        ..NumberDataPoint::default()
    }
}

fn double(start: u64, time: u64, value: f64, list: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint { value: Some(number_data_point::Value::AsDouble(value)), ..int(start, time, 0, list) }
}

/// A point that ends its series.
fn end(start: u64, time: u64, list: &[(&str, &str)]) -> NumberDataPoint {
    NumberDataPoint { value: None, flags: 1, ..int(start, time, 0, list) }
}

fn sum(name: &str, temporality: i32, is_monotonic: bool, data_points: Vec<NumberDataPoint>) -> Metric {
    let data = Data::Sum(Sum { data_points, aggregation_temporality: temporality, is_monotonic });
    Metric { name: name.into(), unit: "1".into(), data: Some(data), ..Metric::default() }
}

fn gauge(name: &str, data_points: Vec<NumberDataPoint>) -> Metric {
    Metric { name: name.into(), data: Some(Data::Gauge(Gauge { data_points })), ..Metric::default() }
}

fn histogram(name: &str, aggregation_temporality: i32, data_points: Vec<HistogramDataPoint>) -> Metric {
    let data = Data::Histogram(Histogram { data_points, aggregation_temporality });
    Metric { name: name.into(), data: Some(data), ..Metric::default() }
}

fn exponential(name: &str, aggregation_temporality: i32, data_points: Vec<ExponentialHistogramDataPoint>) -> Metric {
    let data = Data::ExponentialHistogram(ExponentialHistogram { data_points, aggregation_temporality });
    Metric { name: name.into(), data: Some(data), ..Metric::default() }
}

fn request_of(resource: &[(&str, &str)], metrics: Vec<Metric>) -> Vec<u8> {
    let scope = InstrumentationScope { name: "scope".into(), version: "1".into(), ..InstrumentationScope::default() };
    let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
    let resource = Some(Resource { attributes: attributes(resource), ..Resource::default() });
    let resource_metrics = vec![ResourceMetrics { resource, scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn request(metrics: Vec<Metric>) -> Vec<u8> {
    request_of(&[("service.name", "shop"), ("host.name", "h1")], metrics)
}

/// All metrics are merged, of the resource `service.name` is kept and of points all but `pod`.
fn aggregate() -> Aggregate {
    Aggregate {
        attributes: Selection::Without(vec!["pod".into()]),
        resource: Selection::Only(vec!["service.name".into()]),
        ..Aggregate::default()
    }
}

fn plan_of(how: Aggregate) -> MetricsPlan {
    MetricsPlan { rules: vec![Rule::new("*", Action::Aggregate(how))], bounds: Bounds::default() }
}

fn tally(how: Aggregate) -> Metrics {
    Metrics::new(plan_of(how), SEED)
}

fn sums() -> MetricSums {
    MetricSums::new(Bounds::default(), SINCE)
}

/// A number that is told: its value, start and time.
#[derive(Debug, Clone, PartialEq)]
struct Told {
    value: number_data_point::Value,
    start: u64,
    time: u64,
}

impl Told {
    fn int(&self) -> i64 {
        match self.value {
            number_data_point::Value::AsInt(value) => value,
            number_data_point::Value::AsDouble(value) => panic!("{value} is no integer"),
        }
    }
}

fn text(list: &[KeyValue]) -> String {
    let one = |attribute: &KeyValue| match attribute.value.as_ref().and_then(|value| value.value.as_ref()) {
        Some(any_value::Value::StringValue(value)) => format!("{}={value}", attribute.key),
        other => format!("{}={other:?}", attribute.key),
    };
    list.iter().map(one).collect::<Vec<_>>().join(",")
}

/// All metrics that are told, by name, with the text of their resource.
fn metrics_told(sums: &mut MetricSums, now: u64) -> Vec<(String, Metric)> {
    let mut all = Vec::new();
    for emitted in sums.emit(now, usize::MAX, false) {
        let request = ExportMetricsServiceRequest::decode(&emitted.body[..]).unwrap();
        assert_eq!(
            tailwater_proto::otlp::check::items(tailwater_proto::otlp::Signal::Metrics, &emitted.body),
            Ok(emitted.points)
        );
        for resource in request.resource_metrics {
            let of = text(&resource.resource.unwrap_or_default().attributes);
            let metrics = resource.scope_metrics.into_iter().flat_map(|scope| scope.metrics);
            all.extend(metrics.map(|metric| (of.clone(), metric)));
        }
    }
    all
}

/// Numbers that are told, by name and attributes.
fn numbers(sums: &mut MetricSums, now: u64) -> BTreeMap<String, Told> {
    let mut all = BTreeMap::new();
    for (_, metric) in metrics_told(sums, now) {
        let points = match metric.data {
            Some(Data::Sum(Sum { data_points, .. }) | Data::Gauge(Gauge { data_points })) => data_points,
            _ => continue,
        };
        for point in points {
            let told =
                Told { value: point.value.unwrap(), start: point.start_time_unix_nano, time: point.time_unix_nano };
            let before = all.insert(format!("{}{{{}}}", metric.name, text(&point.attributes)), told);
            assert!(before.is_none(), "told twice");
        }
    }
    all
}

/// What comes of requests to one tally.
fn merged(how: Aggregate, requests: &[Vec<u8>]) -> MetricSums {
    let (mut tally, mut sums) = (tally(how), sums());
    for request in requests {
        tally.take(request, SINCE, true);
    }
    sums.merge(&tally.take_partial());
    sums
}

fn partial_of(tally: &mut Metrics) -> MetricsPartial {
    let partial = tally.take_partial();
    assert_eq!(MetricsPartial::from_bytes(&partial.to_bytes()).as_ref(), Ok(&partial));
    partial
}
