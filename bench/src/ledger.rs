//! What came out of a sampler, trace by trace, and whether that is what had to come out.

mod beside;
mod expectation;
mod json_lines;
mod seen;

use crate::walk::SpanFacts;
use ahash::RandomState;
use std::collections::HashMap;

pub use beside::{Beside, Seen};
pub use expectation::{Expectation, ExpectationError};
pub use json_lines::{JsonLineError, record_json};
pub use seen::{read_seen, write_seen};

/// Traces remembered at most, about 4 GB; spans of further ones are counted as overflow and the judgement fails.
const TRACES_MAX: usize = 32 << 20;
/// Spans of one trace remembered at most; further ones count as duplicates.
const SPANS_MAX: usize = 100_000;

/// What came of one trace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct TraceRecord {
    /// ids of its spans, each once
    pub spans: Vec<u64>,
    /// how many it should have, as its spans say
    pub expected: u64,
    /// why it must be kept, as its spans say; empty if it need not be
    pub keep: String,
    /// spans that came again
    pub duplicates: u64,
}

impl TraceRecord {
    /// Whether all spans have come. A trace without the generator's marks is taken as it is.
    #[must_use]
    pub fn is_whole(&self) -> bool {
        self.expected == 0 || self.spans.len() as u64 == self.expected
    }
}

/// All traces that came.
#[derive(Clone, Debug)]
pub struct Ledger {
    traces: HashMap<u128, TraceRecord, RandomState>,
    spans: u64,
    overflow: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        // The ids are our own generator's: no key is needed to defend the table.
        Self { traces: HashMap::with_hasher(RandomState::with_seeds(5, 6, 7, 8)), spans: 0, overflow: 0 }
    }
}

impl Ledger {
    /// Notes a span.
    pub fn record(&mut self, facts: &SpanFacts<'_>) {
        self.spans += 1;
        if self.traces.len() >= TRACES_MAX && !self.traces.contains_key(&facts.trace) {
            self.overflow += 1;
            return;
        }
        let record = self.traces.entry(facts.trace).or_default();
        if record.spans.len() >= SPANS_MAX || record.spans.contains(&facts.span) {
            record.duplicates += 1;
            return;
        }
        record.spans.push(facts.span);
        record.expected = record.expected.max(facts.trace_spans);
        if record.keep.is_empty() && !facts.keep.is_empty() {
            record.keep = String::from_utf8_lossy(facts.keep).into_owned();
        }
    }

    /// Spans that came, duplicates included.
    #[must_use]
    pub const fn spans(&self) -> u64 {
        self.spans
    }

    /// Traces of which something came.
    #[must_use]
    pub fn traces(&self) -> usize {
        self.traces.len()
    }

    /// The record of a trace.
    #[must_use]
    pub fn get(&self, trace: u128) -> Option<&TraceRecord> {
        self.traces.get(&trace)
    }

    /// Compares what came with what had to come. Without an expectation only what came is judged: nothing partial, nothing
    /// twice.
    #[must_use]
    pub fn judge(&self, expectation: Option<&Expectation>) -> Judgement {
        let mut judgement = Judgement {
            spans: self.spans,
            traces: self.traces.len() as u64,
            overflow: self.overflow,
            demanded: expectation.map(|expectation| expectation.keep.len() as u64),
            ..Judgement::default()
        };
        for (trace, record) in &self.traces {
            judgement.duplicates.note(record.duplicates > 0, *trace, || format!("{} twice", record.duplicates));
            if expectation.is_some_and(|expectation| expectation.unsure.contains(trace)) {
                judgement.unsure += 1;
                continue;
            }
            let whole = record.is_whole();
            judgement.partial.note(!whole, *trace, || format!("{} of {} spans", record.spans.len(), record.expected));
            judgement.whole += u64::from(whole);
            *judgement.reasons.entry(record.keep.clone()).or_default() += 1;
        }
        for (trace, wanted) in expectation.into_iter().flat_map(|expectation| &expectation.keep) {
            // A partial one is listed already.
            let missing = !self.traces.contains_key(trace);
            judgement.missing.note(missing, *trace, || format!("0 of {} spans, {}", wanted.spans, wanted.reason));
        }
        judgement
    }
}

/// Traces listed by id per kind of finding; all are counted.
const LISTED_MAX: usize = 20;

/// Findings of one kind.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Findings {
    /// how many
    pub count: u64,
    /// the first of them: trace id in hex and what is wrong
    pub listed: Vec<(String, String)>,
}

impl Findings {
    fn note(&mut self, found: bool, trace: u128, what: impl FnOnce() -> String) {
        if found {
            self.count += 1;
            if self.listed.len() < LISTED_MAX {
                self.listed.push((format!("{trace:032x}"), what()));
            }
        }
    }
}

/// The comparison's outcome.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Judgement {
    /// spans that came
    pub spans: u64,
    /// traces of which something came
    pub traces: u64,
    /// of these, with all their spans
    pub whole: u64,
    /// of these, such as nothing can be demanded of
    pub unsure: u64,
    /// traces that had to come; `None` without an expectation
    pub demanded: Option<u64>,
    /// traces that had to come and did not
    pub missing: Findings,
    /// traces of which only some spans came
    pub partial: Findings,
    /// traces of which a span came more than once
    pub duplicates: Findings,
    /// spans beyond what the ledger can remember
    pub overflow: u64,
    /// traces that came, by the reason they carry; the empty reason are those that needed not be kept
    pub reasons: std::collections::BTreeMap<String, u64>,
}

impl Judgement {
    /// Whether everything came out as it should. Duplicates may be allowed: OTLP delivers at least once.
    #[must_use]
    pub const fn is_clean(&self, allow_duplicates: bool) -> bool {
        self.missing.count == 0
            && self.partial.count == 0
            && self.overflow == 0
            && (allow_duplicates || self.duplicates.count == 0)
    }

    /// The outcome for people and for programs.
    #[must_use]
    pub fn line(&self, name: &str) -> crate::output::Line {
        use std::fmt::Write as _;
        let mut text = format!("received {} spans of {} traces, {} of them whole", self.spans, self.traces, self.whole);
        for (reason, count) in &self.reasons {
            let reason = if reason.is_empty() { "not marked to be kept" } else { reason };
            let _ = write!(text, "\n  {count:>9} {reason}");
        }
        if let Some(demanded) = self.demanded {
            let _ = write!(text, "\ndemanded {demanded} traces");
        }
        for (kind, findings) in [("missing", &self.missing), ("partial", &self.partial), ("twice", &self.duplicates)] {
            let _ = write!(text, "\n{kind:<8} {} traces", findings.count);
            for (trace, what) in &findings.listed {
                let _ = write!(text, "\n  {trace} {what}");
            }
        }
        if self.overflow > 0 {
            let _ = write!(text, "\noverflow {} spans of traces beyond what can be remembered", self.overflow);
        }
        let listed = |findings: &Findings| serde_json::json!({ "count": findings.count, "listed": findings.listed });
        let json = serde_json::json!({
            "summary": name, "spans": self.spans, "traces": self.traces, "whole": self.whole, "unsure": self.unsure,
            "demanded": self.demanded, "missing": listed(&self.missing), "partial": listed(&self.partial),
            "duplicates": listed(&self.duplicates), "overflow": self.overflow, "reasons": self.reasons,
        });
        crate::output::Line { text, json }
    }
}

#[cfg(test)]
mod tests;
