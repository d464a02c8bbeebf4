//! YAML text to a tree that knows its lines. Takes what Go's yaml.v3 takes, which is what the Collector's users have written
//! against. Strict where YAML is loose: one document, no duplicate keys, bounded depth and size after aliases are
//! expanded. Scalars keep their text; they get a type where a key asks for one, by the rules of yaml.v3.

mod fault;
mod mend;
mod read;
#[cfg(test)]
mod suite;

use std::borrow::Cow;

pub(crate) use read::{Document, parse, read};

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// 1-based.
    pub(crate) line: u32,
    /// What is there.
    pub(crate) value: Value,
    /// The text that the value was read from, where all of it came from outside the file: a key that takes text takes
    /// this, whatever it reads as.
    pub(crate) original: Option<String>,
}

/// What a node holds.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Value {
    /// Anything written as text.
    Scalar(Scalar),
    /// A sequence.
    List(Vec<Node>),
    /// A mapping in the order written.
    Map(Vec<Entry>),
}

/// A key of a mapping with its value.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Entry {
    /// The key.
    pub(crate) key: String,
    /// The line of the key.
    pub(crate) line: u32,
    /// The value.
    pub(crate) node: Node,
}

/// A scalar that has not been given a type yet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scalar {
    /// The text without quotes.
    pub(crate) text: String,
    /// How it was written.
    pub(crate) style: Style,
}

/// How a scalar was written, which bounds what it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Style {
    /// Without quotes: a number, boolean, null or text.
    Plain,
    /// In quotes or as a block: text.
    Quoted,
}

/// A plain scalar's type by the core schema.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Resolved {
    /// Nothing.
    Null,
    /// true or false.
    Bool(bool),
    /// An integer.
    Integer(i128),
    /// A floating-point number.
    Float(f64),
    /// Text.
    Text(String),
}

/// Why text is not a configuration tree.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{cause}")]
pub(crate) struct YamlError {
    /// 1-based line.
    pub(crate) line: u32,
    /// What is wrong.
    pub(crate) cause: String,
    /// What to do about it.
    pub(crate) remedy: String,
}

impl Node {
    /// A value as it stands in a file.
    pub(crate) fn new(line: u32, value: Value) -> Self {
        Self { line, value, original: None }
    }

    /// Nothing, for a section that is not there.
    pub(crate) fn null(line: u32) -> Self {
        Self::new(line, Value::Scalar(Scalar { text: String::new(), style: Style::Plain }))
    }

    /// The text here for a key that takes text; none where something else is written.
    pub(crate) fn text(&self) -> Option<&str> {
        match (&self.original, &self.value) {
            (Some(original), _) => Some(original),
            (None, Value::Scalar(scalar)) if matches!(scalar.resolve(), Resolved::Text(_)) => Some(&scalar.text),
            _ => None,
        }
    }

    /// What was written here in one line, for messages and for keys that take anything.
    pub(crate) fn written(&self) -> Option<&str> {
        match (&self.original, &self.value) {
            (Some(original), _) => Some(original),
            (None, Value::Scalar(scalar)) => Some(&scalar.text),
            _ => None,
        }
    }

    /// Whether nothing was written here (`key:` alone, `~` or `null`).
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar(scalar) if scalar.resolve() == Resolved::Null)
    }

    /// The value of `key`, if this is a mapping that has it.
    pub(crate) fn get(&self, key: &str) -> Option<&Entry> {
        match &self.value {
            Value::Map(entries) => entries.iter().find(|entry| entry.key == key),
            _ => None,
        }
    }

    /// What kind of thing this is, for messages.
    pub(crate) fn kind(&self) -> &'static str {
        match &self.value {
            Value::List(_) => "a list",
            Value::Map(_) => "a mapping",
            Value::Scalar(scalar) => match scalar.resolve() {
                Resolved::Null => "nothing",
                Resolved::Bool(_) => "a boolean",
                Resolved::Integer(_) => "an integer",
                Resolved::Float(_) => "a number",
                Resolved::Text(_) => "text",
            },
        }
    }
}

impl Scalar {
    /// The boolean here for a key that takes one: `yes`, `no`, `on` and `off` are booleans there, and text elsewhere.
    pub(crate) fn boolean(&self) -> Option<bool> {
        (self.style == Style::Plain).then(|| boolean(&self.text)).flatten()
    }

    /// The type of the scalar.
    pub(crate) fn resolve(&self) -> Resolved {
        if self.style == Style::Quoted {
            return Resolved::Text(self.text.clone());
        }
        match self.text.as_str() {
            "" | "~" | "null" | "Null" | "NULL" => Resolved::Null,
            "true" | "True" | "TRUE" => Resolved::Bool(true),
            "false" | "False" | "FALSE" => Resolved::Bool(false),
            text => match (integer(text), float(text)) {
                (Some(number), _) => Resolved::Integer(number),
                (None, Some(number)) => Resolved::Float(number),
                (None, None) => Resolved::Text(text.to_string()),
            },
        }
    }
}

/// A boolean as Go's yaml.v3 reads one for a key that takes one.
pub(crate) fn boolean(text: &str) -> Option<bool> {
    match text {
        "true" | "True" | "TRUE" | "y" | "Y" | "yes" | "Yes" | "YES" | "on" | "On" | "ON" => Some(true),
        "false" | "False" | "FALSE" | "n" | "N" | "no" | "No" | "NO" | "off" | "Off" | "OFF" => Some(false),
        _ => None,
    }
}

/// An integer as Go's yaml.v3 reads one: underscores, `0x`, `0o`, `0b`, and a leading zero for octal.
pub(crate) fn integer(text: &str) -> Option<i128> {
    let first = text.chars().next()?;
    if !(first.is_ascii_digit() || ((first == '-' || first == '+') && text.len() > 1)) {
        return None;
    }
    let plain: Cow<'_, str> = if text.contains('_') { Cow::Owned(text.replace('_', "")) } else { Cow::Borrowed(text) };
    let (negative, digits) = match plain.as_bytes().first()? {
        b'-' => (true, &plain[1..]),
        b'+' => (false, &plain[1..]),
        _ => (false, &plain[..]),
    };
    let (radix, digits) = match digits.get(..2) {
        Some("0x" | "0X") => (16, &digits[2..]),
        Some("0o" | "0O") => (8, &digits[2..]),
        Some("0b" | "0B") => (2, &digits[2..]),
        Some(other) if other.starts_with('0') => (8, &digits[1..]),
        _ => (10, digits),
    };
    if digits.is_empty() || digits.starts_with(['-', '+']) {
        return None;
    }
    let number = i128::from_str_radix(digits, radix).ok()?;
    Some(if negative { -number } else { number })
}

fn float(text: &str) -> Option<f64> {
    match text {
        ".inf" | ".Inf" | ".INF" | "+.inf" | "+.Inf" | "+.INF" => return Some(f64::INFINITY),
        "-.inf" | "-.Inf" | "-.INF" => return Some(f64::NEG_INFINITY),
        ".nan" | ".NaN" | ".NAN" => return Some(f64::NAN),
        _ => {}
    }
    // Rust also reads "inf" and "nan", which are text in YAML.
    let shape = |byte: u8| byte.is_ascii_digit() || matches!(byte, b'.' | b'e' | b'E' | b'+' | b'-' | b'_');
    if !text.bytes().all(shape) || !text.bytes().any(|byte| byte.is_ascii_digit()) || text.starts_with('_') {
        return None;
    }
    text.replace('_', "").parse().ok()
}
