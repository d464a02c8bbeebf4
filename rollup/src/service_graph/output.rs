//! What leaves of the service graph: OTLP requests without a resource, with sums of requests, of failed ones, of ends without
//! another, and histograms of how long requests took on either side.

use super::Plan;
use super::side::{CLASS_BYTES, Class, overflow};
use super::sums::{EdgeRow, EdgeSums};
use crate::fields::{begin_message, put_fixed64};
use crate::span_metrics::output::{put_attributes, put_temporality, put_text};
use crate::span_metrics::series::parts;
use crate::span_metrics::sums::Duration;
use crate::telling::{Telling, Told};
use crate::windows::Body;
use std::sync::Arc;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::wire::end_message;

/// The scope of all of it, as the connector calls it.
const SCOPE: &str = "traces_service_graph";
/// Rows in one request: with two histograms of 160 buckets of eight bytes each it stays below the 4 MiB that OTLP servers take.
/// At the bound: the rest goes in further requests.
const ROWS_PER_REQUEST: usize = 1000;

type Rows<'a> = [(&'a [u8], &'a Told<EdgeRow>)];

/// All edges that are told.
#[derive(Debug)]
pub struct Output {
    plan: Arc<Plan>,
    telling: Telling<EdgeRow>,
}

impl Output {
    /// Nothing told yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { telling: Telling::new(plan.is_delta, plan.expires_after_windows, plan.series_max), plan }
    }

    /// Rows that are told.
    #[must_use]
    pub fn series(&self) -> usize {
        self.telling.len()
    }

    /// Rows that are not told any more for want of requests.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.telling.expired()
    }

    /// Requests and ends that count for no row of their own: cores have found more than there is room for.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.telling.overflowed()
    }

    /// A window is over that came to `sums`. What leaves of it.
    pub fn emit(&mut self, sums: EdgeSums, now_unix_nano: u64) -> Vec<Body> {
        let plan = &self.plan;
        let overflow = |name: &[u8]| Class::of_name(name).map_or_else(|| name.into(), |class| overflow(class, plan));
        let rows = self.telling.take(sums.into_rows(), now_unix_nano, overflow);
        let writer = Writer { is_delta: self.plan.is_delta, now_unix_nano };
        rows.chunks(ROWS_PER_REQUEST).map(|rows| writer.request(rows)).collect()
    }
}

struct Writer {
    is_delta: bool,
    now_unix_nano: u64,
}

impl Writer {
    fn request(&self, rows: &Rows<'_>) -> Body {
        let mut out = Vec::new();
        let resource_metrics = begin_message(&mut out, 1);
        let resource = begin_message(&mut out, 1);
        end_message(&mut out, resource);
        let scope_metrics = begin_message(&mut out, 2);
        let scope = begin_message(&mut out, 1);
        put_text(&mut out, 1, SCOPE);
        end_message(&mut out, scope);
        let class = |class: Class| {
            let from = rows.partition_point(|(name, _)| name.first() < Some(&class.byte()));
            let to = rows.partition_point(|(name, _)| name.first() <= Some(&class.byte()));
            &rows[from..to]
        };
        let edges = &rows[..class(Class::Fine).len() + class(Class::Failed).len()];
        let mut items = self.put_sum(&mut out, "traces_service_graph_request_total", edges);
        items += self.put_sum(&mut out, "traces_service_graph_request_failed_total", class(Class::Failed));
        items += self.put_sum(&mut out, "traces_service_graph_unpaired_spans_total", class(Class::Unpaired));
        items += self.put_sum(&mut out, "traces_service_graph_dropped_spans_total", class(Class::Dropped));
        for is_exponential in [false, true] {
            items +=
                self.put_histogram(&mut out, "traces_service_graph_request_server", edges, is_exponential, |row| {
                    &row.server
                });
            items +=
                self.put_histogram(&mut out, "traces_service_graph_request_client", edges, is_exponential, |row| {
                    &row.client
                });
        }
        end_message(&mut out, scope_metrics);
        end_message(&mut out, resource_metrics);
        Body { signal: Signal::Metrics, items: u32::try_from(items).unwrap_or(u32::MAX), bytes: out }
    }

    /// `Metric` 2: name 1, sum 7; `Sum`: data points 1, temporality 2, monotonic 3; `NumberDataPoint`: start 2, time 3,
    /// integer 6, attributes 7.
    fn put_sum(&self, out: &mut Vec<u8>, name: &str, rows: &Rows<'_>) -> usize {
        if rows.is_empty() {
            return 0;
        }
        let metric = begin_message(out, 2);
        put_text(out, 1, name);
        let sum = begin_message(out, 7);
        for (name, told) in rows {
            let point = begin_message(out, 1);
            put_fixed64(out, 2, told.start_unix_nano);
            put_fixed64(out, 3, self.now_unix_nano);
            put_fixed64(out, 6, told.row.requests);
            put_attributes(out, 7, attributes(name));
            end_message(out, point);
        }
        put_temporality(out, self.is_delta);
        out.extend_from_slice(&[3 << 3, 1]);
        end_message(out, sum);
        end_message(out, metric);
        rows.len()
    }

    /// `Metric` 2: name 1, unit 3, histogram 9 or exponential histogram 10; of both: data points 1, temporality 2. Of a
    /// point: start 2, time 3, attributes 9 or 1. Rows of a former run may be of the other kind.
    fn put_histogram(
        &self,
        out: &mut Vec<u8>,
        name: &str,
        rows: &Rows<'_>,
        is_exponential: bool,
        duration: impl Fn(&EdgeRow) -> &Duration,
    ) -> usize {
        let is_meant = |told: &Told<EdgeRow>| match duration(&told.row) {
            Duration::None => false,
            Duration::Explicit(_) => !is_exponential,
            Duration::Exponential(_) => is_exponential,
        };
        let rows: Vec<_> = rows.iter().filter(|(_, told)| is_meant(told)).collect();
        if rows.is_empty() {
            return 0;
        }
        let metric = begin_message(out, 2);
        put_text(out, 1, name);
        put_text(out, 3, "s");
        let histogram = begin_message(out, if is_exponential { 10 } else { 9 });
        for (name, told) in &rows {
            let point = begin_message(out, 1);
            put_fixed64(out, 2, told.start_unix_nano);
            put_fixed64(out, 3, self.now_unix_nano);
            put_attributes(out, if is_exponential { 1 } else { 9 }, attributes(name));
            duration(&told.row).put_data_point_fields(out);
            end_message(out, point);
        }
        put_temporality(out, self.is_delta);
        end_message(out, histogram);
        end_message(out, metric);
        rows.len()
    }
}

fn attributes(name: &[u8]) -> &[u8] {
    parts(name.get(CLASS_BYTES..).unwrap_or_default()).1
}
