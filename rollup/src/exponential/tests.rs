//! What holds of histograms whatever is counted, in whatever order and in however many of them.

use super::*;
use opentelemetry_proto::tonic::metrics::v1::{ExponentialHistogramDataPoint, exponential_histogram_data_point};
use proptest::prelude::*;
use prost::Message;

fn values() -> impl Strategy<Value = Vec<(f64, u64)>> {
    let usual = (-40.0..40.0_f64).prop_map(f64::exp2);
    let near = 1.0..1.01_f64;
    let whatever = any::<f64>().prop_filter("a number", |value| value.is_finite());
    let value = prop_oneof![6 => usual, 4 => near, 2 => whatever, 1 => Just(0.0), 1 => Just(f64::from_bits(1)), 1 => Just(f64::MAX)];
    let value = (value, any::<bool>()).prop_map(|(value, is_negative)| if is_negative { -value } else { value });
    let weight = prop_oneof![8 => 1..4_u64, 1 => 200..70_000_u64, 1 => Just(u64::MAX / 3)];
    prop::collection::vec((value, weight), 0..60)
}

fn of(buckets_max: u16, threshold: f64, values: &[(f64, u64)]) -> Exponential {
    let mut histogram = Exponential { zero_threshold: threshold, ..Exponential::new(buckets_max) };
    for (value, weight) in values {
        assert!(histogram.record(*value, *weight));
    }
    histogram
}

/// All but the last digits of the sum.
fn assert_same(one: &Exponential, other: &Exponential) {
    let rounded = |histogram: &Exponential| Exponential {
        moments: Moments { sum: None, ..histogram.moments },
        ..histogram.clone()
    };
    assert_eq!(rounded(one), rounded(other));
}

fn data_point(histogram: &Exponential) -> ExponentialHistogramDataPoint {
    let mut out = Vec::new();
    histogram.put_data_point_fields(&mut out);
    ExponentialHistogramDataPoint::decode(&out[..]).unwrap()
}

