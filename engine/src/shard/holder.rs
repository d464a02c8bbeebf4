//! A shard as a holder: it tells the owners of its traces what it has of them, and asks where it hears nothing. What it held as
//! an owner it hands over.

use super::Shard;
use super::telling::{ask_who_may_remember, write_entry};
use super::tick::JUDGE_PER_TICK_MAX;
use crate::cluster::docket::{Docketed, Heard, Source};
use crate::cluster::{ASK_INTERVAL, Cluster};
use crate::evidence::{Gathered, Part, told};
use crate::host::Host;
use crate::vocabulary::{Nanos, Occasion, elapsed_ticks, tick_start, ticks};
use tailwater_proto::cluster::evidence::{Entry, Facts};

/// Entries told in a tick of 10 ms: 400,000 a second, so that what is told again when the members change does not take the
/// place of all else.
/// At the bound: the rest is told in the next.
const TOLD_PER_TICK_MAX: u32 = 4_096;

impl Shard {
    /// Tells owners what has changed.
    pub(super) fn tell_changes(&mut self, now: Nanos) {
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
    pub(super) fn tell_own_docket(&mut self, now: Nanos, entry: u32) {
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

    /// Asks the owners of traces that should have been judged by now; judges those alone of which nobody has answered for too
    /// long.
    pub(super) fn ask_overdue(&mut self, now: Nanos, host: &mut impl Host) {
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
pub(super) fn hand_over(cluster: &mut Cluster, now: Nanos, trace: &Docketed) {
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

fn milliseconds_since(now: Nanos, tick: u32) -> u64 {
    now.0.saturating_sub(tick_start(tick).0) / Nanos::PER_MILLISECOND
}
