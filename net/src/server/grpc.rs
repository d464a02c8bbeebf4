//! One gRPC call over HTTP/2: unary calls to the service, and the health service.

use std::future::{poll_fn, ready};
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::Poll;
use std::time::{Duration, Instant};

use bytes::{BufMut, Bytes, BytesMut};
use h2::server::SendResponse;
use h2::{Reason, SendStream};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, Response};
use tailwater_runtime::executor::timeout;

use super::body::{self, BodyError, StreamBody, Terms};
use super::health::{self, ServingStatus};
use super::memory::RequestMemory;
use super::plain::{NO_ROOM, OVERLOAD_RETRY, TOO_SLOW};
use super::sending::send_body;
use super::stats::count;
use super::{Protocol, Reply, Request, Server, Service, TurnedAway, head};
use crate::compression::Encoding;
use crate::status::{Code, GrpcStatus};

/// The largest request of the health service; service names are short.
const HEALTH_REQUEST_BYTES_MAX: usize = 1024;

/// Answers one call.
pub(super) async fn serve<S: Service>(
    server: Rc<Server<S>>,
    head: Parts,
    mut body: StreamBody,
    mut respond: SendResponse<Bytes>,
    peer: SocketAddr,
    memory: RequestMemory,
) {
    let path = head.uri.path();
    if path == health::WATCH {
        return watch(&server, body, respond, memory).await;
    }
    let memory = Rc::new(memory);
    let outcome = if path == health::CHECK {
        check(&server, &mut body, &memory).await
    } else {
        count(&server.stats.requests_grpc);
        unary(&server, head, &mut body, (peer, &memory)).await
    };
    drop(body);
    let sent = match outcome {
        Outcome::Gone => {
            respond.send_reset(Reason::CANCEL);
            return;
        }
        Outcome::Message(message) => send_message(&mut respond, &message, server.limits.request_timeout).await,
        Outcome::Status(status) => send_status(&mut respond, &status),
    };
    if sent.is_err() {
        count(&server.stats.replies_undelivered);
    }
}

/// What comes of a call.
enum Outcome {
    Message(Bytes),
    Status(Box<GrpcStatus>),
    /// The peer has given up; nobody wants an answer.
    Gone,
}

impl From<GrpcStatus> for Outcome {
    fn from(status: GrpcStatus) -> Self {
        Self::Status(Box::new(status))
    }
}

async fn unary<S: Service>(
    server: &Server<S>,
    head: Parts,
    body: &mut StreamBody,
    (peer, memory): (SocketAddr, &Rc<RequestMemory>),
) -> Outcome {
    if head.method != Method::POST {
        return GrpcStatus::new(Code::Unimplemented, "gRPC calls use the method POST").into();
    }
    if let Err(reply) = server.service.accept_head(Protocol::Grpc, &head.method, head.uri.path(), &head.headers) {
        count(&server.stats.requests_refused_by_head);
        server.service.turned_away(peer, &head, TurnedAway::Head);
        return outcome_of(*reply);
    }
    let call_timeout = head::grpc_timeout(&head.headers);
    let begun = Instant::now();
    let (encoding, message) = match receive(server, &head, body, (call_timeout, memory), peer).await {
        Ok(received) => received,
        Err(outcome) => return outcome,
    };
    let stats = &server.stats;
    stats.request_body_bytes.set(stats.request_body_bytes.get().wrapping_add(message.len() as u64));
    let request = Request {
        protocol: Protocol::Grpc,
        method: head.method,
        uri: head.uri,
        headers: head.headers,
        encoding,
        body: message,
        peer,
        memory: Rc::clone(memory),
    };
    let call = server.service.call(request);
    match call_timeout {
        None => outcome_of(call.await),
        Some(limit) => match timeout(limit.saturating_sub(begun.elapsed()), call).await {
            Ok(reply) => outcome_of(reply),
            Err(_elapsed) => GrpcStatus::new(Code::DeadlineExceeded, "the call's deadline has passed").into(),
        },
    }
}

