//! Many long traces at once, far more than memory may hold: their bytes are in the log only until the last span says that
//! they are kept. `TAILWATER_COLD_SPANS=20000` makes them as long as traces get.

use super::load::{Generator, Setting, Sink};
use super::spans::{large_span, send};
use super::{ERRORS, EXPORTED, Metrics, RUNTIMES, address, all, is_settled, number, stop, sum};
use std::cell::Cell;
use std::collections::BTreeMap;
use tailwater_tests::process::Tailwater;
use tempfile::TempDir;

const TRACES: u64 = 100;
/// Spans of a trace in the short form.
const SPANS: u64 = 1000;
const COLD: &str = "tailwater_cold_spans_total";

fn buffered(metrics: &Metrics) -> f64 {
    sum(metrics, "tailwater_buffer_bytes", "")
}

/// Sends 100 long traces at once and returns the most bytes that were buffered, and their bound.
fn long_traces_are_whole(runtime: &'static str, more: &[&str]) -> (f64, f64) {
    let spans = number("TAILWATER_COLD_SPANS").unwrap_or(SPANS);
    let (grpc, next_hop) = (address(), address());
    let setting = Setting::new(grpc, next_hop, runtime);
    let node = Tailwater::start(&all(&[&setting.flags(), &["--sampling-inactivity-timeout", "4s"], more]));
    let files = TempDir::new().unwrap();
    let (traces, spans_each) = (TRACES.to_string(), spans.to_string());
    let load = ["--traces", &traces, "--spans-per-trace", &spans_each, "--keep-share", "1", "--services", "4"];
    let load = all(&[&load, &["--runtime", "epoll", "--span-bytes", "400", "--spans-per-request", "25000"]]);
    let generator = Generator::start(grpc, files.path(), &load);
    let sink = Sink::start(next_hop, &[&generator.expected]);
    let most = Cell::new(0.0f64);
    node.until(|metrics| {
        most.set(most.get().max(buffered(metrics)));
        metrics[EXPORTED] == (TRACES * spans) as f64
    });
    generator.end();
    node.until(is_settled);
    let metrics = node.metrics();
    assert!(metrics[COLD] > 0.0 && sum(&metrics, "tailwater_items_dropped_total", "spans") == 0.0, "{metrics:?}");
    let limit = sum(&metrics, "tailwater_buffer_limit_bytes", "");
    stop(node);
    let judgement = sink.judge();
    assert_eq!((&judgement["whole"], &judgement["spans"]), (&TRACES.into(), &(TRACES * spans).into()), "{judgement}");
    eprintln!("{} of {limit} bytes were buffered at most, {} spans were cold", most.get(), metrics[COLD]);
    (most.get(), limit)
}

#[test]
fn cold_by_age_on_uring() {
    long_traces_are_whole(RUNTIMES[0], &["--cold-after", "200ms", "--sampling-max-trace-duration", "1h"]);
}

#[test]
fn cold_by_age_on_epoll() {
    long_traces_are_whole(RUNTIMES[1], &["--cold-after", "200ms", "--sampling-max-trace-duration", "1h"]);
}

#[test]
fn cold_by_memory() {
    let small = ["--memory-bytes-max", "160MiB", "--memory-receive-bytes-max", "32MiB"];
    let few = ["--otlp-grpc-request-bytes-max", "12MiB", "--otlp-http-request-bytes-max", "1MiB"];
    let queue = ["--exporters-otlp-queue-bytes-max", "8MiB", "--sampling-num-traces", "10000"];
    let cache = ["--sampling-decision-cache-sampled-cache-size", "1000"];
    let other = ["--sampling-decision-cache-non-sampled-cache-size", "1000"];
    let (most, limit) = long_traces_are_whole(RUNTIMES[0], &all(&[&small, &few, &queue, &cache, &other]));
    assert!(most <= limit, "{most} of {limit} bytes were buffered");
}

/// What is read again is what was received, and follows a kill too.
#[test]
fn cold_spans_come_back_as_they_were() {
    let flags = ["--cold-after", "50ms", "--sampling-decision-wait", "10m", "--sampling-policies", ERRORS];
    let node = Tailwater::start(&flags);
    let mut expected = BTreeMap::new();
    for part in 0..20 {
        for trace in 1..=10 {
            let spans = (part * 20..(part + 1) * 20).map(|number| {
                let mut span = large_span(trace, number, number == 399 && trace % 2 == 0, 50);
                span.name = format!("{trace} {number} {}", "x".repeat(usize::try_from(number).unwrap()));
                expected.insert((trace, number), span.name.clone());
                span
            });
            send(node.http, spans.collect());
        }
    }
    node.until(|metrics| metrics[COLD] > 3000.0);
    let node = Tailwater::start_in(node.crash(), &flags);
    node.until(|metrics| metrics[COLD] > 3000.0);
    let directory = stop(node);
    let text = std::fs::read_to_string(directory.path().join("kept.jsonl")).unwrap();
    let mut names: Vec<String> = Vec::new();
    for line in text.lines() {
        let request: serde_json::Value = serde_json::from_str(line).unwrap();
        for resource in request["resourceSpans"].as_array().unwrap() {
            for span in resource["scopeSpans"].as_array().unwrap().iter().flat_map(|s| s["spans"].as_array().unwrap()) {
                names.push(span["name"].as_str().unwrap().to_string());
            }
        }
    }
    names.sort_unstable();
    let mut wanted: Vec<_> =
        expected.into_iter().filter(|((trace, _), _)| trace % 2 == 0).map(|(_, name)| name).collect();
    wanted.sort_unstable();
    assert_eq!(names.len(), wanted.len());
    assert!(names == wanted, "what came is not what was sent");
}
