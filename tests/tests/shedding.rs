//! Shedding in a cluster of two nodes: while one is under pressure both give up the same traces, and what is left stands for
//! all.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::collections::BTreeMap;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, RandomnessSource, Rule, Sampling};
use tailwater_engine::cluster::ClusterPlan;
use tailwater_engine::ledger::DropReason;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::Nanos;
use tailwater_proto::cluster::view::{Member, View};
use tailwater_proto::cluster::{Incarnation, NodeId};
use tailwater_proto::consistent::{NEVER, to_float};
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

const STEP: Nanos = Nanos::from_millis(50);
const STEPS_A_SECOND: u64 = 20;
/// Each has a span on either node, up to a second apart.
const TRACES_A_SECOND: u64 = 200;

/// A node: its shard, what it gives out, whether it is under pressure, and which one it is.
struct Node {
    shard: Shard,
    host: Kept,
    is_pressed: bool,
    id: NodeId,
}

fn node(number: u64) -> Node {
    let member = |node| Member { node: NodeId(node), incarnation: Incarnation(1), shards: 1, is_leaving: false };
    let view = View::new(1, NodeId(number), vec![member(1), member(2)]);
    let cluster = ClusterPlan {
        pipeline: 7,
        evidence_delay: Nanos::from_millis(250),
        answer_wait: Nanos::from_millis(1_000),
        hold_max: Nanos::from_millis(10_000),
        rules_wait: Nanos::from_millis(1_000),
        docket_traces_max: 100_000,
        message_bytes_max: 1_200,
        shed_level_max: 2,
    };
    let sampling = Sampling { policies: vec![Policy::new("all", Rule::AlwaysSample)], ..Sampling::default() };
    let plan = ShardPlan { randomness: RandomnessSource::TraceId, ..roomy(0, 1, 7) };
    let mut shard = Shard::new(plan, Arc::new(Rules::compile(&sampling).unwrap()));
    shard.join(Nanos(0), cluster, Arc::new(view));
    Node { shard, host: Kept::default(), is_pressed: false, id: NodeId(number) }
}

fn trace_id(trace: u64) -> [u8; 16] {
    let mixed = (trace + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (u128::from(mixed) << 64 | u128::from(mixed ^ mixed >> 31)).to_be_bytes()
}

fn receive(node: &mut Node, now: Nanos, trace: u64) {
    let span_id = (2 * trace + node.id.0).to_be_bytes().to_vec();
    let span = Span { trace_id: trace_id(trace).to_vec(), span_id, ..Span::default() };
    let scanned = node.shard.scan(&request_of(span)).unwrap();
    node.shard.accept(scanned.spans());
    for (_, mut batch) in scanned.batches {
        batch.arrived = now;
        node.shard.take(now, batch, &mut node.host);
    }
}

/// Goes on by a step, in which each hears what the other said.
fn step(nodes: &mut [Node; 2], now: Nanos, is_second: bool) {
    for node in nodes.iter_mut() {
        if is_second {
            let level = node.shard.want_to_shed(now, node.is_pressed);
            node.shard.share_load(now, &[], level, true);
        }
        while node.shard.tick(now, &mut node.host) {}
    }
    let [first, second] = nodes;
    let pass_on = |from: &mut Node, to: &mut Node| {
        for said in from.host.said.drain(..) {
            to.shard.hear(now, (from.id, Incarnation(1)), &said.bytes, &mut to.host);
        }
    };
    pass_on(first, second);
    pass_on(second, first);
}

/// Of each exported trace how many spans there are, and the threshold that they left with.
fn exported(nodes: &[Node; 2]) -> BTreeMap<Vec<u8>, (u32, u64)> {
    let mut found: BTreeMap<Vec<u8>, (u32, u64)> = BTreeMap::new();
    for request in nodes.iter().flat_map(|node| &node.host.requests) {
        let request = ExportTraceServiceRequest::decode(&request.body[..]).unwrap();
        let scopes = request.resource_spans.into_iter().flat_map(|resource| resource.scope_spans);
        for span in scopes.flat_map(|scope| scope.spans) {
            let digits = span.trace_state.split("th:").nth(1).unwrap_or("0");
            let digits: String = digits.chars().take_while(char::is_ascii_hexdigit).collect();
            let threshold = u64::from_str_radix(&format!("{digits:0<14}"), 16).unwrap();
            let trace = found.entry(span.trace_id).or_insert((0, threshold));
            assert_eq!(trace.1, threshold, "spans of a trace leave with the same threshold");
            trace.0 += 1;
        }
    }
    found
}

/// Breaks where spans are shed before all owners know (`Shed::turn`), where an owner keeps what others have shed
/// (`Bench::rule`), and where what is kept does not say that it stands for more.
#[test]
fn what_one_node_sheds_all_shed_and_what_is_left_stands_for_it() {
    let (mut nodes, mut sent, mut late) = ([node(1), node(2)], 0u64, BTreeMap::<u64, Vec<(usize, u64)>>::new());
    // Long enough that nobody asks what was before; the pressure comes and goes twice.
    for number in 70 * STEPS_A_SECOND..300 * STEPS_A_SECOND {
        let (now, second) = (Nanos(number * STEP.0), number / STEPS_A_SECOND);
        nodes[0].is_pressed = (90..130).contains(&second);
        nodes[1].is_pressed = (170..172).contains(&second);
        if second < 240 {
            for _ in 0..TRACES_A_SECOND / STEPS_A_SECOND {
                let first = usize::from(sent.is_multiple_of(3));
                receive(&mut nodes[first], now, sent);
                late.entry(number + sent * 7 % STEPS_A_SECOND).or_default().push((1 - first, sent));
                sent += 1;
            }
        }
        for (node, trace) in late.remove(&number).unwrap_or_default() {
            receive(&mut nodes[node], now, trace);
        }
        step(&mut nodes, now, number.is_multiple_of(STEPS_A_SECOND));
    }
    let found = exported(&nodes);
    let partial = found.values().filter(|(spans, _)| *spans != 2).count();
    assert_eq!(partial, 0, "of {} traces", found.len());
    let stands_for: f64 = found.values().map(|(_, threshold)| to_float(NEVER) / to_float(NEVER - threshold)).sum();
    assert!((stands_for / to_float(sent) - 1.0).abs() < 0.02, "{stands_for} of {sent}");
    assert!(found.len() as u64 * 4 < sent * 3, "{} of {sent} were kept", found.len());
    for node in &nodes {
        let spans = node.shard.ledger().spans;
        assert!(spans.dropped[DropReason::Shed as usize] > sent / 8, "both shed, whoever is under pressure");
        assert_eq!(spans.dropped.iter().sum::<u64>() + spans.exporting, sent);
    }
}
