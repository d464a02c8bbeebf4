//! Protobuf to JSON: one line for each request. Fields come in the order of their numbers whatever their order on the
//! wire, lists are gathered, of values that exclude one another the last holds, and zero values that mean the same as
//! nothing are left out.

use std::io::Write;
use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use super::ProtobufError;
use crate::otlp::Signal;
use crate::otlp::schema::{Field, Kind, Message, Presence, request};
use crate::otlp::wire::{Reader, Value, WireError};

/// Deepest nesting of messages below the request: prost and Go stop at the same.
const MESSAGES_MAX: usize = 100;

/// Writes a request as one line of OTLP/JSON, without a line end. Text that is not UTF-8 is repaired with U+FFFD,
/// unknown fields are left out.
///
/// # Errors
/// Any `ProtobufError`; `out` then ends in an unfinished line, which the caller cuts off.
pub fn from_protobuf(signal: Signal, bytes: &[u8], out: &mut Vec<u8>) -> Result<(), ProtobufError> {
    Writer { scratch: Vec::new(), out }.message(request(signal), bytes, 0)
}

/// A field found in a message: its place in the schema and its value's place in the message.
#[derive(Debug, Clone, Copy)]
struct Occurrence<'a> {
    field: usize,
    value: Value<'a>,
}

/// Of fields that exclude one another, the one that holds: the last on the wire.
#[derive(Debug, Clone, Copy)]
struct Chosen {
    field: usize,
    /// Its occurrences since another of the group: parts of one message, put together.
    parts: usize,
}

/// The writing of one request. `'a` is the request's lifetime.
struct Writer<'a, 'out> {
    /// Occurrences of all messages on the way down; each uses the end.
    scratch: Vec<Occurrence<'a>>,
    out: &'out mut Vec<u8>,
}

impl<'a> Writer<'a, '_> {
    fn message(&mut self, message: &'static Message, bytes: &'a [u8], depth: usize) -> Result<(), ProtobufError> {
        if depth > MESSAGES_MAX {
            return Err(ProtobufError::Depth(MESSAGES_MAX));
        }
        let base = self.scratch.len();
        let chosen = self.find_fields(message, bytes)?;
        self.scratch[base..].sort_by_key(|occurrence| occurrence.field);
        self.out.push(b'{');
        let mut separator: &[u8] = b"\"";
        let mut start = base;
        while let Some(Occurrence { field: position, .. }) = self.scratch.get(start).copied() {
            let end = start + self.scratch[start..].iter().take_while(|next| next.field == position).count();
            let field = &message.fields[position];
            let range = match chosen {
                _ if field.presence != Presence::OneOf => start..end,
                Some(chosen) if chosen.field == position => end - chosen.parts..end,
                _ => end..end,
            };
            start = end;
            if !range.is_empty() && !is_nothing(field, &self.scratch[end - 1].value) {
                self.out.extend_from_slice(separator);
                self.out.extend_from_slice(field.name.as_bytes());
                self.out.extend_from_slice(b"\":");
                separator = b",\"";
                self.field(field, range, depth)?;
            }
        }
        self.out.push(b'}');
        self.scratch.truncate(base);
        Ok(())
    }

    /// Appends the known fields of the message to the scratch, with their wire types checked.
    fn find_fields(&mut self, message: &'static Message, bytes: &'a [u8]) -> Result<Option<Chosen>, WireError> {
        let mut chosen: Option<Chosen> = None;
        let mut reader = Reader::new(bytes);
        while let Some(found) = reader.next_field()? {
            let Some(field) = message.fields.iter().position(|field| field.number == found.number) else { continue };
            let known = &message.fields[field];
            if !fits(known, &found.value) {
                return Err(WireError::FieldType { number: found.number, position: found.start });
            }
            if known.presence == Presence::OneOf {
                let parts = chosen.filter(|chosen| chosen.field == field).map_or(0, |chosen| chosen.parts);
                chosen = Some(Chosen { field, parts: parts + 1 });
            }
            self.scratch.push(Occurrence { field, value: found.value });
        }
        Ok(chosen)
    }

    /// Writes the value of a field from its occurrences, a range of the scratch that is not empty.
    fn field(&mut self, field: &'static Field, range: Range<usize>, depth: usize) -> Result<(), ProtobufError> {
        let last = self.scratch[range.end - 1].value;
        match (field.presence, field.kind) {
            (Presence::Repeated, Kind::Message(message)) => {
                let mut separator = b'[';
                for index in range {
                    self.out.push(separator);
                    separator = b',';
                    let Value::Bytes(bytes) = self.scratch[index].value else { continue };
                    self.message(message, bytes, depth + 1)?;
                }
                self.out.push(b']');
            }
            (Presence::Repeated, kind) => self.list(kind, range)?,
            (_, Kind::Message(message)) if range.len() == 1 => {
                if let Value::Bytes(bytes) = last {
                    self.message(message, bytes, depth + 1)?;
                }
            }
            // A message in parts is their concatenation: that is how protobuf merges.
            (_, Kind::Message(message)) => {
                let parts = self.scratch[range].iter().filter_map(|part| bytes_of(&part.value));
                let merged: Vec<u8> = parts.flatten().copied().collect();
                Writer { scratch: Vec::new(), out: self.out }.message(message, &merged, depth + 1)?;
            }
            (_, kind) => put_value(self.out, kind, &last),
        }
        Ok(())
    }

    /// A list of scalars, each of its occurrences one value or a packed run of them.
    fn list(&mut self, kind: Kind, range: Range<usize>) -> Result<(), ProtobufError> {
        let mut separator = b'[';
        for index in range {
            match (kind, self.scratch[index].value) {
                (Kind::Text | Kind::Bytes | Kind::Id(_), value)
                | (_, value @ (Value::Varint(_) | Value::Fixed32(_) | Value::Fixed64(_))) => {
                    self.out.push(separator);
                    separator = b',';
                    put_value(self.out, kind, &value);
                }
                (kind, Value::Bytes(packed)) => {
                    let mut run = Packed { kind, bytes: packed };
                    while let Some(value) = run.next_value()? {
                        self.out.push(separator);
                        separator = b',';
                        put_value(self.out, kind, &value);
                    }
                }
            }
        }
        if separator == b'[' {
            self.out.push(b'[');
        }
        self.out.push(b']');
        Ok(())
    }
}

