//! Tracestates: reading, rewriting and splicing never panic; what is written is read back, and other vendors' members and
//! the rest of the span survive. The first bytes are the change, the rest is the header.
#![no_main]

use libfuzzer_sys::fuzz_target;
use tailwater_proto::consistent::NEVER;
use tailwater_proto::otlp::splice::{put_with_trace_state, trace_state};
use tailwater_proto::otlp::wire::put_header;
use tailwater_proto::tracestate::{SamplingState, collector_member, read, rewrite};

/// The members of other vendors, without the spaces around them.
fn others(header: &[u8]) -> Vec<&[u8]> {
    let members = header.split(|byte| *byte == b',').map(|member| {
        let start = member.iter().position(|byte| !b" \t".contains(byte)).unwrap_or(member.len());
        let end = member.iter().rposition(|byte| !b" \t".contains(byte)).map_or(start, |last| last + 1);
        &member[start..end]
    });
    members.filter(|member| !member.is_empty() && !member.starts_with(b"ot=")).collect()
}

fuzz_target!(|input: (u64, u64, u8, &[u8], &[u8])| {
    let (threshold, randomness, which, header, span) = input;
    let before = read(header);
    _ = collector_member(header, b"key");
    let after = SamplingState {
        threshold: (which & 1 != 0).then_some(threshold % NEVER),
        randomness: (which & 2 != 0).then_some(randomness % NEVER),
        is_faulty: false,
    };
    let mut out = b"kept".to_vec();
    match rewrite(header, after, &mut out) {
        Ok(()) => {
            let written = &out[4..];
            assert!(before.is_ok(), "what cannot be read is not rewritten");
            assert_eq!(read(written), Ok(after));
            let (were, are) = (others(header), others(written));
            assert!(were.starts_with(&are) && were.len() - are.len() <= 1, "only the last may give way");
            let mut again = Vec::new();
            rewrite(written, after, &mut again).expect("it was sound");
            assert_eq!(again, written);
        }
        Err(_) => assert_eq!(out, b"kept"),
    }
    // A span: any fields, and the header among them.
    let mut message = span.to_vec();
    put_header(&mut message, 3, header.len());
    message.extend_from_slice(header);
    _ = trace_state(&message);
    let mut spliced = Vec::new();
    put_with_trace_state(&message, &out[4..], &mut spliced);
    if trace_state(&message) == header && !header.is_empty() {
        assert_eq!(trace_state(&spliced), &out[4..]);
    }
});
