//! Metric points merged: nothing panics, whatever the requests and partials; what is split is split the same again; what is
//! told of sound requests is OTLP that the reference decoder takes. The input is several requests, one behind the other:
//! each its length in two bytes, and which core it comes to and what happens then in a third.
#![no_main]

use libfuzzer_sys::fuzz_target;
use opentelemetry_proto::tonic::collector::metrics::v1::ExportMetricsServiceRequest;
use prost::Message;
use tailwater_proto::otlp::Signal;
use tailwater_proto::otlp::check::items;
use tailwater_proto::otlp::mend::mended;
use tailwater_rollup::metrics::plan::{Action, Aggregate, Bounds, Gauge, MetricsPlan, Rule, Selection, Temporality};
use tailwater_rollup::metrics::{MetricSums, Metrics, MetricsPartial, Passing};

fn plan() -> MetricsPlan {
    let how = Aggregate { attributes: Selection::Without(vec!["pod".into()]), ..Aggregate::default() };
    let delta = Aggregate { temporality: Temporality::Delta, gauge: Gauge::Sum, ..how.clone() };
    let rules = vec![
        Rule::new("keep*", Action::Keep),
        Rule::new("drop*", Action::Drop),
        Rule::new("d*", Action::Aggregate(delta)),
        Rule::new("*", Action::Aggregate(how)),
    ];
    MetricsPlan { rules, bounds: Bounds { series_max: 8, bytes_max: 16_384, buckets_max: 20, idle_nanos: 1 << 40 } }
}

fuzz_target!(|input: &[u8]| {
    let plan = plan();
    let bounds = plan.bounds;
    let mut tallies = [Metrics::new(plan.clone(), 1), Metrics::new(plan, 1)];
    let mut sums = MetricSums::new(bounds, 5);
    let (mut rest, mut now) = (input, 10_u64);
    while let [low, high, what, body @ ..] = rest {
        let length = usize::from(u16::from_le_bytes([*low, *high])).min(body.len());
        let request;
        (request, rest) = body.split_at(length);
        now += u64::from(*what) << 30;
        let tally = &mut tallies[usize::from(what & 1)];
        if what & 2 != 0 {
            // A partial that was stored, perhaps damaged.
            if let Ok(partial) = MetricsPartial::from_bytes(request) {
                let mut others = MetricSums::new(bounds, 5);
                others.merge(&partial);
                _ = others.emit(now, 1 << 12, true);
                others.expire(now);
                _ = others.to_partial().to_bytes();
            }
            continue;
        }
        // What is no OTLP is mended before; what is not mended does no harm.
        let Ok(sound) = mended(Signal::Metrics, request) else {
            tally.take(request, now, false);
            continue;
        };
        let request = sound.body.as_deref().unwrap_or(request);
        let taken = tally.take(request, now, true);
        assert_eq!(tally.take(request, now, false), taken);
        let passed = match &taken.passing {
            Passing::All => sound.items,
            Passing::Nothing => 0,
            Passing::Some(body) => items(Signal::Metrics, body).expect("what passes is sound"),
        };
        assert_eq!(passed + taken.merged + taken.dropped, sound.items);
        if what & 4 != 0 {
            let partial = tally.take_partial();
            assert!(MetricsPartial::from_bytes(&partial.to_bytes()).is_ok());
            sums.merge(&partial);
        }
        if what & 8 != 0 {
            let partial = MetricsPartial::from_bytes(&sums.to_partial().to_bytes()).expect("it was written by us");
            sums = MetricSums::new(bounds, now);
            sums.merge(&partial);
        }
        if what & 16 != 0 {
            sums.expire(now);
        }
    }
    tallies.iter_mut().for_each(|tally| sums.merge(&tally.take_partial()));
    for emitted in sums.emit(now + (1 << 50), 1 << 12, true) {
        ExportMetricsServiceRequest::decode(&emitted.body[..]).expect("what is told is OTLP");
    }
});
