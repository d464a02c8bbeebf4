//! What nobody should send: bytes that mean nothing, and messages of those who may not send them.

use crate::world::{World, millis, secs};
use rand::RngExt;
use std::sync::Arc;
use tailwater_hub::probe::{echo, probe};
use tailwater_hub::{Hub, HubPlan, Wire};
use tailwater_proto::cluster::view::View;
use tailwater_proto::cluster::{Incarnation, NodeId};

type Run = (NodeId, Incarnation);

/// Keeps what a hub sends.
#[derive(Default)]
struct Sink {
    sent: Vec<(Option<Run>, Vec<u8>)>,
    heard: usize,
}

impl Wire for Sink {
    fn send(&mut self, _: std::net::SocketAddr, to: Option<Run>, frames: &[u8]) {
        self.sent.push((to, frames.to_vec()));
    }

    fn deliver(&mut self, _: Run, _: &[u8]) -> bool {
        self.heard += 1;
        true
    }

    fn unix_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn view(&mut self, _: &Arc<View>) {}
}

fn run(node: u64) -> Run {
    (NodeId(node), Incarnation(9))
}

fn address(node: u64) -> std::net::SocketAddr {
    ([10, 0, 0, node.to_le_bytes()[0]], 7).into()
}

fn hub(node: u64) -> Hub {
    Hub::new(HubPlan::new(run(node).0, run(node).1, address(node), 1), node)
}

/// Any of a hub's own datagrams, with bytes changed, cut off or put in, and from anybody: nothing panics, and what is sent in
/// return stays in proportion. Breaks with the bound of numbers in `Link::hear`.
#[test]
fn damaged_datagrams_do_no_harm() {
    for seed in 0..20 {
        let mut world = World::joined(seed, 4, |_| ());
        world.damage = 0.5;
        for payload in 0..200 {
            let (from, to) = (world.rng.random_range(0..4), world.rng.random_range(0..4));
            world.tell(from, to, payload, 100);
            world.say(from, payload, 100);
            world.run(millis(30));
        }
        world.damage = 0.0;
        assert!(world.nodes.iter().any(|node| node.hub.counts().frames_malformed > 10));
        assert!(world.datagrams < 200_000 && world.bytes < 50_000_000, "{} {}", world.datagrams, world.bytes);
    }
}

/// Breaks with `header.src.id() != sender` of `Members::hear`: who has the key could speak for anybody.
#[test]
fn garbage_and_messages_in_the_name_of_others_are_not_answered() {
    let (mut other, mut sink) = (hub(3), Sink::default());
    other.hear(secs(1), address(1), run(1), &hello(1), &mut sink);
    let (to, announcement) = sink.sent.pop().unwrap();
    assert_eq!(to, Some(run(1)));
    let (mut hub, mut sink) = (hub(1), Sink::default());
    hub.hear(secs(1), address(2), run(2), &announcement, &mut sink);
    assert_eq!((sink.sent.len(), hub.counts().frames_malformed), (0, 1));
    hub.hear(secs(1), address(3), run(3), &announcement, &mut sink);
    assert!(!sink.sent.is_empty(), "it is a message that would be answered");
    sink.sent.clear();
    let mut hub = self::hub(1);
    let mut now = secs(1);
    for byte in 0..=255_u8 {
        now += millis(10);
        hub.hear(now, address(2), run(2), &[byte; 40], &mut sink);
        hub.hear(now, address(2), run(2), &[byte, 1, 0, byte], &mut sink);
    }
    assert_eq!(sink.sent, []);
}

/// Breaks with `self.live(sender)` in `Hub::hear`.
#[test]
fn a_stranger_can_only_become_a_member() {
    let (mut hub, mut sink) = (hub(1), Sink::default());
    // Told, said, pull, leave, doubt.
    let frames = [5, 5, 0, 1, 0, 1, 0, 7, 6, 3, 0, 1, 1, 7, 7, 1, 0, 0, 9, 0, 0, 10, 1, 0, 0];
    hub.hear(secs(1), address(2), run(2), &frames, &mut sink);
    assert_eq!((hub.counts().frames_from_strangers, sink.heard), (5, 0));
    assert_eq!(sink.sent, []);
}

