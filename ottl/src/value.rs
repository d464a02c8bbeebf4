//! Values while a condition is evaluated. They borrow from the span's bytes and from the program; only what a
//! converter builds is owned. Maps and lists of the telemetry stay wire bytes and are read as they are walked.

use super::zone::Zone;
use std::borrow::Cow;
use tailwater_proto::otlp::wire::{Field, Reader, Value as Wire};

/// Text or bytes, borrowed where possible. Texts are bytes here: the reference cuts them wherever it is told to.
pub type Chars<'a> = Cow<'a, [u8]>;

/// What an expression comes to.
#[derive(Debug, Clone, PartialEq)]
pub enum Value<'a> {
    /// Nothing.
    Nil,
    /// A truth value.
    Boolean(bool),
    /// An integer.
    Integer(i64),
    /// A port that `URL` has found: the reference has an integer of another type for it, which equals no other value.
    Port(i64),
    /// A double.
    Double(f64),
    /// A text.
    Text(Chars<'a>),
    /// Bytes.
    Bytes(Chars<'a>),
    /// A trace's id.
    TraceId([u8; 16]),
    /// A span's id.
    SpanId([u8; 8]),
    /// A profile's id.
    ProfileId([u8; 16]),
    /// A point in time, nanoseconds since the Unix epoch, and the zone that its parts are told in.
    Time(i128, Zone),
    /// A span of time, nanoseconds.
    Duration(i64),
    /// A map.
    Map(Map<'a>),
    /// A list.
    List(List<'a>),
    /// Messages of the span that have no values of their own here, such as its events, and how many they are.
    Messages(Messages, usize),
    /// The span's status as a whole.
    Status,
}

/// Lists of messages.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Messages {
    /// `Span.events`
    Events,
    /// `Span.links`
    Links,
}

/// A key and its value.
pub type Entry<'a> = (Chars<'a>, Value<'a>);

/// A map. The order is that of the source; of equal keys the first counts.
#[derive(Debug, Clone, PartialEq)]
pub enum Map<'a> {
    /// The `KeyValue`s in field `1` of `0`.
    Wire(&'a [u8], u32),
    /// Of the program.
    Shared(&'a [Entry<'a>]),
    /// Built by a converter.
    Owned(Vec<Entry<'a>>),
}

/// Which of the reference's types a list has; it compares lists of different types by different rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ListKind {
    /// A list of the telemetry.
    Slice,
    /// A list that is written out in a condition.
    Plain,
    /// A list of texts from a converter.
    Texts,
}

/// A list.
#[derive(Debug, Clone, PartialEq)]
pub enum List<'a> {
    /// An `ArrayValue`.
    Wire(&'a [u8]),
    /// Of the program.
    Shared(&'a [Value<'a>], ListKind),
    /// Built by a converter.
    Owned(Vec<Value<'a>>, ListKind),
}

impl<'a> Value<'a> {
    /// A text that lies elsewhere.
    #[must_use]
    pub fn text(text: &'a [u8]) -> Self {
        Self::Text(Cow::Borrowed(text))
    }

    /// A text that was built.
    #[must_use]
    pub fn built(text: impl Into<Vec<u8>>) -> Self {
        Self::Text(Cow::Owned(text.into()))
    }

    /// The same value, borrowing from this one.
    #[must_use]
    pub fn share(&'a self) -> Self {
        match self {
            Self::Nil => Self::Nil,
            Self::Boolean(value) => Self::Boolean(*value),
            Self::Integer(value) => Self::Integer(*value),
            Self::Port(value) => Self::Port(*value),
            Self::Double(value) => Self::Double(*value),
            Self::Text(text) => Self::Text(Cow::Borrowed(text)),
            Self::Bytes(bytes) => Self::Bytes(Cow::Borrowed(bytes)),
            Self::TraceId(id) => Self::TraceId(*id),
            Self::SpanId(id) => Self::SpanId(*id),
            Self::ProfileId(id) => Self::ProfileId(*id),
            Self::Time(time, zone) => Self::Time(*time, *zone),
            Self::Duration(duration) => Self::Duration(*duration),
            Self::Map(map) => Self::Map(map.share()),
            Self::List(list) => Self::List(list.share()),
            Self::Messages(messages, count) => Self::Messages(*messages, *count),
            Self::Status => Self::Status,
        }
    }

    /// The same value with nothing borrowed.
    #[must_use]
    pub fn into_owned(self) -> Value<'static> {
        match self {
            Self::Nil => Value::Nil,
            Self::Boolean(value) => Value::Boolean(value),
            Self::Integer(value) => Value::Integer(value),
            Self::Port(value) => Value::Port(value),
            Self::Double(value) => Value::Double(value),
            Self::Text(text) => Value::Text(Cow::Owned(text.into_owned())),
            Self::Bytes(bytes) => Value::Bytes(Cow::Owned(bytes.into_owned())),
            Self::TraceId(id) => Value::TraceId(id),
            Self::SpanId(id) => Value::SpanId(id),
            Self::ProfileId(id) => Value::ProfileId(id),
            Self::Time(time, zone) => Value::Time(time, zone),
            Self::Duration(duration) => Value::Duration(duration),
            Self::Map(map) => {
                let entries = map.iter().map(|(key, value)| (Cow::Owned(key.into_owned()), value.into_owned()));
                Value::Map(Map::Owned(entries.collect()))
            }
            Self::List(list) => {
                let kind = list.kind();
                Value::List(List::Owned(list.iter().map(Value::into_owned).collect(), kind))
            }
            Self::Messages(messages, count) => Value::Messages(messages, count),
            Self::Status => Value::Status,
        }
    }
}

