//! What leaves of span metrics: OTLP requests, one resource a group, with `calls` as a monotonic sum and `duration` as a
//! histogram. Cumulative by default: what a repeat tells is then known already.

use super::Plan;
use super::series::{attributes, parts};
use super::sums::{Duration, Row, Sums};
use super::visible::Visible;
use crate::fields::{begin_message, put_fixed64};
use crate::windows::Body;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::wire::{end_message, put_header, put_varint};

/// The scope of all of it, as the connector calls it.
const SCOPE: &str = "spanmetricsconnector";
/// Series in one request: with 160 buckets of eight bytes each it stays below the 4 MiB that OTLP servers take.
/// At the bound: the rest goes in further requests.
const SERIES_PER_REQUEST: usize = 2000;

/// Values of `AggregationTemporality`.
const DELTA: u64 = 1;
const CUMULATIVE: u64 = 2;

/// A series as it is told.
#[derive(Debug)]
struct Told {
    row: Row,
    start_unix_nano: u64,
    /// Windows without a span.
    idle_windows: u32,
}

/// All series that are told.
#[derive(Debug)]
pub struct Output {
    plan: Arc<Plan>,
    told: BTreeMap<Box<[u8]>, Told>,
    /// The end of the window before.
    before_unix_nano: u64,
    /// Series that went for want of spans.
    expired: u64,
    /// Whether cumulative series that nothing came for are told again.
    tells_idle: bool,
}

impl Output {
    /// Nothing told yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        Self { plan, told: BTreeMap::new(), before_unix_nano: 0, expired: 0, tells_idle: true }
    }

    /// Series that are told.
    #[must_use]
    pub fn series(&self) -> usize {
        self.told.len()
    }

    /// What they tell apart.
    #[must_use]
    pub fn visible(&self) -> Visible {
        Visible::of(self.told.keys().map(|name| &**name))
    }

    /// Series that are not told any more for want of spans.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.expired
    }

    /// Whether cumulative series that nothing came for are told again: what was delivered once is known.
    pub fn tell_idle(&mut self, tells_idle: bool) {
        self.tells_idle = tells_idle;
    }

    /// A window is over that came to `sums`. What leaves of it.
    pub fn emit(&mut self, sums: Sums, now_unix_nano: u64) -> Vec<Body> {
        if self.plan.is_delta {
            self.told.clear();
        }
        self.take(sums, now_unix_nano);
        self.before_unix_nano = now_unix_nano;
        let is_told = |(_, told): &(_, &Told)| self.tells_idle || told.idle_windows == 0;
        let rows: Vec<(&[u8], &Told)> = self.told.iter().filter(is_told).map(|(name, told)| (&**name, told)).collect();
        let chunks = rows.chunks(SERIES_PER_REQUEST);
        chunks.map(|rows| request(&self.plan, rows, now_unix_nano)).collect()
    }

    fn take(&mut self, sums: Sums, now_unix_nano: u64) {
        self.told.values_mut().for_each(|told| told.idle_windows += 1);
        for (name, row) in sums.into_rows() {
            match self.told.get_mut(&name) {
                Some(told) => {
                    told.row.merge(&row);
                    told.idle_windows = 0;
                }
                None => {
                    // What a former run has counted came before this window.
                    let earliest = self.before_unix_nano.max(1);
                    let is_known = self.plan.is_delta && self.before_unix_nano > 0;
                    let start = if is_known { earliest.min(row.first_unix_nano) } else { row.first_unix_nano };
                    let start_unix_nano = start.min(now_unix_nano);
                    self.told.insert(name, Told { row, start_unix_nano, idle_windows: 0 });
                }
            }
        }
        let most = self.plan.expires_after_windows;
        let before = self.told.len();
        self.told.retain(|_, told| most == 0 || told.idle_windows <= most);
        self.expired += (before - self.told.len()) as u64;
    }
}

