//! How long a trace waits for its spans, and which of its waits ends it.

use super::ShardPlan;
use crate::buffer::traces::Trace;
use crate::judge::Windows;
use crate::vocabulary::{Nanos, Occasion, elapsed_ticks, tick_of, ticks};

/// The waits of a shard's traces. One of 0 is switched off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    decision: Nanos,
    after_root: Nanos,
    inactivity: Nanos,
    duration_max: Nanos,
}

const OFF: Nanos = Nanos(0);

impl Waits {
    pub(super) fn of(plan: &ShardPlan) -> Self {
        Self {
            decision: plan.decision_wait,
            after_root: plan.decision_wait_after_root,
            inactivity: plan.inactivity_timeout,
            duration_max: plan.trace_duration_max,
        }
    }

    /// When a trace opened at `arrived` is to be judged, if nothing else comes.
    pub(super) fn deadline(&self, arrived: Nanos, windows: &Windows) -> u32 {
        let wait = if self.inactivity > OFF { self.inactivity } else { self.decision };
        let wait = if self.duration_max > OFF { wait.min(self.duration_max) } else { wait };
        windows.open_end(tick_of(arrived.plus(wait)))
    }

    /// When a trace is to be judged whose root came at `arrived`, if that ends its wait.
    pub(super) fn deadline_of_root(&self, arrived: Nanos, windows: &Windows) -> Option<u32> {
        (self.after_root > OFF).then(|| windows.open_end(tick_of(arrived.plus(self.after_root))))
    }

    /// Which of the waits of a trace ends it, as it is: of one that is due, which is over.
    pub(super) fn that_ends(&self, trace: &Trace, windows: &Windows) -> Occasion {
        let after = |wait: Nanos| windows.end(trace.opened.saturating_add(ticks(wait)));
        let has_inactivity = self.inactivity > OFF;
        let is_root_awaited = trace.seen.root_seen && self.after_root > OFF;
        if is_root_awaited && (has_inactivity || trace.deadline < after(self.decision)) {
            return Occasion::AfterRoot;
        }
        let may_last = self.duration_max > OFF && (has_inactivity || self.duration_max < self.decision);
        if may_last && trace.deadline >= after(self.duration_max) {
            return Occasion::DurationMax;
        }
        if has_inactivity { Occasion::Inactivity } else { Occasion::Deadline }
    }

    /// Whether traces are judged when they have been quiet.
    pub(super) fn has_inactivity(&self) -> bool {
        self.inactivity > OFF
    }

    /// With an inactivity timeout: the deadline of a trace whose latest span is too recent for it to be judged. It was not
    /// moved as spans came, so that a span costs nothing here.
    pub(super) fn still_active(&self, now: Nanos, trace: &Trace, windows: &Windows) -> Option<u32> {
        let timeout = ticks(self.inactivity);
        let root_came = trace.seen.root_seen && self.after_root > OFF;
        if timeout == 0 || root_came {
            return None;
        }
        let longest = ticks(self.duration_max);
        let quiet = trace.active.saturating_add(timeout);
        let last = if longest == 0 { u32::MAX } else { trace.opened.saturating_add(longest) };
        let deadline = windows.end(quiet.min(last));
        (deadline > elapsed_ticks(now)).then_some(deadline)
    }
}
