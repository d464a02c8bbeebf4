//! `tailwater doctor`: tests this machine against the configuration, and the ways to the other nodes of a cluster, and names the
//! remedy for what is missing. Exit code 0
//! when all is well, 1 with warnings, 2 when `run` would fail or lose data.

mod disk;
mod peers;
mod probing;

pub use disk::Unfit;

use crate::blueprint::blueprint;
use crate::listening::{listening, why_taken};
use crate::machine;
use crate::sockets::resolve;
use crate::terminal::print;
use std::process::ExitCode;
use tailwater_config::{Config, Loaded, RuntimeChoice};
use tailwater_runtime::net::exclusive_port_probe;
use tailwater_runtime::{affinity, limits, probe};

/// How a check went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Health {
    /// Nothing to do.
    Good,
    /// It runs, but not as well as it could.
    Warning,
    /// It does not run, or not safely.
    Bad,
}

/// One check's outcome.
#[derive(Debug)]
pub struct Finding {
    /// What was checked.
    pub name: &'static str,
    /// How it went.
    pub health: Health,
    /// What was found.
    pub detail: String,
    /// What to do about it; empty when nothing.
    pub remedy: String,
}

impl Finding {
    fn good(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, health: Health::Good, detail: detail.into(), remedy: String::new() }
    }

    fn warning(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, health: Health::Warning, detail: detail.into(), remedy: remedy.into() }
    }

    fn bad(name: &'static str, detail: impl Into<String>, remedy: impl Into<String>) -> Self {
        Self { name, health: Health::Bad, detail: detail.into(), remedy: remedy.into() }
    }
}

/// Oldest kernel on which glommio runs, and the oldest on which io_uring is known to be sound.
const KERNEL_MIN: (u32, u32) = (5, 8);
const KERNEL_SOUND: (u32, u32) = (5, 15);
/// Open files below which a busy node may run out of connections.
const OPEN_FILES_MIN: u64 = 8192;

/// Runs all checks and prints them, or only those of other nodes, as beside a node that runs.
pub fn run(loaded: &Loaded, json: bool, only_peers: bool) -> ExitCode {
    let config = &loaded.config;
    let mut findings = Vec::new();
    if !only_peers {
        findings.extend([kernel(), io_uring(config), memlock(), open_files(), cores(config), memory(config)]);
        findings.extend(ports(config));
        findings.extend(disk::check(&config.node.data_directory));
    }
    findings.extend(peers::check(config));
    if findings.is_empty() {
        let remedy = "write cluster.listen, cluster.join and a key, as the nodes have them";
        findings.push(Finding::warning("peer", "no other node is named", remedy));
    }
    let worst = findings.iter().map(|finding| finding.health).max().unwrap_or(Health::Good);
    print(&if json { as_json(&findings) } else { as_text(&findings) });
    match worst {
        Health::Good => ExitCode::SUCCESS,
        Health::Warning => ExitCode::from(1),
        Health::Bad => ExitCode::from(2),
    }
}

fn word(health: Health) -> &'static str {
    match health {
        Health::Good => "ok",
        Health::Warning => "warn",
        Health::Bad => "FAIL",
    }
}

fn as_text(findings: &[Finding]) -> String {
    let mut text = String::new();
    for finding in findings {
        text.push_str(&format!("{:<5} {:<12} {}\n", word(finding.health), finding.name, finding.detail));
        if !finding.remedy.is_empty() {
            text.push_str(&format!("{:>19}{}\n", "-> ", finding.remedy));
        }
    }
    text
}

fn as_json(findings: &[Finding]) -> String {
    let checks = findings.iter().map(|finding| {
        serde_json::json!({
            "check": finding.name,
            "status": word(finding.health).to_lowercase(),
            "detail": finding.detail,
            "remedy": finding.remedy,
        })
    });
    format!("{}\n", serde_json::json!({ "checks": checks.collect::<Vec<_>>() }))
}

