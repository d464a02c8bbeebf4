//! The real program as a child process: started on free ports, watched through its log and metrics, stopped by signal.

use serde_json::Value;
use std::collections::{BTreeMap, HashSet};
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tempfile::TempDir;

/// How long a start, a stop or a client may take on a slow, busy machine before the test fails.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// How long a node is left alone that is to be nudged.
const NUDGE_INTERVAL: Duration = Duration::from_millis(20);

/// Where the programs are: `TAILWATER_BIN_DIR`, or beside the test's own binary.
#[must_use]
pub fn binary(name: &str) -> PathBuf {
    let beside = || std::env::current_exe().unwrap().parent().unwrap().parent().unwrap().to_path_buf();
    let directory = std::env::var_os("TAILWATER_BIN_DIR").map_or_else(beside, PathBuf::from);
    let path = directory.join(name);
    assert!(path.exists(), "{} is missing: cargo build --bin {name}", path.display());
    path
}

/// Where `scripts/setup tests` puts the SDK clients.
#[must_use]
pub fn clients() -> PathBuf {
    let home = || PathBuf::from(std::env::var_os("HOME").unwrap_or_default()).join(".cache");
    let cache = || std::env::var_os("XDG_CACHE_HOME").map_or_else(home, PathBuf::from).join("tailwater");
    let path = std::env::var_os("TAILWATER_CACHE").map_or_else(cache, PathBuf::from).join("clients");
    assert!(path.exists(), "{} is missing: scripts/setup tests", path.display());
    path
}

/// A running node.
pub struct Tailwater {
    child: Child,
    /// OTLP/gRPC.
    pub grpc: SocketAddr,
    /// OTLP/HTTP.
    pub http: SocketAddr,
    /// Metrics and health.
    pub admin: SocketAddr,
    directory: TempDir,
    /// What it logged before it was ready.
    boot_log: Vec<String>,
    log: Receiver<String>,
}

impl Tailwater {
    /// Starts a node with these arguments besides free ports and a data directory of its own, and waits until it is
    /// ready.
    #[must_use]
    pub fn start(arguments: &[&str]) -> Self {
        Self::start_in(TempDir::new().unwrap(), arguments)
    }

    /// As `start`, with the data directory that another node has left.
    #[must_use]
    pub fn start_in(directory: TempDir, arguments: &[&str]) -> Self {
        let command = Self::command(directory.path(), arguments);
        Self::launch(directory, command)
    }

    /// As `start`, with what `command` made, changed by the test.
    #[must_use]
    #[expect(clippy::zombie_processes, reason = "`Drop` waits for it")]
    pub fn launch(directory: TempDir, mut command: Command) -> Self {
        let mut child = command.spawn().unwrap();
        let log = lines(child.stderr.take().unwrap());
        let mut seen = Vec::new();
        loop {
            let Ok(line) = log.recv_timeout(PATIENCE) else {
                _ = child.kill();
                panic!("the node did not get ready: {}", seen.join("\n"));
            };
            let event: Value = serde_json::from_str(&line).unwrap_or_default();
            if event["message"] == "ready" {
                let address = |key: &str| event[key].as_str().unwrap().parse().unwrap();
                let (grpc, http, admin) = (address("grpc"), address("http"), address("admin"));
                return Self { child, grpc, http, admin, directory, boot_log: seen, log };
            }
            seen.push(line);
        }
    }

    /// The command that `start` runs, for tests of a start that fails.
    #[must_use]
    pub fn command(directory: &Path, arguments: &[&str]) -> Command {
        let mut command = Command::new(binary("tailwater"));
        command.args(["run", "--log-format", "json"]);
        if !arguments.contains(&"--shards") {
            command.args(["--shards", "2"]);
        }
        for flag in ["--otlp-grpc-endpoint", "--otlp-http-endpoint", "--admin-endpoint"] {
            if !arguments.contains(&flag) {
                command.args([flag, "127.0.0.1:0"]);
            }
        }
        command.arg("--data-dir").arg(directory).args(arguments);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        command
    }

    /// What it logged before it was ready.
    #[must_use]
    pub fn said_at_start(&self) -> String {
        self.boot_log.join("\n")
    }

    /// The process id.
    #[must_use]
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// The data directory.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    /// `GET path` of the admin endpoint: status and body.
    #[must_use]
    pub fn get(&self, path: &str) -> (u16, String) {
        let (status, body) =
            http_request(self.admin, &format!("GET {path} HTTP/1.1\r\nhost: t\r\nconnection: close\r\n\r\n"), &[]);
        (status, String::from_utf8_lossy(&body).into_owned())
    }

