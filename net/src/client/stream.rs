//! A connection's byte stream: TCP, or TLS over it.

use super::words::{self, Greeting, Wanted};
use super::{CallError, ClientOptions, Scheme, Target};
use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use tailwater_runtime::executor;
use tailwater_runtime::net::{TcpStream, resolve};
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tokio_rustls::rustls::ClientConfig;
use tokio_rustls::rustls::pki_types::ServerName;

/// A connection, and what the server said first.
pub(super) struct ClientStream {
    transport: Transport,
    pub(super) greeting: Greeting,
}

/// TCP, or TLS over TCP.
enum Transport {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

impl ClientStream {
    /// Resolves, connects and shakes hands, all within the connect timeout. Every address is tried in order.
    pub(super) async fn open(target: &Target, options: &ClientOptions, wanted: Wanted) -> Result<Self, CallError> {
        match executor::timeout(options.connect_timeout, connect(target, options, wanted)).await {
            Ok(result) => result.map(|transport| Self { transport, greeting: Greeting::default() }),
            Err(_elapsed) => Err(CallError::Connect(format!(
                "no connection within {:?}: a firewall may be in the way",
                options.connect_timeout
            ))),
        }
    }
}

async fn connect(target: &Target, options: &ClientOptions, wanted: Wanted) -> Result<Transport, CallError> {
    let stream = connect_clear(target).await?;
    if target.scheme == Scheme::Http {
        return Ok(Transport::Clear(stream));
    }
    let Some(tls) = &options.tls else {
        return Err(CallError::Connect(format!("{target} needs TLS, which is not set up")));
    };
    let config = match wanted {
        Wanted::Http1 => &tls.http1,
        Wanted::Http2 => &tls.http2,
    };
    let name = options.server_name.as_deref().unwrap_or(&target.host);
    shake_hands(target, name, Arc::clone(config), stream, wanted).await
}

async fn connect_clear(target: &Target) -> Result<TcpStream, CallError> {
    let addresses = match target.address {
        Some(address) => vec![address],
        None => {
            let resolved = resolve(&target.host, target.port).await;
            resolved.map_err(|error| CallError::Connect(words::lookup(&target.host, &error)))?
        }
    };
    let mut failure = format!("{} has no address", target.host);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written whole: waiting for more bytes only adds latency. Not vital where it fails.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            // Who chose the address names it.
            Err(error) if target.address.is_some() => failure = words::system(&error),
            Err(error) => failure = format!("{address}: {}", words::system(&error)),
        }
    }
    Err(CallError::Connect(failure))
}

async fn shake_hands(
    target: &Target,
    name: &str,
    config: Arc<ClientConfig>,
    stream: TcpStream,
    wanted: Wanted,
) -> Result<Transport, CallError> {
    let failed = |text: &str| CallError::Connect(format!("TLS with {}: {text}", target.authority()));
    let server =
        ServerName::try_from(name.to_string()).map_err(|_| failed(&format!("{name} is no name of a server")))?;
    let stream = TlsConnector::from(config).connect(server, stream).await;
    let stream = stream.map_err(|error| CallError::Connect(words::handshake(target, name, &error)))?;
    // A server without ALPN may still speak HTTP/1.1; HTTP/2 over TLS must be negotiated (RFC 9113, 3.2).
    if wanted == Wanted::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(failed("the server does not offer HTTP/2, which gRPC needs: use protocol http/protobuf"));
    }
    Ok(Transport::Tls(Box::new(stream)))
}

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match &mut $self.get_mut().transport {
            Transport::Clear(stream) => Pin::new(stream).$method($($argument),*),
            Transport::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let before = buffer.filled().len();
        let greeting = self.greeting.clone();
        let read = delegate!(self, poll_read, context, buffer);
        greeting.note(&buffer.filled()[before..]);
        read
    }
}

impl AsyncWrite for ClientStream {
    fn poll_write(self: Pin<&mut Self>, context: &mut Context<'_>, bytes: &[u8]) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write, context, bytes)
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        context: &mut Context<'_>,
        slices: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        delegate!(self, poll_write_vectored, context, slices)
    }

    fn is_write_vectored(&self) -> bool {
        match &self.transport {
            Transport::Clear(stream) => stream.is_write_vectored(),
            Transport::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, context)
    }
}
