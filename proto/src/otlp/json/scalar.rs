//! What a JSON value means in a field of OTLP: numbers as text or number, enumerations by name or number, base64.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};

use super::text::{Scalar, hex_digit};
use crate::otlp::schema::{FLAGS, Field, Kind, Names};
use crate::otlp::wire::put_varint;

/// What was needed where something else stands.
pub(super) type Expected = &'static str;

pub(super) fn text<'a>(value: &Scalar<'a>) -> Result<&'a [u8], Expected> {
    match value {
        Scalar::Text(text) => Ok(text),
        _ => Err("must be a string"),
    }
}

/// base64 in the standard or the URL alphabet, padded or not (ProtoJSON takes all four).
pub(super) fn base64(text: &[u8]) -> Result<Vec<u8>, Expected> {
    let standard = STANDARD_PAD_INDIFFERENT.decode(text);
    standard.or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text)).map_err(|_| "must be base64")
}

/// Writes an id of `length` bytes, with its tag. What is no id of that length becomes a single byte, which no id is:
/// whoever looks at ids next refuses that span, point or record, and not its neighbours with it.
pub(super) fn put_id(out: &mut Vec<u8>, number: u32, length: usize, text: &[u8]) {
    if text.is_empty() {
        return;
    }
    put_varint(out, u64::from(number) << 3 | 2);
    let start = out.len();
    put_varint(out, length as u64);
    let digits = |pair: &[u8]| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?);
    let is_whole = text.len() == length * 2;
    if is_whole {
        out.extend(text.chunks_exact(2).map_while(digits));
    }
    if !is_whole || out.len() - start != length + 1 {
        out.truncate(start);
        out.extend_from_slice(&[1, 0xff]);
    }
}

/// A number as the wire has it.
pub(super) enum Number {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

impl Number {
    pub(super) fn is_zero(&self) -> bool {
        matches!(self, Self::Varint(0) | Self::Fixed32(0) | Self::Fixed64(0))
    }

    /// The wire type of its tag.
    pub(super) fn wire_type(&self) -> u64 {
        match self {
            Self::Varint(_) => 0,
            Self::Fixed64(_) => 1,
            Self::Fixed32(_) => 5,
        }
    }

    pub(super) fn put(&self, out: &mut Vec<u8>) {
        match self {
            Self::Varint(value) => put_varint(out, *value),
            Self::Fixed32(value) => out.extend_from_slice(&value.to_le_bytes()),
            Self::Fixed64(value) => out.extend_from_slice(&value.to_le_bytes()),
        }
    }
}

pub(super) fn number(field: &Field, value: &Scalar<'_>) -> Result<Number, Expected> {
    Ok(match field.kind {
        Kind::Bool => match value {
            Scalar::Boolean(value) => Number::Varint(u64::from(*value)),
            _ => return Err("must be true or false"),
        },
        Kind::Enumeration(names) => Number::Varint(i64::from(enumeration(names, value)?).cast_unsigned()),
        Kind::Int32 => Number::Varint(i64::from(i32_of(value)?).cast_unsigned()),
        Kind::Sint32 => {
            let value = i32_of(value)?;
            // ZigZag: the sign goes to the lowest bit.
            Number::Varint(u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()))
        }
        Kind::Uint32 => Number::Varint(u64::from(u32_of(field, value)?)),
        Kind::Fixed32 => Number::Fixed32(u32_of(field, value)?),
        Kind::Int64 => Number::Varint(i64_of(value)?.cast_unsigned()),
        Kind::Sfixed64 => Number::Fixed64(i64_of(value)?.cast_unsigned()),
        Kind::Uint64 => Number::Varint(u64_of(value)?),
        Kind::Fixed64 => Number::Fixed64(u64_of(value)?),
        Kind::Double => Number::Fixed64(f64_of(value)?.to_bits()),
        Kind::Text | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => return Err("must be a number"),
    })
}

/// What a list or an object in place of a scalar should have been.
pub(super) fn expected(kind: Kind) -> Expected {
    match kind {
        Kind::Bool => "must be true or false",
        Kind::Text | Kind::Id(_) => "must be a string",
        Kind::Bytes => "must be base64",
        Kind::Enumeration(_) => ENUMERATION,
        Kind::Message(_) => "must be an object",
        Kind::Double => DOUBLE,
        Kind::Int32 | Kind::Sint32 => INT32,
        Kind::Uint32 | Kind::Fixed32 => UINT32,
        Kind::Int64 | Kind::Sfixed64 => INT64,
        Kind::Uint64 | Kind::Fixed64 => UINT64,
    }
}

