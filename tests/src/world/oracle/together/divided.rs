//! Limits hold for the whole cluster: of nodes that see the same members, and have heard the same of what each wants, the parts of
//! every limit come to the whole and no more.
//!
//! Notices when a node divides by what it alone wants, and when who leaves keeps a part (`Demands::shares`).

use super::super::super::node::Node;
use super::super::super::seen::Seen;
use super::Joint;
use std::collections::BTreeMap;
use tailwater_engine::cluster::demand::Demands;
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::view::Member;

/// Parts are fractions: so far their sum may be off.
const ROUNDING: f64 = 1e-9;

/// What a node divides by, and its parts.
struct Divided {
    members: Vec<Member>,
    demands: Demands,
    is_leaving: bool,
    shares: Vec<f64>,
}

/// By node, as its first core had it last.
#[derive(Default)]
pub struct DividedLimits(BTreeMap<usize, Divided>);

impl Joint for DividedLimits {
    fn see(&mut self, seen: &Seen, node: &Node, _: Nanos) {
        match seen {
            Seen::Ticked { core: 0, .. } => {
                let shard = &node.cores[0].shard;
                let limits = shard.rules().limits().len();
                let Some(cluster) = shard.cluster().filter(|_| limits > 0) else { return };
                let (members, demands) = (cluster.view.members().to_vec(), cluster.demands.clone());
                let shares = demands.shares(&cluster.view, limits);
                let is_leaving = cluster.is_leaving;
                self.0.insert(node.number(), Divided { members, demands, is_leaving, shares });
                self.sums_up(node.number());
            }
            Seen::Crashed { .. } | Seen::Lost => _ = self.0.remove(&node.number()),
            _ => {}
        }
    }
}

impl DividedLimits {
    fn sums_up(&self, number: usize) {
        let own = &self.0[&number];
        let agrees =
            |other: &&Divided| other.members == own.members && other.demands == own.demands && !other.is_leaving;
        for limit in 0..own.shares.len() {
            let sum: f64 = self.0.values().filter(agrees).map(|other| other.shares[limit]).sum();
            assert!(sum <= 1.0 + ROUNDING, "limit {limit} is given {sum} times: {:?}", own.demands);
        }
    }
}
