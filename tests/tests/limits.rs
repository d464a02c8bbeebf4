//! Limits on a shard: what is offered to them, charged to them and shared by them, beside what `unbiased` adds up.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, RandomnessSource, Rule, Sampling, Strategy};
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Nanos, Origin, SegmentHandle};
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_tests::shard_host::Kept;
use tailwater_tests::shard_plan::roomy;

/// So many seconds after the origin.
fn at(seconds: u64) -> Nanos {
    Nanos(seconds * Nanos::PER_SECOND)
}

fn limited(spans_per_second: i64) -> Sampling {
    let rule = Rule::RateLimiting { spans_per_second, burst_capacity: spans_per_second };
    Sampling { policies: vec![Policy::new("limited", rule)], ..Sampling::default() }
}

fn compiled(sampling: &Sampling) -> Arc<Rules> {
    Arc::new(Rules::compile(sampling).unwrap())
}

/// Ids are what they are here.
fn plan() -> ShardPlan {
    ShardPlan { randomness: RandomnessSource::TraceId, ..roomy(0, 1, 7) }
}

/// A span of the trace of that number, whose randomness grows with it.
fn span(trace: u64, span_id: u64) -> Span {
    let id = u128::from(trace + 1) << 64 | u128::from((trace + 1) << 32);
    Span { trace_id: id.to_be_bytes().to_vec(), span_id: (span_id + 1).to_be_bytes().to_vec(), ..Span::default() }
}

