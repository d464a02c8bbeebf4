//! A histogram whose buckets are powers of a base, of bounded size: OTLP's `ExponentialHistogramDataPoint`. It begins with
//! the finest scale and takes a coarser one, by which each bucket takes in its neighbour, when values are too far apart for
//! so many buckets.
//!
//! What comes of it depends on neither order nor on how values are spread over histograms that are merged. So that this
//! holds beside a zero threshold too, the scale follows from all buckets that ever had a count, also those that a threshold
//! has since taken in, and a threshold takes in the bucket that it is in, at whatever scale.
//!
//! ```text
//! as bytes (postcard):  buckets_max scale zero_threshold zero_count count (sum lost)? min? max?
//!                       positive: first n count*n    negative: first n count*n
//! ```
//! It takes 200 bytes, and a byte for each bucket until a count in it is past 255, then two, four, eight: at most 1480
//! bytes for 160 buckets of positive values, 360 while all counts are small.

mod buckets;
mod index;

use crate::fields::{begin_message, put_double, put_fixed64, put_signed};
use crate::moments::Moments;
use buckets::Buckets;
pub use index::{SCALE_MAX, SCALE_MIN};
use serde::{Deserialize, Serialize};
use tailwater_proto::otlp::wire::{end_message, put_varint};
use thiserror::Error;

/// Buckets of each sign at least: fewer would not cover all doubles at the coarsest scale.
pub const BUCKETS_MIN: u16 = 4;

/// A histogram.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Parts", try_from = "Parts")]
pub struct Exponential {
    buckets_max: u16,
    scale: i32,
    /// As it was given. It takes in the bucket that it is in.
    zero_threshold: f64,
    zero_count: u64,
    moments: Moments,
    positive: Buckets,
    negative: Buckets,
}

/// What a histogram consists of, as it is told on a wire.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Parts {
    /// Buckets of each sign at most.
    pub buckets_max: u16,
    /// Between `SCALE_MIN` and `SCALE_MAX`.
    pub scale: i32,
    /// Values not further from zero count as zero.
    pub zero_threshold: f64,
    /// How many these are.
    pub zero_count: u64,
    /// Count, sum and extremes.
    pub moments: Moments,
    /// The first bucket of positive values, and counts from it on.
    pub positive: (i32, Vec<u64>),
    /// The same of negative values, by their distance from zero.
    pub negative: (i32, Vec<u64>),
}

/// Parts that make no histogram.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Error)]
pub enum PartsError {
    /// A scale, a number of buckets or a bucket that there is not.
    #[error("a scale or a bucket is out of range")]
    OutOfRange,
    /// The count is not that of its buckets.
    #[error("the count is not the sum of the buckets")]
    Count,
    /// A threshold below zero, a bound that is no number.
    #[error("the zero threshold, the minimum or the maximum is no number that it can be")]
    NoNumber,
}

impl Exponential {
    /// An empty histogram of so many buckets of each sign, 160 usually, at least four.
    #[must_use]
    pub fn new(buckets_max: u16) -> Self {
        Self {
            buckets_max: buckets_max.max(BUCKETS_MIN),
            scale: SCALE_MAX,
            zero_threshold: 0.0,
            zero_count: 0,
            moments: Moments::default(),
            positive: Buckets::default(),
            negative: Buckets::default(),
        }
    }

    /// Gives away what it has counted and is empty, at the scale and over the buckets that it has: what comes next is of the
    /// same kind, and need not find them again. What is given away in parts comes to the same when it is merged.
    #[must_use]
    pub fn take(&mut self) -> Self {
        let taken = self.clone();
        (self.moments, self.zero_count) = (Moments::default(), 0);
        self.positive.empty();
        self.negative.empty();
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
        let distance = value.abs();
        if distance <= self.zero_threshold {
            self.zero_count = self.zero_count.saturating_add(weight);
            return;
        }
        let place = index::index(distance, self.scale);
        let buckets = if value > 0.0 { &mut self.positive } else { &mut self.negative };
        if !(self.zero_threshold == 0.0 && buckets.add(place, weight)) {
            self.record_beyond(value > 0.0, place, weight);
        }
    }

