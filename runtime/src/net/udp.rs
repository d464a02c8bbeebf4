//! Datagrams on an executor of the epoll backend. A socket outlives whatever becomes of one datagram.
//!
//! Datagrams are sent whole or not at all (DF, which IPv6 has anyway): a fragment that is lost takes the others with it, and
//! fragments are what firewalls drop. Who sends must know what fits, and is told when something does not.

use std::io;
use std::net::SocketAddr;

use rustix::io::Errno;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use socket2::{Domain, Protocol, Socket, Type};

use crate::Backend;
use crate::executor::backend;

/// Room in the kernel for what comes while the executor does something else: 50 ms at 30,000 datagrams a second, as the kernel
/// counts them with their overhead. It cuts this to `net.core.rmem_max`, unless the process may pass that.
const RECEIVE_BUFFER_BYTES: usize = 4 << 20;

/// A bound socket. It has no peer: each datagram says where it goes and comes from.
#[derive(Debug)]
pub struct UdpSocket {
    inner: tokio::net::UdpSocket,
    local_address: SocketAddr,
    receive_buffer_bytes: usize,
}

/// What became of a datagram that was to be sent. Whether it arrives nobody knows.
#[derive(Debug)]
pub enum Sent {
    /// The kernel has it.
    Whole,
    /// Larger than the way to its receiver takes.
    TooLarge,
    /// There is no way to its receiver, or something on it refuses.
    Unreachable(io::Error),
    /// The kernel has no room now.
    NoRoom,
    /// Anything else; as with the others the next datagram may fare better.
    Failed(io::Error),
}

/// A datagram in the buffer that was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ReceivedDatagram {
    /// Bytes of it in the buffer. What does not fit is lost: a buffer one byte longer than what is taken tells.
    pub bytes: usize,
    /// Where it says that it comes from.
    pub from: SocketAddr,
}

impl UdpSocket {
    /// Binds on the current executor, for this process alone. Port 0 takes a free port; see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// The system's refusal: address in use, not local, or not permitted; or another backend than epoll.
    pub fn bind(address: SocketAddr) -> io::Result<Self> {
        if backend() != Backend::Epoll {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "datagrams need an executor of the epoll backend"));
        }
        let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP))?;
        forbid_fragments(&socket, address)?;
        // Only CAP_NET_ADMIN passes the system's limit.
        if sockopt::set_socket_recv_buffer_size_force(&socket, RECEIVE_BUFFER_BYTES).is_err() {
            socket.set_recv_buffer_size(RECEIVE_BUFFER_BYTES)?;
        }
        // The kernel doubles what it is asked for, to have room for its own books, and tells that.
        let receive_buffer_bytes = socket.recv_buffer_size()? / 2;
        socket.bind(&address.into())?;
        socket.set_nonblocking(true)?;
        let inner = tokio::net::UdpSocket::from_std(socket.into())?;
        let local_address = inner.local_addr()?;
        Ok(Self { inner, local_address, receive_buffer_bytes })
    }

    /// The address it is bound to, with the port the system chose.
    #[must_use]
    pub fn local_addr(&self) -> SocketAddr {
        self.local_address
    }

    /// What the kernel holds of datagrams that wait; less than was asked for where `net.core.rmem_max` is small.
    #[must_use]
    pub fn receive_buffer_bytes(&self) -> usize {
        self.receive_buffer_bytes
    }

    /// Sends a datagram, when the socket has room for it.
    pub async fn send_to(&self, datagram: &[u8], to: SocketAddr) -> Sent {
        match self.inner.send_to(datagram, to).await {
            Ok(_) => Sent::Whole,
            Err(error) => Sent::from(error),
        }
    }

    /// Waits for the next datagram.
    ///
    /// # Errors
    /// What the system has to say of the network or of an earlier datagram. The socket stays usable; after several in a row
    /// try again after a pause.
    pub async fn receive_from(&self, buffer: &mut [u8]) -> io::Result<ReceivedDatagram> {
        let (bytes, from) = self.inner.recv_from(buffer).await?;
        Ok(ReceivedDatagram { bytes, from })
    }
}

impl From<io::Error> for Sent {
    fn from(error: io::Error) -> Self {
        match Errno::from_io_error(&error) {
            Some(Errno::MSGSIZE) => Self::TooLarge,
            Some(Errno::NOBUFS | Errno::NOMEM | Errno::AGAIN) => Self::NoRoom,
            // A firewall says PERM or ACCESS.
            Some(
                Errno::CONNREFUSED
                | Errno::HOSTUNREACH
                | Errno::NETUNREACH
                | Errno::NETDOWN
                | Errno::HOSTDOWN
                | Errno::ADDRNOTAVAIL
                | Errno::AFNOSUPPORT
                | Errno::PERM
                | Errno::ACCESS,
            ) => Self::Unreachable(error),
            _ => Self::Failed(error),
        }
    }
}

/// Sets DF. A socket for all of IPv6 sends over IPv4, too.
fn forbid_fragments(socket: &Socket, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv6() {
        sockopt::set_ipv6_mtu_discover(socket, Ipv6PathMtuDiscovery::DO)?;
    }
    sockopt::set_ip_mtu_discover(socket, Ipv4PathMtuDiscovery::DO)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_socket_of_either_family_forbids_fragments() {
        for address in ["127.0.0.1:0", "[::1]:0"] {
            let address: SocketAddr = address.parse().unwrap();
            let socket = Socket::new(Domain::for_address(address), Type::DGRAM, Some(Protocol::UDP)).unwrap();
            forbid_fragments(&socket, address).unwrap();
            assert_eq!(sockopt::ip_mtu_discover(&socket).unwrap(), Ipv4PathMtuDiscovery::DO);
            if address.is_ipv6() {
                assert_eq!(sockopt::ipv6_mtu_discover(&socket).unwrap(), Ipv6PathMtuDiscovery::DO);
            }
        }
    }

    #[test]
    fn what_the_system_says_is_about_one_datagram() {
        let sent = |errno: Errno| Sent::from(io::Error::from(errno));
        assert!(matches!(sent(Errno::MSGSIZE), Sent::TooLarge));
        assert!(matches!(sent(Errno::CONNREFUSED), Sent::Unreachable(_)));
        assert!(matches!(sent(Errno::PERM), Sent::Unreachable(_)));
        assert!(matches!(sent(Errno::NOBUFS), Sent::NoRoom));
        assert!(matches!(sent(Errno::INVAL), Sent::Failed(_)));
        assert!(matches!(Sent::from(io::Error::other("x")), Sent::Failed(_)));
    }
}
