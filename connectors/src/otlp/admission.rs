//! Reading a body within the memory that its request may have: room for what it becomes is there before it becomes it.
//!
//! ```text
//! bound what it can become -> wait for room -> inflate, JSON to protobuf -> give back what was not needed
//!        ^                                               |
//!        +----- it becomes more than it said: with all the room that it takes, from the beginning
//! ```
//!
//! Whoever has room never waits for more of it, so that no two requests wait for each other. What a body becomes keeps its
//! room until the last reference to it is gone: in a queue to another core, or while it waits for the disk.

use super::body::JsonBody;
use super::port::{Format, Port, Refusal};
use bytes::Bytes;
use std::cell::RefCell;
use tailwater_net::compression::{
    Encoding, InflateError, Inflater, SLICED_BYTES, SLICED_FROM_BYTES, inflate_in_slices, inflated_bytes_max,
};
use tailwater_net::server::{RequestMemory, Room};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{self, protobuf_bytes_max};

/// A body that is read.
pub(super) struct ReadBody {
    /// As protobuf.
    pub protobuf: Bytes,
    /// What was read where it was JSON.
    pub json: json::Read,
}

/// How a body came.
#[derive(Clone, Copy)]
pub(super) struct Form {
    pub signal: Signal,
    pub format: Format,
    pub encoding: Encoding,
}

/// What is known of the room that a body takes.
struct Need {
    /// Its own text or message, where it is compressed.
    inflated: usize,
    /// What is made of that.
    made: usize,
}

/// What one core's receiver reads bodies with.
pub(super) struct Admission {
    /// Of one body, once inflated.
    request_bytes_max: usize,
    /// Of all that is made of one request.
    memory_bytes_max: usize,
    inflater: RefCell<Inflater>,
}

impl Admission {
    /// For bodies of at most `request_bytes_max` once inflated, of which each takes at most `memory_bytes_max`.
    pub(super) fn new(request_bytes_max: usize, memory_bytes_max: usize) -> Self {
        Self { request_bytes_max, memory_bytes_max, inflater: RefCell::default() }
    }

    /// The body as uncompressed protobuf.
    ///
    /// # Errors
    /// `Refusal::TooLarge` or `Refusal::Invalid`.
    pub(super) async fn read(
        &self,
        port: &impl Port,
        form: Form,
        raw: &Bytes,
        memory: &RequestMemory,
    ) -> Result<ReadBody, Refusal> {
        let limit = self.request_bytes_max;
        let most = inflated_bytes_max(form.encoding, raw, limit).map_err(|error| refusal(&error))?;
        let is_plain = form.encoding == Encoding::Identity;
        let mut need = if is_plain {
            Need { inflated: 0, made: made_bytes(port, form, raw) }
        } else {
            // As much again for what is made of it, until that is known.
            Need { inflated: most, made: most }
        };
        loop {
            let scratch = if need.inflated > SLICED_FROM_BYTES { SLICED_BYTES } else { 0 };
            let wanted = need.inflated.saturating_add(need.made).saturating_add(scratch);
            self.check(raw.len().saturating_add(wanted))?;
            let mut room = memory.room(wanted).await;
            let inflated = match self.inflate(form.encoding, raw, need.inflated).await {
                Err(InflateError::TooLarge { .. }) if !is_plain && need.inflated < limit => {
                    need = Need { inflated: limit, made: limit };
                    continue;
                }
                inflated => inflated.map_err(|error| refusal(&error))?,
            };
            let made = made_bytes(port, form, &inflated);
            if made > need.made {
                need = Need { inflated: inflated.len(), made };
                continue;
            }
            let inflated_bytes = if is_plain { 0 } else { inflated.len() };
            room.shrink(inflated_bytes.saturating_add(made));
            if is_plain {
                room.join(memory.take_body());
            }
            if form.format == Format::Protobuf {
                return Ok(ReadBody { protobuf: room.hold(inflated), json: json::Read::default() });
            }
            return read_json(port, form.signal, inflated, room, memory).await;
        }
    }

    async fn inflate(&self, encoding: Encoding, raw: &Bytes, output_bytes_max: usize) -> Result<Bytes, InflateError> {
        if encoding == Encoding::Identity {
            return Ok(raw.clone());
        }
        if output_bytes_max > SLICED_FROM_BYTES {
            return inflate_in_slices(encoding, raw, output_bytes_max).await;
        }
        self.inflater.borrow_mut().inflate(encoding, raw, output_bytes_max)
    }

    /// A request that takes more than what the memory plan has for the largest would break the plan.
    fn check(&self, bytes: usize) -> Result<(), Refusal> {
        let most = self.memory_bytes_max;
        if bytes <= most {
            return Ok(());
        }
        let told = format!(
            "reading the request takes {bytes} bytes of memory, and one request may take {most}: send smaller batches, or \
             raise memory.bytes_max"
        );
        Err(Refusal::TooLarge(told))
    }
}

/// Reads a text, large ones in slices.
async fn read_json(
    port: &impl Port,
    signal: Signal,
    text: Bytes,
    mut room: Room,
    memory: &RequestMemory,
) -> Result<ReadBody, Refusal> {
    let mut reading = JsonBody::new(signal, text);
    let (protobuf, json) = loop {
        if let Some(read) = reading.read_on()? {
            break read;
        }
        port.pause().await;
    };
    // Known only now, and small beside the text unless somebody makes it otherwise: it does not wait.
    room.join(memory.charge(port.weight(signal, &protobuf)));
    Ok(ReadBody { protobuf: room.hold(protobuf), json })
}

/// What is made of an inflated body before it is logged and handed over.
fn made_bytes(port: &impl Port, form: Form, inflated: &Bytes) -> usize {
    match form.format {
        Format::Protobuf => port.weight(form.signal, inflated),
        Format::Json => protobuf_bytes_max(inflated),
    }
}

fn refusal(error: &InflateError) -> Refusal {
    match error {
        InflateError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
        InflateError::Malformed => Refusal::Invalid(error.to_string()),
    }
}
