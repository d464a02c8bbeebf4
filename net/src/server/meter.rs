//! The stream between the socket and the protocol library: replays bytes read ahead, counts what comes, walks HTTP/2
//! frame headers to stop floods of control frames, and lets other tasks run between large amounts of input.

mod frames;
mod read_ahead;
mod trailers;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) use frames::ControlBudget;
use frames::{FrameWalk, Offence};
use read_ahead::ReadAhead;

/// Input that a connection may take before other tasks run, in bytes. HTTP/2 libraries read until nothing is left, up to
/// a whole flow-control window; the tasks that take the bodies should run while these are still in the cache.
const INPUT_QUANTUM_BYTES: usize = 256 << 10;

/// With this much room, or frames as large as this, input is read straight into the library's buffer.
const DIRECT_BYTES_MIN: usize = 64 << 10;

/// What the connection's loop knows about its stream.
#[derive(Debug, Default)]
pub(super) struct Activity {
    bytes_read: Cell<u64>,
    flooded: Cell<bool>,
    has_pseudo_trailers: Cell<bool>,
}

impl Activity {
    /// Bytes read so far, so that two looks tell whether the peer is alive.
    pub(super) fn bytes_read(&self) -> u64 {
        self.bytes_read.get()
    }

    /// Whether the peer has sent more control frames than it may. Nothing more is read then.
    pub(super) fn flooded(&self) -> bool {
        self.flooded.get()
    }

    /// Whether the peer has sent a pseudo-header field in trailers. The library does not tell.
    pub(super) fn has_pseudo_trailers(&self) -> bool {
        self.has_pseudo_trailers.get()
    }
}

/// A metered stream.
#[derive(Debug)]
pub(super) struct Meter<IO> {
    stream: IO,
    /// Read from the socket already, and to be seen first.
    replay: Bytes,
    /// Read from the socket in one large read, and to be seen next.
    ahead: Option<ReadAhead>,
    activity: Rc<Activity>,
    walk: Option<FrameWalk>,
    quantum_left: usize,
}

impl<IO> Meter<IO> {
    /// A stream of which the first bytes have been read.
    pub(super) fn with_replay(stream: IO, replay: Bytes) -> Self {
        Self { stream, replay, ahead: None, activity: Rc::default(), walk: None, quantum_left: INPUT_QUANTUM_BYTES }
    }

    /// Walks the HTTP/2 frames that come from here on, which must be the connection's preface.
    pub(super) fn walk_frames(&mut self, budget: Rc<ControlBudget>) {
        self.walk = Some(FrameWalk::new(budget));
    }

    /// The shared view of this stream.
    pub(super) fn activity(&self) -> Rc<Activity> {
        Rc::clone(&self.activity)
    }

    fn sent(&self, outcome: &Poll<io::Result<usize>>) {
        if let (Some(walk), Poll::Ready(Ok(bytes))) = (&self.walk, outcome) {
            walk.sent(*bytes);
        }
    }

    /// Whether it pays to read ahead: HTTP/2 in small frames.
    fn reads_ahead(&self, room: usize) -> bool {
        room < DIRECT_BYTES_MIN && self.walk.as_ref().is_some_and(|walk| walk.data_frame_bytes() < DIRECT_BYTES_MIN)
    }
}

impl Activity {
    /// Accounts for input that has just come.
    fn account(&self, bytes: &[u8], walk: &mut Option<FrameWalk>) {
        self.bytes_read.set(self.bytes_read.get().wrapping_add(bytes.len() as u64));
        if let Some(walk) = walk
            && let Err(offence) = walk.advance(bytes)
        {
            match offence {
                Offence::Exhausted => self.flooded.set(true),
                Offence::PseudoTrailers => self.has_pseudo_trailers.set(true),
            }
        }
    }
}

impl<IO: AsyncRead + Unpin> Meter<IO> {
    /// Reads from the socket: ahead, or straight into the buffer.
    fn poll_socket(&mut self, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let ahead = if self.reads_ahead(buffer.remaining()) { ReadAhead::take() } else { None };
        let read_bytes = match ahead {
            Some(mut ahead) => {
                let read = ready!(ahead.poll_fill(&mut self.stream, context))?;
                self.activity.account(read, &mut self.walk);
                let read_bytes = read.len();
                if !ahead.drain(buffer) {
                    self.ahead = Some(ahead);
                }
                read_bytes
            }
            None => {
                ready!(Pin::new(&mut self.stream).poll_read(context, buffer))?;
                let read = &buffer.filled()[before..];
                self.activity.account(read, &mut self.walk);
                read.len()
            }
        };
        self.quantum_left = self.quantum_left.saturating_sub(read_bytes);
        Poll::Ready(Ok(()))
    }
}

impl<IO: AsyncRead + Unpin> AsyncRead for Meter<IO> {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        let this = &mut *self;
        if this.activity.flooded.get() {
            // The connection's loop closes now; there is nothing more to read.
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        if !this.replay.is_empty() {
            let replayed = this.replay.len().min(buffer.remaining());
            this.activity.account(&this.replay[..replayed], &mut this.walk);
            buffer.put_slice(&this.replay[..replayed]);
            this.replay.advance(replayed);
            return Poll::Ready(Ok(()));
        }
        if let Some(ahead) = &mut this.ahead {
            if ahead.drain(buffer) {
                this.ahead = None;
            }
            return Poll::Ready(Ok(()));
        }
        if this.quantum_left == 0 {
            this.quantum_left = INPUT_QUANTUM_BYTES;
            context.waker().wake_by_ref();
            return Poll::Pending;
        }
        let outcome = this.poll_socket(context, buffer);
        if outcome.is_pending() {
            this.quantum_left = INPUT_QUANTUM_BYTES;
        }
        outcome
    }
}

impl<IO: AsyncWrite + Unpin> AsyncWrite for Meter<IO> {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write(context, bytes);
        self.sent(&outcome);
        outcome
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let outcome = Pin::new(&mut self.stream).poll_write_vectored(context, slices);
        self.sent(&outcome);
        outcome
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(context)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(context)
    }
}
