//! The converters, by what they are about. Each follows the reference's of the same name in `ottlfuncs`.

mod collection;
mod community;
mod csv;
mod format;
mod hash;
mod kind;
mod layout;
mod parse;
mod severity;
mod text;
mod time;
mod url;
mod user_agent;
mod xml;
mod zone;

pub(super) use severity::Levels;
pub(super) use time::rfc3339;
pub(super) use user_agent::UserAgents;
pub use zone::Zone;

use super::convert;
use super::error::Failure;
use super::evaluate;
use super::prepare::Prepared;
use super::program::{Call, Given, Node};
use super::scalar::{Scalar, scalar};
use super::target::Target;
use super::value::{Chars, Entry, List, Map, Value};
use crate::Function;
use crate::pattern::Pattern;
use std::borrow::Cow;

/// What a converter was called with.
struct Arguments<'a, 't> {
    call: &'a Call,
    target: &'t Target<'a>,
}

/// The value of a call, without the keys behind it.
pub(super) fn call<'a>(call: &'a Call, target: &Target<'a>) -> Result<Value<'a>, Failure> {
    use Function as F;
    let arguments = Arguments { call, target };
    match call.function {
        F::Bool | F::Coalesce | F::Double | F::Hex | F::Int | F::String | F::Len | F::ProfileID | F::SpanID => {
            kind::make(&arguments)
        }
        F::TraceID => kind::make(&arguments),
        F::IsBool | F::IsDouble | F::IsEmpty | F::IsInt | F::IsList | F::IsMap | F::IsRootSpan | F::IsString => {
            kind::is(&arguments).map(Value::Boolean)
        }
        F::HasPrefix | F::HasSuffix | F::IsInCIDR | F::IsMatch | F::IsValidLuhn => {
            text::is(&arguments).map(Value::Boolean)
        }
        F::Base64Encode
        | F::Concat
        | F::ConvertCase
        | F::Decode
        | F::Split
        | F::Substring
        | F::ToCamelCase
        | F::ToLowerCase
        | F::ToSnakeCase
        | F::ToUpperCase
        | F::Trim
        | F::TrimPrefix
        | F::TrimSuffix => text::make(&arguments),
        F::FNV
        | F::MD5
        | F::Murmur3Hash
        | F::Murmur3Hash128
        | F::SHA1
        | F::SHA256
        | F::SHA512
        | F::XXH128
        | F::XXH3 => hash::make(&arguments),
        F::ContainsValue | F::Index | F::Keys | F::SliceToMap | F::Sort | F::ToKeyValueString | F::Values => {
            collection::make(&arguments)
        }
        F::ExtractPatterns | F::Log | F::ParseInt | F::ParseJSON | F::ParseKeyValue => parse::make(&arguments),
        F::CommunityID => community::id(&arguments),
        F::ExtractGrokPatterns => match &call.prepared {
            Prepared::Grok(grok) => parse::grok(&arguments, grok),
            _ => Err(Failure::Value),
        },
        F::Format => format::text(&arguments),
        F::FormatTime => layout::format::text(&arguments),
        F::ParseCSV => csv::map(&arguments),
        F::ParseSeverity => match &call.prepared {
            Prepared::Levels(levels) => severity::level(&arguments, levels.as_ref().map_err(|failure| *failure)?),
            _ => Err(Failure::Value),
        },
        F::Time => match &call.prepared {
            Prepared::Clock(zone, locale) => layout::format::time(&arguments, *zone, locale.as_ref()),
            _ => Err(Failure::Value),
        },
        F::URL => url::map(&arguments),
        F::UserAgent => match &call.prepared {
            Prepared::UserAgents(known) => user_agent::map(&arguments, known),
            _ => Err(Failure::Value),
        },
        F::ConvertAttributesToElementsXML | F::ConvertTextToElementsXML | F::GetXML | F::InsertXML | F::RemoveXML => {
            match &call.prepared {
                Prepared::Path(path) => xml::by_path(&arguments, path),
                _ => Err(Failure::Value),
            }
        }
        F::ParseSimplifiedXML => xml::simplified(&arguments),
        F::ParseXML => xml::map(&arguments),
        F::Duration
        | F::Hours
        | F::Microseconds
        | F::Milliseconds
        | F::Minutes
        | F::Nanoseconds
        | F::Seconds
        | F::TruncateTime
        | F::Unix => time::make(&arguments),
        F::Day
        | F::Hour
        | F::Minute
        | F::Month
        | F::Nanosecond
        | F::Second
        | F::UnixMicro
        | F::UnixMilli
        | F::UnixNano
        | F::UnixSeconds
        | F::Weekday
        | F::Year => time::part(&arguments).map(Value::Integer),
    }
}

