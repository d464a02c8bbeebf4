//! Reads what encloses points, and points, out of an `ExportMetricsServiceRequest` that is sound. Nothing is copied but the
//! counts of histograms.

use super::amount::{Amount, Number, Readings, Scalar};
use crate::compensated::Compensated;
use crate::explicit::{self, Explicit};
use crate::exponential::{self, Exponential};
use crate::moments::Moments;
use tailwater_proto::otlp::wire::{Field, Reader, Value, WireError};

/// An attribute: its key, and its whole field with tag and length.
pub type Attribute<'a> = (&'a [u8], &'a [u8]);

/// The messages in field `number`, in order.
pub fn each<'a>(
    message: &'a [u8],
    number: u32,
    mut visit: impl FnMut(&'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if let (true, Value::Bytes(inner)) = (field.number == number, field.value) {
            visit(inner)?;
        }
    }
    Ok(())
}

/// The key of a `KeyValue`: field 1, which nearly always is the first.
#[inline]
fn key(attribute: &[u8]) -> Result<&[u8], WireError> {
    if let [0x0a, length @ 0..0x80, rest @ ..] = attribute
        && let Some((key, [0x12, ..])) = rest.split_at_checked(usize::from(*length))
    {
        return Ok(key);
    }
    last(attribute, 1)
}

/// The content of a field that occurs once; of several the last holds. Empty where there is none.
fn last(message: &[u8], number: u32) -> Result<&[u8], WireError> {
    let mut found: &[u8] = &[];
    each(message, number, |content| {
        found = content;
        Ok(())
    })?;
    Ok(found)
}

/// A resource.
#[derive(Debug, Default)]
pub struct Resource<'a> {
    /// Sorted by key.
    pub attributes: Vec<Attribute<'a>>,
    /// `service.name`, empty where there is none.
    pub service: &'a [u8],
}

/// The resource of a `ResourceMetrics`.
pub fn resource(message: &[u8]) -> Result<Resource<'_>, WireError> {
    let mut resource = Resource::default();
    each(message, 1, |inner| {
        let mut reader = Reader::new(inner);
        while let Some(field) = reader.next_field()? {
            if field.number == 1 {
                let attribute = field.bytes()?;
                let name = key(attribute)?;
                if name == b"service.name" {
                    // A name that is no text is none.
                    resource.service = last(last(attribute, 2)?, 1)?;
                }
                resource.attributes.push((name, &inner[field.start..reader.position()]));
            }
        }
        Ok(())
    })?;
    sort(&mut resource.attributes);
    Ok(resource)
}

/// The name and the version in the scope of a `ScopeMetrics`, each with tag and length.
pub fn scope(message: &[u8]) -> Result<[&[u8]; 2], WireError> {
    let mut scope: [&[u8]; 2] = [&[], &[]];
    each(message, 1, |inner| {
        let mut reader = Reader::new(inner);
        while let Some(field) = reader.next_field()? {
            match (field.number, field.value) {
                // An empty text is the same as none.
                (1 | 2, Value::Bytes(&[])) => {}
                (1, _) => scope[0] = &inner[field.start..reader.position()],
                (2, _) => scope[1] = &inner[field.start..reader.position()],
                _ => {}
            }
        }
        Ok(())
    })?;
    Ok(scope)
}

/// What a metric's points are.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Shape {
    Gauge,
    Sum { is_monotonic: bool },
    Explicit,
    Exponential,
}

/// A metric.
#[derive(Debug)]
pub struct Metric<'a> {
    pub name: &'a [u8],
    pub description: &'a [u8],
    pub unit: &'a [u8],
    /// `None` for what is not merged: summaries, and metrics that say several times what they are.
    pub shape: Option<Shape>,
    /// 1 is delta, 2 cumulative.
    pub temporality: u64,
}

