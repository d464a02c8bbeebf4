//! Names of series. A name is told in full by its attributes, those of the resource and those of the data point, as OTLP
//! writes them; whoever has two of them can merge what is counted under them without knowing the plan.
//!
//! ```text
//! name:  shape 1, bounds' hash 8 | resource: length 4, attributes | attributes of the point
//! attribute:  length 4, KeyValue message
//! ```

use super::{Durations, Plan};
use tailwater_proto::otlp::check::{AnyValue, KeyValue};
use tailwater_proto::otlp::wire::{put_header, put_varint};
use twox_hash::XxHash3_64;

/// Bytes before the resource.
const SHAPE_BYTES: usize = 9;

/// How the durations of a series are told: those told otherwise are no part of it.
pub(crate) fn shape(durations: &Durations) -> [u8; SHAPE_BYTES] {
    let (kind, detail) = match durations {
        Durations::None => (0, 0),
        Durations::Explicit(bounds) => {
            let bytes: Vec<u8> = bounds.iter().flat_map(|bound| bound.to_bits().to_le_bytes()).collect();
            (1, XxHash3_64::oneshot(&bytes))
        }
        Durations::Exponential(buckets_max) => (2, u64::from(*buckets_max)),
    };
    let mut shape = [kind; SHAPE_BYTES];
    shape[1..].copy_from_slice(&detail.to_le_bytes());
    shape
}

/// Appends an attribute.
pub(crate) fn put_attribute(out: &mut Vec<u8>, key: &[u8], value: &AnyValue<'_>) {
    let start = out.len();
    out.extend_from_slice(&[0; 4]);
    put_header(out, 1, key.len());
    out.extend_from_slice(key);
    put_value(out, value);
    let length = u32::try_from(out.len() - start - 4).unwrap_or(u32::MAX);
    out[start..start + 4].copy_from_slice(&length.to_le_bytes());
}

fn put_value(out: &mut Vec<u8>, value: &AnyValue<'_>) {
    let mut message = Vec::new();
    match value {
        AnyValue::Text(text) => {
            put_header(&mut message, 1, text.len());
            message.extend_from_slice(text);
        }
        AnyValue::Boolean(truth) => message.extend_from_slice(&[0x10, u8::from(*truth)]),
        AnyValue::Integer(number) => {
            message.push(0x18);
            put_varint(&mut message, number.cast_unsigned());
        }
        AnyValue::Other(whole) => message.extend_from_slice(whole),
    }
    put_header(out, 2, message.len());
    out.extend_from_slice(&message);
}

pub(crate) fn put_text(out: &mut Vec<u8>, key: &str, text: &[u8]) {
    put_attribute(out, key.as_bytes(), &AnyValue::Text(text));
}

/// The attributes that a resource is told with, gathered one by one.
#[derive(Debug, Default)]
pub(super) struct ResourceName {
    attributes: Vec<(Vec<u8>, Vec<u8>)>,
    /// `service.name`, where it is a text.
    pub service: Vec<u8>,
}

impl ResourceName {
    pub(crate) fn clear(&mut self) {
        self.attributes.clear();
        self.service.clear();
    }

    pub(crate) fn take(&mut self, attribute: &KeyValue<'_>, plan: &Plan) {
        if attribute.key == b"service.name"
            && let Some(service) = attribute.value.text()
        {
            self.service = service.to_vec();
        }
        let is_told = match &plan.resource {
            super::ResourceAttributes::All => true,
            super::ResourceAttributes::AllBut(names) => !names.iter().any(|name| name.as_bytes() == attribute.key),
            super::ResourceAttributes::These(names) => names.iter().any(|name| name.as_bytes() == attribute.key),
        };
        if is_told {
            let mut bytes = Vec::new();
            put_attribute(&mut bytes, attribute.key, &attribute.value);
            // The last of several of one name holds.
            self.attributes.retain(|(key, _)| key != attribute.key);
            self.attributes.push((attribute.key.to_vec(), bytes));
        }
    }

    /// All attributes, in the order of their names.
    pub(crate) fn finish(&mut self) -> Vec<u8> {
        self.attributes.sort();
        self.attributes.iter().flat_map(|(_, bytes)| bytes.iter().copied()).collect()
    }
}

/// The name of a series.
pub(crate) fn name(shape: [u8; SHAPE_BYTES], resource: &[u8], point: &[u8]) -> Box<[u8]> {
    let mut name = Vec::with_capacity(SHAPE_BYTES + 4 + resource.len() + point.len());
    name.extend_from_slice(&shape);
    name.extend_from_slice(&u32::try_from(resource.len()).unwrap_or(u32::MAX).to_le_bytes());
    name.extend_from_slice(resource);
    name.extend_from_slice(point);
    name.into_boxed_slice()
}

/// The name of the series for what is past the bound.
pub(crate) fn overflow(shape: [u8; SHAPE_BYTES]) -> Box<[u8]> {
    let mut point = Vec::new();
    put_attribute(&mut point, b"otel.metric.overflow", &AnyValue::Boolean(true));
    name(shape, &[], &point)
}

/// The same beside the series of a name; the name itself where it is none.
pub(super) fn overflow_of(name: &[u8]) -> Box<[u8]> {
    name.first_chunk().map_or_else(|| name.into(), |shape| overflow(*shape))
}

/// The resource and the data point of a name; empty where it is none.
pub(crate) fn parts(name: &[u8]) -> (&[u8], &[u8]) {
    let rest = name.get(SHAPE_BYTES..).unwrap_or_default();
    let Some((length, rest)) = rest.split_first_chunk() else { return (&[], &[]) };
    let length = usize::try_from(u32::from_le_bytes(*length)).unwrap_or(usize::MAX);
    rest.split_at_checked(length).unwrap_or_default()
}

/// The `KeyValue` messages of attributes.
pub(crate) fn attributes(mut bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    std::iter::from_fn(move || {
        let (length, rest) = bytes.split_first_chunk()?;
        let length = usize::try_from(u32::from_le_bytes(*length)).ok()?;
        let (attribute, rest) = rest.split_at_checked(length)?;
        bytes = rest;
        Some(attribute)
    })
}

/// The name of a kind, as the connector has it.
pub(super) const fn kind(number: u64) -> &'static str {
    match number {
        1 => "SPAN_KIND_INTERNAL",
        2 => "SPAN_KIND_SERVER",
        3 => "SPAN_KIND_CLIENT",
        4 => "SPAN_KIND_PRODUCER",
        5 => "SPAN_KIND_CONSUMER",
        _ => "SPAN_KIND_UNSPECIFIED",
    }
}

/// The name of a status.
pub(super) const fn status(code: u64) -> &'static str {
    match code {
        1 => "STATUS_CODE_OK",
        2 => "STATUS_CODE_ERROR",
        _ => "STATUS_CODE_UNSET",
    }
}
