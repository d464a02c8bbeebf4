//! Takes out of a request what no decoder further on would accept, and leaves the rest as it came. The cold path: a sound
//! request is not copied.
//!
//! A fault costs the item it is in: a span, a metric point, a log record. A fault in what stands above items, such as a
//! resource, a scope or a metric, costs the items under it. Text that is not UTF-8 costs nothing: what is not becomes
//! U+FFFD, because protobuf's strings are UTF-8 and strict decoders refuse a whole request for one that is not. The outcome
//! follows from the request alone, so that a request which is read from the log again is mended alike.

use super::Signal;
use super::check::{ANY_VALUE_DEPTH_MAX, Fault, MESSAGE_DEPTH_MAX, check_number, id, items, message_items, text};
use super::refusal::{Cause, Refusals};
use super::schema::{self, Kind, Message, Presence, Role};
use super::wire::{Reader, end_message, put_header, put_varint};

/// A request of which only sound parts are left.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mended {
    /// The request, where it is another than the one that came.
    pub body: Option<Vec<u8>>,
    /// Items left in it.
    pub items: u32,
    /// Items that were taken out.
    pub refused: Refusals,
    /// Why the first of them was.
    pub fault: Option<Fault>,
    /// Where that fault is, such as `resourceLogs[0].scopeLogs[0].logRecords[3].traceId`; empty where there is none.
    pub place: String,
    /// Texts that were not UTF-8 and were repaired.
    pub repaired: u32,
}

/// A request's items, and what is to go on of it.
///
/// A span with a fault of its own is left where it is: the scan refuses it, and counts it where it stands.
///
/// # Errors
/// A `Fault` of the request itself, or the first one where nothing is left and it is not known of how many items.
pub fn mended(signal: Signal, request: &[u8]) -> Result<Mended, Fault> {
    // What the scan finds fault with in traces is more than what is looked for in the others.
    if signal != Signal::Traces
        && let Ok(items) = items(signal, request)
    {
        return Ok(Mended {
            body: None,
            items,
            refused: Refusals::default(),
            fault: None,
            place: String::new(),
            repaired: 0,
        });
    }
    let body = Vec::with_capacity(request.len());
    let mut mender = Mender {
        signal,
        out: body,
        items: 0,
        refused: Refusals::default(),
        fault: None,
        place: String::new(),
        path: Vec::with_capacity(16),
        repaired: 0,
    };
    mender.message(schema::request(signal), request, Depth::default())?;
    let Mender { out, items, refused, fault, place, repaired, .. } = mender;
    match fault {
        Some(fault) if items == 0 && refused.total() == 0 => Err(fault),
        _ => Ok(Mended { body: Some(out), items, refused, fault, place, repaired }),
    }
}

/// Appends text with U+FFFD for what is not UTF-8.
pub(in crate::otlp) fn put_repaired(bytes: &[u8], out: &mut Vec<u8>) {
    for chunk in bytes.utf8_chunks() {
        out.extend_from_slice(chunk.valid().as_bytes());
        if !chunk.invalid().is_empty() {
            out.extend_from_slice("\u{fffd}".as_bytes());
        }
    }
}

/// How deep in messages, and of those in values.
#[derive(Debug, Clone, Copy, Default)]
struct Depth {
    messages: u32,
    values: u32,
}

