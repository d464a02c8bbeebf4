//! The clock of a shard: what is due is judged, as far as the host has room for what is kept; a window is cut when it is
//! over; what has waited for more spans is sent.

use super::Shard;
use super::holding::BROUGHT_IN;
use crate::host::Host;
use crate::judge::Ruling;
use crate::ledger::DropReason;
use crate::vocabulary::{Nanos, Occasion};
use tailwater_config::sampling::Strategy;

/// Traces judged in one step, so that their memory is walked together.
pub(super) const JUDGE_STEP: usize = 256;
/// Traces judged in one call of `tick`.
/// At the bound: the caller lets requests through, then comes back.
pub(super) const JUDGE_PER_TICK_MAX: usize = 4 * JUDGE_STEP;

impl Shard {
    /// Judges what is due and sends a batch that has waited long enough, as far as the host has room for what is kept. True
    /// when more is due and there is room: call again soon, after letting other work through.
    pub fn tick(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        self.holding.set_time(now);
        let more = if self.cluster.is_some() { self.tick_in_cluster(now, host) } else { self.judge_due(now, host) };
        self.cool_old(now);
        let is_due = now >= self.outgoing.opened().plus(self.plan.flush_interval);
        if self.outgoing.spans() > 0 && is_due && host.has_room() {
            self.flush(host);
        }
        more
    }

    /// Judges what is due, as a node alone does.
    fn judge_due(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut more = true;
        let mut judged = 0;
        while more && judged < JUDGE_PER_TICK_MAX {
            let mut due = std::mem::take(&mut self.due);
            // A deadline is rounded up to its tick, so the tick must have begun.
            more = self.holding.buffer.traces.expire(self.bench.windows.last_due(now), JUDGE_STEP, &mut due);
            judged += due.len();
            if !self.bench.windows.is_on() {
                self.postpone_active(now, &mut due);
            }
            let is_all = self.judge_while_room(now, &due, Occasion::Deadline, host);
            self.due = due;
            if !is_all {
                more = false;
                break;
            }
            // A window is cut when all of the one before have been judged, whatever the time: each trace is in one window.
            more = more || self.cut_window(now);
        }
        more
    }

    /// Makes room: judges the trace that is due soonest.
    #[cold]
    pub(super) fn judge_soonest(&mut self, now: Nanos, occasion: Occasion, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.holding.buffer.traces.expire_soonest(1, &mut due);
        self.judge(now, &due, occasion, host);
        self.due = due;
    }

    /// Judges the next traces early, to free the log's oldest segments, as far as the host has room for what is kept.
    pub fn decide_early(&mut self, now: Nanos, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.holding.buffer.traces.expire_soonest(JUDGE_STEP, &mut due);
        self.judge_while_room(now, &due, Occasion::LogFull, host);
        self.due = due;
    }

    /// Judges up to `JUDGE_STEP` undecided traces whatever their deadline, for a shutdown, as far as the host has room for
    /// what is kept. True when more is left, to be judged or to be sent.
    pub fn drain(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut due = std::mem::take(&mut self.due);
        self.holding.buffer.traces.expire_soonest(JUDGE_STEP, &mut due);
        if self.plan.drop_pending_at_drain {
            let ruling = Ruling::dropped(DropReason::ShutdownPending);
            for entry in &due {
                self.note_reason(now, *entry, &ruling, Occasion::Drain);
                self.carry_out(now, *entry, &ruling, Occasion::Drain, host);
            }
            self.ledger.traces.decided_at_drain += due.len() as u64;
            self.release(&due, host);
        } else {
            self.judge_while_room(now, &due, Occasion::Drain, host);
        }
        self.due = due;
        if self.holding.buffer.traces.is_empty() && self.outgoing.spans() > 0 && host.has_room() {
            self.flush(host);
        }
        !self.holding.buffer.traces.is_empty() || self.outgoing.spans() > 0
    }

    /// Sends what is kept and still being gathered, whether anything more is to be judged or not, once there is room for it.
    pub fn send_gathered(&mut self, host: &mut impl Host) {
        if self.outgoing.spans() > 0 && host.has_room() {
            self.flush(host);
        }
    }

