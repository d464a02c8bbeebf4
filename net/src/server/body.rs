//! Putting a request's body together in one piece, from whichever protocol.
//!
//! A body is admitted, not metered: once its length is known it waits for room for all of it, and only then is its window
//! opened again. So a body that has begun to come can come to its end. What a sender may send before that, at most the
//! first window of the stream, is taken out of the connection and held here: streams that wait do not stop others of their
//! connection. A body that then comes too slowly, while others wait for its room, is given up.
//!
//! A body that came in one frame is not copied. Otherwise each frame is copied once, while it is still in the cache, into
//! a buffer that grows towards the announced length.

use std::cell::{Cell, RefCell};
use std::future::poll_fn;
use std::io;
use std::pin::{Pin, pin};
use std::rc::Rc;
use std::task::{Context, Poll, Waker, ready};
use std::time::{Duration, Instant};

use bytes::{Buf, Bytes, BytesMut};
use futures_util::future::{Either, select};
use hyper::body::{Body, Incoming};
use tailwater_runtime::executor::Alarm;

use super::memory::RequestMemory;

/// Length of gRPC's message prefix: a compression flag and a 32-bit length.
const PREFIX_BYTES: usize = 5;

/// A buffer grows by at least so much at once.
const BUFFER_STEP_BYTES: usize = 1 << 20;

/// What a body of unknown length is given at first, and then as much again each time.
const STEP_BYTES: usize = 64 << 10;

/// Bytes a second of a body for whose room others wait: the slowest link that a sender of megabytes may reasonably
/// have.
/// At the bound: the body is given up; counted in `tailwater_receiver_requests_too_slow_total`.
const BYTES_PER_SECOND_MIN: f64 = 65_536.0;

/// The time that a body has before anybody looks at its pace.
const GRACE: Duration = Duration::from_secs(2);

/// How often its pace is looked at.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

const CUT_SHORT: &str = "the message is cut short";

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over the limit given.
    TooLarge,
    /// The peer reset the request or closed the connection.
    Abandoned,
    /// Not the framing that it should be, in words.
    Malformed(&'static str),
    /// Too many bodies wait for room already.
    NoRoom,
    /// It came so slowly that others, who wait for its room, were served instead.
    TooSlow,
}

/// A body that arrives in chunks.
pub(super) trait Source {
    /// Whether its sender has a window of its own on a connection that it shares with others.
    const HAS_WINDOW: bool;

    /// The next chunk, `None` at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Whether it is known that no chunk follows.
    fn is_end(&self) -> bool;

    /// So many bytes of chunks are held while the body waits: the stream stays shut, the connection does not.
    fn withhold(&mut self, bytes: usize);

    /// So many bytes of chunks have been taken over; the peer may send as many more.
    fn release(&mut self, bytes: usize);
}

/// What the streams of a connection hold of its window while they wait: the connection is given as much in their stead.
#[derive(Debug, Default)]
pub(super) struct Credit {
    held: Cell<usize>,
    has_changed: Cell<bool>,
    connection: RefCell<Option<Waker>>,
}

impl Credit {
    /// The connection's loop waits: it is to be woken when what is held changes.
    pub(super) fn attend(&self, context: &Context<'_>) {
        let mut connection = self.connection.borrow_mut();
        if connection.as_ref().is_none_or(|waker| !waker.will_wake(context.waker())) {
            *connection = Some(context.waker().clone());
        }
    }

    /// What is held now, if it has changed since the last look.
    pub(super) fn take_change(&self) -> Option<usize> {
        self.has_changed.replace(false).then(|| self.held.get())
    }

    fn change(&self, change: impl Fn(usize) -> usize) {
        self.held.set(change(self.held.get()));
        if !self.has_changed.replace(true)
            && let Some(connection) = &*self.connection.borrow()
        {
            connection.wake_by_ref();
        }
    }
}

/// The body of a request over HTTP/2.
pub(super) struct StreamBody {
    stream: h2::RecvStream,
    credit: Rc<Credit>,
    withheld: usize,
}

