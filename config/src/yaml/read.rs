//! Events to a tree: one document, aliases and merge keys resolved, within bounds.

use std::collections::BTreeMap;

use granit_parser::{Event, Parser, ScalarStyle, Tag};

use super::fault::{DEPTH_MAX, error, line_of, too_deep};
use super::{Entry, Node, Scalar, Style, Value, YamlError, mend};

/// Most nodes after aliases are expanded: stops an alias bomb. A policy has about ten nodes.
/// At the bound: the configuration is refused.
const NODES_MAX: usize = 50_000;
/// Largest file.
/// At the bound: the configuration is refused.
const TEXT_BYTES_MAX: usize = 4 * 1024 * 1024;
/// Most bytes of text after aliases are expanded: stops a bomb of few nodes and long texts.
/// At the bound: the configuration is refused.
const EXPANDED_BYTES_MAX: usize = 4 * TEXT_BYTES_MAX;

/// The first document of a text.
pub(crate) struct Document {
    pub(crate) root: Node,
    /// The line of the next document that holds something.
    pub(crate) next: Option<u32>,
}

/// Nodes, and bytes of their text.
#[derive(Debug, Clone, Copy, Default)]
struct Size {
    nodes: usize,
    bytes: usize,
}

impl Size {
    fn plus(self, other: Self) -> Self {
        Self { nodes: self.nodes + other.nodes, bytes: self.bytes.saturating_add(other.bytes) }
    }
}

/// An unfinished collection.
enum Frame {
    List { line: u32, anchor: usize, items: Vec<Node> },
    Map { line: u32, anchor: usize, entries: Vec<Entry>, key: Option<Key>, merged: Option<(u32, Node)> },
}

/// A key whose value has not come, with its line.
enum Key {
    Named(String, u32),
    /// A plain `<<`.
    Merge(u32),
}

/// The state of one reading.
struct Loader {
    stack: Vec<Frame>,
    /// Finished nodes by anchor, with the size of each.
    anchors: BTreeMap<usize, (Node, Size)>,
    size: Size,
    root: Option<Node>,
    /// Where the second document begins, while nothing has been seen in it.
    second: Option<u32>,
    next: Option<u32>,
}

/// Reads one document. An empty text is a null node.
///
/// # Errors
/// The line and cause of the first thing that is not acceptable.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    let Document { root, next } = read(text)?;
    match next {
        None => Ok(root),
        Some(line) => Err(error(line, "more than one document", "write one")),
    }
}

/// Reads the first document, and whether another follows.
///
/// # Errors
/// The line and cause of the first thing that is not acceptable.
pub(crate) fn read(text: &str) -> Result<Document, YamlError> {
    if text.len() > TEXT_BYTES_MAX {
        let cause = format!("the text has {} bytes, the limit is {TEXT_BYTES_MAX}", text.len());
        return Err(error(1, cause, "leave out what is not used"));
    }
    let mut mended: Option<String> = None;
    let mut mends = mend::Budget::of(text);
    loop {
        let current = mended.as_deref().unwrap_or(text);
        match read_once(current) {
            Ok(document) => return Ok(document),
            Err(Failure::Told(told)) => return Err(told),
            Err(Failure::Scan(scan)) => match mend::mend(current, &scan).filter(|_| mends.take()) {
                Some(better) => mended = Some(better),
                None => return Err(mend::told(current, &scan)),
            },
        }
    }
}

/// Why a reading ended.
enum Failure {
    /// The text is no YAML, by the specification.
    Scan(granit_parser::ScanError),
    /// It is, and not acceptable.
    Told(YamlError),
}

fn read_once(text: &str) -> Result<Document, Failure> {
    // The second is libyaml's way, and Go's.
    let options = granit_parser::options! { emit_comments: false, block_scalar_eof_without_line_feed: true };
    let mut loader = Loader {
        stack: Vec::new(),
        anchors: BTreeMap::new(),
        size: Size::default(),
        root: None,
        second: None,
        next: None,
    };
    for event in Parser::new_from_str_with_options(text, options) {
        let (event, span) = event.map_err(Failure::Scan)?;
        let event = match event {
            // What is not written is given as a null that is.
            Event::Scalar(_, ScalarStyle::Plain, anchor, tag) if span.is_empty() => {
                Event::Scalar("".into(), ScalarStyle::Plain, anchor, tag)
            }
            event => event,
        };
        loader.take(event, line_of(span.start.line())).map_err(Failure::Told)?;
        if loader.next.is_some() {
            break;
        }
    }
    Ok(Document { root: loader.root.unwrap_or_else(|| Node::null(1)), next: loader.next })
}

