//! Leaves on attributes. One look-up by a key's length and two of its bytes finds whether any policy asks for it; only then
//! is the value looked at, and the leaves are asked only if it may satisfy one. Of duplicate keys the first occurrence
//! counts, as in the reference.

mod gate;
mod literals;

pub use tailwater_ottl::{Need, Note, Site};

use gate::{Gate, Probe};
use literals::Literals;
use tailwater_ottl::Notes;
use tailwater_ottl::pattern::{Expressions, Pattern};
use tailwater_proto::otlp::check::{AnyValue, KeyValue};

/// What a leaf asks of a value.
#[derive(Debug, Clone)]
pub enum Test {
    /// The text is one of these. Empty texts never are.
    TextAmong(Vec<Box<[u8]>>),
    /// The text matches the expression; other types read as the empty text.
    /// The number is its place among the expressions of the rules.
    TextMatches(Pattern, u16),
    /// The integer is within bounds, inclusive; other types read as 0.
    IntegerWithin(i64, i64),
    /// The truth value is this one; other types read as false.
    BooleanIs(bool),
}

impl PartialEq for Test {
    fn eq(&self, other: &Self) -> bool {
        match (self, other) {
            (Self::TextAmong(mine), Self::TextAmong(theirs)) => mine == theirs,
            (Self::TextMatches(mine, _), Self::TextMatches(theirs, _)) => mine.as_str() == theirs.as_str(),
            (Self::IntegerWithin(low, high), Self::IntegerWithin(other_low, other_high)) => {
                (low, high) == (other_low, other_high)
            }
            (Self::BooleanIs(mine), Self::BooleanIs(theirs)) => mine == theirs,
            _ => false,
        }
    }
}

impl Test {
    #[inline]
    fn holds(&self, value: AnyValue<'_>, site: Site, answers: &mut [Answers]) -> bool {
        match self {
            Self::TextAmong(values) => {
                let text = value.text().unwrap_or_default();
                !text.is_empty() && values.iter().any(|candidate| **candidate == *text)
            }
            Self::TextMatches(pattern, number) => {
                let text = value.text().unwrap_or_default();
                let Some(answers) = answers.get_mut(usize::from(*number)) else { return false };
                (site == Site::Resource || !text.is_empty()) && answers.matches(pattern, text)
            }
            Self::IntegerWithin(low, high) => (*low..=*high).contains(&value.integer().unwrap_or(0)),
            Self::BooleanIs(wanted) => value.boolean().unwrap_or(false) == *wanted,
        }
    }
}

/// A leaf: its bit and its test.
#[derive(Debug)]
struct Leaf {
    bit: u16,
    test: Test,
    /// The values that may satisfy it.
    gate: Gate,
    /// Of an expression: the ends that texts must have.
    literals: Option<Literals>,
}

impl Leaf {
    fn new(bit: u16, test: Test) -> Self {
        let mut gate = Gate::CLOSED;
        gate.widen(&test);
        let literals = match &test {
            Test::TextMatches(pattern, _) => Literals::of(pattern),
            _ => None,
        };
        Self { bit, test, gate, literals }
    }

    /// Sets its bit if the test holds.
    fn evaluate(&self, value: AnyValue<'_>, site: Site, memory: &mut Memory, leaves: &mut [u64]) {
        let (word, bit) = (usize::from(self.bit / 64), 1u64 << (self.bit % 64));
        if leaves[word] & bit == 0 && self.test.holds(value, site, &mut memory.answers) {
            leaves[word] |= bit;
        }
    }
}

/// One key that some policy asks for.
#[derive(Debug)]
struct Key {
    name: Box<[u8]>,
    print: Print,
    /// Its bit in the word of keys that it is in.
    bit: u64,
    leaves: Vec<Leaf>,
    /// What conditions need of it beyond being there.
    probes: Vec<Probe>,
    /// By site: the bits of the conditions' needs that it be there.
    presence: [u64; 2],
    /// The values that may satisfy a leaf or a probe, but for texts by their ends.
    gate: Gate,
    /// The ends of texts that may satisfy a leaf.
    literals: Option<Literals>,
    /// A condition asks for the value itself.
    is_noted: bool,
    /// It is not noted and its bit is in the first word.
    is_plain: bool,
    /// The next key of the same bucket, plus one; 0 ends the chain.
    next: u16,
}

/// All leaves on attributes, by key.
#[derive(Debug)]
pub struct AttributeRules {
    keys: Vec<Key>,
    /// By `bucket(key)`: the first key of the chain, plus one; 0 for none. Most attributes end here.
    buckets: [u16; BUCKETS],
    /// The `filter_bit` of each key.
    filter: u64,
    /// How many expressions there are.
    patterns: u16,
    /// How much memory they take.
    expressions: Expressions,
    /// How many needs of conditions there are.
    needs: u32,
    /// Some key's value is noted.
    are_noted: bool,
}

