//! Checks the parts of a span that tailwater forwards without decoding: that a decoder further on will accept
//! them. One malformed attribute in a kept span would otherwise make the next hop refuse the whole batch, and
//! cost neighbours their spans.
//!
//! Checked: wire form of every nested message of the OTLP definition, UTF-8 of every string (protobuf requires
//! it), nesting of `AnyValue` (decoders stop at 100 messages).

use super::Signal;
use super::schema::{self, Kind, Message, Presence, Role};
use super::wire::{Field, Reader, Value, WireError};
use thiserror::Error;

/// Deepest nesting of `AnyValue` accepted. prost and Go stop at 100 nested messages; one level of a key-value list is
/// three of them, and four enclose a span's attribute: 4 + 3 * 30 < 100.
/// At the bound: the span, point or record is refused; counted in `tailwater_items_refused_total{cause="nesting"}`.
pub const ANY_VALUE_DEPTH_MAX: u32 = 30;

/// Why a part of a span would not be accepted further on. Nothing was changed; the span is to be refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum Fault {
    /// The bytes are no protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// A string field holds something else than UTF-8.
    #[error("a string is not valid UTF-8")]
    Utf8,
    /// An id has a length that no id has: decoders further on refuse the whole request for it.
    #[error("an id is neither empty nor {0} bytes")]
    Id(usize),
    /// An attribute value is nested too deeply.
    #[error("an attribute value is nested deeper than {ANY_VALUE_DEPTH_MAX} levels")]
    Depth,
}

/// Checks that `bytes` is UTF-8.
///
/// # Errors
/// `Utf8`.
#[inline]
pub fn text(bytes: &[u8]) -> Result<(), Fault> {
    if bytes.is_ascii() || std::str::from_utf8(bytes).is_ok() { Ok(()) } else { Err(Fault::Utf8) }
}

/// Checks an id that may be left out.
pub(in crate::otlp) fn id(bytes: &[u8], length: usize) -> Result<(), Fault> {
    if bytes.is_empty() || bytes.len() == length { Ok(()) } else { Err(Fault::Id(length)) }
}

/// A `KeyValue`: its key and its `AnyValue`, both checked.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct KeyValue<'a> {
    /// The attribute's name.
    pub key: &'a [u8],
    /// Its value.
    pub value: AnyValue<'a>,
}

/// A checked `AnyValue`. When several members of the oneof are present the last one holds, as protobuf says.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum AnyValue<'a> {
    /// A string, which is UTF-8.
    Text(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// A double, an array, a key-value list, bytes, or nothing: the whole `AnyValue`.
    Other(&'a [u8]),
}

impl<'a> AnyValue<'a> {
    /// The text, when it is a string.
    #[must_use]
    #[inline]
    pub fn text(&self) -> Option<&'a [u8]> {
        match self {
            Self::Text(text) => Some(text),
            _ => None,
        }
    }

    /// The integer, when it is one.
    #[must_use]
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        match self {
            Self::Integer(value) => Some(*value),
            _ => None,
        }
    }

    /// The truth value, when it is one.
    #[must_use]
    #[inline]
    pub fn boolean(&self) -> Option<bool> {
        match self {
            Self::Boolean(value) => Some(*value),
            _ => None,
        }
    }
}

/// Checks a whole request against OTLP's definition and counts its spans, metric points or log records.
///
/// # Errors
/// Any `Fault`, the first there is; `mend` says what is left without it.
pub fn items(signal: Signal, request: &[u8]) -> Result<u32, Fault> {
    message_items(schema::request(signal), request, 0)
}

/// Nesting at which decoders stop.
/// At the bound: the span, point or record is refused; counted in `tailwater_items_refused_total{cause="nesting"}`.
pub const MESSAGE_DEPTH_MAX: u32 = 100;

