//! One plain HTTP request, over HTTP/1.1 or HTTP/2.

use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT_ENCODING, CONTENT_TYPE, RETRY_AFTER};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use tailwater_runtime::executor::timeout;

use super::body::{self, BodyError, Source, Terms};
use super::head::{self, EMPTY};
use super::memory::RequestMemory;
use super::stats::count;
use super::{Protocol, Reply, Request, Server, Service, TurnedAway};
use crate::status::{Code, GrpcStatus};

/// How soon a request that the service had no room for may come again.
pub(super) const OVERLOAD_RETRY: Duration = Duration::from_secs(1);

/// What the sender of such a request is told.
pub(super) const NO_ROOM: &str = "there is no room for the request now";

/// What the sender of a body is told that others could not wait for.
pub(super) const TOO_SLOW: &str = "the request's body comes too slowly while others wait for the memory it is to take";

const JSON: &str = "application/json";
const PROTOBUF: &str = "application/x-protobuf";

/// Answers a request, reading its body from `source`. `None` if the peer has gone.
pub(super) async fn answer<S: Service>(
    server: &Server<S>,
    head: Parts,
    mut source: impl Source,
    (peer, memory): (SocketAddr, RequestMemory),
) -> Option<Response<Bytes>> {
    let json = head::wants_json(&head.headers);
    let memory = Rc::new(memory);
    let reply = match receive(server, &head, &mut source, (peer, &memory)).await {
        Received::Answered(reply) => reply,
        Received::Gone => return None,
        Received::Body(encoding, body) => {
            let stats = &server.stats;
            stats.request_body_bytes.set(stats.request_body_bytes.get().wrapping_add(body.len() as u64));
            let request = Request {
                protocol: Protocol::Http,
                method: head.method,
                uri: head.uri,
                headers: head.headers,
                encoding,
                body,
                peer,
                memory,
            };
            server.service.call(request).await
        }
    };
    Some(response(reply, json))
}

enum Received {
    Answered(Reply),
    Gone,
    Body(crate::compression::Encoding, Bytes),
}

async fn receive<S: Service>(
    server: &Server<S>,
    head: &Parts,
    source: &mut impl Source,
    (peer, memory): (SocketAddr, &RequestMemory),
) -> Received {
    let (limits, stats) = (&server.limits, &server.stats);
    count(&stats.requests_http);
    let json = head::wants_json(&head.headers);
    let turned_away = |why| server.service.turned_away(peer, head, why);
    if let Err(reply) = server.service.accept_head(Protocol::Http, &head.method, head.uri.path(), &head.headers) {
        count(&stats.requests_refused_by_head);
        turned_away(TurnedAway::Head);
        return Received::Answered(*reply);
    }
    let Some(encoding) = head::content_encoding(&head.headers) else {
        count(&stats.requests_unknown_encoding);
        turned_away(TurnedAway::Encoding);
        return Received::Answered(unknown_encoding(json));
    };
    let announced = head::content_length(&head.headers);
    let mut was_ready = false;
    let ready = async {
        server.service.ready().await;
        was_ready = true;
    };
    let terms = Terms { bytes_max: limits.request_bytes_max, time: limits.request_timeout, memory };
    let received = timeout(limits.request_timeout, body::plain(source, announced, &terms, ready)).await;
    server.count_wait(memory);
    let error = |code, status: &GrpcStatus| Received::Answered(status_reply(code, status, json));
    match received {
        Ok(Ok(body)) => Received::Body(encoding, body),
        Ok(Err(BodyError::TooLarge)) => {
            count(&stats.requests_too_large);
            turned_away(TurnedAway::TooLarge(limits.request_bytes_max));
            error(StatusCode::PAYLOAD_TOO_LARGE, &GrpcStatus::too_large(limits.request_bytes_max))
        }
        Ok(Err(BodyError::Malformed(words))) => {
            count(&stats.requests_malformed);
            turned_away(TurnedAway::Malformed(words));
            error(StatusCode::BAD_REQUEST, &GrpcStatus::bad_request(words))
        }
        Ok(Err(BodyError::Abandoned)) => {
            count(&stats.requests_abandoned);
            Received::Gone
        }
        Ok(Err(BodyError::NoRoom)) => {
            count(&stats.requests_without_room);
            let status = GrpcStatus::overloaded(NO_ROOM, OVERLOAD_RETRY);
            error(status.http_code(), &status)
        }
        Ok(Err(BodyError::TooSlow)) => {
            count(&stats.requests_too_slow);
            error(StatusCode::REQUEST_TIMEOUT, &GrpcStatus::new(Code::DeadlineExceeded, TOO_SLOW))
        }
        Err(_elapsed) if was_ready => {
            count(&stats.request_timeouts);
            let status = GrpcStatus::new(Code::DeadlineExceeded, "the request's body did not arrive in time");
            error(StatusCode::REQUEST_TIMEOUT, &status)
        }
        Err(_elapsed) => {
            let status = GrpcStatus::overloaded(NO_ROOM, OVERLOAD_RETRY);
            error(status.http_code(), &status)
        }
    }
}

