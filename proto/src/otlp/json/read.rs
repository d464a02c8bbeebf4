//! JSON to protobuf: goes through the text once, by the schema, and writes each message as it reads it. No tree is built:
//! beside the text and the protobuf there is one small entry for each level of nesting. The walk can be left after any
//! value and taken up again, so that a large text does not hold a core.
//!
//! A message's length stands before it and is known after it. It is written with room for a length of one byte, which
//! fits most messages; a longer one is moved to make room. That copies each byte about three times (span, scope,
//! resource).
//!
//! A value that is not what its field needs costs the item it stands in, or, in a resource, scope or metric, the items
//! under that: what was written of it is taken back. What is no JSON at all costs the request.

use super::scalar::{self, Expected};
use super::text::{Cursor, NotJson, Scalar};
use super::{DEPTH_MAX, ItemFault, JsonError, Read};
use crate::otlp::Signal;
use crate::otlp::schema::{Field, Kind, Message, Presence, Role, request};
use crate::otlp::wire::{end_message, put_varint};

/// Deepest nesting of what is passed over because its name is not known. It costs a bit a level.
/// At the bound: the request is refused.
const IGNORED_DEPTH_MAX: usize = 65_536;

/// The name of a field in an error is cut to this many bytes: it is the sender's.
const NAME_BYTES_MAX: usize = 64;

/// What comes next in the text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Next {
    /// A value.
    Value,
    /// The first member or element, or the end of what has just been opened.
    First,
    /// A comma or the end of what is open.
    Comma,
    /// Nothing but space.
    End,
}

/// An object or list on the way down.
#[derive(Debug)]
struct Frame {
    holds: Holds,
    /// Where its tag begins in the output, and its payload; equal where it writes neither.
    tag_at: usize,
    payload_at: usize,
    /// Items written and refused before it.
    before: (u32, u32),
    /// Set when it is to be taken back at its end.
    is_refused: bool,
}

#[derive(Debug)]
enum Holds {
    Object {
        message: &'static Message,
        /// The field whose value comes, if its name is known.
        field: Option<usize>,
        /// Where the next name is looked for first.
        expected: usize,
        /// The fields that have come, as bits: a zero that follows another value is written.
        seen: u32,
    },
    List {
        field: &'static Field,
        index: usize,
    },
}

/// The reading of one request.
#[derive(Debug)]
pub struct JsonReading {
    signal: Signal,
    next: Next,
    at: usize,
    is_utf8: Option<bool>,
    stack: Vec<Frame>,
    /// What is open of a value that is passed over: for each level, whether it is an object.
    ignored: Levels,
    /// Strings with escapes.
    scratch: Vec<u8>,
    /// Bytes that were moved to make room for lengths, which is work as reading is.
    moved: usize,
    /// Where in the output the request begins.
    start: usize,
    read: Read,
    /// The first name that was not known, and whether lists or objects were ignored with such names.
    unknown: Option<String>,
    ignores_content: bool,
    is_no_object: bool,
}

type Step = Result<(), JsonError>;

impl JsonReading {
    /// The reading of a request that is appended to an output of that length.
    #[must_use]
    pub fn new(signal: Signal, output_length: usize) -> Self {
        Self {
            signal,
            next: Next::Value,
            at: 0,
            is_utf8: None,
            stack: Vec::with_capacity(16),
            ignored: Levels::default(),
            scratch: Vec::new(),
            moved: 0,
            start: output_length,
            read: Read::default(),
            unknown: None,
            ignores_content: false,
            is_no_object: false,
        }
    }

    /// Reads on in `text` for about `bytes` bytes, or as much other work, and appends to `out`; to be called with the same two until it returns
    /// what was read. On an error `out` is as it was before.
    ///
    /// # Errors
    /// Any `JsonError`.
    pub fn advance(&mut self, text: &[u8], bytes: usize, out: &mut Vec<u8>) -> Result<Option<Read>, JsonError> {
        let outcome = self.advance_or_fail(text, bytes, out);
        if outcome.is_err() {
            out.truncate(self.start);
        }
        outcome
    }

