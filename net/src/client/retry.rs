//! What a server's answer says about trying again: `Retry-After`, gRPC trailers and the `RetryInfo` in their details.

use crate::status::{Code, GrpcStatus};
use base64::Engine as _;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use http::HeaderMap;
use std::time::{Duration, UNIX_EPOCH};

/// gRPC's binary headers are base64, padded or not.
const BASE64: GeneralPurpose = GeneralPurpose::new(
    &base64::alphabet::STANDARD,
    GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent),
);

/// A server may ask for patience, but not for ever.
const RETRY_AFTER_MAX: Duration = Duration::from_secs(24 * 60 * 60);

/// The delay that a `Retry-After` header asks for (RFC 9110, 10.2.3): seconds, or a date compared with `now_unix_seconds`.
/// A date in the past is no delay; what cannot be read is `None`; more than a day is a day.
#[must_use]
pub fn retry_after(value: &str, now_unix_seconds: u64) -> Option<Duration> {
    let value = value.trim();
    let delay = if let Ok(seconds) = value.parse::<u64>() {
        Duration::from_secs(seconds)
    } else {
        let date = httpdate::parse_http_date(value).ok()?.duration_since(UNIX_EPOCH).ok()?;
        date.saturating_sub(Duration::from_secs(now_unix_seconds))
    };
    Some(delay.min(RETRY_AFTER_MAX))
}

/// The delay of the headers' `Retry-After`, by the machine's clock.
pub(super) fn retry_after_header(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get(http::header::RETRY_AFTER)?.to_str().ok()?;
    retry_after(value, tailwater_runtime::clock::unix_nanos() / 1_000_000_000)
}

/// The status in gRPC trailers (or in the headers of a trailers-only answer); `None` without `grpc-status`.
pub(super) fn grpc_status(trailers: &HeaderMap) -> Option<GrpcStatus> {
    let text = |name: &str| trailers.get(name).and_then(|value| value.to_str().ok());
    let number = trailers.get("grpc-status")?.to_str().ok().and_then(|code| code.parse().ok());
    let message = trailers.get("grpc-message").map(|value| percent_decode(value.as_bytes())).unwrap_or_default();
    let mut status = GrpcStatus::new(number.map_or(Code::Unknown, Code::from_number), message);
    let details = text("grpc-status-details-bin").and_then(|value| BASE64.decode(value).ok());
    status.retry_after = details.and_then(|details| retry_info(&details)).or_else(|| {
        // gRPC's own retry design (A6) spells the delay as a trailer in milliseconds.
        let milliseconds = text("grpc-retry-pushback-ms")?.parse().ok()?;
        Some(Duration::from_millis(milliseconds).min(RETRY_AFTER_MAX))
    });
    Some(status)
}

/// The status that an HTTP answer without `grpc-status` stands for (gRPC's "HTTP to gRPC Status Code Mapping").
pub(super) fn status_of_http(code: http::StatusCode, headers: &HeaderMap) -> GrpcStatus {
    let meaning = match code.as_u16() {
        400 => Code::Internal,
        401 => Code::Unauthenticated,
        403 => Code::PermissionDenied,
        404 => Code::Unimplemented,
        429 | 502 | 503 | 504 => Code::Unavailable,
        _ => Code::Unknown,
    };
    let mut status = GrpcStatus::new(meaning, format!("HTTP {} without a gRPC status", code.as_u16()));
    status.retry_after = retry_after_header(headers);
    status
}

