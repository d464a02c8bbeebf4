//! YAML text to a tree that knows its lines. Strict where YAML is loose: one document, no duplicate keys, bounded
//! depth and size after aliases are expanded. Scalars keep their text; they get a type where a key asks for one, by the
//! rules of Go's yaml.v3, which is what the Collector's users have written against.

use std::borrow::Cow;
use std::collections::BTreeMap;

use saphyr_parser::{Event, Parser, ScalarStyle, Tag};

/// Deepest nesting. The deepest legal configuration has about ten levels.
const DEPTH_MAX: usize = 64;
/// Most nodes after aliases are expanded: stops an alias bomb. A policy has about ten nodes.
const NODES_MAX: usize = 50_000;
/// Largest file.
pub(crate) const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;

/// A value and the line it starts on.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Node {
    /// 1-based.
    pub(crate) line: u32,
    /// What is there.
    pub(crate) value: Value,
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
    /// A whole value that came from the environment: whatever the key asks for.
    Expanded,
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
}

impl Node {
    /// An empty mapping, for a section that is not there.
    pub(crate) fn null(line: u32) -> Self {
        Self { line, value: Value::Scalar(Scalar { text: String::new(), style: Style::Plain }) }
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

/// An unfinished collection.
enum Frame {
    List { line: u32, anchor: usize, items: Vec<Node> },
    Map { line: u32, anchor: usize, entries: Vec<Entry>, key: Option<(String, u32)> },
}

/// The state of one reading.
struct Loader {
    stack: Vec<Frame>,
    /// Finished nodes by anchor, with the number of nodes in each.
    anchors: BTreeMap<usize, (Node, usize)>,
    nodes: usize,
    root: Option<Node>,
}

/// Reads one document. An empty text is a null node.
///
/// # Errors
/// The line and cause of the first thing that is not acceptable.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        return Err(error(1, format!("the text has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len())));
    }
    let mut loader = Loader { stack: Vec::new(), anchors: BTreeMap::new(), nodes: 0, root: None };
    for event in Parser::new_from_str(text) {
        let (event, span) = event.map_err(|scan| error(line_of(scan.marker().line()), scan.info().to_string()))?;
        loader.take(event, line_of(span.start.line()))?;
    }
    Ok(loader.root.unwrap_or_else(|| Node::null(1)))
}

fn line_of(line: usize) -> u32 {
    u32::try_from(line).unwrap_or(u32::MAX).max(1)
}

fn error(line: u32, cause: impl Into<String>) -> YamlError {
    YamlError { line, cause: cause.into() }
}

impl Loader {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), YamlError> {
        match event {
            Event::DocumentStart(_) if self.root.is_some() => {
                Err(error(line, "the file holds more than one document, write one"))
            }
            Event::Nothing | Event::StreamStart | Event::StreamEnd | Event::DocumentStart(_) | Event::DocumentEnd => {
                Ok(())
            }
            Event::Alias(id) => self.alias(id, line),
            Event::Scalar(text, style, anchor, tag) => {
                let style = scalar_style(style, tag.as_deref(), line)?;
                let value = Value::Scalar(Scalar { text: text.into_owned(), style });
                self.finish(Node { line, value }, anchor, 1)
            }
            Event::SequenceStart(anchor, _) => self.open(Frame::List { line, anchor, items: Vec::new() }, line),
            Event::MappingStart(anchor, _) => {
                self.open(Frame::Map { line, anchor, entries: Vec::new(), key: None }, line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(line),
        }
    }

    fn open(&mut self, frame: Frame, line: u32) -> Result<(), YamlError> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(error(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            return Err(error(line, "a key of a mapping must be text"));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self, line: u32) -> Result<(), YamlError> {
        let (node, anchor) = match self.stack.pop() {
            Some(Frame::List { line, anchor, items }) => (Node { line, value: Value::List(items) }, anchor),
            Some(Frame::Map { line, anchor, entries, .. }) => {
                (Node { line, value: Value::Map(merge(entries)?) }, anchor)
            }
            None => return Err(error(line, "a collection ends that was not started")),
        };
        let count = if anchor == 0 { 1 } else { count(&node) };
        self.finish(node, anchor, count)
    }

    fn alias(&mut self, id: usize, line: u32) -> Result<(), YamlError> {
        let Some((node, count)) = self.anchors.get(&id) else {
            return Err(error(line, "an alias refers to an anchor that is not complete yet"));
        };
        if self.nodes + count > NODES_MAX {
            return Err(error(line, format!("aliases expand to more than {NODES_MAX} values")));
        }
        let (node, count) = (node.clone(), *count);
        if self.stack.len() + depth(&node) > DEPTH_MAX {
            return Err(error(line, format!("nested deeper than {DEPTH_MAX} levels")));
        }
        self.finish(node, 0, count)
    }

    fn finish(&mut self, node: Node, anchor: usize, count: usize) -> Result<(), YamlError> {
        // Scalars and the members of a collection were counted one by one, an alias counts all it brings.
        self.nodes += if anchor == 0 { count } else { 1 };
        if self.nodes > NODES_MAX {
            return Err(error(node.line, format!("the file holds more than {NODES_MAX} values")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), count));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, .. }) => match key.take() {
                None => *key = Some(key_of(node, entries)?),
                Some((key, line)) => entries.push(Entry { key, line, node }),
            },
        }
        Ok(())
    }
}

/// The node as a key that is not in the mapping yet.
fn key_of(node: Node, entries: &[Entry]) -> Result<(String, u32), YamlError> {
    let Value::Scalar(scalar) = node.value else {
        return Err(error(node.line, "a key of a mapping must be text"));
    };
    if let Some(first) = entries.iter().find(|entry| entry.key == scalar.text) {
        let cause = format!("the key `{}` is there twice, first on line {}; remove one", scalar.text, first.line);
        return Err(error(node.line, cause));
    }
    Ok((scalar.text, node.line))
}

/// Resolves the merge key `<<`: what it brings stands behind what is written out.
fn merge(mut entries: Vec<Entry>) -> Result<Vec<Entry>, YamlError> {
    let Some(position) = entries.iter().position(|entry| entry.key == "<<") else { return Ok(entries) };
    let merged = entries.remove(position);
    let sources = match merged.node.value {
        Value::List(nodes) => nodes,
        value => vec![Node { line: merged.line, value }],
    };
    for source in sources {
        let Value::Map(brought) = source.value else {
            return Err(error(merged.line, "the merge key `<<` needs a mapping or a list of mappings"));
        };
        for entry in brought {
            if !entries.iter().any(|known| known.key == entry.key) {
                entries.push(entry);
            }
        }
    }
    Ok(entries)
}

fn scalar_style(style: ScalarStyle, tag: Option<&Tag>, line: u32) -> Result<Style, YamlError> {
    match tag {
        Some(tag) if tag.is_yaml_core_schema() => match tag.suffix.as_str() {
            "str" => return Ok(Style::Quoted),
            "int" | "float" | "bool" | "null" => return Ok(Style::Plain),
            other => return Err(error(line, format!("the tag `!!{other}` is not supported"))),
        },
        Some(tag) if tag.suffix.is_empty() => return Ok(Style::Quoted),
        Some(tag) => return Err(error(line, format!("the tag `{}{}` is not supported", tag.handle, tag.suffix))),
        None => {}
    }
    Ok(if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted })
}

/// Nodes in a finished tree; its depth is bounded by [`DEPTH_MAX`], so recursion is.
fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(entries) => entries.iter().map(|entry| count(&entry.node)).sum(),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
    }
}
