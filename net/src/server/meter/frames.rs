//! The walk over HTTP/2 frame headers and the budget for frames that cost much and carry nothing.
//!
//! The protocol library answers every PING and SETTINGS and never says stop. Here each such frame costs tokens. A bucket
//! refills with time, and requests earn tokens: honest clients send PING (to measure the path) and WINDOW_UPDATE in
//! proportion to their requests.
//!
//! ```text
//! frame header (RFC 9113, 4.1):  length: 24 bits | type: 8 | flags: 8 | reserved: 1, stream: 31
//! ```

use std::cell::Cell;
use std::rc::Rc;

use tailwater_runtime::clock::monotonic_nanos;

use super::trailers::has_pseudo_header;

/// "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
const PREFACE_BYTES: usize = 24;
const HEADER_BYTES: usize = 9;

const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const FLAG_END_STREAM: u8 = 1;
const FLAG_PADDED: u8 = 8;
const FLAG_PRIORITY: u8 = 0x20;
const PRIORITY_BYTES: usize = 5;

/// Tokens that an accepted request earns: one for its HEADERS, the others for the PING, WINDOW_UPDATE and the like that
/// go with it.
const TOKENS_PER_REQUEST: i64 = 4;

/// Bytes sent to the peer that earn it a token, for the WINDOW_UPDATE with which it asks for more. Eager peers send two
/// for each DATA frame of 16 KiB. What a flood of PING or SETTINGS makes us send is far less per frame.
const SENT_BYTES_PER_TOKEN: usize = 4096;

/// A cancelled request costs more than it earned, so that a flood of them ends; some are honest.
const RESET_TOKENS: i64 = 5;

/// What the peer has done that ends the connection.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Offence {
    /// It has sent more control frames than it has tokens.
    Exhausted,
    /// It has sent a pseudo-header field in trailers.
    PseudoTrailers,
}

/// A connection's token bucket.
#[derive(Debug)]
pub(in crate::server) struct ControlBudget {
    tokens: Cell<i64>,
    tokens_max: i64,
    refilled_at: Cell<u64>,
    /// Sent bytes that have not made up a token yet.
    sent_bytes: Cell<usize>,
}

impl ControlBudget {
    /// A full bucket that refills at this rate and holds one second's worth.
    pub(in crate::server) fn new(frames_per_second_max: u32) -> Rc<Self> {
        let tokens_max = i64::from(frames_per_second_max.max(1));
        Rc::new(Self {
            tokens: Cell::new(tokens_max),
            tokens_max,
            refilled_at: Cell::new(monotonic_nanos()),
            sent_bytes: Cell::new(0),
        })
    }

    /// A request was accepted.
    pub(in crate::server) fn earn(&self) {
        self.add(TOKENS_PER_REQUEST);
    }

    /// So much was sent to the peer.
    pub(super) fn sent(&self, bytes: usize) {
        let bytes = self.sent_bytes.get() + bytes;
        self.sent_bytes.set(bytes % SENT_BYTES_PER_TOKEN);
        self.add(i64::try_from(bytes / SENT_BYTES_PER_TOKEN).unwrap_or(self.tokens_max));
    }

    fn add(&self, tokens: i64) {
        self.tokens.set(self.tokens.get().saturating_add(tokens).min(self.tokens_max));
    }

    fn spend(&self, tokens: i64, now: impl FnOnce() -> u64) -> Result<(), Offence> {
        let mut left = self.tokens.get() - tokens;
        if left < 0 {
            // The clock is looked at only when the bucket is empty.
            left = (left + self.refill(now())).min(self.tokens_max);
        }
        self.tokens.set(left);
        if left < 0 { Err(Offence::Exhausted) } else { Ok(()) }
    }

