//! The server: gRPC over HTTP/2, and plain HTTP over HTTP/1.1 and HTTP/2, on accepted connections.
//!
//! One [`Server`] lives on each core and shares nothing with the others. [`serve`] runs one connection to its end. What a
//! request means is the business of a [`Service`]; everything before that is settled here: framing, size limits,
//! deadlines, content codings by name, the health service, flood and half-open protection, draining.
//!
//! ```text
//! socket -> meter (floods, prefix) -> h2 or hyper -> head (route, coding, length) -> ready -> body -> Service::call
//! ```
//!
//! Bodies are handed over as received, still compressed, in one piece.

mod body;
mod broadcast;
mod grpc;
mod head;
mod health;
mod http1;
mod http2;
mod limits;
mod memory;
mod meter;
mod plain;
mod sending;
mod stats;
mod stranger;
mod watchdog;

use std::cell::Cell;
use std::future::Future;
use std::net::SocketAddr;
use std::rc::Rc;

use bytes::Bytes;
use http::{HeaderMap, Method, StatusCode, Uri};
use tailwater_runtime::executor::contain;
use tokio::io::{AsyncRead, AsyncWrite};

use crate::compression::Encoding;
use crate::status::GrpcStatus;

pub use health::Health;
pub use limits::Limits;
pub use memory::{LargeLane, MemoryBounds, ReceiveMemory, RequestMemory, Room};
pub use stats::{ConnectionCounts, ConnectionStats};
pub use stranger::Stranger;

use broadcast::Broadcast;
use stats::count;

/// What a listener speaks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ListenerKind {
    /// HTTP/2 with prior knowledge, as gRPC clients speak it.
    Grpc,
    /// HTTP/1.1, or HTTP/2 with prior knowledge, told apart by the first bytes.
    Http,
}

/// How a request came. Either may come over any HTTP/2 connection; the content type decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Protocol {
    /// A unary gRPC call.
    Grpc,
    /// A plain HTTP request.
    Http,
}

/// A complete request.
#[derive(Debug)]
pub struct Request {
    /// How it came.
    pub protocol: Protocol,
    /// The method; POST for gRPC.
    pub method: Method,
    /// The target; see [`path`](Self::path).
    pub uri: Uri,
    /// The headers as received.
    pub headers: HeaderMap,
    /// The body's content coding.
    pub encoding: Encoding,
    /// The body as received, in one piece, still in its content coding; with gRPC the message without its prefix.
    pub body: Bytes,
    /// The peer's address.
    pub peer: SocketAddr,
    /// The memory that the request has, and may ask for.
    pub memory: Rc<RequestMemory>,
}

impl Request {
    /// The path without the query.
    #[must_use]
    pub fn path(&self) -> &str {
        self.uri.path()
    }
}

/// The answer to a request.
#[derive(Debug)]
pub enum Reply {
    /// To a gRPC call: the response message without its prefix, or a status. Over plain HTTP a status becomes the fitting
    /// HTTP status with a body in the request's encoding.
    Grpc(Result<Bytes, GrpcStatus>),
    /// To a plain HTTP request.
    Http {
        /// The status code.
        code: StatusCode,
        /// The content type; not sent with an empty body.
        content_type: &'static str,
        /// Further headers.
        headers: HeaderMap,
        /// The body.
        body: Bytes,
    },
}

impl Reply {
    /// A plain HTTP answer without further headers.
    #[must_use]
    pub fn http(code: StatusCode, content_type: &'static str, body: Bytes) -> Self {
        Self::Http { code, content_type, headers: HeaderMap::new(), body }
    }
}

/// Why a request did not reach the service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TurnedAway {
    /// Its head was not accepted.
    Head,
    /// Its content coding is not known.
    Encoding,
    /// It is larger than the bound, in bytes.
    TooLarge(usize),
    /// Its body is not framed as its protocol says.
    Malformed(&'static str),
}

/// What requests mean. One per core.
pub trait Service: 'static {
    /// Decides by the head alone whether a request is worth reading, before its body is: `Err` is answered at once.
    /// With plain HTTP that is for unknown paths (404), methods (405) and content types (415), with gRPC for unknown
    /// methods (UNIMPLEMENTED).
    ///
    /// # Errors
    /// The answer, which need not be an error by its content.
    fn accept_head(
        &self,
        protocol: Protocol,
        method: &Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<(), Box<Reply>>;

    /// Told of a request that got an error from the server or from [`accept_head`](Self::accept_head), for a log.
    fn turned_away(&self, _peer: SocketAddr, _head: &http::request::Parts, _why: TurnedAway) {}

    /// Told of a connection of a sender that speaks something else than what the listener is for, for a log.
    fn stranger(&self, _peer: SocketAddr, _listener: ListenerKind, _stranger: Stranger) {}

    /// Awaited before a request's body is read. Not returning is how back-pressure reaches the sender: its flow-control
    /// window stays shut. A wait beyond `request_timeout` is answered as overload.
    fn ready(&self) -> impl Future<Output = ()>;

    /// Answers a complete request.
    fn call(&self, request: Request) -> impl Future<Output = Reply>;
}

