//! The protobuf wire format: reading fields as borrowed slices and writing the few shapes that are re-framed.
//!
//! ```text
//! message = field*          field = tag value          tag = varint(number << 3 | type)
//! type 0 varint   type 1 eight bytes little-endian   type 2 varint length, bytes   type 5 four bytes
//! ```
//! Source: protobuf encoding guide. Types 3 and 4 (groups) do not occur in OTLP and are refused.

use thiserror::Error;

/// Bytes that are no protobuf message. Nothing was changed; the request they came in is to be refused whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum WireError {
    /// A field runs past the end of its message.
    #[error("a field at byte {0} runs past the end of its message")]
    Truncated(usize),
    /// A variable-length integer has more than 10 bytes or more than 64 bits.
    #[error("the integer at byte {0} is longer than 64 bits")]
    Overlong(usize),
    /// A tag with field number 0, or above 2^29 - 1.
    #[error("the tag at byte {0} has an impossible field number")]
    FieldNumber(usize),
    /// A group or an unassigned wire type.
    #[error("the tag at byte {0} has an unsupported wire type")]
    WireType(usize),
    /// A known field that has another wire type than its definition says.
    #[error("field {number} at byte {position} has the wrong wire type")]
    FieldType {
        /// The field's number in its message.
        number: u32,
        /// Byte offset in the message walked.
        position: usize,
    },
}

/// One field's value as it lies in the message.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Value<'a> {
    /// Wire type 0.
    Varint(u64),
    /// Wire type 1.
    Fixed64(u64),
    /// Wire type 2: strings, bytes, messages, packed lists.
    Bytes(&'a [u8]),
    /// Wire type 5.
    Fixed32(u32),
}

/// One field of a message.
#[derive(Debug, Clone, Copy)]
pub struct Field<'a> {
    /// The field's number.
    pub number: u32,
    /// Its value.
    pub value: Value<'a>,
    /// Offset of its tag in the message.
    pub start: usize,
}

