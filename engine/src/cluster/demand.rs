//! How the owners of a cluster divide its limits: each says every second what wanted to pass them on it, and has a part of
//! every limit by what all have said.

use std::collections::BTreeMap;
use tailwater_proto::cluster::NodeId;
use tailwater_proto::cluster::view::View;
use tailwater_proto::consistent::to_float;

/// The part of a limit that is divided equally, so that a node on which something new arrives has a part at once.
const EQUAL_PART: f64 = 0.1;

/// What wanted to pass each limit of late, by node: of members only, under the rules in force only.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Demands {
    fingerprint: u64,
    by_node: BTreeMap<NodeId, Vec<u64>>,
}

impl Demands {
    /// Rules of this fingerprint come into force: others' limits are others.
    pub fn turn_to(&mut self, fingerprint: u64) {
        if self.fingerprint != fingerprint {
            *self = Self { fingerprint, by_node: BTreeMap::new() };
        }
    }

    /// What a node has said, under rules of this fingerprint.
    pub fn note(&mut self, node: NodeId, fingerprint: u64, demand: Vec<u64>) {
        if fingerprint == self.fingerprint {
            self.by_node.insert(node, demand);
        }
    }

    /// Those who are gone want nothing.
    pub fn retain(&mut self, is_member: impl Fn(NodeId) -> bool) {
        self.by_node.retain(|node, _| is_member(*node));
    }

    /// The part that this node has of each of so many limits. Who has said nothing yet wants what the others want in the
    /// mean: traces fall on owners by their hashes.
    #[must_use]
    pub fn shares(&self, view: &View, limits: usize) -> Vec<f64> {
        let owners: Vec<NodeId> =
            view.members().iter().filter(|member| !member.is_leaving).map(|member| member.node).collect();
        let count = |nodes: usize| f64::from(u32::try_from(nodes.max(1)).unwrap_or(u32::MAX));
        let equal = 1.0 / count(owners.len());
        let share = |limit: usize| {
            let of = |node: &NodeId| self.by_node.get(node).and_then(|demand| demand.get(limit)).copied();
            let said: Vec<u64> = owners.iter().filter_map(of).collect();
            let total = said.iter().map(|demand| to_float(*demand)).sum::<f64>() / count(said.len()) / equal;
            let by_demand = of(&view.own).filter(|_| total > 0.0).map_or(equal, |own| to_float(own) / total);
            EQUAL_PART * equal + (1.0 - EQUAL_PART) * by_demand
        };
        (0..limits).map(share).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use tailwater_proto::cluster::Incarnation;
    use tailwater_proto::cluster::view::Member;

    fn view(own: u64, leaving: &[u64]) -> View {
        let member = |node: u64| Member {
            node: NodeId(node),
            incarnation: Incarnation(1),
            shards: 1,
            is_leaving: leaving.contains(&node),
        };
        View::new(1, NodeId(own), [1, 2, 3].map(member).to_vec())
    }

    fn shares(said: &[(u64, u64)], leaving: &[u64]) -> Vec<f64> {
        let mut demands = Demands::default();
        demands.turn_to(7);
        said.iter().for_each(|(node, demand)| demands.note(NodeId(*node), 7, vec![*demand]));
        (1..=3).filter(|own| !leaving.contains(own)).map(|own| demands.shares(&view(own, leaving), 1)[0]).collect()
    }

    /// Without what the others said, one that judges most of a limit's traces would have a third of it.
    #[test]
    fn limits_are_divided_by_demand_and_never_more_than_whole() {
        let told = shares(&[(1, 300), (2, 100), (3, 0)], &[]);
        assert!((told[0] - (0.1 / 3.0 + 0.9 * 0.75)).abs() < 1e-9, "{told:?}");
        for said in [&[(1, 300), (2, 100), (3, 0)][..], &[], &[(1, 0), (2, 0), (3, 0)], &[(1, 5), (2, 5)]] {
            assert!((shares(said, &[]).iter().sum::<f64>() - 1.0).abs() < 1e-9, "{said:?}");
        }
    }

    #[test]
    fn who_leaves_has_no_part_and_who_is_gone_wants_nothing() {
        let told = shares(&[(1, 100), (2, 100), (3, 800)], &[3]);
        assert!(told.iter().all(|share| (share - 0.5).abs() < 1e-9), "{told:?}");
    }

    #[test]
    fn what_was_said_under_other_rules_does_not_count() {
        let mut demands = Demands::default();
        demands.turn_to(7);
        demands.note(NodeId(1), 7, vec![900]);
        demands.note(NodeId(2), 8, vec![1]);
        demands.turn_to(8);
        assert!((demands.shares(&view(1, &[]), 1)[0] - 1.0 / 3.0).abs() < 1e-9);
    }
}
