//! Cumulative input: what of it is new, whatever its order and the cores that it comes to.

use super::*;
use crate::metrics::plan::{Gauge as GaugeRule, Temporality};
use crate::metrics::sums::SumsCounts;
use proptest::prelude::*;
use proptest::sample::Index;

const NOW: u64 = SINCE + 3600 * SECOND;
/// The start of input that has begun with the sums.
const START: u64 = SINCE + SECOND;

/// Points of one input, one request each, merged one by one.
fn one_by_one(is_monotonic: bool, points: &[NumberDataPoint]) -> (Option<i64>, SumsCounts) {
    let (mut tally, mut sums) = (tally(aggregate()), sums());
    for point in points {
        tally.take(&request(vec![sum("s", CUMULATIVE, is_monotonic, vec![point.clone()])]), SINCE, true);
        sums.merge(&partial_of(&mut tally));
    }
    (numbers(&mut sums, NOW).get("s{}").map(Told::int), sums.counts())
}

#[test]
fn the_difference_is_added() {
    let (total, counts) = one_by_one(true, &[int(START, 1, 5, &[]), int(START, 2, 8, &[]), int(START, 3, 8, &[])]);
    assert_eq!((total, counts), (Some(8), SumsCounts::default()));
}

#[test]
fn what_was_before_all_counting_is_not_counted() {
    let (total, counts) = one_by_one(true, &[int(1, 1, 5, &[]), int(1, 2, 8, &[])]);
    assert_eq!((total, counts.bases), (Some(3), 1));
    // A start of which nothing is known neither.
    assert_eq!(one_by_one(true, &[int(0, 1, 5, &[]), int(0, 2, 9, &[])]).0, Some(4));
}

#[test]
fn another_start_is_a_reset() {
    let (total, counts) =
        one_by_one(true, &[int(START, 1, 5, &[]), int(START + 9, 20, 7, &[]), int(START + 9, 21, 9, &[])]);
    assert_eq!((total, counts.resets), (Some(14), 1));
}

#[test]
fn a_value_that_falls_is_a_reset() {
    let (total, counts) = one_by_one(true, &[int(START, 1, 5, &[]), int(START, 2, 3, &[]), int(START, 3, 4, &[])]);
    assert_eq!((total, counts.resets), (Some(9), 1));
}

#[test]
fn what_is_old_or_known_is_counted_as_such_and_adds_nothing() {
    let points = [int(START, 1, 5, &[]), int(START, 9, 8, &[]), int(START, 4, 6, &[]), int(START, 9, 8, &[])];
    let (total, counts) = one_by_one(true, &points);
    assert_eq!((total, counts.out_of_order, counts.duplicates, counts.resets), (Some(8), 1, 1, 0));
}

#[test]
fn a_series_that_ended_goes_on_where_it_was() {
    let (total, counts) = one_by_one(true, &[int(START, 1, 5, &[]), end(START, 2, &[]), int(START, 3, 7, &[])]);
    assert_eq!((total, counts.ended, counts.resets), (Some(7), 1, 0));
}

#[test]
fn of_what_may_fall_the_last_value_counts_until_it_ends() {
    let points = [int(1, 1, 50, &[]), int(1, 2, 30, &[]), int(9, 12, 4, &[])];
    assert_eq!(one_by_one(false, &points).0, Some(4), "neither a fall nor a start is a reset");
    let ended = [&points[..], &[end(9, 13, &[])]].concat();
    assert_eq!(one_by_one(false, &ended).0, Some(0));
    let old = [&ended[..], &[int(9, 12, 4, &[]), int(9, 11, 4, &[])]].concat();
    assert_eq!(one_by_one(false, &old).0, Some(0), "an old value does not bring it back");
    let again = [&ended[..], &[int(9, 14, 6, &[])]].concat();
    assert_eq!(one_by_one(false, &again).0, Some(6));
}

#[test]
fn levels_of_several_inputs_add_up_also_as_differences() {
    let how = Aggregate { temporality: Temporality::Delta, ..aggregate() };
    let (mut tally, mut sums) = (tally(how), sums());
    let mut level = 0;
    for (window, values) in [(1, [5, 7]), (2, [3, 7]), (3, [0, 10])] {
        let point = |pod, value| int(START, window, value, &[("pod", pod)]);
        tally.take(
            &request(vec![sum("s", CUMULATIVE, false, vec![point("a", values[0]), point("b", values[1])])]),
            SINCE,
            true,
        );
        sums.merge(&tally.take_partial());
        level += numbers(&mut sums, SINCE + window * 60 * SECOND)["s{}"].int();
        assert_eq!(level, values[0] + values[1]);
    }
}

