//! One HTTP/2 connection and single exchanges on it, for gRPC and for plain posts.

use super::message::Message;
use super::stream::ClientStream;
use super::words::{self, Greeting, Wanted};
use super::{CallError, ClientOptions, RESPONSE_BYTES_MAX, RESPONSE_WINDOW_BYTES, Target, within};
use bytes::{Bytes, BytesMut};
use h2::client::SendRequest;
use http::{HeaderMap, Request, response};
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tailwater_runtime::executor;

/// Header lists of answers: trailers with status details included.
const HEADER_LIST_BYTES_MAX: u32 = 64 << 10;

/// A handle to a connection; clones share it. The connection closes when the last handle is gone.
#[derive(Clone)]
pub(super) struct Http2 {
    send: SendRequest<Message>,
    state: Rc<State>,
}

#[derive(Default)]
struct State {
    closed: Cell<bool>,
    /// answers seen so far: a deadline without any progress tells a dead connection from a slow server
    answers: Cell<u64>,
    failure: RefCell<Option<String>>,
    greeting: Greeting,
}

/// An answer collected whole.
pub(super) struct Answer {
    pub(super) head: response::Parts,
    pub(super) body: Bytes,
    pub(super) trailers: Option<HeaderMap>,
}

impl Http2 {
    /// Connects and starts the task that drives the connection.
    pub(super) async fn open(target: &Target, options: &ClientOptions) -> Result<Self, CallError> {
        let stream = ClientStream::open(target, options, Wanted::Http2).await?;
        let greeting = stream.greeting.clone();
        let mut builder = h2::client::Builder::new();
        builder
            .initial_window_size(RESPONSE_WINDOW_BYTES)
            .initial_connection_window_size(RESPONSE_WINDOW_BYTES)
            .max_header_list_size(HEADER_LIST_BYTES_MAX)
            .enable_push(false);
        let handshake = executor::timeout(options.connect_timeout, builder.handshake::<_, Message>(stream));
        let (send, connection) = match handshake.await {
            Ok(Ok(parts)) => parts,
            Ok(Err(error)) => return Err(CallError::Connect(words::http2(&error))),
            Err(_elapsed) => return Err(CallError::Connect("the HTTP/2 handshake took too long".to_owned())),
        };
        let state = Rc::new(State { greeting, ..State::default() });
        let driven = Rc::clone(&state);
        executor::spawn(async move {
            if let Err(error) = connection.await {
                *driven.failure.borrow_mut() = Some(words::http2(&error));
            }
            driven.closed.set(true);
        });
        Ok(Self { send, state })
    }

    /// True once no further request can succeed: closed, going away, or silent for a whole deadline.
    pub(super) fn is_closed(&self) -> bool {
        self.state.closed.get()
    }

    /// Sends a request and collects the answer, both within the deadline. Dropping the future resets the stream.
    pub(super) async fn exchange(
        &self,
        request: Request<()>,
        message: Message,
        deadline: Duration,
    ) -> Result<Answer, CallError> {
        let answers_before = self.state.answers.get();
        match within(deadline, self.exchange_unbounded(request, message)).await {
            Ok(result) => {
                self.state.answers.set(self.state.answers.get() + 1);
                result
            }
            Err(_elapsed) => {
                if self.state.answers.get() == answers_before {
                    self.state.closed.set(true);
                }
                Err(CallError::Deadline)
            }
        }
    }

    async fn exchange_unbounded(&self, request: Request<()>, message: Message) -> Result<Answer, CallError> {
        let mut send = self.send.clone().ready().await.map_err(|error| self.broken(&error))?;
        let (answer, mut body) = send.send_request(request, false).map_err(|error| self.broken(&error))?;
        // Handed over whole: h2 cuts it into frames as large as the peer takes and waits for its window.
        body.send_data(message, true).map_err(|error| self.broken(&error))?;
        let (head, body) = answer.await.map_err(|error| self.broken(&error))?.into_parts();
        let (body, trailers) = self.collect(body).await?;
        Ok(Answer { head, body, trailers })
    }

    async fn collect(&self, mut stream: h2::RecvStream) -> Result<(Bytes, Option<HeaderMap>), CallError> {
        let mut first = Bytes::new();
        let mut joined = BytesMut::new();
        while let Some(part) = stream.data().await {
            let part = part.map_err(|error| self.broken(&error))?;
            // Fails only if the connection is gone, which the next read reports.
            let _ = stream.flow_control().release_capacity(part.len());
            if joined.len() + first.len() + part.len() > RESPONSE_BYTES_MAX {
                return Err(CallError::Transport("the answer is larger than 4 MiB".to_owned()));
            }
            if first.is_empty() && joined.is_empty() {
                first = part;
            } else {
                joined.extend_from_slice(&std::mem::take(&mut first));
                joined.extend_from_slice(&part);
            }
        }
        let trailers = stream.trailers().await.map_err(|error| self.broken(&error))?;
        Ok((if joined.is_empty() { first } else { joined.freeze() }, trailers))
    }

    /// Translates an error; one that is not about a single stream marks the connection as closed.
    fn broken(&self, error: &h2::Error) -> CallError {
        if error.is_go_away() || error.is_io() || !error.is_reset() {
            self.state.closed.set(true);
        }
        if let Some(stranger) = self.state.greeting.stranger(Wanted::Http2) {
            return CallError::Connect(stranger.to_owned());
        }
        let cause = self.state.failure.borrow().as_ref().filter(|_| !error.is_reset()).cloned();
        CallError::Transport(cause.unwrap_or_else(|| words::http2(error)))
    }
}
