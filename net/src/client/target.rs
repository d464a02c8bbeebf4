//! Endpoints as people write them: `http://host:4317`, `https://host/prefix`, `host:4317`, `[::1]:4317`.

use std::fmt;
use std::net::SocketAddr;

/// Whether TLS is spoken.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scheme {
    /// clear text
    Http,
    /// TLS
    Https,
}

impl Scheme {
    /// The scheme as it stands in a URL.
    #[must_use]
    pub const fn word(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }
}

/// A server to call.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Target {
    /// whether TLS is spoken
    pub scheme: Scheme,
    /// name or address, without the brackets of IPv6
    pub host: String,
    /// TCP port
    pub port: u16,
    /// path with its leading slash, `/` if none was written
    pub path: String,
    /// where to connect to, in place of the addresses that the host has
    pub address: Option<SocketAddr>,
}

/// Why a text is no endpoint.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum TargetError {
    /// another scheme than http and https
    #[error("unknown scheme {0:?}: write http:// or https://")]
    Scheme(String),
    /// no host
    #[error("no host in {0:?}: write for example http://localhost:4317")]
    Host(String),
    /// a port that is no number from 1 to 65535, or none where no scheme gives a default
    #[error("no valid port in {0:?}: write for example localhost:4317")]
    Port(String),
}

impl Target {
    /// Reads an endpoint. Without a scheme it is clear text and the port is required.
    ///
    /// # Errors
    /// [`TargetError`] names the part that cannot be read.
    pub fn parse(text: &str) -> Result<Self, TargetError> {
        let text = text.trim();
        let (scheme, rest) = match text.split_once("://") {
            None => (None, text),
            Some((word, rest)) if word.eq_ignore_ascii_case("http") => (Some(Scheme::Http), rest),
            Some((word, rest)) if word.eq_ignore_ascii_case("https") => (Some(Scheme::Https), rest),
            Some((word, _)) => return Err(TargetError::Scheme(word.to_owned())),
        };
        let (authority, path) = rest.split_at(rest.find('/').unwrap_or(rest.len()));
        let (host, port) = split_port(authority).ok_or_else(|| TargetError::Host(text.to_owned()))?;
        if host.is_empty() || host.contains(|letter: char| letter.is_whitespace() || letter == '@') {
            return Err(TargetError::Host(text.to_owned()));
        }
        let port = match (port, scheme) {
            (Some(digits), _) => digits.parse().ok().filter(|port| *port != 0),
            (None, Some(Scheme::Http)) => Some(80),
            (None, Some(Scheme::Https)) => Some(443),
            (None, None) => None,
        };
        Ok(Self {
            scheme: scheme.unwrap_or(Scheme::Http),
            host: host.to_owned(),
            port: port.ok_or_else(|| TargetError::Port(text.to_owned()))?,
            path: if path.is_empty() { "/".to_owned() } else { path.to_owned() },
            address: None,
        })
    }

    /// Host and port as `:authority` and `Host` carry them.
    #[must_use]
    pub fn authority(&self) -> String {
        if self.host.contains(':') {
            format!("[{}]:{}", self.host, self.port)
        } else {
            format!("{}:{}", self.host, self.port)
        }
    }
}

impl fmt::Display for Target {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme.word(), self.authority(), self.path)
    }
}

/// Host and, if written, port; `None` where brackets do not match.
fn split_port(authority: &str) -> Option<(&str, Option<&str>)> {
    if let Some(inner) = authority.strip_prefix('[') {
        let (host, rest) = inner.split_once(']')?;
        return match rest.strip_prefix(':') {
            Some(port) => Some((host, Some(port))),
            None => rest.is_empty().then_some((host, None)),
        };
    }
    match authority.rsplit_once(':') {
        // Several colons without brackets are an IPv6 address without a port.
        Some((host, _)) if host.contains(':') => Some((authority, None)),
        Some((host, port)) => Some((host, Some(port))),
        None => Some((authority, None)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(text: &str) -> (Scheme, String, u16, String) {
        let target = Target::parse(text).unwrap();
        (target.scheme, target.authority(), target.port, target.path)
    }

    #[test]
    fn endpoints_are_read_as_people_write_them() {
        assert_eq!(parts("http://h:4317"), (Scheme::Http, "h:4317".into(), 4317, "/".into()));
        assert_eq!(parts("h:4317"), (Scheme::Http, "h:4317".into(), 4317, "/".into()));
        assert_eq!(parts("HTTPS://h/a/b"), (Scheme::Https, "h:443".into(), 443, "/a/b".into()));
        assert_eq!(parts("[::1]:4317"), (Scheme::Http, "[::1]:4317".into(), 4317, "/".into()));
        assert_eq!(parts("http://[fe80::1]"), (Scheme::Http, "[fe80::1]:80".into(), 80, "/".into()));
        assert_eq!(Target::parse("http://h:1/x").unwrap().to_string(), "http://h:1/x");
    }

    #[test]
    fn what_cannot_be_read_is_named() {
        assert!(matches!(Target::parse("grpc://h:1"), Err(TargetError::Scheme(_))));
        for text in ["", "http://", ":4317", "[::1", "a b:1", "user@h:1"] {
            assert!(matches!(Target::parse(text), Err(TargetError::Host(_))), "{text}");
        }
        for text in ["h", "h:", "h:0", "h:65536", "h:x", "::1"] {
            assert!(matches!(Target::parse(text), Err(TargetError::Port(_))), "{text}");
        }
    }
}
