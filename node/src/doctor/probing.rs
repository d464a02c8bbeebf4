//! Measures the way to another node of a cluster: datagrams of several sizes, sealed by the key of the cluster, are sent there
//! and come back with the time that it is there. Nobody is joined, and a node that runs on this machine is not disturbed.

use crate::identity::draw;
use rustix::net::sockopt::{self, Ipv4PathMtuDiscovery, Ipv6PathMtuDiscovery};
use std::collections::BTreeSet;
use std::io::ErrorKind;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::{Duration, Instant};
use tailwater_hub::probe::{Echo, echo, probe};
use tailwater_net::datagram::{Keyring, OVERHEAD_BYTES, Opener, Sealer};
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_runtime::clock::unix_nanos;

/// Sizes of datagrams that are tried, besides the one that the configuration has nodes send: what the smallest packets of IPv4
/// and IPv6 take, two usual tunnels, Ethernet, and its jumbo frames. Bytes without the headers of IP and UDP.
const SIZES: [usize; 6] = [548, 1_232, 1_392, 1_422, 1_472, 8_972];
/// How often what did not come back is sent.
const ATTEMPTS: u32 = 3;
/// How long it is waited for each time.
const ATTEMPT_WAIT: Duration = Duration::from_millis(300);
/// Largest datagram that IP carries.
const DATAGRAM_BYTES_MAX: usize = 65_536;

/// What was found out about a node.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Measured {
    /// Which node answers there, and in which run.
    pub node: (NodeId, Incarnation),
    /// The shortest time there and back.
    pub round_trip: Duration,
    /// Sizes of datagrams that came back.
    pub passed: BTreeSet<usize>,
    /// How far its clock is ahead of this one, in milliseconds; behind if negative.
    pub ahead_ms: i64,
    /// Whether it speaks a version of the wire that is spoken here.
    pub is_understood: bool,
}

/// Why nothing was found out.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Silence {
    /// The machine is there, and says that nothing listens.
    Refused,
    /// Nothing came back.
    NoAnswer,
    /// The socket of this machine, or the way from it.
    Local(String),
}

/// A probe that is under way.
struct Sent {
    bytes: usize,
    at: Instant,
    unix_ms: u64,
}

/// Measures the way to whoever is at an address. `own_bytes` is the size of datagrams that nodes send.
pub fn measure(address: SocketAddr, keyring: &Keyring, own_bytes: usize) -> Result<Measured, Silence> {
    let local = |error: std::io::Error| Silence::Local(error.to_string());
    let socket = socket_to(address).map_err(local)?;
    // Nobody else seals by the key of this run.
    let own = (NodeId(draw()), Incarnation(unix_nanos()));
    let (mut sealer, mut opener) = (Sealer::new(own, keyring.clone()), Opener::new(own, keyring.clone()));
    let mut missing: BTreeSet<usize> = SIZES.into_iter().chain([own_bytes]).collect();
    let mut sent: Vec<Sent> = Vec::new();
    let mut measured: Option<Measured> = None;
    for _ in 0..ATTEMPTS {
        for bytes in missing.clone() {
            let mut datagram = Vec::new();
            let frames = probe(u64::try_from(sent.len()).unwrap_or(u64::MAX), bytes.saturating_sub(overhead(keyring)));
            if sealer.seal(None, &frames, &mut datagram).is_err() {
                continue;
            }
            sent.push(Sent { bytes, at: Instant::now(), unix_ms: unix_nanos() / 1_000_000 });
            match socket.send(&datagram) {
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(Silence::Refused),
                // Larger than the way takes, as this machine knows already.
                Err(_) if datagram.len() > SIZES[0] => _ = missing.remove(&bytes),
                Err(error) => return Err(local(error)),
            }
        }
        hear(&socket, &mut opener, &sent, (&mut missing, &mut measured))?;
        if missing.is_empty() {
            break;
        }
    }
    measured.ok_or(Silence::NoAnswer)
}

/// What a seal adds; plain text has no tag.
fn overhead(keyring: &Keyring) -> usize {
    if keyring.is_plaintext() { tailwater_net::datagram::HEADER_BYTES } else { OVERHEAD_BYTES }
}

/// Takes what comes back, until nothing is missing or the time for it is over.
fn hear(
    socket: &UdpSocket,
    opener: &mut Opener,
    sent: &[Sent],
    (missing, measured): (&mut BTreeSet<usize>, &mut Option<Measured>),
) -> Result<(), Silence> {
    let end = Instant::now() + ATTEMPT_WAIT;
    let mut buffer = vec![0; DATAGRAM_BYTES_MAX];
    while !missing.is_empty() {
        let left = end.saturating_duration_since(Instant::now());
        if left.is_zero() {
            break;
        }
        socket.set_read_timeout(Some(left)).map_err(|error| Silence::Local(error.to_string()))?;
        let bytes = match socket.recv(&mut buffer) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::ConnectionRefused => return Err(Silence::Refused),
            // Its time is over, or something on the way has said that a datagram was too large.
            Err(_) => continue,
        };
        let Some(datagram) = buffer.get_mut(..bytes) else { continue };
        let Ok(opened) = opener.open(datagram) else { continue };
        let Some(echo) = echo(opened.frames) else { continue };
        let Some(of) = usize::try_from(echo.number).ok().and_then(|number| sent.get(number)) else { continue };
        missing.remove(&of.bytes);
        take(measured, (opened.sender, opened.incarnation), of, &echo);
    }
    Ok(())
}

fn take(measured: &mut Option<Measured>, node: (NodeId, Incarnation), of: &Sent, echo: &Echo) {
    let round_trip = of.at.elapsed();
    let known = measured.get_or_insert_with(|| Measured {
        node,
        round_trip: Duration::MAX,
        passed: BTreeSet::new(),
        ahead_ms: 0,
        is_understood: echo.is_understood(),
    });
    known.passed.insert(of.bytes);
    // The shortest way there and back tells the time best.
    if round_trip < known.round_trip {
        known.round_trip = round_trip;
        let here = of.unix_ms.saturating_add(u64::try_from(round_trip.as_millis() / 2).unwrap_or(u64::MAX));
        known.ahead_ms = echo.unix_ms.cast_signed().saturating_sub(here.cast_signed());
    }
}

/// A socket whose datagrams are sent whole or not at all, and that hears of it when nothing listens there.
fn socket_to(address: SocketAddr) -> std::io::Result<UdpSocket> {
    let any: IpAddr = if address.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { Ipv6Addr::UNSPECIFIED.into() };
    let socket = UdpSocket::bind((any, 0))?;
    if address.is_ipv4() {
        sockopt::set_ip_mtu_discover(&socket, Ipv4PathMtuDiscovery::DO)?;
    } else {
        sockopt::set_ipv6_mtu_discover(&socket, Ipv6PathMtuDiscovery::DO)?;
    }
    socket.connect(address)?;
    Ok(socket)
}
