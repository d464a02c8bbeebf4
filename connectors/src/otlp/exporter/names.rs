//! The names of servers and the addresses they have: each address is a server of its own, with its breaker and its
//! connections. Names are looked up in equal intervals and after failures; what was added or taken away is taken over while
//! requests are on their way. Until a first lookup has succeeded a name is one server, which the client looks up itself.

use super::breaker::Breaker;
use super::changes::either;
use super::failure::line;
use super::{Environment, Exporter};
use std::cell::{Cell, RefCell};
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::Breaker as BreakerSettings;
use tailwater_net::client::{GrpcConnection, Target};

/// Addresses of a name that are used; a resolver that gives more is not believed. Each may cost a connection a core.
const ADDRESSES_MAX: usize = 256;
/// After a failure a name is not looked up sooner than this.
const LOOKUP_PAUSE: Duration = Duration::from_secs(1);

/// A host and port as configured.
#[derive(Debug)]
pub(super) struct Name {
    host: String,
    port: u16,
    breaker: BreakerSettings,
    attempt_duration_max: Duration,
    connections: usize,
    servers: RefCell<Vec<Rc<Server>>>,
}

/// One address of a name, or the name itself.
#[derive(Debug)]
pub(super) struct Server {
    /// For people.
    pub(super) label: String,
    address: Option<SocketAddr>,
    pub(super) breaker: RefCell<Breaker>,
    /// gRPC connections, shared by the workers of each.
    shared: RefCell<Vec<Option<GrpcConnection>>>,
    /// Set when the name does not have this address any more.
    is_gone: Cell<bool>,
}

impl Name {
    pub(super) fn of(
        target: &Target,
        breaker: &BreakerSettings,
        attempt_duration_max: Duration,
        connections: usize,
    ) -> Self {
        let name = Self {
            host: target.host.clone(),
            port: target.port,
            breaker: breaker.clone(),
            attempt_duration_max,
            connections,
            servers: RefCell::default(),
        };
        let first = name.server(None);
        name.servers.borrow_mut().push(first);
        name
    }

    /// Whether a target is at this name.
    pub(super) fn is_of(&self, target: &Target) -> bool {
        self.host == target.host && self.port == target.port
    }

    /// Whether it is an address already.
    fn is_address(&self) -> bool {
        self.host.parse::<IpAddr>().is_ok()
    }

    pub(super) fn servers(&self) -> Vec<Rc<Server>> {
        self.servers.borrow().clone()
    }

    pub(super) fn count(&self) -> usize {
        self.servers.borrow().len()
    }

    fn server(&self, address: Option<SocketAddr>) -> Rc<Server> {
        let name = format!("{}:{}", self.host, self.port);
        let label = address.map_or_else(|| name.clone(), |address| format!("{name} at {address}"));
        Rc::new(Server {
            label,
            address,
            breaker: RefCell::new(Breaker::new(&self.breaker, self.attempt_duration_max)),
            shared: RefCell::new(vec![None; self.connections]),
            is_gone: Cell::new(false),
        })
    }

    /// Takes over what a lookup said: addresses that stay keep their breakers and connections. Returns how many came and
    /// how many went.
    fn adopt(&self, mut addresses: Vec<SocketAddr>) -> (usize, usize) {
        addresses.sort_unstable();
        addresses.dedup();
        addresses.truncate(ADDRESSES_MAX);
        if addresses.is_empty() {
            return (0, 0);
        }
        let mut servers = self.servers.borrow_mut();
        let is_there = |server: &Rc<Server>| server.address.is_some_and(|address| addresses.contains(&address));
        let gone = servers.extract_if(.., |server| !is_there(server)).map(|server| server.is_gone.set(true)).count();
        let known: Vec<_> = servers.iter().filter_map(|server| server.address).collect();
        let new = addresses.iter().filter(|address| !known.contains(address));
        let added: Vec<_> = new.map(|address| self.server(Some(*address))).collect();
        let count = added.len();
        servers.extend(added);
        (count, gone)
    }
}

impl Server {
    /// The target at this address.
    pub(super) fn target(&self, target: &Target) -> Target {
        Target { address: self.address, ..target.clone() }
    }

    pub(super) fn is_gone(&self) -> bool {
        self.is_gone.get()
    }

    /// The connection of that number, if it is open.
    pub(super) fn connection(&self, number: usize) -> Option<GrpcConnection> {
        let shared = self.shared.borrow();
        let connection = shared.get(number % shared.len().max(1))?.as_ref();
        connection.filter(|connection| !connection.is_closed()).cloned()
    }

    pub(super) fn share(&self, number: usize, connection: &GrpcConnection) {
        let mut shared = self.shared.borrow_mut();
        let count = shared.len().max(1);
        if let Some(place) = shared.get_mut(number % count) {
            *place = Some(connection.clone());
        }
    }
}

impl Exporter {
    /// Looks the names of its servers up, now and again, for ever; ends at once when there are none but addresses.
    pub async fn look_up(self: Rc<Self>, environment: Rc<impl Environment>) {
        loop {
            let wanted = self.lookups.wait();
            let mut names = self.endpoints.names().iter().filter(|name| !name.is_address()).peekable();
            if names.peek().is_none() {
                return;
            }
            for name in names {
                match environment.resolve(&name.host, name.port).await {
                    Ok(addresses) => self.adopt(name, addresses),
                    Err(error) => {
                        let error = line(&error);
                        tracing::debug!(exporter = self.name, host = name.host, error, "a name was not looked up");
                    }
                }
            }
            environment.sleep(LOOKUP_PAUSE.min(self.lookup_interval)).await;
            either(environment.sleep(self.lookup_interval.saturating_sub(LOOKUP_PAUSE)), wanted).await;
        }
    }

    fn adopt(&self, name: &Name, addresses: Vec<SocketAddr>) {
        let is_first = name.servers().iter().all(|server| server.address.is_none());
        let (added, gone) = name.adopt(addresses);
        if added + gone == 0 {
            return;
        }
        let (host, addresses) = (&name.host, name.count());
        if is_first {
            tracing::debug!(exporter = self.name, host, addresses, "the addresses of a server's name");
        } else {
            tracing::info!(exporter = self.name, host, addresses, added, gone, "a server's name has other addresses");
        }
        self.changes.notify();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_that_stay_keep_their_servers() {
        let target = Target::parse("http://hop:4317").unwrap();
        let name = Name::of(&target, &BreakerSettings::default(), Duration::from_secs(1), 1);
        assert!(!name.is_address() && name.is_of(&target));
        let address = |last: u8| SocketAddr::from(([10, 0, 0, last], 4317));
        assert_eq!(name.adopt(vec![address(2), address(1), address(2)]), (2, 1), "the name itself goes");
        let before = name.servers();
        assert_eq!(name.adopt(vec![address(2), address(3)]), (1, 1));
        let after = name.servers();
        assert!(Rc::ptr_eq(&before[1], &after[0]) && before[0].is_gone() && !after[1].is_gone());
        assert_eq!(after[1].label, "hop:4317 at 10.0.0.3:4317");
        assert_eq!(name.adopt(Vec::new()), (0, 0), "a name without an address keeps those it had");
        let many = (0..2000_u16).map(|port| SocketAddr::from(([10, 0, 0, 1], port))).collect();
        name.adopt(many);
        assert_eq!(name.count(), ADDRESSES_MAX);
    }
}
