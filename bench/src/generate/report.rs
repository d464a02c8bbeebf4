//! The summary of a run.

use super::account::{Account, Accounts, millis};
use super::deliver::WorkerReport;
use super::options::Settings;
use crate::corpus::plan::KeepReason;
use crate::output::Line;
use crate::visible::Visible;
use hdrhistogram::Histogram;
use serde_json::json;
use std::collections::BTreeMap;
use std::time::Duration;

/// What a run sent and how it was answered.
#[derive(Debug, Default)]
pub struct Report {
    /// spans handed to a connection, each once
    pub sent: u64,
    /// spans acknowledged
    pub acked: u64,
    /// spans given up
    pub refused: u64,
    /// spans that were due at the rate asked for and never sent, because the server had fallen behind by `--timeout`
    pub unsent: u64,
    /// spans sent whose traces went out at once although a spread was asked for, because too little was due
    pub together: u64,
    /// spans that acknowledged requests reported as rejected
    pub rejected: u64,
    /// spans sent again, each time counted
    pub retried: u64,
    /// requests acknowledged
    pub requests: u64,
    /// body bytes acknowledged, as sent
    pub body_bytes: u64,
    /// body bytes acknowledged, before compression
    pub body_bytes_plain: u64,
    /// mean size of a Span message, bytes
    pub span_bytes: f64,
    /// from the start to the last answer
    pub elapsed: Duration,
    /// CPU time of this process in that time, seconds
    pub cpu_seconds: f64,
    /// latencies of acknowledged requests, nanoseconds, from the intended time of sending
    pub latency: Option<Histogram<u64>>,
    /// traces began again with ids already used, because the pool of compressed bodies was used up
    pub ids_repeated: bool,
    /// bodies that had to be copied from their template
    pub copies: u64,
    /// traces that must be kept and whose spans were all acknowledged
    pub must_keep: Vec<(u128, KeepReason)>,
    /// traces that must be kept of which some span was not acknowledged
    pub unsure: Vec<u128>,
    /// spans of each trace
    pub spans_per_trace: u16,
    /// the first error that a server answered with, if there was one
    pub first_error: Option<String>,
    /// seed of the run
    pub seed: u64,
    /// logs and metrics, by signal and service
    pub beside: Accounts,
    /// what can be told apart in all that was acknowledged; empty unless it was asked for
    pub visible: Visible,
}

impl Report {
    /// Adds the workers' reports up.
    #[must_use]
    pub fn new(settings: &Settings, workers: Vec<WorkerReport>, elapsed: Duration, cpu_seconds: f64) -> Self {
        let mut report = Self {
            elapsed,
            cpu_seconds,
            spans_per_trace: settings.corpus.spans_per_trace,
            seed: settings.corpus.seed,
            ..Self::default()
        };
        for worker in workers {
            report.sent += worker.sent;
            report.acked += worker.acked;
            report.refused += worker.refused;
            report.unsent += worker.unsent;
            report.together += worker.together;
            report.rejected += worker.rejected;
            report.retried += worker.retried;
            report.requests += worker.requests;
            report.body_bytes += worker.body_bytes;
            report.body_bytes_plain += worker.body_bytes_plain;
            report.span_bytes = worker.span_bytes_mean;
            report.ids_repeated |= worker.ids_repeated;
            report.copies += worker.copies;
            report.must_keep.extend(worker.must_keep);
            report.unsure.extend(worker.unsure);
            report.first_error = report.first_error.or(worker.first_error);
            report.visible.merge(worker.visible);
            for (of, account) in worker.beside {
                report.beside.entry(of).or_default().add(account);
            }
            match &mut report.latency {
                None => report.latency = Some(worker.latency),
                Some(latency) => {
                    // Same bounds everywhere, so this cannot fail.
                    let _ = latency.add(&worker.latency);
                }
            }
        }
        report
    }

    /// A latency at this quantile, milliseconds.
    #[must_use]
    pub fn latency_ms(&self, quantile: f64) -> f64 {
        self.latency.as_ref().map_or(0.0, |latency| millis(latency.value_at_quantile(quantile)))
    }

    /// Acknowledged spans per second.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a rate needs no 53 bits")]
    pub fn spans_per_second(&self) -> f64 {
        self.acked as f64 / self.elapsed.as_secs_f64().max(1e-9)
    }

    /// CPU time of this process per acknowledged span, nanoseconds.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "a mean needs no 53 bits")]
    pub fn cpu_nanos_per_span(&self) -> f64 {
        self.cpu_seconds * 1e9 / (self.acked.max(1) as f64)
    }

