//! Shards of several pipelines that scan a request at once: what each accepts, refuses and counts is what it would by itself.
#![allow(clippy::unwrap_used, reason = "a test")]

use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span};
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::{ErrorMode, Policy, Rule, Sampling};
use tailwater_engine::intake::Scanned;
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_tests::shard_plan::roomy;

/// A sound span, a large one, and one with a bad id.
fn request() -> Bytes {
    let value = Some(AnyValue { value: Some(Value::StringValue("t".into())) });
    let text = KeyValue { key: "text".into(), value, ..KeyValue::default() };
    let span = |name: &str, id: usize| Span {
        trace_id: vec![7; 16],
        span_id: vec![1; id],
        name: name.into(),
        attributes: vec![text.clone()],
        ..Span::default()
    };
    let spans = vec![span("sound", 8), span(&"x".repeat(500), 8), span("bad", 3)];
    let scope_spans = vec![ScopeSpans { spans, ..ScopeSpans::default() }];
    let resource_spans = vec![ResourceSpans { scope_spans, ..ResourceSpans::default() }];
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

/// Two shards that take spans of so many bytes; the second has a condition that fails on every span.
fn shards(span_bytes_max: [u32; 2]) -> Vec<Shard> {
    let fails = Rule::OttlCondition {
        error_mode: ErrorMode::Ignore,
        span: vec![r#"attributes["text"][9] == 1"#.into()],
        spanevent: vec![],
    };
    let sets = [Rule::AlwaysSample, fails];
    let shard = |(span_bytes_max, rule)| {
        let sampling = Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::collector_default() };
        let plan = ShardPlan { span_bytes_max, ..roomy(0, 1, 7) };
        Shard::new(plan, Arc::new(Rules::compile(&sampling).unwrap()))
    };
    span_bytes_max.into_iter().zip(sets).map(shard).collect()
}

/// Accepted and refused spans of each, by one scan; that each by itself comes to the same is seen.
fn scan(span_bytes_max: [u32; 2]) -> Vec<(u32, u32)> {
    let (mut together, mut alone) = (shards(span_bytes_max), shards(span_bytes_max));
    let body = request();
    let all = Shard::scan_for_all(&mut together.iter_mut().collect::<Vec<_>>(), &body, None).unwrap();
    let each: Vec<Scanned> = alone.iter_mut().map(|shard| shard.scan(&body).unwrap()).collect();
    assert_eq!(format!("{all:?}"), format!("{each:?}"));
    for (together, alone) in together.iter().zip(&alone) {
        assert_eq!(format!("{:?}", together.ledger()), format!("{:?}", alone.ledger()));
    }
    assert_eq!(all[0].condition_failures, 0);
    assert_eq!(all[1].condition_failures, all[1].accepted, "one on each sound span");
    all.iter().map(|scanned| (scanned.accepted, scanned.refused)).collect()
}

/// Without `Shard::count_scanned` for each shard the second would know of no failure and no refusal.
#[test]
fn each_shard_counts_what_was_refused_and_its_own_failures() {
    assert_eq!(scan([1 << 20, 1 << 20]), [(2, 1), (2, 1)]);
}

/// A pipeline of little memory takes no span that it could never hold, others do: `Intake::scans_like`.
#[test]
fn a_span_may_be_too_large_for_one_of_them() {
    assert_eq!(scan([1 << 20, 300]), [(2, 1), (1, 2)]);
    assert_eq!(scan([300, 1 << 20]), [(1, 2), (2, 1)]);
}

/// Were it counted in each, a node's refused requests would be as many for each pipeline.
#[test]
fn a_request_that_is_no_otlp_is_counted_with_the_first() {
    let mut shards = shards([1 << 20, 1 << 20]);
    let whole = request();
    let cut = whole.slice(..whole.len() - 1);
    assert!(Shard::scan_for_all(&mut shards.iter_mut().collect::<Vec<_>>(), &cut, None).is_err());
    let refused: Vec<_> = shards.iter().map(|shard| shard.ledger().refused.requests).collect();
    assert_eq!(refused, [1, 0]);
}
