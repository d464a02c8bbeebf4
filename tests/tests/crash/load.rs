//! The bundled generator and sink as child processes.

use super::POLICIES;
use serde_json::Value;
use std::io::Read as _;
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Instant;
use tailwater_tests::process::{PATIENCE, binary, signal, wait};

fn spawn(arguments: &[String]) -> Child {
    let mut command = Command::new(binary("tailwater-load"));
    command.args(arguments).args(["--json", "--quiet"]).stdin(Stdio::null()).stdout(Stdio::piped());
    command.spawn().unwrap()
}

/// The summary that a child prints at its end.
fn summary(child: &mut Child) -> Value {
    let mut text = String::new();
    child.stdout.take().unwrap().read_to_string(&mut text).unwrap();
    text.lines().last().and_then(|line| serde_json::from_str(line).ok()).unwrap_or_default()
}

/// A generator at work.
pub struct Generator {
    child: Child,
    /// Where it writes what must come out.
    pub expected: PathBuf,
}

impl Generator {
    /// Starts to send to `node`, with more arguments.
    pub fn start(node: SocketAddr, files: &Path, more: &[&str]) -> Self {
        let expected = files.join(format!("expected-{}", fastrand::u64(..)));
        let target = format!("http://{node}");
        let fixed = ["generate", "--target", &target, "--expect-out", expected.to_str().unwrap(), "--timeout", "60s"];
        let arguments: Vec<_> = fixed.iter().chain(more).map(ToString::to_string).collect();
        Self { child: spawn(&arguments), expected }
    }

    /// Waits for its end; fails when a span was given up or refused for good.
    pub fn end(mut self) -> Value {
        let report = summary(&mut self.child);
        let status = wait(&mut self.child);
        assert!(status.success(), "the generator was refused something for good: {report}");
        report
    }
}

impl Drop for Generator {
    fn drop(&mut self) {
        // One that has ended is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// The next hop.
pub struct Sink {
    child: Child,
}

impl Sink {
    /// Starts to receive at `address`.
    pub fn start(address: SocketAddr, expected: &[&Path]) -> Self {
        let listen = address.to_string();
        let mut arguments = vec!["sink", "--listen", &listen, "--allow-duplicates"];
        for file in expected {
            arguments.extend(["--expect", file.to_str().unwrap()]);
        }
        let arguments: Vec<_> = arguments.iter().map(ToString::to_string).collect();
        let sink = Self { child: spawn(&arguments) };
        let begin = Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(begin.elapsed() < PATIENCE, "the sink does not listen");
        }
        sink
    }

    /// Ends it; fails when something demanded is missing or something is partial. Returns what it says.
    pub fn judge(mut self) -> Value {
        signal(self.child.id(), "TERM");
        let judgement = summary(&mut self.child);
        let status = wait(&mut self.child);
        assert!(status.success(), "{judgement}");
        judgement
    }
}

impl Drop for Sink {
    fn drop(&mut self) {
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// A node's arguments: where it listens, where it sends, what it keeps.
pub struct Setting {
    pub grpc: String,
    pub next_hop: String,
    pub runtime: &'static str,
    pub policies: &'static str,
}

impl Setting {
    /// For a node at `grpc` that sends to `next_hop`.
    pub fn new(grpc: SocketAddr, next_hop: SocketAddr, runtime: &'static str) -> Self {
        Self { grpc: grpc.to_string(), next_hop: format!("http://{next_hop}"), runtime, policies: POLICIES }
    }

    /// The flags.
    pub fn flags(&self) -> Vec<&str> {
        vec![
            "--runtime",
            self.runtime,
            "--otlp-grpc-endpoint",
            &self.grpc,
            "--exporters-otlp-endpoints",
            &self.next_hop,
            "--exporters-otlp-retry-initial-interval",
            "50ms",
            "--exporters-otlp-breaker-open-interval",
            "100ms",
            "--sampling-policies",
            self.policies,
            // Only the wait counts: a trace's requests come in any order after a kill.
            "--sampling-decision-wait-after-root-received",
            "0s",
        ]
    }
}
