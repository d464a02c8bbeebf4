//! Kills under load, some of them while the log is still being read; each start has another number of shards.
//! `TAILWATER_CRASHES=n` makes n kills, `TAILWATER_CRASH_SEED=n` repeats a run's choices.

use super::load::{Generator, Setting, Sink};
use super::{RECEIVED, RUNTIMES, SMALL_LOG, address, all, is_settled, number, stop};
use std::io::{BufRead as _, BufReader};
use std::process::Stdio;
use std::time::{Duration, Instant};
use tailwater_tests::process::{Tailwater, wait};
use tempfile::TempDir;

/// Kills in the short form.
const CRASHES: u64 = 4;
/// Spans that are offered each second.
const RATE: u64 = 8000;
/// Spans of a trace.
const SPANS: u64 = 8;
/// One request for each trace, so that a verdict is right however early it comes.
const WHOLE: Shape = Shape { services: "1", wait: "1s" };
/// Four requests for each trace, at several cores, and a wait longer than a sender stays away after many refusals.
const SPREAD: Shape = Shape { services: "4", wait: "15s" };
/// Most spans that come twice for one kill: what is delivered in the journal's interval and the exporter's, with ample
/// room for a slow disk, and what senders send again because the kill took the answer.
const TWICE_MAX: u64 = RATE;

/// How traces come and how long they are waited for.
struct Shape {
    services: &'static str,
    wait: &'static str,
}

/// The choices of one run.
struct Run {
    random: fastrand::Rng,
    setting: Setting,
    ack: &'static str,
    wait: &'static str,
}

impl Run {
    fn arguments<'a>(&'a self, shards: &'a str) -> Vec<&'a str> {
        let own = ["--ack", self.ack, "--shards", shards, "--sampling-decision-wait", self.wait];
        all(&[&self.setting.flags(), SMALL_LOG, &own])
    }

    fn shards(&mut self) -> String {
        self.random.u32(1..4).to_string()
    }

    /// Starts a node, lets it take some requests, and kills it.
    fn kill_at_work(&mut self, directory: TempDir) -> TempDir {
        let shards = self.shards();
        let node = Tailwater::start_in(directory, &self.arguments(&shards));
        let before = node.metrics()[RECEIVED];
        let more = self.random.u64(1..RATE) as f64;
        node.until(|metrics| metrics[RECEIVED] >= before + more);
        node.crash()
    }

    /// Starts a node and kills it as soon as it has said that it reads the log, or a moment later.
    fn kill_at_start(&mut self, directory: &TempDir) {
        let shards = self.shards();
        let mut command = Tailwater::command(directory.path(), &self.arguments(&shards));
        let mut child = command.stderr(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stderr.take().unwrap()).lines();
        let said = lines.map_while(Result::ok).find(|line| line.contains("log of the last run"));
        assert!(said.is_some(), "a node on a log that is not empty ended by itself");
        let moment = Duration::from_micros(self.random.u64(0..30_000));
        let begin = Instant::now();
        while begin.elapsed() < moment {
            std::hint::spin_loop();
        }
        child.kill().unwrap();
        wait(&mut child);
    }
}

fn nothing_acknowledged_is_lost(runtime: &'static str, ack: &'static str, shape: &Shape) {
    let crashes = number("TAILWATER_CRASHES").unwrap_or(CRASHES);
    let seed = number("TAILWATER_CRASH_SEED").unwrap_or_else(|| fastrand::u64(..));
    eprintln!("TAILWATER_CRASH_SEED={seed} TAILWATER_CRASHES={crashes} --runtime {runtime} --ack {ack}");
    let (grpc, sink_address) = (address(), address());
    let setting = Setting::new(grpc, sink_address, runtime);
    let mut run = Run { random: fastrand::Rng::with_seed(seed), setting, ack, wait: shape.wait };
    let files = TempDir::new().unwrap();
    let mut directory = TempDir::new().unwrap();
    // The generator finds somebody at its first look.
    let node = Tailwater::start_in(directory, &run.arguments("2"));
    let rate = RATE.to_string();
    let traces = (RATE * crashes * 2 / SPANS).to_string();
    let load = ["--rate", &rate, "--traces", &traces, "--services", shape.services, "--spans-per-request", "100"];
    let load = [&load[..], &["--keep-share", "0.3", "--runtime", "epoll"]].concat();
    let generator = Generator::start(grpc, files.path(), &load);
    let sink = Sink::start(sink_address, &[&generator.expected]);
    node.until(|metrics| metrics[RECEIVED] > 0.0);
    directory = node.crash();
    for crash in 1..crashes {
        if crash % 3 == 0 {
            run.kill_at_start(&directory);
        } else {
            directory = run.kill_at_work(directory);
        }
    }
    let node = Tailwater::start_in(directory, &run.arguments("2"));
    let report = generator.end();
    node.until(is_settled);
    let directory = stop(node);
    let judgement = sink.judge();
    let count = |key: &str| judgement[key].as_u64().unwrap();
    let twice = count("spans") - count("whole") * SPANS;
    eprintln!(
        "{} spans acknowledged after {} were sent again; {} came, {twice} of them twice; {} traces demanded",
        report["acked"],
        report["retried"],
        count("spans"),
        count("demanded"),
    );
    assert!(count("demanded") > 0);
    assert!(twice <= TWICE_MAX * crashes, "{twice} spans came twice");
    drop(directory);
}

#[test]
fn synced_holds_over_kills_on_uring() {
    nothing_acknowledged_is_lost(RUNTIMES[0], "synced", &WHOLE);
}

#[test]
fn synced_holds_over_kills_on_epoll() {
    nothing_acknowledged_is_lost(RUNTIMES[1], "synced", &WHOLE);
}

#[test]
fn written_holds_over_kills_while_traces_come_in_parts() {
    nothing_acknowledged_is_lost(RUNTIMES[0], "written", &SPREAD);
}
