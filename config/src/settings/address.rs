//! Where to listen: names are resolved where there is a network, not here.

use std::fmt;
use std::net::{IpAddr, SocketAddr};

/// A host, by name or address, and a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ListenAddress {
    host: String,
    port: u16,
}

impl ListenAddress {
    /// Reads `HOST:PORT`, where an IPv6 address stands in brackets, or `:PORT` for all addresses.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let (host, port) = text.rsplit_once(':')?;
        let port = port.parse().ok()?;
        let inner = host.strip_prefix('[').and_then(|host| host.strip_suffix(']'));
        let host = match inner {
            Some(inner) => inner.parse::<std::net::Ipv6Addr>().ok()?.to_string(),
            // The Collector binds a bare port on all addresses.
            None if host.is_empty() => "0.0.0.0".to_string(),
            None if is_name(host) => host.to_string(),
            None => return None,
        };
        Some(Self { host, port })
    }

    /// The host: a name, or an address without brackets.
    #[must_use]
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The port; 0 for one that the kernel chooses.
    #[must_use]
    pub fn port(&self) -> u16 {
        self.port
    }

    /// The address, where no name stands.
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    /// Whether both cannot be listened on at once, as far as that can be told without resolving names.
    #[must_use]
    pub fn clashes_with(&self, other: &Self) -> bool {
        let is_same = match (self.ip(), other.ip()) {
            (Some(one), Some(other)) => one == other || one.is_unspecified() || other.is_unspecified(),
            (Some(ip), None) | (None, Some(ip)) if ip.is_unspecified() => true,
            (Some(ip), None) => other.host == "localhost" && ip.is_loopback(),
            (None, Some(ip)) => self.host == "localhost" && ip.is_loopback(),
            (None, None) => self.host == other.host,
        };
        is_same && self.port != 0 && self.port == other.port
    }
}

/// Where other nodes may be found.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum JoinName {
    /// At all addresses of a name, at one port.
    Address(ListenAddress),
    /// Where SRV records of DNS say, ports included.
    Service(String),
}

/// What a name of SRV records begins with, as in Thanos, Mimir and Loki.
const SERVICE: &str = "dnssrv+";

impl JoinName {
    /// Reads `HOST:PORT`, or `dnssrv+NAME`.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        if let Some(name) = text.strip_prefix(SERVICE) {
            return is_name(name).then(|| Self::Service(name.to_string()));
        }
        let address = ListenAddress::parse(text)?;
        let is_one = address.port() != 0 && !address.ip().is_some_and(|ip| ip.is_unspecified());
        is_one.then_some(Self::Address(address))
    }
}

impl fmt::Display for JoinName {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Address(address) => address.fmt(formatter),
            Self::Service(name) => write!(formatter, "{SERVICE}{name}"),
        }
    }
}

/// Whether this could be a host's name; digits and dots alone are an address that is none.
fn is_name(host: &str) -> bool {
    let is_address = host.parse::<std::net::Ipv4Addr>().is_ok();
    let of_name = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    is_address || (host.bytes().all(of_name) && host.bytes().any(|byte| byte.is_ascii_alphabetic()))
}

impl From<SocketAddr> for ListenAddress {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_string(), port: address.port() }
    }
}

impl fmt::Display for ListenAddress {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.host.contains(':') {
            write!(formatter, "[{}]:{}", self.host, self.port)
        } else {
            write!(formatter, "{}:{}", self.host, self.port)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_node_is_joined_by_address_or_by_service() {
        for text in ["a:1", "10.0.0.1:7946", "[::1]:7946", "dnssrv+_tailwater._udp.nodes.svc"] {
            assert_eq!(JoinName::parse(text).map(|name| name.to_string()).as_deref(), Some(text));
        }
        // A service brings its ports; what has none, or is everywhere, can't be sent to.
        for wrong in ["a", "a:0", ":7946", "0.0.0.0:1", "dnssrv+", "dnssrv+a:1", "dnssrv+a b", "srv+a", "dnssrv+1.2"] {
            assert_eq!(JoinName::parse(wrong), None, "{wrong}");
        }
    }
}
