//! What a trace came to, and on what occasion.

use super::ids::TraceId;
use super::marks::{Annotations, RandomnessKind};

/// What a trace came to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// Kept, by the policy of this index.
    Keep(u16),
    /// No policy sampled it, or a drop policy dropped it.
    Drop,
}

/// A trace's verdict, for the log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Judged {
    /// The trace.
    pub trace_id: TraceId,
    /// What it came to.
    pub verdict: Verdict,
    /// Why its spans are dropped, when they are: the number of a `DropReason`.
    pub drop_reason: u8,
    /// Why it was judged when it was.
    pub occasion: Occasion,
    /// Rejection threshold of the rule that kept it, of 2^56 (OTEP 235); 0 when it was kept for certain.
    pub threshold: u64,
    /// Where the trace's randomness comes from.
    pub randomness: RandomnessKind,
    /// The randomness, where it came with a span.
    pub given: Option<u64>,
    /// What the spans of the trace get besides, those that come late too.
    pub annotations: Annotations,
    /// Spans it had.
    pub spans: u32,
    /// The generation of the rules that it was judged under.
    pub generation: u32,
}

/// Why a trace was judged when it was. The log has their numbers: new ones go to the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Occasion {
    /// `decision_wait` was over.
    Deadline,
    /// The bound on the bytes of spans was reached and this trace was next.
    Early,
    /// The node is shutting down.
    Drain,
    /// It outgrew `maximum_trace_size_bytes`.
    TooLarge,
    /// A piece of it was decided on as it came.
    Ingest,
    /// The wait after its root was over.
    AfterRoot,
    /// None of its spans had come for `inactivity_timeout`.
    Inactivity,
    /// It had `max_trace_duration`.
    DurationMax,
    /// The bound on traces was reached and this one was next.
    TracesMax,
    /// The log was full and this trace was next.
    LogFull,
    /// Its rules gave way to others, and it could not go over to them.
    Reload,
    /// The node of the cluster that owns it told what it came to.
    Owner,
    /// No owner answered: it was judged by what lay here.
    Alone,
    /// A person has kept it after all.
    ByHand,
}

impl Occasion {
    /// All, by their numbers.
    const ALL: [(Self, &'static str); 14] = [
        (Self::Deadline, "decision_wait"),
        (Self::Early, "memory_full"),
        (Self::Drain, "drain"),
        (Self::TooLarge, "maximum_trace_size_bytes"),
        (Self::Ingest, "span_ingest"),
        (Self::AfterRoot, "decision_wait_after_root_received"),
        (Self::Inactivity, "inactivity_timeout"),
        (Self::DurationMax, "max_trace_duration"),
        (Self::TracesMax, "num_traces"),
        (Self::LogFull, "wal_full"),
        (Self::Reload, "reload"),
        (Self::Owner, "cluster_owner"),
        (Self::Alone, "cluster_alone"),
        (Self::ByHand, "recall"),
    ];

    /// The one of that number.
    #[must_use]
    pub fn of_number(number: u8) -> Option<Self> {
        Self::ALL.get(usize::from(number)).map(|(occasion, _)| *occasion)
    }

    /// In one word; where a configured wait or bound was reached, its key.
    #[must_use]
    pub fn word(self) -> &'static str {
        Self::ALL.iter().find(|(occasion, _)| *occasion == self).map_or("", |(_, word)| word)
    }

    /// Whether the trace was judged before its wait was over, because something was full or its rules were to go.
    #[must_use]
    pub fn is_early(self) -> bool {
        matches!(self, Self::Early | Self::TracesMax | Self::LogFull | Self::Reload | Self::Alone)
    }
}
