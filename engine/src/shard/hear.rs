//! What a shard hears from other nodes of the cluster: evidence of traces that it owns, and rulings on traces that lie here.

use super::Shard;
use super::owner::Here;
use super::settle::kept_by;
use super::telling::{ask_who_may_remember, write_entry};
use crate::cluster::docket::{Heard, Source};
use crate::evidence::told;
use crate::host::Host;
use crate::index::Place;
use crate::judge::Ruling;
use crate::ledger::DropReason;
use crate::randomness::Randomness;
use crate::rules::Ballot;
use crate::vocabulary::{
    Nanos, Occasion, RandomnessKind, TICK, TraceId, UNKNOWN_POLICY, Verdict, elapsed_ticks, ticks,
};
use tailwater_proto::cluster::evidence::Entry;
use tailwater_proto::cluster::message::{Cursor, Header, Kind, Malformed};
use tailwater_proto::cluster::ruling::{Kept, Outcome, Ruling as Told};
use tailwater_proto::cluster::{Incarnation, NodeId};

/// Rulings that wait for room at the exporters.
/// At the bound: the oldest are forgotten; their traces are asked for again.
const HEARD_MAX: usize = 65_536;

/// What a ruling was told with.
#[derive(Debug, Clone, Copy)]
struct From {
    node: NodeId,
    fingerprint: u64,
}

impl Shard {
    /// Hears a message of another node. What is not of this shard is passed over.
    pub fn hear(&mut self, now: Nanos, from: (NodeId, Incarnation), message: &[u8], host: &mut impl Host) {
        self.holding.set_time(now);
        let Some(cluster) = &mut self.cluster else { return };
        let Ok((header, mut cursor)) = Header::read(message) else {
            cluster.counts.malformed += 1;
            return;
        };
        if header.pipeline != cluster.plan.pipeline {
            return;
        }
        let fingerprint = header.fingerprint;
        let is_whole = match header.kind {
            Kind::Evidence => self.hear_evidence(now, (from, fingerprint), &mut cursor, host),
            Kind::Rulings => {
                let mut is_whole = true;
                while is_whole && !cursor.is_empty() {
                    match Told::read(&mut cursor) {
                        Ok(told) => self.hear_ruling(now, From { node: from.0, fingerprint }, told, host),
                        Err(_) => is_whole = false,
                    }
                }
                is_whole
            }
            Kind::Memories => self.hear_memories(from.0, &mut cursor),
            Kind::Load => self.hear_load(now, (from.0, fingerprint), &mut cursor).is_ok(),
        };
        if let Some(cluster) = &mut self.cluster {
            cluster.counts.malformed += u64::from(!is_whole);
        }
    }

    fn hear_evidence(
        &mut self,
        now: Nanos,
        (from, fingerprint): ((NodeId, Incarnation), u64),
        cursor: &mut Cursor<'_>,
        host: &mut impl Host,
    ) -> bool {
        let Ok(base) = cursor.fixed64() else { return false };
        let mut entry = Entry::default();
        while !cursor.is_empty() {
            if entry.read(base, cursor).is_err() {
                return false;
            }
            let hash = self.intake.hash(&entry.trace_id);
            if self.intake.route().shard(hash) == self.plan.shard {
                self.hear_entry(now, (from, fingerprint, hash), &mut entry, host);
            }
        }
        true
    }

    /// What a node wants: how much is to be shed, which holds at once, and a part of the limits, which are divided when this node
    /// says the same.
    fn hear_load(
        &mut self,
        now: Nanos,
        (node, fingerprint): (NodeId, u64),
        cursor: &mut Cursor<'_>,
    ) -> Result<(), Malformed> {
        let Some(cluster) = &mut self.cluster else { return Ok(()) };
        let [shed_level, shed_lately] = [cursor.byte()?, cursor.byte()?];
        let mut demand = Vec::new();
        while !cursor.is_empty() {
            demand.push(cursor.varint()?);
        }
        // Who is gone by now would want it for ever.
        if cluster.view.member(node).is_some() {
            cluster.demands.note(node, fingerprint, demand);
            let (says_another, has_heard_more) =
                (cluster.shed.note(now, node, shed_level), cluster.shed.note_lately(now, shed_lately));
            if says_another || has_heard_more {
                self.turn_shed(now);
            }
        }
        Ok(())
    }

