//! JSON to protobuf: walks the tape of simd-json by the schema and writes each message with its fields in order.
//!
//! A message's length stands before it and is known after it. It is written with room for a length of one byte, which
//! fits most messages; a longer one is moved to make room. That copies each byte about three times (span, scope,
//! resource), far less than parsing costs.

use base64::Engine;
use base64::engine::general_purpose::{STANDARD_PAD_INDIFFERENT, URL_SAFE_PAD_INDIFFERENT};
use simd_json::{Buffers, ErrorType, Node, StaticNode, Tape};

use super::JsonError;
use crate::otlp::Signal;
use crate::otlp::schema::{Field, Kind, Message, Presence, request};
use crate::otlp::wire::{put_varint, varint_length};

/// Hard bound on the depth, whatever the caller says: it bounds the recursion, whose frames are some hundred bytes.
const DEPTH_LIMIT: usize = 512;

/// Buffers for texts up to this length are kept from one request to the next; larger ones are given back.
const RETAINED_BYTES_MAX: usize = 1024 * 1024;

/// Values are 24 bytes each on the tape, so texts of a megabyte and more must have this many bytes for each value. The
/// densest honest text, lists of one-digit numbers, has two; they are never most of a large request.
const BYTES_PER_VALUE_MIN: usize = 3;

/// Reads OTLP/JSON requests one after the other with the same buffers. Needs about ten times the text's length of
/// memory while it reads.
pub struct JsonReader {
    depth_max: usize,
    buffers: Buffers,
    tape: Option<Tape<'static>>,
    scratch: Vec<Occurrence>,
}

/// A field found in an object: its place in the schema and its value's place on the tape.
#[derive(Debug, Clone, Copy)]
struct Occurrence {
    field: usize,
    value: usize,
}

/// An error on its way out: the path is put together from the inside.
struct Fault {
    path: String,
    expected: &'static str,
}

type Step = Result<(), Fault>;

impl JsonReader {
    /// A reader that accepts that many levels of nesting.
    #[must_use]
    pub fn new(depth_max: usize) -> Self {
        let depth_max = depth_max.min(DEPTH_LIMIT);
        Self { depth_max, buffers: Buffers::with_max_depth(0, depth_max), tape: None, scratch: Vec::new() }
    }

    /// Reads one request and appends it to `out` as protobuf; on an error `out` is as before. `json` is overwritten.
    ///
    /// # Errors
    /// Any `JsonError`.
    pub fn to_protobuf(&mut self, signal: Signal, json: &mut [u8], out: &mut Vec<u8>) -> Result<(), JsonError> {
        check_density(json)?;
        let length = json.len();
        let before = out.len();
        let mut tape = self.tape.take().unwrap_or_else(Tape::null).reset();
        let parsed = simd_json::fill_tape(json, &mut self.buffers, &mut tape);
        let read = match parsed {
            Ok(()) => {
                let mut walk = Walk { tape: &tape.0, scratch: &mut self.scratch, out };
                walk.root(request(signal)).map_err(JsonError::from)
            }
            Err(error) => Err(self.syntax_error(&error, length)),
        };
        if read.is_err() {
            out.truncate(before);
            self.scratch.clear();
        }
        if length > RETAINED_BYTES_MAX {
            self.buffers = Buffers::with_max_depth(0, self.depth_max);
        } else {
            self.tape = Some(tape.reset());
        }
        read
    }

    #[cold]
    fn syntax_error(&self, error: &simd_json::Error, length: usize) -> JsonError {
        match error.error() {
            ErrorType::DepthLimitExceeded => JsonError::Depth(self.depth_max),
            // simd-json counts a few bytes on past the end of a text that breaks off.
            cause => JsonError::Syntax { offset: error.index().min(length), cause: format!("{cause:?}") },
        }
    }
}

