//! How the cores divide the limits of the rules among them: each tells the others what wanted to pass, and has a part of
//! every limit by what all have told.

use super::peers::ByCore;
use super::{Core, Message};
use crate::numbers::CoreNumber;
use std::cell::RefCell;
use std::rc::Rc;
use std::time::Duration;
use tailwater_proto::consistent::to_float;
use tailwater_runtime::executor::sleep;

/// How often the cores divide limits anew: by then a window's worth of demand is known.
const LIMITS_SHARED_INTERVAL: Duration = Duration::from_secs(1);
/// The part of a limit that is divided equally.
const EQUAL_PART: f64 = 0.1;

/// What wanted to pass each limit of late, by core.
#[derive(Default)]
pub(super) struct Demands(RefCell<ByCore<Vec<u64>>>);

impl Demands {
    /// What a core has told last.
    pub(super) fn note(&self, core: CoreNumber, demand: Vec<u64>) {
        *self.0.borrow_mut().of(core) = demand;
    }

    /// Other rules have other limits.
    pub(super) fn forget(&self) {
        self.0.borrow_mut().clear();
    }

    /// The parts that core `own` of `cores` has of each limit.
    fn shares(&self, own: CoreNumber, cores: u16) -> Vec<f64> {
        limit_shares(&self.0.borrow(), own, cores)
    }
}

impl Core {
    /// Tells the other cores what wanted to pass this core's limits, and divides the limits by what all have told.
    pub(super) async fn share_limits(self: Rc<Self>) {
        loop {
            sleep(LIMITS_SHARED_INTERVAL).await;
            let (demand, generation) = {
                let mut shard = self.shard.borrow_mut();
                (shard.take_limit_demand(), shard.rules().generation())
            };
            if demand.is_empty() {
                continue;
            }
            for other in self.peers.others() {
                // A core whose queue is full divides by what it heard last.
                _ = self.peers.try_send(other, Message::LimitDemand(self.number, generation, demand.clone()));
            }
            self.limits.note(self.number, demand);
            let shares = self.limits.shares(self.number, self.peers.cores());
            self.shard.borrow_mut().set_limit_shares(&shares);
        }
    }
}

/// The parts that core `own` of `cores` has of each limit: a tenth is divided equally, so that a core on which something
/// new arrives has a part at once; the rest as what wanted to pass.
fn limit_shares(demands: &ByCore<Vec<u64>>, own: CoreNumber, cores: u16) -> Vec<f64> {
    let equal = 1.0 / f64::from(cores.max(1));
    let of = |demand: &Vec<u64>, limit: usize| demand.get(limit).copied().unwrap_or(0);
    let limits = demands.get(own).map_or(0, Vec::len);
    let share = |limit: usize| {
        let total: u64 = demands.values().iter().map(|demand| of(demand, limit)).sum();
        let own = demands.get(own).map_or(0, |demand| of(demand, limit));
        let by_demand = if total == 0 { equal } else { to_float(own) / to_float(total) };
        EQUAL_PART * equal + (1.0 - EQUAL_PART) * by_demand
    };
    (0..limits).map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shares_of_three(demands: [&[u64]; 3]) -> Vec<Vec<f64>> {
        let told = Demands::default();
        CoreNumber::all(3).zip(demands).for_each(|(core, demand)| told.note(core, demand.to_vec()));
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