    /// Others ask what came of traces that this node, or one that is gone, may have judged.
    fn hear_memories(&mut self, node: NodeId, cursor: &mut Cursor<'_>) -> bool {
        while !cursor.is_empty() {
            let Ok(hash) = cursor.fixed64() else { return false };
            if self.intake.route().shard(hash) == self.plan.shard {
                let outcome = self.remembered(hash).unwrap_or(Outcome::Unknown);
                self.answer(node, &Told { hash, outcome });
            }
        }
        true
    }

    fn hear_entry(
        &mut self,
        now: Nanos,
        (from, fingerprint, hash): ((NodeId, Incarnation), u64, u64),
        entry: &mut Entry,
        host: &mut impl Host,
    ) {
        let Some(cluster) = &mut self.cluster else { return };
        cluster.counts.evidence_heard += 1;
        if !entry.asks && !entry.is_relayed {
            cluster.counts.evidence_timed += 1;
            cluster.counts.evidence_lag_ms += entry.quiet_ms;
        }
        let (node, incarnation) = entry.source.unwrap_or(from);
        let owner = cluster.view.owner(hash).copied();
        if let Some(owner) = owner.filter(|owner| owner.node != cluster.view.own) {
            return match entry.is_relayed {
                true => self.hear_stray(now, (node, hash), entry.asks),
                false => {
                    (entry.source, entry.is_relayed) = (Some((node, incarnation)), true);
                    cluster.counts.evidence_relayed += 1;
                    write_entry(&mut cluster.mail, &owner, (fingerprint, hash), entry);
                }
            };
        }
        if let Some(outcome) = self.remembered(hash) {
            if let (Some(cluster), Outcome::Dropped(_), false) = (&mut self.cluster, &outcome, entry.asks) {
                cluster.counts.evidence_late += 1;
            }
            return self.answer(node, &Told { hash, outcome });
        }
        let found = self.cluster.as_ref().and_then(|cluster| cluster.docket.find(hash));
        if found.is_none() && self.cluster.as_ref().is_some_and(|cluster| cluster.docket.is_full()) {
            self.judge_soonest_on_docket(now, host);
        }
        let Self { cluster: Some(cluster), bench, waits, .. } = self else { return };
        let rules = bench.rules();
        let is_own_rules = fingerprint == rules.fingerprint();
        cluster.counts.evidence_foreign_rules += u64::from(!is_own_rules);
        let gathered = told::hear(&entry.facts, entry.head.as_deref(), rules.leaf_words() - 1, is_own_rules);
        // Told later than it was: a deadline moves later by the way, and never earlier.
        let tick_before = |milliseconds: u64| {
            let ago = Nanos::from_millis(milliseconds).0 / TICK.0;
            elapsed_ticks(now).saturating_sub(u32::try_from(ago).unwrap_or(u32::MAX))
        };
        let heard = Heard {
            trace_id: entry.trace_id,
            hash,
            opened: tick_before(entry.age_ms),
            active: tick_before(entry.quiet_ms),
            is_too_large: entry.is_too_large,
            source: Source { node, incarnation, fingerprint, gathered },
        };
        let place = cluster.docket.hear(found, heard, |trace| waits.deadline_on_docket(trace, &bench.windows));
        if found.is_none() {
            ask_who_may_remember(cluster, now, place);
        }
        if entry.is_too_large || entry.is_leaving {
            cluster.docket.hurry(place, elapsed_ticks(now));
        }
        if entry.asks {
            let wait = cluster.docket.get(place).deadline.saturating_sub(elapsed_ticks(now));
            let wait_ms = u64::from(wait) * (TICK.0 / Nanos::PER_MILLISECOND);
            self.answer(node, &Told { hash, outcome: Outcome::Pending(wait_ms) });
        }
    }

    /// An entry was passed on to this node, which does not own its trace: in the view of the node that passed it on it does.
    /// If it is this node's own, which is about to leave say, that view changes soon: it is told once more.
    fn hear_stray(&mut self, now: Nanos, (node, hash): (NodeId, u64), asks: bool) {
        let pending = self.pending_of(hash);
        if let (Some(cluster), Some(entry)) = (&mut self.cluster, pending)
            && node == cluster.view.own
        {
            cluster.counts.evidence_stray += 1;
            return cluster.changes.touched(entry, hash, elapsed_ticks(now));
        }
        match self.remembered(hash).filter(|_| asks) {
            Some(outcome) => self.answer(node, &Told { hash, outcome }),
            None => {
                let Some(cluster) = &mut self.cluster else { return };
                cluster.counts.evidence_stray += 1;
            }
        }
    }

