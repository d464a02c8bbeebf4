//! Converters about texts.

use super::Arguments;
use crate::Function;
use crate::convert::{element_text, text_like};
use crate::error::Failure;
use crate::evaluate;
use crate::value::{Chars, List, ListKind, Value};
use base64::Engine;
use base64::engine::general_purpose::{STANDARD, STANDARD_NO_PAD, URL_SAFE, URL_SAFE_NO_PAD};
use std::borrow::Cow;
use std::net::IpAddr;

pub(super) fn is(arguments: &Arguments<'_, '_>) -> Result<bool, Failure> {
    Ok(match arguments.function() {
        Function::HasPrefix => {
            let text = arguments.text(0)?;
            text.starts_with(&arguments.text(1)?)
        }
        Function::HasSuffix => {
            let text = arguments.text(0)?;
            text.ends_with(&arguments.text(1)?)
        }
        Function::IsInCIDR => is_in_networks(arguments)?,
        Function::IsValidLuhn => is_luhn(&arguments.text_like(0)?.ok_or(Failure::Type)?)?,
        // IsMatch
        _ => match arguments.text_like(0)? {
            Some(text) => {
                arguments.read(&text)?;
                arguments.pattern()?.is_match(&text)
            }
            None => false,
        },
    })
}

pub(super) fn make<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let function = arguments.function();
    if function == Function::Concat {
        return concat(arguments);
    }
    if function == Function::Decode {
        return decode(arguments);
    }
    if function == Function::Substring {
        return substring(arguments);
    }
    let text = arguments.text(0)?;
    arguments.read(&text)?;
    Ok(match function {
        Function::Base64Encode => {
            let variant = arguments.text_or(1, b"base64")?;
            Value::built(alphabet(&variant).ok_or(Failure::Value)?.encode(&text))
        }
        Function::Split => split(&text, &arguments.text(1)?, arguments)?,
        Function::ConvertCase => match &*arguments.text(1)? {
            b"lower" => Value::built(lower(&text)),
            b"upper" => Value::built(upper(&text)),
            b"snake" => Value::built(snake(&text)),
            _ => Value::built(camel(&text)),
        },
        Function::ToLowerCase => Value::built(lower(&text)),
        Function::ToUpperCase => Value::built(upper(&text)),
        Function::ToSnakeCase => Value::built(snake(&text)),
        Function::ToCamelCase => Value::built(camel(&text)),
        Function::Trim => trim(text, &arguments.text_or(1, b" ")?),
        Function::TrimPrefix => {
            let prefix = arguments.text(1)?;
            let skipped = if text.starts_with(&prefix) { prefix.len() } else { 0 };
            cut(text, skipped, None)
        }
        // TrimSuffix
        _ => {
            let suffix = arguments.text(1)?;
            let end = text.len() - if text.ends_with(&suffix) { suffix.len() } else { 0 };
            cut(text, 0, Some(end))
        }
    })
}

/// A part of a text, borrowed where the text is.
fn cut(text: Chars<'_>, start: usize, end: Option<usize>) -> Value<'_> {
    let end = end.unwrap_or(text.len());
    match text {
        Cow::Borrowed(text) => Value::text(text.get(start..end).unwrap_or_default()),
        Cow::Owned(text) => Value::built(text.get(start..end).unwrap_or_default()),
    }
}

fn concat<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let delimiter = arguments.text(1)?;
    let mut out: Vec<u8> = Vec::new();
    let mut add = |text: Option<Chars<'_>>, is_first: bool| {
        if !is_first {
            out.extend_from_slice(&delimiter);
        }
        out.extend_from_slice(text.as_deref().unwrap_or(b"<nil>"));
        arguments.target.spend(delimiter.len() + text.map_or(0, |text| text.len()))
    };
    if let Some(nodes) = arguments.many(0) {
        for (position, node) in nodes.iter().enumerate() {
            add(text_like(evaluate::value(node, arguments.target)?)?, position == 0)?;
        }
        return Ok(Value::built(out));
    }
    match arguments.any(0)? {
        Value::Nil => {}
        Value::List(list) => {
            for (position, value) in list.iter().enumerate() {
                let text = if list.kind() == ListKind::Slice { Some(element_text(value)?) } else { text_like(value)? };
                add(text, position == 0)?;
            }
        }
        _ => return Err(Failure::Type),
    }
    Ok(Value::built(out))
}

