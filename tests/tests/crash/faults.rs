//! System calls that fail, by strace, under the backend that makes them as plain calls: what failed is not acknowledged,
//! what was acknowledged is there after a kill. Without strace these tests are skipped and say so.

use super::spans::{large_span, offer};
use super::{ERRORS, all, stop, sum};
use std::process::Command;
use tailwater_tests::process::{Tailwater, kept_at_least_once};
use tempfile::TempDir;

const TRACES: u64 = 40;
/// Offers of one trace until it is taken.
const OFFERS_MAX: u64 = 2000;
const FLAGS: &[&str] = &[
    "--runtime",
    "epoll",
    "--shards",
    "1",
    "--sampling-policies",
    ERRORS,
    "--sampling-decision-wait",
    "10m",
    "--sampling-decision-wait-after-root-received",
    "0s",
];

/// A node under strace, which makes calls fail as `rule` says; `None`, said on standard error, where there is no strace.
fn node_with(rule: &str, ack: &str) -> Option<Tailwater> {
    if Command::new("strace").arg("-V").output().is_err() {
        eprintln!("skipped: strace is missing");
        return None;
    }
    let directory = TempDir::new().unwrap();
    let plain = Tailwater::command(directory.path(), &all(&[FLAGS, &["--ack", ack]]));
    let mut command = Command::new("strace");
    // The tracer is the grandchild, so that a kill of the child is one of the node.
    command.args(["-D", "-f", "-qq", "-o", "/dev/null", "-e", &format!("inject={rule}")]);
    command.arg(plain.get_program()).args(plain.get_args());
    command.stdin(std::process::Stdio::null()).stdout(std::process::Stdio::null());
    command.stderr(std::process::Stdio::piped());
    Some(Tailwater::launch(directory, command))
}

/// Offers each trace until it is taken; returns how often one was refused.
fn send_patiently(node: &Tailwater) -> u64 {
    let mut refused = 0;
    for trace in 1..=TRACES {
        let mut offers = 0;
        loop {
            let answer = offer(node.http, vec![large_span(trace, 0, true, 2000)]);
            if answer.status == 200 {
                break;
            }
            assert!(answer.status == 503 && answer.retry_after.is_some_and(|seconds| seconds > 0), "{answer:?}");
            offers += 1;
            assert!(offers < OFFERS_MAX, "it does not recover");
        }
        refused += offers;
    }
    refused
}

fn failures_cost_no_acknowledged_span(rules: impl Iterator<Item = String>, ack: &str) {
    let (mut runs, mut refusals, mut failures) = (0, 0, 0.0);
    for rule in rules {
        let Some(node) = node_with(&rule, ack) else { return };
        refusals += send_patiently(&node);
        let metrics = node.metrics();
        failures +=
            sum(&metrics, "tailwater_wal_failures_total", "") + sum(&metrics, "tailwater_wal_open_failures_total", "");
        let directory = node.crash();
        let node = Tailwater::start_in(directory, FLAGS);
        let directory = stop(node);
        let (traces, _) = kept_at_least_once(&directory.path().join("kept.jsonl"));
        assert_eq!(traces.len() as u64, TRACES, "with {rule}");
        runs += 1;
    }
    eprintln!("{runs} runs: {failures} calls failed, {refusals} requests were refused");
    assert!(failures > 0.0 && refusals > 0);
}

#[test]
fn syncs_that_fail() {
    failures_cost_no_acknowledged_span(
        [4, 9, 25].map(|n| format!("fdatasync:error=EIO:when={n}")).into_iter(),
        "synced",
    );
}

#[test]
fn syncs_that_fail_again_and_again() {
    failures_cost_no_acknowledged_span([3, 5].map(|n| format!("fdatasync:error=EIO:when=5+{n}")).into_iter(), "synced");
}

#[test]
fn writes_that_find_no_space() {
    let rules = [4, 9, 25].map(|n| format!("pwrite64:error=ENOSPC:when={n}"));
    failures_cost_no_acknowledged_span(rules.into_iter(), "synced");
    let rules = [4, 9].map(|n| format!("pwrite64:error=EIO:when=5+{n}"));
    failures_cost_no_acknowledged_span(rules.into_iter(), "written");
}

/// The disk never comes back: senders are refused as long as that is so, and what was taken before is there.
#[test]
fn a_disk_that_fails_for_good() {
    let Some(node) = node_with("fdatasync:error=EIO:when=12+", "synced") else { return };
    let mut taken = 0;
    for trace in 1..=TRACES {
        let answer = offer(node.http, vec![large_span(trace, 0, true, 2000)]);
        taken += u64::from(answer.status == 200);
        assert!(answer.status == 200 || answer.retry_after.is_some(), "{answer:?}");
    }
    assert!(taken > 0 && taken < TRACES, "{taken}");
    node.until(|metrics| metrics["tailwater_wal_failing"] == 1.0);
    let directory = stop(Tailwater::start_in(node.crash(), FLAGS));
    let (traces, _) = kept_at_least_once(&directory.path().join("kept.jsonl"));
    assert!(traces.len() as u64 >= taken, "{} of {taken}", traces.len());
}
