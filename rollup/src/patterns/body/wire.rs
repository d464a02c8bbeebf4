//! An `AnyValue` as JSON, as far as it is looked at. It was checked before: what is no protobuf ends the text.

use std::io::Write as _;
use tailwater_proto::otlp::wire::{Field, Reader, Value};

/// Appends the value until there are `bytes_max` bytes; what is cut is no JSON any more, and read as a text.
pub(super) fn put_json(out: &mut Vec<u8>, message: &[u8], bytes_max: usize) {
    let mut reader = Reader::new(message);
    let mut last = None;
    while let Ok(Some(field)) = reader.next_field() {
        if (1..=7).contains(&field.number) {
            last = Some(field);
        }
    }
    if let Some(field) = last {
        put_member(out, &field, bytes_max);
    } else {
        out.extend_from_slice(b"null");
    }
}

/// A member of the oneof: string 1, bool 2, int 3, double 4, array 5, key-value list 6, bytes 7.
fn put_member(out: &mut Vec<u8>, field: &Field<'_>, bytes_max: usize) {
    // Writing into a vector cannot fail.
    let _ = match (field.number, field.value) {
        (1, Value::Bytes(text)) => {
            put_text(out, text);
            Ok(())
        }
        (2, Value::Varint(value)) => out.write_all(if value == 0 { b"false" } else { b"true" }),
        (3, Value::Varint(value)) => write!(out, "{}", value.cast_signed()),
        (4, Value::Fixed64(bits)) => write!(out, "{}", f64::from_bits(bits)),
        (5, Value::Bytes(list)) => {
            put_list(out, list, bytes_max);
            Ok(())
        }
        (6, Value::Bytes(list)) => {
            put_map(out, list, bytes_max);
            Ok(())
        }
        _ => out.write_all(b"\"\""),
    };
}

fn put_list(out: &mut Vec<u8>, list: &[u8], bytes_max: usize) {
    out.push(b'[');
    let mut reader = Reader::new(list);
    let mut is_first = true;
    while let Ok(Some(field)) = reader.next_field() {
        let Ok(item) = field.bytes() else { continue };
        if out.len() >= bytes_max {
            return;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        put_json(out, item, bytes_max);
    }
    out.push(b']');
}

fn put_map(out: &mut Vec<u8>, list: &[u8], bytes_max: usize) {
    out.push(b'{');
    let mut reader = Reader::new(list);
    let mut is_first = true;
    while let Ok(Some(field)) = reader.next_field() {
        let Ok(pair) = field.bytes() else { continue };
        if out.len() >= bytes_max {
            return;
        }
        if !std::mem::take(&mut is_first) {
            out.push(b',');
        }
        let mut value: &[u8] = &[];
        let mut key: &[u8] = &[];
        let mut pair = Reader::new(pair);
        while let Ok(Some(field)) = pair.next_field() {
            match (field.number, field.value) {
                (1, Value::Bytes(text)) => key = text,
                (2, Value::Bytes(message)) => value = message,
                _ => {}
            }
        }
        put_text(out, key);
        out.push(b':');
        put_json(out, value, bytes_max);
    }
    out.push(b'}');
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    out.push(b'"');
    for byte in text {
        match byte {
            b'"' | b'\\' => out.extend_from_slice(&[b'\\', *byte]),
            b'\n' => out.extend_from_slice(b"\\n"),
            b'\t' => out.extend_from_slice(b"\\t"),
            0..0x20 => out.push(b' '),
            _ => out.push(*byte),
        }
    }
    out.push(b'"');
}
