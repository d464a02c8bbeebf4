//! A word of a text: whether it is part of the message or something that varies.

use super::{AT, CLASS, COLON, DIGIT, LETTER, MESSAGE_KEYS, PUNCTUATION, SEPARATOR, SLASH, SPACE};
use crate::patterns::token::Shape;

/// Longest word that is taken for one; what is longer is data.
/// At the bound: the word is a wildcard.
const WORD_BYTES_MAX: usize = 48;

/// Units behind a number that are taken with it, so that `370 B` and `5.2 KB` look alike.
const UNITS: &[&[u8]] = &[
    b"B", b"b", b"KB", b"kB", b"MB", b"GB", b"TB", b"KiB", b"MiB", b"GiB", b"TiB", b"byte", b"bytes", b"ns", b"us",
    b"ms", b"s", b"sec", b"secs", b"second", b"seconds", b"m", b"min", b"mins", b"minute", b"minutes", b"h", b"hr",
    b"hrs", b"hour", b"hours", b"d", b"day", b"days", b"%",
];

/// Words that are values, whatever the sentence.
const VALUES: &[&[u8]] = &[b"true", b"false", b"null", b"none", b"nil", b"nan"];

const DATES: &[&[u8; 3]] = &[
    b"Mon", b"Tue", b"Wed", b"Thu", b"Fri", b"Sat", b"Sun", b"Jan", b"Feb", b"Mar", b"Apr", b"May", b"Jun", b"Jul",
    b"Aug", b"Sep", b"Oct", b"Nov", b"Dec",
];

/// The word before a `=`, and whether a value follows.
#[derive(Debug, Default, Clone, Copy)]
pub(super) struct Key {
    start: usize,
    end: usize,
    value_follows: bool,
}

impl Key {
    pub(super) fn end(&mut self) {
        *self = Self::default();
    }

    /// Whether a word ended at this place.
    pub(super) fn just_ended(&self, at: usize) -> bool {
        self.end == at && self.start < at
    }

    pub(super) fn is_message(&self, text: &[u8]) -> bool {
        let key = &text[self.start..self.end];
        MESSAGE_KEYS.iter().any(|known| key.eq_ignore_ascii_case(known))
    }

    pub(super) fn set_value(&mut self) {
        *self = Self { value_follows: true, ..Self::default() };
    }
}

/// Adds the word that starts at `start`; where it ends.
#[inline]
pub(super) fn take(shape: &mut Shape, text: &[u8], start: usize, key: &mut Key) -> usize {
    let (mut end, mut classes, mut digits) = (start, 0, 0u32);
    while let Some(byte) = text.get(end) {
        let class = CLASS[usize::from(*byte)];
        if class & (SPACE | SEPARATOR) != 0 {
            break;
        }
        classes |= class;
        digits += u32::from(class & DIGIT);
        end += 1;
    }
    let is_value = std::mem::take(&mut key.value_follows);
    (key.start, key.end) = (start, end);
    let word = &text[start..end];
    if classes == LETTER && !is_value && word.len() > 5 && word.len() <= WORD_BYTES_MAX {
        shape.word(word);
        return end;
    }
    if is_value {
        return value(shape, text, start, end);
    }
    if classes == LETTER { letters(shape, text, start, end) } else { mixed(shape, text, (start, end), classes, digits) }
}

/// A value of a key varies, whatever it is. A comma at its end belongs to the sentence.
fn value(shape: &mut Shape, text: &[u8], start: usize, end: usize) -> usize {
    let word = &text[start..end];
    let kept = trailing(word);
    shape.wildcard(&word[..word.len() - kept]);
    if kept > 0 {
        shape.word(&word[word.len() - kept..]);
    }
    end
}