fn percent_decode(value: &[u8]) -> String {
    let mut bytes = Vec::with_capacity(value.len());
    let mut rest = value;
    while let Some((&first, tail)) = rest.split_first() {
        let escaped = (first == b'%').then(|| tail.get(..2)).flatten();
        let escaped = escaped.and_then(|digits| std::str::from_utf8(digits).ok());
        if let Some(byte) = escaped.and_then(|digits| u8::from_str_radix(digits, 16).ok()) {
            bytes.push(byte);
            rest = &tail[2..];
        } else {
            bytes.push(first);
            rest = tail;
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// The delay of the `google.rpc.RetryInfo` among the details of a `google.rpc.Status`.
fn retry_info(status: &[u8]) -> Option<Duration> {
    Fields(status).filter_map(|(field, value)| (field == 3).then_some(value.bytes()?)).find_map(|any| {
        let part = |number| Fields(any).find_map(|(field, value)| (field == number).then_some(value.bytes()?));
        if !part(1)?.ends_with(b"/google.rpc.RetryInfo") {
            return None;
        }
        let delay = Fields(part(2)?).find_map(|(field, value)| (field == 1).then_some(value.bytes()?))?;
        let number = |wanted| {
            let found = Fields(delay).find_map(|(field, value)| (field == wanted).then_some(value.number()?));
            found.unwrap_or(0)
        };
        let seconds = i64::try_from(number(1)).ok()?;
        let nanos = u32::try_from(number(2)).ok().filter(|nanos| *nanos < 1_000_000_000)?;
        Some(Duration::new(u64::try_from(seconds).ok()?, nanos).min(RETRY_AFTER_MAX))
    })
}

/// The fields of a protobuf message; ends early at what is malformed.
struct Fields<'a>(&'a [u8]);

enum FieldValue<'a> {
    Number(u64),
    Bytes(&'a [u8]),
}

impl<'a> FieldValue<'a> {
    const fn bytes(&self) -> Option<&'a [u8]> {
        if let Self::Bytes(bytes) = self { Some(bytes) } else { None }
    }

    const fn number(&self) -> Option<u64> {
        if let Self::Number(number) = self { Some(*number) } else { None }
    }
}

impl Fields<'_> {
    fn varint(&mut self) -> Option<u64> {
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Some(value);
            }
        }
        None
    }
}

impl<'a> Fields<'a> {
    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = (u64, FieldValue<'a>);

    fn next(&mut self) -> Option<Self::Item> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => FieldValue::Number(self.varint()?),
            1 => FieldValue::Bytes(self.take(8)?),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => FieldValue::Bytes(self.take(4)?),
            _ => return None,
        };
        Some((key >> 3, value))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn retry_after_is_seconds_or_a_date() {
        assert_eq!(retry_after(" 7 ", 0), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_770), Some(Duration::from_secs(7)));
        assert_eq!(retry_after("Sun, 06 Nov 1994 08:49:37 GMT", 784_111_780), Some(Duration::ZERO));
        assert_eq!(retry_after("99999999999", 0), Some(RETRY_AFTER_MAX));
        assert_eq!(retry_after("-1", 0), None);
        assert_eq!(retry_after("soon", 0), None);
    }

    #[test]
    fn retry_info_is_found_among_other_details() {
        // google.rpc.Status { code: 14, message: "x", details: [Any { "a/b", "" }, Any { RetryInfo { 2.5 s } }] }
        let delay = [0x08, 2, 0x10, 0x80, 0xca, 0xb5, 0xee, 0x01];
        let info = [&[0x0a, 8][..], &delay].concat();
        let url = b"type.googleapis.com/google.rpc.RetryInfo";
        let any = [&[0x0a, url.len() as u8][..], url, &[0x12, info.len() as u8], &info].concat();
        let status = [&[8, 14, 0x12, 1, b'x', 0x1a, 5, 0x0a, 3, b'a', b'/', b'b'][..], &[0x1a, any.len() as u8], &any];
        let status = status.concat();
        assert_eq!(retry_info(&status), Some(Duration::from_millis(2500)));
        for length in 0..status.len() {
            assert_eq!(retry_info(&status[..length]), None, "cut at {length}");
        }
        let mut trailers = HeaderMap::new();
        trailers.insert("grpc-status", "14".parse().unwrap());
        trailers.insert("grpc-message", "caf%C3%A9 100% full".parse().unwrap());
        let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(&status);
        trailers.insert("grpc-status-details-bin", details.parse().unwrap());
        let status = grpc_status(&trailers).unwrap();
        assert_eq!(status.code, Code::Unavailable);
        assert_eq!(status.message, "caf\u{e9} 100% full");
        assert_eq!(status.retry_after, Some(Duration::from_millis(2500)));
    }

    #[test]
    fn odd_status_numbers_are_unknown() {
        let mut trailers = HeaderMap::new();
        assert!(grpc_status(&trailers).is_none());
        for (text, expected) in
            [("0", Code::Ok), ("16", Code::Unauthenticated), ("17", Code::Unknown), ("x", Code::Unknown)]
        {
            trailers.insert("grpc-status", text.parse().unwrap());
            assert_eq!(grpc_status(&trailers).unwrap().code, expected);
        }
    }
}
