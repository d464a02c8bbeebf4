//! Binding a port that its last owner may just have left.

use std::io;
use std::net::SocketAddr;
use std::time::{Duration, Instant};
use tailwater_runtime::executor;
use tailwater_runtime::net::{SharedPort, TcpListener};

/// A process that used `io_uring` is gone before its rings are: they hold its sockets for some tens of milliseconds.
const PATIENCE: Duration = Duration::from_secs(2);
const PAUSE: Duration = Duration::from_millis(20);

/// Listens on `address`, waiting a moment where it is still taken.
///
/// # Errors
/// A text that names the address and the system's answer.
pub async fn bind(address: SocketAddr) -> Result<TcpListener, String> {
    let begin = Instant::now();
    loop {
        match TcpListener::bind(address, SharedPort::No) {
            Ok(listener) => return Ok(listener),
            Err(error) if error.kind() == io::ErrorKind::AddrInUse && begin.elapsed() < PATIENCE => {
                executor::sleep(PAUSE).await;
            }
            Err(error) => return Err(format!("cannot listen on {address}: {error}")),
        }
    }
}
