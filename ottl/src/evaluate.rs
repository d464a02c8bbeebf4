//! Evaluation of compiled conditions. Recursion is as deep as the condition is nested, which its check bounds.

use super::compare::compare;
use super::error::Failure;
use super::field::Field;
use super::function::{Arguments, Form, Prepared};
use super::note::Note;
use super::operator::{Comparison, Operator};
use super::program::{Call, Check, Given, Node, Step};
use super::scalar::{Scalar, calculate, compare_scalars, holds};
use super::target::{Target, enumerated};
use super::tree::Expression;
use super::value::{List, ListKind, Map, Value, fits_map, size};
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
            let result = (call.function.evaluate)(&Arguments { call, target })?;
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
            Ok(Value::List(List::Owned(values, ListKind::Plain)))
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
            Ok(Value::Map(Map::Owned(entries)))
        }
    }
}

/// The value of an expression, or `Other` where it takes more to evaluate it.
#[inline]
fn scalar<'a>(node: &'a Node, target: &Target<'a>) -> Result<Scalar<'a>, Failure> {
    Ok(match node {
        Node::SpanAttribute(number, steps) if steps.is_empty() => target.noted_scalar(&target.span_notes, *number),
        Node::ResourceAttribute(number, steps) if steps.is_empty() => {
            target.noted_scalar(&target.resource_notes, *number)
        }
        Node::Constant(value) => Scalar::of(value),
        Node::Field(field) => target.field_scalar(*field),
        Node::Arithmetic(first, rest) => return arithmetic(first, rest, target),
        Node::Call(call) => match quick(call, target)? {
            Some(truth) => Scalar::Boolean(truth),
            None => Scalar::Other,
        },
        _ => Scalar::Other,
    })
}

fn arithmetic<'a>(first: &'a Node, rest: &'a [(Operator, Node)], target: &Target<'a>) -> Result<Scalar<'a>, Failure> {
    let mut result = scalar(first, target)?;
    for (operator, operand) in rest {
        let operand = scalar(operand, target)?;
        if matches!(result, Scalar::Other) || matches!(operand, Scalar::Other) {
            return Ok(Scalar::Other);
        }
        result = calculate(*operator, result, operand)?;
    }
    Ok(result)
}

/// The commonest questions, where what they are about is simple; none where it takes more.
#[inline]
fn quick<'a>(call: &'a Call, target: &Target<'a>) -> Result<Option<bool>, Failure> {
    let text = |index: usize| match call.arguments.get(index) {
        Some(Some(Given::One(node))) => scalar(node, target),
        _ => Ok(Scalar::Other),
    };
    Ok(match call.function.form {
        _ if !call.keys.is_empty() => None,
        Form::IsRoot => target.facts.map(|facts| facts.is_root),
        Form::HasPrefix | Form::HasSuffix => match (text(0)?, text(1)?) {
            (Scalar::Text(text), Scalar::Text(end)) => {
                target.spend(end.len())?;
                let is_prefix = call.function.form == Form::HasPrefix;
                Some(if is_prefix { text.starts_with(end) } else { text.ends_with(end) })
            }
            _ => None,
        },
        Form::IsMatch => match (text(0)?, &call.prepared) {
            (Scalar::Text(text), Prepared::Pattern(pattern)) => {
                target.spend(text.len())?;
                Some(pattern.is_match(text))
            }
            (Scalar::Nil, _) => Some(false),
            _ => None,
        },
        Form::Call => None,
    })
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

/// The value of an expression that is written out.
pub(super) fn constant(expression: &Expression) -> Result<Value<'static>, Failure> {
    let node = plain(expression).ok_or(Failure::Value)?;
    value(&node, &Target::none()).map(Value::into_owned)
}

fn plain(expression: &Expression) -> Option<Node> {
    Some(match expression {
        Expression::Nil => Node::Constant(Value::Nil),
        Expression::Boolean(value) => Node::Constant(Value::Boolean(*value)),
        Expression::Integer(value) => Node::Constant(Value::Integer(*value)),
        Expression::Double(value) => Node::Constant(Value::Double(*value)),
        Expression::Text(text) => Node::Constant(Value::built(text.as_bytes())),
        Expression::Bytes(bytes) => Node::Constant(Value::Bytes(bytes.clone().into())),
        Expression::List(elements) => Node::List(elements.iter().map(plain).collect::<Option<_>>()?),
        Expression::Map(entries) => {
            let entries = entries.iter().map(|(key, value)| Some((key.as_bytes().into(), plain(value)?)));
            Node::Entries(entries.collect::<Option<_>>()?)
        }
        _ => return None,
    })
}
