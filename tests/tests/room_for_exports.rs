//! What is kept and gathered waits while the exporters have no room for it, whoever asks for it to be sent.

#![allow(clippy::unwrap_used, reason = "test code fails by panicking")]

use opentelemetry_proto::tonic::trace::v1::Span;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Nanos, Origin};
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

/// Fails without the question to `has_room` in `Shard::send_gathered`.
#[test]
fn what_is_gathered_is_sent_once_there_is_room() {
    let all = Policy::new("all", Rule::AlwaysSample);
    let rules = Arc::new(Rules::compile(&Sampling { policies: vec![all], ..Sampling::default() }).unwrap());
    let plan = ShardPlan { flush_interval: Nanos::from_millis(3_600_000), ..roomy(0, 1, 7) };
    let (mut shard, mut host) = (Shard::new(plan, rules), Kept::default());
    let mut now = Nanos(Nanos::PER_SECOND);
    let body = request_of(Span { trace_id: vec![1; 16], span_id: vec![1; 8], ..Span::default() });
    let mut scanned = shard.scan(&body).unwrap();
    shard.accept(1);
    scanned.place(Origin::NONE, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, &mut host);
    }
    now = now.plus(Nanos::from_millis(2000));
    while shard.tick(now, &mut host) {}
    assert!(host.requests.is_empty() && shard.ledger().has_exporting(), "judged, kept and gathered");

    host.is_full = true;
    shard.send_gathered(&mut host);
    assert!(host.requests.is_empty() && shard.ledger().has_exporting(), "nobody has room for it");

    host.is_full = false;
    shard.send_gathered(&mut host);
    assert_eq!(host.requests.len(), 1);
}