/// Refuses large texts whose tape would be many times their size. What stands in strings is counted, too: that errs on
/// the side of memory, and prose has fewer commas than this by far.
fn check_density(json: &[u8]) -> Result<(), JsonError> {
    if json.len() <= RETAINED_BYTES_MAX {
        return Ok(());
    }
    let values = json.iter().filter(|byte| matches!(byte, b',' | b'[' | b'{' | b':')).count();
    if values > json.len() / BYTES_PER_VALUE_MIN {
        return Err(JsonError::Dense { values, bytes: json.len() });
    }
    Ok(())
}

impl From<Fault> for JsonError {
    fn from(fault: Fault) -> Self {
        Self::Field { path: fault.path, expected: fault.expected }
    }
}

#[cold]
fn fault(expected: &'static str) -> Fault {
    Fault { path: String::new(), expected }
}

/// Adds the name of a field, and the index in a list, before the path.
#[cold]
fn within(mut fault: Fault, name: &str, index: Option<usize>) -> Fault {
    let inner = std::mem::take(&mut fault.path);
    let index = index.map(|index| format!("[{index}]")).unwrap_or_default();
    let dot = if inner.is_empty() || inner.starts_with('[') { "" } else { "." };
    fault.path = format!("{name}{index}{dot}{inner}");
    fault
}

/// The writing of one request.
struct Walk<'a, 'input> {
    tape: &'a [Node<'input>],
    /// Occurrences of all objects on the way down; each uses the end.
    scratch: &'a mut Vec<Occurrence>,
    out: &'a mut Vec<u8>,
}

impl Walk<'_, '_> {
    fn root(&mut self, message: &'static Message) -> Step {
        match self.tape.first() {
            Some(Node::Object { .. }) => self.message(message, 0),
            _ => Err(Fault { path: "the request".to_string(), expected: "must be an object" }),
        }
    }

    /// Writes the object at `at`. Recursion is bounded by the depth of the tape, which the parser bounds.
    fn message(&mut self, message: &'static Message, at: usize) -> Step {
        let base = self.scratch.len();
        self.find_fields(message, at);
        // In the order of the schema, and for a name that occurs twice in the order written.
        self.scratch[base..].sort_by_key(|occurrence| occurrence.field);
        let one_of = self.last_of_group(message, base);
        for index in base..self.scratch.len() {
            let Occurrence { field: position, value } = self.scratch[index];
            let repeated_name = self.scratch.get(index + 1).is_some_and(|next| next.field == position);
            let field = &message.fields[position];
            let superseded = field.presence == Presence::OneOf && one_of != Some(position);
            // Of a name that occurs twice the last holds, as most JSON parsers have it.
            if !repeated_name && !superseded {
                self.field(field, value).map_err(|fault| within(fault, field.name, None))?;
            }
        }
        self.scratch.truncate(base);
        Ok(())
    }

    /// Appends the known, non-null members of the object at `at` to the scratch.
    fn find_fields(&mut self, message: &'static Message, at: usize) {
        let Some(Node::Object { len, .. }) = self.tape.get(at) else { return };
        let mut position = at + 1;
        let mut expected = 0;
        for _ in 0..*len {
            let (Some(Node::String(name)), value) = (self.tape.get(position), position + 1) else { return };
            position = value + self.nodes(value);
            if matches!(self.tape.get(value), Some(Node::Static(StaticNode::Null)) | None) {
                continue;
            }
            if let Some(field) = lookup(message.fields, name, expected) {
                expected = field + 1;
                self.scratch.push(Occurrence { field, value });
            }
        }
    }

    /// Of the fields that exclude one another, the one written last.
    fn last_of_group(&self, message: &'static Message, base: usize) -> Option<usize> {
        let found = self.scratch[base..].iter();
        let of_group = found.filter(|found| message.fields[found.field].presence == Presence::OneOf);
        of_group.max_by_key(|found| found.value).map(|found| found.field)
    }

    /// Nodes that the value at `at` takes on the tape.
    fn nodes(&self, at: usize) -> usize {
        match self.tape.get(at) {
            Some(Node::Object { count, .. } | Node::Array { count, .. }) => count + 1,
            _ => 1,
        }
    }

