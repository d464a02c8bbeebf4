//! Disks that fill, and segments that a disk has damaged.

use super::load::{Generator, Setting, Sink};
use super::spans::{large_span, offer, send};
use super::{BREAKER, ERRORS, RUNTIMES, SMALL_LOG, address, all, is_settled, stop, sum};
use std::fs::OpenOptions;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use tailwater_engine::log::read::{Found, Records};
use tailwater_tests::process::{Tailwater, kept};
use tempfile::TempDir;

const FAILING: &str = "tailwater_wal_failing";

/// A file system of its own in a file, mounted until dropped.
struct Mount {
    image: TempDir,
    at: TempDir,
}

impl Mount {
    /// `None`, said on standard error, where mounting is not allowed.
    fn ext4(mib: u64) -> Option<Self> {
        let mount = Self { image: TempDir::new().unwrap(), at: TempDir::new().unwrap() };
        let image = mount.image.path().join("image");
        std::fs::File::create(&image).unwrap().set_len(mib << 20).unwrap();
        let run = |program: &str, arguments: &[&str]| {
            Command::new(program).args(arguments).output().is_ok_and(|output| output.status.success())
        };
        let (image, at) = (image.to_str().unwrap(), mount.at.path().to_str().unwrap());
        let is_mounted = run("mkfs.ext4", &["-q", "-m", "0", image]) && run("mount", &["-o", "loop", image, at]);
        if !is_mounted {
            eprintln!("skipped: a loop device cannot be mounted here");
        }
        is_mounted.then_some(mount)
    }

    /// A directory on it.
    fn directory(&self) -> TempDir {
        TempDir::new_in(self.at.path()).unwrap()
    }
}

impl Drop for Mount {
    fn drop(&mut self) {
        // Where nothing was mounted there is nothing to do.
        _ = Command::new("umount").arg("-l").arg(self.at.path()).output();
    }
}

/// The log is larger than the disk, and something else takes the rest of it too.
fn a_full_disk_holds_senders_back(runtime: &'static str) {
    let Some(mount) = Mount::ext4(48) else { return };
    let (grpc, next_hop) = (address(), address());
    let setting = Setting::new(grpc, next_hop, runtime);
    let flags = ["--sampling-decision-wait", "200ms", "--exporters-otlp-queue-bytes-max", "512KiB"];
    let flags = all(&[&setting.flags(), SMALL_LOG, &flags, &["--exporters-otlp-batch-bytes-max", "64KiB"]]);
    let mut node = Tailwater::start_in(mount.directory(), &flags);
    let ballast = mount.at.path().join("ballast");
    let fill = Command::new("fallocate").args(["-l", "24M"]).arg(&ballast).status().unwrap();
    assert!(fill.success());
    let files = TempDir::new().unwrap();
    let load = ["--traces", "5000", "--rate", "40000", "--services", "1", "--spans-per-request", "200"];
    let generator = Generator::start(grpc, files.path(), &all(&[&load, &["--keep-share", "1"]]));
    node.until(|metrics| metrics[FAILING] == 1.0);
    let offers = (0..100).map(|number| offer(node.http, vec![large_span(1 << 40, number, true, 500_000)]));
    let answer = offers.into_iter().find(|answer| answer.status != 200).unwrap();
    assert!(answer.status == 503 && answer.retry_after.is_some_and(|seconds| seconds > 0), "{answer:?}");
    // A kill on the full disk, and a start on it.
    node.until(|metrics| metrics[BREAKER] != 0.0);
    node = Tailwater::start_in(node.crash(), &flags);
    node.until(|metrics| metrics[FAILING] == 1.0);
    std::fs::remove_file(&ballast).unwrap();
    node.until(|metrics| metrics[FAILING] == 0.0);
    let sink = Sink::start(next_hop, &[&generator.expected]);
    generator.end();
    node.until(is_settled);
    stop(node);
    let judgement = sink.judge();
    assert_eq!(judgement["demanded"], 5000, "{judgement}");
}

#[test]
fn a_full_disk_holds_senders_back_on_uring() {
    a_full_disk_holds_senders_back(RUNTIMES[0]);
}

#[test]
fn a_full_disk_holds_senders_back_on_epoll() {
    a_full_disk_holds_senders_back(RUNTIMES[1]);
}

/// The log's own files leave no room, and the disk stays as full as it is: delivery frees them.
#[test]
fn a_disk_that_the_log_itself_fills_is_freed_by_delivery() {
    let Some(mount) = Mount::ext4(32) else { return };
    let (grpc, next_hop) = (address(), address());
    let setting = Setting::new(grpc, next_hop, "auto");
    let flags = ["--sampling-decision-wait", "200ms", "--exporters-otlp-queue-bytes-max", "512KiB"];
    let flags = all(&[&setting.flags(), SMALL_LOG, &flags, &["--exporters-otlp-batch-bytes-max", "64KiB"]]);
    let node = Tailwater::start_in(mount.directory(), &flags);
    let files = TempDir::new().unwrap();
    let load = ["--traces", "15000", "--rate", "40000", "--services", "1", "--spans-per-request", "200"];
    let generator = Generator::start(grpc, files.path(), &all(&[&load, &["--keep-share", "1"]]));
    node.until(|metrics| metrics[FAILING] == 1.0);
    let sink = Sink::start(next_hop, &[&generator.expected]);
    generator.end();
    node.until(|metrics| is_settled(metrics) && metrics[FAILING] == 0.0);
    stop(node);
    let judgement = sink.judge();
    assert_eq!(judgement["demanded"], 15_000, "{judgement}");
}

