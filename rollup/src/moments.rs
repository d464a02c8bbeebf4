//! What histograms of either kind know besides their buckets: how many values there were, their sum, the least and the
//! greatest.

use crate::compensated::Compensated;
use serde::{Deserialize, Serialize};

/// Count, sum and extremes. A sum or an extreme that one of several did not tell is not known of them together.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Moments {
    /// All values.
    pub count: u64,
    /// Their sum, where it is known.
    pub sum: Option<Compensated>,
    /// The least, where it is known.
    pub min: Option<f64>,
    /// The greatest, where it is known.
    pub max: Option<f64>,
}

impl Default for Moments {
    fn default() -> Self {
        Self { count: 0, sum: Some(Compensated::default()), min: None, max: None }
    }
}

impl Moments {
    /// Counts a value so many times, at least once.
    #[inline]
    pub fn record(&mut self, value: f64, weight: u64) {
        if self.count == 0 {
            self.sum.get_or_insert_default();
            (self.min, self.max) = (Some(value), Some(value));
        } else {
            self.min = self.min.map(|min| min.min(value));
            self.max = self.max.map(|max| max.max(value));
        }
        self.count = self.count.saturating_add(weight);
        if let Some(sum) = &mut self.sum {
            sum.add_times(value, weight);
        }
    }

    /// Adds others. Of nothing nothing is told.
    pub fn merge(&mut self, other: &Self) {
        if other.count == 0 {
            return;
        }
        if self.count == 0 {
            *self = *other;
            return;
        }
        let both = |own: Option<f64>, more: Option<f64>, pick: fn(f64, f64) -> f64| Some(pick(own?, more?));
        self.count = self.count.saturating_add(other.count);
        self.min = both(self.min, other.min, f64::min);
        self.max = both(self.max, other.max, f64::max);
        self.sum = match (self.sum, other.sum) {
            (Some(mut sum), Some(more)) => {
                sum.merge(&more);
                Some(sum)
            }
            _ => None,
        };
    }

    /// What has come since an earlier state, or `None` where it is none. Extremes are not known then.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        let sum = match (self.sum, earlier.sum) {
            (Some(now), Some(before)) => Some(Compensated::from(now.value() - before.value())),
            _ => None,
        };
        Some(Self { count: self.count.checked_sub(earlier.count)?, sum, min: None, max: None })
    }

    /// Whether the extremes are numbers.
    #[must_use]
    pub fn are_numbers(&self) -> bool {
        !self.min.is_some_and(f64::is_nan) && !self.max.is_some_and(f64::is_nan)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_one_did_not_tell_is_not_known_of_both() {
        let mut known = Moments::default();
        known.record(1.0, 1);
        let unknown = Moments { sum: None, min: None, max: None, ..known };
        for (one, other) in [(known, unknown), (unknown, known)] {
            let mut merged = one;
            merged.merge(&other);
            assert_eq!(merged, Moments { count: 2, ..unknown });
        }
        let mut merged = Moments { sum: None, ..Moments::default() };
        merged.merge(&known);
        assert_eq!(merged, known, "what is empty says nothing");
        merged.merge(&Moments { sum: None, ..Moments::default() });
        assert_eq!(merged, known);
    }
}