    fn field(&mut self, field: &'static Field, at: usize) -> Step {
        match (field.presence, field.kind) {
            (Presence::Repeated, Kind::Message(message)) => self.messages(field, message, at),
            (Presence::Repeated, Kind::Text) => self.elements(at, |walk, element| {
                let text = text(&walk.tape[element])?;
                put_bytes(walk.out, field.number, text.as_bytes());
                Ok(())
            }),
            (Presence::Repeated, _) => self.packed(field, at),
            (_, Kind::Message(message)) => match &self.tape[at] {
                Node::Object { .. } => self.nested(field, message, at),
                _ => Err(fault("must be an object")),
            },
            _ => self.scalar(field, at),
        }
    }

    /// Calls `each` with the place of every element of the array at `at`.
    fn elements(&mut self, at: usize, mut each: impl FnMut(&mut Self, usize) -> Step) -> Step {
        let Node::Array { len, .. } = self.tape[at] else { return Err(fault("must be an array")) };
        let mut element = at + 1;
        for index in 0..len {
            each(self, element).map_err(|fault| within(fault, "", Some(index)))?;
            element += self.nodes(element);
        }
        Ok(())
    }

    fn messages(&mut self, field: &'static Field, message: &'static Message, at: usize) -> Step {
        self.elements(at, |walk, element| match &walk.tape[element] {
            Node::Object { .. } => walk.nested(field, message, element),
            // A null in a list keeps its place: it is a message with nothing in it.
            Node::Static(StaticNode::Null) => {
                put_bytes(walk.out, field.number, &[]);
                Ok(())
            }
            _ => Err(fault("must be an object")),
        })
    }

    fn nested(&mut self, field: &'static Field, message: &'static Message, at: usize) -> Step {
        put_varint(self.out, u64::from(field.number) << 3 | 2);
        let start = self.begin();
        self.message(message, at)?;
        self.end(start);
        Ok(())
    }

    fn packed(&mut self, field: &'static Field, at: usize) -> Step {
        if matches!(&self.tape[at], Node::Array { len: 0, .. }) {
            return Ok(());
        }
        put_varint(self.out, u64::from(field.number) << 3 | 2);
        let start = self.begin();
        self.elements(at, |walk, element| {
            match number(field.kind, &walk.tape[element])? {
                Number::Varint(value) => put_varint(walk.out, value),
                Number::Fixed32(value) => walk.out.extend_from_slice(&value.to_le_bytes()),
                Number::Fixed64(value) => walk.out.extend_from_slice(&value.to_le_bytes()),
            }
            Ok(())
        })?;
        self.end(start);
        Ok(())
    }

    /// Leaves room for a length and says where its payload starts.
    fn begin(&mut self) -> usize {
        self.out.push(0);
        self.out.len()
    }

    /// Puts the length before the payload that starts at `start`.
    fn end(&mut self, start: usize) {
        let length = self.out.len() - start;
        if let Ok(short) = u8::try_from(length)
            && short < 0x80
        {
            self.out[start - 1] = short;
            return;
        }
        let room = varint_length(length as u64) - 1;
        let payload_end = self.out.len();
        self.out.resize(payload_end + room, 0);
        self.out.copy_within(start..payload_end, start + room);
        let mut rest = length as u64;
        for byte in &mut self.out[start - 1..start + room] {
            *byte = rest.to_le_bytes()[0] | 0x80;
            rest >>= 7;
        }
        self.out[start + room - 1] &= 0x7f;
    }