    /// What is remembered of a judged trace.
    fn remembered(&mut self, hash: u64) -> Option<Outcome> {
        let rules = self.bench.rules();
        match self.holding.find_verdict(hash)? {
            Place::Kept(position) => {
                let kept = self.holding.kept.touch(position)?;
                if rules.is_by_hand(kept.annotations) {
                    // A person keeps what is here; everywhere else the verdict of the rules holds.
                    return Some(Outcome::Dropped(DropReason::LateNotSampled as u8));
                }
                let annotations = kept.annotations.numbers().filter_map(|number| rules.place_of_annotation(number));
                Some(Outcome::Kept(Kept {
                    policy: rules.place_of(kept.policy).unwrap_or(UNKNOWN_POLICY),
                    sub_policy: None,
                    threshold: kept.threshold,
                    randomness: kept.randomness as u8,
                    given: kept.given,
                    annotations: annotations.collect(),
                }))
            }
            _ => Some(Outcome::Dropped(DropReason::LateNotSampled as u8)),
        }
    }

    fn hear_ruling(&mut self, now: Nanos, from: From, told: Told, host: &mut impl Host) {
        let Some(cluster) = &mut self.cluster else { return };
        if self.intake.route().shard(told.hash) != self.plan.shard {
            return;
        }
        cluster.counts.rulings_heard += 1;
        let owner = cluster.view.owner_id(told.hash);
        let is_own = owner == cluster.view.own;
        match told.outcome {
            Outcome::Pending(wait_ms) => return self.wait_on(now, told.hash, wait_ms),
            Outcome::Unknown => return cluster.docket.answered(told.hash, from.node),
            // An owner obeys those whom it has asked.
            Outcome::Dropped(_) if !is_own && !cluster.obeys(now, from.node, (owner, told.hash)) => {
                cluster.counts.rulings_disobeyed += 1;
                return;
            }
            Outcome::Dropped(_) => cluster.fates.dropped(told.hash),
            Outcome::Kept(_) => {}
        }
        if self.pending_of(told.hash).is_some() && !host.has_room() {
            let Some(cluster) = &mut self.cluster else { return };
            if cluster.heard.len() >= HEARD_MAX {
                cluster.heard.pop_front();
            }
            return cluster.heard.push_back((from.node, from.fingerprint, told));
        }
        self.obey(now, (from, owner), &told, host);
    }

    /// Carries out rulings that had to wait for room.
    pub(super) fn settle_heard(&mut self, now: Nanos, host: &mut impl Host) {
        while host.has_room() {
            let Some((node, fingerprint, told)) = self.cluster.as_mut().and_then(|cluster| cluster.heard.pop_front())
            else {
                return;
            };
            let owner = self.cluster.as_ref().map_or(node, |cluster| cluster.view.owner_id(told.hash));
            self.obey(now, (From { node, fingerprint }, owner), &told, host);
        }
    }

    /// Carries out a ruling on a trace that `owner` owns now.
    fn obey(&mut self, now: Nanos, (from, owner): (From, NodeId), told: &Told, host: &mut impl Host) {
        let hash = told.hash;
        let Some(cluster) = &mut self.cluster else { return };
        let is_own = owner == cluster.view.own;
        // Who judges it now is to know what another has ruled: it may have been told of spans that leave now.
        if !is_own && owner != from.node && !cluster.is_settled(now) {
            self.answer(owner, told);
        }
        // What another node owns is on no docket here.
        let on_docket = self.cluster.as_mut().filter(|_| is_own).and_then(|cluster| {
            let entry = cluster.docket.find(hash)?;
            Some(cluster.docket.remove(entry))
        });
        let pending = self.pending_of(hash);
        let trace_id = pending.map(|entry| self.holding.buffer.traces.get(entry).id);
        let Some(trace_id) = trace_id.or_else(|| on_docket.as_ref().map(|trace| trace.trace_id)) else {
            return self.note_unknown(from, told);
        };
        let ruling = self.ruling_of(&trace_id, from.fingerprint, &told.outcome);
        let mut here = Here { pending, trace_id, hash, spans: 0 };
        if let Some(trace) = on_docket {
            here.spans = trace.size().spans;
            self.tell_ruling(&trace, &ruling);
        }
        if let Some(entry) = pending {
            self.refresh(entry);
            self.note_reason(now, entry, &ruling, Occasion::Owner);
        }
        self.settle_here(now, &here, &ruling, Occasion::Owner, host);
    }

