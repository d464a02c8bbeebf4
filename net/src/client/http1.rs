//! HTTP posts: over HTTP/1.1 with keep-alive (hyper), or over HTTP/2.

use super::grpc::AGENT;
use super::http2::Http2;
use super::message::Message;
use super::retry::retry_after_header;
use super::stream::ClientStream;
use super::words::{self, Greeting, Wanted};
use super::{CallError, ClientOptions, HttpVersion, RESPONSE_BYTES_MAX, Target, within};
use crate::compression::Encoding;
use bytes::Bytes;
use http::header::{CONTENT_ENCODING, CONTENT_TYPE, HOST, HeaderMap, HeaderValue, USER_AGENT};
use http::{Method, Request, StatusCode, Version};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use std::time::Duration;
use tailwater_runtime::executor;

/// A successful answer.
#[derive(Clone, Debug)]
pub struct HttpReply {
    /// status code, 2xx
    pub code: u16,
    /// headers
    pub headers: HeaderMap,
    /// body as received, at most 4 MiB
    pub body: Bytes,
}

/// A connection to an HTTP server; one post at a time.
pub struct HttpConnection {
    transport: Transport,
    base: String,
    authority: HeaderValue,
}

enum Transport {
    Http1 { send: http1::SendRequest<Full<Bytes>>, usable: bool, greeting: Greeting },
    Http2(Http2),
}

impl std::fmt::Debug for HttpConnection {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("HttpConnection").field("base", &self.base).field("closed", &self.is_closed()).finish()
    }
}

impl HttpConnection {
    /// Connects to `target`; its path is not used.
    ///
    /// # Errors
    /// [`CallError::Connect`] with the cause.
    pub async fn open(target: &Target, options: &ClientOptions) -> Result<Self, CallError> {
        let transport = match options.http_version {
            HttpVersion::Http2 => Transport::Http2(Http2::open(target, options).await?),
            HttpVersion::Http1 => {
                let stream = ClientStream::open(target, options, Wanted::Http1).await?;
                let greeting = stream.greeting.clone();
                let (send, connection) = http1::handshake(TokioIo::new(stream))
                    .await
                    .map_err(|error| CallError::Connect(words::http1(&error)))?;
                executor::spawn(async move {
                    // A failure ends the exchange in flight, which reports it.
                    let _ended = connection.await;
                });
                Transport::Http1 { send, usable: true, greeting }
            }
        };
        let authority = target.authority();
        let header = HeaderValue::try_from(authority.as_str())
            .map_err(|_error| CallError::Connect(format!("{authority:?} is no host")))?;
        Ok(Self { transport, base: format!("{}://{authority}", target.scheme.word()), authority: header })
    }

    /// True once no further post can succeed; open a new connection then.
    #[must_use]
    pub fn is_closed(&self) -> bool {
        match &self.transport {
            Transport::Http1 { send, usable, .. } => !usable || send.is_closed(),
            Transport::Http2(http2) => http2.is_closed(),
        }
    }

    /// Posts `body`, already compressed as `encoding` says, to `path`. A deadline of zero is none.
    ///
    /// # Errors
    /// [`CallError::Http`] for an answer other than 2xx; see [`CallError`] for the rest. After [`CallError::Deadline`] on
    /// HTTP/1.1 the connection is closed, because its next answer would belong to this request.
    pub async fn post(
        &mut self,
        path: &str,
        content_type: &'static str,
        headers: &HeaderMap,
        encoding: Encoding,
        body: Bytes,
        deadline: Duration,
    ) -> Result<HttpReply, CallError> {
        let mut head = Request::new(());
        *head.method_mut() = Method::POST;
        *head.headers_mut() = headers.clone();
        let own = head.headers_mut();
        own.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        own.entry(USER_AGENT).or_insert(AGENT);
        if encoding != Encoding::Identity {
            own.insert(CONTENT_ENCODING, HeaderValue::from_static(encoding.token()));
        }
        let (code, headers, body) = match &mut self.transport {
            Transport::Http1 { send, usable, greeting } => {
                own.insert(HOST, self.authority.clone());
                *head.uri_mut() = parse(path)?;
                let exchange = exchange_http1(send, head.map(|()| Full::new(body)), greeting);
                // Only an exchange that ran to its end leaves the connection in a known state.
                *usable = false;
                let answer = within(deadline, exchange).await.map_err(|_elapsed| CallError::Deadline)??;
                *usable = true;
                answer
            }
            Transport::Http2(http2) => {
                *head.version_mut() = Version::HTTP_2;
                *head.uri_mut() = parse(&format!("{}{path}", self.base))?;
                let answer = http2.exchange(head, Message::plain(body), deadline).await?;
                (answer.head.status, answer.head.headers, answer.body)
            }
        };
        if code.is_success() {
            return Ok(HttpReply { code: code.as_u16(), headers, body });
        }
        if code == StatusCode::BAD_REQUEST && body.starts_with(TLS_WANTED) {
            return Err(CallError::Connect(
                "the server expects TLS at this port: write https://, or tls.insecure: false".to_owned(),
            ));
        }
        Err(CallError::Http { code: code.as_u16(), retry_after: retry_after_header(&headers), body })
    }
}

/// How servers written in Go answer a request without TLS at a port for TLS.
const TLS_WANTED: &[u8] = b"Client sent an HTTP request to an HTTPS server";

fn parse(uri: &str) -> Result<http::Uri, CallError> {
    uri.parse().map_err(|error| CallError::Transport(format!("{uri:?} is no path: {error}")))
}

async fn exchange_http1(
    send: &mut http1::SendRequest<Full<Bytes>>,
    request: Request<Full<Bytes>>,
    greeting: &Greeting,
) -> Result<(StatusCode, HeaderMap, Bytes), CallError> {
    let broken = |error: hyper::Error| match greeting.stranger(Wanted::Http1) {
        Some(stranger) => CallError::Connect(stranger.to_owned()),
        None => CallError::Transport(words::http1(&error)),
    };
    send.ready().await.map_err(broken)?;
    let (head, body) = send.send_request(request).await.map_err(broken)?.into_parts();
    let body = Limited::new(body, RESPONSE_BYTES_MAX)
        .collect()
        .await
        .map_err(|_error| CallError::Transport("the answer broke off, or is larger than 4 MiB".to_owned()))?;
    Ok((head.status, head.headers, body.to_bytes()))
}
