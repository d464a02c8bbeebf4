//! The receiver as a service of `net`'s server: heads are judged before a body is read, outcomes become gRPC statuses
//! and HTTP answers.

use super::port::{Format, Port, Refusal};
use super::receiver::{Answer, OtlpReceiver};
use super::response::PartialSuccess;
use super::{SIGNALS, grpc_path, http_path};
use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Method, StatusCode};
use std::net::SocketAddr;
use tailwater_net::server::{ListenerKind, Protocol, Reply, Request, Service, Stranger, TurnedAway};
use tailwater_net::status::{Code, GrpcStatus};
use tailwater_proto::otlp::Signal;

const PROTOBUF: &str = "application/x-protobuf";
const JSON: &str = "application/json";

impl<P: Port> Service for OtlpReceiver<P> {
    fn accept_head(
        &self,
        protocol: Protocol,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Box<Reply>> {
        if protocol == Protocol::Grpc {
            return match self.signal_of_grpc(path) {
                Some(_) => Ok(()),
                None => Err(Box::new(Reply::Grpc(Err(unknown_method(path))))),
            };
        }
        if self.signal_of_http(path).is_none() {
            let text = format!("no such path: {path}; OTLP is at /v1/traces, /v1/metrics and /v1/logs");
            return Err(Box::new(refuse(StatusCode::NOT_FOUND, Code::NotFound, text, headers)));
        }
        if method != Method::POST {
            let text = format!("{method} is not for OTLP: use POST");
            let mut reply = refuse(StatusCode::METHOD_NOT_ALLOWED, Code::Unimplemented, text, headers);
            if let Reply::Http { headers, .. } = &mut reply {
                headers.insert(http::header::ALLOW, HeaderValue::from_static("POST"));
            }
            return Err(Box::new(reply));
        }
        match format(headers) {
            Some(_) => Ok(()),
            None => {
                let text = "the content type must be application/x-protobuf or application/json".into();
                Err(Box::new(refuse(StatusCode::UNSUPPORTED_MEDIA_TYPE, Code::InvalidArgument, text, headers)))
            }
        }
    }

    fn turned_away(&self, peer: SocketAddr, head: &Parts, why: TurnedAway) {
        let path = shown(head.uri.path());
        let (kind, reason) = match why {
            TurnedAway::Head => ("wrong_head", head_fault(head)),
            TurnedAway::Encoding => ("wrong_encoding", "the content coding is not known here".into()),
            TurnedAway::TooLarge(most) => ("too_large", format!("the request is larger than {most} bytes")),
            TurnedAway::Malformed(words) => ("malformed", words.to_string()),
        };
        tracing::warn!(sender = %peer.ip().to_canonical(), kind, path, reason, "a request was refused");
    }

    fn stranger(&self, peer: SocketAddr, listener: ListenerKind, stranger: Stranger) {
        let (kind, reason) = match (stranger, listener) {
            (Stranger::Tls, _) => ("tls", "TLS on a plain port: the sender is to use http:// or insecure: true"),
            (Stranger::Http1, _) => {
                ("http1", "gRPC only here; OTLP/HTTP is at the receiver's http endpoint, port 4318 unless configured")
            }
            (Stranger::Unknown, ListenerKind::Grpc) => ("no_http", "neither gRPC nor HTTP is spoken"),
            (Stranger::Unknown, ListenerKind::Http) => ("no_http", "no HTTP is spoken"),
        };
        tracing::warn!(sender = %peer.ip().to_canonical(), kind, reason, "a connection was refused");
    }

    async fn ready(&self) {
        self.port().ready().await;
    }

    async fn call(&self, request: Request) -> Reply {
        let over_grpc = request.protocol == Protocol::Grpc;
        let signal = if over_grpc { self.signal_of_grpc(request.path()) } else { self.signal_of_http(request.path()) };
        let format = if over_grpc { Some(Format::Protobuf) } else { format(&request.headers) };
        let (Some(signal), Some(format)) = (signal, format) else {
            return Reply::Grpc(Err(unknown_method(request.path())));
        };
        let outcome = self.handle(signal, format, request.encoding, &request.body, &request.memory).await;
        tell(request.peer, request.path(), format, &outcome);
        match outcome {
            Ok(answer) if over_grpc => Reply::Grpc(Ok(answer.message)),
            Ok(answer) => Reply::http(StatusCode::OK, content_type(format), answer.message),
            // Over plain HTTP the server turns a status into its HTTP code and a body in the request's own format.
            Err(refusal) => Reply::Grpc(Err(status(refusal))),
        }
    }
}

impl<P: Port> OtlpReceiver<P> {
    /// The signal of a gRPC method, if this node receives it.
    fn signal_of_grpc(&self, path: &str) -> Option<Signal> {
        SIGNALS.into_iter().find(|signal| grpc_path(*signal) == path && self.takes(*signal))
    }