    fn scalar(&mut self, field: &'static Field, at: usize) -> Step {
        let node = &self.tape[at];
        let implicit = field.presence == Presence::Implicit;
        match field.kind {
            Kind::Text => {
                let text = text(node)?;
                if !(implicit && text.is_empty()) {
                    put_bytes(self.out, field.number, text.as_bytes());
                }
            }
            Kind::Bytes => {
                let bytes = decoded(text(node)?)?;
                if !(implicit && bytes.is_empty()) {
                    put_bytes(self.out, field.number, &bytes);
                }
            }
            Kind::Id(length) => self.id(field.number, length, text(node)?),
            kind => match number(kind, node)? {
                Number::Varint(0) | Number::Fixed32(0) | Number::Fixed64(0) if implicit => {}
                Number::Varint(value) => {
                    put_varint(self.out, u64::from(field.number) << 3);
                    put_varint(self.out, value);
                }
                Number::Fixed32(value) => {
                    put_varint(self.out, u64::from(field.number) << 3 | 5);
                    self.out.extend_from_slice(&value.to_le_bytes());
                }
                Number::Fixed64(value) => {
                    put_varint(self.out, u64::from(field.number) << 3 | 1);
                    self.out.extend_from_slice(&value.to_le_bytes());
                }
            },
        }
        Ok(())
    }

    /// An id as bytes. What is no id of that length becomes a single byte, which no id is: whoever looks at ids next
    /// refuses that span, link or record, and not its neighbours with it.
    fn id(&mut self, number: u32, length: usize, text: &str) {
        if text.is_empty() {
            return;
        }
        put_varint(self.out, u64::from(number) << 3 | 2);
        let start = self.out.len();
        put_varint(self.out, length as u64);
        let pairs = text.as_bytes().chunks_exact(2);
        let is_whole = text.len() == length * 2;
        let digits = |pair: &[u8]| Some(hex_digit(pair[0])? << 4 | hex_digit(pair[1])?);
        self.out.extend(pairs.map_while(digits));
        if !is_whole || self.out.len() - start != length + 1 {
            self.out.truncate(start);
            self.out.extend_from_slice(&[1, 0xff]);
        }
    }
}

fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// The field of that name, tried first where the last one found would have it next.
fn lookup(fields: &[Field], name: &str, expected: usize) -> Option<usize> {
    if fields.get(expected).is_some_and(|field| field.name == name) {
        return Some(expected);
    }
    fields.iter().position(|field| field.name == name)
}

fn put_bytes(out: &mut Vec<u8>, number: u32, bytes: &[u8]) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, bytes.len() as u64);
    out.extend_from_slice(bytes);
}

fn text<'a>(node: &'a Node<'_>) -> Result<&'a str, Fault> {
    match node {
        Node::String(text) => Ok(text),
        _ => Err(fault("must be a string")),
    }
}

/// base64 in the standard or the URL alphabet, padded or not (ProtoJSON takes all four).
fn decoded(text: &str) -> Result<Vec<u8>, Fault> {
    let standard = STANDARD_PAD_INDIFFERENT.decode(text);
    standard.or_else(|_| URL_SAFE_PAD_INDIFFERENT.decode(text)).map_err(|_| fault("must be base64"))
}

/// A number as the wire has it.
enum Number {
    Varint(u64),
    Fixed32(u32),
    Fixed64(u64),
}

fn number(kind: Kind, node: &Node<'_>) -> Result<Number, Fault> {
    Ok(match kind {
        Kind::Bool => match node {
            Node::Static(StaticNode::Bool(value)) => Number::Varint(u64::from(*value)),
            _ => return Err(fault("must be true or false")),
        },
        Kind::Enumeration => match node {
            Node::Static(_) => Number::Varint(i64::from(i32_of(node, "must be a number")?).cast_unsigned()),
            _ => return Err(fault("must be a number, not the name of an enumeration's value")),
        },
        Kind::Int32 => Number::Varint(i64::from(i32_of(node, "must be an integer of 32 bits")?).cast_unsigned()),
        Kind::Sint32 => {
            let value = i32_of(node, "must be an integer of 32 bits")?;
            // ZigZag: the sign goes to the lowest bit.
            Number::Varint(u64::from(((value << 1) ^ (value >> 31)).cast_unsigned()))
        }
        Kind::Uint32 => Number::Varint(u64::from(u32_of(node)?)),
        Kind::Fixed32 => Number::Fixed32(u32_of(node)?),
        Kind::Int64 => Number::Varint(i64_of(node)?.cast_unsigned()),
        Kind::Sfixed64 => Number::Fixed64(i64_of(node)?.cast_unsigned()),
        Kind::Uint64 => Number::Varint(u64_of(node)?),
        Kind::Fixed64 => Number::Fixed64(u64_of(node)?),
        Kind::Double => Number::Fixed64(f64_of(node)?.to_bits()),
        Kind::Text | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => return Err(fault("must be a number")),
    })
}

