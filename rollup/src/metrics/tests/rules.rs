//! Which points are merged, and what comes out: the rules of the plan and those of OTLP's data model, one test each.

use super::*;
use crate::metrics::plan::{Gauge as GaugeRule, Temporality};
use opentelemetry_proto::tonic::common::v1::ArrayValue;
use opentelemetry_proto::tonic::metrics::v1::{Exemplar, Summary, SummaryDataPoint, exponential_histogram_data_point};

#[test]
fn the_first_rule_says_what_passes() {
    let rules = vec![
        Rule::new("drop.*", Action::Drop),
        Rule::new("other.*", Action::Aggregate(aggregate())).of_service("another"),
        Rule::new("sum.*", Action::Aggregate(aggregate())),
        Rule::new("sum", Action::Keep),
    ];
    let mut tally = Metrics::new(MetricsPlan { rules, bounds: Bounds::default() }, SEED);
    let points = |count: i64| (0..count).map(|value| int(1, 2, value, &[])).collect::<Vec<_>>();
    let metrics = vec![
        sum("sum", DELTA, true, points(2)),
        sum("sum.a", DELTA, true, points(3)),
        gauge("drop.a", points(1)),
        gauge("other.a", points(2)),
        gauge("drop.b", points(4)),
    ];
    let whole = request(metrics.clone());
    let taken = tally.take(&whole, SINCE, true);
    assert_eq!((taken.merged, taken.dropped, &taken.passing_positions[..]), (3, 5, &[0, 1, 6, 7][..]));
    let Passing::Some(body) = &taken.passing else { panic!("{taken:?}") };
    let expected = request(vec![metrics[0].clone(), metrics[3].clone()]);
    assert_eq!(*body, expected);
    // Read again it is split the same, and nothing is counted.
    let (counts, mut other) = (tally.counts(), Metrics::new(tally.plan.clone(), SEED));
    assert_eq!(other.take(&whole, 0, false), taken);
    assert_eq!((other.counts().passed, other.take_partial().is_empty()), (0, true));
    assert_eq!((counts.passed, counts.merged, counts.dropped), (4, 3, 5));
    // All or nothing is not copied.
    assert_eq!(tally.take(&expected, 0, true).passing, Passing::All);
    let nothing = tally.take(&request(vec![metrics[1].clone()]), 0, true);
    assert_eq!((nothing.passing, nothing.passing_positions), (Passing::Nothing, vec![]));
    assert_eq!(
        tally.take(&[], 0, true),
        Taken { passing: Passing::All, passing_positions: vec![], merged: 0, dropped: 0 }
    );
}

#[test]
fn other_rules_hold_from_then_on_and_what_was_counted_stays() {
    let mut tally = tally(aggregate());
    let one = request(vec![sum("s", DELTA, true, vec![int(0, 1, 5, &[])])]);
    assert_eq!(tally.take(&one, SINCE, true).merged, 1);
    tally.replan(MetricsPlan { rules: vec![Rule::new("*", Action::Keep)], bounds: Bounds::default() });
    assert_eq!(tally.take(&one, SINCE, true).passing, Passing::All);
    let mut sums = sums();
    sums.merge(&partial_of(&mut tally));
    assert_eq!(numbers(&mut sums, SINCE + 60 * SECOND)["s{}"].int(), 5);
}

#[test]
fn what_cannot_be_merged_passes_and_is_counted() {
    let summary = Summary { data_points: vec![SummaryDataPoint::default(); 2] };
    let wrong =
        HistogramDataPoint { count: 3, bucket_counts: vec![1, 1], explicit_bounds: vec![1.0], ..Default::default() };
    let finer = ExponentialHistogramDataPoint { count: 2, zero_count: 1, ..Default::default() };
    let without_value = NumberDataPoint { value: None, ..int(1, 2, 3, &[]) };
    let metrics = vec![
        Metric { name: "summary".into(), data: Some(Data::Summary(summary)), ..Metric::default() },
        sum("temporality", 0, true, vec![int(1, 2, 3, &[])]),
        histogram("counts", DELTA, vec![wrong]),
        exponential("counts", DELTA, vec![finer]),
        gauge("value", vec![without_value, double(1, 2, f64::NAN, &[])]),
        sum("good", DELTA, true, vec![int(1, 2, 3, &[])]),
    ];
    let mut tally = tally(aggregate());
    let taken = tally.take(&request(metrics), SINCE, true);
    assert_eq!((taken.passing_positions, taken.merged), ((0..7).collect(), 1));
    assert_eq!((tally.counts().unmergeable, tally.counts().passed), (7, 7));
}

