//! Sockets over either backend, speaking tokio's I/O traits, datagrams on one of them, and name resolution.

mod listener;
mod resolve;
mod service;
mod stream;
mod udp;

pub use listener::{Accepted, PortHold, PortTaken, SharedPort, TcpListener, exclusive_port_probe};
pub use resolve::{ResolveError, resolve};
pub use service::{resolve_service, resolve_service_here};
pub use stream::TcpStream;
pub use udp::{ReceivedDatagram, Sent, UdpSocket};
