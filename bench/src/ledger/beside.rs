//! What came of logs and metrics: records and points by service, and what summaries among them stand for.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{InstrumentationScope, KeyValue};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::number_data_point;
use opentelemetry_proto::tonic::metrics::v1::{AggregationTemporality, Metric, NumberDataPoint};
use opentelemetry_proto::tonic::resource::v1::Resource;
use prost::Message as _;
use serde_json::json;
use std::collections::{BTreeMap, HashMap};
use tailwater_proto::otlp::Signal;

/// The scope of span metrics, as the Collector's connector calls it.
const SPAN_METRICS: &str = "spanmetricsconnector";
/// The scope of patterns of logs, and the attribute with their count.
const PATTERNS: &str = "tailwater.log_patterns";
const PATTERN_COUNT: &str = "tailwater.pattern.count";
/// Series whose latest value is remembered.
/// At the bound: further ones are counted in `overflow`.
const SERIES_MAX: usize = 1 << 20;

/// What came of one service.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Seen {
    /// log records that are no patterns
    pub records: u64,
    /// records that patterns stand for
    pub pattern_records: u64,
    /// metric points that are no span metrics
    pub points: u64,
    /// spans that span metrics stand for
    pub calls: u64,
    /// by how much delta sums have risen
    pub delta: u64,
}

impl Seen {
    fn add(&mut self, other: Self) {
        self.records += other.records;
        self.pattern_records += other.pattern_records;
        self.points += other.points;
        self.calls += other.calls;
        self.delta += other.delta;
    }
}

/// What came of logs and metrics.
#[derive(Clone, Debug, Default)]
pub struct Beside {
    services: BTreeMap<String, Seen>,
    /// patterns that came: one for each window
    patterns: u64,
    /// points of span metrics that came
    span_metric_points: u64,
    /// by series the latest value of a cumulative `calls`, its time and its service
    calls: HashMap<Vec<u8>, (u64, u64, String)>,
    bytes: [u64; 2],
    overflow: u64,
}

impl Beside {
    /// Notes a request in protobuf; `None` where it is none of that signal.
    pub fn record(&mut self, signal: Signal, message: &[u8]) -> Option<()> {
        match signal {
            Signal::Logs => self.logs(&ExportLogsServiceRequest::decode(message).ok()?),
            Signal::Metrics => self.metrics(&ExportMetricsServiceRequest::decode(message).ok()?),
            Signal::Traces => return None,
        }
        self.bytes[usize::from(signal == Signal::Metrics)] += message.len() as u64;
        Some(())
    }

    /// Bytes of messages of logs, then of metrics.
    #[must_use]
    pub const fn bytes(&self) -> [u64; 2] {
        self.bytes
    }

