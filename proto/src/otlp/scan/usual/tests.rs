//! The straight lines against the general walk, `any_field` from the first byte to the last: the same attributes in the same
//! order, the same facts, the same fault, for spans of every shape and for what damage makes of them.

use super::super::{Scan, any_field, end_span};
use super::*;
use crate::otlp::scan::SpanFault;
use crate::otlp::wire::{put_header, put_varint};

/// All that a visitor is told of a span, and how it ended.
#[derive(Debug, Default, PartialEq)]
struct Told {
    attributes: Vec<String>,
    facts: Vec<String>,
    outcome: Option<Result<(), SpanFault>>,
}

impl TraceVisitor for Told {
    fn resource_begin(&mut self) {}
    fn resource_attribute(&mut self, _: KeyValue<'_>) {}
    fn resource(&mut self, _: &[u8]) {}
    fn scope_begin(&mut self) {}
    fn scope_end(&mut self, _: &[u8]) {}
    fn span_begin(&mut self) {}
    fn span_attribute(&mut self, attribute: KeyValue<'_>) {
        self.attributes.push(format!("{attribute:?}"));
    }
    fn span(&mut self, facts: &SpanFacts<'_>) {
        self.facts.push(format!("{facts:?}"));
    }
    fn span_refused(&mut self, _: SpanFault) {}
}

fn empty_facts(bytes: &[u8]) -> SpanFacts<'_> {
    SpanFacts::of(bytes, 0)
}

fn generally(bytes: &[u8]) -> Told {
    let mut told = Told::default();
    let (mut reader, mut ids, mut facts) = (Reader::new(bytes), Ids::default(), empty_facts(bytes));
    let mut walk = || {
        while !reader.rest().is_empty() {
            any_field(&mut reader, &mut ids, &mut facts, &mut told)?;
        }
        end_span(&ids, facts, &mut told)
    };
    let outcome = walk();
    told.outcome = Some(outcome);
    told
}

fn scanned(bytes: &[u8]) -> Told {
    let mut told = Told::default();
    let scan = Scan { request: bytes, span_bytes_max: u32::MAX, envelope: Vec::new() };
    told.outcome = Some(scan.span(bytes, &mut told));
    told
}

/// Compares the two; true when the span is sound.
fn agree(bytes: &[u8]) -> bool {
    let general = generally(bytes);
    assert_eq!(scanned(bytes), general, "{bytes:02x?}");
    general.outcome == Some(Ok(()))
}

/// Whether no part of a span was left to the general walk.
fn is_usual(bytes: &[u8]) -> bool {
    let mut facts = empty_facts(bytes);
    let Some(start) = Start::take(bytes, &mut facts) else { return false };
    let rest = attributes(start.rest, &mut Ascii::unknown(), &mut Told::default());
    end(rest, &mut facts).is_empty()
}

/// A seeded generator, and how often in 256 it writes something as few senders do.
struct Random {
    state: u64,
    oddness: u64,
}

impl Random {
    fn new(seed: u64, oddness: u64) -> Self {
        Self { state: seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x5851_f42d_4c95_7f2d, oddness }
    }