    /// A ruling on a trace of which nothing lies here: late spans of a kept one are to follow it, even where others of the
    /// trace were dropped before.
    fn note_unknown(&mut self, from: From, told: &Told) {
        let place = self.holding.find_verdict(told.hash);
        if let (Some(Place::Kept(_)), Outcome::Dropped(_)) = (place, &told.outcome) {
            return;
        }
        // Without an id, a randomness that is not given is not needed: late spans bring theirs.
        let ruling = self.ruling_of(&[0; 16], from.fingerprint, &told.outcome);
        let Some(kept) = kept_by(&ruling) else { return };
        match place {
            Some(Place::Dropped(position)) => {
                if let Some(cluster) = &mut self.cluster {
                    cluster.counts.torn += 1;
                }
                if let Some(slot) = self.holding.index.slot_of(told.hash, Place::Dropped(position)) {
                    self.holding.index.remove(slot);
                }
                self.remember(told.hash, Some(kept));
            }
            Some(_) => {}
            None => self.remember(told.hash, Some(kept)),
        }
    }

    fn ruling_of(&self, trace_id: &TraceId, fingerprint: u64, outcome: &Outcome) -> Ruling {
        let kept = match outcome {
            Outcome::Kept(kept) => kept,
            Outcome::Dropped(reason) => return Ruling::dropped(drop_reason(*reason)),
            Outcome::Pending(_) | Outcome::Unknown => return Ruling::dropped(DropReason::NotSampled),
        };
        let rules = self.bench.rules();
        let is_own_rules = fingerprint == rules.fingerprint();
        let policy = is_own_rules.then(|| rules.number_of(kept.policy)).flatten().unwrap_or(UNKNOWN_POLICY);
        let kind = randomness_kind(kept.randomness);
        let annotations = kept.annotations.iter().filter_map(|place| rules.annotation_at(*place));
        Ruling {
            ballot: Ballot {
                verdict: Verdict::Keep(policy),
                policy: Some(policy),
                drop_reason: DropReason::NotSampled,
                sub_policy: kept.sub_policy.filter(|_| is_own_rules),
                threshold: kept.threshold,
            },
            randomness: Randomness::again(trace_id, kind, kept.given),
            annotations: if is_own_rules { annotations.collect() } else { Vec::new() },
            is_by_randomness: if is_own_rules { rules.is_by_randomness() } else { kept.threshold > 0 },
            is_early: false,
        }
    }

    /// The undecided trace of that hash.
    fn pending_of(&self, hash: u64) -> Option<u32> {
        let found = self.holding.index.find(hash, |place| match place {
            Place::Pending(entry) => self.holding.buffer.traces.get(entry).hash == hash,
            _ => false,
        });
        match found? {
            (_, Place::Pending(entry)) => Some(entry),
            _ => None,
        }
    }

    /// Its owner has not judged it yet, and will not for a while.
    fn wait_on(&mut self, now: Nanos, hash: u64, wait_ms: u64) {
        let Some(entry) = self.pending_of(hash) else { return };
        let Some(cluster) = &mut self.cluster else { return };
        cluster.changes.answered(entry);
        let wait = Nanos::from_millis(wait_ms).plus(cluster.plan.answer_wait);
        self.holding.buffer.traces.reschedule(entry, elapsed_ticks(now).saturating_add(ticks(wait)));
    }
}

/// The reason of that number: of a later version perhaps.
fn drop_reason(number: u8) -> DropReason {
    DropReason::ALL.get(usize::from(number)).copied().unwrap_or(DropReason::NotSampled)
}

fn randomness_kind(number: u8) -> RandomnessKind {
    match number {
        1 => RandomnessKind::Hashed,
        2 => RandomnessKind::Given,
        _ => RandomnessKind::Id,
    }
}
