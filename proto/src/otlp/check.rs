//! Checks the parts of a span that tailwater forwards without decoding: that a decoder further on will accept
//! them. One malformed attribute in a kept span would otherwise make the next hop refuse the whole batch, and
//! cost neighbours their spans.
//!
//! Checked: wire form of every nested message of the OTLP definition, UTF-8 of every string (protobuf requires
//! it), nesting of `AnyValue` (decoders stop at 100 messages).

use super::wire::{Field, Reader, Value, WireError};
use thiserror::Error;

/// Deepest nesting of `AnyValue` accepted. prost and Go stop at 100 nested messages; one level of a key-value
/// list is three of them, and four enclose a span's attribute: 4 + 3 * 30 < 100.
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

/// A `KeyValue`: its key and its `AnyValue`, both checked.
#[derive(Debug, Clone, Copy)]
pub struct KeyValue<'a> {
    /// The attribute's name.
    pub key: &'a [u8],
    /// Its value; empty bytes mean no value.
    pub value: AnyValue<'a>,
}

/// Checks a `KeyValue` and returns its parts.
///
/// # Errors
/// Any `Fault`.
#[inline]
pub fn key_value(message: &[u8]) -> Result<KeyValue<'_>, Fault> {
    // The shape that nearly every attribute has: a short key, then a short string, nothing else.
    if let [0x0a, key_length, rest @ ..] = message
        && *key_length < 0x80
        && let Some((key, [0x12, value_length, value @ ..])) = rest.split_at_checked(usize::from(*key_length))
        && usize::from(*value_length) == value.len()
        && let [0x0a, text_length, text @ ..] = value
        && usize::from(*text_length) == text.len()
        && text.len() < 0x80
        && message.is_ascii()
    {
        return Ok(KeyValue { key, value: AnyValue(value) });
    }
    key_value_at(message, 0)
}

/// A `KeyValue` at some depth of nesting.
fn key_value_at(message: &[u8], depth: u32) -> Result<KeyValue<'_>, Fault> {
    let mut parts = KeyValue { key: &[], value: AnyValue(&[]) };
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => {
                parts.key = field.bytes()?;
                text(parts.key)?;
            }
            2 => {
                let value = field.bytes()?;
                any_value_at(value, depth)?;
                parts.value = AnyValue(value);
            }
            _ => {}
        }
    }
    Ok(parts)
}

/// `AnyValue` (OTLP common.proto): one of string 1, bool 2, int 3, double 4, array 5, key-value list 6, bytes 7.
fn any_value_at(message: &[u8], depth: u32) -> Result<(), Fault> {
    if depth >= ANY_VALUE_DEPTH_MAX {
        return Err(Fault::Depth);
    }
    let mut reader = Reader::new(message);
    while let Some(field) = reader.next_field()? {
        match field.number {
            1 => text(field.bytes()?)?,
            2 | 3 => _ = field.varint()?,
            4 => _ = field.fixed64()?,
            5 => each(field.bytes()?, 1, |item| any_value_at(item, depth + 1))?,
            6 => each(field.bytes()?, 1, |item| key_value_at(item, depth + 1).map(|_| ()))?,
            7 => _ = field.bytes()?,
            _ => {}
        }
    }
    Ok(())
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
        1 | 2 => Ok(_ = field.bytes()?),
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
        3 => Ok(_ = field.bytes()?),
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

/// A checked `AnyValue`, read lazily. When several members of the oneof are present the last one holds, as
/// protobuf says.
#[derive(Debug, Clone, Copy)]
pub struct AnyValue<'a>(&'a [u8]);

impl<'a> AnyValue<'a> {
    /// Wraps the bytes of an `AnyValue` message. Bytes that are no message read as absent.
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    /// The text, when it is a string value.
    #[must_use]
    #[inline]
    pub fn text(&self) -> Option<&'a [u8]> {
        match self.last()? {
            (1, Value::Bytes(text)) => Some(text),
            _ => None,
        }
    }

    /// The integer, when it is an int value.
    #[must_use]
    #[inline]
    pub fn integer(&self) -> Option<i64> {
        match self.last()? {
            (3, Value::Varint(value)) => Some(value.cast_signed()),
            _ => None,
        }
    }

    /// The truth value, when it is a bool value.
    #[must_use]
    #[inline]
    pub fn boolean(&self) -> Option<bool> {
        match self.last()? {
            (2, Value::Varint(value)) => Some(value != 0),
            _ => None,
        }
    }

    #[inline]
    fn last(&self) -> Option<(u32, Value<'a>)> {
        let mut last = None;
        let mut reader = Reader::new(self.0);
        while let Ok(Some(field)) = reader.next_field() {
            if (1..=7).contains(&field.number) {
                last = Some((field.number, field.value));
            }
        }
        last
    }
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
        let value = AnyValue::new(&[0x0a, 1, b'x', 0x18, 7]);
        assert_eq!((value.text(), value.integer()), (None, Some(7)));
    }
}