impl Loader {
    fn take(&mut self, event: Event<'_>, line: u32) -> Result<(), YamlError> {
        if let Some(second) = self.second {
            match event {
                // A separator with nothing behind it is no document to anyone.
                Event::Scalar(text, ScalarStyle::Plain, ..) if matches!(&*text, "" | "~" | "null") => {}
                Event::Scalar(..) | Event::SequenceStart(..) | Event::MappingStart(..) => self.next = Some(second),
                Event::DocumentStart(..) => self.second = Some(line),
                _ => {}
            }
            return Ok(());
        }
        match event {
            Event::DocumentStart(..) if self.root.is_some() => {
                self.second = Some(line);
                Ok(())
            }
            Event::Alias(id) => self.alias(id, line),
            Event::Scalar(text, style, anchor, tag) => {
                if text == "<<" && style == ScalarStyle::Plain && self.begins_merge(line)? {
                    return Ok(());
                }
                let style = scalar_style(style, tag.as_deref(), line)?;
                let size = Size { nodes: 1, bytes: text.len() };
                let value = Value::Scalar(Scalar { text: text.into_owned(), style });
                self.finish(Node::new(line, value), anchor, size)
            }
            Event::SequenceStart(_, anchor, _) => self.open(Frame::List { line, anchor, items: Vec::new() }, line),
            Event::MappingStart(_, anchor, _) => {
                self.open(Frame::Map { line, anchor, entries: Vec::new(), key: None, merged: None }, line)
            }
            Event::SequenceEnd | Event::MappingEnd => self.close(line),
            // The stream's and the document's bounds, and what was not asked for.
            _ => Ok(()),
        }
    }

    /// Whether a plain `<<` stands where a key is expected, which makes it the merge key.
    fn begins_merge(&mut self, line: u32) -> Result<bool, YamlError> {
        match self.stack.last_mut() {
            Some(Frame::Map { key: key @ None, merged, .. }) => {
                if let Some((first, _)) = merged {
                    let cause = format!("the key `<<` is there twice, first on line {first}");
                    return Err(error(line, cause, "write one with a list: `<<: [*a, *b]`"));
                }
                *key = Some(Key::Merge(line));
                Ok(true)
            }
            _ => Ok(false),
        }
    }

    fn open(&mut self, frame: Frame, line: u32) -> Result<(), YamlError> {
        if self.stack.len() >= DEPTH_MAX {
            return Err(too_deep(line));
        }
        if let Some(Frame::Map { key: None, .. }) = self.stack.last() {
            return Err(no_key(line));
        }
        self.stack.push(frame);
        Ok(())
    }

    fn close(&mut self, line: u32) -> Result<(), YamlError> {
        let (node, anchor) = match self.stack.pop() {
            Some(Frame::List { line, anchor, items }) => (Node::new(line, Value::List(items)), anchor),
            Some(Frame::Map { line, anchor, entries, merged, .. }) => {
                (Node::new(line, Value::Map(merge(entries, merged)?)), anchor)
            }
            None => return Err(error(line, "a collection ends that was not started", "correct the YAML")),
        };
        // What it holds has been counted.
        let size = if anchor == 0 { Size { nodes: 1, bytes: 0 } } else { size(&node) };
        self.finish(node, anchor, size)
    }

    fn alias(&mut self, id: usize, line: u32) -> Result<(), YamlError> {
        let Some((node, size)) = self.anchors.get(&id) else {
            let remedy = "an anchor cannot hold itself: write out what is meant";
            return Err(error(line, "an alias refers to an anchor that is not complete yet", remedy));
        };
        let after = self.size.plus(*size);
        if after.nodes > NODES_MAX || after.bytes > EXPANDED_BYTES_MAX {
            let cause = format!("aliases expand to more than {NODES_MAX} values or {EXPANDED_BYTES_MAX} bytes of text");
            return Err(error(line, cause, "use fewer aliases within aliases"));
        }
        let (node, size) = (node.clone(), *size);
        if self.stack.len() + depth(&node) > DEPTH_MAX {
            return Err(too_deep(line));
        }
        self.finish(node, 0, size)
    }

