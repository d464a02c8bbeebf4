//! Nodes of a cluster under seeded schedules: the spans of a trace come to any of them, and it leaves whole or not at all, by
//! the verdict that one node with all its spans would give. What holds is in `tests/src/world/oracle`.

#![allow(clippy::print_stderr, reason = "what was met is to be seen")]

use fastrand::Rng;
use tailwater_engine::vocabulary::Nanos;
use tailwater_tests::disk::Faults;
use tailwater_tests::seeds::{is_single, run_worlds};
use tailwater_tests::world::clock::Clock;
use tailwater_tests::world::cluster::{Cut, Weather};
use tailwater_tests::world::oracle::together::Expected;
use tailwater_tests::world::policies::PolicySet;
use tailwater_tests::world::scenario::{Goes, InCluster, Logged, Policies, Scenario};
use tailwater_tests::world::senders::{Tracestates, Traffic, WITHIN_MS};
use tailwater_tests::world::{Met, World};

/// Worlds of one test; all together run in half a minute.
const SEEDS: u64 = 170;
const DECISION_WAIT_MS: u64 = 2_000;
/// Nodes that are there from the beginning know one another by then.
const BEGINS_MS: u64 = 3_000;

const SETS: [PolicySet; 10] = [
    PolicySet::ErrorsThenMarked,
    PolicySet::Marked,
    PolicySet::PaddedErrors,
    PolicySet::SlowThenErrors,
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
        nodes: random.usize(3..8),
        is_sticky: random.bool(),
        docket_traces_max: 1_000,
        full_percent: 0,
        begins_ms: BEGINS_MS,
        comes_ms: 0,
        goes: None,
        is_ahead: false,
        shed_level_max: 0,
        pressed_ms: (0, 0),
    }
}

fn traffic(random: &mut Rng) -> Traffic {
    Traffic {
        traces: random.usize(1..40),
        spans_max: 12,
        within_ms: WITHIN_MS,
        has_random_ids: false,
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

const CALM: Expected = Expected { is_calm: true };
const RESTLESS: Expected = Expected { is_calm: false };

/// Nobody stands still, and nothing is lost.
fn calm(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let weather = Weather { delay_us_max: 20_000, lost_percent: 0, doubled_percent: random.u32(0..20) };
    let mut world = World::of_cluster(weather, Vec::new(), CALM);
    for number in 0..cluster.nodes as u64 {
        // In half of the worlds one node is of a later version.
        let cluster = InCluster { is_ahead: number == 0 && seed.is_multiple_of(2), ..cluster };
        world = world.with(seed * 100 + number, node(&mut random, cluster, set, &traffic));
    }
    world.run()
}

/// Datagrams are lost, come twice and in any order, messages find no room; nodes stand still.
fn stormy(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let cluster = InCluster { full_percent: random.u32(0..60), ..cluster };
    let weather = Weather {
        delay_us_max: random.u64(1_000..400_000),
        lost_percent: random.u32(0..31),
        doubled_percent: random.u32(0..20),
    };
    let mut world = World::of_cluster(weather, Vec::new(), RESTLESS);
    for number in 0..cluster.nodes as u64 {
        let pause_ms_max = random.u64(0..2) * 2_200;
        world = world.with(seed * 100 + number, Scenario { pause_ms_max, ..node(&mut random, cluster, set, &traffic) });
    }
    world.run()
}

/// Nodes come and half of them go, in all ways, in some worlds nearly at once; the network is as it is.
fn churning(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let mut world = World::of_cluster(windy(&mut random), Vec::new(), RESTLESS);
    let mut going = cluster.nodes / 2;
    let within_ms = if random.bool() { 1_000..6_000 } else { 2_000..3_500 };
    for number in 0..cluster.nodes as u64 {
        let comes_ms = if number > 0 && random.bool() { BEGINS_MS + random.u64(1..4_000) } else { 0 };
        let goes_ms = random.u64(within_ms.clone()) + if comes_ms == 0 { BEGINS_MS } else { 0 };
        let goes = match random.u8(0..5) {
            // Half of them stay: where nearly all go at once nobody is left to know.
            _ if number == 0 || going == 0 => None,
            0 => Some((goes_ms, Goes::Leaving)),
            1 => Some((goes_ms, Goes::Lost)),
            2 => Some((goes_ms, Goes::Still(random.u64(6_000..20_000)))),
            _ => None,
        };
        going -= usize::from(goes.is_some());
        let cluster = InCluster { comes_ms, goes, ..cluster };
        world = world.with(seed * 100 + number, node(&mut random, cluster, set, &traffic));
    }
    world.run()
}

/// Nodes with logs are killed and start again a while later, with another number of shards: others take them for dead, or
/// hardly notice.
fn crashing(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster, traffic) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed), traffic(&mut random));
    let mut world = World::of_cluster(windy(&mut random), Vec::new(), RESTLESS);
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
    let mut world = World::of_cluster(weather, Vec::new(), RESTLESS);
    for number in 0..cluster.nodes as u64 {
        let policies = Policies::Changing(random.u64(50..500));
        let node = node(&mut random, cluster, PolicySet::Marked, &traffic);
        world = world.with(seed * 100 + number, Scenario { policies, ..node });
    }
    world.run()
}

