//! Known vectors of consistent probability sampling (OTEP 235, OTEP 250) through a shard: a trace of one span with this id,
//! this tracestate and these flags is kept or not, and leaves with that tracestate. They are those of the Collector's
//! `probabilisticsampler` in its equalizing mode, which is what a threshold of its own and one of the rule come to, and of
//! the composite samplers of SDKs. Thresholds are of its default precision, four digits after the leading `f`s; what is
//! added to an `ot` member stands behind what was there.

#![allow(clippy::unwrap_used, clippy::panic, reason = "a test")]

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::trace::v1::Span;
use prost::Message;
use std::sync::Arc;
use tailwater_config::sampling::native::Sampler;
use tailwater_config::sampling::{Policy, RandomnessSource, Rule, Sampling};
use tailwater_engine::rules::Rules;
use tailwater_engine::shard::{Shard, ShardPlan};
use tailwater_engine::vocabulary::Nanos;
use tailwater_tests::own_rules::one_rule;
use tailwater_tests::shard_host::{Kept, request_of};
use tailwater_tests::shard_plan::roomy;

/// What comes.
#[derive(Clone, Copy)]
struct Input {
    /// The last 7 bytes of the trace id; 9 bytes `fe` stand before them.
    id: u64,
    state: &'static str,
    flags: u32,
    is_root: bool,
}

/// A root span of that randomness and tracestate, whose id is random.
const fn root(id: u64, state: &'static str) -> Input {
    Input { id, state, flags: 0x2, is_root: true }
}

/// Its tracestate as it leaves; none when it is dropped.
fn outcome(sampling: Sampling, input: Input) -> Option<String> {
    let rules = Arc::new(Rules::compile(&sampling).unwrap());
    let plan = ShardPlan { writes_threshold_zero: true, randomness: RandomnessSource::TraceId, ..roomy(0, 1, 5) };
    let mut shard = Shard::new(plan, rules);
    let mut trace_id = vec![0xfe; 9];
    trace_id.extend_from_slice(&input.id.to_be_bytes()[1..]);
    let parent = if input.is_root { Vec::new() } else { vec![9; 8] };
    let span = Span {
        trace_id,
        span_id: vec![1; 8],
        parent_span_id: parent,
        trace_state: input.state.to_string(),
        flags: input.flags,
        ..Span::default()
    };
    let body = request_of(span);
    let (mut now, mut host) = (Nanos(Nanos::PER_SECOND), Kept::default());
    let scanned = shard.scan(&body).unwrap();
    shard.accept(1);
    for (_, batch) in scanned.batches {
        shard.take(now, batch, &mut host);
    }
    for _ in 0..40 {
        now = now.plus(Nanos::from_millis(100));
        while shard.tick(now, &mut host) {}
    }
    let request = host.requests.pop()?;
    let sent = ExportTraceServiceRequest::decode(request.body).unwrap();
    Some(sent.resource_spans[0].scope_spans[0].spans[0].trace_state.clone())
}

fn percent(percentage: f64) -> Sampling {
    let rule = Rule::Probabilistic { hash_salt: String::new(), sampling_percentage: percentage };
    Sampling { policies: vec![Policy::new("p", rule)], ..Sampling::default() }
}

fn native(sampler: Sampler) -> Sampling {
    one_rule("r", sampler)
}

/// Randomness: the id's byte 9 and zeros.
const fn high(byte: u64) -> u64 {
    byte << 48
}

