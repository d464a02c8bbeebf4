//! Connections of senders that speak something else: what they are told before the connection is closed.

use std::time::Duration;

use tailwater_runtime::executor::timeout;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};

/// What is spoken on a connection on which something else is expected.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stranger {
    /// TLS, where there is none.
    Tls,
    /// HTTP/1, where gRPC is expected.
    Http1,
    /// Neither of these nor HTTP/2.
    Unknown,
}

/// A TLS record: a fatal alert, handshake_failure. A client that reads it says so instead of telling of garbage.
const TLS_ALERT: &[u8] = &[0x15, 0x03, 0x01, 0x00, 0x02, 0x02, 0x28];

/// The answer to HTTP/1 where gRPC is expected.
const GRPC_ONLY: &[u8] =
    b"HTTP/1.1 400 Bad Request\r\ncontent-type: text/plain; charset=utf-8\r\nconnection: close\r\n\
    content-length: 72\r\n\r\ngRPC only here; OTLP/HTTP is at the receiver's http endpoint, port 4318\n";

/// How long a peer may take for its last words: they are read, so that closing does not take back what it was told.
const LAST_WORDS_TIMEOUT: Duration = Duration::from_secs(1);
/// Bytes of those: a hello, or a small request.
const LAST_WORDS_BYTES_MAX: u64 = 64 << 10;

/// Tells the peer in its own language what is wrong, where there are words for it, and closes.
pub(super) async fn turn_away<IO: AsyncRead + AsyncWrite + Unpin>(mut stream: IO, stranger: Stranger) {
    let words = match stranger {
        Stranger::Tls => TLS_ALERT,
        Stranger::Http1 => GRPC_ONLY,
        Stranger::Unknown => return,
    };
    let told = async {
        stream.write_all(words).await?;
        stream.shutdown().await?;
        let mut rest = [0; 1024];
        let mut last_words = (&mut stream).take(LAST_WORDS_BYTES_MAX);
        while last_words.read(&mut rest).await? > 0 {}
        Ok::<_, std::io::Error>(())
    };
    // A peer that does not listen is left alone.
    _ = timeout(LAST_WORDS_TIMEOUT, told).await;
}
