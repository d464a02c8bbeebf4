//! Crashes under a simulated disk: lost, torn and reordered writes, syncs that fail, full disks, other numbers of cores and
//! other rules after a restart. What holds is in `tests/src/world/oracle`; the run ends when every segment is free.

#![allow(clippy::print_stderr, reason = "what was met is to be seen")]

use fastrand::Rng;
use tailwater_engine::vocabulary::Nanos;
use tailwater_tests::disk::Faults;
use tailwater_tests::seeds::{is_single, run};
use tailwater_tests::world::World;
use tailwater_tests::world::clock::Clock;
use tailwater_tests::world::scenario::{Logged, Policies, Scenario};
use tailwater_tests::world::senders::{Tracestates, Traffic, WITHIN_MS};

/// Seeds of one run: each number of the failing sync from 1 to 100 comes several times.
const SEEDS: u64 = 1000;
const DECISION_WAIT_MS: u64 = 500;

/// A node that crashes, on a disk that fails.
fn crashing(seed: u64) -> Scenario {
    let mut random = Rng::with_seed(seed);
    let traces = random.usize(10..60);
    let crashes = random.u32(0..4);
    // Each number of the failing sync comes with one and with two.
    let pipelines = 1 + usize::from((seed / 100 + seed).is_multiple_of(2));
    Scenario {
        cores: random.u16(1..4),
        pipelines,
        traffic: Traffic {
            traces,
            spans_max: 12,
            within_ms: WITHIN_MS,
            has_random_ids: false,
            spread_ms: DECISION_WAIT_MS / 2,
            late_percent: 10,
            late_ms: 3 * DECISION_WAIT_MS,
            one_marked_in: 3,
            tracestates: Tracestates::Given,
        },
        traces_max: 1000,
        arena_bytes_max: [48 << 10, 4 << 20][random.usize(0..2)],
        decision_wait_ms: DECISION_WAIT_MS,
        root_wait_ms: 0,
        cold_after_ms: seed % 2 * 100,
        policies: Policies::OfRuns,
        refused_percent: 0,
        parked_percent: [0, 20][random.usize(0..2)],
        log: Some(Logged {
            crashes,
            cuts_power: random.bool(),
            written_percent: [0, 30, 100][random.usize(0..3)],
            faults: Faults {
                sync: (!seed.is_multiple_of(3)).then_some(1 + seed % 100),
                write: seed.is_multiple_of(5).then(|| random.u64(1..60)),
                // Little, but enough for the journals.
                bytes_max: [(2 << 20) * pipelines as u64, 64 << 20][random.usize(0..2)],
            },
        }),
        clock: Clock { offset: Nanos::from_millis(1_000_000_000), drift_ppm: random.i32(-200..200) },
        pause_ms_max: random.u64(0..2) * 500,
        cluster: None,
    }
}

#[test]
fn what_was_acknowledged_survives_every_crash() {
    let met = run(SEEDS, crashing);
    eprintln!("{met:?}");
    assert!(is_single() || (met.crashes > 100 && met.disk_failures > 100), "the schedules meet every case: {met:?}");
}

/// It breaks when anything is drawn or ordered that the seed does not decide, as the order of a `HashMap` would be.
#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..20 {
        let trace = |seed| World::new().with(seed, crashing(seed)).run()[0].trace;
        assert_eq!(trace(seed), trace(seed), "seed {seed}");
        assert_ne!(trace(seed), trace(seed + 1), "another seed gives another run");
    }
}