    fn below(&mut self, bound: usize) -> usize {
        self.state = self.state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.state >> 33) as usize % bound
    }

    fn is_odd(&mut self) -> bool {
        (self.below(256) as u64) < self.oddness
    }

    fn bytes(&mut self, length: usize) -> Vec<u8> {
        (0..length).map(|_| self.below(256) as u8).collect()
    }

    /// A text, which is now and then not ASCII or not UTF-8.
    fn text(&mut self) -> Vec<u8> {
        let length = match self.below(16) {
            0 => 0,
            1 => 120 + self.below(16),
            2 if self.is_odd() => 16_370 + self.below(40),
            3 => 127 + self.below(400),
            _ => self.below(24),
        };
        let mut text: Vec<u8> = (0..length).map(|_| b"abcxyz./-_ 019"[self.below(14)]).collect();
        if self.is_odd() {
            let at = self.below(length + 1);
            text.splice(at..at, "\u{e9}\u{4e2d}\u{1f600}".bytes());
        }
        if self.is_odd() && !text.is_empty() {
            let at = self.below(text.len());
            text[at] = [0x80, 0xff, 0xc3, 0x7f][self.below(4)];
        }
        text
    }

    /// A varint, now and then in more bytes than it takes, or in too many.
    fn varint(&mut self, out: &mut Vec<u8>, value: u64) {
        let from = out.len();
        put_varint(out, value);
        if self.is_odd() {
            let most = if self.is_odd() { 12 } else { 3 };
            for _ in 0..1 + self.below(most) {
                *out.last_mut().unwrap() |= 0x80;
                out.push(0);
            }
            assert!(out.len() > from + 1);
        }
    }

    fn part(&mut self, out: &mut Vec<u8>, number: u64, payload: &[u8]) {
        let number = if self.is_odd() { self.below(20) as u64 } else { number };
        let wire_type = if self.is_odd() { self.below(8) as u64 } else { 2 };
        self.varint(out, number << 3 | wire_type);
        self.varint(out, payload.len() as u64);
        out.extend_from_slice(payload);
    }

    fn number(&mut self, out: &mut Vec<u8>, number: u64) {
        self.varint(out, number << 3);
        let value = self.integer();
        self.varint(out, value);
    }

    fn integer(&mut self) -> u64 {
        let bits = self.below(64);
        let value = self.state.rotate_left(17) >> bits;
        [value, 0, 1, 2, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152, u64::MAX][self.below(11)]
    }

    fn value(&mut self, depth: usize) -> Vec<u8> {
        let mut out = Vec::new();
        let kinds = if depth == 0 { 6 } else { 8 };
        for _ in 0..if self.is_odd() { self.below(4) } else { 1 } {
            match self.below(kinds) {
                0 | 1 => {
                    let text = self.text();
                    self.part(&mut out, 1, &text);
                }
                2 => self.number(&mut out, 2),
                3 => self.number(&mut out, 3),
                4 => {
                    self.varint(&mut out, 4 << 3 | 1);
                    let double = self.bytes(8);
                    out.extend(double);
                }
                5 => {
                    let length = self.below(40);
                    let bytes = self.bytes(length);
                    self.part(&mut out, 7, &bytes);
                }
                6 => {
                    let items = self.items(|random| random.value(depth - 1));
                    self.part(&mut out, 5, &items);
                }
                _ => {
                    let items = self.items(|random| random.key_value(depth - 1));
                    self.part(&mut out, 6, &items);
                }
            }
        }
        out
    }

    fn items(&mut self, item: impl Fn(&mut Self) -> Vec<u8>) -> Vec<u8> {
        let mut out = Vec::new();
        for _ in 0..self.below(4) {
            let item = item(self);
            self.part(&mut out, 1, &item);
        }
        out
    }

    fn key_value(&mut self, depth: usize) -> Vec<u8> {
        let mut parts = Vec::new();
        let (key, value) = (self.text(), self.value(depth));
        for (number, payload) in [(1, key), (2, value)] {
            if !self.is_odd() {
                let mut part = Vec::new();
                self.part(&mut part, number, &payload);
                parts.push(part);
            }
        }
        if self.is_odd() {
            let again = self.value(depth);
            let mut part = Vec::new();
            self.part(&mut part, 2, &again);
            parts.push(part);
        }
        if self.is_odd() {
            parts.reverse();
        }
        parts.concat()
    }

    /// A span. Without oddness it is sound, and of the usual shape but for nested values.
    fn span(&mut self) -> Vec<u8> {
        let mut fields = vec![self.id(1, 16), self.id(2, 8)];
        if self.below(4) == 0 {
            fields.push(self.text_field(3));
        }
        if self.below(4) > 0 {
            fields.push(self.id(4, 8));
        }
        fields.push(self.text_field(5));
        if self.below(8) > 0 {
            let kind = self.below(6) as u8;
            fields.push(vec![6 << 3, kind]);
        }
        for number in [7, 8] {
            let mut field = vec![number << 3 | 1];
            field.extend(self.bytes(8));
            fields.push(field);
        }
        for _ in 0..self.below(8) {
            let attribute = self.key_value(2);
            let mut field = Vec::new();
            self.part(&mut field, 9, &attribute);
            fields.push(field);
        }
        self.tail(&mut fields);
        if self.is_odd() {
            for _ in 0..2 {
                let (one, other) = (self.below(fields.len()), self.below(fields.len()));
                fields.swap(one, other);
            }
        }
        if self.is_odd() {
            let again = fields[self.below(fields.len())].clone();
            fields.insert(self.below(fields.len()), again);
        }
        fields.concat()
    }

    fn tail(&mut self, fields: &mut Vec<Vec<u8>>) {
        for number in [10, 12, 14] {
            if self.below(4) == 0 {
                fields.push(vec![number << 3, 5]);
            }
        }
        if self.is_odd() {
            fields.push(self.text_field(11));
            fields.push(self.text_field(13));
            fields.push(self.text_field(1000));
        }
        match self.below(6) {
            0 => fields.push(vec![0x7a, 0]),
            1 => fields.push(vec![0x7a, 2, 0x18, 2]),
            2 => fields.push([&[0x7a, 7, 0x12, 3][..], b"bad", &[0x18, 2]].concat()),
            _ => {}
        }
        if self.below(4) > 0 {
            let mut field = vec![0x85, 1];
            field.extend(self.bytes(4));
            fields.push(field);
        }
    }

    fn id(&mut self, number: u64, length: usize) -> Vec<u8> {
        let length = if self.is_odd() { self.below(20) } else { length };
        let mut id = self.bytes(length);
        if self.is_odd() {
            id.fill(0);
        }
        let mut field = Vec::new();
        self.part(&mut field, number, &id);
        field
    }

    fn text_field(&mut self, number: u64) -> Vec<u8> {
        let text = self.text();
        let mut field = Vec::new();
        self.part(&mut field, number, &text);
        field
    }
}

