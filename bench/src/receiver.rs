//! The transport of `bare` and `sink`: OTLP/gRPC on bare `h2`, OTLP/HTTP on HTTP/1.1. Deliberately not the server under
//! test, so that a fault of that one cannot hide itself.

use base64::Engine as _;
use bytes::{Buf as _, Bytes, BytesMut};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, Limited};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use std::future::Future;
use std::rc::Rc;
use std::time::Duration;
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::Signal;
use tailwater_runtime::executor;
use tailwater_runtime::net::{TcpListener, TcpStream};

const FRAME_BYTES_MAX: u32 = 1 << 20;
const STREAM_WINDOW_BYTES: u32 = 4 << 20;
const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;
const STREAMS_PER_CONNECTION_MAX: u32 = 256;
/// Same limit as OTLP recommends.
pub const BODY_BYTES_MAX: usize = 64 << 20;
/// Length of gRPC's frame header.
const PREFIX_BYTES: usize = 5;
/// Pause after a failed accept: such failures (no descriptors left) do not go away at once.
const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// Which encoding a body has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// binary protobuf
    Protobuf,
    /// OTLP/JSON
    Json,
}

/// What became of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// taken
    Accepted,
    /// not a request of that format: not to be sent again
    Malformed,
    /// to be sent again after this long
    Unavailable(Duration),
}

/// Takes requests.
pub trait Receiver: 'static {
    /// One request of a signal: its body as it came, compressed as `encoding` says.
    fn receive(&self, signal: Signal, format: Format, encoding: Encoding, body: Bytes)
    -> impl Future<Output = Outcome>;
}

/// Which transport a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Transport {
    /// HTTP/2 with gRPC; frames and windows large enough for a whole request
    Grpc,
    /// HTTP/2 with gRPC; frames of 16 KiB and windows of 64 KiB, as h2 and the RFC have them by default
    GrpcDefaultWindows,
    /// HTTP/1.1
    Http,
}

/// Accepts connections for as long as the executor runs.
pub async fn accept<R: Receiver>(listener: TcpListener, transport: Transport, receiver: Rc<R>) {
    loop {
        match listener.accept().await.and_then(|accepted| TcpStream::adopt(accepted.stream)) {
            Ok(stream) if transport == Transport::Http => executor::spawn(serve_http(stream, Rc::clone(&receiver))),
            Ok(stream) => {
                let large = transport == Transport::Grpc;
                executor::spawn(serve_grpc(stream, large, Rc::clone(&receiver)));
            }
            Err(_error) => executor::sleep(ACCEPT_PAUSE).await,
        }
    }
}

async fn serve_grpc<R: Receiver>(stream: TcpStream, large: bool, receiver: Rc<R>) {
    let mut builder = h2::server::Builder::new();
    builder.max_concurrent_streams(STREAMS_PER_CONNECTION_MAX);
    if large {
        builder
            .max_frame_size(FRAME_BYTES_MAX)
            .initial_window_size(STREAM_WINDOW_BYTES)
            .initial_connection_window_size(CONNECTION_WINDOW_BYTES);
    }
    let Ok(mut connection) = builder.handshake::<_, Bytes>(stream).await else { return };
    while let Some(Ok((request, respond))) = connection.accept().await {
        let receiver = Rc::clone(&receiver);
        executor::spawn(async move {
            // A stream that breaks is the client's business.
            let _ = answer_grpc(request, respond, &*receiver).await;
        });
    }
}

async fn answer_grpc<R: Receiver>(
    request: http::Request<h2::RecvStream>,
    mut respond: h2::server::SendResponse<Bytes>,
    receiver: &R,
) -> Result<(), h2::Error> {
    let (head, stream) = request.into_parts();
    let mut body = collect(stream).await?;
    let outcome = if body.len() < PREFIX_BYTES {
        Outcome::Malformed
    } else {
        let compressed = body.first() == Some(&1);
        body.advance(PREFIX_BYTES);
        let encoding = if compressed { encoding(&head.headers, "grpc-encoding") } else { Some(Encoding::Identity) };
        match encoding {
            Some(encoding) => receiver.receive(signal(head.uri.path()), Format::Protobuf, encoding, body).await,
            None => Outcome::Malformed,
        }
    };
    let mut response = Response::new(());
    response.headers_mut().insert("content-type", HeaderValue::from_static("application/grpc"));
    let mut stream = respond.send_response(response, false)?;
    if outcome == Outcome::Accepted {
        // An empty ExportTraceServiceResponse: no partial success.
        stream.send_data(Bytes::from_static(&[0; PREFIX_BYTES]), false)?;
    }
    stream.send_trailers(trailers(outcome))
}

/// The signal whose requests go to that path.
fn signal(path: &str) -> Signal {
    if path.ends_with("/v1/logs") || path.contains("LogsService") {
        Signal::Logs
    } else if path.ends_with("/v1/metrics") || path.contains("MetricsService") {
        Signal::Metrics
    } else {
        Signal::Traces
    }
}

