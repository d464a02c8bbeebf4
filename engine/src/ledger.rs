//! The books of one shard: every span that came in is somewhere. At any moment
//!
//! ```text
//! received = exported + summarised + dropped(by reason) + pending
//! pending  = buffered + exporting + parked + (handed over - taken over)
//! ```
//!
//! The last two terms are only meaningful summed over all shards of a node: a span may be parked by one core and read
//! from the log by another, and the last one is what is on its way between cores.

use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::refusal::{Cause, Refusals};

/// Why a span, metric point or log record that was accepted will not be exported.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DropReason {
    /// No policy sampled its trace.
    NotSampled,
    /// A drop policy matched its trace.
    DropPolicy,
    /// It came after its trace had been dropped.
    LateNotSampled,
    /// Its trace outgrew `maximum_trace_size_bytes`.
    TraceTooLarge,
    /// The arena was full and deciding early did not free enough.
    MemoryFull,
    /// The node stopped with `drop_pending_traces_on_shutdown`.
    ShutdownPending,
    /// The export queue was full.
    ExportQueueFull,
    /// The next hop refused it for good.
    ExportRefused,
    /// Retries towards the next hop were used up.
    ExportExhausted,
    /// The node stopped before it could be sent.
    ExportShutdown,
    /// No exporter takes its signal.
    NoExporter,
    /// It waited in the log past `wal.retention`.
    WalRetention,
    /// It waited in the log when room was needed, with `wal.on_full: decide_early`.
    WalFull,
    /// It waited in the log and could not be read again.
    WalUnreadable,
    /// The next hop takes no request as large as this item alone.
    ExportTooLarge,
    /// The cluster could not take all that came, and gave up its trace on every node.
    Shed,
    /// A rule of `summaries.metrics.rules` drops its metric.
    MetricRule,
}

impl DropReason {
    /// All reasons, in the order of their counters.
    pub const ALL: [Self; 17] = [
        Self::NotSampled,
        Self::DropPolicy,
        Self::LateNotSampled,
        Self::TraceTooLarge,
        Self::MemoryFull,
        Self::ShutdownPending,
        Self::ExportQueueFull,
        Self::ExportRefused,
        Self::ExportExhausted,
        Self::ExportShutdown,
        Self::NoExporter,
        Self::WalRetention,
        Self::WalFull,
        Self::WalUnreadable,
        Self::ExportTooLarge,
        Self::Shed,
        Self::MetricRule,
    ];

    /// The label value in metrics.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            Self::NotSampled => "not_sampled",
            Self::DropPolicy => "drop_policy",
            Self::LateNotSampled => "late_not_sampled",
            Self::TraceTooLarge => "trace_too_large",
            Self::MemoryFull => "memory_full",
            Self::ShutdownPending => "shutdown_pending",
            Self::ExportQueueFull => "export_queue_full",
            Self::ExportRefused => "export_refused",
            Self::ExportExhausted => "export_exhausted",
            Self::ExportShutdown => "export_shutdown",
            Self::NoExporter => "no_exporter",
            Self::WalRetention => "wal_retention",
            Self::WalFull => "wal_full",
            Self::WalUnreadable => "wal_unreadable",
            Self::ExportTooLarge => "export_too_large",
            Self::Shed => "shed",
            Self::MetricRule => "metric_rule",
        }
    }
}

/// Items of one signal: spans, metric points or log records.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Account {
    /// Accepted from senders by this core.
    pub received: u64,
    /// Sent to the shard that owns their trace.
    pub handed_over: u64,
    /// Received from other cores.
    pub taken_over: u64,
    /// Held in undecided traces.
    pub buffered: u64,
    /// Kept, and in the open batch or with the exporter.
    pub exporting: u64,
    /// Kept, and only in the log: an exporter could not take them, or their bytes were given up in memory. One core's
    /// count may be negative.
    pub parked: i64,
    /// Taken over by the next hop.
    pub exported: u64,
    /// Told in summaries only. Spans that are not kept are counted by why they are dropped, and may be in summaries, too.
    pub summarised: u64,
    /// Dropped, by `DropReason`.
    pub dropped: [u64; DropReason::ALL.len()],
}

impl Account {
    /// Counts `items` as dropped for `reason`.
    #[inline]
    pub fn drop_items(&mut self, reason: DropReason, items: u64) {
        self.dropped[reason as usize] += items;
    }

    /// Counts `items` as waiting in the log.
    pub fn park(&mut self, items: u64) {
        self.parked += i64::try_from(items).unwrap_or(i64::MAX);
    }

    /// Counts `items` that waited in the log as with the exporters again.
    pub fn unpark(&mut self, items: u64) {
        self.parked -= i64::try_from(items).unwrap_or(i64::MAX);
        self.exporting += items;
    }