/// Checks a message against its definition and counts its items, itself included.
pub(in crate::otlp) fn message_items(schema: &'static Message, message: &[u8], depth: u32) -> Result<u32, Fault> {
    if depth >= MESSAGE_DEPTH_MAX {
        return Err(Fault::Depth);
    }
    let mut items = u32::from(schema.role == Role::Item);
    walk(message, |field| {
        let Some(known) = schema.fields.iter().find(|known| known.number == field.number) else { return Ok(()) };
        match (known.kind, field.value) {
            (Kind::Message(inner), _) => {
                items = items.saturating_add(message_items(inner, field.bytes()?, depth + 1)?);
                Ok(())
            }
            (Kind::Text, _) => text(field.bytes()?),
            (Kind::Bytes, _) => Ok(_ = field.bytes()?),
            (Kind::Id(length), _) => id(field.bytes()?, length),
            (kind, _) => check_number(kind, known.presence, field),
        }
    })?;
    Ok(items)
}

/// Checks a number, or a list of them.
pub(in crate::otlp) fn check_number(kind: Kind, presence: Presence, field: &Field<'_>) -> Result<(), Fault> {
    match (kind, field.value) {
        // Numbers that occur any number of times may be packed.
        (kind, Value::Bytes(list)) if presence == Presence::Repeated => packed(kind, list),
        (Kind::Fixed32, _) => Ok(_ = field.fixed32()?),
        (Kind::Fixed64 | Kind::Sfixed64 | Kind::Double, _) => Ok(_ = field.fixed64()?),
        _ => Ok(_ = field.varint()?),
    }
}

/// A packed list of numbers: whole ones only.
fn packed(kind: Kind, list: &[u8]) -> Result<(), Fault> {
    let whole = match kind {
        Kind::Fixed32 => list.len().is_multiple_of(4),
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => list.len().is_multiple_of(8),
        _ => return varints(list),
    };
    if whole { Ok(()) } else { Err(Fault::Wire(WireError::Truncated(list.len()))) }
}

/// A packed list of varints: whole ones of at most 64 bits.
fn varints(list: &[u8]) -> Result<(), Fault> {
    let mut length = 0;
    for (at, byte) in list.iter().enumerate() {
        length += 1;
        if length > 10 || (length == 10 && *byte > 1) {
            return Err(Fault::Wire(WireError::Overlong(at)));
        }
        if *byte < 0x80 {
            length = 0;
        }
    }
    if length == 0 { Ok(()) } else { Err(Fault::Wire(WireError::Truncated(list.len()))) }
}

/// Checks a `KeyValue` and returns its parts.
///
/// # Errors
/// Any `Fault`.
#[inline(always)]
pub fn key_value(message: &[u8]) -> Result<KeyValue<'_>, Fault> {
    match short_key_value(message) {
        Some(parts) => Ok(parts),
        None => key_value_at(message, 0),
    }
}

/// The shape that nearly every attribute has: less than 128 bytes, an ASCII key, then one short scalar, nothing else.
/// Every length in it then is one byte, and tags and lengths are ASCII themselves, so that a text attribute is looked at
/// in one go.
#[inline(always)]
fn short_key_value(message: &[u8]) -> Option<KeyValue<'_>> {
    let [0x0a, key_length, rest @ ..] = message else { return None };
    let (key, [0x12, value_length, value @ ..]) = rest.split_at_checked(usize::from(*key_length))? else { return None };
    if message.len() >= 0x80 || usize::from(*value_length) != value.len() {
        return None;
    }
    match value {
        [0x0a, length, text @ ..] if usize::from(*length) == text.len() && is_ascii(message) => {
            Some(KeyValue { key, value: AnyValue::Text(text) })
        }
        [0x10, truth @ 0..=1] if is_ascii(key) => Some(KeyValue { key, value: AnyValue::Boolean(*truth == 1) }),
        [0x18, byte @ 0..0x80] if is_ascii(key) => Some(KeyValue { key, value: AnyValue::Integer(i64::from(*byte)) }),
        [0x18, low @ 0x80..=0xff, high @ 0..0x80] if is_ascii(key) => {
            let number = i64::from(low & 0x7f) | i64::from(*high) << 7;
            Some(KeyValue { key, value: AnyValue::Integer(number) })
        }
        [0x18, low @ 0x80..=0xff, middle @ 0x80..=0xff, high @ 0..0x80] if is_ascii(key) => {
            let number = i64::from(low & 0x7f) | i64::from(middle & 0x7f) << 7 | i64::from(*high) << 14;
            Some(KeyValue { key, value: AnyValue::Integer(number) })
        }
        [0x21, number @ ..] if number.len() == 8 && is_ascii(key) => {
            Some(KeyValue { key, value: AnyValue::Other(value) })
        }
        _ => None,
    }
}