    /// Count, sum and extremes of values that `place` was told of.
    pub fn add_moments(&mut self, moments: &Moments) {
        self.moments.merge(moments);
    }

    /// Counts where buckets may be missing, or a threshold takes them in.
    #[cold]
    fn record_beyond(&mut self, is_positive: bool, place: i32, weight: u64) {
        let covered = if is_positive { &self.positive } else { &self.negative };
        let (first, last) = covered.range().map_or((place, place), |(first, last)| (first.min(place), last.max(place)));
        let shift = self.shift_for((first, last));
        self.downscale(shift);
        let place = place >> shift;
        let is_zero = self.zero_index().is_some_and(|zero| place <= zero);
        let buckets = if is_positive { &mut self.positive } else { &mut self.negative };
        buckets.cover(place, place);
        if is_zero {
            self.zero_count = self.zero_count.saturating_add(weight);
        } else {
            buckets.add(place, weight);
        }
    }

    /// By how much the scale must fall for a range of buckets to fit.
    fn shift_for(&self, (first, last): (i32, i32)) -> u32 {
        let fits = |shift: &u32| i64::from(last >> shift) - i64::from(first >> shift) < i64::from(self.buckets_max);
        // At the coarsest scale all doubles fit.
        (0..31).find(fits).unwrap_or(31)
    }

    fn downscale(&mut self, shift: u32) {
        if shift > 0 {
            self.scale -= shift.cast_signed();
            self.positive.downscale(shift);
            self.negative.downscale(shift);
            self.take_in();
        }
    }

    /// The bucket that the zero threshold is in.
    fn zero_index(&self) -> Option<i32> {
        (self.zero_threshold > 0.0).then(|| index::index(self.zero_threshold, self.scale))
    }

    /// Counts as zero what is in buckets up to the threshold's.
    fn take_in(&mut self) {
        if let Some(zero) = self.zero_index() {
            let taken = self.positive.empty_up_to(zero).saturating_add(self.negative.empty_up_to(zero));
            self.zero_count = self.zero_count.saturating_add(taken);
        }
    }

    /// Adds another histogram, at the coarser scale of both and with the larger zero threshold. Of buckets the smaller
    /// number holds.
    pub fn merge(&mut self, other: &Self) {
        self.moments.merge(&other.moments);
        self.zero_count = self.zero_count.saturating_add(other.zero_count);
        self.buckets_max = self.buckets_max.min(other.buckets_max);
        self.zero_threshold = self.zero_threshold.max(other.zero_threshold);
        let scale = self.common_scale(other);
        self.downscale((self.scale - scale).unsigned_abs());
        let shift = (other.scale - scale).unsigned_abs();
        for (own, more) in [(&mut self.positive, &other.positive), (&mut self.negative, &other.negative)] {
            if shift == 0 {
                own.merge(more);
            } else {
                let mut coarse = more.clone();
                coarse.downscale(shift);
                own.merge(&coarse);
            }
        }
        self.take_in();
    }

    /// The finest scale, no finer than that of either, at which the buckets of both fit.
    fn common_scale(&self, other: &Self) -> i32 {
        let scale = self.scale.min(other.scale);
        let ranges = [(&self.positive, &other.positive), (&self.negative, &other.negative)].map(|(own, more)| {
            let at = |histogram: &Self, buckets: &Buckets| {
                let shift = histogram.scale - scale;
                buckets.range().map(|(first, last)| (first >> shift, last >> shift))
            };
            match (at(self, own), at(other, more)) {
                (Some(own), Some(more)) => Some((own.0.min(more.0), own.1.max(more.1))),
                (one, other) => one.or(other),
            }
        });
        let shift = ranges.into_iter().flatten().map(|range| self.shift_for(range)).max().unwrap_or(0);
        scale - shift.cast_signed()
    }

