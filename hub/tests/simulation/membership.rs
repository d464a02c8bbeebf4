//! Who lives: views converge, crashes are noticed, who was taken for dead comes back.

use crate::world::{World, millis, secs};
use rand::RngExt;
use std::time::Duration;

/// Breaks with `members.announce` in `Hub::greeted`.
#[test]
fn nodes_find_each_other_by_one_address() {
    for seed in 0..10 {
        let mut world = World::new(seed, 7, |_| ());
        for node in 1..7 {
            world.announce(node, 0);
        }
        let took = world.until(secs(10), |world| world.agree(&[0, 1, 2, 3, 4, 5, 6]));
        assert!(took.is_some_and(|took| took < secs(2)), "seed {seed}: {took:?}");
        for node in &world.nodes {
            let views = &node.views;
            assert!(
                views.is_sorted() && views.last() == Some(&node.hub.view().number),
                "each change is told: {views:?}"
            );
        }
    }
}

/// Breaks with the greeting in `Hub::raise`: of a thousand members one may hear of another only when it comes upon somebody who
/// names it, which takes minutes.
#[test]
fn who_was_missed_by_gossip_is_met_when_it_speaks() {
    for seed in 0..10 {
        // Of many members it is long until one of them is probed.
        let mut world = World::new(seed, 3, |plan| plan.probe_period = secs(600));
        world.announce(1, 0);
        world.until(secs(5), |world| world.agree(&[0, 1])).unwrap();
        // The first two are alive to each other, and the first does not hear of the third while there is gossip of it.
        world.faults.cuts.extend([(1, 0), (2, 0), (0, 2)]);
        world.announce(2, 1);
        world.run(millis(1_500));
        assert!(world.sees(2, 0) && !world.sees(0, 2), "seed {seed}");
        world.faults.cuts.clear();
        let took = world.until(secs(10), |world| world.agree(&[0, 1, 2]));
        assert!(took.is_some_and(|took| took < secs(1)), "seed {seed}: {took:?}");
    }
}

/// Breaks with `greeted_at = None` in `Hub::reported`.
#[test]
fn tags_are_known_everywhere_though_greetings_are_lost() {
    for seed in 0..5 {
        let mut world = World::joined(seed, 4, |_| ());
        world.faults.loss = 0.5;
        world.run(secs(4));
        world.faults.loss = 0.0;
        world.run(secs(2));
        for (node, other) in (0..4).flat_map(|node| (0..4).map(move |other| (node, other))) {
            let tags = world.nodes[node].hub.tags(world.nodes[other].run.0);
            assert_eq!(tags, Some(&1_000_u64.to_le_bytes()[..]), "seed {seed}: {other} at {node}");
        }
    }
}

fn crash(seed: u64, nodes: usize, loss: f64) -> Option<Duration> {
    let mut world = World::joined(seed, nodes, |_| ());
    world.faults.loss = loss;
    let wait = world.rng.random_range(0..2_000);
    world.run(millis(wait));
    world.kill(1);
    let others: Vec<usize> = (0..nodes).filter(|node| *node != 1).collect();
    world.until(secs(20), |world| others.iter().all(|node| !world.sees(*node, 1)))
}

/// Breaks with `suspicion` of the plan at 4 s, as foca has it.
#[test]
fn a_crash_is_noticed_within_five_seconds() {
    for nodes in [2, 3, 7, 20] {
        let mut worst = Duration::ZERO;
        for seed in 0..10 {
            let took = crash(seed, nodes, 0.0);
            worst = worst.max(took.unwrap_or(Duration::MAX));
        }
        println!("a crash among {nodes} is noticed by all within {worst:?}");
        assert!(worst <= secs(5), "{nodes} nodes: {worst:?}");
    }
}

/// Breaks with `Frame::Leave` of `Hub::take`: foca tells three members, by chance.
#[test]
fn who_leaves_is_gone_at_once() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 20, |_| ());
        world.leave(3);
        let others: Vec<usize> = (0..20).filter(|node| *node != 3).collect();
        let took = world.until(secs(5), |world| world.agree(&others));
        assert!(took.is_some_and(|took| took <= millis(20)), "seed {seed}: {took:?}");
        world.run(secs(3));
        assert!(world.agree(&others), "seed {seed}: and stays away");
    }
}

/// Breaks with `Rename` in `Members::react`.
#[test]
fn a_new_run_replaces_the_former_wherever_it_is() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 5, |_| ());
        world.kill(2);
        world.run(millis(seed * 700));
        world.restart(2, seed % 2 == 0);
        world.announce(2, 4);
        let took = world.until(secs(10), |world| world.agree(&[0, 1, 2, 3, 4]));
        assert!(took.is_some_and(|took| took <= secs(2)), "seed {seed}: {took:?}");
        let tags = |world: &World, node: usize| world.nodes[node].hub.tags(world.nodes[2].run.0).map(<[u8]>::to_vec);
        let known = |world: &World| (0..5).all(|node| tags(world, node) == Some(2_000_u64.to_le_bytes().to_vec()));
        let took = world.until(secs(1), known);
        assert!(took.is_some(), "seed {seed}");
    }
}