/// A short or very long word of letters alone.
fn letters(shape: &mut Shape, text: &[u8], start: usize, end: usize) -> usize {
    let word = &text[start..end];
    let varies = match word.len() {
        3 => VALUES.iter().any(|value| word.eq_ignore_ascii_case(value)) || (is_date(word) && date_goes_on(text, end)),
        0..=5 => VALUES.iter().any(|value| word.eq_ignore_ascii_case(value)),
        length => length > WORD_BYTES_MAX,
    };
    if varies {
        shape.wildcard(word);
    } else {
        shape.word(word);
    }
    end
}

fn is_date(word: &[u8]) -> bool {
    DATES.iter().any(|name| word == *name)
}

/// Whether a number or a month follows the name of a day or month.
fn date_goes_on(text: &[u8], end: usize) -> bool {
    let rest = &text[end..];
    let rest = rest.strip_prefix(b",").unwrap_or(rest);
    let Some(rest) = rest.strip_prefix(b" ") else { return false };
    rest.iter().find(|byte| **byte != b' ').is_some_and(u8::is_ascii_digit)
        || rest.first_chunk::<3>().is_some_and(|word| is_date(word))
}

/// A word that is not of letters alone.
fn mixed(shape: &mut Shape, text: &[u8], (start, end): (usize, usize), classes: u8, digits: u32) -> usize {
    if classes & SLASH != 0
        && let Some(end) = path(shape, text, start, end)
    {
        return end;
    }
    let whole = &text[start..end];
    let head = leading(whole);
    if head == whole.len() {
        shape.word(whole);
        return end;
    }
    let tail = trailing(&whole[head..]);
    let word = &whole[head..whole.len() - tail];
    if head > 0 {
        shape.word(&whole[..head]);
    }
    if classes & DIGIT != 0 && classes & LETTER == 0 && tail == 0 && is_number(word) {
        let measured = measure_end(text, end).map_or(end, |end| also_in_brackets(text, end));
        shape.wildcard(&text[start + head..measured]);
        return measured;
    }
    core(shape, word, classes, digits);
    if tail > 0 {
        shape.word(&whole[whole.len() - tail..]);
    }
    end
}

/// A word without the punctuation around it.
fn core(shape: &mut Shape, word: &[u8], classes: u8, digits: u32) {
    if classes & COLON != 0
        && let Some(at) = key_length(word)
    {
        let (key, rest) = word.split_at(at);
        shape.word(key);
        shape.word(b":");
        let rest = &rest[1..];
        let classes = rest.iter().fold(0, |classes, byte| classes | CLASS[usize::from(*byte)]);
        let digits = rest.iter().map(|byte| u32::from(CLASS[usize::from(*byte)] & DIGIT)).sum();
        return core(shape, rest, classes, digits);
    }
    let varies = if digits > 0 {
        !is_name_with_digit(word, digits)
    } else {
        word.len() > WORD_BYTES_MAX
            || VALUES.iter().any(|value| word.eq_ignore_ascii_case(value))
            || (classes & AT != 0 && is_mail(word))
            || (classes & SLASH != 0 && word.iter().filter(|byte| matches!(byte, b'/' | b'\\')).count() > 1)
    };
    if varies {
        shape.wildcard(word);
    } else {
        shape.word(word);
    }
}

/// The length of a key that stands before a single colon: letters, and `-`.
fn key_length(word: &[u8]) -> Option<usize> {
    let at = word.iter().position(|byte| CLASS[usize::from(*byte)] & LETTER == 0 && *byte != b'-')?;
    (at >= 2 && word[at] == b':' && word.get(at + 1).is_some_and(|byte| *byte != b':')).then_some(at)
}

/// A single digit right behind letters is part of a name: `ssh2`, `eth0`, `ipv6`.
fn is_name_with_digit(word: &[u8], digits: u32) -> bool {
    digits == 1
        && word.len() <= WORD_BYTES_MAX
        && !word.contains(&b'/')
        && word.iter().position(u8::is_ascii_digit).is_some_and(|at| at >= 2 && word[at - 1].is_ascii_alphabetic())
}

fn is_mail(word: &[u8]) -> bool {
    memchr::memchr(b'@', word).is_some_and(|at| at > 0 && word[at..].contains(&b'.'))
}