    /// All that was dropped.
    #[must_use]
    pub fn dropped_total(&self) -> u64 {
        self.dropped.iter().sum()
    }

    /// Of the dropped: kept data that did not reach the next hop.
    #[must_use]
    pub fn lost_at_export(&self) -> u64 {
        let reasons = [
            DropReason::ExportQueueFull,
            DropReason::ExportExhausted,
            DropReason::ExportShutdown,
            DropReason::WalRetention,
            DropReason::WalFull,
            DropReason::WalUnreadable,
        ];
        reasons.into_iter().map(|reason| reason as usize).map(|reason| self.dropped[reason]).sum()
    }

    /// Of the dropped: kept data that the next hop did not want.
    #[must_use]
    pub fn refused_by_next_hop(&self) -> u64 {
        [DropReason::ExportRefused, DropReason::ExportTooLarge]
            .iter()
            .map(|reason| self.dropped[*reason as usize])
            .sum()
    }

    /// What is held here or on the way, as if this account were a whole node's. The transit between cores may
    /// be negative in a single shard's account.
    #[must_use]
    pub fn pending(&self) -> i128 {
        let transit = i128::from(self.handed_over) - i128::from(self.taken_over);
        i128::from(self.buffered) + i128::from(self.exporting) + i128::from(self.parked) + transit
    }

    /// Whether the identity of the module doc holds.
    #[must_use]
    pub fn balances(&self) -> bool {
        let settled = i128::from(self.exported) + i128::from(self.summarised) + i128::from(self.dropped_total());
        i128::from(self.received) == settled + self.pending()
    }

    /// Adds another shard's account.
    pub fn add(&mut self, other: &Self) {
        self.received += other.received;
        self.handed_over += other.handed_over;
        self.taken_over += other.taken_over;
        self.buffered += other.buffered;
        self.exporting += other.exporting;
        self.parked += other.parked;
        self.exported += other.exported;
        self.summarised += other.summarised;
        for (mine, theirs) in self.dropped.iter_mut().zip(&other.dropped) {
            *mine += theirs;
        }
    }
}

/// Everything a shard counts.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Ledger {
    /// Spans.
    pub spans: Account,
    /// Metric points.
    pub metrics: Account,
    /// Log records.
    pub logs: Account,
    /// Traces.
    pub traces: TraceCounts,
    /// One entry a policy, in configuration order.
    pub policies: Vec<PolicyCounts>,
    /// Requests and items refused at intake; they were never accepted, so they are in no account.
    pub refused: RefusedCounts,
}

/// Traces by what happened to them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct TraceCounts {
    /// First spans seen.
    pub started: u64,
    /// Undecided now.
    pub pending: u64,
    /// Judged and kept.
    pub kept: u64,
    /// Judged and dropped.
    pub dropped: u64,
    /// Of the judged: before their deadline, because a bound was reached.
    pub decided_early: u64,
    /// Of the judged: because the node was stopping.
    pub decided_at_drain: u64,
    /// Spans that came after their trace was kept, and followed it.
    pub late_kept_spans: u64,
    /// Spans that came with a threshold for which their trace had no row left: it was counted as its neighbour's.
    pub threshold_levels_folded: u64,
    /// Errors in the evaluation of conditions that are to be ignored and told.
    pub condition_errors: u64,
    /// Spans that were read from the log again and left without their threshold, because too many different ones waited.
    pub marks_forgotten: u64,
    /// Spans that came after their trace was dropped, and followed it.
    pub late_dropped_spans: u64,
    /// Spans whose bytes were given up in memory, to be read from the log if their trace is kept.
    pub cold_spans: u64,
    /// Traces that were dropped or forgotten and that a person has kept after all.
    pub kept_by_hand: u64,
    /// Spans of those that were read from the log and came again: they are counted as received once more.
    pub spans_sent_again: u64,
    /// Verdicts that gave way to newer ones; spans that come later still begin their trace anew.
    pub verdicts_forgotten: u64,
    /// Traces scanned again because the rules had changed.
    pub scanned_again: u64,
    /// Times that verdicts had to wait because the exporters had no room for what they keep.
    pub verdicts_postponed: u64,
    /// Spans with the status of an error, those that are read from the log again included.
    pub error_spans: u64,
}

impl TraceCounts {
    fn add(&mut self, other: &Self) {
        self.started += other.started;
        self.pending += other.pending;
        self.kept += other.kept;
        self.dropped += other.dropped;
        self.decided_early += other.decided_early;
        self.decided_at_drain += other.decided_at_drain;
        self.late_kept_spans += other.late_kept_spans;
        self.late_dropped_spans += other.late_dropped_spans;
        self.threshold_levels_folded += other.threshold_levels_folded;
        self.marks_forgotten += other.marks_forgotten;
        self.condition_errors += other.condition_errors;
        self.cold_spans += other.cold_spans;
        self.kept_by_hand += other.kept_by_hand;
        self.spans_sent_again += other.spans_sent_again;
        self.verdicts_forgotten += other.verdicts_forgotten;
        self.scanned_again += other.scanned_again;
        self.verdicts_postponed += other.verdicts_postponed;
        self.error_spans += other.error_spans;
    }
}

