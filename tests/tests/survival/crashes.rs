//! Kills under load, with the bundled generator and sink: nothing that was acknowledged is missing, no kept trace is
//! partial. `TAILWATER_CRASHES=n` makes n kills, `TAILWATER_CRASH_SEED=n` repeats a run's choices.

use super::closed_port;
use std::cell::RefCell;
use std::net::SocketAddr;
use std::process::{Child, Command, Stdio};
use tailwater_tests::process::{Tailwater, binary, wait};
use tempfile::TempDir;

/// Kills in the short form.
const CRASHES: u64 = 4;
/// A trace's spans come in requests of this size, one a service, within a fraction of the wait.
const SPANS_PER_REQUEST: f64 = 100.0;
/// Spans a second that the generator offers.
const RATE: u64 = 4000;
/// The generator's own number.
const SPANS_PER_TRACE: u64 = 8;
/// What must be kept: the generator marks such traces.
const POLICIES: &str = "[{name: errors, type: status_code, status_code: {status_codes: [ERROR]}}, \
    {name: slow, type: latency, latency: {threshold_ms: 1000}}, \
    {name: platinum, type: string_attribute, string_attribute: {key: customer.tier, values: [platinum]}}]";

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

fn load(arguments: &[&str]) -> Child {
    Command::new(binary("tailwater-load")).args(arguments).stdin(Stdio::null()).spawn().unwrap()
}

fn node(directory: TempDir, ack: &str, shards: &str, grpc: SocketAddr, sink: SocketAddr) -> Tailwater {
    let (grpc, sink) = (grpc.to_string(), format!("http://{sink}"));
    Tailwater::start_in(
        directory,
        &[
            "--ack",
            ack,
            "--shards",
            shards,
            "--otlp-grpc-endpoint",
            &grpc,
            "--exporters-otlp-endpoints",
            &sink,
            "--sampling-policies",
            POLICIES,
            "--sampling-decision-wait",
            // Requests that kills interrupt are sent again after pauses of up to five seconds; their traces must not be
            // judged meanwhile.
            if number("TAILWATER_CRASHES").is_some() { "12s" } else { "3s" },
            "--sampling-decision-wait-after-root-received",
            "0s",
            "--wal-segment-bytes-max",
            "2MiB",
        ],
    )
}

/// Leans on all of `node/src/core/log.rs`: an answer before its level is reached loses spans here.
fn kills_under_load(ack: &str) {
    let crashes = number("TAILWATER_CRASHES").unwrap_or(CRASHES);
    let seed = number("TAILWATER_CRASH_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    eprintln!("TAILWATER_CRASH_SEED={seed} TAILWATER_CRASHES={crashes} --ack {ack}");
    let mut random = fastrand::Rng::with_seed(seed);
    let files = TempDir::new().unwrap();
    let path = |name: &str| files.path().join(name).to_str().unwrap().to_string();
    let (expect, seen) = (path("expect"), path("seen"));
    let (sink_address, grpc) = (closed_port(), closed_port());
    let mut sink =
        load(&["sink", "--listen", &sink_address.to_string(), "--out", &seen, "--allow-duplicates", "--quiet"]);
    let mut current = node(TempDir::new().unwrap(), ack, "2", grpc, sink_address);
    let (target, rate) = (format!("http://{grpc}"), RATE.to_string());
    let traces = (crashes * 3 * RATE / SPANS_PER_TRACE).to_string();
    let generator = RefCell::new(load(&[
        "generate",
        "--target",
        &target,
        "--rate",
        &rate,
        "--traces",
        &traces,
        "--expect-out",
        &expect,
        "--keep-share",
        "0.2",
        "--spans-per-request",
        "100",
        "--timeout",
        "60s",
        "--quiet",
    ]));
    for _ in 0..crashes {
        let more = random.u64(RATE..3 * RATE) as f64;
        current.until(|metrics| {
            let has_ended = generator.borrow_mut().try_wait().unwrap().is_some();
            has_ended || metrics["tailwater_wal_requests_total{stage=\"log\"}"] * SPANS_PER_REQUEST > more
        });
        let shards = random.u8(1..4).to_string();
        current = node(current.crash(), ack, &shards, grpc, sink_address);
    }
    assert!(wait(&mut generator.borrow_mut()).success(), "the generator gave something up");
    let (status, log, _) = current.stop();
    assert!(status.success(), "{}", log.join("\n"));
    tailwater_tests::process::signal(sink.id(), "TERM");
    wait(&mut sink);
    let verify = ["verify", "--expect", &expect, "--seen", &seen, "--allow-duplicates", "--json"];
    let output = Command::new(binary("tailwater-load")).args(verify).output().unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success(), "seed {seed}: {said}");
    eprintln!("seed {seed}: {}", said.chars().take(400).collect::<String>());
}

#[test]
fn kills_under_load_at_synced() {
    kills_under_load("synced");
}

#[test]
fn kills_under_load_at_written() {
    kills_under_load("written");
}
