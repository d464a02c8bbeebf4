//! Changing one field of a span's bytes and nothing else: its tracestate.

use super::wire::{Reader, put_header};

/// `Span.trace_state`.
const TRACE_STATE: u32 = 3;

/// The tracestate of a `Span` message: the last one when there are several, empty when there is none or the message is
/// broken.
#[must_use]
pub fn trace_state(span: &[u8]) -> &[u8] {
    let mut found: &[u8] = &[];
    let mut reader = Reader::new(span);
    while let Ok(Some(field)) = reader.next_field() {
        if field.number == TRACE_STATE
            && let Ok(text) = field.bytes()
        {
            found = text;
        }
    }
    found
}

/// Copies a `Span` message to `out` with `text` as its tracestate, or without one when `text` is empty. It stands where
/// the first one stood, else at the end. The message has been scanned; what can't be read is copied as it is.
pub fn put_with_trace_state(span: &[u8], text: &[u8], out: &mut Vec<u8>) {
    let mut reader = Reader::new(span);
    let mut copied = 0;
    let mut is_put = text.is_empty();
    while let Ok(Some(field)) = reader.next_field() {
        if field.number != TRACE_STATE {
            continue;
        }
        out.extend_from_slice(&span[copied..field.start]);
        copied = reader.position();
        if !is_put {
            put(text, out);
            is_put = true;
        }
    }
    out.extend_from_slice(&span[copied..]);
    if !is_put {
        put(text, out);
    }
}

fn put(text: &[u8], out: &mut Vec<u8>) {
    put_header(out, TRACE_STATE, text.len());
    out.extend_from_slice(text);
}

#[cfg(test)]
mod tests {
    use super::*;
    use opentelemetry_proto::tonic::trace::v1::Span;
    use prost::Message;

    fn span(trace_state: &str) -> Span {
        Span {
            trace_id: vec![1; 16],
            span_id: vec![2; 8],
            trace_state: trace_state.into(),
            name: "n".into(),
            ..Default::default()
        }
    }

    #[test]
    fn only_the_tracestate_changes() {
        for before in ["", "ot=th:8", "a=b"] {
            for after in ["", "ot=th:c,a=b"] {
                let mut bytes = span(before).encode_to_vec();
                bytes.extend_from_slice(&[0xfa, 0x7f, 1, b'u']);
                assert_eq!(trace_state(&bytes), before.as_bytes());
                let mut out = Vec::new();
                put_with_trace_state(&bytes, after.as_bytes(), &mut out);
                assert_eq!(Span::decode(out.as_slice()).unwrap(), span(after));
                assert!(out.windows(4).any(|window| window == [0xfa, 0x7f, 1, b'u']), "unknown fields survive");
                assert_eq!(trace_state(&out), after.as_bytes());
            }
        }
    }

    #[test]
    fn of_several_tracestates_the_last_counts_and_one_is_written() {
        let mut bytes = span("first=1").encode_to_vec();
        bytes.extend_from_slice(&[0x1a, 3, b'x', b'=', b'y']);
        assert_eq!(trace_state(&bytes), b"x=y");
        let mut out = Vec::new();
        put_with_trace_state(&bytes, b"a=b", &mut out);
        assert_eq!(Span::decode(out.as_slice()).unwrap(), span("a=b"));
        assert_eq!(out.windows(3).filter(|window| window == b"a=b").count(), 1);
    }
}
