//! One HTTP/2 connection: accepts its requests, each of which runs as a task, and watches its deadlines.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::rc::Rc;
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use h2::server::{Builder, Connection, SendResponse};
use h2::{Ping, PingPong, Reason, RecvStream};
use http::request::Parts;
use tailwater_runtime::executor::{spawn, timeout};
use tokio::io::{AsyncRead, AsyncWrite};

use super::body::{Credit, StreamBody};
use super::broadcast::Subscription;
use super::head;
use super::memory::{Holdings, RequestMemory};
use super::meter::{Activity, ControlBudget, Meter};
use super::sending::send_body;
use super::stats::count;
use super::watchdog::{Due, Requests, UnderWay, Watchdog};
use super::{Ending, Protocol, Server, Service, grpc, plain};

/// Streams that a peer may make us reset by its own mistakes before the connection ends.
const ERROR_RESETS_MAX: usize = 64;

/// Streams of ours that were refused or given up are remembered, as a multiple of those that may be open.
const REFUSED_TIMES: usize = 2;

/// So long are they remembered: what was on its way has come by then, however slow the peer.
const REFUSED_REMEMBERED: Duration = Duration::from_secs(30);

/// Reply bytes that one stream may hold while its peer does not take them.
const SEND_BUFFER_BYTES_MAX: usize = 64 << 10;

/// The least connection window, and what a connection has before it is told otherwise (RFC 9113, 6.9.2).
const CONNECTION_WINDOW_BYTES_MIN: u32 = 65_535;

/// The largest window (RFC 9113, 6.9.1).
const WINDOW_BYTES_MAX: u32 = (1 << 31) - 1;

/// How long a connection that has to end may take to send its GOAWAY.
const LAST_WORD_TIMEOUT: Duration = Duration::from_secs(1);

/// Runs a connection to its end.
pub(super) async fn serve<S, IO>(server: &Rc<Server<S>>, mut stream: Meter<IO>, peer: SocketAddr) -> Ending
where
    S: Service,
    IO: AsyncRead + AsyncWrite + Unpin,
{
    let limits = &server.limits;
    let control = ControlBudget::new(limits.control_frames_per_second_max);
    stream.walk_frames(Rc::clone(&control));
    let activity = stream.activity();
    let loan = server.memory.windows.take(limits.connection_window_bytes);
    let mut builder = Builder::new();
    builder
        .initial_window_size(limits.stream_window_bytes)
        .max_frame_size(limits.frame_bytes_max)
        .max_header_list_size(limits.header_list_bytes_max)
        .max_concurrent_streams(limits.streams_per_connection_max)
        .max_local_error_reset_streams(Some(ERROR_RESETS_MAX))
        // What is still on its way for streams that were refused is passed over and is no error of the peer's.
        .reset_stream_duration(REFUSED_REMEMBERED)
        .max_concurrent_reset_streams(REFUSED_TIMES * usize::try_from(limits.streams_per_connection_max).unwrap_or(1))
        .max_send_buffer_size(SEND_BUFFER_BYTES_MAX);
    if loan.is_some() {
        builder.initial_connection_window_size(limits.connection_window_bytes);
    }
    let window_bytes = if loan.is_some() { limits.connection_window_bytes } else { CONNECTION_WINDOW_BYTES_MIN };
    let mut connection = match timeout(limits.handshake_timeout, builder.handshake::<_, Bytes>(stream)).await {
        Ok(Ok(connection)) => connection,
        // A peer that leaves without a word (a load balancer's check, a port scan) is nothing to report.
        Ok(Err(_)) if activity.bytes_read() == 0 => return Ending::Closed,
        Ok(Err(error)) => return ending_of(&error),
        Err(_elapsed) => return Ending::HandshakeTimeout,
    };
    let requests = Requests::new();
    let jitter = u64::from(peer.port());
    let mut state = State {
        server,
        peer,
        watchdog: Watchdog::new(limits, &requests, Rc::clone(&activity), jitter),
        drain: server.drain.subscribe(),
        ping: connection.ping_pong(),
        ping_sent: false,
        leaving: false,
        requests,
        activity,
        control,
        holdings: Rc::default(),
        credit: Rc::default(),
        window_bytes,
    };
    if server.is_draining() {
        state.leave(&mut connection);
    }
    state.run(&mut connection).await
}