#[test]
fn a_gauge_that_is_summed_loses_what_ends_or_is_idle() {
    let how = Aggregate { gauge: GaugeRule::Sum, ..aggregate() };
    let (mut tally, mut sums) = (tally(how), sums());
    let points = vec![int(0, 1, 5, &[("pod", "a")]), int(0, 1, 7, &[("pod", "b")]), int(0, 1, 20, &[("pod", "c")])];
    tally.take(&request(vec![gauge("g", points)]), SINCE, true);
    tally.take(&request(vec![gauge("g", vec![end(0, 2, &[("pod", "a")])])]), SINCE, true);
    let hour = 3600 * SECOND;
    tally.take(&request(vec![gauge("g", vec![int(0, 3, 8, &[("pod", "b")])])]), SINCE + hour, true);
    sums.merge(&tally.take_partial());
    assert_eq!(numbers(&mut sums, SINCE + hour)["g{}"].int(), 28);
    sums.expire(SINCE + hour + 1);
    assert_eq!(numbers(&mut sums, SINCE + hour + 60 * SECOND)["g{}"].int(), 8, "of the third nothing came for an hour");
}

#[test]
fn what_comes_back_after_it_was_forgotten_is_not_counted_twice() {
    let (mut tally, mut sums) = (tally(aggregate()), sums());
    let take = |tally: &mut Metrics, time, value, arrived| {
        tally.take(&request(vec![sum("s", CUMULATIVE, true, vec![int(START, time, value, &[])])]), arrived, true);
        tally.take_partial()
    };
    sums.merge(&take(&mut tally, START + 5, 100, SINCE));
    assert_eq!(numbers(&mut sums, SINCE + 60 * SECOND)["s{}"].int(), 100);
    sums.expire(SINCE + 2 * 3600 * SECOND);
    assert_eq!((sums.series_count(), sums.bytes(), sums.counts().expired), (0, 0, 1));
    sums.merge(&take(&mut tally, START + 6, 130, NOW));
    sums.merge(&take(&mut tally, START + 7, 150, NOW));
    let told = numbers(&mut sums, NOW + 60 * SECOND);
    assert_eq!((told["s{}"].int(), told["s{}"].start), (20, NOW - NOW % (60 * SECOND)));
}

#[test]
fn sums_that_know_the_same_input_count_it_once() {
    // Were what both have counted not taken back, each would be counted twice.
    for (is_monotonic, expected) in [(true, [8, 13]), (false, [8, 5])] {
        let of = |points: &[NumberDataPoint]| {
            merged(aggregate(), &[request(vec![sum("s", CUMULATIVE, is_monotonic, points.to_vec())])])
        };
        let early = [int(START, 1, 5, &[])];
        let late = [int(START, 2, 8, &[])];
        let again = [int(START, 2, 8, &[]), int(START + 9, 20, 5, &[])];
        for (one, other, expected) in [(&early[..], &late[..], expected[0]), (&early, &again, expected[1])] {
            for (one, other) in [(one, other), (other, one)] {
                let mut both = of(one);
                both.merge(&of(other).to_partial());
                assert_eq!(numbers(&mut both, NOW)["s{}"].int(), expected);
            }
        }
    }
}

#[test]
fn cumulative_histograms_add_what_is_new() {
    let point = |start, time, counts: [u64; 2], sum| HistogramDataPoint {
        start_time_unix_nano: start,
        time_unix_nano: time,
        count: counts[0] + counts[1],
        sum: Some(sum),
        bucket_counts: counts.to_vec(),
        explicit_bounds: vec![1.0],
        ..HistogramDataPoint::default()
    };
    let points = vec![point(START, 1, [1, 1], 3.0), point(START, 2, [4, 1], 6.0), point(START + 9, 20, [0, 2], 8.0)];
    let mut merged = merged(aggregate(), &[request(vec![histogram("h", CUMULATIVE, points)])]);
    let told = metrics_told(&mut merged, NOW);
    let Some(Data::Histogram(Histogram { data_points, .. })) = &told[0].1.data else { panic!() };
    assert_eq!(
        (&data_points[0].bucket_counts[..], data_points[0].sum, data_points[0].count),
        (&[4, 3][..], Some(14.0), 7)
    );
    assert_eq!(merged.counts().resets, 1);
}

#[test]
fn cumulative_and_delta_input_come_to_one_series() {
    let metrics = vec![
        sum("s", CUMULATIVE, true, vec![int(START, 1, 5, &[("pod", "a")])]),
        sum("s", DELTA, true, vec![int(START, 1, 7, &[("pod", "b")])]),
    ];
    assert_eq!(numbers(&mut merged(aggregate(), &[request(metrics)]), NOW)["s{}"].int(), 12);
}

