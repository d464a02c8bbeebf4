//! What nobody should send: bytes that mean nothing, and messages of those who may not send them.

use crate::world::{World, millis, secs};
use rand::RngExt;
use std::sync::Arc;
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
