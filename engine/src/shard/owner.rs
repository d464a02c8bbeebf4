//! A shard as an owner: it judges the traces on its docket by what all nodes told, and says what came of each.

use super::Shard;
use super::session::{Docketing, Session};
use super::settle::{judged, kept_by};
use super::telling::{ask, write_ruling};
use super::tick::{JUDGE_PER_TICK_MAX, JUDGE_STEP};
use crate::cluster::docket::Docketed;
use crate::cluster::{ASK_INTERVAL, Cluster};
use crate::host::Host;
use crate::judge::Ruling;
use crate::ledger::DropReason;
use crate::vocabulary::{Nanos, Occasion, TraceId, Verdict, elapsed_ticks, ticks};
use tailwater_proto::cluster::{NodeId, ruling};

/// What a node has of a trace that is to be settled on it.
#[derive(Debug)]
pub(super) struct Here {
    /// Its entry, if spans of it lie here undecided.
    pub(super) pending: Option<u32>,
    /// Which.
    pub(super) trace_id: TraceId,
    /// Of its id.
    pub(super) hash: u64,
    /// Spans of it, wherever they are, as far as is known.
    pub(super) spans: u32,
}

impl Shard {
    /// Judges what is due on the docket, as far as the host has room for what is kept. True when more is due.
    pub(super) fn judge_docket(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        let (mut more, mut judged) = (true, 0);
        let mut due = Vec::new();
        while more && judged < JUDGE_PER_TICK_MAX {
            let Self { cluster: Some(cluster), bench, .. } = self else { return false };
            if cluster.stands_still(now) {
                return false;
            }
            let tick = bench.windows.last_due(now);
            more = cluster.docket.expire(tick, JUDGE_STEP, &mut due);
            judged += due.len();
            let mut due = self.with_untold(now, tick, &due);
            let Self { cluster: Some(cluster), bench, .. } = self else { return false };
            due.retain(|(entry, _)| {
                let hash = cluster.docket.get(*entry).hash;
                let wait = cluster.waits_for_others(now, hash);
                wait.inspect(|until| cluster.docket.reschedule(*entry, *until)).is_none()
                    && !ask_again(cluster, now, *entry)
                    && !waits_for_rules(cluster, now, (bench.rules().fingerprint(), *entry))
            });
            let session = Session::call(&cluster.docket, &due, bench.rules());
            let left = self.judge_session(now, session, &due, host);
            let Self { cluster: Some(cluster), .. } = self else { return false };
            if left > 0 {
                due[due.len() - left..].iter().for_each(|(entry, _)| cluster.docket.put_back(*entry));
                self.ledger.traces.verdicts_postponed += 1;
                return false;
            }
            more = more || self.cut_docket(now);
        }
        more
    }

    /// What lies here of traces that are due is in their verdicts, however lately it came. Those that are not due with it
    /// are left out.
    fn with_untold(&mut self, now: Nanos, tick: u32, due: &[u32]) -> Vec<Docketing> {
        let mut found = Vec::with_capacity(due.len());
        for entry in due.iter().copied() {
            let Self { cluster: Some(cluster), holding, .. } = &mut *self else { break };
            let trace = cluster.docket.get(entry);
            let here = holding.find_pending(trace.hash, &trace.trace_id);
            let untold = here.filter(|here| cluster.changes.is_untold(*here));
            if let Some(untold) = untold {
                cluster.changes.told(untold);
                self.refresh(untold);
                self.tell_own_docket(now, untold);
            }
            let is_due = |cluster: &Cluster| cluster.docket.get(entry).deadline <= tick;
            if untold.is_none() || self.cluster.as_deref().is_none_or(is_due) {
                found.push((entry, here));
            }
        }
        found
    }

