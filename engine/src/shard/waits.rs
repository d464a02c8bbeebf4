//! How long a trace waits for its spans, and which of its waits ends it.

use super::ShardPlan;
use crate::buffer::traces::Trace;
use crate::cluster::docket::{Docketed, NO_ROOT};
use crate::cluster::{ClusterPlan, GATHER};
use crate::judge::{WINDOW_TICKS, Windows};
use crate::vocabulary::{Nanos, Occasion, elapsed_ticks, tick_of, tick_start, ticks};

/// The waits of a shard's traces. One of 0 is switched off.
#[derive(Debug, Clone, Copy)]
pub(super) struct Waits {
    decision: Nanos,
    after_root: Nanos,
    inactivity: Nanos,
    duration_max: Nanos,
    /// Ticks past a deadline that a verdict is waited for which another node reaches; 0 for a node alone.
    patience: u32,
}

const OFF: Nanos = Nanos(0);

impl Waits {
    pub(super) fn of(plan: &ShardPlan) -> Self {
        Self {
            decision: plan.decision_wait,
            after_root: plan.decision_wait_after_root,
            inactivity: plan.inactivity_timeout,
            duration_max: plan.trace_duration_max,
            patience: 0,
        }
    }

    /// The same, where other nodes judge.
    pub(super) fn in_cluster(self, cluster: &ClusterPlan, windows: &Windows) -> Self {
        let window = if windows.is_on() { WINDOW_TICKS } else { 0 };
        Self { patience: ticks(cluster.answer_wait.plus(GATHER)) + window, ..self }
    }

    /// When a trace opened at `arrived` is to be judged, if nothing else comes.
    pub(super) fn deadline(&self, arrived: Nanos, windows: &Windows) -> u32 {
        let wait = if self.inactivity > OFF { self.inactivity } else { self.decision };
        let wait = if self.duration_max > OFF { wait.min(self.duration_max) } else { wait };
        windows.open_end(tick_of(arrived.plus(wait))).saturating_add(self.patience)
    }

    /// When a trace is to be judged whose root came at `arrived`, if that ends its wait.
    pub(super) fn deadline_of_root(&self, arrived: Nanos, windows: &Windows) -> Option<u32> {
        let end = || windows.open_end(tick_of(arrived.plus(self.after_root))).saturating_add(self.patience);
        (self.after_root > OFF).then(end)
    }

    /// When a trace on the docket is to be judged, as it is now.
    pub(super) fn deadline_on_docket(&self, trace: &Docketed, windows: &Windows) -> u32 {
        let after = |tick: u32, wait: Nanos| tick_of(tick_start(tick).plus(wait));
        let mut end = match self.has_inactivity() {
            true => after(trace.active, self.inactivity),
            false => after(trace.opened, self.decision),
        };
        if self.duration_max > OFF {
            end = end.min(after(trace.opened, self.duration_max));
        }
        if self.after_root > OFF && trace.root_came != NO_ROOT {
            end = end.min(after(trace.root_came, self.after_root.plus(GATHER)));
        }
        windows.open_end(end)
    }

    /// Which of the waits of a trace on the docket ends it.
    pub(super) fn that_ends_on_docket(&self, trace: &Docketed, windows: &Windows) -> Occasion {
        self.that_ends_of((trace.opened, trace.deadline, trace.root_came != NO_ROOT), windows)
    }

    /// Which of the waits of a trace ends it, as it is: of one that is due, which is over.
    pub(super) fn that_ends(&self, trace: &Trace, windows: &Windows) -> Occasion {
        self.that_ends_of((trace.opened, trace.deadline, trace.seen.root_seen), windows)
    }

    fn that_ends_of(&self, (opened, deadline, root_seen): (u32, u32, bool), windows: &Windows) -> Occasion {
        let after = |wait: Nanos| windows.end(opened.saturating_add(ticks(wait)));
        let has_inactivity = self.inactivity > OFF;
        let is_root_awaited = root_seen && self.after_root > OFF;
        if is_root_awaited && (has_inactivity || deadline < after(self.decision)) {
            return Occasion::AfterRoot;
        }
        let may_last = self.duration_max > OFF && (has_inactivity || self.duration_max < self.decision);
        if may_last && deadline >= after(self.duration_max) {
            return Occasion::DurationMax;
        }
        if has_inactivity { Occasion::Inactivity } else { Occasion::Deadline }
    }

    /// How long most traces last at most, from their first span to their verdict.
    pub(super) fn longest(&self) -> Nanos {
        self.decision.max(self.inactivity).max(self.duration_max)
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
