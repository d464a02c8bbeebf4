//! Scenarios with what the Collector kept of them, in a file: compressed lines of JSON, a header and one scenario a line.

use super::{KeptSpan, Request, Scenario, from_hexadecimal, hexadecimal};
use flate2::Compression;
use flate2::read::GzDecoder;
use flate2::write::GzEncoder;
use serde_json::{Value, json};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

/// The version that was recorded; the directory's name, too.
pub const COLLECTOR_VERSION: &str = "v0.161.0";

/// A scenario and what the Collector kept of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Recorded {
    /// What was sent.
    pub scenario: Scenario,
    /// What came out, sorted.
    pub kept: Vec<KeptSpan>,
}

/// Where recordings are in the tree.
#[must_use]
pub fn directory() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/conformance/recorded")
}

/// Writes a file.
///
/// # Panics
/// When it can't be written.
pub fn write(path: &Path, all: &[Recorded]) {
    let mut encoder = GzEncoder::new(std::fs::File::create(path).unwrap(), Compression::best());
    let header = json!({"collector": COLLECTOR_VERSION, "scenarios": all.len()});
    writeln!(encoder, "{header}").unwrap();
    for recorded in all {
        writeln!(encoder, "{}", to_json(recorded)).unwrap();
    }
    encoder.finish().unwrap();
}

/// Reads a file.
///
/// # Panics
/// When it is none, or of another version.
#[must_use]
pub fn read(path: &Path) -> Vec<Recorded> {
    let mut text = String::new();
    GzDecoder::new(std::fs::File::open(path).unwrap()).read_to_string(&mut text).unwrap();
    let mut lines = text.lines();
    let header: Value = serde_json::from_str(lines.next().unwrap()).unwrap();
    assert_eq!(header["collector"], COLLECTOR_VERSION, "{}", path.display());
    let all: Vec<Recorded> = lines.map(|line| from_json(&serde_json::from_str(line).unwrap())).collect();
    assert_eq!(header["scenarios"], all.len(), "{}", path.display());
    all
}

fn to_json(recorded: &Recorded) -> Value {
    let requests = recorded.scenario.requests.iter();
    json!({
        "name": recorded.scenario.name,
        "processor": recorded.scenario.processor,
        "requests": requests
            .map(|request| json!({"late": request.is_late, "body": hexadecimal(&request.body)}))
            .collect::<Vec<_>>(),
        "kept": recorded.kept.iter()
            .map(|span| json!([span.trace_id, span.span_id, format!("{:016x}", span.hash)]))
            .collect::<Vec<_>>(),
    })
}

fn from_json(value: &Value) -> Recorded {
    let text = |value: &Value| value.as_str().unwrap().to_string();
    let requests = value["requests"].as_array().unwrap().iter().map(|request| Request {
        is_late: request["late"].as_bool().unwrap(),
        body: from_hexadecimal(&text(&request["body"])).unwrap().into(),
    });
    let kept = value["kept"].as_array().unwrap().iter().map(|span| KeptSpan {
        trace_id: text(&span[0]),
        span_id: text(&span[1]),
        hash: u64::from_str_radix(&text(&span[2]), 16).unwrap(),
    });
    Recorded {
        scenario: Scenario {
            name: text(&value["name"]),
            processor: value["processor"].clone(),
            requests: requests.collect(),
        },
        kept: kept.collect(),
    }
}
