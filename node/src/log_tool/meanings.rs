//! What the numbers in verdicts mean, as far as the segment that is read has told.

use std::collections::BTreeMap;
use std::fmt::Write;
use tailwater_engine::log::format::{Record, VerdictEntry};
use tailwater_engine::log::read::Found;
use tailwater_proto::otlp::wire::{Field, Reader};

/// Attributes of an annotation: keys and texts.
pub type Attributes = Vec<(String, String)>;

/// The policies and annotations of a segment.
#[derive(Debug, Default)]
pub struct Meanings {
    policies: Vec<String>,
    annotations: BTreeMap<u16, Attributes>,
}

impl Meanings {
    /// Takes in what says something about them. Where records are missing the numbers may have become those of others.
    pub fn read(&mut self, found: &Found<'_>) {
        match found {
            Found::Record { record: Record::Names(names), .. } => {
                self.policies = names.entries.clone().map(text).collect();
            }
            Found::Record { record: Record::Annotations(told), .. } => {
                self.annotations.extend(told.entries.clone().map(|(number, fields)| (number, attributes(fields))));
            }
            Found::Skipped { sequences, .. } if *sequences > 0 => *self = Self::default(),
            _ => {}
        }
    }

    /// The policy that kept a trace, where that is known.
    pub fn kept_by(&self, entry: &VerdictEntry) -> Option<&str> {
        let name = self.policies.get(usize::from(entry.policy)).filter(|name| !name.is_empty())?;
        entry.is_kept.then_some(name)
    }

    /// The numbers of a trace's annotations, with what they are where that is known.
    pub fn annotations(&self, entry: &VerdictEntry) -> impl Iterator<Item = (u16, Option<&Attributes>)> {
        entry.annotations.numbers().map(|number| (number, self.annotations.get(&number)))
    }
}

/// The attributes of an annotation, which stand in the log as fields of a span; of what is none as much as can be read.
pub fn attributes(fields: &[u8]) -> Attributes {
    let mut reader = Reader::new(fields);
    let mut attributes = Vec::new();
    while let Ok(Some(attribute)) = reader.next_field() {
        // `KeyValue` is a key and an `AnyValue`, of which 1 is a text.
        let value = part(&attribute, 2).and_then(|value| first(value, 1)).map(text);
        attributes.push((part(&attribute, 1).map(text).unwrap_or_default(), value.unwrap_or_default()));
    }
    attributes
}

/// `key="text"` for each.
pub fn shown(attributes: &Attributes) -> String {
    attributes.iter().fold(String::new(), |mut shown, (key, text)| {
        // Writing to a string does not fail.
        _ = write!(shown, " {key}={text:?}");
        shown
    })
}

fn part<'a>(field: &Field<'a>, number: u32) -> Option<&'a [u8]> {
    first(field.bytes().ok()?, number)
}

/// The first field of that number in a message.
fn first(message: &[u8], number: u32) -> Option<&[u8]> {
    let mut reader = Reader::new(message);
    while let Ok(Some(field)) = reader.next_field() {
        if field.number == number {
            return field.bytes().ok();
        }
    }
    None
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