/// Needs of conditions that are told apart: bits of a word, of which the last is free. Conditions past them are evaluated
/// on every span.
const NEEDS_MAX: u32 = 63;

/// Buckets of the key look-up, one for each byte; keys are few, so that most buckets are empty.
const BUCKETS: usize = 256;

/// What one site's evaluation keeps between attributes: which keys the span or resource has shown already, and the
/// answers of expressions to values that come again and again.
#[derive(Debug, Default)]
pub struct Memory {
    /// One bit a key: the first 64.
    seen: u64,
    /// The keys past them.
    seen_more: Vec<u64>,
    /// The needs of conditions that were met.
    met: u64,
    /// One list of answers an expression.
    answers: Vec<Answers>,
    /// The values that conditions ask for, by the number of their key; good where the key is marked.
    notes: Vec<Note>,
}

impl Memory {
    /// What conditions see of it.
    #[inline]
    #[must_use]
    pub fn notes(&self) -> Notes<'_> {
        Notes { seen: self.seen, seen_more: &self.seen_more, values: &self.notes, met: self.met }
    }

    /// The value of the key of this number, when it was seen.
    #[inline]
    #[must_use]
    pub fn note(&self, key: usize) -> Option<&Note> {
        self.notes().note(key)
    }

    /// Forgets the keys; ready for the next span.
    #[inline]
    pub fn clear(&mut self) {
        self.seen = 0;
        self.met = 0;
        if !self.seen_more.is_empty() {
            self.seen_more.fill(0);
        }
    }

    /// Marks the key of that number, `bit` in its word; true when it was not marked before.
    #[inline(always)]
    fn first(&mut self, key: usize, bit: u64) -> bool {
        let word = if key < 64 {
            &mut self.seen
        } else {
            match self.seen_more.get_mut(key / 64 - 1) {
                Some(word) => word,
                None => return false,
            }
        };
        let first = *word & bit == 0;
        *word |= bit;
        first
    }
}

/// The latest answers of one expression. Each value has one place; a new value takes it over.
#[derive(Debug)]
struct Answers(Box<[Answer; ANSWERS]>);

#[derive(Debug, Clone, Copy)]
struct Answer {
    text: [u8; ANSWER_TEXT_MAX],
    length: u8,
    matches: bool,
}

/// Places for answers.
const ANSWERS: usize = 64;
/// Longest value whose answer is remembered: routes, hosts and codes are few and short.
const ANSWER_TEXT_MAX: usize = 62;
/// The length that no value has: an empty place.
const NO_ANSWER: u8 = u8::MAX;

impl Answers {
    fn new() -> Self {
        Self(Box::new([Answer { text: [0; ANSWER_TEXT_MAX], length: NO_ANSWER, matches: false }; ANSWERS]))
    }

    #[inline]
    fn matches(&mut self, pattern: &Pattern, text: &[u8]) -> bool {
        let search = || pattern.is_match(text);
        let (Ok(length), [first, .., last]) = (u8::try_from(text.len()), text) else { return search() };
        if text.len() > ANSWER_TEXT_MAX {
            return search();
        }
        let middle = text[text.len() / 2];
        let mixed = usize::from(*first) + usize::from(*last) * 5 + usize::from(middle) * 11 + text.len() * 3;
        let place = mixed % ANSWERS;
        let answer = &mut self.0[place];
        if answer.length != length || answer.text[..text.len()] != *text {
            answer.matches = search();
            answer.length = length;
            answer.text[..text.len()].copy_from_slice(text);
        }
        answer.matches
    }
}

impl Default for AttributeRules {
    fn default() -> Self {
        Self {
            keys: Vec::new(),
            buckets: [0; BUCKETS],
            filter: 0,
            patterns: 0,
            expressions: Expressions::default(),
            needs: 0,
            are_noted: false,
        }
    }
}

impl AttributeRules {
    /// Adds a leaf on `key`, or finds an equal one; returns its bit. `next_bit` is the bit a new leaf gets.
    pub(super) fn leaf(&mut self, key: &str, test: Test, next_bit: u16) -> u16 {
        let position = self.key(key);
        let key = &mut self.keys[position];
        if let Some(known) = key.leaves.iter().find(|known| known.test == test) {
            return known.bit;
        }
        let leaf = Leaf::new(next_bit, test);
        match (&leaf.literals, &mut key.literals) {
            (None, _) => key.gate.widen(&leaf.test),
            (Some(literals), Some(all)) => {
                key.gate.widen_to_others();
                all.widen(literals);
            }
            (Some(literals), None) => {
                key.gate.widen_to_others();
                key.literals = Some(literals.clone());
            }
        }
        key.leaves.push(leaf);
        next_bit
    }

