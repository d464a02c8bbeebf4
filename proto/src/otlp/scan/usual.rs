//! The usual span, taken in straight lines: fields in the order of their numbers, tags and lengths in their shortest form,
//! attributes of a key and then one value. Nearly every span of nearly every sender is of this shape from end to end.
//!
//! ```text
//! 0a 10 trace_id  12 08 span_id  [1a n trace_state]  [22 08 parent]  [2a n name]  [30 kind]  [39 start  41 end]
//! 4a n ( 0a n key  12 n ( 0a n text | 10 bool | 18 integer | 21 double | 2a n list | 32 n map | 3a n bytes ) )*
//! [50 count]  [60 count]  [70 count]  [7a 00 | 7a 02 18 code]  [85 01 flags]
//! ```
//! Nothing is refused here. A field that is of another shape, or not sound, is left where it is: `any_field` takes it, or
//! says what is wrong with it. What is taken here `any_field` would have taken as the same.

use super::{Ids, SpanFacts, SpanFault, TraceVisitor};
use crate::otlp::check::{AnyValue, KeyValue, is_ascii};
use crate::otlp::wire::{Reader, part};

/// Tags of a span's fields, of one byte: field number, wire type.
const TRACE_ID: u8 = 1 << 3 | 2;
const SPAN_ID: u8 = 2 << 3 | 2;
const TRACE_STATE: u8 = 3 << 3 | 2;
const PARENT_SPAN_ID: u8 = 4 << 3 | 2;
const NAME: u8 = 5 << 3 | 2;
const KIND: u8 = 6 << 3;
const START: u8 = 7 << 3 | 1;
const END: u8 = 8 << 3 | 1;
const ATTRIBUTE: u8 = 9 << 3 | 2;
const ATTRIBUTES_DROPPED: u8 = 10 << 3;
const EVENTS_DROPPED: u8 = 12 << 3;
const LINKS_DROPPED: u8 = 14 << 3;
const STATUS: u8 = 15 << 3 | 2;
/// The tag of field 16 has two.
const FLAGS: [u8; 2] = [0x80 | 5, 1];
/// Of a `Status`.
const CODE: u8 = 3 << 3;
/// Of a `KeyValue`.
const KEY: u8 = 1 << 3 | 2;
const VALUE: u8 = 2 << 3 | 2;
/// Of an `AnyValue`.
const TEXT: u8 = 1 << 3 | 2;
const BOOLEAN: u8 = 2 << 3;
const INTEGER: u8 = 3 << 3;
const DOUBLE: u8 = 4 << 3 | 1;
const LIST: u8 = 5 << 3 | 2;
const MAP: u8 = 6 << 3 | 2;
const BYTES: u8 = 7 << 3 | 2;
/// Of an `ArrayValue` and of a `KeyValueList`.
const ITEM: u8 = 1 << 3 | 2;

/// What stands before the attributes.
pub(super) struct Start<'a> {
    trace_id: &'a [u8; 16],
    span_id: &'a [u8; 8],
    parent: Option<&'a [u8; 8]>,
    /// What is left of the span.
    pub(super) rest: &'a [u8],
}

impl<'a> Start<'a> {
    /// Takes what stands before the attributes, the rest of it into `facts`. `None` where it does not begin with its ids.
    #[inline(always)]
    pub(super) fn take(bytes: &'a [u8], facts: &mut SpanFacts<'a>) -> Option<Self> {
        let ([trace_tag, 16, ids @ ..], rest) = bytes.split_first_chunk::<28>()? else { return None };
        let (trace_id, [span_tag, 8, span_id @ ..]) = ids.split_first_chunk::<16>()? else { return None };
        if [*trace_tag, *span_tag] != [TRACE_ID, SPAN_ID] {
            return None;
        }
        let mut start = Self { trace_id, span_id: span_id.first_chunk()?, parent: None, rest };
        start.take_more(facts);
        Some(start)
    }

    #[inline(always)]
    fn take_more(&mut self, facts: &mut SpanFacts<'a>) {
        if let [TRACE_STATE, length @ 0..0x80, after @ ..] = self.rest {
            match after.split_at_checked(usize::from(*length)) {
                Some((state, after)) if is_ascii(state) => (facts.trace_state, self.rest) = (state, after),
                _ => return,
            }
        }
        if let Some(([PARENT_SPAN_ID, 8, parent @ ..], after)) = self.rest.split_first_chunk::<10>() {
            (self.parent, self.rest) = (Some(parent), after);
        }
        if let [NAME, length @ 0..0x80, after @ ..] = self.rest {
            match after.split_at_checked(usize::from(*length)) {
                Some((name, after)) if is_ascii(name) => (facts.name, self.rest) = (name, after),
                _ => return,
            }
        }
        if let [KIND, kind @ 0..0x80, after @ ..] = self.rest {
            (facts.kind, self.rest) = (u64::from(*kind), after);
        }
        if let Some((times, after)) = self.rest.split_first_chunk::<18>()
            && let ([START, start @ ..], [END, end @ ..]) = halves(times)
        {
            (facts.start_unix_nano, facts.end_unix_nano) = (u64::from_le_bytes(*start), u64::from_le_bytes(*end));
            self.rest = after;
        }
    }

