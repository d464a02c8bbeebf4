//! Takes the variable parts out of a text: numbers, hexadecimal, UUIDs, addresses, paths, URLs, e-mail addresses, times,
//! durations, sizes, truth values, values of keys. One set of rules for all sources; a byte is looked at once.
//!
//! ```text
//!   text --class of each byte--> word | space | separator
//!   word --its classes together--> constant, or what varies
//! ```
//! What the rules do not see (names of people and machines) is found where shapes are compared, in `cluster`.

mod word;

use super::row::cut;
use super::token::Shape;
use word::Key;

/// Bytes of a text that are looked at. Messages are shorter; what is longer is data.
/// At the bound: the rest of the text counts for nothing.
pub(super) const TEXT_BYTES_MAX: usize = 4096;

/// Keys whose values are messages, the likeliest first.
pub(super) const MESSAGE_KEYS: &[&[u8]] =
    &[b"message", b"msg", b"log", b"body", b"event", b"error", b"err", b"exception", b"reason"];

/// Most places of a text at which masks of the configuration are applied.
/// At the bound: later places are left as they are.
const NAMED_PLACES_MAX: usize = 32;

pub(super) const DIGIT: u8 = 1;
pub(super) const LETTER: u8 = 2;
pub(super) const SPACE: u8 = 4;
pub(super) const SEPARATOR: u8 = 8;
pub(super) const SLASH: u8 = 16;
pub(super) const COLON: u8 = 32;
pub(super) const AT: u8 = 64;
pub(super) const PUNCTUATION: u8 = 128;

/// What each byte is.
pub(super) static CLASS: [u8; 256] = classes();

const fn classes() -> [u8; 256] {
    let mut table = [PUNCTUATION; 256];
    let mut byte: u8 = 0;
    loop {
        table[byte as usize] = match byte {
            0..=b' ' | 0x7f => SPACE,
            b'0'..=b'9' => DIGIT,
            b'a'..=b'z' | b'A'..=b'Z' | b'_' | 0x80.. => LETTER,
            b'=' | b',' | b'(' | b')' | b'[' | b']' | b'{' | b'}' | b'"' | b'\'' | b';' | b'|' | b'<' | b'>' | b'`' => {
                SEPARATOR
            }
            b'/' | b'\\' => SLASH,
            b':' => COLON,
            b'@' => AT,
            _ => PUNCTUATION,
        };
        if byte == u8::MAX {
            return table;
        }
        byte += 1;
    }
}

/// A mask of the configuration, compiled.
#[derive(Debug)]
pub(super) struct NamedMask {
    pub(super) name: Box<[u8]>,
    pub(super) regex: regex::bytes::Regex,
}

/// Adds a text to a shape, with the masks of the configuration.
pub(super) fn text(shape: &mut Shape, text: &[u8], masks: &[NamedMask]) {
    let text = cut(text, TEXT_BYTES_MAX);
    if masks.is_empty() {
        return plain(shape, text);
    }
    // The earliest place first, of those the longest.
    let mut places: Vec<(usize, std::cmp::Reverse<usize>, usize)> = Vec::new();
    for (index, mask) in masks.iter().enumerate() {
        // An expression without Unicode may find half a character.
        let is_whole = |at: usize| text.get(at).is_none_or(|byte| byte & 0xc0 != 0x80);
        let found = mask.regex.find_iter(text).take(NAMED_PLACES_MAX);
        let found = found.filter(|found| !found.is_empty() && is_whole(found.start()) && is_whole(found.end()));
        places.extend(found.map(|found| (found.start(), std::cmp::Reverse(found.end()), index)));
    }
    places.sort_unstable();
    let mut at = 0;
    for (start, end, index) in places {
        if start >= at {
            plain(shape, &text[at..start]);
            shape.named(&masks[index].name, &text[start..end.0]);
            at = end.0;
        }
    }
    plain(shape, &text[at..]);
}

/// Adds a text to a shape by the common rules.
pub(super) fn plain(shape: &mut Shape, text: &[u8]) {
    let mut at = 0;
    let mut key = Key::default();
    while let Some(byte) = text.get(at) {
        let class = CLASS[usize::from(*byte)];
        if class & SPACE != 0 {
            shape.space();
            key.end();
            at += 1;
        } else if class & SEPARATOR != 0 {
            at = separator(shape, text, at, &mut key);
        } else {
            at = word::take(shape, text, at, &mut key);
        }
        if shape.is_full() {
            return shape.wildcard(b"");
        }
    }
}

/// A separator stands for itself, but for what it tells of what follows.
fn separator(shape: &mut Shape, text: &[u8], at: usize, key: &mut Key) -> usize {
    match text[at] {
        // A bound of a number, such as in `<1 sec`.
        b'<' if text.get(at + 1).is_some_and(u8::is_ascii_digit) && word::is_measure(text, at + 1) => {
            key.end();
            return at + 1;
        }
        b'=' if key.just_ended(at) && !key.is_message(text) => {
            shape.word(b"=");
            // A quoted value ends where its quote does, which is no matter of words.
            if let Some(quote @ (b'"' | b'\'')) = text.get(at + 1)
                && let Some(length) = memchr::memchr(*quote, &text[at + 2..])
            {
                key.end();
                shape.wildcard(&text[at + 2..at + 2 + length]);
                return at + 3 + length;
            }
            key.set_value();
        }
        // Brackets that stand by themselves hold a value, also where it is empty.
        b'(' if text.get(at + 1) == Some(&b')') && at > 0 && CLASS[usize::from(text[at - 1])] & SPACE != 0 => {
            key.end();
            shape.word(b"(");
            shape.wildcard(b"");
            shape.word(b")");
            return at + 2;
        }
        byte => {
            key.end();
            shape.word(&[byte]);
        }
    }
    at + 1
}

#[cfg(test)]
mod tests;