    /// The number of `key`, which is added when it is new.
    fn key(&mut self, key: &str) -> usize {
        let name = key.as_bytes();
        if let Some(position) = self.keys.iter().position(|known| *known.name == *name) {
            return position;
        }
        let print = Print::of(name);
        self.filter |= filter_bit(name);
        let bucket = bucket(name);
        let next = self.buckets[bucket];
        self.keys.push(Key {
            name: name.into(),
            print,
            bit: 1 << (self.keys.len() % 64),
            leaves: Vec::new(),
            probes: Vec::new(),
            presence: [0; 2],
            gate: Gate::CLOSED,
            literals: None,
            is_noted: false,
            is_plain: self.keys.len() < 64,
            next,
        });
        // The compiler refuses more leaves and conditions' keys than fit.
        self.buckets[bucket] = u16::try_from(self.keys.len()).unwrap_or(u16::MAX);
        self.keys.len() - 1
    }

    /// Has the value of `key` noted; returns the number by which `Notes::note` knows it. None when there are too many.
    pub(super) fn noted(&mut self, key: &str) -> Option<usize> {
        let position = self.key(key);
        (self.keys[position].is_noted, self.keys[position].is_plain) = (true, false);
        self.are_noted = true;
        (self.keys.len() < usize::from(u16::MAX)).then_some(position)
    }

    /// Adds what a condition needs of the key of that number, or finds an equal need; returns its bit among those that
    /// `Notes::met` has. None when there are too many.
    pub(super) fn need(&mut self, key: usize, site: Site, need: Need) -> Option<u64> {
        let key = self.keys.get_mut(key)?;
        let presence = &mut key.presence[site as usize];
        let known = match need {
            Need::Present => Some(*presence).filter(|bit| *bit != 0),
            _ => key.probes.iter().find(|probe| probe.site == site && probe.need == need).map(|probe| probe.bit),
        };
        if known.is_some() || self.needs >= NEEDS_MAX {
            return known;
        }
        let bit = 1u64 << self.needs;
        self.needs += 1;
        if need == Need::Present {
            *presence = bit;
        } else {
            let probe = Probe { site, need, bit };
            probe.widen(&mut key.gate);
            key.probes.push(probe);
        }
        Some(bit)
    }

    /// The test for an expression, under the next number.
    pub(super) fn pattern(&mut self, pattern: Pattern) -> Test {
        self.expressions.add(&pattern);
        let number = self.patterns;
        self.patterns = number.saturating_add(1);
        Test::TextMatches(pattern, number)
    }

    /// How much memory the expressions take.
    #[must_use]
    pub fn expressions(&self) -> Expressions {
        self.expressions
    }

    /// An empty memory of the right size.
    #[must_use]
    pub fn memory(&self) -> Memory {
        let answers = (0..self.patterns).map(|_| Answers::new()).collect();
        let notes = if self.are_noted { vec![Note::Boolean(false); self.keys.len()] } else { Vec::new() };
        Memory { seen: 0, seen_more: vec![0; self.keys.len().div_ceil(64).saturating_sub(1)], met: 0, answers, notes }
    }

    /// Evaluates the leaves on one attribute and sets their bits in `leaves`.
    #[inline(always)]
    pub fn visit(&self, attribute: &KeyValue<'_>, site: Site, memory: &mut Memory, leaves: &mut [u64]) {
        if self.filter & filter_bit(attribute.key) == 0 {
            return;
        }
        let Some(position) = usize::from(self.buckets[bucket(attribute.key)]).checked_sub(1) else { return };
        let Some(key) = self.keys.get(position) else { return };
        if key.is(Print::of(attribute.key), attribute.key) {
            look_at(key, position, attribute, site, memory, leaves);
        } else if key.next != 0 {
            // A copy, so that the attributes of others need not be in memory at all.
            let attribute = *attribute;
            self.visit_chain(key.next, &attribute, site, memory, leaves);
        }
    }

    /// Looks for an attribute's key in the chain at `at`.
    #[cold]
    #[inline(never)]
    fn visit_chain(&self, at: u16, attribute: &KeyValue<'_>, site: Site, memory: &mut Memory, leaves: &mut [u64]) {
        let print = Print::of(attribute.key);
        let mut at = at;
        while let Some((position, key)) = usize::from(at).checked_sub(1).and_then(|at| Some((at, self.keys.get(at)?))) {
            if key.is(print, attribute.key) {
                return look_at(key, position, attribute, site, memory, leaves);
            }
            at = key.next;
        }
    }
}