const DOUBLE: Expected = "must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
const INT32: Expected = "must be an integer of 32 bits";
const UINT32: Expected = "must be an integer of 32 bits and not negative";
const INT64: Expected = "must be an integer of 64 bits";
const UINT64: Expected = "must be an integer of 64 bits and not negative";

const ENUMERATION: Expected = "must be the name or the number of a value of its enumeration";

fn enumeration(names: Names, value: &Scalar<'_>) -> Result<i32, Expected> {
    if let Scalar::Text(text) = value
        && let Some((_, number)) = names.iter().find(|(name, _)| name.as_bytes() == *text)
    {
        return Ok(*number);
    }
    integer(value).and_then(|value| i32::try_from(value).ok()).ok_or(ENUMERATION)
}

/// An integer, as a number or as text. Only integers come back, whatever their form (`5`, `5.0`, `5e0`, `"5"`).
fn integer(value: &Scalar<'_>) -> Option<i128> {
    let (Scalar::Number(digits) | Scalar::Text(digits)) = value else { return None };
    if let Some(small) = short_integer(digits) {
        return Some(i128::from(small));
    }
    let text = std::str::from_utf8(digits).ok()?;
    if let Ok(value) = text.parse::<i64>() {
        return Some(i128::from(value));
    }
    if let Ok(value) = text.parse::<u64>() {
        return Some(i128::from(value));
    }
    text.starts_with(|c: char| c.is_ascii_digit() || c == '-').then(|| text.parse().ok().and_then(whole))?
}

/// The commonest form, up to 18 digits, without a detour.
#[inline]
fn short_integer(digits: &[u8]) -> Option<u64> {
    if digits.is_empty() || digits.len() > 18 {
        return None;
    }
    let mut value = 0_u64;
    for byte in digits {
        let digit = byte.wrapping_sub(b'0');
        if digit > 9 {
            return None;
        }
        value = value * 10 + u64::from(digit);
    }
    Some(value)
}

/// The integer a double without a fraction is; JavaScript writes large ones with an exponent.
fn whole(value: f64) -> Option<i128> {
    // 2^64: beyond it no field has room, and below it the text of the number is exact.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    if value.fract() != 0.0 || value.abs() > LIMIT {
        return None;
    }
    format!("{value:.0}").parse().ok()
}

fn i32_of(value: &Scalar<'_>) -> Result<i32, Expected> {
    integer(value).and_then(|value| i32::try_from(value).ok()).ok_or(INT32)
}

fn u32_of(field: &Field, value: &Scalar<'_>) -> Result<u32, Expected> {
    if field.name == "flags"
        && let Scalar::Text(text) = value
        && let Some((_, bits)) = FLAGS.iter().find(|(name, _)| name.as_bytes() == *text)
    {
        return Ok(*bits);
    }
    let value = integer(value).and_then(|value| u32::try_from(value).ok());
    value.ok_or(UINT32)
}

fn i64_of(value: &Scalar<'_>) -> Result<i64, Expected> {
    integer(value).and_then(|value| i64::try_from(value).ok()).ok_or(INT64)
}

fn u64_of(value: &Scalar<'_>) -> Result<u64, Expected> {
    let value = integer(value).and_then(|value| u64::try_from(value).ok());
    value.ok_or(UINT64)
}

fn f64_of(value: &Scalar<'_>) -> Result<f64, Expected> {
    let (digits, is_text) = match value {
        Scalar::Number(digits) => (*digits, false),
        Scalar::Text(digits) => (*digits, true),
        _ => return Err(DOUBLE),
    };
    let text = std::str::from_utf8(digits).map_err(|_| DOUBLE)?;
    let number: f64 = text.parse().map_err(|_| DOUBLE)?;
    // Words for what is no number, in any case, are read from text, as Go reads them; a number too large is none.
    let is_word = is_text && text.trim_start_matches(['+', '-']).starts_with(|c: char| c.is_ascii_alphabetic());
    if number.is_finite() || is_word { Ok(number) } else { Err(DOUBLE) }
}
