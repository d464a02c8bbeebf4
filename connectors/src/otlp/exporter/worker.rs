//! The workers of an exporter: each takes requests off the queue and sends them until they are taken, refused for good, or
//! given up.

use super::backoff::Backoff;
use super::breaker::{Admission, Change};
use super::changes::either;
use super::counters::count;
use super::endpoint::{Attempt, Line, Outgoing};
use super::failure::{Failure, describe, kind, line};
use super::reports::Kind;
use super::{CALLS_PER_CONNECTION, Environment, Exporter, Job, WAIT_MIN};
use crate::otlp::response::PartialSuccess;
use bytes::Bytes;
use std::rc::Rc;
use std::time::Duration;
use tailwater_engine::host::ExportFate;
use tailwater_net::client::CallError;
use tailwater_net::compression::{Deflater, Encoding};

/// Fastest setting of each compressor: what is kept is compressed on the shard's own core.
const COMPRESSION_LEVEL: i32 = 1;
/// Requests below this many bytes go out uncompressed: the headers weigh more than what would be saved.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// What became of a request at this exporter.
pub(super) enum Outcome {
    /// So many items were taken, the rest was refused.
    Taken(u32),
    /// Nothing was taken.
    Refused(Refusal),
    /// It is given up for a reason that may pass.
    GivenUp(ExportFate),
}

/// Why a server takes nothing of a request, ever.
pub(super) enum Refusal {
    /// It is too large.
    TooLarge,
    /// Something else.
    Final,
}

/// What a worker has for itself.
pub(super) struct Lane {
    line: Line,
    deflater: Deflater,
    random: fastrand::Rng,
}

impl Exporter {
    /// One worker: takes requests off the queue and sends them, for ever. Give each worker another number.
    pub async fn work(self: Rc<Self>, worker: usize, environment: Rc<impl Environment>) {
        let mut lane = Lane {
            line: self.endpoints.line(worker / CALLS_PER_CONNECTION),
            deflater: Deflater::new(COMPRESSION_LEVEL),
            random: fastrand::Rng::with_seed(worker as u64),
        };
        while let Some(jobs) = self.queue.pop(self.merged).await {
            self.deliver(&mut lane, jobs, &*environment).await;
        }
    }

    fn compressed(&self, deflater: &mut Deflater, body: Bytes) -> (Encoding, Bytes) {
        if body.len() < COMPRESSED_BYTES_MIN || self.encoding == Encoding::Identity {
            return (Encoding::Identity, body);
        }
        match deflater.deflate(self.encoding, &body) {
            Ok(compressed) => (self.encoding, compressed),
            Err(_) => (Encoding::Identity, body),
        }
    }

    /// Sends one request of `job`'s kind until it is taken, refused for good or given up.
    pub(super) async fn send(
        &self,
        lane: &mut Lane,
        job: &Job,
        (body, items): (Bytes, u32),
        environment: &impl Environment,
    ) -> Outcome {
        let Lane { line, deflater, random } = lane;
        let (encoding, body) = self.compressed(deflater, body);
        let request = Outgoing { signal: job.signal, encoding, body };
        let mut backoff = Backoff::new(&self.retry, environment.now());
        let mut turns = 0;
        line.begin(&self.endpoints);
        loop {
            let Some(attempt) = self.admitted(line, job, &backoff, environment).await else {
                return self.given_up(job);
            };
            let outcome = line.call(&self.endpoints, &attempt, &request, self.timeout, &self.counters).await;
            let now = environment.now();
            let error = match outcome {
                Ok(partial) => {
                    self.book(&attempt, now, None);
                    self.reports.succeeded(&self.name, now);
                    return self.taken(items, request.body.len(), partial, now);
                }
                Err(error) => error,
            };
            let failure = Failure::of(&error, &self.retry.park_on);
            self.book(&attempt, now, Some((&error, failure)));
            if let Some(refused) = self.refused(job, &error, failure, now) {
                return refused;
            }
            // Nothing was sent: another server may have it at once.
            turns += 1;
            let is_elsewhere = matches!(error, CallError::Connect(_)) && turns < self.endpoints.servers(job.signal);
            if is_elsewhere && self.endpoints.outlook(job.signal, now) == Admission::Attempt {
                line.turn(&attempt, &error);
                continue;
            }
            turns = 0;
            let wait = if self.is_ending.get() { None } else { backoff.next(now, error.retry_after(), random) };
            // However long a server has been away, it is found soon after it is back.
            let longest = self.endpoints.probe_interval_max().max(error.retry_after().unwrap_or_default());
            let wait = wait.map(|wait| wait.min(longest));
            self.reports.failed(&self.name, kind(&error, failure), now, &self.told(&attempt, &error), wait);
            let Some(wait) = wait else { return self.given_up(job) };
            count(&self.counters.retries, 1);
            line.turn(&attempt, &error);
            // Where every breaker is open their pause is the wait: it is longer than what the server asked for, and a
            // server that is back is not kept waiting for the request.
            if self.endpoints.outlook(job.signal, environment.now()) == Admission::Attempt {
                environment.sleep(wait).await;
            }
        }
    }

