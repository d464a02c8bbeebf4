//! Fields of protobuf messages as they are written here: numbers up to 15 alone, in one byte with their type.

use tailwater_proto::otlp::wire::put_varint;

/// Appends a field of eight bytes.
pub fn put_fixed64(out: &mut Vec<u8>, number: u8, value: u64) {
    out.push(number << 3 | 1);
    out.extend_from_slice(&value.to_le_bytes());
}

/// Appends a double, where there is one; also a zero, which is a value.
pub fn put_double(out: &mut Vec<u8>, number: u8, value: Option<f64>) {
    if let Some(value) = value {
        put_fixed64(out, number, value.to_bits());
    }
}

/// Appends a `sint32`.
pub fn put_signed(out: &mut Vec<u8>, number: u8, value: i32) {
    out.push(number << 3);
    put_varint(out, u64::from((value << 1 ^ value >> 31).cast_unsigned()));
}

/// Begins a message or a packed list, and says where it does; `tailwater_proto::otlp::wire::end_message` ends it.
pub fn begin_message(out: &mut Vec<u8>, number: u8) -> usize {
    out.extend_from_slice(&[number << 3 | 2, 0]);
    out.len()
}