/// Takes spans in one request, which is in the log.
fn send(shard: &mut Shard, now: Nanos, spans: Vec<Span>, host: &mut Kept) {
    let resource_spans = vec![ResourceSpans {
        scope_spans: vec![ScopeSpans { spans, ..ScopeSpans::default() }],
        ..ResourceSpans::default()
    }];
    let mut scanned = shard.scan(&ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()).unwrap();
    shard.accept(scanned.spans());
    scanned.place(Origin { segment: SegmentHandle::new(0, 3), first_unit: 0 }, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

#[test]
fn each_trace_is_offered_once_however_long_its_window_is_judged() {
    let mut shard = Shard::new(plan(), compiled(&limited(600)));
    let mut host = Kept::default();
    send(&mut shard, at(3), (0..3_000).map(|trace| span(trace, 0)).collect(), &mut host);
    assert!(shard.tick(at(4), &mut host), "more are due than one call judges");
    assert_eq!(shard.take_limit_demand(), [3_000]);
    let judged = |shard: &Shard| shard.ledger().traces.kept + shard.ledger().traces.dropped;
    assert!((1_000..2_000).contains(&judged(&shard)));
    // The rest comes to its turn a second later, when another window has begun.
    send(&mut shard, at(4), (5_000..5_100).map(|trace| span(trace, 0)).collect(), &mut host);
    while shard.tick(at(5), &mut host) {}
    assert_eq!(judged(&shard), 3_100);
    assert_eq!(shard.take_limit_demand(), [100], "only those that were not offered before");
    assert_eq!(shard.ledger().traces.kept, 600 + 100);
}

#[test]
fn a_trace_of_the_window_that_is_judged_early_is_not_charged_again() {
    let mut shard = Shard::new(plan(), compiled(&limited(600)));
    let mut host = Kept::default();
    send(&mut shard, at(3), (0..3_000).map(|trace| span(trace, 0)).collect(), &mut host);
    assert!(shard.tick(at(4), &mut host));
    while shard.ledger().traces.pending > 0 {
        shard.decide_early(at(4), &mut host);
    }
    assert_eq!(shard.take_limit_demand(), [3_000]);
    // A whole second's worth is there again.
    send(&mut shard, at(4), (5_000..5_600).map(|trace| span(trace, 0)).collect(), &mut host);
    while shard.tick(at(5), &mut host) {}
    assert_eq!(shard.ledger().traces.kept, 600 + 600);
}

#[test]
fn former_rules_and_those_in_force_keep_to_one_limit_together() {
    let before = compiled(&limited(600));
    let mut changed = limited(600);
    changed.policies.push(Policy::new("no such", Rule::SpanCount { min: 1_000, max: 0 }));
    let after = Arc::new(Rules::compile_after(&changed, &before).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), ..plan() };
    let mut shard = Shard::new(plan.clone(), before);
    let mut host = Kept::default();
    send(&mut shard, at(3), (0..900).map(|trace| span(trace, 0)).collect(), &mut host);
    for step in 1..20 {
        while shard.tick(at(3).plus(Nanos::from_millis(20 * step)), &mut host) {}
    }
    assert_eq!(shard.ledger().traces.cold_spans, 900, "they stay with the rules that they came under");
    assert!(shard.reload(at(3), &after, &plan, &mut host));
    send(&mut shard, at(3), (2_000..2_300).map(|trace| span(trace, 0)).collect(), &mut host);
    while shard.tick(at(4), &mut host) {}
    assert_eq!(shard.ledger().traces.dropped, 600);
    assert_eq!(shard.ledger().traces.kept, 600, "300 of the new rules and 300 of the former");
}

#[test]
fn late_spans_are_let_through_and_missing_in_the_next_window() {
    let mut shard = Shard::new(plan(), compiled(&limited(600)));
    let mut host = Kept::default();
    let (kept, mut before) = (9_000, 0);
    send(&mut shard, at(1), vec![span(kept, 0)], &mut host);
    while shard.tick(at(3), &mut host) {}
    // How many of a thousand traces are kept in the next window, after so many late spans.
    let mut next = |second: u64, late: u64| {
        send(
            &mut shard,
            at(second),
            (0..late).map(|number| span(kept, second * 100_000 + number)).collect(),
            &mut host,
        );
        let traces = second * 10_000..second * 10_000 + 1_000;
        send(&mut shard, at(second), traces.map(|trace| span(trace, 0)).collect(), &mut host);
        while shard.tick(at(second + 1), &mut host) {}
        let kept = shard.ledger().traces.kept;
        kept - std::mem::replace(&mut before, kept)
    };
    assert_eq!(next(3, 0), 600 + 1);
    assert_eq!(next(4, 0), 600);
    assert_eq!(next(5, 100), 500);
    assert_eq!(next(6, 0), 600);
    assert_eq!(next(7, 50_000), 0, "all that a second has is owed");
    assert_eq!(next(8, 0), 600, "and no more than that");
    assert_eq!(shard.ledger().traces.late_kept_spans, 50_100);
    assert_eq!(shard.take_limit_demand(), [1 + 6 * 1_000 + 50_100]);
}

#[test]
fn late_spans_take_from_the_budget_and_the_rule_by_what_each_counts() {
    let file = "sampling:\n  budget: {bytes_per_second: 100000}\n  rules:\n    - {name: r, sampler: {always_on: true}, limit: {spans_per_second: 700}}\n";
    let inputs = tailwater_config::Inputs {
        file: Some(("t.yaml", file)),
        environment: &[],
        flags: &[],
        machine_memory_bytes: 1 << 33,
    };
    let sampling = tailwater_config::load(&inputs).unwrap().config.sampling;
    let mut shard = Shard::new(plan(), compiled(&sampling));
    let mut host = Kept::default();
    send(&mut shard, at(1), vec![span(9_000, 0)], &mut host);
    while shard.tick(at(3), &mut host) {}
    assert_eq!(shard.ledger().traces.kept, 1);
    shard.take_limit_demand();
    send(&mut shard, at(3), vec![span(9_000, 1), span(9_000, 2)], &mut host);
    // A span of two ids, its tag and its length.
    let mut demand = shard.take_limit_demand();
    demand.sort_unstable();
    assert_eq!(demand, [2, 2 * (18 + 10 + 2)]);
}

#[test]
fn late_spans_cost_nothing_where_limits_are_the_collectors() {
    let sampling = Sampling { policies: limited(600).policies, ..Sampling::collector_default() };
    let mut shard = Shard::new(plan(), compiled(&sampling));
    let mut host = Kept::default();
    send(&mut shard, at(1), vec![span(9_000, 0)], &mut host);
    while shard.tick(at(3), &mut host) {}
    assert_eq!(shard.take_limit_demand(), [1]);
    send(&mut shard, at(3), vec![span(9_000, 1)], &mut host);
    assert_eq!((shard.ledger().traces.late_kept_spans, shard.take_limit_demand()), (1, vec![0]));
}

/// Pieces are judged as they come, so that no window has all that wants to pass: they go by what passed before.
#[test]
fn pieces_of_span_ingest_are_charged() {
    const SECONDS: u64 = 100;
    const LIMIT: i64 = 200;
    let sampling = Sampling { strategy: Strategy::SpanIngest, ..limited(LIMIT) };
    let plan = ShardPlan { strategy: Strategy::SpanIngest, ..plan() };
    for spans_of_each in [1, 4] {
        let mut shard = Shard::new(plan.clone(), compiled(&sampling));
        let mut host = Kept::default();
        let (mut state, mut before) = (1u64, 0);
        for second in 1..=SECONDS {
            if second == SECONDS / 10 {
                // By then it is known how much passes.
                before = shard.ledger().spans.exporting;
            }
            let mut ids = Vec::new();
            for number in 0..1_000_u64 {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                ids.push(u128::from(second * 1_000 + number) << 64 | u128::from(state >> 8));
            }
            // Each span is a piece of its own.
            for place in 0..spans_of_each {
                let span = |id: &u128| Span { trace_id: id.to_be_bytes().to_vec(), ..span(0, place) };
                send(&mut shard, at(second), ids.iter().map(span).collect(), &mut host);
            }
            while shard.tick(at(second + 1), &mut host) {}
        }
        let kept = shard.ledger().spans.exporting - before;
        let allowed = SECONDS * 9 / 10 * u64::try_from(LIMIT).unwrap();
        assert!((allowed * 8 / 10..=allowed * 12 / 10).contains(&kept), "{kept} spans of {allowed}: {spans_of_each}");
    }
}

/// Node `own` of two, as far as it knows those of `nodes`.
fn view(number: u64, own: u64, nodes: &[u64]) -> Arc<View> {
    let member = |node: &u64| Member { node: NodeId(*node), incarnation: Incarnation(1), shards: 1, is_leaving: false };
    Arc::new(View::new(number, NodeId(own), nodes.iter().map(member).collect()))
}

fn node(own: u64, nodes: &[u64]) -> Shard {
    let mut shard = Shard::new(plan(), compiled(&limited(600)));
    let cluster = ClusterPlan {
        pipeline: 7,
        evidence_delay: Nanos::from_millis(250),
        answer_wait: Nanos::from_millis(1_000),
        hold_max: Nanos::from_millis(60_000),
        rules_wait: Nanos::from_millis(1_000),
        docket_traces_max: 10_000,
        message_bytes_max: 1_200,
        shed_level_max: 0,
    };
    shard.join(at(1), cluster, view(1, own, nodes));
    shard
}

/// How many are kept of 3,000 traces that come and are judged.
fn kept_of_many(shard: &mut Shard, second: u64) -> u64 {
    let (before, mut host) = (shard.ledger().traces.kept, Kept::default());
    let traces = second * 10_000..second * 10_000 + 3_000;
    send(shard, at(second), traces.map(|trace| span(trace, 0)).collect(), &mut host);
    for step in 0..80 {
        while shard.tick(at(second).plus(Nanos::from_millis(50 * step)), &mut host) {}
    }
    shard.ledger().traces.kept - before
}

/// Without `Shard::divide_limits` each of two nodes keeps as many as one may.
#[test]
fn in_a_cluster_each_owner_has_an_equal_part_of_a_limit_while_nobody_has_said_what_it_wants() {
    let mut shard = node(1, &[1]);
    assert_eq!(kept_of_many(&mut shard, 10), 600);
    shard.turn_to(at(20), &view(2, 1, &[1, 2]));
    assert_eq!(kept_of_many(&mut shard, 80), 300);
    // Where links are cut each side has the whole.
    shard.turn_to(at(90), &view(3, 1, &[1]));
    assert_eq!(kept_of_many(&mut shard, 160), 600);
}

/// Without `Kind::Load` in `Shard::hear` a node whose owners want nothing keeps its half for them.
#[test]
fn in_a_cluster_owners_divide_a_limit_by_what_they_want() {
    let (mut shard, mut other, mut host) = (node(1, &[1, 2]), node(2, &[1, 2]), Kept::default());
    // Each divides by what it has heard when it speaks itself, once a second.
    for (speaker, listener, demand) in [(2, 1, 100), (1, 2, 300), (2, 1, 100)] {
        let (from, to) = if speaker == 1 { (&mut shard, &mut other) } else { (&mut other, &mut shard) };
        from.share_load(at(70), &[demand], 0, true);
        from.tick(at(70), &mut host);
        for said in host.said.drain(..) {
            to.hear(at(70), (NodeId(speaker), Incarnation(1)), &said.bytes, &mut Kept::default());
        }
        assert_eq!(to.cluster().unwrap().view.own, NodeId(listener));
    }
    // A tenth in equal parts, and three quarters or a quarter of the rest.
    assert_eq!(kept_of_many(&mut shard, 80), 30 + 405);
    assert_eq!(kept_of_many(&mut other, 80), 30 + 135);
}