#[test]
fn attributes_that_are_not_selected_merge_their_series() {
    let points = |host: &str| {
        let pods =
            [("a", 1), ("b", 2)].map(|(pod, value)| int(1, 2, value, &[("pod", pod), ("route", "/"), ("code", "200")]));
        request_of(&[("host.name", host), ("service.name", "shop")], vec![sum("requests", DELTA, true, pods.to_vec())])
    };
    let mut merged = merged(aggregate(), &[points("h1"), points("h2")]);
    let told = metrics_told(&mut merged, SINCE + 60 * SECOND);
    assert_eq!(told.len(), 1);
    assert_eq!((told[0].0.as_str(), told[0].1.unit.as_str()), ("service.name=shop", "1"));
    let Some(Data::Sum(Sum { data_points, aggregation_temporality, is_monotonic })) = &told[0].1.data else { panic!() };
    assert_eq!((*aggregation_temporality, *is_monotonic, data_points.len()), (CUMULATIVE, true, 1));
    assert_eq!(data_points[0].value, Some(number_data_point::Value::AsInt(6)));
    assert_eq!(text(&data_points[0].attributes), "code=200,route=/");
}

#[test]
fn attributes_are_a_set() {
    let one = int(1, 2, 1, &[("b", "1"), ("a", "2")]);
    let other = int(1, 2, 2, &[("a", "2"), ("b", "1")]);
    let mut merged = merged(aggregate(), &[request(vec![sum("s", DELTA, true, vec![one, other])])]);
    assert_eq!(numbers(&mut merged, SINCE + 60 * SECOND)["s{a=2,b=1}"].int(), 3);
}

#[test]
fn series_differ_by_name_unit_kind_and_scope() {
    let point = || vec![int(1, 2, 1, &[])];
    let metrics = vec![
        sum("s", DELTA, true, point()),
        sum("s", DELTA, false, point()),
        Metric { unit: "By".into(), ..sum("s", DELTA, true, point()) },
        sum("t", DELTA, true, point()),
        gauge("s", point()),
        Metric { description: "tells nothing apart".into(), ..sum("s", DELTA, true, point()) },
    ];
    let mut merged = merged(aggregate(), &[request(metrics)]);
    assert_eq!(merged.series_count(), 5);
    assert_eq!(metrics_told(&mut merged, SINCE + 60 * SECOND).len(), 5);
}

#[test]
fn delta_output_tells_each_once_and_times_follow_on_one_another() {
    let how = Aggregate { temporality: Temporality::Delta, ..aggregate() };
    let (mut tally, mut sums) = (tally(how), sums());
    let mut total = 0;
    let mut former = SINCE - SINCE % (60 * SECOND);
    for window in 1..5_u64 {
        let now = (SINCE / (60 * SECOND) + window) * 60 * SECOND;
        for value in [window as i64, 10] {
            tally.take(&request(vec![sum("s", DELTA, true, vec![int(0, now - 5, value, &[])])]), now - 5, true);
            sums.merge(&tally.take_partial());
        }
        assert!(sums.emit(now - 1, usize::MAX, false).is_empty(), "the window has not ended");
        let told = numbers(&mut sums, now);
        total += told["s{}"].int();
        assert_eq!((told["s{}"].start, told["s{}"].time), (former.max(SINCE), now));
        former = now;
        assert!(sums.emit(now + 1, usize::MAX, true).is_empty(), "nothing is new");
        former = former.max(now + 1);
    }
    assert_eq!(total, 1 + 2 + 3 + 4 + 40);
}

