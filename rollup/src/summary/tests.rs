//! Summaries of all three signals, of two cores, as bytes and put together.

mod coarse;

use super::*;
use crate::metrics::plan::{Action, Aggregate, Bounds, Rule, Selection};
use crate::skeletons::{DroppedTrace, Skeletons, SkeletonsPlan};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue as Attribute, any_value::Value};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::metrics::v1::{
    Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, number_data_point,
};
use proptest::prelude::*;
use prost::Message;

const SECOND: u64 = 1_000_000_000;
const SEED: u64 = 7;
const DELTA: i32 = 1;

fn plan() -> SummaryPlan {
    let aggregate =
        Aggregate { window_nanos: SECOND, attributes: Selection::Without(vec!["pod".into()]), ..Aggregate::default() };
    let rules = vec![Rule::new("*", Action::Aggregate(aggregate))];
    SummaryPlan {
        spans: None,
        graph: None,
        metrics: Some(MetricsPlan { rules, bounds: Bounds::default() }),
        logs: Some(PatternsPlan::default()),
        skeletons: Some(SkeletonsPlan { shapes_max: 10 }),
    }
}

fn tallies() -> Tallies {
    Tallies::new(&plan(), 0, SEED).unwrap()
}

fn text(key: &str, value: &str) -> Attribute {
    let value = Some(AnyValue { value: Some(Value::StringValue(value.into())) });
    Attribute { key: key.into(), value, ..Attribute::default() }
}

/// A delta of a sum, of a pod.
fn metrics(value: i64, pod: &str) -> Vec<u8> {
    let point = NumberDataPoint {
        start_time_unix_nano: 1,
        time_unix_nano: 2,
        value: Some(number_data_point::Value::AsInt(value)),
        attributes: vec![text("pod", pod)],
        ..NumberDataPoint::default()
    };
    let sum = Sum { data_points: vec![point], aggregation_temporality: DELTA, is_monotonic: true };
    let metric = Metric { name: "requests".into(), data: Some(Data::Sum(sum)), ..Metric::default() };
    let scope_metrics = vec![ScopeMetrics { metrics: vec![metric], ..ScopeMetrics::default() }];
    let resource_metrics = vec![ResourceMetrics { scope_metrics, ..ResourceMetrics::default() }];
    ExportMetricsServiceRequest { resource_metrics }.encode_to_vec()
}

fn lines(body: &str, count: usize) -> Vec<u8> {
    let body = Some(AnyValue { value: Some(Value::StringValue(body.into())) });
    let log_records = vec![LogRecord { time_unix_nano: 5, body, ..LogRecord::default() }; count];
    let scope_logs = vec![ScopeLogs { log_records, ..ScopeLogs::default() }];
    ExportLogsServiceRequest { resource_logs: vec![ResourceLogs { scope_logs, ..ResourceLogs::default() }] }
        .encode_to_vec()
}

fn count(tallies: &mut Tallies, value: i64, lines_count: usize) {
    let taken = tallies.take_metrics(&metrics(value, &format!("pod-{value}")), SECOND, true).unwrap();
    assert_eq!(taken.merged, 1);
    tallies.count_logs(&lines(&format!("took {value} ms"), lines_count), SECOND);
}

fn written(summary: &Summary) -> Vec<u8> {
    let mut bytes = Vec::new();
    summary.write(&mut bytes);
    bytes
}

/// What the emission of a window says: the sum that it tells since the start, and how many lines.
fn told(outputs: &mut Outputs, summary: Summary, now: u64) -> (i64, i64) {
    let (mut sum, mut count) = (0, 0);
    for body in outputs.emit(summary, now, true) {
        match body.signal {
            Signal::Traces => unreachable!("summaries are no spans"),
            Signal::Metrics => {
                let request = ExportMetricsServiceRequest::decode(&*body.bytes).unwrap();
                let scopes = request.resource_metrics.iter().flat_map(|resource| &resource.scope_metrics);
                for metric in scopes.flat_map(|scope| &scope.metrics) {
                    let Some(Data::Sum(told)) = &metric.data else { panic!("{metric:?}") };
                    assert_eq!(told.data_points.len(), 1, "pods are one series");
                    let Some(number_data_point::Value::AsInt(value)) = told.data_points[0].value else { panic!() };
                    sum += value;
                }
            }
            Signal::Logs => {
                let request = ExportLogsServiceRequest::decode(&*body.bytes).unwrap();
                let scopes = request.resource_logs.iter().flat_map(|resource| &resource.scope_logs);
                let records: Vec<_> = scopes.flat_map(|scope| &scope.log_records).collect();
                assert_eq!(body.items as usize, records.len());
                for attribute in records.iter().flat_map(|record| &record.attributes) {
                    if attribute.key == "tailwater.pattern.count"
                        && let Some(Value::IntValue(value)) = attribute.value.as_ref().unwrap().value
                    {
                        count += value;
                    }
                }
            }
        }
    }
    assert_eq!(outputs.damaged, 0);
    (sum, count)
}

fn outputs(carried: &[u8]) -> Outputs {
    Outputs::new(&plan(), carried, SEED, SECOND).unwrap()
}

/// `Tallies::take_into` without `summary.open.clear()` counts what is in one checkpoint again in the next; `Summary::read`
/// without `parts.push` loses it.
#[test]
fn checkpoints_of_a_window_take_the_place_of_one_another() {
    let (mut tallies, mut summary) = (tallies(), Summary::default());
    count(&mut tallies, 5, 2);
    tallies.take_into(&mut summary, 1);
    count(&mut tallies, 6, 3);
    tallies.take_into(&mut summary, 1);
    tallies.take_into(&mut summary, 1);
    assert!(!summary.is_empty());
    let read = Summary::read(&written(&summary)).unwrap();
    assert_eq!(told(&mut outputs(&[]), read, 3 * SECOND), (11, 5));
}