proptest! {
    #[test]
    fn split_and_order_change_nothing(
        values in values(), buckets_max in 4_u16..200, cuts in prop::collection::vec(any::<prop::sample::Index>(), 3),
        turn in 0_usize..24,
    ) {
        let whole = of(buckets_max, 0.0, &values);
        let mut cuts: Vec<usize> = cuts.iter().map(|cut| cut.index(values.len() + 1)).collect();
        cuts.sort_unstable();
        let ranges = [0..cuts[0], cuts[0]..cuts[1], cuts[1]..cuts[2], cuts[2]..values.len()];
        let mut parts: Vec<_> = ranges.into_iter().map(|range| of(buckets_max, 0.0, &values[range])).collect();
        parts.rotate_left(turn % 4);
        parts.swap(1, 1 + turn / 4 % 3);
        let mut merged = Exponential::new(buckets_max);
        for part in &parts {
            merged.merge(part);
        }
        assert_same(&merged, &whole);
        // As a tree, and the other way round.
        let (mut left, mut right) = (parts[0].clone(), parts[3].clone());
        left.merge(&parts[1]);
        right.merge(&parts[2]);
        right.merge(&left);
        assert_same(&right, &whole);
        let mut reversed = values.clone();
        reversed.reverse();
        assert_same(&of(buckets_max, 0.0, &reversed), &whole);
    }

    #[test]
    fn thresholds_and_scales_merge_in_any_order(
        lists in prop::collection::vec((values(), prop_oneof![Just(0.0), (-9.0..9.0_f64).prop_map(f64::exp2)], 4_u16..60), 3),
    ) {
        let parts: Vec<_> = lists.iter().map(|(values, threshold, max)| of(*max, *threshold, values)).collect();
        let merged = |order: [usize; 3]| {
            let mut merged = parts[order[0]].clone();
            merged.merge(&parts[order[1]]);
            merged.merge(&parts[order[2]]);
            merged
        };
        for order in [[0, 2, 1], [1, 0, 2], [1, 2, 0], [2, 0, 1], [2, 1, 0]] {
            assert_same(&merged([0, 1, 2]), &merged(order));
        }
        let (mut right, mut pair) = (parts[0].clone(), parts[1].clone());
        pair.merge(&parts[2]);
        right.merge(&pair);
        assert_same(&merged([0, 1, 2]), &right);
    }

    #[test]
    fn every_value_is_in_the_bucket_that_holds_it(values in values(), buckets_max in 4_u16..200) {
        let histogram = of(buckets_max, 0.0, &values);
        let point = data_point(&histogram);
        let mut expected = std::collections::BTreeMap::new();
        for (value, weight) in values.iter().filter(|(value, _)| *value != 0.0) {
            let at = index::index(value.abs(), histogram.scale());
            let count: &mut u64 = expected.entry((*value > 0.0, at)).or_default();
            *count = count.saturating_add(*weight);
        }
        for (is_positive, buckets) in [(false, &point.negative), (true, &point.positive)] {
            let Some(buckets) = buckets else { continue };
            prop_assert!(buckets.bucket_counts.len() <= usize::from(buckets_max));
            for (at, count) in (buckets.offset..).zip(&buckets.bucket_counts) {
                prop_assert_eq!(expected.remove(&(is_positive, at)).unwrap_or(0), *count);
            }
        }
        prop_assert!(expected.is_empty(), "{:?}", expected);
        prop_assert_eq!(point.count, values.iter().fold(0_u64, |sum, (_, weight)| sum.saturating_add(*weight)));
        let least = values.iter().map(|(value, _)| *value).reduce(f64::min);
        prop_assert_eq!((point.min, point.scale), (least, histogram.scale()));
    }

    #[test]
    fn the_finest_scale_that_fits_is_taken(values in values(), buckets_max in 4_u16..200) {
        let histogram = of(buckets_max, 0.0, &values);
        let spread = |is_positive: bool, scale: i32| {
            let all = values.iter().filter(|(value, _)| *value != 0.0 && (*value > 0.0) == is_positive);
            let all: Vec<i64> = all.map(|(value, _)| i64::from(index::index(value.abs(), scale))).collect();
            all.iter().max().zip(all.iter().min()).map_or(0, |(last, first)| last - first)
        };
        let fits = |scale| [false, true].iter().all(|sign| spread(*sign, scale) < i64::from(buckets_max));
        prop_assert!(fits(histogram.scale()));
        prop_assert!(histogram.scale() == SCALE_MAX || !fits(histogram.scale() + 1));
    }

    #[test]
    fn it_comes_back_from_its_bytes(values in values(), buckets_max in 4_u16..200, threshold in 0.0..2.0_f64) {
        let histogram = of(buckets_max, threshold, &values);
        let bytes = postcard::to_allocvec(&histogram).unwrap();
        let read: Exponential = postcard::from_bytes(&bytes).unwrap();
        // A sum may be no number, which is not equal to itself.
        prop_assert_eq!(postcard::to_allocvec(&read).unwrap(), bytes);
        assert_same(&read, &histogram);
    }

    #[test]
    fn damaged_bytes_are_an_error_or_a_sound_histogram(
        values in values(), at in any::<prop::sample::Index>(), byte in any::<u8>(), noise in prop::collection::vec(any::<u8>(), 0..60),
    ) {
        let mut bytes = postcard::to_allocvec(&of(160, 0.0, &values)).unwrap();
        let place = at.index(bytes.len());
        bytes[place] = byte;
        for bytes in [&bytes[..], &noise] {
            if let Ok(mut histogram) = postcard::from_bytes::<Exponential>(bytes) {
                histogram.record(1.5, 1);
                histogram.record(-1e-300, 1);
                histogram.merge(&of(20, 1.0, &values));
                _ = histogram.quantile(0.5);
                _ = data_point(&histogram);
            }
        }
    }

    #[test]
    fn what_came_since_is_what_was_added(earlier in values(), later in values()) {
        let small = |values: Vec<(f64, u64)>| values.into_iter().map(|(value, weight)| (value, weight % 1000)).collect::<Vec<_>>();
        let (earlier, later) = (small(earlier), small(later));
        let before = of(160, 0.0, &earlier);
        let mut now = before.clone();
        let added = of(160, 0.0, &later);
        now.merge(&added);
        let since = now.since(&before).unwrap();
        let mut expected = added.clone();
        expected.merge(&before.emptied());
        (expected.moments.min, expected.moments.max) = (None, None);
        assert_same(&since, &expected);
        prop_assert_eq!(before.since(&now).is_some(), added.moments().count == 0);
    }

    #[test]
    fn a_quantile_is_within_its_bucket(values in prop::collection::vec(0.001..1000.0_f64, 1..200), part in 0.0..1.0_f64) {
        let histogram = of(160, 0.0, &values.iter().map(|value| (*value, 1)).collect::<Vec<_>>());
        let mut sorted = values.clone();
        sorted.sort_by(f64::total_cmp);
        let rank = (part * sorted.len() as f64).ceil().max(1.0) as usize - 1;
        let base = f64::exp2(f64::exp2(-f64::from(histogram.scale())));
        let found = histogram.quantile(part).unwrap();
        prop_assert!(found / sorted[rank] < base * 1.000_001 && sorted[rank] / found < base * 1.000_001);
    }
}

