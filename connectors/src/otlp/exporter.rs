//! Sends requests to the next hop: a bounded queue, workers that share connections, retries with exponential backoff
//! and jitter that honour what the server asks for, and a breaker for each server. One exporter a shard and configured
//! server; nothing here is shared between cores.
//!
//! A request all of whose items are in the log is never lost here for a reason that may pass: it is parked, and whoever
//! runs the exporter offers it again when `can_take_back` says so.

mod backoff;
mod breaker;
mod changes;
mod counters;
mod deliver;
mod endpoint;
mod failure;
mod names;
mod queue;
mod reports;
mod worker;

pub use breaker::{Admission, Breaker, BreakerState, Change};
pub use counters::Counters;
pub use endpoint::{EndpointError, Endpoints};
pub use reports::Reports;

use crate::delivery::{Delivery, Settlement};
use bytes::Bytes;
use changes::{Changes, either};
use counters::count;
use queue::Queue;
use std::cell::Cell;
use std::net::SocketAddr;
use std::rc::Rc;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::{MERGED_REQUEST_BYTES_MAX, OtlpExporter, Retry};
use tailwater_engine::host::{ExportFate, ExportRequest};
use tailwater_net::compression::Encoding;
use tailwater_proto::otlp::Signal;

/// Requests that may wait whatever their size: bounds the queue's own memory. Bytes are bounded by configuration.
/// At the bound: as where `exporters.otlp.queue_bytes_max` is used up; counted in
/// `tailwater_exporter_requests_queue_full_total`.
const QUEUE_LENGTH: usize = 16_384;
/// As the memory plan has it.
const CALLS_PER_CONNECTION: usize = tailwater_config::CALLS_PER_CONNECTION as usize;

/// A request waiting for a worker.
#[derive(Debug)]
struct Job {
    signal: Signal,
    body: Bytes,
    /// The exporter's number in the request's destinations.
    destination: usize,
    delivery: Rc<Delivery>,
}

/// How a worker waits and whom it tells. Implemented by whoever runs it.
pub trait Environment: 'static {
    /// Returns after that time.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
    /// The addresses of a host, looked up without holding up the executor; else why there are none.
    fn resolve(&self, host: &str, port: u16) -> impl Future<Output = Result<Vec<SocketAddr>, String>>;
    /// Monotonic time.
    fn now(&self) -> Duration;
    /// What became of a request.
    fn settled(&self, settlement: Settlement);
}

/// One configured server (or several that take turns), for one core.
#[derive(Debug)]
pub struct Exporter {
    name: String,
    endpoints: Endpoints,
    timeout: Duration,
    retry: Retry,
    encoding: Encoding,
    /// Small requests that wait are sent as one of at most so many items and bytes.
    merged: Merged,
    queue: Queue,
    /// Bytes queued or in flight.
    queue_bytes: Cell<usize>,
    /// Those of requests that are lost when they are given up.
    unlogged_bytes: Cell<usize>,
    /// Whether there ever were any of those: then half of the queue is theirs.
    has_unlogged: Cell<bool>,
    /// Whether what can't be parked is taken beyond the bound: the rest of a trace that was begun when there was room.
    is_lenient: Cell<bool>,
    queue_bytes_max: usize,
    connections: usize,
    is_ending: Cell<bool>,
    /// A breaker has changed, the queue has room again, or the end has come.
    changes: Changes,
    /// Names are to be looked up before their time.
    lookups: Changes,
    lookup_interval: Duration,
    /// What is told of failures, by all cores together.
    reports: Arc<Reports>,
    /// What happened here.
    pub counters: Counters,
}

/// The largest request that is made of several.
#[derive(Debug, Clone, Copy)]
struct Merged {
    items_max: u64,
    bytes_max: usize,
}

