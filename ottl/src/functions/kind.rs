//! Converters that ask for a type, or make one type of another.

use super::Arguments;
use crate::Function;
use crate::convert::{boolean_like, bytes_like, double_like, integer_like};
use crate::error::Failure;
use crate::evaluate;
use crate::target::hexadecimal;
use crate::value::Value;

pub(super) fn is(arguments: &Arguments<'_, '_>) -> Result<bool, Failure> {
    let function = arguments.function();
    if function == Function::IsRootSpan {
        return arguments.target.facts.map(|facts| facts.is_root).ok_or(Failure::Missing);
    }
    let value = arguments.any(0)?;
    Ok(match function {
        Function::IsBool => matches!(value, Value::Boolean(_)),
        Function::IsDouble => matches!(value, Value::Double(_)),
        Function::IsInt => matches!(value, Value::Integer(_)),
        Function::IsList => matches!(value, Value::List(_) | Value::Messages(..)),
        Function::IsMap => matches!(value, Value::Map(_)),
        Function::IsString => matches!(value, Value::Text(_)),
        _ => is_empty(&value),
    })
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

pub(super) fn make<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    Ok(match arguments.function() {
        Function::Bool => boolean_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Boolean),
        Function::Double => double_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Double),
        Function::Int => integer_like(&arguments.any(0)?)?.map_or(Value::Nil, Value::Integer),
        Function::String => arguments.text_like(0)?.map_or(Value::Nil, Value::Text),
        Function::Hex => Value::built(hexadecimal(&bytes_like(arguments.any(0)?)?.unwrap_or_default())),
        Function::Len => Value::Integer(length(&arguments.any(0)?)?),
        Function::TraceID => Value::TraceId(id(arguments)?),
        Function::ProfileID => Value::ProfileId(id(arguments)?),
        Function::SpanID => Value::SpanId(id(arguments)?),
        // Coalesce
        _ => {
            for node in arguments.many(0).unwrap_or_default() {
                match evaluate::value(node, arguments.target)? {
                    Value::Nil => {}
                    value => return Ok(value),
                }
            }
            Value::Nil
        }
    })
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