/// How links are cut among so many nodes: halves, a node alone, one that hears or is heard by nobody, one link, and halves
/// that lose and find each other.
fn cuts(random: &mut Rng, nodes: usize, kind: u8) -> Vec<Cut> {
    let all: Vec<usize> = (0..nodes).collect();
    let one = [0, random.usize(2..nodes)][random.usize(0..2)];
    let (alone, others) = ([one], all.iter().copied().filter(|other| *other != one).collect::<Vec<_>>());
    let (even, odd): (Vec<usize>, Vec<usize>) = all.iter().partition(|number| **number % 2 == 0);
    let start = BEGINS_MS + random.u64(0..5_000);
    let spell = start..start + 5_000 + random.u64(0..7_000) + random.u64(0..4) / 3 * 28_000;
    match kind {
        0 => vec![Cut::both_ways(spell, &even, &odd)],
        1 => vec![Cut::both_ways(spell, &alone, &others)],
        2 => vec![Cut::one_way(spell, &others, &alone)],
        3 => vec![Cut::one_way(spell, &alone, &others)],
        4 => vec![Cut::one_way(spell, &alone, &others[..1])],
        5 => vec![Cut::one_way(spell, &even, &odd)],
        _ => {
            let mut from = start;
            let mut flapping = Vec::new();
            for _ in 0..random.usize(2..5) {
                let until = from + random.u64(300..7_000);
                flapping.push(Cut::both_ways(from..until, &even, &odd));
                from = until + random.u64(300..5_000);
            }
            flapping
        }
    }
}

/// Links are cut and heal, and where some hear all others a node may come meanwhile: one that comes to nobody is a cluster of
/// its own. Late spans come when all has been well for a while.
fn parted(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let (set, cluster) = (SETS[random.usize(0..SETS.len())], cluster(&mut random, seed));
    let kind = random.u8(0..7);
    let cuts = cuts(&mut random, cluster.nodes, kind);
    let healed_ms = cuts.iter().map(|cut| cut.spell_ms.end).max().unwrap_or_default();
    let late_ms = healed_ms - BEGINS_MS + 12_000;
    let traffic = Traffic { late_percent: random.u32(0..40), late_ms, ..traffic(&mut random) };
    let comes_ms =
        (random.bool() && (2..5).contains(&kind)).then(|| cuts[0].spell_ms.start + random.u64(0..3_000) - 1_000);
    let decision_wait_ms = [DECISION_WAIT_MS, 4_500][random.usize(0..2)];
    let mut world = World::of_cluster(windy(&mut random), cuts, RESTLESS);
    for number in 0..cluster.nodes as u64 {
        let comes_ms = comes_ms.filter(|_| number == 1).unwrap_or_default();
        let node = node(&mut random, InCluster { comes_ms, ..cluster }, set, &traffic);
        world = world.with(seed * 100 + number, Scenario { decision_wait_ms, ..node });
    }
    world.run()
}