/// Reads a metric, but no points.
pub fn metric(message: &[u8]) -> Result<Metric<'_>, WireError> {
    let mut metric = Metric { name: &[], description: &[], unit: &[], shape: None, temporality: 0 };
    let mut times = 0;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => metric.name = field.bytes()?,
            2 => metric.description = field.bytes()?,
            3 => metric.unit = field.bytes()?,
            5 | 7 | 9 | 10 | 11 => {
                times += 1;
                let mut is_monotonic = false;
                let mut data = Reader::new(field.bytes()?);
                while let Some(inner) = data.next_field()? {
                    match (inner.number, inner.value) {
                        (2, Value::Varint(temporality)) => metric.temporality = temporality,
                        (3, Value::Varint(truth)) => is_monotonic = truth != 0,
                        _ => {}
                    }
                }
                metric.shape = match field.number {
                    5 => Some(Shape::Gauge),
                    7 => Some(Shape::Sum { is_monotonic }),
                    9 => Some(Shape::Explicit),
                    10 => Some(Shape::Exponential),
                    _ => None,
                };
            }
            _ => {}
        }
    }
    if times > 1 {
        metric.shape = None;
    }
    Ok(metric)
}

/// The points of a metric, in the order in which items of a request are numbered.
pub fn each_point<'a>(
    metric: &'a [u8],
    mut visit: impl FnMut(&'a [u8]) -> Result<(), WireError>,
) -> Result<(), WireError> {
    let mut reader = Reader::new(metric);
    while let Some(field) = reader.next_field()? {
        if let (5 | 7 | 9 | 10 | 11, Value::Bytes(data)) = (field.number, field.value) {
            each(data, 1, &mut visit)?;
        }
    }
    Ok(())
}

/// A point, without its attributes.
#[derive(Debug, Default)]
pub struct Point {
    pub start: u64,
    pub time: u64,
    /// `None` when it says that nothing was recorded: its series has ended.
    pub amount: Option<Amount>,
}

/// Reads a point and its attributes, sorted. `None` for one that makes no sense, such as counts that do not add up.
pub fn point<'a>(
    shape: Shape,
    message: &'a [u8],
    buckets_max: u16,
    attributes: &mut Vec<Attribute<'a>>,
) -> Result<Option<Point>, WireError> {
    attributes.clear();
    let mut raw = Raw::default();
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        let is_attribute = match shape {
            Shape::Gauge | Shape::Sum { .. } => raw.number_field(&field)?,
            Shape::Explicit => raw.explicit_field(&field)?,
            Shape::Exponential => raw.exponential_field(&field)?,
        };
        if is_attribute {
            attributes.push((key(field.bytes()?)?, &message[field.start..reader.position()]));
        }
    }
    sort(attributes);
    let Raw { start, time, .. } = raw;
    if raw.flags & NO_RECORDED_VALUE != 0 {
        return Ok(Some(Point { start, time, amount: None }));
    }
    Ok(raw.amount(shape, buckets_max).map(|amount| Point { start, time, amount: Some(amount) }))
}

/// `DATA_POINT_FLAGS_NO_RECORDED_VALUE_MASK`
const NO_RECORDED_VALUE: u64 = 1;