struct Mender {
    signal: Signal,
    out: Vec<u8>,
    items: u32,
    refused: Refusals,
    fault: Option<Fault>,
    place: String,
    /// Where the walk is: fields, and their places in a list. After a fault it says where that was.
    path: Vec<(&'static str, Option<u32>)>,
    repaired: u32,
}

impl Mender {
    /// Appends a message's payload; on an error `out` holds a part of it.
    fn message(&mut self, schema: &'static Message, message: &[u8], depth: Depth) -> Result<(), Fault> {
        let values_max = if self.signal == Signal::Traces { ANY_VALUE_DEPTH_MAX } else { u32::MAX };
        if depth.messages >= MESSAGE_DEPTH_MAX || depth.values > values_max {
            return Err(Fault::Depth);
        }
        let mut counts = [0_u32; FIELDS_MAX];
        let mut reader = Reader::new(message);
        while let Some(field) = reader.next_field()? {
            let raw = &message[field.start..reader.position()];
            let Some(position) = schema.fields.iter().position(|known| known.number == field.number) else {
                self.out.extend_from_slice(raw);
                continue;
            };
            let known = &schema.fields[position];
            let path_before = self.path.len();
            let index = counts.get_mut(position).filter(|_| known.presence == Presence::Repeated);
            let index = index.map(|count| std::mem::replace(count, count.saturating_add(1)));
            self.path.push((known.name, index));
            match known.kind {
                Kind::Message(inner) => {
                    self.inner(known.number, inner, field.bytes()?, raw, depth)?;
                    self.path.truncate(path_before);
                    continue;
                }
                Kind::Text if text(field.bytes()?).is_err() => {
                    let mut repaired = Vec::new();
                    put_repaired(field.bytes()?, &mut repaired);
                    put_header(&mut self.out, known.number, repaired.len());
                    self.out.extend_from_slice(&repaired);
                    self.repaired += 1;
                    self.path.truncate(path_before);
                    continue;
                }
                Kind::Text | Kind::Bytes => _ = field.bytes()?,
                Kind::Id(length) => id(field.bytes()?, length)?,
                kind => check_number(kind, known.presence, &field)?,
            }
            self.out.extend_from_slice(raw);
            self.path.truncate(path_before);
        }
        Ok(())
    }

    fn inner(
        &mut self,
        number: u32,
        schema: &'static Message,
        message: &[u8],
        raw: &[u8],
        depth: Depth,
    ) -> Result<(), Fault> {
        // Nearly all items are sound, also beside one that is not.
        if schema.role == Role::Item && message_items(schema, message, depth.messages + 1).is_ok() {
            self.out.extend_from_slice(raw);
            self.items += 1;
            return Ok(());
        }
        let (out_before, items_before, refused_before) = (self.out.len(), self.items, self.refused);
        put_varint(&mut self.out, u64::from(number) << 3 | 2);
        self.out.push(0);
        let payload_at = self.out.len();
        let depth = Depth { messages: depth.messages + 1, values: depth.values + u32::from(schema.is_any_value()) };
        match (self.message(schema, message, depth), schema.role) {
            // What all items were taken out of goes with them.
            (Ok(()), Role::Group) if self.items == items_before && self.refused != refused_before => {
                self.out.truncate(out_before);
            }
            (Ok(()), role) => {
                end_message(&mut self.out, payload_at);
                self.items += u32::from(role == Role::Item);
            }
            (Err(_), Role::Item) if self.signal == Signal::Traces => {
                self.out.truncate(out_before);
                self.out.extend_from_slice(raw);
                self.items += 1;
            }
            (Err(fault), role @ (Role::Item | Role::Group)) => {
                self.out.truncate(out_before);
                let under = if role == Role::Item { 1 } else { count(schema, message) };
                (self.items, self.refused) = (items_before, refused_before);
                self.refused.add(Cause::from(&fault), under);
                if self.fault.is_none() {
                    (self.fault, self.place) = (Some(fault), place(&self.path));
                }
            }
            (Err(fault), Role::Part | Role::Request) => return Err(fault),
        }
        Ok(())
    }
}

/// A path as it is told.
fn place(path: &[(&'static str, Option<u32>)]) -> String {
    let step = |(name, index): &(&str, Option<u32>)| match index {
        Some(index) => format!("{name}[{index}]"),
        None => (*name).to_string(),
    };
    path.iter().map(step).collect::<Vec<_>>().join(".")
}

/// No message has more fields.
const FIELDS_MAX: usize = 16;

/// Items under a message, as far as it can be read.
fn count(schema: &'static Message, message: &[u8]) -> u32 {
    let mut items = 0_u32;
    let mut reader = Reader::new(message);
    while let Ok(Some(field)) = reader.next_field() {
        let known = schema.fields.iter().find(|known| known.number == field.number);
        let (Some(Kind::Message(inner)), Ok(bytes)) = (known.map(|known| known.kind), field.bytes()) else { continue };
        items = items.saturating_add(match inner.role {
            Role::Item => 1,
            _ if inner.leads_to_items() => count(inner, bytes),
            _ => 0,
        });
    }
    items
}

#[cfg(test)]
mod tests;
