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

/// Places that traces fall on by their hashes; who ranks highest for a place owns all that fall there. So many that 64 members
/// differ by a sixteenth in what they own, and so few that who knows the owner of each has them in the cache.
const PLACES: u16 = 1 << 14;
/// Members up to which the owner of a place is worked out when it is asked for: a view changes often where nodes come and go,
/// and a table is made of all places.
const RANKED_MAX: usize = 8;

/// The live nodes as one of them sees them, itself among them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct View {
    /// Counts the changes of this node's view.
    pub number: u64,
    /// Whose view it is.
    pub own: NodeId,
    /// By their ids.
    members: Vec<Member>,
    owners: Owners,
}

/// Which member owns each place, by where it is in the list.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Owners {
    /// To be found out: those that may own any, each with what its ranks are made of.
    Ranked(Vec<(u64, u16)>),
    /// Known, for each place.
    Known(Box<[u16]>),
}

impl View {
    /// A view of these members; of two with one id the later run counts, and of more than 65,536 the first.
    #[must_use]
    pub fn new(number: u64, own: NodeId, members: Vec<Member>) -> Self {
        let members = in_order(members);
        let owners = Owners::among(ranked(&members));
        Self { number, own, members, owners }
    }

    /// The view after this one, of these members. In a large cluster this takes a thousandth of what a new view takes: whoever
    /// comes or goes moves only its own part.
    #[must_use]
    pub fn followed_by(&self, members: Vec<Member>) -> Self {
        let members = in_order(members);
        let owners = Owners::after(self, &members);
        Self { number: self.number + 1, own: self.own, members, owners }
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

    /// The member that judges the traces of this hash: one that is about to leave only if all are; `None` where the view is
    /// empty.
    #[inline]
    #[must_use]
    pub fn owner(&self, hash: u64) -> Option<&Member> {
        let place = place(hash);
        let at = match &self.owners {
            Owners::Known(owners) => owners.get(usize::from(place)).copied(),
            Owners::Ranked(ranked) => highest(ranked, place),
        };
        self.members.get(usize::from(at?))
    }

    /// Its id; the own one where the view is empty.
    #[inline]
    #[must_use]
    pub fn owner_id(&self, hash: u64) -> NodeId {
        self.owner(hash).map_or(self.own, |member| member.node)
    }

    /// The node that would, if this one were not there; `None` where there is no other.
    #[must_use]
    pub fn owner_but_own(&self, hash: u64) -> Option<NodeId> {
        let others: Vec<Member> = self.members.iter().filter(|member| member.node != self.own).copied().collect();
        let at = highest(&ranked(&others), place(hash))?;
        others.get(usize::from(at)).map(|member| member.node)
    }

    /// Whether this node judges the traces of this hash.
    #[must_use]
    pub fn is_own(&self, hash: u64) -> bool {
        self.owner_id(hash) == self.own
    }
}

impl Owners {
    fn among(ranked: Vec<(u64, u16)>) -> Self {
        if ranked.len() <= RANKED_MAX {
            return Self::Ranked(ranked);
        }
        Self::Known((0..PLACES).filter_map(|place| highest(&ranked, place)).collect())
    }

    /// The highest of those that were there before is known; where it is still there, it is compared with who is new.
    fn after(before: &View, members: &[Member]) -> Self {
        let ranked = ranked(members);
        let Owners::Known(known) = &before.owners else { return Self::among(ranked) };
        if ranked.len() <= RANKED_MAX {
            return Self::Ranked(ranked);
        }
        let was_able = may_own(&before.members);
        let (mut stays, mut new) = (vec![None; before.members.len()], Vec::new());
        for (mixed, at) in &ranked {
            let node = members.get(usize::from(*at)).map(|member| member.node);
            let place = before.members.binary_search_by_key(&node, |member| Some(member.node)).ok();
            let place = place.filter(|place| before.members.get(*place).is_some_and(&was_able));
            match place.and_then(|place| stays.get_mut(place)) {
                Some(there) => *there = Some((*mixed, *at)),
                None => new.push((*mixed, *at)),
            }
        }
        let owner = |(place, was): (u16, &u16)| match stays.get(usize::from(*was)).copied().flatten() {
            Some(still) => highest(std::iter::once(&still).chain(&new), place),
            None => highest(&ranked, place),
        };
        Self::Known((0..PLACES).zip(known).filter_map(owner).collect())
    }
}

/// By their ids, each once.
fn in_order(mut members: Vec<Member>) -> Vec<Member> {
    members.sort_unstable_by_key(|member| (member.node, std::cmp::Reverse(member.incarnation)));
    members.dedup_by_key(|member| member.node);
    members
}

/// Who of these may own a place: those that stay, or all if none does.
fn may_own(members: &[Member]) -> impl Fn(&Member) -> bool + use<> {
    let stays = members.iter().any(|member| !member.is_leaving);
    move |member| member.is_leaving != stays
}

/// Those that may own a place.
fn ranked(members: &[Member]) -> Vec<(u64, u16)> {
    let may_own = may_own(members);
    let able = (0u16..).zip(members).filter(|(_, member)| may_own(member));
    able.map(|(at, member)| (mix(member.node.0), at)).collect()
}

/// Who of them ranks highest for a place; of two alike the one of the greater id.
#[inline]
fn highest<'a>(ranked: impl IntoIterator<Item = &'a (u64, u16)>, place: u16) -> Option<u16> {
    let mut best = None;
    let mut highest = 0;
    for (mixed, at) in ranked {
        let rank = mix(mixed ^ u64::from(place));
        if rank >= highest {
            (highest, best) = (rank, Some(*at));
        }
    }
    best
}