/// An integer, as a number or as text. Only integers come back, whatever their form (`5`, `5.0`, `"5"`).
fn integer(node: &Node<'_>) -> Option<i128> {
    match node {
        Node::Static(StaticNode::I64(value)) => Some(i128::from(*value)),
        Node::Static(StaticNode::U64(value)) => Some(i128::from(*value)),
        Node::Static(StaticNode::F64(value)) => whole(*value),
        Node::String(text) => match text.parse::<i64>() {
            Ok(value) => Some(i128::from(value)),
            Err(_) => text.parse::<u64>().ok().map(i128::from),
        },
        Node::Static(_) | Node::Object { .. } | Node::Array { .. } => None,
    }
}

/// The integer a double without a fraction is; JavaScript writes large ones with an exponent.
fn whole(value: f64) -> Option<i128> {
    // 2^64: beyond it no field has room, and below it the text of the number is exact.
    const LIMIT: f64 = 18_446_744_073_709_551_616.0;
    if value.fract() != 0.0 || value.abs() > LIMIT {
        return None;
    }
    format!("{value:.0}").parse().ok()
}

fn i32_of(node: &Node<'_>, expected: &'static str) -> Result<i32, Fault> {
    integer(node).and_then(|value| i32::try_from(value).ok()).ok_or_else(|| fault(expected))
}

fn u32_of(node: &Node<'_>) -> Result<u32, Fault> {
    let value = integer(node).and_then(|value| u32::try_from(value).ok());
    value.ok_or_else(|| fault("must be an integer of 32 bits and not negative"))
}

fn i64_of(node: &Node<'_>) -> Result<i64, Fault> {
    let value = integer(node).and_then(|value| i64::try_from(value).ok());
    value.ok_or_else(|| fault("must be an integer of 64 bits"))
}

fn u64_of(node: &Node<'_>) -> Result<u64, Fault> {
    let value = integer(node).and_then(|value| u64::try_from(value).ok());
    value.ok_or_else(|| fault("must be an integer of 64 bits and not negative"))
}

fn f64_of(node: &Node<'_>) -> Result<f64, Fault> {
    let expected = "must be a number, \"NaN\", \"Infinity\" or \"-Infinity\"";
    match node {
        Node::Static(StaticNode::F64(value)) => Ok(*value),
        Node::Static(StaticNode::I64(value)) => Ok(double(i128::from(*value))),
        Node::Static(StaticNode::U64(value)) => Ok(double(i128::from(*value))),
        Node::String("NaN") => Ok(f64::NAN),
        Node::String("Infinity") => Ok(f64::INFINITY),
        Node::String("-Infinity") => Ok(f64::NEG_INFINITY),
        // Rust would also read "inf" and "nan" in any case: only what begins as a number is one.
        Node::String(text) if text.starts_with(|c: char| c.is_ascii_digit() || c == '-' || c == '.') => {
            text.parse().ok().filter(|value: &f64| value.is_finite()).ok_or_else(|| fault(expected))
        }
        _ => Err(fault(expected)),
    }
}

/// The double nearest to an integer.
#[allow(clippy::cast_precision_loss, reason = "rounding to the nearest double is what a JSON number means")]
fn double(value: i128) -> f64 {
    value as f64
}
