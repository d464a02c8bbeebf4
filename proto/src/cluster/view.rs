//! Who owns a trace: the live member that a hash of its own and of the trace ranks highest (rendezvous hashing). Each node
//! computes it from its own view, so that nobody has to say it, and a member that comes or goes moves only its own part.

use super::{Incarnation, NodeId};

/// Nodes of a cluster.
/// At the bound: a node that finds so many live members does not join; it says so and counts
/// `tailwater_cluster_members_refused_total`.
pub const MEMBERS_MAX: usize = 1_024;

/// A live node.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Member {
    /// Which.
    pub node: NodeId,
    /// In which run.
    pub incarnation: Incarnation,
    /// How many shards it has.
    pub shards: u16,
    /// It is about to leave: it is heard, and owns nothing any more.
    pub is_leaving: bool,
}

/// The live nodes as one of them sees them, itself among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Counts the changes of this node's view.
    pub number: u64,
    /// Whose view it is.
    pub own: NodeId,
    /// By their ids.
    members: Vec<Member>,
}

impl View {
    /// A view of these members; of two with one id the later run counts.
    #[must_use]
    pub fn new(number: u64, own: NodeId, mut members: Vec<Member>) -> Self {
        members.sort_unstable_by_key(|member| (member.node, std::cmp::Reverse(member.incarnation)));
        members.dedup_by_key(|member| member.node);
        Self { number, own, members }
    }

    /// By their ids.
    #[must_use]
    pub fn members(&self) -> &[Member] {
        &self.members
    }

    /// The member of that id.
    #[must_use]
    pub fn member(&self, node: NodeId) -> Option<&Member> {
        let at = self.members.binary_search_by_key(&node, |member| member.node).ok()?;
        self.members.get(at)
    }

    /// The node that judges the traces of this hash: one that is about to leave only if all are; the own one where the view
    /// is empty.
    #[must_use]
    pub fn owner(&self, hash: u64) -> NodeId {
        highest(self.members.iter(), hash).unwrap_or(self.own)
    }

    /// The node that would, if this one were not there; `None` where there is no other.
    #[must_use]
    pub fn owner_but_own(&self, hash: u64) -> Option<NodeId> {
        highest(self.members.iter().filter(|member| member.node != self.own), hash)
    }

    /// Whether this node judges the traces of this hash.
    #[must_use]
    pub fn is_own(&self, hash: u64) -> bool {
        self.owner(hash) == self.own
    }
}

fn highest<'a>(members: impl Iterator<Item = &'a Member>, hash: u64) -> Option<NodeId> {
    let rank = |member: &Member| (!member.is_leaving, mix(hash ^ mix(member.node.0)), member.node);
    members.map(rank).max().map(|(_, _, node)| node)
}

/// The finalizer of `SplitMix64` (Steele, Lea, Flood, 2014): every bit of the input flips each of the output half the time.
/// A part of the wire: nodes that mix otherwise disagree on owners.
const fn mix(mut value: u64) -> u64 {
    value = (value ^ value >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    value = (value ^ value >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    value ^ value >> 31
}

#[cfg(test)]
mod tests {
    use super::*;

    fn view(nodes: &[u64]) -> View {
        let member =
            |node: &u64| Member { node: NodeId(*node), incarnation: Incarnation(1), shards: 1, is_leaving: false };
        View::new(1, NodeId(nodes[0]), nodes.iter().map(member).collect())
    }

    /// The number is a part of the wire: nodes of two versions that disagree judge a trace twice.
    #[test]
    fn owners_are_the_same_in_all_versions() {
        let view = view(&[1, 2, 3]);
        let owners: Vec<u64> = (0..8).map(|hash| view.owner(hash << 60).0).collect();
        assert_eq!(owners, [3, 3, 1, 3, 2, 1, 3, 2], "as another program computes it");
    }

    #[test]
    fn each_member_owns_its_share_whatever_part_of_the_hash_varies() {
        for shift in [0, 24, 48] {
            for nodes in [&[1, 2, 3][..], &[1 << 60, 5, 7, 900, 901]] {
                let view = view(nodes);
                let hashes = (0..8_000u64).map(|hash| hash << shift);
                let own = hashes.filter(|hash| view.is_own(*hash)).count();
                let fair = 8_000 / nodes.len();
                assert!(own.abs_diff(fair) < fair / 8, "{own} of {fair}");
            }
        }
    }

    /// Without a rank of each member by itself, as with `hash % members`, nearly all traces would move.
    #[test]
    fn who_comes_takes_only_its_own_part() {
        let (before, after) = (view(&[1, 2, 3]), view(&[1, 2, 3, 4]));
        let moved = (0..8_000u64).filter(|hash| before.owner(*hash) != after.owner(*hash));
        let to: std::collections::BTreeSet<u64> = moved.map(|hash| after.owner(hash).0).collect();
        assert_eq!(to.into_iter().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn who_is_about_to_leave_owns_nothing() {
        let mut members = view(&[1, 2, 3]).members().to_vec();
        members[2].is_leaving = true;
        let view = View::new(2, NodeId(1), members.clone());
        assert!((0..100u64).all(|hash| view.owner(hash << 50) != NodeId(3)));
        members.iter_mut().for_each(|member| member.is_leaving = true);
        let view = View::new(3, NodeId(1), members);
        assert!((0..100u64).any(|hash| view.owner(hash << 50) == NodeId(3)), "someone has to");
    }

    #[test]
    fn of_two_runs_of_a_node_the_later_counts() {
        let member = |incarnation| {
            let incarnation = Incarnation(incarnation);
            Member { node: NodeId(7), incarnation, shards: 2, is_leaving: false }
        };
        let view = View::new(1, NodeId(7), vec![member(3), member(9), member(5)]);
        assert_eq!(view.members(), [member(9)]);
    }
}
