//! Documents as trees, built and written as the reference's `antchfx/xmlquery` does it.

use super::read::{Reader, Token};
use crate::error::Failure;
use crate::target::Target;
use std::collections::{BTreeMap, BTreeSet};

/// A node's place in its document.
pub(super) type Id = usize;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Document,
    /// `<?xml ...?>`
    Declaration,
    Element,
    Text,
    Raw,
    Comment,
    /// `<!...>`
    Notation,
    Instruction,
}

#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Attribute {
    pub(super) prefix: String,
    pub(super) local: String,
    pub(super) value: String,
    pub(super) namespace: String,
}

#[derive(Debug, Clone)]
pub(super) struct Node {
    pub(super) kind: Kind,
    /// The name of an element, the text of others.
    pub(super) data: String,
    pub(super) prefix: String,
    pub(super) namespace: String,
    pub(super) attributes: Vec<Attribute>,
    /// What is behind an instruction's target.
    content: String,
    level: usize,
    pub(super) parent: Option<Id>,
    pub(super) first: Option<Id>,
    pub(super) last: Option<Id>,
    pub(super) previous: Option<Id>,
    pub(super) next: Option<Id>,
}

impl Node {
    pub(super) fn new(kind: Kind, data: impl Into<String>) -> Self {
        Self {
            kind,
            data: data.into(),
            prefix: String::new(),
            namespace: String::new(),
            attributes: Vec::new(),
            content: String::new(),
            level: 0,
            parent: None,
            first: None,
            last: None,
            previous: None,
            next: None,
        }
    }
}

/// Bytes that a node takes besides its texts, about.
const NODE_COST: usize = 256;

pub(super) struct Document {
    pub(super) nodes: Vec<Node>,
    last_outside: Id,
}

impl Document {
    /// The document itself.
    pub(super) const ROOT: Id = 0;

    /// A document of one node.
    pub(super) fn of(kind: Kind) -> Self {
        Self { nodes: vec![Node::new(kind, "")], last_outside: Self::ROOT }
    }

    /// Reads a document. A declaration that the text does not have is not in it.
    pub(super) fn parse(text: &[u8], target: &Target<'_>) -> Result<Self, Failure> {
        let mut builder = Builder {
            document: Self::of(Kind::Document),
            level: 0,
            at: Self::ROOT,
            prefixes: BTreeMap::from([("http://www.w3.org/XML/1998/namespace".into(), ("xml".into(), 0))]),
        };
        target.spend(text.len().saturating_mul(4))?;
        let mut reader = Reader::new(text);
        while let Some(token) = reader.token()? {
            target.spend(NODE_COST)?;
            builder.take(token)?;
        }
        let mut document = builder.document;
        let has_element =
            |document: &Self, parent| document.children(parent).any(|id| document.nodes[id].kind == Kind::Element);
        if !has_element(&document, Self::ROOT) {
            return Err(Failure::Value);
        }
        if !text.starts_with(b"<?xml")
            && let Some(first) = document.nodes[Self::ROOT].first
        {
            document.remove(first);
        }
        Ok(document)
    }

    pub(super) fn add(&mut self, node: Node) -> Id {
        self.nodes.push(node);
        self.nodes.len() - 1
    }

