//! OTLP/JSON to protobuf and back for the three export requests, by one schema table and without decoding into types.
//!
//! The JSON mapping is protobuf's with OTLP's exceptions (OTLP 1.11, "JSON Protobuf Encoding"): trace and span ids are
//! hexadecimal in either case, enumerations are numbers only, names are lowerCamelCase only, unknown names are ignored.
//! 64-bit integers are read as text or number and written as text; bytes are base64; `NaN`, `Infinity` and `-Infinity`
//! are text; null is absent. Fields are written in the order of their numbers, in both directions, whatever the order
//! of the input, so that equal requests give equal bytes.

mod read;

mod write;

pub use read::JsonReader;
pub use write::from_protobuf;

use thiserror::Error;

use super::Signal;
use super::wire::WireError;

/// Deepest nesting of JSON that is read when the caller has no reason for less: 9 levels to a span's attribute value and
/// 3 for each list or map in it, so about what `check::ANY_VALUE_DEPTH_MAX` accepts afterwards.
pub const DEPTH_MAX: usize = 128;

/// Why text is not an OTLP/JSON request. The output holds nothing of it; the sender is told 400 and does not retry.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum JsonError {
    /// The text is not JSON.
    #[error("not JSON at byte {offset}: {cause}")]
    Syntax {
        /// Offset in the text.
        offset: usize,
        /// The parser's word for it.
        cause: String,
    },
    /// The text is nested too deeply.
    #[error("nested deeper than {0} levels")]
    Depth(usize),
    /// The text holds so many values for its length that it would need many times its size in memory.
    #[error("{values} values in {bytes} bytes, which is too dense")]
    Dense {
        /// Values, at most.
        values: usize,
        /// Length of the text.
        bytes: usize,
    },
    /// A value is not what its field needs.
    #[error("{path}: {expected}")]
    Field {
        /// Where it stands, such as `resourceSpans[0].scopeSpans[0].spans[3].traceId`.
        path: String,
        /// What is needed there.
        expected: &'static str,
    },
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

/// Reads one request. For many requests keep a [`JsonReader`], which reuses its buffers.
///
/// `json` is overwritten: strings are unescaped in place. The protobuf is appended to `out`, or nothing on an error.
///
/// # Errors
/// Any `JsonError`.
pub fn to_protobuf(signal: Signal, json: &mut [u8], depth_max: usize, out: &mut Vec<u8>) -> Result<(), JsonError> {
    JsonReader::new(depth_max).to_protobuf(signal, json, out)
}
