//! Traces whose randomness came as the `rv` of one of their spans: what their other spans are compared with that come late,
//! or that are read from the log.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Destinations, Nanos, Origin, RandomnessKind, SegmentHandle, SpanMark};
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

/// Sends one span with a tracestate; what leaves has which.
fn through(shard: &mut Shard, host: &mut Kept, now: Nanos, span_id: u8, trace_state: &str) {
    // By its id the trace has the lowest randomness.
    let trace_id = [vec![1; 8], vec![0; 8]].concat();
    let span = Span { trace_id, span_id: vec![span_id; 8], trace_state: trace_state.into(), ..Span::default() };
    let mut scanned = shard.scan(&request_of(span)).unwrap();
    shard.accept(1);
    scanned.place(Origin { segment: SegmentHandle::new(0, 3), first_unit: u32::from(span_id) }, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

fn sent(host: &mut Kept) -> Vec<String> {
    let requests = std::mem::take(&mut host.requests).into_iter();
    let requests = requests.map(|request| ExportTraceServiceRequest::decode(request.body).unwrap());
    let spans = requests.flat_map(|request| request.resource_spans).flat_map(|each| each.scope_spans);
    spans.flat_map(|each| each.spans).map(|span| span.trace_state).collect()
}

#[test]
fn a_late_span_is_compared_with_the_randomness_that_another_span_of_its_trace_brought() {
    let half = Policy::new("half", Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 50.0 });
    let rules = Arc::new(Rules::compile(&Sampling { policies: vec![half], ..Sampling::default() }).unwrap());
    let mut shard = Shard::new(roomy(0, 1, 7), rules);
    let mut host = Kept::default();
    let at = |seconds: u64| Nanos(seconds * Nanos::PER_SECOND);
    through(&mut shard, &mut host, at(1), 1, "ot=rv:d0000000000000");
    while shard.tick(at(3), &mut host) {}
    while shard.tick(at(4), &mut host) {}
    assert_eq!(sent(&mut host), ["ot=rv:d0000000000000;th:8"]);
    through(&mut shard, &mut host, at(4), 2, "ot=th:c");
    through(&mut shard, &mut host, at(4), 3, "ot=th:e");
    while shard.tick(at(5), &mut host) {}
    while shard.tick(at(6), &mut host) {}
    assert_eq!(sent(&mut host), ["ot=th:c", "ot=th:8"], "the second could not have come with its threshold");
    assert_eq!((shard.mark_counts().inconsistent, shard.randomness_forgotten()), (1, 0));
}

#[test]
fn a_span_from_the_log_is_believed_its_threshold_where_another_span_brought_the_randomness() {
    let half = Policy::new("half", Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 50.0 });
    let rules = Arc::new(Rules::compile(&Sampling { policies: vec![half], ..Sampling::default() }).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), ..roomy(0, 1, 7) };
    let mut shard = Shard::new(plan, rules);
    let mut host = Kept::default();
    let mut now = Nanos(Nanos::PER_SECOND);
    through(&mut shard, &mut host, now, 1, "ot=rv:d0000000000000");
    through(&mut shard, &mut host, now, 2, "ot=th:c");
    for _ in 0..40 {
        now = now.plus(Nanos::from_millis(100));
        while shard.tick(now, &mut host) {}
    }
    let marks: Vec<SpanMark> = host.recalled.iter().map(|recalled| recalled.mark).collect();
    assert_eq!(marks, [SpanMark::new(1 << 55, RandomnessKind::Given); 2]);
    let trace_id = [vec![1; 8], vec![0; 8]].concat();
    let span = Span { trace_id, span_id: vec![2; 8], trace_state: "ot=th:c".into(), ..Span::default() };
    let mut again = shard.scan_again(&request_of(span)).unwrap();
    again.place(Origin { segment: SegmentHandle::new(0, 3), first_unit: 2 }, now);
    for (_, batch) in &again.batches {
        shard.export_again(now, batch, |_| Some(marks[1]), Destinations::of(2), &mut host);
    }
    assert_eq!(sent(&mut host), ["ot=th:c"]);
    assert_eq!(shard.mark_counts().inconsistent, 0);
}
