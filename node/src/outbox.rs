//! Where a core's exports go: every exporter that takes the signal, and the embedded file. Implements the engine's
//! seam to the world.

use async_channel::Sender;
use std::rc::Rc;
use tailwater_connectors::delivery::{Delivery, Settlement};
use tailwater_connectors::otlp::exporter::Exporter;
use tailwater_engine::host::{ExportFate, ExportRequest, Host};
use tailwater_proto::otlp::Signal;

/// The embedded file's end of this core: requests go to its thread, fates come back through the core's control channel.
#[derive(Clone)]
pub struct FileQueue {
    /// To the file's thread, with the number of the core that is to be told.
    pub requests: Sender<(usize, ExportRequest)>,
    /// This core.
    pub core: usize,
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
        let file = self
            .file
            .as_ref()
            .is_some_and(|file| file.requests.len() * 2 > file.requests.capacity().unwrap_or(usize::MAX));
        file || self.exporters.iter().any(|exporter| exporter.is_pressed())
    }

    /// The fates known since the last call.
    pub fn take_settled(&mut self) -> Vec<(Signal, u32, ExportFate)> {
        std::mem::take(&mut self.settled)
    }

    /// Notes the fates of a settlement.
    pub fn settle(&mut self, settlement: Settlement) {
        let Settlement { signal, delivered, lost, fate } = settlement;
        if delivered > 0 {
            self.settled.push((signal, delivered, ExportFate::Delivered));
        }
        if lost > 0 {
            self.settled.push((signal, lost, fate));
        }
    }
}

impl Host for Outbox {
    fn export(&mut self, request: ExportRequest) {
        let takers: Vec<_> = self.exporters.iter().filter(|exporter| exporter.takes(request.signal)).cloned().collect();
        if takers.is_empty() {
            self.export_to_file(request);
            return;
        }
        let count = u32::try_from(takers.len()).unwrap_or(u32::MAX);
        let delivery = Rc::new(Delivery::new(request.signal, request.items, count));
        for exporter in takers {
            if let Some(settlement) = exporter.offer(&request, &delivery) {
                self.settle(settlement);
            }
        }
    }
}

impl Outbox {
    fn export_to_file(&mut self, request: ExportRequest) {
        let (signal, items) = (request.signal, request.items);
        let sent = match &self.file {
            Some(file) => file.requests.try_send((file.core, request)).is_ok(),
            // Nothing is configured to take this signal: it ends here, and the books say so.
            None => false,
        };
        if !sent {
            self.settled.push((signal, items, ExportFate::QueueFull));
        }
    }
}
