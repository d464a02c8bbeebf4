//! `ParseSeverity`: the level whose criteria a text or number meets.

use crate::error::Failure;
use crate::evaluate;
use crate::function::{Arguments, Function, ParameterKind as Kind, Prepared, needed};
use crate::value::{List, Map, Value};
use std::ops::RangeInclusive;

pub(super) static PARSE_SEVERITY: Function =
    Function::new("ParseSeverity", &[needed("target", Kind::Any), needed("mapping", Kind::Map)], level).prepared(
        |written, _| {
            // A mapping with anything of a span in it is none, as in the reference.
            let mapping = written.literal("mapping").ok_or(Failure::Value);
            Ok(Prepared::own(mapping.and_then(evaluate::constant).and_then(|mapping| Levels::of(&mapping))))
        },
    );

/// The levels in the order they are written in; the reference takes any of several that match.
#[derive(Debug)]
struct Levels(Vec<(Vec<u8>, Vec<Criterion>)>);

#[derive(Debug)]
struct Criterion {
    texts: Vec<Vec<u8>>,
    range: Option<RangeInclusive<i64>>,
}

impl Levels {
    /// The criteria of a mapping.
    ///
    /// # Errors
    /// `Value` when it is none; the reference says so for each span.
    fn of(mapping: &Value<'_>) -> Result<Self, Failure> {
        let Value::Map(mapping) = mapping else { return Err(Failure::Type) };
        let levels = mapping.iter().map(|(level, criteria)| {
            let Value::List(criteria) = criteria else { return Err(Failure::Value) };
            let criteria = criteria.iter().map(|criterion| match criterion {
                Value::Map(map) => Criterion::of(&map),
                _ => Err(Failure::Value),
            });
            Ok((level.to_vec(), criteria.collect::<Result<_, Failure>>()?))
        });
        Ok(Self(levels.collect::<Result<_, Failure>>()?))
    }
}

impl Criterion {
    fn of(map: &Map<'_>) -> Result<Self, Failure> {
        let texts = match map.share().get(b"equals") {
            None => Vec::new(),
            Some(Value::List(texts)) => texts_of(&texts)?,
            Some(_) => return Err(Failure::Value),
        };
        let range = match map.share().get(b"range") {
            None => None,
            Some(Value::Map(range)) => match (range.share().get(b"min"), range.share().get(b"max")) {
                (Some(Value::Integer(least)), Some(Value::Integer(most))) => Some(least..=most),
                _ => return Err(Failure::Value),
            },
            Some(Value::Text(name)) => Some(match &*name {
                b"2xx" => 200..=299,
                b"3xx" => 300..=399,
                b"4xx" => 400..=499,
                b"5xx" => 500..=599,
                _ => return Err(Failure::Value),
            }),
            Some(_) => return Err(Failure::Value),
        };
        Ok(Self { texts, range })
    }
}

fn texts_of(texts: &List<'_>) -> Result<Vec<Vec<u8>>, Failure> {
    let texts = texts.iter().map(|text| match text {
        Value::Text(text) => Ok(text.into_owned()),
        _ => Err(Failure::Value),
    });
    texts.collect()
}

fn level<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let levels: &Result<Levels, Failure> = arguments.prepared()?;
    let levels = levels.as_ref().map_err(|failure| *failure)?;
    let value = arguments.any(0)?;
    let meets = |criterion: &Criterion| match &value {
        Value::Text(text) => criterion.texts.iter().any(|known| known[..] == **text),
        Value::Integer(number) => criterion.range.as_ref().is_some_and(|range| range.contains(number)),
        _ => false,
    };
    let level = levels.0.iter().find(|(_, criteria)| criteria.iter().any(meets));
    level.map(|(level, _)| Value::text(level)).ok_or(Failure::Value)
}
