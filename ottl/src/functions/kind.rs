//! Functions that ask for a type, or make one type of another.

use crate::convert::{boolean_like, bytes_like, double_like, hexadecimal, integer_like};
use crate::error::Failure;
use crate::function::{Arguments, Form, Function, ParameterKind as Kind, Written, needed};
use crate::tree::{Argument, Expression};
use crate::value::Value;

pub(super) static BOOL: Function = Function::new("Bool", &[needed("target", Kind::BooleanLike)], |arguments| {
    Ok(boolean_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Boolean))
});

pub(super) static DOUBLE: Function = Function::new("Double", &[needed("target", Kind::DoubleLike)], |arguments| {
    Ok(double_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Double))
});

pub(super) static INT: Function = Function::new("Int", &[needed("target", Kind::IntegerLike)], |arguments| {
    Ok(integer_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Integer))
});

pub(super) static STRING: Function = Function::new("String", &[needed("target", Kind::TextLike)], |arguments| {
    Ok(arguments.text_like(0)?.map_or(Value::Nil, Value::Text))
});

pub(super) static HEX: Function = Function::new("Hex", &[needed("target", Kind::BytesLike)], |arguments| {
    Ok(Value::built(hexadecimal(&bytes_like(arguments.any(0)?)?.unwrap_or_default())))
});

pub(super) static LEN: Function =
    Function::new("Len", &[needed("target", Kind::Any)], |arguments| Ok(Value::Integer(length(&arguments.any(0)?)?)));

pub(super) static COALESCE: Function =
    Function::new("Coalesce", &[needed("values", Kind::ManyAny)], coalesce).checked(|written| {
        match written.many("values") {
            Some([]) => Err("Coalesce needs one value at least".to_string()),
            _ => Ok(()),
        }
    });

fn coalesce<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    for node in arguments.many(0).unwrap_or_default() {
        match arguments.value(node)? {
            Value::Nil => {}
            value => return Ok(value),
        }
    }
    Ok(Value::Nil)
}

pub(super) static IS_BOOL: Function = Function::new("IsBool", &[needed("target", Kind::Boolean)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::Boolean(_))))
});

pub(super) static IS_DOUBLE: Function = Function::new("IsDouble", &[needed("target", Kind::Double)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::Double(_))))
});

pub(super) static IS_INT: Function = Function::new("IsInt", &[needed("target", Kind::Integer)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::Integer(_))))
});

pub(super) static IS_LIST: Function = Function::new("IsList", &[needed("target", Kind::Any)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::List(_) | Value::Messages(..))))
});

pub(super) static IS_MAP: Function = Function::new("IsMap", &[needed("target", Kind::Map)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::Map(_))))
});

pub(super) static IS_STRING: Function = Function::new("IsString", &[needed("target", Kind::Text)], |arguments| {
    Ok(Value::Boolean(matches!(arguments.any(0)?, Value::Text(_))))
});

pub(super) static IS_EMPTY: Function = Function::new("IsEmpty", &[needed("target", Kind::Any)], |arguments| {
    Ok(Value::Boolean(is_empty(&arguments.any(0)?)))
});

pub(super) static IS_ROOT_SPAN: Function = Function::new("IsRootSpan", &[], |arguments| {
    let facts = arguments.target.facts.ok_or(Failure::Missing)?;
    Ok(Value::Boolean(facts.is_root))
})
.formed(Form::IsRoot)
.of_spans()
.depending_on_span(|_| true);

pub(super) static TRACE_ID: Function =
    Function::new("TraceID", &[needed("target", Kind::BytesLike)], |arguments| Ok(Value::TraceId(id(arguments)?)))
        .checked(|written| check_id(written, 16));

pub(super) static PROFILE_ID: Function =
    Function::new("ProfileID", &[needed("target", Kind::BytesLike)], |arguments| Ok(Value::ProfileId(id(arguments)?)))
        .checked(|written| check_id(written, 16));

pub(super) static SPAN_ID: Function =
    Function::new("SpanID", &[needed("target", Kind::BytesLike)], |arguments| Ok(Value::SpanId(id(arguments)?)))
        .checked(|written| check_id(written, 8));

/// A literal that is to be an id is one of `length` bytes: as bytes, or as twice as many hexadecimal digits.
fn check_id(written: &Written<'_>, length: usize) -> Result<(), String> {
    let is_id = match written.arguments {
        [Some(Argument::One(value))] if value.is_literal() => is_id(value, length),
        _ => true,
    };
    match is_id {
        true => Ok(()),
        false => Err(format!("{} takes {length} bytes, or twice as many digits", written.function.name)),
    }
}

fn is_id(value: &Expression, length: usize) -> bool {
    let bytes = match value {
        Expression::Text(text) => text.as_bytes(),
        Expression::Bytes(bytes) => bytes,
        Expression::Integer(_) | Expression::Double(_) => return length == 8,
        _ => return false,
    };
    bytes.len() == length || bytes.len() == 2 * length && bytes.iter().all(u8::is_ascii_hexdigit)
}

/// An id of its bytes, or of twice as many hexadecimal digits.
fn id<const N: usize>(arguments: &Arguments<'_, '_>) -> Result<[u8; N], Failure> {
    let bytes = bytes_like(arguments.any(0)?)?.unwrap_or_default();
    if let Ok(id) = <[u8; N]>::try_from(&*bytes) {
        return Ok(id);
    }
    if bytes.len() != 2 * N {
        return Err(Failure::Value);
    }
    let mut id = [0; N];
    let (pairs, _) = bytes.as_chunks::<2>();
    for (byte, pair) in id.iter_mut().zip(pairs) {
        let digit = |digit: u8| char::from(digit).to_digit(16).and_then(|digit| u8::try_from(digit).ok());
        *byte = match (digit(pair[0]), digit(pair[1])) {
            (Some(high), Some(low)) => high << 4 | low,
            _ => return Err(Failure::Value),
        };
    }
    Ok(id)
}

/// Nothing, no elements, or the zero of its type.
fn is_empty(value: &Value<'_>) -> bool {
    match value {
        Value::Nil => true,
        Value::Boolean(value) => !value,
        Value::Integer(value) | Value::Duration(value) => *value == 0,
        Value::Double(value) => value.to_bits() == 0,
        Value::Text(text) | Value::Bytes(text) => text.is_empty(),
        Value::TraceId(id) | Value::ProfileId(id) => *id == [0; 16],
        Value::SpanId(id) => *id == [0; 8],
        Value::Map(map) => map.is_empty(),
        Value::List(list) => list.is_empty(),
        Value::Port(_) | Value::Time(..) | Value::Messages(..) | Value::Status => false,
    }
}

fn length(value: &Value<'_>) -> Result<i64, Failure> {
    let length = match value {
        Value::Text(text) | Value::Bytes(text) => text.len(),
        Value::Map(map) => map.len(),
        Value::List(list) => list.len(),
        Value::Messages(_, count) => *count,
        _ => return Err(Failure::Type),
    };
    i64::try_from(length).map_err(|_| Failure::Value)
}
