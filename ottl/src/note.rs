//! What conditions know of attributes: whoever scans a span's bytes notes the values that conditions look up, and marks what
//! of their needs is met. The scanning itself is not here, for others look at the same attributes.

use tailwater_proto::otlp::check::{AnyValue, KeyValue};

/// Where an attribute stands. The reference treats an empty string differently on the two.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Site {
    /// On the resource around the span.
    Resource,
    /// On the span itself.
    Span,
}

/// Whoever scans attributes, as the compiler of conditions knows it.
pub trait Attributes {
    /// Has the value of `key` noted; returns the number by which `Notes::note` knows it. None when there are too many.
    fn noted(&mut self, key: &str) -> Option<usize>;

    /// Has it marked when the key of that number has what is needed of it; returns its bit in `Notes::met`. None when there
    /// are too many.
    fn need(&mut self, key: usize, site: Site, need: Need) -> Option<u64>;
}

/// What a condition needs of an attribute to hold: while no value has satisfied it, the condition does not. A value may
/// satisfy it and the condition not hold for all that.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Need {
    /// The attribute is there.
    Present,
    /// It is this text.
    Text(Box<[u8]>),
    /// It is an integer within bounds, inclusive, or no text, integer or truth value.
    IntegerWithin(i64, i64),
}

/// The attributes of one site that were seen, of those that conditions look up.
#[derive(Debug, Clone, Copy, Default)]
pub struct Notes<'a> {
    /// One bit a key that was seen: the first 64.
    pub seen: u64,
    /// The keys past them.
    pub seen_more: &'a [u64],
    /// Their values, by the number of the key; good where the key was seen.
    pub values: &'a [Note],
    /// The bits of those needs that are met.
    pub met: u64,
}

impl<'a> Notes<'a> {
    /// The value of the key of this number, when it was seen.
    #[inline]
    #[must_use]
    pub fn note(&self, key: usize) -> Option<&'a Note> {
        let word = match key / 64 {
            0 => self.seen,
            more => *self.seen_more.get(more - 1)?,
        };
        if word >> (key % 64) & 1 == 0 {
            return None;
        }
        self.values.get(key)
    }
}

/// A value that was seen. What lies in the request is an address and a length: a memory outlives requests.
#[derive(Debug, Clone, Copy)]
pub enum Note {
    /// A text: its bytes.
    Text(usize, usize),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
    /// Another: the whole `AnyValue`.
    Message(usize, usize),
}

/// A noted value: its type and its bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Noted<'a> {
    /// A text, or the message of a value of another type.
    Bytes(&'a [u8]),
    /// An integer.
    Integer(i64),
    /// A truth value.
    Boolean(bool),
}

impl Note {
    /// The value, whose bytes lie in `request`.
    #[must_use]
    pub fn noted<'a>(&self, request: &'a [u8]) -> Noted<'a> {
        match *self {
            Self::Text(address, length) | Self::Message(address, length) => {
                let start = address.wrapping_sub(request.as_ptr().addr());
                Noted::Bytes(request.get(start..start.wrapping_add(length)).unwrap_or_default())
            }
            Self::Integer(value) => Noted::Integer(value),
            Self::Boolean(value) => Noted::Boolean(value),
        }
    }

    /// What is noted of an attribute.
    #[inline]
    #[must_use]
    pub fn of(attribute: &KeyValue<'_>) -> Self {
        match attribute.value {
            AnyValue::Text(text) => Self::Text(text.as_ptr().addr(), text.len()),
            AnyValue::Integer(value) => Self::Integer(value),
            AnyValue::Boolean(value) => Self::Boolean(value),
            AnyValue::Other(message) => Self::Message(message.as_ptr().addr(), message.len()),
        }
    }
}
