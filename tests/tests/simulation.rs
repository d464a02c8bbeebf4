//! The engine under seeded schedules: no trace is half kept, bounds hold, the books balance after every event, with rules
//! that change, and two nodes of one world know nothing of each other. What holds is in `tests/src/world/oracle`.

#![allow(clippy::print_stderr, reason = "what was met is to be seen")]

use fastrand::Rng;
use tailwater_engine::vocabulary::Nanos;
use tailwater_tests::disk::Faults;
use tailwater_tests::seeds::{is_single, run};
use tailwater_tests::world::World;
use tailwater_tests::world::clock::Clock;
use tailwater_tests::world::policies::PolicySet;
use tailwater_tests::world::scenario::{Logged, Policies, Scenario};
use tailwater_tests::world::senders::{Tracestates, Traffic, WITHIN_MS};

/// Seeds of one test; all together run in seconds.
const SEEDS: u64 = 2000;
/// Worlds of two nodes.
const PAIRS: u64 = 200;
const DECISION_WAIT_MS: u64 = 1000;

/// Clocks begin within a day and drift by what quartz does, and a little more.
fn clock(random: &mut Rng) -> Clock {
    Clock { offset: Nanos::from_millis(random.u64(0..86_400_000)), drift_ppm: random.i32(-200..200) }
}

fn traffic(traces: usize, late_percent: u32) -> Traffic {
    Traffic {
        traces,
        spans_max: 12,
        within_ms: WITHIN_MS,
        has_random_ids: false,
        spread_ms: DECISION_WAIT_MS / 2,
        late_percent,
        late_ms: 3 * DECISION_WAIT_MS,
        one_marked_in: 4,
        tracestates: Tracestates::Alike,
    }
}

/// Bounds that nothing in the run reaches.
fn roomy(seed: u64) -> Scenario {
    let mut random = Rng::with_seed(seed);
    Scenario {
        cores: random.u16(1..5),
        pipelines: 1,
        traffic: traffic(random.usize(1..60), random.u32(0..20)),
        traces_max: 1000,
        arena_bytes_max: 4 << 20,
        decision_wait_ms: DECISION_WAIT_MS,
        root_wait_ms: 0,
        cold_after_ms: 0,
        policies: Policies::Fixed(PolicySet::ErrorsThenMarked),
        refused_percent: 0,
        parked_percent: 0,
        log: None,
        clock: clock(&mut random),
        pause_ms_max: random.u64(0..2) * 1500,
        cluster: None,
    }
}

/// Bounds that are reached all the time.
fn tight(seed: u64) -> Scenario {
    let mut random = Rng::with_seed(seed);
    Scenario {
        cores: random.u16(1..4),
        traffic: traffic(random.usize(20..120), random.u32(0..30)),
        traces_max: random.usize(1..12),
        arena_bytes_max: random.usize(2..8) * 4096,
        refused_percent: random.u32(0..30),
        root_wait_ms: random.u64(0..2) * 300,
        ..roomy(seed)
    }
}

/// Rules that change, with room for everything; of some nodes bytes leave memory.
fn changing(seed: u64) -> Scenario {
    let mut random = Rng::with_seed(seed);
    let is_logged = random.bool();
    Scenario {
        cores: random.u16(1..4),
        traffic: Traffic {
            spans_max: 10,
            within_ms: WITHIN_MS,
            has_random_ids: false,
            spread_ms: DECISION_WAIT_MS,
            late_percent: 12,
            one_marked_in: 3,
            ..traffic(random.usize(1..40), 0)
        },
        arena_bytes_max: 1 << 20,
        policies: Policies::Changing(random.u64(8..200)),
        cold_after_ms: if is_logged { random.u64(0..4) * 200 } else { 0 },
        log: is_logged
            .then(|| Logged { faults: Faults { bytes_max: 64 << 20, ..Faults::default() }, ..Logged::default() }),
        ..roomy(seed)
    }
}

#[test]
fn with_room_every_trace_is_whole_and_rightly_judged() {
    let met = run(SEEDS, roomy);
    eprintln!("{met:?}");
}

#[test]
fn at_its_bounds_no_trace_is_half_kept_and_the_books_balance() {
    let met = run(SEEDS, tight);
    eprintln!("{met:?}");
    assert!(is_single() || met.judged_early > 100, "the schedules meet every case: {met:?}");
}

#[test]
fn verdicts_never_mix_two_generations_of_rules() {
    let met = run(SEEDS, changing);
    eprintln!("{met:?}");
    let all = [met.judged, met.judged_under_former, met.scanned_again, met.judged_early];
    assert!(is_single() || all.iter().all(|count| *count > 100), "the schedules meet every case: {met:?}");
}

/// Two nodes of one world have other seeds, other clocks and spans of the same ids: each goes its way to the last event as
/// if it were alone. It breaks without the node in the address of `Node::link_to`.
#[test]
fn two_nodes_of_one_world_know_nothing_of_each_other() {
    for seed in 0..PAIRS {
        let pair = [(seed, roomy(seed)), (seed + PAIRS, changing(seed + PAIRS))];
        let alone = pair.clone().map(|(seed, scenario)| World::new().with(seed, scenario).run()[0].trace);
        let [one, other] = pair;
        let both: Vec<u64> =
            World::new().with(one.0, one.1).with(other.0, other.1).run().iter().map(|met| met.trace).collect();
        assert_eq!(both, alone, "seed {seed}");
        assert_ne!(both[0], both[1]);
    }
}
