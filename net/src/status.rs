//! The outcome of a call in gRPC's terms.

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
