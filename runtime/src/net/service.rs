//! Services of DNS (SRV records): which hosts offer one, at which ports. The system's resolver does not tell these, so that DNS is
//! asked by hickory, on a helper thread as for other names.

use super::resolve::{ResolveError, on_helper_thread};
use futures_util::StreamExt as _;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig};
use hickory_resolver::net::NetError;
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::proto::rr::{Name, RData};
use std::collections::BTreeMap;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

/// Hosts of a service that are looked up, each with a question or two of its own where the answer does not have its address.
/// At the bound: further ones are passed over.
const HOSTS_MAX: usize = 1024;
/// Hosts that are asked for at once.
const HOSTS_AT_ONCE: usize = 16;
/// How long one question may take, and how often it is asked.
const QUESTION_WAIT: Duration = Duration::from_secs(2);
const QUESTION_ATTEMPTS: usize = 2;
/// How long all of them may take: who asks asks again after ten seconds.
const SERVICE_TIMEOUT: Duration = Duration::from_secs(9);

/// Where a service is offered, such as `_tailwater._udp.example.com`; at least one address. `server` is the DNS server that is
/// asked; `None` for those of `/etc/resolv.conf`. May be awaited on any executor.
///
/// # Errors
/// See [`ResolveError`].
pub async fn resolve_service(name: &str, server: Option<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
    let service = name.to_owned();
    on_helper_thread(name, move || look_up(&service, server)).await
}

/// As [`resolve_service`], on this thread, which must be of no executor.
///
/// # Errors
/// See [`ResolveError`].
pub fn resolve_service_here(name: &str, server: Option<SocketAddr>) -> Result<Vec<SocketAddr>, ResolveError> {
    let failed = |source| ResolveError::Lookup { host: name.to_owned(), source };
    let found = look_up(name, server).map_err(failed)?;
    if found.is_empty() { Err(ResolveError::Empty { host: name.to_owned() }) } else { Ok(found) }
}

fn look_up(name: &str, server: Option<SocketAddr>) -> io::Result<Vec<SocketAddr>> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let all = tokio::time::timeout(SERVICE_TIMEOUT, ask(name, server)).await;
        all.map_err(|_| io::Error::new(io::ErrorKind::TimedOut, "the DNS servers are too slow"))?
            .map_err(io::Error::other)
    })
}

async fn ask(name: &str, server: Option<SocketAddr>) -> Result<Vec<SocketAddr>, NetError> {
    let resolver = &resolver(server)?;
    let answer = resolver.srv_lookup(name).await?;
    let mut known: BTreeMap<Name, Vec<IpAddr>> = BTreeMap::new();
    for record in answer.additionals() {
        if let Some(ip) = record.data.ip_addr() {
            known.entry(record.name.clone()).or_default().push(ip);
        }
    }
    let hosts = answer.answers().iter().filter_map(|record| match &record.data {
        RData::SRV(offer) => Some((offer.target.clone(), offer.port)),
        _ => None,
    });
    let found = hosts.take(HOSTS_MAX).map(|(host, port)| {
        let known = known.get(&host).cloned();
        async move {
            let ips = match known {
                Some(ips) => ips,
                // A host that is gone already costs itself.
                None => resolver.lookup_ip(host).await.map(|found| found.iter().collect()).unwrap_or_default(),
            };
            ips.into_iter().map(move |ip| SocketAddr::new(ip, port)).collect::<Vec<_>>()
        }
    });
    let found: Vec<Vec<SocketAddr>> = futures_util::stream::iter(found).buffered(HOSTS_AT_ONCE).collect().await;
    Ok(found.into_iter().flatten().collect())
}

fn resolver(server: Option<SocketAddr>) -> Result<TokioResolver, NetError> {
    let mut builder = match server {
        None => TokioResolver::builder_tokio()?,
        Some(server) => {
            let at = |mut connection: ConnectionConfig| {
                connection.port = server.port();
                connection
            };
            let connections = vec![at(ConnectionConfig::udp()), at(ConnectionConfig::tcp())];
            let servers = vec![NameServerConfig::new(server.ip(), true, connections)];
            let config = ResolverConfig::from_parts(None, Vec::new(), servers);
            TokioResolver::builder_with_config(config, TokioRuntimeProvider::default())
        }
    };
    let options = builder.options_mut();
    (options.timeout, options.attempts) = (QUESTION_WAIT, QUESTION_ATTEMPTS);
    builder.build()
}
