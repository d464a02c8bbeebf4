//! `tailwater-load generate`: sends the corpus at a given rate or as fast as it is acknowledged, and accounts for every span.
//!
//! Open loop (`--rate`): each request has a time at which it should go out, and its latency counts from then, so that a
//! server that stalls is charged for the requests that had to wait (no coordinated omission). Without a rate, the next
//! request goes out when fewer than `--in-flight` are unanswered.

mod account;
mod beside;
mod bodies;
mod deliver;
mod expect;
mod lane;
mod options;
mod report;
mod rounds;
mod schedule;
mod worker;

use crate::output::Output;
use crate::process;
use account::Counters;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};
use tailwater_runtime::executor::{self, ExecutorOptions};
use tailwater_runtime::{affinity, probe};

pub use account::Account;
pub use expect::HEADER as EXPECT_HEADER;
pub use options::{GenerateOptions, Settings};
pub use report::Report;

/// Why a run could not be made or did not end well.
#[derive(Debug, thiserror::Error)]
pub enum GenerateError {
    /// an option has no possible meaning; nothing was sent
    #[error("{0}")]
    Option(String),
    /// a worker could not start, connect or go on
    #[error("{0}")]
    Worker(String),
    /// a file could not be written; the run itself took place
    #[error("cannot write {path}: {source}")]
    Write {
        /// the file
        path: String,
        /// the system's answer
        source: std::io::Error,
    },
}

/// What workers tell the main thread.
enum Message {
    /// templates are encoded and connections open
    Ready,
    /// all is sent and answered
    Done(Box<deliver::WorkerReport>),
    /// nothing more will come
    Failed(String),
}

/// Runs to the end, or until `stop` is set, and returns the report; progress goes to `output` each second.
///
/// # Errors
/// [`GenerateError`]; a refused span is not an error but counted in the report.
pub fn run(options: &GenerateOptions, output: &Output, stop: Arc<AtomicBool>) -> Result<Report, GenerateError> {
    let settings = Arc::new(options.settings()?);
    let counters = Arc::new(Counters { stop, ..Counters::default() });
    let (backend, _why) =
        probe::choose(options.runtime.into()).map_err(|error| GenerateError::Option(error.to_string()))?;
    let cores = match &options.core {
        Some(list) => affinity::parse_cores(list).map_err(|error| GenerateError::Option(error.to_string()))?,
        None => Vec::new(),
    };
    let (sender, receiver) = channel();
    let mut starts = Vec::new();
    let mut handles = Vec::new();
    for number in 0..settings.threads {
        let core = (!cores.is_empty()).then(|| cores[number % cores.len()]);
        let executor_options = ExecutorOptions { name: format!("load-{number}"), core, backend };
        let (start, started) = async_channel::bounded(1);
        let worker = worker::Worker {
            number: number as u64,
            settings: Arc::clone(&settings),
            counters: Arc::clone(&counters),
            started,
        };
        let sender = sender.clone();
        let handle = executor::start(executor_options, move || worker.run(sender))
            .map_err(|error| GenerateError::Worker(error.to_string()))?;
        starts.push(start);
        handles.push(handle);
    }
    drop(sender);
    wait_ready(&receiver, settings.threads)?;
    let cpu_before = process::cpu_seconds();
    let begin = Instant::now();
    for start in &starts {
        // A worker that has gone meanwhile has said so on its channel.
        let _ = start.try_send(tailwater_runtime::clock::monotonic_nanos());
    }
    let reports = watch(&receiver, settings.threads, begin, &counters, output)?;
    let report = Report::new(&settings, reports, begin.elapsed(), process::cpu_seconds() - cpu_before);
    for handle in handles {
        handle.join().map_err(|error| GenerateError::Worker(error.to_string()))?;
    }
    if let Some(path) = &options.expect_out {
        expect::write(path, &report)
            .map_err(|source| GenerateError::Write { path: path.display().to_string(), source })?;
    }
    Ok(report)
}

fn wait_ready(receiver: &Receiver<Message>, workers: usize) -> Result<(), GenerateError> {
    for _ in 0..workers {
        match receiver.recv() {
            Ok(Message::Ready) => {}
            Ok(Message::Failed(text)) => return Err(GenerateError::Worker(text)),
            Ok(Message::Done(_)) | Err(_) => return Err(GenerateError::Worker("a worker ended at once".to_owned())),
        }
    }
    Ok(())
}

/// A progress line each second until every worker has reported.
fn watch(
    receiver: &Receiver<Message>,
    workers: usize,
    begin: Instant,
    counters: &Counters,
    output: &Output,
) -> Result<Vec<deliver::WorkerReport>, GenerateError> {
    let mut reports = Vec::new();
    let mut acked_before = 0;
    let mut second = 1;
    while reports.len() < workers {
        let wait = (begin + Duration::from_secs(second)).saturating_duration_since(Instant::now());
        match receiver.recv_timeout(wait) {
            Ok(Message::Done(report)) => reports.push(*report),
            Ok(Message::Failed(text)) => return Err(GenerateError::Worker(text)),
            Ok(Message::Ready) => {}
            Err(RecvTimeoutError::Timeout) => {
                let acked = counters.acked.load(Ordering::Relaxed);
                output.progress(&counters.line(begin.elapsed(), acked - acked_before));
                acked_before = acked;
                second += 1;
            }
            Err(RecvTimeoutError::Disconnected) => {
                return Err(GenerateError::Worker("a worker ended without a report".to_owned()));
            }
        }
    }
    Ok(reports)
}

#[cfg(test)]
mod tests;
