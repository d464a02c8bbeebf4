//! Functions about texts.

use crate::convert::{element_text, text_like};
use crate::error::{CompileError, Failure};
use crate::function::{
    Arguments, Form, Function, Parameter, ParameterKind as Kind, Prepared, Shared, Written, needed, optional,
};
use crate::pattern;
use crate::value::{Chars, List, ListKind, Value};
use std::borrow::Cow;

const TARGET: Parameter = needed("target", Kind::Text);

pub(super) static CONCAT: Function =
    Function::new("Concat", &[needed("vals", Kind::Texts), needed("delimiter", Kind::Text)], concat);

pub(super) static HAS_PREFIX: Function =
    Function::new("HasPrefix", &[TARGET, needed("prefix", Kind::Text)], |arguments| {
        let text = arguments.text(0)?;
        Ok(Value::Boolean(text.starts_with(&arguments.text(1)?)))
    })
    .formed(Form::HasPrefix);

pub(super) static HAS_SUFFIX: Function =
    Function::new("HasSuffix", &[TARGET, needed("suffix", Kind::Text)], |arguments| {
        let text = arguments.text(0)?;
        Ok(Value::Boolean(text.ends_with(&arguments.text(1)?)))
    })
    .formed(Form::HasSuffix);

pub(super) static IS_MATCH: Function =
    Function::new("IsMatch", &[needed("target", Kind::TextLike), needed("pattern", Kind::Pattern)], |arguments| {
        Ok(Value::Boolean(match arguments.text_like(0)? {
            Some(text) => {
                arguments.read(&text)?;
                arguments.pattern()?.is_match(&text)
            }
            None => false,
        }))
    })
    .formed(Form::IsMatch)
    .prepared(pattern_of);

pub(super) static IS_VALID_LUHN: Function =
    Function::new("IsValidLuhn", &[needed("target", Kind::TextLike)], |arguments| {
        is_luhn(&arguments.text_like(0)?.ok_or(Failure::Type)?).map(Value::Boolean)
    });

pub(super) static SPLIT: Function = Function::new("Split", &[TARGET, needed("delimiter", Kind::Text)], split);

pub(super) static SUBSTRING: Function = Function::new(
    "Substring",
    &[
        TARGET,
        needed("start", Kind::Integer),
        needed("length", Kind::Integer),
        optional("utf8_safe", Kind::LiteralBoolean),
    ],
    substring,
);

pub(super) static TRIM: Function =
    Function::new("Trim", &[TARGET, optional("replacement", Kind::LiteralText)], |arguments| {
        let text = read_text(arguments)?;
        Ok(trim(text, &arguments.text_or(1, b" ")?))
    });

pub(super) static TRIM_PREFIX: Function =
    Function::new("TrimPrefix", &[TARGET, needed("prefix", Kind::Text)], |arguments| {
        let text = read_text(arguments)?;
        let prefix = arguments.text(1)?;
        let skipped = if text.starts_with(&prefix) { prefix.len() } else { 0 };
        Ok(cut(text, skipped, None))
    });

pub(super) static TRIM_SUFFIX: Function =
    Function::new("TrimSuffix", &[TARGET, needed("suffix", Kind::Text)], |arguments| {
        let text = read_text(arguments)?;
        let suffix = arguments.text(1)?;
        let end = text.len() - if text.ends_with(&suffix) { suffix.len() } else { 0 };
        Ok(cut(text, 0, Some(end)))
    });

/// The expression that a call is about, compiled.
pub(super) fn pattern_of(written: &Written<'_>, shared: &mut Shared) -> Result<Prepared, CompileError> {
    let Some(text) = written.text("pattern") else { return Ok(Prepared::Nothing) };
    let compiled = pattern::compile(text);
    let compiled = compiled.map_err(|reason| CompileError::Pattern { pattern: text.to_string(), reason })?;
    shared.count(&compiled);
    Ok(Prepared::Pattern(compiled))
}

/// The text that a function is about; reading it is paid for.
fn read_text<'a>(arguments: &Arguments<'a, '_>) -> Result<Chars<'a>, Failure> {
    let text = arguments.text(0)?;
    arguments.read(&text)?;
    Ok(text)
}

fn concat<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let delimiter = arguments.text(1)?;
    let mut out: Vec<u8> = Vec::new();
    let mut add = |text: Option<Chars<'_>>, is_first: bool| {
        if !is_first {
            out.extend_from_slice(&delimiter);
        }
        out.extend_from_slice(text.as_deref().unwrap_or(b"<nil>"));
        arguments.spend(delimiter.len() + text.map_or(0, |text| text.len()))
    };
    if let Some(nodes) = arguments.many(0) {
        for (position, node) in nodes.iter().enumerate() {
            add(text_like(arguments.value(node)?)?, position == 0)?;
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

fn split<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let text = read_text(arguments)?;
    let delimiter = arguments.text(1)?;
    let mut parts: Vec<Value<'a>> = Vec::new();
    let mut add = |part: &[u8]| {
        // A part takes more than its bytes.
        arguments.spend(part.len() + size_of::<Value<'_>>())?;
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
        let mut rest = &*text;
        while let Some(at) = find(rest, &delimiter) {
            add(&rest[..at])?;
            rest = &rest[at + delimiter.len()..];
        }
        add(rest)?;
    }
    Ok(Value::List(List::Owned(parts, ListKind::Texts)))
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

/// A part of a text, borrowed where the text is.
fn cut(text: Chars<'_>, start: usize, end: Option<usize>) -> Value<'_> {
    let end = end.unwrap_or(text.len());
    match text {
        Cow::Borrowed(text) => Value::text(text.get(start..end).unwrap_or_default()),
        Cow::Owned(text) => Value::built(text.get(start..end).unwrap_or_default()),
    }
}

/// Where `part` begins in `whole`, in time proportional to `whole`.
pub(super) fn find(whole: &[u8], part: &[u8]) -> Option<usize> {
    memchr::memmem::find(whole, part)
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
