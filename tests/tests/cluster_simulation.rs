//! Nodes of a cluster under seeded schedules: the spans of a trace come to any of them, and it leaves whole or not at all, by
//! the verdict that one node with all its spans would give. What holds is in `tests/src/world/oracle`.

#![allow(clippy::print_stderr, reason = "what was met is to be seen")]

use fastrand::Rng;
use tailwater_engine::vocabulary::Nanos;
use tailwater_tests::disk::Faults;
use tailwater_tests::seeds::{is_single, run_worlds};
use tailwater_tests::world::clock::Clock;
use tailwater_tests::world::cluster::Weather;
use tailwater_tests::world::policies::PolicySet;
use tailwater_tests::world::scenario::{Goes, InCluster, Logged, Policies, Scenario};
use tailwater_tests::world::senders::{Tracestates, Traffic};
use tailwater_tests::world::{Met, World};

/// Worlds of one test; all together run in seconds.
const SEEDS: u64 = 300;
const DECISION_WAIT_MS: u64 = 2_000;

const SETS: [PolicySet; 9] = [
    PolicySet::ErrorsThenMarked,
    PolicySet::Marked,
    PolicySet::PaddedErrors,
    PolicySet::Lasting,
    PolicySet::Service,
    PolicySet::Calm,
    PolicySet::Many,
    PolicySet::Limited,
    PolicySet::Condition,
];

fn node(random: &mut Rng, cluster: InCluster, policies: PolicySet, traffic: &Traffic) -> Scenario {
    Scenario {
        cores: random.u16(1..4),
        pipelines: 1,
        traffic: traffic.clone(),
        traces_max: 1_000,
        arena_bytes_max: 4 << 20,
        decision_wait_ms: DECISION_WAIT_MS,
        root_wait_ms: 0,
        cold_after_ms: 0,
        policies: Policies::Fixed(policies),
        refused_percent: 0,
        parked_percent: 0,
        log: None,
        clock: Clock { offset: Nanos::from_millis(random.u64(0..86_400_000)), drift_ppm: random.i32(-200..200) },
        pause_ms_max: 0,
        cluster: Some(cluster),
    }
}

fn cluster(random: &mut Rng, seed: u64) -> InCluster {
    InCluster {
        seed,
        nodes: random.usize(2..6),
        is_sticky: random.bool(),
        docket_traces_max: 1_000,
        full_percent: 0,
        comes_ms: 0,
        goes: None,
    }
}

fn traffic(random: &mut Rng) -> Traffic {
    Traffic {
        traces: random.usize(1..40),
        spans_max: 12,
        spread_ms: DECISION_WAIT_MS / 2,
        late_percent: random.u32(0..20),
        late_ms: 3 * DECISION_WAIT_MS,
        one_marked_in: 4,
        tracestates: Tracestates::Alike,
    }
}

/// Messages are late, lost and doubled, as on a network that is used.
fn windy(random: &mut Rng) -> Weather {
    Weather {
        delay_us_max: random.u64(1_000..100_000),
        lost_percent: random.u32(0..20),
        doubled_percent: random.u32(0..20),
    }
}

/// Nobody stands still, and what is lost comes again within a moment.
fn calm(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let weather = Weather { delay_us_max: 20_000, lost_percent: 0, doubled_percent: random.u32(0..20) };
    let mut world = World::of_cluster(weather, set, true);
    for number in 0..cluster.nodes as u64 {
        world = world.with(seed * 100 + number, node(&mut random, cluster, set, &traffic));
    }
    world.run()
}

/// Messages are lost, come twice and in any order, find no room; nodes stand still.
fn stormy(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let cluster = InCluster { full_percent: random.u32(0..60), ..cluster };
    let weather = Weather {
        delay_us_max: random.u64(1_000..400_000),
        lost_percent: random.u32(0..30),
        doubled_percent: random.u32(0..20),
    };
    let mut world = World::of_cluster(weather, set, false);
    for number in 0..cluster.nodes as u64 {
        let pause_ms_max = random.u64(0..2) * 1_500;
        world = world.with(seed * 100 + number, Scenario { pause_ms_max, ..node(&mut random, cluster, set, &traffic) });
    }
    world.run()
}

