//! Bodies of requests as they come, or as the log kept them: inflating, and JSON to protobuf.

use super::receiver::{Format, Refusal};
use bytes::Bytes;
use tailwater_net::compression::{Encoding, InflateError, Inflater};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{DEPTH_MAX, JsonReader};

/// An inflated JSON body is copied to be parsed in place; a scratch grown past this is given back.
const JSON_SCRATCH_BYTES_MAX: usize = 8 << 20;

/// Reads bodies, one after another, in the same memory.
pub struct BodyReader {
    bytes_max: usize,
    inflater: Inflater,
    json: JsonReader,
    /// A copy of the text, which is parsed in place.
    text: Vec<u8>,
}

impl BodyReader {
    /// A reader of bodies of at most `bytes_max` bytes once inflated.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inflater: Inflater::new(), json: JsonReader::new(DEPTH_MAX), text: Vec::new() }
    }

    /// The request as uncompressed protobuf.
    ///
    /// # Errors
    /// `Refusal::TooLarge` or `Refusal::Invalid`.
    pub fn protobuf(
        &mut self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: &Bytes,
    ) -> Result<Bytes, Refusal> {
        let inflated = self.inflater.inflate(encoding, body, self.bytes_max);
        let inflated = inflated.map_err(|error| match error {
            InflateError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
            InflateError::Malformed => Refusal::Invalid(error.to_string()),
        })?;
        if format == Format::Protobuf {
            return Ok(inflated);
        }
        self.text.clear();
        self.text.extend_from_slice(&inflated);
        let mut out = Vec::with_capacity(self.text.len() / 2);
        let outcome = self.json.to_protobuf(signal, &mut self.text, &mut out);
        if self.text.capacity() > JSON_SCRATCH_BYTES_MAX {
            self.text = Vec::new();
        }
        match outcome {
            Ok(()) => Ok(out.into()),
            Err(error) => Err(Refusal::Invalid(format!("the request is not valid OTLP/JSON: {error}"))),
        }
    }
}