    /// The ids as the general walk knows them.
    #[inline]
    pub(super) fn ids(&self) -> Ids<'a> {
        Ids { trace: self.trace_id, span: self.span_id, parent: self.parent.map_or(&[], |parent| parent) }
    }

    /// Checks the ids and adds them to `facts`. As `Ids::check`, whose lengths are known here.
    #[inline(always)]
    pub(super) fn check(&self, facts: &mut SpanFacts<'a>) -> Result<(), SpanFault> {
        if u128::from_le_bytes(*self.trace_id) == 0 {
            return Err(SpanFault::TraceId);
        }
        if u64::from_le_bytes(*self.span_id) == 0 {
            return Err(SpanFault::SpanId);
        }
        let parent = self.parent.map_or(0, |parent| u64::from_le_bytes(*parent));
        facts.is_root = parent == 0;
        (facts.trace_id, facts.span_id, facts.parent_span_id) = (*self.trace_id, *self.span_id, parent.to_le_bytes());
        Ok(())
    }
}

#[inline(always)]
fn halves(times: &[u8; 18]) -> (&[u8; 9], &[u8; 9]) {
    let (start, end) = times.split_at(9);
    (start.first_chunk().unwrap_or(&[0; 9]), end.first_chunk().unwrap_or(&[0; 9]))
}

/// Takes what stands behind the attributes; returns what is left.
#[inline(always)]
pub(super) fn end<'a>(mut rest: &'a [u8], facts: &mut SpanFacts<'a>) -> &'a [u8] {
    // Nearly always there are the flags and nothing else.
    if let [first, second, flags @ ..] = rest
        && let (FLAGS, Ok(flags)) = ([*first, *second], flags.try_into())
    {
        facts.flags = u32::from_le_bytes(flags);
        return &[];
    }
    loop {
        if let Some(([first, second, flags @ ..], after)) = rest.split_first_chunk::<6>()
            && [*first, *second] == FLAGS
        {
            (facts.flags, rest) = (u32::from_le_bytes(*flags), after);
            continue;
        }
        rest = match rest {
            [STATUS, 0, after @ ..] => after,
            [STATUS, 2, CODE, code @ 0..0x80, after @ ..] => {
                facts.status_code = u64::from(*code);
                after
            }
            [ATTRIBUTES_DROPPED | EVENTS_DROPPED | LINKS_DROPPED, 0..0x80, after @ ..] => after,
            _ => return rest,
        };
    }
}

/// How far a span is known to be ASCII: found once for all texts up to the next byte that is not.
#[derive(Debug)]
pub(super) struct Ascii {
    /// What is left of the span from that byte on; all of it and more while nothing is known.
    left: usize,
}

impl Ascii {
    /// Nothing is known.
    pub(super) fn unknown() -> Self {
        Self { left: usize::MAX }
    }

    /// Has it known from `rest` on, an end of the span.
    #[inline(always)]
    fn look_from(&mut self, rest: &[u8]) {
        if rest.len() < self.left {
            self.left = left_from_high(rest);
        }
    }

    /// Whether all is ASCII from where it was last looked from to where `after` bytes of the span are left.
    #[inline(always)]
    fn is_known_up_to(&self, after: usize) -> bool {
        after >= self.left
    }
}

const HIGH: u64 = 0x8080_8080_8080_8080;

/// What is left of `bytes` from the first on that is not ASCII.
#[inline(never)]
fn left_from_high(bytes: &[u8]) -> usize {
    let mut rest = bytes;
    while let Some((block, after)) = rest.split_first_chunk::<32>() {
        // Compiled to one mask of the high bits of a whole register.
        if block.iter().filter(|byte| byte.is_ascii()).count() < block.len() {
            break;
        }
        rest = after;
    }
    if let Some(at) = rest.first_chunk::<32>().and_then(first_high) {
        return rest.len() - at;
    }
    // Less than a block is left.
    while let Some((word, after)) = rest.split_first_chunk::<8>() {
        if u64::from_le_bytes(*word) & HIGH != 0 {
            break;
        }
        rest = after;
    }
    rest.iter().position(|byte| !byte.is_ascii()).map_or(0, |at| rest.len() - at)
}