    /// Judges traces that are off the wheel as long as the host has room for what is kept; the others are put back. True
    /// when all were judged.
    pub(super) fn judge_while_room(
        &mut self,
        now: Nanos,
        due: &[u32],
        occasion: Occasion,
        host: &mut impl Host,
    ) -> bool {
        let mut rest = due;
        while !rest.is_empty() && host.has_room() {
            rest = self.judge_until_sent(now, rest, occasion, host);
        }
        if rest.is_empty() {
            return true;
        }
        self.ledger.traces.verdicts_postponed += 1;
        // The list of a tick is built from its end.
        rest.iter().rev().for_each(|entry| self.holding.buffer.traces.put_back(*entry));
        false
    }

    /// Judges traces that are off the wheel, and gives back their memory, whether or not the host has room.
    pub(super) fn judge(&mut self, now: Nanos, due: &[u32], occasion: Occasion, host: &mut impl Host) {
        let mut rest = due;
        while !rest.is_empty() {
            rest = self.judge_until_sent(now, rest, occasion, host);
        }
    }

    /// Judges traces that are off the wheel until a request has gone to the host, and gives back their memory. Returns
    /// those that are left.
    fn judge_until_sent<'a>(
        &mut self,
        now: Nanos,
        due: &'a [u32],
        occasion: Occasion,
        host: &mut impl Host,
    ) -> &'a [u32] {
        self.refresh_all(due);
        self.bench.turn(now);
        let sent = self.outgoing.sent();
        let mut judged = 0;
        for (number, entry) in due.iter().enumerate() {
            if number % BROUGHT_IN == 0 {
                self.holding.bring_in_judged(&due[number..due.len().min(number + BROUGHT_IN)]);
            }
            let occasion = match occasion {
                Occasion::Deadline => self.wait_that_ends(*entry),
                early => early,
            };
            let ruling = self.rule(now, *entry, occasion);
            self.note_reason(now, *entry, &ruling, occasion);
            if self.cluster.is_some() {
                self.tell_alone(*entry, &ruling);
            }
            self.carry_out(now, *entry, &ruling, occasion, host);
            judged += 1;
            if self.outgoing.sent() != sent {
                break;
            }
        }
        let (judged, left) = due.split_at(judged);
        if occasion.is_early() {
            self.ledger.traces.decided_early += judged.len() as u64;
        } else if occasion == Occasion::Drain {
            self.ledger.traces.decided_at_drain += judged.len() as u64;
        }
        self.release(judged, host);
        left
    }

    fn rule(&mut self, now: Nanos, entry: u32, occasion: Occasion) -> Ruling {
        if self.plan.strategy == Strategy::SpanIngest {
            // Every piece was asked about when it came.
            return Ruling::dropped(DropReason::NotSampled);
        }
        self.bench.rule(now, (&mut self.holding, entry), occasion, &mut self.ledger.policies)
    }

    /// Which of the waits of a trace ends it.
    pub(super) fn wait_that_ends(&self, entry: u32) -> Occasion {
        self.waits.that_ends(self.holding.buffer.traces.get(entry), &self.bench.windows)
    }

    /// At the beginning of a window, sets the thresholds of limits by what is due; true when there is something to judge
    /// by them.
    fn cut_window(&mut self, now: Nanos) -> bool {
        if !self.bench.windows.advance(now) {
            return false;
        }
        let mut due = std::mem::take(&mut self.due);
        let Self { waits, bench, holding, .. } = self;
        let (traces, windows) = (&mut holding.buffer.traces, &bench.windows);
        traces.due(windows.last_due(now), &mut due);
        due.retain(|entry| match waits.still_active(now, traces.get(*entry), windows) {
            Some(deadline) => {
                traces.reschedule(*entry, deadline);
                false
            }
            None => true,
        });
        match self.plan.strategy {
            Strategy::SpanIngest => self.bench.cut_pieces(now),
            Strategy::TraceComplete => {
                self.refresh_all(&due);
                self.bench.cut(now, &mut self.holding, &due);
            }
        }
        self.due = due;
        true
    }

    /// With an inactivity timeout, puts those of `due` back on the wheel whose latest span is too recent.
    fn postpone_active(&mut self, now: Nanos, due: &mut Vec<u32>) {
        if !self.waits.has_inactivity() {
            return;
        }
        let (traces, windows) = (&mut self.holding.buffer.traces, &self.bench.windows);
        due.retain(|entry| match self.waits.still_active(now, traces.get(*entry), windows) {
            Some(deadline) => {
                traces.schedule(*entry, deadline);
                false
            }
            None => true,
        });
    }
}