/// What the loop of a connection knows.
struct State<'server, S: Service> {
    server: &'server Rc<Server<S>>,
    peer: SocketAddr,
    requests: Rc<Requests>,
    activity: Rc<Activity>,
    control: Rc<ControlBudget>,
    watchdog: Watchdog,
    drain: Subscription,
    ping: Option<PingPong>,
    ping_sent: bool,
    leaving: bool,
    /// What its requests hold of the core's memory.
    holdings: Rc<Holdings>,
    /// What its waiting streams hold of its window.
    credit: Rc<Credit>,
    window_bytes: u32,
}

/// What a connection's loop wakes up for, besides requests.
enum Event {
    Ended(Ending),
    Flooded,
    PseudoTrailers,
    Drain,
    Pong,
    Due(Due),
}

impl<S: Service> State<'_, S> {
    async fn run<IO>(&mut self, connection: &mut Connection<Meter<IO>, Bytes>) -> Ending
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        loop {
            match poll_fn(|context| self.poll_event(connection, context)).await {
                Event::Ended(ending) => return ending,
                Event::Flooded => {
                    tracing::debug!(peer = %self.peer, "too many control frames, closing the connection");
                    return last_word(connection, Reason::ENHANCE_YOUR_CALM, Ending::ControlFrameFlood).await;
                }
                Event::PseudoTrailers => {
                    tracing::debug!(peer = %self.peer, "a pseudo-header field in trailers, closing the connection");
                    return last_word(connection, Reason::PROTOCOL_ERROR, Ending::ProtocolError).await;
                }
                Event::Drain => self.leave(connection),
                Event::Pong => {
                    self.ping_sent = false;
                    self.watchdog.alive();
                }
                Event::Due(due) => {
                    if let Some(ending) = self.act_on(due, connection) {
                        return last_word(connection, Reason::NO_ERROR, ending).await;
                    }
                }
            }
        }
    }

    fn poll_event<IO>(
        &mut self,
        connection: &mut Connection<Meter<IO>, Bytes>,
        context: &mut Context<'_>,
    ) -> Poll<Event>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.credit.attend(context);
        // Bounded by the streams that may be open and by the quantum of input.
        loop {
            self.give_credit(connection);
            let accepted = connection.poll_accept(context);
            // Looked at after the poll that may have read the flood.
            if self.activity.flooded() {
                return Poll::Ready(Event::Flooded);
            }
            if self.activity.has_pseudo_trailers() {
                return Poll::Ready(Event::PseudoTrailers);
            }
            match accepted {
                Poll::Ready(Some(Ok((request, respond)))) => self.begin(request, respond),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Event::Ended(ending_of(&error))),
                Poll::Ready(None) => return Poll::Ready(Event::Ended(Ending::Closed)),
                Poll::Pending => break,
            }
        }
        if !self.leaving && self.drain.poll_changed(context).is_ready() {
            return Poll::Ready(Event::Drain);
        }
        if let (true, Some(ping)) = (self.ping_sent, &mut self.ping)
            && ping.poll_pong(context).is_ready()
        {
            return Poll::Ready(Event::Pong);
        }
        self.watchdog.poll_due(context).map(Event::Due)
    }

    /// Gives the connection as much window as its waiting streams hold, so that the others go on.
    fn give_credit<IO>(&self, connection: &mut Connection<Meter<IO>, Bytes>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        if let Some(held) = self.credit.take_change() {
            let held = u32::try_from(held).unwrap_or(u32::MAX);
            connection.set_target_window_size(self.window_bytes.saturating_add(held).min(WINDOW_BYTES_MAX));
        }
    }

    /// Starts a request's task. It first runs after this poll. A request for which there is no room is refused unprocessed,
    /// which clients retry.
    fn begin(&mut self, request: http::Request<RecvStream>, mut respond: SendResponse<Bytes>) {
        self.control.earn();
        let Some(memory) = RequestMemory::open(&self.server.memory, &self.holdings) else {
            count(&self.server.stats.requests_without_room);
            return respond.send_reset(Reason::REFUSED_STREAM);
        };
        let (mut head, body) = request.into_parts();
        head::strip(&mut head.headers);
        let body = StreamBody::new(body, &self.credit);
        let (server, peer, under_way) = (Rc::clone(self.server), self.peer, self.requests.begin());
        // Boxed: a request's state is some kilobytes, which spawning would move several times.
        match head::protocol(&head.headers) {
            Protocol::Grpc => spawn(Box::pin(async move {
                let _under_way = under_way;
                grpc::serve(server, head, body, respond, peer, memory).await;
            })),
            Protocol::Http => spawn(Box::pin(serve_plain(server, head, body, respond, (peer, memory), under_way))),
        }
    }

    /// Asks the peer to go away; requests under way, and those that cross with the GOAWAY, are finished.
    fn leave<IO>(&mut self, connection: &mut Connection<Meter<IO>, Bytes>)
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        self.leaving = true;
        self.watchdog.leaving();
        connection.graceful_shutdown();
    }

    /// Acts on a deadline; `Some` if the connection has to end now.
    fn act_on<IO>(&mut self, due: Due, connection: &mut Connection<Meter<IO>, Bytes>) -> Option<Ending>
    where
        IO: AsyncRead + AsyncWrite + Unpin,
    {
        let stats = &self.server.stats;
        match due {
            Due::FirstRequest => count(&stats.first_request_timeouts),
            Due::Idle => count(&stats.idle_timeouts),
            Due::Age => count(&stats.age_closes),
            Due::Dead => return Some(Ending::KeepaliveTimeout),
            Due::CutOff => return Some(Ending::CutOff),
            Due::Keepalive => {
                if let Some(ping) = &mut self.ping {
                    self.ping_sent = ping.send_ping(Ping::opaque()).is_ok();
                }
                return None;
            }
        }
        self.leave(connection);
        None
    }
}