/// The commonest questions, where what they are about is simple; none where it takes more.
#[inline]
pub(super) fn quick<'a>(call: &'a Call, target: &Target<'a>) -> Result<Option<bool>, Failure> {
    let text = |index: usize| match call.arguments.get(index) {
        Some(Some(Given::One(node))) => scalar(node, target),
        _ => Ok(Scalar::Other),
    };
    Ok(match call.function {
        _ if !call.keys.is_empty() => None,
        Function::IsRootSpan => target.facts.map(|facts| facts.is_root),
        Function::HasPrefix | Function::HasSuffix => match (text(0)?, text(1)?) {
            (Scalar::Text(text), Scalar::Text(end)) => {
                target.spend(end.len())?;
                let is_prefix = call.function == Function::HasPrefix;
                Some(if is_prefix { text.starts_with(end) } else { text.ends_with(end) })
            }
            _ => None,
        },
        Function::IsMatch => match (text(0)?, &call.prepared) {
            (Scalar::Text(text), Prepared::Pattern(pattern)) => {
                target.spend(text.len())?;
                Some(pattern.is_match(text))
            }
            (Scalar::Nil, _) => Some(false),
            _ => None,
        },
        _ => None,
    })
}

impl<'a> Arguments<'a, '_> {
    fn function(&self) -> Function {
        self.call.function
    }

    fn given(&self, index: usize) -> Option<&'a Given> {
        self.call.arguments.get(index)?.as_ref()
    }

    /// A value of any type.
    fn any(&self, index: usize) -> Result<Value<'a>, Failure> {
        match self.given(index) {
            Some(Given::One(node)) => evaluate::value(node, self.target),
            _ => Err(Failure::Type),
        }
    }

    /// The elements of a list that is written out.
    fn many(&self, index: usize) -> Option<&'a [Node]> {
        match self.given(index) {
            Some(Given::Many(nodes)) => Some(nodes),
            _ => None,
        }
    }

    fn is_given(&self, index: usize) -> bool {
        self.given(index).is_some()
    }

    fn text(&self, index: usize) -> Result<Chars<'a>, Failure> {
        match self.any(index)? {
            Value::Text(text) => Ok(text),
            _ => Err(Failure::Type),
        }
    }

    /// A text, or what an optional parameter is when it is left out.
    fn text_or(&self, index: usize, default: &'static [u8]) -> Result<Chars<'a>, Failure> {
        if self.is_given(index) { self.text(index) } else { Ok(Cow::Borrowed(default)) }
    }

    fn boolean_or(&self, index: usize, default: bool) -> Result<bool, Failure> {
        match self.given(index) {
            None => Ok(default),
            Some(_) => match self.any(index)? {
                Value::Boolean(value) => Ok(value),
                _ => Err(Failure::Type),
            },
        }
    }

    fn text_like(&self, index: usize) -> Result<Option<Chars<'a>>, Failure> {
        convert::text_like(self.any(index)?)
    }

    fn integer(&self, index: usize) -> Result<i64, Failure> {
        match self.any(index)? {
            Value::Integer(value) => Ok(value),
            _ => Err(Failure::Type),
        }
    }

    fn time(&self, index: usize) -> Result<(i128, Zone), Failure> {
        match self.any(index)? {
            Value::Time(time, zone) => Ok((time, zone)),
            _ => Err(Failure::Type),
        }
    }

    fn duration(&self, index: usize) -> Result<i64, Failure> {
        match self.any(index)? {
            Value::Duration(duration) => Ok(duration),
            _ => Err(Failure::Type),
        }
    }

    fn map(&self, index: usize) -> Result<Map<'a>, Failure> {
        match self.any(index)? {
            // As a map of the telemetry, which has integers of one type.
            Value::Map(Map::Owned(entries)) => Ok(Map::Owned(entries.into_iter().map(plain_port).collect())),
            Value::Map(map) => Ok(map),
            _ => Err(Failure::Type),
        }
    }

    fn list(&self, index: usize) -> Result<List<'a>, Failure> {
        match self.any(index)? {
            Value::List(list) => convert::slice(list),
            _ => Err(Failure::Type),
        }
    }

    fn pattern(&self) -> Result<&'a Pattern, Failure> {
        match &self.call.prepared {
            Prepared::Pattern(pattern) => Ok(pattern),
            _ => Err(Failure::Value),
        }
    }

    /// Reading a text once costs its length.
    fn read(&self, text: &[u8]) -> Result<(), Failure> {
        self.target.spend(text.len())
    }
}

fn plain_port<'a>((key, value): Entry<'a>) -> Entry<'a> {
    match value {
        Value::Port(port) => (key, Value::Integer(port)),
        value => (key, value),
    }
}

/// Sets a key: the last value of a key counts, in the place of its first.
fn put<'a>(entries: &mut Vec<Entry<'a>>, key: &[u8], value: Value<'a>) {
    match entries.iter_mut().find(|(known, _)| **known == *key) {
        Some((_, known)) => *known = value,
        None => entries.push((Cow::Owned(key.to_vec()), value)),
    }
}
