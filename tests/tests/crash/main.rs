//! The real program under faults: kills, outages of the next hop, disks that fill or lie. What was acknowledged at
//! `synced` or `written` is exported, or its trace was judged and dropped; senders are told when they must wait.
//!
//! The load is `tailwater-load generate`, which sends again what was not acknowledged; the next hop is its sink, which
//! finds what is missing or partial by the marks in the spans. `scripts/crash` runs the long form.

#![allow(clippy::unwrap_used, clippy::cast_precision_loss, reason = "test code fails by panicking; counts are small")]
#![allow(clippy::print_stderr, clippy::panic, reason = "seeds are to be seen")]

mod fan_out;
mod kills;
mod late;
mod load;
mod long_traces;
mod outage;
mod rolling;
mod spans;
mod verdicts;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use tailwater_tests::process::Tailwater;

/// What the generator's marks demand, and one in twenty of the rest.
pub const POLICIES: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
    {name: slow, type: latency, latency: {threshold_ms: 1000}}, \
    {name: platinum, type: string_attribute, string_attribute: {key: customer.tier, values: [platinum]}}, \
    {name: some, type: probabilistic, probabilistic: {sampling_percentage: 5}}]";
/// A policy.
pub const EVERYTHING: &str = "[{name: all, type: always_sample}]";
/// A policy.
pub const ERRORS: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}]";
/// A metric.
pub const RECEIVED: &str = "tailwater_items_received_total{signal=\"spans\"}";
/// A metric.
pub const EXPORTED: &str = "tailwater_items_exported_total{signal=\"spans\"}";
/// A metric: 0 is closed.
pub const BREAKER: &str = "tailwater_exporter_breaker_state{exporter=\"otlp\"}";
/// Both kernel interfaces; where one is missing `auto` takes the other.
pub const RUNTIMES: [&str; 2] = ["auto", "epoll"];

/// All samples by name and labels.
pub type Metrics = BTreeMap<String, f64>;

/// An address on which nothing listens yet and that nothing else comes upon meanwhile: outgoing connections of this
/// machine have another one as theirs.
pub fn address() -> SocketAddr {
    let part = || fastrand::u8(1..255);
    let host = Ipv4Addr::new(127, part(), part(), part());
    TcpListener::bind((host, 0)).unwrap().local_addr().unwrap()
}

/// The sum of a family's samples that have these labels.
pub fn sum(metrics: &Metrics, family: &str, labels: &str) -> f64 {
    let is_meant = |name: &str| {
        name.strip_prefix(family)
            .is_some_and(|rest| (rest.is_empty() || rest.starts_with('{')) && rest.contains(labels))
    };
    metrics.iter().filter(|(name, _)| is_meant(name)).map(|(_, value)| value).sum()
}

/// Units that wait in the log only.
pub fn parked(metrics: &Metrics) -> f64 {
    sum(metrics, "tailwater_wal_parked_units", "")
}

/// Whether every accepted span has been exported or dropped.
pub fn is_settled(metrics: &Metrics) -> bool {
    sum(metrics, "tailwater_items_pending", "signal=\"spans\"") == 0.0 && parked(metrics) == 0.0
}

/// Asks a node to stop; fails unless all went well.
pub fn stop(node: Tailwater) -> tempfile::TempDir {
    let (status, log, directory) = node.stop();
    assert!(status.success(), "{status}: {}", log.join("\n"));
    directory
}

/// A choice of the person at the terminal.
pub fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Flags with their values from several lists; what comes later stands.
pub fn all<'a>(parts: &[&[&'a str]]) -> Vec<&'a str> {
    let flags = parts.concat();
    let (pairs, rest) = flags.as_chunks::<2>();
    assert!(rest.is_empty(), "{flags:?} are not pairs");
    let is_last = |(at, pair): &(usize, &[&str; 2])| pairs[at + 1..].iter().all(|later| later[0] != pair[0]);
    pairs.iter().enumerate().filter(is_last).flat_map(|(_, pair)| *pair).collect()
}

/// A log small enough to be turned over within a test.
pub const SMALL_LOG: &[&str] = &[
    "--wal-segment-bytes-max",
    "1MiB",
    "--wal-bytes-max",
    "64MiB",
    "--otlp-grpc-request-bytes-max",
    "1MiB",
    "--otlp-http-request-bytes-max",
    "1MiB",
];
