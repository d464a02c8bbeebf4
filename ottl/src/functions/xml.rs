//! Functions that read and change XML.

mod read;
mod select;
mod tree;
mod value;
mod xpath;

use crate::error::{CompileError, Failure};
use crate::function::{Arguments, Function, Parameter, ParameterKind, Prepared, Shared, Written, needed, optional};
use crate::target::Target;
use crate::value::{Entry, List, ListKind, Map, Value, put};
use read::{Attribute, Reader, Token};
use select::{Place, Query, Walk};
use std::borrow::Cow;
use tree::{Document, Id, Kind, Node};
use xpath::Plan;

const TARGET: Parameter = needed("target", ParameterKind::Text);
const XPATH: Parameter = needed("xpath", ParameterKind::LiteralText);
const XPATH_OR_ALL: Parameter = optional("xpath", ParameterKind::LiteralText);

pub(super) static PARSE_XML: Function = Function::new("ParseXML", &[TARGET], map);

pub(super) static PARSE_SIMPLIFIED_XML: Function = Function::new("ParseSimplifiedXML", &[TARGET], simplified);

pub(super) static GET_XML: Function = Function::new("GetXML", &[TARGET, XPATH], |arguments| {
    let source = arguments.text(0)?;
    if source.is_empty() {
        return Ok(Value::text(&[]));
    }
    let mut document = Document::parse(&source, arguments.target)?;
    get(&mut document, arguments.prepared()?, arguments.target)
})
.checked(|written| check_path(written, ""))
.prepared(|written, shared| path(written, shared, ""));

pub(super) static REMOVE_XML: Function = Function::new("RemoveXML", &[TARGET, XPATH], |arguments| {
    let source = arguments.text(0)?;
    if source.is_empty() {
        return Ok(Value::text(&[]));
    }
    changed(Document::parse(&source, arguments.target)?, arguments, |document| {
        remove(document, arguments.prepared()?, arguments.target)
    })
})
.checked(|written| check_path(written, ""))
.prepared(|written, shared| path(written, shared, ""));

pub(super) static INSERT_XML: Function =
    Function::new("InsertXML", &[TARGET, XPATH, needed("sub_document", ParameterKind::Text)], |arguments| {
        let source = arguments.text(0)?;
        let document = match source.is_empty() {
            true => Document::of(Kind::Element),
            false => Document::parse(&source, arguments.target)?,
        };
        changed(document, arguments, |document| {
            let inserted = Document::parse(&arguments.text(2)?, arguments.target)?;
            insert(document, arguments.prepared()?, &inserted, arguments.target)
        })
    })
    .checked(|written| check_path(written, ""))
    .prepared(|written, shared| path(written, shared, ""));

pub(super) static CONVERT_ATTRIBUTES_TO_ELEMENTS_XML: Function =
    Function::new("ConvertAttributesToElementsXML", &[TARGET, XPATH_OR_ALL], |arguments| {
        changed(Document::parse(&arguments.text(0)?, arguments.target)?, arguments, |document| {
            attributes_to_elements(document, arguments.prepared()?, arguments.target)
        })
    })
    .checked(|written| check_path(written, "//@*"))
    .prepared(|written, shared| path(written, shared, "//@*"));

pub(super) static CONVERT_TEXT_TO_ELEMENTS_XML: Function = Function::new(
    "ConvertTextToElementsXML",
    &[TARGET, XPATH_OR_ALL, optional("element_name", ParameterKind::LiteralText)],
    |arguments| {
        changed(Document::parse(&arguments.text(0)?, arguments.target)?, arguments, |document| {
            texts_to_elements(document, arguments)
        })
    },
)
.checked(|written| check_path(written, "/"))
.prepared(|written, shared| path(written, shared, "/"));

/// The expression of a call, or `default` where it is left out or empty.
fn path_text<'c>(written: &Written<'c>, default: &'static str) -> &'c str {
    written.text("xpath").filter(|path| !path.is_empty()).unwrap_or(default)
}

