//! `tailwater log` as a process: what it prints and the code it ends with.

#![allow(clippy::unwrap_used, reason = "a test fails by panicking")]

use serde_json::Value;
use std::path::{Path, PathBuf};
use std::process::{Command, Output, Stdio};
use tailwater_tests::process::binary;
use tempfile::TempDir;

const REQUESTS: &str = "requests-000000000000002a.log";
const JOURNAL: &str = "journal-000000000000002b.log";

fn log(arguments: &[&str], path: &Path) -> Output {
    let mut command = Command::new(binary("tailwater"));
    command.arg("log").args(arguments).arg(path).stdin(Stdio::null()).output().unwrap()
}

fn said(output: &Output) -> String {
    format!("{}{}", String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr))
}

/// A data directory with the fixtures as its log, and the log's directory.
fn data_directory() -> (TempDir, PathBuf) {
    let directory = TempDir::new().unwrap();
    let log = directory.path().join("log");
    std::fs::create_dir(&log).unwrap();
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/log");
    std::fs::copy(fixtures.join("requests-v1.log"), log.join(REQUESTS)).unwrap();
    std::fs::copy(fixtures.join("journal-v1.log"), log.join(JOURNAL)).unwrap();
    std::fs::write(log.join("spare-0000000000000001.log"), b"anything").unwrap();
    (directory, log)
}

#[test]
fn a_sound_directory_is_verified() {
    let (directory, log_directory) = data_directory();
    for path in [directory.path(), &log_directory] {
        let output = log(&["verify"], path);
        assert_eq!(output.status.code(), Some(0), "{}", said(&output));
        assert!(said(&output).ends_with("2 segments, 5 records, 1 spare files; nothing accepted is missing\n"));
    }
}

#[test]
fn a_directory_that_is_no_log_is_refused_with_a_remedy() {
    let directory = TempDir::new().unwrap();
    let empty = directory.path().join("empty");
    let other = directory.path().join("log-of-something-else");
    let file = other.join("access.log");
    std::fs::create_dir(&empty).unwrap();
    std::fs::create_dir(&other).unwrap();
    std::fs::write(&file, "GET /").unwrap();
    // The last has a directory in it that is called as a log is.
    for path in [&empty, &other, &directory.path().to_path_buf()] {
        for verb in ["verify", "dump"] {
            let output = log(&[verb], path);
            assert_eq!(output.status.code(), Some(66), "{verb} {}: {}", path.display(), said(&output));
            assert!(said(&output).contains("this is no log") && said(&output).contains("give a segment"), "{verb}");
            assert!(!said(&output).contains("nothing accepted is missing"), "{}", said(&output));
        }
    }
    assert_eq!(log(&["verify"], &file).status.code(), Some(66));
    assert_eq!(log(&["dump"], &file).status.code(), Some(1));
    // What a node leaves that has received nothing is a log.
    let new = TempDir::new().unwrap();
    std::fs::create_dir(new.path().join("log")).unwrap();
    assert_eq!(log(&["verify"], new.path()).status.code(), Some(0));
}

#[test]
fn damage_is_named_with_its_file_and_remedy() {
    let (directory, log_directory) = data_directory();
    let path = log_directory.join(REQUESTS);
    let mut bytes = std::fs::read(&path).unwrap();
    bytes[4150] ^= 1;
    std::fs::write(&path, bytes).unwrap();
    let output = log(&["verify"], directory.path());
    assert_eq!(output.status.code(), Some(1));
    for expected in [REQUESTS, "1 records missing", "check the disk", "1 segments are not sound"] {
        assert!(said(&output).contains(expected), "{expected}: {}", said(&output));
    }
    let dumped = log(&["dump"], &path);
    assert_eq!(dumped.status.code(), Some(0));
    assert!(said(&dumped).contains("skipped"), "{}", said(&dumped));
}

#[test]
fn a_directory_is_dumped_as_json_lines_by_number() {
    let (directory, _) = data_directory();
    let output = log(&["dump", "--json"], directory.path());
    assert_eq!(output.status.code(), Some(0), "{}", said(&output));
    let lines: Vec<Value> = said(&output).lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let seen: Vec<(&str, &str)> =
        lines.iter().map(|line| (line["file"].as_str().unwrap(), line["kind"].as_str().unwrap())).collect();
    let requests = ["header", "request", "request", "request", "end"].map(|kind| (REQUESTS, kind));
    let journal = ["header", "verdicts", "resolved", "end"].map(|kind| (JOURNAL, kind));
    assert_eq!(seen, [&requests[..], &journal[..]].concat());
}

#[test]
fn a_path_that_cannot_be_read_is_named() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("nowhere");
    for verb in ["dump", "verify"] {
        let output = log(&[verb], &missing);
        assert_eq!(output.status.code(), Some(66), "{}", said(&output));
        assert!(said(&output).contains("nowhere"), "{}", said(&output));
    }
}