#[test]
fn cumulative_output_goes_on_from_its_first_start() {
    let (mut tally, mut sums) = (tally(aggregate()), sums());
    for window in 1..4_u64 {
        tally.take(&request(vec![sum("s", DELTA, true, vec![int(0, 1, 5, &[])])]), SINCE, true);
        sums.merge(&tally.take_partial());
        let told = numbers(&mut sums, SINCE + window * 60 * SECOND);
        assert_eq!((told["s{}"].int(), told["s{}"].start), (5 * window as i64, SINCE));
    }
}

#[test]
fn integers_stay_integers_and_doubles_make_doubles() {
    let big = (1 << 60) + 1;
    let points = vec![
        int(0, 1, big, &[("k", "i")]),
        int(0, 1, big, &[("k", "i")]),
        double(0, 1, 0.5, &[("k", "d")]),
        int(0, 1, 1, &[("k", "d")]),
    ];
    let mut merged = merged(aggregate(), &[request(vec![sum("s", DELTA, false, points)])]);
    let told = numbers(&mut merged, SINCE + 60 * SECOND);
    assert_eq!(told["s{k=i}"].int(), 2 * big);
    assert_eq!(told["s{k=d}"].value, number_data_point::Value::AsDouble(1.5));
}

#[test]
fn a_gauge_is_told_as_its_rule_says() {
    // Two pods; of the first the later reading came first.
    let points = vec![int(0, 30, 4, &[("pod", "a")]), int(0, 10, 9, &[("pod", "a")]), int(0, 20, 2, &[("pod", "b")])];
    let expected = [
        (GaugeRule::Last, number_data_point::Value::AsInt(4)),
        (GaugeRule::Min, number_data_point::Value::AsInt(2)),
        (GaugeRule::Max, number_data_point::Value::AsInt(9)),
        (GaugeRule::Mean, number_data_point::Value::AsDouble(5.0)),
        (GaugeRule::Sum, number_data_point::Value::AsInt(6)),
    ];
    for (rule, value) in expected {
        let mut merged = merged(Aggregate { gauge: rule, ..aggregate() }, &[request(vec![gauge("g", points.clone())])]);
        let told = numbers(&mut merged, SINCE + 60 * SECOND);
        assert_eq!(told["g{}"].value, value, "{rule:?}");
        assert_eq!(told["g{}"].time == 30, rule == GaugeRule::Last);
        // A sum is told while its inputs live; of the others each reading once.
        let again = numbers(&mut merged, SINCE + 120 * SECOND);
        assert_eq!(again.contains_key("g{}"), rule == GaugeRule::Sum);
    }
}

#[test]
fn a_reading_without_a_time_has_that_of_its_coming() {
    let mut merged = merged(aggregate(), &[request(vec![gauge("g", vec![int(0, 0, 4, &[])])])]);
    assert_eq!(numbers(&mut merged, SINCE + 60 * SECOND)["g{}"].time, SINCE);
}

fn explicit_point(counts: [u64; 3], bounds: [f64; 2]) -> HistogramDataPoint {
    let exemplars = vec![Exemplar::default()];
    HistogramDataPoint {
        count: counts.iter().sum(),
        sum: Some(1.5),
        bucket_counts: counts.to_vec(),
        explicit_bounds: bounds.to_vec(),
        min: Some(0.5),
        max: Some(9.0),
        exemplars,
        ..HistogramDataPoint::default()
    }
}