/// Nodes come and go, in all ways; the network is as it is.
fn churning(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let mut world = World::of_cluster(windy(&mut random), set, false);
    for number in 0..cluster.nodes as u64 {
        let goes = match random.u8(0..5) {
            // One stays.
            _ if number == 0 => None,
            0 => Some((random.u64(1_000..6_000), Goes::Leaving)),
            1 => Some((random.u64(1_000..6_000), Goes::Lost)),
            2 => Some((random.u64(1_000..6_000), Goes::Still(random.u64(6_000..20_000)))),
            _ => None,
        };
        let comes_ms = if number > 0 && random.bool() { random.u64(1..4_000) } else { 0 };
        let cluster = InCluster { comes_ms, goes, ..cluster };
        world = world.with(seed * 100 + number, node(&mut random, cluster, set, &traffic));
    }
    world.run()
}

/// Nodes with logs are killed and start again, with another number of shards: others take them for dead, or hardly notice.
fn crashing(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let mut world = World::of_cluster(windy(&mut random), set, false);
    for number in 0..cluster.nodes as u64 {
        let logged = Logged {
            crashes: random.u32(0..3),
            cuts_power: random.bool(),
            written_percent: 0,
            faults: Faults { bytes_max: 64 << 20, ..Faults::default() },
        };
        let log = Some(logged);
        let parked_percent = random.u32(0..20);
        world = world
            .with(seed * 100 + number, Scenario { log, parked_percent, ..node(&mut random, cluster, set, &traffic) });
    }
    world.run()
}

/// Rules change, on each node and each core at another moment.
fn changing(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (cluster, traffic) = (cluster(&mut random, seed), traffic(&mut random));
    let weather = Weather { delay_us_max: random.u64(1_000..100_000), lost_percent: 0, doubled_percent: 10 };
    let mut world = World::of_cluster(weather, PolicySet::Marked, false);
    for number in 0..cluster.nodes as u64 {
        let policies = Policies::Changing(random.u64(50..500));
        let node = node(&mut random, cluster, PolicySet::Marked, &traffic);
        world = world.with(seed * 100 + number, Scenario { policies, ..node });
    }
    world.run()
}

#[test]
fn where_all_is_calm_every_verdict_is_that_of_one_node_with_all_spans() {
    let met = run_worlds(SEEDS, calm);
    eprintln!("{met:?}");
    assert!(is_single() || met.cluster.rulings_heard > 1_000, "nodes tell one another: {met:?}");
}

#[test]
fn in_a_storm_every_trace_is_whole_or_not_there() {
    let met = run_worlds(SEEDS, stormy);
    eprintln!("{met:?}");
    let all = [met.cluster.evidence_asked, met.cluster.standstills];
    assert!(is_single() || all.iter().all(|count| *count > 5), "the schedules meet every case: {met:?}");
}

#[test]
fn whoever_comes_and_goes_every_trace_is_whole_or_not_there() {
    let met = run_worlds(SEEDS, churning);
    eprintln!("{met:?}");
    assert!(is_single() || met.cluster.evidence_relayed > 100, "the schedules meet every case: {met:?}");
}

#[test]
fn whoever_crashes_every_acknowledged_trace_is_whole_or_not_there() {
    let met = run_worlds(SEEDS, crashing);
    eprintln!("{met:?}");
    assert!(is_single() || met.crashes > 100, "the schedules meet every case: {met:?}");
}

#[test]
fn whenever_rules_change_every_trace_is_whole_or_not_there() {
    let met = run_worlds(SEEDS, changing);
    eprintln!("{met:?}");
    assert!(is_single() || met.cluster.evidence_foreign_rules > 1_000, "the schedules meet every case: {met:?}");
    assert_eq!(met.cluster.judged_foreign_rules, 0, "verdicts wait until all have the rules: {met:?}");
}
