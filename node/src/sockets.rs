//! The receivers' sockets: addresses settled once for all cores, one listener a core and protocol, limits in the
//! server's terms.

use crate::core::{CorePort, OpenReceiver};
use std::net::{SocketAddr, ToSocketAddrs};
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::{Ack, Config, ListenAddress, NO_LIMIT, Receiver, Receivers};
use tailwater_connectors::otlp::receiver::OtlpReceiver;
use tailwater_connectors::otlp::{SIGNALS, grpc_path};
use tailwater_net::acceptor::Acceptor;
use tailwater_net::server::{Limits, ListenerKind, ReceiveMemory, Server};
use tailwater_runtime::executor::spawn;
use tailwater_runtime::net::{PortHold, SharedPort, TcpListener};

/// Where the node listens, the same for all cores: each receiver's addresses, in the order of the configuration.
#[derive(Debug, Clone, Default)]
pub struct Addresses(Vec<ReceiverAddresses>);

/// Where one receiver listens.
#[derive(Debug, Clone, Default)]
struct ReceiverAddresses {
    /// OTLP/gRPC.
    grpc: Vec<SocketAddr>,
    /// OTLP/HTTP.
    http: Vec<SocketAddr>,
}

impl Addresses {
    /// The configured addresses. Port 0 becomes a free port here, as every core must listen on the same one. The ports are
    /// held from now on: reading the log of the last run may take minutes before anything listens on them.
    pub fn settle(config: &Config) -> Result<(Self, Vec<PortHold>), String> {
        let mut held = Vec::new();
        let mut settle = |receiver: &Option<Receiver>| match receiver {
            Some(receiver) => settle_ports(&resolve(&receiver.endpoint)?, &mut held),
            None => Ok(Vec::new()),
        };
        let mut all = Vec::new();
        for receivers in config.all_receivers() {
            all.push(ReceiverAddresses { grpc: settle(&receivers.grpc)?, http: settle(&receivers.http)? });
        }
        Ok((Self(all), held))
    }

    /// Where OTLP/gRPC is taken, those of the first receiver first.
    pub fn grpc(&self) -> Vec<SocketAddr> {
        self.0.iter().flat_map(|addresses| addresses.grpc.clone()).collect()
    }

    /// Where OTLP/HTTP is taken, those of the first receiver first.
    pub fn http(&self) -> Vec<SocketAddr> {
        self.0.iter().flat_map(|addresses| addresses.http.clone()).collect()
    }
}

/// The addresses of an endpoint on this machine, each to be listened on. A name may have some that are of no interface
/// here, such as an IPv6 address where there is none.
pub fn resolve(endpoint: &ListenAddress) -> Result<Vec<SocketAddr>, String> {
    if let Some(ip) = endpoint.ip() {
        return Ok(vec![SocketAddr::new(ip, endpoint.port())]);
    }
    let (name, port) = (endpoint.host(), endpoint.port());
    let found = (name, port).to_socket_addrs().map_err(|error| format!("the name {name} has no address: {error}"))?;
    let mut addresses: Vec<SocketAddr> = Vec::new();
    for address in found {
        let address = SocketAddr::new(address.ip(), port);
        let is_here = std::net::TcpListener::bind((address.ip(), 0)).is_ok();
        if is_here && !addresses.contains(&address) {
            addresses.push(address);
        }
    }
    if addresses.is_empty() {
        return Err(format!("the name {name} has no address that is one of this machine's"));
    }
    Ok(addresses)
}

/// The addresses with their ports; those of a name share one.
fn settle_ports(addresses: &[SocketAddr], held: &mut Vec<PortHold>) -> Result<Vec<SocketAddr>, String> {
    let mut settled: Vec<SocketAddr> = Vec::new();
    for address in addresses {
        let port = settled.first().map_or(address.port(), SocketAddr::port);
        settled.push(settle_port(SocketAddr::new(address.ip(), port), held)?);
    }
    Ok(settled)
}

fn settle_port(endpoint: SocketAddr, held: &mut Vec<PortHold>) -> Result<SocketAddr, String> {
    match PortHold::take(endpoint) {
        Ok(hold) => {
            held.push(hold);
            Ok(held.last().map_or(endpoint, PortHold::address))
        }
        // Another program's old connections may be in the way of the hold and not of the listeners.
        Err(_) if endpoint.port() != 0 => Ok(endpoint),
        Err(error) => Err(format!("cannot listen on {endpoint}: {error}")),
    }
}

/// What one core needs to open its listeners.
pub struct CoreListeners(Vec<ReceiverListeners>);

/// What one core needs to open those of one receiver.
struct ReceiverListeners {
    addresses: ReceiverAddresses,
    grpc: Acceptor,
    http: Acceptor,
}

