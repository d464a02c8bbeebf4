//! Functions that read texts: numbers, JSON, key-value pairs, named groups of expressions; and the logarithm.

use super::collection::check_delimiters;
use super::text::{find, pattern_of};
use crate::convert::double_like;
use crate::error::Failure;
use crate::function::{Arguments, Function, Parameter, ParameterKind as Kind, needed, optional};
use crate::value::{Chars, Entry, List, ListKind, Map, Value, put};
use std::borrow::Cow;

const TARGET: Parameter = needed("target", Kind::Text);

pub(super) static LOG: Function = Function::new("Log", &[needed("target", Kind::DoubleLike)], |arguments| {
    let number = double_like(&arguments.any(0)?)?.ok_or(Failure::Type)?;
    if number <= 0.0 { Err(Failure::Math) } else { Ok(Value::Double(number.ln())) }
});

pub(super) static PARSE_INT: Function =
    Function::new("ParseInt", &[TARGET, needed("base", Kind::Integer)], |arguments| {
        let source = source(arguments)?;
        Ok(Value::Integer(integer(&source, arguments.integer(1)?)?))
    });

pub(super) static PARSE_JSON: Function = Function::new("ParseJSON", &[TARGET], |arguments| json(&source(arguments)?));

pub(super) static PARSE_KEY_VALUE: Function = Function::new(
    "ParseKeyValue",
    &[TARGET, optional("delimiter", Kind::LiteralText), optional("pair_delimiter", Kind::LiteralText)],
    pairs,
)
.checked(check_delimiters);

pub(super) static EXTRACT_PATTERNS: Function =
    Function::new("ExtractPatterns", &[TARGET, needed("pattern", Kind::Pattern)], groups).prepared(pattern_of);

/// The text that is read, and paid for what may be built of it.
fn source<'a>(arguments: &Arguments<'a, '_>) -> Result<Chars<'a>, Failure> {
    let source = arguments.text(0)?;
    // What is built takes a multiple of what is read.
    arguments.spend(source.len().saturating_mul(BUILT_PER_READ))?;
    Ok(source)
}

fn groups<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let source = source(arguments)?;
    let pattern = arguments.pattern()?;
    if pattern.names().next().is_none() {
        return Err(Failure::Value);
    }
    let mut entries: Vec<Entry<'a>> = Vec::new();
    if let Some(captures) = pattern.captures(&source) {
        for name in pattern.names() {
            let matched = captures.name(name).map_or(&[][..], |group| group.as_bytes());
            put(&mut entries, name.as_bytes(), Value::built(matched));
        }
    }
    Ok(Value::Map(Map::Owned(entries)))
}

/// Bytes that reading one byte of JSON or pairs may build, at most: an element of a list of digits.
const BUILT_PER_READ: usize = 32;

/// Go's `strconv.ParseInt`: base 0 takes the base from a prefix and allows underscores.
fn integer(text: &[u8], base: i64) -> Result<i64, Failure> {
    let text = std::str::from_utf8(text).map_err(|_| Failure::Value)?;
    let radix = u32::try_from(base).ok().filter(|radix| *radix == 0 || (2..=36).contains(radix));
    let radix = radix.ok_or(Failure::Value)?;
    if radix > 0 {
        return i64::from_str_radix(text, radix).map_err(|_| Failure::Value);
    }
    let (sign, digits) = match text.strip_prefix(['+', '-']) {
        Some(digits) if text.starts_with('-') => ("-", digits),
        Some(digits) => ("", digits),
        None => ("", text),
    };
    let lower = digits.to_ascii_lowercase();
    let (digits, radix) = match lower.as_bytes() {
        [b'0', b'x', ..] => (&lower[2..], 16),
        [b'0', b'o', ..] => (&lower[2..], 8),
        [b'0', b'b', ..] => (&lower[2..], 2),
        [b'0', _, ..] => (&lower[1..], 8),
        _ => (&lower[..], 10),
    };
    let is_spaced = digits.ends_with('_') || digits.contains("__") || radix == 10 && digits.starts_with('_');
    if is_spaced || digits.starts_with(['+', '-']) {
        return Err(Failure::Value);
    }
    i64::from_str_radix(&format!("{sign}{}", digits.replace('_', "")), radix).map_err(|_| Failure::Value)
}

/// A JSON object or array; all its numbers are doubles.
fn json<'a>(text: &[u8]) -> Result<Value<'a>, Failure> {
    let parsed: serde_json::Value = serde_json::from_slice(text).map_err(|_| Failure::Value)?;
    match parsed {
        serde_json::Value::Array(_) | serde_json::Value::Object(_) => Ok(of_json(parsed)),
        _ => Err(Failure::Value),
    }
}

/// As deep as the JSON reader lets values nest: 127 levels.
fn of_json<'a>(value: serde_json::Value) -> Value<'a> {
    match value {
        serde_json::Value::Null => Value::Nil,
        serde_json::Value::Bool(value) => Value::Boolean(value),
        serde_json::Value::Number(number) => Value::Double(number.as_f64().unwrap_or(f64::NAN)),
        serde_json::Value::String(text) => Value::built(text),
        serde_json::Value::Array(values) => {
            Value::List(List::Owned(values.into_iter().map(of_json).collect(), ListKind::Slice))
        }
        serde_json::Value::Object(entries) => {
            let entries = entries.into_iter().map(|(key, value)| (Cow::Owned(key.into_bytes()), of_json(value)));
            Value::Map(Map::Owned(entries.collect()))
        }
    }
}

fn pairs<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let source = source(arguments)?;
    let (delimiter, between) = (arguments.text_or(1, b"=")?, arguments.text_or(2, b" ")?);
    if source.is_empty() {
        return Err(Failure::Value);
    }
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for pair in split_quoted(&source, &between)? {
        let at = find(&pair, &delimiter).ok_or(Failure::Value)?;
        let (key, value) = (pair[..at].trim_ascii(), pair[at + delimiter.len()..].trim_ascii());
        arguments.spend(entries.len())?;
        put(&mut entries, key, Value::built(value));
    }
    Ok(Value::Map(Map::Owned(entries)))
}

/// Splits at `delimiter` outside of quotes; the quotes go, empty pieces too.
fn split_quoted(source: &[u8], delimiter: &[u8]) -> Result<Vec<Vec<u8>>, Failure> {
    let mut pieces = Vec::new();
    let mut piece: Vec<u8> = Vec::new();
    let (mut quote, mut is_escaped) = (None, false);
    let mut at = 0;
    while let Some(byte) = source.get(at) {
        if quote.is_none() && source[at..].starts_with(delimiter) {
            if !piece.is_empty() {
                pieces.push(std::mem::take(&mut piece));
            }
            at += delimiter.len();
            continue;
        }
        at += 1;
        if is_escaped {
            is_escaped = false;
        } else {
            match (quote, byte) {
                (None, b'"' | b'\'') => {
                    quote = Some(*byte);
                    continue;
                }
                (Some(open), byte) if open == *byte => {
                    quote = None;
                    continue;
                }
                _ => is_escaped = *byte == b'\\',
            }
        }
        piece.push(*byte);
    }
    if quote.is_some() {
        return Err(Failure::Value);
    }
    if !piece.is_empty() {
        pieces.push(piece);
    }
    Ok(pieces)
}