    /// Judges the traces of a session, which are at these places of the docket, until there is no room any more. Returns how
    /// many are left.
    fn judge_session(
        &mut self,
        now: Nanos,
        mut session: Session,
        entries: &[Docketing],
        host: &mut impl Host,
    ) -> usize {
        self.bench.turn(now);
        for (place, docketing) in session.places().into_iter().zip(entries) {
            if !host.has_room() {
                return entries.len() - place as usize;
            }
            let Self { cluster: Some(cluster), waits, bench, ledger, plan, .. } = self else { return 0 };
            let trace = cluster.docket.get(docketing.0);
            let (ruling, occasion) = if trace.is_too_large || plan.is_too_large(trace.size()) {
                (Ruling::dropped(DropReason::TraceTooLarge), Occasion::TooLarge)
            } else {
                let occasion = match cluster.is_leaving {
                    true => Occasion::Drain,
                    false => waits.that_ends_on_docket(trace, &bench.windows),
                };
                (bench.rule(now, (&mut session, place), occasion, &mut ledger.policies), occasion)
            };
            self.note_reason_for_all(now, (&session, place), &ruling, occasion);
            self.judged_for_all(now, *docketing, &ruling, occasion, host);
        }
        0
    }

    /// Makes room on the docket: judges the trace that is due next.
    pub(super) fn judge_soonest_on_docket(&mut self, now: Nanos, host: &mut impl Host) {
        let Self { cluster: Some(cluster), bench, ledger, holding, .. } = self else { return };
        let Some(entry) = cluster.docket.soonest() else { return };
        let trace = cluster.docket.get(entry);
        let docketing = (entry, holding.find_pending(trace.hash, &trace.trace_id));
        let mut session = Session::call(&cluster.docket, &[docketing], bench.rules());
        cluster.counts.docket_full += 1;
        let ruling = bench.rule(now, (&mut session, 0), Occasion::TracesMax, &mut ledger.policies);
        self.note_reason_for_all(now, (&session, 0), &ruling, Occasion::TracesMax);
        self.judged_for_all(now, docketing, &ruling, Occasion::TracesMax, host);
    }

    /// At the beginning of a window, sets the thresholds of limits by what is due on the docket.
    fn cut_docket(&mut self, now: Nanos) -> bool {
        let Self { cluster: Some(cluster), bench, .. } = self else { return false };
        if !bench.windows.advance(now) {
            return false;
        }
        let mut due = Vec::new();
        cluster.docket.due(bench.windows.last_due(now), &mut due);
        // What lies here of them is in what was told; nothing is settled yet.
        let due: Vec<Docketing> = due.into_iter().map(|entry| (entry, None)).collect();
        let mut session = Session::call(&cluster.docket, &due, bench.rules());
        let places = session.places();
        bench.cut(now, &mut session, &places);
        true
    }

    /// A trace of the docket is judged: its spans here are settled, and who else has any is told.
    pub(super) fn judged_for_all(
        &mut self,
        now: Nanos,
        (entry, pending): Docketing,
        ruling: &Ruling,
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        let Some(cluster) = &mut self.cluster else { return };
        let trace = cluster.docket.remove(entry);
        cluster.counts.judged += 1;
        cluster.counts.judged_unremembered += u64::from(cluster.may_be_forgotten(now, trace.hash));
        self.tell_ruling(&trace, ruling);
        let here = Here { pending, trace_id: trace.trace_id, hash: trace.hash, spans: trace.size().spans };
        if let Some(cluster) = &mut self.cluster {
            cluster.docket.give_back(trace);
        }
        self.settle_here(now, &here, ruling, occasion, host);
    }

    /// Settles what lies here of a trace, or remembers the verdict for what comes late. Its reason has been noted.
    pub(super) fn settle_here(
        &mut self,
        now: Nanos,
        here: &Here,
        ruling: &Ruling,
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        let Here { pending, trace_id, hash, spans } = *here;
        if let Some(entry) = pending {
            self.holding.buffer.traces.unlink(entry);
            // Labels and annotations are those of the rules in force.
            self.refresh(entry);
            self.carry_out(now, entry, ruling, occasion, host);
            return self.release(&[entry], host);
        }
        if self.holding.find_verdict(hash).is_some() {
            return;
        }
        let kept = kept_by(ruling);
        let generation = self.bench.rules().generation();
        host.judged(&judged((&trace_id, spans, generation), ruling, kept, occasion));
        self.remember(hash, kept);
    }

    /// Tells a keep to all, and a drop to those who have spans of the trace.
    pub(super) fn tell_ruling(&mut self, trace: &Docketed, ruling: &Ruling) {
        let outcome = self.outcome_of(ruling);
        let told = ruling::Ruling { hash: trace.hash, outcome };
        match ruling.ballot.verdict {
            Verdict::Keep(_) => self.say_ruling(&told),
            Verdict::Drop => trace.sources.iter().for_each(|source| self.answer(source.node, &told)),
        }
    }

