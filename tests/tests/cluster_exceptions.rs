//! What is not as on one node, by `docs/cluster.md`: where a verdict of a cluster may be another than that of one node, on
//! shards that are called directly, and counted as that page says. What keys and durations come to is in
//! `engine/src/evidence/gathered/tests.rs`, limits are in `limits.rs`, what is refused is in `config/tests/loading/cluster.rs`.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::trace::v1::{Span, Status};
use std::sync::Arc;
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::host::{ExportRequest, Host};
use tailwater_engine::route::Route;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Judged, KeptUnit, Nanos, Occasion, Said, Unit, Verdict};
use tailwater_proto::cluster::evidence::{Entry, Facts};
use tailwater_proto::cluster::message::{Header, Kind};
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId, ruling};
use tailwater_tests::shard_host::request_of;
use tailwater_tests::shard_plan::roomy;
use tailwater_tests::world::policies::errors_then_marked;

const OWN: NodeId = NodeId(1);
const OTHER: NodeId = NodeId(2);
const PIPELINE: u64 = 7;

/// Notes what a shard comes to, and how much it tells.
#[derive(Default)]
struct Noted {
    judged: Vec<Judged>,
    told: usize,
}

impl Host for Noted {
    fn export(&mut self, _: ExportRequest) {}
    fn judged(&mut self, judged: &Judged) {
        self.judged.push(*judged);
    }
    fn resolve(&mut self, _: Unit) {}
    fn recall(&mut self, _: KeptUnit) {}
    fn tell(&mut self, _: Said) -> Result<(), Said> {
        self.told += 1;
        Ok(())
    }
}

fn at(milliseconds: u64) -> Nanos {
    Nanos::from_millis(milliseconds)
}

fn view(number: u64, nodes: &[NodeId]) -> Arc<View> {
    let member = |node: &NodeId| Member { node: *node, incarnation: Incarnation(1), shards: 1, is_leaving: false };
    Arc::new(View::new(number, OWN, nodes.iter().map(member).collect()))
}

fn waits() -> ClusterPlan {
    ClusterPlan {
        pipeline: PIPELINE,
        evidence_delay: at(250),
        answer_wait: at(1_000),
        hold_max: at(10_000),
        rules_wait: at(30_000),
        docket_traces_max: 100,
        message_bytes_max: 1_200,
        shed_level_max: 0,
    }
}

/// A shard of a node that has known another for two minutes; traces wait for a second.
fn joined(plan: ShardPlan) -> Shard {
    let mut shard = Shard::new(plan, errors_then_marked());
    shard.join(at(0), waits(), view(1, &[OWN]));
    shard.turn_to(at(1), &view(2, &[OWN, OTHER]));
    // Who has not looked at the time for long judges nothing for a while.
    run(&mut shard, START_MS - 3_000..START_MS, &mut Noted::default());
    shard
}

/// When tests begin: members have been the same for long.
const START_MS: u64 = 120_000;

/// The first traces that this node owns among those.
fn traces_of(owner: NodeId) -> impl Iterator<Item = [u8; 16]> {
    let (route, view) = (Route::new(roomy(0, 1, 9).hash_seed, 1), view(1, &[OWN, OTHER]));
    let ids = (1u128..1_000).map(|number| (number << 64 | number).to_be_bytes());
    ids.filter(move |id| view.owner_id(route.hash(id)) == owner)
}

fn span(trace_id: [u8; 16], is_root: bool, is_error: bool) -> Span {
    Span {
        trace_id: trace_id.to_vec(),
        span_id: vec![1 + u8::from(is_error); 8],
        parent_span_id: if is_root { Vec::new() } else { vec![9; 8] },
        status: is_error.then(|| Status { code: 2, ..Status::default() }),
        ..Span::default()
    }
}

