//! Traces in pieces, as requests of one span each.

use crate::rules::Rules;
use crate::trial::Trial;
use crate::vocabulary::Verdict;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::KeyValue;
use opentelemetry_proto::tonic::resource::v1::Resource;
use opentelemetry_proto::tonic::trace::v1::{ResourceSpans, ScopeSpans, Span, Status};
use prost::Message;
use std::sync::Arc;
use std::time::Duration;
use tailwater_config::sampling::{Policy, Rule, Sampling, Strategy};

/// Of a trace by its number, whether it has an error, and when it ended, seconds.
type Piece = (u128, bool, u64);

fn span((trace, is_error, second): Piece) -> Span {
    Span {
        trace_id: trace.to_be_bytes().to_vec(),
        span_id: (second + 1).to_be_bytes().to_vec(),
        parent_span_id: vec![1; 8],
        start_time_unix_nano: second * 1_000_000_000,
        end_time_unix_nano: second * 1_000_000_000,
        status: is_error.then(|| Status { code: 2, ..Default::default() }),
        ..Default::default()
    }
}

/// A request of these spans, each in a resource of its own or all in one.
fn request(pieces: &[Piece], is_one: bool) -> Bytes {
    let spans: Vec<Span> = pieces.iter().copied().map(span).collect();
    let named = KeyValue { key: "service.name".into(), ..Default::default() };
    let resource = |spans: Vec<Span>| ResourceSpans {
        resource: Some(Resource { attributes: vec![named.clone()], ..Default::default() }),
        scope_spans: vec![ScopeSpans { spans, ..Default::default() }],
        ..Default::default()
    };
    let resource_spans = match is_one {
        true => vec![resource(spans)],
        false => spans.into_iter().map(|span| resource(vec![span])).collect(),
    };
    ExportTraceServiceRequest { resource_spans }.encode_to_vec().into()
}

fn sampling(rule: Rule) -> Sampling {
    Sampling {
        policies: vec![Policy::new("a", rule)],
        strategy: Strategy::SpanIngest,
        decision_wait: Duration::from_secs(10),
        decision_wait_after_root_received: Duration::ZERO,
        ..Sampling::default()
    }
}

fn errors() -> Rule {
    Rule::StatusCode { ok: false, error: true, unset: false }
}

/// What each trace came to: its number, spans, and whether it was kept.
fn tried(sampling: &Sampling, requests: &[Bytes]) -> Vec<(u128, u32, bool)> {
    let rules = Arc::new(Rules::compile(sampling).unwrap());
    let mut trial = Trial::new(rules, sampling);
    requests.iter().for_each(|request| _ = trial.take(request).unwrap());
    let mut told = Vec::new();
    trial.finish(|judgement| {
        let is_kept = matches!(judgement.ballot.verdict, Verdict::Keep(0));
        assert_eq!(judgement.votes[0].decided, u64::from(is_kept));
        assert!(judgement.votes[0].matched + judgement.votes[0].unmatched <= 1, "one vote on a trace");
        told.push((u128::from_be_bytes(*judgement.trace_id), judgement.spans, is_kept));
    });
    told
}

#[test]
fn pieces_are_asked_about_one_by_one() {
    // An error in one piece and a second span in another: no piece has both.
    let both = Rule::And(vec![Policy::new("e", errors()), Policy::new("two", Rule::SpanCount { min: 2, max: 0 })]);
    let apart = [request(&[(1, true, 0)], true), request(&[(1, false, 1)], true)];
    assert_eq!(tried(&sampling(both.clone()), &apart), [(1, 2, false)]);
    let whole = Sampling { strategy: Strategy::TraceComplete, ..sampling(both.clone()) };
    assert_eq!(tried(&whole, &apart), [(1, 2, true)]);
    // The size is that of all so far; a resource of its own is a piece of its own.
    assert_eq!(tried(&sampling(both.clone()), &[apart[1].clone(), apart[0].clone()]), [(1, 2, true)]);
    assert_eq!(tried(&sampling(both.clone()), &[request(&[(1, true, 0), (1, false, 1)], true)]), [(1, 2, true)]);
    assert_eq!(tried(&sampling(both), &[request(&[(1, true, 0), (1, false, 1)], false)]), [(1, 2, false)]);
}

#[test]
fn what_nothing_decided_is_dropped_when_its_wait_is_over() {
    let late = [request(&[(1, false, 0), (2, false, 0)], true), request(&[(1, true, 9), (2, false, 9)], true)];
    assert_eq!(tried(&sampling(errors()), &late), [(1, 2, true), (2, 2, false)]);
    let too_late = [late[0].clone(), request(&[(1, true, 10)], true)];
    assert_eq!(tried(&sampling(errors()), &too_late), [(1, 2, false), (2, 1, false)]);
    // Where no verdict of a dropped trace is remembered it begins anew.
    let forgetful = Sampling { non_sampled_cache_size: 0, ..sampling(errors()) };
    assert_eq!(tried(&forgetful, &too_late), [(1, 1, false), (2, 1, false), (1, 1, true)]);
    let with_root = |span: Span| Span { parent_span_id: Vec::new(), ..span };
    let scope_spans = vec![ScopeSpans { spans: vec![with_root(span((1, false, 0)))], ..Default::default() }];
    let root = ExportTraceServiceRequest { resource_spans: vec![ResourceSpans { scope_spans, ..Default::default() }] };
    let root = Bytes::from(root.encode_to_vec());
    let quick = Sampling { decision_wait_after_root_received: Duration::from_secs(2), ..sampling(errors()) };
    assert_eq!(tried(&quick, &[root.clone(), request(&[(1, true, 1)], true)]), [(1, 2, true)]);
    assert_eq!(tried(&quick, &[root, request(&[(1, true, 2)], true)]), [(1, 2, false)]);
}

#[test]
fn pieces_are_charged_to_limits() {
    let limited = Rule::RateLimiting { spans_per_second: 20, burst_capacity: 20 };
    let sampling = sampling(limited);
    let mut trial = Trial::new(Arc::new(Rules::compile(&sampling).unwrap()), &sampling);
    let (mut state, mut number) = (1u64, 0u128);
    for second in 1..=100 {
        let pieces: Vec<Piece> = (0..100)
            .map(|_| {
                state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
                number += 1;
                (number << 64 | u128::from(state >> 8), false, second)
            })
            .collect();
        trial.take(&request(&pieces, false)).unwrap();
    }
    let mut kept = 0;
    trial.finish(|judgement| kept += u64::from(judgement.ballot.verdict != Verdict::Drop));
    assert!((1_600..=2_400).contains(&kept), "{kept} traces of one span in 100 seconds, of 2000");
}
