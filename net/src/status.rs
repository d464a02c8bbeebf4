//! The outcome of a call in gRPC's terms, on the wire as `google.rpc.Status` in protobuf and in JSON.
//!
//! OTLP answers every failure with such a status: as gRPC trailers (`grpc-status`, `grpc-message`, and
//! `grpc-status-details-bin` where there are details), or as the body of a 4xx or 5xx in the request's own encoding.

mod wire;

use std::time::Duration;

/// Status codes of gRPC (`google.rpc.Code`), by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Code {
    /// 0
    Ok,
    /// 1
    Cancelled,
    /// 2
    Unknown,
    /// 3
    InvalidArgument,
    /// 4
    DeadlineExceeded,
    /// 5
    NotFound,
    /// 6
    AlreadyExists,
    /// 7
    PermissionDenied,
    /// 8
    ResourceExhausted,
    /// 9
    FailedPrecondition,
    /// 10
    Aborted,
    /// 11
    OutOfRange,
    /// 12
    Unimplemented,
    /// 13
    Internal,
    /// 14
    Unavailable,
    /// 15
    DataLoss,
    /// 16
    Unauthenticated,
}

/// All codes, each at its number.
const CODES: [Code; 17] = [
    Code::Ok,
    Code::Cancelled,
    Code::Unknown,
    Code::InvalidArgument,
    Code::DeadlineExceeded,
    Code::NotFound,
    Code::AlreadyExists,
    Code::PermissionDenied,
    Code::ResourceExhausted,
    Code::FailedPrecondition,
    Code::Aborted,
    Code::OutOfRange,
    Code::Unimplemented,
    Code::Internal,
    Code::Unavailable,
    Code::DataLoss,
    Code::Unauthenticated,
];

impl Code {
    /// Its number on the wire.
    #[must_use]
    pub const fn number(self) -> u8 {
        self as u8
    }

    /// Its name in gRPC.
    #[must_use]
    pub const fn name(self) -> &'static str {
        const NAMES: [&str; 17] = [
            "OK",
            "CANCELLED",
            "UNKNOWN",
            "INVALID_ARGUMENT",
            "DEADLINE_EXCEEDED",
            "NOT_FOUND",
            "ALREADY_EXISTS",
            "PERMISSION_DENIED",
            "RESOURCE_EXHAUSTED",
            "FAILED_PRECONDITION",
            "ABORTED",
            "OUT_OF_RANGE",
            "UNIMPLEMENTED",
            "INTERNAL",
            "UNAVAILABLE",
            "DATA_LOSS",
            "UNAUTHENTICATED",
        ];
        NAMES[self as usize]
    }

    /// The code with this number; anything else is [`Code::Unknown`], as gRPC asks of clients.
    #[must_use]
    pub fn from_number(number: u32) -> Self {
        usize::try_from(number).ok().and_then(|index| CODES.get(index).copied()).unwrap_or(Self::Unknown)
    }

    /// The number as header text.
    #[must_use]
    pub const fn text(self) -> &'static str {
        const TEXTS: [&str; 17] =
            ["0", "1", "2", "3", "4", "5", "6", "7", "8", "9", "10", "11", "12", "13", "14", "15", "16"];
        TEXTS[self as usize]
    }
}

/// A status with what goes along with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GrpcStatus {
    /// what happened
    pub code: Code,
    /// in words, for people
    pub message: String,
    /// `google.rpc.RetryInfo`: how long the caller should wait before it tries again
    pub retry_after: Option<Duration>,
    /// `google.rpc.BadRequest`: the request itself is at fault
    pub bad_request: bool,
}

