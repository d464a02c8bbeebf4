//! Finding other nodes: names are looked up, and this node is announced where nobody is known yet.

use super::{Names, State};
use crate::discovery::Discovery;
use std::net::SocketAddr;
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::{JoinName, ListenAddress};
use tailwater_engine::vocabulary::Nanos;
use tailwater_runtime::clock::monotonic_nanos;
use tailwater_runtime::executor::sleep;
use tailwater_runtime::net::{ResolveError, resolve, resolve_service};

/// How often it is seen to: others may have come or gone meanwhile.
const PAUSE_MIN: Duration = Duration::from_millis(100);
/// At most: as often as lookups and announcements may be due.
const PAUSE_MAX: Duration = Duration::from_secs(1);

impl State {
    /// Looks up the names of `cluster.join` and announces this node there, for as long as it runs. `server` is whom to ask for
    /// services.
    pub(super) async fn find(self: Rc<Self>, names: Names, server: Option<ListenAddress>) {
        let mut passed_over = 0;
        let mut discovery = Discovery::new(&names, Nanos(monotonic_nanos()));
        loop {
            for (number, name) in discovery.lookups(Nanos(monotonic_nanos())) {
                let found = look_up(&name, server.as_ref()).await;
                if let Err(error) = &found {
                    tracing::debug!(%error, "a node to join is not found");
                }
                discovery.found(Nanos(monotonic_nanos()), number, found.unwrap_or_default());
            }
            let others = self.hub.borrow().view().members().len().saturating_sub(1);
            let own = self.socket.local_addr();
            let addresses = discovery.announce_to(Nanos(monotonic_nanos()), others, |address| {
                address == own || self.hub.borrow().is_member_at(address)
            });
            for address in addresses {
                self.with_hub(|hub, now, wire| hub.announce(now, address, wire));
            }
            if discovery.passed_over() > passed_over {
                passed_over = discovery.passed_over();
                tracing::warn!(passed_over, "names of cluster.join have more addresses than are kept");
            }
            let next = discovery.next_at(others).map_or(0, |at| at.0.saturating_sub(monotonic_nanos()));
            sleep(Duration::from_nanos(next).clamp(PAUSE_MIN, PAUSE_MAX)).await;
        }
    }
}

async fn look_up(name: &JoinName, server: Option<&ListenAddress>) -> Result<Vec<SocketAddr>, ResolveError> {
    match (name, server) {
        (JoinName::Address(address), _) => resolve(address.host(), address.port()).await,
        (JoinName::Service(service), None) => resolve_service(service, None).await,
        (JoinName::Service(service), Some(server)) => {
            let server = resolve(server.host(), server.port()).await?;
            resolve_service(service, server.first().copied()).await
        }
    }
}
