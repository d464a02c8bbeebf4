//! A shard in a cluster: what it shares with the others, and how it turns when they change. What it tells of its own traces is in
//! `holder`, what it judges in `owner`, what it hears in `hear`.

use super::holder::hand_over;
use super::telling::write_load;
use super::{Shard, Waits};
use crate::buffer::traces::Trace;
use crate::cluster::{Cluster, ClusterPlan};
use crate::host::Host;
use crate::vocabulary::{Nanos, SpanRecord, elapsed_ticks};
use std::sync::Arc;
use tailwater_proto::cluster::view::View;

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
}

/// The undecided traces, by their entries.
fn pending(traces: &crate::buffer::traces::TraceTable) -> impl Iterator<Item = (u32, &Trace)> {
    let entries = (0u32..).take(traces.entries());
    entries.map(|entry| (entry, traces.get(entry))).filter(|(_, trace)| !trace.newest.is_none())
}
