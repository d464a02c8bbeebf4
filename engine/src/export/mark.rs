//! What a kept span leaves with: its tracestate tells with which threshold it was sampled (OTEP 235).
//!
//! The threshold of a span may only rise: it leaves with the higher of its own and the rule's. A span that was kept for
//! certain leaves as it came. A threshold that its own randomness contradicts goes.

use tailwater_proto::otlp::splice::{put_with_trace_state, trace_state};
use tailwater_proto::tracestate::{self, SamplingState};

/// What is to be written into the spans of a trace.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Mark {
    /// The threshold of the rule that kept the trace, below 2^56.
    pub threshold: u64,
    /// The trace's randomness.
    pub randomness: u64,
    /// The randomness is not in the id: it is written as `rv` where there is none.
    pub writes_randomness: bool,
    /// A threshold of 0 is written as well.
    pub writes_zero: bool,
    /// A person has kept the trace, which stands for no other: no threshold is left.
    pub is_by_hand: bool,
}

impl Mark {
    /// True when a span without a tracestate leaves as it came.
    #[inline]
    #[must_use]
    pub fn is_plain(&self) -> bool {
        self.threshold == 0 && !self.writes_randomness && !self.writes_zero
    }
}

/// Writes marks. Its scratch is kept from span to span.
#[derive(Debug, Default)]
pub struct Marker {
    span: Vec<u8>,
    header: Vec<u8>,
    counts: MarkCounts,
}

/// What became of tracestates.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct MarkCounts {
    /// Spans whose tracestate could not be read or would be too long: they left as they came, without a threshold.
    pub unparseable: u64,
    /// Spans that came with a threshold above their randomness: it was taken out.
    pub inconsistent: u64,
}

impl Marker {
    /// What it has counted.
    #[must_use]
    pub fn counts(&self) -> MarkCounts {
        self.counts
    }

    /// The span with the mark, and with `annotations` behind it: encoded fields. `span` itself when nothing changes.
    pub fn mark<'a>(&'a mut self, span: &'a [u8], mark: &Mark, annotations: &[u8]) -> &'a [u8] {
        self.span.clear();
        let is_changed = self.put_marked(span, mark);
        if !is_changed && annotations.is_empty() {
            return span;
        }
        if !is_changed {
            self.span.extend_from_slice(span);
        }
        self.span.extend_from_slice(annotations);
        &self.span
    }

