//! A histogram of given bounds: OTLP's `HistogramDataPoint`. Bucket i holds values up to bound i, that included; the last
//! holds what is above all bounds.
//!
//! ```text
//! as bytes (postcard):  n bound*n  n count*n  count (sum lost)? min? max?
//! ```

use crate::fields::{put_double, put_fixed64};
use crate::moments::Moments;
use serde::{Deserialize, Serialize};
use std::sync::Arc;
use tailwater_proto::otlp::wire::put_header;
use thiserror::Error;

/// A histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Parts", try_from = "Parts")]
pub struct Explicit {
    /// Shared by all of the same bounds.
    bounds: Arc<[f64]>,
    /// One more than bounds. None where only count and sum are known.
    counts: Box<[u64]>,
    moments: Moments,
}

/// What a histogram consists of, as it is told on a wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Upper bounds, ascending.
    pub bounds: Vec<f64>,
    /// One more, or none where there are no bounds.
    pub counts: Vec<u64>,
    /// The rest.
    pub moments: Moments,
}

/// Parts that make no histogram, or two that do not go together.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum ExplicitError {
    /// Bounds that do not ascend, or as many counts as there are not buckets.
    #[error("the bounds do not ascend, or do not go with the counts")]
    Bounds,
    /// The count is not that of its buckets.
    #[error("the count is not the sum of the buckets")]
    Count,
    /// A least or greatest value that is no number.
    #[error("the minimum or the maximum is no number")]
    NoNumber,
    /// Histograms of other bounds: what is between them cannot be told.
    #[error("the bounds of the two are not the same")]
    Unequal,
}

impl Explicit {
    /// An empty histogram.
    ///
    /// # Errors
    /// `Bounds`.
    pub fn new(bounds: Arc<[f64]>) -> Result<Self, ExplicitError> {
        check_bounds(&bounds)?;
        Ok(Self { counts: vec![0; bounds.len() + 1].into_boxed_slice(), bounds, moments: Moments::default() })
    }

    /// Gives away what it has counted and is empty.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        self.counts.fill(0);
        self.moments = Moments::default();
        taken
    }

    /// Counts a value so many times. False, and nothing is counted, when it is no finite number.
    #[inline]
    pub fn record(&mut self, value: f64, weight: u64) -> bool {
        if !value.is_finite() {
            return false;
        }
        if weight == 0 {
            return true;
        }
        self.moments.record(value, weight);
        self.place(value, weight);
        true
    }

    /// Counts a finite value so many times in its bucket; `add_moments` tells the rest of it later, of many at once.
    #[inline]
    pub fn place(&mut self, value: f64, weight: u64) {
        let bucket = self.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = self.counts.get_mut(bucket) {
            *count = count.saturating_add(weight);
        }
    }

    /// Count, sum and extremes of values that `place` was told of.
    pub fn add_moments(&mut self, moments: &Moments) {
        self.moments.merge(moments);
    }

    /// Adds another histogram of the same bounds.
    ///
    /// # Errors
    /// `Unequal`, and nothing is added.
    pub fn merge(&mut self, other: &Self) -> Result<(), ExplicitError> {
        if !self.is_like(other) {
            return Err(ExplicitError::Unequal);
        }
        self.moments.merge(&other.moments);
        for (own, more) in self.counts.iter_mut().zip(&other.counts) {
            *own = own.saturating_add(*more);
        }
        Ok(())
    }

    /// What has come since an earlier state of the same histogram. `None` where it is no earlier state, for something in it
    /// is more than there is now, or its bounds are others. Least and greatest value are not known then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        if !self.is_like(earlier) {
            return None;
        }
        let mut rest = self.clone();
        rest.moments = self.moments.since(&earlier.moments)?;
        for (own, before) in rest.counts.iter_mut().zip(&earlier.counts) {
            *own = own.checked_sub(*before)?;
        }
        Some(rest)
    }

    /// Whether the two can be merged.
    #[must_use]
    pub fn is_like(&self, other: &Self) -> bool {
        self.counts.len() == other.counts.len() && self.bounds == other.bounds
    }

    /// Upper bounds of all buckets but the last.
    #[must_use]
    pub fn bounds(&self) -> &Arc<[f64]> {
        &self.bounds
    }

    /// Counts of the buckets.
    #[must_use]
    pub fn counts(&self) -> &[u64] {
        &self.counts
    }

    /// Count, sum and extremes.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// Bytes in memory, without the bounds.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + size_of_val(&*self.counts)
    }

    /// Appends the fields of a `HistogramDataPoint` that say what was counted: count 4, sum 5, bucket counts 6, bounds 7,
    /// min 11, max 12.
    pub fn put_data_point_fields(&self, out: &mut Vec<u8>) {
        put_fixed64(out, 4, self.moments.count);
        put_double(out, 5, self.moments.sum.map(|sum| sum.value()));
        if !self.counts.is_empty() {
            put_header(out, 6, self.counts.len() * 8);
            out.extend(self.counts.iter().flat_map(|count| count.to_le_bytes()));
        }
        if !self.bounds.is_empty() {
            put_header(out, 7, self.bounds.len() * 8);
            out.extend(self.bounds.iter().flat_map(|bound| bound.to_le_bytes()));
        }
        put_double(out, 11, self.moments.min);
        put_double(out, 12, self.moments.max);
    }
}

