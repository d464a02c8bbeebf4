//! What is known of a key's leaves before any of them is asked: which values may satisfy one at all. Nearly every value
//! of nearly every span satisfies none, and is passed over after one test here.

use super::{Need, Site, Test};
use tailwater_proto::otlp::check::AnyValue;

/// The values that may satisfy some leaf or probe of a key. Those that it does not admit satisfy none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gate {
    /// Kinds of texts, by `text_bit`.
    texts: u64,
    /// Least and greatest integer; none is admitted while the first is above the second.
    low: i64,
    high: i64,
    /// False and true.
    booleans: [bool; 2],
    /// What is of another type.
    others: bool,
}

impl Gate {
    /// Admits nothing.
    pub(super) const CLOSED: Self =
        Self { texts: 0, low: i64::MAX, high: i64::MIN, booleans: [false; 2], others: false };

    #[inline(always)]
    pub(super) fn admits(&self, value: &AnyValue<'_>) -> bool {
        // The commonest first.
        if let AnyValue::Text(text) = value {
            return self.texts & text_bit(text) != 0;
        }
        match value {
            AnyValue::Text(_) => true,
            AnyValue::Integer(value) => self.low <= *value && *value <= self.high,
            AnyValue::Boolean(value) => self.booleans[usize::from(*value)],
            AnyValue::Other(_) => self.others,
        }
    }

    /// Whether it admits texts of this kind.
    #[inline(always)]
    pub(super) fn admits_texts(&self, text_bit: u64) -> bool {
        self.texts & text_bit != 0
    }

    /// From now on also admits what may satisfy `test`.
    pub(super) fn widen(&mut self, test: &Test) {
        match test {
            Test::TextAmong(values) => values.iter().for_each(|value| self.texts |= text_bit(value)),
            // What an expression matches is not looked into, nor where an empty text counts.
            Test::TextMatches(..) => {
                return *self = Self { texts: !0, low: i64::MIN, high: i64::MAX, booleans: [true; 2], others: true };
            }
            Test::IntegerWithin(low, high) => self.admit_integers(*low, *high),
            Test::BooleanIs(wanted) => self.booleans[usize::from(*wanted)] = true,
        }
        // A value of a type that the test does not ask for reads the same whatever it is: one of them is asked about.
        let holds = |value| [Site::Span, Site::Resource].into_iter().any(|site| test.holds(value, site, &mut []));
        if !matches!(test, Test::TextAmong(_)) && holds(AnyValue::Text(b"text")) {
            self.texts = !0;
        }
        if !matches!(test, Test::IntegerWithin(..)) && holds(AnyValue::Integer(1)) {
            self.admit_integers(i64::MIN, i64::MAX);
        }
        if !matches!(test, Test::BooleanIs(_)) && holds(AnyValue::Boolean(true)) {
            self.booleans = [true; 2];
        }
        self.others |= holds(AnyValue::Other(&[]));
    }

    /// From now on also admits whatever is no text.
    pub(super) fn widen_to_others(&mut self) {
        *self = Self { texts: self.texts, low: i64::MIN, high: i64::MAX, booleans: [true; 2], others: true };
    }

    fn admit_integers(&mut self, low: i64, high: i64) {
        (self.low, self.high) = (self.low.min(low), self.high.max(high));
    }
}

/// One of 64 kinds of texts, by their length and last byte.
#[inline(always)]
pub(super) fn text_bit(text: &[u8]) -> u64 {
    let last = text.last().copied().unwrap_or(0);
    1 << ((text.len() + usize::from(last)) % 64)
}

/// A need under its number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Probe {
    pub(super) site: Site,
    pub(super) need: Need,
    /// Its bit among those that a memory has marked.
    pub(super) bit: u64,
}

impl Probe {
    #[inline]
    pub(super) fn is_met(&self, value: &AnyValue<'_>, site: Site) -> bool {
        self.site == site
            && match (&self.need, value) {
                (Need::Present, _) => true,
                (Need::Text(text), AnyValue::Text(value)) => **text == **value,
                (Need::IntegerWithin(low, high), AnyValue::Integer(value)) => (*low..=*high).contains(value),
                // A double, which compares with integers.
                (Need::IntegerWithin(..), AnyValue::Other(_)) => true,
                _ => false,
            }
    }

    /// Has `gate` admit what may meet it.
    pub(super) fn widen(&self, gate: &mut Gate) {
        match &self.need {
            // Marked before the gate is asked.
            Need::Present => {}
            Need::Text(text) => gate.texts |= text_bit(text),
            Need::IntegerWithin(low, high) => {
                gate.admit_integers(*low, *high);
                gate.others = true;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rules::attribute::AttributeRules;

    /// Values of all types around what the tests below ask for.
    fn values() -> Vec<AnyValue<'static>> {
        let texts: [&[u8]; 6] = [b"", b"a", b"GET", b"TRACE", &[b'x'; 62], &[b'x'; 80]];
        let mut values: Vec<_> = texts.into_iter().map(AnyValue::Text).collect();
        values.extend([i64::MIN, -1, 0, 1, 5, 6, i64::MAX].map(AnyValue::Integer));
        values.extend([false, true].map(AnyValue::Boolean));
        values.extend([&b""[..], &[0x21, 0, 0, 0, 0, 0, 0, 0, 0]].map(AnyValue::Other));
        values
    }

    #[test]
    fn what_a_gate_does_not_admit_satisfies_no_leaf() {
        let among = |texts: &[&str]| Test::TextAmong(texts.iter().map(|text| text.as_bytes().into()).collect());
        let mut pattern = AttributeRules::default();
        let tests = [
            among(&[]),
            among(&["GET"]),
            among(&["a", "TRACE"]),
            among(&["x".repeat(80).as_str()]),
            Test::IntegerWithin(1, 5),
            Test::IntegerWithin(-1, 0),
            Test::IntegerWithin(6, i64::MAX),
            Test::IntegerWithin(5, 1),
            Test::BooleanIs(true),
            Test::BooleanIs(false),
            pattern.pattern(tailwater_ottl::pattern::compile("^$|T").unwrap()),
        ];
        let (mut passed_over, mut satisfied) = (0, 0);
        for (number, test) in tests.iter().enumerate() {
            for other in &tests[number..] {
                let mut gate = Gate::CLOSED;
                gate.widen(test);
                gate.widen(other);
                for value in values() {
                    for site in [Site::Span, Site::Resource] {
                        let answers = &mut pattern.memory().answers;
                        let holds = test.holds(value, site, answers) || other.holds(value, site, answers);
                        assert!(gate.admits(&value) || !holds, "{test:?} {other:?} {value:?}");
                        passed_over += u32::from(!gate.admits(&value));
                        satisfied += u32::from(holds);
                    }
                }
            }
        }
        assert!(passed_over > 500 && satisfied > 300, "{passed_over} {satisfied}");
        let mut gate = Gate::CLOSED;
        gate.widen(&among(&["TRACE"]));
        assert!(!gate.admits(&AnyValue::Text(b"GET")), "a text of another kind is passed over");
    }
}
