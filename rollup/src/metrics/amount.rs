//! What points add up to: numbers, histograms, readings of gauges.

use crate::compensated::Compensated;
use crate::explicit::Explicit;
use crate::exponential::Exponential;
use serde::{Deserialize, Serialize};
use std::cmp::Ordering;

/// A sum of integers, which is exact, and of doubles, of which little is lost.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Number {
    /// Wide enough for 2^64 of the greatest integers.
    integers: i128,
    doubles: Option<Compensated>,
}

/// A value of a point.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub enum Scalar {
    /// `as_int`
    Integer(i64),
    /// `as_double`
    Double(f64),
}

impl Scalar {
    #[expect(clippy::cast_precision_loss, reason = "integers past 2^53 are told apart as integers, where both are")]
    fn as_double(self) -> f64 {
        match self {
            Self::Integer(value) => value as f64,
            Self::Double(value) => value,
        }
    }

    /// An order of all: by value, then integers first.
    #[must_use]
    pub fn order(&self, other: &Self) -> Ordering {
        match (self, other) {
            (Self::Integer(one), Self::Integer(other)) => one.cmp(other),
            (Self::Integer(_), Self::Double(_)) => self.as_double().total_cmp(&other.as_double()).then(Ordering::Less),
            (Self::Double(_), Self::Integer(_)) => other.order(self).reverse(),
            (Self::Double(one), Self::Double(other)) => one.total_cmp(other),
        }
    }
}

impl From<Scalar> for Number {
    fn from(value: Scalar) -> Self {
        match value {
            Scalar::Integer(value) => Self { integers: value.into(), doubles: None },
            Scalar::Double(value) => Self { integers: 0, doubles: Some(value.into()) },
        }
    }
}

impl Number {
    /// Adds another. False where the integers do not fit, which 2^64 points do not come to.
    pub fn add(&mut self, other: &Self) -> bool {
        if let Some(more) = &other.doubles {
            self.doubles.get_or_insert_default().merge(more);
        }
        let sum = self.integers.checked_add(other.integers);
        self.integers = sum.unwrap_or_else(|| self.integers.saturating_add(other.integers));
        sum.is_some()
    }

    /// The same with the other sign.
    #[must_use]
    pub fn negated(&self) -> Self {
        let doubles = self.doubles.map(|sum| Compensated::from(-sum.value()));
        Self { integers: self.integers.saturating_neg(), doubles }
    }

    /// As a double.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "what is compared with a double is one")]
    pub fn as_double(&self) -> f64 {
        self.integers as f64 + self.doubles.map_or(0.0, |sum| sum.value())
    }

    /// An integer, if all were and it fits one of 64 bits.
    #[must_use]
    pub fn value(&self) -> Scalar {
        match (self.doubles, i64::try_from(self.integers)) {
            (None, Ok(value)) => Scalar::Integer(value),
            _ => Scalar::Double(self.as_double()),
        }
    }

    /// Whether all were integers and their sum is past 64 bits: it is told as a double.
    #[must_use]
    pub fn is_wide(&self) -> bool {
        self.doubles.is_none() && i64::try_from(self.integers).is_err()
    }

    /// Whether it is less than another.
    fn is_below(&self, other: &Self) -> bool {
        match (self.doubles, other.doubles) {
            (None, None) => self.integers < other.integers,
            _ => self.as_double() < other.as_double(),
        }
    }
}

/// What can be added up. Within a series all are of one kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Amount {
    /// Of a sum, or of a gauge whose readings are summed.
    Number(Number),
    /// Of a histogram.
    Explicit(Explicit),
    /// Of an exponential histogram.
    Exponential(Box<Exponential>),
    /// Of a gauge.
    Readings(Readings),
}

impl Amount {
    /// Adds another. False where it is of another kind, or does not fit; then nothing, or as much as fits, is added.
    pub fn add(&mut self, other: &Self) -> bool {
        match (self, other) {
            (Self::Number(own), Self::Number(more)) => own.add(more),
            (Self::Explicit(own), Self::Explicit(more)) => own.merge(more).is_ok(),
            (Self::Exponential(own), Self::Exponential(more)) => {
                own.merge(more);
                true
            }
            (Self::Readings(own), Self::Readings(more)) => own.merge(more),
            _ => false,
        }
    }

    /// What has come since an earlier state, of what only grows. `None` where it is none: something has become less.
    #[must_use]
    pub fn since(&self, earlier: &Self) -> Option<Self> {
        match (self, earlier) {
            (Self::Number(now), Self::Number(before)) => {
                let mut rest = *now;
                (!now.is_below(before) && rest.add(&before.negated())).then_some(Self::Number(rest))
            }
            (Self::Explicit(now), Self::Explicit(before)) => now.since(before).map(Self::Explicit),
            (Self::Exponential(now), Self::Exponential(before)) => {
                now.since(before).map(|rest| Self::Exponential(Box::new(rest)))
            }
            _ => None,
        }
    }