fn check_path(written: &Written<'_>, default: &'static str) -> Result<(), String> {
    let checked = xpath::compile(path_text(written, default)).map(drop);
    checked.map_err(|reason| written.named(format_args!("invalid xpath: {reason}")))
}

fn path(written: &Written<'_>, shared: &mut Shared, default: &'static str) -> Result<Prepared, CompileError> {
    let text = path_text(written, default);
    let compiled = xpath::compile(text);
    let compiled = compiled.map_err(|reason| CompileError::Pattern { pattern: text.to_string(), reason })?;
    compiled.count_expressions(shared);
    Ok(Prepared::own(compiled))
}

/// A document as it is written once it has been changed.
fn changed<'a>(
    mut document: Document,
    arguments: &Arguments<'a, '_>,
    change: impl FnOnce(&mut Document) -> Result<(), Failure>,
) -> Result<Value<'a>, Failure> {
    change(&mut document)?;
    document.written(Document::ROOT, arguments.target).map(Value::built)
}

/// The nodes that an expression finds.
fn found(document: &Document, plan: &Plan, target: &Target<'_>) -> Result<Vec<Place>, Failure> {
    let mut walk = Walk { document, target, at: Place { node: Document::ROOT, attribute: None } };
    let mut query = Query::new(plan);
    let mut places = Vec::new();
    while let Some(place) = query.select(&mut walk)? {
        walk.at = place;
        places.push(place);
    }
    Ok(places)
}

fn attribute_at(document: &Document, place: Place) -> Option<(String, String)> {
    let node = &document.nodes[place.node];
    let attribute = node.attributes.get(place.attribute?).filter(|_| node.kind == Kind::Element)?;
    Some((attribute.local.clone(), attribute.value.clone()))
}

fn get<'a>(document: &mut Document, path: &Plan, target: &Target<'_>) -> Result<Value<'a>, Failure> {
    let places = found(document, path, target)?;
    let texts: Vec<Option<(String, String)>> = places.iter().map(|place| attribute_at(document, *place)).collect();
    let result = document.add(Node::new(Kind::Document, ""));
    for (place, attribute) in places.into_iter().zip(texts) {
        let kind = document.nodes[place.node].kind;
        let added = match (attribute, kind) {
            (Some((_, value)), _) => document.add(Node::new(Kind::Text, value)),
            (None, Kind::Element | Kind::Text) => place.node,
            (None, Kind::Raw) => {
                let text = document.nodes[place.node].data.clone();
                document.add(Node::new(Kind::Text, text))
            }
            _ => continue,
        };
        document.add_child(result, added);
    }
    document.written(result, target).map(Value::built)
}

fn insert(document: &mut Document, path: &Plan, inserted: &Document, target: &Target<'_>) -> Result<(), Failure> {
    let places = found(document, path, target)?;
    let of_elements = |place: &Place| {
        place.attribute.is_none() && matches!(document.nodes[place.node].kind, Kind::Element | Kind::Document)
    };
    if !places.iter().all(of_elements) {
        return Err(Failure::Value);
    }
    // The nodes themselves are put in, into one place after the other: they end up where they are put last, and what was
    // linked to them before stays linked.
    let offset = document.nodes.len();
    let moved = |id: Option<Id>| id.map(|id| id + offset);
    for node in &inserted.nodes {
        target.spend(node.data.len())?;
        let mut node = node.clone();
        (node.parent, node.first, node.last) = (moved(node.parent), moved(node.first), moved(node.last));
        (node.previous, node.next) = (moved(node.previous), moved(node.next));
        document.nodes.push(node);
    }
    for place in places {
        let mut next = document.nodes[offset + Document::ROOT].first;
        while let Some(child) = next {
            target.spend(64)?;
            next = document.nodes[child].next;
            document.add_child(place.node, child);
        }
    }
    Ok(())
}

