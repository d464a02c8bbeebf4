//! What is said to all arrives at all, also when who said it is gone.

use crate::world::{World, millis, secs};
use rand::RngExt;
use std::collections::BTreeMap;

fn arrives_everywhere(world: &World, nodes: &[usize], payloads: std::ops::Range<u64>) -> bool {
    nodes.iter().all(|node| {
        let mut times: BTreeMap<u64, usize> = BTreeMap::new();
        for (_, payload) in &world.nodes[*node].heard {
            *times.entry(*payload).or_default() += 1;
        }
        payloads.clone().all(|payload| times.get(&payload) == Some(&1))
    })
}

/// Breaks with `stream.reach` (no gap is seen), `Streams::pulls` and `Memory::serve`.
#[test]
fn what_is_said_arrives_everywhere_once() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 5, |_| ());
        world.faults.loss = 0.3;
        world.faults.duplication = 0.1;
        world.faults.delay = (millis(1), millis(80));
        world.nodes[3].refuses = 0.2;
        for payload in 0..400 {
            let length = [8, 30, 400, 1_265][world.rng.random_range(0..4)];
            world.say(0, payload, length);
            let pause = world.rng.random_range(0..20);
            world.run(millis(pause));
        }
        let all = |world: &World| arrives_everywhere(world, &[1, 2, 3, 4], 0..400);
        let took = world.until(secs(20), all);
        assert!(took.is_some(), "seed {seed}");
        let counts = world.nodes[1].hub.counts();
        assert!((1..counts.said_heard).contains(&counts.said_repaired), "seed {seed}: {}", counts.said_repaired);
    }
}

/// Breaks with `Report::next`: nothing else tells that the last number was lost.
#[test]
fn the_last_word_arrives_too() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 3, |_| ());
        world.run(secs(2));
        world.faults.loss = 1.0;
        world.say(0, 7, 20);
        world.run(millis(30));
        world.faults.loss = 0.0;
        let took = world.until(secs(2), |world| arrives_everywhere(world, &[1, 2], 7..8));
        assert!(took.is_some_and(|took| took < millis(500)), "seed {seed}: {took:?}");
    }
}

/// Breaks with the `positions` of `report`, and with `is_live(&owner)` of `Stream::target`.
#[test]
fn what_one_has_heard_arrives_everywhere_though_who_said_it_is_dead() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 7, |_| ());
        world.run(secs(2));
        if seed % 2 == 0 {
            // A stream that the others know.
            world.say(0, 1, 20);
            world.run(secs(1));
        }
        world.part(&[0], &[2, 3, 4, 5, 6]);
        for payload in 10..30 {
            world.say(0, payload, 600);
        }
        world.run(millis(30));
        world.kill(0);
        let others = [2, 3, 4, 5, 6];
        let took = world.until(secs(60), |world| arrives_everywhere(world, &others, 10..30));
        assert!(took.is_some_and(|took| took < secs(20)), "seed {seed}: {took:?}");
    }
}

/// Breaks with `Some(since)` in `Stream::begin`: who joins would be given all that is remembered, or miss what is said next.
#[test]
fn who_joins_hears_what_is_said_from_then_on() {
    for seed in 0..20 {
        let mut world = World::joined(seed, 4, |_| ());
        for payload in 0..50 {
            world.say(0, payload, 20);
            world.run(millis(5));
        }
        world.kill(3);
        world.run(secs(6));
        world.restart(3, true);
        world.nodes[3].heard.clear();
        world.announce(3, 1);
        assert!(world.until(secs(5), |world| world.sees(0, 3)).is_some());
        world.faults.loss = 0.3;
        for payload in 50..60 {
            world.say(0, payload, 20);
        }
        let took = world.until(secs(10), |world| arrives_everywhere(world, &[3], 50..60));
        assert!(took.is_some(), "seed {seed}");
        assert_eq!(world.nodes[3].heard.len(), 10, "seed {seed}: not what was said before it came");
    }
}

/// Breaks with `Streams::close` that forgets: what was said meanwhile would be missed, or what came before come again.
#[test]
fn who_was_taken_for_dead_hears_what_was_said_meanwhile() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 4, |_| ());
        world.say(0, 0, 20);
        world.run(secs(1));
        world.part(&[3], &[0, 1, 2]);
        world.run(secs(8));
        assert!(!world.sees(0, 3) && !world.sees(3, 0));
        for payload in 1..20 {
            world.say(0, payload, 20);
        }
        world.run(secs(1));
        world.faults.cuts.clear();
        let took = world.until(secs(20), |world| arrives_everywhere(world, &[3], 0..20));
        assert!(took.is_some_and(|took| took < secs(8)), "seed {seed}: {took:?}");
    }
}

/// Breaks with `Allowance::take`.
#[test]
fn what_is_given_to_those_that_ask_is_bounded() {
    let mut world = World::joined(1, 3, |plan| plan.pushed_bytes_min = 64 << 10);
    world.run(secs(1));
    world.say(0, 0, 20);
    world.run(secs(1));
    world.part(&[2], &[0, 1]);
    for payload in 1..1_000 {
        world.say(0, payload, 1_200);
        world.run(millis(2));
    }
    world.run(secs(2));
    world.faults.cuts.clear();
    let pushed = |world: &World| world.nodes.iter().map(|node| node.hub.counts().pushed).sum::<u64>();
    let before = pushed(&world);
    world.run(secs(4));
    // Two others have 64 KiB a second each, and had as much saved up.
    let given = (pushed(&world) - before) * 1_296;
    assert!((200 << 10..=2 * 5 * (64 << 10)).contains(&given), "{given}");
    assert!(world.nodes.iter().any(|node| node.hub.counts().ranges_held_back > 0));
    let took = world.until(secs(60), |world| arrives_everywhere(world, &[2], 0..1_000));
    assert!(took.is_some(), "{}", world.nodes[2].heard.len());
}

/// Breaks with `bytes_max` and with `remembered_for` of `streams/memory.rs`.
#[test]
fn what_is_remembered_is_bounded_and_what_is_gone_is_counted_as_missed() {
    let mut world = World::joined(1, 3, |plan| plan.remembered_bytes_max = 50_000);
    world.say(0, 0, 20);
    world.run(secs(1));
    // In order, so that both of the others remember the same.
    world.faults.delay = (millis(1), millis(1));
    world.part(&[2], &[0, 1]);
    for payload in 1..101 {
        world.say(0, payload, 1_000);
    }
    world.run(millis(100));
    assert_eq!(world.nodes[0].hub.counts().remembered_evicted, 101 - 50_000 / 1_096);
    world.faults.cuts.clear();
    world.run(secs(10));
    assert_eq!(world.nodes[2].heard.len(), 1 + 50_000 / 1_096);
    world.run(secs(60));
    assert_eq!(world.nodes[2].hub.counts().said_missed, 100 - 50_000 / 1_096);
}
