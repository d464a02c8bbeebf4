//! Listening sockets, built by hand so that port sharing is asked for and never assumed.

use std::io;
use std::net::{SocketAddr, TcpStream as StdTcpStream};
use std::os::fd::{AsRawFd, BorrowedFd, FromRawFd, IntoRawFd};

use socket2::{Domain, Protocol, Socket, Type};

use crate::Backend;
use crate::executor::backend;

/// Connections that the kernel completes ahead of `accept`. It cuts this to `net.core.somaxconn` (4096 by default).
const LISTEN_BACKLOG: i32 = 4096;

/// Whether several sockets may listen on the same port (`SO_REUSEPORT`): one per core of this process.
///
/// The kernel also lets another process of the same user in, which then silently takes part of the connections; see
/// [`exclusive_port_probe`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SharedPort {
    /// One listener per core shares the port.
    Yes,
    /// This listener alone.
    No,
}

/// An accepted connection, not yet bound to an executor, so that it may be handed to another core.
#[derive(Debug)]
pub struct Accepted {
    /// The connection; [`super::TcpStream::adopt`] binds it to the executor that will serve it.
    pub stream: StdTcpStream,
    /// The peer's address.
    pub peer: SocketAddr,
}

/// Another socket has the port.
#[derive(Debug, thiserror::Error)]
#[error("cannot listen on {address}: {source}; {remedy}")]
pub struct PortTaken {
    /// The address asked for.
    pub address: SocketAddr,
    /// The system's answer.
    pub source: io::Error,
    remedy: &'static str,
}

/// A listening TCP socket bound to the executor it was made on.
#[derive(Debug)]
pub struct TcpListener {
    inner: Inner,
    local_address: SocketAddr,
}

#[derive(Debug)]
enum Inner {
    Uring(glommio::net::TcpListener),
    Epoll(tokio::net::TcpListener),
}

impl TcpListener {
    /// Binds and listens on the current executor. Port 0 takes a free port; see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// The system's refusal: address in use, not local, or not permitted.
    pub fn bind(address: SocketAddr, shared: SharedPort) -> io::Result<Self> {
        let socket = listening_socket(address, shared)?;
        socket.listen(LISTEN_BACKLOG)?;
        let listener: std::net::TcpListener = socket.into();
        let local_address = listener.local_addr()?;
        let inner = match backend() {
            Backend::Uring => Inner::Uring(adopt_listener(listener)),
            Backend::Epoll => {
                listener.set_nonblocking(true)?;
                Inner::Epoll(tokio::net::TcpListener::from_std(listener)?)
            }
        };
        Ok(Self { inner, local_address })
    }

    /// The address it listens on, with the port the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// Waits for the next connection. `TCP_NODELAY` is set on it: replies are small and somebody waits for them.
    ///
    /// # Errors
    /// `ECONNABORTED` and its kind (try again at once), or `EMFILE`, `ENFILE`, `ENOBUFS`, `ENOMEM` (try again after a
    /// pause). The listener stays usable.
    pub async fn accept(&self) -> io::Result<Accepted> {
        loop {
            let stream = match &self.inner {
                Inner::Uring(listener) => accept_uring(listener).await?,
                Inner::Epoll(listener) => listener.accept().await?.0.into_std()?,
            };
            // A connection that was reset while it waited in the backlog has no peer any more: not worth reporting.
            if let (Ok(()), Ok(peer)) = (stream.set_nodelay(true), stream.peer_addr()) {
                return Ok(Accepted { stream, peer });
            }
        }
    }
}

impl PortTaken {
    /// What to do about it.
    #[must_use]
    pub fn remedy(&self) -> &'static str {
        self.remedy
    }

    /// Whether another socket has the port.
    #[must_use]
    pub fn is_in_use(&self) -> bool {
        self.source.kind() == io::ErrorKind::AddrInUse
    }
}

/// Says whether this process can have the port for itself, by binding it without `SO_REUSEPORT` and closing it again.
/// To be called once at start, before the listeners that share the port are made.
///
/// # Errors
/// [`PortTaken`] with what to do about it.
pub fn exclusive_port_probe(address: SocketAddr) -> Result<(), PortTaken> {
    let probe = listening_socket(address, SharedPort::No).and_then(|socket| socket.listen(1));
    probe.map_err(|source| {
        let remedy = match source.kind() {
            io::ErrorKind::AddrInUse => "stop the process that has the port, or choose another port",
            io::ErrorKind::AddrNotAvailable => "the address is not one of this machine's",
            io::ErrorKind::PermissionDenied => "choose a port from 1024 up, or grant CAP_NET_BIND_SERVICE",
            _ => "choose another address",
        };
        PortTaken { address, source, remedy }
    })
}

/// A port kept for this process before anything listens on it: whoever connects is refused, and nobody else gets it. The
/// listeners that share the port may be made meanwhile.
#[derive(Debug)]
pub struct PortHold {
    _socket: Socket,
    address: SocketAddr,
}

impl PortHold {
    /// Takes the port; port 0 takes a free one.
    ///
    /// # Errors
    /// The system's answer when the port can't be had.
    pub fn take(address: SocketAddr) -> io::Result<Self> {
        let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
        // Without `SO_REUSEADDR`: as nothing listens here, anyone who has it set could join.
        socket.set_reuse_port(true)?;
        socket.bind(&address.into())?;
        let address = socket.local_addr()?.as_socket().unwrap_or(address);
        Ok(Self { _socket: socket, address })
    }

    /// The address, with the port the system chose.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }
}

/// A bound socket. `SO_REUSEADDR` lets a restart take a port whose old connections are still in TIME_WAIT; it does not
/// let two listeners share it.
fn listening_socket(address: SocketAddr, shared: SharedPort) -> io::Result<Socket> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    socket.set_reuse_address(true)?;
    if shared == SharedPort::Yes {
        socket.set_reuse_port(true)?;
    }
    socket.bind(&address.into())?;
    Ok(socket)
}

#[allow(unsafe_code)]
fn adopt_listener(listener: std::net::TcpListener) -> glommio::net::TcpListener {
    // SAFETY: `into_raw_fd` gives up ownership of an open, listening socket, so the descriptor is valid and the new
    // owner is the only one.
    unsafe { glommio::net::TcpListener::from_raw_fd(listener.into_raw_fd()) }
}

#[allow(unsafe_code)]
async fn accept_uring(listener: &glommio::net::TcpListener) -> io::Result<StdTcpStream> {
    let bound = listener.accept().await?;
    // glommio does not give its descriptor away, so it is duplicated and the original closed: three system calls once
    // per connection.
    // SAFETY: `bound` owns the descriptor and outlives the borrow, which ends with this statement.
    let duplicate = unsafe { BorrowedFd::borrow_raw(bound.as_raw_fd()) }.try_clone_to_owned()?;
    Ok(StdTcpStream::from(duplicate))
}