/// Whether all bytes are ASCII, for short slices: words, the last of them overlapping.
#[inline(always)]
pub(in crate::otlp) fn is_ascii(bytes: &[u8]) -> bool {
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let Some(last) = bytes.last_chunk::<8>() else { return bytes.iter().all(u8::is_ascii) };
    let (words, _) = bytes.as_chunks::<8>();
    let high = words.iter().fold(u64::from_le_bytes(*last), |high, word| high | u64::from_le_bytes(*word));
    high & HIGH == 0
}

/// A `KeyValue` of whatever shape, at some depth of nesting.
#[inline(never)]
pub(in crate::otlp) fn key_value_at(message: &[u8], depth: u32) -> Result<KeyValue<'_>, Fault> {
    let mut parts = KeyValue { key: &[], value: AnyValue::Other(&[]) };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                parts.key = field.bytes()?;
                text(parts.key)?;
            }
            // Several pieces of the value are merged, as protobuf says: the last that holds a member counts.
            2 => parts.value = any_value_at(field.bytes()?, parts.value, depth)?,
            _ => {}
        }
    }
    Ok(parts)
}

/// Checks an `AnyValue` that stands by itself, such as the body of a log record. `before` is what earlier pieces of the same
/// value said, `Other` of nothing where there are none.
///
/// # Errors
/// Any `Fault`.
#[inline]
pub fn any_value<'a>(message: &'a [u8], before: AnyValue<'a>) -> Result<AnyValue<'a>, Fault> {
    match message {
        // A text and nothing else, of less than 128 bytes.
        [0x0a, length @ 0..0x80, value @ ..] if usize::from(*length) == value.len() => {
            text(value)?;
            Ok(AnyValue::Text(value))
        }
        _ => any_value_at(message, before, 0),
    }
}

/// `AnyValue` (OTLP common.proto): one of string 1, bool 2, int 3, double 4, array 5, key-value list 6, bytes 7.
/// `before` is what earlier pieces of the same value said.
fn any_value_at<'a>(message: &'a [u8], before: AnyValue<'a>, depth: u32) -> Result<AnyValue<'a>, Fault> {
    if depth >= ANY_VALUE_DEPTH_MAX {
        return Err(Fault::Depth);
    }
    let mut value = before;
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                text(field.bytes()?)?;
                value = AnyValue::Text(field.bytes()?);
            }
            2 => value = AnyValue::Boolean(field.varint()? != 0),
            3 => value = AnyValue::Integer(field.varint()?.cast_signed()),
            4 => {
                field.fixed64()?;
                value = AnyValue::Other(message);
            }
            5 => {
                each(field.bytes()?, 1, |item| any_value_at(item, AnyValue::Other(&[]), depth + 1).map(|_| ()))?;
                value = AnyValue::Other(message);
            }
            6 => {
                each(field.bytes()?, 1, |item| key_value_at(item, depth + 1).map(|_| ()))?;
                value = AnyValue::Other(message);
            }
            7 => {
                field.bytes()?;
                value = AnyValue::Other(message);
            }
            _ => {}
        }
    }
    Ok(value)
}

/// Calls `visit` for each length-delimited field `number` of `message`.
fn each<'a>(message: &'a [u8], number: u32, mut visit: impl FnMut(&'a [u8]) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        if field.number == number {
            visit(field.bytes()?)?;
        }
    }
    Ok(())
}

