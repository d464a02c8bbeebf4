//! Sockets over either backend, speaking tokio's I/O traits, datagrams on one of them, and name resolution.

mod listener;
mod resolve;
mod stream;
mod udp;

pub use listener::{Accepted, PortHold, PortTaken, SharedPort, TcpListener, exclusive_port_probe};
pub use resolve::{ResolveError, resolve};
pub use stream::TcpStream;
pub use udp::{ReceivedDatagram, Sent, UdpSocket};
