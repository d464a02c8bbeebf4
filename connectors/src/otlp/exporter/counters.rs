//! What happened at an exporter of one core.

use std::cell::Cell;

/// Counters of one exporter on one core.
#[derive(Debug, Default)]
pub struct Counters {
    /// Requests that were queued.
    pub requests_queued: Cell<u64>,
    /// Those of them that are done with or given up: how old the oldest is follows from when so few had been queued.
    pub requests_left: Cell<u64>,
    /// Requests the server took.
    pub requests_delivered: Cell<u64>,
    /// Requests the server refused for good.
    pub requests_refused: Cell<u64>,
    /// Requests lost after their retries.
    pub requests_exhausted: Cell<u64>,
    /// Requests lost because the queue was full.
    pub requests_queue_full: Cell<u64>,
    /// Requests given up for now: they stay in the log and are sent again later.
    pub requests_parked: Cell<u64>,
    /// Requests that left together with others, as one.
    pub requests_merged: Cell<u64>,
    /// Requests, or parts of one, cut in two because the server takes smaller ones only.
    pub requests_split: Cell<u64>,
    /// Attempts that failed and were followed by another.
    pub retries: Cell<u64>,
    /// Times that a server's breaker opened; probes that failed do not count.
    pub breaker_opened: Cell<u64>,
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
            ("requests_queued", self.requests_queued.get()),
            ("requests_left", self.requests_left.get()),
            ("requests_delivered", self.requests_delivered.get()),
            ("requests_refused", self.requests_refused.get()),
            ("requests_exhausted", self.requests_exhausted.get()),
            ("requests_queue_full", self.requests_queue_full.get()),
            ("requests_parked", self.requests_parked.get()),
            ("requests_merged", self.requests_merged.get()),
            ("requests_split", self.requests_split.get()),
            ("retries", self.retries.get()),
            ("breaker_opened", self.breaker_opened.get()),
            ("connections", self.connections.get()),
            ("sent_bytes", self.bytes_sent.get()),
        ]
    }
}

/// Adds to a counter of this core.
pub(crate) fn count(counter: &Cell<u64>, amount: u64) {
    counter.set(counter.get().wrapping_add(amount));
}
