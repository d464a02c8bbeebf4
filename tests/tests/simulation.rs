//! The engine under seeded schedules: no trace is half kept, bounds hold, the books balance at every step. A failure
//! prints its seed; `SIMULATION_SEED=n` replays it alone.

use fastrand::Rng;
use tailwater_tests::reload_simulation::{Met, ReloadScenario, ReloadWorld};
use tailwater_tests::simulation::{Scenario, World};

/// Seeds of one test; both together run in seconds.
const SEEDS: u64 = 2000;

fn run(seeds: u64, scenario: fn(&mut Rng) -> Scenario) {
    let only = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = only.map_or(0..seeds, |seed: u64| seed..seed + 1);
    for seed in range {
        let scenario = scenario(&mut Rng::with_seed(seed));
        let outcome = std::panic::catch_unwind(|| World::new(seed, scenario.clone()).run());
        assert!(outcome.is_ok(), "seed {seed} failed: SIMULATION_SEED={seed}; {scenario:?}");
    }
}

#[test]
fn with_room_every_trace_is_whole_and_rightly_judged() {
    run(SEEDS, Scenario::roomy);
}

#[test]
fn at_its_bounds_no_trace_is_half_kept_and_the_books_balance() {
    run(SEEDS, Scenario::tight);
}

#[test]
fn verdicts_never_mix_two_generations_of_rules() {
    let only = std::env::var("SIMULATION_SEED").ok().and_then(|seed| seed.parse().ok());
    let range = only.map_or(0..SEEDS, |seed: u64| seed..seed + 1);
    let mut met = Met::default();
    for seed in range {
        let scenario = ReloadScenario::any(&mut Rng::with_seed(seed));
        let outcome = std::panic::catch_unwind(|| ReloadWorld::new(seed, scenario.clone()).run());
        let Ok(of_this) = outcome else { panic!("seed {seed} failed: SIMULATION_SEED={seed}; {scenario:?}") };
        met.judged += of_this.judged;
        met.judged_under_former += of_this.judged_under_former;
        met.scanned_again += of_this.scanned_again;
        met.judged_early += of_this.judged_early;
    }
    let all = [met.judged, met.judged_under_former, met.scanned_again, met.judged_early];
    assert!(only.is_some() || all.iter().all(|count| *count > 100), "the schedules meet every case: {met:?}");
}
