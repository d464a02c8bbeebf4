//! Where a core's exports go: every exporter that takes the signal, and the embedded file. Implements the engine's
//! seam to the world.

use async_channel::Sender;
use std::collections::HashMap;
use std::rc::Rc;
use std::time::Duration;
use tailwater_connectors::delivery::{Delivery, Settlement};
use tailwater_connectors::file::FileGate;
use tailwater_connectors::otlp::exporter::Exporter;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_proto::otlp::Signal;
use tailwater_runtime::clock::monotonic_nanos;

/// A request for the embedded file's thread.
pub struct FileJob {
    /// The core that is to be told.
    pub core: usize,
    /// By which the core knows the request.
    pub ticket: u64,
    /// What is to be written.
    pub request: ExportRequest,
}

/// The embedded file's end of this core: jobs go to its thread, outcomes come back through the core's control channel.
pub struct FileQueue {
    jobs: Sender<FileJob>,
    core: usize,
    next_ticket: u64,
    /// Jobs with the thread; at most its queue's length and the one being written.
    waiting: HashMap<u64, Rc<Delivery>>,
    /// Whether the file takes anything.
    gate: FileGate,
}

impl FileQueue {
    /// The end of core number `core`.
    pub fn new(jobs: Sender<FileJob>, core: usize) -> Self {
        Self { jobs, core, next_ticket: 0, waiting: HashMap::new(), gate: FileGate::default() }
    }

    /// Whether a parked request may be offered again.
    #[allow(dead_code, reason = "asked before parked requests are read again")]
    fn can_take_back(&self) -> bool {
        self.gate.can_take_back(now(), self.waiting.len(), self.jobs.capacity().unwrap_or(usize::MAX))
    }

    fn is_pressed(&self) -> bool {
        self.jobs.len() * 2 > self.jobs.capacity().unwrap_or(usize::MAX)
    }

    /// Hands a request to the thread; when its queue is full it is parked or lost and the settlement, if this was the last
    /// exporter, comes back. The file is exporter number `number`.
    fn offer(&mut self, request: &ExportRequest, delivery: &Rc<Delivery>, number: usize) -> Option<Settlement> {
        // A request for which there is no room must not take the place of a probe.
        let is_shut = self.jobs.is_full() || (!self.gate.admits(now()) && delivery.is_recoverable());
        let job = FileJob { core: self.core, ticket: self.next_ticket, request: request.clone() };
        if is_shut || self.jobs.try_send(job).is_err() {
            return delivery.give_up(number, ExportFate::QueueFull);
        }
        self.waiting.insert(self.next_ticket, delivery.clone());
        self.next_ticket += 1;
        None
    }
}

/// Monotonic time, as the exporters see it.
fn now() -> Duration {
    Duration::from_nanos(monotonic_nanos())
}

/// The exporters of one core.
pub struct Outbox {
    exporters: Vec<Rc<Exporter>>,
    file: Option<FileQueue>,
    /// Fates known at once, to be booked when the shard is free: it is in the middle of a call while it exports.
    settled: Vec<(Signal, u32, ExportFate)>,
}

impl Outbox {
    /// An outbox for these.
    pub fn new(exporters: Vec<Rc<Exporter>>, file: Option<FileQueue>) -> Self {
        Self { exporters, file, settled: Vec::new() }
    }

    /// The OTLP exporters.
    pub fn exporters(&self) -> &[Rc<Exporter>] {
        &self.exporters
    }

    /// True when senders are to be held back.
    pub fn is_pressed(&self) -> bool {
        self.file.as_ref().is_some_and(FileQueue::is_pressed)
            || self.exporters.iter().any(|exporter| exporter.is_pressed())
    }

    /// Whether exporter number `number`, in the order of `Destinations`, takes parked requests of that signal now.
    #[allow(dead_code, reason = "asked before parked requests are read again")]
    pub fn can_take_back(&self, number: usize, signal: Signal) -> bool {
        match self.exporters.get(number) {
            Some(exporter) => exporter.can_take_back(signal, now()),
            None => self.file.as_ref().is_some_and(FileQueue::can_take_back),
        }
    }

    /// The fates known since the last call.
    pub fn take_settled(&mut self) -> Vec<(Signal, u32, ExportFate)> {
        std::mem::take(&mut self.settled)
    }

    /// Notes the fates of a settlement.
    pub fn settle(&mut self, settlement: Settlement) {
        let Settlement { signal, delivered, lost, fate, .. } = settlement;
        if delivered > 0 {
            self.settled.push((signal, delivered, ExportFate::Delivered));
        }
        if lost > 0 {
            self.settled.push((signal, lost, fate));
        }
    }
}

impl Host for Outbox {
    fn export(&mut self, mut request: ExportRequest) {
        // Exporters are numbered in the order of the configuration; the file comes last.
        let takes =
            |number: usize, exporter: &Exporter| request.destinations.has(number) && exporter.takes(request.signal);
        let numbered = self.exporters.iter().cloned().enumerate();
        let takers: Vec<_> = numbered.filter(|(number, exporter)| takes(*number, exporter)).collect();
        let file_number = self.exporters.len();
        let file = self.file.as_mut().filter(|_| request.destinations.has(file_number));
        let count = takers.len() + usize::from(file.is_some());
        if count == 0 {
            // Nothing is configured to take this signal: it ends here, and the books say so.
            self.settled.push((request.signal, request.items, ExportFate::NoExporter));
            return;
        }
        let count = u32::try_from(count).unwrap_or(u32::MAX);
        let delivery = Rc::new(Delivery::new(&mut request, count));
        let mut settlement = file.and_then(|file| file.offer(&request, &delivery, file_number));
        for (number, exporter) in takers {
            // At most one of the offers is the last report.
            settlement = exporter.offer(&request, &delivery, number).or(settlement);
        }
        if let Some(settlement) = settlement {
            self.settle(settlement);
        }
    }
}

impl Outbox {
    /// The file's thread is done with a job.
    pub fn written(&mut self, ticket: u64, fate: ExportFate) {
        let Some(file) = &mut self.file else { return };
        file.gate.book(now(), fate);
        let Some(delivery) = file.waiting.remove(&ticket) else { return };
        let settlement = match fate {
            ExportFate::Delivered => delivery.report(delivery.items(), fate),
            ExportFate::Refused => delivery.report(0, fate),
            _ => delivery.give_up(self.exporters.len(), fate),
        };
        if let Some(settlement) = settlement {
            self.settle(settlement);
        }
    }
}