impl Exporter {
    /// The exporter of `settings` on one of `shards` cores.
    #[must_use]
    pub fn new(settings: &OtlpExporter, endpoints: Endpoints, shards: usize) -> Self {
        let queue_bytes_max = usize::try_from(settings.queue_bytes_max).unwrap_or(usize::MAX) / shards.max(1);
        Self {
            name: settings.name.clone(),
            endpoints,
            timeout: settings.attempt_duration_max(),
            retry: settings.retry.clone(),
            encoding: match settings.compression {
                tailwater_config::Compression::None => Encoding::Identity,
                tailwater_config::Compression::Gzip => Encoding::Gzip,
                tailwater_config::Compression::Zstd => Encoding::Zstd,
            },
            merged: Merged {
                items_max: settings.batch.spans_max,
                bytes_max: usize::try_from(settings.batch.bytes_max.min(MERGED_REQUEST_BYTES_MAX))
                    .unwrap_or(usize::MAX),
            },
            queue: Queue::new(QUEUE_LENGTH),
            queue_bytes: Cell::new(0),
            unlogged_bytes: Cell::new(0),
            has_unlogged: Cell::new(false),
            is_lenient: Cell::new(false),
            queue_bytes_max,
            connections: usize::try_from(settings.connections_per_shard).unwrap_or(1).max(1),
            is_ending: Cell::new(false),
            changes: Changes::new(),
            lookups: Changes::new(),
            lookup_interval: settings.lookup_interval,
            reports: Arc::default(),
            counters: Counters::default(),
        }
    }

    /// Tells of failures through `reports`, which the exporters of this name on all cores share.
    #[must_use]
    pub fn reporting_to(mut self, reports: Arc<Reports>) -> Self {
        self.reports = reports;
        self
    }

    /// Its name, as configured.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Bytes queued or in flight.
    #[must_use]
    pub fn queue_bytes(&self) -> usize {
        self.queue_bytes.get()
    }

    /// Where the breakers of its servers stand; the worst of them.
    #[must_use]
    pub fn breaker_state(&self) -> BreakerState {
        self.endpoints.worst_state()
    }

    /// Where the breaker of the best of its servers stands.
    #[must_use]
    pub fn best_state(&self) -> BreakerState {
        self.endpoints.best_state()
    }