fn bytes_of<'a>(value: &Value<'a>) -> Option<&'a [u8]> {
    match value {
        Value::Bytes(bytes) => Some(bytes),
        _ => None,
    }
}

/// A packed run of numbers.
struct Packed<'a> {
    kind: Kind,
    bytes: &'a [u8],
}

impl<'a> Packed<'a> {
    fn next_value(&mut self) -> Result<Option<Value<'a>>, WireError> {
        if self.bytes.is_empty() {
            return Ok(None);
        }
        let (value, length) = match wire_type(self.kind) {
            1 => {
                let chunk = self.bytes.first_chunk::<8>().ok_or(WireError::Truncated(0))?;
                (Value::Fixed64(u64::from_le_bytes(*chunk)), 8)
            }
            5 => {
                let chunk = self.bytes.first_chunk::<4>().ok_or(WireError::Truncated(0))?;
                (Value::Fixed32(u32::from_le_bytes(*chunk)), 4)
            }
            _ => varint(self.bytes)?,
        };
        self.bytes = &self.bytes[length..];
        Ok(Some(value))
    }
}

/// A varint at the start of `bytes`, and its length.
fn varint<'a>(bytes: &[u8]) -> Result<(Value<'a>, usize), WireError> {
    let mut value = 0_u64;
    for (index, byte) in bytes.iter().take(10).enumerate() {
        if index == 9 && *byte > 1 {
            return Err(WireError::Overlong(0));
        }
        value |= u64::from(byte & 0x7f) << (7 * index);
        if byte & 0x80 == 0 {
            return Ok((Value::Varint(value), index + 1));
        }
    }
    Err(WireError::Truncated(0))
}

fn wire_type(kind: Kind) -> u8 {
    match kind {
        Kind::Bool | Kind::Enumeration(_) | Kind::Int32 | Kind::Uint32 | Kind::Sint32 | Kind::Int64 | Kind::Uint64 => 0,
        Kind::Fixed64 | Kind::Sfixed64 | Kind::Double => 1,
        Kind::Fixed32 => 5,
        Kind::Text | Kind::Bytes | Kind::Id(_) | Kind::Message(_) => 2,
    }
}