    /// A trace is about to be settled that no owner has ruled on: all are told that it is kept, if it is.
    pub(super) fn tell_alone(&mut self, entry: u32, ruling: &Ruling) {
        let hash = self.holding.buffer.traces.get(entry).hash;
        let Some(cluster) = &mut self.cluster else { return };
        cluster.counts.judged_alone += 1;
        if matches!(ruling.ballot.verdict, Verdict::Keep(_)) {
            let outcome = self.outcome_of(ruling);
            self.say_ruling(&ruling::Ruling { hash, outcome });
        }
    }

    fn outcome_of(&self, ruling: &Ruling) -> ruling::Outcome {
        let Some(kept) = kept_by(ruling) else { return ruling::Outcome::Dropped(ruling.ballot.drop_reason as u8) };
        let rules = self.bench.rules();
        let annotations = ruling.annotations.iter().filter_map(|number| rules.place_of_annotation(*number));
        ruling::Outcome::Kept(ruling::Kept {
            policy: rules.place_of(kept.policy).unwrap_or(u16::MAX),
            sub_policy: ruling.ballot.sub_policy,
            threshold: kept.threshold,
            randomness: kept.randomness as u8,
            given: kept.given,
            annotations: annotations.collect(),
        })
    }

    /// Tells all members. Those with other numbers of shards get messages of their own.
    pub(super) fn say_ruling(&mut self, told: &ruling::Ruling) {
        let Self { cluster: Some(cluster), bench, .. } = self else { return };
        if !cluster.mail.has_room(None) {
            cluster.counts.rulings_held_back += 1;
            return;
        }
        for place in 0..cluster.shards_of_others.len() {
            let shards = cluster.shards_of_others[place];
            write_ruling(cluster, (None, shards, bench.rules().fingerprint()), told);
        }
    }

    /// Tells one node.
    pub(super) fn answer(&mut self, node: NodeId, told: &ruling::Ruling) {
        let Self { cluster: Some(cluster), bench, .. } = self else { return };
        if node == cluster.view.own {
            return;
        }
        let Some(member) = cluster.view.member(node).copied() else { return };
        if !cluster.mail.has_room(Some(node)) {
            cluster.counts.rulings_held_back += 1;
            return;
        }
        write_ruling(cluster, (Some(node), member.shards, bench.rules().fingerprint()), told);
    }
}

/// A trace is about to be judged that others may have judged before: they are asked once more, for when it came some may not
/// have known this node, and again until all that live have answered, for a while. True if so: it waits for them.
fn ask_again(cluster: &mut Cluster, now: Nanos, entry: u32) -> bool {
    if cluster.is_long_settled(now) {
        return false;
    }
    let tick = elapsed_ticks(now);
    let trace = cluster.docket.get(entry);
    let (hash, since) = (trace.hash, trace.asked_again);
    let mut nodes = match since {
        0 => cluster.who_may_remember(now, hash),
        _ => trace.asked.clone(),
    };
    nodes.retain(|node| cluster.view.member(*node).is_some());
    if nodes.is_empty() {
        return false;
    }
    if since > 0 && tick.saturating_sub(since) > ticks(cluster.plan.hold_max) {
        cluster.counts.judged_unremembered += 1;
        return false;
    }
    ask(cluster, hash, &nodes);
    cluster.docket.note_asked(entry, nodes, Some(tick));
    cluster.docket.reschedule(entry, tick.saturating_add(ticks(ASK_INTERVAL)));
    true
}

/// Some of a trace was told under other rules: they are about to change there, or here. True if it waits for that: a verdict by
/// two sets of rules is none.
fn waits_for_rules(cluster: &mut Cluster, now: Nanos, (fingerprint, entry): (u64, u32)) -> bool {
    if !cluster.docket.get(entry).is_foreign(fingerprint) {
        return false;
    }
    let tick = elapsed_ticks(now);
    let since = cluster.docket.wait(entry, tick, tick.saturating_add(ticks(ASK_INTERVAL)));
    let is_over = tick.saturating_sub(since) > ticks(cluster.plan.rules_wait);
    cluster.counts.judged_foreign_rules += u64::from(is_over);
    !is_over
}
