//! Requests made from a seed, with every field of every message of OTLP.

use opentelemetry_proto::tonic::collector::logs::v1::ExportLogsServiceRequest;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{
    AnyValue, ArrayValue, EntityRef, InstrumentationScope, KeyValue, KeyValueList, any_value::Value,
};
use opentelemetry_proto::tonic::logs::v1::{LogRecord, ResourceLogs, ScopeLogs};
use opentelemetry_proto::tonic::metrics::v1::{
    Exemplar, ExponentialHistogram, ExponentialHistogramDataPoint, Gauge, Histogram, HistogramDataPoint, Metric,
    NumberDataPoint, ResourceMetrics, ScopeMetrics, Sum, Summary, SummaryDataPoint, exemplar,
    exponential_histogram_data_point::Buckets, metric::Data, number_data_point, summary_data_point::ValueAtQuantile,
};
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status, span::Event, span::Link};

/// A generator of requests. Small numbers and empty things are frequent, for that is where formats differ.
pub struct Corpus {
    state: u64,
    /// Whether requests are such as the reference reads: it wants some fields of the common messages although they are
    /// empty, and reads doubles inexactly and NaN not everywhere.
    pub for_reference: bool,
}

impl Corpus {
    /// A generator from a seed.
    pub fn new(seed: u64) -> Self {
        Self { state: seed, for_reference: false }
    }

    /// splitmix64.
    fn next(&mut self) -> u64 {
        self.state = self.state.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    fn flag(&mut self) -> bool {
        self.below(2) == 0
    }

    fn u64(&mut self) -> u64 {
        match self.below(4) {
            0 => 0,
            1 => self.below(300),
            2 => u64::MAX,
            _ => self.next(),
        }
    }

    fn i64(&mut self) -> i64 {
        self.u64() as i64
    }

    fn u32(&mut self) -> u32 {
        self.u64() as u32
    }

    fn i32(&mut self) -> i32 {
        self.u64() as i32
    }

    fn double(&mut self) -> f64 {
        if !self.for_reference {
            let value = f64::from_bits(self.u64());
            // One NaN is as good as another: JSON has a single one.
            return if value.is_nan() { f64::NAN } else { value };
        }
        f64::from(self.i32()) / 8.0
    }

    fn text(&mut self) -> String {
        const PIECES: [&str; 9] =
            ["", "a", "service.name", "\"\\/", "\n\t\r\u{0}\u{1f}", "\u{e9}\u{4e2d}", "\u{1f600}", "\u{2028}", " "];
        (0..self.below(4)).map(|_| PIECES[self.below(PIECES.len() as u64) as usize]).collect()
    }

    fn bytes(&mut self) -> Vec<u8> {
        (0..self.below(6)).map(|_| self.next() as u8).collect()
    }

    /// Text that the reference does not do without.
    fn needed_text(&mut self) -> String {
        let text = self.text();
        if self.for_reference && text.is_empty() { "k".to_string() } else { text }
    }

    /// A list that the reference does not do without.
    fn needed_list<T>(&mut self, most: u64, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        let mut items = self.list(most, &mut item);
        if self.for_reference && items.is_empty() {
            items.push(item(self));
        }
        items
    }

    fn id(&mut self, length: usize) -> Vec<u8> {
        if self.below(4) == 0 { Vec::new() } else { (0..length).map(|_| self.next() as u8).collect() }
    }

    fn list<T>(&mut self, most: u64, mut item: impl FnMut(&mut Self) -> T) -> Vec<T> {
        (0..self.below(most + 1)).map(|_| item(self)).collect()
    }

    fn option<T>(&mut self, item: impl FnOnce(&mut Self) -> T) -> Option<T> {
        if self.flag() { Some(item(self)) } else { None }
    }

    fn any_value(&mut self, depth: u32) -> AnyValue {
        let choices = if depth == 0 { 6 } else { 8 };
        let value = match self.below(choices) {
            0 => None,
            1 => Some(Value::StringValue(self.text())),
            2 => Some(Value::BoolValue(self.flag())),
            3 => Some(Value::IntValue(self.i64())),
            4 => Some(Value::DoubleValue(self.double())),
            5 => Some(Value::BytesValue(self.bytes())),
            6 => Some(Value::ArrayValue(ArrayValue { values: self.needed_list(3, |c| c.any_value(depth - 1)) })),
            _ => Some(Value::KvlistValue(KeyValueList { values: self.needed_list(3, |c| c.key_value(depth - 1)) })),
        };
        AnyValue { value }
    }

    fn key_value(&mut self, depth: u32) -> KeyValue {
        KeyValue { key: self.needed_text(), value: self.option(|c| c.any_value(depth)), key_strindex: self.i32() }
    }

    fn attributes(&mut self) -> Vec<KeyValue> {
        self.list(3, |c| c.key_value(3))
    }

    fn resource(&mut self) -> Resource {
        Resource {
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
            entity_refs: self.list(2, |c| EntityRef {
                schema_url: c.needed_text(),
                r#type: c.needed_text(),
                id_keys: c.needed_list(2, Self::text),
                description_keys: c.needed_list(2, Self::text),
            }),
        }
    }

    fn scope(&mut self) -> InstrumentationScope {
        InstrumentationScope {
            name: self.text(),
            version: self.text(),
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
        }
    }

    fn span(&mut self) -> Span {
        Span {
            trace_id: self.id(16),
            span_id: self.id(8),
            trace_state: self.text(),
            parent_span_id: self.id(8),
            flags: self.u32(),
            name: self.text(),
            kind: self.i32(),
            start_time_unix_nano: self.u64(),
            end_time_unix_nano: self.u64(),
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
            events: self.list(2, |c| Event {
                time_unix_nano: c.u64(),
                name: c.text(),
                attributes: c.attributes(),
                dropped_attributes_count: c.u32(),
            }),
            dropped_events_count: self.u32(),
            links: self.list(2, |c| Link {
                trace_id: c.id(16),
                span_id: c.id(8),
                trace_state: c.text(),
                attributes: c.attributes(),
                dropped_attributes_count: c.u32(),
                flags: c.u32(),
            }),
            dropped_links_count: self.u32(),
            status: self.option(|c| Status { message: c.text(), code: c.i32() }),
        }
    }

    /// A request of traces.
    pub fn traces(&mut self) -> ExportTraceServiceRequest {
        let resource_spans = self.list(2, |c| ResourceSpans {
            resource: c.option(Self::resource),
            scope_spans: c.list(2, |c| ScopeSpans {
                scope: c.option(Self::scope),
                spans: c.list(3, Self::span),
                schema_url: c.text(),
            }),
            schema_url: c.text(),
        });
        ExportTraceServiceRequest { resource_spans }
    }

    /// A request of logs.
    pub fn logs(&mut self) -> ExportLogsServiceRequest {
        let resource_logs = self.list(2, |c| ResourceLogs {
            resource: c.option(Self::resource),
            scope_logs: c.list(2, |c| ScopeLogs {
                scope: c.option(Self::scope),
                log_records: c.list(3, Self::log_record),
                schema_url: c.text(),
            }),
            schema_url: c.text(),
        });
        ExportLogsServiceRequest { resource_logs }
    }

    fn log_record(&mut self) -> LogRecord {
        LogRecord {
            time_unix_nano: self.u64(),
            observed_time_unix_nano: self.u64(),
            severity_number: self.i32(),
            severity_text: self.text(),
            body: self.option(|c| c.any_value(4)),
            attributes: self.attributes(),
            dropped_attributes_count: self.u32(),
            flags: self.u32(),
            trace_id: self.id(16),
            span_id: self.id(8),
            event_name: self.text(),
        }
    }

    fn exemplar(&mut self) -> Exemplar {
        Exemplar {
            filtered_attributes: self.attributes(),
            time_unix_nano: self.u64(),
            span_id: self.id(8),
            trace_id: self.id(16),
            value: match self.below(3) {
                0 => None,
                1 => Some(exemplar::Value::AsDouble(self.double())),
                _ => Some(exemplar::Value::AsInt(self.i64())),
            },
        }
    }

    fn number_point(&mut self) -> NumberDataPoint {
        NumberDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            exemplars: self.list(2, Self::exemplar),
            flags: self.u32(),
            value: match self.below(3) {
                0 => None,
                1 => Some(number_data_point::Value::AsDouble(self.double())),
                _ => Some(number_data_point::Value::AsInt(self.i64())),
            },
        }
    }

