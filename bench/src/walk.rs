//! Walks an `ExportTraceServiceRequest` without decoding it: enough to count spans and read a few of their attributes.

/// The bytes are not well-formed protobuf of that message.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("the request is not well-formed protobuf")]
pub struct Malformed;

/// The value of one field.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FieldValue<'a> {
    /// wire types 0, 1 and 5
    Number(u64),
    /// wire type 2
    Bytes(&'a [u8]),
}

/// The fields of a message in order; an error ends the iteration.
#[derive(Clone, Debug)]
pub struct Fields<'a>(&'a [u8]);

impl<'a> Fields<'a> {
    /// Walks this message.
    #[must_use]
    pub const fn new(message: &'a [u8]) -> Self {
        Self(message)
    }

    #[inline]
    fn varint(&mut self) -> Result<u64, Malformed> {
        let (&first, rest) = self.0.split_first().ok_or(Malformed)?;
        self.0 = rest;
        if first < 0x80 {
            return Ok(u64::from(first));
        }
        let mut value = u64::from(first & 0x7f);
        for shift in (7..64).step_by(7) {
            let (&byte, rest) = self.0.split_first().ok_or(Malformed)?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(Malformed)
    }

    #[inline]
    fn take(&mut self, length: usize) -> Result<&'a [u8], Malformed> {
        let (taken, rest) = self.0.split_at_checked(length).ok_or(Malformed)?;
        self.0 = rest;
        Ok(taken)
    }

    #[inline]
    fn field(&mut self) -> Result<(u64, FieldValue<'a>), Malformed> {
        let key = self.varint()?;
        let value = match key & 7 {
            0 => FieldValue::Number(self.varint()?),
            1 => FieldValue::Number(self.take(8)?.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))),
            2 => {
                let length = usize::try_from(self.varint()?).map_err(|_error| Malformed)?;
                FieldValue::Bytes(self.take(length)?)
            }
            5 => {
                FieldValue::Number(self.take(4)?.first_chunk().map_or(0, |bytes| u64::from(u32::from_le_bytes(*bytes))))
            }
            _ => return Err(Malformed),
        };
        Ok((key >> 3, value))
    }
}

impl<'a> Iterator for Fields<'a> {
    type Item = Result<(u64, FieldValue<'a>), Malformed>;

    #[inline]
    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.0 = &[];
        }
        Some(field)
    }
}

/// Visits every Span message of the request; the number visited is returned.
///
/// # Errors
/// [`Malformed`] where a message on the way to the spans is; what was visited before stays visited.
#[inline]
pub fn spans<'a>(
    request: &'a [u8],
    mut visit: impl FnMut(&'a [u8]) -> Result<(), Malformed>,
) -> Result<u64, Malformed> {
    let mut count = 0;
    for field in Fields::new(request) {
        let (1, FieldValue::Bytes(resource_spans)) = field? else { continue };
        for field in Fields::new(resource_spans) {
            let (2, FieldValue::Bytes(scope_spans)) = field? else { continue };
            for field in Fields::new(scope_spans) {
                if let (2, FieldValue::Bytes(span)) = field? {
                    count += 1;
                    visit(span)?;
                }
            }
        }
    }
    Ok(count)
}

/// The trace id of a Span message.
///
/// # Errors
/// [`Malformed`] if there is none of 16 bytes.
#[inline]
pub fn trace_id(span: &[u8]) -> Result<u128, Malformed> {
    for field in Fields::new(span) {
        if let (1, FieldValue::Bytes(id)) = field? {
            return id.try_into().map(u128::from_be_bytes).map_err(|_error| Malformed);
        }
    }
    Err(Malformed)
}

/// What a sink needs to know of a span that the generator has made.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct SpanFacts<'a> {
    /// trace id
    pub trace: u128,
    /// span id
    pub span: u64,
    /// number of spans of its trace, 0 where the attribute is missing
    pub trace_spans: u64,
    /// why the trace must be kept, empty where it need not
    pub keep: &'a [u8],
}

/// Reads the facts of a Span message.
///
/// # Errors
/// [`Malformed`] if it is, or has no valid ids.
pub fn facts(span: &[u8]) -> Result<SpanFacts<'_>, Malformed> {
    use crate::corpus::vocabulary::{KEEP_KEY, TRACE_SPANS_KEY};
    let mut facts = SpanFacts { trace: trace_id(span)?, ..SpanFacts::default() };
    for field in Fields::new(span) {
        match field? {
            (2, FieldValue::Bytes(id)) => {
                facts.span = id.try_into().map(u64::from_be_bytes).map_err(|_error| Malformed)?;
            }
            (9, FieldValue::Bytes(attribute)) => {
                let (mut key, mut value) = (&[][..], None);
                for part in Fields::new(attribute) {
                    match part? {
                        (1, FieldValue::Bytes(bytes)) => key = bytes,
                        (2, FieldValue::Bytes(message)) => value = Fields::new(message).next().transpose()?,
                        _ => {}
                    }
                }
                match value {
                    Some((3, FieldValue::Number(number))) if key == TRACE_SPANS_KEY.as_bytes() => {
                        facts.trace_spans = number;
                    }
                    Some((1, FieldValue::Bytes(text))) if key == KEEP_KEY.as_bytes() => facts.keep = text,
                    _ => {}
                }
            }
            _ => {}
        }
    }
    if facts.span == 0 { Err(Malformed) } else { Ok(facts) }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::corpus::identity::Identity;
    use crate::corpus::{BodyEncoding, CorpusOptions, RoundPosition, RoundTemplate};

    #[test]
    fn the_corpus_is_read_as_it_was_planned_and_cuts_are_noticed() {
        let options = CorpusOptions {
            seed: 3,
            services: 4,
            spans_per_trace: 8,
            spans_per_request: 64,
            requests_per_service: 1,
            span_bytes: 400,
            keep_share: 1.0,
            late_share: 0.0,
            encoding: BodyEncoding::Protobuf,
        };
        let round = RoundTemplate::build(&options, 0);
        let position = RoundPosition { first_trace: 9, unix_nanos: 1 };
        let mut seen = std::collections::HashSet::new();
        for request in &round.requests {
            let mut body = request.bytes.clone();
            request.patch(&mut body, Identity::new(3), position);
            let count = spans(&body, |span| {
                let facts = facts(span)?;
                assert_eq!(facts.trace_spans, 8);
                assert!([&b"error"[..], b"slow", b"attribute"].contains(&facts.keep));
                assert_eq!(trace_id(span), Ok(facts.trace));
                assert!(seen.insert((facts.trace, facts.span)));
                Ok(())
            });
            assert_eq!(count, Ok(request.spans));
            for length in [1, 2, 100, body.len() - 1] {
                assert_eq!(spans(&body[..length], |_| Ok(())), Err(Malformed), "cut at {length}");
            }
        }
        assert_eq!(seen.len() as u64, round.spans());
    }
}
