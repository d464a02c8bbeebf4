//! Partials merged: any split over tallies and requests, in any order, gives the same requests; totals lose nothing, also
//! where there is no room.

use super::*;
use crate::exponential::Exponential;
use crate::metrics::plan::{Gauge as GaugeRule, Temporality};
use proptest::prelude::*;

/// A point of differences: which metric, its attribute, its value.
type Item = (usize, usize, i64);

fn metric(&(which, attribute, value): &Item, time: u64) -> Metric {
    let list = [("k", ["a", "b", "c"][attribute % 3]), ("pod", ["x", "y"][attribute % 2])];
    match which {
        0 => sum("counter", DELTA, true, vec![int(0, time, value, &list)]),
        1 => sum("doubles", DELTA, false, vec![double(0, time, value as f64, &list)]),
        2 => gauge("gauge", vec![int(0, time, value, &list)]),
        3 => {
            let counts = if value < 50 { [1, 0] } else { [0, 1] };
            let point = HistogramDataPoint {
                time_unix_nano: time,
                count: 1,
                sum: Some(value as f64),
                bucket_counts: counts.to_vec(),
                explicit_bounds: vec![[49.0, 49.5][attribute % 2]],
                attributes: attributes(&list),
                ..HistogramDataPoint::default()
            };
            histogram("explicit", DELTA, vec![point])
        }
        _ => {
            let mut one = Exponential::new(160);
            one.record(value as f64, 1);
            let mut fields = Vec::new();
            one.put_data_point_fields(&mut fields);
            let point = ExponentialHistogramDataPoint::decode(&fields[..]).unwrap();
            exponential(
                "exponential",
                DELTA,
                vec![ExponentialHistogramDataPoint { attributes: attributes(&list), ..point }],
            )
        }
    }
}

fn items() -> impl Strategy<Value = Vec<(Item, usize, usize)>> {
    prop::collection::vec(((0..5_usize, 0..6_usize, 0..100_i64), 0..3_usize, any::<prop::sample::Index>()), 1..40)
        .prop_map(|items| {
            let places = items.len();
            items.into_iter().map(|(item, core, place)| (item, core, place.index(places))).collect()
        })
}

fn gauge_rule() -> impl Strategy<Value = GaugeRule> {
    prop::sample::select(vec![GaugeRule::Last, GaugeRule::Min, GaugeRule::Max, GaugeRule::Mean, GaugeRule::Sum])
}

