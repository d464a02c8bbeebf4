//! What a condition needs of a span's and its resource's attributes to hold, found when it is compiled: as the attributes
//! are scanned it is marked what is met, and a condition of which something is not met is known to be false without being
//! evaluated. Nothing is assumed of an operator here: what an absent attribute makes of a condition is evaluated.

use super::evaluate;
use super::note::{Attributes, Need, Site};
use super::operator::Comparison;
use super::program::{Call, Check, Given, Node, Step};
use super::target::Target;

/// While this is not met by a span, evaluating the condition on it comes to false, and to no error.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Needs {
    /// Bits of `Notes::met` that are all needed.
    all: u64,
    /// Bits of which one is needed.
    any: u64,
}

/// A bit that is always met.
const ALWAYS: u64 = 1 << 63;

impl Needs {
    /// It is not known to need anything.
    pub const NONE: Self = Self { all: 0, any: ALWAYS };

    /// Those of a condition.
    pub(super) fn of(check: &Check, attributes: &mut dyn Attributes) -> Self {
        match check {
            Check::AttributeText { site, number, text, is_equal: true } => {
                Self::one(attributes.need(*number, *site, Need::Text(text.clone())))
            }
            Check::AttributeInteger { site, number, comparison, value } => match range(*comparison, *value) {
                Some((low, high)) => Self::one(attributes.need(*number, *site, Need::IntegerWithin(low, high))),
                None => Self::NONE,
            },
            Check::All(parts) => {
                let mut needs = Self::NONE;
                for part in parts {
                    needs = needs.and(Self::of(part, attributes));
                    // What stands behind a part that fails does not count.
                    if may_fail(part) {
                        break;
                    }
                }
                needs
            }
            Check::Any(parts) => Self::of_any(parts, attributes),
            _ => Self::presence(check, attributes),
        }
    }

    /// Those of several conditions of which one is to hold.
    pub(super) fn of_any(checks: &[Check], attributes: &mut dyn Attributes) -> Self {
        if let [check] = checks {
            return Self::of(check, attributes);
        }
        let mut any = 0;
        for check in checks {
            let needs = Self::of(check, attributes);
            // One of several that are all needed will do.
            let one = needs.all & needs.all.wrapping_neg();
            any |= if one == 0 { needs.any } else { one };
        }
        Self { all: 0, any: if any == 0 { ALWAYS } else { any } }
    }

    /// Whether all that is needed is among `met`.
    #[inline(always)]
    #[must_use]
    pub fn are_met(self, met: u64) -> bool {
        self.all & !met == 0 && self.any & (met | ALWAYS) != 0
    }

    fn one(bit: Option<u64>) -> Self {
        Self { all: bit.unwrap_or(0), ..Self::NONE }
    }

    fn and(self, other: Self) -> Self {
        Self { all: self.all | other.all, any: if self.any == ALWAYS { other.any } else { self.any } }
    }

    /// For a condition on nothing but attributes that is false where it finds none of them: one must be there.
    fn presence(check: &Check, attributes: &mut dyn Attributes) -> Self {
        let mut keys = Vec::new();
        if !check_keys(check, &mut keys) || evaluate::check(check, &Target::none()) != Ok(false) {
            return Self::NONE;
        }
        let bits: Option<Vec<u64>> =
            keys.iter().map(|(site, number)| attributes.need(*number, *site, Need::Present)).collect();
        match bits.as_deref() {
            Some([bit]) => Self::one(Some(*bit)),
            Some([_, ..]) => Self { all: 0, any: bits.iter().flatten().fold(0, |any, bit| any | bit) },
            _ => Self::NONE,
        }
    }
}

/// The integers that compare so; none where also other values do.
fn range(comparison: Comparison, value: i64) -> Option<(i64, i64)> {
    Some(match comparison {
        Comparison::Equal => (value, value),
        Comparison::NotEqual => return None,
        Comparison::LessOrEqual => (i64::MIN, value),
        Comparison::GreaterOrEqual => (value, i64::MAX),
        Comparison::Less => (i64::MIN, value.checked_sub(1)?),
        Comparison::Greater => (value.checked_add(1)?, i64::MAX),
    })
}

/// Whether evaluating a condition on a span may come to an error.
fn may_fail(check: &Check) -> bool {
    match check {
        Check::Constant(_)
        | Check::AttributeText { .. }
        | Check::AttributeInteger { .. }
        | Check::Number { .. }
        | Check::Elapsed { .. }
        | Check::IsRoot
        | Check::Name { .. }
        | Check::NameEnd { .. } => false,
        Check::Not(inner) => may_fail(inner),
        Check::All(parts) | Check::Any(parts) => parts.iter().any(may_fail),
        _ => true,
    }
}

/// Adds the attributes that a condition looks at; false when it looks at anything else.
fn check_keys(check: &Check, keys: &mut Vec<(Site, usize)>) -> bool {
    match check {
        Check::Constant(_) => true,
        Check::Not(inner) => check_keys(inner, keys),
        Check::All(parts) | Check::Any(parts) => parts.iter().all(|part| check_keys(part, keys)),
        Check::Compare(_, left, right) => node_keys(left, keys) && node_keys(right, keys),
        Check::Holds(node) => node_keys(node, keys),
        Check::AttributeText { site, number, .. } | Check::AttributeInteger { site, number, .. } => {
            add((*site, *number), keys)
        }
        _ => false,
    }
}

fn node_keys(node: &Node, keys: &mut Vec<(Site, usize)>) -> bool {
    match node {
        Node::Constant(_) => true,
        Node::SpanAttribute(number, steps) => add((Site::Span, *number), keys) && step_keys(steps, keys),
        Node::ResourceAttribute(number, steps) => add((Site::Resource, *number), keys) && step_keys(steps, keys),
        Node::Call(call) => call_keys(call, keys),
        Node::Negate(inner) => node_keys(inner, keys),
        Node::Arithmetic(first, rest) => {
            node_keys(first, keys) && rest.iter().all(|(_, operand)| node_keys(operand, keys))
        }
        Node::List(nodes) => nodes.iter().all(|node| node_keys(node, keys)),
        Node::Entries(entries) => entries.iter().all(|(_, node)| node_keys(node, keys)),
        _ => false,
    }
}

fn call_keys(call: &Call, keys: &mut Vec<(Site, usize)>) -> bool {
    call.function.depends_on_span.is_none()
        && step_keys(&call.keys, keys)
        && call.arguments.iter().flatten().all(|given| match given {
            Given::One(node) => node_keys(node, keys),
            Given::Many(nodes) => nodes.iter().all(|node| node_keys(node, keys)),
        })
}

fn step_keys(steps: &[Step], keys: &mut Vec<(Site, usize)>) -> bool {
    steps.iter().all(|step| match step {
        Step::Text(_) | Step::Integer(_) => true,
        Step::Node(node) => node_keys(node, keys),
    })
}

fn add(key: (Site, usize), keys: &mut Vec<(Site, usize)>) -> bool {
    if !keys.contains(&key) {
        keys.push(key);
    }
    true
}
