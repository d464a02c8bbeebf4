//! Crashes under a simulated disk: lost, torn and reordered writes, syncs that fail, full disks, other numbers of cores
//! after a restart. A failure prints its seed; `SIMULATION_SEED=n` replays it alone, `SIMULATION_SEEDS=n` runs as many.

#![allow(clippy::print_stderr, clippy::panic, reason = "seeds are to be seen")]

use tailwater_tests::log_simulation::{LogScenario, LogWorld};

/// Seeds of one run: each number of the failing sync from 1 to 200 comes several times.
const SEEDS: u64 = 1000;

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().and_then(|text| text.parse().ok())
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let range = number("SIMULATION_SEED").map_or(0..number("SIMULATION_SEEDS").unwrap_or(SEEDS), |seed| seed..seed + 1);
    let (mut again, mut crashed) = (0, 0);
    for seed in range.clone() {
        let scenario = LogScenario::of(seed);
        crashed += u64::from(scenario.crashes);
        let outcome = std::panic::catch_unwind(|| LogWorld::new(seed, scenario.clone()).run());
        match outcome {
            Ok(twice) => again += twice,
            Err(_) => panic!("seed {seed} failed: SIMULATION_SEED={seed}; {scenario:?}"),
        }
    }
    eprintln!("seeds {range:?}: {crashed} crashes, {again} spans delivered more than once");
}
