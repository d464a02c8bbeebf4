//! What is told to a member arrives, once.

use crate::world::{World, millis, secs};
use rand::RngExt;
use std::time::Duration;

/// Tells at random for a while over a network that does all it can; returns what was accepted: from, to, payload.
fn talk(world: &mut World, time: Duration) -> Vec<(usize, usize, u64)> {
    let end = world.now + time;
    let mut told = Vec::new();
    while world.now < end {
        let (from, to) = (world.rng.random_range(0..world.nodes.len()), world.rng.random_range(0..world.nodes.len()));
        let length = [8, 30, 400, 1_265][world.rng.random_range(0..4)];
        world.payload += 1;
        let payload = world.payload;
        if from != to && !world.nodes[from].paused && world.tell(from, to, payload, length) {
            told.push((from, to, payload));
        }
        let pause = world.rng.random_range(0..20);
        world.run(millis(pause));
    }
    told
}

fn all_arrive_once(world: &mut World, told: &[(usize, usize, u64)]) {
    let arrived = |world: &World| told.iter().all(|(_, to, payload)| world.times_heard(*to, *payload) > 0);
    let took = world.until(secs(30), arrived);
    assert!(took.is_some(), "not all of what was told arrived");
    world.run(secs(3));
    for (from, to, payload) in told {
        assert_eq!(world.times_heard(*to, *payload), 1, "{payload} from {from} to {to}");
    }
}

/// Breaks with `sent.due = now + wait` (nothing is sent again) and `heard.take` (all comes again) of `link.rs`.
#[test]
fn what_is_told_arrives_once_whatever_the_network_does() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 5, |_| ());
        world.faults.loss = 0.3;
        world.faults.duplication = 0.1;
        world.faults.delay = (millis(1), millis(80));
        let told = talk(&mut world, secs(10));
        assert!(told.len() > 500, "seed {seed}: {}", told.len());
        all_arrive_once(&mut world, &told);
    }
}

/// Breaks with `heard.partial` of `link.rs`: the first payloads of a refused bundle would come twice.
#[test]
fn what_there_was_no_room_for_comes_again() {
    for seed in 0..5 {
        let mut world = World::joined(seed, 4, |_| ());
        world.nodes.iter_mut().for_each(|node| node.refuses = 0.3);
        world.faults.loss = 0.1;
        let told = talk(&mut world, secs(5));
        all_arrive_once(&mut world, &told);
        assert!(world.nodes.iter().any(|node| node.hub.counts().deliveries_refused > 20));
    }
}

/// Breaks with `peer.run == run` of `Hub::join` asking for a live peer besides: what was told before a false death would be
/// lost.
#[test]
fn what_was_told_to_a_member_taken_for_dead_arrives_when_it_is_back() {
    for seed in 0..10 {
        let mut world = World::joined(seed, 4, |_| ());
        let told = talk(&mut world, secs(2));
        world.pause(1);
        let mut more = talk(&mut world, secs(8));
        assert!(!world.sees(0, 1), "seed {seed}: a node that is paused for 8 s is taken for dead");
        world.resume(1);
        more.extend(told);
        all_arrive_once(&mut world, &more);
        assert!(world.agree(&[0, 1, 2, 3]), "seed {seed}: it came back by itself");
    }
}

/// Breaks with `peer.run == run` of `Hub::join`: the bundles of the new run would be taken for late ones of the former.
#[test]
fn a_new_run_has_new_links() {
    for seed in 0..5 {
        let mut world = World::joined(seed, 3, |_| ());
        let told = talk(&mut world, secs(1));
        all_arrive_once(&mut world, &told);
        world.nodes.iter_mut().for_each(|node| node.heard.clear());
        world.kill(1);
        world.run(millis(seed * 1_500));
        world.restart(1, seed % 2 == 0);
        world.announce(1, 0);
        assert!(world.until(secs(5), |world| world.agree(&[0, 1, 2])).is_some(), "seed {seed}");
        let told = talk(&mut world, secs(2));
        all_arrive_once(&mut world, &told);
    }
}