impl<'a> Map<'a> {
    /// The same map, borrowing from this one.
    #[must_use]
    pub fn share(&'a self) -> Self {
        match self {
            Self::Wire(message, field) => Self::Wire(message, *field),
            Self::Shared(entries) => Self::Shared(entries),
            Self::Owned(entries) => Self::Shared(entries),
        }
    }

    /// Its entries.
    pub fn iter<'s>(&'s self) -> impl Iterator<Item = Entry<'s>> {
        let (wire, entries): (Option<Fields<'s>>, &'s [Entry<'s>]) = match self {
            Self::Wire(message, field) => (Some(Fields::new(message, *field)), &[]),
            Self::Shared(entries) => (None, entries),
            Self::Owned(entries) => (None, entries),
        };
        let wire = wire.into_iter().flatten().map(key_value);
        wire.chain(entries.iter().map(|(key, value)| (Cow::Borrowed(&**key), value.share())))
    }

    /// How many entries.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Wire(message, field) => Fields::new(message, *field).count(),
            Self::Shared(entries) => entries.len(),
            Self::Owned(entries) => entries.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The first value of `key`.
    #[must_use]
    pub fn get(self, key: &[u8]) -> Option<Value<'a>> {
        match self {
            Self::Wire(message, field) => {
                Fields::new(message, field).find(|entry| key_of(entry) == key).map(|entry| key_value(entry).1)
            }
            Self::Shared(entries) => entries.iter().find(|(known, _)| **known == *key).map(|(_, value)| value.share()),
            Self::Owned(entries) => entries.into_iter().find(|(known, _)| **known == *key).map(|(_, value)| value),
        }
    }
}

impl<'a> List<'a> {
    /// The same list, borrowing from this one.
    #[must_use]
    pub fn share(&'a self) -> Self {
        match self {
            Self::Wire(message) => Self::Wire(message),
            Self::Shared(values, kind) => Self::Shared(values, *kind),
            Self::Owned(values, kind) => Self::Shared(values, *kind),
        }
    }

    /// Its elements.
    pub fn iter<'s>(&'s self) -> impl Iterator<Item = Value<'s>> {
        let (wire, values): (Option<Fields<'s>>, &'s [Value<'s>]) = match self {
            Self::Wire(message) => (Some(Fields::new(message, 1)), &[]),
            Self::Shared(values, _) => (None, values),
            Self::Owned(values, _) => (None, values),
        };
        wire.into_iter().flatten().map(any_value).chain(values.iter().map(Value::share))
    }

    /// How many elements.
    #[must_use]
    pub fn len(&self) -> usize {
        match self {
            Self::Wire(message) => Fields::new(message, 1).count(),
            Self::Shared(values, _) => values.len(),
            Self::Owned(values, _) => values.len(),
        }
    }

    /// Whether there are none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// Its type in the reference.
    #[must_use]
    pub fn kind(&self) -> ListKind {
        match self {
            Self::Wire(_) => ListKind::Slice,
            Self::Shared(_, kind) | Self::Owned(_, kind) => *kind,
        }
    }

    /// The element at `index`.
    #[must_use]
    pub fn get(self, index: i64) -> Option<Value<'a>> {
        let index = usize::try_from(index).ok()?;
        match self {
            Self::Wire(message) => Fields::new(message, 1).nth(index).map(any_value),
            Self::Shared(values, _) => values.get(index).map(Value::share),
            Self::Owned(values, _) => values.into_iter().nth(index),
        }
    }
}

