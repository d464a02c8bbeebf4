//! `tailwater explain`: asks a running node why a trace was kept or dropped, and prints it for a person.

use super::{lasting, trace_id};
use crate::terminal::{print, say};
use serde_json::Value;
use std::fmt::Write as _;
use std::io::{Read, Write};
use std::net::{SocketAddr, TcpStream, ToSocketAddrs};
use std::process::ExitCode;
use std::time::Duration;

/// The node can't be asked: `EX_UNAVAILABLE` of sysexits.h.
const EXIT_UNAVAILABLE: u8 = 69;
/// The id is none: `EX_USAGE`.
const EXIT_USAGE: u8 = 64;
/// The node knows nothing of the trace.
const EXIT_UNKNOWN: u8 = 1;
/// A node that is there answers at once.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// A busy one within seconds.
const ANSWER_TIMEOUT: Duration = Duration::from_secs(10);
/// An answer is a few kilobytes, more with many policies.
const ANSWER_BYTES_MAX: u64 = 16 << 20;

/// Asks the node at `endpoint` and prints what it says.
pub fn run(id: &str, endpoint: &str, json: bool) -> ExitCode {
    let id = id.to_ascii_lowercase();
    if trace_id(&id).is_none() {
        say(&format!("{id:?} is no trace id; give 32 hexadecimal digits"));
        return ExitCode::from(EXIT_USAGE);
    }
    let exchange = Exchange {
        method: "GET",
        path: &format!("/api/v1/traces/{id}"),
        timeout: ANSWER_TIMEOUT,
        bytes_max: ANSWER_BYTES_MAX,
    };
    let (status, body) = match ask(endpoint, &exchange) {
        Ok(answer) => answer,
        Err(error) => {
            say(&format!(
                "no node answers at {endpoint}: {error}; give the address of its admin endpoint with --admin-endpoint, \
                and see whether it runs with `tailwater doctor`"
            ));
            return ExitCode::from(EXIT_UNAVAILABLE);
        }
    };
    let Ok(said) = serde_json::from_str::<Value>(&body) else {
        say(&format!(
            "{endpoint} is no admin endpoint of tailwater: it answers {status}; see admin.endpoint of the node"
        ));
        return ExitCode::from(EXIT_UNAVAILABLE);
    };
    if json {
        print(&format!("{said}\n"));
    }
    if let Some(error) = said["error"].as_str() {
        if !json {
            say(&format!("{id}: {error}; {}", said["remedy"].as_str().unwrap_or_default()));
        }
        return ExitCode::from(EXIT_UNKNOWN);
    }
    if !json {
        // With several pipelines, one after the other.
        match said["pipelines"].as_array() {
            Some(each) => each.iter().for_each(|said| print(&for_people(said))),
            None => print(&for_people(&said)),
        }
    }
    ExitCode::SUCCESS
}

/// What is asked of an admin endpoint.
pub struct Exchange<'a> {
    /// The method; nothing has a body.
    pub method: &'static str,
    /// The path with its query.
    pub path: &'a str,
    /// How long the node may take to answer.
    pub timeout: Duration,
    /// Most bytes of the answer.
    pub bytes_max: u64,
}

/// One exchange over HTTP/1.1; returns status and body.
///
/// # Errors
/// Why nobody answered, for a person.
pub fn ask(endpoint: &str, asked: &Exchange<'_>) -> Result<(u16, String), String> {
    let addresses: Vec<SocketAddr> = endpoint.to_socket_addrs().map_err(|error| error.to_string())?.collect();
    let mut failure = "the name has no address".to_string();
    for address in addresses {
        match exchange(address, endpoint, asked) {
            Ok(answer) => return Ok(answer),
            Err(error) => failure = error.to_string(),
        }
    }
    Err(failure)
}

fn exchange(address: SocketAddr, host: &str, asked: &Exchange<'_>) -> std::io::Result<(u16, String)> {
    let mut stream = TcpStream::connect_timeout(&address, CONNECT_TIMEOUT)?;
    stream.set_read_timeout(Some(asked.timeout))?;
    stream.set_write_timeout(Some(ANSWER_TIMEOUT))?;
    let Exchange { method, path, .. } = asked;
    write!(stream, "{method} {path} HTTP/1.1\r\nhost: {host}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n")?;
    let mut answer = Vec::new();
    stream.take(asked.bytes_max).read_to_end(&mut answer)?;
    let answer = String::from_utf8_lossy(&answer);
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0);
    Ok((status, body.to_string()))
}

