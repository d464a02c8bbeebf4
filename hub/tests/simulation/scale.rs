//! What membership costs in a large cluster. `HUB_MEMBERS=1000` measures another size than the usual, which is small so that
//! it is quick.

use crate::world::{World, secs};

/// Breaks with `REPORT_SLACK` and `REPORTED_MAX` of `hub.rs`: what a member sends would grow with their number without end.
#[test]
#[allow(clippy::disallowed_methods, reason = "the size of a measurement is asked of who starts it")]
fn traffic_of_an_idle_cluster_is_bounded() {
    let members: usize = std::env::var("HUB_MEMBERS").ok().map_or(64, |members| members.parse().unwrap());
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