/// Checks a `Span.Event`: time 1, name 2, attributes 3, dropped count 4.
///
/// # Errors
/// Any `Fault`.
pub fn event(message: &[u8]) -> Result<(), Fault> {
    walk(message, |field| match field.number {
        1 => Ok(_ = field.fixed64()?),
        2 => text(field.bytes()?),
        3 => key_value(field.bytes()?).map(|_| ()),
        4 => Ok(_ = field.varint()?),
        _ => Ok(()),
    })
}

/// Checks a `Span.Link`: trace id 1, span id 2, trace state 3, attributes 4, dropped count 5, flags 6.
///
/// # Errors
/// Any `Fault`.
pub fn link(message: &[u8]) -> Result<(), Fault> {
    walk(message, |field| match field.number {
        1 => id(field.bytes()?, 16),
        2 => id(field.bytes()?, 8),
        3 => text(field.bytes()?),
        4 => key_value(field.bytes()?).map(|_| ()),
        5 => Ok(_ = field.varint()?),
        6 => Ok(_ = field.fixed32()?),
        _ => Ok(()),
    })
}

/// Checks a `Resource` or an `InstrumentationScope` and hands each attribute to `visit`. They differ in where
/// the attributes lie: field 1 of a resource, field 3 of a scope (after name 1 and version 2).
///
/// # Errors
/// Any `Fault`.
pub fn resource<'a>(message: &'a [u8], mut visit: impl FnMut(KeyValue<'a>)) -> Result<(), Fault> {
    walk(message, |field| match field.number {
        1 => {
            visit(key_value(field.bytes()?)?);
            Ok(())
        }
        2 => Ok(_ = field.varint()?),
        3 => message_items(&schema::ENTITY_REF, field.bytes()?, 3).map(|_| ()),
        _ => Ok(()),
    })
}

/// Checks an `InstrumentationScope`: name 1, version 2, attributes 3, dropped count 4.
///
/// # Errors
/// Any `Fault`.
pub fn scope(message: &[u8]) -> Result<(), Fault> {
    walk(message, |field| match field.number {
        1 | 2 => text(field.bytes()?),
        3 => key_value(field.bytes()?).map(|_| ()),
        4 => Ok(_ = field.varint()?),
        _ => Ok(()),
    })
}