/// By key. Nearly always they are already, or there are few.
fn sort(attributes: &mut [Attribute<'_>]) {
    if !attributes.is_sorted_by(|one, other| one.0 <= other.0) {
        attributes.sort_by(|one, other| one.0.cmp(other.0));
    }
}

/// Fields of points of all shapes.
#[derive(Default)]
struct Raw {
    start: u64,
    time: u64,
    flags: u64,
    scalar: Option<Scalar>,
    count: u64,
    sum: Option<f64>,
    min: Option<f64>,
    max: Option<f64>,
    counts: Vec<u64>,
    bounds: Vec<f64>,
    scale: i32,
    zero_count: u64,
    zero_threshold: f64,
    positive: (i32, Vec<u64>),
    negative: (i32, Vec<u64>),
}

impl Raw {
    /// Reads a field of a `NumberDataPoint`; true for an attribute. So do the others.
    fn number_field(&mut self, field: &Field<'_>) -> Result<bool, WireError> {
        match field.number {
            2 => self.start = field.fixed64()?,
            3 => self.time = field.fixed64()?,
            4 => self.scalar = Some(Scalar::Double(f64::from_bits(field.fixed64()?))),
            6 => self.scalar = Some(Scalar::Integer(field.fixed64()?.cast_signed())),
            7 => return Ok(true),
            8 => self.flags = field.varint()?,
            _ => {}
        }
        Ok(false)
    }

    fn explicit_field(&mut self, field: &Field<'_>) -> Result<bool, WireError> {
        match field.number {
            2 => self.start = field.fixed64()?,
            3 => self.time = field.fixed64()?,
            4 => self.count = field.fixed64()?,
            5 => self.sum = Some(f64::from_bits(field.fixed64()?)),
            6 => each_fixed64(field, |count| self.counts.push(count))?,
            7 => each_fixed64(field, |bound| self.bounds.push(f64::from_bits(bound)))?,
            9 => return Ok(true),
            10 => self.flags = field.varint()?,
            11 => self.min = Some(f64::from_bits(field.fixed64()?)),
            12 => self.max = Some(f64::from_bits(field.fixed64()?)),
            _ => {}
        }
        Ok(false)
    }

    fn exponential_field(&mut self, field: &Field<'_>) -> Result<bool, WireError> {
        match field.number {
            1 => return Ok(true),
            2 => self.start = field.fixed64()?,
            3 => self.time = field.fixed64()?,
            4 => self.count = field.fixed64()?,
            5 => self.sum = Some(f64::from_bits(field.fixed64()?)),
            6 => self.scale = signed(field.varint()?),
            7 => self.zero_count = field.fixed64()?,
            8 => buckets(field.bytes()?, &mut self.positive)?,
            9 => buckets(field.bytes()?, &mut self.negative)?,
            10 => self.flags = field.varint()?,
            12 => self.min = Some(f64::from_bits(field.fixed64()?)),
            13 => self.max = Some(f64::from_bits(field.fixed64()?)),
            14 => self.zero_threshold = f64::from_bits(field.fixed64()?),
            _ => {}
        }
        Ok(false)
    }

    fn amount(self, shape: Shape, buckets_max: u16) -> Option<Amount> {
        // Extremes that are no numbers tell nothing.
        let known = |value: Option<f64>| value.filter(|value| !value.is_nan());
        // Nor is a total that is no number a total.
        let scalar = self.scalar.filter(|scalar| !matches!(scalar, Scalar::Double(value) if !value.is_finite()));
        let moments = Moments {
            count: self.count,
            sum: self.sum.map(Compensated::from),
            min: known(self.min),
            max: known(self.max),
        };
        Some(match shape {
            Shape::Sum { .. } => Amount::Number(Number::from(scalar?)),
            Shape::Gauge => Amount::Readings(Readings::of(self.time, scalar?)),
            Shape::Explicit => {
                let parts = explicit::Parts { bounds: self.bounds, counts: self.counts, moments };
                Amount::Explicit(Explicit::try_from(parts).ok()?)
            }
            Shape::Exponential => {
                let mut parts = exponential::Parts {
                    buckets_max,
                    scale: self.scale,
                    zero_threshold: self.zero_threshold,
                    zero_count: self.zero_count,
                    moments,
                    positive: self.positive,
                    negative: self.negative,
                };
                parts.coarsen();
                Amount::Exponential(Box::new(Exponential::try_from(parts).ok()?))
            }
        })
    }
}

/// `Buckets`: offset 1, counts 2.
fn buckets(message: &[u8], (offset, counts): &mut (i32, Vec<u64>)) -> Result<(), WireError> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match (field.number, field.value) {
            (1, _) => *offset = signed(field.varint()?),
            (2, Value::Bytes(mut list)) => {
                while !list.is_empty() {
                    counts.push(varint(&mut list));
                }
            }
            (2, _) => counts.push(field.varint()?),
            _ => {}
        }
    }
    Ok(())
}

/// A varint in front of a list that is sound.
fn varint(list: &mut &[u8]) -> u64 {
    let mut value = 0_u64;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = list.split_first() else { break };
        *list = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if *byte < 0x80 {
            break;
        }
    }
    value
}

/// A `sint32` of its varint, of which the low 32 bits count.
fn signed(value: u64) -> i32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    let low = u32::from_le_bytes([a, b, c, d]);
    (low >> 1).cast_signed() ^ -(low & 1).cast_signed()
}

/// Numbers of eight bytes, packed or not.
fn each_fixed64(field: &Field<'_>, mut visit: impl FnMut(u64)) -> Result<(), WireError> {
    match field.value {
        Value::Bytes(list) => list.as_chunks::<8>().0.iter().for_each(|chunk| visit(u64::from_le_bytes(*chunk))),
        _ => visit(field.fixed64()?),
    }
    Ok(())
}
