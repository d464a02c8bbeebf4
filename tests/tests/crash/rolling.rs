//! Restarts under load as an operator makes them: senders see nothing but requests to come back, nothing is lost and,
//! since each stop is in order, nothing comes twice.

use super::load::{Generator, Setting, Sink};
use super::{RECEIVED, RUNTIMES, address, all, is_settled, number, stop};
use tailwater_tests::process::Tailwater;
use tempfile::TempDir;

/// Restarts in the short form.
const RESTARTS: u64 = 4;
const RATE: u64 = 8000;

/// With `keeps` undecided traces, whose requests come to several nodes one after the other, stay in the log; without it
/// each stop judges what has come, so that each trace must be in one request.
fn rolling_restart(runtime: &'static str, keeps: bool) {
    let restarts = number("TAILWATER_RESTARTS").unwrap_or(RESTARTS);
    let (grpc, next_hop) = (address(), address());
    let setting = Setting::new(grpc, next_hop, runtime);
    let services = if keeps { "4" } else { "1" };
    let mut flags = all(&[&setting.flags(), &["--sampling-decision-wait", if keeps { "15s" } else { "500ms" }]]);
    if keeps {
        flags.push("--wal-keep-pending-at-shutdown");
    }
    let files = TempDir::new().unwrap();
    let mut node = Tailwater::start(&flags);
    let (rate, traces) = (RATE.to_string(), (RATE * restarts / 8).to_string());
    let load = ["--rate", &rate, "--traces", &traces, "--services", services, "--spans-per-request", "100"];
    let load = all(&[&load, &["--keep-share", "0.3", "--runtime", "epoll"]]);
    let generator = Generator::start(grpc, files.path(), &load);
    let sink = Sink::start(next_hop, &[&generator.expected]);
    for _ in 0..restarts {
        let before = node.metrics()[RECEIVED];
        node.until(|metrics| metrics[RECEIVED] >= before + RATE as f64 / 4.0);
        node = Tailwater::start_in(stop(node), &flags);
    }
    let report = generator.end();
    if !keeps {
        node.until(is_settled);
    }
    let directory = stop(node);
    if keeps {
        // What was undecided at the last stop is judged by one that does not keep it.
        flags.pop();
        stop(Tailwater::start_in(directory, &flags));
    }
    let judgement = sink.judge();
    eprintln!("{} spans acknowledged, {} sent again", report["acked"], report["retried"]);
    assert_eq!(judgement["duplicates"]["count"], 0, "{judgement}");
}

#[test]
fn undecided_traces_go_from_node_to_node() {
    rolling_restart(RUNTIMES[0], true);
}

#[test]
fn each_stop_judges_what_has_come() {
    rolling_restart(RUNTIMES[1], false);
}