    fn histogram_point(&mut self) -> HistogramDataPoint {
        HistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.option(Self::double),
            bucket_counts: self.list(4, Self::u64),
            explicit_bounds: self.list(4, Self::double),
            exemplars: self.list(2, Self::exemplar),
            flags: self.u32(),
            min: self.option(Self::double),
            max: self.option(Self::double),
        }
    }

    fn buckets(&mut self) -> Buckets {
        Buckets { offset: self.i32(), bucket_counts: self.list(4, Self::u64) }
    }

    fn exponential_point(&mut self) -> ExponentialHistogramDataPoint {
        ExponentialHistogramDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.option(Self::double),
            scale: self.i32(),
            zero_count: self.u64(),
            positive: self.option(Self::buckets),
            negative: self.option(Self::buckets),
            flags: self.u32(),
            exemplars: self.list(2, Self::exemplar),
            min: self.option(Self::double),
            max: self.option(Self::double),
            zero_threshold: self.double(),
        }
    }

    fn summary_point(&mut self) -> SummaryDataPoint {
        SummaryDataPoint {
            attributes: self.attributes(),
            start_time_unix_nano: self.u64(),
            time_unix_nano: self.u64(),
            count: self.u64(),
            sum: self.double(),
            quantile_values: self.list(3, |c| ValueAtQuantile { quantile: c.double(), value: c.double() }),
            flags: self.u32(),
        }
    }

    fn metric(&mut self) -> Metric {
        let data = match self.below(6) {
            0 => None,
            1 => Some(Data::Gauge(Gauge { data_points: self.list(3, Self::number_point) })),
            2 => Some(Data::Sum(Sum {
                data_points: self.list(3, Self::number_point),
                aggregation_temporality: self.i32(),
                is_monotonic: self.flag(),
            })),
            3 => Some(Data::Histogram(Histogram {
                data_points: self.list(3, Self::histogram_point),
                aggregation_temporality: self.i32(),
            })),
            4 => Some(Data::ExponentialHistogram(ExponentialHistogram {
                data_points: self.list(3, Self::exponential_point),
                aggregation_temporality: self.i32(),
            })),
            _ => Some(Data::Summary(Summary { data_points: self.list(3, Self::summary_point) })),
        };
        Metric { name: self.text(), description: self.text(), unit: self.text(), metadata: self.attributes(), data }
    }

    /// A request of metrics.
    pub fn metrics(&mut self) -> ExportMetricsServiceRequest {
        let resource_metrics = self.list(2, |c| ResourceMetrics {
            resource: c.option(Self::resource),
            scope_metrics: c.list(2, |c| ScopeMetrics {
                scope: c.option(Self::scope),
                metrics: c.list(3, Self::metric),
                schema_url: c.text(),
            }),
            schema_url: c.text(),
        });
        ExportMetricsServiceRequest { resource_metrics }
    }
}
