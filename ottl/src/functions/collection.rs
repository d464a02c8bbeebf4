//! Functions about lists and maps.

use super::text::find;
use crate::compare::compare;
use crate::convert::{element_text, slice};
use crate::error::Failure;
use crate::function::{Arguments, Function, ParameterKind as Kind, Written, needed, optional};
use crate::operator::Comparison;
use crate::value::{Chars, Entry, List, ListKind, Map, Value, size};
use std::borrow::Cow;
use std::cmp::Ordering;

pub(super) static CONTAINS_VALUE: Function =
    Function::new("ContainsValue", &[needed("target", Kind::List), needed("item", Kind::Any)], |arguments| {
        let list = arguments.list(0)?;
        Ok(Value::Boolean(position(&list, &arguments.any(1)?, arguments)?.is_some()))
    });

pub(super) static INDEX: Function =
    Function::new("Index", &[needed("target", Kind::Any), needed("value", Kind::Any)], |arguments| {
        index(arguments).map(Value::Integer)
    });

pub(super) static KEYS: Function = Function::new("Keys", &[needed("target", Kind::Map)], |arguments| {
    let map = arguments.map(0)?;
    let keys = map.iter().map(|(key, _)| Value::Text(Cow::Owned(key.into_owned())));
    Ok(Value::List(List::Owned(keys.collect(), ListKind::Slice)))
});

pub(super) static VALUES: Function = Function::new("Values", &[needed("target", Kind::Map)], |arguments| {
    let map = arguments.map(0)?;
    Ok(Value::List(List::Owned(map.iter().map(|(_, value)| value.into_owned()).collect(), ListKind::Slice)))
});

pub(super) static SLICE_TO_MAP: Function = Function::new(
    "SliceToMap",
    &[
        needed("target", Kind::List),
        optional("key_path", Kind::LiteralTexts),
        optional("value_path", Kind::LiteralTexts),
    ],
    slice_to_map,
);

pub(super) static SORT: Function =
    Function::new("Sort", &[needed("target", Kind::Any), optional("order", Kind::LiteralText)], sort)
        .checked(|written| written.one_of("order", &["asc", "desc"]));

pub(super) static TO_KEY_VALUE_STRING: Function = Function::new(
    "ToKeyValueString",
    &[
        needed("target", Kind::Map),
        optional("delimiter", Kind::LiteralText),
        optional("pair_delimiter", Kind::LiteralText),
        optional("sort_output", Kind::LiteralBoolean),
    ],
    to_key_value_text,
)
.checked(check_delimiters);

/// Keys and values, and pairs of them, are told apart.
pub(super) fn check_delimiters(written: &Written<'_>) -> Result<(), String> {
    let (delimiter, pairs) = (written.text("delimiter").unwrap_or("="), written.text("pair_delimiter").unwrap_or(" "));
    if delimiter.is_empty() || pairs.is_empty() || delimiter == pairs {
        return Err("the two delimiters must differ and not be empty".to_string());
    }
    Ok(())
}

/// Where `item` is in `list`.
fn position(list: &List<'_>, item: &Value<'_>, arguments: &Arguments<'_, '_>) -> Result<Option<usize>, Failure> {
    for (position, value) in list.iter().enumerate() {
        arguments.spend(8 + size(&value))?;
        if compare(&value, item, Comparison::Equal) {
            return Ok(Some(position));
        }
    }
    Ok(None)
}

fn index(arguments: &Arguments<'_, '_>) -> Result<i64, Failure> {
    let found = match (arguments.any(0)?, arguments.any(1)?) {
        (Value::Text(whole), Value::Text(part)) => {
            arguments.read(&whole)?;
            find(&whole, &part)
        }
        (Value::Text(_), _) => return Err(Failure::Type),
        (_, item) => position(&arguments.list(0)?, &item, arguments)?,
    };
    found.map_or(Ok(-1), |at| i64::try_from(at).map_err(|_| Failure::Value))
}

fn slice_to_map<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let list = arguments.list(0)?;
    let paths = [path(arguments, 1)?, path(arguments, 2)?];
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for (position, element) in list.iter().enumerate() {
        arguments.spend(16 + size(&element))?;
        let [key, value] = &paths;
        let key = match key {
            None => position.to_string().into_bytes(),
            Some(path) => match follow(element.share(), path)? {
                Value::Text(key) => key.into_owned(),
                _ => return Err(Failure::Type),
            },
        };
        let value = match value {
            None if paths[0].is_some() && !matches!(element, Value::Map(_)) => return Err(Failure::Type),
            None => element.share().into_owned(),
            Some(path) => follow(element.share(), path)?.into_owned(),
        };
        entries.push((Cow::Owned(key), value));
    }
    Ok(Value::Map(Map::Owned(entries)))
}

