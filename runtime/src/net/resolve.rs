//! Name resolution on a helper thread: the system's resolver blocks.

use std::net::{IpAddr, SocketAddr, ToSocketAddrs};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;

/// Lookups under way at once over the whole process. A dead resolver holds each for 5 to 30 s; more threads than this
/// would only wait too.
const LOOKUPS_MAX: usize = 16;

static LOOKUPS: AtomicUsize = AtomicUsize::new(0);

/// Why a name has no addresses. Nothing was changed; all but a wrong name are worth trying again later.
#[derive(Debug, thiserror::Error)]
pub enum ResolveError {
    /// The resolver knows no such name, or could not be asked.
    #[error("cannot resolve {host}: {source}")]
    Lookup {
        /// The name asked for.
        host: String,
        /// The resolver's answer.
        source: std::io::Error,
    },
    /// The resolver answered without an address.
    #[error("{host} has no addresses")]
    Empty {
        /// The name asked for.
        host: String,
    },
    /// Too many lookups wait for the resolver already.
    #[error("cannot resolve {host}: {LOOKUPS_MAX} lookups are waiting for the name server already")]
    Busy {
        /// The name asked for.
        host: String,
    },
}

/// A running lookup's place among [`LOOKUPS_MAX`].
struct Slot;

impl Slot {
    fn take() -> Option<Self> {
        LOOKUPS
            .fetch_update(Ordering::AcqRel, Ordering::Acquire, |running| (running < LOOKUPS_MAX).then_some(running + 1))
            .ok()
            .map(|_| Self)
    }
}

impl Drop for Slot {
    fn drop(&mut self) {
        LOOKUPS.fetch_sub(1, Ordering::AcqRel);
    }
}

/// The addresses of a host, in the resolver's order; at least one. An IP address (with or without brackets) is answered
/// at once. May be awaited on any executor.
///
/// # Errors
/// See [`ResolveError`].
pub async fn resolve(host: &str, port: u16) -> Result<Vec<SocketAddr>, ResolveError> {
    if let Ok(address) = host.trim_start_matches('[').trim_end_matches(']').parse::<IpAddr>() {
        return Ok(vec![SocketAddr::new(address, port)]);
    }
    let name = host.to_owned();
    on_helper_thread(host, move || (name.as_str(), port).to_socket_addrs().map(Iterator::collect)).await
}

/// Looks a name up where it may block.
pub(super) async fn on_helper_thread(
    host: &str,
    look_up: impl FnOnce() -> std::io::Result<Vec<SocketAddr>> + Send + 'static,
) -> Result<Vec<SocketAddr>, ResolveError> {
    let Some(slot) = Slot::take() else {
        return Err(ResolveError::Busy { host: host.to_owned() });
    };
    let (sender, receiver) = async_channel::bounded(1);
    let lookup = move || {
        let addresses = look_up();
        drop(slot);
        // The caller may have given up waiting.
        let _sent = sender.try_send(addresses);
    };
    let failed = |source| ResolveError::Lookup { host: host.to_owned(), source };
    let _detached = thread::Builder::new().name("resolve".to_owned()).spawn(lookup).map_err(failed)?;
    let answer = receiver.recv().await.map_err(|closed| failed(std::io::Error::other(closed)))?;
    let addresses = answer.map_err(failed)?;
    if addresses.is_empty() {
        return Err(ResolveError::Empty { host: host.to_owned() });
    }
    Ok(addresses)
}
