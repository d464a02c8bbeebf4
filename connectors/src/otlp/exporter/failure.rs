//! What a failed call means: whether it may pass, whether the request is too large, and what of it is told in which words.

use super::reports::Kind;
use std::time::Duration;
use tailwater_net::client::CallError;
use tailwater_net::status::Code;

/// Longest text of a server that is repeated.
const WORDS_MAX: usize = 300;

/// What becomes of a request after a failure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Failure {
    /// It may pass: the request is sent again.
    Passing,
    /// The server takes smaller ones only.
    TooLarge,
    /// The server refuses it, but it is to wait in the log.
    Parks,
    /// The server refuses it for good.
    Final,
}

impl Failure {
    /// What `error` means where answers of the HTTP statuses `park_on` are to be waited out.
    pub(super) fn of(error: &CallError, park_on: &[u16]) -> Self {
        if is_too_large(error) {
            return Self::TooLarge;
        }
        if error.is_retryable() {
            return Self::Passing;
        }
        let parks = http_status(error).is_some_and(|code| park_on.contains(&code));
        if parks { Self::Parks } else { Self::Final }
    }

    /// Whether it is the server that fails, and not the request.
    pub(super) fn is_of_server(self) -> bool {
        matches!(self, Self::Passing | Self::Parks)
    }
}

/// The status of an answer, in HTTP's terms.
fn http_status(error: &CallError) -> Option<u16> {
    match error {
        CallError::Http { code, .. } => Some(*code),
        CallError::Status(status) => Some(status.http_code().as_u16()),
        _ => None,
    }
}

/// Servers have no status of their own for this in gRPC: they say it in words, each in others.
fn is_too_large(error: &CallError) -> bool {
    match error {
        CallError::Http { code, .. } => *code == 413,
        CallError::Status(status) if status.retry_after.is_none() => {
            let is_meant = matches!(status.code, Code::ResourceExhausted | Code::OutOfRange | Code::Unknown);
            let words = status.message.to_ascii_lowercase();
            let says =
                ["larger than", "too large", "exceeds maximum", "exceeds the maximum", "maximum size", "http 413"];
            is_meant && says.iter().any(|text| words.contains(text))
        }
        _ => false,
    }
}

/// What kind of failure is told.
pub(super) fn kind(error: &CallError, failure: Failure) -> Kind {
    match (error, failure) {
        (_, Failure::TooLarge) => Kind::TooLarge,
        (CallError::Connect(_), _) => Kind::Connect,
        (CallError::Transport(_), _) => Kind::Broken,
        (CallError::Garbage(_), _) => Kind::Garbage,
        (CallError::Deadline, _) => Kind::Deadline,
        (CallError::Status(_) | CallError::Http { .. }, Failure::Passing) => Kind::Busy,
        (CallError::Status(_) | CallError::Http { .. }, _) => match http_status(error) {
            Some(401 | 403) => Kind::Credentials,
            _ => Kind::Refused,
        },
    }
}

/// An error in words, with the server's own, cut to a line.
pub(super) fn describe(error: &CallError, timeout: Duration) -> String {
    let text = match error {
        CallError::Http { code: 401 | 403, body, .. } => {
            format!(
                "the server answered HTTP {}{}: check the credentials under headers",
                http_status(error).unwrap_or(0),
                said(body)
            )
        }
        CallError::Http { code: 404, body, .. } => {
            format!("the server answered HTTP 404{}: check the path of the endpoint", said(body))
        }
        CallError::Http { code, body, .. } => format!("the server answered HTTP {code}{}", said(body)),
        CallError::Status(status) if matches!(status.code, Code::Unauthenticated | Code::PermissionDenied) => {
            format!("{error}: check the credentials under headers")
        }
        CallError::Status(status) if status.code == Code::Unimplemented => {
            format!("{error}: the server does not take this signal, or speaks no OTLP at this port")
        }
        CallError::Deadline => format!("no answer within {timeout:?} (timeout)"),
        other => other.to_string(),
    };
    line(&text)
}

fn said(body: &[u8]) -> String {
    let text = String::from_utf8_lossy(&body[..body.len().min(WORDS_MAX)]);
    if text.trim().is_empty() { String::new() } else { format!(" ({})", text.trim()) }
}

/// Text of another program as a part of one line.
pub(super) fn line(text: &str) -> String {
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(WORDS_MAX).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_net::status::GrpcStatus;

    fn status(code: Code, message: &str) -> CallError {
        CallError::Status(GrpcStatus::new(code, message))
    }

    #[test]
    fn every_server_s_words_for_too_large_are_known() {
        for (code, message) in [
            (Code::ResourceExhausted, "grpc: received message larger than max (5000000 vs. 4194304)"),
            (Code::ResourceExhausted, "grpc: received message after decompression larger than max 4194304"),
            (Code::ResourceExhausted, "gRPC message exceeds maximum size 4194304: 5000000"),
            (Code::ResourceExhausted, "Received message exceeds the maximum configured message size."),
            (Code::ResourceExhausted, "the request is larger than the limit of 4194304 bytes"),
            (Code::OutOfRange, "Error, decoded message length too large: found 5 bytes, the limit is: 4 bytes"),
            (Code::Unknown, "HTTP 413 without a gRPC status"),
        ] {
            assert_eq!(Failure::of(&status(code, message), &[]), Failure::TooLarge, "{message}");
        }
        let http = CallError::Http { code: 413, retry_after: None, body: bytes::Bytes::new() };
        assert_eq!(Failure::of(&http, &[]), Failure::TooLarge);
        let mut asked = GrpcStatus::new(Code::ResourceExhausted, "queue is larger than allowed");
        asked.retry_after = Some(Duration::from_secs(1));
        assert_eq!(Failure::of(&CallError::Status(asked), &[]), Failure::Passing, "it asks for patience");
        assert_eq!(Failure::of(&status(Code::ResourceExhausted, "quota is used up"), &[]), Failure::Final);
        assert_eq!(Failure::of(&status(Code::OutOfRange, "later"), &[]), Failure::Passing);
    }

    #[test]
    fn refused_credentials_park_where_that_is_wished() {
        for (code, number) in [(Code::Unauthenticated, 401), (Code::PermissionDenied, 403)] {
            let http = CallError::Http { code: number, retry_after: None, body: bytes::Bytes::new() };
            for error in [status(code, "who"), http] {
                assert_eq!(Failure::of(&error, &[]), Failure::Final);
                assert_eq!(Failure::of(&error, &[number]), Failure::Parks);
                assert_eq!(kind(&error, Failure::Parks), Kind::Credentials);
                assert!(describe(&error, Duration::ZERO).contains("credentials"));
            }
        }
    }

    #[test]
    fn what_a_server_says_is_one_line_of_bounded_length() {
        let body = bytes::Bytes::from(vec![b'\n'; 10_000]);
        let text = describe(&CallError::Http { code: 500, retry_after: None, body }, Duration::ZERO);
        assert!(text.len() < 100 && !text.contains('\n'), "{text}");
        let text = describe(&status(Code::Internal, &"x".repeat(100_000)), Duration::ZERO);
        assert_eq!(text.len(), WORDS_MAX);
    }
}
