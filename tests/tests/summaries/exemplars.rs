//! Exemplars of span metrics, told by the real program on two shards: they are spans of kept traces, whichever core counted them.

use super::{but, of_signal, send, start, stop, summaries, text};
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value::Value as Any};
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, metric::Data};
use prost::Message as _;
use serde_json::{Value, json};
use std::net::SocketAddr;
use tailwater_tests::next_hop::Server;

const TRACES: u64 = 400;
/// One in so many has an error and is kept.
const KEPT_ONE_IN: u64 = 20;
const SPANS: u64 = 3;
const EXEMPLARS_MAX: usize = 2;

fn trace_id(trace: u64) -> u128 {
    u128::from(trace + 1) << 64 | u128::from(trace + 1)
}

/// Traces of which no request has all: the first spans of all come before the second ones.
fn send_all(to: SocketAddr) {
    for number in 0..SPANS {
        let span = |trace: u64| {
            let is_failed = number == 0 && trace.is_multiple_of(KEPT_ONE_IN);
            json!({
                "traceId": format!("{:032x}", trace_id(trace)), "spanId": format!("{:016x}", trace * SPANS + number + 1),
                "name": format!("step {number}"), "kind": 1, "startTimeUnixNano": "1000000000",
                "endTimeUnixNano": (1_000_000_000 + (trace + 1) * 1_000_000).to_string(),
                "status": { "code": if is_failed { 2 } else { 0 } },
            })
        };
        let spans: Vec<Value> = (0..TRACES).map(span).collect();
        let resource = json!({ "attributes": [text("service.name", "shop")] });
        let body = json!({ "resourceSpans": [{ "resource": resource, "scopeSpans": [{ "spans": spans }] }] });
        send(to, "/v1/traces", &body.to_string());
    }
}

/// The exemplars of each data point that has any, with its metric and the span's name.
fn told(server: &Server) -> Vec<(String, String, Vec<Exemplar>)> {
    let mut told = Vec::new();
    for (path, body) in server.take_requests() {
        if path != "/v1/metrics" {
            continue;
        }
        let request = ExportMetricsServiceRequest::decode(&*body).unwrap();
        let scopes = request.resource_metrics.into_iter().flat_map(|resource| resource.scope_metrics);
        for metric in scopes.flat_map(|scope| scope.metrics) {
            let mut put = |attributes: &[KeyValue], exemplars: Vec<Exemplar>| {
                let name = attributes.iter().find(|attribute| attribute.key == "span.name").unwrap();
                let Some(Any::StringValue(name)) = name.value.clone().and_then(|value| value.value) else { panic!() };
                told.push((metric.name.clone(), name, exemplars));
            };
            match metric.data.unwrap() {
                Data::Sum(sum) => sum.data_points.into_iter().for_each(|point| put(&point.attributes, point.exemplars)),
                Data::ExponentialHistogram(histogram) => {
                    histogram.data_points.into_iter().for_each(|point| put(&point.attributes, point.exemplars));
                }
                other => panic!("{other:?}"),
            }
        }
    }
    told.retain(|(_, _, exemplars)| !exemplars.is_empty());
    told
}

/// If `Outbox::export` noted what is taken in, or `note_kept` all that is scanned, nineteen of twenty would be of dropped
/// traces. Without the parts that `take_given` adds there are none.
#[test]
fn exemplars_are_spans_of_kept_traces() {
    let server = Server::collecting();
    let most = EXEMPLARS_MAX.to_string();
    let exemplars = [("--summaries-span-metrics-exemplars-max", &*most), ("--shards", "2")];
    let mut arguments = but(&summaries(&server), &exemplars);
    arguments.push("--summaries-span-metrics-exemplars".to_string());
    let node = start(&arguments);
    send_all(node.http);
    #[allow(clippy::cast_precision_loss, reason = "counts are small")]
    let kept = (TRACES / KEPT_ONE_IN * SPANS) as f64;
    node.until(|metrics| of_signal(metrics, "tailwater_items_exported_total", "spans") == kept);
    stop(node);
    let told = told(&server);
    for (metric, name, exemplars) in &told {
        assert!(exemplars.len() <= EXEMPLARS_MAX, "{exemplars:?}");
        for exemplar in exemplars {
            let trace = (0..TRACES).find(|trace| exemplar.trace_id == trace_id(*trace).to_be_bytes()).unwrap();
            assert!(trace.is_multiple_of(KEPT_ONE_IN), "{metric} has an exemplar of trace {trace}, which was dropped");
            let number: u64 = name.strip_prefix("step ").unwrap().parse().unwrap();
            assert_eq!(exemplar.span_id, (trace * SPANS + number + 1).to_be_bytes());
        }
    }
    for metric in ["calls", "duration"] {
        let metric = format!("traces.span.metrics.{metric}");
        for name in 0..SPANS {
            let name = format!("step {name}");
            assert!(told.iter().any(|(of, span, _)| (of, span) == (&metric, &name)), "{metric} of {name}: {told:?}");
        }
    }
}