    fn advance_or_fail(&mut self, text: &[u8], bytes: usize, out: &mut Vec<u8>) -> Result<Option<Read>, JsonError> {
        let is_utf8 = *self.is_utf8.get_or_insert_with(|| std::str::from_utf8(text).is_ok());
        if self.at == 0 && text.starts_with(b"\xef\xbb\xbf") {
            self.at = 3;
        }
        let until = self.at.saturating_add(bytes);
        let mut cursor = Cursor { text, at: self.at, until, is_utf8, repaired: 0 };
        self.moved = 0;
        while cursor.at.saturating_add(self.moved) <= until {
            cursor.skip_space();
            if self.next == Next::End {
                self.read.repaired_texts += cursor.repaired;
                return match cursor.peek() {
                    Some(_) => {
                        self.fail(&cursor, cursor.wrong::<()>("something follows the request's end")).map(|()| None)
                    }
                    None => self.end().map(Some),
                };
            }
            self.step(&mut cursor, out)?;
        }
        self.at = cursor.at;
        self.read.repaired_texts += cursor.repaired;
        Ok(None)
    }

    fn end(&mut self) -> Result<Read, JsonError> {
        if self.is_no_object {
            return Err(JsonError::Field { path: "the request".into(), expected: "must be an object" });
        }
        let read = std::mem::take(&mut self.read);
        if read.items > 0 || read.refused > 0 {
            return Ok(read);
        }
        match (read.fault, self.unknown.take()) {
            (Some(ItemFault { path, expected }), _) => Err(JsonError::Field { path, expected }),
            (None, Some(name)) if self.ignores_content => Err(JsonError::NothingKnown { name, signal: self.signal }),
            (fault, _) => Ok(Read { fault, ..read }),
        }
    }

    /// The error of text that is no JSON.
    #[cold]
    fn fail<T>(&self, cursor: &Cursor<'_>, outcome: Result<T, NotJson>) -> Result<T, JsonError> {
        outcome.map_err(|error| error.within(cursor.text, self.path()))
    }

    fn is_in_object(&self) -> bool {
        match self.ignored.last() {
            Some(is_object) => is_object,
            None => matches!(self.stack.last(), Some(Frame { holds: Holds::Object { .. }, .. })),
        }
    }