impl Key {
    /// Whether a text begins or ends as one of the expressions asks.
    #[inline(always)]
    fn has_end(&self, value: &AnyValue<'_>) -> bool {
        match (&self.literals, value) {
            (Some(literals), AnyValue::Text(text)) => literals.may_match(text),
            _ => false,
        }
    }

    #[inline(always)]
    fn is(&self, print: Print, key: &[u8]) -> bool {
        self.print == print && (print.is_whole() || is_same_within(&self.name, key))
    }
}

/// A key's length, first and last eight bytes: the whole of a key of up to 16, and enough to tell most longer ones apart
/// without a call to compare memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Print {
    length: usize,
    first: u64,
    last: u64,
}

impl Print {
    #[inline(always)]
    fn of(key: &[u8]) -> Self {
        let length = key.len();
        if let (Some(first), Some(last)) = (key.first_chunk::<8>(), key.last_chunk::<8>()) {
            return Self { length, first: u64::from_le_bytes(*first), last: u64::from_le_bytes(*last) };
        }
        if let (Some(first), Some(last)) = (key.first_chunk::<4>(), key.last_chunk::<4>()) {
            return Self { length, first: u32::from_le_bytes(*first).into(), last: u32::from_le_bytes(*last).into() };
        }
        let packed = key.iter().fold(0, |packed, byte| packed << 8 | u64::from(*byte));
        Self { length, first: packed, last: 0 }
    }

    #[inline(always)]
    fn is_whole(self) -> bool {
        self.length <= 16
    }
}

/// Names are often alike at one end: their length, their last byte and one from the middle tell most apart.
#[inline(always)]
fn bucket(key: &[u8]) -> usize {
    let Some(last) = key.last() else { return 0 };
    let middle = key[key.len() / 2];
    (key.len() + usize::from(*last) * 7 + usize::from(middle) * 29) % BUCKETS
}

/// Whether two keys of equal prints, longer than 16 bytes, are the same between their ends.
#[inline(always)]
fn is_same_within(one: &[u8], other: &[u8]) -> bool {
    let words = |key: &[u8]| {
        let first = key.get(8..)?.first_chunk::<8>()?;
        let last = key.get(..key.len().checked_sub(8)?)?.last_chunk::<8>()?;
        Some((u64::from_le_bytes(*first), u64::from_le_bytes(*last)))
    };
    // Two words cover what is between the ends of a key of up to 32 bytes.
    words(one) == words(other) && (one.len() <= 32 || one == other)
}

/// Looks at the first attribute of a key: notes what conditions want to know, and asks the leaves only about a value that
/// may satisfy one.
#[inline(always)]
fn look_at(key: &Key, position: usize, attribute: &KeyValue<'_>, site: Site, memory: &mut Memory, leaves: &mut [u64]) {
    if key.is_plain {
        if memory.seen & key.bit != 0 {
            return;
        }
        memory.seen |= key.bit;
    } else if !memory.first(position, key.bit) {
        return;
    } else if key.is_noted {
        memory.met |= key.presence[site as usize];
        if let Some(note) = memory.notes.get_mut(position) {
            *note = Note::of(attribute);
        }
    }
    if key.gate.admits(&attribute.value) || key.literals.is_some() && key.has_end(&attribute.value) {
        let attribute = *attribute;
        evaluate(key, &attribute, site, memory, leaves);
    }
}

#[inline(never)]
fn evaluate(key: &Key, attribute: &KeyValue<'_>, site: Site, memory: &mut Memory, leaves: &mut [u64]) {
    for probe in &key.probes {
        if probe.is_met(&attribute.value, site) {
            memory.met |= probe.bit;
        }
    }
    match attribute.value {
        AnyValue::Text(text) => {
            let kind = gate::text_bit(text);
            for leaf in &key.leaves {
                if leaf.gate.admits_texts(kind) && leaf.literals.as_ref().is_none_or(|ends| ends.may_match(text)) {
                    leaf.evaluate(attribute.value, site, memory, leaves);
                }
            }
        }
        value => {
            for leaf in key.leaves.iter().filter(|leaf| leaf.gate.admits(&value)) {
                leaf.evaluate(value, site, memory, leaves);
            }
        }
    }
}

/// One of 64 kinds of keys, by their length: what costs least to find out of most that no policy asks for them.
#[inline(always)]
fn filter_bit(key: &[u8]) -> u64 {
    1 << (key.len() % 64)
}