    /// Takes back what was added before. Numbers alone become less than nothing.
    pub fn take_back(&mut self, other: &Self) {
        match (&mut *self, other) {
            (Self::Number(own), Self::Number(less)) => _ = own.add(&less.negated()),
            _ => {
                if let Some(rest) = self.since(other) {
                    *self = rest;
                }
            }
        }
    }

    /// Bytes on the heap.
    #[must_use]
    pub fn heap_bytes(&self) -> usize {
        match self {
            Self::Number(_) | Self::Readings(_) => 0,
            Self::Explicit(histogram) => histogram.bytes() - size_of::<Explicit>() + size_of_val(&**histogram.bounds()),
            Self::Exponential(histogram) => histogram.bytes(),
        }
    }

    /// A number with the other sign. There is no histogram of less than nothing.
    #[must_use]
    pub fn negated(&self) -> Option<Self> {
        match self {
            Self::Number(number) => Some(Self::Number(number.negated())),
            _ => None,
        }
    }
}

/// Readings of a gauge: of several everything that may be asked for.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Readings {
    /// The last and its time.
    pub last: (u64, Scalar),
    /// The least.
    pub min: Scalar,
    /// The greatest.
    pub max: Scalar,
    /// All together.
    pub sum: Number,
    /// How many.
    pub count: u64,
}

impl Readings {
    /// One reading.
    #[must_use]
    pub fn of(time: u64, value: Scalar) -> Self {
        Self { last: (time, value), min: value, max: value, sum: value.into(), count: 1 }
    }

    fn merge(&mut self, other: &Self) -> bool {
        let later = self.last.0.cmp(&other.last.0).then_with(|| self.last.1.order(&other.last.1));
        if later == Ordering::Less {
            self.last = other.last;
        }
        if other.min.order(&self.min) == Ordering::Less {
            self.min = other.min;
        }
        if other.max.order(&self.max) == Ordering::Greater {
            self.max = other.max;
        }
        self.count = self.count.saturating_add(other.count);
        self.sum.add(&other.sum)
    }

    /// The mean.
    #[must_use]
    #[expect(clippy::cast_precision_loss, reason = "so many readings are not told apart in a mean")]
    pub fn mean(&self) -> f64 {
        self.sum.as_double() / self.count as f64
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn integers_add_up_exactly_past_what_a_double_holds() {
        let mut sum = Number::from(Scalar::Integer(i64::MAX));
        for _ in 0..4 {
            assert!(sum.add(&Number::from(Scalar::Integer(i64::MAX))));
        }
        assert!(matches!(sum.value(), Scalar::Double(_)) && sum.is_wide(), "it does not fit");
        for _ in 0..4 {
            sum.add(&Number::from(Scalar::Integer(-i64::MAX)));
        }
        assert_eq!((sum.value(), sum.is_wide()), (Scalar::Integer(i64::MAX), false));
        let mut full = Number { integers: i128::MAX, doubles: None };
        assert!(!full.add(&Number::from(Scalar::Integer(1))), "told, not wrapped");
    }

    #[test]
    fn since_knows_a_fall() {
        let number = |value| Amount::Number(Number::from(value));
        let big = 1_i64 << 60;
        assert_eq!(
            number(Scalar::Integer(big + 1)).since(&number(Scalar::Integer(big))),
            Some(number(Scalar::Integer(1)))
        );
        assert_eq!(number(Scalar::Integer(big)).since(&number(Scalar::Integer(big + 1))), None);
        assert_eq!(number(Scalar::Double(1.5)).since(&number(Scalar::Double(2.0))), None);
    }

    #[test]
    fn of_readings_the_last_is_by_time_and_the_greatest_at_one_time() {
        let readings = [(5, 1.0), (9, 2.0), (9, 3.0), (2, 10.0), (3, -4.0)]
            .map(|(time, value)| Readings::of(time, Scalar::Double(value)));
        for turn in 0..5 {
            let mut merged = readings[turn];
            for step in 1..5 {
                assert!(merged.merge(&readings[(turn + step) % 5]));
            }
            assert_eq!(merged.last, (9, Scalar::Double(3.0)));
            assert_eq!((merged.min, merged.max), (Scalar::Double(-4.0), Scalar::Double(10.0)));
            assert!((merged.mean() - 2.4).abs() < 1e-12);
        }
    }
}
