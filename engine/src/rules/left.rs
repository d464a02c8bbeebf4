//! What is left for a time of what rules keep: a part of limits, and of percentages. It goes into thresholds, so that what is
//! kept says by itself that it stands for more; where no threshold is said, nothing is changed.

use tailwater_proto::consistent::{NEVER, PRECISION_DEFAULT, probability_of, threshold_of};

/// Parts, 0 to 1; 1 is as configured.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Left {
    /// Of limits and budgets.
    pub limits: f64,
    /// Of percentages and probabilities.
    pub percentages: f64,
}

impl Default for Left {
    fn default() -> Self {
        Self { limits: 1.0, percentages: 1.0 }
    }
}

impl Left {
    /// Both within 0 and 1; what is no number leaves all.
    #[must_use]
    pub fn clamped(self) -> Self {
        let part = |part: f64| if part.is_nan() { 1.0 } else { part.clamp(0.0, 1.0) };
        Self { limits: part(self.limits), percentages: part(self.percentages) }
    }

    /// The threshold that keeps this part of what `threshold` keeps.
    #[inline]
    pub(super) fn of_share(self, threshold: u64) -> u64 {
        if self.percentages >= 1.0 || threshold >= NEVER {
            return threshold;
        }
        threshold_of(probability_of(threshold) * self.percentages, PRECISION_DEFAULT).unwrap_or(NEVER)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_part_of_a_share_is_that_part() {
        let half = Left { percentages: 0.5, ..Left::default() };
        assert_eq!(half.of_share(0), NEVER / 2);
        assert_eq!(half.of_share(NEVER / 2), NEVER / 4 * 3);
        assert_eq!((half.of_share(NEVER), Left::default().of_share(7)), (NEVER, 7));
        let none = Left { percentages: -1.0, limits: f64::NAN }.clamped();
        assert_eq!((none.of_share(0), none.limits), (NEVER, 1.0));
    }
}