impl<'a> Field<'a> {
    /// The bytes of a length-delimited field.
    ///
    /// # Errors
    /// `FieldType` when the field has another wire type.
    #[inline]
    pub fn bytes(&self) -> Result<&'a [u8], WireError> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong_type()),
        }
    }

    /// The integer of a varint field.
    ///
    /// # Errors
    /// `FieldType` when the field has another wire type.
    #[inline]
    pub fn varint(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    /// The integer of an eight-byte field.
    ///
    /// # Errors
    /// `FieldType` when the field has another wire type.
    #[inline]
    pub fn fixed64(&self) -> Result<u64, WireError> {
        match self.value {
            Value::Fixed64(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    /// The integer of a four-byte field.
    ///
    /// # Errors
    /// `FieldType` when the field has another wire type.
    #[inline]
    pub fn fixed32(&self) -> Result<u32, WireError> {
        match self.value {
            Value::Fixed32(value) => Ok(value),
            _ => Err(self.wrong_type()),
        }
    }

    #[cold]
    fn wrong_type(&self) -> WireError {
        WireError::FieldType { number: self.number, position: self.start }
    }
}

/// Walks the fields of one message, front to back, without copying.
#[derive(Debug, Clone)]
pub struct Reader<'a> {
    rest: &'a [u8],
    length: usize,
}

impl<'a> Reader<'a> {
    /// A walk over `message`.
    #[inline]
    #[must_use]
    pub fn new(message: &'a [u8]) -> Self {
        Self { rest: message, length: message.len() }
    }

    /// Offset of the next unread byte in the message.
    #[inline]
    #[must_use]
    pub fn position(&self) -> usize {
        self.length - self.rest.len()
    }

    /// What has not been read yet.
    #[inline]
    #[must_use]
    pub fn rest(&self) -> &'a [u8] {
        self.rest
    }

    /// Goes on at `rest`, an end of what has not been read yet.
    #[inline]
    pub(in crate::otlp) fn go_on_at(&mut self, rest: &'a [u8]) {
        self.rest = rest;
    }

    /// Takes a length-delimited field as `part` does, if the next one is such.
    #[inline]
    pub(in crate::otlp) fn next_part(&mut self, tag: u8) -> Option<&'a [u8]> {
        let (bytes, rest) = part(self.rest, tag)?;
        self.rest = rest;
        Some(bytes)
    }

    /// The next field, or `None` at the message's end.
    ///
    /// # Errors
    /// Any `WireError` except `FieldType`; the walk can't go on after one.
    #[inline]
    pub fn next_field(&mut self) -> Result<Option<Field<'a>>, WireError> {
        let start = self.position();
        let (number, wire_type) = match self.rest {
            [] => return Ok(None),
            // Field numbers 1 to 15 have one-byte tags.
            [tag @ 0x08..0x80, rest @ ..] => {
                self.rest = rest;
                (u32::from(*tag >> 3), *tag & 7)
            }
            _ => self.tag_long(start)?,
        };
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => Value::Fixed64(u64::from_le_bytes(self.array()?)),
            2 => Value::Bytes(self.length_delimited()?),
            5 => Value::Fixed32(u32::from_le_bytes(self.array()?)),
            _ => return Err(WireError::WireType(start)),
        };
        Ok(Some(Field { number, value, start }))
    }

    /// A tag of more than one byte, or a bad one.
    #[cold]
    fn tag_long(&mut self, start: usize) -> Result<(u32, u8), WireError> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).unwrap_or(u32::MAX);
        if number == 0 || number > FIELD_NUMBER_MAX {
            return Err(WireError::FieldNumber(start));
        }
        Ok((number, tag.to_le_bytes()[0] & 7))
    }

    #[inline]
    fn length_delimited(&mut self) -> Result<&'a [u8], WireError> {
        let length = self.varint()?;
        let split = usize::try_from(length).ok().and_then(|length| self.rest.split_at_checked(length));
        let Some((bytes, rest)) = split else { return Err(WireError::Truncated(self.position())) };
        self.rest = rest;
        Ok(bytes)
    }

    #[inline]
    fn array<const N: usize>(&mut self) -> Result<[u8; N], WireError> {
        let Some((chunk, rest)) = self.rest.split_first_chunk::<N>() else {
            return Err(WireError::Truncated(self.position()));
        };
        self.rest = rest;
        Ok(*chunk)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, WireError> {
        match self.rest {
            [byte @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(*byte))
            }
            // Lengths and small integers past one byte have two.
            [low, high @ 0..0x80, rest @ ..] => {
                self.rest = rest;
                Ok(u64::from(low & 0x7f) | u64::from(*high) << 7)
            }
            _ => self.varint_long(),
        }
    }

    fn varint_long(&mut self) -> Result<u64, WireError> {
        let start = self.position();
        let mut value = 0u64;
        for (index, &byte) in self.rest.iter().take(VARINT_BYTES_MAX).enumerate() {
            if index == VARINT_BYTES_MAX - 1 && byte > 1 {
                return Err(WireError::Overlong(start));
            }
            value |= u64::from(byte & 0x7f) << (7 * index);
            if byte < 0x80 {
                self.rest = &self.rest[index + 1..];
                return Ok(value);
            }
        }
        if self.rest.len() >= VARINT_BYTES_MAX {
            Err(WireError::Overlong(start))
        } else {
            Err(WireError::Truncated(start))
        }
    }
}

/// A 64-bit varint has at most ten bytes.
const VARINT_BYTES_MAX: usize = 10;
/// Field numbers have 29 bits.
const FIELD_NUMBER_MAX: u32 = (1 << 29) - 1;