impl GrpcStatus {
    /// A status without details.
    #[must_use]
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        Self { code, message: message.into(), retry_after: None, bad_request: false }
    }

    /// The request itself is at fault: INVALID_ARGUMENT with `BadRequest` details; sending it again will not help.
    #[must_use]
    pub fn bad_request(message: impl Into<String>) -> Self {
        Self { bad_request: true, ..Self::new(Code::InvalidArgument, message) }
    }

    /// The server has too much to do: UNAVAILABLE with `RetryInfo`; the same request may be sent again after the delay.
    #[must_use]
    pub fn overloaded(message: impl Into<String>, retry_after: Duration) -> Self {
        Self { retry_after: Some(retry_after), ..Self::new(Code::Unavailable, message) }
    }

    /// The request is over a size limit: RESOURCE_EXHAUSTED without `RetryInfo`, which OTLP 1.11 defines as not to be
    /// retried.
    #[must_use]
    pub fn too_large(limit_bytes: usize) -> Self {
        Self::new(Code::ResourceExhausted, format!("the request is larger than the limit of {limit_bytes} bytes"))
    }

    /// Whether there is more to say than code and message.
    #[must_use]
    pub const fn has_details(&self) -> bool {
        self.retry_after.is_some() || self.bad_request
    }

    /// The HTTP status for OTLP/HTTP. What gRPC clients may retry becomes one of 429, 503 and 504, which OTLP/HTTP clients
    /// retry, and the rest something they do not.
    #[must_use]
    pub const fn http_code(&self) -> http::StatusCode {
        use http::StatusCode;
        match self.code {
            Code::Ok => StatusCode::OK,
            Code::InvalidArgument | Code::FailedPrecondition => StatusCode::BAD_REQUEST,
            Code::Unauthenticated => StatusCode::UNAUTHORIZED,
            Code::PermissionDenied => StatusCode::FORBIDDEN,
            Code::NotFound => StatusCode::NOT_FOUND,
            Code::AlreadyExists => StatusCode::CONFLICT,
            Code::ResourceExhausted if self.retry_after.is_some() => StatusCode::TOO_MANY_REQUESTS,
            Code::ResourceExhausted => StatusCode::PAYLOAD_TOO_LARGE,
            Code::Unimplemented => StatusCode::NOT_IMPLEMENTED,
            Code::DeadlineExceeded => StatusCode::GATEWAY_TIMEOUT,
            Code::Unavailable | Code::Cancelled | Code::Aborted | Code::OutOfRange | Code::DataLoss => {
                StatusCode::SERVICE_UNAVAILABLE
            }
            Code::Unknown | Code::Internal => StatusCode::INTERNAL_SERVER_ERROR,
        }
    }

    /// `google.rpc.Status` in protobuf.
    #[must_use]
    pub fn to_protobuf(&self) -> Vec<u8> {
        wire::protobuf(self)
    }

    /// `google.rpc.Status` in JSON.
    #[must_use]
    pub fn to_json(&self) -> String {
        wire::json(self)
    }

    /// The message as the header `grpc-message` carries it: everything but printable ASCII, and the percent sign,
    /// becomes `%XX`.
    #[must_use]
    pub fn message_percent_encoded(&self) -> String {
        wire::percent_encoded(&self.message)
    }

    /// The value of the header `grpc-status-details-bin`, if there are details.
    #[must_use]
    pub fn details_base64(&self) -> Option<String> {
        use base64::Engine as _;
        use base64::engine::general_purpose::STANDARD_NO_PAD;
        self.has_details().then(|| STANDARD_NO_PAD.encode(self.to_protobuf()))
    }

    /// The value of the header `Retry-After`: whole seconds, rounded up, at least 1.
    #[must_use]
    pub fn retry_after_seconds(&self) -> Option<u64> {
        self.retry_after.map(|delay| (delay.as_secs() + u64::from(delay.subsec_nanos() > 0)).max(1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_and_numbers_agree() {
        for (number, code) in (0u32..).zip(CODES) {
            assert_eq!(u32::from(code.number()), number);
            assert_eq!(code.text(), number.to_string());
            assert_eq!(Code::from_number(number), code);
        }
        assert_eq!(Code::from_number(17), Code::Unknown);
    }

    #[test]
    fn retryable_in_grpc_is_retryable_over_http() {
        let retryable = [
            Code::Cancelled,
            Code::DeadlineExceeded,
            Code::Aborted,
            Code::OutOfRange,
            Code::Unavailable,
            Code::DataLoss,
        ];
        for code in CODES {
            let http = GrpcStatus::new(code, "").http_code().as_u16();
            assert_eq!(matches!(http, 429 | 502 | 503 | 504), retryable.contains(&code), "{code:?} {http}");
        }
        let exhausted = GrpcStatus { retry_after: Some(Duration::ZERO), ..GrpcStatus::too_large(1) };
        assert_eq!(exhausted.http_code().as_u16(), 429);
        assert_eq!(GrpcStatus::too_large(1).http_code().as_u16(), 413);
    }

    #[test]
    fn retry_after_is_rounded_up_and_never_zero() {
        let seconds = |millis| GrpcStatus::overloaded("", Duration::from_millis(millis)).retry_after_seconds();
        assert_eq!([seconds(0), seconds(1000), seconds(1001)], [Some(1), Some(1), Some(2)]);
        assert_eq!(GrpcStatus::new(Code::Ok, "").retry_after_seconds(), None);
    }
}
