//! Single requests, and their answers as a sender sees them.

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use tailwater_tests::process::PATIENCE;

/// A span of trace `trace`.
pub fn span(trace: u64, number: u64, is_error: bool) -> Span {
    let mut trace_id = vec![7; 16];
    trace_id[..8].copy_from_slice(&trace.to_be_bytes());
    Span {
        trace_id,
        span_id: (trace << 20 | number << 1 | 1).to_be_bytes().to_vec(),
        name: "work".into(),
        status: is_error.then(|| Status { code: 2, ..Default::default() }),
        ..Default::default()
    }
}

/// A span with a name of so many bytes.
pub fn large_span(trace: u64, number: u64, is_error: bool, bytes: usize) -> Span {
    Span { name: "n".repeat(bytes), ..span(trace, number, is_error) }
}

/// What the node answered over HTTP.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub retry_after: Option<u64>,
}

/// Posts spans in one request.
pub fn offer(http: SocketAddr, spans: Vec<Span>) -> Answer {
    let scope = ScopeSpans { spans, ..Default::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..Default::default() };
    let body = ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec();
    let mut stream = TcpStream::connect(http).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    let head = format!(
        "POST /v1/traces HTTP/1.1\r\nhost: t\r\nconnection: close\r\ncontent-type: application/x-protobuf\r\n\
         content-length: {}\r\n\r\n",
        body.len()
    );
    stream.write_all(head.as_bytes()).unwrap();
    // The server may answer and close before it has read a body it will not take.
    _ = stream.write_all(&body);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    let text = String::from_utf8_lossy(&answer).to_lowercase();
    let status = text.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let retry_after = text.lines().find_map(|line| line.strip_prefix("retry-after:")?.trim().parse().ok());
    Answer { status, retry_after }
}

/// Posts spans, which must be acknowledged.
pub fn send(http: SocketAddr, spans: Vec<Span>) {
    let answer = offer(http, spans);
    assert_eq!(answer.status, 200, "{answer:?}");
}
