//! Large reads for peers that send small frames.
//!
//! The HTTP/2 library reads one frame at a time. Most senders cut at 16 KiB, which would make 25 system calls of a 400 KB
//! body, each of which also answers the peer's TCP. Here one call reads what is there into a large buffer, from which the
//! library is served. The buffer belongs to the core and is lent only while something is in it, so that idle connections
//! hold none.

use std::cell::RefCell;
use std::io;
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use tokio::io::{AsyncRead, ReadBuf};

/// One read. More than a socket usually holds between two looks at it.
const BUFFER_BYTES: usize = 256 << 10;

/// Buffers of one core that may be lent at a time: 16 MiB. Connections that have read ahead and cannot go on (their peer
/// takes no replies) keep theirs; beyond this, others read directly.
const BUFFERS_MAX: usize = 64;

/// Buffers kept for the next read when none is lent.
const BUFFERS_KEPT: usize = 4;

#[derive(Default)]
struct Pool {
    free: Vec<Box<[u8]>>,
    lent: usize,
}

thread_local! {
    static POOL: RefCell<Pool> = RefCell::default();
}

/// Input read ahead of what was asked for.
#[derive(Debug)]
pub(super) struct ReadAhead {
    buffer: Box<[u8]>,
    start: usize,
    end: usize,
}

impl ReadAhead {
    /// A buffer of the core, if one may still be lent.
    pub(super) fn take() -> Option<Self> {
        POOL.with_borrow_mut(|pool| {
            if pool.lent == BUFFERS_MAX {
                return None;
            }
            pool.lent += 1;
            let buffer = pool.free.pop().unwrap_or_else(|| vec![0; BUFFER_BYTES].into_boxed_slice());
            Some(Self { buffer, start: 0, end: 0 })
        })
    }

    /// Reads once from the stream; the bytes read are returned for a look.
    pub(super) fn poll_fill<IO: AsyncRead + Unpin>(
        &mut self,
        stream: &mut IO,
        context: &mut Context<'_>,
    ) -> Poll<io::Result<&[u8]>> {
        let mut buffer = ReadBuf::new(&mut self.buffer);
        ready!(Pin::new(stream).poll_read(context, &mut buffer))?;
        (self.start, self.end) = (0, buffer.filled().len());
        Poll::Ready(Ok(&self.buffer[..self.end]))
    }

    /// Hands over as much as fits; `true` when nothing is left.
    pub(super) fn drain(&mut self, buffer: &mut ReadBuf<'_>) -> bool {
        let bytes = (self.end - self.start).min(buffer.remaining());
        buffer.put_slice(&self.buffer[self.start..self.start + bytes]);
        self.start += bytes;
        self.start == self.end
    }
}

impl Drop for ReadAhead {
    fn drop(&mut self) {
        let buffer = std::mem::take(&mut self.buffer);
        // The core's pool may be gone when the thread ends.
        let _ended = POOL.try_with(|pool| {
            let mut pool = pool.borrow_mut();
            pool.lent = pool.lent.saturating_sub(1);
            if pool.free.len() < BUFFERS_KEPT {
                pool.free.push(buffer);
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;

    #[test]
    fn what_was_read_ahead_comes_out_in_order_and_the_pool_is_bounded() {
        let input: Vec<u8> = (0..100_000u32).map(|number| (number % 251) as u8).collect();
        let mut stream = &input[..];
        let mut ahead = ReadAhead::take().unwrap();
        let mut context = Context::from_waker(Waker::noop());
        let Poll::Ready(Ok(read)) = ahead.poll_fill(&mut stream, &mut context) else { panic!("a slice is ready") };
        assert_eq!(read, input);
        let mut output = Vec::new();
        loop {
            let mut part = [0; 777];
            let mut part = ReadBuf::new(&mut part);
            let done = ahead.drain(&mut part);
            output.extend_from_slice(part.filled());
            if done {
                break;
            }
        }
        assert_eq!(output, input);
        drop(ahead);
        let lent: Vec<_> = std::iter::from_fn(ReadAhead::take).collect();
        assert_eq!(lent.len(), BUFFERS_MAX);
        drop(lent);
        assert_eq!(POOL.with_borrow(|pool| (pool.lent, pool.free.len())), (0, BUFFERS_KEPT));
    }
}
