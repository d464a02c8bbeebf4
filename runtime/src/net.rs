//! Sockets over either backend, speaking tokio's I/O traits, and name resolution.

mod listener;
mod resolve;
mod stream;

pub use listener::{Accepted, PortHold, PortTaken, SharedPort, TcpListener, exclusive_port_probe};
pub use resolve::{ResolveError, resolve};
pub use stream::TcpStream;
