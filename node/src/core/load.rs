//! How the cores divide the limits of the rules among them: each tells the others what wanted to pass, and has a part of
//! every limit by what all have told. In a cluster the node has a part of them, by what its cores want together, and sheds
//! what the cluster can't take.

use super::peers::ByCore;
use super::{Core, Message};
use crate::numbers::CoreNumber;
use std::cell::{Cell, RefCell};
use std::rc::Rc;
use std::time::Duration;
use tailwater_proto::consistent::to_float;
use tailwater_runtime::executor::sleep;

/// How often the cores divide limits anew: by then a window's worth of demand is known.
const LOAD_SHARED_INTERVAL: Duration = Duration::from_secs(1);
/// The part of a limit that is divided equally.
const EQUAL_PART: f64 = 0.1;

/// What a core has to do of late.
#[derive(Debug, Clone, Default)]
pub struct Load {
    /// What wanted to pass each limit.
    pub demand: Vec<u64>,
    /// It holds senders back.
    pub is_pressed: bool,
}

/// What each core has to do.
#[derive(Default)]
pub(super) struct Loads {
    by_core: RefCell<ByCore<Load>>,
    /// How often the node wants the traces that pass in the cluster to be halved.
    pub(super) shed_level: Cell<u8>,
}

impl Loads {
    /// What a core has told last.
    pub(super) fn note(&self, core: CoreNumber, load: Load) {
        *self.by_core.borrow_mut().of(core) = load;
    }

    /// Other rules have other limits.
    pub(super) fn forget(&self) {
        self.by_core.borrow_mut().clear();
    }

    /// Whether any core holds senders back.
    fn is_pressed(&self) -> bool {
        self.by_core.borrow().values().iter().any(|load| load.is_pressed)
    }

    /// What wanted to pass each limit on all cores.
    fn total(&self) -> Vec<u64> {
        let loads = self.by_core.borrow();
        let limits = loads.values().iter().map(|load| load.demand.len()).max().unwrap_or(0);
        let of = |limit: usize| loads.values().iter().filter_map(|load| load.demand.get(limit)).sum();
        (0..limits).map(of).collect()
    }

    /// The parts that core `own` of `cores` has of each limit.
    fn shares(&self, own: CoreNumber, cores: u16) -> Vec<f64> {
        limit_shares(&self.by_core.borrow(), own, cores)
    }
}

impl Core {
    /// Tells the other cores what wanted to pass this core's limits and whether it holds senders back, and divides the limits
    /// by what all have told.
    pub(super) async fn share_load(self: Rc<Self>) {
        loop {
            sleep(LOAD_SHARED_INTERVAL).await;
            let (demand, generation, is_in_cluster) = {
                let mut shard = self.shard.borrow_mut();
                (shard.take_limit_demand(), shard.rules().generation(), shard.cluster().is_some())
            };
            if demand.is_empty() && !is_in_cluster {
                continue;
            }
            let load = Load { demand, is_pressed: self.is_pressed(self.log.is_some()) };
            for other in self.peers.others() {
                // A core whose queue is full divides by what it heard last.
                _ = self.peers.try_send(other, Message::Load(self.number, generation, load.clone()));
            }
            self.loads.note(self.number, load);
            let shares = self.loads.shares(self.number, self.peers.cores());
            self.shard.borrow_mut().set_limit_shares(&shares);
            if is_in_cluster {
                self.share_load_in_cluster();
            }
        }
    }

    /// The other nodes hear of the whole node from one of its cores, which decides how much it wants to be shed.
    fn share_load_in_cluster(&self) {
        let speaks = self.number == CoreNumber::FIRST;
        if speaks {
            let level = self.shard.borrow_mut().want_to_shed(self.now(), self.loads.is_pressed());
            self.loads.shed_level.set(level);
            for other in self.peers.others() {
                // It hears the level of the next second.
                _ = self.peers.try_send(other, Message::ShedLevel(level));
            }
        }
        let (demand, level) = (self.loads.total(), self.loads.shed_level.get());
        self.with_shard(|shard, now, _| shard.share_load(now, &demand, level, speaks));
    }
}

/// The parts that core `own` of `cores` has of each limit: a tenth is divided equally, so that a core on which something
/// new arrives has a part at once; the rest as what wanted to pass.
fn limit_shares(loads: &ByCore<Load>, own: CoreNumber, cores: u16) -> Vec<f64> {
    let equal = 1.0 / f64::from(cores.max(1));
    let of = |load: &Load, limit: usize| load.demand.get(limit).copied().unwrap_or(0);
    let limits = loads.get(own).map_or(0, |load| load.demand.len());
    let share = |limit: usize| {
        let total: u64 = loads.values().iter().map(|load| of(load, limit)).sum();
        let own = loads.get(own).map_or(0, |load| of(load, limit));
        let by_demand = if total == 0 { equal } else { to_float(own) / to_float(total) };
        EQUAL_PART * equal + (1.0 - EQUAL_PART) * by_demand
    };
    (0..limits).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares_of_three(demands: [&[u64]; 3]) -> Vec<Vec<f64>> {
        let told = Loads::default();
        let load = |demand: &[u64]| Load { demand: demand.to_vec(), is_pressed: false };
        CoreNumber::all(3).zip(demands).for_each(|(core, demand)| told.note(core, load(demand)));
        CoreNumber::all(3).map(|core| told.shares(core, 3)).collect()
    }

    #[test]
    fn limits_are_divided_by_demand_and_never_more_than_whole() {
        let shares = shares_of_three([&[300, 0], &[100, 0], &[]]);
        assert!((shares[0][0] - (0.1 / 3.0 + 0.9 * 0.75)).abs() < 1e-9 && (shares[0][1] - 1.0 / 3.0).abs() < 1e-9);
        let shares = shares_of_three([&[300, 0], &[100, 0], &[0, 0]]);
        for limit in 0..2 {
            let sum: f64 = shares.iter().map(|of_core| of_core[limit]).sum();
            assert!((sum - 1.0).abs() < 1e-9);
        }
    }
}