fn remove(document: &mut Document, path: &Plan, target: &Target<'_>) -> Result<(), Failure> {
    let places = found(document, path, target)?;
    let names: Vec<Option<(String, String)>> = places.iter().map(|place| attribute_at(document, *place)).collect();
    for (place, attribute) in places.into_iter().zip(names) {
        match (attribute, document.nodes[place.node].kind) {
            (Some((name, _)), _) => {
                target.spend(document.nodes[place.node].attributes.len().saturating_mul(8))?;
                document.remove_attribute(place.node, &name);
            }
            (None, Kind::Element | Kind::Comment | Kind::Raw) => document.remove(place.node),
            (None, Kind::Text) => document.nodes[place.node].data.clear(),
            _ => {}
        }
    }
    Ok(())
}

fn attributes_to_elements(document: &mut Document, path: &Plan, target: &Target<'_>) -> Result<(), Failure> {
    let places = found(document, path, target)?;
    let attributes: Vec<Option<(String, String)>> = places.iter().map(|place| attribute_at(document, *place)).collect();
    for (place, attribute) in places.into_iter().zip(attributes) {
        let Some((name, value)) = attribute else { continue };
        target.spend(name.len() + value.len() + document.nodes[place.node].attributes.len().saturating_mul(8))?;
        let text = document.add(Node::new(Kind::Text, value));
        let mut element = Node::new(Kind::Element, name.clone());
        element.first = Some(text);
        let element = document.add(element);
        document.add_child(place.node, element);
        document.remove_attribute(place.node, &name);
    }
    Ok(())
}

fn texts_to_elements(document: &mut Document, arguments: &Arguments<'_, '_>) -> Result<(), Failure> {
    let name = arguments.text_or(2, b"")?;
    let name = std::str::from_utf8(&name).map_err(|_| Failure::Value)?;
    let name = if name.is_empty() { "value" } else { name };
    for place in found(document, arguments.prepared()?, arguments.target)? {
        if place.attribute.is_none() {
            text_to_elements(document, place.node, name, arguments.target)?;
        }
    }
    Ok(())
}

/// Wraps the texts of a node that has more children than one text, and of all below it. As deep as a document nests.
fn text_to_elements(document: &mut Document, id: Id, name: &str, target: &Target<'_>) -> Result<(), Failure> {
    if !matches!(document.nodes[id].kind, Kind::Element | Kind::Document) {
        return Ok(());
    }
    let children: Vec<Id> = document.children(id).collect();
    let (mut texts, mut elements) = (0, 0);
    for child in &children {
        target.spend(16)?;
        match document.nodes[*child].kind {
            Kind::Element => {
                text_to_elements(document, *child, name, target)?;
                elements += 1;
            }
            Kind::Text => texts += 1,
            _ => {}
        }
    }
    if texts == 0 || texts + elements <= 1 {
        return Ok(());
    }
    for child in children {
        if document.nodes[child].kind == Kind::Text {
            target.spend(name.len())?;
            let text = std::mem::replace(&mut document.nodes[child].data, name.to_string());
            let text = document.add(Node::new(Kind::Text, text));
            let node = &mut document.nodes[child];
            (node.kind, node.first, node.last) = (Kind::Element, Some(text), Some(text));
        }
    }
    Ok(())
}

/// `ParseSimplifiedXML`
fn simplified<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let document = Document::parse(&arguments.text(0)?, arguments.target)?;
    simple_map(&document, Document::ROOT, arguments.target).map(|entries| Value::Map(Map::Owned(entries)))
}

