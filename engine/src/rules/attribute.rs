//! Leaves on attributes. One look-up by length, first and last byte finds whether any policy asks for a key; only
//! then is the value read. Of duplicate keys the first occurrence counts, as in the reference.

use regex::Regex;
use tailwater_proto::otlp::check::{AnyValue, KeyValue};

/// Where an attribute stands. The reference treats an empty string differently on the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// On the resource around the span.
    Resource,
    /// On the span itself.
    Span,
}

/// What a leaf asks of a value.
#[derive(Debug, Clone)]
pub enum Test {
    /// The text is one of these. Empty texts never are.
    TextAmong(Vec<Box<[u8]>>),
    /// The text matches the expression; other types read as the empty text.
    TextMatches(Regex),
    /// The integer is within bounds, inclusive; other types read as 0.
    IntegerWithin(i64, i64),
    /// The truth value is this one; other types read as false.
    BooleanIs(bool),
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TextAmong(mine), Self::TextAmong(theirs)) => mine == theirs,
            (Self::TextMatches(mine), Self::TextMatches(theirs)) => mine.as_str() == theirs.as_str(),
            (Self::IntegerWithin(low, high), Self::IntegerWithin(other_low, other_high)) => {
                (low, high) == (other_low, other_high)
            }
            (Self::BooleanIs(mine), Self::BooleanIs(theirs)) => mine == theirs,
            _ => false,
        }
    }
}

impl Test {
    fn holds(&self, value: AnyValue<'_>, site: Site) -> bool {
        match self {
            Self::TextAmong(values) => {
                let text = value.text().unwrap_or_default();
                !text.is_empty() && values.iter().any(|candidate| **candidate == *text)
            }
            Self::TextMatches(pattern) => {
                let text = value.text().unwrap_or_default();
                // The scan has checked the text; a value it did not is no match.
                let matches = || std::str::from_utf8(text).is_ok_and(|text| pattern.is_match(text));
                (site == Site::Resource || !text.is_empty()) && matches()
            }
            Self::IntegerWithin(low, high) => (*low..=*high).contains(&value.integer().unwrap_or(0)),
            Self::BooleanIs(wanted) => value.boolean().unwrap_or(false) == *wanted,
        }
    }
}

/// A leaf: its bit and its test.
#[derive(Debug, PartialEq)]
struct Leaf {
    bit: u16,
    test: Test,
}

/// One key that some policy asks for.
#[derive(Debug)]
struct Key {
    name: Box<[u8]>,
    leaves: Vec<Leaf>,
    /// The next key of the same bucket, plus one; 0 ends the chain.
    next: u16,
}

/// All leaves on attributes, by key.
#[derive(Debug)]
pub struct AttributeRules {
    keys: Vec<Key>,
    /// By `bucket(key)`: the first key of the chain, plus one; 0 for none.
    buckets: [u16; BUCKETS],
}

/// Buckets of the key look-up; keys are few, so that most buckets are empty.
const BUCKETS: usize = 256;

/// Which keys a span or resource has shown already: one bit a key.
#[derive(Debug, Default)]
pub struct SeenKeys(Vec<u64>);

impl SeenKeys {
    /// Forgets everything; ready for the next span.
    #[inline]
    pub fn clear(&mut self) {
        self.0.fill(0);
    }

    /// Marks `key`; true when it was not marked before.
    #[inline]
    fn first(&mut self, key: usize) -> bool {
        let Some(word) = self.0.get_mut(key / 64) else { return false };
        let bit = 1u64 << (key % 64);
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

impl Default for AttributeRules {
    fn default() -> Self {
        Self { keys: Vec::new(), buckets: [0; BUCKETS] }
    }
}

impl AttributeRules {
    /// Adds a leaf on `key`, or finds an equal one; returns its bit. `next_bit` is the bit a new leaf gets.
    pub(super) fn leaf(&mut self, key: &str, test: Test, next_bit: u16) -> u16 {
        let position = self.keys.iter().position(|known| *known.name == *key.as_bytes()).unwrap_or_else(|| {
            let bucket = bucket(key.as_bytes());
            self.keys.push(Key { name: key.as_bytes().into(), leaves: Vec::new(), next: self.buckets[bucket] });
            // One leaf at least per key and leaves have 16-bit numbers, so the count fits.
            self.buckets[bucket] = u16::try_from(self.keys.len()).unwrap_or(u16::MAX);
            self.keys.len() - 1
        });
        let leaves = &mut self.keys[position].leaves;
        if let Some(known) = leaves.iter().find(|known| known.test == test) {
            return known.bit;
        }
        leaves.push(Leaf { bit: next_bit, test });
        next_bit
    }

    /// A fresh set of seen keys of the right size.
    #[must_use]
    pub fn seen_keys(&self) -> SeenKeys {
        SeenKeys(vec![0; self.keys.len().div_ceil(64)])
    }

    /// Evaluates the leaves on one attribute and sets their bits in `leaves`.
    #[inline]
    pub fn visit(&self, attribute: &KeyValue<'_>, site: Site, seen: &mut SeenKeys, leaves: &mut [u64]) {
        let mut at = self.buckets[bucket(attribute.key)];
        while at != 0 {
            let position = usize::from(at) - 1;
            let key = &self.keys[position];
            if *key.name == *attribute.key {
                if seen.first(position) {
                    evaluate(&key.leaves, attribute.value, site, leaves);
                }
                return;
            }
            at = key.next;
        }
    }
}

fn evaluate(tests: &[Leaf], value: AnyValue<'_>, site: Site, leaves: &mut [u64]) {
    for leaf in tests {
        let (word, bit) = (usize::from(leaf.bit / 64), 1u64 << (leaf.bit % 64));
        if leaves[word] & bit == 0 && leaf.test.holds(value, site) {
            leaves[word] |= bit;
        }
    }
}

#[inline]
fn bucket(key: &[u8]) -> usize {
    match key {
        [] => 0,
        [first, .., last] => (key.len() * 31) ^ (usize::from(*first) * 7) ^ (usize::from(*last) << 2),
        [only] => usize::from(*only),
    }
    .wrapping_rem(BUCKETS)
}
