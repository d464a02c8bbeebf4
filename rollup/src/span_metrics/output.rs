//! What leaves of span metrics: OTLP requests, one resource a group, with `calls` as a monotonic sum and `duration` as a
//! histogram. Cumulative by default: what a repeat tells is then known already.

use super::Plan;
use super::exemplars::{Exemplar, Exemplars, put_exemplars};
use super::series::{attributes, overflow_of, parts};
use super::sums::{Duration, Row, Sums};
use super::visible::Visible;
use crate::fields::{begin_message, put_fixed64};
use crate::telling::{Counted, Telling, Told};
use crate::windows::Body;
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

/// All series that are told.
#[derive(Debug)]
pub struct Output {
    plan: Arc<Plan>,
    telling: Telling<Row>,
    /// Examples whose series was not told in their window, for the next: it may be told again then.
    early: Exemplars,
}

impl Counted for Row {
    fn merge(&mut self, other: &Self) {
        Self::merge(self, other);
    }

    fn first_unix_nano(&self) -> u64 {
        self.first_unix_nano
    }

    fn number(&self) -> u64 {
        self.calls
    }
}

impl Output {
    /// Nothing told yet.
    #[must_use]
    pub fn new(plan: Arc<Plan>) -> Self {
        let telling = Telling::new(plan.is_delta, plan.expires_after_windows, plan.series_max);
        Self { telling, early: Exemplars::default(), plan }
    }

    /// Series that are told.
    #[must_use]
    pub fn series(&self) -> usize {
        self.telling.len()
    }

    /// What they tell apart.
    #[must_use]
    pub fn visible(&self) -> Visible {
        Visible::of(self.telling.names())
    }

    /// Series that are not told any more for want of spans.
    #[must_use]
    pub fn expired(&self) -> u64 {
        self.telling.expired()
    }

    /// Spans that count for no series of their own: cores have found more than there is room for.
    #[must_use]
    pub fn overflowed(&self) -> u64 {
        self.telling.overflowed()
    }

    /// Whether cumulative series that nothing came for are told again: what was delivered once is known.
    pub fn tell_idle(&mut self, tells_idle: bool) {
        self.telling.tell_idle(tells_idle);
    }

    /// A window is over that came to `sums`. What leaves of it.
    pub fn emit(&mut self, sums: Sums, exemplars: Exemplars, now_unix_nano: u64) -> Vec<Body> {
        let rows = self.telling.take(sums.into_rows(), now_unix_nano, overflow_of);
        let mut all = std::mem::take(&mut self.early);
        all.merge(exemplars.clone());
        let each_max = self.plan.exemplars_max;
        let rows: Vec<Shown<'_>> =
            rows.into_iter().map(|(name, told)| (name, told, all.take(name, each_max))).collect();
        all.retain_of(&exemplars);
        self.early = all;
        // An example in each of two metrics takes a sixteenth of a series.
        let chunks = rows.chunks((SERIES_PER_REQUEST * 16 / (16 + each_max)).max(1));
        chunks.map(|rows| request(&self.plan, rows, now_unix_nano)).collect()
    }
}

/// A series with its name, and examples of it.
type Shown<'a> = (&'a [u8], &'a Told<Row>, Vec<Exemplar>);

fn request(plan: &Plan, rows: &[Shown<'_>], now_unix_nano: u64) -> Body {
    let mut out = Vec::new();
    let mut items = 0;
    for group in rows.chunk_by(|(one, ..), (other, ..)| one[..9] == other[..9] && parts(one).0 == parts(other).0) {
        let Some((name, first, _)) = group.first() else { continue };
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

pub(crate) fn put_text(out: &mut Vec<u8>, number: u32, text: &str) {
    put_header(out, number, text.len());
    out.extend_from_slice(text.as_bytes());
}

pub(crate) fn put_attributes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    for attribute in attributes(bytes) {
        put_header(out, number, attribute.len());
        out.extend_from_slice(attribute);
    }
}

pub(crate) fn put_temporality(out: &mut Vec<u8>, is_delta: bool) {
    out.push(2 << 3);
    put_varint(out, if is_delta { DELTA } else { CUMULATIVE });
}

/// `Metric` 2: name 1, sum 7; `Sum`: data points 1, temporality 2, monotonic 3; `NumberDataPoint`: start 2, time 3,
/// exemplars 5, integer 6, attributes 7.
fn put_calls(out: &mut Vec<u8>, plan: &Plan, group: &[Shown<'_>], now_unix_nano: u64) {
    let metric = begin_message(out, 2);
    put_text(out, 1, &plan.metric("calls"));
    let sum = begin_message(out, 7);
    for (name, told, exemplars) in group {
        let point = begin_message(out, 1);
        put_fixed64(out, 2, told.start_unix_nano);
        put_fixed64(out, 3, now_unix_nano);
        put_exemplars(out, 5, exemplars, plan.unit);
        put_fixed64(out, 6, told.row.calls);
        put_attributes(out, 7, parts(name).1);
        end_message(out, point);
    }
    put_temporality(out, plan.is_delta);
    out.extend_from_slice(&[3 << 3, 1]);
    end_message(out, sum);
    end_message(out, metric);
}

/// `Metric` 2: name 1, unit 3, histogram 9 or exponential histogram 10; of both: data points 1, temporality 2. Of a
/// point: start 2, time 3, attributes 9 or 1, exemplars 8 or 11.
fn put_durations(out: &mut Vec<u8>, plan: &Plan, group: &[Shown<'_>], now_unix_nano: u64) {
    let is_exponential = group.iter().any(|(_, told, _)| matches!(told.row.duration, Duration::Exponential(_)));
    let metric = begin_message(out, 2);
    put_text(out, 1, &plan.metric("duration"));
    put_text(out, 3, plan.unit.symbol());
    let histogram = begin_message(out, if is_exponential { 10 } else { 9 });
    for (name, told, exemplars) in group {
        let point = begin_message(out, 1);
        put_fixed64(out, 2, told.start_unix_nano);
        put_fixed64(out, 3, now_unix_nano);
        put_attributes(out, if is_exponential { 1 } else { 9 }, parts(name).1);
        told.row.duration.put_data_point_fields(out);
        put_exemplars(out, if is_exponential { 11 } else { 8 }, exemplars, plan.unit);
        end_message(out, point);
    }
    put_temporality(out, plan.is_delta);
    end_message(out, histogram);
    end_message(out, metric);
}
