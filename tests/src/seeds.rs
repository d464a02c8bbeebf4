//! Runs a script for many seeds, each a world of its own. A failure prints its seed and what its nodes were like;
//! `SIMULATION_SEED=n` runs that seed alone, `SIMULATION_SEEDS=n` as many from 0 on.

use crate::world::scenario::Scenario;
use crate::world::{Met, World};

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

/// Whether one seed was asked for: what only many meet is not to be expected.
#[must_use]
pub fn is_single() -> bool {
    number("SIMULATION_SEED").is_some()
}

/// The seeds to run: `count` of them if nothing else was asked for.
#[must_use]
pub fn seeds(count: u64) -> std::ops::Range<u64> {
    number("SIMULATION_SEED").map_or(0..number("SIMULATION_SEEDS").unwrap_or(count), |seed| seed..seed + 1)
}

/// Runs a node of `script` for each seed, `seeds` of them if nothing else was asked for. Returns what all have met.
///
/// # Panics
/// When an invariant does not hold.
#[must_use]
pub fn run(seeds: u64, script: fn(u64) -> Scenario) -> Met {
    let mut sum = Met::default();
    for seed in self::seeds(seeds) {
        let scenario = script(seed);
        let outcome = std::panic::catch_unwind(|| World::new().with(seed, scenario.clone()).run());
        let Ok(met) = outcome else { panic!("seed {seed} failed: SIMULATION_SEED={seed}; {scenario:?}") };
        met.iter().for_each(|met| sum.add(met));
    }
    sum
}

/// Runs a script of whole worlds, as `run` does nodes.
///
/// # Panics
/// When an invariant does not hold.
#[must_use]
pub fn run_worlds(count: u64, script: fn(u64) -> Vec<Met>) -> Met {
    let mut sum = Met::default();
    for seed in seeds(count) {
        let Ok(met) = std::panic::catch_unwind(|| script(seed)) else {
            panic!("seed {seed} failed: SIMULATION_SEED={seed}")
        };
        met.iter().for_each(|met| sum.add(met));
    }
    sum
}