/// The keys of a path argument; none when it is left out.
fn path<'a>(arguments: &Arguments<'a, '_>, index: usize) -> Result<Option<Vec<Chars<'a>>>, Failure> {
    let Some(nodes) = arguments.many(index) else { return Ok(None) };
    let keys = nodes.iter().map(|node| match arguments.value(node)? {
        Value::Text(key) => Ok(key),
        _ => Err(Failure::Type),
    });
    keys.collect::<Result<_, _>>().map(Some)
}

fn follow<'v>(start: Value<'v>, path: &[Chars<'_>]) -> Result<Value<'v>, Failure> {
    if path.is_empty() {
        return Err(Failure::Value);
    }
    path.iter().try_fold(start, |at, key| match at {
        Value::Map(map) => map.get(key).ok_or(Failure::Index),
        _ => Err(Failure::Type),
    })
}

fn sort<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let is_descending = &*arguments.text_or(1, b"asc")? == b"desc";
    let Value::List(list) = arguments.any(0)? else { return Err(Failure::Type) };
    let list = slice(list)?;
    let is_texts = list.kind() == ListKind::Texts;
    let values: Vec<Value<'static>> = list.iter().map(Value::into_owned).collect();
    // The sorting itself may compare each element some thirty times.
    arguments.spend(32 * values.iter().map(|value| 16 + size(value)).sum::<usize>())?;
    let is_number = |value: &Value<'_>| matches!(value, Value::Integer(_) | Value::Double(_));
    let is_simple = |value: &Value<'_>| matches!(value, Value::Text(_) | Value::Boolean(_) | Value::Nil);
    if values.iter().any(|value| !is_number(value) && !is_simple(value)) {
        return Ok(Value::List(List::Owned(values, ListKind::Slice)));
    }
    let mut sorted: Vec<(Chars<'static>, Value<'static>)> = Vec::with_capacity(values.len());
    let are_numbers = values.iter().all(is_number);
    for value in values {
        let text = if are_numbers { Cow::Borrowed(&[][..]) } else { element_text(value.clone())? };
        sorted.push((text, value));
    }
    sorted.sort_by(|left, right| {
        let order = if are_numbers { by_number(&left.1, &right.1) } else { left.0.cmp(&right.0) };
        if is_descending { order.reverse() } else { order }
    });
    let kind = match () {
        () if is_texts => ListKind::Texts,
        () if sorted.is_empty() => ListKind::Slice,
        () => ListKind::Plain,
    };
    Ok(Value::List(List::Owned(sorted.into_iter().map(|(_, value)| value).collect(), kind)))
}

fn by_number(left: &Value<'_>, right: &Value<'_>) -> Ordering {
    match () {
        () if compare(left, right, Comparison::Less) => Ordering::Less,
        () if compare(left, right, Comparison::Greater) => Ordering::Greater,
        // What is no number comes first.
        () => {
            let is_number = |value: &Value<'_>| !matches!(value, Value::Double(value) if value.is_nan());
            is_number(left).cmp(&is_number(right))
        }
    }
}

fn to_key_value_text<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let map = arguments.map(0)?;
    let (delimiter, pairs) = (arguments.text_or(1, b"=")?, arguments.text_or(2, b" ")?);
    let mut entries: Vec<Entry<'_>> = map.iter().collect();
    if arguments.boolean_or(3, false)? {
        entries.sort_by(|left, right| left.0.cmp(&right.0));
    }
    let mut out = Vec::new();
    let quoted = |text: &[u8], out: &mut Vec<u8>| {
        let needs_quotes = find(text, &pairs).is_some() || find(text, &delimiter).is_some();
        let quote: &[u8] = if needs_quotes { b"\"" } else { b"" };
        out.extend_from_slice(quote);
        for byte in text {
            if *byte == b'"' {
                out.push(b'\\');
            }
            out.push(*byte);
        }
        out.extend_from_slice(quote);
    };
    for (position, (key, value)) in entries.into_iter().enumerate() {
        let value = element_text(value)?;
        arguments.spend(key.len() + value.len() + delimiter.len() + pairs.len())?;
        if position > 0 {
            out.extend_from_slice(&pairs);
        }
        quoted(&key, &mut out);
        out.extend_from_slice(&delimiter);
        quoted(&value, &mut out);
    }
    Ok(Value::built(out))
}