/// The answer to a request for which there is no room at all.
pub(super) fn no_room<B>(request: &http::Request<B>) -> Response<Bytes> {
    let status = GrpcStatus::overloaded(NO_ROOM, OVERLOAD_RETRY);
    let json = head::wants_json(request.headers());
    response(status_reply(status.http_code(), &status, json), json)
}

fn unknown_encoding(json: bool) -> Reply {
    let words = format!("the content coding is not one of {}", head::ACCEPTED_ENCODINGS);
    let mut reply = status_reply(StatusCode::UNSUPPORTED_MEDIA_TYPE, &GrpcStatus::bad_request(words), json);
    if let Reply::Http { headers, .. } = &mut reply {
        headers.insert(ACCEPT_ENCODING, HeaderValue::from_static(head::ACCEPTED_ENCODINGS));
    }
    reply
}

/// An error as OTLP/HTTP wants it: a `google.rpc.Status` in the request's encoding, with `Retry-After` if there is one.
fn status_reply(code: StatusCode, status: &GrpcStatus, json: bool) -> Reply {
    let mut headers = HeaderMap::new();
    if let Some(seconds) = status.retry_after_seconds() {
        headers.insert(RETRY_AFTER, HeaderValue::from(seconds));
    }
    let (content_type, body) =
        if json { (JSON, status.to_json().into()) } else { (PROTOBUF, status.to_protobuf().into()) };
    Reply::Http { code, content_type, headers, body }
}

impl GrpcStatus {
    /// The status as the answer to a plain HTTP request with these headers: the fitting HTTP status, the body in the
    /// request's encoding (JSON or protobuf), and `Retry-After` if there is a delay.
    #[must_use]
    pub fn to_http_reply(&self, request_headers: &HeaderMap) -> Reply {
        self.to_http_reply_with(self.http_code(), request_headers)
    }

    /// As [`to_http_reply`](Self::to_http_reply), with an HTTP status of the caller's choice, such as 404 or 405.
    #[must_use]
    pub fn to_http_reply_with(&self, code: StatusCode, request_headers: &HeaderMap) -> Reply {
        status_reply(code, self, head::wants_json(request_headers))
    }
}

/// The response to send.
fn response(reply: Reply, json: bool) -> Response<Bytes> {
    let reply = match reply {
        Reply::Grpc(Ok(message)) => Reply::http(StatusCode::OK, if json { JSON } else { PROTOBUF }, message),
        Reply::Grpc(Err(status)) => status_reply(status.http_code(), &status, json),
        reply @ Reply::Http { .. } => reply,
    };
    let Reply::Http { code, content_type, headers, body } = reply else { return Response::new(EMPTY) };
    let has_type = !body.is_empty();
    let mut response = Response::new(body);
    *response.status_mut() = code;
    *response.headers_mut() = headers;
    if has_type {
        response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    response
}