#[test]
fn nothing_and_what_is_no_number() {
    let mut histogram = Exponential::new(160);
    assert_eq!((histogram.quantile(0.5), histogram.moments().min, histogram.moments().count), (None, None, 0));
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        assert!(!histogram.record(value, 1));
    }
    assert!(histogram.record(1.0, 0));
    assert_eq!(histogram, Exponential::new(160));
    histogram.record(-0.0, 2);
    assert_eq!((histogram.zero_count, histogram.quantile(1.0)), (2, Some(0.0)));
}

#[test]
fn a_threshold_takes_in_what_is_nearer_to_zero() {
    // OTLP: merged histograms have the larger of their thresholds, and it is never within a bucket that has a count.
    let mut histogram = of(160, 0.0, &[(1.5, 1), (-1.5, 2), (100.0, 4)]);
    histogram.merge(&of(160, 1.6, &[(0.5, 8), (3.0, 16)]));
    let point = data_point(&histogram);
    assert_eq!((point.zero_count, point.count), (11, 31));
    assert!((1.6..1.7).contains(&point.zero_threshold), "{}", point.zero_threshold);
    // Within the bucket at a scale of which it takes all.
    let mut histogram = of(4, 0.0, &[(1.5, 1), (100.0, 4)]);
    histogram.merge(&of(4, 1.2, &[]));
    assert_eq!(histogram.zero_count, 1, "1.5 and 1.2 are in the same bucket at scale {}", histogram.scale());
}

#[test]
fn bad_parts_are_told_apart() {
    let good = Parts::from(of(160, 0.0, &[(1.5, 1), (-3.0, 1)]));
    let refused = |change: fn(&mut Parts)| {
        let mut parts = good.clone();
        change(&mut parts);
        Exponential::try_from(parts).unwrap_err()
    };
    assert_eq!(refused(|parts| parts.moments.count = 3), PartsError::Count);
    assert_eq!(refused(|parts| parts.scale = 21), PartsError::OutOfRange);
    assert_eq!(refused(|parts| parts.scale = -11), PartsError::OutOfRange);
    assert_eq!(refused(|parts| parts.buckets_max = 3), PartsError::OutOfRange);
    assert_eq!(refused(|parts| parts.positive.0 = i32::MAX), PartsError::OutOfRange);
    assert_eq!(refused(|parts| parts.zero_threshold = -1.0), PartsError::NoNumber);
    assert_eq!(refused(|parts| parts.moments.min = Some(f64::NAN)), PartsError::NoNumber);
    // More buckets than there may be become coarser ones.
    let mut parts = good.clone();
    (parts.positive, parts.moments.count, parts.buckets_max) = ((0, vec![1; 100]), 101, 10);
    let histogram = Exponential::try_from(parts).unwrap();
    assert_eq!((histogram.moments().count, histogram.positive.len() <= 10), (101, true));
}

#[test]
fn it_is_as_small_as_it_says() {
    let mut histogram = Exponential::new(160);
    for step in 0..2000_u32 {
        histogram.record(1.01_f64.powi(step as i32 % 1000), 1);
    }
    assert!(size_of::<Exponential>() <= 200, "{}", size_of::<Exponential>());
    assert!(histogram.bytes() <= 360, "{}", histogram.bytes());
    histogram.record(1.0, 1 << 40);
    assert!(histogram.bytes() <= 1480, "{}", histogram.bytes());
}
#[test]
fn empty_buckets_are_not_written() {
    assert_eq!(data_point(&of(160, 0.0, &[(0.0, 3)])).positive, None);
    let point = data_point(&of(160, 0.0, &[(1.0, 300), (4.0, 1)]));
    let exponential_histogram_data_point::Buckets { offset, bucket_counts } = point.positive.unwrap();
    assert_eq!((offset, bucket_counts.first(), bucket_counts.last()), (-1, Some(&300), Some(&1)));
    assert_eq!((point.sum, point.max, point.zero_threshold), (Some(304.0), Some(4.0), 0.0));
}
