//! The text of a JSON document, piece by piece: strings, numbers, words, and where in the text one stands. Nothing is kept
//! of what was read.

use super::{JsonError, Place};
use crate::otlp::mend;

/// Why a piece is not JSON.
#[derive(Debug, Clone, Copy)]
pub(super) struct NotJson {
    /// Where in the text.
    pub(super) at: usize,
    /// What is wrong there.
    pub(super) cause: &'static str,
}

impl NotJson {
    /// The error, with the field that was being read.
    pub(super) fn within(self, text: &[u8], path: String) -> JsonError {
        JsonError::Syntax { place: Place::of(text, self.at), path, cause: self.cause }
    }
}

impl Place {
    /// The line and column, both from 1, of an offset in the text.
    pub(super) fn of(text: &[u8], offset: usize) -> Self {
        let offset = offset.min(text.len());
        let before = &text[..offset];
        let line = memchr::memchr_iter(b'\n', before).count() + 1;
        let column = offset - memchr::memrchr(b'\n', before).map_or(0, |newline| newline + 1) + 1;
        Self { line, column, offset }
    }
}

/// A value that is no list and no object.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Scalar<'a> {
    /// A string, unescaped, valid UTF-8.
    Text(&'a [u8]),
    /// A number as it is written.
    Number(&'a [u8]),
    Boolean(bool),
    Null,
}

/// A walk over the text.
#[derive(Debug)]
pub(super) struct Cursor<'t> {
    pub(super) text: &'t [u8],
    pub(super) at: usize,
    /// Where the walk is to be left.
    pub(super) until: usize,
    /// Whether all of the text is UTF-8, so that its strings need not be looked at again.
    pub(super) is_utf8: bool,
    /// Strings in which something became U+FFFD.
    pub(super) repaired: u32,
}

impl<'t> Cursor<'t> {
    #[inline]
    pub(super) fn peek(&self) -> Option<u8> {
        self.text.get(self.at).copied()
    }

    #[inline]
    pub(super) fn skip_space(&mut self) {
        while let Some(b' ' | b'\n' | b'\r' | b'\t') = self.peek() {
            self.at += 1;
        }
    }

    pub(super) fn wrong<T>(&self, cause: &'static str) -> Result<T, NotJson> {
        let cause = if self.at >= self.text.len() { "the text ends too early" } else { cause };
        Err(NotJson { at: self.at, cause })
    }

    /// Takes this byte.
    pub(super) fn take(&mut self, byte: u8, cause: &'static str) -> Result<(), NotJson> {
        if self.peek() != Some(byte) {
            return self.wrong(cause);
        }
        self.at += 1;
        Ok(())
    }

    /// Takes a value that is no list and no object. A string with escapes is put into `scratch`.
    #[inline]
    pub(super) fn scalar<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<Scalar<'a>, NotJson>
    where
        't: 'a,
    {
        match self.peek() {
            Some(b'"') => Ok(Scalar::Text(self.string(scratch)?)),
            Some(b'-' | b'0'..=b'9') => Ok(Scalar::Number(self.number()?)),
            Some(b't') => self.word(b"true", Scalar::Boolean(true)),
            Some(b'f') => self.word(b"false", Scalar::Boolean(false)),
            Some(b'n') => self.word(b"null", Scalar::Null),
            _ => self.wrong("a value must stand here"),
        }
    }