/// Whether a field may have a value of that wire type. A list of numbers may be packed or not.
fn fits(field: &Field, value: &Value<'_>) -> bool {
    let found = match value {
        Value::Varint(_) => 0,
        Value::Fixed64(_) => 1,
        Value::Bytes(_) => 2,
        Value::Fixed32(_) => 5,
    };
    found == wire_type(field.kind) || (field.presence == Presence::Repeated && found == 2)
}

/// Whether a value means the same as none.
fn is_nothing(field: &Field, value: &Value<'_>) -> bool {
    field.presence == Presence::Implicit
        && match value {
            Value::Varint(value) | Value::Fixed64(value) => *value == 0,
            Value::Fixed32(value) => *value == 0,
            Value::Bytes(bytes) => bytes.is_empty(),
        }
}

fn put_value(out: &mut Vec<u8>, kind: Kind, value: &Value<'_>) {
    // Writing to a Vec does not fail.
    let _ = match (kind, value) {
        (Kind::Bool, Value::Varint(value)) => write!(out, "{}", *value != 0),
        (Kind::Enumeration(_) | Kind::Int32, Value::Varint(value)) => write!(out, "{}", low_bits(*value).cast_signed()),
        (Kind::Uint32, Value::Varint(value)) => write!(out, "{}", low_bits(*value)),
        (Kind::Sint32, Value::Varint(value)) => {
            let bits = low_bits(*value);
            write!(out, "{}", (bits >> 1).cast_signed() ^ -((bits & 1).cast_signed()))
        }
        (Kind::Int64, Value::Varint(value)) | (Kind::Sfixed64, Value::Fixed64(value)) => {
            write!(out, "\"{}\"", value.cast_signed())
        }
        (_, Value::Fixed32(value)) => write!(out, "{value}"),
        (Kind::Double, Value::Fixed64(value)) => put_double(out, f64::from_bits(*value)),
        (_, Value::Varint(value) | Value::Fixed64(value)) => write!(out, "\"{value}\""),
        (Kind::Id(_), Value::Bytes(bytes)) => put_hex(out, bytes),
        (Kind::Bytes, Value::Bytes(bytes)) => write!(out, "\"{}\"", STANDARD.encode(bytes)),
        (_, Value::Bytes(bytes)) => {
            put_text(out, bytes);
            Ok(())
        }
    };
}

/// The low 32 bits, which is what a decoder keeps of a longer varint.
fn low_bits(value: u64) -> u32 {
    let [a, b, c, d, ..] = value.to_le_bytes();
    u32::from_le_bytes([a, b, c, d])
}

fn put_double(out: &mut Vec<u8>, value: f64) -> std::io::Result<()> {
    if value.is_nan() {
        write!(out, "\"NaN\"")
    } else if value.is_infinite() {
        write!(out, "\"{}Infinity\"", if value < 0.0 { "-" } else { "" })
    } else {
        // The shortest text that reads as the same double, with an exponent where that is shorter.
        write!(out, "{value:?}")
    }
}

fn put_hex(out: &mut Vec<u8>, bytes: &[u8]) -> std::io::Result<()> {
    const DIGITS: &[u8; 16] = b"0123456789abcdef";
    out.push(b'"');
    for byte in bytes {
        out.push(DIGITS[usize::from(byte >> 4)]);
        out.push(DIGITS[usize::from(byte & 15)]);
    }
    out.push(b'"');
    Ok(())
}

/// Text in quotes, repaired where it is not UTF-8.
fn put_text(out: &mut Vec<u8>, bytes: &[u8]) {
    out.push(b'"');
    for chunk in bytes.utf8_chunks() {
        put_escaped(out, chunk.valid());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
    out.push(b'"');
}

fn put_escaped(out: &mut Vec<u8>, text: &str) {
    let mut plain = 0;
    for (index, byte) in text.bytes().enumerate() {
        if byte >= b' ' && byte != b'"' && byte != b'\\' {
            continue;
        }
        out.extend_from_slice(&text.as_bytes()[plain..index]);
        plain = index + 1;
        match byte {
            b'"' => out.extend_from_slice(b"\\\""),
            b'\\' => out.extend_from_slice(b"\\\\"),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\r' => out.extend_from_slice(b"\\r"),
            b'\t' => out.extend_from_slice(b"\\t"),
            other => {
                let _ = write!(out, "\\u{other:04x}");
            }
        }
    }
    out.extend_from_slice(&text.as_bytes()[plain..]);
}