/// Receives the call's message.
async fn receive<S: Service>(
    server: &Server<S>,
    head: &Parts,
    body: &mut StreamBody,
    (call_timeout, memory): (Option<Duration>, &RequestMemory),
    peer: SocketAddr,
) -> Result<(Encoding, Bytes), Outcome> {
    let (limits, stats) = (&server.limits, &server.stats);
    let turned_away = |why| server.service.turned_away(peer, head, why);
    let named = named_encoding(&head.headers).map_err(|status| {
        count(&stats.requests_unknown_encoding);
        turned_away(TurnedAway::Encoding);
        Outcome::from(status)
    })?;
    let mut was_ready = false;
    let ready = async {
        server.service.ready().await;
        was_ready = true;
    };
    let terms = Terms { bytes_max: limits.request_bytes_max, time: limits.request_timeout, memory };
    let limit = call_timeout.map_or(limits.request_timeout, |call| call.min(limits.request_timeout));
    let received = timeout(limit, body::message(body, &terms, ready)).await;
    server.count_wait(memory);
    match received {
        Ok(Ok((false, message))) => Ok((Encoding::Identity, message)),
        // gRPC: a message that says it is compressed needs an encoding that compresses.
        Ok(Ok((true, message))) => match named.filter(|encoding| *encoding != Encoding::Identity) {
            Some(encoding) => Ok((encoding, message)),
            None => {
                let words = "the message is compressed but grpc-encoding does not say how";
                count(&stats.requests_malformed);
                turned_away(TurnedAway::Malformed(words));
                Err(GrpcStatus::new(Code::Internal, words).into())
            }
        },
        Ok(Err(error)) => {
            match error {
                BodyError::TooLarge => turned_away(TurnedAway::TooLarge(limits.request_bytes_max)),
                BodyError::Malformed(words) => turned_away(TurnedAway::Malformed(words)),
                BodyError::Abandoned | BodyError::NoRoom | BodyError::TooSlow => {}
            }
            Err(broken(server, error))
        }
        Err(_elapsed) if was_ready => {
            count(&stats.request_timeouts);
            Err(GrpcStatus::new(Code::DeadlineExceeded, "the request's body did not arrive in time").into())
        }
        Err(_elapsed) => Err(GrpcStatus::overloaded(NO_ROOM, OVERLOAD_RETRY).into()),
    }
}

fn broken<S: Service>(server: &Server<S>, error: BodyError) -> Outcome {
    match error {
        BodyError::TooLarge => {
            count(&server.stats.requests_too_large);
            GrpcStatus::too_large(server.limits.request_bytes_max).into()
        }
        BodyError::Malformed(words) => {
            count(&server.stats.requests_malformed);
            GrpcStatus::bad_request(words).into()
        }
        BodyError::Abandoned => {
            count(&server.stats.requests_abandoned);
            Outcome::Gone
        }
        BodyError::NoRoom => {
            count(&server.stats.requests_without_room);
            GrpcStatus::overloaded(NO_ROOM, OVERLOAD_RETRY).into()
        }
        BodyError::TooSlow => {
            count(&server.stats.requests_too_slow);
            GrpcStatus::new(Code::DeadlineExceeded, TOO_SLOW).into()
        }
    }
}

/// The coding of compressed messages, if one is named; `Err` if it is not known here.
fn named_encoding(headers: &HeaderMap) -> Result<Option<Encoding>, GrpcStatus> {
    let Some(value) = headers.get("grpc-encoding") else { return Ok(None) };
    let encoding = value.to_str().ok().and_then(Encoding::from_token);
    encoding.map(Some).ok_or_else(|| {
        let words = format!("the message encoding is not one of {}", head::ACCEPTED_ENCODINGS);
        GrpcStatus::new(Code::Unimplemented, words)
    })
}

fn outcome_of(reply: Reply) -> Outcome {
    match reply {
        Reply::Grpc(Ok(message)) => Outcome::Message(message),
        Reply::Grpc(Err(status)) => status.into(),
        // A service that answers a gRPC call in plain HTTP is mistaken; the caller must still learn that it failed.
        Reply::Http { code, .. } => {
            GrpcStatus::new(Code::Internal, format!("the service answered with HTTP status {}", code.as_u16())).into()
        }
    }
}

async fn check<S: Service>(server: &Server<S>, body: &mut StreamBody, memory: &RequestMemory) -> Outcome {
    count(&server.stats.health_checks);
    match asked_for(server, body, memory).await {
        Ok(ServingStatus::Unknown) => GrpcStatus::new(Code::NotFound, "there is no such service").into(),
        Ok(status) => Outcome::Message(status.message()),
        Err(outcome) => outcome,
    }
}