/// The payload of the length-delimited field that `bytes` begins with, and what is behind it, where the field has this
/// one-byte tag and a length of one or two bytes. Nearly all have; of others nothing is said.
#[inline(always)]
pub(in crate::otlp) fn part(bytes: &[u8], tag: u8) -> Option<(&[u8], &[u8])> {
    match bytes {
        [found, length @ 0..0x80, rest @ ..] if *found == tag => rest.split_at_checked(usize::from(*length)),
        [found, low, high @ 0..0x80, rest @ ..] if *found == tag => {
            rest.split_at_checked(usize::from(low & 0x7f) | usize::from(*high) << 7)
        }
        _ => None,
    }
}

/// Appends `value` as a varint.
#[inline]
pub fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value.to_le_bytes()[0] | 0x80);
        value >>= 7;
    }
    out.push(value.to_le_bytes()[0]);
}

/// The number of bytes `put_varint` appends for `value`.
#[inline]
#[must_use]
pub fn varint_length(value: u64) -> usize {
    let bits = 64 - (value | 1).leading_zeros() as usize;
    bits.div_ceil(7)
}

/// Appends the tag and length of a length-delimited field whose payload of `length` bytes follows.
#[inline]
pub fn put_header(out: &mut Vec<u8>, number: u32, length: usize) {
    put_varint(out, u64::from(number) << 3 | 2);
    put_varint(out, length as u64);
}

/// Puts the length before a payload that starts at `payload_at` and ends where `out` ends. One byte of room stands before
/// it, which is enough for most; a longer length moves the payload.
#[inline]
pub fn end_message(out: &mut Vec<u8>, payload_at: usize) {
    let length = out.len() - payload_at;
    if let Ok(short) = u8::try_from(length)
        && short < 0x80
    {
        out[payload_at - 1] = short;
        return;
    }
    let room = varint_length(length as u64) - 1;
    let payload_end = out.len();
    out.resize(payload_end + room, 0);
    out.copy_within(payload_at..payload_end, payload_at + room);
    let mut rest = length as u64;
    for byte in &mut out[payload_at - 1..payload_at + room] {
        *byte = rest.to_le_bytes()[0] | 0x80;
        rest >>= 7;
    }
    out[payload_at + room - 1] &= 0x7f;
}

/// The number of bytes a length-delimited field takes with its tag and length.
#[inline]
#[must_use]
pub fn field_length(number: u32, length: usize) -> usize {
    varint_length(u64::from(number) << 3) + varint_length(length as u64) + length
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn varints_round_trip_at_every_width() {
        for bits in 0..64 {
            for value in [1u64 << bits, (1u64 << bits) - 1, u64::MAX >> bits] {
                let mut out = Vec::new();
                put_varint(&mut out, value);
                assert_eq!(out.len(), varint_length(value), "{value}");
                assert_eq!(Reader::new(&out).varint(), Ok(value));
            }
        }
    }

    #[test]
    fn bad_integers_and_tags_are_named() {
        let next = |bytes: &[u8]| Reader::new(bytes).next_field().map(|_| ());
        assert_eq!(next(&[0xff; 11]), Err(WireError::Overlong(0)));
        assert_eq!(next(&[0xff; 9]), Err(WireError::Truncated(0)));
        assert_eq!(
            next(&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02]),
            Err(WireError::Overlong(1))
        );
        assert_eq!(next(&[0x00]), Err(WireError::FieldNumber(0)));
        assert_eq!(next(&[0x0b]), Err(WireError::WireType(0)), "groups");
        assert_eq!(next(&[0x0a, 0x05, 1, 2]), Err(WireError::Truncated(2)));
        assert_eq!(
            next(&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01]),
            Err(WireError::Truncated(11))
        );
        assert_eq!(next(&[0x09, 1, 2, 3]), Err(WireError::Truncated(1)));
    }

    #[test]
    fn header_length_agrees_with_what_is_written() {
        for length in [0usize, 1, 127, 128, 16_383, 16_384, 5_000_000] {
            let mut out = Vec::new();
            put_header(&mut out, 2, length);
            assert_eq!(out.len() + length, field_length(2, length));
        }
    }
}