    /// What has come since an earlier state of the same histogram, at the coarser scale of both. `None` where it is no
    /// earlier state, for something in it is more than there is now. Least and greatest value are not known then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        // Merged with what is empty each gets the scale and the threshold of both.
        let common = |histogram: &Self, other: &Self| {
            let mut common = histogram.clone();
            common.merge(&other.emptied());
            common
        };
        let (mut rest, earlier) = (common(self, earlier), common(earlier, self));
        rest.moments = rest.moments.since(&earlier.moments)?;
        rest.zero_count = rest.zero_count.checked_sub(earlier.zero_count)?;
        (rest.positive.subtract(&earlier.positive) && rest.negative.subtract(&earlier.negative)).then_some(rest)
    }

    /// The same buckets with nothing in them.
    fn emptied(&self) -> Self {
        let mut empty = self.clone();
        empty.positive.empty_up_to(i32::MAX);
        empty.negative.empty_up_to(i32::MAX);
        Self { moments: Moments::default(), zero_count: 0, ..empty }
    }

    /// Count, sum and extremes.
    #[must_use]
    pub fn moments(&self) -> &Moments {
        &self.moments
    }

    /// The scale it has come to.
    #[must_use]
    pub fn scale(&self) -> i32 {
        self.scale
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.positive.heap_bytes() + self.negative.heap_bytes()
    }

    /// A value that this part of all values is not above, between 0 and 1: within its bucket they are taken to be spread
    /// evenly by their logarithms. `None` of nothing.
    #[must_use]
    pub fn quantile(&self, part: f64) -> Option<f64> {
        let below = |buckets: &Buckets| buckets.iter().filter(|(_, count)| *count > 0).collect::<Vec<_>>();
        let value = |at: i32, sign: f64, within: f64| {
            let (low, high) = (index::upper_bound(at - 1, self.scale), index::upper_bound(at, self.scale));
            let low = low.max(f64::MIN_POSITIVE);
            sign * low * (high / low).powf(if sign < 0.0 { 1.0 - within } else { within })
        };
        let negative = below(&self.negative).into_iter().rev().map(|(at, count)| (Some((at, -1.0)), count));
        let positive = below(&self.positive).into_iter().map(|(at, count)| (Some((at, 1.0)), count));
        let all: Vec<_> = negative.chain([(None, self.zero_count)]).chain(positive).collect();
        let total: f64 = all.iter().map(|(_, count)| as_double(*count)).sum();
        let rank = part.clamp(0.0, 1.0) * total;
        let mut seen = 0.0;
        let mut found = None;
        for (bucket, count) in all.into_iter().filter(|(_, count)| *count > 0) {
            let count = as_double(count);
            found = Some(bucket.map_or(0.0, |(at, sign)| value(at, sign, ((rank - seen) / count).clamp(0.0, 1.0))));
            seen += count;
            if seen >= rank {
                break;
            }
        }
        found.map(|value| value.max(self.moments.min.unwrap_or(f64::MIN)).min(self.moments.max.unwrap_or(f64::MAX)))
    }

    /// Appends the fields of an `ExponentialHistogramDataPoint` that say what was counted: count 4, sum 5, scale 6,
    /// zero count 7, positive 8, negative 9, min 12, max 13, zero threshold 14.
    pub fn put_data_point_fields(&self, out: &mut Vec<u8>) {
        put_fixed64(out, 4, self.moments.count);
        put_double(out, 5, self.moments.sum.map(|sum| sum.value()));
        put_signed(out, 6, self.scale);
        put_fixed64(out, 7, self.zero_count);
        put_buckets(out, 8, &self.positive);
        put_buckets(out, 9, &self.negative);
        put_double(out, 12, self.moments.min);
        put_double(out, 13, self.moments.max);
        if let Some(zero) = self.zero_index() {
            put_double(out, 14, Some(index::upper_bound(zero, self.scale).max(self.zero_threshold)));
        }
    }
}

