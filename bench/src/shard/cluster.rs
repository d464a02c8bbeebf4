//! Nodes of a cluster in one process, a shard each: what they tell one another is passed on by calls, so that its cost can be
//! counted without that of sockets.

use super::{Counting, ROUND};
use std::sync::Arc;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::shard::Shard;
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};

/// After the last traces are due, until all nodes have settled all.
pub(super) const ROUNDS_TO_END: u64 = 50;
/// Nodes know one another for so long when the first request comes: none asks another any more what it remembers.
pub(super) const ROUNDS_BEFORE: u64 = 700;

const RUN: Incarnation = Incarnation(1);

/// The shard becomes that of node `number` of `nodes`.
pub(super) fn join(shard: &mut Shard, number: u16, nodes: u16) {
    let member = |number: u16| Member { node: id(number), incarnation: RUN, shards: 1, is_leaving: false };
    let view = View::new(1, id(number), (0..nodes).map(member).collect());
    let plan = ClusterPlan {
        pipeline: 1,
        evidence_delay: Nanos(ROUND.0 / 2),
        answer_wait: Nanos(10 * ROUND.0),
        hold_max: Nanos(100 * ROUND.0),
        rules_wait: ROUND,
        docket_traces_max: usize::MAX,
        message_bytes_max: 1_200,
        shed_level_max: 0,
    };
    shard.join(Nanos(0), plan, Arc::new(view));
}

fn id(number: u16) -> NodeId {
    NodeId(u64::from(number) + 1)
}

/// The node of that number alone.
pub(super) fn node_of(shards: &mut [(Shard, Counting)], number: u64) -> &mut [(Shard, Counting)] {
    let at = usize::try_from(number).unwrap_or(0);
    shards.get_mut(at..=at).unwrap_or_default()
}

/// Nodes hear what was told, and what is told in answer.
pub(super) fn pass_on(shards: &mut [(Shard, Counting)], now: Nanos) {
    for sender in 0..shards.len() {
        let said = shards.get_mut(sender).map(|(_, host)| std::mem::take(&mut host.said)).unwrap_or_default();
        for (number, (shard, host)) in (0u16..).zip(shards.iter_mut()) {
            let is_other = usize::from(number) != sender;
            let from = id(u16::try_from(sender).unwrap_or(u16::MAX));
            for said in said.iter().filter(|said| is_other && said.to.is_none_or(|to| to == id(number))) {
                shard.hear(now, (from, RUN), &said.bytes, host);
            }
        }
    }
}