    /// The children of a node, by the links as they are: some operations leave links that lead elsewhere.
    pub(super) fn children(&self, parent: Id) -> impl Iterator<Item = Id> + '_ {
        std::iter::successors(self.nodes[parent].first, |id| self.nodes[*id].next)
    }

    /// Makes a node the last child of `parent`. Where it was before, the links stay as they are, as in the reference.
    pub(super) fn add_child(&mut self, parent: Id, child: Id) {
        let last = self.nodes[parent].last;
        let node = &mut self.nodes[child];
        (node.parent, node.next) = (Some(parent), None);
        if self.nodes[parent].first.is_none() {
            self.nodes[parent].first = Some(child);
            self.nodes[child].previous = None;
        } else if let Some(last) = last {
            self.nodes[last].next = Some(child);
            self.nodes[child].previous = Some(last);
        }
        self.nodes[parent].last = Some(child);
    }

    /// Makes a node the last in a row of siblings.
    fn add_sibling(&mut self, sibling: Id, added: Id) {
        // Beside the document itself stands what comes before its root element.
        let sibling = match self.nodes[sibling].parent {
            Some(parent) => self.nodes[parent].last.unwrap_or(sibling),
            None => self.last_outside,
        };
        let parent = self.nodes[sibling].parent;
        self.nodes[added].parent = parent;
        self.nodes[sibling].next = Some(added);
        self.nodes[added].previous = Some(sibling);
        match parent {
            Some(parent) => self.nodes[parent].last = Some(added),
            None => self.last_outside = added,
        }
    }

    pub(super) fn remove(&mut self, id: Id) {
        let Some(parent) = self.nodes[id].parent else { return };
        let (previous, next) = (self.nodes[id].previous, self.nodes[id].next);
        let is_first = self.nodes[parent].first == Some(id);
        let is_last = self.nodes[parent].last == Some(id);
        if is_first {
            self.nodes[parent].first = if is_last { None } else { next };
        } else if let Some(previous) = previous {
            self.nodes[previous].next = if is_last { None } else { next };
        }
        if is_last {
            self.nodes[parent].last = if is_first { None } else { previous };
        } else if let Some(next) = next {
            self.nodes[next].previous = if is_first { None } else { previous };
        }
        let node = &mut self.nodes[id];
        (node.parent, node.previous, node.next) = (None, None, None);
    }

    /// Removes the attribute of this name without a prefix.
    pub(super) fn remove_attribute(&mut self, id: Id, name: &str) {
        let (prefix, local) = match name.split_once(':') {
            Some((prefix, local)) if !prefix.is_empty() => (prefix, local),
            _ => ("", name),
        };
        let attributes = &mut self.nodes[id].attributes;
        let found = attributes.iter().position(|known| known.prefix == prefix && known.local == local);
        if let Some(at) = found {
            attributes.remove(at);
        }
    }

    /// All text of a node and below it.
    pub(super) fn inner_text(&self, id: Id, target: &Target<'_>) -> Result<String, Failure> {
        let mut out = String::new();
        self.collect(id, &mut out, target, 0)?;
        Ok(out)
    }

    fn collect(&self, id: Id, out: &mut String, target: &Target<'_>, depth: usize) -> Result<(), Failure> {
        let node = &self.nodes[id];
        target.spend(1 + node.data.len())?;
        match node.kind {
            Kind::Text | Kind::Raw => out.push_str(&node.data),
            Kind::Comment => {}
            _ if depth > WRITTEN_DEPTH_MAX => return Err(Failure::Work),
            _ => {
                for child in self.children(id) {
                    self.collect(child, out, target, depth + 1)?;
                }
            }
        }
        Ok(())
    }

    /// The children of a node, written.
    pub(super) fn written(&self, id: Id, target: &Target<'_>) -> Result<Vec<u8>, Failure> {
        let mut writer = Writer { document: self, target, out: Vec::new() };
        let keeps_spaces = self.keeps_spaces(id, true);
        for child in self.children(id) {
            writer.write(child, keeps_spaces, 0)?;
        }
        Ok(writer.out)
    }

    fn keeps_spaces(&self, id: Id, before: bool) -> bool {
        let attributes = &self.nodes[id].attributes;
        let found = attributes.iter().find(|known| known.prefix == "xml" && known.local == "space");
        match found.map(|attribute| attribute.value.as_str()) {
            Some("preserve") => true,
            Some("default") => false,
            _ => before,
        }
    }
}

/// Deepest nesting that is written: documents put into documents are deeper than one that was read.
/// At the bound: the condition fails.
const WRITTEN_DEPTH_MAX: usize = 512;

struct Writer<'d, 't, 'a> {
    document: &'d Document,
    target: &'t Target<'a>,
    out: Vec<u8>,
}

impl Writer<'_, '_, '_> {
    fn put(&mut self, text: &str) -> Result<(), Failure> {
        self.target.spend(1 + text.len())?;
        self.out.extend_from_slice(text.as_bytes());
        Ok(())
    }

    fn put_escaped(&mut self, text: &str) -> Result<(), Failure> {
        self.put(
            &text
                .replace('&', "&amp;")
                .replace('\'', "&#39;")
                .replace('<', "&lt;")
                .replace('>', "&gt;")
                .replace('"', "&#34;"),
        )
    }

    fn put_attributes(&mut self, node: &Node) -> Result<(), Failure> {
        for attribute in &node.attributes {
            let colon = if attribute.prefix.is_empty() { "" } else { ":" };
            self.put(&format!(" {}{colon}{}=\"", attribute.prefix, attribute.local))?;
            self.put_escaped(&attribute.value)?;
            self.put("\"")?;
        }
        Ok(())
    }

    fn write(&mut self, id: Id, keeps_spaces: bool, depth: usize) -> Result<(), Failure> {
        let document = self.document;
        let node = &document.nodes[id];
        let keeps_spaces = document.keeps_spaces(id, keeps_spaces);
        match node.kind {
            Kind::Text if keeps_spaces => self.put_escaped(&node.data),
            Kind::Text => self.put_escaped(node.data.trim()),
            Kind::Raw => self.put(&format!("<![CDATA[{}]]>", node.data)),
            Kind::Comment => self.put(&format!("<!--{}-->", node.data)),
            Kind::Notation => self.put(&format!("<!{}>", node.data)),
            Kind::Instruction => {
                let space = if node.content.is_empty() { "" } else { " " };
                self.put(&format!("<?{}{space}{}?>", node.data, node.content))
            }
            Kind::Declaration => {
                self.put(&format!("<?{}", node.data))?;
                self.put_attributes(node)?;
                self.put("?>")?;
                document.children(id).try_for_each(|child| self.write(child, keeps_spaces, depth + 1))
            }
            Kind::Document | Kind::Element if depth > WRITTEN_DEPTH_MAX => Err(Failure::Work),
            Kind::Document | Kind::Element => {
                let colon = if node.prefix.is_empty() { "" } else { ":" };
                let name = format!("{}{colon}{}", node.prefix, node.data);
                self.put(&format!("<{name}"))?;
                self.put_attributes(node)?;
                self.put(">")?;
                for child in document.children(id) {
                    self.write(child, keeps_spaces, depth + 1)?;
                }
                self.put(&format!("</{name}>"))
            }
        }
    }
}

