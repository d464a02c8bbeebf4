//! Values of one word or two, which most conditions are about: evaluated and compared without anything to give back.

use super::error::Failure;
use super::operator::{Comparison, Operator};
use super::value::Value;
use super::zone::Zone;
use std::cmp::Ordering;

/// A value that is copied.
#[derive(Debug, Clone, Copy)]
pub(super) enum Scalar<'a> {
    Nil,
    Boolean(bool),
    Integer(i64),
    Double(f64),
    Text(&'a [u8]),
    Time(i128, Zone),
    Duration(i64),
    /// A value that is none of these.
    Other,
}

impl<'a> Scalar<'a> {
    #[inline]
    pub(super) fn of(value: &'a Value<'_>) -> Self {
        match value {
            Value::Nil => Self::Nil,
            Value::Boolean(value) => Self::Boolean(*value),
            Value::Integer(value) => Self::Integer(*value),
            Value::Double(value) => Self::Double(*value),
            Value::Text(text) => Self::Text(text),
            Value::Time(time, zone) => Self::Time(*time, *zone),
            Value::Duration(duration) => Self::Duration(*duration),
            _ => Self::Other,
        }
    }

    /// The value; nil for what is none of these.
    pub(super) fn value(self) -> Value<'a> {
        match self {
            Self::Nil | Self::Other => Value::Nil,
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(text) => Value::text(text),
            Self::Time(time, zone) => Value::Time(time, zone),
            Self::Duration(duration) => Value::Duration(duration),
        }
    }
}

/// One operation, by the reference's rules: integers wrap, an integer beside a double is a double, times and durations
/// add and subtract.
#[expect(clippy::cast_precision_loss, reason = "an integer beside a double is calculated with as a double")]
pub(super) fn calculate<'a>(operator: Operator, left: Scalar<'_>, right: Scalar<'_>) -> Result<Scalar<'a>, Failure> {
    Ok(match (left, right) {
        (Scalar::Integer(left), Scalar::Integer(right)) => Scalar::Integer(match operator {
            Operator::Add => left.wrapping_add(right),
            Operator::Subtract => left.wrapping_sub(right),
            Operator::Multiply => left.wrapping_mul(right),
            Operator::Divide if right == 0 => return Err(Failure::Math),
            Operator::Divide => left.wrapping_div(right),
        }),
        (Scalar::Double(left), Scalar::Double(right)) => doubles(operator, left, right)?,
        (Scalar::Integer(left), Scalar::Double(right)) => doubles(operator, left as f64, right)?,
        (Scalar::Double(left), Scalar::Integer(right)) => doubles(operator, left, right as f64)?,
        (Scalar::Time(time, zone), Scalar::Duration(duration)) => match operator {
            Operator::Add => Scalar::Time(time.saturating_add(duration.into()), zone),
            Operator::Subtract => Scalar::Time(time.saturating_sub(duration.into()), zone),
            _ => return Err(Failure::Type),
        },
        (Scalar::Duration(duration), Scalar::Time(time, zone)) if operator == Operator::Add => {
            Scalar::Time(time.saturating_add(duration.into()), zone)
        }
        (Scalar::Time(left, _), Scalar::Time(right, _)) if operator == Operator::Subtract => {
            let difference = left.saturating_sub(right);
            let limit = if difference < 0 { i64::MIN } else { i64::MAX };
            Scalar::Duration(i64::try_from(difference).unwrap_or(limit))
        }
        (Scalar::Duration(left), Scalar::Duration(right)) => match operator {
            Operator::Add => Scalar::Duration(left.wrapping_add(right)),
            Operator::Subtract => Scalar::Duration(left.wrapping_sub(right)),
            _ => return Err(Failure::Type),
        },
        _ => return Err(Failure::Type),
    })
}

fn doubles<'a>(operator: Operator, left: f64, right: f64) -> Result<Scalar<'a>, Failure> {
    Ok(Scalar::Double(match operator {
        Operator::Add => left + right,
        Operator::Subtract => left - right,
        Operator::Multiply => left * right,
        Operator::Divide if right == 0.0 => return Err(Failure::Math),
        Operator::Divide => left / right,
    }))
}

/// Compares two values that are not `Other`.
#[inline]
#[expect(clippy::cast_precision_loss, reason = "an integer beside a double is compared as a double")]
pub(super) fn compare_scalars(left: Scalar<'_>, right: Scalar<'_>, comparison: Comparison) -> bool {
    let ordering = match (left, right) {
        (Scalar::Text(left), Scalar::Text(right)) => match comparison {
            // Lengths tell most texts apart.
            Comparison::Equal => return left == right,
            Comparison::NotEqual => return left != right,
            _ => Some(left.cmp(right)),
        },
        (Scalar::Integer(left), Scalar::Integer(right)) => Some(left.cmp(&right)),
        (Scalar::Boolean(left), Scalar::Boolean(right)) => Some(left.cmp(&right)),
        (Scalar::Double(left), Scalar::Double(right)) => left.partial_cmp(&right),
        (Scalar::Integer(left), Scalar::Double(right)) => (left as f64).partial_cmp(&right),
        (Scalar::Double(left), Scalar::Integer(right)) => left.partial_cmp(&(right as f64)),
        (Scalar::Time(left, _), Scalar::Time(right, _)) => Some(left.cmp(&right)),
        (Scalar::Duration(left), Scalar::Duration(right)) => Some(left.cmp(&right)),
        (Scalar::Nil, Scalar::Nil) => {
            return matches!(comparison, Comparison::Equal | Comparison::LessOrEqual | Comparison::GreaterOrEqual);
        }
        _ => None,
    };
    holds(ordering, comparison)
}

/// Whether an order satisfies a comparison; what has no order is only unequal.
#[inline]
pub(super) fn holds(ordering: Option<Ordering>, comparison: Comparison) -> bool {
    let Some(ordering) = ordering else { return comparison == Comparison::NotEqual };
    match comparison {
        Comparison::Equal => ordering.is_eq(),
        Comparison::NotEqual => ordering.is_ne(),
        Comparison::Less => ordering.is_lt(),
        Comparison::LessOrEqual => ordering.is_le(),
        Comparison::Greater => ordering.is_gt(),
        Comparison::GreaterOrEqual => ordering.is_ge(),
    }
}
