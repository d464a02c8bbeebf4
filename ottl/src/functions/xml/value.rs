//! Values of XPath expressions, and the functions that give them.

use super::select::{Query, Walk, all, truth};
use super::xpath::{Compare, Compute, Function, Plan};
use crate::error::Failure;

/// What an expression comes to. Texts may be cut between the bytes of a character.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Value {
    Boolean(bool),
    Number(f64),
    Text(Vec<u8>),
    /// There are nodes, to be selected one after the other.
    Nodes,
}

impl Value {
    #[expect(clippy::cast_precision_loss, reason = "no document has so many nodes")]
    pub(super) fn count(count: usize) -> Self {
        Self::Number(count as f64)
    }
}

/// A number made of a value; of nodes the first counts.
pub(super) fn number_of(query: &mut Query<'_>, value: Value, walk: &mut Walk<'_, '_, '_>) -> Result<f64, Failure> {
    Ok(match value {
        Value::Number(number) => number,
        Value::Boolean(truth) => f64::from(u8::from(truth)),
        Value::Text(text) => number(&text),
        Value::Nodes => match query.select(walk)? {
            Some(place) => number(walk.text(place)?.as_bytes()),
            None => f64::NAN,
        },
    })
}

fn number(text: &[u8]) -> f64 {
    let text = std::str::from_utf8(text).unwrap_or_default().trim();
    strict_number(text).unwrap_or(f64::NAN)
}

/// The number that a text is, without spaces around it.
fn strict_number(text: &str) -> Option<f64> {
    // Too large a number is none; infinity is one.
    text.parse::<f64>().ok().filter(|number| number.is_finite() || text.contains(['i', 'I', 'n', 'N']))
}

fn text_of(query: &mut Query<'_>, value: Value, walk: &mut Walk<'_, '_, '_>) -> Result<Vec<u8>, Failure> {
    Ok(match value {
        Value::Text(text) => text,
        Value::Boolean(truth) => if truth { "true" } else { "false" }.into(),
        Value::Number(0.0) => b"0".to_vec(),
        Value::Number(number) if number.is_nan() => b"NaN".to_vec(),
        Value::Number(number) if number.is_infinite() => if number > 0.0 { "Infinity" } else { "-Infinity" }.into(),
        Value::Number(number) => format!("{number}").into_bytes(),
        Value::Nodes => match query.select(walk)? {
            Some(place) => walk.text(place)?.into_bytes(),
            None => Vec::new(),
        },
    })
}

pub(super) fn compute(operator: Compute, left: f64, right: f64) -> f64 {
    match operator {
        Compute::Add => left + right,
        Compute::Subtract => left - right,
        Compute::Multiply => left * right,
        Compute::Divide => left / right,
        Compute::Remainder => left % right,
    }
}

fn numbers(comparison: Compare, left: f64, right: f64) -> bool {
    match comparison {
        Compare::Equal => left == right,
        Compare::NotEqual => left != right,
        Compare::Less => left < right,
        Compare::LessOrEqual => left <= right,
        Compare::Greater => left > right,
        Compare::GreaterOrEqual => left >= right,
    }
}

fn texts(comparison: Compare, left: &[u8], right: &[u8]) -> bool {
    match comparison {
        Compare::Equal => left == right,
        Compare::NotEqual => left != right,
        _ => numbers(comparison, number(left), number(right)),
    }
}