/// Where the traces of a hash fall. Its high bits alone would not do: they are what shards of a node have different ones of.
#[inline]
fn place(hash: u64) -> u16 {
    // 2^64 over the golden ratio: the high bits of the product depend on all bits of the hash.
    let [.., low, high] = (hash.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 2).to_le_bytes();
    u16::from_le_bytes([low, high])
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
        let owners: Vec<u64> = (0..8).map(|hash| view.owner_id(hash << 60 | hash).0).collect();
        assert_eq!(owners, [3, 2, 2, 3, 2, 1, 2, 2], "as another program computes it");
    }

    /// A view that grows past `RANKED_MAX` has a table: it must say what is worked out otherwise.
    #[test]
    fn who_is_looked_up_is_who_is_worked_out() {
        let nodes: Vec<u64> = (1..=20).collect();
        let view = view(&nodes);
        let ranked = ranked(view.members());
        for hash in (0..2_000u64).map(mix) {
            let at = highest(&ranked, place(hash)).unwrap();
            assert_eq!(view.owner_id(hash), view.members()[usize::from(at)].node);
        }
        assert!(matches!(view.owners, Owners::Known(_)));
    }

    /// Breaks where who is gone, or about to leave, stays the owner of a place, and where who is new is not compared.
    #[test]
    fn a_view_that_follows_another_has_the_owners_of_one_made_anew() {
        let member =
            |node, is_leaving| Member { node: NodeId(node), incarnation: Incarnation(1), shards: 1, is_leaving };
        let mut last = view(&(1..=20).collect::<Vec<_>>());
        for step in 0..40u64 {
            let node = |at: u64| mix(step << 8 | at) % 50;
            let is_leaving = |node: u64| step % 7 == 3 || (node + step).is_multiple_of(5);
            // Some come, some go, some say that they leave, once all; now and then there are few.
            let count = if step % 11 == 9 { 5 } else { 30 };
            let stay = last.members().iter().filter(|_| step % 4 > 0).map(|member| member.node.0).take(count);
            let nodes: Vec<u64> = stay.chain((0..count as u64 / 3).map(node)).collect();
            let members: Vec<Member> = nodes.iter().map(|node| member(*node, is_leaving(*node))).collect();
            let next = last.followed_by(members.clone());
            assert_eq!(next, View::new(last.number + 1, last.own, members), "step {step}");
            last = next;
        }
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
        let moved = (0..8_000u64).filter(|hash| before.owner_id(*hash) != after.owner_id(*hash));
        let to: std::collections::BTreeSet<u64> = moved.map(|hash| after.owner_id(hash).0).collect();
        assert_eq!(to.into_iter().collect::<Vec<_>>(), [4]);
    }

    #[test]
    fn who_is_about_to_leave_owns_nothing() {
        let mut members = view(&[1, 2, 3]).members().to_vec();
        members[2].is_leaving = true;
        let view = View::new(2, NodeId(1), members.clone());
        assert!((0..100u64).all(|hash| view.owner_id(hash << 50) != NodeId(3)));
        members.iter_mut().for_each(|member| member.is_leaving = true);
        let view = View::new(3, NodeId(1), members);
        assert!((0..100u64).any(|hash| view.owner_id(hash << 50) == NodeId(3)), "someone has to");
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