fn hello(of: u64) -> Vec<u8> {
    let mut sink = Sink::default();
    hub(of).announce(secs(1), address(0), &mut sink);
    sink.sent.remove(0).1
}

/// Breaks with `may_answer_stranger`: who has the key and many ids could have this node write to anybody.
#[test]
fn strangers_are_answered_so_many_a_second() {
    let (mut hub, mut sink) = (hub(1), Sink::default());
    for node in 2..252 {
        hub.hear(secs(1), address(node), run(node), &hello(node), &mut sink);
    }
    // Each answer is a greeting and an announcement.
    assert_eq!((sink.sent.len(), hub.counts().hellos_unanswered), (2 * 64, 250 - 64));
    let greetings = sink.sent.iter().filter(|(to, _)| to.is_none()).count();
    assert_eq!(greetings, 64);
    hub.hear(secs(3), address(3), run(3), &hello(3), &mut sink);
    assert_eq!(sink.sent.len(), 2 * 65);
}

/// Breaks with `is_understood`.
#[test]
fn who_speaks_no_version_of_ours_is_not_answered() {
    let (mut hub, mut sink) = (hub(1), Sink::default());
    let mut greeting = hello(2);
    assert_eq!(greeting[3..5], [1, 1], "lowest and highest version");
    greeting[3] = 2;
    greeting[4] = 3;
    hub.hear(secs(1), address(2), run(2), &greeting, &mut sink);
    assert_eq!((sink.sent.len(), hub.counts().hellos_refused), (0, 1));
    // A later version that still speaks ours, with a field more.
    greeting[3] = 1;
    greeting.push(77);
    greeting[1] += 1;
    hub.hear(secs(1), address(2), run(2), &greeting, &mut sink);
    assert_eq!(sink.sent.len(), 2);
}

/// Breaks with the comparison of node ids at the head of `Hub::hear`.
#[test]
fn another_process_with_the_same_id_is_counted() {
    let (mut hub, mut sink) = (hub(1), Sink::default());
    hub.hear(secs(1), address(2), (run(1).0, Incarnation(3)), &hello(1), &mut sink);
    hub.hear(secs(1), address(1), run(1), &hello(1), &mut sink);
    assert_eq!((hub.counts().twins_heard, sink.sent.len()), (1, 0));
}

/// Breaks with `JOINING` of `hub/view.rs`.
#[test]
fn a_full_cluster_is_left_by_who_is_one_too_many() {
    let mut world = World::joined(1, 4, |plan| plan.members_max = 4);
    world.run(secs(11));
    world.join_one_more();
    world.announce(4, 0);
    world.run(secs(5));
    assert!(world.agree(&[0, 1, 2, 3]));
    assert_eq!(world.nodes[4].hub.view().members().len(), 1);
    assert_eq!(world.nodes[4].hub.counts().members_refused, 1);
    assert!(world.nodes[4].hub.is_turned_away());
}

/// Breaks with `self.again_at = Some(` of `hub/view.rs`: it would be alone for as long as it runs. Without `renew` of
/// `Members::begin_again` it would have to learn first that it is dead.
#[test]
fn who_found_the_cluster_full_comes_in_when_there_is_room() {
    let mut world = World::joined(2, 4, |plan| plan.members_max = 4);
    world.run(secs(11));
    world.join_one_more();
    // As discovery does for a node that is alone.
    let search = |world: &mut World, seconds: u64| {
        for _ in 0..seconds {
            world.announce(4, 0);
            world.run(secs(1));
        }
    };
    search(&mut world, 40);
    assert_eq!(world.nodes[4].hub.counts().turned_away, 2, "it has tried once more");
    assert!(world.agree(&[0, 1, 2, 3]), "and cost nobody a member");
    world.leave(3);
    world.run(secs(1));
    world.kill(3);
    search(&mut world, 40);
    assert!(world.agree(&[0, 1, 2, 4]));
    assert!(!world.nodes[4].hub.is_turned_away());
    assert_eq!(world.nodes[4].hub.counts().rejoined, 0);
    // What was told before counts for nothing, and what is told now arrives.
    assert!(world.tell(0, 4, 77, 20) && world.tell(4, 0, 78, 20));
    world.say(4, 79, 20);
    world.run(secs(1));
    assert_eq!((world.times_heard(4, 77), world.times_heard(0, 78), world.times_heard(1, 79)), (1, 1, 1));
}