fn for_people(said: &Value) -> String {
    let text = |key: &str| said[key].as_str().unwrap_or_default();
    let number = |key: &str| said[key].as_f64().unwrap_or(0.0);
    let long = |key: &str| lasting(Duration::try_from_secs_f64(number(key)).map_or(0, nanos));
    let mut out = String::new();
    let mut row = |name: &str, value: String| _ = writeln!(out, "  {name:<12} {value}");
    let policy = match (said["policy"].as_str(), said["sub_policy"].as_str()) {
        (Some(policy), Some(sub_policy)) => format!("{policy}, its sub-policy {sub_policy}"),
        (Some(policy), None) => policy.to_string(),
        (None, _) => "none".to_string(),
    };
    match (said["service"].as_str(), said["root_span"].as_str()) {
        (Some(service), Some(root)) => row("begins", format!("{root} of service {service}")),
        (Some(service), None) => row("begins", format!("in service {service}; no root span is known")),
        (None, Some(root)) => row("begins", format!("{root} of a service without a name")),
        (None, None) => {}
    }
    row("policy", policy);
    for condition in said["conditions"].as_array().into_iter().flatten().filter_map(Value::as_str) {
        row("held", condition.to_string());
    }
    row("why", text("why").to_string());
    if said["state"] == "pending" {
        let now = format!("{} if it were judged now", text("would_be"));
        row("verdict", format!("{now}; it will be in {}, if nothing else comes", long("judged_in_seconds")));
        row("came", format!("{} ago", long("age_seconds")));
    } else if said["judged"].is_string() {
        row("judged", format!("{}, {} ago: {}", text("judged"), long("age_seconds"), text("occasion")));
    }
    if said["generation"].is_number() {
        row("rules", format!("generation {}", said["generation"]));
    }
    if number("probability") < 1.0 && said["policy"].is_string() && said["threshold"].is_string() {
        let chance = format!("kept with a probability of {:.4}", number("probability"));
        row("chance", format!("{chance}: randomness {} is at least {}", text("randomness"), text("threshold")));
    }
    if let Some(evidence) = said["evidence"].as_object() {
        let part = |key: &str| evidence.get(key).cloned().unwrap_or_default();
        let statuses = part("status");
        let statuses: Vec<&str> = statuses.as_array().into_iter().flatten().filter_map(Value::as_str).collect();
        let root = if part("root_seen") == true { "with its root" } else { "without a root" };
        let duration = part("duration").as_str().unwrap_or_default().to_string();
        let size = format!("{} spans {root}, {} bytes, {duration}", part("spans"), part("bytes"));
        row("evidence", format!("{size}, status {}", statuses.join(", ")));
    }
    if said["parts"].is_array() {
        cluster_rows(said, &mut row);
    }
    for vote in said["votes"].as_array().into_iter().flatten() {
        let part = |key: &str| vote[key].as_str().unwrap_or_default();
        row("vote", format!("{:<9} {}", part("says"), part("policy")));
    }
    let within = said["pipeline"].as_str().map(|name| format!(" by pipeline {name}")).unwrap_or_default();
    format!("trace {}: {}{within}\n{out}", text("trace_id"), text("state"))
}

/// Who judged in the cluster, and where the spans lie.
fn cluster_rows(said: &Value, row: &mut impl FnMut(&str, String)) {
    let text = |value: &Value| value.as_str().unwrap_or_default().to_string();
    let owner = match (said["judged_by"].as_str(), said["owner"].as_str()) {
        (Some(judge), owner) if owner != Some(judge) => {
            format!("judged by {judge}; {} owns it now", owner.unwrap_or("nobody"))
        }
        (Some(judge), _) => format!("judged by {judge}, which owns it"),
        (None, owner) if said["state"] == "pending" => format!("{} is to judge it", owner.unwrap_or("nobody")),
        (None, owner) => {
            format!("{} owns it; who judged it does not answer or has forgotten why", owner.unwrap_or("nobody"))
        }
    };
    row("node", owner);
    for part in said["parts"].as_array().into_iter().flatten() {
        let spans = match part["spans"].as_u64() {
            Some(0) => continue,
            Some(1) => "1 span".to_string(),
            Some(spans) => format!("{spans} spans"),
            None => "spans if any, forgotten how many".to_string(),
        };
        row("lies on", format!("{}: {spans}, {}", text(&part["node"]), text(&part["state"])));
    }
    for node in said["silent"].as_array().into_iter().flatten() {
        row("silent", format!("{} did not answer", text(node)));
    }
}

fn nanos(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn a_person_reads_what_decided() {
        let said = json!({
            "trace_id": "0102", "state": "kept", "policy": "sample", "sub_policy": null, "why": "a policy sampled it",
            "judged": "2026-01-02T03:04:05Z", "age_seconds": 1.25, "occasion": "its wait was over", "generation": 2,
            "service": "shop", "root_span": "GET /", "conditions": ["latency: {threshold_ms: 1000}"],
            "threshold": "f", "probability": 0.0625, "randomness": "f8000000000000",
            "evidence": { "spans": 3, "bytes": 99, "duration": "500 ms", "status": ["unset"], "root_seen": false },
        });
        let text = for_people(&said);
        for part in [
            "trace 0102: kept",
            "sample",
            "generation 2",
            "0.0625",
            "3 spans without a root",
            "1.25 s ago",
            "500 ms",
            "GET / of service shop",
            "held         latency: {threshold_ms: 1000}",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("vote") && !text.contains("lies on"));
        let mut said = said;
        said["pipeline"] = "errors".into();
        assert!(for_people(&said).starts_with("trace 0102: kept by pipeline errors\n"));
    }
    #[test]
    fn a_person_reads_where_the_spans_lie() {
        let part = |node: &str, spans: Value| json!({ "node": node, "state": "kept", "spans": spans });
        let mut said = json!({
            "trace_id": "0102", "state": "kept", "policy": "sample", "judged_by": "0a", "owner": "0a",
            "parts": [part("0a", json!(0)), part("0b", json!(2)), part("0c", json!(1)), part("0d", Value::Null)],
            "silent": ["0e"],
        });
        let text = for_people(&said);
        for part in [
            "judged by 0a, which owns it",
            "lies on      0b: 2 spans, kept",
            "0c: 1 span, kept",
            "0d: spans if any",
            "0e did not answer",
        ] {
            assert!(text.contains(part), "{part} is not in\n{text}");
        }
        assert!(!text.contains("0a: "), "nothing lies there\n{text}");
        said["owner"] = "0f".into();
        assert!(for_people(&said).contains("judged by 0a; 0f owns it now"));
        (said["judged_by"], said["state"]) = (Value::Null, "pending".into());
        assert!(for_people(&said).contains("0f is to judge it"));
    }
}