impl StreamBody {
    pub(super) fn new(stream: h2::RecvStream, credit: &Rc<Credit>) -> Self {
        Self { stream, credit: Rc::clone(credit), withheld: 0 }
    }

    fn settle(&mut self, bytes: usize) {
        let settled = bytes.min(self.withheld);
        if settled > 0 {
            self.withheld -= settled;
            self.credit.change(|held| held - settled);
        }
    }
}

impl Source for StreamBody {
    const HAS_WINDOW: bool = true;

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.stream.poll_data(context).map_err(|_reset| BodyError::Abandoned)
    }

    fn is_end(&self) -> bool {
        self.stream.is_end_stream()
    }

    fn withhold(&mut self, bytes: usize) {
        self.withheld += bytes;
        self.credit.change(|held| held + bytes);
    }

    fn release(&mut self, bytes: usize) {
        self.settle(bytes);
        // Fails only for more than was received. The library sends an update when half a window has come together.
        let _released = self.stream.flow_control().release_capacity(bytes);
    }
}

impl Drop for StreamBody {
    fn drop(&mut self) {
        self.settle(usize::MAX);
    }
}

impl Source for Incoming {
    const HAS_WINDOW: bool = false;

    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match ready!(Pin::new(&mut *self).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(error)) => return Poll::Ready(Some(Err(body_error(&error)))),
                Some(Ok(frame)) => {
                    // Trailers carry nothing for us.
                    if let Ok(data) = frame.into_data() {
                        return Poll::Ready(Some(Ok(data)));
                    }
                }
            }
        }
    }

    fn is_end(&self) -> bool {
        self.is_end_stream()
    }

    fn withhold(&mut self, _bytes: usize) {}

    fn release(&mut self, _bytes: usize) {
        // HTTP/1.1 has no windows: not reading is the back-pressure.
    }
}

/// Whether the peer is gone, or has framed its chunks in a way that nobody reads.
fn body_error(error: &hyper::Error) -> BodyError {
    let source = std::error::Error::source(error).and_then(|source| source.downcast_ref::<io::Error>());
    match source.map(io::Error::kind) {
        Some(io::ErrorKind::InvalidInput | io::ErrorKind::InvalidData) => {
            BodyError::Malformed("the chunks are not framed as RFC 9112 has it")
        }
        _ => BodyError::Abandoned,
    }
}

/// The next chunk that carries something.
async fn next_chunk(source: &mut impl Source) -> Result<Option<Bytes>, BodyError> {
    loop {
        let chunk = poll_fn(|context| source.poll_chunk(context)).await.transpose()?;
        if chunk.as_ref().is_none_or(|chunk| !chunk.is_empty()) {
            return Ok(chunk);
        }
    }
}

/// What a body is read under.
pub(super) struct Terms<'request> {
    /// The largest body.
    pub bytes_max: usize,
    /// The time a whole body has.
    pub time: Duration,
    /// The request's memory.
    pub memory: &'request RequestMemory,
}

/// A body on its way.
struct Arriving<'body, S> {
    source: &'body mut S,
    terms: &'body Terms<'body>,
    assembly: Assembly,
    /// Bytes taken from the source and not told to its sender yet.
    held: usize,
}

