//! The exit codes of every subcommand are those in the table of `docs/operations.md`.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use std::collections::BTreeSet;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::process::{Command, Stdio};
use tailwater_tests::process::{Tailwater, binary, post};
use tempfile::TempDir;

const COMMANDS: [&str; 8] = ["run", "check", "doctor", "explain", "recall", "try", "log dump", "log verify"];

/// Codes that other suites provoke, or that no input does: what is lost at a drain (`start_and_stop.rs`), what the machine
/// lacks (`doctor`), and a fault of the program.
const ELSEWHERE: [(&str, i32); 4] = [("run", 3), ("doctor", 1), ("doctor", 2), ("run", 70)];

/// What the table says: each command with each of its codes.
fn documented() -> BTreeSet<(String, i32)> {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../docs/operations.md");
    let page = std::fs::read_to_string(page).unwrap();
    let table = page.split_once("## Exit codes").unwrap().1.split("\n## ").next().unwrap();
    let mut said = BTreeSet::new();
    for row in table.lines().filter(|line| line.starts_with("| ")) {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let Ok(code) = cells[1].parse() else { continue };
        for name in cells[2].split(',').map(|name| name.trim().trim_matches('`')) {
            let meant = COMMANDS.iter().filter(|command| name == "all" || **command == name);
            let meant: Vec<String> = meant.map(|command| command.to_string()).collect();
            assert!(!meant.is_empty(), "{name} is no command: {row}");
            said.extend(meant.into_iter().map(|command| (command, code)));
        }
    }
    said
}

fn code(command: &str, arguments: &[&str]) -> i32 {
    let mut process = Command::new(binary("tailwater"));
    process.env_remove("TAILWATER_CONFIG").args(command.split(' ')).args(arguments).stdin(Stdio::null());
    process.output().unwrap().status.code().unwrap()
}

/// A port that is taken as long as the listener lives.
fn taken() -> (TcpListener, SocketAddr) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    (listener, address)
}

/// A data directory whose log has a damaged record, and what a segment of it is called.
fn damaged(directory: &Path) -> String {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("fixtures/log");
    let mut bytes = std::fs::read(fixtures.join("requests-v1.log")).unwrap();
    bytes[4150] ^= 1;
    std::fs::create_dir(directory.join("log")).unwrap();
    let segment = directory.join("log/requests-000000000000002a.log");
    std::fs::write(&segment, bytes).unwrap();
    segment.to_str().unwrap().to_string()
}

#[test]
fn every_code_of_every_subcommand_is_in_the_table() {
    let directory = TempDir::new().unwrap();
    let path = |name: &str| directory.path().join(name).to_str().unwrap().to_string();
    let (good, bad, capture, empty) = (path("good.yaml"), path("bad.yaml"), path("capture.jsonl"), path("empty"));
    std::fs::write(&good, "sampling: {policies: [{name: all, type: always_sample}]}\n").unwrap();
    std::fs::write(&bad, "sampling: {polices: []}\n").unwrap();
    let span = "{\"traceId\":\"00000000000000000000000000000001\",\"spanId\":\"0000000000000001\",\"name\":\"x\"}";
    let request = format!("{{\"resourceSpans\":[{{\"scopeSpans\":[{{\"spans\":[{span}]}}]}}]}}");
    std::fs::write(&capture, &request).unwrap();
    std::fs::create_dir(&empty).unwrap();
    let data = TempDir::new().unwrap();
    let segment = damaged(data.path());
    let data = data.path().to_str().unwrap().to_string();
    let node = Tailwater::start(&[]);
    assert_eq!(post(node.http, "/v1/traces", &[("content-type", "application/json")], request.as_bytes()).0, 200);
    let (admin, (held, closed)) = (node.admin.to_string(), taken());
    let port = node.http.to_string();
    let (known, unknown) = (format!("{:032x}", 1), format!("{:032x}", 99));
    let own = path("data");
    let mut seen = BTreeSet::new();
    let mut see = |command: &str, expected: i32, arguments: &[&str]| {
        assert_eq!(code(command, arguments), expected, "{command} {arguments:?}");
        seen.insert((command.to_string(), expected));
    };
    for command in COMMANDS {
        see(command, 0, &["--help"]);
        see(command, 64, &["--no-such-flag"]);
    }
    for command in ["run", "check", "doctor"] {
        see(command, 78, &["--config", &bad]);
        see(command, 78, &["--config", &path("nowhere.yaml")]);
    }
    see("check", 0, &["--config", &good]);
    // A port that another node has: the one above.
    let ports =
        ["--otlp-http-endpoint", &port, "--otlp-grpc-endpoint", "127.0.0.1:0", "--admin-endpoint", "127.0.0.1:0"];
    see("run", 71, &[&ports[..], &["--data-dir", &own]].concat());
    see("try", 0, &["--config", &good, &capture]);
    see("try", 78, &["--config", &bad, &capture]);
    see("try", 78, &["--config", &good, "--against", &bad, &capture]);
    see("try", 66, &["--config", &good, &path("nowhere.jsonl")]);
    see("try", 66, &["--config", &good, &empty]);
    see("try", 66, &["--config", &good, &good]);
    see("try", 64, &["--config", &good]);
    see("explain", 0, &["--admin-endpoint", &admin, &known]);
    see("explain", 1, &["--admin-endpoint", &admin, &unknown]);
    see("explain", 64, &["--admin-endpoint", &admin, "7"]);
    drop(held);
    see("explain", 69, &["--admin-endpoint", &closed.to_string(), &known]);
    see("recall", 0, &["--admin-endpoint", &admin, &known]);
    see("recall", 1, &["--admin-endpoint", &admin, &unknown]);
    see("recall", 69, &["--admin-endpoint", &closed.to_string(), &known]);
    see("recall", 66, &["--admin-endpoint", &closed.to_string(), "--data-dir", &path("nowhere"), &known]);
    for command in ["log dump", "log verify"] {
        see(command, 66, &[&empty]);
        see(command, 66, &[&path("nowhere")]);
        see(command, 64, &[]);
    }
    see("log dump", 0, &[&data]);
    see("log dump", 1, &[&capture]);
    see("log verify", 1, &[&data]);
    see("log verify", 66, &[&segment]);
    let mut documented = documented();
    for (command, code) in ELSEWHERE {
        assert!(documented.remove(&(command.to_string(), code)), "{command} {code} is not in the table");
    }
    assert_eq!(documented, seen, "what the table has, and what was seen");
}
