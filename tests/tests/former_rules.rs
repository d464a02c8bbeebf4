//! Traces that came under other rules than those in force. One whose bytes are in the log only is judged under the rules
//! that it came under, and its label is theirs; another weighs what it would if the rules had been there from the start.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, Rule, Sampling, Thresholds};
use tailwater_engine::explain::Explanation;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Nanos, Origin, SegmentHandle};
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

fn composite(sub_policies: &[&str]) -> Sampling {
    let policies = sub_policies.iter().map(|name| (Policy::new(name, Rule::AlwaysSample), 1000)).collect();
    let policy = Policy::new("both", Rule::Composite { spans_per_second_max: 1000, policies });
    Sampling { policies: vec![policy], thresholds: Thresholds::Collector, ..Sampling::default() }
}

fn send(shard: &mut Shard, now: Nanos, span_id: u8, host: &mut Kept) {
    let span = Span { trace_id: vec![7; 16], span_id: vec![span_id; 8], ..Span::default() };
    let mut scanned = shard.scan(&request_of(span)).unwrap();
    shard.accept(1);
    scanned.place(Origin { segment: SegmentHandle::new(0, 3), first_unit: u32::from(span_id) }, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

#[test]
fn the_sub_policy_in_a_label_is_that_of_the_rules_the_trace_was_judged_under() {
    let rules = Arc::new(Rules::compile(&composite(&["before"])).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), record_policy: true, ..roomy(0, 1, 7) };
    let mut shard = Shard::new(plan.clone(), rules.clone());
    let mut host = Kept::default();
    let at = |milliseconds: u64| Nanos(Nanos::PER_SECOND).plus(Nanos::from_millis(milliseconds));
    send(&mut shard, at(0), 1, &mut host);
    for step in 1..10 {
        while shard.tick(at(step * 20), &mut host) {}
    }
    assert_eq!(shard.ledger().traces.cold_spans, 1, "its bytes are in the log only");
    let after = Arc::new(Rules::compile_after(&composite(&["after"]), &rules).unwrap());
    assert!(shard.reload(at(200), &after, &plan, &mut host));
    send(&mut shard, at(900), 2, &mut host);
    for step in 0..10 {
        while shard.tick(at(1100 + step * 100), &mut host) {}
    }
    let sent = ExportTraceServiceRequest::decode(host.requests.pop().unwrap().body).unwrap();
    let text = format!("{:?}", sent.resource_spans[0].scope_spans[0].scope);
    assert!(text.contains("\"before\"") && !text.contains("\"after\""), "{text}");
}

/// What a pending trace weighs.
fn weight(shard: &mut Shard, now: Nanos) -> u32 {
    let Some(Explanation::Pending(pending)) = shard.explain(now, &[7; 16]) else { panic!("it is pending") };
    pending.reason.bytes
}

#[test]
fn what_is_around_spans_is_counted_when_a_limit_in_bytes_comes_later() {
    let of = |rule| Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::collector_default() };
    let plain = Arc::new(Rules::compile(&of(Rule::AlwaysSample)).unwrap());
    let by_bytes = of(Rule::BytesLimiting { bytes_per_second: 1000, burst_capacity: 0 });
    let from_the_start = Arc::new(Rules::compile(&by_bytes).unwrap());
    let later = Arc::new(Rules::compile_after(&by_bytes, &plain).unwrap());
    let plan = roomy(0, 1, 7);
    let mut host = Kept::default();
    let now = Nanos(Nanos::PER_SECOND);
    let mut expected = Shard::new(plan.clone(), from_the_start);
    let mut shard = Shard::new(plan.clone(), plain.clone());
    let mut other = Shard::new(plan.clone(), plain.clone());
    for each in [&mut expected, &mut shard, &mut other] {
        send(each, now, 1, &mut host);
    }
    // A span of two ids: fields 1 and 2.
    let span = 18 + 10;
    assert_eq!(weight(&mut other, now), span, "nothing asks for more");
    assert!(shard.reload(now, &later, &plan, &mut host));
    for each in [&mut expected, &mut shard, &mut other] {
        send(each, now, 2, &mut host);
    }
    assert_eq!(weight(&mut other, now), 2 * span);
    assert!(weight(&mut expected, now) > 2 * span);
    // Both came in one resource and one scope, that are kept once.
    let again = 2 * (3 + 2);
    assert_eq!(weight(&mut shard, now), weight(&mut expected, now) - again);
}
