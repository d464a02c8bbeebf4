//! Values made into other types, as the reference's "like" getters make them.

use super::error::Failure;
use super::value::{Chars, List, ListKind, Map, Value, is_plain};
use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use std::borrow::Cow;

/// A text made of a value; none of nil.
///
/// # Errors
/// `Type` for what has no text.
pub fn text_like<'a>(value: Value<'a>) -> Result<Option<Chars<'a>>, Failure> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Text(text) => text,
        Value::Bytes(bytes) => Cow::Owned(hexadecimal(&bytes)),
        other => {
            let mut out = Vec::new();
            json(&other, true, &mut out)?;
            Cow::Owned(out)
        }
    }))
}

/// The text of an element of the telemetry's lists and maps; nil is an empty one, bytes are base64.
///
/// # Errors
/// `Type` for what has no text.
pub fn element_text<'a>(value: Value<'a>) -> Result<Chars<'a>, Failure> {
    Ok(match value {
        Value::Nil => Cow::Borrowed(&[]),
        Value::Text(text) => text,
        Value::Bytes(bytes) => Cow::Owned(STANDARD.encode(&bytes).into_bytes()),
        Value::Double(value) => Cow::Owned(double(value).into_bytes()),
        other => {
            let mut out = Vec::new();
            json(&other, false, &mut out)?;
            Cow::Owned(out)
        }
    })
}

/// An integer made of a value; none of nil.
///
/// # Errors
/// `Type`, or `Value` for a text that is no integer.
pub fn integer_like(value: &Value<'_>) -> Result<Option<i64>, Failure> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Integer(value) => *value,
        Value::Double(value) => truncated(*value),
        Value::Boolean(value) => (*value).into(),
        Value::Text(text) => parsed(text)?,
        _ => return Err(Failure::Type),
    }))
}

/// A double made of a value; none of nil.
///
/// # Errors
/// `Type`, or `Value` for a text that is no number.
#[expect(clippy::cast_precision_loss, reason = "the nearest double is what the reference takes")]
pub fn double_like(value: &Value<'_>) -> Result<Option<f64>, Failure> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Integer(value) => *value as f64,
        Value::Double(value) => *value,
        Value::Boolean(value) => f64::from(u8::from(*value)),
        Value::Text(text) => {
            let number: f64 = parsed(text)?;
            // Too large a number is an error there, and infinity here.
            let is_named = text.iter().any(|byte| matches!(byte, b'i' | b'I'));
            if number.is_infinite() && !is_named {
                return Err(Failure::Value);
            }
            number
        }
        _ => return Err(Failure::Type),
    }))
}

/// A truth value made of a value; none of nil.
///
/// # Errors
/// `Type`, or `Value` for a text that is no truth value.
pub fn boolean_like(value: &Value<'_>) -> Result<Option<bool>, Failure> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Boolean(value) => *value,
        Value::Integer(value) => *value != 0,
        Value::Double(value) => *value != 0.0,
        Value::Text(text) => match &**text {
            b"1" | b"t" | b"T" | b"true" | b"TRUE" | b"True" => true,
            b"0" | b"f" | b"F" | b"false" | b"FALSE" | b"False" => false,
            _ => return Err(Failure::Value),
        },
        _ => return Err(Failure::Type),
    }))
}

/// Bytes made of a value; none of nil. Numbers are big-endian.
///
/// # Errors
/// `Type` for lists, maps, times and ids.
pub fn bytes_like<'a>(value: Value<'a>) -> Result<Option<Chars<'a>>, Failure> {
    Ok(Some(match value {
        Value::Nil => return Ok(None),
        Value::Bytes(bytes) | Value::Text(bytes) => bytes,
        Value::Integer(value) => Cow::Owned(value.to_be_bytes().to_vec()),
        Value::Double(value) => Cow::Owned(value.to_bits().to_be_bytes().to_vec()),
        Value::Boolean(value) => Cow::Owned(vec![value.into()]),
        _ => return Err(Failure::Type),
    }))
}

fn parsed<T: std::str::FromStr>(text: &[u8]) -> Result<T, Failure> {
    std::str::from_utf8(text).ok().and_then(|text| text.parse().ok()).ok_or(Failure::Value)
}

/// A double without its fraction. What no integer can hold is the lowest one, as on the reference's usual processor.
#[must_use]
#[expect(clippy::cast_possible_truncation, reason = "only what fits is cut")]
pub fn truncated(value: f64) -> i64 {
    const LIMIT: f64 = 9_223_372_036_854_775_808.0;
    if (-LIMIT..LIMIT).contains(&value) { value as i64 } else { i64::MIN }
}

