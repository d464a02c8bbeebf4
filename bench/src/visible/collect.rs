//! Reads things off OTLP messages and off the rounds of the generator.

use super::{Kind, Visible};
use crate::corpus::plan::{RoundPlan, Value as Planned};
use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::metrics::v1::Metric;
use opentelemetry_proto::tonic::metrics::v1::metric::Data;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::status::StatusCode;
use prost::Message as _;
use tailwater_proto::otlp::Signal;

/// The attribute of span metrics that says how a span ended, and its value for those that failed.
const STATUS: &str = "status.code";
const STATUS_ERROR: &str = "STATUS_CODE_ERROR";

impl Visible {
    /// Notes what is in a request in protobuf; `None` where it is none of that signal.
    pub fn record(&mut self, signal: Signal, message: &[u8]) -> Option<()> {
        match signal {
            Signal::Traces => self.traces(&ExportTraceServiceRequest::decode(message).ok()?),
            Signal::Metrics => self.metrics(&ExportMetricsServiceRequest::decode(message).ok()?),
            Signal::Logs => self.logs(&ExportLogsServiceRequest::decode(message).ok()?),
        }
        Some(())
    }

    fn traces(&mut self, request: &ExportTraceServiceRequest) {
        for resource in &request.resource_spans {
            let service = service(resource.resource.as_ref());
            self.see(Kind::Service, service, service);
            for span in resource.scope_spans.iter().flat_map(|scope| &scope.spans) {
                self.see(Kind::Operation, service, &span.name);
                if span.status.as_ref().is_some_and(|status| status.code == StatusCode::Error as i32) {
                    self.see(Kind::Failing, service, &span.name);
                }
                for event in &span.events {
                    if let Some(kind) = text(&event.attributes, "exception.type") {
                        self.see(Kind::Exception, service, kind);
                    }
                }
            }
        }
    }

    /// Notes what is in a request of metrics, span metrics among them.
    pub fn metrics(&mut self, request: &ExportMetricsServiceRequest) {
        for resource in &request.resource_metrics {
            let service = service(resource.resource.as_ref());
            self.see(Kind::Service, service, service);
            for metric in resource.scope_metrics.iter().flat_map(|scope| &scope.metrics) {
                for attributes in points(metric) {
                    if let Some(route) = text(attributes, "http.route") {
                        self.see(Kind::Route, service, route);
                    }
                    let Some(operation) = text(attributes, "span.name") else { continue };
                    self.see(Kind::Operation, service, operation);
                    if text(attributes, STATUS) == Some(STATUS_ERROR) {
                        self.see(Kind::Failing, service, operation);
                    }
                }
            }
        }
    }

    /// Notes what is in a request of log records, patterns among them: the body of one is its template.
    pub fn logs(&mut self, request: &ExportLogsServiceRequest) {
        for resource in &request.resource_logs {
            let service = service(resource.resource.as_ref());
            self.see(Kind::Service, service, service);
            for record in resource.scope_logs.iter().flat_map(|scope| &scope.log_records) {
                let body = record.body.as_ref().and_then(|body| body.value.as_ref());
                if let Some(Value::StringValue(line)) = body {
                    self.see_line(service, &record.severity_text, line);
                }
            }
        }
    }

    /// Notes what the spans of a round show.
    pub fn round(&mut self, round: &RoundPlan) {
        for request in &round.requests {
            let name = request.resource.iter().find(|(key, _)| *key == "service.name");
            let Some((_, Planned::Text(service))) = name else { continue };
            self.see(Kind::Service, service, service);
            for span in &request.spans {
                self.see(Kind::Operation, service, span.name);
                if let Some((kind, _)) = span.exception {
                    self.see(Kind::Failing, service, span.name);
                    self.see(Kind::Exception, service, kind);
                }
            }
        }
    }
}

fn service(resource: Option<&Resource>) -> &str {
    resource.and_then(|resource| text(&resource.attributes, "service.name")).unwrap_or_default()
}

fn text<'a>(attributes: &'a [KeyValue], key: &str) -> Option<&'a str> {
    let attribute = attributes.iter().find(|attribute| attribute.key == key)?;
    match attribute.value.as_ref()?.value.as_ref()? {
        Value::StringValue(text) => Some(text),
        _ => None,
    }
}

/// The attributes of each point.
fn points(metric: &Metric) -> Vec<&[KeyValue]> {
    match &metric.data {
        Some(Data::Gauge(gauge)) => gauge.data_points.iter().map(|point| &point.attributes[..]).collect(),
        Some(Data::Sum(sum)) => sum.data_points.iter().map(|point| &point.attributes[..]).collect(),
        Some(Data::Histogram(histogram)) => histogram.data_points.iter().map(|point| &point.attributes[..]).collect(),
        Some(Data::ExponentialHistogram(histogram)) => {
            histogram.data_points.iter().map(|point| &point.attributes[..]).collect()
        }
        Some(Data::Summary(summary)) => summary.data_points.iter().map(|point| &point.attributes[..]).collect(),
        None => Vec::new(),
    }
}
