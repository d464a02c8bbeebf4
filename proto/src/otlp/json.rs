//! OTLP/JSON to protobuf and back for the three export requests, by one schema table and without decoding into types.
//!
//! What is read is what the Collector reads, and what protobuf's JSON mapping allows beyond that: names in lowerCamelCase
//! and in snake_case, enumerations by number and by name, integers as text or number, trace and span ids in hexadecimal of
//! either case, bytes in base64, `NaN` and `Infinity` as text, null as nothing. Half a surrogate pair and bytes that are no
//! UTF-8 become U+FFFD. Of a name that comes twice lists are put together, and of other values the last holds. Names that
//! are not known are passed over and counted.
//!
//! What is written has lowerCamelCase names, numbers for enumerations and text for 64-bit integers, in the order of the
//! fields' numbers.

mod read;
mod scalar;
mod text;
mod write;

pub use read::JsonReading;
pub use write::from_protobuf;

use thiserror::Error;

use super::Signal;
use super::wire::WireError;

/// Deepest nesting of JSON that is read: 9 levels to a span's attribute value and 3 for each list or map in it, so
/// about what `check::ANY_VALUE_DEPTH_MAX` accepts afterwards.
/// At the bound: the span, point or record is refused; counted in `tailwater_items_refused_total{cause="nesting"}`.
pub const DEPTH_MAX: usize = 128;

/// What an item is told that is nested deeper than `DEPTH_MAX`.
const TOO_DEEP: &str = "must not be nested deeper than 128 levels";
const _: () = assert!(DEPTH_MAX == 128, "the message says so");

/// Most bytes of protobuf that a byte of JSON becomes, rounded up: a list of numbers of one digit, of which each takes
/// two bytes as text and eight as protobuf, and what `protobuf_bytes_max` adds for safety.
/// At the bound: cannot be passed.
pub const PROTOBUF_BYTES_PER_BYTE_MAX: usize = 5;

/// What was read of a request.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Read {
    /// Spans, metric points or log records that were written.
    pub items: u32,
    /// Those that were left out, because a value in them, or above them, is not what its field needs.
    pub refused: u32,
    /// The first such value.
    pub fault: Option<ItemFault>,
    /// Names that are not known; their values were passed over.
    pub ignored_names: u32,
    /// Texts in which something was not UTF-8, or half a surrogate pair, and became U+FFFD.
    pub repaired_texts: u32,
}

/// A value that is not what its field needs: it costs the item it stands in, or the items under what it stands in.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("{path}: {expected}")]
pub struct ItemFault {
    /// Where it stands, such as `resourceSpans[0].scopeSpans[0].spans[3].kind`.
    pub path: String,
    /// What is needed there.
    pub expected: &'static str,
}

/// A place in a text.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    /// Line, from 1.
    pub line: usize,
    /// Byte in the line, from 1.
    pub column: usize,
    /// Bytes before it in the text.
    pub offset: usize,
}

impl std::fmt::Display for Place {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(formatter, "line {}, column {} (byte {})", self.line, self.column, self.offset)
    }
}

/// Why text is not an OTLP/JSON request. The output holds nothing of it; the sender is told 400 and does not retry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON at {place}{}: {cause}", within(.path))]
    Syntax {
        /// Where.
        place: Place,
        /// The field that was being read; empty at the outermost level.
        path: String,
        /// What is wrong there.
        cause: &'static str,
    },
    /// What is passed over is nested too deeply.
    #[error("nested deeper than {0} levels")]
    Depth(usize),
    /// Nothing of the request can be used, because a value is not what its field needs.
    #[error("{path}: {expected}")]
    Field {
        /// Where it stands, such as `resourceSpans[0].resource`.
        path: String,
        /// What is needed there.
        expected: &'static str,
    },
    /// No name under which items could stand is known.
    #[error("nothing in it is known: OTLP has no \"{name}\" where it stands{}", instead(.name, *.signal))]
    NothingKnown {
        /// The first name that is not known.
        name: String,
        /// What the request should have been.
        signal: Signal,
    },
}

fn within(path: &str) -> String {
    if path.is_empty() { String::new() } else { format!(", in {path}") }
}

/// What to do instead, where a name tells it.
fn instead(name: &str, signal: Signal) -> String {
    let (own, path) = match signal {
        Signal::Traces => ("resourceSpans", "/v1/traces"),
        Signal::Metrics => ("resourceMetrics", "/v1/metrics"),
        Signal::Logs => ("resourceLogs", "/v1/logs"),
    };
    match name {
        "resourceSpans" | "resource_spans" => "; traces go to /v1/traces".into(),
        "resourceMetrics" | "resource_metrics" => "; metrics go to /v1/metrics".into(),
        "resourceLogs" | "resource_logs" => "; logs go to /v1/logs".into(),
        _ => format!("; a request for {path} begins with \"{own}\""),
    }
}

/// Why bytes are not an export request. What was written before the error stands in the output.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ProtobufError {
    /// The bytes are no protobuf.
    #[error(transparent)]
    Wire(#[from] WireError),
    /// Messages are nested too deeply.
    #[error("messages are nested deeper than {0} levels")]
    Depth(usize),
}

/// Reads one request in one go and appends it to `out` as protobuf, or nothing on an error.
///
/// # Errors
/// Any `JsonError`.
pub fn to_protobuf(signal: Signal, json: &[u8], out: &mut Vec<u8>) -> Result<Read, JsonError> {
    let mut reading = JsonReading::new(signal, out.len());
    loop {
        if let Some(read) = reading.advance(json, json.len(), out)? {
            return Ok(read);
        }
    }
}

/// Most bytes of protobuf that this text can become. Known before it is read, at the cost of counting commas; beside the
/// text and this nothing is needed that grows with the text, but a string with escapes once more.
#[must_use]
pub fn protobuf_bytes_max(json: &[u8]) -> usize {
    let lists = json.iter().filter(|byte| matches!(byte, b',' | b'[')).count();
    // A byte that is no UTF-8 becomes three.
    let broken = if std::str::from_utf8(json).is_ok() { 0 } else { json.iter().filter(|byte| **byte >= 0x80).count() };
    // A name and a value take no more than an eighth above their text; a number in a list six bytes more than its text.
    let bytes = json.len() + json.len() / 8 + 6 * lists + 2 * broken + 16;
    bytes.min(json.len() * PROTOBUF_BYTES_PER_BYTE_MAX + 16)
}