fn kernel() -> Finding {
    let release = std::fs::read_to_string("/proc/sys/kernel/osrelease").unwrap_or_default();
    let release = release.trim().to_string();
    let mut numbers = release.split(['.', '-']).map_while(|part| part.parse::<u32>().ok());
    let version = (numbers.next().unwrap_or(0), numbers.next().unwrap_or(0));
    if version >= KERNEL_SOUND {
        Finding::good("kernel", release)
    } else if version >= KERNEL_MIN {
        Finding::warning("kernel", release, "use 5.15 or later: older io_uring has known faults")
    } else {
        Finding::warning("kernel", release, "io_uring needs 5.8 or later; the epoll backend is used (--runtime epoll)")
    }
}

fn io_uring(config: &Config) -> Finding {
    match (probe::uring(), config.node.runtime) {
        (Ok(()), _) => Finding::good("io_uring", "allowed"),
        (Err(error), RuntimeChoice::Uring) => {
            Finding::bad("io_uring", error.to_string(), "allow it, or use --runtime auto")
        }
        (Err(error), _) => Finding::warning("io_uring", error.to_string(), "the epoll backend is used until then"),
    }
}

fn memlock() -> Finding {
    let limit = limits::current().memlock_bytes;
    let needed = limits::MEMLOCK_BYTES_MIN;
    let detail = limit.hard.map_or("unlimited".into(), |hard| format!("{} KiB", hard / 1024));
    if limit.hard.is_none_or(|hard| hard >= needed) {
        return Finding::good("memlock", detail);
    }
    let remedy = "raise it: LimitMEMLOCK=64M in the systemd unit, or --ulimit memlock=67108864 for a container";
    Finding::bad("memlock", format!("{detail}, io_uring needs {} KiB", needed / 1024), remedy)
}

fn open_files() -> Finding {
    let limit = limits::current().open_files;
    let detail = limit.hard.map_or("unlimited".into(), |hard| format!("{hard}"));
    if limit.hard.is_none_or(|hard| hard >= OPEN_FILES_MIN) {
        return Finding::good("open files", detail);
    }
    Finding::warning("open files", detail, "raise it: LimitNOFILE=1048576 in the systemd unit")
}

fn cores(config: &Config) -> Finding {
    let node = &config.node;
    match affinity::plan(node.shards, node.cores.as_deref(), node.gossip_core) {
        Ok(plan) => {
            let detail = format!("{} shards, {}", plan.cores.len(), plan.reason);
            if plan.cores.iter().all(Option::is_some) {
                Finding::good("cores", detail)
            } else {
                Finding::warning("cores", detail, "give whole cores (an integer CPU limit with the static CPU manager)")
            }
        }
        Err(error) => Finding::bad("cores", error.to_string(), "correct --cores"),
    }
}

fn memory(config: &Config) -> Finding {
    let machine = machine::memory_bytes() >> 20;
    match blueprint(config) {
        Ok(blueprint) => {
            let plan = blueprint.memory;
            let detail = format!(
                "{} MiB of {machine} MiB planned, {} MiB of it for pending traces",
                plan.total >> 20,
                plan.pending_bytes >> 20
            );
            if plan.total >> 20 <= machine {
                Finding::good("memory", detail)
            } else {
                Finding::bad("memory", detail, "lower --memory-bytes-max below what the machine has")
            }
        }
        Err(error) => Finding::bad("memory", error.to_string(), "correct the configuration"),
    }
}

fn ports(config: &Config) -> Vec<Finding> {
    let mut findings = Vec::new();
    for (key, endpoint) in listening(config) {
        let name = match key.as_str() {
            "admin.endpoint" => "admin port",
            key if key.ends_with("grpc.endpoint") => "grpc port",
            _ => "http port",
        };
        let addresses = match resolve(endpoint) {
            Ok(addresses) => addresses,
            Err(cause) => {
                findings.push(Finding::bad(name, cause, "correct the name, or write an IP address"));
                continue;
            }
        };
        findings.extend(addresses.into_iter().map(|address| match exclusive_port_probe(address) {
            Ok(()) => Finding::good(name, format!("{address} is free")),
            Err(error) => Finding::bad(name, why_taken(&error), error.remedy()),
        }));
    }
    findings
}
