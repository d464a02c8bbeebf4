//! What was found, as OTLP/JSON, with what a person has to know of it.

use super::Question;
use crate::log_tool::moment::rfc3339;
use serde_json::{Value, json};
use std::collections::{BTreeMap, BTreeSet};
use tailwater_engine::log::takers::Takers;
use tailwater_engine::reach_back::{Cut, Gathered, Received, TracePart};
use tailwater_engine::vocabulary::TraceId;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::json::from_protobuf;

/// A trace that was found.
#[derive(Debug, Default)]
pub struct FoundTrace {
    /// When the first request with spans of it was received, nanoseconds since 1970.
    pub received_unix_nano: u64,
    /// Spans.
    pub spans: u64,
    /// Requests with those, oldest first: when they were received, the pipelines that took them, and what they say.
    pub bodies: Vec<(u64, Takers, Vec<u8>)>,
}

impl FoundTrace {
    /// When the first of its spans was received that a pipeline took.
    pub fn received_by(&self, pipeline: usize) -> Option<u64> {
        self.bodies.iter().find(|(_, takers, _)| takers.has(pipeline)).map(|(received, ..)| *received)
    }
}

/// What was found.
#[derive(Debug, Default)]
pub struct Found {
    /// Traces.
    pub traces: BTreeMap<TraceId, FoundTrace>,
    /// Why there may be more.
    pub cuts: BTreeSet<Cut>,
    /// Segments of the log that were read.
    pub segments: u64,
    /// Bytes that were read.
    pub bytes: u64,
    parts: Vec<Received>,
}

impl Found {
    /// What one log has given.
    pub fn add(&mut self, gathered: &mut Gathered) {
        self.segments += gathered.segments;
        self.bytes += gathered.bytes;
        // Where there are more bytes than an answer takes, fewer traces are asked for.
        self.cuts.extend(gathered.cut.filter(|cut| *cut != Cut::Bytes));
        self.parts.append(&mut gathered.parts);
    }

    /// Forgets what was given of traces: fewer are asked for.
    pub fn begin_again(&mut self) {
        self.parts.clear();
    }

    /// All logs have given what they have: puts the parts of each trace together.
    pub fn finish(mut self) -> Self {
        let mut parts = std::mem::take(&mut self.parts);
        parts.sort_by_key(|received| received.unix_nano);
        for Received { unix_nano: received_unix_nano, takers, part } in parts {
            let TracePart { trace_id, body, spans } = part;
            let empty = || FoundTrace { received_unix_nano, ..FoundTrace::default() };
            let trace = self.traces.entry(trace_id).or_insert_with(empty);
            trace.spans += u64::from(spans);
            trace.bodies.push((received_unix_nano, takers, body));
        }
        self
    }

    /// Spans of all traces.
    pub fn spans(&self) -> u64 {
        self.traces.values().map(|trace| trace.spans).sum()
    }

    /// What a person has to know of it.
    pub fn told(&self, question: &Question) -> Value {
        let time = |unix_nano: u64| match unix_nano {
            0 | u64::MAX => Value::Null,
            known => rfc3339(known).into(),
        };
        let first = self.traces.values().map(|trace| trace.received_unix_nano).min();
        let cut: Vec<&str> = self.cuts.iter().map(|cut| why(*cut)).collect();
        json!({
            "traces": self.traces.len(),
            "spans": self.spans(),
            "from": time(question.times.0),
            "to": time(question.times.1),
            "first_received": time(first.unwrap_or(0)),
            "cut": if cut.is_empty() { Value::Null } else { cut.join("; ").into() },
            "segments_read": self.segments,
            "bytes_read": self.bytes,
        })
    }

    /// One line of OTLP/JSON, with what is told beside the spans.
    pub fn otlp_json(&self, question: &Question) -> Vec<u8> {
        const BEGIN: &[u8] = b"{\"resourceSpans\":[";
        const END: &[u8] = b"]}";
        let mut out = BEGIN.to_vec();
        let mut line = Vec::new();
        for (.., body) in self.traces.values().flat_map(|trace| &trace.bodies) {
            line.clear();
            // What cannot be written was never accepted.
            let written = from_protobuf(Signal::Traces, body, &mut line).ok();
            let inner = written.and_then(|()| line.strip_prefix(BEGIN)?.strip_suffix(END));
            if let Some(inner) = inner.filter(|inner| !inner.is_empty()) {
                if out.len() > BEGIN.len() {
                    out.push(b',');
                }
                out.extend_from_slice(inner);
            }
        }
        out.extend_from_slice(format!("],\"recall\":{}}}\n", self.told(question)).as_bytes());
        out
    }
}

/// What is said where nothing was found of traces that were named.
pub fn not_in_log(found: &Found, question: &Question) -> Value {
    json!({
        "error": "nothing of it is in the log of this node",
        "remedy": "it never came here, or its segment of the log is gone: see wal.reach_back; in a cluster ask the others, too",
        "recall": found.told(question),
    })
}

fn why(cut: Cut) -> &'static str {
    match cut {
        Cut::Limit => "there are more traces than limit; ask for a shorter time or raise it",
        Cut::Bytes => "there is more than an answer takes; ask for a shorter time or a lower limit",
        Cut::Time => "reading took too long, so that traces may be missing or lack spans; ask for a shorter time",
    }
}

/// An id as people write it.
pub fn shown(trace_id: &TraceId) -> String {
    trace_id.iter().map(|byte| format!("{byte:02x}")).collect()
}
