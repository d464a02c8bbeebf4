//! Directories that a log cannot be kept in: a clear text and an exit status, and nothing is accepted.

use std::path::Path;
use std::process::Command;
use tailwater_tests::process::Tailwater;
use tempfile::TempDir;

/// What the node says when it does not start in `directory`.
fn refused(directory: &Path) -> String {
    let output = Tailwater::command(directory, &[]).output().unwrap();
    let text = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(71), "{text}");
    assert!(!text.contains("\"ready\""), "{text}");
    let said: Vec<_> = text.lines().filter(|line| line.contains("does not start")).collect();
    assert!(said.len() == 1 && said[0].contains("--data-dir"), "{text}");
    assert!(said[0].contains(directory.to_str().unwrap()), "{text}");
    said[0].to_string()
}

#[test]
fn a_directory_that_cannot_be_made_is_told() {
    let files = TempDir::new().unwrap();
    let file = files.path().join("file");
    std::fs::write(&file, "in the way").unwrap();
    assert!(refused(&file.join("data")).contains("cannot be created"));
    refused(Path::new("/proc/tailwater-data"));
    refused(&file);
}

#[test]
fn a_file_in_the_place_of_the_log_is_told() {
    let directory = TempDir::new().unwrap();
    std::fs::write(directory.path().join("log"), "in the way").unwrap();
    refused(directory.path());
}

#[test]
fn a_read_only_file_system_is_told() {
    let at = TempDir::new().unwrap();
    let mount = |options: &[&str]| {
        let output = Command::new("mount").args(options).arg("tmpfs").arg(at.path()).output();
        output.is_ok_and(|output| output.status.success())
    };
    if !mount(&["-t", "tmpfs", "-o", "ro"]) {
        eprintln!("skipped: nothing can be mounted here");
        return;
    }
    let outcome = std::panic::catch_unwind(|| refused(at.path()));
    assert!(Command::new("umount").arg(at.path()).status().unwrap().success());
    assert!(outcome.unwrap().contains("ead-only"));
}
