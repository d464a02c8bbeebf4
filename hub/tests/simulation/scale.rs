//! What membership costs in a large cluster. `HUB_MEMBERS=1000` measures another size than the usual, which is small so that
//! it is quick.

use crate::world::{World, secs};

/// The size of a measurement is asked of who starts it.
#[allow(clippy::disallowed_methods, reason = "tests may look at the environment")]
fn members(usual: usize) -> usize {
    std::env::var("HUB_MEMBERS").ok().map_or(usual, |members| members.parse().unwrap())
}

/// Breaks with `REPORT_SLACK` and `REPORTED_MAX` of `hub.rs`: what a member sends would grow with their number without end.
#[test]
fn traffic_of_an_idle_cluster_is_bounded() {
    let members = members(64);
    let mut world = World::joined(1, members, |_| ());
    println!(
        "{members} members know each other after {:?}, {} bytes sent by each",
        world.now - secs(1),
        world.bytes / members as u64
    );
    world.run(secs(5));
    let (datagrams, bytes) = (world.datagrams, world.bytes);
    let swim = |world: &World| world.nodes.iter().map(|node| node.hub.counts().swim_bytes_sent).sum::<u64>();
    let swim_before = swim(&world);
    world.run(secs(5));
    let each = |total: u64| total / members as u64 / 5;
    println!(
        "{members} members: each sends {} datagrams/s, {} bytes/s, of which {} for SWIM",
        each(world.datagrams - datagrams),
        each(world.bytes - bytes),
        each(swim(&world) - swim_before)
    );
    assert!(world.agree(&(0..members).collect::<Vec<_>>()));
    assert!(each(world.datagrams - datagrams) < 300 && each(world.bytes - bytes) < 30_000);
    world.kill(1);
    let others: Vec<usize> = (0..members).filter(|node| *node != 1).collect();
    let took = world.until(secs(20), |world| others.iter().all(|node| !world.sees(*node, 1)));
    println!("{members} members: a crash is noticed by all within {took:?}");
}

/// Breaks with `DEAD_ASKED` of `members.rs`: nobody would ask those on the other side whether they live.
#[test]
fn two_parts_that_meet_again_agree_within_two_seconds() {
    let members = members(100);
    let mut world = World::joined(2, members, |_| ());
    let all: Vec<usize> = (0..members).collect();
    let (one, other): (Vec<usize>, Vec<usize>) = all.iter().partition(|node| *node % 3 == 0);
    world.part(&one, &other);
    let took = world.until(secs(30), |world| world.agree(&one) && world.agree(&other)).unwrap();
    println!("{members} members: {} and {} take each other for dead after {took:?}", one.len(), other.len());
    world.faults.cuts.clear();
    let took = world.until(secs(30), |world| world.agree(&all)).unwrap();
    println!("{members} members: all know each other {took:?} after the two parts met again");
    // Of many members each hears from the others in turns (`report_wait`), and who is taken for dead learns it when it speaks.
    let turns = secs(1) * u32::try_from(members).unwrap() / 256;
    assert!(took <= secs(1) + turns.max(secs(1)), "{took:?}");
}