fn split<'a>(text: &[u8], delimiter: &[u8], arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let mut parts: Vec<Value<'a>> = Vec::new();
    let mut add = |part: &[u8]| {
        // A part takes more than its bytes.
        arguments.target.spend(part.len() + size_of::<Value<'_>>())?;
        parts.push(Value::built(part));
        Ok(())
    };
    if delimiter.is_empty() {
        for character in text.utf8_chunks() {
            for character in character.valid().chars() {
                add(character.encode_utf8(&mut [0; 4]).as_bytes())?;
            }
            for byte in character.invalid() {
                add(&[*byte])?;
            }
        }
    } else {
        let mut rest = text;
        while let Some(at) = find(rest, delimiter) {
            add(&rest[..at])?;
            rest = &rest[at + delimiter.len()..];
        }
        add(rest)?;
    }
    Ok(Value::List(List::Owned(parts, ListKind::Texts)))
}

/// Where `part` begins in `whole`, in time proportional to `whole`.
pub(super) fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(whole, part)
}

fn substring<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (start, length) = (arguments.integer(1)?, arguments.integer(2)?);
    if start < 0 || length <= 0 {
        return Err(Failure::Value);
    }
    let text = arguments.text(0)?;
    let range = |start, length| Some((usize::try_from(start).ok()?, usize::try_from(length).ok()?));
    let (mut start, length) = range(start, length).ok_or(Failure::Value)?;
    let mut end = start.checked_add(length).filter(|end| *end <= text.len()).ok_or(Failure::Value)?;
    if arguments.boolean_or(3, false)? {
        let is_start = |at: usize| text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
        while !is_start(start) {
            start += 1;
        }
        while start < end && !is_start(end) {
            end -= 1;
        }
        end = end.max(start);
    }
    Ok(cut(text, start, Some(end)))
}

/// Cuts the characters of `set` off both ends.
fn trim<'a>(text: Chars<'a>, set: &[u8]) -> Value<'a> {
    let set: Vec<char> = String::from_utf8_lossy(set).chars().collect();
    let Ok(valid) = std::str::from_utf8(&text) else { return Value::Text(text) };
    let front = valid.len() - valid.trim_start_matches(set.as_slice()).len();
    let end = front.max(valid.trim_end_matches(set.as_slice()).len());
    cut(text, front, Some(end))
}

fn alphabet(variant: &[u8]) -> Option<&'static base64::engine::GeneralPurpose> {
    Some(match variant {
        b"base64" => &STANDARD,
        b"base64-raw" => &STANDARD_NO_PAD,
        b"base64-url" => &URL_SAFE,
        b"base64-raw-url" => &URL_SAFE_NO_PAD,
        _ => return None,
    })
}

fn decode<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let (Value::Text(source) | Value::Bytes(source)) = arguments.any(0)? else { return Err(Failure::Type) };
    arguments.read(&source)?;
    let encoding = arguments.text(1)?;
    if let Some(alphabet) = alphabet(&encoding) {
        // Line ends are no part of the text.
        let plain: Vec<u8> = source.iter().copied().filter(|byte| !matches!(byte, b'\r' | b'\n')).collect();
        return alphabet.decode(plain).map(Value::built).map_err(|_| Failure::Value);
    }
    let is_ascii = matches!(&*encoding, b"us-ascii" | b"ascii");
    if is_ascii && !source.is_ascii() || std::str::from_utf8(&source).is_err() {
        return Ok(Value::built(String::from_utf8_lossy(&source).into_owned()));
    }
    Ok(Value::Text(source))
}

pub(super) fn lower(text: &[u8]) -> String {
    let lowered = |character: char| character.to_lowercase().next().unwrap_or(character);
    String::from_utf8_lossy(text).chars().map(lowered).collect()
}

fn upper(text: &[u8]) -> String {
    // One character for one: what has no single capital keeps its form.
    let raised = |character: char| {
        let mut capitals = character.to_uppercase();
        match (capitals.next(), capitals.next()) {
            (Some(capital), None) => capital,
            _ => character,
        }
    };
    String::from_utf8_lossy(text).chars().map(raised).collect()
}

