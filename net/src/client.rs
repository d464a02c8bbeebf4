//! Clients of other servers: unary gRPC over HTTP/2, and HTTP posts over HTTP/1.1 or HTTP/2, with or without TLS.
//!
//! A connection belongs to the executor that opened it. Nothing here retries or reconnects: a call ends in an answer or a
//! [`CallError`] that says whether sending the same bytes again is allowed (OTLP 1.11, "Failures"), and after how long.

mod error;
mod grpc;
mod http1;
mod http2;
mod message;
mod retry;
mod stream;
mod target;
mod tls;
mod words;

use std::time::Duration;
use tailwater_runtime::executor::{self, Elapsed};

pub use error::CallError;
pub use grpc::GrpcConnection;
pub use http1::{HttpConnection, HttpReply};
pub use retry::retry_after;
pub use target::{Scheme, Target, TargetError};
pub use tls::{TlsConfig, TlsError};

/// Most bytes of a response body (OTLP 1.11 recommends 4 MiB); a longer one fails the call.
pub const RESPONSE_BYTES_MAX: usize = 4 << 20;

/// Flow-control windows for responses: they are small, the window only must not stall a burst of them.
const RESPONSE_WINDOW_BYTES: u32 = 1 << 20;

/// Which HTTP version plain posts use.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum HttpVersion {
    /// HTTP/1.1 with keep-alive; one request at a time on a connection
    #[default]
    Http1,
    /// HTTP/2, without TLS by prior knowledge (RFC 9113, 3.3)
    Http2,
}

/// How connections are opened.
#[derive(Clone, Debug)]
pub struct ClientOptions {
    /// trust and identity for `https` targets; `None` there is an error
    pub tls: Option<TlsConfig>,
    /// name that the server's certificate must bear, where it is not the host of the target
    pub server_name: Option<String>,
    /// limit on name resolution, TCP and TLS together
    pub connect_timeout: Duration,
    /// version for [`HttpConnection`]; gRPC is always HTTP/2
    pub http_version: HttpVersion,
}

impl Default for ClientOptions {
    fn default() -> Self {
        Self { tls: None, server_name: None, connect_timeout: Duration::from_secs(5), http_version: HttpVersion::Http1 }
    }
}

/// Ends with the future, or with an error at the deadline; zero is none.
async fn within<T>(deadline: Duration, future: impl Future<Output = T>) -> Result<T, Elapsed> {
    if deadline.is_zero() { Ok(future.await) } else { executor::timeout(deadline, future).await }
}

#[cfg(test)]
mod tests;
