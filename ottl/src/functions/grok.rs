//! `ExtractGrokPatterns`. Patterns of grok are expressions that are built of others by name. `%{NAME}`, `%{NAME:group}` and `%{NAME:group:type}`
//! stand for a group around the pattern of that name.

use crate::convert::{boolean_like, double_like, integer_like};
use crate::error::{CompileError, Failure};
use crate::function::{Arguments, Function, ParameterKind as Kind, Prepared, Written, needed, optional};
use crate::pattern::{self, Pattern};
use crate::tree::Expression;
use crate::value::{Entry, Map, Value, put};
use std::collections::HashMap;

pub(super) static EXTRACT_GROK_PATTERNS: Function = Function::new(
    "ExtractGrokPatterns",
    &[
        needed("target", Kind::Text),
        needed("pattern", Kind::LiteralText),
        optional("named_captures_only", Kind::LiteralBoolean),
        optional("pattern_definitions", Kind::LiteralTexts),
    ],
    groups,
)
.checked(|written| grok(written).map(drop).map_err(|reason| written.named(reason)))
.prepared(|written, shared| {
    let Some(text) = written.text("pattern") else { return Ok(Prepared::Nothing) };
    let grok = grok(written).map_err(|reason| CompileError::Pattern { pattern: text.to_string(), reason })?;
    shared.count(&grok.pattern);
    Ok(Prepared::own(grok))
});

/// Bytes that reading one byte may build, at most.
const BUILT_PER_READ: usize = 32;

/// The patterns that are known without being defined, a name and an expression in each line.
const PATTERNS: &str = include_str!("../data/grok.txt");

/// Deepest nesting of patterns: the reference's own bound, which no pattern that ends comes near.
const ROUNDS_MAX: usize = 1_000;

/// Longest expression that a pattern may become, bytes: far above any of the known patterns, and what keeps a pattern
/// that contains itself from growing without end.
/// At the bound: the configuration is refused.
const EXPANDED_BYTES_MAX: usize = 256 * 1024;

/// Stands for the point in the name of a group, which has none in an expression.
const POINT: &str = "___";

/// What a group's text becomes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Hint {
    /// The text itself.
    Text,
    /// A double.
    Double,
    /// An integer.
    Integer,
    /// A truth value.
    Boolean,
    /// Nothing that the reference knows: an error once the group has matched.
    Unknown,
}

/// A group of a pattern.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Group {
    /// Its number in the expression.
    number: usize,
    /// The key it is found under.
    key: String,
    /// What its text becomes.
    hint: Hint,
}

/// A pattern, compiled.
#[derive(Debug, Clone)]
struct Grok {
    /// The expression.
    pattern: Pattern,
    /// Its named groups. Several may have one key; the last that matches counts.
    groups: Vec<Group>,
}

/// The pattern that a call is about.
///
/// # Errors
/// What is wrong with it, in words.
fn grok(written: &Written<'_>) -> Result<Grok, String> {
    let pattern = written.text("pattern").ok_or("a pattern in double quotes is needed")?;
    let named_only = matches!(written.one("named_captures_only"), Some(Expression::Boolean(true)));
    let definitions = written.many("pattern_definitions").unwrap_or_default().iter();
    let definitions = definitions.filter_map(|definition| match definition {
        Expression::Text(definition) => Some(definition.as_str()),
        _ => None,
    });
    compile(pattern, named_only, &definitions.collect::<Vec<_>>())
}

/// The groups of a pattern that have matched something, as what their types say.
fn groups<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let grok: &Grok = arguments.prepared()?;
    let source = arguments.text(0)?;
    arguments.spend(source.len().saturating_mul(BUILT_PER_READ))?;
    let mut entries: Vec<Entry<'a>> = Vec::new();
    let Some(captures) = grok.pattern.captures(&source) else { return Ok(Value::Map(Map::Owned(entries))) };
    for group in &grok.groups {
        let text = captures.get(group.number).map_or(&[][..], |found| found.as_bytes());
        if text.is_empty() {
            continue;
        }
        arguments.spend(text.len().saturating_add(entries.len()))?;
        let value = Value::text(text);
        let value = match group.hint {
            Hint::Text => Value::built(text),
            Hint::Double => Value::Double(double_like(&value)?.ok_or(Failure::Value)?),
            Hint::Integer => Value::Integer(integer_like(&value)?.ok_or(Failure::Value)?),
            Hint::Boolean => Value::Boolean(boolean_like(&value)?.ok_or(Failure::Value)?),
            Hint::Unknown => return Err(Failure::Value),
        };
        put(&mut entries, group.key.as_bytes(), value);
    }
    Ok(Value::Map(Map::Owned(entries)))
}