/// Calls `visit` for each field of `message`.
fn walk<'a>(message: &'a [u8], mut visit: impl FnMut(&Field<'a>) -> Result<(), Fault>) -> Result<(), Fault> {
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        visit(&field)?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::otlp::wire::put_header;

    /// A value nested `depth` arrays deep.
    fn nested(depth: usize) -> Vec<u8> {
        let mut value = vec![0x18, 0x01];
        for _ in 0..depth {
            let mut array = Vec::new();
            put_header(&mut array, 1, value.len());
            array.extend_from_slice(&value);
            value.clear();
            put_header(&mut value, 5, array.len());
            value.extend_from_slice(&array);
        }
        let mut message = vec![0x0a, 1, b'k'];
        put_header(&mut message, 2, value.len());
        message.extend_from_slice(&value);
        message
    }

    #[test]
    fn nesting_is_accepted_up_to_the_bound_and_refused_past_it() {
        assert!(key_value(&nested(ANY_VALUE_DEPTH_MAX as usize - 1)).is_ok());
        assert_eq!(key_value(&nested(ANY_VALUE_DEPTH_MAX as usize)).map(|_| ()), Err(Fault::Depth));
        assert_eq!(key_value(&nested(20_000)).map(|_| ()), Err(Fault::Depth));
    }

    #[test]
    fn the_short_path_and_the_general_one_agree() {
        let short = [0x0a, 1, b'k', 0x12, 3, 0x0a, 1, b'v'];
        let parts = key_value(&short).unwrap();
        assert_eq!((parts.key, parts.value.text()), (&b"k"[..], Some(&b"v"[..])));
        let general = key_value_at(&short, 0).unwrap();
        assert_eq!((general.key, general.value.text()), (&b"k"[..], Some(&b"v"[..])));
    }

    #[test]
    fn invalid_utf8_is_refused_in_key_and_value() {
        assert_eq!(key_value(&[0x0a, 1, 0xff]).map(|_| ()), Err(Fault::Utf8));
        assert_eq!(key_value(&[0x0a, 1, b'k', 0x12, 3, 0x0a, 1, 0xc3]).map(|_| ()), Err(Fault::Utf8));
        assert!(key_value(&[0x0a, 1, b'k', 0x12, 4, 0x0a, 2, 0xc3, 0xa9]).is_ok());
    }

    #[test]
    fn the_last_member_of_a_oneof_holds() {
        let parts = key_value(&[0x0a, 1, b'k', 0x12, 5, 0x0a, 1, b'x', 0x18, 7]).unwrap();
        assert_eq!(parts.value, AnyValue::Integer(7));
    }

    #[test]
    fn short_scalars_read_as_the_general_path_reads_them() {
        let scalars =
            [&[0x10, 0][..], &[0x10, 1], &[0x10, 2], &[0x18, 0x7f], &[0x18, 0x80, 1], &[0x18, 0xff, 0xff, 3], &[]];
        let scalars = [&scalars[..], &[&[0x21, 1, 2, 3, 4, 5, 6, 0xf0, 0x3f][..]]].concat();
        for (value, key) in scalars.iter().flat_map(|value| [(value, b"k".to_vec()), (value, vec![b'k'; 100])]) {
            let length = |bytes: &[u8]| u8::try_from(bytes.len()).unwrap();
            let message = [&[0x0a, length(&key)], &key[..], &[0x12, length(value)], value].concat();
            assert_eq!(key_value(&message), key_value_at(&message, 0), "{value:?}");
        }
    }

    #[test]
    fn points_and_records_are_counted_and_damage_is_found() {
        use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
        use opentelemetry_proto::tonic::metrics::v1::{
            Gauge, HistogramDataPoint, Metric, NumberDataPoint, ResourceMetrics, ScopeMetrics, metric::Data,
        };
        use prost::Message as _;
        let gauge = Gauge { data_points: vec![NumberDataPoint::default(); 3] };
        let point = HistogramDataPoint { bucket_counts: vec![1, 2], explicit_bounds: vec![0.5], ..Default::default() };
        let histogram =
            opentelemetry_proto::tonic::metrics::v1::Histogram { data_points: vec![point; 2], ..Default::default() };
        let metric = |name: &str, data| Metric { name: name.into(), data: Some(data), ..Default::default() };
        let metrics = vec![metric("g", Data::Gauge(gauge)), metric("h", Data::Histogram(histogram))];
        let scope_metrics = vec![ScopeMetrics { metrics, ..Default::default() }];
        let resource_metrics = vec![ResourceMetrics { scope_metrics, ..Default::default() }];
        let request = ExportMetricsServiceRequest { resource_metrics }.encode_to_vec();
        assert_eq!(items(Signal::Metrics, &request), Ok(5));
        assert_eq!(items(Signal::Metrics, &[]), Ok(0));
        for cut in 1..request.len() {
            let truncated = &request[..cut];
            assert_eq!(
                items(Signal::Metrics, truncated).is_ok(),
                ExportMetricsServiceRequest::decode(truncated).is_ok(),
                "cut at {cut}"
            );
        }
        // A log record whose body is not UTF-8.
        let record = [0x0a, 9, 0x12, 7, 0x12, 5, 0x2a, 3, 0x0a, 1, 0xff];
        assert_eq!(items(Signal::Logs, &record), Err(Fault::Utf8));
    }

    #[test]
    fn a_high_byte_is_seen_wherever_it_is() {
        for length in 0..40 {
            assert!(is_ascii(&vec![0x7f; length]));
            for at in 0..length {
                let mut bytes = vec![b'a'; length];
                bytes[at] = 0x80;
                assert!(!is_ascii(&bytes), "{at} of {length}");
            }
        }
    }
}