    /// What becomes of a request that the server will not have, this one or ever.
    fn refused(&self, job: &Job, error: &CallError, failure: Failure, now: Duration) -> Option<Outcome> {
        let text = describe(error, self.timeout);
        match failure {
            Failure::Passing => None,
            Failure::TooLarge => {
                tracing::debug!(exporter = self.name, error = text, "a request is too large for the next hop");
                Some(Outcome::Refused(Refusal::TooLarge))
            }
            Failure::Parks if job.delivery.is_recoverable() => {
                self.reports.failed(&self.name, kind(error, failure), now, &text, None);
                Some(self.given_up(job))
            }
            Failure::Parks | Failure::Final => {
                count(&self.counters.requests_refused, 1);
                self.reports.failed(&self.name, kind(error, Failure::Final), now, &text, None);
                Some(Outcome::Refused(Refusal::Final))
            }
        }
    }

    /// An error with the server that it is of.
    fn told(&self, attempt: &Attempt, error: &CallError) -> String {
        format!("{}: {}", attempt.server(), describe(error, self.timeout))
    }

    /// Waits until a breaker lets the request through. `None` when it is to be given up: what can't be parked after its
    /// time, what can when the exporter ends and its servers are not back.
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
            let is_probed = self.endpoints.is_probed(job.signal);
            if self.is_ending.get() && !is_probed {
                return if is_recoverable { None } else { line.force(&self.endpoints, job.signal) };
            }
            if deadline.is_some_and(|deadline| deadline <= now) {
                return None;
            }
            let until = deadline.map_or(until, |deadline| deadline.min(until));
            either(environment.sleep(until.saturating_sub(now).max(WAIT_MIN)), changed).await;
        }
    }

    /// Books an attempt with the server's breaker. After a failure its name may have other addresses.
    fn book(&self, attempt: &Attempt, now: Duration, error: Option<(&CallError, Failure)>) {
        let server = attempt.server();
        if error.is_some_and(|(_, failure)| failure.is_of_server()) {
            self.lookups.notify();
        }
        match (self.endpoints.book(attempt, now, error), error) {
            (Change::None, _) => return,
            (Change::Opened, error) => {
                count(&self.counters.breaker_opened, 1);
                let error = error.map(|(error, _)| describe(error, self.timeout)).unwrap_or_default();
                let next = "left alone but for a probe now and then; other servers, if there are any, take its part";
                tracing::info!(exporter = self.name, server, error, next, "a server does not take what is sent");
            }
            (Change::Reopened, _) => tracing::debug!(exporter = self.name, server, "the server is not back yet"),
            (Change::Closed, _) => tracing::info!(exporter = self.name, server, "the server is back"),
        }
        self.changes.notify();
    }

    fn taken(&self, items: u32, bytes: usize, partial: Option<PartialSuccess>, now: Duration) -> Outcome {
        count(&self.counters.requests_delivered, 1);
        count(&self.counters.bytes_sent, bytes as u64);
        let Some(PartialSuccess { rejected, message }) = partial else { return Outcome::Taken(items) };
        if rejected == 0 {
            self.reports.warned(&self.name, now, &line(&message));
            return Outcome::Taken(items);
        }
        let text = format!("it refused {} of {items} items of a request: {}", rejected.min(items), line(&message));
        self.reports.failed(&self.name, Kind::RefusedInPart, now, &text, None);
        Outcome::Taken(items.saturating_sub(rejected))
    }

    fn given_up(&self, job: &Job) -> Outcome {
        let items = job.delivery.items();
        if job.delivery.is_recoverable() {
            count(&self.counters.requests_parked, 1);
            tracing::debug!(exporter = self.name, items, "a request stays in the log, to be sent again later");
        } else {
            count(&self.counters.requests_exhausted, 1);
            tracing::warn!(exporter = self.name, items, "a request was given up: its items are lost");
        }
        Outcome::GivenUp(if self.is_ending.get() { ExportFate::Shutdown } else { ExportFate::Exhausted })
    }
}