fn encoding(headers: &HeaderMap, name: &str) -> Option<Encoding> {
    headers.get(name).map_or(Some(Encoding::Identity), |value| Encoding::from_token(value.to_str().ok()?))
}

fn trailers(outcome: Outcome) -> HeaderMap {
    let mut trailers = HeaderMap::new();
    let code = match outcome {
        Outcome::Accepted => "0",
        Outcome::Malformed => "3",
        Outcome::Unavailable(delay) => {
            let details = base64::engine::general_purpose::STANDARD_NO_PAD.encode(unavailable_status(delay));
            if let Ok(details) = HeaderValue::try_from(details) {
                trailers.insert("grpc-status-details-bin", details);
            }
            "14"
        }
    };
    trailers.insert("grpc-status", HeaderValue::from_static(code));
    trailers
}

/// A `google.rpc.Status` with code 14 and a `RetryInfo` of this delay, at most two minutes.
fn unavailable_status(delay: Duration) -> Vec<u8> {
    const URL: &[u8] = b"type.googleapis.com/google.rpc.RetryInfo";
    let seconds = u8::try_from(delay.as_secs()).unwrap_or(u8::MAX).min(120);
    let mut duration = vec![0x08, seconds, 0x10];
    let mut nanos = delay.subsec_nanos();
    while nanos >= 0x80 {
        duration.push(nanos.to_le_bytes()[0] | 0x80);
        nanos >>= 7;
    }
    duration.push(nanos.to_le_bytes()[0]);
    // Every part is shorter than 128 bytes, so each length is one byte.
    let nest = |tag: u8, content: &[u8]| [&[tag, u8::try_from(content.len()).unwrap_or(0)], content].concat();
    let any = [nest(0x0a, URL), nest(0x12, &nest(0x0a, &duration))].concat();
    [vec![0x08, 14], nest(0x1a, &any)].concat()
}

/// The whole body; a single frame is not copied.
async fn collect(mut stream: h2::RecvStream) -> Result<Bytes, h2::Error> {
    let Some(first) = stream.data().await.transpose()? else { return Ok(Bytes::new()) };
    stream.flow_control().release_capacity(first.len())?;
    let declared = first.get(1..PREFIX_BYTES).and_then(|length| length.try_into().ok()).map_or(0, u32::from_be_bytes);
    let expected = usize::try_from(declared).unwrap_or(0).saturating_add(PREFIX_BYTES);
    if first.len() >= expected {
        return Ok(first);
    }
    let mut joined = BytesMut::with_capacity(expected.min(BODY_BYTES_MAX));
    joined.extend_from_slice(&first);
    while let Some(part) = stream.data().await.transpose()? {
        stream.flow_control().release_capacity(part.len())?;
        if joined.len() + part.len() > BODY_BYTES_MAX {
            break;
        }
        joined.extend_from_slice(&part);
    }
    Ok(joined.freeze())
}

async fn serve_http<R: Receiver>(stream: TcpStream, receiver: Rc<R>) {
    let service = service_fn(move |request| {
        let receiver = Rc::clone(&receiver);
        async move { Ok::<_, std::convert::Infallible>(answer_http(request, &*receiver).await) }
    });
    // A connection that breaks is the client's business.
    let _ = hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
}

async fn answer_http<R: Receiver>(
    request: http::Request<hyper::body::Incoming>,
    receiver: &R,
) -> Response<Full<Bytes>> {
    let (head, body) = request.into_parts();
    let json = head.headers.get("content-type").is_some_and(|value| value.as_bytes().starts_with(b"application/json"));
    let format = if json { Format::Json } else { Format::Protobuf };
    let body = Limited::new(body, BODY_BYTES_MAX).collect().await;
    let outcome = match (body, encoding(&head.headers, "content-encoding")) {
        (Ok(body), Some(encoding)) => {
            receiver.receive(signal(head.uri.path()), format, encoding, body.to_bytes()).await
        }
        _ => Outcome::Malformed,
    };
    let content = if json && outcome == Outcome::Accepted { Bytes::from_static(b"{}") } else { Bytes::new() };
    let mut response = Response::new(Full::new(content));
    let kind = if json { "application/json" } else { "application/x-protobuf" };
    response.headers_mut().insert("content-type", HeaderValue::from_static(kind));
    match outcome {
        Outcome::Accepted => {}
        Outcome::Malformed => *response.status_mut() = StatusCode::BAD_REQUEST,
        Outcome::Unavailable(delay) => {
            *response.status_mut() = StatusCode::SERVICE_UNAVAILABLE;
            // Whole seconds are all that the header can say.
            let seconds = delay.as_secs() + u64::from(delay.subsec_nanos() > 0);
            response.headers_mut().insert("retry-after", HeaderValue::from(seconds));
        }
    }
    response
}