/// Where the first byte is that is not ASCII.
#[inline(always)]
fn first_high(block: &[u8; 32]) -> Option<usize> {
    let (words, _) = block.as_chunks::<8>();
    let found = words.iter().position(|word| u64::from_le_bytes(*word) & HIGH != 0)?;
    let high = u64::from_le_bytes(words[found]) & HIGH;
    Some(found * 8 + (high.trailing_zeros() / 8) as usize)
}

/// Takes attributes until one is not as usual; returns what is left.
// By itself, so that the loop has all registers.
#[inline(never)]
pub(super) fn attributes<'a>(rest: &'a [u8], ascii: &mut Ascii, visitor: &mut impl TraceVisitor) -> &'a [u8] {
    // What is known is kept for the next attributes of the span: it must not be looked through again and again.
    let mut known = Ascii { ..*ascii };
    let rest = attributes_within(rest, &mut known, visitor);
    *ascii = known;
    rest
}

#[inline(always)]
fn attributes_within<'a>(mut rest: &'a [u8], ascii: &mut Ascii, visitor: &mut impl TraceVisitor) -> &'a [u8] {
    loop {
        if let Some(short) = ShortAttribute::first_of(rest, ascii) {
            let value_and_after = short.value.len() + short.after.len();
            if let Some(text) = short.text() {
                if ascii.is_known_up_to(short.after.len()) {
                    visitor.span_attribute(KeyValue { key: short.key, value: AnyValue::Text(text) });
                    rest = short.after;
                    continue;
                }
            } else if let Some(number) = short.number()
                && ascii.is_known_up_to(value_and_after)
            {
                visitor.span_attribute(KeyValue { key: short.key, value: number });
                rest = short.after;
                continue;
            }
        }
        let [ATTRIBUTE, ..] = rest else { return rest };
        match longer_attribute(rest, ascii, visitor) {
            Some(after) => rest = after,
            None => return rest,
        }
    }
}

/// An attribute of less than 128 bytes: its key, its value with tag and length, and what is behind it. None of it is
/// checked but the lengths.
struct ShortAttribute<'a> {
    key: &'a [u8],
    value: &'a [u8],
    value_length: u32,
    after: &'a [u8],
}

/// `4a n 0a n` as a number, where both lengths have one byte.
const HEAD: u32 = (ATTRIBUTE as u32) | (KEY as u32) << 16;
const HEAD_MASK: u32 = 0x80ff_80ff;
/// `12 n 0a n` as a number, less what its two lengths add: a value of n bytes in all has n - 2 and n - 4 there.
const TEXT_HEAD: u32 = ((VALUE as u32) | (TEXT as u32) << 16).wrapping_sub(2 << 8 | 4 << 24);
const TEXT_LENGTHS: u32 = 1 << 8 | 1 << 24;

impl<'a> ShortAttribute<'a> {
    #[inline(always)]
    fn first_of(rest: &'a [u8], ascii: &mut Ascii) -> Option<Self> {
        let (head, behind) = rest.split_first_chunk::<4>()?;
        let head = u32::from_le_bytes(*head);
        if head & HEAD_MASK != HEAD {
            return None;
        }
        ascii.look_from(rest);
        let (length, key_length) = (head >> 8 & 0x7f, head >> 24);
        let (key, behind) = behind.split_at_checked(key_length as usize)?;
        // Of a key that is longer than its attribute this makes more than there is.
        let value_length = length.wrapping_sub(key_length + 2);
        let (value, after) = behind.split_at_checked(value_length as usize)?;
        Some(Self { key, value, value_length, after })
    }

    /// Its value, when that is a text.
    #[inline(always)]
    fn text(&self) -> Option<&'a [u8]> {
        let (head, text) = self.value.split_first_chunk::<4>()?;
        let of_text = TEXT_HEAD.wrapping_add(self.value_length.wrapping_mul(TEXT_LENGTHS));
        (u32::from_le_bytes(*head) == of_text).then_some(text)
    }

    /// Its value, when that is a truth value, an integer of up to three bytes, or a double.
    #[inline(always)]
    fn number(&self) -> Option<AnyValue<'a>> {
        let (head, more) = self.value.split_first_chunk::<4>()?;
        let head = u32::from_le_bytes(*head);
        let byte = i64::from(head >> 24);
        let low = byte & 0x7f;
        match (head & 0x00ff_ffff, more) {
            (INTEGER_OF_1, []) if byte < 0x80 => Some(AnyValue::Integer(byte)),
            (INTEGER_OF_2, [last @ 0..0x80]) if byte >= 0x80 => Some(AnyValue::Integer(low | i64::from(*last) << 7)),
            (INTEGER_OF_3, [middle @ 0x80..=0xff, last @ 0..0x80]) if byte >= 0x80 => {
                Some(AnyValue::Integer(low | i64::from(middle & 0x7f) << 7 | i64::from(*last) << 14))
            }
            (BOOLEAN_OF_1, []) if byte < 0x80 => Some(AnyValue::Boolean(byte != 0)),
            (DOUBLE_HEAD, _) if more.len() == 7 => Some(AnyValue::Other(&self.value[2..])),
            _ => None,
        }
    }
}

