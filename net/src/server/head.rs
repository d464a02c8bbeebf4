//! What the first bytes of a connection and the head of a request tell.

use std::io;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http::HeaderMap;
use http::header::{CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE};
use tailwater_runtime::executor::timeout;
use tokio::io::{AsyncRead, AsyncReadExt};

use super::meter::Meter;
use super::{Ending, ListenerKind, Protocol, Stranger};
use crate::compression::Encoding;

/// How an HTTP/2 connection begins (RFC 9113, 3.4).
const PREFACE: &[u8; 24] = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n";

/// How a TLS connection begins: a handshake record of any version up to TLS 1.3.
const TLS_HANDSHAKE: &[u8; 2] = &[0x16, 0x03];

/// What every request line of HTTP/1.0 and HTTP/1.1 has.
const HTTP1_VERSION: &[u8] = b"HTTP/1.";

/// Bytes of a first line that are looked at; what has a longer one is taken for HTTP/1 and judged by its parser.
const FIRST_LINE_BYTES_MAX: usize = 8 << 10;

/// A connection whose protocol is known. The bytes read to find out are replayed.
pub(super) enum Detected<IO> {
    Http1(Meter<IO>),
    Http2(Meter<IO>),
    Stranger(IO, Stranger),
}

/// Reads as much as tells the HTTP/2 preface from HTTP/1, and both from anything else.
pub(super) async fn detect<IO: AsyncRead + Unpin>(
    mut stream: IO,
    limit: Duration,
    kind: ListenerKind,
) -> Result<Detected<IO>, Ending> {
    let mut read = BytesMut::with_capacity(PREFACE.len());
    let reading = async {
        while read.len() < PREFACE.len() && PREFACE.starts_with(&read) {
            let missing = PREFACE.len() - read.len();
            if (&mut stream).take(missing as u64).read_buf(&mut read).await? == 0 {
                return Err(io::Error::from(io::ErrorKind::UnexpectedEof));
            }
        }
        while read.len() < TLS_HANDSHAKE.len() {
            if (&mut stream).take(1).read_buf(&mut read).await? == 0 {
                break;
            }
        }
        Ok(())
    };
    match timeout(limit, reading).await {
        Err(_elapsed) => return Err(Ending::HandshakeTimeout),
        // Port scanners and load balancers' checks connect and leave; that is not worth counting.
        Ok(Err(error)) if error.kind() == io::ErrorKind::UnexpectedEof && read.is_empty() => {
            return Err(Ending::Closed);
        }
        Ok(Err(_)) => return Err(Ending::TransportError),
        Ok(Ok(())) => {}
    }
    if read[..] == PREFACE[..] {
        return Ok(Detected::Http2(Meter::with_replay(stream, read.freeze())));
    }
    if read.starts_with(TLS_HANDSHAKE) {
        return Ok(Detected::Stranger(stream, Stranger::Tls));
    }
    let is_read = matches!(timeout(limit, read_first_line(&mut stream, &mut read)).await, Ok(Ok(())));
    let is_http1 = match first_line(&read) {
        Some(line) => line.windows(HTTP1_VERSION.len()).any(|part| part == HTTP1_VERSION),
        // The parser has its own deadlines and answers for what it can't read.
        None => kind == ListenerKind::Http,
    };
    Ok(match (is_http1, kind) {
        (true, ListenerKind::Http) => Detected::Http1(Meter::with_replay(stream, read.freeze())),
        (true, ListenerKind::Grpc) => Detected::Stranger(stream, Stranger::Http1),
        (false, _) if is_read => Detected::Stranger(stream, Stranger::Unknown),
        (false, _) => return Err(Ending::HandshakeTimeout),
    })
}

/// Reads on until the first line is there, or as much of it as is looked at.
async fn read_first_line<IO: AsyncRead + Unpin>(stream: &mut IO, read: &mut BytesMut) -> io::Result<()> {
    while first_line(read).is_none() && read.len() < FIRST_LINE_BYTES_MAX {
        let missing = FIRST_LINE_BYTES_MAX - read.len();
        read.reserve(missing.min(512));
        if (&mut *stream).take(missing as u64).read_buf(read).await? == 0 {
            break;
        }
    }
    Ok(())
}

/// The first line that is not empty, once it has ended: those before it are passed over (RFC 9112, 2.2).
fn first_line(read: &[u8]) -> Option<&[u8]> {
    let start = read.iter().position(|byte| !matches!(byte, b'\r' | b'\n'))?;
    let line = read.get(start..)?;
    line.get(..line.iter().position(|byte| *byte == b'\n')?)
}

/// gRPC is told by its content type, `application/grpc` with an optional `+proto` or the like; `application/grpc-web` is
/// another protocol.
pub(super) fn protocol(headers: &HeaderMap) -> Protocol {
    let content_type = headers.get(CONTENT_TYPE).map_or(&b""[..], |value| value.as_bytes());
    match content_type.strip_prefix(b"application/grpc") {
        Some([] | [b'+' | b';' | b' ', ..]) => Protocol::Grpc,
        _ => Protocol::Http,
    }
}