/// Breaks where any check of `usual` is left out: of a length, a tag, the high bytes, a text, what is behind a value.
#[test]
fn odd_spans_are_told_as_the_general_walk_tells_them() {
    let (mut sound, mut all) = (0, 0);
    for oddness in [0, 2, 6, 20] {
        for seed in 0..8_000 {
            sound += u32::from(agree(&Random::new(seed, oddness).span()));
            all += 1;
        }
    }
    assert!(sound > all / 3 && sound < all * 2 / 3, "{sound} of {all}: both outcomes are to be common");
}

#[test]
fn a_span_cut_or_changed_anywhere_is_told_as_the_general_walk_tells_it() {
    let mut sound = 0;
    for seed in 0..120 {
        let span = Random::new(seed, seed % 3).span();
        let span = &span[..span.len().min(700)];
        for at in 0..span.len() {
            agree(&span[..at]);
            let mut changed = span.to_vec();
            let own = changed[at];
            for byte in [0, 1, 2, 8, 0x7f, 0x80, 0xff, own.wrapping_add(1), own.wrapping_sub(1), own ^ 0x80, own ^ 8] {
                changed[at] = byte;
                sound += u32::from(agree(&changed));
            }
            changed.remove(at);
            agree(&changed);
            changed.splice(at..at, [own, own]);
            agree(&changed);
        }
    }
    assert!(sound > 100_000, "{sound}: many changes do no harm");
}

/// The seeds of the property above are sound and usual without oddness, so that it is this path that is compared.
#[test]
fn usual_spans_are_taken_to_their_end() {
    let (mut usual, mut sound) = (0, 0);
    for seed in 0..2_000 {
        let span = Random::new(seed, 0).span();
        sound += u32::from(agree(&span));
        usual += u32::from(is_usual(&span));
    }
    assert_eq!(sound, 2_000);
    // What is left to the general walk: lists in lists, names of 128 bytes, a status with a message.
    assert!(usual > 600, "{usual}");
}

/// Each kind of value of each length around those at which its length gets another byte.
#[test]
fn values_of_every_kind_and_length_are_taken_as_they_are() {
    let head = [&[0x0a, 16][..], &[1; 16], &[0x12, 8], &[2; 8]].concat();
    let wrapped = |tag: u32, payload: &[u8]| {
        let mut out = Vec::new();
        put_header(&mut out, tag, payload.len());
        out.extend_from_slice(payload);
        out
    };
    for key in [0, 1, 40, 126, 127, 128, 200] {
        for length in (0..140).chain([16_370, 16_383, 16_384, 16_390]) {
            let text = vec![b't'; length];
            for value in [
                wrapped(1, &text),
                wrapped(7, &vec![0xff; length]),
                wrapped(5, &wrapped(1, &wrapped(1, &text))),
                wrapped(6, &wrapped(1, &[wrapped(1, b"k"), wrapped(2, &wrapped(1, &text))].concat())),
            ] {
                let attribute = [wrapped(1, &vec![b'k'; key]), wrapped(2, &value)].concat();
                let span = [&head[..], &wrapped(9, &attribute), &[0x85, 1, 1, 0, 0, 0]].concat();
                assert!(agree(&span));
                assert!(is_usual(&span) || attribute.len() >= 16_384 - 4, "{key} {length}");
            }
        }
    }
}

/// Breaks where the lengths of an attribute and of its key are not held against one another.
#[test]
fn a_key_is_no_longer_than_its_attribute() {
    let mut sound = 0;
    for (length, key) in (0..128_u8).flat_map(|length| (0..128_u8).map(move |key| (length, key))) {
        // What would stand behind the key, if lengths of one byte could be negative.
        let value = length.wrapping_sub(key).wrapping_sub(2) & 0x7f;
        let mut span = [&[0x0a, 16][..], &[1; 16], &[0x12, 8], &[2; 8], &[0x4a, length, 0x0a, key]].concat();
        span.extend(vec![b'k'; usize::from(key)]);
        if let Some(text) = value.checked_sub(4) {
            span.extend([0x12, text + 2, 0x0a, text]);
            span.extend(vec![b't'; usize::from(text)]);
        }
        span.extend([0x85, 1, 1, 0, 0, 0]);
        sound += u32::from(agree(&span));
    }
    assert!(sound > 7_000, "{sound}");
}

#[test]
fn the_first_high_byte_is_found_wherever_it_is() {
    for length in 0..150 {
        assert_eq!(left_from_high(&vec![0x7f; length]), 0);
        for at in 0..length {
            let mut bytes = vec![b'a'; length];
            bytes[at] = 0x80;
            bytes[length - 1] |= 0x80;
            assert_eq!(left_from_high(&bytes), length - at);
        }
    }
}