/// A document while it is read. The reference finds the place of a node by levels, which only elements and instructions
/// move: it is followed in what that makes of text behind the root element.
struct Builder {
    document: Document,
    level: usize,
    at: Id,
    /// The prefixes of namespaces, and the level at which they were declared.
    prefixes: BTreeMap<String, (String, usize)>,
}

impl Builder {
    fn take(&mut self, token: Token) -> Result<(), Failure> {
        match token {
            Token::Start(name, attributes) => {
                if self.level == 0 {
                    let mut node = Node::new(Kind::Declaration, "xml");
                    node.attributes =
                        vec![Attribute { local: "version".into(), value: "1.0".into(), ..Attribute::default() }];
                    node.level = 1;
                    let id = self.document.add(node);
                    self.document.add_child(self.at, id);
                    (self.level, self.at) = (1, id);
                }
                for attribute in &attributes {
                    if attribute.name.local == "xmlns" {
                        let known = self.prefix_of(&attribute.value);
                        if known.is_none_or(|(_, level)| level >= self.level) {
                            self.declare(&attribute.value, "");
                        }
                    } else if attribute.name.space == "xmlns" {
                        self.declare(&attribute.value, &attribute.name.local);
                    }
                }
                if !name.space.is_empty() && self.prefix_of(&name.space).is_none() {
                    return Err(Failure::Value);
                }
                let mut node = Node::new(Kind::Element, name.local);
                let prefix = self.prefix_of(&name.space).map(|(prefix, _)| prefix).filter(|_| !name.space.is_empty());
                if let Some(prefix) = prefix.filter(|prefix| !prefix.is_empty() && **prefix == *name.prefix) {
                    node.prefix = prefix.to_string();
                }
                node.attributes = attributes
                    .into_iter()
                    .map(|attribute| Attribute {
                        prefix: self
                            .prefix_of(&attribute.name.space)
                            .map_or(attribute.name.space.as_str(), |(prefix, _)| prefix)
                            .to_string(),
                        local: attribute.name.local,
                        value: attribute.value,
                        namespace: attribute.name.space,
                    })
                    .collect();
                node.namespace = name.space;
                self.at = self.place(node, self.level);
                self.level += 1;
            }
            Token::End => self.level -= 1,
            Token::Text(text) => self.leaf(Kind::Text, text),
            Token::Raw(text) => self.leaf(Kind::Raw, text),
            Token::Comment(text) => self.leaf(Kind::Comment, text),
            Token::Directive(text) => self.leaf(Kind::Notation, text),
            Token::Instruction(target, content) => {
                let is_first = self.document.nodes[self.at].kind == Kind::Document;
                let level = self.level + usize::from(is_first);
                let kind = if target == "xml" { Kind::Declaration } else { Kind::Instruction };
                let mut node = Node::new(kind, target);
                let mut known = BTreeSet::new();
                for pair in content.split(' ') {
                    let pair = pair.trim().split_once('=');
                    let Some((name, value)) = pair.filter(|(name, _)| !name.is_empty() && known.insert(*name)) else {
                        continue;
                    };
                    let split = name.split_once(':').filter(|(prefix, _)| !prefix.is_empty());
                    let (prefix, local) = split.unwrap_or(("", name));
                    let value = value.trim_matches(['"', '\'']).to_string();
                    let (prefix, local) = (prefix.to_string(), local.to_string());
                    node.attributes.push(Attribute { prefix, local, value, namespace: String::new() });
                }
                node.content = content.trim().to_string();
                self.at = self.place(node, level);
                self.level = level;
            }
        }
        Ok(())
    }

    fn prefix_of(&self, namespace: &str) -> Option<(&str, usize)> {
        self.prefixes.get(namespace).map(|(prefix, level)| (prefix.as_str(), *level))
    }

    fn declare(&mut self, namespace: &str, prefix: &str) {
        self.prefixes.insert(namespace.to_string(), (prefix.to_string(), self.level));
    }

    fn leaf(&mut self, kind: Kind, text: String) {
        self.place(Node::new(kind, text), self.level);
    }

    /// Puts a node where its level belongs, seen from the element or instruction that was opened last.
    fn place(&mut self, mut node: Node, level: usize) -> Id {
        node.level = level;
        let id = self.document.add(node);
        let at_level = self.document.nodes[self.at].level;
        if level == at_level {
            self.document.add_sibling(self.at, id);
        } else if level > at_level {
            self.document.add_child(self.at, id);
        } else {
            for _ in 1..at_level - level {
                self.at = self.document.nodes[self.at].parent.unwrap_or(self.at);
            }
            let parent = self.document.nodes[self.at].parent.unwrap_or(self.at);
            self.document.add_sibling(parent, id);
        }
        id
    }
}
