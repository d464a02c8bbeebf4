//! Writes merged points as `ExportMetricsServiceRequest`: what is equal is written once, in the order of the bytes of
//! resources, scopes, metrics and attributes, so that the same sums give the same requests.

use super::amount::{Amount, Readings, Scalar};
use super::plan::{Gauge, Temporality};
use super::series::{Head, Key, Kind, Series};
use crate::fields::{begin_message, put_double, put_fixed64};
use std::cmp::Ordering;
use tailwater_proto::otlp::wire::{end_message, put_header};

/// A request of merged points.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Emitted {
    /// An `ExportMetricsServiceRequest`.
    pub body: Vec<u8>,
    /// Its points.
    pub points: u32,
}

/// A series that is told.
#[derive(Debug, Clone, Copy)]
pub struct Told<'a> {
    pub head_key: Key,
    pub head: &'a Head,
    pub key: Key,
    pub series: &'a Series,
    pub start: u64,
}

impl Told<'_> {
    /// What is in one message stands together.
    fn order(&self, other: &Self) -> Ordering {
        let (one, two) = (self.head, other.head);
        (one.resource.cmp(&two.resource))
            .then_with(|| one.scope.cmp(&two.scope))
            .then_with(|| one.name.cmp(&two.name))
            .then_with(|| self.head_key.cmp(&other.head_key))
            .then_with(|| self.series.attributes.cmp(&other.series.attributes))
            .then_with(|| self.key.cmp(&other.key))
    }
}

/// Requests of about so many bytes: none has more than that and a point, with what encloses it.
pub fn requests(mut told: Vec<Told<'_>>, now: u64, bytes_max: usize) -> Vec<Emitted> {
    told.sort_by(|one, other| one.order(other));
    let mut out = Vec::new();
    let mut writer = Writer::default();
    for one in &told {
        if writer.body.len() >= bytes_max {
            out.extend(std::mem::take(&mut writer).finished());
        }
        writer.point(one, now);
    }
    out.extend(writer.finished());
    out
}

/// A request being written: messages that are open, from the outermost to the innermost.
#[derive(Default)]
struct Writer<'a> {
    body: Vec<u8>,
    points: u32,
    /// The head of the point before, and where the messages around it began.
    open: Option<(Key, &'a Head, [usize; 4])>,
}

impl<'a> Writer<'a> {
    fn point(&mut self, told: &Told<'a>, now: u64) {
        self.enter(told.head_key, told.head);
        let at = begin_message(&mut self.body, 1);
        put_point(&mut self.body, told, now);
        end_message(&mut self.body, at);
        self.points = self.points.saturating_add(1);
    }

    /// Closes what the head does not have in common with the one before, and opens the rest.
    fn enter(&mut self, key: Key, head: &'a Head) {
        let same = match self.open {
            Some((former, ..)) if former == key => 4,
            Some((_, former, _)) if former.resource == head.resource && former.scope == head.scope => 2,
            Some((_, former, _)) if former.resource == head.resource => 1,
            _ => 0,
        };
        let mut places = self.close(same);
        let body = &mut self.body;
        if same < 1 {
            places[0] = begin_message(body, 1);
            put_bytes(body, 1, &head.resource);
        }
        if same < 2 {
            places[1] = begin_message(body, 2);
            put_bytes(body, 1, &head.scope);
        }
        if same < 4 {
            places[2] = begin_message(body, 2);
            put_bytes(body, 1, &head.name);
            put_bytes(body, 2, &head.description);
            put_bytes(body, 3, &head.unit);
            let (number, is_monotonic) = match head.kind {
                Kind::Gauge(_) => (5, false),
                Kind::Sum { is_monotonic } => (7, is_monotonic),
                Kind::Explicit => (9, false),
                Kind::Exponential => (10, false),
            };
            places[3] = begin_message(body, number);
            if head.kind.is_total() {
                let temporality = match head.temporality {
                    Temporality::Delta => 1,
                    Temporality::Cumulative => 2,
                };
                body.extend_from_slice(&[2 << 3, temporality]);
            }
            if is_monotonic {
                body.extend_from_slice(&[3 << 3, 1]);
            }
        }
        self.open = Some((key, head, places));
    }

    /// Closes all but so many of the open messages.
    fn close(&mut self, but: usize) -> [usize; 4] {
        let Some((_, _, places)) = self.open else { return [0; 4] };
        for place in places.iter().skip(but).rev() {
            end_message(&mut self.body, *place);
        }
        places
    }

    fn finished(mut self) -> Option<Emitted> {
        self.close(0);
        (self.points > 0).then_some(Emitted { body: self.body, points: self.points })
    }
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    if !bytes.is_empty() {
        put_header(out, number, bytes.len());
        out.extend_from_slice(bytes);
    }
}

fn put_point(out: &mut Vec<u8>, told: &Told<'_>, now: u64) {
    let Told { head, series, start, .. } = told;
    out.extend_from_slice(&series.attributes);
    if head.kind.is_total() {
        put_fixed64(out, 2, *start);
    }
    let time = |out: &mut Vec<u8>, time: u64| put_fixed64(out, 3, time);
    match &series.amount {
        None => {}
        Some(Amount::Number(number)) => {
            time(out, now);
            put_scalar(out, number.value());
        }
        Some(Amount::Explicit(histogram)) => {
            time(out, now);
            histogram.put_data_point_fields(out);
        }
        Some(Amount::Exponential(histogram)) => {
            time(out, now);
            histogram.put_data_point_fields(out);
        }
        Some(Amount::Readings(readings)) => put_readings(out, head.kind, readings, now),
    }
}

/// The last reading has its own time, for it is still what was read then.
fn put_readings(out: &mut Vec<u8>, kind: Kind, readings: &Readings, now: u64) {
    let (time, value) = match kind {
        Kind::Gauge(Gauge::Min) => (now, readings.min),
        Kind::Gauge(Gauge::Max) => (now, readings.max),
        Kind::Gauge(Gauge::Mean) => (now, Scalar::Double(readings.mean())),
        _ => readings.last,
    };
    put_fixed64(out, 3, time);
    put_scalar(out, value);
}

fn put_scalar(out: &mut Vec<u8>, value: Scalar) {
    match value {
        Scalar::Integer(value) => put_fixed64(out, 6, value.cast_unsigned()),
        Scalar::Double(value) => put_double(out, 4, Some(value)),
    }
}