impl<S: Source> Arriving<'_, S> {
    /// Takes one more chunk before there is room for the body. False at the body's end.
    async fn hold(&mut self) -> Result<bool, BodyError> {
        let Some(chunk) = next_chunk(self.source).await? else { return Ok(false) };
        // Counted before the check: it is given back by the same sum.
        self.source.withhold(chunk.len());
        self.held += chunk.len();
        if !self.terms.memory.hold(chunk.len()) {
            return Err(BodyError::NoRoom);
        }
        self.assembly.push(chunk);
        Ok(true)
    }

    /// Waits until the service takes requests and there is room for `bytes` of this one. What its sender was allowed to
    /// send before that is taken meanwhile, so that it is not in the way of the connection's other streams.
    async fn admit(&mut self, bytes: usize, ready: impl Future<Output = ()>) -> Result<(), BodyError> {
        let memory = self.terms.memory;
        let mut admission = pin!(async {
            ready.await;
            memory.admit(bytes).await;
        });
        while S::HAS_WINDOW && self.assembly.len() < bytes && !self.source.is_end() {
            let more = match select(admission.as_mut(), pin!(self.hold())).await {
                Either::Left(((), _)) => None,
                Either::Right((more, _)) => Some(more?),
            };
            match more {
                Some(true) => {}
                // The body's end; it says later that this was too early.
                Some(false) => break,
                None => {
                    self.open();
                    return Ok(());
                }
            }
        }
        admission.await;
        self.open();
        Ok(())
    }

    /// There is room: the sender may go on.
    fn open(&mut self) {
        self.source.release(std::mem::take(&mut self.held));
        self.terms.memory.unhold();
        self.assembly.is_admitted = true;
    }

    /// Takes the rest, up to `bytes` or the end. `grows`: nobody has told how much it is.
    async fn rest(&mut self, bytes: usize, grows: bool) -> Result<(), BodyError> {
        let mut pace = Pace::new(bytes, self.terms.time);
        let mut room = if grows { bytes.min(STEP_BYTES) } else { bytes };
        while !self.source.is_end() {
            let Some(chunk) = pace.next_chunk(self.source, self.terms.memory).await? else { break };
            let length = self.assembly.len() + chunk.len();
            if length > bytes {
                return Err(BodyError::TooLarge);
            }
            if length > room {
                let more = (length - room).max(room).min(bytes - room);
                self.terms.memory.grow(more).await;
                room += more;
            }
            self.source.release(chunk.len());
            self.assembly.push(chunk);
        }
        self.terms.memory.arrived(self.assembly.len());
        Ok(())
    }
}

/// Watches that a body comes fast enough for others that wait for its room.
struct Pace {
    begun: Instant,
    bytes: usize,
    bytes_per_second: f64,
    look: Option<Alarm>,
}

impl Pace {
    /// For a body of so many bytes that has so much time.
    fn new(bytes: usize, time: Duration) -> Self {
        let by_time = to_float(bytes) / time.as_secs_f64().max(1.0);
        Self { begun: Instant::now(), bytes: 0, bytes_per_second: by_time.max(BYTES_PER_SECOND_MIN), look: None }
    }

    async fn next_chunk(
        &mut self,
        source: &mut impl Source,
        memory: &RequestMemory,
    ) -> Result<Option<Bytes>, BodyError> {
        let chunk = poll_fn(|context| {
            loop {
                match source.poll_chunk(context)? {
                    Poll::Ready(Some(chunk)) if chunk.is_empty() => {}
                    Poll::Ready(chunk) => return Poll::Ready(Ok(chunk)),
                    Poll::Pending => break,
                }
            }
            let look = self.look.get_or_insert_with(|| Alarm::after(LOOK_INTERVAL));
            while look.poll_expired(context).is_ready() {
                look.set_after(LOOK_INTERVAL);
                let over = self.begun.elapsed().saturating_sub(GRACE);
                if memory.is_wanted() && to_float(self.bytes) < over.as_secs_f64() * self.bytes_per_second {
                    return Poll::Ready(Err(BodyError::TooSlow));
                }
            }
            Poll::Pending
        });
        let chunk = chunk.await?;
        self.bytes += chunk.as_ref().map_or(0, Bytes::len);
        Ok(chunk)
    }
}

fn to_float(bytes: usize) -> f64 {
    u32::try_from(bytes).map_or(f64::MAX, f64::from)
}

