//! Comparison by the reference's rules (its `compare.go`): different types are unequal and have no order, integers and
//! doubles compare as doubles, nil equals nil only.

use super::value::{List, ListKind, Map, Value};
use std::cmp::Ordering;
use tailwater_config::ottl::Comparison;

/// Whether `left comparison right` holds.
#[must_use]
pub fn compare(left: &Value<'_>, right: &Value<'_>, comparison: Comparison) -> bool {
    match (left, right) {
        (Value::Text(left), Value::Text(right)) => holds(Some((**left).cmp(&**right)), comparison),
        (Value::Integer(left), Value::Integer(right)) => holds(Some(left.cmp(right)), comparison),
        _ => compare_rare(left, right, comparison),
    }
}

#[expect(clippy::cast_precision_loss, reason = "an integer beside a double is compared as a double")]
fn compare_rare(left: &Value<'_>, right: &Value<'_>, comparison: Comparison) -> bool {
    let equality = |is_equal: bool| match comparison {
        Comparison::Equal => is_equal,
        Comparison::NotEqual => !is_equal,
        _ => false,
    };
    match (left, right) {
        _ if is_nil(left) && is_nil(right) => {
            matches!(comparison, Comparison::Equal | Comparison::LessOrEqual | Comparison::GreaterOrEqual)
        }
        _ if is_nil(left) || is_nil(right) => comparison == Comparison::NotEqual,
        (Value::Boolean(left), Value::Boolean(right)) => holds(Some(left.cmp(right)), comparison),
        (Value::Double(left), Value::Double(right)) => holds(left.partial_cmp(right), comparison),
        (Value::Integer(left), Value::Double(right)) => holds((*left as f64).partial_cmp(right), comparison),
        (Value::Double(left), Value::Integer(right)) => holds(left.partial_cmp(&(*right as f64)), comparison),
        (Value::Bytes(left), Value::Bytes(right)) => holds(Some((**left).cmp(&**right)), comparison),
        (Value::Time(left), Value::Time(right)) => holds(Some(left.cmp(right)), comparison),
        (Value::Duration(left), Value::Duration(right)) => holds(Some(left.cmp(right)), comparison),
        (Value::TraceId(left), Value::TraceId(right)) => equality(left == right),
        (Value::ProfileId(left), Value::ProfileId(right)) => equality(left == right),
        (Value::SpanId(left), Value::SpanId(right)) => equality(left == right),
        (Value::Map(left), Value::Map(right)) => equality(same_maps(left, right)),
        (Value::List(left), Value::List(right)) => equality(same_lists(left, right)),
        // The same field of the same span: there is no other here.
        (Value::Messages(left, _), Value::Messages(right, _)) => equality(left == right),
        (Value::Status, Value::Status) => equality(true),
        _ => comparison == Comparison::NotEqual,
    }
}

/// Empty bytes of the telemetry are nil where values are compared.
fn is_nil(value: &Value<'_>) -> bool {
    match value {
        Value::Nil => true,
        Value::Bytes(bytes) => bytes.is_empty(),
        _ => false,
    }
}

fn holds(ordering: Option<Ordering>, comparison: Comparison) -> bool {
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

/// Same keys with the same values, in any order.
fn same_maps(left: &Map<'_>, right: &Map<'_>) -> bool {
    left.len() == right.len()
        && left.iter().all(|(key, value)| right.share().get(&key).is_some_and(|other| same(&value, &other)))
}

fn same_lists(left: &List<'_>, right: &List<'_>) -> bool {
    if left.kind() == ListKind::Texts || right.kind() == ListKind::Texts {
        return false; // Has no equal in the reference, not even itself.
    }
    // Beside a list of the telemetry, a map or list inside a list that is written out has a type of its own.
    let are_unlike = left.kind() != right.kind();
    let is_nested = |value: &Value<'_>| match value {
        Value::Map(_) => true,
        Value::List(list) => list.kind() == ListKind::Slice,
        _ => false,
    };
    let plain = if left.kind() == ListKind::Plain { left } else { right };
    if are_unlike && plain.iter().any(|value| is_nested(&value)) {
        return false;
    }
    left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| same(&left, &right))
}

/// Equality of parts: of one type and one value; no integer equals a double here.
fn same(left: &Value<'_>, right: &Value<'_>) -> bool {
    match (left, right) {
        (Value::Map(left), Value::Map(right)) => same_maps(left, right),
        (Value::List(left), Value::List(right)) => {
            left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| same(&left, &right))
        }
        _ => left == right,
    }
}