/// `Tallies::close_into` without `take_partial` or `begin_window` tells a window again in the next.
#[test]
fn what_comes_after_a_window_is_closed_is_for_the_next() {
    let (mut tallies, mut first, mut second) = (tallies(), Summary::default(), Summary::default());
    count(&mut tallies, 5, 2);
    tallies.close_into(&mut first, 1);
    count(&mut tallies, 6, 3);
    tallies.close_into(&mut second, 1);
    let mut outputs = outputs(&[]);
    assert_eq!(told(&mut outputs, first, 3 * SECOND), (5, 2));
    assert_eq!(told(&mut outputs, second, 5 * SECOND), (11, 3), "sums since the start, lines of the window");
}

/// `Summary::merge` without `other.open` loses what a core had counted in a window that was open when it crashed.
#[test]
fn what_cores_have_counted_adds_up() {
    let summaries = [5, 7].map(|value| {
        let (mut tallies, mut summary) = (tallies(), Summary::default());
        count(&mut tallies, value, 2);
        tallies.close_into(&mut summary, 1);
        count(&mut tallies, value, 1);
        tallies.take_into(&mut summary, 1);
        summary
    });
    let mut all = Summary::default();
    assert!(all.is_empty());
    summaries.into_iter().for_each(|summary| all.merge(summary));
    assert_eq!(told(&mut outputs(&[]), all, 3 * SECOND), (24, 6));
}

/// Without `metrics.merge` in `Outputs::new` a cumulative sum begins at nothing after a crash, and without `self.carried` in
/// `Outputs::emit` it would be as of another emission.
#[test]
fn what_is_carried_goes_on_after_a_crash() {
    let window = |value| {
        let (mut tallies, mut summary) = (tallies(), Summary::default());
        count(&mut tallies, value, 1);
        tallies.close_into(&mut summary, 1);
        summary
    };
    let mut before = outputs(&[]);
    assert!(before.carried().is_empty());
    assert_eq!(told(&mut before, window(5), 3 * SECOND), (5, 1));
    let mut after = outputs(before.carried());
    assert_eq!(told(&mut after, window(6), 5 * SECOND), (11, 1));
    assert_eq!(outputs(&[0xff, 1, 2]).damaged, 1);
}

/// Without the last arm of `take_part` a start with fewer kinds says that its log is damaged; with it for all, damage is not
/// told.
/// Fails where `take_into` adds to what it said before, or `close_into` leaves it for the next window.
#[test]
fn skeletons_of_a_window_are_told_once() {
    let (mut tallies, mut outputs, mut shard) =
        (tallies(), outputs(&[]), Skeletons::new(SkeletonsPlan { shapes_max: 10 }, SEED));
    let mut summary = Summary::default();
    for _ in 0..3 {
        shard.open(0);
        shard.dropped(0, &DroppedTrace { trace_id: [1; 16], spans: 1, start_unix_nano: 1, end_unix_nano: 2 });
        tallies.add_skeletons(shard.take());
        tallies.take_into(&mut summary, 1);
    }
    tallies.close_into(&mut summary, 1);
    let (bodies, mut next) = (outputs.emit(summary, 9, false), Summary::default());
    let [body] = &bodies[..] else { panic!("one request: {bodies:?}") };
    assert_eq!((body.signal, body.items), (Signal::Logs, 1));
    let request = ExportLogsServiceRequest::decode(body.bytes.as_slice()).unwrap();
    let attributes = &request.resource_logs[0].scope_logs[0].log_records[0].attributes;
    let count = attributes.iter().find(|pair| pair.key == "tailwater.skeleton.count").unwrap();
    assert_eq!(count.value, Some(AnyValue { value: Some(Value::IntValue(3)) }));
    tallies.close_into(&mut next, 1);
    assert!(next.is_empty(), "and no more in the next window");
}

#[test]
fn what_is_no_longer_summed_up_is_passed_over_and_damage_is_counted() {
    let (mut tallies, mut summary) = (tallies(), Summary::default());
    count(&mut tallies, 5, 2);
    tallies.close_into(&mut summary, 1);
    let none = SummaryPlan::default();
    assert!(none.is_empty() && !plan().is_empty());
    let mut outputs = Outputs::new(&none, &[], SEED, SECOND).unwrap();
    assert!(outputs.emit(summary, 3 * SECOND, true).is_empty());
    assert_eq!(outputs.damaged, 0);
    let damaged = Summary::read(&[KIND_METRICS, 1, 0, 0, 0, 0xff, KIND_LOGS, 1, 0, 0, 0, 0xff]).unwrap();
    let mut outputs = self::outputs(&[]);
    outputs.emit(damaged, 3 * SECOND, true);
    assert_eq!(outputs.damaged, 2);
}

proptest! {
    /// An index in place of `split_first_chunk` or `split_at_checked` in `Summary::read`, or a length that is believed in what
    /// reads the parts, panics here.
    #[test]
    fn no_bytes_panic(at in 0..400_usize, byte in any::<u8>(), length in 0..400_usize, noise in proptest::collection::vec(any::<u8>(), 0..80)) {
        let (mut tallies, mut summary) = (tallies(), Summary::default());
        count(&mut tallies, 5, 2);
        tallies.close_into(&mut summary, 1);
        let mut bytes = written(&summary);
        let at = at % bytes.len();
        bytes[at] = byte;
        bytes.truncate(bytes.len() - length % bytes.len());
        for bytes in [bytes, noise] {
            if let Ok(summary) = Summary::read(&bytes) {
                outputs(&[]).emit(summary, 3 * SECOND, true);
            }
        }
    }
}
