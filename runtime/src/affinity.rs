//! Which cores the executors run on: the affinity mask, the CPU quota, and the plan made of them.
//!
//! Pinning pays only where a core is really ours. A container with a fractional CPU quota is stopped by the kernel
//! wherever it runs, and more shards than cores would stand in each other's way, so both run unpinned.

mod quota;

use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

pub use quota::cpu_quota;

/// The highest core number looked at, the size of the kernel's static mask.
const CORES_MAX: usize = CpuSet::MAX_CPU;

/// Where the shards run.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Placement {
    /// One entry per shard: the core to pin it to, or `None` to leave it to the scheduler. Never empty.
    pub cores: Vec<Option<usize>>,
    /// The core for gossip and the side thread, if one was asked for and may be used.
    pub gossip_core: Option<usize>,
    /// Why it is so, for the log and for `doctor`.
    pub reason: String,
}

/// What a list of cores has wrong with it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PlacementError {
    /// Not a list of numbers and ranges.
    #[error("--cores {list}: {part:?} is not a core or a range of cores such as 2-9,12")]
    Malformed {
        /// The whole list.
        list: String,
        /// The part that cannot be read.
        part: String,
    },
    /// A core is named twice.
    #[error("--cores {list}: core {core} is named twice")]
    Twice {
        /// The whole list.
        list: String,
        /// The core.
        core: usize,
    },
}

/// The cores this thread may run on, ascending; the mask of the process if called before any pinning. Never empty.
#[must_use]
pub fn allowed_cores() -> Vec<usize> {
    match sched_getaffinity(None) {
        Ok(mask) => (0..CORES_MAX).filter(|core| mask.is_set(*core)).collect(),
        // Machines with more than 1024 cores answer EINVAL to a mask of this size.
        Err(_) => (0..std::thread::available_parallelism().map_or(1, usize::from)).collect(),
    }
}

/// Pins the calling thread to one core.
///
/// # Errors
/// If the core is not there or not allowed.
pub fn pin_current_thread(core: usize) -> std::io::Result<()> {
    if core >= CORES_MAX {
        return Err(std::io::Error::from(std::io::ErrorKind::InvalidInput));
    }
    let mut mask = CpuSet::new();
    mask.set(core);
    Ok(sched_setaffinity(None, &mask)?)
}

/// Reads a list such as `2-9,12`, in the order given.
///
/// # Errors
/// [`PlacementError`] with the part that is wrong.
pub fn parse_cores(list: &str) -> Result<Vec<usize>, PlacementError> {
    let mut cores = Vec::new();
    for part in list.split(',') {
        let malformed = || PlacementError::Malformed { list: list.to_owned(), part: part.trim().to_owned() };
        let number = |text: &str| text.trim().parse::<usize>().ok().filter(|core| *core < CORES_MAX);
        let (first, last) = match part.split_once('-') {
            Some((first, last)) => (number(first), number(last)),
            None => (number(part), number(part)),
        };
        let (Some(first), Some(last)) = (first, last) else { return Err(malformed()) };
        if first > last {
            return Err(malformed());
        }
        for core in first..=last {
            if cores.contains(&core) {
                return Err(PlacementError::Twice { list: list.to_owned(), core });
            }
            cores.push(core);
        }
    }
    Ok(cores)
}

/// Plans where the shards run, from what was asked for and what the machine allows. `shards` defaults to the number of
/// cores named, else to the number allowed, less the gossip core if another is left, and no more than the CPU quota.
///
/// # Errors
/// [`PlacementError`] if the list of cores cannot be read. Everything else falls back to running unpinned, with the
/// reason.
pub fn plan(
    shards: Option<usize>,
    cores: Option<&str>,
    gossip_core: Option<usize>,
) -> Result<Placement, PlacementError> {
    let machine = Machine { allowed: allowed_cores(), quota: cpu_quota() };
    let named = cores.map(parse_cores).transpose()?;
    Ok(machine.plan(shards, named, gossip_core))
}

/// What the machine allows, apart from the plan so that the plan can be tested.
struct Machine {
    allowed: Vec<usize>,
    quota: Option<f64>,
}

impl Machine {
    fn plan(&self, shards: Option<usize>, named: Option<Vec<usize>>, gossip_core: Option<usize>) -> Placement {
        let gossip_core = gossip_core.filter(|core| self.allowed.contains(core));
        let by_name = named.is_some();
        let usable = named.unwrap_or_else(|| self.without_gossip(gossip_core));
        let shards = shards.unwrap_or_else(|| self.default_shards(usable.len(), by_name)).max(1);
        let unpinned = |reason: String| Placement { cores: vec![None; shards], gossip_core: None, reason };
        if let Some(core) = usable.iter().find(|core| !self.allowed.contains(core)) {
            return unpinned(format!("unpinned: core {core} is not in this process's affinity mask"));
        }
        if let Some(quota) = self.quota.filter(|quota| quota.fract() != 0.0) {
            return unpinned(format!("unpinned: the cgroup's CPU quota is {quota:.2} cores, not a whole number"));
        }
        if let Some(quota) = self.quota.filter(|quota| *quota < count(usable.len().min(shards))) {
            return unpinned(format!(
                "unpinned: the cgroup's CPU quota of {quota:.0} cores is less than the cores used"
            ));
        }
        if shards > usable.len() {
            return unpinned(format!("unpinned: {shards} shards on {} usable cores", usable.len()));
        }
        let reason = if by_name { "pinned to the cores named" } else { "pinned, one allowed core each" };
        let cores = usable.into_iter().take(shards).map(Some).collect();
        Placement { cores, gossip_core, reason: reason.to_owned() }
    }

    /// The allowed cores but the gossip core, unless it is the only one.
    fn without_gossip(&self, gossip_core: Option<usize>) -> Vec<usize> {
        let rest: Vec<usize> = self.allowed.iter().copied().filter(|core| Some(*core) != gossip_core).collect();
        if rest.is_empty() { self.allowed.clone() } else { rest }
    }

    /// One shard per usable core, but no more than whole cores in the quota, unless the cores were named.
    fn default_shards(&self, usable: usize, by_name: bool) -> usize {
        match self.quota {
            Some(quota) if !by_name => (1..=usable).rev().find(|shards| count(*shards) <= quota).unwrap_or(1),
            _ => usable,
        }
    }
}

/// A number of cores as a quota. Exact: it is at most [`CORES_MAX`].
fn count(cores: usize) -> f64 {
    u32::try_from(cores).map_or(f64::MAX, f64::from)
}

#[cfg(test)]
mod tests;