/// A plain HTTP request over HTTP/2.
async fn serve_plain<S: Service>(
    server: Rc<Server<S>>,
    head: Parts,
    body: StreamBody,
    mut respond: SendResponse<Bytes>,
    origin: (SocketAddr, RequestMemory),
    _under_way: UnderWay,
) {
    let Some(response) = plain::answer(&server, head, body, origin).await else {
        return respond.send_reset(Reason::CANCEL);
    };
    let (head, body) = response.into_parts();
    let sending = async {
        let mut stream = respond.send_response(http::Response::from_parts(head, ()), body.is_empty())?;
        if body.is_empty() { Ok(()) } else { send_body(&mut stream, body, true, server.limits.request_timeout).await }
    };
    if sending.await.is_err() {
        count(&server.stats.replies_undelivered);
    }
}

/// Sends a GOAWAY if the peer still takes it, and ends the connection.
async fn last_word<IO>(connection: &mut Connection<Meter<IO>, Bytes>, reason: Reason, ending: Ending) -> Ending
where
    IO: AsyncRead + AsyncWrite + Unpin,
{
    connection.abrupt_shutdown(reason);
    let _sent = timeout(LAST_WORD_TIMEOUT, poll_fn(|context| connection.poll_closed(context))).await;
    ending
}

fn ending_of(error: &h2::Error) -> Ending {
    if error.is_io() {
        Ending::TransportError
    } else if error.is_go_away() && error.is_remote() && error.reason() == Some(Reason::NO_ERROR) {
        Ending::Closed
    } else {
        tracing::debug!(%error, "an HTTP/2 connection ended with an error");
        Ending::ProtocolError
    }
}
