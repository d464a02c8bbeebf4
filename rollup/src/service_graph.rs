//! The service graph: which service asks which, how often, with how many errors and how fast, from all spans before any
//! verdict. A request has two *ends*, a span of the client and one of the server, which are paired where the hash of their
//! trace says; metrics are named as the Collector's `servicegraph` connector names them.
//!
//! ```text
//!   walk over a request --> ends --accepted--> core of the trace: paired with the end that waits --> edge --> rows
//!        gather.rs                             waiting.rs: for so long      graph.rs                 sums.rs, output.rs
//! ```
//!
//! Each end is in one of: an edge with its other end, an edge with a virtual node, the unpaired, the dropped.

mod gather;
mod graph;
mod output;
mod side;
mod sums;
mod waiting;

pub use gather::{Ends, Gatherer, Gathering};
pub use graph::{Graph, GraphCounts};
pub use output::Output;
pub use sums::EdgeSums;
pub use waiting::WAITING_BYTES;

use crate::span_metrics::Durations;

/// What is counted, and how it is told.
#[derive(Debug, Clone, PartialEq)]
pub struct Plan {
    /// How durations are told, in seconds.
    pub durations: Durations,
    /// Attributes that tell edges apart besides, of the resource or else of the span, told as `client_*` and `server_*`.
    pub dimensions: Vec<String>,
    /// Attributes that name a database, the first that a span of a client has: it is the server then, and nothing waits.
    pub database_attributes: Vec<String>,
    /// Attributes of a span of a client that name whoever was asked, the first that it has. They stand for a server without
    /// spans of its own. Without any there are no virtual nodes.
    pub virtual_node_attributes: Vec<String>,
    /// Whether an edge says which of its nodes is virtual.
    pub has_virtual_node_label: bool,
    /// How long an end waits for the other.
    pub wait_nanos: u64,
    /// Most ends that wait on a core.
    pub waiting_max: usize,
    /// Most edges of a core. Past it requests count for the edge `otel.metric.overflow`.
    pub series_max: usize,
    /// The node, as `collector.instance.id`, if it is to be told.
    pub instance_id: Option<String>,
    /// Whether a data point tells what came since the one before, instead of all since the start.
    pub is_delta: bool,
    /// Windows without a request after which an edge is no longer told; 0 for never.
    pub expires_after_windows: u32,
}

impl Plan {
    /// Whether whoever has no spans is a node.
    fn has_virtual_nodes(&self) -> bool {
        !self.virtual_node_attributes.is_empty()
    }
}

#[cfg(test)]
mod tests;