    /// The tokens that time has earned since the last refill, whole ones; the rest stays on the clock.
    fn refill(&self, now: u64) -> i64 {
        const SECOND: u64 = 1_000_000_000;
        let rate = self.tokens_max.unsigned_abs();
        let elapsed = now.saturating_sub(self.refilled_at.get()).min(SECOND);
        let earned = elapsed * rate / SECOND;
        if earned > 0 {
            self.refilled_at.set(now);
        }
        i64::try_from(earned).unwrap_or(self.tokens_max)
    }
}

/// Where the walk stands.
#[derive(Debug)]
pub(super) struct FrameWalk {
    budget: Rc<ControlBudget>,
    /// Bytes of preface or payload that still have to pass.
    skip: usize,
    header: [u8; HEADER_BYTES],
    header_filled: usize,
    /// Length of the last DATA frame that carried something.
    data_frame_bytes: usize,
    /// The highest stream that was opened: HEADERS for it or a lower one are trailers.
    highest_stream: u32,
    /// Trailers on their way: their payload so far. Clients of ours send none.
    trailers: Option<Vec<u8>>,
}

/// Trailers longer than this are looked at as far as this.
const TRAILERS_BYTES_MAX: usize = 4096;

impl FrameWalk {
    pub(super) fn new(budget: Rc<ControlBudget>) -> Self {
        Self {
            budget,
            skip: PREFACE_BYTES,
            header: [0; HEADER_BYTES],
            header_filled: 0,
            data_frame_bytes: 0,
            highest_stream: 0,
            trailers: None,
        }
    }

    /// How large this peer's DATA frames are: the length of the last one.
    pub(super) fn data_frame_bytes(&self) -> usize {
        self.data_frame_bytes
    }

    /// So much was sent to the peer.
    pub(super) fn sent(&self, bytes: usize) {
        self.budget.sent(bytes);
    }

    /// Walks on over the bytes that have just come.
    pub(super) fn advance(&mut self, mut bytes: &[u8]) -> Result<(), Offence> {
        loop {
            let skipped = self.skip.min(bytes.len());
            self.skip -= skipped;
            if self.trailers.is_some() {
                self.look_at_trailers(&bytes[..skipped])?;
            }
            bytes = &bytes[skipped..];
            if bytes.is_empty() {
                return Ok(());
            }
            let taken = (HEADER_BYTES - self.header_filled).min(bytes.len());
            let (head, rest) = bytes.split_at(taken);
            self.header[self.header_filled..][..taken].copy_from_slice(head);
            self.header_filled += taken;
            bytes = rest;
            if self.header_filled == HEADER_BYTES {
                self.header_filled = 0;
                let [high, middle, low, kind, flags, ..] = self.header;
                let length = u32::from_be_bytes([0, high, middle, low]);
                self.skip = usize::try_from(length).unwrap_or(usize::MAX);
                if kind == DATA && length > 0 {
                    self.data_frame_bytes = self.skip;
                }
                if kind == HEADERS {
                    self.note_headers();
                }
                let cost = cost(kind, flags, length);
                if cost > 0 {
                    self.budget.spend(cost, monotonic_nanos)?;
                }
            }
        }
    }

    /// A request begins, or the trailers of one.
    fn note_headers(&mut self) {
        let [_, _, _, _, _, stream @ ..] = self.header;
        let stream = u32::from_be_bytes(stream) & (u32::MAX >> 1);
        if stream > self.highest_stream {
            self.highest_stream = stream;
        } else if self.skip > 0 {
            self.trailers = Some(Vec::new());
        }
    }

