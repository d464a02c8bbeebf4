//! The stream between the socket and the protocol library: replays bytes read ahead, counts what comes, walks HTTP/2
//! frame headers to stop floods of control frames, and lets other tasks run between large amounts of input.

mod frames;

use std::cell::Cell;
use std::io;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll, ready};

use bytes::{Buf, Bytes};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

pub(super) use frames::ControlBudget;
use frames::FrameWalk;

/// Input that a connection may take before other tasks run, in bytes. HTTP/2 libraries read until nothing is left, up to
/// a whole flow-control window; the tasks that take the bodies should run while these are still in the cache.
const INPUT_QUANTUM_BYTES: usize = 256 << 10;

/// What the connection's loop knows about its stream.
#[derive(Debug, Default)]
pub(super) struct Activity {
    bytes_read: Cell<u64>,
    flooded: Cell<bool>,
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
}

/// A metered stream.
#[derive(Debug)]
pub(super) struct Meter<IO> {
    stream: IO,
    /// Read from the socket already, and to be seen first.
    replay: Bytes,
    activity: Rc<Activity>,
    walk: Option<FrameWalk>,
    quantum_left: usize,
}

impl<IO> Meter<IO> {
    /// A stream read from its beginning.
    pub(super) fn new(stream: IO) -> Self {
        Self::with_replay(stream, Bytes::new())
    }

    /// A stream of which the first bytes have been read.
    pub(super) fn with_replay(stream: IO, replay: Bytes) -> Self {
        Self { stream, replay, activity: Rc::default(), walk: None, quantum_left: INPUT_QUANTUM_BYTES }
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

    fn account(&mut self, bytes: &[u8]) {
        self.activity.bytes_read.set(self.activity.bytes_read.get().wrapping_add(bytes.len() as u64));
        self.quantum_left = self.quantum_left.saturating_sub(bytes.len());
        if let Some(walk) = &mut self.walk
            && walk.advance(bytes).is_err()
        {
            self.activity.flooded.set(true);
        }
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
            // The connection's loop has been woken to close; there is nothing more to read.
            return Poll::Pending;
        }
        let before = buffer.filled().len();
        if this.replay.is_empty() {
            if this.quantum_left == 0 {
                this.quantum_left = INPUT_QUANTUM_BYTES;
                context.waker().wake_by_ref();
                return Poll::Pending;
            }
            let outcome = Pin::new(&mut this.stream).poll_read(context, buffer);
            if outcome.is_pending() {
                this.quantum_left = INPUT_QUANTUM_BYTES;
            }
            ready!(outcome)?;
        } else {
            let replayed = this.replay.len().min(buffer.remaining());
            buffer.put_slice(&this.replay[..replayed]);
            this.replay.advance(replayed);
        }
        this.account(&buffer.filled()[before..]);
        if this.activity.flooded.get() {
            context.waker().wake_by_ref();
        }
        Poll::Ready(Ok(()))
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
