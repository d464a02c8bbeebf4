//! What must hold of a pipeline of a node: one file an invariant. An oracle is told what happens and keeps its own books of it; it is asked
//! after every event and once more in the end. Each says what in the engine it notices when that is broken. A new one is a
//! file here and a row in `all`: it watches every node of every script.

mod accounting;
mod acknowledged;
mod bounds;
mod counted;
mod deadline;
mod delivered_once;
mod generation;
mod past;
pub mod together;
mod verdict_right;
mod verdict_stays;
mod whole;

use super::node::Node;
use super::scenario::Scenario;
use super::seen::Seen;
use tailwater_engine::ledger::Account;

/// One invariant of one pipeline of a node. It fails by panicking.
pub trait Oracle {
    /// Something was seen. What is asked of the node is as it is after the event that this was a part of.
    fn see(&mut self, seen: &Seen, node: &Node);
    /// An event is over. `Account` is that of all shards of the pipeline; so many of its spans are on the network.
    fn check(&mut self, _: &Node, _: &Account, _: usize) {}
    /// All that was sent is settled.
    fn end(&mut self, _: &Node, _: &Account) {}
}

/// All that hold of each pipeline of a node of this scenario.
#[must_use]
pub fn all(scenario: &Scenario) -> Vec<Box<dyn Oracle>> {
    let mut all: Vec<Box<dyn Oracle>> = vec![
        Box::<accounting::Accounting>::default(),
        Box::<bounds::Bounds>::default(),
        Box::<delivered_once::DeliveredOnce>::default(),
        Box::<generation::Generation>::default(),
        Box::<acknowledged::Acknowledged>::default(),
    ];
    if scenario.log.is_some() {
        all.push(Box::<counted::Counted>::default());
        all.push(Box::<past::Past>::default());
    }
    if scenario.cluster.is_some() {
        // Verdicts come from elsewhere: `together` has what is right.
        return all;
    }
    all.push(Box::<whole::Whole>::default());
    all.push(Box::<verdict_right::VerdictRight>::default());
    all.push(Box::<verdict_stays::VerdictStays>::default());
    if deadline::Deadline::holds(scenario) {
        all.push(Box::<deadline::Deadline>::default());
    }
    all
}