    #[cold]
    fn look_at_trailers(&mut self, bytes: &[u8]) -> Result<(), Offence> {
        let Some(payload) = &mut self.trailers else { return Ok(()) };
        let room = TRAILERS_BYTES_MAX - payload.len();
        payload.extend_from_slice(&bytes[..room.min(bytes.len())]);
        if self.skip > 0 {
            return Ok(());
        }
        let payload = self.trailers.take().unwrap_or_default();
        let flags = self.header[4];
        // RFC 9113, 6.2: the length of the padding and a priority may stand before the block, padding behind it.
        let (padded, before) = (flags & FLAG_PADDED != 0, if flags & FLAG_PRIORITY != 0 { PRIORITY_BYTES } else { 0 });
        let padding = if padded { usize::from(payload.first().copied().unwrap_or(0)) } else { 0 };
        let end = payload.len().saturating_sub(padding);
        let block = payload.get(usize::from(padded) + before..end).unwrap_or_default();
        if has_pseudo_header(block) { Err(Offence::PseudoTrailers) } else { Ok(()) }
    }
}

/// What a frame costs. DATA that carries something is paid for by flow control, and the library bounds small ones; an
/// empty one that ends a stream comes once per request.
const fn cost(kind: u8, flags: u8, length: u32) -> i64 {
    match kind {
        DATA if length > 0 || flags & FLAG_END_STREAM != 0 => 0,
        RST_STREAM => RESET_TOKENS,
        // HEADERS are paid for when the request is accepted; a refused one, or trailers, are not.
        DATA | HEADERS => 1,
        _ => 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PING: u8 = 6;

    fn frame(kind: u8, flags: u8, payload_bytes: usize) -> Vec<u8> {
        let length = u32::try_from(payload_bytes).unwrap().to_be_bytes();
        let mut frame = vec![length[1], length[2], length[3], kind, flags, 0, 0, 0, 1];
        frame.resize(HEADER_BYTES + payload_bytes, 0);
        frame
    }

    fn bucket(tokens: i64) -> Rc<ControlBudget> {
        let budget = ControlBudget::new(1000);
        budget.tokens.set(tokens);
        budget.refilled_at.set(u64::MAX);
        budget
    }

    #[test]
    fn frames_are_counted_wherever_the_reads_cut_them() {
        let mut bytes = vec![0; PREFACE_BYTES];
        for payload_bytes in [8, 0, 300] {
            bytes.extend(frame(PING, 0, payload_bytes));
            bytes.extend(frame(DATA, 0, payload_bytes + 1));
        }
        for read_bytes in 1..bytes.len() {
            let budget = bucket(3);
            let mut walk = FrameWalk::new(Rc::clone(&budget));
            for read in bytes.chunks(read_bytes) {
                assert_eq!(walk.advance(read), Ok(()));
            }
            assert_eq!(budget.tokens.get(), 0, "{read_bytes}");
            assert_eq!(walk.advance(&frame(PING, 1, 8)), Err(Offence::Exhausted));
        }
    }

    #[test]
    fn honest_bodies_cost_nothing_and_each_request_pays_for_its_own() {
        assert_eq!(cost(DATA, 0, 1), 0);
        assert_eq!(cost(DATA, FLAG_END_STREAM, 0), 0);
        assert_eq!(cost(DATA, 0, 0), 1);
        assert!(cost(HEADERS, 0, 9) + cost(PING, 0, 8) + cost(8, 0, 4) <= TOKENS_PER_REQUEST);
        assert!(cost(HEADERS, 0, 9) + cost(RST_STREAM, 0, 4) > TOKENS_PER_REQUEST);
    }

    #[test]
    fn time_refills_up_to_one_second() {
        let budget = bucket(0);
        budget.refilled_at.set(0);
        assert_eq!(budget.spend(1, || 500_000_000), Ok(()));
        assert_eq!(budget.tokens.get(), 499);
        budget.tokens.set(0);
        assert_eq!(budget.spend(1, || 500_000_100), Err(Offence::Exhausted));
        budget.tokens.set(0);
        assert_eq!(budget.spend(1, || 90_000_000_000), Ok(()));
        assert_eq!(budget.tokens.get(), 999);
        budget.earn();
        assert_eq!(budget.tokens.get(), 1000);
        budget.tokens.set(0);
        for _ in 0..10 {
            budget.sent(1000);
        }
        assert_eq!(budget.tokens.get(), 2);
    }
}
