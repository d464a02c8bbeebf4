//! Spans that are read from the log again, or come after the verdict, leave with what their trace was kept with: threshold,
//! annotations and the name of the policy, whichever shard reads them.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test")]

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::native::Sampler;
use tailwater_config::sampling::{Policy, Rule, Sampling};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::{Destinations, KeptUnit, Nanos, Origin, RandomnessKind, SegmentHandle, SpanMark};
use tailwater_tests::own_rules::one_rule;
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

fn body(number: u8) -> Bytes {
    let span = Span { trace_id: vec![0xff; 16], span_id: vec![number; 8], ..Span::default() };
    request_of(span)
}

fn take(shard: &mut Shard, now: Nanos, body: &Bytes, origin: Origin, host: &mut Kept) {
    let mut scanned = shard.scan(body).unwrap();
    shard.accept(1);
    scanned.place(origin, now);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, host);
    }
}

#[test]
fn a_cold_span_leaves_with_its_threshold_from_any_shard() {
    let half = Policy::new("half", Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: 50.0 });
    let rules = Arc::new(Rules::compile(&Sampling { policies: vec![half], ..Sampling::default() }).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), ..roomy(0, 1, 7) };
    let mut owner = Shard::new(plan.clone(), rules.clone());
    let mut reader = Shard::new(plan, rules);
    let mut host = Kept::default();
    let body = body(1);
    let mut now = Nanos(Nanos::PER_SECOND);
    let origin = Origin { segment: SegmentHandle::new(0, 3), first_unit: 5 };
    take(&mut owner, now, &body, origin, &mut host);
    for _ in 0..40 {
        now = now.plus(Nanos::from_millis(100));
        while owner.tick(now, &mut host) {}
    }
    let [recalled] = host.recalled[..] else { panic!("one span left memory: {:?}", host.recalled) };
    assert_eq!((recalled.unit, recalled.mark), (origin.unit(0), SpanMark::new(1 << 55, RandomnessKind::Id)));

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

/// Rules that annotate what they keep: `keeper` with the outer and the inner text.
fn annotating(texts: &[&str]) -> Sampling {
    let mut sampler = Sampler::AlwaysOn;
    for text in texts {
        let attributes = vec![((*text).to_string(), "yes".to_string())];
        sampler = Sampler::Annotating { attributes, sampler: Box::new(sampler) };
    }
    one_rule("keeper", sampler)
}

/// The keys of the attributes of the only span that was sent last, and the policy in its scope.
fn sent(host: &mut Kept) -> (Vec<String>, Option<String>) {
    let request = host.requests.pop().unwrap();
    let sent = ExportTraceServiceRequest::decode(request.body).unwrap();
    let scope_spans = &sent.resource_spans[0].scope_spans[0];
    let keys = scope_spans.spans[0].attributes.iter().map(|attribute| attribute.key.clone()).collect();
    let attributes = scope_spans.scope.clone().unwrap_or_default().attributes;
    let policy = attributes.into_iter().find(|attribute| attribute.key == "tailsampling.policy");
    let policy = policy.map(|policy| match policy.value.unwrap().value {
        Some(Value::StringValue(text)) => text,
        other => panic!("{other:?}"),
    });
    (keys, policy)
}

#[test]
fn late_and_cold_spans_have_annotations_and_the_name_of_the_policy() {
    let rules = Arc::new(Rules::compile(&annotating(&["inner", "outer"])).unwrap());
    let plan = ShardPlan { cold_after: Nanos::from_millis(20), record_policy: true, ..roomy(0, 1, 7) };
    let mut owner = Shard::new(plan.clone(), rules.clone());
    let mut reader = Shard::new(plan.clone(), rules.clone());
    let mut host = Kept::default();
    let mut now = Nanos(Nanos::PER_SECOND);
    let origin = |unit| Origin { segment: SegmentHandle::new(0, 3), first_unit: unit };
    take(&mut owner, now, &body(1), origin(5), &mut host);
    let mut wait = |owner: &mut Shard, host: &mut Kept| {
        for _ in 0..40 {
            now = now.plus(Nanos::from_millis(100));
            while owner.tick(now, host) {}
        }
        now
    };
    let now = wait(&mut owner, &mut host);
    let expected = (vec!["inner".to_string(), "outer".to_string()], Some("keeper".to_string()));
    // Others have come in force, and the annotations' numbers still mean the same.
    let others = Arc::new(Rules::compile_after(&annotating(&["another"]), &rules).unwrap());
    assert!(owner.reload(now, &others, &plan, &mut host) && reader.reload(now, &others, &plan, &mut host));
    let [recalled] = host.recalled[..] else { panic!("one span left memory: {:?}", host.recalled) };
    let mut again = reader.scan_again(&body(1)).unwrap();
    again.place(origin(5), now);
    for (_, batch) in &again.batches {
        reader.export_again(now, batch, |_| Some(recalled.mark), Destinations::of(2), &mut host);
    }
    assert_eq!(sent(&mut host), expected);

    take(&mut owner, now, &body(2), origin(6), &mut host);
    let now = wait(&mut owner, &mut host);
    assert_eq!(owner.ledger().traces.late_kept_spans, 1);
    let late = host.requests.last().unwrap().units[0];
    assert_eq!(sent(&mut host), expected);
    // An exporter could not take it: it waits in the log with what it has to leave with.
    let mut again = reader.scan_again(&body(2)).unwrap();
    again.place(origin(6), now);
    for (_, batch) in &again.batches {
        reader.export_again(now, batch, |_| Some(late.mark), Destinations::of(2), &mut host);
    }
    let request = host.requests.last().unwrap().clone();
    assert!(request.body.windows(28).any(|part| part == b"tailsampling.cached_decision"), "it came late");
    assert_eq!(sent(&mut host), expected);
    assert_eq!(reader.ledger().traces.marks_forgotten, 0);
}