async fn health_request<S: Service>(
    server: &Server<S>,
    body: &mut StreamBody,
    memory: &RequestMemory,
) -> Result<String, Outcome> {
    let time = server.limits.request_timeout;
    let terms = Terms { bytes_max: HEALTH_REQUEST_BYTES_MAX, time, memory };
    match timeout(time, body::message(body, &terms, ready(()))).await {
        Ok(Ok((_, message))) => health::service_asked_for(&message)
            .map(ToOwned::to_owned)
            .ok_or_else(|| GrpcStatus::bad_request("not a HealthCheckRequest").into()),
        Ok(Err(error)) => Err(broken(server, error)),
        Err(_elapsed) => Err(GrpcStatus::new(Code::DeadlineExceeded, "the request did not arrive in time").into()),
    }
}

async fn asked_for<S: Service>(
    server: &Server<S>,
    body: &mut StreamBody,
    memory: &RequestMemory,
) -> Result<ServingStatus, Outcome> {
    Ok(server.health.status(&health_request(server, body, memory).await?))
}

/// The streaming health call: the status now, and again whenever it changes, until the peer leaves or the drain begins.
async fn watch<S: Service>(
    server: &Server<S>,
    mut body: StreamBody,
    mut respond: SendResponse<Bytes>,
    memory: RequestMemory,
) {
    count(&server.stats.health_checks);
    let mut changes = server.health.watch();
    let service = match health_request(server, &mut body, &memory).await {
        Ok(service) => service,
        Err(Outcome::Status(status)) => return drop(send_status(&mut respond, &status)),
        Err(_) => return respond.send_reset(Reason::CANCEL),
    };
    let Ok(mut stream) = respond.send_response(response_head(), false) else { return };
    let mut told = None;
    loop {
        let status = server.health.status(&service);
        if told.replace(status) != Some(status)
            && send_body(&mut stream, framed(&status.message()), false, server.limits.request_timeout).await.is_err()
        {
            return;
        }
        if server.health.is_draining() {
            let status = GrpcStatus::new(Code::Unavailable, "the server is going away");
            return drop(stream.send_trailers(status_headers(&status)));
        }
        let peer_left = poll_fn(|context| {
            if stream.poll_reset(context).is_ready() {
                return Poll::Ready(true);
            }
            changes.poll_changed(context).map(|()| false)
        });
        if peer_left.await {
            return;
        }
    }
}

/// A message with its prefix.
fn framed(message: &Bytes) -> Bytes {
    if message.is_empty() {
        return Bytes::from_static(&[0; 5]);
    }
    let mut framed = BytesMut::with_capacity(message.len() + 5);
    framed.put_u8(0);
    framed.put_u32(u32::try_from(message.len()).unwrap_or(u32::MAX));
    framed.put_slice(message);
    framed.freeze()
}

fn response_head() -> Response<()> {
    let mut response = Response::new(());
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("application/grpc"));
    response
}

/// Headers, the message, and the trailers of success.
async fn send_message(respond: &mut SendResponse<Bytes>, message: &Bytes, limit: Duration) -> Result<(), h2::Error> {
    let mut stream: SendStream<Bytes> = respond.send_response(response_head(), false)?;
    send_body(&mut stream, framed(message), false, limit).await?;
    let mut trailers = HeaderMap::with_capacity(1);
    trailers.insert("grpc-status", HeaderValue::from_static(Code::Ok.text()));
    stream.send_trailers(trailers)
}

/// A response of headers alone, which gRPC calls "Trailers-Only".
fn send_status(respond: &mut SendResponse<Bytes>, status: &GrpcStatus) -> Result<(), h2::Error> {
    let mut response = response_head();
    response.headers_mut().extend(status_headers(status));
    respond.send_response(response, true).map(|_stream| ())
}

fn status_headers(status: &GrpcStatus) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(4);
    headers.insert("grpc-status", HeaderValue::from_static(status.code.text()));
    let texts = [
        ("grpc-message", Some(status.message_percent_encoded()).filter(|message| !message.is_empty())),
        ("grpc-status-details-bin", status.details_base64()),
    ];
    for (name, text) in texts {
        if let Some(value) = text.and_then(|text| HeaderValue::try_from(text).ok()) {
            headers.insert(name, value);
        }
    }
    if status.code == Code::Unimplemented {
        headers.insert("grpc-accept-encoding", HeaderValue::from_static(head::ACCEPTED_ENCODINGS));
    }
    headers
}
