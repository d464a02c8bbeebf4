//! What a shard counts of its part in the cluster.

/// Counts of a shard.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct ClusterCounts {
    /// Entries told to owners on other nodes.
    pub evidence_sent: u64,
    /// Of them, those sent again because nothing was heard.
    pub evidence_asked: u64,
    /// Times that an entry could not be told because there was no room on the way to its owner.
    pub evidence_held_back: u64,
    /// Entries heard.
    pub evidence_heard: u64,
    /// Of them, those told because of a new span, of which it is counted how old that was.
    pub evidence_timed: u64,
    /// Milliseconds from the latest span of those to their being told.
    pub evidence_lag_ms: u64,
    /// Entries heard that were made under other rules: only their numbers count.
    pub evidence_foreign_rules: u64,
    /// Entries passed on to whom this node takes for the owner.
    pub evidence_relayed: u64,
    /// Entries that came for another owner for the second time.
    pub evidence_stray: u64,
    /// Entries of traces that had been dropped without them: a verdict that might have been another.
    pub evidence_late: u64,
    /// Questions to nodes that may remember what came of a trace.
    pub memories_asked: u64,
    /// Traces judged for the cluster.
    pub judged: u64,
    /// Of them, those that were judged early because the docket was full.
    pub docket_full: u64,
    /// Rulings said or told.
    pub rulings_sent: u64,
    /// Rulings that found no room on the way: whoever misses one asks.
    pub rulings_held_back: u64,
    /// Rulings heard.
    pub rulings_heard: u64,
    /// Drops that were not obeyed, because they came from a node that does not own the trace.
    pub rulings_disobeyed: u64,
    /// Traces judged by what lies here alone, because no owner answered or because there was no room.
    pub judged_alone: u64,
    /// Traces judged although some of it had been told under other rules: what those meant is not in the verdict.
    pub judged_foreign_rules: u64,
    /// Traces judged whose owner before is gone, with what it remembered, or before this node has found any other: spans of them
    /// that came earlier may have had another verdict.
    pub judged_unremembered: u64,
    /// Traces that one node dropped a part of and another kept.
    pub torn: u64,
    /// Messages that were no messages of this version, or ended early.
    pub malformed: u64,
    /// Times that this node stood still for so long that others may have taken it for dead.
    pub standstills: u64,
}

impl ClusterCounts {
    /// Adds another shard's.
    pub fn add(&mut self, other: &Self) {
        self.evidence_sent += other.evidence_sent;
        self.evidence_asked += other.evidence_asked;
        self.evidence_held_back += other.evidence_held_back;
        self.evidence_heard += other.evidence_heard;
        self.evidence_timed += other.evidence_timed;
        self.evidence_lag_ms += other.evidence_lag_ms;
        self.evidence_foreign_rules += other.evidence_foreign_rules;
        self.evidence_relayed += other.evidence_relayed;
        self.evidence_stray += other.evidence_stray;
        self.evidence_late += other.evidence_late;
        self.memories_asked += other.memories_asked;
        self.judged += other.judged;
        self.docket_full += other.docket_full;
        self.rulings_sent += other.rulings_sent;
        self.rulings_held_back += other.rulings_held_back;
        self.rulings_heard += other.rulings_heard;
        self.rulings_disobeyed += other.rulings_disobeyed;
        self.judged_alone += other.judged_alone;
        self.judged_foreign_rules += other.judged_foreign_rules;
        self.judged_unremembered += other.judged_unremembered;
        self.torn += other.torn;
        self.malformed += other.malformed;
        self.standstills += other.standstills;
    }

    /// All, by their names.
    #[must_use]
    pub const fn list(&self) -> [(&'static str, u64); 23] {
        [
            ("evidence_sent", self.evidence_sent),
            ("evidence_asked", self.evidence_asked),
            ("evidence_held_back", self.evidence_held_back),
            ("evidence_heard", self.evidence_heard),
            ("evidence_timed", self.evidence_timed),
            ("evidence_lag_ms", self.evidence_lag_ms),
            ("evidence_foreign_rules", self.evidence_foreign_rules),
            ("evidence_relayed", self.evidence_relayed),
            ("evidence_stray", self.evidence_stray),
            ("evidence_late", self.evidence_late),
            ("memories_asked", self.memories_asked),
            ("judged", self.judged),
            ("docket_full", self.docket_full),
            ("rulings_sent", self.rulings_sent),
            ("rulings_held_back", self.rulings_held_back),
            ("rulings_heard", self.rulings_heard),
            ("rulings_disobeyed", self.rulings_disobeyed),
            ("judged_alone", self.judged_alone),
            ("judged_foreign_rules", self.judged_foreign_rules),
            ("judged_unremembered", self.judged_unremembered),
            ("torn", self.torn),
            ("malformed", self.malformed),
            ("standstills", self.standstills),
        ]
    }
}
