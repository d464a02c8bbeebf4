//! What must hold of all nodes of a cluster together: one file an invariant, as of one node. They are told what happens on
//! every node, with the time of the world, and are asked once more in the end. A new one is a file here and a row in `all`.

mod asked_for;
mod by_what_was_told;
mod divided;
mod durable_first;
mod followed;
mod handed_over;
mod of_owners;
mod only_kept;
mod represented;
mod settled;
mod stays;
mod whole;

use super::super::Met;
use super::super::cluster::{Cluster, Run, id};
use super::super::node::Node;
use super::super::seen::Seen;
use std::collections::BTreeSet;
use tailwater_engine::vocabulary::{Judged, Nanos, Occasion};
use tailwater_proto::cluster::Incarnation;

/// One invariant of a cluster. It fails by panicking.
pub trait Joint {
    /// Something was seen at a node. What is asked of the node is as it is after the event that this was a part of.
    fn see(&mut self, seen: &Seen, node: &Node, now: Nanos);
    /// All that was sent is settled.
    fn end(&mut self, _: &Ended<'_>) {}
    /// How many traces came, and how many those stand for that left; nothing where that is not what it looks at.
    fn represented(&self) -> (u64, f64) {
        (0, 0.0)
    }
}

/// What is expected of a world.
#[derive(Debug, Clone, Copy)]
pub struct Expected {
    /// Messages take their usual time, nobody stands still, and what nodes say of themselves finds room.
    pub is_calm: bool,
}

/// What a world was like.
pub struct Ended<'a> {
    /// What is expected of it.
    pub expected: Expected,
    /// What all nodes have met.
    pub met: &'a Met,
    /// Nodes that are gone with all they had.
    pub lost: BTreeSet<usize>,
    /// When the first link was cut, if any was.
    pub parted: Option<Nanos>,
    /// When the last was not cut any more.
    pub healed: Option<Nanos>,
}

impl Ended<'_> {
    /// Whether all nodes were members for all nodes all the time.
    pub fn is_connected(&self) -> bool {
        self.parted.is_none() && self.met.hub.gone == 0 && self.met.crashes == 0 && self.lost.is_empty()
    }
}

/// All of them.
pub struct Together {
    all: Vec<Box<dyn Joint>>,
    expected: Expected,
    lost: BTreeSet<usize>,
    parted: Option<Nanos>,
    healed: Option<Nanos>,
}

impl Together {
    /// Nothing has happened.
    #[must_use]
    pub fn new(expected: Expected, cluster: &Cluster) -> Self {
        let (parted, healed) = (cluster.parted(), cluster.healed());
        let all: Vec<Box<dyn Joint>> = vec![
            Box::<whole::Whole>::default(),
            Box::<by_what_was_told::ByWhatWasTold>::default(),
            Box::<of_owners::OfOwners>::default(),
            Box::<handed_over::HandedOver>::default(),
            Box::<durable_first::DurableFirst>::default(),
            Box::<stays::Stays>::default(),
            Box::<only_kept::OnlyKept>::default(),
            Box::new(followed::Followed::new(healed)),
            Box::new(settled::Settled::new(healed)),
            Box::new(asked_for::AskedFor),
            Box::<represented::Represented>::default(),
            Box::<divided::DividedLimits>::default(),
        ];
        Self { all, expected, lost: BTreeSet::new(), parted, healed }
    }

    /// Something was seen at a node.
    pub fn see(&mut self, seen: &Seen, node: &Node, now: Nanos) {
        if matches!(seen, Seen::Lost) {
            self.lost.insert(node.number());
        }
        self.all.iter_mut().for_each(|oracle| oracle.see(seen, node, now));
    }

    /// All is settled. Returns how many traces came where a cluster sheds, and how many those stand for that left.
    pub fn end(mut self, met: &Met) -> (u64, f64) {
        let Self { expected, lost, parted, healed, .. } = self;
        let ended = Ended { expected, met, lost, parted, healed };
        self.all.iter_mut().for_each(|oracle| oracle.end(&ended));
        let sum = |(came, stands): (u64, f64), (more, for_more): (u64, f64)| (came + more, stands + for_more);
        self.all.iter().map(|oracle| oracle.represented()).fold((0, 0.0), sum)
    }
}

/// Whether a node has come to a verdict by itself, for all nodes or alone, and does not follow another's.
fn is_ruling(judged: &Judged) -> bool {
    judged.occasion != Occasion::Owner
}

/// The run that a node is in.
fn run_of(node: &Node) -> Run {
    (id(node.number()), Incarnation(u64::from(node.run) + 1))
}

/// The members as a core of a node sees them, each in its run.
fn runs_seen(node: &Node, core: usize) -> impl Iterator<Item = Run> {
    let members = node.view_of(core).into_iter().flat_map(|view| view.members());
    members.map(|member| (member.node, member.incarnation))
}