impl CoreListeners {
    /// Those of all cores, in their order.
    pub fn for_cores(addresses: &Addresses, cores: usize) -> Vec<Self> {
        let mut all: Vec<Self> = (0..cores).map(|_| Self(Vec::new())).collect();
        for addresses in &addresses.0 {
            let pairs = Acceptor::for_cores(cores).into_iter().zip(Acceptor::for_cores(cores));
            for (core, (grpc, http)) in all.iter_mut().zip(pairs) {
                core.0.push(ReceiverListeners { addresses: addresses.clone(), grpc, http });
            }
        }
        all
    }

    /// Opens the listeners on this core and begins to accept. All of them share `memory`. `port` makes the core's port, one a
    /// receiver.
    pub fn open(
        self,
        config: &Config,
        shards: usize,
        memory: &Rc<ReceiveMemory>,
        port: impl Fn(&Receivers, Ack) -> CorePort,
    ) -> Result<Vec<OpenReceiver>, String> {
        let mut open = Vec::new();
        let memory_bytes_max = size(tailwater_config::large_request_bytes(config));
        for (own, receivers) in self.0.into_iter().zip(config.all_receivers()) {
            let ReceiverAddresses { grpc, http } = own.addresses;
            let both = [
                ("grpc", ListenerKind::Grpc, grpc, &receivers.grpc, own.grpc),
                ("http", ListenerKind::Http, http, &receivers.http, own.http),
            ];
            for (protocol, kind, addresses, settings, acceptor) in both {
                let Some(settings) = settings else { continue };
                let mut listeners = Vec::with_capacity(addresses.len());
                for address in addresses {
                    let listener = TcpListener::bind(address, SharedPort::Yes)
                        .map_err(|error| format!("cannot listen on {address}: {error}"))?;
                    listeners.push((listener, kind));
                }
                let request_bytes_max = size(settings.limits.request_bytes_max);
                let port = port(receivers, settings.ack);
                let service = OtlpReceiver::new(port, receivers.signals, request_bytes_max, memory_bytes_max);
                let server = Server::new(service, limits(&settings.limits, shards), Rc::clone(memory));
                server.health().set_services(SIGNALS.map(|signal| service_name(grpc_path(signal))));
                server.health().set_serving(true);
                spawn(acceptor.run(listeners, server.clone()));
                open.push(OpenReceiver { protocol, server });
            }
        }
        Ok(open)
    }
}

/// `package.Service` of `/package.Service/Method`.
fn service_name(path: &str) -> String {
    path.trim_start_matches('/').split('/').next().unwrap_or_default().to_string()
}

/// A receiver's limits for one of `shards` cores.
pub fn limits(settings: &tailwater_config::Limits, shards: usize) -> Limits {
    let optional = |duration: Duration| (!duration.is_zero()).then_some(duration);
    let unlimited = |duration: Duration| optional(duration).unwrap_or(NO_LIMIT);
    Limits {
        connections_max: size(settings.connections_max).div_ceil(shards.max(1)),
        descriptors_max: descriptors_max(shards),
        streams_per_connection_max: bound(settings.streams_per_connection_max),
        connection_window_bytes: bound(settings.connection_window_bytes),
        stream_window_bytes: bound(settings.stream_window_bytes),
        frame_bytes_max: bound(settings.frame_bytes_max),
        header_list_bytes_max: bound(settings.header_list_bytes_max),
        request_bytes_max: size(settings.request_bytes_max),
        handshake_timeout: unlimited(settings.handshake_timeout),
        first_request_timeout: unlimited(settings.first_request_timeout),
        idle_timeout: unlimited(settings.idle_timeout),
        request_timeout: unlimited(settings.request_timeout),
        connection_age_max: optional(settings.connection_age_max),
        connection_age_grace: settings.connection_age_grace,
        control_frames_per_second_max: bound(settings.control_frames_per_second_max),
        keepalive_interval: optional(settings.keepalive_interval),
        keepalive_timeout: unlimited(settings.keepalive_timeout),
    }
}

/// Descriptors that connections may not have: segments of the log, exporters, the admin endpoint, rings.
/// At the bound: a new connection is closed at once; counted in `tailwater_receiver_refused_at_descriptors_max_total`.
const DESCRIPTORS_RESERVED: u64 = 256;
/// As many more for each core.
const DESCRIPTORS_RESERVED_BY_SHARD: u64 = 32;

/// From which number on a descriptor is not for connections; where there are few, the upper half.
fn descriptors_max(shards: usize) -> i32 {
    let Some(all) = tailwater_runtime::limits::current().open_files.soft else { return i32::MAX };
    let shards = u64::try_from(shards).unwrap_or(u64::MAX);
    let reserved = DESCRIPTORS_RESERVED.saturating_add(shards.saturating_mul(DESCRIPTORS_RESERVED_BY_SHARD));
    i32::try_from(all.saturating_sub(reserved).max(all / 2)).unwrap_or(i32::MAX)
}

fn size(value: u64) -> usize {
    usize::try_from(value).unwrap_or(usize::MAX)
}

fn bound(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}
