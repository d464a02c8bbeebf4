//! `Export*ServiceResponse`, the same shape for all signals: what a receiver says of a partial success and what an
//! exporter reads of one.
//!
//! ```text
//! Export*ServiceResponse        1 Export*PartialSuccess
//! Export*PartialSuccess         1 rejected_<items> int64   2 error_message string
//! ```
//! Source: OTLP 1.11, collector/*/v1. In JSON the count is a string, as all 64-bit integers.

use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::wire::{Reader, put_header, put_varint};

/// A partial success: items that were refused while the rest of their request was accepted.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PartialSuccess {
    /// Items refused; 0 with a message is a warning.
    pub rejected: u32,
    /// Why.
    pub message: String,
}

impl PartialSuccess {
    /// The response as protobuf.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        let mut inner = Vec::with_capacity(self.message.len() + 16);
        if self.rejected > 0 {
            inner.push(0x08);
            put_varint(&mut inner, u64::from(self.rejected));
        }
        put_header(&mut inner, 2, self.message.len());
        inner.extend_from_slice(self.message.as_bytes());
        let mut out = Vec::with_capacity(inner.len() + 8);
        put_header(&mut out, 1, inner.len());
        out.extend_from_slice(&inner);
        out
    }

    /// The response as JSON.
    #[must_use]
    pub fn to_json(&self, signal: Signal) -> Vec<u8> {
        let name = match signal {
            Signal::Traces => "rejectedSpans",
            Signal::Metrics => "rejectedDataPoints",
            Signal::Logs => "rejectedLogRecords",
        };
        let rejected = self.rejected.to_string();
        serde_json::json!({ "partialSuccess": { name: rejected, "errorMessage": self.message } })
            .to_string()
            .into_bytes()
    }

    /// What a response says; `None` when it is a full success or can't be read, which counts as one.
    #[must_use]
    pub fn read(response: &[u8]) -> Option<Self> {
        let mut found = Self { rejected: 0, message: String::new() };
        let mut outer = Reader::new(response);
        while let Some(field) = outer.next_field().ok()? {
            if field.number == 1 {
                found.read_inner(field.bytes().ok()?)?;
            }
        }
        (found.rejected > 0 || !found.message.is_empty()).then_some(found)
    }

    fn read_inner(&mut self, message: &[u8]) -> Option<()> {
        let mut inner = Reader::new(message);
        while let Some(field) = inner.next_field().ok()? {
            match field.number {
                1 => self.rejected = u32::try_from(field.varint().ok()?).unwrap_or(u32::MAX),
                2 => self.message = String::from_utf8_lossy(field.bytes().ok()?).into_owned(),
                _ => {}
            }
        }
        Some(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_reads_back() {
        let partial = PartialSuccess { rejected: 300, message: "bad ids".into() };
        assert_eq!(PartialSuccess::read(&partial.to_protobuf()), Some(partial.clone()));
        let json = String::from_utf8(partial.to_json(Signal::Traces)).unwrap();
        assert_eq!(json, r#"{"partialSuccess":{"errorMessage":"bad ids","rejectedSpans":"300"}}"#);
    }

    #[test]
    fn a_full_success_is_none() {
        assert_eq!(PartialSuccess::read(&[]), None);
        assert_eq!(PartialSuccess::read(&[0x0a, 0]), None);
        assert_eq!(PartialSuccess::read(b"not protobuf at all"), None);
    }
}