    /// Nothing came.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.bytes == [0, 0]
    }

    fn logs(&mut self, request: &ExportLogsServiceRequest) {
        for resource in &request.resource_logs {
            let seen = self.services.entry(service(resource.resource.as_ref())).or_default();
            for scope in &resource.scope_logs {
                if is_scope(scope.scope.as_ref(), PATTERNS) {
                    self.patterns += scope.log_records.len() as u64;
                    let counts = scope.log_records.iter().map(|record| integer(&record.attributes, PATTERN_COUNT));
                    seen.pattern_records += counts.sum::<u64>();
                } else {
                    seen.records += scope.log_records.len() as u64;
                }
            }
        }
    }

    fn metrics(&mut self, request: &ExportMetricsServiceRequest) {
        for resource in &request.resource_metrics {
            let service = service(resource.resource.as_ref());
            for scope in &resource.scope_metrics {
                let are_calls = is_scope(scope.scope.as_ref(), SPAN_METRICS);
                for metric in &scope.metrics {
                    let count = points(metric);
                    if are_calls {
                        self.span_metric_points += count;
                    } else {
                        self.services.entry(service.clone()).or_default().points += count;
                    }
                    let Some(Data::Sum(sum)) = &metric.data else { continue };
                    let is_delta = sum.aggregation_temporality == AggregationTemporality::Delta as i32;
                    for point in &sum.data_points {
                        match (are_calls, is_delta) {
                            (true, false) => self.cumulative(&service, resource.resource.as_ref(), metric, point),
                            (true, true) => self.services.entry(service.clone()).or_default().calls += value(point),
                            (false, true) => self.services.entry(service.clone()).or_default().delta += value(point),
                            (false, false) => {}
                        }
                    }
                }
            }
        }
    }

    /// The latest value of a series holds.
    fn cumulative(&mut self, service: &str, resource: Option<&Resource>, metric: &Metric, point: &NumberDataPoint) {
        let mut key = metric.name.clone().into_bytes();
        let attributes = resource.into_iter().flat_map(|resource| &resource.attributes).chain(&point.attributes);
        for attribute in attributes {
            key.push(0xff);
            key.extend(attribute.encode_to_vec());
        }
        // A start begins anew: what was told before it stays.
        key.extend(point.start_time_unix_nano.to_le_bytes());
        if self.calls.len() >= SERIES_MAX && !self.calls.contains_key(&key) {
            self.overflow += 1;
            return;
        }
        let latest = self.calls.entry(key).or_insert_with(|| (0, 0, service.to_owned()));
        if point.time_unix_nano >= latest.1 {
            (latest.0, latest.1) = (value(point), point.time_unix_nano);
        }
    }

    /// What came, by service.
    #[must_use]
    pub fn by_service(&self) -> BTreeMap<String, Seen> {
        let mut services = self.services.clone();
        for (calls, _, service) in self.calls.values() {
            services.entry(service.clone()).or_default().calls += calls;
        }
        services
    }

    /// The outcome for people and for programs.
    #[must_use]
    pub fn line(&self) -> crate::output::Line {
        let services = self.by_service();
        let mut all = Seen::default();
        services.values().for_each(|seen| all.add(*seen));
        let [log_bytes, metric_bytes] = self.bytes;
        let text = format!(
            "logs     {} records, and {} patterns of {} records, in {log_bytes} bytes\n\
             metrics  {} points, delta sums rose by {}, and {} points of span metrics of {} calls, in {metric_bytes} bytes",
            all.records, self.patterns, all.pattern_records, all.points, all.delta, self.span_metric_points, all.calls,
        );
        let by_service: serde_json::Map<_, _> = services
            .into_iter()
            .map(|(service, seen)| {
                let told = json!({
                    "records": seen.records, "pattern_records": seen.pattern_records, "points": seen.points,
                    "calls": seen.calls, "delta": seen.delta,
                });
                (service, told)
            })
            .collect();
        let json = json!({
            "records": all.records, "patterns": self.patterns, "pattern_records": all.pattern_records,
            "log_bytes": log_bytes, "points": all.points, "delta": all.delta,
            "span_metric_points": self.span_metric_points, "calls": all.calls, "metric_bytes": metric_bytes,
            "overflow": self.overflow, "by_service": by_service,
        });
        crate::output::Line { text, json }
    }
}

fn service(resource: Option<&Resource>) -> String {
    let attributes = resource.map_or(&[][..], |resource| &resource.attributes);
    match attributes.iter().find(|attribute| attribute.key == "service.name").and_then(kind) {
        Some(Value::StringValue(name)) => name.clone(),
        _ => String::new(),
    }
}

fn kind(attribute: &KeyValue) -> Option<&Value> {
    attribute.value.as_ref()?.value.as_ref()
}

fn integer(attributes: &[KeyValue], name: &str) -> u64 {
    match attributes.iter().find(|attribute| attribute.key == name).and_then(kind) {
        Some(Value::IntValue(value)) => u64::try_from(*value).unwrap_or(0),
        _ => 0,
    }
}

fn is_scope(scope: Option<&InstrumentationScope>, name: &str) -> bool {
    scope.is_some_and(|scope| scope.name == name)
}

fn value(point: &NumberDataPoint) -> u64 {
    match point.value {
        Some(number_data_point::Value::AsInt(value)) => u64::try_from(value).unwrap_or(0),
        _ => 0,
    }
}

fn points(metric: &Metric) -> u64 {
    let count = match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.len(),
        Some(Data::Sum(sum)) => sum.data_points.len(),
        Some(Data::Histogram(histogram)) => histogram.data_points.len(),
        Some(Data::ExponentialHistogram(histogram)) => histogram.data_points.len(),
        Some(Data::Summary(summary)) => summary.data_points.len(),
        None => 0,
    };
    count as u64
}
