//! `Export*ServiceResponse`, the same shape for all signals: what a receiver says of a partial success and what an
//! exporter reads of one.
//!
//! ```text
//! Export*ServiceResponse        1 Export*PartialSuccess
//! Export*PartialSuccess         1 rejected_<items> int64   2 error_message string
//! ```
//! Source: OTLP 1.11, collector/*/v1. In JSON the count is a string, as all 64-bit integers.

use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::wire::{Reader, WireError, put_header, put_varint};

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
        let name = rejected_name(signal);
        let rejected = self.rejected.to_string();
        serde_json::json!({ "partialSuccess": { name: rejected, "errorMessage": self.message } })
            .to_string()
            .into_bytes()
    }

    /// What a response says; `None` when it is a full success.
    ///
    /// # Errors
    /// When it is no response: whoever sent it may not have taken the request.
    pub fn read(response: &[u8]) -> Result<Option<Self>, NoResponse> {
        let mut found = Self { rejected: 0, message: String::new() };
        let mut outer = Reader::new(response);
        while let Some(field) = outer.next_field()? {
            if field.number == 1 {
                found.read_inner(field.bytes()?)?;
            }
        }
        Ok(found.if_partial())
    }

    /// What the body of an HTTP answer of that content type says. An empty one is a full success, whatever its type.
    ///
    /// # Errors
    /// As `read`; a page for people is no response either.
    pub fn read_http(content_type: &str, signal: Signal, body: &[u8]) -> Result<Option<Self>, NoResponse> {
        let kind = content_type.split(';').next().unwrap_or_default().trim().to_ascii_lowercase();
        if kind == "text/html" {
            return Err(NoResponse);
        }
        if body.is_empty() {
            return Ok(None);
        }
        if kind == "application/json" { Self::read_json(signal, body) } else { Self::read(body) }
    }

    fn read_json(signal: Signal, body: &[u8]) -> Result<Option<Self>, NoResponse> {
        let answer: serde_json::Value = serde_json::from_slice(body).map_err(|_| NoResponse)?;
        let partial = &answer.as_object().ok_or(NoResponse)?.get("partialSuccess");
        let Some(partial) = partial else { return Ok(None) };
        let count = partial.get(rejected_name(signal));
        let number = count.and_then(|count| count.as_i64().or_else(|| count.as_str()?.parse().ok()));
        let message = partial.get("errorMessage").and_then(serde_json::Value::as_str).unwrap_or_default();
        Ok(Self { rejected: rejected(number.unwrap_or(0)), message: message.to_string() }.if_partial())
    }

    fn if_partial(self) -> Option<Self> {
        (self.rejected > 0 || !self.message.is_empty()).then_some(self)
    }

    fn read_inner(&mut self, message: &[u8]) -> Result<(), NoResponse> {
        let mut inner = Reader::new(message);
        let mut count = 0;
        while let Some(field) = inner.next_field()? {
            match field.number {
                1 => count = field.varint()?.cast_signed(),
                2 => self.message = String::from_utf8_lossy(field.bytes()?).into_owned(),
                _ => {}
            }
        }
        self.rejected = rejected(count);
        if count < 0 {
            self.message = format!("it counts {count} refused items; {}", self.message);
        }
        Ok(())
    }
}

/// Bytes that are no `Export*ServiceResponse`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NoResponse;

impl From<WireError> for NoResponse {
    fn from(_: WireError) -> Self {
        Self
    }
}

/// A count as it came: less than none is none.
fn rejected(count: i64) -> u32 {
    u32::try_from(count.max(0)).unwrap_or(u32::MAX)
}

/// Name of the count in JSON.
const fn rejected_name(signal: Signal) -> &'static str {
    match signal {
        Signal::Traces => "rejectedSpans",
        Signal::Metrics => "rejectedDataPoints",
        Signal::Logs => "rejectedLogRecords",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partial_success_reads_back() {
        let partial = PartialSuccess { rejected: 300, message: "bad ids".into() };
        assert_eq!(PartialSuccess::read(&partial.to_protobuf()), Ok(Some(partial.clone())));
        let json = String::from_utf8(partial.to_json(Signal::Traces)).unwrap();
        assert_eq!(json, r#"{"partialSuccess":{"errorMessage":"bad ids","rejectedSpans":"300"}}"#);
    }

    #[test]
    fn a_full_success_is_none_and_garbage_is_no_success() {
        assert_eq!(PartialSuccess::read(&[]), Ok(None));
        assert_eq!(PartialSuccess::read(&[0x0a, 0]), Ok(None));
        assert_eq!(PartialSuccess::read(b"not protobuf at all"), Err(NoResponse));
        assert_eq!(PartialSuccess::read(&[0x08, 1]), Err(NoResponse), "no message");
    }

    #[test]
    fn less_than_none_refused_is_none_and_told() {
        let negative = [&[0x0a, 11, 0x08][..], &[0xff; 9], &[1]].concat();
        let read = PartialSuccess::read(&negative).unwrap().unwrap();
        assert!(read.rejected == 0 && !read.message.is_empty());
        let json = br#"{"partialSuccess": {"rejectedSpans": "-3", "errorMessage": "x"}}"#;
        let read = PartialSuccess::read_http("application/json", Signal::Traces, json).unwrap().unwrap();
        assert_eq!(read, PartialSuccess { rejected: 0, message: "x".into() });
    }

    #[test]
    fn an_answer_over_http_is_what_its_type_says() {
        let read = |kind, body: &[u8]| PartialSuccess::read_http(kind, Signal::Logs, body);
        for kind in ["", "application/x-protobuf", "application/json", "text/plain; charset=utf-8"] {
            assert_eq!(read(kind, b""), Ok(None), "{kind}");
        }
        for (kind, body) in [
            ("text/html; charset=utf-8", &b""[..]),
            ("Text/HTML", b"<html>log in</html>"),
            ("", b"hello"),
            ("text/plain", b"hello"),
            ("application/x-protobuf", b"<html>"),
            ("application/json", b"[]"),
            ("application/json", b"<html>"),
        ] {
            assert_eq!(read(kind, body), Err(NoResponse), "{kind}");
        }
        assert_eq!(read("application/json; charset=utf-8", b"{}"), Ok(None));
        let partial = PartialSuccess { rejected: 3, message: "bad".into() };
        assert_eq!(read("application/json", &partial.to_json(Signal::Logs)), Ok(Some(partial.clone())));
        assert_eq!(read("application/x-protobuf", &partial.to_protobuf()), Ok(Some(partial)));
    }
}
