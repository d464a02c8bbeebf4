//! Sends requests to the next hop: a bounded queue, workers that share connections, retries with exponential backoff
//! and jitter that honour what the server asks for. One exporter a shard and configured server; nothing here is
//! shared between cores.

mod backoff;
mod endpoint;

pub use endpoint::{EndpointError, Endpoints};

use crate::delivery::{Delivery, Settlement};
use async_channel::{Receiver, Sender, bounded};
use backoff::Backoff;
use bytes::Bytes;
use endpoint::Line;
use std::cell::Cell;
use std::rc::Rc;
use std::time::Duration;
use tailwater_config::{OtlpExporter, Retry};
use tailwater_engine::host::{ExportFate, ExportRequest};
use tailwater_net::client::CallError;
use tailwater_net::compression::{Deflater, Encoding};
use tailwater_proto::otlp::Signal;

use super::response::PartialSuccess;

/// Requests that may wait whatever their size: bounds the queue's own memory. Bytes are bounded by configuration.
const QUEUE_LENGTH: usize = 16_384;
/// Calls that share one gRPC connection, so that the time to the server and back does not limit the rate.
const CALLS_PER_CONNECTION: usize = 4;
/// Fastest setting of each compressor: what is kept is compressed on the shard's own core.
const COMPRESSION_LEVEL: i32 = 1;
/// Requests below this many bytes go out uncompressed: the headers weigh more than what would be saved.
const COMPRESSED_BYTES_MIN: usize = 1024;

/// A request waiting for a worker.
#[derive(Debug)]
struct Job {
    signal: Signal,
    body: Bytes,
    delivery: Rc<Delivery>,
}

/// How a worker waits and whom it tells. Implemented by whoever runs it.
pub trait Environment: 'static {
    /// Returns after that time.
    fn sleep(&self, duration: Duration) -> impl Future<Output = ()>;
    /// Monotonic time.
    fn now(&self) -> Duration;
    /// The fates of a request's items.
    fn settled(&self, settlement: Settlement);
}

/// Counters of one exporter on one core.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests the server took.
    pub requests_delivered: Cell<u64>,
    /// Requests the server refused for good.
    pub requests_refused: Cell<u64>,
    /// Requests given up after their retries.
    pub requests_exhausted: Cell<u64>,
    /// Requests that found the queue full.
    pub requests_queue_full: Cell<u64>,
    /// Attempts that failed and were followed by another.
    pub retries: Cell<u64>,
    /// Connections opened.
    pub connections: Cell<u64>,
    /// Bytes sent, after compression.
    pub bytes_sent: Cell<u64>,
}

impl Counters {
    /// Name and value of each, for metrics.
    #[must_use]
    pub fn list(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("requests_delivered", self.requests_delivered.get()),
            ("requests_refused", self.requests_refused.get()),
            ("requests_exhausted", self.requests_exhausted.get()),
            ("requests_queue_full", self.requests_queue_full.get()),
            ("retries", self.retries.get()),
            ("connections", self.connections.get()),
            ("sent_bytes", self.bytes_sent.get()),
        ]
    }
}

/// Adds to a counter of this core.
pub(crate) fn count(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}

/// One configured server (or several that take turns), for one core.
#[derive(Debug)]
pub struct Exporter {
    name: String,
    endpoints: Endpoints,
    timeout: Duration,
    retry: Retry,
    encoding: Encoding,
    queue: (Sender<Job>, Receiver<Job>),
    queue_bytes: Cell<usize>,
    queue_bytes_max: usize,
    connections: usize,
    is_ending: Cell<bool>,
    /// What happened here.
    pub counters: Counters,
}