/// How one policy voted.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct PolicyCounts {
    /// Traces it sampled (or, for a drop policy, dropped).
    pub matched: u64,
    /// Traces it did not.
    pub unmatched: u64,
    /// Traces on which it had no vote, because a condition could not be evaluated.
    pub failed: u64,
    /// Traces kept in its name: it was the first that sampled. Of a shadow: those that would have been.
    pub decided: u64,
    /// Spans of those.
    pub decided_spans: u64,
    /// Bytes of those spans.
    pub decided_bytes: u64,
    /// Traces kept in its name that no other policy sampled; of a shadow, those that are dropped without it.
    pub alone: u64,
}

impl PolicyCounts {
    /// Counts a vote.
    #[inline]
    pub fn vote(&mut self, matched: bool) {
        self.matched += u64::from(matched);
        self.unmatched += u64::from(!matched);
    }

    /// Counts a trace of so many spans and bytes as kept in the policy's name; with `is_alone` no other sampled it.
    pub fn decide(&mut self, spans: u32, bytes: u32, is_alone: bool) {
        self.decided += 1;
        self.decided_spans += u64::from(spans);
        self.decided_bytes += u64::from(bytes);
        self.alone += u64::from(is_alone);
    }
}

/// What intake refused, told to the sender in the answer.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct RefusedCounts {
    /// Requests that were no OTLP.
    pub requests: u64,
    /// Items that were refused in requests of which the rest was accepted, by signal and cause.
    items: [[u64; Cause::ALL.len()]; 3],
    /// Names in JSON that are not known; what stood there was passed over.
    pub ignored_names: u64,
    /// Texts that were not UTF-8 and were repaired.
    pub repaired_texts: u64,
}

impl RefusedCounts {
    /// Counts refused items of one request.
    pub fn refuse(&mut self, signal: Signal, refusals: &Refusals) {
        for cause in Cause::ALL {
            self.items[signal as usize][cause as usize] += u64::from(refusals.of(cause));
        }
    }

    /// Refused items of a signal, for one cause.
    #[must_use]
    pub const fn of(&self, signal: Signal, cause: Cause) -> u64 {
        self.items[signal as usize][cause as usize]
    }

    /// Refused items of a signal.
    #[must_use]
    pub fn total(&self, signal: Signal) -> u64 {
        self.items[signal as usize].iter().sum()
    }

    fn add(&mut self, other: &Self) {
        self.requests += other.requests;
        self.ignored_names += other.ignored_names;
        self.repaired_texts += other.repaired_texts;
        for (mine, theirs) in self.items.iter_mut().flatten().zip(other.items.iter().flatten()) {
            *mine += theirs;
        }
    }
}

impl Ledger {
    /// True while anything is with the exporters or in the open batch.
    #[must_use]
    pub fn has_exporting(&self) -> bool {
        [&self.spans, &self.metrics, &self.logs].iter().any(|account| account.exporting > 0)
    }

    /// Adds another shard's books, whose policies are the same.
    pub fn add(&mut self, other: &Self) {
        self.spans.add(&other.spans);
        self.metrics.add(&other.metrics);
        self.logs.add(&other.logs);
        self.traces.add(&other.traces);
        for (mine, theirs) in self.policies.iter_mut().zip(&other.policies) {
            mine.matched += theirs.matched;
            mine.unmatched += theirs.unmatched;
            mine.failed += theirs.failed;
            mine.decided += theirs.decided;
            mine.decided_spans += theirs.decided_spans;
            mine.decided_bytes += theirs.decided_bytes;
            mine.alone += theirs.alone;
        }
        self.refused.add(&other.refused);
    }

    /// The account of `signal`.
    pub fn account(&mut self, signal: Signal) -> &mut Account {
        match signal {
            Signal::Traces => &mut self.spans,
            Signal::Metrics => &mut self.metrics,
            Signal::Logs => &mut self.logs,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reasons_index_their_own_counter() {
        let mut account = Account::default();
        for (index, reason) in DropReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, index);
            account.drop_items(reason, 1);
        }
        assert_eq!(account.dropped, [1; DropReason::ALL.len()]);
    }

    #[test]
    fn a_lost_span_does_not_balance() {
        let account = Account { received: 3, buffered: 1, exported: 1, ..Account::default() };
        assert!(!account.balances());
        assert!(Account { exporting: 1, ..account }.balances());
    }
}
