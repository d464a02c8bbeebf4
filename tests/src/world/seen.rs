//! What a node does and what happens to it, as those see it who know what it has promised.

use super::cluster::Run;
use super::policies::PolicySet;
use super::senders::Sent;
use super::verdict::Ruled;
use opentelemetry_proto::tonic::trace::v1::Span;
use std::collections::BTreeMap;
use std::rc::Rc;
use tailwater_engine::vocabulary::{Judged, Nanos, TraceId};
use tailwater_proto::cluster::NodeId;

/// What a node has of a trace, as another is told it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entered {
    /// The trace.
    pub trace_id: TraceId,
    /// Which node has it, in which run.
    pub source: Run,
    /// How many spans.
    pub spans: u32,
}

/// One thing that was seen.
#[derive(Debug)]
pub enum Seen {
    /// A sender was told that the node has these, when they were synced or only written.
    Acknowledged {
        /// The spans.
        spans: Vec<Rc<Sent>>,
        /// Whether a power cut may not take them.
        is_synced: bool,
    },
    /// A sender was told that the node has these, whichever pipelines take them.
    Answered {
        /// The spans.
        spans: Vec<Rc<Sent>>,
        /// Whether a power cut may not take them.
        is_synced: bool,
    },
    /// So many spans entered the node, new or of a former run's log.
    Accepted(usize),
    /// A shard is about to take this span.
    Taken {
        /// Its core.
        core: usize,
        /// When its request came, by the node's clock.
        arrived: Nanos,
        /// The span.
        sent: Rc<Sent>,
    },
    /// A trace has a verdict.
    Judged {
        /// What its shard told.
        judged: Judged,
        /// What it means.
        ruled: Ruled,
        /// The policies of its generation.
        policies: PolicySet,
        /// The generation in force.
        in_force: u32,
        /// When, by the node's clock.
        at: Nanos,
        /// Whether bytes of the trace had left memory.
        is_cold: bool,
    },
    /// A shard has looked at the time.
    Ticked {
        /// Its core.
        core: usize,
        /// The time, by the node's clock.
        at: Nanos,
    },
    /// The next hop was given this span, and took it or refused it for good.
    Delivered {
        /// The span.
        span: Rc<Span>,
        /// Whether it refused.
        is_refused: bool,
    },
    /// A verdict is durable.
    Durable(TraceId, Ruled),
    /// Nothing is on its way, and the log knows all that was delivered.
    AtRest,
    /// These will be sent once more, and the node may know them twice.
    SentAgain(Vec<Rc<Sent>>),
    /// The disk has failed: what was only written may be gone.
    DiskFailed,
    /// What was parked is not in the log.
    Unreadable,
    /// The node ended without a word.
    Crashed {
        /// Whether the power went.
        cuts_power: bool,
    },
    /// A core of a cluster's node has taken what it was told, and is about to look at it.
    Told(usize, Entered),
    /// A core is about to look at what another node has said: of the trace of this hash, that it is kept or dropped.
    Ruled {
        /// Of the trace's id.
        hash: u64,
        /// Whether it is kept.
        is_kept: bool,
    },
    /// A core tells another node.
    Tells(NodeId, Entered),
    /// A core sees other members than before.
    Turned(usize),
    /// The node is gone for good, with all it had.
    Lost,
    /// The node starts, with the verdicts that its journals have.
    Started(BTreeMap<TraceId, Ruled>),
}