/// Whether a comparison holds: of nodes for any of them.
///
/// # Errors
/// `Type` where a truth value meets anything else: the reference crashes. Two truth values are never equal there, nor
/// unequal.
pub(super) fn compare(
    comparison: Compare,
    left: (&mut Query<'_>, Value),
    right: (&mut Query<'_>, Value),
    walk: &mut Walk<'_, '_, '_>,
) -> Result<bool, Failure> {
    let (left_query, right_query) = (left.0, right.0);
    Ok(match (left.1, right.1) {
        (Value::Boolean(_), Value::Boolean(_)) => false,
        (Value::Boolean(_), _) | (_, Value::Boolean(_)) => return Err(Failure::Type),
        (Value::Number(left), Value::Number(right)) => numbers(comparison, left, right),
        (Value::Number(left), Value::Text(right)) => numbers(comparison, left, number(&right)),
        (Value::Text(left), Value::Number(right)) => numbers(comparison, number(&left), right),
        (Value::Text(left), Value::Text(right)) => texts(comparison, &left, &right),
        (Value::Number(left), Value::Nodes) => any(right_query, walk, |text| numbers(comparison, left, number(text)))?,
        (Value::Text(left), Value::Nodes) => any(right_query, walk, |text| texts(comparison, &left, text))?,
        (Value::Nodes, Value::Number(right)) => any(left_query, walk, |text| numbers(comparison, number(text), right))?,
        (Value::Nodes, Value::Text(right)) => any(left_query, walk, |text| texts(comparison, text, &right))?,
        (Value::Nodes, Value::Nodes) => loop {
            let Some(first) = left_query.select(walk)? else { break false };
            let first = walk.text(first)?;
            let mut is_empty = true;
            let mut found = false;
            while let Some(second) = right_query.select(walk)? {
                is_empty = false;
                if texts(comparison, first.as_bytes(), walk.text(second)?.as_bytes()) {
                    found = true;
                    break;
                }
            }
            if found || is_empty {
                break found;
            }
            right_query.evaluate(walk)?;
        },
    })
}

fn any(query: &mut Query<'_>, walk: &mut Walk<'_, '_, '_>, holds: impl Fn(&[u8]) -> bool) -> Result<bool, Failure> {
    while let Some(place) = query.select(walk)? {
        if holds(walk.text(place)?.as_bytes()) {
            return Ok(true);
        }
    }
    Ok(false)
}

/// An argument while it is evaluated.
struct Argument<'p> {
    query: Query<'p>,
    value: Value,
}

impl<'p> Argument<'p> {
    fn of(plan: &'p Plan, walk: &mut Walk<'_, '_, '_>) -> Result<Self, Failure> {
        let mut query = Query::new(plan);
        let value = query.evaluate(walk)?;
        Ok(Self { query, value })
    }

    fn number(mut self, walk: &mut Walk<'_, '_, '_>) -> Result<f64, Failure> {
        number_of(&mut self.query, self.value, walk)
    }

    fn text(mut self, walk: &mut Walk<'_, '_, '_>) -> Result<Vec<u8>, Failure> {
        text_of(&mut self.query, self.value, walk)
    }

    /// A text, or that of the first node; none of no node.
    ///
    /// # Errors
    /// `Type` for any other value: the reference crashes.
    fn only_text(mut self, walk: &mut Walk<'_, '_, '_>) -> Result<Option<Vec<u8>>, Failure> {
        match self.value {
            Value::Text(text) => Ok(Some(text)),
            Value::Nodes => match self.query.select(walk)? {
                Some(place) => Ok(Some(walk.text(place)?.into_bytes())),
                None => Ok(None),
            },
            _ => Err(Failure::Type),
        }
    }

    /// A text that is no node's.
    fn plain_text(self) -> Result<Vec<u8>, Failure> {
        match self.value {
            Value::Text(text) => Ok(text),
            _ => Err(Failure::Type),
        }
    }

    /// As `only_text`, where any other value is no text.
    fn lenient_text(self, walk: &mut Walk<'_, '_, '_>) -> Result<Option<Vec<u8>>, Failure> {
        match self.value {
            Value::Boolean(_) | Value::Number(_) => Ok(Some(Vec::new())),
            _ => self.only_text(walk),
        }
    }
}

pub(super) fn call(function: Function, plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    use Function as F;
    let value = match function {
        F::True => Value::Boolean(true),
        F::False => Value::Boolean(false),
        F::Name | F::LocalName | F::NamespaceUri => return named(function, plans, walk),
        F::Concat => {
            let mut out = Vec::new();
            for plan in plans {
                out.extend(Argument::of(plan, walk)?.text(walk)?);
            }
            Value::Text(out)
        }
        F::StringJoin => return joined(plans, walk),
        F::Substring => return substring(plans, walk),
        F::Translate => return translated(plans, walk),
        F::Contains | F::StartsWith | F::EndsWith => return searched(function, plans, walk),
        F::SubstringBefore | F::SubstringAfter => return cut(function, plans, walk),
        _ => match plans.first() {
            Some(plan) => {
                let argument = Argument::of(plan, walk)?;
                return of_one(function, argument, walk);
            }
            // Without an argument it is the node at hand.
            None if function == F::String => Value::Text(walk.text(walk.at)?.into_bytes()),
            None => return Err(Failure::Type),
        },
    };
    spent(value, walk)
}

/// A value that was built costs its size.
fn spent(value: Value, walk: &Walk<'_, '_, '_>) -> Result<Value, Failure> {
    if let Value::Text(text) = &value {
        walk.target.spend(text.len())?;
    }
    Ok(value)
}

fn of_one(function: Function, mut argument: Argument<'_>, walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    use Function as F;
    Ok(match function {
        F::Boolean => Value::Boolean(truth(&mut argument.query, argument.value, walk)?),
        F::Not => Value::Boolean(match argument.value {
            Value::Boolean(value) => !value,
            Value::Nodes => argument.query.select(walk)?.is_none(),
            _ => false,
        }),
        F::Number => Value::Number(argument.number(walk)?),
        F::Ceiling => Value::Number(argument.number(walk)?.ceil()),
        F::Floor => Value::Number(argument.number(walk)?.floor()),
        F::Round => {
            let number = argument.number(walk)?;
            // Halves are rounded up.
            let whole = number.floor();
            Value::Number(if number - whole >= 0.5 { whole + 1.0 } else { whole })
        }
        F::LowerCase => Value::Text(super::super::case::lower(&argument.text(walk)?).into_bytes()),
        F::NormalizeSpace => match argument.lenient_text(walk)? {
            Some(text) => Value::Text(normalized(&text)),
            None => Value::Text(Vec::new()),
        },
        F::StringLength => match argument.value {
            Value::Boolean(_) | Value::Number(_) => Value::count(0),
            _ => Value::count(argument.only_text(walk)?.map_or(0, |text| text.len())),
        },
        F::Sum => match argument.value {
            Value::Nodes => {
                let mut sum = 0.0;
                for place in all(&mut argument.query, walk)? {
                    sum += strict_number(&walk.text(place)?).unwrap_or(0.0);
                }
                Value::Number(sum)
            }
            Value::Number(number) => Value::Number(number),
            Value::Text(text) => {
                let text = std::str::from_utf8(&text).map_err(|_| Failure::Value)?;
                Value::Number(strict_number(text).ok_or(Failure::Value)?)
            }
            Value::Boolean(_) => Value::count(0),
        },
        // String
        _ => Value::Text(argument.text(walk)?),
    })
}

fn named(function: Function, plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let place = match plans.first() {
        None => Some(walk.at),
        Some(plan) => Query::new(plan).select(walk)?,
    };
    let Some(place) = place else { return Ok(Value::Text(Vec::new())) };
    let (prefix, local) = (walk.prefix(place), walk.local_name(place));
    let name = match function {
        Function::LocalName => local.to_string(),
        Function::NamespaceUri => walk.namespace(place).to_string(),
        _ if prefix.is_empty() => local.to_string(),
        _ => format!("{prefix}:{local}"),
    };
    spent(Value::Text(name.into_bytes()), walk)
}

fn joined(plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let [nodes, separator] = plans else { return Err(Failure::Type) };
    let separator = Argument::of(separator, walk)?.lenient_text(walk)?.unwrap_or_default();
    let mut argument = Argument::of(nodes, walk)?;
    let mut parts = Vec::new();
    match argument.value {
        Value::Text(text) => return Ok(Value::Text(text)),
        Value::Nodes => {
            while let Some(place) = argument.query.select(walk)? {
                parts.push(walk.text(place)?.into_bytes());
                walk.target.spend(separator.len())?;
            }
        }
        _ => {}
    }
    spent(Value::Text(parts.join(&separator[..])), walk)
}

fn searched(function: Function, plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let [whole, part] = plans else { return Err(Failure::Type) };
    let Some(whole) = Argument::of(whole, walk)?.only_text(walk)? else { return Ok(Value::Boolean(false)) };
    let part = Argument::of(part, walk)?.plain_text()?;
    walk.target.spend(whole.len())?;
    Ok(Value::Boolean(match function {
        Function::StartsWith => whole.starts_with(&part),
        Function::EndsWith => whole.ends_with(&part),
        _ => memchr::memmem::find(&whole, &part).is_some(),
    }))
}

fn cut(function: Function, plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let [whole, word] = plans else { return Err(Failure::Type) };
    let nothing = Ok(Value::Text(Vec::new()));
    let Some(whole) = Argument::of(whole, walk)?.lenient_text(walk)? else { return nothing };
    let Some(word) = Argument::of(word, walk)?.lenient_text(walk)?.filter(|word| !word.is_empty()) else {
        return nothing;
    };
    let Some(at) = memchr::memmem::find(&whole, &word) else { return nothing };
    let part = if function == Function::SubstringAfter { &whole[at + word.len()..] } else { &whole[..at] };
    spent(Value::Text(part.to_vec()), walk)
}

/// Part of a text by a start counted from one, in bytes; with faults of the reference where the start is below one.
fn substring(plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let [text, start, length @ ..] = plans else { return Err(Failure::Type) };
    let nothing = Ok(Value::Text(Vec::new()));
    let Some(text) = Argument::of(text, walk)?.lenient_text(walk)? else { return nothing };
    let rounded = |plan, walk: &mut Walk<'_, '_, '_>| match Argument::of(plan, walk)?.value {
        Value::Number(number) => Ok(number.round()),
        _ => Err(Failure::Type),
    };
    let start = rounded(start, walk)?;
    let Value::Number(size) = Value::count(text.len()) else { return nothing };
    if start > size {
        return nothing;
    }
    let index = |number: f64| {
        let number = crate::convert::truncated(number);
        usize::try_from(number).ok().filter(|index| *index <= text.len()).ok_or(Failure::Value)
    };
    let range = match length.first() {
        None if start <= 0.0 => 0..text.len(),
        None => index(start - 1.0)?..text.len(),
        Some(length) => {
            let length = rounded(length, walk)?;
            if length <= 0.0 {
                return nothing;
            }
            let length = length.min(size);
            if start < 0.0 {
                let length = length + start;
                if length <= 1.0 {
                    return nothing;
                }
                0..index(length - 1.0)?
            } else if start == 0.0 {
                0..index(length - 1.0)?
            } else {
                index(start - 1.0)?..index(length + start - 1.0)?
            }
        }
    };
    let part = text.get(range).ok_or(Failure::Value)?.to_vec();
    spent(Value::Text(part), walk)
}