impl From<Explicit> for Parts {
    fn from(Explicit { bounds, counts, moments }: Explicit) -> Self {
        Self { bounds: bounds.to_vec(), counts: counts.into_vec(), moments }
    }
}

impl TryFrom<Parts> for Explicit {
    type Error = ExplicitError;

    fn try_from(Parts { bounds, counts, moments }: Parts) -> Result<Self, ExplicitError> {
        check_bounds(&bounds)?;
        let has_none = counts.is_empty() && bounds.is_empty();
        if !has_none && counts.len() != bounds.len() + 1 {
            return Err(ExplicitError::Bounds);
        }
        if !has_none && counts.iter().fold(0_u64, |sum, count| sum.saturating_add(*count)) != moments.count {
            return Err(ExplicitError::Count);
        }
        if !moments.are_numbers() {
            return Err(ExplicitError::NoNumber);
        }
        Ok(Self { bounds: bounds.into(), counts: counts.into_boxed_slice(), moments })
    }
}

fn check_bounds(bounds: &[f64]) -> Result<(), ExplicitError> {
    let ascend = bounds.windows(2).all(|pair| pair[0] < pair[1]) && !bounds.iter().any(|bound| bound.is_nan());
    if ascend { Ok(()) } else { Err(ExplicitError::Bounds) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::metrics::v1::HistogramDataPoint;
    use proptest::prelude::*;
    use prost::Message;

    fn of(values: &[(f64, u64)]) -> Explicit {
        let mut histogram = Explicit::new([0.0, 1.0, 5.0, 10.0].into()).unwrap();
        for (value, weight) in values {
            assert!(histogram.record(*value, *weight));
        }
        histogram
    }

    fn data_point(histogram: &Explicit) -> HistogramDataPoint {
        let mut out = Vec::new();
        histogram.put_data_point_fields(&mut out);
        HistogramDataPoint::decode(&out[..]).unwrap()
    }

    #[test]
    fn a_bound_belongs_to_the_bucket_below_it() {
        let histogram = of(&[(1.0, 1), (1.0_f64.next_up(), 2), (10.5, 4), (-3.0, 8), (0.0, 16), (5.0, 32)]);
        let point = data_point(&histogram);
        assert_eq!(point.bucket_counts, [24, 1, 34, 0, 4]);
        assert_eq!(point.explicit_bounds, [0.0, 1.0, 5.0, 10.0]);
        assert_eq!((point.count, point.min, point.max), (63, Some(-3.0), Some(10.5)));
    }

    #[test]
    fn other_bounds_are_refused_and_change_nothing() {
        let mut histogram = of(&[(3.0, 1)]);
        let before = histogram.clone();
        let other = Explicit::new([0.0, 1.0, 5.0, 11.0].into()).unwrap();
        assert_eq!(histogram.merge(&other), Err(ExplicitError::Unequal));
        assert_eq!((histogram.since(&other), &histogram), (None, &before));
        assert_eq!(Explicit::new([1.0, 1.0].into()), Err(ExplicitError::Bounds));
        assert_eq!(Explicit::new([f64::NAN].into()), Err(ExplicitError::Bounds));
    }

    #[test]
    fn without_buckets_count_and_sum_are_merged() {
        let moments = Moments { count: 3, sum: Some(4.5.into()), min: None, max: None };
        let parts = Parts { bounds: vec![], counts: vec![], moments };
        let mut histogram = Explicit::try_from(parts).unwrap();
        histogram.merge(&histogram.clone()).unwrap();
        let point = data_point(&histogram);
        assert_eq!((point.count, point.sum, point.bucket_counts.len()), (6, Some(9.0), 0));
    }

    proptest! {
        #[test]
        fn split_and_order_change_nothing(
            values in prop::collection::vec((-2.0..20.0_f64, 1..1000_u64), 0..40), cut in any::<prop::sample::Index>(),
        ) {
            let cut = cut.index(values.len() + 1);
            let (left, right) = (of(&values[..cut]), of(&values[cut..]));
            for (one, other) in [(&left, &right), (&right, &left)] {
                let mut merged = one.clone();
                merged.merge(other).unwrap();
                let whole = of(&values);
                let (sum, expected) = (merged.moments.sum.unwrap().value(), whole.moments.sum.unwrap().value());
                prop_assert!((sum - expected).abs() < 1e-6);
                merged.moments.sum = whole.moments.sum;
                prop_assert_eq!(&merged, &whole);
                let since = merged.since(one).unwrap();
                prop_assert_eq!((since.counts(), since.moments().count), (other.counts(), other.moments().count));
            }
        }

        #[test]
        fn it_comes_back_from_its_bytes_and_damage_is_no_panic(
            values in prop::collection::vec((-2.0..20.0_f64, 1..1000_u64), 0..40), at in any::<prop::sample::Index>(),
            byte in any::<u8>(),
        ) {
            let histogram = of(&values);
            let mut bytes = postcard::to_allocvec(&histogram).unwrap();
            prop_assert_eq!(postcard::from_bytes::<Explicit>(&bytes).unwrap(), histogram);
            let place = at.index(bytes.len());
            bytes[place] = byte;
            if let Ok(mut histogram) = postcard::from_bytes::<Explicit>(&bytes) {
                histogram.record(2.0, 1);
                prop_assert_eq!(data_point(&histogram).count, histogram.moments().count);
            }
        }
    }
}