/// Punctuation before a word; the sign or point of a number is not such.
fn leading(word: &[u8]) -> usize {
    let mut at = 0;
    while at < word.len() && CLASS[usize::from(word[at])] & (PUNCTUATION | COLON | AT) != 0 {
        let of_number = matches!(word[at], b'-' | b'+' | b'.') && word.get(at + 1).is_some_and(u8::is_ascii_digit);
        if of_number {
            break;
        }
        at += 1;
    }
    at
}

/// The length of the punctuation behind a word.
fn trailing(word: &[u8]) -> usize {
    word.iter()
        .rev()
        .take_while(|byte| CLASS[usize::from(**byte)] & (PUNCTUATION | COLON) != 0 && **byte != b'%')
        .count()
}

/// Whether it is a number as people write it, and no time or address.
fn is_number(word: &[u8]) -> bool {
    word.iter().all(|byte| matches!(byte, b'0'..=b'9' | b'.' | b'-' | b'+'))
}

/// Whether a number and its unit stand here.
pub(super) fn is_measure(text: &[u8], at: usize) -> bool {
    let length = text[at..].iter().take_while(|byte| matches!(byte, b'0'..=b'9' | b'.')).count();
    length > 0 && measure_end(text, at + length).is_some()
}

/// Where the unit behind a number ends.
fn measure_end(text: &[u8], end: usize) -> Option<usize> {
    let rest = text[end..].strip_prefix(b" ")?;
    let length = rest.iter().take(8).take_while(|byte| byte.is_ascii_alphabetic() || **byte == b'%').count();
    let follows = rest.get(length).map_or(SPACE, |byte| CLASS[usize::from(*byte)]);
    let ends = follows & (LETTER | DIGIT | COLON | SLASH) == 0;
    (length > 0 && ends && UNITS.contains(&&rest[..length])).then_some(end + 1 + length)
}

/// The same in another unit, in brackets: `1190 bytes (1.16 KB)`.
fn also_in_brackets(text: &[u8], end: usize) -> usize {
    let Some(rest) = text[end..].strip_prefix(b" (") else { return end };
    let length = rest.iter().take(12).take_while(|byte| matches!(byte, b'0'..=b'9' | b'.')).count();
    let start = end + 2 + length;
    match measure_end(text, start) {
        Some(unit) if length > 0 && text.get(unit) == Some(&b')') => unit + 1,
        _ => end,
    }
}

/// A path or a URL goes on to the next space, quote or bracket, whatever is in it.
fn path(shape: &mut Shape, text: &[u8], start: usize, end: usize) -> Option<usize> {
    let word = &text[start..end];
    let scheme = memchr::memmem::find(word, b"://");
    let is_path = match word {
        [b'/', next, ..] => CLASS[usize::from(*next)] & (LETTER | DIGIT) != 0 || *next == b'.',
        [b'~' | b'.', b'/', _, ..] | [b'.', b'.', b'/', ..] => true,
        [drive, b':', b'\\' | b'/', ..] => drive.is_ascii_alphabetic(),
        [b'\\', b'\\', _, ..] => true,
        _ => false,
    };
    if !is_path && scheme.is_none_or(|at| at < 2) {
        return None;
    }
    let mut end = end;
    while let Some(byte) = text.get(end) {
        let goes_on = match byte {
            b'=' | b';' | b'|' | b'{' | b'}' => true,
            b',' => text.get(end + 1).is_some_and(|next| CLASS[usize::from(*next)] & (LETTER | DIGIT) != 0),
            byte => CLASS[usize::from(*byte)] & (SPACE | SEPARATOR) == 0,
        };
        if !goes_on {
            break;
        }
        end += 1;
    }
    let tail = trailing(&text[start..end]);
    shape.wildcard(&text[start..end - tail]);
    if tail > 0 {
        shape.word(&text[end - tail..end]);
    }
    Some(end)
}