/// `12 n` and the tag of the value, as a number.
const fn value_head(length: u32, tag: u8) -> u32 {
    VALUE as u32 | length << 8 | (tag as u32) << 16
}

const INTEGER_OF_1: u32 = value_head(2, INTEGER);
const INTEGER_OF_2: u32 = value_head(3, INTEGER);
const INTEGER_OF_3: u32 = value_head(4, INTEGER);
const BOOLEAN_OF_1: u32 = value_head(2, BOOLEAN);
const DOUBLE_HEAD: u32 = value_head(9, DOUBLE);

/// Takes an attribute of any other usual value, of any length of up to two bytes, and of texts that need not be ASCII;
/// returns what is behind it.
#[inline(never)]
fn longer_attribute<'a>(rest: &'a [u8], ascii: &mut Ascii, visitor: &mut impl TraceVisitor) -> Option<&'a [u8]> {
    let (message, after) = part(rest, ATTRIBUTE)?;
    let (key, value) = part(message, KEY)?;
    let (value, nothing) = part(value, VALUE)?;
    let is_known = ascii.is_known_up_to(after.len());
    if !nothing.is_empty() || !is_known && !is_text(key) {
        return None;
    }
    let value = match value {
        [TEXT, ..] => {
            let (text, nothing) = part(value, TEXT)?;
            if !nothing.is_empty() {
                return None;
            }
            let from = rest.len() - after.len() - text.len();
            ascii.look_from(&rest[from..]);
            if !ascii.is_known_up_to(after.len()) && std::str::from_utf8(text).is_err() {
                return None;
            }
            AnyValue::Text(text)
        }
        [INTEGER, ..] => AnyValue::Integer(integer(value)?),
        [BYTES, ..] if part(value, BYTES)?.1.is_empty() => AnyValue::Other(value),
        [LIST, ..] if is_flat(part(value, LIST)?, |item| is_scalar(item, is_known)) => AnyValue::Other(value),
        [MAP, ..] if is_flat(part(value, MAP)?, |item| is_entry(item, is_known)) => AnyValue::Other(value),
        _ => return None,
    };
    visitor.span_attribute(KeyValue { key, value });
    Some(after)
}

/// An integer and nothing else.
#[inline]
fn integer(value: &[u8]) -> Option<i64> {
    let mut reader = Reader::new(value);
    let number = reader.next_field().ok()??.varint().ok()?;
    reader.rest().is_empty().then_some(number.cast_signed())
}

#[inline(always)]
fn is_text(bytes: &[u8]) -> bool {
    is_ascii(bytes) || std::str::from_utf8(bytes).is_ok()
}

/// Whether a list or map has nothing behind it and nothing in it but items that `is_sound` knows.
#[inline(always)]
fn is_flat((mut items, nothing): (&[u8], &[u8]), is_sound: impl Fn(&[u8]) -> bool) -> bool {
    while let Some((item, after)) = part(items, ITEM) {
        if !is_sound(item) {
            return false;
        }
        items = after;
    }
    items.is_empty() && nothing.is_empty()
}

/// Whether an entry of a map is an ASCII key and then a scalar; `is_known` says that all of it is ASCII.
#[inline(always)]
fn is_entry(entry: &[u8], is_known: bool) -> bool {
    let Some((key, value)) = part(entry, KEY) else { return false };
    (is_known || is_ascii(key))
        && part(value, VALUE).is_some_and(|(value, nothing)| nothing.is_empty() && is_scalar(value, is_known))
}

/// Whether a value is a sound scalar, its text ASCII, and nothing else.
#[inline(always)]
fn is_scalar(value: &[u8], is_known: bool) -> bool {
    match value {
        [TEXT, ..] => {
            part(value, TEXT).is_some_and(|(text, nothing)| nothing.is_empty() && (is_known || is_ascii(text)))
        }
        [BOOLEAN | INTEGER, 0..0x80] => true,
        [INTEGER, ..] => integer(value).is_some(),
        [DOUBLE, double @ ..] => double.len() == 8,
        _ => false,
    }
}

#[cfg(test)]
mod tests;
