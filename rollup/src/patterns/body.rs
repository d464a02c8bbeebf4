//! The body of a record, whatever it is: a text, a JSON object in a text, a map, a list, a number.
//!
//! A map is its message and the names of its keys; without a message, its keys with a wildcard for each value:
//! ```text
//!   {"level":"info","msg":"user 7 logged in"}     user <*> logged in {level}
//!   {"id":7,"state":{"a":1}}                      {id: <*>, state: {a: <*>}}
//! ```
//! Maps of the wire are written as JSON first, so that both forms are one pattern.

mod json;
mod wire;

use super::fold;
use super::mask::{self, MESSAGE_KEYS, NamedMask, TEXT_BYTES_MAX};
use super::row::cut;
use super::token::Shape;
use json::{Member, Members};
use tailwater_proto::otlp::check::AnyValue;

/// Nesting of maps that is followed.
/// At the bound: what is deeper is a wildcard.
const DEPTH_MAX: usize = 4;

/// Makes shapes of bodies. One is used for all lines.
#[derive(Debug, Default)]
pub(super) struct Reader {
    /// A map of the wire as JSON.
    json: Vec<u8>,
    /// A text without its escapes.
    text: Vec<u8>,
}

impl Reader {
    /// Makes the shape of a body; what there is to show of it as an example.
    pub(super) fn read<'a>(
        &'a mut self,
        shape: &mut Shape,
        body: Option<AnyValue<'a>>,
        masks: &[NamedMask],
    ) -> &'a [u8] {
        shape.clear();
        let sample: &[u8] = match body {
            None => b"",
            Some(AnyValue::Text(text)) => {
                read_text(shape, &mut self.text, text, masks);
                text
            }
            Some(AnyValue::Integer(_) | AnyValue::Boolean(_)) => b"",
            Some(AnyValue::Other(message)) => {
                self.json.clear();
                wire::put_json(&mut self.json, message, TEXT_BYTES_MAX);
                read_text(shape, &mut self.text, &self.json, masks);
                &self.json
            }
        };
        shape.finish();
        sample
    }
}

/// A text: a JSON object, a stack trace, or a line.
fn read_text(shape: &mut Shape, scratch: &mut Vec<u8>, text: &[u8], masks: &[NamedMask]) {
    if let Some(first) = text.iter().find(|byte| !byte.is_ascii_whitespace())
        && *first == b'{'
        && let Some(members) = json::whole_object(text)
    {
        return read_object(shape, scratch, &members, masks);
    }
    read_lines(shape, text, masks);
}

fn read_lines(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) {
    let text = cut(text, TEXT_BYTES_MAX);
    if memchr::memchr(b'\n', text).is_some() && fold::stack_trace(shape, text, masks) {
        return;
    }
    mask::text(shape, text, masks);
}

/// The message of an object and its other keys; all of it, if there is no message.
fn read_object(shape: &mut Shape, scratch: &mut Vec<u8>, members: &Members<'_>, masks: &[NamedMask]) {
    let is_message = |member: &Member<'_>, key: &[u8]| member.key.eq_ignore_ascii_case(key) && member.value.len() > 2;
    let message = MESSAGE_KEYS.iter().find_map(|key| {
        members.iter().position(|member| is_message(member, key) && member.value.first() == Some(&b'"'))
    });
    let Some(message) = message else { return read_structure(shape, members, 0) };
    if let Some(member) = members.iter().nth(message) {
        json::unescape(&member.value[1..member.value.len() - 1], scratch);
        read_lines(shape, scratch, masks);
    }
    if members.iter().count() == 1 {
        return;
    }
    shape.space();
    shape.word(b"{");
    let others = members.iter().enumerate().filter(|(at, _)| *at != message);
    for (index, (_, member)) in others.enumerate() {
        if index > 0 {
            shape.word(b",");
            shape.space();
        }
        mask::plain(shape, member.key);
    }
    shape.word(b"}");
}

/// An object without a message.
fn read_structure(shape: &mut Shape, members: &Members<'_>, depth: usize) {
    shape.word(b"{");
    for (index, member) in members.iter().enumerate() {
        if index > 0 {
            shape.word(b",");
            shape.space();
        }
        mask::plain(shape, member.key);
        shape.word(b":");
        shape.space();
        let inner = if member.value.first() == Some(&b'{') && depth < DEPTH_MAX {
            json::whole_object(member.value)
        } else {
            None
        };
        match inner {
            Some(inner) => read_structure(shape, &inner, depth + 1),
            None => shape.wildcard(json::bare(member.value)),
        }
    }
    shape.word(b"}");
}

#[cfg(test)]
mod tests;