/// A double as JSON has it: an exponent only far from one.
fn double(value: f64) -> String {
    if value.is_nan() {
        return "NaN".to_string();
    }
    if value.is_infinite() {
        return if value > 0.0 { "Infinity" } else { "-Infinity" }.to_string();
    }
    let magnitude = value.abs();
    if magnitude != 0.0 && !(1e-6..1e21).contains(&magnitude) {
        let text = format!("{value:e}");
        return match text.split_once('e') {
            Some((digits, exponent)) if !exponent.starts_with('-') => format!("{digits}e+{exponent}"),
            _ => text,
        };
    }
    format!("{value}")
}

/// A value as Go's JSON encoder writes it: keys sorted, bytes as base64, ids as lists of numbers.
fn json(value: &Value<'_>, escapes_html: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
    match value {
        Value::Nil => out.extend_from_slice(b"null"),
        Value::Boolean(value) => out.extend_from_slice(if *value { b"true" } else { b"false" }),
        Value::Integer(value) | Value::Port(value) | Value::Duration(value) => {
            out.extend_from_slice(value.to_string().as_bytes())
        }
        Value::Double(value) if value.is_finite() => out.extend_from_slice(double(*value).as_bytes()),
        Value::Double(_) => return Err(Failure::Type),
        Value::Messages(..) | Value::Status => out.extend_from_slice(b"{}"),
        Value::Text(text) => quoted(text, escapes_html, out),
        Value::Bytes(bytes) => quoted(STANDARD.encode(bytes).as_bytes(), escapes_html, out),
        Value::TraceId(id) | Value::ProfileId(id) => numbers(id, out),
        Value::SpanId(id) => numbers(id, out),
        Value::Time(time, zone) => {
            let text = super::layout::rfc3339(*time, *zone).ok_or(Failure::Type)?;
            quoted(text.as_bytes(), escapes_html, out);
        }
        Value::List(list) => json_list(list, escapes_html, out)?,
        Value::Map(map) => json_map(map, escapes_html, out)?,
    }
    Ok(())
}

fn json_list(list: &List<'_>, escapes_html: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut separator = b'[';
    for value in list.iter() {
        out.push(separator);
        separator = b',';
        json(&value, escapes_html, out)?;
    }
    if separator == b'[' {
        out.push(b'[');
    }
    out.push(b']');
    Ok(())
}

fn json_map(map: &Map<'_>, escapes_html: bool, out: &mut Vec<u8>) -> Result<(), Failure> {
    let mut entries: Vec<_> = map.iter().collect();
    entries.sort_by(|left, right| left.0.cmp(&right.0));
    let mut separator = b'{';
    for (key, value) in &entries {
        out.push(separator);
        separator = b',';
        quoted(key, escapes_html, out);
        out.push(b':');
        json(value, escapes_html, out)?;
    }
    if separator == b'{' {
        out.push(b'{');
    }
    out.push(b'}');
    Ok(())
}

fn numbers(bytes: &[u8], out: &mut Vec<u8>) {
    let numbers: Vec<String> = bytes.iter().map(u8::to_string).collect();
    out.extend_from_slice(format!("[{}]", numbers.join(",")).as_bytes());
}

fn quoted(text: &[u8], escapes_html: bool, out: &mut Vec<u8>) {
    out.push(b'"');
    for chunk in text.utf8_chunks() {
        for character in chunk.valid().chars() {
            match character {
                '"' => out.extend_from_slice(b"\\\""),
                '\\' => out.extend_from_slice(b"\\\\"),
                '\n' => out.extend_from_slice(b"\\n"),
                '\r' => out.extend_from_slice(b"\\r"),
                '\t' => out.extend_from_slice(b"\\t"),
                '<' | '>' | '&' if escapes_html => escaped(character, out),
                '\u{2028}' | '\u{2029}' => escaped(character, out),
                control if control < ' ' => escaped(control, out),
                other => out.extend_from_slice(other.encode_utf8(&mut [0; 4]).as_bytes()),
            }
        }
        // Each byte that belongs to no character.
        for _ in chunk.invalid() {
            escaped(char::REPLACEMENT_CHARACTER, out);
        }
    }
    out.push(b'"');
}

fn escaped(character: char, out: &mut Vec<u8>) {
    out.extend_from_slice(format!("\\u{:04x}", u32::from(character)).as_bytes());
}

/// A list as one of the telemetry: what such a list can't hold is an error.
///
/// # Errors
/// `Type`.
pub fn slice(list: List<'_>) -> Result<List<'_>, Failure> {
    let is_foreign = |value: &Value<'_>| match value {
        Value::Map(_) => true,
        Value::List(list) => list.kind() != ListKind::Plain,
        other => !is_plain(other),
    };
    if list.kind() == ListKind::Plain && list.iter().any(|value| is_foreign(&value)) {
        return Err(Failure::Type);
    }
    Ok(list)
}

/// Lower-case hexadecimal digits.
#[must_use]
pub fn hexadecimal(bytes: &[u8]) -> Vec<u8> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    bytes.iter().flat_map(|byte| [DIGITS[usize::from(byte >> 4)], DIGITS[usize::from(byte & 15)]]).collect()
}