/// Breaks with `self.epoch += 1` of `Hub::sweep`: what is told next has numbers that were heard.
#[test]
fn what_is_told_to_who_was_gone_for_long_is_given_up_and_counted() {
    let mut world = World::joined(1, 3, |_| ());
    let told = talk(&mut world, secs(1));
    all_arrive_once(&mut world, &told);
    world.part(&[1], &[0, 2]);
    for payload in 1_000..1_010 {
        assert!(world.tell(0, 1, payload, 100));
    }
    world.run(secs(50));
    assert!(!world.tell(0, 1, 2_000, 100), "it is no member");
    let counts = world.nodes[0].hub.counts();
    assert_eq!((counts.told_given_up, counts.told_refused), (10, 1));
    world.faults.cuts.clear();
    assert!(world.until(secs(5), |world| world.agree(&[0, 1, 2])).is_some());
    let told = talk(&mut world, secs(2));
    all_arrive_once(&mut world, &told);
    assert_eq!(world.times_heard(1, 1_000), 0);
}

/// Breaks with `has_room` of `Hub::tell`: the window would grow without end.
#[test]
fn a_full_window_refuses_and_counts() {
    let mut world = World::joined(1, 2, |_| ());
    world.nodes[1].refuses = 1.0;
    let mut accepted = 0;
    for payload in 0..2_000 {
        accepted += usize::from(world.tell(0, 1, payload, 1_265));
    }
    assert_eq!(accepted, 1_024);
    assert_eq!(world.nodes[0].hub.counts().told_refused, 976);
    world.run(secs(3));
    assert!(world.nodes[1].heard.is_empty());
    world.nodes[1].refuses = 0.0;
    let all = |world: &World| world.nodes[1].heard.len() == 1_024;
    assert!(world.until(secs(5), all).is_some(), "{}", world.nodes[1].heard.len());
    assert!(world.tell(0, 1, 5_000, 8));
}

/// Breaks with `again < RESENT_MAX` of `link.rs`: a member that was away would get its whole window at once, each time.
#[test]
fn a_peer_that_does_not_answer_is_not_flooded() {
    let mut world = World::joined(3, 2, |_| ());
    world.faults.cuts.insert((1, 0));
    for payload in 0..1_024 {
        assert!(world.tell(0, 1, payload, 1_265));
    }
    let before = world.nodes[0].hub.counts().bundles_sent_again;
    world.run(millis(100));
    let again = world.nodes[0].hub.counts().bundles_sent_again - before;
    assert!(again <= 64, "{again} at once");
}

/// Breaks with `payload_bytes_max` in `Hub::tell` and `Hub::say`.
#[test]
fn a_payload_longer_than_a_datagram_is_refused() {
    let mut world = World::joined(1, 2, |_| ());
    assert!(world.tell(0, 1, 1, 1_265) && !world.tell(0, 1, 2, 1_266));
    world.say(0, 3, 1_265);
    world.say(0, 4, 1_266);
    world.run(secs(1));
    assert_eq!(world.nodes[0].hub.counts().payloads_too_long, 2);
    let heard: Vec<u64> = world.nodes[1].heard.iter().map(|(_, payload)| *payload).collect();
    assert_eq!(heard, [1, 3]);
}

/// Breaks with `waits.gather`: each payload would be a datagram of its own.
#[test]
fn what_is_told_within_a_moment_shares_a_datagram() {
    let mut world = World::joined(1, 2, |_| ());
    world.run(millis(500));
    let before = world.datagrams;
    for payload in 0..100 {
        assert!(world.tell(0, 1, payload, 40));
    }
    world.run(millis(60));
    assert_eq!(world.nodes[1].heard.len(), 100);
    let datagrams = world.datagrams - before;
    assert!(datagrams < 20, "{datagrams}");
}