/// Compiles a pattern. `definitions` are patterns written `NAME=expression`; with `named_only` a pattern without a group of
/// its own is not found under its name.
///
/// # Errors
/// What is wrong with it, in words.
fn compile(pattern: &str, named_only: bool, definitions: &[&str]) -> Result<Grok, String> {
    let mut known: HashMap<&str, &str> =
        PATTERNS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t')).collect();
    for definition in definitions {
        let (name, expression) = definition
            .split_once('=')
            .ok_or_else(|| format!("the definition {definition:?} is not written NAME=pattern"))?;
        if name.contains(':') {
            return Err(format!("the name of the definition {name:?} must not contain a colon"));
        }
        known.insert(name, expression);
    }
    let (expression, hints) = expanded(pattern, named_only, &known)?;
    let (pattern, groups) = pattern::compile_groups(&expression)?;
    let groups = groups.into_iter().map(|(number, name)| {
        let hint = hints.get(&name).copied().unwrap_or(Hint::Text);
        Group { number, key: name.replace(POINT, "."), hint }
    });
    let groups: Vec<Group> = groups.collect();
    if named_only && groups.is_empty() {
        return Err("it has no named group".to_string());
    }
    Ok(Grok { pattern, groups })
}

/// The expression that a pattern stands for, and the hints of its groups.
fn expanded(
    pattern: &str,
    named_only: bool,
    known: &HashMap<&str, &str>,
) -> Result<(String, HashMap<String, Hint>), String> {
    let mut hints = HashMap::new();
    let mut text = pattern.to_string();
    for _ in 0..ROUNDS_MAX {
        let found: Vec<Reference> = references(&text);
        if found.is_empty() {
            break;
        }
        for reference in found {
            let expression = *known
                .get(reference.pattern.as_str())
                .ok_or_else(|| format!("there is no pattern {}", reference.pattern))?;
            let name = reference.group.as_deref().unwrap_or(&reference.pattern).replace('.', POINT);
            let group = match named_only && reference.group.is_none() {
                true => format!("({expression})"),
                false => format!("(?P<{name}>{expression})"),
            };
            if let Some(hint) = reference.hint {
                hints.insert(name, hint);
            }
            text = text.replace(&reference.text, &group);
            if text.len() > EXPANDED_BYTES_MAX {
                return Err(format!("it is longer than {EXPANDED_BYTES_MAX} bytes once its patterns are filled in"));
            }
        }
    }
    Ok((text, hints))
}

/// A pattern by its name.
struct Reference {
    /// All of it.
    text: String,
    pattern: String,
    group: Option<String>,
    hint: Option<Hint>,
}

fn references(text: &str) -> Vec<Reference> {
    let mut found = Vec::new();
    let mut rest = text;
    while let Some(start) = rest.find("%{") {
        let inside = &rest[start + 2..];
        match inside.split_once('}').and_then(|(inside, _)| reference(inside)) {
            Some(reference) => {
                rest = &rest[start + reference.text.len()..];
                found.push(reference);
            }
            None => rest = inside,
        }
    }
    found
}

/// What stands between the braces: a name, perhaps a group, perhaps a type.
fn reference(inside: &str) -> Option<Reference> {
    let is_word = |text: &str, more: &[char]| {
        !text.is_empty() && text.chars().all(|c| c.is_ascii_alphanumeric() || c == '_' || more.contains(&c))
    };
    let mut parts = inside.split(':');
    let pattern = parts.next().filter(|name| is_word(name, &[]))?.to_string();
    let group = parts.next();
    let hint = parts.next();
    let is_whole = parts.next().is_none()
        && group.is_none_or(|name| is_word(name, &['+', '.']))
        && hint.is_none_or(|hint| is_word(hint, &[]));
    is_whole.then(|| Reference {
        text: format!("%{{{inside}}}"),
        pattern,
        group: group.map(str::to_string),
        hint: hint.map(|hint| match hint {
            "string" => Hint::Text,
            "double" | "float" => Hint::Double,
            "int" | "long" => Hint::Integer,
            "bool" | "boolean" => Hint::Boolean,
            _ => Hint::Unknown,
        }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_known_pattern_compiles() {
        let names = PATTERNS.lines().filter(|line| !line.starts_with('#')).filter_map(|line| line.split_once('\t'));
        let compiled = |name: &str| compile(&format!("%{{{name}}}"), false, &[]);
        let wrong: Vec<&str> = names.map(|(name, _)| name).filter(|name| compiled(name).is_err()).collect();
        // It is no expression in the reference either.
        assert_eq!(wrong, ["CISCOFW733100"]);
    }

    #[test]
    fn a_pattern_that_contains_itself_is_refused() {
        assert!(compile("%{A}", false, &["A=a%{A}%{A}"]).is_err());
        assert!(compile("%{A}", false, &["A=%{B}", "B=%{A}"]).is_err());
    }
}
