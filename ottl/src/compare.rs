//! Comparison by the reference's rules (its `compare.go`): different types are unequal and have no order, integers and
//! doubles compare as doubles, nil equals nil only.

use super::operator::Comparison;
use super::scalar::{Scalar, compare_scalars, holds};
use super::value::{List, ListKind, Map, Value};

/// Whether `left comparison right` holds.
#[must_use]
pub fn compare(left: &Value<'_>, right: &Value<'_>, comparison: Comparison) -> bool {
    match (Scalar::of(left), Scalar::of(right)) {
        (Scalar::Other, _) | (_, Scalar::Other) => compare_rare(left, right, comparison),
        (left, right) => compare_scalars(left, right, comparison),
    }
}

fn compare_rare(left: &Value<'_>, right: &Value<'_>, comparison: Comparison) -> bool {
    let equality = |is_equal: bool| match comparison {
        Comparison::Equal => is_equal,
        Comparison::NotEqual => !is_equal,
        _ => false,
    };
    match (left, right) {
        _ if is_nil(left) && is_nil(right) => compare_scalars(Scalar::Nil, Scalar::Nil, comparison),
        _ if is_nil(left) || is_nil(right) => comparison == Comparison::NotEqual,
        (Value::Bytes(left), Value::Bytes(right)) => holds(Some((**left).cmp(&**right)), comparison),
        (Value::TraceId(left), Value::TraceId(right)) => equality(left == right),
        (Value::ProfileId(left), Value::ProfileId(right)) => equality(left == right),
        (Value::SpanId(left), Value::SpanId(right)) => equality(left == right),
        (Value::Map(left), Value::Map(right)) => equality(same_maps(left, right)),
        (Value::List(left), Value::List(right)) => equality(same_lists(left, right)),
        (Value::Port(left), Value::Port(right)) => equality(left == right),
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

/// Which lists and maps within lists and maps are of one type.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Parts {
    /// Those of a map: all are.
    Converted,
    /// Those of two lists of one type: as they are.
    AsTheyAre,
    /// Those of a list of the telemetry and one that is written out: lists of the same two, and no maps.
    Apart,
}

/// Maps up to this size are compared without sorting.
const SMALL_MAP_ENTRIES: usize = 16;

/// Same keys with the same values, in any order; of equal keys the first counts.
fn same_maps(left: &Map<'_>, right: &Map<'_>) -> bool {
    let count = right.len();
    if left.len() != count {
        return false;
    }
    if count <= SMALL_MAP_ENTRIES {
        return left
            .iter()
            .all(|(key, value)| right.share().get(&key).is_some_and(|other| same(&value, &other, Parts::Converted)));
    }
    let mut sorted: Vec<_> = right.iter().collect();
    sorted.sort_by(|left, right| left.0.cmp(&right.0));
    left.iter().all(|(key, value)| {
        let at = sorted.partition_point(|(known, _)| *known < key);
        sorted.get(at).is_some_and(|(known, other)| *known == key && same(&value, other, Parts::Converted))
    })
}

fn same_lists(left: &List<'_>, right: &List<'_>) -> bool {
    if left.kind() == ListKind::Texts || right.kind() == ListKind::Texts {
        return false; // Has no equal in the reference, not even itself.
    }
    let parts = match (left.kind(), right.kind()) {
        (ListKind::Slice, ListKind::Slice) => Parts::Converted,
        (left, right) if left == right => Parts::AsTheyAre,
        _ => Parts::Apart,
    };
    same_elements(left, right, parts)
}

fn same_elements(left: &List<'_>, right: &List<'_>, parts: Parts) -> bool {
    left.len() == right.len() && left.iter().zip(right.iter()).all(|(left, right)| same(&left, &right, parts))
}

/// Equality of parts: of one type and one value; no integer equals a double here.
fn same(left: &Value<'_>, right: &Value<'_>, parts: Parts) -> bool {
    match (left, right) {
        (Value::Map(left), Value::Map(right)) => parts != Parts::Apart && same_maps(left, right),
        (Value::List(left), Value::List(right)) => {
            let are_alike = left.kind() == right.kind();
            let is_one_type = match parts {
                Parts::Converted => true,
                Parts::AsTheyAre => are_alike,
                Parts::Apart => !are_alike,
            };
            is_one_type && same_elements(left, right, parts)
        }
        _ => left == right,
    }
}
