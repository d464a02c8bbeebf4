//! What can become of a call, and whether it may be made again.

use crate::status::{Code, GrpcStatus};
use std::time::Duration;

/// Why a call failed. In every case but the answers of a server ([`CallError::Status`], [`CallError::Http`]) it is unknown
/// whether the server took the request: repeating it may deliver it twice, which OTLP allows.
#[derive(Clone, Debug, thiserror::Error)]
pub enum CallError {
    /// the server answered with a gRPC status other than OK
    #[error("the server answered {}: {}", .0.code.name(), .0.message)]
    Status(GrpcStatus),
    /// the server answered with an HTTP status other than 2xx
    #[error("the server answered HTTP {code}")]
    Http {
        /// the status code
        code: u16,
        /// its `Retry-After`, if there was one
        retry_after: Option<Duration>,
        /// the body, at most 4 MiB
        body: bytes::Bytes,
    },
    /// no connection could be made; nothing was sent
    #[error("cannot connect: {0}")]
    Connect(String),
    /// the connection or the stream broke, or the answer was not HTTP or gRPC
    #[error("the connection failed: {0}")]
    Transport(String),
    /// the server says that all is well, in an answer that makes no sense
    #[error("{0}")]
    Garbage(String),
    /// no answer within the deadline
    #[error("no answer within the deadline")]
    Deadline,
}

impl CallError {
    /// Whether the same request may be sent again (OTLP 1.11, tables of retryable codes).
    #[must_use]
    pub const fn is_retryable(&self) -> bool {
        match self {
            Self::Status(status) => match status.code {
                Code::Cancelled
                | Code::DeadlineExceeded
                | Code::Aborted
                | Code::OutOfRange
                | Code::Unavailable
                | Code::DataLoss => true,
                // Only RetryInfo tells "busy" from "too large for ever".
                Code::ResourceExhausted => status.retry_after.is_some(),
                _ => false,
            },
            Self::Http { code, .. } => matches!(code, 429 | 502 | 503 | 504),
            Self::Connect(_) | Self::Transport(_) | Self::Garbage(_) | Self::Deadline => true,
        }
    }

    /// How long the server asked to be left alone, if it did.
    #[must_use]
    pub const fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Status(status) => status.retry_after,
            Self::Http { retry_after, .. } => *retry_after,
            Self::Connect(_) | Self::Transport(_) | Self::Garbage(_) | Self::Deadline => None,
        }
    }
}
