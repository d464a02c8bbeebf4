//! A TCP connection over either backend, speaking tokio's `AsyncRead` and `AsyncWrite`.
//!
//! Reads go straight from the socket into the caller's buffer: one `recv` when data is waiting, and readiness from the
//! executor when it is not. Writes gather several slices into one system call on both backends.

use std::io::{self, IoSlice};
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};
use std::pin::Pin;
use std::task::{Context, Poll, ready};

use futures_io::{AsyncRead as FuturesRead, AsyncWrite as FuturesWrite};
use rustix::io::Errno;
use rustix::net::{SendAncillaryBuffer, SendFlags, sendmsg};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};

use crate::Backend;
use crate::executor::backend;

/// A TCP connection of the executor it was adopted or connected on; it cannot move to another thread.
///
/// One task at a time may wait for reading and one for writing.
#[derive(Debug)]
pub struct TcpStream {
    inner: Inner,
}

#[derive(Debug)]
enum Inner {
    Uring(glommio::net::TcpStream),
    Epoll(tokio::net::TcpStream),
}

impl TcpStream {
    /// Binds an accepted connection to the current executor.
    ///
    /// # Errors
    /// If the socket cannot be registered; the connection is closed.
    pub fn adopt(stream: StdTcpStream) -> io::Result<Self> {
        let inner = match backend() {
            Backend::Uring => Inner::Uring(adopt_stream(stream)),
            Backend::Epoll => {
                stream.set_nonblocking(true)?;
                Inner::Epoll(tokio::net::TcpStream::from_std(stream)?)
            }
        };
        Ok(Self { inner })
    }

    /// Connects; `TCP_NODELAY` is set. There is no deadline here: wrap the call in
    /// [`timeout`](crate::executor::timeout).
    ///
    /// # Errors
    /// The system's refusal: connection refused, no route, timed out.
    pub async fn connect(address: SocketAddr) -> io::Result<Self> {
        let inner = match backend() {
            Backend::Uring => Inner::Uring(glommio::net::TcpStream::connect(address).await?),
            Backend::Epoll => Inner::Epoll(tokio::net::TcpStream::connect(address).await?),
        };
        let stream = Self { inner };
        stream.set_nodelay(true)?;
        Ok(stream)
    }

    /// Turns Nagle's algorithm off (`true`) or on.
    ///
    /// # Errors
    /// If the socket is no longer connected.
    pub fn set_nodelay(&self, nodelay: bool) -> io::Result<()> {
        match &self.inner {
            Inner::Uring(stream) => Ok(stream.set_nodelay(nodelay)?),
            Inner::Epoll(stream) => stream.set_nodelay(nodelay),
        }
    }

    /// The peer's address.
    ///
    /// # Errors
    /// If the socket is no longer connected.
    pub fn peer_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            Inner::Uring(stream) => Ok(stream.peer_addr()?),
            Inner::Epoll(stream) => stream.peer_addr(),
        }
    }

    /// This end's address.
    ///
    /// # Errors
    /// If the socket is no longer connected.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        match &self.inner {
            Inner::Uring(stream) => Ok(stream.local_addr()?),
            Inner::Epoll(stream) => stream.local_addr(),
        }
    }
}

#[allow(unsafe_code)]
fn adopt_stream(stream: StdTcpStream) -> glommio::net::TcpStream {
    // SAFETY: `into_raw_fd` gives up ownership of an open socket, so the descriptor is valid and the new owner is the
    // only one.
    unsafe { glommio::net::TcpStream::from_raw_fd(stream.into_raw_fd()) }
}

impl AsyncRead for TcpStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        buffer: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        match &mut self.inner {
            Inner::Uring(stream) => poll_read_uring(stream, context, buffer),
            Inner::Epoll(stream) => Pin::new(stream).poll_read(context, buffer),
        }
    }
}

/// Reads into the unfilled part of the caller's buffer without clearing it first: a large buffer that is cleared before
/// each read would cost as much as the read.
#[allow(unsafe_code)]
fn poll_read_uring(
    stream: &mut glommio::net::TcpStream,
    context: &mut Context<'_>,
    buffer: &mut ReadBuf<'_>,
) -> Poll<io::Result<()>> {
    // SAFETY: the slice is only handed to `recv(2)`, which writes to it and never reads it: an unbuffered glommio
    // stream passes pointer and length straight to the system call. Nothing in it is de-initialised. tokio's own
    // `TcpStream` makes the same cast for the same reason.
    let unfilled = unsafe {
        let unfilled = buffer.unfilled_mut();
        std::slice::from_raw_parts_mut(unfilled.as_mut_ptr().cast::<u8>(), unfilled.len())
    };
    let unfilled_bytes = unfilled.len();
    let read_bytes = ready!(Pin::new(stream).poll_read(context, unfilled))?.min(unfilled_bytes);
    // SAFETY: `recv(2)` has written the first `read_bytes` bytes, which are within the slice by the line above.
    unsafe { buffer.assume_init(read_bytes) };
    buffer.advance(read_bytes);
    Poll::Ready(Ok(()))
}

impl AsyncWrite for TcpStream {
    fn poll_write(mut self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Uring(stream) => Pin::new(stream).poll_write(context, bytes),
            Inner::Epoll(stream) => Pin::new(stream).poll_write(context, bytes),
        }
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        match &mut self.inner {
            Inner::Uring(stream) => poll_write_vectored_uring(stream, context, slices),
            Inner::Epoll(stream) => Pin::new(stream).poll_write_vectored(context, slices),
        }
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_flush(self: Pin<&mut Self>, _context: &mut Context<'_>) -> Poll<io::Result<()>> {
        // Nothing is buffered here.
        Poll::Ready(Ok(()))
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        let outcome = match &mut self.inner {
            Inner::Uring(stream) => ready!(Pin::new(stream).poll_close(context)),
            Inner::Epoll(stream) => ready!(Pin::new(stream).poll_shutdown(context)),
        };
        // The peer closed first: what shutdown is for has already happened.
        Poll::Ready(match outcome {
            Err(error) if error.kind() == io::ErrorKind::NotConnected => Ok(()),
            outcome => outcome,
        })
    }
}

/// glommio has no gathering write, so it is done here; glommio is asked only for readiness.
fn poll_write_vectored_uring(
    stream: &mut glommio::net::TcpStream,
    context: &mut Context<'_>,
    slices: &[IoSlice<'_>],
) -> Poll<io::Result<usize>> {
    let Some(first) = slices.iter().find(|slice| !slice.is_empty()) else {
        return Poll::Ready(Ok(0));
    };
    match send_gathered(stream, slices) {
        Ok(sent_bytes) => Poll::Ready(Ok(sent_bytes)),
        // Tries to send once more, and registers the waker if that fails too.
        Err(Errno::AGAIN | Errno::INTR) => Pin::new(stream).poll_write(context, first),
        Err(error) => Poll::Ready(Err(error.into())),
    }
}

#[allow(unsafe_code)]
fn send_gathered(stream: &glommio::net::TcpStream, slices: &[IoSlice<'_>]) -> Result<usize, Errno> {
    // SAFETY: `stream` owns the descriptor and outlives the borrow, which ends with this function.
    let socket = unsafe { BorrowedFd::borrow_raw(stream.as_raw_fd()) };
    sendmsg(socket, slices, &mut SendAncillaryBuffer::default(), SendFlags::DONTWAIT | SendFlags::NOSIGNAL)
}