/// Values of an input that only grows, in at most two epochs: start, time, value.
fn growing() -> impl Strategy<Value = Vec<(u64, u64, i64)>> {
    let epoch = || prop::collection::vec(0..1000_i64, 1..8);
    (epoch(), prop::option::of(epoch())).prop_map(|(first, second)| {
        let mut points = Vec::new();
        for (start, steps) in [(START, Some(first)), (START + 100, second)] {
            let mut value = 0;
            for (time, step) in (start + 1..).zip(steps.unwrap_or_default()) {
                value += step;
                points.push((start, time, value));
            }
        }
        points
    })
}

proptest! {
    #[test]
    fn the_last_value_of_each_epoch_counts_in_any_order_on_any_core(
        inputs in prop::collection::vec(growing(), 1..4), order in prop::collection::vec((any::<Index>(), 0..3_usize, any::<bool>()), 60),
        restart_at in 0..60_usize,
    ) {
        let mut points: Vec<(usize, u64, u64, i64)> = Vec::new();
        let mut expected = 0;
        for (number, input) in inputs.iter().enumerate() {
            points.extend(input.iter().map(|(start, time, value)| (number, *start, *time, *value)));
            let last = |start| input.iter().filter(|(of, ..)| *of == start).map(|(_, _, value)| *value).max().unwrap_or(0);
            expected += last(START) + last(START + 100);
        }
        let mut tallies = [tally(aggregate()), tally(aggregate()), tally(aggregate())];
        let mut sums = sums();
        for (step, (place, core, gives)) in order.iter().enumerate() {
            if !points.is_empty() {
                let (pod, start, time, value) = points.remove(place.index(points.len()));
                let point = int(start, time, value, &[("pod", &pod.to_string())]);
                tallies[*core].take(&request(vec![sum("s", CUMULATIVE, true, vec![point])]), SINCE, true);
            }
            if *gives {
                sums.merge(&partial_of(&mut tallies[*core]));
            }
            if step == restart_at {
                // Of a run that ends, what was handed over is known to the next.
                tallies.iter_mut().for_each(|tally| sums.merge(&partial_of(tally)));
                let partial = MetricsPartial::from_bytes(&sums.to_partial().to_bytes()).unwrap();
                sums = MetricSums::new(Bounds::default(), NOW - 1);
                sums.merge(&partial);
            }
        }
        tallies.iter_mut().for_each(|tally| sums.merge(&partial_of(tally)));
        prop_assume!(points.is_empty());
        prop_assert_eq!(sums.bytes(), sums.bytes_by_counting());
        let told = numbers(&mut sums, NOW);
        prop_assert_eq!((told["s{}"].int(), told["s{}"].start), (expected, SINCE));
    }

    #[test]
    fn of_levels_the_last_by_time_counts_in_any_order(
        points in prop::collection::vec((0..3_usize, 0..1000_i64, prop::bool::weighted(0.2), any::<Index>(), 0..3_usize), 1..30),
    ) {
        let points: Vec<_> = (1..).zip(points).map(|(time, (pod, value, ends, place, core))| (time, pod, value, ends, place, core)).collect();
        let mut last = BTreeMap::new();
        for (time, pod, value, ends, ..) in &points {
            // An input whose end comes first is not known to have ended: nothing is kept of it.
            last.insert(*pod, (*time, if *ends { 0 } else { *value }));
        }
        prop_assume!(!points.iter().all(|(_, _, _, ends, ..)| *ends));
        let mut shuffled = points.clone();
        for (number, (.., place, _)) in points.iter().enumerate() {
            shuffled.swap(number, place.index(points.len()));
        }
        // What ends must have begun: of each input the first of the shuffled is a value.
        let mut seen = std::collections::BTreeSet::new();
        prop_assume!(shuffled.iter().all(|(_, pod, _, ends, ..)| !seen.insert(*pod) || !ends));
        let mut tallies = [tally(aggregate()), tally(aggregate()), tally(aggregate())];
        let mut sums = sums();
        for (time, pod, value, ends, _, core) in shuffled {
            let pod = pod.to_string();
            let point = if ends { end(START, time, &[("pod", &pod)]) } else { int(START, time, value, &[("pod", &pod)]) };
            tallies[core].take(&request(vec![sum("s", CUMULATIVE, false, vec![point])]), SINCE, true);
            sums.merge(&partial_of(&mut tallies[core]));
        }
        let expected: i64 = last.values().map(|(_, value)| value).sum();
        prop_assert_eq!(numbers(&mut sums, NOW)["s{}"].int(), expected);
    }
}