    fn word<'a>(&mut self, word: &[u8], means: Scalar<'a>) -> Result<Scalar<'a>, NotJson> {
        if !self.text[self.at..].starts_with(word) {
            return self.wrong("a value must stand here");
        }
        self.at += word.len();
        Ok(means)
    }

    pub(super) fn number(&mut self) -> Result<&'t [u8], NotJson> {
        let start = self.at;
        self.at += usize::from(self.peek() == Some(b'-'));
        if self.peek() == Some(b'0') {
            self.at += 1;
            if matches!(self.peek(), Some(b'0'..=b'9')) {
                return self.wrong("a number must not begin with 0");
            }
        } else {
            self.digits()?;
        }
        if self.peek() == Some(b'.') {
            self.at += 1;
            self.digits()?;
        }
        if let Some(b'e' | b'E') = self.peek() {
            self.at += 1;
            self.at += usize::from(matches!(self.peek(), Some(b'+' | b'-')));
            self.digits()?;
        }
        Ok(&self.text[start..self.at])
    }

    fn digits(&mut self) -> Result<(), NotJson> {
        let start = self.at;
        while let Some(b'0'..=b'9') = self.peek() {
            self.at += 1;
        }
        if self.at == start { self.wrong("a digit must stand here") } else { Ok(()) }
    }

    /// Takes a string. Escapes are undone; half a surrogate pair and bytes that are no UTF-8 become U+FFFD.
    #[inline]
    pub(super) fn string<'a>(&mut self, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], NotJson>
    where
        't: 'a,
    {
        let opening = self.at;
        self.take(b'"', "a string must stand here")?;
        let start = self.at;
        self.at = plain_end(self.text, start);
        match self.peek() {
            Some(b'"') => {
                let plain = &self.text[start..self.at];
                self.at += 1;
                if self.is_utf8 || plain.is_ascii() {
                    return Ok(plain);
                }
                scratch.clear();
                self.repaired += u32::from(put_repaired(plain, scratch));
                Ok(scratch)
            }
            _ => self.escaped(opening, start, scratch),
        }
    }

    /// The rest of a string that is not plain from `start` to its end.
    #[cold]
    fn escaped<'a>(&mut self, opening: usize, start: usize, scratch: &'a mut Vec<u8>) -> Result<&'a [u8], NotJson> {
        scratch.clear();
        let mut plain = start;
        let mut is_repaired = false;
        loop {
            is_repaired |= put_repaired(&self.text[plain..self.at], scratch);
            match self.peek() {
                Some(b'"') => {
                    self.at += 1;
                    self.repaired += u32::from(is_repaired);
                    return Ok(scratch);
                }
                Some(b'\\') => {
                    self.at += 1;
                    is_repaired |= self.escape(scratch)?;
                }
                Some(_) => return self.wrong("a control character in a string must be escaped"),
                None => return Err(NotJson { at: opening, cause: "the string that begins here does not end" }),
            }
            plain = self.at;
            self.at = plain_end(self.text, plain);
        }
    }

    /// Undoes an escape; true where it was half a surrogate pair.
    fn escape(&mut self, out: &mut Vec<u8>) -> Result<bool, NotJson> {
        let byte = match self.peek() {
            Some(byte @ (b'"' | b'\\' | b'/')) => byte,
            Some(b'b') => 8,
            Some(b'f') => 12,
            Some(b'n') => b'\n',
            Some(b'r') => b'\r',
            Some(b't') => b'\t',
            Some(b'u') => {
                self.at += 1;
                let unit = self.four_digits()?;
                let character = self.character(unit)?;
                out.extend_from_slice(character.encode_utf8(&mut [0; 4]).as_bytes());
                return Ok((0xd800..0xe000).contains(&unit) && character == char::REPLACEMENT_CHARACTER);
            }
            _ => return self.wrong("no escape is written so"),
        };
        self.at += 1;
        out.push(byte);
        Ok(false)
    }

    /// The character of a UTF-16 unit, with the second half of a pair if it follows. Half a pair alone is U+FFFD.
    fn character(&mut self, unit: u32) -> Result<char, NotJson> {
        if (0xd800..0xdc00).contains(&unit) && self.text[self.at..].starts_with(b"\\u") {
            let after_first = self.at;
            self.at += 2;
            let second = self.four_digits()?;
            if (0xdc00..0xe000).contains(&second) {
                let code = 0x1_0000 + ((unit - 0xd800) << 10) + (second - 0xdc00);
                return Ok(char::from_u32(code).unwrap_or(char::REPLACEMENT_CHARACTER));
            }
            // It is a character of its own, which comes next.
            self.at = after_first;
        }
        Ok(char::from_u32(unit).unwrap_or(char::REPLACEMENT_CHARACTER))
    }

    fn four_digits(&mut self) -> Result<u32, NotJson> {
        let mut value = 0;
        for _ in 0..4 {
            let digit = self.peek().and_then(hex_digit);
            let Some(digit) = digit else { return self.wrong("a hexadecimal digit must stand here") };
            value = value << 4 | u32::from(digit);
            self.at += 1;
        }
        Ok(value)
    }
}

pub(super) fn hex_digit(byte: u8) -> Option<u8> {
    match byte {
        b'0'..=b'9' => Some(byte - b'0'),
        b'a'..=b'f' => Some(byte - b'a' + 10),
        b'A'..=b'F' => Some(byte - b'A' + 10),
        _ => None,
    }
}

/// Appends text with U+FFFD for what is no UTF-8; true where there was any.
fn put_repaired(bytes: &[u8], out: &mut Vec<u8>) -> bool {
    if std::str::from_utf8(bytes).is_ok() {
        out.extend_from_slice(bytes);
        return false;
    }
    mend::put_repaired(bytes, out);
    true
}

/// Where the plain part of a string that begins at `at` ends: at a quote, a backslash or a control character, or at the
/// end of the text. Eight bytes at a time.
#[inline]
fn plain_end(text: &[u8], mut at: usize) -> usize {
    const ONES: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH: u64 = u64::from_ne_bytes([0x80; 8]);
    // Sets the high bit of each byte that is zero; of bytes above a zero one it may set more, and the first is right.
    let zeros = |word: u64| word.wrapping_sub(ONES) & !word & HIGH;
    while let Some(chunk) = text.get(at..).and_then(|rest| rest.first_chunk::<8>()) {
        let word = u64::from_le_bytes(*chunk);
        let quotes = zeros(word ^ (ONES * u64::from(b'"')));
        let backslashes = zeros(word ^ (ONES * u64::from(b'\\')));
        let controls = word.wrapping_sub(ONES * 0x20) & !word & HIGH;
        let found = quotes | backslashes | controls;
        if found != 0 {
            return at + (found.trailing_zeros() / 8) as usize;
        }
        at += 8;
    }
    while let Some(byte) = text.get(at) {
        if *byte < 0x20 || *byte == b'"' || *byte == b'\\' {
            return at;
        }
        at += 1;
    }
    at
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_plain_part_ends_where_it_ends_wherever_that_is() {
        for length in 0..40 {
            for stop in [b'"', b'\\', 0, 0x1f] {
                for plain in [b'a', b' ', 0x80, 0xff, b'!', b'#', b'[', b']'] {
                    let mut text = vec![plain; length];
                    assert_eq!(plain_end(&text, 0), length);
                    text.push(stop);
                    text.extend_from_slice(&[b'"'; 9]);
                    assert_eq!(plain_end(&text, 0), length, "{stop} after {length} of {plain}");
                }
            }
        }
    }

    #[test]
    fn places_are_counted_from_one() {
        let text = b"{\n  \"a\": x\n}";
        assert_eq!(Place::of(text, 9), Place { line: 2, column: 8, offset: 9 });
        assert_eq!(Place::of(text, 0), Place { line: 1, column: 1, offset: 0 });
        assert_eq!(Place::of(text, 99).offset, text.len());
    }
}