/// The elements below a node by name: texts, maps, and lists of those where a name comes more than once.
fn simple_map<'a>(document: &Document, id: Id, target: &Target<'_>) -> Result<Vec<Entry<'a>>, Failure> {
    let elements = || document.children(id).filter(|child| document.nodes[*child].kind == Kind::Element);
    let mut names: Vec<&str> = elements().map(|child| document.nodes[child].data.as_str()).collect();
    names.sort_unstable();
    let mut entries: Vec<Entry<'a>> = Vec::new();
    for child in elements() {
        let node = &document.nodes[child];
        target.spend(32 + entries.len())?;
        if node.first.is_none() {
            continue;
        }
        let name = node.data.as_str();
        let is_list = names.partition_point(|known| *known <= name) - names.partition_point(|known| *known < name) > 1;
        let key = || Cow::Owned(name.as_bytes().to_vec());
        if is_list && !entries.iter().any(|(known, _)| **known == *name.as_bytes()) {
            entries.push((key(), Value::List(List::Owned(Vec::new(), ListKind::Slice))));
        }
        let value = match leaf_text(document, child) {
            Some(text) if !text.is_empty() => Value::built(text.as_bytes()),
            _ => match simple_map(document, child, target)? {
                map if map.is_empty() => continue,
                map => Value::Map(Map::Owned(map)),
            },
        };
        match entries.iter_mut().find(|(known, _)| **known == *name.as_bytes()) {
            Some((_, Value::List(List::Owned(values, _)))) if is_list => values.push(value),
            _ => put(&mut entries, name.as_bytes(), value),
        }
    }
    Ok(entries)
}

/// The first text of an element that has no elements.
fn leaf_text(document: &Document, id: Id) -> Option<&str> {
    let kind = |child: Id| document.nodes[child].kind;
    if document.children(id).any(|child| kind(child) == Kind::Element) {
        return None;
    }
    let text = document.children(id).find(|child| matches!(kind(*child), Kind::Text | Kind::Raw))?;
    Some(document.nodes[text].data.as_str())
}

/// `ParseXML`: the root element as a map of its tag, text, attributes and children. Nothing may stand behind it.
fn map<'a>(arguments: &Arguments<'a, '_>) -> Result<Value<'a>, Failure> {
    let source = arguments.text(0)?;
    arguments.target.spend(source.len().saturating_mul(BUILT_PER_READ))?;
    let mut reader = Reader::new(&source);
    loop {
        match reader.token()?.ok_or(Failure::Value)? {
            Token::Start(name, attributes) => {
                let map = element(&mut reader, name.local, attributes, arguments.target)?;
                return if reader.is_at_end() { Ok(map) } else { Err(Failure::Value) };
            }
            // What is before the root element does not count.
            Token::End => return Err(Failure::Value),
            _ => {}
        }
    }
}

/// An element of four bytes becomes a map with a key and a name: so many bytes for each.
const BUILT_PER_READ: usize = 48;

/// As deep as the reader lets elements nest.
fn element<'a>(
    reader: &mut Reader<'_>,
    tag: String,
    attributes: Vec<Attribute>,
    target: &Target<'_>,
) -> Result<Value<'a>, Failure> {
    let (mut text, mut children) = (String::new(), Vec::new());
    loop {
        match reader.token()?.ok_or(Failure::Value)? {
            Token::Start(name, attributes) => children.push(element(reader, name.local, attributes, target)?),
            Token::End => break,
            Token::Text(part) | Token::Raw(part) => text.push_str(part.trim()),
            Token::Comment(_) | Token::Instruction(..) | Token::Directive(_) => {}
        }
    }
    let mut entries: Vec<Entry<'a>> = vec![(Cow::Borrowed(b"tag"), Value::built(tag))];
    if !text.is_empty() {
        entries.push((Cow::Borrowed(b"content"), Value::built(text)));
    }
    if !attributes.is_empty() {
        let mut map: Vec<Entry<'a>> = Vec::with_capacity(attributes.len());
        for attribute in attributes {
            target.spend(map.len())?;
            put(&mut map, attribute.name.local.as_bytes(), Value::built(attribute.value));
        }
        entries.push((Cow::Borrowed(b"attributes"), Value::Map(Map::Owned(map))));
    }
    if !children.is_empty() {
        entries.push((Cow::Borrowed(b"children"), Value::List(List::Owned(children, ListKind::Slice))));
    }
    Ok(Value::Map(Map::Owned(entries)))
}