    /// All samples of `/metrics`, by name and labels as written.
    #[must_use]
    pub fn metrics(&self) -> BTreeMap<String, f64> {
        let (status, text) = self.get("/metrics");
        assert_eq!(status, 200);
        let samples = text.lines().filter(|line| !line.starts_with('#'));
        samples
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(name, value)| (name.into(), value.parse().unwrap()))
            .collect()
    }

    /// Calls `nudge` with the process id, again and again, until the node has ended: then its log ends.
    pub fn end_by(mut self, nudge: impl Fn(u32)) -> ExitStatus {
        loop {
            nudge(self.child.id());
            // Between nudges the node has the processor for itself.
            if self.log.recv_timeout(NUDGE_INTERVAL) == Err(RecvTimeoutError::Disconnected) {
                return wait(&mut self.child);
            }
        }
    }

    /// Kills the node as a crash would, and gives its data directory back.
    #[must_use]
    pub fn crash(mut self) -> TempDir {
        signal(self.child.id(), "KILL");
        wait(&mut self.child);
        std::mem::replace(&mut self.directory, TempDir::new().unwrap())
    }

    /// Looks at the metrics until `is_so`; each look is an exchange with the node.
    pub fn until(&self, is_so: impl Fn(&BTreeMap<String, f64>) -> bool) {
        let begin = Instant::now();
        loop {
            let metrics = self.metrics();
            if is_so(&metrics) {
                return;
            }
            assert!(begin.elapsed() < PATIENCE, "{metrics:?}");
        }
    }

    /// Asks the node to drain and waits for its end. Returns how it ended and what it logged.
    pub fn stop(mut self) -> (ExitStatus, Vec<String>, TempDir) {
        signal(self.child.id(), "TERM");
        let status = wait(&mut self.child);
        let mut log = std::mem::take(&mut self.boot_log);
        log.extend(self.log.iter());
        (status, log, std::mem::replace(&mut self.directory, TempDir::new().unwrap()))
    }
}

impl Drop for Tailwater {
    fn drop(&mut self) {
        if std::thread::panicking() {
            let ended = self.child.try_wait();
            eprintln!("the node ({ended:?}) said: {}", self.log.try_iter().collect::<Vec<_>>().join("\n"));
        }
        // A node that was stopped is gone already.
        _ = self.child.kill();
        _ = self.child.wait();
    }
}

/// Sends a signal by name.
pub fn signal(process: u32, name: &str) {
    let status = Command::new("kill").args([&format!("-{name}"), &process.to_string()]).status().unwrap();
    assert!(status.success());
}

/// Waits for a child's end; kills it when it does not come.
pub fn wait(child: &mut Child) -> ExitStatus {
    let (done, waiting) = channel::<()>();
    let process = child.id();
    let guard = std::thread::spawn(move || {
        if waiting.recv_timeout(PATIENCE).is_err_and(|error| error == RecvTimeoutError::Timeout) {
            signal(process, "KILL");
        }
    });
    let status = child.wait().unwrap();
    drop(done);
    guard.join().unwrap();
    status
}

/// The lines of a pipe, read by a thread so that the child never blocks on it.
fn lines(pipe: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        for line in BufReader::new(pipe).lines().map_while(Result::ok) {
            if sender.send(line).is_err() {
                break;
            }
        }
    });
    receiver
}

/// One HTTP/1.1 exchange over a raw socket: the head as written, then the body. Returns status and body; status 0 when
/// the server closed without an answer.
#[must_use]
pub fn http_request(address: SocketAddr, head: &str, body: &[u8]) -> (u16, Vec<u8>) {
    let (status, _, body) = http_exchange(address, head, body);
    (status, body)
}

/// As `http_request`, with the head of the answer in between.
#[must_use]
pub fn http_exchange(address: SocketAddr, head: &str, body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut stream = TcpStream::connect(address).unwrap();
    stream.set_read_timeout(Some(PATIENCE)).unwrap();
    stream.write_all(head.as_bytes()).unwrap();
    // The server may answer and close before it has read a body it will not take.
    _ = stream.write_all(body);
    let mut answer = Vec::new();
    _ = stream.read_to_end(&mut answer);
    let head_end = answer.windows(4).position(|window| window == b"\r\n\r\n").unwrap_or(answer.len());
    let head = String::from_utf8_lossy(&answer[..head_end]).into_owned();
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    let body = answer.get(head_end + 4..).unwrap_or_default().to_vec();
    (status, head, body)
}

/// `POST path` with a body.
#[must_use]
pub fn post(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, Vec<u8>) {
    let (status, _, body) = post_for_head(address, path, headers, body);
    (status, body)
}

/// As `post`, with the head of the answer in between.
#[must_use]
pub fn post_for_head(address: SocketAddr, path: &str, headers: &[(&str, &str)], body: &[u8]) -> (u16, String, Vec<u8>) {
    let mut head =
        format!("POST {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-length: {}\r\n", body.len());
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    head.push_str("\r\n");
    http_exchange(address, &head, body)
}

/// Span ids by trace id in a file of OTLP JSON lines; fails on a span that appears twice.
#[must_use]
pub fn kept(file: &Path) -> BTreeMap<String, Vec<String>> {
    let (traces, again) = kept_at_least_once(file);
    assert!(again.is_empty(), "spans {again:?} are there twice");
    traces
}

/// Span ids by trace id in a file of OTLP JSON lines, and those that were there already.
#[must_use]
pub fn kept_at_least_once(file: &Path) -> (BTreeMap<String, Vec<String>>, Vec<String>) {
    let mut again = Vec::new();
    let mut seen = HashSet::new();
    let mut traces: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let text = std::fs::read_to_string(file).unwrap_or_default();
    for line in text.lines() {
        let request: Value = serde_json::from_str(line).unwrap();
        for resource in request["resourceSpans"].as_array().unwrap_or(&Vec::new()) {
            for scope in resource["scopeSpans"].as_array().unwrap() {
                for span in scope["spans"].as_array().unwrap() {
                    let id = |key: &str| span[key].as_str().unwrap().to_string();
                    let spans = traces.entry(id("traceId")).or_default();
                    if seen.insert((id("traceId"), id("spanId"))) {
                        spans.push(id("spanId"));
                    } else {
                        again.push(id("spanId"));
                    }
                }
            }
        }
    }
    for spans in traces.values_mut() {
        spans.sort_unstable();
    }
    (traces, again)
}
