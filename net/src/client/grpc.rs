//! Unary gRPC calls ("gRPC over HTTP2", PROTOCOL-HTTP2.md).

use super::http2::{Answer, Http2};
use super::message::{Message, PREFIX_BYTES};
use super::retry::{grpc_status, status_of_http};
use super::{CallError, ClientOptions, RESPONSE_BYTES_MAX, Target};
use crate::compression::{Encoding, Inflater};
use crate::status::Code;
use bytes::{Buf as _, Bytes};
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue, TE, USER_AGENT};
use http::{Method, Request, Uri, Version};
use std::time::Duration;

const GRPC_ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const GRPC_ACCEPT_ENCODING: HeaderName = HeaderName::from_static("grpc-accept-encoding");
const GRPC_TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// What callers are known as.
pub(super) const AGENT: HeaderValue = HeaderValue::from_static(concat!("tailwater/", env!("CARGO_PKG_VERSION")));

/// A connection to a gRPC server. Clones share it; many calls may run at once.
#[derive(Clone)]
pub struct GrpcConnection {
    http2: Http2,
    /// scheme and authority of every request's URI
    base: String,
}

impl std::fmt::Debug for GrpcConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("GrpcConnection").field("base", &self.base).field("closed", &self.is_closed()).finish()
    }
}

impl GrpcConnection {
    /// Connects to `target`; its path is not used.
    ///
    /// # Errors
    /// [`CallError::Connect`] with the cause.
    pub async fn open(target: &Target, options: &ClientOptions) -> Result<Self, CallError> {
        let http2 = Http2::open(target, options).await?;
        Ok(Self { http2, base: format!("{}://{}", target.scheme.word(), target.authority()) })
    }

    /// True once no further call can succeed: the peer closed or is going away, or a call passed its deadline without
    /// any answer in the meantime. Open a new connection then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        self.http2.is_closed()
    }

    /// Calls the method at `path` (`/package.Service/Method`). `message` is already compressed as `encoding` says; the
    /// answer is returned inflated. `headers` are added as metadata. The deadline is told to the server and kept here; zero
    /// is none.
    ///
    /// # Errors
    /// See [`CallError`]; [`CallError::is_retryable`] says whether the call may be repeated.
    pub async fn unary(
        &self,
        path: &str,
        headers: &HeaderMap,
        encoding: Encoding,
        message: Bytes,
        deadline: Duration,
    ) -> Result<Bytes, CallError> {
        let request = self.request(path, headers, encoding, deadline)?;
        let message = Message::grpc(encoding != Encoding::Identity, message)
            .ok_or_else(|| CallError::Transport("the message is longer than gRPC allows".to_owned()))?;
        let answer = self.http2.exchange(request, message, deadline).await?;
        read_answer(answer)
    }

    fn request(
        &self,
        path: &str,
        headers: &HeaderMap,
        encoding: Encoding,
        deadline: Duration,
    ) -> Result<Request<()>, CallError> {
        let uri: Uri = format!("{}{path}", self.base)
            .parse()
            .map_err(|error| CallError::Transport(format!("{path:?} is no path: {error}")))?;
        let mut request = Request::new(());
        *request.method_mut() = Method::POST;
        *request.version_mut() = Version::HTTP_2;
        *request.uri_mut() = uri;
        *request.headers_mut() = headers.clone();
        let own = request.headers_mut();
        own.insert(TE, HeaderValue::from_static("trailers"));
        own.insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
        own.entry(USER_AGENT).or_insert(AGENT);
        own.insert(GRPC_ACCEPT_ENCODING, HeaderValue::from_static("identity,gzip"));
        if !deadline.is_zero() {
            own.insert(GRPC_TIMEOUT, timeout_header(deadline));
        }
        if encoding != Encoding::Identity {
            own.insert(GRPC_ENCODING, HeaderValue::from_static(encoding.token()));
        }
        Ok(request)
    }
}

/// At most eight digits and a unit; rounded up so that the server does not give up before the caller.
fn timeout_header(deadline: Duration) -> HeaderValue {
    const DIGITS_END: u128 = 100_000_000;
    let milliseconds = deadline.as_nanos().div_ceil(1_000_000);
    let text = if milliseconds < DIGITS_END {
        format!("{milliseconds}m")
    } else {
        format!("{}S", milliseconds.div_ceil(1000).min(DIGITS_END - 1))
    };
    HeaderValue::try_from(text).unwrap_or(HeaderValue::from_static("99999999S"))
}

fn read_answer(answer: Answer) -> Result<Bytes, CallError> {
    let trailers = answer.trailers.as_ref();
    let status = trailers.and_then(grpc_status).or_else(|| grpc_status(&answer.head.headers));
    let Some(status) = status else {
        return Err(if answer.head.status.is_success() {
            CallError::Transport("the answer has no grpc-status".to_owned())
        } else {
            CallError::Status(status_of_http(answer.head.status, &answer.head.headers))
        });
    };
    if status.code != Code::Ok {
        return Err(CallError::Status(status));
    }
    unframe(answer.body, &answer.head.headers)
}

fn unframe(mut body: Bytes, headers: &HeaderMap) -> Result<Bytes, CallError> {
    let malformed = |text: &str| CallError::Transport(format!("the answer's message {text}"));
    if body.len() < PREFIX_BYTES {
        return Err(malformed("is cut short"));
    }
    let compressed = body.get_u8() != 0;
    let length = usize::try_from(body.get_u32()).unwrap_or(usize::MAX);
    if body.len() != length {
        return Err(malformed("does not have the length it says"));
    }
    if !compressed {
        return Ok(body);
    }
    let encoding = headers.get(GRPC_ENCODING).and_then(|value| value.to_str().ok()).and_then(Encoding::from_token);
    let encoding = encoding.ok_or_else(|| malformed("has an unknown encoding"))?;
    // Answers are rarely compressed: an inflater for each is cheaper than one kept by every connection.
    Inflater::new().inflate(encoding, &body, RESPONSE_BYTES_MAX).map_err(|error| malformed(&error.to_string()))
}
