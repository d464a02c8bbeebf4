//! `google.rpc.Status` and its two details, written by hand.
//!
//! ```text
//! Status      { 1: int32 code   2: string message   3: repeated Any details }
//! Any         { 1: string type_url   2: bytes value }
//! RetryInfo   { 1: Duration retry_delay }        Duration { 1: int64 seconds   2: int32 nanos }
//! BadRequest  { 1: repeated FieldViolation }     FieldViolation { 1: string field   2: string description }
//! ```

use std::fmt::Write as _;
use std::time::Duration;

use super::GrpcStatus;

const RETRY_INFO: &str = "type.googleapis.com/google.rpc.RetryInfo";
const BAD_REQUEST: &str = "type.googleapis.com/google.rpc.BadRequest";

pub(super) fn protobuf(status: &GrpcStatus) -> Vec<u8> {
    let mut out = Vec::with_capacity(status.message.len() + 128);
    put_number(&mut out, 1, u64::from(status.code.number()));
    put_bytes(&mut out, 2, status.message.as_bytes());
    if let Some(delay) = status.retry_after {
        let mut info = Vec::new();
        put_bytes(&mut info, 1, &duration(delay));
        put_bytes(&mut out, 3, &any(RETRY_INFO, &info));
    }
    if status.bad_request {
        let mut violation = Vec::new();
        put_bytes(&mut violation, 2, status.message.as_bytes());
        let mut details = Vec::new();
        put_bytes(&mut details, 1, &violation);
        put_bytes(&mut out, 3, &any(BAD_REQUEST, &details));
    }
    out
}

fn any(type_url: &str, value: &[u8]) -> Vec<u8> {
    let mut out = Vec::with_capacity(type_url.len() + value.len() + 8);
    put_bytes(&mut out, 1, type_url.as_bytes());
    put_bytes(&mut out, 2, value);
    out
}

fn duration(duration: Duration) -> Vec<u8> {
    let mut out = Vec::new();
    put_number(&mut out, 1, duration.as_secs());
    put_number(&mut out, 2, u64::from(duration.subsec_nanos()));
    out
}

/// A varint field; zero is the default and left out.
fn put_number(out: &mut Vec<u8>, field: u8, number: u64) {
    if number != 0 {
        out.push(field << 3);
        put_varint(out, number);
    }
}

/// A length-delimited field; the empty string is the default and left out.
fn put_bytes(out: &mut Vec<u8>, field: u8, bytes: &[u8]) {
    if !bytes.is_empty() {
        out.push(field << 3 | 2);
        put_varint(out, bytes.len() as u64);
        out.extend_from_slice(bytes);
    }
}

fn put_varint(out: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = number.to_le_bytes()[0] & 0x7f;
        number >>= 7;
        if number == 0 {
            out.push(low);
            return;
        }
        out.push(low | 0x80);
    }
}

pub(super) fn json(status: &GrpcStatus) -> String {
    let mut out = String::with_capacity(status.message.len() + 64);
    out.push_str("{\"code\":");
    out.push_str(status.code.text());
    out.push_str(",\"message\":");
    put_json_text(&mut out, &status.message);
    let mut separator = ",\"details\":[";
    if let Some(delay) = status.retry_after {
        // Protobuf's JSON form of a Duration: seconds with a fraction and an "s".
        let nanos = delay.subsec_nanos();
        out.push_str(separator);
        let _infallible = match nanos {
            0 => write!(out, "{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{}s\"}}", delay.as_secs()),
            _ => write!(out, "{{\"@type\":\"{RETRY_INFO}\",\"retryDelay\":\"{}.{nanos:09}s\"}}", delay.as_secs()),
        };
        separator = ",";
    }
    if status.bad_request {
        out.push_str(separator);
        let _infallible = write!(out, "{{\"@type\":\"{BAD_REQUEST}\",\"fieldViolations\":[{{\"description\":");
        put_json_text(&mut out, &status.message);
        out.push_str("}]}");
    }
    if status.has_details() {
        out.push(']');
    }
    out.push('}');
    out
}

fn put_json_text(out: &mut String, text: &str) {
    out.push('"');
    for character in text.chars() {
        match character {
            '"' => out.push_str("\\\""),
            '\\' => out.push_str("\\\\"),
            control if u32::from(control) < 0x20 => {
                let _infallible = write!(out, "\\u{:04x}", u32::from(control));
            }
            other => out.push(other),
        }
    }
    out.push('"');
}

pub(super) fn percent_encoded(message: &str) -> String {
    let mut out = String::with_capacity(message.len());
    for byte in message.bytes() {
        if (0x20..0x7f).contains(&byte) && byte != b'%' {
            out.push(char::from(byte));
        } else {
            let _infallible = write!(out, "%{byte:02X}");
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use crate::status::{Code, GrpcStatus};

    #[test]
    fn a_plain_status_has_code_and_message_only() {
        let status = GrpcStatus::new(Code::NotFound, "no");
        assert_eq!(status.to_protobuf(), b"\x08\x05\x12\x02no");
        assert_eq!(status.to_json(), r#"{"code":5,"message":"no"}"#);
        assert_eq!(status.details_base64(), None);
        assert_eq!(GrpcStatus::new(Code::Ok, "").to_protobuf(), b"");
    }

    #[test]
    fn details_follow_the_published_shapes() {
        // The bytes are those of googleapis-common-protos for Python.
        let mut status = GrpcStatus::overloaded("busy", Duration::from_millis(1500));
        let retry_info =
            b"\x0a\x28type.googleapis.com/google.rpc.RetryInfo\x12\x0a\x0a\x08\x08\x01\x10\x80\xca\xb5\xee\x01";
        let expected = [&b"\x08\x0e\x12\x04busy\x1a\x36"[..], retry_info].concat();
        assert_eq!(status.to_protobuf(), expected);
        status.bad_request = true;
        let bad_request = b"\x0a\x29type.googleapis.com/google.rpc.BadRequest\x12\x08\x0a\x06\x12\x04busy";
        let expected = [&expected[..], b"\x1a\x35", bad_request].concat();
        assert_eq!(status.to_protobuf(), expected);
        assert_eq!(
            status.to_json(),
            concat!(
                r#"{"code":14,"message":"busy","details":[{"@type":"type.googleapis.com/google.rpc.RetryInfo","#,
                r#""retryDelay":"1.500000000s"},{"@type":"type.googleapis.com/google.rpc.BadRequest","#,
                r#""fieldViolations":[{"description":"busy"}]}]}"#
            )
        );
    }

    #[test]
    fn long_texts_get_long_lengths() {
        let status = GrpcStatus::new(Code::Internal, "x".repeat(300));
        let bytes = status.to_protobuf();
        assert_eq!(bytes[..5], [0x08, 13, 0x12, 0xac, 0x02]);
        assert_eq!(bytes.len(), 305);
    }

    #[test]
    fn text_that_headers_and_json_cannot_carry_is_escaped() {
        let status = GrpcStatus::new(Code::Unknown, "100 % \"\\\n\u{e9}");
        assert_eq!(status.message_percent_encoded(), "100 %25 \"\\%0A%C3%A9");
        assert_eq!(status.to_json(), "{\"code\":2,\"message\":\"100 % \\\"\\\\\\u000a\u{e9}\"}");
    }
}