/// Breaks with `renew` of `Identity`.
#[test]
fn who_was_taken_for_dead_comes_back_by_itself() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 5, |_| ());
        world.pause(2);
        world.run(secs(7));
        assert!((0..5).all(|node| node == 2 || !world.sees(node, 2)));
        world.resume(2);
        let took = world.until(secs(10), |world| world.agree(&[0, 1, 2, 3, 4]));
        assert!(took.is_some_and(|took| took <= secs(2)), "seed {seed}: {took:?}");
        assert!(world.nodes[2].hub.counts().rejoined > 0);
        // The others see that they were wrong.
        assert!([0, 1, 3, 4].iter().all(|node| world.nodes[*node].hub.counts().false_deaths > 0), "seed {seed}");
    }
}

/// Breaks with `Hub::wake`: who comes to itself would suspect everybody, for it has heard nobody.
#[test]
fn who_was_paused_suspects_nobody() {
    for seed in 0..5 {
        let mut world = World::joined(seed, 7, |_| ());
        world.run(secs(2));
        world.pause(2);
        world.run(millis(3_500));
        world.resume_without_what_came(2);
        world.run(secs(10));
        assert_eq!(world.nodes[2].hub.counts().members_doubted, 0, "seed {seed}");
        assert!(world.agree(&[0, 1, 2, 3, 4, 5, 6]), "seed {seed}");
    }
}

/// Breaks with `suspects` in `Members::tick`: foca would tell it that it is dead after each suspicion.
#[test]
fn who_one_member_does_not_hear_stays_a_member() {
    for seed in 0..5 {
        let mut world = World::joined(seed, 5, |_| ());
        world.faults.cuts.insert((2, 0));
        world.run(secs(20));
        assert!(world.agree(&[0, 1, 2, 3, 4]), "seed {seed}");
        assert_eq!(world.nodes[2].hub.counts().rejoined, 0, "seed {seed}");
    }
}

fn heal(seed: u64, nodes: usize) -> (Option<Duration>, u64) {
    let mut world = World::joined(seed, nodes, |_| ());
    let (one, other): (Vec<usize>, Vec<usize>) = (0..nodes).partition(|node| node % 2 == 0);
    world.part(&one, &other);
    let parted = world.until(secs(60), |world| world.agree(&one) && world.agree(&other));
    assert!(parted.is_some(), "seed {seed}: halves agree");
    let wait = 3_000 + world.rng.random_range(0..1_000);
    world.run(millis(wait));
    world.faults.cuts.clear();
    let before = world.bytes;
    let took = world.until(secs(30), |world| world.agree(&(0..nodes).collect::<Vec<_>>()));
    (took, world.bytes - before)
}

/// Breaks with `ASK_DEAD` at the 65 s that foca has, and with `say_that_it_lives`.
#[test]
fn two_halves_are_one_again_within_two_seconds() {
    for (nodes, seeds) in [(7, 10), (100, 2)] {
        for seed in 0..seeds {
            let (took, bytes) = heal(seed, nodes);
            println!("{nodes} nodes are one again after {took:?}, {bytes} bytes in all");
            assert!(took.is_some_and(|took| took <= secs(2)), "seed {seed}, {nodes} nodes: {took:?}");
        }
    }
}

/// Breaks with any order that is not that of a key, and any chance that is not of the seed.
#[test]
fn the_same_seed_gives_the_same_run() {
    let run = |seed: u64| {
        let mut world = World::joined(seed, 5, |_| ());
        world.faults.loss = 0.2;
        for payload in 0..50 {
            world.say(0, payload, 100);
            _ = world.tell(1, 2, payload, 100);
            world.run(millis(50));
        }
        world.trace
    };
    assert_eq!(run(4), run(4));
    assert_ne!(run(4), run(5));
}

/// Breaks with `doubts.push_back` of `Members::tick`: among 30 nodes there would be ten times as many false deaths.
#[test]
fn heavy_loss_is_survived() {
    for nodes in [3, 7, 30] {
        let (mut false_deaths, mut seen, mut worst) = (0, 0, Duration::ZERO);
        for seed in 0..3 {
            let mut world = World::joined(seed, nodes, |_| ());
            world.faults.loss = 0.3;
            world.run(secs(60));
            false_deaths += world.nodes.iter().map(|node| node.hub.counts().rejoined).sum::<u64>();
            seen += world.nodes.iter().map(|node| node.hub.counts().members_gone).sum::<u64>();
            world.faults.loss = 0.0;
            let all: Vec<usize> = (0..nodes).collect();
            assert!(world.until(secs(10), |world| world.agree(&all)).is_some(), "{nodes} nodes, seed {seed}");
        }
        for seed in 0..5 {
            worst = worst.max(crash(seed, nodes, 0.3).unwrap_or(Duration::MAX));
        }
        println!("{nodes} nodes, 30 % loss: a crash is noticed by all within {worst:?}");
        assert!(false_deaths <= 5, "{nodes} nodes: {false_deaths}");
        println!("{nodes} nodes, 30 % loss, 3 minutes: {false_deaths} false deaths, seen {seen} times");
    }
}
