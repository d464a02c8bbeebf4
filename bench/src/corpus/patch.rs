//! The places in an encoded request that change with each sending, and the writing of them.
//!
//! Ids and times have a fixed width in both encodings, so a template is patched without moving a byte.

use super::RoundPosition;
use super::identity::Identity;

/// No parent: the span is its trace's root and carries no parent id.
pub const NO_PARENT: u16 = u16::MAX;

/// How the patched fields of one span lie relative to one another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Layout {
    /// Span fields 1, 2 and 4 in a row (18, 10 and 10 bytes with their tags), then later 7 and 8 (fixed64, 9 bytes each)
    Protobuf,
    /// `"traceId":"..","spanId":"..","parentSpanId":".."` in a row, then later
    /// `"startTimeUnixNano":"..","endTimeUnixNano":".."`
    Json,
}

/// Distances of the patched fields from the first byte of the trace id and of the start time.
struct Distances {
    span_id: usize,
    parent_id: usize,
    end_time: usize,
}

impl Layout {
    const fn distances(self) -> Distances {
        match self {
            Self::Protobuf => Distances { span_id: 18, parent_id: 28, end_time: 9 },
            Self::Json => {
                let span_id = 32 + r#"","spanId":""#.len();
                let parent_id = span_id + 16 + r#"","parentSpanId":""#.len();
                Distances { span_id, parent_id, end_time: 19 + r#"","endTimeUnixNano":""#.len() }
            }
        }
    }
}

/// The patched places of one span.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SpanPatch {
    /// index of the trace in its round
    pub trace: u32,
    /// index of the span in its trace
    pub index: u16,
    /// index of the parent span, or [`NO_PARENT`]
    pub parent: u16,
    /// offset of the trace id's first byte
    pub ids_at: usize,
    /// offset of the start time's first byte
    pub times_at: usize,
    /// start of the span, nanoseconds before the round's time
    pub start_before: u64,
    /// end of the span, nanoseconds before the round's time
    pub end_before: u64,
}

/// A time outside the span's own two, such as an event's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimePatch {
    /// offset of the time's first byte
    pub at: usize,
    /// nanoseconds before the round's time
    pub before: u64,
}

/// All patched places of one request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PatchTable {
    /// layout of the body
    pub layout: Layout,
    /// one entry per span
    pub spans: Vec<SpanPatch>,
    /// one entry per event
    pub times: Vec<TimePatch>,
}

impl PatchTable {
    /// An empty table for bodies of this layout.
    #[must_use]
    pub const fn new(layout: Layout) -> Self {
        Self { layout, spans: Vec::new(), times: Vec::new() }
    }

    /// Takes over the places of a part that now starts `offset` bytes further on.
    pub fn absorb(&mut self, part: &Self, offset: usize) {
        self.spans.extend(part.spans.iter().map(|span| SpanPatch {
            ids_at: span.ids_at + offset,
            times_at: span.times_at + offset,
            ..*span
        }));
        self.times.extend(part.times.iter().map(|time| TimePatch { at: time.at + offset, ..*time }));
    }

    /// Writes the ids and times of the round at `position` into `body`.
    pub fn apply(&self, body: &mut [u8], identity: Identity, position: RoundPosition) {
        let distances = self.layout.distances();
        for span in &self.spans {
            let trace = identity.trace(position.first_trace.wrapping_add(u64::from(span.trace)));
            let start = position.unix_nanos.wrapping_sub(span.start_before);
            let end = position.unix_nanos.wrapping_sub(span.end_before);
            self.write_id(body, span.ids_at, &trace.to_bytes());
            self.write_id(body, span.ids_at + distances.span_id, &trace.span(span.index));
            if span.parent != NO_PARENT {
                self.write_id(body, span.ids_at + distances.parent_id, &trace.span(span.parent));
            }
            self.write_time(body, span.times_at, start);
            self.write_time(body, span.times_at + distances.end_time, end);
        }
        for time in &self.times {
            self.write_time(body, time.at, position.unix_nanos.wrapping_sub(time.before));
        }
    }

    fn write_id(&self, body: &mut [u8], at: usize, id: &[u8]) {
        match self.layout {
            Layout::Protobuf => body[at..at + id.len()].copy_from_slice(id),
            Layout::Json => {
                for (pair, byte) in body[at..at + 2 * id.len()].chunks_exact_mut(2).zip(id) {
                    pair[0] = HEX[usize::from(byte >> 4)];
                    pair[1] = HEX[usize::from(byte & 15)];
                }
            }
        }
    }

    fn write_time(&self, body: &mut [u8], at: usize, nanos: u64) {
        match self.layout {
            Layout::Protobuf => body[at..at + 8].copy_from_slice(&nanos.to_le_bytes()),
            Layout::Json => {
                let mut rest = nanos;
                for digit in body[at..at + JSON_TIME_DIGITS].iter_mut().rev() {
                    *digit = DIGITS[usize::try_from(rest % 10).unwrap_or(0)];
                    rest /= 10;
                }
            }
        }
    }
}

const HEX: &[u8; 16] = b"0123456789abcdef";
const DIGITS: &[u8; 10] = b"0123456789";
/// Digits of a Unix time in nanoseconds from 2001 to 2286.
pub const JSON_TIME_DIGITS: usize = 19;
