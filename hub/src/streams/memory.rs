//! Said payloads that are remembered for those that missed them, and how fast they are given away.

use super::Run;
use std::collections::{BTreeMap, VecDeque};
use std::ops::Range;
use std::time::Duration;

/// What a payload takes besides its bytes: entries in the map of its stream and in the queue.
const ENTRY_BYTES: usize = 96;

/// Remembered payloads of all streams.
pub struct Memory {
    remembered_for: Duration,
    bytes_max: usize,
    bytes: usize,
    streams: BTreeMap<Run, BTreeMap<u64, Box<[u8]>>>,
    /// In the order in which they came.
    order: VecDeque<(Duration, Run, u64)>,
    evicted: u64,
    allowance: Allowance,
}

/// Bytes that may be given away: twice those that are heard, and some when nothing is.
struct Allowance {
    bytes_min: usize,
    left: usize,
    filled_at: Duration,
    /// Bytes of this second and of the one before.
    heard: (Duration, usize, usize),
}

impl Allowance {
    /// Counts seconds.
    fn turn(&mut self, now: Duration) {
        let (since, this, _) = self.heard;
        if now >= since + Duration::from_secs(2) {
            self.heard = (now, 0, 0);
        } else if now >= since + Duration::from_secs(1) {
            self.heard = (now, 0, this);
        }
    }

    fn hear(&mut self, now: Duration, bytes: usize) {
        self.turn(now);
        self.heard.1 += bytes;
    }

    /// Whether so many bytes may go now.
    fn take(&mut self, now: Duration, bytes: usize) -> bool {
        self.turn(now);
        let (_, this, before) = self.heard;
        let rate = (2 * this.max(before)).max(self.bytes_min);
        let micros = now.saturating_sub(self.filled_at).min(Duration::from_secs(1)).as_micros();
        let gain = usize::try_from(micros).unwrap_or(usize::MAX).saturating_mul(rate) / 1_000_000;
        if gain > 0 {
            self.left += gain;
            self.filled_at = now;
        }
        self.left = self.left.min(rate);
        let may_go = self.left >= bytes;
        self.left -= if may_go { bytes } else { 0 };
        may_go
    }
}

impl Memory {
    /// Nothing yet.
    pub fn new(remembered_for: Duration, bytes_max: usize, pushed_bytes_min: usize) -> Self {
        let heard = (Duration::ZERO, 0, 0);
        let allowance =
            Allowance { bytes_min: pushed_bytes_min, left: pushed_bytes_min, filled_at: Duration::ZERO, heard };
        let (streams, order) = (BTreeMap::new(), VecDeque::new());
        Self { remembered_for, bytes_max, bytes: 0, streams, order, evicted: 0, allowance }
    }

    /// Remembers a payload.
    pub fn put(&mut self, now: Duration, run: Run, number: u64, payload: &[u8]) {
        self.allowance.hear(now, payload.len());
        if self.streams.entry(run).or_default().insert(number, payload.into()).is_some() {
            // A stream that was forgotten and met again, with the same payload of it.
            return;
        }
        self.bytes += payload.len() + ENTRY_BYTES;
        self.order.push_back((now, run, number));
        while self.bytes > self.bytes_max && self.order.len() > 1 {
            self.evicted += 1;
            self.forget();
        }
    }

    /// Forgets what is old.
    pub fn sweep(&mut self, now: Duration) {
        while self.order.front().is_some_and(|(at, ..)| *at + self.remembered_for <= now) {
            self.forget();
        }
    }

    fn forget(&mut self) {
        let Some((_, run, number)) = self.order.pop_front() else { return };
        let Some(stream) = self.streams.get_mut(&run) else { return };
        if let Some(payload) = stream.remove(&number) {
            self.bytes -= payload.len() + ENTRY_BYTES;
        }
        if stream.is_empty() {
            self.streams.remove(&run);
        }
    }

    /// The lowest number of a stream that is remembered, and one above the highest.
    pub fn span(&self, run: Run) -> Option<(u64, u64)> {
        span(self.streams.get(&run)?)
    }

    /// The same of all streams.
    pub fn spans(&self) -> impl Iterator<Item = (Run, (u64, u64))> {
        self.streams.iter().filter_map(|(run, stream)| Some((*run, span(stream)?)))
    }

    /// Gives what is remembered of a range, as far as the allowance goes. Returns whether it went all the way.
    pub fn serve(&mut self, now: Duration, run: Run, range: Range<u64>, mut push: impl FnMut(u64, &[u8])) -> bool {
        let Some(stream) = self.streams.get(&run) else { return true };
        for (number, payload) in stream.range(range) {
            if !self.allowance.take(now, payload.len() + ENTRY_BYTES) {
                return false;
            }
            push(*number, payload);
        }
        true
    }

    /// Payloads that went before their time.
    pub const fn evicted(&self) -> u64 {
        self.evicted
    }
}

fn span(stream: &BTreeMap<u64, Box<[u8]>>) -> Option<(u64, u64)> {
    let ((low, _), (high, _)) = (stream.first_key_value()?, stream.last_key_value()?);
    Some((*low, high.saturating_add(1)))
}