proptest! {
    #[test]
    fn any_split_and_order_gives_the_same_requests(
        items in items(), gauge in gauge_rule(), temporality in prop::sample::select(vec![Temporality::Delta, Temporality::Cumulative]),
    ) {
        let how = Aggregate { gauge, temporality, ..aggregate() };
        let timed: Vec<(Metric, usize, usize)> =
            (1..).zip(&items).map(|(time, (item, core, place))| (metric(item, time), *core, *place)).collect();
        // All in one request, and each on a core and in an order of its own.
        let mut whole = merged(how.clone(), &[request(timed.iter().map(|(metric, ..)| metric.clone()).collect())]);
        let mut shuffled = timed.clone();
        for (number, (.., place)) in timed.iter().enumerate() {
            shuffled.swap(number, *place);
        }
        let mut tallies = [tally(how.clone()), tally(how.clone()), tally(how)];
        let mut partials = Vec::new();
        for (number, (metric, core, _)) in shuffled.into_iter().enumerate() {
            tallies[core].take(&request(vec![metric]), SINCE, true);
            if number % 5 == 0 {
                partials.push(partial_of(&mut tallies[core]));
            }
        }
        partials.extend(tallies.iter_mut().map(partial_of));
        partials.reverse();
        let (mut left, mut right) = (sums(), sums());
        let cut = partials.len() / 2;
        partials[..cut].iter().for_each(|partial| left.merge(partial));
        partials[cut..].iter().for_each(|partial| right.merge(partial));
        // Sums are merged as partials are.
        left.merge(&MetricsPartial::from_bytes(&right.to_partial().to_bytes()).unwrap());
        prop_assert_eq!(left.bytes(), left.bytes_by_counting());
        let now = SINCE + 60 * SECOND;
        prop_assert_eq!(left.emit(now, usize::MAX, false), whole.emit(now, usize::MAX, false));
    }

    #[test]
    fn histograms_in_many_points_are_those_of_all_values(
        values in prop::collection::vec((-9.0..9.0_f64, any::<bool>()), 1..60), sizes in prop::collection::vec(1..9_usize, 60),
        is_cumulative in any::<bool>(),
    ) {
        let record = |histogram: &mut Exponential, values: &[(f64, bool)]| {
            for (power, is_negative) in values {
                histogram.record(if *is_negative { -power.exp2() } else { power.exp2() }, 1);
            }
        };
        let point = |histogram: &Exponential, time| {
            let mut fields = Vec::new();
            histogram.put_data_point_fields(&mut fields);
            let point = ExponentialHistogramDataPoint::decode(&fields[..]).unwrap();
            ExponentialHistogramDataPoint { start_time_unix_nano: SINCE + 1, time_unix_nano: time, ..point }
        };
        let (mut rest, mut all, mut points) = (&values[..], Exponential::new(160), Vec::new());
        for (time, size) in (SINCE + 2..).zip(sizes) {
            let (now, later) = rest.split_at(size.min(rest.len()));
            rest = later;
            let mut one = Exponential::new(160);
            record(&mut one, now);
            record(&mut all, now);
            points.push(point(if is_cumulative { &all } else { &one }, time));
        }
        let temporality = if is_cumulative { CUMULATIVE } else { DELTA };
        let requests: Vec<_> =
            points.into_iter().map(|point| request(vec![exponential("e", temporality, vec![point])])).collect();
        let told = metrics_told(&mut merged(aggregate(), &requests), SINCE + 60 * SECOND);
        let Some(Data::ExponentialHistogram(ExponentialHistogram { data_points, .. })) = &told[0].1.data else { panic!() };
        let (mut found, mut expected) = (data_points[0].clone(), point(&all, SINCE + 60 * SECOND));
        prop_assert!((found.sum.unwrap() - expected.sum.unwrap()).abs() < 1e-6);
        if is_cumulative {
            (expected.min, expected.max) = (None, None);
            (found.min, found.max) = (None, None);
        }
        (found.sum, found.start_time_unix_nano) = (expected.sum, expected.start_time_unix_nano);
        prop_assert_eq!(found, expected);
    }

    #[test]
    fn totals_lose_nothing_and_memory_is_bounded(
        points in prop::collection::vec((0..3_usize, 0..400_u32, 0..1000_i64), 1..300), series_max in 1..40_usize,
        bytes_max in 2_000..40_000_usize,
    ) {
        let bounds = Bounds { series_max, bytes_max, ..Bounds::default() };
        let plan = MetricsPlan { bounds, ..plan_of(aggregate()) };
        let (mut tally, mut sums) = (Metrics::new(plan, SEED), MetricSums::new(bounds, SINCE));
        let mut expected = [0_i64; 3];
        for (number, (which, attribute, value)) in points.iter().enumerate() {
            expected[*which] += value;
            let point = int(0, 1, *value, &[("k", &attribute.to_string())]);
            tally.take(&request(vec![sum(["a", "b", "c"][*which], DELTA, true, vec![point])]), SINCE, true);
            prop_assert!(tally.bytes() <= 2 * bytes_max && sums.bytes() <= 2 * bytes_max);
            if number % 50 == 49 {
                sums.merge(&partial_of(&mut tally));
            }
        }
        sums.merge(&partial_of(&mut tally));
        prop_assert!(sums.series_count() <= 2 * series_max && sums.bytes() <= 2 * bytes_max);
        prop_assert_eq!(sums.bytes(), sums.bytes_by_counting());
        let lost = tally.counts().lost + sums.counts().lost;
        let mut told = [0_i64; 3];
        for (name, value) in numbers(&mut sums, SINCE + 60 * SECOND) {
            told[usize::from(name.as_bytes()[0] - b'a')] += value.int();
        }
        // A series for each metric has room unless there is hardly any.
        if series_max >= 3 && bytes_max >= 8_000 {
            prop_assert_eq!((told, lost), (expected, 0));
        } else {
            prop_assert!(told == expected || lost > 0);
        }
    }

    #[test]
    fn inputs_are_bounded_and_never_counted_twice(values in prop::collection::vec((0..200_u32, 1..50_i64), 1..400)) {
        let bounds = Bounds { series_max: 2, bytes_max: 20_000, ..Bounds::default() };
        let plan = MetricsPlan { bounds, ..plan_of(aggregate()) };
        let (mut tally, mut sums) = (Metrics::new(plan, SEED), MetricSums::new(bounds, SINCE));
        let mut totals = BTreeMap::new();
        for (time, (pod, step)) in (SINCE + 2..).zip(values) {
            let total = totals.entry(pod).or_insert(0);
            *total += step;
            let point = int(SINCE + 1, time, *total, &[("pod", &pod.to_string())]);
            tally.take(&request(vec![sum("s", CUMULATIVE, true, vec![point])]), time, true);
            sums.merge(&partial_of(&mut tally));
            prop_assert!(sums.inputs_count() <= 32 && sums.bytes() <= 3 * bounds.bytes_max);
        }
        let expected: i64 = totals.values().sum();
        let told = numbers(&mut sums, SINCE + 60 * SECOND)["s{}"].int();
        prop_assert!(told <= expected);
        prop_assert!(told == expected || sums.counts().inputs_forgotten > 0);
    }
}

#[test]
fn what_there_is_no_room_for_is_told_as_overflow() {
    let bounds = Bounds { series_max: 2, ..Bounds::default() };
    let mut tally = Metrics::new(MetricsPlan { bounds, ..plan_of(aggregate()) }, SEED);
    let points = (0..5).map(|number| int(0, 1, 1 << number, &[("k", &number.to_string())])).collect();
    tally.take(&request(vec![sum("s", DELTA, true, points)]), SINCE, true);
    assert_eq!((tally.counts().merged, tally.counts().overflowed), (5, 3));
    let mut sums = sums();
    sums.merge(&partial_of(&mut tally));
    let told = numbers(&mut sums, SINCE + 60 * SECOND);
    let overflow = told.iter().find(|(name, _)| name.contains("otel.metric.overflow=Some(BoolValue(true))"));
    assert_eq!((told.len(), overflow.unwrap().1.int()), (3, 4 + 8 + 16));
}
