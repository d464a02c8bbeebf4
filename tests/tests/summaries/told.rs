//! What a next hop was told: summaries added up, and what passed beside them. A body that came twice counts once, as the
//! program promises that what it sends again is the same.

use super::Kind;
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value};
use opentelemetry_proto::tonic::metrics::v1::{Metric, NumberDataPoint, metric::Data, number_data_point};
use opentelemetry_proto::tonic::resource::v1::Resource;
use std::collections::{BTreeMap, BTreeSet};
use tailwater_tests::next_hop::Server;

/// The scope of the service graph.
const GRAPH: &str = "traces_service_graph";

/// All that came so far.
#[derive(Debug, Default)]
pub struct Told {
    /// Bodies with their paths.
    bodies: BTreeSet<(String, Vec<u8>)>,
    /// Requests of summaries that came, those that came twice each time.
    pub requests: usize,
}

fn text_of<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The attributes of an edge, but for the node that tells it.
fn edge(attributes: &[KeyValue]) -> String {
    let value = |attribute: &KeyValue| match attribute.value.clone().and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::BoolValue(truth)) => truth.to_string(),
        other => panic!("{other:?}"),
    };
    let own = attributes.iter().filter(|attribute| attribute.key != "collector.instance.id");
    own.map(|attribute| format!("{}={}", attribute.key, value(attribute))).collect::<Vec<_>>().join(" ")
}

fn int_of(attributes: &[KeyValue], key: &str) -> i64 {
    let attribute = attributes.iter().find(|attribute| attribute.key == key).unwrap();
    let Some(Value::IntValue(value)) = attribute.value.as_ref().unwrap().value else { panic!("{attribute:?}") };
    value
}

fn service(resource: Option<&Resource>) -> String {
    text_of(&resource.unwrap().attributes, "service.name").unwrap_or_default().to_string()
}

fn value(point: &NumberDataPoint) -> i64 {
    let Some(number_data_point::Value::AsInt(value)) = point.value else { panic!("{point:?}") };
    value
}

impl Told {
    /// Takes what came since the last time.
    pub fn take(&mut self, server: &Server) {
        let bodies = server.take_requests();
        self.requests += bodies.len();
        self.bodies.extend(bodies);
    }

    /// The requests of a signal.
    fn requests_of<M: prost::Message + Default>(&self, kind: Kind) -> impl Iterator<Item = M> {
        let bodies = self.bodies.iter().filter(move |(path, _)| path == kind.path());
        bodies.map(|(_, body)| M::decode(&**body).unwrap())
    }

    /// Metrics with the service and the scope that tell them.
    fn scoped_metrics(&self) -> Vec<(String, String, Metric)> {
        let requests = self.requests_of::<ExportMetricsServiceRequest>(Kind::Points);
        let resources = requests.flat_map(|request| request.resource_metrics);
        let metrics = resources.flat_map(|resource| {
            let service = service(resource.resource.as_ref());
            resource.scope_metrics.into_iter().flat_map(move |scope| {
                let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
                let of = (service.clone(), name);
                scope.metrics.into_iter().map(move |metric| (of.0.clone(), of.1.clone(), metric))
            })
        });
        metrics.collect()
    }

    fn metrics(&self) -> impl Iterator<Item = (String, Metric)> {
        let all = self.scoped_metrics().into_iter().filter(|(_, scope, _)| scope != GRAPH);
        all.map(|(service, _, metric)| (service, metric))
    }

    /// What each metric of the service graph tells of each edge: of sums the value, of histograms the count. A row is told since
    /// its start: the last of each start is all of it.
    pub fn edges(&self) -> BTreeMap<(String, String), u64> {
        let mut rows: BTreeMap<(String, String, u64), u64> = BTreeMap::new();
        for (_, _, metric) in self.scoped_metrics().into_iter().filter(|(_, scope, _)| scope == GRAPH) {
            let name = metric.name.strip_prefix("traces_service_graph_").unwrap().to_string();
            let mut put = |attributes: &[KeyValue], start: u64, value: u64| {
                let most = rows.entry((name.clone(), edge(attributes), start)).or_default();
                *most = value.max(*most);
            };
            match metric.data.unwrap() {
                Data::Sum(sum) => sum.data_points.iter().for_each(|point| {
                    put(&point.attributes, point.start_time_unix_nano, u64::try_from(value(point)).unwrap());
                }),
                Data::Histogram(histogram) => histogram.data_points.iter().for_each(|point| {
                    put(&point.attributes, point.start_time_unix_nano, point.count);
                }),
                other => panic!("{other:?}"),
            }
        }
        let mut edges = BTreeMap::new();
        for ((name, edge, _), value) in rows {
            *edges.entry((name, edge)).or_default() += value;
        }
        edges
    }