/// One core's server: the service, its limits, and what its connections share.
#[derive(Debug)]
pub struct Server<S> {
    service: S,
    limits: Limits,
    stats: ConnectionStats,
    health: Health,
    memory: Rc<ReceiveMemory>,
    draining: Cell<bool>,
    /// Announced when the drain begins.
    drain: Rc<Broadcast>,
    /// Announced whenever a connection ends.
    closed: Rc<Broadcast>,
}

impl<S: Service> Server<S> {
    /// A server for the current core, whose requests share `memory` with those of the core's other servers. Values of the
    /// limits that HTTP/2 does not allow are brought into its range.
    #[must_use]
    pub fn new(service: S, limits: Limits, memory: Rc<ReceiveMemory>) -> Rc<Self> {
        let mut limits = limits.within_protocol();
        limits.stream_window_bytes = limits.stream_window_bytes.min(memory.stream_window_bytes());
        Rc::new(Self {
            service,
            stats: ConnectionStats::default(),
            health: Health::default(),
            memory,
            draining: Cell::new(false),
            drain: Rc::default(),
            closed: Rc::default(),
            limits,
        })
    }

    /// The service.
    pub fn service(&self) -> &S {
        &self.service
    }

    /// The limits in force.
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// The counters.
    pub fn stats(&self) -> &ConnectionStats {
        &self.stats
    }

    fn count_wait(&self, memory: &RequestMemory) {
        if memory.has_waited() {
            count(&self.stats.body_waits);
        }
    }

    /// What the health service answers.
    pub fn health(&self) -> &Health {
        &self.health
    }

    /// Begins to drain: acceptors stop, every connection is told to go away (GOAWAY, or `Connection: close`), requests
    /// under way are finished, and what is left after `connection_age_grace` is cut off.
    pub fn drain(&self) {
        if !self.draining.replace(true) {
            self.health.drain();
            self.drain.announce();
        }
    }

    /// Whether [`drain`](Self::drain) was called.
    pub fn is_draining(&self) -> bool {
        self.draining.get()
    }

    /// Waits until no connection is open.
    pub async fn drained(&self) {
        let mut closed = self.closed.subscribe();
        while self.stats.open.get() > 0 {
            closed.changed().await;
        }
    }

    /// Waits until the drain begins.
    pub(crate) async fn drain_begun(&self) {
        let mut begun = self.drain.subscribe();
        while !self.is_draining() {
            begun.changed().await;
        }
    }
}

/// Counts a connection as open while it lives.
struct Open<S: Service>(Rc<Server<S>>);

impl<S: Service> Open<S> {
    fn new(server: &Rc<Server<S>>) -> Self {
        count(&server.stats.open);
        Self(Rc::clone(server))
    }
}

impl<S: Service> Drop for Open<S> {
    fn drop(&mut self) {
        let open = &self.0.stats.open;
        open.set(open.get().saturating_sub(1));
        self.0.closed.announce();
    }
}

/// Serves one connection to its end. Never fails: how it ended is in the counters. A panic of the protocol libraries ends
/// this connection alone; requests run as tasks of their own.
pub async fn serve<S, IO>(server: Rc<Server<S>>, stream: IO, peer: SocketAddr, kind: ListenerKind)
where
    S: Service,
    IO: AsyncRead + AsyncWrite + Unpin + 'static,
{
    let _open = Open::new(&server);
    let connection = async {
        match head::detect(stream, server.limits.handshake_timeout, kind).await {
            Ok(head::Detected::Http2(stream)) => http2::serve(&server, stream, peer).await,
            Ok(head::Detected::Http1(stream)) => http1::serve(&server, stream, peer).await,
            Ok(head::Detected::Stranger(stream, stranger)) => {
                server.service.stranger(peer, kind, stranger);
                stranger::turn_away(stream, stranger).await;
                Ending::ProtocolError
            }
            Err(ending) => ending,
        }
    };
    // Boxed: the state of both protocol libraries is some kilobytes, which every spawn would copy.
    if let Ok(ending) = contain(Box::pin(connection)).await {
        ending.count(&server.stats);
    }
}

/// How a connection ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Ending {
    /// By the peer, or after it was asked to go away.
    Closed,
    HandshakeTimeout,
    KeepaliveTimeout,
    CutOff,
    ProtocolError,
    TransportError,
    ControlFrameFlood,
}

impl Ending {
    fn count(self, stats: &ConnectionStats) {
        match self {
            Self::Closed => {}
            Self::HandshakeTimeout => count(&stats.handshake_timeouts),
            Self::KeepaliveTimeout => count(&stats.keepalive_timeouts),
            Self::CutOff => count(&stats.cut_off),
            Self::ProtocolError => count(&stats.protocol_errors),
            Self::TransportError => count(&stats.transport_errors),
            Self::ControlFrameFlood => count(&stats.control_frame_floods),
        }
    }
}

#[cfg(test)]
mod tests;
