//! Evaluation of compiled conditions. Recursion is as deep as the condition is nested, which its check bounds.

use super::Failure;
use super::compare::compare;
use super::functions;
use super::program::{Check, Node, Step, list, map};
use super::target::Target;
use super::value::{ListKind, Value};
use std::borrow::Cow;
use tailwater_config::ottl::Operator;

/// Whether a condition holds.
pub(super) fn check<'a>(check_: &'a Check, target: &Target<'a>) -> Result<bool, Failure> {
    match check_ {
        Check::Attribute { number, comparison, constant, absent } => match target.span_attribute(*number) {
            None => Ok(*absent),
            Some(value) => Ok(compare(&value, constant, *comparison)),
        },
        Check::Constant(value) => Ok(*value),
        Check::Failing(failure) => Err(*failure),
        Check::Not(inner) => Ok(!check(inner, target)?),
        Check::All(parts) => {
            for part in parts {
                if !check(part, target)? {
                    return Ok(false);
                }
            }
            Ok(true)
        }
        Check::Any(parts) => {
            for part in parts {
                if check(part, target)? {
                    return Ok(true);
                }
            }
            Ok(false)
        }
        Check::Compare(comparison, left, right) => {
            let left = value(left, target)?;
            let right = value(right, target)?;
            if matches!(left, Value::Map(_) | Value::List(_)) && matches!(right, Value::Map(_) | Value::List(_)) {
                target.spend(size(&left).saturating_add(size(&right)))?;
            }
            Ok(compare(&left, &right, *comparison))
        }
        Check::Holds(node) => match value(node, target)? {
            Value::Boolean(value) => Ok(value),
            _ => Err(Failure::Type),
        },
    }
}

/// The value of an expression.
pub(super) fn value<'a>(node: &'a Node, target: &Target<'a>) -> Result<Value<'a>, Failure> {
    match node {
        Node::Constant(value) => Ok(value.share()),
        Node::Failing(failure) => Err(*failure),
        Node::SpanAttribute(number, steps) => walk(target.span_attribute(*number), steps, target),
        Node::ResourceAttribute(number, steps) => walk(target.resource_attribute(*number), steps, target),
        Node::Field(field) => target.field(*field),
        Node::Indexed(field, steps) => {
            let Some((first, rest)) = steps.split_first() else { return target.field(*field) };
            let key = key(first, target)?;
            let Value::Text(key) = key else { return Err(Failure::Index) };
            let map = target.map(*field);
            walk(map.get(&key), rest, target)
        }
        Node::Member(key) => Ok(target.member(key)),
        Node::Call(call) => {
            let result = functions::call(call, target)?;
            target.spend(size(&result))?;
            index(result, &call.keys, target)
        }
        Node::Negate(inner) => match value(inner, target)? {
            Value::Integer(value) => Ok(Value::Integer(value.wrapping_neg())),
            Value::Double(value) => Ok(Value::Double(-value)),
            _ => Err(Failure::Type),
        },
        Node::Arithmetic(first, rest) => {
            let mut result = value(first, target)?;
            for (operator, operand) in rest {
                let operand = value(operand, target)?;
                result = calculate(*operator, &result, &operand)?;
            }
            Ok(result)
        }
        Node::List(nodes) => {
            let values = nodes.iter().map(|node| value(node, target)).collect::<Result<Vec<_>, _>>()?;
            target.spend(values.len())?;
            Ok(list(values))
        }
        Node::Entries(entries) => {
            let entries = entries.iter().map(|(key, node)| Ok((Cow::Borrowed(&**key), value(node, target)?)));
            let entries = entries.collect::<Result<Vec<_>, Failure>>()?;
            // What a map can't hold in the reference.
            if entries.iter().any(|(_, value)| !fits_map(value)) {
                return Err(Failure::Type);
            }
            Ok(map(entries))
        }
    }
}

/// Whether a value is one that telemetry can hold.
pub(super) fn is_plain(value: &Value<'_>) -> bool {
    !matches!(
        value,
        Value::TraceId(_)
            | Value::SpanId(_)
            | Value::ProfileId(_)
            | Value::Time(_)
            | Value::Duration(_)
            | Value::Messages(..)
            | Value::Status
    )
}