fn send(shard: &mut Shard, now: Nanos, span: Span, host: &mut Noted) {
    let mut scanned = shard.scan(&request_of(span)).unwrap();
    shard.accept(scanned.spans());
    scanned.place(tailwater_engine::vocabulary::Origin::NONE, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

/// Looks at the time each 10 ms.
fn run(shard: &mut Shard, milliseconds: std::ops::Range<u64>, host: &mut Noted) {
    for now in milliseconds.step_by(10) {
        while shard.tick(at(now), host) {}
    }
}

/// Another node tells of a span of a trace, that it has under these rules.
fn hear(shard: &mut Shard, now: Nanos, trace_id: [u8; 16], fingerprint: u64, host: &mut Noted) {
    let facts = Facts { spans: 1, bytes: 100, words: vec![u64::MAX], ..Facts::default() };
    let mut message = Vec::new();
    Header { kind: Kind::Evidence, pipeline: PIPELINE, fingerprint, shards: 1, shard: 0 }.put(&mut message);
    message.extend_from_slice(&0u64.to_le_bytes());
    Entry { trace_id, facts, ..Entry::default() }.put(0, &mut message);
    shard.hear(now, (OTHER, Incarnation(1)), &message, host);
}

/// Without `touched` as the way of all spans but roots, or without `hurried` for roots, one of the two is another.
#[test]
fn what_comes_within_the_evidence_delay_before_a_verdict_is_not_told_in_time_unless_it_is_a_root() {
    for (is_root, told) in [(false, 1), (true, 2)] {
        let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
        let trace_id = traces_of(OTHER).next().unwrap();
        send(&mut shard, at(START_MS), span(trace_id, false, false), &mut host);
        run(&mut shard, START_MS..START_MS + 900, &mut host);
        send(&mut shard, at(START_MS + 900), span(trace_id, is_root, true), &mut host);
        run(&mut shard, START_MS + 900..START_MS + 1_000, &mut host);
        assert_eq!(shard.cluster().unwrap().counts.evidence_sent, told);
    }
}

/// What came to the owner is in its verdict however lately it came: not without `take_in_untold`.
#[test]
fn what_comes_to_the_owner_itself_is_in_the_verdict() {
    let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
    let trace_id = traces_of(OWN).next().unwrap();
    send(&mut shard, at(START_MS), span(trace_id, false, false), &mut host);
    run(&mut shard, START_MS..START_MS + 900, &mut host);
    send(&mut shard, at(START_MS + 900), span(trace_id, false, true), &mut host);
    run(&mut shard, START_MS + 900..START_MS + 2_000, &mut host);
    let [judged] = host.judged[..] else { panic!("{:?}", host.judged) };
    assert_ne!(judged.verdict, Verdict::Drop);
    assert_eq!(shard.ledger().spans.exporting, 2);
}

/// Another node answers a question after a trace: it remembers nothing.
fn answer_nothing(shard: &mut Shard, now: Nanos, trace_id: [u8; 16], host: &mut Noted) {
    let hash = Route::new(roomy(0, 1, 9).hash_seed, 1).hash(&trace_id);
    let mut message = Vec::new();
    Header { kind: Kind::Rulings, pipeline: PIPELINE, fingerprint: 1, shards: 1, shard: 0 }.put(&mut message);
    ruling::Ruling { hash, outcome: ruling::Outcome::Unknown }.put(&mut message);
    shard.hear(now, (OTHER, Incarnation(1)), &message, host);
}

/// Without the look at who has answered in `ask_again` a node that is down, and not missed yet, is taken for one that remembers
/// nothing: its verdicts are contradicted, and nothing counts it.
#[test]
fn who_has_just_come_waits_for_the_answers_of_those_that_may_remember() {
    for is_answered in [true, false] {
        let (mut shard, mut host) = (Shard::new(roomy(0, 1, 9), errors_then_marked()), Noted::default());
        shard.join(at(START_MS - 5_000), waits(), view(1, &[OWN, OTHER]));
        run(&mut shard, START_MS - 5_000..START_MS, &mut host);
        let trace_id = traces_of(OWN).next().unwrap();
        send(&mut shard, at(START_MS), span(trace_id, true, true), &mut host);
        run(&mut shard, START_MS..START_MS + 5_000, &mut host);
        assert!(host.judged.is_empty(), "nobody has answered");
        if is_answered {
            answer_nothing(&mut shard, at(START_MS + 5_000), trace_id, &mut host);
            run(&mut shard, START_MS + 5_000..START_MS + 5_600, &mut host);
        } else {
            run(&mut shard, START_MS + 5_000..START_MS + 10_000, &mut host);
            assert!(host.judged.is_empty(), "for `hold_max` from its deadline on");
            run(&mut shard, START_MS + 10_000..START_MS + 12_200, &mut host);
        }
        assert_eq!(host.judged.len(), 1);
        assert_eq!(shard.cluster().unwrap().counts.judged_unremembered, u64::from(!is_answered));
    }
}

/// Without the count nobody would know that a verdict might have been another.
#[test]
fn what_comes_of_a_trace_that_was_dropped_without_it_is_counted() {
    let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
    let trace_id = traces_of(OWN).next().unwrap();
    send(&mut shard, at(START_MS), span(trace_id, true, false), &mut host);
    run(&mut shard, START_MS..START_MS + 2_000, &mut host);
    assert_eq!(host.judged[0].verdict, Verdict::Drop);
    let fingerprint = shard.rules().fingerprint();
    hear(&mut shard, at(START_MS + 2_000), trace_id, fingerprint, &mut host);
    assert_eq!(shard.cluster().unwrap().counts.evidence_late, 1);
}

/// It breaks without `waits_for_rules`, and when that waits for ever.
#[test]
fn what_was_told_under_other_rules_is_waited_for_and_then_counts_with_its_numbers() {
    let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
    let mut traces = traces_of(OWN);
    let (foreign, same) = (traces.next().unwrap(), traces.next().unwrap());
    hear(&mut shard, at(START_MS), foreign, 77, &mut host);
    hear(&mut shard, at(START_MS), same, errors_then_marked().fingerprint(), &mut host);
    run(&mut shard, START_MS..START_MS + 30_900, &mut host);
    let [judged] = host.judged[..] else { panic!("{:?}", host.judged) };
    assert_eq!((judged.trace_id, judged.verdict), (same, Verdict::Keep(1)));
    run(&mut shard, START_MS + 30_900..START_MS + 32_000, &mut host);
    let judged = host.judged.last().unwrap();
    assert_eq!((judged.trace_id, judged.verdict, judged.spans), (foreign, Verdict::Drop, 1));
    assert_eq!(shard.cluster().unwrap().counts.judged_foreign_rules, 1);
}

/// It breaks without `tell_alone` where room is made.
#[test]
fn a_node_without_room_judges_what_it_has_alone_and_counts_it() {
    let (mut shard, mut host) = (joined(ShardPlan { traces_max: 1, ..roomy(0, 1, 9) }), Noted::default());
    for trace_id in traces_of(OTHER).take(2) {
        send(&mut shard, at(START_MS), span(trace_id, false, true), &mut host);
    }
    assert_eq!(host.judged.iter().map(|judged| judged.occasion).collect::<Vec<_>>(), [Occasion::TracesMax]);
    assert_eq!(shard.cluster().unwrap().counts.judged_alone, 1);
    run(&mut shard, START_MS..START_MS + 10, &mut host);
    assert_eq!(host.told, 1, "and says that it is kept");
}

/// Without `shards_of_others` it says nothing, and who is found again does not hear of what was kept meanwhile.
#[test]
fn a_node_that_is_alone_says_what_it_keeps_to_those_that_it_knew() {
    let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
    shard.turn_to(at(START_MS), &view(3, &[OWN]));
    let trace_id = traces_of(OWN).next().unwrap();
    send(&mut shard, at(START_MS), span(trace_id, false, true), &mut host);
    run(&mut shard, START_MS..START_MS + 5_000, &mut host);
    assert_eq!((host.judged.len(), host.told), (1, 1));
}

/// It breaks without `has_found_nobody`, and when that is for ever.
#[test]
fn a_node_that_has_just_come_and_found_nobody_counts_what_it_judges() {
    for (joined_ms, count) in [(START_MS - 3_000, 1), (START_MS - 60_000, 0)] {
        let (mut shard, mut host) = (Shard::new(roomy(0, 1, 9), errors_then_marked()), Noted::default());
        shard.join(at(joined_ms), waits(), view(1, &[OWN]));
        run(&mut shard, joined_ms..START_MS, &mut host);
        send(&mut shard, at(START_MS), span(traces_of(OWN).next().unwrap(), false, true), &mut host);
        run(&mut shard, START_MS..START_MS + 1_500, &mut host);
        let counts = shard.cluster().unwrap().counts;
        assert_eq!((counts.judged, counts.judged_unremembered), (1, count));
    }
}

/// It breaks without `may_be_forgotten`.
#[test]
fn a_trace_whose_former_owner_is_gone_is_judged_and_counted() {
    let (mut shard, mut host) = (joined(roomy(0, 1, 9)), Noted::default());
    let traces = [traces_of(OWN).next().unwrap(), traces_of(OTHER).next().unwrap()];
    for trace_id in traces {
        send(&mut shard, at(START_MS), span(trace_id, false, true), &mut host);
    }
    run(&mut shard, START_MS..START_MS + 500, &mut host);
    shard.turn_to(at(START_MS + 500), &view(3, &[OWN]));
    run(&mut shard, START_MS + 500..START_MS + 5_000, &mut host);
    let judged: Vec<_> = host.judged.iter().map(|judged| judged.trace_id).collect();
    assert_eq!(judged, traces);
    let counts = shard.cluster().unwrap().counts;
    assert_eq!((counts.judged, counts.judged_unremembered, counts.judged_alone), (2, 1, 0));
}