/// Whether errors are to be told in JSON: as the request's body is, else in protobuf.
pub(super) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get(CONTENT_TYPE)
        .is_some_and(|value| value.as_bytes().to_ascii_lowercase().starts_with(b"application/json"))
}

/// The coding of a plain HTTP body; `None` if it is not known here, or several are stacked.
pub(super) fn content_encoding(headers: &HeaderMap) -> Option<Encoding> {
    let mut values = headers.get_all(CONTENT_ENCODING).iter();
    let Some(value) = values.next() else { return Some(Encoding::Identity) };
    if values.next().is_some() {
        return None;
    }
    Encoding::from_token(value.to_str().ok()?)
}

/// What the server and its services ask of heads.
const NEEDED: [&str; 6] =
    ["content-type", "content-encoding", "content-length", "grpc-encoding", "grpc-timeout", "user-agent"];

/// A head up to so many fields is kept as it came.
const FIELDS_KEPT_MAX: usize = 24;

/// Takes out of a long head what nobody asks for: a request that waits holds its head, and a field takes many times the
/// room in memory that it takes on the wire.
pub(super) fn strip(headers: &mut HeaderMap) {
    if headers.len() <= FIELDS_KEPT_MAX {
        return;
    }
    let mut needed = HeaderMap::with_capacity(NEEDED.len());
    for name in NEEDED {
        for value in headers.get_all(name).iter().take(2) {
            needed.append(name, value.clone());
        }
    }
    *headers = needed;
}

/// The announced length of a body in bytes.
pub(super) fn content_length(headers: &HeaderMap) -> Option<u64> {
    headers.get(CONTENT_LENGTH)?.to_str().ok()?.parse().ok()
}

/// The content codings taken, for `grpc-accept-encoding` and `Accept-Encoding`.
pub(super) const ACCEPTED_ENCODINGS: &str = "identity,gzip,zstd";

/// How long the caller of a gRPC method waits: `grpc-timeout`, at most eight digits and a unit.
pub(super) fn grpc_timeout(headers: &HeaderMap) -> Option<Duration> {
    let value = headers.get("grpc-timeout")?.as_bytes();
    let (unit, digits) = value.split_last()?;
    if digits.is_empty() || digits.len() > 8 || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let amount: u64 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    Some(match unit {
        b'H' => Duration::from_secs(amount * 3600),
        b'M' => Duration::from_secs(amount * 60),
        b'S' => Duration::from_secs(amount),
        b'm' => Duration::from_millis(amount),
        b'u' => Duration::from_micros(amount),
        b'n' => Duration::from_nanos(amount),
        _ => return None,
    })
}

/// An empty body, shared.
pub(super) const EMPTY: Bytes = Bytes::new();

#[cfg(test)]
mod tests {
    use super::*;

    fn with(name: &'static str, value: &'static str) -> HeaderMap {
        let mut headers = HeaderMap::new();
        headers.insert(name, http::HeaderValue::from_static(value));
        headers
    }

    #[test]
    fn the_content_type_tells_grpc() {
        for grpc in ["application/grpc", "application/grpc+proto", "application/grpc; x=y"] {
            assert_eq!(protocol(&with("content-type", grpc)), Protocol::Grpc, "{grpc}");
        }
        for http in ["application/grpc-web", "application/x-protobuf", "application/grpcx"] {
            assert_eq!(protocol(&with("content-type", http)), Protocol::Http, "{http}");
        }
        assert_eq!(protocol(&HeaderMap::new()), Protocol::Http);
        assert!(wants_json(&with("content-type", "Application/JSON; charset=utf-8")));
        assert!(!wants_json(&with("content-type", "application/x-protobuf")));
    }

    #[test]
    fn timeouts_have_six_units_and_at_most_eight_digits() {
        let parsed = |value| grpc_timeout(&with("grpc-timeout", value));
        assert_eq!(parsed("2H"), Some(Duration::from_secs(7200)));
        assert_eq!(parsed("99999999n"), Some(Duration::from_nanos(99_999_999)));
        assert_eq!(parsed("10m"), Some(Duration::from_millis(10)));
        for bad in ["", "S", "123456789S", "1x", "-1S", "1 S"] {
            assert_eq!(parsed(bad), None, "{bad}");
        }
    }

    #[test]
    fn codings_are_known_by_name_and_never_stacked() {
        assert_eq!(content_encoding(&HeaderMap::new()), Some(Encoding::Identity));
        assert_eq!(content_encoding(&with("content-encoding", "gzip")), Some(Encoding::Gzip));
        assert_eq!(content_encoding(&with("content-encoding", "br")), None);
        let mut stacked = with("content-encoding", "gzip");
        stacked.append("content-encoding", http::HeaderValue::from_static("gzip"));
        assert_eq!(content_encoding(&stacked), None);
    }
}
