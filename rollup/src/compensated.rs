//! Sums of doubles that lose little: what rounding takes from each addition is kept beside the sum and added at the end
//! (Neumaier). The same numbers in another order give the same sum but for its last digits.

use serde::{Deserialize, Serialize};

/// A sum.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize, Deserialize)]
pub struct Compensated {
    sum: f64,
    lost: f64,
}

impl Compensated {
    /// Adds a number.
    #[inline]
    pub fn add(&mut self, value: f64) {
        let sum = self.sum + value;
        let larger_first = self.sum.abs() >= value.abs();
        let (large, small) = if larger_first { (self.sum, value) } else { (value, self.sum) };
        // What is lost beside infinity is no number.
        self.lost = if sum.is_finite() { self.lost + ((large - sum) + small) } else { 0.0 };
        self.sum = sum;
    }

    /// Adds a number so many times. Past 2^53 times the nearest double counts.
    #[inline]
    #[expect(clippy::cast_precision_loss, reason = "more than 2^53 times is not told apart in a sum of doubles")]
    pub fn add_times(&mut self, value: f64, times: u64) {
        self.add(value * times as f64);
    }

    /// Adds another sum.
    pub fn merge(&mut self, other: &Self) {
        self.add(other.sum);
        self.lost += other.lost;
    }

    /// The sum. Past the greatest double it is infinite, as it would be without compensation.
    #[must_use]
    pub fn value(&self) -> f64 {
        self.sum + self.lost
    }
}

impl From<f64> for Compensated {
    fn from(value: f64) -> Self {
        Self { sum: value, lost: 0.0 }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_rounding_takes_is_kept() {
        // Without `lost` the ones are gone.
        let mut sum = Compensated::default();
        for value in [1.0, 1e100, 1.0, -1e100] {
            sum.add(value);
        }
        assert!((sum.value() - 2.0).abs() < f64::EPSILON);
        let mut other = Compensated::from(0.5);
        other.merge(&sum);
        assert!((other.value() - 2.5).abs() < f64::EPSILON);
    }

    #[test]
    fn infinity_stays_infinity() {
        let mut sum = Compensated::from(f64::MAX);
        sum.add(f64::MAX);
        assert!(sum.value().is_infinite());
        sum.add(1.0);
        assert!(sum.value().is_infinite());
    }
}