#[test]
fn histograms_of_equal_bounds_are_merged_and_others_are_points_of_their_own() {
    let points = vec![
        explicit_point([1, 2, 3], [1.0, 2.0]),
        explicit_point([0, 1, 0], [1.0, 3.0]),
        explicit_point([10, 0, 0], [1.0, 2.0]),
    ];
    let mut merged = merged(aggregate(), &[request(vec![histogram("h", DELTA, points)])]);
    let told = metrics_told(&mut merged, SINCE + 60 * SECOND);
    let Some(Data::Histogram(Histogram { data_points, .. })) = &told[0].1.data else { panic!() };
    let mut counts: Vec<_> =
        data_points.iter().map(|point| (point.bucket_counts.clone(), point.sum, point.min)).collect();
    counts.sort_by_key(|(counts, ..)| counts[0]);
    assert_eq!(counts, [(vec![0, 1, 0], Some(1.5), Some(0.5)), (vec![11, 2, 3], Some(3.0), Some(0.5))]);
    assert!(data_points.iter().all(|point| point.exemplars.is_empty() && point.max == Some(9.0)));
}

#[test]
fn exponential_histograms_are_merged_at_the_coarser_scale() {
    let point = |scale, offset, counts: Vec<u64>, zero_count| ExponentialHistogramDataPoint {
        count: counts.iter().sum::<u64>() + zero_count,
        scale,
        zero_count,
        positive: Some(exponential_histogram_data_point::Buckets { offset, bucket_counts: counts }),
        ..ExponentialHistogramDataPoint::default()
    };
    // At scale 1 the buckets 2 to 5 are 1 and 2 at scale 0. A scale past the finest is made coarser.
    let points = vec![point(1, 2, vec![1, 2, 3, 4], 5), point(0, 1, vec![10, 20], 0), point(22, 8, vec![1], 0)];
    let mut merged = merged(aggregate(), &[request(vec![exponential("e", DELTA, points)])]);
    let told = metrics_told(&mut merged, SINCE + 60 * SECOND);
    let Some(Data::ExponentialHistogram(ExponentialHistogram { data_points, .. })) = &told[0].1.data else { panic!() };
    let buckets = data_points[0].positive.as_ref().unwrap();
    assert_eq!((data_points[0].scale, data_points[0].count, data_points[0].zero_count), (0, 46, 5));
    assert_eq!((buckets.offset, &buckets.bucket_counts[..]), (0, &[1, 13, 27][..]));
}

#[test]
fn a_value_nested_as_deep_as_it_may_be_is_merged() {
    // Deeper than attributes of spans may be nested, and no deeper than those of points.
    let deep = (0..31).fold(any_value::Value::BoolValue(true), |inner, _| {
        any_value::Value::ArrayValue(ArrayValue { values: vec![AnyValue { value: Some(inner) }] })
    });
    let attribute = KeyValue { key: "k".into(), value: Some(AnyValue { value: Some(deep) }), ..KeyValue::default() };
    let point = NumberDataPoint { attributes: vec![attribute], ..int(0, 1, 5, &[]) };
    let whole =
        request(vec![sum("s", DELTA, true, vec![point, int(0, 1, 1, &[])]), gauge("g", vec![int(0, 1, 1, &[])])]);
    let mended = tailwater_proto::otlp::mend::mended(tailwater_proto::otlp::Signal::Metrics, &whole).unwrap();
    assert_eq!((mended.items, mended.body), (3, None));
    assert_eq!(tally(aggregate()).take(&whole, SINCE, true).merged, 3);
}

#[test]
fn many_points_are_told_in_several_requests() {
    let points = (0..200).map(|number| int(0, 1, number, &[("k", &number.to_string())])).collect();
    let mut merged =
        merged(aggregate(), &[request(vec![sum("s", DELTA, true, points), gauge("g", vec![int(0, 1, 1, &[])])])]);
    let requests = merged.emit(SINCE + 60 * SECOND, 1000, false);
    assert!(requests.len() > 5 && requests.iter().all(|request| request.body.len() < 1200));
    assert_eq!(requests.iter().map(|request| request.points).sum::<u32>(), 201);
    for request in requests {
        let decoded = ExportMetricsServiceRequest::decode(&request.body[..]).unwrap();
        assert!(
            decoded
                .resource_metrics
                .iter()
                .all(|resource| text(&resource.resource.clone().unwrap().attributes) == "service.name=shop")
        );
    }
}
