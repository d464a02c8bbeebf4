//! Spans that are read from the log again leave with the threshold their trace was kept with, whichever shard reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Nanos, Origin, SegmentHandle, SpanMark};
use tailwater_tests::shard_host::Kept;
use tailwater_tests::shard_plan::roomy;

#[test]
fn a_cold_span_leaves_with_its_threshold_from_any_shard() {
    let half = Policy::new("half", Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 50.0 });
    let rules = Arc::new(Rules::compile(&Sampling { policies: vec![half], ..Sampling::default() }).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), ..roomy(0, 1, 7) };
    let mut owner = Shard::new(plan.clone(), rules.clone());
    let mut reader = Shard::new(plan, rules);
    let mut host = Kept::default();
    let span = Span { trace_id: vec![0xff; 16], span_id: vec![1; 8], ..Span::default() };
    let scope_spans = vec![ScopeSpans { spans: vec![span], ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    let body = ExportTraceServiceRequest { resource_spans }.encode_to_vec().into();
    let mut now = Nanos(Nanos::PER_SECOND);
    let origin = Origin { segment: SegmentHandle::new(0, 3), first_unit: 5 };
    let mut scanned = owner.scan(&body).unwrap();
    owner.accept(1);
    scanned.place(origin, now);
    for (_, batch) in scanned.batches {
        owner.take(now, batch, &mut host);
    }
    for _ in 0..40 {
        now = now.plus(Nanos::from_millis(100));
        while owner.tick(now, &mut host) {}
    }
    let [recalled] = host.recalled[..] else { panic!("one span left memory: {:?}", host.recalled) };
    assert_eq!((recalled.unit, recalled.mark), (origin.unit(0), SpanMark::new(1 << 55, false)));

    let mut again = reader.scan_again(&body).unwrap();
    again.place(origin, now);
    for (mark, expected, forgotten) in [(recalled.mark, "ot=th:8", 0), (SpanMark::UNKNOWN, "", 1)] {
        for (_, batch) in &again.batches {
            reader.export_again(now, batch, |_| Some(mark), Destinations::of(2), &mut host);
        }
        let request = host.requests.pop().unwrap();
        assert_eq!(request.units, [KeptUnit { unit: origin.unit(0), mark }], "it may have to wait once more");
        let sent = ExportTraceServiceRequest::decode(request.body).unwrap();
        assert_eq!(sent.resource_spans[0].scope_spans[0].spans[0].trace_state, expected);
        assert_eq!(reader.ledger().traces.marks_forgotten, forgotten);
    }
}
