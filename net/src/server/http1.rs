//! One HTTP/1.1 connection.

use std::error::Error as _;
use std::future::{Future, poll_fn};
use std::io;
use std::net::SocketAddr;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::header::{CONNECTION, CONTENT_TYPE, HOST, TRANSFER_ENCODING};
use http::{HeaderValue, Request, Response, StatusCode, Version};
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::server::conn::http1::Builder;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tailwater_runtime::executor::contain;
use tokio::io::{AsyncRead, AsyncWrite};

use super::head::{self, EMPTY};
use super::memory::{Holdings, RequestMemory};
use super::meter::Meter;
use super::stats::count;
use super::watchdog::{Due, Requests, Watchdog};
use super::{Ending, Server, Service, plain};

/// Most header fields of one request.
const HEADERS_MAX: usize = 100;

/// The read buffer, which is also the most that a head may take before it is parsed. Bodies are read in such pieces, so
/// it is larger than heads need.
const BUFFER_BYTES_MAX: usize = 64 << 10;

/// What a connection's loop wakes up for.
enum Event {
    Ended(hyper::Result<()>),
    Drain,
    Due(Due),
}

/// Runs a connection to its end.
pub(super) async fn serve<S, IO>(server: &Rc<Server<S>>, stream: Meter<IO>, peer: SocketAddr) -> Ending
where
    S: Service,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let limits = &server.limits;
    let head_bytes_max = usize::try_from(limits.header_list_bytes_max).unwrap_or(usize::MAX);
    let requests = Requests::new();
    let mut watchdog = Watchdog::new(limits, &requests, stream.activity(), u64::from(peer.port())).without_keepalive();
    let holdings: Rc<Holdings> = Rc::default();
    let service = service_fn(|request: Request<Incoming>| {
        let (server, under_way, holdings) = (Rc::clone(server), requests.begin(), Rc::clone(&holdings));
        async move {
            let _under_way = under_way;
            if let Some((code, words)) = faulty_head(&request) {
                return Ok(said(code, words).map(Full::new));
            }
            if head_bytes(&request) > head_bytes_max {
                return Ok(empty(StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE).map(Full::new));
            }
            let Some(memory) = RequestMemory::open(&server.memory, &holdings) else {
                count(&server.stats.requests_without_room);
                return Ok(plain::no_room(&request).map(Full::new));
            };
            Ok::<_, io::Error>(answer(&server, request, (peer, memory)).await?.map(Full::new))
        }
    });
    let mut connection = pin!(
        Builder::new()
            .max_headers(HEADERS_MAX)
            .max_buf_size(BUFFER_BYTES_MAX.max(head_bytes_max))
            .serve_connection(TokioIo::new(stream), service)
    );
    let mut drain = server.drain.subscribe();
    let mut leaving = server.is_draining();
    if leaving {
        watchdog.leaving();
        connection.as_mut().graceful_shutdown();
    }
    loop {
        let next = poll_fn(|context| poll_event(connection.as_mut(), &mut drain, leaving, &mut watchdog, context));
        match next.await {
            Event::Ended(Ok(())) => return Ending::Closed,
            Event::Ended(Err(error)) => return ending_of(&error),
            Event::Due(Due::CutOff) => return Ending::CutOff,
            // Not asked for.
            Event::Due(Due::Keepalive | Due::Dead) => continue,
            // Nothing is under way: there is nobody to wait for.
            Event::Due(Due::FirstRequest) => {
                count(&server.stats.first_request_timeouts);
                return Ending::Closed;
            }
            Event::Due(Due::Idle) => {
                count(&server.stats.idle_timeouts);
                return Ending::Closed;
            }
            Event::Due(Due::Age) => count(&server.stats.age_closes),
            Event::Drain => {}
        }
        leaving = true;
        watchdog.leaving();
        connection.as_mut().graceful_shutdown();
    }
}

fn poll_event<C>(
    connection: Pin<&mut C>,
    drain: &mut super::broadcast::Subscription,
    leaving: bool,
    watchdog: &mut Watchdog,
    context: &mut Context<'_>,
) -> Poll<Event>
where
    C: Future<Output = hyper::Result<()>>,
{
    if let Poll::Ready(outcome) = connection.poll(context) {
        return Poll::Ready(Event::Ended(outcome));
    }
    if !leaving && drain.poll_changed(context).is_ready() {
        return Poll::Ready(Event::Drain);
    }
    watchdog.poll_due(context).map(Event::Due)
}

/// Answers one request. An error closes the connection without an answer: the peer has gone. A panic of the service is
/// answered with 500; it is counted with the other contained panics.
async fn answer<S: Service>(
    server: &Rc<Server<S>>,
    request: Request<Incoming>,
    origin: (SocketAddr, RequestMemory),
) -> io::Result<Response<Bytes>> {
    let (mut head, body) = request.into_parts();
    head::strip(&mut head.headers);
    match contain(plain::answer(server, head, body, origin)).await {
        Ok(Some(response)) => Ok(response),
        Ok(None) => Err(io::ErrorKind::ConnectionAborted.into()),
        Err(_panic) => Ok(empty(StatusCode::INTERNAL_SERVER_ERROR)),
    }
}

/// What of a head is not as HTTP/1.1 has it. The answer closes the connection: what follows cannot be trusted.
fn faulty_head<B>(request: &Request<B>) -> Option<(StatusCode, &'static str)> {
    let headers = request.headers();
    // RFC 9112, 3.2: exactly one.
    let hosts = headers.get_all(HOST).iter().count();
    if hosts > 1 || (hosts == 0 && request.version() == Version::HTTP_11) {
        return Some((StatusCode::BAD_REQUEST, "a request has one Host header\n"));
    }
    // RFC 9112, 6.1: a coding that is not understood is answered with 501.
    let mut codings = headers.get_all(TRANSFER_ENCODING).iter();
    if let Some(first) = codings.next()
        && (codings.next().is_some() || !first.as_bytes().trim_ascii().eq_ignore_ascii_case(b"chunked"))
    {
        return Some((StatusCode::NOT_IMPLEMENTED, "the only transfer coding here is chunked\n"));
    }
    None
}

fn said(code: StatusCode, words: &'static str) -> Response<Bytes> {
    let mut response = Response::new(Bytes::from_static(words.as_bytes()));
    *response.status_mut() = code;
    response.headers_mut().insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    response.headers_mut().insert(CONNECTION, HeaderValue::from_static("close"));
    response
}

/// The size of a head as HTTP/2 counts it (RFC 9113, 10.5.1): names and values and 32 for each field.
fn head_bytes(request: &Request<Incoming>) -> usize {
    let fields = request.headers().iter().map(|(name, value)| name.as_str().len() + value.len() + 32);
    fields.sum::<usize>() + request.uri().path().len() + request.uri().query().map_or(0, str::len)
}

fn empty(code: StatusCode) -> Response<Bytes> {
    let mut response = Response::new(EMPTY);
    *response.status_mut() = code;
    response
}

fn ending_of(error: &hyper::Error) -> Ending {
    let from_transport = error.source().is_some_and(|source| source.is::<io::Error>());
    if error.is_parse() {
        Ending::ProtocolError
    } else if error.is_incomplete_message() || error.is_canceled() || error.is_closed() || from_transport {
        Ending::TransportError
    } else {
        Ending::ProtocolError
    }
}
