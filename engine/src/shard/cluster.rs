//! A shard in a cluster: it tells the owners of its traces what it has of them, judges those that it owns by what all nodes
//! told, and asks where it hears nothing. What it hears is in `hear`.

use super::session::Session;
use super::settle::{judged, kept_by};
use super::telling::{ask, ask_who_may_remember, write_entry, write_load, write_ruling};
use super::tick::{JUDGE_PER_TICK_MAX, JUDGE_STEP};
use super::{Shard, Waits};
use crate::buffer::traces::Trace;
use crate::cluster::docket::{Docketed, Heard, Source};
use crate::cluster::{ASK_INTERVAL, Cluster, ClusterPlan};
use crate::evidence::{Gathered, Part, told};
use crate::host::Host;
use crate::judge::Ruling;
use crate::ledger::DropReason;
use crate::vocabulary::{Nanos, Occasion, SpanRecord, TraceId, Verdict, elapsed_ticks, tick_start, ticks};
use std::sync::Arc;
use tailwater_proto::cluster::evidence::{Entry, Facts};
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{NodeId, ruling};

/// Entries told in a tick of 10 ms: 400,000 a second, so that what is told again when the members change does not take the
/// place of all else.
/// At the bound: the rest is told in the next.
const TOLD_PER_TICK_MAX: u32 = 4_096;

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
    /// From now on the shard is a part of a cluster that has these members.
    pub fn join(&mut self, now: Nanos, plan: ClusterPlan, view: Arc<View>) {
        self.waits = Waits::of(&self.plan).in_cluster(&plan, &self.bench.windows);
        self.cluster = Some(Box::new(Cluster::new(plan, view, now)));
        self.tell_again(now);
        self.divide_limits();
    }

    /// The members have changed: who owns another trace is told what lies here, and gets what is on the docket.
    pub fn turn_to(&mut self, now: Nanos, view: &Arc<View>) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.turn_to(now, view.clone());
        cluster.mail.forget(|node| view.member(node).is_some());
        let tick = elapsed_ticks(now);
        for (entry, trace) in pending(&self.holding.buffer.traces) {
            if cluster.is_leaving {
                cluster.changes.hurried(entry, trace.hash);
            } else if cluster.has_new_owner(trace.hash) {
                cluster.changes.touched(entry, trace.hash, tick);
            }
        }
        let gone: Vec<u32> =
            cluster.docket.entries().filter(|entry| !view.is_own(cluster.docket.get(*entry).hash)).collect();
        for entry in gone {
            let trace = cluster.docket.remove(entry);
            hand_over(cluster, now, &trace);
        }
        self.divide_limits();
    }

    /// Limits hold for the whole cluster: each owner has a part of them by what wanted to pass there, and each shard a part of
    /// that.
    pub(super) fn divide_limits(&mut self) {
        let Self { cluster: Some(cluster), bench, plan, .. } = self else { return };
        cluster.demands.turn_to(bench.rules().fingerprint());
        let of_nodes = cluster.demands.shares(&cluster.view, bench.rules().limits().len());
        let even = 1.0 / f64::from(plan.shards.max(1));
        let of_shard = |limit: usize| cluster.limit_shares.get(limit).copied().unwrap_or(even);
        let shares: Vec<f64> = of_nodes.iter().enumerate().map(|(limit, share)| share * of_shard(limit)).collect();
        bench.set_limit_shares(&shares);
    }

    /// How often this node wants the traces that pass to be halved, given whether senders are held back on it. One shard of
    /// a node is asked, once a second, and what it says is given to `share_load` of each. 0 for a node alone.
    pub fn want_to_shed(&mut self, now: Nanos, is_pressed: bool) -> u8 {
        let Some(cluster) = &mut self.cluster else { return 0 };
        cluster.shed.want(now, is_pressed, cluster.plan.shed_level_max)
    }

    /// What wanted to pass the limits on this node, all its shards together, in the last second, and how often it wants the
    /// traces that pass to be halved. One shard of a node `speaks`: it says so to the others.
    pub fn share_load(&mut self, now: Nanos, demand: &[u64], shed_level: u8, speaks: bool) {
        let Self { cluster: Some(cluster), bench, .. } = self else { return };
        let fingerprint = bench.rules().fingerprint();
        cluster.demands.turn_to(fingerprint);
        cluster.demands.note(cluster.view.own, fingerprint, demand.to_vec());
        // Before it is forgotten that this node wanted anything: that it does not any more is to be said, too.
        let has_news = cluster.shed.is_active() || shed_level > 0 || !demand.is_empty();
        cluster.shed.note(now, cluster.view.own, shed_level);
        if speaks && has_news && cluster.mail.has_room(None) {
            let levels = [shed_level, cluster.shed.lately()];
            write_load(cluster, fingerprint, (levels, demand));
        }
        self.divide_limits();
        self.turn_shed(now);
    }

    /// What is shed is as of `now`.
    pub(super) fn turn_shed(&mut self, now: Nanos) {
        let Self { cluster: Some(cluster), bench, waits, .. } = self else { return };
        cluster.shed.turn(now, waits.longest().plus(cluster.plan.hold_max));
        bench.shed_below(cluster.shed.traces_below());
    }

    /// What the shard has done in the cluster.
    #[must_use]
    pub fn cluster(&self) -> Option<&Cluster> {
        self.cluster.as_deref()
    }

    /// Rules have changed: what was told meant other leaves.
    pub(super) fn tell_again(&mut self, now: Nanos) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.docket.forget_words(self.bench.rules().leaf_words() - 1);
        let tick = elapsed_ticks(now);
        for (entry, trace) in pending(&self.holding.buffer.traces) {
            cluster.changes.touched(entry, trace.hash, tick);
        }
    }

    /// A span has come: its trace is to be told, at once if it is a root.
    #[inline]
    pub(super) fn note_change(&mut self, entry: u32, record: &SpanRecord, arrived: Nanos) {
        let Some(cluster) = &mut self.cluster else { return };
        if record.is_root {
            cluster.changes.hurried(entry, record.hash);
        } else {
            cluster.changes.touched(entry, record.hash, elapsed_ticks(arrived));
        }
    }

    /// As `tick`, for a shard in a cluster.
    pub(super) fn tick_in_cluster(&mut self, now: Nanos, host: &mut impl Host) -> bool {
        if let Some(cluster) = &mut self.cluster {
            cluster.look(now);
        }
        self.settle_heard(now, host);
        self.tell_changes(now);
        let more = self.judge_docket(now, host);
        self.ask_overdue(now, host);
        if let Some(cluster) = &mut self.cluster {
            cluster.mail.close();
            cluster.mail.leave(|said| host.tell(said));
        }
        more
    }

    /// Tells owners what has changed.
    fn tell_changes(&mut self, now: Nanos) {
        let tick = elapsed_ticks(now);
        loop {
            let Some(cluster) = &mut self.cluster else { return };
            let (last, told) = &mut cluster.told_in_tick;
            if *last != tick {
                (*last, *told) = (tick, 0);
            }
            if *told >= TOLD_PER_TICK_MAX {
                return;
            }
            *told += 1;
            let Some(change) = cluster.changes.next(tick) else { return };
            if self.is_pending(change.entry, change.hash) {
                self.tell(now, change.entry, false);
            }
        }
    }

    fn is_pending(&self, entry: u32, hash: u64) -> bool {
        let traces = &self.holding.buffer.traces;
        (entry as usize) < traces.entries() && {
            let trace = traces.get(entry);
            trace.hash == hash && !trace.newest.is_none()
        }
    }

    /// Tells the owner of a trace what lies here; with `asks` it is to answer.
    fn tell(&mut self, now: Nanos, entry: u32, asks: bool) {
        self.refresh(entry);
        let Self { cluster: Some(cluster), bench, holding, plan, .. } = self else { return };
        let trace = holding.buffer.traces.get(entry);
        let owner = cluster.view.owner(trace.hash).copied();
        let Some(owner) = owner.filter(|owner| owner.node != cluster.view.own) else {
            return self.tell_own_docket(now, entry);
        };
        if !cluster.mail.has_room(Some(owner.node)) {
            cluster.counts.evidence_held_back += 1;
            return cluster.changes.touched(entry, trace.hash, elapsed_ticks(now));
        }
        cluster.counts.evidence_sent += 1;
        cluster.counts.evidence_asked += u64::from(asks);
        let told = &mut cluster.told;
        told.trace_id = trace.id;
        told.age_ms = milliseconds_since(now, trace.opened);
        told.quiet_ms = milliseconds_since(now, trace.active);
        told.is_too_large = plan.is_too_large(trace.size);
        told.asks = asks;
        told.is_leaving = cluster.is_leaving;
        let more = holding.buffer.traces.leaves_more(entry);
        told::tell(Part { seen: &trace.seen, size: trace.size, more }, &mut told.facts);
        told.head = holding.buffer.head(entry).map(told::tell_head);
        write_entry(&mut cluster.mail, &owner, (bench.rules_of(trace.generation).fingerprint(), trace.hash), told);
    }

    /// Puts on the own docket what lies here of a trace that this node owns.
    fn tell_own_docket(&mut self, now: Nanos, entry: u32) {
        let Self { cluster: Some(cluster), bench, holding, plan, waits, .. } = self else { return };
        let trace = holding.buffer.traces.get(entry);
        let node = cluster.view.own;
        let fingerprint = bench.rules_of(trace.generation).fingerprint();
        let gathered = Gathered {
            seen: trace.seen,
            size: trace.size,
            more: holding.buffer.traces.leaves_more(entry).into(),
            head: holding.buffer.head(entry).cloned().map(Box::new),
        };
        let heard = Heard {
            trace_id: trace.id,
            hash: trace.hash,
            opened: trace.opened,
            active: trace.active,
            is_too_large: plan.is_too_large(trace.size),
            source: Source { node, incarnation: cluster.incarnation, fingerprint, gathered },
        };
        let found = cluster.docket.find(trace.hash);
        let place = cluster.docket.hear(found, heard, |trace| waits.deadline_on_docket(trace, &bench.windows));
        if found.is_none() {
            ask_who_may_remember(cluster, now, place);
        }
    }

    /// Judges what is due on the docket, as far as the host has room for what is kept. True when more is due.
    fn judge_docket(&mut self, now: Nanos, host: &mut impl Host) -> bool {
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
            self.take_in_untold(now, tick, &mut due);
            let Self { cluster: Some(cluster), bench, .. } = self else { return false };
            due.retain(|entry| {
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
                due[due.len() - left..].iter().for_each(|entry| cluster.docket.put_back(*entry));
                self.ledger.traces.verdicts_postponed += 1;
                return false;
            }
            more = more || self.cut_docket(now);
        }
        more
    }

    /// What lies here of traces that are due is in their verdicts, however lately it came. Those that are not due with it
    /// leave the list.
    fn take_in_untold(&mut self, now: Nanos, tick: u32, due: &mut Vec<u32>) {
        due.retain(|entry| {
            let Self { cluster: Some(cluster), holding, .. } = &mut *self else { return true };
            let trace = cluster.docket.get(*entry);
            let pending = holding.find_pending(trace.hash, &trace.trace_id);
            let Some(pending) = pending.filter(|pending| cluster.changes.is_untold(*pending)) else { return true };
            cluster.changes.told(pending);
            self.refresh(pending);
            self.tell_own_docket(now, pending);
            self.cluster.as_ref().is_none_or(|cluster| cluster.docket.get(*entry).deadline <= tick)
        });
    }

    /// Judges the traces of a session, which are at these places of the docket, until there is no room any more. Returns how
    /// many are left.
    fn judge_session(&mut self, now: Nanos, mut session: Session, entries: &[u32], host: &mut impl Host) -> usize {
        self.bench.turn(now);
        for (place, entry) in session.places().into_iter().zip(entries) {
            if !host.has_room() {
                return entries.len() - place as usize;
            }
            let Self { cluster: Some(cluster), waits, bench, ledger, plan, .. } = self else { return 0 };
            let trace = cluster.docket.get(*entry);
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
            self.judged_for_all(now, *entry, &ruling, occasion, host);
        }
        0
    }

    /// Makes room on the docket: judges the trace that is due next.
    pub(super) fn judge_soonest_on_docket(&mut self, now: Nanos, host: &mut impl Host) {
        let Self { cluster: Some(cluster), bench, ledger, .. } = self else { return };
        let Some(entry) = cluster.docket.soonest() else { return };
        let mut session = Session::call(&cluster.docket, &[entry], bench.rules());
        cluster.counts.docket_full += 1;
        let ruling = bench.rule(now, (&mut session, 0), Occasion::TracesMax, &mut ledger.policies);
        self.note_reason_for_all(now, (&session, 0), &ruling, Occasion::TracesMax);
        self.judged_for_all(now, entry, &ruling, Occasion::TracesMax, host);
    }

    /// At the beginning of a window, sets the thresholds of limits by what is due on the docket.
    fn cut_docket(&mut self, now: Nanos) -> bool {
        let Self { cluster: Some(cluster), bench, .. } = self else { return false };
        if !bench.windows.advance(now) {
            return false;
        }
        let mut due = Vec::new();
        cluster.docket.due(bench.windows.last_due(now), &mut due);
        let mut session = Session::call(&cluster.docket, &due, bench.rules());
        let places = session.places();
        bench.cut(now, &mut session, &places);
        true
    }

    /// A trace of the docket is judged: its spans here are settled, and who else has any is told.
    pub(super) fn judged_for_all(
        &mut self,
        now: Nanos,
        entry: u32,
        ruling: &Ruling,
        occasion: Occasion,
        host: &mut impl Host,
    ) {
        let Some(cluster) = &mut self.cluster else { return };
        let trace = cluster.docket.remove(entry);
        cluster.counts.judged += 1;
        cluster.counts.judged_unremembered += u64::from(cluster.may_be_forgotten(now, trace.hash));
        self.tell_ruling(&trace, ruling);
        let here = Here {
            pending: self.holding.find_pending(trace.hash, &trace.trace_id),
            trace_id: trace.trace_id,
            hash: trace.hash,
            spans: trace.size().spans,
        };
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
        for shards in cluster.shards_of_others() {
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

    /// Asks the owners of traces that should have been judged by now; judges those alone of which nobody has answered for too
    /// long.
    fn ask_overdue(&mut self, now: Nanos, host: &mut impl Host) {
        let tick = elapsed_ticks(now);
        let mut due = std::mem::take(&mut self.due);
        self.holding.buffer.traces.expire(tick, JUDGE_PER_TICK_MAX, &mut due);
        let mut alone = Vec::new();
        for entry in due.iter().copied() {
            let trace = self.holding.buffer.traces.get(entry);
            let hash = trace.hash;
            let Some(cluster) = &mut self.cluster else { break };
            let asked = cluster.changes.ask(entry, tick);
            if cluster.docket.find(hash).is_some() {
                // It waits here.
                cluster.changes.answered(entry);
            } else if tick.saturating_sub(asked) > ticks(cluster.plan.hold_max) {
                alone.push(entry);
                continue;
            }
            self.holding.buffer.traces.schedule(entry, tick.saturating_add(ticks(ASK_INTERVAL)));
            self.tell(now, entry, true);
        }
        self.due = due;
        self.judge_while_room(now, &alone, Occasion::Alone, host);
    }
}

/// Gives a trace on the docket to who owns it now.
fn hand_over(cluster: &mut Cluster, now: Nanos, trace: &Docketed) {
    let own = cluster.view.own;
    let Some(owner) = cluster.view.owner(trace.hash).copied() else { return };
    for source in trace.sources.iter().filter(|source| source.node != own) {
        let Gathered { seen, size, more, head } = &source.gathered;
        let mut facts = Facts::default();
        told::tell(Part { seen, size: *size, more }, &mut facts);
        let told = Entry {
            trace_id: trace.trace_id,
            source: Some((source.node, source.incarnation)),
            age_ms: milliseconds_since(now, trace.opened),
            quiet_ms: milliseconds_since(now, trace.active),
            facts,
            head: head.as_deref().map(told::tell_head),
            is_too_large: trace.is_too_large,
            is_relayed: true,
            ..Entry::default()
        };
        cluster.counts.evidence_relayed += 1;
        write_entry(&mut cluster.mail, &owner, (source.fingerprint, trace.hash), &told);
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

/// The undecided traces, by their entries.
fn pending(traces: &crate::buffer::traces::TraceTable) -> impl Iterator<Item = (u32, &Trace)> {
    let entries = (0u32..).take(traces.entries());
    entries.map(|entry| (entry, traces.get(entry))).filter(|(_, trace)| !trace.newest.is_none())
}

fn milliseconds_since(now: Nanos, tick: u32) -> u64 {
    now.0.saturating_sub(tick_start(tick).0) / Nanos::PER_MILLISECOND
}
