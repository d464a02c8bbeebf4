//! Putting a request's body together in one piece, from whichever protocol.
//!
//! A body that came in one frame is not copied. Otherwise each frame is copied once, while it is still in the cache, into
//! a buffer that grows towards the announced length but never far beyond what has really arrived. Every chunk is taken
//! out of the core's budget before its flow-control window is opened again.

use std::future::poll_fn;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes, BytesMut};
use hyper::body::{Body, Incoming};

use super::budget::Reservation;

/// Length of gRPC's message prefix: a compression flag and a 32-bit length.
const PREFIX_BYTES: usize = 5;

/// Memory reserved on the word of the sender alone, beyond what has arrived.
const TRUSTED_BYTES_MAX: usize = 1 << 20;

/// Why a body could not be had.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum BodyError {
    /// Over the limit given.
    TooLarge,
    /// The peer reset the request or closed the connection.
    Abandoned,
    /// Not the framing that it should be, in words.
    Malformed(&'static str),
}

/// A body that arrives in chunks.
pub(super) trait Source {
    /// The next chunk, `None` at the end.
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>>;

    /// Whether it is known that no chunk follows.
    fn is_end(&self) -> bool;

    /// So many bytes of chunks have been taken over; the peer may send as many more.
    fn release(&mut self, bytes: usize);
}

impl Source for h2::RecvStream {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        self.poll_data(context).map_err(|_reset| BodyError::Abandoned)
    }

    fn is_end(&self) -> bool {
        self.is_end_stream()
    }

    fn release(&mut self, bytes: usize) {
        // Fails only for more than was received. The library sends an update when half a window has come together.
        let _released = self.flow_control().release_capacity(bytes);
    }
}

impl Source for Incoming {
    fn poll_chunk(&mut self, context: &mut Context<'_>) -> Poll<Option<Result<Bytes, BodyError>>> {
        loop {
            match ready!(Pin::new(&mut *self).poll_frame(context)) {
                None => return Poll::Ready(None),
                Some(Err(_)) => return Poll::Ready(Some(Err(BodyError::Abandoned))),
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

    fn release(&mut self, _bytes: usize) {
        // HTTP/1.1 has no windows: not reading is the back-pressure.
    }
}

/// The next chunk that carries something, paid for from the budget and released to the peer.
async fn next_chunk(source: &mut impl Source, reservation: &mut Reservation) -> Result<Option<Bytes>, BodyError> {
    loop {
        let Some(chunk) = poll_fn(|context| source.poll_chunk(context)).await.transpose()? else { return Ok(None) };
        if chunk.is_empty() {
            continue;
        }
        if !reservation.try_grow(chunk.len()) {
            reservation.grow(chunk.len()).await;
        }
        source.release(chunk.len());
        return Ok(Some(chunk));
    }
}

/// A plain body, at most `bytes_max` long. `announced` is its `Content-Length`, as a hint.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as it is known, [`BodyError::Abandoned`] if the peer gave up.
pub(super) async fn plain(
    source: &mut impl Source,
    announced: Option<u64>,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<Bytes, BodyError> {
    let announced = announced.map_or(0, |length| usize::try_from(length).unwrap_or(usize::MAX));
    if announced > bytes_max {
        return Err(BodyError::TooLarge);
    }
    let mut assembly = Assembly::new(announced);
    while let Some(chunk) = next_chunk(source, reservation).await? {
        if assembly.len() + chunk.len() > bytes_max {
            return Err(BodyError::TooLarge);
        }
        assembly.push(chunk);
        if source.is_end() {
            break;
        }
    }
    Ok(assembly.finish())
}

/// The one message of a unary gRPC call, at most `bytes_max` long, and whether it is compressed.
///
/// # Errors
/// [`BodyError::TooLarge`] as soon as the prefix tells, [`BodyError::Malformed`] if there is no message, only a part of
/// one or more than one, [`BodyError::Abandoned`] if the peer gave up.
pub(super) async fn message(
    source: &mut impl Source,
    bytes_max: usize,
    reservation: &mut Reservation,
) -> Result<(bool, Bytes), BodyError> {
    let mut first = next_chunk(source, reservation).await?.ok_or(BodyError::Malformed("there is no message"))?;
    while first.len() < PREFIX_BYTES {
        let next = next_chunk(source, reservation).await?.ok_or(BodyError::Malformed("the message is cut short"))?;
        let mut joined = BytesMut::with_capacity(first.len() + next.len());
        joined.extend_from_slice(&first);
        joined.extend_from_slice(&next);
        first = joined.freeze();
    }
    let flag = first.get_u8();
    if flag > 1 {
        return Err(BodyError::Malformed("the compression flag is neither 0 nor 1"));
    }
    let length = usize::try_from(first.get_u32()).unwrap_or(usize::MAX);
    if length > bytes_max {
        return Err(BodyError::TooLarge);
    }
    let mut assembly = Assembly::new(length);
    assembly.push(first);
    while !source.is_end()
        && let Some(chunk) = next_chunk(source, reservation).await?
    {
        assembly.push(chunk);
        if assembly.len() > length {
            break;
        }
    }
    match assembly.len().cmp(&length) {
        std::cmp::Ordering::Less => Err(BodyError::Malformed("the message is cut short")),
        std::cmp::Ordering::Greater => Err(BodyError::Malformed("there is more than one message in a unary call")),
        std::cmp::Ordering::Equal => Ok((flag == 1, assembly.finish())),
    }
}

/// A body that grows chunk by chunk.
#[derive(Debug)]
struct Assembly {
    /// The only chunk so far, as it came.
    single: Bytes,
    /// All chunks, once there are two.
    joined: BytesMut,
    announced_bytes: usize,
}

impl Assembly {
    fn new(announced_bytes: usize) -> Self {
        Self { single: Bytes::new(), joined: BytesMut::new(), announced_bytes }
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
            // Towards the announced length in steps that at most double, so that a sender who announces much and
            // sends little holds little, and one who sends all of it causes few copies.
            let trusted = needed + needed.max(TRUSTED_BYTES_MAX);
            let capacity = self.announced_bytes.min(trusted).max(needed);
            self.joined.reserve(capacity - self.joined.len());
        }
        let single = std::mem::take(&mut self.single);
        self.joined.extend_from_slice(&single);
        self.joined.extend_from_slice(&chunk);
    }

    fn finish(self) -> Bytes {
        if self.joined.is_empty() { self.single } else { self.joined.freeze() }
    }
}

#[cfg(test)]
mod tests;