fn request(plan: &Plan, rows: &[(&[u8], &Told)], now_unix_nano: u64) -> Body {
    let mut out = Vec::new();
    let mut items = 0;
    for group in rows.chunk_by(|(one, _), (other, _)| one[..9] == other[..9] && parts(one).0 == parts(other).0) {
        let Some((name, first)) = group.first() else { continue };
        let resource_metrics = begin_message(&mut out, 1);
        let resource = begin_message(&mut out, 1);
        put_attributes(&mut out, 1, parts(name).0);
        end_message(&mut out, resource);
        let scope_metrics = begin_message(&mut out, 2);
        let scope = begin_message(&mut out, 1);
        put_text(&mut out, 1, SCOPE);
        end_message(&mut out, scope);
        put_calls(&mut out, plan, group, now_unix_nano);
        items += group.len();
        if !matches!(first.row.duration, Duration::None) {
            put_durations(&mut out, plan, group, now_unix_nano);
            items += group.len();
        }
        end_message(&mut out, scope_metrics);
        end_message(&mut out, resource_metrics);
    }
    Body { signal: Signal::Metrics, items: u32::try_from(items).unwrap_or(u32::MAX), bytes: out }
}

fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    put_header(out, number, text.len());
    out.extend_from_slice(text.as_bytes());
}

fn put_attributes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    for attribute in attributes(bytes) {
        put_header(out, number, attribute.len());
        out.extend_from_slice(attribute);
    }
}

fn put_temporality(out: &mut Vec<u8>, plan: &Plan) {
    out.push(2 << 3);
    put_varint(out, if plan.is_delta { DELTA } else { CUMULATIVE });
}

/// `Metric` 2: name 1, sum 7; `Sum`: data points 1, temporality 2, monotonic 3; `NumberDataPoint`: start 2, time 3,
/// integer 6, attributes 7.
fn put_calls(out: &mut Vec<u8>, plan: &Plan, group: &[(&[u8], &Told)], now_unix_nano: u64) {
    let metric = begin_message(out, 2);
    put_text(out, 1, &plan.metric("calls"));
    let sum = begin_message(out, 7);
    for (name, told) in group {
        let point = begin_message(out, 1);
        put_fixed64(out, 2, told.start_unix_nano);
        put_fixed64(out, 3, now_unix_nano);
        put_fixed64(out, 6, told.row.calls);
        put_attributes(out, 7, parts(name).1);
        end_message(out, point);
    }
    put_temporality(out, plan);
    out.extend_from_slice(&[3 << 3, 1]);
    end_message(out, sum);
    end_message(out, metric);
}

/// `Metric` 2: name 1, unit 3, histogram 9 or exponential histogram 10; of both: data points 1, temporality 2. Of a
/// point: start 2, time 3, attributes 9 or 1.
fn put_durations(out: &mut Vec<u8>, plan: &Plan, group: &[(&[u8], &Told)], now_unix_nano: u64) {
    let is_exponential = group.iter().any(|(_, told)| matches!(told.row.duration, Duration::Exponential(_)));
    let metric = begin_message(out, 2);
    put_text(out, 1, &plan.metric("duration"));
    put_text(out, 3, plan.unit.symbol());
    let histogram = begin_message(out, if is_exponential { 10 } else { 9 });
    for (name, told) in group {
        let point = begin_message(out, 1);
        put_fixed64(out, 2, told.start_unix_nano);
        put_fixed64(out, 3, now_unix_nano);
        put_attributes(out, if is_exponential { 1 } else { 9 }, parts(name).1);
        match &told.row.duration {
            Duration::Explicit(histogram) => histogram.put_data_point_fields(out),
            Duration::Exponential(histogram) => histogram.put_data_point_fields(out),
            Duration::None => {}
        }
        end_message(out, point);
    }
    put_temporality(out, plan);
    end_message(out, histogram);
    end_message(out, metric);
}