    /// True when half of the queue is taken and requests that can't be parked are among them: their senders are to be
    /// held back before anything has to be dropped. What can be parked holds nobody back.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.queue_bytes.get() > self.queue_bytes_max / 2 && self.unlogged_bytes.get() > self.queue_bytes_max / 4
    }

    /// Whether what a verdict keeps now is taken: what can't be parked leaves half of the queue free. What can be parked
    /// waits in the log instead.
    #[must_use]
    pub fn has_room_for_verdicts(&self) -> bool {
        !self.has_unlogged.get() || (self.has_room() && self.queue.length() < QUEUE_LENGTH / 2)
    }

    /// Whether what can't be parked is taken beyond the queue's bound, so that a trace that was begun is sent whole.
    pub fn set_lenient(&self, is_lenient: bool) {
        self.is_lenient.set(is_lenient);
    }

    /// Whether it takes requests of this signal.
    #[must_use]
    pub fn takes(&self, signal: Signal) -> bool {
        self.endpoints.takes(signal)
    }

    /// Whether a parked request of this signal may be offered again: a server takes requests and less than half of the
    /// queue is taken, so that what comes fresh keeps its place. When all breakers are open and one is due for a probe,
    /// an empty queue takes one request back, as the probe.
    #[must_use]
    pub fn can_take_back(&self, signal: Signal, now: Duration) -> bool {
        match self.endpoints.outlook(signal, now) {
            // At the end too: what waits in the log gets its one attempt as well.
            Admission::Attempt => self.has_room(),
            Admission::Probe => {
                self.queue_bytes.get() == 0 && (!self.is_ending.get() || self.endpoints.is_to_be_asked(signal))
            }
            Admission::Wait(_) => false,
        }
    }

    fn has_room(&self) -> bool {
        self.queue_bytes.get() < self.queue_bytes_max.div_ceil(2)
    }

    /// Returns when `can_take_back` is true; of a server that is away not any more once the exporter has ended.
    pub async fn wait_to_take_back(&self, signal: Signal, environment: &impl Environment) {
        loop {
            let changed = self.changes.wait();
            let now = environment.now();
            if self.can_take_back(signal, now) {
                return;
            }
            match self.endpoints.outlook(signal, now) {
                Admission::Wait(until) if until < Duration::MAX => {
                    either(environment.sleep(until.saturating_sub(now).max(WAIT_MIN)), changed).await;
                }
                _ => changed.await,
            }
        }
    }

    /// Queues a request for this exporter, number `destination` of the request's destinations. When the queue is full the
    /// request is parked, or lost where it can't be; the settlement, if this was the last exporter, comes back at once.
    pub fn offer(&self, request: &ExportRequest, delivery: &Rc<Delivery>, destination: usize) -> Option<Settlement> {
        let bytes = request.body.len();
        let is_recoverable = delivery.is_recoverable();
        // A summary that finds no room is offered again: nothing else need make room for it.
        if !is_recoverable && !request.is_summary {
            self.has_unlogged.set(true);
        }
        let taken = self.queue_bytes.get();
        let fits = taken == 0 || taken.saturating_add(bytes) <= self.bound(is_recoverable);
        let job = Job { signal: request.signal, body: request.body.clone(), destination, delivery: delivery.clone() };
        if fits && self.queue.push(job) {
            count(&self.counters.requests_queued, 1);
            self.queue_bytes.set(taken + bytes);
            if !is_recoverable {
                self.unlogged_bytes.set(self.unlogged_bytes.get() + bytes);
            }
            return None;
        }
        count(if is_recoverable { &self.counters.requests_parked } else { &self.counters.requests_queue_full }, 1);
        delivery.give_up(destination, ExportFate::QueueFull)
    }

    /// What can be parked leaves half of the queue to what can't, where there is any.
    fn bound(&self, is_recoverable: bool) -> usize {
        match (is_recoverable, self.has_unlogged.get()) {
            (true, true) => self.queue_bytes_max / 2,
            (false, _) if self.is_lenient.get() => usize::MAX,
            _ => self.queue_bytes_max,
        }
    }

    /// How many workers are to be run.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.endpoints.is_grpc() { self.connections * CALLS_PER_CONNECTION } else { self.connections }
    }

    /// Has every server that was left alone asked once more whether it is back.
    pub fn ask_again(&self) {
        self.endpoints.ask_again();
        self.changes.notify();
    }

    /// From now on failures are final: what is queued gets one attempt each. A server that was left alone is asked once
    /// whether it is back; while it is not, what can be is parked.
    pub fn end(&self) {
        if !self.is_ending.replace(true) {
            self.endpoints.ask_again();
        }
        self.changes.notify();
    }

    /// Parks or loses what is queued, for a node that ends now. What is in flight is not reported any more.
    pub fn abandon(&self, environment: &impl Environment) {
        self.end();
        while let Some(job) = self.queue.try_pop() {
            self.release(&job);
            if job.delivery.is_recoverable() {
                count(&self.counters.requests_parked, 1);
            }
            if let Some(settlement) = job.delivery.give_up(job.destination, ExportFate::Shutdown) {
                environment.settled(settlement);
            }
        }
    }

    /// The bytes of a job are no longer held.
    fn release(&self, job: &Job) {
        let had_room = self.has_room();
        count(&self.counters.requests_left, 1);
        let bytes = job.body.len();
        self.queue_bytes.set(self.queue_bytes.get() - bytes);
        if !job.delivery.is_recoverable() {
            self.unlogged_bytes.set(self.unlogged_bytes.get() - bytes);
        }
        // An empty queue may take a probe.
        if (!had_room && self.has_room()) || self.queue_bytes.get() == 0 {
            self.changes.notify();
        }
    }
}

/// A wait is at least this long, so that a clock that is behind its timers costs no busy loop.
const WAIT_MIN: Duration = Duration::from_millis(1);