    fn step(&mut self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step {
        if self.next == Next::Value {
            return self.value(cursor, out);
        }
        let is_in_object = self.is_in_object();
        let close = if is_in_object { b'}' } else { b']' };
        match cursor.peek() {
            Some(byte) if byte == close => {
                cursor.at += 1;
                self.close(out);
                return Ok(());
            }
            Some(b',') if self.next == Next::Comma => {
                cursor.at += 1;
                cursor.skip_space();
                if let Some(Frame { holds: Holds::List { index, .. }, .. }) = self.stack.last_mut()
                    && self.ignored.is_empty()
                {
                    *index += 1;
                }
            }
            _ if self.next == Next::First => {}
            _ => {
                let cause = if is_in_object { "a comma or } must stand here" } else { "a comma or ] must stand here" };
                return self.fail(cursor, cursor.wrong(cause));
            }
        }
        self.next = Next::Value;
        if is_in_object { self.name(cursor) } else { Ok(()) }
    }

    fn name(&mut self, cursor: &mut Cursor<'_>) -> Step {
        let mut scratch = std::mem::take(&mut self.scratch);
        let name = cursor.string(&mut scratch);
        let name = name.and_then(|name| {
            cursor.skip_space();
            cursor.take(b':', "a colon must follow the name").map(|()| name)
        });
        let outcome = match name {
            Ok(name) => {
                self.note_name(name);
                Ok(())
            }
            Err(error) => self.fail(cursor, Err(error)),
        };
        self.scratch = scratch;
        outcome
    }

    #[inline]
    fn note_name(&mut self, name: &[u8]) {
        if !self.ignored.is_empty() {
            return;
        }
        let Some(Frame { holds: Holds::Object { message, field, expected, .. }, .. }) = self.stack.last_mut() else {
            return;
        };
        *field = lookup(message.fields, name, *expected);
        match *field {
            Some(found) => *expected = found + 1,
            None => {
                self.read.ignored_names += 1;
                let cut = &name[..name.len().min(NAME_BYTES_MAX)];
                self.unknown.get_or_insert_with(|| String::from_utf8_lossy(cut).escape_debug().collect());
            }
        }
    }

    fn value(&mut self, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step {
        if !self.ignored.is_empty() {
            return self.ignore(cursor);
        }
        let Some(top) = self.stack.last_mut() else {
            if cursor.peek() == Some(b'{') {
                let at = out.len();
                return self.open(cursor, object(request(self.signal), at, at, (0, 0)));
            }
            self.is_no_object = true;
            return self.ignore(cursor);
        };
        match &mut top.holds {
            Holds::Object { field: None, .. } => {
                self.ignores_content |= matches!(cursor.peek(), Some(b'{' | b'['));
                self.ignore(cursor)
            }
            Holds::Object { message, field: Some(position), seen, .. } => {
                let bit = 1_u32 << (*position & 31);
                let is_first = *seen & bit == 0;
                *seen |= bit;
                let field = &message.fields[*position];
                self.member(field, is_first, cursor, out)
            }
            Holds::List { field, .. } => {
                let field = *field;
                self.element(field, cursor, out)
            }
        }
    }

    /// The value of a field.
    fn member(&mut self, field: &'static Field, is_first: bool, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step {
        let tag_at = out.len();
        match (field.presence, field.kind, cursor.peek()) {
            (_, _, Some(b'n')) => {
                self.ignore(cursor)?;
                // Null is nothing, but where one of several values is chosen it chooses an empty one.
                if field.presence == Presence::OneOf && matches!(field.kind, Kind::Text | Kind::Message(_)) {
                    put_tag(out, field, 2);
                    out.push(0);
                }
                Ok(())
            }
            (Presence::Repeated, kind, Some(b'[')) => {
                if !matches!(kind, Kind::Message(_) | Kind::Text) {
                    put_tag(out, field, 2);
                    out.push(0);
                }
                let payload_at = out.len();
                self.open(cursor, list(field, tag_at, payload_at))
            }
            (Presence::Repeated, ..) => self.fault("must be an array", cursor),
            (_, Kind::Message(message), Some(b'{')) => {
                put_tag(out, field, 2);
                out.push(0);
                let frame = object(message, tag_at, out.len(), (self.read.items, self.read.refused));
                self.open(cursor, frame)
            }
            (_, kind @ Kind::Message(_), _) | (_, kind, Some(b'{' | b'[')) => {
                self.fault(scalar::expected(kind), cursor)
            }
            _ => self.scalar(field, is_first, true, cursor, out),
        }
    }

    /// An element of a list.
    fn element(&mut self, field: &'static Field, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step {
        match (field.kind, cursor.peek()) {
            (Kind::Message(message), Some(b'{')) => {
                let tag_at = out.len();
                put_tag(out, field, 2);
                out.push(0);
                let frame = object(message, tag_at, out.len(), (self.read.items, self.read.refused));
                self.open(cursor, frame)
            }
            // A null in a list keeps its place: it is a message with nothing in it.
            (Kind::Message(message), Some(b'n')) => {
                self.ignore(cursor)?;
                put_tag(out, field, 2);
                out.push(0);
                self.read.items += u32::from(message.role == Role::Item);
                Ok(())
            }
            (Kind::Message(message), _) if matches!(message.role, Role::Item | Role::Group) => {
                self.note_fault("must be an object");
                self.read.refused += u32::from(message.role == Role::Item);
                self.ignore(cursor)
            }
            (kind @ Kind::Message(_), _) | (kind, Some(b'{' | b'[')) => self.fault(scalar::expected(kind), cursor),
            (Kind::Text, _) => self.scalar(field, false, true, cursor, out),
            (_, Some(b'-' | b'0'..=b'9')) => self.numbers(field, cursor, out),
            _ => self.scalar(field, false, false, cursor, out),
        }
    }

    /// Numbers in a list, as many as stand one after another: of these a text can hold the most.
    fn numbers(&mut self, field: &'static Field, cursor: &mut Cursor<'_>, out: &mut Vec<u8>) -> Step {
        self.next = Next::Comma;
        loop {
            let digits = match cursor.number() {
                Ok(digits) => digits,
                Err(error) => return self.fail(cursor, Err(error)),
            };
            match scalar::number(field, &Scalar::Number(digits)) {
                Ok(number) => number.put(out),
                Err(expected) => {
                    self.note_fault(expected);
                    self.refuse_nearest();
                }
            }
            cursor.skip_space();
            let more = cursor.text.get(cursor.at..cursor.at + 2);
            let (Some([b',', b'-' | b'0'..=b'9']), true) = (more, cursor.at < cursor.until) else { return Ok(()) };
            cursor.at += 1;
            if let Some(Frame { holds: Holds::List { index, .. }, .. }) = self.stack.last_mut() {
                *index += 1;
            }
        }
    }

    fn scalar(
        &mut self,
        field: &'static Field,
        is_first: bool,
        is_tagged: bool,
        cursor: &mut Cursor<'_>,
        out: &mut Vec<u8>,
    ) -> Step {
        let mut scratch = std::mem::take(&mut self.scratch);
        self.next = Next::Comma;
        // A zero means the same as nothing, unless another value came before it.
        let leaves_out_zero = is_first && field.presence == Presence::Implicit;
        let outcome = match cursor.scalar(&mut scratch) {
            Ok(value) => {
                if let Err(expected) = put(out, field, &value, leaves_out_zero, is_tagged) {
                    self.note_fault(expected);
                    self.refuse_nearest();
                }
                Ok(())
            }
            Err(error) => self.fail(cursor, Err(error)),
        };
        self.scratch = scratch;
        outcome
    }

    /// Passes over the value that comes, whatever it is.
    fn ignore(&mut self, cursor: &mut Cursor<'_>) -> Step {
        match cursor.peek() {
            Some(byte @ (b'{' | b'[')) => {
                if self.ignored.len() >= IGNORED_DEPTH_MAX {
                    return Err(JsonError::Depth(IGNORED_DEPTH_MAX));
                }
                cursor.at += 1;
                self.ignored.push(byte == b'{');
                self.next = Next::First;
                Ok(())
            }
            _ => {
                let mut scratch = std::mem::take(&mut self.scratch);
                let outcome = cursor.scalar(&mut scratch).map(|_| ());
                self.scratch = scratch;
                self.next = Next::Comma;
                if self.stack.is_empty() && self.ignored.is_empty() {
                    self.next = Next::End;
                }
                outcome.or_else(|error| self.fail(cursor, Err(error)))
            }
        }
    }

    fn open(&mut self, cursor: &mut Cursor<'_>, frame: Frame) -> Step {
        if self.stack.len() >= DEPTH_MAX {
            return self.fault(super::TOO_DEEP, cursor);
        }
        cursor.at += 1;
        self.stack.push(frame);
        self.next = Next::First;
        Ok(())
    }

    /// The end of an object or list.
    fn close(&mut self, out: &mut Vec<u8>) {
        if !self.ignored.is_empty() {
            self.ignored.pop();
        } else if let Some(frame) = self.stack.pop() {
            self.close_frame(&frame, out);
        }
        let is_end = self.stack.is_empty() && self.ignored.is_empty();
        self.next = if is_end { Next::End } else { Next::Comma };
    }

    fn close_frame(&mut self, frame: &Frame, out: &mut Vec<u8>) {
        let role = match frame.holds {
            Holds::Object { message, .. } => message.role,
            Holds::List { .. } => Role::Part,
        };
        if frame.is_refused && matches!(role, Role::Item | Role::Group) {
            out.truncate(frame.tag_at);
            let under = if role == Role::Item { 1 } else { self.read.items - frame.before.0 };
            self.read.refused += under;
            self.read.items = frame.before.0;
            return;
        }
        // What all items were refused of goes with them.
        if role == Role::Group && self.read.items == frame.before.0 && self.read.refused > frame.before.1 {
            out.truncate(frame.tag_at);
            return;
        }
        self.read.items += u32::from(role == Role::Item);
        let is_empty_list = matches!(frame.holds, Holds::List { .. }) && out.len() == frame.payload_at;
        if is_empty_list {
            out.truncate(frame.tag_at);
        } else if frame.payload_at > frame.tag_at {
            self.moved += if out.len() - frame.payload_at < 0x80 { 0 } else { out.len() - frame.payload_at };
            end_message(out, frame.payload_at);
        }
    }

    /// A value that is not what is needed, or too deep: it is passed over, and costs what it stands in.
    #[cold]
    fn fault(&mut self, expected: Expected, cursor: &mut Cursor<'_>) -> Step {
        self.note_fault(expected);
        self.refuse_nearest();
        self.ignore(cursor)
    }

    #[cold]
    fn note_fault(&mut self, expected: Expected) {
        if self.read.fault.is_none() {
            self.read.fault = Some(ItemFault { path: self.path(), expected });
        }
    }

    #[cold]
    fn refuse_nearest(&mut self) {
        let is_whole = |frame: &&mut Frame| match frame.holds {
            Holds::Object { message, .. } => message.role != Role::Part,
            Holds::List { .. } => false,
        };
        if let Some(frame) = self.stack.iter_mut().rev().find(is_whole) {
            frame.is_refused = true;
        }
    }

    /// Where the walk is, such as `resourceSpans[0].scopeSpans[0].spans[3].traceId`.
    fn path(&self) -> String {
        let mut path = String::new();
        for frame in &self.stack {
            match frame.holds {
                Holds::Object { message, field: Some(field), .. } => {
                    if !path.is_empty() {
                        path.push('.');
                    }
                    path.push_str(message.fields[field].name);
                }
                Holds::Object { .. } => {}
                Holds::List { index, .. } => path.push_str(&format!("[{index}]")),
            }
        }
        path
    }
}

fn object(message: &'static Message, tag_at: usize, payload_at: usize, before: (u32, u32)) -> Frame {
    let holds = Holds::Object { message, field: None, expected: 0, seen: 0 };
    Frame { holds, tag_at, payload_at, before, is_refused: false }
}

fn list(field: &'static Field, tag_at: usize, payload_at: usize) -> Frame {
    Frame { holds: Holds::List { field, index: 0 }, tag_at, payload_at, before: (0, 0), is_refused: false }
}

fn put_tag(out: &mut Vec<u8>, field: &Field, wire_type: u64) {
    put_varint(out, u64::from(field.number) << 3 | wire_type);
}

/// Writes a value with its tag, or without one in a list of numbers.
fn put(
    out: &mut Vec<u8>,
    field: &Field,
    value: &Scalar<'_>,
    leaves_out_zero: bool,
    is_tagged: bool,
) -> Result<(), Expected> {
    // A null in a list of numbers or strings.
    if *value == Scalar::Null {
        return Err(scalar::expected(field.kind));
    }
    match field.kind {
        Kind::Text => put_bytes(out, field, scalar::text(value)?, leaves_out_zero),
        Kind::Bytes => put_bytes(out, field, &scalar::base64(scalar::text(value)?)?, leaves_out_zero),
        Kind::Id(length) => scalar::put_id(out, field.number, length, scalar::text(value)?),
        _ => {
            let number = scalar::number(field, value)?;
            if !(leaves_out_zero && number.is_zero()) {
                if is_tagged {
                    put_tag(out, field, number.wire_type());
                }
                number.put(out);
            }
        }
    }
    Ok(())
}

fn put_bytes(out: &mut Vec<u8>, field: &Field, bytes: &[u8], leaves_out_empty: bool) {
    if !(leaves_out_empty && bytes.is_empty()) {
        put_tag(out, field, 2);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

/// The field of that name, tried first where the last one found would have it next.
fn lookup(fields: &[Field], name: &[u8], expected: usize) -> Option<usize> {
    if fields.get(expected).is_some_and(|field| field.name.as_bytes() == name) {
        return Some(expected);
    }
    // Names come in the order of their fields, mostly, and some are left out.
    let from = expected.min(fields.len());
    let (before, after) = fields.split_at(from);
    let is_it = |field: &Field| is_name(field.name, name);
    after.iter().position(is_it).map(|found| from + found).or_else(|| before.iter().position(is_it))
}

/// Whether a name is a field's, in lowerCamelCase or as the protobuf definition has it, in snake_case.
fn is_name(camel: &str, name: &[u8]) -> bool {
    if camel.as_bytes().first() != name.first() {
        return false;
    }
    if camel.as_bytes() == name {
        return true;
    }
    let mut rest = name;
    for letter in camel.bytes() {
        let lower = letter.to_ascii_lowercase();
        rest = match rest {
            [b'_', found, rest @ ..] if lower != letter && *found == lower => rest,
            [found, rest @ ..] if lower == letter && *found == lower => rest,
            _ => return false,
        };
    }
    rest.is_empty()
}

/// A stack of truth values, a bit each.
#[derive(Debug, Default)]
struct Levels {
    words: Vec<u64>,
    length: usize,
}

impl Levels {
    fn len(&self) -> usize {
        self.length
    }

    fn is_empty(&self) -> bool {
        self.length == 0
    }

    fn last(&self) -> Option<bool> {
        let at = self.length.checked_sub(1)?;
        Some(self.words[at / 64] >> (at % 64) & 1 == 1)
    }

    fn push(&mut self, value: bool) {
        let at = self.length;
        if at / 64 == self.words.len() {
            self.words.push(0);
        }
        let bit = 1 << (at % 64);
        if value {
            self.words[at / 64] |= bit;
        } else {
            self.words[at / 64] &= !bit;
        }
        self.length += 1;
    }

    fn pop(&mut self) {
        self.length = self.length.saturating_sub(1);
    }
}
