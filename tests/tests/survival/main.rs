//! The real program and its log: what was acknowledged is there after a kill, a stop, or a long absence of the next hop.
//!
//! Each test names what it leans on; a next hop is another node, which keeps everything and counts it.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]
#![allow(clippy::print_stderr, reason = "seeds are to be seen")]

mod crashes;
mod long_traces;
mod outage;
mod restart;

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::net::SocketAddr;
use tailwater_tests::process::{Tailwater, post};

const EVERYTHING: &str = "[{name: all, type: always_sample}]";
const ERRORS: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";
const RECEIVED: &str = "tailwater_items_received_total{signal=\"spans\"}";
const EXPORTED: &str = "tailwater_items_exported_total{signal=\"spans\"}";

/// A span of trace `trace`.
fn span(trace: u64, number: u64, is_error: bool) -> Span {
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

fn request(spans: Vec<Span>) -> Vec<u8> {
    let scope = ScopeSpans { spans, ..Default::default() };
    let resource = ResourceSpans { scope_spans: vec![scope], ..Default::default() };
    ExportTraceServiceRequest { resource_spans: vec![resource] }.encode_to_vec()
}

/// Posts spans and returns the HTTP status.
fn offer(http: SocketAddr, spans: Vec<Span>) -> u16 {
    post(http, "/v1/traces", &[("content-type", "application/x-protobuf")], &request(spans)).0
}

/// Posts spans, which must be acknowledged.
fn send(http: SocketAddr, spans: Vec<Span>) {
    assert_eq!(offer(http, spans), 200);
}

/// A port that nothing listens on.
fn closed_port() -> SocketAddr {
    std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap()
}

/// A next hop that keeps everything at once.
fn next_hop(grpc: SocketAddr) -> Tailwater {
    Tailwater::start(&[
        "--otlp-grpc-endpoint",
        &grpc.to_string(),
        "--sampling-policies",
        EVERYTHING,
        "--sampling-decision-wait",
        "10ms",
        "--ack",
        "received",
    ])
}

fn parked(metrics: &std::collections::BTreeMap<String, f64>) -> f64 {
    metrics.iter().filter(|(name, _)| name.starts_with("tailwater_wal_parked_units")).map(|(_, units)| units).sum()
}
