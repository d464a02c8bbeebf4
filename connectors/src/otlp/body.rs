//! Bodies of requests as they come, or as the log kept them: inflating, JSON to protobuf, and what is left of a request of
//! metrics or logs once what no next hop would accept is taken out. All of it follows from the body alone, so that a
//! request that is read from the log again comes to the same.

use super::port::{Format, Refusal};
use bytes::Bytes;
use tailwater_net::compression::{Encoding, InflateError, Inflater};
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::{JsonError, JsonReading, Read, protobuf_bytes_max};

/// Bytes of JSON that are read before other tasks of the core run: a millisecond's worth of the densest, about.
/// At the bound: other tasks run, then it goes on.
const JSON_SLICE_BYTES: usize = 64 << 10;

/// Reads bodies, one after another, in the same memory.
pub struct BodyReader {
    bytes_max: usize,
    inflater: Inflater,
}

impl BodyReader {
    /// A reader of bodies of at most `bytes_max` bytes once inflated.
    #[must_use]
    pub fn new(bytes_max: usize) -> Self {
        Self { bytes_max, inflater: Inflater::new() }
    }

    /// The body without its compression.
    ///
    /// # Errors
    /// `Refusal::TooLarge` or `Refusal::Invalid`.
    pub fn inflated(&mut self, encoding: Encoding, body: &Bytes) -> Result<Bytes, Refusal> {
        self.inflater.inflate(encoding, body, self.bytes_max).map_err(|error| match error {
            InflateError::TooLarge { .. } => Refusal::TooLarge(error.to_string()),
            InflateError::Malformed => Refusal::Invalid(error.to_string()),
        })
    }

    /// The request as uncompressed protobuf, in one go.
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
        self.counted(signal, format, encoding, body).map(|(protobuf, _)| protobuf)
    }

    /// As `protobuf`, with a `pause` after each slice of JSON, in which others run.
    ///
    /// # Errors
    /// As `protobuf`.
    pub async fn protobuf_in_slices(
        &mut self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: &Bytes,
        pause: impl AsyncFn(),
    ) -> Result<Bytes, Refusal> {
        let inflated = self.inflated(encoding, body)?;
        if format == Format::Protobuf {
            return Ok(inflated);
        }
        let mut json = JsonBody::new(signal, inflated);
        loop {
            if let Some((protobuf, _)) = json.read_on()? {
                return Ok(protobuf);
            }
            pause().await;
        }
    }

    /// As `protobuf`, with how many items of JSON were left out of it.
    ///
    /// # Errors
    /// As `protobuf`.
    pub fn counted(
        &mut self,
        signal: Signal,
        format: Format,
        encoding: Encoding,
        body: &Bytes,
    ) -> Result<(Bytes, u32), Refusal> {
        let inflated = self.inflated(encoding, body)?;
        if format == Format::Protobuf {
            return Ok((inflated, 0));
        }
        let mut json = JsonBody::new(signal, inflated);
        loop {
            if let Some((protobuf, read)) = json.read_on()? {
                return Ok((protobuf, read.refused));
            }
        }
    }
}

/// A JSON body that is read in slices.
pub(super) struct JsonBody {
    text: Bytes,
    reading: JsonReading,
    protobuf: Vec<u8>,
}

impl JsonBody {
    pub(super) fn new(signal: Signal, text: Bytes) -> Self {
        // All of what it can become, so that it never grows; what is not written is never touched.
        let protobuf = Vec::with_capacity(protobuf_bytes_max(&text));
        Self { text, reading: JsonReading::new(signal, 0), protobuf }
    }

    /// Reads the next slice; returns the protobuf and what was read once it is the last.
    pub(super) fn read_on(&mut self) -> Result<Option<(Bytes, Read)>, Refusal> {
        let read = self.reading.advance(&self.text, JSON_SLICE_BYTES, &mut self.protobuf);
        let Some(read) = read.map_err(|error| json_refusal(&error))? else { return Ok(None) };
        let mut protobuf = std::mem::take(&mut self.protobuf);
        protobuf.shrink_to_fit();
        Ok(Some((protobuf.into(), read)))
    }
}

fn json_refusal(error: &JsonError) -> Refusal {
    Refusal::Invalid(format!("the request is not valid OTLP/JSON: {error}"))
}
