//! The seam to the world: what a shard asks of whoever runs it. Passed to each call and never stored, so that no
//! type parameter spreads. The real host is in `node`, a simulated one drives the tests.

use crate::vocabulary::{Destinations, Judged, KeptUnit, Said, Unit};
use bytes::Bytes;
use tailwater_proto::otlp::Signal;

/// A request for the next hop: an OTLP `Export*ServiceRequest` message, uncompressed.
#[derive(Debug, Clone)]
pub struct ExportRequest {
    /// Which service it is for.
    pub signal: Signal,
    /// The protobuf message.
    pub body: Bytes,
    /// Spans, metric points or log records in it. The outcome reported back must sum to this.
    pub items: u32,
    /// Where its items lie in the log: one unit an item, or one for a whole request of metrics or logs. Items that are
    /// not in the log have none; only a request all of whose items are in the log can be read again later.
    pub units: Vec<KeptUnit>,
    /// The exporters it is for: all at first, those that failed when it is sent again.
    pub destinations: Destinations,
    /// Whether the node itself has made it of what it has counted: what becomes of it is told to who did, and no account.
    pub is_summary: bool,
}

/// The world as a shard sees it.
pub trait Host {
    /// Takes a request for the next hop. The host reports each item's fate once, through `Shard::settle` or
    /// `Shard::park`.
    fn export(&mut self, request: ExportRequest);
    /// Notes a verdict in the log.
    fn judged(&mut self, judged: &Judged);
    /// A unit of the log is dropped: the log need not keep it.
    fn resolve(&mut self, unit: Unit);
    /// A span was kept whose bytes are only in the log: it is to be read again and given to `Shard::export_again`.
    fn recall(&mut self, unit: KeptUnit);
    /// Whether what is kept now will be taken by the exporters or the log. While it will not, verdicts wait that can. What
    /// is exported before the next question after a yes is taken whole, so that no trace is torn.
    fn has_room(&mut self) -> bool {
        true
    }
    /// Sends a message to another node of the cluster, or to all. A node alone is never asked.
    ///
    /// # Errors
    /// The message, where there is no room on the way now: it is to be sent later.
    fn tell(&mut self, said: Said) -> Result<(), Said> {
        Err(said)
    }
}

/// What became of an `ExportRequest`'s items.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ExportFate {
    /// The next hop took them over.
    Delivered,
    /// The next hop refused them for good.
    Refused,
    /// The next hop takes no request as large, and each was alone in one.
    TooLarge,
    /// Retries were used up.
    Exhausted,
    /// The export queue was full.
    QueueFull,
    /// Nothing is configured to take this signal.
    NoExporter,
    /// The node stopped before they could be sent.
    Shutdown,
}
