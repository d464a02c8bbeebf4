//! The workers of an exporter: each takes a request off the queue and sends it until it is taken, refused for good, or
//! given up.

use super::backoff::Backoff;
use super::breaker::{Admission, Change};
use super::changes::either;
use super::counters::count;
use super::endpoint::{Attempt, Line, Outgoing};
use super::{CALLS_PER_CONNECTION, Environment, Exporter, Job, WAIT_MIN};
use crate::otlp::response::PartialSuccess;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::host::ExportFate;
use tailwater_net::client::CallError;
use tailwater_net::compression::{Deflater, Encoding};
use tailwater_proto::otlp::Signal;

/// Fastest setting of each compressor: what is kept is compressed on the shard's own core.
const COMPRESSION_LEVEL: i32 = 1;
/// Requests below this many bytes go out uncompressed: the headers weigh more than what would be saved.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// What became of a request at this exporter.
enum Outcome {
    /// So many items were delivered, the rest met that fate.
    Final(u32, ExportFate),
    /// It is given up for a reason that may pass.
    GivenUp(ExportFate),
}

impl Exporter {
    /// One worker: takes requests off the queue and sends them, for ever. Give each worker another number.
    pub async fn work(self: Rc<Self>, worker: usize, environment: Rc<impl Environment>) {
        let mut line = self.endpoints.line(worker / CALLS_PER_CONNECTION, worker);
        let mut deflater = Deflater::new(COMPRESSION_LEVEL);
        let mut random = fastrand::Rng::with_seed(worker as u64);
        while let Ok(job) = self.queue.1.recv().await {
            let (encoding, body) = self.compressed(&mut deflater, &job.body);
            let request = Outgoing { signal: job.signal, encoding, body };
            let outcome = self.send(&mut line, &job, &request, &mut random, &*environment).await;
            self.release(&job);
            let settlement = match outcome {
                Outcome::Final(delivered, fate) => job.delivery.report(delivered, fate),
                Outcome::GivenUp(fate) => job.delivery.give_up(job.destination, fate),
            };
            if let Some(settlement) = settlement {
                environment.settled(settlement);
            }
        }
    }

    fn compressed(&self, deflater: &mut Deflater, body: &Bytes) -> (Encoding, Bytes) {
        if body.len() < COMPRESSED_BYTES_MIN || self.encoding == Encoding::Identity {
            return (Encoding::Identity, body.clone());
        }
        match deflater.deflate(self.encoding, body) {
            Ok(compressed) => (self.encoding, compressed),
            Err(_) => (Encoding::Identity, body.clone()),
        }
    }

    /// Sends one request until it is taken, refused for good or given up.
    async fn send(
        &self,
        line: &mut Line,
        job: &Job,
        request: &Outgoing,
        random: &mut fastrand::Rng,
        environment: &impl Environment,
    ) -> Outcome {
        let items = job.delivery.items();
        let mut backoff = Backoff::new(&self.retry, environment.now());
        loop {
            let Some(attempt) = self.admitted(line, job, &backoff, environment).await else {
                return self.given_up(job, "every breaker is open");
            };
            let outcome = line.call(&self.endpoints, request, self.timeout, &self.counters).await;
            self.book(attempt, environment.now(), outcome.as_ref().err());
            let error = match outcome {
                Ok(answer) => return self.delivered(job.signal, items, request.body.len(), &answer),
                Err(error) => error,
            };
            if !error.is_retryable() {
                count(&self.counters.requests_refused, 1);
                tracing::warn!(exporter = self.name, items, error = %describe(&error), "the next hop refused a request");
                return Outcome::Final(0, ExportFate::Refused);
            }
            let wait =
                if self.is_ending.get() { None } else { backoff.next(environment.now(), error.retry_after(), random) };
            let Some(wait) = wait else { return self.given_up(job, &describe(&error)) };
            count(&self.counters.retries, 1);
            tracing::debug!(exporter = self.name, ?wait, error = %describe(&error), "a request is tried again");
            line.turn(&error);
            // Where every breaker is open their pause is the wait: it is longer than what the server asked for, and a
            // server that is back is not kept waiting for the request.
            if self.endpoints.outlook(job.signal, environment.now()) == Admission::Attempt {
                environment.sleep(wait).await;
            }
        }
    }

    /// Waits until a breaker lets the request through. `None` when it is to be given up: what can't be parked after its
    /// time, what can when the exporter ends.
    async fn admitted(
        &self,
        line: &mut Line,
        job: &Job,
        backoff: &Backoff,
        environment: &impl Environment,
    ) -> Option<Attempt> {
        let is_recoverable = job.delivery.is_recoverable();
        // A request that can be parked is kept instead, for the probes: the queue is full of its like, and others
        // that come are parked.
        let deadline = backoff.deadline().filter(|_| !is_recoverable);
        loop {
            let changed = self.changes.wait();
            let now = environment.now();
            let until = match line.admit(&self.endpoints, job.signal, now) {
                Ok(attempt) => return Some(attempt),
                Err(until) => until,
            };
            if self.is_ending.get() {
                return (!is_recoverable).then(|| line.force(&self.endpoints, job.signal));
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            either(environment.sleep(until.saturating_sub(now).max(WAIT_MIN)), changed).await;
        }
    }

    /// Books an attempt with the server's breaker.
    fn book(&self, attempt: Attempt, now: Duration, error: Option<&CallError>) {
        let server = self.endpoints.authority(attempt);
        match (self.endpoints.book(attempt, now, error), error) {
            (Change::None, _) => return,
            (Change::Opened, error) => {
                count(&self.counters.breaker_opened, 1);
                let error = error.map(describe).unwrap_or_default();
                tracing::warn!(exporter = self.name, server, error, "the server is left alone for a while");
            }
            (Change::Reopened, error) => {
                let error = error.map(describe).unwrap_or_default();
                tracing::debug!(exporter = self.name, server, error, "the server is not back yet");
            }
            (Change::Closed, _) => tracing::info!(exporter = self.name, server, "the server is back"),
        }
        self.changes.notify();
    }

    fn delivered(&self, signal: Signal, items: u32, bytes: usize, answer: &Bytes) -> Outcome {
        count(&self.counters.requests_delivered, 1);
        count(&self.counters.bytes_sent, bytes as u64);
        let Some(partial) = PartialSuccess::read(answer) else { return Outcome::Final(items, ExportFate::Delivered) };
        let (rejected, message) = (partial.rejected, partial.message);
        tracing::warn!(
            exporter = self.name,
            signal = signal.name(),
            rejected,
            message,
            "the next hop took a part of a request"
        );
        Outcome::Final(items.saturating_sub(rejected), ExportFate::Refused)
    }

    fn given_up(&self, job: &Job, error: &str) -> Outcome {
        let items = job.delivery.items();
        if job.delivery.is_recoverable() {
            count(&self.counters.requests_parked, 1);
            tracing::info!(exporter = self.name, items, error, "a request stays in the log, to be sent again later");
        } else {
            count(&self.counters.requests_exhausted, 1);
            tracing::warn!(exporter = self.name, items, error, "a request was given up");
        }
        Outcome::GivenUp(if self.is_ending.get() { ExportFate::Shutdown } else { ExportFate::Exhausted })
    }
}

/// An error with the server's own words, cut to a line.
fn describe(error: &CallError) -> String {
    let text = match error {
        CallError::Http { code, body, .. } => {
            format!("the server answered HTTP {code}: {}", String::from_utf8_lossy(&body[..body.len().min(200)]))
        }
        other => other.to_string(),
    };
    text.chars().map(|character| if character.is_control() { ' ' } else { character }).take(300).collect()
}
