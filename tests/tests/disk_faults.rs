//! The real program on disks that fail: calls that the kernel refuses, a full disk, a read-only one, damaged files. What
//! failed is refused, what was acknowledged is delivered, and the node goes on by itself. Each test names what it leans on.
//!
//! Calls are made to fail by `strace`, file systems are loop mounts: where either is not allowed a test says so and ends.

#![allow(
    clippy::unwrap_used,
    clippy::panic,
    clippy::print_stderr,
    reason = "test code fails by panicking and says what it skips"
)]

use std::collections::{BTreeMap, BTreeSet};
use std::fs::File;
use std::io::{BufRead, BufReader, ErrorKind, Write};
use std::ops::RangeInclusive;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::channel;
use tailwater_tests::process::{PATIENCE, Tailwater, kept_at_least_once, post_for_head, signal, wait};
use tempfile::TempDir;

const RECEIVED: &str = "tailwater_items_received_total{signal=\"spans\"}";
const EXPORTED: &str = "tailwater_items_exported_total{signal=\"spans\"}";
const FAILING: &str = "tailwater_wal_failing";
const REFUSED: &str = "tailwater_wal_requests_refused_disk_total{stage=\"log\"}";
/// Large enough that a segment of a megabyte takes fifteen of them.
const LARGE_BYTES: usize = 64 << 10;
const SMALL_BYTES: usize = 2 << 10;
/// Some segments of large requests: a disk that fails is noticed within.
const OFFERS_MAX: u64 = 200;

fn arguments(decision_wait: &str) -> Vec<&str> {
    let mut all = vec!["--runtime", "epoll", "--shards", "1", "--sampling-decision-wait", decision_wait];
    all.extend(["--sampling-policies", "[{name: all, type: always_sample}]"]);
    all.extend(["--sampling-decision-wait-after-root-received", "0s"]);
    all.extend(["--wal-segment-bytes-max", "1MiB", "--wal-bytes-max", "64MiB"]);
    all.extend(["--otlp-grpc-request-bytes-max", "2MiB", "--otlp-http-request-bytes-max", "2MiB"]);
    all
}

/// Nothing is judged: all that was acknowledged is owed by the log.
fn collecting(directory: TempDir) -> Tailwater {
    Tailwater::start_in(directory, &arguments("10m"))
}

/// What marks a trace's request in a segment.
fn mark(trace: u64) -> String {
    format!("mark-{trace:08}-")
}