const TRACES: u64 = 60;

/// The segments of a kind in a data directory that have records, with the offsets of those.
fn segments(directory: &Path, kind: &str) -> Vec<(PathBuf, Vec<u64>)> {
    let files = std::fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path());
    let files = files.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(kind));
    let read = files.map(|path| {
        let content = std::fs::read(&path).unwrap();
        let offset = |found| if let Found::Record { offset, .. } = found { Some(offset) } else { None };
        let offsets = Records::open(&content).map(|(_, records)| records.filter_map(offset).collect());
        (path, offsets.unwrap_or_default())
    });
    let mut read: Vec<_> = read.filter(|(_, offsets): &(_, Vec<u64>)| !offsets.is_empty()).collect();
    read.sort();
    read
}

fn flip(path: &Path, offset: u64) {
    let file = OpenOptions::new().read(true).write(true).open(path).unwrap();
    let mut byte = [0];
    file.read_exact_at(&mut byte, offset).unwrap();
    file.write_all_at(&[byte[0] ^ 0x10], offset).unwrap();
}

fn damaged_flags<'a>(runtime: &'a str, wait: &'a str) -> Vec<&'a str> {
    let own = ["--runtime", runtime, "--shards", "1", "--sampling-policies", ERRORS, "--sampling-decision-wait", wait];
    all(&[&own, &["--sampling-decision-wait-after-root-received", "0s"]])
}

/// Each trace is a request and a flush of its own.
fn send_each(node: &Tailwater) {
    for trace in 1..=TRACES {
        send(node.http, vec![large_span(trace, 0, true, 3000)]);
    }
}

fn only_what_is_damaged_is_lost(runtime: &'static str) {
    let flags = damaged_flags(runtime, "10m");
    let node = Tailwater::start(&flags);
    send_each(&node);
    let directory = node.crash();
    let found = segments(directory.path(), "requests-");
    let [(path, offsets)] = found.as_slice() else { panic!("{found:?}") };
    assert_eq!(offsets.len() as u64, TRACES);
    // Two neighbours in the middle, then the last: cut in the middle of its body.
    flip(path, offsets[20] + 1500);
    flip(path, offsets[21] + 3);
    OpenOptions::new().write(true).open(path).unwrap().set_len(offsets[59] + 1000).unwrap();
    let node = Tailwater::start_in(directory, &flags);
    assert!(node.said_at_start().contains("skipped"), "{}", node.said_at_start());
    assert_eq!(node.metrics()["tailwater_traces_pending"], TRACES as f64 - 3.0);
    // It goes on working on that directory.
    send(node.http, vec![large_span(1000, 0, true, 3000)]);
    let directory = stop(node);
    let traces = kept(&directory.path().join("kept.jsonl"));
    assert_eq!(traces.len() as u64, TRACES - 3 + 1);
}

#[test]
fn only_what_is_damaged_is_lost_on_uring() {
    only_what_is_damaged_is_lost(RUNTIMES[0]);
}

#[test]
fn only_what_is_damaged_is_lost_on_epoll() {
    only_what_is_damaged_is_lost(RUNTIMES[1]);
}

/// Damage in the journal costs duplicates, and is told; a header that can't be read costs its segment.
#[test]
fn a_damaged_journal_costs_duplicates_only() {
    let flags = damaged_flags("auto", "50ms");
    let node = Tailwater::start(&all(&[&flags, &["--wal-journal-interval", "10ms"]]));
    for trace in 1..=TRACES {
        send(node.http, vec![large_span(trace, 0, true, 3000)]);
        node.until(|metrics| metrics["tailwater_wal_verdicts_total{stage=\"log\"}"] >= trace as f64);
    }
    node.until(|metrics| is_settled(metrics) && sum(metrics, "tailwater_wal_unresolved_units", "") == 0.0);
    let directory = node.crash();
    let found = segments(directory.path(), "journal-");
    let (path, offsets) = &found[0];
    assert!(offsets.len() > 10, "{offsets:?}");
    flip(path, offsets[offsets.len() / 2] + 30);
    let node = Tailwater::start_in(directory, &flags);
    assert!(node.said_at_start().contains("damage in the journal was skipped"), "{}", node.said_at_start());
    node.until(is_settled);
    let directory = node.crash();
    for (path, _) in segments(directory.path(), "journal-") {
        flip(&path, 20);
    }
    let node = Tailwater::start_in(directory, &flags);
    assert!(node.said_at_start().contains("cannot be read and is left alone"), "{}", node.said_at_start());
    let log = node.directory().join("log");
    send(node.http, vec![large_span(1000, 0, true, 3000)]);
    node.until(is_settled);
    let directory = stop(node);
    assert!(log.starts_with(directory.path()));
    let node = Tailwater::start_in(directory, &flags);
    assert!(node.said_at_start().contains("--repair"), "{}", node.said_at_start());
}