/// A plain body. `announced` is its `Content-Length`.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as it is known, [`BodyError::Abandoned`] if the peer gave up, [`BodyError::NoRoom`] and
/// [`BodyError::TooSlow`] where others need the memory.
pub(super) async fn plain(
    source: &mut impl Source,
    announced: Option<u64>,
    terms: &Terms<'_>,
    ready: impl Future<Output = ()>,
) -> Result<Bytes, BodyError> {
    let announced = announced.map(|length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced.is_some_and(|length| length > terms.bytes_max) {
        return Err(BodyError::TooLarge);
    }
    let mut arriving = Arriving { source, terms, assembly: Assembly::new(announced.unwrap_or(0)), held: 0 };
    arriving.admit(announced.unwrap_or(STEP_BYTES).min(terms.bytes_max), ready).await?;
    if arriving.assembly.len() > terms.bytes_max {
        return Err(BodyError::TooLarge);
    }
    arriving.rest(announced.unwrap_or(terms.bytes_max), announced.is_none()).await?;
    Ok(arriving.assembly.finish())
}

/// The one message of a unary gRPC call, and whether it is compressed.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as the prefix tells, [`BodyError::Malformed`] if there is no message, only a part of
/// one or more than one, and those of [`plain`].
pub(super) async fn message(
    source: &mut impl Source,
    terms: &Terms<'_>,
    ready: impl Future<Output = ()>,
) -> Result<(bool, Bytes), BodyError> {
    let mut arriving = Arriving { source, terms, assembly: Assembly::new(0), held: 0 };
    while arriving.assembly.len() < PREFIX_BYTES {
        if !arriving.hold().await? {
            let is_empty = arriving.assembly.len() == 0;
            return Err(BodyError::Malformed(if is_empty { "there is no message" } else { CUT_SHORT }));
        }
    }
    let (flag, length) = arriving.assembly.prefix();
    if flag > 1 {
        return Err(BodyError::Malformed("the compression flag is neither 0 nor 1"));
    }
    let length = usize::try_from(length).unwrap_or(usize::MAX);
    if length > terms.bytes_max {
        return Err(BodyError::TooLarge);
    }
    let whole = length + PREFIX_BYTES;
    arriving.assembly.announced_bytes = whole;
    arriving.admit(whole, ready).await?;
    let outcome = arriving.rest(whole, false).await;
    if outcome == Err(BodyError::TooLarge) || arriving.assembly.len() > whole {
        return Err(BodyError::Malformed("there is more than one message in a unary call"));
    }
    outcome?;
    if arriving.assembly.len() < whole {
        return Err(BodyError::Malformed(CUT_SHORT));
    }
    let mut message = arriving.assembly.finish();
    message.advance(PREFIX_BYTES);
    Ok((flag == 1, message))
}

/// A body that grows chunk by chunk.
#[derive(Debug)]
struct Assembly {
    /// The only chunk so far, as it came.
    single: Bytes,
    /// All chunks, once there are two.
    joined: BytesMut,
    announced_bytes: usize,
    /// Whether there is room for all that is announced; before that a sender's word reserves nothing.
    is_admitted: bool,
}

impl Assembly {
    fn new(announced_bytes: usize) -> Self {
        Self { single: Bytes::new(), joined: BytesMut::new(), announced_bytes, is_admitted: false }
    }

    fn len(&self) -> usize {
        self.single.len() + self.joined.len()
    }

    fn push(&mut self, chunk: Bytes) {
        if self.len() == 0 {
            self.single = chunk;
            return;
        }
        let needed = self.len() + chunk.len();
        if needed > self.joined.capacity() {
            // Towards the announced length in steps that at most double: the room for all of it is there, but memory
            // that is never written to should not be taken, and a sender who sends all of it causes few copies.
            let trusted = if self.is_admitted { needed + needed.max(BUFFER_STEP_BYTES) } else { needed * 2 };
            let capacity = self.announced_bytes.min(trusted).max(needed);
            self.joined.reserve(capacity - self.joined.len());
        }
        let single = std::mem::take(&mut self.single);
        self.joined.extend_from_slice(&single);
        self.joined.extend_from_slice(&chunk);
    }

    /// The first five bytes of a message: a flag and a length, of which there are as many.
    fn prefix(&self) -> (u8, u32) {
        let mut bytes = if self.joined.is_empty() { &self.single[..] } else { &self.joined[..] };
        (bytes.get_u8(), bytes.get_u32())
    }

    fn finish(self) -> Bytes {
        if self.joined.is_empty() { self.single } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests;