/// Sends a trace of one span; returns status and head of the answer.
fn offer(node: &Tailwater, trace: u64, bytes: usize) -> (u16, String) {
    let name = mark(trace) + &"x".repeat(bytes);
    let span = format!(r#"{{"traceId":"{trace:032x}","spanId":"{trace:016x}","name":"{name}"}}"#);
    let body = format!(r#"{{"resourceSpans":[{{"scopeSpans":[{{"spans":[{span}]}}]}}]}}"#);
    let (status, head, _) =
        post_for_head(node.http, "/v1/traces", &[("content-type", "application/json")], body.as_bytes());
    (status, head.to_ascii_lowercase())
}

fn send(node: &Tailwater, traces: RangeInclusive<u64>) {
    for trace in traces {
        assert_eq!(offer(node, trace, SMALL_BYTES).0, 200, "trace {trace}");
    }
}

/// Offers large traces from number `from` on until one is refused as it has to be; returns those acknowledged before.
fn until_refused(node: &Tailwater, from: u64) -> BTreeSet<u64> {
    let mut acknowledged = BTreeSet::new();
    for trace in from..from + OFFERS_MAX {
        match offer(node, trace, LARGE_BYTES) {
            (200, _) => acknowledged.insert(trace),
            (status, head) => {
                assert_eq!(status, 503, "{head}");
                assert!(head.contains("retry-after: "), "{head}");
                return acknowledged;
            }
        };
    }
    panic!("the disk fails and nothing is refused");
}

/// Offers large traces from number `from` on until one is acknowledged; returns it.
fn until_accepted(node: &Tailwater, from: u64) -> u64 {
    let next = std::cell::Cell::new(from);
    node.until(|_| {
        next.set(next.get() + 1);
        offer(node, next.get(), LARGE_BYTES).0 == 200
    });
    next.get()
}

/// Starts a node on what another left, and waits until all of these are delivered. Returns the node's log and all that
/// was delivered.
fn delivered(directory: TempDir, wanted: &BTreeSet<u64>) -> (String, BTreeSet<u64>) {
    let node = Tailwater::start_in(directory, &arguments("10ms"));
    node.until(|metrics| metrics[EXPORTED] >= metrics[RECEIVED]);
    let (status, log, directory) = node.stop();
    let log = log.join("\n");
    assert!(status.success(), "{log}");
    let (traces, _) = kept_at_least_once(&directory.path().join("kept.jsonl"));
    let traces: BTreeSet<u64> = traces.keys().map(|trace| u64::from_str_radix(trace, 16).unwrap()).collect();
    let missing: Vec<&u64> = wanted.difference(&traces).collect();
    assert!(missing.is_empty(), "{missing:?} were acknowledged and are missing: {log}");
    (log, traces)
}

/// `strace` at a process; its calls fail as told until this is dropped.
struct Faults(Child);

impl Faults {
    /// For example `fdatasync:error=EIO`. Nothing, with a message, where it cannot be done.
    fn inject(process: u32, fault: &str) -> Option<Self> {
        let mut command = Command::new("strace");
        command.args(["-f", "-o", "/dev/null", "-e", &format!("inject={fault}"), "-p", &process.to_string()]);
        let Ok(mut strace) = command.stdin(Stdio::null()).stderr(Stdio::piped()).spawn() else {
            eprintln!("skipped: strace is not installed");
            return None;
        };
        let (sender, said) = channel();
        let pipe = strace.stderr.take().unwrap();
        // Reads on to the end: strace must not block on the pipe.
        std::thread::spawn(move || {
            for line in BufReader::new(pipe).lines().map_while(Result::ok) {
                // The test may have seen enough.
                _ = sender.send(line);
            }
        });
        let first = said.recv_timeout(PATIENCE).unwrap_or_default();
        if first.contains("attached") {
            return Some(Self(strace));
        }
        eprintln!("skipped: strace cannot be used here: {first}");
        wait(&mut strace);
        None
    }
}

impl Drop for Faults {
    fn drop(&mut self) {
        if self.0.try_wait().unwrap().is_none() {
            // It lets the process go on as it was.
            signal(self.0.id(), "INT");
            wait(&mut self.0);
        }
    }
}

/// The disk fails for a while, in one kind of call, every time.
fn refuses_while_calls_fail(fault: &str) {
    let node = collecting(TempDir::new().unwrap());
    send(&node, 1..=5);
    let mut wanted: BTreeSet<u64> = (1..=5).collect();
    let Some(faults) = Faults::inject(node.id(), fault) else { return };
    wanted.extend(until_refused(&node, 1000));
    node.until(|metrics| metrics[FAILING] == 1.0);
    for trace in 2000..2003 {
        let (status, head) = offer(&node, trace, LARGE_BYTES);
        assert!(status == 503 && head.contains("retry-after: "), "{head}");
    }
    assert!(node.metrics()[REFUSED] >= 4.0);
    drop(faults);
    wanted.insert(until_accepted(&node, 3000));
    node.until(|metrics| metrics[FAILING] == 0.0);
    send(&node, 11..=15);
    wanted.extend(11..=15);
    let (log, _) = delivered(node.crash(), &wanted);
    assert!(!log.contains("skipped"), "what failed is not damage: {log}");
}

/// Leans on `Stream::synced_now`: without its failure path the request is answered 200.
#[test]
fn refuses_while_syncs_fail() {
    refuses_while_calls_fail("fdatasync:error=EIO");
}

/// Leans on `Stream::wrote`.
#[test]
fn refuses_while_writes_fail() {
    refuses_while_calls_fail("pwrite64:error=EIO");
}

/// Leans on `Stream::wrote`, and on `CoreLog::open_segments` to go on.
#[test]
fn refuses_while_writes_find_no_space() {
    refuses_while_calls_fail("pwrite64:error=ENOSPC");
}

/// Leans on `CoreLog::open_segments`, which tries again.
#[test]
fn refuses_while_segments_find_no_space() {
    refuses_while_calls_fail("fallocate:error=ENOSPC");
}

/// A disk on which some syncs fail. Leans on the poisoning of the segment: a sync that is tried again on the same file
/// succeeds without having written what failed.
#[test]
fn what_was_acknowledged_between_failing_syncs_is_there() {
    let node = collecting(TempDir::new().unwrap());
    let Some(faults) = Faults::inject(node.id(), "fdatasync:error=EIO:when=3+5") else { return };
    let (mut acknowledged, mut refused) = (BTreeSet::new(), Vec::new());
    for trace in 1..=60 {
        match offer(&node, trace, SMALL_BYTES).0 {
            200 => _ = acknowledged.insert(trace),
            503 => {
                refused.push(trace);
                // The next sync that fails may be that of a new segment's header: then it takes a while.
                node.until(|metrics| metrics[FAILING] == 0.0);
            }
            other => panic!("status {other}"),
        }
    }
    assert!(refused.len() > 3, "{refused:?}");
    assert!(acknowledged.len() > 10 && acknowledged.last() > refused.first(), "it goes on: {acknowledged:?}");
    let directory = node.crash();
    drop(faults);
    let segments = segments(directory.path(), "requests-");
    assert!(segments.len() > refused.len(), "each failure costs its segment: {segments:?}");
    delivered(directory, &acknowledged);
}

/// A file system of its own, gone when this is dropped.
struct Mounted {
    point: TempDir,
    _image: TempDir,
}

fn root_runs(command: &str, arguments: &[&str]) -> bool {
    let output = Command::new(command).args(arguments).env("PATH", "/usr/sbin:/sbin:/usr/bin:/bin").output();
    match output {
        Ok(output) if output.status.success() => true,
        Ok(output) => {
            eprintln!("skipped: {command}: {}", String::from_utf8_lossy(&output.stderr));
            false
        }
        Err(error) => {
            eprintln!("skipped: {command}: {error}");
            false
        }
    }
}

impl Mounted {
    /// An empty ext4 file system. Nothing, with a message, where it cannot be mounted.
    fn ext4(bytes: u64) -> Option<Self> {
        let (point, image) = (TempDir::new().unwrap(), TempDir::new().unwrap());
        let file = image.path().join("image");
        File::create(&file).unwrap().set_len(bytes).unwrap();
        let (file, at) = (file.to_str().unwrap(), point.path().to_str().unwrap());
        let is_mounted =
            root_runs("mkfs.ext4", &["-q", "-F", "-m", "0", file]) && root_runs("mount", &["-o", "loop", file, at]);
        is_mounted.then_some(Self { point, _image: image })
    }

    fn path(&self) -> &Path {
        self.point.path()
    }
}

impl Drop for Mounted {
    fn drop(&mut self) {
        root_runs("umount", &["-l", self.point.path().to_str().unwrap()]);
    }
}

/// Leaves no room on the file system of that file.
fn fill(file: &Path) {
    let mut filler = File::create(file).unwrap();
    for bytes in [1 << 20, 4096, 1] {
        let zeros = vec![0; bytes];
        let error = loop {
            if let Err(error) = filler.write_all(&zeros).and_then(|()| filler.sync_data()) {
                break error;
            }
        };
        assert_eq!(error.kind(), ErrorKind::StorageFull);
    }
}

/// Leans on `CoreLog::open_segments` and on `Place::create`, which leaves nothing behind on a full disk.
#[test]
fn a_full_disk_sends_senders_away_until_there_is_room() {
    let Some(disk) = Mounted::ext4(48 << 20) else { return };
    let node = collecting(TempDir::new_in(disk.path()).unwrap());
    send(&node, 1..=5);
    let filler = disk.path().join("filler");
    fill(&filler);
    let mut wanted = until_refused(&node, 1000);
    wanted.extend(1..=5);
    node.until(|metrics| metrics[FAILING] == 1.0);
    assert!(node.metrics()[REFUSED] >= 1.0);
    std::fs::remove_file(&filler).unwrap();
    wanted.insert(until_accepted(&node, 2000));
    node.until(|metrics| metrics[FAILING] == 0.0);
    send(&node, 11..=15);
    wanted.extend(11..=15);
    delivered(node.crash(), &wanted);
}

/// Starts where it cannot start; returns what was said.
fn refused_start(directory: &Path) -> String {
    let output = Tailwater::command(directory, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{text}");
    assert!(text.contains(directory.to_str().unwrap()), "{text}");
    text
}

/// Leans on `boot::take_data_directory`.
#[test]
fn a_data_directory_that_cannot_be_made_is_named() {
    let directory = TempDir::new().unwrap();
    let file = directory.path().join("file");
    std::fs::write(&file, b"").unwrap();
    let text = refused_start(&file.join("data"));
    assert!(text.contains("cannot be created") && text.contains("--data-dir"), "{text}");
}

/// Leans on `boot::take_data_directory` and `check_disk`.
#[test]
fn a_read_only_disk_is_named() {
    let Some(disk) = Mounted::ext4(8 << 20) else { return };
    let existing = disk.path().join("data");
    std::fs::create_dir(&existing).unwrap();
    if !root_runs("mount", &["-o", "remount,ro", disk.path().to_str().unwrap()]) {
        return;
    }
    for directory in [existing, disk.path().join("new")] {
        let text = refused_start(&directory).to_lowercase();
        assert!(text.contains("read-only") && text.contains("--data-dir"), "{text}");
    }
}

fn segments(directory: &Path, prefix: &str) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(directory.join("log")).unwrap().map(|entry| entry.unwrap().path());
    entries.filter(|path| path.file_name().unwrap().to_str().unwrap().starts_with(prefix)).collect()
}

/// The segment that holds this trace's request, and where in it.
fn place(directory: &Path, trace: u64) -> (PathBuf, usize) {
    let mark = mark(trace).into_bytes();
    let mut found = segments(directory, "requests-").into_iter().filter_map(|path| {
        let bytes = std::fs::read(&path).unwrap();
        let at = bytes.windows(mark.len()).position(|window| window == mark)?;
        Some((path, at))
    });
    found.next().unwrap()
}

/// A killed node's directory with twenty requests, each flushed by itself.
fn killed() -> TempDir {
    let node = collecting(TempDir::new().unwrap());
    send(&node, 1..=20);
    node.crash()
}

/// The line of the log that names this file.
fn line_about(log: &str, file: &Path) -> BTreeMap<String, serde_json::Value> {
    let name = file.file_name().unwrap().to_str().unwrap();
    let line = log.lines().find(|line| line.contains(name) && !line.contains("\"level\":\"INFO\""));
    serde_json::from_str(line.unwrap_or_else(|| panic!("{name} is not in {log}"))).unwrap()
}

/// Leans on `Records::next`, which looks for the next sound record, and on `Core::replay_segment`, which tells.
#[test]
fn a_damaged_middle_costs_what_was_hit_and_is_told() {
    let directory = killed();
    let (segment, at) = place(directory.path(), 7);
    let mut bytes = std::fs::read(&segment).unwrap();
    for byte in &mut bytes[at..at + 16] {
        *byte = !*byte;
    }
    std::fs::write(&segment, bytes).unwrap();
    let rest: BTreeSet<u64> = (1..=20).filter(|trace| *trace != 7).collect();
    let (log, kept) = delivered(directory, &rest);
    assert_eq!(kept, rest);
    let line = line_about(&log, &segment);
    assert!(line["message"].as_str().unwrap().contains("skipped") && line["records"] == 1, "{line:?}");
}

/// Leans on `Core::replay_segment`: a segment has its whole length from the start, so a shorter one has lost something.
#[test]
fn a_truncated_segment_is_read_as_far_as_it_goes_and_is_told() {
    let directory = killed();
    let (segment, at) = place(directory.path(), 12);
    // The first segment is a short one: the last of them are in the next.
    let is_left = |trace: &u64| *trace < 12 || place(directory.path(), *trace).0 != segment;
    let rest: BTreeSet<u64> = (1..=20).filter(is_left).collect();
    assert!(!rest.contains(&13));
    File::options().write(true).open(&segment).unwrap().set_len(at as u64).unwrap();
    let (log, kept) = delivered(directory, &rest);
    assert_eq!(kept, rest);
    let line = line_about(&log, &segment);
    assert!(line["message"].as_str().unwrap().contains("shorter"), "{line:?}");
}

/// Leans on `survey`, which leaves alone what it cannot read.
#[test]
fn a_segment_without_its_header_is_left_alone_and_told() {
    let node = collecting(killed());
    send(&node, 21..=25);
    let directory = node.crash();
    let (segment, _) = place(directory.path(), 3);
    let rest: BTreeSet<u64> = (1..=25).filter(|trace| place(directory.path(), *trace).0 != segment).collect();
    assert!(rest.contains(&25) && !rest.contains(&4));
    File::options().write(true).open(&segment).unwrap().set_len(100).unwrap();
    let (log, kept) = delivered(directory, &rest);
    assert_eq!(kept, rest);
    let line = line_about(&log, &segment);
    assert!(line["message"].as_str().unwrap().contains("left alone"), "{line:?}");
}

/// Leans on `Core::replay_segment`, which reads a piece at a time: what is in memory does not follow the file's length.
#[test]
fn a_large_segment_is_taken_over_in_little_memory() {
    const BYTES: u64 = 768 << 20;
    let directory = killed();
    let (segment, _) = place(directory.path(), 12);
    // Zeros behind its records take no room on the disk.
    File::options().write(true).open(&segment).unwrap().set_len(BYTES).unwrap();
    let node = collecting(directory);
    let status = std::fs::read_to_string(format!("/proc/{}/status", node.id())).unwrap();
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).unwrap();
    let highest_kib: u64 = line.trim().trim_end_matches(" kB").parse().unwrap();
    assert!(highest_kib < BYTES / 1024 / 2, "{highest_kib} KiB at most");
    delivered(node.crash(), &(1..=20).collect());
}