#[test]
fn a_share_of_what_came_with_and_without_a_threshold() {
    let all = high(0x100) - 1;
    let vectors: [(f64, Input, Option<&str>); 22] = [
        (100.0, root(high(0x80), ""), Some("ot=th:0")),
        (50.0, root(high(0x80), ""), Some("ot=th:8")),
        (49.0, root(high(0x80), ""), None),
        (25.0, root(high(0xc0), ""), Some("ot=th:c")),
        (25.0, root(high(0xb0), ""), None),
        (1.0, root(0, "ot=rv:fd70a3d70a3d71"), Some("ot=rv:fd70a3d70a3d71;th:fd70a")),
        (1.0, root(all, "ot=rv:fd709fffffffff"), None),
        (1.0, root(all, "ot=rv:00000000000070"), None),
        (1.0, root(high(0xfe), ""), Some("ot=th:fd70a")),
        // The same threshold with zeros behind it: what does not change leaves as it came.
        (50.0, root(0, "ot=rv:90000000000000;th:80000000000000"), Some("ot=rv:90000000000000;th:80000000000000")),
        (25.0, root(high(0x80), "ot=th:8"), None),
        (25.0, root(all, "ot=th:8"), Some("ot=th:c")),
        (50.0, root(0, "ot=rv:c0000000000000;th:8"), Some("ot=rv:c0000000000000;th:8")),
        // Inconsistent: it would have been sampled away. Its threshold says nothing and does not hold.
        (100.0, root(0, "ot=rv:40000000000000;th:8"), Some("ot=rv:40000000000000;th:0")),
        (40.0, root(0, "ot=rv:a0000000000000"), Some("ot=rv:a0000000000000;th:999a")),
        (40.0, root(high(0xd0), "ot=th:8"), Some("ot=th:999a")),
        (40.0, root(high(0xb0), "ot=th:8"), Some("ot=th:999a")),
        (40.0, root(high(0x80), "ot=th:8"), None),
        (100.0 / 16384.0, root(all, "ot=th:fffc"), Some("ot=th:fffc")),
        (0.0625, root(all, "ot=th:fffffffffffff8"), Some("ot=th:fffffffffffff8")),
        (25.0, root(all, "a=1,ot=th:8;x:y,b=2"), Some("ot=th:c;x:y,a=1,b=2")),
        (100.0, root(high(0x80), "ot=th:8"), Some("ot=th:8")),
    ];
    for (percentage, input, expected) in vectors {
        let came = outcome(percent(percentage), input);
        assert_eq!(came.as_deref(), expected, "{percentage} % of {:014x} {}", input.id, input.state);
    }
}

#[test]
fn half_is_decided_by_the_last_seven_bytes() {
    for (id, is_kept) in [(0, false), (high(0x80) - 1, false), (high(0x80), true), (high(0x100) - 1, true)] {
        assert_eq!(outcome(percent(50.0), root(id, "")).is_some(), is_kept, "{id:014x}");
    }
    let (low, high) = (percent(100.0 - 43.2), percent(100.0 - 43.0));
    let state = "ot=rv:6e6d1a75832a2f";
    assert!(outcome(low, root(0, state)).is_none() && outcome(high, root(0, state)).is_some());
}

#[test]
fn composite_samplers_of_senders_go_on_here() {
    let parents = |sampler| native(Sampler::ParentThreshold(Box::new(sampler)));
    assert_eq!(outcome(native(Sampler::AlwaysOn), root(1, "")).as_deref(), Some("ot=th:0"));
    assert_eq!(outcome(parents(Sampler::AlwaysOn), root(1, "")).as_deref(), Some("ot=th:0"), "the sampler for roots");
    let child = |flags, state| Input { is_root: false, flags, ..root(high(0xab), state) };
    assert_eq!(outcome(parents(Sampler::AlwaysOn), child(0, "")), None, "of a span that was not sampled");
    assert!(outcome(parents(Sampler::AlwaysOff), child(1, "")).is_some(), "of one that was, whatever roots would be");
    assert_eq!(outcome(parents(Sampler::AlwaysOff), child(1, "ot=th:8")).as_deref(), Some("ot=th:8"));
    let half = native(Sampler::Probability(0.5));
    let kept = outcome(half, child(1, "ot=rv:ababababababab"));
    assert_eq!(kept.as_deref(), Some("ot=rv:ababababababab;th:8"));
    let off = native(Sampler::AlwaysOff);
    assert_eq!(outcome(off, child(1, "ot=th:0")), None);
}
