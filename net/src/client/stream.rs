//! A connection's byte stream: TCP, or TLS over it.

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

/// TCP, or TLS over TCP.
pub(super) enum ClientStream {
    Clear(TcpStream),
    Tls(Box<TlsStream<TcpStream>>),
}

/// The HTTP version that TLS negotiates.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Negotiated {
    Http1,
    Http2,
}

impl ClientStream {
    /// Resolves, connects and shakes hands, all within the connect timeout. Every address is tried in order.
    pub(super) async fn open(
        target: &Target,
        options: &ClientOptions,
        negotiated: Negotiated,
    ) -> Result<Self, CallError> {
        match executor::timeout(options.connect_timeout, connect(target, options, negotiated)).await {
            Ok(result) => result,
            Err(_elapsed) => Err(CallError::Connect(format!(
                "{} did not answer within {:?}",
                target.authority(),
                options.connect_timeout
            ))),
        }
    }
}

async fn connect(target: &Target, options: &ClientOptions, negotiated: Negotiated) -> Result<ClientStream, CallError> {
    let stream = connect_clear(target).await?;
    if target.scheme == Scheme::Http {
        return Ok(ClientStream::Clear(stream));
    }
    let Some(tls) = &options.tls else {
        return Err(CallError::Connect(format!("{target} needs TLS, which is not set up")));
    };
    let config = match negotiated {
        Negotiated::Http1 => &tls.http1,
        Negotiated::Http2 => &tls.http2,
    };
    shake_hands(target, Arc::clone(config), stream, negotiated).await
}

async fn connect_clear(target: &Target) -> Result<TcpStream, CallError> {
    let addresses = resolve(&target.host, target.port).await.map_err(|error| CallError::Connect(error.to_string()))?;
    let mut failure = format!("{} has no address", target.host);
    for address in addresses {
        match TcpStream::connect(address).await {
            Ok(stream) => {
                // Requests are written whole: waiting for more bytes only adds latency. Not vital where it fails.
                let _ = stream.set_nodelay(true);
                return Ok(stream);
            }
            Err(error) => failure = format!("{address}: {error}"),
        }
    }
    Err(CallError::Connect(failure))
}

async fn shake_hands(
    target: &Target,
    config: Arc<ClientConfig>,
    stream: TcpStream,
    negotiated: Negotiated,
) -> Result<ClientStream, CallError> {
    let failed = |text: String| CallError::Connect(format!("TLS with {}: {text}", target.authority()));
    let name = ServerName::try_from(target.host.clone()).map_err(|error| failed(error.to_string()))?;
    let stream = TlsConnector::from(config).connect(name, stream).await.map_err(|error| failed(error.to_string()))?;
    // A server without ALPN may still speak HTTP/1.1; HTTP/2 over TLS must be negotiated (RFC 9113, 3.2).
    if negotiated == Negotiated::Http2 && stream.get_ref().1.alpn_protocol() != Some(b"h2") {
        return Err(failed("the server does not offer HTTP/2".to_owned()));
    }
    Ok(ClientStream::Tls(Box::new(stream)))
}

macro_rules! delegate {
    ($self:ident, $method:ident, $($argument:expr),*) => {
        match $self.get_mut() {
            Self::Clear(stream) => Pin::new(stream).$method($($argument),*),
            Self::Tls(stream) => Pin::new(stream.as_mut()).$method($($argument),*),
        }
    };
}

impl AsyncRead for ClientStream {
    fn poll_read(self: Pin<&mut Self>, context: &mut Context<'_>, buffer: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_read, context, buffer)
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
        match self {
            Self::Clear(stream) => stream.is_write_vectored(),
            Self::Tls(stream) => stream.is_write_vectored(),
        }
    }

    fn poll_flush(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_flush, context)
    }

    fn poll_shutdown(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<io::Result<()>> {
        delegate!(self, poll_shutdown, context)
    }
}