/// Words at each change of case or to and from digits, joined by underscores.
fn snake(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let mut out = Vec::with_capacity(text.len() + 2);
    for (position, byte) in text.iter().enumerate() {
        let (is_capital, is_small) = (byte.is_ascii_uppercase(), byte.is_ascii_lowercase());
        let is_digit = byte.is_ascii_digit();
        let written = byte.to_ascii_lowercase();
        if let Some(next) = text.get(position + 1) {
            let (to_capital, to_small) = (next.is_ascii_uppercase(), next.is_ascii_lowercase());
            let to_digit = next.is_ascii_digit();
            let changes = is_capital && (to_small || to_digit)
                || is_small && (to_capital || to_digit)
                || is_digit && (to_capital || to_small);
            if changes {
                let after_capital = position > 0 && text[position - 1].is_ascii_uppercase();
                if is_capital && to_small && after_capital {
                    out.push(b'_');
                }
                out.push(written);
                if is_small || is_digit || to_digit {
                    out.push(b'_');
                }
                continue;
            }
        }
        out.push(if matches!(byte, b' ' | b'_' | b'-' | b'.') { b'_' } else { written });
    }
    out
}

/// Words begun with a capital and joined; a run of capitals is one word.
fn camel(text: &[u8]) -> Vec<u8> {
    let text = text.trim_ascii();
    let mut out = Vec::with_capacity(text.len());
    let (mut capital_next, mut after_capital) = (true, false);
    for byte in text {
        let is_capital = byte.is_ascii_uppercase();
        let written = match () {
            () if capital_next => byte.to_ascii_uppercase(),
            () if after_capital && is_capital => byte.to_ascii_lowercase(),
            () => *byte,
        };
        after_capital = is_capital;
        if byte.is_ascii_alphabetic() {
            out.push(written);
            capital_next = false;
        } else if byte.is_ascii_digit() {
            out.push(written);
            capital_next = true;
        } else {
            capital_next = matches!(byte, b'_' | b' ' | b'-' | b'.');
        }
    }
    out
}

/// The check digit of a card number; spaces don't count.
fn is_luhn(text: &[u8]) -> Result<bool, Failure> {
    let digits = text.iter().filter(|byte| **byte != b' ').map(|byte| match byte {
        b'0'..=b'9' => Ok(u64::from(byte - b'0')),
        _ => Err(Failure::Value),
    });
    let mut digits: Vec<u64> = digits.collect::<Result<_, _>>()?;
    let Some(check) = digits.pop() else { return Ok(false) };
    let sum: u64 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(position, digit)| match digit * 2 {
            _ if position % 2 == 1 => *digit,
            double if double > 9 => double - 9,
            double => double,
        })
        .sum();
    Ok((10 - sum % 10) % 10 == check)
}

fn is_in_networks(arguments: &Arguments<'_, '_>) -> Result<bool, Failure> {
    let text = arguments.text(0)?;
    let Some(address) = std::str::from_utf8(&text).ok().and_then(|text| text.parse::<IpAddr>().ok()) else {
        return Ok(false);
    };
    for node in arguments.many(1).unwrap_or_default() {
        let Value::Text(network) = evaluate::value(node, arguments.target)? else { return Err(Failure::Type) };
        let (base, bits) = cidr(&network).ok_or(Failure::Value)?;
        if contains(base, bits, address) {
            return Ok(true);
        }
    }
    Ok(false)
}

fn cidr(network: &[u8]) -> Option<(IpAddr, u32)> {
    let (base, bits) = std::str::from_utf8(network).ok()?.split_once('/')?;
    let base: IpAddr = base.parse().ok()?;
    let bits_max = if base.is_ipv4() { 32 } else { 128 };
    let bits = bits.bytes().all(|byte| byte.is_ascii_digit()).then(|| bits.parse().ok()).flatten()?;
    (bits <= bits_max).then_some((base, bits))
}

fn contains(base: IpAddr, bits: u32, address: IpAddr) -> bool {
    match (base, address.to_canonical()) {
        (IpAddr::V4(base), IpAddr::V4(address)) => {
            (base.to_bits() ^ address.to_bits()).checked_shr(32 - bits).unwrap_or(0) == 0
        }
        (IpAddr::V6(base), IpAddr::V6(address)) => {
            (base.to_bits() ^ address.to_bits()).checked_shr(128 - bits).unwrap_or(0) == 0
        }
        _ => false,
    }
}
