//! Evaluation of compiled conditions. Recursion is as deep as the condition is nested, which its check bounds.

use super::compare::compare;
use super::error::Failure;
use super::functions;
use super::note::Note;
use super::program::{Check, Node, Step, list, map};
use super::scalar::{Scalar, calculate, compare_scalars, holds, scalar};
use super::target::{Target, enumerated};
use super::value::{ListKind, Value};
use crate::{Comparison, Field};
use std::borrow::Cow;

/// Whether a condition holds. The simple ones are evaluated where they stand, without a call.
#[inline(always)]
pub(super) fn check<'a>(check: &'a Check, target: &Target<'a>) -> Result<bool, Failure> {
    match simple(check, target) {
        Some(holds) => Ok(holds),
        None => compound(check, target),
    }
}

/// Whether a condition is false for a reason that is seen at once: it, or the first of parts that are all to hold, is a
/// simple one and false.
#[inline(always)]
pub(super) fn is_plainly_false<'a>(check: &'a Check, target: &Target<'a>) -> bool {
    let first = match check {
        Check::All(parts) => parts.first().unwrap_or(check),
        check => check,
    };
    simple(first, target) == Some(false)
}

/// The outcome of a condition on what has been read already; none where it takes more.
#[inline(always)]
fn simple<'a>(check: &'a Check, target: &Target<'a>) -> Option<bool> {
    Some(match check {
        Check::AttributeText { site, number, text, is_equal } => {
            target.is_text(target.notes(*site), *number, text) == *is_equal
        }
        Check::AttributeInteger { site, number, comparison, value } => match target.notes(*site).note(*number) {
            Some(Note::Integer(found)) => holds(Some(found.cmp(value)), *comparison),
            Some(Note::Message(..)) => return None,
            _ => *comparison == Comparison::NotEqual,
        },
        Check::Number { field, comparison, value } => {
            let facts = target.facts?;
            let found = if *field == Field::Kind { facts.kind } else { facts.status_code };
            holds(Some(enumerated(found).cmp(value)), *comparison)
        }
        Check::Elapsed { comparison, duration } => {
            let facts = target.facts?;
            // Saturated, as times are subtracted.
            let elapsed = facts.end_unix_nano.cast_signed().saturating_sub(facts.start_unix_nano.cast_signed());
            holds(Some(elapsed.cmp(duration)), *comparison)
        }
        Check::IsRoot => target.facts?.is_root,
        Check::Name { text, is_equal } => (*target.facts?.name == **text) == *is_equal,
        Check::NameEnd { text, is_prefix: true } => target.facts?.name.starts_with(text),
        Check::NameEnd { text, is_prefix: false } => target.facts?.name.ends_with(text),
        _ => return None,
    })
}

#[inline(never)]
fn compound<'a>(check_: &'a Check, target: &Target<'a>) -> Result<bool, Failure> {
    match check_ {
        // Of another type than an integer.
        Check::AttributeInteger { site, number, comparison, value } => {
            let found = target.noted(target.notes(*site), *number).unwrap_or(Value::Nil);
            Ok(compare(&found, &Value::Integer(*value), *comparison))
        }
        // There is no span where constants are evaluated, and no such conditions.
        Check::AttributeText { .. }
        | Check::Number { .. }
        | Check::Elapsed { .. }
        | Check::IsRoot
        | Check::Name { .. }
        | Check::NameEnd { .. } => Err(Failure::Missing),
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
            match (scalar(left, target)?, scalar(right, target)?) {
                (Scalar::Other, _) | (_, Scalar::Other) => {}
                (Scalar::Text(left), Scalar::Text(right)) => {
                    target.spend(left.len().min(right.len()))?;
                    return Ok(compare_scalars(Scalar::Text(left), Scalar::Text(right), *comparison));
                }
                (left, right) => return Ok(compare_scalars(left, right, *comparison)),
            }
            let left = value(left, target)?;
            let right = value(right, target)?;
            if matches!(left, Value::Map(_) | Value::List(_)) && matches!(right, Value::Map(_) | Value::List(_)) {
                target.spend(size(&left).saturating_add(size(&right)))?;
            }
            Ok(compare(&left, &right, *comparison))
        }
        Check::Holds(node) => match scalar(node, target)? {
            Scalar::Boolean(value) => Ok(value),
            _ => match value(node, target)? {
                Value::Boolean(value) => Ok(value),
                _ => Err(Failure::Type),
            },
        },
    }
}

/// The value of an expression.
pub(super) fn value<'a>(node: &'a Node, target: &Target<'a>) -> Result<Value<'a>, Failure> {
    match node {
        Node::Constant(value) => Ok(value.share()),
        Node::Failing(failure) => Err(*failure),
        Node::SpanAttribute(number, steps) => walk(target.noted(&target.span_notes, *number), steps, target),
        Node::ResourceAttribute(number, steps) => walk(target.noted(&target.resource_notes, *number), steps, target),
        Node::Field(field) => target.field(*field),
        Node::Indexed(field, steps) => {
            let Some((first, rest)) = steps.split_first() else { return target.field(*field) };
            let key = key(first, target)?;
            let Value::Text(key) = key else { return Err(Failure::Index) };
            let map = target.map(*field)?;
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
                result = calculate(*operator, Scalar::of(&result), Scalar::of(&operand))?.value();
            }
            Ok(result)
        }
        Node::List(nodes) => {
            let values = nodes.iter().map(|node| value(node, target)).collect::<Result<Vec<_>, _>>()?;
            target.spend(values.len())?;
            Ok(list(values))
        }
        Node::Entries(entries) => {
            let entries = entries.iter().map(|(key, node)| match value(node, target)? {
                Value::Port(port) => Ok((Cow::Borrowed(&**key), Value::Integer(port))),
                value => Ok((Cow::Borrowed(&**key), value)),
            });
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
            | Value::Time(..)
            | Value::Duration(_)
            | Value::Port(_)
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