/// Some nodes are under pressure, one after another or at once, while traces go on coming; others come meanwhile. Everything
/// is kept that is not shed.
fn pressed(seed: u64) -> Vec<Met> {
    let mut random = Rng::with_seed(seed);
    let cluster = InCluster { nodes: random.usize(3..6), shed_level_max: 2, ..cluster(&mut random, seed) };
    let traffic = Traffic {
        traces: random.usize(100..200),
        within_ms: 45_000,
        has_random_ids: true,
        spans_max: 6,
        late_percent: 0,
        tracestates: Tracestates::None,
        ..traffic(&mut random)
    };
    let weather = Weather { lost_percent: random.u32(0..10), ..windy(&mut random) };
    let mut world = World::of_cluster(weather, Vec::new(), RESTLESS);
    let mut relieved_ms = 0;
    for number in 0..cluster.nodes as u64 {
        let from = BEGINS_MS + random.u64(0..25_000);
        let pressed_ms = if random.u8(0..3) > 0 { (from, from + random.u64(500..12_000)) } else { (0, 0) };
        let comes_ms = match random.u8(0..8) {
            // When less is shed than a moment ago: who comes then has not heard how much that was.
            0 | 1 if relieved_ms > 0 => relieved_ms + random.u64(10_000..14_000),
            2 if number > 0 => random.u64(BEGINS_MS..45_000),
            _ => 0,
        };
        relieved_ms = pressed_ms.1;
        let cluster = InCluster { comes_ms, pressed_ms, ..cluster };
        world = world.with(seed * 100 + number, node(&mut random, cluster, PolicySet::Everything, &traffic));
    }
    world.run()
}

#[test]
fn where_all_is_calm_every_verdict_is_that_of_one_node_with_all_spans() {
    let met = run_worlds(SEEDS, calm);
    eprintln!("{met:?}");
    assert!(is_single() || met.cluster.rulings_heard > 1_000, "nodes tell one another: {met:?}");
    assert!(is_single() || met.hub.unknown > 1_000, "what is not known is passed over, and counted: {met:?}");
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
fn whoever_is_cut_off_every_trace_is_whole_or_not_there_or_counted() {
    let met = run_worlds(SEEDS, parted);
    eprintln!("{met:?}");
    let all = [met.cluster.torn, met.cluster.rulings_disobeyed, met.hub.rejoined, met.hub.pulled];
    assert!(is_single() || all.iter().all(|count| *count > 5), "the schedules meet every case: {met:?}");
}

/// It breaks when anything is drawn or ordered that the seed does not decide.
#[test]
fn the_same_seed_gives_the_same_cluster() {
    for seed in 0..3 {
        let traces = |seed: u64| parted(seed).iter().map(|met| met.trace).collect::<Vec<_>>();
        assert_eq!(traces(seed), traces(seed), "seed {seed}");
        assert_ne!(traces(seed), traces(seed + 1), "another seed gives another run");
    }
}

/// Breaks where spans are shed before all owners know (`Shed::turn`), where owners keep what others have shed (`Bench::rule`),
/// and where what is kept does not say that it stands for more.
#[test]
fn whoever_is_under_pressure_all_shed_the_same_traces_and_what_is_left_stands_for_them() {
    let met = run_worlds(SEEDS / 2, pressed);
    eprintln!("{met:?}");
    let stands_for = met.stands_for / met.traces as f64;
    assert!(is_single() || (met.shed > 1_000 && (stands_for - 1.0).abs() < 0.05), "{stands_for}: {met:?}");
}

#[test]
fn whenever_rules_change_every_trace_is_whole_or_not_there() {
    let met = run_worlds(SEEDS, changing);
    eprintln!("{met:?}");
    assert!(is_single() || met.cluster.evidence_foreign_rules > 1_000, "the schedules meet every case: {met:?}");
    assert_eq!(met.cluster.judged_foreign_rules, 0, "verdicts wait until all have the rules: {met:?}");
}