    /// Services with what the log records of theirs said that came as they were sent.
    pub fn records(&self) -> BTreeMap<(String, String), usize> {
        let mut records = BTreeMap::new();
        for (service, scope, body, _) in self.log_records() {
            if !scope.starts_with("tailwater") {
                *records.entry((service, body)).or_default() += 1;
            }
        }
        records
    }

    /// Services with how many records their patterns count.
    pub fn patterns(&self) -> BTreeMap<String, i64> {
        let mut patterns = BTreeMap::new();
        for (service, scope, _, attributes) in self.log_records() {
            if scope == "tailwater.log_patterns" {
                *patterns.entry(service).or_default() += int_of(&attributes, "tailwater.pattern.count");
            }
        }
        patterns
    }

    /// Shapes of dropped traces in words, with how many these were, their spans, and the example.
    pub fn skeletons(&self) -> BTreeMap<String, (i64, i64, String)> {
        let mut skeletons = BTreeMap::new();
        for (_, scope, body, attributes) in self.log_records() {
            if scope == "tailwater.skeletons" {
                let (count, spans, example) = skeletons.entry(body).or_insert((0, 0, String::new()));
                *count += int_of(&attributes, "tailwater.skeleton.count");
                *spans += int_of(&attributes, "tailwater.skeleton.spans");
                *example = text_of(&attributes, "tailwater.skeleton.example_trace_id").unwrap().to_string();
            }
        }
        skeletons
    }

    fn log_records(&self) -> Vec<(String, String, String, Vec<KeyValue>)> {
        let mut records = Vec::new();
        for request in self.requests_of::<ExportLogsServiceRequest>(Kind::Lines) {
            for resource in request.resource_logs {
                let service = service(resource.resource.as_ref());
                for scope in resource.scope_logs {
                    let name = scope.scope.map(|scope| scope.name).unwrap_or_default();
                    for record in scope.log_records {
                        let Some(Value::StringValue(body)) = record.body.and_then(|body| body.value) else { continue };
                        records.push((service.clone(), name.clone(), body, record.attributes));
                    }
                }
            }
        }
        records
    }

    /// What each request counted for, by its kind and number.
    pub fn counts(&self) -> BTreeMap<(Kind, u64), i64> {
        let mut counts = BTreeMap::new();
        let number = |service: &str| service[1..].parse::<u64>().unwrap();
        // Calls are told since the start of the series: the last of each start is all of it.
        let mut calls: BTreeMap<(u64, u64, String), i64> = BTreeMap::new();
        for (service, metric) in self.metrics() {
            let Some(Data::Sum(sum)) = &metric.data else { continue };
            for point in &sum.data_points {
                if metric.name.ends_with(".calls") {
                    let series = format!("{:?}", point.attributes);
                    let calls = calls.entry((number(&service), point.start_time_unix_nano, series)).or_default();
                    *calls = value(point).max(*calls);
                } else {
                    assert_eq!((&*metric.name, sum.aggregation_temporality), ("req.count", 1));
                    assert!(point.attributes.is_empty(), "points of all processes are one: {point:?}");
                    *counts.entry((Kind::Points, number(&service))).or_default() += value(point);
                }
            }
        }
        for ((number, ..), value) in calls {
            *counts.entry((Kind::Spans, number)).or_default() += value;
        }
        for (service, count) in self.patterns() {
            *counts.entry((Kind::Lines, number(&service))).or_default() += count;
        }
        counts
    }
}