    /// The summary for people and for programs.
    #[must_use]
    pub fn line(&self) -> Line {
        let [p50, p90, p99, p999] = [0.5, 0.9, 0.99, 0.999].map(|quantile| self.latency_ms(quantile));
        let max = self.latency.as_ref().map_or(0.0, |latency| millis(latency.max()));
        let mut text = format!(
            "spans    {} acked, {} refused, {} rejected, {} retried, of {} sent; {} due but not sent\n\
             rate     {:.0} spans/s over {:.2} s, {} requests, {} body bytes, {:.1} bytes per span message\n\
             latency  p50 {p50:.2} ms, p90 {p90:.2} ms, p99 {p99:.2} ms, p99.9 {p999:.2} ms, max {max:.2} ms\n\
             self     {:.2} CPU s, {:.0} ns per span\n\
             traces   {} must be kept whole, {} unsure (a request was given up); seed {}",
            self.acked,
            self.refused,
            self.rejected,
            self.retried,
            self.sent,
            self.unsent,
            self.spans_per_second(),
            self.elapsed.as_secs_f64(),
            self.requests,
            self.body_bytes,
            self.span_bytes,
            self.cpu_seconds,
            self.cpu_nanos_per_span(),
            self.must_keep.len(),
            self.unsure.len(),
            self.seed,
        );
        if self.together > 0 {
            text.push_str(&format!("\nspread   {} spans of traces that went out at once all the same", self.together));
        }
        for (signal, account) in self.by_signal() {
            let items = if signal == "logs" { "records" } else { "points" };
            text.push_str(&format!(
                "\n{signal:<8} {} {items} acked, {} refused, {} rejected, of {} sent, {} bytes; {} of traces, delta sums rose by {}",
                account.acked, account.refused, account.rejected, account.sent, account.bytes, account.of_traces, account.delta,
            ));
        }
        if self.ids_repeated {
            text.push_str(
                "\nnote     trace ids were used again: the pool of compressed bodies was used up (--pool-bytes)",
            );
        }
        if let Some(error) = &self.first_error {
            text.push_str(&format!("\nerror    first: {error}"));
        }
        Line {
            text,
            json: json!({
                "signals": self.signals(),
                "summary": "generate", "sent": self.sent, "acked": self.acked, "refused": self.refused,
                "unsent": self.unsent, "together": self.together, "rejected": self.rejected, "retried": self.retried, "requests": self.requests,
                "body_bytes": self.body_bytes, "body_bytes_plain": self.body_bytes_plain, "span_bytes": self.span_bytes, "seconds": self.elapsed.as_secs_f64(),
                "spans_per_second": self.spans_per_second(), "cpu_seconds": self.cpu_seconds,
                "cpu_ns_per_span": self.cpu_nanos_per_span(), "ids_repeated": self.ids_repeated,
                "body_copies": self.copies, "must_keep": self.must_keep.len(), "unsure": self.unsure.len(),
                "first_error": self.first_error, "seed": self.seed,
                "ack_ms": { "p50": p50, "p90": p90, "p99": p99, "p999": p999, "max": max },
            }),
        }
    }

    /// Logs and metrics, for programs.
    fn signals(&self) -> serde_json::Map<String, serde_json::Value> {
        self.by_signal()
            .map(|(signal, account)| {
                let own = self.beside.iter().filter(|((of, _), _)| *of == signal);
                let services: serde_json::Map<_, _> =
                    own.map(|((_, service), account)| (service.clone(), json!(account.acked))).collect();
                let told = json!({
                    "sent": account.sent, "acked": account.acked, "refused": account.refused, "rejected": account.rejected,
                    "bytes": account.bytes, "of_traces": account.of_traces, "delta": account.delta, "acked_by_service": services,
                });
                (signal.to_owned(), told)
            })
            .collect()
    }

    /// Logs and metrics, of all services.
    pub fn by_signal(&self) -> impl Iterator<Item = (&'static str, Account)> {
        let mut sums = BTreeMap::<&'static str, Account>::new();
        for ((signal, _), account) in &self.beside {
            sums.entry(signal).or_default().add(*account);
        }
        sums.into_iter()
    }

    /// True if something was sent and nothing was given up, rejected or left unsent.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        let beside = || self.beside.values();
        self.acked + beside().map(|account| account.acked).sum::<u64>() > 0
            && self.refused == 0
            && self.unsent == 0
            && self.rejected == 0
            && beside().all(|account| account.refused == 0 && account.rejected == 0)
    }
}