impl Exporter {
    /// The exporter of `settings` on one of `shards` cores.
    ///
    /// # Errors
    /// `EndpointError` when an endpoint, a header or a TLS file can't be used; it names the exporter.
    pub fn new(settings: &OtlpExporter, endpoints: Endpoints, shards: usize) -> Self {
        let queue_bytes_max = usize::try_from(settings.queue_bytes_max).unwrap_or(usize::MAX) / shards.max(1);
        Self {
            name: settings.name.clone(),
            endpoints,
            timeout: settings.timeout,
            retry: settings.retry.clone(),
            encoding: match settings.compression {
                tailwater_config::Compression::None => Encoding::Identity,
                tailwater_config::Compression::Gzip => Encoding::Gzip,
                tailwater_config::Compression::Zstd => Encoding::Zstd,
            },
            queue: bounded(QUEUE_LENGTH),
            queue_bytes: Cell::new(0),
            queue_bytes_max,
            connections: usize::try_from(settings.connections_per_shard).unwrap_or(1).max(1),
            is_ending: Cell::new(false),
            counters: Counters::default(),
        }
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

    /// True when half of the queue is taken: senders are to be held back before anything has to be dropped.
    #[must_use]
    pub fn is_pressed(&self) -> bool {
        self.queue_bytes.get() > self.queue_bytes_max / 2
    }

    /// Whether it takes requests of this signal.
    #[must_use]
    pub fn takes(&self, signal: Signal) -> bool {
        self.endpoints.takes(signal)
    }

    /// Queues a request. When the queue is full the request is lost and the settlement, if this was the last exporter,
    /// comes back at once.
    pub fn offer(&self, request: &ExportRequest, delivery: &Rc<Delivery>) -> Option<Settlement> {
        let bytes = request.body.len();
        let job = Job { signal: request.signal, body: request.body.clone(), delivery: delivery.clone() };
        let fits = self.queue_bytes.get() == 0 || self.queue_bytes.get() + bytes <= self.queue_bytes_max;
        if fits && self.queue.0.try_send(job).is_ok() {
            self.queue_bytes.set(self.queue_bytes.get() + bytes);
            return None;
        }
        count(&self.counters.requests_queue_full, 1);
        delivery.report(0, ExportFate::QueueFull)
    }

    /// How many workers are to be run.
    #[must_use]
    pub fn workers(&self) -> usize {
        if self.endpoints.is_grpc() { self.connections * CALLS_PER_CONNECTION } else { self.connections }
    }

    /// From now on failures are final: what is queued gets one attempt each.
    pub fn end(&self) {
        self.is_ending.set(true);
    }

    /// Loses what is queued, for a node that ends now.
    pub fn abandon(&self, environment: &impl Environment) {
        self.end();
        while let Ok(job) = self.queue.1.try_recv() {
            self.queue_bytes.set(self.queue_bytes.get() - job.body.len());
            if let Some(settlement) = job.delivery.report(0, ExportFate::Shutdown) {
                environment.settled(settlement);
            }
        }
    }

    /// One worker: takes requests off the queue and sends them, for ever. Give each worker another number.
    pub async fn work(self: Rc<Self>, worker: usize, environment: Rc<impl Environment>) {
        let mut line = self.endpoints.line(worker / CALLS_PER_CONNECTION, worker);
        let mut deflater = Deflater::new(COMPRESSION_LEVEL);
        let mut random = fastrand::Rng::with_seed(worker as u64);
        while let Ok(job) = self.queue.1.recv().await {
            let (encoding, body) = self.compressed(&mut deflater, &job.body);
            let (delivered, fate) = self.send(&mut line, &job, encoding, &body, &mut random, &*environment).await;
            self.queue_bytes.set(self.queue_bytes.get() - job.body.len());
            if let Some(settlement) = job.delivery.report(delivered, fate) {
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

    /// Sends one request until it is taken, refused for good or given up. Returns how many items were delivered and what
    /// became of the rest.
    async fn send(
        &self,
        line: &mut Line,
        job: &Job,
        encoding: Encoding,
        body: &Bytes,
        random: &mut fastrand::Rng,
        environment: &impl Environment,
    ) -> (u32, ExportFate) {
        let items = job.delivery.items();
        let mut backoff = Backoff::new(&self.retry, environment.now());
        loop {
            let outcome =
                line.call(&self.endpoints, job.signal, encoding, body.clone(), self.timeout, &self.counters).await;
            let error = match outcome {
                Ok(answer) => return self.delivered(job.signal, items, body.len(), &answer),
                Err(error) => error,
            };
            if !error.is_retryable() {
                count(&self.counters.requests_refused, 1);
                tracing::warn!(exporter = self.name, items, error = %describe(&error), "the next hop refused a request");
                return (0, ExportFate::Refused);
            }
            let wait =
                if self.is_ending.get() { None } else { backoff.next(environment.now(), error.retry_after(), random) };
            let Some(wait) = wait else {
                count(&self.counters.requests_exhausted, 1);
                tracing::warn!(exporter = self.name, items, error = %describe(&error), "a request was given up");
                return (0, if self.is_ending.get() { ExportFate::Shutdown } else { ExportFate::Exhausted });
            };
            count(&self.counters.retries, 1);
            tracing::debug!(exporter = self.name, ?wait, error = %describe(&error), "a request is tried again");
            line.turn(&error);
            environment.sleep(wait).await;
        }
    }

    fn delivered(&self, signal: Signal, items: u32, bytes: usize, answer: &Bytes) -> (u32, ExportFate) {
        count(&self.counters.requests_delivered, 1);
        count(&self.counters.bytes_sent, bytes as u64);
        let Some(partial) = PartialSuccess::read(answer) else { return (items, ExportFate::Delivered) };
        let (rejected, message) = (partial.rejected, partial.message);
        tracing::warn!(exporter = self.name, ?signal, rejected, message, "the next hop took a part of a request");
        (items.saturating_sub(rejected), ExportFate::Refused)
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
