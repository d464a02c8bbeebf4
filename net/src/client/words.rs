//! Failures in words that say what to do: who connects to a server that speaks something else sees what it begins with.

use super::Target;
use std::cell::Cell;
use std::io;
use std::rc::Rc;
use tokio_rustls::rustls::{AlertDescription, CertificateError, Error as Tls};

/// As many bytes as tell protocols apart.
const GREETING_BYTES: usize = 8;

/// The first bytes that a server sent on a connection; clones share them.
#[derive(Clone, Debug, Default)]
pub(super) struct Greeting(Rc<Cell<([u8; GREETING_BYTES], usize)>>);

impl Greeting {
    /// Takes note of what came, until there is enough.
    pub(super) fn note(&self, bytes: &[u8]) {
        let (mut first, length) = self.0.get();
        if length < GREETING_BYTES && !bytes.is_empty() {
            let more = bytes.len().min(GREETING_BYTES - length);
            first[length..length + more].copy_from_slice(&bytes[..more]);
            self.0.set((first, length + more));
        }
    }

    /// What a server is that does not speak `wanted`, as far as its first bytes tell.
    pub(super) fn stranger(&self, wanted: Wanted) -> Option<&'static str> {
        let (first, length) = self.0.get();
        match (&first[..length], wanted) {
            ([0x15, 0x03, ..], _) => {
                Some("the server expects TLS at this port: write https://, or tls.insecure: false")
            }
            ([b'H', b'T', b'T', b'P', b'/', ..], Wanted::Http2) => Some(
                "the server speaks HTTP/1 at this port, not gRPC: use its gRPC port (usually 4317), or protocol http/protobuf",
            ),
            ([0, 0, _, 4, ..], Wanted::Http1) => Some(
                "the server speaks HTTP/2 at this port, as for gRPC: use its HTTP port (usually 4318), or protocol grpc",
            ),
            ([0, 0, _, 4, ..], Wanted::Http2) | ([b'H', b'T', b'T', b'P', b'/', ..], Wanted::Http1) => None,
            ([], _) => None,
            _ => Some("what listens at this port speaks no HTTP"),
        }
    }
}

/// What is spoken on a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wanted {
    Http1,
    Http2,
}

/// A failure of the system's.
pub(super) fn system(error: &io::Error) -> String {
    let words = match error.kind() {
        io::ErrorKind::ConnectionRefused => {
            "connection refused: nothing listens there; check that the server runs, and the port"
        }
        io::ErrorKind::ConnectionReset => "the server reset the connection",
        io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe | io::ErrorKind::UnexpectedEof => {
            "the server closed the connection"
        }
        io::ErrorKind::TimedOut => "no answer: a firewall may be in the way",
        io::ErrorKind::HostUnreachable | io::ErrorKind::NetworkUnreachable => {
            "no way there: check the address and the network"
        }
        _ => {
            let text = error.to_string();
            return text.split(" (os error").next().unwrap_or_default().to_string();
        }
    };
    words.to_string()
}

/// A failed lookup of a name.
pub(super) fn lookup(host: &str, error: &dyn std::error::Error) -> String {
    let cause = error.source().unwrap_or(error).to_string();
    let cause = cause.strip_prefix("failed to lookup address information: ").unwrap_or(&cause);
    format!("the name {host} has no address (DNS says: {cause}); check its spelling and the name server")
}

/// A failed TLS handshake.
pub(super) fn handshake(target: &Target, name: &str, error: &io::Error) -> String {
    let inner = error.get_ref().and_then(|inner| inner.downcast_ref::<Tls>());
    let words = match inner {
        Some(Tls::InvalidMessage(_)) => "the server speaks no TLS at this port: write http://, or tls.insecure: true".to_string(),
        Some(Tls::InvalidCertificate(fault)) => certificate(name, fault),
        Some(Tls::AlertReceived(AlertDescription::NoApplicationProtocol)) => "the server does not offer HTTP/2".to_string(),
        Some(Tls::AlertReceived(
            AlertDescription::CertificateRequired
            | AlertDescription::BadCertificate
            | AlertDescription::UnknownCA
            | AlertDescription::AccessDenied,
        )) => "the server does not accept our certificate: set tls.cert_file and tls.key_file".to_string(),
        Some(Tls::AlertReceived(AlertDescription::ProtocolVersion)) => {
            "the server speaks no version of TLS from 1.2 on".to_string()
        }
        Some(Tls::AlertReceived(_)) => "the server refused the handshake".to_string(),
        Some(_) => "the handshake failed".to_string(),
        None if error.kind() == io::ErrorKind::UnexpectedEof => {
            "the server closed the connection during the handshake: it may speak no TLS at this port (write http://, or \
             tls.insecure: true)"
                .to_string()
        }
        None => system(error),
    };
    format!("TLS with {}: {words}", target.authority())
}

fn certificate(name: &str, fault: &CertificateError) -> String {
    match fault {
        CertificateError::UnknownIssuer => {
            "its certificate is signed by an authority that is not trusted here: name that one's certificate in tls.ca_file"
                .to_string()
        }
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "its certificate has expired".to_string(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "its certificate is not valid yet: check the clocks".to_string()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            format!("its certificate is not for the name {name}: correct the endpoint, or set tls.server_name")
        }
        CertificateError::Revoked => "its certificate was revoked".to_string(),
        _ => "its certificate is not acceptable".to_string(),
    }
}

/// A failed HTTP/2 connection or stream.
pub(super) fn http2(error: &h2::Error) -> String {
    if let Some(error) = error.get_io() {
        return system(error);
    }
    let reason = error.reason().map(|reason| reason.description().to_string()).unwrap_or_default();
    let what = match (error.is_go_away(), error.is_reset()) {
        (true, _) => "the server ends the connection",
        (_, true) => "the server ended the request",
        _ => "what the server sends is not HTTP/2",
    };
    if reason.is_empty() { what.to_string() } else { format!("{what} ({reason})") }
}

/// A failed HTTP/1.1 exchange.
pub(super) fn http1(error: &hyper::Error) -> String {
    let cause = std::error::Error::source(error).and_then(|cause| cause.downcast_ref::<io::Error>());
    match cause {
        Some(cause) => system(cause),
        None if error.is_parse() => "what the server sends is not HTTP/1".to_string(),
        None if error.is_incomplete_message() => "the server closed the connection before it had answered".to_string(),
        None if error.is_timeout() => "no answer in time".to_string(),
        None => "the connection was closed".to_string(),
    }
}