/// The length-delimited fields of one number in a message. A message that is broken ends early; the scan has refused
/// such spans.
#[derive(Debug)]
pub struct Fields<'a> {
    reader: Reader<'a>,
    number: u32,
}

impl<'a> Fields<'a> {
    /// The fields `number` of `message`.
    #[must_use]
    pub fn new(message: &'a [u8], number: u32) -> Self {
        Self { reader: Reader::new(message), number }
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = &'a [u8];

    fn next(&mut self) -> Option<&'a [u8]> {
        loop {
            match self.reader.next_field() {
                Ok(Some(Field { number, value: Wire::Bytes(bytes), .. })) if number == self.number => {
                    return Some(bytes);
                }
                Ok(Some(_)) => {}
                Ok(None) | Err(_) => return None,
            }
        }
    }
}

/// All fields of a message, up to its end or what is broken.
pub fn fields(message: &[u8]) -> impl Iterator<Item = Field<'_>> {
    let mut reader = Reader::new(message);
    std::iter::from_fn(move || reader.next_field().ok().flatten())
}

/// The last field `number` of a message, as protobuf has it.
#[must_use]
pub fn last(message: &[u8], number: u32) -> Option<Wire<'_>> {
    fields(message).filter(|field| field.number == number).last().map(|field| field.value)
}

fn key_of(key_value: &[u8]) -> &[u8] {
    match last(key_value, 1) {
        Some(Wire::Bytes(key)) => key,
        _ => &[],
    }
}

/// A `KeyValue` (OTLP common.proto): key 1, value 2.
fn key_value(message: &[u8]) -> Entry<'_> {
    let (mut key, mut value): (&[u8], Value<'_>) = (&[], Value::Nil);
    for field in fields(message) {
        match (field.number, field.value) {
            (1, Wire::Bytes(bytes)) => key = bytes,
            (2, Wire::Bytes(bytes)) => value = any_value(bytes),
            _ => {}
        }
    }
    (Cow::Borrowed(key), value)
}

/// An `AnyValue` (OTLP common.proto): string 1, bool 2, int 3, double 4, array 5, key-value list 6, bytes 7.
#[must_use]
pub fn any_value(message: &[u8]) -> Value<'_> {
    let mut value = Value::Nil;
    for field in fields(message) {
        value = match (field.number, field.value) {
            (1, Wire::Bytes(text)) => Value::text(text),
            (2, Wire::Varint(truth)) => Value::Boolean(truth != 0),
            (3, Wire::Varint(number)) => Value::Integer(number.cast_signed()),
            (4, Wire::Fixed64(bits)) => Value::Double(f64::from_bits(bits)),
            (5, Wire::Bytes(array)) => Value::List(List::Wire(array)),
            (6, Wire::Bytes(list)) => Value::Map(Map::Wire(list, 1)),
            (7, Wire::Bytes(bytes)) => Value::Bytes(Cow::Borrowed(bytes)),
            _ => continue,
        };
    }
    value
}

/// Whether a value is one that telemetry can hold.
pub(super) fn is_plain(value: &Value<'_>) -> bool {
    !matches!(
        value,
        Value::TraceId(_)
            | Value::SpanId(_)
            | Value::ProfileId(_)
            | Value::Time(..)
            | Value::Duration(_)
            | Value::Port(_)
            | Value::Messages(..)
            | Value::Status
    )
}

/// Whether a map of the telemetry can hold a value.
pub(super) fn fits_map(value: &Value<'_>) -> bool {
    match value {
        Value::List(list) if list.kind() == ListKind::Plain => list.iter().all(|value| fits_map(&value)),
        Value::List(_) => false,
        other => is_plain(other),
    }
}

/// What a value costs to make and read again, roughly in bytes.
pub(super) fn size(value: &Value<'_>) -> usize {
    match value {
        Value::Text(text) | Value::Bytes(text) => text.len(),
        Value::Map(map) => map.iter().map(|(key, value)| 16 + key.len() + size(&value)).sum(),
        Value::List(list) => list.iter().map(|value| 16 + size(&value)).sum(),
        _ => 0,
    }
}

/// Sets a key: the last value of a key counts, in the place of its first.
pub(super) fn put<'a>(entries: &mut Vec<Entry<'a>>, key: &[u8], value: Value<'a>) {
    match entries.iter_mut().find(|(known, _)| **known == *key) {
        Some((_, known)) => *known = value,
        None => entries.push((Cow::Owned(key.to_vec()), value)),
    }
}