/// Breaks with `if !is_bound` of `Hub::hear_datagram`: what anybody recorded would count.
#[test]
fn of_what_is_for_no_run_only_a_greeting_counts() {
    let mut world = World::joined(1, 3, |_| ());
    let (sender, from) = (world.nodes[2].run, world.nodes[2].address);
    let (now, leave) = (world.now, [9, 0, 0]);
    let hub = &mut world.nodes[0].hub;
    hub.hear_unbound(now, from, sender, &leave, &mut Sink::default());
    assert_eq!((hub.counts().frames_unbound, hub.view().members().len()), (1, 3));
    hub.hear(now, from, sender, &leave, &mut Sink::default());
    assert_eq!((hub.counts().frames_unbound, hub.view().members().len()), (1, 2));
}

/// A greeting that was recorded, played back to a node that was started since, by another address: the greeter of then gets an
/// announcement that only its run of then can open, and is no member for it. Breaks with an `insert` into the members before
/// an answer.
#[test]
fn a_greeting_that_is_played_back_makes_nobody_a_member() {
    let greeting = hello(2);
    let (mut hub, mut sink) = (hub(1), Sink::default());
    hub.hear_unbound(secs(1), address(66), run(2), &greeting, &mut sink);
    assert_eq!(hub.view().members().len(), 1);
    // A greeting to where it came from, an announcement to the run that it names.
    let to: Vec<Option<Run>> = sink.sent.iter().map(|(to, _)| *to).collect();
    assert!(to.len() == 2 && to.contains(&None) && to.contains(&Some(run(2))), "{to:?}");
    for second in 2..60 {
        hub.tick(secs(second), &mut sink);
    }
    assert_eq!((hub.view().members().len(), sink.sent.len()), (1, 2), "and nothing follows");
}

/// Breaks with `PROBES_MAX`, `PROBE_BYTES_MIN` or the size that `put_echo` is given: a node would send more than it gets.
#[test]
fn probes_are_answered_in_kind_and_so_many_a_second() {
    let (mut hub, mut sink) = (hub(1), Sink::default());
    let frames = probe(7, 1_298);
    hub.hear_unbound(secs(1), address(9), run(9), &frames, &mut sink);
    let (to, answer) = sink.sent.pop().unwrap();
    assert_eq!((to, answer.len(), frames.len()), (Some(run(9)), 1_298, 1_298));
    let said = echo(&answer).unwrap();
    assert_eq!((said.number, said.unix_ms, said.is_understood()), (7, 1_700_000_000_000, true));
    assert_eq!(echo(&frames), None);
    assert_eq!(hub.view().members().len(), 1, "who probes is no member");
    let short = [&[11, 1, 0][..], &[5]].concat();
    hub.hear_unbound(secs(1), address(9), run(9), &short, &mut sink);
    assert!(sink.sent.is_empty());
    for number in 0..200 {
        hub.hear_unbound(secs(1), address(9), run(9), &probe(number, 64), &mut sink);
    }
    assert_eq!((sink.sent.len(), hub.counts().probes_unanswered), (127, 1 + 73));
    hub.hear_unbound(secs(3), address(9), run(9), &probe(1, 64), &mut sink);
    assert_eq!(sink.sent.len(), 128);
}

/// Breaks with `self.sweep_at = ` of `Streams::sweep`: a hub would want to be called without pause.
#[test]
fn a_hub_that_is_called_as_it_wants_is_called_seldom() {
    let mut world = World::joined(1, 5, |_| ());
    world.run(secs(5));
    let before = world.ticks;
    world.run(secs(10));
    let ticks = (world.ticks - before) / 50;
    assert!(ticks <= 40, "{ticks} a second and node");
    let mut alone = hub(1);
    assert_eq!(alone.tick(secs(5), &mut Sink::default()), secs(6));
}
