//! Verdicts: what is due is judged, noted in the log, remembered for late spans, and its memory given back.

use super::outgoing::{OpenBatch, OpenLabel};
use super::reason::tick_start;
use super::{Shard, ShardPlan, WINDOW_TICKS, elapsed_ticks, tick_of, ticks};
use crate::buffer::traces::Trace;
use crate::decide::KeptBy;
use crate::evidence::Row;
use crate::host::Host;
use crate::index::Place;
use crate::ledger::DropReason;
use crate::randomness::TraceRandomness;
use crate::rules::Ballot;
use crate::rules::limit::Cost;
use crate::vocabulary::{Annotations, Destinations, Judged, KeptUnit, Nanos, Occasion, RandomnessKind, Verdict};
use tailwater_config::sampling::Strategy;

/// Traces judged in one step, so that their memory is walked together.
const JUDGE_STEP: usize = 256;
/// Traces judged in one call of `tick`; the caller comes back for more after letting requests through.
const JUDGE_PER_TICK_MAX: usize = 4 * JUDGE_STEP;

impl Shard {
    /// Judges what is due and sends a batch that has waited long enough, as far as the host has room for what is kept. True
    /// when more is due and there is room: call again soon, after letting other work through.
    pub fn tick(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut more = true;
        let mut judged = 0;
        while more && judged < JUDGE_PER_TICK_MAX {
            let mut due = std::mem::take(&mut self.due);
            // A deadline is rounded up to its tick, so the tick must have begun.
            more = self.buffer.traces.expire(self.last_due(now), JUDGE_STEP, &mut due);
            judged += due.len();
            if !self.rules.has_windows() {
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
        self.cool_old(now);
        if self.export.spans() > 0 && now >= self.batch_opened.plus(self.plan.flush_interval) && host.has_room() {
            self.flush(host);
        }
        more
    }

    /// Makes room: judges the trace that is due soonest.
    #[cold]
    pub(super) fn judge_soonest(&mut self, now: Nanos, occasion: Occasion, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.expire_soonest(1, &mut due);
        self.judge(now, &due, occasion, host);
        self.due = due;
    }

    /// Judges the next traces early, to free the log's oldest segments, as far as the host has room for what is kept.
    pub fn decide_early(&mut self, now: Nanos, host: &mut impl Host) {
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.expire_soonest(JUDGE_STEP, &mut due);
        self.judge_while_room(now, &due, Occasion::LogFull, host);
        self.due = due;
    }

    /// Judges up to `JUDGE_STEP` undecided traces whatever their deadline, for a shutdown, as far as the host has room for
    /// what is kept. True when more is left, to be judged or to be sent.
    pub fn drain(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.expire_soonest(JUDGE_STEP, &mut due);
        if self.plan.drop_pending_at_drain {
            for entry in &due {
                let ballot = Ballot::dropped(DropReason::ShutdownPending);
                self.note_reason(*entry, &ballot, 0, now, Occasion::Drain);
                self.settle_dropped(*entry, ballot, Occasion::Drain, host);
            }
            self.ledger.traces.decided_at_drain += due.len() as u64;
            self.release(&due, host);
        } else {
            self.judge_while_room(now, &due, Occasion::Drain, host);
        }
        self.due = due;
        if self.buffer.traces.is_empty() && self.export.spans() > 0 && host.has_room() {
            self.flush(host);
        }
        !self.buffer.traces.is_empty() || self.export.spans() > 0
    }

    /// Sends what is kept and still being gathered, whether anything more is to be judged or not.
    pub fn send_gathered(&mut self, host: &mut impl Host) {
        if self.export.spans() > 0 {
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
        rest.iter().rev().for_each(|entry| self.buffer.traces.put_back(*entry));
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
        self.quantiles.turn(now);
        let sent = self.batches_sent;
        let mut judged = 0;
        for entry in due {
            self.compare_with_its_kind(*entry);
            let occasion = if occasion == Occasion::Deadline { self.wait_that_ends(*entry) } else { occasion };
            let (ballot, randomness) = self.ballot(now, *entry, occasion);
            self.count_for_its_kind(*entry);
            self.note_reason(*entry, &ballot, randomness.value, now, occasion);
            match ballot.verdict {
                Verdict::Keep(policy) => self.settle_kept(now, *entry, (policy, ballot, randomness), occasion, host),
                Verdict::Drop => self.settle_dropped(*entry, ballot, occasion, host),
            }
            judged += 1;
            if self.batches_sent != sent {
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

    /// Sets the keys of a trace that is about to be judged, and the leaves on its duration relative to that of its kind.
    pub(super) fn compare_with_its_kind(&mut self, entry: u32) {
        let Self { buffer, rules, quantiles, generations, .. } = self;
        let generation = buffer.traces.get(entry).generation;
        buffer.give_keys(entry, generations.rules(generation, rules));
        if rules.relative().is_empty() || generation != rules.generation() {
            return;
        }
        let (seen, more) = buffer.traces.evidence_mut(entry);
        quantiles.compare(rules.relative(), seen, more);
    }

    /// Counts the duration of a judged trace for those of its kind that come after it.
    fn count_for_its_kind(&mut self, entry: u32) {
        let Self { buffer, rules, quantiles, .. } = self;
        if rules.relative().is_empty() || buffer.traces.get(entry).generation != rules.generation() {
            return;
        }
        let evidence = buffer.evidence(entry);
        for (number, leaf) in rules.relative().iter().enumerate() {
            let key = evidence.more.get(usize::from(leaf.key)).copied().unwrap_or(0);
            quantiles.add(number, leaf, key, evidence.seen.duration_nanos());
        }
    }

    /// The rows of a trace whose spans came with several thresholds.
    pub(super) fn rows(&self, entry: u32) -> Vec<Row> {
        let Trace { generation, id, .. } = self.buffer.traces.get(entry);
        let rules = self.generations.rules(*generation, &self.rules);
        let mut rows = self.buffer.head(entry).map(|head| head.rows(rules, id)).unwrap_or_default();
        if *generation == self.rules.generation() {
            rows.iter_mut().for_each(|row| self.quantiles.compare(rules.relative(), &mut row.seen, &mut row.more));
        }
        rows
    }

    /// The numbers of the annotations that the spans of a kept trace get.
    fn annotations(&mut self, entry: u32, policy: u16, randomness: u64) -> Vec<u16> {
        let Self { buffer, rules, limits, generations, .. } = self;
        let (rules, limits) = generations.of(buffer.traces.get(entry).generation, rules, limits);
        rules.annotations(policy, &buffer.evidence(entry), randomness, limits)
    }

    fn encoded_annotations(&mut self, generation: u32, numbers: &[u16]) -> Vec<u8> {
        let (rules, _) = self.generations.of(generation, &self.rules, &mut self.limits);
        rules.encoded_annotations(numbers.iter().copied())
    }

    /// Asks the policies.
    fn ballot(&mut self, now: Nanos, entry: u32, occasion: Occasion) -> (Ballot, TraceRandomness) {
        if self.plan.strategy == Strategy::SpanIngest {
            // Every piece was asked about when it came.
            let undecided = Ballot::dropped(DropReason::NotSampled);
            return (undecided, TraceRandomness { value: 0, kind: RandomnessKind::Id });
        }
        // One that is judged early but was in the window is in its thresholds.
        let is_between = (occasion.is_early() || occasion == Occasion::Drain) && !self.is_in_window(entry);
        let rows = self.rows(entry);
        let Self { buffer, rules, limits, generations, ledger, randomness, wants, .. } = self;
        let trace = buffer.traces.get(entry);
        let (rules, limits) = generations.of(trace.generation, rules, limits);
        let evidence = buffer.evidence(entry);
        if !rules.is_by_randomness() {
            let ballot = rules.judge_arrival(&evidence, limits, now, &mut ledger.policies);
            rules.judge_shadows(&evidence, (0, now), limits, &ballot, &mut ledger.policies);
            return (ballot, TraceRandomness { value: 0, kind: RandomnessKind::Id });
        }
        let head = buffer.head(entry);
        randomness.count(&trace.id, head, trace.seen.is_random);
        let randomness = randomness.of(&trace.id, head, trace.seen.is_random);
        limits.judge_early(is_between && occasion.is_early());
        let ballot = rules.judge_randomness(&evidence, &rows, randomness.value, limits, &mut ledger.policies);
        rules.judge_shadows(&evidence, (randomness.value, now), limits, &ballot, &mut ledger.policies);
        if is_between {
            // It goes by the last window's threshold: what it takes is missing in the next.
            let own = (randomness.value, matches!(ballot.verdict, Verdict::Keep(_)));
            rules.offers(&evidence, own.0, None, &mut |limit, group, cost| wants.push((limit, group, cost)));
            rules.offers(&evidence, own.0, Some(limits), &mut |limit, group, cost| wants.push((limit, group, cost)));
            wants.drain(..).for_each(|(limit, group, cost)| limits.charge(limit, group, own, cost));
        }
        (ballot, randomness)
    }

    /// At the beginning of a window, sets the thresholds of limits by what is due; true when there is something to judge
    /// by them.
    fn cut_window(&mut self, now: Nanos) -> bool {
        let window = elapsed_ticks(now) / WINDOW_TICKS;
        if !self.rules.has_windows() || window <= self.window {
            return false;
        }
        self.window = window;
        let mut due = std::mem::take(&mut self.due);
        self.buffer.traces.due(self.last_due(now), &mut due);
        due.retain(|entry| match self.still_active(now, *entry) {
            Some(deadline) => {
                self.buffer.traces.reschedule(*entry, deadline);
                false
            }
            None => true,
        });
        if self.plan.strategy == Strategy::SpanIngest {
            // Every piece wanted to pass when it came.
            due.clear();
        }
        self.cut_limits(now, &due);
        self.due = due;
        true
    }

    /// Whether a trace was among those that the limits' thresholds were set by.
    fn is_in_window(&self, entry: u32) -> bool {
        self.rules.has_windows() && self.buffer.traces.get(entry).deadline <= self.window.saturating_mul(WINDOW_TICKS)
    }

    /// Sets the thresholds of limits for `due` and nothing else.
    fn cut_limits(&mut self, now: Nanos, due: &[u32]) {
        self.refresh_all(due);
        due.iter().for_each(|entry| self.compare_with_its_kind(*entry));
        self.offer(due, false);
        self.limits.cut(now);
        // What a rule's own limits refuse is not to take a part of the budget.
        self.offer(due, true);
        self.limits.cut_budget(now);
    }

    /// Offers traces to the limits, or to the budget.
    fn offer(&mut self, due: &[u32], to_budget: bool) {
        let Self { buffer, rules, limits, generations, randomness, wants, .. } = self;
        for entry in due {
            let trace = buffer.traces.get(*entry);
            let (rules, limits) = generations.of(trace.generation, rules, limits);
            let own = randomness.of(&trace.id, buffer.head(*entry), trace.seen.is_random).value;
            let others = to_budget.then_some(&*limits);
            rules.offers(&buffer.evidence(*entry), own, others, &mut |limit, group, cost| {
                wants.push((limit, group, cost))
            });
            let always = buffer.head(*entry).and_then(|head| head.least_size(&trace.id));
            for (limit, group, paid) in wants.drain(..) {
                let cost = always.map_or(paid, |size| match limits.cost(limit) {
                    Cost::Spans => u64::from(size.spans),
                    Cost::Bytes => u64::from(size.bytes),
                });
                limits.offer_as(limit, group, own, (cost.min(paid), paid));
            }
        }
    }

    /// The tick up to which traces are judged now: where limits need whole windows the one at which the last window that
    /// was cut began.
    fn last_due(&self, now: Nanos) -> u32 {
        if self.rules.has_windows() { self.window.saturating_mul(WINDOW_TICKS) } else { elapsed_ticks(now) }
    }

    /// The trace is larger than it may be.
    #[cold]
    pub(super) fn outgrew(&mut self, entry: u32, host: &mut impl Host) {
        self.buffer.traces.unlink(entry);
        let ballot = Ballot::dropped(DropReason::TraceTooLarge);
        let now = tick_start(self.buffer.traces.get(entry).active);
        self.note_reason(entry, &ballot, 0, now, Occasion::TooLarge);
        self.settle_dropped(entry, ballot, Occasion::TooLarge, host);
        self.release(&[entry], host);
    }

    pub(super) fn settle_kept(
        &mut self,
        now: Nanos,
        entry: u32,
        (policy, ballot, randomness): (u16, Ballot, TraceRandomness),
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        let mark = self.mark(ballot.threshold, randomness);
        let generation = self.buffer.traces.get(entry).generation;
        let rules = self.generations.rules(generation, &self.rules);
        let is_by_randomness = rules.is_by_randomness();
        let mut label = self.plan.record_policy.then(|| {
            let name = |number: u16| rules.sub_policy_names().get(usize::from(number)).cloned();
            OpenLabel::new(policy, ballot.sub_policy.and_then(name), false)
        });
        let numbers = if is_by_randomness { self.annotations(entry, policy, randomness.value) } else { Vec::new() };
        let kept = KeptBy {
            policy,
            threshold: ballot.threshold,
            randomness: randomness.kind,
            given: (randomness.kind == RandomnessKind::Given).then_some(randomness.value),
            annotations: Annotations::of(&numbers),
        };
        let span_mark = self.span_mark(kept, false);
        let annotations = self.encoded_annotations(generation, &numbers);
        let is_changed = !mark.is_plain() || !annotations.is_empty() || self.buffer.head(entry).is_some();
        let is_marked = is_by_randomness && is_changed;
        // The verdict is in the log before anything that follows from it.
        self.note(entry, ballot, Some(kept), occasion, host);
        let mut fragments = std::mem::take(&mut self.fragments);
        self.buffer.fragments(entry, &mut fragments);
        let mut recalled = 0;
        for reference in &fragments {
            if reference.is_cold() {
                host.recall(KeptUnit { unit: self.buffer.cold.get(*reference).0, mark: span_mark });
                recalled += 1;
                continue;
            }
            let fragment = self.buffer.arena.fragment(*reference);
            let bytes = if is_marked { self.marker.mark(fragment.bytes, &mark, &annotations) } else { fragment.bytes };
            let scope = match &mut label {
                Some(label) => label.scope(fragment.scope, &self.rules, &mut self.buffer.envelopes),
                None => fragment.scope,
            };
            let span = (scope, KeptUnit { unit: fragment.unit, mark: span_mark }, bytes);
            let destinations = Destinations::ALL;
            let batch = OpenBatch { export: &mut self.export, opened: &mut self.batch_opened, destinations };
            self.batches_sent += batch.add(now, span, &mut self.buffer.envelopes, host);
        }
        if let Some(label) = label {
            label.close(&mut self.buffer.envelopes);
        }
        self.fragments = fragments;
        let trace = self.buffer.traces.get_mut(entry);
        trace.is_kept = true;
        let (hash, spans) = (trace.hash, u64::from(trace.size.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.exporting += spans - recalled;
        self.ledger.spans.park(recalled);
        self.ledger.traces.pending -= 1;
        self.ledger.traces.kept += 1;
        let remembered = self.kept.remember(hash, Some(kept));
        self.remember(entry, hash, remembered, Place::Kept);
    }

    pub(super) fn settle_dropped(&mut self, entry: u32, ballot: Ballot, occasion: Occasion, host: &mut impl Host) {
        self.note(entry, ballot, None, occasion, host);
        let trace = self.buffer.traces.get(entry);
        let (hash, spans) = (trace.hash, u64::from(trace.size.spans));
        self.ledger.spans.buffered -= spans;
        self.ledger.spans.drop_items(ballot.drop_reason, spans);
        self.ledger.traces.pending -= 1;
        self.ledger.traces.dropped += 1;
        let is_forgotten = self.plan.forgets_undecided && occasion != Occasion::Ingest;
        let remembered = if is_forgotten { None } else { self.dropped.remember(hash, None) };
        self.remember(entry, hash, remembered, Place::Dropped);
    }

    fn note(&self, entry: u32, ballot: Ballot, kept: Option<KeptBy>, occasion: Occasion, host: &mut impl Host) {
        let trace = self.buffer.traces.get(entry);
        host.judged(&Judged {
            trace_id: trace.id,
            verdict: ballot.verdict,
            drop_reason: ballot.drop_reason as u8,
            occasion,
            threshold: ballot.threshold,
            randomness: kept.map_or(RandomnessKind::Id, |kept| kept.randomness),
            given: kept.and_then(|kept| kept.given),
            annotations: kept.map_or(Annotations::NONE, |kept| kept.annotations),
            spans: trace.size.spans,
            generation: trace.generation,
        });
    }

    /// When a trace opened at `arrived` is to be judged, if nothing else comes.
    pub(super) fn deadline(&self, arrived: Nanos) -> u32 {
        let off = Nanos::default();
        let ShardPlan { inactivity_timeout, decision_wait, trace_duration_max, .. } = self.plan;
        let wait = if inactivity_timeout > off { inactivity_timeout } else { decision_wait };
        let wait = if trace_duration_max > off { wait.min(trace_duration_max) } else { wait };
        self.open_window_end(tick_of(arrived.plus(wait)))
    }

    /// Which of the waits of a trace ends it, as it is: of one that is due, which is over.
    pub(super) fn wait_that_ends(&self, entry: u32) -> Occasion {
        let ShardPlan { decision_wait, decision_wait_after_root, inactivity_timeout, trace_duration_max, .. } =
            self.plan;
        let (off, trace) = (Nanos::default(), self.buffer.traces.get(entry));
        let after = |wait: Nanos| self.window_end(trace.opened.saturating_add(ticks(wait)));
        let has_inactivity = inactivity_timeout > off;
        let is_root_awaited = trace.seen.root_seen && decision_wait_after_root > off;
        if is_root_awaited && (has_inactivity || trace.deadline < after(decision_wait)) {
            return Occasion::AfterRoot;
        }
        let may_last = trace_duration_max > off && (has_inactivity || trace_duration_max < decision_wait);
        if may_last && trace.deadline >= after(trace_duration_max) {
            return Occasion::DurationMax;
        }
        if has_inactivity { Occasion::Inactivity } else { Occasion::Deadline }
    }

    /// `tick`, or where limits need whole windows the end of the window that it is in; of the next one, if that was cut.
    pub(super) fn open_window_end(&self, tick: u32) -> u32 {
        let end = self.window_end(tick);
        if self.rules.has_windows() { end.max((self.window + 1).saturating_mul(WINDOW_TICKS)) } else { end }
    }

    /// `tick`, or where limits need whole windows the end of the window that it is in.
    fn window_end(&self, tick: u32) -> u32 {
        if self.rules.has_windows() { tick.div_ceil(WINDOW_TICKS).saturating_mul(WINDOW_TICKS) } else { tick }
    }

    /// With an inactivity timeout, puts those of `due` back on the wheel whose latest span is too recent. Their deadline was
    /// not moved as spans came, so that a span costs nothing here.
    fn postpone_active(&mut self, now: Nanos, due: &mut Vec<u32>) {
        if self.plan.inactivity_timeout == Nanos::default() {
            return;
        }
        due.retain(|entry| match self.still_active(now, *entry) {
            Some(deadline) => {
                self.buffer.traces.schedule(*entry, deadline);
                false
            }
            None => true,
        });
    }

    /// With an inactivity timeout: the deadline of a trace whose latest span is too recent for it to be judged.
    fn still_active(&self, now: Nanos, entry: u32) -> Option<u32> {
        let timeout = ticks(self.plan.inactivity_timeout);
        let trace = self.buffer.traces.get(entry);
        let root_came = trace.seen.root_seen && self.plan.decision_wait_after_root > Nanos::default();
        if timeout == 0 || root_came {
            return None;
        }
        let longest = ticks(self.plan.trace_duration_max);
        let quiet = trace.active.saturating_add(timeout);
        let last = if longest == 0 { u32::MAX } else { trace.opened.saturating_add(longest) };
        let deadline = self.window_end(quiet.min(last));
        (deadline > elapsed_ticks(now)).then_some(deadline)
    }

    /// Moves a judged trace in the index from its entry to its verdict, and out of it the verdict that gave way.
    fn remember(&mut self, entry: u32, hash: u64, remembered: Option<(u32, Option<u64>)>, kind: fn(u32) -> Place) {
        self.forget_evicted(remembered, kind);
        let Some(slot) = self.index.slot_of(hash, Place::Pending(entry)) else { return };
        match remembered {
            Some((position, _)) => self.index.replace(slot, kind(position)),
            None => self.index.remove(slot),
        }
    }

    pub(super) fn forget_evicted(&mut self, remembered: Option<(u32, Option<u64>)>, kind: fn(u32) -> Place) {
        if let Some((position, Some(evicted))) = remembered
            && let Some(slot) = self.index.slot_of(evicted, kind(position))
        {
            self.index.remove(slot);
            self.ledger.traces.verdicts_forgotten += 1;
        }
    }
}
