//! Metrics of the services of the corpus: delta and cumulative sums, gauges and histograms, with attributes of which some have
//! hundreds of values.

use super::logs::{attribute, resource};
use super::vocabulary::{METHODS, ROUTES};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point::Value;
use opentelemetry_proto::tonic::metrics::v1::{
    Gauge, Histogram, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum,
};

/// Values of the attribute that has many.
const PODS: u32 = 200;
/// Streams of a cumulative sum, of each service of a worker.
const STREAMS: usize = 64;
/// Bounds of histograms, seconds.
const BOUNDS: [f64; 8] = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1.0, 5.0];
/// Values of `AggregationTemporality`.
const DELTA: i32 = 1;
const CUMULATIVE: i32 = 2;
/// Kinds of metrics of a request: points are a multiple of it.
pub const KINDS: u32 = 4;

/// What a worker's sources remember between two requests.
#[derive(Clone, Debug)]
pub struct Sources {
    worker: u64,
    started_unix_nanos: u64,
    /// for each service what cumulative sums have come to, and when its deltas end
    services: Vec<([u64; STREAMS], u64)>,
}

/// A request, and what it adds.
#[derive(Clone, Debug)]
pub struct MetricsRequest {
    /// what is sent
    pub request: ExportMetricsServiceRequest,
    /// points in it
    pub points: u64,
    /// by how much its delta sums rise
    pub delta: u64,
}

impl Sources {
    /// Sources that have counted nothing.
    #[must_use]
    pub fn new(worker: u64, services: u16, started_unix_nanos: u64) -> Self {
        let services = vec![([0; STREAMS], started_unix_nanos); usize::from(services)];
        Self { worker, started_unix_nanos, services }
    }

    /// A request of `points` points of a service, in equal parts of each kind.
    #[must_use]
    pub fn request(
        &mut self,
        service: u16,
        points: u32,
        unix_nanos: u64,
        random: &mut fastrand::Rng,
    ) -> MetricsRequest {
        let each = (points / KINDS).max(1);
        let (worker, started) = (self.worker, self.started_unix_nanos);
        let (totals, since) = &mut self.services[usize::from(service)];
        let from = std::mem::replace(since, unix_nanos);
        let mut delta = 0;
        let point = |start: u64, value: Value, attributes: Vec<KeyValue>| NumberDataPoint {
            start_time_unix_nano: start,
            time_unix_nano: unix_nanos,
            value: Some(value),
            attributes,
            ..NumberDataPoint::default()
        };
        let requests = (0..each).map(|_| {
            let more = random.u32(1..20);
            delta += u64::from(more);
            point(from, Value::AsInt(i64::from(more)), labels(random))
        });
        let requests = sum("http.server.requests", "{request}", DELTA, requests.collect());
        let jobs = (0..each).map(|number| {
            let stream = (number as usize) % STREAMS;
            totals[stream] += random.u64(0..50);
            let total = i64::try_from(totals[stream]).unwrap_or(i64::MAX);
            point(started, Value::AsInt(total), vec![attribute("queue", &format!("queue-{stream}"))])
        });
        let jobs = sum("jobs.processed", "{job}", CUMULATIVE, jobs.collect());
        let depths = (0..each).map(|_| point(0, Value::AsDouble(random.f64() * 100.0), labels(random))).collect();
        let depth = metric("queue.depth", "{job}", Data::Gauge(Gauge { data_points: depths }));
        let durations = (0..each).map(|_| duration(from, unix_nanos, random)).collect();
        let durations = Histogram { data_points: durations, aggregation_temporality: DELTA };
        let metrics = vec![requests, jobs, depth, metric("http.server.duration", "s", Data::Histogram(durations))];
        let scope = InstrumentationScope { name: "shop.meter".to_owned(), ..InstrumentationScope::default() };
        let scope_metrics = vec![ScopeMetrics { scope: Some(scope), metrics, ..ScopeMetrics::default() }];
        let resource_metrics =
            vec![ResourceMetrics { resource: resource(service, worker), scope_metrics, ..ResourceMetrics::default() }];
        let points = u64::from(each) * u64::from(KINDS);
        MetricsRequest { request: ExportMetricsServiceRequest { resource_metrics }, points, delta }
    }
}

fn labels(random: &mut fastrand::Rng) -> Vec<KeyValue> {
    vec![
        attribute("http.route", ROUTES[random.usize(0..ROUTES.len())]),
        attribute("http.request.method", METHODS[random.usize(0..METHODS.len())]),
        attribute("pod", &format!("pod-{}", random.u32(0..PODS))),
    ]
}

fn metric(name: &str, unit: &str, data: Data) -> Metric {
    Metric { name: name.to_owned(), unit: unit.to_owned(), data: Some(data), ..Metric::default() }
}

fn sum(name: &str, unit: &str, aggregation_temporality: i32, data_points: Vec<NumberDataPoint>) -> Metric {
    metric(name, unit, Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic: true }))
}

fn duration(start: u64, unix_nanos: u64, random: &mut fastrand::Rng) -> HistogramDataPoint {
    let mut bucket_counts = vec![0; BOUNDS.len() + 1];
    let (mut count, mut sum) = (0, 0.0);
    for _ in 0..random.u8(1..10) {
        let seconds = random.f64().powi(4) * 8.0;
        bucket_counts[BOUNDS.partition_point(|bound| *bound < seconds)] += 1;
        (count, sum) = (count + 1, sum + seconds);
    }
    HistogramDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: unix_nanos,
        count,
        sum: Some(sum),
        bucket_counts,
        explicit_bounds: BOUNDS.to_vec(),
        attributes: labels(random),
        ..HistogramDataPoint::default()
    }
}