    /// The span with `annotations` behind it and nothing else changed.
    pub fn annotate<'a>(&'a mut self, span: &[u8], annotations: &[u8]) -> &'a [u8] {
        self.span.clear();
        self.span.extend_from_slice(span);
        self.span.extend_from_slice(annotations);
        &self.span
    }

    /// Writes the span with the mark into the scratch; false, and nothing is written, when nothing changes.
    fn put_marked(&mut self, span: &[u8], mark: &Mark) -> bool {
        let header = trace_state(span);
        let Ok(before) = tracestate::read(header) else {
            self.counts.unparseable += 1;
            return false;
        };
        let randomness = before.randomness.unwrap_or(mark.randomness);
        let own = before.threshold.filter(|threshold| *threshold <= randomness);
        self.counts.inconsistent += u64::from(own != before.threshold);
        let threshold = match mark.threshold {
            _ if mark.is_by_hand => None,
            0 if mark.writes_zero => own.or(Some(0)),
            0 => own,
            threshold => Some(own.unwrap_or(0).max(threshold)),
        };
        let randomness = before.randomness.or(mark.writes_randomness.then_some(mark.randomness));
        let after = SamplingState { threshold, randomness, is_faulty: false };
        if after == before {
            return false;
        }
        self.header.clear();
        if tracestate::rewrite(header, after, &mut self.header).is_err() {
            self.counts.unparseable += 1;
            return false;
        }
        put_with_trace_state(span, &self.header, &mut self.span);
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;
    use tailwater_proto::consistent::{adjusted_count, read_threshold, threshold_of};

    const R: u64 = 0xd0_0000_0000_0000;

    fn marked(before: &str, mark: Mark, counts: (u64, u64)) -> String {
        let span = Span { trace_state: before.into(), name: "n".into(), ..Default::default() };
        let mut marker = Marker::default();
        let bytes = span.encode_to_vec();
        let out = Span::decode(marker.mark(&bytes, &mark, &[])).unwrap();
        assert_eq!(Span { trace_state: before.into(), ..out.clone() }, span, "nothing else changes");
        assert_eq!((marker.counts().unparseable, marker.counts().inconsistent), counts, "{before}");
        out.trace_state
    }

    fn at(threshold: &str) -> Mark {
        let threshold = read_threshold(threshold.as_bytes()).unwrap();
        Mark { threshold, randomness: R, writes_randomness: false, writes_zero: false, is_by_hand: false }
    }

    #[test]
    fn thresholds_only_rise_and_certainty_changes_nothing() {
        for (before, rule, after) in [
            ("", "8", "ot=th:8"),
            ("ot=th:8", "c", "ot=th:c"),
            ("ot=th:c", "8", "ot=th:c"),
            ("ot=th:c0", "8", "ot=th:c0"),
            ("ot=th:8", "0", "ot=th:8"),
            ("ot=th:0", "0", "ot=th:0"),
            ("ot=th:0", "f", "ot=th:f"),
            ("", "0", ""),
            ("a=b", "8", "ot=th:8,a=b"),
            ("a=b,ot=x:y;rv:e0000000000000;th:e,c=d", "8", "a=b,ot=x:y;rv:e0000000000000;th:e,c=d"),
            ("a=b,ot=x:y;rv:e0000000000000,c=d", "8", "ot=rv:e0000000000000;th:8;x:y,a=b,c=d"),
        ] {
            assert_eq!(marked(before, at(rule), (0, 0)), after, "{before} + {rule}");
        }
        assert_eq!(marked("", Mark { writes_zero: true, ..at("0") }, (0, 0)), "ot=th:0");
        assert_eq!(marked("ot=th:8", Mark { writes_zero: true, ..at("0") }, (0, 0)), "ot=th:8");
        // What a person keeps stands for nothing else, whatever it was sampled with before.
        let by_hand = Mark { is_by_hand: true, writes_zero: true, ..at("0") };
        assert_eq!(marked("", by_hand, (0, 0)), "");
        assert_eq!(marked("a=b,ot=th:8;rv:e0000000000000", by_hand, (0, 0)), "ot=rv:e0000000000000,a=b");
    }

    #[test]
    fn what_contradicts_the_randomness_goes_and_what_cannot_be_read_stays() {
        assert_eq!(marked("ot=th:e,a=b", at("0"), (0, 1)), "a=b");
        assert_eq!(marked("ot=th:e", at("8"), (0, 1)), "ot=th:8");
        assert_eq!(marked("ot=th:e;rv:f0000000000000", at("8"), (0, 0)), "ot=th:e;rv:f0000000000000");
        assert_eq!(marked("ot=th:e;rv:10000000000000", at("0"), (0, 1)), "ot=rv:10000000000000");
        assert_eq!(marked("NO=1", at("8"), (1, 0)), "NO=1");
        assert_eq!(marked("ot=th:8;", at("c"), (1, 0)), "ot=th:8;");
        assert_eq!(marked("ot=th:x;p:q", at("8"), (0, 0)), "ot=th:8;p:q");
        let hashed = Mark { writes_randomness: true, ..at("8") };
        assert_eq!(marked("", hashed, (0, 0)), "ot=rv:d0000000000000;th:8");
    }

    /// Section "update" of the vectors: an equalising sampler of probability p on a span that came with a threshold.
    #[test]
    fn updates_are_those_of_the_collectors_sampling_package() {
        for (before, probability, after, count) in [
            ("ot=th:8", 2.0 / 16.0, "ot=th:e", 8.0),
            ("ot=th:8", 14.0 / 16.0, "ot=th:8", 2.0),
            ("ot=th:f", 8.0 / 16.0, "ot=th:f", 16.0),
            ("ot=th:0", 1.0 / 16.0, "ot=th:f", 16.0),
            ("", 1.0 / 16.0, "ot=th:f", 16.0),
            ("ot=th:8", 1.0, "ot=th:8", 2.0),
            ("ot=th:0", 2f64.powi(-56), "ot=th:ffffffffffffff", 2f64.powi(56)),
            ("ot=th:555", f64::from(0x555) / 4096.0, "ot=th:aab", 4096.0 / f64::from(0x555)),
        ] {
            let threshold = threshold_of(probability, 14).unwrap();
            let mark = Mark { randomness: (1 << 56) - 1, ..at("0") };
            let mark = Mark { threshold, ..mark };
            let found = marked(before, mark, (0, 0));
            assert_eq!(found, after);
            let written = read_threshold(found.trim_start_matches("ot=th:").as_bytes()).unwrap();
            assert!((adjusted_count(written) / count - 1.0).abs() < 1e-12);
        }
    }
}