    fn finish(&mut self, node: Node, anchor: usize, size: Size) -> Result<(), YamlError> {
        // Scalars and the members of a collection were counted one by one, an alias counts all it brings.
        let is_collection = !matches!(node.value, Value::Scalar(_));
        let own = if anchor != 0 && is_collection { Size { nodes: 1, bytes: 0 } } else { size };
        self.size = self.size.plus(own);
        if self.size.nodes > NODES_MAX {
            let cause = format!("the file holds more than {NODES_MAX} values");
            return Err(error(node.line, cause, "leave out what is not used"));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.stack.last_mut() {
            None => self.root = Some(node),
            Some(Frame::List { items, .. }) => items.push(node),
            Some(Frame::Map { entries, key, merged, .. }) => match key.take() {
                None => {
                    let (name, line) = key_of(node, entries)?;
                    *key = Some(Key::Named(name, line));
                }
                Some(Key::Named(key, line)) => entries.push(Entry { key, line, node }),
                Some(Key::Merge(line)) => *merged = Some((line, node)),
            },
        }
        Ok(())
    }
}

fn no_key(line: u32) -> YamlError {
    let remedy = "put it in quotes if it is meant as text, such as \"{{ name }}\"";
    error(line, "a list or a mapping where the key of a mapping is needed", remedy)
}

/// The node as a key that is not in the mapping yet.
fn key_of(node: Node, entries: &[Entry]) -> Result<(String, u32), YamlError> {
    let Value::Scalar(scalar) = node.value else { return Err(no_key(node.line)) };
    if let Some(first) = entries.iter().find(|entry| entry.key == scalar.text) {
        let cause = format!("the key `{}` is there twice, first on line {}", scalar.text, first.line);
        return Err(error(node.line, cause, "remove one"));
    }
    Ok((scalar.text, node.line))
}

/// Adds what the merge key brings behind what is written out, which comes before it.
fn merge(mut entries: Vec<Entry>, merged: Option<(u32, Node)>) -> Result<Vec<Entry>, YamlError> {
    if let Some((line, node)) = merged {
        let sources = match node.value {
            Value::List(nodes) => nodes,
            value => vec![Node::new(line, value)],
        };
        for source in sources {
            let Value::Map(brought) = source.value else {
                let remedy = "write an alias of a mapping, or a list of those: `<<: [*a, *b]`";
                return Err(error(line, "the merge key `<<` needs a mapping or a list of mappings", remedy));
            };
            for entry in brought {
                if !entries.iter().any(|known| known.key == entry.key) {
                    entries.push(entry);
                }
            }
        }
    }
    Ok(entries)
}

/// How a scalar is read. A tag of another language's type means nothing here, and is passed over as by the Collector.
fn scalar_style(style: ScalarStyle, tag: Option<&Tag>, line: u32) -> Result<Style, YamlError> {
    match tag {
        Some(tag) if tag.handle() == "tag:yaml.org,2002:" => match tag.suffix() {
            "str" => return Ok(Style::Quoted),
            "binary" => {
                let remedy = "write the text itself, or ${env:NAME} for one that stands in the environment";
                return Err(error(line, "the tag `!!binary` is not supported", remedy));
            }
            _ => return Ok(Style::Plain),
        },
        // A lone `!`.
        Some(tag) if format!("{}{}", tag.handle(), tag.suffix()) == "!" => return Ok(Style::Quoted),
        _ => {}
    }
    Ok(if style == ScalarStyle::Plain { Style::Plain } else { Style::Quoted })
}

/// The size of a finished tree; its depth is bounded by [`DEPTH_MAX`], so recursion is.
fn size(node: &Node) -> Size {
    let own = Size { nodes: 1, bytes: 0 };
    match &node.value {
        Value::Scalar(scalar) => Size { nodes: 1, bytes: scalar.text.len() },
        Value::List(items) => items.iter().fold(own, |sum, item| sum.plus(size(item))),
        Value::Map(entries) => entries
            .iter()
            .fold(own, |sum, entry| sum.plus(Size { nodes: 0, bytes: entry.key.len() }).plus(size(&entry.node))),
    }
}

fn depth(node: &Node) -> usize {
    match &node.value {
        Value::Scalar(_) => 0,
        Value::List(items) => 1 + items.iter().map(depth).max().unwrap_or(0),
        Value::Map(entries) => 1 + entries.iter().map(|entry| depth(&entry.node)).max().unwrap_or(0),
    }
}