/// Characters replaced by bytes at the same place, in bytes, of another text, and left out where it has none.
fn translated(plans: &[Plan], walk: &mut Walk<'_, '_, '_>) -> Result<Value, Failure> {
    let [text, from, to] = plans else { return Err(Failure::Type) };
    let text = Argument::of(text, walk)?.text(walk)?;
    let from = Argument::of(from, walk)?.text(walk)?;
    let to = Argument::of(to, walk)?.text(walk)?;
    let from = String::from_utf8_lossy(&from);
    let pairs: Vec<(char, Option<char>)> =
        from.char_indices().map(|(at, character)| (character, to.get(at).map(|byte| char::from(*byte)))).collect();
    let mut out = String::new();
    for character in String::from_utf8_lossy(&text).chars() {
        walk.target.spend(1 + pairs.len())?;
        match pairs.iter().find(|(known, _)| *known == character) {
            Some((_, replacement)) => out.extend(replacement),
            None => out.push(character),
        }
    }
    Ok(Value::Text(out.into_bytes()))
}

/// Without spaces at its ends, and with one for each run of them inside.
fn normalized(text: &[u8]) -> Vec<u8> {
    let text = String::from_utf8_lossy(text);
    text.split_whitespace().collect::<Vec<_>>().join(" ").into_bytes()
}