impl Parts {
    /// Takes empty buckets at either end away, and makes what is finer than the finest scale here as coarse. What tells no
    /// bucket does not make the scale coarser than it must be, and senders may tell more digits than we keep.
    pub fn coarsen(&mut self) {
        let shift = u32::try_from(self.scale.saturating_sub(SCALE_MAX)).unwrap_or(0).min(31);
        for (first, counts) in [&mut self.positive, &mut self.negative] {
            let begin = counts.iter().position(|count| *count > 0).unwrap_or(counts.len());
            let end = counts.iter().rposition(|count| *count > 0).map_or(begin, |last| last + 1);
            *first = first.saturating_add(i32::try_from(begin).unwrap_or(i32::MAX));
            counts.truncate(end);
            counts.drain(..begin);
            if shift > 0
                && !counts.is_empty()
                && first.checked_add(i32::try_from(counts.len()).unwrap_or(i32::MAX)).is_some()
            {
                let mut buckets = Buckets::new(*first, counts);
                buckets.downscale(shift);
                (*first, *counts) = (*first >> shift, buckets.iter().map(|(_, count)| count).collect());
            }
        }
        self.scale = self.scale.min(SCALE_MAX);
    }
}

impl From<Exponential> for Parts {
    fn from(histogram: Exponential) -> Self {
        let list = |buckets: &Buckets| {
            (buckets.range().map_or(0, |(first, _)| first), buckets.iter().map(|(_, count)| count).collect())
        };
        Self {
            buckets_max: histogram.buckets_max,
            scale: histogram.scale,
            zero_threshold: histogram.zero_threshold,
            zero_count: histogram.zero_count,
            moments: histogram.moments,
            positive: list(&histogram.positive),
            negative: list(&histogram.negative),
        }
    }
}

impl TryFrom<Parts> for Exponential {
    type Error = PartsError;

    /// Empty buckets at either end are as if they had had a count. More buckets than there may be make the scale coarser.
    fn try_from(parts: Parts) -> Result<Self, PartsError> {
        let threshold = parts.zero_threshold;
        if !threshold.is_finite() || threshold < 0.0 || !parts.moments.are_numbers() {
            return Err(PartsError::NoNumber);
        }
        if !(SCALE_MIN..=SCALE_MAX).contains(&parts.scale) || parts.buckets_max < BUCKETS_MIN {
            return Err(PartsError::OutOfRange);
        }
        let range = index::indexes(parts.scale);
        let mut total = parts.zero_count;
        for (first, counts) in [&parts.positive, &parts.negative] {
            let last = i64::from(*first) + i64::try_from(counts.len()).unwrap_or(i64::MAX) - 1;
            if !counts.is_empty() && (*first < range.0 || last > i64::from(range.1)) {
                return Err(PartsError::OutOfRange);
            }
            total = counts.iter().fold(total, |total, count| total.saturating_add(*count));
        }
        if total != parts.moments.count {
            return Err(PartsError::Count);
        }
        let mut histogram = Self {
            buckets_max: parts.buckets_max,
            scale: parts.scale,
            zero_threshold: threshold,
            zero_count: parts.zero_count,
            moments: parts.moments,
            positive: Buckets::new(parts.positive.0, &parts.positive.1),
            negative: Buckets::new(parts.negative.0, &parts.negative.1),
        };
        let ranges = [histogram.positive.range(), histogram.negative.range()];
        let shift = ranges.into_iter().flatten().map(|range| histogram.shift_for(range)).max().unwrap_or(0);
        histogram.downscale(shift);
        histogram.take_in();
        Ok(histogram)
    }
}

/// A count as a double: past 2^53 the nearest.
#[expect(clippy::cast_precision_loss, reason = "ranks past 2^53 are not told apart")]
fn as_double(count: u64) -> f64 {
    count as f64
}

/// `Buckets`: offset 1, counts 2. Empty buckets at the ends are left out.
fn put_buckets(out: &mut Vec<u8>, number: u8, buckets: &Buckets) {
    let is_filled = |(_, count): &(i32, u64)| *count > 0;
    let (Some((first, _)), Some((last, _))) = (buckets.iter().find(is_filled), buckets.iter().rfind(is_filled)) else {
        return;
    };
    let message_at = begin_message(out, number);
    put_signed(out, 1, first);
    let counts_at = begin_message(out, 2);
    for (_, count) in buckets.iter().filter(|(index, _)| (first..=last).contains(index)) {
        put_varint(out, count);
    }
    end_message(out, counts_at);
    end_message(out, message_at);
}

#[cfg(test)]
mod tests;