    /// The signal of an HTTP path, if this node receives it.
    fn signal_of_http(&self, path: &str) -> Option<Signal> {
        SIGNALS.into_iter().find(|signal| http_path(*signal) == path && self.takes(*signal))
    }
}

/// Tells of what is wrong with a request; the log holds repeats of a kind and sender back. What is refused for want of room
/// is not the sender's fault.
fn tell(peer: SocketAddr, path: &str, format: Format, outcome: &Result<Answer, Refusal>) {
    match outcome {
        Ok(Answer { partial: None, .. }) | Err(Refusal::Unavailable(..)) => {}
        Ok(Answer { partial: Some(PartialSuccess { rejected, message }), .. }) => {
            let (sender, path, reason) = (peer.ip().to_canonical(), shown(path), message.as_str());
            tracing::warn!(%sender, kind = "bad_items", path, rejected, reason, "a part of a request was refused");
        }
        Err(Refusal::Invalid(reason)) => {
            let (sender, path, reason) = (peer.ip().to_canonical(), shown(path), reason.as_str());
            let kind = if format == Format::Json { "invalid_json" } else { "invalid_protobuf" };
            tracing::warn!(%sender, kind, path, reason, "a request was refused");
        }
        Err(Refusal::TooLarge(reason)) => {
            let (sender, path, reason) = (peer.ip().to_canonical(), shown(path), reason.as_str());
            tracing::warn!(%sender, kind = "too_large", path, reason, "a request was refused");
        }
    }
}

/// What is wrong with a head, for the log.
fn head_fault(head: &Parts) -> String {
    let content_type = head.headers.get(CONTENT_TYPE).map(|value| String::from_utf8_lossy(value.as_bytes()));
    match content_type {
        _ if head.method != Method::POST => format!("{} is not for OTLP", shown(head.method.as_str())),
        None => "there is no content type".into(),
        Some(found) => format!("OTLP has no such path, or not with the content type {}", shown(&found)),
    }
}

/// Text of a sender's, for the log: without control characters, and not without end.
fn shown(text: &str) -> String {
    text.chars().take(SHOWN_CHARACTERS_MAX).flat_map(char::escape_debug).collect()
}

/// A path or content type of OTLP is shorter.
const SHOWN_CHARACTERS_MAX: usize = 100;

fn unknown_method(path: &str) -> GrpcStatus {
    GrpcStatus::new(Code::Unimplemented, format!("no such method: {path}"))
}

fn status(refusal: Refusal) -> GrpcStatus {
    match refusal {
        Refusal::Invalid(message) => GrpcStatus::bad_request(message),
        Refusal::TooLarge(message) => GrpcStatus::new(Code::ResourceExhausted, message),
        Refusal::Unavailable(reason, retry_after) => GrpcStatus::overloaded(reason, retry_after),
    }
}

/// The format a content type names; parameters such as a character set do not matter.
fn format(headers: &HeaderMap) -> Option<Format> {
    let value = headers.get(CONTENT_TYPE)?.to_str().ok()?;
    let media_type = value.split(';').next().unwrap_or_default().trim();
    if media_type.eq_ignore_ascii_case(PROTOBUF) {
        Some(Format::Protobuf)
    } else if media_type.eq_ignore_ascii_case(JSON) {
        Some(Format::Json)
    } else {
        None
    }
}

fn content_type(format: Format) -> &'static str {
    match format {
        Format::Protobuf => PROTOBUF,
        Format::Json => JSON,
    }
}

/// A refusal by the head alone. Its body is a `google.rpc.Status` in the request's format, or plain text where the
/// request has none of ours.
fn refuse(http_code: StatusCode, code: Code, text: String, headers: &HeaderMap) -> Reply {
    let status = GrpcStatus::new(code, text);
    match format(headers) {
        Some(Format::Protobuf) => Reply::http(http_code, PROTOBUF, status.to_protobuf().into()),
        Some(Format::Json) => Reply::http(http_code, JSON, status.to_json().into()),
        None => Reply::http(http_code, "text/plain; charset=utf-8", format!("{}\n", status.message).into()),
    }
}