fn fits_map(value: &Value<'_>) -> bool {
    match value {
        Value::List(list) if list.kind() == ListKind::Plain => list.iter().all(|value| fits_map(&value)),
        Value::List(_) => false,
        other => is_plain(other),
    }
}

/// What a value costs to make and read again, roughly in bytes.
pub(super) fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Bytes(text) => text.len(),
        Value::Map(map) => map.iter().map(|(key, value)| 16 + key.len() + size(&value)).sum(),
        Value::List(list) => list.iter().map(|value| 16 + size(&value)).sum(),
        _ => 0,
    }
}

fn key<'a>(step: &'a Step, target: &Target<'a>) -> Result<Value<'a>, Failure> {
    match step {
        Step::Text(text) => Ok(Value::text(text)),
        Step::Integer(index) => Ok(Value::Integer(*index)),
        Step::Node(node) => value(node, target),
    }
}

/// Follows the keys behind a path. What is missing from a map is nil; a key that does not suit the value is an error.
fn walk<'a>(start: Option<Value<'a>>, steps: &'a [Step], target: &Target<'a>) -> Result<Value<'a>, Failure> {
    let mut at = start;
    for step in steps {
        let Some(value) = at else { break };
        at = match (value, key(step, target)?) {
            (Value::Map(map), Value::Text(key)) => map.get(&key),
            (Value::List(list), Value::Integer(index)) => Some(list.get(index).ok_or(Failure::Index)?),
            _ => return Err(Failure::Index),
        };
    }
    Ok(at.unwrap_or(Value::Nil))
}

/// Follows the keys behind a converter. What is missing is an error.
fn index<'a>(start: Value<'a>, steps: &'a [Step], target: &Target<'a>) -> Result<Value<'a>, Failure> {
    let mut at = start;
    for step in steps {
        at = match (at, key(step, target)?) {
            (Value::Map(map), Value::Text(key)) => map.get(&key),
            (Value::List(list), Value::Integer(index)) => list.get(index),
            _ => None,
        }
        .ok_or(Failure::Index)?;
    }
    Ok(at)
}

/// One operation, by the reference's rules: integers wrap, an integer beside a double is a double, times and durations
/// add and subtract.
#[expect(clippy::cast_precision_loss, reason = "an integer beside a double is calculated with as a double")]
pub(super) fn calculate(operator: Operator, left: &Value<'_>, right: &Value<'_>) -> Result<Value<'static>, Failure> {
    Ok(match (left, right) {
        (Value::Integer(left), Value::Integer(right)) => Value::Integer(match operator {
            Operator::Add => left.wrapping_add(*right),
            Operator::Subtract => left.wrapping_sub(*right),
            Operator::Multiply => left.wrapping_mul(*right),
            Operator::Divide if *right == 0 => return Err(Failure::Math),
            Operator::Divide => left.wrapping_div(*right),
        }),
        (Value::Double(left), Value::Double(right)) => doubles(operator, *left, *right)?,
        (Value::Integer(left), Value::Double(right)) => doubles(operator, *left as f64, *right)?,
        (Value::Double(left), Value::Integer(right)) => doubles(operator, *left, *right as f64)?,
        (Value::Time(time), Value::Duration(duration)) => match operator {
            Operator::Add => Value::Time(time.saturating_add((*duration).into())),
            Operator::Subtract => Value::Time(time.saturating_sub((*duration).into())),
            _ => return Err(Failure::Type),
        },
        (Value::Duration(duration), Value::Time(time)) if operator == Operator::Add => {
            Value::Time(time.saturating_add((*duration).into()))
        }
        (Value::Time(left), Value::Time(right)) if operator == Operator::Subtract => {
            let difference = left.saturating_sub(*right);
            let limit = if difference < 0 { i64::MIN } else { i64::MAX };
            Value::Duration(i64::try_from(difference).unwrap_or(limit))
        }
        (Value::Duration(left), Value::Duration(right)) => match operator {
            Operator::Add => Value::Duration(left.wrapping_add(*right)),
            Operator::Subtract => Value::Duration(left.wrapping_sub(*right)),
            _ => return Err(Failure::Type),
        },
        _ => return Err(Failure::Type),
    })
}

fn doubles(operator: Operator, left: f64, right: f64) -> Result<Value<'static>, Failure> {
    Ok(Value::Double(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide if right == 0.0 => return Err(Failure::Math),
        Operator::Divide => left / right,
    }))
}
